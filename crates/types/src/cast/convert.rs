//! The casts that are more than printing and reading.

use std::sync::Arc;

use crate::datetime::calendar::{MICROS_PER_DAY, MICROS_PER_SECOND};
use crate::datetime::{check_timestamp, date_to_timestamp, interval_to_time, is_infinite, timestamp_to_date};
use crate::bits::Bits;
use crate::datum::{Datum, Interval, TimeTz};
use crate::error::{SqlError, SqlResult, SqlState, raise};
use crate::formatting::Formatting;
use crate::json::Json;
use crate::network::shorten_macaddr8;
use crate::numeric::Numeric;
use crate::range::spans;
use crate::sql_type::SqlType;
use crate::unsigned::to_unsigned;
use crate::text::{cut_name, quoted_char};

/// Serves exactly the pairs that [`super::paths`] lists.
pub(super) fn convert(datum: Datum, from: &SqlType, to: &SqlType, formatting: &Formatting) -> SqlResult<Datum> {
    Ok(match (datum, to) {
        (datum, SqlType::MultiRange(_)) => Datum::multirange(spans(&datum).to_vec()),
        (datum, SqlType::Int2 | SqlType::Int4 | SqlType::Int8) => Datum::Int(to_integer(&datum, from, to)?),
        (datum, SqlType::Float8) => Datum::Float(to_float8(&datum)?),
        (datum, SqlType::Float4) => Datum::Float(f64::from(to_float4(&datum)?)),
        (datum, SqlType::Numeric(_)) => Datum::Numeric(to_numeric(&datum, from)?),
        (Datum::Int(value), SqlType::Bit(length)) => Datum::bits(Bits::from_int(value, length.unwrap_or(1) as usize)),
        (bits @ Datum::Bits(_), _) => bits,
        (Datum::Int(value), SqlType::Money) => {
            Datum::Int(value.checked_mul(100).ok_or_else(|| raise::out_of_range("bigint"))?)
        }
        (Datum::Numeric(value), _) => Datum::Int(value.mul(&Numeric::from_i64(100))?.to_i64("bigint")?),
        // The lower half of a transaction's number.
        (Datum::Int(value), SqlType::Xid) => Datum::Int(i64::from(to_unsigned(value) as u32)),
        (Datum::Int(value), SqlType::Bool) => Datum::Bool(value != 0),
        (Datum::Jsonb(value), SqlType::Bool) => match *value {
            Json::Bool(value) => Datum::Bool(value),
            ref other => return Err(not_from_jsonb(other, to)),
        },
        (Datum::Int(value), SqlType::QuotedChar) => int_to_char(value)?,
        (Datum::Int(value), _) => Datum::Int(to_oid(value, from)?),

        (Datum::MacAddr(bytes), _) => {
            let [a, b, c, d, e, f] = bytes;
            Datum::MacAddr8([a, b, c, 0xff, 0xfe, d, e, f])
        }
        (Datum::MacAddr8(bytes), _) => Datum::MacAddr(shorten_macaddr8(&bytes)?),
        (Datum::Geometry(value), _) => Datum::geometry(value.cast(to)?),

        (Datum::Inet(value), SqlType::Inet) => Datum::Inet(value),
        (Datum::Inet(value), SqlType::Cidr) => Datum::Inet(value.network()),
        (Datum::Inet(value), _) => Datum::text(value.with_length()),

        (Datum::Bool(value), _) => Datum::text(if value { "true" } else { "false" }),
        (Datum::Text(text), SqlType::QuotedChar) => Datum::text(&*quoted_char(&text)),
        (Datum::Text(name), SqlType::RegClass) => Datum::Int(class_of(name.trim(), formatting)?),
        (Datum::Text(text), _) => {
            let text = if matches!(from, SqlType::Char(_)) { without_padding(text) } else { text };
            if *to == SqlType::Name { cut_to_name(text) } else { Datum::Text(text) }
        }

        (Datum::Json(text), _) => Datum::Jsonb(Arc::new(Json::parse(&text)?)),
        (Datum::Jsonb(value), _) => {
            let mut text = Vec::new();
            value.write(&mut text);
            Datum::Json(String::from_utf8(text).expect("JSON is written from strings").into())
        }

        (Datum::Date(days), SqlType::Timestamp(_)) => Datum::Timestamp(date_to_timestamp(days)?),
        (Datum::Date(days), _) => Datum::TimestampTz(to_utc(date_to_timestamp(days)?, formatting)?),
        (Datum::Time(micros), SqlType::TimeTz(_)) => {
            Datum::TimeTz(TimeTz { micros, west: -formatting.zone.offset_at(formatting.now) })
        }
        (Datum::Time(micros), _) => Datum::Interval(Interval::from_micros(micros)),
        (Datum::TimeTz(time), _) => Datum::Time(time.micros),
        (Datum::Interval(interval), _) => Datum::Time(interval_to_time(interval)),
        (Datum::Timestamp(local), SqlType::TimestampTz(_)) => Datum::TimestampTz(to_utc(local, formatting)?),
        (Datum::TimestampTz(utc), SqlType::TimeTz(_)) => {
            let east = formatting.zone.offset_at(utc);
            time_of(utc.saturating_add(i64::from(east) * MICROS_PER_SECOND), utc)
                .map_or(Datum::Null, |micros| Datum::TimeTz(TimeTz { micros, west: -east }))
        }
        (Datum::TimestampTz(utc), _) => from_local(formatting.zone.to_local(utc)?, to)?,
        (Datum::Timestamp(local), _) => from_local(local, to)?,
        (other, _) => {
            return Err(SqlError::internal(format!("{other:?} is no value of type {from}, to be cast to {to}")));
        }
    })
}

