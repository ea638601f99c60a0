//! Statements over many rows beside transactions that hold, change or remove some of them.

use std::time::Duration;

use quorate_tests::{config, connect, start_again};
use server::Node;
use tempfile::TempDir;
use tokio_postgres::{Client, SimpleQueryMessage, error::SqlState};

/// Rows of the table: more than are locked one by one, in several pages.
const ROWS: i64 = 3000;

async fn fill(client: &Client) {
    client
        .batch_execute(&format!(
            "DROP TABLE IF EXISTS b; CREATE TABLE b (id int PRIMARY KEY, v int, s text); CREATE INDEX b_v ON b (v);
             INSERT INTO b SELECT x, 0, 'row ' || x FROM generate_series(1, {ROWS}) x"
        ))
        .await
        .unwrap();
}

async fn numbers(client: &Client, query: &str) -> (i64, i64) {
    let row = client.query_one(query, &[]).await.unwrap();
    (row.get(0), row.get(1))
}

/// At read committed a row that another has changed is read again once it has ended, and counted as it is then.
#[tokio::test(flavor = "multi_thread")]
async fn a_bulk_change_waits_for_one_row_and_sees_what_it_has_become() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let (one, many) = (connect(&node).await, connect(&node).await);
    many.batch_execute("SET default_transaction_isolation = 'read committed'").await.unwrap();
    for (change, statement, expected, left) in [
        ("UPDATE b SET v = 10 WHERE id = 2000", "UPDATE b SET v = v + 1 WHERE id % 2 = 0", 1500, (3000, 1510)),
        ("UPDATE b SET v = 10 WHERE id = 2000", "DELETE FROM b WHERE id % 2 = 0 AND v < 5", 1499, (1501, 10)),
        ("DELETE FROM b WHERE id = 2000", "UPDATE b SET v = v + 1 WHERE id % 2 = 0", 1499, (2999, 1499)),
        ("DELETE FROM b WHERE id = 2000", "DELETE FROM b WHERE id % 2 = 0", 1499, (1500, 0)),
        ("UPDATE b SET v = 10 WHERE id = 2000", "UPDATE b SET v = v + 1", 3000, (3000, 3010)),
    ] {
        fill(&one).await;
        one.batch_execute("BEGIN").await.unwrap();
        one.batch_execute(change).await.unwrap();
        let (changed, ()) = tokio::join!(many.execute(statement, &[]), async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            one.batch_execute("COMMIT").await.unwrap();
        });
        assert_eq!(changed.unwrap(), expected, "{change}, then {statement}");
        assert_eq!(numbers(&one, "SELECT count(*), coalesce(sum(v), 0) FROM b").await, left, "{change}, then {statement}");
        // The index agrees with the rows.
        let by_index = "SELECT count(*), coalesce(sum(v), 0) FROM b WHERE v >= 0";
        assert_eq!(numbers(&one, by_index).await, left, "{change}, then {statement}");
    }
    node.stop().await;
}

/// At repeatable read it is refused, and nothing of it stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_bulk_change_of_rows_that_have_changed_since_its_snapshot_is_refused() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let (one, many) = (connect(&node).await, connect(&node).await);
    for statement in ["UPDATE b SET v = v + 1 WHERE id % 2 = 0", "DELETE FROM b WHERE id % 2 = 0", "DELETE FROM b"] {
        fill(&one).await;
        many.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
        assert_eq!(numbers(&many, "SELECT count(*), sum(v) FROM b").await, (ROWS, 0));
        one.batch_execute("UPDATE b SET v = 10 WHERE id = 2000").await.unwrap();
        let refused = many.execute(statement, &[]).await.unwrap_err();
        assert_eq!(refused.code(), Some(&SqlState::T_R_SERIALIZATION_FAILURE), "{statement}");
        many.batch_execute("ROLLBACK").await.unwrap();
        assert_eq!(numbers(&one, "SELECT count(*), sum(v) FROM b").await, (ROWS, 10), "{statement}");
    }
    node.stop().await;
}

