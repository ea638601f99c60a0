//! One store: an engine, a log, and the replicas over them.

use std::{
    path::PathBuf,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use hlc::Clock;
use keys::{
    Key, NodeId, RangeDescriptor, RangeId, ReplicaDescriptor, ReplicaId, ReplicaKind, StoreId,
};
use parking_lot::{Mutex, RwLock};
use raft::{GroupOptions, LivenessConfig, RaftDeps, RaftNode};
use replica::{
    Inheritance, Machine, Outbound, Replica, ReplicaDeps, ReplicaHost,
    api::{BatchRequest, BatchResponse, KvError, StoreTarget},
};
use rpc::{Lane, RpcError, Service, Transport, services};
use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};
use storage::{
    Engine, EngineConfig, StorageError, WriteBatch,
    log::{LogHealth, LogOp, LogStore, LogStoreConfig, ignore},
};
use tokio::sync::Semaphore;

use crate::{
    nodes::{META_PREFIX, NodeInfo, Nodes},
    queues::ADDING_AT_ONCE,
};

/// How long all attempts at handing one lease over may take.
const HAND_OVER_PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
pub struct StoreConfig {
    pub engine: EngineConfig,
    pub liveness: LivenessConfig,
    /// A range above this is split.
    pub range_max_bytes: u64,
    /// How many replicas a range should have once there are as many stores.
    pub replication_factor: usize,
    /// Versions superseded for longer than this are removed.
    pub gc_after: Duration,
    /// Start with a log that lost what it had acknowledged: for the last copy there is.
    pub accept_lost_log: bool,
    /// How often a range that was written to is looked over for them.
    pub gc_interval: Duration,
    /// How often the queues look over the ranges.
    pub queue_interval: Duration,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            engine: EngineConfig::default(),
            liveness: LivenessConfig::default(),
            range_max_bytes: 512 << 20,
            replication_factor: 3,
            gc_after: Duration::from_secs(3600),
            gc_interval: Duration::from_secs(60),
            queue_interval: Duration::from_secs(1),
            accept_lost_log: false,
        }
    }
}

pub struct StoreOptions {
    pub dir: PathBuf,
    pub node_id: NodeId,
    pub store_id: StoreId,
    pub clock: Arc<Clock>,
    pub transport: Arc<dyn Transport>,
    pub outbound: Arc<dyn Outbound>,
    pub config: StoreConfig,
    pub seed: u64,
    /// Make the first range if the store has none: this is the first node of a new cluster.
    pub bootstrap: bool,
    /// How this node describes itself to the others.
    pub info: NodeInfo,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("consensus: {0}")]
    Raft(#[from] raft::OpenError),
    /// Votes and entries that others count on are gone: taking part could elect a leader that lacks what was
    /// committed.
    #[error(
        "the log has lost entries it had acknowledged (it was synced up to {synced} and ends at {found}); remove the \
         directory and let a new node take this one's place, or, if no other copy is left, start with --accept-lost-log"
    )]
    LostLog { synced: u64, found: u64 },
    #[error("a replica's number is damaged")]
    ReplicaNumber,
    #[error("the log is closed")]
    Closed,
}

pub(crate) struct Inner {
    pub node_id: NodeId,
    pub store_id: StoreId,
    pub engine: Engine,
    pub log: LogStore,
    pub raft: RaftNode,
    pub clock: Arc<Clock>,
    pub transport: Arc<dyn Transport>,
    pub outbound: Arc<dyn Outbound>,
    pub config: StoreConfig,
    pub nodes: Nodes,
    pub info: Mutex<NodeInfo>,
    replicas: RwLock<FxHashMap<RangeId, Arc<Replica>>>,
    /// Durable: the replica of each range that may live here.
    numbers: Mutex<FxHashMap<RangeId, ReplicaId>>,
    /// Durable: the last replica of each range that lived here and does not any more.
    gone: Mutex<FxHashMap<RangeId, ReplicaId>>,
    /// Replicas come and leave one at a time: none is opened while it is noted as gone.
    arrivals: tokio::sync::Mutex<()>,
    /// Turns to add a replica to a range that this store leads.
    pub adding: Semaphore,
    /// How many replicas were taken out of service since the start.
    pub fenced: AtomicU64,
    pub stopping: AtomicBool,
    pub draining: AtomicBool,
}

/// A store. Clones share it.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

