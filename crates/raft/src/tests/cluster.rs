//! Stores that can be cut off, stopped and started again, and a record of every lease that was seen.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use hlc::{Clock, PhysicalClock, SystemClock, Timestamp};
use keys::{Key, NodeId, RangeDescriptor, RangeId, ReplicaDescriptor, ReplicaId, ReplicaKind, StoreId, Term};
use parking_lot::Mutex;
use rpc::{MemoryConfig, MemoryNetwork, MemoryTransport, RpcError, Service, Transport, services};
use storage::log::{LogStore, LogStoreConfig};
use tempfile::TempDir;

use crate::{
    Admitted, Applied, ApplyError, Committed, CommittedPayload, Group, GroupOptions, Lease, LivenessConfig,
    LogPosition, OpenError, RaftDeps, RaftNode, SnapshotSource, StateMachine, StoreLiveness, initial_membership,
};

pub(super) const RANGE: RangeId = RangeId::new(7);
const START: LogPosition = LogPosition { term: Term::new(0), index: 10 };
const PATIENCE: Duration = Duration::from_secs(20);

/// Wall time that is off by so much.
struct Skewed(u64);

impl PhysicalClock for Skewed {
    fn now_ns(&self) -> u64 {
        SystemClock.now_ns() + self.0
    }
}

/// Keeps the commands it was given; all of it survives a restart of its store.
pub(super) struct Machine {
    state: Mutex<State>,
    pub installs: AtomicU64,
    /// Claim no more than this to be durable.
    pub durable: AtomicU64,
    /// Fail to apply from now on.
    pub broken: AtomicBool,
    pub fenced: AtomicBool,
    /// Refuse so many snapshots.
    pub refusals: AtomicU64,
    /// How many pieces of snapshots it has room for.
    pub room: AtomicU64,
}

#[derive(Default)]
struct State {
    applied: Applied,
    commands: Vec<(u64, Bytes)>,
}

struct Chunks(std::vec::IntoIter<Bytes>);

impl SnapshotSource for Chunks {
    fn next_chunk(&mut self) -> Result<Option<Bytes>, ApplyError> {
        Ok(self.0.next())
    }
}

impl Machine {
    fn new(applied: Applied) -> Arc<Self> {
        let state = Mutex::new(State { applied, commands: Vec::new() });
        Arc::new(Self {
            state,
            installs: AtomicU64::new(0),
            durable: AtomicU64::new(u64::MAX),
            broken: AtomicBool::new(false),
            fenced: AtomicBool::new(false),
            refusals: AtomicU64::new(0),
            room: AtomicU64::new(u64::MAX),
        })
    }

    pub fn commands(&self) -> Vec<Bytes> {
        self.state.lock().commands.iter().map(|(_, command)| command.clone()).collect()
    }

    pub fn has(&self, command: &str) -> bool {
        self.commands().iter().any(|found| found == command.as_bytes())
    }
}

impl StateMachine for Machine {
    fn applied(&self) -> Applied {
        self.state.lock().applied.clone()
    }

