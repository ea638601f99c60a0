//! Date and time functions. Documentation, section 9.9.

use types::datetime::zone::Zone;
use types::{Datum, Interval, SqlError, SqlResult, SqlState, SqlType, TimeTz, datetime};

use crate::EvalContext;
use crate::arguments::{date, float, int, interval, moment, text};
use crate::signature::{ArgType, Builtin, CallTypes, RetType};

const TEXT: ArgType = ArgType::T(SqlType::Text);
const I4: ArgType = ArgType::T(SqlType::Int4);
const I8: ArgType = ArgType::T(SqlType::Int8);
const F4: ArgType = ArgType::T(SqlType::Float4);
const NUMERIC: ArgType = ArgType::T(SqlType::NUMERIC);
const F8: ArgType = ArgType::T(SqlType::Float8);
const DATE: ArgType = ArgType::T(SqlType::Date);
const TIME: ArgType = ArgType::T(SqlType::TIME);
const TIMETZ: ArgType = ArgType::T(SqlType::TIMETZ);
const TIMESTAMP: ArgType = ArgType::T(SqlType::TIMESTAMP);
const TIMESTAMPTZ: ArgType = ArgType::T(SqlType::TIMESTAMPTZ);
const INTERVAL: ArgType = ArgType::T(SqlType::Interval);
const R_TEXT: RetType = RetType::T(SqlType::Text);
const R_F8: RetType = RetType::T(SqlType::Float8);
const R_NUMERIC: RetType = RetType::T(SqlType::NUMERIC);
const R_DATE: RetType = RetType::T(SqlType::Date);
const R_TIME: RetType = RetType::T(SqlType::TIME);
const R_TIMETZ: RetType = RetType::T(SqlType::TIMETZ);
const R_TIMESTAMP: RetType = RetType::T(SqlType::TIMESTAMP);
const R_TIMESTAMPTZ: RetType = RetType::T(SqlType::TIMESTAMPTZ);
const R_INTERVAL: RetType = RetType::T(SqlType::Interval);
const R_BOOL: RetType = RetType::T(SqlType::Bool);

const MICROS_PER_DAY: i64 = 86_400_000_000;

fn extract(context: &EvalContext<'_>, types: &CallTypes, a: &[Datum]) -> SqlResult<Datum> {
    let found = datetime::extract(text(&a[0]), &types.args[1], &a[1], &context.formatting.zone)?;
    Ok(found.map_or(Datum::Null, Datum::Numeric))
}

/// The fields and the precision that `interval day to hour` and `interval(1)` keep, in `pg_type`'s number: which fields in
/// the upper half, digits of a second in the lower.
fn fit_interval(mut value: Interval, modifier: i64) -> Interval {
    use datetime::interval_field::{DAY, HOUR, MINUTE, MONTH, SECOND, YEAR};
    let fields = modifier >> 16 & 0x7fff;
    let truncate = |value: &mut Interval, unit: i64| value.micros -= value.micros % unit;
    if fields & SECOND == 0 {
        match () {
            () if fields & MINUTE != 0 => truncate(&mut value, 60_000_000),
            () if fields & HOUR != 0 => truncate(&mut value, 3_600_000_000),
            () if fields & DAY != 0 => value.micros = 0,
            () if fields & MONTH != 0 => (value.days, value.micros) = (0, 0),
            () if fields & YEAR != 0 => (value.months, value.days, value.micros) = (value.months / 12 * 12, 0, 0),
            () => {}
        }
    }
    if let digits @ 0..=5 = modifier & 0xffff {
        let unit = 10_i64.pow(6 - u32::try_from(digits).expect("at most five"));
        // Half away from zero, as PostgreSQL rounds.
        let half = if value.micros < 0 { -unit / 2 } else { unit / 2 };
        let rounded = value.micros.saturating_add(half);
        value.micros = rounded - rounded % unit;
    }
    value
}

fn date_part(context: &EvalContext<'_>, types: &CallTypes, a: &[Datum]) -> SqlResult<Datum> {
    // A date is taken for its midnight, so that even hours can be asked of it.
    let (ty, value) = match &a[1] {
        Datum::Date(days) => (SqlType::TIMESTAMP, Datum::Timestamp(datetime::date_to_timestamp(*days)?)),
        other => (types.args[1], other.clone()),
    };
    let found = datetime::date_part(text(&a[0]), &ty, &value, &context.formatting.zone)?;
    Ok(found.map_or(Datum::Null, Datum::Float))
}

