//! Functions, procedures and aggregates, as they are stored.
//!
//! Bytes: fields with tags ([`crate::tagged`]); types are oids with modifiers, or the rows of a relation.

use std::sync::Arc;

use keys::encoding::{put_uvarint, take_uvarint};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use types::{ParameterMode, RowType, SqlType, quote_identifier, relation_of_row_type};

use crate::aggregate::AggregateDefinition;
use crate::snapshot::CatalogSnapshot;
use crate::tagged::{Malformed, Reader, Writer};

/// The oids of types that have a name and no values of their own here.
pub const TRIGGER_OID: u32 = 2_279;
pub const REFCURSOR_OID: u32 = 1_790;
pub const SQL_LANGUAGE: u32 = 14;
pub const PLPGSQL_LANGUAGE: u32 = 13_563;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RoutineKind {
    Function,
    Procedure,
    /// [`Routine::aggregate`] says what it consists of.
    Aggregate,
}

impl RoutineKind {
    const fn number(self) -> u64 {
        match self {
            Self::Function => 0,
            Self::Procedure => 1,
            Self::Aggregate => 2,
        }
    }

    const fn from_number(number: u64) -> Option<Self> {
        match number {
            0 => Some(Self::Function),
            1 => Some(Self::Procedure),
            2 => Some(Self::Aggregate),
            _ => None,
        }
    }

    /// `pg_proc.prokind`.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::Function => 'f',
            Self::Procedure => 'p',
            Self::Aggregate => 'a',
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Language {
    Sql,
    PlPgSql,
}

impl Language {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sql => "sql",
            Self::PlPgSql => "plpgsql",
        }
    }

    #[must_use]
    pub const fn oid(self) -> u32 {
        match self {
            Self::Sql => SQL_LANGUAGE,
            Self::PlPgSql => PLPGSQL_LANGUAGE,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RoutineVolatility {
    #[default]
    Volatile,
    Stable,
    Immutable,
}

impl RoutineVolatility {
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::Volatile => 'v',
            Self::Stable => 's',
            Self::Immutable => 'i',
        }
    }
}

/// A type as routines store it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoredType {
    Oid { oid: u32, modifier: i32 },
    /// The rows of a relation, or arrays of them.
    Rows { relation: u32, is_array: bool },
}

impl StoredType {
    pub const VOID: Self = Self::plain(2_278);
    pub const RECORD: Self = Self::plain(2_249);
    pub const TRIGGER: Self = Self::plain(TRIGGER_OID);
    pub const REFCURSOR: Self = Self::plain(REFCURSOR_OID);

    #[must_use]
    pub const fn plain(oid: u32) -> Self {
        Self::Oid { oid, modifier: -1 }
    }

    #[must_use]
    pub fn of(ty: &SqlType) -> Self {
        if let Some(relation) = relation_of_row_type(ty.oid()) {
            return Self::Rows { relation, is_array: ty.is_array() };
        }
        Self::Oid { oid: ty.oid(), modifier: ty.typmod() }
    }

    /// The same without its modifier: what routines are told apart by.
    #[must_use]
    pub const fn base(self) -> Self {
        match self {
            Self::Oid { oid, .. } => Self::plain(oid),
            rows => rows,
        }
    }

    #[must_use]
    pub fn is_polymorphic(self) -> bool {
        matches!(self, Self::Oid { oid, .. } if matches!(
            SqlType::from_oid(oid, -1),
            Some(
                SqlType::AnyElement
                    | SqlType::AnyArray
                    | SqlType::AnyNonArray
                    | SqlType::AnyEnum
                    | SqlType::AnyRange
                    | SqlType::AnyMultiRange
            )
        ))
    }

