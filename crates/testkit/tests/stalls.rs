//! A node that is stopped, cut off one way or both, or whose disk hangs holds up nobody but its own clients: those at
//! other nodes go on within seconds, and what they were told stays true.
//!
//! Bounds are far above what such a change takes and below what a client waited that had to sit it out.

use std::time::Duration;

use keys::{Key, LockStrength, Span, TxnId, TxnMeta, TxnStatus};
use kv::{Db, DbConfig, Error, Read, TxnOptions};
use replica::api::{BatchRequest, Header, Request, TxnHeader};
use rpc::MemoryConfig;
use tempfile::TempDir;
use testkit::cluster::{Cluster, Fault, Member};

/// A client that waited for the fault to end would never come back: the faults of these tests end when they do.
const BOUND: Duration = Duration::from_secs(20);

fn key(name: &str) -> Key {
    [&[0x10], name.as_bytes()].concat().into()
}

fn wires() -> MemoryConfig {
    MemoryConfig { silence: Some(Duration::from_secs(2)), ..MemoryConfig::default() }
}

async fn three(dir: &TempDir) -> Cluster {
    Cluster::start(dir.path(), 1, wires(), &[0; 3], DbConfig::default()).await
}

fn leader(cluster: &Cluster) -> usize {
    cluster.leader_of(&key("k")).expect("the range is led")
}

/// Reads under a lock and writes, in one transaction.
async fn write(db: &Db, n: u32) -> Result<(), Error> {
    db.run(|txn| {
        Box::pin(async move {
            let locked = Read { lock: Some(LockStrength::Update), ..Read::default() };
            txn.get(&key("counter"), locked).await?;
            txn.put(key("counter"), n.to_be_bytes().to_vec().into());
            txn.put(key(&format!("row/{n}")), "here".into());
            Ok::<(), Error>(())
        })
    })
    .await
}

async fn is_there(member: &Member, n: u32) -> bool {
    let mut txn = member.db.begin(TxnOptions::default());
    let found = tokio::time::timeout(BOUND, txn.get(&key(&format!("row/{n}")), Read::default())).await;
    found.expect("a read is answered").expect("a read succeeds").is_some()
}

