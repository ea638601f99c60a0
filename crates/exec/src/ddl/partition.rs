//! Partitioned tables and their partitions: what is made, attached and detached, and how what is said of a partitioned table
//! comes to its partitions (*parts-follow*, `catalog::partition`).
//!
//! A change of a partitioned table is made to it first and to its partitions then, each of which goes on with its own. What a
//! partition has from its parent cannot be changed there alone ([`check`]).

mod alterations;

use std::sync::Arc;

use catalog::{
    CatalogSnapshot, Column, ColumnDefault, ForeignKey, Index, PartitionBound, Partitioned, RangeDatum, Relation,
    TABLE_OID_COLUMN, Table,
};
use keys::ColumnId;
use plan::statement::{BoundSpec, CheckSpec, EndSpec, IndexColumnSpec, IndexSpec, PartitionSpec};
use types::{Datum, Direction, NullsOrder, SqlError, SqlResult, SqlState, SqlType, compare};

use super::alter::no_column;
use super::rewrite::for_each_row;
use super::{DdlContext, alter, constraint, trigger};
use crate::eval::{EvalScope, eval_row, needs_transaction};
use crate::foreign::qualified;
use crate::internal::{self, quoted};
use crate::partition::belongs;

pub(super) use alterations::{check, column_of_partition, key_columns};

fn definition(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::InvalidTableDefinition, message)
}

fn wrong_kind(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::WrongObjectType, message)
}

fn mismatch(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::DatatypeMismatch, message)
}

/// The ids of a table's partitions.
pub(super) fn partitions(table: &Table) -> Vec<u32> {
    table.partitioned().into_iter().flat_map(|it| &it.partitions).map(|it| it.id).collect()
}

fn hidden_column(table: &mut Table, name: &str, ty: SqlType) {
    let id = table.next_column;
    table.next_column = id.next();
    table.columns.push(Column {
        id,
        name: name.into(),
        ty,
        domain: None,
        nullable: true,
        default: None,
        missing: Datum::Null,
        hidden: true,
    });
}

/// Makes a new table a partitioned one. It has both hidden columns whatever its primary key: partitions may differ in theirs.
pub(super) fn make(table: &mut Table, spec: &PartitionSpec, ctx: &DdlContext<'_>) -> SqlResult<()> {
    let key = ctx.plan(|context| plan::partition_key(spec, table, context))?;
    if table.row_id_position().is_none() {
        hidden_column(table, catalog::ROW_ID_COLUMN, SqlType::Int8);
    }
    hidden_column(table, TABLE_OID_COLUMN, SqlType::Oid);
    table.partitioning_mut().partitioned = Some(Partitioned::new(spec.strategy, key));
    table.indexes.iter().try_for_each(|index| check_unique(table, index))
}

/// A unique index of a partitioned table is as good as its partitions': rows that are alike must be in one partition.
pub(super) fn check_unique(table: &Table, index: &Index) -> SqlResult<()> {
    if index.is_exclusion() && table.is_partitioned() {
        let message = "exclusion constraints are not supported on partitioned tables";
        return Err(SqlError::not_supported(message));
    }
    let is_primary = table.is_primary_key(index);
    let holds_rows = index.id == table.primary().id && index.constraint.is_none();
    let Some(of) = table.partitioned().filter(|_| index.is_declared_unique() && !holds_rows) else {
        return Ok(());
    };
    let kind = if is_primary { "PRIMARY KEY" } else { "UNIQUE" };
    if of.has_expressions() {
        let message = format!("unsupported {kind} constraint with partition key definition");
        let detail = format!("{kind} constraints cannot be used when partition keys include expressions.");
        return Err(SqlError::not_supported(message).with_detail(detail));
    }
    let lacks = |id: &ColumnId| index.columns.iter().all(|key| key.column != *id);
    let Some(missing) = of.key_columns().find(lacks).and_then(|id| table.column_position(id)) else { return Ok(()) };
    let column = &table.columns[missing].name;
    let detail =
        format!("{kind} constraint on table \"{}\" lacks column \"{column}\" which is part of the partition key.", table.name);
    Err(SqlError::not_supported("unique constraint on partitioned table must include all partitioning columns")
        .with_detail(detail))
}

