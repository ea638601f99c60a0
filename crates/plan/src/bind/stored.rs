//! Expressions that the catalog keeps as text: defaults, generated columns, checks, predicates of partial indexes.

use std::sync::Arc;

use catalog::{ColumnDefault, Table, descriptor::TEMPORARY_PREFIX};
use types::{CastContext, Datum, SqlError, SqlResult, SqlType, stack::deep};

use super::domain::{absent_value, without_domains};
use super::{Binder, Clause};
use crate::PlanContext;
use crate::expr::{Expr, SequenceOp};
use crate::plan::RowRules;
use crate::scope::{Level, Range, RangeColumn, RowOf, Scope};

/// A stored expression over `table.columns`.
///
/// # Errors
/// As for any expression; the text of a new one is checked this way.
pub fn bind_stored_expr(sql_text: &str, table: &Table, context: &PlanContext<'_>) -> SqlResult<Expr> {
    stored(sql_text, table, context, Clause::Check, |binder, bound| binder.settle_text(bound))
}

/// A condition over `table.columns`.
pub(super) fn stored_condition(sql_text: &str, table: &Table, context: &PlanContext<'_>) -> SqlResult<Expr> {
    let bound = stored(sql_text, table, context, Clause::Check, |binder, bound| binder.condition(bound, "CHECK"))?;
    without_subquery(bound, "check constraint")
}

pub(super) fn without_subquery(bound: Expr, place: &str) -> SqlResult<Expr> {
    if bound.has_subquery() {
        return Err(SqlError::not_supported(format!("cannot use subquery in {place}")));
    }
    Ok(bound)
}

/// An expression over a row of the table, assigned to a column of this name and type.
///
/// # Errors
/// 42804 where no assignment cast leads to the type, and as for any expression.
pub fn bind_assigned(
    sql_text: &str,
    table: &Table,
    name: &str,
    ty: SqlType,
    context: &PlanContext<'_>,
) -> SqlResult<Expr> {
    stored(sql_text, table, context, Clause::Default, |binder, bound| binder.assign(bound, name, ty))
}

/// The value of a column: the expression, assigned to the column's type.
pub(super) fn stored_value(sql_text: &str, table: &Table, position: usize, context: &PlanContext<'_>) -> SqlResult<Expr> {
    let column = &table.columns[position];
    let clause = match &column.default {
        Some(ColumnDefault::Stored(_)) if column.hidden => Clause::IndexExpression,
        Some(ColumnDefault::Stored(_)) => Clause::Generated,
        _ => Clause::Default,
    };
    stored(sql_text, table, context, clause, |binder, bound| binder.assign(bound, &column.name, column.declared()))
}

/// The names of a row as it is stored.
pub(crate) fn stored_range(table: &Table) -> Range {
    let columns = table.columns.iter().enumerate().map(|(at, column)| RangeColumn {
        name: column.name.clone(),
        expr: Expr::Column(at, column.declared()),
        hidden: column.hidden,
    });
    Range { name: table.name.clone(), schema: None, table: None, catalog_oid: None, columns: columns.collect(), row_of: RowOf::Nothing }
}

