//! DO.

use ::types::{SqlError, SqlResult, SqlState};
use sqlparser::ast;

use super::utility;
use crate::{
    PlanContext,
    bind::fold,
    parse::{ParsedStatement, own::BodyText, position_of},
    statement::{PreparedPlan, RoutineBody, Utility},
};

fn body(body: &BodyText, parsed: &ParsedStatement) -> RoutineBody {
    let offset = body.at.map(|(start, quotes)| position_of(&parsed.source, start) - 1 + quotes);
    RoutineBody { text: body.text.as_str().into(), offset }
}

pub(super) fn no_language(name: &str) -> SqlError {
    let error = SqlError::new(SqlState::UndefinedObject, format!("language \"{name}\" does not exist"));
    match name {
        "plperl" | "plperlu" | "plpython3u" | "pltcl" | "pltclu" | "plpythonu" => {
            error.with_hint("Use CREATE EXTENSION to load the language into the database.")
        }
        _ => error,
    }
}

pub(super) fn do_block(
    language: Option<&ast::Ident>,
    text: &BodyText,
    parsed: &ParsedStatement,
    context: &PlanContext<'_>,
) -> SqlResult<PreparedPlan> {
    match language.map_or_else(|| "plpgsql".to_owned(), fold).as_str() {
        "plpgsql" => Ok(utility(Utility::Do(body(text, parsed)), "DO", context)),
        name @ ("sql" | "c" | "internal") => {
            let message = format!("language \"{name}\" does not support inline code execution");
            Err(SqlError::not_supported(message))
        }
        name => Err(no_language(name)),
    }
}
