//! Temporary tables belong to one session, and go with it.

use std::time::Duration;

use quorate_tests::{config, connect};
use server::Node;
use tempfile::TempDir;
use tokio_postgres::{Client, error::SqlState};

async fn count(client: &Client, query: &str) -> i64 {
    client.query_one(query, &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_session_has_its_own() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let (a, b) = (connect(&node).await, connect(&node).await);
    a.batch_execute("CREATE TABLE t (a int); INSERT INTO t VALUES (0)").await.unwrap();
    // The same texts, planned for one session and for the other: plans are not shared.
    for (client, rows) in [(&a, 1), (&b, 2)] {
        client.batch_execute("CREATE TEMP TABLE t (a int)").await.unwrap();
        client.execute("INSERT INTO t SELECT generate_series(1, $1::int)", &[&rows]).await.unwrap();
    }
    for _ in 0..3 {
        for (client, rows) in [(&a, 1), (&b, 2)] {
            assert_eq!(count(client, "SELECT count(*) FROM t").await, rows);
        }
    }
    let own = "SELECT nspname::text FROM pg_namespace WHERE oid = pg_my_temp_schema()";
    let schema: String = a.query_one(own, &[]).await.unwrap().get(0);
    let refused = b.batch_execute(&format!("SELECT * FROM \"{schema}\".t")).await.unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::FEATURE_NOT_SUPPORTED), "{refused}");
    drop(a);
    let c = connect(&node).await;
    let others = format!("SELECT count(*) FROM pg_namespace WHERE nspname = '{schema}'");
    let gone = async {
        while count(&c, &others).await > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("the temporary objects go with their session");
    assert_eq!(count(&b, "SELECT count(*) FROM t").await, 2);
    assert_eq!(count(&c, "SELECT count(*) FROM t").await, 1);
    node.stop().await;
}

/// A prepared statement means the temporary table as soon as there is one.
#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_statement_finds_the_temporary_table() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let a = connect(&node).await;
    a.batch_execute("CREATE TABLE t (a int); INSERT INTO t VALUES (0)").await.unwrap();
    let statement = a.prepare("SELECT count(*) FROM t").await.unwrap();
    let rows: i64 = a.query_one(&statement, &[]).await.unwrap().get(0);
    assert_eq!(rows, 1);
    a.batch_execute("CREATE TEMP TABLE t (a int)").await.unwrap();
    let rows: i64 = a.query_one(&statement, &[]).await.unwrap().get(0);
    assert_eq!(rows, 0);
    node.stop().await;
}
