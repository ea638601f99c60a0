//! Work that blocks its thread, kept from holding up what runs beside it.
//!
//! A write to the state takes microseconds, until the engine holds writers back: then it takes seconds, and as many
//! ranges as there are threads would stop everything on the node. Moving each write to another thread would cost more
//! than the write. So writes are done in place while they are quick, and aside from the first slow one on.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

/// Runs what blocks for more than a moment, so that other tasks go on meanwhile.
pub fn blocking<T>(work: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

/// Longer than this is slow.
const SLOW: Duration = Duration::from_millis(10);
/// After a slow one, others are done aside for so long.
const WARY: Duration = Duration::from_secs(1);

/// Writes to one store's state, by all of its ranges.
pub(crate) struct Applies {
    base: Instant,
    /// When one that is being done in place began, in microseconds since `base`; zero for none.
    began: AtomicU64,
    wary_until: AtomicU64,
}

impl Default for Applies {
    fn default() -> Self {
        Self { base: Instant::now(), began: AtomicU64::new(0), wary_until: AtomicU64::new(0) }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl Applies {
    fn now(&self) -> u64 {
        micros(self.base.elapsed()).max(1)
    }

    fn is_slow_now(&self, now: u64) -> bool {
        let began = self.began.load(Ordering::Relaxed);
        now < self.wary_until.load(Ordering::Relaxed)
            || (began != 0 && now.saturating_sub(began) > micros(SLOW))
    }

    pub fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        let now = self.now();
        let outcome = if self.is_slow_now(now) {
            blocking(work)
        } else {
            self.began.store(now, Ordering::Relaxed);
            let outcome = work();
            self.began.store(0, Ordering::Relaxed);
            outcome
        };
        let ended = self.now();
        if ended - now > micros(SLOW) {
            self.wary_until.store(ended + micros(WARY), Ordering::Relaxed);
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn done_aside_from_the_first_slow_one_on_and_in_place_again_later() {
        let applies = Applies::default();
        tokio::time::advance(SLOW).await;
        applies.run(|| ());
        assert!(!applies.is_slow_now(applies.now()));
        // As seen by another while it is under way.
        applies.run(|| {
            assert!(!applies.is_slow_now(applies.now()));
            assert!(applies.is_slow_now(applies.now() + 2 * micros(SLOW)));
        });
        applies.wary_until.store(applies.now() + micros(WARY), Ordering::Relaxed);
        assert!(applies.is_slow_now(applies.now()));
        tokio::time::advance(WARY).await;
        assert!(!applies.is_slow_now(applies.now()));
    }
}
