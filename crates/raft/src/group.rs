//! One range's group on this store: proposals, its view of who leads, and its end.
//!
//! ```text
//!   promise (Fortify)      follower ──"no vote against you while I support your store's epoch"──▶ leader
//!   lease                  leader of term T, an entry of T applied, a quorum of fortified support not yet over
//! ```
//!
//! `lease` has the leader's half of this, `elections` the followers', `members` the changes of membership.
//!
//! **Invariants**
//! - *one-leaseholder*: while a lease of term T holds, a quorum refuses every vote for a later term. Votes and
//!   promises of one replica are judged one at a time, under `gate`. A promise that arrives late never replaces one
//!   the leader counts on: promises of a term are ordered by epoch and round. A promise outlives a restart of who
//!   made it: the durable vote names the leader, the durable support its epoch.
//! - *release-before-yield*: a leader that hands over serves nothing more under the promises it had. If nobody takes
//!   over, it asks for promises anew, in a later round that the hand-over's messages do not touch.
//! - *nothing-left-behind*: a leader that hands over takes no more proposals, and yields only when those under way have
//!   ended and its successor has all of the log. Otherwise the successor would overwrite what it lacks, and those who
//!   proposed it would never learn its outcome.
//! - *failure-fences*: a group whose core has ended, for whatever reason, has no lease, takes no proposal, says so to
//!   its state machine, and frees the followers of a leader so that another may lead. They are told until one of them
//!   knows a later leader: a follower that restarts takes its promise to stand. A promise that was asked for before it
//!   was given up is not given afterwards.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use hlc::Clock;
use keys::{RangeId, ReplicaId, StoreId, Term};
use openraft::{
    ServerState,
    async_runtime::watch::WatchReceiver,
    errors::{ClientWriteError, ForwardReason},
    impls::OneshotResponder,
};
use parking_lot::Mutex;
use rpc::{Lane, Transport, services};
use serde::Serialize;

use crate::{
    codec::{Address, Kind, message},
    elections::{Fortified, Yield},
    lease::{Leadership, WorkedOut},
    log_storage::GroupLogStorage,
    machine::{MachineAdapter, StateMachine},
    support::StoreLiveness,
    types::{Member, Payload, RaftMembership, Types},
};

/// A command above this is not proposed.
pub(crate) const MAX_PAYLOAD_BYTES: usize = 64 << 20;
/// How long after the followers of a leader that failed were told so they are told again.
const TOLD_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Twice as long each time, up to this.
const TOLD_AGAIN_AT_MOST_AFTER: Duration = Duration::from_secs(8);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Certainly not in the log.
    #[error("not the leader")]
    NotLeader { leader: Option<ReplicaId> },
    /// It may be in the log, now or later.
    #[error("the proposal's fate is unknown: {reason}")]
    Ambiguous { reason: String },
    #[error("the group is closed")]
    Closed,
    #[error("{bytes} bytes, {max} allowed")]
    TooLarge { bytes: usize, max: usize },
}

/// Why members could not be changed, or the lead not handed over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ChangeError {
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStatus {
    pub range_id: RangeId,
    pub replica_id: ReplicaId,
    pub term: Term,
    pub leader: Option<ReplicaId>,
    pub voters: Vec<ReplicaId>,
    pub learners: Vec<ReplicaId>,
    pub first_index: u64,
    pub last_index: u64,
    pub applied_index: u64,
}

pub(crate) struct GroupInner {
    pub range_id: RangeId,
    pub replica_id: ReplicaId,
    pub raft: openraft::Raft<Types, MachineAdapter>,
    pub machine: Arc<dyn StateMachine>,
    pub adapter: MachineAdapter,
    pub log: GroupLogStorage,
    log_store: storage::log::LogStore,
    pub clock: Arc<Clock>,
    pub liveness: StoreLiveness,
    transport: Arc<dyn Transport>,
    pub store: StoreId,
    pub may_vote: bool,
    /// Votes and promises are judged one at a time.
    pub gate: tokio::sync::Mutex<()>,
    pub fortified: Mutex<Option<Fortified>>,
    /// The last term and round of promises that its leader gave up. Changed under `gate`.
    pub given_up: Mutex<(u64, u64)>,
    /// Changes of members follow one another.
    pub changing: tokio::sync::Mutex<()>,
    /// Proposals whose fate is not known yet: *nothing-left-behind*.
    under_way: AtomicUsize,
    none_under_way: tokio::sync::Notify,
    /// Since when there was no lease here, as far as anybody looked and not before it last began to lead. Locked under
    /// `leadership`, never the other way round.
    pub without_lease_since: Mutex<Option<tokio::time::Instant>>,
    pub lease_gone: tokio::sync::Notify,
    /// Elections begun in a row without anybody leading.
    pub lost_elections: AtomicU32,
    /// Where the state machine stands though the log has more, and since when.
    pub stands: Mutex<Option<(u64, tokio::time::Instant)>>,
    /// Since when this replica knows of no leader, or no promise binds it to one that its store still hears from.
    pub free_since: Mutex<Option<tokio::time::Instant>>,
    pub leadership: Mutex<Leadership>,
    /// The term of `leadership`, for those who only want to know.
    pub leading: AtomicU64,
    /// The term in which this leader has given up its lease.
    pub released: AtomicU64,
    /// The term in which this leader has given up its lease because its disk hung.
    pub stepped_aside: AtomicU64,
    /// The lease as last worked out. Written under the lock of `leadership`.
    pub worked_out: ArcSwapOption<WorkedOut>,
    pub leader: AtomicU64,
    pub term: AtomicU64,
    closed: AtomicBool,
    /// Its store has done with it: what is left of it tells nobody anything.
    stopped: AtomicBool,
}

