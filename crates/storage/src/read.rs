//! What a reader at a timestamp sees.
//!
//! ```text
//! versions of a key:      newest-first
//!   above the uncertainty limit   invisible: certainly written later
//!   in (ts, limit]                maybe written before the read began elsewhere: Uncertain, unless its local
//!                                 timestamp is above the local limit: then it was written later, and is invisible
//!   at or below ts                the first of these is the answer; a tombstone hides all below it
//! a lock of another transaction: its version counts like a committed one, but the answer is Locked
//! a lock of the reader's own:    the provisional version is the answer, if it is of the reader's epoch
//! ```
//!
//! **Invariants**
//! - *tombstone-hides*: no version at or below a visible tombstone is returned.
//! - *uncertainty*: a read succeeds only if no version of others lies in (ts, limit] with a local timestamp at or below
//!   the local limit.
//!
//! The *local timestamp* of a version is a reading of its leaseholder's clock, taken before the version was acknowledged
//! to anybody: when it was written, also where it has committed higher than that. A version without one has its own
//! timestamp. The *local limit* is a reading of the same clock taken after the reader began.
//!
//! A read sees locks and versions of one moment. Where the index of locks shows nothing, an iterator over versions
//! made under the index's read lock is such a moment (*locks-indexed*); else a RocksDB snapshot is taken.

use bytes::Bytes;
use hlc::Timestamp;
use keys::{Key, Span, TxnId, TxnMeta};
use planted::Bug;
use rocksdb::{DB, DBRawIteratorWithThreadMode, Snapshot};

use crate::engine::{Engine, Inner, LockRecord, bounded};
use crate::newest::{Missed, Newest};
use crate::readers::{Reader, point_options};
use crate::version_key::{self, VersionKey};
use crate::write::{LOCAL_BYTES, LOCAL_TOMBSTONE_TAG, LOCAL_VALUE_TAG, TOMBSTONE_TAG, VALUE_TAG};
use crate::StorageError;

pub(crate) type RawIterator<'a> = DBRawIteratorWithThreadMode<'a, DB>;

/// Versions of one key to step over before seeking instead.
pub(crate) const STEPS_BEFORE_SEEK: usize = 8;

/// What to do about provisional versions of other transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockRead {
    /// Read what is committed beneath them.
    Skip,
    /// Report those at or below the read's limit.
    Check,
}

#[derive(Clone, Copy, Debug)]
pub struct ReadOptions<'a> {
    pub ts: Timestamp,
    /// Equal to `ts` where nothing is uncertain.
    pub uncertainty_limit: Timestamp,
    /// What was written above it, by its local timestamp, is not uncertain; the greatest there is where that is not known.
    pub local_limit: Timestamp,
    /// Whose intents are read as if committed, in its present epoch.
    pub txn: Option<&'a TxnMeta>,
    pub locks: LockRead,
}

impl ReadOptions<'_> {
    /// A read by no transaction, of what is certainly below `ts`.
    #[must_use]
    pub fn at(ts: Timestamp) -> Self {
        Self { ts, uncertainty_limit: ts, local_limit: Timestamp::MAX, txn: None, locks: LockRead::Check }
    }

    pub(crate) fn limit(&self) -> Timestamp {
        self.uncertainty_limit.max(self.ts)
    }

    /// Whether the read would see what the lock's version commits as, or be uncertain of it.
    fn concerns(&self, lock: &LockRecord) -> bool {
        lock.ts <= self.ts || lock.ts <= self.uncertainty_limit && lock.written_at() <= self.local_limit
    }

    /// Whether a version in (ts, limit] may have been written before the read began.
    pub(crate) fn is_uncertain(&self, ts: Timestamp, stored: &[u8]) -> Result<bool, StorageError> {
        // Below the local limit it was written in any case, and most readers have no better one.
        if ts <= self.local_limit {
            return Ok(true);
        }
        let local_ts = version(stored)?.local_ts.filter(|_| !planted::is_on(Bug::LocalTimeIgnored));
        let written_at = local_ts.unwrap_or(ts);
        Ok(written_at <= self.local_limit)
    }

    pub(crate) fn treat(&self, lock: &LockRecord) -> Treatment {
        match self.txn {
            Some(txn) if txn.id == lock.txn.id => {
                if txn.epoch == lock.txn.epoch {
                    Treatment::Own
                } else {
                    Treatment::Ignore
                }
            }
            _ if self.locks == LockRead::Check && self.concerns(lock) => Treatment::Conflict,
            _ => Treatment::Ignore,
        }
    }
}

