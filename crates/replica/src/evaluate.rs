//! Evaluation: a batch of requests against the engine, under latches, into responses and a write batch. Nothing here
//! changes anything; what a command does is in the batch it yields.
//!
//! ```text
//! writes of the batch:  floor = max(the transaction's write_ts,
//!                                   last read of each key by others + 1,     timestamp cache
//!                                   newest version of each key + 1)          engine
//!   one-phase, staging: floor > read_ts  ->  refresh the reads given, or answer Retry{to: floor}
//! ```
//!
//! **Invariants**
//! - *write-above-read*: no version is written at or below a timestamp at which another transaction has read the key.
//! - *write-above-write*: no version is written at or below one that is there already.
//! - *evaluate-is-pure*: evaluating changes neither the engine nor the lock table.

use bytes::Bytes;
use concurrency::{LockRequest, LockTable, TimestampCache};
use hlc::Timestamp;
use keys::{Key, LockStrength, RangeDescriptor, Span, TxnId, TxnMeta, TxnStatus, keyspace};
use smallvec::SmallVec;
use storage::{
    Engine, KvRows, LockRead, LockRecord, ReadConflict, ReadOptions, ScanLimits, StorageError, WriteBatch,
};

use crate::{
    api::{
        AbortReason, BatchRequest, KvError, PushKind, PushedTxn, Request, Response, RetryReason, WaitPolicy,
    },
    command::Effect,
    txn_record::{TxnRecord, TxnRegistry},
};

/// How many intents the resolutions of one batch remove before they say how to go on.
const RESOLVE_MAX: usize = 5_000;
/// And how many bytes their command may have.
const RESOLVE_MAX_BYTES: usize = 4 << 20;
/// How many keys one round of garbage collection looks at before it says how to go on.
const GC_KEYS_MAX: u64 = 10_000;

/// Why a batch could not be evaluated.
pub(crate) enum EvalError {
    Kv(KvError),
    /// A locking read must move up before it can be answered. The lock is its transaction's all the same: who gave
    /// its place away while it moves would come back behind those that waited for it, and take them for a circle.
    RetryLocked { error: KvError, key: Key, strength: LockStrength },
    /// Others hold these keys provisionally.
    Intents(Vec<(Key, LockRecord)>),
    /// An unreplicated lock is in the way of a key that only evaluation found.
    Locked(concurrency::Conflict),
    /// The batch may read later instead, but under latches for that time: what is under way below it was no business
    /// of the latches held.
    ReadAt(Timestamp),
    Storage(StorageError),
}

impl From<KvError> for EvalError {
    fn from(error: KvError) -> Self {
        Self::Kv(error)
    }
}

impl From<StorageError> for EvalError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

/// What a batch comes to.
pub(crate) struct Evaluated {
    pub responses: Vec<Response>,
    pub batch: WriteBatch,
    pub effect: Option<Effect>,
    /// Keys to lock for the transaction, unreplicated.
    pub acquire: Vec<(Key, LockStrength)>,
    /// What was read, and until when: to be remembered before the latches go.
    pub reads: Vec<(Span, Timestamp)>,
    pub read_ts: Timestamp,
    pub write_ts: Timestamp,
    pub ended: Ended,
}

/// Transactions that are over once the batch has taken effect: their locks in this range go.
#[derive(Default)]
pub(crate) struct Ended {
    /// The batch's own.
    pub own: Option<TxnId>,
    /// Those that somebody else told to be over.
    pub resolved: Vec<TxnId>,
}

/// What evaluation may look at.
pub(crate) struct Evaluator<'a> {
    pub engine: &'a Engine,
    pub cache: &'a TimestampCache,
    pub locks: &'a LockTable,
    pub registry: &'a TxnRegistry,
    pub descriptor: &'a RangeDescriptor,
    /// What was superseded before may be gone.
    pub gc_threshold: Timestamp,
    pub now: Timestamp,
    /// Ends the uncertainty for what this node served; see `TxnHeader::observed`.
    pub uncertainty_limit: Timestamp,
}

