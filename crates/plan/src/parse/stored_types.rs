//! Names of types and relations, and labels of enum types, in text that the catalog keeps.

use catalog::descriptor::{stored_relation_name, stored_type_name};
use sqlparser::ast;
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Span, Token, TokenWithSpan, Tokenizer};
use types::{Array, Datum, Formatting, SqlResult, SqlType, parse_text, to_text};

use super::{LineIndex, is_significant, keyword};

/// The tokens of a text without blanks and comments; none where it cannot be cut into tokens.
pub(super) fn significant_tokens(text: &str) -> Option<Vec<TokenWithSpan>> {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, text).tokenize_with_location().ok()?;
    Some(tokens.into_iter().filter(is_significant).collect())
}

/// A copy of a text with some of its tokens replaced, from the first to the last.
pub(super) struct Rewritten<'a> {
    text: &'a str,
    lines: LineIndex<'a>,
    out: String,
    copied: usize,
}

impl<'a> Rewritten<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, lines: LineIndex::new(text), out: String::with_capacity(text.len()), copied: 0 }
    }

    pub fn replace(&mut self, span: Span, with: &str) {
        self.out.push_str(&self.text[self.copied..self.lines.byte(span.start)]);
        self.out.push_str(with);
        self.copied = self.lines.byte(span.end);
    }

    pub fn finish(mut self) -> String {
        self.out.push_str(&self.text[self.copied..]);
        self.out
    }
}

/// The text with the types of its casts named by their oids, where `resolve` knows one. Nothing else is a type's name
/// in what the parser writes: `x::name`, `CAST(x AS name)`.
pub(crate) fn with_stored_types(text: &str, resolve: &dyn Fn(&ast::ObjectName) -> Option<u32>) -> String {
    let Some(tokens) = significant_tokens(text) else { return text.to_owned() };
    let mut rewritten = Rewritten::new(text);
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
            rewritten.replace(span, &stored_type_name(oid));
        }
    }
    rewritten.finish()
}

