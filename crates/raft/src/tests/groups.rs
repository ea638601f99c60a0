//! Proposals, restarts, members and snapshots.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use keys::{NodeId, ReplicaId, StoreId, Term};
use rpc::{Lane, Transport, services};

use super::cluster::{Cluster, RANGE};
use crate::{
    ProposeError,
    codec::{Address, Kind, message},
    elections::PreVote,
};

fn command(number: u64) -> Bytes {
    Bytes::from(format!("command {number}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_store_applies_in_order_and_resumes() {
    let mut cluster = Cluster::new(21, 1, 1).await;
    let (_, term) = cluster.leaseholder(Term::new(0)).await;
    let group = cluster.group(1);
    let proposals: Vec<_> = (0..100).map(|number| group.propose(command(number), term)).collect();
    for (number, outcome) in (0..).zip(futures::future::join_all(proposals).await) {
        assert_eq!(outcome, Ok(command(number)));
    }
    drop(group);
    assert_eq!(cluster.machine(1).commands().len(), 100);
    cluster.stop(1).await;
    cluster.start(1, true).await;
    let (_, later) = cluster.leaseholder(term).await;
    cluster.group(1).propose(command(100), later).await.unwrap();
    assert_eq!(cluster.machine(1).commands(), (0..=100).map(command).collect::<Vec<_>>());
    cluster.finish().await;
}

/// It would have forgotten its vote and where its log ends, which are still on disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_opened_once() {
    let mut cluster = Cluster::new(22, 1, 1).await;
    let (_, term) = cluster.leaseholder(Term::new(0)).await;
    cluster.group(1).propose(command(0), term).await.unwrap();
    assert!(cluster.reopen(1).await.is_err());
    cluster.stop(1).await;
    cluster.start(1, true).await;
    cluster.leaseholder(term).await;
    cluster.finish().await;
}

/// Liveness syncs about once in three seconds, and may do so meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_costs_one_sync_on_each_store_and_many_at_once_share_them() {
    for stores in [1, 3] {
        let mut cluster = Cluster::new(25, stores, stores).await;
        let (leader, term) = cluster.leaseholder(Term::new(0)).await;
        let group = cluster.group(leader);
        group.propose(command(0), term).await.unwrap();
        let others = 4;
        let before: Vec<u64> = (1..=stores).map(|id| cluster.syncs(id)).collect();
        for number in 0..40 {
            group.propose(command(number), term).await.unwrap();
        }
        for id in 1..=stores {
            let syncs = cluster.syncs(id) - before[id as usize - 1];
            assert!(syncs <= 40 + others, "{syncs} syncs for 40 commands on store {id} of {stores}");
        }
        let before: Vec<u64> = (1..=stores).map(|id| cluster.syncs(id)).collect();
        futures::future::join_all((0..400).map(|number| group.propose(command(number), term))).await;
        for id in 1..=stores {
            let syncs = cluster.syncs(id) - before[id as usize - 1];
            assert!(syncs <= 100, "{syncs} syncs for 400 commands at once on store {id} of {stores}");
        }
        drop(group);
        cluster.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_stores_agree() {
    let mut cluster = Cluster::new(22, 3, 3).await;
    let (leader, term) = cluster.leaseholder(Term::new(0)).await;
    let group = cluster.group(leader);
    futures::future::join_all((0..50).map(|number| group.propose(command(number), term))).await;
    for id in 1..=3 {
        cluster.until("all applied", |this| (this.machine(id).commands().len() == 50).then_some(())).await;
    }
    let follower = (1..=3).find(|id| *id != leader).unwrap();
    let refused = cluster.group(follower).propose(command(50), term).await;
    assert_eq!(refused, Err(ProposeError::NotLeader { leader: Some(ReplicaId::new(leader)) }));
    let earlier = Term::new(term.get() - 1);
    assert!(matches!(group.propose(command(51), earlier).await, Err(ProposeError::NotLeader { .. })));
    drop(group);
    cluster.finish().await;
}

/// A leader that is cut off cannot tell what becomes of a proposal, and does not claim to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proposal_of_a_deposed_leader_is_ambiguous() {
    let mut cluster = Cluster::new(23, 3, 3).await;
    let (leader, term) = cluster.leaseholder(Term::new(0)).await;
    cluster.group(leader).propose(command(0), term).await.unwrap();
    for id in (1..=3).filter(|id| *id != leader) {
        cluster.cut(leader, id);
    }
    let group = cluster.group(leader);
    let lost = tokio::spawn(async move { group.propose(Bytes::from_static(b"lost"), term).await });
    let (next, later) = cluster.leaseholder(term).await;
    cluster.group(next).propose(Bytes::from_static(b"kept"), later).await.unwrap();
    cluster.network.heal_all();
    cluster.until("the old leader follows", |this| this.machine(leader).has("kept").then_some(())).await;
    let outcome = tokio::time::timeout(cluster.support() * 10, lost).await.unwrap().unwrap();
    assert!(matches!(outcome, Err(ProposeError::Ambiguous { .. })), "{outcome:?}");
    for id in 1..=3 {
        assert!(!cluster.machine(id).has("lost"));
    }
    cluster.finish().await;
}

/// Whoever asked for new voters is gone when the joint membership is in the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_voters_left_half_way_is_finished() {
    let mut cluster = Cluster::new(26, 4, 3).await;
    let (leader, term) = cluster.leaseholder(Term::new(0)).await;
    let group = cluster.group(leader);
    group.propose(command(0), term).await.unwrap();
    group.add_learner(ReplicaId::new(4), NodeId::new(4), StoreId::new(4)).await.unwrap();
    let leaving = (1..=3).find(|id| *id != leader).unwrap();
    let voters: Vec<ReplicaId> = (1..=4).filter(|id| *id != leaving).map(ReplicaId::new).collect();
    // It cannot be agreed on, so it is seen half way.
    for id in (1..=4).filter(|id| *id != leader) {
        cluster.cut(leader, id);
    }
    let asked = tokio::spawn({
        let (group, voters) = (group.clone(), voters.clone());
        async move { group.change_voters(voters).await }
    });
    cluster.until("the joint membership", |_| (group.inner.joint_config().len() == 2).then_some(())).await;
    asked.abort();
    cluster.network.heal_all();
    cluster.until("one membership", |this| {
        let (id, _) = this.observe().first().copied()?;
        (this.group(id).inner.joint_config().len() == 1).then_some(())
    }).await;
    drop(group);
    cluster.finish().await;
}

