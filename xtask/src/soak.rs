//! `cargo xtask soak`: everything that finds broken promises, one after the other for a given time, and one verdict: seeds of
//! the histories, faults in a cluster of processes, workloads with their judges, and the planted bugs.

use std::fs;
use std::time::{Duration, Instant};

use checkers::verdict::Ending;

use crate::cluster::{Cluster, Options};
use crate::command::{Error, IoContext, Result};
use crate::{chaos, demo, histories, planted};

#[derive(clap::Args)]
pub struct Arguments {
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Minutes for histories, chaos and workloads; the planted bugs take their own time.
    #[arg(long, default_value_t = 60)]
    budget: u64,
    /// Leave the planted bugs out.
    #[arg(long)]
    without_planted: bool,
}

const KINDS: [&str; 10] = [
    "bank", "registers", "list-append", "long-fork", "write-skew", "sequential", "monotonic", "sets", "counter", "ycsb",
];

pub fn run(arguments: &Arguments) -> Result {
    let budget = Duration::from_secs(arguments.budget * 60);
    let started = Instant::now();
    let mut failed: Vec<String> = Vec::new();
    let mut note = |what: String, outcome: Result| {
        println!("{what}: {}", if outcome.is_ok() { "holds" } else { "BROKEN" });
        if let Err(error) = outcome {
            failed.push(format!("{what}: {error}"));
        }
    };
    let binary = demo::build()?;
    let mut round = 0;
    // Small pieces in turn, again and again: whatever the budget, all of them have been run.
    while round == 0 || started.elapsed() < budget {
        let seed = arguments.seed + round;
        note(format!("histories from seed {}", seed * 8), histories::run(&histories::Arguments::some(seed * 8, 8)));
        note(format!("chaos, seed {seed}"), chaos::run_on(&binary, &chaos::Arguments::seeded(seed)));
        for kind in KINDS {
            note(format!("workload {kind}, seed {seed}"), workload(&binary, kind, seed));
        }
        round += 1;
    }
    if !arguments.without_planted {
        note("planted bugs".into(), planted::run(&planted::Arguments::all()));
    }
    println!("\n{round} rounds in {:.0} minutes", started.elapsed().as_secs_f64() / 60.0);
    for what in &failed {
        println!("  {what}");
    }
    if failed.is_empty() {
        println!("verdict: nothing was found");
        return Ok(());
    }
    println!("verdict: BROKEN");
    Err(Error::Checks { failed: failed.len() })
}

fn workload(binary: &std::path::Path, kind: &str, seed: u64) -> Result {
    let dir = std::env::temp_dir().join(format!("quorate-soak-{}", std::process::id()));
    fs::create_dir_all(&dir).context("creating the nodes' folder")?;
    let flags = ["--range-max-bytes", "1048576"];
    let cluster = Cluster::start(&Options { binary, dir: &dir, nodes: 3, base_port: None, flags: &flags })?;
    cluster.wait_replicated()?;
    let urls: Vec<String> = cluster.nodes.iter().map(|node| format!("postgres://postgres@{}/postgres", node.sql)).collect();
    let verdict = planted::judge_workload(kind, &urls, Duration::from_secs(20), seed)?;
    cluster.stop()?;
    fs::remove_dir_all(&dir).context("removing the nodes' folder")?;
    match verdict.ending() {
        Ending::Holds => Ok(()),
        Ending::Broken | Ending::Undecided => {
            println!("{verdict}");
            Err(Error::Checks { failed: verdict.anomalies.len().max(1) })
        }
    }
}
