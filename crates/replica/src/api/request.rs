//! What a replica can be asked.

use std::time::Duration;

use bytes::Bytes;
use hlc::Timestamp;
use keys::{Key, KeyList, LockStrength, NodeId, RangeId, ReplicaId, SequencedWrite, Span, StoreId, TxnId, TxnMeta, TxnStatus};
use serde::{Deserialize, Serialize};

use super::Writes;

/// What to do about a key that another transaction holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum WaitPolicy {
    /// Queue behind the holder, first come first served.
    #[default]
    Block,
    /// NOWAIT: answer [`KvError::LockNotAvailable`](super::KvError::LockNotAvailable).
    Error,
    /// SKIP LOCKED: leave the row out.
    SkipLocked,
}

/// The transaction a batch belongs to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TxnHeader {
    pub meta: TxnMeta,
    /// The snapshot its reads see.
    pub read_ts: Timestamp,
    /// Versions above `read_ts` and up to here may have been acknowledged before the transaction began.
    pub uncertainty_limit: Timestamp,
    /// A node and a reading of its clock taken after the transaction began: whatever that node wrote later cannot
    /// have been acknowledged before. When it is the node that serves the batch, versions with a later local timestamp
    /// are certain to be newer, wherever they stand.
    pub observed: Option<(NodeId, Timestamp)>,
}

#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Header {
    pub range_id: RangeId,
    /// The generation of the descriptor the sender routed by; 0 where it does not matter.
    pub generation: u64,
    /// Where a batch without a transaction reads and writes; [`Timestamp::MIN`] means now.
    pub ts: Timestamp,
    pub txn: Option<TxnHeader>,
    pub wait: WaitPolicy,
    pub lock_timeout: Option<Duration>,
    /// Locking reads lock keys without a row as well: for an INSERT of that key.
    pub lock_absent: bool,
    /// Stop after this many rows; 0 for no bound. The bound is over all requests of the batch. Under SKIP LOCKED it is
    /// how many of the keys that are read one by one are locked, the first that are free.
    pub max_keys: u64,
    /// Stop after this many bytes of rows; 0 for no bound.
    pub max_bytes: u64,
    /// The transaction has read nothing elsewhere, so the replica may move its `read_ts` up instead of answering
    /// with a retry.
    pub can_forward: bool,
}

/// A batch of requests to one range.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct BatchRequest {
    pub header: Header,
    pub requests: Vec<Request>,
}

/// What a pusher wants of the transaction in its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PushKind {
    /// Tell its state; make it aborted only if its heartbeat has run out.
    Query,
    /// Abort it: it was found to be the victim of a deadlock.
    Abort,
}

