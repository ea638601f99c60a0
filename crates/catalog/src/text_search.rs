//! Text search configurations and dictionaries by name and by oid, and the trigger functions that keep vectors.

use std::sync::{Arc, LazyLock};

use builtins::text_search::configuration::{configurations, dictionaries};

use crate::descriptor::{PG_CATALOG_SCHEMA, POSTGRES_ROLE};
use crate::routine::{Language, Routine, RoutineKind, RoutineVolatility, StoredType};

/// The name of a configuration.
pub(crate) fn configuration_name(oid: u32) -> Option<&'static str> {
    configurations().iter().find(|it| it.oid == oid).map(|it| it.name)
}

pub(crate) fn configuration_named(name: &str) -> Option<u32> {
    configurations().iter().find(|it| it.name == name).map(|it| it.oid)
}

/// The name of a dictionary.
pub(crate) fn dictionary_name(oid: u32) -> Option<&'static str> {
    dictionaries().iter().find(|it| it.oid == oid).map(|it| it.name.as_str())
}

pub(crate) fn dictionary_named(name: &str) -> Option<u32> {
    dictionaries().iter().find(|it| it.name == name).map(|it| it.oid)
}

/// `tsvector_update_trigger`.
pub const UPDATE_TRIGGER: u32 = 3752;
/// `tsvector_update_trigger_column`.
pub const UPDATE_TRIGGER_COLUMN: u32 = 3753;

/// PostgreSQL's own trigger functions: they are called as triggers alone, and run by the executor.
static TRIGGER_FUNCTIONS: LazyLock<[Arc<Routine>; 2]> = LazyLock::new(|| {
    let named = [(UPDATE_TRIGGER, "tsvector_update_trigger"), (UPDATE_TRIGGER_COLUMN, "tsvector_update_trigger_column")];
    named.map(|(id, name)| {
        Arc::new(Routine {
            id,
            schema: PG_CATALOG_SCHEMA,
            name: name.to_owned(),
            owner: POSTGRES_ROLE,
            kind: RoutineKind::Function,
            parameters: Vec::new(),
            returns: StoredType::TRIGGER,
            returns_set: false,
            language: Language::PlPgSql,
            body: String::new(),
            volatility: RoutineVolatility::Volatile,
            strict: false,
            security_definer: false,
            leakproof: false,
            parallel: 's',
            cost: 1.0,
            rows: 0.0,
            settings: Vec::new(),
            comment: None,
            aggregate: None,
        })
    })
});

pub(crate) fn trigger_function(id: u32) -> Option<&'static Arc<Routine>> {
    TRIGGER_FUNCTIONS.iter().find(|it| it.id == id)
}

/// A built-in trigger function.
#[must_use]
pub fn trigger_function_named(name: &str) -> Option<&'static Arc<Routine>> {
    TRIGGER_FUNCTIONS.iter().find(|it| it.name == name)
}
