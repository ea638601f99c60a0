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
//!   Neither binds [`Request::Load`], whose keys nobody else has read or written: *private-spans-are-unseen*, upheld by
//!   the coordinator (`kv`, `txn/load.rs`).
//! - *newest-write-stays*: of a transaction's writes of one key the intent is the one of the latest epoch and sequence
//!   number that has arrived. The same one sent again changes nothing, so that it is harmless to send it again.
//! - *record-moves-forward*: see `Evaluator::check_newer`.
//! - *aborted-when-staged*: of an aborted record it is known whether it took the place of a staged one. Otherwise a commit
//!   may have been recovered and removed before, and whoever staged it must not be told that it is aborted.
//! - *notified-in-order*: a notification is written at or above the leaseholder's clock, and its key bears a time that is
//!   at most [`NOTIFICATION_FRESH_NS`](keyspace::NOTIFICATION_FRESH_NS) behind it: see `Evaluator::notify`.
//! - *evaluate-is-pure*: evaluating changes neither the engine nor the lock table.

mod read;
mod write;
mod txn;
mod prepared;
mod resolve;
mod range;

use concurrency::{LockTable, TimestampCache};
use hlc::Timestamp;
use keys::{Key, LockStrength, RangeDescriptor, Span, TxnId, TxnMeta, TxnStatus, keyspace};
use smallvec::SmallVec;
use storage::{Engine, LockRecord, StorageError, WriteBatch};

use crate::{
    api::{BatchRequest, KvError, Request, Response, WriteRef},
    cleared::Cleared,
    command::Effect,
    commits::Commits,
    counters::{Counters, Given},
    kept_locks::KeptLocks,
    replica::LookStarts,
    txn_record::TxnRegistry,
};

use resolve::RESOLVE_MAX;

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
    /// The transaction that the batch commits in one phase, and where.
    pub one_phase: Option<(TxnId, Timestamp)>,
    /// Keys to lock for the transaction, unreplicated.
    pub acquire: Vec<(Key, LockStrength)>,
    /// What a counter has given out, once what is written has taken effect.
    pub given: Option<(Key, Given)>,
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

/// Up to where a read is uncertain.
#[derive(Clone, Copy)]
pub(crate) struct Uncertainty {
    /// Above it nothing was acknowledged to anybody before the reader began.
    pub limit: Timestamp,
    /// Nor was what this node, or who led the range before it, wrote above it, by its clock; see `TxnHeader::observed`.
    pub local_limit: Timestamp,
}

impl Uncertainty {
    /// Up to where intents concern the reader, by the time they were written.
    pub fn lowest(self) -> Timestamp {
        self.limit.min(self.local_limit)
    }
}

/// What evaluation may look at.
pub(crate) struct Evaluator<'a> {
    pub engine: &'a Engine,
    pub cache: &'a TimestampCache,
    pub locks: &'a LockTable,
    pub registry: &'a TxnRegistry,
    pub looks: &'a LookStarts,
    pub commits: &'a Commits,
    pub counters: &'a Counters,
    pub kept: &'a KeptLocks,
    pub descriptor: &'a RangeDescriptor,
    /// What was superseded before may be gone.
    pub gc_threshold: Timestamp,
    /// What was removed as a whole.
    pub cleared: &'a Cleared,
    pub now: Timestamp,
    /// The local timestamp of what is written: `now`, and within the lease, so that it lies below the start of the next.
    pub local_ts: Timestamp,
    pub uncertainty: Uncertainty,
}

/// The intent of the transaction itself that a write finds on its key.
#[derive(Default)]
enum OwnIntent {
    #[default]
    None,
    /// Of an earlier write: it is replaced.
    Earlier(LockRecord),
    /// Of this very write, which was sent before: it stays as it is.
    Same,
}

struct State<'b> {
    request: &'b BatchRequest,
    txn: Option<&'b TxnMeta>,
    read_ts: Timestamp,
    write_ts: Timestamp,
    max_keys: u64,
    max_bytes: u64,
    /// What the transaction's own intents mean for the batch's writes, in their order; each is taken out by its write.
    /// Empty where there are none.
    own_intents: SmallVec<[OwnIntent; 2]>,
    /// How many of these writes were evaluated.
    write_count: usize,
    /// Intents that may still be resolved.
    resolve_left: usize,
    out: Evaluated,
}

