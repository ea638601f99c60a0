//! PostgreSQL's binary formats (its `typsend` and `typreceive` functions).

use std::sync::Arc;

use crate::{
    Array, CompositeType, Datum, Dimension, Interval, Json, Numeric, Range, RangeType, SqlError, SqlResult, SqlState, SqlType,
    datetime::{
        arithmetic::{is_infinite, is_infinite_date},
        calendar::{END_DATE, END_TIMESTAMP, FIRST_DAY, FIRST_TIMESTAMP, MICROS_PER_DAY},
    },
    datum::TimeTz,
    bits::Bits,
    geometry::Geometry,
    jsonpath::JsonPath,
    text_search::{TsQuery, TsVector},
    network::{parse_binary_inet, write_binary_inet},
    unsigned::to_unsigned,
    text::{field_type, range_subtype},
    error::raise,
};

fn wrong_length(ty: &SqlType) -> SqlError {
    SqlError::new(SqlState::InvalidBinaryRepresentation, format!("incorrect binary data format for type {ty}"))
}

fn fixed<const N: usize>(ty: &SqlType, input: &[u8]) -> SqlResult<[u8; N]> {
    input.try_into().map_err(|_| wrong_length(ty))
}

fn utf8<'a>(input: &'a [u8]) -> SqlResult<&'a str> {
    let text = std::str::from_utf8(input).map_err(|_| {
        SqlError::new(SqlState::CharacterNotInRepertoire, "invalid byte sequence for encoding \"UTF8\"")
    })?;
    if text.contains('\0') {
        return Err(SqlError::new(
            SqlState::CharacterNotInRepertoire,
            "invalid byte sequence for encoding \"UTF8\": 0x00",
        ));
    }
    Ok(text)
}

