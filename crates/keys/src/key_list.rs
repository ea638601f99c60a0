//! Many keys in one piece of memory: for commands and locks over as many rows as a table has.
//!
//! **Invariant (ascending-keys):** the keys are in ascending order, none twice.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Key, Span};

/// Keys in ascending order, none twice. Clones share them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub struct KeyList(Arc<Packed>);

#[derive(Debug, Default, PartialEq, Eq)]
struct Packed {
    bytes: Bytes,
    /// Where each key ends, and the next begins.
    ends: Vec<u32>,
}

/// What [`KeyList`] looks like on its way.
#[derive(Serialize, Deserialize)]
struct Wire {
    bytes: Bytes,
    ends: Vec<u32>,
}

#[derive(Debug)]
struct BadKeys;

impl std::fmt::Display for BadKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("keys whose bounds do not fit their bytes, or out of order")
    }
}

impl TryFrom<Wire> for KeyList {
    type Error = BadKeys;

    fn try_from(Wire { bytes, ends }: Wire) -> Result<Self, BadKeys> {
        let fits = ends.is_sorted() && ends.last().copied().unwrap_or(0) as usize == bytes.len();
        let list = Self(Arc::new(Packed { bytes, ends }));
        // Their bounds first, or there were no keys to compare.
        if fits && list.iter().is_sorted_by(|a, b| a < b) { Ok(list) } else { Err(BadKeys) }
    }
}

impl From<KeyList> for Wire {
    fn from(list: KeyList) -> Self {
        Self { bytes: list.0.bytes.clone(), ends: list.0.ends.clone() }
    }
}