impl Evaluator<'_> {
    /// The reading of this node's clock that goes with a version at `ts`, if it is below that: who reads this clock later
    /// began after the version was written, whoever reads it before may have begun after it was acknowledged.
    fn local_ts(&self, ts: Timestamp) -> Option<Timestamp> {
        (self.local_ts < ts).then_some(self.local_ts)
    }

    fn put_version(&self, state: &mut State<'_>, key: &[u8], ts: Timestamp, value: Option<&[u8]>) {
        state.out.batch.put_version_from(key, ts, self.local_ts(ts), value);
    }

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
                one_phase: None,
                acquire: Vec::new(),
                given: None,
                reads: Vec::new(),
                read_ts,
                write_ts,
                ended: Ended::default(),
            },
        };
        let one_phase = request.requests.iter().any(|it| matches!(it, Request::EndTxn { one_phase: true, .. }));
        if request.requests.iter().any(|it| matches!(it, Request::Put { .. } | Request::Delete { .. } | Request::WriteMany { .. })) {
            self.raise_write_ts(&mut state, one_phase)?;
        }
        if let Some(Request::EndTxn { commit: true, reads, present, in_flight, .. }) = request.requests.last()
            && (one_phase || !in_flight.is_empty() || state.write_ts > state.read_ts)
        {
            self.refresh_for_commit(&mut state, reads, present)?;
        }
        for item in &request.requests {
            let response = self.one(&mut state, item, one_phase)?;
            state.out.responses.push(response);
        }
        state.out.read_ts = state.read_ts;
        state.out.write_ts = state.write_ts;
        Ok(state.out)
    }

    fn one(&self, state: &mut State<'_>, item: &Request, one_phase: bool) -> Result<Response, EvalError> {
        match item {
            Request::Get { key, lock } => self.get(state, key, *lock),
            Request::GetMany { keys, lock } => self.get_many(state, keys, *lock),
            Request::LockMany { keys, lock } => self.lock_many(state, keys, *lock),
            Request::Scan { span, reverse, lock } => self.scan(state, span, *reverse, *lock),
            Request::Look { span, reverse, free_for } => self.look(state, span, *reverse, *free_for),
            Request::LockFirst { .. } => {
                Err(KvError::Invalid { reason: "LockFirst without SKIP LOCKED, or twice".into() }.into())
            }
            Request::Put { key, value, seq } => {
                let write = WriteRef { key: key.as_bytes(), seq: *seq, value: Some(value) };
                self.write(state, write, one_phase)?;
                Ok(Response::Write { keys: 1 })
            }
            Request::Delete { key, seq } => {
                self.write(state, WriteRef { key: key.as_bytes(), seq: *seq, value: None }, one_phase)?;
                Ok(Response::Write { keys: 1 })
            }
            Request::WriteMany { writes } => self.write_many(state, writes, one_phase),
            Request::ClearRange { span, at } => self.clear_range(state, span, *at),
            Request::Increment { key, by, ahead, until } => self.increment(state, key, *by, *ahead, *until),
            Request::EndTxn { commit, locks, in_flight, one_phase, .. } => {
                self.end_txn(state, *commit, locks, in_flight, *one_phase)
            }
            Request::Refresh { span, from, deletions_only } => self.refresh(state, span, *from, *deletions_only),
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
                // *prepared-stays*
                if self.record(anchor, *txn_id)?.is_some_and(|record| record.status != TxnStatus::Prepared) {
                    state.out.batch.delete_local(keyspace::txn_record(anchor, *txn_id).as_bytes());
                }
                self.registry.forget(*txn_id);
                Ok(Response::Done)
            }
            Request::PushTxn { pushee, pusher, dependents, kind } => {
                self.push(state, pushee, pusher.as_deref(), dependents, *kind)
            }
            Request::QueryIntent { write, txn, at } => self.query_intent(state, write, txn, *at),
            Request::SettleCommit { txn, range_id, sent } => self.settle(state, txn, *range_id, *sent),
            Request::RecoverTxn { txn, committed } => self.recover(state, txn, *committed),
            Request::ResolveSpan { span, txn, status, commit_ts } => {
                self.resolve_span(state, span, txn, *status, *commit_ts)
            }
            Request::KeepLocks { spans } => self.keep_locks(state, spans),
            Request::PrepareTxn { locks } => self.prepare(state, locks),
            Request::EndPrepared { txn, commit } => self.end_prepared(state, txn, *commit),
            Request::UpdateMeta { descriptor } => self.update_meta(state, descriptor),
            Request::KeepSplit { at, keep } => {
                let key = keyspace::kept_split(at);
                match (keep, self.engine.get_local(key.as_bytes())?) {
                    (true, None) => state.out.batch.put_local(key.as_bytes(), &[]),
                    (false, Some(_)) => state.out.batch.delete_local(key.as_bytes()),
                    (true, Some(_)) | (false, None) => {}
                }
                Ok(Response::Done)
            }
            Request::Gc { span, threshold } => self.gc(state, span, *threshold),
            Request::Load { ts, rows } => self.load(state, *ts, rows),
            Request::Changes { span, after } => self.changes(state, span, *after),
            Request::Split { .. }
            | Request::ChangeReplicas { .. }
            | Request::TransferLease { .. }
            | Request::Describe
            | Request::Merge
            | Request::Freeze { .. }
            | Request::MergeOutcome { .. }
            | Request::Thaw { .. }
            | Request::RangeStats
            | Request::Checksum { .. } => {
                Err(KvError::Invalid { reason: "an admin request stands alone in its batch".into() }.into())
            }
        }
    }
}
