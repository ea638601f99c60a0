//! `regexp_*` and `substring` with a pattern. Documentation, section 9.7.

use types::{Array, Datum, SqlError, SqlResult, SqlState, SqlType};

use crate::EvalContext;
use crate::arguments::{int, text};
use crate::operators::pattern::{Flags, compile, escape_character, similar_to_regex};
use crate::operators::strings::check_length;
use crate::posix_regex::Groups;
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

/// The flags of a function that has no use for `g`.
fn local_flags(a: &[Datum], position: usize, function: &str) -> SqlResult<Flags> {
    let flags = flags(a, position)?;
    if flags.global {
        let message = format!("{function}() does not support the \"global\" option");
        let error = SqlError::new(SqlState::InvalidParameterValue, message);
        return Err(if function == "regexp_match" { error.with_hint("Use the regexp_matches function instead.") } else { error });
    }
    Ok(flags)
}

/// A parameter that must be at least `least`.
fn bounded(a: &[Datum], position: usize, name: &str, least: i64, default: i64) -> SqlResult<i64> {
    let value = a.get(position).map_or(default, int);
    if value < least {
        let message = format!("invalid value for parameter \"{name}\": {value}");
        return Err(SqlError::new(SqlState::InvalidParameterValue, message));
    }
    Ok(value)
}

/// The byte of the start parameter, which counts characters from 1; none behind the end.
fn start_byte(value: &str, start: i64) -> Option<usize> {
    let skipped = usize::try_from(start - 1).unwrap_or(usize::MAX);
    match value.char_indices().nth(skipped) {
        Some((at, _)) => Some(at),
        None => (value.chars().count() == skipped).then_some(value.len()),
    }
}

fn part(value: &str, group: Option<(usize, usize)>) -> Datum {
    group.map_or(Datum::Null, |(from, to)| Datum::text(&value[from..to]))
}

fn whole(found: &Groups) -> (usize, usize) {
    found[0].expect("group 0 is the whole match")
}

/// The groups of a match, or the whole match when the pattern has none.
fn groups(value: &str, found: &Groups) -> Datum {
    let shown = if found.len() == 1 { &found[..] } else { &found[1..] };
    Datum::Array(Array::from_elements(shown.iter().map(|group| part(value, *group)).collect()).into())
}

/// PostgreSQL's replacement text (`\1`, `\&`, `\\`) for one match.
fn replacement(template: &str, value: &str, found: &Groups, out: &mut String) {
    let mut chars = template.chars();
    let group = |number: usize| found.get(number).copied().flatten().map_or("", |(from, to)| &value[from..to]);
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('&') => out.push_str(group(0)),
            Some(digit @ '1'..='9') => out.push_str(group(digit.to_digit(10).expect("a decimal digit") as usize)),
            Some('\\') => out.push('\\'),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
}

/// Replaces the match of this number, or all where it is 0.
fn replace(context: &EvalContext<'_>, value: &str, pattern: &str, template: &str, start: i64, number: i64, flags: Flags) -> SqlResult<Datum> {
    let regex = compile(pattern, flags)?;
    let Some(from) = start_byte(value, start) else { return Ok(Datum::text(value)) };
    let (mut out, mut copied) = (String::with_capacity(value.len()), 0);
    for (found, count) in regex.matches(value, from).zip(1_i64..) {
        let found = found?;
        if number != 0 && count < number {
            continue;
        }
        let (from, to) = whole(&found);
        out.push_str(&value[copied..from]);
        replacement(template, value, &found, &mut out);
        check_length(context, out.len())?;
        copied = to;
        if number != 0 {
            break;
        }
    }
    out.push_str(&value[copied..]);
    Ok(Datum::text(out))
}

fn replace_call(context: &EvalContext<'_>, a: &[Datum]) -> SqlResult<Datum> {
    let flags = flags(a, 3)?;
    replace(context, text(&a[0]), text(&a[1]), text(&a[2]), 1, i64::from(!flags.global), flags)
}

fn replace_from(context: &EvalContext<'_>, a: &[Datum]) -> SqlResult<Datum> {
    let start = bounded(a, 3, "start", 1, 1)?;
    let number = bounded(a, 4, "n", 0, 1)?;
    replace(context, text(&a[0]), text(&a[1]), text(&a[2]), start, number, flags(a, 5)?)
}

fn split(a: &[Datum], function: &str) -> SqlResult<Vec<Datum>> {
    let value = text(&a[0]);
    let regex = compile(text(&a[1]), local_flags(a, 2, function)?)?;
    let (mut parts, mut copied, mut last_end) = (Vec::new(), 0, 0);
    for found in regex.matches(value, 0) {
        let (from, to) = whole(&found?);
        // Empty matches at the start, at the end and right behind another one separate nothing.
        if from < value.len() && to > last_end {
            parts.push(Datum::text(&value[copied..from]));
            copied = to;
        }
        last_end = to;
    }
    parts.push(Datum::text(&value[copied..]));
    Ok(parts)
}

