//! The text format: what clients type and see.

mod number;
mod character;
mod bytes;
mod oid;
mod array;
mod record;
mod range;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::bits::Bits;
use crate::datetime;
use crate::datum::Datum;
use crate::error::{SqlError, SqlResult, raise};
use crate::formatting::Formatting;
use crate::geometry::Geometry;
use crate::json::{self, Json};
use crate::jsonpath::JsonPath;
use crate::money::{parse_money, show_money};
use crate::network::{parse_inet, parse_macaddr, parse_macaddr8, show_macaddr, show_macaddr8};
use crate::numeric::Numeric;
use crate::sql_type::SqlType;
use crate::text_search::{TsQuery, TsVector};
use crate::unsigned::{parse_lsn, parse_xid8, show_lsn, to_unsigned};

pub use bytes::parse_bytea;
pub use character::MAX_NAME_BYTES;
pub use number::{write_float4, write_float8};

use array::{parse_array, write_array};
use bytes::{parse_uuid, write_bytea, write_uuid};
pub(crate) use character::{cut_name, fit_char, fit_varchar, quoted_char};
pub(crate) use number::parse_float8;
use number::{parse_float4, parse_int, put_int};
use oid::{parse_oid, parse_reg, parse_vector, write_reg};
pub use range::parse_flags;
use range::{parse_multirange, parse_range, write_multirange, write_range};
pub use record::check_text_size;
pub(crate) use range::range_subtype;
pub(crate) use record::field_type;
use record::{parse_record, write_record};

fn blank(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\x0b'
}

/// Reads a value as its type's input function does, modifiers included.
pub fn parse_text(ty: &SqlType, input: &str, formatting: &Formatting) -> SqlResult<Datum> {
    Ok(match ty {
        SqlType::Bool => Datum::Bool(parse_bool(input)?),
        SqlType::Int2 => Datum::Int(parse_int(input, "smallint", i64::from(i16::MIN), i64::from(i16::MAX))?),
        SqlType::Int4 => Datum::Int(parse_int(input, "integer", i64::from(i32::MIN), i64::from(i32::MAX))?),
        SqlType::Int8 => Datum::Int(parse_int(input, "bigint", i64::MIN, i64::MAX)?),
        SqlType::Float4 => Datum::Float(parse_float4(input)?),
        SqlType::Float8 => Datum::Float(parse_float8(input)?),
        SqlType::Numeric(modifier) => Datum::Numeric(Numeric::parse(input)?.apply_modifier(*modifier)?),
        SqlType::Text | SqlType::Unknown | SqlType::PgNodeTree => Datum::text(input),
        SqlType::Varchar(length) => Datum::Text(fit_varchar(input, *length, false)?),
        SqlType::Char(length) => Datum::Text(fit_char(input, *length, false)?),
        SqlType::QuotedChar => Datum::text(&*quoted_char(input)),
        SqlType::Name => Datum::text(cut_name(input)),
        SqlType::Bytea => Datum::bytes(parse_bytea(input)?),
        SqlType::Date => Datum::Date(datetime::parse_date(input, formatting)?),
        SqlType::Time(precision) => Datum::Time(datetime::parse_time(input, *precision, formatting)?),
        SqlType::TimeTz(precision) => Datum::TimeTz(datetime::parse_timetz(input, *precision, formatting)?),
        SqlType::Timestamp(precision) => {
            Datum::Timestamp(datetime::parse_timestamp(input, *precision, formatting)?)
        }
        SqlType::TimestampTz(precision) => {
            Datum::TimestampTz(datetime::parse_timestamptz(input, *precision, formatting)?)
        }
        SqlType::Interval => Datum::Interval(datetime::parse_interval(&datetime::signed_alike(input, formatting.interval_style))?),
        SqlType::Uuid => Datum::Uuid(parse_uuid(input)?),
        SqlType::Inet | SqlType::Cidr => Datum::Inet(parse_inet(input, *ty == SqlType::Cidr)?),
        SqlType::MacAddr => Datum::MacAddr(parse_macaddr(input)?),
        SqlType::MacAddr8 => Datum::MacAddr8(parse_macaddr8(input)?),
        SqlType::Bit(length) => Datum::bits(parse_bits(input, *length, false)?),
        SqlType::VarBit(length) => Datum::bits(parse_bits(input, *length, true)?),
        SqlType::TsVector => Datum::tsvector(TsVector::parse(input)?),
        SqlType::TsQuery => Datum::tsquery(TsQuery::parse(input)?),
        SqlType::JsonPath => Datum::JsonPath(Arc::new(JsonPath::parse(input)?)),
        SqlType::Money => Datum::Int(parse_money(input)?),
        SqlType::PgLsn => Datum::from_unsigned(parse_lsn(input)?),
        SqlType::Xid8 => Datum::from_unsigned(parse_xid8(input)),
        geometric if geometric.is_geometric() => Datum::geometry(Geometry::parse(geometric, input)?),
        SqlType::Json => {
            json::validate(input)?;
            Datum::Json(input.into())
        }
        SqlType::Jsonb => Datum::Jsonb(Arc::new(Json::parse(input)?)),
        SqlType::Oid => Datum::Int(parse_oid(input, "oid")?),
        SqlType::Xid => Datum::Int(parse_oid(input, "xid")?),
        reg if reg.is_reg() => Datum::Int(parse_reg(reg, input, formatting)?),
        SqlType::Int2Vector | SqlType::OidVector => parse_vector(ty, input, formatting)?,
        SqlType::Array(element) => Datum::Array(Arc::new(parse_array(&element.get().base(), input, formatting)?)),
        SqlType::Range(of) => Datum::range(parse_range(*of, input, formatting)?),
        SqlType::MultiRange(of) => Datum::multirange(parse_multirange(*of, input, formatting)?),
        SqlType::Record(Some(id)) => parse_record(&id.get(), input, formatting)?,
        SqlType::Composite(of) => parse_record(of.row(), input, formatting)?,
        SqlType::Enum(of) => of.parse(input)?,
        SqlType::Domain(_) => parse_text(&ty.base(), input, formatting)?,
        SqlType::Void => Datum::text(""),
        other => {
            return Err(SqlError::not_supported(format!("cannot accept a value of type {}", other.base_name())));
        }
    })
}

