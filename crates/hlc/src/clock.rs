//! The clock itself: one atomic reading shared by all that happens on a node.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use thiserror::Error;

use crate::Timestamp;

/// Where physical time comes from: the operating system, or a test.
pub trait PhysicalClock: Send + Sync + 'static {
    /// Nanoseconds since the Unix epoch. May jump in either direction; [`Clock`] copes.
    fn now_ns(&self) -> u64;
}

/// The operating system's wall clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl PhysicalClock for SystemClock {
    fn now_ns(&self) -> u64 {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A clock that stands still until a test moves it. Clones share one reading.
#[derive(Debug, Default, Clone)]
pub struct ManualClock {
    now_ns: Arc<AtomicU64>,
}

impl ManualClock {
    #[must_use]
    pub fn new(now_ns: u64) -> Self {
        Self { now_ns: Arc::new(AtomicU64::new(now_ns)) }
    }

    pub fn set(&self, now_ns: u64) {
        self.now_ns.store(now_ns, Ordering::SeqCst);
    }

    pub fn advance(&self, by: Duration) {
        let by_ns = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.now_ns.fetch_add(by_ns, Ordering::SeqCst);
    }
}

impl PhysicalClock for ManualClock {
    fn now_ns(&self) -> u64 {
        self.now_ns.load(Ordering::SeqCst)
    }
}

/// A remote timestamp lay too far ahead to be believed.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("remote timestamp {remote} is {ahead_ns} ns ahead of this node's clock; at most {max_offset_ns} ns are accepted")]
pub struct ClockOffsetError {
    pub remote: Timestamp,
    pub ahead_ns: u64,
    pub max_offset_ns: u64,
}

/// A node's hybrid logical clock. Cheap to clone; clones share one reading.
#[derive(Clone)]
pub struct Clock {
    inner: Arc<Inner>,
}

struct Inner {
    physical: Arc<dyn PhysicalClock>,
    max_offset: Duration,
    last: Mutex<Timestamp>,
}

impl Clock {
    /// `max_offset` is how far apart the cluster's physical clocks may be; a zero offset turns the bound off, for
    /// tests of a single node.
    #[must_use]
    pub fn new(physical: Arc<dyn PhysicalClock>, max_offset: Duration) -> Self {
        Self { inner: Arc::new(Inner { physical, max_offset, last: Mutex::new(Timestamp::MIN) }) }
    }

    /// The operating system's clock with the given bound.
    #[must_use]
    pub fn system(max_offset: Duration) -> Self {
        Self::new(Arc::new(SystemClock), max_offset)
    }

    /// A timestamp above every one this clock has given out or been shown.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let physical = Timestamp::new(self.inner.physical.now_ns(), 0);
        let mut last = self.inner.last.lock();
        *last = physical.max(last.next());
        *last
    }

    /// Adopts a timestamp seen on a message, so that what follows here is later than what was sent there.
    ///
    /// # Errors
    /// Refuses, and does not adopt, a timestamp further ahead than [`Clock::max_offset`].
    pub fn update(&self, remote: Timestamp) -> Result<(), ClockOffsetError> {
        let physical_ns = self.inner.physical.now_ns();
        let ahead_ns = remote.wall_ns().saturating_sub(physical_ns);
        let max_offset_ns = self.max_offset_ns();
        if max_offset_ns != 0 && ahead_ns > max_offset_ns {
            return Err(ClockOffsetError { remote, ahead_ns, max_offset_ns });
        }
        self.forward(remote);
        Ok(())
    }

    /// Moves the clock past `to` without the bound: for timestamps this node itself made durable.
    pub fn forward(&self, to: Timestamp) {
        let mut last = self.inner.last.lock();
        *last = (*last).max(to);
    }

    /// The physical reading alone, for measuring offsets between nodes.
    #[must_use]
    pub fn physical_now_ns(&self) -> u64 {
        self.inner.physical.now_ns()
    }

    #[must_use]
    pub fn max_offset(&self) -> Duration {
        self.inner.max_offset
    }

    #[must_use]
    pub fn max_offset_ns(&self) -> u64 {
        u64::try_from(self.inner.max_offset.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clock").field("last", &*self.inner.last.lock()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manual(now_ns: u64, max_offset: Duration) -> (ManualClock, Clock) {
        let physical = ManualClock::new(now_ns);
        (physical.clone(), Clock::new(Arc::new(physical), max_offset))
    }

    #[test]
    fn clock_monotonic_while_physical_time_jumps_back() {
        let (physical, clock) = manual(1_000, Duration::ZERO);
        let first = clock.now();
        physical.set(10);
        let second = clock.now();
        assert!(first < second);
        physical.set(5_000);
        assert_eq!(clock.now(), Timestamp::new(5_000, 0));
    }

    #[test]
    fn clock_causal_after_update() {
        let (_, clock) = manual(1_000, Duration::from_nanos(500));
        let remote = Timestamp::new(1_400, 3);
        clock.update(remote).expect("within the offset");
        assert!(remote < clock.now());
    }

    #[test]
    fn clock_bounded_refuses_a_far_future_timestamp() {
        let (_, clock) = manual(1_000, Duration::from_nanos(500));
        let refused = clock.update(Timestamp::new(30_000, 0)).expect_err("far ahead");
        assert_eq!(refused.ahead_ns, 29_000);
        assert_eq!(clock.now(), Timestamp::new(1_000, 0), "nothing of it was adopted");
    }
}
