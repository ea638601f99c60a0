//! IN, EXISTS and their negations as joins, so that they are ordered and carried out like other joins instead of being
//! asked for every row.
//!
//! `EXISTS (SELECT … FROM u WHERE u.a = t.a AND u.b > 1)` is the semijoin of `t` with `u` under `b > 1`, on
//! `t.a = u.a`: conditions that mention the row outside are lifted out of the subquery until nothing in it does. Where
//! that cannot be done (a limit, an aggregate or an outer join lies between) the subquery stays what it was.
//!
//! `x = ANY (ARRAY(SELECT …))` is `x IN (SELECT …)`.
//!
//! NOT IN is an antijoin only where neither side can be NULL: one NULL in the list makes it answer nothing at all.

use std::borrow::Cow;

use types::SqlType;

use super::exprs::{cast_to, comparison, conjunction, conjuncts, equality, is_volatile, may_substitute, same_key_family, shift, substitute};
use crate::{
    expr::{AggregateCall, Expr, Subquery, SubqueryKind},
    logical::{Rel, RelNode},
    plan::{JoinKind, ProjectItem},
};

/// Takes the conditions that are subqueries out of a list, as joins around what they are about within `input`; its columns
/// stay what they are.
pub(super) fn unnest(input: Rel, conditions: Vec<Expr>) -> (Rel, Vec<Expr>) {
    unnested(input, conditions, attach)
}

/// As [`unnest`], with the joins around all of `input`: better where its other conditions leave few rows.
pub(super) fn unnest_above(input: Rel, conditions: Vec<Expr>) -> (Rel, Vec<Expr>) {
    unnested(input, conditions, |input, join| {
        let columns = input.columns.clone();
        Rel { node: around(input, join), columns }
    })
}

fn unnested(mut input: Rel, conditions: Vec<Expr>, put: impl Fn(Rel, Join) -> Rel) -> (Rel, Vec<Expr>) {
    let mut rest = Vec::with_capacity(conditions.len());
    for condition in conditions {
        match as_join(&condition, &input) {
            Some(join) => input = put(input, join),
            None => rest.push(condition),
        }
    }
    (input, rest)
}

/// Whether a condition may become a join.
pub(super) fn may_be_join(condition: &Expr) -> bool {
    match condition {
        Expr::Not(inner) => subquery_of(inner).is_some(),
        condition => subquery_of(condition).is_some(),
    }
}

/// The other side of a semijoin or antijoin; `on` sees the outer row, then the columns of `right`.
struct Join {
    kind: JoinKind,
    right: Rel,
    on: Vec<Expr>,
}

/// The subquery that a condition consists of. An array of a subquery's rows is as good as the rows.
fn subquery_of(condition: &Expr) -> Option<Cow<'_, Subquery>> {
    match condition {
        Expr::Subquery(subquery) => Some(Cow::Borrowed(subquery.as_ref())),
        Expr::AnyAll { left, array, comparison, all } => {
            let Expr::Subquery(subquery) = &**array else { return None };
            let column = subquery.source.as_ref()?.columns.first()?;
            // The elements of an array of arrays are those of all of them.
            if !matches!(subquery.kind, SubqueryKind::Array) || column.ty.is_array() {
                return None;
            }
            let (left, comparisons) = (vec![(**left).clone()], vec![comparison.clone()]);
            let kind = SubqueryKind::Quantified { left, comparisons, all: *all };
            Some(Cow::Owned(Subquery { kind, ty: SqlType::Bool, ..(**subquery).clone() }))
        }
        _ => None,
    }
}

fn as_join(condition: &Expr, input: &Rel) -> Option<Join> {
    let (subquery, is_negated) = match condition {
        Expr::Not(inner) => (subquery_of(inner)?, true),
        condition => (subquery_of(condition)?, false),
    };
    let subquery = &*subquery;
    let all_are = |wanted: &str| match &subquery.kind {
        SubqueryKind::Quantified { comparisons, .. } => {
            comparisons.iter().all(|it| comparison(it.builtin) == Some(wanted))
        }
        _ => false,
    };
    let kind = match (&subquery.kind, is_negated) {
        (SubqueryKind::Exists, false) => JoinKind::Semi,
        (SubqueryKind::Exists, true) => JoinKind::Anti,
        (SubqueryKind::Quantified { all: false, .. }, false) if all_are("=") => JoinKind::Semi,
        (SubqueryKind::Quantified { all: false, .. }, true) if all_are("=") => JoinKind::Anti,
        (SubqueryKind::Quantified { all: true, .. }, false) if all_are("<>") => JoinKind::Anti,
        _ => return None,
    };
    // What is the same for every row is asked once as it is.
    if matches!(subquery.kind, SubqueryKind::Exists) && subquery.arguments.is_empty() {
        return None;
    }
    let (right, on) = lifted(subquery, input, kind)?;
    let width = input.columns.len();
    let sees_input = on.iter().any(|on| on.columns_used().iter().any(|column| *column < width));
    sees_input.then_some(Join { kind, right, on })
}

