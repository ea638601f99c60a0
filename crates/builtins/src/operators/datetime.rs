//! `+ - * /` over dates, times and intervals. Documentation, section 9.9.

use types::{Datum, Interval, SqlError, SqlResult, SqlState, SqlType, TimeTz, datetime};

use crate::arguments::{date, float, int, interval, moment, timetz};
use crate::signature::{ArgType, Builtin, Operator, RetType};

const DATE: ArgType = ArgType::T(SqlType::Date);
const TIME: ArgType = ArgType::T(SqlType::TIME);
const TIMETZ: ArgType = ArgType::T(SqlType::TIMETZ);
const TIMESTAMP: ArgType = ArgType::T(SqlType::TIMESTAMP);
const TIMESTAMPTZ: ArgType = ArgType::T(SqlType::TIMESTAMPTZ);
const INTERVAL: ArgType = ArgType::T(SqlType::Interval);
const INT4: ArgType = ArgType::T(SqlType::Int4);
const FLOAT8: ArgType = ArgType::T(SqlType::Float8);

const R_DATE: RetType = RetType::T(SqlType::Date);
const R_TIME: RetType = RetType::T(SqlType::TIME);
const R_TIMETZ: RetType = RetType::T(SqlType::TIMETZ);
const R_TIMESTAMP: RetType = RetType::T(SqlType::TIMESTAMP);
const R_TIMESTAMPTZ: RetType = RetType::T(SqlType::TIMESTAMPTZ);
const R_INTERVAL: RetType = RetType::T(SqlType::Interval);
const R_INT4: RetType = RetType::T(SqlType::Int4);

const MICROS_PER_DAY: i64 = 86_400_000_000;

fn timestamp_out_of_range() -> SqlError {
    SqlError::new(SqlState::DatetimeFieldOverflow, "timestamp out of range")
}

fn date_and_time(days: i32, micros: i64) -> SqlResult<Datum> {
    let midnight = datetime::date_to_timestamp(days)?;
    midnight.checked_add(micros).map(Datum::Timestamp).ok_or_else(timestamp_out_of_range)
}

/// The instant when it is that time of that day.
fn date_and_timetz(days: i32, time: TimeTz) -> SqlResult<Datum> {
    let midnight = datetime::date_to_timestamp(days)?;
    if datetime::is_infinite(midnight) {
        return Ok(Datum::TimestampTz(midnight));
    }
    let instant = midnight.checked_add(time.micros + i64::from(time.west) * 1_000_000).ok_or_else(timestamp_out_of_range)?;
    datetime::check_timestamp(instant).map(Datum::TimestampTz)
}

fn date_plus(days: i32, by: Interval) -> SqlResult<Datum> {
    datetime::timestamp_add(datetime::date_to_timestamp(days)?, by).map(Datum::Timestamp)
}

/// A time of day as an interval: differences of times, and times added to moments.
fn span(micros: i64) -> Interval {
    Interval { months: 0, days: 0, micros }
}

