//! Which versions nobody can ask for any more.
//!
//! At a threshold, each key keeps its versions above it and the newest one at or below it, which a reader at the
//! threshold sees. If that one is a tombstone it goes as well, after everything it hides: *tombstone-hides* must hold
//! for whatever part of a key's history one call removes. A provisional version neither goes nor counts as newer.

use hlc::Timestamp;
use keys::{Key, Span};
use planted::Bug;

use crate::engine::{Engine, LockRecord, bounded};
use crate::read::{decode_version, version_value};
use crate::{StorageError, WriteBatch};

/// A batch past this size is handed out, even within the versions of one key.
const BATCH_BYTES_MAX: usize = 1 << 20;

impl Engine {
    /// The deletions for what in `span` is superseded before `threshold`, looking at no more than `max_keys` keys,
    /// and the part of the span not looked at.
    pub fn gc_span(
        &self,
        span: &Span,
        threshold: Timestamp,
        max_keys: u64,
    ) -> Result<(WriteBatch, Option<Span>), StorageError> {
        let mut batch = WriteBatch::new();
        if span.is_empty() {
            return Ok((batch, None));
        }
        let inner = &*self.inner;
        let index = inner.locks.read();
        let has_locks = index.overlaps(span);
        let snapshot = inner.db.snapshot();
        drop(index);
        let mut read = bounded(span);
        read.set_snapshot(&snapshot);
        read.fill_cache(false);
        let mut iter = inner.db.raw_iterator_cf_opt(inner.data(), read);
        iter.seek_to_first();

        let mut keys = 0;
        let mut key: Vec<u8> = Vec::new();
        let mut lock: Option<LockRecord> = None;
        // The newest committed version of `key` at or below the threshold, once met.
        let mut kept = None;
        let mut started = false;
        while let Some((raw, stored)) = iter.item() {
            let (user_key, ts) = decode_version(raw)?;
            if !started || user_key != key.as_slice() {
                drop_tombstone(&mut batch, &key, kept.take());
                if keys == max_keys || batch.byte_size() > BATCH_BYTES_MAX {
                    return Ok((batch, Some(Span::new(Key::from(user_key), span.end.clone()))));
                }
                started = true;
                keys += 1;
                key.clear();
                key.extend_from_slice(user_key);
                let mut lock_read = rocksdb::ReadOptions::default();
                lock_read.set_snapshot(&snapshot);
                // The index may have moved on since the snapshot, so only a lookup says of one key.
                lock = if has_locks { inner.lock_at(&key, &lock_read)? } else { None };
            }
            let provisional = lock.as_ref().is_some_and(|lock| lock.ts == ts);
            if ts <= threshold && !provisional {
                if kept.is_none() && !planted::is_on(Bug::CollectedTooMuch) {
                    kept = Some(Kept { ts, tombstone: version_value(stored)?.is_none() });
                } else {
                    batch.clear_version(&key, ts);
                    if batch.byte_size() > BATCH_BYTES_MAX {
                        // The tombstone above stays until a later call has removed all it hides.
                        return Ok((batch, Some(Span::new(Key::from(key), span.end.clone()))));
                    }
                }
            }
            iter.next();
        }
        iter.status()?;
        drop_tombstone(&mut batch, &key, kept);
        Ok((batch, None))
    }
}

struct Kept {
    ts: Timestamp,
    tombstone: bool,
}

fn drop_tombstone(batch: &mut WriteBatch, key: &[u8], kept: Option<Kept>) {
    if let Some(Kept { ts, tombstone: true }) = kept {
        batch.clear_version(key, ts);
    }
}