/// Reads a value as a client sends it in binary format.
///
/// # Errors
/// 22P03 for bytes of the wrong length or form.
pub fn parse_binary(ty: &SqlType, input: &[u8]) -> SqlResult<Datum> {
    Ok(match ty {
        SqlType::Bool => Datum::Bool(fixed::<1>(ty, input)?[0] != 0),
        SqlType::Int2 => Datum::Int(i64::from(i16::from_be_bytes(fixed(ty, input)?))),
        SqlType::Int4 => Datum::Int(i64::from(i32::from_be_bytes(fixed(ty, input)?))),
        SqlType::Int8 => Datum::Int(i64::from_be_bytes(fixed(ty, input)?)),
        SqlType::Float4 => Datum::Float(f64::from(f32::from_be_bytes(fixed(ty, input)?))),
        SqlType::Float8 => Datum::Float(f64::from_be_bytes(fixed(ty, input)?)),
        SqlType::Numeric(_) => Datum::Numeric(Numeric::parse_binary(input)?),
        SqlType::Bytea => Datum::bytes(input),
        SqlType::Date => Datum::Date(valid_date(i32::from_be_bytes(fixed(ty, input)?))?),
        SqlType::Time(_) => Datum::Time(valid_time(i64::from_be_bytes(fixed(ty, input)?))?),
        SqlType::Timestamp(_) => Datum::Timestamp(valid_timestamp(i64::from_be_bytes(fixed(ty, input)?))?),
        SqlType::TimestampTz(_) => Datum::TimestampTz(valid_timestamp(i64::from_be_bytes(fixed(ty, input)?))?),
        SqlType::TimeTz(_) => {
            let bytes: [u8; 12] = fixed(ty, input)?;
            let (micros, west) = bytes.split_at(8);
            let west = i32::from_be_bytes(west.try_into().expect("four bytes"));
            if west.unsigned_abs() >= ZONE_END_SECONDS {
                return Err(SqlError::new(
                    SqlState::InvalidTimeZoneDisplacementValue,
                    "time zone displacement out of range",
                ));
            }
            let micros = valid_time(i64::from_be_bytes(micros.try_into().expect("eight bytes")))?;
            Datum::TimeTz(TimeTz { micros, west })
        }
        SqlType::Interval => {
            let bytes: [u8; 16] = fixed(ty, input)?;
            Datum::Interval(Interval {
                micros: i64::from_be_bytes(bytes[..8].try_into().expect("eight bytes")),
                days: i32::from_be_bytes(bytes[8..12].try_into().expect("four bytes")),
                months: i32::from_be_bytes(bytes[12..].try_into().expect("four bytes")),
            })
        }
        SqlType::Uuid => Datum::Uuid(fixed(ty, input)?),
        SqlType::Inet | SqlType::Cidr => Datum::Inet(parse_binary_inet(input, *ty == SqlType::Cidr)?),
        SqlType::MacAddr => Datum::MacAddr(fixed(ty, input)?),
        SqlType::MacAddr8 => Datum::MacAddr8(match *input {
            [a, b, c, d, e, f] => [a, b, c, 0xff, 0xfe, d, e, f],
            _ => fixed(ty, input)?,
        }),
        SqlType::Bit(length) | SqlType::VarBit(length) => {
            let bits = Bits::parse_binary(input)?;
            let varying = matches!(ty, SqlType::VarBit(_));
            Datum::bits(match length {
                Some(length) => bits.fitted(*length, varying, false)?,
                None => bits,
            })
        }
        SqlType::TsVector => Datum::tsvector(TsVector::parse_binary(input)?),
        SqlType::TsQuery => Datum::tsquery(TsQuery::parse_binary(input)?),
        SqlType::Money => Datum::Int(i64::from_be_bytes(fixed(ty, input)?)),
        SqlType::PgLsn | SqlType::Xid8 => Datum::from_unsigned(u64::from_be_bytes(fixed(ty, input)?)),
        geometric if geometric.is_geometric() => Datum::geometry(Geometry::parse_binary(geometric, input)?),
        SqlType::Json => {
            let text = utf8(input)?;
            crate::json::validate(text)?;
            Datum::Json(text.into())
        }
        SqlType::Jsonb => match input.split_first() {
            Some((1, text)) => Datum::Jsonb(Arc::new(Json::parse(utf8(text)?)?)),
            _ => return Err(wrong_length(ty)),
        },
        SqlType::JsonPath => match input.split_first() {
            Some((1, text)) => Datum::JsonPath(Arc::new(JsonPath::parse(utf8(text)?)?)),
            _ => return Err(wrong_length(ty)),
        },
        SqlType::Enum(of) => of.parse(utf8(input)?)?,
        SqlType::Domain(_) => parse_binary(&ty.base(), input)?,
        SqlType::Composite(of) => parse_record(*of, input)?,
        SqlType::Void => Datum::Null,
        SqlType::Range(of) => Datum::range(parse_range(ty, *of, input)?),
        SqlType::MultiRange(of) => Datum::multirange(parse_multirange(ty, *of, input)?),
        SqlType::Array(_) | SqlType::Int2Vector | SqlType::OidVector => parse_array(ty, input)?,
        SqlType::Oid | SqlType::Xid => Datum::Int(i64::from(u32::from_be_bytes(fixed(ty, input)?))),
        reg if reg.is_reg() => Datum::Int(i64::from(u32::from_be_bytes(fixed(ty, input)?))),
        // One byte always: a zero is the empty value.
        SqlType::QuotedChar if input == [0] => Datum::text(""),
        text if text.is_string()
            || matches!(text, SqlType::Name | SqlType::QuotedChar | SqlType::Unknown) =>
        {
            Datum::text(utf8(input)?)
        }
        _ => return Err(SqlError::not_supported(format!("binary input of type {ty}"))),
    })
}

/// Sixteen hours.
const ZONE_END_SECONDS: u32 = 16 * 3600;

fn valid_date(days: i32) -> SqlResult<i32> {
    let is_valid = is_infinite_date(days) || (FIRST_DAY..END_DATE).contains(&i64::from(days));
    if is_valid { Ok(days) } else { Err(raise::datetime_out_of_range("date")) }
}

fn valid_time(micros: i64) -> SqlResult<i64> {
    let is_valid = (0..=MICROS_PER_DAY).contains(&micros);
    if is_valid { Ok(micros) } else { Err(raise::datetime_out_of_range("time")) }
}

