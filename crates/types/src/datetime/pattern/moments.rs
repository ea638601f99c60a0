//! Fields of a date/time template, and writing them.

use std::fmt::Write as _;

use super::{DAYS, Letters, MONTHS, Piece, ROMAN_MONTHS, cut, number, ordinal, spelled};
use crate::datetime::calendar::{
    Civil, EPOCH_JULIAN_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND, day_of_week, day_of_year, days_of,
    iso_week, iso_year_start,
};
use crate::datetime::zone::Zone;
use crate::error::{SqlError, SqlResult, SqlState};
use crate::{Datum, Interval, SqlType};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    DottedEra,
    Era,
    DottedHalf,
    Half,
    Century,
    DayName,
    DayNameShort,
    DayOfYear,
    DayOfMonth,
    DayOfWeek,
    /// FF1 to FF6.
    Fraction(u8),
    /// FX: read every character as it stands.
    Exact,
    Hour24,
    Hour12,
    IsoDayOfYear,
    IsoDayOfWeek,
    IsoWeek,
    /// The last 1 to 4 digits.
    IsoYear(u8),
    JulianDay,
    Minute,
    Month,
    MonthName,
    MonthNameShort,
    Millisecond,
    Microsecond,
    Offset,
    Quarter,
    RomanMonth,
    SecondOfDay,
    Second,
    ZoneName,
    ZoneHour,
    ZoneMinute,
    Week,
    WeekOfMonth,
    /// Y,YYY.
    YearWithComma,
    /// The last 1 to 4 digits.
    Year(u8),
}

/// Longer names stand before those that start them.
const UNITS: [(&str, Unit); 50] = [
    ("A.D.", Unit::DottedEra),
    ("A.M.", Unit::DottedHalf),
    ("AD", Unit::Era),
    ("AM", Unit::Half),
    ("B.C.", Unit::DottedEra),
    ("BC", Unit::Era),
    ("CC", Unit::Century),
    ("DAY", Unit::DayName),
    ("DDD", Unit::DayOfYear),
    ("DD", Unit::DayOfMonth),
    ("DY", Unit::DayNameShort),
    ("D", Unit::DayOfWeek),
    ("FF1", Unit::Fraction(1)),
    ("FF2", Unit::Fraction(2)),
    ("FF3", Unit::Fraction(3)),
    ("FF4", Unit::Fraction(4)),
    ("FF5", Unit::Fraction(5)),
    ("FF6", Unit::Fraction(6)),
    ("FX", Unit::Exact),
    ("HH24", Unit::Hour24),
    ("HH12", Unit::Hour12),
    ("HH", Unit::Hour12),
    ("IDDD", Unit::IsoDayOfYear),
    ("ID", Unit::IsoDayOfWeek),
    ("IW", Unit::IsoWeek),
    ("IYYY", Unit::IsoYear(4)),
    ("IYY", Unit::IsoYear(3)),
    ("IY", Unit::IsoYear(2)),
    ("I", Unit::IsoYear(1)),
    ("J", Unit::JulianDay),
    ("MI", Unit::Minute),
    ("MM", Unit::Month),
    ("MONTH", Unit::MonthName),
    ("MON", Unit::MonthNameShort),
    ("MS", Unit::Millisecond),
    ("OF", Unit::Offset),
    ("P.M.", Unit::DottedHalf),
    ("PM", Unit::Half),
    ("Q", Unit::Quarter),
    ("RM", Unit::RomanMonth),
    ("SSSSS", Unit::SecondOfDay),
    ("SSSS", Unit::SecondOfDay),
    ("SS", Unit::Second),
    ("TZH", Unit::ZoneHour),
    ("TZM", Unit::ZoneMinute),
    ("TZ", Unit::ZoneName),
    ("US", Unit::Microsecond),
    ("WW", Unit::Week),
    ("W", Unit::WeekOfMonth),
    ("Y,YYY", Unit::YearWithComma),
];
const YEARS: [(&str, u8); 4] = [("YYYY", 4), ("YYY", 3), ("YY", 2), ("Y", 1)];
const TITLES: [(&str, Unit); 4] = [
    ("Month", Unit::MonthName),
    ("Mon", Unit::MonthNameShort),
    ("Day", Unit::DayName),
    ("Dy", Unit::DayNameShort),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field<'a> {
    pub unit: Unit,
    /// As the template spells it, for error messages.
    pub name: &'a str,
    pub letters: Letters,
    /// FM: no padding; reading takes as many digits as there are.
    pub fill: bool,
    /// TM: a name in the locale's language, which is never padded.
    pub local: bool,
    pub ordinal: Option<Letters>,
}

