//! Where a node learns of notifications: for each database with listeners a [`Feed`], which reads what has committed since
//! it read last.
//!
//! ```text
//!   keys of a database, by time ──────────────────────────────────────▶
//!     removed │ nobody reads        │ window of the next read
//!             now − KEPT            from: read_up_to − fresh, or the first key with something above read_up_to
//! ```
//! **Invariant (window-holds-all):** every notification that commits above `read_up_to` has a key at or behind `from`. At
//! the last read each key from its window on was in one of four states: committed at or below `read_up_to`, and delivered;
//! above it, or provisional above it, and then `from` is not behind it (*newer-is-named* of `storage`); provisional at or
//! below, which was waited for; or not written, and then it is written later, by a leaseholder whose clock is above
//! `read_up_to` (*notified-in-order* of `replica`), under a time that is at most *fresh* behind.
//!
//! A feed reads when it hears of a commit, and once a second by itself: a lost word, or a gateway that died before it sent
//! it, costs that second. Between two reads it waits as long as the last one took, twice. A node without listeners reads
//! nothing.
//!
//! Who has sent something removes, while it does and until that is done, what is older than [`KEPT`].

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use hlc::Timestamp;
use keys::{NodeId, Span, TxnId, keyspace};
use kv::Db;
use parking_lot::Mutex;
use rpc::{Lane, RpcError, Service, services};
use rustc_hash::FxHashMap;
use tokio::time::Instant;
use types::{SqlError, SqlState};

use super::{Listener, Notification, QUEUE_BYTES_MAX};

/// A feed looks by itself.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The shortest pause between two reads.
const PAUSE_MIN: Duration = Duration::from_millis(1);
/// How much a feed that is behind reads at once, in time: what it has read is sorted in memory.
const STEP_NS: u64 = 2_000_000_000;
/// About how much one request for it answers.
const PAGE_BYTES: u64 = 1 << 20;
/// Rows live so long.
const KEPT: Duration = Duration::from_secs(600);
const CLEAN_EVERY: Duration = Duration::from_secs(60);
const WORD_TIMEOUT: Duration = Duration::from_secs(5);

/// The notifications of a node.
pub struct Hub {
    db: Db,
    feeds: Mutex<BTreeMap<u32, Arc<Feed>>>,
    /// Databases that other nodes have not been told of yet, by node; there while word to it is under way.
    words: Mutex<FxHashMap<NodeId, Vec<u32>>>,
    /// When something was last sent in a database; there while its old rows are being removed.
    sent: Mutex<BTreeMap<u32, Instant>>,
    this: Weak<Self>,
}

/// The notifications of a database.
struct Feed {
    database: u32,
    place: tokio::sync::Mutex<Place>,
    members: Mutex<Members>,
    wake: tokio::sync::Notify,
}

#[derive(Default)]
struct Members {
    listeners: Vec<Weak<Listener>>,
    /// Sessions that are about to be among them.
    joining: usize,
}

/// How far a feed has read.
#[derive(Clone, Copy, Default)]
struct Place {
    read_up_to: Timestamp,
    /// *window-holds-all*, a time as keys bear it.
    from_ns: u64,
}

/// In the order in which listeners are given them.
type Order = (Timestamp, TxnId, u32);

/// A session that is about to listen.
struct Joining(Arc<Feed>);

impl Drop for Joining {
    fn drop(&mut self) {
        self.0.members.lock().joining -= 1;
    }
}

struct Words(Weak<Hub>);

#[async_trait]
impl Service for Words {
    async fn call(&self, from: NodeId, payload: Bytes) -> Result<Bytes, RpcError> {
        let Some(hub) = self.0.upgrade() else { return Ok(Bytes::new()) };
        let (databases, rest) = payload.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(RpcError::Refused { reason: format!("word of notifications from {from} of no whole numbers") });
        }
        for database in databases {
            hub.wake(u32::from_le_bytes(*database));
        }
        Ok(Bytes::new())
    }
}

impl Hub {
    pub(crate) fn new(db: &Db) -> Arc<Self> {
        let hub = Arc::new_cyclic(|this| Self {
            db: db.clone(),
            feeds: Mutex::default(),
            words: Mutex::default(),
            sent: Mutex::default(),
            this: this.clone(),
        });
        db.transport().register(services::NOTIFY, Arc::new(Words(Arc::downgrade(&hub))));
        hub
    }

