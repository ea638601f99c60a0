//! Clocks that are set back, run away and lie: what was acknowledged stays visible, what was read stays true, and the node
//! that is wrong about the time stops.

use std::time::Duration;

use hlc::Timestamp;
use keys::{Key, RangeId, SequencedWrite, TxnId, TxnMeta};
use kv::{DbConfig, Error, Read, TxnOptions};
use replica::api::{BatchRequest, Header, KvError, Request, TxnHeader};
use rpc::MemoryConfig;
use tempfile::TempDir;
use testkit::cluster::{Cluster, Member};

fn key(name: &str) -> Key {
    [&[0x10], name.as_bytes()].concat().into()
}

async fn cluster(dir: &TempDir, offsets_ms: &[i64]) -> Cluster {
    let config = DbConfig { rpc_timeout: Duration::from_secs(2), ..DbConfig::default() };
    Cluster::start(dir.path(), 1, MemoryConfig::default(), offsets_ms, config).await
}

async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work)
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"))
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    within(what, async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

async fn write(member: &Member, name: &str, value: &str) -> Timestamp {
    let put = async {
        loop {
            let mut txn = member.db.begin(TxnOptions::default());
            txn.put(key(name), value.as_bytes().to_vec().into());
            match txn.commit().await {
                Ok(at) => return at,
                // The same again is the same.
                Err(Error::Retry { .. } | Error::Ambiguous { .. } | Error::Unavailable { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
    };
    within("a write", put).await
}

/// The value, and when it was read.
async fn read(member: &Member, name: &str) -> (Option<String>, Timestamp) {
    let get = async {
        loop {
            let mut txn = member.db.begin(TxnOptions::default());
            match txn.get(&key(name), Read::default()).await {
                Ok(value) => {
                    let value = value.map(|value| String::from_utf8(value.to_vec()).unwrap());
                    return (value, txn.read_ts());
                }
                Err(Error::Retry { .. } | Error::Unavailable { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
    };
    within("a read", get).await
}

/// *clock-durable*: it was invisible until the clock had caught up, and what was read could be written over.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_seen_when_a_node_starts_again_with_its_clock_set_back() {
    let dir = TempDir::new().unwrap();
    let mut cluster = cluster(&dir, &[0]).await;
    let written = write(&cluster.members[0], "k", "acknowledged").await;
    let (nothing, read_at) = read(&cluster.members[0], "other").await;
    assert_eq!(nothing, None);
    cluster.step_clock(0, -2_000);
    within("the restart", cluster.restart(0)).await;
    let (value, at) = read(&cluster.members[0], "k").await;
    assert_eq!(value.as_deref(), Some("acknowledged"), "written at {written}, read at {at}");
    assert!(at > written && at > read_at);
    assert!(write(&cluster.members[0], "other", "later").await > read_at, "under a read that was served");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_while_its_node_runs_changes_nothing() {
    let dir = TempDir::new().unwrap();
    let cluster = cluster(&dir, &[0]).await;
    let written = write(&cluster.members[0], "k", "before").await;
    cluster.step_clock(0, -3_600_000);
    let (value, at) = read(&cluster.members[0], "k").await;
    assert_eq!(value.as_deref(), Some("before"));
    assert!(at > written);
    assert!(write(&cluster.members[0], "k", "after").await > at);
    cluster.stop().await;
}

/// The reads of a leaseholder whose clock is ahead lie below what its successor writes, whose clock is behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_lease_begins_above_the_reads_of_the_one_before() {
    let dir = TempDir::new().unwrap();
    let cluster = cluster(&dir, &[240, -240, -240]).await;
    until("the first leads", || cluster.leader_of(&key("k")) == Some(0)).await;
    let (nothing, read_at) = read(&cluster.members[0], "k").await;
    assert_eq!(nothing, None);
    cluster.kill(0).await;
    assert!(write(&cluster.members[1], "k", "later").await > read_at, "under a read that was served");
    cluster.stop().await;
}

/// *astray-stops*, whichever way it goes wrong; the others serve on.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_clock_is_wrong_stops() {
    for step_ms in [2_000, -2_000] {
        let dir = TempDir::new().unwrap();
        let cluster = cluster(&dir, &[0, 0, 0]).await;
        write(&cluster.members[0], "k", "before").await;
        cluster.step_clock(2, step_ms);
        until("it stops", || cluster.members[2].has_stopped()).await;
        assert!(!cluster.members[0].has_stopped() && !cluster.members[1].has_stopped());
        assert_eq!(read(&cluster.members[0], "k").await.0.as_deref(), Some("before"));
        write(&cluster.members[1], "k", "after").await;
        cluster.stop().await;
    }
}

/// It came back from far ahead, and with it whatever it was taken for: the clock, the timestamp cache, intents.
#[tokio::test(flavor = "multi_thread")]
async fn times_that_no_clock_can_show_are_refused() {
    let dir = TempDir::new().unwrap();
    let cluster = cluster(&dir, &[0]).await;
    let member = &cluster.members[0];
    write(member, "k", "1").await;
    let now = member.db.clock().now();
    let ahead = now.add_ns(60_000_000_000);
    let meta = |write_ts| TxnMeta {
        id: TxnId::from_random(7),
        anchor: key("k"),
        epoch: 0,
        write_ts,
        min_ts: now,
        priority: 1,
    };
    let txn = |read_ts, write_ts, uncertainty_limit| Header {
        txn: Some(TxnHeader { meta: meta(write_ts), read_ts, uncertainty_limit, observed: None }),
        ..Header::default()
    };
    let get = || Request::Get { key: key("k"), lock: None };
    let put = || Request::Put { key: key("k"), value: "2".into(), seq: 1 };
    let query = Request::QueryIntent { write: SequencedWrite { key: key("k"), seq: 1 }, txn: Box::new(meta(now)), at: ahead };
    let bad = [
        (Header { ts: ahead, ..Header::default() }, get()),
        (txn(ahead, ahead, ahead), get()),
        (txn(now, ahead, now), put()),
        (txn(now, now, ahead), get()),
        (Header::default(), query),
        (Header::default(), Request::ClearRange { span: keys::Span::point(key("x")), at: ahead }),
        (Header::default(), Request::Gc { span: keys::Span::point(key("x")), threshold: ahead }),
    ];
    let range = member.store.replica(RangeId::new(1)).expect("the first range");
    for (header, request) in bad {
        let header = Header { range_id: range.range_id(), ..header };
        let refused = range.send(&BatchRequest { header, requests: vec![request.clone()] }).await;
        assert!(matches!(refused, Err(KvError::Invalid { .. })), "{request:?}: {refused:?}");
    }
    assert!(member.db.clock().now() < now.add_ns(30_000_000_000));
    cluster.stop().await;
}
