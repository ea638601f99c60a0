//! What a node says of itself: the answers of the console's service, which travel as they are, and the rows that the pages
//! read as JSON. Times are milliseconds since 1970; durations are milliseconds.

use keys::{LockStrength, RangeDescriptor, TxnId};
use serde::{Deserialize, Serialize};
use store::NodeInfo;

/// What one node asks another for its console.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    Node,
    /// Samples taken after this.
    Series { since_ms: u64 },
    /// Replicas of ranges that begin at this key or after it.
    Ranges { from: keys::Key, limit: usize },
    Statements { limit: usize },
    Sessions,
    Locks,
    Work,
}

/// The node itself: its process and its machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Process {
    pub info: NodeInfo,
    pub version: String,
    pub uptime_ms: u64,
    pub cores: u64,
    /// Of those: what the process used over the last second.
    pub cores_used: f64,
    pub memory_bytes: u64,
    pub memory_total_bytes: u64,
    pub disk_free_bytes: u64,
    pub disk_total_bytes: u64,
    /// Of the store: tables and log files of the engine.
    pub store_bytes: u64,
    pub connections: u64,
    pub fenced: u64,
}

/// A second of a node's life. Rates are per second.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub at_ms: u64,
    pub statements: f64,
    pub errors: f64,
    pub commits: f64,
    pub rollbacks: f64,
    pub p50_ms: Option<f64>,
    pub p95_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub log_syncs: f64,
    pub log_bytes: f64,
    pub net_bytes: f64,
    pub batches: f64,
    pub lock_waits: f64,
    pub restarts: f64,
    pub cores_used: f64,
    pub memory_bytes: u64,
    pub connections: u64,
    pub replicas: u64,
    pub leases: u64,
    pub under_replicated: u64,
    /// Queues: what they did.
    pub work_done: f64,
    pub work_failed: f64,
}

/// A range as one of its replicas knows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ReplicaReport {
    pub descriptor: RangeDescriptor,
    pub leads: bool,
    /// Only the leaseholder says.
    pub bytes: u64,
    pub batches_per_second: f64,
    pub healthy: Option<u64>,
    /// How many it should have.
    pub wanted: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StatementReport {
    pub database: String,
    pub user: String,
    pub query_id: i64,
    pub text: String,
    pub calls: u64,
    pub errors: u64,
    pub rows: u64,
    pub total_ms: f64,
    pub mean_ms: f64,
    pub max_ms: f64,
    pub p99_ms: Option<f64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SessionReport {
    pub pid: i32,
    pub database: String,
    pub user: String,
    pub application: String,
    pub client: Option<String>,
    pub state: String,
    pub query: String,
    pub connected_ms: u64,
    /// How long, when it is asked: a node's clock is its own.
    pub transaction_for_ms: Option<u64>,
    pub statement_for_ms: Option<u64>,
    pub state_for_ms: u64,
    pub txn: Option<TxnId>,
}

/// The locks of the ranges that a node leads, and its sessions with open transactions.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct LocksReport {
    pub locks: Vec<LockReport>,
    pub sessions: Vec<SessionReport>,
    /// Keys that are locked or waited for, shown or not.
    pub keys: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LockReport {
    pub range_id: u64,
    pub key: keys::Key,
    pub txn: Option<TxnId>,
    pub strength: Option<LockStrength>,
    pub behind: Option<TxnId>,
    pub is_held: bool,
}

/// What a node's queues do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WorkReport {
    pub queues: Vec<QueueReport>,
    pub under_way: Vec<WorkUnderWay>,
    pub under_replicated: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct QueueReport {
    pub queue: String,
    pub done: u64,
    pub failed: u64,
    pub under_way: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WorkUnderWay {
    pub queue: String,
    pub range_id: u64,
    pub to_store: Option<u64>,
    pub for_ms: u64,
}
