//! A replica of one range: admits batches, orders them by latches and locks, evaluates them, and has what they write
//! agreed on and applied before it answers.
//!
//! ```text
//! send ─▶ lease? ─▶ in range? ─▶ latches ─▶ lock table ─▶ evaluate ─┬─ reads only ──▶ remember reads ─▶ answer
//!           ▲                                  │            │       └─ writes ─▶ propose ─▶ applied here ─▶ answer
//!           └────────── wait, push ◀───────────┴── intents ─┘                        latches held until then
//! ```
//!
//! **Invariants**
//! - *latches-until-known*: the latches of a batch that writes are held until its outcome in the log is known, even
//!   when whoever sent it is gone: the proposal runs in a task of its own, and what the lock table has to learn of
//!   its outcome is part of it. So is it when the lease is gone for good and its sender has been told that the outcome
//!   is unknown.
//! - *one-leaseholder*: nothing is evaluated without a lease that has time left, and nothing takes effect under
//!   another term than the one it was evaluated in.
//! - *served-below-clock*: nothing is read or written above the node's clock: a time further ahead than another's clock
//!   may be is refused, any other takes the clock along. So the clock of a later leaseholder, which has heard of this one
//!   or found its bound on disk, is above all that was served here.
//! - *reads-remembered*: a read is in the timestamp cache before its latches are released.

mod latching;
mod lease;
mod looks;
mod propose;
mod recovery;
mod skip_locked;
mod wait;

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use concurrency::{Acquired, Conflict, LatchManager, LockRequest, LockTable, TimestampCache};
use hlc::{Clock, Timestamp};
use keys::{LockStrength, NodeId, RangeDescriptor, RangeId, ReplicaId, StoreId, TxnId};
use parking_lot::Mutex;
use planted::Bug;
use raft::Group;
use rustc_hash::FxHashSet;
use storage::{Engine, StorageError};
use tokio::time::Instant;

use crate::{
    Outbound, ReplicaHost,
    api::{BatchRequest, BatchResponse, Header, KvError, Request, RetryReason, WaitPolicy, hull},
    evaluate::{Ended, EvalError, Evaluated, Evaluator, Uncertainty},
    counters::Counters,
    kept_locks::KeptLocks,
    load::{Load, SplitByLoad},
    machine::Machine,
    txn_record::TxnRegistry,
};

use latching::latch_spans;
use wait::Waiting;

pub(crate) use lease::HeldLease;
pub(crate) use looks::LookStarts;

/// What a replica is given by the store it lives in.
#[derive(Clone)]
pub struct ReplicaDeps {
    pub engine: Engine,
    pub clock: Arc<Clock>,
    pub node_id: NodeId,
    pub store_id: StoreId,
    pub outbound: Arc<dyn Outbound>,
    pub host: Arc<dyn ReplicaHost>,
    /// How long a transaction lives without a heartbeat: [`TXN_EXPIRY`](crate::TXN_EXPIRY), and less in tests.
    pub txn_expiry: Duration,
    /// Keys that one command locks are kept as a list where they are so many: [`BULK_MIN`](crate::BULK_MIN), and fewer in
    /// tests.
    pub bulk_locks_min: usize,
}

/// One replica.
pub struct Replica {
    pub(crate) deps: ReplicaDeps,
    range_id: RangeId,
    replica_id: ReplicaId,
    pub(crate) machine: Arc<Machine>,
    pub(crate) group: Group,
    latches: LatchManager,
    pub(crate) locks: LockTable,
    pub(crate) cache: TimestampCache,
    pub(crate) registry: TxnRegistry,
    pub(crate) looks: LookStarts,
    pub(crate) counters: Counters,
    pub(crate) kept: KeptLocks,
    /// The term of the lease that the structures above belong to; 0 before the first.
    lease_term: AtomicU64,
    new_lease: Mutex<()>,
    pub(crate) admin: tokio::sync::Mutex<()>,
    /// Finished transactions whose intents are being removed for a coordinator that is gone.
    resolving: Arc<Mutex<FxHashSet<TxnId>>>,
    pub(crate) metrics: ReplicaMetrics,
    load: Load,
    /// When it was opened, or last split or merged as its leaseholder.
    changed_at: Mutex<Instant>,
}

