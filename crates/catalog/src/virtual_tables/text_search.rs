//! Full text search: `pg_ts_config`, `pg_ts_config_map`, `pg_ts_dict`, `pg_ts_parser`, `pg_ts_template`.

use builtins::text_search::configuration::{
    DEFAULT_PARSER_OID, SIMPLE_TEMPLATE_OID, SNOWBALL_TEMPLATE_OID, configurations, dictionaries,
};
use builtins::text_search::parser::TokenType;

use super::row::{Rows, row};
use super::scope::Source;
use crate::descriptor::{PG_CATALOG_SCHEMA, POSTGRES_ROLE};

pub(super) const TABLES: &[Source] = &[
    Source::fixed("pg_ts_config", pg_ts_config),
    Source::fixed("pg_ts_config_map", pg_ts_config_map),
    Source::fixed("pg_ts_dict", pg_ts_dict),
    Source::fixed("pg_ts_parser", pg_ts_parser),
    Source::fixed("pg_ts_template", pg_ts_template),
];

fn pg_ts_config(rows: &mut Rows) {
    for configuration in configurations() {
        row!(rows, {
            oid: configuration.oid,
            cfgname: configuration.name,
            cfgnamespace: PG_CATALOG_SCHEMA,
            cfgowner: POSTGRES_ROLE,
            cfgparser: DEFAULT_PARSER_OID,
        });
    }
}

fn pg_ts_config_map(rows: &mut Rows) {
    for configuration in configurations() {
        for token in TokenType::ALL {
            for (place, dictionary) in (1..).zip(configuration.configuration.dictionaries(token)) {
                row!(rows, {
                    mapcfg: configuration.oid,
                    maptokentype: i32::from(token.number()),
                    mapseqno: place,
                    mapdict: dictionary.oid,
                });
            }
        }
    }
}

fn pg_ts_dict(rows: &mut Rows) {
    for dictionary in dictionaries() {
        row!(rows, {
            oid: dictionary.oid,
            dictname: dictionary.name.as_str(),
            dictnamespace: PG_CATALOG_SCHEMA,
            dictowner: POSTGRES_ROLE,
            dicttemplate: dictionary.template,
            dictinitoption: dictionary.options.as_deref(),
        });
    }
}

fn pg_ts_parser(rows: &mut Rows) {
    row!(rows, {
        oid: DEFAULT_PARSER_OID,
        prsname: "default",
        prsnamespace: PG_CATALOG_SCHEMA,
        prsstart: 3717,
        prstoken: 3718,
        prsend: 3719,
        prsheadline: 3720,
        prslextype: 3721,
    });
}

fn pg_ts_template(rows: &mut Rows) {
    let templates = [(SIMPLE_TEMPLATE_OID, "simple", 3725, 3726), (SNOWBALL_TEMPLATE_OID, "snowball", 13_148, 13_149)];
    for (oid, name, init, lexize) in templates {
        row!(rows, {
            oid: oid,
            tmplname: name,
            tmplnamespace: PG_CATALOG_SCHEMA,
            tmplinit: init,
            tmpllexize: lexize,
        });
    }
}
