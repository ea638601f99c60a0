//! One file: its database, its records in order, and the count of what came of them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fmt, fs, io};

use indicatif::ProgressBar;
use sqllogictest::{Condition, DefaultColumnType, ExpectedError, QueryExpect, Record, StatementExpect};
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

use crate::expected::{KnownLines, format_value, matches, sort_values};

/// Why a file could not be run at all.
#[derive(Debug)]
pub enum Error {
    Io { path: PathBuf, source: io::Error },
    Parse { path: PathBuf, message: String },
    Connection { server: String, message: String },
}

impl Error {
    pub fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_path_buf(), source }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Parse { path, message } => write!(f, "{}: {message}", path.display()),
            Self::Connection { server, message } => write!(f, "{server}: {message}"),
        }
    }
}

/// What came of the records, and the time their statements took.
#[derive(Default, Clone)]
pub struct Tally {
    pub passed: u64,
    pub failed: u64,
    /// For other engines, by the file's own conditions.
    pub other_engine: u64,
    /// Failed, as on PostgreSQL.
    pub known: u64,
    pub busy: Duration,
    /// Lines of the records that failed.
    pub failed_lines: Vec<u32>,
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.other_engine += other.other_engine;
        self.known += other.known;
        self.busy += other.busy;
    }

    pub fn ran(&self) -> u64 {
        self.passed + self.failed + self.known
    }

    /// Records by the second, as one client sees it.
    pub fn rate(&self) -> f64 {
        self.ran() as f64 / self.busy.as_secs_f64().max(1e-9)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, other_engine, known, .. } = self;
        write!(f, "passed {passed}, failed {failed}, fails on PostgreSQL too {known}, for other engines {other_engine}")
    }
}

pub struct Options<'a> {
    pub server: &'a str,
    pub user: &'a str,
    pub database: &'a str,
    pub known: &'a KnownLines,
    pub show: usize,
    pub failures_max: usize,
    pub setup: Option<&'a str>,
}

/// A longer statement is cut in a report.
const SQL_CHARS_SHOWN: usize = 2000;

/// Prints a line above the bar; without a terminal there is none.
pub fn say(bar: &ProgressBar, line: &str) {
    if bar.is_hidden() { println!("{line}") } else { bar.println(line) }
}

/// Adds `path`, or the test files below it.
pub fn collect(path: &Path, found: &mut Vec<PathBuf>) -> Result<(), Error> {
    if path.is_file() {
        found.push(path.to_path_buf());
        return Ok(());
    }
    for entry in fs::read_dir(path).map_err(|source| Error::io(path, source))? {
        let entry = entry.map_err(|source| Error::io(path, source))?.path();
        let is_test = entry.extension().is_some_and(|extension| extension == "test" || extension == "slt");
        if entry.is_dir() || is_test {
            collect(&entry, found)?;
        }
    }
    Ok(())
}

/// Runs a file in a database made for it, which is dropped afterwards.
pub async fn run(path: &Path, options: &Options<'_>, bar: &ProgressBar) -> Result<Tally, Error> {
    let records = parse(path)?;
    let admin = connect(options, "postgres").await?;
    let database = options.database;
    for statement in [format!("DROP DATABASE IF EXISTS {database}"), format!("CREATE DATABASE {database}")] {
        admin.simple_query(&statement).await.map_err(|error| connection_error(options, &error))?;
    }
    let client = connect(options, database).await?;
    if let Some(setup) = options.setup {
        client.simple_query(setup).await.map_err(|error| connection_error(options, &error))?;
    }
    let mut run = Run { client, options, bar, path, tally: Tally::default() };
    let bytes = size(path)?;
    let mut shown = 0;
    for (position, record) in records.iter().enumerate() {
        if matches!(record, Record::Halt { .. }) {
            break;
        }
        run.record(record).await;
        if run.client.is_closed() {
            say(bar, &format!("{}: the server closed the connection", path.display()));
            run.client = connect(options, database).await?;
        }
        if run.tally.failed as usize >= options.failures_max {
            break;
        }
        let reached = bytes * position as u64 / records.len() as u64;
        bar.inc(reached - shown);
        shown = reached;
    }
    bar.inc(bytes - shown);
    drop(run.client);
    admin
        .simple_query(&format!("DROP DATABASE IF EXISTS {database}"))
        .await
        .map_err(|error| connection_error(options, &error))?;
    Ok(run.tally)
}

