//! What a peer sends is looked through before openraft, the log or the state machine sees it. To them a message is the
//! work of a member that keeps to the protocol, and one that is not fails an assertion or a write, which ends the group
//! or the process.
//!
//! **Invariant (peers-fence-nobody):** whatever bytes a peer sends, what can be told to be unsound by looking at it and
//! at what was applied is refused, logged and counted, and nothing else happens.
//!
//! Deliberately left out: a peer that lies soundly. Who may send at all is the transport's to say.

use keys::ReplicaId;
use openraft::{
    EntryPayload, Membership,
    raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest, VoteResponse},
};

use crate::{
    codec::Damaged,
    machine::StateMachine,
    snapshots::SnapshotEnd,
    types::{LogPosition, Member, RaftLogId, RaftVote, Types},
};

/// Terms and indexes above this are nobody's: what is counted on from them must not run over.
const NUMBER_MAX: u64 = 1 << 62;

type Sound = Result<(), Unsound>;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unsound {
    #[error(transparent)]
    Damaged(#[from] Damaged),
    #[error("{0}")]
    Refused(&'static str),
    #[error("a command at {index}: {reason}")]
    Command { index: u64, reason: String },
}

fn ensure(sound: bool, why: &'static str) -> Sound {
    if sound { Ok(()) } else { Err(Unsound::Refused(why)) }
}

pub(crate) fn vote(vote: &RaftVote) -> Sound {
    ensure(vote.leader_id.term < NUMBER_MAX, "a term out of bounds")
}

fn position(position: Option<&RaftLogId>) -> Sound {
    let sound = position.is_none_or(|id| id.index < NUMBER_MAX && id.leader_id.term < NUMBER_MAX);
    ensure(sound, "a log position out of bounds")
}

fn members(members: &Membership<u64, Member>) -> Sound {
    let sets = members.get_joint_config();
    let known = sets.iter().flatten().all(|voter| members.get_node(voter).is_some());
    ensure(
        matches!(sets.len(), 1 | 2) && sets.iter().all(|set| !set.is_empty()) && known,
        "members that are no members",
    )
}

/// A leader's message: `from` says itself that it leads.
fn of_leader(given: &RaftVote, from: ReplicaId) -> Sound {
    vote(given)?;
    ensure(given.committed && given.leader_id.voted_for == from.get(), "of a leader that is not its sender")
}

/// What was applied is agreed on: nothing of a later term stands at or below it.
fn beside_applied(id: &RaftLogId, applied: Option<LogPosition>) -> Sound {
    let contradicts = applied.is_some_and(|it| id.index <= it.index && id.leader_id.term > it.term.get());
    ensure(!contradicts, "it contradicts what was applied")
}

pub(crate) fn append(
    request: &AppendEntriesRequest<Types>,
    from: ReplicaId,
    applied: Option<LogPosition>,
    machine: &dyn StateMachine,
) -> Sound {
    of_leader(&request.vote, from)?;
    position(request.prev_log_id.as_ref())?;
    position(request.leader_commit.as_ref())?;
    let mut before = request.prev_log_id;
    if let Some(previous) = &before {
        beside_applied(previous, applied)?;
    }
    for entry in &request.entries {
        // A range's log begins behind a first state, which comes by snapshot or split.
        let Some(previous) = before else {
            return Err(Unsound::Refused("entries from before a log's beginning"));
        };
        let (id, term) = (entry.log_id, entry.log_id.leader_id.term);
        position(Some(&id))?;
        ensure(id.index == previous.index + 1, "entries with a gap")?;
        let rises = previous.leader_id.term <= term && term <= request.vote.leader_id.term;
        ensure(rises, "entries whose terms fall, or are above their leader's")?;
        beside_applied(&id, applied)?;
        match &entry.payload {
            EntryPayload::Blank => {}
            // A pass over the batch without a copy; whoever proposed it has it from its own evaluation.
            EntryPayload::Normal(payload) => machine
                .check_command(&payload.0)
                .map_err(|error| Unsound::Command { index: id.index, reason: error.reason })?,
            EntryPayload::Membership(change) => members(change)?,
        }
        before = Some(id);
    }
    Ok(())
}

pub(crate) fn vote_request(request: &VoteRequest<Types>, from: ReplicaId) -> Sound {
    vote(&request.vote)?;
    position(request.last_log_id.as_ref())?;
    let own = !request.vote.committed && request.vote.leader_id.voted_for == from.get();
    ensure(own, "a vote that is not for its sender")
}

pub(crate) fn snapshot(end: &SnapshotEnd, from: ReplicaId, applied: Option<LogPosition>) -> Sound {
    of_leader(&end.vote, from)?;
    position(end.last_log_id.as_ref())?;
    let Some(last) = &end.last_log_id else { return Err(Unsound::Refused("a snapshot of nothing")) };
    ensure(last.leader_id.term <= end.vote.leader_id.term, "a snapshot from after its leader's term")?;
    beside_applied(last, applied)?;
    members(end.membership.membership())
}

pub(crate) fn append_response(
    response: &AppendEntriesResponse<Types>,
    previous: Option<RaftLogId>,
    last: Option<RaftLogId>,
) -> Sound {
    match response {
        AppendEntriesResponse::Success | AppendEntriesResponse::Conflict => Ok(()),
        AppendEntriesResponse::PartialSuccess(upto) => {
            let index = |id: &Option<RaftLogId>| id.as_ref().map(|id| id.index);
            let between = previous <= *upto && *upto <= last && index(&previous) <= index(upto);
            ensure(between && index(upto) <= index(&last), "a part that was not sent")
        }
        AppendEntriesResponse::HigherVote(higher) => vote(higher),
    }
}

pub(crate) fn vote_response(response: &VoteResponse<Types>) -> Sound {
    vote(&response.vote)?;
    position(response.last_log_id.as_ref())
}