pub(super) fn template(text: &str) -> Vec<Piece<Field<'_>>> {
    cut(text, |rest| {
        let (mut fill, mut local) = (false, false);
        if spelled(rest, "FM").is_some() {
            fill = true;
            *rest = &rest[2..];
        } else if spelled(rest, "TM").is_some() {
            local = true;
            *rest = &rest[2..];
        }
        let named = UNITS.iter().find_map(|(name, unit)| Some((name.len(), *unit, spelled(rest, name)?)));
        let titled = || {
            let (name, unit) = TITLES.iter().find(|(name, _)| rest.starts_with(name))?;
            Some((name.len(), *unit, Letters::Title))
        };
        let year = || YEARS.iter().find_map(|(name, n)| Some((name.len(), Unit::Year(*n), spelled(rest, name)?)));
        // `Dy` and `Day` start with the `D` that is a field of its own.
        let (length, unit, letters) = titled().or(named).or_else(year)?;
        let name = &rest[..length];
        *rest = &rest[length..];
        let ordinal = spelled(rest, "TH");
        if ordinal.is_some() || rest.starts_with("SP") {
            *rest = &rest[2..];
        }
        Some(Field { unit, name, letters, fill, local, ordinal })
    })
}

/// A moment or a span, taken apart for writing.
struct Parts {
    /// Astronomical: 0 is 1 BC. Of an interval, the count of years.
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    fraction: i64,
    day_of_year: i64,
    zone: Option<(String, i64)>,
    is_interval: bool,
}

impl Parts {
    fn of_local(local: i64, zone: Option<(String, i64)>) -> Self {
        let civil = Civil::from_micros(local);
        Self {
            year: civil.year,
            month: civil.month,
            day: civil.day,
            hour: civil.hour(),
            minute: civil.minute(),
            second: civil.second(),
            fraction: civil.fraction(),
            day_of_year: day_of_year(civil.year, civil.month, civil.day),
            zone,
            is_interval: false,
        }
    }

    fn of_interval(span: Interval) -> Self {
        let (year, month, day) = (i64::from(span.months / 12), i64::from(span.months % 12), i64::from(span.days));
        Self {
            year,
            month,
            day,
            hour: span.micros / MICROS_PER_HOUR,
            minute: span.micros / MICROS_PER_MINUTE % 60,
            second: span.micros / MICROS_PER_SECOND % 60,
            fraction: span.micros % MICROS_PER_SECOND,
            day_of_year: (year * 12 + month) * 30 + day,
            zone: None,
            is_interval: true,
        }
    }

    /// Days since 2000-01-01; an interval's months may be no month of a year.
    fn days(&self) -> i64 {
        let months = self.month - 1;
        days_of(self.year + months.div_euclid(12), months.rem_euclid(12) + 1, self.day)
    }

    /// A year as people count it.
    fn shown_year(&self, year: i64) -> i64 {
        if self.is_interval || year > 0 { year } else { 1 - year }
    }
}

/// `to_char`. `None` is NULL: of infinite moments and of empty templates.
///
/// # Errors
/// A template that asks of an interval or number what it has not.
pub fn to_char(ty: &SqlType, value: &Datum, pattern: &str, zone: &Zone) -> SqlResult<Option<String>> {
    let parts = match value {
        Datum::Null => return Ok(None),
        Datum::Int(_) | Datum::Float(_) | Datum::Numeric(_) => return number::to_char(ty, value, pattern).map(Some),
        _ if pattern.is_empty() => return Ok(None),
        Datum::Date(i32::MIN | i32::MAX)
        | Datum::Timestamp(i64::MIN | i64::MAX)
        | Datum::TimestampTz(i64::MIN | i64::MAX) => return Ok(None),
        Datum::Date(days) => Parts::of_local(crate::datetime::date_to_timestamp(*days)?, None),
        Datum::Timestamp(local) => Parts::of_local(*local, None),
        Datum::TimestampTz(utc) => {
            let offset = i64::from(zone.offset_at(*utc));
            Parts::of_local(zone.to_local(*utc)?, Some((zone.abbreviation_at(*utc), offset)))
        }
        Datum::Interval(span) => Parts::of_interval(*span),
        _ => return Err(SqlError::not_supported(format!("to_char of type {ty}"))),
    };
    let mut out = String::with_capacity(pattern.len() * 2);
    for piece in template(pattern) {
        match piece {
            Piece::Filler(c, _) => out.push(c),
            Piece::Field(field) => put_field(&mut out, &parts, &field)?,
        }
    }
    Ok(Some(out))
}