fn to_char(context: &EvalContext<'_>, types: &CallTypes, a: &[Datum]) -> SqlResult<Datum> {
    datetime::to_char(&types.args[0], &a[0], text(&a[1]), &context.formatting.zone).map(Datum::from)
}

/// Local midnight of the day a moment falls on: what `CURRENT_DATE` is.
fn local(context: &EvalContext<'_>, utc: i64) -> SqlResult<i64> {
    context.formatting.zone.to_local(utc)
}

/// How many digits of a second CURRENT_TIMESTAMP and its kin keep: six at most.
fn precision(given: &Datum) -> SqlResult<Option<u8>> {
    let digits = int(given);
    match u8::try_from(digits) {
        Ok(digits) => Ok(Some(digits)),
        Err(_) if digits > 0 => Ok(None),
        Err(_) => Err(SqlError::new(SqlState::InvalidParameterValue, format!("TIME({digits}) precision must not be negative"))),
    }
}

/// The zone that `AT TIME ZONE interval` names: a fixed offset.
fn offset_zone(by: Interval) -> SqlResult<Zone> {
    if by.months != 0 || by.days != 0 {
        let mut shown = Vec::new();
        datetime::write_interval(by, types::IntervalStyle::Postgres, &mut shown);
        let message = format!(
            "interval time zone \"{}\" must not include months or days",
            String::from_utf8_lossy(&shown)
        );
        return Err(SqlError::new(SqlState::InvalidParameterValue, message));
    }
    let seconds = i32::try_from(by.micros / 1_000_000).ok().filter(|seconds| seconds.abs() < 7 * 86_400);
    let out_of_range = || SqlError::new(SqlState::InvalidTimeZoneDisplacementValue, "interval time zone out of range");
    seconds.map(Zone::fixed).ok_or_else(out_of_range)
}

/// The zone that `AT TIME ZONE text` names: unlike in `SET`, a bare number counts hours west, as POSIX has it.
fn named_zone(name: &str) -> SqlResult<Zone> {
    match name.trim().parse::<f64>() {
        Ok(west) if west.abs() < 168.0 => Ok(Zone::fixed((-west * 3600.0).round() as i32)),
        _ => Zone::by_abbreviation(name.trim()).map_or_else(|| Zone::parse(name), Ok),
    }
}

/// Half-open periods; two that start together overlap even when empty. An end that is not known leaves the answer open
/// only where it matters.
fn overlaps(a: &[Datum]) -> Datum {
    let period = |from: &Datum, to: &Datum| match (from.as_time_value(), to.as_time_value()) {
        (None, None) => None,
        (Some(from), Some(to)) => Some((from.min(to), Some(from.max(to)))),
        (Some(one), None) | (None, Some(one)) => Some((one, None)),
    };
    let (Some(first), Some(second)) = (period(&a[0], &a[1]), period(&a[2], &a[3])) else { return Datum::Null };
    let (earlier, later) = if first.0 <= second.0 { (first, second) } else { (second, first) };
    let is_open = later.1.is_none();
    match earlier.1 {
        None => Datum::Null,
        Some(end) if earlier.0 < later.0 && later.0 < end => Datum::Bool(true),
        _ if is_open => Datum::Null,
        Some(_) => Datum::Bool(earlier.0 == later.0),
    }
}

/// Periods of which one or both have a length for their end.
fn overlaps_with_lengths(context: &EvalContext<'_>, a: &[Datum]) -> SqlResult<Datum> {
    let mut ends = a.to_vec();
    for at in [1, 3] {
        let Datum::Interval(length) = a[at] else { continue };
        ends[at] = match &a[at - 1] {
            Datum::Timestamp(from) => Datum::Timestamp(datetime::timestamp_add(*from, length)?),
            Datum::TimestampTz(from) => {
                Datum::TimestampTz(datetime::timestamptz_add(*from, length, &context.formatting.zone)?)
            }
            Datum::Time(from) => Datum::Time((from + length.micros).rem_euclid(86_400_000_000)),
            _ => Datum::Null,
        };
    }
    Ok(overlaps(&ends))
}

macro_rules! per_type {
    ($name:literal, $ret:expr, $eval:expr, [$($oid:literal => $arg:expr),*]) => {
        [$(Builtin::pure($name, $oid, &[TEXT, $arg], $ret, $eval)),*]
    };
}

pub(super) static EXTRACTS: &[Builtin] = &per_type!("extract", R_NUMERIC, extract, [
    6199 => DATE, 6200 => TIME, 6201 => TIMETZ, 6202 => TIMESTAMP, 6204 => INTERVAL
]);

