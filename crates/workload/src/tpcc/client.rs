//! One connection, in either protocol: statements prepared once and bound, or sent as text with their values in them.

use std::collections::HashMap;

use tokio_postgres::types::ToSql;
use tokio_postgres::{SimpleQueryMessage, Statement};

use super::transactions::STATEMENTS;
use super::value::{Cell, Value};
use crate::{Failure, Outcome};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Prepared,
    Text,
}

pub struct Client {
    client: tokio_postgres::Client,
    mode: Mode,
    prepared: HashMap<&'static str, Statement>,
}

impl Client {
    /// Takes a connection, and prepares what it is to run.
    ///
    /// # Errors
    /// As the server answers.
    pub async fn over(client: tokio_postgres::Client, mode: Mode, isolation: &str) -> Outcome<Self> {
        let set = format!("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL {isolation}");
        client.batch_execute(&set).await.map_err(Failure::Server)?;
        let mut prepared = HashMap::new();
        if mode == Mode::Prepared {
            for sql in STATEMENTS {
                prepared.insert(*sql, client.prepare(sql).await.map_err(Failure::Server)?);
            }
        }
        Ok(Self { client, mode, prepared })
    }

    /// The rows of a statement, as text.
    ///
    /// # Errors
    /// As the server answers.
    pub async fn query(&mut self, sql: &'static str, values: &[Value]) -> Outcome<Vec<Vec<String>>> {
        match self.mode {
            Mode::Prepared => {
                let parameters: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as _).collect();
                let rows = self.client.query(&self.prepared[sql], &parameters).await.map_err(Failure::Server)?;
                let cell = |row: &tokio_postgres::Row, at: usize| {
                    row.try_get::<_, Option<Cell>>(at).ok().flatten().map_or_else(String::new, |cell| cell.0)
                };
                Ok(rows.iter().map(|row| (0..row.len()).map(|at| cell(row, at)).collect()).collect())
            }
            Mode::Text => {
                let messages = self.client.simple_query(&with_values(sql, values)).await.map_err(Failure::Server)?;
                let row = |message: &SimpleQueryMessage| match message {
                    SimpleQueryMessage::Row(row) => {
                        Some((0..row.len()).map(|at| row.get(at).unwrap_or_default().to_owned()).collect())
                    }
                    _ => None,
                };
                Ok(messages.iter().filter_map(row).collect())
            }
        }
    }

    /// The first value of a statement.
    async fn first<T: std::str::FromStr>(&mut self, sql: &'static str, values: &[Value]) -> Outcome<T> {
        let rows = self.query(sql, values).await?;
        let first = rows.first().and_then(|row| row.first()).and_then(|value| value.parse().ok());
        first.ok_or(Failure::Missing(sql))
    }

    /// # Errors
    /// As the server answers, and when there is no row.
    pub async fn int(&mut self, sql: &'static str, values: &[Value]) -> Outcome<i64> {
        self.first(sql, values).await
    }

    /// # Errors
    /// As the server answers, and when there is no row.
    pub async fn float(&mut self, sql: &'static str, values: &[Value]) -> Outcome<f64> {
        self.first(sql, values).await
    }

    /// # Errors
    /// Always: an answer that cannot be.
    pub fn wrong<T>(&self, sql: &'static str) -> Outcome<T> {
        Err(Failure::Missing(sql))
    }

    /// # Errors
    /// As the server answers.
    pub async fn begin(&mut self) -> Outcome<()> {
        self.client.batch_execute("BEGIN").await.map_err(Failure::Server)
    }

    /// # Errors
    /// As the server answers.
    pub async fn commit(&mut self) -> Outcome<()> {
        self.client.batch_execute("COMMIT").await.map_err(Failure::Server)
    }

    /// # Errors
    /// As the server answers.
    pub async fn rollback(&mut self) -> Outcome<()> {
        self.client.batch_execute("ROLLBACK").await.map_err(Failure::Server)
    }
}

/// A statement with its parameters written out, the last first: `$1` is the beginning of `$10`.
fn with_values(sql: &str, values: &[Value]) -> String {
    let mut text = sql.to_owned();
    for (number, value) in values.iter().enumerate().rev() {
        text = text.replace(&format!("${}", number + 1), &value.literal());
    }
    text
}
