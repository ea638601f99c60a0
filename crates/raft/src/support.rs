//! Store liveness at work: one heartbeat for each pair of stores, whatever the number of ranges they share.
//!
//! **Invariants**
//! - *promise-durable-before-answer*: no promise is answered that a power cut could undo.
//! - *restart-new-epoch*: a store that starts goes on under an epoch it never used.
//! - *heard-both-ways*: a promise is given only to a store that answers our own heartbeats. Otherwise a leader that
//!   is heard and hears nobody would be supported for ever, while it has no lease, and the range no leader.
//! - *promise-bounded*: no promise is longer than this store's own idea of one, whatever a peer asks.
//! - *hung-disk-unsupported*: a store whose disk hangs neither asks for support nor answers, nor does its node answer the
//!   heartbeats of connections, so that it counts as away: nothing it proposes would ever be on its disk. Its heartbeats
//!   ask for no more support before that already, for as long as the disk lags; they go on, for it hears others by them.
//! - *heard-lately*: no promise reaches further than its length, and the time between two heartbeats, past the last
//!   answer of the store it is given to. One that is cut off so that it hears nobody would be promised more for as long
//!   as nobody has noticed.
//!
//! Heartbeats are sent and answered where nothing else can hold them up ([`Transport::spawn_urgent`]).

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use hlc::{Clock, Timestamp};
use keys::{NodeId, StoreId};
use parking_lot::{Mutex, RwLock};
use rpc::{Lane, RpcError, Service, Transport, services};
use rustc_hash::FxHashMap;
use storage::log::{LogOp, LogStore};
use tokio::{sync::Notify, time::Instant};

use crate::{
    OpenError,
    promises::{Answer, Heartbeat, Outcome, Promise, Promises, Requests, Save},
};

#[derive(Clone, Copy, Debug)]
pub struct LivenessConfig {
    pub heartbeat: Duration,
    /// How long a promise lasts.
    pub support: Duration,
    /// While a disk has not finished a write for so long, no more support is asked for.
    pub disk_lags_after: Duration,
    /// A disk that has not finished one for so long hangs.
    pub disk_hangs_after: Duration,
}

impl Default for LivenessConfig {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(400),
            support: Duration::from_secs(2),
            disk_lags_after: Duration::from_millis(500),
            disk_hangs_after: Duration::from_millis(1500),
        }
    }
}

const EPOCH_KEY: &[u8] = b"liveness/epoch";
const PROMISE_PREFIX: &[u8] = b"liveness/promise/";

/// What a peer's store promised this one.
#[derive(Debug)]
pub struct PeerSupport {
    pub store: StoreId,
    node: NodeId,
    /// The epoch supported, and until when (wall time of the clock; the logical part is dropped, which only shortens).
    epoch: AtomicU64,
    until_ns: AtomicU64,
    /// It answered within the last promise's length.
    live: AtomicBool,
    /// When it answered last.
    heard: Mutex<Instant>,
}

/// Support between this store and the others.
#[derive(Clone)]
pub struct StoreLiveness {
    inner: Arc<Inner>,
}

struct Inner {
    store: StoreId,
    clock: Arc<Clock>,
    log: LogStore,
    transport: Arc<dyn Transport>,
    config: LivenessConfig,
    promises: Mutex<Promises>,
    /// Saves of promises and epochs, one at a time: what is on disk must not fall behind what was answered or asked.
    saving: tokio::sync::Mutex<()>,
    epoch: AtomicU64,
    peers: RwLock<FxHashMap<StoreId, Arc<PeerSupport>>>,
    /// Has one listener, and keeps a notice it has not taken yet.
    changed: Notify,
    stopped: AtomicBool,
}

pub(crate) struct LivenessDeps {
    pub store: StoreId,
    pub clock: Arc<Clock>,
    pub log: LogStore,
    pub recovered: RecoveredLiveness,
    pub transport: Arc<dyn Transport>,
    pub config: LivenessConfig,
}

/// What liveness was found on disk.
#[derive(Debug, Default)]
pub(crate) struct RecoveredLiveness {
    epoch: u64,
    promises: Vec<(StoreId, Promise)>,
}

impl RecoveredLiveness {
    /// # Errors
    /// When a record is damaged. A promise that cannot be read may have been given to anybody, and an epoch used
    /// twice revives what was withdrawn: such a store must not take part again.
    pub fn read(metas: &[(Bytes, Bytes)]) -> Result<Self, OpenError> {
        let mut found = Self::default();
        for (key, value) in metas {
            let damaged = || OpenError {
                reason: format!(
                    "the store's liveness record {:?} is damaged: remove this store and let another take its place",
                    String::from_utf8_lossy(key)
                ),
            };
            if key == EPOCH_KEY {
                found.epoch = postcard::from_bytes(value).map_err(|_| damaged())?;
            } else if let Some(peer) = key.strip_prefix(PROMISE_PREFIX) {
                let peer = <[u8; 8]>::try_from(peer).map_err(|_| damaged())?;
                let promise = postcard::from_bytes(value).map_err(|_| damaged())?;
                found.promises.push((StoreId::new(u64::from_be_bytes(peer)), promise));
            }
        }
        Ok(found)
    }

