//! Attacks on *one-leaseholder* and *release-before-yield*. Every observation checks all leases seen so far.

use std::{sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use keys::{NodeId, ReplicaId, StoreId, Term};
use openraft::{async_runtime::watch::WatchReceiver, raft::VoteRequest};

use super::cluster::Cluster;
use crate::{
    Lease, LivenessConfig, ProposeError,
    elections::{PreVote, Yield},
    lease::Fortify,
    types::RaftVote,
};

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
    // A promise outlasts a restart, on a busy machine too.
    let mut cluster = Cluster::with_support(2, 3, 3, Duration::from_millis(2500)).await;
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
    for _ in 0..2 {
        cluster.stop(restarted).await;
        cluster.start(restarted, false).await;
        cluster.observe_for(cluster.support()).await;
    }
    let held = cluster.until("a lease", |this| this.observe().first().copied()).await;
    assert_eq!(held, (leader, term), "the promise to a leader that is heard keeps it");
    cluster.finish().await;
}

/// A crash took what a follower had applied and not its log, and the leader had nothing more to say: a split in that log
/// was never applied again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_tail_applied_after_a_restart() {
    let mut cluster = Cluster::new(16, 3, 3).await;
    let (leader, term) = cluster.leaseholder(Term::new(0)).await;
    cluster.group(leader).propose(Bytes::from_static(b"x"), term).await.unwrap();
    for id in 1..=3 {
        cluster.until("all have it", |this| this.machine(id).has("x").then_some(())).await;
    }
    let follower = leader % 3 + 1;
    cluster.stop(follower).await;
    cluster.forget_state(follower);
    cluster.start(follower, false).await;
    cluster.until("idle-tail-applied", |this| this.machine(follower).has("x").then_some(())).await;
    assert_eq!(cluster.leaseholder(Term::new(0)).await, (leader, term), "nobody else came to lead");
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

/// 1. A command is proposed, and its way to the others is lost.
/// 2. The leader is told to hand over to one of them, which lacks the command.
/// 3. The command takes effect all the same, as it would have without the transfer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_left_behind_by_a_transfer() {
    // Long enough for a lost append to be sent again under the same lease.
    let mut cluster = Cluster::with_support(13, 3, 3, Duration::from_secs(3)).await;
    let (leader, term) = cluster.leaseholder(Term::new(0)).await;
    let group = cluster.group(leader);
    group.propose(Bytes::from_static(b"before"), term).await.unwrap();
    let last = group.status().last_index;
    for id in (1..=3).filter(|id| *id != leader) {
        cluster.until("all have it", |this| this.machine(id).has("before").then_some(())).await;
        cluster.network.partition(NodeId::new(leader), NodeId::new(id));
    }
    let proposer = group.clone();
    let proposed = tokio::spawn(async move { proposer.propose(Bytes::from_static(b"under way"), term).await });
    cluster.until("it is in the log", |_| (group.status().last_index > last).then_some(())).await;
    cluster.observe_for(Duration::from_millis(50)).await;
    cluster.network.heal_all();
    let handing = group.clone();
    let transfer =
        tokio::spawn(async move { handing.transfer_leader(ReplicaId::new(leader % 3 + 1)).await });
    cluster.until("the transfer has ended", |_| transfer.is_finished().then_some(())).await;
    let outcome = proposed.await.unwrap();
    assert!(outcome.is_ok(), "nothing-left-behind: {outcome:?}");
    drop(group);
    cluster.finish().await;
}

/// What was proposed before the transfer began ends, and nothing is proposed once the lease is released.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_left_behind_takes_no_more_proposals() {
    let mut cluster = Cluster::new(14, 3, 3).await;
    let (leader, term) = cluster.leaseholder(Term::new(0)).await;
    let group = cluster.group(leader);
    assert!(group.inner.release(term.get()));
    let refused = group.propose(Bytes::from_static(b"late"), term).await;
    assert!(matches!(refused, Err(ProposeError::NotLeader { .. })), "nothing-left-behind: {refused:?}");
    group.inner.resume(term.get()).await;
    cluster.leaseholder(Term::new(0)).await;
    drop(group);
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
    assert!(!group.inner.on_yield(late).await.0);
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
    // Either it resumes, or the third replica took over when the successor did not.
    let _moved = transfer.await.unwrap();
    cluster.until("a lease again", |this| this.observe().first().copied()).await;
    cluster.finish().await;
}

/// A lease rests on its holder's own promise as on the others': its holder votes for nobody while it has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_leaseholder_refuses_to_vote_against_itself() {
    let mut cluster = Cluster::new(7, 3, 3).await;
    let (leader, term) = cluster.leaseholder(Term::new(0)).await;
    let rival = leader % 3 + 1;
    let group = cluster.group(leader);
    let last = cluster.group(rival).inner.log.last();
    assert!(!group.inner.on_pre_vote(ReplicaId::new(rival), PreVote { last }).await);
    let vote = VoteRequest::new(RaftVote::new(term.get() + 1, rival), last);
    assert!(group.inner.on_vote(vote).await.is_none(), "one-leaseholder: the holder voted");
    assert_eq!(cluster.leaseholder(Term::new(0)).await, (leader, term));
    drop(group);
    cluster.finish().await;
}