/// The host that replicas see: it must not keep the store alive.
struct Host {
    store: Weak<Inner>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum StoreRequest {
    Hello { from: NodeInfo, known: Vec<NodeInfo> },
    PrepareReplica { range_id: RangeId, replica_id: ReplicaId },
    RemoveReplica { range_id: RangeId, replica_id: ReplicaId },
}

/// The last replica of a range that was told to live here.
const NUMBER_PREFIX: &[u8] = b"replica/";
/// The last one that left. While it is not below the other, there is none.
const GONE_PREFIX: &[u8] = b"gone/";

fn range_key(prefix: &[u8], range_id: RangeId) -> Bytes {
    let mut key = prefix.to_vec();
    key.extend_from_slice(&range_id.get().to_be_bytes());
    key.into()
}

/// What was noted of ranges under one prefix.
fn recover_numbers(metas: &[(Bytes, Bytes)], prefix: &[u8]) -> Result<FxHashMap<RangeId, ReplicaId>, StoreError> {
    let mut numbers = FxHashMap::default();
    for (key, value) in metas {
        let Some(range) = key.strip_prefix(prefix) else { continue };
        let range = <[u8; 8]>::try_from(range).map_err(|_| StoreError::ReplicaNumber)?;
        let number = postcard::from_bytes(value).map_err(|_| StoreError::ReplicaNumber)?;
        numbers.insert(RangeId::new(u64::from_be_bytes(range)), number);
    }
    Ok(numbers)
}

impl Store {
    /// Opens the store, its log and every replica it holds.
    ///
    /// # Errors
    /// When the disk cannot be read, or what is there is damaged.
    pub async fn open(options: StoreOptions) -> Result<Self, StoreError> {
        let log_config = LogStoreConfig {
            accept_loss: options.config.accept_lost_log,
            ..LogStoreConfig::new(options.dir.join("log"))
        };
        // Both wait for the disk most of the time.
        let (engine, opened) = std::thread::scope(|scope| {
            let engine = scope.spawn(|| Engine::open(&options.dir, &options.config.engine));
            let log = LogStore::open(&log_config);
            (engine.join().expect("opening an engine does not panic"), log)
        });
        let engine = engine?;
        let (log, recovered) = opened?;
        if let LogHealth::Suspect { synced, found } = recovered.health {
            return Err(StoreError::LostLog { synced, found });
        }
        let nodes = Nodes::recover(&recovered.metas);
        for info in nodes.all() {
            if info.node_id != options.node_id {
                options.transport.set_address(info.node_id, info.rpc_addr);
            }
        }
        let numbers = recover_numbers(&recovered.metas, NUMBER_PREFIX)?;
        let gone = recover_numbers(&recovered.metas, GONE_PREFIX)?;
        let raft = RaftNode::start(RaftDeps {
            node_id: options.node_id,
            store_id: options.store_id,
            clock: options.clock.clone(),
            log: log.clone(),
            recovered,
            transport: options.transport.clone(),
            spool_dir: options.dir.join("spool"),
            liveness: options.config.liveness,
            seed: options.seed,
        })
        .await?;
        let inner = Arc::new(Inner {
            node_id: options.node_id,
            store_id: options.store_id,
            engine,
            log,
            raft,
            clock: options.clock,
            transport: options.transport.clone(),
            outbound: options.outbound,
            config: options.config,
            nodes,
            info: Mutex::new(options.info.clone()),
            replicas: RwLock::default(),
            numbers: Mutex::new(numbers),
            gone: Mutex::new(gone),
            arrivals: tokio::sync::Mutex::default(),
            adding: Semaphore::new(ADDING_AT_ONCE),
            fenced: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            draining: AtomicBool::new(false),
        });
        let store = Self { inner };
        store.learn_nodes(vec![options.info]);
        if options.bootstrap && replica::stored_ranges(&store.inner.engine)?.is_empty() {
            store.write_first_range()?;
        }
        // The crash came after it was noted that a replica had left and before its log was removed: the next one must
        // not take up its votes and entries.
        for range_id in store.inner.raft.unopened() {
            let last = store.inner.numbers.lock().get(&range_id).copied().unwrap_or_default();
            if store.has_left(range_id, last) {
                store.inner.raft.remove_group(range_id).await;
            }
        }
        let mut fenced = FxHashSet::default();
        for descriptor in replica::stored_ranges(&store.inner.engine)? {
            let range_id = descriptor.range_id;
            let own = descriptor.replica_on_store(store.inner.store_id).copied();
            // It was removed from the range, and the crash came before that was noted, or before its state was cleared.
            let Some(own) = own.filter(|own| !store.has_left(range_id, own.replica_id)) else {
                let number = store.inner.numbers.lock().get(&range_id).copied();
                if let Some(number) = number.filter(|number| *number < descriptor.next_replica_id) {
                    store.note_gone(range_id, number).await?;
                }
                store.inner.raft.remove_group(range_id).await;
                store.forget_state(&descriptor)?;
                continue;
            };
            let alone = descriptor.voters().count() == 1;
            let opened = store.open_replica(descriptor.range_id, own.replica_id, alone).await;
            match opened {
                Ok(_) => {}
                // The others have what is damaged here, and elect among themselves.
                Err(error) if !alone => {
                    store.note_fenced(descriptor.range_id, &error.to_string());
                    fenced.insert(descriptor.range_id);
                }
                Err(error) => return Err(error),
            }
        }
        // Replicas that wait for their first snapshot.
        let waiting: Vec<(RangeId, ReplicaId)> =
            store.inner.numbers.lock().iter().map(|(range, number)| (*range, *number)).collect();
        for (range_id, replica_id) in waiting {
            let left = store.has_left(range_id, replica_id);
            if store.replica(range_id).is_none() && !fenced.contains(&range_id) && !left {
                store.open_replica(range_id, replica_id, false).await?;
            }
        }
        options.transport.register(services::KV, Arc::new(KvService { store: Arc::downgrade(&store.inner) }));
        options.transport.register(services::STORE, Arc::new(StoreService { store: Arc::downgrade(&store.inner) }));
        crate::queues::start(&store);
        Ok(store)
    }

