//! Which objects rows are made of: all of a database's, some of them, or those that a value of a column leads to.
//!
//! A maker reads the catalog through a [`Scope`] and makes the rows of the objects it is given. A [`Key`] says how a value of
//! a column leads to objects: to all whose rows can have the value, and perhaps to others, whose rows are left out
//! afterwards.
//!
//! **Invariant (keys-lead-to-all):** the rows with a value in a key column are among those made of the objects that the
//! value leads to. Checked for every key column of every table by a test.

use std::ops::Deref;
use std::sync::Arc;

use ::types::{Datum, relation_of_row_type};

use super::VirtualTable;
use super::row::Rows;
use crate::descriptor::{Schema, Table, Type};
use crate::routine::Routine;
use crate::snapshot::{NameOwner, Relation};
use crate::view::{CatalogView, Class};

pub(super) type Maker = fn(&Scope<'_>, &mut Rows);

/// Where the rows of a table come from.
#[derive(Debug)]
pub(super) struct Source {
    pub table: &'static str,
    /// Rows of the server itself: the same in every database.
    pub fixed: Option<fn(&mut Rows)>,
    pub made: Option<Maker>,
    /// The rows are of relations, types and routines, and can be made of some of these. Otherwise they are few.
    pub is_by_object: bool,
    /// The columns that lead to objects.
    pub keys: &'static [(&'static str, Key)],
}

impl Source {
    pub const fn fixed(table: &'static str, maker: fn(&mut Rows)) -> Self {
        Self { table, fixed: Some(maker), made: None, is_by_object: false, keys: &[] }
    }

    /// Of what there is little of, roles and schemas for example: all rows are made at once.
    pub const fn whole(table: &'static str, maker: Maker) -> Self {
        Self { table, fixed: None, made: Some(maker), is_by_object: false, keys: &[] }
    }

    pub const fn of(table: &'static str, maker: Maker, keys: &'static [(&'static str, Key)]) -> Self {
        Self { table, fixed: None, made: Some(maker), is_by_object: true, keys }
    }

    pub const fn and_fixed(self, maker: fn(&mut Rows)) -> Self {
        Self { fixed: Some(maker), ..self }
    }

    pub fn key(&self, column: &str) -> Option<Key> {
        self.keys.iter().find(|(name, _)| *name == column).map(|(_, key)| *key)
    }
}

/// How a value of a column leads to objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// The oid of a row of `pg_class`.
    Class,
    /// The name of one, in any schema.
    ClassName,
    /// A schema.
    Schema,
    SchemaName,
    /// The oid of an index, constraint, trigger or policy.
    Part,
    /// The name of a constraint, trigger or policy.
    PartName,
    /// The oid of a type, of arrays of one, of its multirange, or of a relation's rows.
    Type,
    TypeName,
    Routine,
    RoutineName,
    /// The oid of anything.
    Object,
    /// Something that other objects may depend on.
    Dependents,
    /// A table, of the foreign keys that reference it.
    References,
    /// The name of a table that constraints are about, also foreign keys of other tables.
    ConstrainedName,
    /// An index, of the foreign keys that rest on it.
    IndexOfKeys,
    /// A partitioned table or index, of its partitions.
    Parent,
    /// The oid of a column's default.
    Default,
    /// The oid of a view's rule.
    Rule,
}

impl Key {
    /// Whether a value leads to a few objects and not to a whole schema.
    pub const fn is_narrow(self) -> bool {
        !matches!(self, Self::Schema | Self::SchemaName)
    }
}

/// The columns in which 0 stands for no object, so that it leads to none.
fn has_zeros(column: &str) -> bool {
    matches!(column, "conrelid" | "contypid" | "conindid" | "confrelid" | "reltype" | "typrelid" | "typelem" | "typarray")
}

/// Objects of a database; tables of the catalogs among them.
#[derive(Clone, Debug, Default)]
pub(super) struct Objects {
    pub relations: Vec<u32>,
    types: Vec<u32>,
    routines: Vec<u32>,
    schemas: Vec<u32>,
    catalogs: Vec<&'static VirtualTable>,
}

impl Objects {
    pub fn of_relations(relations: Vec<u32>) -> Self {
        Self { relations, ..Self::default() }
    }

    /// All but relations.
    pub fn others(view: &CatalogView) -> Self {
        let types = view.catalog.types_of(view.database).into_iter().map(|it| it.id).collect();
        let routines = view.catalog.routines_of(view.database).into_iter().map(|it| it.id).collect();
        let schemas = view.schemas().map(|it| it.id).collect();
        Self { relations: Vec::new(), types, routines, schemas, catalogs: super::all().collect() }
    }

    /// The others and no relations; the relations.
    pub fn split(mut self) -> (Self, Vec<u32>) {
        for ids in [&mut self.relations, &mut self.types, &mut self.routines, &mut self.schemas] {
            ids.sort_unstable();
            ids.dedup();
        }
        self.catalogs.sort_unstable_by_key(|it| it.oid);
        self.catalogs.dedup_by_key(|it| it.oid);
        let relations = std::mem::take(&mut self.relations);
        (self, relations)
    }

