//! Constraints of tables: checks, foreign keys, and what goes when they are dropped.

use std::sync::Arc;

use catalog::{ForeignKey, Index, Table};
use keys::ColumnId;
use plan::statement::{CheckSpec, ForeignKeySpec};
use types::{SqlError, SqlResult, SqlState};

use super::{
    DdlContext, alter::no_column, create::{add_row_id, bind_all, build_check}, index_span,
    rewrite::{for_each_row, is_violated, rewrite},
};
use crate::{
    eval::eval_row,
    foreign::{not_present, qualified},
    internal::{self, quoted},
};

/// The oid of the check.
pub(super) async fn add_check(table: &Arc<Table>, spec: &CheckSpec, ctx: &mut DdlContext<'_>) -> SqlResult<u32> {
    let mut changed = (**table).clone();
    let oid = ctx.new_ids(1).await?;
    let check = build_check(&changed, spec, oid);
    check_name_free(table, &check.name)?;
    let (name, text) = (check.name.clone(), check.expr.clone());
    changed.checks.push(check);
    ctx.put_table(changed);
    let now = ctx.table(table.id)?;
    bind_all(&now, ctx)?;
    if !spec.not_valid {
        validate_check(&now, &name, &text, ctx).await?;
    }
    Ok(oid)
}

async fn validate_check(table: &Arc<Table>, name: &str, text: &str, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let bound = ctx.bind(text, table)?;
    for_each_row(table, ctx, |row, scope| {
        if eval_row(&bound, row, scope)?.as_bool() == Some(false) { Err(is_violated(table, name)) } else { Ok(()) }
    })
    .await
}

/// The names of a table's constraints.
fn constraint_names(table: &Table) -> impl Iterator<Item = &String> {
    let indexes = table.indexes.iter().filter(|index| index.constraint.is_some()).map(|index| &index.name);
    let checks = table.checks.iter().map(|check| &check.name);
    let triggers = table.triggers.iter().filter(|trigger| trigger.constraint.is_some()).map(|trigger| &trigger.name);
    indexes.chain(checks).chain(table.foreign_keys.iter().map(|key| &key.name)).chain(triggers)
}

pub(super) fn check_name_free(table: &Table, name: &str) -> SqlResult<()> {
    if constraint_names(table).any(|known| known == name) {
        return Err(SqlError::new(
            SqlState::DuplicateObject,
            format!("constraint \"{name}\" for relation \"{}\" already exists", table.name),
        ));
    }
    Ok(())
}

/// A foreign key by its spec, added to both tables; the rows that are there are looked at unless it is NOT VALID.
pub(super) async fn add_foreign_key(
    table: &Arc<Table>,
    spec: &ForeignKeySpec,
    ctx: &mut DdlContext<'_>,
) -> SqlResult<()> {
    let to = match spec.referenced_table {
        Some(id) => ctx.table(id)?,
        None => table.clone(),
    };
    let (is_temporary, to_temporary) = (ctx.is_temporary(table), ctx.is_temporary(&to));
    if is_temporary != to_temporary {
        let kind = if is_temporary { "temporary" } else { "permanent" };
        let message = format!("constraints on {kind} tables may reference only {kind} tables");
        return Err(SqlError::new(SqlState::InvalidTableDefinition, message));
    }
    let key = foreign_key(table, &to, spec, ctx).await?;
    let name = key.name.clone();
    let mut changed = (**table).clone();
    changed.foreign_keys.push(key);
    ctx.put_table(changed);
    let mut referenced = (*ctx.table(to.id)?).clone();
    if !referenced.referenced_by.contains(&table.id) {
        referenced.referenced_by.push(table.id);
        ctx.put_table(referenced);
    }
    if spec.not_valid {
        return Ok(());
    }
    let table = ctx.table(table.id)?;
    validate_foreign_key(&table, &name, ctx).await
}

