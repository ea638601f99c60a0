//! Clauses that the parser behind does not read, taken out of a statement's tokens before it sees them.

use sqlparser::ast;
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Word};
use types::{SqlError, SqlResult, SqlState};

use super::{column_names, expressions, is_significant, keyword, query_clauses, storage_clauses, targets, typed_strings};
use crate::plan::FrameExclude;

/// What was taken out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extras {
    pub likes: Vec<Like>,
    /// CREATE TABLE AS … WITH NO DATA.
    pub no_data: bool,
    /// The columns that CREATE TABLE AS names.
    pub column_names: Vec<ast::Ident>,
    /// CREATE VIEW … WITH CHECK OPTION.
    pub check_option: Option<catalog::CheckOption>,
    /// PARTITION BY of CREATE TABLE.
    pub partition_by: Option<PartitionBy>,
    /// CREATE INDEX … ON ONLY.
    pub only: bool,
    /// DROP INDEX CONCURRENTLY.
    pub concurrently: bool,
    /// `[NOT] DEFERRABLE` among the modes of a transaction.
    pub deferrable: Option<bool>,
    /// AS OF SYSTEM TIME of a query or a transaction.
    pub as_of: Option<String>,
}

/// `PARTITION BY strategy (key)`.
#[derive(Clone, Debug)]
pub(crate) struct PartitionBy {
    pub strategy: ast::Ident,
    pub key: Vec<ast::Expr>,
}

/// `INSERT … OVERRIDING SYSTEM|USER VALUE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overriding {
    System,
    User,
}

/// `ON CONFLICT (expressions) WHERE predicate`, where it is more than a list of columns.
#[derive(Clone, Debug)]
pub(crate) struct ConflictTarget {
    pub exprs: Vec<ast::Expr>,
    pub predicate: Option<ast::Expr>,
}

/// `LIKE table { INCLUDING | EXCLUDING } option …` among the columns of CREATE TABLE.
#[derive(Clone, Debug)]
pub(crate) struct Like {
    pub table: ast::ObjectName,
    /// How many columns and constraints stand before it.
    pub place: usize,
    pub defaults: bool,
    pub constraints: bool,
    pub identity: bool,
    pub generated: bool,
    pub indexes: bool,
}

/// Takes out what there is.
pub(super) fn take(tokens: &mut Vec<TokenWithSpan>) -> Result<Extras, ParserError> {
    let mut extras = Extras::default();
    let Some(first) = tokens.iter().find(|token| is_significant(token)).map(keyword) else { return Ok(extras) };
    match first {
        Keyword::CREATE => {
            tokens.retain(is_significant);
            storage_clauses::take(tokens);
            extras.column_names = column_names::take(tokens);
            extras.partition_by = take_partition_by(tokens)?;
            extras.only = take_only_of_index(tokens);
            extras.likes = take_likes(tokens)?;
            extras.no_data = take_data(tokens);
            extras.check_option = take_check_option(tokens);
        }
        Keyword::BEGIN | Keyword::START | Keyword::SET => {
            extras.deferrable = take_deferrable(tokens);
            extras.as_of = take_as_of(tokens);
        }
        Keyword::EXPLAIN => {
            extras.as_of = take_as_of(tokens);
            query_clauses::mark_explained_query(tokens);
        }
        Keyword::SELECT | Keyword::WITH | Keyword::TABLE | Keyword::VALUES => {
            extras.as_of = take_as_of(tokens);
        }
        Keyword::DROP => {
            extras.concurrently = tokens.iter().any(|token| keyword(token) == Keyword::CONCURRENTLY);
            tokens.retain(|token| keyword(token) != Keyword::CONCURRENTLY);
        }
        _ => {}
    }
    if tokens.iter().any(|token| is_word(token, "overriding")) {
        spell_overriding(tokens);
    }
    if tokens.iter().any(|token| keyword(token) == Keyword::CONFLICT) {
        spell_conflicts(tokens)?;
    }
    if tokens.iter().any(|token| matches!(keyword(token), Keyword::ROLLUP | Keyword::CUBE)) {
        expressions::spell_grouping_items(tokens);
    }
    if tokens.iter().any(|token| keyword(token) == Keyword::EXCLUDE) {
        spell_excludes(tokens);
    }
    if tokens.iter().any(|token| keyword(token) == Keyword::OPERATOR) {
        expressions::spell_operators(tokens);
    }
    spell_empty_lists(tokens);
    if tokens.iter().any(|token| keyword(token) == Keyword::EXISTS) {
        expressions::enclose_exists(tokens);
    }
    if tokens.iter().any(|token| keyword(token) == Keyword::COLLATE) {
        expressions::drop_collations_of_casts(tokens);
    }
    if tokens.iter().any(|token| matches!(keyword(token), Keyword::IN | Keyword::ANY | Keyword::ALL | Keyword::SOME)) {
        expressions::spell_parenthesised_subqueries(tokens);
    }
    let in_expressions = [Keyword::UNION, Keyword::EXCEPT, Keyword::INTERSECT, Keyword::VALUES, Keyword::TABLE];
    if tokens.iter().any(|token| in_expressions.contains(&keyword(token))) {
        expressions::spell_subqueries(tokens);
    }
    if tokens.iter().any(|token| keyword(token) == Keyword::ONLY) {
        spell_only(tokens);
    }
    if tokens.iter().any(|token| is_word(token, "trim")) {
        expressions::spell_trims(tokens);
    }
    if tokens.iter().any(|token| is_word(token, "similar")) {
        expressions::spell_substrings(tokens);
    }
    if tokens.iter().any(|token| token.token == Token::LBracket)
        && tokens.iter().any(|token| matches!(keyword(token), Keyword::UPDATE | Keyword::INSERT))
    {
        targets::spell(tokens);
    }
    if tokens.iter().any(|token| token.token == Token::Mul) {
        expressions::name_row_stars(tokens);
    }
    if tokens.iter().any(|token| is_word(token, "isnull") || is_word(token, "notnull")) {
        expressions::spell_null_tests(tokens);
    }
    query_clauses::spell(tokens);
    typed_strings::spell(tokens);
    Ok(extras)
}