    pub(crate) fn encode(self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Oid { oid, modifier } => {
                put_uvarint(&mut out, 0);
                put_uvarint(&mut out, oid.into());
                // So that -1, which most have, is short.
                put_uvarint(&mut out, (i64::from(modifier) + 1).unsigned_abs());
            }
            Self::Rows { relation, is_array } => {
                put_uvarint(&mut out, 1 + u64::from(is_array));
                put_uvarint(&mut out, relation.into());
            }
        }
        out
    }

    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let mut number = || take_uvarint(&mut bytes).ok();
        let kind = number()?;
        let id = u32::try_from(number()?).ok()?;
        match kind {
            0 => Some(Self::Oid { oid: id, modifier: i32::try_from(i64::try_from(number()?).ok()? - 1).ok()? }),
            1 | 2 => Some(Self::Rows { relation: id, is_array: kind == 2 }),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct RoutineParameter {
    /// Empty for one without a name.
    pub name: String,
    pub mode: ParameterMode,
    pub ty: StoredType,
    /// SQL text.
    pub default: Option<String>,
}

impl RoutineParameter {
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.text(2, &self.name);
        writer.number(4, u32::from(self.mode.letter()).into(), u32::from('i').into());
        writer.bytes(6, &self.ty.encode());
        if let Some(default) = &self.default {
            writer.bytes(8, default.as_bytes());
        }
        writer.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let name = reader.text(2)?;
        let mode = reader.number(4, u32::from('i').into())?;
        let mode = u32::try_from(mode).ok().and_then(char::from_u32).and_then(ParameterMode::from_letter).ok_or(Malformed::Bad(4))?;
        let ty = reader.bytes(6)?.and_then(StoredType::decode).ok_or(Malformed::Bad(6))?;
        let default = reader.bytes(8)?.map(|bytes| String::from_utf8(bytes.to_vec())).transpose();
        let default = default.map_err(|_| Malformed::Bad(8))?;
        reader.finish()?;
        Ok(Self { name, mode, ty, default })
    }
}

/// A function, procedure or aggregate. An aggregate has no language and no body of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Routine {
    pub id: u32,
    pub schema: u32,
    pub name: String,
    pub owner: u32,
    pub kind: RoutineKind,
    pub parameters: Vec<RoutineParameter>,
    pub returns: StoredType,
    pub returns_set: bool,
    pub language: Language,
    pub body: String,
    pub volatility: RoutineVolatility,
    pub strict: bool,
    pub security_definer: bool,
    pub leakproof: bool,
    /// `u`, `r` or `s`.
    pub parallel: char,
    pub cost: f32,
    pub rows: f32,
    /// SET name TO value.
    pub settings: Vec<(String, String)>,
    pub comment: Option<String>,
    pub aggregate: Option<Box<AggregateDefinition>>,
}

impl Routine {
    pub fn inputs(&self) -> impl Iterator<Item = &RoutineParameter> {
        self.parameters.iter().filter(|parameter| parameter.mode.is_input())
    }

    pub fn outputs(&self) -> impl Iterator<Item = &RoutineParameter> {
        self.parameters.iter().filter(|parameter| parameter.mode.is_output())
    }

    /// What tells it apart from others of its name: the types of its inputs.
    #[must_use]
    pub fn input_types(&self) -> Vec<StoredType> {
        self.inputs().map(|parameter| parameter.ty.base()).collect()
    }

    #[must_use]
    pub fn is_trigger(&self) -> bool {
        self.returns == StoredType::TRIGGER
    }