fn matches(a: &[Datum], flags: Flags) -> SqlResult<Vec<Vec<Datum>>> {
    let value = text(&a[0]);
    let regex = compile(text(&a[1]), flags)?;
    let limit = if flags.global { usize::MAX } else { 1 };
    regex.matches(value, 0).take(limit).map(|found| Ok(vec![groups(value, &found?)])).collect()
}

fn first_match(a: &[Datum]) -> SqlResult<Datum> {
    let rows = matches(a, local_flags(a, 2, "regexp_match")?)?;
    Ok(rows.into_iter().next().and_then(|row| row.into_iter().next()).unwrap_or(Datum::Null))
}

fn count(a: &[Datum]) -> SqlResult<Datum> {
    let start = bounded(a, 2, "start", 1, 1)?;
    let regex = compile(text(&a[1]), local_flags(a, 3, "regexp_count")?)?;
    let Some(from) = start_byte(text(&a[0]), start) else { return Ok(Datum::Int(0)) };
    let mut count = 0;
    for found in regex.matches(text(&a[0]), from) {
        found?;
        count += 1;
    }
    Ok(Datum::Int(count))
}

/// The group of this number in the match of that number.
fn nth(a: &[Datum], start: i64, number: i64, group: i64, flags: Flags) -> SqlResult<Option<(usize, usize)>> {
    let regex = compile(text(&a[1]), flags)?;
    let Some(from) = start_byte(text(&a[0]), start) else { return Ok(None) };
    let group = usize::try_from(group).unwrap_or(usize::MAX);
    if group > regex.group_count() {
        return Ok(None);
    }
    let skipped = usize::try_from(number - 1).unwrap_or(usize::MAX);
    match regex.matches(text(&a[0]), from).nth(skipped) {
        Some(found) => Ok(found?[group]),
        None => Ok(None),
    }
}

fn instr(a: &[Datum]) -> SqlResult<Datum> {
    let (start, number) = (bounded(a, 2, "start", 1, 1)?, bounded(a, 3, "n", 1, 1)?);
    let end = bounded(a, 4, "endoption", 0, 0)?;
    if end > 1 {
        let message = format!("invalid value for parameter \"endoption\": {end}");
        return Err(SqlError::new(SqlState::InvalidParameterValue, message));
    }
    let flags = local_flags(a, 5, "regexp_instr")?;
    let found = nth(a, start, number, bounded(a, 6, "subexpr", 0, 0)?, flags)?;
    Ok(Datum::Int(found.map_or(0, |(from, to)| {
        text(&a[0])[..if end == 1 { to } else { from }].chars().count() as i64 + 1
    })))
}

fn substr(a: &[Datum]) -> SqlResult<Datum> {
    let (start, number) = (bounded(a, 2, "start", 1, 1)?, bounded(a, 3, "n", 1, 1)?);
    let flags = local_flags(a, 4, "regexp_substr")?;
    Ok(part(text(&a[0]), nth(a, start, number, bounded(a, 5, "subexpr", 0, 0)?, flags)?))
}

fn substring(value: &str, pattern: &str) -> SqlResult<Datum> {
    let found = compile(pattern, Flags::default())?.find_at(value, 0)?;
    Ok(found.map_or(Datum::Null, |found| part(value, found[usize::from(found.len() > 1)])))
}

fn like(a: &[Datum]) -> SqlResult<Datum> {
    compile(text(&a[1]), local_flags(a, 2, "regexp_like")?)?.is_match(text(&a[0])).map(Datum::Bool)
}

const MATCHES: SetFunction =
    SetFunction { columns: &[], eval: |_, _, a| Ok(matches(a, flags(a, 2)?)?.into_iter().collect()) };
const SPLIT: SetFunction = SetFunction {
    columns: &[],
    eval: |_, _, a| Ok(split(a, "regexp_split_to_table")?.into_iter().map(|part| vec![part]).collect()),
};

fn split_array(a: &[Datum]) -> SqlResult<Datum> {
    Ok(Datum::Array(Array::from_elements(split(a, "regexp_split_to_array")?).into()))
}

