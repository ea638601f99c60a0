//! SQL types: PostgreSQL's oids, modifiers, names and categories in one `Copy` value.
//!
//! An array type holds its element as `(oid, typmod)`, so that [`SqlType`] is `Copy` and can stand in statics.
//! Arrays of arrays do not exist in PostgreSQL: dimensions belong to the value.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{SqlError, SqlResult, SqlState, raise};

/// The largest length of `varchar(n)` and `char(n)`.
pub const MAX_CHARACTER_LENGTH: u32 = 10_485_760;

/// `numeric(precision, scale)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NumericModifier {
    pub precision: u16,
    pub scale: i16,
}

/// The element type of an array type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ElementType {
    oid: u32,
    typmod: i32,
}

impl ElementType {
    #[must_use]
    pub fn get(self) -> SqlType {
        SqlType::from_oid(self.oid, self.typmod).expect("an element type is made from a type")
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
    Record,
    Void,
    Unknown,
    AnyElement,
    AnyArray,
    AnyNonArray,
    Any,
    Array(ElementType),
}

/// `pg_type.typcategory`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TypeCategory {
    Array,
    Boolean,
    DateTime,
    Numeric,
    Pseudo,
    String,
    Timespan,
    UserDefined,
    Unknown,
    /// `Z`: internal-use types, such as `"char"` and `pg_node_tree`.
    Internal,
}

impl TypeCategory {
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::Array => 'A',
            Self::Boolean => 'B',
            Self::DateTime => 'D',
            Self::Numeric => 'N',
            Self::Pseudo => 'P',
            Self::String => 'S',
            Self::Timespan => 'T',
            Self::UserDefined => 'U',
            Self::Unknown => 'X',
            Self::Internal => 'Z',
        }
    }
}

const VARHDRSZ: i32 = 4;

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
    SqlType::Record,
    SqlType::Void,
    SqlType::Unknown,
    SqlType::AnyElement,
    SqlType::AnyArray,
    SqlType::AnyNonArray,
    SqlType::Any,
];

impl SqlType {
    pub const NUMERIC: Self = Self::Numeric(None);
    pub const VARCHAR: Self = Self::Varchar(None);
    pub const BPCHAR: Self = Self::Char(None);
    pub const TIME: Self = Self::Time(None);
    pub const TIMETZ: Self = Self::TimeTz(None);
    pub const TIMESTAMP: Self = Self::Timestamp(None);
    pub const TIMESTAMPTZ: Self = Self::TimestampTz(None);
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
            _ => Self::Array(ElementType { oid: self.oid(), typmod: self.typmod() }),
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

    /// PostgreSQL's oid.
    #[must_use]
    pub const fn oid(&self) -> u32 {
        match self {
            Self::Bool => 16,
            Self::Bytea => 17,
            Self::QuotedChar => 18,
            Self::Name => 19,
            Self::Int8 => 20,
            Self::Int2 => 21,
            Self::Int2Vector => 22,
            Self::Int4 => 23,
            Self::RegProc => 24,
            Self::Text => 25,
            Self::Oid => 26,
            Self::Xid => 28,
            Self::OidVector => 30,
            Self::Json => 114,
            Self::PgNodeTree => 194,
            Self::Float4 => 700,
            Self::Float8 => 701,
            Self::Unknown => 705,
            Self::Char(_) => 1042,
            Self::Varchar(_) => 1043,
            Self::Date => 1082,
            Self::Time(_) => 1083,
            Self::Timestamp(_) => 1114,
            Self::TimestampTz(_) => 1184,
            Self::Interval => 1186,
            Self::TimeTz(_) => 1266,
            Self::Numeric(_) => 1700,
            Self::RegProcedure => 2202,
            Self::RegOper => 2203,
            Self::RegOperator => 2204,
            Self::RegClass => 2205,
            Self::RegType => 2206,
            Self::Record => 2249,
            Self::Any => 2276,
            Self::AnyArray => 2277,
            Self::Void => 2278,
            Self::AnyElement => 2283,
            Self::AnyNonArray => 2776,
            Self::Uuid => 2950,
            Self::Jsonb => 3802,
            Self::RegNamespace => 4089,
            Self::RegRole => 4096,
            Self::Array(element) => array_oid_of(element.oid),
        }
    }

