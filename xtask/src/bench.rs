//! `cargo xtask bench`: the same pgbench scripts against this database and against PostgreSQL, interleaved.
//!
//! Both run on this machine with the same durability (fsync on) and, by default, the same isolation (serializable);
//! beside that stands PostgreSQL at read committed, its own default, for the scripts that write. Each round runs every
//! contender once, in turn, so that a change of the machine's speed touches all alike. Printed are medians with least
//! and greatest, ratios taken round by round, and the servers' CPU time per transaction; the same goes into a JSON file
//! and a page with a plot.

pub mod postgres;
mod report;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use indicatif::{ProgressBar, ProgressStyle};

use crate::cluster::{Cluster, Node, Options, cpu_seconds};
use crate::command::{Error, IoContext, Result, capture, find_program, target_dir};
use crate::setup::POSTGRES_DIRS;
use crate::workload::read_sums;
use crate::{demo, setup};
use postgres::Postgres;
use report::{Figure, Row};

#[derive(clap::Args)]
pub struct Arguments {
    /// Rounds; each runs every contender once.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds a run.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Seconds each contender runs before each row, not counted.
    #[arg(long, default_value_t = 2)]
    warmup: u64,
    /// pgbench's scale: 100,000 accounts each.
    #[arg(long, default_value_t = 10)]
    scale: u32,
    /// Client counts.
    #[arg(long, value_delimiter = ',', default_value = "1,16")]
    clients: Vec<u32>,
    /// Protocol modes of pgbench.
    #[arg(long, value_delimiter = ',', default_value = "prepared,simple")]
    mode: Vec<String>,
    /// pgbench's scripts.
    #[arg(long, value_delimiter = ',', default_value = "select-only,simple-update,tpcb-like")]
    work: Vec<String>,
    /// Nodes of this database: 1 against one PostgreSQL, 3 against PostgreSQL with two standbys, one of which confirms.
    #[arg(long, value_delimiter = ',', default_value = "1,3")]
    nodes: Vec<usize>,
    /// Run this binary instead of building one.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Where the JSON file and the page go.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// One server under test.
struct Contender {
    name: &'static str,
    port: u16,
    /// Of libpq: settings of the session.
    options: &'static str,
    pids: Vec<u32>,
}

const SERIALIZABLE: &str = "-c default_transaction_isolation=serializable";
const READ_COMMITTED: &str = "-c default_transaction_isolation=read\\ committed";

pub fn run(arguments: &Arguments) -> Result {
    setup::for_bench()?;
    let binary = match &arguments.binary {
        Some(binary) => binary.clone(),
        None => demo::build()?,
    };
    let out = arguments.out.clone().unwrap_or_else(|| target_dir().join("bench"));
    fs::create_dir_all(&out).context(format!("creating {}", out.display()))?;
    let mut rows = Vec::new();
    let mut version = String::new();
    for nodes in &arguments.nodes {
        version = compare(&binary, *nodes, arguments, &mut rows)?;
    }
    let settings = format!("scale {}, {} rounds of {} s", arguments.scale, arguments.rounds, arguments.seconds);
    report::write(&out, &report::About::this_machine(version, settings), &rows)
}

/// Runs every row on one topology; answers PostgreSQL's version.
fn compare(binary: &Path, nodes: usize, arguments: &Arguments, rows: &mut Vec<Row>) -> Result<String> {
    let scratch = std::env::temp_dir().join(format!("quorate-bench-{}-{nodes}", std::process::id()));
    fs::create_dir_all(&scratch).context("creating the scratch folder")?;
    let options = Options { binary, dir: &scratch, nodes, base_port: None, flags: &[] };
    let cluster = Cluster::start(&options)?;
    let postgres = Postgres::start(&scratch, nodes - 1)?;
    println!("\n{nodes} node(s) beside PostgreSQL with {} standby(s); loading scale {} …", nodes - 1, arguments.scale);
    load(cluster.nodes[0].sql.port(), arguments.scale)?;
    load(postgres.port, arguments.scale)?;
    cluster.wait_replicated()?;
    // PostgreSQL's clients talk to the primary; ours to the node that leads.
    let gateway = &cluster.nodes[cluster.leaseholder().unwrap_or(0)];
    let on_postgres = |name, options| Contender { name, port: postgres.port, options, pids: postgres.pids() };
    let contenders = [
        Contender { name: "quorate", port: gateway.sql.port(), options: "", pids: cluster.nodes.iter().map(Node::pid).collect() },
        on_postgres("serializable", SERIALIZABLE),
        on_postgres("read committed", READ_COMMITTED),
    ];
    report::print_head();
    for script in &arguments.work {
        // Isolation is nothing to a script of single reads.
        let contenders = if script == "select-only" { &contenders[..2] } else { &contenders[..] };
        for mode in &arguments.mode {
            for clients in &arguments.clients {
                let run = Run { script, mode, clients: *clients };
                let row = Row { nodes, script: script.clone(), mode: mode.clone(), clients: *clients, rounds: run.rounds(contenders, arguments)? };
                row.print();
                rows.push(row);
            }
        }
    }
    for node in &cluster.nodes {
        check_sums(read_sums(node.sql)?)?;
    }
    cluster.stop()?;
    let version = postgres.version.clone();
    drop(postgres);
    fs::remove_dir_all(&scratch).context("removing the scratch folder")?;
    Ok(version)
}

/// Each script adds to an account what it notes in the history, and TPC-B to a teller what it adds to a branch.
fn check_sums(sums: [i64; 4]) -> Result {
    let [accounts, tellers, branches, history] = sums;
    if accounts == history && tellers == branches {
        return Ok(());
    }
    Err(Error::Failed { command: format!("the sums of accounts, tellers, branches and history do not agree: {sums:?}") })
}

/// pgbench's tables, made and filled by pgbench. On a starved machine leadership may move meanwhile, and a statement be
/// answered with 40003; pgbench begins by dropping what is there, so it can be run again.
pub fn load(port: u16, scale: u32) -> Result {
    let fill = || pgbench(port, "", &["-i", "-q", "-s", &scale.to_string()]).map(drop);
    fill().or_else(|error| {
        eprintln!("loading once more: {error}");
        fill()
    })
}

fn pgbench(port: u16, options: &str, arguments: &[&str]) -> Result<String> {
    let program = find_program("pgbench", POSTGRES_DIRS).unwrap_or_else(|| PathBuf::from("pgbench"));
    let mut command = Command::new(program);
    command.args(["-h", "127.0.0.1", "-U", "postgres", "-p", &port.to_string()]).args(arguments).arg("postgres");
    if !options.is_empty() {
        command.env("PGOPTIONS", options);
    }
    capture(&mut command)
}

/// One row of the table, as pgbench is told.
struct Run<'a> {
    script: &'a str,
    mode: &'a str,
    clients: u32,
}

