//! Writes: above every read and every version of their keys.

use std::cmp::Ordering;

use bytes::Bytes;
use hlc::Timestamp;
use keys::{Key, Span, TxnId, keyspace};
use planted::Bug;
use storage::{LockRecord, ReadConflict, ReadOptions};

use crate::{
    api::{KvError, Request, Response, RetryReason, WriteRef, Writes},
    counters::Given,
    evaluate::{EvalError, Evaluator, OwnIntent, State},
};

/// With so many writes in a batch, what holds for all of their keys is looked up once.
const MANY_WRITES: usize = 1024;
/// About what a version takes in a write batch beside its key and its value, and what an intent takes more.
const VERSION_BYTES: usize = 32;
const INTENT_BYTES: usize = 128;

impl Evaluator<'_> {
    /// *write-above-read*, *write-above-write*, *newest-write-stays*, for all keys the batch writes.
    pub(super) fn raise_write_ts(&self, state: &mut State<'_>, one_phase: bool) -> Result<(), EvalError> {
        let requests = &state.request.requests;
        let hull = hull_of_many(requests);
        // Of many keys what most have nothing of is looked for in one step.
        let may_have_intents = hull.as_ref().is_none_or(|hull| self.engine.may_have_locks(hull));
        let reads = hull.as_ref().filter(|_| self.cleared.is_empty()).map(|hull| self.cache.get_max_span(hull));
        // No key was read above the latest read of all: once the batch is above that, reads are not looked for any more.
        let reads_floor = reads.map_or(Timestamp::MAX, |read| self.floor(state, read));
        let reads_reach = reads_floor > state.write_ts;
        let notifies = hull.as_ref().is_none_or(|hull| hull.overlaps(&keyspace::all_notifications()));
        let mut intents = Vec::new();
        let mut writes = false;
        // Keys without an intent: where there is one, it is the newest version.
        let mut unclaimed = Vec::new();
        for write in writes_of(requests).filter(|_| may_have_intents || reads_reach || notifies) {
            let lock = if may_have_intents { self.engine.lock(write.key)? } else { None };
            let mut own_intent = OwnIntent::None;
            if let Some(lock) = lock {
                let Some(txn) = state.txn.filter(|txn| txn.id == lock.txn.id) else {
                    intents.push((Key::from(write.key), lock));
                    continue;
                };
                state.write_ts = state.write_ts.max(lock.ts);
                own_intent = match (lock.txn.epoch, lock.seq).cmp(&(txn.epoch, write.seq)) {
                    Ordering::Less => OwnIntent::Earlier(lock),
                    // In one phase no intents are written: the version takes its place.
                    Ordering::Equal if one_phase => OwnIntent::Earlier(lock),
                    Ordering::Equal => OwnIntent::Same,
                    Ordering::Greater => {
                        let key = Key::from(write.key);
                        let reason = format!("write {} of {key} comes after a newer one of its transaction", write.seq);
                        return Err(KvError::Invalid { reason }.into());
                    }
                };
            }
            if !matches!(own_intent, OwnIntent::Same) {
                writes = true;
                if notifies {
                    self.notify(state, write)?;
                }
                if reads_floor > state.write_ts {
                    self.raise_above_reads(state, write.key, &own_intent);
                }
            }
            // Our own provisional version will be replaced, so it is no bound; what lies beneath it was one when it was
            // written.
            if matches!(own_intent, OwnIntent::None) {
                match hull {
                    Some(_) if may_have_intents => unclaimed.push(write.key),
                    Some(_) => {}
                    None => self.raise_above(state, self.engine.latest_version_ts(write.key)?),
                }
            }
            state.own_intents.push(own_intent);
        }
        if let Some(hull) = &hull {
            let newest = if !self.engine.may_have_versions_from(hull, state.write_ts) {
                writes |= !may_have_intents;
                None
            } else if may_have_intents {
                self.engine.latest_version_among(unclaimed.into_iter())?
            } else {
                writes = true;
                self.engine.latest_version_among(writes_of(requests).map(|write| write.key))?
            };
            self.raise_above(state, newest);
        }
        // Below the threshold a deletion may have been collected, which the write must not come before.
        if writes && state.write_ts <= self.gc_threshold {
            state.write_ts = self.gc_threshold.next();
        }
        if intents.is_empty() { Ok(()) } else { Err(EvalError::Intents(intents)) }
    }

    /// *notified-in-order*: who commits after another was answered commits above it, wherever the two snapshots lie.
    fn notify(&self, state: &mut State<'_>, write: WriteRef<'_>) -> Result<(), EvalError> {
        let Some(of) = keyspace::parse_notification(write.key) else { return Ok(()) };
        state.write_ts = state.write_ts.max(self.now);
        let is_late = of.time_ns.saturating_add(keyspace::NOTIFICATION_FRESH_NS) < self.now.wall_ns();
        if write.value.is_some() && is_late {
            return Err(KvError::Retry { reason: RetryReason::KeyTooOld, to: state.write_ts }.into());
        }
        Ok(())
    }

    /// The lowest time for a write of what was read.
    fn floor(&self, state: &State<'_>, (read, by): (Timestamp, Option<TxnId>)) -> Timestamp {
        let own = by.is_some() && by == state.txn.map(|txn| txn.id);
        // A read of ours hides earlier ones of others, so it binds us as far as it went: even where we never heard of it,
        // because its answer was lost or a refresh that it was part of failed elsewhere.
        if own { read } else { read.next() }
    }

    fn raise_above_reads(&self, state: &mut State<'_>, key: &[u8], own_intent: &OwnIntent) {
        let key = Key::from(key);
        let floor = self.floor(state, self.cache.get_max(&key));
        if !(planted::is_on(Bug::ReadsUnderOwnIntent) && matches!(own_intent, OwnIntent::Earlier(_))) {
            state.write_ts = state.write_ts.max(floor);
        }
        // *cleared-is-refused*
        if !self.cleared.is_empty() {
            state.write_ts = state.write_ts.max(self.cleared.over_key(key.as_bytes()).next());
        }
    }

    fn raise_above(&self, state: &mut State<'_>, newest: Option<Timestamp>) {
        if let Some(newest) = newest.filter(|newest| *newest >= state.write_ts) {
            state.write_ts = newest.next();
        }
    }

    pub(super) fn write_many(
        &self,
        state: &mut State<'_>,
        writes: &Writes,
        one_phase: bool,
    ) -> Result<Response, EvalError> {
        let intent_bytes = if one_phase { 0 } else { INTENT_BYTES };
        state.out.batch.reserve(writes.byte_size() + writes.len() * (VERSION_BYTES + intent_bytes));
        for write in writes.iter() {
            self.write(state, write, one_phase)?;
        }
        Ok(Response::Write { keys: writes.len() as u64 })
    }

    pub(super) fn write(&self, state: &mut State<'_>, write: WriteRef<'_>, one_phase: bool) -> Result<(), EvalError> {
        let WriteRef { key, seq, value } = write;
        let own = state.own_intents.get_mut(state.write_count).map(std::mem::take).unwrap_or_default();
        state.write_count += 1;
        match state.txn {
            Some(txn) if !one_phase => {
                match own {
                    OwnIntent::Same => return Ok(()),
                    OwnIntent::Earlier(lock) if lock.ts != state.write_ts => {
                        state.out.batch.clear_version(key, lock.ts);
                    }
                    OwnIntent::Earlier(_) | OwnIntent::None => {}
                }
                let mut meta = txn.clone();
                meta.write_ts = state.write_ts;
                let (ts, local_ts) = (state.write_ts, self.local_ts(state.write_ts));
                let record = LockRecord { txn: meta, ts, tombstone: value.is_none(), seq, local_ts };
                state.out.batch.put_intent(key, &record, value);
            }
            Some(_) | None => {
                if let OwnIntent::Earlier(lock) = own {
                    // An intent of an earlier attempt of this very transaction gives way.
                    self.engine.resolve_intent(&mut state.out.batch, key, &lock, None)?;
                }
                self.put_version(state, key, state.write_ts, value);
            }
        }
        Ok(())
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
        let bytes = |(key, value): &(Key, Option<Bytes>)| {
            VERSION_BYTES + key.as_bytes().len() + value.as_ref().map_or(0, Bytes::len)
        };
        state.out.batch.reserve(rows.iter().map(bytes).sum());
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
        self.put_version(state, key.as_bytes(), ts, Some(&reserved.to_be_bytes()));
        state.out.given = Some((key.clone(), Given { at: ts, value }));
        state.write_ts = ts;
        Ok(Response::Increment { value })
    }
}

