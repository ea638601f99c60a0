//! What psql shows of a schema, character by character.
//!
//! `catalogs/schema.sql` makes the schema; `catalogs/shown.txt` holds commands of psql and queries, each on a line that
//! begins with `> `, and what PostgreSQL 15 shows for it. psql's own queries reach the catalogs unmodified.
//!
//! And that the rows which a condition finds are those of a full read, whichever way they are found.

use std::process::{Command, Stdio};

use quorate_tests::{config, connect, connect_to};
use server::Node;
use tempfile::TempDir;
use tokio_postgres::{Client, SimpleQueryMessage};

/// What psql prints for a command, errors included.
fn psql(node: &Node, arguments: &[&str]) -> String {
    let address = node.sql_addr();
    let output = Command::new("psql")
        .args(["-X", "-U", "postgres", "-d", "postgres", "-h"])
        .arg(address.ip().to_string())
        .args(["-p", &address.port().to_string()])
        .args(arguments)
        .env("PGCLIENTENCODING", "UTF8")
        .stdin(Stdio::null())
        .output()
        .expect("psql is installed, as `cargo xtask setup` asks");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_shows_a_schema_as_postgresql_does() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let schema = "tests/catalogs/schema.sql";
    assert_eq!(psql(&node, &["-q", "-v", "ON_ERROR_STOP=1", "-f", schema]), "");
    let mut different = Vec::new();
    let blocks = include_str!("catalogs/shown.txt").split("\n> ").map(|block| block.trim_start_matches("> "));
    let mut compared = 0;
    for block in blocks {
        let (command, expected) = block.split_once('\n').unwrap();
        let shown = psql(&node, &["-c", command]);
        compared += 1;
        if shown.trim_end() != expected.trim_end() {
            different.push(format!("> {command}\nexpected:\n{expected}\nshown:\n{shown}"));
        }
    }
    assert!(different.is_empty(), "{} of {compared} differ:\n{}", different.len(), different.join("\n"));
    node.stop().await;
}

/// More relations than there are whose rows are made at once and kept, in another database: nothing here may depend on it.
async fn fill(node: &Node) {
    connect(node).await.batch_execute("CREATE DATABASE filler").await.unwrap();
    let filler = connect_to(node, "filler").await;
    let tables: Vec<String> = (0..300).map(|number| format!("CREATE TABLE f{number} (a int)")).collect();
    filler.batch_execute(&tables.join(";")).await.unwrap();
}

type Rows = Vec<Vec<Option<String>>>;

