//! Which index a table is read through.
//!
//! **Invariant (points-unmeasured):** a condition that names one row by a unique key is planned without a look at the
//! statistics; nothing they say could make another way better.

use std::{
    cell::OnceCell,
    sync::{Arc, OnceLock},
};

use catalog::{ColumnStatistics, Index, Table, TableStatistics, row::EntryReader};
use keys::ColumnId;
use types::{Datum, Direction, NullsOrder, SqlResult, SqlType};

use super::{
    Fact, OrderKey, Part, Want, cost, entries,
    bounds::{Bound, ColumnBound, bound_of, usable_value},
    exprs::{column_of, comparison, conjunction, conjuncts, mark, remap},
    make,
    selectivity::{self, Known},
};
use crate::{
    PlanContext,
    bind::{bind_stored_expr, key_expr, same::same_expr},
    expr::Expr,
    plan::{Estimate, IndexSpan, LockWait, Node, PlanColumn, RowLock, TableScan},
    pruning::PruneNode,
};

/// Spans of one scan at most; longer lists are looked through row by row.
const MAX_SPANS: usize = 10_000;

/// Under SKIP LOCKED, rows read beyond the limit, as other transactions may lock some of them first.
const SPARE: f64 = 7.0;
/// The same for a secondary index, whose entries do not say which rows are locked.
const SPARE_ENTRIES: f64 = 31.0;

/// A table and what is asked of it, whichever way it is read.
#[derive(Clone, Debug)]
pub(super) struct Base {
    pub table: Arc<Table>,
    pub lock: Option<RowLock>,
    /// Over the table's columns.
    pub filters: Vec<Expr>,
    pub needed: Vec<bool>,
    pub columns: Vec<PlanColumn>,
    /// Where a join counts the table's first column.
    pub start: usize,
    /// Of a partitioned table: where its rows are. Its indexes here are those that all these partitions have.
    pub partitions: Option<Arc<BasePartitions>>,
    /// Its filters come before conditions that are not leakproof: *barriers-hold*.
    pub is_behind_barrier: bool,
    statistics: Option<Arc<TableStatistics>>,
}

/// The partitions that are left of a table.
#[derive(Debug)]
pub(super) struct BasePartitions {
    pub pruning: PruneNode,
    pub leaves: Vec<BaseLeaf>,
}

#[derive(Debug)]
pub(super) struct BaseLeaf {
    pub table: Arc<Table>,
    /// The columns of the partitioned table over those of the partition.
    pub columns: Vec<Expr>,
    /// For each index of the partitioned table, the place of its own.
    pub indexes: Vec<usize>,
}

impl Base {
    /// Of a partitioned table, of whose rows nothing is known but their number.
    pub fn of_partitions(
        table: Arc<Table>,
        lock: Option<RowLock>,
        filters: Vec<Expr>,
        needed: Vec<bool>,
        columns: Vec<PlanColumn>,
        rows: f64,
        partitions: BasePartitions,
    ) -> Self {
        let statistics = TableStatistics { rows, ..TableStatistics::default() };
        let (partitions, statistics) = (Some(Arc::new(partitions)), Some(Arc::new(statistics)));
        Self { table, lock, filters, needed, columns, start: 0, partitions, is_behind_barrier: false, statistics }
    }

    /// How many partitions are looked into for a key that has values for these columns.
    pub fn lookups(&self, columns: &[usize]) -> f64 {
        let Some(partitions) = &self.partitions else { return 1.0 };
        let is_known = |key: &Expr| matches!(key, Expr::Column(column, _) if columns.contains(column));
        if partitions.pruning.key.iter().all(is_known) { 1.0 } else { partitions.leaves.len() as f64 }
    }

    /// What is read is locked.
    pub fn locks(&self) -> bool {
        self.lock.is_some_and(|lock| !lock.is_above)
    }

    pub fn rows(&self) -> f64 {
        self.statistics.as_ref().map_or(cost::DEFAULT_ROWS, |statistics| statistics.rows.max(1.0))
    }

