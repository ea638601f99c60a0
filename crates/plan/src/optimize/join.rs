//! Joins as they are written: inner ones are taken apart into a graph and put together anew, the others keep their
//! place.

use types::SqlResult;

use super::{
    EXTRA, Fact, OrderKey, Part, Want, cost,
    decorrelate::for_each_input,
    exprs::{conjunction, conjuncts, equi_sides, known_truth, mark, rejects_null, shift},
    make,
    method::{self, Condition, Sides},
    order::{Driver, Graph},
    query::plan_rel,
};
use crate::{
    PlanContext,
    expr::Expr,
    logical::{Rel, RelNode},
    plan::{Estimate, JoinKind, Node, PlanColumn},
};

/// Relations that are ordered together at most; the masks of [`Graph`] hold so many.
const MAX_RELATIONS: usize = 128;

fn leaf_count(rel: &Rel) -> usize {
    match &rel.node {
        RelNode::Join { left, right, kind: JoinKind::Inner, lateral: None, .. } => leaf_count(left) + leaf_count(right),
        RelNode::Filter { input, .. } if is_inner_join(input) => leaf_count(input),
        _ => 1,
    }
}

pub(super) fn is_inner_join(rel: &Rel) -> bool {
    matches!(rel.node, RelNode::Join { kind: JoinKind::Inner, lateral: None, .. })
}

/// A tree of inner joins as a list of relations, with the conditions over all of their columns.
fn flatten(rel: Rel, offset: usize, room: usize, relations: &mut Vec<Rel>, conditions: &mut Vec<Expr>) {
    if leaf_count(&rel) > room {
        relations.push(rel);
        return;
    }
    match rel.node {
        RelNode::Join { left, right, kind: JoinKind::Inner, on, lateral: None } => {
            let width = left.columns.len();
            if let Some(mut on) = on {
                shift(&mut on, offset as isize);
                conjuncts(on, conditions);
            }
            let right_room = leaf_count(&right).min(room - 1);
            flatten(*left, offset, room - right_room, relations, conditions);
            flatten(*right, offset + width, right_room, relations, conditions);
        }
        RelNode::Filter { input, predicate } if is_inner_join(&input) => {
            let mut own = Vec::new();
            conjuncts(predicate, &mut own);
            let (input, mut own) = super::decorrelate::unnest(*input, own);
            own.iter_mut().for_each(|condition| shift(condition, offset as isize));
            conditions.extend(own);
            flatten(input, offset, room, relations, conditions);
        }
        node => relations.push(Rel { node, columns: rel.columns }),
    }
}

/// Plans inner joins in the order that costs least.
pub(super) fn plan_inner_joins(rel: Rel, filters: Vec<Expr>, want: Want, context: &PlanContext<'_>) -> SqlResult<Part> {
    let columns = rel.columns.clone();
    let mut relations = Vec::new();
    let mut conditions = filters;
    let (left, right, on) = match rel.node {
        RelNode::Join { left, right, on, .. } => (left, right, on),
        node => return plan_rel(Rel { node, columns }, conditions, want, context),
    };
    // The topmost join is always taken apart, however large its sides.
    let width = left.columns.len();
    on.into_iter().for_each(|on| conjuncts(on, &mut conditions));
    let right_room = leaf_count(&right).min(MAX_RELATIONS - 1);
    flatten(*left, 0, MAX_RELATIONS - right_room, &mut relations, &mut conditions);
    flatten(*right, width, right_room, &mut relations, &mut conditions);
    // Where nothing can be joined, nothing is read.
    if let Some(never) = conditions.iter().position(|condition| known_truth(condition, context) == Some(false)) {
        let never = vec![conditions.swap_remove(never)];
        return plan_rel(Rel { node: RelNode::Unit, columns }, never, want, context);
    }

    let mut graph = Graph::new(&relations, conditions);
    let mut needed = want.needed.clone();
    graph.mark_needed(&mut needed);
    let mut driver = None;
    for (at, relation) in relations.into_iter().enumerate() {
        let (start, own) = graph.take_own(at);
        let below = Want::columns(needed[start..start + relation.columns.len()].to_vec());
        // Of its rows about as many are asked for as there are without the others.
        let order = order_within(&want, start, relation.columns.len());
        let mut planned = plan_both_ways(relation, own, below, order, context)?;
        if let Some((mut part, limit)) = planned.ordered {
            moved(&mut part, start);
            driver = Some(Driver { relation: at, part, limit });
        }
        moved(&mut planned.free, start);
        graph.push(planned.free);
    }
    let (mut part, constant) = graph.join(driver);
    name_columns(&mut part, &columns);
    Ok(part.filtered(constant))
}

