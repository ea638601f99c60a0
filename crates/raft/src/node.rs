//! All groups of a store: opening and closing them, their messages, their elections.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use hlc::Clock;
use keys::{NodeId, RangeId, ReplicaId, StoreId};
use openraft::{SnapshotPolicy, raft::VoteRequest};
use parking_lot::{Mutex, RwLock};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use rpc::{RpcError, Service, Transport, services};
use rustc_hash::{FxHashMap, FxHashSet};
use storage::StoreFiles;
use storage::log::{GroupLog, LogHealth, LogOp, LogStore, Recovered, ignore};
use tokio::time::Instant;

use crate::{
    aside::{Applies, blocking},
    codec::{Address, Kind, decode_append, decode_message, split_head},
    elections::{PreVote, Yield},
    group::{Group, GroupInner, GroupParts},
    lease::Fortify,
    log_storage::GroupLogStorage,
    machine::{MachineAdapter, SnapshotData, StateMachine},
    network::Network,
    snapshots::{Incoming, Outgoing, SnapshotEnd},
    sound,
    support::{LivenessConfig, LivenessDeps, RecoveredLiveness, StoreLiveness},
    types::Types,
};

pub struct RaftDeps {
    pub node_id: NodeId,
    pub store_id: StoreId,
    pub clock: Arc<Clock>,
    pub log: LogStore,
    pub recovered: Recovered,
    pub transport: Arc<dyn Transport>,
    /// Where snapshots are kept while they are received; emptied at start.
    pub spool_dir: PathBuf,
    /// How they are written there.
    pub files: StoreFiles,
    pub liveness: LivenessConfig,
    pub seed: u64,
}

/// How a group is opened.
#[derive(Clone, Copy, Debug)]
pub struct GroupOptions {
    pub range_id: RangeId,
    pub replica_id: ReplicaId,
    /// Campaign at once: the only voter of its group, or the half of a split whose other half leads here.
    pub campaign: bool,
}

struct NodeInner {
    store_id: StoreId,
    clock: Arc<Clock>,
    log: LogStore,
    found: Mutex<FxHashMap<RangeId, GroupLog>>,
    /// Ranges whose log was in a group's hands: *log-opened-once*.
    opened: Mutex<FxHashSet<RangeId>>,
    transport: Arc<dyn Transport>,
    liveness: StoreLiveness,
    /// The epochs of other stores that this one supported before it started.
    promised: FxHashMap<StoreId, u64>,
    config: Arc<openraft::Config>,
    groups: RwLock<FxHashMap<RangeId, Group>>,
    /// Groups without a leader, and when each tries next.
    elections: Mutex<BTreeMap<RangeId, Instant>>,
    rng: Mutex<SmallRng>,
    may_vote: bool,
    incoming: Incoming,
    outgoing: Arc<Outgoing>,
    /// Told of messages to replicas that are not here.
    missing: OnceLock<OnMissing>,
    /// What peers sent that was not taken, as it could not be sound.
    unsound: AtomicU64,
    /// Groups are closed one at a time: the log of one that fails is not removed under its feet.
    closing: tokio::sync::Mutex<()>,
    applies: Arc<Applies>,
}

/// What hears of a message to a replica that is not here; a replica of the same range that came before it may be. It
/// must not block.
pub type OnMissing = Box<dyn Fn(RangeId, ReplicaId) + Send + Sync>;

/// The groups of one store.
#[derive(Clone)]
pub struct RaftNode {
    inner: Arc<NodeInner>,
}

#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct OpenError {
    pub reason: String,
}