/// The values of a bound.
fn bound(spec: &BoundSpec, of: &Partitioned, ctx: &DdlContext<'_>) -> SqlResult<PartitionBound> {
    let scope = EvalScope { params: &[], outer: &[], eval: ctx.eval, memory: None, made_max: usize::MAX };
    let value = |expr: &plan::Expr| {
        if needs_transaction(expr) {
            return Err(SqlError::not_supported("such expressions are not supported in partition bounds"));
        }
        eval_row(expr, &[], &scope)
    };
    let end = |end: &EndSpec| {
        Ok(match end {
            EndSpec::Min => RangeDatum::MinValue,
            EndSpec::Max => RangeDatum::MaxValue,
            EndSpec::Value(expr) => match value(expr)? {
                Datum::Null => {
                    return Err(SqlError::new(SqlState::InvalidObjectDefinition, "cannot specify NULL in range bound"));
                }
                value => RangeDatum::Value(value),
            },
        })
    };
    Ok(match spec {
        BoundSpec::Default => PartitionBound::Default,
        BoundSpec::Hash { modulus, remainder } => PartitionBound::Hash { modulus: *modulus, remainder: *remainder },
        BoundSpec::List(values) => {
            let mut list: Vec<Datum> = Vec::with_capacity(values.len());
            let ty = of.key.first().map_or(SqlType::Text, |key| key.ty);
            for expr in values {
                let value = value(expr)?;
                if !list.iter().any(|known| compare(&ty, known, &value).is_eq()) {
                    list.push(value);
                }
            }
            PartitionBound::List(list)
        }
        BoundSpec::Range(from, to) => {
            let ends = |list: &[EndSpec]| list.iter().map(end).collect::<SqlResult<Vec<_>>>();
            PartitionBound::Range(ends(from)?, ends(to)?)
        }
    })
}

/// The primary key of the parent, which a new partition is made with; the others are made when it is attached.
pub(super) fn primary_spec(parent: &Table) -> Option<IndexSpec> {
    parent.has_declared_primary_key().then(|| index_spec(parent, parent.primary()))
}

/// What an expression is called in the name of an index: a call is called as its function is.
fn label(text: &str) -> String {
    let call = text.split_once('(').filter(|(name, _)| {
        let is_name = name.chars().all(|c| c == '_' || c.is_ascii_lowercase() || c.is_ascii_digit());
        !name.is_empty() && is_name
    });
    let is_whole = |inner: &str| {
        let mut depth = 1;
        let end = inner.char_indices().find(|(_, c)| {
            depth += match c {
                '(' => 1,
                ')' => -1,
                _ => 0,
            };
            depth == 0
        });
        end.is_some_and(|(at, _)| at + 1 == inner.len())
    };
    call.filter(|(_, inner)| is_whole(inner)).map_or_else(|| "expr".to_owned(), |(name, _)| name.to_owned())
}

fn index_spec(table: &Table, index: &Index) -> IndexSpec {
    let name_of = |id: ColumnId| table.column_position(id).map(|at| &table.columns[at]);
    let column = |key: &catalog::IndexColumn| {
        let column = name_of(key.column)?;
        let expr = match &column.default {
            Some(ColumnDefault::Stored(text)) if column.hidden => Some((text.clone(), label(text))),
            _ => None,
        };
        Some(IndexColumnSpec {
            name: column.name.clone(),
            expr,
            descending: key.direction == Direction::Desc,
            nulls_first: Some(key.nulls == NullsOrder::First),
            class: None,
        })
    };
    let spec = IndexSpec {
        name: None,
        unique: index.unique,
        nulls_not_distinct: index.nulls_not_distinct,
        primary: table.is_primary_key(index),
        constraint: index.constraint.is_some(),
        columns: index.columns.iter().filter_map(column).collect(),
        included: index.included.iter().filter_map(|id| name_of(*id)).map(|column| column.name.clone()).collect(),
        predicate: index.predicate.clone(),
        ..IndexSpec::default()
    };
    spec.with_details_of(index)
}