/// The order and the limit that are wanted, where a relation of these columns alone could give the order.
fn order_within(want: &Want, start: usize, width: usize) -> Option<(Vec<OrderKey>, f64)> {
    let inside = |key: &OrderKey| (start..start + width).contains(&key.column);
    let limit = want.limit.filter(|_| !want.order.is_empty() && want.order.iter().all(inside))?;
    Some((want.order.iter().map(|key| OrderKey { column: key.column - start, ..*key }).collect(), limit))
}

/// A relation that may come in an order, and where it can with its limit, in that order.
struct BothWays {
    free: Part,
    ordered: Option<(Part, f64)>,
}

/// Plans a relation for nothing in particular and, if it may be had in an order, for that.
fn plan_both_ways(
    rel: Rel,
    filters: Vec<Expr>,
    want: Want,
    order: Option<(Vec<OrderKey>, f64)>,
    context: &PlanContext<'_>,
) -> SqlResult<BothWays> {
    let is_limit = matches!(rel.node, RelNode::Limit { .. });
    let Some((order, limit)) = order.filter(|_| is_limit || gives_order(&rel) && !has_limit(&rel)) else {
        return Ok(BothWays { free: plan_rel(rel, filters, want, context)?, ordered: None });
    };
    let below = Want { order, limit: Some(limit), ..want.clone() };
    // No order goes down past a limit: the plan is the same either way.
    let (free, part) = if is_limit {
        let part = plan_rel(rel, filters, below, context)?;
        (Part { ordered: false, ..part.clone() }, part)
    } else {
        let part = plan_rel(rel.clone(), filters.clone(), below, context)?;
        (plan_rel(rel, filters, want, context)?, part)
    };
    Ok(BothWays { free, ordered: part.ordered.then_some((part, limit)) })
}

/// Whether a relation might come in a wanted order: by an index, or by a sort of its own.
fn gives_order(rel: &Rel) -> bool {
    match &rel.node {
        RelNode::Table { .. } => true,
        RelNode::Filter { input, .. }
        | RelNode::Barrier(input)
        | RelNode::Project { input, .. }
        | RelNode::Sort { input, .. } => {
            gives_order(input)
        }
        RelNode::Join { left, right, kind: JoinKind::Inner, lateral: None, .. } => {
            gives_order(left) || gives_order(right)
        }
        RelNode::Join { left, kind: JoinKind::Left | JoinKind::Semi | JoinKind::Anti, lateral: None, .. } => {
            gives_order(left)
        }
        _ => false,
    }
}

/// Whether there is a limit anywhere in a relation, or in what may become part of it. Below a limit relations are
/// planned both ways again: planned both ways around it too, the work would double with every level.
fn has_limit(rel: &Rel) -> bool {
    let mut found = match &rel.node {
        RelNode::Limit { .. } => true,
        RelNode::Filter { predicate, .. } => predicate.any(&mut |expr| match expr {
            Expr::Subquery(subquery) => subquery.source.as_deref().is_some_and(has_limit),
            _ => false,
        }),
        _ => false,
    };
    for_each_input(rel, &mut |input| found = found || has_limit(input));
    found
}

