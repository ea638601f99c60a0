//! What psql shows of a schema, character by character.
//!
//! `catalogs/schema.sql` makes the schema; `catalogs/shown.txt` holds commands of psql and queries, each on a line that
//! begins with `> `, and what PostgreSQL 15 shows for it. psql's own queries reach the catalogs unmodified.

use std::process::{Command, Stdio};

use quorate_tests::config;
use server::Node;
use tempfile::TempDir;

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
