//! A network in memory for tests: seeded delays, losses, cuts, stalls and slowness of either direction, under tokio's paused time
//! if the test likes.
//!
//! A call fails here as it would over TCP: what was lost after it may have arrived is ambiguous, a handler's error is
//! what the wire would carry of it, and a clock too far ahead is refused. All chance is drawn when a message is sent, so
//! a seed and an order of calls make one run.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use hlc::Clock;
use keys::NodeId;
use parking_lot::{Mutex, RwLock};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use rustc_hash::FxHashMap;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

use crate::{
    Lane, RpcError, Service, ServiceId, Transport,
    connection::clock_offset,
    pulse::PULSE_EVERY,
    services,
    error::as_told,
    tcp::{call_local, check_size, handle},
};

/// Whether messages may overtake one another on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemoryOrder {
    /// Those of one lane between two nodes arrive as they were sent, as on a connection.
    #[default]
    PerLane,
    /// Each comes when its own delay is over.
    Any,
}

#[derive(Clone, Debug)]
pub struct MemoryConfig {
    pub min_delay: Duration,
    pub max_delay: Duration,
    /// Of a message, one way.
    pub loss: f64,
    pub order: MemoryOrder,
    /// As on a connection with heartbeats: after so long a silence of either direction, calls under way have no answer
    /// and new ones are refused; a call that lost a message has none after so long. Without it each waits for its own
    /// timeout.
    pub silence: Option<Duration>,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self {
            min_delay: Duration::from_micros(100),
            max_delay: Duration::from_millis(1),
            loss: 0.0,
            order: MemoryOrder::PerLane,
            silence: None,
        }
    }
}

/// A direction of a wire, and since when it is so.
type Directions = FxHashMap<(NodeId, NodeId), Instant>;

#[derive(Default)]
struct Links {
    /// What is sent is lost.
    cut: Directions,
    /// What is sent waits on the way.
    stalled: Directions,
    /// How much later what is sent arrives.
    slow: FxHashMap<(NodeId, NodeId), Duration>,
}

impl Links {
    /// Since when one of two nodes has not heard the other.
    fn silent_since(&self, one: NodeId, other: NodeId) -> Option<Instant> {
        let ways = [(one, other), (other, one)];
        ways.iter().flat_map(|way| [self.cut.get(way), self.stalled.get(way)]).flatten().min().copied()
    }
}

struct Node {
    services: RwLock<FxHashMap<u16, Arc<dyn Service>>>,
    clock: Arc<Clock>,
}

/// A message on its way: when it may arrive, and who is told that it has.
type Travelling = (Instant, oneshot::Sender<()>);

/// What the sender learned from chance when it sent.
struct Journey {
    lost: bool,
    arrival: Arrival,
}

enum Arrival {
    At(Instant),
    /// Behind those sent before it.
    InTurn(oneshot::Receiver<()>),
}