/// Rows that a statement has locked are not changed by others before it commits; the others are free.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_an_open_bulk_change_are_held_and_no_others() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let (one, many) = (connect(&node).await, connect(&node).await);
    fill(&one).await;
    many.batch_execute("BEGIN; UPDATE b SET v = v + 1 WHERE id % 2 = 0").await.unwrap();
    one.batch_execute("SET lock_timeout = '200ms'; UPDATE b SET v = 7 WHERE id = 1001").await.unwrap();
    let held = one.execute("UPDATE b SET v = 7 WHERE id = 1000", &[]).await.unwrap_err();
    assert_eq!(held.code(), Some(&SqlState::LOCK_NOT_AVAILABLE));
    let skipped = "SELECT count(*), sum(id % 2) FROM (SELECT id FROM b FOR UPDATE SKIP LOCKED) x";
    assert_eq!(numbers(&one, skipped).await, (ROWS / 2, ROWS / 2));
    many.batch_execute("ROLLBACK").await.unwrap();
    one.batch_execute("UPDATE b SET v = 7 WHERE id = 1000").await.unwrap();
    assert_eq!(numbers(&one, "SELECT count(*), sum(v) FROM b").await, (ROWS, 14));
    node.stop().await;
}

/// The node knows again where nothing was written, after it has started with rows that it found.
#[tokio::test(flavor = "multi_thread")]
async fn bulk_changes_go_on_after_a_restart() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    fill(&connect(&node).await).await;
    node.stop().await;
    drop(node);
    let node = start_again(&config(dir.path(), "one")).await;
    let client = connect(&node).await;
    assert_eq!(client.execute("UPDATE b SET v = v + 1 WHERE id % 2 = 0", &[]).await.unwrap(), 1500);
    assert_eq!(client.execute("DELETE FROM b WHERE v = 1 AND id < 1001", &[]).await.unwrap(), 500);
    assert_eq!(numbers(&client, "SELECT count(*), sum(v) FROM b").await, (2500, 1000));
    node.stop().await;
}

/// A query that fails half way leaves no table, no rows, and its name free; one that is given up neither.
#[tokio::test(flavor = "multi_thread")]
async fn create_table_as_that_does_not_end_leaves_nothing() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let client = connect(&node).await;
    let wide = "SELECT x, repeat('wide ', 400) || x AS w";
    let failed = client.batch_execute(&format!("CREATE TABLE c AS {wide}, 1 / (x - 9000) FROM generate_series(1, 10000) x")).await;
    assert_eq!(failed.unwrap_err().code(), Some(&SqlState::DIVISION_BY_ZERO));
    client.batch_execute("SET statement_timeout = '400ms'").await.unwrap();
    let slow = format!("CREATE TABLE c AS {wide} FROM generate_series(1, 100000000) x");
    assert_eq!(client.batch_execute(&slow).await.unwrap_err().code(), Some(&SqlState::QUERY_CANCELED));
    client.batch_execute("SET statement_timeout = 0").await.unwrap();
    // More than a transaction may keep in its buffer.
    client.batch_execute(&format!("CREATE TABLE c AS {wide} FROM generate_series(1, 150000) x")).await.unwrap();
    assert_eq!(numbers(&client, "SELECT count(*), sum(length(w)) FROM c").await, (150_000, 150_000 * 2000 + 788_895));
    node.stop().await;
}

/// A cursor reads what its transaction had written when it was declared, also where CREATE TABLE AS sends rows meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn create_table_as_leaves_alone_what_a_cursor_reads() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let client = connect(&node).await;
    for statement in [
        "BEGIN",
        "CREATE TABLE p (i int PRIMARY KEY, v int)",
        "INSERT INTO p SELECT x, 0 FROM generate_series(1, 1000) x",
        "DECLARE c NO SCROLL CURSOR FOR SELECT count(*), sum(v) FROM p",
        "UPDATE p SET v = 1",
        "DELETE FROM p WHERE i <= 500",
        "CREATE TABLE q AS SELECT x, repeat('wide ', 20) AS w FROM generate_series(1, 100000) x",
    ] {
        client.batch_execute(statement).await.unwrap();
    }
    let fetched = client.simple_query("FETCH c").await.unwrap();
    let row = fetched.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some((row.get(0), row.get(1))),
        _ => None,
    });
    assert_eq!(row, Some((Some("1000"), Some("0"))));
    client.batch_execute("COMMIT").await.unwrap();
    assert_eq!(numbers(&client, "SELECT count(*), sum(v) FROM p").await, (500, 500));
    assert_eq!(numbers(&client, "SELECT count(*), sum(x) FROM q").await, (100_000, 5_000_050_000));
    node.stop().await;
}
