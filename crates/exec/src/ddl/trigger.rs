//! CREATE, ALTER and DROP TRIGGER, and what happens to triggers when what they name goes.

use std::sync::Arc;

use catalog::{CatalogSnapshot, Descriptor, Relation, Table, Trigger, TriggerEnabled, View};
use keys::ColumnId;
use types::{SqlError, SqlResult, SqlState};

use super::{DdlContext, constraint, partition, quote};

/// What has triggers: a table, or a view as one.
fn owner(id: u32, ctx: &DdlContext<'_>) -> SqlResult<Arc<Table>> {
    match ctx.change.snapshot().relation_by_id(id).and_then(Relation::as_table) {
        Some(table) => Ok(table.clone()),
        None => ctx.table(id),
    }
}

/// Keeps the triggers of a table or view.
fn put(changed: Table, ctx: &mut DdlContext<'_>) {
    match ctx.change.snapshot().relation_by_id(changed.id) {
        Some(Relation::View(view)) => {
            let mut view = View::clone(view);
            view.comments.retain(|(on, _)| changed.has_part(*on));
            view.details.triggers = changed.triggers;
            ctx.change.put(ctx.txn, Descriptor::View(view));
        }
        Some(Relation::Table(_) | Relation::Sequence(_)) | None => ctx.put_table(changed),
    }
}

fn missing(name: &str, table: &Table) -> SqlError {
    let message = format!("trigger \"{name}\" for table \"{}\" does not exist", table.name);
    SqlError::new(SqlState::UndefinedObject, message)
}

fn exists(name: &str, table: &Table) -> SqlError {
    let message = format!("trigger \"{name}\" for relation \"{}\" already exists", table.name);
    SqlError::new(SqlState::DuplicateObject, message)
}

/// As messages name it: `trigger x on table t`.
pub(super) fn shown(trigger: &Trigger, table: &Table, ctx: &DdlContext<'_>) -> String {
    let find = |catalog: &CatalogSnapshot, schema| catalog.relation(schema, &table.name).map(Relation::id);
    let on = ctx.shown(table.schema, &quote(&table.name), ctx.is_visible(table.id, find));
    let kind = if table.is_view() { "view" } else { "table" };
    format!("trigger {} on {kind} {on}", trigger.name)
}

fn place(table: &Table, name: &str) -> Result<usize, usize> {
    table.triggers.binary_search_by(|known| known.name.as_str().cmp(name))
}

pub(super) async fn create(id: u32, spec: &Trigger, or_replace: bool, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let mut table = Table::clone(&*owner(id, ctx)?);
    if ctx.change.snapshot().routine_by_id(spec.routine).is_none() {
        let message = format!("function with OID {} does not exist", spec.routine);
        return Err(SqlError::new(SqlState::UndefinedFunction, message));
    }
    let mut made = spec.clone();
    match place(&table, &spec.name) {
        Ok(_) if !or_replace => return Err(exists(&spec.name, &table)),
        Ok(at) => {
            made.oid = table.triggers[at].oid;
            table.triggers[at] = made;
        }
        Err(at) => {
            if spec.constraint.is_some() {
                constraint::check_name_free(&table, &spec.name)?;
            }
            made.oid = ctx.new_ids(1).await?;
            table.triggers.insert(at, made);
        }
    }
    put(table, ctx);
    let table = owner(id, ctx)?;
    if let Ok(at) = place(&table, &spec.name)
        && spec.for_each_row
    {
        for partition in partition::partitions(&table) {
            clone_one(&table, at, partition, ctx).await?;
        }
    }
    Ok(())
}

/// A row trigger of a partitioned table in a partition of it, and in those below. *parts-follow*
async fn clone_one(parent: &Arc<Table>, at: usize, id: u32, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let trigger = &parent.triggers[at];
    let table = ctx.table(id)?;
    let name = |id: &ColumnId| parent.column_position(*id).map(|at| parent.columns[at].name.as_str());
    let named = trigger.columns.iter().filter_map(name).filter_map(|name| table.column_named(name));
    let mut own = Trigger { columns: named.map(|(_, column)| column.id).collect(), ..trigger.clone() };
    let mut changed = Table::clone(&table);
    match place(&table, &own.name) {
        // CREATE OR REPLACE of the parent's.
        Ok(known) if table.parent_part(table.triggers[known].oid) == Some(trigger.oid) => {
            own.oid = table.triggers[known].oid;
            changed.triggers[known] = own;
        }
        Ok(_) => return Err(exists(&own.name, &table)),
        Err(free) => {
            own.oid = ctx.new_ids(1).await?;
            changed.partitioning_mut().parts.push((own.oid, trigger.oid));
            changed.triggers.insert(free, own);
        }
    }
    ctx.put_table(changed);
    let table = ctx.table(id)?;
    if let Ok(at) = place(&table, &trigger.name) {
        for below in partition::partitions(&table) {
            Box::pin(clone_one(&table, at, below, ctx)).await?;
        }
    }
    Ok(())
}