fn valid_timestamp(micros: i64) -> SqlResult<i64> {
    let is_valid = is_infinite(micros) || (FIRST_TIMESTAMP..END_TIMESTAMP).contains(&micros);
    if is_valid { Ok(micros) } else { Err(raise::datetime_out_of_range("timestamp")) }
}

fn parse_array(ty: &SqlType, input: &[u8]) -> SqlResult<Datum> {
    let element = ty.element().ok_or_else(|| wrong_length(ty))?;
    let mut rest = input;
    let take = |rest: &mut &[u8]| -> SqlResult<i32> {
        let (head, tail) = rest.split_at_checked(4).ok_or_else(|| wrong_length(ty))?;
        *rest = tail;
        Ok(i32::from_be_bytes(head.try_into().expect("four bytes were split off")))
    };
    let count = take(&mut rest)?;
    let _has_nulls = take(&mut rest)?;
    let element_oid = take(&mut rest)?;
    if element_oid as u32 != element.oid() {
        return Err(SqlError::new(
            SqlState::InvalidBinaryRepresentation,
            format!("wrong element type {} of an array of {element}", element_oid as u32),
        ));
    }
    if !(0..=6).contains(&count) {
        return Err(wrong_length(ty));
    }
    let mut dimensions = Vec::new();
    let mut total: usize = if count == 0 { 0 } else { 1 };
    for _ in 0..count {
        let length = take(&mut rest)?;
        let lower_bound = take(&mut rest)?;
        let size = usize::try_from(length).map_err(|_| wrong_length(ty))?;
        total = total.checked_mul(size).ok_or_else(|| wrong_length(ty))?;
        dimensions.push(Dimension { length: length.try_into().map_err(|_| wrong_length(ty))?, lower_bound });
    }
    // Each element takes four bytes at least: no memory is taken for more than can be there.
    if total > rest.len() / 4 {
        return Err(wrong_length(ty));
    }
    let mut elements = Vec::with_capacity(total);
    for _ in 0..total {
        let length = take(&mut rest)?;
        if length < 0 {
            elements.push(Datum::Null);
            continue;
        }
        let (bytes, tail) = rest.split_at_checked(length as usize).ok_or_else(|| wrong_length(ty))?;
        rest = tail;
        elements.push(parse_binary(&element, bytes)?);
    }
    Ok(Datum::Array(Arc::new(Array::with_dimensions(&dimensions, elements)?)))
}

/// Appends a value as a client reads it in binary format; nothing for NULL.
pub fn write_binary(ty: &SqlType, datum: &Datum, out: &mut Vec<u8>) {
    match (datum, ty) {
        (Datum::Null, _) => {}
        (Datum::Bool(value), _) => out.push(u8::from(*value)),
        (Datum::Int(value), SqlType::Int2) => out.extend_from_slice(&(*value as i16).to_be_bytes()),
        (Datum::Int(value), SqlType::Int8 | SqlType::Money) => out.extend_from_slice(&value.to_be_bytes()),
        (Datum::Int(value), SqlType::PgLsn | SqlType::Xid8) => {
            out.extend_from_slice(&to_unsigned(*value).to_be_bytes());
        }
        (Datum::Int(value), _) => out.extend_from_slice(&(*value as u32).to_be_bytes()),
        (Datum::Float(value), SqlType::Float4) => out.extend_from_slice(&(*value as f32).to_be_bytes()),
        (Datum::Float(value), _) => out.extend_from_slice(&value.to_be_bytes()),
        (Datum::Numeric(value), _) => value.write_binary(out),
        (Datum::Text(text), SqlType::QuotedChar) if text.is_empty() => out.push(0),
        (Datum::Text(text) | Datum::Json(text), _) => out.extend_from_slice(text.as_bytes()),
        (Datum::Enum(value), ty) => out.extend_from_slice(value.text_as(ty).as_bytes()),
        (Datum::Bytes(bytes), _) => out.extend_from_slice(bytes),
        (Datum::Date(days), _) => out.extend_from_slice(&days.to_be_bytes()),
        (Datum::Time(micros) | Datum::Timestamp(micros) | Datum::TimestampTz(micros), _) => {
            out.extend_from_slice(&micros.to_be_bytes());
        }
        (Datum::TimeTz(time), _) => {
            out.extend_from_slice(&time.micros.to_be_bytes());
            out.extend_from_slice(&time.west.to_be_bytes());
        }
        (Datum::Interval(interval), _) => {
            out.extend_from_slice(&interval.micros.to_be_bytes());
            out.extend_from_slice(&interval.days.to_be_bytes());
            out.extend_from_slice(&interval.months.to_be_bytes());
        }
        (Datum::Uuid(bytes), _) => out.extend_from_slice(bytes),
        (Datum::MacAddr(bytes), _) => out.extend_from_slice(bytes),
        (Datum::MacAddr8(bytes), _) => out.extend_from_slice(bytes),
        (Datum::Bits(bits), _) => bits.write_binary(out),
        (Datum::Geometry(geometry), _) => geometry.write_binary(out),
        (Datum::TsVector(vector), _) => vector.write_binary(out),
        (Datum::TsQuery(query), _) => query.write_binary(out),
        (Datum::JsonPath(path), _) => {
            out.push(1);
            path.write(out);
        }
        (Datum::Inet(inet), _) => write_binary_inet(inet, *ty == SqlType::Cidr, out),
        (Datum::Jsonb(json), _) => {
            out.push(1);
            json.write(out);
        }
        (Datum::Array(array), _) => write_array(ty, array, out),
        (Datum::Range(range), _) => write_range(&range_subtype(ty, range), range, out),
        (Datum::MultiRange(ranges), _) => write_multirange(ty, ranges, out),
        (Datum::Record(fields), _) => write_record(ty, fields, out),
    }
}

