//! `cargo xtask histories`: many seeds of the testkit's histories, each in a process of its own, several at a time.
//!
//! A seed that fails is printed with what was found and the command that runs it again; its output stays in a file. With
//! `--recorded DIR` the checkers themselves are judged, by histories of others ([`recorded`]).

mod edn;
mod recorded;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::command::{Error, IoContext, Result, cargo, run as run_command, target_dir};
use crate::{rocksdb, setup};

#[derive(clap::Args)]
pub struct Arguments {
    /// Seeds run, one after another from the first.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Seeds run at one time.
    #[arg(long, default_value_t = 2)]
    jobs: u64,
    /// Stop at the first seed that fails.
    #[arg(long)]
    until_failure: bool,
    /// Run this binary instead of building one.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Run no seed: judge the recorded histories in this folder, and compare with what is known of them.
    #[arg(long, value_name = "DIR")]
    recorded: Option<PathBuf>,
}

/// A run takes about twenty seconds, and minutes on a machine that has little time for it; one that takes this long hangs.
const GIVE_UP: Duration = Duration::from_secs(600);

pub struct Outcome {
    seed: u64,
    pub faults: Vec<String>,
}

impl Arguments {
    /// So many seeds, built as the tree is.
    pub fn some(first: u64, seeds: u64) -> Self {
        Self { seeds, first, jobs: 2, until_failure: false, binary: None, recorded: None }
    }
}

pub fn run(arguments: &Arguments) -> Result {
    if let Some(dir) = &arguments.recorded {
        return recorded::run(dir);
    }
    let binary = match &arguments.binary {
        Some(binary) => binary.clone(),
        None => build()?,
    };
    let scratch = std::env::temp_dir().join(format!("quorate-histories-{}", std::process::id()));
    fs::create_dir_all(&scratch).context("creating the scratch folder")?;
    let started = Instant::now();
    let bar = ProgressBar::new(arguments.seeds);
    let template = "{bar:40} {pos} of {len} seeds, {elapsed}, {msg}";
    bar.set_style(ProgressStyle::with_template(template).expect("a valid template"));
    let next = Mutex::new(arguments.first);
    let failed = Mutex::new(Vec::new());
    let worker = || -> Result {
        loop {
            let seed = {
                let mut next = next.lock().unwrap_or_else(PoisonError::into_inner);
                let enough = arguments.until_failure
                    && !failed.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
                if enough || *next >= arguments.first + arguments.seeds {
                    return Ok(());
                }
                *next += 1;
                *next - 1
            };
            let outcome = run_one(&binary, &scratch, seed, None)?;
            bar.inc(1);
            if !outcome.faults.is_empty() {
                bar.suspend(|| tell(&outcome, &scratch));
                failed.lock().unwrap_or_else(PoisonError::into_inner).push(seed);
            }
        }
    };
    let outcomes: Vec<Result> = thread::scope(|scope| {
        let workers: Vec<_> = (0..arguments.jobs.max(1)).map(|_| scope.spawn(&worker)).collect();
        workers.into_iter().map(|worker| worker.join().expect("a worker does not panic")).collect()
    });
    bar.finish_and_clear();
    outcomes.into_iter().collect::<Result<Vec<()>>>()?;
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    let seconds = started.elapsed().as_secs_f64();
    if failed.is_empty() {
        println!("{} seeds from {} on, 0 violations, {seconds:.0} s", arguments.seeds, arguments.first);
        return fs::remove_dir_all(&scratch).context("removing the scratch folder");
    }
    println!("failing seeds: {failed:?}, {seconds:.0} s; what they printed is in {}", scratch.display());
    Err(Error::Checks { failed: failed.len() })
}

fn build() -> Result<PathBuf> {
    setup::for_build()?;
    rocksdb::ensure()?;
    // Not the release profile: the invariants asserted in the code are part of what is tested.
    run_command(cargo().args(["build", "--package", "testkit", "--bin", "histories"]))?;
    Ok(target_dir().join("debug/histories"))
}

fn log_of(scratch: &Path, seed: u64) -> PathBuf {
    scratch.join(format!("seed-{seed}.txt"))
}

/// Runs a seed in a process of its own, with a variable of its environment set.
pub fn run_one(binary: &Path, scratch: &Path, seed: u64, variable: Option<(&str, &str)>) -> Result<Outcome> {
    let log = log_of(scratch, seed);
    let file = fs::File::create(&log).context(format!("creating {}", log.display()))?;
    let errors = file.try_clone().context("opening the seed's output")?;
    let mut command = Command::new(binary);
    command.arg(seed.to_string()).envs(variable).stdin(Stdio::null()).stdout(file).stderr(errors);
    let mut child = command.spawn().context(format!("starting {}", binary.display()))?;
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().context("waiting for a seed")? {
            break Some(status);
        }
        if started.elapsed() > GIVE_UP {
            child.kill().context("ending a seed that hangs")?;
            child.wait().context("waiting for a seed")?;
            break None;
        }
        thread::sleep(Duration::from_millis(50));
    };
    let said = fs::read_to_string(&log).unwrap_or_default();
    let mut faults: Vec<String> =
        said.lines().filter_map(|line| line.strip_prefix("FAULT ")).map(str::to_owned).collect();
    match status {
        None => faults.push(format!("hangs: it was ended after {GIVE_UP:?}")),
        Some(status) if !status.success() && faults.is_empty() => {
            faults.push(format!("it ended with {status}"))
        }
        Some(_) => {}
    }
    if faults.is_empty() {
        fs::remove_file(&log).context("removing a seed's output")?;
    }
    Ok(Outcome { seed, faults })
}

fn tell(outcome: &Outcome, scratch: &Path) {
    println!("seed {} fails: cargo xtask histories --first {0} --seeds 1", outcome.seed);
    for fault in outcome.faults.iter().take(4) {
        println!("    {fault}");
    }
    if outcome.faults.len() > 4 {
        println!(
            "    and {} more, see {}",
            outcome.faults.len() - 4,
            log_of(scratch, outcome.seed).display()
        );
    }
}
