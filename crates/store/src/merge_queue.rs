//! Which ranges are merged with their right-hand neighbours, and which are split for their load.
//!
//! A merge is for ranges that are small together, one of them below `range_min_bytes`, that serve little together, and have been
//! left alone for a while. The bounds are half of those that a range is split at, so that a merged range is not split again at once (**Invariant
//! (no-ping-pong)**). A boundary that a statement has set is kept.
//!
//! Neighbours on different stores are brought together first, one move at a time: the right-hand one follows.

use std::time::Duration;

use keys::{Key, RangeDescriptor, RangeId, ReplicaKind, SpanConfig, StoreId};
use parking_lot::Mutex;
use replica::{
    Replica, SplitByLoad, Unsplittable,
    api::{KvError, RangeStats, Request, Response, StoreTarget},
};
use rustc_hash::FxHashMap;
use tokio::sync::Semaphore;

use crate::{
    store::{Store, StoreConfig},
    work::WorkKind,
};

/// Why a range is not merged with its right-hand neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmerged {
    Off,
    LastRange,
    Recent,
    Large,
    Busy,
    Kept,
    /// Both are large enough for what is configured.
    NotSmall,
    /// Their configurations are apart.
    Zones,
    /// Replicas of either are being added, removed or repaired.
    Moving,
    /// The neighbour does not answer, or refused.
    Refused,
}

impl Unmerged {
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Off => "merges are off",
            Self::LastRange => "it is the last range",
            Self::Recent => "it was split or merged lately",
            Self::Large => "with its neighbour it would be too large",
            Self::Busy => "with its neighbour it would serve too much",
            Self::Kept => "a statement has set its end",
            Self::NotSmall => "it and its neighbour are not below range_min_bytes",
            Self::Zones => "another zone configuration begins at its end",
            Self::Moving => "its replicas, or its neighbour's, are being changed",
            Self::Refused => "its neighbour cannot be merged now",
        }
    }
}

/// What the store knows of merges and splits by load of the ranges it leads.
pub(crate) struct MergeQueue {
    unmerged: Mutex<FxHashMap<RangeId, Unmerged>>,
    unsplit: Mutex<FxHashMap<RangeId, Unsplittable>>,
    /// Each merge flushes the engine of every store that has the range.
    permit: Semaphore,
}

impl Default for MergeQueue {
    fn default() -> Self {
        Self { unmerged: Mutex::default(), unsplit: Mutex::default(), permit: Semaphore::new(1) }
    }
}

/// A range, as far as merging it is concerned.
struct Side<'a> {
    range: &'a RangeDescriptor,
    bytes: u64,
    rate: u64,
    settled: Duration,
}

#[derive(Debug, PartialEq)]
enum Step {
    Merge,
    /// What the right-hand range is to be asked first.
    Bring(Request),
}

/// What is to be done about two neighbours.
///
/// Without another live node (`has_company`) the load of neighbours is no reason to keep them apart: no split would help.
fn decide(
    left: &Side<'_>,
    right: &Side<'_>,
    leaseholder: StoreId,
    is_kept: bool,
    has_company: bool,
    config: &StoreConfig,
    bounds: &SpanConfig,
) -> Result<Step, Unmerged> {
    if is_kept {
        return Err(Unmerged::Kept);
    }
    if left.settled.min(right.settled) < config.merge_pause {
        return Err(Unmerged::Recent);
    }
    if left.bytes + right.bytes >= bounds.range_max_bytes / 2 {
        return Err(Unmerged::Large);
    }
    if left.bytes.min(right.bytes) >= bounds.range_min_bytes {
        return Err(Unmerged::NotSmall);
    }
    if has_company && config.range_split_qps != 0 && left.rate + right.rate >= config.range_split_qps / 2 {
        return Err(Unmerged::Busy);
    }
    let is_learner = |range: &RangeDescriptor| range.replicas.iter().any(|it| it.kind == ReplicaKind::Learner);
    if is_learner(left.range) || is_learner(right.range) {
        return Err(Unmerged::Moving);
    }
    Ok(bring(left.range, right.range, leaseholder).map_or(Step::Merge, Step::Bring))
}

/// The next move that brings the right-hand range to the stores of the left-hand one; none when it is there.
fn bring(left: &RangeDescriptor, right: &RangeDescriptor, leaseholder: StoreId) -> Option<Request> {
    let missing = left.voters().find(|voter| right.replica_on_store(voter.store_id).is_none());
    let astray: Vec<_> = right.voters().filter(|voter| left.replica_on_store(voter.store_id).is_none()).collect();
    let target = missing.map(|voter| StoreTarget { node_id: voter.node_id, store_id: voter.store_id });
    let movable = astray.iter().find(|voter| voter.store_id != leaseholder);
    match (target, movable) {
        (None, None) if astray.is_empty() => None,
        // Its own replica is all that is astray: another leads first.
        (None, None) => {
            let to = right.voters().find(|voter| left.replica_on_store(voter.store_id).is_some())?;
            Some(Request::TransferLease { to: to.store_id })
        }
        (target, movable) => Some(Request::ChangeReplicas {
            add: target.into_iter().collect(),
            remove: movable.map(|voter| voter.replica_id).into_iter().collect(),
        }),
    }
}

