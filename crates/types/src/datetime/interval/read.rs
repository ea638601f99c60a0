//! Intervals read from text: PostgreSQL's, the SQL standard's, and ISO 8601's two forms.

use std::borrow::Cow;

use crate::datetime::calendar::{DAYS_PER_MONTH, MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE};
use crate::datum::Interval;
use crate::error::{SqlError, SqlResult, SqlState};
use crate::formatting::IntervalStyle;

fn field_out_of_range(text: &str) -> SqlError {
    SqlError::new(SqlState::IntervalFieldOverflow, format!("interval field value out of range: \"{text}\""))
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unit {
    Microsecond,
    Millisecond,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Year,
    Decade,
    Century,
    Millennium,
}

/// The unit of this name, in any of its spellings.
pub(crate) fn unit(name: &str) -> Option<Unit> {
    Some(match name.to_ascii_lowercase().as_str() {
        "us" | "usec" | "usecs" | "usecond" | "useconds" | "microsecond" | "microseconds" | "microsecon" => {
            Unit::Microsecond
        }
        "ms" | "msec" | "msecs" | "msecond" | "mseconds" | "millisecond" | "milliseconds" | "millisecon" => {
            Unit::Millisecond
        }
        "s" | "sec" | "secs" | "second" | "seconds" => Unit::Second,
        "m" | "min" | "mins" | "minute" | "minutes" => Unit::Minute,
        "h" | "hr" | "hrs" | "hour" | "hours" => Unit::Hour,
        "d" | "day" | "days" => Unit::Day,
        "w" | "week" | "weeks" => Unit::Week,
        "mon" | "mons" | "month" | "months" => Unit::Month,
        "y" | "yr" | "yrs" | "year" | "years" => Unit::Year,
        "dec" | "decs" | "decade" | "decades" => Unit::Decade,
        "c" | "cent" | "century" | "centuries" => Unit::Century,
        "mil" | "mils" | "millennium" | "millennia" => Unit::Millennium,
        _ => return None,
    })
}

/// Wide sums, so that parts may cancel before the range is checked.
#[derive(Default, Clone, Copy)]
struct Sum {
    months: i128,
    days: i128,
    micros: i128,
}

impl Sum {
    /// Adds `whole + fraction` units, spilling fractions down as PostgreSQL does: of months to days (30 each), of
    /// days and weeks to the clock.
    fn add(&mut self, unit: Unit, whole: i64, fraction: f64) {
        let whole = i128::from(whole);
        let months = |sum: &mut Self, per: i128| {
            sum.months += whole * per + (fraction * per as f64).round_ties_even() as i128;
        };
        match unit {
            Unit::Microsecond => self.micros += whole + fraction.round_ties_even() as i128,
            Unit::Millisecond => self.micros += whole * 1000 + (fraction * 1000.0).round_ties_even() as i128,
            Unit::Second => self.micros += whole * 1_000_000 + (fraction * 1e6).round_ties_even() as i128,
            Unit::Minute => {
                self.micros += whole * i128::from(MICROS_PER_MINUTE) + (fraction * 6e7).round_ties_even() as i128;
            }
            Unit::Hour => {
                self.micros += whole * i128::from(MICROS_PER_HOUR) + (fraction * 3.6e9).round_ties_even() as i128;
            }
            Unit::Day => {
                self.days += whole;
                self.spill_days(fraction);
            }
            Unit::Week => {
                self.days += whole * 7;
                let days = fraction * 7.0;
                self.days += days.trunc() as i128;
                self.spill_days(days.fract());
            }
            Unit::Month => {
                self.months += whole;
                let days = fraction * DAYS_PER_MONTH as f64;
                self.days += days.trunc() as i128;
                self.spill_days(days.fract());
            }
            Unit::Year => months(self, 12),
            Unit::Decade => months(self, 120),
            Unit::Century => months(self, 1200),
            Unit::Millennium => months(self, 12_000),
        }
    }

    fn spill_days(&mut self, fraction: f64) {
        self.micros += (fraction * MICROS_PER_DAY as f64).round_ties_even() as i128;
    }

    fn negate(&mut self) {
        *self = Self { months: -self.months, days: -self.days, micros: -self.micros };
    }

    fn finish(self, text: &str) -> SqlResult<Interval> {
        let refuse = || field_out_of_range(text);
        Ok(Interval {
            months: i32::try_from(self.months).map_err(|_| refuse())?,
            days: i32::try_from(self.days).map_err(|_| refuse())?,
            micros: i64::try_from(self.micros).map_err(|_| refuse())?,
        })
    }
}

/// Splits `-12.5` into sign, whole and fraction (with the sign).
fn number(text: &str) -> Option<(i64, f64)> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if (whole.is_empty() && fraction.is_empty())
        || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit())
    {
        return None;
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let fraction: f64 = if fraction.is_empty() { 0.0 } else { format!("0.{fraction}").parse().ok()? };
    Some(if negative { (-whole, -fraction) } else { (whole, fraction) })
}

