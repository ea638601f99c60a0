//! Keeps the locks of running transactions alive: one task for all of them, and no message for those that end
//! within an interval.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use hlc::Timestamp;
use keys::{Key, TxnId, TxnStatus};
use parking_lot::Mutex;
use replica::api::{Header, KvError, Request, Response};
use rustc_hash::FxHashMap;

use crate::db::{Db, DbInner};

#[derive(Clone)]
struct Entry {
    anchor: Key,
    since: Timestamp,
    aborted: Arc<AtomicBool>,
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
        self.table.lock().insert(id, Entry { anchor, since, aborted: aborted.clone() });
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
            beat(&Db(inner)).await;
        }
    });
}

async fn beat(db: &Db) {
    let inner: &DbInner = &db.0;
    let old_enough = inner.clock.now().sub_ns(u64::try_from(inner.config.heartbeat_interval.as_nanos()).unwrap_or(0));
    let due: Vec<(TxnId, Entry)> = {
        let table = inner.heartbeats.table.lock();
        table.iter().filter(|(_, entry)| entry.since <= old_enough).map(|(id, entry)| (*id, entry.clone())).collect()
    };
    let beats = due.into_iter().map(|(txn_id, entry)| async move {
        let request = Request::HeartbeatTxn { anchor: entry.anchor.clone(), txn_id, min_ts: entry.since };
        let sent = db.send_keyed(&entry.anchor, Header::default(), vec![request]);
        // A range that is away must not keep the others from being told: theirs would expire.
        let Ok(answer) = tokio::time::timeout(inner.config.heartbeat_interval, sent).await else { return };
        match answer {
            Ok(response) => match response.responses.first() {
                Some(Response::HeartbeatTxn { status: TxnStatus::Aborted }) => {
                    entry.aborted.store(true, Ordering::Relaxed);
                }
                _ => {}
            },
            Err(KvError::Aborted { .. }) => entry.aborted.store(true, Ordering::Relaxed),
            Err(error) => tracing::debug!(%error, "heartbeat"),
        }
    });
    futures::future::join_all(beats).await;
}
