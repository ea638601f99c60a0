//! `regexp_*` and `substring` with a pattern. Documentation, section 9.7.

use regex::Captures;
use types::{Array, Datum, SqlError, SqlResult, SqlState, SqlType};

use crate::arguments::{int, text};
use crate::operators::pattern::{Flags, compile};
use crate::operators::strings::check_length;
use crate::signature::{ArgType, Builtin, RetType, SetFunction};

const TEXT: ArgType = ArgType::T(SqlType::Text);
const I4: ArgType = ArgType::T(SqlType::Int4);
const R_TEXT: RetType = RetType::T(SqlType::Text);
const R_TEXTS: RetType = RetType::T(SqlType::TEXT_ARRAY);
const R_I4: RetType = RetType::T(SqlType::Int4);
const R_BOOL: RetType = RetType::T(SqlType::Bool);

fn flags(a: &[Datum], position: usize) -> SqlResult<Flags> {
    a.get(position).map_or(Ok(Flags::default()), |given| Flags::parse(text(given)))
}

/// The groups of a match, or the whole match when the pattern has none.
fn groups(found: &Captures<'_>) -> Datum {
    let datum = |group: Option<regex::Match<'_>>| group.map_or(Datum::Null, |group| Datum::text(group.as_str()));
    let elements = if found.len() == 1 { vec![datum(found.get(0))] } else { found.iter().skip(1).map(datum).collect() };
    Datum::Array(Array::from_elements(elements).into())
}

/// PostgreSQL's replacement text (`\1`, `\&`, `\\`) for one match.
fn replacement(template: &str, found: &Captures<'_>, out: &mut String) {
    let mut chars = template.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('&') => out.push_str(&found[0]),
            Some(digit @ '1'..='9') => {
                let group = digit.to_digit(10).expect("a decimal digit") as usize;
                out.push_str(found.get(group).map_or("", |group| group.as_str()));
            }
            Some('\\') => out.push('\\'),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
}

fn replace(value: &str, pattern: &str, template: &str, flags: Flags) -> SqlResult<Datum> {
    let regex = compile(pattern, flags)?;
    let (mut out, mut copied) = (String::with_capacity(value.len()), 0);
    for found in regex.captures_iter(value) {
        let whole = found.get(0).expect("group 0 is the whole match");
        out.push_str(&value[copied..whole.start()]);
        replacement(template, &found, &mut out);
        check_length(out.len())?;
        copied = whole.end();
        if !flags.global {
            break;
        }
    }
    out.push_str(&value[copied..]);
    Ok(Datum::text(out))
}

fn split(value: &str, pattern: &str, flags: Flags) -> SqlResult<Vec<Datum>> {
    let regex = compile(pattern, flags)?;
    let (mut parts, mut from) = (Vec::new(), 0);
    for found in regex.find_iter(value) {
        // PostgreSQL ignores empty matches at the start and right after the previous match.
        if found.is_empty() && (found.start() == from || found.start() == value.len()) {
            continue;
        }
        parts.push(Datum::text(&value[from..found.start()]));
        from = found.end();
    }
    parts.push(Datum::text(&value[from..]));
    Ok(parts)
}

fn matches(a: &[Datum]) -> SqlResult<Vec<Vec<Datum>>> {
    let flags = flags(a, 2)?;
    let regex = compile(text(&a[1]), flags)?;
    let limit = if flags.global { usize::MAX } else { 1 };
    Ok(regex.captures_iter(text(&a[0])).take(limit).map(|found| vec![groups(&found)]).collect())
}

fn first_match(a: &[Datum]) -> SqlResult<Datum> {
    Ok(matches(a)?.into_iter().next().and_then(|row| row.into_iter().next()).unwrap_or(Datum::Null))
}

fn count(a: &[Datum]) -> SqlResult<Datum> {
    let start = a.get(2).map_or(1, int);
    if start < 1 {
        let message = format!("invalid value for parameter \"start\": {start}");
        return Err(SqlError::new(SqlState::InvalidParameterValue, message));
    }
    let start = usize::try_from(start - 1).unwrap_or(usize::MAX);
    let value: String = text(&a[0]).chars().skip(start).collect();
    let regex = compile(text(&a[1]), flags(a, 3)?)?;
    Ok(Datum::Int(regex.find_iter(&value).count() as i64))
}

fn substring(a: &[Datum]) -> SqlResult<Datum> {
    let regex = compile(text(&a[1]), Flags::default())?;
    let Some(found) = regex.captures(text(&a[0])) else { return Ok(Datum::Null) };
    let group = if found.len() > 1 { found.get(1) } else { found.get(0) };
    Ok(group.map_or(Datum::Null, |group| Datum::text(group.as_str())))
}

