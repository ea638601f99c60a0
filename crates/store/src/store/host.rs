//! The store as its replicas see it.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use async_trait::async_trait;
use keys::{Key, RangeDescriptor, RangeId, ReplicaId};
use raft::Admitted;
use replica::{
    Inheritance, ReplicaHost, RightHalf,
    api::{KvError, StoreTarget},
};
use storage::StorageError;

use super::{Inner, Store, StoreRequest};

/// It must not keep the store alive.
pub(super) struct Host {
    store: Weak<Inner>,
}

impl Host {
    pub fn new(store: &Store) -> Self {
        Self { store: Arc::downgrade(&store.inner) }
    }

    fn store(&self) -> Option<Store> {
        Store::from_weak(&self.store)
    }
}

#[async_trait]
impl ReplicaHost for Host {
    fn splitting(&self, right: &RangeDescriptor) -> RightHalf {
        // One that has left is cleared at the next start.
        let Some(store) = self.store() else { return RightHalf::Here };
        let own = right.replica_on_store(store.inner.store_id);
        if own.is_none_or(|own| store.has_left(right.range_id, own.replica_id)) {
            return RightHalf::Gone;
        }
        let held = store.inner.places.hold(right);
        store.inner.splits.lock().insert(right.range_id, held);
        RightHalf::Here
    }

    fn split_applied(&self, left: &RangeDescriptor, right: &RangeDescriptor, inherit: Inheritance) {
        let Some(store) = self.store() else { return };
        let Some(own) = right.replica_on_store(store.inner.store_id).copied() else {
            tracing::error!(%left, %right, "a split applied on a store that is in neither half");
            return;
        };
        let alone = right.voters().count() == 1;
        let right = right.clone();
        tokio::spawn(async move {
            let range_id = right.range_id;
            if let Err(error) = store.begin_right_half(&right, own.replica_id, inherit.led || alone).await {
                tracing::error!(range = %range_id, %error, "the right half of a split cannot be opened");
            }
            store.inner.splits.lock().remove(&range_id);
        });
    }

    fn merge(
        &self,
        right: &RangeDescriptor,
        write: &mut dyn FnMut() -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        match self.store() {
            Some(store) => store.apply_merge(right, write),
            None => write(),
        }
    }

    fn supersede(
        &self,
        range: &RangeDescriptor,
        write: &mut dyn FnMut(&[RangeDescriptor]) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let stopping = || StorageError::Rocks { what: "the store is stopping".into() };
        self.store().ok_or_else(stopping)?.supersede(range, write)
    }

    async fn catch_up(&self, left: &RangeDescriptor, right: &RangeDescriptor, index: u64) -> Result<(), KvError> {
        let Some(store) = self.store() else {
            return Err(KvError::Unavailable { range_id: left.range_id, reason: "the store is stopping".into() });
        };
        let asks = right.voters().map(|voter| {
            let left_replica = left.replica_on_store(voter.store_id).map(|replica| replica.replica_id);
            let store = store.clone();
            async move {
                let Some(left_replica) = left_replica else { return Err(format!("{} has no replica", voter.store_id)) };
                let request = StoreRequest::CatchUp {
                    right: (right.range_id, voter.replica_id),
                    index,
                    left: (left.range_id, left_replica),
                };
                let answer = store.ask(voter.node_id, &request, Duration::from_secs(10)).await;
                answer.map(drop).map_err(|error| format!("{}: {error}", voter.store_id))
            }
        });
        let asked = futures::future::join_all(asks).await.into_iter().collect::<Result<Vec<()>, String>>();
        asked.map(drop).map_err(|reason| KvError::Invalid {
            reason: format!("{} is not merged: {} has not caught up: {reason}", left.range_id, right.range_id),
        })
    }

    fn covering(&self, key: &Key) -> Option<RangeDescriptor> {
        self.store()?.covering(key)
    }

    fn reserve(&self, descriptor: &RangeDescriptor) -> Option<Admitted> {
        let held = self.store()?.reserve(descriptor)?;
        Some(Box::new(held))
    }

    fn neighbour(&self, start: &Key) -> Option<RangeDescriptor> {
        let store = self.store()?;
        store
            .replicas()
            .into_iter()
            .filter_map(|replica| replica.descriptor())
            .find(|descriptor| descriptor.start == *start)
            .map(|descriptor| (*descriptor).clone())
    }

    async fn prepare_replica(
        &self,
        target: StoreTarget,
        range_id: RangeId,
        replica_id: ReplicaId,
    ) -> Result<(), KvError> {
        let Some(store) = self.store() else {
            return Err(KvError::Unavailable { range_id, reason: "the store is stopping".into() });
        };
        let request = StoreRequest::PrepareReplica { range_id, replica_id, is_new: true };
        store
            .ask(target.node_id, &request, Duration::from_secs(10))
            .await
            .map(|_| ())
            .map_err(|error| KvError::Internal { reason: format!("{}: {error}", target.store_id) })
    }

    async fn remove_replica(&self, target: StoreTarget, range_id: RangeId, replica_id: ReplicaId) {
        let Some(store) = self.store() else { return };
        let request = StoreRequest::RemoveReplica { range_id, replica_id };
        // One that does not hear of it now asks later.
        if let Err(error) = store.ask(target.node_id, &request, Duration::from_secs(10)).await {
            tracing::warn!(range = %range_id, store = %target.store_id, %error, "a removed replica's store was not told");
        }
    }

    fn corrupted(&self, range_id: RangeId, error: &StorageError) {
        self.fenced(range_id, &error.to_string());
    }

    fn fenced(&self, range_id: RangeId, reason: &str) {
        if let Some(store) = self.store() {
            store.fence(range_id, reason);
        }
    }

    fn compute_checksum(&self, range: &RangeDescriptor, check: u64) {
        if let Some(store) = self.store() {
            store.compute_checksum(range, check);
        }
    }
}
