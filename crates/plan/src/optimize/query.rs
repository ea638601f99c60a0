//! The nodes of a query, from the top down: what each asks of the one below.

use types::{Datum, SqlResult, SqlType, stack::grown};

use super::{
    EXTRA, Fact, OrderKey, Part, Want, access, catalogs, cost, decorrelate,
    exprs::{cast_to, conjuncts, for_each_column, is_volatile, known_truth, mark, may_substitute, substitute},
    join,
    leakproof::is_leakproof,
    locking, make, partition, scalar,
};
use crate::{
    PlanContext,
    expr::{AggregateCall, Expr, SortKey},
    logical::{Rel, RelNode},
    plan::{Delete, Estimate, Insert, JoinKind, Merge, Node, Plan, PlanColumn, ProjectItem, Update, WindowFunction},
};

/// Rows asked for by a LIMIT whose value is not known yet.
const UNKNOWN_LIMIT: f64 = 100.0;

/// `min` and `max` side by side that are looked for one by one at most.
const MAX_OUTERMOST: usize = 8;

/// Plans a relation under filters over its columns.
pub(super) fn plan_rel(rel: Rel, filters: Vec<Expr>, want: Want, context: &PlanContext<'_>) -> SqlResult<Part> {
    grown(|| plan_node(rel, filters, want, context))
}

