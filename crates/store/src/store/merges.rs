//! Replicas that end because their range was merged into its neighbour.
//!
//! ```text
//! the neighbour applies the merge ──▶ tombstone, with it in one batch ──▶ flushed ──▶ the replica's log goes
//! the neighbour comes by a snapshot from after it ──▶ tombstone, with the snapshot in one step ──▶ the replica's log goes
//! the neighbour leaves the store ──▶ the replica is removed with its state
//! ```
//!
//! **Invariants**
//! - *log-after-flush*: the log of a replica whose state was merged goes when the merge is durable. Until then a crash may
//!   bring back the state before it, with the replica in its own right.
//! - *merged-state-stays*: what was merged is never cleared as the old replica's. Clearing and merging exclude each other,
//!   and each looks what the other has done.
//! - *kept-for-its-merge*: a frozen replica stays while a replica of the range that takes it in is here and may still come
//!   to the merge by its log. A snapshot that was announced is no reason to clear it: another leader may send the log
//!   instead. The snapshot ends it in the same step in which it takes its place.

use std::time::Duration;

use keys::{Key, RangeDescriptor, RangeId, ReplicaId};
use replica::api::KvError;
use storage::StorageError;
use tokio::time::Instant;

use super::{Store, StoreError, arrivals::is_superseded};

/// How long a replica may take to catch up before a merge.
const CATCH_UP_BOUND: Duration = Duration::from_secs(5);

impl Store {
    /// Whether the range was merged into its neighbour here.
    pub(crate) fn is_merged(&self, range_id: RangeId) -> bool {
        self.inner.merged.read().contains_key(&range_id)
    }

    /// What is said of a range of which no replica is here.
    pub(super) fn merged_or_missing(&self, range_id: RangeId) -> KvError {
        let merged = self.inner.merged.read().get(&range_id).cloned();
        match merged.and_then(|range| self.covering(&range.start)) {
            Some(owner) => KvError::RangeMismatch { range_id, descriptors: vec![owner] },
            None => KvError::RangeNotFound { range_id },
        }
    }

    /// The range here that holds a key.
    pub(crate) fn covering(&self, key: &Key) -> Option<RangeDescriptor> {
        let ranges = self.replicas().into_iter().filter_map(|replica| replica.descriptor());
        ranges.map(|range| (*range).clone()).find(|range| range.contains_key(key.as_bytes()))
    }

    /// At the start: what was merged here before.
    pub(super) fn recover_merges(&self) -> Result<(), StorageError> {
        let merged = replica::merged_ranges(&self.inner.engine)?;
        self.inner.merged.write().extend(merged.into_iter().map(|range| (range.range_id, range)));
        Ok(())
    }

    /// See `ReplicaHost::merge`.
    pub(super) fn apply_merge(
        &self,
        right: &RangeDescriptor,
        write: &mut dyn FnMut() -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        // *merged-state-stays*
        let _neither_clears = self.inner.merging.lock();
        self.dissolve(right.range_id);
        write()?;
        self.note_merged(right);
        Ok(())
    }

    /// See `ReplicaHost::supersede`.
    pub(crate) fn supersede(
        &self,
        range: &RangeDescriptor,
        write: &mut dyn FnMut(&[RangeDescriptor]) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let engine = &self.inner.engine;
        let in_the_way = || -> Result<Vec<RangeDescriptor>, StorageError> {
            let mut found = replica::stored_ranges(engine)?;
            found.retain(|other| other.range_id != range.range_id && other.span().overlaps(&range.span()));
            Ok(found)
        };
        let mut superseded = in_the_way()?;
        loop {
            // Not under `merging`: what one of them is applying may wait for that.
            superseded.iter().filter(|other| is_superseded(other, range)).for_each(|other| self.dissolve(other.range_id));
            // *merged-state-stays*
            let _neither_clears = self.inner.merging.lock();
            let now = in_the_way()?;
            if now != superseded {
                superseded = now;
                continue;
            }
            if let Some(other) = superseded.iter().find(|other| !is_superseded(other, range)) {
                return Err(StorageError::Rocks { what: format!("{other} is in the place of a snapshot of {range}") });
            }
            write(&superseded)?;
            superseded.iter().for_each(|other| self.note_merged(other));
            return Ok(());
        }
    }

