//! `cargo xtask stalls`: how long clients stand still when the node that leads their rows is killed, paused, cut off or
//! has a disk that stalls.
//!
//! Three nodes, and writers at the two that do not lead, each updating a row of its own, one statement after the other. A
//! fault lasts for some seconds, and is taken back. The sample of a trial is the longest time between two
//! acknowledgements of any one writer, from the fault until all is well again.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::{runtime::Runtime, task::JoinHandle};

use crate::cluster::{Cluster, Options};
use crate::command::{Error, IoContext, Result};
use crate::disk::Disk;
use crate::proxy::Links;
use crate::workload::connect_only;
use crate::{demo, setup};

#[derive(clap::Args)]
pub struct Arguments {
    /// Of each fault.
    #[arg(long, default_value_t = 20)]
    trials: usize,
    /// Only these faults.
    #[arg(long, value_delimiter = ',')]
    fault: Vec<String>,
    /// Seconds a fault lasts.
    #[arg(long, default_value_t = 10.0)]
    hold: f64,
    /// Writers at each of the two other nodes.
    #[arg(long, default_value_t = 2)]
    writers: usize,
    /// Fail when one of a hundred stalls is longer than this many seconds.
    #[arg(long, default_value_t = 4.0)]
    p99_within: f64,
    /// Fail when any is.
    #[arg(long, default_value_t = 8.0)]
    max_within: f64,
    /// Run this binary instead of building one.
    #[arg(long)]
    binary: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Killed,
    Paused,
    CutOff,
    CutOut,
    CutIn,
    DiskStalled,
}

const FAULTS: [(Fault, &str); 6] = [
    (Fault::Killed, "killed"),
    (Fault::Paused, "paused"),
    (Fault::CutOff, "cut-both-ways"),
    (Fault::CutOut, "cut-outward"),
    (Fault::CutIn, "cut-inward"),
    (Fault::DiskStalled, "disk-stalled"),
];

const GIVE_UP: Duration = Duration::from_secs(60);

pub fn run(arguments: &Arguments) -> Result {
    setup::for_bench()?;
    let binary = match &arguments.binary {
        Some(binary) => binary.clone(),
        None => demo::build()?,
    };
    let scratch = std::env::temp_dir().join(format!("quorate-stalls-{}", std::process::id()));
    fs::create_dir_all(&scratch).context("creating the scratch folder")?;
    println!("nodes in {}", scratch.display());
    let mut site = Site::start(&binary, &scratch, arguments)?;
    let outcome = site.try_all(arguments);
    // A node that waits for its disk cannot be ended.
    site.disks.iter().for_each(Disk::thaw_if_frozen);
    let too_long = outcome?;
    let Site { cluster, disks, .. } = site;
    cluster.stop()?;
    drop(disks);
    if too_long > 0 {
        return Err(Error::Checks { failed: too_long });
    }
    fs::remove_dir_all(&scratch).context("removing the scratch folder")
}

struct Site {
    // Before the disks: what is mounted is in use until its node has ended.
    cluster: Cluster,
    links: Links,
    disks: Vec<Disk>,
    runtime: Runtime,
}

impl Site {
    fn start(binary: &Path, scratch: &Path, arguments: &Arguments) -> Result<Self> {
        let mut disks = Vec::new();
        if Disk::is_possible() {
            for node in 1..=3 {
                let image = scratch.join(format!("disk{node}"));
                disks.push(Disk::make(&image, &scratch.join(format!("node{node}/store")))?);
            }
        } else {
            println!("disk-stalled is left out: it takes root, to mount a disk and to freeze it");
        }
        let links = Links::default();
        let options = Options { binary, dir: scratch, nodes: 3, base_port: None, flags: &[] };
        let cluster = Cluster::start_over(&options, Some(&links))?;
        cluster.wait_replicated()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .context("starting the writers' thread")?;
        let made = async {
            let client = connect_only(cluster.nodes[0].sql).await?;
            client.batch_execute("CREATE TABLE stalls (id int PRIMARY KEY, n bigint NOT NULL)").await?;
            let rows = "INSERT INTO stalls SELECT id, 0 FROM generate_series(1, $1::int) AS id";
            client.execute(rows, &[&(2 * arguments.writers as i32)]).await
        };
        let made: std::result::Result<_, tokio_postgres::Error> = runtime.block_on(made);
        made.map_err(|error| Error::Failed { command: format!("making the table: {error:?}") })?;
        Ok(Self { cluster, links, disks, runtime })
    }