fn plan_node(rel: Rel, mut filters: Vec<Expr>, mut want: Want, context: &PlanContext<'_>) -> SqlResult<Part> {
    let columns = rel.columns;
    filters.retain(|filter| known_truth(filter, context) != Some(true));
    if filters.iter().any(|filter| known_truth(filter, context) == Some(false)) && !changes(&rel.node) {
        let plan = make(Node::Values { rows: Vec::new() }, columns, Estimate::default());
        return Ok(Part { ordered: true, ..Part::whole(plan) });
    }
    // Filters that are left above need their columns.
    let above = |filters: Vec<Expr>, want: &mut Want| {
        filters.iter().for_each(|filter| mark(filter, &mut want.needed));
        if !filters.is_empty() {
            want.limit = None;
        }
        filters
    };
    match rel.node {
        RelNode::Filter { input, predicate } => {
            let mut own = Vec::new();
            conjuncts(predicate, &mut own);
            if join::is_inner_join(&input)
                && own.iter().any(decorrelate::may_be_join)
                && !context.notes.compares_ways.replace(true)
            {
                // Rows may go before they are joined with others, or after few are left. What is within is planned one way:
                // tried both ways too, the work would double with every level.
                let ways = [decorrelate::unnest, decorrelate::unnest_above].map(|unnest| {
                    let (input, own) = unnest((*input).clone(), own.clone());
                    plan_rel(input, [filters.clone(), own].concat(), want.clone(), context)
                });
                context.notes.compares_ways.set(false);
                let [below, above] = ways;
                let (below, above) = (below?, above?);
                let cost = |part: &Part| part.plan.estimate.total_cost;
                return Ok(if cost(&above) < cost(&below) { above } else { below });
            }
            let (input, own) = decorrelate::unnest(*input, own);
            if let Some(part) = plan_with_groups(&input, &own, &filters, &want, context)? {
                return Ok(part);
            }
            filters.extend(own);
            // What can never be true lets nothing through, whatever the others would say, or fail with.
            if let Some(never) = filters.iter().position(|filter| known_truth(filter, context) == Some(false)) {
                filters = vec![filters.swap_remove(never)];
            }
            plan_rel(input, filters, want, context)
        }
        RelNode::Barrier(input) => {
            let (down, up): (Vec<Expr>, Vec<Expr>) = filters.into_iter().partition(is_leakproof);
            let up = above(up, &mut want);
            let mut part = plan_rel(*input, down, want, context)?;
            if let Some(base) = &mut part.base {
                base.is_behind_barrier = true;
            }
            part.made = None;
            Ok(part.filtered(up))
        }
        RelNode::Table { table, lock } if table.is_partitioned() => {
            partition::plan_partitioned(&table, lock, &columns, &partition::split(filters), &want, context)
        }
        RelNode::Table { table, lock } => access::plan_table(&table, lock, columns, filters, want, context),
        RelNode::Join { left, right, kind: JoinKind::Inner, on, lateral: None } => {
            let node = RelNode::Join { left, right, kind: JoinKind::Inner, on, lateral: None };
            join::plan_inner_joins(Rel { node, columns }, filters, want, context)
        }
        RelNode::Join { left, right, kind, on, lateral } => {
            join::plan_other_join(join::Written { left, right, kind, on, lateral }, columns, filters, want, context)
        }
        RelNode::Project { input, exprs } => {
            // A filter over computed columns is one over what they are computed from, unless that would run something
            // twice.
            let movable = |filter: &Expr| {
                filter.columns_used().iter().all(|&used| !is_volatile(&exprs[used]) && !exprs[used].runs_queries())
                    && may_substitute(filter, &exprs)
            };
            let (mut down, up): (Vec<Expr>, Vec<Expr>) = filters.into_iter().partition(movable);
            down.iter_mut().for_each(|filter| substitute(filter, &exprs));
            let up = above(up, &mut want);
            Ok(plan_project(*input, exprs, columns, down, want, context)?.filtered(up))
        }
        RelNode::Aggregate { input, groups, aggregates, sets } => {
            // A condition on what is grouped by holds for a group or for none of its rows.
            let movable = |filter: &Expr| {
                let used = filter.columns_used();
                sets.is_none()
                    && !used.is_empty()
                    && used.iter().all(|&used| groups.get(used).is_some_and(|group| !is_volatile(group)))
                    && !is_volatile(filter)
                    && may_substitute(filter, &groups)
            };
            let (mut down, up): (Vec<Expr>, Vec<Expr>) = filters.into_iter().partition(movable);
            down.iter_mut().for_each(|filter| substitute(filter, &groups));
            let up = above(up, &mut want);
            let aggregate = Aggregate { groups, aggregates, sets };
            Ok(plan_aggregate(*input, aggregate, columns, down, &want, context)?.filtered(up))
        }
        RelNode::Distinct { input, on: None } if !filters.iter().any(is_volatile) => {
            plan_distinct(*input, None, columns, filters, context)
        }
        RelNode::Distinct { input, on } => {
            Ok(plan_distinct(*input, on, columns, Vec::new(), context)?.filtered(filters))
        }
        RelNode::Sort { input, keys } => plan_sort(*input, keys, None, filters, want, context),
        RelNode::Limit { input, limit, offset, ties } => {
            let up = above(filters, &mut want);
            Ok(plan_limit(*input, (limit, offset, ties), want, context)?.filtered(up))
        }
        RelNode::LockRows { input, tables, again } => {
            let up = above(filters, &mut want);
            Ok(locking::plan_lock_rows(*input, tables, again, want, context)?.filtered(up))
        }
        RelNode::Window { input, partition_by, order_by, calls } => {
            let up = above(filters, &mut want);
            let window = Window { partition_by, order_by, calls };
            Ok(plan_window(*input, window, columns, &want, context)?.filtered(up))
        }
        RelNode::SetOp { kind, all, inputs } => {
            let (down, up): (Vec<Expr>, Vec<Expr>) = filters.into_iter().partition(|filter| !is_volatile(filter));
            let want = Want::all(columns.len());
            let mut plans = Vec::with_capacity(inputs.len());
            for input in inputs {
                let columns = input.columns.clone();
                plans.push(plan_rel(input, down.clone(), want.clone(), context)?.settle(columns));
            }
            let rows = plans.iter().map(|plan| plan.estimate.rows).sum();
            let cost: f64 = plans.iter().map(|plan| plan.estimate.total_cost).sum();
            let own = if all { 0.0 } else { rows * cost::PER_OPERATION * 2.0 };
            let width = plans.first().map_or(0.0, |plan| plan.estimate.width);
            let estimate = Estimate { rows, width, startup_cost: 0.0, total_cost: cost + own };
            Ok(Part::whole(make(Node::SetOp { kind, all, inputs: plans }, columns, estimate)).filtered(up))
        }
        RelNode::Virtual(table) => Ok(catalogs::plan_virtual(table, columns, filters, want, context)),
        node => Ok(plan_other(node, columns, context)?.filtered(filters)),
    }
}