async fn foreign_key(
    table: &Arc<Table>,
    to: &Arc<Table>,
    spec: &ForeignKeySpec,
    ctx: &mut DdlContext<'_>,
) -> SqlResult<ForeignKey> {
    let ids = |table: &Table, names: &[String]| {
        names
            .iter()
            .map(|name| {
                table.column_named(name).map(|(_, column)| column.id).ok_or_else(|| {
                    SqlError::new(
                        SqlState::UndefinedColumn,
                        format!("column \"{name}\" referenced in foreign key constraint does not exist"),
                    )
                })
            })
            .collect::<SqlResult<Vec<ColumnId>>>()
    };
    let invalid = |message: String| SqlError::new(SqlState::InvalidForeignKey, message);
    let columns = ids(table, &spec.columns)?;
    let referenced = match &spec.referenced_columns[..] {
        [] if to.primary_key().is_some_and(|it| it.details.deferrable) => {
            let message = format!("cannot use a deferrable primary key for referenced table \"{}\"", to.name);
            return Err(SqlError::new(SqlState::ObjectNotInPrerequisiteState, message));
        }
        [] if !to.has_declared_primary_key() => {
            return Err(SqlError::new(
                SqlState::UndefinedObject,
                format!("there is no primary key for referenced table \"{}\"", to.name),
            ));
        }
        [] => to.primary().columns.iter().map(|key| key.column).collect(),
        names => ids(to, names)?,
    };
    if columns.len() != referenced.len() {
        return Err(invalid("number of referencing and referenced columns for foreign key disagree".into()));
    }
    let waits = |index: &Index| index.details.deferrable && is_over(&Index { unique: index.is_declared_unique(), ..index.clone() }, &referenced);
    if !to.indexes.iter().any(|index| is_over(index, &referenced)) {
        if to.indexes.iter().any(waits) {
            let message = format!("cannot use a deferrable unique constraint for referenced table \"{}\"", to.name);
            return Err(SqlError::new(SqlState::ObjectNotInPrerequisiteState, message));
        }
        return Err(invalid(format!(
            "there is no unique constraint matching given keys for referenced table \"{}\"",
            to.name
        )));
    }
    let name = match &spec.name {
        Some(name) => name.clone(),
        None => {
            let base = format!("{}_{}_fkey", table.name, spec.columns.join("_"));
            let mut numbered = std::iter::once(base.clone()).chain((1..).map(|number| format!("{base}{number}")));
            numbered.find(|name| !constraint_names(table).any(|known| known == name)).unwrap_or(base)
        }
    };
    check_name_free(table, &name)?;
    for (from, to_id) in columns.iter().zip(&referenced) {
        let (Some(from), Some(at)) = (table.column_position(*from), to.column_position(*to_id)) else { continue };
        let (from, at) = (&table.columns[from], &to.columns[at]);
        if builtins::resolve_binary_operator("=", Some(at.ty), Some(from.ty)).is_err() {
            return Err(SqlError::new(
                SqlState::DatatypeMismatch,
                format!("foreign key constraint \"{name}\" cannot be implemented"),
            )
            .with_detail(format!(
                "Key columns \"{}\" and \"{}\" are of incompatible types: {} and {}.",
                from.name, at.name, from.ty, at.ty
            )));
        }
    }
    Ok(ForeignKey {
        oid: ctx.new_ids(1).await?,
        name,
        columns,
        referenced_table: to.id,
        referenced_columns: referenced,
        on_delete: spec.on_delete,
        on_update: spec.on_update,
        validated: !spec.not_valid,
        deferrable: spec.deferrable,
        initially_deferred: spec.initially_deferred,
    })
}

/// A unique index over exactly these columns, in any order.
fn is_over(index: &Index, columns: &[ColumnId]) -> bool {
    index.unique
        && index.predicate.is_none()
        && index.columns.len() == columns.len()
        && index.columns.iter().all(|key| columns.contains(&key.column))
}

