//! When transactions take their snapshot, and what a change of the catalog does to those that run.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use quorate_tests::{config, connect, connect_to};
use server::{Node, NodeConfig};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, error::SqlState};

#[tokio::test(flavor = "multi_thread")]
async fn the_snapshot_is_taken_at_the_first_statement() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let (a, b) = (connect(&node).await, connect(&node).await);
    a.batch_execute(
        "CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (id int REFERENCES parent)",
    )
    .await
    .unwrap();
    for (id, before) in
        ["BEGIN", "BEGIN; SET LOCAL lock_timeout = 1000", "BEGIN; SAVEPOINT s"].into_iter().enumerate()
    {
        b.batch_execute(before).await.unwrap();
        a.batch_execute(&format!(
            "INSERT INTO parent VALUES ({id}); CREATE TABLE new_{id} AS SELECT {id} AS id"
        ))
        .await
        .unwrap();
        b.batch_execute(&format!(
            "INSERT INTO child VALUES ({id}); INSERT INTO child SELECT * FROM new_{id}"
        ))
        .await
        .unwrap();
        // From here on the snapshot stays.
        a.batch_execute(&format!("INSERT INTO parent VALUES ({id} + 100)")).await.unwrap();
        let rows = b.query(&format!("SELECT id FROM parent WHERE id >= 100 + {id}"), &[]).await.unwrap();
        assert!(rows.is_empty(), "{before}");
        if before.ends_with("SAVEPOINT s") {
            b.batch_execute("ROLLBACK TO s").await.unwrap();
        }
        b.batch_execute("COMMIT").await.unwrap();
    }
    let count: i64 = a.query_one("SELECT count(*) FROM child", &[]).await.unwrap().get(0);
    assert_eq!(count, 4, "the last was rolled back to its savepoint");
    node.stop().await;
}

async fn try_in_block(client: &Client, statements: &[&str]) -> Result<(), tokio_postgres::Error> {
    client.batch_execute("BEGIN").await?;
    for statement in statements {
        if let Err(error) = client.batch_execute(statement).await {
            client.batch_execute("ROLLBACK").await?;
            return Err(error);
        }
    }
    client.batch_execute("COMMIT").await
}

/// Creates and drops tables until it is stopped; answers how often.
fn make_and_drop(client: Client, stop: Arc<AtomicBool>) -> JoinHandle<usize> {
    tokio::spawn(async move {
        let mut rounds = 0;
        while !stop.load(Ordering::Relaxed) {
            client.batch_execute("CREATE TABLE passing (a serial PRIMARY KEY, b text UNIQUE)").await.unwrap();
            client.batch_execute("INSERT INTO passing (b) VALUES ('x'); DROP TABLE passing").await.unwrap();
            rounds += 1;
        }
        rounds
    })
}

/// Transactions of several statements beside changes of other tables: none is refused.
async fn are_left_alone(ddl: Client, clients: Vec<Client>) {
    clients[0]
        .batch_execute(
            "CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE t (id serial, p int REFERENCES p, n int)",
        )
        .await
        .unwrap();
    clients[0].batch_execute("INSERT INTO p SELECT generate_series(1, 4)").await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let changing = make_and_drop(ddl, stop.clone());
    let running = clients.into_iter().enumerate().map(|(number, client)| async move {
        for _ in 0..60 {
            let insert = format!("INSERT INTO t (p, n) VALUES ({}, 1)", number + 1);
            let blocks: [&[&str]; 3] = [
                &[&insert, "SELECT count(*) FROM pg_class", "SELECT 1"],
                &[
                    "SELECT 1",
                    "SET LOCAL work_mem = '1MB'",
                    &insert,
                    "INSERT INTO p VALUES (5) ON CONFLICT DO NOTHING",
                ],
                &["SELECT count(*) FROM p", &insert],
            ];
            for block in blocks {
                // A string with a write in it is one transaction too.
                try_in_block(&client, block).await.unwrap();
                client.batch_execute(&format!("SELECT 1; {insert}; SELECT count(*) FROM p")).await.unwrap();
            }
        }
        client
    });
    let clients = futures::future::join_all(running).await;
    stop.store(true, Ordering::Relaxed);
    assert!(changing.await.unwrap() > 10, "the catalog was changed all along");
    let count: i64 = clients[0].query_one("SELECT count(*) FROM t", &[]).await.unwrap().get(0);
    assert_eq!(count, 360 * clients.len() as i64);
}

