//! Scalar subqueries of one aggregate as joins with all groups at once, where that costs less than asking for every row.
//!
//! ```text
//! x < (SELECT 0.2 * avg(q) FROM u WHERE u.k = t.k)
//!   becomes, for t LEFT JOIN (SELECT k, 0.2 * avg(q) AS v FROM u GROUP BY k) g ON g.k = t.k
//! x < g.v
//! ```
//!
//! A row without a group gets NULL, so only aggregates that are NULL of no rows are taken, under expressions that are NULL
//! then. The join has at most one row for each row: nothing is repeated. Where the condition cannot be true of NULL, as
//! comparisons cannot, the outer join becomes an inner one like any other. Groups that no row asks for are computed too, so
//! what may fail is left to be asked for row by row.

use std::sync::Arc;

use types::SqlType;

use super::{
    decorrelate::{any_expr, has_outer, is_locking},
    exprs::{becomes_null, comparison, conjunction, conjuncts, is_volatile, may_substitute, shift, substitute},
    selectivity,
};
use crate::{
    expr::{AggregateCall, Expr, Subquery, SubqueryKind},
    logical::{Rel, RelNode},
    plan::{JoinKind, PlanColumn},
};

/// Aggregates that are NULL of no rows.
const NULL_OF_NOTHING: [&str; 4] = ["avg", "max", "min", "sum"];

/// Whether a relation is one row of aggregates, as far as its top shows: only then a subquery may become a join.
pub(crate) fn is_one_aggregate(rel: &Rel) -> bool {
    match &rel.node {
        RelNode::Project { input, .. } => is_one_aggregate(input),
        RelNode::Aggregate { groups, sets, .. } => groups.is_empty() && sets.is_none(),
        _ => false,
    }
}

/// What asking a condition's subqueries for so many rows costs.
pub(super) fn repeated_cost(condition: &Expr, rows_left: f64) -> f64 {
    let share = selectivity::all(std::slice::from_ref(condition), &selectivity::Nothing).max(0.001);
    let mut cost = 0.0;
    condition.any(&mut |expr| {
        if let Expr::Subquery(subquery) = expr
            && !subquery.arguments.is_empty()
        {
            cost += rows_left / share * subquery.plan.estimate.total_cost;
        }
        false
    });
    cost
}

/// The relation joined with the groups of the first condition that has a subquery of such form, under all conditions.
pub(super) fn joined(input: &Rel, conditions: &[Expr]) -> Option<Rel> {
    let (at, subquery) = conditions.iter().enumerate().find_map(|(at, condition)| Some((at, only_subquery(condition)?)))?;
    if is_locking(input) || conditions.iter().any(is_volatile) {
        return None;
    }
    let width = input.columns.len();
    let (right, on) = groups_of(subquery, width)?;
    let value = Expr::Column(width + right.columns.len() - 1, subquery.ty);
    let mut conditions = conditions.to_vec();
    replace_subquery(&mut conditions[at], &value);
    let columns = input.columns.clone();
    let wide: Vec<PlanColumn> = columns.iter().chain(&right.columns).cloned().collect();
    let node = RelNode::Join {
        left: Box::new(input.clone()),
        right: Box::new(right),
        kind: JoinKind::Left,
        on: conjunction(on),
        lateral: None,
    };
    let joined = Rel { node, columns: wide.clone() };
    let node = RelNode::Filter { input: Box::new(joined), predicate: conjunction(conditions)? };
    let exprs = columns.iter().enumerate().map(|(at, column)| Expr::Column(at, column.ty)).collect();
    let node = RelNode::Project { input: Box::new(Rel { node, columns: wide }), exprs };
    Some(Rel { node, columns })
}

/// The one subquery of a condition, where it may be taken out.
fn only_subquery(condition: &Expr) -> Option<&Subquery> {
    let mut found: Option<&Subquery> = None;
    let mut count = 0;
    find_subqueries(condition, &mut |subquery| {
        count += 1;
        found = Some(subquery);
    });
    found.filter(|subquery| {
        count == 1
            && matches!(subquery.kind, SubqueryKind::Scalar)
            && !subquery.arguments.is_empty()
            && subquery.source.as_deref().is_some_and(is_one_aggregate)
    })
}