/// Where a new replica shall live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StoreTarget {
    pub node_id: NodeId,
    pub store_id: StoreId,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    Get { key: Key, lock: Option<LockStrength> },
    /// Many keys of one range, in order, none twice: read in one pass under one latch, from the first to the last, which
    /// also counts as read for writes of others. Answered as a scan, with the rows that are there; what is left, where
    /// they are too many bytes, begins with one of the keys. Not under SKIP LOCKED.
    GetMany { keys: Vec<Key>, lock: Option<LockStrength> },
    Scan { span: Span, reverse: bool, lock: Option<LockStrength> },
    /// Shows what is committed now, whatever is under way: nothing of it holds later, so that it waits for no one and
    /// holds up no write. For what is locked and read again before anything depends on it. Answered as a scan. With
    /// `free_for`, rows that others hold against such a lock are left out.
    Look { span: Span, reverse: bool, free_for: Option<LockStrength> },
    /// Writes an intent, or the version itself when the batch ends with a one-phase [`Request::EndTxn`] or has no
    /// transaction. `seq` is the write's number in its transaction; see [`SequencedWrite`].
    Put { key: Key, value: Bytes, seq: u32 },
    Delete { key: Key, seq: u32 },
    /// Removes the bytes of a span, all versions, once those who write there are through. Nothing that begins above
    /// `at` may name the span; reads at or below are refused from then on, and writes go above. Alone in its batch.
    ClearRange { span: Span, at: Timestamp },
    /// Adds to a counter outside any transaction and answers its new value. The leaseholder may store it further on by
    /// so many times as much, no further than `until`, and give those values out from memory: when its lease ends, what is
    /// left of them is skipped.
    Increment { key: Key, by: i64, ahead: u32, until: i64 },
    EndTxn {
        commit: bool,
        /// Every span with intents or unreplicated locks of the transaction, in all ranges.
        locks: Vec<Span>,
        /// Writes under way to other ranges: with any here the commit is *staged*, and the transaction is committed
        /// the moment all of them are replicated at or below its timestamp.
        in_flight: Vec<SequencedWrite>,
        /// Everything the transaction writes is in this batch: versions are written at once, no intents.
        one_phase: bool,
        /// What it read in this range, so that a commit that has to move up can refresh by itself.
        reads: Vec<Span>,
        /// Rows here that it has found, and of which it has read no more than that: only deletions count.
        present: Vec<Span>,
    },
    /// Asks whether anything was written to the span after `from` and up to the transaction's `read_ts`, or was deleted
    /// there, where that is all the transaction depends on.
    Refresh { span: Span, from: Timestamp, deletions_only: bool },
    /// `min_ts` is the transaction's.
    HeartbeatTxn { anchor: Key, txn_id: TxnId, min_ts: Timestamp },
    /// Removes the record of a finished transaction once its intents are resolved.
    ForgetTxn { anchor: Key, txn_id: TxnId },
    /// Sent to the anchor of `pushee`.
    PushTxn {
        pushee: Box<TxnMeta>,
        pusher: Option<Box<TxnMeta>>,
        /// Transactions known to wait, directly or not, for the pusher.
        dependents: Vec<TxnId>,
        kind: PushKind,
    },
    /// Asks whether `write`, in the epoch of `txn`, is replicated at or below `at`; if not, it never will be.
    QueryIntent { write: SequencedWrite, txn: Box<TxnMeta>, at: Timestamp },
    /// Ends a staged transaction whose coordinator is gone, after its writes were queried.
    RecoverTxn { txn: Box<TxnMeta>, committed: bool },
    /// Asks whether a one-phase commit took effect of which the answer was lost; if not, it never will. It was sent to
    /// `range_id` at `sent`, by its coordinator's clock.
    SettleCommit { txn: Box<TxnMeta>, range_id: RangeId, sent: Timestamp },
    /// Tells a range the fate of a transaction's intents and locks in the span.
    ResolveSpan { span: Span, txn: Box<TxnMeta>, status: TxnStatus, commit_ts: Timestamp },
    /// Publishes a descriptor in the addressing records; an older generation loses.
    UpdateMeta { descriptor: Box<keys::RangeDescriptor> },
    /// Splits the range: the right half becomes a range of its own.
    Split { at: Key },
    ChangeReplicas { add: Vec<StoreTarget>, remove: Vec<ReplicaId> },
    TransferLease { to: StoreId },
    /// Removes versions in a part of the span that no read at or above `threshold` can see. Reads below it are refused
    /// from then on.
    Gc { span: Span, threshold: Timestamp },
    /// Answers with the range's descriptor, if this replica is the leaseholder.
    Describe,
    /// A checksum over the range's data at `at`, computed by the replica asked.
    Checksum { at: Timestamp },
    /// Writes versions at `ts`, whatever is there: for keys of which nobody but the sender can know. The rows are in
    /// the order of their keys; none for a value deletes. The same rows at the same time again change nothing.
    Load { ts: Timestamp, rows: Vec<(Key, Option<Bytes>)> },
    /// Under SKIP LOCKED: locks the first rows of a span without a conflicting lock, as many as `max_keys` says, and
    /// answers them as a scan does. What it passes over is not read.
    LockFirst { span: Span, reverse: bool, lock: LockStrength },
    /// Writes down which row locks the transaction holds in the spans, so that a later leaseholder knows them.
    KeepLocks { spans: Vec<Span> },
    /// Makes the transaction prepared: all that it writes are intents at or below its timestamp, at which all that it has
    /// read holds. `locks` as in [`Request::EndTxn`].
    PrepareTxn { locks: Vec<Span> },
    /// Ends a prepared transaction, on behalf of who has named it.
    EndPrepared { txn: TxnMeta, commit: bool },
    /// As a [`Request::Put`] or a [`Request::Delete`] for each of them.
    WriteMany { writes: Writes },
    /// The versions of a span, tombstones too, that were written after `after` and not after the batch's timestamp, which
    /// is given. No later commit lies at or below it. Outside of transactions.
    Changes { span: Span, after: Timestamp },
    /// Merges the range with its right-hand neighbour.
    Merge,
    /// Has the range that begins at `at` serve nothing more until its merge is decided; see [`crate::merge`].
    Freeze { at: Key, into: Box<MergeInto> },
    /// Sent to the owner of `into.start`: whether `right` was merged. If not, it never will be in that attempt.
    MergeOutcome { into: Box<MergeInto>, right: RangeId },
    /// Has a frozen range look now whether its merge was decided.
    Thaw { at: Key },
    /// Size and load of the range, if this replica is the leaseholder.
    RangeStats,
    /// Whether the boundary at `at`, present or to come, is kept: set by SPLIT AT and UNSPLIT AT.
    KeepSplit { at: Key, keep: bool },
    /// Locks rows that the transaction has read in this very snapshot. Answered with [`Response::Done`](super::Response::Done)
    /// where all of them are as it has read them, or else as [`Request::GetMany`]. Not under SKIP LOCKED.
    LockMany { keys: KeyList, lock: LockStrength },
}

