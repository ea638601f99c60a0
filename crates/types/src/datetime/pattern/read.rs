//! `to_date` and `to_timestamp`: reading a text along a template.
//!
//! Reading is lenient as PostgreSQL's is: what stands between fields need not match, blanks may be missing or more,
//! and what follows the last field is ignored.

use super::moments::{Field, Unit, template};
use super::{DAYS, Filler, MONTHS, Piece, ROMAN_MONTHS, is_space};
use crate::datetime::calendar::{
    Civil, END_DATE, END_TIMESTAMP, EPOCH_JULIAN_DAY, FIRST_DAY, FIRST_TIMESTAMP, MICROS_PER_HOUR, MICROS_PER_MINUTE,
    MICROS_PER_SECOND, date_of, days_in_month, days_of, is_leap, iso_year_start,
};
use crate::datetime::zone::Zone;
use crate::error::{SqlError, SqlResult, SqlState};

fn bad_format(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::InvalidDatetimeFormat, message)
}

fn overflow(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::DatetimeFieldOverflow, message)
}

const FILL_HINT: &str = "If your source string is not fixed-width, try using the \"FM\" modifier.";

/// What a template's fields count by; the two do not mix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Convention {
    Gregorian,
    IsoWeek,
}

/// What was read, by field. Zero is "not given", as it is for PostgreSQL.
#[derive(Debug, Default)]
struct Found {
    convention: Option<Convention>,
    hour: i64,
    minute: i64,
    second: i64,
    second_of_day: i64,
    millisecond: i64,
    microsecond: i64,
    twelve_hours: bool,
    afternoon: i64,
    /// 1 to 7, Sunday first.
    day_of_week: i64,
    day: i64,
    day_of_year: i64,
    month: i64,
    year: i64,
    year_digits: u8,
    before_christ: i64,
    century: i64,
    week: i64,
    week_of_month: i64,
    julian_day: i64,
    /// -1 or 1 when an offset was given.
    zone_sign: i64,
    zone_hour: i64,
    zone_minute: i64,
}

fn set(slot: &mut i64, value: i64, field: &Field<'_>) -> SqlResult<()> {
    if *slot != 0 && *slot != value {
        return Err(bad_format(format!("conflicting values for \"{}\" field in formatting string", field.name))
            .with_detail("This value contradicts a previous setting for the same field type."));
    }
    *slot = value;
    Ok(())
}

struct Reader<'a> {
    rest: &'a str,
    /// The character before `rest`, for the sign of an offset.
    before: Option<char>,
    /// Blanks and separators of the text beyond those of the template.
    surplus: i64,
    exact: bool,
}

