//! `cargo xtask catalogs`: what clients ask of the catalogs of a database with many tables, and changes of it.
//!
//! psql's `\d` of one table, its columns in the information schema, and SQLAlchemy's reflection of it: on a node that has
//! answered them before, and right after a change of the catalog. Another session's prepared statement is run between
//! changes of other tables, and the plans made again are counted. Then rounds of definitions, each statement right after the
//! same one on PostgreSQL. Memory is printed; what is above its bar fails.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use tokio_postgres::{Client, NoTls};

use crate::beside::{Pair, median};
use crate::clients;
use crate::cluster::resident_bytes;
use crate::command::{Error, IoContext, Result, find_program};
use crate::setup::POSTGRES_DIRS;

#[derive(clap::Args)]
pub struct Arguments {
    #[arg(long, default_value_t = 10_000)]
    tables: usize,
    /// How often each question is asked.
    #[arg(long, default_value_t = 21)]
    rounds: usize,
    /// Rounds of definitions beside PostgreSQL.
    #[arg(long, default_value_t = 1_000)]
    definitions: usize,
    /// Also reflect a table with SQLAlchemy, of the drivers that `cargo xtask clients` installs.
    #[arg(long)]
    reflect: bool,
    /// Run this binary instead of building one.
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// A question is answered within this, in the median.
const WARM_MS: f64 = 20.0;
const AFTER_DDL_MS: f64 = 200.0;
/// A definition takes at most so many times what it takes PostgreSQL, in the median.
const RATIO_MAX: f64 = 2.0;
/// Tables made in one transaction.
const BATCH: usize = 200;

pub fn run(arguments: &Arguments) -> Result {
    let reflecting = arguments.reflect.then(clients::install).transpose()?;
    let pair = Pair::start("catalogs", arguments.binary.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting a thread")?;
    let failed = runtime.block_on(measure(&pair, arguments, reflecting.as_deref()))?;
    pair.stop()?;
    if failed > 0 {
        return Err(Error::Checks { failed });
    }
    Ok(())
}

fn failed(error: &tokio_postgres::Error) -> Error {
    Error::Failed { command: error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string) }
}

async fn connect(port: u16) -> Result<Client> {
    let text = format!("host=127.0.0.1 port={port} user=postgres dbname=postgres");
    let (client, connection) = tokio_postgres::connect(&text, NoTls).await.map_err(|error| failed(&error))?;
    tokio::spawn(async move {
        // Ends with the client or the server; the client's next call tells of it.
        let _ended = connection.await;
    });
    Ok(client)
}

async fn execute(client: &Client, sql: &str) -> Result<Duration> {
    let began = Instant::now();
    client.batch_execute(sql).await.map_err(|error| failed(&error))?;
    Ok(began.elapsed())
}

async fn measure(pair: &Pair, arguments: &Arguments, reflecting: Option<&Path>) -> Result<usize> {
    let ours = &pair.servers[0];
    let client = connect(ours.port).await?;
    let memory = || resident_bytes(ours.pids[0]).unwrap_or(0) >> 20;
    let empty = memory();
    let began = Instant::now();
    for from in (0..arguments.tables).step_by(BATCH) {
        let tables = (from..arguments.tables.min(from + BATCH)).map(definition).collect::<String>();
        execute(&client, &format!("BEGIN; {tables} COMMIT")).await?;
    }
    println!("{} tables of 10 columns in {:.1} s", arguments.tables, began.elapsed().as_secs_f64());
    println!("memory: {empty} MiB before, {} MiB after", memory());
    let mut failures = 0;
    failures += questions(pair, arguments, reflecting, &client).await?;
    println!("memory: {} MiB after the questions", memory());
    failures += replans(pair, arguments, &client).await?;
    failures += definitions(pair, arguments).await?;
    println!("memory: {} MiB at the end", memory());
    Ok(failures)
}

fn definition(number: usize) -> String {
    format!(
        "CREATE TABLE t{number} (id int PRIMARY KEY, a text NOT NULL DEFAULT 'x', b int, c bigint, d numeric(10,2),
             e timestamptz, f boolean, g varchar(20), h date, i jsonb);"
    )
}

/// A program that is given a line and answers with one when it is done.
struct Asked {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Asked {
    fn start(command: &mut Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("starting a client")?;
        let input = child.stdin.take().expect("its input is piped");
        let output = BufReader::new(child.stdout.take().expect("its output is piped"));
        Ok(Self { child, input, output })
    }

