//! SQL text to syntax trees, statement by statement, with each statement's own text.
//!
//! The text is tokenized once and cut at semicolons; every piece is parsed by itself, so that a statement keeps its
//! text (for `pg_stat_activity`, views and logs) and the spans of its nodes stay positions in the whole string, which
//! is what clients are told in errors.
//!
//! The parser behind it accepts several dialects at once; what it accepts and PostgreSQL does not is refused when the
//! statement is bound.

pub(crate) mod extras;
pub(crate) mod locking;
pub(crate) mod own;
mod column_names;
mod constant_literals;
mod depth;
mod expressions;
pub(crate) mod query_clauses;
mod storage_clauses;
mod standard_bodies;
mod stored_types;
pub(crate) mod targets;
mod typed_strings;

use std::cell::Cell;
use std::sync::Arc;

use sqlparser::ast::{self, Spanned};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer};
use types::text::MAX_NAME_BYTES;
use types::{SqlError, SqlResult, SqlState, stack::{deep, too_deep}};

use depth::{check_depth, drop_idle_parentheses};
use extras::Extras;
use own::Own;
pub(crate) use constant_literals::with_constant_literals;
pub(crate) use stored_types::{with_stored_relations, with_stored_types};
pub use stored_types::{NO_LABEL, rename_label};
use crate::parse_cursor;

/// Deeper recursion of the parser than this is refused with 54001. It brings its own stack for it.
const NESTING_LIMIT: usize = 3000;

/// One statement of a query string.
#[derive(Clone, Debug)]
pub struct ParsedStatement {
    pub(crate) body: Body,
    /// The statement's own text, without the semicolon.
    pub text: String,
    /// Where `text` begins in the whole string, in bytes.
    pub offset: usize,
    /// The whole string, for positions.
    pub(crate) source: Arc<str>,
    /// What the parser behind this does not read.
    pub(crate) extras: Extras,
    /// What the client is told before the statement runs: names that were too long.
    pub notices: Vec<String>,
}

/// A statement as it was read.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    Standard(ast::Statement),
    /// By this crate's own reader.
    Own(Own),
}

impl ParsedStatement {
    /// BEGIN, COMMIT, ROLLBACK, SAVEPOINT and RELEASE: what a failed transaction may still be told.
    #[must_use]
    pub fn is_transaction_control(&self) -> bool {
        matches!(
            self.body,
            Body::Own(Own::PrepareTransaction(_))
            | Body::Standard(
                ast::Statement::StartTransaction { .. }
                    | ast::Statement::Commit { .. }
                    | ast::Statement::Rollback { .. }
                    | ast::Statement::Savepoint { .. }
                    | ast::Statement::ReleaseSavepoint { .. }
            )
        )
    }

    /// SELECT … INTO of SQL, which makes a table.
    #[must_use]
    pub fn is_select_into(&self) -> bool {
        match &self.body {
            Body::Standard(ast::Statement::Query(query)) => crate::bind_statements::is_into(&query.body),
            _ => false,
        }
    }

    /// The whole string that it came in.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// As [`ParsedStatement::source`], shared.
    #[must_use]
    pub fn source_text(&self) -> &Arc<str> {
        &self.source
    }

    /// Whether others may plan the very same: queries, changes of data, and transaction control.
    #[must_use]
    pub fn is_worth_sharing(&self) -> bool {
        let is_query = matches!(
            self.body,
            Body::Standard(
                ast::Statement::Query(_)
                    | ast::Statement::Insert(_)
                    | ast::Statement::Update(_)
                    | ast::Statement::Delete(_)
                    | ast::Statement::Merge(_)
            )
        );
        is_query || self.is_transaction_control()
    }

    /// Ends a transaction block.
    #[must_use]
    pub fn ends_transaction(&self) -> bool {
        matches!(
            self.body,
            Body::Own(Own::PrepareTransaction(_))
                | Body::Standard(ast::Statement::Commit { .. } | ast::Statement::Rollback { savepoint: None, .. })
        )
    }

    /// A query's AS OF SYSTEM TIME, as it was written. That of a transaction is among its modes.
    #[must_use]
    pub fn as_of(&self) -> Option<&str> {
        let as_of = self.extras.as_of.as_deref()?;
        let is_mode = matches!(self.body, Body::Standard(ast::Statement::StartTransaction { .. } | ast::Statement::Set(_)));
        (!is_mode).then_some(as_of)
    }

