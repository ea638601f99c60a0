//! Where in the statement an error is: at the operator that does not exist, at the literal that could not be read, else at
//! the start of the expression.

use sqlparser::ast::{self, Spanned};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};
use types::{SqlError, SqlState};

use super::{Binder, is_of_length};
use super::expr::unnested;

/// What an error is about.
enum Cause {
    /// The operator or the cast.
    Operator,
    /// A value that was given as text.
    Value,
    Other,
}

fn cause(error: &SqlError) -> Cause {
    match error.code() {
        SqlState::UndefinedFunction | SqlState::AmbiguousFunction | SqlState::CannotCoerce => Cause::Operator,
        SqlState::InvalidTextRepresentation
        | SqlState::InvalidDatetimeFormat
        | SqlState::DatetimeFieldOverflow
        | SqlState::NumericValueOutOfRange
        | SqlState::InvalidParameterValue => Cause::Value,
        _ => Cause::Other,
    }
}

/// A literal whose type something else decides.
fn is_text(expr: &ast::Expr) -> bool {
    matches!(
        unnested(expr),
        ast::Expr::Value(ast::ValueWithSpan {
            value: ast::Value::SingleQuotedString(_) | ast::Value::EscapedStringLiteral(_) | ast::Value::DollarQuotedString(_),
            ..
        })
    )
}

fn first_text<'a>(mut exprs: impl Iterator<Item = &'a ast::Expr>) -> Option<&'a ast::Expr> {
    exprs.find(|expr| is_text(expr)).map(unnested)
}

/// The literals that an expression consists of.
fn text_of(expr: &ast::Expr) -> Option<&ast::Expr> {
    match expr {
        ast::Expr::BinaryOp { left, right, .. } => first_text([&**right, &**left].into_iter()),
        ast::Expr::Cast { expr, .. } => first_text(std::iter::once(&**expr)),
        ast::Expr::InList { list, .. } => first_text(list.iter()),
        ast::Expr::Between { low, high, .. } => first_text([&**low, &**high].into_iter()),
        ast::Expr::Function(function) => {
            let ast::FunctionArguments::List(list) = &function.args else { return None };
            first_text(list.args.iter().filter_map(|arg| match arg {
                ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr))
                | ast::FunctionArg::Named { arg: ast::FunctionArgExpr::Expr(expr), .. } => Some(expr),
                ast::FunctionArg::Unnamed(_) | ast::FunctionArg::Named { .. } | ast::FunctionArg::ExprNamed { .. } => None,
            }))
        }
        _ => None,
    }
}

/// Where in a text one of some words stands between two places.
fn between(text: &str, from: Location, to: Location, words: &[&str]) -> Option<usize> {
    if from.line == 0 || to.line == 0 || from > to {
        return None;
    }
    let (from, to) = (crate::parse::position_of(text, from), crate::parse::position_of(text, to));
    let start = text.char_indices().nth(from - 1)?.0;
    let part: String = text[start..].chars().take(to.saturating_sub(from)).collect::<String>().to_ascii_lowercase();
    let found = words.iter().filter_map(|word| part.find(word)).min()?;
    Some(from + part[..found].chars().count())
}

impl Binder<'_> {
    /// Puts the place that an error is about into it, if it has none yet.
    pub(super) fn at_cause(&self, error: SqlError, expr: &ast::Expr) -> SqlError {
        let Some(source) = &self.source else { return error };
        if error.position.is_some() || error.code() == SqlState::StatementTooComplex || is_of_length(&error) {
            return error;
        }
        let position = match (cause(&error), expr) {
            (Cause::Operator, ast::Expr::BinaryOp { left, op, right }) => {
                let symbol = op.to_string().to_ascii_lowercase();
                let words = [symbol.as_str(), "operator", if symbol == "<>" { "!=" } else { symbol.as_str() }];
                between(source, left.span().end, right.span().start, &words)
            }
            (Cause::Operator, ast::Expr::Cast { kind: ast::CastKind::DoubleColon, expr, .. }) => {
                let start = expr.span().end;
                between(source, start, Location::new(start.line + 1, 1), &["::"])
            }
            (Cause::Value, expr) => text_of(expr).and_then(|text| crate::parse::node_position(source, text)),
            (Cause::Operator | Cause::Other, _) => None,
        };
        match position {
            Some(position) => error.with_position(position),
            None => self.at(error, expr),
        }
    }
}

