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
use hlc::{Clock, Timestamp};
use keys::{Key, NodeId, RangeDescriptor, RangeId, ReplicaDescriptor, ReplicaId, ReplicaKind, Span, StoreId};
use parking_lot::{Mutex, RwLock};
use raft::{LivenessConfig, RaftDeps, RaftNode};
use replica::{
    Outbound, Replica,
    api::{BatchRequest, BatchResponse, KvError},
};
use rpc::{Lane, RpcError, Service, Transport, services};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use storage::{
    Engine, EngineConfig, StorageError, StoreFiles, WriteBatch,
    log::{LogHealth, LogOp, LogStore, LogStoreConfig, ignore},
};
use tokio::{sync::Semaphore, time::Instant};

use crate::{
    checks::Checks,
    consistency::Consistency,
    merge_queue::MergeQueue,
    nodes::{META_PREFIX, NodeInfo, Nodes, nodes_from_bytes, nodes_to_bytes},
    queues::ADDING_AT_ONCE,
    work::Work,
    zones::Zones,
};

mod arrivals;
mod host;
mod merges;

use arrivals::{Fenced, Held, Notes, Places};

/// How long all attempts at handing one lease over may take.
const HAND_OVER_PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
pub struct StoreConfig {
    pub engine: EngineConfig,
    pub liveness: LivenessConfig,
    /// A range above this is split.
    pub range_max_bytes: u64,
    /// How many replicas a range should have once there are as many stores, where no zone configuration says otherwise.
    pub replication_factor: usize,
    /// Versions superseded for longer than this are removed.
    pub gc_after: Duration,
    /// Start with a log that lost what it had acknowledged: for the last copy there is.
    pub accept_lost_log: bool,
    /// How often a range that was written to is looked over for them.
    pub gc_interval: Duration,
    /// How often the queues look over the ranges.
    pub queue_interval: Duration,
    /// What of a range's Raft log is kept for followers that lag; four times as much, and it is kept for none.
    pub log_kept_bytes: u64,
    /// How often it is asked whether the replicas that a range counts on are there, and whether those that are here are
    /// counted on.
    pub replica_check_interval: Duration,
    /// A store that was not heard of for so long is taken to be gone: others take over its replicas.
    pub dead_after: Duration,
    /// How long a transaction lives without a heartbeat.
    pub txn_expiry: Duration,
    /// How many keys a command must lock for a range to keep them as a list.
    pub bulk_locks_min: usize,
    /// A range that serves more batches in a second than this is split where its load is; 0: none is.
    pub range_split_qps: u64,
    /// For how long it must.
    pub load_split_after: Duration,
    /// Whether small neighbours are merged.
    pub merges: bool,
    /// How often a range is looked at for that.
    pub merge_interval: Duration,
    /// Ranges that were split or merged are left alone for so long.
    pub merge_pause: Duration,
    /// Nothing is collected before [`Store::protect`] has been called.
    pub gc_awaits_protections: bool,
    /// How often the replicas of a range are compared; zero: only when it is asked for.
    pub consistency_interval: Duration,
    /// What may be read for that in a second.
    pub consistency_bytes_per_second: u64,
    /// Nothing is decided about replicas before [`Store::set_zones`] has been called.
    pub awaits_zones: bool,
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
            replica_check_interval: Duration::from_secs(10),
            dead_after: Duration::from_secs(300),
            txn_expiry: replica::TXN_EXPIRY,
            bulk_locks_min: replica::BULK_MIN,
            log_kept_bytes: 16 << 20,
            accept_lost_log: false,
            range_split_qps: 2500,
            load_split_after: Duration::from_secs(10),
            merges: true,
            merge_interval: Duration::from_secs(10),
            merge_pause: Duration::from_secs(300),
            gc_awaits_protections: false,
            consistency_interval: Duration::from_secs(24 * 3600),
            consistency_bytes_per_second: 8 << 20,
            awaits_zones: false,
        }
    }
}