/// The row triggers of a partitioned table in a new partition.
pub(super) async fn clone_to(parent: &Arc<Table>, partition: u32, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    for (at, trigger) in parent.triggers.iter().enumerate() {
        if trigger.for_each_row {
            clone_one(parent, at, partition, ctx).await?;
        }
    }
    Ok(())
}

/// A partition that is detached has no triggers of its parent any more, nor have those below it.
pub(super) fn drop_clones(id: u32, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let table = ctx.table(id)?;
    let own: Vec<String> = table
        .triggers
        .iter()
        .filter(|trigger| table.parent_part(trigger.oid).is_some())
        .map(|trigger| trigger.name.clone())
        .collect();
    own.iter().try_for_each(|name| drop_with_clones(id, name, ctx))
}

/// Takes a trigger off a table and its partitions.
fn drop_with_clones(id: u32, name: &str, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let before = owner(id, ctx)?;
    let mut table = Table::clone(&before);
    let at = place(&table, name).map_err(|_| missing(name, &table))?;
    let oid = table.triggers.remove(at).oid;
    put(table, ctx);
    clones(&before, oid, ctx).into_iter().try_for_each(|(below, name)| drop_with_clones(below, &name, ctx))
}

/// The triggers of a table's partitions that are a trigger of its own: the partitions, and what they are called there.
fn clones(table: &Table, oid: u32, ctx: &DdlContext<'_>) -> Vec<(u32, String)> {
    let own = |partition: &Arc<Table>| {
        let own = partition.part_of(oid)?;
        let trigger = partition.triggers.iter().find(|trigger| trigger.oid == own)?;
        Some((partition.id, trigger.name.clone()))
    };
    ctx.change.snapshot().partitions_of(table).filter_map(own).collect()
}

/// The table whose trigger one of a partition is, outermost first to be met.
fn parent_of(table: &Table, trigger: &Trigger, ctx: &DdlContext<'_>) -> Option<Arc<Table>> {
    table.parent_part(trigger.oid)?;
    ctx.table(table.partition_parent()?).ok()
}

pub(super) fn rename(id: u32, name: &str, to: &str, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let table = Table::clone(&*owner(id, ctx)?);
    let at = place(&table, name).map_err(|_| missing(name, &table))?;
    if let Some(parent) = parent_of(&table, &table.triggers[at], ctx) {
        let message = format!("cannot rename trigger \"{name}\" on table \"{}\"", table.name);
        let hint = format!("Rename the trigger on the partitioned table \"{}\" instead.", parent.name);
        return Err(SqlError::not_supported(message).with_hint(hint));
    }
    rename_with_clones(table, at, to, ctx)
}

fn rename_with_clones(mut table: Table, at: usize, to: &str, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    if place(&table, to).is_ok() {
        return Err(exists(to, &table));
    }
    let id = table.id;
    let mut trigger = table.triggers.remove(at);
    let oid = trigger.oid;
    if trigger.constraint.is_some() {
        constraint::check_name_free(&table, to)?;
    }
    to.clone_into(&mut trigger.name);
    let at = place(&table, to).unwrap_or_else(|at| at);
    table.triggers.insert(at, trigger);
    put(table, ctx);
    let table = owner(id, ctx)?;
    for (below, name) in clones(&table, oid, ctx) {
        let below = Table::clone(&*ctx.table(below)?);
        let at = place(&below, &name).map_err(|_| missing(&name, &below))?;
        rename_with_clones(below, at, to, ctx)?;
    }
    Ok(())
}