pub(crate) enum Treatment {
    /// The provisional version is the answer.
    Own,
    /// The provisional version is as if not there.
    Ignore,
    Conflict,
}

/// Why a read has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadConflict {
    /// Other transactions hold these keys provisionally, within the read's limit.
    #[error("{} keys are locked, the first is {}", .0.len(), .0[0].0)]
    Locked(Vec<(Key, LockRecord)>),
    /// A version at `existing` may have been written before the read began.
    #[error("{key} has a version at {existing}, within the read's uncertainty")]
    Uncertain { existing: Timestamp, key: Key },
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<rocksdb::Error> for ReadConflict {
    fn from(error: rocksdb::Error) -> Self {
        Self::Storage(error.into())
    }
}

/// A version in the way of a refresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    pub key: Key,
    pub ts: Timestamp,
}

/// A version as it is stored.
pub(crate) struct StoredVersion<'a> {
    pub local_ts: Option<Timestamp>,
    /// `None` is a tombstone.
    pub value: Option<&'a [u8]>,
}

/// `None` for what is no version.
pub(crate) fn split_version(stored: &[u8]) -> Option<StoredVersion<'_>> {
    let (&tag, rest) = stored.split_first()?;
    let (local_ts, value) = match tag {
        TOMBSTONE_TAG | VALUE_TAG => (None, rest),
        LOCAL_TOMBSTONE_TAG | LOCAL_VALUE_TAG => {
            let (local_ts, value) = rest.split_first_chunk::<LOCAL_BYTES>()?;
            let [w0, w1, w2, w3, w4, w5, w6, w7, l0, l1, l2, l3] = *local_ts;
            let wall = u64::from_be_bytes([w0, w1, w2, w3, w4, w5, w6, w7]);
            (Some(Timestamp::new(wall, u32::from_be_bytes([l0, l1, l2, l3]))), value)
        }
        _ => return None,
    };
    match tag {
        VALUE_TAG | LOCAL_VALUE_TAG => Some(StoredVersion { local_ts, value: Some(value) }),
        _ => value.is_empty().then_some(StoredVersion { local_ts, value: None }),
    }
}

fn version(stored: &[u8]) -> Result<StoredVersion<'_>, StorageError> {
    split_version(stored).ok_or_else(|| StorageError::corruption("a version with an unknown tag"))
}

/// The value in a stored version; `None` is a tombstone.
pub(crate) fn version_value(stored: &[u8]) -> Result<Option<&[u8]>, StorageError> {
    match stored.split_first() {
        Some((&VALUE_TAG, value)) => Ok(Some(value)),
        // Nearly all are values that were written where they stand.
        _ => version(stored).map(|version| version.value),
    }
}

pub(crate) fn decode_version(raw: &[u8]) -> Result<(&[u8], Timestamp), StorageError> {
    version_key::decode(raw).ok_or_else(|| StorageError::corruption("a version key without a timestamp"))
}

pub(crate) enum Found {
    /// The iterator stands on the answer.
    Version(Timestamp),
    Nothing,
    Uncertain(Timestamp),
}

