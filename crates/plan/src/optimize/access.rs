//! Which index a table is read through.

use std::sync::Arc;

use catalog::{ColumnStatistics, Table, row::EntryReader};
use types::{Datum, SqlResult, SqlType};

use super::{comparison, conjunction, conjuncts, cost, make};
use crate::{
    PlanContext,
    bind::{bind_stored_expr, key_expr, same::same_expr},
    expr::Expr,
    plan::{Estimate, IndexSpan, Node, Plan, PlanColumn, RowLock, TableScan},
};

/// A condition on one column that an index can use.
enum Bound {
    Equal(Expr),
    In(Vec<Expr>),
    IsNull,
    NotNull,
    Lower(Expr, bool),
    Upper(Expr, bool),
}

/// Types whose values have the same key bytes, so that a cast between them changes nothing a key would see.
fn same_key_family(a: &SqlType, b: &SqlType) -> bool {
    let text = |ty: &SqlType| matches!(ty, SqlType::Text | SqlType::Varchar(_) | SqlType::Name);
    a.same_base(b) || (a.is_integer() && b.is_integer()) || (text(a) && text(b))
        || (matches!(a, SqlType::Float4 | SqlType::Float8) && matches!(b, SqlType::Float4 | SqlType::Float8))
}

/// The column behind an expression, looking through casts that keep the key bytes.
fn column_of(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Column(position, _) => Some(*position),
        Expr::Cast { expr, to, .. } if same_key_family(&expr.ty(), to) => column_of(expr),
        _ => None,
    }
}

fn usable_value(value: &Expr, column: &SqlType) -> bool {
    value.is_row_independent() && !value.has_subquery() && same_key_family(&value.ty(), column)
}

fn bound_of(filter: &Expr, table: &Table) -> Option<(usize, Bound)> {
    match filter {
        Expr::Call { builtin, args, .. } => {
            let symbol = comparison(builtin)?;
            let [left, right] = &args[..] else { return None };
            let (position, value, symbol) = match (column_of(left), column_of(right)) {
                (Some(position), _) if usable_value(right, &table.columns[position].ty) => (position, right, symbol),
                (_, Some(position)) if usable_value(left, &table.columns[position].ty) => {
                    let mirrored = match symbol {
                        "<" => ">",
                        "<=" => ">=",
                        ">" => "<",
                        ">=" => "<=",
                        same => same,
                    };
                    (position, left, mirrored)
                }
                _ => return None,
            };
            let value = value.clone();
            let bound = match symbol {
                "=" => Bound::Equal(value),
                "<" => Bound::Upper(value, false),
                "<=" => Bound::Upper(value, true),
                ">" => Bound::Lower(value, false),
                ">=" => Bound::Lower(value, true),
                _ => return None,
            };
            Some((position, bound))
        }
        Expr::InList { expr, list, negated: false } => {
            let position = column_of(expr)?;
            let ty = &table.columns[position].ty;
            list.iter().all(|value| usable_value(value, ty)).then(|| (position, Bound::In(list.clone())))
        }
        Expr::IsNull(expr) => Some((column_of(expr)?, Bound::IsNull)),
        Expr::Not(inner) => match &**inner {
            Expr::IsNull(expr) => Some((column_of(expr)?, Bound::NotNull)),
            _ => None,
        },
        _ => None,
    }
}

fn statistics<'t>(table: &'t Table, position: usize) -> Option<&'t ColumnStatistics> {
    let id = table.columns[position].id;
    let statistics = table.statistics.as_ref()?;
    statistics.columns.iter().find(|(column, _)| *column == id).map(|(_, statistics)| statistics)
}

pub(super) fn table_rows(table: &Table) -> f64 {
    table.statistics.as_ref().map_or(cost::DEFAULT_ROWS, |statistics| statistics.rows.max(1.0))
}

/// The share of rows with one value of a column.
pub(super) fn equal_share(table: &Table, position: usize) -> f64 {
    if let [only] = &table.primary().columns[..]
        && table.column_position(only.column) == Some(position)
    {
        return 1.0 / table_rows(table);
    }
    match statistics(table, position) {
        Some(known) if known.distinct >= 1.0 => 1.0 / known.distinct,
        _ => 0.005,
    }
}

