//! `cargo xtask shapes`: statements of random shape and growing size against a server, which must live through them.
//!
//! Each is answered by rows or by an error that names what is wrong, never by XX000 or a lost connection; meanwhile
//! another connection is answered, and the server's memory stays within a bound. A seed makes the same statements
//! again.

mod generate;
mod probe;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::cluster::{Cluster, Options, resident_bytes};
use crate::command::{Error, IoContext, Result};
use crate::demo;
use generate::{Shape, Shapes};
use probe::Probe;

#[derive(clap::Args)]
pub struct Arguments {
    /// How long to go on.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// Chooses the statements; drawn when not given, and printed.
    #[arg(long)]
    seed: Option<u64>,
    /// Run this binary instead of building one.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Only the random statement with this number.
    #[arg(long)]
    only: Option<usize>,
}

/// What its statements may keep together: less than [`RESIDENT_BYTES_MAX`], which has what is freed and not given back too.
const SQL_MEMORY_BYTES: &str = "1073741824";
/// One statement may hold a gibibyte; its text, its plan and what the allocator keeps come on top.
const RESIDENT_BYTES_MAX: u64 = 4 << 30;

pub fn run(arguments: &Arguments) -> Result {
    let binary = match &arguments.binary {
        Some(binary) => binary.clone(),
        None => demo::build()?,
    };
    let scratch = std::env::temp_dir().join(format!("quorate-shapes-{}", std::process::id()));
    let seed = arguments.seed.unwrap_or_else(rand::random);
    println!("seed {seed}; node in {}", scratch.display());
    let cluster = Cluster::start(&Options { binary: &binary, dir: &scratch, nodes: 1, base_port: None, flags: &["--sql-memory-bytes", SQL_MEMORY_BYTES] })?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().context("starting a thread")?;
    let faults = runtime.block_on(try_all(&cluster, arguments, seed))?;
    cluster.stop()?;
    if faults > 0 {
        return Err(Error::Checks { failed: faults });
    }
    fs::remove_dir_all(&scratch).context("removing the scratch folder")
}

async fn try_all(cluster: &Cluster, arguments: &Arguments, seed: u64) -> Result<usize> {
    let node = &cluster.nodes[0];
    let failed = |what: String| Error::Failed { command: what };
    let config = format!("host={} port={} user=postgres dbname=postgres", node.sql.ip(), node.sql.port());
    let mut probe = Probe::start(&config).await.map_err(failed)?;
    let began = Instant::now();
    let bar = ProgressBar::new(arguments.seconds);
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos} of {len} s, {msg}").expect("a valid template"));
    let shapes: Box<dyn Iterator<Item = Shape>> = match arguments.only {
        Some(number) => Box::new(Shapes::new(seed).skip(number.saturating_sub(1)).take(1)),
        None => Box::new(generate::known().into_iter().chain(Shapes::new(seed))),
    };
    let (mut faults, mut given, mut largest) = (0, 0, 0);
    for shape in shapes {
        if began.elapsed() > Duration::from_secs(arguments.seconds) {
            break;
        }
        let started = Instant::now();
        let mut fault = probe.give(&shape).await;
        given += 1;
        let resident = resident_bytes(node.pid()).unwrap_or(0);
        largest = largest.max(resident);
        if resident > RESIDENT_BYTES_MAX {
            fault.get_or_insert(format!("the server holds {} MiB", resident >> 20));
        }
        if let Some(fault) = fault {
            faults += 1;
            let head: String = shape.sql.chars().take(300).collect();
            bar.suspend(|| eprintln!("shapes: {}: {fault} (seed {seed}; {} bytes: {head} …)", shape.name, shape.sql.len()));
            let file = std::env::temp_dir().join(format!("quorate-shape-{faults}.sql"));
            fs::write(&file, &shape.sql).context("writing the statement")?;
            if resident_bytes(node.pid()).is_none() {
                return Err(failed(format!("the server has ended at \"{}\"; the statement is in {}", shape.name, file.display())));
            }
        }
        if started.elapsed() > Duration::from_secs(5) {
            bar.suspend(|| println!("{}: {:.1} s", shape.name, started.elapsed().as_secs_f64()));
        }
        bar.set_position(began.elapsed().as_secs());
        bar.set_message(format!("{given} statements, {} MiB", resident >> 20));
    }
    bar.finish_and_clear();
    println!(
        "{given} statements in {} s, {faults} faults; slowest {:.1} s, longest wait of others {:.2} s, at most {} MiB between statements",
        began.elapsed().as_secs(),
        probe.slowest.as_secs_f64(),
        probe.worst.as_secs_f64(),
        largest >> 20
    );
    Ok(faults)
}
