//! Splits by load: where the load is, and only where another node could take a part of it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tempfile::TempDir;
use testkit::{
    cluster::{Cluster, StoreTuning},
    commands::{key, tuned, until, write_row},
};

/// A cluster whose only range serves much, in many places, until `seen` holds.
async fn under_load(nodes: usize, what: &str, seen: impl Fn(&Cluster) -> bool) {
    let dir = TempDir::new().unwrap();
    let cluster = tuned(&dir, nodes, StoreTuning { range_split_qps: 100, ..StoreTuning::default() }).await;
    let cluster = Arc::new(cluster);
    for n in 0..40 {
        write_row(&cluster.members[0], &format!("p{n:02}"), "value").await;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2_usize)
        .map(|reader| {
            let (cluster, stop) = (cluster.clone(), stop.clone());
            tokio::spawn(async move {
                let mut n = reader;
                while !stop.load(Ordering::Acquire) {
                    n = (n + 7) % 40;
                    let _value = cluster.members[0].db.get(&key(&format!("p{n:02}"))).await.unwrap();
                }
            })
        })
        .collect();
    until(what, async || seen(&cluster)).await;
    stop.store(true, Ordering::Release);
    for reader in readers {
        reader.await.unwrap();
    }
    cluster.stop().await;
}

/// Much load on a small range: it is split where the load is.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_range_is_split_where_its_load_is() {
    under_load(3, "it is split within them", |cluster| {
        let ranges = cluster.members.iter().flat_map(|member| member.store.replicas());
        ranges.filter_map(|it| it.descriptor()).any(|range| range.start > key("p05") && range.start < key("p35"))
    })
    .await;
}

/// One node alone would pay for transactions over two ranges, and nobody could take one of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_node_alone_does_not_split_by_load() {
    under_load(1, "it says why it does not", |cluster| {
        let store = &cluster.members[0].store;
        assert_eq!(store.replicas().len(), 1);
        store.replicas().iter().any(|it| store.unsplit(it.range_id()) == Some(replica::Unsplittable::OneNode))
    })
    .await;
}
