//! Ranges of tables: split and merged by statements, under transactions that are open.

use std::time::Duration;

use quorate_tests::{config, connect};
use server::{Node, NodeConfig};
use tempfile::TempDir;
use tokio_postgres::{Client, error::SqlState};

/// Merges what is small as soon as it may.
fn merging(dir: &TempDir) -> NodeConfig {
    let mut config = config(dir.path(), "one");
    config.store.merge_pause = Duration::from_millis(500);
    config.store.merge_interval = Duration::from_millis(200);
    config.store.queue_interval = Duration::from_millis(100);
    config.store.replica_check_interval = Duration::from_millis(200);
    config
}

type Row = (Option<String>, Option<String>, i64, f64, i64, String);

async fn ranges(client: &Client) -> Vec<Row> {
    let rows = client.query("SHOW RANGES FROM TABLE t", &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4), row.get(5))).collect()
}

async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let look = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), look).await.is_ok(), "in vain: {what}");
}

async fn code(client: &Client, sql: &str) -> Option<SqlState> {
    client.batch_execute(sql).await.err().and_then(|error| error.code().cloned())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_statement_splits_stays_split_until_a_statement_gives_it_up() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&merging(&dir)).await.unwrap();
    let client = connect(&node).await;
    client
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT x, 0 FROM generate_series(1, 100) x;
             ALTER TABLE t SPLIT AT VALUES (25), (50), (75)",
        )
        .await
        .unwrap();
    until("it is split", async || ranges(&client).await.len() == 4).await;
    let shown = ranges(&client).await;
    assert_eq!((&shown[0].0, &shown[3].1), (&None, &None), "{shown:?}");
    assert!(shown.windows(2).all(|pair| pair[0].1.is_some() && pair[0].1 == pair[1].0), "{shown:?}");
    assert!(shown.iter().all(|(_, _, _, size, node, stores)| *size >= 0.0 && *node == 1 && stores == "{1}"));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(ranges(&client).await.len(), 4, "they are kept");
    // A row lock of a prepared transaction outlives the merge of its range.
    client
        .batch_execute("BEGIN; SELECT * FROM t WHERE id = 60 FOR UPDATE; UPDATE t SET v = 7 WHERE id = 10; PREPARE TRANSACTION 'one'")
        .await
        .unwrap();
    client.batch_execute("ALTER TABLE t UNSPLIT AT VALUES (50)").await.unwrap();
    until("one is merged", async || ranges(&client).await.len() == 3).await;
    client.batch_execute("SET lock_timeout = '300ms'").await.unwrap();
    for id in [60, 10] {
        let sql = format!("UPDATE t SET v = 5 WHERE id = {id}");
        assert_eq!(code(&client, &sql).await, Some(SqlState::LOCK_NOT_AVAILABLE), "{id}");
    }
    client.batch_execute("COMMIT PREPARED 'one'; UPDATE t SET v = v + 1").await.unwrap();
    client.batch_execute("ALTER TABLE t UNSPLIT ALL").await.unwrap();
    until("all are merged", async || ranges(&client).await.len() == 1).await;
    let sum: i64 = client.query_one("SELECT sum(v) FROM t", &[]).await.unwrap().get(0);
    assert_eq!(sum, 107);
    assert_eq!(code(&client, "ALTER TABLE t UNSPLIT AT VALUES (1, 2)").await, Some(SqlState::INVALID_PARAMETER_VALUE));
    assert_eq!(code(&client, "ALTER TABLE t UNSPLIT AT SELECT 1").await, Some(SqlState::SYNTAX_ERROR));
    assert_eq!(code(&client, "SHOW RANGES FROM TABLE nowhere").await, Some(SqlState::UNDEFINED_TABLE));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ranges_of_a_dropped_table_merge() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&merging(&dir)).await.unwrap();
    let client = connect(&node).await;
    client
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT x, 0 FROM generate_series(1, 100) x; ALTER TABLE t SPLIT AT VALUES (25), (50)")
        .await
        .unwrap();
    until("it is split", async || node.kv().store.replicas().len() == 3).await;
    client.batch_execute("DROP TABLE t").await.unwrap();
    until("one range is left", async || node.kv().store.replicas().len() == 1).await;
    client.batch_execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)").await.unwrap();
    node.stop().await;
}

/// Bounds of ranges are keys of rows.
#[tokio::test(flavor = "multi_thread")]
async fn show_ranges_hides_keys_from_roles_that_policies_hide_rows_from() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&merging(&dir)).await.unwrap();
    let client = connect(&node).await;
    client
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, who text); INSERT INTO t SELECT x, 'r' FROM generate_series(1, 100) x;
             ALTER TABLE t SPLIT AT VALUES (50);
             CREATE ROLE r; CREATE ROLE b BYPASSRLS; GRANT SELECT ON t TO r, b;
             ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (id < 10)",
        )
        .await
        .unwrap();
    until("it is split", async || ranges(&client).await.len() == 2).await;
    let bounds = |shown: Vec<Row>| shown.iter().filter(|row| row.0.is_some() || row.1.is_some()).count();
    for (role, shows) in [("postgres", 2), ("r", 0), ("b", 2)] {
        client.batch_execute(&format!("SET ROLE {role}")).await.unwrap();
        let shown = ranges(&client).await;
        assert_eq!((shown.len(), bounds(shown)), (2, shows), "{role}");
    }
    client.batch_execute("RESET ROLE; ALTER TABLE t DISABLE ROW LEVEL SECURITY; SET ROLE r").await.unwrap();
    assert_eq!(bounds(ranges(&client).await), 2);
    node.stop().await;
}
