//! Replicas are compared: one that has other bytes than most is found, fenced and made anew, and healthy ones never differ.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use keys::{Key, RangeDescriptor, RangeId, ReplicaId, StoreId};
use kv::TxnOptions;
use replica::api::Request;
use storage::WriteBatch;
use store::CheckOutcome;
use tempfile::TempDir;
use testkit::{
    cluster::{Cluster, Member, StoreTuning},
    commands::{get, key, tuned, until},
};

const FIRST: RangeId = RangeId::new(1);

async fn three(dir: &TempDir, stores: StoreTuning) -> Cluster {
    let cluster = tuned(dir, 3, stores).await;
    until("all of them vote", async || {
        cluster.members.iter().all(|member| range(member).is_some_and(|range| range.voters().count() == 3))
    })
    .await;
    cluster
}

fn range(member: &Member) -> Option<RangeDescriptor> {
    member.store.replica(FIRST)?.descriptor().map(|range| (*range).clone())
}

async fn write(db: &kv::Db, name: &str, value: &str) -> bool {
    let mut txn = db.begin(TxnOptions::default());
    txn.put(key(name), value.as_bytes().to_vec().into());
    matches!(tokio::time::timeout(Duration::from_secs(10), txn.commit()).await, Ok(Ok(_)))
}

async fn leader(cluster: &Cluster) -> usize {
    until("somebody leads", async || cluster.leader_of(&key("a")).is_some()).await;
    cluster.leader_of(&key("a")).expect("as just seen")
}

