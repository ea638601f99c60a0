//! Rows loaded into private spans: seen by their own transaction at once, by others when it commits, and by nobody when
//! it does not; whatever the ranges do meanwhile.

use std::{sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use keys::{Key, LockStrength, NodeId, Span};
use kv::{Db, DbConfig, Error, Read, ScanOptions, See, Txn, TxnOptions};
use replica::api::{BatchRequest, Header, Request};
use rpc::MemoryConfig;
use tempfile::TempDir;
use testkit::cluster::Cluster;

fn key(name: &str) -> Key {
    [&[0x10], name.as_bytes()].concat().into()
}

fn row(n: usize) -> Key {
    key(&format!("p/{n:06}"))
}

fn private() -> Span {
    Span::new(key("p/"), key("p0"))
}

fn value(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// Buffers are written out above a few rows.
async fn cluster(dir: &TempDir, nodes: usize) -> Cluster {
    let config = DbConfig { spill_bytes: 8 << 10, ..DbConfig::default() };
    Cluster::start(dir.path(), 1, MemoryConfig::default(), &vec![0; nodes], config).await
}

fn begin(db: &Db) -> Txn {
    let mut txn = db.begin(TxnOptions::default());
    txn.put(key("a/name"), value("of the span"));
    txn.add_private(private());
    txn
}

async fn put_rows(txn: &mut Txn, rows: std::ops::Range<usize>, text: &str) -> Result<(), Error> {
    for n in rows {
        txn.put(row(n), value(text));
        txn.flush_if_large().await?;
    }
    Ok(())
}

async fn rows_of(txn: &mut Txn) -> Vec<(Key, String)> {
    let mut found = Vec::new();
    let mut rest = Some(private());
    while let Some(span) = rest {
        let options = ScanOptions { read: Read { see: See::Now, ..Read::default() }, ..ScanOptions::default() };
        let page = txn.scan(&span, options).await.unwrap();
        found.extend(page.rows.iter().map(|(key, value)| (Key::from(key), String::from_utf8(value.to_vec()).unwrap())));
        rest = page.resume;
    }
    found
}

async fn stored(db: &Db) -> Vec<(Key, String)> {
    rows_of(&mut db.begin(TxnOptions::default())).await
}

fn loaded(db: &Db) -> u64 {
    db.metrics().rows_loaded.load(Ordering::Relaxed)
}

async fn becomes_empty(db: &Db) {
    let cleared = async {
        while !stored(db).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), cleared).await.expect("loaded-is-cleared");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_reads_and_changes_what_it_has_loaded() {
    let dir = TempDir::new().unwrap();
    let cluster = cluster(&dir, 1).await;
    let db = &cluster.members[0].db;
    let mut txn = begin(db);
    let read = Read { see: See::Now, lock: Some(LockStrength::Update), ..Read::default() };
    put_rows(&mut txn, 0..1000, "first").await.unwrap();
    assert!(loaded(db) > 0, "nothing was loaded yet");
    assert_eq!(txn.get(&row(3), read).await.unwrap(), Some(value("first")));
    assert_eq!(txn.get(&row(5000), read).await.unwrap(), None);
    // The same keys again, deletions among them: some loaded, the last with the commit.
    put_rows(&mut txn, 100..600, "second").await.unwrap();
    for n in 0..300 {
        txn.delete(row(n));
        txn.flush_if_large().await.unwrap();
    }
    txn.put(row(7), value("third"));
    let keys = [row(7), row(8), row(400), row(700), row(5000)];
    let expected = [Some(value("third")), None, Some(value("second")), Some(value("first")), None];
    assert_eq!(txn.get_many(&keys, read).await.unwrap(), expected);
    let within = rows_of(&mut txn).await;
    assert_eq!(within.len(), 701);
    txn.commit().await.unwrap();
    assert_eq!(stored(db).await, within);
    // Versions as any other: they are written over, and their range is as large as they are.
    let mut txn = db.begin(TxnOptions::default());
    txn.put(row(400), value("later"));
    txn.commit().await.unwrap();
    assert_eq!(db.get(&row(400)).await.unwrap(), Some(value("later")));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_loaded_is_cleared_with_the_attempt() {
    let dir = TempDir::new().unwrap();
    let cluster = cluster(&dir, 1).await;
    attempts_are_cleared(&cluster.members[0].db).await;
    cluster.stop().await;
}

/// A batch that has left its gateway is executed, also when nobody waits for its answer.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_loaded_elsewhere_is_cleared_with_the_attempt() {
    let dir = TempDir::new().unwrap();
    let cluster = cluster(&dir, 3).await;
    let leader = cluster.leader_of(&row(0)).expect("the first range is led");
    let db = &cluster.members[(leader + 1) % 3].db;
    attempts_are_cleared(db).await;
    cluster.stop().await;
}

async fn attempts_are_cleared(db: &Db) {
    let mut txn = begin(db);
    put_rows(&mut txn, 0..2000, "rolled back").await.unwrap();
    assert!(loaded(db) > 0);
    txn.rollback().await;
    becomes_empty(db).await;
    let mut txn = begin(db);
    put_rows(&mut txn, 0..2000, "dropped").await.unwrap();
    drop(txn);
    becomes_empty(db).await;
    // An attempt that starts over keeps its id, and uses another span.
    let mut txn = begin(db);
    put_rows(&mut txn, 0..2000, "of the first attempt").await.unwrap();
    txn.start_over();
    txn.put(key("a/name"), value("of the other span"));
    txn.add_private(Span::new(key("q/"), key("q0")));
    txn.put(key("q/1"), value("of the second"));
    txn.commit().await.unwrap();
    becomes_empty(db).await;
    assert_eq!(db.get(&key("q/1")).await.unwrap(), Some(value("of the second")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_savepoint_keeps_rows_in_the_buffer() {
    let dir = TempDir::new().unwrap();
    let cluster = cluster(&dir, 1).await;
    let db = &cluster.members[0].db;
    let mut txn = begin(db);
    put_rows(&mut txn, 0..1000, "before").await.unwrap();
    assert_eq!(rows_of(&mut txn).await.len(), 1000);
    let at = loaded(db);
    let savepoint = txn.savepoint();
    put_rows(&mut txn, 500..3000, "after").await.unwrap();
    assert_eq!(rows_of(&mut txn).await.len(), 3000);
    txn.rollback_to(&savepoint);
    let rows = rows_of(&mut txn).await;
    assert!(rows.len() == 1000 && rows.iter().all(|(_, value)| value == "before"));
    // At the end nothing can be taken back any more, and what is much is loaded.
    put_rows(&mut txn, 1000..3000, "again").await.unwrap();
    assert_eq!(loaded(db), at);
    txn.commit().await.unwrap();
    assert!(loaded(db) >= at + 2000);
    assert_eq!(stored(db).await.len(), 3000);
    cluster.stop().await;
}

/// Below the threshold of its range a row is not written: what was over it may be gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_goes_on_for_longer_than_versions_are_kept_starts_over() {
    let dir = TempDir::new().unwrap();
    let cluster = cluster(&dir, 1).await;
    let member = &cluster.members[0];
    let db = &member.db;
    let mut txn = begin(db);
    put_rows(&mut txn, 0..1000, "below").await.unwrap();
    for text in ["one", "two"] {
        let mut other = db.begin(TxnOptions::default());
        other.put(key("a/other"), value(text));
        other.commit().await.unwrap();
    }
    let replica = member.store.replicas().remove(0);
    let gc = Request::Gc { span: Span::new(key("a/"), key("a0")), threshold: db.clock().now() };
    let header = Header { range_id: replica.range_id(), ..Header::default() };
    replica.send(&BatchRequest { header, requests: vec![gc] }).await.unwrap();
    let refused = put_rows(&mut txn, 1000..5000, "above").await.unwrap_err();
    assert!(refused.is_retryable(), "{refused}");
    assert_eq!(txn.commit().await.unwrap_err(), refused);
    txn.restart(&refused);
    txn.add_private(Span::new(key("q/"), key("q0")));
    txn.put(key("q/1"), value("of the second"));
    txn.commit().await.unwrap();
    becomes_empty(db).await;
    cluster.stop().await;
}

/// A load sent again, or one that arrives after everything else, changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_load_lies_beneath_what_is_newer() {
    let dir = TempDir::new().unwrap();
    let cluster = cluster(&dir, 1).await;
    let member = &cluster.members[0];
    let ts = member.db.clock().now();
    assert_eq!(member.db.get(&row(1)).await.unwrap(), None);
    let replica = member.store.replicas().remove(0);
    let header = Header { range_id: replica.range_id(), ..Header::default() };
    let rows = vec![(row(1), Some(value("loaded"))), (row(2), Some(value("loaded"))), (row(3), None)];
    let load = BatchRequest { header, requests: vec![Request::Load { ts, rows }] };
    replica.send(&load).await.unwrap();
    let mut txn = member.db.begin(TxnOptions::default());
    txn.put(row(1), value("newer"));
    txn.delete(row(2));
    txn.commit().await.unwrap();
    let before = stored(&member.db).await;
    replica.send(&load).await.unwrap();
    assert_eq!(before, [(row(1), "newer".to_owned())]);
    assert_eq!(stored(&member.db).await, before);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_split_while_rows_are_loaded() {
    let dir = TempDir::new().unwrap();
    let cluster = cluster(&dir, 3).await;
    let (db, other) = (&cluster.members[0].db, &cluster.members[1].db);
    let mut txn = begin(db);
    let load = async {
        for part in 0..10 {
            put_rows(&mut txn, part * 1000..(part + 1) * 1000, "loaded").await.unwrap();
            // Backwards as well: the rows of one flush lie in many ranges.
            put_rows(&mut txn, 20_000 - part * 1000..21_000 - part * 1000, "loaded").await.unwrap();
        }
        txn.commit().await.unwrap();
    };
    let split = async {
        for n in (0..21_000).step_by(700) {
            other.split_at(&row(n * 13 % 21_000)).await.unwrap();
        }
    };
    futures::future::join(load, split).await;
    assert!(cluster.members[0].store.replicas().len() > 10);
    assert_eq!(stored(other).await.len(), 20_000);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leaseholder_dies_while_rows_are_loaded() {
    let dir = TempDir::new().unwrap();
    // Who is dead is not waited for until versions of before are gone.
    let config = DbConfig { spill_bytes: 8 << 10, rpc_timeout: Duration::from_secs(2), ..DbConfig::default() };
    let cluster = Cluster::start(dir.path(), 1, MemoryConfig::default(), &[0; 3], config).await;
    let leader = cluster.leader_of(&row(0)).expect("the first range is led");
    let (gateway, reader) = ((leader + 1) % 3, (leader + 2) % 3);
    let db = &cluster.members[gateway].db;
    let mut txn = begin(db);
    put_rows(&mut txn, 0..3000, "loaded").await.unwrap();
    let rest = put_rows(&mut txn, 3000..6000, "loaded");
    let (rest, ()) = futures::future::join(rest, cluster.kill(leader)).await;
    rest.unwrap();
    assert_eq!(rows_of(&mut txn).await.len(), 6000);
    txn.commit().await.unwrap();
    assert_eq!(stored(&cluster.members[reader].db).await.len(), 6000);
    cluster.stop().await;
}

/// The command of a commit goes on when nobody waits for it any more, and what it names must be there.
#[tokio::test(flavor = "multi_thread")]
async fn rows_stay_when_a_commit_is_given_up_half_way() {
    let dir = TempDir::new().unwrap();
    let cluster = cluster(&dir, 3).await;
    let leader = cluster.leader_of(&row(0)).expect("the first range is led");
    let db = &cluster.members[(leader + 1) % 3].db;
    let mut txn = begin(db);
    put_rows(&mut txn, 0..1000, "loaded").await.unwrap();
    // All that was under way has arrived.
    assert_eq!(rows_of(&mut txn).await.len(), 1000);
    let sent = || db.metrics().batches_remote.load(Ordering::Relaxed);
    let before = sent();
    let mut commit = Box::pin(txn.commit());
    while sent() == before {
        assert!(futures::poll!(&mut commit).is_pending());
    }
    drop(commit);
    drop(txn);
    let seen = async { while db.get(&key("a/name")).await.unwrap().is_none() {} };
    tokio::time::timeout(Duration::from_secs(20), seen).await.expect("it commits all the same");
    // What would have been sent to clear them has come before these.
    for n in 0..10 {
        let mut other = db.begin(TxnOptions::default());
        other.put(key("a/other"), value(&n.to_string()));
        other.commit().await.unwrap();
    }
    assert_eq!(stored(db).await.len(), 1000);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_stay_when_nobody_knows_whether_their_commit_came_through() {
    let dir = TempDir::new().unwrap();
    let limit = Duration::from_millis(500);
    let config = DbConfig { spill_bytes: 8 << 10, wait_timeout: limit, ..DbConfig::default() };
    let cluster = Cluster::start(dir.path(), 1, MemoryConfig::default(), &[0; 3], config).await;
    let leader = cluster.leader_of(&row(0)).expect("the first range is led");
    let gateway = (leader + 1) % 3;
    let mut txn = begin(&cluster.members[gateway].db);
    put_rows(&mut txn, 0..1000, "loaded").await.unwrap();
    assert_eq!(rows_of(&mut txn).await.len(), 1000);
    let [from, to] = [leader, gateway].map(|place| NodeId::new(place as u64 + 1));
    cluster.network.partition(from, to);
    let refused = txn.commit().await.unwrap_err();
    assert!(matches!(refused, Error::Ambiguous { .. }), "{refused}");
    drop(txn);
    cluster.network.heal_all();
    let db = &cluster.members[leader].db;
    assert_eq!(db.get(&key("a/name")).await.unwrap(), Some(value("of the span")));
    assert_eq!(stored(db).await.len(), 1000);
    cluster.stop().await;
}

/// What a load depends on stays as it is until the load has ended, however small the change that somebody else has.
#[tokio::test(flavor = "multi_thread")]
async fn a_small_change_waits_for_the_end_of_a_load() {
    let dir = TempDir::new().unwrap();
    let cluster = cluster(&dir, 1).await;
    let db = &cluster.members[0].db;
    let version = key("a/version");
    let mut txn = begin(db);
    txn.check_value(version.clone(), None);
    txn.put(version.clone(), value("loaded"));
    put_rows(&mut txn, 0..1000, "loaded").await.unwrap();
    assert!(loaded(db) > 0, "nothing was loaded yet");
    let mut other = db.begin(TxnOptions::default());
    other.put(version.clone(), value("changed"));
    let mut change = Box::pin(other.commit());
    let before = db.metrics().batches_local.load(Ordering::Relaxed);
    while db.metrics().batches_local.load(Ordering::Relaxed) == before {
        assert!(futures::poll!(&mut change).is_pending());
    }
    let load = async {
        put_rows(&mut txn, 1000..3000, "loaded").await.unwrap();
        // Nobody else stands in the way of those who only read it.
        assert_eq!(db.get(&version).await.unwrap(), None);
        txn.commit().await
    };
    let (loaded, changed) = futures::future::join(load, &mut change).await;
    assert!(loaded.unwrap() < changed.unwrap());
    assert_eq!(stored(db).await.len(), 3000);
    cluster.stop().await;
}