pub(super) fn is_word(token: &TokenWithSpan, text: &str) -> bool {
    matches!(&token.token, Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(text))
}

pub(super) fn significant(tokens: &[TokenWithSpan]) -> Vec<usize> {
    (0..tokens.len()).filter(|at| is_significant(&tokens[*at])).collect()
}

/// PARTITION BY behind the columns of a table. The tokens are significant ones.
fn take_partition_by(tokens: &mut Vec<TokenWithSpan>) -> Result<Option<PartitionBy>, ParserError> {
    if !tokens.iter().take(4).any(|token| keyword(token) == Keyword::TABLE) {
        return Ok(None);
    }
    let mut depth = 0_usize;
    let found = tokens.iter().enumerate().position(|(at, token)| {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0
            && keyword(token) == Keyword::PARTITION
            && tokens.get(at + 1).is_some_and(|next| keyword(next) == Keyword::BY)
            && at > 0
            && tokens[at - 1].token == Token::RParen
    });
    // A partition that is partitioned has its bound before it, which may be DEFAULT.
    let found = found.or_else(|| {
        (1..tokens.len().saturating_sub(1)).find(|at| {
            keyword(&tokens[*at]) == Keyword::PARTITION
                && keyword(&tokens[at + 1]) == Keyword::BY
                && keyword(&tokens[at - 1]) == Keyword::DEFAULT
        })
    });
    let Some(at) = found else { return Ok(None) };
    let Some(open) = Some(at + 3).filter(|open| tokens.get(*open).is_some_and(|token| token.token == Token::LParen)) else {
        return Ok(None);
    };
    let Some(close) = closing(tokens, open) else { return Ok(None) };
    let strategy = parser(&tokens[at + 2..open]).parse_identifier()?;
    let mut inside = parser(&tokens[open + 1..close]);
    let mut key = Vec::new();
    loop {
        let mut expr = inside.parse_expr()?;
        // There is one collation, and one class of operators for a type.
        while let ast::Expr::Collate { expr: inner, .. } = expr {
            expr = *inner;
        }
        key.push(expr);
        if matches!(inside.peek_token_ref().token, Token::Word(_)) {
            inside.parse_object_name(false)?;
        }
        if !inside.consume_token(&Token::Comma) {
            break;
        }
    }
    if inside.peek_token_ref().token != Token::EOF {
        return inside.expected("the end of the partition key", inside.peek_token());
    }
    tokens.drain(at..=close);
    Ok(Some(PartitionBy { strategy, key }))
}

