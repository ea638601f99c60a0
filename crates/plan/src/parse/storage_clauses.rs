//! Clauses of tables that say how and where bytes are stored, which is not the user's to say here: they are taken out of a
//! statement's tokens, as far as PostgreSQL would take them.

use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::extras::{is_word, significant};

/// `COMPRESSION method` of a column, and `USING INDEX TABLESPACE name` of a constraint.
pub(super) fn take(tokens: &mut Vec<TokenWithSpan>) {
    let places = significant(tokens);
    let is = |at: usize, text: &str| places.get(at).is_some_and(|place| is_word(&tokens[*place], text));
    let is_method = |at: usize| ["pglz", "lz4", "default"].iter().any(|method| is(at, method));
    let mut dropped: Vec<usize> = Vec::new();
    for at in 1..places.len() {
        let begins_item = matches!(tokens[places[at - 1]].token, Token::LParen | Token::Comma);
        if is(at, "compression") && is_method(at + 1) && !begins_item {
            dropped.extend([places[at], places[at + 1]]);
        }
        let is_tablespace = is(at, "using") && is(at + 1, "index") && is(at + 2, "tablespace");
        if is_tablespace && at + 3 < places.len() {
            dropped.extend(&places[at..=at + 3]);
        }
    }
    for at in dropped.into_iter().rev() {
        tokens.remove(at);
    }
}
