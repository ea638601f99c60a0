//! `jsonb` values, and the parser that `json` is checked with.
//!
//! **Invariant (json-canonical):** an object's keys are unique and sorted by length, then bytes. [`Json::object`] is
//! the one place that makes objects out of pairs; the last of equal keys wins. Numbers keep their scale: 1.0 prints
//! as 1.0 and equals 1.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

use crate::error::{SqlError, SqlResult, SqlState};
use crate::numeric::Numeric;
use crate::stack::{deep, too_deep};

/// Deeper nesting is refused, by the parser and by [`Json::checked`]: every visitor recurses, dropping included, and has
/// frames of some hundred bytes.
pub const MAX_DEPTH: usize = 1500;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Json {
    Null,
    Bool(bool),
    Number(Numeric),
    String(Box<str>),
    Array(Vec<Json>),
    Object(Vec<(Box<str>, Json)>),
}

fn key_order(a: &str, b: &str) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.as_bytes().cmp(b.as_bytes()))
}

impl Json {
    pub fn parse(text: &str) -> SqlResult<Self> {
        let mut parser = Parser { text, at: 0, depth: 0, string: 0, build: true };
        deep(|| parser.document())
    }

    /// An object of these pairs; of equal keys the last stays.
    #[must_use]
    pub fn object(mut pairs: Vec<(Box<str>, Self)>) -> Self {
        // A stable sort keeps equal keys in their order.
        pairs.sort_by(|a, b| key_order(&a.0, &b.0));
        let mut kept: Vec<(Box<str>, Self)> = Vec::with_capacity(pairs.len());
        for pair in pairs {
            match kept.last_mut() {
                Some(last) if last.0 == pair.0 => *last = pair,
                _ => kept.push(pair),
            }
        }
        Self::Object(kept)
    }

    /// The value, if it may be nested so deep. Whoever builds values out of others asks, for the parser has seen only
    /// the parts.
    pub fn checked(self) -> SqlResult<Self> {
        if self.is_deeper_than(MAX_DEPTH) { Err(too_deep()) } else { Ok(self) }
    }

    fn is_deeper_than(&self, depth: usize) -> bool {
        match self {
            Self::Array(items) => depth == 0 || items.iter().any(|item| item.is_deeper_than(depth - 1)),
            Self::Object(pairs) => depth == 0 || pairs.iter().any(|(_, value)| value.is_deeper_than(depth - 1)),
            _ => false,
        }
    }