/// ONLY before the table of CREATE INDEX. The tokens are significant ones.
fn take_only_of_index(tokens: &mut Vec<TokenWithSpan>) -> bool {
    if !tokens.iter().take(3).any(|token| keyword(token) == Keyword::INDEX) {
        return false;
    }
    let is_clause = |pair: &[TokenWithSpan]| keyword(&pair[0]) == Keyword::ON && keyword(&pair[1]) == Keyword::ONLY;
    let Some(at) = tokens.windows(2).position(is_clause) else { return false };
    tokens.remove(at + 1);
    true
}

/// Begins the name of a table that is meant without its partitions.
const ONLY: &str = "\u{1}only";

/// Whether a name was written behind ONLY.
pub(crate) fn is_only(name: &ast::ObjectName) -> bool {
    let first = name.0.first().and_then(ast::ObjectNamePart::as_ident);
    name.0.len() > 1 && first.is_some_and(|ident| ident.value == ONLY)
}

/// A statement's text with ONLY as it is written.
pub(crate) fn with_only(text: &str) -> String {
    text.replace(&format!("\"{ONLY}\"."), "ONLY ")
}

/// ONLY becomes the first part of the table's name: the parser knows no place for it.
fn spell_only(tokens: &mut Vec<TokenWithSpan>) {
    let places: Vec<usize> = significant(tokens)
        .windows(2)
        .filter(|pair| {
            let is_ahead = matches!(
                keyword(&tokens[pair[0]]),
                Keyword::FROM | Keyword::UPDATE | Keyword::JOIN | Keyword::TABLE | Keyword::INTO | Keyword::USING
            );
            // Elsewhere the word would be quoted.
            (is_ahead || matches!(tokens[pair[0]].token, Token::Comma | Token::LParen))
                && keyword(&tokens[pair[1]]) == Keyword::ONLY
        })
        .map(|pair| pair[1])
        .collect();
    for at in places.into_iter().rev() {
        // With the place of the name, for messages.
        let next = (at + 1..tokens.len()).find(|next| is_significant(&tokens[*next]));
        match next.map(|next| (next, tokens[next].clone())) {
            Some((next, token)) if matches!(token.token, Token::Word(_)) => {
                let name = [marked(ONLY.to_owned(), token.span), TokenWithSpan::new(Token::Period, token.span)];
                tokens.splice(at..next, name);
            }
            // `ONLY (t)`.
            Some((open, token)) if token.token == Token::LParen => {
                let inner = (open + 1..tokens.len()).find(|next| is_significant(&tokens[*next]));
                let close = closing(tokens, open);
                if let (Some(inner), Some(close)) = (inner, close) {
                    tokens.remove(close);
                    let span = tokens[inner].span;
                    let name = [marked(ONLY.to_owned(), span), TokenWithSpan::new(Token::Period, span)];
                    tokens.splice(at..inner, name);
                }
            }
            _ => drop(tokens.remove(at)),
        }
    }
}

/// Begins a part of a name that says more than a name.
pub(crate) const MARK: char = '\u{1}';
const OVERRIDING_SYSTEM: &str = "\u{1}overriding system value";
const OVERRIDING_USER: &str = "\u{1}overriding user value";
/// Begins the text of an expression, and that of a predicate, in the target of ON CONFLICT.
const EXPRESSION: &str = "\u{1}expression ";
const PREDICATE: &str = "\u{1}predicate ";

pub(super) fn marked(text: String, span: sqlparser::tokenizer::Span) -> TokenWithSpan {
    TokenWithSpan::new(Token::Word(Word { value: text, quote_style: Some('"'), keyword: Keyword::NoKeyword }), span)
}

/// OVERRIDING becomes the first part of the table's name: the parser knows no place for it.
fn spell_overriding(tokens: &mut Vec<TokenWithSpan>) {
    let mut from = 0;
    while let Some((at, mark)) = overriding_from(tokens, from) {
        let places = significant(tokens);
        let is_into = |place: &&usize| keyword(&tokens[**place]) == Keyword::INTO;
        let Some(into) = places.iter().take_while(|place| **place < at).filter(is_into).last().copied() else { return };
        let (first, last) = (at, places.iter().copied().filter(|place| *place >= at).nth(2).unwrap_or(at));
        let span = tokens[first].span;
        tokens.drain(first..=last);
        let name = [marked(mark.to_owned(), span), TokenWithSpan::new(Token::Period, span)];
        let start = (into + 1..tokens.len()).find(|place| is_significant(&tokens[*place])).unwrap_or(into + 1);
        tokens.splice(start..start, name);
        from = first;
    }
}