/// A number at least `width` wide, its sign included, and its ordinal ending.
fn put_number(out: &mut String, field: &Field<'_>, value: i64, width: usize) -> SqlResult<()> {
    let width = if field.fill { 0 } else { width };
    let from = out.len();
    write!(out, "{value:0width$}").expect("strings take everything");
    put_ordinal(out, field, from)
}

fn put_ordinal(out: &mut String, field: &Field<'_>, from: usize) -> SqlResult<()> {
    if let Some(letters) = field.ordinal {
        let ending = ordinal(&out[from..])?;
        letters.put(out, ending);
    }
    Ok(())
}

/// `width` digits, and one place more for a minus.
const fn signed(width: usize, value: i64) -> usize {
    if value < 0 { width + 1 } else { width }
}

fn put_name(out: &mut String, field: &Field<'_>, name: &str, width: usize) {
    field.letters.put(out, name);
    if !field.fill && !field.local {
        out.extend(std::iter::repeat_n(' ', width.saturating_sub(name.len())));
    }
}

fn not_of_intervals() -> SqlError {
    SqlError::new(SqlState::InvalidDatetimeFormat, "invalid format specification for an interval value")
        .with_hint("Intervals are not tied to specific calendar dates.")
}

fn put_field(out: &mut String, parts: &Parts, field: &Field<'_>) -> SqlResult<()> {
    let of_moment = || if parts.is_interval { Err(not_of_intervals()) } else { Ok(()) };
    match field.unit {
        Unit::Exact => Ok(()),
        Unit::Half | Unit::DottedHalf => {
            let (before, after) = if field.unit == Unit::Half { ("AM", "PM") } else { ("A.M.", "P.M.") };
            field.letters.put(out, if parts.hour % 24 >= 12 { after } else { before });
            Ok(())
        }
        Unit::Era | Unit::DottedEra => {
            of_moment()?;
            let (before, after) = if field.unit == Unit::Era { ("BC", "AD") } else { ("B.C.", "A.D.") };
            field.letters.put(out, if parts.year <= 0 { before } else { after });
            Ok(())
        }
        Unit::Hour12 => {
            let hour = if parts.hour % 12 == 0 { 12 } else { parts.hour % 12 };
            put_number(out, field, hour, signed(2, parts.hour))
        }
        Unit::Hour24 => put_number(out, field, parts.hour, signed(2, parts.hour)),
        Unit::Minute => put_number(out, field, parts.minute, signed(2, parts.minute)),
        Unit::Second => put_number(out, field, parts.second, signed(2, parts.second)),
        Unit::Fraction(digits) => {
            let value = parts.fraction / 10_i64.pow(6 - u32::from(digits));
            put_padded(out, field, value, usize::from(digits))
        }
        Unit::Millisecond => put_padded(out, field, parts.fraction / 1000, 3),
        Unit::Microsecond => put_padded(out, field, parts.fraction, 6),
        Unit::SecondOfDay => put_number(out, field, parts.hour * 3600 + parts.minute * 60 + parts.second, 0),
        Unit::ZoneName => {
            of_moment()?;
            if let Some((name, _)) = &parts.zone {
                // Abbreviations are upper case, offsets have no case.
                out.push_str(&if field.letters == Letters::Lower { name.to_ascii_lowercase() } else { name.clone() });
            }
            Ok(())
        }
        Unit::ZoneHour | Unit::ZoneMinute | Unit::Offset => {
            of_moment()?;
            put_offset(out, field, parts.zone.as_ref().map_or(0, |(_, east)| *east));
            Ok(())
        }
        Unit::MonthName | Unit::MonthNameShort => {
            of_moment()?;
            let name = MONTHS[parts.month as usize - 1];
            let (name, width) = if field.unit == Unit::MonthName { (name, 9) } else { (&name[..3], 3) };
            put_name(out, field, name, width);
            Ok(())
        }
        Unit::DayName | Unit::DayNameShort => {
            of_moment()?;
            let name = DAYS[day_of_week(parts.days()) as usize];
            let (name, width) = if field.unit == Unit::DayName { (name, 9) } else { (&name[..3], 3) };
            put_name(out, field, name, width);
            Ok(())
        }
        Unit::RomanMonth => {
            if parts.month == 0 && parts.year == 0 {
                return Ok(());
            }
            let name = match parts.month {
                0 => ROMAN_MONTHS[if parts.year >= 0 { 0 } else { 11 }],
                month if month < 0 => ROMAN_MONTHS[-(month + 1) as usize],
                month => ROMAN_MONTHS[12 - month as usize],
            };
            put_name(out, field, name, 4);
            Ok(())
        }
        _ => put_calendar_field(out, parts, field, of_moment),
    }
}

