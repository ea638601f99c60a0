//! Merges: a range takes in its right-hand neighbour.
//!
//! The problem: two ranges with a log each must become one with one log, while either's leaseholder, or any store, may
//! die between two steps, and no key may be served by both or by neither for good. The idea: the right-hand range stops
//! first, by a command in its own log, and cannot start again by itself; then one command in the left-hand range's log
//! decides.
//!
//! ```text
//! left-hand leaseholder        right-hand leaseholder       every store
//! ── Freeze ─────────────────▶ all latches; command Freeze
//!    ◀── index, low water ───  serves nothing from here on
//! ── catch up ────────────────────────────────────────────▶ right-hand replica applied to the index, and flushed
//! command Merge ──────────────────────────────────────────▶ the left-hand replica has the span; the right-hand one ends
//!    ... or its generation grows, and then:
//! ── Thaw ───────────────────▶ asks what was decided; command Thaw
//! ```
//!
//! **Invariants**
//! - *frozen-serves-nothing*: from the freeze on no leaseholder of the right-hand range evaluates anything. The freeze is
//!   part of the replicated state, so that a later leaseholder is bound by it as well.
//! - *one-decision*: an attempt is named by the left-hand range's generation. The merge command is void under any other,
//!   and a range thaws only when that generation is past and the merge has not happened. Both are decided in the order
//!   of one log.
//! - *decision-stays-known*: a merge leaves a record under the left-hand range's start key. It goes with that key through
//!   later splits and merges, so that whoever owns the key can say that the range was merged.
//! - *absorbed-is-complete*: a replica takes a range in only where its state is there as of the freeze. It was made durable
//!   on every store before the merge was proposed, as no replica of the right-hand range may be left to send its log.
//! - *generation-grows-by-key*: the ranges that own a key one after the other have growing generations; a merge takes one
//!   above both. So of two descriptors that overlap the one with the lower generation is out of date.
//!
//! What the right-hand leaseholder had in memory: its timestamp cache is passed on as one low-water mark, which also
//! bounds uncertainty and every later lease of the merged range; row locks of prepared transactions are read back; other
//! row locks end, as with a change of the lease; values reserved for counters are skipped.
//!
//! Followers serve no reads and nothing promises closed timestamps, so that there is none to pass on.

use std::{sync::Arc, time::Duration};

use concurrency::LatchSpan;
use keys::{RangeDescriptor, ReplicaKind, Span, StoreId, keyspace};

use crate::{
    Replica,
    api::{FrozenRange, KvError, MergeInto, RangeStats, Request, Response},
    command::{Effect, Frozen, Merge},
    kept_locks,
};

/// How long the right-hand range may take to freeze.
const FREEZE_BOUND: Duration = Duration::from_secs(5);

impl Replica {
    fn invalid(&self, reason: impl std::fmt::Display) -> KvError {
        KvError::Invalid { reason: format!("{} is not merged: {reason}", self.range_id()) }
    }

    /// The stores of a range that is at rest: voters alone, as Raft has them.
    fn stores_at_rest(&self, range: &RangeDescriptor) -> Result<Vec<StoreId>, KvError> {
        if let Some(learner) = range.replicas.iter().find(|replica| replica.kind == ReplicaKind::Learner) {
            return Err(self.invalid(format!("{learner} is a learner")));
        }
        let mut voters: Vec<_> = range.voters().map(|voter| voter.replica_id).collect();
        voters.sort();
        if self.group().settled_voters() != Some(voters) {
            return Err(self.invalid("its members are being changed"));
        }
        let mut stores: Vec<StoreId> = range.voters().map(|voter| voter.store_id).collect();
        stores.sort();
        Ok(stores)
    }