    /// What a call answers is a row of these: its output parameters, where it has several, or any of a procedure's.
    #[must_use]
    pub fn has_row_of_outputs(&self) -> bool {
        let count = self.outputs().count();
        count > 1 || (count == 1 && self.kind == RoutineKind::Procedure)
    }

    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.number(2, self.id.into(), 0);
        writer.number(4, self.schema.into(), 0);
        writer.text(6, &self.name);
        writer.number(8, self.owner.into(), 0);
        writer.number(10, self.kind.number(), 0);
        writer.list(12, self.parameters.iter().map(RoutineParameter::encode));
        writer.bytes(14, &self.returns.encode());
        writer.flag(16, self.returns_set);
        writer.number(18, (self.language == Language::PlPgSql).into(), 0);
        writer.text(20, &self.body);
        writer.number(22, u32::from(self.volatility.letter()).into(), u32::from('v').into());
        writer.flag(24, self.strict);
        writer.flag(26, self.security_definer);
        writer.flag(29, self.leakproof);
        writer.number(31, u32::from(self.parallel).into(), u32::from('u').into());
        writer.number(33, self.cost.to_bits().into(), 100_f32.to_bits().into());
        writer.number(35, self.rows.to_bits().into(), 0);
        writer.list(36, self.settings.iter().flat_map(|(name, value)| [name.clone().into_bytes(), value.clone().into_bytes()]));
        if let Some(comment) = &self.comment {
            writer.bytes(39, comment.as_bytes());
        }
        if let Some(aggregate) = &self.aggregate {
            writer.bytes(40, &aggregate.encode());
        }
        writer.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let text = |tag: u64, bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| Malformed::Bad(tag));
        let letter = |tag: u64, number: u64| u32::try_from(number).ok().and_then(char::from_u32).ok_or(Malformed::Bad(tag));
        let bits = |tag: u64, number: u64| u32::try_from(number).map(f32::from_bits).map_err(|_| Malformed::Bad(tag));
        let mut reader = Reader::new(bytes)?;
        let routine = Self {
            id: reader.id(2)?,
            schema: reader.id(4)?,
            name: reader.text(6)?,
            owner: reader.id(8)?,
            kind: RoutineKind::from_number(reader.number(10, 0)?).ok_or(Malformed::Bad(10))?,
            parameters: reader.list(12)?.into_iter().map(RoutineParameter::decode).collect::<Result<_, _>>()?,
            returns: reader.bytes(14)?.and_then(StoredType::decode).ok_or(Malformed::Bad(14))?,
            returns_set: reader.flag(16)?,
            language: if reader.flag(18)? { Language::PlPgSql } else { Language::Sql },
            body: reader.text(20)?,
            volatility: match letter(22, reader.number(22, u32::from('v').into())?)? {
                'i' => RoutineVolatility::Immutable,
                's' => RoutineVolatility::Stable,
                'v' => RoutineVolatility::Volatile,
                _ => return Err(Malformed::Bad(22)),
            },
            strict: reader.flag(24)?,
            security_definer: reader.flag(26)?,
            leakproof: reader.flag(29)?,
            parallel: letter(31, reader.number(31, u32::from('u').into())?)?,
            cost: bits(33, reader.number(33, 100_f32.to_bits().into())?)?,
            rows: bits(35, reader.number(35, 0)?)?,
            settings: {
                let words = reader.list(36)?.into_iter().map(|word| text(36, word)).collect::<Result<Vec<_>, _>>()?;
                words.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
            },
            comment: reader.bytes(39)?.map(|bytes| text(39, bytes)).transpose()?,
            aggregate: reader.bytes(40)?.map(AggregateDefinition::decode).transpose()?.map(Box::new),
        };
        reader.finish()?;
        if (routine.kind == RoutineKind::Aggregate) != routine.aggregate.is_some() {
            return Err(Malformed::Bad(40));
        }
        Ok(routine)
    }
}

impl Serialize for Routine {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.encode())
    }
}

impl<'de> Deserialize<'de> for Routine {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = <Vec<u8>>::deserialize(deserializer)?;
        Self::decode(&bytes).map_err(serde::de::Error::custom)
    }
}

impl CatalogSnapshot {
    /// A routine's type as it is now; none when it has been dropped. A refcursor's values are text.
    #[must_use]
    pub fn stored_type(&self, ty: StoredType) -> Option<SqlType> {
        match ty {
            StoredType::Oid { oid: REFCURSOR_OID, .. } => Some(SqlType::Text),
            StoredType::Oid { oid: TRIGGER_OID, .. } => Some(SqlType::Void),
            StoredType::Oid { oid, modifier } => self.type_by_oid(oid, modifier),
            StoredType::Rows { relation, is_array } => {
                let ty = self.row_type_of(relation)?;
                Some(if is_array { ty.array_of() } else { ty })
            }
        }
    }

