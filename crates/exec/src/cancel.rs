//! Stopping a statement from outside: by request, by its time limit, or because its client has gone.
//!
//! Loops that compute look at the flag now and then; what waits is woken by it. A request names the statement that it
//! is meant for, so that one that comes late stops nothing else.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use futures::task::AtomicWaker;
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

#[derive(Debug, Default)]
struct State {
    /// The number of the statement, and in the low byte the reason, 0 while there is none.
    word: AtomicU64,
    waiter: AtomicWaker,
}

impl CancelFlag {
    /// Stops the statement that runs now.
    pub fn cancel(&self, reason: CancelReason) {
        self.cancel_statement(self.0.word.load(Ordering::Acquire) >> 8, reason);
    }

    /// Stops a statement, if it still runs and nobody has stopped it yet.
    pub fn cancel_statement(&self, statement: u64, reason: CancelReason) {
        let running = statement << 8;
        let stopped = running | reason as u64;
        if self.0.word.compare_exchange(running, stopped, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            self.0.waiter.wake();
        }
    }

    /// For the next statement, whose number this answers.
    pub fn reset(&self) -> u64 {
        // Only the session counts up, so a request in between is for the statement that is over.
        let next = (self.0.word.load(Ordering::Acquire) >> 8) + 1;
        self.0.word.store(next << 8, Ordering::Release);
        next
    }

    /// # Errors
    /// 57014 once the statement is to stop.
    pub fn check(&self) -> SqlResult<()> {
        let message = match self.0.word.load(Ordering::Acquire) & 0xff {
            0 => return Ok(()),
            reason if reason == CancelReason::StatementTimeout as u64 => "canceling statement due to statement timeout",
            reason if reason == CancelReason::ClientGone as u64 => "canceling statement due to lost connection",
            _ => "canceling statement due to user request",
        };
        Err(SqlError::new(SqlState::QueryCanceled, message))
    }

    /// Waits until the statement is to stop; answers the error it ends with.
    pub async fn cancelled(&self) -> SqlError {
        poll_fn(|context| {
            self.0.waiter.register(context.waker());
            self.check().map_or_else(Poll::Ready, |()| Poll::Pending)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_late_request_stops_nothing_else() {
        let flag = CancelFlag::default();
        let first = flag.reset();
        flag.cancel(CancelReason::StatementTimeout);
        flag.cancel(CancelReason::Request);
        assert!(flag.check().unwrap_err().message().contains("statement timeout"), "the first reason stands");
        flag.reset();
        flag.cancel_statement(first, CancelReason::StatementTimeout);
        assert!(flag.check().is_ok());
        assert!(flag.cancelled().now_or_never().is_none());
        flag.cancel(CancelReason::Request);
        assert_eq!(flag.cancelled().now_or_never().unwrap().code(), SqlState::QueryCanceled);
    }
}