/// The columns of a part counted from elsewhere.
fn moved(part: &mut Part, by: usize) {
    for column in part.columns.iter_mut().filter(|column| **column != EXTRA) {
        *column += by;
    }
    if let Some(base) = &mut part.base {
        base.start += by;
    }
    if let Some(made) = &mut part.made {
        made.start += by;
    }
}

fn name_columns(part: &mut Part, columns: &[PlanColumn]) {
    for (column, of) in part.plan.columns.iter_mut().zip(&part.columns) {
        if let Some(named) = columns.get(*of) {
            column.clone_from(named);
        }
    }
}

/// A join as it is written.
pub(super) struct Written {
    pub left: Box<Rel>,
    pub right: Box<Rel>,
    pub kind: JoinKind,
    pub on: Option<Expr>,
    pub lateral: Option<Vec<Expr>>,
}

/// An outer join whose rows of NULLs are thrown away above is an inner one.
fn simplified(kind: JoinKind, width: usize, filters: &[Expr]) -> JoinKind {
    let rejects = |is_null: &dyn Fn(usize) -> bool| filters.iter().any(|filter| rejects_null(filter, is_null));
    let needs_left = rejects(&|column| column < width);
    let needs_right = rejects(&|column| column >= width);
    match kind {
        JoinKind::Left if needs_right => JoinKind::Inner,
        JoinKind::Right if needs_left => JoinKind::Inner,
        JoinKind::Full => match (needs_left, needs_right) {
            (true, true) => JoinKind::Inner,
            (true, false) => JoinKind::Left,
            (false, true) => JoinKind::Right,
            (false, false) => JoinKind::Full,
        },
        kind => kind,
    }
}

/// Outer, semi and lateral joins, in the order they are written.
pub(super) fn plan_other_join(
    written: Written,
    columns: Vec<PlanColumn>,
    filters: Vec<Expr>,
    want: Want,
    context: &PlanContext<'_>,
) -> SqlResult<Part> {
    let Written { left, right, kind, on, lateral } = written;
    let width = left.columns.len();
    let kind = simplified(kind, width, &filters);
    if kind == JoinKind::Inner && lateral.is_none() {
        let node = RelNode::Join { left, right, kind, on, lateral };
        return plan_inner_joins(Rel { node, columns }, filters, want, context);
    }
    let yields_right = !matches!(kind, JoinKind::Semi | JoinKind::Anti);
    let on_left = |filter: &Expr| filter.columns_used().iter().all(|column| *column < width);
    let on_right = |filter: &Expr| {
        let used = filter.columns_used();
        !used.is_empty() && used.iter().all(|column| *column >= width)
    };
    let mut on_list = Vec::new();
    on.into_iter().for_each(|on| conjuncts(on, &mut on_list));
    let keeps_left = matches!(kind, JoinKind::Left | JoinKind::Semi | JoinKind::Anti | JoinKind::Inner);
    // Filters above go into the side whose rows are all kept.
    let (mut left_filters, above): (Vec<Expr>, Vec<Expr>) =
        filters.into_iter().partition(|filter| keeps_left && on_left(filter));
    let (mut right_filters, above): (Vec<Expr>, Vec<Expr>) = above
        .into_iter()
        .partition(|filter| kind == JoinKind::Right && lateral.is_none() && on_right(filter));
    // Conditions of the join on the null-supplying side alone go into it.
    let supplies_right = matches!(kind, JoinKind::Left | JoinKind::Semi | JoinKind::Anti);
    let (down, on_list): (Vec<Expr>, Vec<Expr>) =
        on_list.into_iter().partition(|on| supplies_right && lateral.is_none() && on_right(on));
    right_filters.extend(down);
    let (down, on_list): (Vec<Expr>, Vec<Expr>) = on_list
        .into_iter()
        .partition(|on| matches!(kind, JoinKind::Semi | JoinKind::Inner | JoinKind::Right) && on_left(on));
    left_filters.extend(down);
    right_filters.iter_mut().for_each(|filter| shift(filter, -(width as isize)));

    let mut needed = want.needed.clone();
    needed.resize(width + right.columns.len(), false);
    on_list.iter().chain(&above).for_each(|condition| mark(condition, &mut needed));
    lateral.iter().flatten().for_each(|argument| mark(argument, &mut needed));
    let left_want = Want::columns(needed[..width].to_vec());
    let keeps_order =
        matches!(kind, JoinKind::Left | JoinKind::Semi | JoinKind::Anti) && above.is_empty() && lateral.is_none();
    let order = order_within(&want, 0, width).filter(|_| keeps_order);
    let BothWays { free: left, ordered: driver } = plan_both_ways(*left, left_filters, left_want, order, context)?;
    let mut right = plan_rel(*right, right_filters, Want::columns(needed[width..].to_vec()), context)?;
    moved(&mut right, width);
    let mut part = match lateral {
        Some(arguments) => apply(left, right, kind, arguments, on_list),
        None => {
            let (keys, rest): (Vec<Condition>, Vec<Expr>) = split(on_list, width);
            let rows = method::join_rows(&left, &right, kind, &keys, &rest);
            let sides = Sides::Kept { share: want.limit.unwrap_or(f64::MAX) / rows };
            let driven = driver
                .map(|(driver, _)| method::join(driver, right.clone(), kind, keys.clone(), rest.clone(), rows, sides));
            let free = method::join(left, right, kind, keys, rest, rows, Sides::Free);
            let reached = |part: &Part| {
                sides.reached(part.plan.estimate.startup_cost, part.plan.estimate.total_cost)
            };
            let sorted = free.plan.estimate.total_cost + cost::sort(rows, want.limit);
            driven.filter(|driven| reached(driven) < sorted).unwrap_or(free)
        }
    };
    debug_assert!(yields_right || part.columns.iter().all(|column| *column < width || *column == EXTRA));
    name_columns(&mut part, &columns);
    Ok(part.filtered(above))
}

