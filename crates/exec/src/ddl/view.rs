//! CREATE and ALTER of views, REFRESH of materialized ones, and what becomes of views where something else is renamed.

use std::sync::Arc;

use catalog::privilege::ObjectKind;
use catalog::{Descriptor, Materialized, Relation, Table, View, ViewDetails, descriptor::TEMPORARY_PREFIX};
use plan::statement::{AlterView, Home, Refresh};
use types::{SqlError, SqlResult, SqlState, SqlType};

use super::{DdlContext, is_index, table_span};

/// A view that is replaced keeps its columns; new ones come after them.
fn check_replacement(old: &[(String, SqlType)], new: &[(String, SqlType)]) -> SqlResult<()> {
    let refuse = |message: String| Err(SqlError::new(SqlState::InvalidTableDefinition, message));
    if new.len() < old.len() {
        return refuse("cannot drop columns from view".into());
    }
    for ((old_name, old_type), (new_name, new_type)) in old.iter().zip(new) {
        if old_name != new_name {
            let message = format!("cannot change name of view column \"{old_name}\" to \"{new_name}\"");
            return Err(SqlError::new(SqlState::InvalidTableDefinition, message)
                .with_hint("Use ALTER VIEW ... RENAME COLUMN ... to change name of view column instead."));
        }
        if old_type != new_type {
            return refuse(format!("cannot change data type of view column \"{old_name}\" from {old_type} to {new_type}"));
        }
    }
    Ok(())
}

pub(super) async fn create(
    mut home: Home,
    spec: &View,
    or_replace: bool,
    ctx: &mut DdlContext<'_>,
) -> SqlResult<()> {
    let name = &spec.name;
    let is_temporary = |id: &u32| {
        let snapshot = ctx.change.snapshot();
        snapshot.relation_by_id(*id).is_some_and(|relation| snapshot.is_temporary(relation.schema()))
    };
    if home != Home::Temporary && spec.depends_on.iter().any(is_temporary) {
        home = Home::Temporary;
        ctx.notice(format!("view \"{name}\" will be a temporary view"));
    }
    let names_temporary = home == Home::Temporary;
    let schema = ctx.schema_of(home).await?;
    let existing = ctx.change.snapshot().name_owner(schema, name);
    // What is temporary is named by temporary views alone.
    let path = spec.path.iter().filter(|name| names_temporary || !name.starts_with(TEMPORARY_PREFIX)).cloned().collect();
    let mut texts = None;
    let made = View { schema, owner: ctx.user, path, ..spec.clone() };
    let view = match (existing, ctx.change.snapshot().relation(schema, name)) {
        (None, _) => {
            ctx.check_type_name_free(schema, name)?;
            let id = ctx.new_ids(1).await?;
            ctx.grant_defaults(id, ObjectKind::Table, schema, made.owner);
            View { id, ..made }
        }
        (Some(_), Some(Relation::View(view))) if or_replace => {
            check_replacement(&view.columns, &spec.columns)?;
            let added: Vec<SqlType> = spec.columns[view.columns.len()..].iter().map(|(_, ty)| *ty).collect();
            super::composites::check_parts(view.id, &view.name, &added, ctx)?;
            texts = Some(super::composites::KeptTexts::of(view.id, ctx)).filter(|_| !added.is_empty());
            let View { id, owner, comment, comments, details, .. } = View::clone(view);
            let ViewDetails { names, options, literals, .. } = made.details.clone();
            let details = ViewDetails { names, options, literals, ..details };
            View { id, owner, comment, comments, details, ..made }
        }
        (Some(_), Some(_)) if or_replace => {
            return Err(SqlError::new(SqlState::WrongObjectType, format!("\"{name}\" is not a view")));
        }
        (Some(owner), _) => {
            let what = if is_index(owner) { "index" } else { "relation" };
            return Err(SqlError::new(SqlState::DuplicateTable, format!("{what} \"{name}\" already exists")));
        }
    };
    ctx.change.put(ctx.txn, Descriptor::View(view));
    texts.map_or(Ok(()), |texts| texts.check(&format!("view \"{name}\""), ctx))
}