pub(super) async fn validate_foreign_key(table: &Table, name: &str, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let Some(key) = table.foreign_keys.iter().find(|key| key.name == name) else { return Ok(()) };
    let to = ctx.table(key.referenced_table)?;
    let (from_name, database) = qualified(table, ctx.change.snapshot())?;
    let (to_name, _) = qualified(&to, ctx.change.snapshot())?;
    let columns: Vec<String> = table.positions(&key.columns).map(|at| quoted(&table.columns[at].name)).collect();
    let referenced: Vec<String> = to.positions(&key.referenced_columns).map(|at| quoted(&to.columns[at].name)).collect();
    let list: Vec<String> = columns.iter().map(|column| format!("f.{column}")).collect();
    let joined: Vec<String> = columns.iter().zip(&referenced).map(|(from, to)| format!("t.{to} = f.{from}")).collect();
    let given: Vec<String> = list.iter().map(|column| format!("{column} IS NOT NULL")).collect();
    let sql = format!(
        "SELECT {} FROM {from_name} f LEFT JOIN {to_name} t ON {} WHERE {} AND t.{} IS NULL LIMIT 1",
        list.join(", "),
        joined.join(" AND "),
        given.join(" AND "),
        referenced[0],
    );
    let rows = ctx
        .with_exec(async |exec| {
            let prepared = internal::prepare(&sql, database, &[], exec)?;
            internal::run(&prepared, &[], exec).await
        })
        .await?;
    match rows.first() {
        Some(row) => Err(not_present(table, key, &to, row, true)),
        None => Ok(()),
    }
}

pub(super) async fn validate(table: &Arc<Table>, name: &str, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let mut changed = (**table).clone();
    if let Some(check) = changed.checks.iter_mut().find(|check| check.name == name) {
        let text = check.expr.clone();
        check.validated = true;
        validate_check(table, name, &text, ctx).await?;
    } else if let Some(key) = changed.foreign_keys.iter_mut().find(|key| key.name == name) {
        key.validated = true;
        validate_foreign_key(table, name, ctx).await?;
    } else if constraint_names(table).any(|known| known == name) {
        return Err(SqlError::new(
            SqlState::WrongObjectType,
            format!("constraint \"{name}\" of relation \"{}\" is not a foreign key or check constraint", table.name),
        ));
    } else {
        return Err(no_constraint(table, name));
    }
    ctx.put_table(changed);
    Ok(())
}

/// ALTER CONSTRAINT: when a foreign key is looked at.
pub(super) fn alter(
    table: &Arc<Table>,
    name: &str,
    deferrable: bool,
    initially_deferred: bool,
    ctx: &mut DdlContext<'_>,
) -> SqlResult<()> {
    let Some(at) = table.foreign_keys.iter().position(|key| key.name == name) else {
        if !constraint_names(table).any(|known| known == name) {
            return Err(no_constraint(table, name));
        }
        let message = format!("constraint \"{name}\" of relation \"{}\" is not a foreign key constraint", table.name);
        return Err(SqlError::new(SqlState::WrongObjectType, message));
    };
    let oid = table.foreign_keys[at].oid;
    if let Some(parent) = table.parent_part(oid) {
        let of = table.partition_parent().and_then(|id| ctx.change.snapshot().table_by_id(id));
        let parents = of.and_then(|of| Some((of, of.foreign_keys.iter().find(|key| key.oid == parent)?)));
        let message = format!("cannot alter constraint \"{name}\" on relation \"{}\"", table.name);
        let error = SqlError::new(SqlState::ObjectNotInPrerequisiteState, message);
        return Err(match parents {
            None => error,
            Some((of, key)) => error
                .with_detail(format!(
                    "Constraint \"{name}\" is derived from constraint \"{}\" of relation \"{}\".",
                    key.name, of.name
                ))
                .with_hint("You may alter the constraint it derives from instead."),
        });
    }
    // Those of its partitions follow.
    let mut oids = vec![oid];
    let mut going = vec![table.clone()];
    going.extend(ctx.change.snapshot().descendants_of(table));
    for table in going {
        let parts = table.partitioning.iter().flat_map(|it| &it.parts);
        let own: Vec<u32> = parts.filter(|(_, parents)| oids.contains(parents)).map(|(own, _)| *own).collect();
        oids.extend(own);
        let mut changed = Table::clone(&*ctx.table(table.id)?);
        for key in changed.foreign_keys.iter_mut().filter(|key| oids.contains(&key.oid)) {
            (key.deferrable, key.initially_deferred) = (deferrable, initially_deferred);
        }
        ctx.put_table(changed);
    }
    Ok(())
}

