//! What the layers above see of a failed transaction.

use hlc::Timestamp;
use keys::{Key, TxnId};
use replica::api::{AbortReason, KvError, RetryReason};

/// Why a transaction must start over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// The refresh after this found a change.
    Read(RetryReason),
    /// A value the transaction was to run under, such as the catalog's version, is another by now.
    CheckedValueChanged,
    Aborted(AbortReason),
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// 40001: what was read does not hold at the timestamp the transaction must have. It may be run again.
    #[error("restart transaction: {reason:?}")]
    Retry { reason: Restart, at_least: Timestamp },
    /// 40003: the commit may or may not have happened.
    #[error("the result of the transaction is unknown: {reason}")]
    Ambiguous { reason: String },
    /// 72000: a transaction in the past reads what may have been removed.
    #[error("snapshot too old: versions are kept from {threshold} on")]
    SnapshotTooOld { threshold: Timestamp },
    /// 40P01
    #[error("deadlock detected")]
    Deadlock { members: Vec<TxnId> },
    /// 55P03
    #[error("could not obtain lock on {key}")]
    LockNotAvailable { key: Key },
    /// 55P03
    #[error("canceling statement due to lock timeout")]
    LockTimeout { key: Key },
    /// 57P03 and such: no leaseholder could be found for long, nothing was executed.
    #[error("range is unavailable: {reason}")]
    Unavailable { reason: String },
    /// 53200
    #[error("transaction is too large: {bytes} bytes buffered, {max} allowed")]
    TooLarge { bytes: usize, max: usize },
    /// 53100: a disk is nearly full, nothing was executed.
    #[error("{reason}")]
    DiskFull { reason: String },
    /// The transaction was used after it had ended: a bug of the caller.
    #[error("transaction has ended")]
    Ended,
    #[error("{reason}")]
    Internal { reason: String },
}

impl Error {
    /// Running the transaction again from its start may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Retry { .. } => true,
            Self::Ambiguous { .. }
            | Self::Deadlock { .. }
            | Self::LockNotAvailable { .. }
            | Self::LockTimeout { .. }
            | Self::Unavailable { .. }
            | Self::TooLarge { .. }
            | Self::DiskFull { .. }
            | Self::Ended
            | Self::SnapshotTooOld { .. }
            | Self::Internal { .. } => false,
        }
    }
}

impl From<KvError> for Error {
    fn from(error: KvError) -> Self {
        match error {
            KvError::Retry { reason, to } => Self::Retry { reason: Restart::Read(reason), at_least: to },
            KvError::Aborted { reason: AbortReason::Deadlock, txn_id } => Self::Deadlock { members: vec![txn_id] },
            KvError::Aborted { reason, .. } => {
                Self::Retry { reason: Restart::Aborted(reason), at_least: Timestamp::MIN }
            }
            KvError::SnapshotTooOld { threshold } => Self::SnapshotTooOld { threshold },
            KvError::LockNotAvailable { key, .. } => Self::LockNotAvailable { key },
            KvError::LockTimeout { key, .. } => Self::LockTimeout { key },
            KvError::Deadlock { members, .. } => Self::Deadlock { members },
            KvError::Ambiguous { reason } => Self::Ambiguous { reason },
            KvError::TooLarge { bytes, max } => Self::TooLarge { bytes, max },
            KvError::DiskFull { reason } => Self::DiskFull { reason },
            KvError::Unavailable { reason, .. } => Self::Unavailable { reason },
            KvError::NotLeaseholder { .. } | KvError::RangeNotFound { .. } | KvError::RangeMismatch { .. } => {
                Self::Unavailable { reason: error.to_string() }
            }
            KvError::Invalid { reason } | KvError::Internal { reason } => Self::Internal { reason },
        }
    }
}
