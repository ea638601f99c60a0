//! Bodies of routines as SQL has them: `RETURN expression`, and `BEGIN ATOMIC … END`.
//!
//! Each becomes the string that would stand behind AS, before the text is cut at its semicolons: what is between BEGIN
//! ATOMIC and END has some of its own. LANGUAGE is `sql` where none is given.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Span, Token, TokenWithSpan};

use super::{is_significant, keyword};

fn is_word(token: &TokenWithSpan, text: &str) -> bool {
    matches!(&token.token, Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(text))
}

/// The tokens with such bodies as strings. `text` gives the text between two places.
pub(super) fn spell(tokens: Vec<TokenWithSpan>, text: impl Fn(Span) -> String) -> Vec<TokenWithSpan> {
    let mentions = |text| tokens.iter().any(|token| is_word(token, text));
    if !tokens.iter().any(|token| keyword(token) == Keyword::CREATE) || !(mentions("atomic") || mentions("return")) {
        return tokens;
    }
    let mut out = Vec::with_capacity(tokens.len());
    let mut rest = &tokens[..];
    while !rest.is_empty() {
        let (statement, length) = match body(rest) {
            Some(body) => {
                let (span, is_return) = (body.span, body.is_return);
                let words = if is_return { format!("SELECT {}", text(span)) } else { text(span) };
                let whole = Span { start: rest[body.from].span.start, end: rest[body.end - 1].span.end };
                let token = |token: Token| TokenWithSpan::new(token, whole);
                let mut statement = rest[..body.from].to_vec();
                if !rest[..body.from].iter().any(|token| is_word(token, "language")) {
                    statement.extend([token(Token::make_keyword("LANGUAGE")), token(Token::make_word("sql", None))]);
                }
                statement.extend([token(Token::make_keyword("AS")), token(Token::EscapedStringLiteral(words))]);
                (statement, body.end)
            }
            None => {
                let end = rest.iter().position(|token| token.token == Token::SemiColon).map_or(rest.len(), |at| at + 1);
                (rest[..end].to_vec(), end)
            }
        };
        out.extend(statement);
        rest = &rest[length..];
    }
    out
}

struct Body {
    /// Its first token, and the one behind its last.
    from: usize,
    end: usize,
    /// What the string is made of.
    span: Span,
    is_return: bool,
}

/// The body of the statement that begins here.
fn body(tokens: &[TokenWithSpan]) -> Option<Body> {
    let places: Vec<usize> = (0..tokens.len()).filter(|at| is_significant(&tokens[*at])).collect();
    let token = |at: usize| places.get(at).map(|place| &tokens[*place]);
    let word = |at: usize| token(at).map_or(Keyword::NoKeyword, keyword);
    let kind = if word(1) == Keyword::OR { word(3) } else { word(1) };
    if word(0) != Keyword::CREATE || !matches!(kind, Keyword::FUNCTION | Keyword::PROCEDURE) {
        return None;
    }
    let mut depth = 0_usize;
    let mut at = 1;
    loop {
        let next = token(at)?;
        match &next.token {
            Token::SemiColon => return None,
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            _ if depth > 0 => {}
            _ if is_word(next, "return") => break,
            _ if is_word(next, "begin") && token(at + 1).is_some_and(|next| is_word(next, "atomic")) => break,
            _ => {}
        }
        at += 1;
    }
    let is_return = is_word(token(at)?, "return");
    let first = at + if is_return { 1 } else { 2 };
    let last = if is_return { end_of_statement(tokens, &places, first) } else { end_of_block(tokens, &places, first)? };
    let (start, end) = (token(first)?, token(last.checked_sub(1)?)?);
    // Of a block END is no part; an empty one has nothing.
    let span = match last > first {
        true => Span { start: start.span.start, end: end.span.end },
        false => Span { start: start.span.start, end: start.span.start },
    };
    let behind = if is_return { places[last - 1] + 1 } else { places[last] + 1 };
    (last > first || !is_return).then_some(Body { from: places[at], end: behind, span, is_return })
}

fn end_of_statement(tokens: &[TokenWithSpan], places: &[usize], first: usize) -> usize {
    let is_end = |at: &usize| matches!(tokens[places[*at]].token, Token::SemiColon | Token::EOF);
    (first..places.len()).find(is_end).unwrap_or(places.len())
}

/// Where the END of a block stands: CASE has one of its own.
fn end_of_block(tokens: &[TokenWithSpan], places: &[usize], first: usize) -> Option<usize> {
    let mut cases = 0_usize;
    for at in first..places.len() {
        match keyword(&tokens[places[at]]) {
            Keyword::CASE => cases += 1,
            Keyword::END if cases > 0 => cases -= 1,
            Keyword::END => return Some(at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::parse::{Body, own::Own, own::RoutineOption, parse};

    fn bodies(sql: &str) -> Vec<String> {
        let statements = parse(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        let body = |option: &RoutineOption| match option {
            RoutineOption::Body(body) => Some(body.text.clone()),
            _ => None,
        };
        statements
            .into_iter()
            .map(|statement| match statement.body {
                Body::Own(Own::CreateRoutine(create)) => create.options.iter().find_map(body).unwrap_or_default(),
                _ => "-".to_owned(),
            })
            .collect()
    }

    #[test]
    fn bodies_are_found() {
        assert_eq!(bodies("CREATE FUNCTION f(a int) RETURNS int RETURN a + 1"), ["SELECT a + 1"]);
        assert_eq!(
            bodies("CREATE OR REPLACE PROCEDURE p(x int) BEGIN ATOMIC INSERT INTO t VALUES (x); SELECT CASE WHEN true THEN 1 END; END; SELECT 1"),
            ["INSERT INTO t VALUES (x); SELECT CASE WHEN true THEN 1 END;", "-"]
        );
        assert_eq!(bodies("CREATE FUNCTION f() RETURNS int LANGUAGE sql IMMUTABLE RETURN (SELECT 'a;b'::text); SELECT 2"), ["SELECT (SELECT 'a;b'::text)", "-"]);
        assert_eq!(bodies("CREATE FUNCTION f(return int) RETURNS int LANGUAGE sql AS 'select 1'"), ["select 1"]);
        assert_eq!(bodies("CREATE PROCEDURE p() BEGIN ATOMIC END"), [""]);
    }
}
