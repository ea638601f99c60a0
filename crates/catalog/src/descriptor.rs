//! What the catalog holds: one descriptor for each object, stored as one value, shared in memory behind an `Arc`.
//!
//! An object's id is its oid. Ids below [`FIRST_USER_ID`] belong to what every cluster has from the start.
//! Expressions (defaults, checks, predicates, view bodies) are kept as SQL text with every name resolved the way it
//! was at creation, as the text is what `pg_get_expr` shows and what a newer binder can always read.
//!
//! What came to tables and views later is stored behind them, in a kind of descriptor of its own ([`Stored`]): those without
//! it are stored as ever.

use std::sync::{Arc, OnceLock};

use keys::{ColumnId, IndexId, TableId};
use serde::{Deserialize, Serialize};
use types::{Datum, Direction, NullsOrder, SqlType};

pub use crate::composite::{Attribute, Composite};
pub use crate::domain::{Domain, DomainCheck, VALUE};
pub use crate::range_type::RangeOf;
use crate::index_details::IndexDetails;
use crate::partition::Partitioning;
use crate::policy::RowSecurity;
use crate::row::IndexCodec;
use crate::stored_view::{Materialized, ViewDetails};
use crate::cluster::{ClusterParts, ClusterSettings};
use crate::table_parts::TableParts;
use crate::trigger::Trigger;
use crate::zones::TableZones;

pub const FIRST_USER_ID: u32 = keys::keyspace::FIRST_USER_TABLE.get();
/// Of [`ClusterSettings`], which every cluster has one of.
pub const CLUSTER_SETTINGS: u32 = 1;
pub const POSTGRES_ROLE: u32 = 10;
/// `pg_database_owner`, whom the schema `public` of every database belongs to.
pub const DATABASE_OWNER_ROLE: u32 = 6_171;
pub const POSTGRES_DATABASE: u32 = 5;
pub const PG_CATALOG_SCHEMA: u32 = 11;
pub const INFORMATION_SCHEMA: u32 = 13_000;
/// `public` of the database `postgres`; other databases get their own.
pub const PUBLIC_SCHEMA: u32 = 2_200;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Database {
    pub id: u32,
    pub name: String,
    pub owner: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schema {
    pub id: u32,
    /// 0 for the schemas that every database sees.
    pub database: u32,
    pub name: String,
    pub owner: u32,
    pub comment: Option<String>,
}

/// The names of the schemas of temporary objects begin with it; each session that makes some has one.
pub const TEMPORARY_PREFIX: &str = "pg_temp_";

impl Schema {
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        self.name.starts_with(TEMPORARY_PREFIX)
    }
}

/// What becomes of a temporary table when a transaction that has used it commits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnCommit {
    #[default]
    PreserveRows,
    DeleteRows,
    Drop,
}

/// What in a relation a comment is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Commented {
    /// Of a view, numbered from 1.
    Column(ColumnId),
    /// An index or constraint, by its oid.
    Part(u32),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Role {
    pub id: u32,
    pub name: String,
    pub superuser: bool,
    pub login: bool,
    pub create_db: bool,
    pub create_role: bool,
    /// What is kept of the password: a SCRAM verifier.
    pub password: Option<String>,
    /// Until when the password is good, in microseconds since 2000.
    pub valid_until: Option<i64>,
    /// How many sessions it may have on one node; as many as it likes when it is negative.
    pub connection_limit: i32,
}

impl Role {
    /// A role that may do nothing by itself.
    #[must_use]
    pub fn new(id: u32, name: &str) -> Self {
        Self {
            id,
            name: name.into(),
            superuser: false,
            login: false,
            create_db: false,
            create_role: false,
            password: None,
            valid_until: None,
            connection_limit: -1,
        }
    }
}

/// How a column's value comes to be when INSERT does not give it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ColumnDefault {
    /// SQL text of an expression.
    Expr(String),
    /// GENERATED { ALWAYS | BY DEFAULT } AS IDENTITY over the sequence with this id.
    Identity { sequence: u32, always: bool },
    /// GENERATED ALWAYS AS (expr) STORED.
    Stored(String),
}

impl ColumnDefault {
    /// `DEFAULT NULL` is as good as none.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Expr(text) if text.eq_ignore_ascii_case("null"))
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Column {
    pub id: ColumnId,
    pub name: String,
    /// What its values are stored as: of a domain, the type under it.
    pub ty: SqlType,
    /// The domain, or the arrays of one, that it was declared as.
    pub domain: Option<SqlType>,
    pub nullable: bool,
    pub default: Option<ColumnDefault>,
    /// The value of rows written before ADD COLUMN, so that adding a column touches no row.
    pub missing: Datum,
    /// The row id of a table without a primary key: not in `*`.
    pub hidden: bool,
}

impl Column {
    /// The type that it was declared as.
    #[must_use]
    pub fn declared(&self) -> SqlType {
        self.domain.unwrap_or(self.ty)
    }