impl RaftNode {
    /// Starts store liveness and serves consensus messages.
    ///
    /// # Errors
    /// When the spool directory cannot be made, or what this store promised before cannot be read.
    pub async fn start(deps: RaftDeps) -> Result<Self, OpenError> {
        let failed =
            |error: std::io::Error| OpenError { reason: format!("{}: {error}", deps.spool_dir.display()) };
        let incoming = Incoming::open(deps.spool_dir.clone(), deps.files.clone()).map_err(failed)?;
        let may_vote = match deps.recovered.health {
            LogHealth::Sound => true,
            LogHealth::Suspect { synced, found } => {
                tracing::error!(
                    synced,
                    found,
                    "the log has lost entries it acknowledged: this store will not vote"
                );
                false
            }
        };
        // As of now: once heartbeats are answered, a peer that restarted too is supported under its new epoch.
        let recovered = RecoveredLiveness::read(&deps.recovered.metas)?;
        let promised = recovered.epochs();
        let liveness = StoreLiveness::start(LivenessDeps {
            store: deps.store_id,
            clock: deps.clock.clone(),
            log: deps.log.clone(),
            recovered,
            transport: deps.transport.clone(),
            config: deps.liveness,
        })
        .await;
        // All of openraft's own timers are off. Its leader lease is made endless: ours is the one that counts.
        let config = openraft::Config {
            cluster_name: "range".into(),
            enable_tick: false,
            enable_heartbeat: false,
            enable_elect: false,
            heartbeat_interval: 1_000,
            election_timeout_min: 10_000_000_000,
            election_timeout_max: 20_000_000_000,
            enable_leader_restore: Some(false),
            snapshot_policy: SnapshotPolicy::Never,
            // Only `truncate_log` purges: openraft's own rule, after each snapshot, knows nothing of `durable_index`.
            max_in_snapshot_log_to_keep: u64::MAX,
            purge_batch_size: 1,
            max_payload_entries: 1024,
            replication_lag_threshold: 1_000,
            install_snapshot_timeout: 600_000,
            log_stage_capacity: Some(16),
            ..openraft::Config::default()
        };
        let config = config.validate().map_err(|error| OpenError { reason: error.to_string() })?;
        let clock = deps.clock.clone();
        deps.log.watch_also(move || clock.bound_writes());
        let found = deps.recovered.groups.into_iter().map(|group| (group.range_id, group)).collect();
        let inner = Arc::new(NodeInner {
            store_id: deps.store_id,
            clock: deps.clock,
            log: deps.log,
            found: Mutex::new(found),
            opened: Mutex::default(),
            transport: deps.transport.clone(),
            liveness,
            promised,
            config: Arc::new(config),
            groups: RwLock::default(),
            elections: Mutex::default(),
            rng: Mutex::new(SmallRng::seed_from_u64(deps.seed)),
            may_vote,
            incoming,
            outgoing: Arc::default(),
            missing: OnceLock::new(),
            unsound: AtomicU64::new(0),
            closing: tokio::sync::Mutex::default(),
            applies: Arc::default(),
        });
        deps.transport.register(services::RAFT, Arc::new(Handler { inner: inner.clone() }));
        tokio::spawn(election_loop(Arc::downgrade(&inner)));
        tokio::spawn(disk_loop(Arc::downgrade(&inner)));
        Ok(Self { inner })
    }

    #[must_use]
    pub fn liveness(&self) -> &StoreLiveness {
        &self.inner.liveness
    }

    /// Whether the log kept everything it acknowledged.
    #[must_use]
    pub fn may_vote(&self) -> bool {
        self.inner.may_vote
    }

    /// The ranges whose logs were found at start and that have not been opened.
    #[must_use]
    pub fn unopened(&self) -> Vec<RangeId> {
        self.inner.found.lock().keys().copied().collect()
    }

    /// Whether the log of a range was found at start with entries in it, and has not been opened.
    #[must_use]
    pub fn has_unopened_entries(&self, range_id: RangeId) -> bool {
        let found = self.inner.found.lock();
        found.get(&range_id).is_some_and(|log| log.first <= log.last || log.purged_index > 0)
    }

    /// Sets who hears of messages to replicas that are not here; the first holds.
    pub fn on_missing(&self, told: OnMissing) {
        let _first = self.inner.missing.set(told);
    }

    /// Messages of peers that were not taken since the start, as they could not be sound: *peers-fence-nobody*.
    #[must_use]
    pub fn unsound_messages(&self) -> u64 {
        self.inner.unsound.load(Ordering::Relaxed)
    }

