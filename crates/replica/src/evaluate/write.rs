//! Writes: above every read and every version of their keys.

use std::cmp::Ordering;

use bytes::Bytes;
use hlc::Timestamp;
use keys::{Key, Span};
use planted::Bug;
use storage::{LockRecord, ReadConflict, ReadOptions};

use crate::{
    api::{KvError, Request, Response, RetryReason},
    counters::Given,
    evaluate::{EvalError, Evaluator, OwnIntent, State},
};

/// With so many writes in a batch, what holds for all of their keys is looked up once.
const MANY_WRITES: usize = 1024;

impl Evaluator<'_> {
    /// *write-above-read*, *write-above-write*, *newest-write-stays*, for all keys the batch writes.
    pub(super) fn raise_write_ts(&self, state: &mut State<'_>, one_phase: bool) -> Result<(), EvalError> {
        if self.raise_for_many(state)? {
            return Ok(());
        }
        let mut intents = Vec::new();
        let mut writes = false;
        for item in &state.request.requests {
            let (Request::Put { key, seq, .. } | Request::Delete { key, seq }) = item else { continue };
            let mut own_intent = OwnIntent::None;
            if let Some(lock) = self.engine.lock(key.as_bytes())? {
                let Some(txn) = state.txn.filter(|txn| txn.id == lock.txn.id) else {
                    intents.push((key.clone(), lock));
                    continue;
                };
                state.write_ts = state.write_ts.max(lock.ts);
                own_intent = match (lock.txn.epoch, lock.seq).cmp(&(txn.epoch, *seq)) {
                    Ordering::Less => OwnIntent::Earlier(lock),
                    // In one phase no intents are written: the version takes its place.
                    Ordering::Equal if one_phase => OwnIntent::Earlier(lock),
                    Ordering::Equal => OwnIntent::Same,
                    Ordering::Greater => {
                        let reason = format!("write {seq} of {key} comes after a newer one of its transaction");
                        return Err(KvError::Invalid { reason }.into());
                    }
                };
            }
            if !matches!(own_intent, OwnIntent::Same) {
                writes = true;
                let (read, by) = self.cache.get_max(key);
                let own = by.is_some() && by == state.txn.map(|txn| txn.id);
                // A read of ours hides earlier ones of others, so it binds us as far as it went: even where we never
                // heard of it, because its answer was lost or a refresh that it was part of failed elsewhere.
                let floor = if own { read } else { read.next() };
                if !(planted::is_on(Bug::ReadsUnderOwnIntent) && matches!(own_intent, OwnIntent::Earlier(_))) {
                    state.write_ts = state.write_ts.max(floor);
                }
                // *cleared-is-refused*
                if !self.cleared.is_empty() {
                    state.write_ts = state.write_ts.max(self.cleared.over_key(key.as_bytes()).next());
                }
            }
            // Our own provisional version will be replaced, so it is no bound; what lies beneath it was one when it was
            // written.
            if matches!(own_intent, OwnIntent::None)
                && let Some(newest) = self.engine.latest_version_ts(key.as_bytes())?
                && newest >= state.write_ts
            {
                state.write_ts = newest.next();
            }
            state.own_intents.push(own_intent);
        }
        // Below the threshold a deletion may have been collected, which the write must not come before.
        if writes && state.write_ts <= self.gc_threshold {
            state.write_ts = self.gc_threshold.next();
        }
        if intents.is_empty() { Ok(()) } else { Err(EvalError::Intents(intents)) }
    }

    /// The same for many keys in order, if there are no intents between them and no read that needs to be looked at key
    /// by key; else it does nothing.
    fn raise_for_many(&self, state: &mut State<'_>) -> Result<bool, EvalError> {
        if state.request.requests.len() < MANY_WRITES || !self.cleared.is_empty() {
            return Ok(false);
        }
        let written = |item| match item {
            &Request::Put { ref key, .. } | &Request::Delete { ref key, .. } => Some(key),
            _ => None,
        };
        let keys: Vec<&Key> = state.request.requests.iter().filter_map(written).collect();
        let (Some(first), Some(last)) = (keys.first(), keys.last()) else { return Ok(false) };
        let hull = Span::new((*first).clone(), last.next());
        if !keys.is_sorted_by(|a, b| a < b) || self.engine.may_have_locks(&hull) {
            return Ok(false);
        }
        let (read, by) = self.cache.get_max_span(&hull);
        let own = by.is_some() && by == state.txn.map(|txn| txn.id);
        if read > state.write_ts || read == state.write_ts && !own {
            return Ok(false);
        }
        let count = keys.len();
        let newest = self.engine.latest_version_among(keys.into_iter())?.unwrap_or(Timestamp::MIN);
        state.write_ts = state.write_ts.max(newest.next()).max(self.gc_threshold.next());
        state.own_intents.resize_with(count, OwnIntent::default);
        Ok(true)
    }

    pub(super) fn put(
        &self,
        state: &mut State<'_>,
        key: &Key,
        value: Option<&Bytes>,
        seq: u32,
        one_phase: bool,
    ) -> Result<Response, EvalError> {
        let own = std::mem::take(&mut state.own_intents[state.write_count]);
        state.write_count += 1;
        match state.txn {
            Some(txn) if !one_phase => {
                match own {
                    OwnIntent::Same => return Ok(Response::Write { keys: 1 }),
                    OwnIntent::Earlier(lock) if lock.ts != state.write_ts => {
                        state.out.batch.clear_version(key.as_bytes(), lock.ts);
                    }
                    OwnIntent::Earlier(_) | OwnIntent::None => {}
                }
                let mut meta = txn.clone();
                meta.write_ts = state.write_ts;
                let (ts, local_ts) = (state.write_ts, self.local_ts(state.write_ts));
                let record = LockRecord { txn: meta, ts, tombstone: value.is_none(), seq, local_ts };
                state.out.batch.put_intent(key.as_bytes(), &record, value.map(|value| &value[..]));
            }
            Some(_) | None => {
                if let OwnIntent::Earlier(lock) = own {
                    // An intent of an earlier attempt of this very transaction gives way.
                    self.engine.resolve_intent(&mut state.out.batch, key.as_bytes(), &lock, None)?;
                }
                self.put_version(state, key, state.write_ts, value.map(|value| &value[..]));
            }
        }
        Ok(Response::Write { keys: 1 })
    }

    /// Rows as they will stay. The coordinator answers for it that nobody else reads or writes their keys before its
    /// transaction has committed, so nothing is looked up.
    pub(super) fn load(
        &self,
        state: &mut State<'_>,
        ts: Timestamp,
        rows: &[(Key, Option<Bytes>)],
    ) -> Result<Response, EvalError> {
        debug_assert!(rows.is_sorted_by(|a, b| a.0 < b.0), "the latches of a load reach from its first row to its last");
        // What was superseded or deleted below may be gone: a request that comes late must not bring it back.
        if ts <= self.gc_threshold {
            return Err(KvError::Retry { reason: RetryReason::ReadChanged, to: self.gc_threshold.next() }.into());
        }
        // *cleared-is-refused*
        if let (Some((first, _)), Some((last, _)), false) =
            (rows.first(), rows.last(), self.cleared.is_empty())
        {
            let cleared = self.cleared.over(&Span::new(first.clone(), last.next()));
            if ts <= cleared {
                return Err(KvError::Retry { reason: RetryReason::ReadChanged, to: cleared.next() }.into());
            }
        }
        for (key, value) in rows {
            state.out.batch.put_version(key.as_bytes(), ts, value.as_deref());
        }
        Ok(Response::Done)
    }

    /// *given-once*
    pub(super) fn increment(
        &self,
        state: &mut State<'_>,
        key: &Key,
        by: i64,
        ahead: u32,
        until: i64,
    ) -> Result<Response, EvalError> {
        if state.txn.is_some() {
            return Err(KvError::Invalid { reason: "counters do not take part in transactions".into() }.into());
        }
        let found = newest(|options| self.engine.get(key.as_bytes(), options))?;
        let stored = match &found {
            None => 0,
            Some((bytes, _)) => {
                let bytes: [u8; 8] = bytes[..]
                    .try_into()
                    .map_err(|_| KvError::Invalid { reason: format!("{key} does not hold a counter") })?;
                i64::from_be_bytes(bytes)
            }
        };
        let version = found.map(|(_, at)| at);
        let given = version.and_then(|at| self.counters.given(key, at));
        let current = given.unwrap_or(stored);
        if by == 0 {
            return Ok(Response::Increment { value: current });
        }
        let value = current
            .checked_add(by)
            .ok_or_else(|| KvError::Invalid { reason: format!("counter {key} would leave its range") })?;
        let is_within = |value: i64, bound: i64| if by > 0 { value <= bound } else { value >= bound };
        if let (Some(at), Some(_), true) = (version, given, is_within(value, stored)) {
            state.out.given = Some((key.clone(), Given { at, value }));
            return Ok(Response::Increment { value });
        }
        let (read, _) = self.cache.get_max(key);
        let mut ts = state.write_ts.max(read.next()).max(self.cleared.over_key(key.as_bytes()).next());
        if let Some(newest) = version {
            ts = ts.max(newest.next());
        }
        let further = by.checked_mul(ahead.into()).and_then(|further| value.checked_add(further));
        let reserved = match further {
            Some(further) if is_within(further, until) => further,
            // As far as whole steps lead.
            Some(_) if is_within(value, until) => value + (until - value) / by * by,
            Some(_) | None => value,
        };
        self.put_version(state, key, ts, Some(&reserved.to_be_bytes()));
        state.out.given = Some((key.clone(), Given { at: ts, value }));
        state.write_ts = ts;
        Ok(Response::Increment { value })
    }
}

/// What is newest, whenever it was written: for what takes part in no transaction.
pub(super) fn newest<T>(read: impl FnOnce(&ReadOptions<'_>) -> Result<T, ReadConflict>) -> Result<T, EvalError> {
    let options = ReadOptions { uncertainty_limit: Timestamp::MAX, ..ReadOptions::at(Timestamp::MAX) };
    read(&options).map_err(|conflict| match conflict {
        ReadConflict::Locked(intents) => EvalError::Intents(intents),
        ReadConflict::Storage(error) => error.into(),
        ReadConflict::Uncertain { .. } => unreachable!("nothing is above the greatest timestamp"),
    })
}
