//! The clock itself: one atomic reading shared by all that happens on a node.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use thiserror::Error;

use crate::{
    Timestamp,
    bound::{Aside, Bound, BoundFile},
};

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
///
/// The counter of the pair is kept in the nanoseconds: of two events in one nanosecond the later has the next one. So
/// the whole state is one word, and nobody waits for a lock to learn the time.
#[derive(Clone)]
pub struct Clock {
    inner: Arc<Inner>,
}

struct Inner {
    physical: Arc<dyn PhysicalClock>,
    max_offset: Duration,
    /// Nanoseconds: every timestamp given out or shown is at or below.
    last: AtomicU64,
    bound: Arc<Bound>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.bound.close();
    }
}

impl Clock {
    /// `max_offset` is how far apart the cluster's physical clocks may be; a zero offset turns the bound off, for
    /// tests of a single node.
    #[must_use]
    pub fn new(physical: Arc<dyn PhysicalClock>, max_offset: Duration) -> Self {
        Self {
            inner: Arc::new(Inner { physical, max_offset, last: AtomicU64::new(0), bound: Arc::default() }),
        }
    }

    /// The operating system's clock with the given bound.
    #[must_use]
    pub fn system(max_offset: Duration) -> Self {
        Self::new(Arc::new(SystemClock), max_offset)
    }

    /// A timestamp above every one this clock has given out or been shown. *clock-durable*: where the disk is behind,
    /// this waits for it.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let inner = &*self.inner;
        let physical_ns = inner.physical.now_ns();
        let before = inner.last.fetch_max(physical_ns, Ordering::AcqRel);
        // Each step of `last` is made once, so no two calls return the same.
        let now_ns =
            if before < physical_ns { physical_ns } else { inner.last.fetch_add(1, Ordering::AcqRel) + 1 };
        inner.bound.admit(now_ns);
        Timestamp::new(now_ns, 0)
    }

    /// At or above every timestamp this clock has given out or been shown, and itself given to nobody: to judge by
    /// whether a time has come, and to tell others how late it is. What is read or written at a time needs [`Clock::now`].
    #[must_use]
    pub fn peek(&self) -> Timestamp {
        let physical_ns = self.inner.physical.now_ns();
        Timestamp::new(physical_ns.max(self.inner.last.load(Ordering::Acquire)), 0)
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
        // The next one given out is at least one above.
        let to_ns = to.wall_ns().saturating_add(u64::from(to.logical() > 0));
        self.inner.last.fetch_max(to_ns, Ordering::AcqRel);
    }

    /// Moves the clock past a time at which something is served or written that this clock did not give out itself: it
    /// counts as given out. *clock-durable*
    pub fn cover(&self, served: Timestamp) {
        if served.wall_ns() >= self.inner.last.load(Ordering::Acquire) {
            self.forward(served);
        }
        self.inner.bound.admit(served.wall_ns());
    }

    /// From here on nothing is given out above a bound that `file` has made durable. `found_ns` is the bound it had: what
    /// is given out begins above. Who calls this has waited until [`Clock::wait_before`] is over.
    ///
    /// # Panics
    /// When it was called before, or no thread can be had.
    pub fn keep_bound(&self, file: Box<dyn BoundFile>, found_ns: u64) {
        self.forward(Timestamp::new(found_ns, 0));
        let (physical, inner) = (self.inner.physical.clone(), Arc::downgrade(&self.inner));
        let latest_ns = move || {
            let last_ns = inner.upgrade().map_or(0, |inner| inner.last.load(Ordering::Acquire));
            physical.now_ns().max(last_ns)
        };
        self.inner.bound.start(file, found_ns, Box::new(latest_ns));
    }

    /// Sets how whoever wants a timestamp waits where the disk is behind; the first holds.
    pub fn wait_aside(&self, aside: Aside) {
        self.inner.bound.wait_aside(aside);
    }

    /// A number that is odd while the bound is written, and another for each write: to be watched, as a disk that hangs
    /// says nothing.
    #[must_use]
    pub fn bound_writes(&self) -> u64 {
        self.inner.bound.writes()
    }

    /// For tests: has writes of the bound hang, as on a disk that does, until they are let go.
    pub fn hold_bound(&self, held: bool) {
        self.inner.bound.hold(held);
    }

    /// The node ends, and another may begin from what the file has. Nothing that this clock still gives out counts.
    pub fn let_go_of_bound(&self) {
        self.inner.bound.close_and_wait();
    }

    /// How long until a clock that was bounded by `found_ns` before may begin above that: it must not be further ahead
    /// of physical time than the others believe.
    #[must_use]
    pub fn wait_before(&self, found_ns: u64) -> Duration {
        let ahead_ns = found_ns.saturating_sub(self.inner.physical.now_ns());
        match self.max_offset_ns() {
            0 => Duration::ZERO,
            max_offset_ns => Duration::from_nanos(ahead_ns.saturating_sub(max_offset_ns)),
        }
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
        f.debug_struct("Clock")
            .field("last_ns", &self.inner.last.load(Ordering::Relaxed))
            .finish_non_exhaustive()
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
    fn clock_monotonic_for_many_threads() {
        let (_, clock) = manual(1_000, Duration::ZERO);
        let mut seen: Vec<Timestamp> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let taken: Vec<Timestamp> = (0..2_000).map(|_| clock.now()).collect();
                        assert!(taken.is_sorted_by(|a, b| a < b));
                        taken
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("no thread panics")).collect()
        });
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 8_000, "no timestamp was given out twice");
    }

    #[test]
    fn a_peek_is_at_or_above_what_was_given_out_and_gives_out_nothing() {
        let (physical, clock) = manual(1_000, Duration::ZERO);
        let given = clock.now();
        assert_eq!(clock.peek(), given);
        physical.set(10);
        assert_eq!(clock.peek(), given);
        assert!(clock.now() > given);
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