/// How far a bar goes for this file.
pub fn size(path: &Path) -> Result<u64, Error> {
    Ok(fs::metadata(path).map_err(|source| Error::io(path, source))?.len())
}

/// What the files call an engine like ours.
const ENGINE: &str = "postgresql";

fn parse(path: &Path) -> Result<Vec<Record<DefaultColumnType>>, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::io(path, source))?;
    // SQLite's files end some conditions with a comment, which the parser does not take.
    let mut lines: Vec<&str> = text
        .lines()
        .map(|line| match line.split_once('#') {
            Some((condition, _)) if is_condition(line) => condition.trim_end(),
            _ => line.trim_end_matches('\r'),
        })
        .collect();
    drop_halts_of_others(&mut lines);
    sqllogictest::parse(&lines.join("\n"))
        .map_err(|error| Error::Parse { path: path.to_path_buf(), message: error.to_string() })
}

fn is_condition(line: &str) -> bool {
    line.starts_with("onlyif") || line.starts_with("skipif")
}

/// Blanks the halts that are for other engines, with their conditions: the parser gives those to the next record, which
/// would be left out for them.
fn drop_halts_of_others(lines: &mut [&str]) {
    for at in 0..lines.len() {
        if lines[at] != "halt" {
            continue;
        }
        let first = lines[..at].iter().rposition(|line| !is_condition(line)).map_or(0, |before| before + 1);
        let is_ours = lines[first..at].iter().all(|line| match line.split_once(' ') {
            Some(("onlyif", label)) => label.trim() == ENGINE,
            Some((_, label)) => label.trim() != ENGINE,
            None => true,
        });
        if !is_ours {
            lines[first..=at].fill("");
        }
    }
}

/// Where a record begins: its conditions stand a line each above the line that the parser calls its own. The list of
/// known failures counts from there.
fn first_line(line: u32, conditions: &[Condition]) -> u32 {
    line - conditions.len() as u32
}

async fn connect(options: &Options<'_>, database: &str) -> Result<Client, Error> {
    let (host, port) = options.server.rsplit_once(':').unwrap_or((options.server, "5432"));
    let mut config = Config::new();
    config.host(host).port(port.parse().unwrap_or(5432)).user(options.user).dbname(database);
    let (client, connection) = config.connect(NoTls).await.map_err(|error| connection_error(options, &error))?;
    tokio::spawn(async move {
        // The client sees the same error as the answer to its query.
        let _ = connection.await;
    });
    Ok(client)
}

fn describe(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => {
            let detail = db.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
            format!("{}: {}{detail}", db.code().code(), db.message())
        }
        None => error.to_string(),
    }
}

fn connection_error(options: &Options<'_>, error: &tokio_postgres::Error) -> Error {
    Error::Connection { server: options.server.to_owned(), message: describe(error) }
}

struct Run<'a> {
    client: Client,
    options: &'a Options<'a>,
    bar: &'a ProgressBar,
    path: &'a Path,
    tally: Tally,
}

