//! The state machine under Raft: applies commands to the engine, makes and takes in snapshots.
//!
//! **Invariants**
//! - *applied-with-data*: the applied position is written in the same batch as what it covers.
//! - *lease-named*: see [`crate::command`].
//! - *gone-stays-gone*: a split brings no replica back that has left this store: what it would have had is cleared.
//! - *ingest-after-flush*: before a snapshot is taken in, what others gave up for it is durable: a replay after a crash
//!   would write below it.
//! - *merged-ends*: a replica whose range was merged applies nothing more and takes in no snapshot; its span is another's.
//! - *generation-by-one*: a descriptor, or the left half of a split, takes effect only where it follows on the one at hand.
//!   One that was made from an older descriptor would undo what happened since; it is void, on every replica alike.
//! - *split-alone*: a command with an effect ends the slice of entries that is written at once, so that its effect is
//!   seen with exactly its own state.

use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use hlc::Timestamp;
use keys::{Key, RangeDescriptor, RangeId, ReplicaId, Span, Term, TxnId, keyspace};
use parking_lot::Mutex;
use raft::{
    Admitted, Applied, ApplyError, Committed, CommittedPayload, LogPosition, SnapshotSource, StateMachine,
};
use smallvec::SmallVec;
use storage::{Engine, StorageError, WriteBatch};

use crate::{
    cleared::Cleared,
    command::{Command, Effect, Frozen, Merge},
    commits::Commits,
    host::{Inheritance, ReplicaHost, RightHalf},
    state,
};

/// The outcome of a command that took effect.
pub(crate) const APPLIED: u8 = 1;
/// The outcome of one that named another lease.
const REFUSED: u8 = 0;

/// The log index a range begins at: an empty log over existing data must not look like one from the beginning.
pub const FIRST_INDEX: u64 = 10;
/// The term of that index; the first election is above it.
pub const FIRST_TERM: Term = Term::new(0);

/// The position of a range's log before its first entry.
fn initial_position() -> LogPosition {
    LogPosition { term: FIRST_TERM, index: FIRST_INDEX }
}

/// Where a new range's log begins: the same on every store, with the members of the descriptor.
#[must_use]
pub fn first_applied(range: &RangeDescriptor) -> Applied {
    Applied {
        position: Some(initial_position()),
        membership: raft::initial_membership(range, initial_position()),
    }
}

/// What a range remembers of the past it cannot show any more.
#[derive(Clone)]
pub(crate) struct Marks {
    low_water: Timestamp,
    /// Reads below this may miss versions.
    pub gc_threshold: Timestamp,
    pub cleared: Cleared,
    /// For which merge the range serves nothing.
    pub frozen: Option<Frozen>,
}

impl Marks {
    fn load(range_id: RangeId, engine: &Engine) -> Result<Self, StorageError> {
        Ok(Self {
            low_water: state::load_timestamp(engine, &state::low_water_key(range_id))?,
            gc_threshold: state::load_timestamp(engine, &state::gc_key(range_id))?,
            cleared: state::load_cleared(engine, range_id)?,
            frozen: state::load_frozen(engine, range_id)?,
        })
    }

    /// What a range that is split to `left` goes on with, where that is something else.
    fn cut_to(&self, left: &RangeDescriptor) -> Option<Self> {
        let cut = || Self { cleared: self.cleared.within(&left.span()), ..self.clone() };
        (!self.cleared.is_empty()).then(cut)
    }
}

pub struct Machine {
    range_id: RangeId,
    engine: Engine,
    host: Arc<dyn ReplicaHost>,
    applied_key: Key,
    applied: Mutex<Applied>,
    descriptor: ArcSwapOption<RangeDescriptor>,
    marks: ArcSwap<Marks>,
    /// The one-phase commits applied lately.
    pub(crate) commits: Commits,
    /// Set once the replica exists; leadership changes before that concern nobody.
    leads: std::sync::atomic::AtomicBool,
    damaged: OnceLock<String>,
    /// *merged-ends*; held while something is applied or taken in.
    dissolved: Mutex<bool>,
    /// Told when the range thaws or ends.
    pub(crate) thawed: tokio::sync::Notify,
}

