//! Reads: of one key or many, plain or for a lock, and once more at a later time.

use concurrency::LockRequest;
use hlc::Timestamp;
use keys::{Key, KeyList, LockStrength, Span};
use planted::Bug;
use storage::{Conflict, KvRows, LockRead, ReadConflict, ReadOptions, ScanLimits, StorageError};

use crate::{
    api::{KvError, Response, RetryReason, WaitPolicy, hull},
    evaluate::{EvalError, Evaluator, State},
};

/// Rows looked at beyond those that are wanted, since others may hold as many.
const MANY_HELD: usize = 64;
/// Rows that one request for many keys is answered with.
const MANY_BYTES: usize = 16 << 20;

impl Evaluator<'_> {
    fn options<'o>(&self, state: &State<'o>, lock: Option<LockStrength>) -> ReadOptions<'o> {
        // A locking read wants the newest version: any above its timestamp makes it move up.
        let (uncertainty_limit, local_limit) = match lock {
            Some(_) => (Timestamp::MAX, Timestamp::MAX),
            None if state.txn.is_some() => (self.uncertainty.limit.max(state.read_ts), self.uncertainty.local_limit),
            None => (state.read_ts, Timestamp::MAX),
        };
        let locks = match (lock, state.request.header.wait) {
            (Some(_), WaitPolicy::SkipLocked) => LockRead::Skip,
            _ => LockRead::Check,
        };
        ReadOptions { ts: state.read_ts, uncertainty_limit, local_limit, txn: state.txn, locks }
    }

    /// Runs a read; one that meets something newer has the batch read later when nothing else depends on when.
    fn read<T>(
        &self,
        state: &State<'_>,
        lock: Option<LockStrength>,
        read: impl Fn(&ReadOptions<'_>) -> Result<T, ReadConflict>,
    ) -> Result<T, EvalError> {
        match read(&self.options(state, lock)) {
            Ok(value) => Ok(value),
            Err(ReadConflict::Locked(intents)) => Err(EvalError::Intents(intents)),
            Err(ReadConflict::Storage(error)) => Err(error.into()),
            Err(ReadConflict::Uncertain { existing, key }) => {
                let to = existing.max(state.read_ts.next());
                if state.request.header.can_forward {
                    return Err(EvalError::ReadAt(to));
                }
                Err(match lock {
                    Some(strength) => EvalError::RetryLocked {
                        error: KvError::Retry { reason: RetryReason::ReadChanged, to },
                        key,
                        strength,
                    },
                    None => KvError::Retry { reason: RetryReason::Uncertain, to }.into(),
                })
            }
        }
    }

    pub(super) fn get(&self, state: &mut State<'_>, key: &Key, lock: Option<LockStrength>) -> Result<Response, EvalError> {
        let Some(strength) = lock else {
            let found = self.read(state, None, |options| self.engine.get(key.as_bytes(), options))?;
            state.out.reads.push((Span::point(key.clone()), state.read_ts));
            return Ok(Response::Get { value: found.map(|(value, _)| value) });
        };
        let header = &state.request.header;
        let skips = header.wait == WaitPolicy::SkipLocked;
        let is_enough = header.max_keys > 0 && state.out.acquire.len() as u64 >= header.max_keys;
        if skips && (is_enough || self.is_skipped(state, key, strength)?) {
            return Ok(Response::Get { value: None });
        }
        // Who shares the key of a row that is still there may go on seeing it as it was: others change the rest of it.
        let as_plain = strength == LockStrength::KeyShare && self.is_there(state, key)?;
        let read = |lock| self.read(state, lock, |options: &ReadOptions<'_>| self.engine.get(key.as_bytes(), options));
        let found = match read(lock.filter(|_| !as_plain))? {
            // It came later than the snapshot.
            None if as_plain => read(lock)?,
            found => found,
        };
        state.out.reads.push((Span::point(key.clone()), state.read_ts));
        // A key without a row is not locked: another transaction may insert it.
        if found.is_some() || header.lock_absent {
            if !skips {
                self.check_lock(state, key, strength)?;
            }
            state.out.acquire.push((key.clone(), strength));
        }
        Ok(Response::Get { value: found.map(|(value, _)| value) })
    }

    pub(super) fn get_many(
        &self,
        state: &mut State<'_>,
        keys: &[Key],
        lock: Option<LockStrength>,
    ) -> Result<Response, EvalError> {
        if state.request.header.wait == WaitPolicy::SkipLocked || !keys.is_sorted_by(|a, b| a < b) {
            return Err(KvError::Invalid { reason: "GetMany under SKIP LOCKED, or of keys out of order".into() }.into());
        }
        let read = |options: &ReadOptions<'_>| self.engine.get_sorted(keys, options, MANY_BYTES);
        // As for one key: who shares the keys of rows that are still there sees them as they were.
        let as_plain = lock == Some(LockStrength::KeyShare) && self.are_there(state, keys)?;
        let (mut rows, mut looked_at) = self.read(state, lock.filter(|_| !as_plain), read)?;
        if as_plain && rows.len() < looked_at {
            // Some came later than the snapshot.
            (rows, looked_at) = self.read(state, lock, read)?;
        }
        let looked_at = &keys[..looked_at];
        state.out.reads.push((hull(looked_at), state.read_ts));
        if let Some(strength) = lock {
            let locked: Vec<Key> = if state.request.header.lock_absent {
                looked_at.to_vec()
            } else {
                (0..rows.len()).map(|row| Key::from(rows.key_bytes(row))).collect()
            };
            let conflicts = self.locks.check_span(&hull(&locked), state.txn, lock, state.read_ts);
            if let Some(conflict) = conflicts.into_iter().find(|found| locked.binary_search(&found.key).is_ok()) {
                return Err(EvalError::Locked(conflict));
            }
            state.out.acquire.extend(locked.into_iter().map(|key| (key, strength)));
        }
        let resume = keys.get(looked_at.len()).map(|next| Span::new(next.clone(), hull(keys).end));
        Ok(Response::Scan { rows, resume })
    }

    /// Rows that the transaction has read in its snapshot are as it has read them where nothing was written above it: then
    /// they are locked without being read again.
    pub(super) fn lock_many(&self, state: &mut State<'_>, keys: &KeyList, strength: LockStrength) -> Result<Response, EvalError> {
        let hull = keys.hull();
        let skips = state.request.header.wait == WaitPolicy::SkipLocked;
        let may_have_changed =
            self.engine.may_have_locks(&hull) || self.engine.may_have_versions_from(&hull, state.read_ts.next());
        if skips || may_have_changed {
            let keys: Vec<Key> = keys.iter().map(Key::from).collect();
            return self.get_many(state, &keys, Some(strength));
        }
        let conflicts = self.locks.check_span(&hull, state.txn, Some(strength), state.read_ts);
        if let Some(conflict) = conflicts.into_iter().find(|found| keys.contains(found.key.as_bytes())) {
            return Err(EvalError::Locked(conflict));
        }
        state.out.reads.push((hull, state.read_ts));
        state.out.acquire.extend(keys.iter().map(|key| (Key::from(key), strength)));
        Ok(Response::Done)
    }

    /// Whether the newest version of each of the rows is one.
    fn are_there(&self, state: &State<'_>, keys: &[Key]) -> Result<bool, EvalError> {
        let (ts, uncertainty_limit, local_limit) = (Timestamp::MAX, Timestamp::MAX, Timestamp::MAX);
        let options = ReadOptions { ts, uncertainty_limit, local_limit, txn: state.txn, locks: LockRead::Check };
        let (rows, _) = self.read_at(&options, |options| self.engine.get_sorted(keys, options, MANY_BYTES))?;
        Ok(rows.len() == keys.len())
    }

    /// Whether the newest version of a row is one.
    fn is_there(&self, state: &State<'_>, key: &Key) -> Result<bool, EvalError> {
        let (ts, uncertainty_limit, local_limit) = (Timestamp::MAX, Timestamp::MAX, Timestamp::MAX);
        let options = ReadOptions { ts, uncertainty_limit, local_limit, txn: state.txn, locks: LockRead::Check };
        Ok(self.read_at(&options, |options| self.engine.get(key.as_bytes(), options))?.is_some())
    }

    /// Waits for the holder of a key that only evaluation found.
    fn check_lock(&self, state: &State<'_>, key: &Key, strength: LockStrength) -> Result<(), EvalError> {
        let request = LockRequest { key, txn: state.txn, strength: Some(strength), read_ts: state.read_ts };
        match self.locks.check(&request).into_iter().next() {
            Some(conflict) => Err(EvalError::Locked(conflict)),
            None => Ok(()),
        }
    }

    pub(super) fn look(
        &self,
        state: &State<'_>,
        span: &Span,
        reverse: bool,
        free_for: Option<LockStrength>,
    ) -> Result<Response, EvalError> {
        let mut limits = ScanLimits { max_keys: state.max_keys, max_bytes: state.max_bytes, reverse };
        if free_for.is_some() && limits.max_keys > 0 {
            // Most that are held are the first of a queue.
            limits.max_keys += self.locks.key_count().min(MANY_HELD) as u64;
        }
        let (ts, uncertainty_limit, local_limit) = (Timestamp::MAX, Timestamp::MAX, Timestamp::MAX);
        let options = ReadOptions { ts, uncertainty_limit, local_limit, txn: state.txn, locks: LockRead::Skip };
        if reverse || *span == Span::point(span.start.clone()) {
            let result = self.read_at(&options, |options| self.engine.scan(span, options, limits))?;
            let rows = self.free_rows(state, result.rows, free_for);
            return Ok(Response::Scan { rows, resume: result.resume });
        }
        let begun = self.looks.begin(span);
        let result = self.read_at(&options, |options| self.engine.scan(&begun.span, options, limits))?;
        let first = match &result.resume {
            _ if !result.rows.is_empty() => Key::from(result.rows.key_bytes(0)),
            None => span.end.clone(),
            Some(_) => begun.span.start.clone(),
        };
        // What the transaction has deleted provisionally is there for others.
        let passed = Span::new(begun.span.start.clone(), first);
        if !passed.is_empty() && self.engine.locks_in(&passed, 1)?.is_empty() {
            self.looks.found(&begun, passed.end);
        }
        let rows = self.free_rows(state, result.rows, free_for);
        Ok(Response::Scan { rows, resume: result.resume })
    }

    /// What others hold against a lock from the first of the rows to the last, in the order of the keys.
    fn held_in_hull(&self, state: &State<'_>, rows: &KvRows, strength: LockStrength) -> Vec<concurrency::Conflict> {
        if rows.is_empty() {
            return Vec::new();
        }
        let mut ends = [0, rows.len() - 1].map(|position| Key::from(rows.key_bytes(position)));
        ends.sort();
        self.locks.check_span(&hull(&ends), state.txn, Some(strength), Timestamp::MAX)
    }

    /// Those of the rows that others hold against a lock, in the order of the rows.
    fn held_among(&self, state: &State<'_>, rows: &KvRows, strength: LockStrength) -> Vec<concurrency::Conflict> {
        let held = self.held_in_hull(state, rows, strength);
        if held.is_empty() {
            return held;
        }
        // Of several that hold a row the first.
        let find = |key: &[u8]| {
            let at = held.partition_point(|conflict| conflict.key.as_bytes() < key);
            held.get(at).filter(|conflict| conflict.key.as_bytes() == key)
        };
        rows.iter().filter_map(|(key, _)| find(key).cloned()).collect()
    }

    /// Those of the rows that nobody else holds against such a lock.
    fn free_rows(&self, state: &State<'_>, rows: KvRows, free_for: Option<LockStrength>) -> KvRows {
        let held = free_for.map_or_else(Vec::new, |strength| self.held_in_hull(state, &rows, strength));
        if held.is_empty() {
            return rows;
        }
        let mut free = KvRows::new();
        for (key, value) in rows.iter() {
            if held.binary_search_by(|conflict| conflict.key.as_bytes().cmp(key)).is_err() {
                free.push(key, value);
            }
        }
        free
    }

    /// A read of what is newest.
    fn read_at<T>(
        &self,
        options: &ReadOptions<'_>,
        read: impl Fn(&ReadOptions<'_>) -> Result<T, ReadConflict>,
    ) -> Result<T, EvalError> {
        read(options).map_err(|conflict| match conflict {
            ReadConflict::Locked(intents) => EvalError::Intents(intents),
            ReadConflict::Storage(error) => error.into(),
            ReadConflict::Uncertain { .. } => unreachable!("nothing is above the greatest timestamp"),
        })
    }

    /// SKIP LOCKED: whether the key is to be passed over.
    fn is_skipped(&self, state: &State<'_>, key: &Key, strength: LockStrength) -> Result<bool, EvalError> {
        if state.request.header.wait != WaitPolicy::SkipLocked {
            return Ok(false);
        }
        let request = LockRequest { key, txn: state.txn, strength: Some(strength), read_ts: state.read_ts };
        if !self.locks.check(&request).is_empty() {
            return Ok(true);
        }
        let intent = self.engine.lock(key.as_bytes())?;
        Ok(intent.is_some_and(|lock| state.txn.is_none_or(|txn| txn.id != lock.txn.id)))
    }

    pub(super) fn scan(
        &self,
        state: &mut State<'_>,
        span: &Span,
        reverse: bool,
        lock: Option<LockStrength>,
    ) -> Result<Response, EvalError> {
        let limits = ScanLimits { max_keys: state.max_keys, max_bytes: state.max_bytes, reverse };
        let result = self.read(state, lock, |options| self.engine.scan(span, options, limits))?;
        let covered = match &result.resume {
            None => span.clone(),
            Some(left) if reverse => Span::new(left.end.clone(), span.end.clone()),
            Some(left) => Span::new(span.start.clone(), left.start.clone()),
        };
        if planted::is_on(Bug::GapsForgotten) {
            state.out.reads.extend(result.rows.iter().map(|(key, _)| (Span::point(Key::from(key)), state.read_ts)));
        } else {
            state.out.reads.push((covered, state.read_ts));
        }
        let Some(strength) = lock else {
            return Ok(Response::Scan { rows: result.rows, resume: result.resume });
        };
        if state.request.header.wait != WaitPolicy::SkipLocked {
            if let Some(conflict) = self.held_among(state, &result.rows, strength).into_iter().next() {
                return Err(EvalError::Locked(conflict));
            }
            state.out.acquire.extend((0..result.rows.len()).map(|row| (Key::from(result.rows.key_bytes(row)), strength)));
            return Ok(Response::Scan { rows: result.rows, resume: result.resume });
        }
        let mut kept = KvRows::new();
        for (position, (key, value)) in result.rows.iter().enumerate() {
            let row_key = Key::from(result.rows.key_bytes(position));
            if !self.is_skipped(state, &row_key, strength)? {
                kept.push(key, value);
                state.out.acquire.push((row_key, strength));
            }
        }
        Ok(Response::Scan { rows: kept, resume: result.resume })
    }

    pub(super) fn changes(&self, state: &mut State<'_>, span: &Span, after: Timestamp) -> Result<Response, EvalError> {
        if state.txn.is_some() {
            return Err(KvError::Invalid { reason: "changes are read outside of transactions".into() }.into());
        }
        let limits = ScanLimits { max_keys: state.max_keys, max_bytes: state.max_bytes, reverse: false };
        let (up_to, engine) = (state.read_ts, self.engine);
        let found = self.read(state, None, |_| engine.changes_in(span, after, up_to, limits))?;
        let end = found.resume.as_ref().map_or(&span.end, |left| &left.start);
        state.out.reads.push((Span::new(span.start.clone(), end.clone()), up_to));
        Ok(Response::Changes(Box::new(found)))
    }

    pub(super) fn refresh(
        &self,
        state: &mut State<'_>,
        span: &Span,
        from: Timestamp,
        deletions_only: bool,
    ) -> Result<Response, EvalError> {
        if from < self.gc_threshold {
            return Err(KvError::Retry { reason: RetryReason::ReadChanged, to: state.read_ts }.into());
        }
        if let Some(found) = self.written_since(state, span, from, state.read_ts, deletions_only)? {
            tracing::trace!(key = %found.key, ts = %found.ts, "refresh failed");
            let retry = KvError::Retry { reason: RetryReason::ReadChanged, to: state.read_ts };
            return Err(retry.into());
        }
        state.out.reads.push((span.clone(), state.read_ts));
        Ok(Response::Refresh)
    }

    /// What others have written to a span after `from` and up to `to`, or only what they have deleted.
    pub(super) fn written_since(
        &self,
        state: &State<'_>,
        span: &Span,
        from: Timestamp,
        to: Timestamp,
        deletions_only: bool,
    ) -> Result<Option<Conflict>, StorageError> {
        let own = state.txn.map(|txn| &txn.id);
        if deletions_only {
            self.engine.has_deletion_in(span, from, to, own)
        } else {
            self.engine.has_version_in(span, from, to, own)
        }
    }
}