    /// Opens a group over its state machine, with whatever log was found for it.
    ///
    /// # Errors
    /// When the log is damaged, or the group is open already.
    pub async fn open_group(
        &self,
        options: GroupOptions,
        machine: Arc<dyn StateMachine>,
    ) -> Result<Group, OpenError> {
        let inner = &self.inner;
        let failed =
            |error: &dyn std::fmt::Display| OpenError { reason: format!("{}: {error}", options.range_id) };
        // *log-opened-once*
        if !inner.opened.lock().insert(options.range_id) {
            return Err(failed(&"it is open, or was since this store was started"));
        }
        let found = inner.found.lock().remove(&options.range_id);
        let log = GroupLogStorage::new(options.range_id, inner.log.clone(), found.as_ref())
            .map_err(|error| failed(&error))?;
        log.reconcile(machine.applied().position).map_err(|error| failed(&error))?;
        let adapter = MachineAdapter {
            machine,
            applied_term: Arc::default(),
            applied_index: Arc::default(),
            group: Arc::default(),
            applies: inner.applies.clone(),
        };
        let network = Network {
            range: options.range_id,
            replica: options.replica_id,
            transport: inner.transport.clone(),
            outgoing: inner.outgoing.clone(),
        };
        let raft = openraft::Raft::<Types, MachineAdapter>::new(
            options.replica_id.get(),
            inner.config.clone(),
            network,
            log.clone(),
            adapter.clone(),
        )
        .await
        .map_err(|error| failed(&error))?;
        let group = GroupInner::new(GroupParts {
            range_id: options.range_id,
            replica_id: options.replica_id,
            raft,
            adapter,
            log,
            log_store: inner.log.clone(),
            clock: inner.clock.clone(),
            liveness: inner.liveness.clone(),
            transport: inner.transport.clone(),
            store: inner.store_id,
            may_vote: inner.may_vote,
        });
        let _first = group.adapter.group.set(Arc::downgrade(&group));
        // Before a vote can reach it.
        group.recover_promise(&inner.promised).await;
        tokio::spawn(group.clone().follow());
        let group = Group { inner: group };
        inner.groups.write().insert(options.range_id, group.clone());
        if options.campaign {
            group.inner.campaign(false).await;
        }
        // Whoever leads makes itself heard before this; otherwise the group elects.
        let wait = if options.campaign { Duration::from_millis(50) } else { Duration::from_millis(300) };
        inner.elect_after(options.range_id, wait);
        Ok(group)
    }

    #[must_use]
    pub fn group(&self, range_id: RangeId) -> Option<Group> {
        self.inner.groups.read().get(&range_id).cloned()
    }

    /// Stops a group; its log stays.
    pub async fn close_group(&self, range_id: RangeId) {
        let _one_at_a_time = self.inner.closing.lock().await;
        let group = self.inner.groups.write().remove(&range_id);
        if let Some(group) = group {
            group.close().await;
        }
    }

    /// Stops a group and removes its log.
    pub async fn remove_group(&self, range_id: RangeId) {
        self.close_group(range_id).await;
        self.inner.log.submit(LogOp::RemoveGroup { range_id }, ignore());
        self.inner.found.lock().remove(&range_id);
        self.inner.opened.lock().remove(&range_id);
    }

    /// Stops a group that waits for its first snapshot, so that it can be opened over state that came another way. Its
    /// vote passes to the one opened next: *log-opened-once* means that nobody forgets it.
    pub async fn hand_back(&self, range_id: RangeId) {
        let Some(group) = self.group(range_id).filter(|group| group.inner.waits()) else { return };
        self.close_group(range_id).await;
        self.inner.found.lock().insert(range_id, group.inner.log.as_found());
        self.inner.opened.lock().remove(&range_id);
    }

    /// Whether a group may still be opened over the log of this range: *log-opened-once*.
    #[must_use]
    pub fn may_open(&self, range_id: RangeId) -> bool {
        !self.inner.opened.lock().contains(&range_id)
    }

    /// Stops all groups and the heartbeats.
    pub async fn stop(&self) {
        self.inner.liveness.stop();
        let groups: Vec<Group> = self.inner.groups.write().drain().map(|(_, group)| group).collect();
        futures::future::join_all(groups.iter().map(Group::close)).await;
    }
}

impl NodeInner {
    /// Has a group campaign after a while, or sooner if it was to do so sooner.
    fn elect_after(&self, range_id: RangeId, wait: Duration) {
        let jitter = Duration::from_millis(self.rng.lock().random_range(0..ELECTION_JITTER_MS));
        let at = Instant::now() + wait + jitter;
        let mut elections = self.elections.lock();
        let due = elections.entry(range_id).or_insert(at);
        // A wait that is nearly the same is left alone, or the jitter would be drawn until it is small.
        if at + Duration::from_millis(ELECTION_JITTER_MS) < *due {
            *due = at;
        }
    }