    /// Answers how many faults stalled clients for too long.
    fn try_all(&mut self, arguments: &Arguments) -> Result<usize> {
        let mut too_long = 0;
        println!("{:<14} {:>6} {:>9} {:>9} {:>9}", "fault", "trials", "median s", "p99 s", "max s");
        for (fault, name) in FAULTS {
            let is_asked = arguments.fault.is_empty() || arguments.fault.iter().any(|asked| asked == name);
            if !is_asked || (fault == Fault::DiskStalled && self.disks.is_empty()) {
                continue;
            }
            let bar = ProgressBar::new(arguments.trials as u64);
            let template = "{bar:40} {pos} of {len} trials, {elapsed}, {msg}";
            bar.set_style(ProgressStyle::with_template(template).expect("a valid template"));
            let mut stalls = Vec::new();
            for _ in 0..arguments.trials {
                let stall = self.trial(fault, arguments)?;
                bar.set_message(format!("{name}: {stall:.2} s"));
                bar.inc(1);
                stalls.push(stall);
            }
            bar.finish_and_clear();
            stalls.sort_by(f64::total_cmp);
            let (median, p99, max) =
                (quantile(&stalls, 0.5), quantile(&stalls, 0.99), quantile(&stalls, 1.0));
            println!("{name:<14} {:>6} {median:>9.2} {p99:>9.2} {max:>9.2}", stalls.len());
            if p99 > arguments.p99_within || max > arguments.max_within {
                eprintln!(
                    "stalls: {name}: p99 {p99:.2} s, max {max:.2} s; allowed {} and {}",
                    arguments.p99_within, arguments.max_within
                );
                too_long += 1;
            }
        }
        Ok(too_long)
    }

    fn trial(&mut self, fault: Fault, arguments: &Arguments) -> Result<f64> {
        let leader = self.await_leader()?;
        let others: Vec<usize> = (0..3).filter(|node| *node != leader).collect();
        let gateways: Vec<SocketAddr> = others.iter().map(|node| self.cluster.nodes[*node].sql).collect();
        let writers = Writers::start(&self.runtime, &gateways, arguments.writers);
        writers.all_acknowledged_since(Instant::now())?;
        let struck = Instant::now();
        self.strike(fault, leader, &others)?;
        thread::sleep(Duration::from_secs_f64(arguments.hold));
        self.take_back(fault, leader)?;
        writers.all_acknowledged_since(Instant::now())?;
        // What it comes back with may hold them up once more.
        thread::sleep(Duration::from_secs(2));
        writers.all_acknowledged_since(Instant::now())?;
        self.cluster.nodes[leader].wait_healthy()?;
        let longest = writers.stop(&self.runtime, struck);
        let seconds = longest.time.as_secs_f64();
        if seconds > arguments.p99_within {
            eprintln!("{fault:?} at node {}: {}", leader + 1, longest.told(&others, struck));
        }
        Ok(seconds)
    }

    fn strike(&mut self, fault: Fault, leader: usize, others: &[usize]) -> Result {
        match fault {
            Fault::Killed => return self.cluster.nodes[leader].kill(),
            Fault::Paused => return self.cluster.nodes[leader].signal("STOP"),
            Fault::DiskStalled => return self.disks[leader].freeze(),
            Fault::CutOff | Fault::CutOut | Fault::CutIn => {}
        }
        for other in others {
            if fault != Fault::CutIn {
                self.links.cut(leader, *other);
            }
            if fault != Fault::CutOut {
                self.links.cut(*other, leader);
            }
        }
        Ok(())
    }

    fn take_back(&mut self, fault: Fault, leader: usize) -> Result {
        match fault {
            Fault::Killed => self.cluster.nodes[leader].restart(),
            Fault::Paused => self.cluster.nodes[leader].signal("CONT"),
            Fault::DiskStalled => self.disks[leader].thaw(),
            Fault::CutOff | Fault::CutOut | Fault::CutIn => {
                self.links.heal();
                Ok(())
            }
        }
    }

    fn await_leader(&self) -> Result<usize> {
        let started = Instant::now();
        while started.elapsed() < GIVE_UP {
            if let Some(leader) = self.cluster.leaseholder() {
                return Ok(leader);
            }
            thread::sleep(Duration::from_millis(50));
        }
        Err(Error::Failed { command: "waiting for a node that leads".into() })
    }
}

/// The smallest that at least so large a share is not above.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let position = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len().max(1));
    sorted.get(position - 1).copied().unwrap_or_default()
}

/// What one writer was told.
#[derive(Default)]
struct Told {
    acknowledged: Vec<Instant>,
    errors: Vec<(Instant, String)>,
}

type Acknowledged = Arc<Mutex<Told>>;