struct Shared {
    config: MemoryConfig,
    rng: Mutex<SmallRng>,
    nodes: RwLock<FxHashMap<NodeId, Arc<Node>>>,
    links: RwLock<Links>,
    /// Changes with `links` and `nodes`.
    changes: watch::Sender<()>,
    wires: Mutex<FxHashMap<(NodeId, NodeId, Lane), mpsc::UnboundedSender<Travelling>>>,
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
        let (nodes, links, wires) = (RwLock::default(), RwLock::default(), Mutex::default());
        Self { shared: Arc::new(Shared { config, rng, nodes, links, changes: watch::channel(()).0, wires }) }
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
        self.change(|links| {
            links.cut.entry((from, to)).or_insert_with(Instant::now);
        });
    }

    /// Holds everything from one node to another on its way until it is healed, as while the one that should read it
    /// is stopped; the other way stays as it is.
    pub fn stall(&self, from: NodeId, to: NodeId) {
        self.change(|links| {
            links.stalled.entry((from, to)).or_insert_with(Instant::now);
        });
    }

    /// Has everything that is sent from now on from one node to another arrive so much later, with the sender's clock as it
    /// was. Zero ends that; the other way stays as it is.
    pub fn slow(&self, from: NodeId, to: NodeId, by: Duration) {
        self.change(|links| match by {
            Duration::ZERO => drop(links.slow.remove(&(from, to))),
            by => drop(links.slow.insert((from, to), by)),
        });
    }

    /// Ends the cut, the stall and the slowness of one direction; what was held arrives.
    pub fn heal(&self, from: NodeId, to: NodeId) {
        self.change(|links| {
            links.cut.remove(&(from, to));
            links.stalled.remove(&(from, to));
            links.slow.remove(&(from, to));
        });
    }

    pub fn heal_all(&self) {
        self.change(|links| *links = Links::default());
    }

    fn change(&self, change: impl FnOnce(&mut Links)) {
        change(&mut self.shared.links.write());
        self.shared.changes.send_replace(());
    }

    /// Takes a node away, as when its process is killed: it hears nothing and nobody hears it.
    pub fn disconnect(&self, node: NodeId) {
        self.shared.nodes.write().remove(&node);
        self.shared.changes.send_replace(());
    }

    fn is_connected(&self, id: NodeId, node: &Arc<Node>) -> bool {
        self.shared.nodes.read().get(&id).is_some_and(|now| Arc::ptr_eq(now, node))
    }

    /// Sends a message; [`MemoryNetwork::arrive`] waits for it.
    fn depart(&self, from: NodeId, to: NodeId, lane: Lane) -> Journey {
        let config = &self.shared.config;
        let (delay, lost) = {
            let mut rng = self.shared.rng.lock();
            let delay = rng.random_range(config.min_delay..=config.max_delay);
            (delay, config.loss > 0.0 && rng.random_bool(config.loss))
        };
        let slow = self.shared.links.read().slow.get(&(from, to)).copied().unwrap_or_default();
        let at = Instant::now() + delay + slow;
        let arrival = match config.order {
            MemoryOrder::Any => Arrival::At(at),
            MemoryOrder::PerLane => {
                let (tell, told) = oneshot::channel();
                let mut wires = self.shared.wires.lock();
                let wire = wires.entry((from, to, lane)).or_insert_with(|| {
                    let (wire, end) = mpsc::unbounded_channel();
                    tokio::spawn(self.clone().carry(from, to, end));
                    wire
                });
                // A wire ends only with its runtime, and then nothing arrives any more.
                let _ended = wire.send((at, tell));
                Arrival::InTurn(told)
            }
        };
        Journey { lost, arrival }
    }

    async fn arrive(&self, from: NodeId, to: NodeId, journey: Journey) -> bool {
        match journey.arrival {
            Arrival::At(at) => {
                tokio::time::sleep_until(at).await;
                self.moving(from, to).await;
            }
            Arrival::InTurn(told) => {
                if told.await.is_err() {
                    return false;
                }
            }
        }
        !journey.lost && !self.shared.links.read().cut.contains_key(&(from, to))
    }

    /// Completes when this direction is not stalled.
    async fn moving(&self, from: NodeId, to: NodeId) {
        let mut changes = self.shared.changes.subscribe();
        while self.shared.links.read().stalled.contains_key(&(from, to)) {
            changes.changed().await.expect("the network that sends changes is held here");
        }
    }

    /// One lane from one node to another: first in, first out.
    async fn carry(self, from: NodeId, to: NodeId, mut wire: mpsc::UnboundedReceiver<Travelling>) {
        while let Some((at, tell)) = wire.recv().await {
            tokio::time::sleep_until(at).await;
            self.moving(from, to).await;
            // Its call may have been given up by a runtime that ends.
            let _unheard = tell.send(());
        }
    }

    /// Whether a node refuses the heartbeats of its connections.
    fn refuses_pulse(&self, node: &Node, from: NodeId) -> bool {
        let handler = node.services.read().get(&services::PULSE.0).cloned();
        // It never blocks.
        handler.is_some_and(|handler| matches!(handler.call(from, Bytes::new()).now_or_never(), Some(Err(_))))
    }

    /// Whether the heartbeats of a connection between the two would have ended it by now.
    fn has_been_silent(&self, from: NodeId, to: NodeId) -> bool {
        let Some(limit) = self.shared.config.silence else { return false };
        let target = self.shared.nodes.read().get(&to).cloned();
        if target.is_some_and(|target| self.refuses_pulse(&target, from)) {
            return true;
        }
        self.shared.links.read().silent_since(from, to).is_some_and(|since| since.elapsed() >= limit)
    }

    /// Completes when the heartbeats of a connection to this very node end it: never if there are none.
    async fn silence(&self, from: NodeId, to: NodeId, target: &Arc<Node>) {
        let Some(limit) = self.shared.config.silence else { return std::future::pending().await };
        let mut changes = self.shared.changes.subscribe();
        let mut gone_since = None;
        loop {
            let since = if self.is_connected(to, target) {
                self.shared.links.read().silent_since(from, to)
            } else {
                Some(*gone_since.get_or_insert_with(Instant::now))
            };
            let over = async {
                match since {
                    Some(since) => tokio::time::sleep_until(since + limit).await,
                    None => std::future::pending().await,
                }
            };
            let refused = async {
                while !self.refuses_pulse(target, from) {
                    tokio::time::sleep(PULSE_EVERY).await;
                }
            };
            tokio::select! {
                () = over => return,
                () = refused => return,
                changed = changes.changed() => changed.expect("the network that sends changes is held here"),
            }
        }
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
        lane: Lane,
        service: ServiceId,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, RpcError> {
        if to == self.id {
            let handler = self.node.services.read().get(&service.0).cloned();
            return call_local(handler, to, service, payload, timeout).await;
        }
        check_size(&payload)?;
        let (network, from, sender) = (self.network.clone(), self.id, self.node.clone());
        let unreachable =
            |reason: &str| RpcError::Unreachable { to: to.to_string(), reason: reason.to_owned() };
        if !network.is_connected(from, &sender) {
            return Err(unreachable("this node is gone from the network"));
        }
        let target = network.shared.nodes.read().get(&to).cloned();
        let Some(target) = target else { return Err(unreachable("no such node")) };
        if network.has_been_silent(from, to) {
            return Err(unreachable("nothing is heard from it"));
        }
        let deadline = Instant::now() + timeout;
        let request = network.depart(from, to, lane);
        let sent_at = sender.clock.peek();
        let hear =
            move |clock: &Clock, at| if services::whatever_the_clock(service) { Ok(()) } else { clock.update(at) };
        let (connection, other_end) = (network.clone(), target.clone());
        let lost_after = network.shared.config.silence;
        // What was sent is executed whether or not the caller still waits.
        let exchange = tokio::spawn(async move {
            if !network.arrive(from, to, request).await || !network.is_connected(to, &target) {
                return None;
            }
            let handler = target.services.read().get(&service.0).cloned();
            let outcome = match (hear(&target.clock, sent_at), handler) {
                (Err(error), _) => Err(clock_offset(from, &error)),
                (Ok(()), None) => Err(RpcError::UnknownService { service: service.0 }),
                (Ok(()), Some(handler)) => handle(&*handler, from, payload).await,
            };
            // A node that was taken away meanwhile does not answer, and does not hear an answer.
            if !network.is_connected(to, &target) {
                return None;
            }
            let (answer, answered_at) = (network.depart(to, from, lane), target.clock.peek());
            if !network.arrive(to, from, answer).await || !network.is_connected(from, &sender) {
                return None;
            }
            if let Err(error) = hear(&sender.clock, answered_at) {
                tracing::error!(peer = %to, %error, "clock offset");
                return Some(Err(RpcError::NoAnswer { to: to.to_string(), after: Duration::ZERO }));
            }
            Some(outcome.map_err(|error| as_told(&error, &to.to_string())))
        });
        let answered = async {
            match exchange.await {
                Ok(Some(outcome)) => outcome,
                // What is lost ends a connection: its heartbeats are not answered either.
                Ok(None) => match lost_after {
                    Some(limit) => {
                        tokio::time::sleep(limit).await;
                        Err(RpcError::NoAnswer { to: to.to_string(), after: limit })
                    }
                    None => std::future::pending().await,
                },
                Err(_) => Err(RpcError::NoAnswer { to: to.to_string(), after: timeout }),
            }
        };
        tokio::select! {
            biased;
            outcome = answered => outcome,
            () = connection.silence(from, to, &other_end) => {
                Err(RpcError::NoAnswer { to: to.to_string(), after: Duration::ZERO })
            }
            () = tokio::time::sleep_until(deadline) => {
                Err(RpcError::NoAnswer { to: to.to_string(), after: timeout })
            }
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
            Err(_) => {
                Err(RpcError::Unreachable { to: address.to_owned(), reason: "not a node number".into() })
            }
        }
    }

    fn register(&self, service: ServiceId, handler: Arc<dyn Service>) {
        self.node.services.write().insert(service.0, handler);
    }

    fn is_reachable(&self, node: NodeId) -> bool {
        self.network.shared.nodes.read().contains_key(&node) && !self.network.has_been_silent(self.id, node)
    }

    fn set_address(&self, _node: NodeId, _address: String) {}

    /// Every node of the network has one.
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