/// A filter whose scalar subqueries are joined as groups; none where there are none such, or where asking for every row that
/// is left costs less.
fn plan_with_groups(
    input: &Rel,
    own: &[Expr],
    filters: &[Expr],
    want: &Want,
    context: &PlanContext<'_>,
) -> SqlResult<Option<Part>> {
    // Of few rows that are asked for, few are looked at.
    if want.limit.is_some() || !own.iter().any(Expr::runs_queries) {
        return Ok(None);
    }
    let Some(joined) = scalar::joined(input, own) else { return Ok(None) };
    // What is within is planned one way: tried both ways too, the work would double with every level.
    if context.notes.compares_ways.replace(true) {
        return Ok(None);
    }
    let asked = plan_rel(input.clone(), [filters, own].concat(), want.clone(), context);
    let grouped = plan_rel(joined, filters.to_vec(), want.clone(), context);
    context.notes.compares_ways.set(false);
    let (asked, grouped) = (asked?, grouped?);
    let repeated: f64 = own.iter().map(|condition| scalar::repeated_cost(condition, asked.rows())).sum();
    let cost = |part: &Part| part.plan.estimate.total_cost;
    Ok(Some(if cost(&grouped) < cost(&asked) + repeated { grouped } else { asked }))
}

fn changes(node: &RelNode) -> bool {
    matches!(
        node,
        RelNode::Insert { .. } | RelNode::Update { .. } | RelNode::Delete { .. } | RelNode::Merge { .. }
    )
}

fn few(rows: f64) -> Estimate {
    Estimate { rows, width: 32.0, startup_cost: 0.0, total_cost: rows * cost::PER_ROW }
}

fn rows_of(plan: &Plan, rows: f64, extra: f64) -> Estimate {
    Estimate { rows, total_cost: plan.estimate.total_cost + extra, ..plan.estimate }
}

fn plan_project(
    input: Rel,
    exprs: Vec<Expr>,
    columns: Vec<PlanColumn>,
    down: Vec<Expr>,
    want: Want,
    context: &PlanContext<'_>,
) -> SqlResult<Part> {
    // What is volatile runs whether or not somebody looks.
    let kept: Vec<usize> = (0..exprs.len()).filter(|&at| want.needed[at] || is_volatile(&exprs[at])).collect();
    let mut below = Want::columns(vec![false; input.columns.len()]);
    kept.iter().for_each(|at| mark(&exprs[*at], &mut below.needed));
    let is_order_known = below.take_order(&want, &exprs);
    let mut part = plan_rel(input, down, below, context)?;
    part.ordered &= is_order_known;
    // Columns only passed on stay where they are.
    let mut passed = vec![EXTRA; part.columns.len()];
    let is_passed = kept.iter().all(|at| match &exprs[*at] {
        Expr::Column(column, _) => {
            let place = part.place(*column);
            std::mem::replace(&mut passed[place], *at) == EXTRA
        }
        _ => false,
    });
    if is_passed {
        for (place, at) in passed.iter().enumerate().filter(|(_, at)| **at != EXTRA) {
            part.plan.columns[place] = columns[*at].clone();
        }
        part.columns = passed;
        (part.base, part.made) = (None, None);
        return Ok(part);
    }
    let fact = |at: &usize| match &exprs[*at] {
        Expr::Column(column, _) => part.facts[part.place(*column)],
        Expr::Const(value, _) => Fact { nullable: value.is_null(), distinct: Some(1.0), ..Fact::unknown(&columns[*at]) },
        _ => Fact::unknown(&columns[*at]),
    };
    let facts: Vec<Fact> = kept.iter().map(fact).collect();
    let operations = kept.iter().filter(|at| !matches!(exprs[**at], Expr::Column(..))).count() as f64;
    let rows = part.rows();
    let mut estimate = rows_of(&part.plan, rows, rows * operations * cost::PER_OPERATION);
    estimate.width = facts.iter().map(|fact| fact.width).sum();
    let out = kept.iter().map(|at| part.placed(exprs[*at].clone())).collect();
    let plan_columns = kept.iter().map(|at| columns[*at].clone()).collect();
    let node = Node::Project { input: Box::new(part.plan), exprs: out };
    Ok(Part { plan: make(node, plan_columns, estimate), columns: kept, facts, ordered: part.ordered, base: None, made: None })
}