/// The rows of a query as text, in an order of their own.
async fn rows(client: &Client, query: &str) -> Rows {
    let messages = client.simple_query(query).await.unwrap_or_else(|error| panic!("{query}: {error:?}"));
    let mut rows: Rows = Vec::new();
    for message in messages {
        if let SimpleQueryMessage::Row(row) = message {
            rows.push((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect());
        }
    }
    rows.sort_unstable();
    rows
}

/// What the node keeps of its own.
const MOVING: [&str; 8] = [
    "pg_cursors", "pg_locks", "pg_prepared_statements", "pg_prepared_xacts", "pg_stat_activity", "pg_stat_ssl",
    "pg_stat_statements", "pg_stat_statements_info",
];

/// *keys-lead-to-all*: a value under `=`, IN, ANY and a join gives the rows that a full read has of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_finds_the_rows_that_a_full_read_has_of_it() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    assert_eq!(psql(&node, &["-q", "-v", "ON_ERROR_STOP=1", "-f", "tests/catalogs/schema.sql"]), "");
    assert_eq!(psql(&node, &["-q", "-v", "ON_ERROR_STOP=1", "-f", "tests/catalogs/objects.sql"]), "");
    fill(&node).await;
    let client = connect(&node).await;
    let columns = "SELECT table_schema, table_name, column_name, udt_name, ordinal_position FROM information_schema.columns
                   WHERE table_schema IN ('pg_catalog', 'information_schema')
                       AND udt_name IN ('oid', 'name', 'text', 'varchar')";
    let (mut keys, mut compared) = (0, 0);
    for column in rows(&client, columns).await {
        let [schema, table, column, ty, position] = &column.into_iter().flatten().collect::<Vec<String>>()[..] else {
            panic!("columns have names")
        };
        if MOVING.contains(&table.as_str()) {
            continue;
        }
        let (of, at) = (format!("{schema}.{table}"), position.parse::<usize>().unwrap() - 1);
        // Costs would make all columns keys in a table of few rows.
        let plan = rows(&client, &format!("EXPLAIN SELECT * FROM {of} WHERE {column} = '1'")).await;
        if !plan.iter().flatten().flatten().any(|line| line.contains("Index Cond")) {
            continue;
        }
        keys += 1;
        let all = rows(&client, &format!("SELECT * FROM {of}")).await;
        let mut values: Vec<&String> = all.iter().filter_map(|row| row[at].as_ref()).collect();
        values.sort_unstable();
        values.dedup();
        // Some of all, and always the last ones, which are those of users' objects.
        let step = values.len().div_ceil(12).max(1);
        let chosen: Vec<&String> = values.iter().rev().step_by(step).copied().collect();
        let of_values = |values: &[&String]| -> Rows {
            all.iter().filter(|row| row[at].as_ref().is_some_and(|value| values.contains(&value))).cloned().collect()
        };
        for pair in chosen.chunks(2) {
            let (first, literals) = (pair[0], pair.iter().map(|it| format!("'{}'", it.replace('\'', "''"))).collect::<Vec<_>>());
            let list = literals.join(", ");
            let one = &literals[0];
            let array = format!("ARRAY[{list}]::{ty}[]");
            for (condition, expected) in [
                (format!("{column} = {one}"), of_values(&[first])),
                (format!("{column} IN ({list})"), of_values(pair)),
                (format!("{column} = ANY ({array})"), of_values(pair)),
                (format!("{column} IN (SELECT unnest({array}))"), of_values(pair)),
            ] {
                let query = format!("SELECT * FROM {of} WHERE {condition}");
                assert_eq!(rows(&client, &query).await, expected, "keys-lead-to-all: {query}");
                compared += 1;
            }
            let joined = format!("SELECT t.* FROM unnest({array}) k (v) JOIN {of} t ON t.{column} = k.v");
            assert_eq!(rows(&client, &joined).await, of_values(pair), "keys-lead-to-all: {joined}");
            let outer = format!("SELECT t.* FROM unnest({array}) k (v) LEFT JOIN {of} t ON t.{column} = k.v WHERE k.v IS NOT NULL");
            assert_eq!(rows(&client, &outer).await, of_values(pair), "keys-lead-to-all: {outer}");
        }
    }
    assert!(keys > 150 && compared > 1500, "{keys} columns, {compared} conditions");
    node.stop().await;
}

/// The rows of a catalog that are made chunk by chunk are those that are made at once.
#[tokio::test(flavor = "multi_thread")]
async fn many_relations_do_not_change_what_a_full_read_shows() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    assert_eq!(psql(&node, &["-q", "-v", "ON_ERROR_STOP=1", "-f", "tests/catalogs/schema.sql"]), "");
    assert_eq!(psql(&node, &["-q", "-v", "ON_ERROR_STOP=1", "-f", "tests/catalogs/objects.sql"]), "");
    let client = connect(&node).await;
    let tables = "SELECT table_schema || '.' || table_name FROM information_schema.tables
                  WHERE table_schema IN ('pg_catalog', 'information_schema')";
    let tables: Vec<String> = rows(&client, tables).await.into_iter().flatten().flatten().collect();
    let is_moving = |name: &str| name.contains("database") || MOVING.iter().any(|moving| name.ends_with(moving));
    let mut before = Vec::new();
    for table in tables.iter().filter(|name| !is_moving(name)) {
        before.push((table, rows(&client, &format!("SELECT * FROM {table}")).await));
    }
    fill(&node).await;
    for (table, expected) in before {
        assert_eq!(rows(&client, &format!("SELECT * FROM {table}")).await, expected, "{table}");
    }
    node.stop().await;
}
