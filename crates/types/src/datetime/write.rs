//! Dates and times in the four styles of `DateStyle`.

use super::calendar::{Civil, MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND, date_of};
use super::interval::put_fraction;
use super::zone::{Zone, write_offset};
use crate::datum::{DATE_INFINITY, DATE_NEG_INFINITY, TIMESTAMP_INFINITY, TIMESTAMP_NEG_INFINITY, TimeTz};
use crate::formatting::{DateOrder, DateStyle};

fn put_two(out: &mut Vec<u8>, value: i64) {
    debug_assert!((0..100).contains(&value));
    out.extend_from_slice(&[b'0' + (value / 10) as u8, b'0' + (value % 10) as u8]);
}

/// Years have at least four digits; those before 1 AD are counted from 1 BC, and the caller appends the era.
fn put_year(out: &mut Vec<u8>, year: i64) {
    let shown = if year > 0 { year } else { 1 - year };
    if shown < 10_000 {
        put_two(out, shown / 100);
        put_two(out, shown % 100);
    } else {
        out.extend_from_slice(itoa::Buffer::new().format(shown).as_bytes());
    }
}

fn put_era(out: &mut Vec<u8>, year: i64) {
    if year <= 0 {
        out.extend_from_slice(b" BC");
    }
}

/// Day and month in the order that is asked for, with what stands between them.
fn put_day_and_month(out: &mut Vec<u8>, month: i64, day: i64, order: DateOrder, between: u8) {
    let (first, second) = match order {
        DateOrder::Dmy => (day, month),
        DateOrder::Mdy | DateOrder::Ymd => (month, day),
    };
    put_two(out, first);
    out.push(between);
    put_two(out, second);
}

fn put_date(out: &mut Vec<u8>, (year, month, day): (i64, i64, i64), style: DateStyle, order: DateOrder) {
    let (between, order) = match style {
        DateStyle::Iso => {
            put_year(out, year);
            out.push(b'-');
            put_two(out, month);
            out.push(b'-');
            return put_two(out, day);
        }
        DateStyle::Sql => (b'/', order),
        DateStyle::Postgres => (b'-', order),
        DateStyle::German => (b'.', DateOrder::Dmy),
    };
    put_day_and_month(out, month, day, order, between);
    out.push(between);
    put_year(out, year);
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

pub fn write_date(days: i32, style: DateStyle, order: DateOrder, out: &mut Vec<u8>) {
    match days {
        DATE_INFINITY => out.extend_from_slice(b"infinity"),
        DATE_NEG_INFINITY => out.extend_from_slice(b"-infinity"),
        _ => {
            let date = date_of(i64::from(days));
            put_date(out, date, style, order);
            put_era(out, date.0);
        }
    }
}

const WEEKDAYS: [&str; 7] = ["Sat", "Sun", "Mon", "Tue", "Wed", "Thu", "Fri"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// So much of a zone's abbreviation is shown.
const ABBREVIATION_BYTES_MAX: usize = 10;

/// A local time; of one with a zone, the seconds east of Greenwich and the abbreviation.
fn write_civil(local: i64, zone: Option<(i32, &str)>, style: DateStyle, order: DateOrder, out: &mut Vec<u8>) {
    let civil = Civil::from_micros(local);
    if style == DateStyle::Postgres {
        // The first day of 2000 was a Saturday.
        let weekday = local.div_euclid(MICROS_PER_DAY).rem_euclid(7) as usize;
        out.extend_from_slice(WEEKDAYS[weekday].as_bytes());
        out.push(b' ');
        let month = MONTHS[civil.month as usize - 1].as_bytes();
        if order == DateOrder::Dmy {
            put_two(out, civil.day);
            out.push(b' ');
            out.extend_from_slice(month);
        } else {
            out.extend_from_slice(month);
            out.push(b' ');
            put_two(out, civil.day);
        }
        out.push(b' ');
        write_time(civil.micros, out);
        out.push(b' ');
        put_year(out, civil.year);
    } else {
        put_date(out, (civil.year, civil.month, civil.day), style, order);
        out.push(b' ');
        write_time(civil.micros, out);
    }
    match zone {
        None => {}
        Some((east, _)) if style == DateStyle::Iso => write_offset(east, out),
        Some((_, abbreviation)) => {
            out.push(b' ');
            let shown = abbreviation.floor_char_boundary(ABBREVIATION_BYTES_MAX);
            out.extend_from_slice(&abbreviation.as_bytes()[..shown]);
        }
    }
    put_era(out, civil.year);
}

fn write_infinity(timestamp: i64, out: &mut Vec<u8>) -> bool {
    match timestamp {
        TIMESTAMP_INFINITY => out.extend_from_slice(b"infinity"),
        TIMESTAMP_NEG_INFINITY => out.extend_from_slice(b"-infinity"),
        _ => return false,
    }
    true
}

pub fn write_timestamp(timestamp: i64, style: DateStyle, order: DateOrder, out: &mut Vec<u8>) {
    if !write_infinity(timestamp, out) {
        write_civil(timestamp, None, style, order, out);
    }
}

pub fn write_timestamptz(timestamp: i64, zone: &Zone, style: DateStyle, order: DateOrder, out: &mut Vec<u8>) {
    if !write_infinity(timestamp, out) {
        let east = zone.offset_at(timestamp);
        let local = timestamp.saturating_add(i64::from(east) * MICROS_PER_SECOND);
        // Only the other styles show it.
        let abbreviation = if style == DateStyle::Iso { String::new() } else { zone.abbreviation_at(timestamp) };
        write_civil(local, Some((east, &abbreviation)), style, order, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datetime::calendar::days_of;

    #[test]
    fn styles() {
        let moment = days_of(1997, 2, 10) * MICROS_PER_DAY + 63_121_500_000;
        let zone = Zone::parse("America/Los_Angeles").expect("a zone of the database");
        let shown = |style, order| {
            let mut out = Vec::new();
            write_timestamptz(moment, &zone, style, order, &mut out);
            out.extend_from_slice(b", ");
            write_timestamp(moment, style, order, &mut out);
            out.extend_from_slice(b", ");
            write_date(days_of(-43, 3, 15) as i32, style, order, &mut out);
            String::from_utf8(out).expect("is ASCII")
        };
        use DateOrder::{Dmy, Mdy};
        let cases = [
            (DateStyle::Iso, Mdy, "1997-02-10 09:32:01.5-08, 1997-02-10 17:32:01.5, 0044-03-15 BC"),
            (DateStyle::Sql, Mdy, "02/10/1997 09:32:01.5 PST, 02/10/1997 17:32:01.5, 03/15/0044 BC"),
            (DateStyle::Sql, Dmy, "10/02/1997 09:32:01.5 PST, 10/02/1997 17:32:01.5, 15/03/0044 BC"),
            (DateStyle::German, Mdy, "10.02.1997 09:32:01.5 PST, 10.02.1997 17:32:01.5, 15.03.0044 BC"),
            (DateStyle::Postgres, Mdy, "Mon Feb 10 09:32:01.5 1997 PST, Mon Feb 10 17:32:01.5 1997, 03-15-0044 BC"),
            (DateStyle::Postgres, Dmy, "Mon 10 Feb 09:32:01.5 1997 PST, Mon 10 Feb 17:32:01.5 1997, 15-03-0044 BC"),
        ];
        for (style, order, expected) in cases {
            assert_eq!(shown(style, order), expected, "{style:?} {order:?}");
        }
    }
}
