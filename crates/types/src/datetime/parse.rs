//! Dates and times from text: ISO 8601 first, then the looser forms that PostgreSQL reads.
//!
//! The text is cut into fields (numbers with their punctuation, words, offsets), each field says what it is, and the
//! pieces are put together at the end, so the order of date, time and zone matters little.

use super::calendar::{
    Civil, END_DATE, EPOCH_JULIAN_DAY, FIRST_DAY, MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE,
    MICROS_PER_SECOND, UNIX_EPOCH_DAYS, date_of, days_in_month, days_of,
};
use super::zone::{Zone, parse_offset};
use super::{check_timestamp, round_micros};
use crate::datum::{DATE_INFINITY, DATE_NEG_INFINITY, TIMESTAMP_INFINITY, TIMESTAMP_NEG_INFINITY, TimeTz};
use crate::error::{SqlError, SqlResult, SqlState, raise};
use crate::formatting::{DateOrder, Formatting};
use crate::sql_type::SqlType;

pub const MONTHS: [&str; 12] = [
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
];
const DAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Special {
    Infinity,
    NegInfinity,
    Epoch,
    Now,
    /// Midnight, this many days from today.
    Day(i64),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Era {
    Common,
    BeforeChrist,
}

#[derive(Clone)]
enum ZoneField {
    /// Seconds east.
    Offset(i32),
    Named(Zone),
}

#[derive(Default)]
struct Parsed {
    special: Option<Special>,
    date: Option<(i64, i64, i64)>,
    /// Microseconds since midnight; 24:00:00 is allowed.
    time: Option<i64>,
    zone: Option<ZoneField>,
}

struct Reader<'a> {
    text: &'a str,
    type_name: &'static str,
    formatting: &'a Formatting,
}

#[derive(Debug, PartialEq, Eq)]
enum Field {
    /// Digits with `-`, `/`, `.` and month names between: a date, whole or in part.
    Date(String),
    /// With colons.
    Clock(String),
    /// Digits alone, perhaps with a fraction.
    Number(String),
    Word(String),
    /// A sign and digits.
    Offset(String),
}