impl Machine {
    /// The machine of a range as the engine has it; one without a descriptor waits for its first snapshot.
    ///
    /// # Errors
    /// When the engine fails or the range's records are damaged.
    pub fn load(range_id: RangeId, engine: Engine, host: Arc<dyn ReplicaHost>) -> Result<Self, StorageError> {
        let applied_key = state::applied_key(range_id);
        let (descriptor, applied, marks) = loop {
            let descriptor = state::stored_range(&engine, range_id)?;
            let applied = match engine.get_local(applied_key.as_bytes())? {
                Some(bytes) => state::decode_applied(&bytes)?,
                None => Applied::default(),
            };
            let marks = Marks::load(range_id, &engine)?;
            // The split that makes the range may have been applied meanwhile, all of it at once.
            if state::stored_range(&engine, range_id)? == descriptor {
                break (descriptor.map(Arc::new), applied, ArcSwap::from_pointee(marks));
            }
        };
        Ok(Self {
            range_id,
            engine,
            host,
            applied_key,
            applied: Mutex::new(applied),
            descriptor: ArcSwapOption::from(descriptor),
            marks,
            commits: Commits::default(),
            leads: std::sync::atomic::AtomicBool::new(false),
            damaged: OnceLock::new(),
            dissolved: Mutex::new(false),
            thawed: tokio::sync::Notify::new(),
        })
    }

    #[must_use]
    pub fn range_id(&self) -> RangeId {
        self.range_id
    }

    #[must_use]
    pub fn descriptor(&self) -> Option<Arc<RangeDescriptor>> {
        self.descriptor.load_full()
    }

    /// At or above everything served for the range's keys before it was a range of its own.
    pub(crate) fn low_water(&self) -> Timestamp {
        self.marks.load().low_water
    }

    pub(crate) fn gc_threshold(&self) -> Timestamp {
        self.marks.load().gc_threshold
    }

    pub(crate) fn marks(&self) -> Arc<Marks> {
        self.marks.load_full()
    }

    /// The low-water mark, where the range is not frozen.
    pub(crate) fn serves_above(&self) -> Option<Timestamp> {
        let marks = self.marks.load();
        marks.frozen.is_none().then_some(marks.low_water)
    }

    /// The merge into another range that this one waits for.
    #[must_use]
    pub fn frozen(&self) -> Option<crate::api::MergeInto> {
        self.marks.load().frozen.as_ref().map(|frozen| frozen.into.clone())
    }

    /// *merged-ends*; what is being applied has been when this returns.
    pub fn dissolve(&self) {
        *self.dissolved.lock() = true;
    }

    /// Sends on those who wait for the range to thaw: it is another's.
    pub fn send_on(&self) {
        self.thawed.notify_waiters();
    }

    pub(crate) fn is_dissolved(&self) -> bool {
        *self.dissolved.lock()
    }

    /// Whether an effect is none, as what it depends on is not so any more: the same on every replica.
    fn is_void(&self, effect: &Effect) -> bool {
        let marks = self.marks.load();
        match effect {
            Effect::Gc { .. } | Effect::Clear { .. } | Effect::ComputeChecksum { .. } => false,
            // *generation-by-one*
            Effect::Split { left: next, .. } | Effect::Descriptor(next) => {
                self.descriptor.load().as_ref().is_none_or(|now| now.generation + 1 != next.generation)
            }
            Effect::Freeze(_) => marks.frozen.is_some(),
            Effect::Thaw(into) => marks.frozen.as_ref().is_none_or(|frozen| frozen.into != *into),
            // *one-decision*
            Effect::Merge(merge) => {
                marks.frozen.is_some()
                    || self.descriptor.load().as_ref().is_none_or(|now| now.generation != merge.into.generation)
            }
        }
    }

    /// What the range that is merged in remembers, if its state is here as of its freeze: *absorbed-is-complete*.
    fn absorbed(&self, merge: &Merge) -> Result<Marks, StorageError> {
        let range_id = merge.right.range_id;
        let lacks = |what: &str| StorageError::corruption(format!("{range_id} cannot be merged here: {what}"));
        if state::stored_range(&self.engine, range_id)?.as_ref() != Some(&merge.right) {
            return Err(lacks("its state is not here"));
        }
        let applied = self.engine.get_local(state::applied_key(range_id).as_bytes())?;
        let applied = applied.map(|bytes| state::decode_applied(&bytes)).transpose()?;
        let index = applied.and_then(|applied| applied.position).map_or(0, |position| position.index);
        let marks = Marks::load(range_id, &self.engine)?;
        if index < merge.index || marks.frozen.as_ref().is_none_or(|frozen| frozen.into != merge.into) {
            return Err(lacks("its state is older than its freeze"));
        }
        Ok(marks)
    }