    /// What reading a row of an index costs.
    pub fn row_cost(&self, index: &Index) -> f64 {
        let columns = 0..self.table.columns.len();
        let held = columns.filter(|column| EntryReader::covers(&self.table, index, *column));
        cost::PER_ROW + held.map(|column| self.width(column)).sum::<f64>() * cost::PER_BYTE
    }

    fn width(&self, column: usize) -> f64 {
        match self.statistics(column) {
            Some(statistics) => statistics.average_width,
            None => default_width(&self.table.columns[column].ty),
        }
    }

    /// The share of rows with one value in each of these columns.
    pub fn equal_share(&self, columns: &[usize]) -> f64 {
        let rows = self.rows();
        if self.has_key_of(columns) {
            return 1.0 / rows;
        }
        let (known, distinct) = self.known_group(columns).unwrap_or((&[], 1.0));
        let others = columns.iter().filter(|column| !known.contains(&self.table.columns[**column].id));
        let share: f64 = others
            .map(|column| 1.0 / self.distinct(*column).unwrap_or(cost::DEFAULT_DISTINCT).clamp(1.0, rows.max(1.0)))
            .product();
        (share / distinct.max(1.0)).max(1.0 / rows)
    }

    /// Whether no two rows have the same values in these columns.
    fn has_key_of(&self, columns: &[usize]) -> bool {
        self.table.indexes.iter().any(|index| {
            index.unique
                && index.predicate.is_none()
                && self.table.key_positions(index).all(|column| columns.contains(&column))
        })
    }

    /// The largest group of columns, all of them among these, whose different values were counted together.
    fn known_group(&self, columns: &[usize]) -> Option<(&[ColumnId], f64)> {
        let has = |id: &ColumnId| columns.iter().any(|column| self.table.columns[*column].id == *id);
        let groups = self.statistics.as_ref()?.groups.iter().filter(|group| group.columns.iter().all(has));
        groups.max_by_key(|group| group.columns.len()).map(|group| (&group.columns[..], group.distinct))
    }

    /// How many different values these columns have together, where that is known.
    pub fn distinct_together(&self, columns: &[usize]) -> Option<f64> {
        if self.has_key_of(columns) {
            return Some(self.rows());
        }
        self.known_group(columns).filter(|(known, _)| known.len() == columns.len()).map(|(_, distinct)| distinct)
    }

    pub fn filter_share(&self) -> f64 {
        selectivity::all(&self.filters, self)
    }

    pub fn fact(&self, column: usize) -> Fact {
        Fact {
            distinct: self.distinct(column),
            nullable: self.table.columns[column].nullable,
            width: self.width(column),
        }
    }

    /// What a scan of the needed columns has to read, the filter's among them.
    pub fn read_columns(&self, filters: &[Expr]) -> Vec<usize> {
        let mut read = self.needed.clone();
        filters.iter().for_each(|filter| mark(filter, &mut read));
        (0..read.len()).filter(|column| read[*column]).collect()
    }

    /// Whether entries of an index must be followed to their rows.
    pub fn fetches(&self, index: usize, columns: &[usize]) -> bool {
        let covers = |column: &usize| EntryReader::covers(&self.table, &self.table.indexes[index], *column);
        // A lock is on the row's own key.
        index != 0 && (self.locks() || !columns.iter().all(covers))
    }
}

impl Known for Base {
    fn statistics(&self, column: usize) -> Option<&ColumnStatistics> {
        self.statistics.as_ref()?.column(self.table.columns[column].id)
    }

    fn distinct(&self, column: usize) -> Option<f64> {
        let is_key = |index: &Index| {
            index.unique && index.predicate.is_none() && self.table.key_positions(index).eq(std::iter::once(column))
        };
        if self.table.indexes.iter().any(is_key) {
            return Some(self.rows());
        }
        if let Some(statistics) = self.statistics(column) {
            return Some(statistics.distinct.max(1.0));
        }
        matches!(self.table.columns[column].ty, SqlType::Bool).then_some(2.0)
    }
}

