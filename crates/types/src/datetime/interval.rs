//! Intervals in text, and their arithmetic.

use std::borrow::Cow;

use super::calendar::{DAYS_PER_MONTH, MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND};
use crate::datum::Interval;
use crate::error::{SqlError, SqlResult, SqlState, raise};
use crate::formatting::IntervalStyle;

/// The fields that a modifier of intervals names, as `pg_attribute.atttypmod` has them in its upper half.
pub mod interval_field {
    pub const MONTH: i64 = 1 << 1;
    pub const YEAR: i64 = 1 << 2;
    pub const DAY: i64 = 1 << 3;
    pub const HOUR: i64 = 1 << 10;
    pub const MINUTE: i64 = 1 << 11;
    pub const SECOND: i64 = 1 << 12;
}

fn out_of_range() -> SqlError {
    raise::datetime_out_of_range("interval")
}

fn field_out_of_range(text: &str) -> SqlError {
    SqlError::new(SqlState::IntervalFieldOverflow, format!("interval field value out of range: \"{text}\""))
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Unit {
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

fn unit(name: &str) -> Option<Unit> {
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

pub fn write_interval(interval: Interval, style: IntervalStyle, out: &mut Vec<u8>) {
    match style {
        IntervalStyle::Postgres => write_postgres(interval, out),
        IntervalStyle::PostgresVerbose => write_verbose(interval, out),
        IntervalStyle::SqlStandard => write_sql_standard(interval, out),
        IntervalStyle::Iso8601 => write_iso(interval, out),
    }
}

fn put_int(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn put_two(out: &mut Vec<u8>, value: u64) {
    if value < 10 {
        out.push(b'0');
    }
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// `.25`: the fraction of a second without its zeros at the end, or nothing.
pub(crate) fn put_fraction(out: &mut Vec<u8>, micros: u64) {
    if micros == 0 {
        return;
    }
    let digits = format!(".{micros:06}");
    out.extend_from_slice(digits.trim_end_matches('0').as_bytes());
}

fn put_clock(out: &mut Vec<u8>, micros: u64) {
    put_two(out, micros / MICROS_PER_HOUR as u64);
    out.push(b':');
    put_two(out, micros / MICROS_PER_MINUTE as u64 % 60);
    out.push(b':');
    put_two(out, micros / MICROS_PER_SECOND as u64 % 60);
    put_fraction(out, micros % MICROS_PER_SECOND as u64);
}

fn write_postgres(interval: Interval, out: &mut Vec<u8>) {
    let start = out.len();
    let (years, months) = (interval.months / 12, interval.months % 12);
    let mut was_negative = false;
    let mut part = |value: i32, name: &str, out: &mut Vec<u8>| {
        if value == 0 {
            return;
        }
        if out.len() > start {
            out.push(b' ');
        }
        // A positive part after a negative one says so.
        if was_negative && value > 0 {
            out.push(b'+');
        }
        put_int(out, i64::from(value));
        out.push(b' ');
        out.extend_from_slice(name.as_bytes());
        if value != 1 {
            out.push(b's');
        }
        was_negative = value < 0;
    };
    part(years, "year", out);
    part(months, "mon", out);
    part(interval.days, "day", out);
    if interval.micros != 0 || out.len() == start {
        if out.len() > start {
            out.push(b' ');
        }
        if interval.micros < 0 {
            out.push(b'-');
        } else if was_negative {
            out.push(b'+');
        }
        put_clock(out, interval.micros.unsigned_abs());
    }
}

fn write_verbose(interval: Interval, out: &mut Vec<u8>) {
    out.push(b'@');
    let hours = interval.micros / MICROS_PER_HOUR;
    let minutes = interval.micros / MICROS_PER_MINUTE % 60;
    let seconds = interval.micros % MICROS_PER_MINUTE;
    let parts = [
        (i64::from(interval.months / 12), "year"),
        (i64::from(interval.months % 12), "mon"),
        (i64::from(interval.days), "day"),
        (hours, "hour"),
        (minutes, "min"),
    ];
    let first = parts.iter().map(|(value, _)| *value).chain([seconds]).find(|value| *value != 0);
    let Some(first) = first else {
        out.extend_from_slice(b" 0");
        return;
    };
    // The first part decides the direction of the whole; `ago` says it once at the end.
    let ago = first < 0;
    for (value, name) in parts {
        if value != 0 {
            let value = if ago { -value } else { value };
            out.push(b' ');
            put_int(out, value);
            out.push(b' ');
            out.extend_from_slice(name.as_bytes());
            if value != 1 {
                out.push(b's');
            }
        }
    }
    if seconds != 0 {
        out.push(b' ');
        let value = if ago { -seconds } else { seconds };
        if value < 0 {
            out.push(b'-');
        }
        put_int(out, value.abs() / MICROS_PER_SECOND);
        put_fraction(out, (value.abs() % MICROS_PER_SECOND) as u64);
        out.extend_from_slice(if value.abs() == MICROS_PER_SECOND { b" sec" } else { b" secs" });
    }
    if ago {
        out.extend_from_slice(b" ago");
    }
}

fn write_sql_standard(interval: Interval, out: &mut Vec<u8>) {
    let Interval { months, days, micros } = interval;
    let has_negative = months < 0 || days < 0 || micros < 0;
    let has_positive = months > 0 || days > 0 || micros > 0;
    let (year_month, day_time) = (months != 0, days != 0 || micros != 0);
    let sign = |negative: bool| if negative { b'-' } else { b'+' };
    let put_months = |out: &mut Vec<u8>| {
        put_int(out, i64::from(months.unsigned_abs() / 12));
        out.push(b'-');
        put_int(out, i64::from(months.unsigned_abs() % 12));
    };
    let put_time = |out: &mut Vec<u8>| {
        let micros = micros.unsigned_abs();
        put_int(out, (micros / MICROS_PER_HOUR as u64) as i64);
        out.push(b':');
        put_two(out, micros / MICROS_PER_MINUTE as u64 % 60);
        out.push(b':');
        put_two(out, micros / MICROS_PER_SECOND as u64 % 60);
        put_fraction(out, micros % MICROS_PER_SECOND as u64);
    };
    if !has_negative && !has_positive {
        out.push(b'0');
    } else if (has_negative && has_positive) || (year_month && day_time) {
        // Mixed signs are not in the standard: every part carries its own.
        out.push(sign(months < 0));
        put_months(out);
        out.push(b' ');
        out.push(sign(days < 0));
        put_int(out, i64::from(days.unsigned_abs()));
        out.push(b' ');
        out.push(sign(micros < 0));
        put_time(out);
    } else {
        if has_negative {
            out.push(b'-');
        }
        if year_month {
            put_months(out);
        } else {
            if days != 0 {
                put_int(out, i64::from(days.unsigned_abs()));
                out.push(b' ');
            }
            put_time(out);
        }
    }
}

fn write_iso(interval: Interval, out: &mut Vec<u8>) {
    let Interval { months, days, micros } = interval;
    if (months, days, micros) == (0, 0, 0) {
        out.extend_from_slice(b"PT0S");
        return;
    }
    let put = |out: &mut Vec<u8>, value: i64, letter: u8| {
        if value != 0 {
            put_int(out, value);
            out.push(letter);
        }
    };
    out.push(b'P');
    put(out, i64::from(months / 12), b'Y');
    put(out, i64::from(months % 12), b'M');
    put(out, i64::from(days), b'D');
    if micros != 0 {
        out.push(b'T');
        put(out, micros / MICROS_PER_HOUR, b'H');
        put(out, micros / MICROS_PER_MINUTE % 60, b'M');
        let seconds = micros % MICROS_PER_MINUTE;
        if seconds != 0 {
            if seconds < 0 {
                out.push(b'-');
            }
            put_int(out, seconds.abs() / MICROS_PER_SECOND);
            put_fraction(out, (seconds.abs() % MICROS_PER_SECOND) as u64);
            out.push(b'S');
        }
    }
}

impl Interval {
    /// The length that SQL compares by: months of 30 days, days of 24 hours.
    #[must_use]
    pub const fn span(&self) -> i128 {
        (self.months as i128 * DAYS_PER_MONTH as i128 + self.days as i128) * MICROS_PER_DAY as i128
            + self.micros as i128
    }

    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self { months: 0, days: 0, micros }
    }
}

pub fn interval_add(a: Interval, b: Interval) -> SqlResult<Interval> {
    Ok(Interval {
        months: a.months.checked_add(b.months).ok_or_else(out_of_range)?,
        days: a.days.checked_add(b.days).ok_or_else(out_of_range)?,
        micros: a.micros.checked_add(b.micros).ok_or_else(out_of_range)?,
    })
}

pub fn interval_neg(a: Interval) -> SqlResult<Interval> {
    Ok(Interval {
        months: a.months.checked_neg().ok_or_else(out_of_range)?,
        days: a.days.checked_neg().ok_or_else(out_of_range)?,
        micros: a.micros.checked_neg().ok_or_else(out_of_range)?,
    })
}

pub fn interval_sub(a: Interval, b: Interval) -> SqlResult<Interval> {
    Ok(Interval {
        months: a.months.checked_sub(b.months).ok_or_else(out_of_range)?,
        days: a.days.checked_sub(b.days).ok_or_else(out_of_range)?,
        micros: a.micros.checked_sub(b.micros).ok_or_else(out_of_range)?,
    })
}

/// Fractions of months spill to days, fractions of days to the clock.
pub fn interval_mul(interval: Interval, factor: f64) -> SqlResult<Interval> {
    let months = f64::from(interval.months) * factor;
    let days = f64::from(interval.days) * factor;
    let in_i32 = |value: f64| -> SqlResult<i32> {
        (value.abs() < 2_147_483_648.0).then_some(value as i32).ok_or_else(out_of_range)
    };
    let (whole_months, whole_days) = (in_i32(months)?, in_i32(days)?);
    // Fractions are rounded to microseconds, so that binary fractions do not leak.
    let to_micro = |value: f64| (value * 1e6).round_ties_even() / 1e6;
    let month_days = to_micro((months - f64::from(whole_months)) * DAYS_PER_MONTH as f64);
    let mut seconds = to_micro((days - f64::from(whole_days) + month_days - month_days.trunc()) * 86_400.0);
    let mut spilled = month_days as i32;
    // A whole day may have come together.
    if seconds.abs() >= 86_400.0 {
        spilled += (seconds / 86_400.0) as i32;
        seconds %= 86_400.0;
    }
    let micros = interval.micros as f64 * factor + seconds * 1e6;
    let micros = micros.round_ties_even();
    if micros.is_nan() || micros.abs() >= 9.223_372_036_854_775e18 {
        return Err(out_of_range());
    }
    Ok(Interval {
        months: whole_months,
        days: whole_days.checked_add(spilled).ok_or_else(out_of_range)?,
        micros: micros as i64,
    })
}

pub fn interval_div(interval: Interval, divisor: f64) -> SqlResult<Interval> {
    if divisor == 0.0 {
        return Err(raise::division_by_zero());
    }
    let months = f64::from(interval.months) / divisor;
    let days = f64::from(interval.days) / divisor;
    let (whole_months, whole_days) = (months as i32, days as i32);
    let to_micro = |value: f64| (value * 1e6).round_ties_even() / 1e6;
    let month_days = to_micro((months - f64::from(whole_months)) * DAYS_PER_MONTH as f64);
    let mut seconds = to_micro((days - f64::from(whole_days) + month_days - month_days.trunc()) * 86_400.0);
    let mut spilled = month_days as i32;
    if seconds.abs() >= 86_400.0 {
        spilled += (seconds / 86_400.0) as i32;
        seconds %= 86_400.0;
    }
    let micros = (interval.micros as f64 / divisor + seconds * 1e6).round_ties_even();
    if micros.is_nan() || micros.abs() >= 9.223_372_036_854_775e18 {
        return Err(out_of_range());
    }
    Ok(Interval {
        months: whole_months,
        days: whole_days.checked_add(spilled).ok_or_else(out_of_range)?,
        micros: micros as i64,
    })
}

pub fn justify_hours(interval: Interval) -> SqlResult<Interval> {
    let mut days = i64::from(interval.days) + interval.micros / MICROS_PER_DAY;
    let mut micros = interval.micros % MICROS_PER_DAY;
    if days > 0 && micros < 0 {
        micros += MICROS_PER_DAY;
        days -= 1;
    } else if days < 0 && micros > 0 {
        micros -= MICROS_PER_DAY;
        days += 1;
    }
    Ok(Interval { months: interval.months, days: i32::try_from(days).map_err(|_| out_of_range())?, micros })
}

pub fn justify_days(interval: Interval) -> SqlResult<Interval> {
    let mut months = i64::from(interval.months) + i64::from(interval.days) / DAYS_PER_MONTH;
    let mut days = i64::from(interval.days) % DAYS_PER_MONTH;
    if months > 0 && days < 0 {
        days += DAYS_PER_MONTH;
        months -= 1;
    } else if months < 0 && days > 0 {
        days -= DAYS_PER_MONTH;
        months += 1;
    }
    Ok(Interval {
        months: i32::try_from(months).map_err(|_| out_of_range())?,
        days: days as i32,
        micros: interval.micros,
    })
}

pub fn justify_interval(interval: Interval) -> SqlResult<Interval> {
    let mut days = i64::from(interval.days) + interval.micros / MICROS_PER_DAY;
    let mut micros = interval.micros % MICROS_PER_DAY;
    let mut months = i64::from(interval.months) + days / DAYS_PER_MONTH;
    days %= DAYS_PER_MONTH;
    if months > 0 && (days < 0 || (days == 0 && micros < 0)) {
        days += DAYS_PER_MONTH;
        months -= 1;
    } else if months < 0 && (days > 0 || (days == 0 && micros > 0)) {
        days -= DAYS_PER_MONTH;
        months += 1;
    }
    if days > 0 && micros < 0 {
        micros += MICROS_PER_DAY;
        days -= 1;
    } else if days < 0 && micros > 0 {
        micros -= MICROS_PER_DAY;
        days += 1;
    }
    Ok(Interval { months: i32::try_from(months).map_err(|_| out_of_range())?, days: days as i32, micros })
}

/// `parts`: years, months, weeks, days, hours, minutes.
pub fn make_interval(parts: [i64; 6], seconds: f64) -> SqlResult<Interval> {
    let [years, months, weeks, days, hours, minutes] = parts.map(i128::from);
    if !seconds.is_finite() {
        return Err(out_of_range());
    }
    let micros = hours * 3_600_000_000 + minutes * 60_000_000 + (seconds * 1e6).round_ties_even() as i128;
    Ok(Interval {
        months: i32::try_from(years * 12 + months).map_err(|_| out_of_range())?,
        days: i32::try_from(weeks * 7 + days).map_err(|_| out_of_range())?,
        micros: i64::try_from(micros).map_err(|_| out_of_range())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(interval: Interval) -> String {
        let mut out = Vec::new();
        write_interval(interval, IntervalStyle::Postgres, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn intervals_read_and_print_as_postgresql() {
        let check = |input: &str, expected: &str| assert_eq!(show(parse_interval(input).unwrap()), expected, "{input}");
        check("1 day", "1 day");
        check("1 year 2 months 3 days 04:05:06.789", "1 year 2 mons 3 days 04:05:06.789");
        check("-1 day +02:03", "-1 days +02:03:00");
        check("1.5 months", "1 mon 15 days");
        check("1.5 days", "1 day 12:00:00");
        check("1 week", "7 days");
        check("P1Y2M3DT4H5M6S", "1 year 2 mons 3 days 04:05:06");
        check("1-2 3 4:05:06", "1 year 2 mons 3 days 04:05:06");
        check("90 minutes", "01:30:00");
        check("3 days ago", "-3 days");
        check("@ 1 hour", "01:00:00");
        check("10", "00:00:10");
        check("0", "00:00:00");
        check("1h30m", "01:30:00");
        check("-00:00:01.5", "-00:00:01.5");
        check("100 hours", "100:00:00");
        check("1 mon -1 day", "1 mon -1 days");
        for bad in ["", "abc", "1 lightyear", "1:2:3:4", "1 day 1 day", "ago"] {
            assert_eq!(parse_interval(bad).unwrap_err().code(), SqlState::InvalidDatetimeFormat, "{bad}");
        }
        assert_eq!(parse_interval("3000000000 days").unwrap_err().code(), SqlState::IntervalFieldOverflow);
    }

    #[test]
    fn fractions_spill_downwards() {
        let month = Interval { months: 1, days: 0, micros: 0 };
        assert_eq!(show(interval_mul(month, 1.5).unwrap()), "1 mon 15 days");
        assert_eq!(show(interval_div(month, 4.0).unwrap()), "7 days 12:00:00");
        let day = Interval { months: 0, days: 1, micros: 0 };
        assert_eq!(show(interval_mul(day, 0.1).unwrap()), "02:24:00");
        assert_eq!(show(justify_interval(Interval { months: 1, days: -1, micros: -1 }).unwrap()), "28 days 23:59:59.999999");
    }
}
