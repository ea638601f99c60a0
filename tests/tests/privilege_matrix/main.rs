//! Every kind of statement without and with each privilege that it needs, against what PostgreSQL 15 says.
//!
//! `recorded.txt` has PostgreSQL's messages. `RECORD_FROM="host=… user=…"` writes it anew from a server there, whose user
//! is a superuser:
//!
//! ```text
//!  RECORD_FROM="host=127.0.0.1 port=5432 user=postgres" cargo nextest run -p quorate-tests --test privilege_matrix
//! ```

mod cases;

use std::{collections::BTreeSet, fmt::Write as _, ops::Range, path::Path, sync::Arc};

use catalog::CatalogStore;
use cases::{BEFORE_ALL, Case, FIXTURE, How, RENEW, all, kind_of};
use futures::future::BoxFuture;
use server::{KvNode, NodeConfig};
use session::{Completion, Ending, Engine, Session, Severity, Sink};
use types::{Batch, Formatting, SqlError, SqlResult};

const BECOME_USER: &str = "SET SESSION AUTHORIZATION mx_user";
const BECOME_SELF: &str = "RESET SESSION AUTHORIZATION";

/// How a statement ended: nothing where it is good, otherwise code and message.
type Outcome = Option<String>;

trait Server {
    fn run<'a>(&'a mut self, sql: &'a str) -> BoxFuture<'a, Outcome>;
}

/// Takes an answer and forgets it.
struct Nowhere;

impl Sink for Nowhere {
    fn rows(&mut self, _batch: &Batch, rows: Range<usize>, _formatting: &Formatting) -> SqlResult<usize> {
        Ok(rows.end)
    }

    fn notice(&mut self, _severity: Severity, _notice: SqlError) {}

    fn rewind(&mut self, _mark: u64) -> bool {
        true
    }
}

fn shown(error: &SqlError) -> String {
    let fields = error.clone().into_fields();
    format!("{} {}", error.code().code(), fields.message)
}

impl Server for Session {
    fn run<'a>(&'a mut self, sql: &'a str) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let statements = match self.read(sql, &[]) {
                Ok(statements) => statements,
                Err(error) => return Some(shown(&self.fail(error).await)),
            };
            for statement in statements {
                match Session::run(self, &statement, &mut Nowhere, Ending::WithStatement).await {
                    Ok(Completion::CopyIn(mut copy)) => {
                        if let Err(error) = self.copy_done(&mut copy).await {
                            return Some(shown(&error));
                        }
                    }
                    Ok(_) => {}
                    Err(error) => return Some(shown(&error)),
                }
            }
            None
        })
    }
}

/// A client of the server that is recorded.
struct Recorded {
    client: tokio_postgres::Client,
    address: String,
}

impl Recorded {
    async fn connect(address: &str) -> Self {
        let (client, connection) = tokio_postgres::connect(address, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        Self { client, address: address.to_owned() }
    }
}

impl Server for Recorded {
    fn run<'a>(&'a mut self, sql: &'a str) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let outcome = if sql.ends_with("FROM STDIN") {
                match self.client.copy_in::<_, &'static [u8]>(sql).await {
                    Ok(sink) => {
                        let mut sink = Box::pin(sink);
                        sink.as_mut().finish().await.map(drop)
                    }
                    Err(error) => {
                        // The driver and the server disagree then on what was answered.
                        self.client = Self::connect(&self.address).await.client;
                        Err(error)
                    }
                }
            } else if sql.ends_with("TO STDOUT") {
                self.client.copy_out(sql).await.map(drop)
            } else {
                self.client.batch_execute(sql).await
            };
            outcome.err().map(|error| match error.as_db_error() {
                Some(error) => format!("{} {}", error.code().code(), error.message()),
                None => error.to_string(),
            })
        })
    }
}

async fn must(server: &mut dyn Server, sql: &str) {
    let outcome = server.run(sql).await;
    assert_eq!(outcome, None, "{sql}");
}

/// How a case ends for the user where all of these were given but one.
async fn attempt(server: &mut dyn Server, case: &Case, without: Option<usize>) -> Outcome {
    let alone = match case.how {
        How::Within | How::Ours(_) => None,
        How::Alone { undo } => Some(undo),
    };
    if alone.is_none() {
        must(server, "BEGIN").await;
    }
    for given in case.given {
        must(server, given).await;
    }
    for (at, need) in case.needs.iter().enumerate() {
        if without != Some(at) {
            must(server, need).await;
        }
    }
    must(server, BECOME_USER).await;
    let outcome = server.run(case.sql).await;
    match alone {
        None => {
            server.run("ROLLBACK").await;
            server.run("DEALLOCATE ALL").await;
            server.run(BECOME_SELF).await;
        }
        Some(undo) => {
            must(server, BECOME_SELF).await;
            for undo in undo.split(", ") {
                let undo = if undo.starts_with("mx_") { format!("DROP DATABASE IF EXISTS {undo}") } else { undo.to_owned() };
                must(server, &undo).await;
            }
            for renew in RENEW {
                must(server, renew).await;
            }
        }
    }
    outcome
}

/// What is wrong, and the text of the recorded file.
#[derive(Default)]
struct Report {
    wrong: Vec<String>,
    text: String,
}

