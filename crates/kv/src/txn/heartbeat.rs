//! Keeps the locks of running transactions alive: one task that sends for all of them, and no message for those that
//! end within an interval. A transaction lives for several intervals, and its heartbeats travel on a lane that nothing
//! large is sent on; none waits for that of another, whose range may be away.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use hlc::Timestamp;
use keys::{Key, TxnId, TxnStatus};
use parking_lot::Mutex;
use replica::{
    TXN_EXPIRY,
    api::{Header, KvError, Request, Response},
};
use rustc_hash::FxHashMap;

use crate::db::{Db, DbInner};

#[derive(Clone)]
struct Entry {
    anchor: Key,
    since: Timestamp,
    aborted: Arc<AtomicBool>,
    /// A heartbeat has no answer yet.
    under_way: Arc<AtomicBool>,
}

type Table = Arc<Mutex<FxHashMap<TxnId, Entry>>>;

/// The transactions of this node that hold locks.
#[derive(Default)]
pub(crate) struct Heartbeats {
    table: Table,
}

/// Keeps a transaction in the table; dropping it takes it out.
pub(crate) struct HeartbeatHandle {
    id: TxnId,
    table: Table,
    aborted: Arc<AtomicBool>,
}

impl HeartbeatHandle {
    /// A heartbeat found the transaction aborted.
    pub fn is_aborted(&self) -> bool {
        self.aborted.load(Ordering::Relaxed)
    }
}

impl Drop for HeartbeatHandle {
    fn drop(&mut self) {
        self.table.lock().remove(&self.id);
    }
}

impl Heartbeats {
    pub fn register(&self, id: TxnId, anchor: Key, since: Timestamp) -> HeartbeatHandle {
        let aborted = Arc::new(AtomicBool::new(false));
        let entry = Entry { anchor, since, aborted: aborted.clone(), under_way: Arc::default() };
        self.table.lock().insert(id, entry);
        HeartbeatHandle { id, table: self.table.clone(), aborted }
    }
}

/// Starts the task; it ends when the last handle on `db` is gone.
pub(crate) fn start_heartbeats(db: &Db) {
    let weak = Arc::downgrade(&db.0);
    let interval = db.0.config.heartbeat_interval;
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Some(inner) = weak.upgrade() else { return };
            beat(&Db(inner));
        }
    });
}

/// Sends a heartbeat for each transaction that is due and has none under way.
fn beat(db: &Db) {
    let inner: &DbInner = &db.0;
    let old_enough = inner.clock.peek().sub_ns(u64::try_from(inner.config.heartbeat_interval.as_nanos()).unwrap_or(0));
    let due: Vec<(TxnId, Entry)> = {
        let table = inner.heartbeats.table.lock();
        let due = |entry: &Entry| entry.since <= old_enough && !entry.under_way.swap(true, Ordering::AcqRel);
        table.iter().filter(|(_, entry)| due(entry)).map(|(id, entry)| (*id, entry.clone())).collect()
    };
    for (txn_id, entry) in due {
        let db = db.clone();
        tokio::spawn(async move {
            // Later it would say nothing any more.
            if tokio::time::timeout(TXN_EXPIRY, beat_one(&db, txn_id, &entry)).await.is_err() {
                tracing::debug!(%txn_id, "a heartbeat had no answer");
            }
            entry.under_way.store(false, Ordering::Release);
        });
    }
}

async fn beat_one(db: &Db, txn_id: TxnId, entry: &Entry) {
    let request = Request::HeartbeatTxn { anchor: entry.anchor.clone(), txn_id, min_ts: entry.since };
    match db.send_keyed(&entry.anchor, Header::default(), vec![request]).await {
        Ok(response) => match response.responses.first() {
            Some(Response::HeartbeatTxn { status: TxnStatus::Aborted }) => {
                entry.aborted.store(true, Ordering::Relaxed);
            }
            _ => {}
        },
        Err(KvError::Aborted { .. }) => entry.aborted.store(true, Ordering::Relaxed),
        Err(error) => tracing::debug!(%error, "heartbeat"),
    }
}