struct Aggregate {
    groups: Vec<Expr>,
    aggregates: Vec<AggregateCall>,
    sets: Option<Vec<Vec<usize>>>,
}

fn call_parts(call: &AggregateCall) -> impl Iterator<Item = &Expr> {
    call.args.iter().chain(&call.filter).chain(call.order_by.iter().map(|key| &key.expr))
}

fn place_call(call: &mut AggregateCall, part: &Part) {
    let AggregateCall { args, filter, order_by, .. } = call;
    let exprs = args.iter_mut().chain(filter).chain(order_by.iter_mut().map(|key| &mut key.expr));
    exprs.for_each(|expr| super::exprs::remap(expr, &|column| part.place(column)));
}

/// How many groups rows fall into.
fn group_count(groups: &[Expr], part: &Part) -> f64 {
    let rows = part.rows();
    let of = |group: &Expr| {
        let mut distinct = 1.0_f64;
        for_each_column(group, &mut |column| {
            distinct *= part.fact(column).and_then(|fact| fact.distinct).unwrap_or(cost::DEFAULT_DISTINCT);
        });
        distinct
    };
    // Groups by several columns seldom meet in all combinations.
    let bound = if groups.len() > 1 { (rows / 2.0).max(1.0) } else { rows };
    groups.iter().map(of).product::<f64>().min(bound).max(1.0)
}

fn plan_aggregate(
    input: Rel,
    aggregate: Aggregate,
    columns: Vec<PlanColumn>,
    down: Vec<Expr>,
    want: &Want,
    context: &PlanContext<'_>,
) -> SqlResult<Part> {
    let Aggregate { mut groups, aggregates, sets } = aggregate;
    if groups.is_empty()
        && sets.is_none()
        && let Some(joined) = join_outermost(&input, &aggregates, &columns, context)?
    {
        return plan_rel(joined, down, want.clone(), context);
    }
    let count = groups.len();
    let kept: Vec<usize> = (0..aggregates.len()).filter(|at| want.needed[count + at]).collect();
    let mut below = Want::columns(vec![false; input.columns.len()]);
    groups.iter().for_each(|group| mark(group, &mut below.needed));
    kept.iter().flat_map(|at| call_parts(&aggregates[*at])).for_each(|expr| mark(expr, &mut below.needed));
    let outermost = match (&groups[..], &aggregates[..]) {
        ([], [only]) if sets.is_none() => plan_outermost(&input, only, &below, context)?,
        _ => None,
    };
    let part = match outermost {
        Some(part) => part,
        None => plan_rel(input, down, below, context)?,
    };
    let rows = if count == 0 { 1.0 } else { group_count(&groups, &part) };
    let rows = sets.as_ref().map_or(rows, |sets| rows * sets.len() as f64);
    let fact = |group: &Expr| match group {
        Expr::Column(column, _) => part.facts[part.place(*column)],
        group => Fact { distinct: None, nullable: true, width: access::default_width(&group.ty()) },
    };
    let mut facts: Vec<Fact> = groups.iter().map(fact).collect();
    if let ([only], None) = (&mut facts[..], &sets) {
        only.distinct = Some(rows);
    }
    facts.extend(kept.iter().map(|at| Fact::unknown(&columns[count + at])));
    groups.iter_mut().for_each(|group| super::exprs::remap(group, &|column| part.place(column)));
    let calls: Vec<AggregateCall> = kept
        .iter()
        .map(|at| {
            let mut call = aggregates[*at].clone();
            place_call(&mut call, &part);
            call
        })
        .collect();
    let work = part.rows() * cost::PER_OPERATION * (1.0 + count as f64 + calls.len() as f64);
    let startup_cost = part.plan.estimate.total_cost + work;
    let width = facts.iter().map(|fact| fact.width).sum();
    let estimate = Estimate { rows, width, startup_cost, total_cost: startup_cost + rows * cost::PER_ROW };
    let places: Vec<usize> = (0..count).chain(kept.iter().map(|at| count + at)).collect();
    let plan_columns = places.iter().map(|at| columns[*at].clone()).collect();
    let node = Node::Aggregate { input: Box::new(part.plan), groups, aggregates: calls, sets };
    let plan = make(node, plan_columns, estimate);
    Ok(Part { plan, columns: places, facts, ordered: count == 0, base: None, made: None })
}

