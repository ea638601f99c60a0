//! What a replica answers.

use bytes::Bytes;
use hlc::Timestamp;
use keys::{NodeId, RangeDescriptor, SequencedWrite, Span, TxnId, TxnMeta, TxnStatus};
use serde::{Deserialize, Serialize};
use storage::{Changes, KvRows};

/// The state of a transaction as its record's range knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PushedTxn {
    pub status: TxnStatus,
    /// The attempt that the record speaks of: what earlier ones wrote is not part of what commits.
    pub epoch: u32,
    /// Where it committed, when it did; for a staged one, where it will.
    pub commit_ts: Timestamp,
    /// The writes a staged commit waits for.
    pub in_flight: Vec<SequencedWrite>,
    /// Its spans, for whoever must clean up after it.
    pub locks: Vec<Span>,
    /// Its coordinator has not been heard of for longer than a lock lives.
    pub expired: bool,
    /// Transactions that wait for it, as reported to this range.
    pub dependents: Vec<TxnId>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Response {
    Get { value: Option<Bytes> },
    /// `resume` is what is left of the span when a bound stopped the scan.
    Scan { rows: KvRows, resume: Option<Span> },
    /// How many keys were written.
    Write { keys: u64 },
    Increment { value: i64 },
    /// `was_staged` says whether what was known of the transaction before includes a staged commit of its epoch. Aborted
    /// without: one may have been committed by recovery, and been forgotten.
    EndTxn { status: TxnStatus, commit_ts: Timestamp, was_staged: bool },
    Refresh,
    /// The state it found.
    HeartbeatTxn { status: TxnStatus },
    PushTxn(Box<PushedTxn>),
    QueryIntent { found: bool },
    RecoverTxn { status: TxnStatus, commit_ts: Timestamp },
    /// Pending: it cannot be known any more.
    SettleCommit { status: TxnStatus, commit_ts: Timestamp },
    ResolveSpan { resume: Option<Span> },
    Split { left: Box<RangeDescriptor>, right: Box<RangeDescriptor> },
    ChangeReplicas { descriptor: Box<RangeDescriptor> },
    /// `resume` is what was not looked at.
    Gc { keys: u64, resume: Option<Span> },
    Checksum { value: u64 },
    /// A request with nothing to say but that it is done.
    Done,
    /// What a transaction is after it was prepared, or after its end was asked for; pending, if nothing is known of it.
    Prepared { status: TxnStatus, ts: Timestamp },
    Changes(Box<Changes>),
    Merged { descriptor: Box<RangeDescriptor> },
    Frozen(Box<FrozenRange>),
    MergeOutcome { merged: bool },
    RangeStats(Box<RangeStats>),
}

/// A range that serves nothing more until its merge is decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrozenRange {
    pub descriptor: RangeDescriptor,
    /// The log index up to which a replica must have applied to have all that the range ever served.
    pub index: u64,
    /// At or above everything that was read or written there.
    pub low_water: Timestamp,
}

/// What the leaseholder knows of its range.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RangeStats {
    pub descriptor: RangeDescriptor,
    pub node: NodeId,
    pub bytes: u64,
    pub batches_per_second: u64,
    /// Whether its start is a boundary that a statement has set.
    pub is_start_kept: bool,
    /// For how long it has been neither split nor merged, as far as this leaseholder knows.
    pub settled_ms: u64,
}

/// One response for each request, in their order.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct BatchResponse {
    pub responses: Vec<Response>,
    /// The transaction after this batch: its `write_ts` may have grown, and with it nothing else.
    pub txn: Option<TxnMeta>,
    /// Where the transaction's reads now stand; above the header's only with `can_forward`.
    pub read_ts: Timestamp,
    /// The node that answers and its clock, for [`TxnHeader::observed`](super::TxnHeader::observed).
    pub node: NodeId,
    pub now: Timestamp,
    /// The current descriptor, when the sender routed by an older one.
    pub descriptor: Option<RangeDescriptor>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Request;

    /// A large commit holds one request and one response for each of its writes: what is large and rare is boxed.
    #[test]
    fn requests_and_responses_are_small() {
        assert!(size_of::<Request>() <= 128, "a request has {} bytes", size_of::<Request>());
        assert!(size_of::<Response>() <= 128, "a response has {} bytes", size_of::<Response>());
    }
}
