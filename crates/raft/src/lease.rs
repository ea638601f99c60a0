//! When a leader may serve alone: promises asked for, the lease worked out of them, and how it is given up.
//!
//! ```text
//! lease of term T   this replica leads T, an entry of T is applied, T is not released,
//!                   and a quorum's support is not over
//! ```
//!
//! The lease last worked out lies in one immutable record behind a pointer: whoever serves reads it without a lock.
//! It is replaced or taken away under the lock of `Leadership` alone, so that what is taken away cannot come back.
//!
//! **Invariants**
//! - *one-configuration-behind*: the voters a lease is worked out of are those of the newest membership in the log or
//!   of the one before it, whose quorums meet. openraft's metrics come to `GroupInner::follow` when it is scheduled,
//!   which may be two changes late; so an applied membership is taken in before whoever proposed it is answered, and
//!   the next one is proposed only after that.

use std::{collections::{BTreeMap, BTreeSet}, sync::atomic::Ordering, time::Duration};

use hlc::Timestamp;
use keys::{ReplicaId, StoreId, Term};
use planted::Bug;
use serde::{Deserialize, Serialize};

use crate::{
    codec::Kind,
    elections::Yield,
    group::{ChangeError, Group, GroupInner},
    quorum::quorum_expiration,
    types::{RaftMembership, Types},
};

const PROMISE_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a successor may take to have all of the log, and then, while nobody serves, what was under way.
const CATCH_UP_PATIENCE: Duration = Duration::from_secs(1);

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

/// A lease as it was worked out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WorkedOut {
    term: u64,
    start: Timestamp,
    expiration: Timestamp,
}

/// What a leader knows of its leading.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leadership {
    /// The term led, 0 when following.
    pub term: u64,
    /// How often in this term the lease was given up and nobody took over: promises of earlier rounds do not count.
    pub round: u64,
    /// When its lease was first seen to hold.
    start: Option<Timestamp>,
    /// Who promised, under which epoch of this store.
    pub fortified: BTreeMap<u64, u64>,
    pub voters: Vec<Vec<(u64, StoreId)>>,
    /// Where in the log those voters stand.
    voters_at: u64,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Fortify {
    pub term: u64,
    pub store: StoreId,
    pub epoch: u64,
    pub round: u64,
}

fn voters_of(members: &RaftMembership) -> Vec<Vec<(u64, StoreId)>> {
    let stores =
        |set: &BTreeSet<u64>| set.iter().filter_map(|id| Some((*id, members.get_node(id)?.store))).collect();
    members.get_joint_config().iter().map(stores).collect()
}

fn index_of(members: &RaftMembership) -> u64 {
    members.log_id().as_ref().map_or(0, |position| position.index)
}

impl GroupInner {
    /// Whether this replica leads, to its own knowledge.
    pub fn leads(&self) -> bool {
        self.leading.load(Ordering::Acquire) != 0
    }

    /// Takes members in that were applied: *one-configuration-behind*.
    pub fn take_members(&self, members: &RaftMembership) {
        let mut leadership = self.leadership.lock();
        if leadership.term != 0 {
            self.set_voters(&mut leadership, voters_of(members), index_of(members));
        }
    }

    /// Later ones stay.
    fn set_voters(&self, leadership: &mut Leadership, voters: Vec<Vec<(u64, StoreId)>>, at: u64) {
        if at >= leadership.voters_at && leadership.voters != voters {
            leadership.voters = voters;
            self.worked_out.store(None);
        }
        leadership.voters_at = leadership.voters_at.max(at);
    }

    /// Takes a change of leader or members in; whether the lead began or ended.
    pub fn lead(&self, term: u64, members: &RaftMembership) -> bool {
        let mut leadership = self.leadership.lock();
        let changed = leadership.term != term;
        if changed {
            *leadership = Leadership { term, ..Leadership::default() };
            self.leading.store(term, Ordering::Release);
            if term != 0 {
                // The time as a follower does not count: a new leader has its lease only once others promised.
                *self.without_lease_since.lock() = None;
            }
        }
        if changed {
            self.worked_out.store(None);
        }
        if term != 0 {
            self.set_voters(&mut leadership, voters_of(members), index_of(members));
        }
        changed
    }

    /// The voters that have not given their promise yet.
    pub fn lacks_promises(&self) -> BTreeSet<u64> {
        let epoch = self.liveness.epoch();
        let leadership = self.leadership.lock();
        let others = leadership.voters.iter().flatten().map(|(id, _)| *id);
        others.filter(|id| *id != self.replica_id.get() && leadership.fortified.get(id) != Some(&epoch)).collect()
    }

    /// Asks every voter that has not yet for its promise; whether all have.
    pub async fn fortify(&self) -> bool {
        let missing = self.lacks_promises();
        let asks = missing.into_iter().map(|id| self.ask_promise(id));
        futures::future::join_all(asks).await.into_iter().all(|settled| settled)
    }

