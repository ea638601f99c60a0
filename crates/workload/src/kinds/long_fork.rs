//! Groups of rows: each row is inserted by a transaction of its own, and a group is read by one transaction, row by row.

use rand::{Rng, rngs::StdRng, seq::SliceRandom};
use serde_json::{Value, json};

use super::{Shared, signed};
use crate::{Outcome, session::Session};

pub const TABLES: &str = "CREATE TABLE forks (k bigint PRIMARY KEY, v bigint NOT NULL)";

const GROUP: u64 = 3;

pub async fn step(session: &mut Session, random: &mut StdRng, shared: &Shared) {
    if random.random_bool(0.3) {
        let key = shared.next();
        let begun = session.invoke("txn", json!([["w", key, 1]]));
        let written = session.execute_alone("INSERT INTO forks VALUES ($1, 1)", &[&signed(key)]).await;
        session.complete(begun, written.map(|_| json!([["w", key, 1]]))).await;
        return;
    }
    // A group that is being written.
    let group = shared.so_far() / GROUP;
    let mut keys: Vec<u64> = (group * GROUP..(group + 1) * GROUP).collect();
    keys.shuffle(random);
    let asked = keys.iter().map(|key| json!(["r", key, null])).collect();
    let begun = session.invoke("txn", asked);
    let outcome = read(session, &keys).await;
    session.complete(begun, outcome).await;
}

async fn read(session: &mut Session, keys: &[u64]) -> Outcome<Value> {
    session.begin().await?;
    let mut answered = Vec::with_capacity(keys.len());
    for key in keys {
        let rows = session.query("SELECT v FROM forks WHERE k = $1", &[&signed(*key)]).await?;
        answered.push(json!(["r", key, rows.first().map(|row| row.get::<_, i64>(0))]));
    }
    session.commit().await?;
    Ok(Value::Array(answered))
}
