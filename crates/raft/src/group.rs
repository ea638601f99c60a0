//! One range's group on this store.
//!
//! ```text
//!   promise (Fortify)      follower ──"no vote against you while I support your store's epoch"──▶ leader
//!   lease                  leader of term T, an entry of T applied, a quorum of fortified support not yet over
//! ```
//!
//! **Invariants**
//! - *one-leaseholder*: while a lease of term T holds, a quorum refuses every vote for a later term. Votes and
//!   promises of one replica are judged one at a time, under `gate`. A promise that arrives late never replaces one
//!   the leader counts on: promises of a term are ordered by epoch and round. A promise outlives a restart of who
//!   made it: the durable vote names the leader, the durable support its epoch.
//! - *release-before-yield*: a leader that hands over serves nothing more under the promises it had. If nobody takes
//!   over, it asks for promises anew, in a later round that the hand-over's messages do not touch.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use hlc::{Clock, Timestamp};
use keys::{NodeId, RangeId, ReplicaId, StoreId, Term};
use openraft::{
    ChangeMembers, ServerState,
    errors::{ClientWriteError, ForwardReason, RaftError},
    impls::OneshotResponder,
    raft::VoteRequest,
};
use parking_lot::Mutex;
use rpc::{Lane, Transport, services};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::{
    codec::{Address, Kind, message},
    quorum::quorum_expiration,
    support::StoreLiveness,
    log_storage::GroupLogStorage,
    machine::{MachineAdapter, StateMachine},
    types::{Member, Payload, RaftLogId, RaftVote, Types},
};

/// A command above this is not proposed.
pub(crate) const MAX_PAYLOAD_BYTES: usize = 64 << 20;

/// Whether this replica may serve reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    Held {
        term: Term,
        /// When this lease began: reads that an earlier one served are below.
        start: Timestamp,
        expiration: Timestamp,
    },
    NotHeld { leader: Option<ReplicaId> },
}

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

/// The promise this replica made as a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fortified {
    term: u64,
    leader: u64,
    store: StoreId,
    epoch: u64,
    round: u64,
}

#[derive(Clone, Debug, Default)]
struct Leadership {
    /// The term led, 0 when following.
    term: u64,
    /// How often in this term a hand-over has failed: promises of earlier rounds do not count.
    round: u64,
    /// When its lease was first seen to hold.
    start: Option<Timestamp>,
    /// Who promised, under which epoch of this store.
    fortified: BTreeMap<u64, u64>,
    voters: Vec<Vec<(u64, StoreId)>>,
}

pub(crate) struct GroupInner {
    pub range_id: RangeId,
    pub replica_id: ReplicaId,
    pub raft: openraft::Raft<Types, MachineAdapter>,
    pub machine: Arc<dyn StateMachine>,
    adapter: MachineAdapter,
    log: GroupLogStorage,
    log_store: storage::log::LogStore,
    clock: Arc<Clock>,
    liveness: StoreLiveness,
    transport: Arc<dyn Transport>,
    store: StoreId,
    may_vote: bool,
    /// Votes and promises are judged one at a time.
    gate: tokio::sync::Mutex<()>,
    fortified: Mutex<Option<Fortified>>,
    leadership: Mutex<Leadership>,
    /// The term in which this leader has given up its lease.
    released: AtomicU64,
    /// The lease as last worked out, for the common case: term, expiration (wall), start is in `leadership`.
    cached_term: AtomicU64,
    cached_until_ns: AtomicU64,
    leader: AtomicU64,
    term: AtomicU64,
    closed: AtomicBool,
}

