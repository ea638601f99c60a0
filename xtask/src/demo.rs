//! `cargo xtask demo`: from a fresh clone to three nodes with a sample database and a psql line to paste.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Instant;

use tokio::signal::unix::{SignalKind, signal};

use crate::cluster::{Cluster, Options};
use crate::command::{IoContext, Result, cache_dir, cargo, run, target_dir};
use crate::{rocksdb, setup};

#[derive(clap::Args)]
pub struct Arguments {
    /// How many nodes to start.
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// SQL port of the first node; the others follow, RPC ports lie 2000 higher, HTTP ports 3000.
    #[arg(long, default_value_t = 5433)]
    port: u16,
    /// Start, load the sample, and stop again.
    #[arg(long)]
    once: bool,
    /// Run this binary instead of building one.
    #[arg(long)]
    binary: Option<PathBuf>,
}

const SAMPLE: &str = "
CREATE TABLE IF NOT EXISTS planets (
    id int PRIMARY KEY, name text NOT NULL UNIQUE, radius_km numeric NOT NULL, moons int NOT NULL);
INSERT INTO planets VALUES
    (1, 'Mercury', 2439.7, 0), (2, 'Venus', 6051.8, 0), (3, 'Earth', 6371.0, 1), (4, 'Mars', 3389.5, 2),
    (5, 'Jupiter', 69911, 95), (6, 'Saturn', 58232, 146), (7, 'Uranus', 25362, 28), (8, 'Neptune', 24622, 16)
    ON CONFLICT DO NOTHING;
";

/// Builds the release binary; prepares what that needs.
pub fn build() -> Result<PathBuf> {
    setup::for_build()?;
    rocksdb::ensure()?;
    println!("Building quorate …");
    run(cargo().args(["build", "--release", "--package", "quorate"]))?;
    Ok(target_dir().join("release/quorate"))
}

pub fn run_psql(address: &std::net::SocketAddr, sql: &str) -> Result<String> {
    let mut psql = Command::new("psql");
    psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", "postgres", "-h"]);
    psql.arg(address.ip().to_string()).args(["-p", &address.port().to_string(), "-c", sql]);
    crate::command::capture(&mut psql)
}

pub fn run_at(dir: &Path, binary: &Path, arguments: &Arguments) -> Result<Cluster> {
    let started = Instant::now();
    let options = Options { binary, dir, nodes: arguments.nodes, base_port: Some(arguments.port), flags: &[] };
    let cluster = Cluster::start(&options)?;
    println!("{} nodes are up after {:.2} s", cluster.nodes.len(), started.elapsed().as_secs_f64());
    run_psql(&cluster.nodes[0].sql, SAMPLE)?;
    Ok(cluster)
}

pub fn run_demo(arguments: &Arguments) -> Result {
    let binary = match &arguments.binary {
        Some(binary) => binary.clone(),
        None => build()?,
    };
    let dir = cache_dir().join("demo");
    if dir.exists() {
        std::fs::remove_dir_all(&dir).context("removing the last demo")?;
    }
    let cluster = run_at(&dir, &binary, arguments)?;
    println!("\nThe table \"planets\" is there. Connect to any node:\n");
    for node in &cluster.nodes {
        println!("    psql -h {} -p {} -U postgres postgres        http://{}/status", node.sql.ip(), node.sql.port(), node.http);
    }
    println!("\n{}", run_psql(&cluster.nodes[cluster.nodes.len() - 1].sql, "SELECT name, moons FROM planets ORDER BY moons DESC LIMIT 3")?);
    if !arguments.once {
        println!("Ctrl-C (or Enter) stops the nodes; their data is in {}.", dir.display());
        wait_for_the_end()?;
        println!("Stopping …");
    }
    cluster.stop()
}

/// Returns at Ctrl-C, at SIGTERM, or at a line of input; the end of the input (no terminal) means nothing.
///
/// A terminal's Ctrl-C reaches the nodes as well, and they drain at once: [`Cluster::stop`] then only waits.
fn wait_for_the_end() -> Result {
    let (enter, entered) = tokio::sync::oneshot::channel();
    thread::spawn(move || {
        let mut line = String::new();
        if matches!(std::io::stdin().read_line(&mut line), Ok(length) if length > 0) {
            // Nobody waits any more once a signal has come.
            let _ = enter.send(());
        } else {
            // Kept, so that the receiver goes on waiting.
            std::mem::forget(enter);
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("waiting for signals")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("waiting for signals")?;
        tokio::select! {
            outcome = tokio::signal::ctrl_c() => outcome.context("waiting for Ctrl-C"),
            _ = terminate.recv() => Ok(()),
            _ = entered => Ok(()),
        }
    })
}
