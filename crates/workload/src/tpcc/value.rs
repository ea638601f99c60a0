//! Values on their way to and from a server, in either protocol: as text in a statement, or bound to a parameter.

use std::error::Error as StdError;

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

/// A value of a statement.
#[derive(Clone, Debug)]
pub enum Value {
    Int(i64),
    /// Money and rates: hundredths of hundredths, as `numeric(12, 4)` holds them.
    Decimal(i64),
    Text(String),
    Null,
}

/// Digits of [`Value::Decimal`] behind the point.
const SCALE: u32 = 4;

impl Value {
    pub fn text(value: impl Into<String>) -> Self {
        Self::Text(value.into())
    }

    /// As a literal of a statement.
    pub fn literal(&self) -> String {
        match self {
            Self::Int(value) => value.to_string(),
            Self::Decimal(value) => decimal(*value),
            Self::Text(text) => format!("'{}'", text.replace('\'', "''")),
            Self::Null => "NULL".to_owned(),
        }
    }

    /// As a field of a line of COPY.
    pub fn field(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Null => "\\N".to_owned(),
            other => other.literal(),
        }
    }
}

fn decimal(value: i64) -> String {
    let one = 10_i64.pow(SCALE);
    let sign = if value < 0 { "-" } else { "" };
    format!("{sign}{}.{:04}", (value / one).abs(), (value % one).abs())
}

/// PostgreSQL's binary numeric: groups of four decimal digits, the most significant first.
fn put_numeric(value: i64, out: &mut BytesMut) {
    let mut groups = Vec::new();
    let mut rest = value.unsigned_abs();
    while rest > 0 {
        groups.push((rest % 10_000) as i16);
        rest /= 10_000;
    }
    groups.reverse();
    // The last group is the one behind the point.
    let weight = groups.len() as i16 - 2;
    out.put_i16(groups.len() as i16);
    out.put_i16(weight);
    out.put_u16(if value < 0 { 0x4000 } else { 0 });
    out.put_i16(SCALE as i16);
    groups.into_iter().for_each(|group| out.put_i16(group));
}

impl ToSql for Value {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        match self {
            Self::Null => return Ok(IsNull::Yes),
            Self::Int(value) => match *ty {
                Type::INT2 => out.put_i16(i16::try_from(*value)?),
                Type::INT4 => out.put_i32(i32::try_from(*value)?),
                Type::INT8 => out.put_i64(*value),
                Type::NUMERIC => put_numeric(*value * 10_i64.pow(SCALE), out),
                _ => return Err(format!("an integer for a parameter of type {ty}").into()),
            },
            Self::Decimal(value) => put_numeric(*value, out),
            Self::Text(text) => out.put_slice(text.as_bytes()),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// A value of an answer, as text. Queries cast numerics to double precision.
pub struct Cell(pub String);

impl<'a> FromSql<'a> for Cell {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(match *ty {
            Type::INT2 => i16::from_sql(ty, raw)?.to_string(),
            Type::INT4 => i32::from_sql(ty, raw)?.to_string(),
            Type::INT8 => i64::from_sql(ty, raw)?.to_string(),
            Type::FLOAT8 => f64::from_sql(ty, raw)?.to_string(),
            _ => String::from_utf8_lossy(raw).into_owned(),
        }))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_have_four_places() {
        assert_eq!(Value::Decimal(123_456_789).literal(), "12345.6789");
        assert_eq!(Value::Decimal(-5000).literal(), "-0.5000");
        let mut out = BytesMut::new();
        put_numeric(123_456_789, &mut out);
        assert_eq!(&out[..], [0, 3, 0, 1, 0, 0, 0, 4, 0, 1, 9, 41, 26, 133]);
    }
}