    /// Looks at every group: followers that no promise binds are to campaign, leaders ask for promises they lack.
    /// `changed`: a store may have come back.
    fn sweep(&self, changed: bool) {
        self.incoming.sweep(|range| self.groups.read().contains_key(&range));
        let groups: Vec<Group> = self.groups.read().values().cloned().collect();
        for group in groups {
            group.inner.look_at_lease();
            if let Some(wait) = group.inner.wants_election() {
                self.elect_after(group.range_id(), wait);
            } else if group.inner.leads()
                && (changed || group.is_joint() || !group.inner.lacks_promises().is_empty())
            {
                // A new epoch of ours, or a voter that did not answer before. A group that lacks nothing costs no task.
                tokio::spawn(async move {
                    group.inner.fortify().await;
                    group.finish_joint().await;
                    if changed {
                        group.inner.reset_backoff().await;
                    }
                });
            } else if group.inner.is_left_behind() {
                tokio::spawn(async move { group.inner.ask_leader().await });
            }
        }
    }
}

/// What spreads the candidates of one range.
const ELECTION_JITTER_MS: u64 = 100;
/// Groups are looked over this often though nothing was heard that concerns them.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Wakes when a peer's liveness changes, when a promise runs out, and while some group has no leader.
async fn election_loop(node: std::sync::Weak<NodeInner>) {
    let mut next_sweep = Instant::now() + SWEEP_EVERY;
    loop {
        let Some(inner) = node.upgrade() else { return };
        let next_election = inner.elections.lock().values().min().copied();
        let liveness = inner.liveness.clone();
        drop(inner);
        let until =
            next_election.map_or(next_sweep, |at| at.min(next_sweep)).max(Instant::now() + SHORTEST_WAIT);
        let changed = tokio::time::timeout_at(until, liveness.changed()).await.is_ok();
        let Some(inner) = node.upgrade() else { return };
        if changed || Instant::now() >= next_sweep {
            inner.sweep(changed);
            // A promise that runs out is looked at when it does: an election may be due.
            let left = liveness.first_expiry().unwrap_or(SWEEP_EVERY);
            next_sweep = Instant::now() + left.clamp(SHORTEST_WAIT, SWEEP_EVERY);
        }
        let now = Instant::now();
        let due: Vec<RangeId> =
            inner.elections.lock().iter().filter(|(_, at)| **at <= now).map(|(range, _)| *range).collect();
        for range_id in due {
            inner.elections.lock().remove(&range_id);
            let group = inner.groups.read().get(&range_id).cloned();
            let Some(group) = group else { continue };
            match group.inner.wants_election() {
                Some(Duration::ZERO) => {}
                Some(wait) => {
                    inner.elect_after(range_id, wait);
                    continue;
                }
                None => {
                    if group.inner.is_left_behind() {
                        tokio::spawn(async move { group.inner.ask_leader().await });
                    }
                    continue;
                }
            }
            let weak = node.clone();
            tokio::spawn(async move {
                group.inner.campaign(true).await;
                // Until somebody leads, again.
                if let Some(inner) = weak.upgrade()
                    && let Some(wait) = group.inner.wants_election()
                {
                    // A replica that was removed while it was away asks for ever: the longer, the more rarely.
                    let lost = group.inner.lost_elections.fetch_add(1, Ordering::Relaxed);
                    let doubled = lost.saturating_sub(QUICK_ELECTIONS).min(4);
                    inner.elect_after(range_id, wait.max(ELECTION_RETRY * (1 << doubled)));
                }
            });
        }
    }
}

/// How often it is looked whether the disk hangs.
const DISK_EVERY: Duration = Duration::from_millis(250);

/// Leads nothing while this store's disk hangs.
async fn disk_loop(node: std::sync::Weak<NodeInner>) {
    let mut hung = false;
    loop {
        tokio::time::sleep(DISK_EVERY).await;
        let Some(inner) = node.upgrade() else { return };
        let hangs = inner.liveness.disk_hangs();
        if !hangs && !hung {
            continue;
        }
        let groups: Vec<Group> = inner.groups.read().values().filter(|group| group.inner.leads()).cloned().collect();
        for group in groups {
            tokio::spawn(async move {
                if hangs { group.inner.step_aside().await } else { group.inner.step_back().await }
            });
        }
        hung = hangs;
    }
}

const SHORTEST_WAIT: Duration = Duration::from_millis(5);
const ELECTION_RETRY: Duration = Duration::from_millis(150);
/// So many are lost before the pauses grow: the promises of the others may run out a second later than one's own, and who
/// is free last may lack entries that this replica has.
const QUICK_ELECTIONS: u32 = 8;

struct Handler {
    inner: Arc<NodeInner>,
}

fn refused(reason: impl ToString) -> RpcError {
    RpcError::Refused { reason: reason.to_string() }
}

