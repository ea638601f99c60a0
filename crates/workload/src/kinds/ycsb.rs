//! Reads, updates, inserts, scans and read-modify-writes of single rows in YCSB's mixes, some rows far more often than
//! others. Every write writes all fields of a row alike, so that a row that is half written shows: its key is judged as a
//! register, and what is read of such a row is a value that was never written.

use rand::{Rng, rngs::StdRng};
use serde_json::{Value, json};
use tokio_postgres::Row;

use super::{Mix, Shared, signed};
use crate::{Failure, Outcome, session::Session};

const ROWS: u64 = 1000;
/// The first number that a write may have: those below are of the rows at the beginning.
const FIRST_VERSION: u64 = 1_000_000;
/// What is read of a row whose fields differ.
const TORN: i64 = -1;
const SCANNED: i64 = 20;

pub fn tables() -> String {
    let rows: Vec<String> = (0..ROWS).map(|key| format!("({key}, -2, '-2', '-2', '-2')")).collect();
    format!(
        "CREATE TABLE usertable (k bigint PRIMARY KEY, version bigint NOT NULL, field0 text, field1 text, field2 text);
         INSERT INTO usertable VALUES {}",
        rows.join(", ")
    )
}

/// A row, by the power law that YCSB calls zipfian: the first are drawn most often.
fn drawn(random: &mut StdRng, rows: u64) -> u64 {
    let uniform: f64 = random.random_range(0.0..1.0);
    // The inverse of a distribution whose density falls as one over the rank.
    ((rows as f64).powf(uniform) - 1.0) as u64
}

pub async fn step(session: &mut Session, random: &mut StdRng, shared: &Shared, mix: Mix) {
    let fresh = shared.next();
    let version = FIRST_VERSION + fresh;
    let mut dice = random.random_range(0..100);
    let mut falls_to = |share: u32| {
        let is_it = dice < share;
        dice = dice.saturating_sub(share);
        is_it
    };
    if falls_to(mix.read) {
        let key = drawn(random, ROWS);
        let begun = session.invoke("read", json!([key, null]));
        let outcome = read(session, key).await;
        session.complete(begun, outcome).await;
    } else if falls_to(mix.update) {
        let key = drawn(random, ROWS);
        let begun = session.invoke("write", json!([key, version]));
        let outcome = update(session, key, version).await;
        session.complete(begun, outcome).await;
    } else if falls_to(mix.insert) {
        let key = ROWS + fresh;
        let begun = session.invoke("write", json!([key, version]));
        let sql = "INSERT INTO usertable VALUES ($1, $2, $3, $3, $3)";
        let done = session.execute_alone(sql, &[&signed(key), &signed(version), &version.to_string()]).await;
        session.complete(begun, done.map(|_| json!([key, version]))).await;
    } else if falls_to(mix.scan) {
        let key = drawn(random, ROWS);
        // Read as its first row: what comes after it is read for its cost.
        let begun = session.invoke("read", json!([key, null]));
        let sql = "SELECT version, field0, field1, field2 FROM usertable WHERE k >= $1 ORDER BY k LIMIT $2";
        let rows = session.query_alone(sql, &[&signed(key), &SCANNED]).await;
        session.complete(begun, rows.map(|rows| json!([key, rows.first().and_then(seen)]))).await;
    } else {
        let key = drawn(random, ROWS);
        read_modify_write(session, key, version).await;
    }
}

/// The version of a row; none for one that nobody has written since the beginning.
fn seen(row: &Row) -> Option<i64> {
    let version: i64 = row.get(0);
    let is_whole = (1..4).all(|field| row.get::<_, Option<&str>>(field) == Some(version.to_string().as_str()));
    match (is_whole, version) {
        (false, _) => Some(TORN),
        (true, -2) => None,
        (true, version) => Some(version),
    }
}

const READ: &str = "SELECT version, field0, field1, field2 FROM usertable WHERE k = $1";
const UPDATE: &str = "UPDATE usertable SET version = $2, field0 = $3, field1 = $3, field2 = $3 WHERE k = $1";

async fn read(session: &mut Session, key: u64) -> Outcome<Value> {
    let rows = session.query_alone(READ, &[&signed(key)]).await?;
    Ok(json!([key, rows.first().and_then(seen)]))
}

async fn update(session: &mut Session, key: u64, version: u64) -> Outcome<Value> {
    let changed = session.execute_alone(UPDATE, &[&signed(key), &signed(version), &version.to_string()]).await?;
    if changed == 1 { Ok(json!([key, version])) } else { Err(Failure::Missing("a row that was made at the beginning")) }
}

/// Judged as a write: what it read is not part of what it wrote.
async fn read_modify_write(session: &mut Session, key: u64, version: u64) {
    let begun = session.invoke("write", json!([key, version]));
    let outcome = async {
        session.begin().await?;
        session.query(READ, &[&signed(key)]).await?;
        session.query(UPDATE, &[&signed(key), &signed(version), &version.to_string()]).await?;
        session.commit().await?;
        Ok(json!([key, version]))
    };
    let outcome = outcome.await;
    session.complete(begun, outcome).await;
}