/// `min(a), max(a), max(b)` each with an index that begins or ends with its row: a join of single aggregates.
fn join_outermost(
    input: &Rel,
    aggregates: &[AggregateCall],
    columns: &[PlanColumn],
    context: &PlanContext<'_>,
) -> SqlResult<Option<Rel>> {
    if !(2..=MAX_OUTERMOST).contains(&aggregates.len()) {
        return Ok(None);
    }
    let mut joined: Option<Rel> = None;
    for (call, column) in aggregates.iter().zip(columns) {
        let mut below = Want::columns(vec![false; input.columns.len()]);
        call_parts(call).for_each(|expr| mark(expr, &mut below.needed));
        if plan_outermost(input, call, &below, context)?.is_none() {
            return Ok(None);
        }
        let (input, aggregates) = (Box::new(input.clone()), vec![call.clone()]);
        let node = RelNode::Aggregate { input, groups: Vec::new(), aggregates, sets: None };
        let single = Rel { node, columns: vec![column.clone()] };
        joined = Some(match joined {
            None => single,
            Some(left) => {
                let columns = left.columns.iter().chain(&single.columns).cloned().collect();
                let (left, right) = (Box::new(left), Box::new(single));
                Rel { node: RelNode::Join { left, right, kind: JoinKind::Inner, on: None, lateral: None }, columns }
            }
        });
    }
    Ok(joined)
}

/// The one row that `min` or `max` of a table's column is of, where an index begins or ends with it.
fn plan_outermost(
    input: &Rel,
    call: &AggregateCall,
    want: &Want,
    context: &PlanContext<'_>,
) -> SqlResult<Option<Part>> {
    let descending = match call.aggregate.signature.name {
        "min" => false,
        "max" => true,
        _ => return Ok(None),
    };
    let is_table = |rel: &Rel| matches!(&rel.node, RelNode::Table { table, .. } if !table.is_partitioned());
    // What does not come in order is planned a second time: nothing that is large.
    let is_simple = match &input.node {
        RelNode::Filter { input, predicate } => is_table(input) && !predicate.runs_queries(),
        _ => is_table(input),
    };
    let ([Expr::Column(column, ty)], None, false) = (&call.args[..], &call.filter, call.distinct) else {
        return Ok(None);
    };
    if !is_simple {
        return Ok(None);
    }
    let not_null = Expr::Not(Box::new(Expr::IsNull(Box::new(Expr::Column(*column, *ty)))));
    let key = OrderKey { column: *column, descending, nulls_first: descending };
    let below = Want { order: vec![key], limit: Some(1.0), ..want.clone() };
    let part = plan_rel(input.clone(), vec![not_null], below, context)?;
    if !part.ordered {
        return Ok(None);
    }
    let one = Expr::Const(Datum::Int(1), SqlType::Int8);
    Ok(Some(limited(part, Some(one), None, Some(1.0), 0.0)))
}

fn plan_distinct(
    input: Rel,
    on: Option<Vec<Expr>>,
    columns: Vec<PlanColumn>,
    filters: Vec<Expr>,
    context: &PlanContext<'_>,
) -> SqlResult<Part> {
    let want = Want::all(columns.len());
    // All columns count, and no others.
    let part = plan_rel(input, filters, want, context)?.settled(columns.clone());
    let every: Vec<Expr> = columns.iter().enumerate().map(|(at, column)| Expr::Column(at, column.ty)).collect();
    let rows = group_count(on.as_ref().unwrap_or(&every), &part);
    let estimate = rows_of(&part.plan, rows, part.rows() * cost::PER_OPERATION * columns.len() as f64);
    let facts = part.facts.clone();
    let plan = make(Node::Distinct { input: Box::new(part.plan), on }, columns, estimate);
    Ok(Part { facts, ..Part::whole(plan) })
}