    pub fn is_empty(&self) -> bool {
        self.relations.is_empty()
            && self.types.is_empty()
            && self.routines.is_empty()
            && self.schemas.is_empty()
            && self.catalogs.is_empty()
    }

    /// Adds what a value of a column leads to; `false` where it leads nowhere, and all objects have to be looked at.
    pub fn add(&mut self, view: &CatalogView, column: &str, key: Key, value: &Datum) -> bool {
        let oid = value.as_int().map(|oid| u32::try_from(oid).unwrap_or(0));
        let name = value.as_str();
        match (key, oid, name) {
            (_, Some(0), _) => return !has_zeros(column),
            (Key::Class, Some(oid), _) => self.add_class(view, oid),
            (Key::Schema, Some(oid), _) => self.add_schema(view, oid),
            (Key::Part, Some(oid), _) => self.add_part(view, oid),
            (Key::Type, Some(oid), _) => self.add_type(oid),
            (Key::Routine, Some(oid), _) => self.routines.push(oid),
            (Key::Object, Some(oid), _) => self.add_object(view, oid),
            (Key::Dependents, Some(oid), _) => {
                self.add_object(view, oid);
                self.relations.extend(view.catalog.dependents_of(oid).into_iter().map(Relation::id));
                if let Some(Relation::Sequence(sequence)) = view.catalog.relation_by_id(oid) {
                    self.relations.extend(sequence.owned_by.map(|(table, _)| table));
                }
            }
            (Key::References, Some(oid), _) => self.add_references(view, oid),
            (Key::IndexOfKeys, Some(oid), _) => {
                if let Some(table) = view.catalog.table_of_part(oid) {
                    self.add_references(view, table.id);
                }
            }
            (Key::Parent, Some(oid), _) => {
                let table = view.catalog.table_by_id(oid).or_else(|| view.catalog.table_of_part(oid));
                let partitions = table.and_then(|table| table.partitioned()).into_iter().flat_map(|it| &it.partitions);
                self.relations.extend(partitions.map(|it| it.id));
            }
            (Key::Default | Key::Rule, Some(oid), _) => self.add_numbered(view, oid),
            (Key::ClassName, _, Some(name)) => self.add_class_name(view, name),
            (Key::SchemaName, _, Some(name)) => {
                if let Some(schema) = view.catalog.schema(view.database, name) {
                    self.add_schema(view, schema.id);
                }
            }
            (Key::PartName, _, Some(name)) => {
                for owner in view.catalog.part_owners_named(name) {
                    self.relations.push(owner);
                    self.types.push(owner);
                }
                // NOT NULL has a name that is made of oids.
                let of_column = name.strip_suffix("_not_null").and_then(|it| it.split('_').nth(1));
                self.relations.extend(of_column.and_then(|it| it.parse::<u32>().ok()));
            }
            (Key::TypeName, _, Some(name)) => self.add_type_name(view, name),
            (Key::RoutineName, _, Some(name)) => {
                for schema in view.schemas() {
                    self.routines.extend(view.catalog.routines_named(schema.id, name).map(|it| it.id));
                }
            }
            (Key::ConstrainedName, _, Some(name)) => {
                let mut named = Self::default();
                named.add_class_name(view, name);
                named.relations.into_iter().for_each(|id| self.add_references(view, id));
            }
            // A value of another kind.
            _ => return false,
        }
        true
    }

    fn add_class(&mut self, view: &CatalogView, oid: u32) {
        match view.class(oid) {
            Some(Class::Relation(it)) => self.relations.push(it.id()),
            Some(Class::Index(table, _)) => self.relations.push(table.id),
            Some(Class::Virtual(it)) => self.catalogs.push(it),
            Some(Class::Composite(it)) => self.types.push(it.id),
            None => {}
        }
    }

    fn add_class_name(&mut self, view: &CatalogView, name: &str) {
        for schema in view.schemas() {
            match view.catalog.name_owner(schema.id, name) {
                Some(NameOwner::Relation(id)) => self.relations.push(id),
                Some(NameOwner::Index { table, .. }) => self.relations.push(table),
                None => {}
            }
            self.types.extend(view.catalog.type_named(schema.id, name).and_then(|ty| ty.user_type()));
            self.catalogs.extend(super::find(&schema.name, name).filter(|_| schema.database == 0));
        }
    }

    fn add_schema(&mut self, view: &CatalogView, id: u32) {
        self.schemas.push(id);
        self.relations.extend(view.catalog.relations_in(id).into_iter().map(Relation::id));
        self.types.extend(view.catalog.types().map(|it| &it.descriptor).filter(|it| it.schema == id).map(|it| it.id));
        self.routines.extend(view.catalog.routines().filter(|it| it.schema == id).map(|it| it.id));
        self.catalogs.extend(super::all().filter(|it| it.schema_id() == id));
    }

    fn add_part(&mut self, view: &CatalogView, oid: u32) {
        if let Some(owner) = view.catalog.owner_of_part(oid) {
            self.relations.push(owner);
            self.types.push(owner);
        }
    }