    /// Asks one voter for its promise. False when it has to be asked again.
    pub async fn ask_promise(&self, voter: u64) -> bool {
        let epoch = self.liveness.epoch();
        let (term, round) = {
            let leadership = self.leadership.lock();
            (leadership.term, leadership.round)
        };
        if term == 0 || self.released.load(Ordering::Acquire) == term {
            return true;
        }
        let request = Fortify { term, store: self.store, epoch, round };
        let granted = self.ask::<_, bool>(voter, Kind::Fortify, &request, PROMISE_TIMEOUT).await == Some(true);
        // Each counts as it comes: a voter that is away must not hold up the lease that the others make.
        let mut leadership = self.leadership.lock();
        let counts = leadership.term == term && leadership.round == round;
        if counts && granted {
            leadership.fortified.insert(voter, epoch);
            self.worked_out.store(None);
        }
        !counts || granted
    }

    /// As [`GroupInner::fortify`], again and again for a little while: right after an election a voter may not have
    /// heard from its new leader yet.
    pub async fn fortify_soon(&self) {
        for pause_ms in [4, 8, 16, 32, 64, 128] {
            if self.fortify().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        }
    }

    /// The lease as it is now. In the common case this reads a few words of memory and takes no lock.
    pub fn lease(&self) -> Lease {
        // Worked out anew when less than this is left, as support has been prolonged meanwhile.
        let renew_ns = self.liveness.support_ns() / 5 * 3;
        if let Some(lease) = self.worked_out.load().as_deref()
            && self.released.load(Ordering::Acquire) != lease.term
            && (lease.expiration == Timestamp::MAX
                || planted::is_on(Bug::LeaseOutlived)
                || self.clock.peek().wall_ns().saturating_add(renew_ns) < lease.expiration.wall_ns())
        {
            return Lease::Held { term: Term::new(lease.term), start: lease.start, expiration: lease.expiration };
        }
        self.work_out_lease()
    }

    pub fn not_held(&self) -> Lease {
        let leader = self.leader.load(Ordering::Acquire);
        Lease::NotHeld { leader: (leader != 0).then(|| ReplicaId::new(leader)) }
    }

