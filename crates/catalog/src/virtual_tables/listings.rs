//! The catalogs as PostgreSQL's views show them to people: `pg_tables`, `pg_views`, `pg_matviews`, `pg_indexes`, `pg_sequences`,
//! `pg_stats`, and statistics of use as far as anybody counts it.

use ::types::{Array, Datum, Formatting, SqlType, to_text};

use super::relations::named_indexes;
use super::privileges::Seer;
use super::row::{Rows, row};
use super::scope::{Key, Scope, Source};
use crate::definition::{self, Style};
use crate::descriptor::POSTGRES_ROLE;
use crate::snapshot::Relation;

const OF_TABLES: &[(&str, Key)] = &[("relid", Key::Class), ("schemaname", Key::SchemaName), ("relname", Key::ClassName)];
const OF_INDEXES: &[(&str, Key)] = &[
    ("relid", Key::Class),
    ("indexrelid", Key::Class),
    ("schemaname", Key::SchemaName),
    ("relname", Key::ClassName),
    ("indexrelname", Key::ClassName),
];

pub(super) const TABLES: &[Source] = &[
    Source::of("pg_tables", pg_tables, &[("schemaname", Key::SchemaName), ("tablename", Key::ClassName)]),
    Source::of("pg_views", pg_views, &[("schemaname", Key::SchemaName), ("viewname", Key::ClassName)]),
    Source::of("pg_matviews", pg_matviews, &[("schemaname", Key::SchemaName), ("matviewname", Key::ClassName)]),
    Source::of("pg_indexes", pg_indexes, &[("schemaname", Key::SchemaName), ("tablename", Key::ClassName), ("indexname", Key::ClassName)]),
    Source::of("pg_sequences", pg_sequences, &[("schemaname", Key::SchemaName), ("sequencename", Key::ClassName)]),
    Source::of("pg_stats", pg_stats, &[("schemaname", Key::SchemaName), ("tablename", Key::ClassName)]),
    Source::of("pg_stat_all_tables", pg_stat_user_tables, OF_TABLES),
    Source::of("pg_stat_user_tables", pg_stat_user_tables, OF_TABLES),
    Source::of("pg_stat_all_indexes", pg_stat_user_indexes, OF_INDEXES),
    Source::of("pg_stat_user_indexes", pg_stat_user_indexes, OF_INDEXES),
    Source::of("pg_statio_all_tables", pg_statio_user_tables, OF_TABLES),
    Source::of("pg_statio_user_tables", pg_statio_user_tables, OF_TABLES),
];

fn pg_tables(view: &Scope<'_>, rows: &mut Rows) {
    let owner = view.role_name(POSTGRES_ROLE);
    for table in view.catalogs().into_iter().filter(|table| table.kind == 'r') {
        row!(rows, {
            schemaname: table.schema,
            tablename: table.name,
            tableowner: &owner,
            hasindexes: false,
            hasrules: false,
            hastriggers: false,
            rowsecurity: false,
        });
    }
    for table in view.tables().filter(|table| table.materialized.is_none()) {
        row!(rows, {
            schemaname: view.schema_name(table.schema),
            tablename: &table.name,
            tableowner: view.role_name(table.owner),
            hasindexes: named_indexes(table).next().is_some(),
            hasrules: false,
            hastriggers: super::relations::has_triggers(table),
            rowsecurity: table.has_row_security(),
        });
    }
}

fn pg_views(view: &Scope<'_>, rows: &mut Rows) {
    let owner = view.role_name(POSTGRES_ROLE);
    for table in view.catalogs().into_iter().filter(|table| table.kind == 'v') {
        row!(rows, { schemaname: table.schema, viewname: table.name, viewowner: &owner });
    }
    for relation in view.relations() {
        if let Relation::View(it) = relation {
            row!(rows, {
                schemaname: view.schema_name(it.schema),
                viewname: &it.name,
                viewowner: view.role_name(it.owner),
                definition: view.view_definition(it.id, Style::Plain),
            });
        }
    }
}