#[tokio::test(flavor = "multi_thread")]
async fn ddl_on_other_tables_aborts_no_transaction() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let clients = vec![connect(&node).await, connect(&node).await];
    are_left_alone(connect(&node).await, clients).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ddl_in_another_database_aborts_no_transaction() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    connect(&node).await.batch_execute("CREATE DATABASE other").await.unwrap();
    let clients = vec![connect(&node).await, connect(&node).await];
    are_left_alone(connect_to(&node, "other").await, clients).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ddl_through_another_node_aborts_no_transaction() {
    let dir = TempDir::new().unwrap();
    let one = Node::start(&config(dir.path(), "one")).await.unwrap();
    let join = vec![one.rpc_addr().to_string()];
    let two = Node::start(&NodeConfig { join, ..config(dir.path(), "two") }).await.unwrap();
    are_left_alone(connect(&two).await, vec![connect(&one).await]).await;
    two.stop().await;
    one.stop().await;
}

/// DDL and queries in one string, from several clients: "the catalog has changed" reaches none of them.
#[tokio::test(flavor = "multi_thread")]
async fn ddl_of_several_clients_is_not_refused() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    connect(&node).await.batch_execute("CREATE DATABASE other").await.unwrap();
    let running = (0..4).map(|number| {
        let node = &node;
        async move {
            let client = connect_to(node, if number % 2 == 0 { "postgres" } else { "other" }).await;
            for round in 0..20 {
                let name = format!("t_{number}_{round}");
                client
                    .batch_execute(&format!(
                        "CREATE TABLE {name} (a int PRIMARY KEY); INSERT INTO {name} VALUES (1); CREATE INDEX ON {name} (a);
                         SELECT * FROM {name}; ALTER TABLE {name} ADD b int; DROP TABLE {name}"
                    ))
                    .await
                    .unwrap();
                try_in_block(&client, &["SELECT count(*) FROM pg_class", &format!("CREATE TABLE {name} (a int)"), "SELECT 1"]).await.unwrap();
            }
        }
    });
    futures::future::join_all(running).await;
    node.stop().await;
}

/// A transaction that wrote under the descriptor from before an index leaves no row out of it.
#[tokio::test(flavor = "multi_thread")]
async fn rows_written_beside_create_index_are_in_it() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let ddl = connect(&node).await;
    ddl.batch_execute("CREATE TABLE t (id int PRIMARY KEY, v int)").await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = [0, 1_000_000]
        .into_iter()
        .map(|first| {
            let (node, stop) = (&node, stop.clone());
            async move {
                let client = connect(node).await;
                let mut id = first;
                while !stop.load(Ordering::Relaxed) {
                    id += 1;
                    // In a block the change of the table itself may be told.
                    let outcome =
                        try_in_block(&client, &[&format!("INSERT INTO t VALUES ({id}, {id})"), "SELECT 1"])
                            .await;
                    assert!(
                        outcome.is_ok()
                            || outcome.unwrap_err().code() == Some(&SqlState::T_R_SERIALIZATION_FAILURE)
                    );
                    client.batch_execute(&format!("INSERT INTO t VALUES (-{id}, {id})")).await.unwrap();
                }
            }
        })
        .collect();
    let changing = async {
        for _ in 0..15 {
            ddl.batch_execute("CREATE INDEX i ON t (v)").await.unwrap();
            let rows = ddl
                .query("SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM t WHERE v > 0)", &[])
                .await
                .unwrap();
            let counts: (i64, i64) = (rows[0].get(0), rows[0].get(1));
            assert_eq!(counts.0, counts.1);
            ddl.batch_execute("DROP INDEX i").await.unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    };
    futures::future::join(changing, futures::future::join_all(writers)).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_made_meanwhile_is_found_in_a_block() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let (a, b) = (connect(&node).await, connect(&node).await);
    a.batch_execute("CREATE TABLE old (a int)").await.unwrap();
    b.batch_execute("BEGIN; INSERT INTO old VALUES (1)").await.unwrap();
    a.batch_execute("CREATE TABLE new (a int)").await.unwrap();
    b.batch_execute("INSERT INTO new SELECT a FROM old; CREATE INDEX ON new (a); COMMIT").await.unwrap();
    // DDL of two transactions waits, and neither is refused.
    a.batch_execute("BEGIN; CREATE TABLE first (a int)").await.unwrap();
    let second = async {
        b.batch_execute("BEGIN; SELECT * FROM old").await.unwrap();
        b.batch_execute("CREATE TABLE second (a int); INSERT INTO second SELECT a FROM old; COMMIT")
            .await
            .unwrap();
    };
    let first = async { a.batch_execute("INSERT INTO new VALUES (2); COMMIT").await.unwrap() };
    futures::future::join(second, first).await;
    let tables = a.query("SELECT FROM first, second", &[]).await.unwrap();
    assert!(tables.is_empty());
    node.stop().await;
}