fn find_subqueries<'e>(expr: &'e Expr, visit: &mut dyn FnMut(&'e Subquery)) {
    if let Expr::Subquery(subquery) = expr {
        visit(subquery);
    }
    expr.for_each_child(&mut |child| find_subqueries(child, visit));
}

fn replace_subquery(expr: &mut Expr, value: &Expr) {
    if matches!(expr, Expr::Subquery(_)) {
        *expr = value.clone();
        return;
    }
    expr.for_each_child_mut(&mut |child| replace_subquery(child, value));
}

/// `inner = outer`: an expression of the subquery's rows alone, and one of the row outside alone.
struct Link {
    inner: Expr,
    outer: Expr,
    equality: Expr,
    is_inner_first: bool,
}

/// The groups that a subquery asks for one by one, its value as their last column, and the conditions that join them to a
/// row of `width` columns.
fn groups_of(subquery: &Subquery, width: usize) -> Option<(Rel, Vec<Expr>)> {
    let mut rel = subquery.source.as_deref()?;
    let value_column = rel.columns.first()?.clone();
    let mut value = Expr::Column(0, value_column.ty);
    let (input, aggregates) = loop {
        match &rel.node {
            RelNode::Project { input, exprs } => {
                if exprs.iter().any(|expr| is_volatile(expr) || expr.runs_queries()) || !may_substitute(&value, exprs) {
                    return None;
                }
                substitute(&mut value, exprs);
                rel = input;
            }
            RelNode::Aggregate { input, groups, aggregates, sets: None } if groups.is_empty() => break (input, aggregates),
            _ => return None,
        }
    };
    if has_outer(&value) || !cannot_fail(&value) || !becomes_null(&value, &|_| true) || !aggregates.iter().all(is_null_of_nothing) {
        return None;
    }
    let mut links = Vec::new();
    let inner = unlinked((**input).clone(), &mut links)?;
    let mut may_not = |expr: &Expr| has_outer(expr) || !cannot_fail(expr);
    if links.is_empty() || any_expr(&inner, &mut may_not) || is_locking(&inner) {
        return None;
    }
    // Both sides of what links them are computed for all rows, whatever other conditions say of these.
    let is_safe = |link: &Link| cannot_fail(&link.inner) && cannot_fail(&link.outer);
    if !links.iter().all(is_safe) || !subquery.arguments.iter().all(cannot_fail) {
        return None;
    }
    let count = links.len();
    let column = |ty: SqlType| PlanColumn { name: "key".into(), ty, table_oid: 0, attribute: 0 };
    let mut columns: Vec<PlanColumn> = links.iter().map(|link| column(link.inner.ty())).collect();
    columns.extend(rel.columns.iter().cloned());
    let groups: Vec<Expr> = links.iter().map(|link| link.inner.clone()).collect();
    let node = RelNode::Aggregate { input: Box::new(inner), groups, aggregates: aggregates.clone(), sets: None };
    let grouped = Rel { node, columns };
    shift(&mut value, count as isize);
    let mut exprs: Vec<Expr> = links.iter().enumerate().map(|(at, link)| Expr::Column(at, link.inner.ty())).collect();
    exprs.push(value);
    let mut columns: Vec<PlanColumn> = grouped.columns[..count].to_vec();
    columns.push(value_column);
    let on = links.into_iter().enumerate().map(|(at, link)| link.over(width + at, &subquery.arguments)).collect();
    let node = RelNode::Project { input: Box::new(grouped), exprs };
    Some((Rel { node, columns }, on))
}

fn is_null_of_nothing(call: &AggregateCall) -> bool {
    let outer = call.args.iter().chain(&call.filter).any(|expr| has_outer(expr) || is_volatile(expr) || expr.runs_queries());
    let is_safe = call.args.iter().chain(&call.filter).all(cannot_fail);
    NULL_OF_NOTHING.contains(&call.aggregate.signature.name) && call.order_by.is_empty() && !outer && is_safe
}

