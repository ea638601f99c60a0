//! Expressions that the catalog keeps as text: defaults, generated columns, checks, predicates of partial indexes.

use catalog::{ColumnDefault, Table};
use types::{CastContext, Datum, SqlResult, SqlType};

use super::{Binder, Clause};
use crate::PlanContext;
use crate::expr::{Expr, SequenceOp};
use crate::plan::RowRules;
use crate::scope::{Level, Range, RangeColumn, Scope};

/// A stored expression over `table.columns`.
///
/// # Errors
/// As for any expression; the text of a new one is checked this way.
pub fn bind_stored_expr(sql_text: &str, table: &Table, context: &PlanContext<'_>) -> SqlResult<Expr> {
    stored(sql_text, table, context, Clause::Check, |binder, bound| binder.settle_text(bound))
}

/// A condition over `table.columns`.
fn stored_condition(sql_text: &str, table: &Table, context: &PlanContext<'_>) -> SqlResult<Expr> {
    stored(sql_text, table, context, Clause::Check, |binder, bound| binder.condition(bound, "CHECK"))
}

/// The value of a column: the expression, assigned to the column's type.
fn stored_value(sql_text: &str, table: &Table, position: usize, context: &PlanContext<'_>) -> SqlResult<Expr> {
    let column = &table.columns[position];
    stored(sql_text, table, context, Clause::Default, |binder, bound| binder.assign(bound, &column.name, column.ty))
}

fn stored(
    sql_text: &str,
    table: &Table,
    context: &PlanContext<'_>,
    clause: Clause,
    finish: impl FnOnce(&mut Binder<'_>, Expr) -> SqlResult<Expr>,
) -> SqlResult<Expr> {
    bind_over(Binder::new(context, None), sql_text, table, clause, finish)
}

/// An expression whose constants stay as they were written; `ty`: what an undetermined literal is.
pub(crate) fn bind_as_written(
    sql_text: &str,
    table: &Table,
    ty: Option<SqlType>,
    context: &PlanContext<'_>,
) -> SqlResult<Expr> {
    let mut binder = Binder::new(context, None);
    binder.keeps_form = true;
    bind_over(binder, sql_text, table, Clause::Check, |binder, bound| match ty {
        Some(ty) => binder.settle(bound, ty.without_typmod(), CastContext::Assignment),
        None => binder.settle_text(bound),
    })
}

fn bind_over(
    mut binder: Binder<'_>,
    sql_text: &str,
    table: &Table,
    clause: Clause,
    finish: impl FnOnce(&mut Binder<'_>, Expr) -> SqlResult<Expr>,
) -> SqlResult<Expr> {
    let expr = crate::parse::parse_expr(sql_text)?;
    let level = Level::default();
    let columns = table.columns.iter().enumerate().map(|(at, column)| RangeColumn {
        name: column.name.clone(),
        expr: Expr::Column(at, column.ty),
        hidden: column.hidden,
    });
    let range = Range { name: table.name.clone(), schema: None, table: None, catalog_oid: None, columns: columns.collect() };
    let scope = Scope::of_range(&level, range);
    binder.with_frame(clause, |binder| {
        let bound = binder.expr(&expr, &scope)?;
        finish(binder, bound)
    })
}

/// What a column is when nothing is given for it; generated columns are NULL until their rule is applied.
pub(crate) fn column_default(table: &Table, position: usize, context: &PlanContext<'_>) -> SqlResult<Expr> {
    let column = &table.columns[position];
    match &column.default {
        _ if column.hidden => Ok(Expr::RowId),
        None | Some(ColumnDefault::Stored(_)) => Ok(Expr::Const(Datum::Null, column.ty)),
        Some(ColumnDefault::Identity { sequence, .. }) => {
            let args = vec![Expr::Const(Datum::Int(i64::from(*sequence)), SqlType::RegClass)];
            let next = Expr::Sequence { op: SequenceOp::NextVal, args };
            Binder::new(context, None).assign(next, &column.name, column.ty)
        }
        Some(ColumnDefault::Expr(text)) => stored_value(text, table, position, context),
    }
}

/// What every row of the table must pass.
pub(crate) fn row_rules(table: &Table, context: &PlanContext<'_>) -> SqlResult<RowRules> {
    let mut rules = RowRules::default();
    for (position, column) in table.columns.iter().enumerate() {
        if let Some(ColumnDefault::Stored(text)) = &column.default {
            rules.generated.push((position, stored_value(text, table, position, context)?));
        }
    }
    for check in &table.checks {
        rules.checks.push((check.name.clone(), stored_condition(&check.expr, table, context)?));
    }
    for index in &table.indexes {
        let predicate = index.predicate.as_deref();
        rules.predicates.push(predicate.map(|text| stored_condition(text, table, context)).transpose()?);
    }
    Ok(rules)
}
