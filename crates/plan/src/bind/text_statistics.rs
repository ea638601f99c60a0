//! `ts_stat` in FROM: how often lexemes are in the vectors of a query.
//!
//! `ts_stat('SELECT v FROM docs')` is a query over `SELECT v FROM docs`, whose text must be known when the statement is bound.

use sqlparser::ast;
use types::text_search::Weight;
use types::{SqlError, SqlResult, SqlState};

use crate::parse::{Body, parse};

/// The query that a call stands for; none where it is no such call.
pub(super) fn query(function: &str, args: &[ast::FunctionArg]) -> Option<SqlResult<ast::Query>> {
    if function != "ts_stat" {
        return None;
    }
    let texts: Option<Vec<&str>> = args.iter().map(literal).collect();
    match texts?.as_slice() {
        [vectors] => Some(statistics(vectors, None)),
        [vectors, weights] => Some(statistics(vectors, Some(weights))),
        _ => None,
    }
}

fn literal(arg: &ast::FunctionArg) -> Option<&str> {
    let ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(ast::Expr::Value(value))) = arg else { return None };
    match &value.value {
        ast::Value::SingleQuotedString(text) => Some(text),
        _ => None,
    }
}

fn one_query(text: &str) -> SqlResult<ast::Query> {
    let mut statements = parse(text)?;
    match (statements.pop().map(|statement| statement.body), statements.is_empty()) {
        (Some(Body::Standard(ast::Statement::Query(query))), true) => Ok(*query),
        _ => Err(SqlError::new(SqlState::InvalidParameterValue, "ts_stat query must return one tsvector column")),
    }
}

fn statistics(vectors: &str, weights: Option<&str>) -> SqlResult<ast::Query> {
    one_query(vectors)?;
    let vectors = vectors.trim().trim_end_matches(';');
    let (count, filter) = match weights {
        None => ("CASE WHEN l.positions IS NULL THEN 1 ELSE pg_catalog.cardinality(l.positions) END".to_owned(), ""),
        Some(letters) => {
            let letters: Vec<String> =
                letters.chars().filter_map(Weight::from_letter).map(|weight| format!("'{}'", weight.letter())).collect();
            let list = if letters.is_empty() { "NULL".to_owned() } else { letters.join(", ") };
            (format!("(SELECT count(*) FROM pg_catalog.unnest(l.weights) AS w(letter) WHERE w.letter IN ({list}))"), " WHERE u.n > 0")
        }
    };
    one_query(&format!(
        "SELECT u.lexeme AS word, count(*)::pg_catalog.int4 AS ndoc, sum(u.n)::pg_catalog.int4 AS nentry \
         FROM (SELECT l.lexeme, {count} AS n FROM ({vectors}\n) AS q(v), pg_catalog.unnest(q.v) AS l) AS u{filter} GROUP BY u.lexeme"
    ))
}
