//! `cargo xtask queue`: jobs in a table, taken by many workers at once, beside PostgreSQL in one run.
//!
//! Two forms that applications use: a job is deleted as it is taken, and done when that commits; or it is marked first,
//! in a transaction of its own, and deleted when it is done. Workers take jobs until none is left. Each job must be done
//! once; the rates are printed with the servers' CPU time for a job, and compared.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls};

use crate::bench::postgres::Postgres;
use crate::cluster::{Cluster, Node, Options, cpu_seconds};
use crate::command::{Error, IoContext, Result};
use crate::{demo, setup};

#[derive(clap::Args)]
pub struct Arguments {
    #[arg(long, default_value_t = 16)]
    workers: usize,
    /// Jobs of each run.
    #[arg(long, default_value_t = 10_000)]
    jobs: u64,
    /// Each runs both forms against both databases.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Nodes of this database.
    #[arg(long, default_value_t = 1)]
    nodes: usize,
    /// Fail when the rate is below this share of PostgreSQL's.
    #[arg(long, default_value_t = 0.8)]
    at_least: f64,
    /// Run this binary instead of building one.
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// A run that takes longer is stuck.
const GIVE_UP: Duration = Duration::from_secs(600);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Delete,
    Mark,
}

const FORMS: [(Form, &str); 2] = [(Form::Delete, "delete"), (Form::Mark, "update, then delete")];

const DELETE: &str = "DELETE FROM jobs WHERE id = \
    (SELECT id FROM jobs ORDER BY id FOR UPDATE SKIP LOCKED LIMIT 1) RETURNING id, payload";
const MARK: &str = "UPDATE jobs SET taken = true WHERE id IN \
    (SELECT id FROM jobs WHERE NOT taken ORDER BY id FOR UPDATE SKIP LOCKED LIMIT 1) RETURNING id, payload";
const DONE: &str = "DELETE FROM jobs WHERE id = $1";

struct Contender {
    name: &'static str,
    port: u16,
    pids: Vec<u32>,
}

/// What the workers of one run did.
#[derive(Default)]
struct Work {
    /// How often each job was done.
    done: HashMap<i64, u64>,
    /// Jobs of which nobody knows whether they were taken: the connection broke, or 40003.
    maybe: u64,
    retries: u64,
}

struct Figure {
    rate: f64,
    cpu_us: f64,
    retries: u64,
}

pub fn run(arguments: &Arguments) -> Result {
    setup::for_bench()?;
    let binary = match &arguments.binary {
        Some(binary) => binary.clone(),
        None => demo::build()?,
    };
    let scratch = std::env::temp_dir().join(format!("quorate-queue-{}", std::process::id()));
    fs::create_dir_all(&scratch).context("creating the scratch folder")?;
    let faults = compare(&binary, &scratch, arguments)?;
    for fault in &faults {
        eprintln!("queue: {fault}");
    }
    if !faults.is_empty() {
        return Err(Error::Checks { failed: faults.len() });
    }
    fs::remove_dir_all(&scratch).context("removing the scratch folder")
}

fn compare(binary: &Path, scratch: &Path, arguments: &Arguments) -> Result<Vec<String>> {
    let options = Options { binary, dir: scratch, nodes: arguments.nodes, base_port: None, flags: &[] };
    let cluster = Cluster::start(&options)?;
    let postgres = Postgres::start(scratch, arguments.nodes - 1)?;
    cluster.wait_replicated()?;
    let gateway = &cluster.nodes[cluster.leaseholder().unwrap_or(0)];
    let contenders = [
        Contender {
            name: "quorate",
            port: gateway.sql.port(),
            pids: cluster.nodes.iter().map(Node::pid).collect(),
        },
        Contender { name: "PostgreSQL", port: postgres.port, pids: postgres.pids() },
    ];
    let mut faults = Vec::new();
    println!(
        "{:<20} {:>5} {:<12} {:>9} {:>11} {:>8}",
        "form", "round", "database", "jobs/s", "CPU us/job", "retries"
    );
    for (form, form_name) in FORMS {
        let mut ratios = Vec::new();
        for round in 1..=arguments.rounds {
            let mut rates = Vec::new();
            for contender in &contenders {
                let (work, figure) = measure(contender, form, arguments)?;
                println!(
                    "{form_name:<20} {round:>5} {:<12} {:>9.0} {:>11.0} {:>8}",
                    contender.name, figure.rate, figure.cpu_us, figure.retries
                );
                let found = judge(&work, arguments.jobs);
                faults.extend(
                    found.into_iter().map(|fault| format!("{form_name}, {}: {fault}", contender.name)),
                );
                rates.push(figure.rate);
            }
            ratios.push(rates[0] / rates[1]);
        }
        ratios.sort_by(f64::total_cmp);
        let (least, median, most) = (ratios[0], ratios[ratios.len() / 2], ratios[ratios.len() - 1]);
        println!("{form_name}: {median:.2} of PostgreSQL's rate ({least:.2} to {most:.2})");
        if median < arguments.at_least {
            faults
                .push(format!("{form_name}: {median:.2} of PostgreSQL's rate, below {}", arguments.at_least));
        }
    }
    cluster.stop()?;
    Ok(faults)
}

/// Every job once. One whose worker was not told may be done by nobody.
fn judge(work: &Work, jobs: u64) -> Vec<String> {
    let mut faults = Vec::new();
    let twice = work.done.values().filter(|count| **count > 1).count();
    if twice > 0 {
        faults.push(format!("{twice} jobs were done more than once"));
    }
    let missing = jobs.saturating_sub(work.done.len() as u64);
    if missing > work.maybe {
        faults.push(format!("{missing} jobs were lost ({} of them perhaps taken)", work.maybe));
    }
    faults
}