    fn apply_slice(&self, entries: &[Committed]) -> Result<Vec<Bytes>, StorageError> {
        let mut outcomes = Vec::with_capacity(entries.len());
        let mut batch = WriteBatch::new();
        let mut commits = SmallVec::<[(TxnId, Timestamp); 8]>::new();
        let mut applied = self.applied.lock().clone();
        for entry in entries {
            applied.position = Some(entry.position);
            let command = match &entry.payload {
                CommittedPayload::Blank => {
                    outcomes.push(Bytes::new());
                    continue;
                }
                CommittedPayload::Membership(membership) => {
                    applied.membership = membership.clone();
                    outcomes.push(Bytes::new());
                    continue;
                }
                CommittedPayload::Command(payload) => Command::decode(payload).map_err(|error| {
                    StorageError::corruption(format!(
                        "{} entry {}: {error}",
                        self.range_id, entry.position.index
                    ))
                })?,
            };
            if command.term != entry.position.term {
                tracing::debug!(range = %self.range_id, index = entry.position.index, "command of another lease");
                outcomes.push(Bytes::from_static(&[REFUSED]));
                continue;
            }
            if command.effect.as_ref().is_some_and(|effect| self.is_void(effect)) {
                outcomes.push(Bytes::from_static(&[REFUSED]));
                continue;
            }
            if !command.batch.is_empty() {
                batch.merge_bytes(&command.batch)?;
            }
            commits.extend(command.one_phase);
            outcomes.push(Bytes::from_static(&[APPLIED]));
            if let Some(effect) = command.effect {
                // *split-alone*
                let right = match &effect {
                    Effect::Split { right, .. } => self.host.splitting(right),
                    Effect::Descriptor(_)
                    | Effect::Gc { .. }
                    | Effect::Clear { .. }
                    | Effect::Freeze(_)
                    | Effect::Thaw(_)
                    | Effect::Merge(_)
                    | Effect::ComputeChecksum { .. } => RightHalf::Gone,
                };
                if let Effect::Merge(merge) = &effect {
                    fail::fail_point!("merge::before_apply");
                    let mut write = || -> Result<(), StorageError> {
                        self.write(std::mem::take(&mut batch), &applied, Some((&effect, right)))?;
                        self.descriptor.store(Some(Arc::new(merge.left.clone())));
                        Ok(())
                    };
                    self.host.merge(&merge.right, &mut write)?;
                } else {
                    self.write(std::mem::take(&mut batch), &applied, Some((&effect, right)))?;
                }
                self.take_effect(effect, right);
            }
        }
        self.write(batch, &applied, None)?;
        self.commits.applied(&commits);
        Ok(outcomes)
    }