fn plan_sort(
    input: Rel,
    keys: Vec<SortKey>,
    top: Option<Expr>,
    filters: Vec<Expr>,
    want: Want,
    context: &PlanContext<'_>,
) -> SqlResult<Part> {
    let key = |key: &SortKey| match &key.expr {
        Expr::Column(column, _) => {
            Some(OrderKey { column: *column, descending: key.descending, nulls_first: key.nulls_first })
        }
        _ => None,
    };
    let order: Option<Vec<OrderKey>> = keys.iter().map(key).collect();
    // The rows come by the keys of this sort, which need not be what is asked for above.
    let ordered = want.order.is_empty() || order.as_ref().is_some_and(|own| own.starts_with(&want.order));
    let asked = want.limit;
    let mut below = Want { order: order.clone().unwrap_or_default(), ..want };
    if order.is_none() || !(ordered || top.is_some()) {
        below.limit = None;
    }
    let limit = asked.filter(|_| top.is_some());
    keys.iter().for_each(|key| mark(&key.expr, &mut below.needed));
    let part = plan_rel(input, filters, below, context)?;
    if order.is_some() && part.ordered {
        return Ok(Part { ordered, ..part });
    }
    let rows = limit.map_or(part.rows(), |limit| limit.min(part.rows()));
    let startup_cost = part.plan.estimate.total_cost + cost::sort(part.rows(), limit);
    let width = part.plan.estimate.width;
    let estimate = Estimate { rows, width, startup_cost, total_cost: startup_cost + rows * cost::PER_OPERATION };
    let keys = keys.into_iter().map(|key| SortKey { expr: part.placed(key.expr), ..key }).collect();
    let plan_columns = part.plan.columns.clone();
    let node = Node::Sort { input: Box::new(part.plan), keys, limit: top.map(Box::new) };
    Ok(Part { plan: make(node, plan_columns, estimate), ordered, base: None, made: None, ..part })
}

fn constant(expr: &Expr) -> Option<f64> {
    match expr {
        Expr::Const(value, _) => value.as_int().map(|count| count.max(0) as f64),
        _ => None,
    }
}

/// How many rows a limit takes, with those that are skipped first.
fn row_bound(limit: &Expr, offset: Option<&Expr>) -> Option<Expr> {
    let Some(offset) = offset else { return Some(limit.clone()) };
    if is_volatile(limit) || is_volatile(offset) || limit.runs_queries() || offset.runs_queries() {
        return None;
    }
    if let (Expr::Const(limit, ty), Expr::Const(offset, _)) = (limit, offset) {
        let sum = limit.as_int()?.checked_add(offset.as_int()?.max(0))?;
        return Some(Expr::Const(Datum::Int(sum), *ty));
    }
    let resolved = builtins::resolve_binary_operator("+", Some(SqlType::Int8), Some(SqlType::Int8)).ok()?;
    let types = builtins::CallTypes { args: resolved.args.clone(), ret: resolved.ret };
    let args = vec![cast_to(limit.clone(), SqlType::Int8), cast_to(offset.clone(), SqlType::Int8)];
    Some(Expr::Call { builtin: &resolved.chosen.function, types, args })
}