impl Reader<'_> {
    fn invalid(&self) -> SqlError {
        SqlError::new(
            SqlState::InvalidDatetimeFormat,
            format!("invalid input syntax for type {}: \"{}\"", self.type_name, self.text),
        )
    }

    fn field_out_of_range(&self) -> SqlError {
        SqlError::new(
            SqlState::DatetimeFieldOverflow,
            format!("date/time field value out of range: \"{}\"", self.text),
        )
    }

    fn month_day_out_of_range(&self) -> SqlError {
        self.field_out_of_range().with_hint("Perhaps you need a different \"datestyle\" setting.")
    }

    fn fields(&self) -> SqlResult<Vec<Field>> {
        let bytes = self.text.as_bytes();
        let mut fields: Vec<Field> = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let start = at;
            let run = |mut at: usize, keep: &dyn Fn(u8) -> bool| {
                while at < bytes.len() && keep(bytes[at]) {
                    at += 1;
                }
                at
            };
            match bytes[at] {
                b if b.is_ascii_whitespace() || b == b',' => {
                    at += 1;
                    continue;
                }
                b if b.is_ascii_digit() => {
                    at = run(at, &|b| b.is_ascii_digit());
                    match bytes.get(at) {
                        Some(b':') => {
                            at = run(at, &|b| b.is_ascii_digit() || b == b':' || b == b'.');
                            fields.push(Field::Clock(self.text[start..at].to_owned()));
                        }
                        Some(b'-' | b'/' | b'.') if self.is_date_at(at) => {
                            let separator = bytes[at];
                            at = run(at, &|b| b.is_ascii_alphanumeric() || b == separator);
                            // The T of ISO 8601 ends the date.
                            let body = &self.text[start..at];
                            let cut = body
                                .bytes()
                                .enumerate()
                                .find(|(i, b)| matches!(b, b't' | b'T') && body.as_bytes()[i - 1].is_ascii_digit()
                                    && body.as_bytes().get(i + 1).is_none_or(u8::is_ascii_digit))
                                .map(|(i, _)| i);
                            if let Some(cut) = cut {
                                at = start + cut;
                            }
                            fields.push(Field::Date(self.text[start..at].to_owned()));
                        }
                        Some(b'.') => {
                            at = run(at + 1, &|b| b.is_ascii_digit());
                            fields.push(Field::Number(self.text[start..at].to_owned()));
                        }
                        _ => fields.push(Field::Number(self.text[start..at].to_owned())),
                    }
                }
                b'+' | b'-' => {
                    let next = bytes.get(at + 1).copied().unwrap_or(0);
                    if next.is_ascii_alphabetic() {
                        at = run(at + 1, &|b| b.is_ascii_alphabetic());
                        fields.push(Field::Word(self.text[start..at].to_ascii_lowercase()));
                    } else if next.is_ascii_digit() {
                        at = run(at + 1, &|b| b.is_ascii_digit() || b == b':');
                        fields.push(Field::Offset(self.text[start..at].to_owned()));
                    } else {
                        return Err(self.invalid());
                    }
                }
                b if b.is_ascii_alphabetic() => {
                    at = run(at, &|b| b.is_ascii_alphabetic());
                    let word = self.text[start..at].to_ascii_lowercase();
                    let after_digit_or_date = matches!(fields.last(), Some(Field::Date(_) | Field::Number(_)));
                    // J2451187, and Mon-01-2020; zone names have slashes, underscores and digits.
                    if word == "t" && after_digit_or_date {
                        continue;
                    }
                    if word == "j" && bytes.get(at).is_some_and(u8::is_ascii_digit) {
                        at = run(at, &|b| b.is_ascii_digit());
                        fields.push(Field::Word(format!("j{}", &self.text[start + 1..at])));
                        continue;
                    }
                    if bytes.get(at) == Some(&b'-') && month_of(&word).is_some() {
                        at = run(at, &|b| b.is_ascii_digit() || b == b'-');
                        fields.push(Field::Date(self.text[start..at].to_owned()));
                        continue;
                    }
                    if month_of(&word).is_none() && !matches!(word.as_str(), "am" | "pm" | "ad" | "bc") {
                        at = run(at, &|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_'));
                        // Utc+3
                        if matches!(bytes.get(at), Some(b'+' | b'-'))
                            && bytes.get(at + 1).is_some_and(u8::is_ascii_digit)
                            && Zone::in_value(&word).is_some()
                        {
                            at = run(at + 1, &|b| b.is_ascii_digit() || b == b':');
                        }
                        // Etc/GMT+3, America/Port-au-Prince
                        if self.text[start..at].contains('/') {
                            at = run(at, &|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'-' | b'+'));
                        }
                    }
                    if bytes.get(at) == Some(&b'.') {
                        at += 1;
                    }
                    fields.push(Field::Word(self.text[start..at].trim_end_matches('.').to_ascii_lowercase()));
                }
                _ => return Err(self.invalid()),
            }
        }
        Ok(fields)
    }

    /// Whether digits up to `at` and the punctuation there begin a date rather than a number with a fraction or a
    /// number with an offset (`040506-08`).
    fn is_date_at(&self, at: usize) -> bool {
        let bytes = self.text.as_bytes();
        let separator = bytes[at];
        let rest = &bytes[at + 1..];
        let part = rest.iter().take_while(|b| b.is_ascii_alphanumeric()).count();
        rest.get(part) == Some(&separator)
            || (separator == b'-' && rest.first().is_some_and(u8::is_ascii_alphabetic))
    }

    fn parse(&self) -> SqlResult<Parsed> {
        let mut parsed = Parsed::default();
        let mut loose: Vec<String> = Vec::new();
        let mut month_name: Option<i64> = None;
        let mut era = Era::Common;
        let mut afternoon: Option<bool> = None;
        let mut raw_date: Option<(String, bool)> = None;
        let fields = self.fields()?;
        if fields.is_empty() {
            return Err(self.invalid());
        }
        for field in &fields {
            match field {
                Field::Clock(text) => {
                    if parsed.time.replace(self.clock(text)?).is_some() {
                        return Err(self.invalid());
                    }
                }
                Field::Date(text) => {
                    if raw_date.replace((text.clone(), true)).is_some() {
                        return Err(self.invalid());
                    }
                }
                Field::Number(text) => {
                    let digits = text.split('.').next().map_or(0, str::len);
                    let date_known = raw_date.is_some() || parsed.special.is_some() || parsed.date.is_some();
                    match digits {
                        // hhmmss, hhmm after a date or T.
                        6 | 4 if parsed.time.is_none() && (date_known || self.type_name.starts_with("time ") || self.type_name == "time") => {
                            parsed.time = Some(self.packed_clock(text)?);
                        }
                        4 if !date_known && text.len() == 8 => parsed.date = Some(self.ordinal_date(text)?),
                        8 if !date_known => raw_date = Some((text.clone(), false)),
                        6 if !date_known && loose.is_empty() && month_name.is_none() => {
                            raw_date = Some((text.clone(), false));
                        }
                        _ => loose.push(text.clone()),
                    }
                }
                Field::Offset(text) => {
                    // A signed number after a time is its offset.
                    if parsed.zone.is_some() || (parsed.time.is_none() && raw_date.is_none()) {
                        return Err(self.invalid());
                    }
                    match parse_offset(text)? {
                        Some(east) => parsed.zone = Some(ZoneField::Offset(east)),
                        None => return Err(self.invalid()),
                    }
                }
                Field::Word(word) => match word.as_str() {
                    "infinity" | "inf" | "+infinity" | "+inf" => parsed.special = Some(Special::Infinity),
                    "-infinity" | "-inf" => parsed.special = Some(Special::NegInfinity),
                    "epoch" => parsed.special = Some(Special::Epoch),
                    "now" => parsed.special = Some(Special::Now),
                    "today" => parsed.special = Some(Special::Day(0)),
                    "tomorrow" => parsed.special = Some(Special::Day(1)),
                    "yesterday" => parsed.special = Some(Special::Day(-1)),
                    "allballs" => {
                        parsed.time = Some(0);
                        parsed.zone = Some(ZoneField::Offset(0));
                    }
                                        "bc" => era = Era::BeforeChrist,
                    "am" => afternoon = Some(false),
                    "pm" => afternoon = Some(true),
                    "ad" | "at" | "on" | "t" => {}
                    word if month_of(word).is_some() => {
                        if month_name.replace(month_of(word).expect("just looked up")).is_some() {
                            return Err(self.invalid());
                        }
                    }
                    word if day_of(word) => {}
                    word if word.starts_with('j') && word[1..].bytes().all(|b| b.is_ascii_digit()) && word.len() > 1 => {
                        let julian: i64 = word[1..].parse().map_err(|_| self.field_out_of_range())?;
                        parsed.date = Some(date_of(julian - EPOCH_JULIAN_DAY));
                    }
                    word => {
                        let zone = Zone::in_value(word).or_else(|| {
                            // EST5EDT and the like.
                            word.bytes().any(|b| b.is_ascii_digit()).then(|| Zone::parse(word).ok()).flatten()
                        });
                        match zone {
                            Some(zone) if parsed.zone.is_none() => parsed.zone = Some(ZoneField::Named(zone)),
                            Some(_) => return Err(self.invalid()),
                            None if word.contains('/') => {
                                return Err(SqlError::new(
                                    SqlState::InvalidParameterValue,
                                    format!("time zone \"{word}\" not recognized"),
                                ));
                            }
                            None => return Err(self.invalid()),
                        }
                    }
                },
            }
        }
        if let Some((text, has_separators)) = raw_date {
            if !loose.is_empty() || month_name.is_some() {
                return Err(self.invalid());
            }
            let date = if has_separators { self.date(&text, era)? } else { self.packed_date(&text, era)? };
            parsed.date = Some(date);
        } else if let Some(month) = month_name {
            parsed.date = Some(self.loose_date(month, &loose, era)?);
        } else if !loose.is_empty() {
            return Err(self.invalid());
        }
        if era == Era::BeforeChrist {
            let (year, month, day) = parsed.date.ok_or_else(|| self.invalid())?;
            if year <= 0 {
                return Err(self.field_out_of_range());
            }
            parsed.date = Some((1 - year, month, day));
        }
        if let Some((year, month, day)) = parsed.date {
            if year == 0 && era == Era::Common {
                return Err(self.field_out_of_range());
            }
            if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
                return Err(self.month_day_out_of_range());
            }
            if day > days_in_month(year, month) {
                return Err(self.field_out_of_range());
            }
        }
        if let Some(afternoon) = afternoon {
            let time = parsed.time.ok_or_else(|| self.invalid())?;
            let hour = time / MICROS_PER_HOUR;
            if hour > 12 {
                return Err(self.field_out_of_range());
            }
            parsed.time = Some(match (afternoon, hour) {
                (true, 12) | (false, 0..12) => time,
                (true, _) => time + 12 * MICROS_PER_HOUR,
                (false, _) => time - 12 * MICROS_PER_HOUR,
            });
        }
        if parsed.special.is_some() && parsed.date.is_some() {
            return Err(self.invalid());
        }
        Ok(parsed)
    }

    fn clock(&self, text: &str) -> SqlResult<i64> {
        let parts: Vec<&str> = text.split(':').collect();
        if parts.len() > 3 {
            return Err(self.invalid());
        }
        let whole = |part: &str| -> SqlResult<i64> {
            if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
                return Err(self.invalid());
            }
            part.parse().map_err(|_| self.field_out_of_range())
        };
        let (hours, minutes) = (whole(parts[0])?, whole(parts[1].split('.').next().unwrap_or(""))?);
        if parts.len() == 2 && parts[1].contains('.') {
            // mm:ss.f
            let seconds = self.seconds(parts[1])?;
            return self.hands(0, hours, seconds);
        }
        let seconds = match parts.get(2) {
            Some(part) => self.seconds(part)?,
            None => 0,
        };
        self.hands(hours, minutes, seconds)
    }

    /// Microseconds of `ss[.ffffff…]`, rounded.
    fn seconds(&self, text: &str) -> SqlResult<i64> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
            return Err(self.invalid());
        }
        let whole: i64 = whole.parse().map_err(|_| self.field_out_of_range())?;
        // PostgreSQL reads the fraction as a double; up to six digits that changes nothing.
        let micros = if fraction.len() <= 6 {
            (0..6).fold(0_i64, |n, i| n * 10 + fraction.as_bytes().get(i).map_or(0, |b| i64::from(b - b'0')))
        } else {
            let fraction: f64 = format!("0.{fraction}").parse().expect("digits are a float");
            (fraction * 1e6).round_ties_even() as i64
        };
        Ok(whole.min(1000) * MICROS_PER_SECOND + micros)
    }

    fn hands(&self, hours: i64, minutes: i64, second_micros: i64) -> SqlResult<i64> {
        if minutes > 59 || second_micros > 60 * MICROS_PER_SECOND || hours > 24 {
            return Err(self.field_out_of_range());
        }
        let micros = hours * MICROS_PER_HOUR + minutes * MICROS_PER_MINUTE + second_micros;
        if micros > MICROS_PER_DAY {
            return Err(self.field_out_of_range());
        }
        Ok(micros)
    }

    fn packed_clock(&self, text: &str) -> SqlResult<i64> {
        let (digits, fraction) = text.split_once('.').unwrap_or((text, ""));
        let two = |i: usize| digits[i..i + 2].parse::<i64>().expect("digits");
        let seconds = if digits.len() == 6 { self.seconds(&format!("{}.{fraction}", &digits[4..6]))? } else { 0 };
        self.hands(two(0), two(2), seconds)
    }

    fn packed_date(&self, text: &str, era: Era) -> SqlResult<(i64, i64, i64)> {
        let digits = text.split('.').next().unwrap_or("");
        let number = |range: std::ops::Range<usize>| digits[range].parse::<i64>().expect("digits");
        Ok(match digits.len() {
            8 => (number(0..4), number(4..6), number(6..8)),
            _ => (full_year(number(0..2), 2, era), number(2..4), number(4..6)),
        })
    }

    /// `yyyy.ddd`: a year and the day in it.
    fn ordinal_date(&self, text: &str) -> SqlResult<(i64, i64, i64)> {
        let number = |range: std::ops::Range<usize>| text[range].parse::<i64>().map_err(|_| self.invalid());
        let (year, day) = (number(0..4)?, number(5..8)?);
        if !(1..=366).contains(&day) {
            return Err(self.field_out_of_range());
        }
        Ok(date_of(days_of(year, 1, 1) + day - 1))
    }

    /// A date with separators.
    fn date(&self, text: &str, era: Era) -> SqlResult<(i64, i64, i64)> {
        let separator = text.chars().find(|c| matches!(c, '-' | '/' | '.')).ok_or_else(|| self.invalid())?;
        let parts: Vec<&str> = text.split(separator).collect();
        let [a, b, c] = parts.as_slice() else { return Err(self.invalid()) };
        let number = |part: &str| -> SqlResult<i64> {
            if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
                return Err(self.invalid());
            }
            part.parse().map_err(|_| self.field_out_of_range())
        };
        let is_word = |part: &str| part.starts_with(|c: char| c.is_ascii_alphabetic());
        if is_word(a) || is_word(b) {
            let (word, first, second) = if is_word(a) { (a, b, c) } else { (b, a, c) };
            let month = month_of(&word.to_ascii_lowercase()).ok_or_else(|| self.invalid())?;
            // yyyy-mon-dd or dd-mon-yyyy
            let (year, day) = if first.len() > 2 { (first, second) } else { (second, first) };
            return Ok((full_year(number(year)?, year.len(), era), month, number(day)?));
        }
        let (x, y, z) = (number(a)?, number(b)?, number(c)?);
        if a.len() > 2 {
            return Ok((x, y, z));
        }
        Ok(match self.formatting.date_order {
            DateOrder::Ymd => (full_year(x, a.len(), era), y, z),
            DateOrder::Mdy => (full_year(z, c.len(), era), x, y),
            DateOrder::Dmy => (full_year(z, c.len(), era), y, x),
        })
    }

    /// A month's name and numbers around it.
    fn loose_date(&self, month: i64, numbers: &[String], era: Era) -> SqlResult<(i64, i64, i64)> {
        let [first, second] = numbers else { return Err(self.invalid()) };
        let number = |text: &String| text.parse::<i64>().map_err(|_| self.invalid());
        // The year is the one with more than two digits; else it comes last.
        let (year, day) = if first.len() > 2 { (first, second) } else { (second, first) };
        Ok((full_year(number(year)?, year.len(), era), month, number(day)?))
    }

    /// The date in the session's zone, with a time.
    fn local_now(&self) -> SqlResult<Civil> {
        Ok(Civil::from_micros(self.formatting.zone.to_local(self.formatting.now)?))
    }

    /// A zone with daylight saving has an offset only on a date.
    fn check_zone_of_time(&self, parsed: &Parsed) -> SqlResult<()> {
        match &parsed.zone {
            Some(ZoneField::Named(zone)) if parsed.date.is_none() && !zone.is_fixed() => Err(self.invalid()),
            _ => Ok(()),
        }
    }

    fn local_micros(&self, parsed: &Parsed) -> SqlResult<i64> {
        let (year, month, day) = parsed.date.ok_or_else(|| self.invalid())?;
        let days = days_of(year, month, day);
        days.checked_mul(MICROS_PER_DAY)
            .and_then(|micros| micros.checked_add(parsed.time.unwrap_or(0)))
            .ok_or_else(|| self.timestamp_out_of_range())
    }

    fn timestamp_out_of_range(&self) -> SqlError {
        SqlError::new(SqlState::DatetimeFieldOverflow, format!("timestamp out of range: \"{}\"", self.text))
    }
}