    /// The member of this name.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object(pairs) => {
                let index = pairs.binary_search_by(|(name, _)| key_order(name, key)).ok()?;
                Some(&pairs[index].1)
            }
            _ => None,
        }
    }

    /// The element at this index; negative ones count from the end.
    #[must_use]
    pub fn get_index(&self, index: i64) -> Option<&Self> {
        match self {
            Self::Array(items) => {
                let index = if index < 0 { index + items.len() as i64 } else { index };
                items.get(usize::try_from(index).ok()?)
            }
            _ => None,
        }
    }

    /// `jsonb_typeof`.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Number(_) => "number",
            Self::String(_) => "string",
            Self::Array(_) => "array",
            Self::Object(_) => "object",
        }
    }

    /// PostgreSQL's spelling: a space after colons and commas.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Bool(true) => out.extend_from_slice(b"true"),
            Self::Bool(false) => out.extend_from_slice(b"false"),
            Self::Number(number) => number.write(out),
            Self::String(text) => write_json_string(text, out),
            Self::Array(items) => {
                out.push(b'[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.extend_from_slice(b", ");
                    }
                    item.write(out);
                }
                out.push(b']');
            }
            Self::Object(pairs) => {
                out.push(b'{');
                for (i, (key, value)) in pairs.iter().enumerate() {
                    if i > 0 {
                        out.extend_from_slice(b", ");
                    }
                    write_json_string(key, out);
                    out.extend_from_slice(b": ");
                    value.write(out);
                }
                out.push(b'}');
            }
        }
    }

    /// `jsonb_pretty`.
    pub fn write_pretty(&self, out: &mut Vec<u8>, depth: usize) {
        let line = |out: &mut Vec<u8>, depth: usize| {
            out.push(b'\n');
            out.resize(out.len() + 4 * depth, b' ');
        };
        match self {
            Self::Array(items) => {
                out.push(b'[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    line(out, depth + 1);
                    item.write_pretty(out, depth + 1);
                }
                line(out, depth);
                out.push(b']');
            }
            Self::Object(pairs) => {
                out.push(b'{');
                for (i, (key, value)) in pairs.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    line(out, depth + 1);
                    write_json_string(key, out);
                    out.extend_from_slice(b": ");
                    value.write_pretty(out, depth + 1);
                }
                line(out, depth);
                out.push(b'}');
            }
            scalar => scalar.write(out),
        }
    }

    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Null | Self::Bool(_) => 0,
            Self::Number(number) => number.heap_bytes(),
            Self::String(text) => text.len(),
            Self::Array(items) => items.iter().map(|item| size_of::<Self>() + item.heap_bytes()).sum(),
            Self::Object(pairs) => {
                pairs.iter().map(|(key, value)| key.len() + size_of::<(Box<str>, Self)>() + value.heap_bytes()).sum()
            }
        }
    }

    /// `@>`: every part of `other` is found in this value.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            // An array contains a bare scalar, at the top level only: an exception PostgreSQL makes.
            (Self::Array(mine), scalar) if !scalar.is_container() => mine.contains(scalar),
            (a, b) => a.contains_part(b),
        }
    }

    fn contains_part(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Object(_), Self::Object(pairs)) => {
                pairs.iter().all(|(key, value)| self.get(key).is_some_and(|mine| mine.contains_part(value)))
            }
            (Self::Array(mine), Self::Array(theirs)) => {
                theirs.iter().all(|item| mine.iter().any(|candidate| candidate.contains_part(item)))
            }
            (a, b) => a == b,
        }
    }

    const fn is_container(&self) -> bool {
        matches!(self, Self::Array(_) | Self::Object(_))
    }

    const fn rank(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::String(_) => 1,
            Self::Number(_) => 2,
            Self::Bool(_) => 3,
            Self::Array(_) => 4,
            Self::Object(_) => 5,
        }
    }
}

impl PartialOrd for Json {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// jsonb's btree order: Object > Array > Boolean > Number > String > Null; containers by size, then members.
impl Ord for Json {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Number(a), Self::Number(b)) => a.cmp(b),
            (Self::String(a), Self::String(b)) => a.as_bytes().cmp(b.as_bytes()),
            (Self::Array(a), Self::Array(b)) => a.len().cmp(&b.len()).then_with(|| a.cmp(b)),
            (Self::Object(a), Self::Object(b)) => a.len().cmp(&b.len()).then_with(|| {
                for ((key_a, value_a), (key_b, value_b)) in a.iter().zip(b) {
                    let order = key_a.as_bytes().cmp(key_b.as_bytes()).then_with(|| value_a.cmp(value_b));
                    if order.is_ne() {
                        return order;
                    }
                }
                Ordering::Equal
            }),
            (a, b) => a.rank().cmp(&b.rank()),
        }
    }
}

impl Hash for Json {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.rank().hash(state);
        match self {
            Self::Null => {}
            Self::Bool(value) => value.hash(state),
            Self::Number(value) => value.hash(state),
            Self::String(value) => value.hash(state),
            Self::Array(items) => items.hash(state),
            Self::Object(pairs) => pairs.hash(state),
        }
    }
}

/// Checks that `text` is JSON, without building it.
pub fn validate(text: &str) -> SqlResult<()> {
    deep(|| Parser { text, at: 0, depth: 0, string: 0, build: false }.document().map(|_| ()))
}

/// A JSON string literal of `text`.
pub fn write_json_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut plain = 0;
    let bytes = text.as_bytes();
    for (i, byte) in bytes.iter().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0x08 => b"\\b",
            0x0c => b"\\f",
            0x00..=0x1f => {
                out.extend_from_slice(&bytes[plain..i]);
                out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
                plain = i + 1;
                continue;
            }
            _ => continue,
        };
        out.extend_from_slice(&bytes[plain..i]);
        out.extend_from_slice(escape);
        plain = i + 1;
    }
    out.extend_from_slice(&bytes[plain..]);
    out.push(b'"');
}

