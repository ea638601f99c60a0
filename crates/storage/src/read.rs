//! What a reader at a timestamp sees.
//!
//! ```text
//! versions of a key:      newest-first
//!   above the uncertainty limit   invisible: certainly written later
//!   in (ts, limit]                maybe written before the read began elsewhere: Uncertain
//!   at or below ts                the first of these is the answer; a tombstone hides all below it
//! a lock of another transaction: its version counts like a committed one, but the answer is Locked
//! a lock of the reader's own:    the provisional version is the answer, if it is of the reader's epoch
//! ```
//!
//! **Invariants**
//! - *tombstone-hides*: no version at or below a visible tombstone is returned.
//! - *uncertainty*: a read succeeds only if no version of others lies in (ts, limit].
//!
//! A read sees locks and versions of one moment. Where the index of locks shows nothing, an iterator over versions
//! made under the index's read lock is such a moment (*locks-indexed*); else a RocksDB snapshot is taken.

use bytes::Bytes;
use hlc::Timestamp;
use keys::{Key, Span, TxnId, TxnMeta};
use rocksdb::{DB, DBRawIteratorWithThreadMode, Snapshot};

use crate::engine::{Engine, Inner, LockRecord, bounded};
use crate::readers::{Reader, point_options};
use crate::version_key::{self, VersionKey};
use crate::write::{TOMBSTONE_TAG, VALUE_TAG};
use crate::{KvRows, StorageError};

pub(crate) type RawIterator<'a> = DBRawIteratorWithThreadMode<'a, DB>;

/// How many conflicting locks a scan reports at once.
const CONFLICTS_MAX: usize = 64;
/// Versions of one key to step over before seeking instead.
const STEPS_BEFORE_SEEK: usize = 8;

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
    /// Whose intents are read as if committed, in its present epoch.
    pub txn: Option<&'a TxnMeta>,
    pub locks: LockRead,
}

impl ReadOptions<'_> {
    /// A read by no transaction, of what is certainly below `ts`.
    #[must_use]
    pub fn at(ts: Timestamp) -> Self {
        Self { ts, uncertainty_limit: ts, txn: None, locks: LockRead::Check }
    }

    fn limit(&self) -> Timestamp {
        self.uncertainty_limit.max(self.ts)
    }

    fn treat(&self, lock: &LockRecord) -> Treatment {
        match self.txn {
            Some(txn) if txn.id == lock.txn.id => {
                if txn.epoch == lock.txn.epoch {
                    Treatment::Own
                } else {
                    Treatment::Ignore
                }
            }
            _ if self.locks == LockRead::Check && lock.ts <= self.limit() => Treatment::Conflict,
            _ => Treatment::Ignore,
        }
    }
}

enum Treatment {
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

/// Where a scan stops early. Zero is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanLimits {
    pub max_keys: u64,
    /// Checked after each row, so one row is always returned.
    pub max_bytes: u64,
    pub reverse: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanResult {
    pub rows: KvRows,
    /// What is left of the span, where a limit stopped the scan.
    pub resume: Option<Span>,
}

/// A version in the way of a refresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    pub key: Key,
    pub ts: Timestamp,
}

/// The value in a stored version; `None` is a tombstone.
pub(crate) fn version_value(stored: &[u8]) -> Result<Option<&[u8]>, StorageError> {
    match stored.split_first() {
        Some((&VALUE_TAG, value)) => Ok(Some(value)),
        Some((&TOMBSTONE_TAG, [])) => Ok(None),
        _ => Err(StorageError::corruption("a version with an unknown tag")),
    }
}

pub(crate) fn decode_version(raw: &[u8]) -> Result<(&[u8], Timestamp), StorageError> {
    version_key::decode(raw).ok_or_else(|| StorageError::corruption("a version key without a timestamp"))
}

enum Found {
    /// The iterator stands on the answer.
    Version(Timestamp),
    Nothing,
    Uncertain(Timestamp),
}

/// Moves `iter`, which stands on or before the first version of `key`, to the version a reader sees.
fn find_visible(
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
            return Ok(Found::Uncertain(ts));
        }
        return Ok(Found::Version(ts));
    }
}

