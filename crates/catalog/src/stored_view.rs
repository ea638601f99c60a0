//! What the catalog keeps of views beside their query: what its names meant, what is written through them, and what is kept
//! of a materialized one. Their bytes are fields with tags ([`crate::tagged`]), behind those of the view or table.
//!
//! **Invariant (names-by-id):** a view's query is bound with the relations and columns that its names meant when it was
//! made. So renames change no view, and a column that is added later is in no `*` of one. Upheld by
//! [`NamedRelation`], which has the ids, and by the binder, which asks it first.
//!
//! **Invariant (calls-by-id):** what a call in the query of a view or in a policy may mean is a builtin or one of the routines
//! that it depends on since it was made. So no routine that comes later, better as it may fit, is called in their place, and no
//! rename of a schema changes them. Upheld by the binder, which looks among these alone.

use std::sync::Arc;

use keys::{ColumnId, IndexId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use types::Datum;

use crate::descriptor::{Column, ColumnDefault, Derived, OnCommit, Table, View};
use crate::literals::LiteralSettings;
use crate::tagged::{Malformed, Reader, Writer};
use crate::trigger::{Trigger, TriggerEvent, TriggerTiming};

/// A name of a relation in a query, and what it meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedRelation {
    pub schema: Option<String>,
    pub name: String,
    pub id: u32,
    /// Its visible columns as they were called: ids of a table's, of others their numbers from 1.
    pub columns: Vec<(u32, String)>,
}

/// WITH CHECK OPTION.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckOption {
    Local,
    Cascaded,
}

impl CheckOption {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Cascaded => "cascaded",
        }
    }
}

/// WITH (…) of a view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ViewOptions {
    pub check_option: Option<CheckOption>,
    pub security_barrier: Option<bool>,
    pub security_invoker: Option<bool>,
}

impl ViewOptions {
    /// As `reloptions` has them.
    #[must_use]
    pub fn shown(&self) -> Vec<String> {
        let flag = |name: &str, value: Option<bool>| value.map(|value| format!("{name}={value}"));
        let check = self.check_option.map(|it| format!("check_option={}", it.name()));
        let barrier = flag("security_barrier", self.security_barrier);
        let invoker = flag("security_invoker", self.security_invoker);
        barrier.into_iter().chain(invoker).chain(check).collect()
    }
}

/// What a view has beside its query.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ViewDetails {
    pub names: Vec<NamedRelation>,
    pub options: ViewOptions,
    /// Numbers of columns from 1, and SQL text: what INSERT puts there when nothing is given.
    pub defaults: Vec<(u32, String)>,
    /// By name, as those of tables.
    pub triggers: Vec<Trigger>,
    /// How the literals of its query are read; as the reader has it where that was not kept.
    pub literals: Option<LiteralSettings>,
}

/// What makes a table a materialized view.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Materialized {
    /// As in [`View`].
    pub query: String,
    pub path: Vec<String>,
    pub depends_on: Vec<u32>,
    pub names: Vec<NamedRelation>,
    /// It holds what the query yielded at some time.
    pub is_populated: bool,
    /// As in [`ViewDetails`].
    pub literals: Option<LiteralSettings>,
}

fn text(tag: u64, bytes: &[u8]) -> Result<String, Malformed> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Malformed::Bad(tag))
}

fn id(tag: u64, bytes: &[u8]) -> Result<u32, Malformed> {
    Ok(u32::from_be_bytes(bytes.try_into().map_err(|_| Malformed::Bad(tag))?))
}

/// A number and the text that goes with it.
fn pair(number: u32, text: &str) -> Vec<u8> {
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

fn read_pair(tag: u64, bytes: &[u8]) -> Result<(u32, String), Malformed> {
    let (number, rest) = bytes.split_at_checked(4).ok_or(Malformed::Bad(tag))?;
    Ok((id(tag, number)?, text(tag, rest)?))
}

impl NamedRelation {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        if let Some(schema) = &self.schema {
            writer.bytes(2, schema.as_bytes());
        }
        writer.text(4, &self.name);
        writer.number(6, self.id.into(), 0);
        writer.list(8, self.columns.iter().map(|(number, name)| pair(*number, name)));
        writer.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let named = Self {
            schema: reader.bytes(2)?.map(|bytes| text(2, bytes)).transpose()?,
            name: reader.text(4)?,
            id: reader.id(6)?,
            columns: reader.list(8)?.into_iter().map(|bytes| read_pair(8, bytes)).collect::<Result<_, _>>()?,
        };
        reader.finish()?;
        Ok(named)
    }
}

/// Unset, false, true.
const fn flag(value: Option<bool>) -> u64 {
    match value {
        None => 0,
        Some(false) => 1,
        Some(true) => 2,
    }
}

fn read_flag(tag: u64, number: u64) -> Result<Option<bool>, Malformed> {
    match number {
        0 => Ok(None),
        1 => Ok(Some(false)),
        2 => Ok(Some(true)),
        _ => Err(Malformed::Bad(tag)),
    }
}

