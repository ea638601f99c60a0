//! Changes of a group's members, one at a time and each through the log.
//!
//! A change of voters goes through a joint membership. Whoever led it may be gone between the two steps, and nobody
//! would ever ask for the second: a leader that finds a joint membership, and no change of its own under way, does.

use std::{collections::BTreeSet, time::Duration};

use keys::{NodeId, ReplicaId, StoreId};
use openraft::{
    ChangeMembers,
    errors::{ClientWriteError, ForwardReason, RaftError},
    metrics::WaitError,
};
use tokio::time::Instant;

use crate::{
    group::{ChangeError, Group},
    types::{Member, Types},
};

/// Entries that a learner may lack when it becomes a voter.
const BEHIND_MAX: u64 = 1_000;
/// How long a learner whose store is there may take: a large snapshot waits its turn, and one that is refused is sent
/// again and again.
const CATCH_UP_MAX: Duration = Duration::from_secs(600);
/// How often it is looked whether the learner's store is still there.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A change of members.
enum Change {
    Learner(u64, Member),
    Voters(BTreeSet<u64>),
    Remove(u64),
}

impl Group {
    /// Whether a change of voters has come half way: one that is under way, or one that was left there.
    pub(crate) fn is_joint(&self) -> bool {
        self.inner.joint_config().len() > 1
    }

    /// The voters in order, while no change of them is half way and there are no others.
    #[must_use]
    pub fn settled_voters(&self) -> Option<Vec<ReplicaId>> {
        let status = self.status();
        let mut voters = status.voters;
        voters.sort();
        (!self.is_joint() && status.learners.is_empty()).then_some(voters)
    }

    /// Takes the second step of a change that was left half way.
    pub(crate) async fn finish_joint(&self) {
        let Ok(_one_at_a_time) = self.inner.changing.try_lock() else { return };
        let config = self.inner.joint_config();
        let [_, voters] = &config[..] else { return };
        tracing::info!(range = %self.inner.range_id, ?voters, "finishing a change of voters");
        let voters: BTreeSet<u64> = voters.iter().copied().collect();
        if let Err(error) = self.inner.raft.change_membership(voters, false).await {
            tracing::debug!(range = %self.inner.range_id, %error, "a change of voters is still half way");
        }
    }

    /// Changes members, with patience for a leader that is just coming into its own.
    async fn change(&self, change: Change) -> Result<(), ChangeError> {
        let _one_at_a_time = self.inner.changing.lock().await;
        let raft = &self.inner.raft;
        for _ in 0..500 {
            let outcome = match &change {
                Change::Learner(id, member) => raft.add_learner(*id, *member, false).await,
                Change::Voters(voters) => raft.change_membership(voters.clone(), false).await,
                Change::Remove(id) => {
                    raft.change_membership(ChangeMembers::RemoveNodes(BTreeSet::from([*id])), false).await
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
                Err(error) => return Err(ChangeError { reason: error.to_string() }),
            }
        }
        Err(ChangeError { reason: "no quorum answers".into() })
    }

    /// Adds a replica that receives the log and does not vote; returns when it has caught up.
    ///
    /// # Errors
    /// When this replica does not lead, the new one's store is not heard from, or the log does not reach it in time. It
    /// is a learner then, or will be.
    pub async fn add_learner(&self, id: ReplicaId, node: NodeId, store: StoreId) -> Result<(), ChangeError> {
        self.inner.liveness.ensure_peer(store, node);
        self.change(Change::Learner(id.get(), Member { node, store })).await?;
        self.caught_up(id.get(), store).await
    }

    async fn caught_up(&self, id: u64, store: StoreId) -> Result<(), ChangeError> {
        let failed = |reason: &str| Err(ChangeError { reason: reason.into() });
        // Without replication this replica does not lead any more.
        let ended = |metrics: &openraft::RaftMetrics<Types>| {
            let Some(progress) = &metrics.replication else { return true };
            let has = progress.get(&id).and_then(Option::as_ref).map(|position| position.index);
            has.is_some_and(|has| has + BEHIND_MAX >= metrics.last_log_index.unwrap_or(0))
        };
        let deadline = Instant::now() + CATCH_UP_MAX;
        loop {
            match self.inner.raft.wait(Some(LOOK_EVERY)).metrics(ended, "a learner catches up").await {
                Ok(metrics) if metrics.replication.is_some() => return Ok(()),
                Ok(_) => return failed("not the leader"),
                Err(WaitError::Timeout(..)) if !self.inner.liveness.is_live(store) => {
                    return failed("its store is away");
                }
                Err(WaitError::Timeout(..)) if Instant::now() < deadline => {}
                Err(WaitError::Timeout(..)) => return failed("it does not catch up"),
                Err(error) => return failed(&error.to_string()),
            }
        }
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
}
