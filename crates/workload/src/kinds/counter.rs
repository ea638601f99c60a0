//! One row that every client increases by an upsert, which answers what it made.

use rand::{Rng, rngs::StdRng};
use serde_json::{Value, json};

use crate::{Failure, Outcome, session::Session};

pub const TABLES: &str = "CREATE TABLE counters (id bigint PRIMARY KEY, v bigint NOT NULL)";

pub async fn step(session: &mut Session, random: &mut StdRng) {
    if random.random_bool(0.3) {
        return read(session).await;
    }
    let begun = session.invoke("add", json!(1));
    let outcome = add(session).await;
    session.complete(begun, outcome).await;
}

async fn add(session: &mut Session) -> Outcome<Value> {
    let sql = "INSERT INTO counters VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET v = counters.v + 1 RETURNING v";
    let rows = session.query_alone(sql, &[]).await?;
    let made: i64 = rows.first().ok_or(Failure::Missing("the counter"))?.get(0);
    Ok(json!({ "made": made }))
}

pub async fn read(session: &mut Session) {
    let begun = session.invoke("read", Value::Null);
    let rows = session.query_alone("SELECT v FROM counters WHERE id = 1", &[]).await;
    let outcome = rows.map(|rows| Value::from(rows.first().map_or(0, |row| row.get::<_, i64>(0))));
    session.complete(begun, outcome).await;
}