    /// What the replica of a range here is applying has been when this returns, and it applies nothing more.
    fn dissolve(&self, range_id: RangeId) {
        let fenced = self.inner.fenced.lock().get(&range_id).and_then(|fenced| fenced.replica.clone());
        for replica in self.replica(range_id).into_iter().chain(fenced) {
            replica.machine().dissolve();
        }
    }

    /// Its state is its neighbour's: the replica ends. Under `merging`.
    fn note_merged(&self, range: &RangeDescriptor) {
        let inner = &self.inner;
        let range_id = range.range_id;
        // Noted first: who is just opening it looks afterwards.
        inner.merged.write().insert(range_id, range.clone());
        let here = inner.replicas.write().remove(&range_id);
        inner.fenced.lock().remove(&range_id);
        if let Some(replica) = here {
            replica.machine().send_on();
        }
        tracing::info!(range = %range_id, "the replica ends: its range was merged");
        let store = self.clone();
        tokio::spawn(async move { store.end_merged(range_id).await });
    }

    /// *log-after-flush*
    pub(super) async fn end_merged(&self, range_id: RangeId) {
        self.inner.raft.close_group(range_id).await;
        fail::fail_point!("merge::replica_closed");
        let engine = self.inner.engine.clone();
        match tokio::task::spawn_blocking(move || engine.flush()).await {
            Ok(Ok(())) if !self.is_stopping() => self.inner.raft.remove_group(range_id).await,
            // Found at the next start.
            Ok(Ok(())) | Err(_) => {}
            Ok(Err(error)) => tracing::warn!(range = %range_id, %error, "the log of a merged range stays for now"),
        }
    }

    /// At the start: logs of ranges whose merge was made durable before the crash. What is found on the disk then is.
    pub(super) async fn remove_merged_logs(&self) {
        for range_id in self.inner.raft.unopened() {
            if self.is_merged(range_id) {
                self.inner.raft.remove_group(range_id).await;
            }
        }
    }

    /// Removes a replica whose range was merged elsewhere, unless its state is still waited for here.
    pub(crate) async fn leave_merged(&self, range_id: RangeId) -> Result<(), StoreError> {
        let fenced = self.inner.fenced.lock().get(&range_id).cloned();
        let (replica_id, replica) = match (self.replica(range_id), fenced) {
            (Some(replica), _) => (replica.replica_id(), Some(replica)),
            (None, Some(fenced)) => (fenced.replica_id, fenced.replica),
            (None, None) => return Ok(()),
        };
        let left = replica.and_then(|replica| replica.machine().frozen()).map(|into| into.left);
        // *kept-for-its-merge*
        if left.is_some_and(|left| self.may_come_to(left)) {
            return Ok(());
        }
        tracing::info!(range = %range_id, "a replica leaves: its range was merged, and not here");
        self.remove_replica(range_id, replica_id).await
    }

    /// Whether a replica of a range is here, or may be again by the log that is.
    fn may_come_to(&self, range_id: RangeId) -> bool {
        self.replica(range_id).is_some()
            || self.inner.fenced.lock().contains_key(&range_id)
            || self.inner.raft.has_unopened_entries(range_id)
    }

    /// See [`super::StoreRequest::CatchUp`].
    pub(super) async fn catch_up_here(
        &self,
        (right, right_replica): (RangeId, ReplicaId),
        index: u64,
        (left, left_replica): (RangeId, ReplicaId),
    ) -> Result<(), String> {
        let own = |range_id, replica_id| {
            let replica = self.replica(range_id).filter(|replica| replica.replica_id() == replica_id);
            replica.filter(|replica| replica.descriptor().is_some())
        };
        let until = Instant::now() + CATCH_UP_BOUND;
        loop {
            let right = own(right, right_replica).ok_or_else(|| format!("{right_replica} of {right} is not here"))?;
            if own(left, left_replica).is_none() {
                return Err(format!("{left_replica} of {left} is not here"));
            }
            if right.group().applied_index() >= index && (index == 0 || right.machine().frozen().is_some()) {
                // Before the freeze as much as there is, so that little is left for later.
                let wanted = if index == 0 { right.group().applied_index() } else { index };
                if right.group().durable_index() >= wanted {
                    return Ok(());
                }
                let engine = self.inner.engine.clone();
                let flushed = tokio::task::spawn_blocking(move || engine.flush()).await;
                return flushed.map_err(|error| error.to_string())?.map_err(|error| error.to_string());
            }
            if Instant::now() >= until {
                return Err(format!("{right_replica} has not applied {index} in time"));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}