/// A subquery without a mention of the row outside, and the conditions that connect the two.
fn lifted(subquery: &Subquery, input: &Rel, kind: JoinKind) -> Option<(Rel, Vec<Expr>)> {
    let mut rel = subquery.source.as_deref()?.clone();
    let width = input.columns.len();
    // Over the columns of `rel`, as it is peeled.
    let mut outputs: Vec<Expr> = match &subquery.kind {
        SubqueryKind::Quantified { .. } => {
            rel.columns.iter().enumerate().map(|(at, column)| Expr::Column(at, column.ty)).collect()
        }
        _ => Vec::new(),
    };
    let mut lifted: Vec<Expr> = Vec::new();
    let mut kept: Vec<Expr> = Vec::new();
    loop {
        let columns = rel.columns;
        rel = match rel.node {
            RelNode::Project { input, exprs } if !exprs.iter().any(is_volatile) => {
                if !outputs.iter().chain(&lifted).chain(&kept).all(|expr| may_substitute(expr, &exprs)) {
                    return None;
                }
                let over = |expr: &mut Expr| substitute(expr, &exprs);
                outputs.iter_mut().chain(&mut lifted).chain(&mut kept).for_each(over);
                *input
            }
            RelNode::Filter { input, predicate } => {
                let mut own = Vec::new();
                conjuncts(predicate, &mut own);
                for condition in own {
                    if has_outer(&condition) { lifted.push(condition) } else { kept.push(condition) }
                }
                *input
            }
            RelNode::Sort { input, .. } | RelNode::Distinct { input, on: None } => *input,
            // One row is as good as many, unless a condition above might hold for another row than those that are left.
            RelNode::Limit { input, limit: Some(Expr::Const(count, _)), offset: None, .. }
                if matches!(subquery.kind, SubqueryKind::Exists)
                    && count.as_int().is_some_and(|count| count > 0)
                    && lifted.is_empty()
                    && kept.is_empty() =>
            {
                *input
            }
            RelNode::Join { left, right, kind: JoinKind::Inner, on: Some(on), lateral: None } => {
                let mut own = Vec::new();
                conjuncts(on, &mut own);
                let (out, own): (Vec<Expr>, Vec<Expr>) = own.into_iter().partition(has_outer);
                lifted.extend(out);
                let on = conjunction(own);
                break rel = Rel { node: RelNode::Join { left, right, kind: JoinKind::Inner, on, lateral: None }, columns };
            }
            node => break rel = Rel { node, columns },
        };
    }
    // What locks rows does so once, as it is written: nothing of it is taken apart, and nothing was.
    let is_whole = kept.is_empty() && lifted.is_empty() && matches!(rel.node, RelNode::Limit { .. } | RelNode::LockRows { .. });
    if any_expr(&rel, &mut has_outer) || (is_locking(&rel) && !is_whole) || kept.iter().chain(&outputs).any(has_outer) {
        return None;
    }
    if lifted.iter().any(|condition| condition.runs_queries() || is_volatile(condition)) {
        return None;
    }
    let mut on = Vec::with_capacity(lifted.len() + outputs.len());
    for mut condition in lifted {
        outside(&mut condition, width, &subquery.arguments);
        on.push(condition);
    }
    if let SubqueryKind::Quantified { left, comparisons, all } = &subquery.kind {
        for ((left, output), it) in left.iter().zip(outputs).zip(comparisons) {
            if left.runs_queries() || is_volatile(left) || output.runs_queries() {
                return None;
            }
            if kind == JoinKind::Anti && !(never_null(input, left) && never_null(&rel, &output)) {
                return None;
            }
            let left = match same_key_family(&left.ty(), &it.left_cast) {
                true => left.clone(),
                false => cast_to(left.clone(), it.left_cast),
            };
            let mut right = cast_to(output, it.right_cast);
            shift(&mut right, width as isize);
            // A row that `<> ALL` turns away is one that is equal.
            if *all {
                on.push(equality(left, right)?);
                continue;
            }
            on.push(Expr::Call { builtin: it.builtin, types: it.types.clone(), args: vec![left, right] });
        }
    }
    if let Some(predicate) = conjunction(kept) {
        let columns = rel.columns.clone();
        rel = Rel { node: RelNode::Filter { input: Box::new(rel), predicate }, columns };
    }
    Some((rel, on))
}

