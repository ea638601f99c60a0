//! `cargo xtask tpcc`: TPC-C's five transactions on one warehouse, here and on PostgreSQL in turn.
//!
//! Foreign keys are on. Here every transaction is serializable; PostgreSQL runs at read committed, its default. Keying
//! and thinking times are left out, so the rates are no tpmC; a transaction that is refused with 40001 or 40P01 is run
//! again and counted. At the end the twelve consistency conditions are checked on both.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::{SeedableRng, rngs::StdRng};
use tokio_postgres::NoTls;
use ::workload::tpcc::{self, Client, Counts, Mode};
use ::workload::{Failure, Outcome};

use crate::bench::postgres::Postgres;
use crate::cluster::{Cluster, Node, Options, cpu_seconds};
use crate::command::{Error, IoContext, Result};
use crate::{demo, setup};

#[derive(clap::Args)]
pub struct Arguments {
    /// Rounds; each runs every server once in each mode.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds a run.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    #[arg(long, default_value_t = 8)]
    clients: usize,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Fail when the median ratio of a mode is lower.
    #[arg(long, default_value_t = 0.0)]
    at_least: f64,
    /// Run this binary instead of building one.
    #[arg(long)]
    binary: Option<PathBuf>,
}

struct Server {
    name: &'static str,
    port: u16,
    isolation: &'static str,
    pids: Vec<u32>,
}

#[derive(Clone, Copy)]
struct Figure {
    per_second: f64,
    cpu_ms: f64,
    retries: u64,
}

pub fn run(arguments: &Arguments) -> Result {
    setup::for_bench()?;
    let binary = match &arguments.binary {
        Some(binary) => binary.clone(),
        None => demo::build()?,
    };
    let scratch = std::env::temp_dir().join(format!("quorate-tpcc-{}", std::process::id()));
    fs::create_dir_all(&scratch).context("creating the scratch folder")?;
    let options = Options { binary: &binary, dir: &scratch, nodes: 1, base_port: None, flags: &[] };
    let cluster = Cluster::start(&options)?;
    let postgres = Postgres::start(&scratch, 0)?;
    let servers = [
        Server {
            name: "quorate",
            port: cluster.nodes[0].sql.port(),
            isolation: "SERIALIZABLE",
            pids: cluster.nodes.iter().map(Node::pid).collect(),
        },
        Server { name: "postgres", port: postgres.port, isolation: "READ COMMITTED", pids: postgres.pids() },
    ];
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("starting the clients' thread")?;
    println!("{}, {} clients, rounds of {} s", processor(), arguments.clients, arguments.seconds);
    for server in &servers {
        let started = Instant::now();
        runtime.block_on(load(server.port, arguments.seed)).map_err(failed)?;
        println!("{:10} loaded in {:.1} s", server.name, started.elapsed().as_secs_f64());
    }
    let mut least = f64::INFINITY;
    for mode in [Mode::Prepared, Mode::Text] {
        let mut ratios = Vec::new();
        for round in 0..arguments.rounds {
            let mut figures = Vec::new();
            for server in &servers {
                let figure = runtime.block_on(measure(server, mode, arguments, round as u64)).map_err(failed)?;
                println!(
                    "{mode:?} round {}: {:10} {:8.1} transactions/s, {:6.2} ms of CPU each, {} retries",
                    round + 1, server.name, figure.per_second, figure.cpu_ms, figure.retries
                );
                figures.push(figure);
            }
            ratios.push(figures[0].per_second / figures[1].per_second);
        }
        ratios.sort_by(f64::total_cmp);
        let median = ratios[ratios.len() / 2];
        println!("{mode:?}: {median:.2} of PostgreSQL's rate ({:.2} to {:.2})", ratios[0], ratios[ratios.len() - 1]);
        least = least.min(median);
    }
    let mut broken = 0;
    for server in &servers {
        for (number, contradictions) in runtime.block_on(async { tpcc::check(&connect(server.port).await?).await }).map_err(failed)? {
            println!("{}: condition {number} is contradicted by {contradictions} rows", server.name);
            broken += 1;
        }
    }
    cluster.stop()?;
    drop(postgres);
    fs::remove_dir_all(&scratch).context("removing the scratch folder")?;
    if broken > 0 || least < arguments.at_least {
        return Err(Error::Checks { failed: broken.max(1) });
    }
    println!("the twelve conditions hold on both");
    Ok(())
}

fn failed(failure: Failure) -> Error {
    Error::Failed { command: format!("TPC-C: {failure}") }
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("");
    name.trim_start_matches([' ', '\t', ':']).to_owned()
}

async fn connect(port: u16) -> Outcome<tokio_postgres::Client> {
    let config = format!("host=127.0.0.1 port={port} user=postgres dbname=postgres");
    let (client, connection) = tokio_postgres::connect(&config, NoTls).await.map_err(Failure::Server)?;
    tokio::spawn(connection);
    Ok(client)
}

async fn load(port: u16, seed: u64) -> Outcome<()> {
    let client = connect(port).await?;
    client.batch_execute(&tpcc::tables()).await?;
    tpcc::fill(&client, seed).await
}

async fn measure(server: &Server, mode: Mode, arguments: &Arguments, round: u64) -> Outcome<Figure> {
    let counts = Arc::new(Counts::default());
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = Vec::new();
    for number in 0..arguments.clients {
        let client = Client::over(connect(server.port).await?, mode, server.isolation).await?;
        let seed = arguments.seed.wrapping_mul(1_000_003).wrapping_add(round * 1000 + number as u64);
        clients.push((client, StdRng::seed_from_u64(seed)));
    }
    let before = cpu_seconds(&server.pids);
    let started = Instant::now();
    let tasks: Vec<_> = clients
        .into_iter()
        .map(|(client, random)| tokio::spawn(tpcc::work(client, random, counts.clone(), stop.clone(), None)))
        .collect();
    tokio::time::sleep(Duration::from_secs(arguments.seconds)).await;
    stop.store(true, Ordering::Relaxed);
    let mut outcome = Ok(());
    for task in tasks {
        outcome = outcome.and(task.await.unwrap_or(Err(Failure::Missing("a client panicked"))));
    }
    outcome?;
    let seconds = started.elapsed().as_secs_f64();
    let done = counts.done.load(Ordering::Relaxed) as f64;
    Ok(Figure {
        per_second: done / seconds,
        cpu_ms: (cpu_seconds(&server.pids) - before) * 1000.0 / done,
        retries: counts.retries.load(Ordering::Relaxed),
    })
}
