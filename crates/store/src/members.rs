//! Nodes that leave the cluster, and what an operator is told of those that are in it.
//!
//! A node that is to be decommissioned says so in its description of itself, which all others learn; the leaseholders put
//! other replicas in the place of its own (`queues`). **Invariant (decommissioned-stays-so):** it says so after a restart
//! as well, until it is told otherwise: the description is kept beside the log.

use std::time::Duration;

use keys::NodeId;

use crate::{
    consistency::CheckReport,
    nodes::NodeInfo,
    store::{Store, StoreRequest},
};

/// A store that shares no range with this one has no heartbeats to be judged by: what it says of itself counts for so long.
const HEARD_FOR: Duration = Duration::from_secs(10);

impl Store {
    /// Whether a node is heard from.
    #[must_use]
    pub fn is_heard(&self, node: &NodeInfo) -> bool {
        let heard_for = u64::try_from(HEARD_FOR.as_nanos()).unwrap_or(u64::MAX);
        let is_recent = node.as_of_ns.saturating_add(heard_for) > self.inner.clock.peek().wall_ns();
        is_recent || self.inner.raft.liveness().is_live(node.store_id)
    }

    /// Whether there is another live node.
    pub(crate) fn has_company(&self) -> bool {
        self.nodes().all().iter().any(|node| node.node_id != self.inner.node_id && self.is_heard(node))
    }

    /// Whether this node serves clearly more than the mean of the live ones: only then is there something to give away.
    pub(crate) fn serves_more_than_others(&self) -> bool {
        let own: u64 = self.replicas().iter().filter(|replica| replica.is_leaseholder()).map(|replica| replica.rate()).sum();
        let others = self.nodes().all().into_iter().filter(|node| node.node_id != self.inner.node_id && self.is_heard(node));
        let (nodes, all) = others.fold((1, own), |(nodes, all), node| (nodes + 1, all + node.parts.batches_per_second));
        own * nodes * 4 > all * 5
    }

    /// Gives this store's replicas and leases to others from now on, over restarts too; or ends that.
    pub(crate) async fn leave(&self, leaving: bool) {
        self.inner.info.lock().leaving = leaving;
        crate::queues::say_hello(self).await;
    }

    /// Has a member give its replicas and leases to others, or keep what it has.
    ///
    /// # Errors
    /// What is in the way: it is not a member, does not answer, or there would be too few others.
    pub async fn decommission(&self, node: NodeId, leaving: bool) -> Result<(), String> {
        let nodes = self.nodes().all();
        if nodes.iter().all(|known| known.node_id != node) {
            return Err(format!("there is no node {node}"));
        }
        let stays = |it: &&NodeInfo| it.node_id != node && !it.leaving && self.is_heard(it);
        let (left, wanted) = (nodes.iter().filter(stays).count(), self.wanted_replicas(self.most_replicas()));
        if leaving && left < wanted {
            return Err(format!("{left} live nodes would be left, and ranges have up to {wanted} replicas: add a node first"));
        }
        if node == self.inner.node_id {
            self.leave(leaving).await;
            return Ok(());
        }
        let request = StoreRequest::Leave { leaving };
        let answer = self.ask(node, &request, Duration::from_secs(5)).await;
        answer.map(drop).map_err(|error| format!("node {node} does not answer: {error}"))
    }

    /// Ranges that this store leads.
    #[must_use]
    pub fn leases(&self) -> u64 {
        self.replicas().iter().filter(|replica| replica.is_leaseholder()).count() as u64
    }

    /// Of those, the ones that no other live store could lead.
    #[must_use]
    pub fn leases_without_heir(&self) -> u64 {
        let liveness = self.inner.raft.liveness();
        let is_heir = |store| store != self.inner.store_id && liveness.is_live(store);
        let led = self.replicas().into_iter().filter(|replica| replica.is_leaseholder());
        let ranges = led.filter_map(|replica| replica.descriptor());
        ranges.filter(|range| !range.voters().any(|voter| is_heir(voter.store_id))).count() as u64
    }

    /// Has a member check all ranges that it leads (`consistency`), or says how far it has come with that.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn check_ranges_of(&self, node: NodeId, begin: bool) -> Result<CheckReport, String> {
        if node == self.inner.node_id {
            return Ok(if begin { self.begin_run() } else { self.run_report() });
        }
        let request = if begin { StoreRequest::CheckRanges } else { StoreRequest::CheckReport };
        let answer = self.ask(node, &request, Duration::from_secs(5)).await;
        let answer = answer.map_err(|error| format!("node {node} does not answer: {error}"))?;
        postcard::from_bytes(&answer).map_err(|error| error.to_string())
    }

    /// The cluster as this node knows it: each node, and whether it is heard from.
    #[must_use]
    pub fn node_status(&self) -> Vec<(NodeInfo, bool)> {
        let nodes = self.nodes().all().into_iter();
        let described = nodes.map(|node| {
            let live = self.is_heard(&node);
            (if node.node_id == self.inner.node_id { self.describe() } else { node }, live)
        });
        described.collect()
    }
}
