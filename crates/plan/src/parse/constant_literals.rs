//! Literals of dates and times in expressions that the catalog keeps: defaults, checks, keys and predicates of indexes.
//!
//! What `'01/02/2020'::date`, `'2020-01-01'::timestamptz` and `'now'::timestamp` mean depends on the session: on DateStyle,
//! TimeZone and the moment. They mean what they meant when the expression was written, so they are kept in the form that every
//! session reads alike: ISO 8601, with the offset from UTC. A literal that means the same to all is kept as it was written.
//!
//! Only the text says here what type a literal is of: by a cast or a type before it, or by the column whose default it is. One that
//! gets its type from the operand beside it (`d > '01/02/2020'`) is left.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};
use types::{DateOrder, Formatting, IntervalStyle, SqlType, Zone, parse_text, to_text};

use super::keyword;
use super::stored_types::{Rewritten, significant_tokens};

const DAY_MICROS: i64 = 86_400_000_000;

/// The text with its literals of dates and times, as `formatting` reads them, the same to every session. `ty`: what the whole
/// expression is assigned to, if that is known.
pub(crate) fn with_constant_literals(text: &str, ty: Option<SqlType>, formatting: &Formatting) -> String {
    if !text.contains('\'') {
        return text.to_owned();
    }
    let Some(tokens) = significant_tokens(text) else { return text.to_owned() };
    let mut rewritten = Rewritten::new(text);
    for (at, token) in tokens.iter().enumerate() {
        let Token::SingleQuotedString(literal) = &token.token else { continue };
        let alone = ty.filter(|_| is_alone(&tokens, at));
        let Some(ty) = type_before(&tokens, at).or_else(|| type_behind(&tokens, at)).or(alone) else { continue };
        if let Some(constant) = constant(literal, ty, formatting) {
            rewritten.replace(token.span, &format!("'{}'", constant.replace('\'', "''")));
        }
    }
    rewritten.finish()
}

/// The literal in the form that every session reads alike; none where that is so already, and where it cannot be read.
fn constant(literal: &str, ty: SqlType, formatting: &Formatting) -> Option<String> {
    let ty = ty.base().without_typmod();
    if !is_of_time(ty) {
        return None;
    }
    let shown = |formatting: &Formatting| {
        parse_text(&ty, literal, formatting).ok().map(|value| to_text(&ty, &value, &Formatting::default()))
    };
    let constant = shown(formatting)?;
    let elsewhere = Formatting {
        zone: Zone::parse("Asia/Kolkata").ok()?,
        date_order: DateOrder::Dmy,
        interval_style: IntervalStyle::SqlStandard,
        now: formatting.now.saturating_add(DAY_MICROS),
        ..Formatting::default()
    };
    let years_first = Formatting { date_order: DateOrder::Ymd, ..Formatting::default() };
    let is_same = [elsewhere, years_first, Formatting::default()].iter().all(|other| shown(other).as_ref() == Some(&constant));
    (!is_same).then_some(constant)
}

/// Dates, times and intervals, and arrays and ranges of them.
fn is_of_time(ty: SqlType) -> bool {
    match ty.base() {
        SqlType::Date
        | SqlType::Time(_)
        | SqlType::TimeTz(_)
        | SqlType::Timestamp(_)
        | SqlType::TimestampTz(_)
        | SqlType::Interval => true,
        SqlType::Range(of) | SqlType::MultiRange(of) => is_of_time(of.subtype()),
        other => other.element().is_some_and(|element| element != other && is_of_time(element)),
    }
}

/// Whether the literal is the whole of an expression, but for parentheses.
fn is_alone(tokens: &[TokenWithSpan], at: usize) -> bool {
    tokens[..at].iter().all(|token| token.token == Token::LParen)
        && tokens[at + 1..].iter().all(|token| token.token == Token::RParen)
}

/// The type that a literal is cast to: `'…'::type`, `CAST('…' AS type)`.
fn type_behind(tokens: &[TokenWithSpan], at: usize) -> Option<SqlType> {
    let first = tokens.get(at + 1)?;
    let is_call = at >= 2
        && tokens[at - 1].token == Token::LParen
        && keyword(&tokens[at - 2]) == Keyword::CAST
        && keyword(first) == Keyword::AS;
    if first.token != Token::DoubleColon && !is_call {
        return None;
    }
    let (ty, count) = type_at(&tokens[at + 2..])?;
    is_complete(ty, tokens.get(at + 2 + count)).then_some(ty)
}

/// The type before a literal: `DATE '…'`, `TIMESTAMP WITH TIME ZONE '…'`.
fn type_before(tokens: &[TokenWithSpan], at: usize) -> Option<SqlType> {
    // The longest is `TIMESTAMP(3) WITH TIME ZONE`.
    let found = (at.saturating_sub(7)..at).find_map(|from| {
        let (ty, count) = type_at(&tokens[from..at])?;
        (from + count == at).then_some(ty)
    });
    found.filter(|ty| is_complete(*ty, tokens.get(at + 1)))
}

