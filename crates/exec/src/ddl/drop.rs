//! DROP and TRUNCATE.

use std::sync::Arc;

use catalog::descriptor::{FIRST_USER_ID, named_relations};
use catalog::{Column, ColumnDefault, Descriptor, Relation, Table, View};
use keys::{ColumnId, keyspace};
use plan::{PlanContext, statement::RelationKind};
use types::{SqlError, SqlResult, SqlState, stack};

use super::{
    DdlContext,
    constraint::{drop_foreign_keys, release_references},
    index_span, partition, table_span,
};

fn depends(name: &str, kind: &str, dependent: &str) -> SqlError {
    SqlError::new(
        SqlState::DependentObjectsStillExist,
        format!("cannot drop {kind} {name} because other objects depend on it"),
    )
    .with_detail(format!("{dependent} depends on {kind} {name}"))
    .with_hint("Use DROP ... CASCADE to drop the dependent objects too.")
}

pub(super) async fn relations(
    ids: &[u32],
    missing: &[String],
    cascade: bool,
    kind: RelationKind,
    ctx: &mut DdlContext<'_>,
) -> SqlResult<()> {
    let what = match kind {
        RelationKind::Table => "table",
        RelationKind::View => "view",
        RelationKind::MaterializedView => "materialized view",
        RelationKind::Sequence => "sequence",
    };
    for name in missing {
        ctx.notice(format!("{what} \"{name}\" does not exist, skipping"));
    }
    // Partitions go with what they are of.
    let all = partition::with_descendants(ids, ctx.change.snapshot());
    for id in ids {
        super::composites::release_rows(*id, &all, cascade, ctx).await?;
        drop_relation(*id, &all, cascade, ctx)?;
    }
    Ok(())
}

pub(super) fn drop_relation(id: u32, together: &[u32], cascade: bool, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let together = &[together, &partition::with_descendants(&[id], ctx.change.snapshot())].concat()[..];
    let Some(relation) = ctx.change.snapshot().relation_by_id(id).cloned() else { return Ok(()) };
    // Views over it, oldest first.
    let mut dependents: Vec<(u32, String)> = ctx
        .change
        .snapshot()
        .dependents_of(id)
        .into_iter()
        .filter(|other| other.depends_on().contains(&id) && !together.contains(&other.id()))
        .map(|other| (other.id(), format!("{} {}", other.kind(), other.name())))
        .collect();
    dependents.sort_unstable();
    for (view, shown) in dependents {
        if !cascade {
            return Err(depends(relation.name(), relation.kind(), &shown));
        }
        // It may have gone with one before. A view that was replaced can be over itself.
        if ctx.change.snapshot().relation_by_id(view).is_some() {
            ctx.notice(format!("drop cascades to {shown}"));
            stack::grown(|| drop_relation(view, &[together, &[id]].concat(), true, ctx))?;
        }
    }
    let what = format!("{} {}", relation.kind(), ctx.shown_relation(id, relation.schema(), relation.name()));
    super::policy::release(id, together, &what, cascade, ctx)?;
    super::composites::check_rows_released(id, together, ctx)?;
    let is_of = |ty| matches!(ty, catalog::StoredType::Rows { relation, .. } if relation == id);
    super::routine::release_routines(&what, is_of, cascade, ctx)?;
    match &relation {
        Relation::Table(table) => {
            let alone: Vec<u32> = table.referenced_by.iter().copied().filter(|from| !together.contains(from)).collect();
            let others = Table { referenced_by: alone, ..(**table).clone() };
            release_references(&others, &what, &what, cascade, ctx, |_| true)?;
            // Those that refer to a partitioned table refer to its partitions.
            for above in ctx.change.snapshot().ancestors_of(table).into_iter().filter(|it| !together.contains(&it.id)) {
                release_references(&above, &what, &what, cascade, ctx, |_| true)?;
            }
            for below in partition::partitions(table) {
                stack::grown(|| drop_relation(below, together, cascade, ctx))?;
            }
            if let Some(parent) = table.partition_parent()
                && ctx.change.snapshot().table_by_id(parent).is_some()
            {
                partition::take_out(parent, table.id, ctx)?;
            }
            drop_foreign_keys(table.id, &|_| true, ctx)?;
            super::trigger::release_from(table.id, ctx);
            ctx.garbage.push(table_span(table));
            for sequence in owned_sequences(table.id, ctx) {
                release_sequence(sequence, &[&[table.id][..], together].concat(), &what, cascade, ctx)?;
            }
        }
        Relation::Sequence(sequence) => {
            let identity = super::sequence::identity_of(id, ctx);
            if let Some((table, column)) = identity.filter(|(table, _)| !together.contains(&table.id)) {
                let what = format!("column {column} of table {}", table.name);
                return Err(SqlError::new(
                    SqlState::DependentObjectsStillExist,
                    format!("cannot drop sequence {} because {what} requires it", sequence.name),
                )
                .with_hint(format!("You can drop {what} instead.")));
            }
            return release_sequence(id, together, &what, cascade, ctx);
        }
        Relation::View(_) => super::trigger::release_from(id, ctx),
    }
    ctx.change.remove(ctx.txn, id);
    Ok(())
}