/// `[-]hh:mm[:ss[.f]]`, or `mm:ss.f`; the sign covers all of it.
fn clock(text: &str) -> Option<i128> {
    let (negative, body) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let parts: Vec<&str> = body.split(':').collect();
    let whole = |part: &str| -> Option<i128> {
        (!part.is_empty() && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse().ok())?
    };
    let seconds = |part: &str| -> Option<i128> {
        let (whole, fraction) = number(part)?;
        (!part.starts_with(['-', '+'])).then_some(())?;
        Some(i128::from(whole) * 1_000_000 + (fraction * 1e6).round_ties_even() as i128)
    };
    let micros = match parts.as_slice() {
        [minutes, last] if last.contains('.') => whole(minutes)? * 60_000_000 + seconds(last)?,
        [hours, minutes] => {
            let minutes = whole(minutes)?;
            (minutes < 60).then_some(())?;
            whole(hours)? * 3_600_000_000 + minutes * 60_000_000
        }
        [hours, minutes, last] => {
            let (minutes, last) = (whole(minutes)?, seconds(last)?);
            (minutes < 60 && last <= 60_000_000).then_some(())?;
            whole(hours)? * 3_600_000_000 + minutes * 60_000_000 + last
        }
        _ => return None,
    };
    Some(if negative { -micros } else { micros })
}

/// Minutes or seconds of sixty and more.
fn hands_overflow(text: &str) -> bool {
    let parts: Vec<f64> = text.trim_start_matches(['-', '+']).split(':').filter_map(|part| part.parse().ok()).collect();
    match parts.as_slice() {
        [_, minutes] if !text.contains('.') => *minutes >= 60.0,
        [_, seconds] => *seconds > 60.0,
        [_, minutes, seconds] => *minutes >= 60.0 || *seconds > 60.0,
        _ => false,
    }
}

/// The text of an interval as other styles write it: in that of the SQL standard a minus at the beginning is that of all
/// fields, where none has a sign of its own.
pub(crate) fn signed_alike(text: &str, style: IntervalStyle) -> Cow<'_, str> {
    let mut fields = text.split_whitespace();
    let is_negative = style == IntervalStyle::SqlStandard && fields.next().is_some_and(|first| first.len() > 1 && first.starts_with('-'));
    if !is_negative || fields.clone().any(|field| field.starts_with(['-', '+'])) {
        return Cow::Borrowed(text);
    }
    let field = |field: &str| {
        let is_number = field.starts_with(|first: char| first.is_ascii_digit() || first == '.');
        if is_number { format!("-{field}") } else { field.to_owned() }
    };
    Cow::Owned(text.split_whitespace().map(field).collect::<Vec<_>>().join(" "))
}

/// # Errors
/// 22007 for what is no interval, 22015 for one out of range.
pub fn parse_interval(text: &str) -> SqlResult<Interval> {
    let invalid =
        || SqlError::new(SqlState::InvalidDatetimeFormat, format!("invalid input syntax for type interval: \"{text}\""));
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Err(invalid());
    }
    if let Some(iso) = trimmed.strip_prefix(['P', 'p']) {
        return parse_iso(iso, text).ok_or_else(invalid)?;
    }
    let tokens = tokenize(trimmed).ok_or_else(invalid)?;
    let mut sum = Sum::default();
    let mut ago = false;
    let mut seen: Vec<Unit> = Vec::new();
    let mut i = 0;
    // The SQL standard's leading sign covers all fields when it alone carries a sign.
    while i < tokens.len() {
        let token = tokens[i].as_str();
        if i == 0 && token == "@" {
            i += 1;
            continue;
        }
        if token.eq_ignore_ascii_case("ago") {
            if i + 1 != tokens.len() || i == 0 {
                return Err(invalid());
            }
            ago = true;
            i += 1;
            continue;
        }
        if token.contains(':') {
            if hands_overflow(token) {
                return Err(field_out_of_range(text));
            }
            sum.micros += clock(token).ok_or_else(invalid)?;
            i += 1;
            continue;
        }
        // years-months
        let body = token.strip_prefix(['-', '+']).unwrap_or(token);
        if let Some((years, months)) = body.split_once('-') {
            let (Ok(years), Ok(months)) = (years.parse::<i128>(), months.parse::<i128>()) else {
                return Err(invalid());
            };
            if months > 11 {
                return Err(field_out_of_range(text));
            }
            let total = years * 12 + months;
            sum.months += if token.starts_with('-') { -total } else { total };
            i += 1;
            continue;
        }
        if !token.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+')) {
            return Err(invalid());
        }
        let Some((whole, fraction)) = number(token) else {
            let digits = token.bytes().filter(u8::is_ascii_digit).count();
            return Err(if digits > 18 { field_out_of_range(text) } else { invalid() });
        };
        let next = tokens.get(i + 1).map(String::as_str);
        match next {
            Some(name) if name.starts_with(|c: char| c.is_ascii_alphabetic()) && !name.eq_ignore_ascii_case("ago") => {
                let unit = unit(name).ok_or_else(invalid)?;
                if seen.contains(&unit) {
                    return Err(invalid());
                }
                seen.push(unit);
                sum.add(unit, whole, fraction);
                i += 2;
            }
            // A number before a clock is days; a last number is seconds.
            Some(next) if next.contains(':') => {
                sum.add(Unit::Day, whole, fraction);
                i += 1;
            }
            None | Some(_) => {
                if seen.contains(&Unit::Second) {
                    return Err(invalid());
                }
                seen.push(Unit::Second);
                sum.add(Unit::Second, whole, fraction);
                i += 1;
            }
        }
    }
    if ago {
        sum.negate();
    }
    sum.finish(text)
}

