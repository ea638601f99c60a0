//! `slt`: runs sqllogictest files, several at the same time, against one server and a PostgreSQL beside it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

use quorate_sqllogictest::expected::KnownFailures;
use quorate_sqllogictest::file::{self, Tally};

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
    /// A PostgreSQL to run every file against as well, as `host:port`: its speed is printed beside, and records that
    /// fail there need not pass here.
    #[arg(long)]
    beside: Option<String>,
    /// What fails on the PostgreSQL beside counts as a failure: the files' expectations are on trial as well.
    #[arg(long, requires = "beside")]
    strict: bool,
    /// Files that run at the same time.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
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

/// The files, and what their workers share.
struct Work {
    arguments: Arguments,
    known: KnownFailures,
    files: Vec<PathBuf>,
    next: AtomicUsize,
    bar: ProgressBar,
}

/// What came of the records here, and on the server beside.
#[derive(Default)]
struct Outcome {
    here: Tally,
    beside: Tally,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<bool, file::Error> {
    let known = match &arguments.known_failures {
        Some(path) => KnownFailures::read(path)?,
        None => KnownFailures::default(),
    };
    let mut files = Vec::new();
    for path in &arguments.paths {
        file::collect(path, &mut files)?;
    }
    let mut bytes = 0;
    for path in &files {
        bytes += file::size(path)?;
    }
    // The largest first, so that no worker is left alone with it at the end.
    files.sort_by_cached_key(|path| std::cmp::Reverse(file::size(path).unwrap_or(0)));
    let bar = ProgressBar::new(bytes * if arguments.beside.is_some() { 2 } else { 1 });
    bar.set_style(ProgressStyle::with_template("{bar:30} {percent}%, {elapsed}, {eta} to go {msg}").expect("a valid template"));
    bar.enable_steady_tick(Duration::from_millis(200));
    let jobs = arguments.jobs.clamp(1, files.len().max(1));
    let count = files.len();
    let work = Arc::new(Work { arguments, known, files, next: AtomicUsize::new(0), bar });
    let started = Instant::now();
    let workers: Vec<_> = (0..jobs).map(|_| tokio::spawn(work_through(work.clone()))).collect();
    let mut total = Outcome::default();
    for worker in workers {
        let done = worker.await.expect("a worker does not panic")?;
        total.here.add(&done.here);
        total.beside.add(&done.beside);
    }
    work.bar.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64();
    println!("{count} files: {}; {seconds:.1} s", total.here);
    println!("{}", rates(&total));
    println!("{} passed, {} failed", total.here.passed, total.here.failed);
    Ok(total.here.failed == 0 && total.here.passed > 0)
}

fn rates(outcome: &Outcome) -> String {
    let here = outcome.here.rate();
    if outcome.beside.ran() == 0 {
        return format!("{here:.0} queries/s");
    }
    let beside = outcome.beside.rate();
    format!("{here:.0} queries/s, PostgreSQL {beside:.0}, ratio {:.2}", here / beside)
}

/// Takes files one after another until none is left.
async fn work_through(work: Arc<Work>) -> Result<Outcome, file::Error> {
    let mut total = Outcome::default();
    loop {
        let position = work.next.fetch_add(1, Ordering::Relaxed);
        let Some(path) = work.files.get(position) else { return Ok(total) };
        let arguments = &work.arguments;
        let name = arguments.root.as_deref().and_then(|root| path.strip_prefix(root).ok()).unwrap_or(path);
        let name = name.display().to_string();
        work.bar.set_message(name.clone());
        let mut known = work.known.of_file(&name);
        let database = format!("slt_{}_{position}", std::process::id());
        let mut outcome = Outcome::default();
        if let Some(server) = &arguments.beside {
            // What it fails need not pass here; the list says so too, for runs without it.
            let show = if arguments.strict { arguments.show } else { 0 };
            let options = file::Options {
                server,
                user: &arguments.user,
                database: &database,
                known: &known,
                show,
                failures_max: usize::MAX,
                setup: None,
            };
            outcome.beside = file::run(path, &options, &work.bar).await?;
            if !arguments.strict {
                known.extend(outcome.beside.failed_lines.iter().copied());
            }
        }
        let options = file::Options {
            server: &arguments.server[position % arguments.server.len()],
            user: &arguments.user,
            database: &database,
            known: &known,
            show: arguments.show,
            failures_max: arguments.failures_max,
            setup: arguments.setup.as_deref(),
        };
        outcome.here = file::run(path, &options, &work.bar).await?;
        let unlisted = outcome.beside.failed;
        let note = if unlisted > 0 { format!("; {unlisted} fail on PostgreSQL without being listed") } else { String::new() };
        file::say(&work.bar, &format!("{name}: {}; {}{note}", outcome.here, rates(&outcome)));
        if arguments.strict {
            outcome.here.failed += outcome.beside.failed;
        }
        total.here.add(&outcome.here);
        total.beside.add(&outcome.beside);
    }
}
