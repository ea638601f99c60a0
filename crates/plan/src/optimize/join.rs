//! Joins: which first, and how.

use types::SqlResult;

use super::{
    access::{equal_share, lookup_index, plain_column, same_family},
    comparison, conjunction, conjuncts, cost, make, plan_rel, remap, shift, with_filter,
};
use crate::{
    PlanContext,
    expr::Expr,
    logical::{Rel, RelNode},
    plan::{Estimate, JoinKind, Node, Plan, PlanColumn},
};

/// A tree of inner joins as a list of relations, with the conditions over all of their columns.
fn flatten(rel: Rel, offset: usize, relations: &mut Vec<Rel>, conditions: &mut Vec<Expr>) {
    match rel.node {
        RelNode::Join { left, right, kind: JoinKind::Inner, on, lateral: None } => {
            let width = left.columns.len();
            if let Some(mut on) = on {
                shift(&mut on, offset as isize);
                conjuncts(on, conditions);
            }
            flatten(*left, offset, relations, conditions);
            flatten(*right, offset + width, relations, conditions);
        }
        RelNode::Filter { input, mut predicate } if matches!(input.node, RelNode::Join { kind: JoinKind::Inner, lateral: None, .. }) => {
            shift(&mut predicate, offset as isize);
            conjuncts(predicate, conditions);
            flatten(*input, offset, relations, conditions);
        }
        node => relations.push(Rel { node, columns: rel.columns }),
    }
}

struct Part {
    plan: Plan,
    /// Where each of the original columns, counted over the whole tree, is in the plan's output.
    columns: Vec<usize>,
}

/// Plans inner joins in the order that keeps intermediate results small: the smallest relation first, then always the
/// one whose join leaves fewest rows.
pub(super) fn plan_inner_joins(rel: Rel, filters: Vec<Expr>, context: &PlanContext<'_>) -> SqlResult<Plan> {
    let output = rel.columns.clone();
    let mut relations = Vec::new();
    let mut conditions = filters;
    flatten(rel, 0, &mut relations, &mut conditions);

    let mut starts = Vec::with_capacity(relations.len());
    let mut width = 0;
    for relation in &relations {
        starts.push(width);
        width += relation.columns.len();
    }
    let owner = |column: usize| starts.partition_point(|start| *start <= column) - 1;

    // Conditions on one relation go into it.
    let mut own: Vec<Vec<Expr>> = vec![Vec::new(); relations.len()];
    let mut between: Vec<Expr> = Vec::new();
    let mut constant: Vec<Expr> = Vec::new();
    for mut condition in conditions {
        let used = condition.columns_used();
        match used.first() {
            None => constant.push(condition),
            Some(&first) if used.iter().all(|&column| owner(column) == owner(first)) => {
                let at = owner(first);
                shift(&mut condition, -(starts[at] as isize));
                own[at].push(condition);
            }
            Some(_) => between.push(condition),
        }
    }
    let mut parts: Vec<Part> = Vec::with_capacity(relations.len());
    for ((relation, own), start) in relations.into_iter().zip(own).zip(&starts) {
        let plan = plan_rel(relation, own, context)?;
        let columns = (*start..*start + plan.columns.len()).collect();
        parts.push(Part { plan, columns });
    }

    // The row estimate of joining, by the conditions that connect.
    let smallest = (0..parts.len())
        .min_by(|&a, &b| parts[a].plan.estimate.rows.total_cmp(&parts[b].plan.estimate.rows))
        .expect("a join has relations");
    let mut current = parts.remove(smallest);
    while !parts.is_empty() {
        let connects = |part: &Part| {
            between.iter().any(|condition| {
                let used = condition.columns_used();
                let inside = |columns: &[usize], column: &usize| columns.contains(column);
                used.iter().any(|column| inside(&part.columns, column))
                    && used.iter().all(|column| inside(&part.columns, column) || inside(&current.columns, column))
            })
        };
        // Connected relations first; among them the smallest.
        let next = (0..parts.len())
            .min_by(|&a, &b| {
                let key = |at: usize| (!connects(&parts[at]), parts[at].plan.estimate.rows);
                let ((far_a, rows_a), (far_b, rows_b)) = (key(a), key(b));
                far_a.cmp(&far_b).then(rows_a.total_cmp(&rows_b))
            })
            .expect("there are relations left");
        let right = parts.remove(next);
        let mut columns = current.columns.clone();
        columns.extend(&right.columns);
        let (now, later): (Vec<Expr>, Vec<Expr>) = between
            .into_iter()
            .partition(|condition| condition.columns_used().iter().all(|column| columns.contains(column)));
        between = later;
        let place = |column: usize| {
            columns.iter().position(|known| *known == column).expect("the condition's columns are all here")
        };
        let now = now
            .into_iter()
            .map(|mut condition| {
                remap(&mut condition, &place);
                condition
            })
            .collect();
        let plan = join(current.plan, right.plan, JoinKind::Inner, now);
        current = Part { plan, columns };
    }
    let mut plan = with_filter(current.plan, constant);
    // The columns as the query has them.
    let in_order = current.columns.iter().enumerate().all(|(at, column)| at == *column);
    if !in_order {
        let exprs = (0..width)
            .map(|column| {
                let place = current.columns.iter().position(|known| *known == column).expect("no column is lost");
                Expr::Column(place, plan.columns[place].ty)
            })
            .collect();
        let estimate = plan.estimate;
        plan = make(Node::Project { input: Box::new(plan), exprs }, output, estimate);
    } else {
        plan.columns = output;
    }
    Ok(plan)
}

