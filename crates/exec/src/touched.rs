//! The rows that a statement has changed, each of which it changes once.
//!
//! Most come in the order of their keys, by the scan that found them: those are kept in a list, and neither hashed nor
//! searched for.

use std::collections::HashSet;

use keys::Key;

#[derive(Debug, Default)]
pub(crate) struct Touched {
    /// Each above the one before.
    in_order: Vec<Key>,
    /// What came below the last of these.
    others: HashSet<Key, ahash::RandomState>,
}

impl Touched {
    /// Whether the row was not there yet.
    pub fn insert(&mut self, key: Key) -> bool {
        if self.in_order.last().is_none_or(|last| *last < key) {
            self.in_order.push(key);
            return true;
        }
        !self.is_in_order(&key) && self.others.insert(key)
    }

    pub fn contains(&self, key: &Key) -> bool {
        self.is_in_order(key) || self.others.contains(key)
    }

    fn is_in_order(&self, key: &Key) -> bool {
        self.in_order.binary_search(key).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_is_new_once() {
        let mut touched = Touched::default();
        let key = |n: u32| Key::from(&n.to_be_bytes()[..]);
        for (n, is_new) in [(5, true), (7, true), (6, true), (7, false), (6, false), (9, true), (1, true), (1, false)] {
            assert_eq!((touched.contains(&key(n)), touched.insert(key(n))), (!is_new, is_new), "{n}");
        }
        let mut touched = Touched::default();
        let news = (0..2000_u32).map(|n| n * 7919 % 1000).filter(|n| touched.insert(key(*n))).count();
        assert_eq!(news, 1000);
        assert!((0..1000).all(|n| touched.contains(&key(n)) && !touched.insert(key(n))) && !touched.contains(&key(1000)));
    }
}
