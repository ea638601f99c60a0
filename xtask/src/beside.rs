//! One statement on two servers right after each other: how long each took, and that both answer alike.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bench::postgres::Postgres;
use crate::cluster::{Cluster, Node, Options, cpu_seconds};
use crate::command::{Error, IoContext, Result, capture, find_program};
use crate::setup::POSTGRES_DIRS;
use crate::{demo, setup};

/// A server by its port and the processes whose CPU time is its.
pub struct Server {
    pub port: u16,
    pub pids: Vec<u32>,
}

/// A node and a PostgreSQL, both empty, for one command.
pub struct Pair {
    /// This database first.
    pub servers: [Server; 2],
    /// A folder for both, and for files of the command.
    pub scratch: PathBuf,
    cluster: Cluster,
    postgres: Postgres,
}

impl Pair {
    /// `binary` is run, or else one is built.
    ///
    /// # Errors
    /// Where one of them does not start.
    pub fn start(command: &str, binary: Option<&Path>) -> Result<Self> {
        setup::for_bench()?;
        let binary = binary.map_or_else(demo::build, |binary| Ok(binary.to_path_buf()))?;
        let scratch = std::env::temp_dir().join(format!("quorate-{command}-{}", std::process::id()));
        fs::create_dir_all(&scratch).context("creating the scratch folder")?;
        let options = Options { binary: &binary, dir: &scratch, nodes: 1, base_port: None, flags: &[] };
        let cluster = Cluster::start(&options)?;
        let postgres = Postgres::start(&scratch, 0)?;
        let servers = [
            Server { port: cluster.nodes[0].sql.port(), pids: cluster.nodes.iter().map(Node::pid).collect() },
            Server { port: postgres.port, pids: postgres.pids() },
        ];
        Ok(Self { servers, scratch, cluster, postgres })
    }

    /// Where this database answers about itself.
    pub fn http(&self) -> SocketAddr {
        self.cluster.nodes[0].http
    }

    /// Stops both and removes their folder.
    ///
    /// # Errors
    /// Where the node does not stop, or the folder stays.
    pub fn stop(self) -> Result {
        self.cluster.stop()?;
        drop(self.postgres);
        fs::remove_dir_all(&self.scratch).context("removing the scratch folder")
    }
}

/// What a statement cost: seconds on the clock, and of the server's CPU.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    pub seconds: f64,
    pub cpu: f64,
}

/// One step on both servers, of which another begins with each round.
///
/// # Errors
/// Where a server refuses it, or the two answer differently.
pub fn both(servers: &[Server; 2], round: usize, name: &str, sql: &str) -> Result<[Cost; 2]> {
    let mut costs = [Cost::default(); 2];
    let mut answers = [String::new(), String::new()];
    let order = if round.is_multiple_of(2) { [0, 1] } else { [1, 0] };
    for at in order {
        let before = cpu_seconds(&servers[at].pids);
        let (answer, seconds) = timed(&psql(servers[at].port, &["\\timing on", sql])?)?;
        answers[at] = answer;
        costs[at] = Cost { seconds, cpu: cpu_seconds(&servers[at].pids) - before };
    }
    let [ours, theirs] = answers;
    if ours != theirs {
        return Err(Error::Failed { command: format!("{name}: {ours:?} here, {theirs:?} there") });
    }
    Ok(costs)
}

/// What psql prints for the strings, one after the other in one session.
///
/// # Errors
/// Where one of them fails.
pub fn psql(port: u16, strings: &[&str]) -> Result<String> {
    let program = find_program("psql", POSTGRES_DIRS).unwrap_or_else(|| Path::new("psql").to_path_buf());
    let mut command = Command::new(program);
    command.args(["-h", "127.0.0.1", "-U", "postgres", "-p", &port.to_string(), "-X", "-A", "-t", "-q"]);
    command.args(["-v", "ON_ERROR_STOP=1", "postgres"]);
    capture(command.args(strings.iter().flat_map(|string| ["-c", string])))
}

/// Takes psql's line of the time from below an answer: `Time: 12.345 ms`, with more in brackets when it was long.
fn timed(printed: &str) -> Result<(String, f64)> {
    let (answer, time) = printed.trim_end().rsplit_once("Time: ").unwrap_or((printed, ""));
    let milliseconds = time.split_whitespace().next().and_then(|number| number.parse::<f64>().ok());
    let milliseconds = milliseconds.ok_or_else(|| Error::Failed { command: format!("psql printed no time: {printed:?}") })?;
    Ok((answer.to_owned(), milliseconds / 1_000.0))
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