impl ViewDetails {
    fn encode(&self) -> Vec<u8> {
        let check = match self.options.check_option {
            None => 0,
            Some(CheckOption::Local) => 1,
            Some(CheckOption::Cascaded) => 2,
        };
        let mut writer = Writer::default();
        writer.list(2, self.names.iter().map(NamedRelation::encode));
        writer.number(4, check, 0);
        writer.number(6, flag(self.options.security_barrier), 0);
        writer.number(8, flag(self.options.security_invoker), 0);
        writer.list(10, self.defaults.iter().map(|(number, text)| pair(*number, text)));
        writer.list(12, self.triggers.iter().map(Trigger::encode));
        if let Some(literals) = &self.literals {
            writer.bytes(14, &literals.encode());
        }
        writer.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let details = Self {
            names: reader.list(2)?.into_iter().map(NamedRelation::decode).collect::<Result<_, _>>()?,
            options: ViewOptions {
                check_option: match reader.number(4, 0)? {
                    0 => None,
                    1 => Some(CheckOption::Local),
                    2 => Some(CheckOption::Cascaded),
                    _ => return Err(Malformed::Bad(4)),
                },
                security_barrier: read_flag(6, reader.number(6, 0)?)?,
                security_invoker: read_flag(8, reader.number(8, 0)?)?,
            },
            defaults: reader.list(10)?.into_iter().map(|bytes| read_pair(10, bytes)).collect::<Result<_, _>>()?,
            triggers: reader.list(12)?.into_iter().map(Trigger::decode).collect::<Result<_, _>>()?,
            literals: reader.bytes(14)?.map(LiteralSettings::decode).transpose()?,
        };
        reader.finish()?;
        Ok(details)
    }
}

impl Materialized {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.text(2, &self.query);
        writer.list(4, self.path.iter().map(|name| name.clone().into_bytes()));
        writer.list(6, self.depends_on.iter().map(|id| id.to_be_bytes().to_vec()));
        writer.list(8, self.names.iter().map(NamedRelation::encode));
        writer.flag(10, self.is_populated);
        if let Some(literals) = &self.literals {
            writer.bytes(12, &literals.encode());
        }
        writer.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let made = Self {
            query: reader.text(2)?,
            path: reader.list(4)?.into_iter().map(|bytes| text(4, bytes)).collect::<Result<_, _>>()?,
            depends_on: reader.list(6)?.into_iter().map(|bytes| id(6, bytes)).collect::<Result<_, _>>()?,
            names: reader.list(8)?.into_iter().map(NamedRelation::decode).collect::<Result<_, _>>()?,
            is_populated: reader.flag(10)?,
            literals: reader.bytes(12)?.map(LiteralSettings::decode).transpose()?,
        };
        reader.finish()?;
        Ok(made)
    }
}

impl Serialize for ViewDetails {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.encode())
    }
}

impl<'de> Deserialize<'de> for ViewDetails {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = <Vec<u8>>::deserialize(deserializer)?;
        Self::decode(&bytes).map_err(serde::de::Error::custom)
    }
}

impl Serialize for Materialized {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.encode())
    }
}

impl<'de> Deserialize<'de> for Materialized {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = <Vec<u8>>::deserialize(deserializer)?;
        Self::decode(&bytes).map_err(serde::de::Error::custom)
    }
}

impl View {
    /// A view as a table without indexes: its columns with their defaults, and its triggers, for what asks these of
    /// tables. Nothing is stored in it.
    #[must_use]
    pub fn as_table(&self) -> &Arc<Table> {
        self.table.get_or_init(|| {
            let default = |number: u32| self.details.defaults.iter().find(|(known, _)| *known == number);
            let column = |(number, (name, ty)): (u32, &(String, types::SqlType))| {
                let mut column = Column {
                    id: ColumnId::new(number),
                    name: name.clone(),
                    ty: *ty,
                    domain: None,
                    nullable: true,
                    default: default(number).map(|(_, text)| ColumnDefault::Expr(text.clone())),
                    missing: Datum::Null,
                    hidden: false,
                };
                column.declare(*ty);
                column
            };
            Arc::new(Table {
                id: self.id,
                name: self.name.clone(),
                schema: self.schema,
                owner: self.owner,
                columns: (1..).zip(&self.columns).map(column).collect(),
                indexes: Vec::new(),
                checks: Vec::new(),
                foreign_keys: Vec::new(),
                referenced_by: Vec::new(),
                triggers: self.details.triggers.clone(),
                next_column: ColumnId::new(u32::try_from(self.columns.len()).unwrap_or(u32::MAX - 1) + 1),
                next_index: IndexId::new(1),
                storage: self.id,
                comment: self.comment.clone(),
                on_commit: OnCommit::default(),
                comments: self.comments.clone(),
                materialized: None,
                partitioning: None,
                security: None,
                zones: None,
                codecs: Derived::default(),
            })
        })
    }

    /// Whether rows are changed through its triggers.
    #[must_use]
    pub fn has_instead_of(&self, event: TriggerEvent) -> bool {
        let triggers = self.details.triggers.iter();
        triggers.into_iter().any(|it| it.timing == TriggerTiming::InsteadOf && it.events.has(event))
    }
}