/// A proposal whose fate is not known yet.
struct UnderWay<'g>(&'g GroupInner);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        // Nobody waits while the lease is not released: to tell them takes a lock.
        if self.0.under_way.fetch_sub(1, Ordering::SeqCst) == 1 && self.0.released.load(Ordering::SeqCst) != 0 {
            self.0.none_under_way.notify_waiters();
        }
    }
}

/// A handle on a group.
#[derive(Clone)]
pub struct Group {
    pub(crate) inner: Arc<GroupInner>,
}

pub(crate) struct GroupParts {
    pub range_id: RangeId,
    pub replica_id: ReplicaId,
    pub raft: openraft::Raft<Types, MachineAdapter>,
    pub adapter: MachineAdapter,
    pub log: GroupLogStorage,
    pub log_store: storage::log::LogStore,
    pub clock: Arc<Clock>,
    pub liveness: StoreLiveness,
    pub transport: Arc<dyn Transport>,
    pub store: StoreId,
    pub may_vote: bool,
}

impl GroupInner {
    pub fn new(parts: GroupParts) -> Arc<Self> {
        let now = tokio::time::Instant::now();
        let applied = parts.adapter.applied_index.load(Ordering::Acquire);
        Arc::new(Self {
            range_id: parts.range_id,
            replica_id: parts.replica_id,
            raft: parts.raft,
            machine: parts.adapter.machine.clone(),
            adapter: parts.adapter,
            log: parts.log,
            log_store: parts.log_store,
            clock: parts.clock,
            liveness: parts.liveness,
            transport: parts.transport,
            store: parts.store,
            may_vote: parts.may_vote,
            gate: tokio::sync::Mutex::default(),
            fortified: Mutex::default(),
            given_up: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
            under_way: AtomicUsize::new(0),
            none_under_way: tokio::sync::Notify::new(),
            without_lease_since: Mutex::default(),
            lease_gone: tokio::sync::Notify::new(),
            lost_elections: AtomicU32::new(0),
            stands: Mutex::new(Some((applied, now))),
            free_since: Mutex::new(Some(now)),
            leadership: Mutex::default(),
            released: AtomicU64::new(0),
            stepped_aside: AtomicU64::new(0),
            leading: AtomicU64::new(0),
            worked_out: ArcSwapOption::empty(),
            leader: AtomicU64::new(0),
            term: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        })
    }

