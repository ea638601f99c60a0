//! Reading a partitioned table: each partition that may have rows is read as a table of its own, under the same conditions, one
//! after the other. Which ones may is told by the conditions on the partition key ([`crate::pruning`]).

use std::sync::{Arc, OnceLock};

use catalog::{Table, row::EntryReader};
use types::{Datum, SqlResult, SqlType};

use super::{
    EXTRA, Fact, Part, Want,
    access::{Base, BaseLeaf, BasePartitions},
    cost,
    exprs::{bare_column, column_of, commuted, comparison, conjuncts, is_volatile, mark, remap, same_key_family, substitute},
    make,
    query::plan_rel,
};
use crate::{
    PlanContext,
    bind::{indexes_below, key_exprs, same::same_expr},
    expr::Expr,
    logical::{Rel, RelNode},
    plan::{Append, Estimate, IndexSpan, Node, Plan, PlanColumn, RowLock, TableScan},
    pruning::{KeyCondition, PruneBranch, PruneNode},
};

/// What is found of a partition key in filters over the columns of the table that is read.
struct Keys<'k> {
    exprs: &'k [Expr],
    types: Vec<SqlType>,
}

impl Keys<'_> {
    fn place(&self, expr: &Expr) -> Option<usize> {
        let column = column_of(expr);
        self.exprs.iter().position(|key| match key {
            Expr::Column(position, _) => column == Some(*position),
            key => same_expr(&bare_column(expr.clone()), key),
        })
    }

    /// A value that can be looked up among the bounds.
    fn is_usable(&self, place: usize, value: &Expr, ty: &SqlType) -> bool {
        value.is_row_independent() && !value.runs_queries() && same_key_family(ty, &self.types[place])
    }

    fn condition(&self, filter: &Expr) -> Option<KeyCondition> {
        match filter {
            Expr::And(list) => {
                let found: Vec<KeyCondition> = list.iter().filter_map(|part| self.condition(part)).collect();
                (!found.is_empty()).then_some(KeyCondition::All(found))
            }
            Expr::Or(list) => list.iter().map(|part| self.condition(part)).collect::<Option<_>>().map(KeyCondition::AnyOf),
            Expr::Call { builtin, args, .. } => {
                let [left, right] = &args[..] else { return None };
                let symbol = comparison(builtin)?;
                let (place, value, symbol) = match (self.place(left), self.place(right)) {
                    (Some(place), None) => (place, right, symbol),
                    (None, Some(place)) => (place, left, commuted(symbol)),
                    _ => return None,
                };
                if !self.is_usable(place, value, &value.ty()) {
                    return None;
                }
                let value = value.clone();
                Some(match symbol {
                    "=" => KeyCondition::Equal(place, value),
                    "<" | "<=" => KeyCondition::To(place, value, symbol == "<="),
                    ">" | ">=" => KeyCondition::From(place, value, symbol == ">="),
                    _ => return None,
                })
            }
            Expr::InList { expr, list, negated: false } => {
                let place = self.place(expr)?;
                let usable = list.iter().all(|value| self.is_usable(place, value, &value.ty()));
                usable.then(|| KeyCondition::In(place, list.clone()))
            }
            Expr::AnyAll { left, array, comparison: by, all: false } => {
                let place = self.place(left)?;
                let element = array.ty().element()?;
                let usable = comparison(by.builtin) == Some("=")
                    && same_key_family(&left.ty(), &by.left_cast)
                    && same_key_family(&element, &by.right_cast)
                    && self.is_usable(place, array, &element);
                usable.then(|| KeyCondition::Element(place, (**array).clone()))
            }
            Expr::IsNull(expr) => self.place(expr).map(KeyCondition::IsNull),
            Expr::Not(inner) => match &**inner {
                Expr::IsNull(expr) => self.place(expr).map(KeyCondition::NotNull),
                inner => self.flag(inner, false),
            },
            other => self.flag(other, true),
        }
    }

    /// A boolean key by itself.
    fn flag(&self, expr: &Expr, wanted: bool) -> Option<KeyCondition> {
        if expr.ty() != SqlType::Bool {
            return None;
        }
        let place = self.place(expr)?;
        Some(KeyCondition::Equal(place, Expr::Const(Datum::Bool(wanted), SqlType::Bool)))
    }
}