#[derive(Debug, Default)]
pub struct ReplicaMetrics {
    pub batches: AtomicU64,
    pub proposals: AtomicU64,
    pub lock_waits: AtomicU64,
    pub pushes: AtomicU64,
}

impl Replica {
    pub fn new(deps: ReplicaDeps, replica_id: ReplicaId, machine: Arc<Machine>, group: Group) -> Self {
        let range_id = machine.range_id();
        machine.commits.begin(deps.clock.clone());
        let registry = TxnRegistry::new(deps.txn_expiry);
        let locks = LockTable::with_bulk_min(deps.bulk_locks_min);
        Self {
            deps,
            range_id,
            replica_id,
            machine,
            group,
            latches: LatchManager::new(),
            locks,
            cache: TimestampCache::default(),
            registry,
            looks: LookStarts::default(),
            counters: Counters::default(),
            kept: KeptLocks::default(),
            lease_term: AtomicU64::new(0),
            new_lease: Mutex::new(()),
            admin: tokio::sync::Mutex::new(()),
            resolving: Arc::default(),
            metrics: ReplicaMetrics::default(),
            load: Load::default(),
            changed_at: Mutex::new(Instant::now()),
        }
    }

    #[must_use]
    pub fn range_id(&self) -> RangeId {
        self.range_id
    }

    #[must_use]
    pub fn replica_id(&self) -> ReplicaId {
        self.replica_id
    }

    /// The descriptor as last applied; none while a new replica waits for its first snapshot.
    #[must_use]
    pub fn descriptor(&self) -> Option<Arc<RangeDescriptor>> {
        self.machine.descriptor()
    }

    #[must_use]
    pub fn group(&self) -> &Group {
        &self.group
    }

    #[must_use]
    pub fn machine(&self) -> &Arc<Machine> {
        &self.machine
    }

    #[must_use]
    pub fn metrics(&self) -> &ReplicaMetrics {
        &self.metrics
    }

    pub(crate) fn load(&self) -> &Load {
        &self.load
    }

    /// Batches in a second, of late, as last measured by [`Replica::look_at_load`].
    #[must_use]
    pub fn rate(&self) -> u64 {
        self.load.rate()
    }

    /// Measures the range's load: what follows where it is above so many batches in a second for so long.
    #[must_use]
    pub fn look_at_load(&self, threshold: u64, after: Duration) -> SplitByLoad {
        let Some(range) = self.descriptor() else { return SplitByLoad::Calm };
        let start = range.start.clone().max(keys::keyspace::table_data_start());
        self.load.look(self.metrics.batches.load(Ordering::Relaxed), threshold, after, &start)
    }

    /// For how long the range has been neither split nor merged, as far as this replica knows.
    #[must_use]
    pub fn settled_for(&self) -> Duration {
        self.changed_at.lock().elapsed()
    }

    pub(crate) fn note_split_or_merge(&self) {
        *self.changed_at.lock() = Instant::now();
    }

    #[must_use]
    pub fn lock_table(&self) -> &LockTable {
        &self.locks
    }

    #[must_use]
    pub fn latches(&self) -> &LatchManager {
        &self.latches
    }

    /// Executes a batch.
    ///
    /// # Errors
    /// See [`KvError`]; *error-means-nothing*.
    pub async fn send(self: &Arc<Self>, request: &BatchRequest) -> Result<BatchResponse, KvError> {
        let number = self.metrics.batches.fetch_add(1, Ordering::Relaxed);
        self.load.note(number, request);
        if let [only] = &request.requests[..]
            && let Some(response) = self.admin_request(only).await
        {
            return response;
        }
        self.check_times(request)?;
        let mut request = Cow::Borrowed(request);
        // One time for its latches and its evaluation: what is written in between must not be missed by both.
        if request.header.txn.is_none() && request.header.ts.is_min() {
            request.to_mut().header.ts = self.deps.clock.now();
        }
        let mut waiting: Option<Waiting> = None;
        let mut has_thawed = false;
        loop {
            let attempt = self.attempt(&request).await;
            let conflict = match attempt {
                Ok(response) => return Ok(response),
                Err(Attempt::Error(KvError::NotLeaseholder { .. })) if self.machine.frozen().is_some() && !has_thawed => {
                    has_thawed = true;
                    waiting = None;
                    self.while_frozen().await;
                    if self.machine.is_dissolved() {
                        return Err(self.merged_away());
                    }
                    continue;
                }
                Err(Attempt::Error(error)) => return Err(error),
                Err(Attempt::Conflict(conflict)) => conflict,
                Err(Attempt::Again) => {
                    tokio::task::yield_now().await;
                    continue;
                }
                Err(Attempt::ReadAt(ts)) => {
                    if let Some(txn) = &mut request.to_mut().header.txn {
                        txn.read_ts = ts;
                    }
                    continue;
                }
            };
            // The place in the last queue is given up only once there is one in the next.
            waiting = Some(self.wait_for(&request, conflict, waiting).await?);
            // Should the two of them ever disagree about who is in the way, this must not keep a thread to itself:
            // whoever it waits for may be next on that very thread.
            tokio::task::yield_now().await;
        }
    }

