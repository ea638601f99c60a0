//! Reads of virtual tables: rows of the server, which are made once, then rows of objects, a chunk at a time.
//!
//! ```text
//!  a value of a key column ──▶ its objects ──▶ their rows ──▶ those with the value
//!  no such value           ──▶ all objects, CHUNK relations at a time
//! ```
//! What is made is not kept, save where all of it is little: rows of a database with few relations, of roles, of schemas.

use std::sync::{Arc, OnceLock};

use ::types::Datum;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::row::Rows;
use super::scope::{Key, Objects, Scope, Source};
use super::{SystemTables, VirtualRows, VirtualTable};
use crate::snapshot::CatalogSnapshot;

/// Relations whose rows are made together. The rows of a database with no more are kept.
const CHUNK: usize = 256;

/// A table's source and the rows that every database has.
#[derive(Debug)]
pub(super) struct Made {
    pub source: &'static Source,
    fixed: OnceLock<Arc<VirtualRows>>,
}

impl Made {
    pub fn new(source: &'static Source) -> Self {
        Self { source, fixed: OnceLock::new() }
    }

    fn fixed(&self, table: &'static VirtualTable) -> Option<&Arc<VirtualRows>> {
        let maker = self.source.fixed?;
        Some(self.fixed.get_or_init(|| {
            let mut rows = Rows::new(table);
            maker(&mut rows);
            Arc::new(VirtualRows::new(rows.finish()))
        }))
    }
}

/// Only rows whose column has one of these values, none of which is NULL.
#[derive(Clone, Debug)]
pub struct VirtualLookup {
    /// By its position in the table.
    pub column: usize,
    pub values: SmallVec<[Datum; 1]>,
}

/// Rows, or those of them at some positions.
#[derive(Debug)]
pub struct VirtualChunk {
    rows: Arc<VirtualRows>,
    positions: Option<Vec<u32>>,
}

impl VirtualChunk {
    #[must_use]
    pub fn len(&self) -> usize {
        self.positions.as_ref().map_or(self.rows.rows().len(), Vec::len)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[must_use]
    pub fn row(&self, at: usize) -> &[Datum] {
        &self.rows.rows()[self.positions.as_ref().map_or(at, |positions| positions[at] as usize)]
    }

    /// Those that a lookup asks for.
    fn of(rows: Arc<VirtualRows>, lookup: Option<&VirtualLookup>) -> Self {
        let positions = lookup.map(|lookup| {
            let mut found: Vec<u32> = lookup.values.iter().flat_map(|value| rows.find(lookup.column, value)).collect();
            if lookup.values.len() > 1 {
                found.sort_unstable();
                found.dedup();
            }
            found
        });
        Self { rows, positions }
    }
}

/// Which of the objects come next.
#[derive(Debug)]
enum Rest {
    Nothing,
    /// All of them at once, kept.
    Whole,
    Objects { others: Option<Objects>, relations: std::vec::IntoIter<u32> },
}

/// A read of a table that has begun.
#[derive(Debug)]
pub struct VirtualRead {
    table: &'static VirtualTable,
    lookup: Option<VirtualLookup>,
    /// What has been made and not been taken.
    ready: Option<VirtualChunk>,
    /// What is not of the catalog.
    more: Option<VirtualChunk>,
    tables: Option<Arc<SystemTables>>,
    rest: Rest,
}

impl VirtualRead {
    /// Of rows that are there.
    #[must_use]
    pub fn of(table: &'static VirtualTable, rows: Arc<VirtualRows>, lookup: Option<VirtualLookup>) -> Self {
        let ready = Some(VirtualChunk::of(rows, lookup.as_ref()));
        Self { table, lookup, ready, more: None, tables: None, rest: Rest::Nothing }
    }

    pub(super) fn begin(tables: Arc<SystemTables>, table: &'static VirtualTable, lookup: Option<VirtualLookup>) -> Self {
        let Some(made) = super::made(table) else {
            return Self { table, lookup, ready: None, more: None, tables: None, rest: Rest::Nothing };
        };
        let ready = made.fixed(table).map(|rows| VirtualChunk::of(Arc::clone(rows), lookup.as_ref()));
        let rest = match made.source.made {
            None => Rest::Nothing,
            Some(_) => tables.rest_of(made.source, table, lookup.as_ref()),
        };
        Self { table, lookup, ready, more: None, tables: Some(tables), rest }
    }

    /// With further rows, before the others.
    #[must_use]
    pub fn and(mut self, rows: Arc<VirtualRows>) -> Self {
        self.more = Some(VirtualChunk::of(rows, self.lookup.as_ref()));
        self
    }

