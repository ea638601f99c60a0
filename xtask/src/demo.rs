//! `cargo xtask demo`: from a fresh clone to three nodes with a sample database and a psql line to paste.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use crate::cluster::{Cluster, Node, Options};
use crate::command::{Error, IoContext, Result, cache_dir, cargo, run, target_dir};
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

const GREETING_WITHIN: Duration = Duration::from_secs(10);

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

fn run_psql(conninfo: &str, sql: &str) -> Result<String> {
    let mut psql = Command::new("psql");
    psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", conninfo, "-c", sql]);
    crate::command::capture(&mut psql)
}

/// Makes the certificates of the cluster and of its superuser.
fn make_certs(binary: &Path, certs: &Path) -> Result {
    let made = [&["create-ca"][..], &["create-node", "localhost", "127.0.0.1"], &["create-client", "postgres"]];
    for arguments in made {
        let mut command = Command::new(binary);
        command.arg("cert").args(arguments).arg("--certs-dir").arg(certs).stdout(Stdio::null());
        run(&mut command)?;
    }
    Ok(())
}

/// How psql connects to a node as the superuser: what the node itself says once it serves.
fn conninfo(node: &Node) -> Result<String> {
    let started = Instant::now();
    while started.elapsed() < GREETING_WITHIN {
        let log = std::fs::read_to_string(node.log()).context("reading a node's log")?;
        if let Some(said) = log.lines().filter_map(|line| line.strip_prefix("  sql   psql ")).next_back() {
            return Ok(said.trim_matches('"').to_owned());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Err(Error::Failed { command: "looking for the psql line of a node".into() })
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
    let certs = dir.join("certs");
    make_certs(&binary, &certs)?;
    let shown = certs.display().to_string();
    let flags = ["--certs-dir", &shown];
    let started = Instant::now();
    let (nodes, base_port) = (arguments.nodes, Some(arguments.port));
    let cluster = Cluster::start(&Options { binary: &binary, dir: &dir, nodes, base_port, flags: &flags })?;
    println!("{} nodes are up after {:.2} s", cluster.nodes.len(), started.elapsed().as_secs_f64());
    run_psql(&conninfo(&cluster.nodes[0])?, SAMPLE)?;
    println!("\nThe table \"planets\" is there. Connect to any node:\n");
    for node in &cluster.nodes {
        println!("    psql \"{}\"\n        http://{}/status", conninfo(node)?, node.http);
    }
    let last = &cluster.nodes[cluster.nodes.len() - 1];
    let most = "SELECT name, moons FROM planets ORDER BY moons DESC LIMIT 3";
    println!("\n{}", run_psql(&conninfo(last)?, most)?);
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