/// Moves that bring a neighbour here: each of its replicas, and its lease.
const BRING_MAX: usize = 10;

impl Store {
    /// Why a range that is led here was not merged when it was last looked at.
    #[must_use]
    pub fn unmerged(&self, range_id: RangeId) -> Option<Unmerged> {
        self.inner.merge_queue.unmerged.lock().get(&range_id).copied()
    }

    /// Why a range with much load that is led here was not split.
    #[must_use]
    pub fn unsplit(&self, range_id: RangeId) -> Option<Unsplittable> {
        self.inner.merge_queue.unsplit.lock().get(&range_id).copied()
    }

    /// Forgets ranges that are not here any more.
    pub(crate) fn tidy_merge_queue(&self) {
        self.inner.merge_queue.unmerged.lock().retain(|range_id, _| self.replica(*range_id).is_some());
        self.inner.merge_queue.unsplit.lock().retain(|range_id, _| self.replica(*range_id).is_some());
    }
}

/// Splits a range that has served much for a while, where another node that serves less could take a part of it.
pub(crate) async fn split_if_busy(store: &Store, replica: &std::sync::Arc<Replica>) -> Result<(), KvError> {
    let config = &store.inner.config;
    let range_id = replica.range_id();
    let unsplit = match replica.look_at_load(config.range_split_qps, config.load_split_after) {
        SplitByLoad::Calm | SplitByLoad::Watched => None,
        SplitByLoad::Not(why) => Some(why),
        SplitByLoad::At(_) if !store.has_company() => Some(Unsplittable::OneNode),
        SplitByLoad::At(_) if !store.serves_more_than_others() => Some(Unsplittable::Even),
        SplitByLoad::At(at) if at < keys::keyspace::table_data_start() => None,
        SplitByLoad::At(at) => {
            let work = store.work().begin(WorkKind::LoadSplit, range_id, None);
            tracing::info!(range = %range_id, %at, rate = replica.rate(), "splitting a range for its load");
            crate::queues::admin(replica, Request::Split { at }).await?;
            work.done();
            None
        }
    };
    let mut known = store.inner.merge_queue.unsplit.lock();
    match unsplit {
        Some(why) => {
            known.insert(range_id, why);
        }
        // It stands while the load does.
        None if replica.rate() <= config.range_split_qps => {
            known.remove(&range_id);
        }
        None => {}
    }
    Ok(())
}

/// Merges a range with its right-hand neighbour, or takes a step towards it, where that is due. False where others are
/// being merged, and it is to be looked at again soon.
pub(crate) async fn merge_if_small(store: &Store, replica: &std::sync::Arc<Replica>) -> bool {
    let Ok(_permit) = store.inner.merge_queue.permit.try_acquire() else { return false };
    let range_id = replica.range_id();
    let outcome = look_and_merge(store, replica).await;
    let mut unmerged = store.inner.merge_queue.unmerged.lock();
    match outcome {
        Ok(()) => unmerged.remove(&range_id),
        Err(why) => unmerged.insert(range_id, why),
    };
    true
}

