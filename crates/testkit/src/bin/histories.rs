//! Runs one seed's schedule and says what it came to: `histories SEED`. `cargo xtask histories` runs many.

use std::process::ExitCode;

use testkit::{
    run::{Report, run},
    schedule::Schedule,
};

fn main() -> ExitCode {
    let Some(seed) = std::env::args().nth(1).and_then(|argument| argument.parse().ok()) else {
        eprintln!("usage: histories SEED");
        return ExitCode::from(2);
    };
    let dir = match tempfile::tempdir() {
        Ok(dir) => dir,
        Err(error) => {
            eprintln!("no directory for the stores: {error}");
            return ExitCode::FAILURE;
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("no threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let report = runtime.block_on(run(dir.path(), Schedule::of(seed)));
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    tell(&report);
    if report.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn tell(report: &Report) {
    let Report { schedule, successes, struck, outcomes, faults } = report;
    println!("{:?}; {outcomes:?}; succeeded {successes:?}; struck {struck:?}", schedule.concern);
    for fault in faults {
        println!("FAULT {fault}");
    }
}