impl Run<'_> {
    async fn record(&mut self, record: &Record<DefaultColumnType>) {
        match record {
            Record::Statement { loc, conditions, sql, expected, .. } => {
                if self.is_for_others(conditions) {
                    return;
                }
                let started = Instant::now();
                let outcome = self.statement(sql, expected).await;
                self.count(first_line(loc.line(), conditions), sql, started, outcome);
            }
            Record::Query { loc, conditions, sql, expected, .. } => {
                if self.is_for_others(conditions) {
                    return;
                }
                let started = Instant::now();
                let outcome = self.query(sql, expected).await;
                self.count(first_line(loc.line(), conditions), sql, started, outcome);
            }
            _ => {}
        }
    }

    fn is_for_others(&mut self, conditions: &[Condition]) -> bool {
        let others = conditions.iter().any(|condition| match condition {
            Condition::OnlyIf { label } => label != ENGINE,
            Condition::SkipIf { label } => label == ENGINE,
        });
        self.tally.other_engine += u64::from(others);
        others
    }

    fn count(&mut self, line: u32, sql: &str, started: Instant, outcome: Result<(), String>) {
        self.tally.busy += started.elapsed();
        if outcome.is_err() {
            self.tally.failed_lines.push(line);
        }
        match outcome {
            Ok(()) => self.tally.passed += 1,
            Err(_) if self.options.known.contains(&line) => self.tally.known += 1,
            Err(message) => {
                self.tally.failed += 1;
                if self.tally.failed as usize <= self.options.show {
                    let shown: String = sql.chars().take(SQL_CHARS_SHOWN).collect();
                    say(self.bar, &format!("FAILED {}:{line}\n  {}\n  {message}", self.path.display(), shown.replace('\n', "\n  ")));
                }
            }
        }
    }

    async fn statement(&self, sql: &str, expected: &StatementExpect) -> Result<(), String> {
        let outcome = self.client.simple_query(sql).await;
        match (outcome, expected) {
            (Ok(_), StatementExpect::Ok) => Ok(()),
            (Err(error), StatementExpect::Error(wanted)) => check_error(&error, wanted),
            (Ok(messages), StatementExpect::Count(wanted)) => {
                let count = messages.iter().find_map(|message| match message {
                    SimpleQueryMessage::CommandComplete(count) => Some(*count),
                    _ => None,
                });
                if count == Some(*wanted) { Ok(()) } else { Err(format!("{wanted} rows expected, got {count:?}")) }
            }
            (Ok(_), StatementExpect::Error(_)) => Err("an error was expected".to_owned()),
            (Err(error), StatementExpect::Ok | StatementExpect::Count(_)) => Err(describe(&error)),
        }
    }

    async fn query(&self, sql: &str, expected: &QueryExpect<DefaultColumnType>) -> Result<(), String> {
        let outcome = self.client.simple_query(sql).await;
        match (outcome, expected) {
            (Err(error), QueryExpect::Error(wanted)) => check_error(&error, wanted),
            (Ok(_), QueryExpect::Error(_)) => Err("an error was expected".to_owned()),
            (Err(error), QueryExpect::Results { .. }) => Err(describe(&error)),
            (Ok(messages), QueryExpect::Results { types, sort_mode, results, .. }) => {
                let rows: Vec<Vec<String>> = messages
                    .iter()
                    .filter_map(|message| match message {
                        SimpleQueryMessage::Row(row) => Some(row),
                        _ => None,
                    })
                    .map(|row| (0..row.len()).map(|column| format_value(row.get(column), types.get(column))).collect())
                    .collect();
                if rows.first().is_some_and(|row| row.len() != types.len()) {
                    return Err(format!("{} columns expected, got {}", types.len(), rows[0].len()));
                }
                let values = sort_values(rows, *sort_mode);
                if matches(&values, results) {
                    return Ok(());
                }
                let shown = |lines: &[String]| lines.iter().take(12).cloned().collect::<Vec<_>>().join(" | ");
                Err(format!("expected {}\n  got      {}", shown(results), shown(&values)))
            }
        }
    }
}

/// An error where one is expected: any, or one of this SQLSTATE or text.
fn check_error(error: &tokio_postgres::Error, wanted: &ExpectedError) -> Result<(), String> {
    let state = error.code().map(tokio_postgres::error::SqlState::code);
    let found = describe(error);
    if wanted.is_match(&found, state) { Ok(()) } else { Err(format!("expected {wanted:?}\n  got      {found}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_halt_for_others_leaves_the_next_record_alone() {
        let mut lines = vec!["onlyif mssql", "halt", "", "statement ok", "select 1", "", "skipif mysql", "halt"];
        drop_halts_of_others(&mut lines);
        assert_eq!(lines, ["", "", "", "statement ok", "select 1", "", "skipif mysql", "halt"]);
    }

    #[test]
    fn a_record_begins_with_its_conditions() {
        let text = "statement ok\nselect 1\n\nskipif mysql\nskipif mssql\nstatement ok\nselect 2\n";
        let records: Vec<Record<DefaultColumnType>> = sqllogictest::parse(text).unwrap();
        let lines: Vec<u32> = records
            .iter()
            .filter_map(|record| match record {
                Record::Statement { loc, conditions, .. } => Some(first_line(loc.line(), conditions)),
                _ => None,
            })
            .collect();
        assert_eq!(lines, [1, 4]);
    }
}