fn write_array(ty: &SqlType, array: &Array, out: &mut Vec<u8>) {
    let element = ty.element().unwrap_or(SqlType::Text);
    out.extend_from_slice(&(array.dimensions().len() as i32).to_be_bytes());
    let has_nulls = array.elements().iter().any(Datum::is_null);
    out.extend_from_slice(&i32::from(has_nulls).to_be_bytes());
    out.extend_from_slice(&element.oid().to_be_bytes());
    for dimension in array.dimensions() {
        out.extend_from_slice(&(dimension.length as i32).to_be_bytes());
        out.extend_from_slice(&dimension.lower_bound.to_be_bytes());
    }
    for datum in array.elements() {
        write_sized(&element.base(), datum, out);
    }
}

/// Flags, then the bounds that have a value, each behind its length.
fn write_range(subtype: &SqlType, range: &Range, out: &mut Vec<u8>) {
    out.push(range.flags());
    range.values().for_each(|value| write_sized(subtype, value, out));
}

fn write_multirange(ty: &SqlType, ranges: &[Range], out: &mut Vec<u8>) {
    out.extend_from_slice(&(ranges.len() as i32).to_be_bytes());
    for range in ranges {
        let length_at = begin_sized(out);
        write_range(&range_subtype(ty, range), range, out);
        end_sized(length_at, out);
    }
}

/// Where the types of a record's fields are not known, each is shown as the widest it can have.
fn write_record(ty: &SqlType, fields: &[Datum], out: &mut Vec<u8>) {
    let row_type = ty.row_type();
    out.extend_from_slice(&(fields.len() as i32).to_be_bytes());
    for (at, datum) in fields.iter().enumerate() {
        let declared = ty.composite().and_then(|of| of.attributes().get(at)).map(|attribute| attribute.ty);
        let ty = field_type(row_type.as_deref(), at, datum);
        out.extend_from_slice(&declared.unwrap_or(ty).oid().to_be_bytes());
        write_sized(&ty, datum, out);
    }
}