pub struct StoreOptions {
    pub dir: PathBuf,
    /// How its files are written: opened for this directory.
    pub files: StoreFiles,
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
    pub files: StoreFiles,
    pub raft: RaftNode,
    pub clock: Arc<Clock>,
    pub transport: Arc<dyn Transport>,
    pub outbound: Arc<dyn Outbound>,
    pub config: StoreConfig,
    pub nodes: Nodes,
    pub info: Mutex<NodeInfo>,
    replicas: RwLock<FxHashMap<RangeId, Arc<Replica>>>,
    /// Durable: which replicas may live here.
    pub(super) notes: Notes,
    /// Replicas come and leave one at a time: none is opened while it is noted as gone.
    arrivals: tokio::sync::Mutex<()>,
    /// *no-overlap*: spans that state is about to come to.
    places: Arc<Places>,
    /// Right halves that were written and are yet to be opened.
    splits: Mutex<FxHashMap<RangeId, Held>>,
    /// Ranges of which no replica is here, and when the first message came for one; none while one is being made.
    coming: Mutex<FxHashMap<RangeId, Option<Instant>>>,
    /// Ranges that were merged into their neighbours here, as they were last: *gone-stays-gone*.
    merged: RwLock<FxHashMap<RangeId, RangeDescriptor>>,
    /// Held while a merge is applied, and while a replica's state is cleared: the one decides whose the state is.
    merging: Mutex<()>,
    pub merge_queue: MergeQueue,
    /// Replicas that failed, until others take their place.
    pub fenced: Mutex<FxHashMap<RangeId, Fenced>>,
    pub checks: Checks,
    pub consistency: Consistency,
    pub work: Work,
    /// Turns to add a replica to a range that this store leads.
    pub adding: Semaphore,
    /// How many replicas were taken out of service since the start.
    fenced_count: AtomicU64,
    pub stopping: AtomicBool,
    pub draining: AtomicBool,
    pub started: Instant,
    /// When a replica was last moved from here to make the stores even.
    balanced: Mutex<Option<Instant>>,
    pub protections: Mutex<Option<Protections>>,
    /// *known-before-decided*
    pub zones: RwLock<Option<Arc<Zones>>>,
}

/// Which versions are read on, as of a time at which the records of that were read.
///
/// **Invariant (protected-stays):** garbage is collected only below [`Protections::limit`]. A record that is written later
/// commits above `as_of`, and what it protects is refused where it had been garbage before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protections {
    pub as_of: Timestamp,
    pub oldest: Option<Timestamp>,
}

impl Protections {
    /// Garbage is what was superseded before this, where versions are kept for so long.
    #[must_use]
    pub fn limit(&self, kept_ns: u64) -> Timestamp {
        let aged = self.as_of.sub_ns(kept_ns);
        self.oldest.map_or(aged, |oldest| oldest.min(aged))
    }
}

/// Between two moves that make the stores even: what they have is known anew by then.
const BALANCE_EVERY: Duration = Duration::from_secs(3);

impl Inner {
    /// Whether a replica may be moved to make the stores even; the next may some time after.
    pub fn take_turn_to_balance(&self) -> bool {
        let mut balanced = self.balanced.lock();
        let may = balanced.is_none_or(|at| at.elapsed() >= BALANCE_EVERY);
        if may {
            *balanced = Some(Instant::now());
        }
        may
    }
}

/// A store. Clones share it.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

/// A store that is not kept alive by who has this.
#[derive(Clone)]
pub struct WeakStore(Weak<Inner>);