pub(super) static FUNCTIONS: &[Builtin] = &[
    Builtin::pure("substring", 2073, &[TEXT, TEXT], R_TEXT, |_, _, a| substring(text(&a[0]), text(&a[1]))),
    Builtin::pure("substring", 2074, &[TEXT, TEXT, TEXT], R_TEXT, |_, _, a| {
        substring(text(&a[0]), &similar_to_regex(text(&a[1]), escape_character(text(&a[2]))?)?)
    }),
    Builtin::pure("regexp_like", 6263, &[TEXT, TEXT], R_BOOL, |_, _, a| like(a)),
    Builtin::pure("regexp_like", 6264, &[TEXT, TEXT, TEXT], R_BOOL, |_, _, a| like(a)),
    Builtin::pure("regexp_match", 3396, &[TEXT, TEXT], R_TEXTS, |_, _, a| first_match(a)),
    Builtin::pure("regexp_match", 3397, &[TEXT, TEXT, TEXT], R_TEXTS, |_, _, a| first_match(a)),
    Builtin::pure("regexp_matches", 2763, &[TEXT, TEXT], R_TEXTS, |_, _, a| first_match(a)).returning_set(MATCHES),
    Builtin::pure("regexp_matches", 2764, &[TEXT, TEXT, TEXT], R_TEXTS, |_, _, a| first_match(a)).returning_set(MATCHES),
    Builtin::pure("regexp_replace", 2284, &[TEXT, TEXT, TEXT], R_TEXT, |context, _, a| replace_call(context, a)),
    Builtin::pure("regexp_replace", 2285, &[TEXT, TEXT, TEXT, TEXT], R_TEXT, |context, _, a| replace_call(context, a)),
    Builtin::pure("regexp_replace", 6253, &[TEXT, TEXT, TEXT, I4], R_TEXT, |context, _, a| replace_from(context, a)),
    Builtin::pure("regexp_replace", 6252, &[TEXT, TEXT, TEXT, I4, I4], R_TEXT, |context, _, a| replace_from(context, a)),
    Builtin::pure("regexp_replace", 6251, &[TEXT, TEXT, TEXT, I4, I4, TEXT], R_TEXT, |context, _, a| replace_from(context, a)),
    Builtin::pure("regexp_count", 6254, &[TEXT, TEXT], R_I4, |_, _, a| count(a)),
    Builtin::pure("regexp_count", 6255, &[TEXT, TEXT, I4], R_I4, |_, _, a| count(a)),
    Builtin::pure("regexp_count", 6256, &[TEXT, TEXT, I4, TEXT], R_I4, |_, _, a| count(a)),
    Builtin::pure("regexp_instr", 6257, &[TEXT, TEXT], R_I4, |_, _, a| instr(a)),
    Builtin::pure("regexp_instr", 6258, &[TEXT, TEXT, I4], R_I4, |_, _, a| instr(a)),
    Builtin::pure("regexp_instr", 6259, &[TEXT, TEXT, I4, I4], R_I4, |_, _, a| instr(a)),
    Builtin::pure("regexp_instr", 6260, &[TEXT, TEXT, I4, I4, I4], R_I4, |_, _, a| instr(a)),
    Builtin::pure("regexp_instr", 6261, &[TEXT, TEXT, I4, I4, I4, TEXT], R_I4, |_, _, a| instr(a)),
    Builtin::pure("regexp_instr", 6262, &[TEXT, TEXT, I4, I4, I4, TEXT, I4], R_I4, |_, _, a| instr(a)),
    Builtin::pure("regexp_substr", 6265, &[TEXT, TEXT], R_TEXT, |_, _, a| substr(a)),
    Builtin::pure("regexp_substr", 6266, &[TEXT, TEXT, I4], R_TEXT, |_, _, a| substr(a)),
    Builtin::pure("regexp_substr", 6267, &[TEXT, TEXT, I4, I4], R_TEXT, |_, _, a| substr(a)),
    Builtin::pure("regexp_substr", 6268, &[TEXT, TEXT, I4, I4, TEXT], R_TEXT, |_, _, a| substr(a)),
    Builtin::pure("regexp_substr", 6269, &[TEXT, TEXT, I4, I4, TEXT, I4], R_TEXT, |_, _, a| substr(a)),
    Builtin::pure("regexp_split_to_array", 2767, &[TEXT, TEXT], R_TEXTS, |_, _, a| split_array(a)),
    Builtin::pure("regexp_split_to_array", 2768, &[TEXT, TEXT, TEXT], R_TEXTS, |_, _, a| split_array(a)),
    Builtin::pure("regexp_split_to_table", 2765, &[TEXT, TEXT], R_TEXT, |_, _, _| Ok(Datum::Null)).returning_set(SPLIT),
    Builtin::pure("regexp_split_to_table", 2766, &[TEXT, TEXT, TEXT], R_TEXT, |_, _, _| Ok(Datum::Null)).returning_set(SPLIT),
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
