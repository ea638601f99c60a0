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
//! - *latches-until-known*: the latches of a batch that writes are held until the log says what became of it, even
//!   when whoever sent it is gone: the proposal runs in a task of its own, and what the lock table has to learn of
//!   its outcome is part of it.
//! - *one-leaseholder*: nothing is evaluated without a lease that has time left, and nothing takes effect under
//!   another term than the one it was evaluated in.
//! - *reads-remembered*: a read is in the timestamp cache before its latches are released.

use std::{
    borrow::Cow,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use concurrency::{
    Acquired, Conflict, LatchGuard, LatchManager, LatchSpan, LatchSpans, LockRequest, LockTable, TimestampCache,
    WaitOutcome, Waiter,
};
use futures::StreamExt;
use hlc::{Clock, Timestamp};
use keys::{
    Key, LockStrength, NodeId, RangeDescriptor, RangeId, ReplicaId, Span, StoreId, Term, TxnId, TxnMeta, TxnStatus,
    keyspace,
};
use parking_lot::Mutex;
use raft::{Group, Lease, ProposeError};
use rustc_hash::FxHashSet;
use smallvec::SmallVec;
use storage::{Engine, StorageError};
use tokio::time::Instant;

use crate::{
    Outbound, ReplicaHost,
    api::{BatchRequest, BatchResponse, Header, KvError, RangeStats, Request, Response, RetryReason, WaitPolicy},
    command::{Command, Effect},
    evaluate::{Ended, EvalError, Evaluated, Evaluator},
    machine::Machine,
    state,
    txn_record::{TxnRecord, TxnRegistry, WAIT_MEMORY},
};

/// A command above this is refused: it would hold up everything behind it.
const MAX_COMMAND_BYTES: usize = 64 << 20;

/// What a replica is given by the store it lives in.
#[derive(Clone)]
pub struct ReplicaDeps {
    pub engine: Engine,
    pub clock: Arc<Clock>,
    pub node_id: NodeId,
    pub store_id: StoreId,
    pub outbound: Arc<dyn Outbound>,
    pub host: Arc<dyn ReplicaHost>,
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
    registry: TxnRegistry,
    /// The term of the lease that the structures above belong to; 0 before the first.
    lease_term: AtomicU64,
    new_lease: Mutex<()>,
    pub(crate) admin: tokio::sync::Mutex<()>,
    /// Finished transactions whose intents are being removed for a coordinator that is gone.
    resolving: Arc<Mutex<FxHashSet<TxnId>>>,
    pub(crate) metrics: ReplicaMetrics,
}

#[derive(Debug, Default)]
pub struct ReplicaMetrics {
    pub batches: AtomicU64,
    pub proposals: AtomicU64,
    pub lock_waits: AtomicU64,
    pub pushes: AtomicU64,
}

/// A lease with time left.
#[derive(Clone, Copy)]
pub(crate) struct HeldLease {
    pub term: Term,
    pub start: Timestamp,
    pub expiration: Timestamp,
}

impl Replica {
    pub fn new(deps: ReplicaDeps, replica_id: ReplicaId, machine: Arc<Machine>, group: Group) -> Self {
        let range_id = machine.range_id();
        Self {
            deps,
            range_id,
            replica_id,
            machine,
            group,
            latches: LatchManager::new(),
            locks: LockTable::new(),
            cache: TimestampCache::default(),
            registry: TxnRegistry::default(),
            lease_term: AtomicU64::new(0),
            new_lease: Mutex::new(()),
            admin: tokio::sync::Mutex::new(()),
            resolving: Arc::default(),
            metrics: ReplicaMetrics::default(),
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

    #[must_use]
    pub fn lock_table(&self) -> &LockTable {
        &self.locks
    }

    #[must_use]
    pub fn latches(&self) -> &LatchManager {
        &self.latches
    }

    /// Whether this replica may serve now.
    #[must_use]
    pub fn is_leaseholder(&self) -> bool {
        matches!(self.group.lease(), Lease::Held { expiration, .. } if self.deps.clock.now() < expiration)
    }

    pub(crate) fn lease(&self) -> Result<HeldLease, KvError> {
        match self.group.lease() {
            Lease::Held { term, start, expiration } if self.deps.clock.now() < expiration => {
                // The range this one was split from served its keys before the first lease here.
                let start = start.max(self.machine.low_water());
                if self.lease_term.load(Ordering::Acquire) < term.get() {
                    self.begin_lease(term, start);
                }
                Ok(HeldLease { term, start, expiration })
            }
            Lease::Held { .. } => Err(self.not_leaseholder(None)),
            Lease::NotHeld { leader } => Err(self.not_leaseholder(leader)),
        }
    }

    /// A lease begins: what the last leaseholder served is not known here, so everything up to its end counts as
    /// read, and every lock as unknown.
    fn begin_lease(&self, term: Term, start: Timestamp) {
        let _guard = self.new_lease.lock();
        if self.lease_term.load(Ordering::Acquire) >= term.get() {
            return;
        }
        self.cache.bump_low_water(start);
        self.locks.clear();
        self.registry.restart(self.deps.clock.now().wall_ns());
        self.lease_term.store(term.get(), Ordering::Release);
        tracing::info!(range = %self.range_id, %term, "lease begins");
    }

    fn not_leaseholder(&self, leader: Option<ReplicaId>) -> KvError {
        let hint = match (leader, self.descriptor()) {
            (Some(leader), Some(descriptor)) if leader != self.replica_id => descriptor.replica(leader).copied(),
            _ => None,
        };
        KvError::NotLeaseholder { range_id: self.range_id, hint }
    }

    /// Executes a batch.
    ///
    /// # Errors
    /// See [`KvError`]; *error-means-nothing*.
    pub async fn send(self: &Arc<Self>, request: &BatchRequest) -> Result<BatchResponse, KvError> {
        self.metrics.batches.fetch_add(1, Ordering::Relaxed);
        if let [only] = &request.requests[..]
            && let Some(response) = self.admin_request(only).await
        {
            return response;
        }
        let mut request = Cow::Borrowed(request);
        // One time for its latches and its evaluation: what is written in between must not be missed by both.
        if request.header.txn.is_none() && request.header.ts.is_min() {
            request.to_mut().header.ts = self.deps.clock.now();
        }
        let mut waiting: Option<Waiting> = None;
        loop {
            let attempt = self.attempt(&request).await;
            let conflict = match attempt {
                Ok(response) => return Ok(response),
                Err(Attempt::Error(error)) => return Err(error),
                Err(Attempt::Conflict(conflict)) => conflict,
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

    async fn attempt(self: &Arc<Self>, request: &BatchRequest) -> Result<BatchResponse, Attempt> {
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
            Err(spans) => self.latches.acquire(spans).await,
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
        // What is read must lie under this lease, or the next leaseholder would not know of it.
        if evaluated.read_ts >= lease.expiration || evaluated.reads.iter().any(|(_, ts)| *ts >= lease.expiration) {
            return Err(self.not_leaseholder(None).into());
        }
        for (key, strength) in &evaluated.acquire {
            let txn = request.header.txn.as_ref().map(|txn| &txn.meta);
            let Some(txn) = txn else { continue };
            if let Acquired::Blocked(conflict) = self.locks.acquire(key, txn, *strength) {
                return Err(Attempt::Conflict(conflict));
            }
        }
        if evaluated.batch.is_empty() {
            self.remember_reads(request, &evaluated);
            self.note_ended(&evaluated.ended);
            drop(latch);
            return Ok(self.respond(request, &descriptor, evaluated));
        }
        self.propose_and_wait(request, descriptor, lease, latch, evaluated).await
    }

    /// Up to where a version may have been written before the reader began. What this node served since is judged by
    /// the reader's own look at its clock.
    fn uncertainty_limit(&self, header: &Header, lease: HeldLease) -> Timestamp {
        let Some(txn) = &header.txn else { return Timestamp::MIN };
        match txn.observed {
            Some((node, at)) if node == self.deps.node_id => txn.uncertainty_limit.min(at.max(lease.start)),
            _ => txn.uncertainty_limit,
        }
    }

    /// Up to where others' intents stop the plain reads of a batch: here and in the lock table alike, or a reader
    /// would be told to go by the one and to wait by the other.
    fn read_limit(&self, header: &Header, lease: HeldLease) -> Timestamp {
        match &header.txn {
            Some(txn) => txn.read_ts.max(self.uncertainty_limit(header, lease)),
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
        let uncertainty_limit = self.uncertainty_limit(&request.header, lease);
        // What goes below the threshold goes after it was raised, but may go while this looks: then it looks again.
        let gc_threshold = self.machine.gc_threshold();
        let evaluator = Evaluator {
            engine: &self.deps.engine,
            cache: &self.cache,
            locks: &self.locks,
            registry: &self.registry,
            descriptor,
            gc_threshold,
            now: self.deps.clock.now(),
            uncertainty_limit,
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
                    Acquired::Blocked(conflict) => Attempt::Conflict(conflict),
                }
            }
            EvalError::Storage(error) => Attempt::Error(self.storage_error(error)),
            EvalError::Locked(conflict) => Attempt::Conflict(conflict),
            EvalError::ReadAt(ts) => Attempt::ReadAt(ts),
            EvalError::Intents(intents) => {
                for (key, lock) in &intents {
                    self.locks.add_discovered(key, &lock.txn, lock.ts);
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
        let span = descriptor.span();
        let one_phase = request.requests.iter().any(|it| matches!(it, Request::EndTxn { one_phase: true, .. }));
        for item in &request.requests {
            if one_phase && matches!(item, Request::EndTxn { .. }) {
                continue;
            }
            let Some(touched) = item.span(anchor) else { continue };
            if !span.contains_span(&touched) {
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
                Request::Get { key, lock } => {
                    self.locks.check(&LockRequest { key, txn: meta, strength: *lock, read_ts }).into_iter().next()
                }
                // A locking scan finds out key by key which rows it has to wait for.
                Request::Scan { span, .. } => self.locks.check_span(span, meta, None, read_ts).into_iter().next(),
                Request::Put { key, .. } | Request::Delete { key } | Request::Increment { key, .. } => {
                    let strength = Some(LockStrength::Intent);
                    self.locks.check(&LockRequest { key, txn: meta, strength, read_ts }).into_iter().next()
                }
                Request::DeleteRange { span } => {
                    self.locks.check_span(span, meta, Some(LockStrength::Intent), read_ts).into_iter().next()
                }
                _ => None,
            };
            if conflict.is_some() {
                return conflict;
            }
        }
        None
    }

    /// Whether what was read may have been removed meanwhile. Asked after the reading, as a threshold is set before
    /// anything goes.
    fn check_not_collected(&self, request: &BatchRequest, evaluated: &Evaluated) -> Result<(), KvError> {
        let threshold = self.machine.gc_threshold();
        let header = &request.header;
        let read_ts = header.txn.as_ref().map_or(header.ts, |txn| txn.read_ts);
        let changed = KvError::Retry { reason: RetryReason::ReadChanged, to: evaluated.write_ts.max(threshold.next()) };
        for item in &request.requests {
            match item {
                Request::Get { .. } | Request::Scan { .. } if read_ts < threshold => {
                    return Err(KvError::SnapshotTooOld { threshold });
                }
                Request::Refresh { from, .. } if *from < threshold => return Err(changed),
                Request::EndTxn { commit: true, reads, .. }
                    if !reads.is_empty() && evaluated.read_ts > read_ts && read_ts < threshold =>
                {
                    return Err(changed);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// *reads-remembered*
    fn remember_reads(&self, request: &BatchRequest, evaluated: &Evaluated) {
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

    async fn propose_and_wait(
        self: &Arc<Self>,
        request: &BatchRequest,
        descriptor: Arc<RangeDescriptor>,
        lease: HeldLease,
        latch: LatchGuard,
        mut evaluated: Evaluated,
    ) -> Result<BatchResponse, Attempt> {
        let bytes = evaluated.batch.byte_size();
        if bytes > MAX_COMMAND_BYTES {
            return Err(Attempt::Error(KvError::TooLarge { bytes, max: MAX_COMMAND_BYTES }));
        }
        self.remember_reads(request, &evaluated);
        let payload = Command::encode(lease.term, evaluated.effect.as_ref(), evaluated.batch.data());
        self.metrics.proposals.fetch_add(1, Ordering::Relaxed);

        // *latches-until-known*: a caller that goes away must not take the latches with it, nor leave holders in the
        // lock table whose end has been applied.
        let (replica, ended) = (self.clone(), std::mem::take(&mut evaluated.ended));
        let future = Box::pin(async move {
            replica.propose(payload, lease.term).await?;
            replica.note_ended(&ended);
            Ok(())
        });
        let (outcome, latch) = Proposal { future: Some(future), latch: Some(latch), started: false }.await;
        outcome?;
        drop(latch);
        Ok(self.respond(request, &descriptor, evaluated))
    }

    /// Has a command agreed on and applied here.
    pub(crate) async fn propose(&self, payload: Bytes, term: Term) -> Result<(), KvError> {
        match self.group.propose(payload, term).await {
            Ok(outcome) if outcome.first() == Some(&crate::machine::APPLIED) => Ok(()),
            // In the log, but under another lease: it did nothing, here as everywhere.
            Ok(_) => Err(self.not_leaseholder(None)),
            Err(ProposeError::NotLeader { leader }) => Err(self.not_leaseholder(leader)),
            Err(ProposeError::Ambiguous { reason }) => Err(KvError::Ambiguous { reason }),
            Err(ProposeError::Closed) => Err(KvError::RangeNotFound { range_id: self.range_id }),
            Err(ProposeError::TooLarge { bytes, max }) => Err(KvError::TooLarge { bytes, max }),
        }
    }

    pub(crate) async fn propose_effect(&self, term: Term, effect: &Effect, batch: &[u8]) -> Result<(), KvError> {
        self.propose(Command::encode(term, Some(effect), batch), term).await
    }

    /// Waits until `conflict` may be out of the way; the place in the queue is kept by what is returned.
    async fn wait_for(
        self: &Arc<Self>,
        request: &BatchRequest,
        conflict: Conflict,
        previous: Option<Waiting>,
    ) -> Result<Waiting, KvError> {
        let header = &request.header;
        if header.wait == WaitPolicy::Error {
            return Err(KvError::LockNotAvailable { key: conflict.key, holder: conflict.holder.id });
        }
        self.metrics.lock_waits.fetch_add(1, Ordering::Relaxed);
        let mut waiting = self.queue_up(header, wanted_strength(request, &conflict.key), &conflict, previous)?;
        // An intent may be left over from a transaction that is long over: ask at once.
        let is_intent = conflict.strength == LockStrength::Intent;
        let mut push_at = Instant::now() + if is_intent { Duration::ZERO } else { FIRST_PUSH_AFTER };
        let mut waited_long = false;
        let mut circles = Circles::default();
        loop {
            let now = Instant::now();
            if waiting.deadline.is_some_and(|deadline| deadline <= now) {
                let holder = waiting.waiter.holder().map_or(conflict.holder.id, |holder| holder.id);
                return Err(KvError::LockTimeout { key: conflict.key, holder });
            }
            if push_at <= now {
                // Whoever leads now has a queue of its own.
                self.lease()?;
                let in_the_way =
                    if waited_long { waiting.waiter.blockers() } else { waiting.waiter.holder().into_iter().collect() };
                for holder in in_the_way {
                    let push = self.push_holder(request, &conflict.key, holder, &mut circles);
                    waiting.ask(push).await.unwrap_or(Ok(()))?;
                }
                push_at = Instant::now() + PUSH_EVERY;
            }
            let until = waiting.deadline.map_or(push_at, |deadline| deadline.min(push_at));
            match tokio::time::timeout_at(until, waiting.waiter.next()).await {
                Ok(WaitOutcome::Turn) => {
                    // A turn may come because this very transaction was ended to break a circle.
                    if waited_long {
                        waiting.ask(self.check_not_aborted(header)).await.unwrap_or(Ok(()))?;
                    }
                    return Ok(waiting);
                }
                // Whoever it is by then is asked when the next push is due: a holder that changes again and again must
                // not put that off.
                Ok(WaitOutcome::HolderChanged { .. }) => {}
                Err(_) => waited_long = true,
            }
        }
    }

    /// Takes a place in the queue of the key that a batch has to wait for, or keeps the one it has there.
    fn queue_up(
        &self,
        header: &Header,
        strength: Option<LockStrength>,
        conflict: &Conflict,
        previous: Option<Waiting>,
    ) -> Result<Waiting, KvError> {
        let (mut deadline, mut place) = (header.lock_timeout.map(|limit| Instant::now() + limit), None);
        if let Some(previous) = previous {
            // A turn that came to nothing does not begin the wait for the key anew.
            if *previous.waiter.key() == conflict.key {
                deadline = previous.deadline;
            }
            place = Some(previous.waiter);
        }
        let waiter = match place {
            // One that is told to go and still meets a conflict has lost its place, or wanted less.
            Some(waiter) if *waiter.key() == conflict.key && waiter.holder().is_some() => waiter,
            other => {
                let txn = header.txn.as_ref().map(|txn| &txn.meta);
                let read_ts = self.read_limit(header, self.lease()?);
                let waiter = self.locks.enqueue(&LockRequest { key: &conflict.key, txn, strength, read_ts });
                drop(other);
                waiter
            }
        };
        Ok(Waiting { waiter, deadline })
    }

    /// Whether the waiting transaction itself still stands.
    async fn check_not_aborted(&self, header: &Header) -> Result<(), KvError> {
        let Some(txn) = header.txn.as_ref().map(|txn| &txn.meta).filter(|meta| meta.anchor != Key::MIN) else {
            return Ok(());
        };
        let own = self.deps.outbound.push_txn(txn.clone(), None, Vec::new(), crate::api::PushKind::Query).await;
        match own {
            Ok(own) if own.status == keys::TxnStatus::Aborted => {
                Err(KvError::Aborted { txn_id: txn.id, reason: crate::api::AbortReason::Deadlock })
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Asks what has become of a transaction in the way, and cleans up after it if it is over.
    async fn push_holder(
        &self,
        request: &BatchRequest,
        key: &Key,
        holder: TxnMeta,
        circles: &mut Circles,
    ) -> Result<(), KvError> {
        use crate::api::PushKind;
        self.metrics.pushes.fetch_add(1, Ordering::Relaxed);
        // A holder without an anchor holds a lock and has written nothing: it cannot be looked up yet.
        if holder.anchor == Key::MIN {
            return Ok(());
        }
        let pusher = request.header.txn.as_ref().map(|txn| txn.meta.clone());
        let mut dependents = Vec::new();
        let mut kind = PushKind::Query;
        if let Some(pusher) = pusher.as_ref().filter(|pusher| pusher.anchor != Key::MIN) {
            let own = self.deps.outbound.push_txn(pusher.clone(), None, Vec::new(), PushKind::Query).await;
            match own {
                Ok(own) if own.status == keys::TxnStatus::Aborted => {
                    let reason = crate::api::AbortReason::Deadlock;
                    return Err(KvError::Aborted { txn_id: pusher.id, reason });
                }
                Ok(own) => dependents = own.dependents,
                Err(error) => tracing::debug!(%error, "own dependents"),
            }
            if circles.stands(holder.id, dependents.contains(&holder.id)) {
                // The two of us next to each other in it decide who goes: the lower priority, then the
                // later id, so that both sides decide alike.
                let mine = (pusher.priority, std::cmp::Reverse(pusher.id));
                let theirs = (holder.priority, std::cmp::Reverse(holder.id));
                if mine <= theirs {
                    return Err(KvError::Deadlock { txn_id: pusher.id, members: vec![holder.id] });
                }
                kind = PushKind::Abort;
            }
        }
        // What goes wrong with the other transaction is no failure of who waits for it: its ranges may be away for
        // now, and the next push finds them.
        let pushed = match self.deps.outbound.push_txn(holder.clone(), pusher, dependents, kind).await {
            Ok(pushed) => self.clean_up(request, key, holder.clone(), pushed).await,
            Err(error) => Err(error),
        };
        if let Err(error) = pushed {
            tracing::debug!(%error, holder = %holder.id, "push");
        }
        Ok(())
    }

    /// The end of a transaction that was pushed, if it has one; a staged one whose coordinator is gone is brought to
    /// one.
    async fn end_of(
        &self,
        txn: &TxnMeta,
        pushed: &crate::api::PushedTxn,
    ) -> Result<Option<(TxnStatus, Timestamp)>, KvError> {
        match pushed.status {
            TxnStatus::Committed | TxnStatus::Aborted => return Ok(Some((pushed.status, pushed.commit_ts))),
            TxnStatus::Pending => return Ok(None),
            TxnStatus::Staging if !pushed.expired => return Ok(None),
            TxnStatus::Staging => {}
        }
        let outbound = &self.deps.outbound;
        let staged = TxnMeta { write_ts: pushed.commit_ts, ..txn.clone() };
        let queries = pushed.in_flight.iter().map(|key| {
            outbound.query_intent(key.clone(), staged.clone(), pushed.commit_ts)
        });
        // Several at a time: there may be a thousand, and whoever waits gives a push up when it takes too long.
        let mut answers = futures::stream::iter(queries.collect::<Vec<_>>()).buffer_unordered(QUERIES_AT_ONCE);
        let mut all_there = true;
        while let (true, Some(found)) = (all_there, answers.next().await) {
            all_there = found?;
        }
        drop(answers);
        let (status, ts) = outbound.recover_txn(staged, all_there).await?;
        Ok(status.is_final().then_some((status, ts)))
    }

    async fn clean_up(
        &self,
        request: &BatchRequest,
        key: &Key,
        holder: TxnMeta,
        pushed: crate::api::PushedTxn,
    ) -> Result<(), KvError> {
        // The intent met may be of an earlier attempt than the one that the record speaks of.
        let holder = TxnMeta { epoch: pushed.epoch, ..holder };
        let Some((status, commit_ts)) = self.end_of(&holder, &pushed).await? else { return Ok(()) };
        // What somebody waits for at once; the rest only if the coordinator is gone, and then once.
        let outbound = &self.deps.outbound;
        outbound.resolve(vec![wanted_span(request, key)], holder.clone(), status, commit_ts).await?;
        self.locks.txn_finished(holder.id);
        let rest = pushed.locks;
        if pushed.expired && !rest.is_empty() && self.resolving.lock().insert(holder.id) {
            let (outbound, resolving) = (outbound.clone(), self.resolving.clone());
            tokio::spawn(async move {
                let id = holder.id;
                if let Err(error) = outbound.resolve(rest, holder, status, commit_ts).await {
                    tracing::debug!(%error, "resolve after recovery");
                }
                resolving.lock().remove(&id);
            });
        }
        Ok(())
    }

    /// Ends what dead coordinators left behind: staged transactions are recovered, intents of finished ones resolved,
    /// and their records removed. Records of aborted ones stay until they are garbage, for they keep a coordinator
    /// that was only slow from committing. Answers how many are left of the others.
    ///
    /// # Errors
    /// When this replica does not lead, or other ranges cannot be reached: what is left is left for the next round.
    pub async fn tidy_records(self: &Arc<Self>) -> Result<usize, KvError> {
        self.lease()?;
        let Some(descriptor) = self.descriptor() else { return Ok(0) };
        let span = keyspace::range_local_span(&descriptor.span());
        let found = self.deps.engine.scan_local(&span).map_err(|error| self.storage_error(error))?;
        let mut left = 0;
        for (key, bytes) in found {
            let Some((anchor, id)) = crate::txn_record::parse_key(&key) else { continue };
            let record: TxnRecord = crate::api::decode(&bytes).map_err(|error| {
                self.storage_error(StorageError::corruption(format!("transaction record {key}: {error}")))
            })?;
            if record.status == TxnStatus::Aborted {
                continue;
            }
            left += 1;
            let now_ns = self.deps.clock.now().wall_ns();
            if !self.registry.is_expired(id, record.at, now_ns) {
                continue;
            }
            let txn = TxnMeta {
                id,
                anchor: anchor.clone(),
                epoch: record.epoch,
                write_ts: record.ts,
                min_ts: record.at,
                priority: 0,
            };
            let pushed = crate::api::PushedTxn {
                status: record.status,
                epoch: record.epoch,
                commit_ts: record.ts,
                in_flight: record.in_flight,
                locks: record.locks,
                expired: true,
                dependents: Vec::new(),
            };
            let Some((status, commit_ts)) = self.end_of(&txn, &pushed).await? else { continue };
            self.deps.outbound.resolve(pushed.locks, txn, status, commit_ts).await?;
            if status == TxnStatus::Committed {
                let header = Header { range_id: self.range_id, ..Header::default() };
                let requests = vec![Request::ForgetTxn { anchor, txn_id: id }];
                self.send(&BatchRequest { header, requests }).await?;
            }
            left -= 1;
        }
        Ok(left)
    }

    pub(crate) fn stats(&self) -> RangeStats {
        let status = self.group.status();
        let bytes = self
            .descriptor()
            .and_then(|descriptor| self.deps.engine.approximate_bytes(&descriptor.span()).ok())
            .unwrap_or(0);
        RangeStats {
            approximate_bytes: bytes,
            queries_per_second: 0,
            log_first: status.first_index,
            log_last: status.last_index,
            applied: status.applied_index,
        }
    }

}

const FIRST_PUSH_AFTER: Duration = Duration::from_millis(20);
const PUSH_EVERY: Duration = Duration::from_millis(100);
/// A push that takes longer is given up and begun anew: what it waits for may be over, and others may be in the way.
/// Longer than one call to a node that does not answer (ten seconds), for the sender learns from its failure alone
/// where else to ask.
const PUSH_BOUND: Duration = Duration::from_secs(12);
/// How many staged writes of one transaction are asked for at once when it is recovered.
const QUERIES_AT_ONCE: usize = 16;

/// What a batch keeps of its wait for a key: whoever has had a turn was in no circle, so those are looked for anew, but
/// the key's lock is still the same one that it has been waiting for.
struct Waiting {
    waiter: Waiter,
    /// When `lock_timeout` is over: it is counted for each key by itself.
    deadline: Option<Instant>,
}

impl Waiting {
    /// The outcome of a question to others; none if it takes longer than there is time for.
    async fn ask<T>(&self, question: impl Future<Output = T>) -> Option<T> {
        let bound = Instant::now() + PUSH_BOUND;
        let until = self.deadline.map_or(bound, |deadline| deadline.min(bound));
        tokio::time::timeout_at(until, question).await.ok()
    }
}

/// The holders that were seen to wait for whom they hold up, and since when without a break.
///
/// A report that somebody waits is believed for a while after the wait is over: a transaction that had its turn, moved
/// its snapshot up and queues anew stands behind those who, by what is remembered, still wait for it. So a circle
/// counts only when every edge of it was reported again since it was first seen.
#[derive(Default)]
struct Circles(SmallVec<[(TxnId, Instant); 2]>);

impl Circles {
    /// Takes in whether a circle with `holder` is seen now; whether it stands.
    fn stands(&mut self, holder: TxnId, is_seen: bool) -> bool {
        let now = Instant::now();
        let known = self.0.iter().position(|(id, _)| *id == holder);
        match (known, is_seen) {
            (Some(at), true) => now.duration_since(self.0[at].1) > WAIT_MEMORY,
            (None, true) => {
                self.0.push((holder, now));
                false
            }
            (Some(at), false) => {
                self.0.swap_remove(at);
                false
            }
            (None, false) => false,
        }
    }
}

/// Why an attempt did not come to an answer.
enum Attempt {
    Error(KvError),
    Conflict(Conflict),
    ReadAt(Timestamp),
}

impl From<KvError> for Attempt {
    fn from(error: KvError) -> Self {
        Self::Error(error)
    }
}

/// A proposal under way, with the latches that must outlive whoever awaits it: dropped half way, it goes on in a
/// task of its own until its fate is known.
struct Proposal {
    future: Option<Pin<Box<dyn Future<Output = Result<(), KvError>> + Send>>>,
    latch: Option<LatchGuard>,
    started: bool,
}

impl Future for Proposal {
    type Output = (Result<(), KvError>, Option<LatchGuard>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.started = true;
        let future = self.future.as_mut().expect("not polled after it was ready");
        match future.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(outcome) => {
                self.future = None;
                Poll::Ready((outcome, self.latch.take()))
            }
        }
    }
}

impl Drop for Proposal {
    fn drop(&mut self) {
        if let (true, Some(future)) = (self.started, self.future.take()) {
            let latch = self.latch.take();
            tokio::spawn(async move {
                let _known = future.await;
                drop(latch);
            });
        }
    }
}

/// What the request has yet to read from `key` on: a scan meets all the intents of a finished transaction there.
fn wanted_span(request: &BatchRequest, key: &Key) -> Span {
    let scanned = request.requests.iter().find_map(|item| match item {
        Request::Scan { span, .. } | Request::DeleteRange { span } if span.contains(key.as_bytes()) => Some(span),
        _ => None,
    });
    scanned.cloned().unwrap_or_else(|| Span::point(key.clone()))
}

fn wanted_strength(request: &BatchRequest, key: &Key) -> Option<LockStrength> {
    for item in &request.requests {
        match item {
            Request::Get { key: wanted, lock } if wanted == key => return *lock,
            Request::Scan { span, lock, .. } if span.contains(key.as_bytes()) => return *lock,
            Request::Put { key: wanted, .. }
            | Request::Delete { key: wanted }
            | Request::Increment { key: wanted, .. }
                if wanted == key =>
            {
                return Some(LockStrength::Intent);
            }
            Request::DeleteRange { span } if span.contains(key.as_bytes()) => return Some(LockStrength::Intent),
            _ => {}
        }
    }
    None
}

/// Runs a change of the range even when whoever asked for it is gone: latches of the whole range and the one place for
/// such changes must be held until the log says what became of each of its commands.
async fn to_its_end(
    change: impl Future<Output = Result<Response, KvError>> + Send + 'static,
) -> Result<Response, KvError> {
    let ended = tokio::spawn(change).await;
    ended.unwrap_or_else(|error| Err(KvError::Internal { reason: format!("a change of the range failed: {error}") }))
}

/// The latches of a batch.
fn latch_spans(request: &BatchRequest, now: Timestamp) -> LatchSpans {
    let header = &request.header;
    let txn = header.txn.as_ref();
    let at = if header.ts.is_min() { now } else { header.ts };
    let read_ts = txn.map_or(at, |txn| txn.read_ts);
    let write_ts = txn.map_or(at, |txn| txn.meta.write_ts.max(txn.read_ts));
    let mut spans = LatchSpans::new();
    let record = |anchor: &Key, txn_id| Span::point(keyspace::txn_record(anchor, txn_id));
    for item in &request.requests {
        match item {
            Request::Get { key, lock: None } => spans.push(LatchSpan::read(Span::point(key.clone()), read_ts)),
            Request::Scan { span, lock: None, .. } => spans.push(LatchSpan::read(span.clone(), read_ts)),
            Request::Get { key, lock: Some(_) } => spans.push(LatchSpan::read_unversioned(Span::point(key.clone()))),
            Request::Scan { span, lock: Some(_), .. } => spans.push(LatchSpan::read_unversioned(span.clone())),
            Request::Put { key, .. } | Request::Delete { key } => {
                spans.push(LatchSpan::write(Span::point(key.clone()), write_ts));
            }
            Request::Increment { key, .. } => spans.push(LatchSpan::write_unversioned(Span::point(key.clone()))),
            Request::DeleteRange { span } | Request::ClearRange { span } => {
                spans.push(LatchSpan::write_unversioned(span.clone()));
            }
            Request::UpdateMeta { descriptor } => {
                spans.push(LatchSpan::write_unversioned(Span::point(keyspace::meta(&descriptor.end))));
            }
            Request::EndTxn { reads, .. } => {
                if let Some(txn) = txn {
                    spans.push(LatchSpan::write_unversioned(record(&txn.meta.anchor, txn.meta.id)));
                }
                // A commit may have to move its reads up: nothing may be under way beneath them.
                spans.extend(reads.iter().map(|read| LatchSpan::read_unversioned(read.clone())));
            }
            Request::Refresh { span, .. } => spans.push(LatchSpan::read(span.clone(), read_ts)),
            Request::HeartbeatTxn { anchor, txn_id, .. } => {
                spans.push(LatchSpan::read_unversioned(record(anchor, *txn_id)));
            }
            Request::ForgetTxn { anchor, txn_id } => {
                spans.push(LatchSpan::write_unversioned(record(anchor, *txn_id)));
            }
            Request::PushTxn { pushee, .. } => {
                spans.push(LatchSpan::write_unversioned(record(&pushee.anchor, pushee.id)));
            }
            Request::RecoverTxn { txn, .. } => {
                spans.push(LatchSpan::write_unversioned(record(&txn.anchor, txn.id)));
            }
            Request::QueryIntent { key, at, .. } => spans.push(LatchSpan::read(Span::point(key.clone()), *at)),
            Request::ResolveSpan { span, commit_ts, status, .. } => {
                let ts = if *status == keys::TxnStatus::Committed { *commit_ts } else { Timestamp::MAX };
                spans.push(LatchSpan::write(span.clone(), ts));
            }
            Request::Gc { .. } => spans.push(LatchSpan::write_unversioned(Span::point(state::gc_key(header.range_id)))),
            Request::Split { .. }
            | Request::ChangeReplicas { .. }
            | Request::TransferLease { .. }
            | Request::Stats
            | Request::Checksum { .. } => {}
        }
    }
    spans
}

impl Replica {
    /// Holds every latch of the range: nothing is evaluated or under way.
    ///
    /// Records of transactions and the range's own are latched apart from the keys they go with.
    pub(crate) async fn quiesce(&self) -> LatchGuard {
        let span = self.descriptor().map_or_else(Span::all, |descriptor| descriptor.span());
        let local = keyspace::range_local_span(&span);
        let own = Span::point(state::gc_key(self.range_id));
        self.latches.acquire([span, local, own].map(LatchSpan::write_unversioned).to_vec()).await
    }

    async fn admin_request(self: &Arc<Self>, item: &Request) -> Option<Result<BatchResponse, KvError>> {
        let response = match item {
            Request::Split { at } => {
                let (replica, at) = (self.clone(), at.clone());
                to_its_end(async move { replica.split(&at).await }).await
            }
            Request::ChangeReplicas { add, remove } => {
                let (replica, add, remove) = (self.clone(), add.clone(), remove.clone());
                to_its_end(async move { replica.change_replicas(&add, &remove).await }).await
            }
            Request::TransferLease { to } => self.transfer_lease(*to).await,
            Request::Stats => self.lease().map(|_| Response::Stats(self.stats())),
            Request::Checksum { at } => self.checksum(*at),
            _ => return None,
        };
        Some(response.map(|response| BatchResponse {
            responses: vec![response],
            txn: None,
            read_ts: Timestamp::MIN,
            node: self.deps.node_id,
            now: self.deps.clock.now(),
            descriptor: self.descriptor().map(|descriptor| (*descriptor).clone()),
        }))
    }
}