    /// A lease that has not been worked out for a while, or whose time is nearly over.
    fn work_out_lease(&self) -> Lease {
        if !self.leads() {
            return self.not_held();
        }
        let now = self.clock.peek();
        let epoch = self.liveness.epoch();
        let mut leadership = self.leadership.lock();
        let term = leadership.term;
        if term == 0
            || self.released.load(Ordering::Acquire) == term
            || self.adapter.applied_term.load(Ordering::Acquire) != term
        {
            return self.not_held();
        }
        let configs: Vec<Vec<Option<Timestamp>>> = leadership
            .voters
            .iter()
            .map(|set| {
                set.iter()
                    .map(|(id, store)| {
                        // Its own: it refuses votes while it has a lease, see `may_vote_for`.
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
                // Above what any lease before served: that ended at its expiration, which the clock of some voter for this
                // term had passed, and its vote has brought that clock here.
                let start = *leadership.start.get_or_insert_with(|| self.clock.now());
                self.worked_out.store(Some(std::sync::Arc::new(WorkedOut { term, start, expiration })));
                Lease::Held { term: Term::new(term), start, expiration }
            }
            _ => self.not_held(),
        }
    }

    /// To be called every second or so: wakes those who wait for [`Group::lease_gone`].
    pub fn look_at_lease(&self) {
        let held = matches!(self.lease(), Lease::Held { .. });
        let mut since = self.without_lease_since.lock();
        if held {
            *since = None;
            return;
        }
        let since = since.get_or_insert_with(tokio::time::Instant::now);
        if since.elapsed() >= Duration::from_nanos(self.liveness.support_ns()) {
            self.lease_gone.notify_waiters();
        }
    }

    /// Gives the lease of `term` up: nothing is served under it from here on. False when it was given up before.
    pub fn release(&self, term: u64) -> bool {
        let _leadership = self.leadership.lock();
        self.worked_out.store(None);
        self.released.swap(term, Ordering::SeqCst) != term
    }

    /// Gives the lead up while this store's disk hangs: what is proposed here may never be on it. The others are freed of
    /// their promises, so that one of them takes over at once; nothing happens where they are no quorum without this
    /// replica. What is under way stays so until the disk goes on, and whoever waits for it is told.
    pub async fn step_aside(&self) {
        let (term, round) = {
            let leadership = self.leadership.lock();
            (leadership.term, leadership.round)
        };
        if term == 0 || !self.others_are_a_quorum() {
            return;
        }
        let Some(to) = self.live_other() else { return };
        if !self.release(term) {
            return;
        }
        self.stepped_aside.store(term, Ordering::Release);
        tracing::warn!(range = %self.range_id, "the disk hangs: the lease is given up");
        self.lease_gone.notify_waiters();
        self.tell_yield(Yield { term, round, to: ReplicaId::new(to) }).await;
    }

    /// Takes the lead up again where nobody else has, once the disk goes on.
    pub async fn step_back(&self) {
        let term = self.stepped_aside.swap(0, Ordering::AcqRel);
        if term != 0 && self.leading.load(Ordering::Acquire) == term {
            self.resume(term).await;
        }
    }

    fn is_live(&self, id: u64) -> bool {
        self.member(id).is_some_and(|member| self.liveness.is_live(member.store))
    }

    /// Another voter whose store is heard from.
    pub fn live_other(&self) -> Option<u64> {
        let other = |id: &u64| *id != self.replica_id.get() && self.is_live(*id);
        self.joint_config().into_iter().flatten().find(other)
    }

    fn others_are_a_quorum(&self) -> bool {
        let other = |id: &&u64| **id != self.replica_id.get() && self.is_live(**id);
        let config = self.joint_config();
        !config.is_empty() && config.iter().all(|set| set.iter().filter(other).count() > set.len() / 2)
    }

    /// After a lease was given up and nobody took over: counts on no promise from before, and asks for new ones.
    pub async fn resume(&self, term: u64) {
        {
            // While nobody is given this replica's vote, which is the first to know of a later term: its holder may
            // have a lease before this replica learns that it does not lead any more.
            let _judged = self.gate.lock().await;
            let vote = self.raft.with_raft_state(|state| *state.vote_ref()).await;
            if !vote.is_ok_and(|vote| vote.leader_id.term == term) {
                return;
            }
            let mut leadership = self.leadership.lock();
            if leadership.term != term {
                return;
            }
            leadership.round += 1;
            leadership.fortified.clear();
            self.worked_out.store(None);
            self.released.store(0, Ordering::Release);
        }
        self.fortify().await;
    }

    /// Whether a follower comes to have all that is in the log now; true as well once this replica does not lead.
    async fn has_caught_up(&self, term: u64, follower: u64) -> bool {
        let last = self.log.last();
        let there = |metrics: &openraft::RaftMetrics<Types>| {
            let position = metrics.replication.as_ref().and_then(|all| all.get(&follower));
            metrics.vote.leader_id.term != term || position.is_some_and(|position| *position >= last)
        };
        self.raft.wait(Some(CATCH_UP_PATIENCE)).metrics(there, "a successor catches up").await.is_ok()
    }

    /// *nothing-left-behind*: what was proposed before the lease was released ends, and the successor has it.
    async fn has_settled(&self, term: u64, successor: u64) -> bool {
        tokio::time::timeout(CATCH_UP_PATIENCE, self.proposals_ended()).await.is_ok()
            && self.has_caught_up(term, successor).await
    }

    /// Tells everybody that this leader's promises are void, and awaits the end of its term.
    async fn hand_over(&self, term: u64, round: u64, to: ReplicaId) -> bool {
        let request = Yield { term, round, to };
        for _ in 0..5 {
            self.tell_yield(request).await;
            for _ in 0..20 {
                if self.leading.load(Ordering::Acquire) != term {
                    return true;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        false
    }

    /// Frees every other voter of its promise, the successor last, when nobody else is held by one any more. Whether one
    /// of them knows a later leader.
    pub async fn tell_yield(&self, request: Yield) -> bool {
        let mut others: Vec<u64> = self.joint_config().into_iter().flatten().collect();
        others.retain(|id| *id != self.replica_id.get());
        others.sort_by_key(|id| (*id == request.to.get(), *id));
        others.dedup();
        let mut is_replaced = false;
        for id in others {
            let is_later: Option<bool> = self.ask(id, Kind::Yield, &request, Duration::from_millis(500)).await;
            is_replaced |= is_later == Some(true);
        }
        is_replaced
    }
}

impl Group {
    /// Whether this replica may serve now. In the common case this reads a few words of memory.
    #[must_use]
    pub fn lease(&self) -> Lease {
        self.inner.lease()
    }

    /// Completes when there has been no lease here for as long as a promise lasts. Where the others are a majority
    /// somebody else may serve by then, and what was proposed here takes effect when this replica is heard again, or
    /// never: whoever waits for that is better told.
    pub async fn lease_gone(&self) {
        loop {
            self.inner.lease_gone.notified().await;
            if let Lease::NotHeld { .. } = self.inner.lease() {
                return;
            }
        }
    }

    /// Hands the lead to another voter: gives up the lease first, awaits the end of what is under way, then frees
    /// everyone's promise.
    ///
    /// # Errors
    /// When this replica does not lead, the successor lags behind, or nobody else leads after some seconds.
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
        // Before anything stops: a follower that lags far behind would keep the range waiting.
        if !inner.has_caught_up(term, to.get()).await {
            return Err(failed("the successor lags behind"));
        }
        // *release-before-yield*
        if !inner.release(term) {
            return Err(failed("it is being handed over already"));
        }
        // Goes on when the caller does not wait any more, so that the lease is either gone or asked for anew.
        let handed = tokio::spawn(async move {
            let handed = inner.has_settled(term, to.get()).await && inner.hand_over(term, round, to).await;
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
}
