//! What a range's leaseholder knows of the nodes and of the range, as the [`allocator`](crate::allocator) takes it.

use std::time::Duration;

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
                draining: node.parts.draining,
                locality: node.parts.locality,
            }
        };
        let mut picture = Picture::new(self.nodes().all().into_iter().map(state).collect());
        picture.is_settled = is_settled;
        picture
    }
}

/// A range as it is looked at once, with the picture of the cluster that all questions about it are answered from.
pub(crate) struct Look<'a> {
    store: &'a Store,
    replica: &'a Replica,
    range: &'a RangeDescriptor,
    zone: &'a Zone,
    picture: Picture,
    voters: Option<Vec<(ReplicaDescriptor, Voter)>>,
    failed: Vec<StoreId>,
    is_surplus_settled: bool,
}

impl<'a> Look<'a> {
    /// `failed`: stores that a replica could not be added on lately.
    pub fn at(
        store: &'a Store,
        replica: &'a Replica,
        range: &'a RangeDescriptor,
        zone: &'a Zone,
        failed: &[(StoreId, Instant)],
        is_surplus_settled: bool,
    ) -> Self {
        let voters = store.health(range).map(|health| health.voters);
        let failed = failed.iter().map(|(store, _)| *store).collect();
        Self { store, replica, range, zone, picture: store.picture(), voters, failed, is_surplus_settled }
    }

    fn state(&self, bytes: u64) -> RangeState<'_> {
        RangeState {
            range: self.range,
            leaseholder: self.store.inner.store_id,
            voters: self.voters.as_deref(),
            config: &self.zone.config,
            bytes,
            rate: self.replica.rate(),
            failed: &self.failed,
            is_surplus_settled: self.is_surplus_settled,
        }
    }

    pub fn repair(&self) -> Option<Move> {
        self.picture.repair(&self.state(0))
    }

    pub fn balance(&self) -> Option<Move> {
        // The engine is asked only where it may decide something.
        let bytes = match self.picture.do_bytes_differ() {
            true => self.store.inner.engine.approximate_bytes(&self.range.span()).unwrap_or(0),
            false => 0,
        };
        self.picture.balance(&self.state(bytes))
    }

    pub fn lease(&self) -> Option<Move> {
        self.picture.lease(&self.state(0))
    }
}
