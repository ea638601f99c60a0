//! Unique elements go into a table without a key, where one that is inserted twice is there twice. All of them are read from
//! time to time, and in the end.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Shared, signed};
use crate::session::Session;

pub const TABLES: &str = "CREATE TABLE elements (v bigint NOT NULL)";

const READ_EVERY: Duration = Duration::from_secs(4);

pub async fn step(session: &mut Session, shared: &Shared) {
    if shared.is_due(READ_EVERY) {
        return read(session).await;
    }
    let element = shared.next();
    let begun = session.invoke("add", json!(element));
    let added = session.execute_alone("INSERT INTO elements VALUES ($1)", &[&signed(element)]).await;
    session.complete(begun, added.map(|_| json!(element))).await;
}

pub async fn read(session: &mut Session) {
    let begun = session.invoke("read", Value::Null);
    let rows = session.query_alone("SELECT v FROM elements", &[]).await;
    let outcome = rows.map(|rows| rows.iter().map(|row| Value::from(row.get::<_, i64>(0))).collect());
    session.complete(begun, outcome).await;
}