    /// *served-below-clock*
    fn check_times(&self, request: &BatchRequest) -> Result<(), KvError> {
        let clock = &self.deps.clock;
        let now = clock.peek();
        let header = &request.header;
        let mut latest = header.ts;
        if let Some(txn) = &header.txn {
            latest = latest.max(txn.read_ts).max(txn.meta.write_ts);
            // It began at most that far ahead of this clock, and its limit lies as far above.
            let limit = now.add_ns(clock.max_offset_ns().saturating_mul(2));
            if clock.max_offset_ns() != 0 && txn.uncertainty_limit > limit.max(txn.read_ts) {
                let reason = format!(
                    "its uncertainty reaches to {}, and no clock is beyond {limit}",
                    txn.uncertainty_limit
                );
                return Err(KvError::Invalid { reason });
            }
        }
        for item in &request.requests {
            let at = match item {
                Request::Load { ts, .. } => *ts,
                Request::ClearRange { at, .. } | Request::QueryIntent { at, .. } => *at,
                Request::Gc { threshold, .. } => *threshold,
                Request::ResolveSpan { commit_ts, .. } => *commit_ts,
                Request::SettleCommit { sent, .. } => *sent,
                _ => continue,
            };
            latest = latest.max(at);
        }
        if latest > now {
            clock.update(latest).map_err(|error| KvError::Invalid { reason: error.to_string() })?;
        }
        Ok(())
    }

    async fn attempt_all(self: &Arc<Self>, request: &BatchRequest) -> Result<BatchResponse, Attempt> {
        self.lease()?;
        let descriptor = self.descriptor().ok_or_else(|| self.not_leaseholder(None))?;
        self.check_in_range(request, &descriptor)?;
        if let Err(error) = self.deps.engine.check_space()
            && request.requests.iter().any(Request::adds_rows)
        {
            return Err(self.storage_error(error).into());
        }
        let latch = match self.latches.try_acquire(latch_spans(request, self.deps.clock.now())) {
            Ok(latch) => latch,
            Err(spans) => self.latched(spans).await?,
        };
        // While it waited, the lease may have gone and the range been split.
        let lease = self.lease()?;
        let descriptor = self.descriptor().ok_or_else(|| self.not_leaseholder(None))?;
        self.check_in_range(request, &descriptor)?;
        if let Some(conflict) = self.check_locks(request, self.read_limit(&request.header, lease)) {
            return Err(Attempt::Conflict(conflict));
        }
        let evaluated = self.evaluate(request, &descriptor, lease)?;
        self.check_not_collected(request, &evaluated)?;
        // *served-below-clock*: it may have moved above what was asked for.
        let latest = evaluated.reads.iter().map(|(_, ts)| *ts).max().unwrap_or_default();
        self.deps.clock.cover(latest.max(evaluated.read_ts).max(evaluated.write_ts));
        // What is read must lie under this lease, or the next leaseholder would not know of it.
        if evaluated.read_ts >= lease.expiration || evaluated.reads.iter().any(|(_, ts)| *ts >= lease.expiration) {
            return Err(self.not_leaseholder(None).into());
        }
        if let Some(txn) = request.header.txn.as_ref().filter(|_| !evaluated.acquire.is_empty())
            && let Acquired::Blocked(conflict) = self.locks.acquire_all(&evaluated.acquire, &txn.meta)
        {
            return Err(Attempt::blocked(&request.header, conflict));
        }
        if evaluated.batch.is_empty() {
            self.remember_reads(request, &evaluated);
            self.note_ended(&evaluated.ended);
            self.note_given(&evaluated);
            drop(latch);
            return Ok(self.respond(request, &descriptor, evaluated));
        }
        self.propose_and_wait(request, descriptor, lease, latch, evaluated).await
    }