pub(super) fn no_constraint(table: &Table, name: &str) -> SqlError {
    SqlError::new(
        SqlState::UndefinedObject,
        format!("constraint \"{name}\" of relation \"{}\" does not exist", table.name),
    )
}

pub(super) async fn drop_constraint(
    table: &Arc<Table>,
    name: &str,
    if_exists: bool,
    cascade: bool,
    ctx: &mut DdlContext<'_>,
) -> SqlResult<()> {
    if table.foreign_keys.iter().any(|key| key.name == *name) {
        return drop_foreign_keys(table.id, &|key| key.name == *name, ctx);
    }
    if table.trigger_named(name).is_some_and(|trigger| trigger.constraint.is_some()) {
        let on = format!("{name} on table {}", table.name);
        let message = format!("cannot drop constraint {on} because trigger {on} requires it");
        return Err(SqlError::new(SqlState::DependentObjectsStillExist, message)
            .with_hint(format!("You can drop trigger {on} instead.")));
    }
    let mut changed = (**table).clone();
    if let Some(at) = changed.checks.iter().position(|check| check.name == *name) {
        changed.checks.remove(at);
        ctx.put_table(changed);
        return Ok(());
    }
    let found = table.indexes.iter().position(|index| index.constraint.is_some() && index.name == *name);
    let Some(at) = found else {
        if if_exists {
            ctx.notice(format!("constraint \"{name}\" of relation \"{}\" does not exist, skipping", table.name));
            return Ok(());
        }
        return Err(no_constraint(table, name));
    };
    let what = format!("constraint {name} on table {}", table.name);
    release_references(table, &what, &format!("index {name}"), cascade, ctx, |key| {
        let others = table.indexes.iter().enumerate().filter(|(other, _)| *other != at);
        is_over(&table.indexes[at], &key.referenced_columns)
            && !others.into_iter().any(|(_, index)| is_over(index, &key.referenced_columns))
    })?;
    let table = ctx.table(table.id)?;
    let mut changed = (*table).clone();
    if at == 0 {
        changed.indexes.remove(0);
        let others = std::mem::take(&mut changed.indexes);
        let oid = ctx.new_ids(1).await?;
        add_row_id(&mut changed, oid);
        changed.indexes.extend(others);
        return rewrite(&table, changed, None, ctx).await;
    }
    ctx.garbage.push(index_span(&table, changed.indexes[at].id));
    changed.indexes.remove(at);
    ctx.put_table(changed);
    Ok(())
}

/// Foreign keys of other tables that rest on what is being dropped: they forbid it, or go with it.
pub(super) fn release_references(
    table: &Table,
    what: &str,
    on: &str,
    cascade: bool,
    ctx: &mut DdlContext<'_>,
    rests_on_it: impl Fn(&ForeignKey) -> bool,
) -> SqlResult<()> {
    let mut resting = Vec::new();
    for id in &table.referenced_by {
        let from = ctx.table(*id)?;
        let is_own = |key: &&ForeignKey| key.referenced_table == table.id && from.parent_part(key.oid).is_none();
        let keys = from.foreign_keys.iter().filter(is_own).filter(|key| rests_on_it(key));
        resting.extend(keys.map(|key| (*id, key.oid, format!("constraint {} on table {}", key.name, from.name))));
    }
    if !cascade && !resting.is_empty() {
        let lines: Vec<String> = resting.iter().map(|(.., shown)| format!("{shown} depends on {on}")).collect();
        return Err(SqlError::new(
            SqlState::DependentObjectsStillExist,
            format!("cannot drop {what} because other objects depend on it"),
        )
        .with_detail(lines.join("\n"))
        .with_hint("Use DROP ... CASCADE to drop the dependent objects too."));
    }
    for (id, oid, shown) in resting {
        ctx.notice(format!("drop cascades to {shown}"));
        drop_foreign_keys(id, &|key| key.oid == oid, ctx)?;
    }
    Ok(())
}

