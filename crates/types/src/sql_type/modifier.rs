//! Modifiers: lengths, precisions and scales, and the number that PostgreSQL packs them into.

use serde::{Deserialize, Serialize};

use super::{Element, ElementType, SqlType};
use crate::error::{SqlError, SqlResult, SqlState, raise};

/// The largest length of `varchar(n)` and `char(n)`.
pub const MAX_CHARACTER_LENGTH: u32 = 10_485_760;

/// The largest length of `bit(n)` and `bit varying(n)`.
const MAX_BIT_LENGTH: u32 = MAX_CHARACTER_LENGTH * 8;

pub(super) const VARHDRSZ: i32 = 4;

/// `numeric(precision, scale)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NumericModifier {
    pub precision: u16,
    pub scale: i16,
}

impl SqlType {
    /// PostgreSQL's `atttypmod`; -1 when the type has none.
    #[must_use]
    pub const fn typmod(&self) -> i32 {
        match self {
            Self::Numeric(Some(modifier)) => {
                (((modifier.precision as i32) << 16) | (modifier.scale as i32 & 0x7ff)) + VARHDRSZ
            }
            Self::Varchar(Some(length)) | Self::Char(Some(length)) => *length as i32 + VARHDRSZ,
            Self::Bit(Some(length)) | Self::VarBit(Some(length)) => *length as i32,
            Self::Time(Some(p)) | Self::TimeTz(Some(p)) | Self::Timestamp(Some(p)) | Self::TimestampTz(Some(p)) => {
                *p as i32
            }
            Self::Array(ElementType(Element::BuiltIn { oid, typmod })) if *oid != Self::RECORD.oid() => *typmod,
            _ => -1,
        }
    }

    /// The modifier that an array over this type keeps: of a record, the number of its row type.
    pub(super) const fn element_typmod(&self) -> i32 {
        match self {
            Self::Record(Some(id)) => id.number() as i32,
            other => other.typmod(),
        }
    }

    /// The same type with no modifier: what functions and operators are declared over.
    #[must_use]
    pub const fn without_typmod(self) -> Self {
        match self {
            Self::Numeric(_) => Self::Numeric(None),
            Self::Varchar(_) => Self::Varchar(None),
            Self::Char(_) => Self::Char(None),
            Self::Bit(_) => Self::Bit(None),
            Self::VarBit(_) => Self::VarBit(None),
            Self::Time(_) => Self::Time(None),
            Self::TimeTz(_) => Self::TimeTz(None),
            Self::Timestamp(_) => Self::Timestamp(None),
            Self::TimestampTz(_) => Self::TimestampTz(None),
            // A row type is no modifier.
            Self::Array(ElementType(Element::BuiltIn { oid, .. })) if oid != Self::RECORD.oid() => {
                Self::Array(ElementType(Element::BuiltIn { oid, typmod: -1 }))
            }
            other => other,
        }
    }

    /// Adds modifiers to a type without any, as in `numeric(10, 2)` or `timestamp(3)`.
    pub fn with_modifiers(self, modifiers: &[i64]) -> SqlResult<Self> {
        if modifiers.is_empty() {
            return Ok(self);
        }
        let one = |what: &str| match modifiers {
            [n] => Ok(*n),
            _ => Err(raise::invalid_parameter(format!("invalid type modifier for type {what}"))),
        };
        let precision = |what: &str| -> SqlResult<Option<u8>> {
            let n = one(what)?;
            if n < 0 {
                return Err(raise::invalid_parameter(format!("{what}({n}) precision must not be negative")));
            }
            // PostgreSQL warns and takes six.
            Ok(Some(n.min(6) as u8))
        };
        let length = |what: &str, max: u32| -> SqlResult<Option<u32>> {
            let n = one(what)?;
            if n < 1 {
                return Err(raise::invalid_parameter(format!("length for type {what} must be at least 1")));
            }
            if n > i64::from(max) {
                return Err(raise::invalid_parameter(format!(
                    "length for type {what} cannot exceed {max}"
                )));
            }
            Ok(Some(n as u32))
        };
        Ok(match self {
            Self::Varchar(_) => Self::Varchar(length("varchar", MAX_CHARACTER_LENGTH)?),
            Self::Char(_) => Self::Char(length("char", MAX_CHARACTER_LENGTH)?),
            Self::Bit(_) => Self::Bit(length("bit", MAX_BIT_LENGTH)?),
            Self::VarBit(_) => Self::VarBit(length("varbit", MAX_BIT_LENGTH)?),
            Self::Time(_) => Self::Time(precision("TIME")?),
            Self::TimeTz(_) => Self::TimeTz(precision("TIME")?),
            Self::Timestamp(_) => Self::Timestamp(precision("TIMESTAMP")?),
            Self::TimestampTz(_) => Self::TimestampTz(precision("TIMESTAMP")?),
            Self::Float8 => match one("float")? {
                1..=24 => Self::Float4,
                25..=53 => Self::Float8,
                n if n < 1 => {
                    return Err(raise::invalid_parameter("precision for type float must be at least 1 bit"));
                }
                _ => return Err(raise::invalid_parameter("precision for type float must be less than 54 bits")),
            },
            Self::Numeric(_) => {
                let (precision, scale) = match modifiers {
                    [p] => (*p, 0),
                    [p, s] => (*p, *s),
                    _ => return Err(raise::invalid_parameter("invalid NUMERIC type modifier")),
                };
                if !(1..=1000).contains(&precision) {
                    return Err(raise::invalid_parameter(format!(
                        "NUMERIC precision {precision} must be between 1 and 1000"
                    )));
                }
                if !(-1000..=1000).contains(&scale) {
                    return Err(raise::invalid_parameter(format!(
                        "NUMERIC scale {scale} must be between -1000 and 1000"
                    )));
                }
                Self::Numeric(Some(NumericModifier { precision: precision as u16, scale: scale as i16 }))
            }
            Self::Array(element) => element.get().with_modifiers(modifiers)?.array_of(),
            other => {
                return Err(SqlError::new(
                    SqlState::SyntaxError,
                    format!("type modifier is not allowed for type \"{}\"", other.internal_name()),
                ));
            }
        })
    }
}