pub(super) static FUNCTIONS: &[Builtin] = &[
    Builtin::pure("substring", 2073, &[TEXT, TEXT], R_TEXT, |_, _, a| substring(a)),
    Builtin::pure("regexp_like", 6263, &[TEXT, TEXT], R_BOOL, |_, _, a| {
        Ok(Datum::Bool(compile(text(&a[1]), Flags::default())?.is_match(text(&a[0]))))
    }),
    Builtin::pure("regexp_like", 6264, &[TEXT, TEXT, TEXT], R_BOOL, |_, _, a| {
        Ok(Datum::Bool(compile(text(&a[1]), flags(a, 2)?)?.is_match(text(&a[0]))))
    }),
    Builtin::pure("regexp_match", 3396, &[TEXT, TEXT], R_TEXTS, |_, _, a| first_match(a)),
    Builtin::pure("regexp_match", 3397, &[TEXT, TEXT, TEXT], R_TEXTS, |_, _, a| first_match(a)),
    Builtin::pure("regexp_matches", 2763, &[TEXT, TEXT], R_TEXTS, |_, _, a| first_match(a))
        .returning_set(SetFunction { columns: &[], eval: |_, _, a| Ok(matches(a)?.into_iter().collect()) }),
    Builtin::pure("regexp_matches", 2764, &[TEXT, TEXT, TEXT], R_TEXTS, |_, _, a| first_match(a))
        .returning_set(SetFunction { columns: &[], eval: |_, _, a| Ok(matches(a)?.into_iter().collect()) }),
    Builtin::pure("regexp_replace", 2284, &[TEXT, TEXT, TEXT], R_TEXT, |_, _, a| {
        replace(text(&a[0]), text(&a[1]), text(&a[2]), Flags::default())
    }),
    Builtin::pure("regexp_replace", 2285, &[TEXT, TEXT, TEXT, TEXT], R_TEXT, |_, _, a| {
        replace(text(&a[0]), text(&a[1]), text(&a[2]), flags(a, 3)?)
    }),
    Builtin::pure("regexp_count", 6254, &[TEXT, TEXT], R_I4, |_, _, a| count(a)),
    Builtin::pure("regexp_count", 6255, &[TEXT, TEXT, I4], R_I4, |_, _, a| count(a)),
    Builtin::pure("regexp_count", 6256, &[TEXT, TEXT, I4, TEXT], R_I4, |_, _, a| count(a)),
    Builtin::pure("regexp_split_to_array", 2767, &[TEXT, TEXT], R_TEXTS, |_, _, a| {
        Ok(Datum::Array(Array::from_elements(split(text(&a[0]), text(&a[1]), Flags::default())?).into()))
    }),
    Builtin::pure("regexp_split_to_array", 2768, &[TEXT, TEXT, TEXT], R_TEXTS, |_, _, a| {
        Ok(Datum::Array(Array::from_elements(split(text(&a[0]), text(&a[1]), flags(a, 2)?)?).into()))
    }),
    Builtin::pure("regexp_split_to_table", 2765, &[TEXT, TEXT], R_TEXT, |_, _, _| Ok(Datum::Null)).returning_set(SetFunction {
        columns: &[],
        eval: |_, _, a| Ok(split(text(&a[0]), text(&a[1]), Flags::default())?.into_iter().map(|part| vec![part]).collect()),
    }),
    Builtin::pure("regexp_split_to_table", 2766, &[TEXT, TEXT, TEXT], R_TEXT, |_, _, _| Ok(Datum::Null)).returning_set(SetFunction {
        columns: &[],
        eval: |_, _, a| Ok(split(text(&a[0]), text(&a[1]), flags(a, 2)?)?.into_iter().map(|part| vec![part]).collect()),
    }),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::eval_function;

    #[test]
    fn replacement_text_refers_to_groups() {
        let t = |value: &str| (SqlType::Text, Datum::text(value));
        let got = eval_function("regexp_replace", &[t("foobarbaz"), t("b(..)"), t("X\\1Y"), t("g")]);
        assert_eq!(got, Ok(Datum::text("fooXarYXazY")));
        let got = eval_function("regexp_replace", &[t("Thomas"), t(".[mN]a."), t("M")]);
        assert_eq!(got, Ok(Datum::text("ThM")));
        let got = eval_function("substring", &[t("foobar"), t("o(.)b")]);
        assert_eq!(got, Ok(Datum::text("o")));
    }
}