pub(super) static OPERATORS: &[Operator] = &[
    Operator::new("+", 1100, Builtin::pure("date_pli", 1141, &[DATE, INT4], R_DATE, |_, _, a| {
        datetime::date_add(date(&a[0]), int(&a[1])).map(Datum::Date)
    }))
    .commutes_with("+"),
    Operator::new("+", 2555, Builtin::pure("integer_pl_date", 2550, &[INT4, DATE], R_DATE, |_, _, a| {
        datetime::date_add(date(&a[1]), int(&a[0])).map(Datum::Date)
    }))
    .commutes_with("+"),
    Operator::new("-", 1101, Builtin::pure("date_mii", 1142, &[DATE, INT4], R_DATE, |_, _, a| {
        datetime::date_add(date(&a[0]), -int(&a[1])).map(Datum::Date)
    })),
    Operator::new("-", 1099, Builtin::pure("date_mi", 1140, &[DATE, DATE], R_INT4, |_, _, a| {
        datetime::date_diff(date(&a[0]), date(&a[1])).map(Datum::Int)
    })),
    Operator::new("+", 1360, Builtin::pure("datetime_pl", 1272, &[DATE, TIME], R_TIMESTAMP, |_, _, a| {
        date_and_time(date(&a[0]), moment(&a[1]))
    }))
    .commutes_with("+"),
    Operator::new("+", 1363, Builtin::pure("timedate_pl", 1296, &[TIME, DATE], R_TIMESTAMP, |_, _, a| {
        date_and_time(date(&a[1]), moment(&a[0]))
    }))
    .commutes_with("+"),
    Operator::new("+", 1076, Builtin::pure("date_pl_interval", 2071, &[DATE, INTERVAL], R_TIMESTAMP, |_, _, a| {
        date_plus(date(&a[0]), interval(&a[1]))
    }))
    .commutes_with("+"),
    Operator::new("+", 2551, Builtin::pure("interval_pl_date", 2546, &[INTERVAL, DATE], R_TIMESTAMP, |_, _, a| {
        date_plus(date(&a[1]), interval(&a[0]))
    }))
    .commutes_with("+"),
    Operator::new("-", 1077, Builtin::pure("date_mi_interval", 2072, &[DATE, INTERVAL], R_TIMESTAMP, |_, _, a| {
        date_plus(date(&a[0]), datetime::interval_neg(interval(&a[1]))?)
    })),
    Operator::new("+", 2066, Builtin::pure("timestamp_pl_interval", 2032, &[TIMESTAMP, INTERVAL], R_TIMESTAMP, |_, _, a| {
        datetime::timestamp_add(moment(&a[0]), interval(&a[1])).map(Datum::Timestamp)
    }))
    .commutes_with("+"),
    Operator::new("+", 2553, Builtin::pure("interval_pl_timestamp", 2548, &[INTERVAL, TIMESTAMP], R_TIMESTAMP, |_, _, a| {
        datetime::timestamp_add(moment(&a[1]), interval(&a[0])).map(Datum::Timestamp)
    }))
    .commutes_with("+"),
    Operator::new("-", 2068, Builtin::pure("timestamp_mi_interval", 2033, &[TIMESTAMP, INTERVAL], R_TIMESTAMP, |_, _, a| {
        datetime::timestamp_add(moment(&a[0]), datetime::interval_neg(interval(&a[1]))?).map(Datum::Timestamp)
    })),
    Operator::new("-", 2067, Builtin::pure("timestamp_mi", 2031, &[TIMESTAMP, TIMESTAMP], R_INTERVAL, |_, _, a| {
        datetime::timestamp_diff(moment(&a[0]), moment(&a[1])).map(Datum::Interval)
    })),
    Operator::new(
        "+",
        1327,
        Builtin::pure("timestamptz_pl_interval", 1189, &[TIMESTAMPTZ, INTERVAL], R_TIMESTAMPTZ, |c, _, a| {
            datetime::timestamptz_add(moment(&a[0]), interval(&a[1]), &c.formatting.zone).map(Datum::TimestampTz)
        })
        .stable(),
    )
    .commutes_with("+"),
    Operator::new(
        "+",
        2554,
        Builtin::pure("interval_pl_timestamptz", 2549, &[INTERVAL, TIMESTAMPTZ], R_TIMESTAMPTZ, |c, _, a| {
            datetime::timestamptz_add(moment(&a[1]), interval(&a[0]), &c.formatting.zone).map(Datum::TimestampTz)
        })
        .stable(),
    )
    .commutes_with("+"),
    Operator::new(
        "-",
        1329,
        Builtin::pure("timestamptz_mi_interval", 1190, &[TIMESTAMPTZ, INTERVAL], R_TIMESTAMPTZ, |c, _, a| {
            let back = datetime::interval_neg(interval(&a[1]))?;
            datetime::timestamptz_add(moment(&a[0]), back, &c.formatting.zone).map(Datum::TimestampTz)
        })
        .stable(),
    ),
    Operator::new("-", 1328, Builtin::pure("timestamptz_mi", 1188, &[TIMESTAMPTZ, TIMESTAMPTZ], R_INTERVAL, |_, _, a| {
        datetime::timestamp_diff(moment(&a[0]), moment(&a[1])).map(Datum::Interval)
    })),
    Operator::new("+", 1800, Builtin::pure("time_pl_interval", 1747, &[TIME, INTERVAL], R_TIME, |_, _, a| {
        Ok(Datum::Time(datetime::time_add(moment(&a[0]), interval(&a[1]))))
    }))
    .commutes_with("+"),
    Operator::new("-", 1801, Builtin::pure("time_mi_interval", 1748, &[TIME, INTERVAL], R_TIME, |_, _, a| {
        Ok(Datum::Time(datetime::time_add(moment(&a[0]), span(-(interval(&a[1]).micros % MICROS_PER_DAY)))))
    })),
    Operator::new("-", 1399, Builtin::pure("time_mi_time", 1690, &[TIME, TIME], R_INTERVAL, |_, _, a| {
        Ok(Datum::Interval(span(moment(&a[0]) - moment(&a[1]))))
    })),
    Operator::new("+", 1849, Builtin::pure("interval_pl_time", 1848, &[INTERVAL, TIME], R_TIME, |_, _, a| {
        Ok(Datum::Time(datetime::time_add(moment(&a[1]), interval(&a[0]))))
    }))
    .commutes_with("+"),
    Operator::new("+", 1802, Builtin::pure("timetz_pl_interval", 1749, &[TIMETZ, INTERVAL], R_TIMETZ, |_, _, a| {
        Ok(Datum::TimeTz(datetime::timetz_add(timetz(&a[0]), interval(&a[1]))))
    }))
    .commutes_with("+"),
    Operator::new("+", 2552, Builtin::pure("interval_pl_timetz", 2547, &[INTERVAL, TIMETZ], R_TIMETZ, |_, _, a| {
        Ok(Datum::TimeTz(datetime::timetz_add(timetz(&a[1]), interval(&a[0]))))
    }))
    .commutes_with("+"),
    Operator::new("-", 1803, Builtin::pure("timetz_mi_interval", 1750, &[TIMETZ, INTERVAL], R_TIMETZ, |_, _, a| {
        Ok(Datum::TimeTz(datetime::timetz_add(timetz(&a[0]), span(-(interval(&a[1]).micros % MICROS_PER_DAY)))))
    })),
    Operator::new("+", 1361, Builtin::pure("datetimetz_pl", 1297, &[DATE, TIMETZ], R_TIMESTAMPTZ, |_, _, a| {
        date_and_timetz(date(&a[0]), timetz(&a[1]))
    }))
    .commutes_with("+"),
    Operator::new("+", 1366, Builtin::pure("timetzdate_pl", 1298, &[TIMETZ, DATE], R_TIMESTAMPTZ, |_, _, a| {
        date_and_timetz(date(&a[1]), timetz(&a[0]))
    }))
    .commutes_with("+"),
    Operator::new("+", 1337, Builtin::pure("interval_pl", 1169, &[INTERVAL, INTERVAL], R_INTERVAL, |_, _, a| {
        datetime::interval_add(interval(&a[0]), interval(&a[1])).map(Datum::Interval)
    }))
    .commutes_with("+"),
    Operator::new("-", 1338, Builtin::pure("interval_mi", 1170, &[INTERVAL, INTERVAL], R_INTERVAL, |_, _, a| {
        datetime::interval_sub(interval(&a[0]), interval(&a[1])).map(Datum::Interval)
    })),
    Operator::new("-", 1336, Builtin::pure("interval_um", 1168, &[INTERVAL], R_INTERVAL, |_, _, a| {
        datetime::interval_neg(interval(&a[0])).map(Datum::Interval)
    })),
    Operator::new("*", 1583, Builtin::pure("interval_mul", 1618, &[INTERVAL, FLOAT8], R_INTERVAL, |_, _, a| {
        datetime::interval_mul(interval(&a[0]), float(&a[1])).map(Datum::Interval)
    }))
    .commutes_with("*"),
    Operator::new("*", 1584, Builtin::pure("mul_d_interval", 1624, &[FLOAT8, INTERVAL], R_INTERVAL, |_, _, a| {
        datetime::interval_mul(interval(&a[1]), float(&a[0])).map(Datum::Interval)
    }))
    .commutes_with("*"),
    Operator::new("/", 1585, Builtin::pure("interval_div", 1326, &[INTERVAL, FLOAT8], R_INTERVAL, |_, _, a| {
        if float(&a[1]) == 0.0 {
            return Err(super::arithmetic::division_by_zero());
        }
        datetime::interval_div(interval(&a[0]), float(&a[1])).map(Datum::Interval)
    })),
];