/// The text with relations named by their ids, where `resolve` knows one: in what is cast to `regclass`, and where functions
/// of sequences want one. So a text means the same relation whatever it is called.
pub(crate) fn with_stored_relations(text: &str, resolve: &dyn Fn(&str) -> Option<u32>) -> String {
    let Some(tokens) = significant_tokens(text) else { return text.to_owned() };
    let is_word = |token: Option<&TokenWithSpan>, words: &[&str]| {
        matches!(token.map(|it| &it.token), Some(Token::Word(word))
            if word.quote_style.is_none() && words.iter().any(|it| word.value.eq_ignore_ascii_case(it)))
    };
    let is = |token: Option<&TokenWithSpan>, wanted: &Token| token.is_some_and(|it| it.token == *wanted);
    let mut rewritten = Rewritten::new(text);
    for at in 0..tokens.len() {
        let Token::SingleQuotedString(name) = &tokens[at].token else { continue };
        let (before, behind) = (|n: usize| at.checked_sub(n).map(|at| &tokens[at]), |n: usize| tokens.get(at + n));
        let is_cast = is(behind(1), &Token::DoubleColon) && is_word(behind(2), &["regclass"]);
        let is_whole = is(behind(1), &Token::RParen) || is(behind(1), &Token::Comma);
        let is_argument = is_whole
            && is(before(1), &Token::LParen)
            && is_word(before(2), &["nextval", "currval", "setval"])
            && (!is(before(3), &Token::Period) || is_word(before(4), &["pg_catalog"]));
        let is_old_cast = is(before(1), &Token::LParen)
            && is_word(before(2), &["cast"])
            && is_word(behind(1), &["as"])
            && is_word(behind(2), &["regclass"]);
        if !(is_cast || is_argument || is_old_cast) {
            continue;
        }
        if let Some(id) = resolve(name) {
            let last = if is_cast { &tokens[at + 2] } else { &tokens[at] };
            rewritten.replace(Span::new(tokens[at].span.start, last.span.end), &stored_relation_name(id));
        }
    }
    rewritten.finish()
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

/// What no enum type has for a label: it is too long.
pub const NO_LABEL: &str = "a text of more bytes than a label of an enum type may have, and so it is none";

/// A string literal that is `from`, or an array literal that has it among its elements, with `to` in its place.
fn relabelled(literal: &str, from: &str, to: &str) -> Option<String> {
    if literal == from {
        return Some(to.to_owned());
    }
    if !literal.contains(from) || !literal.trim_start().starts_with(['{', '[']) {
        return None;
    }
    let formatting = Formatting::default();
    let Ok(Datum::Array(array)) = parse_text(&SqlType::TEXT_ARRAY, literal, &formatting) else { return None };
    let is_from = |element: &Datum| element.as_str() == Some(from);
    if !array.elements().iter().any(is_from) {
        return None;
    }
    let replaced = array.elements().iter().map(|it| if is_from(it) { Datum::text(to) } else { it.clone() });
    let array = Array::with_dimensions(array.dimensions(), replaced.collect()).ok()?;
    Some(to_text(&SqlType::TEXT_ARRAY, &Datum::Array(array.into()), &formatting))
}

/// A stored text with a label of an enum type renamed, where it is one: strings that are something else stay. `is_label`
/// is given the text with [`NO_LABEL`] in one place, and says whether that place wants a label of the type. `None`: the
/// text has none.
///
/// # Errors
/// Those of `is_label`.
pub fn rename_label(
    text: &str,
    from: &str,
    to: &str,
    is_label: &mut dyn FnMut(&str) -> SqlResult<bool>,
) -> SqlResult<Option<String>> {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, text).tokenize_with_location().unwrap_or_default();
    let lines = LineIndex::new(text);
    let mut edits = Vec::new();
    for token in &tokens {
        let (Token::SingleQuotedString(literal) | Token::EscapedStringLiteral(literal)) = &token.token else { continue };
        let (start, end) = (lines.byte(token.span.start), lines.byte(token.span.end));
        let with = |label: &str| relabelled(literal, from, label).map(|it| format!("'{}'", it.replace('\'', "''")));
        if let (Some(probe), Some(renamed)) = (with(NO_LABEL), with(to))
            && is_label(&format!("{}{probe}{}", &text[..start], &text[end..]))?
        {
            edits.push((start, end, renamed));
        }
    }
    if edits.is_empty() {
        return Ok(None);
    }
    let mut out = text.to_owned();
    for (start, end, renamed) in edits.into_iter().rev() {
        out.replace_range(start..end, &renamed);
    }
    Ok(Some(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_renamed_where_they_are_labels() {
        let rename = |text: &str| {
            // As if the second string were a text.
            let mut is_label = |probe: &str| Ok(!probe.contains(&format!("t = '{NO_LABEL}'")));
            rename_label(text, "it's", "ok", &mut is_label).unwrap()
        };
        assert_eq!(rename("m = 'it''s' AND t = 'it''s'").as_deref(), Some("m = 'ok' AND t = 'it''s'"));
        assert_eq!(rename("m = ANY('{a,\"it''s\",\"it''s not\"}')").as_deref(), Some("m = ANY('{a,ok,\"it''s not\"}')"));
        assert_eq!(rename("m = 'other' OR t = 'it''s'"), None);
    }

    #[test]
    fn relations_are_named_by_their_ids() {
        let resolve = |name: &str| (name == "s.q" || name == "16500").then_some(16_500);
        let stored = |text: &str| with_stored_relations(text, &resolve);
        for (text, wanted) in [
            ("nextval('s.q')", "nextval('16500'::regclass)"),
            ("nextval('s.q'::regclass) + 1", "nextval('16500'::regclass) + 1"),
            ("pg_catalog.setval('s.q', 5)", "pg_catalog.setval('16500'::regclass, 5)"),
            ("CAST('s.q' AS regclass)", "CAST('16500'::regclass AS regclass)"),
            ("nextval('16500'::regclass)", "nextval('16500'::regclass)"),
        ] {
            assert_eq!(stored(text), wanted);
            assert_eq!(catalog::descriptor::named_relations(wanted).collect::<Vec<_>>(), [16_500]);
        }
        for same in ["nextval('s.q'::text)", "my.nextval('s.q')", "upper('s.q')", "nextval('other')", "'nextval(''s.q'')'", "x::regclass"] {
            assert_eq!(stored(same), same);
        }
    }

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
