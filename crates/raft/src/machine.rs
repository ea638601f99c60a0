//! The state machine's side: what a replica implements, and how openraft sees it.

use std::{
    any::Any,
    io,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use keys::{ReplicaId, Term};
use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder,
    storage::{EntryResponder, RaftStateMachine},
};

use crate::aside::{Applies, blocking};
use crate::group::GroupInner;
use crate::snapshots::Spool;
use crate::types::{
    Applied, LogPosition, Outcome, RaftLogId, RaftMembership, Types, decode_membership, encode_membership,
};

/// A committed entry.
#[derive(Clone, Debug)]
pub struct Committed {
    pub position: LogPosition,
    pub payload: CommittedPayload,
}

#[derive(Clone, Debug)]
pub enum CommittedPayload {
    Command(Bytes),
    /// New members, in this crate's encoding: to be kept with the applied position.
    Membership(Bytes),
    Blank,
}

/// The state machine cannot go on: its range is fenced on this store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ApplyError {
    pub reason: String,
}

/// A snapshot on its way out.
pub trait SnapshotSource: Send {
    /// The next piece, at most some 4 MiB; none at the end.
    ///
    /// # Errors
    /// When the state cannot be read.
    fn next_chunk(&mut self) -> Result<Option<Bytes>, ApplyError>;
}

/// The room that a checked snapshot has been given: kept until it is taken in, or dropped.
pub type Admitted = Box<dyn Any + Send + Sync>;

/// What a replica does with what was agreed on. Calls come one at a time.
pub trait StateMachine: Send + Sync + 'static {
    /// How far it has come, as it will find itself after a crash or further.
    fn applied(&self) -> Applied;

    /// Applies entries in order and answers an outcome for each.
    ///
    /// # Errors
    /// Ends the group on this store.
    fn apply(&self, entries: &[Committed]) -> Result<Vec<Bytes>, ApplyError>;

    /// Its whole state as of the position it names.
    ///
    /// # Errors
    /// When the state cannot be read.
    fn snapshot(&self) -> Result<(Applied, Box<dyn SnapshotSource>), ApplyError>;

    /// Whether there is room on the disk for so many bytes, those of a snapshot that is coming: asked for every piece.
    ///
    /// # Errors
    /// When there is not: what has come of the snapshot goes, and all of it is sent again later.
    fn has_room(&self, bytes: u64) -> Result<(), ApplyError>;

    /// Whether a command that a peer sends can be applied, whenever its turn comes: what fails then ends the group.
    ///
    /// # Errors
    /// When it is damaged: it is not appended.
    fn check_command(&self, command: &Bytes) -> Result<(), ApplyError>;

    /// Looks through a snapshot that has come, before anything depends on it, and keeps its place for it.
    ///
    /// # Errors
    /// When it is damaged or cannot be taken in now: it is refused, and sent again later.
    fn check(&self, chunks: &mut dyn Iterator<Item = io::Result<Bytes>>) -> Result<Admitted, ApplyError>;

    /// Replaces its state by a snapshot that was checked.
    ///
    /// # Errors
    /// Ends the group on this store; nothing has changed then.
    fn install(
        &self,
        applied: Applied,
        chunks: &mut dyn Iterator<Item = io::Result<Bytes>>,
    ) -> Result<(), ApplyError>;

    /// What of its state survives a power cut without the log: entries up to here may be dropped from it.
    fn durable_index(&self) -> u64;

    /// Its group has failed and will ask nothing of it any more: until the store is started again, this replica takes
    /// no part in its range.
    fn on_fenced(&self, reason: &str);

    /// Somebody leads, or nobody known.
    fn on_leader_change(&self, leader: Option<ReplicaId>, term: Term, we_lead: bool);
}

/// The data of a snapshot inside openraft.
pub(crate) enum SnapshotData {
    /// To be sent: read when it is.
    Outgoing(Box<dyn SnapshotSource>),
    /// Received and checked.
    Received(Spool, Admitted),
}

#[derive(Clone)]
pub(crate) struct MachineAdapter {
    pub machine: Arc<dyn StateMachine>,
    /// The term of the last entry applied: a leader serves only after an entry of its own.
    pub applied_term: Arc<AtomicU64>,
    pub applied_index: Arc<AtomicU64>,
    /// Set once it exists; told of members before whoever proposed them is.
    pub group: Arc<OnceLock<Weak<GroupInner>>>,
    pub applies: Arc<Applies>,
}

/// Entries applied with one write at most.
const APPLY_MAX: usize = 512;