/// What a filter lets through, with what is known of the columns.
fn share(filter: &Expr, table: &Table) -> f64 {
    match bound_of(filter, table) {
        Some((position, Bound::Equal(_))) => equal_share(table, position),
        Some((position, Bound::In(list))) => (equal_share(table, position) * list.len() as f64).min(1.0),
        Some((position, Bound::IsNull)) => statistics(table, position).map_or(0.005, |known| known.null_fraction),
        Some((position, Bound::Lower(value, _))) => 1.0 - below(table, position, &value),
        Some((position, Bound::Upper(value, _))) => below(table, position, &value),
        Some((_, Bound::NotNull)) => 0.99,
        None => cost::selectivity(filter),
    }
}

/// The share of values below one, by the histogram.
fn below(table: &Table, position: usize, value: &Expr) -> f64 {
    let (Expr::Const(value, _), Some(known)) = (value, statistics(table, position)) else { return 1.0 / 3.0 };
    if known.histogram.len() < 2 || value.is_null() {
        return 1.0 / 3.0;
    }
    let ty = table.columns[position].ty;
    let below = known.histogram.iter().filter(|bound| types::compare(&ty, bound, value).is_lt()).count();
    (below as f64 / known.histogram.len() as f64).clamp(0.001, 0.999)
}

struct Candidate {
    index: usize,
    spans: Vec<IndexSpan>,
    used: Vec<usize>,
    rows: f64,
    cost: f64,
    point: bool,
    fetch_rows: bool,
}

/// Filters over what an index over expressions has computed, in place of the computation.
pub(super) fn with_computed(
    table: &Arc<Table>,
    mut filters: Vec<Expr>,
    context: &PlanContext<'_>,
) -> SqlResult<Vec<Expr>> {
    fn replace(expr: &mut Expr, computed: &Expr, with: &Expr) {
        if same_expr(expr, computed) {
            *expr = with.clone();
        } else {
            expr.for_each_child_mut(&mut |child| replace(child, computed, with));
        }
    }
    for (position, column) in table.columns.iter().enumerate() {
        if column.hidden && column.default.is_some() && !filters.is_empty() {
            let computed = key_expr(table, position, context)?;
            let with = Expr::Column(position, column.ty);
            filters.iter_mut().for_each(|filter| replace(filter, &computed, &with));
        }
    }
    Ok(filters)
}

/// Which indexes hold every row that the filters let through: a partial one does when they repeat its predicate.
pub(super) fn usable_indexes(
    table: &Arc<Table>,
    filters: &[Expr],
    context: &PlanContext<'_>,
) -> SqlResult<Vec<bool>> {
    let implied = |text: &String| -> SqlResult<bool> {
        let mut parts = Vec::new();
        conjuncts(bind_stored_expr(text, table, context)?, &mut parts);
        Ok(parts.iter().all(|part| filters.iter().any(|filter| same_expr(filter, part))))
    };
    table.indexes.iter().map(|index| index.predicate.as_ref().map_or(Ok(true), implied)).collect()
}

/// Plans the reading of one table: the cheapest index for these filters.
pub(super) fn plan_table(
    table: &Arc<Table>,
    lock: Option<RowLock>,
    columns: Vec<PlanColumn>,
    filters: Vec<Expr>,
    usable: &[bool],
) -> Plan {
    let rows = table_rows(table);
    let best = (0..table.indexes.len())
        .filter(|index| usable[*index])
        .filter_map(|index| candidate(table, index, &filters, lock.is_some()))
        .min_by(|a, b| a.cost.total_cmp(&b.cost))
        .expect("a table has its primary index");
    let shares: f64 = filters.iter().map(|filter| share(filter, table)).product();
    let estimate = Estimate {
        rows: if best.point { best.rows.min(best.spans.len() as f64) } else { (rows * shares).max(1.0) },
        width: table.columns.len() as f64 * 8.0,
        startup_cost: 0.0,
        total_cost: best.cost,
    };
    // What the spans guarantee needs no second look.
    let rest: Vec<Expr> =
        filters.into_iter().enumerate().filter(|(at, _)| !best.used.contains(at)).map(|(_, filter)| filter).collect();
    let scan = TableScan {
        table: table.clone(),
        index: best.index,
        spans: best.spans,
        columns: (0..table.columns.len()).collect(),
        filter: conjunction(rest),
        reverse: false,
        lock,
        fetch_rows: best.fetch_rows,
        limit_hint: None,
        point: best.point,
    };
    make(Node::TableScan(scan), columns, estimate)
}