    /// Whether it still waits for its first snapshot: it knows no members, and has promised nobody anything.
    pub fn waits(&self) -> bool {
        self.machine.applied().position.is_none()
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Follows openraft's view of who leads, until the group is closed.
    pub async fn follow(self: Arc<Self>) {
        let mut metrics = self.raft.server_metrics();
        loop {
            let (vote, state, leader, members) = {
                let now = metrics.borrow_watched();
                (now.vote, now.state, now.current_leader, now.membership_config.clone())
            };
            for (_, member) in members.nodes() {
                self.liveness.ensure_peer(member.store, member.node);
            }
            let term = vote.leader_id.term;
            let leads = state == ServerState::Leader && !self.is_closed();
            let changed = self.lead(if leads { term } else { 0 }, &members);
            let leader = leader.unwrap_or(0);
            let before = self.leader.swap(leader, Ordering::AcqRel);
            if self.term.swap(term, Ordering::AcqRel) != term || before != leader {
                *self.free_since.lock() = (leader == 0).then(tokio::time::Instant::now);
            }
            if changed || before != leader {
                self.machine.on_leader_change((leader != 0).then(|| ReplicaId::new(leader)), Term::new(term), leads);
            }
            if leader != 0 {
                self.lost_elections.store(0, Ordering::Relaxed);
            } else if before != 0 {
                // Nobody leads any more: whoever holds elections should not find out by chance.
                self.liveness.notify();
            }
            if leads {
                // Not awaited: a voter that is away must not keep a change of leader or members from being seen.
                let this = self.clone();
                tokio::spawn(async move { this.fortify_soon().await });
            }
            if metrics.changed().await.is_err() {
                break;
            }
        }
        if !self.is_closed() {
            self.fence().await;
        }
    }

    /// *failure-fences*
    async fn fence(&self) {
        let reason = match &self.raft.metrics().borrow_watched().running_state {
            Ok(()) => "its core panicked".to_owned(),
            Err(fatal) => fatal.to_string(),
        };
        tracing::error!(range = %self.range_id, replica = %self.replica_id, reason, "the group has failed: it is fenced");
        let left = self.abdicate();
        self.machine.on_fenced(&reason);
        let Some(term) = left else { return };
        let has_others = self.joint_config().into_iter().flatten().any(|id| id != self.replica_id.get());
        let mut pause = TOLD_AGAIN_AFTER;
        while has_others && !self.stopped.load(Ordering::Acquire) {
            if let Some(to) = self.live_other()
                && self.tell_yield(Yield::of_all(term, ReplicaId::new(to))).await
            {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(TOLD_AGAIN_AT_MOST_AFTER);
        }
    }

    /// Closes the group to proposals, leases and elections; the term in which it led, if it did.
    fn abdicate(&self) -> Option<u64> {
        self.closed.store(true, Ordering::Release);
        let term = self.leadership.lock().term;
        self.leader.store(0, Ordering::Release);
        self.lead(0, &RaftMembership::default());
        if term == 0 {
            return None;
        }
        self.release(term);
        Some(term)
    }

    /// Counted before it looks whether the lease is released, as who releases it counts afterwards: one of the two sees
    /// the other.
    fn proposing(&self) -> UnderWay<'_> {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        UnderWay(self)
    }

    /// Completes when no proposal is under way, once the lease is released.
    pub async fn proposals_ended(&self) {
        loop {
            let ended = self.none_under_way.notified();
            if self.under_way.load(Ordering::SeqCst) == 0 {
                return;
            }
            ended.await;
        }
    }

    /// Followers that were away are sent to again at once.
    pub async fn reset_backoff(&self) {
        let others = self.joint_config().into_iter().flatten().filter(|id| *id != self.replica_id.get());
        if let Err(error) = self.raft.trigger().reset_backoff(others.collect::<Vec<_>>()).await {
            tracing::debug!(range = %self.range_id, %error, "the group has stopped");
        }
    }

    pub async fn ask<Q: Serialize, A: serde::de::DeserializeOwned>(
        &self,
        to: u64,
        kind: Kind,
        request: &Q,
        timeout: Duration,
    ) -> Option<A> {
        let node = self.member(to)?.node;
        let address = Address { range: self.range_id, to: ReplicaId::new(to), from: self.replica_id };
        let payload = message(kind, address, request);
        let answer = self.transport.call(node, Lane::Control, services::RAFT, payload, timeout).await.ok()?;
        postcard::from_bytes(&answer).ok()
    }

    pub fn member(&self, id: u64) -> Option<Member> {
        let metrics = self.raft.server_metrics();
        let now = metrics.borrow_watched();
        now.membership_config.get_node(&id).copied()
    }

    pub fn joint_config(&self) -> Vec<Vec<u64>> {
        let metrics = self.raft.server_metrics();
        let now = metrics.borrow_watched();
        now.membership_config.get_joint_config().iter().map(|set| set.iter().copied().collect()).collect()
    }

    pub fn is_voter(&self) -> bool {
        let metrics = self.raft.server_metrics();
        let now = metrics.borrow_watched();
        now.membership_config.membership().voter_ids().any(|id| id == self.replica_id.get())
    }
}

impl Group {
    #[must_use]
    pub fn range_id(&self) -> RangeId {
        self.inner.range_id
    }

    #[must_use]
    pub fn replica_id(&self) -> ReplicaId {
        self.inner.replica_id
    }