fn parse_bits(input: &str, length: Option<u32>, varying: bool) -> SqlResult<Bits> {
    let bits = Bits::parse(input)?;
    match length {
        Some(length) => bits.fitted(length, varying, false),
        None => Ok(bits),
    }
}

fn parse_bool(input: &str) -> SqlResult<bool> {
    let word = input.trim_matches(blank).to_ascii_lowercase();
    let prefix_of = |whole: &str, least: usize| word.len() >= least && whole.starts_with(&word);
    if prefix_of("true", 1) || prefix_of("yes", 1) || word == "on" || word == "1" {
        Ok(true)
    } else if prefix_of("false", 1) || prefix_of("no", 1) || prefix_of("off", 2) || word == "0" {
        Ok(false)
    } else {
        Err(raise::invalid_syntax("boolean", input))
    }
}

/// Appends the text form. A NULL writes nothing: where NULL is spelled, the caller spells it. Where a statement makes
/// the value, [`check_text_size`] comes first.
pub fn write_text(ty: &SqlType, datum: &Datum, formatting: &Formatting, out: &mut Vec<u8>) {
    match datum {
        Datum::Null => {}
        Datum::Bool(value) => out.push(if *value { b't' } else { b'f' }),
        Datum::Int(value) => match ty {
            SqlType::Money => out.extend_from_slice(show_money(*value).as_bytes()),
            SqlType::PgLsn => out.extend_from_slice(show_lsn(to_unsigned(*value)).as_bytes()),
            SqlType::Xid8 => out.extend_from_slice(to_unsigned(*value).to_string().as_bytes()),
            reg if reg.is_reg() => write_reg(ty, *value, formatting, out),
            _ => put_int(out, *value),
        },
        Datum::Float(value) if *ty == SqlType::Float4 => write_float4(*value as f32, formatting.extra_float_digits, out),
        Datum::Float(value) => write_float8(*value, formatting.extra_float_digits, out),
        Datum::Numeric(value) => value.write(out),
        Datum::Text(value) | Datum::Json(value) => out.extend_from_slice(value.as_bytes()),
        Datum::Bytes(value) => write_bytea(value, formatting.bytea_output, out),
        Datum::Date(days) => datetime::write_date(*days, formatting.date_style, formatting.date_order, out),
        Datum::Time(micros) => datetime::write_time(*micros, out),
        Datum::TimeTz(time) => datetime::write_timetz(*time, out),
        Datum::Timestamp(timestamp) => {
            datetime::write_timestamp(*timestamp, formatting.date_style, formatting.date_order, out);
        }
        Datum::TimestampTz(timestamp) => {
            let (style, order) = (formatting.date_style, formatting.date_order);
            datetime::write_timestamptz(*timestamp, &formatting.zone, style, order, out);
        }
        Datum::Interval(interval) => datetime::write_interval(*interval, formatting.interval_style, out),
        Datum::Uuid(uuid) => write_uuid(uuid, out),
        Datum::Inet(inet) if *ty == SqlType::Cidr => out.extend_from_slice(inet.with_length().as_bytes()),
        Datum::Inet(inet) => out.extend_from_slice(inet.shown().as_bytes()),
        Datum::MacAddr(bytes) => out.extend_from_slice(show_macaddr(bytes).as_bytes()),
        Datum::MacAddr8(bytes) => out.extend_from_slice(show_macaddr8(bytes).as_bytes()),
        Datum::Bits(bits) => bits.write(out),
        Datum::Geometry(geometry) => geometry.write(formatting.extra_float_digits, out),
        Datum::TsVector(vector) => vector.write(out),
        Datum::TsQuery(query) => query.write(out),
        Datum::JsonPath(path) => path.write(out),
        Datum::Enum(value) => out.extend_from_slice(value.text_as(ty).as_bytes()),
        Datum::Jsonb(value) => value.write(out),
        Datum::Array(array) => match ty {
            SqlType::Int2Vector | SqlType::OidVector => {
                for (i, element) in array.elements().iter().enumerate() {
                    if i > 0 {
                        out.push(b' ');
                    }
                    write_text(&SqlType::Int8, element, formatting, out);
                }
            }
            _ => write_array(&ty.element().unwrap_or(SqlType::Text).base(), array, formatting, out),
        },
        Datum::Range(range) => write_range(&range_subtype(ty, range), range, formatting, out),
        Datum::MultiRange(ranges) => write_multirange(ty, ranges, formatting, out),
        Datum::Record(fields) => write_record(ty, fields, formatting, out),
    }
}

/// The text form as a string.
#[must_use]
pub fn to_text(ty: &SqlType, datum: &Datum, formatting: &Formatting) -> String {
    let mut out = Vec::new();
    write_text(ty, datum, formatting, &mut out);
    String::from_utf8(out).expect("every text form is UTF-8")
}