impl Inner {
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
            let mut iter = inner.point_reader()?;
            drop(index);
            iter.seek(version_key::encode(key, options.limit()));
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
        let mut iter = self.inner.point_reader()?;
        iter.seek(version_key::encode(key, Timestamp::MAX));
        let Some(raw) = iter.key() else {
            iter.status()?;
            return Ok(None);
        };
        let (user_key, ts) = decode_version(raw)?;
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
        if span.is_empty() || up_to <= after {
            return Ok(None);
        }
        let inner = &*self.inner;
        let index = inner.locks.read();
        if ignore_txn.is_none() || !index.overlaps(span) {
            // No version is the transaction's own, so nothing is asked of the lock family.
            if let Some(key) = single_key(span) {
                let mut iter = inner.point_reader()?;
                drop(index);
                return changed_key(&mut iter, key, after, up_to);
            }
            let mut iter = inner.ordered_reader()?;
            drop(index);
            match changed_in(&mut iter, span, after, up_to, |_, _| Ok(false)) {
                Err(error) if error.is_skipping() => {}
                found => return found,
            }
        } else {
            drop(index);
        }
        let snapshot = inner.db.snapshot();
        let mut read = bounded(span);
        read.set_snapshot(&snapshot);
        changed_in(&mut inner.reader(read), span, after, up_to, |key, ts| {
            let Some(id) = ignore_txn else { return Ok(false) };
            let mut read = rocksdb::ReadOptions::default();
            read.set_snapshot(&snapshot);
            let lock = inner.lock_at(key, &read)?;
            Ok(lock.is_some_and(|lock| lock.txn.id == *id && lock.ts == ts))
        })
    }

    /// The rows of `span` that a reader sees, in order or in reverse.
    pub fn scan(
        &self,
        span: &Span,
        options: &ReadOptions<'_>,
        limits: ScanLimits,
    ) -> Result<ScanResult, ReadConflict> {
        if span.is_empty() {
            return Ok(ScanResult::default());
        }
        let inner = &*self.inner;
        let index = inner.locks.read();
        if !index.overlaps(span) {
            let versions = inner.ordered_reader()?;
            drop(index);
            match Scan::new(span, options, limits, versions, None).run() {
                Err(ReadConflict::Storage(error)) if error.is_skipping() => {}
                scanned => return scanned,
            }
            let index = inner.locks.read();
            if !index.overlaps(span) {
                let versions = inner.reader(bounded(span));
                drop(index);
                return Scan::new(span, options, limits, versions, None).run();
            }
            return self.scan_locked(span, options, limits);
        }
        drop(index);
        self.scan_locked(span, options, limits)
    }

    /// A scan of a span with locks in it: both families as of one snapshot.
    fn scan_locked(
        &self,
        span: &Span,
        options: &ReadOptions<'_>,
        limits: ScanLimits,
    ) -> Result<ScanResult, ReadConflict> {
        let inner = &*self.inner;
        let snapshot = inner.db.snapshot();
        let mut read = bounded(span);
        read.set_snapshot(&snapshot);
        let versions = inner.reader(read);
        let mut read = bounded(span);
        read.set_snapshot(&snapshot);
        let mut locks = inner.db.raw_iterator_cf_opt(inner.lock(), read);
        if limits.reverse {
            locks.seek_to_last();
        } else {
            locks.seek_to_first();
        }
        Scan::new(span, options, limits, versions, Some(locks)).run()
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
    after: Timestamp,
    up_to: Timestamp,
) -> Result<Option<Conflict>, StorageError> {
    iter.seek(version_key::encode(key, up_to));
    let Some(raw) = iter.key() else {
        iter.status()?;
        return Ok(None);
    };
    let (user_key, ts) = decode_version(raw)?;
    Ok((user_key == key && after < ts).then(|| Conflict { key: Key::from(key), ts }))
}

