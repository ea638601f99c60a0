//! Zone configurations by SQL: what statements say of them, and what becomes of ranges.

use std::time::Duration;

use quorate_tests::{config, connect};
use server::{Node, NodeConfig};
use tempfile::TempDir;
use tokio_postgres::Client;

async fn shown(client: &Client, of: &str) -> (String, String) {
    let row = client.query_one(&format!("SHOW ZONE CONFIGURATION FROM {of}"), &[]).await.unwrap();
    (row.get(0), row.get(1))
}

async fn all(client: &Client) -> Vec<(String, String)> {
    let rows = client.query("SHOW ALL ZONE CONFIGURATIONS", &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

async fn refusal(client: &Client, sql: &str) -> String {
    let error = client.batch_execute(sql).await.expect_err(sql);
    let error = error.as_db_error().unwrap_or_else(|| panic!("{sql}: {error}"));
    format!("{} {}", error.code().code(), error.message())
}

async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let look = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(90), look).await.is_ok(), "in vain: {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn configurations_are_said_inherited_and_taken_back() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let client = connect(&node).await;
    client
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, v int); CREATE INDEX t_v ON t (v);
             CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id);
             CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10)",
        )
        .await
        .unwrap();
    let (target, text) = shown(&client, "TABLE t").await;
    assert_eq!(target, "RANGE default");
    assert_eq!(
        text,
        "ALTER RANGE default CONFIGURE ZONE USING\n    range_min_bytes = 134217728,\n    range_max_bytes = 536870912,\n    \
         gc.ttlseconds = 3600,\n    num_replicas = 3,\n    constraints = '[]',\n    lease_preferences = '[]'"
    );
    client
        .batch_execute(
            "ALTER DATABASE postgres CONFIGURE ZONE USING gc.ttlseconds = 600, num_replicas = 5;
             ALTER TABLE t CONFIGURE ZONE USING constraints = '[+region=eu, -zone=eu-1]', lease_preferences = '[[+zone=eu-2]]';
             ALTER INDEX t_v CONFIGURE ZONE USING num_replicas = 7;
             ALTER PARTITION p1 OF TABLE p CONFIGURE ZONE USING range_max_bytes = 1048576, range_min_bytes = 0",
        )
        .await
        .unwrap();
    let (target, text) = shown(&client, "INDEX t@t_v").await;
    assert_eq!(target, "INDEX public.t_v");
    for part in ["num_replicas = 7", "gc.ttlseconds = 600", "'[+region=eu, -zone=eu-1]'", "'[[+zone=eu-2]]'"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert_eq!(shown(&client, "TABLE p").await.0, "DATABASE postgres");
    assert_eq!(shown(&client, "PARTITION p1 OF TABLE p").await.0, "PARTITION public.p1 OF TABLE public.p");
    let names: Vec<String> = all(&client).await.into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        ["RANGE default", "DATABASE postgres", "PARTITION public.p1 OF TABLE public.p", "TABLE public.t", "INDEX public.t_v"]
    );
    // What SHOW prints can be run, and says the same.
    for (_, text) in all(&client).await {
        client.batch_execute(&text).await.unwrap_or_else(|error| panic!("{text}: {error}"));
    }
    assert_eq!(all(&client).await.len(), 5);

    // A change is part of its transaction.
    client.batch_execute("BEGIN; ALTER TABLE t CONFIGURE ZONE USING num_replicas = 1; ROLLBACK").await.unwrap();
    assert!(!shown(&client, "TABLE t").await.1.contains("num_replicas = 1"));
    client.batch_execute("ALTER TABLE t CONFIGURE ZONE USING constraints = COPY FROM PARENT").await.unwrap();
    assert!(shown(&client, "TABLE t").await.1.contains("constraints = '[]'"));
    for sql in [
        "DROP INDEX t_v; ALTER TABLE t CONFIGURE ZONE DISCARD; DROP TABLE p",
        "ALTER DATABASE postgres CONFIGURE ZONE DISCARD",
        "ALTER RANGE default CONFIGURE ZONE DISCARD",
        "ALTER TABLE IF EXISTS nowhere CONFIGURE ZONE DISCARD",
        "CREATE DATABASE other",
        "ALTER DATABASE other CONFIGURE ZONE USING num_replicas = 1",
        "DROP DATABASE other",
    ] {
        client.batch_execute(sql).await.unwrap();
    }
    assert_eq!(all(&client).await.len(), 1);
    for (sql, expected) in [
        ("ALTER TABLE t CONFIGURE ZONE USING num_replicas = 0", "23514 could not validate zone config: at least one replica is required"),
        (
            "ALTER TABLE t CONFIGURE ZONE USING num_replicas = 2",
            "23514 could not validate zone config: at least 3 replicas are required for multi-replica configurations",
        ),
        ("ALTER TABLE t CONFIGURE ZONE USING num_replicas = -1", "22023 invalid value for \"num_replicas\": it must not be negative"),
        ("ALTER TABLE t CONFIGURE ZONE USING constraints = '[region]'", "22023 invalid value for \"constraints\": \"region\" is not a constraint: it is +KEY=VALUE or -KEY=VALUE"),
        ("ALTER TABLE t CONFIGURE ZONE USING num_voters = 3", "0A000 the zone setting \"num_voters\" is not supported"),
        ("ALTER TABLE t CONFIGURE ZONE USING nothing = 3", "42601 unsupported zone config parameter: \"nothing\""),
        ("ALTER TABLE t CONFIGURE ZONE USING num_replicas = 3, num_replicas = 5", "22023 duplicate zone config parameter: \"num_replicas\""),
        ("ALTER TABLE nowhere CONFIGURE ZONE DISCARD", "42P01 relation \"nowhere\" does not exist"),
        ("ALTER DATABASE nowhere CONFIGURE ZONE DISCARD", "3D000 database \"nowhere\" does not exist"),
        ("ALTER RANGE meta CONFIGURE ZONE DISCARD", "0A000 zone configurations of the range \"meta\" are not supported"),
        ("ALTER RANGE x CONFIGURE ZONE DISCARD", "42602 \"x\" is not a built-in zone"),
        ("ALTER TABLE t CONFIGURE ZONE", "42601 syntax error at end of input"),
    ] {
        assert_eq!(refusal(&client, sql).await, expected, "{sql}");
    }
    // What else is said of tables, indexes and databases is read as ever.
    client.batch_execute("ALTER TABLE t ADD configure int; ALTER INDEX t_pkey RENAME TO k; ALTER DATABASE postgres SET work_mem = '4MB'").await.unwrap();
    node.stop().await;
}

