//! What the layers below SQL count, as metrics: each layer keeps plain numbers of its own and knows nothing of how they
//! are published, and here they are read when somebody asks.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};
use replica::ReplicaMetrics;
use store::WorkKind;

use crate::node::KvNode;

/// Everything that a node counts.
pub(crate) struct Layers {
    pub node: KvNode,
    pub plans: Arc<session::PlanCache>,
    pub replays: Arc<session::ReplayMetrics>,
    pub audit: Option<Arc<audit::AuditLog>>,
    pub clients: Arc<dyn Fn() -> (usize, pgserver::DoorMetrics) + Send + Sync>,
    pub memory: Arc<session::NodeMemory>,
}

impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the metrics of {}", self.node.node_id)
    }
}

type ReplicaCounter = fn(&ReplicaMetrics) -> &AtomicU64;

/// Summed over the replicas of the store.
const REPLICA_COUNTERS: [(&str, &str, ReplicaCounter); 4] = [
    ("replica_batches", "Batches that replicas were given.", |metrics| &metrics.batches),
    ("replica_proposals", "Commands proposed.", |metrics| &metrics.proposals),
    ("replica_lock_waits", "Waits for a lock.", |metrics| &metrics.lock_waits),
    ("replica_pushes", "Questions of waiters about who is in their way.", |metrics| &metrics.pushes),
];

type ReplayCounter = fn(&session::ReplayMetrics) -> &AtomicU64;

/// Transactions that lost to another.
const REPLAY_COUNTERS: [(&str, &str, ReplayCounter); 4] = [
    ("sql_txn_restarted", "Transactions started over before they had answered anything.", |metrics| &metrics.restarted),
    ("sql_txn_replayed", "Transactions run again after that, with the same answers.", |metrics| &metrics.replayed),
    ("sql_txn_replay_diverged", "Those with other answers, which their clients were told of (40001).", |metrics| &metrics.diverged),
    ("sql_txn_not_replayed", "Those that could not be run again (40001).", |metrics| &metrics.not_replayed),
];

/// In the order of the transport's counters.
const LANES: [&str; 4] = ["control", "raft", "client", "snapshot"];