/// One attempt to merge a range into its left-hand neighbour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergeInto {
    pub left: RangeId,
    /// Where the left-hand range begins.
    pub start: Key,
    /// The generation of the left-hand range: the attempt is void under any other.
    pub generation: u64,
}

/// [`Span::hull`], empty without keys.
pub(crate) fn hull(keys: &[Key]) -> Span {
    Span::hull(keys).unwrap_or_else(|| Span::new(Key::MIN, Key::MIN))
}

impl Request {
    /// It stores more of what clients store: refused when there is no room. What the system needs to go on, ends of
    /// transactions and deletions among them, is not.
    #[must_use]
    pub fn adds_rows(&self) -> bool {
        match self {
            Self::Put { key, .. } => *key >= keys::keyspace::table(keys::keyspace::FIRST_USER_TABLE),
            Self::Load { .. } => true,
            Self::WriteMany { writes } => {
                writes.has_values_from(keys::keyspace::table(keys::keyspace::FIRST_USER_TABLE).as_bytes())
            }
            _ => false,
        }
    }

    /// It may change what is stored.
    #[must_use]
    pub fn is_write(&self) -> bool {
        match self {
            Self::Get { .. }
            | Self::GetMany { .. }
            | Self::LockMany { .. }
            | Self::Scan { .. }
            | Self::Look { .. }
            | Self::LockFirst { .. }
            | Self::Refresh { .. }
            | Self::HeartbeatTxn { .. }
            | Self::Describe
            | Self::Checksum { .. }
            | Self::RangeStats
            | Self::Changes { .. } => false,
            Self::Put { .. }
            | Self::Delete { .. }
            | Self::WriteMany { .. }
            | Self::ClearRange { .. }
            | Self::Increment { .. }
            | Self::EndTxn { .. }
            | Self::ForgetTxn { .. }
            | Self::PushTxn { .. }
            | Self::QueryIntent { .. }
            | Self::RecoverTxn { .. }
            | Self::SettleCommit { .. }
            | Self::ResolveSpan { .. }
            | Self::UpdateMeta { .. }
            | Self::Split { .. }
            | Self::ChangeReplicas { .. }
            | Self::TransferLease { .. }
            | Self::Gc { .. }
            | Self::KeepLocks { .. }
            | Self::PrepareTxn { .. }
            | Self::EndPrepared { .. }
            | Self::Merge
            | Self::Freeze { .. }
            | Self::MergeOutcome { .. }
            | Self::Thaw { .. }
            | Self::KeepSplit { .. }
            | Self::Load { .. } => true,
        }
    }