impl Reader<'_> {
    fn skip(&mut self) {
        if let Some(c) = self.rest.chars().next() {
            self.before = Some(c);
            self.rest = &self.rest[c.len_utf8()..];
        }
    }

    fn skip_bytes(&mut self, count: usize) {
        self.before = self.rest[..count].chars().next_back().or(self.before);
        self.rest = &self.rest[count..];
    }

    fn skip_blanks(&mut self) -> i64 {
        let mut count = 0;
        while self.rest.starts_with(is_space) {
            self.skip();
            count += 1;
        }
        count
    }

    fn filler(&mut self, kind: Filler) {
        if self.exact {
            self.skip();
        } else if kind == Filler::Text {
            // What was skipped too much before is given back here: it may be part of the next field.
            if self.surplus > 0 {
                self.surplus -= 1;
            } else {
                self.skip();
            }
        } else {
            self.surplus -= 1;
            if self.rest.starts_with(|c: char| is_space(c) || c.is_ascii_punctuation()) {
                self.skip();
                self.surplus += 1;
            }
        }
    }

    /// An integer of `width` characters, or of as many as there are when `open`. Returns it and its length.
    fn integer(&mut self, field: &Field<'_>, width: usize, open: bool) -> SqlResult<(i64, usize)> {
        let blanks_before = self.rest.len();
        self.skip_blanks();
        let blanks = blanks_before - self.rest.len();
        let window_end = self.rest.char_indices().nth(width).map_or(self.rest.len(), |(at, _)| at);
        let window = &self.rest[..window_end];
        let source = if open { self.rest } else { window };
        if !open && window.chars().count() < width {
            return Err(bad_format(format!("source string too short for \"{}\" formatting field", field.name))
                .with_detail(format!(
                    "Field requires {width} characters, but only {} remain.",
                    window.chars().count()
                ))
                .with_hint(FILL_HINT));
        }
        let digits_from = usize::from(source.starts_with(['+', '-']));
        let digits = source[digits_from..].bytes().take_while(u8::is_ascii_digit).count();
        let used = if digits == 0 { 0 } else { digits_from + digits };
        let invalid = || bad_format(format!("invalid value \"{window}\" for \"{}\"", field.name));
        if used == 0 {
            return Err(invalid().with_detail("Value must be an integer."));
        }
        if !open && used < width {
            return Err(invalid()
                .with_detail(format!("Field requires {width} characters, but only {used} could be parsed."))
                .with_hint(FILL_HINT));
        }
        let value = source[..used].parse::<i32>().map_err(|_| {
            overflow(format!("value for \"{}\" in source string is out of range", field.name))
                .with_detail(format!("Value must be in the range {} to {}.", i32::MIN, i32::MAX))
        })?;
        self.skip_bytes(used);
        Ok((i64::from(value), used + blanks))
    }

    /// One of some names, in any case; its index.
    fn name<'n>(&mut self, field: &Field<'_>, names: impl IntoIterator<Item = &'n str>) -> SqlResult<usize> {
        let rest = self.rest.as_bytes();
        let found = names.into_iter().enumerate().find(|(_, name)| {
            rest.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name.as_bytes()))
        });
        let Some((index, name)) = found else {
            let word = self.rest.split(is_space).next().unwrap_or_default();
            return Err(bad_format(format!("invalid value \"{word}\" for \"{}\"", field.name))
                .with_detail("The given value did not match any of the allowed values for this field."));
        };
        self.skip_bytes(name.len());
        Ok(index)
    }

    fn ordinal(&mut self, field: &Field<'_>) {
        if field.ordinal.is_some() {
            self.skip();
            self.skip();
        }
    }
}

/// Whether a number that `next` follows may be as long as it likes: `next` does not start with a digit.
fn ends_number(next: Option<&Piece<Field<'_>>>) -> bool {
    match next {
        None => true,
        Some(Piece::Filler(c, _)) => !c.is_ascii_digit(),
        Some(Piece::Field(field)) => matches!(
            field.unit,
            Unit::DottedEra
                | Unit::Era
                | Unit::DottedHalf
                | Unit::Half
                | Unit::DayName
                | Unit::DayNameShort
                | Unit::MonthName
                | Unit::MonthNameShort
                | Unit::RomanMonth
                | Unit::Exact
                | Unit::Offset
                | Unit::ZoneName
                | Unit::ZoneHour
        ),
    }
}

const fn convention(unit: Unit) -> Option<Convention> {
    match unit {
        Unit::IsoDayOfWeek | Unit::IsoDayOfYear | Unit::IsoWeek | Unit::IsoYear(_) => Some(Convention::IsoWeek),
        Unit::DayOfWeek
        | Unit::DayOfMonth
        | Unit::DayOfYear
        | Unit::Month
        | Unit::MonthName
        | Unit::MonthNameShort
        | Unit::RomanMonth
        | Unit::Week
        | Unit::WeekOfMonth
        | Unit::Year(_)
        | Unit::YearWithComma => Some(Convention::Gregorian),
        _ => None,
    }
}

/// Years of fewer than four digits are the nearest to 2020.
const fn near_2020(year: i64) -> i64 {
    match year {
        ..70 => year + 2000,
        70..100 => year + 1900,
        100..520 => year + 2000,
        520..1000 => year + 1000,
        _ => year,
    }
}

fn scan(text: &str, pattern: &str) -> SqlResult<Found> {
    let pieces = template(pattern);
    let mut found = Found::default();
    let mut reader = Reader { rest: text, before: None, surplus: 0, exact: false };
    for (at, piece) in pieces.iter().enumerate() {
        if reader.rest.is_empty() {
            break;
        }
        let is_field = matches!(piece, Piece::Field(field) if field.unit != Unit::Exact);
        if !reader.exact && (is_field || (at == 0 && matches!(piece, Piece::Filler(..)))) {
            reader.surplus += reader.skip_blanks();
        }
        match piece {
            Piece::Filler(_, kind) => reader.filler(*kind),
            Piece::Field(field) => {
                let open = field.fill || field.ordinal.is_some() || ends_number(pieces.get(at + 1));
                take_field(&mut reader, &mut found, field, open)?;
                if !reader.exact {
                    reader.surplus = reader.skip_blanks();
                }
            }
        }
    }
    Ok(found)
}