    /// The first words of the command tag.
    #[must_use]
    pub fn tag(&self) -> &'static str {
        let statement = match &self.body {
            Body::Own(Own::Copy(_)) => return "COPY",
            Body::Own(_) => return "",
            Body::Standard(statement) => statement,
        };
        match statement {
            ast::Statement::Query(query) => query_tag(&query.body),
            ast::Statement::Insert(_) => "INSERT",
            ast::Statement::Update(_) => "UPDATE",
            ast::Statement::Delete(_) => "DELETE",
            ast::Statement::Merge(_) => "MERGE",
            ast::Statement::StartTransaction { begin: true, .. } => "BEGIN",
            ast::Statement::StartTransaction { .. } => "START TRANSACTION",
            ast::Statement::Commit { .. } => "COMMIT",
            ast::Statement::Rollback { .. } => "ROLLBACK",
            ast::Statement::Savepoint { .. } => "SAVEPOINT",
            ast::Statement::ReleaseSavepoint { .. } => "RELEASE",
            ast::Statement::Explain { .. } => "EXPLAIN",
            _ => "",
        }
    }
}

/// WITH … INSERT is a query to the parser, and an INSERT to clients.
pub(crate) fn query_tag(body: &ast::SetExpr) -> &'static str {
    match body {
        ast::SetExpr::Insert(_) => "INSERT",
        ast::SetExpr::Update(_) => "UPDATE",
        ast::SetExpr::Delete(_) => "DELETE",
        ast::SetExpr::Merge(_) => "MERGE",
        _ => "SELECT",
    }
}

/// Parses a query string of any number of statements; empty ones between semicolons are passed over.
///
/// # Errors
/// 42601 with the position of the first offending token.
pub fn parse(sql: &str) -> SqlResult<Vec<ParsedStatement>> {
    deep(|| parse_all(sql))
}

fn parse_all(sql: &str) -> SqlResult<Vec<ParsedStatement>> {
    let dialect = PostgreSqlDialect {};
    let tokens = Tokenizer::new(&dialect, sql)
        .tokenize_with_location()
        .map_err(|error| unterminated(sql, &error.message, error.location))?;
    let source: Arc<str> = Arc::from(sql);
    let lines = LineIndex::new(sql);
    let between = |span: Span| sql[lines.byte(span.start)..lines.byte(span.end).min(sql.len())].to_owned();
    let tokens = standard_bodies::spell(tokens, between);
    let mut statements = Vec::new();
    let mut next = 0;
    for piece in tokens.split(|token| token.token == Token::SemiColon) {
        next += piece.len() + 1;
        let semicolon = tokens.get(next - 1).map(|token| token.span.start);
        let Some(first) = piece.iter().position(is_significant) else { continue };
        let last = piece.iter().rposition(is_significant).expect("a first significant token is also a last one");
        let (cut, notices) = cut_names(&piece[first..=last]);
        let piece = cut.as_deref().unwrap_or(&piece[first..=last]);
        let start = lines.byte(piece[0].span.start);
        let end = lines.byte(piece[piece.len() - 1].span.end).min(sql.len());
        // Where a statement ends too early, a semicolon is in its way.
        let (body, extras) = parse_one(&dialect, piece, sql).map_err(|error| match semicolon {
            Some(place) if error.message() == END_OF_INPUT => near(";", Some(position_of(sql, place))),
            _ => error,
        })?;
        statements.push(ParsedStatement {
            body,
            text: sql[start..end].to_owned(),
            offset: start,
            source: Arc::clone(&source),
            extras,
            notices,
        });
    }
    Ok(statements)
}

/// Names that are too long are cut, each with a notice; no tokens when there are none such.
fn cut_names(piece: &[TokenWithSpan]) -> (Option<Vec<TokenWithSpan>>, Vec<String>) {
    let is_long = |token: &Token| matches!(token, Token::Word(word) if word.value.len() > MAX_NAME_BYTES);
    if !piece.iter().any(|token| is_long(&token.token)) {
        return (None, Vec::new());
    }
    let mut notices = Vec::new();
    let mut tokens = piece.to_vec();
    for token in &mut tokens {
        if let Token::Word(word) = &mut token.token
            && word.value.len() > MAX_NAME_BYTES
        {
            let name = match word.quote_style {
                Some(_) => word.value.clone(),
                None => word.value.to_ascii_lowercase(),
            };
            let kept = &name[..name.floor_char_boundary(MAX_NAME_BYTES)];
            notices.push(format!("identifier \"{name}\" will be truncated to \"{kept}\""));
            word.value = kept.to_owned();
        }
    }
    (Some(tokens), notices)
}

