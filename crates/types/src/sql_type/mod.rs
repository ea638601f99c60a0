//! SQL types: PostgreSQL's oids, modifiers, names and categories in one `Copy` value.
//!
//! An array type holds its element as `(oid, typmod)`, or by what a user-defined type consists of, so that [`SqlType`] is `Copy`
//! and can stand in statics.
//! Arrays of arrays do not exist in PostgreSQL: dimensions belong to the value.

mod category;
mod modifier;
mod name;
mod oid;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::composite_type::CompositeType;
use crate::domain_type::DomainType;
use crate::enum_type::EnumType;
use crate::range_type::RangeType;
use crate::row_type::RowTypeId;

pub use category::TypeCategory;
pub use modifier::{MAX_CHARACTER_LENGTH, NumericModifier};

/// The element type of an array type. Stored as its oid and modifier.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "(u32, i32)", from = "(u32, i32)")]
pub struct ElementType(Element);

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Element {
    BuiltIn { oid: u32, typmod: i32 },
    Enum(EnumType),
    Domain(DomainType),
    /// Made by CREATE TYPE, as its multirange type is.
    Range(RangeType),
    MultiRange(RangeType),
    Composite(CompositeType),
}

impl ElementType {
    #[must_use]
    pub fn get(self) -> SqlType {
        match self.0 {
            Element::BuiltIn { oid, typmod } => {
                SqlType::from_oid(oid, typmod).expect("an element type is made from a type")
            }
            Element::Enum(ty) => SqlType::Enum(ty),
            Element::Domain(ty) => SqlType::Domain(ty),
            Element::Range(ty) => SqlType::Range(ty),
            Element::MultiRange(ty) => SqlType::MultiRange(ty),
            Element::Composite(ty) => SqlType::Composite(ty),
        }
    }

    pub(crate) const fn domain(self) -> Option<DomainType> {
        match self.0 {
            Element::Domain(ty) => Some(ty),
            _ => None,
        }
    }
}

impl From<ElementType> for (u32, i32) {
    fn from(element: ElementType) -> Self {
        match element.0 {
            Element::BuiltIn { oid, typmod } => (oid, typmod),
            Element::Enum(ty) => (ty.oid(), -1),
            Element::Domain(ty) => (ty.oid(), -1),
            Element::Range(ty) => (ty.oid(), -1),
            Element::MultiRange(ty) => (ty.multirange_oid(), -1),
            Element::Composite(ty) => (ty.oid(), -1),
        }
    }
}

impl From<(u32, i32)> for ElementType {
    fn from((oid, typmod): (u32, i32)) -> Self {
        match SqlType::from_oid(oid, typmod) {
            Some(_) => Self(Element::BuiltIn { oid, typmod }),
            // Of a user-defined type; of what kind the catalog knows.
            None => Self(Element::Enum(EnumType::unresolved(oid))),
        }
    }
}

impl fmt::Debug for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.get(), f)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SqlType {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric(Option<NumericModifier>),
    Text,
    Varchar(Option<u32>),
    /// `char(n)`, PostgreSQL's `bpchar`. `None` only arises from a bare `bpchar`.
    Char(Option<u32>),
    /// `"char"`: one byte, for catalogs.
    QuotedChar,
    Name,
    Bytea,
    Date,
    Time(Option<u8>),
    TimeTz(Option<u8>),
    Timestamp(Option<u8>),
    TimestampTz(Option<u8>),
    Interval,
    Uuid,
    Inet,
    Cidr,
    MacAddr,
    Json,
    Jsonb,
    Oid,
    Xid,
    RegClass,
    RegType,
    RegProc,
    RegProcedure,
    RegOper,
    RegOperator,
    RegNamespace,
    RegRole,
    Int2Vector,
    OidVector,
    PgNodeTree,
    /// A row, and its fields where they are known.
    Record(Option<RowTypeId>),
    Void,
    Unknown,
    AnyElement,
    AnyArray,
    AnyNonArray,
    Any,
    Array(ElementType),
    AnyEnum,
    Enum(EnumType),
    /// See [`SqlType::base`].
    Domain(DomainType),
    Range(RangeType),
    MultiRange(RangeType),
    AnyRange,
    AnyMultiRange,
    Composite(CompositeType),
    /// `bit(n)`. `None` is of any length.
    Bit(Option<u32>),
    VarBit(Option<u32>),
    Money,
    MacAddr8,
    PgLsn,
    Xid8,
    Point,
    LSeg,
    Path,
    Box,
    Polygon,
    Line,
    Circle,
    TsVector,
    TsQuery,
    RegConfig,
    RegDictionary,
    JsonPath,
}

