//! Who leads: promises given, votes judged by them, and elections begun.
//!
//! openraft counts votes and keeps logs safe; whether a vote is given at all, and when an election begins, is decided
//! here. A follower wants an election exactly when no promise binds it to whoever it thinks leads: nobody leads, the
//! leader's store was not heard from for the length of a promise, the leader gave its lease up, or the leader's store
//! came back without leading any more. So no failure of a leader, however partial, leaves a range waiting for it.
//!
//! **Invariant (idle-tail-applied):** what is committed in a replica's log is applied there soon, though its leader
//! proposes nothing more. After a restart a follower knows of entries and not that they are committed, and an idle leader
//! has nothing to send: the follower asks. One of those entries may be a split whose right half is nowhere else here.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use keys::{ReplicaId, StoreId};
use openraft::raft::{VoteRequest, VoteResponse};
use planted::Bug;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::{
    codec::Kind,
    group::{Group, GroupInner},
    lease::{Fortify, Lease},
    types::{RaftLogId, RaftVote, Types},
};

/// How long a follower that is free of its promise leaves it to others to be heard or to campaign first.
const GRACE: Duration = Duration::from_secs(1);
/// How long a replica that knows of no leader leaves it to the candidate that most likely has its vote.
const CANDIDATE_GRACE: Duration = Duration::from_millis(150);
/// A message to a follower has arrived after this, most likely.
const HEARD_AFTER: Duration = Duration::from_millis(20);
/// A state machine that stands so long has not heard that what follows is committed.
const STANDS_FOR: Duration = Duration::from_millis(250);
const PRE_VOTE_TIMEOUT: Duration = Duration::from_millis(600);