/// What panics while it applies may have done half of it, and would do so again: the process ends, loudly.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("quorate: applying a committed entry panicked, the process ends");
            std::process::abort();
        }
    }
}

fn fatal(error: ApplyError) -> io::Error {
    io::Error::other(error)
}

impl MachineAdapter {
    /// The index of an entry that was applied, and a term that is not below its own: the term is stored first.
    pub fn last_applied(&self) -> Option<LogPosition> {
        let index = self.applied_index.load(Ordering::Acquire);
        let term = Term::new(self.applied_term.load(Ordering::Acquire));
        (index != 0).then_some(LogPosition { term, index })
    }

    fn state(applied: &Applied) -> io::Result<(Option<RaftLogId>, RaftMembership)> {
        let membership = decode_membership(&applied.membership).map_err(io::Error::other)?;
        Ok((applied.position.map(LogPosition::to_raft), membership))
    }

    fn current(&self) -> io::Result<openraft::alias::SnapshotOf<Types, SnapshotData>> {
        let (applied, source) = self.machine.snapshot().map_err(fatal)?;
        let (last_log_id, last_membership) = Self::state(&applied)?;
        let meta = openraft::SnapshotMeta { last_log_id, last_membership };
        Ok(openraft::Snapshot { meta, snapshot: SnapshotData::Outgoing(source) })
    }
}

impl RaftSnapshotBuilder<Types> for MachineAdapter {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<openraft::alias::SnapshotOf<Types, SnapshotData>> {
        self.current()
    }
}

impl RaftStateMachine<Types> for MachineAdapter {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<RaftLogId>, RaftMembership)> {
        let applied = self.machine.applied();
        if let Some(position) = applied.position {
            self.applied_term.store(position.term.get(), Ordering::Release);
            self.applied_index.store(position.index, Ordering::Release);
        }
        Self::state(&applied)
    }

    async fn apply<S>(&mut self, entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        let mut slices = entries.ready_chunks(APPLY_MAX);
        while let Some(slice) = slices.next().await {
            let mut committed = Vec::with_capacity(slice.len());
            let mut responders = Vec::with_capacity(slice.len());
            let mut members = None;
            for item in slice {
                let (entry, responder) = item?;
                let payload = match entry.payload {
                    EntryPayload::Normal(payload) => CommittedPayload::Command(payload.0),
                    EntryPayload::Blank => CommittedPayload::Blank,
                    EntryPayload::Membership(change) => {
                        let stored = RaftMembership::new(Some(entry.log_id), change);
                        let encoded = encode_membership(&stored);
                        members = Some(stored);
                        CommittedPayload::Membership(encoded)
                    }
                };
                committed.push(Committed { position: LogPosition::from_raft(&entry.log_id), payload });
                responders.push(responder);
            }
            let outcomes = {
                let _guard = AbortOnPanic;
                self.applies.run(|| self.machine.apply(&committed)).map_err(fatal)?
            };
            assert_eq!(outcomes.len(), committed.len(), "an outcome for each entry");
            if let Some(last) = committed.last() {
                self.applied_term.store(last.position.term.get(), Ordering::Release);
                self.applied_index.store(last.position.index, Ordering::Release);
            }
            // *one-configuration-behind*: the next change of members is proposed only when this one is answered.
            if let Some(members) = members
                && let Some(group) = self.group.get().and_then(Weak::upgrade)
            {
                group.take_members(&members);
            }
            for (responder, outcome) in responders.into_iter().zip(outcomes) {
                if let Some(responder) = responder {
                    responder.send(Outcome(outcome));
                }
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        meta: &openraft::alias::SnapshotMetaOf<Types>,
        snapshot: SnapshotData,
    ) -> io::Result<()> {
        let SnapshotData::Received(spool, _admitted) = snapshot else {
            return Err(io::Error::other("only a received snapshot is installed"));
        };
        let position = meta.last_log_id.as_ref().map(LogPosition::from_raft);
        let applied = Applied { position, membership: encode_membership(&meta.last_membership) };
        let mut chunks = spool.chunks()?;
        blocking(|| self.machine.install(applied, &mut chunks)).map_err(fatal)?;
        if let Some(position) = position {
            self.applied_term.store(position.term.get(), Ordering::Release);
            self.applied_index.store(position.index, Ordering::Release);
        }
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> io::Result<Option<openraft::alias::SnapshotOf<Types, SnapshotData>>> {
        if self.machine.applied().position.is_none() {
            return Ok(None);
        }
        // A replica that still waits for its first snapshot has none to give.
        Ok(self.current().ok())
    }
}