/// A condition of the subquery as one over the row outside and the subquery's columns behind it.
fn outside(expr: &mut Expr, width: usize, arguments: &[Expr]) {
    match expr {
        Expr::Column(position, _) => *position += width,
        Expr::Outer(slot, _) => *expr = arguments[*slot].clone(),
        other => other.for_each_child_mut(&mut |child| outside(child, width, arguments)),
    }
}

/// Joins where the columns of the conditions come from: rows that go early need not be joined with others.
fn attach(input: Rel, mut join: Join) -> Rel {
    let columns = input.columns;
    let width = columns.len();
    let used: Vec<usize> =
        join.on.iter().flat_map(Expr::columns_used).filter(|column| *column < width).collect();
    let node = match input.node {
        RelNode::Filter { input, predicate } => {
            RelNode::Filter { input: Box::new(attach(*input, join)), predicate }
        }
        RelNode::Join { left, right, kind: JoinKind::Inner, on, lateral: None } => {
            let left_width = left.columns.len();
            let is_left = used.iter().all(|column| *column < left_width);
            let is_right = used.iter().all(|column| *column >= left_width);
            if is_left || is_right {
                let (first, side_width) = if is_left { (0, left_width) } else { (left_width, width - left_width) };
                for on in &mut join.on {
                    super::exprs::remap(on, &|column| {
                        if column < width { column - first } else { column - width + side_width }
                    });
                }
                let (left, right) = match is_left {
                    true => (Box::new(attach(*left, join)), right),
                    false => (left, Box::new(attach(*right, join))),
                };
                RelNode::Join { left, right, kind: JoinKind::Inner, on, lateral: None }
            } else {
                let node = RelNode::Join { left, right, kind: JoinKind::Inner, on, lateral: None };
                around(Rel { node, columns: columns.clone() }, join)
            }
        }
        node => around(Rel { node, columns: columns.clone() }, join),
    };
    Rel { node, columns }
}

fn around(input: Rel, join: Join) -> RelNode {
    let Join { kind, right, on } = join;
    RelNode::Join { left: Box::new(input), right: Box::new(right), kind, on: conjunction(on), lateral: None }
}

pub(super) fn has_outer(expr: &Expr) -> bool {
    expr.any(&mut |expr| matches!(expr, Expr::Outer(..)))
}

/// Whether a value of a relation's row cannot be NULL, as far as that is plain to see.
fn never_null(rel: &Rel, expr: &Expr) -> bool {
    let column = match expr {
        Expr::Const(value, _) => return !value.is_null(),
        Expr::Cast { expr, .. } => return never_null(rel, expr),
        Expr::Column(column, _) => *column,
        _ => return false,
    };
    match &rel.node {
        RelNode::Table { table, .. } => !table.columns[column].nullable,
        RelNode::Project { input, exprs } => never_null(input, &exprs[column]),
        RelNode::Filter { input, .. }
        | RelNode::Barrier(input)
        | RelNode::Sort { input, .. }
        | RelNode::Limit { input, .. }
        | RelNode::LockRows { input, .. }
        | RelNode::Distinct { input, .. } => never_null(input, expr),
        RelNode::Aggregate { input, groups, sets: None, .. } if column < groups.len() => {
            never_null(input, &groups[column])
        }
        RelNode::Join { left, right, kind, lateral: None, .. } => {
            let width = left.columns.len();
            let is_left = column < width;
            let is_kept = match kind {
                JoinKind::Inner | JoinKind::Semi | JoinKind::Anti => true,
                JoinKind::Left => is_left,
                JoinKind::Right => !is_left,
                JoinKind::Full => false,
            };
            let ty = expr.ty();
            is_kept && if is_left { never_null(left, expr) } else { never_null(right, &Expr::Column(column - width, ty)) }
        }
        _ => false,
    }
}