/// Two digits mean a year near 2000, unless it is one before Christ.
fn full_year(year: i64, digits: usize, era: Era) -> i64 {
    match year {
        _ if digits > 2 || era == Era::BeforeChrist => year,
        0..70 => year + 2000,
        _ => year + 1900,
    }
}

fn month_of(word: &str) -> Option<i64> {
    let word = if word == "sept" { "sep" } else { word };
    MONTHS
        .iter()
        .position(|month| *month == word || (word.len() == 3 && month.starts_with(word)))
        .map(|i| i as i64 + 1)
}

fn day_of(word: &str) -> bool {
    DAYS.iter().any(|day| *day == word || &day[..3] == word)
        || matches!(word, "tues" | "weds" | "wednes" | "thur" | "thurs")
}

/// `yyyy-mm-dd`, the form of nearly all dates; `None`: read it the long way.
fn fast_date(bytes: &[u8]) -> Option<i64> {
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let number = |range: std::ops::Range<usize>| {
        bytes[range].iter().try_fold(0_i64, |n, b| b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0')))
    };
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let valid = year > 0 && (1..=12).contains(&month) && day >= 1 && day <= days_in_month(year, month);
    valid.then(|| days_of(year, month, day))
}

pub fn parse_date(text: &str, formatting: &Formatting) -> SqlResult<i32> {
    if let Some(days) = fast_date(text.as_bytes()) {
        return Ok(days as i32);
    }
    let reader = Reader { text, type_name: "date", formatting };
    let parsed = reader.parse()?;
    let days = match parsed.special {
        Some(Special::Infinity) => return Ok(DATE_INFINITY),
        Some(Special::NegInfinity) => return Ok(DATE_NEG_INFINITY),
        Some(Special::Epoch) => UNIX_EPOCH_DAYS,
        Some(Special::Now | Special::Day(_)) => {
            let now = reader.local_now()?;
            let shift = if let Some(Special::Day(shift)) = parsed.special { shift } else { 0 };
            days_of(now.year, now.month, now.day) + shift
        }
        None => {
            let (year, month, day) = parsed.date.ok_or_else(|| reader.invalid())?;
            days_of(year, month, day)
        }
    };
    if !(FIRST_DAY..END_DATE).contains(&days) {
        return Err(SqlError::new(SqlState::DatetimeFieldOverflow, format!("date out of range: \"{text}\"")));
    }
    Ok(days as i32)
}

pub fn parse_time(text: &str, precision: Option<u8>, formatting: &Formatting) -> SqlResult<i64> {
    let reader = Reader { text, type_name: "time", formatting };
    let parsed = reader.parse()?;
    let micros = match (parsed.time, parsed.special) {
        (Some(micros), _) => micros,
        (None, Some(Special::Now)) => reader.local_now()?.micros,
        _ => return Err(reader.invalid()),
    };
    reader.check_zone_of_time(&parsed)?;
    Ok(round_micros(micros, precision))
}

pub fn parse_timetz(text: &str, precision: Option<u8>, formatting: &Formatting) -> SqlResult<TimeTz> {
    let reader = Reader { text, type_name: "time with time zone", formatting };
    let parsed = reader.parse()?;
    let micros = match (parsed.time, parsed.special) {
        (Some(micros), _) => micros,
        (None, Some(Special::Now)) => reader.local_now()?.micros,
        _ => return Err(reader.invalid()),
    };
    reader.check_zone_of_time(&parsed)?;
    let east = match &parsed.zone {
        Some(ZoneField::Offset(east)) => *east,
        Some(ZoneField::Named(zone)) => match parsed.date {
            Some(_) => zone.offset_at_local(reader.local_micros(&parsed)?),
            None => zone.offset_at(formatting.now),
        },
        None => formatting.zone.offset_at(formatting.now),
    };
    Ok(TimeTz { micros: round_micros(micros, precision), west: -east })
}

/// Whether a text given as `ty` would be another value at another time: *now*, *today*, and a time of day whose offset
/// is the session's.
#[must_use]
pub fn depends_on_now(ty: &SqlType, text: &str) -> bool {
    match ty.element().unwrap_or(*ty) {
        SqlType::TimeTz(_) => true,
        SqlType::Date | SqlType::Time(_) | SqlType::Timestamp(_) | SqlType::TimestampTz(_) => {
            let names = |word: &str| {
                text.as_bytes().windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes()))
            };
            ["now", "today", "tomorrow", "yesterday"].into_iter().any(names)
        }
        _ => false,
    }
}

