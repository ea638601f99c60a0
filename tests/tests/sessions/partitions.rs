//! Partitioned tables with several sessions: rows that move while others change them, partitions that come while rows do, and
//! what is left after a restart.

use std::time::Duration;

use quorate_tests::{config, connect, start_again};
use server::Node;
use tempfile::TempDir;
use tokio_postgres::Client;

const TABLES: &str = "CREATE TABLE t (a int PRIMARY KEY, b int) PARTITION BY RANGE (a); \
     CREATE TABLE t0 PARTITION OF t FOR VALUES FROM (0) TO (10); \
     CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (10) TO (20); \
     CREATE TABLE td PARTITION OF t DEFAULT; \
     INSERT INTO t VALUES (1, 0), (11, 0)";

async fn rows(client: &Client) -> Vec<(String, i32, i32)> {
    let rows = client.query("SELECT tableoid::regclass::text, a, b FROM t ORDER BY a", &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}

fn row(partition: &str, a: i32, b: i32) -> (String, i32, i32) {
    (partition.to_owned(), a, b)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_moves_is_changed_once() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let (one, other) = (connect(&node).await, connect(&node).await);
    one.batch_execute(TABLES).await.unwrap();
    one.batch_execute("BEGIN; UPDATE t SET a = 15 WHERE a = 1").await.unwrap();
    let waiting = tokio::spawn(async move {
        let changed = other.execute("UPDATE t SET b = b + 1 WHERE a IN (1, 11)", &[]).await;
        (other, changed)
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished(), "the row is locked by who moves it");
    one.batch_execute("COMMIT").await.unwrap();
    let (other, changed) = waiting.await.unwrap();
    assert_eq!(changed.unwrap(), 1, "the row that has moved has another key");
    assert_eq!(rows(&other).await, [row("t1", 11, 1), row("t1", 15, 0)]);
}

/// A row of the default partition, and a partition that it would belong to: one of the two transactions fails, or is run again
/// and puts the row there.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_comes_while_its_row_does() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let (one, other) = (connect(&node).await, connect(&node).await);
    one.batch_execute(TABLES).await.unwrap();
    one.batch_execute("BEGIN; INSERT INTO t VALUES (25, 0)").await.unwrap();
    let made = other.batch_execute("CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (20) TO (30)").await;
    let committed = one.batch_execute("COMMIT").await;
    assert!(made.is_ok() || committed.is_ok(), "{made:?} {committed:?}");
    let found = rows(&other).await;
    let is_whole = |(partition, a, _): &(String, i32, i32)| match a {
        0..10 => partition == "t0",
        10..20 => partition == "t1",
        20..30 if made.is_ok() => partition == "t2",
        _ => partition == "td",
    };
    assert!(found.iter().all(is_whole), "{found:?}");
}

/// Statements that were prepared read partitions that were attached since, and none that was detached.
#[tokio::test(flavor = "multi_thread")]
async fn prepared_statements_follow_the_partitions() {
    let dir = TempDir::new().unwrap();
    let settings = config(dir.path(), "one");
    let node = Node::start(&settings).await.unwrap();
    let (one, other) = (connect(&node).await, connect(&node).await);
    one.batch_execute(TABLES).await.unwrap();
    let count = one.prepare("SELECT count(*) FROM t WHERE a >= $1").await.unwrap();
    let insert = one.prepare("INSERT INTO t VALUES ($1, $2)").await.unwrap();
    let counted = async |from: i32| one.query_one(&count, &[&from]).await.unwrap().get::<_, i64>(0);
    assert_eq!((counted(0).await, counted(11).await), (2, 1));
    other.batch_execute("ALTER TABLE t DETACH PARTITION t1").await.unwrap();
    assert_eq!((counted(0).await, counted(11).await), (1, 0));
    one.execute(&insert, &[&12, &0]).await.unwrap();
    let error = other.batch_execute("ALTER TABLE t ATTACH PARTITION t1 FOR VALUES FROM (10) TO (20)").await.unwrap_err();
    assert_eq!(error.code().map(|code| code.code()), Some("23514"), "a row of the default partition would belong to it");
    other.batch_execute("DELETE FROM td; ALTER TABLE t ATTACH PARTITION t1 FOR VALUES FROM (10) TO (20)").await.unwrap();
    one.execute(&insert, &[&12, &0]).await.unwrap();
    assert_eq!(counted(0).await, 3);
    assert_eq!(rows(&one).await, [row("t0", 1, 0), row("t1", 11, 0), row("t1", 12, 0)]);

    drop((count, insert, one, other));
    node.stop().await;
    drop(node);
    let node = start_again(&settings).await;
    let client = connect(&node).await;
    assert_eq!(rows(&client).await, [row("t0", 1, 0), row("t1", 11, 0), row("t1", 12, 0)]);
    client.batch_execute("INSERT INTO t VALUES (19, 1), (20, 2)").await.unwrap();
    assert_eq!(rows(&client).await[3..], [row("t1", 19, 1), row("td", 20, 2)]);
}