    /// Up to where a version may have been written before the reader began. What this node wrote since is judged by the
    /// reader's own look at its clock; whatever leaseholders before it wrote has a local timestamp below the start of the
    /// lease.
    fn uncertainty(&self, header: &Header, lease: HeldLease) -> Uncertainty {
        let certain = Uncertainty { limit: Timestamp::MIN, local_limit: Timestamp::MAX };
        let Some(txn) = header.txn.as_ref().filter(|_| !planted::is_on(Bug::UncertaintyIgnored)) else { return certain };
        let local_limit = match txn.observed {
            Some((node, at)) if node == self.deps.node_id => at.max(lease.start),
            _ => Timestamp::MAX,
        };
        Uncertainty { limit: txn.uncertainty_limit, local_limit }
    }

    /// Up to where others' intents stop the plain reads of a batch, by the time they were written: in the lock table at
    /// least those that stop them in evaluation, or a reader would be told to go by the one and to wait by the other.
    /// That holds as an intent at or below `read_ts`, or written at or below both limits, was written at or below here.
    fn read_limit(&self, header: &Header, lease: HeldLease) -> Timestamp {
        match &header.txn {
            Some(txn) => txn.read_ts.max(self.uncertainty(header, lease).lowest()),
            None if header.ts.is_min() => Timestamp::MAX,
            None => header.ts,
        }
    }

    fn evaluate(
        &self,
        request: &BatchRequest,
        descriptor: &RangeDescriptor,
        lease: HeldLease,
    ) -> Result<Evaluated, Attempt> {
        let uncertainty = self.uncertainty(&request.header, lease);
        let now = self.deps.clock.now();
        // What goes below the threshold goes after it was raised, but may go while this looks: then it looks again.
        let marks = self.machine.marks();
        let gc_threshold = marks.gc_threshold;
        let evaluator = Evaluator {
            engine: &self.deps.engine,
            cache: &self.cache,
            locks: &self.locks,
            registry: &self.registry,
            looks: &self.looks,
            commits: &self.machine.commits,
            counters: &self.counters,
            kept: &self.kept,
            descriptor,
            gc_threshold,
            cleared: &marks.cleared,
            now,
            local_ts: now.min(lease.expiration),
            uncertainty,
        };
        let outcome = evaluator.evaluate(request);
        if self.machine.gc_threshold() != gc_threshold {
            return self.evaluate(request, descriptor, lease);
        }
        outcome.map_err(|error| match error {
            EvalError::Kv(error) => Attempt::Error(error),
            EvalError::RetryLocked { error, key, strength } => {
                let Some(txn) = request.header.txn.as_ref() else { return Attempt::Error(error) };
                match self.locks.acquire(&key, &txn.meta, strength) {
                    Acquired::Acquired => Attempt::Error(error),
                    Acquired::Blocked(conflict) => Attempt::blocked(&request.header, conflict),
                }
            }
            EvalError::Storage(error) => Attempt::Error(self.storage_error(error)),
            EvalError::Locked(conflict) => Attempt::Conflict(conflict),
            EvalError::ReadAt(ts) => Attempt::ReadAt(ts),
            EvalError::Intents(intents) => {
                for (key, lock) in &intents {
                    // By the time it was written, which is what stops readers here; see `read_limit`.
                    self.locks.add_discovered(key, &lock.txn, lock.written_at());
                    // It may have been resolved since it was read, and then nobody else takes it out of the table.
                    let now = self.deps.engine.lock(key.as_bytes());
                    if now.is_ok_and(|now| now.is_none_or(|now| now.txn.id != lock.txn.id)) {
                        self.locks.intent_removed(key, lock.txn.id);
                    }
                }
                let (key, lock) = intents.into_iter().next().expect("a conflict names at least one key");
                Attempt::Conflict(Conflict { key, holder: lock.txn, strength: LockStrength::Intent })
            }
        })
    }

