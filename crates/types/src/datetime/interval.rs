//! Intervals: their arithmetic here, their text in [`read`] and [`write`].

mod read;
mod write;

use super::calendar::{DAYS_PER_MONTH, MICROS_PER_DAY};
use crate::datum::Interval;
use crate::error::{SqlError, SqlResult, raise};

pub use self::{read::parse_interval, write::write_interval};
pub(crate) use self::{
    read::{Unit, signed_alike, unit},
    write::put_fraction,
};

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
    use crate::{error::SqlState, formatting::IntervalStyle};

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
