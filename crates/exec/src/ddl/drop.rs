//! DROP and TRUNCATE.

use std::sync::Arc;

use catalog::{ColumnDefault, Descriptor, Relation, Table};
use keys::ColumnId;
use plan::statement::RelationKind;
use types::{SqlError, SqlResult, SqlState};

use super::{
    DdlContext,
    constraint::{drop_foreign_keys, release_references},
    index_span, relation_kind, table_span,
};

fn depends(name: &str, kind: &str, dependent: &str) -> SqlError {
    SqlError::new(
        SqlState::DependentObjectsStillExist,
        format!("cannot drop {kind} {name} because other objects depend on it"),
    )
    .with_detail(format!("{dependent} depends on {kind} {name}"))
    .with_hint("Use DROP ... CASCADE to drop the dependent objects too.")
}

pub(super) fn relations(
    ids: &[u32],
    missing: &[String],
    cascade: bool,
    kind: RelationKind,
    ctx: &mut DdlContext<'_>,
) -> SqlResult<()> {
    let what = match kind {
        RelationKind::Table => "table",
        RelationKind::View => "view",
        RelationKind::Sequence => "sequence",
    };
    for name in missing {
        ctx.notice(format!("{what} \"{name}\" does not exist, skipping"));
    }
    for id in ids {
        drop_relation(*id, ids, cascade, ctx)?;
    }
    Ok(())
}

fn drop_relation(id: u32, together: &[u32], cascade: bool, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let Some(relation) = ctx.change.snapshot().relation_by_id(id).cloned() else { return Ok(()) };
    // Views over it.
    let dependents: Vec<(u32, String)> = ctx
        .change
        .snapshot()
        .relations()
        .filter_map(|other| match other {
            Relation::View(view) if view.depends_on.contains(&id) => Some((view.id, view.name.clone())),
            _ => None,
        })
        .filter(|(view, _)| !together.contains(view))
        .collect();
    for (view, name) in dependents {
        if !cascade {
            return Err(depends(relation.name(), relation_kind(&relation), &format!("view {name}")));
        }
        ctx.notice(format!("drop cascades to view {name}"));
        drop_relation(view, together, true, ctx)?;
    }
    match &relation {
        Relation::Table(table) => {
            let what = format!("table {}", table.name);
            let alone: Vec<u32> = table.referenced_by.iter().copied().filter(|from| !together.contains(from)).collect();
            let others = Table { referenced_by: alone, ..(**table).clone() };
            release_references(&others, &what, &what, cascade, ctx, |_| true)?;
            drop_foreign_keys(table.id, |_| true, ctx)?;
            ctx.garbage.push(table_span(table));
            for sequence in owned_sequences(table.id, ctx) {
                ctx.change.remove(ctx.txn, sequence);
            }
        }
        Relation::Sequence(sequence) => {
            let users: Vec<Arc<Table>> = ctx
                .change
                .snapshot()
                .relations()
                .filter_map(|other| match other {
                    Relation::Table(table) => Some(table.clone()),
                    _ => None,
                })
                .filter(|table| table.columns.iter().any(|column| uses_sequence(column.default.as_ref(), sequence.id, &sequence.name)))
                .collect();
            for table in users {
                if !cascade {
                    return Err(depends(&sequence.name, "sequence", &format!("default value for a column of table {}", table.name)));
                }
                let mut changed = (*table).clone();
                for column in &mut changed.columns {
                    if uses_sequence(column.default.as_ref(), sequence.id, &sequence.name) {
                        column.default = None;
                    }
                }
                ctx.put_table(changed);
            }
        }
        Relation::View(_) => {}
    }
    ctx.change.remove(ctx.txn, id);
    Ok(())
}

fn uses_sequence(default: Option<&ColumnDefault>, id: u32, name: &str) -> bool {
    match default {
        Some(ColumnDefault::Identity { sequence, .. }) => *sequence == id,
        Some(ColumnDefault::Expr(text)) => text.contains(&format!("nextval('{name}'")),
        Some(ColumnDefault::Stored(_)) | None => false,
    }
}

pub(super) fn owned_sequences(table: u32, ctx: &DdlContext<'_>) -> Vec<u32> {
    ctx.change
        .snapshot()
        .relations()
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
        ctx.garbage.push(index_span(&table, index.id));
        let mut changed = (*table).clone();
        changed.indexes.retain(|index| index.oid != *oid);
        drop_unused_computed(&mut changed);
        ctx.put_table(changed);
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
    for id in &relations {
        drop_relation(*id, &relations, true, ctx)?;
    }
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
    Ok(())
}

pub(super) fn schemas(names: &[String], if_exists: bool, cascade: bool, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
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
            .relations()
            .filter(|relation| relation.schema() == schema.id)
            .map(|relation| (relation.id(), format!("{} {}", relation_kind(relation), relation.name())))
            .collect();
        if let (false, Some((_, first))) = (cascade, inside.first()) {
            return Err(depends(name, "schema", first));
        }
        let ids: Vec<u32> = inside.iter().map(|(id, _)| *id).collect();
        for id in &ids {
            drop_relation(*id, &ids, true, ctx)?;
        }
        ctx.change.remove(ctx.txn, schema.id);
    }
    Ok(())
}

pub(super) fn roles(names: &[String], if_exists: bool, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    for name in names {
        let Some(role) = ctx.change.snapshot().role(name).cloned() else {
            if if_exists {
                ctx.notice(format!("role \"{name}\" does not exist, skipping"));
                continue;
            }
            return Err(SqlError::new(SqlState::UndefinedObject, format!("role \"{name}\" does not exist")));
        };
        if role.id == ctx.user {
            return Err(SqlError::new(SqlState::ObjectInUse, "current user cannot be dropped"));
        }
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
    let mut ids: Vec<u32> = tables.iter().map(|table| table.id).collect();
    let mut at = 0;
    while at < ids.len() {
        let table = ctx.table(ids[at])?;
        at += 1;
        for from in table.referenced_by.iter().filter(|from| !ids.contains(from)).copied().collect::<Vec<_>>() {
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
            ids.push(from.id);
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