/// Who votes for another has withdrawn its promise before: the lease of the leader that was does not rest on it any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_leaseholder_is_not_promised_by_who_votes_for_another() {
    let mut cluster = Cluster::new(16, 3, 3).await;
    let (leader, term) = cluster.leaseholder(Term::new(0)).await;
    let (voter, rival) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    let group = cluster.group(voter);
    let promised = cluster.until("a promise", |_| group.inner.promised_epoch()).await;
    assert!(group.inner.liveness.binds(StoreId::new(leader), promised));
    let vote = VoteRequest::new(RaftVote::new(term.get() + 1, rival), group.inner.log.last());
    let is_granted = group.inner.on_vote(vote).await.is_some_and(|response| response.vote_granted);
    let binds = group.inner.liveness.binds(StoreId::new(leader), promised);
    assert!(!(is_granted && binds), "one-leaseholder: a vote beside a promise that binds");
    drop(group);
    cluster.finish().await;
}

/// A hand-over that seemed to fail must not give the lease back to one whose vote another has by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn release_before_yield_is_not_undone_once_another_has_the_vote() {
    let mut cluster = Cluster::new(15, 3, 3).await;
    let (leader, term) = cluster.leaseholder(Term::new(0)).await;
    let group = cluster.group(leader);
    let members = group.inner.raft.server_metrics().borrow_watched().membership_config.clone();
    assert!(group.inner.release(term.get()));
    let vote = VoteRequest::new(RaftVote::new(term.get() + 1, leader % 3 + 1), group.inner.log.last());
    assert!(group.inner.on_vote(vote).await.is_some_and(|response| response.vote_granted));
    // It may not have heard from openraft yet that its lead is over.
    group.inner.lead(term.get(), &members);
    group.inner.resume(term.get()).await;
    assert_eq!(group.inner.released.load(Ordering::SeqCst), term.get(), "release-before-yield: it came back");
    drop(group);
    cluster.finish().await;
}

/// Changes of a range are told that their fate is unknown when there has been no lease for long: a follower has none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_has_not_been_without_a_lease_for_as_long_as_it_followed() {
    let mut cluster = Cluster::new(16, 3, 3).await;
    let (leader, term) = cluster.leaseholder(Term::new(0)).await;
    let group = cluster.group(leader % 3 + 1);
    let began = tokio::time::Instant::now();
    *group.inner.without_lease_since.lock() = Some(began);
    group.inner.look_at_lease();
    assert_eq!(*group.inner.without_lease_since.lock(), Some(began));
    group.inner.lead(term.get() + 1, &crate::types::RaftMembership::default());
    assert!(group.inner.without_lease_since.lock().is_none_or(|since| since > began));
    drop(group);
    cluster.finish().await;
}

/// A leader whose state machine fails serves nothing more, and the others do not wait for its promise to run out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failure_fences_the_leader_and_frees_the_others() {
    let mut cluster = Cluster::new(8, 3, 3).await;
    let (leader, term) = cluster.leaseholder(Term::new(0)).await;
    let group = cluster.group(leader);
    cluster.machine(leader).broken.store(true, Ordering::Relaxed);
    let outcome = group.propose(Bytes::from_static(b"committed"), term).await;
    assert!(matches!(outcome, Err(ProposeError::Ambiguous { .. })), "failure-fences: {outcome:?}");
    cluster.until("the failure is told", |this| {
        this.machine(leader).fenced.load(Ordering::Relaxed).then_some(())
    }).await;
    assert!(matches!(group.lease(), Lease::NotHeld { .. }), "failure-fences: the lease is still held");
    assert_eq!(group.propose(Bytes::from_static(b"more"), term).await, Err(ProposeError::Closed));
    let (next, later) = cluster.leaseholder(term).await;
    assert_ne!(next, leader);
    cluster.group(next).propose(Bytes::from_static(b"after"), later).await.unwrap();
    assert!(cluster.machine(next).has("committed"));
    drop(group);
    cluster.finish().await;
}

/// A promise that its leader asked for just before it failed arrives after it was given up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failure_fences_and_a_late_promise_binds_nobody() {
    let mut cluster = Cluster::new(17, 3, 3).await;
    let (leader, term) = cluster.leaseholder(Term::new(0)).await;
    let follower = leader % 3 + 1;
    let group = cluster.group(follower);
    let epoch = cluster.until("a promise", |_| group.inner.promised_epoch()).await;
    let other = ReplicaId::new(follower % 3 + 1);
    assert!(!group.inner.on_yield(Yield { term: term.get(), round: 4, to: other }).await.0);
    let late = Fortify { term: term.get(), store: StoreId::new(leader), epoch, round: 4 };
    assert!(!group.inner.on_fortify(late).await, "failure-fences: promised again");
    assert_eq!(group.inner.promised_epoch(), None);
    drop(group);
    cluster.finish().await;
}

