//! TABLESAMPLE: a condition on the rows of a table, of its own.
//!
//! Both of PostgreSQL's methods take each row by itself: there are no pages of a heap that SYSTEM could take whole. With
//! REPEATABLE the choice follows from the seed and the primary key of a row.

use std::sync::Arc;

use catalog::Table;
use sqlparser::ast;
use types::{CastContext, SqlError, SqlResult, SqlState, SqlType};

use super::from::Item;
use super::{Binder, Clause};
use crate::expr::Expr;
use crate::logical::{Rel, RelNode};
use crate::scope::{Level, Scope};

fn unknown_method(name: &str) -> SqlError {
    SqlError::new(SqlState::UndefinedObject, format!("tablesample method {name} does not exist"))
}

/// The percentage, and the seed if there is one.
fn parts(sample: &ast::TableSample) -> SqlResult<(&ast::Expr, Option<ast::Expr>)> {
    use ast::TableSampleMethod as Method;
    let quantity = sample.quantity.as_ref().filter(|_| sample.bucket.is_none() && sample.offset.is_none());
    let syntax = || SqlError::new(SqlState::SyntaxError, "TABLESAMPLE is not understood");
    let quantity = quantity.filter(|quantity| quantity.unit.is_none()).ok_or_else(syntax)?;
    match (&sample.name, &quantity.value) {
        (Some(Method::Bernoulli | Method::System), _) if quantity.parenthesized => {}
        (Some(Method::Row), _) => return Err(unknown_method("row")),
        (Some(Method::Block), _) => return Err(unknown_method("block")),
        (None, ast::Expr::Function(call)) if !quantity.parenthesized => {
            return Err(unknown_method(&call.name.to_string().to_lowercase()));
        }
        _ => return Err(syntax()),
    }
    let seed = sample.seed.as_ref().map(|seed| ast::Expr::Value(seed.value.clone()));
    Ok((&quantity.value, seed))
}

/// The table whose rows these are, with all of its columns.
fn table_of(rel: &Rel) -> Option<&Arc<Table>> {
    match &rel.node {
        RelNode::Table { table, .. } => Some(table),
        RelNode::Filter { input, .. } => table_of(input),
        RelNode::Barrier(input) => table_of(input),
        _ => None,
    }
}

impl Binder<'_> {
    /// The rows of an item of FROM that its TABLESAMPLE keeps.
    pub(super) fn sampled<'s>(
        &mut self,
        item: Item<'s>,
        sample: &ast::TableSample,
        level: &'s Level<'s>,
    ) -> SqlResult<Item<'s>> {
        let Some(table) = table_of(&item.rel).cloned() else {
            let message = "TABLESAMPLE clause can only be applied to tables and materialized views";
            return Err(SqlError::not_supported(message));
        };
        let (percent, seed) = parts(sample)?;
        let scope = Scope::empty(level);
        let percent = self.with_frame(Clause::FromFunction, |binder| binder.expr(percent, &scope))?;
        let mut args = vec![self.coerce(percent, SqlType::Float4, CastContext::Assignment)?];
        match seed {
            None => args.push(Expr::Const(types::Datum::Null, SqlType::Float8)),
            Some(seed) => {
                let seed = self.with_frame(Clause::FromFunction, |binder| binder.expr(&seed, &scope))?;
                args.push(self.coerce(seed, SqlType::Float8, CastContext::Assignment)?);
                for column in &table.primary().columns {
                    let at = table.columns.iter().position(|known| known.id == column.column);
                    args.extend(at.map(|at| Expr::Column(at, item.rel.columns[at].ty)));
                }
            }
        }
        let predicate = self.function_call(builtins::SAMPLE_KEEPS, args)?;
        let columns = item.rel.columns.clone();
        let rel = Rel { node: RelNode::Filter { input: Box::new(item.rel), predicate }, columns };
        Ok(Item { rel, ..item })
    }
}