pub(super) fn alter(id: u32, change: &AlterView, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let Some(Relation::View(view)) = ctx.change.snapshot().relation_by_id(id).cloned() else { return Ok(()) };
    let mut changed = View::clone(&view);
    match change {
        AlterView::RenameColumn { from, to } => {
            let at = view.columns.iter().position(|(name, _)| name == from).ok_or_else(|| {
                SqlError::new(SqlState::UndefinedColumn, format!("column \"{from}\" does not exist"))
            })?;
            if view.columns.iter().any(|(name, _)| name == to) {
                let message = format!("column \"{to}\" of relation \"{}\" already exists", view.name);
                return Err(SqlError::new(SqlState::DuplicateColumn, message));
            }
            changed.columns[at].0.clone_from(to);
            let texts = changed.details.triggers.iter_mut().filter_map(|trigger| trigger.condition.as_mut());
            texts.for_each(|text| *text = plan::rename_in_condition(text, from, to));
        }
        AlterView::SetDefault { column, text } => {
            changed.details.defaults.retain(|(known, _)| known != column);
            changed.details.defaults.extend(text.clone().map(|text| (*column, text)));
            changed.details.defaults.sort();
        }
        AlterView::SetOptions(options) => changed.details.options = *options,
    }
    let is_renamed = matches!(change, AlterView::RenameColumn { .. });
    let texts = is_renamed.then(|| super::composites::KeptTexts::of(id, ctx));
    ctx.change.put(ctx.txn, Descriptor::View(changed));
    texts.map_or(Ok(()), |texts| texts.check(&format!("view \"{}\"", view.name), ctx))
}

/// Makes room for the rows that REFRESH brings; the table that they go to, if any come. CONCURRENTLY they go to where the
/// others are.
pub(super) async fn refresh(refresh: &Refresh, ctx: &mut DdlContext<'_>) -> SqlResult<Option<Arc<Table>>> {
    let table = ctx.table(refresh.table.id)?;
    let Some(made) = table.materialized.as_deref() else {
        let message = format!("\"{}\" is not a materialized view", table.name);
        return Err(SqlError::new(SqlState::WrongObjectType, message));
    };
    if refresh.concurrently {
        return Ok(Some(table));
    }
    ctx.garbage.push(table_span(&table));
    let made = Materialized { is_populated: refresh.source.is_some(), ..made.clone() };
    let changed = Table { storage: ctx.new_ids(1).await?, materialized: Some(Arc::new(made)), ..Table::clone(&table) };
    ctx.put_table(changed);
    ctx.table(table.id).map(|table| refresh.source.is_some().then_some(table))
}

/// A schema's new name in the search paths that views were made under.
pub(super) fn rename_schema(from: &str, to: &str, ctx: &mut DdlContext<'_>) {
    let is_named = |path: &[String]| path.iter().any(|name| name == from);
    let renamed = |path: &[String]| path.iter().map(|name| if name == from { to } else { name }.to_owned()).collect();
    let mut changed = Vec::new();
    for relation in ctx.change.snapshot().relations_of(ctx.database) {
        match relation {
            Relation::View(view) if is_named(&view.path) => {
                changed.push(Descriptor::View(View { path: renamed(&view.path), ..View::clone(view) }));
            }
            Relation::Table(table) => {
                let Some(made) = table.materialized.as_deref().filter(|made| is_named(&made.path)) else { continue };
                let made = Materialized { path: renamed(&made.path), ..made.clone() };
                changed.push(Descriptor::Table(Table { materialized: Some(Arc::new(made)), ..Table::clone(table) }));
            }
            Relation::View(_) | Relation::Sequence(_) => {}
        }
    }
    changed.into_iter().for_each(|descriptor| ctx.change.put(ctx.txn, descriptor));
}
