//! A key-value cluster in this process over a network in memory: real stores, real consensus, clocks and wires that the
//! test bends.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use hlc::{Clock, PhysicalClock, SystemClock};
use keys::{Key, NodeId, RangeId, StoreId};
use kv::{Db, DbConfig, DbOptions, LocalStore};
use replica::api::{BatchRequest, BatchResponse, KvError, Request};
use rpc::{MemoryConfig, MemoryNetwork, Transport};
use storage::EngineConfig;
use store::{NodeInfo, Store, StoreConfig, StoreOptions};

/// The system's clock, off by so much.
#[derive(Default)]
struct OffsetClock {
    offset_ns: AtomicI64,
}

impl PhysicalClock for OffsetClock {
    fn now_ns(&self) -> u64 {
        SystemClock.now_ns().saturating_add_signed(self.offset_ns.load(Ordering::Relaxed))
    }
}

/// One node of the cluster.
pub struct Member {
    pub db: Db,
    pub store: Store,
    clock: Arc<OffsetClock>,
}

impl Member {
    /// Sets the node's clock off from true time.
    pub fn set_offset(&self, offset_ms: i64) {
        self.clock.offset_ns.store(offset_ms * 1_000_000, Ordering::Relaxed);
    }
}

/// What may befall a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Killed,
    /// As by SIGSTOP: what it sends and is sent waits until it goes on.
    Stopped,
    /// Nobody hears it.
    Mute,
    /// It hears nobody.
    Deaf,
    /// Both.
    CutOff,
    /// Writes of its log do not come back.
    DiskHangs,
}

pub struct Cluster {
    pub network: MemoryNetwork,
    pub members: Vec<Member>,
}

struct Local(Store);

#[async_trait]
impl LocalStore for Local {
    fn store_id(&self) -> StoreId {
        self.0.store_id()
    }

    fn has_range(&self, range_id: RangeId) -> bool {
        self.0.replica(range_id).is_some()
    }

    fn is_away(&self, store: StoreId) -> bool {
        self.0.raft().liveness().is_away(store)
    }

    async fn send(&self, batch: &BatchRequest) -> Result<BatchResponse, KvError> {
        self.0.send(batch).await
    }
}

