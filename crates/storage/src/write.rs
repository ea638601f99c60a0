//! What a command changes, as the bytes that are replicated and the bytes that RocksDB applies: the same ones.
//!
//! A replica evaluates a command into a [`WriteBatch`], Raft carries [`WriteBatch::data`], and every replica applies
//! it without decoding it into anything else. The layout is RocksDB's own batch layout, written here directly, so
//! that building one needs no open engine and costs one growing buffer:
//!
//! ```text
//! | sequence 8, zero | record count 4, little endian | records ... |
//! put           0x05  family varint  key length varint  key    value length varint  value
//! delete        0x04  family varint  key length varint  key
//! delete range  0x0e  family varint  start length varint  start  end length varint  end
//! ```
//!
//! A value in the data family starts with a tag: 0 for a tombstone, 1 for a value; 2 and 3 are the same, followed by a
//! local timestamp: | wall 8, big endian | logical 4, big endian |.
//! [`WriteBatch::from_bytes`] checks the whole structure, since a batch may come from another node's disk.

use bytes::Bytes;
use hlc::Timestamp;
use keys::Span;

use crate::engine::LockRecord;
use crate::{StorageError, version_key};

pub(crate) const DATA_FAMILY: u32 = 1;
pub(crate) const LOCK_FAMILY: u32 = 2;
pub(crate) const LOCAL_FAMILY: u32 = 3;

pub(crate) const TOMBSTONE_TAG: u8 = 0;
pub(crate) const VALUE_TAG: u8 = 1;
pub(crate) const LOCAL_TOMBSTONE_TAG: u8 = 2;
pub(crate) const LOCAL_VALUE_TAG: u8 = 3;
/// Wall and logical time behind the two tags above.
pub(crate) const LOCAL_BYTES: usize = 12;

const HEADER_BYTES: usize = 12;
const DELETE: u8 = 0x04;
const PUT: u8 = 0x05;
const DELETE_RANGE: u8 = 0x0e;

/// A list of changes that take effect together.
#[derive(Clone, PartialEq, Eq)]
pub struct WriteBatch {
    bytes: Vec<u8>,
}

impl Default for WriteBatch {
    fn default() -> Self {
        Self::new()
    }
}

