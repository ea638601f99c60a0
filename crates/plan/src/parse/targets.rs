//! Subscripts of what is assigned to: `UPDATE … SET a[1].b = …` and `INSERT INTO t (a[1].b) …`. The parser reads names there,
//! so that a run of subscripts becomes a part of the name.

use sqlparser::ast;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};
use types::{SqlError, SqlResult, SqlState};

use super::extras::marked;
use super::{is_significant, keyword};

/// Begins the text of subscripts.
const SUBSCRIPTS: &str = "\u{1}subscripts ";

/// A step from a column to a part of it.
#[derive(Clone, Debug)]
pub(crate) enum TargetStep {
    Field(ast::Ident),
    /// Those that stand side by side.
    Subscripts(Vec<ast::Subscript>),
}

/// Where the bracket at `open` is closed.
fn closing(tokens: &[TokenWithSpan], open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    (open..tokens.len()).find(|at| {
        match tokens[*at].token {
            Token::LBracket | Token::LParen => depth += 1,
            Token::RBracket | Token::RParen => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0
    })
}

/// Makes subscripts parts of the names that they stand behind, from `at` on: a target and, where `is_list`, those behind commas.
/// Where the list ends.
fn spell_targets(tokens: &mut Vec<TokenWithSpan>, mut at: usize, is_list: bool) -> usize {
    loop {
        // The name, its fields, and subscripts.
        while at < tokens.len() {
            if !is_significant(&tokens[at]) || matches!(tokens[at].token, Token::Word(_) | Token::Period) {
                at += 1;
                continue;
            }
            if tokens[at].token != Token::LBracket {
                break;
            }
            let mut text = String::from(SUBSCRIPTS);
            let (first, mut last) = (at, at);
            while let Some(end) = closing(tokens, last).filter(|_| tokens[last].token == Token::LBracket) {
                tokens[last..=end].iter().for_each(|token| text.push_str(&token.token.to_string()));
                let next = (end + 1..tokens.len()).find(|at| is_significant(&tokens[*at]));
                at = end + 1;
                match next.filter(|next| tokens[*next].token == Token::LBracket) {
                    Some(next) => last = next,
                    None => break,
                }
            }
            if at == first {
                return at;
            }
            let span = tokens[first].span;
            tokens.splice(first..at, [TokenWithSpan::new(Token::Period, span), marked(text, span)]);
            at = first + 2;
        }
        if !is_list || tokens.get(at).is_none_or(|token| token.token != Token::Comma) {
            return at;
        }
        at += 1;
    }
}

/// Where the value that begins at `from` ends: at a comma, or with the clause.
fn value_end(tokens: &[TokenWithSpan], from: usize) -> Option<usize> {
    let (mut depth, mut last) = (0_usize, Keyword::NoKeyword);
    (from..tokens.len()).filter(|at| is_significant(&tokens[*at])).find(|at| {
        let (word, before) = (keyword(&tokens[*at]), last);
        last = word;
        match tokens[*at].token {
            Token::LParen | Token::LBracket => depth += 1,
            Token::RParen | Token::RBracket if depth == 0 => return true,
            Token::RParen | Token::RBracket => depth -= 1,
            Token::Comma => return depth == 0,
            _ => {
                // IS DISTINCT FROM goes on.
                let is_from = word == Keyword::FROM && before != Keyword::DISTINCT;
                return depth == 0 && (is_from || matches!(word, Keyword::WHERE | Keyword::RETURNING));
            }
        }
        false
    })
}

/// Spells the targets of SET and of INSERT in a statement that has brackets.
pub(super) fn spell(tokens: &mut Vec<TokenWithSpan>) {
    let mut at = 0;
    // The word is also a name: the clause follows UPDATE.
    let mut is_due = false;
    while at < tokens.len() {
        let word = keyword(&tokens[at]);
        at += 1;
        let next = |tokens: &[TokenWithSpan], from: usize| (from..tokens.len()).find(|at| is_significant(&tokens[*at]));
        match word {
            Keyword::UPDATE => is_due = true,
            Keyword::SET if std::mem::take(&mut is_due) => {
                // Target after target, each with its value.
                let mut from = at;
                loop {
                    let Some(start) = next(tokens, from).filter(|at| tokens[*at].token != Token::LBracket) else { break };
                    let end = match tokens[start].token {
                        Token::LParen => spell_targets(tokens, start + 1, true) + 1,
                        _ => spell_targets(tokens, start, false),
                    };
                    let Some(equals) = next(tokens, end).filter(|at| tokens[*at].token == Token::Eq) else { break };
                    at = equals + 1;
                    match value_end(tokens, at).filter(|at| tokens[*at].token == Token::Comma) {
                        Some(comma) => from = comma + 1,
                        None => break,
                    }
                }
            }
            Keyword::INSERT => {
                // INSERT INTO name [AS alias] (
                let Some(into) = next(tokens, at).filter(|at| keyword(&tokens[*at]) == Keyword::INTO) else { continue };
                let open = (into + 1..tokens.len()).find(|at| {
                    let is_name = matches!(&tokens[*at].token, Token::Word(word) if word.quote_style.is_some()
                        || !matches!(word.keyword, Keyword::SELECT | Keyword::VALUES | Keyword::DEFAULT | Keyword::WITH | Keyword::TABLE));
                    is_significant(&tokens[*at]) && !is_name && tokens[*at].token != Token::Period
                });
                if let Some(open) = open.filter(|at| tokens[*at].token == Token::LParen)
                    && next(tokens, open + 1).is_some_and(|at| !matches!(keyword(&tokens[at]), Keyword::SELECT | Keyword::VALUES | Keyword::WITH))
                {
                    at = spell_targets(tokens, open + 1, true);
                }
            }
            _ => {}
        }
    }
}

/// The steps behind the column in the name of a target.
///
/// # Errors
/// As for any expression.
pub(crate) fn read_steps(name: &ast::ObjectName) -> SqlResult<Vec<TargetStep>> {
    let mut steps = Vec::new();
    for part in name.0.iter().skip(1) {
        let Some(ident) = part.as_ident() else {
            return Err(SqlError::new(SqlState::SyntaxError, format!("syntax error at or near \"{part}\"")));
        };
        let Some(text) = ident.value.strip_prefix(SUBSCRIPTS) else {
            steps.push(TargetStep::Field(ident.clone()));
            continue;
        };
        let read = super::parse_expr(&format!("a{text}"))?;
        let ast::Expr::CompoundFieldAccess { access_chain, .. } = read else {
            return Err(SqlError::new(SqlState::SyntaxError, format!("syntax error at or near \"{text}\"")));
        };
        let mut subscripts = Vec::with_capacity(access_chain.len());
        for link in access_chain {
            match link {
                ast::AccessExpr::Subscript(subscript) => subscripts.push(subscript),
                ast::AccessExpr::Dot(other) => {
                    return Err(SqlError::new(SqlState::SyntaxError, format!("syntax error at or near \"{other}\"")));
                }
            }
        }
        steps.push(TargetStep::Subscripts(subscripts));
    }
    Ok(steps)
}