/// Bytes of a value of which nothing is known, as PostgreSQL guesses.
pub(super) fn default_width(ty: &SqlType) -> f64 {
    match (ty, ty.typlen()) {
        (SqlType::Varchar(Some(length)) | SqlType::Char(Some(length)), _) => f64::from(*length).min(32.0),
        (_, length) if length > 0 => f64::from(length),
        _ => 32.0,
    }
}

/// What an index makes of the filters.
struct Match {
    index: usize,
    /// Empty: all of it.
    spans: Vec<IndexSpan>,
    /// Filters that the spans uphold.
    used: Vec<usize>,
    /// Filters that the spans are narrowed by, and that are still to be looked at.
    narrowed: Vec<usize>,
    /// Each span names one key in full.
    point: bool,
    /// Rows are found by an inverted index, and read from the primary one.
    entries: Option<entries::Found>,
}

type Bounds = [Option<ColumnBound>];

fn match_index(table: &Table, position: usize, bounds: &Bounds) -> Match {
    let index = &table.indexes[position];
    let mut spans = vec![IndexSpan::default()];
    let mut taken: Vec<usize> = Vec::new();
    let mut equal_columns = 0;
    for column in table.key_positions(index) {
        let on_column = |at: &usize| matches!(&bounds[*at], Some(found) if found.column == column);
        let of_column: Vec<usize> = (0..bounds.len()).filter(on_column).collect();
        let bound = |at: usize| bounds[at].as_ref().map(|found| &found.bound);
        let equal = of_column.iter().copied().find(|&at| matches!(bound(at), Some(Bound::Equal(_) | Bound::IsNull)));
        if let Some(at) = equal {
            let value = match bound(at) {
                Some(Bound::Equal(value)) => Some(value.clone()),
                _ => None,
            };
            spans.iter_mut().for_each(|span| span.equal.push(value.clone()));
            taken.push(at);
            equal_columns += 1;
            continue;
        }
        let listed = of_column.iter().find_map(|&at| match bound(at) {
            Some(Bound::In(list)) if spans.len() * list.len() <= MAX_SPANS => Some((at, list)),
            _ => None,
        });
        if let Some((at, list)) = listed {
            let with = |span: &IndexSpan, value: &Expr| {
                let mut span = span.clone();
                span.equal.push(Some(value.clone()));
                span
            };
            spans = spans.iter().flat_map(|span| list.iter().map(move |value| with(span, value))).collect();
            taken.push(at);
            equal_columns += 1;
            continue;
        }
        let array = of_column.iter().find_map(|&at| match bound(at) {
            Some(Bound::AnyOf(array)) if spans[0].any_of.is_none() => Some((at, array)),
            _ => None,
        });
        if let Some((at, array)) = array {
            for span in &mut spans {
                span.any_of = Some(span.equal.len());
                span.equal.push(Some(array.clone()));
            }
            taken.push(at);
            equal_columns += 1;
            continue;
        }
        for at in of_column {
            let (lower, upper) = match bound(at) {
                Some(Bound::Range { lower, upper }) => (lower, upper),
                Some(Bound::NotNull) => (&None, &None),
                _ => continue,
            };
            if (lower.is_some() && spans[0].lower.is_some()) || (upper.is_some() && spans[0].upper.is_some()) {
                continue;
            }
            for span in &mut spans {
                span.lower = span.lower.take().or_else(|| lower.clone());
                span.upper = span.upper.take().or_else(|| upper.clone());
                span.not_null = true;
            }
            taken.push(at);
        }
        break;
    }
    let point = index.unique
        && equal_columns == index.columns.len()
        && spans.iter().all(|span| span.equal.iter().all(Option::is_some));
    if taken.is_empty() {
        spans.clear();
    }
    let is_exact = |at: &usize| bounds[*at].as_ref().is_some_and(|found| found.exact);
    let (used, narrowed) = taken.into_iter().partition(is_exact);
    Match { index: position, spans, used, narrowed, point, entries: None }
}

