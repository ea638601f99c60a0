//! A client writes the parts of a series one after the other; others read some series from its last part to its first, each
//! part in a statement of its own.

use rand::{Rng, rngs::StdRng};
use serde_json::{Value, json};

use super::{Shared, signed};
use crate::{Outcome, session::Session};

pub const TABLES: &str =
    "CREATE TABLE parts (series bigint, part bigint, PRIMARY KEY (series, part))";

const PARTS: u64 = 6;
/// Series that readers choose from.
const RECENT: usize = 8;

pub async fn step(session: &mut Session, random: &mut StdRng, shared: &Shared) {
    let chosen = {
        let recent = shared.series.lock();
        let reads = !recent.is_empty() && random.random_bool(0.6);
        reads.then(|| recent[random.random_range(0..recent.len())])
    };
    if let Some(series) = chosen {
        let begun = session.invoke("read", json!(series));
        let outcome = read(session, series).await;
        session.complete(begun, outcome).await;
        return;
    }
    let series = shared.next();
    {
        let mut recent = shared.series.lock();
        recent.push_back(series);
        if recent.len() > RECENT {
            recent.pop_front();
        }
    }
    for part in 0..PARTS {
        let begun = session.invoke("write", json!([series, part]));
        let sql = "INSERT INTO parts VALUES ($1, $2)";
        let written = session.execute_alone(sql, &[&signed(series), &signed(part)]).await;
        // The next one is written only once this is acknowledged.
        let goes_on = written.is_ok();
        session.complete(begun, written.map(|_| json!([series, part]))).await;
        if !goes_on {
            return;
        }
    }
}

async fn read(session: &mut Session, series: u64) -> Outcome<Value> {
    let mut parts = Vec::new();
    for part in (0..PARTS).rev() {
        let sql = "SELECT 1 FROM parts WHERE series = $1 AND part = $2";
        let rows = session.query_alone(sql, &[&signed(series), &signed(part)]).await?;
        parts.push(json!([part, !rows.is_empty()]));
    }
    Ok(json!([series, parts]))
}
