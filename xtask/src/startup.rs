//! `cargo xtask startup`: how long until a node answers, and what it costs while it does nothing.
//!
//! Measured from the start of the process until the first answer to a client, over an empty store and over one whose
//! process was killed under load; at rest, the CPU time and resident memory of one node and of three.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, Node, Options, cpu_seconds, resident_bytes};
use crate::command::{Error, IoContext, Result};
use crate::workload::{Load, await_query};
use crate::{bench, demo, setup};

#[derive(clap::Args)]
pub struct Arguments {
    /// Starts of each kind; the median and the worst are printed.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// pgbench's scale of the store that is killed: 100,000 accounts each, about 15 MB.
    #[arg(long, default_value_t = 10)]
    scale: u32,
    /// Seconds of rest that are looked at.
    #[arg(long, default_value_t = 10)]
    rest: u64,
    /// Run this binary instead of building one.
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// An empty store answers its first query within this.
const EMPTY_WITHIN: Duration = Duration::from_secs(1);
/// A store that was killed does.
const KILLED_WITHIN: Duration = Duration::from_secs(5);
/// One node at rest uses no more of one core, and no more memory.
const REST_CORE_SHARE: f64 = 0.02;
const REST_BYTES: u64 = 200 << 20;

const GIVE_UP: Duration = Duration::from_secs(60);
/// After the work, before rest is measured: background work of the last write is over.
const SETTLE: Duration = Duration::from_secs(3);
const LOAD: Duration = Duration::from_secs(3);

impl Arguments {
    /// The form that is part of the tests.
    pub fn short() -> Self {
        Self { rounds: 3, scale: 1, rest: 5, binary: None }
    }
}

pub fn run(arguments: &Arguments) -> Result {
    setup::for_bench()?;
    let binary = match &arguments.binary {
        Some(binary) => binary.clone(),
        None => demo::build()?,
    };
    run_on(&binary, arguments)
}

/// As [`run`], with a binary that is there.
pub fn run_on(binary: &Path, arguments: &Arguments) -> Result {
    let scratch = std::env::temp_dir().join(format!("quorate-startup-{}", std::process::id()));
    let options = |nodes| Options { binary, dir: &scratch, nodes, base_port: None, flags: &[] };
    let mut faults = Vec::new();

    let mut one = Cluster::start(&options(1))?;
    let node = &mut one.nodes[0];
    let empty = starts(node, arguments.rounds, |node| {
        node.kill()?;
        fs::remove_dir_all(node.dir.join("store")).context("removing the store")
    })?;
    judge("empty store to first query", &empty, EMPTY_WITHIN, &mut faults);
    let share = rest("one empty node at rest", &one.nodes, arguments)?;
    if share.core > REST_CORE_SHARE || share.bytes > REST_BYTES {
        faults.push("an empty node costs more at rest than it may".into());
    }

    let node = &mut one.nodes[0];
    bench::load(node.sql.port(), arguments.scale)?;
    let load = Load::start(&[node.sql], 8, arguments.scale, 1)?;
    let killed = starts(node, arguments.rounds, |node| {
        thread::sleep(LOAD);
        node.kill()
    })?;
    drop(load.stop()?);
    judge(&format!("scale {} killed under load to first query", arguments.scale), &killed, KILLED_WITHIN, &mut faults);
    rest("one node at rest after the load", &one.nodes, arguments)?;
    one.stop()?;
    fs::remove_dir_all(&scratch).context("removing the scratch folder")?;

    let three = Cluster::start(&options(3))?;
    three.wait_replicated()?;
    rest("three empty nodes at rest, together", &three.nodes, arguments)?;
    three.stop()?;
    for fault in &faults {
        eprintln!("startup: {fault}");
    }
    if !faults.is_empty() {
        return Err(Error::Checks { failed: faults.len() });
    }
    fs::remove_dir_all(&scratch).context("removing the scratch folder")
}

/// Starts the node again each time that `end` has ended it.
fn starts(node: &mut Node, rounds: usize, end: impl Fn(&mut Node) -> Result) -> Result<Vec<Duration>> {
    (0..rounds)
        .map(|_| {
            end(node)?;
            let started = Instant::now();
            node.restart()?;
            await_query(node.sql, "SELECT 1", GIVE_UP)?;
            Ok(started.elapsed())
        })
        .collect()
}

fn judge(what: &str, times: &[Duration], within: Duration, faults: &mut Vec<String>) {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let (Some(median), Some(worst)) = (sorted.get(sorted.len() / 2), sorted.last()) else { return };
    println!("{what}: median {:.3} s, worst {:.3} s ({} starts)", median.as_secs_f64(), worst.as_secs_f64(), times.len());
    if *worst > within {
        faults.push(format!("{what} took {:.2} s, {} s are allowed", worst.as_secs_f64(), within.as_secs()));
    }
}

struct Rest {
    /// Of one core.
    core: f64,
    bytes: u64,
}

fn rest(what: &str, nodes: &[Node], arguments: &Arguments) -> Result<Rest> {
    thread::sleep(SETTLE);
    let pids: Vec<u32> = nodes.iter().map(Node::pid).collect();
    let before = cpu_seconds(&pids);
    let began = Instant::now();
    thread::sleep(Duration::from_secs(arguments.rest));
    let core = (cpu_seconds(&pids) - before) / began.elapsed().as_secs_f64();
    let bytes = pids.iter().filter_map(|pid| resident_bytes(*pid)).sum();
    println!("{what}: {:.2} % of a core, {} MiB resident", core * 100.0, bytes >> 20);
    Ok(Rest { core, bytes })
}
