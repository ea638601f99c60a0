//! Parts of dates and times: `extract`, `date_part`, `date_trunc`.

use super::arithmetic::{check_timestamp, is_infinite, is_infinite_date, julian_day};
use super::calendar::{
    Civil, MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND, UNIX_EPOCH_DAYS, day_of_week,
    day_of_year, days_of, iso_week, iso_year_start,
};
use super::interval::{Unit, unit};
use super::zone::Zone;
use crate::datum::{Datum, Interval};
use crate::error::{SqlError, SqlResult, raise};
use crate::numeric::Numeric;
use crate::sql_type::SqlType;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Microseconds,
    Milliseconds,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
    Decade,
    Century,
    Millennium,
    IsoYear,
    DayOfWeek,
    IsoDayOfWeek,
    DayOfYear,
    Julian,
    Epoch,
    Timezone,
    TimezoneHour,
    TimezoneMinute,
}

fn field_of(name: &str) -> Option<Field> {
    let name = name.trim().to_ascii_lowercase();
    if let Some(unit) = unit(&name) {
        return Some(match unit {
            Unit::Microsecond => Field::Microseconds,
            Unit::Millisecond => Field::Milliseconds,
            Unit::Second => Field::Second,
            Unit::Minute => Field::Minute,
            Unit::Hour => Field::Hour,
            Unit::Day => Field::Day,
            Unit::Week => Field::Week,
            Unit::Month => Field::Month,
            Unit::Year => Field::Year,
            Unit::Decade => Field::Decade,
            Unit::Century => Field::Century,
            Unit::Millennium => Field::Millennium,
        });
    }
    Some(match name.as_str() {
        "quarter" | "qtr" => Field::Quarter,
        "isoyear" => Field::IsoYear,
        "dow" => Field::DayOfWeek,
        "isodow" => Field::IsoDayOfWeek,
        "doy" => Field::DayOfYear,
        "julian" | "jd" => Field::Julian,
        "epoch" => Field::Epoch,
        "timezone" => Field::Timezone,
        "timezone_hour" | "timezone_h" => Field::TimezoneHour,
        "timezone_minute" | "timezone_m" => Field::TimezoneMinute,
        _ => return None,
    })
}

/// `date_trunc` knows units of length only, and calls the others not recognized rather than not supported.
fn length_of(name: &str, ty: &SqlType) -> SqlResult<Field> {
    field_of(name)
        .filter(|field| {
            !matches!(
                field,
                Field::IsoYear
                    | Field::DayOfWeek
                    | Field::IsoDayOfWeek
                    | Field::DayOfYear
                    | Field::Julian
                    | Field::Epoch
            )
        })
        .ok_or_else(|| unrecognized(name, ty))
}

fn unrecognized(name: &str, ty: &SqlType) -> SqlError {
    raise::invalid_parameter(format!("unit \"{}\" not recognized for type {}", name.to_ascii_lowercase(), ty.base_name()))
}

fn unsupported(name: &str, ty: &SqlType) -> SqlError {
    SqlError::not_supported(format!("unit \"{}\" not supported for type {}", name.to_ascii_lowercase(), ty.base_name()))
}

fn whole(value: i64) -> Numeric {
    Numeric::from_i64(value)
}

/// Year numbers as people write them: there is no year 0.
const fn human_year(year: i64) -> i64 {
    if year > 0 { year } else { year - 1 }
}

fn date_field(field: Field, days: i64, year: i64, month: i64, day: i64) -> Option<i64> {
    Some(match field {
        Field::Day => day,
        Field::Week => iso_week(days).1,
        Field::Month => month,
        Field::Quarter => (month - 1) / 3 + 1,
        Field::Year => human_year(year),
        Field::Decade => year.div_euclid(10),
        Field::Century => {
            if year > 0 {
                (year + 99) / 100
            } else {
                -((99 - (year - 1)) / 100)
            }
        }
        Field::Millennium => {
            if year > 0 {
                (year + 999) / 1000
            } else {
                -((999 - (year - 1)) / 1000)
            }
        }
        Field::IsoYear => human_year(iso_week(days).0),
        Field::DayOfWeek => day_of_week(days),
        Field::IsoDayOfWeek => (day_of_week(days) + 6) % 7 + 1,
        Field::DayOfYear => day_of_year(year, month, day),
        _ => return None,
    })
}

/// Seconds and parts of the clock.
fn clock_field(field: Field, micros: i64) -> Option<Numeric> {
    Some(match field {
        Field::Microseconds => whole(micros % MICROS_PER_MINUTE),
        Field::Milliseconds => Numeric::small(micros % MICROS_PER_MINUTE, 3),
        Field::Second => Numeric::small(micros % MICROS_PER_MINUTE, 6),
        Field::Minute => whole(micros / MICROS_PER_MINUTE % 60),
        Field::Hour => whole(micros / MICROS_PER_HOUR),
        _ => return None,
    })
}

