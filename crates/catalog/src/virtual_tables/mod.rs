//! Tables that have no rows in storage: `pg_catalog` and `information_schema`.
//!
//! The problem: clients read PostgreSQL's catalogs in joins of their own making, so every table must have PostgreSQL's
//! columns, and joins between them must agree; yet nobody should pay for them until they are read.
//!
//! The idea: names, oids and columns of all of PostgreSQL's catalogs are a list (`tables.tsv`). For those that can have
//! rows here there is a [`Source`]; the others are empty, because nothing of their kind exists. Rows of the server itself
//! are made once. Rows of objects are made of the snapshot at hand and of the objects that are asked for: a read by oid or
//! name makes those of one object ([`scope`]), a read of all of them goes through the objects and keeps nothing ([`read`]).
//!
//! **Invariants**
//! - *declared-columns*: a row has the columns of its table, each of the declared type, and NULL only where the list
//!   allows it. Checked by a test over every table.
//! - *same-snapshot*: all tables a statement reads are made from one snapshot.
//!
//! Deliberately left out: settings, activity and locks, which depend on more than the catalog; `session` makes those.
//!
//! Read in this order: `tables.tsv`, [`row`], [`scope`], [`read`], `relations`, the others.
//!
//! Source of names, oids and columns: PostgreSQL 15's documentation, chapters 37 and 53, and its own catalogs.

mod row;
mod scope;
mod read;
mod constraints;
mod functions;
mod global;
mod information_schema;
mod information_schema_constraints;
mod listings;
mod policies;
mod privileges;
mod relations;
mod routines;
mod text_search;
mod triggers;
mod types;

use std::sync::{Arc, LazyLock};

use ::types::{Datum, SqlType};
pub(crate) use self::relations::SEQUENCE_COLUMNS;
pub use types::is_operator_class;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use self::read::{Made, MadeTables};
use self::scope::Source;
pub use self::read::{VirtualChunk, VirtualLookup, VirtualRead, estimated_matches, estimated_rows};
pub use self::functions::{BuiltinFunction, builtin_function};
pub(crate) use self::functions::{function_arguments, function_name, function_result, functions_named};
pub(crate) use self::routines::{
    is_visible as routine_is_visible, routine_arguments, routine_definition, routine_name, routine_result, routines_named,
};
use crate::CatalogView;
use crate::descriptor::{INFORMATION_SCHEMA, PG_CATALOG_SCHEMA};

/// A table made when it is read.
#[derive(Debug)]
pub struct VirtualTable {
    pub oid: u32,
    /// `pg_class.relkind`: `r` or `v`, as in PostgreSQL.
    pub kind: char,
    pub schema: &'static str,
    pub name: &'static str,
    pub columns: Vec<(&'static str, SqlType)>,
    /// Whether the column at the same position may not be NULL.
    pub not_null: Vec<bool>,
}

impl VirtualTable {
    #[must_use]
    pub fn schema_id(&self) -> u32 {
        if self.schema == "pg_catalog" { PG_CATALOG_SCHEMA } else { INFORMATION_SCHEMA }
    }

    #[must_use]
    pub fn position(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|(name, _)| *name == column)
    }
}

impl VirtualTable {
    /// A row with these values, NULL in all other columns.
    ///
    /// # Panics
    /// When there is no such column.
    #[must_use]
    pub fn row<const N: usize>(&self, values: [(&str, Datum); N]) -> Vec<Datum> {
        let mut row = vec![Datum::Null; self.columns.len()];
        for (column, value) in values {
            let position = self.position(column);
            row[position.unwrap_or_else(|| panic!("{} has no column {column}", self.name))] = value;
        }
        row
    }
}

struct Registry {
    tables: Vec<VirtualTable>,
    names: FxHashMap<(&'static str, &'static str), usize>,
    oids: FxHashMap<u32, usize>,
}

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
    let tables: Vec<VirtualTable> = include_str!("tables.tsv").lines().map(parse_table).collect();
    let names = tables.iter().enumerate().map(|(at, it)| ((it.schema, it.name), at)).collect();
    let oids = tables.iter().enumerate().map(|(at, it)| (it.oid, at)).collect();
    Registry { tables, names, oids }
});

/// A line: oid, kind, `schema.table`, then `column:type` with `!` where it may not be NULL.
fn parse_table(line: &'static str) -> VirtualTable {
    let mut fields = line.split('\t');
    let mut field = || fields.next().expect("a line of tables.tsv has four fields");
    let oid = field().parse().expect("oid");
    let kind = field().chars().next().expect("kind");
    let (schema, name) = field().split_once('.').expect("qualified name");
    let (mut columns, mut not_null) = (Vec::new(), Vec::new());
    for column in field().split(' ') {
        let (name, ty) = column.split_once(':').expect("column:type");
        let (ty, required) = ty.strip_suffix('!').map_or((ty, false), |ty| (ty, true));
        let ty = match ty {
            "char" => SqlType::QuotedChar,
            ty => SqlType::parse_name(ty).expect("types of the list are known"),
        };
        columns.push((name, ty));
        not_null.push(required);
    }
    VirtualTable { oid, kind, schema, name, columns, not_null }
}