/// Parses an expression that the catalog keeps as text.
pub(crate) fn parse_expr(sql: &str) -> SqlResult<ast::Expr> {
    let dialect = PostgreSqlDialect {};
    let mut tokens = Tokenizer::new(&dialect, sql)
        .tokenize_with_location()
        .map_err(|error| unterminated(sql, &error.message, error.location))?;
    check_depth(&tokens)?;
    drop_idle_parentheses(&mut tokens);
    let mut parser =
        Parser::new(&dialect).with_recursion_limit(NESTING_LIMIT).with_tokens_with_locations(tokens);
    let expr = parser.parse_expr().map_err(|error| syntax_error(sql, &[], &error))?;
    match parser.peek_token().token {
        Token::EOF => Ok(expr),
        token => Err(near(&token.to_string(), None)),
    }
}

/// An expression's text with a column renamed. Functions and types that have its old name keep theirs.
#[must_use]
pub fn rename_column(text: &str, from: &str, to: &str) -> String {
    let dialect = PostgreSqlDialect {};
    let Ok(mut tokens) = Tokenizer::new(&dialect, text).tokenize() else { return text.to_owned() };
    for at in 0..tokens.len() {
        let is_open = |token: &Token| matches!(token, Token::LParen);
        let next = tokens[at + 1..].iter().find(|token| !matches!(token, Token::Whitespace(_)));
        let before = tokens[..at].iter().rev().find(|token| !matches!(token, Token::Whitespace(_)));
        let is_other = next.is_some_and(is_open) || matches!(before, Some(Token::DoubleColon));
        if let Token::Word(word) = &mut tokens[at] {
            let is_column = match word.quote_style {
                Some(_) => word.value == from,
                None => word.value.to_ascii_lowercase() == from,
            };
            if is_column && !is_other {
                tokens[at] = Token::make_word(to, Some('"'));
            }
        }
    }
    tokens.iter().map(ToString::to_string).collect()
}

fn parse_one(
    dialect: &PostgreSqlDialect,
    piece: &[TokenWithSpan],
    sql: &str,
) -> SqlResult<(Body, Extras)> {
    let depth = check_depth(piece)?;
    check_numbers(piece, sql)?;
    check_lower_bounds(piece, sql)?;
    let mut tokens = locking::spell(piece);
    drop_idle_parentheses(&mut tokens);
    let extras = extras::take(&mut tokens).map_err(|error| syntax_error(sql, piece, &error))?;
    if let Some(fetch) = parse_cursor::fetch(&tokens) {
        let fetch = fetch.map_err(|unexpected| match unexpected {
            Some(token) => near(&source_text(sql, &token), Some(position_of(sql, token.span.start))),
            None => end_of_input(sql),
        })?;
        return Ok((Body::Standard(parse_cursor::to_statement(fetch)), extras));
    }
    let mut may_be_own = false;
    match tokens.first().map(|token| (keyword(token), token.span)) {
        // VACUUM's options change nothing here; what is left is the table, if one is named.
        Some((Keyword::VACUUM | Keyword::ANALYZE, _)) => drop_maintenance_options(&mut tokens),
        // `TABLE t` is `SELECT * FROM t`; the parser knows it inside of queries only.
        Some((Keyword::TABLE, span)) => {
            let words = [Token::make_keyword("SELECT"), Token::Mul, Token::make_keyword("FROM")];
            tokens.splice(0..1, words.map(|token| TokenWithSpan::new(token, span)));
        }
        Some((Keyword::SELECT | Keyword::INSERT | Keyword::UPDATE | Keyword::DELETE | Keyword::WITH, _)) | None => {}
        Some((first, _)) => {
            may_be_own = true;
            // So that the reader can step back token by token.
            tokens.retain(is_significant);
            if first == Keyword::CREATE {
                extras::order_identity_options(&mut tokens);
            }
            if matches!(first, Keyword::CREATE | Keyword::ALTER) {
                extras::spell_column_nulls(&mut tokens);
            }
        }
    }
    let mut parser =
        Parser::new(dialect).with_recursion_limit(NESTING_LIMIT).with_tokens_with_locations(tokens);
    let own = if may_be_own { own::read(&mut parser) } else { None };
    let body = match own {
        Some(own) => own.map(Body::Own),
        None => {
            while parser.index() > 0 {
                parser.prev_token();
            }
            parser.parse_statement().map(Body::Standard)
        }
    };
    let body = body.map_err(|error| match error {
        // As below.
        ParserError::ParserError(_) if depth >= NESTING_LIMIT => too_deep(),
        error => syntax_error(sql, piece, &error),
    })?;
    while parser.consume_token(&Token::SemiColon) {}
    let rest = parser.peek_token();
    match rest.token {
        Token::EOF => Ok((body, extras)),
        // Where it has alternatives to try, the parser forgets that it gave up for the depth.
        _ if depth >= NESTING_LIMIT => Err(too_deep()),
        ref token => Err(near(&token.to_string(), Some(position_of(sql, rest.span.start)))),
    }
}

