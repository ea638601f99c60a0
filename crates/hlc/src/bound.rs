//! The bound on disk below which a clock gives out timestamps, and the thread that moves it on.
//!
//! ```text
//!            given out            on disk
//! ───────────────┼───────────────────┼──────▶ time
//!                └── 200 to 400 ms ──┘          moved on when half of it is used up
//! ```
//!
//! The lead is below the default maximum offset, so that a start after a crash finds a bound that it need not wait for. A
//! thread of its own syncs, a few times a second while timestamps are given out. When none was for a while it rests, and
//! the first after that waits for one sync. The lead grows with the time that the disk takes, so that only the first
//! slow sync is waited for.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

/// How far the bound is moved ahead of the latest time known, on a disk that takes no time.
const LEAD: Duration = Duration::from_millis(400);
/// How far more at most, on a slow one.
const MAX_LEAD_FOR_DISK: Duration = Duration::from_secs(2);
/// How often it is moved.
const EVERY: Duration = Duration::from_millis(200);
/// Without a timestamp given out for this long the thread rests.
const REST_AFTER: Duration = Duration::from_secs(5);

/// Where the bound is kept.
pub trait BoundFile: Send + 'static {
    /// Durable when this returns. One that fails must not return: what is given out after would not be bounded.
    fn write(&mut self, bound_ns: u64);
}

/// Runs a wait for the disk so that what shares its thread is not held up meanwhile.
pub type Aside = fn(wait: &mut dyn FnMut());

pub(crate) struct Bound {
    /// What is on disk; as far as time goes where none is kept.
    durable_ns: AtomicU64,
    /// Something was given out since the thread last looked.
    used: AtomicBool,
    /// Odd while the file is written; each write has its own number.
    writes: AtomicU64,
    aside: OnceLock<Aside>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    started: bool,
    /// Writes wait until they are let go.
    held: bool,
    closed: bool,
    /// The thread has written its last.
    ended: bool,
    /// A caller waits for the bound to move.
    wanted: bool,
}

impl Default for Bound {
    fn default() -> Self {
        Self {
            durable_ns: AtomicU64::new(u64::MAX),
            used: AtomicBool::new(false),
            writes: AtomicU64::new(0),
            aside: OnceLock::new(),
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }
}

impl Bound {
    /// Returns once `ns` is at or below the bound: at once, but after a rest or while the disk stalls. *clock-durable*
    pub fn admit(&self, ns: u64) {
        // Its line is shared by all that ask for the time: it is written only when it changes.
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        if ns > self.durable_ns.load(Ordering::Acquire) {
            match self.aside.get() {
                Some(aside) => aside(&mut || self.wait_for(ns)),
                None => self.wait_for(ns),
            }
        }
    }