/// Fields of seconds keep their digits even in fill mode.
fn put_padded(out: &mut String, field: &Field<'_>, value: i64, width: usize) -> SqlResult<()> {
    let from = out.len();
    write!(out, "{value:0width$}").expect("strings take everything");
    put_ordinal(out, field, from)
}

fn put_offset(out: &mut String, field: &Field<'_>, east: i64) {
    let sign = if east < 0 { '-' } else { '+' };
    let (hours, minutes) = (east.abs() / 3600, east.abs() % 3600 / 60);
    let written = match field.unit {
        Unit::ZoneHour => write!(out, "{sign}{hours:02}"),
        Unit::ZoneMinute => write!(out, "{minutes:02}"),
        _ => {
            let width = if field.fill { 0 } else { 2 };
            write!(out, "{sign}{hours:0width$}").and_then(|()| match minutes {
                0 => Ok(()),
                _ => write!(out, ":{minutes:02}"),
            })
        }
    };
    written.expect("strings take everything");
}

fn put_calendar_field(
    out: &mut String,
    parts: &Parts,
    field: &Field<'_>,
    of_moment: impl Fn() -> SqlResult<()>,
) -> SqlResult<()> {
    match field.unit {
        Unit::Month => put_number(out, field, parts.month, signed(2, parts.month)),
        Unit::DayOfMonth => put_number(out, field, parts.day, 2),
        Unit::DayOfYear => put_number(out, field, parts.day_of_year, 3),
        Unit::IsoDayOfYear => {
            let days = parts.days();
            put_number(out, field, days - iso_year_start(iso_week(days).0) + 1, 3)
        }
        Unit::DayOfWeek => {
            of_moment()?;
            put_number(out, field, day_of_week(parts.days()) + 1, 0)
        }
        Unit::IsoDayOfWeek => {
            of_moment()?;
            put_number(out, field, (day_of_week(parts.days()) + 6) % 7 + 1, 0)
        }
        Unit::Week => put_number(out, field, (parts.day_of_year - 1) / 7 + 1, 2),
        Unit::IsoWeek => put_number(out, field, iso_week(parts.days()).1, 2),
        Unit::WeekOfMonth => put_number(out, field, (parts.day - 1) / 7 + 1, 0),
        Unit::Quarter if parts.month == 0 => Ok(()),
        Unit::Quarter => put_number(out, field, (parts.month - 1) / 3 + 1, 0),
        Unit::JulianDay => put_number(out, field, parts.days() + EPOCH_JULIAN_DAY, 0),
        Unit::Century => {
            let century = match parts.year {
                year if parts.is_interval => year / 100,
                year if year > 0 => (year - 1) / 100 + 1,
                year => year / 100 - 1,
            };
            put_number(out, field, century, if century.abs() <= 99 { signed(2, century) } else { 0 })
        }
        Unit::YearWithComma => {
            let year = parts.shown_year(parts.year);
            let from = out.len();
            write!(out, "{},{:03}", year / 1000, year % 1000).expect("strings take everything");
            put_ordinal(out, field, from)
        }
        Unit::Year(digits) => put_year(out, parts, field, parts.year, digits),
        Unit::IsoYear(digits) => put_year(out, parts, field, iso_week(parts.days()).0, digits),
        _ => unreachable!("the other units were written before"),
    }
}

fn put_year(out: &mut String, parts: &Parts, field: &Field<'_>, year: i64, digits: u8) -> SqlResult<()> {
    let year = parts.shown_year(year);
    let shown = if digits == 4 { year } else { year % 10_i64.pow(u32::from(digits)) };
    let width = if digits == 1 { 1 } else { signed(usize::from(digits), parts.shown_year(parts.year)) };
    put_number(out, field, shown, width)
}
