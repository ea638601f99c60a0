//! Rows as text; their fields have the types that their datums imply.

use crate::datum::Datum;
use crate::formatting::Formatting;
use crate::sql_type::SqlType;

use super::{blank, write_text};

/// `(1,"a b",)`: the fields' types are those their datums imply.
pub(super) fn write_record(fields: &[Datum], formatting: &Formatting, out: &mut Vec<u8>) {
    out.push(b'(');
    for (i, field) in fields.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        if field.is_null() {
            continue;
        }
        let start = out.len();
        write_text(&field.implied_type(), field, formatting, out);
        let text = &out[start..];
        let must_quote = text.is_empty()
            || text.iter().any(|b| matches!(b, b'"' | b'\\' | b'(' | b')' | b',') || blank(*b as char));
        if must_quote {
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
    }
    out.push(b')');
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
            Self::Record(_) => SqlType::Record,
        }
    }
}