/// `VACUUM (options) [FULL] [FREEZE] [VERBOSE] [ANALYZE] table, …` as `VACUUM table`.
fn drop_maintenance_options(tokens: &mut Vec<TokenWithSpan>) {
    let mut depth = 0;
    let mut first_word = true;
    let mut past_table = false;
    tokens.retain(|token| {
        match &token.token {
            Token::LParen => depth += 1,
            Token::RParen => {
                depth -= 1;
                return false;
            }
            Token::Comma if depth == 0 => past_table = true,
            _ => {}
        }
        if std::mem::take(&mut first_word) {
            return true;
        }
        let option = matches!(keyword(token), Keyword::FULL | Keyword::FREEZE | Keyword::VERBOSE | Keyword::ANALYZE);
        depth == 0 && !past_table && !option
    });
}

/// The statement that PREPARE names, as it was written.
pub(crate) fn prepared_text(text: &str) -> Option<String> {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, text).tokenize_with_location().ok()?;
    let lines = LineIndex::new(text);
    let mut depth = 0_usize;
    for token in &tokens {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            _ if depth == 0 && keyword(token) == Keyword::AS => {
                return Some(text[lines.byte(token.span.end)..].trim().to_owned());
            }
            _ => {}
        }
    }
    None
}

/// A number that runs into a word: `123abc`.
fn check_numbers(piece: &[TokenWithSpan], sql: &str) -> SqlResult<()> {
    let of_hex = piece.iter().filter(|token| matches!(token.token, Token::HexStringLiteral(_)));
    for token in of_hex {
        let text = source_text(sql, token);
        if text.starts_with('0') {
            let message = format!("trailing junk after numeric literal at or near \"{text}\"");
            let position = position_of(sql, token.span.start);
            return Err(SqlError::new(SqlState::SyntaxError, message).with_position(position));
        }
    }
    for pair in piece.windows(2) {
        if let (Token::Number(digits, _), Token::Word(word)) = (&pair[0].token, &pair[1].token)
            && word.quote_style.is_none()
        {
            let message = format!("trailing junk after numeric literal at or near \"{digits}{}\"", word.value);
            let position = position_of(sql, pair[0].span.start);
            return Err(SqlError::new(SqlState::SyntaxError, message).with_position(position));
        }
    }
    Ok(())
}

fn keyword(token: &TokenWithSpan) -> Keyword {
    match &token.token {
        Token::Word(word) if word.quote_style.is_none() => word.keyword,
        _ => Keyword::NoKeyword,
    }
}

fn is_significant(token: &TokenWithSpan) -> bool {
    !matches!(token.token, Token::Whitespace(_) | Token::EOF)
}

/// Byte offsets of the lines of a text.
struct LineIndex<'a> {
    text: &'a str,
    starts: Vec<usize>,
    /// Line, column and byte of the last answer: the next question is most often for a place behind it.
    last: Cell<(usize, usize, usize)>,
}

