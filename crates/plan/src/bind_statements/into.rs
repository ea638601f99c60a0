//! SELECT … INTO: CREATE TABLE AS in an older dress.

use sqlparser::ast::{self, helpers::stmt_create_table::CreateTableBuilder};
use types::{SqlError, SqlResult, SqlState};

use super::create;
use crate::{PlanContext, parse::ParsedStatement, statement::PreparedPlan};

/// Whether the first SELECT of a query names a table to make.
pub(crate) fn is_into(body: &ast::SetExpr) -> bool {
    match body {
        ast::SetExpr::Select(select) => select.into.is_some(),
        ast::SetExpr::SetOperation { left, .. } => is_into(left),
        _ => false,
    }
}

fn take_into(body: &mut ast::SetExpr) -> Option<ast::SelectInto> {
    match body {
        ast::SetExpr::Select(select) => select.into.take(),
        ast::SetExpr::SetOperation { left, .. } => take_into(left),
        _ => None,
    }
}

pub(crate) fn select_into(
    query: &ast::Query,
    statement: &ParsedStatement,
    context: &PlanContext<'_>,
) -> SqlResult<PreparedPlan> {
    let mut query = query.clone();
    let into = take_into(&mut query.body).ok_or_else(|| SqlError::internal("a query without INTO"))?;
    let name = match &into.targets[..] {
        [ast::Expr::Identifier(name)] => ast::ObjectName::from(vec![name.clone()]),
        [ast::Expr::CompoundIdentifier(names)] => ast::ObjectName::from(names.clone()),
        targets => {
            let at = targets.last().map(ToString::to_string).unwrap_or_default();
            return Err(SqlError::new(SqlState::SyntaxError, format!("syntax error at or near \"{at}\"")));
        }
    };
    let create = CreateTableBuilder::new(name).temporary(into.temporary).query(Some(Box::new(query))).build();
    create::table(&create, &statement.extras, context)
}
