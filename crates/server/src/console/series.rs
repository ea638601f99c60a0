//! The last ten minutes of a node, a sample a second: what counters have grown by, and how gauges stand.
//!
//! **Invariant (bounded-series):** there are at most [`SAMPLES_MAX`] samples, about 200 bytes each.

use std::{
    collections::VecDeque,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use std::sync::atomic::Ordering::Relaxed;

use keys::RangeId;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use session::{ReplayMetrics, StatementStatistics, Totals, quantile_ms};
use store::Store;

use super::{process, report::Sample};

/// Ten minutes.
pub(crate) const SAMPLES_MAX: usize = 600;
pub(crate) const EVERY: Duration = Duration::from_secs(1);

/// How much of a range's rate is of the last second: the rest is what it was before.
const NEWEST_SHARE: f64 = 0.2;

pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// What is counted, at one moment.
struct Counters {
    at: Instant,
    totals: Totals,
    log_syncs: u64,
    log_bytes: u64,
    net_bytes: u64,
    lock_waits: u64,
    restarts: u64,
    work_done: u64,
    work_failed: u64,
    cpu_seconds: f64,
}

/// Where numbers are read.
pub(crate) struct Sources<'a> {
    pub store: &'a Store,
    pub statistics: &'a StatementStatistics,
    pub replays: &'a ReplayMetrics,
    pub net_bytes: u64,
    pub connections: u64,
}

#[derive(Default)]
struct RangeRate {
    batches: u64,
    per_second: f64,
}

/// The samples, and what the next is measured against.
#[derive(Default)]
pub(crate) struct Series {
    samples: Mutex<VecDeque<Sample>>,
    before: Mutex<Option<Counters>>,
    ranges: Mutex<FxHashMap<RangeId, RangeRate>>,
}

impl Series {
    /// Takes a sample. The first one only begins to count.
    pub fn take(&self, sources: &Sources<'_>) {
        let replicas = sources.store.replicas();
        let store = sources.store;
        let work = store.work().counts();
        let now = Counters {
            at: Instant::now(),
            totals: sources.statistics.totals(),
            log_syncs: store.log().metrics().syncs.load(Relaxed),
            log_bytes: store.log().metrics().bytes.load(Relaxed),
            net_bytes: sources.net_bytes,
            lock_waits: replicas.iter().map(|replica| replica.metrics().lock_waits.load(Relaxed)).sum(),
            restarts: sources.replays.restarted.load(Relaxed) + sources.replays.replayed.load(Relaxed),
            work_done: work.iter().map(|count| count.done).sum(),
            work_failed: work.iter().map(|count| count.failed).sum(),
            cpu_seconds: process::cpu_seconds(),
        };
        let mut before = self.before.lock();
        let Some(then) = before.replace(now) else { return };
        let Some(now) = before.as_ref() else { return };
        let seconds = now.at.duration_since(then.at).as_secs_f64().max(0.001);
        // A counter of replicas falls when one leaves.
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
        let batches = self.take_ranges(&replicas, seconds);
        let took: Vec<u64> =
            now.totals.latencies.iter().zip(&then.totals.latencies).map(|(now, then)| now.saturating_sub(*then)).collect();
        let sample = Sample {
            at_ms: now_ms(),
            statements: rate(now.totals.statements, then.totals.statements),
            errors: rate(now.totals.errors, then.totals.errors),
            commits: rate(now.totals.commits, then.totals.commits),
            rollbacks: rate(now.totals.rollbacks, then.totals.rollbacks),
            p50_ms: quantile_ms(&took, 0.5),
            p95_ms: quantile_ms(&took, 0.95),
            p99_ms: quantile_ms(&took, 0.99),
            log_syncs: rate(now.log_syncs, then.log_syncs),
            log_bytes: rate(now.log_bytes, then.log_bytes),
            net_bytes: rate(now.net_bytes, then.net_bytes),
            batches,
            lock_waits: rate(now.lock_waits, then.lock_waits),
            restarts: rate(now.restarts, then.restarts),
            cores_used: (now.cpu_seconds - then.cpu_seconds).max(0.0) / seconds,
            memory_bytes: process::memory_bytes(),
            connections: sources.connections,
            replicas: replicas.len() as u64,
            leases: replicas.iter().filter(|replica| replica.is_leaseholder()).count() as u64,
            under_replicated: store.under_replicated(),
            work_done: rate(now.work_done, then.work_done),
            work_failed: rate(now.work_failed, then.work_failed),
        };
        drop(before);
        let mut samples = self.samples.lock();
        if samples.len() == SAMPLES_MAX {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    /// The rates of ranges, smoothed over some seconds; the sum of the last second is the answer.
    fn take_ranges(&self, replicas: &[std::sync::Arc<replica::Replica>], seconds: f64) -> f64 {
        let mut ranges = self.ranges.lock();
        let mut before = std::mem::take(&mut *ranges);
        let mut sum = 0.0;
        for replica in replicas {
            let batches = replica.metrics().batches.load(Relaxed);
            let rate = match before.remove(&replica.range_id()) {
                Some(then) => {
                    let newest = batches.saturating_sub(then.batches) as f64 / seconds;
                    sum += newest;
                    RangeRate { batches, per_second: then.per_second + NEWEST_SHARE * (newest - then.per_second) }
                }
                None => RangeRate { batches, per_second: 0.0 },
            };
            ranges.insert(replica.range_id(), rate);
        }
        sum
    }

    /// Batches a second that a range's replica here is given.
    pub fn rate_of(&self, range: RangeId) -> f64 {
        self.ranges.lock().get(&range).map_or(0.0, |rate| rate.per_second)
    }

    pub fn since(&self, at_ms: u64) -> Vec<Sample> {
        self.samples.lock().iter().filter(|sample| sample.at_ms > at_ms).cloned().collect()
    }

    pub fn last(&self) -> Option<Sample> {
        self.samples.lock().back().cloned()
    }
}