/// Writes at another node until one that began after the fault is acknowledged; then ends the fault and looks whether
/// everything acknowledged is there.
async fn others_go_on(fault: Fault) {
    let dir = TempDir::new().unwrap();
    let cluster = three(&dir).await;
    let struck = leader(&cluster);
    let gateway = &cluster.members[(struck + 1) % 3];
    let mut acknowledged = vec![0];
    tokio::time::timeout(BOUND, write(&gateway.db, 0)).await.expect("bounded").expect("all is well so far");

    // One is under way when it strikes, most likely; the next begins after.
    let under_way = tokio::spawn({
        let db = gateway.db.clone();
        async move { write(&db, 1).await }
    });
    cluster.inflict(struck, fault).await;
    let outcome =
        tokio::time::timeout(BOUND, under_way).await.unwrap_or_else(|_| panic!("{fault:?}: it hangs"));
    match outcome.expect("it does not panic") {
        Ok(()) => acknowledged.push(1),
        Err(Error::Ambiguous { .. }) => {}
        Err(error) => panic!("{fault:?}: {error}"),
    }
    let next = async {
        for n in 2.. {
            match write(&gateway.db, n).await {
                Ok(()) => return n,
                Err(Error::Ambiguous { .. }) => {}
                Err(error) => panic!("{fault:?}: {error}"),
            }
        }
        unreachable!("the loop ends by returning")
    };
    let n = tokio::time::timeout(BOUND, next).await;
    acknowledged.push(n.unwrap_or_else(|_| panic!("{fault:?}: clients elsewhere wait for it to end")));
    // Two of three make a quorum without the leaseholder's disk: then clients go on before it has stepped aside.
    let moved = async {
        while cluster.leader_of(&key("k")).is_none_or(|leader| leader == struck) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(BOUND, moved).await.unwrap_or_else(|_| panic!("{fault:?}: somebody else leads"));

    cluster.recover(struck, fault);
    for (place, member) in cluster.members.iter().enumerate() {
        if fault == Fault::Killed && place == struck {
            continue;
        }
        for n in &acknowledged {
            assert!(is_there(member, *n).await, "{fault:?}: row {n} was acknowledged");
        }
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leaseholder_holds_up_nobody_else() {
    others_go_on(Fault::Killed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_leaseholder_holds_up_nobody_else() {
    others_go_on(Fault::Stopped).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaseholder_that_is_not_heard_holds_up_nobody_else() {
    others_go_on(Fault::Mute).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaseholder_that_hears_nobody_holds_up_nobody_else() {
    others_go_on(Fault::Deaf).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaseholder_that_is_cut_off_holds_up_nobody_else() {
    others_go_on(Fault::CutOff).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaseholder_whose_disk_hangs_holds_up_nobody_else() {
    others_go_on(Fault::DiskHangs).await;
}

/// The answer to a commit is lost and its leaseholder with it: the next one has applied it, and says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_was_lost_is_found_by_the_next_leaseholder() {
    let dir = TempDir::new().unwrap();
    let cluster = three(&dir).await;
    let struck = leader(&cluster);
    let at = (struck + 1) % 3;
    let gateway = &cluster.members[at];
    write(&gateway.db, 0).await.expect("all is well so far");
    cluster.network.partition(Cluster::node(struck), Cluster::node(at));
    let mut txn = gateway.db.begin(TxnOptions::default());
    txn.put(key("row/1"), "here".into());
    let commit = tokio::spawn(async move { txn.commit().await });
    let applied = async {
        while !is_there(&cluster.members[struck], 1).await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(BOUND, applied).await.expect("the request arrives and is executed");
    cluster.inflict(struck, Fault::CutOff).await;
    let outcome = tokio::time::timeout(BOUND, commit).await.expect("bounded").expect("it does not panic");
    assert!(outcome.is_ok(), "{outcome:?}");
    assert!(is_there(gateway, 1).await);
    cluster.recover(struck, Fault::CutOff);
    cluster.stop().await;
}

/// A leaseholder that nobody hears takes a commit and cannot have it agreed on: the next one says that it never will be.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_came_to_nothing_is_refused_for_good_by_the_next_leaseholder() {
    let dir = TempDir::new().unwrap();
    let cluster = three(&dir).await;
    let struck = leader(&cluster);
    let gateway = &cluster.members[(struck + 1) % 3];
    write(&gateway.db, 0).await.expect("all is well so far");
    cluster.inflict(struck, Fault::Mute).await;
    let mut txn = gateway.db.begin(TxnOptions::default());
    txn.put(key("row/1"), "here".into());
    let outcome = tokio::time::timeout(BOUND, txn.commit()).await.expect("bounded");
    assert!(matches!(outcome, Err(Error::Retry { .. })), "{outcome:?}");
    cluster.recover(struck, Fault::Mute);
    for member in &cluster.members {
        assert!(!is_there(member, 1).await);
    }
    cluster.stop().await;
}

/// They would otherwise wait for as long as a range may be without a leader.
#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_node_that_is_cut_off_are_told_so() {
    let dir = TempDir::new().unwrap();
    let config = DbConfig { cut_off_after: Duration::from_secs(2), ..DbConfig::default() };
    let cluster = Cluster::start(dir.path(), 1, wires(), &[0; 3], config).await;
    let struck = leader(&cluster);
    cluster.inflict(struck, Fault::CutOff).await;
    let told = async {
        loop {
            match write(&cluster.members[struck].db, 1).await {
                Err(Error::Ambiguous { .. }) => {}
                other => return other,
            }
        }
    };
    let told = tokio::time::timeout(BOUND, told).await.expect("bounded");
    assert!(
        matches!(&told, Err(Error::Unavailable { reason }) if reason.contains("can be reached")),
        "{told:?}"
    );
    cluster.recover(struck, Fault::CutOff);
    cluster.stop().await;
}

/// A write went to whichever replica came first in the descriptor, and to a node that does not answer it was ambiguous.
#[tokio::test(flavor = "multi_thread")]
async fn asked_first() {
    let dir = TempDir::new().unwrap();
    let second = Duration::from_secs(1);
    let config = DbConfig { rpc_timeout: second, wait_timeout: second, ..DbConfig::default() };
    let cluster = Cluster::start(dir.path(), 1, MemoryConfig::default(), &[0; 4], config).await;
    let replica = cluster.members[leader(&cluster)].store.replicas().remove(0);
    let descriptor = replica.descriptor().expect("it has state");
    let place = |store: keys::StoreId| usize::try_from(store.get()).unwrap() - 1;
    let first = place(descriptor.replicas[0].store_id);
    let outside = (0..4)
        .find(|at| descriptor.replicas.iter().all(|replica| place(replica.store_id) != *at))
        .expect("three of four have a replica");
    if leader(&cluster) == first {
        let next = place(descriptor.replicas[1].store_id);
        assert!(cluster.transfer_lease(first, &key("k"), next).await, "the lease moves");
    }
    // It leads nothing, and does not answer.
    cluster.network.stall(Cluster::node(outside), Cluster::node(first));
    let mut txn = cluster.members[outside].db.begin(TxnOptions::default());
    txn.put(key("k"), "written".into());
    let committed = tokio::time::timeout(BOUND, txn.commit()).await.expect("bounded");
    assert!(committed.is_ok(), "asked-first: {committed:?}");
    cluster.network.heal_all();
    cluster.stop().await;
}

/// A waiter asked about whoever was in its way, and saw that the way was free when it had the answer: up to twelve
/// seconds later.
#[tokio::test(flavor = "multi_thread")]
async fn turn_seen_at_once() {
    let dir = TempDir::new().unwrap();
    let cluster = Cluster::start(dir.path(), 1, MemoryConfig::default(), &[0; 3], DbConfig::default()).await;
    let here = leader(&cluster);
    let elsewhere = (here + 1) % 3;
    let member = &cluster.members[here];
    member.db.split_at(&key("m")).await.unwrap();
    let moved = async {
        while cluster.leader_of(&key("z")) != Some(elsewhere) {
            cluster.transfer_lease(here, &key("z"), elsewhere).await;
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(BOUND, moved).await.expect("the right half is led elsewhere");

    let meta = |n: u128, anchor: &str| {
        let ts = member.db.clock().now();
        TxnMeta {
            id: TxnId::from_random(n),
            anchor: key(anchor),
            epoch: 0,
            write_ts: ts,
            min_ts: ts,
            priority: 1,
        }
    };
    let replicas = member.store.replicas();
    let left = replicas
        .iter()
        .find(|replica| replica.descriptor().is_some_and(|range| range.contains_key(key("k").as_bytes())))
        .expect("the left half is here");
    let send = |txn: Option<TxnMeta>, request: Request| {
        let txn = txn.map(|meta| {
            let read_ts = meta.write_ts;
            TxnHeader { meta, read_ts, uncertainty_limit: read_ts, observed: None }
        });
        let header = Header { range_id: left.range_id(), txn, ..Header::default() };
        let left = left.clone();
        async move { left.send(&BatchRequest { header, requests: vec![request] }).await }
    };
    let put = |value: &'static str| Request::Put { key: key("k"), value: value.into(), seq: 0 };
    // Its record would be on the other node.
    let holder = meta(1, "z");
    send(Some(holder.clone()), put("held")).await.unwrap();
    cluster.network.stall(Cluster::node(here), Cluster::node(elsewhere));
    let waits = tokio::spawn(send(Some(meta(2, "k")), put("waited")));
    let pushes = async {
        while left.metrics().pushes.load(std::sync::atomic::Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(BOUND, pushes).await.expect("it asks about the holder");
    let resolved = Request::ResolveSpan {
        span: Span::point(key("k")),
        txn: Box::new(holder.clone()),
        status: TxnStatus::Aborted,
        commit_ts: holder.write_ts,
    };
    send(None, resolved).await.unwrap();
    let granted = tokio::time::timeout(Duration::from_secs(4), waits).await.expect("turn-seen-at-once");
    granted.expect("it does not panic").expect("the key is free");
    cluster.network.heal_all();
    cluster.stop().await;
}