/// Moves `iter`, which stands on or before the first version of `key`, to the version a reader sees.
pub(crate) fn find_visible(
    iter: &mut RawIterator<'_>,
    key: &[u8],
    options: &ReadOptions<'_>,
    ignored: Option<Timestamp>,
) -> Result<Found, StorageError> {
    let limit = options.limit();
    let mut steps = 0;
    loop {
        let Some(raw) = iter.key() else {
            iter.status()?;
            return Ok(Found::Nothing);
        };
        let (user_key, ts) = decode_version(raw)?;
        if user_key != key {
            return Ok(Found::Nothing);
        }
        if ts > limit && steps == STEPS_BEFORE_SEEK {
            iter.seek(version_key::encode(key, limit));
            continue;
        }
        if ts > limit || Some(ts) == ignored {
            steps += 1;
            iter.next();
            continue;
        }
        if ts > options.ts {
            if options.is_uncertain(ts, iter.value().expect("the iterator stands on a version"))? {
                return Ok(Found::Uncertain(ts));
            }
            iter.next();
            continue;
        }
        return Ok(Found::Version(ts));
    }
}

/// What a reader sees of a key that nobody has locked, as far as the newest version tells; none where it takes older ones.
pub(crate) fn answer_of(
    newest: &Newest,
    key: &[u8],
    options: &ReadOptions<'_>,
) -> Result<Option<Option<(Bytes, Timestamp)>>, ReadConflict> {
    let Newest { ts, stored } = newest;
    if *ts <= options.ts {
        let value = version_value(stored)?;
        return Ok(Some(value.map(|value| (stored.slice_ref(value), *ts))));
    }
    if *ts <= options.limit() && options.is_uncertain(*ts, stored)? {
        return Err(ReadConflict::Uncertain { existing: *ts, key: Key::from(key) });
    }
    Ok(None)
}

impl Inner {
    /// *prefix-free* of `keys`, looked at where a key has no version: those of a longer one would hide those it has.
    fn is_no_prefix(&self, key: &[u8]) -> Result<bool, StorageError> {
        let mut iter = self.ordered_reader()?;
        iter.seek(version_key::encode(key, Timestamp::MAX));
        let Some(raw) = iter.key() else { return Ok(true) };
        let (found, _) = decode_version(raw)?;
        Ok(found == key || !found.starts_with(key))
    }

    /// The reader stands on the newest version of a key, if there is one.
    fn note_newest(&self, missed: &Missed, key: &[u8], iter: &RawIterator<'_>) -> Result<(), StorageError> {
        if let Some((raw, stored)) = iter.item() {
            let (user_key, ts) = decode_version(raw)?;
            if user_key == key {
                self.newest.put(missed, key, ts, stored);
            }
        }
        Ok(())
    }

    /// A reader of `key` as of `snapshot`, on its first version at or below `ts`.
    fn point_reader_at(&self, snapshot: &Snapshot<'_>, key: &[u8], ts: Timestamp) -> Reader<'_> {
        let mut read = point_options();
        read.set_snapshot(snapshot);
        let mut reader = self.reader(read);
        reader.seek(version_key::encode(key, ts));
        reader
    }
}

impl Engine {
    /// The value of `key` that a reader sees, and when it was written.
    pub fn get(
        &self,
        key: &[u8],
        options: &ReadOptions<'_>,
    ) -> Result<Option<(Bytes, Timestamp)>, ReadConflict> {
        let inner = &*self.inner;
        let index = inner.locks.read();
        if !index.contains(key) {
            let (missed, from) = match inner.newest.get(key) {
                Ok(newest) => match answer_of(&newest, key, options)? {
                    Some(answer) => return Ok(answer),
                    None => (None, options.limit()),
                },
                Err(missed) => (Some(missed), Timestamp::MAX),
            };
            let mut iter = inner.point_reader()?;
            drop(index);
            iter.seek(version_key::encode(key, from));
            if let Some(missed) = missed {
                inner.note_newest(&missed, key, &iter)?;
            }
            return get_visible(&mut iter, key, options, None);
        }
        let snapshot = inner.db.snapshot();
        drop(index);

        let mut read = rocksdb::ReadOptions::default();
        read.set_snapshot(&snapshot);
        let Some(lock) = inner.lock_at(key, &read)? else {
            let mut iter = inner.point_reader_at(&snapshot, key, options.limit());
            return get_visible(&mut iter, key, options, None);
        };
        match options.treat(&lock) {
            Treatment::Conflict => Err(ReadConflict::Locked(vec![(Key::from(key), lock)])),
            Treatment::Own => {
                let iter = inner.point_reader_at(&snapshot, key, lock.ts);
                let value = own_version(&iter, key, &lock)?;
                Ok(value.map(|value| (Bytes::copy_from_slice(value), lock.ts)))
            }
            Treatment::Ignore => {
                let mut iter = inner.point_reader_at(&snapshot, key, options.limit());
                get_visible(&mut iter, key, options, Some(lock.ts))
            }
        }
    }

