//! `quorate workload`: runs a workload against any server that speaks PostgreSQL's protocol, and judges what its clients saw.

use std::{
    fs::File,
    io::{BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use checkers::{Event, Verdict, judges, verdict::Ending};
use workload::{Failure, Kind, Mix, Options, schema, session};

use crate::complain;

#[derive(clap::Subcommand)]
pub enum Command {
    /// Run clients for a while, and say what was wrong with what they saw: exit code 0 when nothing was, 1 otherwise.
    Run(Run),
    /// Judge a history that a run wrote down.
    Check {
        /// What --history wrote.
        file: PathBuf,
    },
}

#[derive(clap::Args)]
pub struct Run {
    /// What clients do.
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(Kind::NAMES))]
    kind: String,
    /// postgres://USER@HOST:PORT/DATABASE; several are used in turn.
    #[arg(long, required = true)]
    url: Vec<String>,
    /// How long clients work: 60s, 5m, 1h.
    #[arg(long, default_value = "60s", value_parser = parse_duration)]
    duration: Duration,
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=2000))]
    clients: u16,
    /// The same seed draws the same operations; when they meet is the machine's choice.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// serializable, repeatable-read or read-committed: what is promised there is less, and anomalies may be meant.
    #[arg(long, default_value = "serializable", value_parser = parse_isolation)]
    isolation: &'static str,
    /// Of ycsb: the mix, A to F.
    #[arg(long, default_value_t = 'A')]
    mix: char,
    /// Record what clients see, and judge it at the end.
    #[arg(long)]
    check: bool,
    /// Write the history down, a JSON object a line, for `quorate workload check`.
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// Remove the schema `workload` at the end. It is kept otherwise, to be looked at, and replaced by the next run.
    #[arg(long)]
    drop: bool,
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let (digits, unit) = text.split_at(text.find(|it: char| !it.is_ascii_digit()).unwrap_or(text.len()));
    let seconds = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err("a number of seconds, or one followed by s, m or h".into()),
    };
    let count: u64 = digits.parse().map_err(|_| "no number".to_owned())?;
    count.checked_mul(seconds).map(Duration::from_secs).ok_or_else(|| "too long".into())
}

fn parse_isolation(text: &str) -> Result<&'static str, String> {
    match text.to_ascii_lowercase().replace([' ', '_'], "-").as_str() {
        "serializable" => Ok("SERIALIZABLE"),
        "repeatable-read" => Ok("REPEATABLE READ"),
        "read-committed" => Ok("READ COMMITTED"),
        _ => Err("serializable, repeatable-read or read-committed".into()),
    }
}

pub async fn run(command: Command) -> ExitCode {
    let outcome = match command {
        Command::Run(arguments) => run_one(arguments).await,
        Command::Check { file } => check(&file).map(Some),
    };
    match outcome {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(verdict)) => {
            println!("{verdict}");
            match verdict.ending() {
                Ending::Holds => ExitCode::SUCCESS,
                Ending::Broken | Ending::Undecided => ExitCode::FAILURE,
            }
        }
        Err(failure) => complain(&failure.to_string()),
    }
}

fn outside(what: impl std::fmt::Display) -> Failure {
    Failure::Outside(what.to_string())
}

async fn run_one(arguments: Run) -> Result<Option<Verdict>, Failure> {
    let Run { kind, url, duration, clients, seed, isolation, mix, check, history, drop } = arguments;
    let mix = Mix::of(mix).ok_or_else(|| outside("--mix is a letter from A to F"))?;
    let kind = Kind::of(&kind, mix).ok_or_else(|| outside("no such workload"))?;
    let servers = url.iter().map(|url| url.parse().map_err(|error| outside(format!("{url}: {error}"))));
    let servers: Vec<tokio_postgres::Config> = servers.collect::<Result<_, _>>()?;
    let history: Option<Box<dyn Write + Send>> = match history {
        Some(_) if kind.judge().is_none() => return Err(outside("tpcc writes no history: its tables are judged")),
        Some(path) => {
            let file = File::create(&path).map_err(|error| outside(format!("{}: {error}", path.display())))?;
            Some(Box::new(BufWriter::new(file)))
        }
        None => None,
    };
    let last_word = servers.clone();
    let options =
        Options { kind, servers, duration, clients: clients.into(), seed, isolation, check, history };
    let finished = workload::run(options, &mut |line| println!("{line}")).await?;
    let (mut figures, seconds) = (finished.figures, finished.took.as_secs_f64());
    println!("total   {}", figures.line(seconds));
    if drop {
        let mut removed = Err(outside("no server was named"));
        for server in &last_word {
            removed = async { schema::drop_ours(&session::connect(server).await?).await }.await;
            if removed.is_ok() {
                break;
            }
        }
        removed?;
    }
    if figures.done == 0 {
        return Err(outside("no operation succeeded: nothing was shown"));
    }
    Ok(finished.verdict)
}

fn check(path: &Path) -> Result<Verdict, Failure> {
    let shown = path.display();
    let file = File::open(path).map_err(|error| outside(format!("{shown}: {error}")))?;
    let (mut judge, mut events) = (None, Vec::new());
    for (at, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(|error| outside(format!("{shown}: {error}")))?;
        let wrong = |what: &dyn std::fmt::Display| outside(format!("{shown}, line {}: {what}", at + 1));
        let value = serde_json::from_str(&line).map_err(|error| wrong(&error))?;
        match judge {
            None => {
                let header = judges::Workload::of_value(&value);
                judge = Some(header.ok_or_else(|| wrong(&"the name of a workload is missing"))?);
            }
            Some(_) => events.extend(Event::of_value(at, &value).map_err(|malformed| wrong(&malformed))?),
        }
    }
    let judge = judge.ok_or_else(|| outside(format!("{shown}: no history")))?;
    judge.judge(&events).map_err(|malformed| outside(format!("{shown}: {malformed}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_levels() {
        assert_eq!(parse_duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("5m"), Ok(Duration::from_secs(300)));
        assert!(parse_duration("5x").is_err() && parse_duration("s").is_err());
        assert_eq!(parse_isolation("Read Committed"), Ok("READ COMMITTED"));
        assert!(parse_isolation("chaos").is_err());
    }
}