/// The views that read a column of a table.
pub(super) fn views_over(table: &Arc<Table>, column: ColumnId, ctx: &DdlContext<'_>) -> SqlResult<Vec<Arc<View>>> {
    let over = |relation: &&Relation| relation.depends_on().contains(&table.id);
    let views: Vec<Arc<View>> = ctx.change.snapshot().dependents_of(table.id).into_iter().filter(over).filter_map(Relation::as_view).collect();
    if views.is_empty() {
        return Ok(views);
    }
    // One that cannot be bound any more goes with any column.
    let reads = |view: &Arc<View>, context: &PlanContext<'_>| {
        plan::view_reads(view, (table.id, column.get()), context).unwrap_or(true)
    };
    ctx.plan(|context| Ok(views.iter().filter(|view| reads(view, context)).cloned().collect()))
}

/// Views over a column that is going: they forbid it, or go with it.
pub(super) fn release_views(
    table: &Arc<Table>,
    column: ColumnId,
    cascade: bool,
    ctx: &mut DdlContext<'_>,
) -> SqlResult<()> {
    let name = table.columns.iter().find(|known| known.id == column).map_or("", |column| column.name.as_str());
    for view in views_over(table, column, ctx)? {
        let kind = ctx.change.snapshot().relation_by_id(view.id).map_or("view", Relation::kind);
        if !cascade {
            let shown = ctx.shown_relation(table.id, table.schema, &table.name);
            let what = format!("column {name} of table {shown}");
            return Err(SqlError::new(
                SqlState::DependentObjectsStillExist,
                format!("cannot drop {what} because other objects depend on it"),
            )
            .with_detail(format!("{kind} {} depends on {what}", view.name))
            .with_hint("Use DROP ... CASCADE to drop the dependent objects too."));
        }
        ctx.notice(format!("drop cascades to {kind} {}", view.name));
        drop_relation(view.id, &[], true, ctx)?;
    }
    Ok(())
}

