//! Where a range's replicas should be: what its leaseholder decides from what it knows of the nodes.
//!
//! Each decision is one move of one replica, or none. **Invariant (replaced-before-removed):** a voter that is to go leaves
//! when another has taken its place, so that a range never has fewer live voters for a move than without it.

use std::time::Duration;

use keys::{ReplicaKind, StoreId};
use replica::{Replica, api::StoreTarget};
use tokio::time::Instant;

use crate::{checks::Voter, store::Store};

/// A live store without a replica, when the range should have more, and not one of those that failed lately; or one
/// whose replica is a learner left half way: adding it goes on with it, or takes it out where it does not come up.
pub(crate) fn missing_replica(
    store: &Store,
    descriptor: &keys::RangeDescriptor,
    failed: &[(StoreId, Instant)],
) -> Option<StoreTarget> {
    if let Some(learner) = descriptor.replicas.iter().find(|replica| replica.kind == ReplicaKind::Learner) {
        return Some(StoreTarget { node_id: learner.node_id, store_id: learner.store_id });
    }
    if descriptor.voters().count() >= store.wanted_replicas() {
        return None;
    }
    spare_store(store, descriptor, failed)
}

/// A voter that others cannot count on any more, and where another is to take its place: its store is being
/// decommissioned, or gone for good as far as can be told. The other comes first, so that the range never has fewer live
/// voters than it has now; without a store for it nothing changes. Where there are more voters than wanted the one just
/// leaves.
pub(crate) fn replacement(
    store: &Store,
    replica: &Replica,
    descriptor: &keys::RangeDescriptor,
    failed: &[(StoreId, Instant)],
) -> Option<(keys::ReplicaDescriptor, Option<StoreTarget>)> {
    let health = store.health(descriptor)?;
    if health.healthy() <= health.voters.len() / 2 {
        return None;
    }
    let dead_after = store.inner.config.dead_after;
    // What was heard before this store stopped says nothing of the time since.
    let is_settled = store.inner.started.elapsed() >= dead_after;
    let now = store.inner.clock.peek().wall_ns();
    let silence = u64::try_from(dead_after.as_nanos()).unwrap_or(u64::MAX);
    let is_to_go = |(voter, state): &&(keys::ReplicaDescriptor, Voter)| {
        let node = store.nodes().get(voter.node_id);
        let heard = node.as_ref().map_or(0, |node| node.as_of_ns);
        let is_gone = is_settled && *state == Voter::Away && heard.saturating_add(silence) < now;
        voter.replica_id != replica.replica_id() && (is_gone || node.is_some_and(|node| node.leaving))
    };
    let (going, _) = health.voters.iter().find(is_to_go)?;
    if health.voters.len() > store.wanted_replicas() {
        return Some((*going, None));
    }
    spare_store(store, descriptor, failed).map(|target| (*going, Some(target)))
}

/// A replica on a store that has more than its share, where another store has less: a node that is new takes its part.
/// Only of a range that lacks nothing, and not the leaseholder's own, which is where the requests are. The band keeps
/// what is about even where it is.
pub(crate) fn better_place(
    store: &Store,
    replica: &Replica,
    descriptor: &keys::RangeDescriptor,
    failed: &[(StoreId, Instant)],
) -> Option<(keys::ReplicaDescriptor, StoreTarget)> {
    let health = store.health(descriptor)?;
    if health.healthy() < health.voters.len() || health.voters.len() != store.wanted_replicas() {
        return None;
    }
    let mut nodes = store.nodes().all();
    nodes.retain(|node| !node.leaving && store.is_heard(node));
    let mean = nodes.iter().map(|node| node.ranges).sum::<u64>() / u64::try_from(nodes.len()).ok().filter(|it| *it > 0)?;
    let band = (mean / 20).max(2);
    let ranges = |node_id| nodes.iter().find(|node| node.node_id == node_id).map_or(0, |node| node.ranges);
    let target = spare_store(store, descriptor, failed)?;
    if ranges(target.node_id) + band >= mean {
        return None;
    }
    let others = descriptor.voters().filter(|voter| voter.replica_id != replica.replica_id());
    let fullest = others.max_by_key(|voter| ranges(voter.node_id))?;
    (ranges(fullest.node_id) > mean).then_some((*fullest, target))
}

/// A live store without a replica of the range, the one with the fewest.
fn spare_store(
    store: &Store,
    descriptor: &keys::RangeDescriptor,
    failed: &[(StoreId, Instant)],
) -> Option<StoreTarget> {
    let nodes = store.nodes().all();
    let now = store.inner.clock.peek().wall_ns();
    let recent = Duration::from_secs(10).as_nanos() as u64;
    nodes
        .into_iter()
        .filter(|node| !node.leaving && descriptor.replica_on_store(node.store_id).is_none())
        .filter(|node| failed.iter().all(|(store, _)| *store != node.store_id))
        // Heard of lately: a store that no range has a replica on yet has no heartbeats to be judged by.
        .filter(|node| node.as_of_ns.saturating_add(recent) > now)
        .min_by_key(|node| node.ranges)
        .map(|node| StoreTarget { node_id: node.node_id, store_id: node.store_id })
}
