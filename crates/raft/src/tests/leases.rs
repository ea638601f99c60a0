//! Attacks on *one-leaseholder* and *release-before-yield*. Every observation checks all leases seen so far.

use std::time::Duration;

use bytes::Bytes;
use keys::{ReplicaId, StoreId, Term};
use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::cluster::Cluster;
use crate::{Lease, group::{Fortify, Yield}};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_is_replaced_when_its_lease_is_over() {
    let mut cluster = Cluster::new(1, 3, 3).await;
    let (leader, term) = cluster.leaseholder(Term::new(0)).await;
    cluster.group(leader).propose(Bytes::from_static(b"before"), term).await.unwrap();
    let Lease::Held { expiration, .. } = cluster.group(leader).lease() else { panic!("the lease is held") };
    cluster.stop(leader).await;
    let (next, later) = cluster.leaseholder(term).await;
    assert_ne!(next, leader);
    let Lease::Held { start, .. } = cluster.group(next).lease() else { panic!("the lease is held") };
    assert!(start > expiration, "one-leaseholder: {start} is not past {expiration}");
    cluster.group(next).propose(Bytes::from_static(b"after"), later).await.unwrap();
    cluster.start(leader, false).await;
    cluster.until("the restarted store follows", |this| this.machine(leader).has("after").then_some(())).await;
    cluster.finish().await;
}

/// The leader is cut off from one follower; the other restarts and is asked for its vote.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_leaseholder_when_a_follower_forgets_by_restarting() {
    let mut cluster = Cluster::new(2, 3, 3).await;
    let (leader, term) = cluster.leaseholder(Term::new(0)).await;
    cluster.group(leader).propose(Bytes::from_static(b"x"), term).await.unwrap();
    let others: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    let (restarted, rival) = (others[0], others[1]);
    for id in others {
        cluster.until("all have it", |this| this.machine(id).has("x").then_some(())).await;
    }
    cluster.cut(leader, rival);
    // Until the rival wants to lead.
    cluster.observe_for(cluster.support() * 2).await;
    for _ in 0..3 {
        cluster.stop(restarted).await;
        cluster.start(restarted, false).await;
        cluster.observe_for(cluster.support() * 2).await;
    }
    let held = cluster.until("a lease", |this| this.observe().first().copied()).await;
    assert_eq!(held, (leader, term), "the promise to a leader that is heard keeps it");
    cluster.finish().await;
}

/// A promise under an older epoch that arrives late must not replace the one the leader counts on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_leaseholder_when_fortifications_arrive_out_of_order() {
    let mut cluster = Cluster::new(3, 3, 3).await;
    let (leader, term) = cluster.leaseholder(Term::new(0)).await;
    let follower = (1..=3).find(|id| *id != leader).unwrap();
    let group = cluster.group(follower);
    let ask = |epoch| Fortify { term: term.get(), store: StoreId::new(leader), epoch, round: 0 };
    let promised = cluster.until("a promise", |_| group.inner.promised_epoch()).await;
    assert!(group.inner.on_fortify(ask(promised + 1)).await);
    assert!(!group.inner.on_fortify(ask(promised)).await, "one-leaseholder: an older epoch was taken");
    assert_eq!(group.inner.promised_epoch(), Some(promised + 1));
    cluster.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn release_before_yield() {
    let mut cluster = Cluster::new(4, 3, 3).await;
    let (mut leader, mut term) = cluster.leaseholder(Term::new(0)).await;
    for _ in 0..4 {
        let to = leader % 3 + 1;
        let group = cluster.group(leader);
        let transfer = tokio::spawn(async move { group.transfer_leader(ReplicaId::new(to)).await });
        let (next, later) = cluster.leaseholder(term).await;
        transfer.await.unwrap().unwrap();
        assert_eq!(next, to);
        cluster.group(next).propose(Bytes::from_static(b"moved"), later).await.unwrap();
        (leader, term) = (next, later);
    }
    cluster.finish().await;
}

/// Messages of a hand-over that failed arrive after the leader has been promised anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn release_before_yield_in_an_earlier_round_frees_nobody() {
    let mut cluster = Cluster::new(6, 3, 3).await;
    let (leader, term) = cluster.leaseholder(Term::new(0)).await;
    let follower = (1..=3).find(|id| *id != leader).unwrap();
    let group = cluster.group(follower);
    let epoch = cluster.until("a promise", |_| group.inner.promised_epoch()).await;
    let anew = Fortify { term: term.get(), store: StoreId::new(leader), epoch, round: 1 };
    assert!(group.inner.on_fortify(anew).await);
    let late = Yield { term: term.get(), round: 0, to: ReplicaId::new(follower) };
    assert!(!group.inner.on_yield(late).await);
    assert_eq!(group.inner.promised_epoch(), Some(epoch));
    drop(group);
    cluster.finish().await;
}

/// A leader that released its lease for a successor that is not there must not leave the range without any.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_transfer_leaves_a_leaseholder() {
    let mut cluster = Cluster::new(5, 3, 3).await;
    let (leader, _) = cluster.leaseholder(Term::new(0)).await;
    let away = (1..=3).find(|id| *id != leader).unwrap();
    // Just now, so that it is still thought to be there.
    for id in (1..=3).filter(|id| *id != away) {
        cluster.cut(away, id);
    }
    let group = cluster.group(leader);
    let transfer = tokio::spawn(async move { group.transfer_leader(ReplicaId::new(away)).await });
    transfer.await.unwrap().unwrap_err();
    cluster.until("a lease again", |this| this.observe().first().copied()).await;
    cluster.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_leaseholder_under_random_partitions_and_restarts() {
    for seed in 10..14 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut cluster = Cluster::new(seed, 3, 3).await;
        cluster.leaseholder(Term::new(0)).await;
        for _ in 0..10 {
            match rng.random_range(0..4) {
                0 => {
                    let id = rng.random_range(1..=3);
                    cluster.stop(id).await;
                    cluster.observe_for(Duration::from_millis(rng.random_range(0..900))).await;
                    cluster.start(id, false).await;
                }
                1 => cluster.network.heal_all(),
                _ => {
                    let (from, to) = (rng.random_range(1..=3), rng.random_range(1..=3));
                    cluster.network.partition(keys::NodeId::new(from), keys::NodeId::new(to));
                }
            }
            for (id, term) in cluster.observe() {
                let group = cluster.group(id);
                tokio::spawn(async move { group.propose(Bytes::from_static(b"r"), term).await });
            }
            cluster.observe_for(Duration::from_millis(rng.random_range(50..900))).await;
        }
        cluster.network.heal_all();
        cluster.until("one serves again", |this| {
            let holders = this.observe();
            (holders.len() == 1).then_some(())
        }).await;
        cluster.finish().await;
    }
}
