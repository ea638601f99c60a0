//! From plan nodes to operators that are pulled.

use async_trait::async_trait;
use plan::{Node, Plan};
use types::stack::{deep, grown};
use types::{Batch, SqlResult, SqlType};

use crate::context::{ExecContext, NodeStats};
use crate::stack::OnGrownStack;
use crate::{change, merge, scan};
use crate::operators::{
    aggregate::Aggregation, append::Append, apply::Apply, cte, distinct::Distinct, filter::Filter, function_scan, join::Join,
    limit::Limit, lock_rows::LockRows, project::Project, project_set::ProjectSet, set_op::SetOp, sort::Sort, values, window::Window,
};

/// Rows of a batch that operators aim at.
pub const BATCH_ROWS: usize = 1024;

#[async_trait]
pub trait Operator: Send {
    /// The next rows, `None` for ever after the last. A batch may be empty.
    async fn next(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>>;
}

pub type BoxOperator = Box<dyn Operator>;

pub fn build(plan: &Plan) -> SqlResult<BoxOperator> {
    deep(|| Builder { is_instrumented: false, next: 0, depth: 0 }.build(plan))
}

/// As [`build`], counting into `ctx.stats` what EXPLAIN ANALYZE shows.
pub fn build_instrumented(plan: &Plan) -> SqlResult<BoxOperator> {
    deep(|| Builder { is_instrumented: true, next: 0, depth: 0 }.build(plan))
}

pub(crate) fn column_types(plan: &Plan) -> Vec<SqlType> {
    plan.columns.iter().map(|column| column.ty).collect()
}

/// Numbers the nodes in pre-order while it builds them.
#[derive(Clone)]
pub(crate) struct Builder {
    is_instrumented: bool,
    next: usize,
    /// How many operators stand above the one that is being built.
    depth: usize,
}

/// Every so many levels pulling goes on with more stack.
const LEVELS_PER_SEGMENT: usize = 16;

impl Builder {
    pub(crate) fn build(&mut self, plan: &Plan) -> SqlResult<BoxOperator> {
        let node = self.next;
        self.next += 1;
        self.depth += 1;
        let is_far = self.depth.is_multiple_of(LEVELS_PER_SEGMENT);
        let operator = if is_far { grown(|| self.build_node(plan)) } else { self.build_node(plan) };
        self.depth -= 1;
        let mut operator = operator?;
        if self.is_instrumented {
            operator = Box::new(Instrumented { input: operator, node, has_started: false });
        }
        Ok(if is_far { Box::new(OnGrownStack::new(operator)) } else { operator })
    }

