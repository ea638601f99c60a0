//! Views beside other sessions: prepared statements that outlive a rename, a restart, rows locked through a view, and readers
//! of a materialized view that is being refreshed.

use quorate_tests::{config, connect, one_node, start_again};
use server::Node;
use tempfile::TempDir;
use tokio_postgres::error::SqlState;

use crate::user_types::strings;

#[tokio::test(flavor = "multi_thread")]
async fn views_follow_renames_in_other_sessions_and_after_a_restart() {
    let dir = TempDir::new().unwrap();
    let settings = config(dir.path(), "one");
    let node = Node::start(&settings).await.unwrap();
    let (client, other) = (connect(&node).await, connect(&node).await);
    client
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, a text); INSERT INTO t VALUES (1, 'x');
             CREATE VIEW v AS SELECT * FROM t WHERE id > 0 WITH CHECK OPTION;
             ALTER VIEW v ALTER COLUMN a SET DEFAULT 'd';
             CREATE MATERIALIZED VIEW m AS SELECT a FROM v",
        )
        .await
        .unwrap();
    let select = other.prepare("SELECT a FROM v WHERE id = $1").await.unwrap();
    let insert = other.prepare("INSERT INTO v (id) VALUES ($1) RETURNING a").await.unwrap();
    assert_eq!(other.query_one(&select, &[&1]).await.unwrap().get::<_, String>(0), "x");
    client
        .batch_execute("ALTER TABLE t RENAME TO u; ALTER TABLE u RENAME a TO b; ALTER TABLE u ADD COLUMN c int DEFAULT 3")
        .await
        .unwrap();
    assert_eq!(other.query_one(&select, &[&1]).await.unwrap().get::<_, String>(0), "x");
    assert_eq!(other.query_one(&insert, &[&2]).await.unwrap().get::<_, String>(0), "d");
    let refused = other.query(&insert, &[&-2]).await.unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::WITH_CHECK_OPTION_VIOLATION));
    drop((client, other));
    node.stop().await;
    drop(node);

    let node = start_again(&settings).await;
    let client = connect(&node).await;
    assert_eq!(strings(&client, "SELECT concat_ws(',', v.*) FROM v ORDER BY id").await, "(1,x) (2,d)");
    assert_eq!(strings(&client, "INSERT INTO v (id) VALUES (3) RETURNING a").await, "d");
    client.batch_execute("REFRESH MATERIALIZED VIEW m").await.unwrap();
    assert_eq!(strings(&client, "SELECT a FROM m ORDER BY a").await, "d d x");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_locked_through_a_view() {
    let (_dir, node, client) = one_node().await;
    let other = connect(&node).await;
    client
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t VALUES (1, 1), (2, 2);
             CREATE VIEW v AS SELECT id, a + 1 AS b FROM t",
        )
        .await
        .unwrap();
    client.batch_execute("BEGIN; SELECT * FROM v WHERE id = 1 FOR UPDATE").await.unwrap();
    let code = |error: tokio_postgres::Error| error.code().cloned();
    let locked = other.batch_execute("SELECT * FROM t WHERE id = 1 FOR UPDATE NOWAIT").await.unwrap_err();
    assert_eq!(code(locked), Some(SqlState::LOCK_NOT_AVAILABLE));
    other.batch_execute("SELECT * FROM v WHERE id = 2 FOR UPDATE NOWAIT").await.unwrap();
    client.batch_execute("COMMIT").await.unwrap();
    other.batch_execute("SELECT * FROM v WHERE id = 1 FOR UPDATE NOWAIT").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_of_a_materialized_view_see_the_old_rows_or_the_new_ones() {
    let (_dir, node, client) = one_node().await;
    let reader = connect(&node).await;
    client
        .batch_execute(
            "CREATE TABLE t (id int); INSERT INTO t VALUES (1);
             CREATE MATERIALIZED VIEW m AS SELECT id FROM t; CREATE UNIQUE INDEX ON m (id)",
        )
        .await
        .unwrap();
    for (at, word) in [(2, ""), (3, "CONCURRENTLY")] {
        let before = strings(&client, "SELECT id::text FROM m ORDER BY id").await;
        reader.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
        assert_eq!(strings(&reader, "SELECT id::text FROM m ORDER BY id").await, before);
        client.batch_execute(&format!("INSERT INTO t VALUES ({at}); BEGIN; REFRESH MATERIALIZED VIEW {word} m")).await.unwrap();
        assert_eq!(strings(&reader, "SELECT id::text FROM m ORDER BY id").await, before, "{word}");
        client.batch_execute("COMMIT").await.unwrap();
        assert_eq!(strings(&reader, "SELECT id::text FROM m ORDER BY id").await, before, "{word}");
        reader.batch_execute("COMMIT").await.unwrap();
        assert_eq!(strings(&reader, "SELECT id::text FROM m ORDER BY id").await, format!("{before} {at}"), "{word}");
    }
}
