//! Replicas that come late, leave unheard or fail: a range has in the end all the voters it counts on, and a store has
//! no replica that nobody counts on.

use std::time::Duration;

use keys::{Key, NodeId, RangeDescriptor, RangeId, StoreId};
use kv::{DbConfig, Read, TxnOptions};
use raft::StateMachine;
use replica::api::Request;
use rpc::MemoryConfig;
use tempfile::TempDir;
use testkit::cluster::{Cluster, Member};

const FIRST: RangeId = RangeId::new(1);

fn key(name: &str) -> Key {
    [&[0x10], name.as_bytes()].concat().into()
}

async fn cluster(dir: &TempDir, nodes: usize) -> Cluster {
    let config = DbConfig {
        rpc_timeout: Duration::from_secs(2),
        wait_timeout: Duration::from_secs(3),
        ..DbConfig::default()
    };
    let cluster = Cluster::start(dir.path(), 1, MemoryConfig::default(), &vec![0; nodes], config).await;
    until("three voters have the first range", || {
        cluster.members.iter().filter(|member| has_voters(member, FIRST)).count() == 3
    })
    .await;
    cluster
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let look = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), look).await.is_ok(), "in vain: {what}");
}

fn descriptor(member: &Member, range_id: RangeId) -> Option<RangeDescriptor> {
    member.store.replica(range_id)?.descriptor().map(|range| (*range).clone())
}

fn has_voters(member: &Member, range_id: RangeId) -> bool {
    descriptor(member, range_id).is_some_and(|range| range.voters().count() == 3)
}

/// The descriptor of the range of a key, as its leaseholder has it.
fn led(cluster: &Cluster, at: &str) -> Option<RangeDescriptor> {
    let leader = cluster.leader_of(&key(at))?;
    let replicas = cluster.members[leader].store.replicas();
    let ranges = replicas.into_iter().filter_map(|replica| replica.descriptor());
    ranges.map(|range| (*range).clone()).find(|range| range.contains_key(key(at).as_bytes()))
}