    /// The listener is given what commits from now on, once it has channels.
    ///
    /// # Errors
    /// When what is being committed now cannot be read.
    pub(crate) async fn join(&self, database: u32, listener: &Arc<Listener>) -> Result<(), kv::Error> {
        let joining = self.feed(database);
        let feed = &joining.0;
        let mut place = feed.place.lock().await;
        // What was answered to anybody lies at or below the clock of the leaseholder, and with its answer so does ours.
        self.db.get(&keyspace::notifications(database).start).await?;
        let now = self.db.clock().now();
        if place.read_up_to.is_min() {
            // Nothing that is there is delivered, and all that comes lies above. What commits later may have been laid
            // long ago: this looks at all that is kept, so that the next read begins where it must.
            let first = Place { read_up_to: now, from_ns: now.wall_ns().saturating_sub(nanoseconds(KEPT)) };
            *place = self.read(feed, first, now).await?;
        } else {
            self.advance(feed, &mut place, now).await?;
        }
        let mut members = feed.members.lock();
        let is_same = |known: &Weak<Listener>| std::ptr::eq(known.as_ptr(), Arc::as_ptr(listener));
        if !members.listeners.iter().any(is_same) {
            members.listeners.push(Arc::downgrade(listener));
        }
        Ok(())
    }

    /// The listener has no channels any more.
    pub(crate) fn leave(&self, database: u32, listener: &Arc<Listener>) {
        let feed = self.feeds.lock().get(&database).cloned();
        if let Some(feed) = feed {
            feed.members.lock().listeners.retain(|known| !std::ptr::eq(known.as_ptr(), Arc::as_ptr(listener)));
        }
    }

    /// A transaction of this node has committed that has sent something.
    pub(crate) fn committed(&self, database: u32) {
        self.wake(database);
        for node in self.db.reachable_nodes() {
            self.send_word(node, database);
        }
        self.clean(database);
    }

    /// Gives the listeners of a database what has committed up to this time.
    pub(crate) async fn catch_up(&self, database: u32, up_to: Timestamp) -> Result<(), kv::Error> {
        let feed = self.feeds.lock().get(&database).cloned();
        let Some(feed) = feed else { return Ok(()) };
        let mut place = feed.place.lock().await;
        if place.read_up_to >= up_to {
            return Ok(());
        }
        let now = self.db.clock().now().max(up_to);
        self.advance(&feed, &mut place, now).await
    }

    /// How full the fullest queue of a listening session of this node is.
    pub(crate) fn usage(&self) -> f64 {
        let feeds: Vec<_> = self.feeds.lock().values().cloned().collect();
        let queued = |listener: &Weak<Listener>| listener.upgrade().map_or(0, |listener| listener.queued_bytes());
        let fullest = feeds.iter().map(|feed| feed.members.lock().listeners.iter().map(queued).max().unwrap_or(0)).max();
        fullest.unwrap_or(0) as f64 / QUEUE_BYTES_MAX as f64
    }

    fn wake(&self, database: u32) {
        if let Some(feed) = self.feeds.lock().get(&database) {
            feed.wake.notify_one();
        }
    }

    /// The feed of a database, which stays as long as somebody is about to listen.
    fn feed(&self, database: u32) -> Joining {
        let mut feeds = self.feeds.lock();
        let feed = feeds.entry(database).or_insert_with(|| {
            let feed = Arc::new(Feed {
                database,
                place: tokio::sync::Mutex::default(),
                members: Mutex::default(),
                wake: tokio::sync::Notify::new(),
            });
            tokio::spawn(follow(self.this.clone(), feed.clone()));
            feed
        });
        feed.members.lock().joining += 1;
        Joining(feed.clone())
    }

    /// Whether a feed has listeners; without it is removed.
    fn is_wanted(&self, feed: &Arc<Feed>) -> bool {
        let mut feeds = self.feeds.lock();
        let mut members = feed.members.lock();
        members.listeners.retain(|listener| listener.strong_count() > 0);
        let is_wanted = members.joining > 0 || !members.listeners.is_empty();
        if !is_wanted {
            feeds.remove(&feed.database);
        }
        is_wanted
    }

    /// Delivers what has committed up to this time.
    async fn advance(&self, feed: &Feed, place: &mut Place, up_to: Timestamp) -> Result<(), kv::Error> {
        while place.read_up_to < up_to {
            let step = up_to.min(place.read_up_to.add_ns(STEP_NS));
            *place = self.read(feed, *place, step).await?;
        }
        Ok(())
    }

