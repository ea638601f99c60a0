//! Random histories: one way and both ways partitions, restarts of one store and of all, leads handed over, logs cut so
//! that who was away needs a snapshot, and proposals all the while.
//!
//! Checked throughout: *one-leaseholder*. Checked at the end, with everything healed: one serves, what was acknowledged
//! is there once on every replica (*no-lost-ack*), and all replicas hold the same in the same order.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use keys::{NodeId, ReplicaId, Term};
use parking_lot::Mutex;
use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::cluster::Cluster;
use crate::ProposeError;

const STORES: u64 = 3;
const STEPS: usize = 14;

/// What became of the proposals of a history.
#[derive(Default)]
struct Ledger {
    next: u64,
    acknowledged: BTreeSet<Bytes>,
    refused: BTreeSet<Bytes>,
}

fn propose(cluster: &mut Cluster, ledger: &Arc<Mutex<Ledger>>) {
    for (id, term) in cluster.observe() {
        let group = cluster.group(id);
        for _ in 0..3 {
            let command = {
                let mut ledger = ledger.lock();
                ledger.next += 1;
                Bytes::from(format!("command {}", ledger.next))
            };
            let (ledger, group) = (ledger.clone(), group.clone());
            tokio::spawn(async move {
                let outcome = group.propose(command.clone(), term).await;
                let mut ledger = ledger.lock();
                match outcome {
                    Ok(echo) => {
                        assert_eq!(echo, command, "an outcome is that of its own command");
                        ledger.acknowledged.insert(command);
                    }
                    // It may be there or not.
                    Err(ProposeError::Ambiguous { .. }) => {}
                    Err(_) => {
                        ledger.refused.insert(command);
                    }
                }
            });
        }
    }
}

async fn step(cluster: &mut Cluster, rng: &mut SmallRng) {
    let any = |rng: &mut SmallRng| rng.random_range(1..=STORES);
    match rng.random_range(0..8) {
        0 => {
            let id = any(rng);
            cluster.stop(id).await;
            cluster.observe_for(Duration::from_millis(rng.random_range(0..900))).await;
            cluster.start(id, false).await;
        }
        1 => {
            for id in 1..=STORES {
                cluster.stop(id).await;
            }
            for id in 1..=STORES {
                cluster.start(id, false).await;
            }
        }
        2 => cluster.network.heal_all(),
        3 => {
            let cut = any(rng);
            for id in (1..=STORES).filter(|id| *id != cut) {
                cluster.cut(cut, id);
            }
        }
        4 => {
            let to = ReplicaId::new(any(rng));
            for (id, _) in cluster.observe() {
                let group = cluster.group(id);
                tokio::spawn(async move { group.transfer_leader(to).await });
            }
        }
        5 => {
            for id in 1..=STORES {
                let group = cluster.group(id);
                let applied = group.status().applied_index;
                tokio::spawn(async move { group.truncate_log(applied).await });
            }
        }
        _ => cluster.network.partition(NodeId::new(any(rng)), NodeId::new(any(rng))),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_leaseholder_and_no_lost_ack_under_random_partitions_and_restarts() {
    // A longer run: QUORATE_HISTORIES=100, or a seed that failed: QUORATE_HISTORY=17.
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = match number("QUORATE_HISTORY") {
        Some(seed) => seed..seed + 1,
        None => 10..10 + number("QUORATE_HISTORIES").unwrap_or(4),
    };
    let mut acknowledged = 0;
    for seed in seeds {
        println!("seed {seed}");
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut cluster = Cluster::new(seed, STORES, STORES).await;
        cluster.leaseholder(Term::new(0)).await;
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        for _ in 0..STEPS {
            step(&mut cluster, &mut rng).await;
            propose(&mut cluster, &ledger);
            cluster.observe_for(Duration::from_millis(rng.random_range(20..500))).await;
            propose(&mut cluster, &ledger);
        }
        cluster.network.heal_all();
        // One that serves again takes a last command, and all come to hold it.
        let last = Bytes::from_static(b"the last");
        loop {
            let (id, term) = cluster.until("one serves again", |this| this.observe().first().copied()).await;
            if cluster.group(id).propose(last.clone(), term).await.is_ok() {
                break;
            }
        }
        cluster
            .until("all replicas catch up", |this| {
                (1..=STORES).all(|id| this.machine(id).has("the last")).then_some(())
            })
            .await;
        let held = cluster.machine(1).commands();
        for id in 2..=STORES {
            let other = cluster.machine(id).commands();
            assert!(held == other || held.starts_with(&other) || other.starts_with(&held), "seed {seed}: store {id}");
        }
        let ledger = ledger.lock();
        for command in &ledger.acknowledged {
            let times = held.iter().filter(|found| *found == command).count();
            assert_eq!(times, 1, "no-lost-ack: seed {seed}: {command:?}");
        }
        for command in &ledger.refused {
            assert!(!held.contains(command), "seed {seed}: {command:?} was refused and is there");
        }
        acknowledged += ledger.acknowledged.len();
        drop(ledger);
        cluster.finish().await;
    }
    assert!(acknowledged > 20, "a history in which nothing happens shows nothing: {acknowledged}");
}
