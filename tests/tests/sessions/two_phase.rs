//! Prepared transactions over several nodes and their restarts.

use std::time::Duration;

use quorate_tests::{config, connect, connect_as, connect_to, one_node, replicated, start_again};
use server::{Node, NodeConfig};
use tempfile::TempDir;
use tokio_postgres::{Client, error::SqlState};

async fn code(client: &Client, sql: &str) -> Option<SqlState> {
    client.batch_execute(sql).await.err().and_then(|error| error.code().cloned())
}

async fn number(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
}

async fn prepare(client: &Client, name: &str, statements: &str) {
    client.batch_execute(&format!("BEGIN; {statements}; PREPARE TRANSACTION '{name}'")).await.unwrap();
}

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT n, 0 FROM generate_series(1, 100) n;
    ALTER TABLE t SPLIT AT VALUES (50)";

#[tokio::test(flavor = "multi_thread")]
async fn prepared_transactions_outlive_their_session_and_their_node() {
    let (dir, node, client) = one_node().await;
    client.batch_execute(TABLE).await.unwrap();
    prepare(&client, "one", "UPDATE t SET v = 1 WHERE id IN (1, 99)").await;
    prepare(&client, "two", "SELECT * FROM t WHERE id = 2 FOR UPDATE").await;
    drop(client);
    for _ in 0..2 {
        let client = connect(&node).await;
        assert_eq!(number(&client, "SELECT count(*) FROM pg_prepared_xacts").await, 2);
        client.batch_execute("SET lock_timeout = '300ms'").await.unwrap();
        for id in [1, 2, 99] {
            let sql = format!("UPDATE t SET v = 5 WHERE id = {id}");
            assert_eq!(code(&client, &sql).await, Some(SqlState::LOCK_NOT_AVAILABLE), "{id}");
        }
        // Longer than a transaction lives without a heartbeat.
        tokio::time::sleep(Duration::from_secs(4)).await;
    }
    node.stop().await;
    drop(node);
    let node = start_again(&config(dir.path(), "one")).await;
    let client = connect(&node).await;
    client.batch_execute("SET lock_timeout = '300ms'").await.unwrap();
    assert_eq!(code(&client, "UPDATE t SET v = 5 WHERE id = 2").await, Some(SqlState::LOCK_NOT_AVAILABLE));
    client.batch_execute("COMMIT PREPARED 'one'").await.unwrap();
    assert_eq!(number(&client, "SELECT sum(v) FROM t").await, 2);
    client.batch_execute("ROLLBACK PREPARED 'two'").await.unwrap();
    client.batch_execute("UPDATE t SET v = 5 WHERE id = 2").await.unwrap();
    assert_eq!(number(&client, "SELECT count(*) FROM pg_prepared_xacts").await, 0);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_node_ends_what_another_has_prepared() {
    let dir = TempDir::new().unwrap();
    let first = Node::start(&config(dir.path(), "n1")).await.unwrap();
    let join = vec![first.rpc_addr().to_string()];
    let configs = ["n2", "n3"].map(|name| NodeConfig { join: join.clone(), ..config(dir.path(), name) });
    let second = Node::start(&configs[0]).await.unwrap();
    let third = Node::start(&configs[1]).await.unwrap();
    replicated(&first, 3).await;
    let client = connect(&first).await;
    client.batch_execute(TABLE).await.unwrap();
    let gateway = connect(&third).await;
    prepare(&gateway, "one", "UPDATE t SET v = 1 WHERE id IN (1, 99)").await;
    prepare(&gateway, "two", "UPDATE t SET v = 1 WHERE id IN (3, 97)").await;
    drop(gateway);
    // Its gateway is gone for good.
    third.stop().await;
    drop(third);
    tokio::time::sleep(Duration::from_secs(4)).await;
    let other = connect(&second).await;
    assert_eq!(number(&other, "SELECT count(*) FROM pg_prepared_xacts").await, 2);
    other.batch_execute("COMMIT PREPARED 'one'").await.unwrap();
    client.batch_execute("ROLLBACK PREPARED 'two'").await.unwrap();
    for client in [&client, &other] {
        assert_eq!(number(client, "SELECT sum(v) FROM t").await, 2);
        assert_eq!(code(client, "COMMIT PREPARED 'one'").await, Some(SqlState::UNDEFINED_OBJECT));
    }
    for node in [second, first] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_prepared_transaction_has_read_holds_when_it_commits() {
    let (_dir, node, client) = one_node().await;
    let other = connect(&node).await;
    client.batch_execute(TABLE).await.unwrap();
    // Write skew, one half of it prepared: the other comes after, or not at all.
    client.batch_execute("BEGIN").await.unwrap();
    assert_eq!(number(&client, "SELECT sum(v) FROM t WHERE id < 10").await, 0);
    client.batch_execute("UPDATE t SET v = 1 WHERE id = 20; PREPARE TRANSACTION 'skew'").await.unwrap();
    other.batch_execute("SET lock_timeout = '300ms'; BEGIN").await.unwrap();
    other.batch_execute("UPDATE t SET v = 1 WHERE id = 1").await.unwrap();
    // It would have to be before the prepared one, which has not seen it.
    assert_eq!(code(&other, "SELECT sum(v) FROM t WHERE id = 20").await, Some(SqlState::LOCK_NOT_AVAILABLE));
    other.batch_execute("ROLLBACK").await.unwrap();
    // Without a look at it, it may be after.
    other.batch_execute("UPDATE t SET v = 1 WHERE id = 1").await.unwrap();
    client.batch_execute("COMMIT PREPARED 'skew'").await.unwrap();

    // What was changed before it was prepared is found then.
    client.batch_execute("BEGIN").await.unwrap();
    assert_eq!(number(&client, "SELECT sum(v) FROM t WHERE id < 10").await, 1);
    client.batch_execute("UPDATE t SET v = 2 WHERE id = 30").await.unwrap();
    other.batch_execute("UPDATE t SET v = 5 WHERE id = 1; UPDATE t SET v = v WHERE id = 20").await.unwrap();
    assert_eq!(code(&client, "PREPARE TRANSACTION 'late'").await, Some(SqlState::T_R_SERIALIZATION_FAILURE));
    client.batch_execute("BEGIN; SELECT 1; ROLLBACK").await.unwrap();
    assert_eq!(number(&client, "SELECT count(*) FROM pg_prepared_xacts").await, 0);

    // Where the answers are the same it is run again, and prepared.
    client.batch_execute("BEGIN; SELECT count(*) FROM t; UPDATE t SET v = 2 WHERE id = 30").await.unwrap();
    other.batch_execute("UPDATE t SET v = 6 WHERE id = 1").await.unwrap();
    client.batch_execute("PREPARE TRANSACTION 'again'").await.unwrap();
    client.batch_execute("COMMIT PREPARED 'again'").await.unwrap();
    assert_eq!(number(&client, "SELECT sum(v) FROM t WHERE id = 30").await, 2);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_and_owners_are_looked_at() {
    let (_dir, node, client) = one_node().await;
    client.batch_execute("CREATE DATABASE other").await.unwrap();
    client.batch_execute("CREATE ROLE ann LOGIN; CREATE ROLE bob LOGIN").await.unwrap();
    client.batch_execute("CREATE TABLE t (a int); GRANT ALL ON t TO ann, bob").await.unwrap();
    let there = connect_to(&node, "other").await;
    prepare(&there, "far", "SELECT 1").await;
    drop(there);
    assert_eq!(code(&client, "COMMIT PREPARED 'far'").await, Some(SqlState::FEATURE_NOT_SUPPORTED));
    assert_eq!(code(&client, "DROP DATABASE other").await, Some(SqlState::OBJECT_IN_USE));
    let row = client.query_one("SELECT database::text, owner::text FROM pg_prepared_xacts", &[]).await.unwrap();
    assert_eq!((row.get::<_, &str>(0), row.get::<_, &str>(1)), ("other", "postgres"));
    let there = connect_to(&node, "other").await;
    there.batch_execute("ROLLBACK PREPARED 'far'").await.unwrap();
    drop(there);
    let (ann, bob) = (connect_as(&node, "ann", "postgres").await, connect_as(&node, "bob", "postgres").await);
    prepare(&ann, "hers", "INSERT INTO t VALUES (1)").await;
    for end in ["COMMIT PREPARED 'hers'", "ROLLBACK PREPARED 'hers'"] {
        assert_eq!(code(&bob, end).await, Some(SqlState::INSUFFICIENT_PRIVILEGE));
    }
    ann.batch_execute("COMMIT PREPARED 'hers'").await.unwrap();
    // The catalog's changes and advisory locks are no part of one.
    for statement in ["CREATE TABLE u (a int)", "GRANT SELECT ON t TO ann", "SELECT pg_advisory_xact_lock(1)"] {
        let sql = format!("BEGIN; {statement}; PREPARE TRANSACTION 'refused'");
        assert_eq!(code(&client, &sql).await, Some(SqlState::FEATURE_NOT_SUPPORTED), "{statement}");
    }
    assert_eq!(number(&client, "SELECT count(*) FROM pg_prepared_xacts").await, 0);
    node.stop().await;
}
