//! How much of the Raft log is kept.
//!
//! A follower that lacks an entry which is gone needs a snapshot, so what live followers lack is kept as long as it is
//! not too much; what nobody needs is kept only as far as it is little.
//!
//! ```text
//! above KEPT_ENTRIES twice, or above `log_kept_bytes`    cut, a leader not beyond what its live followers have
//! above BOUND_FACTOR times `log_kept_bytes`              cut whoever lacks it
//! ```
//!
//! Nothing is cut that the engine has not flushed: when that is what keeps a log too large, it is flushed.
//!
//! **Invariant (one-stuck-range-holds-up-no-other):** each log is cut on a task of its own, a few at a time, and one
//! that could not be cut leaves its place to others for a while.

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use keys::RangeId;
use replica::Replica;
use rustc_hash::FxHashMap;
use tokio::{
    sync::Semaphore,
    time::{Instant, MissedTickBehavior},
};

use crate::store::{Inner, Store};

/// Log entries kept for followers that lag a little.
const KEPT_ENTRIES: u64 = 4_096;
/// A log that has so many times the bytes that are kept is cut whoever lacks it.
const BOUND_FACTOR: u64 = 4;
/// The engine is flushed, so that the log can be cut, when so much was written to the log since the last time.
const FLUSH_AFTER_LOG_BYTES: u64 = 128 << 20;
/// Logs that are cut at one time.
const AT_ONCE: usize = 16;
/// A log that could not be cut is left alone for so long.
const LEFT_ALONE: Duration = Duration::from_secs(60);

pub(crate) fn start(store: &Store) {
    tokio::spawn(run(Arc::downgrade(&store.inner)));
}

async fn run(weak: Weak<Inner>) {
    let Some(interval) = weak.upgrade().map(|inner| inner.config.queue_interval) else { return };
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    // Those being cut, and when each may be looked at again.
    let cutting: Arc<parking_lot::Mutex<FxHashMap<RangeId, Instant>>> = Arc::default();
    let mut flushed_at_bytes = 0;
    loop {
        ticks.tick().await;
        let Some(store) = Store::from_weak(&weak) else { return };
        if store.inner.stopping.load(Ordering::Acquire) {
            return;
        }
        let wanted = |replica: Arc<Replica>| cut_at(&store, &replica).map(|at| (replica, at));
        let wanted: Vec<(Arc<Replica>, u64)> = store.replicas().into_iter().filter_map(wanted).collect();
        flush_if_due(&store, &wanted, &mut flushed_at_bytes).await;
        let now = Instant::now();
        for (replica, up_to) in wanted {
            let range_id = replica.range_id();
            if cutting.lock().get(&range_id).is_some_and(|until| now < *until) {
                continue;
            }
            let Ok(turn) = turns.clone().try_acquire_owned() else { break };
            cutting.lock().insert(range_id, now + LEFT_ALONE);
            let cutting = cutting.clone();
            tokio::spawn(async move {
                if replica.group().truncate_log(up_to).await {
                    cutting.lock().remove(&range_id);
                }
                drop(turn);
            });
        }
    }
}

/// Up to where a log should be cut, if it should be.
fn cut_at(store: &Store, replica: &Replica) -> Option<u64> {
    let range_id = replica.range_id();
    let log = &store.inner.log;
    let (first, last) = log.bounds(range_id)?;
    let bytes = log.bytes(range_id);
    let extent = Extent { first, last, bytes, applied: replica.group().applied_index() };
    let needed = || replica.group().live_followers_have();
    extent.cut(store.inner.config.log_kept_bytes, needed, |bytes| log.last_beyond(range_id, bytes))
}

/// A log, as far as it matters here.
#[derive(Clone, Copy)]
struct Extent {
    first: u64,
    last: u64,
    bytes: u64,
    applied: u64,
}

impl Extent {
    /// `needed` is what all live followers have, where that is known; `last_beyond` the last entry that goes for so many
    /// bytes to stay.
    fn cut(
        self,
        kept_bytes: u64,
        needed: impl FnOnce() -> Option<u64>,
        last_beyond: impl Fn(u64) -> Option<u64>,
    ) -> Option<u64> {
        let many = self.last.saturating_sub(self.first) > 2 * KEPT_ENTRIES;
        let by_count = many.then(|| self.last.saturating_sub(KEPT_ENTRIES));
        // To the half, so that it is not done for every entry.
        let beyond = |max: u64| if self.bytes > max { last_beyond(max / 2) } else { None };
        let wanted = by_count.into_iter().chain(beyond(kept_bytes)).max()?;
        let bound = beyond(BOUND_FACTOR * kept_bytes).unwrap_or(0);
        let at = wanted.min(needed().unwrap_or(u64::MAX)).max(bound).min(self.applied);
        (at >= self.first).then_some(at)
    }
}

/// Once much was written, or when it is for want of a flush that a log stays too large.
async fn flush_if_due(store: &Store, wanted: &[(Arc<Replica>, u64)], flushed_at_bytes: &mut u64) {
    let (log, kept_bytes) = (&store.inner.log, store.inner.config.log_kept_bytes);
    let written = log.metrics().bytes.load(Ordering::Relaxed);
    let since = written.saturating_sub(*flushed_at_bytes);
    let held_up = |(replica, up_to): &(Arc<Replica>, u64)| {
        log.bytes(replica.range_id()) > BOUND_FACTOR * kept_bytes && replica.group().durable_index() < *up_to
    };
    // Not again for what a flush has not helped.
    if since <= FLUSH_AFTER_LOG_BYTES && (since <= kept_bytes || !wanted.iter().any(held_up)) {
        return;
    }
    *flushed_at_bytes = written;
    let engine = store.inner.engine.clone();
    let flushed = tokio::task::spawn_blocking(move || engine.flush()).await;
    if let Ok(Err(error)) = flushed {
        tracing::warn!(%error, "flush");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1 << 10;

    /// Entries 1 to 1,000 of 1 KiB each, all applied.
    fn cut(kept_bytes: u64, needed: Option<u64>) -> Option<u64> {
        let log = Extent { first: 1, last: 1000, bytes: 1000 * KIB, applied: 1000 };
        log.cut(kept_bytes, || needed, |bytes| Some(1000 - bytes / KIB))
    }

    #[test]
    fn what_live_followers_lack_is_kept_up_to_a_bound() {
        assert_eq!(cut(1000 * KIB, None), None);
        assert_eq!(cut(800 * KIB, None), Some(600));
        assert_eq!(cut(800 * KIB, Some(200)), Some(200));
        assert_eq!(cut(800 * KIB, Some(0)), None);
        // It has more than four times as much: half of that stays.
        assert_eq!(cut(200 * KIB, Some(200)), Some(600));
    }

    #[test]
    fn the_count_is_a_bound_too_and_what_is_not_applied_stays() {
        let log = Extent { first: 1, last: 10_000, bytes: 0, applied: 9_000 };
        let nobody = |_| None;
        assert_eq!(log.cut(KIB, || None, nobody), Some(10_000 - KEPT_ENTRIES));
        assert_eq!(Extent { applied: 50, ..log }.cut(KIB, || None, nobody), Some(50));
        assert_eq!(Extent { last: 8_000, ..log }.cut(KIB, || None, nobody), None);
    }
}
