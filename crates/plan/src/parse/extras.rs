//! Clauses that the parser behind does not read, taken out of a statement's tokens before it sees them.

use sqlparser::ast;
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::{is_significant, keyword};

/// What was taken out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extras {
    pub overriding: Option<Overriding>,
    pub conflict: Option<ConflictTarget>,
    pub likes: Vec<Like>,
    /// CREATE TABLE AS … WITH NO DATA.
    pub no_data: bool,
    /// `[NOT] DEFERRABLE` among the modes of a transaction.
    pub deferrable: Option<bool>,
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
        Keyword::INSERT | Keyword::WITH => {
            extras.overriding = take_overriding(tokens);
            extras.conflict = take_conflict(tokens)?;
        }
        Keyword::CREATE => {
            tokens.retain(is_significant);
            extras.likes = take_likes(tokens)?;
            extras.no_data = take_data(tokens);
        }
        Keyword::BEGIN | Keyword::START | Keyword::SET => extras.deferrable = take_deferrable(tokens),
        Keyword::DROP => tokens.retain(|token| keyword(token) != Keyword::CONCURRENTLY),
        _ => {}
    }
    if tokens.iter().any(|token| keyword(token) == Keyword::ONLY) {
        drop_only(tokens);
    }
    if tokens.iter().any(|token| is_word(token, "trim")) {
        spell_trims(tokens);
    }
    if tokens.iter().any(|token| is_word(token, "similar")) {
        spell_substrings(tokens);
    }
    if tokens.iter().any(|token| token.token == Token::Mul) {
        name_row_stars(tokens);
    }
    if tokens.iter().any(|token| is_word(token, "isnull") || is_word(token, "notnull")) {
        spell_null_tests(tokens);
    }
    Ok(extras)
}

fn is_word(token: &TokenWithSpan, text: &str) -> bool {
    matches!(&token.token, Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(text))
}

fn significant(tokens: &[TokenWithSpan]) -> Vec<usize> {
    (0..tokens.len()).filter(|at| is_significant(&tokens[*at])).collect()
}

/// No table has children, so that ONLY says nothing.
fn drop_only(tokens: &mut Vec<TokenWithSpan>) {
    let places: Vec<usize> = significant(tokens)
        .windows(2)
        .filter(|pair| {
            matches!(keyword(&tokens[pair[0]]), Keyword::FROM | Keyword::UPDATE | Keyword::JOIN | Keyword::TABLE)
                && keyword(&tokens[pair[1]]) == Keyword::ONLY
        })
        .map(|pair| pair[1])
        .collect();
    for at in places.into_iter().rev() {
        tokens.remove(at);
    }
}

/// TRIM with its arguments in a list, with FROM before them or without FROM, is a call of `btrim`, `ltrim` or `rtrim`.
fn spell_trims(tokens: &mut Vec<TokenWithSpan>) {
    for at in (0..tokens.len()).rev() {
        if !is_word(&tokens[at], "trim") {
            continue;
        }
        let next = |from: usize| (from + 1..tokens.len()).find(|at| is_significant(&tokens[*at]));
        let Some(open) = next(at).filter(|at| tokens[*at].token == Token::LParen) else { continue };
        let (Some(first), Some(close)) = (next(open), closing(tokens, open)) else { continue };
        let name = match keyword(&tokens[first]) {
            Keyword::LEADING => "ltrim",
            Keyword::TRAILING => "rtrim",
            _ => "btrim",
        };
        let has_side = matches!(keyword(&tokens[first]), Keyword::LEADING | Keyword::TRAILING | Keyword::BOTH);
        let from_at = if has_side { next(first) } else { Some(first) };
        let mut depth = 0_i32;
        let has_from = tokens[open + 1..close].iter().any(|token| {
            match token.token {
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                _ => {}
            }
            depth == 0 && keyword(token) == Keyword::FROM
        });
        let starts_with_from = from_at.is_some_and(|at| keyword(&tokens[at]) == Keyword::FROM);
        if has_from && !starts_with_from {
            // The form that the parser reads.
            continue;
        }
        let last_dropped = match (has_side, from_at.filter(|_| starts_with_from)) {
            (_, Some(from)) => Some(from),
            (true, None) => Some(first),
            (false, None) => None,
        };
        if let Some(last) = last_dropped {
            tokens.drain(first..=last);
        }
        tokens[at].token = Token::make_word(name, None);
    }
}

/// `SUBSTRING(text SIMILAR pattern ESCAPE escape)` is a call with three arguments.
fn spell_substrings(tokens: &mut [TokenWithSpan]) {
    for at in 0..tokens.len() {
        if !is_word(&tokens[at], "substring") {
            continue;
        }
        let open = (at + 1..tokens.len()).find(|at| is_significant(&tokens[*at]));
        let Some(open) = open.filter(|at| tokens[*at].token == Token::LParen) else { continue };
        let Some(close) = closing(tokens, open) else { continue };
        let mut depth = 0_i32;
        let mut is_similar = false;
        for inner in open + 1..close {
            match tokens[inner].token {
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                _ => {}
            }
            let is_separator = depth == 0
                && (is_word(&tokens[inner], "similar") && !is_word_after(tokens, inner, "to")
                    || is_similar && is_word(&tokens[inner], "escape"));
            if is_separator {
                is_similar = true;
                tokens[inner].token = Token::Comma;
            }
        }
    }
}

