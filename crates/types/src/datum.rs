//! One SQL value. Its type stands beside it: `Int` serves int2, int4, int8 and the oid types.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::array::Array;
use crate::bits::Bits;
use crate::enum_type::EnumValue;
use crate::error::SqlResult;
use crate::geometry::Geometry;
use crate::json::Json;
use crate::network::Inet;
use crate::range::Range;
use crate::numeric::Numeric;
use crate::jsonpath::JsonPath;
use crate::text_search::{TsQuery, TsVector};
use crate::stack::{VALUE_DEPTH_MAX, too_deep};

/// Months, days and microseconds apart, because a month has no fixed number of days, nor a day of hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Interval {
    pub months: i32,
    pub days: i32,
    pub micros: i64,
}

/// A time of day with its offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TimeTz {
    /// Microseconds since local midnight.
    pub micros: i64,
    /// Seconds *west* of Greenwich, PostgreSQL's sign.
    pub west: i32,
}

/// `-infinity` and `infinity` of the date/time types.
pub const TIMESTAMP_NEG_INFINITY: i64 = i64::MIN;
pub const TIMESTAMP_INFINITY: i64 = i64::MAX;
pub const DATE_NEG_INFINITY: i32 = i32::MIN;
pub const DATE_INFINITY: i32 = i32::MAX;

/// `==` is identity of representation (1.0 is not 1.00, -0.0 is not 0.0 but NaN is NaN): for tests and plan
/// comparison. SQL equality is [`crate::compare`], which needs the type.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
pub enum Datum {
    #[default]
    Null,
    Bool(bool),
    /// int2, int4, int8; oid, xid and the reg* types; money; pg_lsn and xid8 as [`crate::unsigned`] says.
    Int(i64),
    /// float4 (exactly representable as f32) and float8.
    Float(f64),
    Numeric(Numeric),
    /// text, varchar, char (padded to its length), name, `"char"`, unknown, pg_node_tree.
    Text(Arc<str>),
    Bytes(Arc<[u8]>),
    /// Days since 2000-01-01.
    Date(i32),
    /// Microseconds since midnight.
    Time(i64),
    TimeTz(TimeTz),
    /// Microseconds since 2000-01-01 00:00:00.
    Timestamp(i64),
    /// Microseconds since 2000-01-01 00:00:00 UTC.
    TimestampTz(i64),
    Interval(Interval),
    Uuid([u8; 16]),
    /// The text as it was given.
    Json(Arc<str>),
    Jsonb(Arc<Json>),
    /// Arrays, int2vector and oidvector.
    Array(Arc<Array>),
    Record(Arc<[Datum]>),
    /// inet and cidr.
    Inet(Inet),
    MacAddr([u8; 6]),
    Enum(EnumValue),
    Range(Arc<Range>),
    /// See [`crate::range`].
    MultiRange(Arc<[Range]>),
    /// bit and bit varying.
    Bits(Arc<Bits>),
    MacAddr8([u8; 8]),
    Geometry(Arc<Geometry>),
    TsVector(Arc<TsVector>),
    TsQuery(Arc<TsQuery>),
    JsonPath(Arc<JsonPath>),
}

const _: () = assert!(size_of::<Datum>() <= 24, "a datum is copied per row and column: it stays three words");

impl Datum {
    #[must_use]
    pub fn text(value: impl Into<Arc<str>>) -> Self {
        Self::Text(value.into())
    }

    #[must_use]
    pub fn bytes(value: impl Into<Arc<[u8]>>) -> Self {
        Self::Bytes(value.into())
    }

    #[must_use]
    pub fn bits(value: Bits) -> Self {
        Self::Bits(Arc::new(value))
    }

    #[must_use]
    pub fn geometry(value: Geometry) -> Self {
        Self::Geometry(Arc::new(value))
    }

    #[must_use]
    pub fn tsvector(value: TsVector) -> Self {
        Self::TsVector(Arc::new(value))
    }