    /// *applied-with-data*
    fn write(
        &self,
        mut batch: WriteBatch,
        applied: &Applied,
        effect: Option<(&Effect, RightHalf)>,
    ) -> Result<(), StorageError> {
        let known = self.marks();
        let mut marks = None;
        match effect {
            None | Some((Effect::ComputeChecksum { .. }, _)) => {}
            Some((Effect::Split { left, right, .. }, RightHalf::Gone)) => {
                state::put_descriptor(&mut batch, left);
                // *gone-stays-gone*; what is filed under the range's id may be a later replica's.
                batch.clear_span(&right.span());
                batch.clear_local_span(&keyspace::range_local_span(&right.span()));
                marks = known.cut_to(left);
            }
            Some((Effect::Split { left, right, low_water }, RightHalf::Here)) => {
                state::put_descriptor(&mut batch, left);
                state::put_new_range(&mut batch, right, &first_applied(right));
                state::put_timestamp(&mut batch, &state::low_water_key(right.range_id), *low_water);
                state::put_timestamp(&mut batch, &state::gc_key(right.range_id), known.gc_threshold);
                marks = known.cut_to(left);
                if marks.is_some() {
                    state::put_cleared(&mut batch, right.range_id, &known.cleared.within(&right.span()));
                }
            }
            Some((Effect::Descriptor(descriptor), _)) => state::put_descriptor(&mut batch, descriptor),
            Some((Effect::Gc { threshold }, _)) => {
                let mut changed = (*known).clone();
                // A clear may have raised it since the command was made.
                changed.gc_threshold = changed.gc_threshold.max(*threshold);
                changed.cleared.forget_below(changed.gc_threshold);
                marks = Some(changed);
            }
            Some((Effect::Clear { span, at }, _)) => {
                let mut changed = (*known).clone();
                let no_room_below = changed.cleared.add(span, *at);
                changed.gc_threshold = changed.gc_threshold.max(no_room_below);
                marks = Some(changed);
            }
            Some((Effect::Freeze(frozen), _)) => {
                marks = Some(Marks { frozen: Some(frozen.clone()), ..(*known).clone() });
                state::put_frozen(&mut batch, self.range_id, Some(frozen));
            }
            Some((Effect::Thaw(_), _)) => {
                marks = Some(Marks { frozen: None, ..(*known).clone() });
                state::put_frozen(&mut batch, self.range_id, None);
            }
            Some((Effect::Merge(merge), _)) => {
                let absorbed = self.absorbed(merge)?;
                let mut changed = (*known).clone();
                changed.low_water = changed.low_water.max(absorbed.low_water).max(merge.low_water);
                let no_room_below = changed.cleared.absorb(&absorbed.cleared);
                changed.gc_threshold = changed.gc_threshold.max(absorbed.gc_threshold).max(no_room_below);
                changed.cleared.forget_below(changed.gc_threshold);
                state::put_descriptor(&mut batch, &merge.left);
                state::put_timestamp(&mut batch, &state::low_water_key(self.range_id), changed.low_water);
                state::put_tombstone(&mut batch, &merge.right);
                // *decision-stays-known*
                let mark = keyspace::merged_range(&merge.into.start, merge.right.range_id);
                batch.put_local(mark.as_bytes(), &crate::api::encode(&merge.into.generation));
                marks = Some(changed);
            }
        }
        if let Some(marks) = marks {
            state::put_timestamp(&mut batch, &state::gc_key(self.range_id), marks.gc_threshold);
            state::put_cleared(&mut batch, self.range_id, &marks.cleared);
            // First, so that whoever reads what is being removed finds the threshold afterwards.
            self.marks.store(Arc::new(marks));
        }
        state::put_applied(&mut batch, &self.applied_key, applied);
        self.engine.apply(&batch)?;
        *self.applied.lock() = applied.clone();
        Ok(())
    }

    fn take_effect(&self, effect: Effect, right_half: RightHalf) {
        match effect {
            Effect::Split { left, .. } if right_half == RightHalf::Gone => {
                self.descriptor.store(Some(Arc::new(left)));
            }
            Effect::Split { left, right, .. } => {
                self.descriptor.store(Some(Arc::new(left.clone())));
                let led = self.leads.load(std::sync::atomic::Ordering::Acquire);
                self.host.split_applied(&left, &right, Inheritance { led });
            }
            Effect::Descriptor(descriptor) => self.descriptor.store(Some(Arc::new(descriptor))),
            Effect::Thaw(_) => self.thawed.notify_waiters(),
            // All before is written, and nothing after.
            Effect::ComputeChecksum { check } => {
                if let Some(range) = self.descriptor() {
                    self.host.compute_checksum(&range, check);
                }
            }
            // The descriptor of a merge is stored with it.
            Effect::Gc { .. } | Effect::Clear { .. } | Effect::Freeze(_) | Effect::Merge(_) => {}
        }
    }

    fn snapshot_refused(&self, what: &str) -> ApplyError {
        ApplyError { reason: format!("snapshot of {}: {what}", self.range_id) }
    }

    /// The first piece: of which range it is.
    fn snapshot_header(
        &self,
        chunks: &mut dyn Iterator<Item = std::io::Result<Bytes>>,
    ) -> Result<RangeDescriptor, ApplyError> {
        let header = chunks.next().ok_or_else(|| self.snapshot_refused("empty"))?;
        let header = header.map_err(|error| self.snapshot_refused(&error.to_string()))?;
        let descriptor: RangeDescriptor =
            crate::api::decode(&header).map_err(|error| self.snapshot_refused(&error.to_string()))?;
        if descriptor.range_id != self.range_id {
            return Err(self.snapshot_refused(&format!("it is of {}", descriptor.range_id)));
        }
        if descriptor.end <= descriptor.start {
            return Err(self.snapshot_refused("it is of nothing"));
        }
        Ok(descriptor)
    }