    /// Sets how the disk is waited for; the first holds.
    pub fn wait_aside(&self, aside: Aside) {
        let _first = self.aside.set(aside);
    }

    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::Acquire)
    }

    pub fn hold(&self, held: bool) {
        self.state.lock().held = held;
        self.changed.notify_all();
    }

    #[cold]
    fn wait_for(&self, ns: u64) {
        let mut state = self.state.lock();
        while ns > self.durable_ns.load(Ordering::Acquire) && !state.closed {
            state.wanted = true;
            self.changed.notify_all();
            self.changed.wait(&mut state);
        }
    }

    pub fn start(
        self: &Arc<Self>,
        file: Box<dyn BoundFile>,
        found_ns: u64,
        latest_ns: Box<dyn Fn() -> u64 + Send>,
    ) {
        let mut state = self.state.lock();
        assert!(!state.started, "a clock has one bound");
        state.started = true;
        self.durable_ns.store(found_ns, Ordering::Release);
        let this = self.clone();
        let thread = std::thread::Builder::new().name("clock-bound".into());
        thread.spawn(move || this.keep(file, &*latest_ns)).expect("a thread for the clock's bound");
    }

    pub fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
    }

    /// Returns when the file is not written any more.
    pub fn close_and_wait(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        self.changed.notify_all();
        while state.started && !state.ended {
            self.changed.wait(&mut state);
        }
    }

    fn keep(&self, mut file: Box<dyn BoundFile>, latest_ns: &(dyn Fn() -> u64 + Send)) {
        let mut used_at = Instant::now();
        let mut slowest = Duration::ZERO;
        loop {
            let lead = LEAD + (2 * slowest).min(MAX_LEAD_FOR_DISK);
            let bound_ns = latest_ns().saturating_add(u64::try_from(lead.as_nanos()).expect("a lead is short"));
            // A clock that was set back is behind what was promised already.
            if bound_ns > self.durable_ns.load(Ordering::Acquire) {
                let began = Instant::now();
                self.writes.fetch_add(1, Ordering::Release);
                {
                    let mut state = self.state.lock();
                    while state.held && !state.closed {
                        self.changed.wait(&mut state);
                    }
                }
                file.write(bound_ns);
                self.writes.fetch_add(1, Ordering::Release);
                slowest = began.elapsed().max(slowest * 3 / 4);
            }
            let mut state = self.state.lock();
            self.durable_ns.fetch_max(bound_ns, Ordering::AcqRel);
            state.wanted = false;
            self.changed.notify_all();
            if self.used.swap(false, Ordering::Relaxed) {
                used_at = Instant::now();
            }
            let until = Instant::now() + EVERY;
            while !state.wanted && !state.closed {
                if used_at.elapsed() > REST_AFTER {
                    self.changed.wait(&mut state);
                } else if self.changed.wait_until(&mut state, until).timed_out() {
                    break;
                }
            }
            if state.closed {
                state.ended = true;
                self.changed.notify_all();
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Clock, ManualClock, Timestamp};

    /// What a disk would have.
    #[derive(Clone, Default)]
    struct Disk(Arc<(AtomicU64, AtomicU64)>);

    impl Disk {
        fn bound(&self) -> u64 {
            self.0.0.load(Ordering::SeqCst)
        }

        fn writes(&self) -> u64 {
            self.0.1.load(Ordering::SeqCst)
        }
    }

    impl BoundFile for Disk {
        fn write(&mut self, bound_ns: u64) {
            // As slow as a disk may be.
            std::thread::sleep(Duration::from_millis(2));
            self.0.0.store(bound_ns, Ordering::SeqCst);
            self.0.1.fetch_add(1, Ordering::SeqCst);
        }
    }

    const OFFSET: Duration = Duration::from_millis(500);

    #[test]
    fn clock_durable_while_time_runs_and_jumps() {
        let (physical, disk) = (ManualClock::new(1_000_000_000), Disk::default());
        let clock = Clock::new(Arc::new(physical.clone()), OFFSET);
        clock.keep_bound(Box::new(disk.clone()), 0);
        for step in 0..200 {
            physical.advance(Duration::from_millis(step % 7 * 90));
            let given = clock.now();
            assert!(given.wall_ns() <= disk.bound(), "clock-durable");
        }
        clock.update(Timestamp::new(physical_ns(&physical) + 490_000_000, 0)).expect("within the offset");
        assert!(clock.now().wall_ns() <= disk.bound(), "clock-durable");
    }

    fn physical_ns(clock: &ManualClock) -> u64 {
        crate::PhysicalClock::now_ns(clock)
    }

    #[test]
    fn a_clock_set_back_starts_above_what_it_gave_out() {
        let (physical, disk) = (ManualClock::new(50_000_000_000), Disk::default());
        let clock = Clock::new(Arc::new(physical.clone()), OFFSET);
        clock.keep_bound(Box::new(disk.clone()), 0);
        let served = clock.now();
        drop(clock);
        // At once: no wait.
        let again = Clock::new(Arc::new(physical.clone()), OFFSET);
        assert_eq!(again.wait_before(disk.bound()), Duration::ZERO);
        physical.set(40_000_000_000);
        let wait = again.wait_before(disk.bound());
        assert!(wait > Duration::from_secs(9), "it must not begin so far ahead of the others: {wait:?}");
        physical.advance(wait);
        assert_eq!(again.wait_before(disk.bound()), Duration::ZERO);
        again.keep_bound(Box::new(disk.clone()), disk.bound());
        assert!(again.now() > served);
    }

    /// A disk that hangs holds up who wants a timestamp above the bound: aside, and for all to see.
    #[test]
    fn who_waits_for_the_disk_does_so_aside_and_the_write_shows() {
        static ASIDE: AtomicU64 = AtomicU64::new(0);
        let (physical, disk) = (ManualClock::new(1_000_000_000), Disk::default());
        let clock = Clock::new(Arc::new(physical.clone()), OFFSET);
        clock.wait_aside(|wait| {
            ASIDE.fetch_add(1, Ordering::SeqCst);
            wait();
        });
        clock.keep_bound(Box::new(disk.clone()), 0);
        let _given = clock.now();
        let before = ASIDE.load(Ordering::SeqCst);
        clock.hold_bound(true);
        physical.advance(Duration::from_secs(5));
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| clock.now());
            let began = Instant::now();
            let mut seen = 0;
            while ASIDE.load(Ordering::SeqCst) == before || clock.bound_writes() % 2 == 0 || clock.bound_writes() != seen {
                assert!(began.elapsed() < Duration::from_secs(20), "nothing shows");
                seen = clock.bound_writes();
                std::thread::yield_now();
            }
            assert!(!waits.is_finished(), "clock-durable");
            clock.hold_bound(false);
            let given = waits.join().expect("it does not panic");
            assert!(given.wall_ns() <= disk.bound(), "clock-durable");
        });
    }

    #[test]
    fn an_idle_clock_leaves_the_disk_alone() {
        let disk = Disk::default();
        let clock = Clock::system(OFFSET);
        clock.keep_bound(Box::new(disk.clone()), 0);
        for _ in 0..100 {
            let _given = clock.now();
            let _seen = clock.peek();
        }
        assert!(disk.writes() <= 3, "{} syncs", disk.writes());
    }
}