/// The longest time between two acknowledgements of one writer.
#[derive(Default)]
struct Longest {
    time: Duration,
    writer: usize,
    ended: Option<Instant>,
    errors: Vec<(Instant, String)>,
}

impl Longest {
    /// For whoever looks into it.
    fn told(&self, others: &[usize], struck: Instant) -> String {
        let at = |moment: Instant| moment.saturating_duration_since(struck).as_secs_f64();
        let errors: Vec<String> =
            self.errors.iter().map(|(when, error)| format!("{:.2} s: {error}", at(*when))).collect();
        format!(
            "a writer at node {} stood still for {:.2} s, until {:.2} s after; it was told {errors:?}",
            others[self.writer % others.len()] + 1,
            self.time.as_secs_f64(),
            self.ended.map_or(0.0, at),
        )
    }
}

struct Writers {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
    acknowledged: Vec<Acknowledged>,
}

impl Writers {
    fn start(runtime: &Runtime, gateways: &[SocketAddr], at_each: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (mut tasks, mut acknowledged) = (Vec::new(), Vec::new());
        for number in 0..gateways.len() * at_each {
            let told = Acknowledged::default();
            let gateway = gateways[number % gateways.len()];
            tasks.push(runtime.spawn(write(gateway, number as i32 + 1, stop.clone(), told.clone())));
            acknowledged.push(told);
        }
        Self { stop, tasks, acknowledged }
    }

    fn all_acknowledged_since(&self, since: Instant) -> Result {
        let began = Instant::now();
        let later = |told: &Acknowledged| {
            let told = told.lock().unwrap_or_else(PoisonError::into_inner);
            told.acknowledged.last().is_some_and(|last| *last > since)
        };
        while !self.acknowledged.iter().all(later) {
            if began.elapsed() > GIVE_UP {
                return Err(Error::Failed { command: format!("waiting for every writer for {GIVE_UP:?}") });
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Ends them, and answers the longest time that one was not answered in after `since`.
    fn stop(self, runtime: &Runtime, since: Instant) -> Longest {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            // What it has noted is what counts.
            let _ended = runtime.block_on(task);
        }
        let longest = self.acknowledged.iter().enumerate().filter_map(|(writer, told)| {
            let told = told.lock().unwrap_or_else(PoisonError::into_inner);
            let (from, to) = longest_gap(&told.acknowledged, since)?;
            let errors = told.errors.iter().filter(|(when, _)| (from..=to).contains(when)).take(8).cloned().collect();
            Some(Longest { time: to - from, writer, ended: Some(to), errors })
        });
        longest.max_by_key(|longest| longest.time).unwrap_or_default()
    }
}

/// Between which two moments it was not acknowledged for longest, of those that end after `since`.
fn longest_gap(told: &[Instant], since: Instant) -> Option<(Instant, Instant)> {
    let gaps = told.windows(2).filter(|pair| pair[1] > since).map(|pair| (pair[0], pair[1]));
    gaps.max_by_key(|(from, to)| *to - *from)
}

async fn write(gateway: SocketAddr, row: i32, stop: Arc<AtomicBool>, told: Acknowledged) {
    let note = |error: &tokio_postgres::Error| {
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = error.as_db_error().map_or_else(|| error.to_string(), |db| format!("{} {db}", db.code().code()));
        told.errors.push((Instant::now(), shown));
    };
    while !stop.load(Ordering::Relaxed) {
        let client = match connect_only(gateway).await {
            Ok(client) => client,
            Err(error) => {
                note(&error);
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let update = match client.prepare("UPDATE stalls SET n = n + 1 WHERE id = $1").await {
            Ok(update) => update,
            Err(error) => {
                note(&error);
                continue;
            }
        };
        while !stop.load(Ordering::Relaxed) && !client.is_closed() {
            // An error is an answer, but not the one that counts; the next statement follows at once.
            match client.execute(&update, &[&row]).await {
                Ok(_) => told.lock().unwrap_or_else(PoisonError::into_inner).acknowledged.push(Instant::now()),
                Err(error) => note(&error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_is_one_that_ends_after_the_fault() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let told = [at(0), at(900), at(1000), at(1500), at(1600)];
        assert_eq!(longest_gap(&told, at(950)), Some((at(1000), at(1500))));
        assert_eq!(longest_gap(&told, at(800)), Some((at(0), at(900))));
        assert_eq!(longest_gap(&[], at(0)), None);
    }

    #[test]
    fn quantiles_of_few_are_among_them() {
        let sorted = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(
            (quantile(&sorted, 0.5), quantile(&sorted, 0.99), quantile(&sorted, 1.0)),
            (2.0, 4.0, 4.0)
        );
    }
}
