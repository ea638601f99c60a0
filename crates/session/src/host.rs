//! What functions may ask of the session, and where the rows of the catalogs come from.

use std::sync::{Arc, OnceLock};

use builtins::Host;
use catalog::{CatalogStore, CatalogView, SystemTables, VirtualRows, VirtualTable};
use parking_lot::Mutex;
use types::SqlResult;

use crate::{environment::Environment, session_tables::SessionTables, settings::Settings};

/// Microseconds between 1970 and 2000.
pub(crate) const PG_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// The session as functions see it: values as of the statement's start; settings changed by functions are collected.
pub(crate) struct SessionHost {
    pub environment: Arc<Environment>,
    pub changed: Mutex<Vec<(String, String, bool)>>,
    /// Seeded when first asked.
    random: Mutex<Option<rand::rngs::SmallRng>>,
}

impl SessionHost {
    pub fn new(environment: Arc<Environment>) -> Self {
        Self { environment, changed: Mutex::default(), random: Mutex::new(None) }
    }

    pub fn settings(&self) -> &Settings {
        &self.environment.settings
    }

    pub fn now_micros(clock: &hlc::Clock) -> i64 {
        i64::try_from(clock.physical_now_ns() / 1000).unwrap_or(i64::MAX) - PG_EPOCH_MICROS
    }
}

impl Host for SessionHost {
    fn clock_timestamp(&self) -> i64 {
        Self::now_micros(&self.environment.clock)
    }

    fn random_bits(&self) -> u64 {
        use rand::{Rng, SeedableRng};
        self.random.lock().get_or_insert_with(|| rand::rngs::SmallRng::seed_from_u64(rand::random())).random()
    }

    fn current_user(&self) -> String {
        self.environment.view.user.clone()
    }

    fn session_user(&self) -> String {
        self.environment.view.user.clone()
    }

    fn current_database(&self) -> String {
        self.environment.database.clone()
    }

    fn current_schemas(&self, include_implicit: bool) -> Vec<String> {
        let mut schemas = Vec::new();
        if include_implicit {
            schemas.push("pg_catalog".to_owned());
        }
        schemas.extend(self.environment.schemas.iter().cloned());
        schemas
    }

    fn setting(&self, name: &str) -> Option<String> {
        let changed = self.changed.lock();
        let new = changed.iter().rev().find(|(known, ..)| known.eq_ignore_ascii_case(name));
        new.map(|(_, value, _)| value.clone()).or_else(|| self.settings().get(name).map(str::to_owned))
    }

    fn set_setting(&self, name: &str, value: &str, is_local: bool) -> SqlResult<String> {
        self.settings().clone().set(name, value)?;
        self.changed.lock().push((name.to_owned(), value.to_owned(), is_local));
        Ok(value.to_owned())
    }

    fn backend_pid(&self) -> i32 {
        self.environment.pid
    }

    fn version(&self) -> String {
        format!("PostgreSQL 15.0 (Quorate {})", env!("CARGO_PKG_VERSION"))
    }

    fn client_address(&self) -> Option<String> {
        None
    }
}

/// The rows of the catalogs as a statement sees them.
pub(crate) struct StatementTables<'a> {
    store: &'a CatalogStore,
    view: &'a CatalogView,
    session: SessionTables<'a>,
    tables: OnceLock<Arc<SystemTables>>,
}

impl<'a> StatementTables<'a> {
    pub fn new(store: &'a CatalogStore, view: &'a CatalogView, session: SessionTables<'a>) -> Self {
        Self { store, view, session, tables: OnceLock::new() }
    }
}

impl exec::VirtualTables for StatementTables<'_> {
    fn rows(&self, table: &'static VirtualTable) -> SqlResult<Arc<VirtualRows>> {
        if let Some(rows) = self.session.rows(table) {
            return Ok(rows);
        }
        Ok(self.tables.get_or_init(|| self.store.system_tables(self.view)).rows(table))
    }
}