fn is_word_after(tokens: &[TokenWithSpan], at: usize, text: &str) -> bool {
    tokens[at + 1..].iter().find(|token| is_significant(token)).is_some_and(|token| is_word(token, text))
}

/// The star of `(row).*` becomes a field named `"*"`, which the parser can read.
fn name_row_stars(tokens: &mut [TokenWithSpan]) {
    let places: Vec<usize> = significant(tokens)
        .windows(3)
        .filter(|at| {
            matches!(tokens[at[0]].token, Token::RParen | Token::RBracket)
                && tokens[at[1]].token == Token::Period
                && tokens[at[2]].token == Token::Mul
        })
        .map(|at| at[2])
        .collect();
    for at in places {
        tokens[at].token = Token::make_word("*", Some('"'));
    }
}

/// ISNULL and NOTNULL behind an operand are IS NULL and IS NOT NULL.
fn spell_null_tests(tokens: &mut Vec<TokenWithSpan>) {
    let places: Vec<(usize, bool)> = significant(tokens)
        .windows(2)
        .filter_map(|pair| {
            let test = &tokens[pair[1]];
            let is_not = is_word(test, "notnull");
            let is_operand = match &tokens[pair[0]].token {
                Token::Word(word) => word.quote_style.is_some() || word.keyword == Keyword::NoKeyword || word.keyword == Keyword::NULL,
                Token::Number(..) | Token::SingleQuotedString(_) | Token::RParen | Token::RBracket | Token::Placeholder(_) => true,
                _ => false,
            };
            (is_operand && (is_not || is_word(test, "isnull"))).then_some((pair[1], is_not))
        })
        .collect();
    for (at, is_not) in places.into_iter().rev() {
        let span = tokens[at].span;
        let words: &[&str] = if is_not { &["IS", "NOT", "NULL"] } else { &["IS", "NULL"] };
        tokens.splice(at..=at, words.iter().map(|word| TokenWithSpan::new(Token::make_keyword(word), span)));
    }
}

fn take_overriding(tokens: &mut Vec<TokenWithSpan>) -> Option<Overriding> {
    for window in significant(tokens).windows(3) {
        if !is_word(&tokens[window[0]], "overriding") || !is_word(&tokens[window[2]], "value") {
            continue;
        }
        let overriding = match () {
            () if is_word(&tokens[window[1]], "system") => Overriding::System,
            () if is_word(&tokens[window[1]], "user") => Overriding::User,
            () => continue,
        };
        tokens.drain(window[0]..=window[2]);
        return Some(overriding);
    }
    None
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

/// The place of the parenthesis that closes the one at `open`.
fn closing(tokens: &[TokenWithSpan], open: usize) -> Option<usize> {
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

fn take_conflict(tokens: &mut Vec<TokenWithSpan>) -> Result<Option<ConflictTarget>, ParserError> {
    let found = significant(tokens).windows(3).find_map(|window| {
        let is_target = keyword(&tokens[window[0]]) == Keyword::ON
            && keyword(&tokens[window[1]]) == Keyword::CONFLICT
            && tokens[window[2]].token == Token::LParen;
        is_target.then_some(window[2])
    });
    let Some(open) = found else { return Ok(None) };
    let Some(close) = closing(tokens, open) else { return Ok(None) };
    let after = (close + 1..tokens.len()).find(|at| is_significant(&tokens[*at]));
    let has_predicate = after.is_some_and(|at| keyword(&tokens[at]) == Keyword::WHERE);
    let plain = tokens[open + 1..close]
        .iter()
        .all(|token| !is_significant(token) || matches!(token.token, Token::Word(_) | Token::Comma));
    if plain && !has_predicate {
        return Ok(None);
    }
    let exprs = parser(&tokens[open + 1..close]).parse_comma_separated(Parser::parse_expr)?;
    let mut end = close + 1;
    let mut predicate = None;
    if let Some(at) = after.filter(|_| has_predicate) {
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
        predicate = Some(parser(&tokens[at + 1..end]).parse_expr()?);
    }
    tokens.drain(open..end);
    Ok(Some(ConflictTarget { exprs, predicate }))
}

/// `WITH [NO] DATA` at the end; whether it says NO.
fn take_data(tokens: &mut Vec<TokenWithSpan>) -> bool {
    let ends_with = |words: &[&str]| {
        tokens.len() > words.len()
            && tokens[tokens.len() - words.len()..].iter().zip(words).all(|(token, word)| is_word(token, word))
    };
    let (no_data, length) = match () {
        () if ends_with(&["with", "no", "data"]) => (true, 3),
        () if ends_with(&["with", "data"]) => (false, 2),
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
        let Some(close) = (open..tokens.len()).find(|next| tokens[*next].token == Token::RParen) else { return };
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
