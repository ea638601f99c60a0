//! Which one-phase commits a replica has applied lately.
//!
//! The coordinator of a commit whose answer was lost asks whoever leads by then. A one-phase commit leaves versions and
//! no record, so every replica remembers for a while, in memory, which it applied. Whoever leads has applied all that
//! earlier leaders had committed, and what they had not never takes effect: so what is not remembered, though it would
//! be if it had been applied, was not.
//!
//! Times are this node's clock. Everything carries clocks from node to node, so a command is applied later, by this
//! clock, than its coordinator sent it, by its own.

use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock},
    time::Duration,
};

use hlc::{Clock, Timestamp};
use keys::TxnId;
use parking_lot::Mutex;

/// Longer than a coordinator waits for an answer that does not come, and then for the next leaseholder.
const KEPT_FOR: Duration = Duration::from_secs(20);
const KEPT_MAX: usize = 64 << 10;

struct Kept {
    txn: TxnId,
    commit_ts: Timestamp,
    applied_at: Timestamp,
}

struct Inner {
    /// In the order in which they were applied.
    kept: VecDeque<Kept>,
    /// What was applied up to here may be forgotten.
    known_after: Timestamp,
}

pub(crate) struct Commits {
    clock: OnceLock<Arc<Clock>>,
    inner: Mutex<Inner>,
}

impl Default for Commits {
    fn default() -> Self {
        Self {
            clock: OnceLock::new(),
            inner: Mutex::new(Inner { kept: VecDeque::new(), known_after: Timestamp::MAX }),
        }
    }
}

impl Commits {
    /// Remembers from now on.
    pub fn begin(&self, clock: Arc<Clock>) {
        let now = clock.now();
        let mut inner = self.inner.lock();
        if self.clock.set(clock).is_ok() {
            inner.known_after = now;
        }
    }

    /// State came that was applied elsewhere.
    pub fn forget(&self) {
        let mut inner = self.inner.lock();
        inner.kept.clear();
        inner.known_after = self.clock.get().map_or(Timestamp::MAX, |clock| clock.now());
    }

    /// Takes in what one slice of entries applied.
    pub fn applied(&self, commits: &[(TxnId, Timestamp)]) {
        let Some(clock) = self.clock.get().filter(|_| !commits.is_empty()) else { return };
        let now = clock.now();
        let horizon = now.sub_ns(u64::try_from(KEPT_FOR.as_nanos()).unwrap_or(u64::MAX));
        let mut inner = self.inner.lock();
        for (txn, commit_ts) in commits {
            let old = |kept: &Kept| kept.applied_at < horizon;
            if inner.kept.front().is_some_and(old) || inner.kept.len() >= KEPT_MAX {
                if let Some(forgotten) = inner.kept.pop_front() {
                    inner.known_after = inner.known_after.max(forgotten.applied_at);
                }
            }
            inner.kept.push_back(Kept { txn: *txn, commit_ts: *commit_ts, applied_at: now });
        }
    }

    /// Where a transaction committed in one phase, as far as is remembered.
    pub fn find(&self, txn: TxnId) -> Option<Timestamp> {
        let inner = self.inner.lock();
        inner.kept.iter().rev().find(|kept| kept.txn == txn).map(|kept| kept.commit_ts)
    }

    /// Whether a commit sent at `sent` would be remembered, had it been applied.
    pub fn would_know(&self, sent: Timestamp) -> bool {
        sent > self.inner.lock().known_after
    }
}

#[cfg(test)]
mod tests {
    use hlc::ManualClock;

    use super::*;

    fn txn(n: u128) -> TxnId {
        TxnId::from_random(n)
    }

    #[test]
    fn what_would_be_known_was_not_applied() {
        let physical = ManualClock::new(1_000_000_000);
        let clock = Arc::new(Clock::new(Arc::new(physical.clone()), Duration::from_millis(500)));
        let commits = Commits::default();
        assert!(!commits.would_know(Timestamp::new(u64::MAX, 0)), "it has not begun to remember");
        let before = clock.now();
        commits.begin(clock.clone());
        assert!(!commits.would_know(before), "it may have been applied before this began");
        let sent = clock.now();
        commits.applied(&[(txn(1), Timestamp::new(7, 0))]);
        assert_eq!(commits.find(txn(1)), Some(Timestamp::new(7, 0)));
        assert_eq!(commits.find(txn(2)), None);
        assert!(commits.would_know(sent));
        physical.set(60_000_000_000);
        let later = clock.now();
        commits.applied(&[(txn(2), Timestamp::new(8, 0))]);
        assert_eq!(commits.find(txn(1)), None);
        assert!(!commits.would_know(sent), "what was sent then may be forgotten by now");
        assert!(commits.would_know(later));
        commits.forget();
        assert!(!commits.would_know(later));
        assert!(commits.would_know(clock.now()));
    }
}