/// Drops a sequence. What draws from it, in tables that are not going as well, forbids that, or loses its default.
pub(super) fn release_sequence(
    id: u32,
    going: &[u32],
    what: &str,
    cascade: bool,
    ctx: &mut DdlContext<'_>,
) -> SqlResult<()> {
    let Some(Relation::Sequence(sequence)) = ctx.change.snapshot().relation_by_id(id).cloned() else { return Ok(()) };
    let is_user = |column: &Column| uses_sequence(column.default.as_ref(), id);
    let users: Vec<Arc<Table>> = ctx
        .change
        .snapshot()
        .dependents_of(id)
        .into_iter()
        .filter_map(|other| match other {
            Relation::Table(table) if !going.contains(&table.id) => Some(table.clone()),
            _ => None,
        })
        .filter(|table| table.columns.iter().any(is_user))
        .collect();
    let mut details = Vec::new();
    for table in users {
        let shown = ctx.shown_relation(table.id, table.schema, &table.name);
        let mut changed = (*table).clone();
        for column in changed.columns.iter_mut().filter(|column| is_user(column)) {
            let dependent = format!("default value for column {} of table {shown}", column.name);
            if cascade {
                ctx.notice(format!("drop cascades to {dependent}"));
                column.default = None;
            } else {
                let on = ctx.shown_relation(id, sequence.schema, &sequence.name);
                details.push(format!("{dependent} depends on sequence {on}"));
            }
        }
        if cascade {
            ctx.put_table(changed);
        }
    }
    if !details.is_empty() {
        let message = format!("cannot drop {what} because other objects depend on it");
        return Err(SqlError::new(SqlState::DependentObjectsStillExist, message)
            .with_detail(details.join("\n"))
            .with_hint("Use DROP ... CASCADE to drop the dependent objects too."));
    }
    ctx.change.remove(ctx.txn, id);
    Ok(())
}

fn uses_sequence(default: Option<&ColumnDefault>, id: u32) -> bool {
    match default {
        Some(ColumnDefault::Identity { sequence, .. }) => *sequence == id,
        Some(ColumnDefault::Expr(text)) => named_relations(text).any(|named| named == id),
        Some(ColumnDefault::Stored(_)) | None => false,
    }
}

pub(super) fn owned_sequences(table: u32, ctx: &DdlContext<'_>) -> Vec<u32> {
    ctx.change
        .snapshot()
        .dependents_of(table)
        .into_iter()
        .filter_map(|relation| match relation {
            Relation::Sequence(sequence) if sequence.owned_by.is_some_and(|(owner, _)| owner == table) => {
                Some(sequence.id)
            }
            _ => None,
        })
        .collect()
}

pub(super) fn indexes(
    indexes: &[(Arc<Table>, u32)],
    missing: &[String],
    ctx: &mut DdlContext<'_>,
) -> SqlResult<()> {
    for name in missing {
        ctx.notice(format!("index \"{name}\" does not exist, skipping"));
    }
    for (table, oid) in indexes {
        let table = ctx.table(table.id)?;
        let Some(index) = table.indexes.iter().find(|index| index.oid == *oid) else { continue };
        // One that is named as well goes first, and this with it.
        if let Some(parents) = table.parent_part(*oid)
            && !indexes.iter().any(|(_, other)| *other == parents)
        {
            let parent = table.partition_parent().and_then(|id| ctx.change.snapshot().table_by_id(id));
            let found = parent.and_then(|parent| parent.indexes.iter().find(|index| index.oid == parents));
            let other = found.map_or_else(String::new, |index| index.name.clone());
            let message = format!("cannot drop index {} because index {other} requires it", index.name);
            return Err(SqlError::new(SqlState::DependentObjectsStillExist, message)
                .with_hint(format!("You can drop index {other} instead.")));
        }
        if index.constraint.is_some() {
            return Err(SqlError::new(
                SqlState::DependentObjectsStillExist,
                format!(
                    "cannot drop index {} because constraint {} on table {} requires it",
                    index.name, index.name, table.name
                ),
            )
            .with_hint(format!("You can drop constraint {} on table {} instead.", index.name, table.name)));
        }
        drop_index(table.id, *oid, ctx)?;
    }
    Ok(())
}

/// Drops an index, and those of the partitions that are of it.
fn drop_index(table: u32, oid: u32, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let table = ctx.table(table)?;
    let Some(index) = table.indexes.iter().find(|index| index.oid == oid) else { return Ok(()) };
    ctx.garbage.push(index_span(&table, index.id));
    let mut changed = (*table).clone();
    changed.indexes.retain(|index| index.oid != oid);
    drop_unused_computed(&mut changed);
    ctx.put_table(changed);
    for partition in partition::partitions(&table) {
        if let Some(own) = ctx.table(partition)?.part_of(oid) {
            drop_index(partition, own, ctx)?;
        }
    }
    Ok(())
}

