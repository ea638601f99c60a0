//! Names of types, written and read.

use std::fmt;

use super::{SCALARS, SqlType};
use crate::range_type::RangeType;
use crate::error::{SqlError, SqlResult, SqlState};

impl SqlType {
    /// `pg_type.typname`.
    #[must_use]
    pub fn internal_name(&self) -> String {
        match self {
            Self::Array(element) => match element.get() {
                Self::Enum(ty) => ty.content().array_name.to_string(),
                Self::Domain(ty) => ty.content().array_name.to_string(),
                Self::Composite(ty) => ty.content().array_name.to_string(),
                Self::Range(RangeType::Made(ty)) => ty.content().array_name.to_string(),
                Self::MultiRange(RangeType::Made(ty)) => ty.content().kind.multirange_array_name.to_string(),
                element => format!("_{}", element.internal_name()),
            },
            Self::Enum(ty) => ty.content().name.to_string(),
            Self::Domain(ty) => ty.content().name.to_string(),
            Self::Composite(ty) => ty.content().name.to_string(),
            Self::Range(RangeType::Made(ty)) => ty.content().name.to_string(),
            Self::MultiRange(RangeType::Made(ty)) => ty.content().kind.multirange_name.to_string(),
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
            Self::Inet => "inet",
            Self::Cidr => "cidr",
            Self::MacAddr => "macaddr",
            Self::Bit(_) => "bit",
            Self::VarBit(_) => "varbit",
            Self::Money => "money",
            Self::MacAddr8 => "macaddr8",
            Self::PgLsn => "pg_lsn",
            Self::Xid8 => "xid8",
            Self::Point => "point",
            Self::LSeg => "lseg",
            Self::Path => "path",
            Self::Box => "box",
            Self::Polygon => "polygon",
            Self::Line => "line",
            Self::Circle => "circle",
            Self::TsVector => "tsvector",
            Self::TsQuery => "tsquery",
            Self::RegConfig => "regconfig",
            Self::RegDictionary => "regdictionary",
            Self::JsonPath => "jsonpath",
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
            Self::Record(_) => "record",
            Self::Void => "void",
            Self::Unknown => "unknown",
            Self::AnyElement => "anyelement",
            Self::AnyArray => "anyarray",
            Self::AnyNonArray => "anynonarray",
            Self::Any => "any",
            Self::AnyEnum => "anyenum",
            Self::AnyRange => "anyrange",
            Self::AnyMultiRange => "anymultirange",
            Self::Range(ty) => ty.built_in_name(),
            Self::MultiRange(ty) => ty.built_in_multirange_name(),
            // These have names of their own.
            Self::Array(_) => "array",
            Self::Enum(_) => "enum",
            Self::Domain(_) => "domain",
            Self::Composite(_) => "composite",
        }
    }

    /// The name without its modifier, as error messages spell it: `character varying`, `timestamp with time zone`.
    #[must_use]
    pub fn base_name(&self) -> String {
        match self {
            Self::Array(element) => format!("{}[]", element.get().base_name()),
            Self::Enum(ty) => ty.shown(),
            Self::Domain(ty) => ty.shown(),
            Self::Composite(ty) => ty.shown(),
            Self::Range(RangeType::Made(ty)) => ty.shown(),
            Self::MultiRange(RangeType::Made(ty)) => ty.shown_as(&ty.content().kind.multirange_name),
            Self::Record(Some(id)) => id.get().table.as_deref().unwrap_or("record").to_owned(),
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
            Self::VarBit(_) => "bit varying",
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
            // Bare, the name stands for one bit.
            Self::Bit(None) => "\"bit\"".to_owned(),
            Self::Bit(Some(n)) => format!("bit({n})"),
            Self::VarBit(Some(n)) => format!("bit varying({n})"),
            Self::Time(Some(p)) => format!("time({p}) without time zone"),
            Self::TimeTz(Some(p)) => format!("time({p}) with time zone"),
            Self::Timestamp(Some(p)) => format!("timestamp({p}) without time zone"),
            Self::TimestampTz(Some(p)) => format!("timestamp({p}) with time zone"),
            Self::Array(element) => format!("{}[]", element.get().name()),
            Self::Enum(ty) => ty.shown(),
            Self::Domain(ty) => ty.shown(),
            Self::Composite(ty) => ty.shown(),
            Self::Range(_) | Self::MultiRange(_) => self.base_name(),
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
            "bit" => Self::Bit(Some(1)),
            "bit varying" => Self::VarBit(None),
            "time without time zone" => Self::Time(None),
            "time with time zone" => Self::TimeTz(None),
            "timestamp without time zone" => Self::Timestamp(None),
            "timestamp with time zone" => Self::TimestampTz(None),
            "\"any\"" => Self::Any,
            "any" => return None,
            plain => {
                let plain = plain.strip_prefix("pg_catalog.").unwrap_or(plain);
                match plain {
                    "char" => return Some(Self::QuotedChar),
                    "\"bit\"" => return Some(Self::Bit(None)),
                    _ => {}
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