    /// The oid of the array over this type, 0 when there is none.
    #[must_use]
    pub const fn array_oid(&self) -> u32 {
        match self {
            Self::Array(_) => 0,
            _ => array_oid_of(self.oid()),
        }
    }

    /// The type of this oid and modifier (-1: none). Modifiers that do not parse are taken as none.
    #[must_use]
    pub fn from_oid(oid: u32, typmod: i32) -> Option<Self> {
        let precision = || u8::try_from(typmod).ok().filter(|p| *p <= 6);
        let length = || u32::try_from(typmod - VARHDRSZ).ok().filter(|_| typmod > VARHDRSZ);
        Some(match oid {
            16 => Self::Bool,
            17 => Self::Bytea,
            18 => Self::QuotedChar,
            19 => Self::Name,
            20 => Self::Int8,
            21 => Self::Int2,
            22 => Self::Int2Vector,
            23 => Self::Int4,
            24 => Self::RegProc,
            25 => Self::Text,
            26 => Self::Oid,
            28 => Self::Xid,
            30 => Self::OidVector,
            114 => Self::Json,
            194 => Self::PgNodeTree,
            700 => Self::Float4,
            701 => Self::Float8,
            705 => Self::Unknown,
            1042 => Self::Char(length()),
            1043 => Self::Varchar(length()),
            1082 => Self::Date,
            1083 => Self::Time(precision()),
            1114 => Self::Timestamp(precision()),
            1184 => Self::TimestampTz(precision()),
            1186 => Self::Interval,
            1266 => Self::TimeTz(precision()),
            1700 => Self::Numeric((typmod >= VARHDRSZ).then(|| {
                let packed = typmod - VARHDRSZ;
                NumericModifier {
                    precision: (packed >> 16) as u16,
                    // Eleven bits, two's complement.
                    scale: (((packed & 0x7ff) ^ 1024) - 1024) as i16,
                }
            })),
            2202 => Self::RegProcedure,
            2203 => Self::RegOper,
            2204 => Self::RegOperator,
            2205 => Self::RegClass,
            2206 => Self::RegType,
            2249 => Self::Record,
            2276 => Self::Any,
            2277 => Self::AnyArray,
            2278 => Self::Void,
            2283 => Self::AnyElement,
            2776 => Self::AnyNonArray,
            2950 => Self::Uuid,
            3802 => Self::Jsonb,
            4089 => Self::RegNamespace,
            4096 => Self::RegRole,
            _ => {
                let element = ARRAYS.iter().find(|(_, array)| *array == oid)?.0;
                Self::from_oid(element, typmod)?.array_of()
            }
        })
    }

    /// PostgreSQL's `atttypmod`; -1 when the type has none.
    #[must_use]
    pub const fn typmod(&self) -> i32 {
        match self {
            Self::Numeric(Some(modifier)) => {
                (((modifier.precision as i32) << 16) | (modifier.scale as i32 & 0x7ff)) + VARHDRSZ
            }
            Self::Varchar(Some(length)) | Self::Char(Some(length)) => *length as i32 + VARHDRSZ,
            Self::Time(Some(p)) | Self::TimeTz(Some(p)) | Self::Timestamp(Some(p)) | Self::TimestampTz(Some(p)) => {
                *p as i32
            }
            Self::Array(element) => element.typmod,
            _ => -1,
        }
    }

