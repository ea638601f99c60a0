//! A server given shapes: what it answers, whether it still answers others at once, and what memory it holds.

use std::time::{Duration, Instant};

use tokio_postgres::{Client, NoTls};

use super::generate::{Outcome, Shape};

/// The longest that another connection may wait for an answer meanwhile.
pub const OTHERS_WITHIN: Duration = Duration::from_secs(10);

/// The longest that a shape may take: the server is told to end it before that.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(90);

/// Two connections: one that is given shapes, and one that looks whether the server answers.
pub struct Probe {
    config: String,
    client: Client,
    other: Client,
    pub worst: Duration,
    pub slowest: Duration,
}

async fn connect(config: &str) -> Result<Client, String> {
    let (client, connection) =
        tokio_postgres::connect(config, NoTls).await.map_err(|error| format!("no connection: {error}"))?;
    tokio::spawn(async move {
        // Ends with the client or the server, whichever goes first.
        let _ended = connection.await;
    });
    Ok(client)
}

impl Probe {
    /// Connects twice.
    pub async fn start(config: &str) -> Result<Self, String> {
        let client = Self::client(config).await?;
        let other = connect(config).await?;
        Ok(Self { config: config.to_owned(), client, other, worst: Duration::ZERO, slowest: Duration::ZERO })
    }

    async fn client(config: &str) -> Result<Client, String> {
        let client = connect(config).await?;
        client.batch_execute("set statement_timeout = '30s'").await.map_err(|error| error.to_string())?;
        Ok(client)
    }

    /// The answer to a shape, while the other connection asks for its own again and again.
    async fn answer(&mut self, sql: &str) -> Result<Result<(), tokio_postgres::Error>, String> {
        let began = Instant::now();
        let answer = self.client.simple_query(sql);
        tokio::pin!(answer);
        loop {
            let asked = Instant::now();
            tokio::select! {
                biased;
                answer = &mut answer => return Ok(answer.map(drop)),
                other = tokio::time::timeout(OTHERS_WITHIN, self.other.simple_query("select 1")) => match other {
                    Ok(Ok(_)) => {
                        self.worst = self.worst.max(asked.elapsed());
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    Ok(Err(error)) => return Err(format!("another connection was lost: {error}")),
                    Err(_) => return Err(format!("another connection was not answered within {OTHERS_WITHIN:?}")),
                },
            }
            if began.elapsed() > ANSWER_WITHIN {
                return Err(format!("not answered within {ANSWER_WITHIN:?}"));
            }
        }
    }

    /// Gives the server a shape; what is wrong with what comes of it.
    pub async fn give(&mut self, shape: &Shape) -> Option<String> {
        let began = Instant::now();
        let answer = match self.answer(&shape.sql).await {
            Ok(answer) => answer,
            Err(fault) => {
                // Whatever it is at, it is of no use to the next shape.
                if let Ok(client) = Self::client(&self.config).await {
                    self.client = client;
                }
                return Some(fault);
            }
        };
        self.slowest = self.slowest.max(began.elapsed());
        let fault = match answer {
            Ok(_) => None,
            Err(error) => match error.as_db_error() {
                None => Some(format!("the connection was lost: {error}")),
                Some(refusal) if refusal.code().code() == "XX000" => {
                    Some(format!("an internal error: {refusal}"))
                }
                Some(refusal) if shape.outcome == Outcome::Rows => {
                    Some(format!("refused: {refusal} ({})", refusal.code().code()))
                }
                Some(_) => None,
            },
        };
        if self.client.is_closed() {
            match Self::client(&self.config).await {
                Ok(client) => self.client = client,
                Err(error) => return Some(format!("{}; and then {error}", fault.unwrap_or_default())),
            }
        }
        fault
    }
}