    /// The next rows, none of them at times; no more of them after `None`.
    pub fn next_chunk(&mut self) -> Option<VirtualChunk> {
        if let Some(ready) = self.more.take().or_else(|| self.ready.take()) {
            return Some(ready);
        }
        let tables = self.tables.as_ref()?;
        let objects = match &mut self.rest {
            Rest::Nothing => return None,
            Rest::Whole => {
                let whole = tables.whole(self.table);
                self.rest = Rest::Nothing;
                return Some(VirtualChunk::of(whole, self.lookup.as_ref()));
            }
            Rest::Objects { others, relations } => match others.take() {
                Some(mut objects) => {
                    // A lookup mostly ends with these.
                    objects.relations.extend(relations.by_ref().take(CHUNK));
                    objects
                }
                None => Objects::of_relations(relations.by_ref().take(CHUNK).collect()),
            },
        };
        if objects.is_empty() {
            self.rest = Rest::Nothing;
            return None;
        }
        let mut rows = tables.make(self.table, &Scope::of(&tables.view, &objects));
        if let Some(lookup) = &self.lookup {
            rows.retain(|row| lookup.values.contains(&row[lookup.column]));
        }
        Some(VirtualChunk { rows: Arc::new(VirtualRows::new(rows)), positions: None })
    }
}

impl SystemTables {
    /// Begins to read a table.
    #[must_use]
    pub fn read(self: &Arc<Self>, table: &'static VirtualTable, lookup: Option<VirtualLookup>) -> VirtualRead {
        VirtualRead::begin(Arc::clone(self), table, lookup)
    }

    fn rest_of(&self, source: &Source, table: &'static VirtualTable, lookup: Option<&VirtualLookup>) -> Rest {
        if !source.is_by_object || self.made.lock().contains_key(&table.oid) {
            return Rest::Whole;
        }
        if let Some(lookup) = lookup {
            // Where a value leads nowhere, the index over all rows is what further lookups need.
            return self.led_to(source, table, lookup).map_or(Rest::Whole, |objects| {
                let (others, relations) = objects.split();
                Rest::Objects { others: Some(others), relations: relations.into_iter() }
            });
        }
        if self.view.catalog.relation_count() <= self.chunk() {
            return Rest::Whole;
        }
        let relations: Vec<u32> = self.view.relations().into_iter().map(crate::snapshot::Relation::id).collect();
        Rest::Objects { others: Some(Objects::others(&self.view)), relations: relations.into_iter() }
    }

    fn led_to(&self, source: &Source, table: &'static VirtualTable, lookup: &VirtualLookup) -> Option<Objects> {
        let column = table.columns[lookup.column].0;
        let key = source.key(column)?;
        let mut objects = Objects::default();
        let leads = |value: &Datum| objects.add(&self.view, column, key, value);
        lookup.values.iter().all(leads).then_some(objects)
    }

    /// How many relations a database may have for its rows to be kept.
    fn chunk(&self) -> usize {
        if self.keeps_nothing { 0 } else { CHUNK }
    }

    pub(super) fn make(&self, table: &'static VirtualTable, scope: &Scope<'_>) -> Vec<Vec<Datum>> {
        let mut rows = Rows::new(table);
        if let Some(maker) = super::made(table).and_then(|made| made.source.made) {
            maker(scope, &mut rows);
        }
        rows.finish()
    }

    /// All rows of objects, kept.
    fn whole(&self, table: &'static VirtualTable) -> Arc<VirtualRows> {
        if let Some(made) = self.made.lock().get(&table.oid) {
            return Arc::clone(made);
        }
        let made = Arc::new(VirtualRows::new(self.make(table, &Scope::all(&self.view))));
        self.made.lock().insert(table.oid, Arc::clone(&made));
        made
    }
}

/// Rows of what is few.
const FEW: f64 = 10.0;

/// How many rows a relation has in a table, by experience.
fn rows_of_relation(table: &VirtualTable) -> f64 {
    match table.name {
        "pg_attribute" | "columns" | "column_privileges" | "role_column_grants" => 12.0,
        "table_constraints" | "pg_depend" | "table_privileges" | "role_table_grants" => 4.0,
        "pg_class" | "pg_type" | "pg_index" | "pg_constraint" => 2.0,
        _ => 1.0,
    }
}

/// The share of relations that have rows in a table, by experience.
fn share_of_relations(table: &VirtualTable) -> f64 {
    match table.name {
        "pg_inherits" | "pg_partitioned_table" | "pg_policy" | "pg_policies" | "pg_trigger" | "triggers" | "pg_enum" | "pg_range" => 0.01,
        "pg_rewrite" | "pg_views" | "views" | "pg_matviews" | "view_table_usage" | "pg_description" | "pg_stats" => 0.1,
        _ => 1.0,
    }
}

/// About how many rows a table has.
#[must_use]
pub fn estimated_rows(table: &'static VirtualTable, catalog: &CatalogSnapshot) -> f64 {
    let Some(made) = super::made(table) else { return FEW };
    let fixed = made.fixed(table).map_or(0, |rows| rows.rows().len());
    let of_objects = match made.source.is_by_object {
        true => catalog.relation_count() as f64 * share_of_relations(table) * rows_of_relation(table),
        false if made.source.made.is_some() => FEW,
        false => 0.0,
    };
    (fixed as f64 + of_objects).max(1.0)
}

/// About how many rows a column has of one value, where those are found without a look at all others.
#[must_use]
pub fn estimated_matches(table: &'static VirtualTable, column: usize, catalog: &CatalogSnapshot) -> Option<f64> {
    // What sessions make is made whole.
    let made = super::made(table)?;
    let key = made.source.key(table.columns[column].0);
    let own = rows_of_relation(table);
    match (key, made.source.is_by_object) {
        (Some(key), _) if key.is_narrow() => Some(own),
        (Some(Key::Schema | Key::SchemaName), _) => Some(estimated_rows(table, catalog) / 2.0),
        (Some(_) | None, true) => None,
        (Some(_) | None, false) => Some(own),
    }
}

pub(super) type MadeTables = FxHashMap<u32, Made>;