/// A limit over a sort keeps only so many rows; over a scan it reads no more. It takes rows in the order that is written
/// below it: the one wanted above is not passed on, and is kept only where it is that of the sort below.
fn plan_limit(
    input: Rel,
    (limit, offset, mut ties): (Option<Expr>, Option<Expr>, Vec<SortKey>),
    want: Want,
    context: &PlanContext<'_>,
) -> SqlResult<Part> {
    let skipped = offset.as_ref().map_or(0.0, |offset| constant(offset).unwrap_or(UNKNOWN_LIMIT));
    let taken = limit.as_ref().map(|limit| constant(limit).unwrap_or(UNKNOWN_LIMIT));
    let asks_order = !want.order.is_empty();
    let mut below = Want { limit: taken.map(|taken| taken + skipped), ..want };
    ties.iter().for_each(|key| mark(&key.expr, &mut below.needed));
    // How many rows there are with ties is not known.
    let top = limit.as_ref().filter(|_| ties.is_empty()).and_then(|limit| row_bound(limit, offset.as_ref()));
    let bound = top.clone();
    let mut part = match (input.node, top) {
        (RelNode::Sort { input, keys }, Some(top)) => plan_sort(*input, keys, Some(top), Vec::new(), below, context)?,
        // Columns only for the sort are taken away again above it.
        (RelNode::Project { input: inner, exprs }, Some(top))
            if matches!(inner.node, RelNode::Sort { .. })
                && exprs.iter().enumerate().all(|(at, expr)| matches!(expr, Expr::Column(column, _) if *column == at)) =>
        {
            let RelNode::Sort { input: sorted, keys } = inner.node else { unreachable!("just looked at") };
            below.needed.resize(inner.columns.len(), false);
            let mut part = plan_sort(*sorted, keys, Some(top), Vec::new(), below, context)?;
            for column in part.columns.iter_mut().filter(|column| **column >= input.columns.len()) {
                *column = EXTRA;
            }
            part
        }
        (node, _) => {
            below.order.clear();
            let part = plan_rel(Rel { node, columns: input.columns }, Vec::new(), below, context)?;
            Part { ordered: part.ordered && !asks_order, ..part }
        }
    };
    locking::limit_locks(&mut part.plan, bound.as_ref());
    ties.iter_mut().for_each(|key| super::exprs::remap(&mut key.expr, &|column| part.place(column)));
    let mut part = limited(part, limit, offset, taken, skipped);
    if let Node::Limit { ties: of_plan, .. } = &mut part.plan.node {
        *of_plan = ties;
    }
    Ok(part)
}

/// A part cut after `taken` rows behind the `skipped` ones.
fn limited(part: Part, limit: Option<Expr>, offset: Option<Expr>, taken: Option<f64>, skipped: f64) -> Part {
    let all = part.rows();
    let least = if taken == Some(0.0) { 0.0 } else { 1.0 };
    let rows = (all - skipped).max(0.0).min(taken.unwrap_or(f64::MAX)).max(least);
    let Estimate { startup_cost, total_cost, .. } = part.plan.estimate;
    let reached = |count: f64| startup_cost + (total_cost - startup_cost) * (count / all.max(1.0)).min(1.0);
    let estimate = Estimate {
        rows,
        startup_cost: if skipped > 0.0 { reached(skipped) } else { startup_cost },
        total_cost: reached(skipped + rows),
        ..part.plan.estimate
    };
    let columns = part.plan.columns.clone();
    let node = Node::Limit { input: Box::new(part.plan), limit, offset, ties: Vec::new() };
    Part { plan: make(node, columns, estimate), base: None, made: None, ..part }
}

struct Window {
    partition_by: Vec<Expr>,
    order_by: Vec<SortKey>,
    calls: Vec<crate::plan::WindowCall>,
}

