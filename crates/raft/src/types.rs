//! openraft bound to our types, and our words for what it means.

use std::fmt;

use bytes::Bytes;
use keys::{NodeId, RangeDescriptor, StoreId, Term};
use openraft::{LogId, Membership, StoredMembership, impls, vote::RaftLeaderId};
use serde::{Deserialize, Serialize};

/// What a replica's number leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    pub node: NodeId,
    pub store: StoreId,
}

/// A command's bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Payload(pub Bytes);

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// What applying a command yielded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outcome(pub Bytes);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Types;

impl openraft::RaftTypeConfig for Types {
    type D = Payload;
    type R = Outcome;
    type NodeId = u64;
    type Node = Member;
    type Term = u64;
    // At most one leader in a term: a lease is named by its term alone.
    type LeaderId = impls::leader_id_std::LeaderId<u64, u64>;
    type Vote = impls::Vote<Self::LeaderId>;
    type Payload = openraft::EntryPayload<Payload, u64, Member>;
    type Entry = openraft::Entry<<Self::LeaderId as RaftLeaderId>::Committed, Self::Payload>;
    type Responder<T>
        = impls::OneshotResponder<Self, T>
    where
        T: openraft::OptionalSend + 'static;
    type Batch<T>
        = impls::InlineBatch<T>
    where
        T: openraft::OptionalSend + 'static;
    type AsyncRuntime = impls::TokioRuntime;
    type ErrorSource = impls::BoxedErrorSource;
}

pub(crate) type RaftLogId = openraft::alias::LogIdOf<Types>;
pub(crate) type RaftEntry = openraft::alias::EntryOf<Types>;
pub(crate) type RaftVote = openraft::alias::VoteOf<Types>;
pub(crate) type RaftMembership = openraft::alias::StoredMembershipOf<Types>;

/// A place in a range's log. A term has one leader, so term and index name one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LogPosition {
    pub term: Term,
    pub index: u64,
}

impl LogPosition {
    pub(crate) fn from_raft(id: &RaftLogId) -> Self {
        Self { term: Term::new(id.leader_id.term), index: id.index }
    }

    pub(crate) fn to_raft(self) -> RaftLogId {
        let leader = impls::leader_id_std::LeaderId::<u64, u64>::new(self.term.get(), 0);
        LogId::new(leader.to_committed(), self.index)
    }
}

/// How far a state machine has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    pub position: Option<LogPosition>,
    /// The members as of that position, in this crate's encoding.
    pub membership: Bytes,
}

pub(crate) fn encode_membership(membership: &RaftMembership) -> Bytes {
    postcard::to_stdvec(membership).expect("members are plain data").into()
}

pub(crate) fn decode_membership(bytes: &[u8]) -> Result<RaftMembership, postcard::Error> {
    if bytes.is_empty() {
        return Ok(StoredMembership::default());
    }
    postcard::from_bytes(bytes)
}

/// The members a range begins with: those of its descriptor, all as voters or learners as it says.
#[must_use]
pub fn initial_membership(descriptor: &RangeDescriptor, position: LogPosition) -> Bytes {
    let voters = descriptor.voters().map(|voter| voter.replica_id.get()).collect();
    let nodes: std::collections::BTreeMap<u64, Member> = descriptor
        .replicas
        .iter()
        .map(|replica| (replica.replica_id.get(), Member { node: replica.node_id, store: replica.store_id }))
        .collect();
    let membership = Membership::new(vec![voters], nodes).expect("a descriptor's voters are among its replicas");
    encode_membership(&StoredMembership::new(Some(position.to_raft()), membership))
}
