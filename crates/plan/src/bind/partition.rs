//! Partition keys: new ones, the rules by which rows are routed, and what a bound says of the rows of a partition.

use std::sync::Arc;

use catalog::{ColumnDefault, KeyPart, PartitionKey, PartitionStrategy, Table, TriggerEvent, TriggerTiming};
use types::{SqlError, SqlResult, SqlState, SqlType};

use super::stored::row_rules;
use super::{Clause, stored::stored};
use crate::PlanContext;
use crate::expr::Expr;
use crate::plan::{Branch, LeafRules, PartitionCheck, PartitionLevel, PartitionRules, Reference, ReferenceRoot, RouteNode, RowRules};
use crate::statement::{PartitionKeySpec, PartitionSpec};

fn invalid(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::InvalidObjectDefinition, message)
}

/// The parts of a table's partition key over the columns of another, which has columns of the same names: a partition, or a
/// table that it is a partition of.
///
/// # Errors
/// As for any expression; that of a key was bound when it was made.
pub(crate) fn key_exprs(table: &Table, over: &Table, context: &PlanContext<'_>) -> SqlResult<Vec<Expr>> {
    let places = table.columns_from(over);
    let place = |at: usize| {
        let missing = || SqlError::internal(format!("\"{}\" lacks a column of a partition key", over.name));
        places.get(at).copied().flatten().ok_or_else(missing)
    };
    let keys = table.partitioned().into_iter().flat_map(|it| &it.key);
    keys.map(|key| match &key.part {
        KeyPart::Column(id) => {
            let missing = || SqlError::internal(format!("a column of the partition key of \"{}\" is missing", table.name));
            let at = place(table.column_position(*id).ok_or_else(missing)?)?;
            Ok(Expr::Column(at, over.columns[at].ty))
        }
        KeyPart::Expr(text) => {
            let mut bound = key_expr(text, table, context)?;
            let mut failed = None;
            remap(&mut bound, &mut |at| place(at).unwrap_or_else(|error| {
                failed = Some(error);
                at
            }));
            failed.map_or(Ok(bound), Err)
        }
    })
    .collect()
}

fn remap(expr: &mut Expr, map: &mut dyn FnMut(usize) -> usize) {
    if let Expr::Column(position, _) = expr {
        *position = map(*position);
    }
    expr.for_each_child_mut(&mut |child| remap(child, map));
}

fn key_expr(text: &str, table: &Table, context: &PlanContext<'_>) -> SqlResult<Expr> {
    stored(text, table, context, Clause::PartitionKey, |binder, bound| binder.settle_text(bound))
}

fn check_key_type(ty: SqlType, strategy: PartitionStrategy) -> SqlResult<()> {
    if ty.key_encodable() {
        return Ok(());
    }
    let method = if strategy == PartitionStrategy::Hash { "hash" } else { "btree" };
    let message = format!("data type {ty} has no default operator class for access method \"{method}\"");
    let hint = format!(
        "You must specify a {method} operator class or define a default {method} operator class for the data type."
    );
    Err(SqlError::new(SqlState::UndefinedObject, message).with_hint(hint))
}

/// The partition key of a table that is being made.
///
/// # Errors
/// For what no rows can be routed by.
pub fn partition_key(spec: &PartitionSpec, table: &Table, context: &PlanContext<'_>) -> SqlResult<Vec<PartitionKey>> {
    if spec.strategy == PartitionStrategy::List && spec.key.len() > 1 {
        return Err(invalid("cannot use \"list\" partition strategy with more than one column"));
    }
    let check_column = |at: usize| match &table.columns[at].default {
        Some(ColumnDefault::Stored(_)) => {
            let detail = format!("Column \"{}\" is a generated column.", table.columns[at].name);
            Err(invalid("cannot use generated column in partition key").with_detail(detail))
        }
        _ => Ok(()),
    };
    let of_column = |at: usize| {
        check_column(at)?;
        let column = &table.columns[at];
        check_key_type(column.ty, spec.strategy)?;
        Ok(PartitionKey { part: KeyPart::Column(column.id), ty: column.ty })
    };
    spec.key
        .iter()
        .map(|part| match part {
            PartitionKeySpec::Column(name) => match table.column_named(name) {
                Some((at, _)) => of_column(at),
                None if matches!(name.as_str(), "tableoid" | "ctid" | "xmin" | "xmax" | "cmin" | "cmax") => {
                    Err(invalid(format!("cannot use system column \"{name}\" in partition key")))
                }
                None => Err(SqlError::new(
                    SqlState::UndefinedColumn,
                    format!("column \"{name}\" named in partition key does not exist"),
                )),
            },
            PartitionKeySpec::Expr(text) => {
                let bound = key_expr(text, table, context)?;
                if bound.has_subquery() {
                    return Err(SqlError::not_supported("cannot use subquery in partition key expression"));
                }
                let used = bound.columns_used();
                if let Expr::Column(at, _) = bound {
                    return of_column(at);
                }
                used.iter().try_for_each(|at| check_column(*at))?;
                if !bound.is_immutable() {
                    return Err(invalid("functions in partition key expression must be marked IMMUTABLE"));
                }
                if used.is_empty() {
                    return Err(invalid("cannot use constant expression as partition key"));
                }
                check_key_type(bound.ty(), spec.strategy)?;
                Ok(PartitionKey { part: KeyPart::Expr(text.clone()), ty: bound.ty() })
            }
        })
        .collect()
}

