//! Keys as people read them: `shop.public.orders@orders_by_day(2026-11-30, 7)` instead of numbers of tables and indexes.

use std::sync::Arc;

use catalog::{CatalogSnapshot, Index, Relation, Table};
use keys::{IndexId, Key, TableId, encoding::take_uvarint, keyspace};
use rustc_hash::FxHashMap;
use types::{Formatting, decode_key, write_text};

/// Where advisory locks lie.
const ADVISORY: u32 = 6;

/// The tables of a catalog by where their rows lie.
pub(crate) struct Names {
    catalog: Arc<CatalogSnapshot>,
    by_storage: FxHashMap<u32, Arc<Table>>,
}

/// What a key is of.
pub(crate) struct Place {
    pub database: Option<u32>,
    pub table: Option<u32>,
    pub is_advisory: bool,
}

impl Names {
    pub fn new(catalog: Arc<CatalogSnapshot>) -> Self {
        let tables = catalog.relations().filter_map(|relation| match relation {
            Relation::Table(table) => Some((table.storage, table.clone())),
            Relation::View(_) | Relation::Sequence(_) => None,
        });
        let by_storage = tables.collect();
        Self { catalog, by_storage }
    }

    pub fn is_of(&self, catalog: &Arc<CatalogSnapshot>) -> bool {
        Arc::ptr_eq(&self.catalog, catalog)
    }

    /// The table's number, the index's, and what comes behind them.
    fn split(key: &Key) -> Option<(u32, Option<IndexId>)> {
        let mut rest = key.as_bytes().strip_prefix(&[keyspace::TABLE_PREFIX][..])?;
        let table = u32::try_from(take_uvarint(&mut rest).ok()?).ok()?;
        let index = take_uvarint(&mut rest).ok().and_then(|index| u32::try_from(index).ok());
        Some((table, index.map(IndexId::new)))
    }

    pub fn place(&self, key: &Key) -> Place {
        let storage = Self::split(key).map(|(storage, _)| storage);
        let table = storage.and_then(|storage| self.by_storage.get(&storage));
        let schema = table.and_then(|table| self.catalog.schema_by_id(table.schema));
        Place {
            database: schema.map(|schema| schema.database),
            table: table.map(|table| table.id),
            is_advisory: storage == Some(ADVISORY),
        }
    }

    pub fn database(&self, id: u32) -> String {
        self.catalog.database_by_id(id).map_or_else(|| id.to_string(), |database| database.name.clone())
    }

    pub fn role(&self, id: u32) -> String {
        self.catalog.role_by_id(id).map_or_else(|| id.to_string(), |role| role.name.clone())
    }

    /// A table with its schema and database.
    fn table(&self, table: &Table) -> String {
        match self.catalog.schema_by_id(table.schema) {
            Some(schema) => format!("{}.{}.{}", self.database(schema.database), schema.name, table.name),
            None => table.name.clone(),
        }
    }

    /// A key, with names in the place of numbers where they are known.
    pub fn key(&self, key: &Key) -> String {
        let printed = key.to_string();
        let Some((storage, index)) = Self::split(key) else {
            return match printed.as_str() {
                "/Min" => "start".to_owned(),
                "/Max" => "end".to_owned(),
                _ => printed,
            };
        };
        let numbers = match index {
            Some(index) => format!("/Table/{storage}/{}", index.get()),
            None => format!("/Table/{storage}"),
        };
        if storage == ADVISORY {
            return format!("advisory lock {}", printed.strip_prefix(&numbers).unwrap_or_default());
        }
        let Some(table) = self.by_storage.get(&storage) else { return printed };
        let mut name = self.table(table);
        let Some(index) = index else { return name };
        let rest = printed.strip_prefix(&numbers).unwrap_or_default();
        let Some(index) = table.indexes.iter().find(|it| it.id == index) else {
            return format!("{name}@{}{rest}", index.get());
        };
        if table.indexes.first().is_some_and(|first| first.id != index.id) {
            name = format!("{name}@{}", index.name);
        }
        match values(table, index, key) {
            Some(values) => format!("{name}{values}"),
            None => format!("{name}{rest}"),
        }
    }
}

/// The values of a key of an index, in parentheses; nothing for the beginning of the index. None where the bytes are not of its
/// columns.
fn values(table: &Table, index: &Index, key: &Key) -> Option<String> {
    let prefix = keyspace::index(TableId::new(table.storage), index.id);
    let mut rest = key.as_bytes().strip_prefix(prefix.as_bytes())?;
    // An entry of an inverted index has parts of values.
    if rest.is_empty() || !index.details.inverted.is_empty() {
        return rest.is_empty().then(String::new);
    }
    let is_primary = table.indexes.first().is_some_and(|first| first.id == index.id);
    let primary = table.indexes.first().filter(|_| !is_primary).map_or(&[][..], |first| &first.columns[..]);
    let mut shown = Vec::new();
    for column in index.columns.iter().chain(primary) {
        if rest.is_empty() {
            break;
        }
        let ty = table.columns[table.column_position(column.column)?].ty;
        let value = decode_key(&mut rest, &ty, column.direction, column.nulls).ok()?;
        let mut text = Vec::new();
        write_text(&ty, &value, &Formatting::default(), &mut text);
        shown.push(if value.is_null() { "NULL".to_owned() } else { String::from_utf8_lossy(&text).into_owned() });
    }
    Some(format!("({})", shown.join(", ")))
}
