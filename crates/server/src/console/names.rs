//! Keys as people read them: `shop.public.orders@orders_by_day/'x'` instead of `/Table/104/2/"x"`.

use std::sync::Arc;

use catalog::{CatalogSnapshot, Relation, Table};
use keys::{IndexId, Key, encoding::take_uvarint, keyspace};
use rustc_hash::FxHashMap;

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
        let rest = printed.strip_prefix(&numbers).unwrap_or_default();
        if storage == ADVISORY {
            return format!("advisory lock{rest}");
        }
        let Some(table) = self.by_storage.get(&storage) else { return printed };
        let name = self.table(table);
        let is_primary = |index: IndexId| table.indexes.first().is_none_or(|first| first.id == index);
        match index {
            Some(index) if !is_primary(index) => {
                let known = table.indexes.iter().find(|it| it.id == index);
                let shown = known.map_or_else(|| index.get().to_string(), |it| it.name.clone());
                format!("{name}@{shown}{rest}")
            }
            _ => format!("{name}{rest}"),
        }
    }
}