impl Cluster {
    /// A cluster of `count` nodes, replicated to all of them (three at most), with clocks set off by `offsets_ms`.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start(dir: &Path, seed: u64, wires: MemoryConfig, offsets_ms: &[i64], kv: DbConfig) -> Self {
        let network = MemoryNetwork::new(seed, wires);
        let mut members = Vec::new();
        for (place, offset_ms) in offsets_ms.iter().enumerate() {
            let number = place as u64 + 1;
            let physical = Arc::new(OffsetClock { offset_ns: AtomicI64::new(offset_ms * 1_000_000) });
            let clock = Arc::new(Clock::new(physical.clone(), Duration::from_millis(500)));
            let node_id = NodeId::new(number);
            let transport: Arc<dyn Transport> = network.transport(node_id, clock.clone());
            let db = Db::new(DbOptions {
                clock: clock.clone(),
                node_id,
                transport: transport.clone(),
                local: None,
                seed: seed + number,
                config: kv.clone(),
            });
            let info = NodeInfo {
                node_id,
                store_id: StoreId::new(number),
                rpc_addr: number.to_string(),
                sql_addr: String::new(),
                http_addr: String::new(),
                as_of_ns: clock.now().wall_ns(),
                ranges: 0,
                leases: 0,
            };
            let config = StoreConfig {
                engine: EngineConfig::small(),
                queue_interval: Duration::from_millis(200),
                gc_after: Duration::from_secs(6),
                gc_interval: Duration::from_secs(1),
                replica_check_interval: Duration::from_millis(500),
                ..StoreConfig::default()
            };
            let store = Store::open(StoreOptions {
                dir: dir.join(number.to_string()),
                node_id,
                store_id: StoreId::new(number),
                clock,
                transport,
                outbound: Arc::new(db.clone()),
                config,
                seed: seed + number,
                bootstrap: number == 1,
                info,
            })
            .await
            .expect("a store opens on an empty directory");
            db.set_local(Arc::new(Local(store.clone())));
            members.push(Member { db, store, clock: physical });
        }
        let nodes: Vec<NodeId> = (1..=offsets_ms.len() as u64).map(NodeId::new).collect();
        let infos: Vec<NodeInfo> = members.iter().map(|member| member.store.describe()).collect();
        for member in &members {
            member.store.learn_nodes(infos.clone());
            member.db.set_nodes(nodes.clone());
        }
        let cluster = Self { network, members };
        cluster.replicated(offsets_ms.len().min(3)).await;
        cluster
    }

    /// Waits until every range has as many voters.
    async fn replicated(&self, voters: usize) {
        let done = async {
            while !self.members.iter().any(|member| {
                member.store.replica(RangeId::new(1)).is_some_and(|replica| {
                    replica.is_leaseholder()
                        && replica.descriptor().is_some_and(|range| range.voters().count() == voters)
                })
            }) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), done).await.expect("the first range replicates by itself");
    }

    /// Which member leads the range of `key`, as far as anybody does now.
    #[must_use]
    pub fn leader_of(&self, key: &Key) -> Option<usize> {
        self.members.iter().position(|member| {
            member.store.replicas().iter().any(|replica| {
                replica.is_leaseholder()
                    && replica.descriptor().is_some_and(|range| range.contains_key(key.as_bytes()))
            })
        })
    }

    /// Asks the range of `key` to be led by another member.
    pub async fn transfer_lease(&self, by: usize, key: &Key, to: usize) -> bool {
        let request = Request::TransferLease { to: StoreId::new(to as u64 + 1) };
        self.members[by].db.admin(key, request).await.is_ok()
    }

    /// Cuts a member off from all others, both ways.
    pub fn isolate(&self, place: usize) {
        let node = |place: usize| NodeId::new(place as u64 + 1);
        for other in (0..self.members.len()).filter(|other| *other != place) {
            self.network.partition(node(place), node(other));
            self.network.partition(node(other), node(place));
        }
    }

    /// The node at a place.
    #[must_use]
    pub fn node(place: usize) -> NodeId {
        NodeId::new(place as u64 + 1)
    }

    /// Has something befall a member.
    pub async fn inflict(&self, place: usize, fault: Fault) {
        let struck = Self::node(place);
        let others = (0..self.members.len()).filter(|other| *other != place).map(Self::node);
        match fault {
            Fault::Killed => self.kill(place).await,
            Fault::DiskHangs => self.members[place].store.log().hold_writes(true),
            Fault::Stopped => others.for_each(|other| {
                self.network.stall(struck, other);
                self.network.stall(other, struck);
            }),
            Fault::Mute => others.for_each(|other| self.network.partition(struck, other)),
            Fault::Deaf => others.for_each(|other| self.network.partition(other, struck)),
            Fault::CutOff => self.isolate(place),
        }
    }

    /// Ends it; who was killed stays so.
    pub fn recover(&self, place: usize, fault: Fault) {
        match fault {
            Fault::Killed => {}
            Fault::DiskHangs => self.members[place].store.log().hold_writes(false),
            Fault::Stopped | Fault::Mute | Fault::Deaf | Fault::CutOff => self.network.heal_all(),
        }
    }

    /// Ends a member for good, as a crash would for the others.
    pub async fn kill(&self, place: usize) {
        self.network.disconnect(NodeId::new(place as u64 + 1));
        self.members[place].store.raft().stop().await;
        self.members[place].db.clear_local();
    }

    pub async fn stop(&self) {
        for member in &self.members {
            member.store.stop().await;
            member.db.clear_local();
        }
    }
}
