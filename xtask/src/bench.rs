//! `cargo xtask bench`: the same pgbench scripts against this database and against PostgreSQL, interleaved.
//!
//! Both run on this machine with the same durability (fsync on) and isolation (serializable, and PostgreSQL at read
//! committed beside it for TPC-B); each round runs every contender once, in turn, so that a change of the machine's
//! speed touches all alike. Printed are the medians of the rounds, the ratios round by round, and the servers' CPU
//! time per transaction.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, Options, cpu_seconds, free_port};
use crate::command::{Error, IoContext, Result, capture, find_program};
use crate::setup::POSTGRES_DIRS;
use crate::{demo, setup};

#[derive(clap::Args)]
pub struct Arguments {
    /// Rounds; each runs every contender once.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds a run.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    #[arg(long, default_value_t = 10)]
    scale: u32,
    /// Client counts.
    #[arg(long, value_delimiter = ',', default_value = "1,16")]
    clients: Vec<u32>,
    /// Protocol modes of pgbench.
    #[arg(long, value_delimiter = ',', default_value = "prepared,simple")]
    modes: Vec<String>,
    /// Workloads: select-only, simple-update, tpcb-like.
    #[arg(long, value_delimiter = ',', default_value = "select-only,simple-update,tpcb-like")]
    scripts: Vec<String>,
    /// Nodes of this database: 1 against one PostgreSQL, 3 against PostgreSQL with two standbys.
    #[arg(long, value_delimiter = ',', default_value = "1,3")]
    nodes: Vec<usize>,
}

/// One server under test.
struct Contender {
    name: &'static str,
    port: u16,
    options: &'static str,
    pids: Vec<u32>,
}

struct Figure {
    tps: f64,
    cpu_us: f64,
    failed: u64,
}

pub fn run(arguments: &Arguments) -> Result {
    let binary = demo::build()?;
    setup::for_bench()?;
    for nodes in &arguments.nodes {
        compare(&binary, *nodes, arguments)?;
    }
    Ok(())
}

fn compare(binary: &Path, nodes: usize, arguments: &Arguments) -> Result {
    let scratch = std::env::temp_dir().join(format!("quorate-bench-{}-{nodes}", std::process::id()));
    fs::create_dir_all(&scratch).context("creating the scratch folder")?;
    let options = Options { binary, dir: &scratch, nodes, base_port: None, flags: &[] };
    let cluster = Cluster::start(&options)?;
    let postgres = Postgres::start(&scratch, nodes - 1)?;
    let ours = Contender {
        name: "quorate",
        port: cluster.nodes[0].sql.port(),
        options: "",
        pids: cluster.nodes.iter().map(crate::cluster::Node::pid).collect(),
    };
    let serializable =
        Contender { name: "PostgreSQL", port: postgres.port, options: SERIALIZABLE, pids: Vec::new() };
    let read_committed = Contender { name: "PostgreSQL rc", port: postgres.port, options: READ_COMMITTED, pids: Vec::new() };
    for contender in [&ours, &serializable] {
        println!("loading scale {} into {} …", arguments.scale, contender.name);
        pgbench(contender, &["-i", "-q", "-s", &arguments.scale.to_string()])?;
    }
    println!("\n{nodes} node(s); PostgreSQL with {} standby(s); scale {}", nodes - 1, arguments.scale);
    println!("{:<14} {:<9} {:>3}  {:>9} {:>9} {:>9}  {:>6} {:>6}  CPU us/txn: ours, PostgreSQL; failed", "script", "mode", "c", "quorate", "pg", "pg rc", "/pg", "/rc");
    for script in &arguments.scripts {
        for mode in &arguments.modes {
            for clients in &arguments.clients {
                let mut rounds: Vec<[Figure; 3]> = Vec::new();
                for _ in 0..arguments.rounds {
                    let measure = |contender: &Contender| {
                        let pids = if contender.pids.is_empty() { postgres.pids() } else { contender.pids.clone() };
                        figure(contender, &pids, script, mode, *clients, arguments.seconds)
                    };
                    rounds.push([measure(&ours)?, measure(&serializable)?, measure(&read_committed)?]);
                }
                let column = |which: usize| median(rounds.iter().map(|round| round[which].tps));
                let ratio = |which: usize| median(rounds.iter().map(|round| round[0].tps / round[which].tps));
                println!(
                    "{script:<14} {mode:<9} {clients:>3}  {:>9.0} {:>9.0} {:>9.0}  {:>6.2} {:>6.2}  {:.0}, {:.0}; {}",
                    column(0), column(1), column(2), ratio(1), ratio(2),
                    median(rounds.iter().map(|round| round[0].cpu_us)),
                    median(rounds.iter().map(|round| round[1].cpu_us)),
                    rounds.iter().map(|round| round[0].failed).sum::<u64>(),
                );
            }
        }
    }
    cluster.stop()?;
    drop(postgres);
    fs::remove_dir_all(&scratch).context("removing the scratch folder")
}

const SERIALIZABLE: &str = "-c default_transaction_isolation=serializable";
const READ_COMMITTED: &str = "-c default_transaction_isolation=read\\ committed";

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

