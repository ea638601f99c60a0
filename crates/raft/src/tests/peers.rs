//! Peers that send what no peer should, and replicas that wait for their state.

use bytes::Bytes;
use keys::{NodeId, ReplicaId, StoreId, Term};
use openraft::{
    EntryPayload, Membership,
    raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest},
};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use rpc::{Lane, Transport, services};

use super::cluster::{Cluster, RANGE};
use crate::{
    LogPosition,
    codec::{Address, Kind, decode_append, decode_message, encode_append, message},
    lease::Fortify,
    sound,
    types::{Member, Payload, RaftEntry, RaftLogId, RaftVote, Types},
};

fn at(term: u64, index: u64) -> RaftLogId {
    LogPosition { term: Term::new(term), index }.to_raft()
}

fn command(term: u64, index: u64, payload: &'static [u8]) -> RaftEntry {
    RaftEntry { log_id: at(term, index), payload: EntryPayload::Normal(Payload(Bytes::from_static(payload))) }
}

/// Voter 9 is nobody.
fn strangers() -> Membership<u64, Member> {
    let parts = (
        vec![std::collections::BTreeSet::from([1_u64, 9])],
        std::collections::BTreeMap::from([(1_u64, Member::default())]),
    );
    postcard::from_bytes(&postcard::to_stdvec(&parts).unwrap()).unwrap()
}

/// The assertions they reached ended the group, and with it the replica until the store was started again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_fence_nobody() {
    let mut cluster = Cluster::new(41, 3, 3).await;
    let (leader, term) = cluster.leaseholder(Term::new(0)).await;
    cluster.group(leader).propose(Bytes::from_static(b"before"), term).await.unwrap();
    let follower = leader % 3 + 1;
    cluster.until("it has applied", |this| this.machine(follower).has("before").then_some(())).await;
    let last = cluster.group(follower).inner.log.last().unwrap();
    let (term, next) = (term.get(), last.index + 1);
    let blank = |id| RaftEntry { log_id: id, payload: EntryPayload::Blank };
    let members = |id| RaftEntry { log_id: id, payload: EntryPayload::Membership(strangers()) };
    let unsound = [
        (term, Some(last), vec![command(term, next + 1, b"a gap")]),
        (term, Some(last), vec![command(term + 1, next, b"above its leader")]),
        (term, Some(last), vec![command(term, next, b"first"), command(term - 1, next + 1, b"falling")]),
        (term, Some(last), vec![command(term, next, b"damaged")]),
        (term, Some(last), vec![members(at(term, next))]),
        (term, None, vec![blank(at(term, 0))]),
        (term, Some(at(term, u64::MAX)), vec![blank(at(term, 0))]),
        (term + 5, Some(at(term + 5, last.index)), vec![]),
        (u64::MAX, Some(last), vec![]),
    ];
    let address = Address { range: RANGE, to: ReplicaId::new(follower), from: ReplicaId::new(leader) };
    let transport = cluster.transport(leader);
    let send = async |payload: Bytes| {
        transport.call(NodeId::new(follower), Lane::Raft, services::RAFT, payload, cluster.support()).await
    };
    let mut sent = 0;
    for (term, prev_log_id, entries) in unsound {
        let vote = RaftVote::new_committed(term, leader);
        let request = AppendEntriesRequest { vote, prev_log_id, entries, leader_commit: None };
        send(encode_append(address, &request)).await.unwrap_err();
        sent += 1;
    }
    // Votes for others, and for nobody who only stands.
    for vote in [
        RaftVote::new(term + 1, follower),
        RaftVote::new_committed(term + 1, leader),
        RaftVote::new(u64::MAX, leader),
    ] {
        send(message(Kind::Vote, address, &VoteRequest::<Types>::new(vote, Some(last)))).await.unwrap_err();
        sent += 1;
    }
    send(Bytes::from_static(b"no message")).await.unwrap_err();
    assert_eq!(cluster.unsound(follower), sent + 1);
    assert!(!cluster.machine(follower).fenced.load(std::sync::atomic::Ordering::Relaxed));
    // It goes on as before.
    cluster.group(leader).propose(Bytes::from_static(b"after"), Term::new(term)).await.unwrap();
    cluster.until("it follows", |this| this.machine(follower).has("after").then_some(())).await;
    cluster.finish().await;
}

/// Nothing that a message can hold is out of what looking at it can bear.
#[tokio::test]
async fn bytes_of_peers_are_looked_at_without_a_panic() {
    let cluster = Cluster::new(43, 1, 1).await;
    let machine = cluster.machine(1);
    let address = Address { range: RANGE, to: ReplicaId::new(1), from: ReplicaId::new(2) };
    let request = AppendEntriesRequest {
        vote: RaftVote::new_committed(3, 2),
        prev_log_id: Some(at(2, 8)),
        entries: vec![
            command(3, 9, b"abc"),
            RaftEntry { log_id: at(3, 10), payload: EntryPayload::Membership(strangers()) },
        ],
        leader_commit: Some(at(2, 8)),
    };
    let whole = encode_append(address, &request);
    let mut rng = SmallRng::seed_from_u64(1);
    let mut looked_at = 0;
    for _ in 0..20_000 {
        let mut bytes = whole.to_vec();
        for _ in 0..rng.random_range(1..6) {
            let place = rng.random_range(0..bytes.len());
            bytes[place] = rng.random();
        }
        bytes.truncate(rng.random_range(0..=bytes.len() + bytes.len() / 2));
        let Ok((Kind::Append, address, body)) = decode_message(bytes.into()) else { continue };
        let Ok(request) = decode_append(body) else { continue };
        looked_at += 1;
        let applied = Some(LogPosition { term: Term::new(2), index: 8 });
        let _either_way = sound::append(&request, address.from, applied, &*machine);
    }
    assert!(looked_at > 100, "{looked_at}");
    cluster.finish().await;
}

#[test]
fn an_answer_names_nothing_that_was_not_sent() {
    let (previous, last) = (Some(at(2, 8)), Some(at(3, 10)));
    let part = |upto| sound::append_response(&AppendEntriesResponse::PartialSuccess(upto), previous, last);
    part(Some(at(2, 8))).unwrap();
    part(Some(at(3, 9))).unwrap();
    for upto in [None, Some(at(2, 7)), Some(at(3, 11)), Some(at(4, 9)), Some(at(2, u64::MAX))] {
        part(upto).unwrap_err();
    }
}

/// It comes to its state by another way than the snapshot that it waited for, and must not vote twice in a term.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vote_outlives_the_group_that_waited() {
    let mut cluster = Cluster::new(42, 4, 3).await;
    let (leader, _) = cluster.leaseholder(Term::new(0)).await;
    let last = cluster.group(leader).inner.log.last();
    let waiting = cluster.group(4);
    let granted = waiting.inner.on_vote(VoteRequest::new(RaftVote::new(50, 1), last)).await;
    assert!(granted.is_some_and(|response| response.vote_granted), "one that never voted may");
    // *waiting-promises-nothing*
    let promise = Fortify { term: 50, store: StoreId::new(1), epoch: 1, round: 0 };
    assert!(!waiting.inner.on_fortify(promise).await);
    drop(waiting);
    let begun = cluster.begin_anew(4).await;
    assert_eq!(begun.inner.log.vote().map(|vote| vote.leader_id.term), Some(50));
    let again = begun.inner.on_vote(VoteRequest::new(RaftVote::new(50, 2), last)).await;
    assert!(!again.is_some_and(|response| response.vote_granted), "it voted twice");
    drop(begun);
    cluster.finish().await;
}