    /// A write that fails leaves this store behind the others in a way that nobody can name: only damage is this
    /// range's alone, anything else is the disk's.
    fn apply_failed(&self, error: StorageError) -> ApplyError {
        if !error.is_corruption() {
            tracing::error!(range = %self.range_id, %error, "the state cannot be written: the process ends");
            eprintln!("quorate: the state of {} cannot be written, the process ends: {error}", self.range_id);
            std::process::abort();
        }
        self.fail(error)
    }

    fn fail(&self, error: StorageError) -> ApplyError {
        if error.is_corruption() {
            let _first = self.damaged.set(error.to_string());
            self.host.corrupted(self.range_id, &error);
        }
        ApplyError { reason: error.to_string() }
    }
}

impl StateMachine for Machine {
    fn applied(&self) -> Applied {
        self.applied.lock().clone()
    }

    fn apply(&self, entries: &[Committed]) -> Result<Vec<Bytes>, ApplyError> {
        let dissolved = self.dissolved.lock();
        if *dissolved {
            return Ok(entries.iter().map(|_| Bytes::from_static(&[REFUSED])).collect());
        }
        fail::fail_point!("replica::before_apply");
        let outcomes = self.apply_slice(entries).map_err(|error| self.apply_failed(error))?;
        fail::fail_point!("replica::after_apply");
        Ok(outcomes)
    }

    fn snapshot(&self) -> Result<(Applied, Box<dyn SnapshotSource>), ApplyError> {
        let snapshot = self.engine.snapshot();
        let read = || -> Result<(Applied, RangeDescriptor), StorageError> {
            let missing = || StorageError::corruption(format!("{} has no state to send", self.range_id));
            let applied = snapshot.get_local(self.applied_key.as_bytes())?.ok_or_else(missing)?;
            let descriptor =
                snapshot.get_local(state::descriptor_key(self.range_id).as_bytes())?.ok_or_else(missing)?;
            let descriptor = crate::api::decode(&descriptor).map_err(|error| {
                StorageError::corruption(format!("descriptor of {}: {error}", self.range_id))
            })?;
            Ok((state::decode_applied(&applied)?, descriptor))
        };
        let (applied, descriptor) = read().map_err(|error| {
            // *merged-ends*: what is missing is its neighbour's, and nothing is damaged.
            if self.is_dissolved() { self.snapshot_refused("the range was merged here") } else { self.fail(error) }
        })?;
        let header = crate::api::encode(&descriptor);
        let chunks = snapshot.chunks(vec![descriptor.span()], state::local_spans(&descriptor).to_vec());
        Ok((applied, Box::new(Chunks { header: Some(header), chunks: Box::new(chunks) })))
    }

    fn has_room(&self, bytes: u64) -> Result<(), ApplyError> {
        self.engine.check_room(bytes).map_err(|error| self.snapshot_refused(&error.to_string()))
    }

    fn check_command(&self, command: &Bytes) -> Result<(), ApplyError> {
        let damaged =
            |error: &dyn std::fmt::Display| ApplyError { reason: format!("{}: {error}", self.range_id) };
        let command = Command::decode(command).map_err(|error| damaged(&error))?;
        if !command.batch.is_empty() {
            storage::check_batch(&command.batch).map_err(|error| damaged(&error))?;
        }
        match command.effect {
            Some(Effect::Split { left, right, .. }) => {
                let halves = left.start < left.end && left.end == right.start && right.start < right.end;
                let whole = left.range_id == self.range_id && right.range_id != self.range_id;
                if halves && whole { Ok(()) } else { Err(damaged(&"a split into what are no halves")) }
            }
            Some(Effect::Descriptor(descriptor)) if descriptor.range_id != self.range_id => {
                Err(damaged(&"the descriptor of another range"))
            }
            Some(Effect::Merge(merge)) => {
                let Merge { into, left, right, .. } = *merge;
                let whole = left.range_id == self.range_id && right.range_id != self.range_id;
                let spans = left.start < right.start && right.start < right.end && left.end == right.end;
                if whole && spans && into.left == self.range_id {
                    Ok(())
                } else {
                    Err(damaged(&"a merge of what are no neighbours"))
                }
            }
            Some(
                Effect::Descriptor(_)
                | Effect::Gc { .. }
                | Effect::Clear { .. }
                | Effect::Freeze(_)
                | Effect::Thaw(_)
                | Effect::ComputeChecksum { .. },
            )
            | None => Ok(()),
        }
    }