/// The partitions of a table that filters over the columns of `root` leave; those that hold rows go to `leaves`.
fn prune(
    table: &Arc<Table>,
    root: &Table,
    filters: &[Expr],
    leaves: &mut Vec<Arc<Table>>,
    context: &PlanContext<'_>,
) -> SqlResult<PruneNode> {
    context.notes.uses(table.id);
    let Some(partitioned) = table.partitioned() else {
        return Ok(PruneNode { table: table.clone(), key: Vec::new(), condition: None, branches: Vec::new() });
    };
    let exprs = key_exprs(table, root, context)?;
    let keys = Keys { exprs: &exprs, types: partitioned.key.iter().map(|key| key.ty).collect() };
    let found: Vec<KeyCondition> = filters.iter().filter(|it| !is_volatile(it)).filter_map(|it| keys.condition(it)).collect();
    let condition = (!found.is_empty()).then_some(KeyCondition::All(found));
    let mut constant = |value: &Expr| match value {
        Expr::Const(datum, _) => Ok(Some(datum.clone())),
        _ => Ok(None),
    };
    let kept = match &condition {
        Some(condition) => condition.partitions(partitioned, &mut constant)?,
        None => vec![true; partitioned.partitions.len()],
    };
    let mut branches = Vec::with_capacity(kept.len());
    for (partition, is_kept) in partitioned.partitions.iter().zip(kept) {
        branches.push(match context.catalog.table_by_id(partition.id).filter(|_| is_kept) {
            None => PruneBranch::Out,
            Some(below) if below.is_partitioned() => {
                PruneBranch::Node(Box::new(prune(below, root, filters, leaves, context)?))
            }
            Some(leaf) => {
                context.notes.uses(leaf.id);
                leaves.push(leaf.clone());
                PruneBranch::Input(leaves.len() - 1)
            }
        });
    }
    let condition = condition.filter(KeyCondition::is_known_later);
    Ok(PruneNode { table: table.clone(), key: exprs, condition, branches })
}

/// The columns of a partitioned table over the columns of one of its partitions.
fn columns_of_leaf(root: &Table, leaf: &Table) -> Vec<Expr> {
    let places = root.columns_from(leaf);
    let oid = root.table_oid_position();
    let column = |(at, column): (usize, &catalog::Column)| match places[at] {
        Some(place) => Expr::Column(place, leaf.columns[place].ty),
        None if oid == Some(at) => Expr::Const(Datum::Int(leaf.id.into()), SqlType::Oid),
        None => Expr::Const(Datum::Null, column.ty),
    };
    root.columns.iter().enumerate().map(column).collect()
}

/// Plans the reading of a partitioned table.
///
/// # Errors
/// When an expression that a table keeps cannot be bound.
pub(super) fn plan_partitioned(
    table: &Arc<Table>,
    lock: Option<RowLock>,
    columns: &[PlanColumn],
    filters: &[Expr],
    want: &Want,
    context: &PlanContext<'_>,
) -> SqlResult<Part> {
    let mut leaves = Vec::new();
    let pruning = prune(table, table, filters, &mut leaves, context)?;
    let outputs: Vec<usize> = (0..columns.len()).filter(|at| want.needed[*at]).collect();
    let plan_columns: Vec<PlanColumn> = outputs.iter().map(|at| columns[*at].clone()).collect();
    // Rows of several partitions are in no order together.
    let is_unordered = leaves.len() > 1 && !want.order.is_empty();
    let below = if is_unordered { Want::columns(want.needed.clone()) } else { want.clone() };
    let mut parts = Vec::with_capacity(leaves.len());
    for leaf in &leaves {
        parts.push(plan_leaf(table, leaf, lock, (&outputs, &plan_columns), filters, &below, context)?);
    }
    let is_alone = parts.len() == 1 && !pruning.is_known_later();
    if is_alone && let Some(part) = parts.pop() {
        return Ok(part);
    }
    if parts.is_empty() {
        let plan = make(Node::Values { rows: Vec::new() }, columns.to_vec(), Estimate::default());
        return Ok(Part { ordered: true, ..Part::whole(plan) });
    }
    let estimates = || parts.iter().map(|part| part.plan.estimate);
    let estimate = Estimate {
        rows: estimates().map(|it| it.rows).sum::<f64>().max(1.0),
        width: estimates().map(|it| it.width).fold(0.0, f64::max),
        startup_cost: estimates().next().map_or(0.0, |it| it.startup_cost),
        total_cost: estimates().map(|it| it.total_cost).sum(),
    };
    let fact = |at: usize| {
        let facts = || parts.iter().map(|part| part.facts[at]);
        Fact {
            distinct: facts().map(|fact| fact.distinct).sum::<Option<f64>>().map(|distinct| distinct.min(estimate.rows)),
            nullable: facts().any(|fact| fact.nullable),
            width: facts().map(|fact| fact.width).fold(0.0, f64::max),
        }
    };
    let facts = (0..outputs.len()).map(fact).collect();
    let inputs = parts.into_iter().map(|part| part.plan).collect();
    let base = base_of(table, &leaves, lock, columns, filters, want, &pruning, context);
    let pruning = pruning.is_known_later().then(|| Arc::new(pruning));
    let plan = make(Node::Append(Append { inputs, pruning }), plan_columns, estimate);
    Ok(Part { plan, columns: outputs, facts, ordered: want.order.is_empty(), base, made: None })
}

