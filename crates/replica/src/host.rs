//! What a replica needs of the store it lives in.

use async_trait::async_trait;
use keys::{Key, RangeDescriptor, RangeId, ReplicaId};
use storage::StorageError;

use crate::api::{KvError, StoreTarget};

#[async_trait]
pub trait ReplicaHost: Send + Sync + 'static {
    /// A split has been applied here: the right half is in the engine, and its replica must come to life. Called on
    /// every store that holds the range, in the order of the log. `leader`: this replica led when it was applied, so
    /// the right half's should lead as well.
    fn split_applied(&self, left: &RangeDescriptor, right: &RangeDescriptor, inherit: Inheritance);

    /// Another range's state here overlaps the span that a snapshot would bring: the snapshot has to wait until that
    /// range has been split or removed.
    fn overlaps_other(&self, descriptor: &RangeDescriptor) -> bool;

    /// The range here that begins at `start`, if there is one: what a misrouted sender may want.
    fn neighbour(&self, start: &Key) -> Option<RangeDescriptor>;

    /// Has another store make room for a new replica that waits for its snapshot.
    async fn prepare_replica(
        &self,
        target: StoreTarget,
        range_id: RangeId,
        replica_id: ReplicaId,
    ) -> Result<(), KvError>;

    /// Tells a store that its replica is no longer part of the range.
    async fn remove_replica(&self, target: StoreTarget, range_id: RangeId, replica_id: ReplicaId);

    /// The range's group has failed here: its replica is to be taken out of service.
    fn fenced(&self, range_id: RangeId, reason: &str);

    /// The range's state here is damaged: it must not serve any more.
    fn corrupted(&self, range_id: RangeId, error: &StorageError);
}

/// What the right half of a split takes over from the left, where the left was the leaseholder.
#[derive(Debug, Default)]
pub struct Inheritance {
    pub led: bool,
}
