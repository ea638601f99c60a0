//! Rows as text. Where the types of the fields are not known, they are those that their datums imply.

use std::sync::Arc;

use crate::datum::Datum;
use crate::error::{SqlError, SqlResult, SqlState};
use crate::formatting::Formatting;
use crate::range::Range;
use crate::range_type::RangeType;
use crate::row_type::RowType;
use crate::sql_type::SqlType;

use super::{blank, parse_text, write_text};

/// No record's text is longer: while it is made it is held two or three times.
const TEXT_BYTES_MAX: u64 = 128 << 20;

/// The type of a record's field.
pub(crate) fn field_type(row_type: Option<&RowType>, at: usize, field: &Datum) -> SqlType {
    match row_type.and_then(|it| it.fields.get(at)) {
        Some((_, ty)) => *ty,
        None => field.implied_type(),
    }
}

/// Puts what was written from `start` on between quotes, those and backslashes in it doubled.
pub(super) fn quote_from(out: &mut Vec<u8>, start: usize) {
    let text = out.split_off(start);
    out.push(b'"');
    for byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.push(byte);
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// `(1,"a b",)`.
pub(super) fn write_record(ty: &SqlType, fields: &[Datum], formatting: &Formatting, out: &mut Vec<u8>) {
    let row_type = ty.row_type();
    out.push(b'(');
    for (i, field) in fields.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        if field.is_null() {
            continue;
        }
        let start = out.len();
        write_text(&field_type(row_type.as_deref(), i, field), field, formatting, out);
        let text = &out[start..];
        let must_quote = text.is_empty()
            || text.iter().any(|b| matches!(b, b'"' | b'\\' | b'(' | b')' | b',') || blank(*b as char));
        if must_quote {
            quote_from(out, start);
        }
    }
    out.push(b')');
}

/// How long the text of a value will be, and how many quotes and backslashes are in it: both about, and exact for the
/// records, whose quotes double with every record around them.
fn size_of_text(datum: &Datum) -> (u64, u64) {
    let of_str = |text: &str| {
        let special = text.bytes().filter(|byte| matches!(byte, b'"' | b'\\')).count();
        (text.len() as u64, special as u64)
    };
    match datum {
        Datum::Null => (0, 0),
        Datum::Text(text) | Datum::Json(text) => of_str(text),
        Datum::Enum(value) => of_str(value.text()),
        Datum::Bytes(bytes) => (2 * bytes.len() as u64 + 2, 1),
        Datum::Jsonb(json) => (json.heap_bytes() as u64, json.heap_bytes() as u64 / 8),
        Datum::Range(range) => size_of_bounds(std::slice::from_ref(&**range)),
        Datum::MultiRange(ranges) => size_of_bounds(ranges),
        Datum::Array(array) => size_of_quoted(array.elements().iter()),
        Datum::Record(fields) => fields.iter().fold((2, 0), |(length, special): (u64, u64), field| {
            let (own, own_special) = size_of_text(field);
            let is_quoted = matches!(field, Datum::Record(_) | Datum::Array(_) | Datum::Range(_) | Datum::MultiRange(_)) || own_special > 0;
            let quotes = if is_quoted { 2 } else { 0 };
            (
                length.saturating_add(own).saturating_add(own_special).saturating_add(quotes + 1),
                special.saturating_add(own_special.saturating_mul(2)).saturating_add(quotes),
            )
        }),
        _ => (16, 0),
    }
}

fn size_of_bounds(ranges: &[Range]) -> (u64, u64) {
    size_of_quoted(ranges.iter().flat_map(Range::values))
}

/// Of values within one, whose quotes it doubles.
fn size_of_quoted<'d>(values: impl Iterator<Item = &'d Datum>) -> (u64, u64) {
    values.fold((2, 0), |(length, special): (u64, u64), value| {
        let (own, own_special) = size_of_text(value);
        (
            length.saturating_add(own).saturating_add(own_special).saturating_add(4),
            special.saturating_add(own_special.saturating_mul(2)).saturating_add(2),
        )
    })
}

/// Whether a value's text may be made: quotes within records, ranges and arrays double with every level.
///
/// # Errors
/// 54000 when it would be longer than [`TEXT_BYTES_MAX`].
pub fn check_text_size(datum: &Datum) -> SqlResult<()> {
    let has_quotes_of_its_own = |datum: &Datum| matches!(datum, Datum::Record(_) | Datum::Range(_) | Datum::MultiRange(_));
    let may_double = match datum {
        Datum::Array(array) => array.elements().iter().find(|it| !it.is_null()).is_some_and(has_quotes_of_its_own),
        datum => has_quotes_of_its_own(datum),
    };
    if !may_double {
        return Ok(());
    }
    let (length, _) = size_of_text(datum);
    if length <= TEXT_BYTES_MAX {
        return Ok(());
    }
    Err(SqlError::new(SqlState::ProgramLimitExceeded, "out of memory")
        .with_detail(format!("The text of a record can have at most {TEXT_BYTES_MAX} bytes.")))
}

