//! What a routine's body asks of planning besides statements: types by their names, and whether a text can be parsed.

use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;
use sqlparser::ast;
use types::{SqlError, SqlResult, SqlState, SqlType};

use crate::bind::{bind_type, find_type, no_relation, relation_columns};
use crate::statement::{PreparedPlan, StatementKind, Utility};
use crate::{Ddl, Expr, Node, ParsedStatement, PlanContext, parse};

/// The type that a text names: built in, made by a user, or the rows of a table.
///
/// # Errors
/// 42704 when there is no such type, 42601 when the text names none.
pub fn type_named(text: &str, context: &PlanContext<'_>) -> SqlResult<SqlType> {
    let refused = || {
        let message = format!("syntax error at or near \"{}\"", text.split_whitespace().next().unwrap_or_default());
        SqlError::new(SqlState::SyntaxError, message).with_position(1)
    };
    let dialect = PostgreSqlDialect {};
    let mut parser = Parser::new(&dialect).try_with_sql(text).map_err(|_| refused())?;
    let name = parser.parse_data_type().map_err(|_| refused())?;
    if parser.peek_token().token != Token::EOF {
        return Err(refused());
    }
    no_domain(bind_type(&name, context)?)
}

/// What parameters, results and variables may be: a domain's rules are not checked where they are assigned to.
///
/// # Errors
/// 0A000 for a domain, and arrays of one.
pub(crate) fn no_domain(ty: SqlType) -> SqlResult<SqlType> {
    if !ty.is_domain() {
        return Ok(ty);
    }
    let message = format!("parameters, results and variables of domain {} are not supported", ty.base_name());
    let hint = format!("Use {}: values are checked where they are written to a column of the domain.", ty.base().base_name());
    Err(SqlError::not_supported(message).with_hint(hint))
}

fn split<'n>(names: &'n [String]) -> SqlResult<(Option<&'n str>, &'n str)> {
    match names {
        [name] => Ok((None, name)),
        [schema, name] | [_, schema, name] => Ok((Some(schema), name)),
        _ => {
            let message = format!("improper qualified name (too many dotted names): {}", names.join("."));
            Err(SqlError::new(SqlState::SyntaxError, message))
        }
    }
}

/// The type of `table.column`.
///
/// # Errors
/// 42P01 and 42703 for what is not there.
pub fn column_type(names: &[String], context: &PlanContext<'_>) -> SqlResult<SqlType> {
    let Some((column, table)) = names.split_last().filter(|(_, table)| !table.is_empty()) else {
        let name = names.join(".");
        return Err(SqlError::new(SqlState::UndefinedTable, format!("relation \"{name}\" does not exist")));
    };
    let (schema, table) = split(table)?;
    let columns = relation_columns(context, schema, table)?.ok_or_else(|| no_relation(schema, table))?;
    let found = columns.into_iter().find(|(name, _)| name == column);
    found.map(|(_, ty)| ty).ok_or_else(|| {
        let message = format!("column \"{column}\" of relation \"{table}\" does not exist");
        SqlError::new(SqlState::UndefinedColumn, message)
    })
}

/// The type of a relation's rows.
///
/// # Errors
/// 42P01.
pub fn row_type(names: &[String], context: &PlanContext<'_>) -> SqlResult<SqlType> {
    let (schema, table) = split(names)?;
    let parts = names.iter().map(|name| ast::Ident::with_quote('"', name.as_str())).collect::<Vec<_>>();
    let found = find_type(&ast::ObjectName::from(parts), context)?;
    found.filter(|ty| matches!(ty, SqlType::Composite(_))).ok_or_else(|| no_relation(schema, table))
}

/// What a statement does, as a routine's body must know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    Select,
    SelectInto,
    Insert,
    Update,
    Delete,
    Merge,
    Call,
    Copy,
    Transaction,
    Other,
}

/// What a statement does.
#[must_use]
pub fn what_it_does(statement: &ParsedStatement, plan: &PreparedPlan) -> Does {
    match &plan.kind {
        StatementKind::Query { .. } => match plan.tag {
            "INSERT" => Does::Insert,
            "UPDATE" => Does::Update,
            "DELETE" => Does::Delete,
            "MERGE" => Does::Merge,
            _ => Does::Select,
        },
        StatementKind::Ddl(ddl) => match &**ddl {
            Ddl::CreateTable(create) if create.source.is_some() && statement.is_select_into() => Does::SelectInto,
            _ => Does::Other,
        },
        StatementKind::Utility(utility) => match &**utility {
            Utility::Begin(_)
            | Utility::Commit { .. }
            | Utility::Rollback { .. }
            | Utility::Savepoint(_)
            | Utility::ReleaseSavepoint(_)
            | Utility::RollbackTo(_) => Does::Transaction,
            Utility::CopyFrom { .. } | Utility::CopyTo { .. } => Does::Copy,
            Utility::Call(_) => Does::Call,
            _ => Does::Other,
        },
        StatementKind::Empty => Does::Other,
    }
}

/// The one expression that a query without FROM consists of.
#[must_use]
pub fn only_expression(plan: &PreparedPlan) -> Option<&Expr> {
    let StatementKind::Query { plan: root, writes: false } = &plan.kind else { return None };
    match (&root.node, plan.ctes.is_empty()) {
        (Node::Project { input, exprs }, true) if matches!(input.node, Node::Unit) => match exprs.as_slice() {
            [only] => Some(only),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a text is one statement, or what may stand after SELECT.
///
/// # Errors
/// 42601 with the position in the text.
pub fn check_syntax(text: &str, is_expression: bool) -> SqlResult<()> {
    const BEFORE: &str = "SELECT ";
    if !is_expression {
        return parse(text).map(drop);
    }
    parse(&format!("{BEFORE}{text}")).map(drop).map_err(|error| moved_back(error, BEFORE.len()))
}

/// An error in a text that some characters were put before.
#[must_use]
pub fn moved_back(error: SqlError, by: usize) -> SqlError {
    match error.position {
        Some(position) if position > by => error.with_position(position - by),
        _ => error,
    }
}