fn overriding_from(tokens: &[TokenWithSpan], from: usize) -> Option<(usize, &'static str)> {
    let places = significant(tokens);
    places.windows(3).filter(|window| window[0] >= from).find_map(|window| {
        let is_clause = is_word(&tokens[window[0]], "overriding") && is_word(&tokens[window[2]], "value");
        match () {
            () if !is_clause => None,
            () if is_word(&tokens[window[1]], "system") => Some((window[0], OVERRIDING_SYSTEM)),
            () if is_word(&tokens[window[1]], "user") => Some((window[0], OVERRIDING_USER)),
            () => None,
        }
    })
}

/// The name of the table of an INSERT, and what it overrides.
pub(crate) fn read_overriding(name: &ast::ObjectName) -> (ast::ObjectName, Option<Overriding>) {
    let first = name.0.first().and_then(ast::ObjectNamePart::as_ident).map(|ident| ident.value.as_str());
    let overriding = match first {
        Some(OVERRIDING_SYSTEM) => Overriding::System,
        Some(OVERRIDING_USER) => Overriding::User,
        _ => return (name.clone(), None),
    };
    (ast::ObjectName(name.0[1..].to_vec()), Some(overriding))
}

/// The target of ON CONFLICT, where it is more than a list of columns.
pub(crate) fn read_conflict(columns: &[ast::Ident]) -> SqlResult<Option<ConflictTarget>> {
    if !columns.iter().any(|column| column.value.starts_with(MARK)) {
        return Ok(None);
    }
    let mut target = ConflictTarget { exprs: Vec::new(), predicate: None };
    for column in columns {
        if let Some(text) = column.value.strip_prefix(PREDICATE) {
            target.predicate = Some(super::parse_expr(text)?);
        } else if let Some(text) = column.value.strip_prefix(EXPRESSION) {
            target.exprs.push(super::parse_expr(text)?);
        } else {
            target.exprs.push(ast::Expr::Identifier(column.clone()));
        }
    }
    Ok(Some(target))
}

/// With the comma that sets it apart.
fn take_deferrable(tokens: &mut Vec<TokenWithSpan>) -> Option<bool> {
    let at = tokens.iter().position(|token| keyword(token) == Keyword::DEFERRABLE)?;
    // In other statements it is a value, or a mistake.
    tokens.iter().find(|token| matches!(keyword(token), Keyword::BEGIN | Keyword::TRANSACTION))?;
    let before = |at: usize| tokens[..at].iter().rposition(is_significant);
    let mut from = at;
    let is_not = before(from).is_some_and(|at| keyword(&tokens[at]) == Keyword::NOT);
    if is_not {
        from = before(from)?;
    }
    let mut to = at + 1;
    let after = (to..tokens.len()).find(|at| is_significant(&tokens[*at]));
    match (before(from), after) {
        (Some(at), _) if tokens[at].token == Token::Comma => from = at,
        (_, Some(at)) if tokens[at].token == Token::Comma => to = at + 1,
        _ => {}
    }
    tokens.drain(from..to);
    Some(!is_not)
}

/// `AS OF SYSTEM TIME 'when'` outside of parentheses, with the comma that sets it apart among modes.
fn take_as_of(tokens: &mut Vec<TokenWithSpan>) -> Option<String> {
    if !tokens.iter().any(|token| is_word(token, "system")) {
        return None;
    }
    let places = significant(tokens);
    let mut depth = 0_usize;
    let found = places.windows(4).position(|four| {
        match tokens[four[0]].token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0
            && ["as", "of", "system", "time"].iter().zip(four).all(|(word, at)| is_word(&tokens[*at], word))
    })?;
    let value = |at: usize| places.get(at).map(|at| &tokens[*at].token);
    let (text, mut end) = match (value(found + 4)?, value(found + 5)) {
        (Token::SingleQuotedString(text), _) => (text.clone(), found + 5),
        (Token::Number(digits, _), _) => (digits.clone(), found + 5),
        (Token::Minus, Some(Token::Number(digits, _))) => (format!("-{digits}"), found + 6),
        _ => return None,
    };
    let mut start = found;
    let is_comma = |at: usize| matches!(value(at), Some(Token::Comma));
    if start > 0 && is_comma(start - 1) {
        start -= 1;
    } else if is_comma(end) {
        end += 1;
    }
    let to = places.get(end).map_or(tokens.len(), |at| *at);
    tokens.drain(places[start]..to);
    Some(text)
}