impl WriteBatch {
    #[must_use]
    pub fn new() -> Self {
        Self { bytes: vec![0; HEADER_BYTES] }
    }

    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        let mut buffer = Vec::with_capacity(HEADER_BYTES + bytes);
        buffer.resize(HEADER_BYTES, 0);
        Self { bytes: buffer }
    }

    /// A version of a key; no value is a tombstone.
    pub fn put_version(&mut self, key: &[u8], ts: Timestamp, value: Option<&[u8]>) {
        self.put_version_from(key, ts, None, value);
    }

    /// A version of a key that was written when the leaseholder's clock stood at `local_ts`. Only what lies above that
    /// pays for it.
    pub fn put_version_from(&mut self, key: &[u8], ts: Timestamp, local_ts: Option<Timestamp>, value: Option<&[u8]>) {
        let local_ts = local_ts.filter(|local_ts| *local_ts < ts);
        self.begin(PUT, DATA_FAMILY);
        self.push_version_key(key, ts);
        let header_bytes = if local_ts.is_some() { 1 + LOCAL_BYTES } else { 1 };
        self.push_varint(header_bytes + value.map_or(0, <[u8]>::len));
        self.bytes.push(match (local_ts, value) {
            (None, None) => TOMBSTONE_TAG,
            (None, Some(_)) => VALUE_TAG,
            (Some(_), None) => LOCAL_TOMBSTONE_TAG,
            (Some(_), Some(_)) => LOCAL_VALUE_TAG,
        });
        if let Some(local_ts) = local_ts {
            self.bytes.extend_from_slice(&local_ts.wall_ns().to_be_bytes());
            self.bytes.extend_from_slice(&local_ts.logical().to_be_bytes());
        }
        self.bytes.extend_from_slice(value.unwrap_or_default());
    }

    /// A provisional version and the lock that says so. Where the same transaction already has one at another
    /// timestamp, the caller removes that version with [`Self::clear_version`] in the same batch.
    pub fn put_intent(&mut self, key: &[u8], lock: &LockRecord, value: Option<&[u8]>) {
        debug_assert_eq!(lock.tombstone, value.is_none(), "the lock says what the version is");
        self.put_version_from(key, lock.ts, lock.local_ts, value);
        self.begin(PUT, LOCK_FAMILY);
        self.push_slice(key);
        self.push_slice(&lock.encode());
    }

    /// Ends an intent. Committed where it stands, only the lock goes; committed elsewhere, `value` (what the
    /// provisional version holds) is written again there, with the time it was first written; aborted, the version goes
    /// too.
    pub fn resolve_intent(
        &mut self,
        key: &[u8],
        lock: &LockRecord,
        commit: Option<Timestamp>,
        value: Option<&[u8]>,
    ) {
        match commit {
            Some(ts) if ts == lock.ts => {}
            Some(ts) => {
                debug_assert_eq!(lock.tombstone, value.is_none(), "the lock says what the version is");
                self.clear_version(key, lock.ts);
                self.put_version_from(key, ts, Some(lock.written_at()), value);
            }
            None => self.clear_version(key, lock.ts),
        }
        self.begin(DELETE, LOCK_FAMILY);
        self.push_slice(key);
    }

    pub fn put_local(&mut self, key: &[u8], value: &[u8]) {
        self.begin(PUT, LOCAL_FAMILY);
        self.push_slice(key);
        self.push_slice(value);
    }

    pub fn delete_local(&mut self, key: &[u8]) {
        self.begin(DELETE, LOCAL_FAMILY);
        self.push_slice(key);
    }

    /// All versions and locks of the span's keys, whatever their time.
    pub fn clear_span(&mut self, span: &Span) {
        self.delete_range(DATA_FAMILY, span);
        self.delete_range(LOCK_FAMILY, span);
    }

    /// All local records of the span.
    pub fn clear_local_span(&mut self, span: &Span) {
        self.delete_range(LOCAL_FAMILY, span);
    }

    pub fn clear_version(&mut self, key: &[u8], ts: Timestamp) {
        self.begin(DELETE, DATA_FAMILY);
        self.push_version_key(key, ts);
    }

    /// Makes room for so many more bytes.
    pub fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve(bytes);
    }

    /// Everything `other` does, after what is here.
    pub fn merge(&mut self, other: &Self) {
        let count = self.len() + other.len();
        self.bytes.extend_from_slice(&other.bytes[HEADER_BYTES..]);
        self.set_count(count);
    }

    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.bytes
    }

    #[must_use]
    pub fn into_data(self) -> Bytes {
        self.bytes.into()
    }

    /// As [`Self::merge`], of [`Self::data`] of another, perhaps on another machine.
    ///
    /// # Errors
    /// When the bytes are damaged; then nothing is taken.
    pub fn merge_bytes(&mut self, other: &[u8]) -> Result<(), StorageError> {
        /// A record more, such as what was applied, moves nothing.
        const ROOM: usize = 256;
        check_batch(other)?;
        self.bytes.reserve(other.len() + ROOM);
        let count = self.len() + count(other);
        self.bytes.extend_from_slice(&other[HEADER_BYTES..]);
        self.set_count(count);
        Ok(())
    }

    /// A batch from [`Self::data`] of another, perhaps on another machine.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StorageError> {
        check_batch(bytes)?;
        Ok(Self { bytes: bytes.to_vec() })
    }

    /// The number of records; a put with its lock is two.
    #[must_use]
    pub fn len(&self) -> usize {
        count(&self.bytes)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == HEADER_BYTES
    }

    /// The size of [`Self::data`].
    #[must_use]
    pub fn byte_size(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn records(&self) -> Records<'_> {
        Records { rest: &self.bytes[HEADER_BYTES..] }
    }

    fn delete_range(&mut self, family: u32, span: &Span) {
        if span.is_empty() {
            return;
        }
        self.begin(DELETE_RANGE, family);
        self.push_slice(span.start.as_bytes());
        self.push_slice(span.end.as_bytes());
    }

    fn begin(&mut self, tag: u8, family: u32) {
        let count = self.len() + 1;
        self.set_count(count);
        // A family's number is below 128: one byte of varint.
        self.bytes.extend_from_slice(&[tag, family as u8]);
    }

    fn set_count(&mut self, count: usize) {
        let count = u32::try_from(count).expect("a batch of four billion records would not fit in memory");
        self.bytes[8..HEADER_BYTES].copy_from_slice(&count.to_le_bytes());
    }

    fn push_version_key(&mut self, key: &[u8], ts: Timestamp) {
        self.push_slice(&version_key::encode(key, ts));
    }

    fn push_slice(&mut self, slice: &[u8]) {
        self.push_varint(slice.len());
        self.bytes.extend_from_slice(slice);
    }

    fn push_varint(&mut self, value: usize) {
        let mut value = u32::try_from(value).expect("keys and values are far below four gigabytes");
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }
}

impl std::fmt::Debug for WriteBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut list = f.debug_list();
        for record in self.records() {
            match record {
                Some(record) => list.entry(&record),
                None => list.entry(&"damaged"),
            };
        }
        list.finish()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    Put { family: u32, key: &'a [u8], value: &'a [u8] },
    Delete { family: u32, key: &'a [u8] },
    DeleteRange { family: u32, start: &'a [u8], end: &'a [u8] },
}

