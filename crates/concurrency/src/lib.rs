//! The problem: requests on the same keys must not see each other half done, within one evaluation and across the
//! life of a transaction, and those that must wait have to wait in order, be woken, and never wait in a circle.
//!
//! Four structures, from the shortest hold to the longest memory:
//!
//! ```text
//! request ──▶ latches ──▶ lock table ──▶ evaluate ──▶ timestamp cache ──▶ apply ──▶ latches released
//!             one         one             │            what was read stays read:
//!             command     transaction     │            later writes go above it
//!                           ▲             │
//!                           └─ conflict ◀─┘  drop the latches, queue, push the holder
//!                                              └─▶ wait-for graph: a circle has a victim
//! ```
//!
//! All of it is state behind a short mutex, and futures that are woken by whoever frees what they wait for. There is
//! no I/O, no clock and no runtime here; what must survive a crash is in the log, never in these structures.
//!
//! **Invariants** (each with a test of its name)
//! - *latch-conflicts-ordered*: of two conflicting latch requests, the earlier is granted first, and the later only
//!   after the earlier is gone.
//! - *fifo-fair*: nobody overtakes a waiter of conflicting strength on the same key, save a holder that upgrades.
//! - *one-place*: a locked key is in the lock table itself or in one list of keys that were locked together.
//! - *no-lost-wakeup*: a waiter with nothing left ahead of it is ready, or its task has been woken.
//! - *own-read-no-push*: a transaction whose own read is the latest of a key is told so.
//! - *cache-never-lowers*: what the timestamp cache answers for a key never falls.

mod latch;
mod lock_table;
mod ts_cache;
mod wait_for;

pub use latch::{Access, Acquire, LatchGuard, LatchManager, LatchRow, LatchSpan, LatchSpans, LatchStats};
pub use lock_table::{
    Acquired, BULK_MIN, Conflict, LockRequest, LockRow, LockTable, LockTableStats, RowState, WaitOutcome, Waiter,
};
pub use ts_cache::{TimestampCache, TimestampCacheConfig, TimestampCacheStats};
pub use wait_for::{Cycle, WaitForGraph};

/// The single key a span was made for by `Span::point`, if it was.
///
/// By *prefix-free* of the keyspace no other stored key lies in `[k, k.next())`.
fn point_of(span: &keys::Span) -> Option<&keys::Key> {
    let (start, end) = (span.start.as_bytes(), span.end.as_bytes());
    let is_point = !start.is_empty()
        && end.len() == start.len() + 1
        && end.last() == Some(&0xff)
        && end.starts_with(start);
    is_point.then_some(&span.start)
}