    /// How long until the answer, of which `is_last` is the last line.
    fn ask(&mut self, question: &str, is_last: &dyn Fn(&str) -> bool) -> Result<f64> {
        let began = Instant::now();
        writeln!(self.input, "{question}").context("asking a client")?;
        let mut line = String::new();
        loop {
            line.clear();
            if self.output.read_line(&mut line).context("reading from a client")? == 0 {
                return Err(Error::Failed { command: "a client ended".to_owned() });
            }
            if is_last(line.trim_end()) {
                return Ok(began.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        // Both fail only when the process is gone already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is asked of one table, warm and right after a change of the catalog.
async fn questions(pair: &Pair, arguments: &Arguments, reflecting: Option<&Path>, client: &Client) -> Result<usize> {
    let port = pair.servers[0].port.to_string();
    let program = find_program("psql", POSTGRES_DIRS).unwrap_or_else(|| Path::new("psql").to_path_buf());
    let mut command = Command::new(program);
    let mut psql = Asked::start(command.args(["-X", "-q", "-h", "127.0.0.1", "-p", &port, "-U", "postgres", "postgres"]))?;
    let mut alchemy = match reflecting {
        None => None,
        Some(home) => {
            let mut command = Command::new(home.join("venv/bin/python"));
            command.arg(home.join("reflection.py")).env("PGHOST", "127.0.0.1").env("PGPORT", &port);
            Some(Asked::start(&mut command)?)
        }
    };
    let mut failures = 0;
    let (mut warm, mut after) = ([const { Vec::new() }; 3], [const { Vec::new() }; 3]);
    for round in 0..=arguments.rounds {
        let table = format!("t{}", (round * 37) % arguments.tables);
        for (changes, times) in [(false, &mut warm), (true, &mut after)] {
            for (kind, times) in times.iter_mut().enumerate() {
                if changes {
                    execute(client, &format!("CREATE TABLE made_{round}_{kind} (a int)")).await?;
                }
                let time = match (kind, &mut alchemy) {
                    (0, _) => psql.ask(&format!("\\d {table}\n\\echo done."), &|line| line == "done.")?,
                    (1, _) => {
                        let query = format!("SELECT * FROM information_schema.columns WHERE table_name = '{table}'");
                        execute(client, &query).await?.as_secs_f64() * 1e3
                    }
                    (_, Some(alchemy)) => alchemy.ask(&table, &|_| true)?,
                    (_, None) => continue,
                };
                // The first round makes the node warm.
                if round > 0 {
                    times.push(time);
                }
            }
        }
    }
    for (kind, name) in ["psql \\d", "information_schema.columns", "SQLAlchemy"].into_iter().enumerate() {
        for (times, when, bar) in [(&warm, "warm", WARM_MS), (&after, "after DDL", AFTER_DDL_MS)] {
            if times[kind].is_empty() {
                continue;
            }
            let worst = times[kind].iter().copied().fold(0.0, f64::max);
            let median = median(times[kind].clone());
            let verdict = if median <= bar { "" } else { "  TOO SLOW" };
            println!("{name:<28} {when:<10} median {median:7.2} ms, worst {worst:7.2} ms, bar {bar} ms{verdict}");
            failures += usize::from(median > bar);
        }
    }
    Ok(failures)
}

/// The plans that the node has made again.
fn replanned(http: SocketAddr) -> Result<u64> {
    let mut stream = TcpStream::connect(http).context("asking for metrics")?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").context("asking for metrics")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("reading metrics")?;
    let line = answer.lines().find(|line| !line.starts_with('#') && line.contains("sql_plan_cache_replans"));
    let value = line.and_then(|line| line.rsplit(' ').next()?.trim().parse().ok());
    value.ok_or_else(|| Error::Failed { command: "reading sql_plan_cache_replans".to_owned() })
}

async fn replans(pair: &Pair, arguments: &Arguments, client: &Client) -> Result<usize> {
    let http = pair.http();
    let other = connect(pair.servers[0].port).await?;
    let statement = other.prepare("SELECT a FROM t1 WHERE id = $1").await.map_err(|error| failed(&error))?;
    let run = async || other.query(&statement, &[&1]).await.map_err(|error| failed(&error));
    run().await?;
    let before = replanned(http)?;
    for round in 0..arguments.rounds {
        execute(client, &format!("ALTER TABLE t2 ADD COLUMN more_{round} int")).await?;
        run().await?;
    }
    let made = replanned(http)? - before;
    println!("plans made again for {} changes of another table: {made}", arguments.rounds);
    Ok(usize::from(made > 0))
}

/// Definitions of one round.
const STEPS: [(&str, &str); 6] = [
    ("CREATE TABLE", "CREATE TABLE d (id serial PRIMARY KEY, u int UNIQUE, p int REFERENCES parent, note text DEFAULT 'x')"),
    ("ALTER TABLE", "ALTER TABLE d ADD COLUMN more int DEFAULT 3"),
    ("CREATE INDEX", "CREATE INDEX d_note ON d (note)"),
    ("INSERT", "INSERT INTO d (u, p) VALUES (1, 1)"),
    ("TRUNCATE", "TRUNCATE d"),
    ("DROP TABLE", "DROP TABLE d"),
];

async fn definitions(pair: &Pair, arguments: &Arguments) -> Result<usize> {
    if arguments.definitions == 0 {
        return Ok(0);
    }
    let clients = [connect(pair.servers[0].port).await?, connect(pair.servers[1].port).await?];
    for client in &clients {
        execute(client, "CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent VALUES (1)").await?;
    }
    let mut times = [const { [Vec::new(), Vec::new()] }; STEPS.len()];
    for round in 0..arguments.definitions {
        for ((_, sql), times) in STEPS.iter().zip(&mut times) {
            for at in [round % 2, (round + 1) % 2] {
                times[at].push(execute(&clients[at], sql).await?.as_secs_f64() * 1e3);
            }
        }
    }
    let mut failures = 0;
    let mut whole = [0.0, 0.0];
    for ((name, _), [ours, theirs]) in STEPS.iter().zip(times) {
        let (ours, theirs) = (median(ours), median(theirs));
        whole = [whole[0] + ours, whole[1] + theirs];
        let verdict = if ours <= theirs * RATIO_MAX { "" } else { "  TOO SLOW" };
        println!("{name:<14} median {ours:7.2} ms, PostgreSQL {theirs:7.2} ms, {:.2} times{verdict}", ours / theirs);
        failures += usize::from(ours > theirs * RATIO_MAX);
    }
    println!("a round        {:14.2} ms, PostgreSQL {:7.2} ms, {:.2} times", whole[0], whole[1], whole[0] / whole[1]);
    Ok(failures)
}