async fn matrix(server: &mut dyn Server, is_postgres: bool) -> Report {
    let mut report = Report::default();
    for entry in all() {
        for case in entry.cases {
            let expected = match case.how {
                How::Ours(_) if is_postgres => continue,
                How::Ours(expected) => Some(expected),
                How::Within | How::Alone { .. } => None,
            };
            let mut lines = format!("{}: {}\n", entry.kind, case.sql);
            for (at, need) in case.needs.iter().enumerate() {
                let outcome = attempt(server, case, Some(at)).await;
                let message = outcome.unwrap_or_else(|| "is done".into());
                if !message.starts_with("42501 ") {
                    report.wrong.push(format!("{}\n  without {need}: {message}", case.sql));
                }
                if let Some(expected) = expected.and_then(|expected| expected.get(at))
                    && *expected != message
                {
                    report.wrong.push(format!("{}\n  without {need}: {message}\n  expected: {expected}", case.sql));
                }
                let _written = writeln!(lines, "  without {need}: {message}");
            }
            let outcome = attempt(server, case, None).await;
            let message = outcome.unwrap_or_else(|| "is done".into());
            if message.starts_with("42501 ") {
                report.wrong.push(format!("{}\n  with all: {message}", case.sql));
            }
            let _written = writeln!(lines, "  with all: {message}");
            if expected.is_none() {
                report.text.push_str(&lines);
            }
        }
    }
    report
}

async fn record(from: &str, path: &Path) {
    let connect = async |database: &str| Recorded::connect(&format!("{from} dbname={database}")).await;
    let mut outside = connect("postgres").await;
    let cleaned = ["mx_user", "mx_owner", "mx_other"];
    must(&mut outside, "DROP DATABASE IF EXISTS matrix").await;
    for role in cleaned {
        must(&mut outside, &format!("DROP ROLE IF EXISTS {role}")).await;
    }
    must(&mut outside, "CREATE DATABASE matrix").await;
    let mut client = connect("matrix").await;
    for sql in FIXTURE.iter().chain(BEFORE_ALL) {
        must(&mut client, sql).await;
    }
    let report = matrix(&mut client, true).await;
    drop(client);
    must(&mut outside, "DROP DATABASE matrix WITH (FORCE)").await;
    for role in cleaned {
        must(&mut outside, &format!("DROP ROLE {role}")).await;
    }
    assert!(report.wrong.is_empty(), "what cases say is not so in PostgreSQL:\n{}", report.wrong.join("\n"));
    std::fs::write(path, report.text).unwrap();
}

async fn session(engine: Engine, database: &str) -> Session {
    Session::connect(engine, "postgres", database, 1).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_statement_needs_what_it_needs_in_postgres() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/privilege_matrix/recorded.txt");
    if let Ok(from) = std::env::var("RECORD_FROM") {
        return record(&from, &path).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let config = NodeConfig { rpc_addr: "127.0.0.1:0".into(), ..NodeConfig::new(dir.path()) };
    let node = KvNode::start(&config).await.unwrap();
    let engine = Engine::new(CatalogStore::open(node.db.clone()).await.unwrap(), Arc::clone(&node.clock), 1);
    let mut outside = session(engine.clone(), "postgres").await;
    must(&mut outside, "CREATE DATABASE matrix").await;
    let mut session = session(engine, "matrix").await;
    for sql in FIXTURE.iter().chain(BEFORE_ALL) {
        must(&mut session, sql).await;
    }
    let mut wrong = kinds(&mut session).await;
    let report = matrix(&mut session, false).await;
    let recorded = std::fs::read_to_string(&path).unwrap();
    wrong.extend(report.wrong);
    wrong.extend(differences(&recorded, &report.text));
    drop((session, outside));
    node.stop().await;
    assert!(wrong.is_empty(), "{} things are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Statements that stand under another kind than theirs, and kinds that no statement stands under.
async fn kinds(session: &mut Session) -> Vec<String> {
    let mut wrong = Vec::new();
    for entry in all() {
        for case in entry.cases {
            must(session, "BEGIN").await;
            for given in case.given.iter().filter(|given| !given.starts_with("CREATE DATABASE")) {
                must(session, given).await;
            }
            let kind = match session.read(case.sql, &[]) {
                Ok(statements) => match session.plan(&statements[0], &[]) {
                    Ok(plan) => kind_of(&plan.kind, plan.tag),
                    Err(error) => shown(&error),
                },
                Err(error) => shown(&error),
            };
            must(session, "ROLLBACK").await;
            if kind != entry.kind {
                wrong.push(format!("{} is {kind}, not {}", case.sql, entry.kind));
            }
        }
    }
    let names: Vec<_> = all().map(|entry| entry.kind).collect();
    assert_eq!(names.len(), names.iter().collect::<BTreeSet<_>>().len(), "each kind has one entry");
    // Those are told apart further.
    let divided = ["ALTER TABLE", "ALTER VIEW", "ALTER DOMAIN", "ALTER TYPE ATTRIBUTE", "ALTER TYPE", "ALTER ROUTINE"];
    let empty = all().filter(|entry| entry.cases.is_empty() && !divided.contains(&entry.kind));
    wrong.extend(empty.map(|entry| format!("{} has no cases", entry.kind)));
    wrong
}

/// A message with routines named as they are here: without the schema that the statement gives them.
fn named_as_here(line: &str) -> String {
    line.replace("function s.", "function ").replace("procedure s.", "procedure ")
}

/// Where the text is not the recorded one, line by line under its statement.
fn differences(recorded: &str, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut statement = "";
    let (mut old, mut new) = (recorded.lines(), text.lines());
    loop {
        match (old.next(), new.next()) {
            (None, None) => return wrong,
            (old, new) if old.map(named_as_here) == new.map(named_as_here) => {
                if let Some(line) = new.filter(|line| !line.starts_with("  ")) {
                    statement = line;
                }
            }
            (Some(old), Some(new)) if old.starts_with("  ") && new.starts_with("  ") => {
                wrong.push(format!("{statement}\n  PostgreSQL:{}\n  here:      {}", &old[1..], new.trim_start()));
            }
            (old, new) => {
                wrong.push(format!("the recorded file is of other cases: {old:?} {new:?}"));
                return wrong;
            }
        }
    }
}
