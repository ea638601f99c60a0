//! How replicas come to a store and leave it, and what is noted of them beside the log.
//!
//! ```text
//! told by the range, or a message ──▶ number noted ──▶ waits, may vote ──┬─ snapshot ──────────▶ has state
//!                                                                        └─ the split arrives ──▶ has state, same vote
//! told to go, or found out ──▶ noted as gone ──▶ its log goes ──▶ its state goes, flushed
//! its range is merged ──▶ see `merges`
//! ```
//!
//! **Invariant (split-replayed-first):** a log with entries is opened only over the state that they follow. A crash may
//! take the state of a right half that was not flushed; it comes back when the left half replays the split, and no
//! replica that waits is opened over that log before. Where the left half comes to a snapshot that lies past the split,
//! nothing is replayed any more: the replica counts as failed, and the range replaces it.
//!
//! **Invariant (fenced-for-good):** a replica that was found to have other bytes than most is noted as such, and not opened
//! again: until another takes its place its log and its votes help nobody, and hurt nobody.
//!
//! Of a range it is noted which replica may live here and which was the last that left: whatever is below either is
//! never opened again. Both notes are durable before what follows from them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use keys::{RangeDescriptor, RangeId, ReplicaId, Span};
use parking_lot::Mutex;
use raft::GroupOptions;
use replica::{Machine, Replica, ReplicaDeps};
use rustc_hash::FxHashMap;
use storage::{StorageError, WriteBatch, log::LogOp};
use tokio::time::Instant;

use super::{Store, StoreError, host::Host};

/// The last replica of a range that was told to live here.
const NUMBER_PREFIX: &[u8] = b"replica/";
/// The last one that left. While it is not below the other, there is none.
const GONE_PREFIX: &[u8] = b"gone/";
/// One that must not be opened: *fenced-for-good*.
const FENCED_PREFIX: &[u8] = b"fenced/";

/// How long after the first message for the right half of a split its replica may take to come by the left half's log,
/// as it nearly always does.
const SPLIT_PATIENCE: Duration = Duration::from_secs(1);

fn range_key(prefix: &[u8], range_id: RangeId) -> Bytes {
    let mut key = prefix.to_vec();
    key.extend_from_slice(&range_id.get().to_be_bytes());
    key.into()
}

/// What was noted of ranges under one prefix.
fn recover_numbers(
    metas: &[(Bytes, Bytes)],
    prefix: &[u8],
) -> Result<FxHashMap<RangeId, ReplicaId>, StoreError> {
    let mut numbers = FxHashMap::default();
    for (key, value) in metas {
        let Some(range) = key.strip_prefix(prefix) else { continue };
        let range = <[u8; 8]>::try_from(range).map_err(|_| StoreError::ReplicaNumber)?;
        let number = postcard::from_bytes(value).map_err(|_| StoreError::ReplicaNumber)?;
        numbers.insert(RangeId::new(u64::from_be_bytes(range)), number);
    }
    Ok(numbers)
}

/// Which replicas may live here, as the log has it.
pub(crate) struct Notes {
    /// The replica of each range that was last told to live here.
    numbers: Mutex<FxHashMap<RangeId, ReplicaId>>,
    /// The last replica of each range that left.
    gone: Mutex<FxHashMap<RangeId, ReplicaId>>,
    /// See [`FENCED_PREFIX`].
    fenced: FxHashMap<RangeId, ReplicaId>,
}

impl Notes {
    pub fn recover(metas: &[(Bytes, Bytes)]) -> Result<Self, StoreError> {
        let numbers = Mutex::new(recover_numbers(metas, NUMBER_PREFIX)?);
        let (gone, fenced) = (recover_numbers(metas, GONE_PREFIX)?, recover_numbers(metas, FENCED_PREFIX)?);
        Ok(Self { numbers, gone: Mutex::new(gone), fenced })
    }

    fn number(&self, range_id: RangeId) -> Option<ReplicaId> {
        self.numbers.lock().get(&range_id).copied()
    }
}