pub(super) static PARTS: &[Builtin] = &per_type!("date_part", R_F8, date_part, [
    1384 => DATE, 1385 => TIME, 1273 => TIMETZ, 2021 => TIMESTAMP, 1172 => INTERVAL
]);

pub(super) static FUNCTIONS: &[Builtin] = &[
    // Parts of a timestamptz depend on the session's zone; those of the other types are for ever.
    Builtin::pure("extract", 6203, &[TEXT, TIMESTAMPTZ], R_NUMERIC, extract).stable(),
    Builtin::pure("date_part", 1171, &[TEXT, TIMESTAMPTZ], R_F8, date_part).stable(),
    Builtin::pure("now", 1299, &[], R_TIMESTAMPTZ, |c, _, _| Ok(Datum::TimestampTz(c.transaction_timestamp))).stable(),
    Builtin::pure("current_timestamp", 21_299, &[], R_TIMESTAMPTZ, |c, _, _| Ok(Datum::TimestampTz(c.transaction_timestamp))).stable(),
    Builtin::pure("transaction_timestamp", 2647, &[], R_TIMESTAMPTZ, |c, _, _| Ok(Datum::TimestampTz(c.transaction_timestamp))).stable(),
    Builtin::pure("statement_timestamp", 2648, &[], R_TIMESTAMPTZ, |c, _, _| Ok(Datum::TimestampTz(c.statement_timestamp))).stable(),
    Builtin::pure("clock_timestamp", 2649, &[], R_TIMESTAMPTZ, |c, _, _| Ok(Datum::TimestampTz(c.host.clock_timestamp()))).volatile(),
    Builtin::pure("timeofday", 274, &[], R_TEXT, |c, _, _| {
        let zone = &c.formatting.zone;
        let now = Datum::TimestampTz(c.host.clock_timestamp());
        datetime::to_char(&SqlType::TIMESTAMPTZ, &now, "Dy Mon DD HH24:MI:SS.US YYYY TZ", zone).map(Datum::from)
    })
    .volatile(),
    Builtin::pure("current_date", 21_300, &[], R_DATE, |c, _, _| {
        datetime::timestamp_to_date(local(c, c.transaction_timestamp)?).map(Datum::Date)
    })
    .stable(),
    Builtin::pure("localtimestamp", 21_301, &[], R_TIMESTAMP, |c, _, _| local(c, c.transaction_timestamp).map(Datum::Timestamp)).stable(),
    Builtin::pure("localtime", 21_302, &[], R_TIME, |c, _, _| {
        Ok(Datum::Time(local(c, c.transaction_timestamp)?.rem_euclid(MICROS_PER_DAY)))
    })
    .stable(),
    Builtin::pure("current_time", 21_303, &[], R_TIMETZ, |c, _, _| {
        let west = -c.formatting.zone.offset_at(c.transaction_timestamp);
        Ok(Datum::TimeTz(TimeTz { micros: local(c, c.transaction_timestamp)?.rem_euclid(MICROS_PER_DAY), west }))
    })
    .stable(),
    // With a precision.
    Builtin::pure("current_timestamp", 21_304, &[I4], R_TIMESTAMPTZ, |c, _, a| {
        Ok(Datum::TimestampTz(datetime::round_micros(c.transaction_timestamp, precision(&a[0])?)))
    })
    .stable(),
    Builtin::pure("localtimestamp", 21_305, &[I4], R_TIMESTAMP, |c, _, a| {
        Ok(Datum::Timestamp(datetime::round_micros(local(c, c.transaction_timestamp)?, precision(&a[0])?)))
    })
    .stable(),
    Builtin::pure("localtime", 21_306, &[I4], R_TIME, |c, _, a| {
        let micros = local(c, c.transaction_timestamp)?.rem_euclid(MICROS_PER_DAY);
        Ok(Datum::Time(datetime::round_micros(micros, precision(&a[0])?)))
    })
    .stable(),
    Builtin::pure("current_time", 21_307, &[I4], R_TIMETZ, |c, _, a| {
        let west = -c.formatting.zone.offset_at(c.transaction_timestamp);
        let micros = local(c, c.transaction_timestamp)?.rem_euclid(MICROS_PER_DAY);
        Ok(Datum::TimeTz(TimeTz { micros: datetime::round_micros(micros, precision(&a[0])?), west }))
    })
    .stable(),
    Builtin::pure("age", 2058, &[TIMESTAMP, TIMESTAMP], R_INTERVAL, |_, _, a| {
        datetime::timestamp_age(moment(&a[0]), moment(&a[1])).map(Datum::Interval)
    }),
    Builtin::pure("age", 1199, &[TIMESTAMPTZ, TIMESTAMPTZ], R_INTERVAL, |c, _, a| {
        datetime::timestamptz_age(moment(&a[0]), moment(&a[1]), &c.formatting.zone).map(Datum::Interval)
    })
    .stable(),
    Builtin::pure("age", 2059, &[TIMESTAMP], R_INTERVAL, |c, _, a| {
        let today = datetime::timestamp_to_date(local(c, c.transaction_timestamp)?)?;
        datetime::timestamp_age(datetime::date_to_timestamp(today)?, moment(&a[0])).map(Datum::Interval)
    })
    .stable(),
    Builtin::pure("age", 1386, &[TIMESTAMPTZ], R_INTERVAL, |c, _, a| {
        let zone = &c.formatting.zone;
        let today = datetime::date_to_timestamp(datetime::timestamp_to_date(local(c, c.transaction_timestamp)?)?)?;
        datetime::timestamptz_age(zone.to_utc(today)?, moment(&a[0]), zone).map(Datum::Interval)
    })
    .stable(),
    Builtin::pure("date_trunc", 2020, &[TEXT, TIMESTAMP], R_TIMESTAMP, |_, _, a| {
        datetime::timestamp_trunc(text(&a[0]), moment(&a[1])).map(Datum::Timestamp)
    }),
    Builtin::pure("date_trunc", 1217, &[TEXT, TIMESTAMPTZ], R_TIMESTAMPTZ, |c, _, a| {
        datetime::timestamptz_trunc(text(&a[0]), moment(&a[1]), &c.formatting.zone).map(Datum::TimestampTz)
    })
    .stable(),
    Builtin::pure("date_trunc", 1284, &[TEXT, TIMESTAMPTZ, TEXT], R_TIMESTAMPTZ, |_, _, a| {
        datetime::timestamptz_trunc(text(&a[0]), moment(&a[1]), &named_zone(text(&a[2]))?).map(Datum::TimestampTz)
    })
    .stable(),
    Builtin::pure("date_trunc", 1218, &[TEXT, INTERVAL], R_INTERVAL, |_, _, a| {
        datetime::interval_trunc(text(&a[0]), interval(&a[1])).map(Datum::Interval)
    }),
    Builtin::pure("date_bin", 6177, &[INTERVAL, TIMESTAMP, TIMESTAMP], R_TIMESTAMP, |_, _, a| {
        datetime::date_bin(interval(&a[0]), moment(&a[1]), moment(&a[2])).map(Datum::Timestamp)
    }),
    Builtin::pure("date_bin", 6178, &[INTERVAL, TIMESTAMPTZ, TIMESTAMPTZ], R_TIMESTAMPTZ, |_, _, a| {
        datetime::date_bin(interval(&a[0]), moment(&a[1]), moment(&a[2])).map(Datum::TimestampTz)
    }),
    Builtin::pure("justify_hours", 1175, &[INTERVAL], R_INTERVAL, |_, _, a| datetime::justify_hours(interval(&a[0])).map(Datum::Interval)),
    Builtin::pure("interval", 1200, &[INTERVAL, I4], R_INTERVAL, |_, _, a| {
        Ok(Datum::Interval(fit_interval(interval(&a[0]), int(&a[1]))))
    }),
    Builtin::pure("justify_days", 1295, &[INTERVAL], R_INTERVAL, |_, _, a| datetime::justify_days(interval(&a[0])).map(Datum::Interval)),
    Builtin::pure("justify_interval", 2711, &[INTERVAL], R_INTERVAL, |_, _, a| {
        datetime::justify_interval(interval(&a[0])).map(Datum::Interval)
    }),
    Builtin::pure("make_date", 3846, &[I4, I4, I4], R_DATE, |_, _, a| {
        datetime::make_date(int(&a[0]), int(&a[1]), int(&a[2])).map(Datum::Date)
    }),
    Builtin::pure("make_time", 3847, &[I4, I4, F8], R_TIME, |_, _, a| {
        datetime::make_time(int(&a[0]), int(&a[1]), float(&a[2])).map(Datum::Time)
    }),
    Builtin::pure("make_timestamp", 3461, &[I4, I4, I4, I4, I4, F8], R_TIMESTAMP, |_, _, a| {
        let [y, mo, d, h, mi] = [0, 1, 2, 3, 4].map(|at| int(&a[at]));
        datetime::make_timestamp(y, mo, d, h, mi, float(&a[5])).map(Datum::Timestamp)
    }),
    Builtin::pure("make_timestamptz", 3462, &[I4, I4, I4, I4, I4, F8], R_TIMESTAMPTZ, |c, _, a| {
        let [y, mo, d, h, mi] = [0, 1, 2, 3, 4].map(|at| int(&a[at]));
        let local = datetime::make_timestamp(y, mo, d, h, mi, float(&a[5]))?;
        c.formatting.zone.to_utc(local).map(Datum::TimestampTz)
    })
    .stable(),
    Builtin::pure("make_timestamptz", 3463, &[I4, I4, I4, I4, I4, F8, TEXT], R_TIMESTAMPTZ, |_, _, a| {
        let [y, mo, d, h, mi] = [0, 1, 2, 3, 4].map(|at| int(&a[at]));
        let local = datetime::make_timestamp(y, mo, d, h, mi, float(&a[5]))?;
        Zone::parse(text(&a[6]))?.to_utc(local).map(Datum::TimestampTz)
    })
    .stable(),
    Builtin::pure("timezone", 2037, &[TEXT, TIMETZ], R_TIMETZ, |c, _, a| {
        let Datum::TimeTz(time) = &a[1] else { return Err(SqlError::internal("a timetz was expected")) };
        Ok(Datum::TimeTz(datetime::timetz_at_zone(*time, &named_zone(text(&a[0]))?, c.transaction_timestamp)))
    })
    .volatile(),
    Builtin::pure("timezone", 2038, &[INTERVAL, TIMETZ], R_TIMETZ, |_, _, a| {
        let Datum::TimeTz(time) = &a[1] else { return Err(SqlError::internal("a timetz was expected")) };
        Ok(Datum::TimeTz(datetime::timetz_at_zone(*time, &offset_zone(interval(&a[0]))?, 0)))
    }),
    Builtin::pure("make_interval", 3464, &[I4, I4, I4, I4, I4, I4, F8], R_INTERVAL, |_, _, a| {
        let part = |at: usize| a.get(at).map_or(0, int);
        let seconds = a.get(6).map_or(0.0, float);
        if !(seconds.abs() < 1e13) {
            return Err(SqlError::new(SqlState::DatetimeFieldOverflow, "interval out of range"));
        }
        datetime::make_interval([part(0), part(1), part(2), part(3), part(4), part(5)], seconds).map(Datum::Interval)
    })
    .optional(7),
    Builtin::pure("to_char", 2049, &[TIMESTAMP, TEXT], R_TEXT, to_char).stable(),
    Builtin::pure("to_char", 1770, &[TIMESTAMPTZ, TEXT], R_TEXT, to_char).stable(),
    Builtin::pure("to_char", 1768, &[INTERVAL, TEXT], R_TEXT, to_char).stable(),
    Builtin::pure("to_char", 1772, &[NUMERIC, TEXT], R_TEXT, to_char).stable(),
    Builtin::pure("to_char", 1773, &[I4, TEXT], R_TEXT, to_char).stable(),
    Builtin::pure("to_char", 1774, &[I8, TEXT], R_TEXT, to_char).stable(),
    Builtin::pure("to_char", 1775, &[F4, TEXT], R_TEXT, to_char).stable(),
    Builtin::pure("to_char", 1776, &[F8, TEXT], R_TEXT, to_char).stable(),
    Builtin::pure("to_number", 1777, &[TEXT, TEXT], R_NUMERIC, |_, _, a| {
        datetime::to_number(text(&a[0]), text(&a[1])).map(Datum::from)
    })
    .stable(),
    Builtin::pure("to_timestamp", 1778, &[TEXT, TEXT], R_TIMESTAMPTZ, |c, _, a| {
        datetime::to_timestamp(text(&a[0]), text(&a[1]), &c.formatting.zone).map(Datum::TimestampTz)
    })
    .stable(),
    Builtin::pure("to_timestamp", 1158, &[F8], R_TIMESTAMPTZ, |_, _, a| {
        datetime::timestamp_from_epoch(float(&a[0])).map(Datum::TimestampTz)
    }),
    Builtin::pure("to_date", 1780, &[TEXT, TEXT], R_DATE, |_, _, a| datetime::to_date(text(&a[0]), text(&a[1])).map(Datum::Date)).stable(),
    Builtin::pure("timezone", 2069, &[TEXT, TIMESTAMP], R_TIMESTAMPTZ, |_, _, a| {
        named_zone(text(&a[0]))?.to_utc(moment(&a[1])).map(Datum::TimestampTz)
    }),
    Builtin::pure("timezone", 1159, &[TEXT, TIMESTAMPTZ], R_TIMESTAMP, |_, _, a| {
        named_zone(text(&a[0]))?.to_local(moment(&a[1])).map(Datum::Timestamp)
    }),
    Builtin::pure("timezone", 2070, &[INTERVAL, TIMESTAMP], R_TIMESTAMPTZ, |_, _, a| {
        offset_zone(interval(&a[0]))?.to_utc(moment(&a[1])).map(Datum::TimestampTz)
    }),
    Builtin::pure("timezone", 1026, &[INTERVAL, TIMESTAMPTZ], R_TIMESTAMP, |_, _, a| {
        offset_zone(interval(&a[0]))?.to_local(moment(&a[1])).map(Datum::Timestamp)
    }),
    Builtin::pure("isfinite", 1373, &[DATE], R_BOOL, |_, _, a| {
        Ok(Datum::Bool(!matches!(date(&a[0]), i32::MIN | i32::MAX)))
    }),
    Builtin::pure("isfinite", 2048, &[TIMESTAMP], R_BOOL, |_, _, a| Ok(Datum::Bool(!matches!(moment(&a[0]), i64::MIN | i64::MAX)))),
    Builtin::pure("isfinite", 1389, &[TIMESTAMPTZ], R_BOOL, |_, _, a| Ok(Datum::Bool(!matches!(moment(&a[0]), i64::MIN | i64::MAX)))),
    Builtin::pure("isfinite", 1390, &[INTERVAL], R_BOOL, |_, _, _| Ok(Datum::Bool(true))),
    Builtin::pure("overlaps", 1308, &[TIME, TIME, TIME, TIME], R_BOOL, |_, _, a| Ok(overlaps(a))).null_aware(),
    Builtin::pure("overlaps", 2041, &[TIMESTAMP, TIMESTAMP, TIMESTAMP, TIMESTAMP], R_BOOL, |_, _, a| Ok(overlaps(a))).null_aware(),
    Builtin::pure("overlaps", 1304, &[TIMESTAMPTZ, TIMESTAMPTZ, TIMESTAMPTZ, TIMESTAMPTZ], R_BOOL, |_, _, a| Ok(overlaps(a))).null_aware(),
    Builtin::pure("overlaps", 2042, &[TIMESTAMP, INTERVAL, TIMESTAMP, INTERVAL], R_BOOL, |c, _, a| overlaps_with_lengths(c, a)).null_aware(),
    Builtin::pure("overlaps", 2043, &[TIMESTAMP, TIMESTAMP, TIMESTAMP, INTERVAL], R_BOOL, |c, _, a| overlaps_with_lengths(c, a)).null_aware(),
    Builtin::pure("overlaps", 2044, &[TIMESTAMP, INTERVAL, TIMESTAMP, TIMESTAMP], R_BOOL, |c, _, a| overlaps_with_lengths(c, a)).null_aware(),
    Builtin::pure("overlaps", 1305, &[TIMESTAMPTZ, INTERVAL, TIMESTAMPTZ, INTERVAL], R_BOOL, |c, _, a| overlaps_with_lengths(c, a)).null_aware().stable(),
    Builtin::pure("overlaps", 1306, &[TIMESTAMPTZ, TIMESTAMPTZ, TIMESTAMPTZ, INTERVAL], R_BOOL, |c, _, a| overlaps_with_lengths(c, a)).null_aware().stable(),
    Builtin::pure("overlaps", 1307, &[TIMESTAMPTZ, INTERVAL, TIMESTAMPTZ, TIMESTAMPTZ], R_BOOL, |c, _, a| overlaps_with_lengths(c, a)).null_aware().stable(),
    Builtin::pure("overlaps", 1309, &[TIME, INTERVAL, TIME, INTERVAL], R_BOOL, |c, _, a| overlaps_with_lengths(c, a)).null_aware(),
    Builtin::pure("overlaps", 1310, &[TIME, TIME, TIME, INTERVAL], R_BOOL, |c, _, a| overlaps_with_lengths(c, a)).null_aware(),
    Builtin::pure("overlaps", 1311, &[TIME, INTERVAL, TIME, TIME], R_BOOL, |c, _, a| overlaps_with_lengths(c, a)).null_aware(),
];