pub(super) fn is_locking(rel: &Rel) -> bool {
    let mut found = matches!(rel.node, RelNode::Table { lock: Some(_), .. } | RelNode::LockRows { .. });
    for_each_input(rel, &mut |input| found = found || is_locking(input));
    found
}

/// The relations that are part of the same plan.
pub(super) fn for_each_input<'a>(rel: &'a Rel, visit: &mut dyn FnMut(&'a Rel)) {
    match &rel.node {
        RelNode::Unit
        | RelNode::Values(_)
        | RelNode::Table { .. }
        | RelNode::Virtual(_)
        | RelNode::Function { .. }
        | RelNode::Cte(_)
        | RelNode::Transition(_) => {}
        RelNode::Filter { input, .. }
        | RelNode::Barrier(input)
        | RelNode::Project { input, .. }
        | RelNode::ProjectSet { input, .. }
        | RelNode::Aggregate { input, .. }
        | RelNode::Window { input, .. }
        | RelNode::Distinct { input, .. }
        | RelNode::Sort { input, .. }
        | RelNode::LockRows { input, .. }
        | RelNode::Limit { input, .. } => visit(input),
        RelNode::Join { left, right, .. } => {
            visit(left);
            visit(right);
        }
        RelNode::SetOp { inputs, .. } => inputs.iter().for_each(visit),
        RelNode::RecursiveUnion { base, step, .. } => {
            visit(base);
            visit(step);
        }
        RelNode::Insert { source, .. }
        | RelNode::Update { source, .. }
        | RelNode::Delete { source, .. }
        | RelNode::Merge { source, .. } => {
            visit(source);
        }
    }
}

/// Whether a predicate holds for any expression of a relation's level.
pub(super) fn any_expr(rel: &Rel, predicate: &mut dyn FnMut(&Expr) -> bool) -> bool {
    let call = |call: &AggregateCall, predicate: &mut dyn FnMut(&Expr) -> bool| {
        call.args.iter().chain(&call.filter).chain(call.order_by.iter().map(|key| &key.expr)).any(predicate)
    };
    let own = match &rel.node {
        RelNode::Unit
        | RelNode::Table { .. }
        | RelNode::Virtual(_)
        | RelNode::Cte(_)
        | RelNode::Transition(_) => false,
        RelNode::Values(rows) => rows.iter().flatten().any(&mut *predicate),
        RelNode::Function { calls, .. } => calls.iter().flat_map(|call| &call.args).any(&mut *predicate),
        RelNode::Join { left, on, lateral: Some(arguments), .. } => {
            // What the right side calls outer is the left's.
            return any_expr(left, predicate) || arguments.iter().chain(on).any(predicate);
        }
        RelNode::Join { on, .. } => on.iter().any(&mut *predicate),
        RelNode::Filter { predicate: condition, .. } => predicate(condition),
        RelNode::Project { exprs, .. } => exprs.iter().any(&mut *predicate),
        RelNode::ProjectSet { items, .. } => items.iter().any(|item| match item {
            ProjectItem::Scalar(expr) => predicate(expr),
            ProjectItem::Set(call) => call.args.iter().any(&mut *predicate),
        }),
        RelNode::Aggregate { groups, aggregates, .. } => {
            groups.iter().any(&mut *predicate) || aggregates.iter().any(|it| call(it, predicate))
        }
        RelNode::Distinct { on, .. } => on.iter().flatten().any(&mut *predicate),
        RelNode::Sort { keys, .. } => keys.iter().any(|key| predicate(&key.expr)),
        RelNode::Limit { limit, offset, ties, .. } => {
            limit.iter().chain(offset).chain(ties.iter().map(|key| &key.expr)).any(&mut *predicate)
        }
        RelNode::LockRows { again, .. } => again.iter().flatten().any(&mut *predicate),
        RelNode::SetOp { .. } | RelNode::Barrier(_) => false,
        // Seldom below a condition: taken to hold whatever is asked.
        RelNode::Window { .. }
        | RelNode::RecursiveUnion { .. }
        | RelNode::Insert { .. }
        | RelNode::Update { .. }
        | RelNode::Delete { .. }
        | RelNode::Merge { .. } => true,
    };
    let mut found = own;
    for_each_input(rel, &mut |input| found = found || any_expr(input, predicate));
    found
}