/// The table of this name, in lower case.
#[must_use]
pub fn find(schema: &str, name: &str) -> Option<&'static VirtualTable> {
    // The map's keys are static, the question's parts are not: the lifetimes meet at the shorter one.
    fn lookup<'a>(names: &'a FxHashMap<(&'a str, &'a str), usize>, key: (&'a str, &'a str)) -> Option<usize> {
        names.get(&key).copied()
    }
    lookup(&REGISTRY.names, (schema, name)).map(|at| &REGISTRY.tables[at])
}

#[must_use]
pub fn find_by_oid(oid: u32) -> Option<&'static VirtualTable> {
    REGISTRY.oids.get(&oid).map(|at| &REGISTRY.tables[*at])
}

pub fn all() -> impl Iterator<Item = &'static VirtualTable> {
    REGISTRY.tables.iter()
}

/// The rows of one table, made once, and where to find them by the values of a column.
#[derive(Debug, Default)]
pub struct VirtualRows {
    rows: Vec<Vec<Datum>>,
    indexes: Mutex<FxHashMap<usize, Arc<FxHashMap<LookupKey, Vec<u32>>>>>,
}

/// What a column can be looked up by: integers and oids, text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum LookupKey {
    Int(i64),
    Text(Arc<str>),
}

impl LookupKey {
    fn of(datum: &Datum) -> Option<Self> {
        match datum {
            Datum::Int(value) => Some(Self::Int(*value)),
            Datum::Text(value) => Some(Self::Text(Arc::clone(value))),
            _ => None,
        }
    }
}

impl VirtualRows {
    #[must_use]
    pub fn new(rows: Vec<Vec<Datum>>) -> Self {
        Self { rows, indexes: Mutex::default() }
    }

    #[must_use]
    pub fn rows(&self) -> &[Vec<Datum>] {
        &self.rows
    }

    /// Positions of the rows whose column has this value.
    #[must_use]
    pub fn find(&self, column: usize, value: &Datum) -> Vec<u32> {
        if value.is_null() {
            return Vec::new();
        }
        let Some(key) = LookupKey::of(value) else {
            // Values of other kinds have no index.
            return (0_u32..).zip(&self.rows).filter(|(_, row)| row[column] == *value).map(|(at, _)| at).collect();
        };
        let index = {
            let mut indexes = self.indexes.lock();
            Arc::clone(indexes.entry(column).or_insert_with(|| {
                let mut index: FxHashMap<LookupKey, Vec<u32>> = FxHashMap::default();
                for (position, row) in (0_u32..).zip(&self.rows) {
                    if let Some(key) = LookupKey::of(&row[column]) {
                        index.entry(key).or_default().push(position);
                    }
                }
                Arc::new(index)
            }))
        };
        index.get(&key).cloned().unwrap_or_default()
    }
}

/// What makes the rows of which table, by its oid.
static MADE: LazyLock<MadeTables> = LazyLock::new(|| {
    let topics: [(&str, &'static [Source]); 14] = [
        ("pg_catalog", relations::TABLES),
        ("pg_catalog", constraints::TABLES),
        ("pg_catalog", types::TABLES),
        ("pg_catalog", text_search::TABLES),
        ("pg_catalog", functions::TABLES),
        ("pg_catalog", triggers::TABLES),
        ("pg_catalog", global::TABLES),
        ("pg_catalog", listings::TABLES),
        ("pg_catalog", policies::TABLES),
        ("pg_catalog", privileges::TABLES),
        ("information_schema", privileges::INFORMATION_SCHEMA),
        ("information_schema", information_schema::TABLES),
        ("information_schema", triggers::INFORMATION_SCHEMA),
        ("information_schema", information_schema_constraints::TABLES),
    ];
    let all = topics.into_iter().flat_map(|(schema, sources)| sources.iter().map(move |source| (schema, source)));
    all.map(|(schema, source)| {
        let table = find(schema, source.table).expect("a source's table is listed");
        assert!(source.keys.iter().all(|(column, _)| table.position(column).is_some()), "keys of {} are its columns", table.name);
        (table.oid, Made::new(source))
    })
    .collect()
});

fn made(table: &VirtualTable) -> Option<&'static Made> {
    MADE.get(&table.oid)
}

/// The rows of all tables as one database's catalog snapshot has them.
#[derive(Debug)]
pub struct SystemTables {
    view: CatalogView,
    /// Of the statistics shown in them.
    epoch: u64,
    /// The version of what is granted.
    privileges: u64,
    /// The rows of objects of tables all of whose rows were made.
    made: Mutex<FxHashMap<u32, Arc<VirtualRows>>>,
    /// As in a database with many relations, whatever their number.
    keeps_nothing: bool,
}

impl SystemTables {
    #[must_use]
    pub fn new(view: CatalogView) -> Self {
        let epoch = view.catalog.statistics().epoch();
        let privileges = view.catalog.privileges().version();
        Self { view, epoch, privileges, made: Mutex::default(), keeps_nothing: false }
    }

    /// Whether these are the rows that this view would make.
    #[must_use]
    pub fn is_of(&self, view: &CatalogView) -> bool {
        Arc::ptr_eq(&self.view.catalog, &view.catalog)
            && self.epoch == view.catalog.statistics().epoch()
            && self.privileges == view.catalog.privileges().version()
            && (self.view.database, &self.view.user) == (view.database, &view.user)
            && self.view.search_path == view.search_path
    }
}

#[cfg(test)]
mod tests;
