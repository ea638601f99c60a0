//! Full text search: what makes lexemes of texts.
//!
//! ```text
//! text ── parser ──► tokens ── configuration: dictionaries for each type of token ──► lexemes ──► tsvector, tsquery
//! ```
//!
//! There is one parser, PostgreSQL's default one; dictionaries lower the case of words, drop stop words, and stem. Built-in
//! configurations are there without a catalog; others come through [`crate::CatalogFunctions`].

pub mod configuration;
pub mod dictionary;
pub(crate) mod headline;
pub mod languages;
pub mod parser;
pub(crate) mod ranking;

use std::sync::Arc;

use types::text_search::{Operand, Operator, Syntax, TsQuery, assemble};
use types::{SqlError, SqlResult, SqlState, SqlType};

use crate::EvalContext;
use configuration::{Configuration, NamedDictionary, configurations, dictionaries};

/// A built-in configuration.
#[must_use]
pub fn built_in_configuration(oid: u32) -> Option<Arc<Configuration>> {
    configurations().iter().find(|it| it.oid == oid).map(|it| Arc::clone(&it.configuration))
}

/// A built-in dictionary.
#[must_use]
pub fn built_in_dictionary(oid: u32) -> Option<Arc<NamedDictionary>> {
    dictionaries().iter().find(|it| it.oid == oid).cloned()
}

pub(crate) fn no_configuration(oid: u32) -> SqlError {
    SqlError::internal(format!("cache lookup failed for text search configuration {oid}"))
}

pub(crate) fn no_dictionary(oid: u32) -> SqlError {
    SqlError::internal(format!("cache lookup failed for text search dictionary {oid}"))
}

/// The oid of `default_text_search_config`.
pub(crate) fn current_configuration(context: &EvalContext<'_>) -> SqlResult<u32> {
    let name = context.host.setting("default_text_search_config").unwrap_or_else(|| "pg_catalog.simple".to_owned());
    match &context.formatting.oid_names {
        Some(names) => names.lookup(&SqlType::RegConfig, &name),
        None => {
            let bare = name.strip_prefix("pg_catalog.").unwrap_or(&name);
            configurations().iter().find(|it| it.name == bare).map(|it| it.oid).ok_or_else(|| {
                let message = format!("text search configuration \"{name}\" does not exist");
                SqlError::new(SqlState::UndefinedObject, message)
            })
        }
    }
}

/// A query whose operands become lexemes by a configuration. Several lexemes of one operand are joined by `operator`; a weight or a
/// star of the operand holds for each.
pub(crate) fn query(configuration: &Configuration, text: &str, syntax: Syntax, operator: Operator) -> SqlResult<TsQuery> {
    assemble(text, syntax, &mut |operand, sink| {
        let words = configuration.words(&operand.text, &mut 0);
        let mut last = 0;
        let mut is_first = true;
        for word in &words {
            // Stop words between lexemes keep their places.
            while last > 0 && last + 1 < word.position {
                sink.stop_word();
                if !is_first {
                    sink.operator(operator)?;
                }
                is_first = false;
                last += 1;
            }
            last = word.position;
            sink.lexeme(Operand { text: word.lexeme.as_str().into(), ..operand.clone() })?;
            if !is_first {
                sink.operator(operator)?;
            }
            is_first = false;
        }
        if words.is_empty() {
            sink.stop_word();
        }
        Ok(())
    })
}