/// A replica's number is never used again: what is meant for the one before must not reach the one that is here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_to_another_replica_of_the_range_is_refused() {
    let mut cluster = Cluster::new(27, 3, 3).await;
    let (leader, _) = cluster.leaseholder(Term::new(0)).await;
    let follower = leader % 3 + 1;
    let request = PreVote { last: cluster.group(leader).inner.log.last() };
    for (to, heard) in [(follower, true), (9, false)] {
        let address = Address { range: RANGE, to: ReplicaId::new(to), from: ReplicaId::new(leader) };
        let payload = message(Kind::PreVote, address, &request);
        let transport = cluster.transport(leader);
        let answer = transport
            .call(NodeId::new(follower), Lane::Control, services::RAFT, payload, cluster.support())
            .await;
        assert_eq!(answer.is_ok(), heard, "{answer:?}");
    }
    cluster.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_member_comes_by_snapshot_and_votes() {
    let mut cluster = Cluster::new(24, 4, 3).await;
    let (leader, term) = cluster.leaseholder(Term::new(0)).await;
    let group = cluster.group(leader);
    futures::future::join_all((0..40).map(|number| group.propose(command(number), term))).await;
    // What the state machine would lose in a power cut stays in the log.
    let (applied, durable) = (group.status().applied_index, group.status().applied_index - 20);
    cluster.machine(leader).durable.store(durable, Ordering::Relaxed);
    group.truncate_log(applied).await;
    cluster.until("the log is shorter", |_| (group.status().first_index == durable + 1).then_some(())).await;
    assert_eq!(group.status().last_index, applied);

    // The store that it comes to cannot take it in at once.
    cluster.machine(4).refusals.store(2, Ordering::Relaxed);
    group.add_learner(ReplicaId::new(4), NodeId::new(4), StoreId::new(4)).await.unwrap();
    cluster.until("the snapshot", |this| (this.machine(4).commands().len() == 40).then_some(())).await;
    assert!(cluster.machine(4).installs.load(Ordering::Relaxed) > 0, "the log alone did not reach it");
    assert_eq!(cluster.machine(4).refusals.load(Ordering::Relaxed), 0);

    let leaving = (1..=3).find(|id| *id != leader).unwrap();
    let voters: Vec<ReplicaId> = (1..=4).filter(|id| *id != leaving).map(ReplicaId::new).collect();
    group.change_voters(voters.clone()).await.unwrap();
    // *one-configuration-behind*: whoever asked for them may ask for others now.
    let counted: Vec<u64> =
        group.inner.leadership.lock().voters.iter().flatten().map(|(id, _)| *id).collect();
    assert_eq!(counted, voters.iter().map(|voter| voter.get()).collect::<Vec<_>>());
    cluster.until("the new voters", |_| (group.status().voters == voters).then_some(())).await;
    group.propose(command(40), term).await.unwrap();
    drop(group);

    // Two of the three voters are left, the new one among them.
    cluster.stop(leaving).await;
    cluster.stop(leader).await;
    let (_, later) = cluster.leaseholder(term).await;
    assert!(later > term);
    cluster.until("nothing was lost", |this| this.machine(4).has("command 40").then_some(())).await;
    cluster.finish().await;
}

