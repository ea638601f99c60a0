//! The information schema's view of constraints. SQL standard, part 11.
//!
//! A column's NOT NULL is a CHECK to the standard; its name is made of oids, as PostgreSQL makes it.

use ::types::quote_identifier;
use keys::ColumnId;

use super::constraints::{is_primary, referenced_index};
use super::row::{Rows, YesNo, row};
use super::scope::{Key, Scope, Source};
use crate::definition::Style;
use crate::descriptor::{Index, ReferentialAction, Table};

const OF_CONSTRAINTS: &[(&str, Key)] = &[("constraint_schema", Key::SchemaName), ("constraint_name", Key::PartName)];
const OF_TABLES: &[(&str, Key)] = &[
    ("constraint_schema", Key::SchemaName),
    ("constraint_name", Key::PartName),
    ("table_schema", Key::SchemaName),
    ("table_name", Key::ClassName),
];
const OF_USAGE: &[(&str, Key)] = &[
    ("constraint_schema", Key::SchemaName),
    ("constraint_name", Key::PartName),
    ("table_name", Key::ConstrainedName),
];

pub(super) const TABLES: &[Source] = &[
    Source::of("table_constraints", table_constraints, OF_TABLES),
    Source::of("check_constraints", check_constraints, OF_CONSTRAINTS),
    Source::of("key_column_usage", key_column_usage, OF_TABLES),
    Source::of("referential_constraints", referential_constraints, OF_CONSTRAINTS),
    Source::of("constraint_column_usage", constraint_column_usage, OF_USAGE),
    Source::of("constraint_table_usage", constraint_table_usage, OF_USAGE),
];

/// Indexes made for a PRIMARY KEY or UNIQUE constraint.
fn keys(table: &Table) -> impl Iterator<Item = &Index> {
    table.indexes.iter().filter(|index| index.constraint.is_some() && !index.is_exclusion())
}

/// Names of NOT NULL constraints, and their columns.
fn not_nulls(table: &Table) -> impl Iterator<Item = (String, &str)> {
    table.visible_columns().filter(|(_, column)| !column.nullable).map(|(_, column)| {
        (format!("{}_{}_{}_not_null", table.schema, table.id, column.id.get()), column.name.as_str())
    })
}

fn column_name(table: &Table, id: ColumnId) -> &str {
    table.column_position(id).map_or("", |at| &table.columns[at].name)
}

fn table_constraints(view: &Scope<'_>, rows: &mut Rows) {
    for table in view.tables() {
        let schema = view.schema_name(table.schema);
        let mut push = |name: &str, kind: &str, deferrable: bool, deferred: bool| {
            row!(rows, {
                constraint_catalog: view.database_name(),
                constraint_schema: schema,
                constraint_name: name,
                table_catalog: view.database_name(),
                table_schema: schema,
                table_name: &table.name,
                constraint_type: kind,
                is_deferrable: YesNo(deferrable),
                initially_deferred: YesNo(deferred),
                enforced: YesNo(true),
                nulls_distinct: (kind == "UNIQUE").then_some(YesNo(true)),
            });
        };
        for index in keys(table) {
            let kind = if is_primary(table, index) { "PRIMARY KEY" } else { "UNIQUE" };
            push(&index.name, kind, index.details.deferrable, index.details.initially_deferred);
        }
        let keys = table.foreign_keys.iter();
        keys.for_each(|key| push(&key.name, "FOREIGN KEY", key.deferrable, key.initially_deferred));
        table.checks.iter().for_each(|check| push(&check.name, "CHECK", false, false));
        not_nulls(table).for_each(|(name, _)| push(&name, "CHECK", false, false));
    }
}

fn check_constraints(view: &Scope<'_>, rows: &mut Rows) {
    for (ty, domain) in super::constraints::domains(view) {
        for check in &domain.checks {
            row!(rows, {
                constraint_catalog: view.database_name(),
                constraint_schema: view.schema_name(ty.schema),
                constraint_name: &check.name,
                check_clause: format!("({})", view.domain_expr(ty, &check.expr, Style::Plain)),
            });
        }
    }
    for table in view.tables() {
        let mut push = |name: &str, clause: String| {
            row!(rows, {
                constraint_catalog: view.database_name(),
                constraint_schema: view.schema_name(table.schema),
                constraint_name: name,
                check_clause: clause,
            });
        };
        for check in &table.checks {
            push(&check.name, format!("({})", view.expr(table, &check.expr, Style::Plain)));
        }
        for (name, column) in not_nulls(table) {
            push(&name, format!("{} IS NOT NULL", quote_identifier(column)));
        }
    }
}