/// The promise this replica made as a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fortified {
    pub term: u64,
    pub leader: u64,
    pub store: StoreId,
    pub epoch: u64,
    pub round: u64,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct PreVote {
    pub last: Option<RaftLogId>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Yield {
    pub term: u64,
    pub round: u64,
    /// Who should campaign at once.
    pub to: ReplicaId,
}

impl Yield {
    /// Of a leader that is closed: it asks for no promise in any later round of its term.
    pub fn of_all(term: u64, to: ReplicaId) -> Self {
        Self { term, round: u64::MAX, to }
    }
}

impl GroupInner {
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

    /// Whether no promise keeps this replica from voting for a candidate; one that has just run out is withdrawn.
    /// Call under `gate`.
    async fn may_vote_for(&self, candidate: u64, withdraw: bool) -> bool {
        // A lease rests on its holder's own promise, too.
        if candidate != self.replica_id.get() && matches!(self.lease(), Lease::Held { .. }) {
            return false;
        }
        let Some(promise) = *self.fortified.lock() else { return true };
        // The leader itself, in a later term: it leads one term at a time. The promise stands against all others.
        if candidate == promise.leader {
            return true;
        }
        if withdraw {
            if planted::is_on(Bug::PromiseBroken) {
                return true;
            }
            if !self.liveness.withdraw(promise.store, promise.epoch).await {
                return false;
            }
            *self.fortified.lock() = None;
            return true;
        }
        !self.liveness.binds(promise.store, promise.epoch)
    }

    pub async fn on_vote(self: &Arc<Self>, mut request: VoteRequest<Types>) -> Option<VoteResponse<Types>> {
        // A vote counts once it is on disk.
        if !self.may_vote || self.liveness.disk_hangs() {
            return None;
        }
        let _judged = self.gate.lock().await;
        if !self.may_vote_for(request.vote.leader_id.voted_for, true).await {
            tracing::debug!(range = %self.range_id, vote = %request.vote, "vote refused: a promise stands");
            return None;
        }
        // A leader without a lease: none may come back to it while the candidate has its vote.
        let led = self.leading.load(Ordering::Acquire);
        let released = led != 0 && self.release(led);
        // openraft has a lease of its own on followers that nothing here relies on: this flag passes it.
        request.leadership_transfer = true;
        let response = self.raft.vote(request).await.ok();
        if released && !response.as_ref().is_some_and(|response| response.vote_granted) {
            let this = self.clone();
            tokio::spawn(async move { this.resume(led).await });
        }
        response
    }

    pub async fn on_pre_vote(self: &Arc<Self>, candidate: ReplicaId, request: PreVote) -> bool {
        if !self.may_vote || self.liveness.disk_hangs() {
            return false;
        }
        let _judged = self.gate.lock().await;
        let yes = self.may_vote_for(candidate.get(), false).await && request.last >= self.log.last();
        if self.leads() && !yes {
            self.make_heard(candidate);
        }
        yes
    }

    /// One of our voters does not know who leads, or is free of its promise: an idle range sends it nothing.
    fn make_heard(self: &Arc<Self>, voter: ReplicaId) {
        let this = self.clone();
        tokio::spawn(async move {
            if this.raft.trigger().heartbeat().await.is_ok() && !this.ask_promise(voter.get()).await {
                tokio::time::sleep(HEARD_AFTER).await;
                this.ask_promise(voter.get()).await;
            }
        });
    }

    /// *idle-tail-applied*: whether the log has had entries for a while that are not known to be committed.
    pub fn is_left_behind(&self) -> bool {
        let applied = self.adapter.applied_index.load(Ordering::Acquire);
        let has_more = self.log.last().is_some_and(|last| last.index > applied);
        let mut stands = self.stands.lock();
        if !has_more || self.leads() || self.leader.load(Ordering::Acquire) == 0 {
            *stands = None;
            return false;
        }
        match *stands {
            Some((at, since)) if at == applied => since.elapsed() >= STANDS_FOR,
            Some(_) | None => {
                *stands = Some((applied, Instant::now()));
                false
            }
        }
    }

    /// Asks the leader for its vote, which a leader with a lease refuses and makes itself heard.
    pub async fn ask_leader(&self) {
        let leader = self.leader.load(Ordering::Acquire);
        let request = PreVote { last: self.log.last() };
        let _heard_anyway: Option<bool> = self.ask(leader, Kind::PreVote, &request, PRE_VOTE_TIMEOUT).await;
    }

    #[cfg(test)]
    pub fn promised_epoch(&self) -> Option<u64> {
        self.fortified.lock().map(|promise| promise.epoch)
    }

    pub async fn on_fortify(&self, request: Fortify) -> bool {
        // *waiting-promises-nothing*: after a restart it could not tell to whose store.
        if self.waits() {
            return false;
        }
        let _judged = self.gate.lock().await;
        let vote = self.raft.with_raft_state(|state| *state.vote_ref()).await;
        // Only for the leader this replica follows: a later vote must not have been given. And only once the vote is
        // on disk, from where the promise is recovered.
        let names = |vote: &RaftVote| vote.committed && vote.leader_id.term == request.term;
        let Some(vote) = vote.ok().filter(names) else { return false };
        if !self.log.vote().is_some_and(|durable| names(&durable)) {
            return false;
        }
        // It was on its way when its leader gave it up.
        if (request.term, request.round) <= *self.given_up.lock() {
            return false;
        }
        let mut fortified = self.fortified.lock();
        let newest = fortified.filter(|promise| promise.term == request.term);
        if newest.is_some_and(|promise| (promise.epoch, promise.round) > (request.epoch, request.round)) {
            return false;
        }
        *self.free_since.lock() = None;
        *fortified = Some(Fortified {
            term: request.term,
            leader: vote.leader_id.voted_for,
            store: request.store,
            epoch: request.epoch,
            round: request.round,
        });
        true
    }

    /// Answers whether this replica is the one named, and free to campaign; and whether it knows a later leader. One that was
    /// freed by a leader that failed goes on as it would without being told again.
    pub async fn on_yield(&self, request: Yield) -> (bool, bool) {
        let _judged = self.gate.lock().await;
        let knows_later = self.knows_later(request.term);
        {
            let mut given_up = self.given_up.lock();
            *given_up = (request.term, request.round).max(*given_up);
        }
        let mut fortified = self.fortified.lock();
        let is_freed = fortified.is_some_and(|promise| (promise.term, promise.round) <= (request.term, request.round));
        if is_freed {
            *fortified = None;
            // Those not named wait to see whether the one that is takes over.
            *self.free_since.lock() = Some(Instant::now());
            self.liveness.notify();
        }
        // A promise of a later round: the hand-over this belongs to is over.
        let is_told_again = request.round == u64::MAX && !is_freed;
        let campaigns = fortified.is_none() && !is_told_again && request.to == self.replica_id && !knows_later;
        (campaigns, knows_later)
    }

    /// Whether the vote on disk names a leader of a later term.
    fn knows_later(&self, term: u64) -> bool {
        self.log.vote().is_some_and(|vote| vote.committed && vote.leader_id.term > term)
    }

    /// Whether nobody is known to lead, or no promise binds this replica to who is; and how long it should wait for
    /// others before it campaigns.
    pub fn wants_election(&self) -> Option<Duration> {
        if !self.may_vote || self.is_closed() || self.leads() || !self.is_voter() || self.liveness.disk_hangs() {
            return None;
        }
        if self.leader.load(Ordering::Acquire) == 0 {
            let since = *self.free_since.lock().get_or_insert_with(Instant::now);
            return Some(CANDIDATE_GRACE.saturating_sub(since.elapsed()));
        }
        let promise = *self.fortified.lock();
        if let Some(promise) = promise.filter(|promise| promise.term >= self.term.load(Ordering::Acquire)) {
            if self.liveness.binds(promise.store, promise.epoch) {
                *self.free_since.lock() = None;
                return None;
            }
            if self.liveness.supports(promise.store).is_none() {
                return Some(Duration::ZERO);
            }
        }
        let since = *self.free_since.lock().get_or_insert_with(Instant::now);
        Some(GRACE.saturating_sub(since.elapsed()))
    }

    /// Runs a pre-vote among the voters and, if a quorum would vote for this replica, the election.
    pub async fn campaign(&self, pre_vote: bool) {
        if !self.may_vote || self.is_closed() || self.liveness.disk_hangs() {
            return;
        }
        let config = self.joint_config();
        if pre_vote && !self.would_win(&config).await {
            tracing::debug!(range = %self.range_id, "pre-vote lost");
            return;
        }
        let _judged = self.gate.lock().await;
        if self.may_vote_for(self.replica_id.get(), true).await
            && let Err(error) = self.raft.trigger().elect(false).await
        {
            tracing::debug!(range = %self.range_id, %error, "election");
        }
    }

    /// Whether a quorum of every voter set would vote for this replica; answers as soon as that is known.
    async fn would_win(&self, config: &[Vec<u64>]) -> bool {
        use futures::stream::{FuturesUnordered, StreamExt};
        let own = self.replica_id.get();
        let request = PreVote { last: self.log.last() };
        let others: BTreeSet<u64> = config.iter().flatten().copied().filter(|id| *id != own).collect();
        let mut answers: FuturesUnordered<_> = others
            .into_iter()
            .map(|id| {
                let request = &request;
                async move {
                    (id, self.ask::<_, bool>(id, Kind::PreVote, request, PRE_VOTE_TIMEOUT).await == Some(true))
                }
            })
            .collect();
        let mut granted = BTreeMap::from([(own, true)]);
        loop {
            let would_win = config.iter().all(|set| {
                let yes = set.iter().filter(|id| granted.get(id) == Some(&true)).count();
                yes > set.len() / 2
            });
            if would_win {
                return true;
            }
            let Some((id, yes)) = answers.next().await else { return false };
            granted.insert(id, yes);
        }
    }
}

impl Group {
    /// Starts an election at once, without asking first: for a group that just began here.
    pub async fn campaign(&self) {
        self.inner.campaign(false).await;
    }
}