/// How many fields there are, and of each its type and its value behind its length.
fn parse_record(of: CompositeType, input: &[u8]) -> SqlResult<Datum> {
    let ty = SqlType::Composite(of);
    let mut rest = input;
    let number = |rest: &mut &[u8]| -> SqlResult<i32> {
        let (head, tail) = rest.split_first_chunk::<4>().ok_or_else(|| wrong_length(&ty))?;
        *rest = tail;
        Ok(i32::from_be_bytes(*head))
    };
    let mismatch = |message: String| SqlError::new(SqlState::DatatypeMismatch, message);
    let (count, wanted) = (number(&mut rest)?, of.attributes());
    if usize::try_from(count) != Ok(wanted.len()) {
        return Err(mismatch(format!("wrong number of columns: {count}, expected {}", wanted.len())));
    }
    let mut fields = Vec::with_capacity(wanted.len());
    for (at, attribute) in wanted.iter().enumerate() {
        let oid = number(&mut rest)? as u32;
        // Clients are told of domains, and may take them for what is under them.
        if oid != attribute.ty.oid() && oid != attribute.ty.sent().oid() {
            let (expected, shown, place) = (attribute.ty.oid(), attribute.ty.base_name(), at + 1);
            let given = SqlType::from_oid(oid, -1).map_or_else(|| "???".to_owned(), |ty| ty.base_name());
            return Err(mismatch(format!(
                "binary data has type {oid} ({given}) instead of expected {expected} ({shown}) in record column {place}"
            )));
        }
        if rest.starts_with(&(-1_i32).to_be_bytes()) {
            rest = &rest[4..];
            fields.push(Datum::Null);
        } else {
            fields.push(parse_binary(&of.field_type(at), take_sized(&ty, &mut rest)?)?);
        }
    }
    if rest.is_empty() { Ok(Datum::Record(fields.into())) } else { Err(wrong_length(&ty)) }
}

/// A value behind its length; -1 for NULL.
fn write_sized(ty: &SqlType, datum: &Datum, out: &mut Vec<u8>) {
    if datum.is_null() {
        out.extend_from_slice(&(-1_i32).to_be_bytes());
        return;
    }
    let length_at = begin_sized(out);
    write_binary(ty, datum, out);
    end_sized(length_at, out);
}

/// Leaves room for a length.
fn begin_sized(out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(&[0; 4]);
    out.len() - 4
}

/// Puts the length of what was written since.
fn end_sized(length_at: usize, out: &mut [u8]) {
    let length = (out.len() - length_at - 4) as i32;
    out[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
}

/// Bytes behind their length.
fn take_sized<'a>(ty: &SqlType, rest: &mut &'a [u8]) -> SqlResult<&'a [u8]> {
    let (length, tail) = rest.split_first_chunk::<4>().ok_or_else(|| wrong_length(ty))?;
    let length = usize::try_from(i32::from_be_bytes(*length)).map_err(|_| wrong_length(ty))?;
    let (bytes, tail) = tail.split_at_checked(length).ok_or_else(|| wrong_length(ty))?;
    *rest = tail;
    Ok(bytes)
}

fn parse_range(ty: &SqlType, of: RangeType, input: &[u8]) -> SqlResult<Range> {
    let (flags, mut rest) = input.split_first().ok_or_else(|| wrong_length(ty))?;
    let subtype = of.subtype();
    let range = Range::from_flags(*flags, |()| parse_binary(&subtype, take_sized(ty, &mut rest)?))?;
    if !rest.is_empty() {
        return Err(wrong_length(ty));
    }
    match range {
        Range::Empty => Ok(Range::Empty),
        Range::Span { lower, upper } => of.make(lower, upper),
    }
}