/// The clauses of a SELECT, as far as columns in them have to be grouped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Clauses {
    /// The outputs, HAVING, ORDER BY.
    Grouped,
    /// FROM, WHERE, GROUP BY.
    Others,
}

/// Where in a SELECT a column stands outside of aggregates, by its name or with that of its range before it.
fn column_place(source: &str, start: Location, range: Option<&str>, column: &str) -> Option<usize> {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, source).tokenize_with_location().ok()?;
    let tokens: Vec<&TokenWithSpan> = tokens
        .iter()
        .filter(|token| token.span.start >= start && !matches!(token.token, Token::Whitespace(_) | Token::EOF))
        .collect();
    let word = |at: usize| match tokens.get(at).map(|token| &token.token) {
        Some(Token::Word(word)) => Some(match word.quote_style {
            Some(_) => word.value.clone(),
            None => word.value.to_ascii_lowercase(),
        }),
        _ => None,
    };
    let is = |at: usize, wanted: &Token| tokens.get(at).is_some_and(|token| token.token == *wanted);
    let mut clause = Clauses::Grouped;
    // Of the parentheses around, which belong to aggregates.
    let mut around: Vec<bool> = Vec::new();
    for at in 0..tokens.len() {
        match &tokens[at].token {
            Token::LParen => {
                let called = at.checked_sub(1).and_then(word).filter(|_| is(at, &Token::LParen));
                around.push(called.is_some_and(|name| !builtins::aggregates(&name).is_empty()));
            }
            Token::RParen if around.pop().is_none() => return None,
            Token::SemiColon => return None,
            Token::Word(found) => {
                if around.is_empty() && found.quote_style.is_none() {
                    clause = match found.keyword {
                        Keyword::FROM | Keyword::WHERE | Keyword::GROUP => Clauses::Others,
                        Keyword::HAVING | Keyword::ORDER => Clauses::Grouped,
                        Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT if at > 0 => return None,
                        _ => clause,
                    };
                }
                let is_alone = !is(at + 1, &Token::LParen) && !(at > 0 && is(at - 1, &Token::Period));
                let after_as = at > 0 && matches!(&tokens[at - 1].token, Token::Word(word) if word.keyword == Keyword::AS);
                if clause == Clauses::Others || around.contains(&true) || !is_alone || after_as {
                    continue;
                }
                let is_qualified = is(at + 1, &Token::Period);
                let names_it = match word(at) {
                    Some(name) if is_qualified => Some(name.as_str()) == range && word(at + 2).as_deref() == Some(column),
                    Some(name) => name == column,
                    None => false,
                };
                if names_it {
                    return Some(crate::parse::position_of(source, tokens[at].span.start));
                }
            }
            _ => {}
        }
    }
    None
}

impl Binder<'_> {
    /// Puts the place of a function of FROM into the error that there is none such.
    pub(super) fn at_function(&self, error: SqlError, name: &ast::ObjectName) -> SqlError {
        match error.code() {
            SqlState::UndefinedFunction | SqlState::AmbiguousFunction => self.at(error, name),
            _ => error,
        }
    }

    /// Puts the place of the parenthesis before a query into an error.
    pub(super) fn at_parenthesis(&self, error: SqlError, query: &ast::Query) -> SqlError {
        let Some(source) = &self.source else { return error };
        let Some(start) = crate::parse::node_position(source, query) else { return error };
        let before: String = source.chars().take(start - 1).collect();
        let is_values = matches!(*query.body, ast::SetExpr::Values(_));
        // The parser gives VALUES the place of what is in its first row.
        let before = match before.to_ascii_lowercase().rfind("values") {
            Some(at) if is_values => &before[..at],
            _ => before.as_str(),
        };
        match before.rfind('(') {
            Some(at) => error.with_position(before[..at].chars().count() + 1),
            None => self.at(error, query),
        }
    }

    /// Puts the place of a column that is not grouped into the error about it.
    pub(super) fn at_ungrouped(&self, error: SqlError, select: &ast::Select) -> SqlError {
        let Some(source) = &self.source else { return error };
        let start = select.select_token.0.span.start;
        if error.position.is_some() || error.code() != SqlState::GroupingError || start.line == 0 {
            return error;
        }
        let Some(name) = error.message().split('"').nth(1) else { return error };
        let (range, column) = match name.split_once('.') {
            Some((range, column)) => (Some(range), column),
            None => (None, name),
        };
        match column_place(source, start, range, column) {
            Some(position) => error.with_position(position),
            None => error,
        }
    }
}