fn pg_matviews(view: &Scope<'_>, rows: &mut Rows) {
    for table in view.tables().filter(|table| table.materialized.is_some()) {
        row!(rows, {
            schemaname: view.schema_name(table.schema),
            matviewname: &table.name,
            matviewowner: view.role_name(table.owner),
            hasindexes: named_indexes(table).next().is_some(),
            ispopulated: table.is_populated(),
            definition: view.view_definition(table.id, Style::Plain),
        });
    }
}

fn pg_indexes(view: &Scope<'_>, rows: &mut Rows) {
    for table in view.tables() {
        for index in named_indexes(table) {
            row!(rows, {
                schemaname: view.schema_name(table.schema),
                tablename: &table.name,
                indexname: &index.name,
                indexdef: definition::index(view, table, index, Style::Plain),
            });
        }
    }
}

/// Where a sequence stands is in its own key, not in the catalog: `last_value` is NULL.
fn pg_sequences(view: &Scope<'_>, rows: &mut Rows) {
    for relation in view.relations() {
        if let Relation::Sequence(it) = relation {
            row!(rows, {
                schemaname: view.schema_name(it.schema),
                sequencename: &it.name,
                sequenceowner: view.role_name(it.owner),
                data_type: it.ty,
                start_value: it.start,
                min_value: it.min,
                max_value: it.max,
                increment_by: it.increment,
                cycle: it.cycle,
                cache_size: it.cache,
            });
        }
    }
}

/// Values as text, as `anyarray` prints them.
fn values<'a>(ty: &SqlType, values: impl Iterator<Item = &'a Datum>) -> Option<Vec<String>> {
    let formatting = Formatting::default();
    let shown: Vec<String> = values.map(|value| to_text(ty, value, &formatting)).collect();
    (!shown.is_empty()).then_some(shown)
}

/// Of columns that the user may read, in tables whose rows are all the user's to see: there are values of them here.
fn pg_stats(view: &Scope<'_>, rows: &mut Rows) {
    let seer = Seer::new(view);
    for table in view.tables() {
        let Some(statistics) = view.statistics(table).filter(|_| !seer.is_subject_to_row_security(table)) else { continue };
        for (_, column) in table.visible_columns() {
            let Some(known) = statistics.column(column.id) else { continue };
            if !seer.reads_column(table.id, column.id.get()) {
                continue;
            }
            let frequencies: Vec<Datum> = known.common.iter().map(|(_, share)| Datum::Float(*share)).collect();
            row!(rows, {
                schemaname: view.schema_name(table.schema),
                tablename: &table.name,
                attname: &column.name,
                inherited: false,
                null_frac: known.null_fraction,
                avg_width: known.average_width.round() as i64,
                n_distinct: known.distinct,
                most_common_vals: values(&column.ty, known.common.iter().map(|(value, _)| value)),
                most_common_freqs: (!frequencies.is_empty())
                    .then(|| Datum::Array(Array::from_elements(frequencies).into())),
                histogram_bounds: values(&column.ty, known.histogram.iter()),
            });
        }
    }
}

fn pg_stat_user_tables(view: &Scope<'_>, rows: &mut Rows) {
    for table in view.tables() {
        let live = view.statistics(table).map_or(0, |it| it.rows.round() as i64);
        row!(rows, {
            relid: table.id,
            schemaname: view.schema_name(table.schema),
            relname: &table.name,
            n_live_tup: live,
            n_dead_tup: 0,
        });
    }
}

fn pg_statio_user_tables(view: &Scope<'_>, rows: &mut Rows) {
    for table in view.tables() {
        row!(rows, { relid: table.id, schemaname: view.schema_name(table.schema), relname: &table.name });
    }
}

fn pg_stat_user_indexes(view: &Scope<'_>, rows: &mut Rows) {
    for table in view.tables() {
        for index in named_indexes(table) {
            row!(rows, {
                relid: table.id,
                indexrelid: index.oid,
                schemaname: view.schema_name(table.schema),
                relname: &table.name,
                indexrelname: &index.name,
            });
        }
    }
}