    /// The range that holds everything, with this store's replica as its only voter.
    fn write_first_range(&self) -> Result<(), StoreError> {
        let replica_id = ReplicaId::new(1);
        let descriptor = RangeDescriptor {
            range_id: RangeId::new(1),
            start: Key::MIN,
            end: Key::MAX,
            replicas: vec![ReplicaDescriptor {
                node_id: self.inner.node_id,
                store_id: self.inner.store_id,
                replica_id,
                kind: ReplicaKind::Voter,
            }],
            next_replica_id: replica_id.next(),
            generation: 1,
        };
        let mut batch = WriteBatch::new();
        replica::put_new_range(&mut batch, &descriptor, &replica::first_applied(&descriptor));
        // The counter of range ids goes on after this one.
        let counter = keys::keyspace::system("id/range");
        batch.put_version(counter.as_bytes(), self.inner.clock.now(), Some(&1_i64.to_be_bytes()));
        let nodes = keys::keyspace::system("id/node");
        let node = i64::try_from(self.inner.node_id.get()).unwrap_or(1);
        batch.put_version(nodes.as_bytes(), self.inner.clock.now(), Some(&node.to_be_bytes()));
        self.inner.engine.apply(&batch)?;
        // There is no log to replay this from.
        self.inner.engine.flush()?;
        Ok(())
    }

    async fn open_replica(
        &self,
        range_id: RangeId,
        replica_id: ReplicaId,
        campaign: bool,
    ) -> Result<Arc<Replica>, StoreError> {
        if let Some(replica) = self.replica(range_id) {
            return Ok(replica);
        }
        let inner = &self.inner;
        let host = Arc::new(Host { store: Arc::downgrade(inner) });
        let machine = Arc::new(Machine::load(range_id, inner.engine.clone(), host.clone())?);
        let options = GroupOptions { range_id, replica_id, campaign };
        let group = inner.raft.open_group(options, machine.clone()).await?;
        let deps = ReplicaDeps {
            engine: inner.engine.clone(),
            clock: inner.clock.clone(),
            node_id: inner.node_id,
            store_id: inner.store_id,
            outbound: inner.outbound.clone(),
            host,
        };
        let replica = Arc::new(Replica::new(deps, replica_id, machine, group));
        inner.replicas.write().insert(range_id, replica.clone());
        Ok(replica)
    }