/// The table as rows of it are looked up for the rows of another side: by the indexes that all partitions have.
#[allow(clippy::too_many_arguments)]
fn base_of(
    table: &Arc<Table>,
    leaves: &[Arc<Table>],
    lock: Option<RowLock>,
    columns: &[PlanColumn],
    filters: &[Expr],
    want: &Want,
    pruning: &PruneNode,
    context: &PlanContext<'_>,
) -> Option<Box<Base>> {
    let of_leaf = |leaf: &Arc<Table>| (indexes_below(table, leaf, context), leaf.clone());
    let below: Vec<(Vec<Option<usize>>, Arc<Table>)> = leaves.iter().map(of_leaf).collect();
    let is_shared = |at: usize| below.iter().all(|(indexes, _)| indexes[at].is_some());
    let shared: Vec<usize> = (0..table.indexes.len()).filter(|at| is_shared(*at)).collect();
    if shared.is_empty() {
        return None;
    }
    let mut seen = Table::clone(table);
    seen.indexes = shared.iter().map(|at| table.indexes[*at].clone()).collect();
    let leaf = |(indexes, leaf): (Vec<Option<usize>>, Arc<Table>)| BaseLeaf {
        columns: columns_of_leaf(table, &leaf),
        indexes: shared.iter().filter_map(|at| indexes[*at]).collect(),
        table: leaf,
    };
    let statistics = context.catalog.statistics();
    let rows = leaves.iter().map(|leaf| statistics.table(leaf.storage).map_or(cost::DEFAULT_ROWS, |it| it.rows)).sum();
    let partitions = BasePartitions { pruning: pruning.clone(), leaves: below.into_iter().map(leaf).collect() };
    Some(Box::new(Base::of_partitions(Arc::new(seen), lock, filters.to_vec(), want.needed.clone(), columns.to_vec(), rows, partitions)))
}

