//! SQL text to physical plan.

pub mod expr;
pub mod logical;
pub mod plan;
pub mod statement;

pub use expr::{AggregateCall, Comparison, Expr, SequenceOp, SortKey, Subquery, SubqueryKind, TruthTest};
pub use plan::{JoinKind, Node, Plan, PlanColumn};
pub use statement::{Ddl, PreparedPlan, StatementKind, Utility};