    /// Notes durably that this replica may live here, and opens it; it waits for its snapshot.
    async fn prepare_replica(&self, range_id: RangeId, replica_id: ReplicaId) -> Result<(), String> {
        let _one_at_a_time = self.inner.arrivals.lock().await;
        // *replica-id-fresh*: a number that is not above the last was in use here before.
        if self.has_left(range_id, replica_id) {
            return Err(format!("{replica_id} of {range_id} has left"));
        }
        self.inner.engine.check_space().map_err(|error| error.to_string())?;
        let before = self.inner.numbers.lock().get(&range_id).copied();
        match (before, self.replica(range_id)) {
            (Some(before), _) if before > replica_id => return Err(format!("{range_id} had {before} here")),
            (_, Some(replica)) if replica.replica_id() == replica_id => return Ok(()),
            (_, Some(older)) if older.replica_id() < replica_id => {
                self.take_out(range_id, older.replica_id()).await.map_err(|error| error.to_string())?;
            }
            (_, Some(newer)) => return Err(format!("{} is here", newer.replica_id())),
            // It was fenced: until the store is started again, nobody may speak for what its log says.
            (_, None) if !self.inner.raft.may_open(range_id) => return Err(format!("{range_id} is fenced here")),
            (_, None) => {}
        }
        self.note(range_key(NUMBER_PREFIX, range_id), replica_id).await.map_err(|error| error.to_string())?;
        self.inner.numbers.lock().insert(range_id, replica_id);
        self.open_replica(range_id, replica_id, false).await.map(|_| ()).map_err(|error| error.to_string())
    }

    async fn remove_replica(&self, range_id: RangeId, replica_id: ReplicaId) -> Result<(), StoreError> {
        let _one_at_a_time = self.inner.arrivals.lock().await;
        self.take_out(range_id, replica_id).await
    }

    /// Call under `arrivals`.
    async fn take_out(&self, range_id: RangeId, replica_id: ReplicaId) -> Result<(), StoreError> {
        // *gone-stays-gone*: noted though it is not here, as what tells this store to prepare it may come later.
        if !self.has_left(range_id, replica_id) {
            self.note_gone(range_id, replica_id).await?;
        }
        // An older one left as well: a store has one replica of a range at a time.
        let Some(replica) = self.replica(range_id).filter(|replica| replica.replica_id() <= replica_id) else {
            return Ok(());
        };
        self.inner.replicas.write().remove(&range_id);
        self.inner.raft.remove_group(range_id).await;
        if let Some(descriptor) = replica.descriptor() {
            self.forget_state(&descriptor)?;
        }
        tracing::info!(range = %range_id, replica = %replica_id, "replica removed");
        Ok(())
    }

    fn has_left(&self, range_id: RangeId, replica_id: ReplicaId) -> bool {
        self.inner.gone.lock().get(&range_id).is_some_and(|gone| *gone >= replica_id)
    }

    async fn note_gone(&self, range_id: RangeId, replica_id: ReplicaId) -> Result<(), StoreError> {
        self.note(range_key(GONE_PREFIX, range_id), replica_id).await?;
        self.inner.gone.lock().insert(range_id, replica_id);
        Ok(())
    }

    /// Durable when this returns.
    async fn note(&self, key: Bytes, number: ReplicaId) -> Result<(), StoreError> {
        let value = postcard::to_stdvec(&number).expect("a number encodes").into();
        let (done, wait) = futures::channel::oneshot::channel();
        self.inner.log.submit(LogOp::PutMeta { key, value }, Box::new(move || { let _unheard = done.send(()); }));
        wait.await.map_err(|_| StoreError::Closed)
    }

    /// Clears what a replica that is gone has left.
    fn forget_state(&self, descriptor: &RangeDescriptor) -> Result<(), StorageError> {
        let mut batch = WriteBatch::new();
        batch.clear_span(&descriptor.span());
        for span in replica::local_spans(descriptor) {
            batch.clear_local_span(&span);
        }
        self.inner.engine.apply(&batch)?;
        self.inner.engine.flush()
    }

    #[must_use]
    pub fn replica(&self, range_id: RangeId) -> Option<Arc<Replica>> {
        self.inner.replicas.read().get(&range_id).cloned()
    }

    #[must_use]
    pub fn replicas(&self) -> Vec<Arc<Replica>> {
        self.inner.replicas.read().values().cloned().collect()
    }

    #[must_use]
    pub fn store_id(&self) -> StoreId {
        self.inner.store_id
    }

    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    #[must_use]
    pub fn log(&self) -> &LogStore {
        &self.inner.log
    }