/// Spans that state is about to come to, or that are being cleared: nothing else may come there meanwhile.
#[derive(Default)]
pub(crate) struct Places {
    next: AtomicU64,
    held: Mutex<Vec<(u64, RangeId, Span)>>,
}

/// A span that is held until this is dropped.
pub(crate) struct Held {
    places: Arc<Places>,
    number: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.places.held.lock().retain(|(number, ..)| *number != self.number);
    }
}

impl Places {
    fn push(self: &Arc<Self>, held: &mut Vec<(u64, RangeId, Span)>, range_id: RangeId, span: Span) -> Held {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        held.push((number, range_id, span));
        Held { places: self.clone(), number }
    }

    /// Holds a span, whoever else does.
    pub fn hold(self: &Arc<Self>, range: &RangeDescriptor) -> Held {
        self.push(&mut self.held.lock(), range.range_id, range.span())
    }
}

/// A replica that failed and was taken out of service; its state and its log are still here.
#[derive(Clone)]
pub(crate) struct Fenced {
    pub replica_id: ReplicaId,
    /// Its span may shrink until its group has ended.
    pub replica: Option<Arc<Replica>>,
    /// Of one that could not be opened.
    pub found: Option<RangeDescriptor>,
}

impl Fenced {
    pub fn descriptor(&self) -> Option<RangeDescriptor> {
        let opened = self.replica.as_ref().and_then(|replica| replica.descriptor());
        opened.map(|range| (*range).clone()).or_else(|| self.found.clone())
    }
}

/// Whether `other` was merged, as `range` shows: the start of `other` has another, later owner.
pub(super) fn is_superseded(other: &RangeDescriptor, range: &RangeDescriptor) -> bool {
    range.contains_key(other.start.as_bytes()) && other.generation < range.generation
}

impl Store {
    /// *no-overlap*: holds the span for a snapshot, if nobody else has it or is about to. Who is in the way may have
    /// left its range without knowing. Replicas of ranges that were merged stay until the snapshot takes their place:
    /// *kept-for-its-merge*.
    pub(crate) fn reserve(&self, range: &RangeDescriptor) -> Option<Held> {
        let span = range.span();
        let places = &self.inner.places;
        let mut held = places.held.lock();
        if held.iter().any(|(_, _, other)| other.overlaps(&span)) {
            return None;
        }
        let fenced: Vec<RangeDescriptor> =
            self.inner.fenced.lock().values().filter_map(Fenced::descriptor).collect();
        let opened = self.replicas().into_iter().filter_map(|replica| Some((*replica.descriptor()?).clone()));
        let in_the_way: Vec<RangeDescriptor> = opened
            .chain(fenced)
            .filter(|other| other.range_id != range.range_id && other.span().overlaps(&span))
            .collect();
        let (superseded, others): (Vec<_>, Vec<_>) =
            in_the_way.into_iter().partition(|other| is_superseded(other, range));
        if others.is_empty() {
            let end = superseded.into_iter().map(|other| other.end).chain([span.end]).max();
            let hull = Span::new(span.start, end.expect("there is the range's own"));
            return Some(places.push(&mut held, range.range_id, hull));
        }
        drop(held);
        others.into_iter().for_each(|other| self.suspect(other.range_id));
        None
    }