fn candidate(table: &Arc<Table>, position: usize, filters: &[Expr], locks: bool) -> Option<Candidate> {
    let index = &table.indexes[position];
    let bounds: Vec<Option<(usize, Bound)>> = filters.iter().map(|filter| bound_of(filter, table)).collect();
    let mut spans = vec![IndexSpan::default()];
    let mut used = Vec::new();
    let mut selected = 1.0;
    let mut equal_columns = 0;
    for column in table.key_positions(index) {
        let on_column = |at: usize| matches!(&bounds[at], Some((found, _)) if *found == column);
        let of_column: Vec<usize> = (0..bounds.len()).filter(|&at| on_column(at)).collect();
        let equal = of_column.iter().copied().find(|&at| {
            matches!(&bounds[at], Some((_, Bound::Equal(_) | Bound::IsNull)))
        });
        if let Some(at) = equal {
            let value = match &bounds[at] {
                Some((_, Bound::Equal(value))) => Some(value.clone()),
                _ => None,
            };
            spans.iter_mut().for_each(|span| span.equal.push(value.clone()));
            used.push(at);
            selected *= share(&filters[at], table);
            equal_columns += 1;
            continue;
        }
        let listed = of_column.iter().copied().find(|&at| matches!(&bounds[at], Some((_, Bound::In(_)))));
        if let Some(at) = listed
            && let Some((_, Bound::In(list))) = &bounds[at]
            && spans.len() * list.len() <= 10_000
        {
            spans = spans
                .iter()
                .flat_map(|span| {
                    list.iter().map(|value| {
                        let mut span = span.clone();
                        span.equal.push(Some(value.clone()));
                        span
                    })
                })
                .collect();
            used.push(at);
            selected *= share(&filters[at], table);
            equal_columns += 1;
            continue;
        }
        for at in of_column {
            match &bounds[at] {
                Some((_, Bound::Lower(value, inclusive))) if spans[0].lower.is_none() => {
                    spans.iter_mut().for_each(|span| {
                        span.lower = Some((value.clone(), *inclusive));
                        span.not_null = true;
                    });
                }
                Some((_, Bound::Upper(value, inclusive))) if spans[0].upper.is_none() => {
                    spans.iter_mut().for_each(|span| {
                        span.upper = Some((value.clone(), *inclusive));
                        span.not_null = true;
                    });
                }
                Some((_, Bound::NotNull)) => spans.iter_mut().for_each(|span| span.not_null = true),
                _ => continue,
            }
            used.push(at);
            selected *= share(&filters[at], table);
        }
        break;
    }
    let rows = table_rows(table);
    let point = index.unique && equal_columns == index.columns.len()
        && spans.iter().all(|span| span.equal.iter().all(Option::is_some));
    let read = if point { spans.len() as f64 } else { (rows * selected).max(1.0) };
    let is_whole = used.is_empty() && !spans[0].not_null;
    if is_whole {
        spans.clear();
    }
    let covers = (0..table.columns.len()).all(|column| EntryReader::covers(table, index, column));
    // A lock is on the row's own key.
    let fetch_rows = position != 0 && (!covers || locks);
    let seeks = if is_whole { 1.0 } else { spans.len() as f64 };
    let fetch = if fetch_rows { read * cost::PER_SEEK } else { 0.0 };
    let residual = filters.len().saturating_sub(used.len()) as f64;
    let total = seeks * cost::PER_SEEK + read * cost::PER_ROW + fetch + read * residual * cost::PER_OPERATION;
    Some(Candidate { index: position, spans, used, rows: read, cost: total, point, fetch_rows })
}

/// Whether an index of the table begins with these columns, for a lookup by them: its position, and for each of its
/// leading columns which of `columns` it is.
pub(super) fn lookup_index(table: &Table, columns: &[usize]) -> Option<(usize, Vec<usize>)> {
    let mut best: Option<(usize, Vec<usize>)> = None;
    for (position, index) in table.indexes.iter().enumerate() {
        if index.predicate.is_some() {
            continue;
        }
        let mut places = Vec::new();
        for column in table.key_positions(index) {
            match columns.iter().position(|wanted| *wanted == column) {
                Some(place) => places.push(place),
                None => break,
            }
        }
        let better = best.as_ref().is_none_or(|(_, known)| places.len() > known.len());
        if !places.is_empty() && better {
            best = Some((position, places));
        }
    }
    best
}

pub(super) fn is_null_constant(expr: &Expr) -> bool {
    matches!(expr, Expr::Const(Datum::Null, _))
}

pub(super) fn same_family(a: &SqlType, b: &SqlType) -> bool {
    same_key_family(a, b)
}

pub(super) fn plain_column(expr: &Expr) -> Option<usize> {
    column_of(expr)
}