/// Computed columns that no index is over any more; the rows keep their bytes until they are written again.
pub(super) fn drop_unused_computed(table: &mut Table) {
    let used: Vec<ColumnId> = table.indexes.iter().flat_map(|index| &index.columns).map(|key| key.column).collect();
    table.columns.retain(|column| !column.hidden || column.default.is_none() || used.contains(&column.id));
}

pub(super) fn database(name: &str, if_exists: bool, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let Some(database) = ctx.change.snapshot().database(name).cloned() else {
        if if_exists {
            ctx.notice(format!("database \"{name}\" does not exist, skipping"));
            return Ok(());
        }
        return Err(SqlError::new(SqlState::InvalidCatalogName, format!("database \"{name}\" does not exist")));
    };
    if database.id == ctx.database {
        return Err(SqlError::new(SqlState::ObjectInUse, "cannot drop the currently open database"));
    }
    let relations: Vec<u32> = ctx.change.snapshot().relations_of(database.id).map(Relation::id).collect();
    let types: Vec<u32> = ctx.change.snapshot().types_of(database.id).into_iter().map(|ty| ty.id).collect();
    let together = [&relations[..], &types].concat();
    for id in &relations {
        drop_relation(*id, &together, true, ctx)?;
    }
    types.into_iter().for_each(|ty| ctx.change.remove(ctx.txn, ty));
    let routines: Vec<u32> = ctx.change.snapshot().routines_of(database.id).into_iter().map(|it| it.id).collect();
    routines.into_iter().for_each(|routine| ctx.change.remove(ctx.txn, routine));
    let schemas: Vec<u32> = ctx
        .change
        .snapshot()
        .schemas()
        .filter(|schema| schema.database == database.id)
        .map(|schema| schema.id)
        .collect();
    for schema in schemas {
        ctx.change.remove(ctx.txn, schema);
    }
    ctx.change.remove(ctx.txn, database.id);
    super::zone::forget_database(database.id, ctx);
    ctx.garbage.push(keyspace::notifications(database.id));
    ctx.garbage.extend(crate::large_object::garbage_of(database.id));
    Ok(())
}

pub(super) async fn schemas(names: &[String], if_exists: bool, cascade: bool, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    for name in names {
        let Some(schema) = ctx.change.snapshot().schema(ctx.database, name).cloned() else {
            if if_exists {
                ctx.notice(format!("schema \"{name}\" does not exist, skipping"));
                continue;
            }
            return Err(SqlError::new(SqlState::InvalidSchemaName, format!("schema \"{name}\" does not exist")));
        };
        if schema.database == 0 {
            return Err(SqlError::new(
                SqlState::DependentObjectsStillExist,
                format!("cannot drop schema {name} because it is required by the database system"),
            ));
        }
        let inside: Vec<(u32, String)> = ctx
            .change
            .snapshot()
            .relations_in(schema.id)
            .into_iter()
            .map(|relation| (relation.id(), format!("{} {}", relation.kind(), relation.name())))
            .collect();
        let types = ctx.change.snapshot().types_of(ctx.database).into_iter().filter(|ty| ty.schema == schema.id);
        let types: Vec<Arc<catalog::Type>> = types.cloned().collect();
        let first = inside.first().map(|(_, what)| what.clone());
        let first = first.or_else(|| types.first().map(|ty| format!("type {name}.{}", ty.name)));
        let routines = ctx.change.snapshot().routines_of(ctx.database).into_iter();
        let routines: Vec<Arc<catalog::Routine>> = routines.filter(|it| it.schema == schema.id).cloned().collect();
        let first = first.or_else(|| routines.first().map(|routine| super::routine::shown(routine, ctx)));
        if let (false, Some(first)) = (cascade, first) {
            return Err(depends(name, "schema", &first));
        }
        let ids: Vec<u32> = inside.iter().map(|(id, _)| *id).collect();
        for id in &ids {
            super::composites::release_rows(*id, &ids, true, ctx).await?;
            drop_relation(*id, &ids, true, ctx)?;
        }
        for routine in routines {
            super::routine::drop_one(routine.id, true, ctx)?;
        }
        for ty in types {
            super::types::drop_type(ty.id, true, ctx).await?;
        }
        ctx.change.remove(ctx.txn, schema.id);
    }
    Ok(())
}