/// Whether two indexes of tables with columns of the same names are alike.
fn is_same(a: (&Table, &Index), b: (&Table, &Index)) -> bool {
    let described = |(table, index): (&Table, &Index)| {
        let column = |id: ColumnId| {
            let column = table.column_position(id).map(|at| &table.columns[at]);
            column.map(|column| match &column.default {
                Some(ColumnDefault::Stored(text)) if column.hidden => format!("({text})"),
                _ => column.name.clone(),
            })
        };
        let keys: Vec<_> = index.columns.iter().map(|key| (column(key.column), key.direction, key.nulls)).collect();
        let included: Vec<_> = index.included.iter().map(|id| column(*id)).collect();
        let details = (index.details.inverted.clone(), index.details.string_classes.clone(), index.is_declared_unique(), index.is_exclusion());
        (keys, included, details, index.nulls_not_distinct, index.predicate.clone())
    };
    described(a) == described(b)
}

/// Whether an index of a partition may be that of its parent's index.
fn may_be_part(parent: (&Table, &Index), own: (&Table, &Index)) -> bool {
    let is_primary = |(table, index): (&Table, &Index)| table.is_primary_key(index);
    is_same(parent, own)
        && (parent.1.constraint.is_none() || own.1.constraint.is_some() && is_primary(parent) == is_primary(own))
}

fn link_index(table: &mut Table, own: usize, parents: &Index) {
    let index = table.indexes[own].clone();
    let constraints = index.constraint.zip(parents.constraint);
    let parts = &mut table.partitioning_mut().parts;
    parts.push((index.oid, parents.oid));
    parts.extend(constraints.map(|(own, parents)| (own.oid, parents.oid)));
}

/// The index of a partition that is one of its parent's: one that is there and like it, or a new one. So with those below.
pub(super) async fn index_for_partition(
    parent: &Arc<Table>,
    oid: u32,
    partition: u32,
    takes_invalid: bool,
    ctx: &mut DdlContext<'_>,
) -> SqlResult<()> {
    let Some(index) = parent.indexes.iter().find(|index| index.oid == oid).cloned() else { return Ok(()) };
    let mut table = ctx.table(partition)?;
    if table.part_of(oid).is_none() {
        let is_free = |own: &Index| {
            table.parent_part(own.oid).is_none()
                && !own.name.is_empty()
                && (takes_invalid || ctx.change.snapshot().is_index_valid(&table, own))
        };
        let found = |table: &Table, is_meant: &dyn Fn(&Index) -> bool| table.indexes.iter().position(is_meant);
        let mut place = found(&table, &|own| is_free(own) && may_be_part((parent, &index), (&table, own)));
        let is_known = place.is_some();
        if place.is_none() {
            let known: Vec<u32> = table.indexes.iter().map(|own| own.oid).collect();
            alter::add_index_alone(&table, &index_spec(parent, &index), ctx).await?;
            table = ctx.table(partition)?;
            place = found(&table, &|own| !known.contains(&own.oid) && !own.name.is_empty());
        }
        if let Some(place) = place {
            let mut changed = Table::clone(&table);
            link_index(&mut changed, place, &index);
            ctx.put_table(changed);
        }
        if is_known {
            // The partitions of the partition have theirs, or it is not valid.
            return Ok(());
        }
        table = ctx.table(partition)?;
    }
    let Some(own) = table.part_of(oid) else { return Ok(()) };
    for below in partitions(&table) {
        Box::pin(index_for_partition(&table, own, below, takes_invalid, ctx)).await?;
    }
    Ok(())
}