    fn apply(&self, entries: &[Committed]) -> Result<Vec<Bytes>, ApplyError> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(ApplyError { reason: "broken by the test".into() });
        }
        let mut state = self.state.lock();
        let mut outcomes = Vec::new();
        for entry in entries {
            let before = state.applied.position.map_or(0, |position| position.index);
            assert_eq!(entry.position.index, before + 1, "entries come in order and once");
            state.applied.position = Some(entry.position);
            match &entry.payload {
                CommittedPayload::Command(command) => {
                    state.commands.push((entry.position.index, command.clone()));
                    outcomes.push(command.clone());
                }
                CommittedPayload::Membership(members) => {
                    state.applied.membership = members.clone();
                    outcomes.push(Bytes::new());
                }
                CommittedPayload::Blank => outcomes.push(Bytes::new()),
            }
        }
        Ok(outcomes)
    }

    fn snapshot(&self) -> Result<(Applied, Box<dyn SnapshotSource>), ApplyError> {
        let state = self.state.lock();
        let chunks: Vec<Bytes> =
            state.commands.iter().map(|one| Bytes::from(postcard::to_stdvec(one).unwrap())).collect();
        Ok((state.applied.clone(), Box::new(Chunks(chunks.into_iter()))))
    }

    fn has_room(&self, _bytes: u64) -> Result<(), ApplyError> {
        let taken = self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        taken.map(|_| ()).map_err(|_| ApplyError { reason: "the disk is nearly full".into() })
    }

    fn check_command(&self, command: &Bytes) -> Result<(), ApplyError> {
        if &command[..] == b"damaged" { Err(ApplyError { reason: "damaged".into() }) } else { Ok(()) }
    }

    fn check(&self, chunks: &mut dyn Iterator<Item = io::Result<Bytes>>) -> Result<Admitted, ApplyError> {
        if self
            .refusals
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .is_ok()
        {
            return Err(ApplyError { reason: "not now".into() });
        }
        for chunk in chunks {
            postcard::from_bytes::<(u64, Bytes)>(&chunk.unwrap())
                .expect("every piece has come as it was sent");
        }
        Ok(Box::new(()))
    }

    fn install(
        &self,
        applied: Applied,
        chunks: &mut dyn Iterator<Item = io::Result<Bytes>>,
    ) -> Result<(), ApplyError> {
        let commands = chunks.map(|chunk| postcard::from_bytes(&chunk.unwrap()).unwrap()).collect();
        *self.state.lock() = State { applied, commands };
        self.installs.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn durable_index(&self) -> u64 {
        let applied = self.state.lock().applied.position.map_or(0, |position| position.index);
        applied.min(self.durable.load(Ordering::Relaxed))
    }

    fn on_fenced(&self, _reason: &str) {
        self.fenced.store(true, Ordering::Relaxed);
    }

    fn on_leader_change(&self, _leader: Option<ReplicaId>, _term: Term, _we_lead: bool) {}
}

struct Gone;

#[async_trait::async_trait]
impl Service for Gone {
    async fn call(&self, _from: NodeId, _payload: Bytes) -> Result<Bytes, RpcError> {
        Err(RpcError::Refused { reason: "stopped".into() })
    }
}

struct Running {
    node: RaftNode,
    /// None where the replica is not to be opened.
    group: Option<Group>,
    log: LogStore,
    transport: Arc<MemoryTransport>,
}

struct Site {
    dir: TempDir,
    clock: Arc<Clock>,
    machine: Arc<Machine>,
    /// What its machine began with.
    first: Applied,
    running: Option<Running>,
}

/// What was seen of the leases of one term.
#[derive(Clone, Copy, Debug)]
struct Seen {
    start: Timestamp,
    last_served: Timestamp,
}

pub(super) struct Cluster {
    pub network: MemoryNetwork,
    liveness: LivenessConfig,
    sites: BTreeMap<u64, Site>,
    seen: BTreeMap<Term, (u64, Seen)>,
    seed: u64,
    /// Whether a store that starts opens its replica.
    pub opens: bool,
}

impl Cluster {
    /// Stores 1 to `stores`, the first `voters` of which hold the range.
    pub async fn new(seed: u64, stores: u64, voters: u64) -> Self {
        Self::with_support(seed, stores, voters, Duration::from_millis(600)).await
    }

    pub async fn with_support(seed: u64, stores: u64, voters: u64, support: Duration) -> Self {
        Self::with_liveness(seed, stores, voters, Self::liveness(support)).await
    }

    pub fn liveness(support: Duration) -> LivenessConfig {
        LivenessConfig { heartbeat: Duration::from_millis(60), support, ..LivenessConfig::default() }
    }