    fn build_node(&mut self, plan: &Plan) -> SqlResult<BoxOperator> {
        let types = || column_types(plan);
        Ok(match &plan.node {
            Node::Unit => Box::new(values::Unit::default()),
            Node::Values { rows } => Box::new(values::Values::new(rows.clone(), types())),
            Node::VirtualScan { table, columns, lookup, filter } => {
                Box::new(values::VirtualScan::new(table, columns.clone(), lookup.clone(), filter.clone(), types()))
            }
            Node::FunctionScan { calls, with_ordinality } => {
                Box::new(function_scan::FunctionScan::new(calls.clone(), *with_ordinality, types()))
            }
            Node::HashJoin { left, right, left_keys, right_keys, kind, filter } => {
                let keys = (left_keys.clone(), right_keys.clone());
                let sides = (column_types(left), column_types(right));
                let (left, right) = (self.build(left)?, self.build(right)?);
                Box::new(Join::hash(left, right, sides, keys, *kind, filter.clone()))
            }
            Node::NestedLoopJoin { left, right, kind, filter } => {
                let sides = (column_types(left), column_types(right));
                let (left, right) = (self.build(left)?, self.build(right)?);
                Box::new(Join::nested_loop(left, right, sides, *kind, filter.clone()))
            }
            Node::Apply { left, right, arguments, kind, filter } => {
                let left = self.build(left)?;
                let again = self.clone();
                // The right is built for each left row; here only its nodes are counted, and its errors found.
                drop(self.build(right)?);
                Box::new(Apply::new(left, right.clone(), again, arguments.clone(), *kind, filter.clone())?)
            }
            Node::Filter { input, predicate } => Box::new(Filter::new(self.build(input)?, predicate.clone())),
            Node::Project { input, exprs } => Box::new(Project::new(self.build(input)?, exprs.clone())),
            Node::ProjectSet { input, items } => Box::new(ProjectSet::new(self.build(input)?, items.clone(), types())),
            Node::Aggregate { input, groups, aggregates, sets } => {
                Box::new(Aggregation::new(self.build(input)?, groups.clone(), aggregates.clone(), sets.clone(), types()))
            }
            Node::Window { input, partition_by, order_by, calls } => Box::new(Window::new(
                self.build(input)?,
                partition_by.clone(),
                order_by.clone(),
                calls.clone(),
            )),
            Node::Distinct { input, on } => {
                let types = column_types(input);
                Box::new(Distinct::new(self.build(input)?, on.clone(), &types))
            }
            Node::Sort { input, keys, limit } => {
                Box::new(Sort::new(self.build(input)?, keys.clone(), limit.as_deref().cloned()))
            }
            Node::Limit { input, limit, offset, ties } => {
                Box::new(Limit::new(self.build(input)?, limit.clone(), offset.clone(), ties.clone()))
            }
            Node::LockRows(lock) => {
                let again = self.clone();
                Box::new(LockRows::new(self.build(&lock.input)?, lock.clone(), again))
            }
            Node::SetOp { kind, all, inputs } => {
                let inputs = inputs.iter().map(|input| self.build(input)).collect::<SqlResult<Vec<_>>>()?;
                Box::new(SetOp::new(*kind, *all, inputs, types()))
            }
            Node::Append(append) => {
                let inputs = append.inputs.iter().map(|input| self.build(input)).collect::<SqlResult<Vec<_>>>()?;
                Box::new(Append::new(inputs, append.pruning.clone()))
            }
            Node::Finish { input, ctes } => Box::new(cte::Finish::new(self.build(input)?, ctes.clone())),
            Node::TransitionScan { name } => Box::new(values::TransitionScan::new(name.clone(), types())),
            Node::CteScan { cte } => Box::new(cte::CteScan::new(*cte)),
            Node::RecursiveUnion { cte, base, step, all } => {
                let base = self.build(base)?;
                let again = self.clone();
                drop(self.build(step)?);
                Box::new(cte::RecursiveUnion::new(*cte, base, (**step).clone(), again, *all, types()))
            }
            Node::TableScan(scan) => {
                scan::check_populated(&scan.table)?;
                scan::build_scan(scan)
            }
            Node::LookupJoin { left, scan, keys, kind, filter } => {
                scan::check_populated(&scan.table)?;
                let left = self.build(left)?;
                scan::build_lookup_join(left, scan, keys, *kind, filter.as_ref())
            }
            Node::Insert(insert) => change::build_insert(insert, self.build(&insert.source)?),
            Node::Update(update) => change::build_update(update, self.build(&update.source)?),
            Node::Delete(delete) => change::build_delete(delete, self.build(&delete.source)?),
            Node::Merge(merge) => merge::build_merge(merge, self.build(&merge.source)?),
        })
    }
}

struct Instrumented {
    input: BoxOperator,
    node: usize,
    has_started: bool,
}

#[async_trait]
impl Operator for Instrumented {
    async fn next(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
        let before = ctx.eval.host.clock_timestamp();
        let batch = self.input.next(ctx).await?;
        let micros = ctx.eval.host.clock_timestamp().saturating_sub(before);
        if let Some(stats) = &mut ctx.stats {
            if stats.nodes.len() <= self.node {
                stats.nodes.resize(self.node + 1, NodeStats::default());
            }
            let node = &mut stats.nodes[self.node];
            node.loops += u64::from(!self.has_started);
            node.rows += batch.as_ref().map_or(0, |batch| batch.len() as u64);
            let micros = u64::try_from(micros).unwrap_or(0);
            node.micros += micros;
            if !self.has_started {
                node.startup_micros += micros;
            }
        }
        self.has_started = true;
        Ok(batch)
    }
}