    /// A type's arrays, its multirange and the arrays of that follow it.
    fn add_type(&mut self, oid: u32) {
        self.types.extend((0..=3).filter_map(|by| oid.checked_sub(by)));
        self.relations.extend(relation_of_row_type(oid));
    }

    fn add_type_name(&mut self, view: &CatalogView, name: &str) {
        let element = name.strip_prefix('_');
        for schema in view.schemas() {
            if let Some(oid) = view.catalog.type_oid_named(schema.id, name) {
                self.add_type(oid);
            }
            let of_rows = std::iter::once(name).chain(element).filter_map(|name| view.catalog.name_owner(schema.id, name));
            self.relations.extend(of_rows.filter_map(|owner| match owner {
                NameOwner::Relation(id) => Some(id),
                NameOwner::Index { .. } => None,
            }));
        }
    }

    fn add_object(&mut self, view: &CatalogView, oid: u32) {
        self.add_class(view, oid);
        self.add_part(view, oid);
        self.add_type(oid);
        self.routines.push(oid);
        self.schemas.push(oid);
        self.add_numbered(view, oid);
    }

    /// A table, and those whose foreign keys reference it.
    fn add_references(&mut self, view: &CatalogView, table: u32) {
        self.relations.push(table);
        self.relations.extend(view.catalog.table_by_id(table).into_iter().flat_map(|table| table.referenced_by.iter().copied()));
    }

    /// What has an oid that is made of its relation's: see [`super::relations::default_oid`].
    fn add_numbered(&mut self, view: &CatalogView, oid: u32) {
        const HIGHEST: u32 = 1 << 31;
        const ID_BITS: u32 = 20;
        if oid & HIGHEST == 0 {
            return;
        }
        let low = (oid & !HIGHEST) >> 11;
        let ids = (0..1_u32 << (u32::BITS - ID_BITS)).map(|high| high << ID_BITS | low);
        self.relations.extend(ids.filter(|id| view.catalog.relation_by_id(*id).is_some()));
    }
}

/// A view of the catalog, and the objects that rows are wanted of; none: of all.
pub(super) struct Scope<'a> {
    view: &'a CatalogView,
    only: Option<&'a Objects>,
}

impl Deref for Scope<'_> {
    type Target = CatalogView;

    fn deref(&self) -> &CatalogView {
        self.view
    }
}

impl<'a> Scope<'a> {
    pub fn all(view: &'a CatalogView) -> Self {
        Self { view, only: None }
    }

    pub fn of(view: &'a CatalogView, only: &'a Objects) -> Self {
        Self { view, only: Some(only) }
    }

    fn is_here(&self, schema: u32) -> bool {
        self.view.catalog.schema_by_id(schema).is_some_and(|schema| schema.database == self.view.database)
    }

    /// Oldest first.
    pub fn relations(&self) -> Vec<&'a Relation> {
        let Some(only) = self.only else { return self.view.relations() };
        let found = only.relations.iter().filter_map(|id| self.view.catalog.relation_by_id(*id));
        found.filter(|relation| self.is_here(relation.schema())).collect()
    }

    /// Tables, and views as tables: what has triggers and defaults of columns.
    pub fn tables_and_views(&self) -> impl Iterator<Item = &'a Arc<Table>> + use<'a> {
        self.relations().into_iter().filter_map(Relation::as_table)
    }

    /// Materialized views are among them.
    pub fn tables(&self) -> impl Iterator<Item = &'a Arc<Table>> + use<'a> {
        self.relations().into_iter().filter_map(|relation| match relation {
            Relation::Table(table) => Some(table),
            Relation::View(_) | Relation::Sequence(_) => None,
        })
    }

    /// Oldest first.
    pub fn types(&self) -> Vec<&'a Arc<Type>> {
        let Some(only) = self.only else { return self.view.catalog.types_of(self.view.database) };
        let found = only.types.iter().filter_map(|id| self.view.catalog.user_type(*id)).map(|it| &it.descriptor);
        found.filter(|ty| self.is_here(ty.schema)).collect()
    }

    /// Oldest first.
    pub fn routines(&self) -> Vec<&'a Arc<Routine>> {
        let Some(only) = self.only else { return self.view.catalog.routines_of(self.view.database) };
        let found = only.routines.iter().filter_map(|id| self.view.catalog.routine_by_id(*id));
        found.filter(|routine| self.is_here(routine.schema)).collect()
    }

    /// Those that all databases see among them, oldest first.
    pub fn schemas(&self) -> Vec<&'a Schema> {
        let mut all: Vec<&Schema> = match self.only {
            None => self.view.schemas().collect(),
            Some(only) => {
                let found = only.schemas.iter().filter_map(|id| self.view.catalog.schema_by_id(*id)).map(|it| &**it);
                found.filter(|it| it.database == 0 || it.database == self.view.database).collect()
            }
        };
        all.sort_unstable_by_key(|schema| schema.id);
        all
    }

    pub fn catalogs(&self) -> Vec<&'static VirtualTable> {
        self.only.map_or_else(|| super::all().collect(), |only| only.catalogs.clone())
    }
}