    pub(super) async fn open_replica(
        &self,
        range_id: RangeId,
        replica_id: ReplicaId,
        campaign: bool,
    ) -> Result<Arc<Replica>, StoreError> {
        if let Some(replica) = self.replica(range_id) {
            return Ok(replica);
        }
        let inner = &self.inner;
        let host = Arc::new(Host::new(self));
        let machine = Arc::new(Machine::load(range_id, inner.engine.clone(), host.clone())?);
        let options = GroupOptions { range_id, replica_id, campaign };
        let group = inner.raft.open_group(options, machine.clone()).await?;
        let deps = ReplicaDeps {
            engine: inner.engine.clone(),
            clock: inner.clock.clone(),
            node_id: inner.node_id,
            store_id: inner.store_id,
            outbound: inner.outbound.clone(),
            host,
            txn_expiry: inner.config.txn_expiry,
            bulk_locks_min: inner.config.bulk_locks_min,
        };
        let replica = Arc::new(Replica::new(deps, replica_id, machine, group));
        inner.replicas.write().insert(range_id, replica.clone());
        // Its neighbour may have come to their merge while this was opened.
        if self.is_merged(range_id) {
            replica.machine().dissolve();
            inner.replicas.write().remove(&range_id);
            let store = self.clone();
            tokio::spawn(async move { store.end_merged(range_id).await });
        }
        Ok(replica)
    }

    /// Notes durably that this replica may live here, and opens it; it waits for its snapshot.
    pub(crate) async fn prepare_replica(
        &self,
        range_id: RangeId,
        replica_id: ReplicaId,
        is_new: bool,
    ) -> Result<(), String> {
        let _one_at_a_time = self.inner.arrivals.lock().await;
        let failed = |error: StoreError| error.to_string();
        // *replica-id-fresh*: a number that is not above the last was in use here before.
        if self.has_left(range_id, replica_id) {
            return Err(format!("{replica_id} of {range_id} has left"));
        }
        // The split is being written, or its replica is next to be opened.
        if self.inner.splits.lock().contains_key(&range_id) {
            return Err(format!("{range_id} comes by a split"));
        }
        self.inner.engine.check_space().map_err(|error| error.to_string())?;
        let fenced = self.inner.fenced.lock().get(&range_id).map(|fenced| fenced.replica_id);
        let here = self.replica(range_id).map(|replica| replica.replica_id());
        match here.or(fenced) {
            Some(here) if here == replica_id && fenced.is_none() => return Ok(()),
            Some(older) if older < replica_id => self.take_out(range_id, older).await.map_err(failed)?,
            Some(here) if here == replica_id => return Err(format!("{range_id} is fenced here")),
            Some(newer) => return Err(format!("{newer} is here")),
            // It failed before it was opened: until the store is started again, nobody may speak for what its log says.
            None if !self.inner.raft.may_open(range_id) => return Err(format!("{range_id} is fenced here")),
            // Of one that was here before, and is not waited for any more.
            None if is_new && self.inner.raft.has_unopened_entries(range_id) => {
                self.take_out(range_id, ReplicaId::new(replica_id.get().saturating_sub(1))).await.map_err(failed)?;
            }
            // *split-replayed-first*
            None if self.inner.raft.has_unopened_entries(range_id) => {
                return Err(format!("{range_id} comes when its split is replayed"));
            }
            None => {}
        }
        // Left by one that was taken out when its state could not be cleared.
        let stored =
            replica::stored_range(&self.inner.engine, range_id).map_err(|error| error.to_string())?;
        let others = |range: &RangeDescriptor| {
            range.replica_on_store(self.inner.store_id).is_none_or(|own| own.replica_id != replica_id)
        };
        if let Some(range) = stored.filter(others) {
            self.forget_state(&range).map_err(|error| error.to_string())?;
        }
        if self.inner.notes.number(range_id) != Some(replica_id) {
            self.note(range_key(NUMBER_PREFIX, range_id), replica_id).await.map_err(failed)?;
            self.inner.notes.numbers.lock().insert(range_id, replica_id);
        }
        fail::fail_point!("store::noted_number");
        self.open_replica(range_id, replica_id, false).await.map(|_| ()).map_err(failed)
    }