impl WeakStore {
    #[must_use]
    pub fn upgrade(&self) -> Option<Store> {
        Store::from_weak(&self.0)
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum StoreRequest {
    Hello {
        from: NodeInfo,
        known: Vec<NodeInfo>,
    },
    PrepareReplica {
        range_id: RangeId,
        replica_id: ReplicaId,
        /// It is being added: what this store may have of the range is of another.
        is_new: bool,
    },
    RemoveReplica {
        range_id: RangeId,
        replica_id: ReplicaId,
    },
    /// How do these replicas of yours fare? Each with the span of its range.
    HowAre {
        replicas: Vec<(RangeId, ReplicaId)>,
        spans: Vec<Span>,
    },
    /// Are these replicas of mine still members of their ranges?
    AreMembers {
        replicas: Vec<(RangeId, ReplicaId)>,
    },
    /// Are you to be decommissioned?
    Leave {
        leaving: bool,
    },
    /// Answer when your replica of `right` has applied its log up to `index`, all of it durably, and there is state in
    /// the one of `left`.
    CatchUp {
        right: (RangeId, ReplicaId),
        index: u64,
        left: (RangeId, ReplicaId),
    },
    /// Your replica is to compute a checksum when it applies the command of this check; see [`crate::consistency`].
    BeginCheck {
        range_id: RangeId,
        replica_id: ReplicaId,
        check: u64,
    },
    /// What have you of that check?
    Checksum {
        range_id: RangeId,
        check: u64,
    },
    /// Most replicas agree on another checksum than yours.
    FenceReplica {
        range_id: RangeId,
        replica_id: ReplicaId,
        check: u64,
        agreed: storage::Digest,
    },
    /// Check all ranges that you lead.
    CheckRanges,
    /// How far have you come with that?
    CheckReport,
}

impl Store {
    /// Opens the store, its log and every replica it holds.
    ///
    /// # Errors
    /// When the disk cannot be read, or what is there is damaged.
    pub async fn open(options: StoreOptions) -> Result<Self, StoreError> {
        let log_config = LogStoreConfig {
            accept_loss: options.config.accept_lost_log,
            files: options.files.clone(),
            ..LogStoreConfig::new(options.dir.join("log"))
        };
        // Both wait for the disk most of the time.
        let (engine, opened) = std::thread::scope(|scope| {
            let engine = scope.spawn(|| Engine::open_with(&options.dir, &options.config.engine, &options.files));
            let log = LogStore::open(&log_config);
            (engine.join().expect("opening an engine does not panic"), log)
        });
        let engine = engine?;
        let (log, recovered) = opened?;
        if let LogHealth::Suspect { synced, found } = recovered.health {
            return Err(StoreError::LostLog { synced, found });
        }
        // Nothing is written further ahead of a node's clock than clocks may be apart, nor than this one was before it stopped.
        let clock = &options.clock;
        engine.expect_below(clock.now().add_ns(clock.max_offset_ns().saturating_mul(2)));
        let nodes = Nodes::recover(&recovered.metas);
        for info in nodes.all() {
            if info.node_id != options.node_id {
                options.transport.set_address(info.node_id, info.rpc_addr);
            }
        }
        let notes = Notes::recover(&recovered.metas)?;
        let raft = RaftNode::start(RaftDeps {
            node_id: options.node_id,
            store_id: options.store_id,
            clock: options.clock.clone(),
            log: log.clone(),
            recovered,
            transport: options.transport.clone(),
            spool_dir: options.dir.join("spool"),
            files: options.files.clone(),
            liveness: options.config.liveness,
            seed: options.seed,
        })
        .await?;
        let inner = Arc::new(Inner {
            node_id: options.node_id,
            store_id: options.store_id,
            engine,
            log,
            files: options.files,
            raft,
            clock: options.clock,
            transport: options.transport.clone(),
            outbound: options.outbound,
            config: options.config,
            nodes,
            info: Mutex::new(options.info.clone()),
            replicas: RwLock::default(),
            notes,
            arrivals: tokio::sync::Mutex::default(),
            places: Arc::default(),
            splits: Mutex::default(),
            coming: Mutex::default(),
            merged: RwLock::default(),
            merging: Mutex::default(),
            merge_queue: MergeQueue::default(),
            fenced: Mutex::default(),
            checks: Checks::default(),
            consistency: Consistency::default(),
            work: Work::default(),
            adding: Semaphore::new(ADDING_AT_ONCE),
            fenced_count: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            started: Instant::now(),
            balanced: Mutex::default(),
            protections: Mutex::default(),
            zones: RwLock::default(),
        });
        let store = Self { inner };
        // *decommissioned-stays-so*: what was said before a restart holds.
        let leaving = store.nodes().get(options.info.node_id).is_some_and(|known| known.leaving);
        store.inner.info.lock().leaving = leaving;
        store.learn_nodes(vec![NodeInfo { leaving, ..options.info }]);
        if options.bootstrap && replica::stored_ranges(&store.inner.engine)?.is_empty() {
            store.write_first_range()?;
        }
        store.open_replicas().await?;
        // Not before: what is found on the disk is not missing.
        let weak = Arc::downgrade(&store.inner);
        store.inner.raft.on_missing(Box::new(move |range_id, replica_id| {
            if let Some(store) = Self::from_weak(&weak) {
                store.missing(range_id, replica_id);
            }
        }));
        let clock_service = crate::clocks::ClockService { clock: store.inner.clock.clone() };
        options.transport.register(services::CLOCK, Arc::new(clock_service));
        options.transport.register(services::KV, Arc::new(KvService { store: Arc::downgrade(&store.inner) }));
        options
            .transport
            .register(services::STORE, Arc::new(StoreService { store: Arc::downgrade(&store.inner) }));
        crate::queues::start(&store);
        crate::checks::start(&store);
        crate::consistency::start(&store);
        crate::log_cuts::start(&store);
        crate::encryption::start(&store);
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
    pub fn files(&self) -> &StoreFiles {
        &self.inner.files
    }

    #[must_use]
    pub fn raft(&self) -> &RaftNode {
        &self.inner.raft
    }

    /// Replicas that failed and were taken out of service since the start.
    #[must_use]
    pub fn fenced(&self) -> u64 {
        self.inner.fenced_count.load(Ordering::Relaxed)
    }

    /// What the queues do.
    #[must_use]
    pub fn work(&self) -> &Work {
        &self.inner.work
    }

    /// How long it has been open.
    #[must_use]
    pub fn open_for(&self) -> Duration {
        self.inner.started.elapsed()
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
            None => Err(self.merged_or_missing(range_id)),
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
            let value = nodes_to_bytes(&info, [&info]);
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

    pub(crate) async fn hand_over(&self, replica: &Arc<Replica>) {
        let Some(descriptor) = replica.descriptor() else { return };
        let liveness = self.inner.raft.liveness();
        let stays = |node: NodeId| self.nodes().get(node).is_none_or(|node| !node.leaving && !node.parts.draining);
        let others = descriptor.voters().filter(|it| it.store_id != self.inner.store_id && stays(it.node_id));
        let transfers = async {
            // One that lags behind, or went away just now, is no reason not to ask the next.
            for target in others.filter(|voter| liveness.is_live(voter.store_id)) {
                match replica.group().transfer_leader(target.replica_id).await {
                    Ok(()) => return,
                    Err(error) => {
                        tracing::warn!(range = %descriptor.range_id, %target, %error, "lease transfer")
                    }
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
        if let Err(error) = raft::blocking(|| self.inner.engine.flush()) {
            tracing::warn!(%error, "flush at stop");
        }
        self.inner.log.close();
        // Last: nothing is written any more. A compaction would be waited for otherwise, and some take very long.
        let quiet = self.quiet();
        raft::blocking(quiet);
    }

    /// Has the store begin nothing more on its own account. What this gives ends what it has begun, compactions that are
    /// halfway above all; it may take a flush. Nothing is to be written to the store after that.
    #[must_use]
    pub fn quiet(&self) -> impl FnOnce() + Send + use<> {
        self.inner.stopping.store(true, Ordering::Release);
        let (engine, log) = (self.inner.engine.clone(), self.inner.log.clone());
        move || {
            engine.stop_background_work();
            log.stop_background_work();
        }
    }

    #[must_use]
    pub fn downgrade(&self) -> WeakStore {
        WeakStore(Arc::downgrade(&self.inner))
    }

    /// Ends without writing anything down, as a crash would.
    pub async fn crash(&self) {
        self.inner.stopping.store(true, Ordering::Release);
        self.inner.raft.stop().await;
        self.inner.replicas.write().clear();
        self.inner.log.close();
    }

    /// Ends when this node's clock is the one that is wrong, with what there is to say about it: the node must stop.
    /// None when the store stops before. It does not keep the store alive. *astray-stops*
    pub fn astray(&self) -> impl Future<Output = Option<String>> + Send + use<> {
        crate::clocks::astray(Arc::downgrade(&self.inner))
    }

    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.inner.stopping.load(Ordering::Acquire)
    }

    pub(crate) fn from_weak(weak: &Weak<Inner>) -> Option<Self> {
        weak.upgrade().map(|inner| Self { inner })
    }
}

impl Store {
    pub(crate) async fn ask(
        &self,
        node: NodeId,
        request: &StoreRequest,
        timeout: Duration,
    ) -> Result<Bytes, RpcError> {
        let described: Vec<&NodeInfo> = match request {
            StoreRequest::Hello { from, known } => known.iter().chain([from]).collect(),
            _ => Vec::new(),
        };
        let payload: Bytes = nodes_to_bytes(request, described).into();
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

fn answer<T: Serialize>(value: &T) -> Bytes {
    postcard::to_stdvec(value).expect("answers are plain data").into()
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
        let request = nodes_from_bytes(&payload, |request: &mut StoreRequest| match request {
            StoreRequest::Hello { from, known } => known.iter_mut().chain([from]).collect(),
            _ => Vec::new(),
        });
        match request.map_err(refused)? {
            StoreRequest::Hello { from, known } => {
                store.learn_nodes(known);
                store.learn_nodes(vec![from]);
                let known = store.nodes().all();
                Ok(nodes_to_bytes(&known, &known).into())
            }
            StoreRequest::PrepareReplica { range_id, replica_id, is_new } => {
                store.prepare_replica(range_id, replica_id, is_new).await.map_err(refused)?;
                Ok(Bytes::new())
            }
            StoreRequest::RemoveReplica { range_id, replica_id } => {
                store.remove_replica(range_id, replica_id).await.map_err(refused)?;
                Ok(Bytes::new())
            }
            StoreRequest::HowAre { replicas, spans } => Ok(answer(&store.how_are(&replicas, &spans))),
            StoreRequest::AreMembers { replicas } => Ok(answer(&store.are_members(&replicas))),
            StoreRequest::CatchUp { right, index, left } => {
                store.catch_up_here(right, index, left).await.map_err(refused)?;
                Ok(Bytes::new())
            }
            StoreRequest::Leave { leaving } => {
                store.leave(leaving).await;
                Ok(Bytes::new())
            }
            StoreRequest::BeginCheck { range_id, replica_id, check } => {
                store.begin_check(range_id, replica_id, check).map_err(refused)?;
                Ok(Bytes::new())
            }
            StoreRequest::Checksum { range_id, check } => Ok(answer(&store.part_of(range_id, check))),
            StoreRequest::FenceReplica { range_id, replica_id, check, agreed } => {
                store.fence_differing(range_id, replica_id, check, agreed).await.map_err(refused)?;
                Ok(Bytes::new())
            }
            StoreRequest::CheckRanges => Ok(answer(&store.begin_run())),
            StoreRequest::CheckReport => Ok(answer(&store.run_report())),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
