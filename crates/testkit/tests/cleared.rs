//! Spans that are cleared while somebody reads or writes there.

use std::time::Duration;

use bytes::Bytes;
use hlc::Timestamp;
use keys::{Key, LockStrength, SequencedWrite, Span, TxnId, TxnMeta};
use kv::{DbConfig, Error, Read, ScanOptions, Txn, TxnOptions};
use replica::api::{BatchRequest, BatchResponse, Header, KvError, Request, RetryReason, TxnHeader};
use rpc::MemoryConfig;
use tempfile::TempDir;
use testkit::cluster::{Cluster, Member};

fn key(name: &str) -> Key {
    [&[0x10], name.as_bytes()].concat().into()
}

fn written(name: &str) -> SequencedWrite {
    SequencedWrite { key: key(name), seq: 1 }
}

fn table() -> Span {
    Span::new(key("t"), key("u"))
}

async fn cluster(dir: &TempDir, offsets_ms: &[i64]) -> Cluster {
    Cluster::start(dir.path(), 1, MemoryConfig::default(), offsets_ms, DbConfig::default()).await
}

/// Sends a batch to the range of `at`, as soon as it is led.
async fn send(member: &Member, at: &str, header: Header, request: Request) -> Result<BatchResponse, KvError> {
    let at = key(at);
    for _ in 0..500 {
        let replicas = member.store.replicas();
        let holds = |range: &keys::RangeDescriptor| range.contains_key(at.as_bytes());
        if let Some(range) = replicas.iter().find(|it| it.descriptor().is_some_and(|range| holds(&range))) {
            let header = Header { range_id: range.range_id(), ..header.clone() };
            match range.send(&BatchRequest { header, requests: vec![request.clone()] }).await {
                Err(KvError::NotLeaseholder { .. }) => {}
                outcome => return outcome,
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("nobody leads the range of {at}");
}

async fn fill(member: &Member) {
    let mut txn = member.db.begin(TxnOptions::default());
    for row in 10..30 {
        txn.put(key(&format!("t{row}")), Bytes::from_static(b"row"));
    }
    txn.put(key("k"), Bytes::from_static(b"beside"));
    txn.commit().await.unwrap();
}

/// Never fewer rows: the statement fails.
async fn assert_refused(txn: &mut Txn) {
    let few = ScanOptions { max_rows: 3, ..ScanOptions::default() };
    let page = txn.scan(&table(), few).await;
    assert!(matches!(page, Err(Error::SnapshotTooOld { .. })), "{page:?}");
    for row in ["t12", "t28"] {
        let value = txn.get(&key(row), Read::default()).await;
        assert!(matches!(value, Err(Error::SnapshotTooOld { .. })), "{row}: {value:?}");
    }
}

/// *cleared-is-refused*
#[tokio::test(flavor = "multi_thread")]
async fn cleared_is_refused_across_a_split_and_after_a_restart() {
    let dir = TempDir::new().unwrap();
    let mut cluster = cluster(&dir, &[0]).await;
    let member = &cluster.members[0];
    fill(member).await;
    let as_of = member.db.clock().now();
    let past = |member: &Member| member.db.begin(TxnOptions { as_of: Some(as_of), ..TxnOptions::default() });
    // One that has read a page, one that has read something else, one that wants to lock.
    let few = ScanOptions { max_rows: 3, ..ScanOptions::default() };
    let (mut scanner, mut late, mut locker) = (
        member.db.begin(TxnOptions::default()),
        member.db.begin(TxnOptions::default()),
        member.db.begin(TxnOptions::default()),
    );
    let rest = scanner.scan(&table(), few).await.unwrap().resume.unwrap();
    late.get(&key("k"), Read::default()).await.unwrap();
    let mut dump = past(member);
    let left = dump.scan(&table(), few).await.unwrap().resume.unwrap();

    let at = member.db.clock().now();
    member.db.clear_span(&table(), at).await.unwrap();
    let page = scanner.scan(&rest, few).await;
    assert!(matches!(page, Err(Error::Retry { .. })), "what it has read of it is gone: {page:?}");
    let page = dump.scan(&left, few).await;
    assert!(matches!(page, Err(Error::SnapshotTooOld { threshold }) if threshold >= at), "{page:?}");
    assert_refused(&mut past(member)).await;
    // Who has read nothing of it goes on as of after the clear.
    assert!(late.scan(&table(), few).await.unwrap().rows.is_empty());
    assert!(late.read_ts() > at);
    let lock = Read { lock: Some(LockStrength::Update), ..Read::default() };
    assert_eq!(locker.get(&key("t12"), lock).await.unwrap(), None);
    assert!(locker.read_ts() > at);
    locker.rollback().await;

    // What comes late does not bring anything back, also where nobody has read since.
    member.db.clear_span(&Span::new(key("v"), key("w")), at).await.unwrap();
    let meta = TxnMeta {
        id: TxnId::from_random(9),
        anchor: key("v1"),
        epoch: 0,
        write_ts: as_of,
        min_ts: as_of,
        priority: 1,
    };
    let header = Header {
        txn: Some(TxnHeader { meta, read_ts: as_of, uncertainty_limit: as_of, observed: None }),
        ..Header::default()
    };
    let put = Request::Put { key: key("v1"), value: Bytes::from_static(b"late"), seq: 1 };
    assert!(send(member, "v1", header, put).await.unwrap().txn.unwrap().write_ts > at);
    let load = Request::Load { ts: as_of, rows: vec![(key("t13"), Some(Bytes::from_static(b"late")))] };
    let refused = send(member, "t13", Header::default(), load).await;
    assert!(
        matches!(refused, Err(KvError::Retry { reason: RetryReason::ReadChanged, to }) if to > at),
        "{refused:?}"
    );

    member.db.split_at(&key("t20")).await.unwrap();
    assert_refused(&mut past(member)).await;
    let mut halves = past(member);
    let right = halves.scan(&Span::new(key("t20"), key("u")), few).await;
    assert!(matches!(right, Err(Error::SnapshotTooOld { .. })), "{right:?}");
    drop((scanner, late, locker, dump, halves));

    cluster.restart(0).await;
    let member = &cluster.members[0];
    assert_refused(&mut past(member)).await;
    let mut now = member.db.begin(TxnOptions::default());
    assert!(now.get(&key("k"), Read::default()).await.unwrap().is_some());
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cleared_is_refused_by_whoever_leads_next() {
    let dir = TempDir::new().unwrap();
    let cluster = cluster(&dir, &[0, 0, 0]).await;
    let leader = cluster.leader_of(&key("t")).unwrap_or(0);
    let member = &cluster.members[leader];
    fill(member).await;
    let as_of = member.db.clock().now();
    member.db.clear_span(&table(), member.db.clock().now()).await.unwrap();
    let next = (leader + 1) % 3;
    let moved = async {
        while cluster.leader_of(&key("t")) != Some(next) {
            cluster.transfer_lease(leader, &key("t"), next).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), moved).await.expect("the lease moves");
    let mut past = cluster.members[next].db.begin(TxnOptions { as_of: Some(as_of), ..TxnOptions::default() });
    assert_refused(&mut past).await;
    cluster.stop().await;
}

/// Its writes are all there, so it is committed, and its client may know. Were one of them cleared away, whoever looks
/// for it after its coordinator is gone would abort the rest.
#[tokio::test(flavor = "multi_thread")]
async fn a_clear_takes_no_write_of_a_staged_commit() {
    let dir = TempDir::new().unwrap();
    let cluster = cluster(&dir, &[0]).await;
    let member = &cluster.members[0];
    member.db.split_at(&key("m")).await.unwrap();
    // The new range has its first lease now, and nothing begins before that.
    let mut first = member.db.begin(TxnOptions::default());
    assert_eq!(first.get(&key("t10"), Read::default()).await.unwrap(), None);
    let ts: Timestamp = member.db.clock().now();
    let meta = TxnMeta {
        id: TxnId::from_random(3),
        anchor: key("a"),
        epoch: 0,
        write_ts: ts,
        min_ts: ts,
        priority: 1,
    };
    let header = Header {
        txn: Some(TxnHeader { meta, read_ts: ts, uncertainty_limit: ts, observed: None }),
        ..Header::default()
    };
    let staged = |member| {
        let header = header.clone();
        async move {
            let put = |name| Request::Put { key: key(name), value: Bytes::from_static(b"committed"), seq: 1 };
            send(member, "t10", header.clone(), put("t10")).await.unwrap();
            send(member, "a", header.clone(), put("a")).await.unwrap();
            let (locks, in_flight) =
                (vec![Span::point(key("a")), Span::point(key("t10"))], vec![written("a"), written("t10")]);
            let (reads, present) = (Vec::new(), Vec::new());
            let end = Request::EndTxn { commit: true, locks, in_flight, one_phase: false, reads, present };
            send(member, "a", header, end).await.unwrap();
        }
    };
    staged(member).await;
    let span = table();
    let clear = member.db.clear_span(&span, member.db.clock().now());
    tokio::time::timeout(Duration::from_secs(30), clear).await.expect("its coordinator is given up").unwrap();
    let mut txn = member.db.begin(TxnOptions::default());
    assert_eq!(txn.get(&key("a"), Read::default()).await.unwrap().as_deref(), Some(&b"committed"[..]));
    assert_eq!(txn.get(&key("t10"), Read::default()).await.unwrap(), None);
    cluster.stop().await;
}