/// A handle on a group.
#[derive(Clone)]
pub struct Group {
    pub(crate) inner: Arc<GroupInner>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct PreVote {
    pub last: Option<RaftLogId>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Fortify {
    pub term: u64,
    pub store: StoreId,
    pub epoch: u64,
    pub round: u64,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Yield {
    pub term: u64,
    pub round: u64,
    /// Who should campaign at once.
    pub to: ReplicaId,
}

/// A change of members.
enum Change {
    Learner(u64, Member),
    Voters(std::collections::BTreeSet<u64>),
    Remove(u64),
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
        let machine = parts.adapter.machine.clone();
        let this = Arc::new(Self {
            range_id: parts.range_id,
            replica_id: parts.replica_id,
            raft: parts.raft,
            machine,
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
            leadership: Mutex::default(),
            released: AtomicU64::new(0),
            cached_term: AtomicU64::new(0),
            cached_until_ns: AtomicU64::new(0),
            leader: AtomicU64::new(0),
            term: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        });
        this
    }

    /// What was promised before a restart is not on disk by itself, but the vote is: if it names a leader, a promise
    /// to it must be assumed, under the epoch that was supported when this store started. Call before any vote.
    pub async fn recover_promise(&self, epochs: &FxHashMap<StoreId, u64>) {
        let Some(vote) = self.log.vote().filter(|vote| vote.committed) else { return };
        let leader = vote.leader_id.voted_for;
        if leader == self.replica_id.get() {
            return;
        }
        // Metrics are empty until the core has run; its state is not.
        let find = move |state: &openraft::RaftState<Types>| {
            let members = &state.membership_state;
            let member = members.effective().get_node(&leader).or_else(|| members.committed().get_node(&leader));
            member.map(|member| member.store)
        };
        let store = self.raft.with_raft_state(find).await.ok().flatten();
        let Some((store, epoch)) = store.and_then(|store| Some((store, *epochs.get(&store)?))) else { return };
        *self.fortified.lock() = Some(Fortified { term: vote.leader_id.term, leader, store, epoch, round: 0 });
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Follows openraft's view of who leads, until the group is closed.
    pub async fn follow(self: Arc<Self>) {
        use openraft::async_runtime::watch::WatchReceiver;
        let mut metrics = self.raft.server_metrics();
        loop {
            let (vote, state, leader, members) = {
                let now = metrics.borrow_watched();
                (now.vote, now.state, now.current_leader, now.membership_config.clone())
            };
            let mut voters = Vec::new();
            for config in members.get_joint_config() {
                let set: Vec<(u64, StoreId)> = config
                    .iter()
                    .filter_map(|id| members.get_node(id).map(|member| (*id, member.store)))
                    .collect();
                voters.push(set);
            }
            for (_, member) in members.nodes() {
                self.liveness.ensure_peer(member.store, member.node);
            }
            let term = vote.leader_id.term;
            let leads = state == ServerState::Leader;
            let changed = {
                let mut leadership = self.leadership.lock();
                let before = leadership.term;
                let now = if leads { term } else { 0 };
                if before != now {
                    *leadership = Leadership { term: now, ..Leadership::default() };
                    self.cached_term.store(0, Ordering::Release);
                }
                if leadership.voters != voters {
                    leadership.voters = voters;
                    self.cached_term.store(0, Ordering::Release);
                }
                before != now
            };
            let before = self.leader.swap(leader.unwrap_or(0), Ordering::AcqRel);
            self.term.store(term, Ordering::Release);
            if changed || before != leader.unwrap_or(0) {
                self.machine.on_leader_change(leader.map(ReplicaId::new), Term::new(term), leads);
            }
            if leads {
                // Not awaited: a voter that is away must not keep a change of leader or members from being seen.
                let this = self.clone();
                tokio::spawn(async move { this.fortify().await });
            }
            if metrics.changed().await.is_err() {
                return;
            }
        }
    }

    /// Asks every voter that has not yet for its promise; whether all have.
    pub async fn fortify(&self) -> bool {
        let epoch = self.liveness.epoch();
        let (term, round, missing) = {
            let leadership = self.leadership.lock();
            let mut missing: Vec<(u64, StoreId)> = leadership
                .voters
                .iter()
                .flatten()
                .filter(|(id, _)| *id != self.replica_id.get() && leadership.fortified.get(id) != Some(&epoch))
                .copied()
                .collect();
            missing.sort_unstable();
            missing.dedup();
            (leadership.term, leadership.round, missing)
        };
        if term == 0 || missing.is_empty() || self.released.load(Ordering::Acquire) == term {
            return true;
        }
        let asks = missing.into_iter().map(|(id, _)| async move {
            let request = Fortify { term, store: self.store, epoch, round };
            let granted = self.ask::<_, bool>(id, Kind::Fortify, &request, Duration::from_millis(500)).await;
            (id, granted == Some(true))
        });
        let answers = futures::future::join_all(asks).await;
        let mut leadership = self.leadership.lock();
        if leadership.term != term || leadership.round != round {
            return true;
        }
        let mut all = true;
        for (id, granted) in answers {
            if granted {
                leadership.fortified.insert(id, epoch);
            } else {
                all = false;
            }
        }
        self.cached_term.store(0, Ordering::Release);
        all
    }

    /// A lease that has not been worked out for a while, or whose time is nearly over.
    fn work_out_lease(&self) -> Lease {
        let not_held = || {
            let leader = self.leader.load(Ordering::Acquire);
            Lease::NotHeld { leader: (leader != 0).then(|| ReplicaId::new(leader)) }
        };
        let now = self.clock.now();
        let epoch = self.liveness.epoch();
        let mut leadership = self.leadership.lock();
        let term = leadership.term;
        if term == 0
            || self.released.load(Ordering::Acquire) == term
            || self.adapter.applied_term.load(Ordering::Acquire) != term
        {
            return not_held();
        }
        let configs: Vec<Vec<Option<Timestamp>>> = leadership
            .voters
            .iter()
            .map(|set| {
                set.iter()
                    .map(|(id, store)| {
                        if *id == self.replica_id.get() {
                            return Some(Timestamp::MAX);
                        }
                        let promised = leadership.fortified.get(id) == Some(&epoch);
                        if promised { self.liveness.support_from(*store) } else { None }
                    })
                    .collect()
            })
            .collect();
        match quorum_expiration(&configs) {
            Some(expiration) if now < expiration => {
                let start = *leadership.start.get_or_insert(now);
                self.cached_until_ns.store(expiration.wall_ns(), Ordering::Release);
                self.cached_term.store(term, Ordering::Release);
                Lease::Held { term: Term::new(term), start, expiration }
            }
            _ => not_held(),
        }
    }

    /// Whether no promise keeps this replica from voting for a candidate; one that has just run out is withdrawn.
    /// Call under `gate`.
    async fn may_vote_for(&self, candidate: u64, withdraw: bool) -> bool {
        let Some(promise) = *self.fortified.lock() else { return true };
        // The leader itself, in a later term: it leads one term at a time. The promise stands against all others.
        if candidate == promise.leader {
            return true;
        }
        if withdraw {
            if !self.liveness.withdraw(promise.store, promise.epoch).await {
                return false;
            }
            *self.fortified.lock() = None;
            return true;
        }
        !self.liveness.binds(promise.store, promise.epoch)
    }

    pub async fn on_vote(&self, mut request: VoteRequest<Types>) -> Option<openraft::raft::VoteResponse<Types>> {
        if !self.may_vote {
            return None;
        }
        let _judged = self.gate.lock().await;
        if !self.may_vote_for(request.vote.leader_id.voted_for, true).await {
            tracing::debug!(range = %self.range_id, vote = %request.vote, "vote refused: a promise stands");
            return None;
        }
        // openraft has a lease of its own on followers that nothing here relies on: this flag passes it.
        request.leadership_transfer = true;
        self.raft.vote(request).await.ok()
    }

    pub async fn on_pre_vote(&self, candidate: ReplicaId, request: PreVote) -> bool {
        if !self.may_vote {
            return false;
        }
        let _judged = self.gate.lock().await;
        if !self.may_vote_for(candidate.get(), false).await {
            return false;
        }
        request.last >= self.log.last()
    }

    #[cfg(test)]
    pub fn promised_epoch(&self) -> Option<u64> {
        self.fortified.lock().map(|promise| promise.epoch)
    }

    pub async fn on_fortify(&self, request: Fortify) -> bool {
        let _judged = self.gate.lock().await;
        let vote = self.raft.with_raft_state(|state| *state.vote_ref()).await;
        // Only for the leader this replica follows: a later vote must not have been given. And only once the vote is
        // on disk, from where the promise is recovered.
        let names = |vote: &RaftVote| vote.committed && vote.leader_id.term == request.term;
        let Some(vote) = vote.ok().filter(names) else { return false };
        if !self.log.vote().is_some_and(|durable| names(&durable)) {
            return false;
        }
        let mut fortified = self.fortified.lock();
        let newest = fortified.filter(|promise| promise.term == request.term);
        if newest.is_some_and(|promise| (promise.epoch, promise.round) > (request.epoch, request.round)) {
            return false;
        }
        *fortified = Some(Fortified {
            term: request.term,
            leader: vote.leader_id.voted_for,
            store: request.store,
            epoch: request.epoch,
            round: request.round,
        });
        true
    }

    /// Answers whether this replica is the one named.
    pub async fn on_yield(&self, request: Yield) -> bool {
        let _judged = self.gate.lock().await;
        let mut fortified = self.fortified.lock();
        if fortified.is_some_and(|promise| (promise.term, promise.round) <= (request.term, request.round)) {
            *fortified = None;
        }
        // A promise of a later round: the hand-over this belongs to is over.
        fortified.is_none() && request.to == self.replica_id
    }

    /// After a hand-over that nobody took: counts on no promise from before it, and asks for new ones.
    async fn resume(&self, term: u64) {
        {
            let mut leadership = self.leadership.lock();
            if leadership.term != term {
                return;
            }
            leadership.round += 1;
            leadership.fortified.clear();
            self.cached_term.store(0, Ordering::Release);
            self.released.store(0, Ordering::Release);
        }
        self.fortify().await;
    }

    /// Tells everybody that this leader's promises are void, and awaits the end of its term.
    async fn hand_over(&self, term: u64, round: u64, to: ReplicaId) -> bool {
        let request = Yield { term, round, to };
        for _ in 0..5 {
            let mut others: Vec<u64> = self.joint_config().into_iter().flatten().collect();
            others.retain(|id| *id != self.replica_id.get());
            // The successor last, when nobody else is held by a promise any more.
            others.sort_by_key(|id| (*id == to.get(), *id));
            others.dedup();
            for id in others {
                let _told: Option<bool> = self.ask(id, Kind::Yield, &request, Duration::from_millis(500)).await;
            }
            for _ in 0..20 {
                if self.leadership.lock().term != term {
                    return true;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        false
    }

    async fn ask<Q: Serialize, A: serde::de::DeserializeOwned>(
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

    fn member(&self, id: u64) -> Option<Member> {
        use openraft::async_runtime::watch::WatchReceiver;
        let metrics = self.raft.server_metrics();
        let now = metrics.borrow_watched();
        now.membership_config.get_node(&id).copied()
    }

    fn joint_config(&self) -> Vec<Vec<u64>> {
        use openraft::async_runtime::watch::WatchReceiver;
        let metrics = self.raft.server_metrics();
        let now = metrics.borrow_watched();
        now.membership_config.get_joint_config().iter().map(|set| set.iter().copied().collect()).collect()
    }

    /// Whether nobody is known to lead, or whoever did is not supported any more.
    pub fn wants_election(&self) -> bool {
        if !self.may_vote || self.is_closed() || self.leadership.lock().term != 0 {
            return false;
        }
        let config = self.joint_config();
        if !config.iter().any(|set| set.contains(&self.replica_id.get())) {
            return false;
        }
        let leader = self.leader.load(Ordering::Acquire);
        if leader == 0 {
            return true;
        }
        self.member(leader).is_none_or(|member| !self.liveness.is_live(member.store))
    }

    /// Runs a pre-vote among the voters and, if a quorum would vote for this replica, the election.
    pub async fn campaign(&self, pre_vote: bool) {
        if !self.may_vote || self.is_closed() {
            return;
        }
        let config = self.joint_config();
        let own = self.replica_id.get();
        if pre_vote {
            let last = self.log.last();
            let mut others: Vec<u64> = config.iter().flatten().copied().filter(|id| *id != own).collect();
            others.sort_unstable();
            others.dedup();
            let request = PreVote { last };
            let asks = others.iter().map(|id| {
                let request = &request;
                async move {
                    let timeout = Duration::from_millis(600);
                    (*id, self.ask::<_, bool>(*id, Kind::PreVote, request, timeout).await == Some(true))
                }
            });
            let granted: BTreeMap<u64, bool> = futures::future::join_all(asks).await.into_iter().collect();
            let would_win = config.iter().all(|set| {
                let yes = set.iter().filter(|id| **id == own || granted.get(id) == Some(&true)).count();
                yes > set.len() / 2
            });
            if !would_win {
                tracing::debug!(range = %self.range_id, "pre-vote lost");
                return;
            }
        }
        let _judged = self.gate.lock().await;
        if self.may_vote_for(own, true).await
            && let Err(error) = self.raft.trigger().elect(false).await
        {
            tracing::debug!(range = %self.range_id, %error, "election");
        }
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

    /// Whether this replica may serve now. In the common case this reads a few words of memory.
    #[must_use]
    pub fn lease(&self) -> Lease {
        /// Worked out anew when less than this is left, as support has been prolonged meanwhile.
        const RENEW_NS: u64 = 1_200_000_000;
        let inner = &*self.inner;
        let term = inner.cached_term.load(Ordering::Acquire);
        if term != 0 && inner.released.load(Ordering::Acquire) != term {
            let until = inner.cached_until_ns.load(Ordering::Acquire);
            if until == u64::MAX || inner.clock.physical_now_ns().saturating_add(RENEW_NS) < until {
                let start = {
                    let leadership = inner.leadership.lock();
                    if leadership.term == term { leadership.start } else { None }
                };
                if let Some(start) = start {
                    return Lease::Held { term: Term::new(term), start, expiration: Timestamp::new(until, 0) };
                }
            }
        }
        inner.work_out_lease()
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
        for attempt in 0..200 {
            if inner.is_closed() {
                return Err(ProposeError::Closed);
            }
            if inner.leadership.lock().term != term.get() {
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

    fn change_failed(error: impl std::fmt::Display) -> ChangeError {
        ChangeError { reason: error.to_string() }
    }

    /// Changes members, with patience for a leader that is just coming into its own.
    async fn change(&self, change: Change) -> Result<(), ChangeError> {
        let raft = &self.inner.raft;
        for _ in 0..500 {
            let outcome = match &change {
                Change::Learner(id, member) => raft.add_learner(*id, *member, true).await,
                Change::Voters(voters) => raft.change_membership(voters.clone(), false).await,
                Change::Remove(id) => {
                    let leaving = ChangeMembers::RemoveNodes(std::collections::BTreeSet::from([*id]));
                    raft.change_membership(leaving, false).await
                }
            };
            match outcome {
                Ok(_) => return Ok(()),
                Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward)))
                    if forward.reason == ForwardReason::LeaseExpired =>
                {
                    let _asked = raft.trigger().heartbeat().await;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(error) => return Err(Self::change_failed(error)),
            }
        }
        Err(ChangeError { reason: "no quorum answers".into() })
    }

    /// Adds a replica that receives the log and does not vote; returns when it has caught up.
    ///
    /// # Errors
    /// When this replica does not lead, or the log does not reach the new one.
    pub async fn add_learner(&self, id: ReplicaId, node: NodeId, store: StoreId) -> Result<(), ChangeError> {
        self.inner.liveness.ensure_peer(store, node);
        let member = Member { node, store };
        self.change(Change::Learner(id.get(), member)).await
    }

    /// Makes these the voters, through a joint membership; who is not among them is no member any more.
    ///
    /// # Errors
    /// When this replica does not lead or a quorum of either set is away.
    pub async fn change_voters(&self, voters: Vec<ReplicaId>) -> Result<(), ChangeError> {
        self.change(Change::Voters(voters.into_iter().map(ReplicaId::get).collect())).await
    }

    /// Takes a learner out.
    ///
    /// # Errors
    /// When this replica does not lead.
    pub async fn remove_replica(&self, id: ReplicaId) -> Result<(), ChangeError> {
        if self.inner.member(id.get()).is_none() {
            return Ok(());
        }
        self.change(Change::Remove(id.get())).await
    }

    /// Hands the lead to another voter: gives up the lease first, then frees everyone's promise.
    ///
    /// # Errors
    /// When this replica does not lead, or nobody else leads after some seconds.
    pub async fn transfer_leader(&self, to: ReplicaId) -> Result<(), ChangeError> {
        let inner = self.inner.clone();
        let failed = |reason: &str| ChangeError { reason: reason.into() };
        let (term, round) = {
            let leadership = inner.leadership.lock();
            (leadership.term, leadership.round)
        };
        if term == 0 {
            return Err(failed("not the leader"));
        }
        let successor = inner.member(to.get()).ok_or_else(|| failed("the successor is no member"))?;
        if !inner.liveness.is_live(successor.store) {
            return Err(failed("the successor is away"));
        }
        // *release-before-yield*
        if inner.released.swap(term, Ordering::AcqRel) == term {
            return Err(failed("it is being handed over already"));
        }
        inner.cached_term.store(0, Ordering::Release);
        // Goes on when the caller does not wait any more, so that the lease is either gone or asked for anew.
        let handed = tokio::spawn(async move {
            let handed = inner.hand_over(term, round, to).await;
            if !handed {
                inner.resume(term).await;
            }
            handed
        });
        match handed.await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(failed("nobody took over")),
        }
    }

    /// Starts an election at once, without asking first: for a group that just began here.
    pub async fn campaign(&self) {
        self.inner.campaign(false).await;
    }

    #[must_use]
    pub fn status(&self) -> GroupStatus {
        use openraft::async_runtime::watch::WatchReceiver;
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

    /// Drops the log up to an index, and not beyond what the state machine holds durably.
    pub async fn truncate_log(&self, up_to: u64) {
        let inner = &*self.inner;
        let up_to = up_to.min(inner.machine.durable_index());
        if inner.log_store.bounds(inner.range_id).is_none_or(|(first, _)| up_to < first) {
            return;
        }
        // openraft purges up to what it knows a snapshot of: any applied position is one here.
        if inner.raft.trigger().snapshot().await.is_err() {
            return;
        }
        let covered = |metrics: &openraft::RaftMetrics<Types>| {
            metrics.snapshot.as_ref().is_some_and(|position| position.index >= up_to)
        };
        let wait = inner.raft.wait(Some(Duration::from_secs(10)));
        if let Err(error) = wait.metrics(covered, "a snapshot to purge below").await {
            tracing::debug!(range = %inner.range_id, %error, "purge");
            return;
        }
        if let Err(error) = inner.raft.trigger().purge_log(up_to).await {
            tracing::debug!(range = %inner.range_id, %error, "purge");
        }
    }

    pub(crate) async fn close(&self) {
        self.inner.closed.store(true, Ordering::Release);
        self.inner.cached_term.store(0, Ordering::Release);
        self.inner.leadership.lock().term = 0;
        if let Err(error) = self.inner.raft.shutdown().await {
            tracing::debug!(range = %self.inner.range_id, %error, "shutdown");
        }
    }
}
