//! The rows of a scan in one piece of memory.

use bytes::Bytes;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

/// Keys and values back to back, and where each ends. A scan fills it without an allocation per row, and the
/// network hands it on without one: decoding copies the arena once.
#[derive(Clone, Default, Deserialize)]
#[serde(try_from = "Wire")]
pub struct KvRows {
    arena: Arena,
    /// Per row: the end of its key, then the end of its value, which is where the next row starts.
    ends: Vec<(u32, u32)>,
}

#[derive(Clone)]
enum Arena {
    Growing(Vec<u8>),
    Shared(Bytes),
}

impl Default for Arena {
    fn default() -> Self {
        Self::Growing(Vec::new())
    }
}

impl Arena {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Growing(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }

    fn growing(&mut self) -> &mut Vec<u8> {
        if let Self::Shared(bytes) = self {
            *self = Self::Growing(Vec::from(std::mem::take(bytes)));
        }
        match self {
            Self::Growing(bytes) => bytes,
            Self::Shared(_) => unreachable!("made growing just above"),
        }
    }
}

/// What [`KvRows`] looks like on its way.
#[derive(Deserialize)]
#[cfg_attr(test, derive(Serialize))]
struct Wire {
    arena: Bytes,
    ends: Vec<(u32, u32)>,
}

#[derive(Debug, thiserror::Error)]
#[error("rows whose bounds do not fit their bytes")]
struct BadBounds;

impl TryFrom<Wire> for KvRows {
    type Error = BadBounds;

    fn try_from(wire: Wire) -> Result<Self, BadBounds> {
        let mut start = 0;
        for &(key_end, value_end) in &wire.ends {
            if key_end < start || value_end < key_end {
                return Err(BadBounds);
            }
            start = value_end;
        }
        if start as usize != wire.arena.len() {
            return Err(BadBounds);
        }
        Ok(Self { arena: Arena::Shared(wire.arena), ends: wire.ends })
    }
}

impl Serialize for KvRows {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut wire = serializer.serialize_struct("Wire", 2)?;
        wire.serialize_field("arena", &RawBytes(self.arena.as_slice()))?;
        wire.serialize_field("ends", &self.ends)?;
        wire.end()
    }
}

/// Bytes in one piece, where serde would take a slice for a list of numbers.
struct RawBytes<'a>(&'a [u8]);

impl Serialize for RawBytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl KvRows {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of all keys and values.
    #[must_use]
    pub fn byte_size(&self) -> usize {
        self.arena.as_slice().len()
    }

    /// The key and the value of row `i`, counted from zero.
    #[must_use]
    pub fn get(&self, i: usize) -> (&[u8], &[u8]) {
        let (start, key_end, value_end) = self.bounds(i);
        let arena = self.arena.as_slice();
        (&arena[start..key_end], &arena[key_end..value_end])
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> + DoubleEndedIterator {
        (0..self.len()).map(|i| self.get(i))
    }

    /// The key of row `i`; it shares memory with rows that came from a scan or the network.
    #[must_use]
    pub fn key_bytes(&self, i: usize) -> Bytes {
        let (start, key_end, _) = self.bounds(i);
        self.slice(start, key_end)
    }

    /// The value of row `i`; see [`Self::key_bytes`].
    #[must_use]
    pub fn value_bytes(&self, i: usize) -> Bytes {
        let (_, key_end, value_end) = self.bounds(i);
        self.slice(key_end, value_end)
    }

    pub fn push(&mut self, key: &[u8], value: &[u8]) {
        let arena = self.arena.growing();
        arena.extend_from_slice(key);
        let key_end = position(arena);
        arena.extend_from_slice(value);
        let value_end = position(arena);
        self.ends.push((key_end, value_end));
    }

    /// All rows of `other` after these.
    pub fn extend(&mut self, other: &Self) {
        if self.is_empty() {
            self.clone_from(other);
            return;
        }
        let arena = self.arena.growing();
        let base = position(arena);
        arena.extend_from_slice(other.arena.as_slice());
        position(arena);
        self.ends.extend(other.ends.iter().map(|(key, value)| (base + key, base + value)));
    }

    /// Makes the memory shareable, so that [`Self::key_bytes`] copies nothing. Pushing afterwards may copy all.
    pub fn freeze(&mut self) {
        if let Arena::Growing(bytes) = &mut self.arena {
            self.arena = Arena::Shared(std::mem::take(bytes).into());
        }
    }

    fn bounds(&self, i: usize) -> (usize, usize, usize) {
        let start = if i == 0 { 0 } else { self.ends[i - 1].1 };
        let (key_end, value_end) = self.ends[i];
        (start as usize, key_end as usize, value_end as usize)
    }

    fn slice(&self, start: usize, end: usize) -> Bytes {
        match &self.arena {
            Arena::Growing(bytes) => Bytes::copy_from_slice(&bytes[start..end]),
            Arena::Shared(bytes) => bytes.slice(start..end),
        }
    }
}

fn position(arena: &[u8]) -> u32 {
    u32::try_from(arena.len()).expect("scans are cut long before four gigabytes")
}

impl PartialEq for KvRows {
    fn eq(&self, other: &Self) -> bool {
        self.ends == other.ends && self.arena.as_slice() == other.arena.as_slice()
    }
}

impl Eq for KvRows {}

impl std::fmt::Debug for KvRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KvRows({} rows, {} bytes)", self.len(), self.byte_size())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_from_the_wire() {
        let mut rows = KvRows::new();
        rows.push(b"a", b"one");
        rows.push(b"bb", b"");
        rows.freeze();
        let decoded: KvRows = postcard::from_bytes(&postcard::to_allocvec(&rows).unwrap()).unwrap();
        assert_eq!(decoded, rows);
        assert_eq!(decoded.get(1), (&b"bb"[..], &b""[..]));
        assert_eq!(decoded.key_bytes(0), Bytes::from_static(b"a"));

        let mut both = decoded.clone();
        both.extend(&rows);
        assert_eq!(both.len(), 4);
        assert_eq!(both.iter().nth(2), Some((&b"a"[..], &b"one"[..])));
        assert_eq!(both.byte_size(), 12);
    }

    #[test]
    fn bad_bounds_are_refused() {
        let wire = |ends| postcard::to_allocvec(&Wire { arena: Bytes::from_static(b"abc"), ends }).unwrap();
        assert!(postcard::from_bytes::<KvRows>(&wire(vec![(1, 3)])).is_ok());
        for ends in [vec![(1, 2)], vec![(1, 4)], vec![(2, 1), (3, 3)], vec![]] {
            assert!(postcard::from_bytes::<KvRows>(&wire(ends)).is_err());
        }
    }
}
