//! `slt`: runs sqllogictest files through the PostgreSQL wire protocol, each file in a database of its own.
//!
//! The problem: the corpus was written for SQLite, whose results are formatted by the *expected* type of a column
//! (`I`, `R`, `T`), and whose files take turns at conditions per engine. The `sqllogictest` crate parses the format;
//! formatting, sorting and hashing happen here, the way SQLite's own runner does.
//!
//! Every record is counted as passed, failed, not for PostgreSQL (its own condition says so), or known to fail on
//! PostgreSQL itself (listed by file and line, still run): nothing is skipped silently.

mod expected;
mod file;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

use crate::expected::KnownFailures;
use crate::file::Tally;

#[derive(Parser)]
#[command(name = "slt", about = "Run sqllogictest files against a server that speaks PostgreSQL's protocol")]
struct Arguments {
    /// Files, or directories to search for `.test` and `.slt` files.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Server, as `host:port`; several take turns, file by file.
    #[arg(long, default_value = "127.0.0.1:5433", value_delimiter = ',')]
    server: Vec<String>,
    #[arg(long, default_value = "postgres")]
    user: String,
    /// Tab-separated file, line, message: records that PostgreSQL itself fails.
    #[arg(long)]
    known_failures: Option<PathBuf>,
    /// Directory that the names in the list of known failures are relative to.
    #[arg(long)]
    root: Option<PathBuf>,
    /// How many failures to print in full for each file.
    #[arg(long, default_value_t = 5)]
    show: usize,
    /// Stop a file after this many failures.
    #[arg(long, default_value_t = 100_000)]
    failures_max: usize,
    /// Statements to run in each fresh database before the file, separated by semicolons.
    #[arg(long)]
    setup: Option<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<bool, file::Error> {
    let known = match &arguments.known_failures {
        Some(path) => KnownFailures::read(path)?,
        None => KnownFailures::default(),
    };
    let mut files = Vec::new();
    for path in &arguments.paths {
        file::collect(path, &mut files)?;
    }
    files.sort();
    let bar = ProgressBar::new(files.len() as u64);
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} files, {elapsed} {msg}").expect("a valid template"));
    let mut total = Tally::default();
    let started = Instant::now();
    for (position, path) in files.iter().enumerate() {
        let name = arguments.root.as_deref().and_then(|root| path.strip_prefix(root).ok()).unwrap_or(path);
        let name = name.display().to_string();
        bar.set_message(name.clone());
        let server = &arguments.server[position % arguments.server.len()];
        let options = file::Options {
            server,
            user: &arguments.user,
            database: format!("slt_{position}"),
            known: known.of_file(&name),
            show: arguments.show,
            failures_max: arguments.failures_max,
            setup: arguments.setup.as_deref(),
        };
        let before = Instant::now();
        let tally = file::run(path, &options, &bar).await?;
        let seconds = before.elapsed().as_secs_f64();
        let line = format!("{name}: {tally}, {:.0} records/s", tally.ran() as f64 / seconds.max(1e-9));
        if bar.is_hidden() { println!("{line}") } else { bar.println(line) }
        total.add(&tally);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64();
    println!("{} files: {total}; {:.0} records/s, {seconds:.1} s", files.len(), total.ran() as f64 / seconds.max(1e-9));
    println!("{} passed, {} failed", total.passed, total.failed);
    Ok(total.failed == 0 && total.passed > 0)
}