    pub async fn with_liveness(seed: u64, stores: u64, voters: u64, liveness: LivenessConfig) -> Self {
        let network = MemoryNetwork::new(seed, MemoryConfig::default());
        let replica = |id| ReplicaDescriptor {
            node_id: NodeId::new(id),
            store_id: StoreId::new(id),
            replica_id: ReplicaId::new(id),
            kind: ReplicaKind::Voter,
        };
        let descriptor = RangeDescriptor {
            range_id: RANGE,
            start: Key::from(vec![1]),
            end: Key::from(vec![2]),
            replicas: (1..=voters).map(replica).collect(),
            next_replica_id: ReplicaId::new(stores + 1),
            generation: 0,
        };
        let mut this =
            Self { network, liveness, sites: BTreeMap::new(), seen: BTreeMap::new(), seed, opens: true };
        for id in 1..=stores {
            // Store 1, which leads first, has the clock that is furthest ahead.
            let skew = Duration::from_millis(40).as_nanos() as u64 * (stores - id);
            let clock = Arc::new(Clock::new(Arc::new(Skewed(skew)), Duration::from_millis(500)));
            let applied = if id <= voters {
                Applied { position: Some(START), membership: initial_membership(&descriptor, START) }
            } else {
                Applied::default()
            };
            let site = Site {
                dir: tempfile::tempdir().unwrap(),
                clock,
                machine: Machine::new(applied.clone()),
                first: applied,
                running: None,
            };
            this.sites.insert(id, site);
        }
        for id in (1..=stores).rev() {
            this.start(id, id == 1).await;
        }
        this
    }

