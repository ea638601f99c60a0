//! SQL through the wire, with a stock driver, on one node and on three.

use std::{sync::atomic::Ordering, time::Duration};

use futures::SinkExt;
use keys::{IndexId, TableId, keyspace};
use quorate_tests::{config, connect, replicated};
use server::{Node, NodeConfig};
use tempfile::TempDir;
use tokio_postgres::error::SqlState;

#[tokio::test(flavor = "multi_thread")]
async fn statements_transactions_and_errors() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let mut client = connect(&node).await;
    client
        .batch_execute(
            "CREATE TABLE t (id serial PRIMARY KEY, name text UNIQUE, price numeric(8,2) CHECK (price > 0));
             CREATE INDEX ON t (price);
             INSERT INTO t (name, price) VALUES ('a', 1.50), ('b', 2), ('c', 2.25)",
        )
        .await
        .unwrap();
    // Extended protocol, binary parameters and results.
    let rows = client.query("SELECT id, name FROM t WHERE price >= $1::text::numeric ORDER BY id", &[&"2"]).await.unwrap();
    let found: Vec<(i32, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(found, [(2, "b".to_owned()), (3, "c".to_owned())]);

    let error = client.execute("INSERT INTO t (name, price) VALUES ('a', 9)", &[]).await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::UNIQUE_VIOLATION));
    let error = client.execute("INSERT INTO t (name, price) VALUES ('z', -1)", &[]).await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::CHECK_VIOLATION));
    let error = client.query("SELECT nosuch FROM t", &[]).await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::UNDEFINED_COLUMN));

    let transaction = client.transaction().await.unwrap();
    transaction.execute("UPDATE t SET name = 'aa' WHERE id = 1", &[]).await.unwrap();
    transaction.execute("DELETE FROM t WHERE id = 2", &[]).await.unwrap();
    transaction.rollback().await.unwrap();
    let changed = client
        .query_one("INSERT INTO t (name, price) VALUES ('b', 7) ON CONFLICT (name) DO UPDATE SET price = excluded.price RETURNING id", &[])
        .await
        .unwrap();
    assert_eq!(changed.get::<_, i32>(0), 2);
    let count: i64 = client.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get(0);
    assert_eq!(count, 3);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_may_split_under_a_table_without_anybody_noticing() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let client = connect(&node).await;
    client
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, v int);
             INSERT INTO t SELECT x, 0 FROM generate_series(1, 100) x;
             ALTER TABLE t SPLIT AT VALUES (25), (50), (75)",
        )
        .await
        .unwrap();
    // The right halves are opened behind the statement.
    let split = async {
        while node.kv().store.replicas().len() < 4 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), split).await.expect("the table is split");
    // One transaction over four ranges.
    client.batch_execute("UPDATE t SET v = v + 1").await.unwrap();
    let sum: i64 = client.query_one("SELECT sum(v) FROM t", &[]).await.unwrap().get(0);
    assert_eq!(sum, 100);
    let ids: Vec<i32> = client
        .query("SELECT id FROM t ORDER BY id DESC LIMIT 3", &[])
        .await
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(ids, [100, 99, 98]);
    node.stop().await;
}

async fn copy(client: &tokio_postgres::Client, sql: &str, lines: impl Iterator<Item = String>) -> Result<u64, tokio_postgres::Error> {
    let sink = client.copy_in(sql).await?;
    let mut sink = std::pin::pin!(sink);
    let lines: Vec<String> = lines.collect();
    for piece in lines.chunks(5000) {
        sink.send(std::io::Cursor::new(piece.concat().into_bytes())).await?;
    }
    sink.finish().await
}

/// They are in their ranges long before the commit.
#[tokio::test(flavor = "multi_thread")]
async fn rows_copied_into_a_new_table_are_seen_when_the_table_is() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let (client, other) = (connect(&node).await, connect(&node).await);
    let loaded = || node.kv().db.metrics().rows_loaded.load(Ordering::Relaxed);
    let line = |n: u32| format!("{n}\tname {n}\t{}\n", n % 10);
    let made = "BEGIN; CREATE TABLE t (a int PRIMARY KEY, b text UNIQUE, c int); CREATE INDEX ON t (c)";
    client.batch_execute(made).await.unwrap();
    // Every other key first: what comes between lies where something was loaded.
    let (even, odd) = ((0..60_000).step_by(2).map(line), (1..60_000).step_by(2).map(line));
    assert_eq!(copy(&client, "COPY t FROM STDIN", even).await.unwrap(), 30_000);
    assert!(loaded() > 0, "the rows are in memory still");
    let unseen = other.query("SELECT count(*) FROM t", &[]).await.unwrap_err();
    assert_eq!(unseen.code(), Some(&SqlState::UNDEFINED_TABLE));
    assert_eq!(copy(&client, "COPY t FROM STDIN", odd).await.unwrap(), 30_000);
    client.batch_execute("UPDATE t SET c = 99 WHERE a < 1000; DELETE FROM t WHERE a >= 50000; COMMIT").await.unwrap();
    for (sql, expected) in [
        ("SELECT count(*) FROM t", 50_000),
        ("SELECT count(*) FROM t WHERE c = 99", 1000),
        ("SELECT count(*) FROM t WHERE c = 3", 4900),
        ("SELECT count(*) FROM t WHERE b IN ('name 7', 'name 49999', 'name 50000')", 2),
    ] {
        let found: i64 = other.query_one(sql, &[]).await.unwrap().get(0);
        assert_eq!(found, expected, "{sql}");
    }

    // A key that was loaded long ago is met again, and nothing of that COPY stays.
    client.batch_execute("BEGIN; TRUNCATE t").await.unwrap();
    let twice = copy(&client, "COPY t FROM STDIN", (0..60_000).map(line).chain([line(17)])).await.unwrap_err();
    assert_eq!(twice.code(), Some(&SqlState::UNIQUE_VIOLATION));
    client.batch_execute("ROLLBACK").await.unwrap();
    let count: i64 = other.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get(0);
    assert_eq!(count, 50_000);
    node.stop().await;
}

