//! Sums and differences of dates, times and intervals.

use super::calendar::{
    Civil, END_DATE, EPOCH_JULIAN_DAY, FIRST_DAY, FIRST_TIMESTAMP, MICROS_PER_DAY, MICROS_PER_HOUR,
    MICROS_PER_MINUTE, MICROS_PER_SECOND, END_TIMESTAMP, UNIX_EPOCH_DAYS, days_in_month, days_of,
};
use super::zone::Zone;
use crate::datum::{
    DATE_INFINITY, DATE_NEG_INFINITY, Interval, TIMESTAMP_INFINITY, TIMESTAMP_NEG_INFINITY, TimeTz,
};
use crate::error::{SqlError, SqlResult, SqlState, raise};

#[must_use]
pub const fn is_infinite(timestamp: i64) -> bool {
    timestamp == TIMESTAMP_INFINITY || timestamp == TIMESTAMP_NEG_INFINITY
}

#[must_use]
pub const fn is_infinite_date(days: i32) -> bool {
    days == DATE_INFINITY || days == DATE_NEG_INFINITY
}

/// Refuses moments outside 4714-11-24 BC to 294276-12-31; infinities pass.
pub fn check_timestamp(timestamp: i64) -> SqlResult<i64> {
    if is_infinite(timestamp) || (FIRST_TIMESTAMP..END_TIMESTAMP).contains(&timestamp) {
        Ok(timestamp)
    } else {
        Err(raise::datetime_out_of_range("timestamp"))
    }
}

/// Rounds to `precision` digits of a second, half away from zero; infinities stay.
#[must_use]
pub const fn round_micros(micros: i64, precision: Option<u8>) -> i64 {
    let unit = match precision {
        Some(0) => 1_000_000,
        Some(1) => 100_000,
        Some(2) => 10_000,
        Some(3) => 1000,
        Some(4) => 100,
        Some(5) => 10,
        _ => return micros,
    };
    if is_infinite(micros) {
        return micros;
    }
    if micros >= 0 { (micros + unit / 2) / unit * unit } else { -((-micros + unit / 2) / unit * unit) }
}

fn add_months_and_days(local: i64, interval: Interval) -> SqlResult<i64> {
    let out_of_range = || raise::datetime_out_of_range("timestamp");
    let mut civil = Civil::from_micros(local);
    if interval.months != 0 {
        let months = civil.year * 12 + civil.month - 1 + i64::from(interval.months);
        civil.year = months.div_euclid(12);
        civil.month = months.rem_euclid(12) + 1;
        civil.day = civil.day.min(days_in_month(civil.year, civil.month));
    }
    let days = days_of(civil.year, civil.month, civil.day) + i64::from(interval.days);
    if days < FIRST_DAY {
        return Err(out_of_range());
    }
    days.checked_mul(MICROS_PER_DAY).and_then(|m| m.checked_add(civil.micros)).ok_or_else(out_of_range)
}

/// Months first, the day kept within the month; then days; then the clock.
pub fn timestamp_add(timestamp: i64, interval: Interval) -> SqlResult<i64> {
    if is_infinite(timestamp) {
        return Ok(timestamp);
    }
    let moved = if interval.months != 0 || interval.days != 0 {
        add_months_and_days(timestamp, interval)?
    } else {
        timestamp
    };
    check_timestamp(
        moved.checked_add(interval.micros).ok_or_else(|| raise::datetime_out_of_range("timestamp"))?,
    )
}

pub fn timestamp_sub(timestamp: i64, interval: Interval) -> SqlResult<i64> {
    timestamp_add(timestamp, super::interval::interval_neg(interval)?)
}

/// Months and days move the local time of `zone`; the clock moves the instant.
pub fn timestamptz_add(timestamp: i64, interval: Interval, zone: &Zone) -> SqlResult<i64> {
    if is_infinite(timestamp) {
        return Ok(timestamp);
    }
    let moved = if interval.months != 0 || interval.days != 0 {
        zone.to_utc(add_months_and_days(zone.to_local(timestamp)?, interval)?)?
    } else {
        timestamp
    };
    check_timestamp(
        moved.checked_add(interval.micros).ok_or_else(|| raise::datetime_out_of_range("timestamp"))?,
    )
}

