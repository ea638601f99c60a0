//! LIKE, ILIKE, SIMILAR TO and regular expressions. Documentation, section 9.7.

use std::cell::RefCell;
use std::rc::Rc;

use memchr::memmem;
use types::{Datum, SqlError, SqlResult, SqlState, SqlType};

use crate::arguments::{bytes, text};
use crate::posix_regex::{Options, Pattern};
use crate::signature::{ArgType, Builtin, Operator, RetType};

const TEXT: ArgType = ArgType::T(SqlType::Text);
const BYTEA: ArgType = ArgType::T(SqlType::Bytea);
const BPCHAR: ArgType = ArgType::T(SqlType::BPCHAR);
const BOOL: RetType = RetType::T(SqlType::Bool);
/// Compiled patterns kept for each thread.
const PATTERN_CACHE_COUNT: usize = 32;

/// Whether `value` matches a LIKE pattern: `%` any characters, `_` one; `escape` takes the next one literally.
///
/// Backtracks only to the last `%`, so the cost is bounded by the product of the lengths.
pub(crate) fn like(value: &str, pattern: &str, escape: Option<char>) -> SqlResult<bool> {
    let (mut v, mut p) = (value.chars(), pattern.chars());
    // Where to resume after a mismatch: the pattern behind the last `%`, and the value one character on.
    let mut resume: Option<(std::str::Chars<'_>, std::str::Chars<'_>)> = None;
    loop {
        let mut rest = p.clone();
        let matched = match rest.next() {
            None if v.as_str().is_empty() => return Ok(true),
            None => false,
            Some('%') if escape != Some('%') => {
                p = rest;
                resume = Some((p.clone(), v.clone()));
                continue;
            }
            Some(c) => {
                let (literal, any) = if Some(c) == escape {
                    let next = rest.next().ok_or_else(|| {
                        SqlError::new(SqlState::InvalidEscapeSequence, "LIKE pattern must not end with escape character")
                    })?;
                    (next, false)
                } else {
                    (c, c == '_')
                };
                match v.clone().next() {
                    Some(given) if any || given == literal => {
                        v.next();
                        true
                    }
                    _ => false,
                }
            }
        };
        if matched {
            p = rest;
            continue;
        }
        let Some((after_percent, from)) = &mut resume else { return Ok(false) };
        if from.next().is_none() {
            return Ok(false);
        }
        p = after_percent.clone();
        v = from.clone();
    }
}

/// A LIKE pattern of fixed parts between `%`, ready to be matched with many values.
pub struct LikePattern {
    /// What the value begins with.
    first: Vec<u8>,
    /// What it contains behind that, in this order.
    middle: Vec<memmem::Finder<'static>>,
    /// What it ends in; none where the pattern has no `%`, and `first` is all of it.
    last: Option<Vec<u8>>,
}

impl LikePattern {
    /// None where the pattern has an `_`, or ends with the escape character.
    #[must_use]
    pub fn new(pattern: &str) -> Option<Self> {
        let mut parts = vec![String::new()];
        let mut chars = pattern.chars();
        while let Some(c) = chars.next() {
            let part = parts.last_mut().expect("there is always one part");
            match c {
                '%' => parts.push(String::new()),
                '_' => return None,
                '\\' => part.push(chars.next()?),
                c => part.push(c),
            }
        }
        let mut parts = parts.into_iter().map(String::into_bytes);
        let first = parts.next()?;
        let last = parts.next_back();
        let middle = parts.filter(|part| !part.is_empty()).map(|part| memmem::Finder::new(&part).into_owned()).collect();
        Some(Self { first, middle, last })
    }

    /// Whether a value, in UTF-8, matches.
    #[must_use]
    pub fn matches(&self, value: &[u8]) -> bool {
        let Some(last) = &self.last else { return value == self.first };
        // Comparing nothing is left out: the address of an empty part is not mapped, and a masked load from there, though
        // it loads nothing, costs a microcode assist, more than all the rest.
        let rest = if self.first.is_empty() { Some(value) } else { value.strip_prefix(&self.first[..]) };
        let rest = if last.is_empty() { rest } else { rest.and_then(|rest| rest.strip_suffix(&last[..])) };
        let Some(rest) = rest else { return false };
        // The earliest place of each part leaves most for the others.
        let mut at = 0;
        self.middle.iter().all(|part| match part.find(&rest[at..]) {
            Some(found) => {
                at += found + part.needle().len();
                true
            }
            None => false,
        })
    }
}