/// So much of a document is shown with an error.
const SHOWN_BYTES_MAX: usize = 50;

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    /// Where the string begins that is being read.
    string: usize,
    /// Off: syntax is checked and nothing is kept.
    build: bool,
}

impl Parser<'_> {
    /// What was read up to here, or up to `end`, is shown with the error.
    fn error(&self, detail: impl Into<String>) -> SqlError {
        self.error_at(detail, self.at)
    }

    fn error_at(&self, detail: impl Into<String>, end: usize) -> SqlError {
        let end = self.text.floor_char_boundary(end);
        let read = &self.text[..end];
        let line = 1 + read.bytes().filter(|byte| *byte == b'\n').count();
        let line_start = read.rfind('\n').map_or(0, |at| at + 1);
        let mut start = line_start;
        while end - start >= SHOWN_BYTES_MAX {
            start += self.text[start..].chars().next().map_or(1, char::len_utf8);
        }
        // No dots in place of as many bytes.
        if start - line_start <= 3 {
            start = line_start;
        }
        let before = if start > line_start { "..." } else { "" };
        let after = match self.text.as_bytes().get(end) {
            None | Some(b'\n' | b'\r') => "",
            Some(_) => "...",
        };
        let context = format!("JSON data, line {line}: {before}{}{after}", &self.text[start..end]);
        SqlError::new(SqlState::InvalidTextRepresentation, "invalid input syntax for type json")
            .with_detail(detail)
            .with_context(&context)
    }

    /// At the current byte: what was found there instead of `expected`.
    fn unexpected(&self, expected: Option<&str>) -> SqlError {
        let rest = &self.text[self.at..];
        let Some(first) = rest.chars().next() else {
            return self.error_at("The input string ended unexpectedly.", self.text.len());
        };
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii();
        let token = if word(first) || first == '-' {
            let end = rest.find(|c: char| !word(c) && !matches!(c, '-' | '+' | '.')).unwrap_or(rest.len());
            &rest[..end.max(first.len_utf8())]
        } else if first == '"' {
            let end = rest[1..].find('"').map_or(rest.len(), |end| end + 2);
            &rest[..end]
        } else {
            &rest[..first.len_utf8()]
        };
        let end = self.at + token.len();
        match expected {
            Some(expected) => self.error_at(format!("Expected {expected}, but found \"{token}\"."), end),
            None => self.error_at(format!("Token \"{token}\" is invalid."), end),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn document(&mut self) -> SqlResult<Json> {
        let value = self.value()?;
        self.skip_blanks();
        if self.at < self.text.len() {
            return Err(self.unexpected(Some("end of input")));
        }
        Ok(value)
    }

    fn value(&mut self) -> SqlResult<Json> {
        self.skip_blanks();
        match self.peek() {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'"') => Ok(Json::String(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'a'..=b'z' | b'A'..=b'Z') => {
                for (word, value) in [("true", Json::Bool(true)), ("false", Json::Bool(false)), ("null", Json::Null)] {
                    let rest = &self.text[self.at..];
                    let ends = |c: char| !c.is_ascii_alphanumeric() && c != '_';
                    if rest.starts_with(word) && rest[word.len()..].chars().next().is_none_or(ends) {
                        self.at += word.len();
                        return Ok(value);
                    }
                }
                Err(self.unexpected(None))
            }
            None => Err(self.error("The input string ended unexpectedly.")),
            Some(b'}' | b']' | b',' | b':') => Err(self.unexpected(Some("JSON value"))),
            Some(_) => Err(self.unexpected(None)),
        }
    }

    fn nested(&mut self, parse: fn(&mut Self) -> SqlResult<Json>) -> SqlResult<Json> {
        if self.depth == MAX_DEPTH {
            return Err(too_deep());
        }
        self.depth += 1;
        let value = parse(self);
        self.depth -= 1;
        value
    }

    fn array(&mut self) -> SqlResult<Json> {
        self.at += 1;
        let mut items = Vec::new();
        self.skip_blanks();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Json::Array(items));
        }
        loop {
            let item = self.value()?;
            if self.build {
                items.push(item);
            }
            self.skip_blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Json::Array(items));
                }
                _ => return Err(self.unexpected(Some("\",\" or \"]\""))),
            }
        }
    }

    fn object(&mut self) -> SqlResult<Json> {
        self.at += 1;
        let mut pairs = Vec::new();
        self.skip_blanks();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Json::Object(pairs));
        }
        loop {
            self.skip_blanks();
            if self.peek() != Some(b'"') {
                return Err(self.unexpected(Some(if pairs.is_empty() { "string or \"}\"" } else { "string" })));
            }
            let key = self.string()?;
            self.skip_blanks();
            if self.peek() != Some(b':') {
                return Err(self.unexpected(Some("\":\"")));
            }
            self.at += 1;
            let value = self.value()?;
            if self.build {
                pairs.push((key, value));
            }
            self.skip_blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(if self.build { Json::object(pairs) } else { Json::Null });
                }
                _ => return Err(self.unexpected(Some("\",\" or \"}\""))),
            }
        }
    }

    fn number(&mut self) -> SqlResult<Json> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let digits = |mut at: usize| {
            while bytes.get(at).is_some_and(u8::is_ascii_digit) {
                at += 1;
            }
            at
        };
        let mut at = start + usize::from(bytes[start] == b'-');
        let integer = at;
        at = digits(at);
        let mut valid = at > integer && (bytes[integer] != b'0' || at == integer + 1);
        if bytes.get(at) == Some(&b'.') {
            let end = digits(at + 1);
            valid &= end > at + 1;
            at = end;
        }
        if matches!(bytes.get(at), Some(b'e' | b'E')) {
            at += 1;
            at += usize::from(matches!(bytes.get(at), Some(b'+' | b'-')));
            let end = digits(at);
            valid &= end > at;
            at = end;
        }
        let ends = bytes.get(at).is_none_or(|b| !b.is_ascii_alphanumeric() && *b != b'_' && *b < 0x80);
        if !valid || !ends {
            return Err(self.unexpected(None));
        }
        self.at = at;
        if !self.build {
            return Ok(Json::Null);
        }
        Ok(Json::Number(Numeric::parse(&self.text[start..at])?))
    }

    fn hex4(&mut self) -> SqlResult<u32> {
        let text = self.text.as_bytes().get(self.at..self.at + 4);
        let value = text
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok())
            .ok_or_else(|| {
                // Up to the first that is none.
                let rest = &self.text[self.at..];
                let digits = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
                if digits == rest.len() {
                    return self.unterminated();
                }
                let wrong = rest[digits..].chars().next().map_or(0, char::len_utf8);
                self.error_at("\"\\u\" must be followed by four hexadecimal digits.", self.at + digits + wrong)
            })?;
        self.at += 4;
        Ok(value)
    }

    fn unterminated(&self) -> SqlError {
        self.error_at(format!("Token \"{}\" is invalid.", &self.text[self.string..]), self.text.len())
    }

    fn string(&mut self) -> SqlResult<Box<str>> {
        self.string = self.at;
        self.at += 1;
        let mut out = String::new();
        let mut plain = self.at;
        loop {
            let Some(byte) = self.peek() else {
                return Err(self.unterminated());
            };
            match byte {
                b'"' => {
                    if self.build {
                        out.push_str(&self.text[plain..self.at]);
                    }
                    self.at += 1;
                    return Ok(out.into());
                }
                b'\\' => {
                    if self.build {
                        out.push_str(&self.text[plain..self.at]);
                    }
                    self.at += 1;
                    let escape = self.peek().ok_or_else(|| self.unterminated())?;
                    self.at += 1;
                    let c = match escape {
                        b'"' => '"',
                        b'\\' => '\\',
                        b'/' => '/',
                        b'b' => '\u{8}',
                        b'f' => '\u{c}',
                        b'n' => '\n',
                        b'r' => '\r',
                        b't' => '\t',
                        b'u' => self.unicode_escape()?,
                        _ => {
                            self.at -= 1;
                            let c = self.text[self.at..].chars().next().unwrap_or('\\');
                            let end = self.at + c.len_utf8();
                            return Err(self.error_at(format!("Escape sequence \"\\{c}\" is invalid."), end));
                        }
                    };
                    if self.build {
                        out.push(c);
                    }
                    plain = self.at;
                }
                0..=0x1f => {
                    return Err(self.error(format!("Character with value 0x{byte:02x} must be escaped.")));
                }
                _ => self.at += 1,
            }
        }
    }

    fn unicode_escape(&mut self) -> SqlResult<char> {
        let first = self.hex4()?;
        // `json` keeps its text, and PostgreSQL checks no more of it than the digits.
        if !self.build {
            return Ok(char::REPLACEMENT_CHARACTER);
        }
        let code = match first {
            0 => {
                let error = self.error("\\u0000 cannot be converted to text.");
                let untranslatable =
                    SqlError::new(SqlState::UntranslatableCharacter, "unsupported Unicode escape sequence");
                return Err(untranslatable
                    .with_detail(error.detail.clone().unwrap_or_default())
                    .with_context(error.context.as_deref().unwrap_or_default()));
            }
            0xd800..=0xdbff => {
                let rest = &self.text[self.at..];
                if !rest.starts_with("\\u") {
                    let end = self.at + rest.chars().next().map_or(0, char::len_utf8);
                    return Err(self.error_at("Unicode low surrogate must follow a high surrogate.", end));
                }
                self.at += 2;
                let low = self.hex4()?;
                if !(0xdc00..=0xdfff).contains(&low) {
                    return Err(self.error("Unicode low surrogate must follow a high surrogate."));
                }
                0x1_0000 + ((first - 0xd800) << 10) + (low - 0xdc00)
            }
            0xdc00..=0xdfff => {
                return Err(self.error("Unicode low surrogate must follow a high surrogate."));
            }
            code => code,
        };
        Ok(char::from_u32(code).expect("surrogates were joined"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(text: &str) -> String {
        let mut out = Vec::new();
        Json::parse(text).unwrap().write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn canonical_form() {
        assert_eq!(show(r#"{"bb":1,"a":[1,2.50,"x\u00e9\n"],"c":null,"a":true}"#), r#"{"a": true, "c": null, "bb": 1}"#);
        assert_eq!(show(" [1e3, -0.10, {}] "), "[1000, -0.10, {}]");
        assert_eq!(show(r#""\ud83d\ude00\u0001""#), "\"😀\\u0001\"");
    }

    #[test]
    fn errors_say_what_was_found() {
        let detail = |text: &str| Json::parse(text).unwrap_err().detail.clone().unwrap_or_default();
        assert_eq!(detail("{bad"), "Expected string or \"}\", but found \"bad\".");
        assert_eq!(detail("[1, 2"), "The input string ended unexpectedly.");
        assert_eq!(detail("nope"), "Token \"nope\" is invalid.");
        assert_eq!(detail("01"), "Token \"01\" is invalid.");
        assert_eq!(detail("1 2"), "Expected end of input, but found \"2\".");
        assert_eq!(Json::parse("\"\\u0000\"").unwrap_err().code(), SqlState::UntranslatableCharacter);
        assert!(validate("\"\\u0000\"").is_ok(), "json keeps the text, so it accepts it");
        let deep = "[".repeat(100_000);
        assert_eq!(Json::parse(&deep).unwrap_err().code(), SqlState::StatementTooComplex);
    }

    #[test]
    fn order_is_that_of_the_btree() {
        let rising = ["null", "\"\"", "\"a\"", "1", "1.5", "false", "true", "[1]", "[1, 2]", "{}", "{\"a\": 1}"];
        let values: Vec<Json> = rising.iter().map(|text| Json::parse(text).unwrap()).collect();
        for pair in values.windows(2) {
            assert!(pair[0] < pair[1], "{pair:?}");
        }
    }

    #[test]
    fn containment() {
        let contains = |a: &str, b: &str| Json::parse(a).unwrap().contains(&Json::parse(b).unwrap());
        assert!(contains(r#"{"a": {"b": 1, "c": 2}, "d": [1, 2]}"#, r#"{"a": {"b": 1.0}, "d": [2]}"#));
        assert!(contains("[1, 2, [3]]", "[[3]]") && contains("[1, 2]", "1"));
        assert!(!contains("{}", "[]") && !contains("1", "[1]"));
        assert!(!contains(r#"{"a": [1]}"#, r#"{"a": 1}"#) && !contains("[[1]]", "[1]") && !contains("[[1]]", "1"));
    }
}