/// Takes foreign keys off a table, and the table off the lists of those it no longer refers to.
pub(super) fn drop_foreign_keys(
    id: u32,
    goes: &dyn Fn(&ForeignKey) -> bool,
    ctx: &mut DdlContext<'_>,
) -> SqlResult<()> {
    let table = ctx.table(id)?;
    let mut changed = (*table).clone();
    changed.foreign_keys.retain(|key| !goes(key));
    let left: Vec<u32> = changed.foreign_keys.iter().map(|key| key.referenced_table).collect();
    ctx.put_table(changed);
    for to in table.foreign_keys.iter().map(|key| key.referenced_table).filter(|to| !left.contains(to)) {
        if let Some(to) = ctx.change.snapshot().table_by_id(to).cloned() {
            let mut released = (*to).clone();
            released.referenced_by.retain(|from| *from != id);
            ctx.put_table(released);
        }
    }
    // Those of its partitions go with them.
    let gone: Vec<u32> = table.foreign_keys.iter().filter(|key| goes(key)).map(|key| key.oid).collect();
    for partition in super::partition::partitions(&table) {
        let own = ctx.table(partition)?;
        let is_one = |oid: u32| own.parent_part(oid).is_some_and(|parents| gone.contains(&parents));
        if own.foreign_keys.iter().any(|key| is_one(key.oid)) {
            let keys: Vec<u32> = own.foreign_keys.iter().map(|key| key.oid).filter(|oid| is_one(*oid)).collect();
            drop_keys(partition, &keys, ctx)?;
        }
    }
    Ok(())
}

fn drop_keys(id: u32, keys: &[u32], ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    drop_foreign_keys(id, &|key: &ForeignKey| keys.contains(&key.oid), ctx)
}

/// A table is one of those that refer to another by themselves.
pub(super) fn note_reference(from: u32, to: u32, ctx: &mut DdlContext<'_>) {
    if let Some(to) = ctx.change.snapshot().table_by_id(to).filter(|to| !to.referenced_by.contains(&from)) {
        let mut changed = Table::clone(to);
        changed.referenced_by.push(from);
        ctx.put_table(changed);
    }
}

/// A partition has keys that refer to a table only as the tables above it have them.
pub(super) fn forget_reference(from: u32, to: u32, ctx: &mut DdlContext<'_>) {
    let catalog = ctx.change.snapshot();
    let (Some(table), Some(other)) = (catalog.table_by_id(from), catalog.table_by_id(to)) else { return };
    let is_own = |key: &ForeignKey| key.referenced_table == to && table.parent_part(key.oid).is_none();
    if other.referenced_by.contains(&from) && !table.foreign_keys.iter().any(is_own) {
        let mut changed = Table::clone(other);
        changed.referenced_by.retain(|known| *known != from);
        ctx.put_table(changed);
    }
}