    /// Has a command agreed on and applied here, in this term or not at all.
    ///
    /// # Errors
    /// [`ProposeError::Ambiguous`] when it may still take effect; in all others it never will.
    pub async fn propose(&self, payload: Bytes, term: Term) -> Result<Bytes, ProposeError> {
        let inner = &*self.inner;
        if payload.len() > MAX_PAYLOAD_BYTES {
            return Err(ProposeError::TooLarge { bytes: payload.len(), max: MAX_PAYLOAD_BYTES });
        }
        let not_leader = || {
            let leader = inner.leader.load(Ordering::Acquire);
            ProposeError::NotLeader { leader: (leader != 0).then(|| ReplicaId::new(leader)) }
        };
        let _under_way = inner.proposing();
        for attempt in 0..200 {
            if inner.is_closed() {
                return Err(ProposeError::Closed);
            }
            // *nothing-left-behind*
            let released = inner.released.load(Ordering::SeqCst) == term.get();
            if released || inner.leading.load(Ordering::Acquire) != term.get() {
                return Err(not_leader());
            }
            let (responder, outcome) = OneshotResponder::<Types, _>::new_pair();
            if inner.raft.client_write_ff(Payload(payload.clone()), Some(responder)).await.is_err() {
                return Err(ProposeError::Closed);
            }
            match outcome.await {
                Ok(Ok(response)) => return Ok(response.data.0),
                Ok(Err(ClientWriteError::ForwardToLeader(forward))) => match forward.reason {
                    // A leader that has not heard from a quorum yet: it asks, and the command goes again.
                    ForwardReason::LeaseExpired if attempt < 199 => {
                        let _asked = inner.raft.trigger().heartbeat().await;
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    }
                    _ => return Err(not_leader()),
                },
                Ok(Err(error)) => return Err(ProposeError::Ambiguous { reason: error.to_string() }),
                Err(_) => return Err(ProposeError::Ambiguous { reason: "the group stopped".into() }),
            }
        }
        Err(not_leader())
    }

    /// The last entry that its state machine has applied.
    #[must_use]
    pub fn applied_index(&self) -> u64 {
        self.inner.adapter.applied_index.load(Ordering::Acquire)
    }

    #[must_use]
    pub fn status(&self) -> GroupStatus {
        let inner = &*self.inner;
        let metrics = inner.raft.server_metrics();
        let now = metrics.borrow_watched();
        let (first_index, last_index) = inner.log_store.bounds(inner.range_id).unwrap_or((0, 0));
        GroupStatus {
            range_id: inner.range_id,
            replica_id: inner.replica_id,
            term: Term::new(now.vote.leader_id.term),
            leader: now.current_leader.map(ReplicaId::new),
            voters: now.membership_config.membership().voter_ids().map(ReplicaId::new).collect(),
            learners: now.membership_config.membership().learner_ids().map(ReplicaId::new).collect(),
            first_index,
            last_index,
            applied_index: inner.adapter.applied_index.load(Ordering::Acquire),
        }
    }

    /// What its state machine would still have after a power cut without the log.
    #[must_use]
    pub fn durable_index(&self) -> u64 {
        self.inner.machine.durable_index()
    }

    /// What all followers have that are heard from; none if there are none, or this replica does not lead.
    #[must_use]
    pub fn live_followers_have(&self) -> Option<u64> {
        let metrics = self.inner.raft.metrics();
        let now = metrics.borrow_watched();
        let live = |id: &u64| {
            let member = now.membership_config.get_node(id);
            *id != self.inner.replica_id.get()
                && member.is_some_and(|it| self.inner.liveness.is_live(it.store))
        };
        let followers = now.replication.iter().flatten().filter(|(id, _)| live(id));
        followers.map(|(_, has)| has.as_ref().map_or(0, |position| position.index)).min()
    }

    /// Drops the log up to an index, and not beyond what the state machine holds durably. False when its group did not
    /// do so in time.
    pub async fn truncate_log(&self, up_to: u64) -> bool {
        let inner = &*self.inner;
        let up_to = up_to.min(inner.machine.durable_index());
        if inner.log_store.bounds(inner.range_id).is_none_or(|(first, _)| up_to < first) {
            return true;
        }
        // openraft purges up to what it knows a snapshot of: any applied position is one here.
        if inner.raft.trigger().snapshot().await.is_err() {
            return false;
        }
        let covered = |metrics: &openraft::RaftMetrics<Types>| {
            metrics.snapshot.as_ref().is_some_and(|position| position.index >= up_to)
        };
        let wait = inner.raft.wait(Some(Duration::from_secs(10)));
        if let Err(error) = wait.metrics(covered, "a snapshot to purge below").await {
            tracing::debug!(range = %inner.range_id, %error, "purge");
            return false;
        }
        let purged = inner.raft.trigger().purge_log(up_to).await;
        if let Err(error) = &purged {
            tracing::debug!(range = %inner.range_id, %error, "purge");
        }
        purged.is_ok()
    }

    pub(crate) async fn close(&self) {
        self.inner.stopped.store(true, Ordering::Release);
        if let Some(term) = self.inner.abdicate()
            && let Some(to) = self.inner.live_other()
        {
            // Nobody has to wait for a promise to a leader that is gone.
            let inner = self.inner.clone();
            tokio::spawn(async move { inner.tell_yield(Yield::of_all(term, ReplicaId::new(to))).await });
        }
        if let Err(error) = self.inner.raft.shutdown().await {
            tracing::debug!(range = %self.inner.range_id, %error, "shutdown");
        }
    }
}