async fn put(member: &Member, name: &str) {
    let write = async {
        loop {
            let mut txn = member.db.begin(TxnOptions::default());
            txn.put(key(name), b"value".to_vec().into());
            if txn.commit().await.is_ok() {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), write).await.expect("a quorum is there");
}

async fn has(member: &Member, name: &str) -> bool {
    let mut txn = member.db.begin(TxnOptions::default());
    let name = key(name);
    let read = tokio::time::timeout(Duration::from_secs(20), txn.get(&name, Read::default()));
    matches!(read.await, Ok(Ok(Some(_))))
}

/// Drops all of the log of a range that its stores have applied.
async fn cut_logs(cluster: &Cluster, places: &[usize], range_id: RangeId) {
    for place in places {
        let store = &cluster.members[*place].store;
        store.engine().flush().unwrap();
        let replica = store.replica(range_id).expect("it has the range");
        replica.group().truncate_log(replica.group().applied_index()).await;
    }
}

/// The range ran on two of three replicas for ever, and nothing counted it.
#[tokio::test(flavor = "multi_thread")]
async fn who_passes_a_split_by_snapshot_has_the_right_half() {
    let dir = TempDir::new().unwrap();
    let cluster = cluster(&dir, 3).await;
    let leader = cluster.leader_of(&key("a")).expect("somebody leads");
    let away = (leader + 1) % 3;
    let others = [leader, (leader + 2) % 3];
    cluster.isolate(away);
    cluster.members[leader].db.split_at(&key("m")).await.unwrap();
    until("the right half is led", || cluster.leader_of(&key("p")).is_some()).await;
    for n in 0..20 {
        put(&cluster.members[leader], &format!("b{n}")).await;
        put(&cluster.members[leader], &format!("p{n}")).await;
    }
    let right = led(&cluster, "p").expect("it is led").range_id;
    until("the ranges are known to have too few replicas", || {
        cluster.members.iter().map(|member| member.store.under_replicated()).sum::<u64>() >= 2
    })
    .await;
    // One half can come by snapshot alone.
    cut_logs(&cluster, &others, FIRST).await;
    cluster.network.heal_all();
    until("both halves are there", || {
        let ends = |range_id| descriptor(&cluster.members[away], range_id).map(|range| range.start);
        ends(right) == Some(key("m"))
            && descriptor(&cluster.members[away], FIRST).is_some_and(|it| it.end == key("m"))
    })
    .await;
    until("nothing lacks a replica", || {
        cluster.members.iter().all(|member| member.store.under_replicated() == 0)
    })
    .await;
    // It counts: another may go.
    cluster.isolate(others[1]);
    put(&cluster.members[leader], "p-after").await;
    assert!(has(&cluster.members[leader], "p19").await);
    cluster.stop().await;
}

/// The log of the left half brings the split to a store to which messages for the right half came first.
#[tokio::test(flavor = "multi_thread")]
async fn who_passes_a_split_by_its_log_takes_over_what_waits() {
    let dir = TempDir::new().unwrap();
    let cluster = cluster(&dir, 3).await;
    let leader = cluster.leader_of(&key("a")).expect("somebody leads");
    let away = (leader + 1) % 3;
    cluster.isolate(away);
    cluster.members[leader].db.split_at(&key("m")).await.unwrap();
    until("the right half is led", || cluster.leader_of(&key("p")).is_some()).await;
    put(&cluster.members[leader], "p").await;
    let right = led(&cluster, "p").expect("it is led");
    let own = right.replica_on_store(StoreId::new(away as u64 + 1)).expect("a voter of it").replica_id;
    cluster.network.heal_all();
    until("the right half is there", || descriptor(&cluster.members[away], right.range_id).is_some()).await;
    assert_eq!(cluster.members[away].store.replica(right.range_id).map(|it| it.replica_id()), Some(own));
    cluster.isolate((leader + 2) % 3);
    put(&cluster.members[leader], "p-after").await;
    cluster.stop().await;
}

/// Nobody took its place until somebody did so by hand.
#[tokio::test(flavor = "multi_thread")]
async fn a_fenced_replica_is_replaced_by_itself() {
    let dir = TempDir::new().unwrap();
    let cluster = cluster(&dir, 3).await;
    put(&cluster.members[0], "before").await;
    let leader = cluster.leader_of(&key("a")).expect("somebody leads");
    let place = (leader + 1) % 3;
    let store_id = StoreId::new(place as u64 + 1);
    let failed = cluster.members[place].store.replica(FIRST).expect("a voter");
    let old = failed.replica_id();
    failed.machine().on_fenced("by the test");
    drop(failed);
    assert_eq!(cluster.members[place].store.fenced(), 1);
    let number = |range: &RangeDescriptor| range.replica_on_store(store_id).map(|replica| replica.replica_id);
    until("another has its place, under a new number", || {
        led(&cluster, "a")
            .is_some_and(|range| range.voters().count() == 3 && number(&range).is_some_and(|it| it > old))
    })
    .await;
    until("it has the state", || has_voters(&cluster.members[place], FIRST)).await;
    until("nothing lacks a replica", || {
        cluster.members.iter().all(|member| member.store.under_replicated() == 0)
    })
    .await;
    cluster.isolate((leader + 2) % 3);
    put(&cluster.members[leader], "after").await;
    assert!(has(&cluster.members[leader], "before").await);
    cluster.stop().await;
}

/// It held its span for ever, and refused the snapshots of whatever range came there.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_not_told_to_leave_finds_out() {
    let dir = TempDir::new().unwrap();
    let cluster = cluster(&dir, 4).await;
    let leader = cluster.leader_of(&key("a")).expect("somebody leads");
    let away = (0..4)
        .find(|place| *place != leader && has_voters(&cluster.members[*place], FIRST))
        .expect("a voter");
    let store_id = StoreId::new(away as u64 + 1);
    let old = cluster.members[away].store.replica(FIRST).expect("a voter").replica_id();
    cluster.isolate(away);
    let request = Request::ChangeReplicas { add: vec![], remove: vec![old] };
    cluster.members[leader].db.admin(&key("a"), request).await.unwrap();
    until("another store has its place", || {
        led(&cluster, "a")
            .is_some_and(|range| range.voters().count() == 3 && range.replica_on_store(store_id).is_none())
    })
    .await;
    assert_eq!(cluster.members[away].store.replica(FIRST).map(|it| it.replica_id()), Some(old));
    cluster.network.heal_all();
    until("it is gone", || cluster.members[away].store.replica(FIRST).is_none()).await;
    // It is out of the list before what it has stored is removed.
    until("nothing of it is stored", || {
        replica::stored_ranges(cluster.members[away].store.engine()).unwrap().is_empty()
    })
    .await;
    cluster.stop().await;
}

