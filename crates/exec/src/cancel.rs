//! Stopping a statement from outside: by request, by its time limit, or because its client has gone.
//!
//! Loops that compute look at the flag now and then, and at the clock if there is a limit; what waits is woken. A
//! request counts for the statement that runs when it comes, and stops nothing later.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures::task::AtomicWaker;
use tokio::time::Instant;
use types::{SqlError, SqlResult, SqlState};

/// Why a statement is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelReason {
    Request = 1,
    StatementTimeout = 2,
    ClientGone = 3,
}

/// Set by whoever wants the statement to stop.
#[derive(Debug, Clone, Default)]
pub struct CancelFlag(Arc<State>);

#[derive(Debug)]
struct State {
    /// The number of the statement, and in the low byte the reason, 0 while there is none.
    word: AtomicU64,
    /// When the statement's time is over, in microseconds since `made`; 0 for never.
    deadline: AtomicU64,
    made: Instant,
    waiter: AtomicWaker,
}

impl Default for State {
    fn default() -> Self {
        Self {
            word: AtomicU64::new(0),
            deadline: AtomicU64::new(0),
            made: Instant::now(),
            waiter: AtomicWaker::new(),
        }
    }
}

impl CancelFlag {
    /// Stops the statement that runs now.
    pub fn cancel(&self, reason: CancelReason) {
        self.cancel_statement(self.0.word.load(Ordering::Acquire) >> 8, reason);
    }

    /// Stops a statement, if it still runs and nobody has stopped it yet.
    fn cancel_statement(&self, statement: u64, reason: CancelReason) {
        let running = statement << 8;
        let stopped = running | reason as u64;
        if self.0.word.compare_exchange(running, stopped, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            self.0.waiter.wake();
        }
    }

    /// For the next statement, which may take so long.
    pub fn reset(&self, limit: Option<Duration>) {
        let end = limit.map_or(0, |limit| (self.0.made.elapsed() + limit).as_micros() as u64);
        self.0.deadline.store(end, Ordering::Relaxed);
        // Only the session counts up, so a request in between is for the statement that is over.
        let next = (self.0.word.load(Ordering::Acquire) >> 8) + 1;
        self.0.word.store(next << 8, Ordering::Release);
    }

    /// When the statement's time is over.
    fn deadline(&self) -> Option<Instant> {
        let end = self.0.deadline.load(Ordering::Relaxed);
        (end != 0).then(|| self.0.made + Duration::from_micros(end))
    }

    /// Between two batches: as [`CancelFlag::check`], and now and then the thread is left to others.
    ///
    /// # Errors
    /// 57014 once the statement is to stop.
    pub async fn checkpoint(&self) -> SqlResult<()> {
        self.check()?;
        // Aside tokio counts nothing.
        if crate::aside::is_turn_over() {
            tokio::task::yield_now().await;
        } else {
            tokio::task::consume_budget().await;
        }
        Ok(())
    }

    /// # Errors
    /// 57014 once the statement is to stop.
    pub fn check(&self) -> SqlResult<()> {
        let message = match self.0.word.load(Ordering::Acquire) & 0xff {
            0 => match self.deadline() {
                Some(deadline) if deadline <= Instant::now() => {
                    self.cancel(CancelReason::StatementTimeout);
                    return self.check();
                }
                _ => return Ok(()),
            },
            reason if reason == CancelReason::StatementTimeout as u64 => "canceling statement due to statement timeout",
            reason if reason == CancelReason::ClientGone as u64 => "canceling statement due to lost connection",
            _ => "canceling statement due to user request",
        };
        Err(SqlError::new(SqlState::QueryCanceled, message))
    }

    /// Waits until the statement is to stop; answers the error it ends with.
    pub async fn cancelled(&self) -> SqlError {
        let stopped = poll_fn(|context| {
            self.0.waiter.register(context.waker());
            self.check().map_or_else(Poll::Ready, |()| Poll::Pending)
        });
        let Some(deadline) = self.deadline() else { return stopped.await };
        match tokio::time::timeout_at(deadline, stopped).await {
            Ok(error) => error,
            Err(_late) => {
                self.cancel(CancelReason::StatementTimeout);
                self.check().expect_err("it has just been stopped")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_late_request_stops_nothing_else() {
        let flag = CancelFlag::default();
        flag.reset(None);
        flag.cancel(CancelReason::ClientGone);
        flag.cancel(CancelReason::Request);
        assert!(flag.check().unwrap_err().message().contains("lost connection"), "the first reason stands");
        flag.reset(None);
        assert!(flag.check().is_ok());
        assert!(flag.cancelled().now_or_never().is_none());
        flag.cancel(CancelReason::Request);
        assert_eq!(flag.cancelled().now_or_never().unwrap().code(), SqlState::QueryCanceled);
    }

    #[tokio::test(start_paused = true)]
    async fn time_runs_out_for_those_who_compute_and_those_who_wait() {
        let flag = CancelFlag::default();
        flag.reset(Some(Duration::from_secs(5)));
        assert!(flag.checkpoint().await.is_ok());
        assert!(flag.cancelled().await.message().contains("statement timeout"));
        flag.reset(Some(Duration::from_secs(5)));
        tokio::time::advance(Duration::from_secs(6)).await;
        assert!(flag.check().unwrap_err().message().contains("statement timeout"));
        flag.reset(None);
        assert!(flag.check().is_ok());
    }
}