async fn look_and_merge(store: &Store, replica: &std::sync::Arc<Replica>) -> Result<(), Unmerged> {
    let (config, range_id) = (&store.inner.config, replica.range_id());
    if !config.merges {
        return Err(Unmerged::Off);
    }
    let Some(range) = replica.descriptor() else { return Err(Unmerged::Moving) };
    if range.end == Key::MAX {
        return Err(Unmerged::LastRange);
    }
    let Some(zone) = store.zone_of(&range) else { return Err(Unmerged::Moving) };
    if store.is_zone_border(&range.end) {
        return Err(Unmerged::Zones);
    }
    if replica.settled_for() < config.merge_pause {
        return Err(Unmerged::Recent);
    }
    if store.health(&range).is_none_or(|health| health.healthy() < health.voters.len()) {
        return Err(Unmerged::Moving);
    }
    let bytes = store.inner.engine.approximate_bytes(&range.span()).map_err(|_| Unmerged::Refused)?;
    if bytes >= zone.config.range_max_bytes / 2 {
        return Err(Unmerged::Large);
    }
    let refused = |error: KvError| {
        tracing::debug!(range = %range_id, %error, "merge");
        Unmerged::Refused
    };
    let outbound = &store.inner.outbound;
    // The neighbour is brought here without a pause, so that nothing else moves its replicas meanwhile.
    for _ in 0..BRING_MAX {
        let RangeStats { descriptor: right, node, bytes: right_bytes, batches_per_second, is_start_kept, settled_ms } =
            match outbound.ask_range(&range.end, Request::RangeStats).await.map_err(refused)? {
                Response::RangeStats(stats) => *stats,
                _ => return Err(Unmerged::Refused),
            };
        let leaseholder = right.replicas.iter().find(|it| it.node_id == node).map_or(StoreId::new(0), |it| it.store_id);
        let left = Side { range: &range, bytes, rate: replica.rate(), settled: replica.settled_for() };
        let settled = Duration::from_millis(settled_ms);
        let right_side = Side { range: &right, bytes: right_bytes, rate: batches_per_second, settled };
        match decide(&left, &right_side, leaseholder, is_start_kept, store.has_company(), config, &zone.config)? {
            Step::Bring(request) => {
                tracing::info!(range = %range_id, %right, "bringing a neighbour to the same stores");
                outbound.ask_range(&right.start, request).await.map_err(refused)?;
            }
            Step::Merge => {
                let work = store.work().begin(WorkKind::Merge, range_id, None);
                crate::queues::admin(replica, Request::Merge).await.map_err(refused)?;
                work.done();
                return Ok(());
            }
        }
    }
    Err(Unmerged::Moving)
}

#[cfg(test)]
mod tests {
    use keys::{NodeId, ReplicaDescriptor, ReplicaId};

    use super::*;

    fn range(start: &str, end: &str, stores: &[u64]) -> RangeDescriptor {
        let replica = |store: &u64| ReplicaDescriptor {
            node_id: NodeId::new(*store),
            store_id: StoreId::new(*store),
            replica_id: ReplicaId::new(10 + store),
            kind: ReplicaKind::Voter,
        };
        RangeDescriptor {
            range_id: RangeId::new(1),
            start: start.as_bytes().into(),
            end: end.as_bytes().into(),
            replicas: stores.iter().map(replica).collect(),
            next_replica_id: ReplicaId::new(99),
            generation: 1,
        }
    }

    #[test]
    fn a_neighbour_follows_one_replica_at_a_time() {
        let left = range("a", "m", &[1, 2, 3]);
        let lead = StoreId::new;
        assert_eq!(bring(&left, &range("m", "z", &[3, 2, 1]), lead(1)), None);
        let target = StoreTarget { node_id: NodeId::new(3), store_id: lead(3) };
        let moves = |add: Vec<StoreTarget>, remove: Vec<u64>| {
            Some(Request::ChangeReplicas { add, remove: remove.into_iter().map(ReplicaId::new).collect() })
        };
        assert_eq!(bring(&left, &range("m", "z", &[1, 2, 4]), lead(1)), moves(vec![target], vec![14]));
        // It leads from where it is to leave: it stays until another does.
        assert_eq!(bring(&left, &range("m", "z", &[1, 2, 4]), lead(4)), moves(vec![target], vec![]));
        let transfer = Some(Request::TransferLease { to: lead(1) });
        assert_eq!(bring(&left, &range("m", "z", &[1, 2, 3, 4]), lead(4)), transfer);
        assert_eq!(bring(&left, &range("m", "z", &[1, 2, 3, 4]), lead(2)), moves(vec![], vec![14]));
    }

    #[test]
    fn no_ping_pong() {
        let config = StoreConfig::default();
        let (left, right) = (range("a", "m", &[1]), range("m", "z", &[1]));
        let step = |bytes, rate, settled, has_company| {
            let settled = Duration::from_secs(settled);
            let left = Side { range: &left, bytes, rate, settled };
            let right = Side { range: &right, bytes: 1 << 20, rate: 10, settled: Duration::from_secs(9999) };
            decide(&left, &right, StoreId::new(1), false, has_company, &config, &SpanConfig::default())
        };
        assert_eq!(step(1 << 20, 0, 9999, true), Ok(Step::Merge));
        assert_eq!(step(config.range_max_bytes / 2, 0, 9999, true), Err(Unmerged::Large));
        assert_eq!(step(1 << 20, config.range_split_qps / 2, 9999, true), Err(Unmerged::Busy));
        assert_eq!(step(1 << 20, config.range_split_qps / 2, 9999, false), Ok(Step::Merge));
        assert_eq!(step(1 << 20, 0, 10, true), Err(Unmerged::Recent));
        let side = || Side { range: &left, bytes: 0, rate: 0, settled: Duration::from_secs(9999) };
        assert_eq!(decide(&side(), &side(), StoreId::new(1), true, true, &config, &SpanConfig::default()), Err(Unmerged::Kept));
    }
}
