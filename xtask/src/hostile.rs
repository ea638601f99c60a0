//! `cargo xtask hostile`: what clients that mean harm cost the others.
//!
//! One node, and well-behaved clients that each run a point statement every few milliseconds. One attack
//! after another comes from threads of its own. Printed are the node's memory, and the others' median and 99th
//! percentile beside those of a quiet time; an attack fails when the node ends, when its memory grows beyond its budget,
//! or when the others' 99th percentile is more than so many times the quiet one.
//!
//! Attackers share the machine with the node: what they compute themselves is part of what the others feel.
//!
//! Deliberately left out: what a client may do that is not harm, such as many honest statements (`cargo xtask bench`).

mod attacks;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio_postgres::NoTls;

use self::attacks::{ATTACKS, Attack};
use crate::cluster::{Cluster, Node, Options, resident_bytes};
use crate::command::{Error, IoContext, Result};
use crate::{demo, setup};

#[derive(clap::Args)]
pub struct Arguments {
    /// Only these attacks.
    #[arg(long, value_delimiter = ',')]
    attack: Vec<String>,
    /// Seconds of each attack, and of the quiet time.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Well-behaved clients.
    #[arg(long, default_value_t = 4)]
    clients: usize,
    /// What the node's statements and messages may keep.
    #[arg(long, default_value_t = 1 << 30)]
    sql_memory_bytes: u64,
    /// What the process may take beyond that: its stores' caches, and values while they are made.
    #[arg(long, default_value_t = 1 << 30)]
    beside_bytes: u64,
    /// Fail when the others' 99th percentile is more than this many times the quiet one.
    #[arg(long, default_value_t = 3.0)]
    p99_times: f64,
    /// Run this binary instead of building one.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Print the attacks and what they do.
    #[arg(long)]
    list: bool,
}

/// A 99th percentile below this is a matter of the operating system's clock ticks, and not compared.
const NOISE: Duration = Duration::from_millis(10);
/// Time between two statements of a well-behaved client.
const PAUSE: Duration = Duration::from_millis(5);
/// How long a node may take to be as quiet as before.
const CALM: Duration = Duration::from_secs(2);

pub fn run(arguments: &Arguments) -> Result {
    if arguments.list {
        ATTACKS.iter().for_each(|attack| println!("{:<18} {}", attack.name, attack.what));
        return Ok(());
    }
    if let Some(unknown) = arguments.attack.iter().find(|name| ATTACKS.iter().all(|attack| attack.name != **name)) {
        return Err(Error::Failed { command: format!("there is no attack {unknown}; see --list") });
    }
    setup::for_bench()?;
    let binary = arguments.binary.clone().map_or_else(demo::build, Ok)?;
    let scratch = std::env::temp_dir().join(format!("quorate-hostile-{}", std::process::id()));
    fs::create_dir_all(&scratch).context("creating the scratch folder")?;
    let memory = arguments.sql_memory_bytes.to_string();
    let flags = ["--sql-memory-bytes", &memory, "--authentication-timeout", "5"];
    let options = Options { binary: &binary, dir: &scratch, nodes: 1, base_port: None, flags: &flags };
    let mut cluster = Cluster::start(&options)?;
    let outcome = try_all(&mut cluster.nodes[0], arguments);
    cluster.stop()?;
    let failed = outcome?;
    if failed > 0 {
        return Err(Error::Checks { failed });
    }
    fs::remove_dir_all(&scratch).context("removing the scratch folder")
}

/// Answers how many attacks hurt.
fn try_all(node: &mut Node, arguments: &Arguments) -> Result<usize> {
    let limit = rlimit_note();
    println!("{limit}");
    let others = Others::start(node.sql, arguments.clients)?;
    let seconds = Duration::from_secs_f64(arguments.seconds);
    // Caches fill.
    others.measured(seconds / 2, || {});
    let quiet = others.measured(seconds, || {});
    let budget = arguments.sql_memory_bytes + arguments.beside_bytes;
    println!(
        "{:<18} {:>9} {:>9} {:>9} {:>7} {:>9} {:>9}  {}",
        "attack", "done", "p50 ms", "p99 ms", "times", "MiB", "others/s", "verdict"
    );
    let quiet_memory = resident_bytes(node.pid()).unwrap_or(0);
    let shown = |name: &str, done: u64, sample: &Sample, memory: u64, verdict: &str| {
        let times = sample.p99.as_secs_f64() / quiet.p99.as_secs_f64();
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        println!(
            "{name:<18} {done:>9} {:>9.2} {:>9.2} {times:>7.1} {:>9} {:>9.0}  {verdict}",
            ms(sample.p50),
            ms(sample.p99),
            memory >> 20,
            sample.rate
        );
    };
    shown("(quiet)", 0, &quiet, quiet_memory, "");
    let mut failed = 0;
    for attack in ATTACKS {
        if !arguments.attack.is_empty() && !arguments.attack.iter().any(|name| name == attack.name) {
            continue;
        }
        let (sample, done, memory) = attacked(node, &others, attack, seconds)?;
        let mut faults = Vec::new();
        if !node.is_running()? {
            faults.push("the node has ended".to_owned());
        }
        if memory > budget {
            faults.push(format!("memory above {} MiB", budget >> 20));
        }
        if sample.p99 > NOISE && sample.p99.as_secs_f64() > quiet.p99.as_secs_f64() * arguments.p99_times {
            faults.push("others wait".to_owned());
        }
        if sample.errors > 0 {
            faults.push(format!("{} statements of others failed: {}", sample.errors, others.last_error()));
        }
        failed += usize::from(!faults.is_empty());
        let verdict = if faults.is_empty() { "ok".to_owned() } else { format!("HURT: {}", faults.join("; ")) };
        shown(attack.name, done, &sample, memory, &verdict);
        if !node.is_running()? {
            return Ok(failed);
        }
        thread::sleep(CALM);
    }
    others.stop();
    Ok(failed)
}

