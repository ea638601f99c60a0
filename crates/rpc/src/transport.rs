//! The transport's contract: what layers above may rely on, whatever carries the bytes.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use keys::NodeId;

use crate::RpcError;

/// Which traffic a message belongs to. Between two nodes, a message of an earlier lane overtakes those of later ones
/// that are still waiting to be sent: *lane-order*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Lane {
    /// Votes and store liveness: small, and late ones cost availability.
    Control = 0,
    /// Log appends.
    Raft = 1,
    /// Requests of transactions.
    Client = 2,
    /// Bulk: snapshots.
    Snapshot = 3,
}

/// Which handler a call is for; [`services`](crate::services) names them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServiceId(pub u16);

/// A handler of calls from other nodes.
#[async_trait]
pub trait Service: Send + Sync + 'static {
    /// `from` is the calling node, [`NodeId`] 0 while it has none (it is joining).
    ///
    /// # Errors
    /// Travel to the caller as [`RpcError::Refused`].
    async fn call(&self, from: NodeId, payload: Bytes) -> Result<Bytes, RpcError>;
}

/// Calls between nodes. A call to the local node is served without the network.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Sends `payload` and awaits the answer.
    ///
    /// # Errors
    /// [`RpcError::is_ambiguous`] tells whether the other side may have executed it.
    async fn call(
        &self,
        to: NodeId,
        lane: Lane,
        service: ServiceId,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, RpcError>;

    /// Calls a node of which only the address is known: the first word of a joining node.
    ///
    /// # Errors
    /// As [`Transport::call`].
    async fn call_address(
        &self,
        address: &str,
        service: ServiceId,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, RpcError>;

    /// Hands calls for `service` to `handler`; the last registration holds.
    fn register(&self, service: ServiceId, handler: Arc<dyn Service>);

    /// False when the node could not be reached the last time, or does not answer heartbeats. Whoever has a choice asks
    /// another; attempts to reach it go on.
    fn is_reachable(&self, node: NodeId) -> bool {
        let _unknown = node;
        true
    }

    /// Runs a task where nothing else can hold it up; it must never block.
    fn spawn_urgent(&self, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }

    /// Remembers where a node listens.
    fn set_address(&self, node: NodeId, address: String);

    fn address(&self, node: NodeId) -> Option<String>;

    /// This node's id once it has one.
    fn local_node(&self) -> Option<NodeId>;

    fn set_local_node(&self, node: NodeId);
}