pub(super) fn stored(
    sql_text: &str,
    table: &Table,
    context: &PlanContext<'_>,
    clause: Clause,
    finish: impl FnOnce(&mut Binder<'_>, Expr) -> SqlResult<Expr>,
) -> SqlResult<Expr> {
    let path = path_of(table.schema, context);
    let context = PlanContext { search_path: &path, depends_on: None, variables: None, ..*context };
    let noted = context.notes.needs.mark();
    let bound = bind_over(Binder::new(&context, None), sql_text, table, clause, finish);
    context.notes.needs.forget_lookups_since(noted);
    let mut bound = bound?;
    without_domains(&mut bound);
    Ok(bound)
}

/// The search path for what an object's stored text names: its own schema first, whatever session reads it. Only what is
/// temporary itself names what is temporary.
pub(super) fn path_of(schema: u32, context: &PlanContext<'_>) -> Vec<String> {
    let own = context.catalog.schema_by_id(schema).map(|schema| schema.name.clone());
    let others = context.search_path.iter().filter(|name| !name.starts_with(TEMPORARY_PREFIX));
    own.into_iter().chain(others.cloned()).collect()
}

/// An expression whose constants stay as they were written; `ty`: what an undetermined literal is.
pub(crate) fn bind_as_written(
    sql_text: &str,
    table: &Table,
    ty: Option<SqlType>,
    context: &PlanContext<'_>,
) -> SqlResult<Expr> {
    let path = path_of(table.schema, context);
    let context = PlanContext { search_path: &path, depends_on: None, variables: None, ..*context };
    let mut binder = Binder::new(&context, None);
    binder.keeps_form = true;
    bind_over(binder, sql_text, table, Clause::Check, |binder, bound| match ty {
        Some(ty) => binder.settle(bound, ty.without_typmod(), CastContext::Assignment),
        None => binder.settle_text(bound),
    })
}

/// A view's query to be shown, in the view's context; `None` when it is of a form that is not.
pub(crate) fn bind_query_as_written(
    query: &sqlparser::ast::Query,
    context: &PlanContext<'_>,
) -> SqlResult<Option<super::ShownQuery>> {
    let mut binder = Binder::new(context, None);
    binder.keeps_form = true;
    binder.shown_query(query)
}

fn bind_over(
    mut binder: Binder<'_>,
    sql_text: &str,
    table: &Table,
    clause: Clause,
    finish: impl FnOnce(&mut Binder<'_>, Expr) -> SqlResult<Expr>,
) -> SqlResult<Expr> {
    deep(|| {
        let expr = crate::parse::parse_expr(sql_text)?;
        let level = Level::default();
        let scope = Scope::of_range(&level, stored_range(table));
        binder.with_frame(clause, |binder| {
            let bound = binder.expr(&expr, &scope)?;
            finish(binder, bound)
        })
    })
}

/// What a key column of an index holds: a column of the row, or what is computed from it.
pub(crate) fn key_expr(table: &Table, position: usize, context: &PlanContext<'_>) -> SqlResult<Expr> {
    let column = &table.columns[position];
    match &column.default {
        Some(ColumnDefault::Stored(text)) if column.hidden => bind_stored_expr(text, table, context),
        _ => Ok(Expr::Column(position, column.ty)),
    }
}

/// What a column is when nothing is given for it; generated columns are NULL until their rule is applied.
///
/// # Errors
/// As for any expression; the default was bound when it was made, so only what it names may be missing.
pub fn column_default(table: &Table, position: usize, context: &PlanContext<'_>) -> SqlResult<Expr> {
    let column = &table.columns[position];
    match &column.default {
        None if column.hidden && table.table_oid_position() == Some(position) => Ok(Expr::Const(Datum::Null, column.ty)),
        None if column.hidden => Ok(Expr::RowId),
        None | Some(ColumnDefault::Stored(_)) => absent_value(table, position, context),
        Some(ColumnDefault::Identity { sequence, .. }) => {
            let args = vec![Expr::Const(Datum::Int(i64::from(*sequence)), SqlType::RegClass)];
            let next = Expr::Sequence { op: SequenceOp::NextIdentity, args };
            let mut value = Binder::new(context, None).assign(next, &column.name, column.declared())?;
            without_domains(&mut value);
            Ok(value)
        }
        Some(ColumnDefault::Expr(text)) => {
            let bound = stored_value(text, table, position, context)?;
            if bound.any(&mut |expr| matches!(expr, Expr::Column(..))) {
                return Err(SqlError::not_supported("cannot use column reference in DEFAULT expression"));
            }
            without_subquery(bound, "DEFAULT expression")
        }
    }
}

/// What every row of the table must pass.
///
/// # Errors
/// As [`column_default`].
pub fn row_rules(table: &Table, context: &PlanContext<'_>) -> SqlResult<Arc<RowRules>> {
    let mut rules = RowRules::default();
    for (position, column) in table.columns.iter().enumerate() {
        if let Some(ColumnDefault::Stored(text)) = &column.default {
            let bound = stored_value(text, table, position, context)?;
            rules.generated.push((position, without_subquery(bound, "column generation expression")?));
        }
    }
    for check in &table.checks {
        rules.checks.push((check.name.clone(), stored_condition(&check.expr, table, context)?));
    }
    for index in &table.indexes {
        let predicate = index.predicate.as_deref();
        rules.predicates.push(predicate.map(|text| stored_condition(text, table, context)).transpose()?);
    }
    rules.references = (0..table.foreign_keys.len()).collect();
    rules.referenced_by.extend(super::partition::references_to(table, context));
    super::partition::add_rules(table, &mut rules, context)?;
    rules.triggers = super::trigger::trigger_rules(table, context)?.map(Arc::new);
    Ok(Arc::new(rules))
}