/// The place of the parenthesis that closes the one at `open`.
pub(super) fn closing(tokens: &[TokenWithSpan], open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

fn parser(tokens: &[TokenWithSpan]) -> Parser<'static> {
    Parser::new(&PostgreSqlDialect {}).with_tokens_with_locations(tokens.to_vec())
}

/// `ON CONFLICT (expressions) WHERE predicate` becomes a list of names that hold the texts.
fn spell_conflicts(tokens: &mut Vec<TokenWithSpan>) -> Result<(), ParserError> {
    let mut from = 0;
    loop {
        let found = significant(tokens).windows(3).filter(|window| window[0] >= from).find_map(|window| {
            let is_target = keyword(&tokens[window[0]]) == Keyword::ON
                && keyword(&tokens[window[1]]) == Keyword::CONFLICT
                && tokens[window[2]].token == Token::LParen;
            is_target.then_some(window[2])
        });
        let Some(open) = found else { return Ok(()) };
        expressions::drop_operator_classes(tokens, open);
        let Some(close) = closing(tokens, open) else { return Ok(()) };
        from = open + 1;
        let after = (close + 1..tokens.len()).find(|at| is_significant(&tokens[*at]));
        let predicate = after.filter(|at| keyword(&tokens[*at]) == Keyword::WHERE);
        let plain = tokens[open + 1..close]
            .iter()
            .all(|token| !is_significant(token) || matches!(token.token, Token::Word(_) | Token::Comma));
        if plain && predicate.is_none() {
            continue;
        }
        let mut names = Vec::new();
        let items = parser(&tokens[open + 1..close]).parse_comma_separated(Parser::parse_expr)?;
        for item in items {
            names.push(match item {
                ast::Expr::Identifier(name) => name.to_string(),
                item => quoted_name(&format!("{EXPRESSION}{item}")),
            });
        }
        let mut end = close + 1;
        if let Some(at) = predicate {
            let mut depth = 0_i32;
            end = (at..tokens.len())
                .find(|next| {
                    match tokens[*next].token {
                        Token::LParen => depth += 1,
                        Token::RParen => depth -= 1,
                        _ => {}
                    }
                    depth == 0 && keyword(&tokens[*next]) == Keyword::DO
                })
                .unwrap_or(tokens.len());
            let predicate = parser(&tokens[at + 1..end]).parse_expr()?;
            names.push(quoted_name(&format!("{PREDICATE}{predicate}")));
        }
        let span = tokens[open].span;
        let text = format!("({})", names.join(", "));
        let spelled = Tokenizer::new(&PostgreSqlDialect {}, &text).tokenize().unwrap_or_default();
        let spelled: Vec<_> = spelled.into_iter().map(|token| TokenWithSpan::new(token, span)).collect();
        tokens.splice(open..end, spelled);
    }
}

