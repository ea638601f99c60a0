//! What a transaction will do about notifications when it commits.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use parking_lot::Mutex;
use rustc_hash::FxHashSet;

/// A change of what a session listens to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Listen(String),
    Unlisten(String),
    UnlistenAll,
}

/// A place to go back to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    sent: usize,
    acts: usize,
}

type Sent = Arc<(String, String)>;

/// Channels and payloads in the order in which they were sent, none twice, and changes of what is listened to. Transactions
/// that have none of these take no lock.
#[derive(Default)]
pub(crate) struct Pending {
    is_used: AtomicBool,
    lists: Mutex<Lists>,
}

#[derive(Default)]
struct Lists {
    sent: Vec<Sent>,
    known: FxHashSet<Sent>,
    acts: Vec<Act>,
}

impl Pending {
    pub fn is_used(&self) -> bool {
        self.is_used.load(Ordering::Relaxed)
    }

    pub fn is_empty(&self) -> bool {
        self.mark() == Mark::default()
    }

    pub fn send(&self, channel: &str, payload: &str) {
        self.is_used.store(true, Ordering::Relaxed);
        let sent = Arc::new((channel.to_owned(), payload.to_owned()));
        let mut lists = self.lists.lock();
        if lists.known.insert(sent.clone()) {
            lists.sent.push(sent);
        }
    }

    pub fn act(&self, act: Act) {
        self.is_used.store(true, Ordering::Relaxed);
        self.lists.lock().acts.push(act);
    }

    pub fn sent(&self) -> Vec<Sent> {
        self.lists.lock().sent.clone()
    }

    pub fn acts(&self) -> Vec<Act> {
        self.lists.lock().acts.clone()
    }

    pub fn mark(&self) -> Mark {
        if !self.is_used() {
            return Mark::default();
        }
        let lists = self.lists.lock();
        Mark { sent: lists.sent.len(), acts: lists.acts.len() }
    }

    pub fn back_to(&self, mark: Mark) {
        if !self.is_used() {
            return;
        }
        let mut lists = self.lists.lock();
        let Lists { sent, known, acts } = &mut *lists;
        for gone in sent.drain(mark.sent.min(sent.len())..) {
            known.remove(&gone);
        }
        acts.truncate(mark.acts);
    }

    /// The transaction is over.
    pub fn clear(&self) {
        if self.is_used.swap(false, Ordering::Relaxed) {
            *self.lists.lock() = Lists::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_count_once_and_what_is_rolled_back_not_at_all() {
        let pending = Pending::default();
        assert_eq!(pending.mark(), Mark::default());
        pending.send("a", "1");
        let mark = pending.mark();
        pending.send("a", "1");
        pending.send("a", "2");
        pending.act(Act::UnlistenAll);
        assert_eq!(pending.sent().len(), 2);
        pending.back_to(mark);
        assert_eq!((pending.sent().len(), pending.acts().len()), (1, 0));
        pending.send("a", "2");
        pending.send("a", "1");
        let sent: Vec<_> = pending.sent().iter().map(|sent| sent.1.clone()).collect();
        assert_eq!(sent, ["1", "2"]);
        pending.clear();
        assert!(!pending.is_used() && pending.sent().is_empty());
    }
}
