//! The problem: a client thinks in keys and transactions, the data lives in ranges that split, move and change
//! leaders, and a transaction over several of them must look like one instant.
//!
//! The idea: [`Db`] routes batches by a cache of descriptors that every answer corrects; [`Txn`] buffers writes,
//! tracks what it read, and commits with one command in one range or with a parallel commit across ranges.
//!
//! ```text
//! Txn ── reads, locks ──▶ Db ── cut at range bounds ──▶ LocalStore (a call)  or  Transport (postcard)
//!   └── buffer ── commit ─▶
//! ```
//!
//! **Invariants**: *ambiguous-is-final* ([`db`]), *cache-disjoint* ([`range_cache`]), *reads-tracked*, *one-snapshot*
//! and *locks-known* ([`txn`]), *no-dirty-ack* (`txn/commit.rs`), *private-spans-are-unseen* and *loaded-below-read*
//! (`txn/load.rs`), *notified-once* (`txn/notify.rs`), *each-once* ([`changes`]).
//!
//! Deliberately left out: SQL, and everything a leaseholder decides (that is `replica`).

mod changes;
mod db;
mod error;
mod outbound;
mod prepared;
mod range_cache;
mod ranges;
mod txn;

pub use db::{AsKvError, Db, DbConfig, DbMetrics, DbOptions, LocalStore};
pub use error::{Error, Restart};
pub use keys::LockStrength;
pub use prepared::PreparedTxn;
pub use replica::api::{RangeStats, RetryReason, WaitPolicy};
pub use storage::{Changes, KvRows, VersionInfo};
pub use txn::{
    Isolation, Keep, Locked, Read, ReadAhead, Savepoint, ScanOptions, ScanPage, See, StatementMark, StatementStart, Txn,
    TxnOptions,
};
