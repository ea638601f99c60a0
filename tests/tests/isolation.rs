//! READ COMMITTED, REPEATABLE READ and SERIALIZABLE beside what PostgreSQL 15 does: the anomalies by which isolation levels are told
//! apart (the names in brackets are Adya's), and what applications build on them.
//!
//! `isolation.txt` holds the statements of two or three sessions, one after another, each with PostgreSQL's answer below it,
//! and behind `here:` ours where it is another (`docs/sql/differences.md`).

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use quorate_tests::{config, connect};
use server::Node;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, SimpleQueryMessage};

/// Longer than any statement here has to take.
const PATIENCE: Duration = Duration::from_secs(20);

const SCHEMA: &str = "DROP TABLE IF EXISTS c; DROP TABLE IF EXISTS t;
    CREATE TABLE t (id int PRIMARY KEY, v int); CREATE TABLE c (id int PRIMARY KEY, t int REFERENCES t);
    INSERT INTO t VALUES (1, 10), (2, 20)";

struct Step<'s> {
    session: &'s str,
    /// None: the statement before of the session comes to its end.
    sql: Option<&'s str>,
    expected: Vec<&'s str>,
    /// It differs from PostgreSQL's, which has been left out.
    is_ours: bool,
}

struct Scenario<'s> {
    name: &'s str,
    steps: Vec<Step<'s>>,
}

fn scenarios(text: &str) -> Vec<Scenario<'_>> {
    let mut found: Vec<Scenario<'_>> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(name) = line.strip_prefix("## ") {
            found.push(Scenario { name, steps: Vec::new() });
            continue;
        }
        let steps = &mut found.last_mut().expect("a scenario has a name").steps;
        if let Some(answer) = line.strip_prefix("  ") {
            let step = steps.last_mut().expect("an answer is to something");
            let Some(ours) = answer.strip_prefix("here:") else {
                step.expected.push(answer);
                continue;
            };
            if !step.is_ours {
                (step.is_ours, step.expected) = (true, Vec::new());
            }
            step.expected.extend(Some(ours.trim_start()).filter(|ours| !ours.is_empty()));
        } else if let Some((session, sql)) = line.split_once(": ") {
            steps.push(Step { session, sql: Some(sql), expected: Vec::new(), is_ours: false });
        } else {
            let session = line.strip_suffix(" goes on").expect("a step of a known kind");
            steps.push(Step { session, sql: None, expected: Vec::new(), is_ours: false });
        }
    }
    found
}

/// The rows of an answer, or its error's code.
async fn answer(client: Arc<Client>, sql: String) -> Vec<String> {
    let messages = match client.simple_query(&sql).await {
        Ok(messages) => messages,
        Err(error) => return vec![format!("error {}", error.code().expect("the server answers").code())],
    };
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            let values: Vec<&str> = (0..row.len()).map(|column| row.get(column).unwrap_or("")).collect();
            Some(values.join(" "))
        }
        _ => None,
    });
    rows.collect()
}

fn waits(node: &Node) -> u64 {
    node.kv().store.replicas().iter().map(|replica| replica.metrics().lock_waits.load(Ordering::Relaxed)).sum()
}

async fn run(node: &Node, scenario: &Scenario<'_>) -> Vec<String> {
    let mut faults = Vec::new();
    connect(node).await.batch_execute(SCHEMA).await.unwrap();
    let mut sessions: BTreeMap<&str, Arc<Client>> = BTreeMap::new();
    let mut waiting: BTreeMap<&str, JoinHandle<Vec<String>>> = BTreeMap::new();
    for step in &scenario.steps {
        let what = step.sql.unwrap_or("goes on");
        let running = match step.sql {
            None => waiting.remove(step.session).expect("it waits"),
            Some(sql) => {
                if !sessions.contains_key(step.session) {
                    sessions.insert(step.session, Arc::new(connect(node).await));
                }
                let client = sessions[step.session].clone();
                let before = waits(node);
                let running = tokio::spawn(answer(client, sql.to_owned()));
                if step.expected == ["waits"] {
                    let end = Instant::now() + PATIENCE;
                    while waits(node) == before && !running.is_finished() && Instant::now() < end {
                        tokio::task::yield_now().await;
                    }
                    if !running.is_finished() {
                        waiting.insert(step.session, running);
                        continue;
                    }
                }
                running
            }
        };
        let Ok(found) = tokio::time::timeout(PATIENCE, running).await else {
            faults.push(format!("{}: {}: {what}: no answer", scenario.name, step.session));
            return faults;
        };
        let found = found.unwrap();
        if found != step.expected {
            let expected = &step.expected;
            faults.push(format!("{}: {}: {what}: {found:?}, expected {expected:?}", scenario.name, step.session));
            if expected[..] == ["waits"] {
                return faults;
            }
        }
    }
    faults
}

#[tokio::test(flavor = "multi_thread")]
async fn levels_are_postgresqls_or_let_more_commit() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let all = scenarios(include_str!("isolation.txt"));
    assert!(all.len() >= 80, "all levels");
    let mut faults = Vec::new();
    for scenario in &all {
        faults.extend(run(&node, scenario).await);
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    node.stop().await;
}

/// Eight clients raise few counters, each reading them before: none of them is lost, and at READ COMMITTED no client is
/// told to try again.
#[tokio::test(flavor = "multi_thread")]
async fn read_committed_tells_nobody_to_try_again() {
    const CLIENTS: usize = 8;
    const ROUNDS: usize = 20;
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let client = connect(&node).await;
    client
        .batch_execute(
            "CREATE TABLE counters (id int PRIMARY KEY, v int NOT NULL);
             INSERT INTO counters SELECT n, 0 FROM generate_series(1, 3) n",
        )
        .await
        .unwrap();
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let client = connect(&node).await;
        clients.push(tokio::spawn(async move {
            for round in 0..ROUNDS {
                let id = (number + round) % 3 + 1;
                client.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED").await.unwrap();
                client.query("SELECT sum(v) FROM counters", &[]).await.unwrap();
                // Found by what others change, not by its key.
                let sql = format!("UPDATE counters SET v = v + 1 WHERE id = {id} AND v >= 0");
                assert_eq!(client.execute(&sql, &[]).await.unwrap(), 1);
                client.query("SELECT count(*) FROM counters WHERE v > 0", &[]).await.unwrap();
                client.batch_execute("COMMIT").await.unwrap();
            }
        }));
    }
    for client in clients {
        client.await.unwrap();
    }
    let sum: i64 = client.query_one("SELECT sum(v) FROM counters", &[]).await.unwrap().get(0);
    assert_eq!(sum, (CLIENTS * ROUNDS) as i64);
    node.stop().await;
}
