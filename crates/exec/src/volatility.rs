//! Whether running a plan twice with the same arguments may answer differently.

use builtins::Volatility;
use plan::plan::{FrameBound, FunctionCall, IndexSpan, ProjectItem, TableScan, WindowFunction};
use plan::{AggregateCall, Expr, Node, Plan};
use types::stack::grown;

pub fn expr_is_volatile(expr: &Expr) -> bool {
    expr.any(&mut |expr| match expr {
        Expr::Sequence { .. } | Expr::RowId => true,
        Expr::Routine(call) => call.is_volatile(),
        Expr::Call { builtin, .. } => builtin.volatility == Volatility::Volatile,
        Expr::Subquery(subquery) => plan_is_volatile(&subquery.plan),
        Expr::ToDomain { rules, .. } => rules.checks.iter().any(|(_, check)| expr_is_volatile(check)),
        _ => false,
    })
}

pub fn plan_is_volatile(plan: &Plan) -> bool {
    grown(|| node_is_volatile(plan))
}

fn node_is_volatile(plan: &Plan) -> bool {
    let any = |exprs: &[Expr]| exprs.iter().any(expr_is_volatile);
    let filter = |expr: &Option<Expr>| expr.as_ref().is_some_and(expr_is_volatile);
    match &plan.node {
        Node::Unit | Node::CteScan { .. } | Node::TransitionScan { .. } => false,
        Node::Values { rows } => rows.iter().any(|row| any(row)),
        Node::TableScan(scan) => scan_is_volatile(scan),
        Node::VirtualScan { filter: predicate, .. } => filter(predicate),
        Node::FunctionScan { calls, .. } => calls.iter().any(call_is_volatile),
        Node::LookupJoin { left, scan, keys, filter: predicate, .. } => {
            plan_is_volatile(left) || scan_is_volatile(scan) || any(keys) || filter(predicate)
        }
        Node::HashJoin { left, right, left_keys, right_keys, filter: predicate, .. } => {
            plan_is_volatile(left)
                || plan_is_volatile(right)
                || any(left_keys)
                || any(right_keys)
                || filter(predicate)
        }
        Node::NestedLoopJoin { left, right, filter: predicate, .. } => {
            plan_is_volatile(left) || plan_is_volatile(right) || filter(predicate)
        }
        Node::Apply { left, right, arguments, filter: predicate, .. } => {
            plan_is_volatile(left) || plan_is_volatile(right) || any(arguments) || filter(predicate)
        }
        Node::Filter { input, predicate } => plan_is_volatile(input) || expr_is_volatile(predicate),
        Node::Project { input, exprs } => plan_is_volatile(input) || any(exprs),
        Node::ProjectSet { input, items } => {
            plan_is_volatile(input)
                || items.iter().any(|item| match item {
                    ProjectItem::Scalar(expr) => expr_is_volatile(expr),
                    ProjectItem::Set(call) => call_is_volatile(call),
                })
        }
        Node::Aggregate { input, groups, aggregates, .. } => {
            plan_is_volatile(input) || any(groups) || aggregates.iter().any(aggregate_is_volatile)
        }
        Node::Window { input, partition_by, order_by, calls } => {
            let bound = |bound: &FrameBound| match bound {
                FrameBound::Preceding(expr) | FrameBound::Following(expr) => expr_is_volatile(expr),
                _ => false,
            };
            plan_is_volatile(input)
                || any(partition_by)
                || order_by.iter().any(|key| expr_is_volatile(&key.expr))
                || calls.iter().any(|call| {
                    any(&call.args)
                        || call.frame.as_ref().is_some_and(|frame| bound(&frame.start) || bound(&frame.end))
                        || matches!(&call.function, WindowFunction::Aggregate(call) if aggregate_is_volatile(call))
                })
        }
        Node::Distinct { input, on } => plan_is_volatile(input) || on.as_ref().is_some_and(|on| any(on)),
        Node::Sort { input, keys, .. } => {
            plan_is_volatile(input) || keys.iter().any(|key| expr_is_volatile(&key.expr))
        }
        Node::Limit { input, limit, offset, ties } => {
            plan_is_volatile(input)
                || filter(limit)
                || filter(offset)
                || ties.iter().any(|key| expr_is_volatile(&key.expr))
        }
        Node::LockRows(_) => true,
        Node::SetOp { inputs, .. } => inputs.iter().any(plan_is_volatile),
        Node::Append(append) => {
            let mut is_volatile = append.inputs.iter().any(plan_is_volatile);
            append.pruning.iter().for_each(|it| it.for_each_value(&mut |value| is_volatile |= expr_is_volatile(value)));
            is_volatile
        }
        Node::RecursiveUnion { base, step, .. } => plan_is_volatile(base) || plan_is_volatile(step),
        Node::Insert(_) | Node::Update(_) | Node::Delete(_) | Node::Merge(_) | Node::Finish { .. } => true,
    }
}

fn scan_is_volatile(scan: &TableScan) -> bool {
    let span = |span: &IndexSpan| {
        span.equal.iter().flatten().any(expr_is_volatile)
            || span.lower.iter().chain(&span.upper).any(|(expr, _)| expr_is_volatile(expr))
    };
    let entries = scan.entries.as_ref().is_some_and(|entries| entries.any_value(&mut expr_is_volatile));
    scan.lock.is_some() || scan.filter.as_ref().is_some_and(expr_is_volatile) || scan.spans.iter().any(span) || entries
}

fn call_is_volatile(call: &FunctionCall) -> bool {
    call.is_volatile() || call.args.iter().any(expr_is_volatile)
}

fn aggregate_is_volatile(call: &AggregateCall) -> bool {
    call.args.iter().chain(&call.filter).any(expr_is_volatile)
        || call.order_by.iter().any(|key| expr_is_volatile(&key.expr))
}
