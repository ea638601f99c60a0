//! Values of counters that are reserved: what is stored of a counter may be ahead of what it has given out.
//!
//! The problem: a sequence gives out values one by one, and each would be a command in the log. The idea is PostgreSQL's,
//! which logs 32 values at a time: the leaseholder stores where the counter will stand in a while, and gives out the values
//! up to there from memory. Everybody asks the leaseholder, so they come in order. When its lease ends, what was not
//! given out never is.
//!
//! **Invariant (given-once):** a value is given out only when what is stored lies at it or beyond, so that no later
//! leaseholder begins below it. What is remembered goes with the version that reserved it: of another one, from another
//! lease or by whoever sets the counter, it says nothing.

use hlc::Timestamp;
use keys::Key;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

/// Of more counters than this nothing is remembered: their next values are reserved anew.
const COUNTERS_MAX: usize = 10_000;

/// What a counter has given out, of what the version at `at` reserves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    pub at: Timestamp,
    pub value: i64,
}

#[derive(Default)]
pub(crate) struct Counters(Mutex<FxHashMap<Key, Given>>);

impl Counters {
    /// The value given out last, if the version at `at` reserves more.
    pub fn given(&self, key: &Key, at: Timestamp) -> Option<i64> {
        self.0.lock().get(key).filter(|given| given.at == at).map(|given| given.value)
    }

    pub fn note(&self, key: Key, given: Given) {
        let mut all = self.0.lock();
        if all.len() >= COUNTERS_MAX && !all.contains_key(&key) {
            all.clear();
        }
        all.insert(key, given);
    }

    /// A lease begins.
    pub fn clear(&self) {
        self.0.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_once() {
        let counters = Counters::default();
        let (key, at) = (Key::from(&b"k"[..]), Timestamp::new(7, 0));
        counters.note(key.clone(), Given { at, value: 3 });
        assert_eq!(counters.given(&key, at), Some(3));
        assert_eq!(counters.given(&key, at.next()), None, "somebody has set it since");
        counters.clear();
        assert_eq!(counters.given(&key, at), None);
    }
}
