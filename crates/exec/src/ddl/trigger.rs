//! CREATE, ALTER and DROP TRIGGER, and what happens to triggers when what they name goes.

use std::sync::Arc;

use catalog::{CatalogSnapshot, Descriptor, Relation, Table, Trigger, TriggerEnabled, View};
use keys::ColumnId;
use types::{SqlError, SqlResult, SqlState};

use super::{DdlContext, constraint, quote};

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
    Ok(())
}

pub(super) fn rename(id: u32, name: &str, to: &str, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let mut table = Table::clone(&*owner(id, ctx)?);
    let at = place(&table, name).map_err(|_| missing(name, &table))?;
    if place(&table, to).is_ok() {
        return Err(exists(to, &table));
    }
    let mut trigger = table.triggers.remove(at);
    if trigger.constraint.is_some() {
        constraint::check_name_free(&table, to)?;
    }
    to.clone_into(&mut trigger.name);
    let at = place(&table, to).unwrap_or_else(|at| at);
    table.triggers.insert(at, trigger);
    put(table, ctx);
    Ok(())
}

pub(super) fn drop(id: u32, name: &str, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let mut table = Table::clone(&*owner(id, ctx)?);
    let at = place(&table, name).map_err(|_| missing(name, &table))?;
    table.triggers.remove(at);
    put(table, ctx);
    Ok(())
}

/// ENABLE and DISABLE TRIGGER; `None`: all of them.
pub(super) fn enable(
    table: &Table,
    name: Option<&str>,
    enabled: TriggerEnabled,
    ctx: &mut DdlContext<'_>,
) -> SqlResult<()> {
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
    let is_from = |_: &Arc<Table>, trigger: &Trigger| trigger.constraint.is_some_and(|it| it.from == Some(from));
    for (table, trigger) in triggers_where(is_from, ctx) {
        remove(table.id, trigger.oid, ctx);
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