/// `ALTER INDEX … ATTACH PARTITION`.
pub(super) fn attach_index(
    table: &Arc<Table>,
    oid: u32,
    (partition, own): (&Arc<Table>, u32),
    ctx: &mut DdlContext<'_>,
) -> SqlResult<()> {
    let (table, partition) = (ctx.table(table.id)?, ctx.table(partition.id)?);
    let find = |table: &Table, oid: u32| table.indexes.iter().position(|index| index.oid == oid);
    let (Some(at), Some(own_at)) = (find(&table, oid), find(&partition, own)) else { return Ok(()) };
    let (index, own) = (&table.indexes[at], &partition.indexes[own_at]);
    let refuse = |code: SqlState, detail: String| {
        let message = format!("cannot attach index \"{}\" as a partition of index \"{}\"", own.name, index.name);
        Err(SqlError::new(code, message).with_detail(detail))
    };
    let state = SqlState::ObjectNotInPrerequisiteState;
    match partition.parent_part(own.oid) {
        Some(parents) if parents == oid => return Ok(()),
        Some(_) => return refuse(state, format!("Index \"{}\" is already attached to another index.", own.name)),
        None => {}
    }
    if partition.partition_parent() != Some(table.id) {
        return refuse(state, format!("Index \"{}\" is not an index on any partition of table \"{}\".", own.name, table.name));
    }
    if partition.part_of(oid).is_some() {
        return refuse(state, format!("Another index is already attached for partition \"{}\".", partition.name));
    }
    let invalid = SqlState::InvalidObjectDefinition;
    if !is_same((&table, index), (&partition, own)) {
        return refuse(invalid, "The index definitions do not match.".to_owned());
    }
    if !may_be_part((&table, index), (&partition, own)) {
        return refuse(invalid, format!(
            "The index \"{}\" belongs to a constraint in table \"{}\" but no constraint exists for index \"{}\".",
            index.name, table.name, own.name
        ));
    }
    let mut changed = Table::clone(&partition);
    link_index(&mut changed, own_at, index);
    ctx.put_table(changed);
    Ok(())
}

/// Columns of a partition that are those of the parent.
fn own_columns(parent: &Table, ids: &[ColumnId], table: &Table) -> SqlResult<Vec<ColumnId>> {
    ids.iter()
        .map(|id| {
            let name = parent.column_position(*id).map_or("", |at| parent.columns[at].name.as_str());
            table.column_named(name).map(|(_, column)| column.id).ok_or_else(|| no_column(table, name))
        })
        .collect()
}

/// The foreign key of a partition that is one of its parent's; rows of one that was there before are looked at.
pub(super) async fn key_for_partition(
    parent: &Arc<Table>,
    oid: u32,
    partition: u32,
    is_new: bool,
    ctx: &mut DdlContext<'_>,
) -> SqlResult<()> {
    let Some(key) = parent.foreign_keys.iter().find(|key| key.oid == oid).cloned() else { return Ok(()) };
    let table = ctx.table(partition)?;
    if table.part_of(oid).is_none() {
        let columns = own_columns(parent, &key.columns, &table)?;
        let is_like = |own: &ForeignKey| {
            let form = |key: &ForeignKey| {
                (key.referenced_table, key.on_delete, key.on_update, key.deferrable, key.initially_deferred)
            };
            form(own) == form(&key)
                && own.columns == columns
                && own.referenced_columns == key.referenced_columns
                && (own.validated || !key.validated)
                && table.parent_part(own.oid).is_none()
        };
        let mut changed = Table::clone(&table);
        let own = match table.foreign_keys.iter().find(|own| is_like(own)) {
            Some(own) => own.oid,
            None => {
                let own = ctx.new_ids(1).await?;
                let mut numbered = std::iter::once(key.name.clone()).chain((1..).map(|number| format!("{}{number}", key.name)));
                let name = numbered.find(|name| constraint::check_name_free(&table, name).is_ok());
                let name = name.unwrap_or_else(|| key.name.clone());
                changed.foreign_keys.push(ForeignKey { oid: own, name, columns, ..key.clone() });
                own
            }
        };
        changed.partitioning_mut().parts.push((own, oid));
        ctx.put_table(changed);
        constraint::forget_reference(partition, key.referenced_table, ctx);
        let table = ctx.table(partition)?;
        let own_key = table.foreign_keys.iter().find(|known| known.oid == own);
        if let Some(own_key) = own_key.filter(|_| !is_new && key.validated && !table.foreign_keys.is_empty()) {
            constraint::validate_foreign_key(&table, &own_key.name, ctx).await?;
        }
    }
    let table = ctx.table(partition)?;
    let Some(own) = table.part_of(oid) else { return Ok(()) };
    for below in partitions(&table) {
        Box::pin(key_for_partition(&table, own, below, is_new, ctx)).await?;
    }
    Ok(())
}