/// Reads a row as it is written: a field that is empty and not quoted is NULL.
pub(super) fn parse_record(row_type: &RowType, input: &str, formatting: &Formatting) -> SqlResult<Datum> {
    let malformed = |detail: &str| {
        let message = format!("malformed record literal: \"{input}\"");
        SqlError::new(SqlState::InvalidTextRepresentation, message).with_detail(detail)
    };
    let text = input.trim_matches(blank);
    let inner = text.strip_prefix('(').ok_or_else(|| malformed("Missing left parenthesis."))?;
    let mut chars = inner.chars().peekable();
    let mut fields = Vec::with_capacity(row_type.fields.len());
    let mut raw: Vec<Option<String>> = Vec::new();
    let mut is_open = !row_type.fields.is_empty() || !inner.starts_with(')');
    if !is_open {
        chars.next();
    }
    while is_open {
        let mut field: Option<String> = None;
        let mut quoted = false;
        loop {
            match chars.next().ok_or_else(|| malformed("Unexpected end of input."))? {
                ',' if !quoted => break,
                ')' if !quoted => {
                    is_open = false;
                    break;
                }
                '"' if quoted && chars.peek() == Some(&'"') => {
                    chars.next();
                    field.get_or_insert_default().push('"');
                }
                '"' => {
                    quoted = !quoted;
                    field.get_or_insert_default();
                }
                '\\' => {
                    let next = chars.next().ok_or_else(|| malformed("Unexpected end of input."))?;
                    field.get_or_insert_default().push(next);
                }
                other => field.get_or_insert_default().push(other),
            }
        }
        raw.push(field);
    }
    if chars.next().is_some() {
        return Err(malformed("Junk after right parenthesis."));
    }
    if raw.len() != row_type.fields.len() {
        let what = if raw.len() < row_type.fields.len() { "Too few columns." } else { "Too many columns." };
        return Err(malformed(what));
    }
    for (field, (_, ty)) in raw.iter().zip(&row_type.fields) {
        fields.push(match field {
            None => Datum::Null,
            Some(text) => parse_text(ty, text, formatting)?,
        });
    }
    Ok(Datum::Record(Arc::from(fields)))
}

/// The built-in type whose bounds these are like, if there is one.
fn implied_range(ranges: &[Range]) -> RangeType {
    match ranges.iter().flat_map(Range::values).next() {
        Some(Datum::Int(_)) => RangeType::Int8,
        Some(Datum::Timestamp(_)) => RangeType::Timestamp,
        Some(Datum::TimestampTz(_)) => RangeType::TimestampTz,
        Some(Datum::Date(_)) => RangeType::Date,
        _ => RangeType::Numeric,
    }
}

impl Datum {
    /// The widest type a datum of this variant can have: for fields of records, whose types are not kept.
    #[must_use]
    pub fn implied_type(&self) -> SqlType {
        match self {
            Self::Null => SqlType::Unknown,
            Self::Bool(_) => SqlType::Bool,
            Self::Int(_) => SqlType::Int8,
            Self::Float(_) => SqlType::Float8,
            Self::Numeric(_) => SqlType::NUMERIC,
            Self::Text(_) => SqlType::Text,
            Self::Bytes(_) => SqlType::Bytea,
            Self::Date(_) => SqlType::Date,
            Self::Time(_) => SqlType::TIME,
            Self::TimeTz(_) => SqlType::TIMETZ,
            Self::Timestamp(_) => SqlType::TIMESTAMP,
            Self::TimestampTz(_) => SqlType::TIMESTAMPTZ,
            Self::Interval(_) => SqlType::Interval,
            Self::Uuid(_) => SqlType::Uuid,
            Self::Json(_) => SqlType::Json,
            Self::Jsonb(_) => SqlType::Jsonb,
            Self::Array(array) => array
                .elements()
                .iter()
                .find(|element| !element.is_null())
                .map_or(SqlType::Text, Self::implied_type)
                .array_of(),
            Self::Record(_) => SqlType::RECORD,
            Self::Inet(_) => SqlType::Inet,
            Self::MacAddr(_) => SqlType::MacAddr,
            Self::MacAddr8(_) => SqlType::MacAddr8,
            Self::Bits(_) => SqlType::VARBIT,
            Self::Geometry(geometry) => geometry.sql_type(),
            Self::TsVector(_) => SqlType::TsVector,
            Self::TsQuery(_) => SqlType::TsQuery,
            Self::JsonPath(_) => SqlType::JsonPath,
            Self::Range(range) => SqlType::Range(implied_range(std::slice::from_ref(&**range))),
            Self::MultiRange(ranges) => SqlType::MultiRange(implied_range(ranges)),
            Self::Enum(value) => value.label().owner().map_or(SqlType::Text, SqlType::Enum),
        }
    }
}