    fn check(
        &self,
        chunks: &mut dyn Iterator<Item = std::io::Result<Bytes>>,
    ) -> Result<Admitted, ApplyError> {
        let descriptor = self.snapshot_header(chunks)?;
        let reserved = self.host.reserve(&descriptor);
        let reserved =
            reserved.ok_or_else(|| self.snapshot_refused("another range's state is in its place"))?;
        let (span, local) = (descriptor.span(), state::local_spans(&descriptor));
        for chunk in chunks {
            let sound = chunk.map_err(|error| error.to_string()).and_then(|chunk| {
                let check = storage::check_chunk(&chunk, &span, &local, |key, value| {
                    state::check_record(&descriptor, key, value)
                });
                check.map_err(|error| error.to_string())
            });
            sound.map_err(|error| self.snapshot_refused(&error))?;
        }
        Ok(reserved)
    }

    fn install(
        &self,
        applied: Applied,
        chunks: &mut dyn Iterator<Item = std::io::Result<Bytes>>,
    ) -> Result<(), ApplyError> {
        let dissolved = self.dissolved.lock();
        if *dissolved {
            return Err(self.snapshot_refused("the range was merged here"));
        }
        let descriptor = self.snapshot_header(chunks)?;
        let mut clear: Vec<Span> = vec![descriptor.span()];
        let mut clear_local: Vec<Span> = state::local_spans(&descriptor).to_vec();
        if let Some(old) = self.descriptor() {
            clear.push(old.span());
            clear_local.extend(state::local_spans(&old));
        }
        let applied_value = state::encode_applied(&applied);
        let mut extra = vec![(self.applied_key.clone(), applied_value)];
        let mut failed = None;
        // A piece that cannot be read becomes one that is damaged: the engine stops there, with nothing decided.
        let mut readable = chunks.map(|chunk| {
            chunk.unwrap_or_else(|error| {
                failed = Some(error.to_string());
                Bytes::new()
            })
        });
        // *ingest-after-flush*
        self.engine.flush().map_err(|error| self.fail(error))?;
        let mut take_in = |superseded: &[RangeDescriptor]| {
            // As their merges would have left them.
            for other in superseded {
                clear.push(other.span());
                clear_local.extend(state::local_spans(other));
                extra.push(state::tombstone(other));
            }
            self.engine.ingest(&mut readable, &clear, &clear_local, &extra)
        };
        let ingested = self.host.supersede(&descriptor, &mut take_in);
        drop(readable);
        if let Some(reason) = failed {
            return Err(self.snapshot_refused(&reason));
        }
        ingested.map_err(|error| self.fail(error))?;
        let marks = Marks::load(self.range_id, &self.engine).map_err(|error| self.fail(error))?;
        self.marks.store(Arc::new(marks));
        *self.applied.lock() = applied;
        self.commits.forget();
        self.descriptor.store(Some(Arc::new(descriptor)));
        Ok(())
    }

    fn durable_index(&self) -> u64 {
        match self.engine.read_flushed_local(self.applied_key.as_bytes()) {
            Ok(Some(bytes)) => match state::decode_applied(&bytes) {
                Ok(applied) => applied.position.map_or(0, |position| position.index),
                Err(_) => 0,
            },
            Ok(None) | Err(_) => 0,
        }
    }

    fn on_fenced(&self, reason: &str) {
        self.host.fenced(self.range_id, reason);
    }

    fn on_leader_change(&self, _leader: Option<ReplicaId>, _term: Term, we_lead: bool) {
        self.leads.store(we_lead, std::sync::atomic::Ordering::Release);
    }
}

/// The descriptor first, so that the receiver knows what to clear; then the engine's chunks.
struct Chunks {
    header: Option<Bytes>,
    chunks: Box<dyn Iterator<Item = Result<Bytes, StorageError>> + Send>,
}

impl SnapshotSource for Chunks {
    fn next_chunk(&mut self) -> Result<Option<Bytes>, ApplyError> {
        if let Some(header) = self.header.take() {
            return Ok(Some(header));
        }
        self.chunks.next().transpose().map_err(|error| ApplyError { reason: error.to_string() })
    }
}

#[cfg(test)]
mod tests;
