//! Each transaction reads the greatest value of three tables and inserts the next one into one of them.

use rand::{Rng, rngs::StdRng};
use serde_json::{Value, json};

use crate::{Outcome, session::Session};

pub const TABLES: &str = "CREATE TABLE values0 (v bigint PRIMARY KEY);
     CREATE TABLE values1 (v bigint PRIMARY KEY);
     CREATE TABLE values2 (v bigint PRIMARY KEY)";

const COUNT: usize = 3;

pub async fn step(session: &mut Session, random: &mut StdRng) {
    let table = random.random_range(0..COUNT);
    let begun = session.invoke("insert", Value::Null);
    let outcome = insert(session, table).await;
    session.complete(begun, outcome).await;
}

async fn insert(session: &mut Session, table: usize) -> Outcome<Value> {
    session.begin().await?;
    let mut greatest = 0;
    for of in 0..COUNT {
        let rows = session.query(&format!("SELECT max(v) FROM values{of}"), &[]).await?;
        greatest = greatest.max(rows.first().and_then(|row| row.get::<_, Option<i64>>(0)).unwrap_or(0));
    }
    session.query(&format!("INSERT INTO values{table} VALUES ($1)"), &[&(greatest + 1)]).await?;
    session.commit().await?;
    Ok(json!(greatest + 1))
}

/// All values.
pub async fn read(session: &mut Session) {
    let begun = session.invoke("read", Value::Null);
    let sql = "SELECT v FROM values0 UNION ALL SELECT v FROM values1 UNION ALL SELECT v FROM values2";
    let rows = session.query_alone(sql, &[]).await;
    let outcome = rows.map(|rows| rows.iter().map(|row| Value::from(row.get::<_, i64>(0))).collect());
    session.complete(begun, outcome).await;
}
