//! What was written between two times, read over ranges that split, while others write; and the rows of notifications.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use hlc::Timestamp;
use keys::{Key, Span, TxnId, TxnMeta, keyspace};
use kv::{Db, DbConfig, Error, Read, ScanOptions, Txn, TxnOptions};
use replica::api::{BatchRequest, Header, KvError, Request, RetryReason, TxnHeader};
use rpc::MemoryConfig;
use tempfile::TempDir;
use testkit::cluster::Cluster;

fn key(name: &str) -> Key {
    [&[0x10], name.as_bytes()].concat().into()
}

/// Where a version lies; a tombstone has no value.
type Version = (Timestamp, Key);
type Seen = BTreeMap<Version, Option<Bytes>>;

async fn read(db: &Db, span: &Span, after: Timestamp, up_to: Timestamp, max_bytes: u64, seen: &mut Seen) {
    let mut left = Some(span.clone());
    while let Some(span) = left {
        let page = db.changes(&span, after, up_to, max_bytes).await.unwrap();
        for (row, version) in page.versions.iter().enumerate() {
            assert!(after < version.ts && version.ts <= up_to);
            let value = (!version.is_tombstone).then(|| page.rows.value_bytes(row));
            let before = seen.insert((version.ts, Key::from(page.rows.key_bytes(row))), value);
            assert_eq!(before, None, "each-once");
        }
        left = page.resume;
    }
}

async fn write(txn: &mut Txn, n: u64, names: [u64; 2], value: Option<&Bytes>) -> Result<Timestamp, Error> {
    if n % 3 == 0 {
        txn.get(&key(&format!("t{:02}", n % 20)), Read::default()).await?;
    }
    for name in names {
        let key = key(&format!("t{name:02}"));
        match value {
            Some(value) => txn.put(key, value.clone()),
            None => txn.delete(key),
        }
    }
    txn.commit().await
}

/// *each-once*
#[tokio::test(flavor = "multi_thread")]
async fn each_once_whatever_commits_meanwhile() {
    let dir = TempDir::new().unwrap();
    let cluster = Cluster::start(dir.path(), 7, MemoryConfig::default(), &[0, 100, -100], DbConfig::default()).await;
    let begin = cluster.members[0].db.clock().now();
    let span = Span::new(key("t"), key("u"));
    let is_over = Arc::new(AtomicBool::new(false));
    let writers = (0..3_u64).map(|writer| {
        let db = cluster.members[writer as usize].db.clone();
        async move {
            let mut written = Seen::new();
            for n in 0..60_u64 {
                let names = [(writer * 7 + n * 3) % 20, (writer + n * 11) % 20];
                let value = (n % 5 != 0).then(|| Bytes::from(format!("{writer} {n}")));
                loop {
                    let mut txn = db.begin(TxnOptions::default());
                    match write(&mut txn, n, names, value.as_ref()).await {
                        Ok(ts) => {
                            for name in names {
                                written.insert((ts, key(&format!("t{name:02}"))), value.clone());
                            }
                            break;
                        }
                        Err(error) => assert!(error.is_retryable() || matches!(error, Error::Deadlock { .. }), "{error}"),
                    }
                }
            }
            written
        }
    });
    let writing = futures::future::join_all(writers);
    let over = is_over.clone();
    let db = cluster.members[1].db.clone();
    let (all, clock) = (span.clone(), db.clone());
    let reader = tokio::spawn(async move {
        let (mut seen, mut at) = (Seen::new(), begin);
        loop {
            let last = over.load(Ordering::Acquire);
            let up_to = db.clock().now();
            read(&db, &all, at, up_to, 200, &mut seen).await;
            at = up_to;
            if last {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    });
    let splitting = async {
        for at in ["t05", "t10", "t15"] {
            tokio::time::sleep(Duration::from_millis(50)).await;
            cluster.members[0].db.split_at(&key(at)).await.unwrap();
        }
    };
    let (written, ()) = futures::join!(writing, splitting);
    let written: Seen = written.into_iter().flatten().collect();
    // The reader's clock is behind some of the others.
    let last = written.keys().map(|(ts, _)| *ts).max().unwrap();
    while clock.clock().now() <= last {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    is_over.store(true, Ordering::Release);
    let seen = reader.await.unwrap();
    assert_eq!(seen.len(), written.len());
    assert_eq!(seen, written);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn notifications_are_refused_under_a_key_of_long_ago() {
    let dir = TempDir::new().unwrap();
    let cluster = Cluster::start(dir.path(), 3, MemoryConfig::default(), &[0, 0, 0], DbConfig::default()).await;
    let span = keyspace::notifications(5);
    let leader = cluster.leader_of(&span.start).unwrap();
    let db = &cluster.members[leader].db;
    let now = db.clock().now();
    // As a command by itself.
    let put = |time_ns, value: Option<&'static str>, n: u128| {
        let id = TxnId::from_random(n);
        let key = keyspace::notification(5, time_ns, id, 0);
        let meta = TxnMeta { id, anchor: key.clone(), epoch: 0, write_ts: now, min_ts: now, priority: 1 };
        let header = Header {
            txn: Some(TxnHeader { meta, read_ts: now, uncertainty_limit: now, observed: None }),
            ..Header::default()
        };
        let request = match value {
            Some(value) => Request::Put { key, value: Bytes::from_static(value.as_bytes()), seq: 1 },
            None => Request::Delete { key, seq: 1 },
        };
        let end = Request::EndTxn {
            commit: true,
            locks: Vec::new(),
            in_flight: Vec::new(),
            one_phase: true,
            reads: Vec::new(),
            present: Vec::new(),
        };
        (header, vec![request, end])
    };
    let send = async |(header, requests): (Header, Vec<Request>)| {
        let replicas = cluster.members[leader].store.replicas();
        let range = replicas.iter().find(|it| {
            it.descriptor().is_some_and(|range| range.contains_key(span.start.as_bytes()))
        });
        let range = range.unwrap();
        let header = Header { range_id: range.range_id(), can_forward: true, ..header };
        range.send(&BatchRequest { header, requests }).await
    };
    let old = now.wall_ns() - 3 * keyspace::NOTIFICATION_FRESH_NS;
    let refused = send(put(old, Some("x"), 1)).await;
    assert!(matches!(refused, Err(KvError::Retry { reason: RetryReason::KeyTooOld, .. })), "{refused:?}");
    send(put(old, None, 2)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let written = send(put(now.wall_ns(), Some("y"), 3)).await.unwrap();
    let at = written.txn.unwrap().write_ts;
    assert!(at.wall_ns() >= now.wall_ns() + 20_000_000, "notified-in-order: by the leaseholder's clock");

    let page = db.begin(TxnOptions::default()).scan(&span, ScanOptions::default()).await.unwrap();
    let mut values: Vec<String> =
        page.rows.iter().map(|(_, value)| String::from_utf8(value.to_vec()).unwrap()).collect();
    values.sort();
    assert_eq!(values, ["y"]);
    cluster.stop().await;
}