/// Every type without a modifier, arrays aside: what `pg_type` lists and what names are looked up in.
const SCALARS: &[SqlType] = &[
    SqlType::Bool,
    SqlType::Int2,
    SqlType::Int4,
    SqlType::Int8,
    SqlType::Float4,
    SqlType::Float8,
    SqlType::Numeric(None),
    SqlType::Text,
    SqlType::Varchar(None),
    SqlType::Char(None),
    SqlType::QuotedChar,
    SqlType::Name,
    SqlType::Bytea,
    SqlType::Date,
    SqlType::Time(None),
    SqlType::TimeTz(None),
    SqlType::Timestamp(None),
    SqlType::TimestampTz(None),
    SqlType::Interval,
    SqlType::Uuid,
    SqlType::Inet,
    SqlType::Cidr,
    SqlType::MacAddr,
    SqlType::Json,
    SqlType::Jsonb,
    SqlType::Oid,
    SqlType::Xid,
    SqlType::RegClass,
    SqlType::RegType,
    SqlType::RegProc,
    SqlType::RegProcedure,
    SqlType::RegOper,
    SqlType::RegOperator,
    SqlType::RegNamespace,
    SqlType::RegRole,
    SqlType::Int2Vector,
    SqlType::OidVector,
    SqlType::PgNodeTree,
    SqlType::RECORD,
    SqlType::Void,
    SqlType::Unknown,
    SqlType::AnyElement,
    SqlType::AnyArray,
    SqlType::AnyNonArray,
    SqlType::Any,
    SqlType::AnyEnum,
    SqlType::Range(RangeType::Int4),
    SqlType::Range(RangeType::Int8),
    SqlType::Range(RangeType::Numeric),
    SqlType::Range(RangeType::Timestamp),
    SqlType::Range(RangeType::TimestampTz),
    SqlType::Range(RangeType::Date),
    SqlType::MultiRange(RangeType::Int4),
    SqlType::MultiRange(RangeType::Int8),
    SqlType::MultiRange(RangeType::Numeric),
    SqlType::MultiRange(RangeType::Timestamp),
    SqlType::MultiRange(RangeType::TimestampTz),
    SqlType::MultiRange(RangeType::Date),
    SqlType::AnyRange,
    SqlType::AnyMultiRange,
    SqlType::Bit(None),
    SqlType::VarBit(None),
    SqlType::Money,
    SqlType::MacAddr8,
    SqlType::PgLsn,
    SqlType::Xid8,
    SqlType::Point,
    SqlType::LSeg,
    SqlType::Path,
    SqlType::Box,
    SqlType::Polygon,
    SqlType::Line,
    SqlType::Circle,
    SqlType::TsVector,
    SqlType::TsQuery,
    SqlType::RegConfig,
    SqlType::RegDictionary,
    SqlType::JsonPath,
];