/// Whether an expression fails for no row: groups that no row asks for are computed too.
fn cannot_fail(expr: &Expr) -> bool {
    // What is constant fails for no row or for all.
    if !has_outer(expr) && expr.columns_used().is_empty() && !is_volatile(expr) && !expr.runs_queries() {
        return true;
    }
    match expr {
        Expr::Column(..) | Expr::Outer(..) => true,
        Expr::And(list) | Expr::Or(list) => list.iter().all(cannot_fail),
        Expr::Not(inner) | Expr::IsNull(inner) | Expr::Truth(inner, _) => cannot_fail(inner),
        Expr::InList { expr, list, .. } => cannot_fail(expr) && list.iter().all(cannot_fail),
        Expr::Cast { expr, to, .. } => {
            let from = expr.ty();
            let is_text = matches!((from, to), (SqlType::Varchar(_) | SqlType::Char(_) | SqlType::Text, SqlType::Text));
            // Only of dates beyond the last timestamp it fails.
            let is_midnight = matches!((from, to), (SqlType::Date, SqlType::Timestamp(None)));
            let is_wide = from.is_integer() && matches!(to, SqlType::Numeric(None) | SqlType::Float8 | SqlType::Int8);
            let is_unbounded = matches!((from, to), (SqlType::Numeric(_), SqlType::Numeric(None)));
            (is_wide || is_unbounded || is_text || is_midnight || from == *to) && cannot_fail(expr)
        }
        Expr::Call { builtin, args, .. } => {
            let is_safe = comparison(builtin).is_some()
                || matches!(builtin.name(), "numeric_add" | "numeric_sub" | "numeric_mul" | "numeric_uminus");
            is_safe && args.iter().all(cannot_fail)
        }
        _ => false,
    }
}

/// A relation without the conditions that link it to the row outside. They are those of its topmost filter and inner joins.
fn unlinked(rel: Rel, links: &mut Vec<Link>) -> Option<Rel> {
    let columns = rel.columns;
    let node = match rel.node {
        RelNode::Filter { input, predicate } => {
            let mut own = Vec::new();
            conjuncts(predicate, &mut own);
            let mut kept = Vec::with_capacity(own.len());
            for condition in own {
                if has_outer(&condition) {
                    links.push(Link::of(condition)?);
                } else {
                    kept.push(condition);
                }
            }
            match conjunction(kept) {
                Some(predicate) => RelNode::Filter { input, predicate },
                None => input.node,
            }
        }
        node => node,
    };
    Some(Rel { node, columns })
}

impl Link {
    fn of(equality: Expr) -> Option<Self> {
        let Expr::Call { builtin, args, .. } = &equality else { return None };
        let [a, b] = &args[..] else { return None };
        if comparison(builtin) != Some("=") || !a.ty().same_base(&b.ty()) || is_volatile(&equality) || equality.runs_queries() {
            return None;
        }
        let is_inner = |expr: &Expr| !has_outer(expr) && !expr.columns_used().is_empty();
        let is_outer = |expr: &Expr| has_outer(expr) && expr.columns_used().is_empty();
        let is_inner_first = is_inner(a) && is_outer(b);
        if !is_inner_first && !(is_outer(a) && is_inner(b)) {
            return None;
        }
        let (inner, outer) = if is_inner_first { (a.clone(), b.clone()) } else { (b.clone(), a.clone()) };
        Some(Self { inner, outer, equality, is_inner_first })
    }

    /// The equality with a column of the groups, over the row outside.
    fn over(mut self, column: usize, arguments: &[Expr]) -> Expr {
        fn outside(expr: &mut Expr, arguments: &[Expr]) {
            match expr {
                Expr::Outer(slot, _) => *expr = arguments[*slot].clone(),
                other => other.for_each_child_mut(&mut |child| outside(child, arguments)),
            }
        }
        outside(&mut self.outer, arguments);
        let group = Expr::Column(column, self.inner.ty());
        if let Expr::Call { args, .. } = &mut self.equality {
            *args = if self.is_inner_first { vec![group, self.outer] } else { vec![self.outer, group] };
        }
        self.equality
    }
}

/// What a scalar subquery was made of, where it may become a join.
pub(crate) fn source_of(rel: &Rel) -> Option<Arc<Rel>> {
    is_one_aggregate(rel).then(|| Arc::new(rel.clone()))
}