/// Of an infinity: fields that grow without bound are infinite, the others NULL.
fn infinite_field(field: Field, positive: bool) -> Option<Numeric> {
    match field {
        Field::Year
        | Field::Decade
        | Field::Century
        | Field::Millennium
        | Field::Julian
        | Field::IsoYear
        | Field::Epoch => Some(if positive { Numeric::INFINITY } else { Numeric::NEG_INFINITY }),
        _ => None,
    }
}

/// `extract(field from value)`; `None` is NULL.
pub fn extract(name: &str, ty: &SqlType, value: &Datum, zone: &Zone) -> SqlResult<Option<Numeric>> {
    let field = field_of(name).ok_or_else(|| unrecognized(name, ty))?;
    let refuse = || Err(unsupported(name, ty));
    match value {
        Datum::Null => Ok(None),
        Datum::Date(date) => {
            let supported = !matches!(
                field,
                Field::Microseconds
                    | Field::Milliseconds
                    | Field::Second
                    | Field::Minute
                    | Field::Hour
                    | Field::Timezone
                    | Field::TimezoneHour
                    | Field::TimezoneMinute
            );
            if !supported {
                return refuse();
            }
            if is_infinite_date(*date) {
                return Ok(infinite_field(field, *date > 0));
            }
            let days = i64::from(*date);
            Ok(Some(match field {
                Field::Julian => whole(julian_day(days)),
                Field::Epoch => whole((days - UNIX_EPOCH_DAYS) * 86_400),
                _ => {
                    let (year, month, day) = super::calendar::date_of(days);
                    whole(date_field(field, days, year, month, day).expect("other fields were refused"))
                }
            }))
        }
        Datum::Timestamp(timestamp) => {
            if matches!(field, Field::Timezone | Field::TimezoneHour | Field::TimezoneMinute) {
                return refuse();
            }
            if is_infinite(*timestamp) {
                return Ok(infinite_field(field, *timestamp > 0));
            }
            Ok(Some(moment_field(field, *timestamp, *timestamp)))
        }
        Datum::TimestampTz(timestamp) => {
            if is_infinite(*timestamp) {
                return Ok(infinite_field(field, *timestamp > 0));
            }
            let east = i64::from(zone.offset_at(*timestamp));
            Ok(Some(match field {
                Field::Timezone => whole(east),
                Field::TimezoneHour => whole(east / 3600),
                Field::TimezoneMinute => whole(east % 3600 / 60),
                _ => moment_field(field, zone.to_local(*timestamp)?, *timestamp),
            }))
        }
        Datum::Time(micros) => match field {
            Field::Epoch => Ok(Some(Numeric::small(*micros, 6))),
            _ => clock_field(field, *micros).map_or_else(refuse, |value| Ok(Some(value))),
        },
        Datum::TimeTz(time) => match field {
            Field::Epoch => {
                Ok(Some(Numeric::small(time.micros + i64::from(time.west) * MICROS_PER_SECOND, 6)))
            }
            Field::Timezone => Ok(Some(whole(-i64::from(time.west)))),
            Field::TimezoneHour => Ok(Some(whole(-i64::from(time.west) / 3600))),
            Field::TimezoneMinute => Ok(Some(whole(-i64::from(time.west) % 3600 / 60))),
            _ => clock_field(field, time.micros).map_or_else(refuse, |value| Ok(Some(value))),
        },
        Datum::Interval(interval) => {
            let (years, months) = (i64::from(interval.months / 12), i64::from(interval.months % 12));
            Ok(Some(match field {
                Field::Day => whole(i64::from(interval.days)),
                Field::Month => whole(months),
                Field::Quarter => whole(months / 3 + 1),
                Field::Year => whole(years),
                Field::Decade => whole(years / 10),
                Field::Century => whole(years / 100),
                Field::Millennium => whole(years / 1000),
                Field::Epoch => {
                    // A year is 365.25 days here, a month 30.
                    let days = i128::from(months) * 30 + i128::from(interval.days);
                    let seconds = i128::from(years) * 31_557_600 + days * 86_400;
                    Numeric::from_i128(seconds * 1_000_000 + i128::from(interval.micros), 6)
                }
                _ => return clock_field(field, interval.micros).map_or_else(refuse, |value| Ok(Some(value))),
            }))
        }
        _ => refuse(),
    }
}

fn moment_field(field: Field, local: i64, utc: i64) -> Numeric {
    let civil = Civil::from_micros(local);
    if let Some(value) = clock_field(field, civil.micros) {
        return value;
    }
    let days = local.div_euclid(MICROS_PER_DAY);
    match field {
        Field::Epoch => {
            Numeric::from_i128(i128::from(utc) - i128::from(UNIX_EPOCH_DAYS) * i128::from(MICROS_PER_DAY), 6)
        }
        Field::Julian => {
            let day = whole(julian_day(days));
            let part = whole(civil.micros).div(&whole(MICROS_PER_DAY)).expect("a day is not empty");
            day.add(&part).expect("a fraction adds no digit")
        }
        _ => whole(date_field(field, days, civil.year, civil.month, civil.day).expect("all fields are handled")),
    }
}

