//! Row locks that outlive their leaseholder: those of prepared transactions.
//!
//! The problem: a row lock is in the memory of the leaseholder, and a prepared transaction keeps its locks for as long as
//! its client likes, over restarts and changes of the lease. The idea: when a transaction is about to be prepared, each
//! range writes down which locks it holds, under the local key of the row, where splits and snapshots take them along.
//! Each lease begins by taking them into its lock table.
//!
//! **Invariant (prepared-keeps-locks):** from the moment that a transaction is prepared until it ends, each row that it
//! has locked or written is locked at every leaseholder: by an intent, or by a record here.
//!
//! Records go when the fate of their transaction is told ([`Request::ResolveSpan`](crate::api::Request::ResolveSpan)). What
//! an attempt leaves behind that was given up is removed by who waits for it, as with an intent, and by who has got the
//! row after it and writes a record there.

use std::sync::atomic::{AtomicBool, Ordering};

use concurrency::LockTable;
use keys::{Key, LockStrength, Span, TxnId, TxnMeta, keyspace};
use parking_lot::Mutex;
use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};
use storage::{Engine, StorageError};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct KeptLock {
    pub txn: TxnMeta,
    pub strength: LockStrength,
}

/// The transactions that may have records in the range. Those whose records are gone may be among them.
#[derive(Default)]
pub(crate) struct KeptLocks {
    is_used: AtomicBool,
    txns: Mutex<FxHashSet<TxnId>>,
}

impl KeptLocks {
    pub fn may_have(&self, txn: TxnId) -> bool {
        self.is_used.load(Ordering::Acquire) && self.txns.lock().contains(&txn)
    }

    pub fn note(&self, txn: TxnId) {
        self.txns.lock().insert(txn);
        self.is_used.store(true, Ordering::Release);
    }

    /// A lease begins, and its lock table is empty.
    pub fn begin(&self, locks: &LockTable, kept: Vec<(Key, KeptLock)>) {
        self.txns.lock().clear();
        self.is_used.store(false, Ordering::Release);
        self.add(locks, kept);
    }

    /// The range grows by the rows of these.
    pub fn add(&self, locks: &LockTable, kept: Vec<(Key, KeptLock)>) {
        for (key, KeptLock { txn, strength }) in kept {
            self.note(txn.id);
            // Also where two are in each other's way: which of them was given up is not known here.
            locks.keep(&key, &txn, strength);
        }
    }
}

/// The row and the transaction of a record's key; nothing for a local key of another kind.
fn parse_key(key: &Key) -> Option<(Key, TxnId)> {
    let (rest, id) = key.as_bytes().split_last_chunk::<16>()?;
    if !rest.ends_with(b"lock") {
        return None;
    }
    let (row, id) = (keyspace::addressing_key(key), TxnId::from_bytes(*id));
    (keyspace::kept_lock(&row, id) == *key).then_some((row, id))
}

/// The records of a span, by row.
pub(crate) fn load(engine: &Engine, span: &Span) -> Result<Vec<(Key, KeptLock)>, StorageError> {
    let mut found = Vec::new();
    for (key, bytes) in engine.scan_local(&keyspace::range_local_span(span))? {
        let Some((row, _)) = parse_key(&key) else { continue };
        let kept = crate::api::decode(&bytes)
            .map_err(|error| StorageError::corruption(format!("kept lock {key}: {error}")))?;
        found.push((row, kept));
    }
    Ok(found)
}

/// The keys of others' records of a row that its holder proves to be out of date, for it could not have the row otherwise.
pub(crate) fn outdated(engine: &Engine, row: &Key, holder: &KeptLock) -> Result<Vec<Key>, StorageError> {
    let mut found = load(engine, &Span::point(row.clone()))?;
    found.retain(|(of, kept)| {
        of == row && kept.txn.id != holder.txn.id && kept.strength.conflicts_with(holder.strength)
    });
    Ok(found.into_iter().map(|(_, kept)| keyspace::kept_lock(row, kept.txn.id)).collect())
}

/// The keys of the records that a transaction has in a span.
pub(crate) fn keys_of(engine: &Engine, span: &Span, txn: TxnId) -> Result<Vec<Key>, StorageError> {
    let found = engine.scan_local(&keyspace::range_local_span(span))?;
    let is_its = |key: &Key| parse_key(key).is_some_and(|(_, id)| id == txn);
    Ok(found.into_iter().map(|(key, _)| key).filter(is_its).collect())
}

#[cfg(test)]
mod tests {
    use hlc::Timestamp;

    use super::*;

    /// Stores have these bytes on disk.
    #[test]
    fn golden_bytes() {
        let txn = TxnMeta {
            id: TxnId::from_bytes(*b"sixteen bytes id"),
            anchor: Key::from(&b"a"[..]),
            epoch: 1,
            write_ts: Timestamp::new(9, 1),
            min_ts: Timestamp::new(8, 0),
            priority: 5,
        };
        let kept = KeptLock { txn, strength: LockStrength::Share };
        let bytes = crate::api::encode(&kept);
        assert_eq!(bytes.escape_ascii().to_string(), r"\x10sixteen bytes id\x01a\x01\t\x01\x08\x00\x05\x01");
        assert_eq!(crate::api::decode::<KeptLock>(&bytes).unwrap(), kept);
    }

    #[test]
    fn local_keys_of_other_kinds_are_passed_over() {
        let (row, id) = (Key::from(&b"row"[..]), TxnId::from_random(7));
        assert_eq!(parse_key(&keyspace::kept_lock(&row, id)), Some((row.clone(), id)));
        assert_eq!(parse_key(&keyspace::txn_record(&row, id)), None);
        assert_eq!(parse_key(&row), None);
    }
}