fn take_field(reader: &mut Reader<'_>, found: &mut Found, field: &Field<'_>, open: bool) -> SqlResult<()> {
    if let Some(convention) = convention(field.unit)
        && found.convention.replace(convention).is_some_and(|before| before != convention)
    {
        return Err(bad_format("invalid combination of date conventions")
            .with_hint("Do not mix Gregorian and ISO week date conventions in a formatting template."));
    }
    match field.unit {
        Unit::Exact => {
            reader.exact = true;
            return Ok(());
        }
        Unit::ZoneName | Unit::Offset => {
            return Err(SqlError::not_supported(format!(
                "formatting field \"{}\" is only supported in to_char",
                field.name
            )));
        }
        Unit::Half | Unit::DottedHalf => {
            let names = if field.unit == Unit::Half { ["AM", "PM"] } else { ["A.M.", "P.M."] };
            let index = reader.name(field, names)?;
            found.twelve_hours = true;
            return set(&mut found.afternoon, index as i64, field);
        }
        Unit::Era | Unit::DottedEra => {
            let names = if field.unit == Unit::Era { ["AD", "BC"] } else { ["A.D.", "B.C."] };
            let index = reader.name(field, names)?;
            return set(&mut found.before_christ, index as i64, field);
        }
        Unit::MonthName => {
            let index = reader.name(field, MONTHS)?;
            return set(&mut found.month, index as i64 + 1, field);
        }
        Unit::MonthNameShort => {
            let index = reader.name(field, MONTHS.map(|name| &name[..3]))?;
            return set(&mut found.month, index as i64 + 1, field);
        }
        Unit::RomanMonth => {
            let index = reader.name(field, ROMAN_MONTHS)?;
            return set(&mut found.month, 12 - index as i64, field);
        }
        Unit::DayName => {
            let index = reader.name(field, DAYS)?;
            return set(&mut found.day_of_week, index as i64 + 1, field);
        }
        Unit::DayNameShort => {
            let index = reader.name(field, DAYS.map(|name| &name[..3]))?;
            return set(&mut found.day_of_week, index as i64 + 1, field);
        }
        Unit::ZoneHour => {
            found.zone_sign = match reader.rest.chars().next() {
                Some(sign @ ('+' | '-' | ' ')) => {
                    reader.skip();
                    if sign == '-' { -1 } else { 1 }
                }
                // The sign was taken for a separator.
                _ if reader.surplus > 0 && reader.before == Some('-') => -1,
                _ => 1,
            };
        }
        Unit::ZoneMinute if found.zone_sign == 0 => found.zone_sign = 1,
        _ => {}
    }
    take_number(reader, found, field, open)?;
    reader.ordinal(field);
    Ok(())
}

fn take_number(reader: &mut Reader<'_>, found: &mut Found, field: &Field<'_>, open: bool) -> SqlResult<()> {
    let width = match field.unit {
        Unit::Hour12 | Unit::Hour24 | Unit::ZoneHour | Unit::ZoneMinute => 2,
        Unit::Fraction(digits) => usize::from(digits),
        Unit::Microsecond => 6,
        Unit::Millisecond => 3,
        _ => field.name.len(),
    };
    if field.unit == Unit::YearWithComma {
        return take_year_with_comma(reader, found, field);
    }
    let (value, length) = reader.integer(field, width, open)?;
    let slot = match field.unit {
        Unit::Hour12 => {
            found.twelve_hours = true;
            &mut found.hour
        }
        Unit::Hour24 => &mut found.hour,
        Unit::Minute => &mut found.minute,
        Unit::Second => &mut found.second,
        Unit::SecondOfDay => &mut found.second_of_day,
        Unit::Millisecond => {
            set(&mut found.millisecond, value, field)?;
            found.millisecond *= 10_i64.pow(3_u32.saturating_sub(length as u32));
            return Ok(());
        }
        Unit::Microsecond | Unit::Fraction(_) => {
            set(&mut found.microsecond, value, field)?;
            found.microsecond *= 10_i64.pow(6_u32.saturating_sub(length as u32));
            return Ok(());
        }
        Unit::ZoneHour => &mut found.zone_hour,
        Unit::ZoneMinute => &mut found.zone_minute,
        Unit::Month => &mut found.month,
        Unit::DayOfMonth => &mut found.day,
        Unit::DayOfYear | Unit::IsoDayOfYear => &mut found.day_of_year,
        Unit::DayOfWeek => &mut found.day_of_week,
        Unit::IsoDayOfWeek => {
            set(&mut found.day_of_week, value, field)?;
            // From Monday first to Sunday first.
            found.day_of_week = if value >= 7 { 1 } else { value + 1 };
            return Ok(());
        }
        Unit::Week | Unit::IsoWeek => &mut found.week,
        Unit::WeekOfMonth => &mut found.week_of_month,
        Unit::Century => &mut found.century,
        Unit::JulianDay => &mut found.julian_day,
        // Which day of the quarter is not said, so it is not used.
        Unit::Quarter => return Ok(()),
        Unit::Year(digits) | Unit::IsoYear(digits) => {
            set(&mut found.year, value, field)?;
            if digits < 4 && length < 4 {
                found.year = near_2020(found.year);
            }
            found.year_digits = digits;
            return Ok(());
        }
        _ => unreachable!("the other units are no numbers"),
    };
    set(slot, value, field)
}