/// Whether an index yields its rows in an order, and if so whether it is read backwards for it.
fn order_direction(table: &Table, found: &Match, bounds: &Bounds, order: &[OrderKey]) -> Option<bool> {
    let index = &table.indexes[found.index];
    let is_constant = |column: usize| {
        bounds
            .iter()
            .flatten()
            .any(|found| found.column == column && matches!(found.bound, Bound::Equal(_) | Bound::IsNull))
    };
    let mut reverse = None;
    let mut keys = index.columns.iter().chain(&table.primary().columns).zip(0..);
    'wanted: for wanted in order {
        if is_constant(wanted.column) {
            continue;
        }
        loop {
            let Some((key, place)) = keys.next() else {
                // Every key of the index is behind: no two rows are left to be ordered.
                return reverse.or(Some(false));
            };
            if place == index.columns.len() && index.unique && !index.columns.iter().any(|key| {
                table.column_position(key.column).is_none_or(|column| table.columns[column].nullable)
            }) {
                return reverse.or(Some(false));
            }
            let column = table.column_position(key.column)?;
            if column != wanted.column {
                if is_constant(column) {
                    continue;
                }
                return None;
            }
            let backwards = wanted.descending != (key.direction == Direction::Desc);
            let nulls_first = (key.nulls == NullsOrder::First) != backwards;
            let no_nulls = !table.columns[column].nullable
                || found.spans.first().is_some_and(|span| span.not_null && span.equal.len() == place);
            if (nulls_first != wanted.nulls_first && !no_nulls) || *reverse.get_or_insert(backwards) != backwards {
                return None;
            }
            continue 'wanted;
        }
    }
    Some(reverse.unwrap_or(false))
}

/// A way to read the table, and what it costs.
struct Candidate {
    found: Match,
    reverse: bool,
    ordered: bool,
    estimate: Estimate,
    /// For choosing: with the sort that is still needed, and without what a limit will not ask for.
    effective: f64,
}