pub(super) async fn roles(names: &[String], if_exists: bool, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    for name in names {
        let found = ctx.change.snapshot().role(name).cloned();
        super::role::check_drop(found.as_deref(), ctx)?;
        let Some(role) = found else {
            if if_exists {
                ctx.notice(format!("role \"{name}\" does not exist, skipping"));
                continue;
            }
            return Err(SqlError::new(SqlState::UndefinedObject, format!("role \"{name}\" does not exist")));
        };
        if role.id < FIRST_USER_ID {
            let message = format!("cannot drop role {name} because it is required by the database system");
            return Err(SqlError::new(SqlState::DependentObjectsStillExist, message));
        }
        if role.id == ctx.user {
            return Err(SqlError::new(SqlState::ObjectInUse, "current user cannot be dropped"));
        }
        let databases: Vec<u32> = ctx.change.snapshot().databases().map(|database| database.id).collect();
        let large_objects = crate::large_object::reasons(ctx.txn, &databases, role.id).await?;
        super::owned::check_free(role.id, name, &large_objects, ctx)?;
        super::owned::forget(role.id, ctx);
        ctx.change.remove(ctx.txn, role.id);
    }
    Ok(())
}

/// New storage under the same table: as quick for a large table as for an empty one, and transactional.
pub(super) async fn truncate(
    tables: &[Arc<Table>],
    restart: bool,
    cascade: bool,
    ctx: &mut DdlContext<'_>,
) -> SqlResult<()> {
    let named: Vec<u32> = tables.iter().map(|table| table.id).collect();
    let mut ids = partition::with_descendants(&named, ctx.change.snapshot());
    let mut at = 0;
    while at < ids.len() {
        let table = ctx.table(ids[at])?;
        at += 1;
        let above = ctx.change.snapshot().ancestors_of(&table);
        let referring = table.referenced_by.iter().chain(above.iter().flat_map(|above| &above.referenced_by));
        for from in referring.copied().collect::<Vec<_>>() {
            if ids.contains(&from) {
                continue;
            }
            let from = ctx.table(from)?;
            if !cascade {
                return Err(SqlError::not_supported("cannot truncate a table referenced in a foreign key constraint")
                    .with_detail(format!("Table \"{}\" references \"{}\".", from.name, table.name))
                    .with_hint(format!(
                        "Truncate table \"{}\" at the same time, or use TRUNCATE ... CASCADE.",
                        from.name
                    )));
            }
            ctx.notice(format!("truncate cascades to table \"{}\"", from.name));
            let new = partition::with_descendants(&[from.id], ctx.change.snapshot());
            ids.extend(new.into_iter().filter(|id| !named.contains(id)));
        }
    }
    for id in ids {
        let table = ctx.table(id)?;
        ctx.garbage.push(table_span(&table));
        let storage = ctx.new_ids(1).await?;
        let mut changed = (*table).clone();
        changed.storage = storage;
        ctx.put_table(changed);
        if restart {
            for id in owned_sequences(table.id, ctx) {
                let Some(Relation::Sequence(sequence)) = ctx.change.snapshot().relation_by_id(id).cloned() else {
                    continue;
                };
                crate::sequence::set_value(&sequence, sequence.start, false, ctx.store.db()).await?;
                // The same descriptor again, so that sessions see the catalog move.
                ctx.change.put(ctx.txn, Descriptor::Sequence((*sequence).clone()));
            }
        }
    }
    Ok(())
}