pub(super) fn drop(id: u32, name: &str, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let table = owner(id, ctx)?;
    let at = place(&table, name).map_err(|_| missing(name, &table))?;
    if let Some(parent) = parent_of(&table, &table.triggers[at], ctx) {
        let (own, other) = (format!("trigger {name} on table {}", table.name), format!("trigger {name} on table {}", parent.name));
        let message = format!("cannot drop {own} because {other} requires it");
        return Err(SqlError::new(SqlState::DependentObjectsStillExist, message)
            .with_hint(format!("You can drop {other} instead.")));
    }
    drop_with_clones(id, name, ctx)
}

/// ENABLE and DISABLE TRIGGER; `None`: all of them.
pub(super) fn enable(
    table: &Table,
    name: Option<&str>,
    enabled: TriggerEnabled,
    only: bool,
    ctx: &mut DdlContext<'_>,
) -> SqlResult<()> {
    let followed: Vec<u32> = table
        .triggers
        .iter()
        .filter(|trigger| !only && trigger.for_each_row && name.is_none_or(|name| trigger.name == name))
        .map(|trigger| trigger.oid)
        .collect();
    for (below, name) in followed.into_iter().flat_map(|oid| clones(table, oid, ctx)).collect::<Vec<_>>() {
        enable(&*ctx.table(below)?, Some(&name), enabled, false, ctx)?;
    }
    let mut changed = table.clone();
    match name {
        None => changed.triggers.iter_mut().for_each(|trigger| trigger.enabled = enabled),
        Some(name) => {
            let at = place(table, name).map_err(|_| missing(name, table))?;
            changed.triggers[at].enabled = enabled;
        }
    }
    if changed.triggers != table.triggers {
        ctx.put_table(changed);
    }
    Ok(())
}

/// The triggers that a predicate holds for, oldest first, and their tables.
pub(super) fn triggers_where(
    mut is_meant: impl FnMut(&Arc<Table>, &Trigger) -> bool,
    ctx: &DdlContext<'_>,
) -> Vec<(Arc<Table>, Trigger)> {
    let mut found = Vec::new();
    for relation in ctx.change.snapshot().relations_of(ctx.database) {
        let Some(table) = relation.as_table() else { continue };
        let meant = table.triggers.iter().filter(|trigger| is_meant(table, trigger));
        found.extend(meant.map(|trigger| (table.clone(), trigger.clone())));
    }
    found.sort_unstable_by_key(|(_, trigger)| trigger.oid);
    found
}

/// Takes a trigger off its table, if it is there still.
pub(super) fn remove(table: u32, oid: u32, ctx: &mut DdlContext<'_>) -> bool {
    let Ok(table) = owner(table, ctx) else { return false };
    if table.triggers.iter().all(|trigger| trigger.oid != oid) {
        return false;
    }
    let mut changed = Table::clone(&table);
    changed.triggers.retain(|trigger| trigger.oid != oid);
    put(changed, ctx);
    true
}

/// Constraint triggers of other tables FROM one that is going go with it.
pub(super) fn release_from(from: u32, ctx: &mut DdlContext<'_>) {
    let tables = ctx.change.snapshot().dependents_of(from).into_iter().filter_map(Relation::as_table);
    let triggers = tables.flat_map(|table| table.triggers.iter().map(|trigger| (table.id, trigger)));
    let is_from = |trigger: &Trigger| trigger.constraint.is_some_and(|it| it.from == Some(from));
    let found: Vec<(u32, u32)> =
        triggers.filter(|(_, trigger)| is_from(trigger)).map(|(table, trigger)| (table, trigger.oid)).collect();
    for (table, oid) in found {
        remove(table, oid, ctx);
    }
}

/// The triggers of a table whose UPDATE OF or WHEN names one of these columns, oldest first.
pub(super) fn over_columns<'t>(
    table: &'t Arc<Table>,
    columns: &[ColumnId],
    ctx: &DdlContext<'_>,
) -> SqlResult<Vec<&'t Trigger>> {
    let mut found = Vec::new();
    for trigger in &table.triggers {
        let is_of = trigger.columns.iter().any(|column| columns.contains(column));
        let names = |text: &String| -> SqlResult<bool> {
            let named = ctx.plan(|context| plan::trigger_columns(table, text, context))?;
            Ok(named.into_iter().any(|at| columns.contains(&table.columns[at].id)))
        };
        if is_of || trigger.condition.as_ref().map_or(Ok(false), names)? {
            found.push(trigger);
        }
    }
    found.sort_unstable_by_key(|trigger| trigger.oid);
    Ok(found)
}