    /// Takes in the right-hand neighbour.
    pub(crate) async fn merge(self: &Arc<Self>) -> Result<Response, KvError> {
        let _one_at_a_time = self.admin.lock().await;
        self.lease()?;
        let left = self.current()?;
        if left.end == keys::Key::MAX {
            return Err(self.invalid("it has no right-hand neighbour"));
        }
        // What can be found out before is not found out while requests wait; and little is left to be made durable then.
        let asked = self.deps.outbound.ask_range(&left.end, Request::RangeStats);
        let asked = tokio::time::timeout(FREEZE_BOUND, asked).await;
        let right = match asked.map_err(|_| self.invalid("its neighbour does not answer"))?? {
            Response::RangeStats(stats) => stats.descriptor,
            other => return Err(KvError::Internal { reason: format!("statistics were answered with {other:?}") }),
        };
        self.check_neighbour(&left, &right)?;
        self.deps.host.catch_up(&left, &right, 0).await?;
        fail::fail_point!("merge::before_freeze");
        let into = MergeInto { left: left.range_id, start: left.start.clone(), generation: left.generation };
        let merged = match self.freeze_right(&left, &into).await {
            Ok(frozen) => self.merge_frozen(&left, &into, frozen).await,
            Err(error) => Err(error),
        };
        match merged {
            Ok(next) => {
                tracing::info!(range = %next, "merged");
                self.publish(vec![next.clone()]);
                Ok(Response::Merged { descriptor: Box::new(next) })
            }
            Err(error) => {
                // *one-decision*: where this fails the right-hand range asks by itself, and has it done.
                if let Err(later) = self.rule_out(&left).await {
                    tracing::debug!(range = %self.range_id(), error = %later, "an attempt to merge is left open");
                }
                Err(error)
            }
        }
    }

    fn check_neighbour(&self, left: &RangeDescriptor, right: &RangeDescriptor) -> Result<(), KvError> {
        let mut stores: Vec<StoreId> = right.voters().map(|voter| voter.store_id).collect();
        stores.sort();
        if right.start != left.end || stores != self.stores_at_rest(left)? {
            return Err(self.invalid(format!("{right} is not its neighbour on the same stores")));
        }
        Ok(())
    }

    async fn freeze_right(&self, left: &RangeDescriptor, into: &MergeInto) -> Result<FrozenRange, KvError> {
        let request = Request::Freeze { at: left.end.clone(), into: Box::new(into.clone()) };
        let asked = tokio::time::timeout(FREEZE_BOUND, self.deps.outbound.ask_range(&left.end, request)).await;
        match asked.map_err(|_| self.invalid("its neighbour did not freeze in time"))?? {
            Response::Frozen(frozen) => Ok(*frozen),
            other => Err(KvError::Internal { reason: format!("a freeze was answered with {other:?}") }),
        }
    }

    async fn merge_frozen(
        self: &Arc<Self>,
        left: &RangeDescriptor,
        into: &MergeInto,
        frozen: FrozenRange,
    ) -> Result<RangeDescriptor, KvError> {
        fail::fail_point!("merge::after_freeze");
        let FrozenRange { descriptor: right, index, low_water } = frozen;
        self.check_neighbour(left, &right)?;
        self.deps.host.catch_up(left, &right, index).await?;
        fail::fail_point!("merge::after_catch_up");
        self.deps.clock.update(low_water).map_err(|error| self.invalid(error))?;
        // Requests for the right-hand span come here as soon as the command is applied, and must find what is taken over
        // below.
        let span = right.span();
        let taken = [span.clone(), keyspace::range_local_span(&span)].map(LatchSpan::write_unversioned);
        let latch = self.latched(taken.into_iter().collect()).await?;
        let lease = self.lease()?;
        self.cache.add_span(&span, low_water, None);
        let next = RangeDescriptor {
            end: right.end.clone(),
            generation: left.generation.max(right.generation) + 1,
            ..left.clone()
        };
        let merge = Merge { into: into.clone(), left: next.clone(), right, index, low_water };
        self.propose_effect(lease.term, &Effect::Merge(Box::new(merge)), &[]).await?;
        fail::fail_point!("merge::after_propose");
        self.take_over(&span)?;
        self.note_split_or_merge();
        drop(latch);
        Ok(next)
    }

