//! `cargo xtask chaos`: three nodes under load, one in trouble a round, and the books audited at the end.
//!
//! A round: a node is killed, paused, or cut off from the others, one way or both (the leaseholder is killed in the first
//! round, any node later; each is a gateway of clients too), while every node has clients; the time is taken until each
//! other node has acknowledged a transaction that began after that; the fault is taken back; the round ends when the
//! node acknowledges transactions again. At the end every node must give the same books: the four sums agree, every
//! acknowledged row is there once, no refused one is, and none is there in part.
//!
//! Ranges split while it goes on, and most transactions write out what they wrote before they commit.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::cluster::{Cluster, Options};
use crate::command::{Error, IoContext, Result};
use crate::proxy::Links;
use crate::workload::{Load, Record, read_books};
use crate::{bench, demo, setup};

#[derive(clap::Args)]
pub struct Arguments {
    /// Nodes in trouble, one after another.
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// Only these faults: kill, pause, cut-both-ways, cut-outward, cut-inward.
    #[arg(long, value_delimiter = ',')]
    fault: Vec<String>,
    /// pgbench's scale: 100,000 accounts each.
    #[arg(long, default_value_t = 10)]
    scale: u32,
    /// Clients, spread over the nodes.
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// Chooses the nodes and the transactions; drawn when not given, and printed.
    #[arg(long)]
    seed: Option<u64>,
    /// Bytes above which a range is split: small ones spread the load over many ranges.
    #[arg(long, default_value_t = 4 << 20)]
    range_max_bytes: u64,
    /// Bytes above which a transaction writes out what it wrote before it commits.
    #[arg(long, default_value_t = 300)]
    spill_bytes: u64,
    /// Run this binary instead of building one.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Fail when service is away longer than this many seconds.
    #[arg(long, default_value = "5")]
    resume_within: Option<f64>,
}

impl Arguments {
    /// The form that is part of the tests: how long service is away is printed, and no reason to fail on a machine that
    /// is slow, unless it does not come back.
    pub fn short() -> Self {
        Self {
            rounds: 4,
            fault: Vec::new(),
            scale: 1,
            clients: 6,
            seed: None,
            range_max_bytes: 4 << 20,
            spill_bytes: 300,
            binary: None,
            resume_within: None,
        }
    }

    /// The same with a choice of nodes and transactions of its own.
    pub fn seeded(seed: u64) -> Self {
        Self { seed: Some(seed), ..Self::short() }
    }
}

/// Longer than this, and service is taken to be gone for good.
const GIVE_UP: Duration = Duration::from_secs(60);
/// Load between the rounds, so that each kill meets a cluster at work.
const SETTLE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Kill,
    Pause,
    CutOff,
    CutOut,
    CutIn,
}

const FAULTS: [(Fault, &str); 5] = [
    (Fault::Kill, "kill"),
    (Fault::Pause, "pause"),
    (Fault::CutOff, "cut-both-ways"),
    (Fault::CutOut, "cut-outward"),
    (Fault::CutIn, "cut-inward"),
];

struct Round {
    fault: &'static str,
    victim: usize,
    was_leaseholder: bool,
    resumed: Duration,
    rejoined: Duration,
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
    let scratch = std::env::temp_dir().join(format!("quorate-chaos-{}", std::process::id()));
    let seed = arguments.seed.unwrap_or_else(rand::random);
    println!("seed {seed}; nodes in {}", scratch.display());
    let (range_max_bytes, spill_bytes) =
        (arguments.range_max_bytes.to_string(), arguments.spill_bytes.to_string());
    let flags = ["--range-max-bytes", &range_max_bytes, "--spill-bytes", &spill_bytes];
    let options = Options { binary, dir: &scratch, nodes: 3, base_port: None, flags: &flags };
    let links = Links::default();
    let mut cluster = Cluster::start_over(&options, Some(&links))?;
    cluster.wait_replicated()?;
    bench::load(cluster.nodes[0].sql.port(), arguments.scale)?;
    cluster.wait_replicated()?;

    let addresses: Vec<_> = cluster.nodes.iter().map(|node| node.sql).collect();
    let load = Load::start(&addresses, arguments.clients, arguments.scale, seed)?;
    let rounds = trouble_in_turn(&mut cluster, &links, &load, arguments, seed)?;
    let record = load.stop()?;
    let faults = audit(&cluster, &record)?;
    report(&rounds, &record);
    cluster.stop()?;

    let (_, worst) = median_and_worst(rounds.iter().map(|round| round.resumed));
    let mut faults = faults;
    if let Some(within) = arguments.resume_within.filter(|within| worst.as_secs_f64() > *within) {
        faults.push(format!("service was away for {:.2} s, more than {within} s", worst.as_secs_f64()));
    }
    for fault in &faults {
        eprintln!("chaos: {fault} (seed {seed})");
    }
    if !faults.is_empty() {
        return Err(Error::Checks { failed: faults.len() });
    }
    println!("every acknowledged row is there, the sums agree on every node");
    fs::remove_dir_all(&scratch).context("removing the scratch folder")
}