fn pgbench(contender: &Contender, arguments: &[&str]) -> Result<String> {
    let program = find_program("pgbench", POSTGRES_DIRS).unwrap_or_else(|| PathBuf::from("pgbench"));
    let mut command = Command::new(program);
    command.args(["-h", "127.0.0.1", "-U", "postgres", "-p", &contender.port.to_string()]).args(arguments).arg("postgres");
    if !contender.options.is_empty() {
        command.env("PGOPTIONS", contender.options);
    }
    capture(&mut command)
}

fn figure(contender: &Contender, pids: &[u32], script: &str, mode: &str, clients: u32, seconds: u64) -> Result<Figure> {
    let cpu = || pids.iter().map(|pid| cpu_seconds(*pid)).sum::<f64>();
    let before = cpu();
    let (clients, seconds) = (clients.to_string(), seconds.to_string());
    // PostgreSQL's serializable isolation retries; a client of it must, so both are allowed to.
    let said = pgbench(
        contender,
        &["-n", "-b", script, "-M", mode, "-c", &clients, "-j", "1", "-T", &seconds, "--max-tries=0"],
    )?;
    let spent = cpu() - before;
    let number = |prefix: &str| {
        said.lines()
            .find_map(|line| line.strip_prefix(prefix))
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|word| word.parse::<f64>().ok())
    };
    let tps = number("tps = ").ok_or_else(|| Error::Failed { command: format!("reading pgbench's figures:\n{said}") })?;
    let transactions = number("number of transactions actually processed: ").unwrap_or(0.0).max(1.0);
    let failed = number("number of failed transactions: ").unwrap_or(0.0);
    Ok(Figure { tps, cpu_us: spent * 1e6 / transactions, failed: failed as u64 })
}

/// A PostgreSQL of our own, with standbys that must confirm each commit (`ANY 1`) if any.
struct Postgres {
    port: u16,
    servers: Vec<Child>,
}

impl Postgres {
    fn start(scratch: &Path, standbys: usize) -> Result<Self> {
        let bin = find_program("postgres", POSTGRES_DIRS)
            .and_then(|program| fs::canonicalize(program).ok())
            .and_then(|program| program.parent().map(Path::to_path_buf))
            .ok_or_else(|| Error::Missing { what: "PostgreSQL's server is missing".into(), remedy: "cargo xtask setup".into() })?;
        let primary = scratch.join("postgres");
        own(scratch)?;
        capture(as_postgres(&bin.join("initdb")).args(["-U", "postgres", "-A", "trust", "-D"]).arg(&primary))?;
        let port = free_port()?;
        let mut extra = vec!["-c".to_owned(), "max_wal_size=4GB".into(), "-c".into(), "shared_buffers=512MB".into()];
        if standbys > 0 {
            let names: Vec<String> = (1..=standbys).map(|n| format!("standby{n}")).collect();
            extra.extend(["-c".into(), format!("synchronous_standby_names=ANY 1 ({})", names.join(","))]);
        }
        let mut servers = vec![serve(&bin, &primary, port, scratch, &extra)?];
        for n in 1..=standbys {
            let dir = scratch.join(format!("standby{n}"));
            let source = format!("host=127.0.0.1 port={port} user=postgres application_name=standby{n}");
            capture(as_postgres(&bin.join("pg_basebackup")).args(["-R", "-X", "stream", "-d", &source, "-D"]).arg(&dir))?;
            let conninfo = format!("primary_conninfo={source}");
            servers.push(serve(&bin, &dir, free_port()?, scratch, &["-c".into(), conninfo])?);
        }
        Ok(Self { port, servers })
    }

    /// The servers; a backend's time is its server's once the connection is closed.
    fn pids(&self) -> Vec<u32> {
        self.servers.iter().map(Child::id).collect()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        for server in self.servers.iter_mut().rev() {
            // SIGINT is PostgreSQL's fast shutdown; a server already gone is fine.
            let _ = Command::new("kill").arg("-INT").arg(server.id().to_string()).status();
            let _ = server.wait();
        }
    }
}

/// PostgreSQL refuses to run as root: root runs it as the user that Debian's package made.
fn as_postgres(program: &Path) -> Command {
    let is_root = capture(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    if !is_root {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
    command
}

fn own(dir: &Path) -> Result {
    let is_root = capture(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    if is_root { capture(Command::new("chown").arg("postgres").arg(dir)).map(drop) } else { Ok(()) }
}

fn serve(bin: &Path, dir: &Path, port: u16, sockets: &Path, extra: &[String]) -> Result<Child> {
    let mut command = as_postgres(&bin.join("postgres"));
    command.arg("-D").arg(dir).args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1", "-k"]).arg(sockets);
    command.args(extra).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().context("starting PostgreSQL")?;
    let started = Instant::now();
    let ready = || capture(Command::new(bin.join("pg_isready")).args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()])).is_ok();
    while !ready() {
        if started.elapsed() > Duration::from_secs(30) {
            return Err(Error::Failed { command: format!("PostgreSQL in {} did not start", dir.display()) });
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(child)
}