fn quoted_name(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// `WITH [NO] DATA` at the end; whether it says NO.
fn ends_with(tokens: &[TokenWithSpan], words: &[&str]) -> bool {
    tokens.len() > words.len()
        && tokens[tokens.len() - words.len()..].iter().zip(words).all(|(token, word)| is_word(token, word))
}

/// At the end of CREATE VIEW.
fn take_check_option(tokens: &mut Vec<TokenWithSpan>) -> Option<catalog::CheckOption> {
    use catalog::CheckOption::{Cascaded, Local};
    let forms: [(&[&str], _); 3] = [
        (&["with", "check", "option"], Cascaded),
        (&["with", "cascaded", "check", "option"], Cascaded),
        (&["with", "local", "check", "option"], Local),
    ];
    let (words, option) = forms.into_iter().find(|(words, _)| ends_with(tokens, words))?;
    tokens.truncate(tokens.len() - words.len());
    Some(option)
}

fn take_data(tokens: &mut Vec<TokenWithSpan>) -> bool {
    let (no_data, length) = match () {
        () if ends_with(tokens, &["with", "no", "data"]) => (true, 3),
        () if ends_with(tokens, &["with", "data"]) => (false, 2),
        () => return false,
    };
    tokens.truncate(tokens.len() - length);
    no_data
}

/// LIKE items at the outermost level of a CREATE TABLE's parentheses.
fn take_likes(tokens: &mut Vec<TokenWithSpan>) -> Result<Vec<Like>, ParserError> {
    let mut likes = Vec::new();
    let is_table = tokens.iter().take(4).any(|token| keyword(token) == Keyword::TABLE);
    let Some(open) = tokens.iter().position(|token| token.token == Token::LParen).filter(|_| is_table) else {
        return Ok(likes);
    };
    let mut at = open + 1;
    let (mut depth, mut place) = (0_usize, 0);
    let mut at_start = true;
    while at < tokens.len() {
        if depth == 0 && at_start && is_word(&tokens[at], "like") {
            let end = (at..tokens.len())
                .find(|next| matches!(tokens[*next].token, Token::Comma | Token::RParen))
                .unwrap_or(tokens.len());
            likes.push(like(&tokens[at + 1..end], place)?);
            // With the comma behind it, or, for the last item, before it.
            match tokens.get(end).map(|token| &token.token) {
                Some(Token::Comma) => drop(tokens.drain(at..=end)),
                _ if tokens[at - 1].token == Token::Comma => {
                    tokens.drain(at - 1..end);
                    at -= 1;
                }
                _ => drop(tokens.drain(at..end)),
            }
            continue;
        }
        at_start = false;
        match tokens[at].token {
            Token::LParen => depth += 1,
            Token::RParen if depth == 0 => break,
            Token::RParen => depth -= 1,
            Token::Comma if depth == 0 => {
                at_start = true;
                place += 1;
            }
            _ => {}
        }
        at += 1;
    }
    Ok(likes)
}

fn like(tokens: &[TokenWithSpan], place: usize) -> Result<Like, ParserError> {
    let mut parser = parser(tokens);
    let table = parser.parse_object_name(false)?;
    let mut like =
        Like { table, place, defaults: false, constraints: false, identity: false, generated: false, indexes: false };
    loop {
        let token = parser.next_token();
        let on = match &token.token {
            Token::EOF => return Ok(like),
            _ if is_word(&token, "including") => true,
            _ if is_word(&token, "excluding") => false,
            _ => return parser.expected("INCLUDING or EXCLUDING", token),
        };
        let option = parser.next_token();
        match () {
            () if is_word(&option, "all") => {
                like = Like { defaults: on, constraints: on, identity: on, generated: on, indexes: on, ..like };
            }
            () if is_word(&option, "defaults") => like.defaults = on,
            () if is_word(&option, "constraints") => like.constraints = on,
            () if is_word(&option, "identity") => like.identity = on,
            () if is_word(&option, "generated") => like.generated = on,
            () if is_word(&option, "indexes") => like.indexes = on,
            () if ["comments", "compression", "statistics", "storage"].iter().any(|word| is_word(&option, word)) => {}
            () => return parser.expected("what is to be included", option),
        }
    }
}

/// Options of columns that the parser does not know, as comments that no statement can hold.
pub(crate) const NULLS_NOT_DISTINCT: &str = "\u{1}nulls not distinct";
const SEQUENCE_NAME: &str = "\u{1}sequence name ";

/// `COMMENT 'text'`, as the parser reads it among a column's options.
fn comment(text: String, span: sqlparser::tokenizer::Span) -> [TokenWithSpan; 2] {
    [Token::make_keyword("COMMENT"), Token::SingleQuotedString(text)].map(|token| TokenWithSpan::new(token, span))
}

/// The name that SEQUENCE NAME gives.
pub(crate) fn read_sequence_name(comment: &str) -> Option<SqlResult<ast::ObjectName>> {
    let name = comment.strip_prefix(SEQUENCE_NAME)?;
    let read = Parser::new(&PostgreSqlDialect {}).try_with_sql(name).and_then(|mut parser| parser.parse_object_name(false));
    Some(read.map_err(|error| SqlError::new(SqlState::SyntaxError, error.to_string())))
}

/// `UNIQUE NULLS [NOT] DISTINCT` of a column. The tokens are significant ones.
pub(super) fn spell_column_nulls(tokens: &mut Vec<TokenWithSpan>) {
    let mut at = 0;
    while at + 2 < tokens.len() {
        let is_clause = keyword(&tokens[at]) == Keyword::UNIQUE && keyword(&tokens[at + 1]) == Keyword::NULLS;
        let negated = is_clause && keyword(&tokens[at + 2]) == Keyword::NOT;
        let end = at + 2 + usize::from(negated);
        at += 1;
        let is_distinct = tokens.get(end).is_some_and(|token| keyword(token) == Keyword::DISTINCT);
        let of_table = tokens.get(end + 1).is_some_and(|token| token.token == Token::LParen);
        if is_clause && is_distinct && !of_table {
            let span = tokens[at].span;
            let spelled = if negated { comment(NULLS_NOT_DISTINCT.to_owned(), span).to_vec() } else { Vec::new() };
            tokens.splice(at..=end, spelled);
        }
    }
}

/// `SEQUENCE NAME name` among the options of an identity column, put behind them. The tokens are significant ones.
fn take_sequence_name(tokens: &mut Vec<TokenWithSpan>, open: usize) {
    let Some(close) = (open..tokens.len()).find(|next| tokens[*next].token == Token::RParen) else { return };
    let found = (open..close).find(|at| is_word(&tokens[*at], "sequence") && is_word(&tokens[*at + 1], "name"));
    let Some(at) = found else { return };
    let mut end = at + 3;
    while end + 1 < close && tokens[end].token == Token::Period {
        end += 2;
    }
    let end = end.min(close);
    let name: String = tokens[at + 2..end].iter().map(|token| token.token.to_string()).collect();
    let span = tokens[at].span;
    tokens.splice(close + 1..close + 1, comment(format!("{SEQUENCE_NAME}{name}"), span));
    tokens.drain(at..end);
}

/// Begins the name of a window whose frame excludes something; what comes behind the second mark is that of its base.
const EXCLUDE: &str = "\u{1}exclude ";

/// EXCLUDE at the end of a window's frame becomes part of the name of the window that it is based on.
fn spell_excludes(tokens: &mut Vec<TokenWithSpan>) {
    let mut from = 0;
    while let Some(at) = (from..tokens.len()).find(|at| keyword(&tokens[*at]) == Keyword::EXCLUDE) {
        from = at + 1;
        let words: Vec<usize> = (at + 1..tokens.len()).filter(|next| is_significant(&tokens[*next])).take(3).collect();
        let is = |place: usize, word: &str| words.get(place).is_some_and(|at| is_word(&tokens[*at], word));
        let (what, count) = match () {
            () if is(0, "current") && is(1, "row") => ("current row", 2),
            () if is(0, "no") && is(1, "others") => ("no others", 2),
            () if is(0, "group") => ("group", 1),
            () if is(0, "ties") => ("ties", 1),
            () => continue,
        };
        let mut depth = 0_usize;
        let mut is_framed = false;
        let open = tokens[..at].iter().rposition(|token| {
            match token.token {
                Token::RParen => depth += 1,
                Token::LParen if depth == 0 => return true,
                Token::LParen => depth -= 1,
                _ if depth == 0 => {
                    is_framed |= matches!(keyword(token), Keyword::ROWS | Keyword::RANGE | Keyword::GROUPS);
                }
                _ => {}
            }
            false
        });
        let (Some(open), true) = (open, is_framed) else { continue };
        let span = tokens[at].span;
        tokens.drain(at..=words[count - 1]);
        let first = (open + 1..at).find(|place| is_significant(&tokens[*place]));
        let is_clause = |token: &TokenWithSpan| {
            let words = [Keyword::PARTITION, Keyword::ORDER, Keyword::ROWS, Keyword::RANGE, Keyword::GROUPS];
            words.contains(&keyword(token))
        };
        match first.map(|first| (first, tokens[first].token.clone())) {
            Some((first, Token::Word(base))) if !is_clause(&tokens[first]) => {
                let base = crate::bind::fold(&base.into_ident(span));
                tokens[first] = marked(format!("{EXCLUDE}{what}{MARK}{base}"), span);
            }
            _ => tokens.insert(open + 1, marked(format!("{EXCLUDE}{what}{MARK}"), span)),
        }
    }
}

/// The name of a window's base, and what of the name is not that.
pub(crate) fn read_window_name(name: &ast::Ident) -> (Option<ast::Ident>, Option<ast::Ident>) {
    match name.value.strip_prefix(EXCLUDE).and_then(|rest| rest.split_once(MARK)) {
        None => (Some(name.clone()), None),
        Some((what, base)) => {
            let base = (!base.is_empty()).then(|| ast::Ident::with_quote('"', base));
            (base, Some(ast::Ident::with_quote('"', format!("{EXCLUDE}{what}{MARK}"))))
        }
    }
}

pub(crate) fn read_exclude(name: &ast::Ident) -> FrameExclude {
    match name.value.strip_prefix(EXCLUDE).and_then(|rest| rest.split_once(MARK)) {
        Some(("current row", _)) => FrameExclude::CurrentRow,
        Some(("group", _)) => FrameExclude::Group,
        Some(("ties", _)) => FrameExclude::Ties,
        _ => FrameExclude::NoOthers,
    }
}

/// Stands for a select list with nothing in it.
pub(crate) const NO_OUTPUT: &str = "\u{1}nothing";

/// `SELECT` without a list, where the parser wants one.
fn spell_empty_lists(tokens: &mut Vec<TokenWithSpan>) {
    let mut at = 0;
    while at < tokens.len() {
        at += 1;
        if keyword(&tokens[at - 1]) != Keyword::SELECT {
            continue;
        }
        let mut next = (at..tokens.len()).find(|next| is_significant(&tokens[*next]));
        if let Some(all) = next.filter(|next| keyword(&tokens[*next]) == Keyword::ALL) {
            next = (all + 1..tokens.len()).find(|next| is_significant(&tokens[*next]));
        }
        let is_empty = match next.map(|next| &tokens[next]) {
            None => true,
            Some(token) if token.token == Token::RParen => true,
            Some(token) => matches!(
                keyword(token),
                Keyword::WHERE | Keyword::GROUP | Keyword::HAVING | Keyword::UNION | Keyword::EXCEPT
                    | Keyword::INTERSECT | Keyword::ORDER | Keyword::LIMIT | Keyword::OFFSET | Keyword::WINDOW
            ),
        };
        if is_empty {
            let span = tokens[at - 1].span;
            tokens.insert(next.unwrap_or(tokens.len()), marked(NO_OUTPUT.to_owned(), span));
        }
    }
}

/// The order in which the parser reads an identity column's options.
const OPTION_ORDER: [Keyword; 5] =
    [Keyword::INCREMENT, Keyword::MINVALUE, Keyword::MAXVALUE, Keyword::START, Keyword::CACHE];

/// Puts the options of `AS IDENTITY (…)` into the order in which the parser reads them. The tokens are significant ones.
pub(super) fn order_identity_options(tokens: &mut Vec<TokenWithSpan>) {
    let mut at = 0;
    while at < tokens.len() {
        let is_option = keyword(&tokens[at]) == Keyword::IDENTITY && at > 0 && keyword(&tokens[at - 1]) == Keyword::AS;
        if !is_option {
            at += 1;
            continue;
        }
        at += 1;
        let open = at;
        if tokens.get(open).is_none_or(|token| token.token != Token::LParen) {
            continue;
        }
        take_sequence_name(tokens, open);
        let Some(close) = (open..tokens.len()).find(|next| tokens[*next].token == Token::RParen) else { return };
        if close == open + 1 {
            // The name was all.
            tokens.drain(open..=close);
            continue;
        }
        let mut options: Vec<(usize, Vec<TokenWithSpan>)> = Vec::new();
        let mut has_no = None;
        for token in &tokens[open + 1..close] {
            let word = keyword(token);
            let place = OPTION_ORDER.iter().position(|known| *known == word);
            let place = place.or((word == Keyword::CYCLE).then_some(OPTION_ORDER.len()));
            if word == Keyword::NO {
                has_no = Some(token.clone());
            } else if let Some(place) = place {
                options.push((place, has_no.take().into_iter().chain([token.clone()]).collect()));
            } else if let Some((_, option)) = options.last_mut() {
                option.push(token.clone());
            } else {
                // Something else stands here; the parser says what it thinks of it.
                return;
            }
        }
        options.sort_by_key(|(place, _)| *place);
        let ordered: Vec<_> = options.into_iter().flat_map(|(_, tokens)| tokens).collect();
        let length = ordered.len();
        tokens.splice(open + 1..close, ordered);
        at = open + length + 2;
    }
}