impl Table {
    /// Whether this is a view seen as a table: [`View::as_table`].
    #[must_use]
    pub fn is_view(&self) -> bool {
        self.indexes.is_empty()
    }

    /// Whether it may be read. A materialized view may not before it was filled.
    #[must_use]
    pub fn is_populated(&self) -> bool {
        self.materialized.as_ref().is_none_or(|it| it.is_populated)
    }

    /// A materialized view as the view of its query.
    #[must_use]
    pub fn as_view(&self) -> Option<View> {
        let of = self.materialized.as_deref()?;
        Some(View {
            id: self.id,
            name: self.name.clone(),
            schema: self.schema,
            owner: self.owner,
            columns: self.visible_columns().map(|(_, it)| (it.name.clone(), it.declared())).collect(),
            query: of.query.clone(),
            path: of.path.clone(),
            depends_on: of.depends_on.clone(),
            comment: None,
            comments: Vec::new(),
            details: ViewDetails { names: of.names.clone(), literals: of.literals.clone(), ..ViewDetails::default() },
            table: Derived::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::{Commented, Descriptor};
    use crate::trigger::{TriggerEnabled, TriggerEvents};
    use types::SqlType;

    fn named() -> NamedRelation {
        NamedRelation { schema: Some("s".into()), name: "t".into(), id: 16_400, columns: vec![(1, "a".into()), (3, "é".into())] }
    }

    fn view() -> View {
        View {
            id: 300,
            name: "v".into(),
            schema: 2_200,
            owner: 10,
            columns: vec![("a".into(), SqlType::Int4)],
            query: "SELECT 1 AS a".into(),
            path: vec!["public".into()],
            depends_on: vec![16_400],
            comment: None,
            comments: vec![(Commented::Column(ColumnId::new(1)), "c".into())],
            details: ViewDetails::default(),
            table: Derived::default(),
        }
    }

    fn details() -> ViewDetails {
        let trigger = Trigger {
            oid: 301,
            name: "i".into(),
            routine: 302,
            timing: TriggerTiming::InsteadOf,
            for_each_row: true,
            events: TriggerEvents::default().with(TriggerEvent::Insert),
            columns: Vec::new(),
            condition: None,
            arguments: Vec::new(),
            old_table: None,
            new_table: None,
            constraint: None,
            enabled: TriggerEnabled::Origin,
        };
        ViewDetails {
            names: vec![named()],
            options: ViewOptions {
                check_option: Some(CheckOption::Cascaded),
                security_barrier: Some(true),
                security_invoker: Some(false),
            },
            defaults: vec![(1, "7".into())],
            triggers: vec![trigger],
            literals: Some(crate::literals::tests::sample()),
        }
    }

    /// What was stored before views had anything beside their query is what is stored for one that has nothing.
    #[test]
    fn golden_bytes_of_views() {
        let shown = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let plain = Descriptor::View(view());
        let stored = postcard::to_stdvec(&plain).unwrap();
        let mut golden = include_str!("stored_view.golden").lines();
        assert_eq!(Some(&*shown(&stored)), golden.next(), "views without details");
        assert_eq!(postcard::from_bytes::<Descriptor>(&stored).unwrap(), plain);
        let bytes = details().encode();
        assert_eq!(Some(&*shown(&bytes)), golden.next(), "bytes that are stored stay readable");
        let whole = Descriptor::View(View { details: details(), ..view() });
        let stored = postcard::to_stdvec(&whole).unwrap();
        assert_eq!(stored[0], 9);
        assert_eq!(postcard::from_bytes::<Descriptor>(&stored).unwrap(), whole);
    }

    #[test]
    fn golden_bytes_of_a_materialized_view() {
        let made = Materialized {
            query: "SELECT 1".into(),
            path: vec!["public".into(), String::new()],
            depends_on: vec![16_400],
            names: vec![named()],
            is_populated: true,
            literals: Some(crate::literals::tests::sample()),
        };
        let bytes = made.encode();
        let shown: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(Some(&*shown), include_str!("stored_view.golden").lines().nth(2), "bytes that are stored stay readable");
        assert_eq!(Materialized::decode(&bytes).unwrap(), made);
        for end in 0..bytes.len() {
            // An error, or fields that are whole.
            let _ = Materialized::decode(&bytes[..end]);
            let _ = ViewDetails::decode(&bytes[..end]);
        }
    }

    #[test]
    fn a_view_is_a_table_to_its_triggers() {
        let view = View { details: details(), ..view() };
        let table = view.as_table();
        assert!(table.is_view() && view.has_instead_of(TriggerEvent::Insert) && !view.has_instead_of(TriggerEvent::Delete));
        assert_eq!(table.columns[0].default, Some(ColumnDefault::Expr("7".into())));
        assert_eq!(view.details.options.shown(), ["security_barrier=true", "security_invoker=false", "check_option=cascaded"]);
    }
}
