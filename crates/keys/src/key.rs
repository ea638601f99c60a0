//! Keys and the half-open spans between them.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
};

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Visitor};

/// Keys up to this length live in place. That is most of them: a prefix takes four bytes or so, an integer at most ten
/// more and a UUID seventeen, and [`Key::next`] one.
const IN_PLACE: usize = 23;

/// A key of the cluster's ordered map, without any timestamp. Cloning copies at most as many bytes as a pointer to shared
/// ones takes.
#[derive(Clone)]
pub struct Key(Repr);

#[derive(Clone)]
enum Repr {
    InPlace { len: u8, bytes: [u8; IN_PLACE] },
    Shared(Bytes),
}

const _: () = assert!(size_of::<Key>() == size_of::<Bytes>());

impl Key {
    /// The start of the keyspace: below every key.
    pub const MIN: Self = Self(Repr::InPlace { len: 0, bytes: [0; IN_PLACE] });
    /// The end of the keyspace: above every key that can be stored.
    pub const MAX: Self = Self(Repr::Shared(Bytes::from_static(&[0xff, 0xff])));

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::InPlace { len, bytes } => &bytes[..usize::from(*len)],
            Repr::Shared(bytes) => bytes,
        }
    }

    fn in_place(bytes: &[u8]) -> Option<Self> {
        let mut place = [0; IN_PLACE];
        place.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Self(Repr::InPlace { len: bytes.len() as u8, bytes: place }))
    }

    /// This key with a byte behind it.
    fn with(&self, last: u8) -> Self {
        let bytes = self.as_bytes();
        if bytes.len() < IN_PLACE {
            let mut place = [0; IN_PLACE];
            place[..bytes.len()].copy_from_slice(bytes);
            place[bytes.len()] = last;
            return Self(Repr::InPlace { len: bytes.len() as u8 + 1, bytes: place });
        }
        let mut longer = Vec::with_capacity(bytes.len() + 1);
        longer.extend_from_slice(bytes);
        longer.push(last);
        longer.into()
    }

    /// The bound just above this stored key and all its versions.
    ///
    /// One 0xff byte is enough by *prefix-free*: no other stored key starts with this one, and no encoded timestamp
    /// starts with 0xff.
    #[must_use]
    pub fn next(&self) -> Self {
        self.with(0xff)
    }

    /// The smallest key above every key that starts with this one.
    #[must_use]
    pub fn prefix_end(&self) -> Self {
        let bytes = self.as_bytes();
        let Some(at) = bytes.iter().rposition(|byte| *byte != 0xff) else { return Self::MAX };
        Self::from(&bytes[..at]).with(bytes[at] + 1)
    }

    #[must_use]
    pub fn starts_with(&self, prefix: &[u8]) -> bool {
        self.as_bytes().starts_with(prefix)
    }
}

impl From<Vec<u8>> for Key {
    fn from(bytes: Vec<u8>) -> Self {
        Self::in_place(&bytes).unwrap_or_else(|| Self(Repr::Shared(bytes.into())))
    }
}

impl From<Bytes> for Key {
    fn from(bytes: Bytes) -> Self {
        Self::in_place(&bytes).unwrap_or(Self(Repr::Shared(bytes)))
    }
}

impl From<&[u8]> for Key {
    fn from(bytes: &[u8]) -> Self {
        Self::in_place(bytes).unwrap_or_else(|| Self(Repr::Shared(Bytes::copy_from_slice(bytes))))
    }
}

impl Default for Key {
    fn default() -> Self {
        Self::MIN
    }
}

/// The bytes of a key that lives in place as three numbers that are ordered as they are. The last overlaps the second by
/// one byte, which is equal where it matters.
fn words(bytes: &[u8; IN_PLACE]) -> [u64; 3] {
    const { assert!(IN_PLACE == 23, "three words with a byte in common") };
    let word = |at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[at..at + 8]);
        u64::from_be_bytes(word)
    };
    [word(0), word(8), word(15)]
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Repr::InPlace { len, bytes }, Repr::InPlace { len: other_len, bytes: other }) => {
                len == other_len && words(bytes) == words(other)
            }
            _ => self.as_bytes() == other.as_bytes(),
        }
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Comparisons are most of what maps of keys cost. What is behind a short key is zero, so of two keys that differ in no word
/// the shorter is a prefix of the other.
impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (Repr::InPlace { len, bytes }, Repr::InPlace { len: other_len, bytes: other }) => {
                let ([a, b, c], [d, e, f]) = (words(bytes), words(other));
                a.cmp(&d).then(b.cmp(&e)).then(c.cmp(&f)).then(len.cmp(other_len))
            }
            _ => self.as_bytes().cmp(other.as_bytes()),
        }
    }
}

/// As that of its bytes, for they are what it is looked up by.
impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.as_bytes())
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfBytes;
        impl<'de> Visitor<'de> for OfBytes {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the bytes of a key")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Key, E> {
                Ok(bytes.into())
            }

            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Key, E> {
                Ok(bytes.into())
            }
        }
        deserializer.deserialize_bytes(OfBytes)
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl std::borrow::Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::pretty::write_key(f, self.as_bytes())
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
        let end = key.with(0);
        Self { start: key, end }
    }

    /// From the first of keys in order to the last; none without any.
    #[must_use]
    pub fn hull(keys: &[Key]) -> Option<Self> {
        Some(Self { start: keys.first()?.clone(), end: keys.last()?.next() })
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
    fn keys_are_ordered_as_their_bytes() {
        let mut all: Vec<Vec<u8>> = vec![vec![], vec![0], vec![0, 0], vec![0xff; 23], vec![0xff; 24], vec![0; 23], vec![0; 30]];
        for at in 0..26 {
            for byte in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bytes = vec![7; 26];
                bytes[at] = byte;
                all.extend([bytes[..=at].to_vec(), bytes[..23].to_vec(), bytes]);
            }
        }
        for a in &all {
            for b in &all {
                assert_eq!((key(a).cmp(&key(b)), key(a) == key(b)), (a.cmp(b), a == b), "{a:?} {b:?}");
            }
        }
        assert!(key(&[0xff, 0xff]) == Key::MAX && key(&[0xff, 0xfe]) < Key::MAX);
    }

    #[test]
    fn a_key_is_its_bytes_wherever_they_are() {
        let hash = |key: &Key| std::hash::BuildHasher::hash_one(&std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::new(), key);
        let all: Vec<u8> = (0..=255).collect();
        for len in 0..60 {
            let bytes = &all[..len];
            let made = [key(bytes), Key::from(bytes.to_vec()), Key::from(Bytes::copy_from_slice(bytes))];
            for key in &made {
                assert_eq!((key.as_bytes(), key, hash(key)), (bytes, &made[0], hash(&made[0])));
                assert_eq!(key.next().as_bytes(), [bytes, &[0xff]].concat());
                assert!(Span::point(key.clone()).contains(bytes) && *key < key.next() && *key <= key.prefix_end());
            }
            let shorter = key(&all[..len.saturating_sub(1)]);
            assert_eq!(shorter < made[0], len > 0, "in place below shared");
        }
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
