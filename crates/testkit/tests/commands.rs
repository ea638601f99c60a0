//! Single commands sent to a replica as a coordinator would that is slow, dead or wrong about what it did: each test is
//! a way a write was once lost, invented or seen too late.

use std::{sync::atomic::Ordering, time::Duration};

use concurrency::{LatchSpan, LockRequest, WaitOutcome};
use futures::FutureExt;
use keys::{LockStrength, NodeId, Span, TxnMeta, TxnStatus};
use kv::{DbConfig, Read, ScanOptions, TxnOptions};
use replica::api::{
    AbortReason, BatchRequest, Header, KvError, Request, Response, RetryReason, StoreTarget, TxnHeader,
};
use rpc::MemoryConfig;
use tempfile::TempDir;
use testkit::{
    cluster::Cluster,
    commands::{end, get, key, meta, one_node, put, send, within, write},
};

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_attempt_wrote_is_not_committed_with_the_later_one() {
    let dir = TempDir::new().unwrap();
    let cluster = one_node(&dir).await;
    let member = &cluster.members[0];
    member.db.split_at(&key("m")).await.unwrap();
    let first = meta(7, "a", member.db.clock().now());
    send(member, "z", within(&first), vec![put("z", "of the first attempt")]).await.unwrap();
    // The second attempt writes elsewhere, commits, and is gone before it tells anybody.
    let second = TxnMeta { epoch: 1, write_ts: member.db.clock().now(), ..first };
    send(member, "a", within(&second), vec![put("a", "committed"), end(true, &[])]).await.unwrap();
    assert_eq!(get(member, "z").await, None);
    assert_eq!(get(member, "a").await.as_deref(), Some("committed"));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_staged_commit_is_recovered_from_an_intent_of_an_earlier_attempt_too() {
    let dir = TempDir::new().unwrap();
    let cluster = one_node(&dir).await;
    let member = &cluster.members[0];
    member.db.split_at(&key("m")).await.unwrap();
    let first = meta(7, "a", member.db.clock().now());
    send(member, "z", within(&first), vec![put("z", "of the first attempt")]).await.unwrap();
    let second = TxnMeta { epoch: 1, write_ts: member.db.clock().now(), ..first };
    send(member, "a", within(&second), vec![put("a", "staged"), end(true, &["n"])]).await.unwrap();
    send(member, "n", within(&second), vec![put("n", "in flight")]).await.unwrap();
    // No heartbeat: after a while somebody else finds all of it there.
    assert_eq!(get(member, "z").await, None);
    assert_eq!(get(member, "a").await.as_deref(), Some("staged"));
    assert_eq!(get(member, "n").await.as_deref(), Some("in flight"));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_staged_commit_that_lacks_a_write_is_rolled_back_and_the_write_comes_too_late() {
    let dir = TempDir::new().unwrap();
    let cluster = one_node(&dir).await;
    let member = &cluster.members[0];
    member.db.split_at(&key("m")).await.unwrap();
    let txn = meta(7, "a", member.db.clock().now());
    send(member, "a", within(&txn), vec![put("a", "staged"), end(true, &["n"])]).await.unwrap();
    assert_eq!(get(member, "a").await, None);
    let late = send(member, "n", within(&txn), vec![put("n", "late")]).await.unwrap();
    assert!(late.txn.unwrap().write_ts > txn.write_ts, "it would complete what was found incomplete");
    let again = send(member, "a", within(&txn), vec![end(true, &["n"])]).await;
    assert!(matches!(again, Err(KvError::Aborted { .. })), "{again:?}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_before_a_split_is_not_written_under_after_it() {
    let dir = TempDir::new().unwrap();
    let cluster = one_node(&dir).await;
    let member = &cluster.members[0];
    // A reader whose clock is ahead, as far as clocks may be.
    let now = member.db.clock().now();
    let reader = meta(1, "z", now.add_ns(400_000_000));
    let read = vec![Request::Get { key: key("z"), lock: None }];
    send(member, "z", within(&reader), read).await.unwrap();
    member.db.split_at(&key("m")).await.unwrap();
    let writer = meta(2, "z", now);
    let written = send(member, "z", within(&writer), vec![put("z", "under the read")]).await.unwrap();
    assert!(written.txn.unwrap().write_ts > reader.write_ts);
    cluster.stop().await;
}

/// It was told to wait by what it met and to go by the lock table, over and over, and took a thread for itself: whoever
/// was to remove the intent might be the next task on that very thread.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_waits_for_an_intent_within_its_uncertainty() {
    let dir = TempDir::new().unwrap();
    let cluster = one_node(&dir).await;
    let member = &cluster.members[0];
    let read_ts = member.db.clock().now();
    let writer = meta(1, "k", member.db.clock().now());
    send(member, "k", within(&writer), vec![put("k", "maybe earlier")]).await.unwrap();
    let reader = TxnHeader {
        meta: meta(2, "k", read_ts),
        read_ts,
        uncertainty_limit: writer.write_ts.add_ns(400_000_000),
        observed: None,
    };
    let header = Header { txn: Some(reader), ..Header::default() };
    let replica = member.store.replicas().remove(0);
    let waits = || replica.metrics().lock_waits.load(Ordering::Relaxed);
    let before = waits();
    let read = send(member, "k", header, vec![Request::Get { key: key("k"), lock: None }]);
    let end_it = async {
        while waits() == before {
            tokio::task::yield_now().await;
        }
        send(member, "k", within(&writer), vec![end(true, &[])]).await.unwrap();
    };
    let (outcome, ()) = tokio::join!(read, end_it);
    // What it waited for lies above it now.
    assert!(
        matches!(outcome, Err(KvError::Retry { reason: RetryReason::Uncertain, .. })),
        "{outcome:?}"
    );
    // Once for the transaction, and once more for what it has left.
    assert!(waits() - before <= 2, "it waited {} times, and did not", waits() - before);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_whose_answer_was_lost_binds_its_own_transaction() {
    let dir = TempDir::new().unwrap();
    let cluster = one_node(&dir).await;
    let member = &cluster.members[0];
    let now = member.db.clock().now();
    let own = meta(1, "k", now);
    let other = meta(2, "k", now.add_ns(100));
    let read = vec![Request::Get { key: key("k"), lock: None }];
    // Both read nothing, the writer-to-be last and latest, but it never hears of that.
    send(member, "k", within(&other), read.clone()).await.unwrap();
    let lost = TxnMeta { write_ts: now.add_ns(200), ..own.clone() };
    send(member, "k", within(&lost), read).await.unwrap();
    let written = send(member, "k", within(&own), vec![put("k", "under the other's read")]).await.unwrap();
    assert!(written.txn.unwrap().write_ts > other.write_ts);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_goes_and_nobody_reads_or_writes_where_it_was() {
    let dir = TempDir::new().unwrap();
    let cluster = one_node(&dir).await;
    let member = &cluster.members[0];
    let before = member.db.clock().now();
    for value in ["one", "two"] {
        let mut txn = member.db.begin(TxnOptions::default());
        txn.put(key("k"), value.as_bytes().to_vec().into());
        txn.delete(key("gone"));
        txn.commit().await.unwrap();
    }
    let threshold = member.db.clock().now();
    let span = Span::new(key("a"), key("zz"));
    let gc = vec![Request::Gc { span, threshold }];
    let response = send(member, "k", Header::default(), gc).await.unwrap();
    // One version of `k`, both tombstones of `gone`.
    assert!(matches!(response.responses[..], [Response::Gc { keys: 3, resume: None }]), "{response:?}");
    assert_eq!(get(member, "k").await.as_deref(), Some("two"));

    let old = meta(1, "k", before);
    let read = vec![Request::Get { key: key("k"), lock: None }];
    let refused = send(member, "k", within(&old), read).await;
    assert_eq!(refused.unwrap_err(), KvError::SnapshotTooOld { threshold });
    // Of a transaction that wrote here nothing would be left to tell.
    let mut refresh = within(&old);
    refresh.txn.as_mut().unwrap().read_ts = member.db.clock().now();
    let request = Request::Refresh { span: Span::point(key("gone")), from: before, deletions_only: false };
    let refused = send(member, "k", refresh, vec![request]).await;
    assert!(matches!(refused, Err(KvError::Retry { reason: RetryReason::ReadChanged, .. })), "{refused:?}");
    let written = send(member, "k", within(&old), vec![put("gone", "before it was deleted")]).await.unwrap();
    assert!(written.txn.unwrap().write_ts > threshold);

    // A client that reads the past is told; the threshold outlives a split.
    member.db.split_at(&key("g")).await.unwrap();
    let mut past = member.db.begin(TxnOptions { as_of: Some(before), ..TxnOptions::default() });
    let refused = past.get(&key("k"), Read::default()).await;
    assert!(matches!(refused, Err(kv::Error::SnapshotTooOld { .. })), "{refused:?}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_slept_through_its_abort_cannot_commit_once_that_is_forgotten() {
    let dir = TempDir::new().unwrap();
    let cluster = one_node(&dir).await;
    let member = &cluster.members[0];
    let sleeper = meta(1, "a", member.db.clock().now());
    send(member, "b", within(&sleeper), vec![put("b", "spilled")]).await.unwrap();
    send(member, "a", within(&sleeper), vec![end(false, &[])]).await.unwrap();
    assert_eq!(get(member, "b").await, None);
    let span = Span::new(key("a"), key("zz"));
    let gc = vec![Request::Gc { span, threshold: member.db.clock().now() }];
    send(member, "a", Header::default(), gc).await.unwrap();

    let beat = Request::HeartbeatTxn { anchor: key("a"), txn_id: sleeper.id, min_ts: sleeper.min_ts };
    let heard = send(member, "a", Header::default(), vec![beat]).await.unwrap();
    assert_eq!(heard.responses, [Response::HeartbeatTxn { status: TxnStatus::Aborted }]);
    let late = send(member, "a", within(&sleeper), vec![end(true, &[])]).await;
    assert_eq!(late.unwrap_err(), KvError::Aborted { txn_id: sleeper.id, reason: AbortReason::RecordGone });
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_dead_coordinators_are_ended_and_removed() {
    let dir = TempDir::new().unwrap();
    let cluster = one_node(&dir).await;
    let member = &cluster.members[0];
    member.db.split_at(&key("m")).await.unwrap();
    // The new range has its first lease now, and nothing begins before that.
    assert_eq!(get(member, "z").await, None);
    let txn = meta(1, "a", member.db.clock().now());
    let locks = vec![Span::point(key("a")), Span::point(key("z"))];
    let stage = Request::EndTxn {
        commit: true,
        locks,
        in_flight: vec![write("z", 1)],
        one_phase: false,
        reads: Vec::new(),
        present: Vec::new(),
    };
    send(member, "a", within(&txn), vec![put("a", "1"), stage]).await.unwrap();
    send(member, "z", within(&txn), vec![put("z", "1")]).await.unwrap();
    let record = keys::keyspace::txn_record(&key("a"), txn.id);
    let engine = member.store.engine();
    assert!(engine.get_local(record.as_bytes()).unwrap().is_some());
    // The leaseholder's queue does it once the coordinator counts as dead.
    tokio::time::timeout(Duration::from_secs(20), async {
        while engine.get_local(record.as_bytes()).unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("the record goes");
    assert!(engine.lock(key("z").as_bytes()).unwrap().is_none(), "its intents went first");
    assert_eq!(get(member, "z").await.as_deref(), Some("1"));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_versions_are_collected_by_themselves() {
    let dir = TempDir::new().unwrap();
    let cluster = one_node(&dir).await;
    let member = &cluster.members[0];
    for n in 0..20 {
        let mut txn = member.db.begin(TxnOptions::default());
        txn.put(key("k"), n.to_string().into_bytes().into());
        txn.commit().await.unwrap();
    }
    let as_of = member.db.clock().now();
    let oldest = member.db.begin(TxnOptions { as_of: Some(as_of.sub_ns(1)), ..TxnOptions::default() }).read_ts();
    tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            let mut past = member.db.begin(TxnOptions { as_of: Some(oldest), ..TxnOptions::default() });
            let page = past.scan(&Span::new(key("a"), key("z")), ScanOptions::default()).await;
            if matches!(page, Err(kv::Error::SnapshotTooOld { .. })) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .expect("a round comes by");
    assert_eq!(get(member, "k").await.as_deref(), Some("19"));
    cluster.stop().await;
}

fn lock(name: &str) -> Request {
    Request::Get { key: key(name), lock: Some(LockStrength::Update) }
}

/// The end was applied, but only the caller would have told the lock table so: others waited for the dead until they
/// pushed them.
#[tokio::test(flavor = "multi_thread")]
async fn locks_go_with_an_end_that_nobody_waits_for() {
    let dir = TempDir::new().unwrap();
    let cluster = one_node(&dir).await;
    let member = &cluster.members[0];
    let holder = meta(1, "k", member.db.clock().now());
    send(member, "k", within(&holder), vec![lock("k")]).await.unwrap();
    let replica = member.store.replicas().remove(0);
    let other = meta(2, "k", member.db.clock().now());
    let wants = LockRequest {
        key: &key("k"),
        txn: Some(&other),
        strength: Some(LockStrength::Update),
        read_ts: other.write_ts,
    };
    let mut waiter = replica.lock_table().enqueue(&wants);
    assert!(waiter.holder().is_some());
    let header = Header { range_id: replica.range_id(), ..within(&holder) };
    let request = BatchRequest { header, requests: vec![end(false, &[])] };
    // Given up while it is under way, unless this thread stands still for as long as that takes.
    drop(replica.send(&request).now_or_never());
    let news = tokio::time::timeout(Duration::from_secs(10), waiter.next()).await;
    assert_eq!(news.expect("the lock goes"), WaitOutcome::Turn);
    cluster.stop().await;
}

/// Each change put off the next push: who was behind one that was over waited for as long as others came and went.
#[tokio::test(flavor = "multi_thread")]
async fn holders_that_change_all_the_time_are_pushed_all_the_same() {
    let dir = TempDir::new().unwrap();
    let cluster = one_node(&dir).await;
    let member = &cluster.members[0];
    let holders = [1, 2].map(|n| meta(n, "k", member.db.clock().now()));
    let replica = member.store.replicas().remove(0);
    let table = replica.lock_table();
    // The range has its first lease now, which begins with an empty table.
    assert_eq!(get(member, "k").await, None);
    table.add_discovered(&key("k"), &holders[0], holders[0].write_ts);
    let waiter = meta(9, "k", member.db.clock().now());
    let wait = send(member, "k", within(&waiter), vec![lock("k")]);
    // The first push is at once.
    let changes = async {
        let mut turn = 0;
        while replica.metrics().pushes.load(Ordering::Relaxed) < 3 {
            let (old, new) = (&holders[turn % 2], &holders[(turn + 1) % 2]);
            table.add_discovered(&key("k"), new, new.write_ts);
            table.release(&key("k"), old.id);
            turn += 1;
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        outcome = wait => panic!("somebody holds it all the time: {outcome:?}"),
        outcome = tokio::time::timeout(Duration::from_secs(30), changes) => outcome.expect("they are pushed"),
    }
    cluster.stop().await;
}

/// The answer to the question about the holder was awaited for as long as it took.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_timeout_ends_a_wait_whose_push_is_held_up() {
    let dir = TempDir::new().unwrap();
    let cluster = one_node(&dir).await;
    let member = &cluster.members[0];
    let holder = meta(1, "k", member.db.clock().now());
    send(member, "k", within(&holder), vec![lock("k")]).await.unwrap();
    let replica = member.store.replicas().remove(0);
    let record = Span::point(keys::keyspace::txn_record(&key("k"), holder.id));
    let held_up = replica.latches().acquire([LatchSpan::write_unversioned(record)].to_vec()).await;
    let lock_timeout = Some(Duration::from_millis(300));
    let waiter = Header { lock_timeout, ..within(&meta(2, "k", member.db.clock().now())) };
    let outcome = tokio::time::timeout(Duration::from_secs(8), send(member, "k", waiter, vec![lock("k")])).await;
    let outcome = outcome.expect("the wait ends at its lock timeout");
    assert!(matches!(outcome, Err(KvError::LockTimeout { .. })), "{outcome:?}");
    drop(held_up);
    cluster.stop().await;
}

/// It let go of the range's latches with its command on the way: what was evaluated between the two would have been
/// written to the right half by the left.
#[tokio::test(flavor = "multi_thread")]
async fn a_split_goes_on_when_its_sender_is_gone() {
    let dir = TempDir::new().unwrap();
    let cluster = one_node(&dir).await;
    let member = &cluster.members[0];
    let replica = member.store.replicas().remove(0);
    let held_up = replica.latches().acquire([LatchSpan::write_unversioned(Span::point(key("k")))].to_vec()).await;
    let split = send(member, "m", Header::default(), vec![Request::Split { at: key("m") }]);
    let waits_for_latches = async {
        while replica.latches().stats().waiting_count == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        outcome = split => panic!("the range was not quiet: {outcome:?}"),
        () = waits_for_latches => {}
    }
    drop(held_up);
    let done = async {
        while member.store.replicas().len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), done).await.expect("the range is split");
    cluster.stop().await;
}

/// Proposals of a leaseholder that is cut off waited for the network to heal, and so did whoever queued up behind their
/// latches, though somebody else served the range.
#[tokio::test(flavor = "multi_thread")]
async fn a_leaseholder_that_is_cut_off_tells_its_clients() {
    let dir = TempDir::new().unwrap();
    let second = Duration::from_secs(1);
    let config = DbConfig { rpc_timeout: second, wait_timeout: second, ..DbConfig::default() };
    let cluster = Cluster::start(dir.path(), 3, MemoryConfig::default(), &[0, 0, 0], config).await;
    let leader = cluster.leader_of(&key("k")).expect("the range is led");
    let member = &cluster.members[leader];
    let replica = member.store.replicas().remove(0);
    cluster.isolate(leader);
    let now = member.db.clock().now();
    let [proposed, queued] = [1, 2].map(|n| {
        let header = Header { range_id: replica.range_id(), ..within(&meta(n, "k", now)) };
        let (replica, batch) = (replica.clone(), BatchRequest { header, requests: vec![put("k", "unknown")] });
        async move { replica.send(&batch).await }
    });
    let both = tokio::time::timeout(Duration::from_secs(20), futures::future::join(proposed, queued)).await;
    let (proposed, queued) = both.expect("both are answered while the wires are cut");
    assert!(matches!(proposed, Err(KvError::Ambiguous { .. })), "{proposed:?}");
    assert!(matches!(queued, Err(KvError::NotLeaseholder { .. })), "{queued:?}");
    let held = || replica.latches().rows().iter().filter(|row| row.span == Span::point(key("k"))).count();
    assert_eq!(held(), 1, "latches-until-known");
    // The others go on meanwhile.
    assert_eq!(get(&cluster.members[(leader + 1) % 3], "k").await, None);
    cluster.network.heal_all();
    let known = async {
        while held() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), known).await.expect("the log says how it ended");
    cluster.stop().await;
}

/// It left its learner in the descriptor, which kept the range from being split.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_cannot_be_added_leaves_no_learner() {
    let dir = TempDir::new().unwrap();
    let cluster = Cluster::start(dir.path(), 4, MemoryConfig::default(), &[0; 4], DbConfig::default()).await;
    let member = &cluster.members[cluster.leader_of(&key("k")).expect("the range is led")];
    let replica = member.store.replicas().remove(0);
    let before = replica.descriptor().expect("it has state");
    let stores = cluster.members.iter().map(|member| member.store.store_id());
    let store_id = stores.into_iter().find(|store| before.replica_on_store(*store).is_none()).expect("one of four");
    cluster.kill(usize::try_from(store_id.get()).unwrap() - 1).await;
    let target = StoreTarget { node_id: NodeId::new(store_id.get()), store_id };
    let header = Header { range_id: replica.range_id(), ..Header::default() };
    let requests = vec![Request::ChangeReplicas { add: vec![target], remove: vec![] }];
    replica.send(&BatchRequest { header, requests }).await.unwrap_err();
    assert_eq!(replica.descriptor().expect("it has state").replicas, before.replicas);
    member.db.split_at(&key("m")).await.unwrap();
    cluster.stop().await;
}

/// A statement is given up while its transaction asks whether what it has read holds at a later time: the transaction
/// goes on at the time at which it was read.
#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_that_nobody_waits_for_does_not_move_the_snapshot() {
    let dir = TempDir::new().unwrap();
    let cluster = Cluster::start(dir.path(), 1, MemoryConfig::default(), &[0; 3], DbConfig::default()).await;
    let leader = cluster.leader_of(&key("a")).expect("the first range is led");
    let db = &cluster.members[(leader + 1) % 3].db;
    let mut txn = db.begin(TxnOptions::default());
    assert_eq!(txn.get(&key("a"), Read::default()).await.unwrap(), None);
    let snapshot = txn.read_ts();
    let mut other = db.begin(TxnOptions::default());
    other.put(key("a"), "changed".into());
    other.put(key("b"), "changed".into());
    other.commit().await.unwrap();
    let locked = Read { lock: Some(LockStrength::Update), ..Read::default() };
    let mut statement = Box::pin(async {
        let _ = txn.get(&key("b"), locked).await;
    });
    while db.metrics().refreshes.load(Ordering::Relaxed) == 0 {
        assert!(futures::poll!(&mut statement).is_pending());
    }
    drop(statement);
    assert_eq!(txn.read_ts(), snapshot);
    assert_eq!(txn.get(&key("a"), Read::default()).await.unwrap(), None);
    cluster.stop().await;
}
