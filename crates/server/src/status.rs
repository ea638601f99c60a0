//! The cluster as one node sees it, down to who holds a lock and who waits for it.

use std::{net::SocketAddr, time::Duration};

use concurrency::{LatchRow, LockRow, RowState};
use replica::Replica;
use serde::Serialize;
use store::{CheckOutcome, Store};

use crate::node::KvNode;

/// How many locks and latches are told of each range: enough to see a knot, whatever stands behind it.
const MAX_ROWS: usize = 100;

#[derive(Clone, Debug, Serialize)]
pub struct NodeStatus {
    pub cluster_id: String,
    pub node_id: u64,
    pub rpc_addr: SocketAddr,
    pub nodes: Vec<OtherNode>,
    pub ranges: Vec<RangeStatus>,
}

#[derive(Clone, Debug, Serialize)]
pub struct OtherNode {
    pub node_id: u64,
    pub rpc_addr: String,
    pub sql_addr: String,
    /// Its tiers, the widest first; empty where none was given.
    pub locality: String,
    pub live: bool,
    pub ranges: u64,
    pub leases: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct RangeStatus {
    pub range_id: u64,
    pub start: String,
    pub end: String,
    pub replicas: Vec<String>,
    pub leaseholder: bool,
    /// Batches in a second, of late; the leaseholder's.
    pub batches_per_second: u64,
    /// Why it was not merged with its right-hand neighbour, as its leaseholder last found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_merged: Option<&'static str>,
    /// Why it is not split for its load.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_split: Option<&'static str>,
    /// The range whose merge with it is being decided: it serves nothing meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frozen_for: Option<u64>,
    /// What the last comparison of its replicas found; of a range led here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checked: Option<CheckStatus>,
    pub raft: RaftStatus,
    /// Spans of batches that are evaluated or agreed on now, and of those that wait for them.
    pub latches: Vec<LatchStatus>,
    /// Holders of locks and who waits for them; only the leaseholder knows.
    pub locks: Vec<LockStatus>,
}

#[derive(Clone, Debug, Serialize)]
pub struct CheckStatus {
    pub seconds_ago: u64,
    pub outcome: String,
}

impl CheckStatus {
    fn new((ago, outcome): (Duration, CheckOutcome)) -> Self {
        let outcome = match outcome {
            CheckOutcome::Consistent => "consistent".to_owned(),
            CheckOutcome::Alone => "one replica".to_owned(),
            CheckOutcome::Repaired { differing, .. } => format!("differed on {differing:?}"),
            CheckOutcome::Undecided => "the replicas differ".to_owned(),
            CheckOutcome::Skipped { reason } => format!("not checked: {reason}"),
        };
        Self { seconds_ago: ago.as_secs(), outcome }
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct RaftStatus {
    pub term: u64,
    pub leader: Option<u64>,
    pub log_first: u64,
    pub log_last: u64,
    pub applied: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct LatchStatus {
    /// The same for all spans of a batch; lower is earlier.
    pub batch: u64,
    pub span: String,
    /// Where it is of single keys of the span alone: how many they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<usize>,
    pub access: String,
    /// The batches it waits for.
    pub behind: Vec<u64>,
}

impl From<LatchRow> for LatchStatus {
    fn from(row: LatchRow) -> Self {
        Self {
            batch: row.seq,
            span: row.span.to_string(),
            keys: row.keys,
            access: format!("{:?}", row.access).to_lowercase(),
            behind: row.behind,
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct LockStatus {
    pub key: String,
    pub txn: Option<String>,
    pub anchor: Option<String>,
    /// What is held or wanted; none is a plain read.
    pub strength: Option<String>,
    pub state: String,
}

impl From<LockRow> for LockStatus {
    fn from(row: LockRow) -> Self {
        Self {
            key: row.key.to_string(),
            txn: row.txn.as_ref().map(|txn| txn.id.to_string()),
            anchor: row.txn.as_ref().map(|txn| txn.anchor.to_string()),
            strength: row.strength.map(|strength| format!("{strength:?}")),
            state: match row.state {
                RowState::Held => "held".to_owned(),
                RowState::Turn => "turn".to_owned(),
                RowState::Waiting { behind } => format!("waiting behind {behind}"),
            },
        }
    }
}

fn range_status(store: &Store, replica: &Replica) -> Option<RangeStatus> {
    let descriptor = replica.descriptor()?;
    let group = replica.group().status();
    Some(RangeStatus {
        range_id: descriptor.range_id.get(),
        start: descriptor.start.to_string(),
        end: descriptor.end.to_string(),
        replicas: descriptor.replicas.iter().map(ToString::to_string).collect(),
        leaseholder: replica.is_leaseholder(),
        batches_per_second: replica.rate(),
        not_merged: store.unmerged(descriptor.range_id).map(store::Unmerged::reason),
        not_split: store.unsplit(descriptor.range_id).map(replica::Unsplittable::reason),
        frozen_for: replica.machine().frozen().map(|into| into.left.get()),
        checked: store.last_check(descriptor.range_id).map(CheckStatus::new),
        raft: RaftStatus {
            term: group.term.get(),
            leader: group.leader.map(keys::ReplicaId::get),
            log_first: group.first_index,
            log_last: group.last_index,
            applied: group.applied_index,
        },
        latches: replica.latches().rows().into_iter().take(MAX_ROWS).map(LatchStatus::from).collect(),
        locks: replica.lock_table().rows_up_to(MAX_ROWS).into_iter().take(MAX_ROWS).map(LockStatus::from).collect(),
    })
}

impl KvNode {
    /// What `/status` shows.
    #[must_use]
    pub fn status(&self) -> NodeStatus {
        let mut ranges: Vec<RangeStatus> =
            self.store.replicas().iter().filter_map(|replica| range_status(&self.store, replica)).collect();
        ranges.sort_by_key(|range| range.range_id);
        let nodes = self.store.nodes().all().into_iter().map(|node| OtherNode {
            node_id: node.node_id.get(),
            live: self.store.is_heard(&node),
            locality: node.parts.locality.to_string(),
            rpc_addr: node.rpc_addr,
            sql_addr: node.sql_addr,
            ranges: node.ranges,
            leases: node.leases,
        });
        NodeStatus {
            cluster_id: self.cluster_id.to_string(),
            node_id: self.node_id.get(),
            rpc_addr: self.transport.local_addr(),
            nodes: nodes.collect(),
            ranges,
        }
    }
}