    #[must_use]
    pub fn raft(&self) -> &RaftNode {
        &self.inner.raft
    }

    fn note_fenced(&self, range_id: RangeId, reason: &str) {
        tracing::error!(range = %range_id, reason, "the range is fenced here: this store does not serve it");
        self.inner.fenced.fetch_add(1, Ordering::Relaxed);
    }

    /// Replicas that failed and were taken out of service since the start.
    #[must_use]
    pub fn fenced(&self) -> u64 {
        self.inner.fenced.load(Ordering::Relaxed)
    }

    #[must_use]
    pub fn nodes(&self) -> &Nodes {
        &self.inner.nodes
    }

    /// Executes a batch on the replica it names.
    ///
    /// # Errors
    /// See [`KvError`].
    pub async fn send(&self, batch: &BatchRequest) -> Result<BatchResponse, KvError> {
        let range_id = batch.header.range_id;
        let replica = self.inner.replicas.read().get(&range_id).cloned();
        match replica {
            Some(replica) => replica.send(batch).await,
            None => Err(KvError::RangeNotFound { range_id }),
        }
    }

    /// Takes news of nodes in: their addresses are used at once and kept for the next start.
    pub fn learn_nodes(&self, infos: Vec<NodeInfo>) {
        for info in infos {
            let (node_id, address) = (info.node_id, info.rpc_addr.clone());
            if !self.inner.nodes.learn(info.clone()) {
                continue;
            }
            if node_id != self.inner.node_id {
                self.inner.transport.set_address(node_id, address);
            }
            let mut key = META_PREFIX.to_vec();
            key.extend_from_slice(&node_id.get().to_be_bytes());
            let value = postcard::to_stdvec(&info).expect("a description is plain data");
            self.inner.log.submit(LogOp::PutMeta { key: key.into(), value: value.into() }, ignore());
        }
    }

    /// Hands every lease to another store, as far as there is one.
    pub async fn drain(&self) {
        self.inner.draining.store(true, Ordering::Release);
        let moves = self.replicas().into_iter().filter(|replica| replica.is_leaseholder()).map(|replica| {
            let store = self.clone();
            async move { store.hand_over(&replica).await }
        });
        futures::future::join_all(moves).await;
    }

    async fn hand_over(&self, replica: &Arc<Replica>) {
        let Some(descriptor) = replica.descriptor() else { return };
        let liveness = self.inner.raft.liveness();
        let others = descriptor.voters().filter(|voter| voter.store_id != self.inner.store_id);
        let transfers = async {
            // One that lags behind, or went away just now, is no reason not to ask the next.
            for target in others.filter(|voter| liveness.is_live(voter.store_id)) {
                match replica.group().transfer_leader(target.replica_id).await {
                    Ok(()) => return,
                    Err(error) => tracing::warn!(range = %descriptor.range_id, %target, %error, "lease transfer"),
                }
            }
        };
        if tokio::time::timeout(HAND_OVER_PATIENCE, transfers).await.is_err() {
            tracing::warn!(range = %descriptor.range_id, "lease transfer: no successor in time");
        }
    }

    /// Stops everything and makes the state durable, so that the next start replays little.
    pub async fn stop(&self) {
        self.inner.stopping.store(true, Ordering::Release);
        self.inner.raft.stop().await;
        self.inner.replicas.write().clear();
        if let Err(error) = self.inner.engine.flush() {
            tracing::warn!(%error, "flush at stop");
        }
        self.inner.log.close();
    }

    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.inner.stopping.load(Ordering::Acquire)
    }

    pub(crate) fn from_weak(weak: &Weak<Inner>) -> Option<Self> {
        weak.upgrade().map(|inner| Self { inner })
    }
}

impl Host {
    fn store(&self) -> Option<Store> {
        Store::from_weak(&self.store)
    }
}

#[async_trait]
impl ReplicaHost for Host {
    fn split_applied(&self, left: &RangeDescriptor, right: &RangeDescriptor, inherit: Inheritance) {
        let Some(store) = self.store() else { return };
        let Some(own) = right.replica_on_store(store.inner.store_id).copied() else {
            tracing::error!(%left, %right, "a split applied on a store that is in neither half");
            return;
        };
        let range_id = right.range_id;
        let alone = right.voters().count() == 1;
        tokio::spawn(async move {
            if let Err(error) = store.open_replica(range_id, own.replica_id, inherit.led || alone).await {
                tracing::error!(range = %range_id, %error, "the right half of a split cannot be opened");
            }
        });
    }