/// The descriptors lie in another range than the catalog's version, so that a commit that fails leaves some behind
/// provisionally. To run again it read the catalog anew, and waited for itself.
#[tokio::test(flavor = "multi_thread")]
async fn changes_of_the_catalog_at_the_same_time_do_not_wait_for_themselves() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let at = keyspace::index(TableId::new(1), IndexId::new(1));
    node.kv().db.split_at(&at).await.unwrap();
    let mut clients = Vec::new();
    for n in 0..4 {
        let client = connect(&node).await;
        clients.push(tokio::spawn(async move {
            let mut done = 0;
            for round in 0..15 {
                for statement in [
                    format!("CREATE TABLE IF NOT EXISTS t{n}_{round} (a int PRIMARY KEY)"),
                    format!("DROP TABLE IF EXISTS t{n}_{round}"),
                ] {
                    match client.batch_execute(&statement).await {
                        Ok(()) => done += 1,
                        Err(error) => assert_eq!(error.code(), Some(&SqlState::T_R_SERIALIZATION_FAILURE), "{error:?}"),
                    }
                }
            }
            done
        }));
    }
    let all = tokio::time::timeout(Duration::from_secs(60), futures::future::join_all(clients)).await;
    let done: i32 = all.expect("a change of the catalog waits").into_iter().map(Result::unwrap).sum();
    assert!(done > 60, "only {done} of 120 changes came through");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_is_there_after_a_restart() {
    let dir = TempDir::new().unwrap();
    let config = config(dir.path(), "one");
    let node = Node::start(&config).await.unwrap();
    let client = connect(&node).await;
    client.batch_execute("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1), (2)").await.unwrap();
    drop(client);
    node.stop().await;
    drop(node);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    let node = loop {
        match Node::start(&config).await {
            Ok(node) => break node,
            Err(error) => assert!(tokio::time::Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let client = connect(&node).await;
    let count: i64 = client.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get(0);
    assert_eq!(count, 2);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_node_of_three_serves_and_one_may_go() {
    let dir = TempDir::new().unwrap();
    let first = Node::start(&config(dir.path(), "n1")).await.unwrap();
    let client = connect(&first).await;
    client.batch_execute("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)").await.unwrap();
    let join = vec![first.rpc_addr().to_string()];
    let mut others = Vec::new();
    for name in ["n2", "n3"] {
        let config = NodeConfig { join: join.clone(), ..config(dir.path(), name) };
        others.push(Node::start(&config).await.unwrap());
    }
    replicated(&first, 3).await;
    let second = connect(&others[0]).await;
    second.batch_execute("INSERT INTO t VALUES (2)").await.unwrap();
    let count: i64 = client.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get(0);
    assert_eq!(count, 2);
    // The catalogs of another node show a change at once, though no key of a table is read for them.
    client.batch_execute("CREATE TABLE later (a int)").await.unwrap();
    let shown = second.query_one("SELECT count(*) FROM pg_class WHERE relname = 'later'", &[]).await.unwrap();
    assert_eq!(shown.get::<_, i64>(0), 1);

    // The first node, which leads, goes without a word.
    first.kv().transport.shutdown();
    first.kv().store.raft().stop().await;
    let go_on = async {
        loop {
            match second.batch_execute("INSERT INTO t VALUES (3) ON CONFLICT DO NOTHING").await {
                Ok(()) => return,
                // An unknown outcome while the lead moves: the statement may be repeated.
                Err(error) if error.code() == Some(&SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), go_on).await.expect("the other two go on");
    let third = connect(&others[1]).await;
    let count: i64 = third.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get(0);
    assert_eq!(count, 3);
    for node in others {
        node.kv().store.stop().await;
    }
}