fn from_local(local: i64, to: &SqlType) -> SqlResult<Datum> {
    Ok(match to {
        SqlType::Date => Datum::Date(timestamp_to_date(local)?),
        SqlType::Time(_) => time_of(local, local).map_or(Datum::Null, Datum::Time),
        _ => Datum::Timestamp(check_timestamp(local)?),
    })
}

/// The time of day; none at infinity.
fn time_of(local: i64, instant: i64) -> Option<i64> {
    (!is_infinite(instant)).then(|| local.rem_euclid(MICROS_PER_DAY))
}

fn to_utc(local: i64, formatting: &Formatting) -> SqlResult<i64> {
    check_timestamp(formatting.zone.to_utc(local)?)
}

fn is_oid(ty: &SqlType) -> bool {
    *ty == SqlType::Oid || ty.is_reg()
}

fn to_integer(datum: &Datum, from: &SqlType, to: &SqlType) -> SqlResult<i64> {
    let (low, high) = match to {
        SqlType::Int2 => (i64::from(i16::MIN), i64::from(i16::MAX)),
        SqlType::Int4 => (i64::from(i32::MIN), i64::from(i32::MAX)),
        _ => (i64::MIN, i64::MAX),
    };
    let value = match datum {
        Datum::Bits(bits) if *to == SqlType::Int4 => return bits.to_int(32, "integer"),
        Datum::Bits(bits) => return bits.to_int(64, "bigint"),
        // An oid as integer keeps its bits.
        Datum::Int(value) if *to == SqlType::Int4 && is_oid(from) => return Ok(i64::from(*value as i32)),
        Datum::Int(value) => *value,
        Datum::Float(value) => {
            let rounded = value.round_ties_even();
            // As doubles the lower bounds are exact, and so is the upper bound's successor. NaN is in no range.
            let in_range = rounded >= low as f64 && rounded < -(low as f64);
            if !in_range {
                return Err(raise::out_of_range(to.sql_scalar_name()));
            }
            rounded as i64
        }
        Datum::Numeric(value) => value.to_i64(to.sql_scalar_name())?,
        Datum::Jsonb(value) => jsonb_number(value, to)?.to_i64(to.sql_scalar_name())?,
        Datum::Bool(value) => i64::from(*value),
        Datum::Text(text) => char_to_int(text),
        other => return Err(SqlError::internal(format!("{other:?} cast to {to}"))),
    };
    if (low..=high).contains(&value) { Ok(value) } else { Err(raise::out_of_range(to.sql_scalar_name())) }
}

