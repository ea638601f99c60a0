//! A disk that hangs gives no error: the writer's thread is in the middle of a write and does not come back. Another
//! thread looks at it several times a second, and says how long the same write has been under way. It looks at who else
//! writes to the same disk too: the log may have nothing to write just then.
//!
//! It counts its own looks and not the time that has passed: a process that was stopped and goes on was not held up by
//! its disk.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::{Condvar, Mutex};

use crate::fatal;

/// How often the writer is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The number of a write: odd while it is under way.
pub(super) type Watched = Box<dyn Fn() -> u64 + Send + Sync>;

/// What the writer shows of itself.
#[derive(Default)]
pub(super) struct Progress {
    /// Odd while a write is under way; each write has its own number.
    write: AtomicU64,
    stalled_ms: AtomicU64,
    /// Others that write to the same disk, and the longest that one of them has been at it.
    others: Mutex<Vec<Watched>>,
    others_stalled_ms: AtomicU64,
    held: AtomicBool,
    /// Taken by the writer while it is held.
    gate: Mutex<()>,
    let_go: Condvar,
}

/// A write under way, until it is dropped.
pub(super) struct Write<'p>(&'p Progress);

impl Drop for Write<'_> {
    fn drop(&mut self) {
        self.0.write.fetch_add(1, Ordering::Release);
        if self.0.stalled_ms.swap(0, Ordering::AcqRel) > 0 {
            tracing::info!("the log's disk goes on");
        }
    }
}

impl Progress {
    /// Looks at the writer until it is gone; a write that takes longer than `hang_limit` ends the process.
    pub fn watch(self: &Arc<Self>, hang_limit: Duration) -> std::io::Result<()> {
        let progress = Arc::downgrade(self);
        std::thread::Builder::new()
            .name("log-watch".into())
            .spawn(move || look(&progress, hang_limit))
            .map(|_| ())
    }

    pub fn begin(&self) -> Write<'_> {
        self.write.fetch_add(1, Ordering::Release);
        let write = Write(self);
        if self.held.load(Ordering::Acquire) {
            let mut gate = self.gate.lock();
            while self.held.load(Ordering::Acquire) {
                self.let_go.wait(&mut gate);
            }
        }
        write
    }

    /// How long the write under way has taken, if that is long enough to have been noticed.
    pub fn stalled_for(&self) -> Duration {
        let ms = self.stalled_ms.load(Ordering::Acquire).max(self.others_stalled_ms.load(Ordering::Acquire));
        Duration::from_millis(ms)
    }

    /// Looks at another writer as well.
    pub fn watch_also(&self, other: Watched) {
        self.others.lock().push(other);
    }

    /// For tests: writes hang until they are let go.
    pub fn hold(&self, held: bool) {
        let _gate = self.gate.lock();
        self.held.store(held, Ordering::Release);
        self.let_go.notify_all();
    }
}

/// Looks at one writer.
#[derive(Clone, Copy, Default)]
struct Looks {
    seen: u64,
    count: u32,
}

impl Looks {
    /// How long the write under way has been seen.
    fn look(&mut self, write: u64) -> Duration {
        if write % 2 == 0 || write != self.seen {
            *self = Self { seen: write, count: 0 };
        } else {
            self.count += 1;
        }
        LOOK_EVERY * self.count
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn look(progress: &Weak<Progress>, hang_limit: Duration) {
    let mut own = Looks::default();
    let mut others: Vec<Looks> = Vec::new();
    loop {
        std::thread::sleep(LOOK_EVERY);
        let Some(progress) = progress.upgrade() else { return };
        let write = progress.write.load(Ordering::Acquire);
        let stalled = own.look(write);
        if !stalled.is_zero() {
            progress.stalled_ms.store(millis(stalled), Ordering::Release);
            // It may have ended between the two: then nobody else takes this back.
            if progress.write.load(Ordering::Acquire) != write {
                progress.stalled_ms.store(0, Ordering::Release);
            }
        }
        let watched = progress.others.lock();
        others.resize(watched.len(), Looks::default());
        let longest =
            others.iter_mut().zip(watched.iter()).map(|(looks, number)| looks.look(number())).max().unwrap_or_default();
        drop(watched);
        progress.others_stalled_ms.store(millis(longest), Ordering::Release);
        if stalled.max(longest) >= hang_limit {
            fatal::hang(stalled.max(longest));
        }
    }
}
