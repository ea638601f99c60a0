//! DECLARE, FETCH, MOVE and CLOSE.

use std::sync::Arc;

use sqlparser::ast;
use types::{SqlError, SqlResult};

use super::utility;
use crate::{
    PlanContext,
    bind::fold,
    parse::{Body, ParsedStatement},
    parse_cursor,
    statement::{PreparedPlan, Scroll, StatementKind, Utility},
};

/// DECLARE name CURSOR FOR query.
pub(super) fn declare(
    declared: &[ast::Declare],
    statement: &ParsedStatement,
    context: &PlanContext<'_>,
) -> SqlResult<PreparedPlan> {
    let [ast::Declare { names, for_query: Some(query), scroll, hold, binary, .. }] = declared else {
        return Err(super::syntax("DECLARE declares one cursor"));
    };
    let [name] = &names[..] else { return Err(super::syntax("DECLARE declares one cursor")) };
    let inner = ParsedStatement { body: Body::Standard(ast::Statement::Query(query.clone())), ..statement.clone() };
    let plan = crate::plan_statement(&inner, context)?;
    if matches!(plan.kind, StatementKind::Query { writes: true, .. }) {
        return Err(SqlError::not_supported("DECLARE CURSOR must not contain data-modifying statements in WITH"));
    }
    let scroll = match scroll {
        None => Scroll::IfSmall,
        Some(true) => Scroll::Yes,
        Some(false) => Scroll::No,
    };
    let params = plan.params.clone();
    let declare = Utility::DeclareCursor {
        name: fold(name),
        plan: Arc::new(plan),
        hold: *hold == Some(true),
        scroll,
        binary: *binary == Some(true),
    };
    let mut out = utility(declare, "DECLARE CURSOR", context);
    out.params = params;
    Ok(out)
}

pub(super) fn fetch(
    name: &ast::Ident,
    direction: &ast::FetchDirection,
    position: &ast::FetchPosition,
    context: &PlanContext<'_>,
) -> SqlResult<PreparedPlan> {
    let move_only = matches!(position, ast::FetchPosition::In);
    let direction = parse_cursor::from_ast(direction)?;
    let tag = if move_only { "MOVE" } else { "FETCH" };
    Ok(utility(Utility::Fetch { name: fold(name), direction, move_only }, tag, context))
}

pub(super) fn close(cursor: &ast::CloseCursor, context: &PlanContext<'_>) -> PreparedPlan {
    let (name, tag) = match cursor {
        ast::CloseCursor::All => (None, "CLOSE CURSOR ALL"),
        ast::CloseCursor::Specific { name } => (Some(fold(name)), "CLOSE CURSOR"),
    };
    utility(Utility::CloseCursor(name), tag, context)
}