struct State<'b> {
    request: &'b BatchRequest,
    txn: Option<&'b TxnMeta>,
    read_ts: Timestamp,
    write_ts: Timestamp,
    max_keys: u64,
    max_bytes: u64,
    /// The transaction's own intents on the keys of the batch's puts and deletes, in their order; each is taken out by
    /// its write.
    own_intents: SmallVec<[Option<LockRecord>; 2]>,
    /// How many of these writes were evaluated.
    write_count: usize,
    /// Intents that may still be resolved.
    resolve_left: usize,
    out: Evaluated,
}

fn decode_record(bytes: &[u8]) -> Result<TxnRecord, EvalError> {
    crate::api::decode(bytes)
        .map_err(|error| EvalError::Storage(StorageError::corruption(format!("transaction record: {error}"))))
}

/// What is newest, whenever it was written: for what takes part in no transaction.
fn newest<T>(read: impl FnOnce(&ReadOptions<'_>) -> Result<T, ReadConflict>) -> Result<T, EvalError> {
    let options = ReadOptions { uncertainty_limit: Timestamp::MAX, ..ReadOptions::at(Timestamp::MAX) };
    read(&options).map_err(|conflict| match conflict {
        ReadConflict::Locked(intents) => EvalError::Intents(intents),
        ReadConflict::Storage(error) => error.into(),
        ReadConflict::Uncertain { .. } => unreachable!("nothing is above the greatest timestamp"),
    })
}

impl Evaluator<'_> {
    pub fn evaluate(&self, request: &BatchRequest) -> Result<Evaluated, EvalError> {
        let header = &request.header;
        let txn = header.txn.as_ref();
        let at = if header.ts.is_min() { self.now } else { header.ts };
        let read_ts = txn.map_or(at, |txn| txn.read_ts);
        let write_ts = txn.map_or(at, |txn| txn.meta.write_ts.max(txn.read_ts));
        let mut state = State {
            request,
            txn: txn.map(|txn| &txn.meta),
            read_ts,
            write_ts,
            max_keys: header.max_keys,
            max_bytes: header.max_bytes,
            own_intents: SmallVec::new(),
            write_count: 0,
            resolve_left: RESOLVE_MAX,
            out: Evaluated {
                responses: Vec::with_capacity(request.requests.len()),
                batch: WriteBatch::new(),
                effect: None,
                acquire: Vec::new(),
                reads: Vec::new(),
                read_ts,
                write_ts,
                ended: Ended::default(),
            },
        };
        if request.requests.iter().any(|it| matches!(it, Request::Put { .. } | Request::Delete { .. })) {
            self.raise_write_ts(&mut state)?;
        }
        let one_phase = request.requests.iter().any(|it| matches!(it, Request::EndTxn { one_phase: true, .. }));
        if let Some(Request::EndTxn { commit: true, reads, in_flight, .. }) = request.requests.last()
            && (one_phase || !in_flight.is_empty() || state.write_ts > state.read_ts)
        {
            self.refresh_for_commit(&mut state, reads)?;
        }
        for item in &request.requests {
            let response = self.one(&mut state, item, one_phase)?;
            state.out.responses.push(response);
        }
        state.out.read_ts = state.read_ts;
        state.out.write_ts = state.write_ts;
        Ok(state.out)
    }

    /// *write-above-read*, *write-above-write*, for all keys the batch writes.
    fn raise_write_ts(&self, state: &mut State<'_>) -> Result<(), EvalError> {
        let mut intents = Vec::new();
        for item in &state.request.requests {
            let (Request::Put { key, .. } | Request::Delete { key }) = item else { continue };
            if let Some(lock) = self.engine.lock(key.as_bytes())? {
                if state.txn.is_none_or(|txn| txn.id != lock.txn.id) {
                    intents.push((key.clone(), lock));
                    continue;
                }
                // Our own provisional version will be replaced, so it is no bound; what lies beneath it was one when
                // it was written.
                state.write_ts = state.write_ts.max(lock.ts);
                state.own_intents.push(Some(lock));
                continue;
            }
            state.own_intents.push(None);
            let (read, by) = self.cache.get_max(key);
            let own = by.is_some() && by == state.txn.map(|txn| txn.id);
            // A read of ours hides earlier ones of others, so it binds us as far as it went: even where we never
            // heard of it, because its answer was lost or a refresh that it was part of failed elsewhere.
            let floor = if own { read } else { read.next() };
            state.write_ts = state.write_ts.max(floor);
            if let Some(newest) = self.engine.latest_version_ts(key.as_bytes())?
                && newest >= state.write_ts
            {
                state.write_ts = newest.next();
            }
        }
        // Below the threshold a deletion may have been collected, which the write must not come before.
        if state.write_ts <= self.gc_threshold {
            state.write_ts = self.gc_threshold.next();
        }
        if intents.is_empty() { Ok(()) } else { Err(EvalError::Intents(intents)) }
    }

    /// A commit above its reads: they must hold up there.
    fn refresh_for_commit(&self, state: &mut State<'_>, reads: &[Span]) -> Result<(), EvalError> {
        if state.write_ts <= state.read_ts {
            return Ok(());
        }
        let retry = |reason| KvError::Retry { reason, to: state.write_ts };
        if !state.request.header.can_forward {
            return Err(retry(RetryReason::WritePushed).into());
        }
        if state.read_ts < self.gc_threshold && !reads.is_empty() {
            return Err(retry(RetryReason::ReadChanged).into());
        }
        let own = state.txn.map(|txn| txn.id);
        for span in reads {
            let found = self.engine.has_version_in(span, state.read_ts, state.write_ts, own.as_ref())?;
            if let Some(found) = found {
                tracing::trace!(key = %found.key, ts = %found.ts, "refresh at commit failed");
                return Err(retry(RetryReason::ReadChanged).into());
            }
        }
        for span in reads {
            state.out.reads.push((span.clone(), state.write_ts));
        }
        state.read_ts = state.write_ts;
        Ok(())
    }

    fn one(&self, state: &mut State<'_>, item: &Request, one_phase: bool) -> Result<Response, EvalError> {
        match item {
            Request::Get { key, lock } => self.get(state, key, *lock),
            Request::Scan { span, reverse, lock } => self.scan(state, span, *reverse, *lock),
            Request::Put { key, value } => self.put(state, key, Some(value), one_phase),
            Request::Delete { key } => self.put(state, key, None, one_phase),
            Request::DeleteRange { span } => self.delete_range(state, span),
            Request::ClearRange { span } => {
                state.out.batch.clear_span(span);
                Ok(Response::Done)
            }
            Request::Increment { key, by } => self.increment(state, key, *by),
            Request::EndTxn { commit, locks, in_flight, one_phase, .. } => {
                self.end_txn(state, *commit, locks, in_flight, *one_phase)
            }
            Request::Refresh { span, from } => self.refresh(state, span, *from),
            Request::HeartbeatTxn { anchor, txn_id, min_ts } => {
                let status = match self.record(anchor, *txn_id)? {
                    Some(record) => record.status,
                    None if self.may_have_been_forgotten(*txn_id, *min_ts) => TxnStatus::Aborted,
                    None => TxnStatus::Pending,
                };
                if !status.is_final() {
                    self.registry.heard(*txn_id, self.now.wall_ns());
                }
                Ok(Response::HeartbeatTxn { status })
            }
            Request::ForgetTxn { anchor, txn_id } => {
                if self.record(anchor, *txn_id)?.is_some() {
                    state.out.batch.delete_local(keyspace::txn_record(anchor, *txn_id).as_bytes());
                }
                self.registry.forget(*txn_id);
                Ok(Response::Done)
            }
            Request::PushTxn { pushee, pusher, dependents, kind } => {
                self.push(state, pushee, pusher.as_ref(), dependents, *kind)
            }
            Request::QueryIntent { key, txn, at } => self.query_intent(state, key, txn, *at),
            Request::RecoverTxn { txn, committed } => self.recover(state, txn, *committed),
            Request::ResolveSpan { span, txn, status, commit_ts } => {
                self.resolve_span(state, span, txn, *status, *commit_ts)
            }
            Request::UpdateMeta { descriptor } => self.update_meta(state, descriptor),
            Request::Gc { span, threshold } => self.gc(state, span, *threshold),
            Request::Split { .. }
            | Request::ChangeReplicas { .. }
            | Request::TransferLease { .. }
            | Request::Stats
            | Request::Checksum { .. } => {
                Err(KvError::Invalid { reason: "an admin request stands alone in its batch".into() }.into())
            }
        }
    }

    fn options<'o>(&self, state: &State<'o>, lock: Option<LockStrength>) -> ReadOptions<'o> {
        // A locking read wants the newest version: any above its timestamp makes it move up.
        let uncertainty_limit = match lock {
            Some(_) => Timestamp::MAX,
            None if state.txn.is_some() => self.uncertainty_limit.max(state.read_ts),
            None => state.read_ts,
        };
        let locks = match (lock, state.request.header.wait) {
            (Some(_), WaitPolicy::SkipLocked) => LockRead::Skip,
            _ => LockRead::Check,
        };
        ReadOptions { ts: state.read_ts, uncertainty_limit, txn: state.txn, locks }
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

    fn get(&self, state: &mut State<'_>, key: &Key, lock: Option<LockStrength>) -> Result<Response, EvalError> {
        if let Some(strength) = lock
            && self.is_skipped(state, key, strength)?
        {
            return Ok(Response::Get { value: None });
        }
        let found = self.read(state, lock, |options| self.engine.get(key.as_bytes(), options))?;
        state.out.reads.push((Span::point(key.clone()), state.read_ts));
        if let Some(strength) = lock {
            state.out.acquire.push((key.clone(), strength));
        }
        Ok(Response::Get { value: found.map(|(value, _)| value) })
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

    fn scan(
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
        state.out.reads.push((covered, state.read_ts));
        let Some(strength) = lock else {
            return Ok(Response::Scan { rows: result.rows, resume: result.resume });
        };
        let mut kept = KvRows::new();
        let skips = state.request.header.wait == WaitPolicy::SkipLocked;
        for (position, (key, value)) in result.rows.iter().enumerate() {
            let row_key = Key::from(result.rows.key_bytes(position));
            if skips {
                if self.is_skipped(state, &row_key, strength)? {
                    continue;
                }
                kept.push(key, value);
            } else {
                let request = LockRequest { key: &row_key, txn: state.txn, strength: Some(strength), read_ts: state.read_ts };
                if let Some(conflict) = self.locks.check(&request).into_iter().next() {
                    return Err(EvalError::Locked(conflict));
                }
            }
            state.out.acquire.push((row_key, strength));
        }
        let rows = if skips { kept } else { result.rows };
        Ok(Response::Scan { rows, resume: result.resume })
    }

    fn put(
        &self,
        state: &mut State<'_>,
        key: &Key,
        value: Option<&Bytes>,
        one_phase: bool,
    ) -> Result<Response, EvalError> {
        let own = state.own_intents[state.write_count].take();
        state.write_count += 1;
        match state.txn {
            Some(txn) if !one_phase => {
                if let Some(lock) = &own
                    && lock.ts != state.write_ts
                {
                    state.out.batch.clear_version(key.as_bytes(), lock.ts);
                }
                let mut meta = txn.clone();
                meta.write_ts = state.write_ts;
                let record = LockRecord { txn: meta, ts: state.write_ts, tombstone: value.is_none() };
                state.out.batch.put_intent(key.as_bytes(), &record, value.map(|value| &value[..]));
            }
            Some(_) | None => {
                if let Some(lock) = &own {
                    // An intent of an earlier attempt of this very transaction gives way.
                    self.engine.resolve_intent(&mut state.out.batch, key.as_bytes(), lock, None)?;
                }
                state.out.batch.put_version(key.as_bytes(), state.write_ts, value.map(|value| &value[..]));
            }
        }
        Ok(Response::Write { keys: 1 })
    }

    fn delete_range(&self, state: &mut State<'_>, span: &Span) -> Result<Response, EvalError> {
        let rows = newest(|options| self.engine.scan(span, options, ScanLimits::default()))?.rows;
        let (read, _) = self.cache.get_max_span(span);
        state.write_ts = state.write_ts.max(read.next());
        for position in 0..rows.len() {
            let (key, _) = rows.get(position);
            if let Some(newest) = self.engine.latest_version_ts(key)? {
                state.write_ts = state.write_ts.max(newest.next());
            }
        }
        for (key, _) in rows.iter() {
            match state.txn {
                Some(txn) => {
                    let record = LockRecord { txn: txn.clone(), ts: state.write_ts, tombstone: true };
                    state.out.batch.put_intent(key, &record, None);
                }
                None => state.out.batch.put_version(key, state.write_ts, None),
            }
        }
        Ok(Response::Write { keys: rows.len() as u64 })
    }

    fn increment(&self, state: &mut State<'_>, key: &Key, by: i64) -> Result<Response, EvalError> {
        if state.txn.is_some() {
            return Err(KvError::Invalid { reason: "counters do not take part in transactions".into() }.into());
        }
        let stored = newest(|options| self.engine.get(key.as_bytes(), options))?;
        let current = match &stored {
            None => 0,
            Some((bytes, _)) => {
                let bytes: [u8; 8] = bytes[..]
                    .try_into()
                    .map_err(|_| KvError::Invalid { reason: format!("{key} does not hold a counter") })?;
                i64::from_be_bytes(bytes)
            }
        };
        let value = current
            .checked_add(by)
            .ok_or_else(|| KvError::Invalid { reason: format!("counter {key} would leave its range") })?;
        let (read, _) = self.cache.get_max(key);
        let mut ts = state.write_ts.max(read.next());
        if let Some((_, newest)) = stored {
            ts = ts.max(newest.next());
        }
        state.out.batch.put_version(key.as_bytes(), ts, Some(&value.to_be_bytes()));
        state.write_ts = ts;
        Ok(Response::Increment { value })
    }

    fn refresh(&self, state: &mut State<'_>, span: &Span, from: Timestamp) -> Result<Response, EvalError> {
        if from < self.gc_threshold {
            return Err(KvError::Retry { reason: RetryReason::ReadChanged, to: state.read_ts }.into());
        }
        let own = state.txn.map(|txn| txn.id);
        if let Some(found) = self.engine.has_version_in(span, from, state.read_ts, own.as_ref())? {
            tracing::trace!(key = %found.key, ts = %found.ts, "refresh failed");
            let retry = KvError::Retry { reason: RetryReason::ReadChanged, to: state.read_ts };
            return Err(retry.into());
        }
        state.out.reads.push((span.clone(), state.read_ts));
        Ok(Response::Refresh)
    }

    /// Removes what nobody can ask for at or above the threshold: versions of a part of the span, and the word on
    /// transactions that were aborted before it.
    fn gc(&self, state: &mut State<'_>, span: &Span, threshold: Timestamp) -> Result<Response, EvalError> {
        let threshold = threshold.max(self.gc_threshold);
        let Some(span) = span.intersect(&self.descriptor.span()) else {
            return Ok(Response::Gc { keys: 0, resume: None });
        };
        let (batch, resume) = self.engine.gc_span(&span, threshold, GC_KEYS_MAX)?;
        state.out.batch.merge(&batch);
        for (key, bytes) in self.engine.scan_local(&keyspace::range_local_span(&span))? {
            let Some((_, txn_id)) = crate::txn_record::parse_key(&key) else { continue };
            let record = decode_record(&bytes)?;
            if record.status == TxnStatus::Aborted && record.at <= threshold {
                self.registry.forget(txn_id);
                state.out.batch.delete_local(key.as_bytes());
            }
        }
        if !state.out.batch.is_empty() {
            state.out.effect = Some(Effect::Gc { threshold });
        }
        Ok(Response::Gc { keys: state.out.batch.len() as u64, resume })
    }

    /// Whether a transaction without a record may have had one that said it is aborted: it began before what is
    /// remembered of such, and has not been heard of all the time since.
    fn may_have_been_forgotten(&self, txn: TxnId, min_ts: Timestamp) -> bool {
        min_ts <= self.gc_threshold && !self.registry.knows(txn)
    }

    fn record(&self, anchor: &Key, txn: TxnId) -> Result<Option<TxnRecord>, EvalError> {
        let key = keyspace::txn_record(anchor, txn);
        match self.engine.get_local(key.as_bytes())? {
            None => Ok(None),
            Some(bytes) => Ok(Some(decode_record(&bytes)?)),
        }
    }

    fn put_record(&self, state: &mut State<'_>, anchor: &Key, txn: TxnId, record: &TxnRecord) {
        let key = keyspace::txn_record(anchor, txn);
        state.out.batch.put_local(key.as_bytes(), &crate::api::encode(record));
    }

    fn end_txn(
        &self,
        state: &mut State<'_>,
        commit: bool,
        locks: &[Span],
        in_flight: &[Key],
        one_phase: bool,
    ) -> Result<Response, EvalError> {
        let Some(txn) = state.txn else {
            return Err(KvError::Invalid { reason: "EndTxn without a transaction".into() }.into());
        };
        // The record lives with the anchor; a one-phase commit of keys elsewhere has no word to contradict it: the
        // versions it writes are the word.
        let anchored_here = self.descriptor.contains_key(txn.anchor.as_bytes());
        let record = if anchored_here { self.record(&txn.anchor, txn.id)? } else { None };
        if !anchored_here && !one_phase {
            return Err(KvError::Invalid { reason: "EndTxn away from its anchor".into() }.into());
        }
        let status = record.as_ref().map(|record| record.status);
        if commit && !one_phase && record.is_none() && self.may_have_been_forgotten(txn.id, txn.min_ts) {
            return Err(KvError::Aborted { txn_id: txn.id, reason: AbortReason::RecordGone }.into());
        }
        match (status, commit) {
            (Some(TxnStatus::Aborted), true) => {
                return Err(KvError::Aborted { txn_id: txn.id, reason: AbortReason::HeartbeatMissing }.into());
            }
            (Some(TxnStatus::Aborted), false) => {
                state.out.ended.own = Some(txn.id);
                return Ok(Response::EndTxn { status: TxnStatus::Aborted, commit_ts: Timestamp::MIN });
            }
            (Some(TxnStatus::Committed), true) => {
                let ts = record.map_or(state.write_ts, |record| record.ts);
                state.out.ended.own = Some(txn.id);
                return Ok(Response::EndTxn { status: TxnStatus::Committed, commit_ts: ts });
            }
            (Some(TxnStatus::Committed), false) => {
                return Err(KvError::Invalid { reason: "a committed transaction cannot be rolled back".into() }.into());
            }
            (None | Some(TxnStatus::Pending | TxnStatus::Staging), _) => {}
        }
        let (status, ts) = match (commit, in_flight.is_empty()) {
            (false, _) => (TxnStatus::Aborted, Timestamp::MIN),
            (true, true) => (TxnStatus::Committed, state.write_ts),
            (true, false) => (TxnStatus::Staging, state.write_ts),
        };
        if one_phase {
            // A staging record of an earlier attempt must not be left for recovery to judge.
            if record.is_some() {
                state.out.batch.delete_local(keyspace::txn_record(&txn.anchor, txn.id).as_bytes());
            }
        } else {
            let record = TxnRecord {
                status,
                epoch: txn.epoch,
                ts,
                at: self.now,
                in_flight: in_flight.to_vec(),
                locks: locks.to_vec(),
            };
            self.put_record(state, &txn.anchor, txn.id, &record);
        }
        if status != TxnStatus::Staging {
            state.out.ended.own = Some(txn.id);
        }
        Ok(Response::EndTxn { status, commit_ts: ts })
    }

    fn push(
        &self,
        state: &mut State<'_>,
        pushee: &TxnMeta,
        pusher: Option<&TxnMeta>,
        dependents: &[TxnId],
        kind: PushKind,
    ) -> Result<Response, EvalError> {
        let now_ns = self.now.wall_ns();
        if let Some(pusher) = pusher {
            self.registry.waits(pushee.id, pusher.id, dependents.to_vec(), now_ns);
        }
        let record = self.record(&pushee.anchor, pushee.id)?;
        let expired = self.registry.is_expired(pushee.id, pushee.min_ts, now_ns);
        let mut pushed = PushedTxn {
            status: TxnStatus::Pending,
            epoch: pushee.epoch,
            commit_ts: Timestamp::MIN,
            in_flight: Vec::new(),
            locks: Vec::new(),
            expired,
            dependents: self.registry.dependents(pushee.id, now_ns),
        };
        let standing = record.as_ref().map_or(TxnStatus::Pending, |record| record.status);
        if let Some(record) = record {
            pushed.status = record.status;
            pushed.epoch = record.epoch;
            pushed.commit_ts = record.ts;
            pushed.in_flight = record.in_flight;
            pushed.locks = record.locks;
        }
        // A staged commit may have happened: only recovery can tell. A pending one is ours to end.
        if standing == TxnStatus::Pending && (expired || kind == PushKind::Abort) {
            let record = TxnRecord {
                status: TxnStatus::Aborted,
                epoch: pushee.epoch,
                ts: Timestamp::MIN,
                at: self.now,
                in_flight: Vec::new(),
                locks: Vec::new(),
            };
            self.put_record(state, &pushee.anchor, pushee.id, &record);
            pushed.status = TxnStatus::Aborted;
        }
        Ok(Response::PushTxn(pushed))
    }

    fn query_intent(
        &self,
        state: &mut State<'_>,
        key: &Key,
        txn: &TxnMeta,
        at: Timestamp,
    ) -> Result<Response, EvalError> {
        let lock = self.engine.lock(key.as_bytes())?;
        let found =
            lock.is_some_and(|lock| lock.txn.id == txn.id && lock.txn.epoch == txn.epoch && lock.ts <= at);
        if !found {
            // Remembered as a read by nobody in particular: the write, should it still come, goes above.
            state.out.reads.push((Span::point(key.clone()), at));
        }
        Ok(Response::QueryIntent { found })
    }

    fn recover(&self, state: &mut State<'_>, txn: &TxnMeta, committed: bool) -> Result<Response, EvalError> {
        let Some(mut record) = self.record(&txn.anchor, txn.id)? else {
            // Whoever ended it has cleaned up already: every intent is resolved.
            return Ok(Response::RecoverTxn { status: TxnStatus::Pending, commit_ts: Timestamp::MIN });
        };
        let as_queried = record.epoch == txn.epoch && record.ts == txn.write_ts;
        if record.status == TxnStatus::Staging && as_queried {
            record.status = if committed { TxnStatus::Committed } else { TxnStatus::Aborted };
            record.in_flight.clear();
            self.put_record(state, &txn.anchor, txn.id, &record);
        }
        Ok(Response::RecoverTxn { status: record.status, commit_ts: record.ts })
    }

    fn resolve_span(
        &self,
        state: &mut State<'_>,
        span: &Span,
        txn: &TxnMeta,
        status: TxnStatus,
        commit_ts: Timestamp,
    ) -> Result<Response, EvalError> {
        if state.resolve_left == 0 || state.out.batch.byte_size() > RESOLVE_MAX_BYTES {
            return Ok(Response::ResolveSpan { resume: Some(span.clone()) });
        }
        let found = self.engine.locks_in(span, state.resolve_left)?;
        let mut resume = match found.last() {
            Some((key, _)) if found.len() == state.resolve_left => Some(Span::new(key.next(), span.end.clone())),
            _ => None,
        };
        state.resolve_left -= found.len();
        for (key, lock) in found {
            if state.out.batch.byte_size() > RESOLVE_MAX_BYTES {
                resume = Some(Span::new(key, span.end.clone()));
                break;
            }
            if lock.txn.id != txn.id {
                continue;
            }
            // What an earlier epoch wrote was never part of what committed.
            let commit = match status {
                TxnStatus::Committed if lock.txn.epoch == txn.epoch => Some(commit_ts),
                TxnStatus::Committed | TxnStatus::Aborted => None,
                TxnStatus::Pending | TxnStatus::Staging => {
                    return Err(KvError::Invalid { reason: "only a finished transaction is resolved".into() }.into());
                }
            };
            self.engine.resolve_intent(&mut state.out.batch, key.as_bytes(), &lock, commit)?;
        }
        if resume.is_none() {
            state.out.ended.resolved.push(txn.id);
        }
        Ok(Response::ResolveSpan { resume })
    }

    fn update_meta(&self, state: &mut State<'_>, descriptor: &RangeDescriptor) -> Result<Response, EvalError> {
        let key = keyspace::meta(&descriptor.end);
        let stored = newest(|options| self.engine.get(key.as_bytes(), options))?;
        if let Some((bytes, _)) = &stored {
            let known: RangeDescriptor = crate::api::decode(bytes).map_err(|error| {
                EvalError::Storage(StorageError::corruption(format!("addressing record {key}: {error}")))
            })?;
            // Ranges with the same end: the one that begins later is the result of a split, and so newer.
            let newer = descriptor.start > known.start
                || (descriptor.range_id == known.range_id && descriptor.generation > known.generation);
            if !newer {
                return Ok(Response::Done);
            }
        }
        let (read, _) = self.cache.get_max(&key);
        let mut ts = state.write_ts.max(read.next());
        if let Some((_, newest)) = stored {
            ts = ts.max(newest.next());
        }
        state.out.batch.put_version(key.as_bytes(), ts, Some(&crate::api::encode(descriptor)));
        state.write_ts = ts;
        Ok(Response::Done)
    }
}
