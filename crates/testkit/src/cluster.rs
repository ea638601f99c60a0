//! A key-value cluster in this process over a network in memory: real stores, real consensus, clocks and wires that the
//! test bends.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use hlc::{Clock, PhysicalClock, SystemClock};
use keys::{Key, Locality, NodeId, RangeDescriptor, RangeId, StoreId};
use kv::{Db, DbConfig, DbOptions, LocalStore};
use replica::api::{BatchRequest, BatchResponse, KvError, Request};
use rpc::{MemoryConfig, MemoryNetwork, RpcError, Service, Transport, services};
use storage::EngineConfig;
use store::{NodeInfo, NodeParts, Store, StoreConfig, StoreOptions};

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
    physical: Arc<OffsetClock>,
    clock: Arc<Clock>,
    transport: Arc<dyn Transport>,
    stopped: Arc<AtomicBool>,
}

impl Member {
    /// Sets the node's clock off from true time.
    pub fn set_offset(&self, offset_ms: i64) {
        self.physical.offset_ns.store(offset_ms * 1_000_000, Ordering::Relaxed);
    }

    /// It was killed, or has stopped by itself because its clock is wrong.
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}

/// How far clocks may be apart.
pub const MAX_OFFSET: Duration = Duration::from_millis(500);

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
    /// Writes of its log and of its clock's bound do not come back.
    DiskHangs,
}

pub struct Cluster {
    pub network: MemoryNetwork,
    pub members: Vec<Member>,
    site: Site,
}

/// What a member is made from, at the start and again.
struct Site {
    network: MemoryNetwork,
    dir: PathBuf,
    seed: u64,
    kv: DbConfig,
    stores: StoreTuning,
    between: Box<Between>,
}

/// What a test may have its stores do differently.
#[derive(Clone, Copy, Debug)]
pub struct StoreTuning {
    /// How long a transaction lives without a heartbeat.
    pub txn_expiry: Duration,
    /// How many keys a command must lock for a range to keep them as a list.
    pub bulk_locks_min: usize,
    /// Whether small neighbours are merged, soon after they were split.
    pub merges: bool,
    pub range_split_qps: u64,
    /// How often the replicas of a range are compared; zero: when a test asks for it.
    pub consistency_interval: Duration,
    /// Where the nodes are, in their order; nowhere those that are not named.
    pub localities: &'static [&'static str],
}

impl Default for StoreTuning {
    fn default() -> Self {
        let (txn_expiry, bulk_locks_min) = (replica::TXN_EXPIRY, replica::BULK_MIN);
        // Ranges stay as a test has split them.
        Self {
            txn_expiry,
            bulk_locks_min,
            merges: false,
            range_split_qps: 0,
            consistency_interval: Duration::ZERO,
            localities: &[],
        }
    }
}

/// What to put between a node, named by its number, and the network.
type Between = dyn Fn(u64, Arc<dyn Transport>) -> Arc<dyn Transport> + Send + Sync;

/// The service of a node that is gone: what served before is let go of.
struct Gone;

#[async_trait]
impl Service for Gone {
    async fn call(&self, _from: NodeId, _payload: Bytes) -> Result<Bytes, RpcError> {
        Err(RpcError::Refused { reason: "the node is gone".into() })
    }
}

/// Takes a node out of the network and ends it without a word, as a crash does.
async fn crash(
    network: &MemoryNetwork,
    place: usize,
    transport: &Arc<dyn Transport>,
    store: &Store,
    db: &Db,
) {
    network.disconnect(Cluster::node(place));
    store.crash().await;
    db.clear_local();
    // The handlers and the transport hold each other.
    for service in [services::RAFT, services::LIVENESS, services::KV, services::STORE, services::CLOCK] {
        transport.register(service, Arc::new(Gone));
    }
}

impl Site {
    fn locality(&self, place: usize) -> Locality {
        let text = self.stores.localities.get(place).copied().unwrap_or_default();
        text.parse().expect("a test gives localities that can be read")
    }

