//! Dates and times in the ISO style.

use super::calendar::{
    Civil, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND, date_of,
};
use super::interval::put_fraction;
use super::zone::{Zone, write_offset};
use crate::datum::{DATE_INFINITY, DATE_NEG_INFINITY, TIMESTAMP_INFINITY, TIMESTAMP_NEG_INFINITY, TimeTz};

fn put_two(out: &mut Vec<u8>, value: i64) {
    debug_assert!((0..100).contains(&value));
    out.extend_from_slice(&[b'0' + (value / 10) as u8, b'0' + (value % 10) as u8]);
}

/// Years have at least four digits; those before 1 AD are counted from 1 BC, and the caller appends the era.
fn put_date(out: &mut Vec<u8>, year: i64, month: i64, day: i64) {
    let shown = if year > 0 { year } else { 1 - year };
    if shown < 10_000 {
        put_two(out, shown / 100);
        put_two(out, shown % 100);
    } else {
        out.extend_from_slice(itoa::Buffer::new().format(shown).as_bytes());
    }
    out.push(b'-');
    put_two(out, month);
    out.push(b'-');
    put_two(out, day);
}

pub fn write_time(micros: i64, out: &mut Vec<u8>) {
    put_two(out, micros / MICROS_PER_HOUR);
    out.push(b':');
    put_two(out, micros / MICROS_PER_MINUTE % 60);
    out.push(b':');
    put_two(out, micros / MICROS_PER_SECOND % 60);
    put_fraction(out, (micros % MICROS_PER_SECOND) as u64);
}

pub fn write_timetz(time: TimeTz, out: &mut Vec<u8>) {
    write_time(time.micros, out);
    write_offset(-time.west, out);
}

pub fn write_date(days: i32, out: &mut Vec<u8>) {
    match days {
        DATE_INFINITY => out.extend_from_slice(b"infinity"),
        DATE_NEG_INFINITY => out.extend_from_slice(b"-infinity"),
        _ => {
            let (year, month, day) = date_of(i64::from(days));
            put_date(out, year, month, day);
            if year <= 0 {
                out.extend_from_slice(b" BC");
            }
        }
    }
}

fn write_civil(local: i64, separator: u8, offset: Option<i32>, out: &mut Vec<u8>) {
    let civil = Civil::from_micros(local);
    put_date(out, civil.year, civil.month, civil.day);
    out.push(separator);
    write_time(civil.micros, out);
    if let Some(east) = offset {
        write_offset(east, out);
    }
    if civil.year <= 0 {
        out.extend_from_slice(b" BC");
    }
}

fn write_infinity(timestamp: i64, out: &mut Vec<u8>) -> bool {
    match timestamp {
        TIMESTAMP_INFINITY => out.extend_from_slice(b"infinity"),
        TIMESTAMP_NEG_INFINITY => out.extend_from_slice(b"-infinity"),
        _ => return false,
    }
    true
}

pub fn write_timestamp(timestamp: i64, out: &mut Vec<u8>) {
    if !write_infinity(timestamp, out) {
        write_civil(timestamp, b' ', None, out);
    }
}

pub fn write_timestamptz(timestamp: i64, zone: &Zone, out: &mut Vec<u8>) {
    if !write_infinity(timestamp, out) {
        let east = zone.offset_at(timestamp);
        write_civil(timestamp.saturating_add(i64::from(east) * MICROS_PER_SECOND), b' ', Some(east), out);
    }
}

/// As `to_json` writes timestamps: with a T; with `offset`, seconds east, and the colon that JSON's readers want.
pub fn write_iso_timestamp(local: i64, offset: Option<i32>, out: &mut Vec<u8>) {
    if !write_infinity(local, out) {
        write_civil(local, b'T', None, out);
        if let Some(east) = offset {
            let era = out.ends_with(b" BC");
            if era {
                out.truncate(out.len() - 3);
            }
            write_offset(east, out);
            if east % 3600 == 0 {
                out.extend_from_slice(b":00");
            }
            if era {
                out.extend_from_slice(b" BC");
            }
        }
    }
}