fn measure(contender: &Contender, form: Form, arguments: &Arguments) -> Result<(Work, Figure)> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("starting the workers' thread")?;
    let failed =
        |error: tokio_postgres::Error| Error::Failed { command: format!("{}: {error:?}", contender.name) };
    runtime.block_on(async {
        fill(contender.port, arguments.jobs).await.map_err(failed)?;
        let mut workers = JoinSet::new();
        let barrier = Arc::new(tokio::sync::Barrier::new(arguments.workers + 1));
        for _ in 0..arguments.workers {
            let client = connect(contender.port).await.map_err(failed)?;
            let barrier = barrier.clone();
            workers.spawn(async move {
                barrier.wait().await;
                take(client, form).await
            });
        }
        let cpu = cpu_seconds(&contender.pids);
        barrier.wait().await;
        let started = Instant::now();
        let mut all = Work::default();
        let gathered = async {
            while let Some(ended) = workers.join_next().await {
                let work = ended
                    .map_err(|error| Error::Failed { command: format!("a worker: {error}") })?
                    .map_err(failed)?;
                for (job, count) in work.done {
                    *all.done.entry(job).or_default() += count;
                }
                all.maybe += work.maybe;
                all.retries += work.retries;
            }
            Ok(())
        };
        let in_time = tokio::time::timeout(GIVE_UP, gathered).await;
        in_time
            .map_err(|_| Error::Failed { command: format!("{}: workers are stuck", contender.name) })??;
        let elapsed = started.elapsed().as_secs_f64();
        let used = cpu_seconds(&contender.pids) - cpu;
        let figure = Figure {
            rate: all.done.len() as f64 / elapsed,
            cpu_us: used * 1e6 / arguments.jobs as f64,
            retries: all.retries,
        };
        Ok((all, figure))
    })
}

async fn connect(port: u16) -> std::result::Result<Client, tokio_postgres::Error> {
    let text = format!("host=127.0.0.1 port={port} user=postgres dbname=postgres");
    let (client, connection) = tokio_postgres::connect(&text, NoTls).await?;
    tokio::spawn(async move {
        // Ends with the client or the server; the client's next call tells of it.
        let _ended = connection.await;
    });
    Ok(client)
}

async fn fill(port: u16, jobs: u64) -> std::result::Result<(), tokio_postgres::Error> {
    let client = connect(port).await?;
    client
        .batch_execute(
            "DROP TABLE IF EXISTS jobs; \
             CREATE TABLE jobs (id bigint PRIMARY KEY, taken boolean NOT NULL DEFAULT false, payload text NOT NULL)",
        )
        .await?;
    let insert = "INSERT INTO jobs (id, payload) SELECT n, 'job number ' || n FROM generate_series($1::bigint, $2) AS n";
    for first in (1..=jobs).step_by(1000) {
        client.execute(insert, &[&first.cast_signed(), &(first + 999).min(jobs).cast_signed()]).await?;
    }
    client.batch_execute("ANALYZE jobs").await
}

/// Takes and does jobs until there are none. What is locked by others is passed over: an empty answer means none when
/// the table is empty, or all of it taken.
async fn take(client: Client, form: Form) -> std::result::Result<Work, tokio_postgres::Error> {
    let query = client.prepare(if form == Form::Delete { DELETE } else { MARK }).await?;
    let done = client.prepare(DONE).await?;
    let left = client.prepare("SELECT count(*) FROM jobs WHERE NOT taken").await?;
    let mut work = Work::default();
    loop {
        let rows = match client.query(&query, &[]).await {
            Ok(rows) => rows,
            Err(error) => match retry(&error, &mut work) {
                true => continue,
                false => return Err(error),
            },
        };
        let Some(job) = rows.first().map(|row| row.get::<_, i64>(0)) else {
            match client.query_one(&left, &[]).await {
                Ok(row) if row.get::<_, i64>(0) == 0 => return Ok(work),
                Ok(_) => {}
                Err(error) if retry(&error, &mut work) => {}
                Err(error) => return Err(error),
            }
            continue;
        };
        *work.done.entry(job).or_default() += rows.len() as u64;
        while form == Form::Mark {
            match client.execute(&done, &[&job]).await {
                Ok(_) => break,
                Err(error) if retry(&error, &mut work) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Whether to go on after an error. 40003 leaves open whether the job was taken.
fn retry(error: &tokio_postgres::Error, work: &mut Work) -> bool {
    match error.code() {
        Some(code)
            if *code == SqlState::T_R_SERIALIZATION_FAILURE || *code == SqlState::T_R_DEADLOCK_DETECTED =>
        {
            work.retries += 1;
            true
        }
        Some(code) if *code == SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN => {
            work.maybe += 1;
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_is_lost_or_done_twice_is_seen() {
        let work =
            |jobs: &[(i64, u64)], maybe| Work { done: jobs.iter().copied().collect(), maybe, retries: 0 };
        assert_eq!(judge(&work(&[(1, 1), (2, 1)], 0), 2), Vec::<String>::new());
        assert_eq!(judge(&work(&[(1, 1)], 1), 2), Vec::<String>::new());
        assert_eq!(judge(&work(&[(1, 1)], 0), 2), ["1 jobs were lost (0 of them perhaps taken)"]);
        assert_eq!(judge(&work(&[(1, 2), (2, 1)], 0), 2), ["1 jobs were done more than once"]);
    }
}
