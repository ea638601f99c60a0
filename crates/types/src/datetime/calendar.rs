//! Days and microseconds to years, months and clock hands, in the proleptic Gregorian calendar.

pub const MICROS_PER_SECOND: i64 = 1_000_000;
pub const MICROS_PER_MINUTE: i64 = 60 * MICROS_PER_SECOND;
pub const MICROS_PER_HOUR: i64 = 60 * MICROS_PER_MINUTE;
pub const MICROS_PER_DAY: i64 = 24 * MICROS_PER_HOUR;
pub const MONTHS_PER_YEAR: i64 = 12;
pub const DAYS_PER_MONTH: i64 = 30;

/// 1970-01-01, from 2000-01-01.
pub const UNIX_EPOCH_DAYS: i64 = -10_957;
/// Julian day of 2000-01-01.
pub const EPOCH_JULIAN_DAY: i64 = 2_451_545;

/// 4714-11-24 BC: the first day of dates and timestamps.
pub const FIRST_DAY: i64 = -EPOCH_JULIAN_DAY;
/// The day after the last date, 5874897-12-31.
pub const END_DATE: i64 = 2_145_031_949;
/// The day after the last timestamp's, 294276-12-31.
pub const END_TIMESTAMP_DAY: i64 = 106_751_983;

pub const FIRST_TIMESTAMP: i64 = FIRST_DAY * MICROS_PER_DAY;
/// PostgreSQL ends timestamps with the year 294276.
pub const END_TIMESTAMP: i64 = END_TIMESTAMP_DAY * MICROS_PER_DAY;

/// A moment taken apart. `year` is astronomical: 0 is 1 BC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Civil {
    pub year: i64,
    pub month: i64,
    pub day: i64,
    /// Microseconds since midnight.
    pub micros: i64,
}

impl Civil {
    /// From microseconds since 2000-01-01 00:00.
    #[must_use]
    pub fn from_micros(timestamp: i64) -> Self {
        let days = timestamp.div_euclid(MICROS_PER_DAY);
        let (year, month, day) = date_of(days);
        Self { year, month, day, micros: timestamp.rem_euclid(MICROS_PER_DAY) }
    }

    #[must_use]
    pub fn to_micros(self) -> Option<i64> {
        days_of(self.year, self.month, self.day).checked_mul(MICROS_PER_DAY)?.checked_add(self.micros)
    }

    #[must_use]
    pub const fn hour(&self) -> i64 {
        self.micros / MICROS_PER_HOUR
    }

    #[must_use]
    pub const fn minute(&self) -> i64 {
        self.micros / MICROS_PER_MINUTE % 60
    }

    #[must_use]
    pub const fn second(&self) -> i64 {
        self.micros / MICROS_PER_SECOND % 60
    }

    #[must_use]
    pub const fn fraction(&self) -> i64 {
        self.micros % MICROS_PER_SECOND
    }
}

/// Days since 2000-01-01 of a date; the month may not be out of 1..=12, the day may.
#[must_use]
pub fn days_of(year: i64, month: i64, day: i64) -> i64 {
    // Years start in March, so that the leap day is last; 400 years are 146097 days.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    // 0000-03-01 is 730425 days before 2000-01-01.
    era * 146_097 + day_of_era - 730_425
}

/// Year, month and day of a day count since 2000-01-01.
#[must_use]
pub fn date_of(days: i64) -> (i64, i64, i64) {
    let shifted = days + 730_425;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[must_use]
pub const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

#[must_use]
pub const fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// 0 is Sunday.
#[must_use]
pub const fn day_of_week(days: i64) -> i64 {
    (days + 6).rem_euclid(7)
}

#[must_use]
pub fn day_of_year(year: i64, month: i64, day: i64) -> i64 {
    days_of(year, month, day) - days_of(year, 1, 1) + 1
}

/// The Monday that starts ISO week 1 of `year`.
#[must_use]
pub fn iso_year_start(year: i64) -> i64 {
    let fourth = days_of(year, 1, 4);
    fourth - (day_of_week(fourth) + 6) % 7
}

/// ISO year and week of a day.
#[must_use]
pub fn iso_week(days: i64) -> (i64, i64) {
    let (year, ..) = date_of(days);
    let year = if days >= iso_year_start(year + 1) {
        year + 1
    } else if days < iso_year_start(year) {
        year - 1
    } else {
        year
    };
    (year, (days - iso_year_start(year)) / 7 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_are_inverse() {
        assert_eq!(days_of(2000, 1, 1), 0);
        assert_eq!(days_of(1970, 1, 1), UNIX_EPOCH_DAYS);
        assert_eq!(date_of(FIRST_DAY), (-4713, 11, 24));
        assert_eq!(date_of(END_DATE - 1), (5_874_897, 12, 31));
        assert_eq!(date_of(END_TIMESTAMP_DAY - 1), (294_276, 12, 31));
        for days in (FIRST_DAY..END_DATE).step_by(99_991) {
            let (year, month, day) = date_of(days);
            assert_eq!(days_of(year, month, day), days);
        }
        assert_eq!(day_of_week(0), 6, "2000-01-01 was a Saturday");
        assert_eq!(iso_week(days_of(2005, 1, 1)), (2004, 53));
        assert_eq!(iso_week(days_of(2012, 12, 31)), (2013, 1));
    }
}
