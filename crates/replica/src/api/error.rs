//! Why a batch was not executed.

use hlc::Timestamp;
use keys::{Key, RangeDescriptor, RangeId, ReplicaDescriptor, TxnId};
use serde::{Deserialize, Serialize};

/// Why a transaction must read again at a later timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RetryReason {
    /// Its writes had to move above reads or writes of others.
    WritePushed,
    /// A value it may have to see was written within its uncertainty interval.
    Uncertain,
    /// Something it read has been written since.
    ReadChanged,
    /// The time in the key of a notification is too long ago: it must have another key.
    KeyTooOld,
}

/// Why a transaction is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AbortReason {
    /// Its heartbeat was missing for longer than a lock lives.
    HeartbeatMissing,
    /// It was chosen to break a deadlock.
    Deadlock,
    /// Its record is gone: it ended before.
    RecordGone,
}

#[derive(Clone, Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
pub enum KvError {
    #[error("{range_id} is not led here")]
    NotLeaseholder { range_id: RangeId, hint: Option<ReplicaDescriptor> },
    #[error("no replica of {range_id} here")]
    RangeNotFound { range_id: RangeId },
    /// The batch's keys are not all in the range; the descriptors say where they may be.
    #[error("keys outside of {range_id}")]
    RangeMismatch { range_id: RangeId, descriptors: Vec<RangeDescriptor> },
    /// The transaction can go on once it has refreshed its reads to `to`.
    #[error("transaction must move to {to}: {reason:?}")]
    Retry { reason: RetryReason, to: Timestamp },
    #[error("transaction {txn_id} is aborted: {reason:?}")]
    Aborted { txn_id: TxnId, reason: AbortReason },
    /// What the read would see may have been removed: it is older than the range remembers, or than the removal of
    /// all that was there.
    #[error("the snapshot is older than {threshold}, from where on versions are kept")]
    SnapshotTooOld { threshold: Timestamp },
    /// NOWAIT found the key held.
    #[error("{key} is locked by {holder}")]
    LockNotAvailable { key: Key, holder: TxnId },
    #[error("waited too long for {key}, held by {holder}")]
    LockTimeout { key: Key, holder: TxnId },
    #[error("transaction {txn_id} waits in a circle")]
    Deadlock { txn_id: TxnId, members: Vec<TxnId> },
    /// Whether the batch was executed cannot be known. It must not be sent again as if it had not been.
    #[error("the outcome is unknown: {reason}")]
    Ambiguous { reason: String },
    /// Nothing was executed and nothing can be for now: no quorum, or the store is stopping.
    #[error("{range_id} is unavailable: {reason}")]
    Unavailable { range_id: RangeId, reason: String },
    #[error("command of {bytes} bytes is over the bound of {max}")]
    TooLarge { bytes: usize, max: usize },
    #[error("{reason}")]
    Invalid { reason: String },
    /// The leaseholder's disk is nearly full. Nothing was executed.
    #[error("{reason}")]
    DiskFull { reason: String },
    /// Damaged bytes, a bug: said as it is.
    #[error("{reason}")]
    Internal { reason: String },
}
