//! Single statements on single rows. The keys move on, so that no key has more operations than can be judged.

use rand::{Rng, rngs::StdRng};
use serde_json::{Value, json};

use super::{Shared, signed};
use crate::{Failure, Outcome, session::Session};

pub const TABLES: &str = "CREATE TABLE registers (k bigint PRIMARY KEY, v bigint NOT NULL)";

/// Keys at one time.
const WINDOW: u64 = 6;
/// Operations on a key before it is left.
const PER_KEY: u64 = 150;
const VALUES: i64 = 5;

pub async fn step(session: &mut Session, random: &mut StdRng, shared: &Shared) {
    let key = shared.next() / (WINDOW * PER_KEY) * WINDOW + random.random_range(0..WINDOW);
    let mut value = || random.random_range(0..VALUES);
    let (one, other, what) = (value(), value(), value());
    let (begun, outcome) = match what {
        0 | 1 => {
            let begun = session.invoke("read", json!([key, null]));
            (begun, read(session, key).await)
        }
        2 => {
            let begun = session.invoke("write", json!([key, one]));
            (begun, write(session, key, one).await)
        }
        _ => {
            let begun = session.invoke("cas", json!([key, [one, other]]));
            (begun, compare_and_set(session, key, one, other).await)
        }
    };
    session.complete(begun, outcome).await;
}

pub async fn read(session: &mut Session, key: u64) -> Outcome<Value> {
    let rows = session.query_alone("SELECT v FROM registers WHERE k = $1", &[&signed(key)]).await?;
    Ok(json!([key, rows.first().map(|row| row.get::<_, i64>(0))]))
}

async fn write(session: &mut Session, key: u64, value: i64) -> Outcome<Value> {
    let sql = "INSERT INTO registers VALUES ($1, $2) ON CONFLICT (k) DO UPDATE SET v = excluded.v";
    session.execute_alone(sql, &[&signed(key), &value]).await?;
    Ok(json!([key, value]))
}

async fn compare_and_set(session: &mut Session, key: u64, from: i64, to: i64) -> Outcome<Value> {
    let sql = "UPDATE registers SET v = $3 WHERE k = $1 AND v = $2";
    if session.execute_alone(sql, &[&signed(key), &from, &to]).await? == 0 {
        return Err(Failure::Declined("it held something else"));
    }
    Ok(json!([key, [from, to]]))
}
