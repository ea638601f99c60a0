//! Splits, changes of the replica set, lease transfers: each a command or a few, each resumable from any point.
//!
//! A change of replicas is a row of small steps, and a crash between two leaves a state from which the next attempt
//! goes on: the descriptor names the learner before anything is sent to it, and names it a voter after Raft does. A
//! learner that does not come up is taken out again, as it would keep the range from being split.

use std::{collections::BTreeSet, sync::Arc};

use hlc::Timestamp;
use keys::{Key, RangeDescriptor, ReplicaDescriptor, ReplicaId, ReplicaKind, StoreId, keyspace};

use crate::{
    Replica,
    api::{BatchResponse, KvError, Request, Response, StoreTarget},
    command::Effect,
};

impl Replica {
    pub(crate) async fn admin_request(self: &Arc<Self>, item: &Request) -> Option<Result<BatchResponse, KvError>> {
        let response = match item {
            Request::Split { at } => {
                let (replica, at) = (self.clone(), at.clone());
                self.to_its_end(async move { replica.split(&at).await }).await
            }
            Request::ChangeReplicas { add, remove } => {
                let (replica, add, remove) = (self.clone(), add.clone(), remove.clone());
                self.to_its_end(async move { replica.change_replicas(&add, &remove).await }).await
            }
            Request::Merge => {
                let replica = self.clone();
                self.to_its_end(async move { replica.merge().await }).await
            }
            Request::Freeze { at, into } => {
                let (replica, at, into) = (self.clone(), at.clone(), into.clone());
                self.to_its_end(async move { replica.freeze(&at, &into).await }).await
            }
            Request::MergeOutcome { into, right } => {
                let (replica, into, right) = (self.clone(), into.clone(), *right);
                self.to_its_end(async move { replica.merge_outcome(&into, right).await }).await
            }
            Request::Thaw { .. } => {
                let replica = self.clone();
                self.to_its_end(async move { replica.settle_freeze().await.map(|_| Response::Done) }).await
            }
            Request::RangeStats => self.range_stats(),
            Request::TransferLease { to } => self.transfer_lease(*to).await,
            Request::Describe => self.lease().map(|_| Response::Done),
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

    pub(crate) fn current(&self) -> Result<Arc<RangeDescriptor>, KvError> {
        self.descriptor().ok_or(KvError::RangeNotFound { range_id: self.range_id() })
    }

    pub(crate) async fn split(self: &Arc<Self>, at: &Key) -> Result<Response, KvError> {
        let _one_at_a_time = self.admin.lock().await;
        let descriptor = self.current()?;
        let invalid = |reason: String| KvError::Invalid { reason };
        if descriptor.start == *at {
            return Ok(Response::Split { left: Box::new((*descriptor).clone()), right: Box::new((*descriptor).clone()) });
        }
        if !descriptor.contains_key(at.as_bytes()) {
            let mut descriptors = vec![(*descriptor).clone()];
            descriptors.extend(self.deps.host.neighbour(&descriptor.end));
            return Err(KvError::RangeMismatch { range_id: self.range_id(), descriptors });
        }
        if at.as_bytes() < keyspace::table_data_start().as_bytes() {
            return Err(invalid(format!("{at} belongs to the system: its range is not split")));
        }
        // The addressing records and their range must stay together, and learners must have caught up first: the
        // right half begins from a state that only those have that have applied the split.
        if let Some(learner) = descriptor.replicas.iter().find(|replica| replica.kind == ReplicaKind::Learner) {
            return Err(invalid(format!("{} cannot be split while {learner} is a learner", self.range_id())));
        }
        let right_id = self.deps.outbound.allocate_range_id().await?;
        // Nothing may be in flight in the right half: its latches and reads are here.
        let quiet = self.quiesce().await?;
        let lease = self.lease()?;
        let descriptor = self.current()?;
        if !descriptor.contains_key(at.as_bytes()) || descriptor.start == *at {
            return Ok(Response::Split { left: Box::new((*descriptor).clone()), right: Box::new((*descriptor).clone()) });
        }
        let generation = descriptor.generation + 1;
        let left = RangeDescriptor { end: at.clone(), generation, ..(*descriptor).clone() };
        let right = RangeDescriptor {
            range_id: right_id,
            start: at.clone(),
            end: descriptor.end.clone(),
            replicas: descriptor.replicas.clone(),
            next_replica_id: descriptor.next_replica_id,
            generation,
        };
        // Whoever leads the right half first may be another node, whose clock knows nothing of what was served here.
        let (read, _) = self.cache.get_max_span(&right.span());
        let low_water = read.max(self.deps.clock.now());
        let effect = Effect::Split { left: left.clone(), right: right.clone(), low_water };
        self.propose_effect(lease.term, &effect, &[]).await?;
        // Whoever waits for a lock in the right half is told to look again, and finds the new range. The locks
        // themselves end here: they only order, and the right half may be led elsewhere.
        self.locks.split_off(at);
        drop(quiet);
        self.note_split_or_merge();
        tracing::info!(left = %left.range_id, right = %right.range_id, %at, "split");
        self.publish(vec![left.clone(), right.clone()]);
        Ok(Response::Split { left: Box::new(left), right: Box::new(right) })
    }

    /// Publishes descriptors behind the caller's back; the store does it again from time to time.
    pub(crate) fn publish(&self, descriptors: Vec<RangeDescriptor>) {
        let outbound = self.deps.outbound.clone();
        tokio::spawn(async move {
            if let Err(error) = outbound.update_meta(descriptors).await {
                tracing::debug!(%error, "publishing descriptors");
            }
        });
    }

    pub(crate) async fn change_descriptor(
        &self,
        change: impl FnOnce(&mut RangeDescriptor),
    ) -> Result<RangeDescriptor, KvError> {
        let lease = self.lease()?;
        let mut next = (*self.current()?).clone();
        change(&mut next);
        next.generation += 1;
        self.propose_effect(lease.term, &Effect::Descriptor(next.clone()), &[]).await?;
        self.publish(vec![next.clone()]);
        Ok(next)
    }

    pub(crate) async fn change_replicas(
        self: &Arc<Self>,
        add: &[StoreTarget],
        remove: &[ReplicaId],
    ) -> Result<Response, KvError> {
        let _one_at_a_time = self.admin.lock().await;
        self.lease()?;
        for target in add {
            self.add_replica(*target).await?;
        }
        for replica_id in remove {
            self.remove_replica(*replica_id).await?;
        }
        Ok(Response::ChangeReplicas { descriptor: Box::new((*self.current()?).clone()) })
    }

    async fn add_replica(self: &Arc<Self>, target: StoreTarget) -> Result<(), KvError> {
        let failed = |what: &str, error: &dyn std::fmt::Display| KvError::Internal {
            reason: format!("adding {} to {}: {what}: {error}", target.store_id, self.range_id()),
        };
        let descriptor = self.current()?;
        let replica_id = match descriptor.replica_on_store(target.store_id) {
            Some(replica) if replica.kind == ReplicaKind::Voter => return Ok(()),
            // An earlier attempt stopped half way: go on with its learner.
            Some(learner) => learner.replica_id,
            None => {
                let replica_id = descriptor.next_replica_id;
                self.change_descriptor(|next| {
                    next.replicas.push(ReplicaDescriptor {
                        node_id: target.node_id,
                        store_id: target.store_id,
                        replica_id,
                        kind: ReplicaKind::Learner,
                    });
                    next.next_replica_id = replica_id.next();
                })
                .await?;
                replica_id
            }
        };
        fail::fail_point!("replica::after_learner_descriptor");
        let came_up = async {
            self.deps.host.prepare_replica(target, self.range_id(), replica_id).await?;
            let added = self.group().add_learner(replica_id, target.node_id, target.store_id).await;
            added.map_err(|error| failed("learner", &error))
        };
        if let Err(error) = came_up.await {
            if let Err(left) = self.remove_replica(replica_id).await {
                tracing::debug!(range = %self.range_id(), %replica_id, error = %left, "a learner is left half way");
            }
            return Err(error);
        }
        fail::fail_point!("replica::after_learner_caught_up");
        let mut voters: BTreeSet<ReplicaId> = self.current()?.voters().map(|voter| voter.replica_id).collect();
        voters.insert(replica_id);
        self.group().change_voters(voters.into_iter().collect()).await.map_err(|error| failed("voter", &error))?;
        fail::fail_point!("replica::after_voter_change");
        let next = self
            .change_descriptor(|next| {
                for replica in next.replicas.iter_mut().filter(|replica| replica.replica_id == replica_id) {
                    replica.kind = ReplicaKind::Voter;
                }
            })
            .await?;
        tracing::info!(range = %next, "replica added");
        Ok(())
    }

    async fn remove_replica(self: &Arc<Self>, replica_id: ReplicaId) -> Result<(), KvError> {
        let descriptor = self.current()?;
        let Some(leaving) = descriptor.replica(replica_id).copied() else { return Ok(()) };
        if replica_id == self.replica_id() {
            let reason = "the leaseholder does not remove itself: transfer the lease first".into();
            return Err(KvError::Invalid { reason });
        }
        let voters: Vec<ReplicaId> =
            descriptor.voters().map(|voter| voter.replica_id).filter(|id| *id != replica_id).collect();
        let failed = |error: &dyn std::fmt::Display| KvError::Internal {
            reason: format!("removing {leaving} from {}: {error}", self.range_id()),
        };
        if leaving.kind == ReplicaKind::Voter {
            self.group().change_voters(voters).await.map_err(|error| failed(&error))?;
        }
        self.group().remove_replica(replica_id).await.map_err(|error| failed(&error))?;
        self.change_descriptor(|next| next.replicas.retain(|replica| replica.replica_id != replica_id)).await?;
        let target = StoreTarget { node_id: leaving.node_id, store_id: leaving.store_id };
        self.deps.host.remove_replica(target, self.range_id(), replica_id).await;
        Ok(())
    }

    pub(crate) async fn transfer_lease(self: &Arc<Self>, to: StoreId) -> Result<Response, KvError> {
        self.lease()?;
        let descriptor = self.current()?;
        let Some(target) = descriptor.replica_on_store(to).filter(|it| it.kind == ReplicaKind::Voter) else {
            return Err(KvError::Invalid { reason: format!("{to} has no voter of {}", self.range_id()) });
        };
        if target.replica_id != self.replica_id() {
            self.group()
                .transfer_leader(target.replica_id)
                .await
                .map_err(|error| KvError::Internal { reason: format!("lease transfer: {error}") })?;
        }
        Ok(Response::Done)
    }

    pub(crate) fn checksum(&self, at: Timestamp) -> Result<Response, KvError> {
        let descriptor = self.current()?;
        match raft::blocking(|| self.deps.engine.checksum(&descriptor.span(), at)) {
            Ok(value) => Ok(Response::Checksum { value }),
            Err(error) => Err(self.storage_error(error)),
        }
    }

    /// Has every replica that was asked to compute a checksum do so at one place in the log.
    ///
    /// # Errors
    /// When this replica does not lead, or cannot have the command agreed on.
    pub async fn propose_check(&self, check: u64) -> Result<(), KvError> {
        let lease = self.lease()?;
        self.propose_effect(lease.term, &Effect::ComputeChecksum { check }, &[]).await
    }

    /// Hands the lease over to another replica.
    ///
    /// # Errors
    /// When it does not take it.
    pub async fn give_lease_to(self: &Arc<Self>, store: StoreId) -> Result<(), KvError> {
        self.transfer_lease(store).await.map(drop)
    }

    /// Runs a change of the range even when whoever asked for it is gone, or has been told that its lease is: latches
    /// of the whole range and the one place for such changes must be held until the log shows the outcome of each of
    /// its commands.
    async fn to_its_end(
        &self,
        change: impl Future<Output = Result<Response, KvError>> + Send + 'static,
    ) -> Result<Response, KvError> {
        let failed = |error| KvError::Internal { reason: format!("a change of the range failed: {error}") };
        tokio::select! {
            biased;
            ended = tokio::spawn(change) => ended.unwrap_or_else(|error| Err(failed(error))),
            () = self.group().lease_gone() => Err(self.fate_unknown()),
        }
    }
}