impl Handler {
    /// *peers-fence-nobody*
    fn unsound(&self, why: impl std::fmt::Display) -> RpcError {
        self.inner.unsound.fetch_add(1, Ordering::Relaxed);
        tracing::error!(%why, "a peer sent what no peer should: it was not taken");
        refused(why)
    }

    fn missing(&self, kind: Kind, address: Address) {
        let begins = matches!(kind, Kind::Append | Kind::Vote | Kind::PreVote | Kind::SnapshotChunk);
        if begins && let Some(told) = self.inner.missing.get() {
            told(address.range, address.to);
        }
    }
}

fn answer<T: serde::Serialize>(value: &T) -> Bytes {
    postcard::to_stdvec(value).expect("answers are plain data").into()
}

#[async_trait]
impl Service for Handler {
    async fn call(&self, _from: NodeId, payload: Bytes) -> Result<Bytes, RpcError> {
        let (kind, address, body) = decode_message(payload).map_err(|damage| self.unsound(damage))?;
        let group = self.inner.groups.read().get(&address.range).cloned();
        let group = group.ok_or_else(|| {
            self.missing(kind, address);
            refused(format!("no replica of {}", address.range))
        })?;
        // Meant for a replica that was here before this one, or for one that is to come after it.
        if group.replica_id() != address.to {
            if group.replica_id() < address.to {
                self.missing(kind, address);
            }
            return Err(refused(format!("{} is not here, {} is", address.to, group.replica_id())));
        }
        let group = &group.inner;
        let damaged = |damage: postcard::Error| self.unsound(damage);
        match kind {
            Kind::Append => {
                let request = decode_append(body).map_err(|damage| self.unsound(damage))?;
                let applied = group.adapter.last_applied();
                sound::append(&request, address.from, applied, &*group.machine)
                    .map_err(|why| self.unsound(why))?;
                let response = group.raft.append_entries(request).await.map_err(refused)?;
                Ok(answer(&response))
            }
            Kind::Vote => {
                let request: VoteRequest<Types> = postcard::from_bytes(&body).map_err(damaged)?;
                sound::vote_request(&request, address.from).map_err(|why| self.unsound(why))?;
                let response = group.on_vote(request).await.ok_or_else(|| refused("a promise stands"))?;
                Ok(answer(&response))
            }
            Kind::PreVote => {
                let request: PreVote = postcard::from_bytes(&body).map_err(damaged)?;
                Ok(answer(&group.on_pre_vote(address.from, request).await))
            }
            Kind::Fortify => {
                let request: Fortify = postcard::from_bytes(&body).map_err(damaged)?;
                Ok(answer(&group.on_fortify(request).await))
            }
            Kind::Yield => {
                let request: Yield = postcard::from_bytes(&body).map_err(damaged)?;
                let (campaigns, knows_later) = group.on_yield(request).await;
                if campaigns {
                    let group = group.clone();
                    tokio::spawn(async move { group.campaign(false).await });
                }
                Ok(answer(&knows_later))
            }
            Kind::SnapshotChunk => {
                let (head, chunk) = split_head(body).map_err(|damage| self.unsound(damage))?;
                // Taking it in needs as much again as has come, for each of those on their way.
                let bytes = self.inner.incoming.received() + chunk.len() as u64;
                if let Err(error) = group.machine.has_room(bytes) {
                    self.inner.incoming.give_up(address.range);
                    return Err(refused(error));
                }
                blocking(|| self.inner.incoming.take(address.range, head, &chunk)).map_err(refused)?;
                Ok(Bytes::new())
            }
            Kind::SnapshotEnd => {
                let end: SnapshotEnd = postcard::from_bytes(&body).map_err(damaged)?;
                let applied = group.adapter.last_applied();
                sound::snapshot(&end, address.from, applied).map_err(|why| self.unsound(why))?;
                let spool = self.inner.incoming.finish(address.range, &end).map_err(refused)?;
                let mut chunks = spool.chunks().map_err(refused)?;
                let admitted = blocking(|| group.machine.check(&mut chunks)).map_err(refused)?;
                let meta =
                    openraft::SnapshotMeta { last_log_id: end.last_log_id, last_membership: end.membership };
                let snapshot = openraft::Snapshot { meta, snapshot: SnapshotData::Received(spool, admitted) };
                let response = group.raft.install_full_snapshot(end.vote, snapshot).await.map_err(refused)?;
                Ok(answer(&response))
            }
        }
    }
}