/// From the first key that a batch writes to the last, where they are many, and in order.
fn hull_of_many(requests: &[Request]) -> Option<Span> {
    let writes = |it: &&Request| matches!(it, Request::Put { .. } | Request::Delete { .. } | Request::WriteMany { .. });
    let mut writing = requests.iter().filter(writes);
    if let (Some(Request::WriteMany { writes }), None) = (writing.next(), writing.next()) {
        return (writes.len() >= MANY_WRITES).then(|| writes.keys().hull());
    }
    if requests.len() < MANY_WRITES {
        return None;
    }
    let keys = || writes_of(requests).map(|write| write.key);
    let (first, last) = (keys().next()?, keys().last()?);
    keys().is_sorted_by(|a, b| a < b).then(|| Span::new(first.into(), Key::from(last).next()))
}

/// The writes of a batch, in their order.
fn writes_of(requests: &[Request]) -> impl Iterator<Item = WriteRef<'_>> {
    requests.iter().flat_map(|item| {
        let (one, many) = match item {
            Request::Put { key, value, seq } => {
                (Some(WriteRef { key: key.as_bytes(), seq: *seq, value: Some(value) }), None)
            }
            Request::Delete { key, seq } => (Some(WriteRef { key: key.as_bytes(), seq: *seq, value: None }), None),
            Request::WriteMany { writes } => (None, Some(writes.iter())),
            _ => (None, None),
        };
        one.into_iter().chain(many.into_iter().flatten())
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn key(at: usize) -> Key {
        u32::try_from(at).unwrap().to_be_bytes()[..].into()
    }

    fn packed(count: usize) -> Request {
        let keys: Vec<Key> = (0..count).map(key).collect();
        let write = |key: usize| WriteRef { key: keys[key].as_bytes(), seq: 1, value: None };
        Request::WriteMany { writes: (0..count).map(write).collect() }
    }

    /// What is looked up once for a whole batch is not worth it for a few keys, which may lie far apart.
    #[test]
    fn only_many_writes_have_a_hull() {
        let deletions = |count: usize| (0..count).map(|at| Request::Delete { key: key(at), seq: 1 }).collect::<Vec<_>>();
        let whole = Some(Span::new(key(0), key(MANY_WRITES - 1).next()));
        assert_eq!(hull_of_many(&deletions(MANY_WRITES)), whole);
        assert_eq!(hull_of_many(&[packed(MANY_WRITES)]), whole);
        for few in [deletions(MANY_WRITES - 1), vec![packed(MANY_WRITES - 1)], vec![packed(0)], Vec::new()] {
            assert_eq!(hull_of_many(&few), None);
        }
    }
}
