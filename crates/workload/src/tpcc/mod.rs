//! TPC-C: five transactions over nine tables of one warehouse, as a workload and for comparisons of rates.
//!
//! Foreign keys are on. Keying and thinking times are left out, so the rates are no tpmC. Its history is not recorded: it is
//! judged by the twelve consistency conditions, over the tables in the end.

mod client;
mod conditions;
mod schema;
mod transactions;
mod value;

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use futures::SinkExt;
use rand::rngs::StdRng;

pub use client::{Client, Mode};
pub use transactions::Kind;

use crate::{Failure, Outcome, record::Recorder};

/// Rows go in pages of about this size.
const PAGE_BYTES: usize = 1 << 20;

/// The statements that make the tables.
#[must_use]
pub fn tables() -> String {
    let table = |(name, columns): &(&str, &str)| format!("CREATE TABLE {name} ({columns});\n");
    schema::TABLES.iter().map(table).collect()
}

/// Fills the tables with one warehouse.
///
/// # Errors
/// As the server answers.
pub async fn fill(client: &tokio_postgres::Client, seed: u64) -> Outcome<()> {
    let mut pages: Vec<(usize, String)> = Vec::new();
    schema::fill(seed, &mut |table, row| {
        if pages.last().is_none_or(|(of, page)| *of != table || page.len() > PAGE_BYTES) {
            pages.push((table, String::new()));
        }
        let Some((_, page)) = pages.last_mut() else { return };
        for (at, value) in row.iter().enumerate() {
            let separator = if at == 0 { "" } else { "\t" };
            // Writing to a string does not fail.
            let _ = write!(page, "{separator}{}", value.field());
        }
        page.push('\n');
    });
    let mut pages = pages.into_iter().peekable();
    while let Some((table, first)) = pages.next() {
        let sink = client.copy_in(&format!("COPY {} FROM STDIN", schema::TABLES[table].0)).await?;
        let mut sink = std::pin::pin!(sink);
        sink.send(Bytes::from(first)).await?;
        while let Some((_, page)) = pages.next_if(|(of, _)| *of == table) {
            sink.send(Bytes::from(page)).await?;
        }
        sink.finish().await?;
    }
    for index in schema::INDEXES {
        client.batch_execute(index).await?;
    }
    client.batch_execute("ANALYZE").await?;
    Ok(())
}

/// What clients did in one run.
#[derive(Default)]
pub struct Counts {
    pub done: AtomicU64,
    pub retries: AtomicU64,
}

/// Runs transactions one after the other until told to stop. One that is refused with 40001 or 40P01 is run again.
///
/// # Errors
/// As the server answers.
pub async fn work(
    mut client: Client,
    mut random: StdRng,
    counts: Arc<Counts>,
    stop: Arc<AtomicBool>,
    recorder: Option<Arc<Recorder>>,
) -> Outcome<()> {
    while !stop.load(Ordering::Relaxed) {
        let kind = Kind::draw(&mut random);
        let began = std::time::Instant::now();
        loop {
            match transactions::run(kind, &mut client, &mut random).await {
                Ok(()) => break,
                Err(failure) if failure.is_retry() => {
                    counts.retries.fetch_add(1, Ordering::Relaxed);
                    if let Some(recorder) = &recorder {
                        recorder.failed(failure.code().unwrap_or_default(), true);
                    }
                    client.rollback().await?;
                }
                Err(failure) => return Err(failure),
            }
        }
        counts.done.fetch_add(1, Ordering::Relaxed);
        if let Some(recorder) = &recorder {
            recorder.done(began.elapsed());
        }
    }
    Ok(())
}

/// How many conditions there are.
pub const CONDITIONS: usize = conditions::CONDITIONS.len();

/// The conditions that do not hold, by number, with how many rows contradict each.
///
/// # Errors
/// As the server answers.
pub async fn check(client: &tokio_postgres::Client) -> Outcome<Vec<(usize, i64)>> {
    let mut broken = Vec::new();
    for (number, sql) in (1..).zip(conditions::CONDITIONS) {
        let row = client.query_opt(sql, &[]).await?.ok_or(Failure::Missing("the count of a condition"))?;
        let contradictions: i64 = row.get(0);
        if contradictions > 0 {
            broken.push((number, contradictions));
        }
    }
    Ok(broken)
}