/// Whether rows of a table keep to its bounds: `refusal` of the first that does not.
async fn check_rows(
    table: u32,
    names_leaf: bool,
    refusal: fn(&str) -> SqlError,
    ctx: &mut DdlContext<'_>,
) -> SqlResult<()> {
    let table = ctx.table(table)?;
    for leaf in leaves(&table, ctx) {
        let rules = ctx.plan(|context| plan::row_rules(&leaf, context))?;
        let Some(check) = &rules.partition else { continue };
        let named = if names_leaf { &leaf.name } else { &table.name };
        for_each_row(&leaf, ctx, |row, scope| if belongs(check, row, scope)? { Ok(()) } else { Err(refusal(named)) }).await?;
    }
    Ok(())
}

/// The tables that hold the rows of a table: itself, or its partitions.
fn leaves(table: &Arc<Table>, ctx: &DdlContext<'_>) -> Vec<Arc<Table>> {
    if table.is_partitioned() { ctx.change.snapshot().leaves_of(table) } else { vec![table.clone()] }
}

fn violated(table: &str) -> SqlError {
    let message = format!("partition constraint of relation \"{table}\" is violated by some row");
    SqlError::new(SqlState::CheckViolation, message)
}

fn default_violated(table: &str) -> SqlError {
    let message = format!("updated partition constraint for default partition \"{table}\" would be violated by some row");
    SqlError::new(SqlState::CheckViolation, message)
}

/// ATTACH PARTITION: what a table must be like.
fn check_attachable(parent: &Table, table: &Table, ctx: &DdlContext<'_>) -> SqlResult<()> {
    if table.partition_parent().is_some() {
        return Err(wrong_kind(format!("\"{}\" is already a partition", table.name)));
    }
    let catalog = ctx.change.snapshot();
    if table.id == parent.id || catalog.ancestors_of(parent).iter().any(|above| above.id == table.id) {
        let detail = format!("\"{}\" is already a child of \"{}\".", parent.name, table.name);
        return Err(SqlError::new(SqlState::DuplicateTable, "circular inheritance not allowed").with_detail(detail));
    }
    match (ctx.is_temporary(parent), ctx.is_temporary(table)) {
        (true, false) => {
            let message = format!("cannot attach a permanent relation as partition of temporary relation \"{}\"", parent.name);
            return Err(wrong_kind(message));
        }
        (false, true) => {
            let message = format!("cannot attach a temporary relation as partition of permanent relation \"{}\"", parent.name);
            return Err(wrong_kind(message));
        }
        (true, true) | (false, false) => {}
    }
    for below in std::iter::once(table.id).chain(catalog.descendants_of(table).iter().map(|below| below.id)) {
        if let Some(key) = parent.foreign_keys.iter().find(|key| key.referenced_table == below) {
            let name = catalog.table_by_id(below).map_or("", |below| &below.name);
            let message = format!(
                "cannot attach table \"{name}\" as a partition because it is referenced by foreign key \"{}\"", key.name
            );
            return Err(SqlError::not_supported(message));
        }
    }
    if let Some((_, extra)) = table.visible_columns().find(|(_, column)| parent.column_named(&column.name).is_none()) {
        let message = format!("table \"{}\" contains column \"{}\" not found in parent \"{}\"", table.name, extra.name, parent.name);
        return Err(mismatch(message).with_detail("The new partition may contain only the columns present in parent."));
    }
    let has_transitions = |trigger: &&catalog::Trigger| {
        trigger.for_each_row && (trigger.old_table.is_some() || trigger.new_table.is_some())
    };
    if let Some(trigger) = table.triggers.iter().find(has_transitions) {
        let message = format!("trigger \"{}\" prevents table \"{}\" from becoming a partition", trigger.name, table.name);
        return Err(SqlError::new(SqlState::ObjectNotInPrerequisiteState, message)
            .with_detail("ROW triggers with transition tables are not supported on partitions."));
    }
    Ok(())
}