/// Equalities between the sides, and the other conditions.
fn split(conditions: Vec<Expr>, width: usize) -> (Vec<Condition>, Vec<Expr>) {
    let mut keys = Vec::new();
    let mut rest = Vec::new();
    let side = |column: usize| usize::from(column >= width);
    for condition in conditions {
        match equi_sides(&condition, &side) {
            Some((0, left, _, right)) => keys.push(Condition { left, right }),
            Some((_, right, _, left)) => keys.push(Condition { left, right }),
            None => rest.push(condition),
        }
    }
    (keys, rest)
}

fn apply(left: Part, right: Part, kind: JoinKind, arguments: Vec<Expr>, on: Vec<Expr>) -> Part {
    let arguments = arguments.into_iter().map(|argument| left.placed(argument)).collect();
    let mut joined = method::Joined::new(&left, &right, kind);
    let filter = conjunction(on.into_iter().map(|condition| joined.placed(condition)).collect());
    let (a, b) = (left.plan.estimate, right.plan.estimate);
    let rows = match kind {
        JoinKind::Semi | JoinKind::Anti => (a.rows / 2.0).max(1.0),
        _ => a.rows * b.rows,
    };
    joined.facts.iter_mut().skip(left.columns.len()).for_each(|fact: &mut Fact| fact.nullable |= kind == JoinKind::Left);
    let estimate = Estimate {
        rows,
        width: joined.width(),
        startup_cost: a.startup_cost,
        total_cost: a.total_cost + a.rows * b.total_cost + rows * cost::PER_OPERATION,
    };
    let plan_columns = joined.plan_columns(&left, &right);
    let node = Node::Apply {
        left: Box::new(left.plan),
        right: std::sync::Arc::new(right.plan),
        arguments,
        kind,
        filter,
    };
    joined.part(make(node, plan_columns, estimate))
}
