//! Inverted indexes: they answer what tables without them do, and transactions that read by them are serializable.

use std::time::Duration;

use quorate_tests::{config, connect};
use server::Node;
use tempfile::TempDir;
use tokio_postgres::{Client, error::SqlState};

/// Drawn by a seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn one_of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len() as u64) as usize]
    }

    fn scalar(&mut self) -> &'static str {
        self.one_of(&["1", "1.0", "2", "-3.50", "true", "false", "null", "\"a\"", "\"b\"", "\"\"", "\"1\"", "\"longer text\""])
    }

    fn json(&mut self, depth: u64) -> String {
        match self.below(if depth == 0 { 1 } else { 4 }) {
            0 => self.scalar().to_owned(),
            1 => {
                let items: Vec<String> = (0..self.below(4)).map(|_| self.json(depth - 1)).collect();
                format!("[{}]", items.join(", "))
            }
            _ => {
                let pairs = (0..self.below(4)).map(|_| {
                    let name = self.one_of(&["a", "b", "c", "", "deep"]);
                    format!("\"{name}\": {}", self.json(depth - 1))
                });
                let pairs: Vec<String> = pairs.collect();
                format!("{{{}}}", pairs.join(", "))
            }
        }
    }

    fn json_or_null(&mut self) -> String {
        if self.below(12) == 0 { "NULL".to_owned() } else { format!("'{}'::jsonb", self.json(3)) }
    }

    fn array(&mut self) -> String {
        let items: Vec<String> = (0..self.below(5))
            .map(|_| if self.below(10) == 0 { "NULL".to_owned() } else { self.below(6).to_string() })
            .collect();
        format!("'{{{}}}'::int[]", items.join(","))
    }

    fn array_or_null(&mut self) -> String {
        if self.below(12) == 0 { "NULL".to_owned() } else { self.array() }
    }

    fn condition(&mut self) -> String {
        match self.below(11) {
            0 | 1 => format!("j @> '{}'", self.json(2)),
            2 => format!("j ? '{}'", self.one_of(&["a", "b", "c", "", "1", "zz"])),
            3 => format!("j ?| '{}'", self.one_of(&["{a,b}", "{zz}", "{}", "{NULL,c}"])),
            4 => format!("j ?& '{}'", self.one_of(&["{a,b}", "{zz,a}", "{}", "{NULL,c}"])),
            5 => format!("a @> {}", self.array()),
            6 => format!("a <@ {}", self.array()),
            7 => format!("a && {}", self.array()),
            8 => format!("a = {}", self.array()),
            9 => format!("({} AND {})", self.condition(), self.condition()),
            _ => format!("({} OR {})", self.condition(), self.condition()),
        }
    }

    /// A change, with the table's name left out.
    fn change(&mut self, id: u64) -> String {
        match self.below(8) {
            0..4 => format!("INSERT INTO %t VALUES ({id}, {}, {})", self.json_or_null(), self.array_or_null()),
            4 => format!("UPDATE %t SET j = {} WHERE id % 7 = {}", self.json_or_null(), self.below(7)),
            5 => format!("UPDATE %t SET a = a || {} WHERE {}", self.below(6), self.condition()),
            6 => format!("UPDATE %t SET id = -id WHERE {}", self.condition()),
            _ => format!("DELETE FROM %t WHERE {}", self.condition()),
        }
    }
}