    fn overlaps_other(&self, descriptor: &RangeDescriptor) -> bool {
        let Some(store) = self.store() else { return true };
        let span = descriptor.span();
        store.replicas().iter().any(|replica| {
            replica.range_id() != descriptor.range_id
                && replica.descriptor().is_some_and(|other| other.span().overlaps(&span))
        })
    }

    fn neighbour(&self, start: &Key) -> Option<RangeDescriptor> {
        let store = self.store()?;
        store
            .replicas()
            .into_iter()
            .filter_map(|replica| replica.descriptor())
            .find(|descriptor| descriptor.start == *start)
            .map(|descriptor| (*descriptor).clone())
    }

    async fn prepare_replica(
        &self,
        target: StoreTarget,
        range_id: RangeId,
        replica_id: ReplicaId,
    ) -> Result<(), KvError> {
        let Some(store) = self.store() else {
            return Err(KvError::Unavailable { range_id, reason: "the store is stopping".into() });
        };
        let request = StoreRequest::PrepareReplica { range_id, replica_id };
        store
            .ask(target.node_id, &request, Duration::from_secs(10))
            .await
            .map(|_| ())
            .map_err(|error| KvError::Internal { reason: format!("{}: {error}", target.store_id) })
    }

    async fn remove_replica(&self, target: StoreTarget, range_id: RangeId, replica_id: ReplicaId) {
        let Some(store) = self.store() else { return };
        let request = StoreRequest::RemoveReplica { range_id, replica_id };
        if let Err(error) = store.ask(target.node_id, &request, Duration::from_secs(10)).await {
            tracing::warn!(range = %range_id, store = %target.store_id, %error, "a removed replica's store was not told");
        }
    }

    fn corrupted(&self, range_id: RangeId, error: &StorageError) {
        self.fenced(range_id, &error.to_string());
    }

    fn fenced(&self, range_id: RangeId, reason: &str) {
        let Some(store) = self.store() else { return };
        if store.inner.replicas.write().remove(&range_id).is_some() {
            store.note_fenced(range_id, reason);
        }
        tokio::spawn(async move { store.inner.raft.close_group(range_id).await });
    }
}

impl Store {
    pub(crate) async fn ask(
        &self,
        node: NodeId,
        request: &StoreRequest,
        timeout: Duration,
    ) -> Result<Bytes, RpcError> {
        let payload: Bytes = postcard::to_stdvec(request).expect("requests are plain data").into();
        self.inner.transport.call(node, Lane::Control, services::STORE, payload, timeout).await
    }
}

struct KvService {
    store: Weak<Inner>,
}

#[async_trait]
impl Service for KvService {
    async fn call(&self, _from: NodeId, payload: Bytes) -> Result<Bytes, RpcError> {
        let store = Store::from_weak(&self.store).ok_or_else(|| refused("the store is stopping"))?;
        let batch: BatchRequest = replica::api::decode(&payload).map_err(refused)?;
        drop(payload);
        let answer = store.send(&batch).await;
        Ok(replica::api::encode(&answer))
    }
}

fn refused(reason: impl ToString) -> RpcError {
    RpcError::Refused { reason: reason.to_string() }
}

struct StoreService {
    store: Weak<Inner>,
}

#[async_trait]
impl Service for StoreService {
    async fn call(&self, _from: NodeId, payload: Bytes) -> Result<Bytes, RpcError> {
        let store = Store::from_weak(&self.store).ok_or_else(|| refused("the store is stopping"))?;
        match postcard::from_bytes::<StoreRequest>(&payload).map_err(refused)? {
            StoreRequest::Hello { from, known } => {
                store.learn_nodes(known);
                store.learn_nodes(vec![from]);
                Ok(postcard::to_stdvec(&store.nodes().all()).expect("descriptions are plain data").into())
            }
            StoreRequest::PrepareReplica { range_id, replica_id } => {
                store.prepare_replica(range_id, replica_id).await.map_err(refused)?;
                Ok(Bytes::new())
            }
            StoreRequest::RemoveReplica { range_id, replica_id } => {
                store.remove_replica(range_id, replica_id).await.map_err(refused)?;
                Ok(Bytes::new())
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
