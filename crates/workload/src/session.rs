//! One client's connection, and the operations that it records.
//!
//! An operation is invoked, does its statements, and is completed with what came of them. One that failed before its commit
//! was sent did nothing; one whose commit was sent and not answered by *yes* or *no* is of unknown outcome
//! (*unknown-stays-unknown*), and its process never does anything again: the session goes on as another.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use checkers::EventKind;
use serde_json::Value;
use tokio_postgres::{Client, Config, NoTls, Row, Statement, types::ToSql};

use crate::{Failure, Outcome, record::Recorder, schema::SCHEMA};

/// A statement that takes longer is given up, with its connection.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(20);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const BETWEEN_CONNECTS: Duration = Duration::from_millis(100);

/// What a session is opened with.
pub struct Target {
    pub servers: Vec<Config>,
    /// `SERIALIZABLE` or another.
    pub isolation: &'static str,
    pub recorder: Arc<Recorder>,
    /// Gives every process a number of its own.
    pub processes: AtomicU64,
}

pub struct Session {
    target: Arc<Target>,
    client: Option<Client>,
    /// Of the connection, by their text.
    statements: HashMap<String, Statement>,
    /// Of the servers, the one that it connects to next.
    next_server: usize,
    process: u64,
    /// Whether what is sent now may take effect whatever comes back.
    may_commit: bool,
    in_transaction: bool,
}

/// An operation under way.
pub struct Begun {
    f: &'static str,
    asked: Value,
    at: Instant,
}

/// Connects once, with the schema in the search path.
///
/// # Errors
/// When the server cannot be reached in time or refuses.
pub async fn connect(config: &Config) -> Outcome<Client> {
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, config.connect(NoTls)).await;
    let (client, connection) = connected.map_err(|_| Failure::Outside("no answer to a connection".into()))??;
    // Ends with the client, or with the server; then every statement fails.
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}

impl Session {
    #[must_use]
    pub fn new(target: Arc<Target>, number: usize) -> Self {
        let process = target.processes.fetch_add(1, Ordering::Relaxed);
        Self {
            target,
            client: None,
            statements: HashMap::new(),
            next_server: number,
            process,
            may_commit: false,
            in_transaction: false,
        }
    }

    #[must_use]
    pub fn process(&self) -> u64 {
        self.process
    }

    /// Connects if it is not, trying the servers in turn until `deadline`; whether it is.
    pub async fn ready(&mut self, deadline: Instant) -> bool {
        while self.client.as_ref().is_none_or(Client::is_closed) {
            if Instant::now() >= deadline {
                return false;
            }
            let server = &self.target.servers[self.next_server % self.target.servers.len()];
            self.next_server += 1;
            match open(server, self.target.isolation).await {
                Ok(client) => {
                    self.statements.clear();
                    self.client = Some(client);
                }
                Err(failure) => {
                    self.target.recorder.failed(failure.code().unwrap_or("lost"), false);
                    tokio::time::sleep(BETWEEN_CONNECTS).await;
                }
            }
        }
        true
    }

    fn client(&self) -> Outcome<&Client> {
        self.client.as_ref().ok_or_else(|| Failure::Outside("not connected".into()))
    }

    pub fn invoke(&mut self, f: &'static str, asked: Value) -> Begun {
        (self.may_commit, self.in_transaction) = (false, false);
        self.target.recorder.event(EventKind::Invoke, self.process, f, asked.clone(), None);
        Begun { f, asked, at: Instant::now() }
    }

    /// Records what came of an operation: what it answers, or why it did nothing.
    pub async fn complete(&mut self, begun: Begun, outcome: Outcome<Value>) {
        let Begun { f, asked, at } = begun;
        let recorder = self.target.recorder.clone();
        let failure = match outcome {
            Ok(answered) => {
                recorder.event(EventKind::Ok, self.process, f, answered, None);
                recorder.done(at.elapsed());
                return;
            }
            Err(failure) => failure,
        };
        if !matches!(failure, Failure::Declined(_)) {
            recorder.failed(failure.code().unwrap_or("lost"), failure.is_retry());
        }
        if self.may_commit && failure.is_ambiguous() {
            recorder.event(EventKind::Info, self.process, f, asked, Some(failure.to_string()));
            self.process = self.target.processes.fetch_add(1, Ordering::Relaxed);
        } else {
            recorder.event(EventKind::Fail, self.process, f, asked, Some(failure.to_string()));
        }
        if failure.breaks_connection() || self.in_transaction && self.rollback().await.is_err() {
            self.client = None;
        }
        self.in_transaction = false;
    }

    /// # Errors
    /// As the server answers.
    pub async fn begin(&mut self) -> Outcome<()> {
        self.in_transaction = true;
        limited(self.client()?.batch_execute("BEGIN")).await
    }

    /// # Errors
    /// As the server answers; then the outcome may be unknown.
    pub async fn commit(&mut self) -> Outcome<()> {
        // Whatever is answered, the transaction is over.
        (self.may_commit, self.in_transaction) = (true, false);
        limited(self.client()?.batch_execute("COMMIT")).await
    }

    async fn rollback(&self) -> Outcome<()> {
        limited(self.client()?.batch_execute("ROLLBACK")).await
    }

    /// Prepares a statement once a connection.
    async fn prepared(&mut self, sql: &str) -> Outcome<Statement> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = limited(self.client()?.prepare(sql)).await?;
        self.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// A statement of a transaction that was begun.
    ///
    /// # Errors
    /// As the server answers.
    pub async fn query(&mut self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Outcome<Vec<Row>> {
        let statement = self.prepared(sql).await?;
        limited(self.client()?.query(&statement, parameters)).await
    }

    /// A statement that is its own transaction.
    ///
    /// # Errors
    /// As the server answers; then the outcome may be unknown.
    pub async fn query_alone(&mut self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Outcome<Vec<Row>> {
        let statement = self.prepared(sql).await?;
        self.may_commit = true;
        limited(self.client()?.query(&statement, parameters)).await
    }

    /// The same, for the number of rows it changed.
    ///
    /// # Errors
    /// As the server answers; then the outcome may be unknown.
    pub async fn execute_alone(&mut self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Outcome<u64> {
        let statement = self.prepared(sql).await?;
        self.may_commit = true;
        limited(self.client()?.execute(&statement, parameters)).await
    }
}

async fn open(config: &Config, isolation: &str) -> Outcome<Client> {
    let client = connect(config).await?;
    let set = format!(
        "SET search_path TO {SCHEMA}; SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL {isolation}"
    );
    limited(client.batch_execute(&set)).await?;
    Ok(client)
}

/// A connection that gives no answer for long counts as lost.
async fn limited<T>(statement: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Outcome<T> {
    match tokio::time::timeout(STATEMENT_TIMEOUT, statement).await {
        Ok(outcome) => Ok(outcome?),
        Err(_) => Err(Failure::Silent),
    }
}