/// `date_part`: [`extract`] in double precision.
pub fn date_part(name: &str, ty: &SqlType, value: &Datum, zone: &Zone) -> SqlResult<Option<f64>> {
    Ok(extract(name, ty, value, zone)?.map(|value| value.to_f64()))
}

/// Cuts a local time to the start of its `field`.
fn trunc_civil(field: Field, local: i64) -> Option<i64> {
    let civil = Civil::from_micros(local);
    let unit = match field {
        Field::Microseconds => 1,
        Field::Milliseconds => 1000,
        Field::Second => MICROS_PER_SECOND,
        Field::Minute => MICROS_PER_MINUTE,
        Field::Hour => MICROS_PER_HOUR,
        Field::Day => MICROS_PER_DAY,
        _ => 0,
    };
    if unit != 0 {
        return Some(local - local.rem_euclid(unit));
    }
    let year = civil.year;
    let days = match field {
        Field::Week => {
            let days = local.div_euclid(MICROS_PER_DAY);
            let (iso_year, week) = iso_week(days);
            iso_year_start(iso_year) + (week - 1) * 7
        }
        Field::Month => days_of(year, civil.month, 1),
        Field::Quarter => days_of(year, (civil.month - 1) / 3 * 3 + 1, 1),
        Field::Year => days_of(year, 1, 1),
        Field::Decade => days_of(if year > 0 { year / 10 * 10 } else { -((8 - (year - 1)) / 10) * 10 }, 1, 1),
        Field::Century => {
            days_of(if year > 0 { (year + 99) / 100 * 100 - 99 } else { -((99 - (year - 1)) / 100) * 100 + 1 }, 1, 1)
        }
        Field::Millennium => {
            days_of(if year > 0 { (year + 999) / 1000 * 1000 - 999 } else { -((999 - (year - 1)) / 1000) * 1000 + 1 }, 1, 1)
        }
        _ => return None,
    };
    Some(days * MICROS_PER_DAY)
}

pub fn timestamp_trunc(name: &str, timestamp: i64) -> SqlResult<i64> {
    if is_infinite(timestamp) {
        return Ok(timestamp);
    }
    let ty = SqlType::TIMESTAMP;
    let field = length_of(name, &ty)?;
    check_timestamp(trunc_civil(field, timestamp).ok_or_else(|| unsupported(name, &ty))?)
}

pub fn timestamptz_trunc(name: &str, timestamp: i64, zone: &Zone) -> SqlResult<i64> {
    if is_infinite(timestamp) {
        return Ok(timestamp);
    }
    let ty = SqlType::TIMESTAMPTZ;
    let field = length_of(name, &ty)?;
    let east = i64::from(zone.offset_at(timestamp)) * MICROS_PER_SECOND;
    let local = zone.to_local(timestamp)?;
    let cut = trunc_civil(field, local).ok_or_else(|| unsupported(name, &ty))?;
    // Within a day the offset stays: a repeated hour must not fold onto its twin.
    let small = matches!(
        field,
        Field::Microseconds | Field::Milliseconds | Field::Second | Field::Minute | Field::Hour
    );
    check_timestamp(if small { cut - east } else { zone.to_utc(cut)? })
}

pub fn interval_trunc(name: &str, interval: Interval) -> SqlResult<Interval> {
    let ty = SqlType::Interval;
    let field = length_of(name, &ty)?;
    let Interval { months, days, micros } = interval;
    let years = |n: i32| Interval { months: months / (12 * n) * (12 * n), days: 0, micros: 0 };
    let clock = |unit: i64| Interval { months, days, micros: micros / unit * unit };
    Ok(match field {
        Field::Millennium => years(1000),
        Field::Century => years(100),
        Field::Decade => years(10),
        Field::Year => years(1),
        Field::Quarter => Interval { months: months / 3 * 3, days: 0, micros: 0 },
        Field::Month => Interval { months, days: 0, micros: 0 },
        Field::Day => Interval { months, days, micros: 0 },
        Field::Hour => clock(MICROS_PER_HOUR),
        Field::Minute => clock(MICROS_PER_MINUTE),
        Field::Second => clock(MICROS_PER_SECOND),
        Field::Milliseconds => clock(1000),
        Field::Microseconds => interval,
        Field::Week => {
            return Err(unsupported(name, &ty).with_detail("Months usually have fractional weeks."));
        }
        _ => return Err(unsupported(name, &ty)),
    })
}
