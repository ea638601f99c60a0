//! What the system catalogs show of a small catalog: rows as values, and as text that clients read.

use ::types::{Formatting, parse_text, to_text};

use super::*;
use crate::CatalogSnapshot;
use crate::descriptor::POSTGRES_DATABASE;

fn view() -> CatalogView {
    let mut catalog = CatalogSnapshot::default();
    for descriptor in crate::store::first_descriptors() {
        catalog.put(descriptor);
    }
    CatalogView {
        catalog: Arc::new(catalog),
        database: POSTGRES_DATABASE,
        search_path: vec!["public".to_owned()],
        user: "postgres".to_owned(),
        printers: None,
    }
}

/// All rows of a table.
fn rows_of(tables: &Arc<SystemTables>, table: &'static VirtualTable) -> VirtualRows {
    let mut read = tables.read(table, None);
    let mut rows = Vec::new();
    while let Some(chunk) = read.next_chunk() {
        rows.extend((0..chunk.len()).map(|at| chunk.row(at).to_vec()));
    }
    VirtualRows::new(rows)
}

#[test]
fn rows_have_the_declared_columns() {
    let tables = Arc::new(SystemTables::new(view()));
    let mut counted = 0;
    for table in all() {
        for row in rows_of(&tables, table).rows() {
            counted += 1;
            assert_eq!(row.len(), table.columns.len(), "declared-columns: {}", table.name);
            for ((value, (column, ty)), not_null) in row.iter().zip(&table.columns).zip(&table.not_null) {
                assert!(!(value.is_null() && *not_null), "declared-columns: {}.{column} is NULL", table.name);
                if !value.is_null() {
                    let formatting = Formatting::default();
                    let text = to_text(ty, value, &formatting);
                    // A value of another kind prints as something that does not read back as itself.
                    let read = parse_text(ty, &text, &formatting);
                    let is_named = ty.is_reg() || matches!(ty, SqlType::PgNodeTree);
                    assert!(is_named || read.as_ref() == Ok(value), "declared-columns: {}.{column}: {text}", table.name);
                }
            }
        }
    }
    assert!(counted > 5000, "{counted}");
}

#[test]
fn every_column_of_the_catalogs_has_a_type_and_a_table() {
    let tables = Arc::new(SystemTables::new(view()));
    let rows = |name: &str| rows_of(&tables, find("pg_catalog", name).unwrap());
    let column = |table: &str, column: &str| find("pg_catalog", table).unwrap().position(column).unwrap();
    let (attributes, classes, types) = (rows("pg_attribute"), rows("pg_class"), rows("pg_type"));
    for attribute in attributes.rows() {
        for (by, found, of) in [("attrelid", &classes, "pg_class"), ("atttypid", &types, "pg_type")] {
            let value = &attribute[column("pg_attribute", by)];
            assert_eq!(found.find(column(of, "oid"), value).len(), 1, "{by} {value:?}");
        }
    }
}

#[test]
fn names_and_oids_are_each_once() {
    assert_eq!(all().count(), REGISTRY.names.len());
    assert_eq!(all().count(), REGISTRY.oids.len());
    let tables = Arc::new(SystemTables::new(view()));
    for (name, key) in [("pg_proc", "oid"), ("pg_class", "oid"), ("pg_type", "typname"), ("pg_operator", "oid")] {
        let table = find("pg_catalog", name).unwrap();
        let rows = rows_of(&tables, table);
        let position = table.position(key).unwrap();
        for row in rows.rows() {
            assert_eq!(rows.find(position, &row[position]).len(), 1, "{name}: {:?}", row[position]);
        }
    }
}

/// *keys-lead-to-all*, of what every database has; tests with users' objects run over SQL.
#[test]
fn a_value_of_a_key_finds_the_rows_that_have_it() {
    let tables = Arc::new(SystemTables { keeps_nothing: true, ..SystemTables::new(view()) });
    let mut keys = 0;
    for table in all() {
        let all = rows_of(&tables, table);
        let Some(made) = made(table) else { continue };
        for (name, _) in made.source.keys {
            keys += 1;
            let column = table.position(name).unwrap();
            let step = all.rows().len().div_ceil(50).max(1);
            for value in all.rows().iter().step_by(step).map(|row| &row[column]) {
                let lookup = VirtualLookup { column, values: [value.clone()].into_iter().collect() };
                let mut read = tables.read(table, Some(lookup));
                let mut found = Vec::new();
                while let Some(chunk) = read.next_chunk() {
                    found.extend((0..chunk.len()).map(|at| chunk.row(at).to_vec()));
                }
                let expected: Vec<Vec<Datum>> =
                    all.find(column, value).into_iter().map(|at| all.rows()[at as usize].clone()).collect();
                assert_eq!(found, expected, "keys-lead-to-all: {}.{name} = {value:?}", table.name);
            }
        }
    }
    assert!(keys > 100, "{keys}");
}
