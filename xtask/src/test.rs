//! `cargo xtask test`: every test, in the order in which failures are cheapest to find.

use std::time::Instant;

use crate::command::{Result, cargo, find_program, run, target_dir};
use crate::{chaos, corpus, demo, rocksdb, setup, startup, tidy};

#[derive(clap::Args)]
pub struct Arguments {
    /// Leave out SQLite's corpus even where it is at hand (it lies outside the tree).
    #[arg(long)]
    without_corpus: bool,
    /// Run only these files of the corpus, and nothing else.
    #[arg(long)]
    corpus_only: Vec<String>,
}

pub fn run_tests(arguments: &Arguments) -> Result {
    if !arguments.corpus_only.is_empty() {
        let binary = demo::build()?;
        return corpus::run_all(&binary, &arguments.corpus_only);
    }
    let started = Instant::now();
    let step = |name: &str| println!("\n=== {name} ({:.0} s) ===", started.elapsed().as_secs_f64());
    step("packages and RocksDB");
    setup::for_build()?;
    setup::for_browser()?;
    rocksdb::ensure()?;
    step("tidy");
    tidy::run()?;
    step("unit, integration and cluster tests");
    unit_tests()?;
    // The binary that the tests were built with and left there: what follows looks for mistakes, not for speed. Building
    // it by name would select other features of its dependencies and compile most of the tree once more.
    let binary = target_dir().join("debug/quorate");
    setup::for_bench()?;
    step("starting and resting");
    startup::run_on(&binary, &startup::Arguments::short())?;
    step("nodes killed under load");
    chaos::run_on(&binary, &chaos::Arguments::short())?;
    if !arguments.without_corpus {
        step("SQLite corpus");
        match corpus::dir() {
            Ok(_) => corpus::run_all(&binary, &[])?,
            Err(missing) => println!("left out: {missing}"),
        }
    }
    step("done");
    Ok(())
}

/// With it, tests of pages fail where there is no browser; without, they are left out.
const BROWSER: &str = "QUORATE_BROWSER";

/// With nextest when it is installed: a process a test, so one that aborts takes no other along.
fn unit_tests() -> Result {
    if find_program("cargo-nextest", &[]).is_some() {
        return run(cargo().args(["nextest", "run", "--workspace", "--no-fail-fast"]).env(BROWSER, "required"));
    }
    run(cargo().args(["test", "--workspace", "--no-fail-fast"]).env(BROWSER, "required"))
}
