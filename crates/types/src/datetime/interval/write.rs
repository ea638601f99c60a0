//! Intervals in the four styles of `IntervalStyle`.

use crate::datetime::calendar::{MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND};
use crate::datum::Interval;
use crate::formatting::IntervalStyle;

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