fn key_column_usage(view: &Scope<'_>, rows: &mut Rows) {
    for table in view.tables() {
        let schema = view.schema_name(table.schema);
        let mut push = |name: &str, position: usize, column: ColumnId, in_unique: Option<usize>| {
            row!(rows, {
                constraint_catalog: view.database_name(),
                constraint_schema: schema,
                constraint_name: name,
                table_catalog: view.database_name(),
                table_schema: schema,
                table_name: &table.name,
                column_name: column_name(table, column),
                ordinal_position: position,
                position_in_unique_constraint: in_unique,
            });
        };
        for index in keys(table) {
            for (position, key) in (1..).zip(&index.columns) {
                push(&index.name, position, key.column, None);
            }
        }
        for key in &table.foreign_keys {
            let index = view.catalog.table_by_id(key.referenced_table);
            let index = index.and_then(|it| referenced_index(it, &key.referenced_columns));
            for (position, (column, referenced)) in (1..).zip(key.columns.iter().zip(&key.referenced_columns)) {
                let place = index.and_then(|it| it.columns.iter().position(|part| part.column == *referenced));
                push(&key.name, position, *column, place.map(|place| place + 1));
            }
        }
    }
}

fn rule(action: ReferentialAction) -> &'static str {
    match action {
        ReferentialAction::NoAction => "NO ACTION",
        ReferentialAction::Restrict => "RESTRICT",
        ReferentialAction::Cascade => "CASCADE",
        ReferentialAction::SetNull => "SET NULL",
        ReferentialAction::SetDefault => "SET DEFAULT",
    }
}

fn referential_constraints(view: &Scope<'_>, rows: &mut Rows) {
    for table in view.tables() {
        for key in &table.foreign_keys {
            let referenced = view.catalog.table_by_id(key.referenced_table);
            let unique = referenced.and_then(|it| {
                let index = referenced_index(it, &key.referenced_columns)?;
                index.constraint.map(|_| (view.schema_name(it.schema), index.name.as_str()))
            });
            row!(rows, {
                constraint_catalog: view.database_name(),
                constraint_schema: view.schema_name(table.schema),
                constraint_name: &key.name,
                unique_constraint_catalog: unique.map(|_| view.database_name()),
                unique_constraint_schema: unique.map(|it| it.0),
                unique_constraint_name: unique.map(|it| it.1),
                match_option: "NONE",
                update_rule: rule(key.on_update),
                delete_rule: rule(key.on_delete),
            });
        }
    }
}

/// The columns a constraint is about; of a foreign key, those it references.
fn constraint_column_usage(view: &Scope<'_>, rows: &mut Rows) {
    for table in view.tables() {
        let mut push = |of: &Table, column: ColumnId, name: &str| {
            row!(rows, {
                table_catalog: view.database_name(),
                table_schema: view.schema_name(of.schema),
                table_name: &of.name,
                column_name: column_name(of, column),
                constraint_catalog: view.database_name(),
                constraint_schema: view.schema_name(table.schema),
                constraint_name: name,
            });
        };
        for index in keys(table) {
            index.columns.iter().for_each(|key| push(table, key.column, &index.name));
        }
        for check in &table.checks {
            check.columns.iter().for_each(|column| push(table, *column, &check.name));
        }
        for key in &table.foreign_keys {
            if let Some(referenced) = view.catalog.table_by_id(key.referenced_table) {
                key.referenced_columns.iter().for_each(|column| push(referenced, *column, &key.name));
            }
        }
    }
}

fn constraint_table_usage(view: &Scope<'_>, rows: &mut Rows) {
    for table in view.tables() {
        let mut push = |of: &Table, name: &str| {
            row!(rows, {
                table_catalog: view.database_name(),
                table_schema: view.schema_name(of.schema),
                table_name: &of.name,
                constraint_catalog: view.database_name(),
                constraint_schema: view.schema_name(table.schema),
                constraint_name: name,
            });
        };
        keys(table).for_each(|index| push(table, &index.name));
        for key in &table.foreign_keys {
            if let Some(referenced) = view.catalog.table_by_id(key.referenced_table) {
                push(referenced, &key.name);
            }
        }
    }
}
