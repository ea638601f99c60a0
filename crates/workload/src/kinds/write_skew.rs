//! Pairs of transactions: each looks by an index whether any row of the pair is there, and inserts one if there is none.
//! Both hold for a moment in between, so that they meet.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Shared, signed};
use crate::{Failure, Outcome, session::Session};

pub const TABLES: &str = "CREATE TABLE pairs (id bigint PRIMARY KEY, pair bigint NOT NULL, weight bigint NOT NULL);
     CREATE INDEX pairs_pair ON pairs (pair)";

const PAUSE: Duration = Duration::from_millis(1);

pub async fn step(session: &mut Session, shared: &Shared) {
    let id = shared.next();
    let pair = id / 2;
    let begun = session.invoke("insert", json!(pair));
    let outcome = insert(session, id, pair).await;
    session.complete(begun, outcome).await;
}

async fn insert(session: &mut Session, id: u64, pair: u64) -> Outcome<Value> {
    session.begin().await?;
    let found = session.query("SELECT id FROM pairs WHERE pair = $1 AND weight > 5", &[&signed(pair)]).await?;
    if !found.is_empty() {
        return Err(Failure::Declined("the other was there"));
    }
    tokio::time::sleep(PAUSE).await;
    session.query("INSERT INTO pairs VALUES ($1, $2, 7)", &[&signed(id), &signed(pair)]).await?;
    session.commit().await?;
    Ok(json!(pair))
}
