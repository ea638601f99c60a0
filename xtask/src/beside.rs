//! One statement on two servers right after each other: how long each took, and that both answer alike.

use std::path::Path;
use std::process::Command;

use crate::cluster::cpu_seconds;
use crate::command::{Error, Result, capture, find_program};
use crate::setup::POSTGRES_DIRS;

/// A server by its port and the processes whose CPU time is its.
pub struct Server {
    pub port: u16,
    pub pids: Vec<u32>,
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