    /// What is kept in memory of a span that was just merged in. Under its latches.
    fn take_over(&self, span: &Span) -> Result<(), KvError> {
        // It may know of keys that were split off once, and have been written elsewhere since.
        self.counters.clear();
        self.looks.clear();
        // Transactions that are anchored there were heard of elsewhere.
        self.registry.give_time(self.deps.clock.now().wall_ns());
        // *prepared-keeps-locks*
        let kept = kept_locks::load(&self.deps.engine, span).map_err(|error| self.storage_error(error))?;
        self.kept.add(&self.locks, kept);
        Ok(())
    }

    /// No merge of an attempt under this generation takes effect from now on.
    async fn rule_out(&self, left: &RangeDescriptor) -> Result<(), KvError> {
        if self.current()?.generation == left.generation {
            self.change_descriptor(|_| ()).await?;
        }
        let thaw = Request::Thaw { at: left.end.clone() };
        let (outbound, at) = (self.deps.outbound.clone(), left.end.clone());
        // It asks this range, whose place for such changes is taken until this returns.
        tokio::spawn(async move {
            if let Err(error) = outbound.ask_range(&at, thaw).await {
                tracing::debug!(%error, "a frozen range was not told to look");
            }
        });
        Ok(())
    }

    /// Stops serving: *frozen-serves-nothing*.
    pub(crate) async fn freeze(self: &Arc<Self>, at: &keys::Key, into: &MergeInto) -> Result<Response, KvError> {
        // Not awaited: its own merge may be under way, and wait for others in turn.
        let Ok(_one_at_a_time) = self.admin.try_lock() else { return Err(self.invalid("it is being changed")) };
        let descriptor = self.current()?;
        if descriptor.start != *at {
            return Err(self.invalid(format!("{at} is not its start")));
        }
        self.held_lease()?;
        let mut frozen = self.machine.marks().frozen.clone();
        if frozen.is_none() {
            self.stores_at_rest(&descriptor)?;
            let quiet = self.quiesce().await?;
            let lease = self.lease()?;
            // While this waited, another leaseholder may have changed it, and a statement may have set its start.
            let descriptor = self.current()?;
            self.stores_at_rest(&descriptor)?;
            let kept = self.deps.engine.get_local(keyspace::kept_split(&descriptor.start).as_bytes());
            if kept.map_err(|error| self.storage_error(error))?.is_some() {
                return Err(self.invalid("a statement has set its start"));
            }
            let (read, _) = self.cache.get_max_span(&descriptor.span());
            let low_water = read.max(lease.start).max(self.deps.clock.now());
            let freeze = Frozen { into: into.clone(), low_water };
            self.propose_effect(lease.term, &Effect::Freeze(freeze), &[]).await?;
            drop(quiet);
            tracing::info!(range = %self.range_id(), left = %into.left, "frozen for a merge");
            frozen = self.machine.marks().frozen.clone();
        }
        match frozen {
            // The descriptor as it froze: replicas that had another would not take the range in.
            Some(frozen) if frozen.into == *into => Ok(Response::Frozen(Box::new(FrozenRange {
                descriptor: (*self.current()?).clone(),
                index: self.group().applied_index(),
                low_water: frozen.low_water,
            }))),
            Some(frozen) => Err(self.invalid(format!("it is frozen for another merge, into {}", frozen.into.left))),
            None => Err(self.not_leaseholder(None)),
        }
    }

    /// Says whether a merge into the range that began at `into.start` happened, and rules it out if not.
    pub(crate) async fn merge_outcome(
        self: &Arc<Self>,
        into: &MergeInto,
        right: keys::RangeId,
    ) -> Result<Response, KvError> {
        // What is past is answered at once: a replica that is being added holds the place for long.
        if let Some(merged) = self.decided(into, right)? {
            return Ok(Response::MergeOutcome { merged });
        }
        // A merge under way holds it until its outcome is known.
        let _one_at_a_time = self.admin.lock().await;
        let merged = match self.decided(into, right)? {
            Some(merged) => merged,
            None => {
                self.change_descriptor(|_| ()).await?;
                false
            }
        };
        Ok(Response::MergeOutcome { merged })
    }