/// Outer, semi and lateral joins, in the order they are written.
#[expect(clippy::too_many_arguments, reason = "the parts of one join")]
pub(super) fn plan_other_join(
    left: Rel,
    right: Rel,
    kind: JoinKind,
    on: Option<Expr>,
    lateral: Option<Vec<Expr>>,
    columns: Vec<PlanColumn>,
    filters: Vec<Expr>,
    context: &PlanContext<'_>,
) -> SqlResult<Plan> {
    let width = left.columns.len();
    let on_left = |filter: &Expr| filter.columns_used().iter().all(|column| *column < width);
    let on_right = |filter: &Expr| filter.columns_used().iter().all(|column| *column >= width);
    let mut on_list = Vec::new();
    if let Some(on) = on {
        conjuncts(on, &mut on_list);
    }
    let keeps_left = matches!(kind, JoinKind::Left | JoinKind::Semi | JoinKind::Anti | JoinKind::Inner);
    // Filters above go into the side whose rows are all kept.
    let (left_filters, above): (Vec<Expr>, Vec<Expr>) =
        filters.into_iter().partition(|filter| keeps_left && on_left(filter));
    let (mut right_filters, above): (Vec<Expr>, Vec<Expr>) = above
        .into_iter()
        .partition(|filter| kind == JoinKind::Right && lateral.is_none() && on_right(filter));
    // Conditions of the join on the null-supplying side alone go into it.
    let supplies_right = matches!(kind, JoinKind::Left | JoinKind::Semi | JoinKind::Anti);
    let (down, on_list): (Vec<Expr>, Vec<Expr>) =
        on_list.into_iter().partition(|on| supplies_right && lateral.is_none() && on_right(on) && !on.columns_used().is_empty());
    right_filters.extend(down);
    for filter in &mut right_filters {
        shift(filter, -(width as isize));
    }
    let left = plan_rel(left, left_filters, context)?;
    let right = plan_rel(right, right_filters, context)?;
    let mut plan = match lateral {
        Some(arguments) => {
            let estimate = Estimate {
                rows: left.estimate.rows * right.estimate.rows,
                width: left.estimate.width + right.estimate.width,
                startup_cost: 0.0,
                total_cost: left.estimate.total_cost + left.estimate.rows * right.estimate.total_cost,
            };
            let node = Node::Apply {
                left: Box::new(left),
                right: std::sync::Arc::new(right),
                arguments,
                kind,
                filter: conjunction(on_list),
            };
            make(node, columns.clone(), estimate)
        }
        None => join(left, right, kind, on_list),
    };
    plan.columns = columns;
    Ok(with_filter(plan, above))
}

/// `left = right` over one side each, with equal types.
fn equi_key(condition: &Expr, width: usize) -> Option<(Expr, Expr)> {
    let Expr::Call { builtin, args, .. } = condition else { return None };
    if comparison(builtin) != Some("=") {
        return None;
    }
    let [a, b] = &args[..] else { return None };
    if !a.ty().same_base(&b.ty()) {
        return None;
    }
    let side = |expr: &Expr| {
        let used = expr.columns_used();
        match (used.first(), used.last()) {
            (Some(_), Some(last)) if *last < width => Some(true),
            (Some(first), Some(_)) if *first >= width => Some(false),
            _ => None,
        }
    };
    let (left, mut right) = match (side(a)?, side(b)?) {
        (true, false) => (a.clone(), b.clone()),
        (false, true) => (b.clone(), a.clone()),
        _ => return None,
    };
    shift(&mut right, -(width as isize));
    Some((left, right))
}