impl KeyList {
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.ends.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.ends.is_empty()
    }

    /// The bytes of all keys.
    #[must_use]
    pub fn byte_size(&self) -> usize {
        self.0.bytes.len()
    }

    /// The key at a place, counted from zero.
    #[must_use]
    pub fn get(&self, at: usize) -> &[u8] {
        let start = if at == 0 { 0 } else { self.0.ends[at - 1] };
        &self.0.bytes[start as usize..self.0.ends[at] as usize]
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> + DoubleEndedIterator + Clone {
        (0..self.len()).map(|at| self.get(at))
    }

    #[must_use]
    pub fn first(&self) -> Option<&[u8]> {
        self.iter().next()
    }

    #[must_use]
    pub fn last(&self) -> Option<&[u8]> {
        self.iter().next_back()
    }

    /// From the first key to the last; empty without keys.
    #[must_use]
    pub fn hull(&self) -> Span {
        match (self.first(), self.last()) {
            (Some(first), Some(last)) => Span::new(first.into(), Key::from(last).next()),
            _ => Span::new(Key::MIN, Key::MIN),
        }
    }

    /// How many of the keys are below `bound`.
    #[must_use]
    pub fn below(&self, bound: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.get(middle) < bound {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The place of a key.
    #[must_use]
    pub fn position(&self, key: &[u8]) -> Option<usize> {
        let at = self.below(key);
        (at < self.len() && self.get(at) == key).then_some(at)
    }

    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        self.position(key).is_some()
    }

    /// The places of the keys of a span.
    #[must_use]
    pub fn places_in(&self, span: &Span) -> std::ops::Range<usize> {
        let start = self.below(span.start.as_bytes());
        start..self.below(span.end.as_bytes()).max(start)
    }

    /// Whether any of the keys is in the other list.
    #[must_use]
    pub fn intersects(&self, other: &Self) -> bool {
        let (few, many) = if self.len() <= other.len() { (self, other) } else { (other, self) };
        let (Some(first), Some(last)) = (many.first(), many.last()) else { return false };
        let (start, end) = (few.below(first), few.below(last));
        (start..few.len().min(end + 1)).any(|at| many.contains(few.get(at)))
    }
}

/// Makes a [`KeyList`] of keys that come in order.
#[derive(Debug, Default)]
pub struct KeyListBuilder {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl KeyListBuilder {
    #[must_use]
    pub fn with_capacity(keys: usize, bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), ends: Vec::with_capacity(keys) }
    }

    /// The next key.
    ///
    /// # Panics
    /// When it is not above the last.
    pub fn push(&mut self, key: &[u8]) {
        let start = match self.ends[..] {
            [] => 0,
            [only] => self.check_above(0, only, key),
            [.., before, last] => self.check_above(before, last, key),
        };
        debug_assert_eq!(start as usize, self.bytes.len(), "keys stand back to back");
        self.bytes.extend_from_slice(key);
        self.ends.push(u32::try_from(self.bytes.len()).expect("commands are cut long before four gigabytes"));
    }

    fn check_above(&self, start: u32, end: u32, key: &[u8]) -> u32 {
        assert!(&self.bytes[start as usize..end as usize] < key, "ascending-keys");
        end
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    #[must_use]
    pub fn byte_size(&self) -> usize {
        self.bytes.len()
    }

    #[must_use]
    pub fn build(self) -> KeyList {
        KeyList(Arc::new(Packed { bytes: self.bytes.into(), ends: self.ends }))
    }
}

impl<K: AsRef<[u8]>> FromIterator<K> for KeyList {
    fn from_iter<I: IntoIterator<Item = K>>(keys: I) -> Self {
        let mut list = KeyListBuilder::default();
        keys.into_iter().for_each(|key| list.push(key.as_ref()));
        list.build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(keys: &[&str]) -> KeyList {
        keys.iter().copied().collect()
    }

    #[test]
    fn keys_are_found() {
        let keys = list(&["b", "c", "cc", "f"]);
        assert_eq!((keys.len(), keys.byte_size(), keys.get(2)), (4, 5, &b"cc"[..]));
        assert_eq!(["a", "b", "bb", "cc", "f", "g"].map(|key| keys.below(key.as_bytes())), [0, 0, 1, 2, 3, 4]);
        assert_eq!((keys.position(b"f"), keys.position(b"e")), (Some(3), None));
        let span = |start: &str, end: &str| Span::new(start.as_bytes().into(), end.as_bytes().into());
        assert_eq!(keys.places_in(&span("c", "f")), 1..3);
        assert!(keys.places_in(&span("d", "e")).is_empty() && keys.places_in(&span("z", "a")).is_empty());
        assert_eq!(keys.hull(), Span::new(b"b"[..].into(), b"f\xff"[..].into()));
        assert!(KeyList::default().hull().is_empty());
    }

    #[test]
    fn lists_intersect() {
        let keys = list(&["b", "d", "f"]);
        for (other, meets) in [
            (list(&["a", "c", "e", "g"]), false),
            (list(&["f", "g"]), true),
            (list(&["a", "b"]), true),
            (list(&["d"]), true),
            (list(&["x", "y"]), false),
            (list(&["0"]), false),
            (list(&[]), false),
        ] {
            assert_eq!((keys.intersects(&other), other.intersects(&keys)), (meets, meets), "{other:?}");
        }
    }

    #[test]
    fn damaged_keys_are_refused() {
        let from = |bytes: &'static [u8], ends: &[u32]| {
            KeyList::try_from(Wire { bytes: Bytes::from_static(bytes), ends: ends.to_vec() }).is_ok()
        };
        assert!(from(b"abc", &[1, 3]) && from(b"", &[]));
        assert!(!from(b"abc", &[1, 2]) && !from(b"abc", &[1, 9]) && !from(b"abc", &[3, 1]) && !from(b"abc", &[]));
        assert!(!from(b"aa", &[1, 2]) && !from(b"ba", &[1, 2]), "ascending-keys");
    }

    #[test]
    #[should_panic(expected = "ascending-keys")]
    fn ascending_keys() {
        list(&["b", "a"]);
    }
}
