//! The writes of a command over many keys, in one piece of memory: no allocation, no latch and no lock for each of them.

use bytes::Bytes;
use keys::{KeyList, KeyListBuilder};
use serde::{Deserialize, Serialize};

/// Writes in the order of their keys, none twice.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub struct Writes {
    keys: KeyList,
    of_keys: Vec<OfKey>,
    /// Back to back.
    values: Bytes,
}

/// Number in the transaction, and how long the value is; none deletes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct OfKey {
    seq: u32,
    value: Option<u32>,
}

/// One of [`Writes`]; no value deletes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteRef<'a> {
    pub key: &'a [u8],
    /// See [`SequencedWrite`](keys::SequencedWrite).
    pub seq: u32,
    pub value: Option<&'a [u8]>,
}

/// What [`Writes`] look like on their way.
#[derive(Serialize, Deserialize)]
struct Wire {
    keys: KeyList,
    of_keys: Vec<OfKey>,
    values: Bytes,
}

#[derive(Debug, thiserror::Error)]
#[error("writes whose values do not fit their bytes")]
struct BadWrites;

impl TryFrom<Wire> for Writes {
    type Error = BadWrites;

    fn try_from(Wire { keys, of_keys, values }: Wire) -> Result<Self, BadWrites> {
        let bytes: u64 = of_keys.iter().map(|of_key| u64::from(of_key.value.unwrap_or(0))).sum();
        if keys.len() != of_keys.len() || bytes != values.len() as u64 {
            return Err(BadWrites);
        }
        Ok(Self { keys, of_keys, values })
    }
}

impl From<Writes> for Wire {
    fn from(Writes { keys, of_keys, values }: Writes) -> Self {
        Self { keys, of_keys, values }
    }
}

impl Writes {
    #[must_use]
    pub fn len(&self) -> usize {
        self.of_keys.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.of_keys.is_empty()
    }

    #[must_use]
    pub fn keys(&self) -> &KeyList {
        &self.keys
    }

    /// The bytes of all keys and values.
    #[must_use]
    pub fn byte_size(&self) -> usize {
        self.keys.byte_size() + self.values.len()
    }

    /// Whether any stores a value.
    #[must_use]
    pub fn has_values(&self) -> bool {
        self.of_keys.iter().any(|of_key| of_key.value.is_some())
    }

    /// Whether any stores a value under a key that is not below `bound`.
    #[must_use]
    pub fn has_values_from(&self, bound: &[u8]) -> bool {
        self.of_keys[self.keys.below(bound)..].iter().any(|of_key| of_key.value.is_some())
    }

    pub fn iter(&self) -> impl Iterator<Item = WriteRef<'_>> {
        let mut rest = &self.values[..];
        self.keys.iter().zip(&self.of_keys).map(move |(key, of_key)| {
            let value = of_key.value.map(|bytes| {
                let (value, after) = rest.split_at(bytes as usize);
                rest = after;
                value
            });
            WriteRef { key, seq: of_key.seq, value }
        })
    }
}

/// Makes [`Writes`] of what comes in the order of its keys.
#[derive(Debug, Default)]
pub struct WritesBuilder {
    keys: KeyListBuilder,
    of_keys: Vec<OfKey>,
    values: Vec<u8>,
}

impl WritesBuilder {
    #[must_use]
    pub fn with_capacity(writes: usize, key_bytes: usize, value_bytes: usize) -> Self {
        Self {
            keys: KeyListBuilder::with_capacity(writes, key_bytes),
            of_keys: Vec::with_capacity(writes),
            values: Vec::with_capacity(value_bytes),
        }
    }

    /// The next write.
    ///
    /// # Panics
    /// When its key is not above the last.
    pub fn push(&mut self, write: WriteRef<'_>) {
        self.keys.push(write.key);
        let value = write.value.map(|value| {
            self.values.extend_from_slice(value);
            u32::try_from(value.len()).expect("values are far below four gigabytes")
        });
        self.of_keys.push(OfKey { seq: write.seq, value });
    }

    #[must_use]
    pub fn build(self) -> Writes {
        Writes { keys: self.keys.build(), of_keys: self.of_keys, values: self.values.into() }
    }
}

impl<'a> FromIterator<WriteRef<'a>> for Writes {
    fn from_iter<I: IntoIterator<Item = WriteRef<'a>>>(writes: I) -> Self {
        let mut all = WritesBuilder::default();
        writes.into_iter().for_each(|write| all.push(write));
        all.build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Request, decode, encode};

    fn writes() -> Writes {
        let write = |key, seq, value| WriteRef { key, seq, value };
        [write(b"a", 3, Some(&b"one"[..])), write(b"b", 4, None), write(b"bb", 300, Some(b""))].into_iter().collect()
    }

    #[test]
    fn writes_come_back_from_the_wire() {
        let request = Request::WriteMany { writes: writes() };
        let encoded = encode(&request);
        let golden = b"\x1d\x04abbb\x03\x01\x02\x04\x03\x03\x01\x03\x04\0\xac\x02\x01\0\x03one";
        assert_eq!(encoded[..], golden[..], "{encoded:?}");
        assert_eq!(decode::<Request>(&encoded).unwrap(), request);
        let Request::WriteMany { writes: decoded } = request else { panic!("as above") };
        assert_eq!(decoded.iter().map(|write| (write.key, write.value)).nth(2), Some((&b"bb"[..], Some(&b""[..]))));
        assert_eq!((decoded.len(), decoded.byte_size(), decoded.has_values()), (3, 7, true));
    }

    #[test]
    fn values_from_a_bound_on_are_found() {
        let with = [WriteRef { key: b"a", seq: 1, value: Some(b"one") }, WriteRef { key: b"c", seq: 2, value: None }];
        let writes: Writes = with.into_iter().collect();
        assert_eq!(["a", "b", "c", "d"].map(|bound| writes.has_values_from(bound.as_bytes())), [true, false, false, false]);
        assert!(self::writes().has_values_from(b"b") && !Writes::default().has_values_from(b""));
    }

    /// Of a value of the system and a deletion of a user's row neither takes room.
    #[test]
    fn only_values_of_users_add_rows() {
        use keys::keyspace::{FIRST_USER_TABLE, table};
        let (system, user) = (table(keys::TableId::new(100)), table(FIRST_USER_TABLE));
        let adds = |of_system: Option<&[u8]>, of_user: Option<&[u8]>| {
            let both = [(&system, of_system), (&user, of_user)];
            let writes = both.map(|(key, value)| WriteRef { key: key.as_bytes(), seq: 1, value }).into_iter().collect();
            Request::WriteMany { writes }.adds_rows()
        };
        assert!(adds(None, Some(b"v")) && adds(Some(b"v"), Some(b"v")));
        assert!(!adds(Some(b"v"), None) && !adds(None, None));
    }

    #[test]
    fn damaged_writes_are_refused() {
        let whole = writes();
        let wire = |of_keys: Vec<OfKey>, values: &'static [u8]| {
            Writes::try_from(Wire { keys: whole.keys.clone(), of_keys, values: Bytes::from_static(values) }).is_ok()
        };
        assert!(wire(whole.of_keys.clone(), b"one"));
        assert!(!wire(whole.of_keys[1..].to_vec(), b"one") && !wire(whole.of_keys.clone(), b"on"));
        assert!(!wire(whole.of_keys.clone(), b"ones"));
    }
}