fn join(left: Plan, right: Plan, kind: JoinKind, conditions: Vec<Expr>) -> Plan {
    let width = left.columns.len();
    let mut left_keys = Vec::new();
    let mut right_keys = Vec::new();
    let mut rest = Vec::new();
    for condition in conditions {
        match equi_key(&condition, width) {
            Some((left_key, right_key)) => {
                left_keys.push(left_key);
                right_keys.push(right_key);
            }
            None => rest.push(condition),
        }
    }
    let mut columns = left.columns.clone();
    if !matches!(kind, JoinKind::Semi | JoinKind::Anti) {
        columns.extend(right.columns.iter().cloned());
    }
    let (left_rows, right_rows) = (left.estimate.rows, right.estimate.rows);
    let rest_share: f64 = rest.iter().map(cost::selectivity).product();
    let estimate = |rows: f64, total_cost: f64| Estimate {
        rows: rows.max(1.0),
        width: left.estimate.width + right.estimate.width,
        startup_cost: 0.0,
        total_cost,
    };
    if left_keys.is_empty() {
        let rows = left_rows * right_rows * rest_share;
        let total = left.estimate.total_cost + right.estimate.total_cost + left_rows * right_rows * cost::PER_OPERATION;
        let estimate = estimate(rows, total);
        let filter = conjunction(rest);
        return make(
            Node::NestedLoopJoin { left: Box::new(left), right: Box::new(right), kind, filter },
            columns,
            estimate,
        );
    }
    let distinct = match &right.node {
        Node::TableScan(scan) => right_keys
            .iter()
            .filter_map(plain_column)
            .map(|column| equal_share(&scan.table, scan.columns[column]))
            .fold(1.0 / right_rows.max(1.0), f64::min),
        _ => 1.0 / right_rows.max(1.0),
    };
    let rows = (left_rows * right_rows * distinct * rest_share).max(1.0);
    let hash_cost =
        left.estimate.total_cost + right.estimate.total_cost + (left_rows + 2.0 * right_rows) * cost::PER_ROW / 2.0;
    if let Some(lookup) = lookup_join(&left, &right, kind, &left_keys, &right_keys, &rest) {
        let matches = (right_rows * distinct).max(1.0);
        let fetch = if matches!(&lookup, Node::LookupJoin { scan, .. } if scan.fetch_rows) { 2.0 } else { 1.0 };
        let total = left.estimate.total_cost + left_rows * (cost::PER_SEEK * fetch + matches * cost::PER_ROW);
        if total < hash_cost {
            let estimate = estimate(rows, total);
            return make(lookup, columns, estimate);
        }
    }
    let estimate = estimate(rows, hash_cost);
    let node = Node::HashJoin {
        left: Box::new(left),
        right: Box::new(right),
        left_keys,
        right_keys,
        kind,
        filter: conjunction(rest),
    };
    make(node, columns, estimate)
}

/// The right side read by index for each left row, where it is a plain table with an index that begins with the keys.
fn lookup_join(
    left: &Plan,
    right: &Plan,
    kind: JoinKind,
    left_keys: &[Expr],
    right_keys: &[Expr],
    rest: &[Expr],
) -> Option<Node> {
    if !matches!(kind, JoinKind::Inner | JoinKind::Left | JoinKind::Semi | JoinKind::Anti) {
        return None;
    }
    let Node::TableScan(scan) = &right.node else { return None };
    // Its own spans would have to be joined with the key's; a locked table is locked where it is read.
    if !scan.spans.is_empty() || scan.lock.is_some() {
        return None;
    }
    let mut table_columns = Vec::new();
    for key in right_keys {
        table_columns.push(scan.columns[plain_column(key)?]);
    }
    let (index, places) = lookup_index(&scan.table, &table_columns)?;
    let width = left.columns.len();
    let mut keys = Vec::new();
    for &place in &places {
        let ty = scan.table.columns[table_columns[place]].ty;
        if !same_family(&left_keys[place].ty(), &ty) {
            return None;
        }
        keys.push(left_keys[place].clone());
    }
    // Keys that the index does not begin with are conditions on what it finds; so is the scan's own filter.
    let mut filter: Vec<Expr> = rest.to_vec();
    for (place, (left_key, right_key)) in left_keys.iter().zip(right_keys).enumerate() {
        if !places.contains(&place) {
            let mut right_key = right_key.clone();
            shift(&mut right_key, width as isize);
            filter.push(equality(left_key.clone(), right_key)?);
        }
    }
    let mut scan = scan.clone();
    if let Some(mut own) = scan.filter.take() {
        shift(&mut own, width as isize);
        filter.push(own);
    }
    let chosen = &scan.table.indexes[index];
    scan.index = index;
    scan.point = chosen.unique && places.len() == chosen.columns.len();
    scan.fetch_rows = index != 0
        && !scan.columns.iter().all(|&column| catalog::row::EntryReader::covers(&scan.table, chosen, column));
    Some(Node::LookupJoin { left: Box::new(left.clone()), scan, keys, kind, filter: conjunction(filter) })
}

fn equality(left: Expr, right: Expr) -> Option<Expr> {
    let resolved = builtins::resolve_binary_operator("=", Some(left.ty()), Some(right.ty())).ok()?;
    let cast = |expr: Expr, to: types::SqlType| {
        if expr.ty().same_base(&to) {
            return expr;
        }
        Expr::Cast { expr: Box::new(expr), to, context: types::CastContext::Implicit }
    };
    let types = builtins::CallTypes { args: resolved.args.clone(), ret: resolved.ret };
    let args = vec![cast(left, resolved.args[0]), cast(right, resolved.args[1])];
    Some(Expr::Call { builtin: &resolved.chosen.function, types, args })
}