impl<'a> LineIndex<'a> {
    fn new(text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, starts, last: Cell::new((0, 0, 0)) }
    }

    /// The byte at a location, which counts lines and characters from 1.
    fn byte(&self, location: Location) -> usize {
        let line = usize::try_from(location.line).unwrap_or(1).saturating_sub(1);
        let column = usize::try_from(location.column).unwrap_or(1).saturating_sub(1);
        let Some(start) = self.starts.get(line) else { return self.text.len() };
        let (known_line, known_column, known_byte) = self.last.get();
        let is_behind = known_line == line && known_column <= column;
        let (from, steps) = if is_behind { (known_byte, column - known_column) } else { (*start, column) };
        let byte = self.text[from..].char_indices().nth(steps).map_or(self.text.len(), |(at, _)| from + at);
        self.last.set((line, column, byte));
        byte
    }
}

/// The 1-based character position of a location.
pub(crate) fn position_of(sql: &str, location: Location) -> usize {
    let byte = LineIndex::new(sql).byte(location);
    sql[..byte].chars().count() + 1
}

/// The lower bound of BETWEEN is an operand: NOT, which binds less than BETWEEN, is none.
fn check_lower_bounds(tokens: &[TokenWithSpan], sql: &str) -> SqlResult<()> {
    let betweens = tokens.iter().enumerate().filter(|(_, token)| keyword(token) == Keyword::BETWEEN);
    for (at, _) in betweens {
        let mut rest = tokens[at + 1..].iter().filter(|token| is_significant(token));
        let bound = rest.find(|token| !matches!(keyword(token), Keyword::SYMMETRIC | Keyword::ASYMMETRIC));
        if let Some(not) = bound.filter(|token| keyword(token) == Keyword::NOT) {
            return Err(near(&source_text(sql, not), Some(position_of(sql, not.span.start))));
        }
    }
    Ok(())
}

/// The position of a node, if the parser knows it.
pub(crate) fn node_position(sql: &str, node: &impl Spanned) -> Option<usize> {
    let start = node.span().start;
    (start.line > 0).then(|| position_of(sql, start))
}

fn near(token: &str, position: Option<usize>) -> SqlError {
    let error = SqlError::new(SqlState::SyntaxError, format!("syntax error at or near \"{token}\""));
    match position {
        Some(position) => error.with_position(position),
        None => error,
    }
}

const END_OF_INPUT: &str = "syntax error at end of input";

fn end_of_input(sql: &str) -> SqlError {
    SqlError::new(SqlState::SyntaxError, END_OF_INPUT).with_position(sql.chars().count() + 1)
}

/// The parser says where in its sentence: ` at Line: 1, Column: 8`.
fn location_in(message: &str) -> Option<Location> {
    let (_, rest) = message.rsplit_once("at Line: ")?;
    let (line, column) = rest.split_once(", Column: ")?;
    let column: String = column.chars().take_while(char::is_ascii_digit).collect();
    Some(Location::new(line.parse().ok()?, column.parse().ok()?))
}

fn syntax_error(sql: &str, piece: &[TokenWithSpan], error: &ParserError) -> SqlError {
    match error {
        ParserError::RecursionLimitExceeded => too_deep(),
        ParserError::TokenizerError(message) => unterminated(sql, message, location_in(message).unwrap_or(Location::new(0, 0))),
        ParserError::ParserError(message) => {
            let location = location_in(message);
            let token = location.and_then(|at| piece.iter().find(|token| token.span.start == at));
            match token {
                Some(token) => near(&source_text(sql, token), Some(position_of(sql, token.span.start))),
                None if message.contains("found: EOF") || message.contains("found: ;") => {
                    end_of_input(sql)
                }
                None => SqlError::new(SqlState::SyntaxError, format!("syntax error: {}", without_location(message))),
            }
        }
    }
}

fn without_location(message: &str) -> &str {
    message.split(" at Line: ").next().unwrap_or(message)
}

fn source_text(sql: &str, token: &TokenWithSpan) -> String {
    let lines = LineIndex::new(sql);
    let (start, end) = (lines.byte(token.span.start), lines.byte(token.span.end));
    sql.get(start..end).unwrap_or_default().to_owned()
}

