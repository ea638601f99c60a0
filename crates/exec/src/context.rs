//! What a running statement has at hand.
//!
//! **Invariant (frame-balance):** [`ExecContext::outer`] is a stack: the last frame belongs to the plan that is being
//! pulled. Whoever runs a plan with another frame pushes it and pops it before returning, on errors too.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use builtins::EvalContext;
use catalog::{CatalogSnapshot, VirtualRows, VirtualTable};
use plan::{Plan, SequenceOp};
use types::{Datum, SqlError, SqlResult};

pub use crate::cancel::{CancelFlag, CancelReason};
use crate::eval::EvalScope;
pub use crate::foreign::ForeignQueue;
use crate::memory::MemoryBudget;
pub use crate::operators::cte::{Ctes, complete as complete_cte};
pub use crate::sequence::SequenceState;
use crate::subquery::SubqueryCache;

/// Rows of the tables that are made when read.
pub trait VirtualTables: Send + Sync {
    /// # Errors
    /// When they cannot be made.
    fn rows(&self, table: &'static VirtualTable) -> SqlResult<Arc<VirtualRows>>;
}

/// What EXPLAIN ANALYZE shows of a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NodeStats {
    pub rows: u64,
    /// How often it was run from its start.
    pub loops: u64,
    /// Time in the node and those below it, of all runs.
    pub micros: u64,
    /// What of it went by until the first rows came.
    pub startup_micros: u64,
}

/// Counters of the nodes in pre-order; CTEs and subqueries in expressions are not among them.
#[derive(Debug, Clone, Default)]
pub struct ExecStats {
    pub nodes: Vec<NodeStats>,
}

pub struct ExecContext<'a> {
    /// `None` only where a plan reads no data.
    pub txn: Option<&'a mut kv::Txn>,
    pub params: &'a [Datum],
    pub eval: &'a EvalContext<'a>,
    pub catalog: &'a Arc<CatalogSnapshot>,
    /// Filled as far as they are read.
    pub ctes: Ctes,
    pub cte_plans: &'a [Arc<Plan>],
    /// Frames of Outer slots, the innermost last.
    pub outer: Vec<Vec<Datum>>,
    pub virtual_tables: &'a dyn VirtualTables,
    pub sequences: &'a mut SequenceState,
    pub memory: MemoryBudget,
    pub cancel: CancelFlag,
    pub stats: Option<ExecStats>,
    /// Rows inserted, updated or deleted.
    pub affected: u64,
    pub subqueries: SubqueryCache,
    /// What the changes so far owe to foreign keys.
    pub foreign: ForeignQueue,
}

impl<'a> ExecContext<'a> {
    pub fn txn(&mut self) -> SqlResult<&mut kv::Txn> {
        self.txn.as_deref_mut().ok_or_else(|| SqlError::internal("a plan that reads data was run without a transaction"))
    }

    #[must_use]
    pub fn scope(&self) -> EvalScope<'_> {
        EvalScope { params: self.params, outer: self.outer.last().map_or(&[], Vec::as_slice), eval: self.eval }
    }

    /// Reserves or reads a sequence's value.
    pub async fn sequence(&mut self, op: SequenceOp, args: &[Datum]) -> SqlResult<Datum> {
        let db = self.txn()?.db().clone();
        self.sequences.call(op, args, self.catalog, &db).await
    }

    /// A fresh id for a row without a primary key: a time in the high bits, so that ids rise, and the node and a count
    /// below, so that no two are the same.
    pub fn row_id(&mut self) -> SqlResult<Datum> {
        static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let db = self.txn()?.db();
        let now = db.clock().now();
        let count = COUNT.fetch_add(1, Ordering::Relaxed) & 0xfff;
        // 46 bits of time in 32 microseconds since 1970, 5 of the node, 12 of the count.
        let time = (now.wall_ns() >> 15) & 0x3fff_ffff_ffff;
        let id = time << 17 | (db.node_id().get() & 0x1f) << 12 | count;
        Ok(Datum::Int((id & 0x7fff_ffff_ffff_ffff) as i64))
    }
}