/// Whether nothing goes on saying what the literal means: `INTERVAL '1' DAY`.
fn is_complete(ty: SqlType, next: Option<&TokenWithSpan>) -> bool {
    let field = next.map_or(Keyword::NoKeyword, keyword);
    ty != SqlType::Interval
        || !matches!(
            field,
            Keyword::YEAR | Keyword::MONTH | Keyword::DAY | Keyword::HOUR | Keyword::MINUTE | Keyword::SECOND
        )
}

/// A type of dates and times, and how many tokens name it.
fn type_at(tokens: &[TokenWithSpan]) -> Option<(SqlType, usize)> {
    let Token::Word(word) = &tokens.first()?.token else { return None };
    let name = word.value.to_ascii_lowercase();
    let mut count = 1;
    let is_precise = matches!(
        tokens.get(1..4),
        Some([open, digits, close])
            if open.token == Token::LParen && matches!(digits.token, Token::Number(..)) && close.token == Token::RParen
    );
    if is_precise {
        count += 3;
    }
    let words = |at: usize| tokens.get(at).map_or(Keyword::NoKeyword, keyword);
    let of_zone = words(count + 1) == Keyword::TIME && words(count + 2) == Keyword::ZONE;
    let (mut has_zone, may_have_zone) = (false, matches!(name.as_str(), "time" | "timestamp"));
    if may_have_zone && of_zone && matches!(words(count), Keyword::WITH | Keyword::WITHOUT) {
        has_zone = words(count) == Keyword::WITH;
        count += 3;
    }
    let ty = match (name.as_str(), has_zone) {
        ("date", _) => SqlType::Date,
        ("time", false) => SqlType::Time(None),
        ("time", true) | ("timetz", _) => SqlType::TimeTz(None),
        ("timestamp", false) => SqlType::Timestamp(None),
        ("timestamp", true) | ("timestamptz", _) => SqlType::TimestampTz(None),
        ("interval", _) => SqlType::Interval,
        _ => return None,
    };
    let is_array = matches!(
        tokens.get(count..count + 2),
        Some([open, close]) if open.token == Token::LBracket && close.token == Token::RBracket
    );
    Some(if is_array { (ty.array_of(), count + 2) } else { (ty, count) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chicago() -> Formatting {
        let zone = Zone::parse("America/Chicago").unwrap();
        Formatting { zone, date_order: DateOrder::Dmy, now: 631_152_000_000_000, ..Formatting::default() }
    }

    fn kept(text: &str) -> String {
        with_constant_literals(text, None, &chicago())
    }

    #[test]
    fn literals_mean_the_same_to_all_sessions() {
        assert_eq!(kept("d > '01/02/2020'::date"), "d > '2020-02-01'::date");
        assert_eq!(kept("CAST('2000-01-01 01:01' AS TIMESTAMP WITH TIME ZONE)"), "CAST('2000-01-01 07:01:00+00' AS TIMESTAMP WITH TIME ZONE)");
        assert_eq!(kept("t > TIMESTAMPTZ '2000-01-01' OR TRUE"), "t > TIMESTAMPTZ '2000-01-01 06:00:00+00' OR TRUE");
        assert_eq!(kept("TIMESTAMP(3) WITH TIME ZONE '2000-01-01'"), "TIMESTAMP(3) WITH TIME ZONE '2000-01-01 06:00:00+00'");
        assert_eq!(kept("'{01/02/2020}'::date[]"), "'{2020-02-01}'::date[]");
        assert_eq!(kept("'now'::timestamp(0)"), "'2019-12-31 18:00:00'::timestamp(0)");
    }

    /// What stands before a literal is its type; what stands behind casts that.
    #[test]
    fn the_type_before_a_literal_is_its_own() {
        let kolkata = Formatting { zone: Zone::parse("Asia/Kolkata").unwrap(), ..Formatting::default() };
        let kept = |text: &str| with_constant_literals(text, Some(SqlType::TimestampTz(None)), &kolkata);
        assert_eq!(kept("DATE '2020-02-01'::timestamptz"), "DATE '2020-02-01'::timestamptz");
        assert_eq!(kept("TIMESTAMPTZ '2000-01-01 23:00'::date"), "TIMESTAMPTZ '2000-01-01 17:30:00+00'::date");
    }

    #[test]
    fn what_is_the_same_to_all_is_kept_as_it_was_written() {
        for text in [
            "'2020-02-01'::date",
            "'12:30'::time",
            "'infinity'::timestamptz",
            "'2000-01-01 00:00+02'::timestamptz",
            "INTERVAL '1' DAY",
            "'1 day'::interval",
            "'01/02/2020'",
            "'01/02/2020'::text",
            "d > '01/02/2020'",
            "'nonsense'::date",
            "date || '01/02/2020'",
        ] {
            assert_eq!(kept(text), text);
        }
    }

    #[test]
    fn a_default_is_of_the_type_of_its_column() {
        let default = |text: &str, ty: SqlType| with_constant_literals(text, Some(ty), &chicago());
        assert_eq!(default("'01/02/2020'", SqlType::Date), "'2020-02-01'");
        assert_eq!(default("('2000-01-01')", SqlType::TimestampTz(Some(3))), "('2000-01-01 06:00:00+00')");
        assert_eq!(default("'01/02/2020'", SqlType::Text), "'01/02/2020'");
        assert_eq!(default("lower('01/02/2020')", SqlType::Date), "lower('01/02/2020')");
    }
}
