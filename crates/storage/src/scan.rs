//! What a reader at a timestamp sees of a span, forward or backward; [`read`](crate::read) says what visible means.
//!
//! A scan holds an iterator over versions and, where the span has locks, one over locks that moves along with it. It
//! copies rows into one piece of memory, so that a row costs no allocation.

use hlc::Timestamp;
use keys::{Key, Span};

use crate::engine::{Engine, LockRecord, bounded};
use crate::read::{
    Found, RawIterator, ReadConflict, ReadOptions, STEPS_BEFORE_SEEK, Treatment, decode_version, find_visible,
    own_version, version_value,
};
use crate::readers::Reader;
use crate::version_key::{self, VersionKey};
use crate::{KvRows, StorageError};

/// How many conflicting locks a scan reports at once.
const CONFLICTS_MAX: usize = 64;

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

impl Engine {
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
            let stored = self.versions.value().expect("the iterator stands on a version");
            if ts > self.options.ts {
                if self.options.is_uncertain(ts, stored)? {
                    return Err(self.uncertain(ts));
                }
                self.versions.next();
                continue;
            }
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
                } else if ts <= self.options.limit() && self.options.is_uncertain(ts, stored)? {
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
