//! SQL transactions under attack: histories recorded through the wire on three nodes while tables split and a leaseholder
//! goes, judged for serializability.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use checkers::{
    Operation, Outcome,
    list_append::{Micro, Transaction, check},
};
use quorate_tests::{config, connect, replicated};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use server::{Node, NodeConfig};
use tempfile::TempDir;
use tokio_postgres::{Client, error::SqlState};

const KEYS: i32 = 12;
const ACCOUNTS: i32 = 10;

async fn three_nodes(dir: &TempDir) -> Vec<Node> {
    let one = Node::start(&config(dir.path(), "one")).await.unwrap();
    let join = vec![one.kv().transport.local_addr().to_string()];
    let mut nodes = vec![one];
    for name in ["two", "three"] {
        let config = NodeConfig { join: join.clone(), ..config(dir.path(), name) };
        nodes.push(Node::start(&config).await.unwrap());
    }
    replicated(&nodes[0], 3).await;
    nodes
}

/// What a client may conclude from how its transaction ended.
fn judge(outcome: &Result<(), tokio_postgres::Error>) -> Outcome {
    match outcome {
        Ok(()) => Outcome::Ok,
        Err(error) => match error.code() {
            None => Outcome::Info,
            Some(code) if *code == SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN => Outcome::Info,
            Some(code) => {
                assert_ne!(*code, SqlState::INTERNAL_ERROR, "{error:?}");
                Outcome::Fail
            }
        },
    }
}

struct Run {
    since: Instant,
    stop: AtomicBool,
    next_element: AtomicU64,
    history: Mutex<Vec<Transaction>>,
    bad_sums: Mutex<Vec<i64>>,
}

impl Run {
    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_nanos()).unwrap()
    }
}

fn parse(list: &str) -> Vec<u64> {
    list.split(',').filter(|it| !it.is_empty()).map(|it| it.parse().unwrap()).collect()
}

async fn lists(
    run: &Run,
    client: &mut Client,
    rng: &mut SmallRng,
    ops: &mut Vec<Micro>,
) -> Result<(), tokio_postgres::Error> {
    let txn = client.transaction().await?;
    for _ in 0..rng.random_range(1..=3) {
        let key = rng.random_range(0..KEYS);
        let number = u64::try_from(key).unwrap();
        if rng.random_bool(0.4) {
            let text = if rng.random_bool(0.5) { "" } else { " FOR UPDATE" };
            let row = txn.query_opt(&format!("SELECT v FROM lists WHERE k = {key}{text}"), &[]).await?;
            ops.push(Micro::Read(number, Some(row.map(|row| parse(row.get(0))).unwrap_or_default())));
        } else if rng.random_bool(0.2) {
            let rows = txn.query("SELECT k, v FROM lists ORDER BY k", &[]).await?;
            let mut found: BTreeMap<i32, Vec<u64>> =
                rows.iter().map(|row| (row.get(0), parse(row.get(1)))).collect();
            for key in 0..KEYS {
                ops.push(Micro::Read(u64::try_from(key).unwrap(), Some(found.remove(&key).unwrap_or_default())));
            }
        } else {
            let element = run.next_element.fetch_add(1, Ordering::Relaxed);
            ops.push(Micro::Append(number, element));
            txn.execute(
                &format!(
                    "INSERT INTO lists VALUES ({key}, '{element}') \
                     ON CONFLICT (k) DO UPDATE SET v = lists.v || ',' || excluded.v"
                ),
                &[],
            )
            .await?;
        }
    }
    txn.commit().await
}

async fn transfer(client: &mut Client, rng: &mut SmallRng) -> Result<(), tokio_postgres::Error> {
    let (from, to) = (rng.random_range(0..ACCOUNTS), rng.random_range(0..ACCOUNTS));
    let txn = client.transaction().await?;
    let amount: i64 = rng.random_range(1..10);
    txn.execute(&format!("UPDATE accounts SET balance = balance - {amount} WHERE id = {from}"), &[]).await?;
    txn.execute(&format!("UPDATE accounts SET balance = balance + {amount} WHERE id = {to}"), &[]).await?;
    txn.commit().await
}