pub fn timestamptz_sub(timestamp: i64, interval: Interval, zone: &Zone) -> SqlResult<i64> {
    timestamptz_add(timestamp, super::interval::interval_neg(interval)?, zone)
}

/// `a - b` in days and hours.
pub fn timestamp_diff(a: i64, b: i64) -> SqlResult<Interval> {
    if is_infinite(a) || is_infinite(b) {
        return Err(SqlError::new(SqlState::DatetimeFieldOverflow, "cannot subtract infinite timestamps"));
    }
    let micros = a.checked_sub(b).ok_or_else(|| raise::datetime_out_of_range("interval"))?;
    super::interval::justify_hours(Interval::from_micros(micros))
}

pub fn date_add(date: i32, days: i64) -> SqlResult<i32> {
    if is_infinite_date(date) {
        return Ok(date);
    }
    let moved = i64::from(date).saturating_add(days);
    if !(FIRST_DAY..END_DATE).contains(&moved) {
        return Err(raise::datetime_out_of_range("date"));
    }
    Ok(moved as i32)
}

pub fn date_diff(a: i32, b: i32) -> SqlResult<i64> {
    if is_infinite_date(a) || is_infinite_date(b) {
        return Err(SqlError::new(SqlState::DatetimeFieldOverflow, "cannot subtract infinite dates"));
    }
    Ok(i64::from(a) - i64::from(b))
}

/// Within the day.
#[must_use]
pub const fn time_add(micros: i64, interval: Interval) -> i64 {
    (micros + interval.micros % MICROS_PER_DAY).rem_euclid(MICROS_PER_DAY)
}

#[must_use]
pub const fn timetz_add(time: TimeTz, interval: Interval) -> TimeTz {
    TimeTz { micros: time_add(time.micros, interval), west: time.west }
}

/// `a - b` in years, months, days and clock, as a person counts.
pub fn timestamp_age(a: i64, b: i64) -> SqlResult<Interval> {
    if is_infinite(a) || is_infinite(b) {
        return Err(SqlError::new(SqlState::DatetimeFieldOverflow, "cannot subtract infinite timestamps"));
    }
    let (later, earlier, negative) = if a >= b { (a, b, false) } else { (b, a, true) };
    let (x, y) = (Civil::from_micros(later), Civil::from_micros(earlier));
    let mut months = (x.year - y.year) * 12 + x.month - y.month;
    let mut days = x.day - y.day;
    let mut micros = x.micros - y.micros;
    if micros < 0 {
        micros += MICROS_PER_DAY;
        days -= 1;
    }
    if days < 0 {
        // The borrowed month is the earlier moment's.
        days += days_in_month(y.year, y.month);
        months -= 1;
    }
    let interval = Interval { months: months as i32, days: days as i32, micros };
    if negative { super::interval::interval_neg(interval) } else { Ok(interval) }
}

pub fn timestamptz_age(a: i64, b: i64, zone: &Zone) -> SqlResult<Interval> {
    timestamp_age(zone.to_local(a)?, zone.to_local(b)?)
}

/// The start of `source`'s bin, where bins of `stride` are counted from `origin`.
pub fn date_bin(stride: Interval, source: i64, origin: i64) -> SqlResult<i64> {
    if is_infinite(source) {
        return Ok(source);
    }
    if is_infinite(origin) {
        return Err(SqlError::new(SqlState::DatetimeFieldOverflow, "origin out of range"));
    }
    if stride.months != 0 {
        return Err(SqlError::not_supported("timestamps cannot be binned into intervals containing months or years"));
    }
    let stride = stride.span();
    if stride <= 0 {
        return Err(SqlError::new(SqlState::DatetimeFieldOverflow, "stride must be greater than zero"));
    }
    let offset = (i128::from(source) - i128::from(origin)).rem_euclid(stride);
    let start = i128::from(source) - offset;
    check_timestamp(i64::try_from(start).map_err(|_| raise::datetime_out_of_range("timestamp"))?)
}