fn parse_multirange(ty: &SqlType, of: RangeType, input: &[u8]) -> SqlResult<Vec<Range>> {
    let (count, mut rest) = input.split_first_chunk::<4>().ok_or_else(|| wrong_length(ty))?;
    let count = u32::from_be_bytes(*count) as usize;
    // Each takes five bytes at least: no memory is taken for more than can be there.
    if count > rest.len() / 5 {
        return Err(wrong_length(ty));
    }
    let ranges = (0..count).map(|_| parse_range(ty, of, take_sized(ty, &mut rest)?)).collect::<SqlResult<Vec<_>>>()?;
    if rest.is_empty() { Ok(of.normalize(ranges)) } else { Err(wrong_length(ty)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back() {
        let cases = [
            (SqlType::Int2, Datum::Int(-2), 2),
            (SqlType::Int4, Datum::Int(-2), 4),
            (SqlType::Int8, Datum::Int(-2), 8),
            (SqlType::Oid, Datum::Int(4_000_000_000), 4),
            (SqlType::Float4, Datum::Float(1.5), 4),
            (SqlType::Float8, Datum::Float(1.5), 8),
            (SqlType::Text, Datum::text("hé"), 3),
            (SqlType::QuotedChar, Datum::text("c"), 1),
            (SqlType::QuotedChar, Datum::text(""), 1),
            (SqlType::Bool, Datum::Bool(true), 1),
            (SqlType::NUMERIC, Datum::Numeric(Numeric::parse("-12345.670").unwrap()), 14),
            (SqlType::TIMESTAMP, Datum::Timestamp(77), 8),
            (SqlType::Interval, Datum::Interval(Interval { months: 1, days: 2, micros: 3 }), 16),
            (SqlType::Uuid, Datum::Uuid([9; 16]), 16),
            (SqlType::MacAddr8, Datum::MacAddr8([9; 8]), 8),
            (SqlType::VARBIT, Datum::bits(Bits::parse("101101011").unwrap()), 6),
            (SqlType::Money, Datum::Int(-7), 8),
            (SqlType::PgLsn, Datum::from_unsigned(7), 8),
            (SqlType::Xid8, Datum::from_unsigned(u64::MAX), 8),
            (SqlType::Point, Datum::geometry(Geometry::parse(&SqlType::Point, "(1,2)").unwrap()), 16),
            (SqlType::Line, Datum::geometry(Geometry::parse(&SqlType::Line, "{1,2,3}").unwrap()), 24),
            (SqlType::Path, Datum::geometry(Geometry::parse(&SqlType::Path, "[(1,2),(3,4)]").unwrap()), 37),
            (SqlType::Polygon, Datum::geometry(Geometry::parse(&SqlType::Polygon, "((1,2),(3,4))").unwrap()), 36),
            (SqlType::Circle, Datum::geometry(Geometry::parse(&SqlType::Circle, "<(1,2),3>").unwrap()), 24),
            (
                SqlType::INT4_ARRAY,
                Datum::Array(Arc::new(Array::from_elements(vec![Datum::Int(1), Datum::Null]))),
                32,
            ),
        ];
        for (ty, datum, length) in cases {
            let mut out = Vec::new();
            write_binary(&ty, &datum, &mut out);
            assert_eq!(out.len(), length, "{ty}");
            assert_eq!(parse_binary(&ty, &out).unwrap(), datum, "{ty}");
            if length > 3 {
                assert!(parse_binary(&ty, &out[..length - 1]).is_err(), "{ty} cut short");
            }
        }
    }

    #[test]
    fn moments_out_of_range_are_refused() {
        for (ty, bytes) in [
            (SqlType::Date, &i32::MAX.wrapping_sub(5).to_be_bytes()[..]),
            (SqlType::TIMESTAMP, &(i64::MAX - 5).to_be_bytes()),
            (SqlType::TIMESTAMPTZ, &(i64::MIN + 5).to_be_bytes()),
            (SqlType::TIME, &(-1_i64).to_be_bytes()),
            (SqlType::TIMETZ, &[0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 0, 0, 0]),
        ] {
            assert!(parse_binary(&ty, bytes).is_err(), "{ty}");
        }
        assert_eq!(parse_binary(&SqlType::TIMESTAMP, &i64::MAX.to_be_bytes()).unwrap(), Datum::Timestamp(i64::MAX));
        let mut record = Vec::new();
        write_binary(&SqlType::RECORD, &Datum::Record(Arc::from([Datum::text("a"), Datum::Null])), &mut record);
        assert_eq!(record, b"\0\0\0\x02\0\0\0\x19\0\0\0\x01a\0\0\x02\xc1\xff\xff\xff\xff");
    }

    #[test]
    fn an_array_that_claims_too_much_takes_no_memory() {
        let mut bytes = Vec::new();
        for field in [1_i32, 0, 23, i32::MAX, 1] {
            bytes.extend_from_slice(&field.to_be_bytes());
        }
        assert!(parse_binary(&SqlType::INT4_ARRAY, &bytes).is_err());
    }
}