fn trouble_in_turn(
    cluster: &mut Cluster,
    links: &Links,
    load: &Load,
    arguments: &Arguments,
    seed: u64,
) -> Result<Vec<Round>> {
    let asked = |(_, name): &&(Fault, &str)| {
        arguments.fault.is_empty() || arguments.fault.iter().any(|it| it == name)
    };
    let faults: Vec<_> = FAULTS.iter().filter(asked).collect();
    if faults.is_empty() {
        return Err(Error::Failed { command: format!("no such fault: {:?}", arguments.fault) });
    }
    let mut random = StdRng::seed_from_u64(seed);
    let bar = ProgressBar::new(arguments.rounds as u64);
    bar.set_style(
        ProgressStyle::with_template("{bar:40} {pos} of {len} rounds, {elapsed}, {msg}")
            .expect("a valid template"),
    );
    await_service(load, Instant::now(), &[0, 1, 2])?;
    let mut rounds = Vec::new();
    for number in 0..arguments.rounds {
        thread::sleep(SETTLE);
        let leaseholder = cluster.leaseholder();
        let drawn = random.random_range(0..cluster.nodes.len());
        let victim = if number == 0 { leaseholder.unwrap_or(drawn) } else { drawn };
        let (fault, name) = *faults[if number == 0 { 0 } else { random.random_range(0..faults.len()) }];
        let others: Vec<usize> = (0..cluster.nodes.len()).filter(|node| *node != victim).collect();
        let struck = Instant::now();
        strike(cluster, links, fault, victim, &others)?;
        let resumed = await_service(load, struck, &others);
        if resumed.is_err() {
            cluster.keep_statuses()?;
        }
        // Some rounds take it back at once, some leave it behind for a while.
        thread::sleep(Duration::from_millis(random.random_range(0..2000)));
        let taken_back = Instant::now();
        match fault {
            Fault::Kill => cluster.nodes[victim].restart()?,
            Fault::Pause => cluster.nodes[victim].signal("CONT")?,
            Fault::CutOff | Fault::CutOut | Fault::CutIn => links.heal(),
        }
        let resumed = resumed?;
        cluster.nodes[victim].wait_healthy()?;
        let rejoined = await_service(load, taken_back, &[victim])?;
        rounds.push(Round {
            fault: name,
            victim,
            was_leaseholder: leaseholder == Some(victim),
            resumed,
            rejoined,
        });
        bar.inc(1);
        let count = load.look(|record| record.acknowledged.len());
        bar.set_message(format!("{count} transactions, last pause {:.2} s", resumed.as_secs_f64()));
    }
    bar.finish_and_clear();
    Ok(rounds)
}

fn strike(cluster: &mut Cluster, links: &Links, fault: Fault, victim: usize, others: &[usize]) -> Result {
    match fault {
        Fault::Kill => return cluster.nodes[victim].kill(),
        Fault::Pause => return cluster.nodes[victim].signal("STOP"),
        Fault::CutOff | Fault::CutOut | Fault::CutIn => {}
    }
    for other in others {
        if fault != Fault::CutIn {
            links.cut(victim, *other);
        }
        if fault != Fault::CutOut {
            links.cut(*other, victim);
        }
    }
    Ok(())
}

/// How long until each of the nodes acknowledged a transaction that began after `since`.
fn await_service(load: &Load, since: Instant, nodes: &[usize]) -> Result<Duration> {
    while since.elapsed() < GIVE_UP {
        let serves = |record: &mut Record| {
            nodes.iter().all(|node| record.last_begun[*node].is_some_and(|begun| begun > since))
        };
        if load.look(serves) {
            return Ok(since.elapsed());
        }
        thread::sleep(Duration::from_millis(5));
    }
    let served = load.look(|record| {
        record.last_begun.iter().map(|begun| begun.is_some_and(|begun| begun > since)).collect::<Vec<_>>()
    });
    Err(Error::Failed {
        command: format!("waiting for service on nodes {nodes:?} for {GIVE_UP:?}; serving: {served:?}"),
    })
}

/// Reads the books through every node.
fn audit(cluster: &Cluster, record: &Record) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for (position, node) in cluster.nodes.iter().enumerate() {
        let books = read_books(node.sql)?;
        if position == 0 {
            for (told, (there, not_there)) in books.count_maybes(record) {
                println!("told {told} after COMMIT: {there} are there wholly, {not_there} not at all");
            }
        }
        let found = books.audit(record);
        faults.extend(found.into_iter().map(|fault| format!("node {}: {fault}", position + 1)));
    }
    Ok(faults)
}

fn report(rounds: &[Round], record: &Record) {
    println!("round  fault          victim  leaseholder  resumed s  rejoined s");
    for (number, round) in rounds.iter().enumerate() {
        let held = if round.was_leaseholder { "yes" } else { "" };
        let (resumed, rejoined) = (round.resumed.as_secs_f64(), round.rejoined.as_secs_f64());
        println!(
            "{:>5}  {:<13}  {:>6}  {held:>11}  {resumed:>9.2}  {rejoined:>10.2}",
            number + 1,
            round.fault,
            round.victim + 1
        );
    }
    let print = |what: &str, times: Vec<Duration>| {
        let count = times.len();
        let (median, worst) = median_and_worst(times.into_iter());
        println!(
            "{what} ({count} rounds): median {:.2} s, worst {:.2} s",
            median.as_secs_f64(),
            worst.as_secs_f64()
        );
    };
    print("service resumed", rounds.iter().map(|round| round.resumed).collect());
    print(
        "  of them the leaseholder's",
        rounds.iter().filter(|round| round.was_leaseholder).map(|round| round.resumed).collect(),
    );
    print("node back at work", rounds.iter().map(|round| round.rejoined).collect());
    let mut errors: Vec<_> =
        record.errors.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    errors.sort();
    println!(
        "{} acknowledged, {} maybe; errors seen by clients: {}",
        record.acknowledged.len(),
        record.maybe.len(),
        if errors.is_empty() { "none".to_owned() } else { errors.join(", ") }
    );
}

fn median_and_worst(times: impl Iterator<Item = Duration>) -> (Duration, Duration) {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    let at = |position: usize| times.get(position).copied().unwrap_or_default();
    (at(times.len() / 2), at(times.len().saturating_sub(1)))
}