    #[must_use]
    pub fn tsquery(value: TsQuery) -> Self {
        Self::TsQuery(Arc::new(value))
    }

    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    #[must_use]
    pub const fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    #[must_use]
    pub const fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            _ => None,
        }
    }

    #[must_use]
    pub const fn as_float(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            _ => None,
        }
    }

    #[must_use]
    pub const fn as_numeric(&self) -> Option<&Numeric> {
        match self {
            Self::Numeric(value) => Some(value),
            _ => None,
        }
    }

    /// The characters of a text-like or json datum.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(value) | Self::Json(value) => Some(value),
            _ => None,
        }
    }

    #[must_use]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(value) => Some(value),
            _ => None,
        }
    }

    #[must_use]
    pub const fn as_interval(&self) -> Option<Interval> {
        match self {
            Self::Interval(value) => Some(*value),
            _ => None,
        }
    }

    #[must_use]
    pub fn as_array(&self) -> Option<&Array> {
        match self {
            Self::Array(value) => Some(value),
            _ => None,
        }
    }

    #[must_use]
    pub fn as_jsonb(&self) -> Option<&Json> {
        match self {
            Self::Jsonb(value) => Some(value),
            _ => None,
        }
    }

    /// Microseconds or days inside a date/time datum of one number.
    #[must_use]
    pub const fn as_time_value(&self) -> Option<i64> {
        match self {
            Self::Date(days) => Some(*days as i64),
            Self::Time(micros) | Self::Timestamp(micros) | Self::TimestampTz(micros) => Some(*micros),
            _ => None,
        }
    }

    /// A record of these fields.
    ///
    /// # Errors
    /// 54001 when it would be nested deeper than [`VALUE_DEPTH_MAX`].
    pub fn record(fields: Vec<Self>) -> SqlResult<Self> {
        if fields.iter().any(|field| field.is_deeper_than(VALUE_DEPTH_MAX - 1)) {
            return Err(too_deep());
        }
        Ok(Self::Record(fields.into()))
    }

    /// Whether more records than this stand within one another.
    fn is_deeper_than(&self, depth: usize) -> bool {
        match self {
            Self::Record(fields) => depth == 0 || fields.iter().any(|field| field.is_deeper_than(depth - 1)),
            // An array's elements are of one type.
            Self::Array(array) => {
                let first = array.elements().iter().find(|element| !element.is_null());
                matches!(first, Some(Self::Record(_))) && array.elements().iter().any(|it| it.is_deeper_than(depth))
            }
            _ => false,
        }
    }

    /// Heap bytes behind this datum, for memory accounting.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Text(value) | Self::Json(value) => value.len() + 16,
            Self::Bytes(value) => value.len() + 16,
            Self::Numeric(value) => value.heap_bytes(),
            Self::Jsonb(value) => value.heap_bytes(),
            Self::Array(value) => {
                48 + value.elements().iter().map(|e| size_of::<Self>() + e.heap_bytes()).sum::<usize>()
            }
            Self::Bits(bits) => 40 + bits.bytes().len(),
            Self::Geometry(geometry) => geometry.heap_bytes(),
            Self::TsVector(value) => value.heap_bytes(),
            Self::TsQuery(value) => value.heap_bytes(),
            Self::JsonPath(value) => value.heap_bytes(),
            Self::Range(range) => 16 + range.heap_bytes(),
            Self::MultiRange(ranges) => 16 + ranges.iter().map(Range::heap_bytes).sum::<usize>(),
            Self::Record(fields) => 16 + fields.iter().map(|e| size_of::<Self>() + e.heap_bytes()).sum::<usize>(),
            _ => 0,
        }
    }
}

impl PartialEq for Datum {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()),
            (Self::Numeric(a), Self::Numeric(b)) => a.is_identical(b),
            (Self::Text(a), Self::Text(b)) | (Self::Json(a), Self::Json(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Date(a), Self::Date(b)) => a == b,
            (Self::Time(a), Self::Time(b))
            | (Self::Timestamp(a), Self::Timestamp(b))
            | (Self::TimestampTz(a), Self::TimestampTz(b)) => a == b,
            (Self::TimeTz(a), Self::TimeTz(b)) => a == b,
            (Self::Interval(a), Self::Interval(b)) => a == b,
            (Self::Uuid(a), Self::Uuid(b)) => a == b,
            (Self::Inet(a), Self::Inet(b)) => a == b,
            (Self::MacAddr(a), Self::MacAddr(b)) => a == b,
            (Self::MacAddr8(a), Self::MacAddr8(b)) => a == b,
            (Self::Bits(a), Self::Bits(b)) => a == b,
            (Self::Geometry(a), Self::Geometry(b)) => a.is_identical(b),
            (Self::TsVector(a), Self::TsVector(b)) => a == b,
            (Self::TsQuery(a), Self::TsQuery(b)) => a == b,
            (Self::JsonPath(a), Self::JsonPath(b)) => a == b,
            (Self::Enum(a), Self::Enum(b)) => a.sort_key() == b.sort_key(),
            (Self::Jsonb(a), Self::Jsonb(b)) => a == b,
            (Self::Array(a), Self::Array(b)) => a == b,
            (Self::Record(a), Self::Record(b)) => a == b,
            (Self::Range(a), Self::Range(b)) => a == b,
            (Self::MultiRange(a), Self::MultiRange(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Datum {}

impl From<bool> for Datum {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Datum {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<i32> for Datum {
    fn from(value: i32) -> Self {
        Self::Int(i64::from(value))
    }
}

impl From<f64> for Datum {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<&str> for Datum {
    fn from(value: &str) -> Self {
        Self::Text(value.into())
    }
}

impl From<String> for Datum {
    fn from(value: String) -> Self {
        Self::Text(value.into())
    }
}

impl From<Numeric> for Datum {
    fn from(value: Numeric) -> Self {
        Self::Numeric(value)
    }
}

impl<T: Into<Datum>> From<Option<T>> for Datum {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}
