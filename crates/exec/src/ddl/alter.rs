//! ALTER.

use std::sync::Arc;

use catalog::{
    ColumnDefault, Descriptor, Relation, Role, Table,
    row::{EntryReader, IndexCodec},
};
use kv::{Read, ScanOptions, See};
use plan::statement::{AlterTable, RoleOptions, SequenceOptions};
use types::{Datum, SqlError, SqlResult, SqlState};

use super::{
    DdlContext, build_column, build_index, create::{bind_all, build_check}, index_name, index_span, new_sequence,
};
use crate::{
    error::{from_entry, from_kv},
    eval::{EvalScope, eval_row},
};

/// Entries for every row of the table, in an index that is new; duplicates are 23505.
pub(super) async fn fill_index(table: &Arc<Table>, index: usize, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let codec = IndexCodec::new(table, &table.indexes[index]);
    let predicate = match &table.indexes[index].predicate {
        Some(text) => Some((ctx.bind)(text, table, ctx.change)?),
        None => None,
    };
    let mut last: Option<keys::Key> = None;
    let mut entries = Vec::new();
    for_each_row(table, ctx, |row, scope| {
        if let Some(predicate) = &predicate
            && eval_row(predicate, row, scope)?.as_bool() != Some(true)
        {
            return Ok(());
        }
        let (key, value) = codec.encode(row);
        entries.push((key, value, row.to_vec()));
        Ok(())
    })
    .await?;
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    let writer = crate::row_write::TableWriter::new(table, &plan::plan::RowRules::default());
    for (key, value, row) in entries {
        if last.as_ref() == Some(&key) {
            let error = writer.violation(index, &row);
            let name = &table.indexes[index].name;
            return Err(SqlError::new(SqlState::UniqueViolation, format!("could not create unique index \"{name}\""))
                .with_detail(error.into_fields().detail.unwrap_or_default().replace("already exists", "is duplicated")));
        }
        ctx.txn.put(key.clone(), value);
        last = Some(key);
    }
    ctx.txn.check_size().map_err(from_kv)
}

