//! INSERT, UPDATE and DELETE, and expressions that the catalog keeps as text.

use catalog::Table;
use sqlparser::ast;
use types::{SqlError, SqlResult};

use super::{Binder, Clause};
use crate::PlanContext;
use crate::expr::Expr;
use crate::logical::Rel;
use crate::scope::{Level, Range, RangeColumn, Scope};

impl Binder<'_> {
    /// INSERT, UPDATE or DELETE, on its own or in WITH.
    pub(super) fn change(&mut self, statement: &ast::Statement, _level: &Level<'_>) -> SqlResult<Rel> {
        Err(SqlError::not_supported(format!("{statement} is not supported yet")))
    }
}

/// The columns of a table as a scope of their own: what its stored expressions are written over.
pub(super) fn stored_scope<'s>(table: &Table, level: &'s Level<'s>) -> Scope<'s> {
    let columns = table.columns.iter().enumerate().map(|(at, column)| RangeColumn {
        name: column.name.clone(),
        expr: Expr::Column(at, column.ty),
        hidden: column.hidden,
    });
    let range = Range { name: table.name.clone(), schema: None, table: None, columns: columns.collect() };
    Scope::of_range(level, range)
}

/// A default, check or predicate from its stored text, over `table.columns`.
pub fn bind_stored_expr(sql_text: &str, table: &Table, context: &PlanContext<'_>) -> SqlResult<Expr> {
    let expr = crate::parse::parse_expr(sql_text)?;
    let mut binder = Binder::new(context, None);
    let level = Level::default();
    let scope = stored_scope(table, &level);
    binder.with_frame(Clause::Check, |binder| {
        let bound = binder.expr(&expr, &scope)?;
        binder.settle_text(bound)
    })
}