impl SqlType {
    pub const NUMERIC: Self = Self::Numeric(None);
    pub const VARCHAR: Self = Self::Varchar(None);
    pub const BPCHAR: Self = Self::Char(None);
    pub const BIT: Self = Self::Bit(None);
    pub const VARBIT: Self = Self::VarBit(None);
    pub const TIME: Self = Self::Time(None);
    pub const TIMETZ: Self = Self::TimeTz(None);
    pub const TIMESTAMP: Self = Self::Timestamp(None);
    pub const TIMESTAMPTZ: Self = Self::TimestampTz(None);
    /// A record of which no more is known.
    pub const RECORD: Self = Self::Record(None);
    pub const BOOL_ARRAY: Self = Self::Bool.array_of();
    pub const INT2_ARRAY: Self = Self::Int2.array_of();
    pub const INT4_ARRAY: Self = Self::Int4.array_of();
    pub const INT8_ARRAY: Self = Self::Int8.array_of();
    pub const FLOAT8_ARRAY: Self = Self::Float8.array_of();
    pub const NUMERIC_ARRAY: Self = Self::NUMERIC.array_of();
    pub const TEXT_ARRAY: Self = Self::Text.array_of();
    pub const NAME_ARRAY: Self = Self::Name.array_of();
    pub const OID_ARRAY: Self = Self::Oid.array_of();

    /// Every non-array type, without modifiers.
    #[must_use]
    pub const fn scalars() -> &'static [Self] {
        SCALARS
    }

    /// The array over this type; over an array, the same array.
    #[must_use]
    pub const fn array_of(self) -> Self {
        match self {
            Self::Array(_) => self,
            Self::Enum(ty) => Self::Array(ElementType(Element::Enum(ty))),
            Self::Domain(ty) => Self::Array(ElementType(Element::Domain(ty))),
            Self::Range(ty @ RangeType::Made(_)) => Self::Array(ElementType(Element::Range(ty))),
            Self::MultiRange(ty @ RangeType::Made(_)) => Self::Array(ElementType(Element::MultiRange(ty))),
            Self::Composite(ty) => Self::Array(ElementType(Element::Composite(ty))),
            _ => Self::Array(ElementType(Element::BuiltIn { oid: self.oid(), typmod: self.element_typmod() })),
        }
    }

    /// The element type of an array or of one of the two vector types.
    #[must_use]
    pub fn element(&self) -> Option<Self> {
        match self {
            Self::Array(element) => Some(element.get()),
            Self::Int2Vector => Some(Self::Int2),
            Self::OidVector => Some(Self::Oid),
            _ => None,
        }
    }

    #[must_use]
    pub const fn is_array(&self) -> bool {
        matches!(self, Self::Array(_))
    }

    /// Equal but for the modifier, and for what a user-defined type consists of.
    #[must_use]
    pub const fn same_base(&self, other: &Self) -> bool {
        self.oid() == other.oid()
    }

    /// `pg_type.typlen`: bytes, or -1 for variable length, -2 for C strings.
    #[must_use]
    pub const fn typlen(&self) -> i16 {
        match self {
            Self::Bool | Self::QuotedChar => 1,
            Self::Int2 => 2,
            Self::Int4
            | Self::Float4
            | Self::Date
            | Self::Oid
            | Self::Xid
            | Self::RegClass
            | Self::RegType
            | Self::RegProc
            | Self::RegProcedure
            | Self::RegOper
            | Self::RegOperator
            | Self::RegNamespace
            | Self::RegRole
            | Self::RegConfig
            | Self::RegDictionary
            | Self::Void
            | Self::AnyElement
            | Self::AnyNonArray
            | Self::AnyEnum
            | Self::Enum(_)
            | Self::Any => 4,
            Self::Int8 | Self::Float8 | Self::Time(_) | Self::Timestamp(_) | Self::TimestampTz(_) | Self::Money
            | Self::MacAddr8 | Self::PgLsn | Self::Xid8 => 8,
            Self::MacAddr => 6,
            Self::TimeTz(_) => 12,
            Self::Interval | Self::Uuid | Self::Point => 16,
            Self::Line | Self::Circle => 24,
            Self::LSeg | Self::Box => 32,
            Self::Name => 64,
            Self::Unknown => -2,
            Self::Domain(ty) => ty.over().typlen(),
            _ => -1,
        }
    }
}