fn take_year_with_comma(reader: &mut Reader<'_>, found: &mut Found, field: &Field<'_>) -> SqlResult<()> {
    let invalid = || bad_format("invalid input string for \"Y,YYY\"");
    let (thousands, tail) = reader.rest.split_once(',').ok_or_else(invalid)?;
    let digits = tail.bytes().take(3).take_while(u8::is_ascii_digit).count();
    let thousands_value: i32 = thousands.trim_start().parse().map_err(|_| invalid())?;
    let units: i32 = tail[..digits].parse().map_err(|_| invalid())?;
    let year = thousands_value.checked_mul(1000).and_then(|y| y.checked_add(units)).ok_or_else(|| {
        overflow("value for \"Y,YYY\" in source string is out of range")
    })?;
    reader.skip_bytes(thousands.len() + 1 + digits);
    set(&mut found.year, i64::from(year), field)?;
    found.year_digits = 4;
    Ok(())
}

/// The local moment that the fields name, and the offset, in seconds east, if they name one.
struct Moment {
    date: (i64, i64, i64),
    micros: i64,
    east: Option<i64>,
}

fn year_of(found: &Found) -> Option<i64> {
    let century = if found.before_christ != 0 { -found.century } else { found.century };
    if found.year != 0 {
        if found.century != 0 && found.year_digits <= 2 {
            let of_century = found.year % 100;
            return Some(match (of_century, century >= 0) {
                (0, true) => century * 100,
                (0, false) => century * 100 + 1,
                (_, true) => of_century + (century - 1) * 100,
                (_, false) => (century + 1) * 100 - of_century + 1,
            });
        }
        let year = if found.before_christ != 0 { -found.year } else { found.year };
        return Some(if year < 0 { year + 1 } else { year });
    }
    // The first year of the century.
    (century != 0).then(|| if century >= 0 { (century - 1) * 100 + 1 } else { century * 100 + 1 })
}

fn compose(text: &str, found: &Found) -> SqlResult<Moment> {
    let out_of_range = || overflow(format!("date/time field value out of range: \"{text}\""));
    let Found { second_of_day, .. } = *found;
    let pick = |given: i64, otherwise: i64| if given != 0 { given } else { otherwise };
    let mut hour = pick(found.hour, second_of_day / 3600);
    let minute = pick(found.minute, second_of_day % 3600 / 60);
    let second = pick(found.second, second_of_day % 60);
    if found.twelve_hours {
        if !(1..=12).contains(&hour) {
            return Err(bad_format(format!("hour \"{hour}\" is invalid for the 12-hour clock"))
                .with_hint("Use the 24-hour clock, or give an hour between 1 and 12."));
        }
        hour = hour % 12 + if found.afternoon != 0 { 12 } else { 0 };
    }
    // Fields have 32 bits, so no sum of them leaves 64; the callers compare the date with their type's bounds.
    let date = compose_date(found, out_of_range)?;
    let fraction = found.millisecond * 1000 + found.microsecond;
    let in_range = (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..60).contains(&second)
        && (0..MICROS_PER_SECOND).contains(&fraction);
    if !in_range {
        return Err(out_of_range());
    }
    let east = match found.zone_sign {
        0 => None,
        _ if !(0..=15).contains(&found.zone_hour) || !(0..60).contains(&found.zone_minute) => {
            return Err(SqlError::new(
                SqlState::InvalidTimeZoneDisplacementValue,
                format!("time zone displacement out of range: \"{text}\""),
            ));
        }
        sign => Some(sign * (found.zone_hour * 3600 + found.zone_minute * 60)),
    };
    let micros = hour * MICROS_PER_HOUR + minute * MICROS_PER_MINUTE + second * MICROS_PER_SECOND + fraction;
    Ok(Moment { date, micros, east })
}