impl LikePattern {
    /// Whether each of many values matches; value `i` is `values[ends[i]..ends[i + 1]]`. One part anywhere, as in
    /// `%part%`, is looked for in all of them at once.
    #[must_use]
    pub fn matches_each(&self, values: &[u8], ends: &[u32]) -> Vec<bool> {
        let bounds = |row: usize| ends[row] as usize..ends[row + 1] as usize;
        let rows = ends.len().saturating_sub(1);
        let is_anywhere = self.first.is_empty() && self.last.as_ref().is_some_and(Vec::is_empty);
        let ([part], true) = (&self.middle[..], is_anywhere) else {
            return (0..rows).map(|row| self.matches(&values[bounds(row)])).collect();
        };
        let mut found = vec![false; rows];
        let mut row = 0;
        let mut from = 0;
        while let Some(place) = values.get(from..).and_then(|rest| part.find(rest)) {
            let (start, end) = (from + place, from + place + part.needle().len());
            row += ends[row + 1..].partition_point(|end| *end as usize <= start);
            // What goes on into the next value is in none.
            from = if end <= bounds(row).end {
                found[row] = true;
                bounds(row).end
            } else {
                start + 1
            };
        }
        found
    }
}

/// Each byte as a character of its own.
fn like_bytes(value: &[u8], pattern: &[u8]) -> SqlResult<bool> {
    let characters = |bytes: &[u8]| bytes.iter().map(|byte| char::from(*byte)).collect::<String>();
    like(&characters(value), &characters(pattern), Some('\\'))
}

pub(super) fn ilike(value: &str, pattern: &str, escape: Option<char>) -> SqlResult<bool> {
    like(&value.to_ascii_lowercase(), &pattern.to_ascii_lowercase(), escape)
}

/// The escape character of `LIKE … ESCAPE`: one character or none.
pub(crate) fn escape_character(given: &str) -> SqlResult<Option<char>> {
    let mut chars = given.chars();
    match (chars.next(), chars.next()) {
        (only, None) => Ok(only),
        _ => Err(SqlError::new(SqlState::InvalidEscapeSequence, "invalid escape string")
            .with_hint("Escape string must be empty or one character.")),
    }
}

struct Compiled {
    pattern: String,
    options: Options,
    compiled: Rc<Pattern>,
}

/// The flags argument of `regexp_*` functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Flags {
    pub options: Options,
    pub global: bool,
}

impl Flags {
    pub(crate) fn parse(given: &str) -> SqlResult<Self> {
        let mut flags = Self::default();
        for c in given.chars() {
            if c == 'g' {
                flags.global = true;
            } else if flags.options.set(c).is_none() {
                let message = format!("invalid regular expression option: \"{c}\"");
                return Err(SqlError::new(SqlState::InvalidParameterValue, message));
            }
        }
        Ok(flags)
    }
}

thread_local! {
    static CACHE: RefCell<Vec<Compiled>> = const { RefCell::new(Vec::new()) };
}

/// Compiles a regular expression, or finds it compiled.
pub(crate) fn compile(pattern: &str, flags: Flags) -> SqlResult<Rc<Pattern>> {
    let options = flags.options;
    CACHE.with_borrow_mut(|cache| {
        if let Some(position) = cache.iter().position(|c| c.options == options && c.pattern == pattern) {
            cache[..=position].rotate_right(1);
            return Ok(Rc::clone(&cache[0].compiled));
        }
        let compiled = Rc::new(Pattern::new(pattern, options)?);
        cache.truncate(PATTERN_CACHE_COUNT - 1);
        cache.insert(0, Compiled { pattern: pattern.to_owned(), options, compiled: Rc::clone(&compiled) });
        Ok(compiled)
    })
}

/// A SIMILAR TO pattern as a regular expression over the whole value. What stands between two `"`, each behind the escape
/// character, is the group that `substring` yields.
pub(crate) fn similar_to_regex(pattern: &str, escape: Option<char>) -> SqlResult<String> {
    let mut out = String::from("^(?:");
    let mut chars = pattern.chars();
    let mut in_class = false;
    let mut separators = 0;
    let literal = |out: &mut String, c: char| {
        if !c.is_alphanumeric() {
            out.push('\\');
        }
        out.push(c);
    };
    while let Some(c) = chars.next() {
        if Some(c) == escape {
            let next = chars.next().ok_or_else(|| SqlError::new(SqlState::InvalidEscapeSequence, "invalid escape sequence"))?;
            match (next, separators, in_class) {
                ('"', 0, false) => out.push_str("){1,1}?("),
                ('"', 1, false) => out.push_str("){1,1}(?:"),
                ('"', _, false) => {
                    let message = "SQL regular expression may not contain more than two escape-double-quote separators";
                    return Err(SqlError::new(SqlState::InvalidUseOfEscapeCharacter, message));
                }
                _ => literal(&mut out, next),
            }
            separators += usize::from(next == '"' && !in_class);
        } else if in_class {
            in_class = c != ']';
            if c == '\\' {
                out.push('\\');
            }
            out.push(c);
        } else {
            match c {
                '%' => out.push_str(".*"),
                '_' => out.push('.'),
                '[' => {
                    in_class = true;
                    out.push('[');
                }
                '(' => out.push_str("(?:"),
                ')' | '|' | '*' | '+' | '?' | '{' | '}' => out.push(c),
                other => literal(&mut out, other),
            }
        }
    }
    out.push_str(")$");
    Ok(out)
}