/// The records of a batch in order; `None` once for what cannot be read, then the end.
pub(crate) struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Records<'a> {
    type Item = Option<Record<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let record = take_record(&mut self.rest);
        if record.is_none() {
            self.rest = &[];
        }
        Some(record)
    }
}

fn take_record<'a>(rest: &mut &'a [u8]) -> Option<Record<'a>> {
    let (&tag, after) = rest.split_first()?;
    *rest = after;
    let family = take_varint(rest)?;
    if !(DATA_FAMILY..=LOCAL_FAMILY).contains(&family) {
        return None;
    }
    let key = take_slice(rest)?;
    match tag {
        PUT => Some(Record::Put { family, key, value: take_slice(rest)? }),
        DELETE => Some(Record::Delete { family, key }),
        DELETE_RANGE => Some(Record::DeleteRange { family, start: key, end: take_slice(rest)? }),
        _ => None,
    }
}

pub(crate) fn take_varint(rest: &mut &[u8]) -> Option<u32> {
    let mut value = 0u64;
    for shift in (0..35).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return u32::try_from(value).ok();
        }
    }
    None
}

pub(crate) fn take_slice<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = take_varint(rest)? as usize;
    let (slice, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(slice)
}

fn count(bytes: &[u8]) -> usize {
    u32::from_le_bytes(bytes[8..HEADER_BYTES].try_into().expect("four bytes of the header")) as usize
}

/// Whether the bytes are a batch, as [`WriteBatch::from_bytes`] asks, without taking them.
///
/// # Errors
/// When they are damaged.
pub fn check_batch(bytes: &[u8]) -> Result<(), StorageError> {
    let damaged = |what: &str| StorageError::corruption(format!("write batch: {what}"));
    if bytes.len() < HEADER_BYTES {
        return Err(damaged("shorter than its header"));
    }
    let mut records = 0;
    for record in (Records { rest: &bytes[HEADER_BYTES..] }) {
        match record {
            None => return Err(damaged("unreadable record")),
            Some(Record::Put { family: DATA_FAMILY, key, value }) => {
                if !version_key::has_version(key) || crate::read::split_version(value).is_none() {
                    return Err(damaged("not a version"));
                }
            }
            Some(Record::Delete { family: DATA_FAMILY, key }) if !version_key::has_version(key) => {
                return Err(damaged("not a version"));
            }
            // RocksDB takes the batch, and fails when it writes it.
            Some(Record::DeleteRange { start, end, .. }) if start > end => {
                return Err(damaged("a span that ends before it begins"));
            }
            Some(Record::Put { .. } | Record::Delete { .. } | Record::DeleteRange { .. }) => {}
        }
        records += 1;
    }
    if records != count(bytes) {
        return Err(damaged("the record count is wrong"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use keys::Key;

    use super::*;

    fn sample() -> WriteBatch {
        let mut batch = WriteBatch::new();
        batch.put_version(b"a", Timestamp::new(5, 0), Some(b"one"));
        batch.put_version(b"b", Timestamp::new(6, 0), None);
        batch.put_local(b"\x01i", &[7; 300]);
        batch.delete_local(b"\x01j");
        batch.clear_span(&Span::new(Key::from(&b"c"[..]), Key::from(&b"d"[..])));
        batch
    }

    #[test]
    fn bytes_come_back() {
        let batch = sample();
        assert_eq!(batch.len(), 6);
        assert_eq!(WriteBatch::from_bytes(batch.data()).unwrap(), batch);
        let mut twice = batch.clone();
        twice.merge_bytes(batch.data()).unwrap();
        assert_eq!((twice.len(), twice.data().len()), (12, 2 * batch.data().len() - HEADER_BYTES));
        assert!(twice.merge_bytes(&batch.data()[..20]).is_err() && twice.len() == 12);
        assert_eq!(twice.records().filter(Option::is_some).count(), 12);
    }

    #[test]
    fn every_truncation_is_refused() {
        let batch = sample();
        for end in 0..batch.data().len() {
            assert!(WriteBatch::from_bytes(&batch.data()[..end]).is_err(), "cut at {end}");
        }
        let mut unknown_family = batch.data().to_vec();
        unknown_family[HEADER_BYTES + 1] = 9;
        assert!(WriteBatch::from_bytes(&unknown_family).is_err());
    }

    #[test]
    fn rocksdb_reads_our_layout() {
        let batch = sample();
        let theirs = rocksdb::WriteBatch::from_data(batch.data());
        assert_eq!(theirs.len(), batch.len());
    }
}
