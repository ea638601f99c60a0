//! A node and a PostgreSQL given the same statements.

use std::path::Path;

use super::compare::{Kind, compare, is_void};
use super::tree::{Piece, Tree, list};
use super::wire::{Answer, Client, Protocol};
use crate::bench::postgres::Postgres;
use crate::cluster::{Cluster, Options};
use crate::command::{Error, IoContext, Result};

const DATABASE: &str = "diff";

/// A statement that takes longer there says nothing; one that takes longer here is a difference.
const TIMEOUT_THERE: &str = "3s";
const TIMEOUT_HERE: &str = "15s";

/// One session of each server.
pub struct Pair {
    cluster: Cluster,
    postgres: Postgres,
    there: Client,
    here: Client,
    /// What was set for the session, for the next one.
    settings: Vec<String>,
    pub messages: bool,
    pub restarts: usize,
    pub statements: usize,
}

/// How the statements of a case are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// As they are.
    None,
    /// In a transaction that is rolled back.
    Transaction,
    /// In a transaction that is rolled back, and in a schema made in it: the case makes its tables itself.
    Schema,
}

impl Frame {
    fn begins(self) -> &'static [&'static str] {
        match self {
            Self::None => &[],
            Self::Transaction => &["begin"],
            Self::Schema => &["begin", "create schema e", "set local search_path = e"],
        }
    }
}

/// A difference found: the statement of the case, and both answers.
#[derive(Clone, Debug)]
pub struct Found {
    pub kind: Kind,
    pub position: usize,
    pub there: Answer,
    pub here: Answer,
}

/// The codes that both have refused statements with, while a case was shrunk.
#[derive(Default)]
pub struct Codes {
    pub there: Vec<String>,
    pub here: Vec<String>,
}

/// Statements as one tree, so that they are shrunk together.
pub fn case(statements: Vec<Tree>) -> Tree {
    Tree::clause("", vec![list(statements, ";\n", 1)])
}

pub fn statements(case: &Tree) -> &[Tree] {
    match case.pieces.as_slice() {
        [Piece::List(list)] => &list.items,
        other => unreachable!("a case is one list of statements, not {other:?}"),
    }
}

impl Pair {
    pub fn start(binary: &Path, scratch: &Path) -> Result<Self> {
        let postgres = Postgres::start(&scratch.join("reference"), 0)?;
        let cluster = Cluster::start(&Options { binary, dir: &scratch.join("nodes"), nodes: 1, base_port: None, flags: &[] })?;
        let there = make_database(postgres.port, " template template0 locale 'C' encoding 'UTF8'")?;
        let here = make_database(cluster.nodes[0].sql.port(), "")?;
        Ok(Self { cluster, postgres, there, here, settings: Vec::new(), messages: false, restarts: 0, statements: 0 })
    }

    pub fn version(&self) -> &str {
        &self.postgres.version
    }

    pub fn stop(self) -> Result {
        self.cluster.stop()
    }

    /// New sessions, over an empty schema, with these settings.
    pub fn begin(&mut self, settings: Vec<String>) -> Result {
        self.settings = settings;
        self.reconnect()?;
        for sql in ["drop schema if exists d cascade", "create schema d"] {
            for (client, name) in [(&mut self.there, "PostgreSQL"), (&mut self.here, "a node")] {
                let answer = client.run(sql, Protocol::Simple);
                if let Some(refusal) = answer.refusal {
                    return Err(Error::Failed { command: format!("{sql} on {name}: {}", refusal.message) });
                }
            }
        }
        Ok(())
    }

    /// Connects both again; starts the node again if it has ended.
    fn reconnect(&mut self) -> Result {
        let node = &mut self.cluster.nodes[0];
        if !node.is_running()? {
            self.restarts += 1;
            node.restart()?;
            node.wait_healthy()?;
        }
        self.there = Client::connect(self.postgres.port, DATABASE).context("connecting to PostgreSQL")?;
        self.here = Client::connect(node.sql.port(), DATABASE).context("connecting to the node")?;
        self.there.run(&format!("set statement_timeout = '{TIMEOUT_THERE}'"), Protocol::Simple);
        self.here.run(&format!("set statement_timeout = '{TIMEOUT_HERE}'"), Protocol::Simple);
        for sql in ["set search_path = d".to_owned()].iter().chain(&self.settings) {
            self.there.run(sql, Protocol::Simple);
            self.here.run(sql, Protocol::Simple);
        }
        Ok(())
    }

    /// Both answers to one statement.
    pub fn run(&mut self, sql: &str, protocol: Protocol) -> (Answer, Answer) {
        self.statements += 1;
        let (sent_there, sent_here) = (self.there.send(sql, protocol), self.here.send(sql, protocol));
        (self.there.finish(sent_there), self.here.finish(sent_here))
    }

    /// Runs a case up to the first difference.
    pub fn try_case(&mut self, case: &Tree, frame: Frame, protocol: Protocol, codes: &mut Codes) -> Result<Option<Found>> {
        for sql in frame.begins() {
            self.run(sql, Protocol::Simple);
        }
        let mut found = None;
        for (position, statement) in statements(case).iter().enumerate() {
            let sql = statement.print();
            let (there, here) = self.run(&sql, protocol);
            codes.there.extend(there.refusal.as_ref().map(|refusal| refusal.code.clone()));
            codes.here.extend(here.refusal.as_ref().map(|refusal| refusal.code.clone()));
            if is_void(&there) {
                if there.lost.is_some() {
                    self.reconnect()?;
                }
                break;
            }
            if let Some(kind) = compare(statement, &there, &here, self.messages) {
                found = Some(Found { kind, position, there, here });
                break;
            }
        }
        if matches!(&found, Some(found) if found.kind == Kind::Lost) {
            self.reconnect()?;
        } else if frame != Frame::None {
            self.run("rollback", Protocol::Simple);
        }
        Ok(found)
    }
}

impl Pair {
    /// Whether PostgreSQL refuses with this code already to plan the statement at this position of a case.
    pub fn explains_with(&mut self, case: &Tree, frame: Frame, position: usize, code: &str) -> bool {
        let before = frame.begins();
        let mut answer = Answer::default();
        let all = statements(case).iter().take(position).map(Tree::print);
        let last = format!("explain {}", statements(case)[position].print());
        for sql in before.iter().map(|sql| (*sql).to_owned()).chain(all).chain([last]) {
            answer = self.there.run(&sql, Protocol::Simple);
        }
        self.there.run("rollback", Protocol::Simple);
        answer.refusal.is_some_and(|refusal| refusal.code == code)
    }
}

fn make_database(port: u16, with: &str) -> Result<Client> {
    let mut client = Client::connect(port, "postgres").context("connecting")?;
    let answer = client.run(&format!("create database {DATABASE}{with}"), Protocol::Simple);
    if let Some(refusal) = answer.refusal {
        return Err(Error::Failed { command: format!("making the database: {}", refusal.message) });
    }
    Client::connect(port, DATABASE).context("connecting to the new database")
}