fn compose_date(found: &Found, out_of_range: impl Fn() -> SqlError) -> SqlResult<(i64, i64, i64)> {
    let iso = found.convention == Some(Convention::IsoWeek);
    let (given_year, mut given_month, mut given_day) = (year_of(found), None, None);
    let (mut year, mut month, mut day) = (given_year.unwrap_or(0), 1, 1);
    let mut day_of_year = found.day_of_year;
    if found.julian_day != 0 {
        (year, month, day) = date_of(found.julian_day - EPOCH_JULIAN_DAY);
    }
    if found.week != 0 && iso {
        let weekday = match found.day_of_week {
            0 | 2 => 0,
            1 => 6,
            n => n - 2,
        };
        (year, month, day) = date_of(iso_year_start(year) + (found.week - 1) * 7 + weekday);
    } else if found.week != 0 {
        day_of_year = (found.week - 1) * 7 + 1;
    }
    if found.week_of_month != 0 {
        day = (found.week_of_month - 1) * 7 + 1;
        given_day = Some(day);
    }
    if found.day != 0 {
        day = found.day;
        given_day = Some(day);
    }
    if found.month != 0 {
        month = found.month;
        given_month = Some(month);
    }
    if day_of_year != 0 && (month <= 1 || day <= 1) {
        if year == 0 && found.before_christ == 0 {
            return Err(bad_format("cannot calculate day of year without year information"));
        }
        if iso {
            (year, month, day) = date_of(iso_year_start(year) + day_of_year - 1);
        } else {
            if !(1..=365 + i64::from(is_leap(year))).contains(&day_of_year) {
                return Err(out_of_range());
            }
            let (_, found_month, found_day) = date_of(days_of(year, 1, 1) + day_of_year - 1);
            if month <= 1 {
                month = found_month;
                given_month = Some(month);
            }
            if day <= 1 {
                day = found_day;
                given_day = Some(day);
            }
        }
    }
    let month_ok = (1..=12).contains(&month) || (given_month.is_none() && given_day.is_none());
    if !month_ok || !(1..=31).contains(&day) || day > days_in_month(year, month) {
        return Err(out_of_range());
    }
    Ok((year, month, day))
}

/// `to_timestamp`: microseconds since 2000-01-01 UTC, taken in `zone` unless the text has an offset of its own.
///
/// # Errors
/// 22007 for text that does not fit the template, 22008 for values out of range.
pub fn to_timestamp(text: &str, pattern: &str, zone: &Zone) -> SqlResult<i64> {
    let moment = compose(text, &scan(text, pattern)?)?;
    let (year, month, day) = moment.date;
    let out_of_range = || overflow("timestamp out of range");
    let local = Civil { year, month, day, micros: moment.micros }.to_micros().ok_or_else(out_of_range)?;
    if !(FIRST_TIMESTAMP..END_TIMESTAMP).contains(&local) {
        return Err(out_of_range());
    }
    let utc = match moment.east {
        Some(east) => local - east * MICROS_PER_SECOND,
        None => zone.to_utc(local)?,
    };
    if (FIRST_TIMESTAMP..END_TIMESTAMP).contains(&utc) { Ok(utc) } else { Err(out_of_range()) }
}

/// `to_date`: days since 2000-01-01.
///
/// # Errors
/// 22007 for text that does not fit the template, 22008 for values out of range.
pub fn to_date(text: &str, pattern: &str) -> SqlResult<i32> {
    let (year, month, day) = compose(text, &scan(text, pattern)?)?.date;
    let days = days_of(year, month, day);
    if !(FIRST_DAY..END_DATE).contains(&days) {
        return Err(overflow(format!("date out of range: \"{text}\"")));
    }
    Ok(i32::try_from(days).expect("the bounds of dates lie within 32 bits"))
}
