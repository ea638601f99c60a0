//! What a text costs before anything is read, for statements small and large: parsing, planning against the catalog, and
//! both at once where the plan cache knows it.

use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;

use catalog::CatalogStore;
use criterion::{Criterion, criterion_group, criterion_main};
use futures::future::BoxFuture;
use plan::{ParsedStatement, PlanColumn, statement::CopyOptions};
use server::{KvNode, NodeConfig};
use session::{Ending, Engine, Session, Severity, Sink};
use types::{Batch, Formatting, SqlError, SqlResult};

const TABLES: &str = "
    CREATE TABLE accounts (aid int PRIMARY KEY, bid int, abalance int, filler char(84));
    CREATE TABLE branches (bid int PRIMARY KEY, bbalance int, filler char(88));
    CREATE TABLE history (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22));
    CREATE INDEX ON history (aid, mtime)";

const STATEMENTS: &[(&str, &str)] = &[
    ("point_select", "SELECT abalance FROM accounts WHERE aid = $1"),
    ("point_update", "UPDATE accounts SET abalance = abalance + $1 WHERE aid = $2"),
    (
        "insert",
        "INSERT INTO history (tid, bid, aid, delta, mtime) VALUES ($1, $2, $3, $4, CURRENT_TIMESTAMP)",
    ),
    (
        "report",
        "WITH moved AS (SELECT aid, bid, sum(delta) AS delta, count(*) AS n FROM history
                        WHERE mtime > now() - interval '1 day' GROUP BY aid, bid)
         SELECT b.bid, sum(m.delta), max(m.n), avg(a.abalance)
         FROM moved m JOIN accounts a USING (aid) LEFT JOIN branches b ON b.bid = m.bid
         WHERE a.abalance BETWEEN -100 AND 100 AND EXISTS (SELECT 1 FROM history h WHERE h.aid = a.aid AND h.delta > 5)
         GROUP BY b.bid HAVING count(*) > 1 ORDER BY 2 DESC NULLS LAST LIMIT 10",
    ),
];

/// Takes an answer and forgets it.
struct Nowhere;

impl Sink for Nowhere {
    fn columns(&mut self, _columns: &[PlanColumn]) {}

    fn copy_out(&mut self, _columns: &[PlanColumn], _options: &CopyOptions) {}

    fn rows(&mut self, _batch: &Batch, rows: Range<usize>, _formatting: &Formatting) -> SqlResult<usize> {
        Ok(rows.end)
    }

    fn drain(&mut self) -> BoxFuture<'_, SqlResult<()>> {
        Box::pin(async { Ok(()) })
    }

    fn notice(&mut self, _severity: Severity, _notice: SqlError) {}

    fn mark(&self) -> u64 {
        0
    }

    fn rewind(&mut self, _mark: u64) -> bool {
        true
    }
}

fn parse(text: &str) -> ParsedStatement {
    plan::parse(text).expect("it parses").into_iter().next().expect("a statement")
}

fn planning(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let dir = tempfile::tempdir().expect("a scratch directory");
    let config = NodeConfig { rpc_addr: "127.0.0.1:0".into(), ..NodeConfig::new(dir.path()) };
    let (node, mut session) = runtime.block_on(async {
        let node = KvNode::start(&config).await.expect("a node");
        let catalog = CatalogStore::open(node.db.clone()).await.expect("a catalog");
        let engine = Engine::new(catalog, Arc::clone(&node.clock), 1);
        let mut session = Session::connect(engine, "postgres", "postgres", 1).await.expect("a session");
        for statement in session.read(TABLES, &[]).expect("it parses") {
            session.run(&statement, &mut Nowhere, Ending::WithStatement).await.map(drop).expect("a table");
        }
        (node, session)
    });
    let mut group = c.benchmark_group("planning");
    for (name, text) in STATEMENTS {
        group.bench_function(format!("parse_{name}"), |b| b.iter(|| parse(black_box(text))));
        let statement = parse(text);
        group.bench_function(format!("plan_{name}"), |b| {
            b.iter(|| session.plan(black_box(&statement), &[]).expect("it plans"));
        });
        group.bench_function(format!("known_{name}"), |b| {
            b.iter(|| {
                let statement = session.read(black_box(text), &[]).expect("it parses").pop().expect("a statement");
                runtime.block_on(session.prepare("", Some(statement))).expect("it plans");
            });
        });
        // A text that comes once, as statements with their values in them do.
        let mut number = 0_u64;
        group.bench_function(format!("unknown_{name}"), |b| {
            b.iter(|| {
                number += 1;
                let text = format!("{text} -- {number}");
                session.read(black_box(&text), &[]).expect("it parses")
            });
        });
    }
    group.finish();
    drop(session);
    runtime.block_on(node.stop());
}

criterion_group!(plans, planning);
criterion_main!(plans);
