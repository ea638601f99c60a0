//! What a query asks for, before it is decided how to get it: the binder's result and the optimizer's input.
//!
//! The shape follows the text: joins as written, one filter for WHERE above them, every column of a table. Choosing
//! indexes and join order, pushing filters down and dropping unused columns is the optimizer's.
//!
//! **Invariant (columns-in-order):** as in [`crate::plan`]: expressions refer to the concatenated columns of the
//! inputs, left first; [`Rel::columns`] describes the output.

use std::sync::Arc;

use catalog::{Table, VirtualTable};
use types::stack::grown;

use crate::{
    expr::{AggregateCall, Expr, SortKey},
    plan::{
        Delete, FunctionCall, Insert, JoinKind, Merge, PlanColumn, ProjectItem, RowLock, SetOpKind, Update, WindowCall,
    },
};

#[derive(Debug)]
pub struct Rel {
    pub node: RelNode,
    pub columns: Vec<PlanColumn>,
}

impl Clone for Rel {
    fn clone(&self) -> Self {
        grown(|| Self { node: self.node.clone(), columns: self.columns.clone() })
    }
}

#[derive(Clone, Debug)]
pub enum RelNode {
    /// One row without columns.
    Unit,
    Values(Vec<Vec<Expr>>),
    /// Every column of `table.columns`, hidden ones included.
    Table { table: Arc<Table>, lock: Option<RowLock> },
    Virtual(&'static VirtualTable),
    Function { calls: Vec<FunctionCall>, with_ordinality: bool },
    Cte(usize),
    /// The visible columns of the rows that a statement has changed, by the name that a trigger has for them.
    Transition(String),
    /// `lateral`: the right side refers to the left's columns as `Expr::Outer(slot)`, and these are the slots' values
    /// over the left's columns.
    Join { left: Box<Rel>, right: Box<Rel>, kind: JoinKind, on: Option<Expr>, lateral: Option<Vec<Expr>> },
    Filter { input: Box<Rel>, predicate: Expr },
    /// Rows that are seen from above are those that come out of here: conditions that could tell of others are not moved
    /// below. Row security, and views WITH (security_barrier).
    Barrier(Box<Rel>),
    Project { input: Box<Rel>, exprs: Vec<Expr> },
    ProjectSet { input: Box<Rel>, items: Vec<ProjectItem> },
    Aggregate { input: Box<Rel>, groups: Vec<Expr>, aggregates: Vec<AggregateCall>, sets: Option<Vec<Vec<usize>>> },
    Window { input: Box<Rel>, partition_by: Vec<Expr>, order_by: Vec<SortKey>, calls: Vec<WindowCall> },
    Distinct { input: Box<Rel>, on: Option<Vec<Expr>> },
    Sort { input: Box<Rel>, keys: Vec<SortKey> },
    /// `ties`: rows behind the last one are taken too while they are equal to it by these keys.
    Limit { input: Box<Rel>, limit: Option<Expr>, offset: Option<Expr>, ties: Vec<SortKey> },
    /// Locks rows of tables, each with the position of its first column. `again`: the rows are those of one table, which
    /// was looked at only; a row must pass this condition when it is locked.
    LockRows { input: Box<Rel>, tables: Vec<(usize, Arc<Table>, RowLock)>, again: Option<Vec<Expr>> },
    /// UNION has two inputs or more, the others two.
    SetOp { kind: SetOpKind, all: bool, inputs: Vec<Rel> },
    RecursiveUnion { cte: usize, base: Box<Rel>, step: Box<Rel>, all: bool },
    /// The plans inside are the optimizer's to make from `source`; their own `source` is a placeholder `Unit`.
    Insert { insert: Box<Insert>, source: Box<Rel> },
    Update { update: Box<Update>, source: Box<Rel> },
    Delete { delete: Box<Delete>, source: Box<Rel> },
    Merge { merge: Box<Merge>, source: Box<Rel> },
}
