//! Localities and zone configurations: where replicas and leases come to be.

use std::time::Duration;

use keys::{
    Key, Span, ZoneConfig,
    zone::{read_constraints, read_preferences},
};
use kv::{DbConfig, Read, TxnOptions};
use rpc::MemoryConfig;
use tempfile::TempDir;
use testkit::{
    cluster::{Cluster, StoreTuning},
    commands::{key, until},
};

fn span(start: &str, end: &str) -> Span {
    Span::new(key(start), key(end))
}

async fn cluster(dir: &TempDir, localities: &'static [&'static str], merges: bool) -> Cluster {
    let config = DbConfig { rpc_timeout: Duration::from_secs(2), wait_timeout: Duration::from_secs(3), ..DbConfig::default() };
    let stores = StoreTuning { localities, merges, ..StoreTuning::default() };
    let (wires, offsets) = (MemoryConfig::default(), vec![0; localities.len()]);
    Cluster::start_over_wires(dir.path(), 1, wires, &offsets, config, stores, |_, transport| transport).await
}

/// The members that have a voter of the range of a key, in their order.
fn voters(cluster: &Cluster, at: &str) -> Vec<usize> {
    let Some((range, _)) = cluster.led(&key(at)) else { return Vec::new() };
    let mut places: Vec<usize> = range.voters().filter_map(|voter| usize::try_from(voter.store_id.get()).ok()).map(|id| id - 1).collect();
    places.sort_unstable();
    places
}

fn configure(cluster: &Cluster, spans: &[(Span, ZoneConfig)]) {
    for member in &cluster.members {
        member.store.set_zones(&ZoneConfig::default(), spans.to_vec());
    }
}

async fn put(cluster: &Cluster, name: &str) {
    let write = async {
        loop {
            let mut txn = cluster.members[0].db.begin(TxnOptions::default());
            txn.put(key(name), b"value".to_vec().into());
            if txn.commit().await.is_ok() {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), write).await.expect("a quorum is there");
}

async fn has(cluster: &Cluster, by: usize, name: &str) -> bool {
    let mut txn = cluster.members[by].db.begin(TxnOptions::default());
    let name = key(name);
    let read = tokio::time::timeout(Duration::from_secs(20), txn.get(&name, Read::default()));
    matches!(read.await, Ok(Ok(Some(_))))
}

/// The emptier nodes of a region that has a replica already are passed over, and losing a region loses no quorum.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn replicas_are_spread_over_regions_and_survive_one() {
    let dir = TempDir::new().unwrap();
    let cluster = cluster(&dir, &["region=a", "region=a", "region=b", "region=b", "region=c"], false).await;
    let region = |place: usize| [0, 0, 1, 1, 2][place];
    let is_spread = || {
        let mut regions: Vec<usize> = voters(&cluster, "a").into_iter().map(region).collect();
        regions.dedup();
        regions == [0, 1, 2]
    };
    until("there is a replica in each region", async || is_spread()).await;
    put(&cluster, "a").await;
    for (node, _) in cluster.members[1].store.node_status() {
        let expected = ["region=a", "region=a", "region=b", "region=b", "region=c"];
        assert_eq!(node.parts.locality.to_string(), expected[usize::try_from(node.node_id.get()).unwrap() - 1]);
    }
    let (lost, stays) = match cluster.led(&key("a")) {
        Some((_, leader)) if region(leader) == 1 => ([0, 1], 2),
        _ => ([2, 3], 0),
    };
    for place in lost {
        cluster.kill(place).await;
    }
    assert!(has(&cluster, stays, "a").await, "a quorum is left");
    cluster.stop().await;
}

/// The range is split at its borders, its replicas and its lease go where it says, and one too many leaves.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn zone_configurations_move_replicas_and_leases() {
    let dir = TempDir::new().unwrap();
    let cluster = cluster(&dir, &["region=a", "region=b", "region=a", "region=b", "region=b"], true).await;
    put(&cluster, "m1").await;
    put(&cluster, "a1").await;
    let zone = |replicas, constraints: &str, preferences: &str| ZoneConfig {
        num_replicas: Some(replicas),
        constraints: Some(read_constraints(constraints).unwrap()),
        lease_preferences: Some(read_preferences(preferences).unwrap()),
        ..ZoneConfig::default()
    };
    configure(&cluster, &[(span("m", "n"), zone(3, "[+region=b]", "[]"))]);
    until("it is where it is to be", async || voters(&cluster, "m1") == [1, 3, 4]).await;
    let (range, _) = cluster.led(&key("m1")).expect("it is led");
    assert_eq!((&range.start, &range.end), (&key("m"), &key("n")));
    assert!(has(&cluster, 0, "m1").await && has(&cluster, 4, "a1").await);
    assert_eq!(voters(&cluster, "a1").len(), 3);

    configure(&cluster, &[(span("m", "n"), zone(5, "[]", "[[+region=a]]"))]);
    until("it is everywhere", async || voters(&cluster, "m1") == [0, 1, 2, 3, 4]).await;
    until("it is led where it is preferred", async || cluster.led(&key("m1")).is_some_and(|(_, leader)| matches!(leader, 0 | 2))).await;

    configure(&cluster, &[(span("m", "n"), zone(3, "{\"+region=a\": 2}", "[[+region=b]]"))]);
    until("two have left", async || voters(&cluster, "m1").len() == 3).await;
    until("it is as it is to be", async || {
        let places = voters(&cluster, "m1");
        let in_a = places.iter().filter(|place| matches!(place, 0 | 2)).count();
        in_a >= 2 && places.len() == 3 && cluster.led(&key("m1")).is_some_and(|(_, leader)| matches!(leader, 1 | 3 | 4))
    })
    .await;
    assert!(has(&cluster, 0, "m1").await && has(&cluster, 3, "a1").await);

    // Nothing sets it apart any more.
    configure(&cluster, &[]);
    until("they are one range again", async || cluster.led(&key("m1")).is_some_and(|(range, _)| range.start == Key::MIN && range.end == Key::MAX)).await;
    assert!(has(&cluster, 0, "m1").await && has(&cluster, 3, "a1").await);
    cluster.stop().await;
}
