//! Range types: what a range is over, and the type of several ranges that goes with it.
//!
//! PostgreSQL's six are built in; what one made by CREATE TYPE is over is registered once in the process, as the content of an
//! enum type is ([`crate::registered`]). [`crate::SqlType::Range`] is the range type itself, [`crate::SqlType::MultiRange`] its
//! multirange type: both hold the same [`RangeType`].
//!
//! **Invariants**
//! - *four-oids*: of a made range type with oid `n` the arrays are `n + 1`, the multirange type `n + 2` and its arrays `n + 3`.
//! - *discrete-is-canonical*: ranges over integers and dates are kept as `[a,b)`: see [`RangeType::make`].

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::registered::{Kind, Registered, Registry};
use crate::sql_type::SqlType;

/// What a range type made by CREATE TYPE consists of.
#[derive(PartialEq, Eq, Hash)]
pub struct RangeOver {
    pub subtype: SqlType,
    pub multirange_name: Box<str>,
    pub multirange_array_name: Box<str>,
}

static RANGES: LazyLock<Registry<RangeOver>> = LazyLock::new(Registry::default);

impl Kind for RangeOver {
    fn unresolved() -> Self {
        Self { subtype: SqlType::Unknown, multirange_name: Box::from(""), multirange_array_name: Box::from("") }
    }

    fn registry() -> &'static Registry<Self> {
        &RANGES
    }
}

/// A range type. Stored as its oid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "u32", from = "u32")]
pub enum RangeType {
    Int4,
    Int8,
    Numeric,
    Timestamp,
    TimestampTz,
    Date,
    Made(Registered<RangeOver>),
}

impl From<RangeType> for u32 {
    fn from(ty: RangeType) -> Self {
        ty.oid()
    }
}

impl From<u32> for RangeType {
    fn from(oid: u32) -> Self {
        let built_in = Self::BUILT_IN.iter().find(|ty| ty.oid() == oid);
        built_in.copied().unwrap_or_else(|| Self::Made(Registered::unresolved(oid)))
    }
}

impl RangeType {
    pub const BUILT_IN: &'static [Self] =
        &[Self::Int4, Self::Int8, Self::Numeric, Self::Timestamp, Self::TimestampTz, Self::Date];

    #[must_use]
    pub const fn oid(self) -> u32 {
        match self {
            Self::Int4 => 3904,
            Self::Numeric => 3906,
            Self::Timestamp => 3908,
            Self::TimestampTz => 3910,
            Self::Date => 3912,
            Self::Int8 => 3926,
            Self::Made(ty) => ty.oid(),
        }
    }

    #[must_use]
    pub const fn multirange_oid(self) -> u32 {
        match self {
            Self::Int4 => 4451,
            Self::Numeric => 4532,
            Self::Timestamp => 4533,
            Self::TimestampTz => 4534,
            Self::Date => 4535,
            Self::Int8 => 4536,
            Self::Made(ty) => ty.oid() + 2,
        }
    }

    /// What its bounds are.
    #[must_use]
    pub const fn subtype(self) -> SqlType {
        match self {
            Self::Int4 => SqlType::Int4,
            Self::Int8 => SqlType::Int8,
            Self::Numeric => SqlType::NUMERIC,
            Self::Timestamp => SqlType::TIMESTAMP,
            Self::TimestampTz => SqlType::TIMESTAMPTZ,
            Self::Date => SqlType::Date,
            Self::Made(ty) => ty.content().kind.subtype,
        }
    }

    pub(crate) const fn built_in_name(self) -> &'static str {
        match self {
            Self::Int4 => "int4range",
            Self::Int8 => "int8range",
            Self::Numeric => "numrange",
            Self::Timestamp => "tsrange",
            Self::TimestampTz => "tstzrange",
            Self::Date => "daterange",
            // These have names of their own.
            Self::Made(_) => "range",
        }
    }

    pub(crate) const fn built_in_multirange_name(self) -> &'static str {
        match self {
            Self::Int4 => "int4multirange",
            Self::Int8 => "int8multirange",
            Self::Numeric => "nummultirange",
            Self::Timestamp => "tsmultirange",
            Self::TimestampTz => "tstzmultirange",
            Self::Date => "datemultirange",
            Self::Made(_) => "multirange",
        }
    }

    pub(crate) const fn made(self) -> Option<Registered<RangeOver>> {
        match self {
            Self::Made(ty) => Some(ty),
            _ => None,
        }
    }
}

