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

    fn vector(&mut self) -> String {
        let words: Vec<String> = (1..=self.below(5))
            .map(|at| format!("{}:{at}{}", self.one_of(&["ab", "abc", "b", "bc", "c", "x"]), self.one_of(&["", "", "A", "B"])))
            .collect();
        if self.below(12) == 0 { "NULL".to_owned() } else { format!("'{}'::tsvector", words.join(" ")) }
    }

    fn search(&mut self, depth: u64) -> String {
        match self.below(if depth == 0 { 2 } else { 6 }) {
            0 | 1 => format!("{}{}", self.one_of(&["ab", "abc", "b", "c", "zz"]), self.one_of(&["", "", ":*", ":A", ":*B"])),
            2 => format!("!({})", self.search(depth - 1)),
            3 => format!("({} | {})", self.search(depth - 1), self.search(depth - 1)),
            4 => format!("({} <-> {})", self.search(depth - 1), self.search(depth - 1)),
            _ => format!("({} & {})", self.search(depth - 1), self.search(depth - 1)),
        }
    }

    fn condition(&mut self) -> String {
        match self.below(13) {
            11 | 12 => format!("v @@ '{}'", self.search(3)),
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
        match self.below(9) {
            8 => format!("UPDATE %t SET v = {} WHERE {}", self.vector(), self.condition()),
            0..4 => format!("INSERT INTO %t VALUES ({id}, {}, {}, {})", self.json_or_null(), self.array_or_null(), self.vector()),
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

/// Whether a statement finds its rows by one of the indexes whose names begin so.
async fn reads_by(client: &Client, indexes: &[&str], statement: &str) -> bool {
    let rows = client.query(&format!("EXPLAIN (COSTS OFF) {statement}"), &[]).await.unwrap();
    let is_it = |line: &str| indexes.iter().any(|name| line.contains(&format!("Index Scan using {name}")));
    rows.iter().any(|row| is_it(row.get(0)))
}

/// Two tables with the same rows, one of them with inverted indexes: every condition is true of the same rows, whichever changes
/// were made, by whatever conditions they were found.
#[tokio::test(flavor = "multi_thread")]
async fn answers_are_those_of_a_table_without_indexes() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let client = connect(&node).await;
    for indexes in [
        "CREATE INDEX ON f USING gin (j); CREATE INDEX ON f USING gin (a); CREATE INDEX ON f USING gin (v)",
        "CREATE INDEX ON f USING gin (j jsonb_path_ops, a)",
        "CREATE INDEX ON f USING gin (a, j, v) WHERE id > 0",
    ] {
        client
            .batch_execute(
                "DROP TABLE IF EXISTS f, s; CREATE TABLE f (id int PRIMARY KEY, j jsonb, a int[], v tsvector); CREATE TABLE s (LIKE f INCLUDING ALL)",
            )
            .await
            .unwrap();
        let mut draw = Draw(7);
        let mut by_index = 0;
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
                // Few rows that are known to be few are read whole.
                if (60..200).contains(&id) {
                    let look = format!("SELECT id FROM f WHERE {condition}");
                    by_index += usize::from(reads_by(&client, &["f_j_", "f_a_", "f_v_"], &look).await);
                }
            }
        }
        assert!(by_index >= 20, "{indexes}: {by_index}");
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
             INSERT INTO t SELECT g, jsonb_build_object('filler', g), 0 FROM generate_series(10001, 13000) g",
        )
        .await
        .unwrap();
    let looks = [
        "SELECT id FROM t WHERE %c",
        "UPDATE t SET seen = seen + 1 WHERE %c",
        "DELETE FROM t WHERE %c",
        "SELECT id FROM t WHERE %c FOR UPDATE",
        "SELECT id FROM t WHERE %c ORDER BY seen LIMIT 1 FOR NO KEY UPDATE",
    ];
    for round in 0..20 {
        let [one, other] = &clients;
        for (client, limit) in [(one, 0), (other, 0)] {
            client.batch_execute(&format!("SET transaction_replay_limit = {limit}; BEGIN ISOLATION LEVEL SERIALIZABLE")).await.unwrap();
        }
        let condition = format!("j @> '{{\"round\": {round}, \"who\": \"x\"}}'");
        let look = looks[round % looks.len()].replace("%c", &condition);
        assert!(reads_by(one, &["t_j_"], &look).await, "{look}");
        let mut seen = Vec::new();
        for client in [one, other] {
            seen.push(client.execute(&look, &[]).await.unwrap());
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
        assert_eq!(committed, 1, "{look}: both looked and found nothing");
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

/// Stretches of several pages, beside one that is short: rows are found, changed, moved and locked by them.
#[tokio::test(flavor = "multi_thread")]
async fn common_and_rare_keys() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let (one, other) = (connect(&node).await, connect(&node).await);
    one.batch_execute("CREATE TABLE b (id int PRIMARY KEY, tags text[], n int DEFAULT 0); CREATE INDEX ON b USING gin (tags)")
        .await
        .unwrap();
    for part in 0..4 {
        let (from, to) = (part * 5000 + 1, (part + 1) * 5000);
        let rows = format!(
            "INSERT INTO b SELECT g, CASE WHEN g % 2000 = 7 THEN '{{common,rare}}' ELSE ARRAY['common', 'k' || g % 100] END \
             FROM generate_series({from}, {to}) g"
        );
        assert_eq!(one.execute(&rows, &[]).await.unwrap(), 5000);
    }
    for condition in ["tags @> '{common,rare}'", "tags && '{rare,k7}'", "tags @> '{rare}'"] {
        let look = format!("SELECT id FROM b WHERE {condition}");
        assert!(reads_by(&one, &["b_tags_"], &look).await, "{condition}");
    }
    let rare: Vec<i32> = (0..10).map(|at| at * 2000 + 7).collect();
    assert_eq!(ids(&one, "b", "tags @> '{common,rare}'").await, rare);
    for (condition, count) in [
        ("tags @> '{common}'", 20_000),
        ("tags && '{common,rare}'", 20_000),
        ("tags && '{rare,k7}'", 200),
        ("tags @> '{common,k7}'", 190),
        ("tags @> '{common,k7,rare}'", 0),
        ("tags && '{common}' AND tags @> '{k7}'", 190),
        ("tags && '{k1,k2,k3}' AND tags && '{k3,rare}'", 200),
    ] {
        assert_eq!(ids(&one, "b", condition).await.len(), count, "{condition}");
    }
    assert_eq!(one.query("SELECT id FROM b WHERE tags @> '{common}' LIMIT 10", &[]).await.unwrap().len(), 10);

    // Each takes rows that the other does not hold.
    let take = |limit: u32| format!("SELECT id FROM b WHERE tags @> '{{common,rare}}' LIMIT {limit} FOR UPDATE SKIP LOCKED");
    assert!(reads_by(&one, &["b_tags_"], &take(4)).await);
    let mut taken: Vec<i32> = Vec::new();
    for (client, limit, count) in [(&one, 4, 4), (&other, 100, 6)] {
        client.batch_execute("BEGIN").await.unwrap();
        let rows = client.query(&take(limit), &[]).await.unwrap();
        assert_eq!(rows.len(), count);
        taken.extend(rows.iter().map(|row| row.get::<_, i32>(0)));
    }
    taken.sort_unstable();
    assert_eq!(taken, rare);
    for client in [&one, &other] {
        client.batch_execute("COMMIT").await.unwrap();
    }

    let change = async |statement: &str| one.execute(statement, &[]).await.unwrap();
    assert_eq!(change("UPDATE b SET tags = '{common,k7}' WHERE tags @> '{rare}' AND id < 5000").await, 3);
    assert_eq!(change("UPDATE b SET id = id + 100000 WHERE tags @> '{common,rare}'").await, 7);
    assert_eq!(ids(&one, "b", "tags @> '{rare,common}'").await, rare[3..].iter().map(|id| id + 100_000).collect::<Vec<_>>());
    assert_eq!(ids(&one, "b", "tags @> '{common,k7}'").await.len(), 193);
    assert_eq!(change("UPDATE b SET n = n + 1 WHERE tags @> '{common,k7}' OR tags @> '{rare}'").await, 200);
    assert_eq!(change("DELETE FROM b WHERE tags && '{k1,k2}'").await, 400);
    assert_eq!(ids(&one, "b", "tags && '{common,k1}'").await.len(), 19_600);
    // What is written and not committed is found with the rest.
    one.batch_execute("BEGIN; DELETE FROM b WHERE tags @> '{common,k7}'; INSERT INTO b VALUES (0, '{common,rare}')").await.unwrap();
    assert_eq!(ids(&one, "b", "tags @> '{common,k7}'").await, Vec::<i32>::new());
    assert_eq!(ids(&one, "b", "tags @> '{common,rare}'").await.len(), 8);
    assert_eq!(ids(&one, "b", "tags && '{common}'").await.len(), 19_600 - 193 + 1);
    assert_eq!(ids(&other, "b", "tags && '{common}'").await.len(), 19_600);
    one.batch_execute("ROLLBACK").await.unwrap();
    node.stop().await;
}
