//! Names of types in text that the catalog keeps.

use catalog::descriptor::stored_type_name;
use sqlparser::ast;
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Span, Token, TokenWithSpan, Tokenizer};

use super::{LineIndex, is_significant, keyword};

/// The text with the types of its casts named by their oids, where `resolve` knows one. Nothing else is a type's name
/// in what the parser writes: `x::name`, `CAST(x AS name)`.
pub(crate) fn with_stored_types(text: &str, resolve: &dyn Fn(&ast::ObjectName) -> Option<u32>) -> String {
    let Ok(tokens) = Tokenizer::new(&PostgreSqlDialect {}, text).tokenize_with_location() else {
        return text.to_owned();
    };
    let tokens: Vec<TokenWithSpan> = tokens.into_iter().filter(is_significant).collect();
    let lines = LineIndex::new(text);
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    // Of each open parenthesis: whether it is that of CAST.
    let mut open = Vec::new();
    for at in 0..tokens.len() {
        let is_cast = match tokens[at].token {
            Token::LParen => {
                let is_cast = at > 0 && matches!(&tokens[at - 1].token, Token::Word(word)
                    if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("cast"));
                open.push(is_cast);
                false
            }
            Token::RParen => {
                open.pop();
                false
            }
            Token::DoubleColon => true,
            _ => keyword(&tokens[at]) == Keyword::AS && open.last() == Some(&true),
        };
        if !is_cast {
            continue;
        }
        let Some((name, span)) = name_at(&tokens[at + 1..]) else { continue };
        if let Some(oid) = resolve(&name) {
            out.push_str(&text[copied..lines.byte(span.start)]);
            out.push_str(&stored_type_name(oid));
            copied = lines.byte(span.end);
        }
    }
    out.push_str(&text[copied..]);
    out
}

/// The name that these tokens begin with, and where it stands.
fn name_at(tokens: &[TokenWithSpan]) -> Option<(ast::ObjectName, Span)> {
    let ident = |token: &TokenWithSpan| match &token.token {
        Token::Word(word) => Some(word.clone().into_ident(token.span)),
        _ => None,
    };
    let mut parts = vec![ident(tokens.first()?)?];
    let mut end = tokens[0].span.end;
    while let [period, next, ..] = &tokens[2 * parts.len() - 1..]
        && period.token == Token::Period
        && let Some(part) = ident(next)
    {
        parts.push(part);
        end = next.span.end;
    }
    Some((ast::ObjectName::from(parts), Span::new(tokens[0].span.start, end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_named_by_their_oids() {
        let resolve = |name: &ast::ObjectName| (name.to_string().ends_with("mood")).then_some(16_400);
        let stored = |text: &str| with_stored_types(text, &resolve);
        assert_eq!(stored("m = 'ok'::mood"), "m = 'ok'::pg_catalog.\"#16400\"");
        assert_eq!(stored("'{a}'::s.mood[] || x"), "'{a}'::pg_catalog.\"#16400\"[] || x");
        assert_eq!(stored("CAST('é' AS mood) < m"), "CAST('é' AS pg_catalog.\"#16400\") < m");
        for same in ["SELECT (SELECT 1 AS mood) AS mood", "mood::text", "'::mood'", "CAST((SELECT x AS mood) AS text)"] {
            assert_eq!(stored(same), same);
        }
    }
}