fn plan_window(
    input: Rel,
    window: Window,
    columns: Vec<PlanColumn>,
    want: &Want,
    context: &PlanContext<'_>,
) -> SqlResult<Part> {
    let Window { mut partition_by, mut order_by, mut calls } = window;
    let width = input.columns.len();
    let mut below = Want::columns(want.needed[..width].to_vec());
    // The offsets of a frame are no expressions over the rows.
    for call in &calls {
        call.args.iter().for_each(|arg| mark(arg, &mut below.needed));
        if let WindowFunction::Aggregate(call) = &call.function {
            call_parts(call).for_each(|expr| mark(expr, &mut below.needed));
        }
    }
    partition_by.iter().for_each(|expr| mark(expr, &mut below.needed));
    order_by.iter().for_each(|key| mark(&key.expr, &mut below.needed));
    let part = plan_rel(input, Vec::new(), below, context)?;
    let place = |expr: &mut Expr| super::exprs::remap(expr, &|column| part.place(column));
    partition_by.iter_mut().for_each(place);
    order_by.iter_mut().for_each(|key| place(&mut key.expr));
    for call in &mut calls {
        call.args.iter_mut().for_each(place);
        if let WindowFunction::Aggregate(call) = &mut call.function {
            place_call(call, &part);
        }
    }
    let rows = part.rows();
    let startup_cost = part.plan.estimate.total_cost + cost::sort(rows, None);
    let mut plan_columns = part.plan.columns.clone();
    plan_columns.extend_from_slice(&columns[width..]);
    let mut places = part.columns.clone();
    places.extend(width..columns.len());
    let mut facts = part.facts.clone();
    facts.extend(columns[width..].iter().map(Fact::unknown));
    let estimate = Estimate {
        rows,
        width: facts.iter().map(|fact| fact.width).sum(),
        startup_cost,
        total_cost: startup_cost + rows * cost::PER_OPERATION * calls.len() as f64,
    };
    let node = Node::Window { input: Box::new(part.plan), partition_by, order_by, calls };
    Ok(Part { plan: make(node, plan_columns, estimate), columns: places, facts, ordered: false, base: None, made: None })
}

/// A relation that somebody reads as it is written.
pub(super) fn settled(rel: Rel, context: &PlanContext<'_>) -> SqlResult<Box<Plan>> {
    super::optimize(rel, context).map(Box::new)
}

fn plan_other(node: RelNode, columns: Vec<PlanColumn>, context: &PlanContext<'_>) -> SqlResult<Part> {
    let plan = match node {
        RelNode::Unit => make(Node::Unit, columns, few(1.0)),
        RelNode::Values(rows) => {
            let estimate = few(rows.len() as f64);
            make(Node::Values { rows }, columns, estimate)
        }
        RelNode::Function { calls, with_ordinality } => {
            make(Node::FunctionScan { calls, with_ordinality }, columns, few(1000.0))
        }
        RelNode::Cte(cte) => make(Node::CteScan { cte }, columns, few(1000.0)),
        RelNode::Transition(name) => make(Node::TransitionScan { name }, columns, few(100.0)),
        RelNode::ProjectSet { input, items } => {
            let input = settled(*input, context)?;
            let sets = items.iter().filter(|item| matches!(item, ProjectItem::Set(_))).count();
            let rows = input.estimate.rows * if sets > 0 { 100.0 } else { 1.0 };
            let estimate = rows_of(&input, rows, rows * cost::PER_OPERATION);
            make(Node::ProjectSet { input, items }, columns, estimate)
        }
        RelNode::RecursiveUnion { cte, base, step, all } => {
            let (base, step) = (settled(*base, context)?, settled(*step, context)?);
            let estimate = rows_of(&base, base.estimate.rows * 10.0, step.estimate.total_cost * 10.0);
            make(Node::RecursiveUnion { cte, base, step, all }, columns, estimate)
        }
        RelNode::Insert { insert, source } => {
            let source = settled(*source, context)?;
            let estimate = rows_of(&source, source.estimate.rows, source.estimate.rows * cost::PER_GET);
            make(Node::Insert(Insert { source, ..*insert }), columns, estimate)
        }
        RelNode::Update { update, source } => {
            let source = settled(*source, context)?;
            let estimate = rows_of(&source, source.estimate.rows, source.estimate.rows * cost::PER_GET);
            make(Node::Update(Update { source, ..*update }), columns, estimate)
        }
        RelNode::Delete { delete, source } => {
            let source = settled(*source, context)?;
            let estimate = rows_of(&source, source.estimate.rows, source.estimate.rows * cost::PER_GET);
            make(Node::Delete(Delete { source, ..*delete }), columns, estimate)
        }
        RelNode::Merge { merge, source } => {
            let source = settled(*source, context)?;
            let estimate = rows_of(&source, source.estimate.rows, source.estimate.rows * cost::PER_GET);
            make(Node::Merge(Merge { source, ..*merge }), columns, estimate)
        }
        node => unreachable!("planned by the caller: {node:?}"),
    };
    Ok(Part::whole(plan))
}
