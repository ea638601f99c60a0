//! `cargo xtask compat`: the test suites that drivers and ORMs bring along, against a fresh node.
//!
//! A suite comes from its package registry, once, into the cache directory, and writes what each of its tests gave to a file
//! (`clients/compat/results.py`). The failures that are known are in `clients/compat/expected`, one file a suite; a run fails
//! when another test fails, and when one of these passes, so that the lists shrink. `docs/compatibility.md` has the figures.
//!
//! Invariant: a suite has a server of its own. What one leaves behind fails no test of another.

mod expected;
mod page;
mod results;
mod suite;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use self::{expected::Expected, page::Row, results::Results, suite::Suite};
use crate::{
    bench::postgres::Postgres,
    cluster::{Cluster, Options},
    command::{Error, IoContext, Result, psql, root, target_dir},
    demo, setup,
};

#[derive(clap::Args)]
pub struct Arguments {
    /// Only suites whose name contains one of these.
    suites: Vec<String>,
    /// Run them on PostgreSQL too, for its figures.
    #[arg(long)]
    beside: bool,
    /// Run this binary instead of building one.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Write the failures of this run to the lists of known ones. Their reasons stay; a new one gets its error.
    #[arg(long)]
    record: bool,
    /// Print the suites and end.
    #[arg(long)]
    list: bool,
}

/// How many tests of a kind are named before the rest is only counted.
const SHOWN: usize = 30;

pub fn run(arguments: &Arguments) -> Result {
    if arguments.list {
        for suite in suite::SUITES {
            println!("{:24} {}", suite.name, suite.about);
        }
        return Ok(());
    }
    let names = &arguments.suites;
    let is_asked =
        |suite: &&Suite| names.is_empty() || names.iter().any(|name| suite.name.contains(name.as_str()));
    let asked: Vec<&Suite> = suite::SUITES.iter().filter(is_asked).collect();
    if asked.is_empty() {
        return Err(Error::Missing {
            what: "no suite has such a name".into(),
            remedy: "cargo xtask compat --list".into(),
        });
    }
    setup::for_bench()?;
    let binary = match &arguments.binary {
        Some(binary) => binary.clone(),
        None => demo::build()?,
    };
    let scratch = env::temp_dir().join(format!("quorate-compat-{}", std::process::id()));
    let kept = target_dir().join("compat");
    fs::create_dir_all(&kept).context("making the folder of results")?;
    let mut failed = 0;
    for suite in asked {
        failed += run_suite(arguments, suite, &binary, &scratch, &kept)?;
    }
    println!("Results: {}", kept.display());
    if failed > 0 {
        return Err(Error::Checks { failed });
    }
    fs::remove_dir_all(&scratch).context("removing the scratch folder")
}

/// How many checks failed: tests that are not known to fail, known ones that pass, and a node that ended.
fn run_suite(
    arguments: &Arguments,
    suite: &Suite,
    binary: &Path,
    scratch: &Path,
    kept: &Path,
) -> Result<usize> {
    let installed = suite.install()?;
    let version = installed.version.clone();
    println!("{} {version}", suite.name);
    let postgres = match arguments.beside {
        false => None,
        true => {
            let server = Postgres::start(&scratch.join(format!("{}-reference", suite.name)), 0)?;
            Some(run_on(suite, &installed, server.port, &kept.join(format!("{}.postgres", suite.name)))?)
        }
    };
    let options = Options { binary, dir: &scratch.join(suite.name), nodes: 1, base_port: None, flags: &[] };
    let mut cluster = Cluster::start(&options)?;
    let found = run_on(
        suite,
        &installed,
        cluster.nodes[0].sql.port(),
        &kept.join(format!("{}.quorate", suite.name)),
    )?;
    let is_running = cluster.nodes[0].is_running()?;
    if is_running {
        cluster.stop()?;
    } else {
        println!("  The node ended: {}", cluster.nodes[0].log().display());
    }
    let list = root().join(format!("clients/compat/expected/{}.tsv", suite.name));
    let mut expected = Expected::read(&list)?;
    if arguments.record {
        expected.record(&found, postgres.as_ref());
        expected.write(&list)?;
    }
    let verdict = expected.judge(&found);
    show("fail, and are not known to", &verdict.unexpected);
    show("pass, and are known to fail: take them off the list", &verdict.passing);
    show("are known to fail, and did not run", &verdict.absent);
    let postgres = postgres.map(|results| results.counts());
    let row = Row { suite: suite.name, version, ours: found.counts(), known: verdict.known, postgres };
    page::update(&root().join("docs/compatibility.md"), &row)?;
    let counts = row.ours;
    println!(
        "  {} passed, {} failed ({} of them known to), {} skipped",
        counts.passed, counts.failed, verdict.known, counts.skipped
    );
    if counts.passed + counts.failed == 0 {
        println!("  No test ran: see {}", kept.join(format!("{}.quorate.log", suite.name)).display());
    }
    Ok(verdict.unexpected.len()
        + verdict.passing.len()
        + usize::from(!is_running)
        + usize::from(counts.passed == 0))
}

fn show(what: &str, tests: &[String]) {
    if tests.is_empty() {
        return;
    }
    println!("  {} {what}:", tests.len());
    for test in tests.iter().take(SHOWN) {
        println!("    {test}");
    }
    if tests.len() > SHOWN {
        println!("    and {} more", tests.len() - SHOWN);
    }
}

/// Runs a suite on a server; its results go to `output`, and what it prints beside it.
fn run_on(suite: &Suite, installed: &suite::Installed, port: u16, output: &Path) -> Result<Results> {
    for statement in suite.prepare {
        psql(port, statement.database, statement.sql)?;
    }
    fs::write(output, "").context("emptying the file of results")?;
    let log = fs::File::create(format!("{}.log", output.display())).context("creating the log")?;
    let mut command = suite.command(installed, port);
    command.env("QUORATE_RESULTS", output).stdin(Stdio::null());
    command.stderr(log.try_clone().context("opening the log")?).stdout(log);
    let child = command.spawn().context(format!("starting {}", suite.name))?;
    wait(child, output)?;
    Results::read(output)
}

/// Shows how many tests have ended until the suite has. Its exit code says no more than its results.
fn wait(mut child: Child, output: &Path) -> Result {
    let bar = ProgressBar::new_spinner();
    bar.set_style(ProgressStyle::with_template("  {spinner} {msg}, {elapsed}").expect("a valid template"));
    let mut shown = Instant::now();
    while child.try_wait().context("waiting for the suite")?.is_none() {
        thread::sleep(Duration::from_millis(100));
        if shown.elapsed() > Duration::from_secs(1) {
            shown = Instant::now();
            bar.set_message(Results::read(output)?.progress());
        }
    }
    bar.finish_and_clear();
    Ok(())
}