    /// Makes it be of a type.
    pub fn declare(&mut self, ty: SqlType) {
        self.ty = ty.base();
        self.domain = ty.is_domain().then_some(ty);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexColumn {
    pub column: ColumnId,
    pub direction: Direction,
    pub nulls: NullsOrder,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Index {
    pub id: IndexId,
    pub oid: u32,
    pub name: String,
    pub unique: bool,
    /// NULLS NOT DISTINCT: of a unique one, NULLs are equal to each other.
    pub nulls_not_distinct: bool,
    pub columns: Vec<IndexColumn>,
    /// INCLUDE columns, kept in the entry's value.
    pub included: Vec<ColumnId>,
    /// SQL text of a partial index's predicate.
    pub predicate: Option<String>,
    /// The constraint it was made for: PRIMARY KEY, UNIQUE or EXCLUDE.
    pub constraint: Option<IndexConstraint>,
    #[serde(skip)]
    pub details: IndexDetails,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexConstraint {
    pub oid: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    pub oid: u32,
    pub name: String,
    pub expr: String,
    pub columns: Vec<ColumnId>,
    /// Holds of every row; NOT VALID of new ones only.
    pub validated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReferentialAction {
    NoAction,
    Restrict,
    Cascade,
    SetNull,
    SetDefault,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForeignKey {
    pub oid: u32,
    pub name: String,
    pub columns: Vec<ColumnId>,
    pub referenced_table: u32,
    pub referenced_columns: Vec<ColumnId>,
    pub on_delete: ReferentialAction,
    pub on_update: ReferentialAction,
    pub validated: bool,
    pub deferrable: bool,
    /// Checked when the transaction commits, and not at the end of each statement.
    pub initially_deferred: bool,
}

/// Worked out from the rest when it is first asked for. A copy works it out anew, for the rest of it may be changed.
#[derive(Debug)]
pub struct Derived<T>(OnceLock<T>);

impl<T> Derived<T> {
    pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        self.0.get_or_init(make)
    }
}

impl<T> Default for Derived<T> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<T> Clone for Derived<T> {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl<T> PartialEq for Derived<T> {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    pub id: u32,
    pub name: String,
    pub schema: u32,
    pub owner: u32,
    /// In the order of their attribute numbers.
    pub columns: Vec<Column>,
    /// The first is the primary one, whose entries hold the rows.
    pub indexes: Vec<Index>,
    pub checks: Vec<Check>,
    pub foreign_keys: Vec<ForeignKey>,
    /// Ids of the tables whose foreign keys refer to this one; itself among them.
    pub referenced_by: Vec<u32>,
    /// By name: in the order in which those of one event fire.
    pub triggers: Vec<Trigger>,
    pub next_column: ColumnId,
    pub next_index: IndexId,
    /// TRUNCATE gives the table new storage by moving this id; the rows live under it.
    pub storage: u32,
    pub comment: Option<String>,
    pub on_commit: OnCommit,
    pub comments: Vec<(Commented, String)>,
    /// Of a materialized view, which is a table that nothing but its query fills.
    #[serde(skip)]
    pub materialized: Option<Arc<Materialized>>,
    /// Of a partitioned table, and of a partition.
    #[serde(skip)]
    pub partitioning: Option<Arc<Partitioning>>,
    #[serde(skip)]
    pub security: Option<Arc<RowSecurity>>,
    /// Its own zone configuration and those of its indexes, where there are some.
    #[serde(skip)]
    pub zones: Option<Arc<TableZones>>,
    #[serde(skip)]
    pub codecs: Derived<Vec<IndexCodec>>,
}

impl Table {
    /// Of its indexes, in their order.
    #[must_use]
    pub fn codecs(self: &Arc<Self>) -> &[IndexCodec] {
        self.codecs.0.get_or_init(|| self.indexes.iter().map(|index| IndexCodec::new(self, index)).collect())
    }

    /// The id its keys begin with.
    #[must_use]
    pub fn storage_id(&self) -> TableId {
        TableId::new(self.storage)
    }

    #[must_use]
    pub fn primary(&self) -> &Index {
        &self.indexes[0]
    }

    /// Whether the user declared the primary key.
    #[must_use]
    pub fn has_declared_primary_key(&self) -> bool {
        self.primary().constraint.is_some()
    }

    #[must_use]
    pub fn column_position(&self, id: ColumnId) -> Option<usize> {
        self.columns.iter().position(|column| column.id == id)
    }

    #[must_use]
    pub fn column_named(&self, name: &str) -> Option<(usize, &Column)> {
        self.columns.iter().enumerate().find(|(_, column)| column.name == name && !column.hidden)
    }

    /// Positions of these columns.
    pub fn positions<'a>(&'a self, columns: &'a [ColumnId]) -> impl Iterator<Item = usize> + 'a {
        columns.iter().map(|id| self.column_position(*id).expect("a key is dropped with the last of its columns"))
    }

    /// Positions of an index's key columns.
    pub fn key_positions<'a>(&'a self, index: &'a Index) -> impl Iterator<Item = usize> + 'a {
        index.columns.iter().map(|key| {
            self.column_position(key.column).expect("an index is dropped with the last of its columns")
        })
    }

    /// Whether it has what a comment is on.
    #[must_use]
    pub fn has_part(&self, on: Commented) -> bool {
        match on {
            Commented::Column(id) => self.column_position(id).is_some(),
            Commented::Part(oid) => {
                let of_index = |index: &Index| index.oid == oid || index.constraint.is_some_and(|it| it.oid == oid);
                self.indexes.iter().any(of_index)
                    || self.checks.iter().any(|check| check.oid == oid)
                    || self.foreign_keys.iter().any(|key| key.oid == oid)
                    || self.triggers.iter().any(|trigger| trigger.oid == oid)
                    || self.policies().iter().any(|policy| policy.oid == oid)
            }
        }
    }

    /// Columns that `*` and the client see.
    pub fn visible_columns(&self) -> impl Iterator<Item = (usize, &Column)> {
        self.columns.iter().enumerate().filter(|(_, column)| !column.hidden)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct View {
    pub id: u32,
    pub name: String,
    pub schema: u32,
    pub owner: u32,
    pub columns: Vec<(String, SqlType)>,
    /// The SELECT as it was written.
    pub query: String,
    /// The search path at CREATE VIEW. Its names are resolved in it for every reader.
    pub path: Vec<String>,
    /// Ids of what it reads: DROP ... RESTRICT looks here.
    pub depends_on: Vec<u32>,
    pub comment: Option<String>,
    pub comments: Vec<(Commented, String)>,
    #[serde(skip)]
    pub details: ViewDetails,
    #[serde(skip)]
    pub table: Derived<Arc<Table>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sequence {
    pub id: u32,
    pub name: String,
    pub schema: u32,
    pub owner: u32,
    pub ty: SqlType,
    pub start: i64,
    pub increment: i64,
    pub min: i64,
    pub max: i64,
    pub cache: i64,
    pub cycle: bool,
    /// The table and column it goes with, for SERIAL, IDENTITY and OWNED BY.
    pub owned_by: Option<(u32, ColumnId)>,
    pub comment: Option<String>,
}

/// A user-defined type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Type {
    pub id: u32,
    pub name: String,
    /// That of the type of arrays of it, whose oid is the next one.
    pub array_name: String,
    pub schema: u32,
    pub owner: u32,
    pub comment: Option<String>,
    pub kind: TypeKind,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum TypeKind {
    /// In their order.
    Enum(Vec<Label>),
    Domain(Domain),
    Range(RangeOf),
    Composite(Composite),
}

/// A label of an enum type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Label {
    pub oid: u32,
    pub text: String,
    /// What is stored for it: see [`types::enum_type`].
    pub sort_key: Vec<u8>,
    /// Its place as `pg_enum` shows it.
    pub order: f32,
    /// Added by a transaction that has not committed yet.
    #[serde(skip)]
    pub is_new: bool,
}

impl Type {
    #[must_use]
    pub const fn array_id(&self) -> u32 {
        self.id + 1
    }

    #[must_use]
    pub fn labels(&self) -> &[Label] {
        match &self.kind {
            TypeKind::Enum(labels) => labels,
            TypeKind::Domain(_) | TypeKind::Range(_) | TypeKind::Composite(_) => &[],
        }
    }
}

/// The name of a type as stored expressions have it: by its oid, so that they mean the same type whatever it is called.
#[must_use]
pub fn stored_type_name(id: u32) -> String {
    format!("pg_catalog.\"#{id}\"")
}

/// The oid in a name of [`stored_type_name`].
#[must_use]
pub fn read_stored_type_name(schema: Option<&str>, name: &str) -> Option<u32> {
    if schema == Some("pg_catalog") { name.strip_prefix('#')?.parse().ok() } else { None }
}

/// A relation as stored expressions name it: by its id, so that they mean the same one whatever it is called.
#[must_use]
pub fn stored_relation_name(id: u32) -> String {
    format!("'{id}'::regclass")
}

/// The ids in a text by which it names relations: see [`stored_relation_name`].
pub fn named_relations(text: &str) -> impl Iterator<Item = u32> {
    text.match_indices("'::regclass").filter_map(|(end, _)| {
        let before = &text[..end];
        let id = before.rsplit('\'').next()?;
        // A doubled quote is part of a string.
        let is_literal = !before[..before.len() - id.len()].ends_with("''");
        id.parse().ok().filter(|_| is_literal)
    })
}

/// Anything with an id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub enum Descriptor {
    Database(Database),
    Schema(Schema),
    Role(Role),
    Table(Table),
    View(View),
    Sequence(Sequence),
    Cluster(ClusterSettings),
    Type(Type),
    Routine(crate::routine::Routine),
}

impl Descriptor {
    #[must_use]
    pub fn id(&self) -> u32 {
        match self {
            Self::Database(it) => it.id,
            Self::Schema(it) => it.id,
            Self::Role(it) => it.id,
            Self::Table(it) => it.id,
            Self::View(it) => it.id,
            Self::Sequence(it) => it.id,
            Self::Cluster(_) => CLUSTER_SETTINGS,
            Self::Type(it) => it.id,
            Self::Routine(it) => it.id,
        }
    }
}

/// A descriptor as it is stored. New kinds come last.
#[derive(Serialize, Deserialize)]
enum Stored {
    Database(Database),
    Schema(Schema),
    Role(Role),
    Table(Table),
    View(View),
    Sequence(Sequence),
    Cluster(ClusterSettings),
    Type(Type),
    Routine(crate::routine::Routine),
    ViewWith(View, ViewDetails),
    MaterializedView(Table, Materialized),
    PartitionTable(Table, Partitioning),
    TableWith(Table, TableParts),
    ClusterWith(ClusterSettings, ClusterParts),
}

impl From<Descriptor> for Stored {
    fn from(descriptor: Descriptor) -> Self {
        match descriptor {
            Descriptor::Database(it) => Self::Database(it),
            Descriptor::Schema(it) => Self::Schema(it),
            Descriptor::Role(it) => Self::Role(it),
            Descriptor::Table(it) if TableParts::are_in(&it) => {
                let parts = TableParts::of(&it);
                Self::TableWith(it, parts)
            }
            Descriptor::Table(mut it) => match (it.materialized.take(), it.partitioning.take()) {
                (Some(made), _) => Self::MaterializedView(it, Arc::unwrap_or_clone(made)),
                (None, Some(made)) if !made.is_empty() => Self::PartitionTable(it, Arc::unwrap_or_clone(made)),
                (None, _) => Self::Table(it),
            },
            Descriptor::View(mut it) => match std::mem::take(&mut it.details) {
                details if details == ViewDetails::default() => Self::View(it),
                details => Self::ViewWith(it, details),
            },
            Descriptor::Sequence(it) => Self::Sequence(it),
            Descriptor::Cluster(mut it) => match std::mem::take(&mut it.parts) {
                parts if parts.is_empty() => Self::Cluster(it),
                parts => Self::ClusterWith(it, parts),
            },
            Descriptor::Type(it) => Self::Type(it),
            Descriptor::Routine(it) => Self::Routine(it),
        }
    }
}

impl From<Stored> for Descriptor {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::Database(it) => Self::Database(it),
            Stored::Schema(it) => Self::Schema(it),
            Stored::Role(it) => Self::Role(it),
            Stored::Table(it) => Self::Table(it),
            Stored::View(it) => Self::View(it),
            Stored::Sequence(it) => Self::Sequence(it),
            Stored::Cluster(it) => Self::Cluster(it),
            Stored::Type(it) => Self::Type(it),
            Stored::Routine(it) => Self::Routine(it),
            Stored::ViewWith(it, details) => Self::View(View { details, ..it }),
            Stored::MaterializedView(it, made) => Self::Table(Table { materialized: Some(Arc::new(made)), ..it }),
            Stored::PartitionTable(it, made) => Self::Table(Table { partitioning: Some(Arc::new(made)), ..it }),
            Stored::TableWith(it, parts) => Self::Table(parts.put_into(it)),
            Stored::ClusterWith(it, parts) => Self::Cluster(ClusterSettings { parts, ..it }),
        }
    }
}