/// Ranges of a table and of its index come apart, get their replicas, lose them again, and become one.
#[tokio::test(flavor = "multi_thread")]
async fn ranges_follow_their_configuration() {
    let dir = TempDir::new().unwrap();
    let quick = |name: &str, locality: &str| {
        let mut config = config(dir.path(), name);
        config.locality = locality.parse().unwrap();
        config.store.merge_pause = Duration::from_millis(500);
        config.store.merge_interval = Duration::from_millis(200);
        config.store.queue_interval = Duration::from_millis(100);
        config.store.replica_check_interval = Duration::from_millis(200);
        config
    };
    let one = Node::start(&quick("one", "region=a")).await.unwrap();
    let join = |name: &str, locality: &str| NodeConfig { join: vec![one.rpc_addr().to_string()], ..quick(name, locality) };
    let mut nodes = Vec::new();
    for (name, locality) in [("two", "region=b"), ("three", "region=b"), ("four", "region=b")] {
        nodes.push(Node::start(&join(name, locality)).await.unwrap());
    }
    let client = connect(&one).await;
    client
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT x, x FROM generate_series(1, 100) x;
             ALTER TABLE t CONFIGURE ZONE USING constraints = '[+region=b]', lease_preferences = '[[+region=b]]'",
        )
        .await
        .unwrap();
    let ranges = async || -> Vec<(i64, String)> {
        let rows = client.query("SHOW RANGES FROM TABLE t", &[]).await.unwrap();
        rows.iter().map(|row| (row.get("lease_holder"), row.get("replicas"))).collect()
    };
    until("it is in its region", async || ranges().await.iter().all(|(lease, stores)| stores == "{2,3,4}" && *lease > 1)).await;
    client.batch_execute("ALTER TABLE t CONFIGURE ZONE USING constraints = '[+region=a]', num_replicas = 1, lease_preferences = '[]'").await.unwrap();
    until("it is on one node", async || ranges().await.iter().all(|(lease, stores)| stores == "{1}" && *lease == 1)).await;
    let sum: i64 = client.query_one("SELECT sum(v) FROM t", &[]).await.unwrap().get(0);
    assert_eq!(sum, 5050);
    client.batch_execute("ALTER TABLE t CONFIGURE ZONE DISCARD").await.unwrap();
    until("it is as others are", async || ranges().await.iter().all(|(_, stores)| stores.len() == 7)).await;
    let sum: i64 = client.query_one("SELECT sum(v) FROM t", &[]).await.unwrap().get(0);
    assert_eq!(sum, 5050);
    for node in &nodes {
        node.stop().await;
    }
    one.stop().await;
}