    /// One read, from where the last one ended. Nothing is delivered unless all of it could be read.
    async fn read(&self, feed: &Feed, place: Place, up_to: Timestamp) -> Result<Place, kv::Error> {
        let start = keyspace::notifications_from(feed.database, place.from_ns);
        let mut left = Some(Span::new(start, keyspace::notifications(feed.database).end));
        let mut found: Vec<(Order, Notification)> = Vec::new();
        let mut from_ns = up_to.wall_ns().saturating_sub(keyspace::NOTIFICATION_FRESH_NS);
        while let Some(span) = left {
            let page = self.db.changes(&span, place.read_up_to, up_to, PAGE_BYTES).await?;
            if let Some(of) = page.newer.as_ref().and_then(|key| keyspace::parse_notification(key.as_bytes())) {
                from_ns = from_ns.min(of.time_ns);
            }
            for ((key, value), version) in page.rows.iter().zip(&page.versions) {
                let Some(of) = keyspace::parse_notification(key).filter(|_| !version.is_tombstone) else { continue };
                match Notification::decode(value) {
                    Some(notification) => found.push(((version.ts, of.txn_id, of.n), notification)),
                    None => tracing::error!(database = feed.database, "a notification is damaged, and not delivered"),
                }
            }
            left = page.resume;
        }
        // *commit-order*
        found.sort_unstable_by_key(|(order, _)| *order);
        let listeners: Vec<Arc<Listener>> = feed.members.lock().listeners.iter().filter_map(Weak::upgrade).collect();
        for (_, notification) in found {
            let notification = Arc::new(notification);
            listeners.iter().for_each(|listener| listener.push(&notification));
        }
        Ok(Place { read_up_to: up_to, from_ns })
    }

    fn send_word(&self, node: NodeId, database: u32) {
        let mut words = self.words.lock();
        if let Some(waiting) = words.get_mut(&node) {
            if !waiting.contains(&database) {
                waiting.push(database);
            }
            return;
        }
        words.insert(node, vec![database]);
        drop(words);
        let this = self.this.clone();
        tokio::spawn(async move {
            while let Some((transport, payload)) = this.upgrade().and_then(|hub| hub.next_word(node)) {
                let sent = transport.call(node, Lane::Client, services::NOTIFY, payload, WORD_TIMEOUT).await;
                if let Err(error) = sent {
                    // It looks by itself.
                    tracing::debug!(%node, %error, "word of notifications");
                }
            }
        });
    }

    /// What a node is to be told next; none when it knows all.
    fn next_word(&self, node: NodeId) -> Option<(Arc<dyn rpc::Transport>, Bytes)> {
        let mut words = self.words.lock();
        let databases = std::mem::take(words.get_mut(&node)?);
        if databases.is_empty() {
            words.remove(&node);
            return None;
        }
        let payload: Vec<u8> = databases.into_iter().flat_map(u32::to_le_bytes).collect();
        Some((self.db.transport().clone(), payload.into()))
    }

    /// Sees to it that old rows of a database are removed.
    fn clean(&self, database: u32) {
        let mut sent = self.sent.lock();
        let is_idle = sent.is_empty();
        sent.insert(database, Instant::now());
        if is_idle {
            drop(sent);
            tokio::spawn(remove_old(self.this.clone()));
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Reads on for a database, as long as somebody listens.
async fn follow(hub: Weak<Hub>, feed: Arc<Feed>) {
    loop {
        // Woken or not, it looks.
        let _woken = tokio::time::timeout(LOOK_EVERY, feed.wake.notified()).await;
        let Some(hub) = hub.upgrade().filter(|hub| hub.is_wanted(&feed)) else { return };
        let began = Instant::now();
        let mut place = feed.place.lock().await;
        // The first to listen has not read yet.
        if !place.read_up_to.is_min() {
            let now = hub.db.clock().now();
            match hub.advance(&feed, &mut place, now).await {
                Ok(()) => {}
                Err(kv::Error::SnapshotTooOld { .. }) => {
                    let listeners: Vec<_> = feed.members.lock().listeners.drain(..).collect();
                    for listener in listeners.iter().filter_map(Weak::upgrade) {
                        let message = "notifications were removed before this node could read them";
                        listener.lose(SqlError::new(SqlState::ObjectNotInPrerequisiteState, message));
                    }
                    *place = Place::default();
                }
                // The next read begins where this one did.
                Err(error) => tracing::debug!(database = feed.database, %error, "notifications cannot be read"),
            }
        }
        drop(place);
        drop(hub);
        tokio::time::sleep((began.elapsed() * 2).clamp(PAUSE_MIN, LOOK_EVERY)).await;
    }
}

/// Removes what is older than [`KEPT`] from databases in which this node has sent something, until nothing is left of that.
async fn remove_old(hub: Weak<Hub>) {
    loop {
        tokio::time::sleep(CLEAN_EVERY).await;
        let Some(hub) = hub.upgrade() else { return };
        let databases: Vec<u32> = hub.sent.lock().keys().copied().collect();
        for database in databases {
            let now = hub.db.clock().now();
            let end = keyspace::notifications_from(database, now.wall_ns().saturating_sub(nanoseconds(KEPT)));
            let old = Span::new(keyspace::notifications(database).start, end);
            if let Err(error) = hub.db.clear_span(&old, now).await {
                tracing::debug!(database, %error, "old notifications are left");
            }
        }
        let mut sent = hub.sent.lock();
        sent.retain(|_, last| last.elapsed() < KEPT + 2 * CLEAN_EVERY);
        if sent.is_empty() {
            return;
        }
    }
}