/// Its ranges ran on two of three replicas until somebody did something by hand, and the next fault took them away.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_gone_is_replaced() {
    let dir = TempDir::new().unwrap();
    let mut cluster = cluster(&dir, 4).await;
    put(&cluster.members[0], "before").await;
    // The one that leads, which another must do first.
    let gone = cluster.leader_of(&key("a")).expect("somebody leads");
    let store_id = StoreId::new(gone as u64 + 1);
    cluster.kill(gone).await;
    let alive: Vec<usize> = (0..4).filter(|place| *place != gone).collect();
    let is_replaced = |member: &Member| {
        descriptor(member, FIRST)
            .is_some_and(|range| range.voters().count() == 3 && range.replica_on_store(store_id).is_none())
    };
    until("the three that are left have the range", || {
        alive.iter().all(|place| is_replaced(&cluster.members[*place]))
    })
    .await;
    put(&cluster.members[alive[0]], "after").await;
    // It comes back, and is not counted on any more.
    cluster.restart(gone).await;
    until("what it had is gone", || cluster.members[gone].store.replica(FIRST).is_none()).await;
    // Each of the three counts: one may go.
    let leader = cluster.leader_of(&key("a"));
    let other = alive.iter().copied().find(|place| Some(*place) != leader).expect("three are left");
    cluster.isolate(other);
    let reader = alive.iter().copied().find(|place| *place != other).expect("two are left");
    assert!(has(&cluster.members[reader], "before").await);
    put(&cluster.members[reader], "last").await;
    cluster.stop().await;
}

/// There was no way to take a node out of service: what it had stayed counted on.
#[tokio::test(flavor = "multi_thread")]
async fn a_decommissioned_store_ends_empty_and_stays_so() {
    let dir = TempDir::new().unwrap();
    let mut cluster = cluster(&dir, 4).await;
    put(&cluster.members[0], "before").await;
    cluster.members[0].db.split_at(&key("m")).await.unwrap();
    until("the right half is led", || cluster.leader_of(&key("p")).is_some()).await;
    let place = cluster.leader_of(&key("a")).expect("somebody leads");
    let node = Cluster::node(place);
    let other = (place + 1) % 4;
    let ranges = |cluster: &Cluster| cluster.members[place].store.replicas().len();
    cluster.members[other].store.decommission(node, true).await.unwrap();
    until("all it had is with others", || ranges(&cluster) == 0).await;
    until("nothing lacks a replica", || {
        cluster.members.iter().all(|member| member.store.under_replicated() == 0)
    })
    .await;
    // One more would leave too few.
    let refused = cluster.members[other].store.decommission(Cluster::node(other), true).await.unwrap_err();
    assert!(refused.contains("add a node first"), "{refused}");
    // *decommissioned-stays-so*
    cluster.restart(place).await;
    let known = |cluster: &Cluster, node: NodeId| {
        let status = cluster.members[other].store.node_status();
        status.into_iter().find(|(info, _)| info.node_id == node).expect("a member")
    };
    until("it has said so again", || {
        let (info, live) = known(&cluster, node);
        info.leaving && live
    })
    .await;
    let victim = (place + 2) % 4;
    cluster.kill(victim).await;
    until("the others know", || !known(&cluster, Cluster::node(victim)).1).await;
    put(&cluster.members[other], "after").await;
    assert_eq!(ranges(&cluster), 0, "nobody asks it for a replica");
    // Until it is wanted back.
    cluster.members[other].store.decommission(node, false).await.unwrap();
    until("it takes the place of the one that is gone", || ranges(&cluster) > 0).await;
    assert!(has(&cluster.members[other], "before").await);
    cluster.stop().await;
}

/// A node that came once every range had its replicas was given none.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_with_less_than_its_share_is_given_more() {
    let dir = TempDir::new().unwrap();
    let mut cluster = cluster(&dir, 4).await;
    put(&cluster.members[0], "before").await;
    let lead = cluster.leader_of(&key("a")).expect("somebody leads");
    let new = (lead + 1) % 4;
    cluster.kill(new).await;
    for at in ["c", "e", "g", "i", "k", "m", "o", "q", "s", "u"] {
        cluster.members[lead].db.split_at(&key(at)).await.unwrap();
    }
    let alive: Vec<usize> = (0..4).filter(|place| *place != new).collect();
    let ranges = |cluster: &Cluster, place: usize| cluster.members[place].store.replicas().len();
    until("the three have all ranges", || alive.iter().all(|place| ranges(&cluster, *place) >= 11)).await;
    cluster.restart(new).await;
    // The mean is 8, the band 2.
    until("the fourth has a part of them", || ranges(&cluster, new) >= 5).await;
    until("nothing lacks a replica, and none is there twice", || {
        let counted: usize = (0..4).map(|place| ranges(&cluster, place)).sum();
        counted == 33 && cluster.members.iter().all(|member| member.store.under_replicated() == 0)
    })
    .await;
    assert!(has(&cluster.members[new], "before").await);
    cluster.stop().await;
}
