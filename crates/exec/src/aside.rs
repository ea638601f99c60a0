//! Work that computes for long without a pause, kept from holding up the other tasks of its thread.
//!
//! A node has as many threads for its clients as there are processors. A statement that keeps one of them busy is no
//! matter for others as long as another thread takes over what waits there: tokio does that for work that is announced.
//! The announcement costs microseconds, so only what may take longer is announced.

//!
//! **Invariants**
//! - *turns-end*: a statement looks at the clock where it may pause, and returns after [`TURN`]: whoever waits in the same
//!   task, as the watch on its client does, or for the same thread, is polled then.
//! - *threads-are-left*: each that is announced takes a thread, of which tokio has 512, also for the disk. Above
//!   [`ASIDE_MAX`] work is done in place.

use std::{
    cell::Cell,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use tokio::runtime::{Handle, RuntimeFlavor};

/// How long a statement goes on without returning.
const TURN: Duration = Duration::from_millis(5);
/// How much is done aside at a time.
const ASIDE_MAX: usize = 128;

static ASIDE: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Since when this thread is in a poll of a statement.
    static SINCE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// One of [`ASIDE_MAX`].
struct Place;

impl Place {
    fn take() -> Option<Self> {
        let taking = |taken: usize| (taken < ASIDE_MAX).then_some(taken + 1);
        ASIDE.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taking).ok().map(|_| Self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        ASIDE.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs what may take longer than a moment, so that other tasks go on meanwhile. *threads-are-left*
pub fn aside<T>(work: impl FnOnce() -> T) -> T {
    let is_shared =
        matches!(Handle::try_current().map(|handle| handle.runtime_flavor()), Ok(RuntimeFlavor::MultiThread));
    match is_shared.then(Place::take).flatten() {
        Some(_place) => tokio::task::block_in_place(work),
        None => work(),
    }
}

/// One poll of a statement, which began at `began`: it returns after a while although it could go on. *turns-end*
pub fn poll_turn<T>(began: Instant, poll: impl FnOnce() -> T) -> T {
    struct Back(Option<Instant>);

    impl Drop for Back {
        fn drop(&mut self) {
            SINCE.set(self.0);
        }
    }

    let _back = Back(SINCE.replace(Some(began)));
    poll()
}

/// As [`poll_turn`], of a statement that may not pause in time.
pub fn poll_aside<T>(began: Instant, poll: impl FnOnce() -> T) -> T {
    aside(|| poll_turn(began, poll))
}

/// Whether the statement that is polled on this thread is to return.
pub(crate) fn is_turn_over() -> bool {
    SINCE.get().is_some_and(|since| since.elapsed() > TURN)
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, pin::pin};

    use super::*;
    use crate::CancelFlag;

    #[tokio::test(flavor = "multi_thread")]
    async fn turns_end() {
        let flag = CancelFlag::default();
        let mut running = pin!(async {
            for _ in 0..20 {
                std::thread::sleep(Duration::from_millis(1));
                flag.checkpoint().await.unwrap();
            }
        });
        let mut polls = 0;
        poll_fn(|context| {
            polls += 1;
            poll_aside(Instant::now(), || running.as_mut().poll(context))
        })
        .await;
        assert!(polls > 1, "it could have gone on");
        assert!(!is_turn_over(), "the next poll has a turn of its own");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn threads_are_left() {
        let places: Vec<Place> = std::iter::from_fn(Place::take).collect();
        assert!(places.len() <= ASIDE_MAX && Place::take().is_none());
        assert_eq!(aside(|| 5), 5, "in place");
        drop(places);
        assert!(Place::take().is_some());
    }
}