async fn worker(run: Arc<Run>, mut client: Client, seed: u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    while !run.stop.load(Ordering::Relaxed) && !client.is_closed() {
        match rng.random_range(0..10) {
            0..=5 => {
                let (began, mut ops) = (run.now(), Vec::new());
                let outcome = judge(&lists(&run, &mut client, &mut rng, &mut ops).await);
                let ended = run.now();
                let operation =
                    Operation { process: seed, invoked: began, returned: ended, outcome, what: ops, error: String::new() };
                run.history.lock().unwrap().push(operation);
            }
            6..=8 => {
                let _judged = judge(&transfer(&mut client, &mut rng).await);
            }
            _ => {
                if let Ok(row) = client.query_one("SELECT sum(balance)::bigint FROM accounts", &[]).await {
                    let sum: i64 = row.get(0);
                    if sum != 100 * i64::from(ACCOUNTS) {
                        run.bad_sums.lock().unwrap().push(sum);
                    }
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_and_a_bank_while_tables_split_and_a_leaseholder_goes() {
    let dir = TempDir::new().unwrap();
    let mut nodes = three_nodes(&dir).await;
    let admin = connect(&nodes[1]).await;
    admin
        .batch_execute(
            "CREATE TABLE lists (k int PRIMARY KEY, v text NOT NULL);
             CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL);
             INSERT INTO accounts SELECT g, 100 FROM generate_series(0, 9) g",
        )
        .await
        .unwrap();
    let run = Arc::new(Run {
        since: Instant::now(),
        stop: AtomicBool::new(false),
        next_element: AtomicU64::new(1),
        history: Mutex::default(),
        bad_sums: Mutex::default(),
    });
    let mut workers = Vec::new();
    for n in 0..6 {
        let client = connect(&nodes[1 + n % 2]).await;
        workers.push(tokio::spawn(worker(run.clone(), client, n as u64)));
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    for statement in [
        "ALTER TABLE lists SPLIT AT VALUES (4)",
        "ALTER TABLE accounts SPLIT AT VALUES (5)",
        "ALTER TABLE lists SPLIT AT VALUES (8)",
    ] {
        let split = tokio::time::timeout(Duration::from_secs(20), admin.batch_execute(statement)).await;
        split.expect("a split does not hang").unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // The first node, which leads most of it, goes without a word.
    let first = nodes.remove(0);
    first.kv().transport.shutdown();
    first.kv().store.raft().stop().await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    run.stop.store(true, Ordering::Relaxed);
    for worker in workers {
        if let Ok(ended) = tokio::time::timeout(Duration::from_secs(90), worker).await {
            ended.unwrap();
            continue;
        }
        for node in &nodes {
            eprintln!("{}", serde_json::to_string_pretty(&node.kv().status()).unwrap());
        }
        panic!("a client hangs");
    }

    let mut last = BTreeMap::new();
    for row in admin.query("SELECT k, v FROM lists", &[]).await.unwrap() {
        last.insert(u64::try_from(row.get::<_, i32>(0)).unwrap(), parse(row.get(1)));
    }
    let history = std::mem::take(&mut *run.history.lock().unwrap());
    let count = |outcome| history.iter().filter(|txn| txn.outcome == outcome).count();
    eprintln!(
        "{} committed, {} aborted, {} unknown",
        count(Outcome::Ok),
        count(Outcome::Fail),
        count(Outcome::Info)
    );
    let found = check(&history, Some(&last));
    assert!(found.anomalies.is_empty(), "{found}");
    assert_eq!(*run.bad_sums.lock().unwrap(), [0_i64; 0], "money appears or goes");
    assert!(count(Outcome::Ok) > 15, "the cluster does hardly anything");
    for node in nodes {
        node.stop().await;
    }
}

/// Two transactions that each read what the other writes: both commit in no serial order.
#[tokio::test(flavor = "multi_thread")]
async fn write_skew_and_lost_updates_have_one_winner() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let (mut one, mut two) = (connect(&node).await, connect(&node).await);
    one.batch_execute(
        "CREATE TABLE doctors (id int PRIMARY KEY, on_call bool); INSERT INTO doctors VALUES (1, true), (2, true)",
    )
    .await
    .unwrap();
    for split in [false, true] {
        if split {
            one.batch_execute("ALTER TABLE doctors SPLIT AT VALUES (2)").await.unwrap();
        }
        one.batch_execute("UPDATE doctors SET on_call = true").await.unwrap();
        let a = one.transaction().await.unwrap();
        let b = two.transaction().await.unwrap();
        for txn in [&a, &b] {
            let on_call: i64 =
                txn.query_one("SELECT count(*) FROM doctors WHERE on_call", &[]).await.unwrap().get(0);
            assert_eq!(on_call, 2);
        }
        a.execute("UPDATE doctors SET on_call = false WHERE id = 1", &[]).await.unwrap();
        b.execute("UPDATE doctors SET on_call = false WHERE id = 2", &[]).await.unwrap();
        let outcomes = [a.commit().await, b.commit().await];
        let lost = outcomes.iter().filter(|outcome| outcome.is_err()).count();
        assert_eq!(lost, 1, "{outcomes:?}");
        let code = outcomes.iter().find_map(|outcome| outcome.as_ref().err()).and_then(|error| error.code());
        assert_eq!(code, Some(&SqlState::T_R_SERIALIZATION_FAILURE));

        // A lost update: both read the same, both write what follows from it.
        one.batch_execute("UPDATE doctors SET on_call = true").await.unwrap();
        let a = one.transaction().await.unwrap();
        let b = two.transaction().await.unwrap();
        for txn in [&a, &b] {
            txn.query_one("SELECT on_call FROM doctors WHERE id = 1", &[]).await.unwrap();
        }
        a.execute("UPDATE doctors SET on_call = false WHERE id = 1", &[]).await.unwrap();
        a.commit().await.unwrap();
        let late = match b.execute("UPDATE doctors SET on_call = NOT on_call WHERE id = 1", &[]).await {
            Ok(_) => b.commit().await,
            Err(error) => Err(error),
        };
        assert_eq!(late.unwrap_err().code(), Some(&SqlState::T_R_SERIALIZATION_FAILURE));
    }
    node.stop().await;
}