    /// It is idempotent, also when the second time comes much later: it may be sent again to the new leaseholder when
    /// the first answer is lost. A commit is not: its record may have been removed between the two.
    #[must_use]
    pub fn may_be_repeated(&self) -> bool {
        match self {
            Self::Get { .. }
            | Self::GetMany { .. }
            | Self::LockMany { .. }
            | Self::Scan { .. }
            | Self::Look { .. }
            | Self::LockFirst { .. }
            | Self::Refresh { .. }
            | Self::HeartbeatTxn { .. }
            | Self::PushTxn { .. }
            | Self::QueryIntent { .. }
            | Self::RecoverTxn { .. }
            | Self::SettleCommit { .. }
            | Self::ResolveSpan { .. }
            | Self::ForgetTxn { .. }
            | Self::UpdateMeta { .. }
            | Self::KeepLocks { .. }
            | Self::EndPrepared { .. }
            | Self::EndTxn { commit: false, .. }
            | Self::Describe
            | Self::Checksum { .. }
            // A freeze that comes late names a generation that is past, and ends when that is found out.
            | Self::Freeze { .. }
            | Self::MergeOutcome { .. }
            | Self::Thaw { .. }
            | Self::RangeStats
            | Self::Changes { .. } => true,
            // What comes late must not undo what was written since, or count twice.
            Self::Put { .. }
            | Self::Delete { .. }
            | Self::WriteMany { .. }
            | Self::ClearRange { .. }
            | Self::Increment { .. }
            | Self::EndTxn { commit: true, .. }
            | Self::PrepareTxn { .. }
            | Self::Split { .. }
            | Self::ChangeReplicas { .. }
            | Self::TransferLease { .. }
            | Self::Gc { .. }
            | Self::Merge
            | Self::KeepSplit { .. }
            | Self::Load { .. } => false,
        }
    }

    /// Whether the range has all keys that it touches, for *one-range*. `anchor` is the transaction's.
    #[must_use]
    pub fn lies_in(&self, range: &keys::RangeDescriptor, anchor: Option<&Key>) -> bool {
        let has = |key: &Key| range.contains_key(key.as_bytes());
        let has_all = |span: &Span| range.start <= span.start && span.end <= range.end;
        let has_list = |keys: &KeyList| [keys.first(), keys.last()].into_iter().flatten().all(|key| range.contains_key(key));
        match self {
            Self::Get { key, .. }
            | Self::Put { key, .. }
            | Self::Delete { key, .. }
            | Self::Increment { key, .. } => has(key),
            Self::QueryIntent { write, .. } => has(&write.key),
            Self::Scan { span, .. }
            | Self::Look { span, .. }
            | Self::LockFirst { span, .. }
            | Self::ClearRange { span, .. }
            | Self::Refresh { span, .. }
            | Self::ResolveSpan { span, .. }
            | Self::Changes { span, .. } => has_all(span),
            Self::EndTxn { .. } | Self::PrepareTxn { .. } => anchor.is_none_or(has),
            Self::KeepLocks { spans } => spans.iter().all(has_all),
            Self::EndPrepared { txn, .. } => has(&txn.anchor),
            Self::HeartbeatTxn { anchor, .. } | Self::ForgetTxn { anchor, .. } => has(anchor),
            Self::PushTxn { pushee, .. } => has(&pushee.anchor),
            Self::RecoverTxn { txn, .. } | Self::SettleCommit { txn, .. } => has(&txn.anchor),
            Self::UpdateMeta { descriptor } => has(&keys::keyspace::meta(&descriptor.end)),
            Self::GetMany { keys, .. } => [keys.first(), keys.last()].into_iter().flatten().all(has),
            Self::WriteMany { writes } => has_list(writes.keys()),
            Self::LockMany { keys, .. } => has_list(keys),
            Self::KeepSplit { at, .. } | Self::Freeze { at, .. } | Self::Thaw { at } => has(at),
            Self::MergeOutcome { into, .. } => has(&into.start),
            Self::Load { rows, .. } => [rows.first(), rows.last()].into_iter().flatten().all(|(key, _)| has(key)),
            Self::Split { .. }
            | Self::ChangeReplicas { .. }
            | Self::TransferLease { .. }
            | Self::Gc { .. }
            | Self::Describe
            | Self::Merge
            | Self::RangeStats
            | Self::Checksum { .. } => true,
        }
    }
}
