//! What clients do, and what they write down of it.

pub mod bank;
pub mod lists;
pub mod registers;
pub mod tables;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use checkers::Outcome;
use keys::{Key, Span};
use kv::{Error, ScanOptions, Txn};

use crate::run::Run;

/// A client gives a transaction up after this; its gateway is still there, so nothing of it should take as long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// A key of the tables' part of the key space: a letter for the workload, then numbers.
#[must_use]
pub fn key(letter: u8, numbers: &[u32]) -> Key {
    let mut bytes = vec![0x10, letter];
    for number in numbers {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    bytes.into()
}

/// All keys under a letter and some numbers.
#[must_use]
pub fn span(letter: u8, numbers: &[u32]) -> Span {
    let start = key(letter, numbers);
    let mut end = start.as_bytes().to_vec();
    end.extend_from_slice(&[0xff; 9]);
    Span::new(start, end.into())
}

/// How an attempt ended at a client.
#[derive(Clone, Debug)]
pub(crate) enum Ended {
    Committed,
    Failed(Error),
    /// The gateway died, after COMMIT had been sent or before.
    Cut { committing: bool },
}

impl Ended {
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Committed => Outcome::Ok,
            Self::Failed(Error::Ambiguous { .. }) | Self::Cut { committing: true } => Outcome::Info,
            Self::Failed(_) | Self::Cut { committing: false } => Outcome::Fail,
        }
    }
}

/// Reads a span page by page, pausing between pages.
pub(crate) async fn scan_all(
    txn: &mut Txn,
    span: Span,
    mut page_rows: impl FnMut() -> u64,
    mut pause: impl FnMut() -> Duration,
    mut first: impl FnMut(),
) -> Result<Vec<(Key, Bytes)>, Error> {
    let mut rows = Vec::new();
    let mut rest = Some(span);
    while let Some(span) = rest {
        let page = txn.scan(&span, ScanOptions { max_rows: page_rows(), ..ScanOptions::default() }).await?;
        rows.extend(page.rows.iter().map(|(key, value)| (Key::from(key), Bytes::copy_from_slice(value))));
        rest = page.resume;
        first();
        let pause = pause();
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
    Ok(rows)
}

/// Notes what no client should be told; whether it is the transaction's last word.
pub(crate) fn judge_error(run: &Arc<Run>, error: &Error) {
    if let Error::Internal { reason } = error {
        run.fault(format!("internal error: {reason}"));
    }
}

/// A number as a value.
pub(crate) fn number(value: u64) -> Bytes {
    Bytes::copy_from_slice(&value.to_be_bytes())
}

/// Nothing is zero.
pub(crate) fn as_number(value: Option<&[u8]>) -> u64 {
    value.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes)
}