    async fn start(&self, place: usize, physical: Arc<OffsetClock>) -> Member {
        let number = place as u64 + 1;
        let dir = self.dir.join(number.to_string());
        std::fs::create_dir_all(&dir).expect("a directory for the store");
        let clock = Arc::new(Clock::new(physical.clone(), MAX_OFFSET));
        store::keep_clock(&clock, &dir).await.expect("the clock's bound is readable");
        let node_id = Cluster::node(place);
        let transport = (self.between)(number, self.network.transport(node_id, clock.clone()));
        let db = Db::new(DbOptions {
            clock: clock.clone(),
            node_id,
            transport: transport.clone(),
            local: None,
            seed: self.seed + number,
            config: self.kv.clone(),
        });
        let config = || StoreConfig {
            engine: EngineConfig::small(),
            queue_interval: Duration::from_millis(200),
            gc_after: Duration::from_secs(6),
            gc_interval: Duration::from_secs(1),
            replica_check_interval: Duration::from_millis(500),
            dead_after: Duration::from_secs(6),
            txn_expiry: self.stores.txn_expiry,
            bulk_locks_min: self.stores.bulk_locks_min,
            range_split_qps: self.stores.range_split_qps,
            load_split_after: Duration::from_secs(2),
            merges: self.stores.merges,
            merge_interval: Duration::from_millis(500),
            merge_pause: Duration::from_secs(2),
            consistency_interval: self.stores.consistency_interval,
            ..StoreConfig::default()
        };
        let options = || StoreOptions {
            dir: dir.clone(),
            files: storage::StoreFiles::plain(),
            node_id,
            store_id: StoreId::new(number),
            clock: clock.clone(),
            transport: transport.clone(),
            outbound: Arc::new(db.clone()),
            config: config(),
            seed: self.seed + number,
            bootstrap: number == 1,
            info: NodeInfo {
                node_id,
                store_id: StoreId::new(number),
                rpc_addr: number.to_string(),
                sql_addr: String::new(),
                http_addr: String::new(),
                as_of_ns: clock.now().wall_ns(),
                ranges: 0,
                leases: 0,
                bytes: 0,
                under_replicated: 0,
                leaving: false,
                parts: NodeParts { locality: self.locality(place), ..NodeParts::default() },
            },
        };
        // The tasks of the store that was there before let go of its files when they next run.
        let mut refused = None;
        let opened = async {
            loop {
                match Store::open(options()).await {
                    Ok(store) => return store,
                    Err(error) => refused = Some(error),
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let store = tokio::time::timeout(Duration::from_secs(30), opened).await;
        let store = store.unwrap_or_else(|_| panic!("the store opens: {refused:?}"));
        db.set_local(Arc::new(Local(store.clone())));
        let stopped = Arc::new(AtomicBool::new(false));
        let member = Member { db, store, physical, clock, transport, stopped };
        member.stop_when_astray(self.network.clone(), place);
        member
    }
}

impl Member {
    /// As a process would that finds its clock wrong.
    fn stop_when_astray(&self, network: MemoryNetwork, place: usize) {
        let (astray, weak) = (self.store.astray(), self.store.downgrade());
        let (transport, db) = (Arc::downgrade(&self.transport), self.db.clone());
        let stopped = self.stopped.clone();
        tokio::spawn(async move {
            let Some(_reason) = astray.await else { return };
            let (Some(store), Some(transport)) = (weak.upgrade(), transport.upgrade()) else { return };
            if !stopped.swap(true, Ordering::AcqRel) {
                crash(&network, place, &transport, &store, &db).await;
            }
        });
    }
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
        let stores = StoreTuning::default();
        Self::start_over_wires(dir, seed, wires, offsets_ms, kv, stores, |_, transport| transport).await
    }

    /// The same, with something between each node and the network, and stores that are tuned.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start_over_wires(
        dir: &Path,
        seed: u64,
        wires: MemoryConfig,
        offsets_ms: &[i64],
        kv: DbConfig,
        stores: StoreTuning,
        between: impl Fn(u64, Arc<dyn Transport>) -> Arc<dyn Transport> + Send + Sync + 'static,
    ) -> Self {
        let network = MemoryNetwork::new(seed, wires);
        let between = Box::new(between);
        let site = Site { network: network.clone(), dir: dir.to_owned(), seed, kv, stores, between };
        let mut members = Vec::new();
        for (place, offset_ms) in offsets_ms.iter().enumerate() {
            let physical = Arc::new(OffsetClock { offset_ns: AtomicI64::new(offset_ms * 1_000_000) });
            members.push(site.start(place, physical).await);
        }
        let nodes: Vec<NodeId> = (1..=offsets_ms.len() as u64).map(NodeId::new).collect();
        let infos: Vec<NodeInfo> = members.iter().map(|member| member.store.describe()).collect();
        for member in &members {
            member.store.learn_nodes(infos.clone());
            member.db.set_nodes(nodes.clone());
        }
        let cluster = Self { network, members, site };
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

    /// The range of `key` as its leaseholder has it, and where that is.
    #[must_use]
    pub fn led(&self, key: &Key) -> Option<(RangeDescriptor, usize)> {
        let leader = self.leader_of(key)?;
        let ranges = self.members[leader].store.replicas().into_iter().filter_map(|replica| replica.descriptor());
        let range = ranges.map(|range| (*range).clone()).find(|range| range.contains_key(key.as_bytes()))?;
        Some((range, leader))
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
            Fault::DiskHangs => self.hold_disk(place, true),
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
            Fault::DiskHangs => self.hold_disk(place, false),
            Fault::Stopped | Fault::Mute | Fault::Deaf | Fault::CutOff => self.network.heal_all(),
        }
    }

    /// Has a member's disk hang, or go on.
    pub fn hold_disk(&self, place: usize, held: bool) {
        let member = &self.members[place];
        member.store.log().hold_writes(held);
        member.clock.hold_bound(held);
    }

    /// Sets a member's clock forward, or back when `delta_ms` is negative.
    pub fn step_clock(&self, place: usize, delta_ms: i64) {
        self.members[place].physical.offset_ns.fetch_add(delta_ms * 1_000_000, Ordering::Relaxed);
    }

    /// Ends a member as a crash would: what it had not written is lost, and the others hear no more of it.
    pub async fn kill(&self, place: usize) {
        let Member { db, store, transport, stopped, clock, .. } = &self.members[place];
        if !stopped.swap(true, Ordering::AcqRel) {
            crash(&self.network, place, transport, store, db).await;
        }
        clock.let_go_of_bound();
    }

    /// Starts a member again in its directory, with its clock as it is by now; one that runs is killed first. Handles on
    /// the member that was are of no use any more, and must be let go of for this to end.
    ///
    /// # Panics
    /// When its store does not open.
    pub async fn restart(&mut self, place: usize) {
        self.kill(place).await;
        let physical = self.members[place].physical.clone();
        let gone = self.members.remove(place);
        drop(gone);
        let member = self.site.start(place, physical).await;
        self.members.insert(place, member);
        let infos: Vec<NodeInfo> = self.members.iter().map(|member| member.store.describe()).collect();
        let nodes = (0..self.members.len()).map(Self::node).collect();
        self.members[place].store.learn_nodes(infos);
        self.members[place].db.set_nodes(nodes);
    }

    pub async fn stop(&self) {
        for member in self.members.iter().filter(|member| !member.has_stopped()) {
            member.store.stop().await;
            member.db.clear_local();
        }
    }
}
