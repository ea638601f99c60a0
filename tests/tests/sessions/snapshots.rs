//! Snapshots of the past, of other transactions, and those that are waited for.

use std::time::{Duration, Instant, SystemTime};

use quorate_tests::{config, connect, connect_to, one_node, replicated};
use server::{Node, NodeConfig};
use tempfile::TempDir;
use tokio_postgres::{Client, error::SqlState};

async fn code(client: &Client, sql: &str) -> Option<SqlState> {
    client.batch_execute(sql).await.err().and_then(|error| error.code().cloned())
}

async fn number(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
}

async fn text(client: &Client, sql: &str) -> String {
    client.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_on_other_nodes_read_in_an_exported_snapshot() {
    let dir = TempDir::new().unwrap();
    let first = Node::start(&config(dir.path(), "n1")).await.unwrap();
    let join = vec![first.rpc_addr().to_string()];
    let second = Node::start(&NodeConfig { join: join.clone(), ..config(dir.path(), "n2") }).await.unwrap();
    let third = Node::start(&NodeConfig { join, ..config(dir.path(), "n3") }).await.unwrap();
    replicated(&first, 3).await;
    let (exporter, writer) = (connect(&first).await, connect(&second).await);
    exporter.batch_execute("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 10)").await.unwrap();
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        exporter.batch_execute(&format!("BEGIN ISOLATION LEVEL {level}, READ ONLY")).await.unwrap();
        let id = text(&exporter, "SELECT pg_export_snapshot()").await;
        let before = number(&exporter, "SELECT sum(v) FROM t").await;
        writer.batch_execute("UPDATE t SET v = v + 1; INSERT INTO t SELECT max(id) + 1, 5 FROM t").await.unwrap();
        for node in [&first, &second, &third] {
            let importer = connect(node).await;
            importer.batch_execute(&format!("BEGIN ISOLATION LEVEL {level}, READ ONLY")).await.unwrap();
            importer.batch_execute(&format!("SET TRANSACTION SNAPSHOT '{id}'")).await.unwrap();
            assert_eq!(number(&importer, "SELECT sum(v) FROM t").await, before, "{level}");
            importer.batch_execute("COMMIT").await.unwrap();
            assert_ne!(number(&importer, "SELECT sum(v) FROM t").await, before);
        }
        assert_eq!(number(&exporter, "SELECT sum(v) FROM t").await, before);
        exporter.batch_execute("COMMIT").await.unwrap();
    }
    for node in [third, second, first] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_imported_as_postgresql_has_it() {
    let (_dir, node, client) = one_node().await;
    client.batch_execute("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 10), (2, 20)").await.unwrap();
    client.batch_execute("CREATE DATABASE other").await.unwrap();
    let exporter = connect(&node).await;
    exporter.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    let id = text(&exporter, "SELECT pg_export_snapshot()").await;
    client.batch_execute("UPDATE t SET v = 11 WHERE id = 1").await.unwrap();
    let import = format!("SET TRANSACTION SNAPSHOT '{id}'");
    let refused = [
        ("BEGIN ISOLATION LEVEL READ COMMITTED", import.as_str(), SqlState::FEATURE_NOT_SUPPORTED),
        ("BEGIN ISOLATION LEVEL SERIALIZABLE", &import, SqlState::FEATURE_NOT_SUPPORTED),
        ("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1", &import, SqlState::ACTIVE_SQL_TRANSACTION),
        ("BEGIN ISOLATION LEVEL REPEATABLE READ", "SET TRANSACTION SNAPSHOT 'nonsense'", SqlState::INVALID_PARAMETER_VALUE),
        ("BEGIN ISOLATION LEVEL REPEATABLE READ; SAVEPOINT a", &import, SqlState::ACTIVE_SQL_TRANSACTION),
        ("BEGIN; SAVEPOINT a", "SELECT pg_export_snapshot()", SqlState::ACTIVE_SQL_TRANSACTION),
        ("ROLLBACK", &import, SqlState::NO_ACTIVE_SQL_TRANSACTION),
    ];
    for (begin, sql, expected) in refused {
        client.batch_execute(begin).await.unwrap();
        assert_eq!(code(&client, sql).await, Some(expected), "{begin}; {sql}");
        client.batch_execute("ROLLBACK").await.unwrap();
    }
    // Of a node whose clock is a little ahead, and of none that can be.
    let (_, rest) = id.split_once('-').unwrap();
    let ahead = |by: Duration| {
        let later = u64::try_from((SystemTime::UNIX_EPOCH.elapsed().unwrap() + by).as_nanos()).unwrap();
        format!("SET TRANSACTION SNAPSHOT '{later:016X}-{rest}'")
    };
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    client.batch_execute(&ahead(Duration::from_millis(100))).await.unwrap();
    assert_eq!(number(&client, "SELECT v::bigint FROM t WHERE id = 1").await, 11);
    client.batch_execute("ROLLBACK; BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    let hour = ahead(Duration::from_secs(3_600));
    assert_eq!(code(&client, &hour).await, Some(SqlState::INVALID_PARAMETER_VALUE));
    client.batch_execute("ROLLBACK").await.unwrap();
    let there = connect_to(&node, "other").await;
    there.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    assert_eq!(code(&there, &import).await, Some(SqlState::FEATURE_NOT_SUPPORTED));
    // One that writes: what others have changed since is not written over.
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    client.batch_execute(&import).await.unwrap();
    assert_eq!(number(&client, "SELECT v::bigint FROM t WHERE id = 1").await, 10);
    client.batch_execute("UPDATE t SET v = 21 WHERE id = 2").await.unwrap();
    let lost = code(&client, "UPDATE t SET v = 12 WHERE id = 1").await;
    assert_eq!(lost, Some(SqlState::T_R_SERIALIZATION_FAILURE));
    client.batch_execute("ROLLBACK").await.unwrap();
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    client.batch_execute(&import).await.unwrap();
    client.batch_execute("UPDATE t SET v = 21 WHERE id = 2; COMMIT").await.unwrap();
    assert_eq!(number(&client, "SELECT sum(v) FROM t").await, 32);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_past_is_read_as_of_a_time() {
    let (_dir, node, client) = one_node().await;
    client.batch_execute("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 10)").await.unwrap();
    let then = text(&client, "SELECT clock_timestamp()::text").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    client.batch_execute("UPDATE t SET v = 11; ALTER TABLE t ADD COLUMN w int DEFAULT 7; CREATE TABLE u (a int)").await.unwrap();
    let as_of = format!("AS OF SYSTEM TIME '{then}'");
    let v = number(&client, &format!("SELECT v::bigint FROM t {as_of} WHERE id = 1")).await;
    assert_eq!(v, 10);
    // Under the catalog of then.
    assert_eq!(code(&client, &format!("SELECT w FROM t {as_of}")).await, Some(SqlState::UNDEFINED_COLUMN));
    assert_eq!(code(&client, &format!("SELECT * FROM u {as_of}")).await, Some(SqlState::UNDEFINED_TABLE));
    for begin in [format!("BEGIN {as_of}"), format!("BEGIN; SET TRANSACTION {as_of}"), format!("BEGIN READ ONLY, {as_of}")] {
        client.batch_execute(&begin).await.unwrap();
        assert_eq!(number(&client, "SELECT sum(v) FROM t").await, 10, "{begin}");
        assert_eq!(number(&client, &format!("SELECT sum(v) FROM t {as_of}")).await, 10, "{begin}");
        client.batch_execute("COMMIT").await.unwrap();
    }
    client.batch_execute(&format!("BEGIN {as_of}")).await.unwrap();
    assert_eq!(code(&client, "UPDATE t SET v = 0").await, Some(SqlState::READ_ONLY_SQL_TRANSACTION));
    client.batch_execute("ROLLBACK").await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(number(&client, "SELECT sum(v) FROM t AS OF SYSTEM TIME '-1s'").await, 11);
    let nanoseconds = "SELECT (extract(epoch from clock_timestamp() - interval '1s') * 1000000000)::bigint";
    let at = number(&client, nanoseconds).await;
    assert_eq!(number(&client, &format!("SELECT sum(v) FROM t AS OF SYSTEM TIME {at}")).await, 11);
    for (wrong, expected) in [
        ("'+10s'", SqlState::INVALID_PARAMETER_VALUE),
        ("'2999-01-01'", SqlState::INVALID_PARAMETER_VALUE),
        ("'yesterday or so'", SqlState::INVALID_PARAMETER_VALUE),
        ("'-10 parsecs'", SqlState::INVALID_PARAMETER_VALUE),
    ] {
        assert_eq!(code(&client, &format!("SELECT 1 AS OF SYSTEM TIME {wrong}")).await, Some(expected), "{wrong}");
    }
    client.batch_execute("BEGIN; SELECT 1").await.unwrap();
    assert!(code(&client, &format!("SELECT 1 {as_of}")).await.is_some());
    client.batch_execute("ROLLBACK").await.unwrap();
    // Before anything was there.
    assert!(code(&client, "SELECT * FROM t AS OF SYSTEM TIME '-1000 years'").await.is_some());
    assert!(code(&client, "SELECT * FROM t AS OF SYSTEM TIME '-1 year'").await.is_some());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deferrable_transaction_waits_once_and_is_never_told_to_start_again() {
    let (_dir, node, client) = one_node().await;
    let other = connect(&node).await;
    client.batch_execute("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 10), (2, 20)").await.unwrap();
    client.batch_execute("BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE").await.unwrap();
    let began = Instant::now();
    assert_eq!(number(&client, "SELECT sum(v) FROM t WHERE id = 1").await, 10);
    assert!(began.elapsed() < Duration::from_secs(5));
    for _ in 0..20 {
        other.batch_execute("UPDATE t SET v = v + 1").await.unwrap();
        assert_eq!(number(&client, "SELECT sum(v) FROM t").await, 30);
    }
    client.batch_execute("COMMIT").await.unwrap();
    assert_eq!(number(&client, "SELECT sum(v) FROM t").await, 70);
    node.stop().await;
}