impl SqlType {
    /// The range type that it is, or is the multirange type of.
    #[must_use]
    pub const fn range_type(&self) -> Option<RangeType> {
        match self {
            Self::Range(of) | Self::MultiRange(of) => Some(*of),
            _ => None,
        }
    }

    /// Whether values of it hold labels of an enum type, which are stored apart from what they are called, or rows, which are
    /// stored as bytes.
    #[must_use]
    pub fn holds_labels(&self) -> bool {
        match self {
            Self::Range(of) | Self::MultiRange(of) => of.subtype().holds_labels(),
            Self::Array(element) => element.get().holds_labels(),
            Self::Composite(_) => true,
            other => other.enum_type().is_some(),
        }
    }

    /// The same type, where it is a made one or over one, as `known` has what that consists of.
    #[must_use]
    pub fn with_content(self, known: Self) -> Self {
        match (self, known) {
            (Self::Array(element), known) => match (element.get(), known) {
                // Read of a descriptor: of which of its types the oid is, what is known tells.
                (Self::Enum(it), Self::Range(of)) if it.oid() == of.multirange_oid() => Self::MultiRange(of).array_of(),
                (Self::MultiRange(_), Self::Range(of)) => Self::MultiRange(of).array_of(),
                _ => known.array_of(),
            },
            (Self::MultiRange(_), Self::Range(of)) => Self::MultiRange(of),
            _ => known,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TypeContent;

    fn made(oid: u32, subtype: SqlType) -> RangeType {
        let kind = RangeOver { subtype, multirange_name: "m".into(), multirange_array_name: "_m".into() };
        RangeType::Made(Registered::of(TypeContent { oid, schema: "s".into(), name: "r".into(), array_name: "_r".into(), kind }))
    }

    /// As stores have them: a variant and the oid of the range type; arrays by the oid of what they are over.
    #[test]
    fn golden_bytes_of_range_types() {
        let of = made(300, SqlType::Float8);
        for (ty, bytes) in [
            (SqlType::Range(RangeType::Int4), &[0xc0, 0x1e][..]),
            (SqlType::MultiRange(RangeType::Int4), &[0xc0, 0x1e]),
            (SqlType::Range(of), &[0xac, 2]),
            (SqlType::MultiRange(of), &[0xac, 2]),
            (SqlType::Range(RangeType::Int4).array_of(), &[0xc0, 0x1e, 1]),
            (SqlType::MultiRange(RangeType::Int4).array_of(), &[0xe3, 0x22, 1]),
            (SqlType::Range(of).array_of(), &[0xac, 2, 1]),
            (SqlType::MultiRange(of).array_of(), &[0xae, 2, 1]),
        ] {
            let stored = postcard::to_stdvec(&ty).unwrap();
            assert_eq!(&stored[1..], bytes, "{ty}");
            let read: SqlType = postcard::from_bytes(&stored).unwrap();
            assert_eq!(read.oid(), ty.oid(), "{ty}");
            assert_eq!(if ty.user_type().is_some() { read.with_content(SqlType::Range(of)) } else { read }, ty);
        }
        assert_eq!(postcard::to_stdvec(&SqlType::Range(of)).unwrap()[0], 49);
        assert_eq!(postcard::to_stdvec(&SqlType::MultiRange(of)).unwrap()[0], 50);
    }

    #[test]
    fn names_and_oids() {
        let of = made(300, SqlType::Float8);
        let names = |ty: SqlType| (ty.name(), ty.internal_name(), ty.oid());
        assert_eq!(names(SqlType::MultiRange(of)), ("s.m".into(), "m".into(), 302));
        assert_eq!(names(SqlType::MultiRange(of).array_of()), ("s.m[]".into(), "_m".into(), 303));
        assert_eq!(names(SqlType::Range(of).array_of()), ("s.r[]".into(), "_r".into(), 301));
        assert_eq!(names(SqlType::Range(RangeType::Date).array_of()), ("daterange[]".into(), "_daterange".into(), 3913));
    }
}
