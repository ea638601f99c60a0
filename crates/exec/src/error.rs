//! Errors of the layers below as SQL's.

use catalog::row::EntryError;
use kv::{Error, Restart};
use types::{SqlError, SqlState};

/// Why a transaction failed that was planned under an older catalog: the session looks for it.
pub const CATALOG_CHANGED: &str = "the catalog has changed since the statement was planned";

const LOST: &str = "could not serialize access due to concurrent update";
const DEADLOCK: &str = "deadlock detected";

/// Whether an error of [`kv_error`] takes the whole transaction with it, so that no savepoint is left to go back to.
#[must_use]
pub fn loses_transaction(error: &SqlError) -> bool {
    match error.code() {
        SqlState::SerializationFailure => error.message() == LOST,
        SqlState::DeadlockDetected => error.message() == DEADLOCK,
        SqlState::StatementCompletionUnknown => true,
        _ => false,
    }
}

/// A failed transaction as a client sees it. What may be retried is 40001, so that the session and drivers know.
#[must_use]
pub fn kv_error(error: &Error) -> SqlError {
    match error {
        Error::Retry { reason, .. } => {
            let what = match reason {
                Restart::CheckedValueChanged => CATALOG_CHANGED,
                Restart::Read(_) => "a value that the transaction has read was changed by another",
                Restart::Aborted(_) => "the transaction was aborted by another",
            };
            SqlError::new(SqlState::SerializationFailure, LOST)
                .with_detail(format!("Reason: {what}."))
                .with_hint("The transaction might succeed if retried.")
        }
        Error::Ambiguous { reason } => SqlError::new(
            SqlState::StatementCompletionUnknown,
            "the result of the transaction is unknown: it may or may not have been committed",
        )
        .with_detail(reason.clone()),
        Error::Deadlock { .. } => SqlError::new(SqlState::DeadlockDetected, DEADLOCK),
        Error::LockNotAvailable { .. } => {
            SqlError::new(SqlState::LockNotAvailable, "could not obtain lock on row")
        }
        Error::LockTimeout { .. } => {
            SqlError::new(SqlState::LockNotAvailable, "canceling statement due to lock timeout")
        }
        Error::Unavailable { reason } => {
            SqlError::new(SqlState::CannotConnectNow, "part of the data is not available now")
                .with_detail(reason.clone())
                .with_hint("A majority of the nodes that hold it must be running.")
        }
        Error::TooLarge { bytes, max } => {
            SqlError::new(SqlState::OutOfMemory, "the transaction has written too much to hold in memory")
                .with_detail(format!("It holds {bytes} bytes, {max} are allowed while a savepoint is open."))
        }
        Error::DiskFull { reason } => SqlError::new(SqlState::DiskFull, reason.clone())
            .with_hint("Rows can be read and deleted. Writes are taken again when there is room."),
        Error::SnapshotTooOld { threshold } => SqlError::new(SqlState::SnapshotTooOld, "snapshot too old")
            .with_detail(format!(
                "What the statement reads has been removed since: rows are there from {threshold} on."
            ))
            .with_hint("Start the transaction again."),
        Error::Ended => SqlError::internal("a statement ran in a transaction that had ended"),
        Error::Internal { reason } => SqlError::internal(reason.clone()),
    }
}

pub(crate) fn from_kv(error: Error) -> SqlError {
    kv_error(&error)
}

pub(crate) fn from_entry(error: EntryError) -> SqlError {
    SqlError::new(SqlState::DataCorrupted, error.to_string())
}
