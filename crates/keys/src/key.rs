//! Keys and the half-open spans between them.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A key of the cluster's ordered map, without any timestamp. Cloning copies no bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Key(Bytes);

impl Key {
    /// The start of the keyspace: below every key.
    pub const MIN: Self = Self(Bytes::new());
    /// The end of the keyspace: above every key that can be stored.
    pub const MAX: Self = Self(Bytes::from_static(&[0xff, 0xff]));

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// The bound just above this stored key and all its versions.
    ///
    /// One 0xff byte is enough by *prefix-free*: no other stored key starts with this one, and no encoded timestamp
    /// starts with 0xff.
    #[must_use]
    pub fn next(&self) -> Self {
        let mut bytes = Vec::with_capacity(self.0.len() + 1);
        bytes.extend_from_slice(&self.0);
        bytes.push(0xff);
        Self(bytes.into())
    }

    /// The smallest key above every key that starts with this one.
    #[must_use]
    pub fn prefix_end(&self) -> Self {
        let mut bytes = self.0.to_vec();
        while let Some(last) = bytes.pop() {
            if last != 0xff {
                bytes.push(last + 1);
                return Self(bytes.into());
            }
        }
        Self::MAX
    }

    #[must_use]
    pub fn starts_with(&self, prefix: &[u8]) -> bool {
        self.0.starts_with(prefix)
    }
}

impl From<Vec<u8>> for Key {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl From<Bytes> for Key {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl From<&[u8]> for Key {
    fn from(bytes: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(bytes))
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl std::borrow::Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::pretty::write_key(f, &self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The keys `k` with `start <= k < end`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Span {
    pub start: Key,
    pub end: Key,
}

impl Span {
    #[must_use]
    pub fn new(start: Key, end: Key) -> Self {
        Self { start, end }
    }

    /// The span that holds this one stored key.
    #[must_use]
    pub fn point(key: Key) -> Self {
        let end = key.next();
        Self { start: key, end }
    }

    /// The span of one position in the keyspace, which need not be a stored key: an anchor may be the beginning of a
    /// table. No range boundary lies inside it.
    #[must_use]
    pub fn position(key: Key) -> Self {
        let mut end = Vec::with_capacity(key.0.len() + 1);
        end.extend_from_slice(&key.0);
        end.push(0);
        Self { start: key, end: Key(end.into()) }
    }

    /// Every key that starts with `prefix`.
    #[must_use]
    pub fn prefix(prefix: Key) -> Self {
        let end = prefix.prefix_end();
        Self { start: prefix, end }
    }

    /// The whole keyspace.
    #[must_use]
    pub fn all() -> Self {
        Self { start: Key::MIN, end: Key::MAX }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.end <= self.start
    }

    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        self.start.as_bytes() <= key && key < self.end.as_bytes()
    }

    #[must_use]
    pub fn contains_span(&self, other: &Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// The keys in both, if there are any.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        let start = self.start.clone().max(other.start.clone());
        let end = self.end.clone().min(other.end.clone());
        (start < end).then_some(Self { start, end })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", self.start, self.end)
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(bytes: &[u8]) -> Key {
        Key::from(bytes)
    }

    #[test]
    fn prefix_free_makes_next_a_tight_bound() {
        let k = key(b"ab");
        assert!(k < k.next());
        assert!(k.next() < key(b"ac"), "the next unrelated key stays outside");
        assert!(Span::point(k.clone()).contains(b"ab"));
        assert!(!Span::point(k).contains(b"ac"));
    }

    #[test]
    fn no_range_boundary_lies_inside_a_position() {
        // A range may end at the first row of a table whose beginning is an anchor: the point would reach beyond it.
        let (table, row) = (key(b"t"), key(b"t\x05"));
        let range = Span::new(Key::MIN, row);
        assert!(range.contains_span(&Span::position(table.clone())));
        assert!(!range.contains_span(&Span::point(table)));
    }

    #[test]
    fn prefix_end_carries_over_0xff() {
        assert_eq!(key(&[1, 2]).prefix_end(), key(&[1, 3]));
        assert_eq!(key(&[1, 0xff]).prefix_end(), key(&[2]));
        assert_eq!(key(&[0xff]).prefix_end(), Key::MAX);
        assert_eq!(Key::MIN.prefix_end(), Key::MAX);
    }

    #[test]
    fn spans_meet_only_where_they_share_keys() {
        let a = Span::new(key(b"a"), key(b"c"));
        let b = Span::new(key(b"c"), key(b"e"));
        assert!(!a.overlaps(&b), "half-open spans that touch share nothing");
        assert_eq!(a.intersect(&Span::new(key(b"b"), key(b"z"))), Some(Span::new(key(b"b"), key(b"c"))));
        assert_eq!(a.intersect(&b), None);
    }
}
