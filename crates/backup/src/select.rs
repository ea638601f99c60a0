//! Which objects belong together: those of a database, and those that tables cannot be without.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use catalog::{CatalogSnapshot, Descriptor, Renumbering, Table};
use types::SqlState;
use types::{SqlError, SqlResult};

use crate::manifest::IndexSpan;

/// Descriptors by their ids.
pub(crate) type Objects = BTreeMap<u32, Descriptor>;

/// What a backup's descriptors are.
///
/// # Errors
/// XX001.
pub(crate) fn decode<'a>(rows: impl Iterator<Item = (u32, &'a [u8])>) -> SqlResult<Objects> {
    rows.map(|(id, bytes)| {
        let descriptor = catalog::decode_descriptor(id, bytes)
            .map_err(|error| SqlError::new(SqlState::DataCorrupted, format!("a backup holds what is no object: {error}")))?;
        Ok((id, descriptor))
    })
    .collect()
}

/// The database that an object is in, or is.
pub(crate) fn database_of(objects: &Objects, descriptor: &Descriptor) -> Option<u32> {
    match descriptor {
        Descriptor::Database(it) => Some(it.id),
        Descriptor::Schema(it) => Some(it.database),
        other => match objects.get(&other.schema()?)? {
            Descriptor::Schema(schema) => Some(schema.database),
            _ => None,
        },
    }
}

/// What sessions have for themselves is no part of any backup.
fn is_temporary(objects: &Objects, descriptor: &Descriptor) -> bool {
    let of_schema = |schema: &Descriptor| matches!(schema, Descriptor::Schema(schema) if schema.is_temporary());
    of_schema(descriptor) || descriptor.schema().and_then(|schema| objects.get(&schema)).is_some_and(of_schema)
}

/// Databases with all that is in them.
pub(crate) fn in_databases(objects: &Objects, databases: &[u32]) -> BTreeSet<u32> {
    let is_in = |descriptor: &Descriptor| {
        database_of(objects, descriptor).is_some_and(|id| databases.contains(&id)) && !is_temporary(objects, descriptor)
    };
    objects.iter().filter(|(_, it)| is_in(it)).map(|(id, _)| *id).collect()
}

/// All of a cluster.
pub(crate) fn all(objects: &Objects) -> BTreeSet<u32> {
    objects.iter().filter(|(_, it)| !is_temporary(objects, it)).map(|(id, _)| *id).collect()
}

/// The ids in a descriptor: its own, those of its parts, and those that it refers to; roles aside.
pub(crate) fn ids_in(descriptor: &Descriptor) -> BTreeSet<u32> {
    let found = std::cell::RefCell::new(BTreeSet::new());
    let object = |id: u32| {
        found.borrow_mut().insert(id);
        id
    };
    Renumbering { object: &object, role: &Some, owner: 0 }.descriptor(&mut descriptor.clone());
    found.into_inner()
}

/// The object that an id is of, where it is a type's: arrays and multiranges of one have ids of their own.
fn type_with(objects: &Objects, id: u32) -> Option<u32> {
    let base = (0..4).filter_map(|back| id.checked_sub(back)).find(|id| matches!(objects.get(id), Some(Descriptor::Type(_))))?;
    objects[&base].defines().iter().any(|(first, more)| (*first..=first + more).contains(&id)).then_some(base)
}

/// As a catalog, in which stored text can be bound.
fn as_catalog(objects: &Objects) -> Arc<CatalogSnapshot> {
    let mut catalog = CatalogSnapshot::default();
    objects.values().for_each(|it| catalog.put(it.clone()));
    Arc::new(catalog)
}

/// Tables with what they cannot be without: partitions, sequences that they own or draw from, types, and the functions of
/// triggers, policies, defaults, generated columns, checks and indexes. Stored text names sequences and types by their ids,
/// and functions by names, which are looked up as where the text is used.
pub(crate) fn of_tables(objects: &Objects, tables: &[u32]) -> BTreeSet<u32> {
    let catalog = as_catalog(objects);
    let mut chosen = BTreeSet::new();
    let mut todo: Vec<u32> = tables.to_vec();
    while let Some(id) = todo.pop() {
        let Some(descriptor) = objects.get(&id) else { continue };
        if !chosen.insert(id) {
            continue;
        }
        for id in ids_in(descriptor) {
            match objects.get(&id) {
                Some(Descriptor::Sequence(_) | Descriptor::Routine(_) | Descriptor::Type(_)) => todo.push(id),
                Some(_) => {}
                None => todo.extend(type_with(objects, id)),
            }
        }
        let Descriptor::Table(table) = descriptor else { continue };
        todo.extend(table.partitioned().into_iter().flat_map(|it| it.partitions.iter().map(|partition| partition.id)));
        let is_owned = |it: &&Descriptor| {
            matches!(it, Descriptor::Sequence(it) if it.owned_by.is_some_and(|(owner, _)| owner == table.id))
        };
        todo.extend(objects.values().filter(is_owned).map(Descriptor::id));
        if let (Some(database), Some(table)) = (database_of(objects, descriptor), catalog.table_by_id(id)) {
            todo.extend(plan::routines_called(table, &catalog, database));
        }
    }
    chosen
}

/// With the schemas and databases that objects are in, so that they can be named.
pub(crate) fn with_homes(objects: &Objects, mut chosen: BTreeSet<u32>) -> BTreeSet<u32> {
    let schemas: Vec<u32> = chosen.iter().filter_map(|id| objects.get(id)?.schema()).collect();
    chosen.extend(schemas);
    let databases: Vec<u32> = chosen.iter().filter_map(|id| database_of(objects, objects.get(id)?)).collect();
    chosen.extend(databases);
    chosen.retain(|id| objects.contains_key(id));
    chosen
}

/// The indexes of a table that have keys.
pub(crate) fn spans_of(table: &Table) -> Vec<IndexSpan> {
    if table.is_partitioned() {
        return Vec::new();
    }
    table.indexes.iter().map(|index| IndexSpan { storage: table.storage, index: index.id.get() }).collect()
}