fn check_columns(parent: &Table, table: &Table) -> SqlResult<()> {
    for (_, column) in parent.visible_columns() {
        let name = &column.name;
        let Some((_, own)) = table.column_named(name) else {
            return Err(mismatch(format!("child table is missing column \"{name}\"")));
        };
        if own.declared() != column.declared() {
            return Err(mismatch(format!("child table \"{}\" has different type for column \"{name}\"", table.name)));
        }
        if !column.nullable && own.nullable {
            return Err(mismatch(format!("column \"{name}\" in child table must be marked NOT NULL")));
        }
        let generated = |column: &Column| match &column.default {
            Some(ColumnDefault::Stored(text)) => Some(text.clone()),
            _ => None,
        };
        match (generated(column), generated(own)) {
            (Some(_), None) => return Err(mismatch(format!("column \"{name}\" in child table must be a generated column"))),
            (None, Some(_)) => {
                return Err(mismatch(format!("column \"{name}\" in child table must not be a generated column")));
            }
            (Some(a), Some(b)) if a != b => {
                let message = format!("column \"{name}\" in child table has a conflicting generation expression");
                return Err(mismatch(message));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether two stored conditions over a table mean the same.
fn is_same_condition(a: &str, b: &str, table: &Table, ctx: &DdlContext<'_>) -> bool {
    a == b || matches!((ctx.bind(a, table), ctx.bind(b, table)), (Ok(a), Ok(b)) if plan::same_expr(&a, &b))
}

/// The checks of the parent in a partition: a new one gets them, another must have them.
async fn merge_checks(parent: &Table, partition: u32, is_new: bool, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    for check in &parent.checks {
        let table = ctx.table(partition)?;
        let own = table.checks.iter().find(|own| own.name == check.name);
        let is_same = own.is_some_and(|own| is_same_condition(&own.expr, &check.expr, &table, ctx));
        let mut changed = Table::clone(&table);
        let oid = match own {
            Some(own) if is_same && check.validated && !own.validated => {
                let message = format!(
                    "constraint \"{}\" conflicts with NOT VALID constraint on child table \"{}\"",
                    check.name, table.name
                );
                return Err(SqlError::new(SqlState::ObjectNotInPrerequisiteState, message));
            }
            Some(own) if is_same => {
                if is_new {
                    ctx.notice(format!("merging constraint \"{}\" with inherited definition", check.name));
                }
                own.oid
            }
            Some(_) if is_new => {
                let message = format!("constraint \"{}\" for relation \"{}\" already exists", check.name, table.name);
                return Err(SqlError::new(SqlState::DuplicateObject, message));
            }
            Some(_) => {
                let message = format!(
                    "child table \"{}\" has different definition for check constraint \"{}\"",
                    table.name, check.name
                );
                return Err(mismatch(message));
            }
            None if is_new => {
                let oid = ctx.new_ids(1).await?;
                let columns = own_columns(parent, &check.columns, &table)?;
                changed.checks.push(catalog::Check { oid, columns, ..check.clone() });
                oid
            }
            None => return Err(mismatch(format!("child table is missing constraint \"{}\"", check.name))),
        };
        changed.partitioning_mut().parts.push((oid, check.oid));
        ctx.put_table(changed);
    }
    Ok(())
}

/// Makes a table a partition of another; `is_new`: it was just made for that, and has no rows.
pub(super) async fn attach(
    parent: u32,
    partition: u32,
    spec: &BoundSpec,
    is_new: bool,
    ctx: &mut DdlContext<'_>,
) -> SqlResult<()> {
    let (parent, table) = (ctx.table(parent)?, ctx.table(partition)?);
    let Some(of) = parent.partitioned() else {
        let message = format!("table \"{}\" is not partitioned", parent.name);
        return Err(SqlError::new(SqlState::InvalidObjectDefinition, message));
    };
    if !is_new {
        check_attachable(&parent, &table, ctx)?;
    }
    let bound = bound(spec, of, ctx)?;
    let catalog = ctx.change.snapshot().clone();
    let name_of = |id: u32| catalog.table_by_id(id).map_or_else(String::new, |table| table.name.clone());
    of.check_new(&table.name, &bound, &name_of)?;
    if !is_new {
        check_columns(&parent, &table)?;
    }
    merge_checks(&parent, partition, is_new, ctx).await?;
    let default = of.default_partition().map(|at| of.partitions[at].id);
    let mut changed = Table::clone(&*ctx.table(parent.id)?);
    if let Some(of) = &mut changed.partitioning_mut().partitioned {
        of.add(partition, bound);
    }
    ctx.put_table(changed);
    let mut changed = Table::clone(&*ctx.table(partition)?);
    changed.partitioning_mut().parent = Some(parent.id);
    ctx.put_table(changed);
    let parent = ctx.table(parent.id)?;
    for index in parent.indexes.iter().filter(|index| !index.name.is_empty()) {
        index_for_partition(&parent, index.oid, partition, false, ctx).await?;
    }
    trigger::clone_to(&parent, partition, ctx).await?;
    for key in &parent.foreign_keys {
        key_for_partition(&parent, key.oid, partition, is_new, ctx).await?;
    }
    if !is_new {
        check_rows(partition, true, violated, ctx).await?;
    }
    if let Some(default) = default {
        check_rows(default, !is_new, default_violated, ctx).await?;
    }
    Ok(())
}

/// DETACH PARTITION: it is a table of its own then, with the indexes and constraints that it has.
pub(super) async fn detach(parent: &Arc<Table>, partition: u32, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let table = ctx.table(partition)?;
    if table.partition_parent() != Some(parent.id) {
        let message = format!("relation \"{}\" is not a partition of relation \"{}\"", table.name, parent.name);
        return Err(SqlError::new(SqlState::UndefinedTable, message));
    }
    check_unreferenced(parent, &table, ctx).await?;
    trigger::drop_clones(partition, ctx)?;
    take_out(parent.id, partition, ctx)?;
    let mut changed = Table::clone(&*ctx.table(partition)?);
    let own_keys: Vec<u32> = changed
        .foreign_keys
        .iter()
        .filter(|key| changed.parent_part(key.oid).is_some())
        .map(|key| key.referenced_table)
        .collect();
    let partitioning = changed.partitioning_mut();
    partitioning.parent = None;
    partitioning.parts.clear();
    if partitioning.is_empty() {
        changed.partitioning = None;
    }
    ctx.put_table(changed);
    own_keys.into_iter().for_each(|to| constraint::note_reference(partition, to, ctx));
    Ok(())
}

/// Takes a partition out of the list of its parent's.
pub(super) fn take_out(parent: u32, partition: u32, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let mut changed = Table::clone(&*ctx.table(parent)?);
    if let Some(of) = &mut changed.partitioning_mut().partitioned {
        of.remove(partition);
    }
    ctx.put_table(changed);
    Ok(())
}

/// # Errors
/// 23503 where rows of other tables refer to rows of a partition that is to be detached.
async fn check_unreferenced(parent: &Arc<Table>, table: &Arc<Table>, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let catalog = ctx.change.snapshot().clone();
    for above in std::iter::once(parent.clone()).chain(catalog.ancestors_of(parent)) {
        for from in above.referenced_by.iter().filter_map(|id| catalog.table_by_id(*id)) {
            let is_own = |key: &&ForeignKey| key.referenced_table == above.id && from.parent_part(key.oid).is_none();
            for key in from.foreign_keys.iter().filter(is_own) {
                let (from_name, database) = qualified(from, &catalog)?;
                let (to_name, _) = qualified(table, &catalog)?;
                let of = |table: &Table, ids: &[ColumnId]| -> Vec<String> {
                    table.positions(ids).map(|at| quoted(&table.columns[at].name)).collect()
                };
                let (columns, referenced) = (of(from, &key.columns), of(&above, &key.referenced_columns));
                let pairs: Vec<String> =
                    columns.iter().zip(&referenced).map(|(a, b)| format!("f.{a} = t.{b}")).collect();
                let list: Vec<String> = columns.iter().map(|column| format!("f.{column}")).collect();
                let sql = format!(
                    "SELECT {} FROM {from_name} f JOIN {to_name} t ON {} LIMIT 1",
                    list.join(", "),
                    pairs.join(" AND ")
                );
                let rows = ctx
                    .with_exec(async |exec| {
                        let prepared = internal::prepare(&sql, database, &[], exec)?;
                        internal::run(&prepared, &[], exec).await
                    })
                    .await?;
                if let Some(row) = rows.first() {
                    let message = format!("removing partition \"{}\" violates foreign key constraint \"{}\"", table.name, key.name);
                    let shown = crate::foreign::shown_key(&above, &key.referenced_columns, row);
                    return Err(SqlError::new(SqlState::ForeignKeyViolation, message)
                        .with_detail(format!("{shown} is still referenced from table \"{}\".", from.name))
                        .with_table(from.name.clone())
                        .with_constraint(key.name.clone()));
                }
            }
        }
    }
    Ok(())
}

/// The oid of a constraint of a table.
pub(super) fn constraint_oid(table: &Table, name: &str) -> Option<u32> {
    let indexes = table.indexes.iter().filter(|index| index.name == name).filter_map(|index| index.constraint.map(|it| it.oid));
    let checks = table.checks.iter().filter(|check| check.name == name).map(|check| check.oid);
    let keys = table.foreign_keys.iter().filter(|key| key.name == name).map(|key| key.oid);
    indexes.chain(checks).chain(keys).next()
}

/// The name of the constraint of a partition that is one of its parent's.
pub(super) fn own_constraint(table: &Table, parents: u32) -> Option<String> {
    let own = table.part_of(parents)?;
    let indexes = table.indexes.iter().filter(|index| index.constraint.is_some_and(|it| it.oid == own)).map(|it| &it.name);
    let checks = table.checks.iter().filter(|check| check.oid == own).map(|check| &check.name);
    let keys = table.foreign_keys.iter().filter(|key| key.oid == own).map(|key| &key.name);
    indexes.chain(checks).chain(keys).next().cloned()
}

/// A new check of a partitioned table in its partitions; one that is there already and like it is taken.
pub(super) async fn check_for_partitions(
    table: &Arc<Table>,
    oid: u32,
    spec: &CheckSpec,
    ctx: &mut DdlContext<'_>,
) -> SqlResult<()> {
    let Some(made) = table.checks.iter().find(|check| check.oid == oid).cloned() else { return Ok(()) };
    for partition in partitions(table) {
        let own = ctx.table(partition)?;
        let known = own.checks.iter().find(|check| check.name == made.name);
        let own_oid = match known {
            Some(known) if is_same_condition(&known.expr, &made.expr, &own, ctx) => {
                ctx.notice(format!("merging constraint \"{}\" with inherited definition", made.name));
                known.oid
            }
            _ => {
                let spec = CheckSpec { name: Some(made.name.clone()), ..spec.clone() };
                constraint::add_check(&own, &spec, ctx).await?
            }
        };
        let mut changed = Table::clone(&*ctx.table(partition)?);
        changed.partitioning_mut().parts.push((own_oid, oid));
        ctx.put_table(changed);
        let own = ctx.table(partition)?;
        Box::pin(check_for_partitions(&own, own_oid, spec, ctx)).await?;
    }
    Ok(())
}

/// A table and all that is below it, by their ids.
pub(super) fn with_descendants(ids: &[u32], catalog: &CatalogSnapshot) -> Vec<u32> {
    let mut all: Vec<u32> = Vec::with_capacity(ids.len());
    for id in ids {
        let below = match catalog.relation_by_id(*id) {
            Some(Relation::Table(table)) => catalog.descendants_of(table).iter().map(|it| it.id).collect(),
            _ => Vec::new(),
        };
        for id in std::iter::once(*id).chain(below) {
            if !all.contains(&id) {
                all.push(id);
            }
        }
    }
    all
}