async fn ids(client: &Client, table: &str, condition: &str) -> Vec<i32> {
    let rows = client.query(&format!("SELECT id FROM {table} WHERE {condition} ORDER BY id"), &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Two tables with the same rows, one of them with inverted indexes: every condition is true of the same rows, whichever changes
/// were made, by whatever conditions they were found.
#[tokio::test(flavor = "multi_thread")]
async fn answers_are_those_of_a_table_without_indexes() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let client = connect(&node).await;
    for indexes in [
        "CREATE INDEX ON f USING gin (j); CREATE INDEX ON f USING gin (a)",
        "CREATE INDEX ON f USING gin (j jsonb_path_ops, a)",
        "CREATE INDEX ON f USING gin (a, j) WHERE id > 0",
    ] {
        client
            .batch_execute(
                "DROP TABLE IF EXISTS f, s; CREATE TABLE f (id int PRIMARY KEY, j jsonb, a int[]); CREATE TABLE s (LIKE f INCLUDING ALL)",
            )
            .await
            .unwrap();
        let mut draw = Draw(7);
        for id in 1..=300 {
            // The index is built over what is there, and kept from there on.
            if id == 60 {
                client.batch_execute(indexes).await.unwrap();
            }
            if id == 200 {
                client.batch_execute("ANALYZE f; ANALYZE s").await.unwrap();
            }
            let change = draw.change(id);
            let (fast, slow) = (change.replace("%t", "f"), change.replace("%t", "s"));
            let is_undone = draw.below(6) == 0;
            if is_undone {
                client.batch_execute("BEGIN").await.unwrap();
            }
            let fast = client.execute(&fast, &[]).await;
            match fast {
                Ok(fast) => assert_eq!(client.execute(&slow, &[]).await.unwrap(), fast, "{change}"),
                // Two rows that would get one key.
                Err(error) => assert_eq!(error.code(), Some(&SqlState::UNIQUE_VIOLATION), "{change}: {error:?}"),
            }
            if is_undone {
                client.batch_execute("ROLLBACK").await.unwrap();
            }
            for _ in 0..4 {
                let condition = draw.condition();
                let condition = if draw.below(3) == 0 { format!("id > 0 AND {condition}") } else { condition };
                let (fast, slow) = (ids(&client, "f", &condition).await, ids(&client, "s", &condition).await);
                assert_eq!(fast, slow, "{indexes}: {condition}");
            }
        }
    }
    node.stop().await;
}

/// Each of two transactions puts in what the other has looked for: one of them fails, or is run again and sees the other's.
#[tokio::test(flavor = "multi_thread")]
async fn write_skew_over_keys() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let clients = [connect(&node).await, connect(&node).await];
    clients[0]
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, j jsonb, seen int); CREATE INDEX ON t USING gin (j); \
             INSERT INTO t SELECT g, jsonb_build_object('filler', g), 0 FROM generate_series(1000, 1100) g",
        )
        .await
        .unwrap();
    for round in 0..20 {
        let [one, other] = &clients;
        for (client, limit) in [(one, 0), (other, 0)] {
            client.batch_execute(&format!("SET transaction_replay_limit = {limit}; BEGIN ISOLATION LEVEL SERIALIZABLE")).await.unwrap();
        }
        let look = format!("SELECT count(*) FROM t WHERE j @> '{{\"round\": {round}, \"who\": \"x\"}}'");
        let mut seen = Vec::new();
        for client in [one, other] {
            seen.push(client.query_one(&look, &[]).await.unwrap().get::<_, i64>(0));
        }
        let mut committed = 0;
        for (at, client) in [one, other].into_iter().enumerate() {
            let insert = format!(
                "INSERT INTO t VALUES ({}, '{{\"round\": {round}, \"who\": \"x\"}}', {})",
                round * 2 + at,
                seen[at]
            );
            let written = client.batch_execute(&insert).await;
            let done = match written {
                Ok(()) => client.batch_execute("COMMIT").await,
                failed => failed,
            };
            match done {
                Ok(()) => committed += 1,
                Err(error) => {
                    assert_eq!(error.code(), Some(&SqlState::T_R_SERIALIZATION_FAILURE), "{error:?}");
                    let _ = client.batch_execute("ROLLBACK").await;
                }
            }
        }
        assert_eq!(seen, [0, 0]);
        assert_eq!(committed, 1, "round {round}: both looked and found nothing");
    }
    // What it looked for is not what comes: both commit.
    let [one, other] = &clients;
    for (client, who) in [(one, "p"), (other, "q")] {
        client.batch_execute("BEGIN ISOLATION LEVEL SERIALIZABLE").await.unwrap();
        client.batch_execute(&format!("SELECT * FROM t WHERE j @> '{{\"who\": \"{who}\"}}'")).await.unwrap();
    }
    for (client, id) in [(one, 5000), (other, 5001)] {
        client.batch_execute(&format!("INSERT INTO t VALUES ({id}, '{{\"who\": \"r{id}\"}}', 0); COMMIT")).await.unwrap();
    }
    node.stop().await;
}

/// READ COMMITTED: a row that is found by a key, and changed by another so that it has that key no more, is left alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_lost_its_key_is_left_alone() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let (one, other) = (connect(&node).await, connect(&node).await);
    one.batch_execute(
        "CREATE TABLE t (id int PRIMARY KEY, tags text[], n int DEFAULT 0); CREATE INDEX ON t USING gin (tags); \
         INSERT INTO t VALUES (1, '{a,b}'), (2, '{a}'), (3, '{c}')",
    )
    .await
    .unwrap();
    one.batch_execute("BEGIN; UPDATE t SET tags = '{z}' WHERE id = 1; UPDATE t SET tags = '{a,c}' WHERE id = 3").await.unwrap();
    let waiting = tokio::spawn(async move {
        other.batch_execute("SET default_transaction_isolation = 'read committed'").await.unwrap();
        let changed = other.execute("UPDATE t SET n = n + 1 WHERE tags @> '{a}'", &[]).await;
        (other, changed)
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished(), "the row is locked by who changes it");
    one.batch_execute("COMMIT").await.unwrap();
    let (other, changed) = waiting.await.unwrap();
    assert_eq!(changed.unwrap(), 2);
    assert_eq!(ids(&other, "t", "n = 1").await, [2, 3]);
    node.stop().await;
}