/// A negative year counts before Christ.
pub fn make_date(year: i64, month: i64, day: i64) -> SqlResult<i32> {
    let astronomical = if year < 0 { year + 1 } else { year };
    let valid = year != 0
        && (1..=12).contains(&month)
        && day >= 1
        && year.abs() < 10_000_000
        && day <= days_in_month(astronomical, month);
    let days = if valid { days_of(astronomical, month, day) } else { i64::MAX };
    if !valid {
        return Err(SqlError::new(
            SqlState::DatetimeFieldOverflow,
            format!("date field value out of range: {year}-{month:02}-{day:02}"),
        ));
    }
    if !(FIRST_DAY..END_DATE).contains(&days) {
        return Err(SqlError::new(
            SqlState::DatetimeFieldOverflow,
            format!("date out of range: {year}-{month:02}-{day:02}"),
        ));
    }
    Ok(days as i32)
}

pub fn make_time(hour: i64, minute: i64, seconds: f64) -> SqlResult<i64> {
    let micros = (seconds * 1e6).round_ties_even();
    let valid = (0..=24).contains(&hour) && (0..60).contains(&minute) && (0.0..=6e7).contains(&micros);
    let total = if valid { hour * MICROS_PER_HOUR + minute * MICROS_PER_MINUTE + micros as i64 } else { i64::MAX };
    if total > MICROS_PER_DAY {
        return Err(SqlError::new(
            SqlState::DatetimeFieldOverflow,
            format!("time field value out of range: {hour}:{minute:02}:{seconds}"),
        ));
    }
    Ok(total)
}

pub fn make_timestamp(year: i64, month: i64, day: i64, hour: i64, minute: i64, seconds: f64) -> SqlResult<i64> {
    let days = make_date(year, month, day)?;
    let micros = make_time(hour, minute, seconds)?;
    check_timestamp(
        i64::from(days)
            .checked_mul(MICROS_PER_DAY)
            .and_then(|m| m.checked_add(micros))
            .ok_or_else(|| raise::datetime_out_of_range("timestamp"))?,
    )
}

#[must_use]
pub fn timetz_at_zone(time: TimeTz, zone: &Zone, now: i64) -> TimeTz {
    let west = -zone.offset_at(now);
    let micros = (time.micros + i64::from(time.west - west) * MICROS_PER_SECOND).rem_euclid(MICROS_PER_DAY);
    TimeTz { micros, west }
}

pub fn timestamp_to_date(timestamp: i64) -> SqlResult<i32> {
    Ok(match timestamp {
        TIMESTAMP_INFINITY => DATE_INFINITY,
        TIMESTAMP_NEG_INFINITY => DATE_NEG_INFINITY,
        _ => timestamp.div_euclid(MICROS_PER_DAY) as i32,
    })
}

pub fn date_to_timestamp(date: i32) -> SqlResult<i64> {
    match date {
        DATE_INFINITY => Ok(TIMESTAMP_INFINITY),
        DATE_NEG_INFINITY => Ok(TIMESTAMP_NEG_INFINITY),
        _ => i64::from(date)
            .checked_mul(MICROS_PER_DAY)
            .and_then(|micros| check_timestamp(micros).ok())
            .ok_or_else(|| {
                SqlError::new(SqlState::DatetimeFieldOverflow, "date out of range for timestamp")
            }),
    }
}

/// `to_timestamp(double precision)`: seconds since 1970.
pub fn timestamp_from_epoch(seconds: f64) -> SqlResult<i64> {
    if seconds.is_nan() {
        return Err(SqlError::new(SqlState::DatetimeFieldOverflow, "timestamp cannot be NaN"));
    }
    if seconds.is_infinite() {
        return Ok(if seconds > 0.0 { TIMESTAMP_INFINITY } else { TIMESTAMP_NEG_INFINITY });
    }
    let refuse =
        || SqlError::new(SqlState::DatetimeFieldOverflow, format!("timestamp out of range: \"{seconds}\""));
    let since_2000 = seconds + (UNIX_EPOCH_DAYS * 86_400) as f64;
    if since_2000.abs() > 9.3e12 {
        return Err(refuse());
    }
    check_timestamp((since_2000 * 1e6).round_ties_even() as i64).map_err(|_| refuse())
}

/// An interval's part within a day, as a time of day.
#[must_use]
pub const fn interval_to_time(interval: Interval) -> i64 {
    interval.micros.rem_euclid(MICROS_PER_DAY)
}

#[must_use]
pub const fn julian_day(days: i64) -> i64 {
    days + EPOCH_JULIAN_DAY
}
