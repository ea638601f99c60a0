//! Every table has the columns it declares, and the catalogs agree with each other.

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

#[test]
fn rows_have_the_declared_columns() {
    let tables = SystemTables::new(view());
    let mut counted = 0;
    for table in all() {
        for row in tables.rows(table).rows() {
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
    let tables = SystemTables::new(view());
    let rows = |name: &str| tables.rows(find("pg_catalog", name).unwrap());
    let column = |table: &str, column: &str| find("pg_catalog", table).unwrap().position(column).unwrap();
    let (attributes, classes, types) = (rows("pg_attribute"), rows("pg_class"), rows("pg_type"));
    for attribute in attributes.rows() {
        for (by, found, of) in [("attrelid", &classes, "pg_class"), ("atttypid", &types, "pg_type")] {
            let value = &attribute[column("pg_attribute", by)];
            assert_eq!(found.find(column(of, "oid"), value).map(|rows| rows.len()), Some(1), "{by} {value:?}");
        }
    }
}

#[test]
fn names_and_oids_are_each_once() {
    assert_eq!(all().count(), REGISTRY.names.len());
    assert_eq!(all().count(), REGISTRY.oids.len());
    let tables = SystemTables::new(view());
    for (name, key) in [("pg_proc", "oid"), ("pg_class", "oid"), ("pg_type", "typname"), ("pg_operator", "oid")] {
        let table = find("pg_catalog", name).unwrap();
        let rows = tables.rows(table);
        let position = table.position(key).unwrap();
        for row in rows.rows() {
            assert_eq!(rows.find(position, &row[position]).unwrap().len(), 1, "{name}: {:?}", row[position]);
        }
    }
}