/// A column goes with its indexes and constraints; the rows keep its bytes until they are written again.
pub(super) async fn drop_column(
    table: &Arc<Table>,
    name: &str,
    if_exists: bool,
    cascade: bool,
    ctx: &mut DdlContext<'_>,
) -> SqlResult<()> {
    let Some((at, column)) = table.column_named(name) else {
        if if_exists {
            ctx.notice(format!("column \"{name}\" of relation \"{}\" does not exist, skipping", table.name));
            return Ok(());
        }
        return Err(no_column(table, name));
    };
    let id = column.id;
    let what = format!("column {name} of table {}", table.name);
    super::composites::check_no_index(table.id, &what, ctx)?;
    release_references(table, &what, &what, cascade, ctx, |key| key.referenced_columns.contains(&id))?;
    drop_foreign_keys(table.id, &|key| key.columns.contains(&id), ctx)?;
    super::drop::release_views(&ctx.table(table.id)?, id, cascade, ctx)?;
    super::policy::release_column(&ctx.table(table.id)?, id, &what, cascade, ctx)?;
    // A sequence that the column owns goes with it.
    let own: Vec<u32> = ctx
        .change
        .snapshot()
        .dependents_of(table.id)
        .into_iter()
        .filter_map(|relation| match relation {
            catalog::Relation::Sequence(sequence) if sequence.owned_by == Some((table.id, id)) => Some(sequence.id),
            _ => None,
        })
        .collect();
    if !own.is_empty() {
        let mut changed = (*ctx.table(table.id)?).clone();
        changed.columns[at].default = None;
        ctx.put_table(changed);
    }
    // The column goes from the partitions as well, which draw from it.
    let going = super::partition::with_descendants(&[table.id], ctx.change.snapshot());
    for sequence in own {
        super::drop::release_sequence(sequence, &going, &what, cascade, ctx)?;
    }
    let table = ctx.table(table.id)?;
    let mut changed = (*table).clone();
    let mentions = |text: &str, ctx: &DdlContext<'_>| {
        ctx.bind(text, &table).is_ok_and(|bound| bound.columns_used().contains(&at))
    };
    let mut gone = vec![id];
    for other in &table.columns {
        let Some(catalog::ColumnDefault::Stored(text)) = &other.default else { continue };
        if other.id == id || !mentions(text, ctx) {
            continue;
        }
        if !other.hidden && !cascade {
            return Err(SqlError::new(
                SqlState::DependentObjectsStillExist,
                format!("cannot drop {what} because other objects depend on it"),
            )
            .with_detail(format!("column {} of table {} depends on {what}", other.name, table.name))
            .with_hint("Use DROP ... CASCADE to drop the dependent objects too."));
        }
        if !other.hidden {
            ctx.notice(format!("drop cascades to column {} of table {}", other.name, table.name));
        }
        gone.push(other.id);
    }
    let over = super::trigger::over_columns(&table, &gone, ctx)?;
    if !cascade && !over.is_empty() {
        let shown = |trigger: &&catalog::Trigger| super::trigger::shown(trigger, &table, ctx);
        let lines: Vec<String> = over.iter().map(|it| format!("{} depends on {what}", shown(it))).collect();
        return Err(SqlError::new(
            SqlState::DependentObjectsStillExist,
            format!("cannot drop {what} because other objects depend on it"),
        )
        .with_detail(lines.join("\n"))
        .with_hint("Use DROP ... CASCADE to drop the dependent objects too."));
    }
    for trigger in &over {
        let gone = super::trigger::shown(trigger, &table, ctx);
        ctx.notice(format!("drop cascades to {gone}"));
    }
    changed.triggers.retain(|trigger| over.iter().all(|gone| gone.oid != trigger.oid));
    let filtered: Vec<u32> = table
        .indexes
        .iter()
        .filter(|index| index.predicate.as_ref().is_some_and(|text| mentions(text, ctx)))
        .map(|index| index.oid)
        .collect();
    let has_column = |index: &Index| {
        index.columns.iter().any(|key| gone.contains(&key.column))
            || index.included.iter().any(|id| gone.contains(id))
            || filtered.contains(&index.oid)
    };
    let moves = has_column(table.primary());
    for index in table.indexes.iter().skip(1).filter(|index| has_column(index)) {
        ctx.garbage.push(index_span(&table, index.id));
    }
    changed.indexes.retain(|index| !has_column(index));
    changed.checks.retain(|check| !check.columns.iter().any(|id| gone.contains(id)));
    changed.columns.retain(|column| !gone.contains(&column.id));
    super::drop::drop_unused_computed(&mut changed);
    if moves {
        let others = std::mem::take(&mut changed.indexes);
        let oid = ctx.new_ids(1).await?;
        add_row_id(&mut changed, oid);
        changed.indexes.extend(others);
        return rewrite(&table, changed, None, ctx).await;
    }
    ctx.put_table(changed);
    Ok(())
}