    /// The epochs that were supported last.
    pub fn epochs(&self) -> FxHashMap<StoreId, u64> {
        self.promises.iter().map(|(peer, promise)| (*peer, promise.epoch)).collect()
    }
}

impl StoreLiveness {
    /// Begins a new epoch, durable before this returns.
    pub(crate) async fn start(deps: LivenessDeps) -> Self {
        let epoch = deps.recovered.epoch;
        let inner = Inner {
            store: deps.store,
            clock: deps.clock,
            log: deps.log,
            transport: deps.transport.clone(),
            config: deps.config,
            promises: Mutex::new(Promises::recover(deps.recovered.promises)),
            saving: tokio::sync::Mutex::default(),
            epoch: AtomicU64::new(epoch),
            peers: RwLock::default(),
            changed: Notify::new(),
            stopped: AtomicBool::new(false),
        };
        let this = Self { inner: Arc::new(inner) };
        // *restart-new-epoch*: what was led before this start is fortified under an epoch that is over.
        this.raise_epoch(epoch + 1).await;
        deps.transport.register(services::LIVENESS, Arc::new(Handler { inner: this.inner.clone() }));
        deps.transport.register(services::PULSE, Arc::new(Pulse { inner: Arc::downgrade(&this.inner) }));
        this
    }

    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.inner.epoch.load(Ordering::Acquire)
    }

    /// The length of a promise.
    pub(crate) fn support_ns(&self) -> u64 {
        nanos(self.inner.config.support)
    }

    /// Goes on under epoch `to` or a later one, durable before any heartbeat carries it. Leases that were worked out
    /// under an earlier one do not count from then on. Dropped before it completes, it may have written `to`, which no
    /// heartbeat has carried then.
    pub(crate) async fn raise_epoch(&self, to: u64) {
        // Of two callers the one with the lower epoch must not be written last.
        let _one_at_a_time = self.inner.saving.lock().await;
        if to <= self.epoch() {
            return;
        }
        let value: Bytes = postcard::to_stdvec(&to).expect("a number encodes").into();
        if self.inner.durable(LogOp::PutMeta { key: Bytes::from_static(EPOCH_KEY), value }).await {
            self.inner.epoch.store(to, Ordering::Release);
        }
    }

    /// Heartbeats with a store from now on. Calling it again costs a lookup.
    pub fn ensure_peer(&self, store: StoreId, node: NodeId) -> Option<Arc<PeerSupport>> {
        if store == self.inner.store {
            return None;
        }
        if let Some(peer) = self.inner.peers.read().get(&store) {
            return Some(peer.clone());
        }
        let mut peers = self.inner.peers.write();
        if let Some(peer) = peers.get(&store) {
            return Some(peer.clone());
        }
        let peer = Arc::new(PeerSupport {
            store,
            node,
            epoch: AtomicU64::new(0),
            until_ns: AtomicU64::new(0),
            live: AtomicBool::new(true),
            heard: Mutex::new(Instant::now()),
        });
        peers.insert(store, peer.clone());
        self.inner.transport.spawn_urgent(Box::pin(heartbeat_loop(self.clone(), peer.clone())));
        Some(peer)
    }

    /// Until when this store's leaderships are supported by another store; its own support does not end.
    #[must_use]
    pub fn support_from(&self, store: StoreId) -> Option<Timestamp> {
        if store == self.inner.store {
            return Some(Timestamp::MAX);
        }
        let peers = self.inner.peers.read();
        let peer = peers.get(&store)?;
        (peer.epoch.load(Ordering::Acquire) == self.epoch())
            .then(|| Timestamp::new(peer.until_ns.load(Ordering::Acquire), 0))
    }

    /// The epoch of a store that this one supports now.
    #[must_use]
    pub fn supports(&self, store: StoreId) -> Option<u64> {
        if store == self.inner.store {
            return Some(self.epoch());
        }
        self.inner.promises.lock().supports(store, self.inner.clock.peek())
    }

    /// How long until the first promise to another store runs out, of those that have not.
    pub(crate) fn first_expiry(&self) -> Option<Duration> {
        let now = self.inner.clock.peek();
        let first = self.inner.promises.lock().first_expiry(now)?;
        // Expirations are still part of the promise.
        Some(Duration::from_nanos(first.wall_ns().saturating_sub(now.wall_ns()) + 1))
    }

    /// Whether a promise under this epoch still forbids opposing what the store leads.
    #[must_use]
    pub fn binds(&self, store: StoreId, epoch: u64) -> bool {
        self.inner.promises.lock().binds(store, epoch, self.inner.clock.peek())
    }

    /// Withdraws support for an epoch of a store if the promise has run out; whether it does not stand any more. A
    /// withdrawal is durable when this returns.
    pub async fn withdraw(&self, store: StoreId, epoch: u64) -> bool {
        let _one_at_a_time = self.inner.saving.lock().await;
        // Given out, so that this clock never goes back to before the expiration it has passed: the vote takes it along,
        // and the next lease begins above.
        let now = self.inner.clock.now();
        let outcome = self.inner.promises.lock().withdraw(store, epoch, now);
        match outcome {
            Err(_) => false,
            Ok(None) => true,
            Ok(Some(save)) => {
                tracing::info!(%store, epoch, "support withdrawn");
                self.inner.save(save).await
            }
        }
    }

    /// Whether a store was heard from lately; this store always was.
    #[must_use]
    pub fn is_live(&self, store: StoreId) -> bool {
        store == self.inner.store
            || self.inner.peers.read().get(&store).is_some_and(|peer| peer.live.load(Ordering::Acquire))
    }

    /// Whether a store that this one exchanges heartbeats with is not heard from.
    #[must_use]
    pub fn is_away(&self, store: StoreId) -> bool {
        self.inner.peers.read().get(&store).is_some_and(|peer| !peer.live.load(Ordering::Acquire))
    }

    /// Whether this store's own disk hangs.
    #[must_use]
    pub fn disk_hangs(&self) -> bool {
        self.inner.disk_hangs()
    }

    /// Completes when some peer's liveness may have changed, or a group wants to be looked at.
    pub(crate) async fn changed(&self) {
        self.inner.changed.notified().await;
    }

    /// Wakes whoever awaits [`StoreLiveness::changed`], now or when it next does.
    pub(crate) fn notify(&self) {
        self.inner.changed.notify_one();
    }

    #[must_use]
    pub fn peers(&self) -> Vec<(StoreId, bool)> {
        let peers = self.inner.peers.read();
        peers.values().map(|peer| (peer.store, peer.live.load(Ordering::Acquire))).collect()
    }

    pub(crate) fn stop(&self) {
        self.inner.stopped.store(true, Ordering::Release);
    }
}

