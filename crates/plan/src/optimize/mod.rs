//! From what a query asks for to how it is got: filters go down to where their columns are, joins are ordered by what
//! they leave, tables are read through the index that reads least.
//!
//! **Invariant (same-answer):** a rewrite keeps the multiset of rows; filters do not move into the null-supplying side
//! of an outer join, nor past anything that counts or limits rows.

mod access;
mod catalogs;
mod cost;
mod join;

use std::sync::LazyLock;

use builtins::{Builtin, Volatility};
use rustc_hash::FxHashMap;
use types::SqlResult;

use crate::{
    PlanContext,
    expr::Expr,
    logical::{Rel, RelNode},
    plan::{Delete, Estimate, Insert, JoinKind, Node, Plan, PlanColumn, Update},
};

/// Comparison operators by the functions behind them.
static COMPARISONS: LazyLock<FxHashMap<usize, &'static str>> = LazyLock::new(|| {
    builtins::all_operators()
        .filter(|operator| matches!(operator.symbol, "=" | "<>" | "<" | "<=" | ">" | ">="))
        .map(|operator| (std::ptr::from_ref(&operator.function) as usize, operator.symbol))
        .collect()
});

/// The symbol of a comparison, if the function is one.
pub(crate) fn comparison(builtin: &'static Builtin) -> Option<&'static str> {
    COMPARISONS.get(&(std::ptr::from_ref(builtin) as usize)).copied()
}

/// Chooses a plan.
///
/// # Errors
/// None today; binding has found what is wrong with a query.
pub(crate) fn optimize(rel: Rel, context: &PlanContext<'_>) -> SqlResult<Plan> {
    plan_rel(rel, Vec::new(), context)
}

/// The conjuncts of a predicate.
pub(super) fn conjuncts(predicate: Expr, out: &mut Vec<Expr>) {
    match predicate {
        Expr::And(list) => list.into_iter().for_each(|item| conjuncts(item, out)),
        other => out.push(other),
    }
}

pub(super) fn conjunction(mut list: Vec<Expr>) -> Option<Expr> {
    match list.len() {
        0 => None,
        1 => list.pop(),
        _ => Some(Expr::And(list)),
    }
}

/// Every column moved by `by`.
pub(super) fn shift(expr: &mut Expr, by: isize) {
    if let Expr::Column(position, _) = expr {
        *position = position.checked_add_signed(by).expect("columns are moved to where they are");
    }
    expr.for_each_child_mut(&mut |child| shift(child, by));
}

/// Every column replaced by what `map` says of its position.
pub(super) fn remap(expr: &mut Expr, map: &dyn Fn(usize) -> usize) {
    if let Expr::Column(position, _) = expr {
        *position = map(*position);
    }
    expr.for_each_child_mut(&mut |child| remap(child, map));
}

fn substitute(expr: &mut Expr, with: &[Expr]) {
    if let Expr::Column(position, _) = expr {
        *expr = with[*position].clone();
        return;
    }
    expr.for_each_child_mut(&mut |child| substitute(child, with));
}

fn is_volatile(expr: &Expr) -> bool {
    expr.any(&mut |expr| match expr {
        Expr::Sequence { .. } | Expr::RowId => true,
        Expr::Call { builtin, .. } => builtin.volatility == Volatility::Volatile,
        _ => false,
    })
}

pub(super) fn make(node: Node, columns: Vec<PlanColumn>, estimate: Estimate) -> Plan {
    Plan { node, columns, estimate }
}

pub(super) fn with_filter(plan: Plan, filters: Vec<Expr>) -> Plan {
    let selectivity: f64 = filters.iter().map(cost::selectivity).product();
    match conjunction(filters) {
        None => plan,
        Some(predicate) => {
            let estimate = Estimate {
                rows: (plan.estimate.rows * selectivity).max(1.0),
                total_cost: plan.estimate.total_cost + plan.estimate.rows * cost::PER_OPERATION,
                ..plan.estimate
            };
            let columns = plan.columns.clone();
            make(Node::Filter { input: Box::new(plan), predicate }, columns, estimate)
        }
    }
}

/// Plans a relation under filters over its output columns.
fn plan_rel(rel: Rel, mut filters: Vec<Expr>, context: &PlanContext<'_>) -> SqlResult<Plan> {
    let columns = rel.columns;
    match rel.node {
        RelNode::Filter { input, predicate } => {
            conjuncts(predicate, &mut filters);
            plan_rel(*input, filters, context)
        }
        RelNode::Table { table, lock } => {
            let filters = access::with_computed(&table, filters, context)?;
            let usable = access::usable_indexes(&table, &filters, context)?;
            Ok(access::plan_table(&table, lock, columns, filters, &usable))
        }
        RelNode::Virtual(table) => Ok(catalogs::plan_virtual(table, columns, filters)),
        RelNode::Join { left, right, kind: JoinKind::Inner, on, lateral: None } => {
            let joined = Rel {
                node: RelNode::Join { left, right, kind: JoinKind::Inner, on, lateral: None },
                columns: columns.clone(),
            };
            join::plan_inner_joins(joined, filters, context)
        }
        RelNode::Join { left, right, kind, on, lateral } => {
            join::plan_other_join(*left, *right, kind, on, lateral, columns, filters, context)
        }
        RelNode::Project { input, exprs } => {
            // A filter over computed columns is one over what they are computed from, unless that would run something
            // twice.
            let movable = |filter: &Expr| {
                filter.columns_used().iter().all(|&used| !is_volatile(&exprs[used]) && !exprs[used].has_subquery())
            };
            let (down, up): (Vec<Expr>, Vec<Expr>) = filters.into_iter().partition(movable);
            let down = down
                .into_iter()
                .map(|mut filter| {
                    substitute(&mut filter, &exprs);
                    filter
                })
                .collect();
            let input = plan_rel(*input, down, context)?;
            let estimate = Estimate {
                total_cost: input.estimate.total_cost + input.estimate.rows * cost::PER_OPERATION,
                ..input.estimate
            };
            Ok(with_filter(make(Node::Project { input: Box::new(input), exprs }, columns, estimate), up))
        }
        node => {
            let plan = plan_other(node, columns, context)?;
            Ok(with_filter(plan, filters))
        }
    }
}

fn rows_of(plan: &Plan, rows: f64, extra: f64) -> Estimate {
    Estimate { rows, total_cost: plan.estimate.total_cost + extra, ..plan.estimate }
}

fn plan_other(node: RelNode, columns: Vec<PlanColumn>, context: &PlanContext<'_>) -> SqlResult<Plan> {
    let boxed = |rel: Rel| -> SqlResult<Box<Plan>> { plan_rel(rel, Vec::new(), context).map(Box::new) };
    let few = |rows: f64| Estimate { rows, width: 32.0, startup_cost: 0.0, total_cost: rows * cost::PER_ROW };
    Ok(match node {
        RelNode::Unit => make(Node::Unit, columns, few(1.0)),
        RelNode::Values(rows) => {
            let estimate = few(rows.len() as f64);
            make(Node::Values { rows }, columns, estimate)
        }
        RelNode::Function { calls, with_ordinality } => {
            make(Node::FunctionScan { calls, with_ordinality }, columns, few(1000.0))
        }
        RelNode::Cte(cte) => make(Node::CteScan { cte }, columns, few(1000.0)),
        RelNode::ProjectSet { input, items } => {
            let input = boxed(*input)?;
            let estimate = rows_of(&input, input.estimate.rows * 100.0, input.estimate.rows);
            make(Node::ProjectSet { input, items }, columns, estimate)
        }
        RelNode::Aggregate { input, groups, aggregates, sets } => {
            let input = boxed(*input)?;
            let rows = if groups.is_empty() { 1.0 } else { (input.estimate.rows / 10.0).max(1.0) };
            let estimate = rows_of(&input, rows, input.estimate.rows * cost::PER_ROW);
            make(Node::Aggregate { input, groups, aggregates, sets, sorted: false }, columns, estimate)
        }
        RelNode::Window { input, partition_by, order_by, calls } => {
            let input = boxed(*input)?;
            let estimate = rows_of(&input, input.estimate.rows, cost::sort(input.estimate.rows));
            make(Node::Window { input, partition_by, order_by, calls }, columns, estimate)
        }
        RelNode::Distinct { input, on } => {
            let input = boxed(*input)?;
            let estimate = rows_of(&input, (input.estimate.rows / 2.0).max(1.0), input.estimate.rows * cost::PER_ROW);
            make(Node::Distinct { input, on }, columns, estimate)
        }
        RelNode::Sort { input, keys } => {
            let input = boxed(*input)?;
            let estimate = rows_of(&input, input.estimate.rows, cost::sort(input.estimate.rows));
            make(Node::Sort { input, keys, limit: None }, columns, estimate)
        }
        RelNode::Limit { input, limit, offset } => plan_limit(*input, limit, offset, columns, context)?,
        RelNode::SetOp { kind, all, left, right } => {
            let (left, right) = (boxed(*left)?, boxed(*right)?);
            let rows = left.estimate.rows + right.estimate.rows;
            let estimate = Estimate {
                rows,
                total_cost: left.estimate.total_cost + right.estimate.total_cost + rows * cost::PER_ROW,
                ..left.estimate
            };
            make(Node::SetOp { kind, all, left, right }, columns, estimate)
        }
        RelNode::RecursiveUnion { cte, base, step, all } => {
            let (base, step) = (boxed(*base)?, boxed(*step)?);
            let estimate = rows_of(&base, base.estimate.rows * 10.0, step.estimate.total_cost * 10.0);
            make(Node::RecursiveUnion { cte, base, step, all }, columns, estimate)
        }
        RelNode::Insert { insert, source } => {
            let source = boxed(*source)?;
            let estimate = rows_of(&source, source.estimate.rows, source.estimate.rows);
            make(Node::Insert(Insert { source, ..*insert }), columns, estimate)
        }
        RelNode::Update { update, source } => {
            let source = boxed(*source)?;
            let estimate = rows_of(&source, source.estimate.rows, source.estimate.rows);
            make(Node::Update(Update { source, ..*update }), columns, estimate)
        }
        RelNode::Delete { delete, source } => {
            let source = boxed(*source)?;
            let estimate = rows_of(&source, source.estimate.rows, source.estimate.rows);
            make(Node::Delete(Delete { source, ..*delete }), columns, estimate)
        }
        RelNode::Filter { .. }
        | RelNode::Table { .. }
        | RelNode::Virtual(_)
        | RelNode::Join { .. }
        | RelNode::Project { .. } => {
            unreachable!("planned by the caller")
        }
    })
}

/// A limit over a sort keeps only so many rows; over a scan it reads no more.
fn plan_limit(
    input: Rel,
    limit: Option<Expr>,
    offset: Option<Expr>,
    columns: Vec<PlanColumn>,
    context: &PlanContext<'_>,
) -> SqlResult<Plan> {
    let mut input = plan_rel(input, Vec::new(), context)?;
    let wanted = match (&limit, &offset) {
        (Some(Expr::Const(datum, _)), None) => datum.as_int().and_then(|count| u64::try_from(count).ok()),
        _ => None,
    };
    if let Some(count) = wanted {
        match &mut input.node {
            Node::Sort { limit: kept, .. } => *kept = limit.clone().map(Box::new),
            Node::TableScan(scan) if scan.filter.is_none() => scan.limit_hint = Some(count),
            Node::Project { input, .. } => match &mut input.node {
                Node::TableScan(scan) if scan.filter.is_none() => scan.limit_hint = Some(count),
                Node::Sort { limit: kept, .. } => *kept = limit.clone().map(Box::new),
                _ => {}
            },
            _ => {}
        }
    }
    let rows = wanted.map_or(input.estimate.rows, |count| (count as f64).min(input.estimate.rows));
    let estimate = Estimate { rows, ..input.estimate };
    Ok(make(Node::Limit { input: Box::new(input), limit, offset }, columns, estimate))
}
