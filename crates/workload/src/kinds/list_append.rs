//! Transactions of one to four steps, each an append to a list or a read of one. Lists are text, appended to by an upsert.

use rand::{Rng, rngs::StdRng};
use serde_json::{Value, json};

use super::{Shared, signed, unsigned};
use crate::{Failure, Outcome, session::Session};

pub const TABLES: &str = "CREATE TABLE lists (k bigint PRIMARY KEY, v text NOT NULL)";

const WINDOW: u64 = 6;
/// Appends to a key before it is left.
const PER_KEY: u64 = 25;

enum Step {
    Append(u64, u64),
    Read(u64, &'static str),
}

pub async fn step(session: &mut Session, random: &mut StdRng, shared: &Shared) {
    let base = shared.so_far() / (WINDOW * PER_KEY) * WINDOW / 2;
    let steps: Vec<Step> = (0..random.random_range(1..=4))
        .map(|_| {
            let key = base + random.random_range(0..WINDOW);
            match random.random_range(0..10) {
                0..4 => Step::Append(key, shared.next() + 1),
                4 => Step::Read(key, " FOR UPDATE"),
                _ => Step::Read(key, ""),
            }
        })
        .collect();
    let asked = steps.iter().map(|step| match step {
        Step::Append(key, element) => json!(["append", key, element]),
        Step::Read(key, _) => json!(["r", key, null]),
    });
    let begun = session.invoke("txn", asked.collect());
    let outcome = transaction(session, &steps).await;
    session.complete(begun, outcome).await;
}

async fn transaction(session: &mut Session, steps: &[Step]) -> Outcome<Value> {
    session.begin().await?;
    let mut answered = Vec::with_capacity(steps.len());
    for step in steps {
        match step {
            Step::Append(key, element) => {
                let sql = "INSERT INTO lists VALUES ($1, $2) ON CONFLICT (k) DO UPDATE SET v = lists.v || ',' || excluded.v";
                session.query(sql, &[&signed(*key), &element.to_string()]).await?;
                answered.push(json!(["append", key, element]));
            }
            Step::Read(key, lock) => {
                let rows = session.query(&format!("SELECT v FROM lists WHERE k = $1{lock}"), &[&signed(*key)]).await?;
                let list = rows.first().map_or(Ok(Vec::new()), |row| parse(row.get(0)))?;
                answered.push(json!(["r", key, list]));
            }
        }
    }
    session.commit().await?;
    Ok(Value::Array(answered))
}

/// All lists in one statement.
pub async fn read_all(session: &mut Session) {
    let begun = session.invoke("txn", json!([]));
    let outcome = async {
        let rows = session.query_alone("SELECT k, v FROM lists", &[]).await?;
        let lists = rows.iter().map(|row| Ok(json!(["r", unsigned(row.get(0))?, parse(row.get(1))?])));
        lists.collect::<Outcome<Vec<Value>>>().map(Value::Array)
    };
    let outcome = outcome.await;
    session.complete(begun, outcome).await;
}

fn parse(text: &str) -> Outcome<Vec<u64>> {
    let elements = text.split(',').map(|element| {
        element.parse().map_err(|_| Failure::Outside(format!("a list that no transaction wrote: {text}")))
    });
    elements.collect()
}
