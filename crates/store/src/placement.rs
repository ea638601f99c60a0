//! What a range's leaseholder knows of the nodes and of the range, as the [`allocator`](crate::allocator) takes it.

use std::{sync::Arc, time::Duration};

use keys::{RangeDescriptor, ReplicaDescriptor, StoreId};
use replica::Replica;
use tokio::time::Instant;

use crate::{
    allocator::{Move, Picture, RangeState, StoreState},
    checks::Voter,
    store::Store,
    zones::Zone,
};

/// A store that no range has a replica on yet has no heartbeats to be judged by: heard of so lately it counts as live.
const HEARD_FOR: Duration = Duration::from_secs(10);

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Store {
    fn picture(&self) -> Picture {
        let config = &self.inner.config;
        let now = self.inner.clock.peek().wall_ns();
        // What was heard before this store stopped says nothing of the time since.
        let is_settled = self.inner.started.elapsed() >= config.dead_after;
        let state = |node: crate::NodeInfo| {
            let is_silent_for = |time: Duration| node.as_of_ns.saturating_add(nanos(time)) <= now;
            StoreState {
                node_id: node.node_id,
                store_id: node.store_id,
                ranges: node.ranges,
                leases: node.leases,
                bytes: node.bytes,
                rate: node.parts.batches_per_second,
                is_live: !is_silent_for(HEARD_FOR),
                is_gone: is_settled && is_silent_for(config.dead_after),
                leaving: node.leaving,
                locality: node.parts.locality,
            }
        };
        Picture::new(self.nodes().all().into_iter().map(state).collect())
    }
}

/// Which kind of move is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    Repair,
    Balance,
    Lease,
}

/// A range as it is looked at once.
pub(crate) struct Look<'a> {
    pub store: &'a Store,
    pub replica: &'a Arc<Replica>,
    pub range: &'a RangeDescriptor,
    pub zone: &'a Zone,
    /// Stores that a replica could not be added on lately.
    pub failed: &'a [(StoreId, Instant)],
    pub is_surplus_settled: bool,
}

impl Look<'_> {
    pub fn next(&self, aim: Aim) -> Option<Move> {
        let voters: Option<Vec<(ReplicaDescriptor, Voter)>> = self.store.health(self.range).map(|health| health.voters);
        let failed: Vec<StoreId> = self.failed.iter().map(|(store, _)| *store).collect();
        let engine = &self.store.inner.engine;
        let picture = self.store.picture();
        let bytes = match aim {
            // Asked of the engine only where it may decide something.
            Aim::Balance if picture.do_bytes_differ() => engine.approximate_bytes(&self.range.span()).unwrap_or(0),
            Aim::Balance | Aim::Repair | Aim::Lease => 0,
        };
        let state = RangeState {
            range: self.range,
            leaseholder: self.store.inner.store_id,
            voters: voters.as_deref(),
            config: &self.zone.config,
            bytes,
            rate: self.replica.rate(),
            failed: &failed,
            is_surplus_settled: self.is_surplus_settled,
        };
        match aim {
            Aim::Repair => picture.repair(&state),
            Aim::Balance => picture.balance(&state),
            Aim::Lease => picture.lease(&state),
        }
    }
}