/// Numbers (with sign, point, colons, dashes), words and `@`, apart.
fn tokenize(text: &str) -> Option<Vec<String>> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(&c) = chars.peek() {
        if c.is_ascii_whitespace() || c == ',' {
            chars.next();
        } else if c == '@' {
            chars.next();
            tokens.push("@".to_owned());
        } else if c.is_ascii_alphabetic() {
            let mut word = String::new();
            while let Some(c) = chars.next_if(|c| c.is_ascii_alphabetic()) {
                word.push(c);
            }
            tokens.push(word);
        } else if c.is_ascii_digit() || matches!(c, '+' | '-' | '.') {
            let mut word = String::new();
            word.push(c);
            chars.next();
            // A sign may stand apart from its number.
            if matches!(c, '+' | '-') {
                while chars.next_if(char::is_ascii_whitespace).is_some() {}
            }
            while let Some(c) = chars.next_if(|c| c.is_ascii_digit() || matches!(c, '.' | ':' | '-')) {
                word.push(c);
            }
            tokens.push(word);
        } else {
            return None;
        }
    }
    Some(tokens)
}

/// `P1Y2M3DT4H5M6S` and `P3W`. The outer option: not of this form.
fn parse_iso(body: &str, text: &str) -> Option<SqlResult<Interval>> {
    let mut sum = Sum::default();
    let mut in_time = false;
    let mut rest = body;
    if rest.is_empty() {
        return None;
    }
    if !rest.bytes().any(|b| b.is_ascii_alphabetic() && !matches!(b, b't' | b'T')) {
        return alternative_iso(rest, text);
    }
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(['T', 't']) {
            if in_time || after.is_empty() {
                return None;
            }
            in_time = true;
            rest = after;
            continue;
        }
        if in_time && rest.contains(':') {
            // The time as the alternative format has it.
            if hands_overflow(rest) {
                return Some(Err(field_out_of_range(text)));
            }
            sum.micros += clock(rest)?;
            break;
        }
        let end = rest.find(|c: char| c.is_ascii_alphabetic())?;
        let (whole, fraction) = number(&rest[..end])?;
        let unit = match (rest.as_bytes()[end].to_ascii_uppercase(), in_time) {
            (b'Y', false) => Unit::Year,
            (b'M', false) => Unit::Month,
            (b'W', false) => Unit::Week,
            (b'D', false) => Unit::Day,
            (b'H', true) => Unit::Hour,
            (b'M', true) => Unit::Minute,
            (b'S', true) => Unit::Second,
            _ => return None,
        };
        sum.add(unit, whole, fraction);
        rest = &rest[end + 1..];
    }
    Some(sum.finish(text))
}

/// `0001-02-03T04:05:06`: years, months, days, and a time.
fn alternative_iso(body: &str, text: &str) -> Option<SqlResult<Interval>> {
    let mut sum = Sum::default();
    let (date, time) = body.split_once(['T', 't']).map_or((body, None), |(date, time)| (date, Some(time)));
    if !date.is_empty() {
        let units = [Unit::Year, Unit::Month, Unit::Day];
        let parts: Vec<&str> = date.split('-').collect();
        if parts.len() > units.len() {
            return None;
        }
        for (part, unit) in parts.into_iter().zip(units) {
            let (whole, fraction) = number(part)?;
            sum.add(unit, whole, fraction);
        }
    }
    if let Some(time) = time {
        if hands_overflow(time) {
            return Some(Err(field_out_of_range(text)));
        }
        sum.micros += if time.contains(':') { clock(time)? } else { i128::from(number(time)?.0) * i128::from(MICROS_PER_HOUR) };
    }
    Some(sum.finish(text))
}