/// Asks for a check until one comes to a result.
async fn check(cluster: &Cluster) -> CheckOutcome {
    let mut last = None;
    for _ in 0..50 {
        let place = leader(cluster).await;
        match cluster.members[place].store.check_range(FIRST).await {
            CheckOutcome::Skipped { reason } => last = Some(reason),
            outcome => return outcome,
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no check comes to a result: {last:?}");
}

/// Writes past the log, as a fault of the disk or of this program might.
fn corrupt(member: &Member) {
    let mut batch = WriteBatch::new();
    batch.put_version(key("a5").as_bytes(), member.db.clock().now(), Some(b"damaged"));
    member.store.engine().apply(&batch).unwrap();
}

fn number(cluster: &Cluster, place: usize) -> Option<ReplicaId> {
    let range = cluster.members.iter().find(|it| it.store.replica(FIRST).is_some_and(|it| it.is_leaseholder()))?;
    let store_id = StoreId::new(place as u64 + 1);
    self::range(range)?.replica_on_store(store_id).map(|replica| replica.replica_id)
}

/// A replica of the store that differs is found, fenced and made anew, and only that one.
async fn is_found_and_rebuilt(of_leaseholder: bool) {
    let dir = TempDir::new().unwrap();
    let cluster = three(&dir, StoreTuning::default()).await;
    for n in 0..20 {
        assert!(write(&cluster.members[0].db, &format!("a{n}"), "good").await);
    }
    assert_eq!(check(&cluster).await, CheckOutcome::Consistent);
    let leads = leader(&cluster).await;
    let place = if of_leaseholder { leads } else { (leads + 1) % 3 };
    let store_id = StoreId::new(place as u64 + 1);
    let old = number(&cluster, place).expect("it has a replica");
    corrupt(&cluster.members[place]);
    assert_eq!(check(&cluster).await, CheckOutcome::Repaired { differing: vec![store_id], kept: vec![] });
    assert_eq!(cluster.members[leads].store.check_counts().1, 1);
    assert_eq!(cluster.members[place].store.fenced(), 1);
    assert_ne!(leader(&cluster).await, place, "who differs leads no more");
    until("another is in its place, under a new number", async || {
        number(&cluster, place).is_some_and(|it| it > old)
            && cluster.members.iter().all(|it| range(it).is_some_and(|range| range.voters().count() == 3))
    })
    .await;
    until("nothing lacks a replica", async || {
        cluster.members.iter().all(|member| member.store.under_replicated() == 0)
    })
    .await;
    assert_eq!(check(&cluster).await, CheckOutcome::Consistent);
    let others = (0..3).filter(|other| *other != place);
    assert!(others.clone().all(|other| cluster.members[other].store.fenced() == 0));
    assert_eq!(get(&cluster.members[place], "a5").await.as_deref(), Some("good"));
    // It counts: another may go.
    cluster.isolate(others.last().expect("there are two"));
    until("it is written", async || write(&cluster.members[place].db, "a-last", "good").await).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_follower_that_differs_is_found_and_rebuilt() {
    is_found_and_rebuilt(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_leaseholder_that_differs_gives_its_lease_up_and_is_rebuilt() {
    is_found_and_rebuilt(true).await;
}

/// *majority-stays*: of three that all differ none is touched.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_a_majority_nothing_is_fenced() {
    let dir = TempDir::new().unwrap();
    let cluster = three(&dir, StoreTuning::default()).await;
    assert!(write(&cluster.members[0].db, "a5", "good").await);
    corrupt(&cluster.members[0]);
    corrupt(&cluster.members[1]);
    assert_eq!(check(&cluster).await, CheckOutcome::Undecided);
    assert!(cluster.members.iter().all(|member| member.store.fenced() == 0));
    cluster.stop().await;
}

/// A check waits for all replicas, so that it finds nothing while one is away, and says why.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_check_needs_every_replica() {
    let dir = TempDir::new().unwrap();
    let cluster = three(&dir, StoreTuning::default()).await;
    let leads = leader(&cluster).await;
    cluster.isolate((leads + 1) % 3);
    let outcome = cluster.members[leads].store.check_range(FIRST).await;
    assert!(matches!(outcome, CheckOutcome::Skipped { .. }), "{outcome:?}");
    cluster.network.heal_all();
    assert_eq!(check(&cluster).await, CheckOutcome::Consistent);
    cluster.stop().await;
}

/// All the time in the background, while ranges are written to, split, merged and led by one after the other, and nodes
/// start again: no difference is ever found.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn healthy_ranges_under_writes_never_differ() {
    let dir = TempDir::new().unwrap();
    let tuning = StoreTuning { consistency_interval: Duration::from_millis(100), ..StoreTuning::default() };
    let mut cluster = three(&dir, tuning).await;
    let mut counts = Vec::new();
    for round in 0..4_usize {
        let victim = round % 3;
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for worker in 0..6_usize {
            let place = (victim + 1 + worker % 2) % 3;
            let (db, stop) = (cluster.members[place].db.clone(), stop.clone());
            tasks.push(tokio::spawn(async move {
                let mut n = worker + round;
                while !stop.load(Ordering::Acquire) {
                    n = (n * 7 + 3) % 101;
                    let name = format!("{}{n:03}", char::from(b'a' + (n % 20) as u8));
                    let at = key(&name);
                    let admin = |request: Request| {
                        let (db, at) = (db.clone(), at.clone());
                        async move {
                            let _whatever = tokio::time::timeout(Duration::from_secs(3), db.admin(&at, request)).await;
                            tokio::time::sleep(Duration::from_millis(100)).await;
                        }
                    };
                    match worker {
                        0 => {
                            let _whatever = tokio::time::timeout(Duration::from_secs(3), db.split_at(&at)).await;
                            tokio::time::sleep(Duration::from_millis(150)).await;
                        }
                        1 => admin(Request::Merge).await,
                        2 => admin(Request::TransferLease { to: StoreId::new(n as u64 % 3 + 1) }).await,
                        _ => {
                            write(&db, &name, &n.to_string()).await;
                        }
                    }
                }
            }));
        }
        tokio::time::sleep(Duration::from_millis(1500)).await;
        counts.extend(cluster.members.iter().map(|member| member.store.check_counts()));
        cluster.restart(victim).await;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        stop.store(true, Ordering::Release);
        for task in tasks {
            task.await.unwrap();
        }
    }
    // What is split off last is checked as well.
    until("all ranges are checked at rest", async || {
        let ranges = cluster.members[0].db.ranges_in(&keys::Span::new(Key::MIN, Key::MAX)).await.unwrap_or_default();
        !ranges.is_empty()
            && ranges.iter().all(|range| {
                let checked = cluster.members.iter().filter_map(|it| it.store.last_check(range.range_id));
                checked.into_iter().any(|(ago, outcome)| ago < Duration::from_secs(5) && outcome == CheckOutcome::Consistent)
            })
    })
    .await;
    counts.extend(cluster.members.iter().map(|member| member.store.check_counts()));
    let checks = counts.iter().map(|(checks, _)| checks).max().copied().unwrap_or_default();
    println!("{counts:?}");
    assert!(checks > 10, "{counts:?}");
    assert!(counts.iter().all(|(_, differences)| *differences == 0), "{counts:?}");
    assert!(cluster.members.iter().all(|member| member.store.fenced() == 0));
    cluster.stop().await;
}