impl Run<'_> {
    /// For each round, a figure of each contender.
    fn rounds(&self, contenders: &[Contender], arguments: &Arguments) -> Result<Vec<Vec<Figure>>> {
        let bar = ProgressBar::new((arguments.rounds * contenders.len()) as u64);
        bar.set_style(ProgressStyle::with_template("{bar:30} {pos} of {len} runs, {elapsed}, {msg}").expect("a valid template"));
        if arguments.warmup > 0 {
            for contender in contenders {
                bar.set_message(format!("warming up {}", contender.name));
                self.measure(contender, arguments.warmup)?;
            }
        }
        let mut rounds = Vec::new();
        for _ in 0..arguments.rounds {
            let mut figures = Vec::new();
            for contender in contenders {
                bar.set_message(format!("{} -M {} -c {}: {}", self.script, self.mode, self.clients, contender.name));
                figures.push(self.measure(contender, arguments.seconds)?);
                bar.inc(1);
            }
            rounds.push(figures);
        }
        bar.finish_and_clear();
        Ok(rounds)
    }

    fn measure(&self, contender: &Contender, seconds: u64) -> Result<Figure> {
        let before = cpu_seconds(&contender.pids);
        let (clients, seconds) = (self.clients.to_string(), seconds.to_string());
        // PostgreSQL's serializable isolation refuses transactions; its clients must repeat them, so both are let.
        let arguments = ["-n", "-b", self.script, "-M", self.mode, "-c", &clients, "-j", "1", "-T", &seconds, "--max-tries=0"];
        let said = pgbench(contender.port, contender.options, &arguments)?;
        let cpu = cpu_seconds(&contender.pids) - before;
        Figure::read(&said, cpu)
            .ok_or_else(|| Error::Failed { command: format!("reading pgbench's figures of {}:\n{said}", contender.name) })
    }
}
