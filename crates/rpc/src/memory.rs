//! A network in memory for tests: seeded delays, losses and partitions, under tokio's paused time if the test likes.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use hlc::Clock;
use keys::NodeId;
use parking_lot::{Mutex, RwLock};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::{Lane, RpcError, Service, ServiceId, Transport, tcp::call_local};

#[derive(Clone, Debug)]
pub struct MemoryConfig {
    pub min_delay: Duration,
    pub max_delay: Duration,
    /// Of a message, one way.
    pub loss: f64,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self { min_delay: Duration::from_micros(100), max_delay: Duration::from_millis(1), loss: 0.0 }
    }
}

struct Node {
    services: RwLock<FxHashMap<u16, Arc<dyn Service>>>,
    clock: Arc<Clock>,
}

struct Shared {
    config: MemoryConfig,
    rng: Mutex<SmallRng>,
    nodes: RwLock<FxHashMap<NodeId, Arc<Node>>>,
    cut: RwLock<FxHashSet<(NodeId, NodeId)>>,
}

/// The wires between the nodes of a test.
#[derive(Clone)]
pub struct MemoryNetwork {
    shared: Arc<Shared>,
}

impl MemoryNetwork {
    #[must_use]
    pub fn new(seed: u64, config: MemoryConfig) -> Self {
        let rng = Mutex::new(SmallRng::seed_from_u64(seed));
        Self { shared: Arc::new(Shared { config, rng, nodes: RwLock::default(), cut: RwLock::default() }) }
    }

    /// The transport of a node; one made before under this id is gone from the network.
    #[must_use]
    pub fn transport(&self, node: NodeId, clock: Arc<Clock>) -> Arc<MemoryTransport> {
        let this = Arc::new(Node { services: RwLock::default(), clock });
        self.shared.nodes.write().insert(node, this.clone());
        Arc::new(MemoryTransport { network: self.clone(), id: node, node: this })
    }

    /// Loses everything from one node to another; the other way stays as it is.
    pub fn partition(&self, from: NodeId, to: NodeId) {
        self.shared.cut.write().insert((from, to));
    }

    pub fn heal(&self, from: NodeId, to: NodeId) {
        self.shared.cut.write().remove(&(from, to));
    }

    pub fn heal_all(&self) {
        self.shared.cut.write().clear();
    }

    /// Takes a node away, as when its process is killed.
    pub fn disconnect(&self, node: NodeId) {
        self.shared.nodes.write().remove(&node);
    }

    async fn travel(&self, from: NodeId, to: NodeId) -> bool {
        let config = &self.shared.config;
        let (delay, lost) = {
            let mut rng = self.shared.rng.lock();
            let delay = rng.random_range(config.min_delay..=config.max_delay);
            (delay, config.loss > 0.0 && rng.random_bool(config.loss))
        };
        tokio::time::sleep(delay).await;
        !lost && !self.shared.cut.read().contains(&(from, to))
    }
}

pub struct MemoryTransport {
    network: MemoryNetwork,
    id: NodeId,
    node: Arc<Node>,
}

#[async_trait]
impl Transport for MemoryTransport {
    async fn call(
        &self,
        to: NodeId,
        _lane: Lane,
        service: ServiceId,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, RpcError> {
        if to == self.id {
            let handler = self.node.services.read().get(&service.0).cloned();
            return call_local(handler, to, service, payload, timeout).await;
        }
        let (network, from) = (self.network.clone(), self.id);
        let target = network.shared.nodes.read().get(&to).cloned();
        let Some(target) = target else {
            return Err(RpcError::Unreachable { to: to.to_string(), reason: "no such node".into() });
        };
        let sender_clock = self.node.clock.clone();
        let deadline = tokio::time::Instant::now() + timeout;
        // What was sent is executed whether or not the caller still waits.
        let exchange = tokio::spawn(async move {
            if !network.travel(from, to).await {
                return None;
            }
            if let Err(error) = target.clock.update(sender_clock.now()) {
                tracing::debug!(%error, "clock offset");
                return None;
            }
            let handler = target.services.read().get(&service.0).cloned();
            let outcome = match handler {
                Some(handler) => handler.call(from, payload).await,
                None => Err(RpcError::UnknownService { service: service.0 }),
            };
            // A node that was taken away meanwhile does not answer.
            let still_there = network.shared.nodes.read().get(&to).is_some_and(|now| Arc::ptr_eq(now, &target));
            if !still_there || !network.travel(to, from).await {
                return None;
            }
            if sender_clock.update(target.clock.now()).is_err() {
                return None;
            }
            Some(outcome)
        });
        match tokio::time::timeout_at(deadline, exchange).await {
            Ok(Ok(Some(outcome))) => outcome,
            Ok(Ok(None)) => {
                tokio::time::sleep_until(deadline).await;
                Err(RpcError::NoAnswer { to: to.to_string(), after: timeout })
            }
            Ok(Err(_)) | Err(_) => Err(RpcError::NoAnswer { to: to.to_string(), after: timeout }),
        }
    }

    /// Addresses here are node numbers.
    async fn call_address(
        &self,
        address: &str,
        service: ServiceId,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, RpcError> {
        match address.parse() {
            Ok(node) => self.call(NodeId::new(node), Lane::Control, service, payload, timeout).await,
            Err(_) => Err(RpcError::Unreachable { to: address.to_owned(), reason: "not a node number".into() }),
        }
    }

    fn register(&self, service: ServiceId, handler: Arc<dyn Service>) {
        self.node.services.write().insert(service.0, handler);
    }

    fn set_address(&self, _node: NodeId, _address: String) {}

    fn address(&self, node: NodeId) -> Option<String> {
        self.network.shared.nodes.read().contains_key(&node).then(|| node.get().to_string())
    }

    fn local_node(&self) -> Option<NodeId> {
        Some(self.id)
    }

    fn set_local_node(&self, node: NodeId) {
        debug_assert!(node == self.id, "a node of a test network keeps its number");
    }
}