    /// The timestamp of the newest version of `key`: committed or provisional, value or tombstone.
    pub fn latest_version_ts(&self, key: &[u8]) -> Result<Option<Timestamp>, StorageError> {
        let missed = match self.inner.newest.ts(key) {
            Ok(newest) => return Ok(Some(newest)),
            Err(missed) => missed,
        };
        let mut iter = self.inner.point_reader()?;
        iter.seek(version_key::encode(key, Timestamp::MAX));
        let Some(raw) = iter.key() else {
            iter.status()?;
            debug_assert!(self.inner.is_no_prefix(key)?, "prefix-free: another key begins with {key:02x?}");
            return Ok(None);
        };
        let (user_key, ts) = decode_version(raw)?;
        self.inner.note_newest(&missed, key, &iter)?;
        Ok((user_key == key).then_some(ts))
    }

    /// The first version in `span` written after `after` and not after `up_to`, committed or provisional, other than
    /// the provisional ones of `ignore_txn`.
    pub fn has_version_in(
        &self,
        span: &Span,
        after: Timestamp,
        up_to: Timestamp,
        ignore_txn: Option<&TxnId>,
    ) -> Result<Option<Conflict>, StorageError> {
        self.find_change(span, Change { after, up_to, deletions_only: false }, ignore_txn)
    }

    /// The same of tombstones alone.
    pub fn has_deletion_in(
        &self,
        span: &Span,
        after: Timestamp,
        up_to: Timestamp,
        ignore_txn: Option<&TxnId>,
    ) -> Result<Option<Conflict>, StorageError> {
        self.find_change(span, Change { after, up_to, deletions_only: true }, ignore_txn)
    }