    pub(crate) fn storage_error(&self, error: StorageError) -> KvError {
        if error.is_corruption() {
            self.deps.host.corrupted(self.range_id, &error);
        }
        if let StorageError::DiskFull { .. } = error {
            return KvError::DiskFull { reason: error.to_string() };
        }
        KvError::Internal { reason: format!("{}: {error}", self.range_id) }
    }

    /// *one-range*
    fn check_in_range(&self, request: &BatchRequest, descriptor: &RangeDescriptor) -> Result<(), KvError> {
        let anchor = request.header.txn.as_ref().map(|txn| &txn.meta.anchor);
        let one_phase = request.requests.iter().any(|it| matches!(it, Request::EndTxn { one_phase: true, .. }));
        for item in &request.requests {
            // A one-phase commit away from its anchor meets no record. Where the anchor was split off since it was sent, one
            // may have been left there that says it is aborted (`Evaluator::settle`).
            let is_as_sent = request.header.generation == descriptor.generation;
            if one_phase && is_as_sent && matches!(item, Request::EndTxn { .. }) {
                continue;
            }
            if !item.lies_in(descriptor, anchor) {
                let mut descriptors = vec![descriptor.clone()];
                descriptors.extend(self.deps.host.neighbour(&descriptor.end));
                return Err(KvError::RangeMismatch { range_id: self.range_id, descriptors });
            }
        }
        Ok(())
    }

    fn check_locks(&self, request: &BatchRequest, read_ts: Timestamp) -> Option<Conflict> {
        let meta = request.header.txn.as_ref().map(|txn| &txn.meta);
        let skips = request.header.wait == WaitPolicy::SkipLocked;
        for item in &request.requests {
            let conflict = match item {
                Request::Get { lock: Some(_), .. } | Request::Scan { lock: Some(_), .. } if skips => None,
                // Whether there is a row to wait for is found out when it is read.
                Request::Get { lock: Some(_), .. } if !request.header.lock_absent => None,
                Request::Get { key, lock } => {
                    self.locks.check(&LockRequest { key, txn: meta, strength: *lock, read_ts }).into_iter().next()
                }
                // Likewise.
                Request::GetMany { lock: Some(_), .. } | Request::LockMany { .. } => None,
                Request::GetMany { keys, lock: None } => {
                    let conflicts = self.locks.check_span(&hull(keys), meta, None, read_ts);
                    conflicts.into_iter().find(|conflict| keys.binary_search(&conflict.key).is_ok())
                }
                // A locking scan finds out key by key which rows it has to wait for.
                Request::Scan { span, .. } | Request::Changes { span, .. } => self.locks.check_span(span, meta, None, read_ts).into_iter().next(),
                Request::Put { key, .. } | Request::Delete { key, .. } | Request::Increment { key, .. } => {
                    let strength = Some(LockStrength::Intent);
                    self.locks.check(&LockRequest { key, txn: meta, strength, read_ts }).into_iter().next()
                }
                Request::WriteMany { writes } => self.locks.check_keys(writes.keys(), meta),
                _ => None,
            };
            if conflict.is_some() {
                return conflict;
            }
        }
        None
    }