    /// A routine's type as messages show it.
    #[must_use]
    pub fn shown_type(&self, ty: StoredType) -> String {
        match ty {
            StoredType::Oid { oid: REFCURSOR_OID, .. } => "refcursor".to_owned(),
            StoredType::Oid { oid: TRIGGER_OID, .. } => "trigger".to_owned(),
            StoredType::Oid { oid, .. } => {
                self.type_by_oid(oid, -1).map_or_else(|| oid.to_string(), |ty| ty.base_name())
            }
            StoredType::Rows { relation, is_array } => {
                let name = self.relation_by_id(relation).map_or_else(String::new, |it| quote_identifier(it.name()));
                if is_array { format!("{name}[]") } else { name }
            }
        }
    }

    /// A routine as messages show it: `f(integer, text)`.
    #[must_use]
    pub fn signature(&self, routine: &Routine) -> String {
        self.signature_of(&routine.name, &routine.input_types())
    }

    /// As [`CatalogSnapshot::signature`], of one that need not exist.
    #[must_use]
    pub fn signature_of(&self, name: &str, inputs: &[StoredType]) -> String {
        let types: Vec<String> = inputs.iter().map(|ty| self.shown_type(*ty)).collect();
        format!("{}({})", quote_identifier(name), types.join(", "))
    }

    /// What a call of a routine answers, as far as its declaration says: the type of each row where it is a set.
    #[must_use]
    pub fn result_type(&self, routine: &Routine) -> Option<SqlType> {
        if !routine.has_row_of_outputs() {
            return self.stored_type(routine.returns);
        }
        let fields = routine.outputs().enumerate().map(|(at, parameter)| {
            let name = match parameter.name.as_str() {
                "" => Arc::from(format!("column{}", at + 1)),
                name => Arc::from(name),
            };
            Some((name, self.stored_type(parameter.ty)?))
        });
        Some(SqlType::record_of(RowType { table: None, fields: fields.collect::<Option<_>>()? }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routine() -> Routine {
        let parameter = |name: &str, mode, ty, default: Option<&str>| RoutineParameter {
            name: name.into(),
            mode,
            ty,
            default: default.map(str::to_owned),
        };
        Routine {
            id: 16_400,
            schema: 2_200,
            name: "f".into(),
            owner: 10,
            kind: RoutineKind::Function,
            parameters: vec![
                parameter("a", ParameterMode::In, StoredType::plain(23), None),
                parameter("", ParameterMode::Variadic, StoredType::Oid { oid: 1_015, modifier: 14 }, Some("'x'")),
                parameter("b", ParameterMode::Out, StoredType::Rows { relation: 16_384, is_array: true }, None),
            ],
            returns: StoredType::RECORD,
            returns_set: true,
            language: Language::PlPgSql,
            body: "begin end".into(),
            volatility: RoutineVolatility::Stable,
            strict: true,
            security_definer: false,
            leakproof: false,
            parallel: 'u',
            cost: 100.0,
            rows: 1000.0,
            settings: vec![("search_path".into(), "public".into())],
            comment: None,
            aggregate: None,
        }
    }

    #[test]
    fn golden_bytes_of_a_routine() {
        let bytes = routine().encode();
        let shown: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(Routine::decode(&bytes).unwrap(), routine());
        assert_eq!(shown, include_str!("routine.golden").trim(), "bytes that are stored stay readable");
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let bytes = routine().encode();
        for end in 1..bytes.len() {
            // An error, or fields that are whole.
            let _ = Routine::decode(&bytes[..end]);
        }
        assert!(Routine::decode(&[]).is_err(), "an empty value is no routine");
        let mut later = bytes;
        later.extend([200, 1, 0]);
        assert_eq!(Routine::decode(&later), Err(Malformed::Unknown(200)));
    }
}