/// Whoever adds it would wait for ever, and with it the queue that asked for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_learner_whose_store_is_away_is_given_up() {
    let mut cluster = Cluster::new(31, 4, 3).await;
    let (leader, term) = cluster.leaseholder(Term::new(0)).await;
    for id in 1..=3 {
        cluster.cut(id, 4);
    }
    let group = cluster.group(leader);
    let adding = group.clone();
    let added =
        tokio::spawn(async move { adding.add_learner(ReplicaId::new(4), NodeId::new(4), StoreId::new(4)).await });
    cluster.until("it is given up", |_| added.is_finished().then_some(())).await;
    added.await.unwrap().unwrap_err();
    group.remove_replica(ReplicaId::new(4)).await.unwrap();
    assert!(group.status().learners.is_empty());
    group.propose(command(1), term).await.unwrap();
    drop(group);
    cluster.finish().await;
}

/// It filled the disk to the last byte, and the process ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_finds_no_room_is_refused_and_leaves_nothing() {
    let mut cluster = Cluster::new(32, 4, 3).await;
    let (leader, term) = cluster.leaseholder(Term::new(0)).await;
    let group = cluster.group(leader);
    futures::future::join_all((0..40).map(|number| group.propose(command(number), term))).await;
    let kept_from = group.status().applied_index - 20;
    cluster.machine(leader).durable.store(kept_from - 1, Ordering::Relaxed);
    group.truncate_log(kept_from).await;
    cluster.until("the log is shorter", |_| (group.status().first_index == kept_from).then_some(())).await;
    // The room ends half way.
    let machine = cluster.machine(4);
    machine.room.store(20, Ordering::Relaxed);
    let adding = group.clone();
    let added =
        tokio::spawn(async move { adding.add_learner(ReplicaId::new(4), NodeId::new(4), StoreId::new(4)).await });
    cluster.until("the room is used up", |_| (machine.room.load(Ordering::Relaxed) == 0).then_some(())).await;
    cluster.until("nothing is left of it", |this| (this.spools(4) == 0).then_some(())).await;
    assert_eq!(machine.installs.load(Ordering::Relaxed), 0);
    // Somebody has made room.
    machine.room.store(u64::MAX, Ordering::Relaxed);
    cluster.until("it has come", |_| added.is_finished().then_some(())).await;
    added.await.unwrap().unwrap();
    cluster.until("all of it", |_| (machine.commands().len() == 40).then_some(())).await;
    drop(group);
    cluster.finish().await;
}