async fn for_each_row(
    table: &Arc<Table>,
    ctx: &mut DdlContext<'_>,
    mut each: impl FnMut(&[Datum], &EvalScope<'_>) -> SqlResult<()>,
) -> SqlResult<()> {
    let all: Vec<usize> = (0..table.columns.len()).collect();
    let reader = EntryReader::new(table, table.primary(), &all);
    let mut rest = Some(IndexCodec::new(table, table.primary()).span());
    let formatting = types::Formatting::default();
    let eval = builtins::EvalContext {
        transaction_timestamp: 0,
        statement_timestamp: 0,
        formatting: &formatting,
        host: &builtins::NoHost,
        catalog: &builtins::NoCatalog,
    };
    let scope = EvalScope { params: &[], outer: &[], eval: &eval };
    while let Some(span) = rest {
        let read = Read { see: See::Now, ..Read::default() };
        let options = ScanOptions { read, max_rows: 4096, ..ScanOptions::default() };
        let page = ctx.txn.scan(&span, options).await.map_err(from_kv)?;
        rest = page.resume;
        for (key, value) in page.rows.iter() {
            let mut row = vec![Datum::Null; all.len()];
            reader.read_datums(key, value, &mut row).map_err(from_entry)?;
            each(&row, &scope)?;
        }
    }
    Ok(())
}

pub(super) async fn table(table: &Arc<Table>, actions: &[AlterTable], ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    for action in actions {
        let current = ctx.table(table.id)?;
        one(&current, action, ctx).await?;
    }
    Ok(())
}

fn no_column(table: &Table, name: &str) -> SqlError {
    SqlError::new(
        SqlState::UndefinedColumn,
        format!("column \"{name}\" of relation \"{}\" does not exist", table.name),
    )
}

async fn one(table: &Arc<Table>, action: &AlterTable, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let mut changed = (**table).clone();
    let position = |name: &str| table.column_named(name).map(|(at, _)| at).ok_or_else(|| no_column(table, name));
    match action {
        AlterTable::AddColumn { column, indexes, checks, if_not_exists } => {
            if changed.column_named(&column.name).is_some() {
                if *if_not_exists {
                    ctx.notice(format!(
                        "column \"{}\" of relation \"{}\" already exists, skipping",
                        column.name, table.name
                    ));
                    return Ok(());
                }
                return Err(SqlError::new(
                    SqlState::DuplicateColumn,
                    format!("column \"{}\" of relation \"{}\" already exists", column.name, table.name),
                ));
            }
            let mut made = build_column(&mut changed, column, &mut Vec::new(), ctx).await?;
            let nullable = made.nullable;
            let constant = match &made.default {
                Some(ColumnDefault::Expr(text)) => {
                    let bound = (ctx.bind)(text, table, ctx.change)?;
                    constant_value(&bound, &made.ty)?
                }
                _ => None,
            };
            if let Some(value) = &constant {
                made.missing = value.clone();
            }
            let needs_rewrite = made.default.is_some() && constant.is_none();
            changed.columns.push(made);
            for spec in checks {
                let oid = ctx.new_ids(1).await?;
                let check = build_check(&changed, spec, oid);
                changed.checks.push(check);
            }
            ctx.put_table(changed);
            let now = ctx.table(table.id)?;
            bind_all(&now, ctx)?;
            let mut row_count = 0_u64;
            for_each_row(&now, ctx, |_, _| {
                row_count += 1;
                Ok(())
            })
            .await?;
            if needs_rewrite && row_count > 0 {
                return Err(SqlError::not_supported("adding a column with a default that is not constant to a table with rows"));
            }
            if !nullable && constant.is_none() && row_count > 0 {
                return Err(SqlError::new(
                    SqlState::NotNullViolation,
                    format!("column \"{}\" of relation \"{}\" contains null values", column.name, table.name),
                ));
            }
            for spec in indexes {
                super::create::index(&now, spec, false, ctx).await?;
            }
        }
        AlterTable::DropColumn { name, if_exists, .. } => {
            let Some((at, column)) = table.column_named(name) else {
                if *if_exists {
                    ctx.notice(format!("column \"{name}\" of relation \"{}\" does not exist, skipping", table.name));
                    return Ok(());
                }
                return Err(no_column(table, name));
            };
            let id = column.id;
            if table.primary().columns.iter().any(|key| key.column == id) {
                return Err(SqlError::not_supported("dropping a column of the primary key"));
            }
            for index in table.indexes.iter().filter(|index| {
                index.columns.iter().any(|key| key.column == id) || index.included.contains(&id)
            }) {
                ctx.garbage.push(index_span(table, index.id));
            }
            changed.indexes.retain(|index| {
                !index.columns.iter().any(|key| key.column == id) && !index.included.contains(&id)
            });
            changed.checks.retain(|check| !check.columns.contains(&id));
            changed.columns.remove(at);
            ctx.put_table(changed);
        }
        AlterTable::SetDefault { column, expr } => {
            let at = position(column)?;
            changed.columns[at].default = expr.clone().map(ColumnDefault::Expr);
            ctx.put_table(changed);
        }
        AlterTable::SetNotNull { column } => {
            let at = position(column)?;
            let mut has_null = false;
            for_each_row(table, ctx, |row, _| {
                has_null |= row[at].is_null();
                Ok(())
            })
            .await?;
            if has_null {
                return Err(SqlError::new(
                    SqlState::NotNullViolation,
                    format!("column \"{column}\" of relation \"{}\" contains null values", table.name),
                ));
            }
            changed.columns[at].nullable = false;
            ctx.put_table(changed);
        }
        AlterTable::DropNotNull { column } => {
            let at = position(column)?;
            let id = table.columns[at].id;
            if table.primary().columns.iter().any(|key| key.column == id) {
                return Err(SqlError::new(
                    SqlState::InvalidTableDefinition,
                    format!("column \"{column}\" is in a primary key"),
                ));
            }
            changed.columns[at].nullable = true;
            ctx.put_table(changed);
        }
        AlterTable::SetType { column, ty, using } => {
            let at = position(column)?;
            let old = table.columns[at].ty;
            // Widening changes no stored byte; anything else would rewrite the table.
            let widens = old.same_base(ty) || (old.is_integer() && ty.is_integer() && old.typlen() <= ty.typlen());
            if !widens || using.is_some() {
                return Err(SqlError::not_supported(format!("changing column \"{column}\" from {old} to {ty}")));
            }
            changed.columns[at].ty = *ty;
            ctx.put_table(changed);
        }
        AlterTable::DropIdentity { column, .. } => {
            let at = position(column)?;
            if let Some(ColumnDefault::Identity { sequence, .. }) = changed.columns[at].default.take() {
                ctx.change.remove(ctx.txn, sequence);
            }
            ctx.put_table(changed);
        }
        AlterTable::AddIdentity { column, always, options } => {
            let at = position(column)?;
            let id = ctx.new_ids(1).await?;
            let name = ctx.free_name(table.schema, &[&table.name, column, "seq"], &[]);
            let owned = Some((table.id, table.columns[at].id));
            let options = SequenceOptions { ty: Some(table.columns[at].ty), ..options.clone() };
            let made = new_sequence(id, table.schema, name, table.owner, &options, owned)?;
            ctx.change.put(ctx.txn, Descriptor::Sequence(made));
            changed.columns[at].default = Some(ColumnDefault::Identity { sequence: id, always: *always });
            ctx.put_table(changed);
        }
        AlterTable::AddIndex(spec) if spec.primary => add_primary_key(table, spec, ctx).await?,
        AlterTable::AddIndex(spec) => super::create::index(table, spec, false, ctx).await?,
        AlterTable::AddCheck(spec) => {
            let oid = ctx.new_ids(1).await?;
            let check = build_check(&changed, spec, oid);
            let (name, text) = (check.name.clone(), check.expr.clone());
            changed.checks.push(check);
            ctx.put_table(changed);
            let now = ctx.table(table.id)?;
            bind_all(&now, ctx)?;
            let bound = (ctx.bind)(&text, &now, ctx.change)?;
            let mut violated = false;
            for_each_row(&now, ctx, |row, scope| {
                violated |= eval_row(&bound, row, scope)?.as_bool() == Some(false);
                Ok(())
            })
            .await?;
            if violated {
                return Err(SqlError::new(
                    SqlState::CheckViolation,
                    format!("check constraint \"{name}\" of relation \"{}\" is violated by some row", table.name),
                ));
            }
        }
        AlterTable::DropConstraint { name, if_exists, .. } => {
            if let Some(at) = changed.checks.iter().position(|check| check.name == *name) {
                changed.checks.remove(at);
            } else if let Some(at) =
                changed.indexes.iter().position(|index| index.constraint.is_some() && index.name == *name)
            {
                if at == 0 {
                    return Err(SqlError::not_supported("dropping a primary key"));
                }
                ctx.garbage.push(index_span(table, changed.indexes[at].id));
                changed.indexes.remove(at);
            } else if *if_exists {
                ctx.notice(format!("constraint \"{name}\" of relation \"{}\" does not exist, skipping", table.name));
                return Ok(());
            } else {
                return Err(SqlError::new(
                    SqlState::UndefinedObject,
                    format!("constraint \"{name}\" of relation \"{}\" does not exist", table.name),
                ));
            }
            ctx.put_table(changed);
        }
        AlterTable::RenameColumn { from, to } => {
            let at = position(from)?;
            if table.column_named(to).is_some() {
                return Err(SqlError::new(
                    SqlState::DuplicateColumn,
                    format!("column \"{to}\" of relation \"{}\" already exists", table.name),
                ));
            }
            let id = table.columns[at].id;
            let in_text = table.checks.iter().any(|check| check.columns.contains(&id))
                || table.indexes.iter().any(|index| index.predicate.is_some())
                || table.columns.iter().any(|column| matches!(column.default, Some(ColumnDefault::Stored(_))));
            if in_text {
                return Err(SqlError::not_supported("renaming a column that a check, predicate or generated column may name"));
            }
            changed.columns[at].name.clone_from(to);
            ctx.put_table(changed);
        }
        AlterTable::RenameConstraint { from, to } => {
            if let Some(check) = changed.checks.iter_mut().find(|check| check.name == *from) {
                check.name.clone_from(to);
            } else if let Some(index) =
                changed.indexes.iter_mut().find(|index| index.constraint.is_some() && index.name == *from)
            {
                index.name.clone_from(to);
            } else {
                return Err(SqlError::new(
                    SqlState::UndefinedObject,
                    format!("constraint \"{from}\" for table \"{}\" does not exist", table.name),
                ));
            }
            ctx.put_table(changed);
        }
        AlterTable::RenameTo(to) => rename_relation(table.id, to, ctx)?,
        AlterTable::SetSchema(schema) => {
            ctx.check_name_free(*schema, &table.name)?;
            changed.schema = *schema;
            ctx.put_table(changed);
        }
        AlterTable::OwnerTo(name) => {
            let role = ctx.change.snapshot().role(name).cloned().ok_or_else(|| {
                SqlError::new(SqlState::UndefinedObject, format!("role \"{name}\" does not exist"))
            })?;
            changed.owner = role.id;
            ctx.put_table(changed);
        }
        AlterTable::SplitAt(rows) => {
            let codec = IndexCodec::new(table, table.primary());
            for row in rows {
                if row.is_empty() || row.len() > codec.key_len() {
                    return Err(SqlError::new(
                        SqlState::InvalidParameterValue,
                        format!("a split point of \"{}\" has 1 to {} values", table.name, codec.key_len()),
                    ));
                }
                let mut key = codec.prefix().to_vec();
                for (place, datum) in row.iter().enumerate() {
                    codec.put_key_column(&mut key, place, datum);
                }
                ctx.splits.push(key.into());
            }
        }
        AlterTable::Accepted => {}
    }
    Ok(())
}

/// A table's rows move under their new key; the hidden row id goes.
async fn add_primary_key(
    table: &Arc<Table>,
    spec: &plan::statement::IndexSpec,
    ctx: &mut DdlContext<'_>,
) -> SqlResult<()> {
    if table.has_declared_primary_key() {
        return Err(SqlError::new(
            SqlState::InvalidTableDefinition,
            format!("multiple primary keys for table \"{}\" are not allowed", table.name),
        ));
    }
    let ids = ctx.new_ids(3).await?;
    let mut changed = (**table).clone();
    let hidden = table.columns.iter().position(|column| column.hidden);
    for wanted in &spec.columns {
        let Some(column) = changed.columns.iter_mut().find(|column| column.name == wanted.name) else {
            return Err(no_column(table, &wanted.name));
        };
        column.nullable = false;
    }
    let name = index_name(spec, table, &[], ctx);
    ctx.check_name_free(table.schema, &name)?;
    let spec = plan::statement::IndexSpec { constraint: true, ..spec.clone() };
    let primary = build_index(&mut changed, &spec, name, ids, ids + 1)?;
    changed.indexes[0] = primary;
    // New storage: every entry is under another key, and the old ones are garbage when this commits.
    changed.storage = ids + 2;
    if let Some(hidden) = hidden {
        changed.columns.remove(hidden);
    }
    let mut rows = Vec::new();
    for_each_row(table, ctx, |row, _| {
        let mut row = row.to_vec();
        if let Some(hidden) = hidden {
            row.remove(hidden);
        }
        rows.push(row);
        Ok(())
    })
    .await?;
    ctx.garbage.push(super::table_span(table));
    ctx.put_table(changed);
    let now = ctx.table(table.id)?;
    let writer = crate::row_write::TableWriter::new(&now, &plan::plan::RowRules::default());
    let codecs: Vec<IndexCodec> = now.indexes.iter().map(|index| IndexCodec::new(&now, index)).collect();
    let mut seen = std::collections::HashSet::with_capacity(rows.len());
    for row in rows {
        if let Some(position) = codecs[0].key_positions().find(|&position| row[position].is_null()) {
            return Err(SqlError::new(
                SqlState::NotNullViolation,
                format!("column \"{}\" of relation \"{}\" contains null values", now.columns[position].name, now.name),
            ));
        }
        if !seen.insert(codecs[0].encode_key(&row)) {
            let detail = writer.violation(0, &row).into_fields().detail.unwrap_or_default();
            return Err(SqlError::new(
                SqlState::UniqueViolation,
                format!("could not create unique index \"{}\"", now.primary().name),
            )
            .with_detail(detail.replace("already exists", "is duplicated")));
        }
        for codec in &codecs {
            let (key, value) = codec.encode(&row);
            ctx.txn.put(key, value);
        }
        ctx.txn.flush_if_large().await.map_err(from_kv)?;
    }
    Ok(())
}

/// The value of an expression that needs no row and no session.
fn constant_value(expr: &plan::Expr, ty: &types::SqlType) -> SqlResult<Option<Datum>> {
    match expr {
        plan::Expr::Const(datum, from) => {
            let formatting = types::Formatting::default();
            types::cast(datum.clone(), from, ty, types::CastContext::Assignment, &formatting).map(Some)
        }
        _ => Ok(None),
    }
}

pub(super) async fn sequence(id: u32, options: &SequenceOptions, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let Some(Relation::Sequence(old)) = ctx.change.snapshot().relation_by_id(id).cloned() else {
        return Err(SqlError::new(SqlState::UndefinedTable, format!("sequence with OID {id} does not exist")));
    };
    let merged = SequenceOptions {
        ty: options.ty.or(Some(old.ty)),
        start: options.start.or(Some(old.start)),
        increment: options.increment.or(Some(old.increment)),
        min: options.min.or(Some(Some(old.min))),
        max: options.max.or(Some(Some(old.max))),
        cache: options.cache.or(Some(old.cache)),
        cycle: options.cycle.or(Some(old.cycle)),
        owned_by: None,
        restart: None,
    };
    let mut made = new_sequence(id, old.schema, old.name.clone(), old.owner, &merged, old.owned_by)?;
    match &options.owned_by {
        None => {}
        Some(None) => made.owned_by = None,
        Some(Some((table, column))) => {
            let table = ctx.table(*table)?;
            let (_, column) = table.column_named(column).ok_or_else(|| no_column(&table, column))?;
            made.owned_by = Some((table.id, column.id));
        }
    }
    if let Some(restart) = options.restart {
        crate::sequence::set_value(&made, restart.unwrap_or(made.start), false, ctx.store.db()).await?;
    }
    ctx.change.put(ctx.txn, Descriptor::Sequence(made));
    Ok(())
}

pub(super) fn rename_relation(id: u32, to: &str, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let Some(relation) = ctx.change.snapshot().relation_by_id(id).cloned() else { return Ok(()) };
    ctx.check_name_free(relation.schema(), to)?;
    let renamed = match relation {
        Relation::Table(it) => Descriptor::Table(Table { name: to.into(), ..(*it).clone() }),
        Relation::View(it) => Descriptor::View(catalog::View { name: to.into(), ..(*it).clone() }),
        Relation::Sequence(it) => Descriptor::Sequence(catalog::Sequence { name: to.into(), ..(*it).clone() }),
    };
    ctx.change.put(ctx.txn, renamed);
    Ok(())
}

pub(super) fn rename_index(table: &Arc<Table>, oid: u32, to: &str, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let table = ctx.table(table.id)?;
    ctx.check_name_free(table.schema, to)?;
    let mut changed = (*table).clone();
    for index in changed.indexes.iter_mut().filter(|index| index.oid == oid) {
        index.name = to.into();
    }
    ctx.put_table(changed);
    Ok(())
}

pub(super) fn rename_database(name: &str, to: &str, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let Some(database) = ctx.change.snapshot().database(name).cloned() else {
        return Err(SqlError::new(SqlState::InvalidCatalogName, format!("database \"{name}\" does not exist")));
    };
    if ctx.change.snapshot().database(to).is_some() {
        return Err(SqlError::new(SqlState::DuplicateDatabase, format!("database \"{to}\" already exists")));
    }
    ctx.change.put(ctx.txn, Descriptor::Database(catalog::Database { name: to.into(), ..(*database).clone() }));
    Ok(())
}

pub(super) fn rename_schema(name: &str, to: &str, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let Some(schema) = ctx.change.snapshot().schema(ctx.database, name).cloned() else {
        return Err(SqlError::new(SqlState::InvalidSchemaName, format!("schema \"{name}\" does not exist")));
    };
    if ctx.change.snapshot().schema(ctx.database, to).is_some() {
        return Err(SqlError::new(SqlState::DuplicateSchema, format!("schema \"{to}\" already exists")));
    }
    ctx.change.put(ctx.txn, Descriptor::Schema(catalog::Schema { name: to.into(), ..(*schema).clone() }));
    Ok(())
}

pub(super) fn role(name: &str, options: &RoleOptions, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let Some(old) = ctx.change.snapshot().role(name).cloned() else {
        return Err(SqlError::new(SqlState::UndefinedObject, format!("role \"{name}\" does not exist")));
    };
    let role = Role {
        superuser: options.superuser.unwrap_or(old.superuser),
        login: options.login.unwrap_or(old.login),
        create_db: options.create_db.unwrap_or(old.create_db),
        create_role: options.create_role.unwrap_or(old.create_role),
        ..(*old).clone()
    };
    ctx.change.put(ctx.txn, Descriptor::Role(role));
    Ok(())
}

pub(super) fn comment(
    relation: u32,
    column: Option<&str>,
    text: Option<&str>,
    ctx: &mut DdlContext<'_>,
) -> SqlResult<()> {
    // Comments of columns have no place to be kept yet; they are accepted.
    if column.is_some() {
        return Ok(());
    }
    match ctx.change.snapshot().relation_by_id(relation).cloned() {
        Some(Relation::Table(it)) => {
            ctx.put_table(Table { comment: text.map(str::to_owned), ..(*it).clone() });
        }
        Some(Relation::View(it)) => {
            let view = catalog::View { comment: text.map(str::to_owned), ..(*it).clone() };
            ctx.change.put(ctx.txn, Descriptor::View(view));
        }
        Some(Relation::Sequence(_)) | None => {}
    }
    Ok(())
}