/// The rows of a partitioned table that an index of each partition has for values that are known when the statement runs:
/// `values` for the leading columns of the index, given by column and as they are then.
pub(super) fn lookup_plan(
    base: &Base,
    partitions: &BasePartitions,
    index: usize,
    point: bool,
    values: &[(usize, Expr)],
    columns: &[usize],
) -> Plan {
    let plan_columns: Vec<PlanColumn> = columns.iter().map(|at| base.columns[*at].clone()).collect();
    let each = Estimate { rows: 1.0, width: 0.0, startup_cost: 0.0, total_cost: cost::PER_GET + cost::PER_ROW };
    let span = IndexSpan { equal: values.iter().map(|(_, value)| Some(value.clone())).collect(), ..IndexSpan::default() };
    let of_leaf = |leaf: &BaseLeaf| {
        let mut read = vec![false; leaf.table.columns.len()];
        columns.iter().for_each(|at| mark(&leaf.columns[*at], &mut read));
        let read: Vec<usize> = (0..read.len()).filter(|at| read[*at]).collect();
        let own = leaf.indexes[index];
        let covers = |column: &usize| EntryReader::covers(&leaf.table, &leaf.table.indexes[own], *column);
        let scan = TableScan {
            table: leaf.table.clone(),
            index: own,
            spans: vec![span.clone()],
            filter: None,
            reverse: false,
            lock: base.lock,
            fetch_rows: own != 0 && (base.locks() || !read.iter().all(covers)),
            limit_hint: None,
            point,
            columns: read.clone(),
            entries: None,
            access: OnceLock::new(),
        };
        let column = |at: &usize| {
            let column = &leaf.table.columns[*at];
            PlanColumn { name: column.name.clone(), ty: column.declared(), table_oid: 0, attribute: 0 }
        };
        let scan = make(Node::TableScan(Arc::new(scan)), read.iter().map(column).collect(), each);
        let place = |column: usize| read.binary_search(&column).expect("what is yielded is read");
        let exprs = columns.iter().map(|at| {
            let mut expr = leaf.columns[*at].clone();
            remap(&mut expr, &place);
            expr
        });
        make(Node::Project { input: Box::new(scan), exprs: exprs.collect() }, plan_columns.clone(), each)
    };
    let value_of = |column: usize| values.iter().find(|(known, _)| *known == column).map(|(_, value)| value.clone());
    let pruning = partitions.pruning.where_equal(&value_of);
    let pruning = pruning.is_known_later().then(|| Arc::new(pruning));
    let inputs = partitions.leaves.iter().map(of_leaf).collect();
    make(Node::Append(Append { inputs, pruning }), plan_columns, each)
}

/// One partition, with the columns of the partitioned table that are asked for, in their order.
fn plan_leaf(
    root: &Arc<Table>,
    leaf: &Arc<Table>,
    lock: Option<RowLock>,
    (outputs, plan_columns): (&[usize], &[PlanColumn]),
    filters: &[Expr],
    want: &Want,
    context: &PlanContext<'_>,
) -> SqlResult<Part> {
    let exprs = columns_of_leaf(root, leaf);
    let own_filters = filters.iter().map(|filter| {
        let mut filter = filter.clone();
        substitute(&mut filter, &exprs);
        filter
    });
    let mut below = Want::columns(vec![false; leaf.columns.len()]);
    outputs.iter().for_each(|at| mark(&exprs[*at], &mut below.needed));
    let is_order_known = below.take_order(want, &exprs);
    let columns = leaf.columns.iter().map(|column| PlanColumn {
        name: column.name.clone(),
        ty: column.declared(),
        table_oid: 0,
        attribute: 0,
    });
    let rel = Rel { node: RelNode::Table { table: leaf.clone(), lock }, columns: columns.collect() };
    let part = plan_rel(rel, own_filters.collect(), below, context)?;
    let ordered = part.ordered && is_order_known;
    let placed: Vec<Expr> = outputs.iter().map(|at| part.placed(exprs[*at].clone())).collect();
    let facts = placed.iter().zip(plan_columns).map(|(expr, column)| match expr {
        Expr::Column(place, _) => part.facts[*place],
        _ => Fact::unknown(column),
    });
    let facts: Vec<Fact> = facts.collect();
    let is_passed = placed.len() == part.plan.columns.len()
        && placed.iter().enumerate().all(|(at, expr)| matches!(expr, Expr::Column(place, _) if *place == at));
    debug_assert!(!outputs.contains(&EXTRA), "outputs are columns of the table");
    let estimate = Estimate { width: facts.iter().map(|fact| fact.width).sum(), ..part.plan.estimate };
    let plan = match is_passed {
        true => Plan { columns: plan_columns.to_vec(), ..part.plan },
        false => make(Node::Project { input: Box::new(part.plan), exprs: placed }, plan_columns.to_vec(), estimate),
    };
    Ok(Part { plan, columns: outputs.to_vec(), facts, ordered, base: None, made: None })
}

/// Conditions in parts, so that each may say something of a key.
pub(super) fn split(filters: Vec<Expr>) -> Vec<Expr> {
    let mut parts = Vec::with_capacity(filters.len());
    filters.into_iter().for_each(|filter| conjuncts(filter, &mut parts));
    parts
}