    /// The same type with no modifier: what functions and operators are declared over.
    #[must_use]
    pub const fn without_typmod(self) -> Self {
        match self {
            Self::Numeric(_) => Self::Numeric(None),
            Self::Varchar(_) => Self::Varchar(None),
            Self::Char(_) => Self::Char(None),
            Self::Time(_) => Self::Time(None),
            Self::TimeTz(_) => Self::TimeTz(None),
            Self::Timestamp(_) => Self::Timestamp(None),
            Self::TimestampTz(_) => Self::TimestampTz(None),
            Self::Array(element) => Self::Array(ElementType { oid: element.oid, typmod: -1 }),
            other => other,
        }
    }

    /// Equal but for the modifier.
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
            | Self::Void
            | Self::AnyElement
            | Self::AnyNonArray
            | Self::Any => 4,
            Self::Int8 | Self::Float8 | Self::Time(_) | Self::Timestamp(_) | Self::TimestampTz(_) => 8,
            Self::TimeTz(_) => 12,
            Self::Interval | Self::Uuid => 16,
            Self::Name => 64,
            Self::Unknown => -2,
            _ => -1,
        }
    }

    #[must_use]
    pub const fn category(&self) -> TypeCategory {
        match self {
            Self::Bool => TypeCategory::Boolean,
            Self::Int2
            | Self::Int4
            | Self::Int8
            | Self::Float4
            | Self::Float8
            | Self::Numeric(_)
            | Self::Oid
            | Self::RegClass
            | Self::RegType
            | Self::RegProc
            | Self::RegProcedure
            | Self::RegOper
            | Self::RegOperator
            | Self::RegNamespace
            | Self::RegRole => TypeCategory::Numeric,
            Self::Text | Self::Varchar(_) | Self::Char(_) | Self::Name => TypeCategory::String,
            Self::QuotedChar | Self::PgNodeTree => TypeCategory::Internal,
            Self::Date | Self::Time(_) | Self::TimeTz(_) | Self::Timestamp(_) | Self::TimestampTz(_) => {
                TypeCategory::DateTime
            }
            Self::Interval => TypeCategory::Timespan,
            Self::Bytea | Self::Uuid | Self::Json | Self::Jsonb | Self::Xid => TypeCategory::UserDefined,
            Self::Array(_) | Self::Int2Vector | Self::OidVector => TypeCategory::Array,
            Self::Record | Self::Void | Self::AnyElement | Self::AnyArray | Self::AnyNonArray | Self::Any => {
                TypeCategory::Pseudo
            }
            Self::Unknown => TypeCategory::Unknown,
        }
    }

    /// `pg_type.typispreferred`: wins ties within its category.
    #[must_use]
    pub const fn is_preferred(&self) -> bool {
        matches!(
            self,
            Self::Bool | Self::Float8 | Self::Oid | Self::Text | Self::TimestampTz(_) | Self::Interval
        )
    }

    /// A type no column can have.
    #[must_use]
    pub const fn is_pseudo(&self) -> bool {
        matches!(self.category(), TypeCategory::Pseudo | TypeCategory::Unknown)
    }

    /// Stored and shown as a name although it is an oid underneath.
    #[must_use]
    pub const fn is_reg(&self) -> bool {
        matches!(
            self,
            Self::RegClass
                | Self::RegType
                | Self::RegProc
                | Self::RegProcedure
                | Self::RegOper
                | Self::RegOperator
                | Self::RegNamespace
                | Self::RegRole
        )
    }

    #[must_use]
    pub const fn is_integer(&self) -> bool {
        matches!(self, Self::Int2 | Self::Int4 | Self::Int8)
    }

    #[must_use]
    pub const fn is_string(&self) -> bool {
        matches!(self.category(), TypeCategory::String)
    }

    /// Has a btree order, so can be sorted, grouped, and stand in a key.
    #[must_use]
    pub fn is_ordered(&self) -> bool {
        match self {
            Self::Json | Self::Xid | Self::PgNodeTree | Self::Void => false,
            Self::AnyElement | Self::AnyArray | Self::AnyNonArray | Self::Any => false,
            Self::Array(element) => element.get().is_ordered(),
            _ => true,
        }
    }

    /// `pg_type.typname`.
    #[must_use]
    pub fn internal_name(&self) -> String {
        match self {
            Self::Array(element) => format!("_{}", element.get().internal_name()),
            other => other.internal_scalar_name().to_owned(),
        }
    }

    const fn internal_scalar_name(&self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int2 => "int2",
            Self::Int4 => "int4",
            Self::Int8 => "int8",
            Self::Float4 => "float4",
            Self::Float8 => "float8",
            Self::Numeric(_) => "numeric",
            Self::Text => "text",
            Self::Varchar(_) => "varchar",
            Self::Char(_) => "bpchar",
            Self::QuotedChar => "char",
            Self::Name => "name",
            Self::Bytea => "bytea",
            Self::Date => "date",
            Self::Time(_) => "time",
            Self::TimeTz(_) => "timetz",
            Self::Timestamp(_) => "timestamp",
            Self::TimestampTz(_) => "timestamptz",
            Self::Interval => "interval",
            Self::Uuid => "uuid",
            Self::Json => "json",
            Self::Jsonb => "jsonb",
            Self::Oid => "oid",
            Self::Xid => "xid",
            Self::RegClass => "regclass",
            Self::RegType => "regtype",
            Self::RegProc => "regproc",
            Self::RegProcedure => "regprocedure",
            Self::RegOper => "regoper",
            Self::RegOperator => "regoperator",
            Self::RegNamespace => "regnamespace",
            Self::RegRole => "regrole",
            Self::Int2Vector => "int2vector",
            Self::OidVector => "oidvector",
            Self::PgNodeTree => "pg_node_tree",
            Self::Record => "record",
            Self::Void => "void",
            Self::Unknown => "unknown",
            Self::AnyElement => "anyelement",
            Self::AnyArray => "anyarray",
            Self::AnyNonArray => "anynonarray",
            Self::Any => "any",
            Self::Array(_) => "array",
        }
    }

    /// The name without its modifier, as error messages spell it: `character varying`, `timestamp with time zone`.
    #[must_use]
    pub fn base_name(&self) -> String {
        match self {
            Self::Array(element) => format!("{}[]", element.get().base_name()),
            other => other.sql_scalar_name().to_owned(),
        }
    }

    pub(crate) const fn sql_scalar_name(&self) -> &'static str {
        match self {
            Self::Bool => "boolean",
            Self::Int2 => "smallint",
            Self::Int4 => "integer",
            Self::Int8 => "bigint",
            Self::Float4 => "real",
            Self::Float8 => "double precision",
            Self::Varchar(_) => "character varying",
            Self::Char(None) => "bpchar",
            Self::Char(Some(_)) => "character",
            Self::QuotedChar => "\"char\"",
            Self::Time(_) => "time without time zone",
            Self::TimeTz(_) => "time with time zone",
            Self::Timestamp(_) => "timestamp without time zone",
            Self::TimestampTz(_) => "timestamp with time zone",
            Self::Any => "\"any\"",
            other => other.internal_scalar_name(),
        }
    }

    /// `format_type`'s spelling: `character varying(10)`, `numeric(10,2)[]`.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Numeric(Some(m)) => format!("numeric({},{})", m.precision, m.scale),
            Self::Varchar(Some(n)) => format!("character varying({n})"),
            Self::Char(Some(n)) => format!("character({n})"),
            Self::Time(Some(p)) => format!("time({p}) without time zone"),
            Self::TimeTz(Some(p)) => format!("time({p}) with time zone"),
            Self::Timestamp(Some(p)) => format!("timestamp({p}) without time zone"),
            Self::TimestampTz(Some(p)) => format!("timestamp({p}) with time zone"),
            Self::Array(element) => format!("{}[]", element.get().name()),
            other => other.sql_scalar_name().to_owned(),
        }
    }

    /// Looks a bare type name up: internal names (`int4`, `_text`), SQL names (`double precision`), aliases
    /// (`decimal`). Case-insensitive, no modifier, no brackets. See [`SqlType::parse_name`] for those.
    #[must_use]
    pub fn lookup(name: &str) -> Option<Self> {
        let lower = name.trim().to_ascii_lowercase();
        let words: Vec<&str> = lower.split_ascii_whitespace().collect();
        let alias = match words.join(" ").as_str() {
            "boolean" => Self::Bool,
            "smallint" | "smallserial" | "serial2" => Self::Int2,
            "int" | "integer" | "serial" | "serial4" => Self::Int4,
            "bigint" | "bigserial" | "serial8" => Self::Int8,
            "real" => Self::Float4,
            "float" | "double precision" => Self::Float8,
            "decimal" | "dec" => Self::Numeric(None),
            "character varying" | "char varying" | "national character varying" | "nchar varying" => {
                Self::Varchar(None)
            }
            "character" | "char" | "nchar" | "national character" => Self::Char(Some(1)),
            "\"char\"" => Self::QuotedChar,
            "time without time zone" => Self::Time(None),
            "time with time zone" => Self::TimeTz(None),
            "timestamp without time zone" => Self::Timestamp(None),
            "timestamp with time zone" => Self::TimestampTz(None),
            "\"any\"" => Self::Any,
            "any" => return None,
            plain => {
                let plain = plain.strip_prefix("pg_catalog.").unwrap_or(plain);
                if plain == "char" {
                    return Some(Self::QuotedChar);
                }
                if let Some(element) = plain.strip_prefix('_') {
                    let element = SCALARS.iter().find(|ty| ty.internal_scalar_name() == element)?;
                    return (element.array_oid() != 0).then(|| element.array_of());
                }
                *SCALARS.iter().find(|ty| ty.internal_scalar_name() == plain)?
            }
        };
        Some(alias)
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
        let length = |what: &str| -> SqlResult<Option<u32>> {
            let n = one(what)?;
            if n < 1 {
                return Err(raise::invalid_parameter(format!("length for type {what} must be at least 1")));
            }
            if n > i64::from(MAX_CHARACTER_LENGTH) {
                return Err(raise::invalid_parameter(format!(
                    "length for type {what} cannot exceed {MAX_CHARACTER_LENGTH}"
                )));
            }
            Ok(Some(n as u32))
        };
        Ok(match self {
            Self::Varchar(_) => Self::Varchar(length("varchar")?),
            Self::Char(_) => Self::Char(length("char")?),
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

    /// Reads a whole type name: `varchar(10)`, `timestamp(3) with time zone`, `numeric(10,2)[]`, `_int4`,
    /// `text array`, `pg_catalog.int8`.
    pub fn parse_name(text: &str) -> SqlResult<Self> {
        let undefined =
            || SqlError::new(SqlState::UndefinedObject, format!("type \"{}\" does not exist", text.trim()));
        let mut rest = text.trim();
        let mut is_array = false;
        loop {
            if let Some(inner) = rest.strip_suffix(']') {
                let open = inner.rfind('[').ok_or_else(undefined)?;
                if !inner[open + 1..].trim().bytes().all(|b| b.is_ascii_digit()) {
                    return Err(undefined());
                }
                rest = inner[..open].trim_end();
                is_array = true;
            } else if rest.len() > 6 && rest.to_ascii_lowercase().ends_with(" array") {
                rest = rest[..rest.len() - 6].trim_end();
                is_array = true;
            } else {
                break;
            }
        }
        let (name, modifiers) = match rest.find('(') {
            Some(open) => {
                let close = rest[open..].find(')').ok_or_else(undefined)? + open;
                let modifiers = rest[open + 1..close]
                    .split(',')
                    .map(|m| m.trim().parse::<i64>().map_err(|_| undefined()))
                    .collect::<SqlResult<Vec<i64>>>()?;
                (format!("{} {}", &rest[..open], &rest[close + 1..]), modifiers)
            }
            None => (rest.to_owned(), Vec::new()),
        };
        let ty = Self::lookup(&name).ok_or_else(undefined)?.with_modifiers(&modifiers)?;
        Ok(if is_array { ty.array_of() } else { ty })
    }
}

impl fmt::Display for SqlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

/// (element oid, array oid).
const ARRAYS: &[(u32, u32)] = &[
    (16, 1000),
    (17, 1001),
    (18, 1002),
    (19, 1003),
    (20, 1016),
    (21, 1005),
    (22, 1006),
    (23, 1007),
    (24, 1008),
    (25, 1009),
    (26, 1028),
    (28, 1011),
    (30, 1013),
    (114, 199),
    (700, 1021),
    (701, 1022),
    (1042, 1014),
    (1043, 1015),
    (1082, 1182),
    (1083, 1183),
    (1114, 1115),
    (1184, 1185),
    (1186, 1187),
    (1266, 1270),
    (1700, 1231),
    (2202, 2207),
    (2203, 2208),
    (2204, 2209),
    (2205, 2210),
    (2206, 2211),
    (2249, 2287),
    (2950, 2951),
    (3802, 3807),
    (4089, 4090),
    (4096, 4097),
];

const fn array_oid_of(element: u32) -> u32 {
    let mut i = 0;
    while i < ARRAYS.len() {
        if ARRAYS[i].0 == element {
            return ARRAYS[i].1;
        }
        i += 1;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oids_and_modifiers_round_trip() {
        let mut all: Vec<SqlType> = SqlType::scalars().to_vec();
        all.extend(SqlType::scalars().iter().filter(|ty| ty.array_oid() != 0).map(|ty| ty.array_of()));
        for text in ["varchar(10)", "char(3)", "numeric(10,2)", "numeric(3,-2)", "timestamp(3)", "time(0) with time zone"] {
            all.push(SqlType::parse_name(text).unwrap());
            all.push(SqlType::parse_name(&format!("{text}[]")).unwrap());
        }
        for ty in all {
            assert_eq!(SqlType::from_oid(ty.oid(), ty.typmod()), Some(ty), "{ty}");
            if ty != SqlType::Char(None) && ty != SqlType::Char(None).array_of() {
                assert_eq!(SqlType::parse_name(&ty.name()).unwrap(), ty, "{ty}");
            }
        }
    }

    #[test]
    fn names_are_looked_up_as_postgresql_does() {
        let check = |name: &str, expected: &str| assert_eq!(SqlType::parse_name(name).unwrap().name(), expected);
        check("INT", "integer");
        check("varchar(10)", "character varying(10)");
        check("character varying (10)", "character varying(10)");
        check("char", "character(1)");
        check("bpchar", "bpchar");
        check("\"char\"", "\"char\"");
        check("float(24)", "real");
        check("float(25)", "double precision");
        check("numeric(10)", "numeric(10,0)");
        check("timestamp (3) with  time zone", "timestamp(3) with time zone");
        check("timestamptz[]", "timestamp with time zone[]");
        check("_int4", "integer[]");
        check("int4[3][]", "integer[]");
        check("text array", "text[]");
        check("pg_catalog.int8", "bigint");
        let code = |name: &str| SqlType::parse_name(name).unwrap_err().code();
        assert_eq!(code("nosuch"), SqlState::UndefinedObject);
        assert_eq!(code("varchar(0)"), SqlState::InvalidParameterValue);
        assert_eq!(code("numeric(1001)"), SqlState::InvalidParameterValue);
        assert_eq!(code("int4(3)"), SqlState::SyntaxError);
    }
}