/// Filters over what an index over expressions has computed, in place of the computation.
fn with_computed(table: &Arc<Table>, mut filters: Vec<Expr>, context: &PlanContext<'_>) -> SqlResult<Vec<Expr>> {
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

/// Whether an index holds every row that the filters let through: a partial one does when they repeat its predicate.
fn is_usable(table: &Arc<Table>, index: &Index, filters: &[Expr], context: &PlanContext<'_>) -> SqlResult<bool> {
    let Some(text) = &index.predicate else { return Ok(true) };
    let mut parts = Vec::new();
    conjuncts(bind_stored_expr(text, table, context)?, &mut parts);
    Ok(parts.iter().all(|part| filters.iter().any(|filter| same_expr(filter, part))))
}

/// Plans the reading of one table: the cheapest index for these filters.
///
/// # Errors
/// When an expression that the table keeps cannot be bound.
pub(super) fn plan_table(
    table: &Arc<Table>,
    lock: Option<RowLock>,
    columns: Vec<PlanColumn>,
    filters: Vec<Expr>,
    want: Want,
    context: &PlanContext<'_>,
) -> SqlResult<Part> {
    let filters = with_computed(table, filters, context)?;
    let bounds: Vec<Option<ColumnBound>> = filters.iter().map(|filter| bound_of(filter, table)).collect();
    let mut matches = Vec::with_capacity(table.indexes.len());
    for (position, index) in table.indexes.iter().enumerate().filter(|(_, index)| !index.is_inverted()) {
        if is_usable(table, index, &filters, context)? {
            matches.push(match_index(table, position, &bounds));
        }
    }
    let mut base =
        Base {
            table: table.clone(),
            lock,
            filters,
            needed: want.needed.clone(),
            columns,
            start: 0,
            partitions: None,
            is_behind_barrier: false,
            statistics: None,
        };
    let best = match matches.iter().position(|found| matches!(&found.spans[..], [only] if found.point && only.any_of.is_none())) {
        Some(at) => {
            let found = matches.swap_remove(at);
            let cost = cost::PER_GET + cost::PER_ROW;
            let estimate = Estimate { rows: 1.0, width: 0.0, startup_cost: 0.0, total_cost: cost };
            Candidate { found, reverse: false, ordered: true, estimate, effective: cost }
        }
        None => {
            base.statistics = context.catalog.statistics().table(table.storage);
            for position in 0..table.indexes.len() {
                matches.extend(by_entries(&base, position, context)?);
            }
            let share = OnceCell::new();
            let out = || (base.rows() * share.get_or_init(|| base.filter_share())).max(1.0);
            matches
                .into_iter()
                .map(|found| candidate(&base, found, &bounds, &want, out()))
                .min_by(|a, b| a.effective.total_cmp(&b.effective))
                .expect("a table has its primary index")
        }
    };
    Ok(scan(base, best, &want))
}

/// The rows that an inverted index finds for the filters.
fn by_entries(base: &Base, position: usize, context: &PlanContext<'_>) -> SqlResult<Option<Match>> {
    let index = &base.table.indexes[position];
    if !index.is_inverted() || !is_usable(&base.table, index, &base.filters, context)? {
        return Ok(None);
    }
    let found = entries::matching(base, position, &base.filters);
    Ok(found.map(|mut found| {
        let narrowed = std::mem::take(&mut found.narrowed);
        Match { index: 0, spans: Vec::new(), used: Vec::new(), narrowed, point: false, entries: Some(found) }
    }))
}

/// What reading the rows that entries lead to costs.
fn entries_candidate(base: &Base, found: Match, (cost, share): (f64, f64), want: &Want, out: f64) -> Candidate {
    let read = (base.rows() * share).max(1.0);
    let out = out.min(read);
    let each = cost::PER_GET + base.row_cost(base.table.primary()) + base.filters.len() as f64 * cost::PER_OPERATION;
    let total = cost + read * each;
    let ordered = want.order.is_empty();
    let effective = match (ordered, want.limit) {
        (true, Some(limit)) => cost + read * each * (limit / out).min(1.0),
        (true, None) => total,
        (false, limit) => total + cost::sort(out, limit),
    };
    let estimate = Estimate { rows: out, width: 0.0, startup_cost: cost, total_cost: total };
    Candidate { found, reverse: false, ordered, estimate, effective }
}

/// How many spans one with an array stands for.
fn any_elements(span: &IndexSpan) -> f64 {
    match span.any_of.map(|at| &span.equal[at]) {
        None => 1.0,
        Some(Some(Expr::Const(Datum::Array(values), _))) => values.elements().len() as f64,
        Some(_) => selectivity::ANY_ELEMENTS,
    }
}

fn candidate(base: &Base, found: Match, bounds: &Bounds, want: &Want, out: f64) -> Candidate {
    if let Some(entries) = &found.entries {
        let costs = (entries.cost, entries.share);
        return entries_candidate(base, found, costs, want, out);
    }
    let rows = base.rows();
    let index = &base.table.indexes[found.index];
    let is_used = |at: &usize| found.used.contains(at);
    let narrowing = found.used.iter().chain(&found.narrowed);
    let used: Vec<Expr> = narrowing.map(|at| base.filters[*at].clone()).collect();
    let rest: Vec<Expr> =
        (0..base.filters.len()).filter(|at| !is_used(at)).map(|at| base.filters[at].clone()).collect();
    let span_count = found.spans.len().max(1) as f64 * found.spans.first().map_or(1.0, any_elements);
    let read = match found.point {
        true => span_count.min(rows),
        false => (rows * selectivity::all(&used, base)).max(1.0),
    };
    let out = if found.point { out.min(read) } else { out };
    let seeks = span_count * if found.point { cost::PER_GET } else { cost::PER_SPAN };
    let fetch = if base.fetches(found.index, &base.read_columns(&rest)) {
        cost::PER_GET + base.row_cost(base.table.primary())
    } else {
        0.0
    };
    let each = base.row_cost(index) + fetch + rest.len() as f64 * cost::PER_OPERATION;
    let total = seeks + read * each;
    let direction = order_direction(&base.table, &found, bounds, &want.order);
    let ordered = direction.is_some();
    let effective = match (ordered, want.limit) {
        (true, Some(limit)) => seeks + read * each * (limit / out).min(1.0),
        (true, None) => total,
        (false, limit) => total + cost::sort(out, limit),
    };
    let estimate = Estimate { rows: out, width: 0.0, startup_cost: 0.0, total_cost: total };
    Candidate { found, reverse: direction.unwrap_or(false), ordered, estimate, effective }
}

fn scan(mut base: Base, best: Candidate, want: &Want) -> Part {
    let Candidate { found, reverse, ordered, mut estimate, .. } = best;
    // What the spans guarantee needs no second look.
    let mut rest: Vec<Expr> = (0..base.filters.len())
        .filter(|at| !found.used.contains(at))
        .map(|at| base.filters[at].clone())
        .collect();
    let columns = base.read_columns(&rest);
    let place = |column: usize| columns.binary_search(&column).expect("the filter's columns are read");
    rest.iter_mut().for_each(|filter| remap(filter, &place));
    let limit_hint = want.limit.filter(|_| ordered).map(|limit| {
        let reads_more = if base.locks() || rest.is_empty() { 1.0 } else { selectivity::all(&rest, &selectivity::Nothing) };
        let spare = match base.lock {
            Some(lock) if lock.wait == LockWait::Skip => if found.index == 0 { SPARE } else { SPARE_ENTRIES },
            _ => 0.0,
        };
        (limit / reads_more.max(0.01) + spare).ceil() as u64
    });
    let facts: Vec<Fact> = columns.iter().map(|column| base.fact(*column)).collect();
    estimate.width = facts.iter().map(|fact| fact.width).sum();
    let scan = Arc::new(TableScan {
        table: base.table.clone(),
        index: found.index,
        spans: found.spans,
        filter: conjunction(rest),
        reverse,
        lock: base.lock,
        fetch_rows: base.fetches(found.index, &columns),
        limit_hint,
        point: found.point,
        columns: columns.clone(),
        entries: found.entries.map(|found| Arc::new(found.scan)),
        access: OnceLock::new(),
    });
    let plan_columns = columns.iter().map(|column| base.columns[*column].clone()).collect();
    let plan = make(Node::TableScan(scan), plan_columns, estimate);
    base.needed.clone_from(&want.needed);
    Part { plan, columns, facts, ordered, base: Some(Box::new(base)), made: None }
}

/// The column that a filter compares with a value that is the same for every row, and the value.
pub(super) fn equal_constant<'a>(filter: &'a Expr, table: &Table) -> Option<(usize, &'a Expr)> {
    let Expr::Call { builtin, args, .. } = filter else { return None };
    if comparison(builtin) != Some("=") {
        return None;
    }
    let [left, right] = &args[..] else { return None };
    match (column_of(left), column_of(right)) {
        (Some(column), _) if usable_value(right, &table.columns[column].ty) => Some((column, right)),
        (_, Some(column)) if usable_value(left, &table.columns[column].ty) => Some((column, left)),
        _ => None,
    }
}

/// The index of a table that begins with most of these columns, for a lookup by them: its position, and for each of
/// its leading columns which of `columns` it is. At least one of them is among the first `wanted`.
pub(super) fn lookup_index(table: &Table, columns: &[usize], wanted: usize) -> Option<(usize, Vec<usize>)> {
    let mut best: Option<(usize, Vec<usize>)> = None;
    for (position, index) in table.indexes.iter().enumerate() {
        if index.predicate.is_some() || index.is_inverted() {
            continue;
        }
        let places: Vec<usize> = table
            .key_positions(index)
            .map_while(|column| columns.iter().position(|wanted| *wanted == column))
            .collect();
        let better = best.as_ref().is_none_or(|(_, known)| places.len() > known.len());
        if places.iter().any(|place| *place < wanted) && better {
            best = Some((position, places));
        }
    }
    best
}