    /// A message has come for a replica that is not here. One that never was here and may be is made, if it has not come
    /// by a split in a while, and waits: whoever sent it has a snapshot for it. It may vote at once, as it has not before.
    pub(super) fn missing(&self, range_id: RangeId, replica_id: ReplicaId) {
        if self.is_stopping() || self.has_left(range_id, replica_id) {
            return;
        }
        // Who is here instead may have been replaced by it: asked of the range, not believed of a message.
        let fenced = self.inner.fenced.lock().contains_key(&range_id);
        if fenced || self.replica(range_id).is_some() {
            self.suspect(range_id);
            return;
        }
        {
            let mut coming = self.inner.coming.lock();
            let first = coming.entry(range_id).or_insert_with(|| Some(Instant::now()));
            if first.is_none_or(|first| first.elapsed() < SPLIT_PATIENCE) {
                return;
            }
            *first = None;
        }
        let store = self.clone();
        tokio::spawn(async move {
            match store.prepare_replica(range_id, replica_id, false).await {
                Ok(()) => {
                    tracing::info!(range = %range_id, replica = %replica_id, "a replica waits for its snapshot")
                }
                Err(reason) => {
                    tracing::debug!(range = %range_id, replica = %replica_id, reason, "no replica is made")
                }
            }
            store.inner.coming.lock().remove(&range_id);
        });
    }

    /// Forgets messages that were the only ones in a while.
    pub(crate) fn forget_messages(&self) {
        self.inner
            .coming
            .lock()
            .retain(|_, first| first.is_none_or(|first| first.elapsed() < 60 * SPLIT_PATIENCE));
    }

    /// Brings the right half of a split to life. A replica that waited for its snapshot ends, and its vote passes on.
    pub(super) async fn begin_right_half(
        &self,
        right: &RangeDescriptor,
        own: ReplicaId,
        campaign: bool,
    ) -> Result<(), StoreError> {
        let _one_at_a_time = self.inner.arrivals.lock().await;
        let range_id = right.range_id;
        // Told to go since the split was written.
        if self.is_merged(range_id) {
            return Ok(());
        }
        if self.has_left(range_id, own) {
            self.inner.replicas.write().remove(&range_id);
            self.inner.raft.remove_group(range_id).await;
            return Ok(self.forget_state(right)?);
        }
        match self.replica(range_id) {
            Some(waiting) if waiting.descriptor().is_none() => {
                self.inner.replicas.write().remove(&range_id);
                if waiting.replica_id() == own {
                    self.inner.raft.hand_back(range_id).await;
                } else {
                    self.inner.raft.remove_group(range_id).await;
                }
            }
            Some(opened) => {
                if campaign {
                    opened.group().campaign().await;
                }
                return Ok(());
            }
            None => {}
        }
        self.open_replica(range_id, own, campaign).await.map(|_| ())
    }