fn unterminated(sql: &str, message: &str, location: Location) -> SqlError {
    let byte = LineIndex::new(sql).byte(location);
    let rest = sql.get(byte..).unwrap_or_default();
    let lower = message.to_ascii_lowercase();
    let what = if lower.contains("comment") {
        "unterminated /* comment"
    } else if lower.contains("quoted identifier") || lower.contains("identifier") || lower.contains("delimiter '\"'") {
        "unterminated quoted identifier"
    } else if lower.contains("dollar") || lower.contains('$') {
        "unterminated dollar-quoted string"
    } else if lower.contains("string") {
        "unterminated quoted string"
    } else {
        "syntax error"
    };
    SqlError::new(SqlState::SyntaxError, format!("{what} at or near \"{rest}\""))
        .with_position(sql[..byte].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_keep_their_own_text() {
        let parsed = parse("  select 1 ;; -- nothing\n ;\nselect 'a;b' ").unwrap();
        let texts: Vec<&str> = parsed.iter().map(|statement| statement.text.as_str()).collect();
        assert_eq!(texts, ["select 1", "select 'a;b'"]);
        assert_eq!(parsed[0].offset, 2);
        assert_eq!(parsed[1].tag(), "SELECT");
        assert!(parse(" ; ").unwrap().is_empty());
        let parsed = parse("select 'é'; select\n'ü' ;select 1").unwrap();
        let texts: Vec<&str> = parsed.iter().map(|statement| statement.text.as_str()).collect();
        assert_eq!(texts, ["select 'é'", "select\n'ü'", "select 1"]);
    }

    #[test]
    fn places_are_found_in_any_order() {
        let lines = LineIndex::new("aé\nüb");
        let at = |line, column| lines.byte(Location::new(line, column));
        assert_eq!((at(1, 2), at(1, 3), at(2, 2), at(2, 1), at(1, 1), at(9, 1)), (1, 3, 6, 4, 0, 7));
    }

    /// Each statement's place is looked for from the one before it, not from the start of the line.
    #[test]
    fn many_statements_on_one_line_are_parsed_in_linear_time() {
        let sql = format!("select 1 /*{}*/;", "-".repeat(1000)).repeat(20_000);
        let before = std::time::Instant::now();
        assert_eq!(parse(&sql).unwrap().len(), 20_000);
        // A bound that only a walk over the whole line for each statement reaches.
        assert!(before.elapsed() < std::time::Duration::from_secs(30));
    }

    #[test]
    fn a_table_may_be_called_identity() {
        for sql in ["create index on identity (cache, start)", "create table t (a int generated always as identity (cache 2 start 5))"] {
            parse(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
    }

    #[test]
    fn a_transaction_may_be_deferrable() {
        for (sql, deferrable) in [
            ("begin isolation level serializable, read only, deferrable", Some(true)),
            ("begin not deferrable, read only", Some(false)),
            ("start transaction deferrable", Some(true)),
            ("set transaction read only not deferrable", Some(false)),
            ("set session characteristics as transaction deferrable", Some(true)),
            ("begin read only", None),
        ] {
            let parsed = parse(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
            assert_eq!(parsed[0].extras.deferrable, deferrable, "{sql}");
        }
        assert_eq!(parse("set x to 1, deferrable, 2 deferrable").unwrap_err().code(), SqlState::SyntaxError);
    }

    #[test]
    fn only_what_can_be_temporary_is_read_as_such() {
        assert!(parse("create temp sequence s").is_ok());
        assert_eq!(parse("create temp role r").unwrap_err().code(), SqlState::SyntaxError);
    }

    #[test]
    fn syntax_errors_name_the_token_and_its_position() {
        let error = parse("select 1; selec 2").unwrap_err();
        assert_eq!(error.message(), "syntax error at or near \"selec\"");
        assert_eq!(error.into_fields().position, Some(11));
        let error = parse("select * from").unwrap_err();
        assert_eq!(error.message(), "syntax error at end of input");
        let error = parse("select 'abc").unwrap_err();
        assert_eq!(error.message(), "unterminated quoted string at or near \"'abc\"");
        assert_eq!(error.code(), SqlState::SyntaxError);
    }

    #[test]
    fn deep_nesting_is_refused() {
        let nested = |before: &str, after: &str| format!("select {}1{}", before.repeat(5000), after.repeat(5000));
        for (before, after) in [("(1 + ", ")"), ("not ", ""), ("case when true then ", " end"), ("(select ", ")")] {
            let refusal = parse(&nested(before, after)).map(|_| ()).unwrap_err();
            assert_eq!(refusal.code(), SqlState::StatementTooComplex, "{before}");
        }
        assert!(parse(&nested("(", ")")).is_ok(), "parentheses around parentheses mean nothing");
    }
}
