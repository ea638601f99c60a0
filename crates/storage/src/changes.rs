//! What was written to a span between two times: every version, tombstones too, with its time.
//!
//! A reader that comes back with the time it has read up to gets each committed version once, whatever commits meanwhile,
//! as long as nothing is written at or below a time that it has read at (*write-above-read* of `replica`). Provisional
//! versions at or below the upper time are in its way, as in a scan's: they may commit where they stand.
//!
//! **Invariant (newer-is-named):** the first key of what was looked at that has anything above the upper time, committed
//! or provisional, is in the answer. A reader that passes over keys for a reason of its own must not pass over that.

use hlc::Timestamp;
use keys::{Key, Span};
use serde::{Deserialize, Serialize};

use crate::engine::{Engine, LockRecord, bounded};
use crate::read::{ReadConflict, decode_version, version_value};
use crate::{KvRows, ScanLimits, StorageError};

/// How many conflicting locks are reported at once.
const CONFLICTS_MAX: usize = 64;

/// When a version was written, and whether it is a tombstone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionInfo {
    pub ts: Timestamp,
    pub is_tombstone: bool,
}

/// Versions in the order of their keys, those of one key newest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Changes {
    /// The value of a tombstone is empty.
    pub rows: KvRows,
    /// One for each row.
    pub versions: Vec<VersionInfo>,
    /// What was not looked at; it begins with a key.
    pub resume: Option<Span>,
    /// *newer-is-named*
    pub newer: Option<Key>,
}

impl Engine {
    /// The versions of `span` written after `after` and not after `up_to`. A key's are returned together: the limits stop
    /// between keys.
    pub fn changes_in(
        &self,
        span: &Span,
        after: Timestamp,
        up_to: Timestamp,
        limits: ScanLimits,
    ) -> Result<Changes, ReadConflict> {
        let mut changes = Changes::default();
        if span.is_empty() {
            return Ok(changes);
        }
        let inner = &*self.inner;
        let index = inner.locks.read();
        let has_locks = index.overlaps(span);
        let snapshot = inner.db.snapshot();
        drop(index);
        let mut read = bounded(span);
        read.set_snapshot(&snapshot);
        let mut iter = inner.reader(read);
        iter.seek(span.start.as_bytes());
        let mut conflicts: Vec<(Key, LockRecord)> = Vec::new();
        let mut key: Vec<u8> = Vec::new();
        let mut lock: Option<LockRecord> = None;
        let mut started = false;
        while let Some((raw, stored)) = iter.item() {
            let (user_key, ts) = decode_version(raw)?;
            if !started || user_key != key.as_slice() {
                let is_full = limits.max_keys != 0 && changes.rows.len() as u64 >= limits.max_keys
                    || limits.max_bytes != 0 && changes.rows.byte_size() as u64 >= limits.max_bytes;
                if is_full && !changes.rows.is_empty() || conflicts.len() >= CONFLICTS_MAX {
                    changes.resume = Some(Span::new(Key::from(user_key), span.end.clone()));
                    break;
                }
                started = true;
                key.clear();
                key.extend_from_slice(user_key);
                lock = match has_locks {
                    true => {
                        let mut read = rocksdb::ReadOptions::default();
                        read.set_snapshot(&snapshot);
                        inner.lock_at(&key, &read)?
                    }
                    false => None,
                };
                if let Some(lock) = lock.as_ref().filter(|lock| lock.ts <= up_to) {
                    conflicts.push((Key::from(key.as_slice()), lock.clone()));
                }
            }
            let is_provisional = lock.as_ref().is_some_and(|lock| lock.ts == ts);
            if ts > up_to {
                changes.newer.get_or_insert_with(|| Key::from(key.as_slice()));
            } else if ts > after && !is_provisional {
                let value = version_value(stored)?;
                changes.rows.push(&key, value.unwrap_or_default());
                changes.versions.push(VersionInfo { ts, is_tombstone: value.is_none() });
            }
            iter.next();
        }
        iter.status().map_err(StorageError::from)?;
        if !conflicts.is_empty() {
            return Err(ReadConflict::Locked(conflicts));
        }
        changes.rows.freeze();
        Ok(changes)
    }
}