/// One attack: what the others felt, how often it did its harm, and the most memory that the node had.
fn attacked(node: &Node, others: &Others, attack: &'static Attack, time: Duration) -> Result<(Sample, u64, u64)> {
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU64::new(0));
    let attacker = {
        let (address, stop, done) = (node.sql, stop.clone(), done.clone());
        thread::spawn(move || attacks::run(attack, address, &stop, &done))
    };
    let pid = node.pid();
    let most = AtomicU64::new(0);
    let sample = others.measured(time, || {
        most.fetch_max(resident_bytes(pid).unwrap_or(0), Ordering::Relaxed);
    });
    stop.store(true, Ordering::Relaxed);
    attacker.join().map_err(|_| Error::Failed { command: format!("the attacker of {} panicked", attack.name) })?;
    Ok((sample, done.load(Ordering::Relaxed), most.load(Ordering::Relaxed)))
}

/// How many files this process may have open, which bounds how many connections it makes.
fn rlimit_note() -> String {
    let text = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let limit = text.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap_or_default();
    let limit = limit.split_whitespace().next().unwrap_or("unknown").to_owned();
    format!("open files of a process: {limit}; connections of an attack: {}", attacks::CONNECTIONS)
}

/// What the others felt.
struct Sample {
    p50: Duration,
    p99: Duration,
    rate: f64,
    errors: u64,
}

#[derive(Default)]
struct Felt {
    times: Mutex<Vec<Duration>>,
    errors: AtomicU64,
    last_error: Mutex<String>,
    stop: AtomicBool,
}

/// Clients that mean well.
struct Others {
    felt: Arc<Felt>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Others {
    fn start(address: SocketAddr, clients: usize) -> Result<Self> {
        let felt = Arc::new(Felt::default());
        let ready = Arc::new(AtomicU64::new(0));
        let threads = (0..clients).map(|client| {
            let (felt, ready) = (felt.clone(), ready.clone());
            thread::spawn(move || well_behaved(client, address, &felt, &ready))
        });
        let threads = threads.collect();
        let begun = Instant::now();
        while ready.load(Ordering::Relaxed) < clients as u64 {
            if begun.elapsed() > Duration::from_secs(30) {
                return Err(Error::Failed { command: "starting the well-behaved clients".into() });
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(Self { felt, threads })
    }

    /// What they feel for a time; `meanwhile` is called ten times a second.
    fn measured(&self, time: Duration, meanwhile: impl Fn()) -> Sample {
        let lock = || self.felt.times.lock().unwrap_or_else(PoisonError::into_inner);
        lock().clear();
        self.felt.errors.store(0, Ordering::Relaxed);
        let begun = Instant::now();
        while begun.elapsed() < time {
            thread::sleep(Duration::from_millis(100));
            meanwhile();
        }
        let mut times = std::mem::take(&mut *lock());
        times.sort();
        let at = |share: f64| times.get(((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1))).copied();
        Sample {
            // Nobody was answered.
            p50: at(0.5).unwrap_or(time),
            p99: at(0.99).unwrap_or(time),
            rate: times.len() as f64 / begun.elapsed().as_secs_f64(),
            errors: self.felt.errors.load(Ordering::Relaxed),
        }
    }

    fn last_error(&self) -> String {
        self.felt.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn stop(self) {
        self.felt.stop.store(true, Ordering::Relaxed);
        for client in self.threads {
            // A client that panicked has been seen: it answered nothing.
            let _ended = client.join();
        }
    }
}

/// One row each, read and written in turn.
fn well_behaved(client: usize, address: SocketAddr, felt: &Felt, ready: &AtomicU64) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let text = format!("host={} port={} user=postgres dbname=postgres", address.ip(), address.port());
        let (sql, connection) = tokio_postgres::connect(&text, NoTls).await.expect("the node takes clients");
        let serving = tokio::spawn(connection);
        let id = client as i32;
        sql.batch_execute("CREATE TABLE IF NOT EXISTS others (id int PRIMARY KEY, n bigint NOT NULL)").await.expect("a table");
        sql.execute("INSERT INTO others VALUES ($1, 0)", &[&id]).await.expect("a row");
        let read = sql.prepare("SELECT n FROM others WHERE id = $1").await.expect("a statement");
        let write = sql.prepare("UPDATE others SET n = n + 1 WHERE id = $1").await.expect("a statement");
        ready.fetch_add(1, Ordering::Relaxed);
        let mut round = 0_u64;
        while !felt.stop.load(Ordering::Relaxed) {
            let begun = Instant::now();
            let outcome = match round.is_multiple_of(2) {
                true => sql.query(&read, &[&id]).await.map(drop),
                false => sql.execute(&write, &[&id]).await.map(drop),
            };
            round += 1;
            match outcome {
                Ok(()) => felt.times.lock().unwrap_or_else(PoisonError::into_inner).push(begun.elapsed()),
                Err(error) => {
                    felt.errors.fetch_add(1, Ordering::Relaxed);
                    *felt.last_error.lock().unwrap_or_else(PoisonError::into_inner) = format!("{error:?}");
                    if sql.is_closed() {
                        return;
                    }
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        serving.abort();
    });
}
