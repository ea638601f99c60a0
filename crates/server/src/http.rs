//! HTTP: health, metrics, and the cluster as this node sees it.

use std::sync::{Arc, atomic::AtomicU64};

use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use replica::ReplicaMetrics;
use tokio::{net::TcpListener, sync::watch};

use crate::{node::KvNode, status::NodeStatus};

#[derive(Clone)]
struct Shared {
    node: KvNode,
    ready: watch::Receiver<bool>,
    sql_connections: Arc<dyn Fn() -> usize + Send + Sync>,
}

/// Serves until `stop` says so.
pub(crate) async fn serve(
    listener: TcpListener,
    node: KvNode,
    ready: watch::Receiver<bool>,
    sql_connections: Arc<dyn Fn() -> usize + Send + Sync>,
    mut stop: watch::Receiver<bool>,
) {
    let app = Router::new()
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .with_state(Shared { node, ready, sql_connections });
    let stopped = async move {
        // A sender that is gone means that the node is, too.
        let _told = stop.wait_for(|stop| *stop).await;
    };
    if let Err(error) = axum::serve(listener, app).with_graceful_shutdown(stopped).await {
        tracing::warn!(%error, "http");
    }
}

/// 200 while this node takes SQL, 503 before and while it drains.
async fn health(State(shared): State<Shared>) -> (StatusCode, &'static str) {
    if *shared.ready.borrow() { (StatusCode::OK, "ok\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready\n") }
}

async fn status(State(shared): State<Shared>) -> Json<NodeStatus> {
    Json(shared.node.status())
}

type ReplicaCounter = fn(&ReplicaMetrics) -> &AtomicU64;

/// Summed over the replicas of the store.
const REPLICA_COUNTERS: [(&str, &str, ReplicaCounter); 4] = [
    ("replica_batches_total", "Batches that replicas were given.", |metrics| &metrics.batches),
    ("replica_proposals_total", "Commands proposed.", |metrics| &metrics.proposals),
    ("replica_lock_waits_total", "Waits for a lock.", |metrics| &metrics.lock_waits),
    ("replica_pushes_total", "Questions of waiters about who is in their way.", |metrics| &metrics.pushes),
];

/// Prometheus text, from counters that the layers keep.
async fn metrics(State(shared): State<Shared>) -> String {
    use std::{fmt::Write, sync::atomic::Ordering::Relaxed};
    let store = &shared.node.store;
    let mut out = String::new();
    let mut metric = |name: &str, kind: &str, help: &str, value: u64| {
        let written = write!(out, "# HELP quorate_{name} {help}\n# TYPE quorate_{name} {kind}\nquorate_{name} {value}\n");
        debug_assert!(written.is_ok(), "writing to a string cannot fail");
    };
    let replicas = store.replicas();
    let leases = replicas.iter().filter(|replica| replica.is_leaseholder()).count();
    metric("ranges", "gauge", "Replicas on this store.", replicas.len() as u64);
    metric("leases", "gauge", "Ranges led by this store.", leases as u64);
    metric("sql_connections", "gauge", "Open client connections.", (shared.sql_connections)() as u64);
    for (name, help, of) in REPLICA_COUNTERS {
        metric(name, "counter", help, replicas.iter().map(|replica| of(replica.metrics()).load(Relaxed)).sum());
    }
    metric("ranges_fenced_total", "counter", "Replicas that failed and were taken out of service.", store.fenced());
    let log = store.log().metrics();
    metric("log_syncs_total", "counter", "Syncs of the Raft log.", log.syncs.load(Relaxed));
    metric("log_entries_total", "counter", "Entries appended to the Raft log.", log.entries.load(Relaxed));
    metric("log_bytes_total", "counter", "Bytes written to the Raft log.", log.bytes.load(Relaxed));
    let engine = store.engine().metrics();
    metric("engine_sst_bytes", "gauge", "Bytes in SST files of the state engine.", engine.sst_bytes);
    metric("engine_memtable_bytes", "gauge", "Bytes in memtables of the state engine.", engine.memtable_bytes);
    metric("engine_locks", "gauge", "Intents that are not resolved.", engine.locks);
    let kv = shared.node.db.metrics();
    metric("kv_batches_local_total", "counter", "Batches served by this store's replicas.", kv.batches_local.load(Relaxed));
    metric("kv_batches_remote_total", "counter", "Batches sent to other nodes.", kv.batches_remote.load(Relaxed));
    metric("kv_commits_one_phase_total", "counter", "Transactions committed in one command.", kv.commits_one_phase.load(Relaxed));
    metric("kv_commits_parallel_total", "counter", "Transactions committed across ranges.", kv.commits_parallel.load(Relaxed));
    metric("kv_refreshes_total", "counter", "Refreshes of transactions' reads.", kv.refreshes.load(Relaxed));
    metric("kv_refresh_failures_total", "counter", "Refreshes that found a change.", kv.refresh_failures.load(Relaxed));
    let lanes = shared.node.transport.metrics();
    for (lane, metrics) in ["control", "raft", "client", "snapshot"].iter().zip(lanes) {
        let name = format!("rpc_{lane}_bytes_total");
        metric(&name, "counter", "Bytes sent to other nodes in this lane.", metrics.bytes.load(Relaxed));
        let name = format!("rpc_{lane}_messages_total");
        metric(&name, "counter", "Messages sent to other nodes in this lane.", metrics.messages.load(Relaxed));
    }
    out
}