    fn find_change(
        &self,
        span: &Span,
        change: Change,
        ignore_txn: Option<&TxnId>,
    ) -> Result<Option<Conflict>, StorageError> {
        let Change { after, up_to, .. } = change;
        if span.is_empty() || up_to <= after {
            return Ok(None);
        }
        let inner = &*self.inner;
        // Of one key the versions in memory tell as quickly.
        if single_key(span).is_none() && !inner.written.may_be_in(span, after.next()) {
            return Ok(None);
        }
        let index = inner.locks.read();
        if ignore_txn.is_none() || !index.overlaps(span) {
            // No version is the transaction's own, so nothing is asked of the lock family.
            if let Some(key) = single_key(span) {
                if let Ok(newest) = inner.newest.ts(key)
                    && newest <= after
                {
                    return Ok(None);
                }
                let mut iter = inner.point_reader()?;
                drop(index);
                return changed_key(&mut iter, key, change);
            }
            let mut iter = inner.ordered_reader()?;
            drop(index);
            match changed_in(&mut iter, span, change, |_, _| Ok(false)) {
                Err(error) if error.is_skipping() => {}
                found => return found,
            }
        } else {
            drop(index);
        }
        let snapshot = inner.db.snapshot();
        let mut read = bounded(span);
        read.set_snapshot(&snapshot);
        changed_in(&mut inner.reader(read), span, change, |key, ts| {
            let Some(id) = ignore_txn else { return Ok(false) };
            let mut read = rocksdb::ReadOptions::default();
            read.set_snapshot(&snapshot);
            let lock = inner.lock_at(key, &read)?;
            Ok(lock.is_some_and(|lock| lock.txn.id == *id && lock.ts == ts))
        })
    }
}

/// What a refresh looks for: versions after one time and up to another.
#[derive(Clone, Copy)]
struct Change {
    after: Timestamp,
    up_to: Timestamp,
    deletions_only: bool,
}

impl Change {
    /// Whether the version that the iterator stands on, of this time, is one.
    fn is_at(self, ts: Timestamp, iter: &RawIterator<'_>) -> Result<bool, StorageError> {
        if ts <= self.after || ts > self.up_to {
            return Ok(false);
        }
        let stored = || iter.value().expect("the iterator stands on a version");
        Ok(!self.deletions_only || version_value(stored())?.is_none())
    }
}

/// The key that is all of `span`, if it is one.
fn single_key(span: &Span) -> Option<&[u8]> {
    let start = span.start.as_bytes();
    (span.end.as_bytes().split_last() == Some((&0, start))).then_some(start)
}

/// [`Engine::has_version_in`] for one key, with no version to be ignored.
fn changed_key(
    iter: &mut RawIterator<'_>,
    key: &[u8],
    change: Change,
) -> Result<Option<Conflict>, StorageError> {
    iter.seek(version_key::encode(key, change.up_to));
    while let Some(raw) = iter.key() {
        let (user_key, ts) = decode_version(raw)?;
        if user_key != key || ts <= change.after {
            return Ok(None);
        }
        if change.is_at(ts, iter)? {
            return Ok(Some(Conflict { key: Key::from(key), ts }));
        }
        iter.next();
    }
    iter.status()?;
    Ok(None)
}

/// [`Engine::has_version_in`], passing over versions that are the reader's `own`.
fn changed_in(
    iter: &mut RawIterator<'_>,
    span: &Span,
    change: Change,
    own: impl Fn(&[u8], Timestamp) -> Result<bool, StorageError>,
) -> Result<Option<Conflict>, StorageError> {
    let Change { after, up_to, .. } = change;
    iter.seek(span.start.as_bytes());
    let mut key = VersionKey::new();
    let mut target = VersionKey::new();
    // Versions seen of `key` since the last seek; past a few of them, seek where the answer changes.
    let mut steps = 0;
    while let Some(raw) = iter.key() {
        if raw >= span.end.as_bytes() {
            return Ok(None);
        }
        let (user_key, ts) = decode_version(raw)?;
        if user_key != key.as_slice() {
            key.clear();
            key.extend_from_slice(user_key);
            steps = 0;
        }
        if change.is_at(ts, iter)? && !own(&key, ts)? {
            return Ok(Some(Conflict { key: Key::from(key.as_slice()), ts }));
        }
        steps += 1;
        if steps < STEPS_BEFORE_SEEK {
            iter.next();
        } else if ts > up_to {
            version_key::encode_into(&mut target, &key, up_to);
            iter.seek(&target);
            steps = 0;
        } else if ts <= after {
            target.clear();
            target.extend_from_slice(&key);
            target.push(0xff);
            iter.seek(&target);
        } else {
            iter.next();
        }
    }
    iter.status()?;
    Ok(None)
}

fn get_visible(
    iter: &mut RawIterator<'_>,
    key: &[u8],
    options: &ReadOptions<'_>,
    ignored: Option<Timestamp>,
) -> Result<Option<(Bytes, Timestamp)>, ReadConflict> {
    match find_visible(iter, key, options, ignored)? {
        Found::Nothing => Ok(None),
        Found::Uncertain(existing) => Err(ReadConflict::Uncertain { existing, key: Key::from(key) }),
        Found::Version(ts) => {
            let value = version_value(iter.value().expect("the iterator stands on a version"))?;
            Ok(value.map(|value| (Bytes::copy_from_slice(value), ts)))
        }
    }
}

/// The value of the version that a lock speaks of, with the iterator on it.
pub(crate) fn own_version<'i>(
    iter: &'i RawIterator<'_>,
    key: &[u8],
    lock: &LockRecord,
) -> Result<Option<&'i [u8]>, StorageError> {
    iter.status()?;
    match iter.item() {
        Some((raw, value)) if version_key::decode(raw) == Some((key, lock.ts)) => version_value(value),
        _ => Err(StorageError::corruption("a lock without its provisional version")),
    }
}
