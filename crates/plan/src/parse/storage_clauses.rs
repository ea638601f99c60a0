//! Clauses of tables that say how and where bytes are stored, which is not the user's to say here: they are taken out of a
//! statement's tokens, as far as PostgreSQL would take them.

use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::extras::{is_word, significant};

/// `COMPRESSION method` of a column, `USING INDEX TABLESPACE name` of a constraint, `USING heap` of a table, and `TABLESPACE name`
/// of an index.
pub(super) fn take(tokens: &mut Vec<TokenWithSpan>) {
    let places = significant(tokens);
    let is = |at: usize, text: &str| places.get(at).is_some_and(|place| is_word(&tokens[*place], text));
    let is_method = |at: usize| ["pglz", "lz4", "default"].iter().any(|method| is(at, method));
    let is_table = (1..4).any(|at| is(at, "table"));
    let is_index = (1..3).any(|at| is(at, "index"));
    let mut dropped: Vec<usize> = Vec::new();
    for at in 1..places.len() {
        let begins_item = matches!(tokens[places[at - 1]].token, Token::LParen | Token::Comma);
        if is(at, "compression") && is_method(at + 1) && !begins_item {
            dropped.extend([places[at], places[at + 1]]);
        }
        let is_tablespace = is(at, "using") && is(at + 1, "index") && is(at + 2, "tablespace");
        let ends_list = tokens[places[at - 1]].token == Token::RParen;
        if is_table && ends_list && is(at, "using") && is(at + 1, "heap") {
            dropped.extend([places[at], places[at + 1]]);
        }
        // Behind the list of keys, or INCLUDE, or WITH, or NULLS DISTINCT: the name of a column would come behind one of these.
        let may_be_clause = ends_list || is(at - 1, "distinct");
        if is_index && may_be_clause && is(at, "tablespace") && at + 1 < places.len() {
            dropped.extend([places[at], places[at + 1]]);
        }
        if is_tablespace && at + 3 < places.len() {
            dropped.extend(&places[at..=at + 3]);
        }
    }
    for at in dropped.into_iter().rev() {
        tokens.remove(at);
    }
}
