//! What a replica needs of the store it lives in.

use async_trait::async_trait;
use keys::{Key, RangeDescriptor, RangeId, ReplicaId};
use raft::Admitted;
use storage::StorageError;

use crate::api::{KvError, StoreTarget};

#[async_trait]
pub trait ReplicaHost: Send + Sync + 'static {
    /// A split is about to be applied here: who has its right half on this store. The span of a half that is to live
    /// here is kept free from now on, until [`ReplicaHost::split_applied`] has brought its replica to life.
    fn splitting(&self, right: &RangeDescriptor) -> RightHalf;

    /// A split has been applied here: the right half is in the engine, and its replica must come to life, in the place
    /// of one that waits for its snapshot if there is one. Called on every store that is to hold the right half, in the
    /// order of the log. `leader`: this replica led when it was applied, so the right half's should lead as well.
    fn split_applied(&self, left: &RangeDescriptor, right: &RangeDescriptor, inherit: Inheritance);

    /// Applies a merge by `write`: the replica of `right` here applies nothing more, and nothing of its state is cleared
    /// meanwhile. Once it is written the state is its neighbour's; the replica ends and never comes again.
    ///
    /// # Errors
    /// As `write`.
    fn merge(
        &self,
        right: &RangeDescriptor,
        write: &mut dyn FnMut() -> Result<(), StorageError>,
    ) -> Result<(), StorageError>;

    /// Takes a snapshot of `range` in by `write`, which is given the ranges whose state here it replaces: those that begin
    /// within `range` and are older, which were merged. Their replicas apply nothing more, and end once it is written.
    ///
    /// # Errors
    /// As `write`, or when what is in the way was not merged.
    fn supersede(
        &self,
        range: &RangeDescriptor,
        write: &mut dyn FnMut(&[RangeDescriptor]) -> Result<(), StorageError>,
    ) -> Result<(), StorageError>;

    /// Waits, for a bounded time, until every store of `right` has applied its log up to `index` and has all of that
    /// durably, and has state of `left` as well.
    async fn catch_up(&self, left: &RangeDescriptor, right: &RangeDescriptor, index: u64) -> Result<(), KvError>;

    /// The range here that holds `key`, if there is one.
    fn covering(&self, key: &Key) -> Option<RangeDescriptor>;

    /// Keeps the span that a snapshot would bring free of other ranges, for as long as the answer lives, but for those that
    /// [`ReplicaHost::supersede`] will end. None while another range's state is there, or on its way: the snapshot has to
    /// wait until that range has been split or removed.
    fn reserve(&self, descriptor: &RangeDescriptor) -> Option<Admitted>;

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

    /// A check of the range has come to its place in the log: its state is in the engine as of there until this returns. The
    /// store computes a checksum of it if it was asked to.
    fn compute_checksum(&self, range: &RangeDescriptor, check: u64);

    /// The range's group has failed here: its replica is to be taken out of service.
    fn fenced(&self, range_id: RangeId, reason: &str);

    /// The range's state here is damaged: it must not serve any more.
    fn corrupted(&self, range_id: RangeId, error: &StorageError);
}

/// Whether this store is to have the right half of a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RightHalf {
    Here,
    /// Its replica has left: it was told to go before the split came, or this is the log replayed after that.
    Gone,
}

/// What the right half of a split takes over from the left, where the left was the leaseholder.
#[derive(Debug, Default)]
pub struct Inheritance {
    pub led: bool,
}