/// Told that they are free, they cannot elect anybody, and one of them restarts: its vote names the leader that failed,
/// whose store is heard from.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failure_fences_the_leader_for_followers_that_restart() {
    let mut cluster = Cluster::new(18, 3, 3).await;
    let (leader, term) = cluster.leaseholder(Term::new(0)).await;
    let (near, far) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    cluster.cut(near, far);
    cluster.machine(leader).broken.store(true, Ordering::Relaxed);
    let _outcome = cluster.group(leader).propose(Bytes::from_static(b"committed"), term).await;
    let group = cluster.group(near);
    cluster.until("it is free", |_| group.inner.promised_epoch().is_none().then_some(())).await;
    drop(group);
    cluster.stop(near).await;
    cluster.start(near, false).await;
    cluster.network.heal_all();
    let (next, _) = cluster.leaseholder(term).await;
    assert_ne!(next, leader);
    cluster.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failure_fences_a_follower_alone() {
    let mut cluster = Cluster::new(9, 3, 3).await;
    let (leader, term) = cluster.leaseholder(Term::new(0)).await;
    let broken = leader % 3 + 1;
    cluster.machine(broken).broken.store(true, Ordering::Relaxed);
    let group = cluster.group(leader);
    group.propose(Bytes::from_static(b"one"), term).await.unwrap();
    cluster.until("the failure is told", |this| {
        this.machine(broken).fenced.load(Ordering::Relaxed).then_some(())
    }).await;
    group.propose(Bytes::from_static(b"two"), term).await.unwrap();
    cluster.observe_for(cluster.support() * 2).await;
    assert_eq!(cluster.observe(), [(leader, term)]);
    drop(group);
    cluster.finish().await;
}

/// The leader's store comes back, is heard from, and does not lead: its range must not wait for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_returns_without_its_replica_is_replaced() {
    let mut cluster = Cluster::new(10, 3, 3).await;
    let (leader, term) = cluster.leaseholder(Term::new(0)).await;
    cluster.opens = false;
    cluster.stop(leader).await;
    cluster.start(leader, false).await;
    let (next, _) = cluster.leaseholder(term).await;
    assert_ne!(next, leader);
    cluster.finish().await;
}

/// A leader that is heard but hears nobody, and one that hears but is not heard: both are replaced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_cut_off_one_way_is_replaced() {
    for deaf in [true, false] {
        let mut cluster = Cluster::new(11, 3, 3).await;
        let (leader, term) = cluster.leaseholder(Term::new(0)).await;
        for id in (1..=3).filter(|id| *id != leader) {
            let (from, to) = if deaf { (id, leader) } else { (leader, id) };
            cluster.network.partition(NodeId::new(from), NodeId::new(to));
        }
        let (next, later) = cluster.leaseholder(term).await;
        assert_ne!(next, leader);
        cluster.group(next).propose(Bytes::from_static(b"after"), later).await.unwrap();
        cluster.finish().await;
    }
}

/// Two on each side hear one in the middle, the sides do not hear each other; then the leader goes, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bridge_between_two_halves_leaves_a_leader() {
    let mut cluster = Cluster::new(12, 5, 5).await;
    let (leader, term) = cluster.leaseholder(Term::new(0)).await;
    let others: Vec<u64> = (1..=5).filter(|id| *id != leader).collect();
    for near in [leader, others[0]] {
        for far in &others[2..] {
            cluster.cut(near, *far);
        }
    }
    cluster.observe_for(cluster.support() * 2).await;
    cluster.stop(leader).await;
    let (next, later) = cluster.leaseholder(term).await;
    cluster.group(next).propose(Bytes::from_static(b"across"), later).await.unwrap();
    cluster.finish().await;
}

/// It is promised no more, so that another can lead before it counts as gone; but it hears the others, and they are not
/// kept waiting for promises of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hung_disk_unsupported_while_it_lags_and_heard_all_the_same() {
    let support = Duration::from_millis(600);
    let liveness = LivenessConfig {
        disk_lags_after: Duration::from_millis(100),
        // Not in this test.
        disk_hangs_after: Duration::from_secs(3600),
        ..Cluster::liveness(support)
    };
    let mut cluster = Cluster::with_liveness(21, 3, 3, liveness).await;
    let (leader, term) = cluster.leaseholder(Term::new(0)).await;
    let other = leader % 3 + 1;
    let (its, others) = (cluster.store_liveness(leader), cluster.store_liveness(other));
    // The first promise is on its disk.
    while others.support_from(StoreId::new(leader)).is_none_or(|until| until.wall_ns() == 0) {
        cluster.observe_for(Duration::from_millis(10)).await;
    }
    cluster.log(leader).hold_writes(true);
    let group = cluster.group(leader);
    let under_way = tokio::spawn(async move { group.propose(Bytes::from_static(b"waits"), term).await });
    let (next, _) = cluster.leaseholder(term).await;
    assert_ne!(next, leader);
    cluster.observe_for(support * 2).await;
    assert!(its.supports(StoreId::new(other)).is_some(), "it hears the others, and promises on");
    assert!(others.is_live(StoreId::new(leader)), "the others hear it");
    cluster.log(leader).hold_writes(false);
    drop(under_way);
    cluster.finish().await;
}
