//! Single commands, sent to a replica as a coordinator would that is slow, dead or wrong about what it did.

use std::{path::Path, time::Duration};

use hlc::Timestamp;
use keys::{Key, RangeId, SequencedWrite, TxnId, TxnMeta};
use kv::{DbConfig, Read, TxnOptions};
use replica::api::{BatchRequest, BatchResponse, Header, KvError, Request, TxnHeader, WriteRef};
use rpc::MemoryConfig;

use crate::cluster::{Cluster, Member, StoreTuning};

/// A key among the rows of tables.
#[must_use]
pub fn key(name: &str) -> Key {
    [&[0x10], name.as_bytes()].concat().into()
}

/// Looks again and again until something holds.
///
/// # Panics
/// When it does not within 90 seconds.
pub async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let look = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(90), look).await.is_ok(), "in vain: {what}");
}

/// Nodes over a network in memory that never loses a message, with the first range on as many as it can be.
pub async fn tuned(dir: impl AsRef<Path>, nodes: usize, stores: StoreTuning) -> Cluster {
    let config =
        DbConfig { rpc_timeout: Duration::from_secs(2), wait_timeout: Duration::from_secs(3), ..DbConfig::default() };
    let (wires, offsets) = (MemoryConfig::default(), vec![0; nodes]);
    let cluster = Cluster::start_over_wires(dir.as_ref(), 1, wires, &offsets, config, stores, |_, wire| wire).await;
    until("the first range is everywhere", async || {
        let has_it = |member: &&Member| member.store.replica(RangeId::new(1)).is_some_and(|it| it.descriptor().is_some());
        cluster.members.iter().filter(has_it).count() == nodes.min(3)
    })
    .await;
    cluster
}

/// Writes a row, however often that takes.
///
/// # Panics
/// When it cannot be written within 30 seconds.
pub async fn write_row(member: &Member, name: &str, value: &str) {
    let write = async {
        loop {
            let mut txn = member.db.begin(TxnOptions::default());
            txn.put(key(name), value.as_bytes().to_vec().into());
            if txn.commit().await.is_ok() {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), write).await.expect("a quorum is there");
}

pub async fn one_node(dir: impl AsRef<Path>) -> Cluster {
    Cluster::start(dir.as_ref(), 1, MemoryConfig::default(), &[0], DbConfig::default()).await
}

/// A transaction that reads and writes at `ts`.
#[must_use]
pub fn meta(n: u128, anchor: &str, ts: Timestamp) -> TxnMeta {
    TxnMeta { id: TxnId::from_random(n), anchor: key(anchor), epoch: 0, write_ts: ts, min_ts: ts, priority: 1 }
}

#[must_use]
pub fn within(meta: &TxnMeta) -> Header {
    let read_ts = meta.write_ts;
    Header {
        txn: Some(TxnHeader { meta: meta.clone(), read_ts, uncertainty_limit: read_ts, observed: None }),
        // The keys of these tests need no rows to be locked.
        lock_absent: true,
        ..Header::default()
    }
}

/// Sends a batch to the range of `at`, as soon as it is led.
///
/// # Errors
/// As the replica answers.
///
/// # Panics
/// When the range has no leaseholder for ten seconds.
pub async fn send(member: &Member, at: &str, header: Header, requests: Vec<Request>) -> Result<BatchResponse, KvError> {
    let at = key(at);
    for _ in 0..500 {
        let replicas = member.store.replicas();
        let range = replicas
            .iter()
            .find(|replica| replica.descriptor().is_some_and(|range| range.contains_key(at.as_bytes())));
        if let Some(range) = range {
            let header = Header { range_id: range.range_id(), ..header.clone() };
            match range.send(&BatchRequest { header, requests: requests.clone() }).await {
                Err(KvError::NotLeaseholder { .. } | KvError::RangeMismatch { .. }) => {}
                outcome => return outcome,
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the range of {at} has no leaseholder");
}

/// The first write of its transaction.
#[must_use]
pub fn put(name: &str, value: &str) -> Request {
    put_nth(1, name, value)
}

#[must_use]
pub fn put_nth(seq: u32, name: &str, value: &str) -> Request {
    Request::Put { key: key(name), value: value.as_bytes().to_vec().into(), seq }
}

/// The same of many keys, in one piece.
#[must_use]
pub fn put_many(seq: u32, names: &[&str], value: &str) -> Request {
    let mut keys: Vec<Key> = names.iter().map(|name| key(name)).collect();
    keys.sort();
    let write = |key| WriteRef { key, seq, value: Some(value.as_bytes()) };
    Request::WriteMany { writes: keys.iter().map(|key| write(key.as_bytes())).collect() }
}

/// The end of a transaction whose writes in flight are the first of their keys.
#[must_use]
pub fn end(commit: bool, in_flight: &[&str]) -> Request {
    end_with(commit, in_flight.iter().map(|name| write(name, 1)).collect())
}

#[must_use]
pub fn end_with(commit: bool, in_flight: Vec<SequencedWrite>) -> Request {
    Request::EndTxn { commit, locks: Vec::new(), in_flight, one_phase: false, reads: Vec::new(), present: Vec::new() }
}

#[must_use]
pub fn write(name: &str, seq: u32) -> SequencedWrite {
    SequencedWrite { key: key(name), seq }
}

/// Reads a key in a transaction of its own.
///
/// # Panics
/// When it fails, or takes longer than any wait for a dead transaction.
pub async fn get(member: &Member, name: &str) -> Option<String> {
    let mut txn = member.db.begin(TxnOptions::default());
    let value = tokio::time::timeout(Duration::from_secs(20), txn.get(&key(name), Read::default())).await;
    let value = value.expect("the read does not hang").expect("it succeeds");
    value.map(|value| String::from_utf8(value.to_vec()).expect("tests write text"))
}