    /// Opens what the store has at its start, and ends what had not come to its end.
    pub(super) async fn open_replicas(&self) -> Result<(), StoreError> {
        let inner = &self.inner;
        self.recover_merges()?;
        self.remove_merged_logs().await;
        // The crash came after it was noted that a replica had left and before its log was removed: the next one must
        // not take up its votes and entries.
        for range_id in inner.raft.unopened() {
            let last = inner.notes.number(range_id).unwrap_or_default();
            if self.has_left(range_id, last) {
                inner.raft.remove_group(range_id).await;
            }
        }
        for range in replica::stored_ranges(&inner.engine)? {
            let range_id = range.range_id;
            // Its neighbour, opened before, has come to their merge.
            if self.is_merged(range_id) {
                continue;
            }
            let own = range.replica_on_store(inner.store_id).copied();
            // It was removed from the range, and the crash came before that was noted, or before its state was cleared.
            let Some(own) = own.filter(|own| !self.has_left(range_id, own.replica_id)) else {
                if own.is_none() {
                    // *removed-is-final*
                    let last = ReplicaId::new(range.next_replica_id.get().saturating_sub(1));
                    self.note_gone(range_id, last).await?;
                }
                // The log may be of one that waits for its snapshot.
                if inner.notes.number(range_id).is_none_or(|number| self.has_left(range_id, number)) {
                    inner.raft.remove_group(range_id).await;
                }
                self.forget_state(&range)?;
                continue;
            };
            let alone = range.voters().count() == 1;
            // *fenced-for-good*
            if !alone && inner.notes.fenced.get(&range_id) == Some(&own.replica_id) {
                let fenced = Fenced { replica_id: own.replica_id, replica: None, found: Some(range) };
                self.note_fenced(range_id, fenced, "it was, before this start");
                continue;
            }
            match self.open_replica(range_id, own.replica_id, alone).await {
                Ok(_) => {}
                // Its neighbour has come to their merge while it was being opened.
                Err(_) if self.is_merged(range_id) => {}
                // The others have what is damaged here, and elect among themselves.
                Err(error) if !alone => {
                    let fenced = Fenced { replica_id: own.replica_id, replica: None, found: Some(range) };
                    self.note_fenced(range_id, fenced, &error.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        // Replicas that wait for their first snapshot.
        let waiting: Vec<(RangeId, ReplicaId)> =
            inner.notes.numbers.lock().iter().map(|(range, number)| (*range, *number)).collect();
        for (range_id, replica_id) in waiting {
            let fenced = inner.fenced.lock().contains_key(&range_id);
            let is_replayed = inner.raft.has_unopened_entries(range_id);
            if self.replica(range_id).is_none() && !fenced && !is_replayed && !self.has_left(range_id, replica_id) {
                self.open_replica(range_id, replica_id, false).await?;
            }
        }
        Ok(())
    }

    pub(crate) async fn remove_replica(
        &self,
        range_id: RangeId,
        replica_id: ReplicaId,
    ) -> Result<(), StoreError> {
        let _one_at_a_time = self.inner.arrivals.lock().await;
        self.take_out(range_id, replica_id).await
    }

    /// Call under `arrivals`.
    async fn take_out(&self, range_id: RangeId, replica_id: ReplicaId) -> Result<(), StoreError> {
        // *gone-stays-gone*: noted though it is not here, as what tells this store to prepare it may come later.
        self.note_gone(range_id, replica_id).await?;
        fail::fail_point!("store::noted_gone");
        // An older one left as well: a store has one replica of a range at a time.
        let replica = self.replica(range_id).filter(|replica| replica.replica_id() <= replica_id);
        let fenced =
            self.inner.fenced.lock().get(&range_id).filter(|it| it.replica_id <= replica_id).cloned();
        if replica.is_none() && fenced.is_none() {
            // *split-replayed-first*: it is not waited for any more, and the log is nobody's.
            let is_last = self.inner.notes.number(range_id).is_none_or(|number| number <= replica_id);
            if is_last && self.inner.raft.has_unopened_entries(range_id) {
                self.inner.raft.remove_group(range_id).await;
            }
            return Ok(());
        }
        let descriptor = || match &replica {
            Some(replica) => replica.descriptor().map(|range| (*range).clone()),
            None => fenced.as_ref().and_then(Fenced::descriptor),
        };
        // Until it is cleared: a snapshot that came here first would be cleared with it.
        let _held = descriptor().map(|range| self.inner.places.hold(&range));
        self.inner.replicas.write().remove(&range_id);
        self.inner.raft.remove_group(range_id).await;
        fail::fail_point!("store::log_removed");
        // As its group left it: a split may have been applied until then.
        if let Some(range) = descriptor() {
            self.forget_state(&range)?;
        }
        self.inner.fenced.lock().remove(&range_id);
        fail::fail_point!("store::state_cleared");
        tracing::info!(range = %range_id, replica = %replica_id, "replica removed");
        Ok(())
    }

    /// Whether a replica was here and is not any more, or another came after it.
    pub(crate) fn has_left(&self, range_id: RangeId, replica_id: ReplicaId) -> bool {
        let notes = &self.inner.notes;
        self.is_merged(range_id)
            || notes.gone.lock().get(&range_id).is_some_and(|gone| *gone >= replica_id)
            || notes.number(range_id).is_some_and(|number| number > replica_id)
    }

    /// Whether this store has a log of the range and no state, and no left half here that its split could come from.
    pub(crate) fn is_never_replayed(&self, range_id: RangeId, span: &Span) -> bool {
        let inner = &self.inner;
        if !inner.raft.has_unopened_entries(range_id) || inner.splits.lock().contains_key(&range_id) {
            return false;
        }
        let failed = inner.fenced.lock().values().filter_map(Fenced::descriptor).collect::<Vec<_>>();
        // Until all is looked at: the left half may be a right half itself, that another split is just bringing here.
        let held = inner.places.held.lock();
        let opened = self.replicas().into_iter().filter_map(|replica| Some((*replica.descriptor()?).clone()));
        let ranges = opened.chain(failed).map(|range| (range.range_id, range.span()));
        let coming = held.iter().map(|(_, range_id, span)| (*range_id, span.clone()));
        let is_replayed = ranges.chain(coming).any(|(other, its)| other != range_id && its.overlaps(span));
        drop(held);
        // Its state is there where the split has just been written.
        !is_replayed && matches!(replica::stored_range(&inner.engine, range_id), Ok(None))
    }

    /// Durable when this returns; what was noted before is not taken back.
    pub(super) async fn note_gone(&self, range_id: RangeId, replica_id: ReplicaId) -> Result<(), StoreError> {
        if self.inner.notes.gone.lock().get(&range_id).is_some_and(|gone| *gone >= replica_id) {
            return Ok(());
        }
        self.note(range_key(GONE_PREFIX, range_id), replica_id).await?;
        self.inner.notes.gone.lock().insert(range_id, replica_id);
        Ok(())
    }

    /// Durable when this returns.
    async fn note(&self, key: Bytes, number: ReplicaId) -> Result<(), StoreError> {
        let value = postcard::to_stdvec(&number).expect("a number encodes").into();
        let (done, wait) = futures::channel::oneshot::channel();
        self.inner.log.submit(
            LogOp::PutMeta { key, value },
            Box::new(move || {
                let _unheard = done.send(());
            }),
        );
        wait.await.map_err(|_| StoreError::Closed)
    }

    /// Clears what a replica that is gone has left.
    fn forget_state(&self, range: &RangeDescriptor) -> Result<(), StorageError> {
        let mut batch = WriteBatch::new();
        batch.clear_span(&range.span());
        for span in replica::local_spans(range) {
            batch.clear_local_span(&span);
        }
        raft::blocking(|| {
            // *merged-state-stays*
            let _no_merge = self.inner.merging.lock();
            if self.is_merged(range.range_id) {
                return Ok(());
            }
            self.inner.engine.apply(&batch)?;
            self.inner.engine.flush()
        })
    }

    /// *fenced-for-good*
    pub(crate) async fn fence_for_good(
        &self,
        range_id: RangeId,
        replica_id: ReplicaId,
        reason: &str,
    ) -> Result<(), StoreError> {
        self.note(range_key(FENCED_PREFIX, range_id), replica_id).await?;
        // Another may have come in its place meanwhile.
        if self.replica(range_id).is_some_and(|replica| replica.replica_id() == replica_id) {
            self.fence(range_id, reason);
        }
        Ok(())
    }

    /// Takes the replica of a range out of service.
    pub(crate) fn fence(&self, range_id: RangeId, reason: &str) {
        let Some(replica) = self.replica(range_id) else { return };
        let fenced = Fenced { replica_id: replica.replica_id(), replica: Some(replica), found: None };
        self.note_fenced(range_id, fenced, reason);
        self.inner.replicas.write().remove(&range_id);
        let store = self.clone();
        tokio::spawn(async move { store.inner.raft.close_group(range_id).await });
    }

    pub(super) fn note_fenced(&self, range_id: RangeId, fenced: Fenced, reason: &str) {
        tracing::error!(range = %range_id, reason, "the range is fenced here: this store does not serve it");
        self.inner.fenced.lock().insert(range_id, fenced);
        self.inner.fenced_count.fetch_add(1, Ordering::Relaxed);
    }
}