/// [`Engine::has_version_in`], passing over versions that are the reader's `own`.
fn changed_in(
    iter: &mut RawIterator<'_>,
    span: &Span,
    after: Timestamp,
    up_to: Timestamp,
    own: impl Fn(&[u8], Timestamp) -> Result<bool, StorageError>,
) -> Result<Option<Conflict>, StorageError> {
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
        if after < ts && ts <= up_to && !own(&key, ts)? {
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
fn own_version<'i>(
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

struct Scan<'a> {
    span: &'a Span,
    options: &'a ReadOptions<'a>,
    limits: ScanLimits,
    versions: Reader<'a>,
    /// Absent where the span has no locks. It moves along with `versions`: every lock has a version.
    locks: Option<RawIterator<'a>>,
    rows: KvRows,
    conflicts: Vec<(Key, LockRecord)>,
    key: VersionKey,
    target: VersionKey,
    value: Vec<u8>,
}

impl<'a> Scan<'a> {
    fn new(
        span: &'a Span,
        options: &'a ReadOptions<'a>,
        limits: ScanLimits,
        versions: Reader<'a>,
        locks: Option<RawIterator<'a>>,
    ) -> Self {
        Self {
            span,
            options,
            limits,
            versions,
            locks,
            rows: KvRows::new(),
            conflicts: Vec::new(),
            key: VersionKey::new(),
            target: VersionKey::new(),
            value: Vec::new(),
        }
    }

    fn run(mut self) -> Result<ScanResult, ReadConflict> {
        let scanned = if self.limits.reverse { self.reverse() } else { self.forward() };
        let resume = match scanned {
            // Who waits for the locks found so far may come back above the uncertain version.
            Err(ReadConflict::Uncertain { .. }) if !self.conflicts.is_empty() => None,
            other => other?,
        };
        if !self.conflicts.is_empty() {
            return Err(ReadConflict::Locked(self.conflicts));
        }
        self.rows.freeze();
        Ok(ScanResult { rows: self.rows, resume })
    }

    /// One pass over the versions, with as few calls into RocksDB for each as will do: a call costs as much as copying
    /// a row.
    fn forward(&mut self) -> Result<Option<Span>, ReadConflict> {
        let limit = self.options.limit();
        self.versions.seek(self.span.start.as_bytes());
        let mut started = false;
        // Whether it is known what the reader sees of the current key: then its other versions are passed over.
        let mut decided = false;
        let mut ignored = None;
        let mut steps = 0;
        loop {
            let Some(raw) = self.versions.key() else {
                self.versions.status()?;
                return Ok(None);
            };
            let (user_key, ts) = decode_version(raw)?;
            if !started || user_key != self.key.as_slice() {
                if raw >= self.span.end.as_bytes() {
                    return Ok(None);
                }
                self.key.clear();
                self.key.extend_from_slice(user_key);
                (started, decided, ignored, steps) = (true, false, None, 0);
                if self.locks.is_some() {
                    match self.pass_lock()? {
                        Some(found) => ignored = found,
                        None if self.is_full() => return Ok(self.rest()),
                        None => {
                            // It may have moved, to another version of the same key.
                            decided = true;
                            continue;
                        }
                    }
                }
            }
            if decided || ts > limit || Some(ts) == ignored {
                steps += 1;
                if steps <= STEPS_BEFORE_SEEK || !decided && ts <= limit {
                    self.versions.next();
                } else if decided {
                    self.target.clear();
                    self.target.extend_from_slice(&self.key);
                    self.target.push(0xff);
                    self.versions.seek(&self.target);
                } else {
                    version_key::encode_into(&mut self.target, &self.key, limit);
                    self.versions.seek(&self.target);
                }
                continue;
            }
            if ts > self.options.ts {
                return Err(self.uncertain(ts));
            }
            let stored = self.versions.value().expect("the iterator stands on a version");
            if let Some(value) = version_value(stored)? {
                self.rows.push(&self.key, value);
            }
            if self.is_full() {
                return Ok(self.rest());
            }
            (decided, steps) = (true, 0);
            self.versions.next();
        }
    }

    fn reverse(&mut self) -> Result<Option<Span>, ReadConflict> {
        self.versions.seek_for_prev(self.span.end.as_bytes());
        while self.take_user_key()? {
            self.reverse_row()?;
            if self.is_full() {
                return Ok(self.rest());
            }
        }
        Ok(None)
    }

    /// Notes the user key that `versions` stands on; false at the end of the span, where `versions` need not end.
    fn take_user_key(&mut self) -> Result<bool, StorageError> {
        let Some(raw) = self.versions.key() else {
            self.versions.status()?;
            return Ok(false);
        };
        if raw < self.span.start.as_bytes() || raw >= self.span.end.as_bytes() {
            return Ok(false);
        }
        let (user_key, _) = decode_version(raw)?;
        self.key.clear();
        self.key.extend_from_slice(user_key);
        Ok(true)
    }

    /// A locked key counts as a row: a scan for ten rows has no business with locks beyond the tenth.
    fn is_full(&self) -> bool {
        let count = self.rows.len() + self.conflicts.len();
        let keys_full = self.limits.max_keys != 0 && count as u64 >= self.limits.max_keys;
        let bytes_full = self.limits.max_bytes != 0 && self.rows.byte_size() as u64 >= self.limits.max_bytes;
        count != 0 && (keys_full || bytes_full) || self.conflicts.len() >= CONFLICTS_MAX
    }

    fn rest(&self) -> Option<Span> {
        let key = Key::from(self.key.as_slice());
        let rest = if self.limits.reverse {
            Span::new(self.span.start.clone(), key)
        } else {
            Span::new(key.next(), self.span.end.clone())
        };
        (!rest.is_empty()).then_some(rest)
    }

    /// The lock of the current key.
    fn current_lock(&mut self) -> Result<Option<LockRecord>, StorageError> {
        let Some(locks) = &mut self.locks else { return Ok(None) };
        while let Some((key, value)) = locks.item() {
            match key.cmp(self.key.as_slice()) {
                std::cmp::Ordering::Equal => return LockRecord::decode(value).map(Some),
                std::cmp::Ordering::Less if !self.limits.reverse => locks.next(),
                std::cmp::Ordering::Greater if self.limits.reverse => locks.prev(),
                _ => return Ok(None),
            }
        }
        locks.status()?;
        self.locks = None;
        Ok(None)
    }

    /// What the lock of the current key makes of it: `Some(ignored)` if versions must still be looked at.
    fn pass_lock(&mut self) -> Result<Option<Option<Timestamp>>, ReadConflict> {
        let Some(lock) = self.current_lock()? else { return Ok(Some(None)) };
        match self.options.treat(&lock) {
            Treatment::Ignore => Ok(Some(Some(lock.ts))),
            Treatment::Conflict => {
                self.conflicts.push((Key::from(self.key.as_slice()), lock));
                Ok(None)
            }
            Treatment::Own => {
                version_key::encode_into(&mut self.target, &self.key, lock.ts);
                self.versions.seek(&self.target);
                if let Some(value) = own_version(&self.versions, &self.key, &lock)? {
                    self.rows.push(&self.key, value);
                }
                Ok(None)
            }
        }
    }

    /// Versions come oldest first here: the last one seen at or below the read's timestamp is the answer.
    fn reverse_row(&mut self) -> Result<(), ReadConflict> {
        let Some(ignored) = self.pass_lock()? else {
            self.leave_key_reverse();
            return Ok(());
        };
        let mut visible = false;
        let mut uncertain = None;
        for _ in 0..STEPS_BEFORE_SEEK {
            let Some((raw, stored)) = self.versions.item() else { break };
            let (user_key, ts) = decode_version(raw)?;
            if user_key != self.key.as_slice() {
                break;
            }
            if Some(ts) != ignored {
                if ts <= self.options.ts {
                    self.value.clear();
                    self.value.extend_from_slice(stored);
                    visible = true;
                } else if ts <= self.options.limit() {
                    uncertain = Some(ts);
                }
            }
            self.versions.prev();
        }
        let has_more =
            self.versions.key().is_some_and(|raw| version_key::strip_version(raw) == self.key.as_slice());
        if has_more {
            version_key::encode_into(&mut self.target, &self.key, self.options.limit());
            self.versions.seek(&self.target);
            visible = false;
            match find_visible(&mut self.versions, &self.key, self.options, ignored)? {
                Found::Nothing => {}
                Found::Uncertain(ts) => uncertain = Some(ts),
                Found::Version(_) => {
                    self.value.clear();
                    let stored = self.versions.value().expect("the iterator stands on a version");
                    self.value.extend_from_slice(stored);
                    visible = true;
                }
            }
            self.leave_key_reverse();
        }
        if let Some(existing) = uncertain {
            return Err(self.uncertain(existing));
        }
        self.versions.status().map_err(StorageError::from)?;
        if visible && let Some(value) = version_value(&self.value)? {
            self.rows.push(&self.key, value);
        }
        Ok(())
    }

    /// The user key lies below all its versions, so the last entry before it is of another key.
    fn leave_key_reverse(&mut self) {
        self.versions.seek_for_prev(&self.key);
    }

    fn uncertain(&self, existing: Timestamp) -> ReadConflict {
        ReadConflict::Uncertain { existing, key: Key::from(self.key.as_slice()) }
    }
}
