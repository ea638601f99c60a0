//! The problem: a plan must become rows, quickly for a million of them and at once for one, within a bound on memory
//! and with PostgreSQL's exact semantics.
//!
//! The idea: each plan node becomes an [`Operator`] that is asked for one [`types::Batch`] after another. Expressions
//! are evaluated over whole columns where nobody can tell the difference, and row by row otherwise.
//!
//! **Invariants**
//! - *lazy-semantics* ([`eval`]): vectorised evaluation answers what row-wise evaluation in source order would.
//! - *frame-balance* ([`context`]): whoever pushes an Outer frame pops it, on errors too.
//! - *budgeted* ([`memory`]): what an operator keeps beyond one batch is counted while it is kept.
//!
//! Deliberately left out: spilling to disk (an operator over its budget fails with 53200).

mod advisory;
mod analyze;
mod assign;
mod cancel;
mod change;
mod choices;
mod domain;
mod aside;
mod entries;
pub mod context;
pub mod deferred;
pub mod ddl;
pub mod error;
pub mod eval;
mod exported;
pub mod foreign;
mod instead_of;
mod internal;
mod merge;
mod numeric_kernels;
pub mod memory;
mod large_object;
pub mod operator;
mod partition;
mod operators;
mod replace;
pub mod row_write;
mod rules;
pub mod scan;
pub mod sequence;
pub mod server_files;
mod stack;
mod subquery;
mod touched;
pub mod trigger;
mod vector_trigger;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod vectorized;
mod volatility;

pub use advisory::AdvisoryLocks;
pub use aside::{aside, poll_aside, poll_turn};
pub use analyze::analyze;
pub use context::{
    CancelFlag, CancelReason, Ctes, ExecContext, ExecStats, ForeignQueue, Lent, NodeStats, Returned, Routines,
    SessionState, TxnSlot, VirtualTables, read_only_error,
};
pub use error::{CATALOG_CHANGED, kv_error, loses_transaction};
pub use exported::ExportedSnapshot;
pub use eval::{EvalScope, eval_batch, eval_filter, eval_row, eval_scalar, is_simple};
pub use memory::{MemoryBudget, NodeMemory, NodeReservation, Reservation};
pub use operator::{BoxOperator, Operator, build, build_instrumented};
pub use partition::Partitions;
pub use row_write::{TableWriter, fit_row};
pub use stack::Grown;
pub use subquery::SubqueryCache;
pub use trigger::{AfterTriggers, Firing, TriggerCall};