    pub async fn start(&mut self, id: u64, campaign: bool) {
        let site = self.sites.get_mut(&id).unwrap();
        assert!(site.running.is_none());
        let config = LogStoreConfig::new(site.dir.path().join("log"));
        // The tasks of the store that was stopped let go of its files when they next run.
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let (log, recovered) = loop {
            match LogStore::open(&config) {
                Ok(opened) => break opened,
                Err(error) => assert!(tokio::time::Instant::now() < deadline, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let transport = self.network.transport(NodeId::new(id), site.clock.clone());
        let may_open = self.opens;
        let deps = RaftDeps {
            node_id: NodeId::new(id),
            store_id: StoreId::new(id),
            clock: site.clock.clone(),
            log: log.clone(),
            recovered,
            transport: transport.clone(),
            spool_dir: site.dir.path().join("spool"),
            files: storage::StoreFiles::plain(),
            liveness: self.liveness,
            seed: self.seed ^ id,
        };
        let node = RaftNode::start(deps).await.unwrap();
        let options = GroupOptions { range_id: RANGE, replica_id: ReplicaId::new(id), campaign };
        let group =
            if may_open { Some(node.open_group(options, site.machine.clone()).await.unwrap()) } else { None };
        site.running = Some(Running { node, group, log, transport });
    }

    /// As when the process is killed: nobody hears of it any more. What was synced stays.
    pub async fn stop(&mut self, id: u64) {
        let running = self.sites.get_mut(&id).unwrap().running.take().unwrap();
        self.network.disconnect(NodeId::new(id));
        running.node.stop().await;
        // The handlers and the transport hold each other.
        running.transport.register(services::RAFT, Arc::new(Gone));
        running.transport.register(services::LIVENESS, Arc::new(Gone));
        running.log.close();
    }

    /// The state of a store that is stopped is lost back to the beginning; its log is not.
    pub fn forget_state(&mut self, id: u64) {
        let site = self.sites.get_mut(&id).unwrap();
        assert!(site.running.is_none());
        let applied = site.first.clone();
        site.machine = Machine::new(applied);
    }

    /// Closes the group on a store that goes on, and tries to open it again.
    pub async fn reopen(&self, id: u64) -> Result<Group, OpenError> {
        let site = &self.sites[&id];
        let node = &site.running.as_ref().unwrap().node;
        node.close_group(RANGE).await;
        let options = GroupOptions { range_id: RANGE, replica_id: ReplicaId::new(id), campaign: false };
        node.open_group(options, site.machine.clone()).await
    }

    /// Closes the group of a store that waits for its state, and opens it anew over the state it has by now.
    pub async fn begin_anew(&self, id: u64) -> Group {
        let site = &self.sites[&id];
        let node = &site.running.as_ref().unwrap().node;
        node.hand_back(RANGE).await;
        let options = GroupOptions { range_id: RANGE, replica_id: ReplicaId::new(id), campaign: false };
        node.open_group(options, site.machine.clone()).await.unwrap()
    }

    /// What a store has refused of its peers as unsound.
    pub fn unsound(&self, id: u64) -> u64 {
        self.sites[&id].running.as_ref().unwrap().node.unsound_messages()
    }

    pub fn cut(&self, a: u64, b: u64) {
        self.network.partition(NodeId::new(a), NodeId::new(b));
        self.network.partition(NodeId::new(b), NodeId::new(a));
    }

    pub fn log(&self, id: u64) -> LogStore {
        self.sites[&id].running.as_ref().unwrap().log.clone()
    }

    pub fn store_liveness(&self, id: u64) -> StoreLiveness {
        self.sites[&id].running.as_ref().unwrap().node.liveness().clone()
    }

    pub fn group(&self, id: u64) -> Group {
        self.sites[&id].running.as_ref().unwrap().group.clone().unwrap()
    }

    pub fn transport(&self, id: u64) -> Arc<MemoryTransport> {
        self.sites[&id].running.as_ref().unwrap().transport.clone()
    }

    /// How often a store has synced its log.
    pub fn syncs(&self, id: u64) -> u64 {
        self.sites[&id].running.as_ref().unwrap().log.metrics().syncs.load(Ordering::Relaxed)
    }

    /// What a store has of snapshots that are coming.
    pub fn spools(&self, id: u64) -> usize {
        std::fs::read_dir(self.sites[&id].dir.path().join("spool")).unwrap().count()
    }

    pub fn machine(&self, id: u64) -> Arc<Machine> {
        self.sites[&id].machine.clone()
    }

    /// Looks at every lease as one who wants to read would, and holds what is seen against all that was seen before:
    /// what one term served lies below where the next began. Answers who may serve.
    pub fn observe(&mut self) -> Vec<(u64, Term)> {
        let mut holders = Vec::new();
        for (id, site) in &self.sites {
            let Some(group) = site.running.as_ref().and_then(|running| running.group.as_ref()) else {
                continue;
            };
            let Lease::Held { term, start, expiration } = group.lease() else { continue };
            let now = site.clock.now();
            if now >= expiration {
                continue;
            }
            holders.push((*id, term));
            let first = Seen { start, last_served: now };
            let (holder, seen) = self.seen.entry(term).or_insert((*id, first));
            assert_eq!(holder, id, "one-leaseholder: {term} has two leaders");
            assert_eq!(seen.start, start, "the lease of {term} began twice");
            seen.last_served = seen.last_served.max(now);
        }
        let mut below: Option<(Term, Timestamp)> = None;
        for (term, (id, seen)) in &self.seen {
            if let Some((earlier, served)) = below {
                assert!(
                    seen.start > served,
                    "one-leaseholder: {term} on store {id} began at {}, {earlier} served at {served}",
                    seen.start
                );
            }
            below = Some(
                below.map_or((*term, seen.last_served), |(_, served)| (*term, served.max(seen.last_served))),
            );
        }
        holders
    }

    /// Observes until something holds.
    pub async fn until<T>(&mut self, what: &str, mut look: impl FnMut(&mut Self) -> Option<T>) -> T {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            self.observe();
            if let Some(found) = look(self) {
                return found;
            }
            assert!(tokio::time::Instant::now() < deadline, "in vain: {what}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub async fn observe_for(&mut self, time: Duration) {
        let end = tokio::time::Instant::now() + time;
        while tokio::time::Instant::now() < end {
            self.observe();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// The store that holds a lease, once one does whose term is above `above`.
    pub async fn leaseholder(&mut self, above: Term) -> (u64, Term) {
        self.until("a lease", |this| this.observe().into_iter().find(|(_, term)| *term > above)).await
    }

    pub fn support(&self) -> Duration {
        self.liveness.support
    }

    pub async fn finish(mut self) {
        let running: Vec<u64> =
            self.sites.iter().filter(|(_, site)| site.running.is_some()).map(|(id, _)| *id).collect();
        for id in running {
            self.stop(id).await;
        }
    }
}