pub(super) fn matches(value: &Datum, pattern: &Datum, ignore_case: bool) -> SqlResult<bool> {
    let flags = Flags { options: Options { ignore_case, ..Options::default() }, global: false };
    compile(text(pattern), flags)?.is_match(text(value))
}

pub(super) static OPERATORS: &[Operator] = &[
    Operator::new("~~", 1209, Builtin::pure("textlike", 850, &[TEXT, TEXT], BOOL, |_, _, a| {
        like(text(&a[0]), text(&a[1]), Some('\\')).map(Datum::Bool)
    }))
    .negated_by("!~~"),
    Operator::new("!~~", 1210, Builtin::pure("textnlike", 851, &[TEXT, TEXT], BOOL, |_, _, a| {
        like(text(&a[0]), text(&a[1]), Some('\\')).map(|matched| Datum::Bool(!matched))
    }))
    .negated_by("~~"),
    Operator::new("~~*", 1627, Builtin::pure("texticlike", 1633, &[TEXT, TEXT], BOOL, |_, _, a| {
        ilike(text(&a[0]), text(&a[1]), Some('\\')).map(Datum::Bool)
    }))
    .negated_by("!~~*"),
    Operator::new("!~~*", 1628, Builtin::pure("texticnlike", 1634, &[TEXT, TEXT], BOOL, |_, _, a| {
        ilike(text(&a[0]), text(&a[1]), Some('\\')).map(|matched| Datum::Bool(!matched))
    }))
    .negated_by("~~*"),
    Operator::new("~", 641, Builtin::pure("textregexeq", 1254, &[TEXT, TEXT], BOOL, |_, _, a| {
        matches(&a[0], &a[1], false).map(Datum::Bool)
    }))
    .negated_by("!~"),
    Operator::new("!~", 642, Builtin::pure("textregexne", 1256, &[TEXT, TEXT], BOOL, |_, _, a| {
        matches(&a[0], &a[1], false).map(|matched| Datum::Bool(!matched))
    }))
    .negated_by("~"),
    Operator::new("~*", 1228, Builtin::pure("texticregexeq", 1238, &[TEXT, TEXT], BOOL, |_, _, a| {
        matches(&a[0], &a[1], true).map(Datum::Bool)
    }))
    .negated_by("!~*"),
    Operator::new("!~*", 1229, Builtin::pure("texticregexne", 1239, &[TEXT, TEXT], BOOL, |_, _, a| {
        matches(&a[0], &a[1], true).map(|matched| Datum::Bool(!matched))
    }))
    .negated_by("~*"),
    Operator::new("~~", 2016, Builtin::pure("bytealike", 2005, &[BYTEA, BYTEA], BOOL, |_, _, a| {
        like_bytes(bytes(&a[0]), bytes(&a[1])).map(Datum::Bool)
    }))
    .negated_by("!~~"),
    Operator::new("!~~", 2017, Builtin::pure("byteanlike", 2006, &[BYTEA, BYTEA], BOOL, |_, _, a| {
        like_bytes(bytes(&a[0]), bytes(&a[1])).map(|matched| Datum::Bool(!matched))
    }))
    .negated_by("~~"),
    // What a char(n) is padded with counts.
    Operator::new("~~", 1211, Builtin::pure("bpcharlike", 1631, &[BPCHAR, TEXT], BOOL, |_, _, a| {
        like(text(&a[0]), text(&a[1]), Some('\\')).map(Datum::Bool)
    }))
    .negated_by("!~~"),
    Operator::new("!~~", 1212, Builtin::pure("bpcharnlike", 1632, &[BPCHAR, TEXT], BOOL, |_, _, a| {
        like(text(&a[0]), text(&a[1]), Some('\\')).map(|matched| Datum::Bool(!matched))
    }))
    .negated_by("~~"),
    Operator::new("~~*", 1629, Builtin::pure("bpchariclike", 1660, &[BPCHAR, TEXT], BOOL, |_, _, a| {
        ilike(text(&a[0]), text(&a[1]), Some('\\')).map(Datum::Bool)
    }))
    .negated_by("!~~*"),
    Operator::new("!~~*", 1630, Builtin::pure("bpcharicnlike", 1661, &[BPCHAR, TEXT], BOOL, |_, _, a| {
        ilike(text(&a[0]), text(&a[1]), Some('\\')).map(|matched| Datum::Bool(!matched))
    }))
    .negated_by("~~*"),
    Operator::new("~", 1055, Builtin::pure("bpcharregexeq", 1658, &[BPCHAR, TEXT], BOOL, |_, _, a| {
        matches(&a[0], &a[1], false).map(Datum::Bool)
    }))
    .negated_by("!~"),
    Operator::new("!~", 1056, Builtin::pure("bpcharregexne", 1659, &[BPCHAR, TEXT], BOOL, |_, _, a| {
        matches(&a[0], &a[1], false).map(|matched| Datum::Bool(!matched))
    }))
    .negated_by("~"),
    Operator::new("~*", 1234, Builtin::pure("bpcharicregexeq", 1656, &[BPCHAR, TEXT], BOOL, |_, _, a| {
        matches(&a[0], &a[1], true).map(Datum::Bool)
    }))
    .negated_by("!~*"),
    Operator::new("!~*", 1235, Builtin::pure("bpcharicregexne", 1657, &[BPCHAR, TEXT], BOOL, |_, _, a| {
        matches(&a[0], &a[1], true).map(|matched| Datum::Bool(!matched))
    }))
    .negated_by("~*"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_matches_as_sql_says() {
        for (value, pattern, expected) in [
            ("abc", "abc", true),
            ("abc", "a%", true),
            ("abc", "%c", true),
            ("abc", "a_c", true),
            ("abc", "_", false),
            ("", "%", true),
            ("", "_", false),
            ("a%c", "a\\%c", true),
            ("abc", "a\\%c", false),
            ("aXbXc", "a%X%c", true),
            ("aab", "%ab", true),
            ("a", "a%a", false),
            ("aba", "a%a", true),
            ("abab", "%ab%ab%", true),
            ("abab", "%ab%ba%", false),
            ("x%y", "%\\%%", true),
            ("", "", true),
            ("abc", "%%b%%", true),
            ("mississippi", "m%iss%ip%i", true),
            ("mississippi", "m%iss%ix%i", false),
            ("日本語", "_本_", true),
        ] {
            assert_eq!(like(value, pattern, Some('\\')), Ok(expected), "{value} LIKE {pattern}");
            if let Some(compiled) = LikePattern::new(pattern) {
                assert_eq!(compiled.matches(value.as_bytes()), expected, "{value} LIKE {pattern}, compiled");
            }
        }
        like("a", "a\\", Some('\\')).expect_err("ends with the escape character");
        assert!(LikePattern::new("a\\").is_none() && LikePattern::new("a_").is_none());
    }

    #[test]
    fn values_end_to_end_match_as_each_does() {
        let values = ["", "ab", "xaby", "a", "b", "abab", "", "xa", "by", "ü", "ab"];
        let buffer = values.concat();
        let mut ends = vec![0];
        values.iter().for_each(|value| ends.push(ends[ends.len() - 1] + value.len() as u32));
        for pattern in ["%ab%", "%a%", "%%", "ab%", "%ab", "%a%b%", "ab", "%ü%", "%abx%", "%bx%"] {
            let compiled = LikePattern::new(pattern).unwrap();
            let expected: Vec<bool> = values.iter().map(|value| compiled.matches(value.as_bytes())).collect();
            assert_eq!(compiled.matches_each(buffer.as_bytes(), &ends), expected, "{pattern}");
        }
        assert!(LikePattern::new("%a%").unwrap().matches_each(b"", &[0]).is_empty());
    }

    #[test]
    fn many_percents_do_not_explode() {
        let value = "a".repeat(5_000);
        let pattern = "%a".repeat(200) + "b";
        assert_eq!(like(&value, &pattern, None), Ok(false));
    }

    #[test]
    fn similar_to_covers_the_whole_value() {
        for (value, pattern, expected) in [("abc", "abc", true), ("abc", "a", false), ("abc", "%(b|d)%", true), ("abc", "(b|c)%", false)] {
            let regex = compile(&similar_to_regex(pattern, Some('\\')).expect("valid"), Flags::default()).expect("valid");
            assert_eq!(regex.is_match(value), Ok(expected), "{value} SIMILAR TO {pattern}");
        }
    }
}