/// The columns of a table that its partition key is over, by their places.
///
/// # Errors
/// As [`key_exprs`].
pub fn partition_key_columns(table: &Table, context: &PlanContext<'_>) -> SqlResult<Vec<usize>> {
    let mut used: Vec<usize> = key_exprs(table, table, context)?.iter().flat_map(Expr::columns_used).collect();
    used.sort_unstable();
    used.dedup();
    Ok(used)
}

/// What the bound of a partition says of its rows, and those of the tables above it.
fn partition_check(table: &Table, context: &PlanContext<'_>) -> SqlResult<Option<Arc<PartitionCheck>>> {
    let mut levels = Vec::new();
    let mut child = table.id;
    for parent in context.catalog.ancestors_of(table) {
        let key = key_exprs(&parent, table, context)?;
        levels.push(PartitionLevel { key, child: std::mem::replace(&mut child, parent.id), parent });
    }
    Ok((!levels.is_empty()).then(|| Arc::new(PartitionCheck { levels })))
}

fn route(
    table: &Arc<Table>,
    root: &Table,
    leaves: &mut Vec<LeafRules>,
    context: &PlanContext<'_>,
) -> SqlResult<RouteNode> {
    let mut branches = Vec::new();
    for partition in context.catalog.partitions_of(table) {
        branches.push(if partition.is_partitioned() {
            Branch::Node(route(partition, root, leaves, context)?)
        } else {
            leaves.push(leaf(partition, root, context)?);
            Branch::Leaf(leaves.len() - 1)
        });
    }
    Ok(RouteNode { key: key_exprs(table, root, context)?, table: table.clone(), branches })
}

/// For each index of a table, the place of the index of a partition below it that is one of that.
pub(crate) fn indexes_below(root: &Table, leaf: &Arc<Table>, context: &PlanContext<'_>) -> Vec<Option<usize>> {
    let mut path = vec![leaf.clone()];
    path.extend(context.catalog.ancestors_of(leaf).into_iter().take_while(|above| above.id != root.id));
    let below = |index: &catalog::Index| {
        // From the root down.
        let oid = path.iter().rev().try_fold(index.oid, |oid, table| table.part_of(oid))?;
        leaf.indexes.iter().position(|own| own.oid == oid)
    };
    root.indexes.iter().map(below).collect()
}

fn leaf(table: &Arc<Table>, root: &Table, context: &PlanContext<'_>) -> SqlResult<LeafRules> {
    Ok(LeafRules {
        rules: row_rules(table, context)?,
        from_root: table.columns_from(root),
        to_root: root.columns_from(table),
        indexes: indexes_below(root, table, context),
        table: table.clone(),
    })
}

/// Adds what partitioning says of a table's rows to their rules.
///
/// # Errors
/// As [`key_exprs`].
pub(super) fn add_rules(table: &Table, rules: &mut RowRules, context: &PlanContext<'_>) -> SqlResult<()> {
    if table.partitioning.is_none() {
        return Ok(());
    }
    rules.partition = partition_check(table, context)?;
    // Foreign keys that refer to the tables above refer to its rows.
    for above in context.catalog.ancestors_of(table) {
        let root = Arc::new(ReferenceRoot { columns: above.columns_from(table), table: above.clone() });
        for reference in references_to(&above, context) {
            rules.referenced_by.push(Reference { root: Some(root.clone()), ..reference });
        }
    }
    if table.is_partitioned()
        && let Some(shared) = context.catalog.table_by_id(table.id)
    {
        let mut leaves = Vec::new();
        let root = route(shared, table, &mut leaves, context)?;
        let places = leaves.iter().enumerate().map(|(at, leaf)| (leaf.table.id, at)).collect();
        rules.partitions = Some(Arc::new(PartitionRules { root, leaves, places }));
    }
    Ok(())
}

/// The foreign keys that refer to a table by themselves: those of partitions are the partitioned tables'.
pub(super) fn references_to<'c>(table: &'c Table, context: &'c PlanContext<'_>) -> impl Iterator<Item = Reference> + 'c {
    let tables = table.referenced_by.iter().filter_map(|id| context.catalog.table_by_id(*id));
    tables.flat_map(move |from| {
        let keys = from.foreign_keys.iter().enumerate();
        let own = keys.filter(|(_, key)| key.referenced_table == table.id && from.parent_part(key.oid).is_none());
        own.map(|(key, _)| Reference { from: from.clone(), key, root: None }).collect::<Vec<_>>()
    })
}

/// Whether a trigger may change rows that are updated.
pub(super) fn is_before_update(trigger: &catalog::Trigger) -> bool {
    trigger.timing == TriggerTiming::Before && trigger.for_each_row && trigger.events.has(TriggerEvent::Update)
}

/// Whether an UPDATE of a partitioned table may change what rows of other tables refer to, or move rows.
pub(super) fn changes_key_of_partitions(
    table: &Table,
    assignments: &[(usize, Expr)],
    context: &PlanContext<'_>,
) -> SqlResult<bool> {
    if !table.is_partitioned() {
        return Ok(false);
    }
    let assigned: Vec<&str> = assignments.iter().map(|(at, _)| table.columns[*at].name.as_str()).collect();
    for below in std::iter::once(table).chain(context.catalog.descendants_of(table).iter().map(|it| &**it)) {
        let mut used: Vec<usize> =
            if below.is_partitioned() { partition_key_columns(below, context)? } else { Vec::new() };
        let unique = below.indexes.iter().filter(|index| index.unique && index.predicate.is_none());
        used.extend(unique.flat_map(|index| below.key_positions(index)));
        // A trigger of a partition may change any column before the row is written.
        if below.triggers.iter().any(is_before_update) || used.iter().any(|at| assigned.contains(&below.columns[*at].name.as_str())) {
            return Ok(true);
        }
    }
    Ok(false)
}