/// It left the session in a failed transaction, where the next statement was refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_fails_ends_the_transaction() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let (a, b) = (connect(&node).await, connect(&node).await);
    a.batch_execute("CREATE TABLE duty (id int PRIMARY KEY, on_call bool); INSERT INTO duty VALUES (1, true), (2, true)")
        .await
        .unwrap();
    // Each relies on what the other takes away.
    for (client, id) in [(&a, 1), (&b, 2)] {
        client.batch_execute("BEGIN; SELECT count(*) FROM duty WHERE on_call").await.unwrap();
        client.batch_execute(&format!("UPDATE duty SET on_call = false WHERE id = {id}")).await.unwrap();
    }
    b.batch_execute("COMMIT").await.unwrap();
    let failed = a.batch_execute("COMMIT").await.unwrap_err();
    assert_eq!(failed.code(), Some(&SqlState::T_R_SERIALIZATION_FAILURE));
    a.batch_execute("SELECT 1").await.unwrap();

    a.batch_execute("BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT 1 / (n - 3) FROM generate_series(1, 5) AS n")
        .await
        .unwrap();
    let failed = a.batch_execute("COMMIT").await.unwrap_err();
    assert_eq!(failed.code(), Some(&SqlState::DIVISION_BY_ZERO));
    let on_call: i64 = a.query_one("SELECT count(*) FROM duty WHERE on_call", &[]).await.unwrap().get(0);
    assert_eq!(on_call, 1);
    // Outside a transaction: it ends with its statement.
    let chained = a.batch_execute("COMMIT AND CHAIN").await.unwrap_err();
    assert_eq!(chained.code(), Some(&SqlState::NO_ACTIVE_SQL_TRANSACTION));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_isolation_level_is_set_before_any_query() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let client = connect(&node).await;
    client.batch_execute("BEGIN; SET TRANSACTION ISOLATION LEVEL READ COMMITTED; SELECT 1").await.unwrap();
    let late = client.batch_execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE").await.unwrap_err();
    assert_eq!(late.code(), Some(&SqlState::ACTIVE_SQL_TRANSACTION));
    client.batch_execute("ROLLBACK").await.unwrap();
    node.stop().await;
}

/// More than a command of the log may hold: in one statement, and over several of a transaction.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_larger_than_a_command_commits_as_one() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let (a, b) = (connect(&node).await, connect(&node).await);
    a.batch_execute("CREATE TABLE large (id int PRIMARY KEY, s text)").await.unwrap();
    let insert = |from: u32, to: u32| {
        format!("INSERT INTO large SELECT id, repeat('x', 100000) FROM generate_series({from}, {to}) AS id")
    };
    let count = async |client: &Client| -> (i64, i64) {
        let row = client.query_one("SELECT count(*), count(*) FILTER (WHERE length(s) = 100000) FROM large", &[]);
        let row = row.await.unwrap();
        (row.get(0), row.get(1))
    };
    a.batch_execute(&insert(1, 700)).await.unwrap();
    assert_eq!(count(&b).await, (700, 700));
    a.batch_execute("BEGIN").await.unwrap();
    for (from, to) in [(701, 1050), (1051, 1400)] {
        a.batch_execute(&insert(from, to)).await.unwrap();
    }
    a.batch_execute("UPDATE large SET s = 'short' WHERE id > 1390").await.unwrap();
    assert_eq!(count(&a).await, (1400, 1390), "it sees what it has written");
    assert_eq!(count(&b).await, (700, 700), "nobody else does");
    a.batch_execute("COMMIT").await.unwrap();
    assert_eq!(count(&b).await, (1400, 1390));
    a.batch_execute("BEGIN; DELETE FROM large WHERE id <= 700").await.unwrap();
    a.batch_execute(&insert(2001, 2400)).await.unwrap();
    a.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(count(&b).await, (1400, 1390));
    node.stop().await;
}