pub fn parse_timestamp(text: &str, precision: Option<u8>, formatting: &Formatting) -> SqlResult<i64> {
    let reader = Reader { text, type_name: "timestamp", formatting };
    let parsed = reader.parse()?;
    let micros = match parsed.special {
        Some(Special::Infinity) => return Ok(TIMESTAMP_INFINITY),
        Some(Special::NegInfinity) => return Ok(TIMESTAMP_NEG_INFINITY),
        Some(Special::Epoch) => UNIX_EPOCH_DAYS * MICROS_PER_DAY,
        Some(Special::Now) => formatting.zone.to_local(formatting.now)?,
        Some(Special::Day(shift)) => {
            let now = reader.local_now()?;
            (days_of(now.year, now.month, now.day) + shift) * MICROS_PER_DAY + parsed.time.unwrap_or(0)
        }
        // An offset is read and has no say.
        None => reader.local_micros(&parsed)?,
    };
    check_timestamp(round_micros(micros, precision)).map_err(|_| reader.timestamp_out_of_range())
}

pub fn parse_timestamptz(text: &str, precision: Option<u8>, formatting: &Formatting) -> SqlResult<i64> {
    let reader = Reader { text, type_name: "timestamp with time zone", formatting };
    let parsed = reader.parse()?;
    let zone = |local: i64| -> SqlResult<i64> {
        match &parsed.zone {
            Some(ZoneField::Offset(east)) => local
                .checked_sub(i64::from(*east) * MICROS_PER_SECOND)
                .ok_or_else(|| raise::datetime_out_of_range("timestamp")),
            Some(ZoneField::Named(zone)) => zone.to_utc(local),
            None => formatting.zone.to_utc(local),
        }
    };
    let micros = match parsed.special {
        Some(Special::Infinity) => return Ok(TIMESTAMP_INFINITY),
        Some(Special::NegInfinity) => return Ok(TIMESTAMP_NEG_INFINITY),
        Some(Special::Epoch) => UNIX_EPOCH_DAYS * MICROS_PER_DAY,
        Some(Special::Now) => formatting.now,
        Some(Special::Day(shift)) => {
            let now = reader.local_now()?;
            zone((days_of(now.year, now.month, now.day) + shift) * MICROS_PER_DAY + parsed.time.unwrap_or(0))?
        }
        None => zone(reader.local_micros(&parsed)?).map_err(|_| reader.timestamp_out_of_range())?,
    };
    check_timestamp(round_micros(micros, precision)).map_err(|_| reader.timestamp_out_of_range())
}
