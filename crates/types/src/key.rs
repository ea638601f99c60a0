//! Datums as index keys whose byte order is SQL's order, ascending or descending, NULLs first or last.
//!
//! ```text
//! 0x00 NULL that sorts first      0x80 a value follows      0xfe NULL that sorts last
//! ```
//! The marker stays as it is in a descending column; what follows it is inverted byte for byte.
//!
//! **Invariants**
//! - *order-agrees*: for two values of one type, [`crate::compare`] and byte order agree, and equal values have equal
//!   bytes.
//! - *prefix-free*: no encoded column is a proper prefix of another of its type.
//! - *composite-value-kept*: where equal keys may print differently ([`SqlType::key_is_composite`]), the row keeps the
//!   value as well.

use std::sync::Arc;

use keys::encoding::{
    DecodeError, TAG_NULL_FIRST, TAG_NULL_LAST, flip, put_bytes, put_f64, put_u64, put_varint, take_bytes, take_f64,
    take_u8, take_u64, take_varint,
};

use crate::{
    array::{Array, Dimension},
    bits::{Bits, MAX_BITS},
    composite_type::CompositeType,
    datetime::calendar::MICROS_PER_SECOND,
    datum::{Datum, Interval, TimeTz},
    json_key::{put_json, take_json},
    network::Inet,
    numeric::Numeric,
    range::{Bound, Range},
    range_type::RangeType,
    sql_type::SqlType,
    text::field_type,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
pub enum Direction {
    #[default]
    Asc,
    Desc,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
pub enum NullsOrder {
    First,
    #[default]
    Last,
}

const VALUE: u8 = 0x80;
/// Below every byte of a sort key of a label.
const END_OF_SORT_KEY: u8 = 0;

impl SqlType {
    /// Equal keys of this type may stand for values that print differently: 1.0 and 1.00, 'a' and 'a  '.
    #[must_use]
    pub fn key_is_composite(&self) -> bool {
        match self {
            Self::Numeric(_) | Self::Float4 | Self::Float8 | Self::Char(_) | Self::Interval | Self::TimeTz(_) | Self::Jsonb => true,
            Self::Range(of) | Self::MultiRange(of) => of.subtype().key_is_composite(),
            Self::Array(element) => element.get().key_is_composite(),
            Self::Domain(ty) => ty.over().key_is_composite(),
            Self::Composite(ty) => ty.row().fields.iter().any(|(_, ty)| ty.key_is_composite()),
            _ => false,
        }
    }

    /// Whether columns of this type may be indexed.
    #[must_use]
    pub fn key_encodable(&self) -> bool {
        match self {
            Self::Json | Self::TsVector | Self::TsQuery | Self::JsonPath | Self::Record(_) | Self::PgNodeTree | Self::Unknown => false,
            geometric if geometric.is_geometric() => false,
            Self::Array(element) => element.get().key_encodable(),
            Self::Range(of) | Self::MultiRange(of) => of.subtype().key_encodable(),
            Self::Domain(ty) => ty.over().key_encodable(),
            Self::Composite(ty) => ty.row().fields.iter().all(|(_, ty)| ty.key_encodable()),
            other => !other.is_pseudo(),
        }
    }
}

/// Appends a column of a key.
///
/// # Panics
/// When the datum is not of the type, or the type is none that [`SqlType::key_encodable`] allows.
pub fn encode_key(out: &mut Vec<u8>, ty: &SqlType, datum: &Datum, direction: Direction, nulls: NullsOrder) {
    if datum.is_null() {
        out.push(match nulls {
            NullsOrder::First => TAG_NULL_FIRST,
            NullsOrder::Last => TAG_NULL_LAST,
        });
        return;
    }
    out.push(VALUE);
    let from = out.len();
    put_value(out, ty, datum);
    if direction == Direction::Desc {
        flip(out, from);
    }
}

fn put_value(out: &mut Vec<u8>, ty: &SqlType, datum: &Datum) {
    match datum {
        Datum::Int(value) | Datum::Time(value) | Datum::Timestamp(value) | Datum::TimestampTz(value) => {
            put_varint(out, *value);
        }
        Datum::Date(days) => put_varint(out, i64::from(*days)),
        Datum::Text(text) => {
            let text = if matches!(ty, SqlType::Char(_)) { text.trim_end_matches(' ') } else { text };
            put_bytes(out, text.as_bytes());
        }
        Datum::Bytes(bytes) => put_bytes(out, bytes),
        Datum::Bool(value) => out.push(u8::from(*value)),
        Datum::Enum(value) => {
            out.extend_from_slice(value.sort_key());
            out.push(END_OF_SORT_KEY);
        }
        Datum::Float(value) => put_f64(out, *value),
        Datum::Numeric(value) => put_numeric(out, value),
        Datum::Uuid(bytes) => out.extend_from_slice(bytes),
        Datum::MacAddr(bytes) => out.extend_from_slice(bytes),
        Datum::MacAddr8(bytes) => out.extend_from_slice(bytes),
        Datum::Bits(bits) => {
            put_bytes(out, bits.bytes());
            put_varint(out, bits.len() as i64);
        }
        Datum::Inet(inet) => {
            out.push(u8::from(inet.is_v6()));
            out.extend_from_slice(inet.network().bytes());
            out.push(inet.prefix());
            out.extend_from_slice(inet.bytes());
        }
        Datum::TimeTz(time) => {
            put_varint(out, time.micros + i64::from(time.west) * MICROS_PER_SECOND);
            put_varint(out, i64::from(time.west));
        }
        Datum::Interval(interval) => {
            // The comparison is by the whole span, which needs more than 64 bits: split it, high part first.
            let span = interval.span();
            put_varint(out, (span >> 64) as i64);
            put_u64(out, span as u64);
        }
        Datum::Array(array) => put_array(out, ty, array),
        Datum::Record(fields) => put_record(out, ty, fields),
        Datum::Jsonb(value) => put_json(out, value),
        Datum::Range(range) => put_range(out, &range_subtype(ty), range),
        Datum::MultiRange(ranges) => {
            let subtype = range_subtype(ty);
            for range in ranges.iter() {
                out.push(MEMBER);
                put_range(out, &subtype, range);
            }
            out.push(END_OF_MEMBERS);
        }
        other => panic!("datum-matches-type: {other:?} as a key of {ty}"),
    }
}

/// Elements as columns with NULLs last, then what tells an array's shape; PostgreSQL compares in that order.
fn put_array(out: &mut Vec<u8>, ty: &SqlType, array: &Array) {
    const ELEMENT: u8 = 2;
    const END: u8 = 1;
    let element = ty.element().unwrap_or(SqlType::Text);
    for datum in array.elements() {
        out.push(ELEMENT);
        encode_key(out, &element, datum, Direction::Asc, NullsOrder::Last);
    }
    out.push(END);
    put_varint(out, array.dimensions().len() as i64);
    for dimension in array.dimensions() {
        put_varint(out, dimension.length as i64);
        put_varint(out, i64::from(dimension.lower_bound));
    }
}

/// Above every marker of a column: it stands where only NULLs are left, which are above every value.
const END_OF_FIELDS: u8 = 0xff;

/// The fields as columns with NULLs last, but for the NULLs at the end: a value has the same key after an attribute was added to
/// its type as before.
fn put_record(out: &mut Vec<u8>, ty: &SqlType, fields: &[Datum]) {
    let row = ty.row_type();
    let count = fields.iter().rposition(|field| !field.is_null()).map_or(0, |last| last + 1);
    for (at, field) in fields[..count].iter().enumerate() {
        encode_key(out, &field_type(row.as_deref(), at, field), field, Direction::Asc, NullsOrder::Last);
    }
    out.push(END_OF_FIELDS);
}

fn take_record(input: &mut &[u8], of: CompositeType) -> Result<Datum, DecodeError> {
    let mut fields = Vec::with_capacity(of.attributes().len());
    loop {
        match input.first() {
            None => return Err(DecodeError::Truncated),
            Some(&END_OF_FIELDS) => break *input = &input[1..],
            Some(&byte) if fields.len() == of.attributes().len() => return Err(DecodeError::Invalid { byte }),
            Some(_) => fields.push(decode_key(input, &of.field_type(fields.len()), Direction::Asc, NullsOrder::Last)?),
        }
    }
    fields.resize(of.attributes().len(), Datum::Null);
    Ok(Datum::Record(fields.into()))
}

const END_OF_MEMBERS: u8 = 1;
const MEMBER: u8 = 2;
const EMPTY: u8 = 1;
const SPAN: u8 = 2;
/// Of a bound: that there is none below, a value, that there is none above.
const NONE_BELOW: u8 = 1;
const BOUND: u8 = 2;
const NONE_ABOVE: u8 = 3;
/// Behind a bound's value. A lower bound that takes its value in comes before one that does not, an upper one after it.
const SOONER: u8 = 1;
const LATER: u8 = 2;

fn range_subtype(ty: &SqlType) -> SqlType {
    ty.range_type().map_or(SqlType::Unknown, RangeType::subtype)
}

/// Empty ranges first, then the lower bound, then the upper one.
fn put_range(out: &mut Vec<u8>, subtype: &SqlType, range: &Range) {
    let Some((lower, upper)) = range.bounds() else { return out.push(EMPTY) };
    out.push(SPAN);
    for (bound, none, inclusive, exclusive) in [(lower, NONE_BELOW, SOONER, LATER), (upper, NONE_ABOVE, LATER, SOONER)] {
        match &bound.value {
            None => out.push(none),
            Some(value) => {
                out.push(BOUND);
                put_value(out, subtype, value);
                out.push(if bound.inclusive { inclusive } else { exclusive });
            }
        }
    }
}

fn take_range(input: &mut &[u8], subtype: &SqlType) -> Result<Range, DecodeError> {
    match take_u8(input)? {
        EMPTY => return Ok(Range::Empty),
        SPAN => {}
        byte => return Err(DecodeError::Invalid { byte }),
    }
    let mut bound = |none: u8, inclusive: u8| -> Result<Bound, DecodeError> {
        match take_u8(input)? {
            BOUND => {}
            byte if byte == none => return Ok(Bound::UNBOUNDED),
            byte => return Err(DecodeError::Invalid { byte }),
        }
        let value = take_value(input, subtype)?;
        match take_u8(input)? {
            byte @ (SOONER | LATER) => Ok(Bound::new(Some(value), byte == inclusive)),
            byte => Err(DecodeError::Invalid { byte }),
        }
    };
    Ok(Range::Span { lower: bound(NONE_BELOW, SOONER)?, upper: bound(NONE_ABOVE, LATER)? })
}

const NEG_INFINITY: u8 = 1;
const NEGATIVE: u8 = 2;
const ZERO: u8 = 3;
const POSITIVE: u8 = 4;
const INFINITY: u8 = 5;
const NAN: u8 = 6;

/// A class, then for ordinary numbers the weight of the first group of four digits and the groups, each plus one,
/// ended by zero. All of it inverted below zero.
pub(crate) fn put_numeric(out: &mut Vec<u8>, value: &Numeric) {
    let mut wire = Vec::with_capacity(32);
    value.write_binary(&mut wire);
    let field = |i: usize| u16::from_be_bytes([wire[2 * i], wire[2 * i + 1]]);
    let (count, weight, sign) = (usize::from(field(0)), field(1) as i16, field(2));
    match sign {
        0xc000 => return out.push(NAN),
        0xd000 => return out.push(INFINITY),
        0xf000 => return out.push(NEG_INFINITY),
        _ if count == 0 => return out.push(ZERO),
        _ => {}
    }
    let negative = sign == 0x4000;
    out.push(if negative { NEGATIVE } else { POSITIVE });
    let from = out.len();
    out.extend_from_slice(&((weight as u16) ^ 0x8000).to_be_bytes());
    let mut last = count;
    while last > 0 && field(4 + last - 1) == 0 {
        last -= 1;
    }
    for i in 0..last {
        out.extend_from_slice(&(field(4 + i) + 1).to_be_bytes());
    }
    out.extend_from_slice(&[0, 0]);
    if negative {
        flip(out, from);
    }
}

/// Reads a column of a key back. Composite types come back in a canonical form.
///
/// # Errors
/// When the bytes are no key of this type.
pub fn decode_key(
    input: &mut &[u8],
    ty: &SqlType,
    direction: Direction,
    _nulls: NullsOrder,
) -> Result<Datum, DecodeError> {
    match take_u8(input)? {
        TAG_NULL_FIRST | TAG_NULL_LAST => return Ok(Datum::Null),
        VALUE => {}
        byte => return Err(DecodeError::Invalid { byte }),
    }
    match direction {
        Direction::Asc => take_value(input, ty),
        Direction::Desc => {
            // Read from an upright copy; the bytes used there are the bytes used here.
            let mut upright = input.to_vec();
            flip(&mut upright, 0);
            let mut rest = upright.as_slice();
            let datum = take_value(&mut rest, ty)?;
            let used = upright.len() - rest.len();
            *input = &input[used..];
            Ok(datum)
        }
    }
}

fn take_value(input: &mut &[u8], ty: &SqlType) -> Result<Datum, DecodeError> {
    let invalid = || DecodeError::Invalid { byte: 0 };
    Ok(match ty {
        SqlType::Bool => Datum::Bool(take_u8(input)? != 0),
        SqlType::Date => Datum::Date(i32::try_from(take_varint(input)?).map_err(|_| invalid())?),
        SqlType::Time(_) => Datum::Time(take_varint(input)?),
        SqlType::Timestamp(_) => Datum::Timestamp(take_varint(input)?),
        SqlType::TimestampTz(_) => Datum::TimestampTz(take_varint(input)?),
        SqlType::Float4 | SqlType::Float8 => Datum::Float(take_f64(input)?),
        SqlType::Numeric(_) => Datum::Numeric(take_numeric(input)?),
        SqlType::Bytea => {
            let mut bytes = Vec::new();
            take_bytes(input, &mut bytes)?;
            Datum::bytes(bytes)
        }
        SqlType::Uuid => {
            let (head, rest) = input.split_at_checked(16).ok_or(DecodeError::Truncated)?;
            *input = rest;
            Datum::Uuid(head.try_into().expect("sixteen bytes were taken"))
        }
        SqlType::MacAddr => {
            let (head, rest) = input.split_at_checked(6).ok_or(DecodeError::Truncated)?;
            *input = rest;
            Datum::MacAddr(head.try_into().expect("six bytes were taken"))
        }
        SqlType::MacAddr8 => Datum::MacAddr8(take_u64(input)?.to_be_bytes()),
        SqlType::Bit(_) | SqlType::VarBit(_) => {
            let mut bytes = Vec::new();
            take_bytes(input, &mut bytes)?;
            let length = usize::try_from(take_varint(input)?).map_err(|_| invalid())?;
            if length.div_ceil(8) != bytes.len() || length > MAX_BITS {
                return Err(invalid());
            }
            Datum::bits(Bits::new(bytes, length))
        }
        SqlType::Inet | SqlType::Cidr => {
            let width = if take_u8(input)? == 0 { 4 } else { 16 };
            let (head, rest) = input.split_at_checked(2 * width + 1).ok_or(DecodeError::Truncated)?;
            *input = rest;
            let inet = Inet::from_bytes(&head[width + 1..], head[width]);
            Datum::Inet(inet.ok_or(DecodeError::Invalid { byte: head[width] })?)
        }
        SqlType::TimeTz(_) => {
            let utc = take_varint(input)?;
            let west = i32::try_from(take_varint(input)?).map_err(|_| invalid())?;
            Datum::TimeTz(TimeTz { micros: utc - i64::from(west) * MICROS_PER_SECOND, west })
        }
        SqlType::Interval => {
            let high = take_varint(input)?;
            let low = take_u64(input)?;
            let span = i128::from(high) << 64 | i128::from(low);
            // As much as fits in months, then in days: at the calendar's ends the rest goes to the next smaller part.
            const DAY: i128 = 86_400_000_000;
            let part = |span: i128, unit: i128| (span / unit).clamp(i128::from(i32::MIN), i128::from(i32::MAX)) as i32;
            let months = part(span, 30 * DAY);
            let span = span - i128::from(months) * 30 * DAY;
            let days = part(span, DAY);
            let span = span - i128::from(days) * DAY;
            Datum::Interval(Interval { months, days, micros: i64::try_from(span).map_err(|_| invalid())? })
        }
        SqlType::Enum(of) => {
            let end = input.iter().position(|byte| *byte == END_OF_SORT_KEY).ok_or(DecodeError::Truncated)?;
            let value = of.by_sort_key(&input[..end]).ok_or_else(invalid)?;
            *input = &input[end + 1..];
            Datum::Enum(value)
        }
        SqlType::Array(_) | SqlType::Int2Vector | SqlType::OidVector => take_array(input, ty)?,
        SqlType::Composite(of) => take_record(input, *of)?,
        SqlType::Jsonb => Datum::Jsonb(take_json(input)?.into()),
        SqlType::Range(of) => Datum::range(take_range(input, &of.subtype())?),
        SqlType::MultiRange(of) => {
            let mut ranges = Vec::new();
            loop {
                match take_u8(input)? {
                    END_OF_MEMBERS => break Datum::multirange(ranges),
                    MEMBER => ranges.push(take_range(input, &of.subtype())?),
                    byte => return Err(DecodeError::Invalid { byte }),
                }
            }
        }
        text if text.is_string()
            || matches!(text, SqlType::Name | SqlType::QuotedChar | SqlType::Unknown | SqlType::PgNodeTree) =>
        {
            let mut bytes = Vec::new();
            take_bytes(input, &mut bytes)?;
            Datum::text(String::from_utf8(bytes).map_err(|_| invalid())?)
        }
        _ => Datum::Int(take_varint(input)?),
    })
}

fn take_array(input: &mut &[u8], ty: &SqlType) -> Result<Datum, DecodeError> {
    let element = ty.element().unwrap_or(SqlType::Text);
    let mut elements = Vec::new();
    loop {
        match take_u8(input)? {
            1 => break,
            2 => elements.push(decode_key(input, &element, Direction::Asc, NullsOrder::Last)?),
            byte => return Err(DecodeError::Invalid { byte }),
        }
    }
    let count = take_varint(input)?;
    let mut dimensions = Vec::new();
    for _ in 0..count {
        let length = take_varint(input)?;
        let lower_bound = take_varint(input)?;
        let invalid = DecodeError::Invalid { byte: 1 };
        dimensions.push(Dimension {
            length: length.try_into().map_err(|_| invalid)?,
            lower_bound: i32::try_from(lower_bound).map_err(|_| DecodeError::Invalid { byte: 1 })?,
        });
    }
    let array =
        Array::with_dimensions(&dimensions, elements).map_err(|_| DecodeError::Invalid { byte: 1 })?;
    Ok(Datum::Array(Arc::new(array)))
}

pub(crate) fn take_numeric(input: &mut &[u8]) -> Result<Numeric, DecodeError> {
    let class = take_u8(input)?;
    let flipped = match class {
        NEG_INFINITY => return Ok(Numeric::NEG_INFINITY),
        INFINITY => return Ok(Numeric::INFINITY),
        NAN => return Ok(Numeric::NAN),
        ZERO => return Ok(Numeric::from_i64(0)),
        POSITIVE => 0,
        NEGATIVE => 0xffff,
        byte => return Err(DecodeError::Invalid { byte }),
    };
    let mut take = || -> Result<u16, DecodeError> {
        let high = take_u8(input)?;
        let low = take_u8(input)?;
        Ok(u16::from_be_bytes([high, low]) ^ flipped)
    };
    let weight = take()? ^ 0x8000;
    let mut groups = Vec::new();
    loop {
        match take()? {
            0 => break,
            group => groups.push(group - 1),
        }
    }
    let sign: u16 = if class == NEGATIVE { 0x4000 } else { 0 };
    let behind = (groups.len() as i32 - 1 - i32::from(weight as i16)).max(0) * 4;
    let mut wire = Vec::with_capacity(8 + groups.len() * 2);
    for field in [groups.len() as u16, weight, sign, u16::try_from(behind).unwrap_or(u16::MAX)] {
        wire.extend_from_slice(&field.to_be_bytes());
    }
    for group in groups {
        wire.extend_from_slice(&group.to_be_bytes());
    }
    Numeric::parse_binary(&wire).map(|value| value.trim_scale()).map_err(|_| DecodeError::Invalid { byte: class })
}

/// Steps over a column of a key.
///
/// # Errors
/// As [`decode_key`].
pub fn skip_key(
    input: &mut &[u8],
    ty: &SqlType,
    direction: Direction,
    nulls: NullsOrder,
) -> Result<(), DecodeError> {
    decode_key(input, ty, direction, nulls).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare;

    fn encode(ty: &SqlType, datum: &Datum, direction: Direction) -> Vec<u8> {
        let mut out = Vec::new();
        encode_key(&mut out, ty, datum, direction, NullsOrder::Last);
        out
    }

    fn samples() -> Vec<(SqlType, Vec<Datum>)> {
        let numeric = |text: &str| Datum::Numeric(Numeric::parse(text).unwrap());
        let interval = |months, days, micros| Datum::Interval(Interval { months, days, micros });
        vec![
            (SqlType::Int8, [i64::MIN, -300, -1, 0, 1, 255, 256, i64::MAX].map(Datum::Int).to_vec()),
            (SqlType::Text, ["", "\0", "a", "a\0b", "ab", "b", "ü"].map(Datum::text).to_vec()),
            (SqlType::Char(Some(3)), ["a  ", "ab ", "abc"].map(Datum::text).to_vec()),
            (SqlType::Float8, [f64::NEG_INFINITY, -1.5, -0.0, 0.0, 2.0, f64::INFINITY, f64::NAN].map(Datum::Float).to_vec()),
            (
                SqlType::NUMERIC,
                [
                    "-Infinity", "-12345678901234567890.5", "-10000", "-9999.5", "-1", "-0.0001", "0", "0.00010001", "0.1",
                    "1", "1.00", "1.5", "9999", "10000", "10000.1", "123456789012345678901234567890", "Infinity", "NaN",
                ]
                .map(numeric)
                .to_vec(),
            ),
            (SqlType::Interval, vec![interval(0, -1, 0), interval(0, 0, 0), interval(0, 0, 86_400_000_000), interval(0, 1, 0), interval(1, 0, 0), interval(0, 31, 0)]),
            (SqlType::Bool, vec![Datum::Bool(false), Datum::Bool(true)]),
            (SqlType::Date, vec![Datum::Date(-5), Datum::Date(0), Datum::Date(7)]),
            (SqlType::Uuid, vec![Datum::Uuid([0; 16]), Datum::Uuid([7; 16])]),
            (SqlType::MacAddr, vec![Datum::MacAddr([0; 6]), Datum::MacAddr([7; 6])]),
            (SqlType::MacAddr8, vec![Datum::MacAddr8([0; 8]), Datum::MacAddr8([7; 8])]),
            (
                SqlType::VARBIT,
                ["", "0", "00", "000000000", "0000000010", "0001", "1", "10"]
                    .map(|text| Datum::bits(Bits::parse(text).unwrap()))
                    .into(),
            ),
            (SqlType::PgLsn, [0, 1, 1 << 63, u64::MAX].map(Datum::from_unsigned).into()),
            (SqlType::Money, vec![Datum::Int(-5), Datum::Int(7)]),
            (
                SqlType::Inet,
                ["9.1.2.3/8", "10.0.0.0/8", "10.1.2.3/8", "10.0.0.0", "10.1.0.0/16", "10.1.2.3", "::/0", "::1", "1::/16"]
                    .map(|text| Datum::Inet(crate::network::parse_inet(text, false).unwrap()))
                    .to_vec(),
            ),
            ranges(SqlType::Range(RangeType::Numeric), &["empty", "(,)", "(,1)", "(,1.0]", "[1,2)", "[1.0,2]", "(1,2)", "[1,)", "[2,3]"]),
            ranges(SqlType::MultiRange(RangeType::Int4), &["{}", "{(,)}", "{[1,2)}", "{[1,2),[3,4)}", "{[1,2),[4,)}", "{[1,3)}"]),
            (
                SqlType::INT4_ARRAY,
                vec![
                    Datum::Array(Arc::new(Array::from_elements(vec![]))),
                    Datum::Array(Arc::new(Array::from_elements(vec![Datum::Int(1)]))),
                    Datum::Array(Arc::new(Array::from_elements(vec![Datum::Int(1), Datum::Int(2)]))),
                    Datum::Array(Arc::new(Array::from_elements(vec![Datum::Int(2)]))),
                ],
            ),
        ]
    }

    fn ranges(ty: SqlType, texts: &[&str]) -> (SqlType, Vec<Datum>) {
        let read = |text: &&str| crate::parse_text(&ty, text, &crate::Formatting::default()).unwrap();
        (ty, texts.iter().map(read).collect())
    }

    #[test]
    fn order_agrees() {
        for (ty, values) in samples() {
            for a in values.iter().chain([&Datum::Null]) {
                for b in values.iter().chain([&Datum::Null]) {
                    let (up_a, up_b) = (encode(&ty, a, Direction::Asc), encode(&ty, b, Direction::Asc));
                    assert_eq!(up_a.cmp(&up_b), compare(&ty, a, b), "{ty}: {a:?} and {b:?}");
                    if !a.is_null() && !b.is_null() {
                        let (down_a, down_b) = (encode(&ty, a, Direction::Desc), encode(&ty, b, Direction::Desc));
                        assert_eq!(down_b.cmp(&down_a), compare(&ty, a, b), "{ty} descending: {a:?} and {b:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn prefix_free() {
        for (ty, values) in samples() {
            for direction in [Direction::Asc, Direction::Desc] {
                let all: Vec<Vec<u8>> = values.iter().map(|value| encode(&ty, value, direction)).collect();
                for a in &all {
                    assert!(all.iter().all(|b| a == b || !b.starts_with(a)), "{ty}");
                }
            }
        }
    }

    #[test]
    fn keys_come_back() {
        for (ty, values) in samples() {
            for direction in [Direction::Asc, Direction::Desc] {
                for value in values.iter().chain([&Datum::Null]) {
                    let mut bytes = encode(&ty, value, direction);
                    bytes.push(0x77);
                    let mut rest = bytes.as_slice();
                    let back = decode_key(&mut rest, &ty, direction, NullsOrder::Last).unwrap();
                    assert_eq!(rest, [0x77], "{ty} {value:?}");
                    assert_eq!(encode(&ty, &back, direction), bytes[..bytes.len() - 1], "{ty} {value:?} as {back:?}");
                }
            }
        }
    }

    #[test]
    fn golden_keys() {
        assert_eq!(encode(&SqlType::Int4, &Datum::Int(1), Direction::Asc).len(), 3);
        assert_eq!(encode(&SqlType::Text, &Datum::text("a\0"), Direction::Asc), b"\x80a\0\xff\0\x01");
        assert_eq!(encode(&SqlType::Int4, &Datum::Null, Direction::Asc), [0xfe]);
        let one = encode(&SqlType::Int4, &Datum::Int(1), Direction::Asc)[1..].to_vec();
        let key = |ty: SqlType, text: &str| encode(&ty, &ranges(ty, &[text]).1[0], Direction::Asc);
        let (range, multirange) = (SqlType::Range(RangeType::Int4), SqlType::MultiRange(RangeType::Int4));
        assert_eq!(key(range, "empty"), [0x80, 1]);
        assert_eq!(key(range, "(,1)"), [&[0x80, 2, 1, 2][..], &one, &[1]].concat());
        assert_eq!(key(range, "[1,)"), [&[0x80, 2, 2][..], &one, &[1, 3]].concat());
        assert_eq!(key(multirange, "{}"), [0x80, 1]);
        assert_eq!(key(multirange, "{[1,)}"), [&[0x80, 2, 2, 2][..], &one, &[1, 3, 1]].concat());
    }

    /// Int4 and numeric.
    fn pair_type() -> SqlType {
        let attribute = |id, name: &str, ty| crate::Attribute { id: keys::ColumnId::new(id), name: name.into(), ty };
        let list = vec![attribute(1, "a", SqlType::Int4), attribute(2, "b", SqlType::NUMERIC)];
        SqlType::Composite(CompositeType::make(32_000, "public", "pair", "_pair", list))
    }

    /// NULLs at the end are left out, so that keys from before an attribute was added are those of today's values.
    #[test]
    fn golden_keys_of_rows() {
        let one = encode(&SqlType::Int4, &Datum::Int(1), Direction::Asc);
        let key = |text: &str| {
            let ty = pair_type();
            encode(&ty, &crate::parse_text(&ty, text, &crate::Formatting::default()).unwrap(), Direction::Asc)
        };
        assert_eq!(key("(,)"), [0x80, 0xff]);
        assert_eq!(key("(1,)"), [&[0x80][..], &one, &[0xff]].concat());
        assert_eq!(key("(,0)"), [0x80, 0xfe, 0x80, 3, 0xff]);
        let attribute = crate::Attribute { id: keys::ColumnId::new(1), name: "a".into(), ty: SqlType::Int4 };
        let before = SqlType::Composite(CompositeType::make(32_000, "public", "pair", "_pair", vec![attribute]));
        assert_eq!(encode(&before, &Datum::Record([Datum::Int(1)].into()), Direction::Asc), key("(1,)"));
    }

    /// The calendar's ends: a month counts 30 days in a key, so days carry into months there.
    #[test]
    fn intervals_at_their_limits_come_back_as_keys() {
        let ends32 = [i32::MIN, -1, 0, 29, 30, i32::MAX];
        for months in ends32 {
            for days in ends32 {
                for micros in [i64::MIN, -1, 0, 86_400_000_000, i64::MAX] {
                    let datum = Datum::Interval(Interval { months, days, micros });
                    for direction in [Direction::Asc, Direction::Desc] {
                        let bytes = encode(&SqlType::Interval, &datum, direction);
                        let mut rest = bytes.as_slice();
                        let back = decode_key(&mut rest, &SqlType::Interval, direction, NullsOrder::Last)
                            .unwrap_or_else(|error| panic!("{datum:?}: {error}"));
                        assert!(rest.is_empty());
                        assert_eq!(compare(&SqlType::Interval, &back, &datum), std::cmp::Ordering::Equal, "{datum:?}");
                    }
                }
            }
        }
    }

    use proptest::prelude::*;

    fn any_numeric() -> impl Strategy<Value = Datum> {
        let text = (any::<bool>(), "[0-9]{1,24}", prop::option::of("[0-9]{1,12}"), -8_i32..9).prop_map(
            |(negative, whole, fraction, exponent)| {
                let fraction = fraction.unwrap_or_default();
                format!("{}{whole}.{fraction}0e{exponent}", if negative { "-" } else { "" })
            },
        );
        prop_oneof![20 => text, 1 => Just("NaN".to_owned()), 1 => Just("-Infinity".to_owned()), 2 => Just("0.00".to_owned())]
            .prop_map(|text| Datum::Numeric(Numeric::parse(&text).unwrap()))
    }

    fn any_int() -> impl Strategy<Value = i64> {
        prop_oneof![any::<i64>(), -300..300_i64]
    }

    /// Pairs of one type, often close to each other.
    fn any_pair() -> impl Strategy<Value = (SqlType, Datum, Datum)> {
        fn pair(
            ty: SqlType,
            one: impl Strategy<Value = Datum> + Clone + 'static,
        ) -> BoxedStrategy<(SqlType, Datum, Datum)> {
            let nullable = prop_oneof![15 => one, 1 => Just(Datum::Null)].boxed();
            (nullable.clone(), nullable).prop_map(move |(a, b)| (ty, a, b)).boxed()
        }
        let interval = (-3..3_i32, -70..70_i32, -90_000_000_000..90_000_000_000_i64)
            .prop_map(|(months, days, micros)| Datum::Interval(Interval { months, days, micros }))
            .boxed();
        let timetz = (0..86_400_000_000_i64, -57_600..57_600_i32)
            .prop_map(|(micros, west)| Datum::TimeTz(TimeTz { micros, west }))
            .boxed();
        let float = prop_oneof![any::<f64>(), -2.0..2.0_f64, Just(-0.0), Just(0.0)].prop_map(Datum::Float).boxed();
        let text = "[\\x00ab\u{ff}é]{0,4}".prop_map(|text: String| Datum::text(text)).boxed();
        let bytes = prop::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(255), any::<u8>()], 0..4)
            .prop_map(Datum::bytes)
            .boxed();
        let element = prop_oneof![3 => (-2..3_i64).prop_map(Datum::Int), 1 => Just(Datum::Null)];
        let array = prop::collection::vec(element, 0..4)
            .prop_map(|items| Datum::Array(Arc::new(Array::from_elements(items))))
            .boxed();
        let field = prop_oneof![3 => (-2..3_i64).prop_map(Some), 1 => Just(None)];
        let row = (field.clone(), field)
            .prop_map(|(a, b)| {
                let b = b.map_or(Datum::Null, |b| Datum::Numeric(Numeric::from_i64(b)));
                Datum::Record([a.map_or(Datum::Null, Datum::Int), b].into())
            })
            .boxed();
        let range = |of: RangeType| {
            let end = (prop::option::weighted(0.9, -2..3_i64), any::<bool>());
            (end.clone(), end).prop_map(move |((low, low_in), (high, high_in))| {
                let (low, high) = if low.zip(high).is_some_and(|(low, high)| low > high) { (high, low) } else { (low, high) };
                let value = |it: i64| if of == RangeType::Int4 { Datum::Int(it) } else { Datum::Numeric(Numeric::from_i64(it)) };
                of.make(Bound::new(low.map(value), low_in), Bound::new(high.map(value), high_in)).unwrap()
            })
        };
        let several = prop::collection::vec(range(RangeType::Numeric), 0..4)
            .prop_map(|ranges| Datum::multirange(RangeType::Numeric.normalize(ranges)))
            .boxed();
        prop_oneof![
            pair(SqlType::Range(RangeType::Int4), range(RangeType::Int4).prop_map(Datum::range).boxed()),
            pair(SqlType::Range(RangeType::Numeric), range(RangeType::Numeric).prop_map(Datum::range).boxed()),
            pair(SqlType::MultiRange(RangeType::Numeric), several),
            pair(SqlType::Int8, any_int().prop_map(Datum::Int).boxed()),
            pair(SqlType::TIMESTAMP, any_int().prop_map(Datum::Timestamp).boxed()),
            pair(SqlType::NUMERIC, any_numeric().boxed()),
            pair(SqlType::Interval, interval),
            pair(SqlType::TIMETZ, timetz),
            pair(SqlType::Float8, float),
            pair(SqlType::Text, text),
            pair(SqlType::Bytea, bytes),
            pair(SqlType::INT4_ARRAY, array),
            pair(pair_type(), row),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn order_agrees_and_prefix_free_for_any_pair((ty, a, b) in any_pair()) {
            let (up_a, up_b) = (encode(&ty, &a, Direction::Asc), encode(&ty, &b, Direction::Asc));
            prop_assert_eq!(up_a.cmp(&up_b), compare(&ty, &a, &b), "order-agrees");
            prop_assert!(up_a == up_b || !up_b.starts_with(&up_a), "prefix-free");
            if !a.is_null() && !b.is_null() {
                let (down_a, down_b) = (encode(&ty, &a, Direction::Desc), encode(&ty, &b, Direction::Desc));
                prop_assert_eq!(down_b.cmp(&down_a), compare(&ty, &a, &b), "order-agrees, descending");
            }
            let mut rest = up_a.as_slice();
            let back = decode_key(&mut rest, &ty, Direction::Asc, NullsOrder::Last).unwrap();
            prop_assert!(rest.is_empty());
            prop_assert_eq!(encode(&ty, &back, Direction::Asc), up_a);
        }

        #[test]
        fn damaged_keys_are_errors_or_values(bytes in prop::collection::vec(any::<u8>(), 0..40), (ty, ..) in any_pair()) {
            for direction in [Direction::Asc, Direction::Desc] {
                let mut bytes = bytes.clone();
                if let Some(first) = bytes.first_mut() {
                    *first = 0x80;
                }
                let _either = decode_key(&mut bytes.as_slice(), &ty, direction, NullsOrder::Last);
            }
        }
    }
}
