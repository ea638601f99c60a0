//! What an evaluation may ask of its surroundings: times, settings, identity, the catalog.

use std::sync::Arc;

use crate::text_search::configuration::{Configuration, NamedDictionary};
use crate::text_search::{built_in_configuration, built_in_dictionary, no_configuration, no_dictionary};
use types::{Datum, Formatting, SqlError, SqlResult, SqlState};

/// The session and the machine, as functions see them.
pub trait Host: Send + Sync {
    /// Microseconds since 2000-01-01 UTC, now; advances within a statement.
    fn clock_timestamp(&self) -> i64;
    /// 64 random bits.
    fn random_bits(&self) -> u64;
    fn current_user(&self) -> String;
    fn session_user(&self) -> String;
    fn current_database(&self) -> String;
    /// The schemas of the search path that exist; implicit ones (`pg_catalog`) first if asked for.
    fn current_schemas(&self, include_implicit: bool) -> Vec<String>;
    /// `None`: no such setting.
    fn setting(&self, name: &str) -> Option<String>;
    /// # Errors
    /// 42501 where the current user may not see a setting.
    fn check_examines(&self, name: &str) -> SqlResult<()>;
    fn set_setting(&self, name: &str, value: &str, is_local: bool) -> SqlResult<String>;
    fn backend_pid(&self) -> i32;
    fn version(&self) -> String;
    fn client_address(&self) -> Option<String>;
    /// Sends a notification when the transaction commits.
    fn notify(&self, _channel: &str, _payload: &str) -> SqlResult<()> {
        Err(SqlError::internal("a notification outside of a session"))
    }
    /// The channels that the session listens to.
    fn listening_channels(&self) -> Vec<String> {
        Vec::new()
    }
    /// How full the queue of notifications is, from 0 to 1.
    fn notification_queue_usage(&self) -> f64 {
        0.0
    }
    /// Stops another session's statement, or ends the session; whether there is one of that process number.
    fn signal(&self, _pid: i32, _signal: Signal) -> SqlResult<bool> {
        Ok(false)
    }
    /// The sessions that hold what this one waits for, by process number; 0 is one of another node.
    fn blocking_pids(&self, _pid: i32) -> Vec<i32> {
        Vec::new()
    }
    /// Forgets what was counted of statements: of this user, this database, this query; 0 is any.
    fn reset_statements(&self, _user: u32, _database: u32, _query: i64) -> SqlResult<()> {
        Ok(())
    }
}

/// What one session does to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Cancel,
    Terminate,
}

/// Functions whose answers come from the system catalog: `format_type` of a user type, `pg_get_indexdef` and the
/// like. Called with the builtin's name.
pub trait CatalogFunctions: Send + Sync {
    fn call(&self, name: &str, args: &[Datum]) -> SqlResult<Datum>;

    /// A text search configuration, by its oid. Without a catalog there are the built-in ones.
    fn text_search_configuration(&self, oid: u32) -> SqlResult<Arc<Configuration>> {
        built_in_configuration(oid).ok_or_else(|| no_configuration(oid))
    }

    /// A text search dictionary, likewise.
    fn text_search_dictionary(&self, oid: u32) -> SqlResult<Arc<NamedDictionary>> {
        built_in_dictionary(oid).ok_or_else(|| no_dictionary(oid))
    }
}

/// What every evaluation is given.
#[derive(Clone, Copy)]
pub struct EvalContext<'a> {
    /// Start of the transaction, microseconds since 2000-01-01 UTC.
    pub transaction_timestamp: i64,
    pub statement_timestamp: i64,
    pub formatting: &'a Formatting,
    pub host: &'a dyn Host,
    pub catalog: &'a dyn CatalogFunctions,
    /// Of the statement; none where values are bounded by their longest alone.
    pub memory: Option<&'a dyn ValueMemory>,
}

/// What values may take that are about to be made.
pub trait ValueMemory: Sync {
    /// Whether so many bytes would fit beside what is kept; they are counted when they are there.
    ///
    /// # Errors
    /// 53200.
    fn fits(&self, bytes: usize) -> SqlResult<()>;
}

impl<'a> EvalContext<'a> {
    /// Without a session or a catalog: for folding constants and for tests.
    #[must_use]
    pub fn detached(formatting: &'a Formatting) -> Self {
        Self { transaction_timestamp: 0, statement_timestamp: 0, formatting, host: &NoHost, catalog: &NoCatalog, memory: None }
    }
}

/// A host for folding constants and for tests: it has no session and refuses to answer for one.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHost;

impl Host for NoHost {
    fn clock_timestamp(&self) -> i64 {
        0
    }
    fn random_bits(&self) -> u64 {
        0
    }
    fn current_user(&self) -> String {
        String::new()
    }
    fn session_user(&self) -> String {
        String::new()
    }
    fn current_database(&self) -> String {
        String::new()
    }
    fn current_schemas(&self, _include_implicit: bool) -> Vec<String> {
        Vec::new()
    }
    fn setting(&self, _name: &str) -> Option<String> {
        None
    }
    fn check_examines(&self, _name: &str) -> SqlResult<()> {
        Ok(())
    }
    fn set_setting(&self, name: &str, _value: &str, _is_local: bool) -> SqlResult<String> {
        Err(SqlError::new(SqlState::UndefinedObject, format!("unrecognized configuration parameter \"{name}\"")))
    }
    fn backend_pid(&self) -> i32 {
        0
    }
    fn version(&self) -> String {
        String::new()
    }
    fn client_address(&self) -> Option<String> {
        None
    }
}

/// A catalog with nothing in it, for folding constants and for tests.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCatalog;

impl CatalogFunctions for NoCatalog {
    fn call(&self, name: &str, _args: &[Datum]) -> SqlResult<Datum> {
        Err(SqlError::internal(format!("function {name} was called without a catalog")))
    }
}