impl Collector for Layers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Out(&mut encoder);
        let store = &self.node.store;
        let replicas = store.replicas();
        let leases = replicas.iter().filter(|replica| replica.is_leaseholder()).count();
        out.gauge("ranges", "Replicas on this store.", replicas.len() as u64)?;
        out.gauge("leases", "Ranges led by this store.", leases as u64)?;
        let (connections, doors) = (self.clients)();
        out.gauge("sql_connections", "Open client connections.", connections as u64)?;
        out.gauge("sql_connections_waiting", "Those that have not shown yet who they are.", doors.waiting as u64)?;
        out.counter("sql_connections_turned_out", "Those that gave way to later ones before they had.", doors.turned_out)?;
        let kept = self.memory.used() as u64;
        out.gauge("sql_memory_bytes", "What statements, messages and writes of open transactions keep.", kept)?;
        out.gauge("sql_memory_limit_bytes", "What they may keep.", self.memory.limit() as u64)?;
        out.counter("sql_memory_refused", "Requests for memory beyond that (53200).", self.memory.refused() as u64)?;
        if let Some(certs) = &self.node.certs {
            let end = u64::try_from(certs.current().not_after).unwrap_or(0);
            out.gauge("certificate_expiry_seconds", "When the node's certificate ends, in seconds since 1970.", end)?;
        }
        let plans = self.plans.metrics();
        out.gauge("sql_plan_cache_statements", "Statements that sessions share.", self.plans.len() as u64)?;
        out.counter("sql_plan_cache_hits", "Texts that were known already.", plans.hits.load(Relaxed))?;
        out.counter("sql_plan_cache_misses", "Texts that were parsed.", plans.misses.load(Relaxed))?;
        if let Some(audit) = &self.audit {
            out.counter("audit_events", "Events written to the audit log.", audit.written())?;
            out.counter("audit_events_dropped", "Events that could not be written to it.", audit.dropped())?;
        }
        out.counter("sql_plan_cache_replans", "Plans made again for another catalog.", plans.replans.load(Relaxed))?;
        for (name, help, of) in REPLAY_COUNTERS {
            out.counter(name, help, of(&self.replays).load(Relaxed))?;
        }
        for (name, help, of) in REPLICA_COUNTERS {
            out.counter(name, help, replicas.iter().map(|replica| of(replica.metrics()).load(Relaxed)).sum())?;
        }
        let done = |kind| store.work().counts().into_iter().find(|count| count.kind == kind).map_or(0, |count| count.done);
        out.counter("range_merges", "Ranges led by this store that took in a neighbour.", done(WorkKind::Merge))?;
        out.counter("range_load_splits", "Ranges that were split for their load.", done(WorkKind::LoadSplit))?;
        out.counter("ranges_fenced", "Replicas that failed and were taken out of service.", store.fenced())?;
        let (checks, differences) = store.check_counts();
        out.counter("consistency_checks", "Ranges led by this store whose replicas were compared.", checks)?;
        out.counter("consistency_differences", "Those whose replicas were found to differ.", differences)?;
        let under = store.under_replicated();
        out.gauge("ranges_underreplicated", "Ranges led by this store with too few healthy voters.", under)?;
        let unsound = store.raft().unsound_messages();
        out.counter("raft_unsound_messages", "Messages of other nodes that were not taken.", unsound)?;
        let log = store.log().metrics();
        out.counter("log_syncs", "Syncs of the Raft log.", log.syncs.load(Relaxed))?;
        out.counter("log_entries", "Entries appended to the Raft log.", log.entries.load(Relaxed))?;
        out.counter("log_bytes", "Bytes written to the Raft log.", log.bytes.load(Relaxed))?;
        let engine = store.engine().metrics();
        out.gauge("engine_sst_bytes", "Bytes in SST files of the state engine.", engine.sst_bytes)?;
        out.gauge("engine_memtable_bytes", "Bytes in memtables of the state engine.", engine.memtable_bytes)?;
        out.gauge("engine_locks", "Intents that are not resolved.", engine.locks)?;
        if let Some(encryption) = store.files().metrics() {
            out.gauge("encryption_data_keys", "Data keys of the store.", encryption.data_keys)?;
            out.counter("encryption_rotations", "Data keys made since the start.", encryption.rotations)?;
            let created = encryption.active_key_created;
            out.gauge("encryption_active_key_created_seconds", "When the active data key was made.", created)?;
            let bytes = encryption.active_key_bytes;
            out.gauge("encryption_active_key_bytes", "Bytes written with the active data key.", bytes)?;
            let plaintext = encryption.plaintext_bytes;
            out.gauge("encryption_plaintext_bytes", "Bytes in files that are not encrypted yet.", plaintext)?;
        }
        let kv = self.node.db.metrics();
        out.counter("kv_pages_ahead", "Pages of scans asked for ahead.", kv.pages_ahead.load(Relaxed))?;
        out.counter("kv_batches_local", "Batches served by this store's replicas.", kv.batches_local.load(Relaxed))?;
        out.counter("kv_batches_remote", "Batches sent to other nodes.", kv.batches_remote.load(Relaxed))?;
        let one_phase = kv.commits_one_phase.load(Relaxed);
        out.counter("kv_commits_one_phase", "Transactions committed in one command.", one_phase)?;
        let parallel = kv.commits_parallel.load(Relaxed);
        out.counter("kv_commits_parallel", "Transactions committed across ranges.", parallel)?;
        out.counter("kv_refreshes", "Refreshes of transactions' reads.", kv.refreshes.load(Relaxed))?;
        let failures = kv.refresh_failures.load(Relaxed);
        out.counter("kv_refresh_failures", "Refreshes that found a change.", failures)?;
        let strangers = self.node.transport.stranger_refusals();
        out.counter("rpc_stranger_refusals", "Calls refused of nodes that are of no cluster.", strangers)?;
        let refusals = self.node.transport.clock_refusals();
        out.counter(
            "rpc_clock_refusals",
            "Messages refused since their sender's clock is too far ahead.",
            refusals,
        )?;
        let lanes = self.node.transport.metrics();
        let bytes = lanes.iter().map(|lane| lane.bytes.load(Relaxed));
        out.by_lane("rpc_bytes", "Bytes sent to other nodes.", bytes)?;
        let messages = lanes.iter().map(|lane| lane.messages.load(Relaxed));
        out.by_lane("rpc_messages", "Messages sent to other nodes.", messages)
    }
}

/// Writes numbers with their names, to which the format adds the prefix and, for counters, `_total`.
struct Out<'a, 'b>(&'a mut DescriptorEncoder<'b>);

impl Out<'_, '_> {
    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        ConstGauge::new(value).encode(self.0.encode_descriptor(name, help, None, MetricType::Gauge)?)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        ConstCounter::new(value).encode(self.0.encode_descriptor(name, help, None, MetricType::Counter)?)
    }

    fn by_lane(&mut self, name: &str, help: &str, values: impl Iterator<Item = u64>) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (lane, value) in LANES.iter().zip(values) {
            ConstCounter::new(value).encode(family.encode_family(&[("lane", *lane)])?)?;
        }
        Ok(())
    }
}