    /// What became of an attempt, if it is past.
    fn decided(&self, into: &MergeInto, right: keys::RangeId) -> Result<Option<bool>, KvError> {
        self.lease()?;
        // Read before the record: a merge writes that before the generation is seen to move.
        let descriptor = self.current()?;
        if !descriptor.contains_key(into.start.as_bytes()) {
            let mut descriptors = vec![(*descriptor).clone()];
            descriptors.extend(self.deps.host.neighbour(&descriptor.end));
            return Err(KvError::RangeMismatch { range_id: self.range_id(), descriptors });
        }
        let mark = keyspace::merged_range(&into.start, right);
        let mark = self.deps.engine.get_local(mark.as_bytes()).map_err(|error| self.storage_error(error))?;
        if mark.is_some() {
            return Ok(Some(true));
        }
        // Where another range has the key by now, the one that was to merge is part of it, and proposes nothing more.
        let is_open = descriptor.range_id == into.left && descriptor.generation == into.generation;
        Ok((!is_open).then_some(false))
    }

    /// Of a frozen range: finds out what was decided, and thaws if it was not merged. Whether it was merged, where it is
    /// frozen.
    ///
    /// # Errors
    /// When this replica does not lead, or the left-hand range cannot be asked: to be tried again.
    pub async fn settle_freeze(self: &Arc<Self>) -> Result<Option<bool>, KvError> {
        let Some(Frozen { into, .. }) = self.machine.marks().frozen.clone() else { return Ok(None) };
        let lease = self.held_lease()?;
        let request = Request::MergeOutcome { into: Box::new(into.clone()), right: self.range_id() };
        match self.deps.outbound.ask_range(&into.start, request).await? {
            Response::MergeOutcome { merged: true } => Ok(Some(true)),
            Response::MergeOutcome { merged: false } => {
                let left = into.left;
                // Nothing was heard of transactions while it was frozen.
                self.registry.give_time(self.deps.clock.now().wall_ns());
                self.propose_effect(lease.term, &Effect::Thaw(into), &[]).await?;
                tracing::info!(range = %self.range_id(), %left, "thawed: it was not merged");
                Ok(Some(false))
            }
            other => Err(KvError::Internal { reason: format!("the outcome of a merge is said to be {other:?}") }),
        }
    }

    /// Waits for a bounded time while the range is frozen.
    pub(crate) async fn while_frozen(&self) {
        let thawed = self.machine.thawed.notified();
        if self.machine.marks().frozen.is_some() && !self.machine.is_dissolved() {
            let _whichever = tokio::time::timeout(FREEZE_BOUND, thawed).await;
        }
    }

    /// Where the range went.
    pub(crate) fn merged_away(&self) -> KvError {
        let start = self.descriptor().map(|range| range.start.clone());
        let owner = start.and_then(|start| self.deps.host.covering(&start));
        KvError::RangeMismatch { range_id: self.range_id(), descriptors: owner.into_iter().collect() }
    }

    /// Size and load, for those who decide about splits and merges.
    pub(crate) fn range_stats(&self) -> Result<Response, KvError> {
        self.lease()?;
        let descriptor = self.current()?;
        let engine = &self.deps.engine;
        let read = || -> Result<(u64, bool), storage::StorageError> {
            let bytes = engine.approximate_bytes(&descriptor.span())?;
            let kept = engine.get_local(keyspace::kept_split(&descriptor.start).as_bytes())?;
            Ok((bytes, kept.is_some()))
        };
        let (bytes, is_start_kept) =
            raft::blocking(read).map_err(|error| self.storage_error(error))?;
        Ok(Response::RangeStats(Box::new(RangeStats {
            descriptor: (*descriptor).clone(),
            node: self.deps.node_id,
            bytes,
            batches_per_second: self.load().rate(),
            is_start_kept,
            settled_ms: u64::try_from(self.settled_for().as_millis()).unwrap_or(u64::MAX),
        })))
    }
}