    /// Whether what was read may have been removed, also meanwhile. Asked after the reading, as a threshold is set
    /// before anything goes.
    fn check_not_collected(&self, request: &BatchRequest, evaluated: &Evaluated) -> Result<(), KvError> {
        let marks = self.machine.marks();
        let threshold = marks.gc_threshold;
        let header = &request.header;
        let read_ts = header.txn.as_ref().map_or(header.ts, |txn| txn.read_ts);
        let changed = |since: Timestamp| KvError::Retry {
            reason: RetryReason::ReadChanged,
            to: evaluated.write_ts.max(since.next()),
        };
        for item in &request.requests {
            match item {
                Request::Get { .. } | Request::GetMany { .. } | Request::LockMany { .. } | Request::Scan { .. }
                    if read_ts < threshold =>
                {
                    return Err(KvError::SnapshotTooOld { threshold });
                }
                // What was superseded after `after` may be gone.
                Request::Changes { after, .. } if *after < threshold => {
                    return Err(KvError::SnapshotTooOld { threshold });
                }
                Request::Refresh { from, .. } if *from < threshold => return Err(changed(threshold)),
                Request::EndTxn { commit: true, reads, present, .. }
                    if !(reads.is_empty() && present.is_empty())
                        && evaluated.read_ts > read_ts
                        && read_ts < threshold =>
                {
                    return Err(changed(threshold));
                }
                _ => {}
            }
        }
        if marks.cleared.is_empty() || planted::is_on(Bug::ClearedRead) {
            return Ok(());
        }
        // *cleared-is-refused*
        let moved = evaluated.read_ts > read_ts;
        for item in &request.requests {
            let refused = |from: Timestamp, at: Timestamp| (from <= at).then_some(at);
            let (of_read, of_refresh) = match item {
                Request::Get { key, .. } => (refused(read_ts, marks.cleared.over_key(key.as_bytes())), None),
                Request::GetMany { keys, .. } => (refused(read_ts, marks.cleared.over(&hull(keys))), None),
                Request::LockMany { keys, .. } => (refused(read_ts, marks.cleared.over(&keys.hull())), None),
                Request::Scan { span, .. } => (refused(read_ts, marks.cleared.over(span)), None),
                Request::Changes { span, after } => (refused(*after, marks.cleared.over(span)), None),
                Request::Refresh { span, from, .. } => (None, refused(*from, marks.cleared.over(span))),
                Request::EndTxn { commit: true, reads, present, .. } if moved => {
                    let last = reads.iter().chain(present).map(|read| marks.cleared.over(read)).max();
                    let last = last.unwrap_or(Timestamp::MIN);
                    (None, refused(read_ts, last))
                }
                _ => (None, None),
            };
            if let Some(at) = of_read {
                return Err(KvError::SnapshotTooOld { threshold: at });
            }
            if let Some(at) = of_refresh {
                return Err(changed(at));
            }
        }
        Ok(())
    }

    /// *reads-remembered*
    fn remember_reads(&self, request: &BatchRequest, evaluated: &Evaluated) {
        if planted::is_on(Bug::ReadsForgotten) {
            return;
        }
        let queries = |item: &Request| matches!(item, Request::QueryIntent { .. });
        let txn = request.header.txn.as_ref().map(|txn| txn.meta.id);
        let txn = if request.requests.iter().any(queries) { None } else { txn };
        for (span, ts) in &evaluated.reads {
            self.cache.add_span(span, *ts, txn);
        }
    }

    /// What the lock table learns of a batch that has taken effect.
    fn note_ended(&self, ended: &Ended) {
        if let Some(own) = ended.own {
            self.locks.txn_finished(own);
            self.registry.forget(own);
        }
        for txn in &ended.resolved {
            self.locks.txn_finished(*txn);
        }
    }

    /// Under the latch of the counter.
    fn note_given(&self, evaluated: &Evaluated) {
        if let Some((key, given)) = &evaluated.given {
            self.counters.note(key.clone(), *given);
        }
    }

    fn respond(&self, request: &BatchRequest, descriptor: &RangeDescriptor, evaluated: Evaluated) -> BatchResponse {
        let txn = request.header.txn.as_ref().map(|txn| {
            let mut meta = txn.meta.clone();
            meta.write_ts = evaluated.write_ts;
            meta
        });
        let outdated = request.header.generation != descriptor.generation;
        BatchResponse {
            responses: evaluated.responses,
            txn,
            read_ts: evaluated.read_ts,
            node: self.deps.node_id,
            now: self.deps.clock.now(),
            descriptor: outdated.then(|| descriptor.clone()),
        }
    }
}

/// Why an attempt did not come to an answer.
enum Attempt {
    Error(KvError),
    Conflict(Conflict),
    ReadAt(Timestamp),
    /// Somebody else was a little faster, and is to be passed over.
    Again,
}

impl Attempt {
    fn blocked(header: &Header, conflict: Conflict) -> Self {
        if header.wait == WaitPolicy::SkipLocked { Self::Again } else { Self::Conflict(conflict) }
    }
}

impl From<KvError> for Attempt {
    fn from(error: KvError) -> Self {
        Self::Error(error)
    }
}