fn to_float8(datum: &Datum) -> SqlResult<f64> {
    match datum {
        Datum::Int(value) => Ok(*value as f64),
        Datum::Float(value) => Ok(*value),
        Datum::Numeric(value) => value.to_f64_checked(),
        Datum::Jsonb(value) => jsonb_number(value, &SqlType::Float8)?.to_f64_checked(),
        other => Err(SqlError::internal(format!("{other:?} cast to double precision"))),
    }
}

fn to_float4(datum: &Datum) -> SqlResult<f32> {
    match datum {
        Datum::Int(value) => Ok(*value as f32),
        Datum::Float(value) => {
            let narrow = *value as f32;
            let out_of_range = |how: &str| {
                Err(SqlError::new(SqlState::NumericValueOutOfRange, format!("value out of range: {how}")))
            };
            if narrow.is_infinite() && value.is_finite() {
                out_of_range("overflow")
            } else if narrow == 0.0 && *value != 0.0 {
                out_of_range("underflow")
            } else {
                Ok(narrow)
            }
        }
        Datum::Numeric(value) => value.to_f32_checked(),
        Datum::Jsonb(value) => jsonb_number(value, &SqlType::Float4)?.to_f32_checked(),
        other => Err(SqlError::internal(format!("{other:?} cast to real"))),
    }
}

fn to_numeric(datum: &Datum, from: &SqlType) -> SqlResult<Numeric> {
    match datum {
        Datum::Int(value) if *from == SqlType::Money => Ok(Numeric::from_i128((*value).into(), 2)),
        Datum::Int(value) => Ok(Numeric::from_i64(*value)),
        Datum::Float(value) if *from == SqlType::Float4 => Ok(Numeric::from_f32(*value as f32)),
        Datum::Float(value) => Ok(Numeric::from_f64(*value)),
        Datum::Jsonb(value) => Ok(jsonb_number(value, &SqlType::NUMERIC)?.clone()),
        other => Err(SqlError::internal(format!("{other:?} cast to numeric"))),
    }
}

fn jsonb_number<'a>(value: &'a Json, to: &SqlType) -> SqlResult<&'a Numeric> {
    match value {
        Json::Number(number) => Ok(number),
        other => Err(not_from_jsonb(other, to)),
    }
}

fn not_from_jsonb(value: &Json, to: &SqlType) -> SqlError {
    let kind = if let Json::Number(_) = value { "numeric" } else { value.type_name() };
    raise::invalid_parameter(format!("cannot cast jsonb {kind} to type {}", to.base_name()))
}

/// From an integer or another oid: 32 bits are taken as they are, of 64 the upper half must be empty.
fn to_oid(value: i64, from: &SqlType) -> SqlResult<i64> {
    if *from == SqlType::Int8 && u32::try_from(value).is_err() {
        return Err(SqlError::new(SqlState::NumericValueOutOfRange, "OID out of range"));
    }
    Ok(i64::from(value as u32))
}

/// A text names a relation even where a literal of digits would be its oid.
fn class_of(name: &str, formatting: &Formatting) -> SqlResult<i64> {
    match &formatting.oid_names {
        Some(names) => Ok(i64::from(names.lookup(&SqlType::RegClass, name)?)),
        None => Err(SqlError::not_supported("names of type regclass cannot be resolved without a catalog")),
    }
}

fn int_to_char(value: i64) -> SqlResult<Datum> {
    let byte = i8::try_from(value).map_err(|_| raise::out_of_range("\"char\""))?.cast_unsigned();
    Ok(match byte {
        0 => Datum::text(""),
        1..=0x7f => Datum::text((byte as char).to_string()),
        _ => Datum::text(format!("\\{byte:03o}")),
    })
}

/// A byte above 127 stands as a backslash and three octal digits.
fn char_to_int(text: &str) -> i64 {
    let byte = match text.as_bytes() {
        [] => 0,
        [b'\\', a, b, c] => (a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'),
        [byte, ..] => *byte,
    };
    i64::from(byte.cast_signed())
}

fn without_padding(text: Arc<str>) -> Arc<str> {
    let kept = text.trim_end_matches(' ');
    if kept.len() == text.len() { text } else { kept.into() }
}

pub(super) fn cut_to_name(text: Arc<str>) -> Datum {
    let kept = cut_name(&text);
    if kept.len() == text.len() { Datum::Text(text) } else { Datum::text(kept) }
}
