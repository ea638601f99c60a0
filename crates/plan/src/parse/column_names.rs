//! `CREATE TABLE name (a, b) AS query`: names without types, which the parser does not read.

use sqlparser::ast;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::extras::closing;
use super::keyword;

/// Takes the names out of the tokens of a CREATE, which are significant ones. What is no list of names before AS stays.
pub(super) fn take(tokens: &mut Vec<TokenWithSpan>) -> Vec<ast::Ident> {
    let found = find(tokens);
    let Some((open, close)) = found else { return Vec::new() };
    let names = tokens.drain(open..=close).filter_map(|token| match token.token {
        Token::Word(word) => Some(ast::Ident { value: word.value, quote_style: word.quote_style, span: token.span }),
        _ => None,
    });
    names.collect()
}

/// Where the list begins and ends.
fn find(tokens: &[TokenWithSpan]) -> Option<(usize, usize)> {
    let table = tokens.iter().take(4).position(|token| keyword(token) == Keyword::TABLE)?;
    let mut at = table + 1;
    if keyword(tokens.get(at)?) == Keyword::IF {
        at += 3;
    }
    // The name, which may have a schema.
    let is_name = |at: usize| tokens.get(at).is_some_and(|token| matches!(token.token, Token::Word(_)));
    let is_period = |at: usize| tokens.get(at).is_some_and(|token| token.token == Token::Period);
    if !is_name(at) {
        return None;
    }
    at += 1;
    while is_period(at) && is_name(at + 1) {
        at += 2;
    }
    if tokens.get(at)?.token != Token::LParen {
        return None;
    }
    let close = closing(tokens, at)?;
    let is_list = (at + 1..close).all(|place| match (place - at) % 2 {
        1 => is_name(place),
        _ => tokens[place].token == Token::Comma,
    });
    // ON COMMIT and storage parameters may stand before AS.
    let mut rest = tokens[close + 1..].iter().take_while(|token| keyword(token) != Keyword::SELECT);
    (is_list && (close - at) % 2 == 0 && rest.any(|token| keyword(token) == Keyword::AS)).then_some((at, close))
}