impl Inner {
    fn disk_hangs(&self) -> bool {
        self.log.stalled_for() >= self.config.disk_hangs_after
    }

    /// Until when support is asked for. Not beyond now while the disk lags: the heartbeat says only that this store is
    /// there, and lets it hear that the other is.
    fn asks_until(&self) -> Timestamp {
        let now = self.clock.peek();
        let lags = self.log.stalled_for() >= self.config.disk_lags_after;
        if lags { now } else { now.add_ns(nanos(self.config.support)) }
    }

    /// False when the log is closed: the store is ending, and nobody may be told anything any more.
    #[must_use]
    async fn durable(&self, op: LogOp) -> bool {
        let (done, wait) = futures::channel::oneshot::channel();
        self.log.submit(op, Box::new(move || { let _unheard = done.send(()); }));
        wait.await.is_ok()
    }

    #[must_use]
    async fn save(&self, save: Save) -> bool {
        let mut key = PROMISE_PREFIX.to_vec();
        key.extend_from_slice(&save.peer.get().to_be_bytes());
        let value: Bytes = postcard::to_stdvec(&save.promise).expect("a promise encodes").into();
        let durable = self.durable(LogOp::PutMeta { key: key.into(), value }).await;
        if durable {
            self.promises.lock().saved(save);
        }
        durable
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A heartbeat that is lost is sent again in time for the promise before it.
const HEARTBEAT_TIMEOUTS_A_PROMISE: u32 = 3;
const MIN_PAUSE: Duration = Duration::from_millis(10);

async fn heartbeat_loop(liveness: StoreLiveness, peer: Arc<PeerSupport>) {
    let inner = &liveness.inner;
    let support = inner.config.support;
    while !inner.stopped.load(Ordering::Acquire) {
        // *hung-disk-unsupported*
        if inner.disk_hangs() {
            tokio::time::sleep(inner.config.heartbeat.max(MIN_PAUSE)).await;
            continue;
        }
        let began = Instant::now();
        let epoch = liveness.epoch();
        let beat = Heartbeat { from: inner.store, to: peer.store, epoch, expiration: inner.asks_until() };
        let payload: Bytes = postcard::to_stdvec(&beat).expect("a heartbeat encodes").into();
        let timeout = support / HEARTBEAT_TIMEOUTS_A_PROMISE;
        let call = inner.transport.call(peer.node, Lane::Control, services::LIVENESS, payload, timeout);
        let answer = call.await.ok().and_then(|bytes| postcard::from_bytes::<Answer>(&bytes).ok());
        if let Some(answer) = answer {
            *peer.heard.lock() = Instant::now();
            if !peer.live.swap(true, Ordering::AcqRel) {
                tracing::info!(store = %peer.store, "store is live");
                liveness.notify();
            }
            match (Requests { epoch }).answer(answer) {
                Outcome::Supported(until) => {
                    peer.until_ns.store(until.wall_ns(), Ordering::Release);
                    if peer.epoch.swap(epoch, Ordering::AcqRel) != epoch {
                        // Leaders that waited for this support have a lease now.
                        liveness.notify();
                    }
                }
                Outcome::NewEpoch(next) => {
                    // A disk that lags does not keep this store from hearing the other; given up here, it is asked again.
                    if tokio::time::timeout(inner.config.heartbeat, liveness.raise_epoch(next)).await.is_ok() {
                        liveness.notify();
                        continue;
                    }
                }
                Outcome::Stale => {}
            }
        }
        let mut wait = inner.config.heartbeat.saturating_sub(began.elapsed());
        if peer.live.load(Ordering::Acquire) {
            // Not later than its promise to us, and ours to it, is over: an election may be waiting for this.
            let left = support.saturating_sub(peer.heard.lock().elapsed());
            if left.is_zero() {
                peer.live.store(false, Ordering::Release);
                tracing::info!(store = %peer.store, "store is not heard from");
                liveness.notify();
            } else {
                wait = wait.min(left);
            }
        }
        tokio::time::sleep(wait.max(MIN_PAUSE)).await;
    }
}

/// What may be promised to a store that has not been heard for so long: *heard-lately*.
fn longest_promise(config: &LivenessConfig, unheard: Duration) -> Duration {
    (config.support + config.heartbeat).saturating_sub(unheard).min(config.support)
}

/// Answers the heartbeats of connections: *hung-disk-unsupported*.
struct Pulse {
    inner: Weak<Inner>,
}

#[async_trait]
impl Service for Pulse {
    async fn call(&self, _from: NodeId, _payload: Bytes) -> Result<Bytes, RpcError> {
        match self.inner.upgrade() {
            Some(inner) if inner.disk_hangs() => Err(RpcError::Refused { reason: "the disk hangs".into() }),
            _ => Ok(Bytes::new()),
        }
    }
}

struct Handler {
    inner: Arc<Inner>,
}

impl Handler {
    fn judge(&self, mut beat: Heartbeat) -> (Answer, Option<Save>) {
        let peer = self.inner.peers.read().get(&beat.from).cloned();
        // *heard-both-ways*
        if peer.as_ref().is_some_and(|peer| !peer.live.load(Ordering::Acquire)) {
            return (Answer::Unheard, None);
        }
        // *promise-bounded*, *heard-lately*
        let unheard = peer.map_or(Duration::ZERO, |peer| peer.heard.lock().elapsed());
        let longest = longest_promise(&self.inner.config, unheard);
        beat.expiration = beat.expiration.min(self.inner.clock.peek().add_ns(nanos(longest)));
        self.inner.promises.lock().heartbeat(beat)
    }
}

#[async_trait]
impl Service for Handler {
    async fn call(&self, _from: NodeId, payload: Bytes) -> Result<Bytes, RpcError> {
        let refused = |reason: String| RpcError::Refused { reason };
        let beat: Heartbeat =
            postcard::from_bytes(&payload).map_err(|error| refused(format!("heartbeat: {error}")))?;
        if beat.to != self.inner.store {
            return Err(refused(format!("{} is not here, {} is", beat.to, self.inner.store)));
        }
        if beat.from == self.inner.store {
            return Err(refused(format!("another {} is in this cluster", beat.from)));
        }
        // *hung-disk-unsupported*
        if self.inner.disk_hangs() {
            return Err(refused("the disk hangs".into()));
        }
        let (mut answer, mut save) = self.judge(beat);
        if save.is_some() {
            // *promise-durable-before-answer*
            let _one_at_a_time = self.inner.saving.lock().await;
            (answer, save) = self.judge(beat);
            if let Some(save) = save
                && !self.inner.save(save).await
            {
                return Err(refused("the store is stopping".into()));
            }
        }
        Ok(postcard::to_stdvec(&answer).expect("an answer encodes").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A leader that is heard and hears nobody sends its heartbeats on; each is answered, and goes by when its answers
    /// were heard last.
    #[test]
    fn heard_lately() {
        let config = LivenessConfig::default();
        assert_eq!(longest_promise(&config, config.heartbeat), config.support, "a heartbeat late costs nothing");
        for unheard in (0..40).map(|step| config.heartbeat * step / 4) {
            let until = unheard + longest_promise(&config, unheard);
            assert!(until <= unheard.max(config.support + config.heartbeat), "heard-lately: {unheard:?}");
        }
    }
}
