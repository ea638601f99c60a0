//! This tree's own sqllogictest files, whose answers are PostgreSQL's, on one node and on three with tiny ranges.

use std::path::Path;

use indicatif::ProgressBar;
use quorate_sqllogictest::{
    expected::KnownLines,
    file::{self, Options, Tally},
};
use quorate_tests::{config, replicated};
use server::{Node, NodeConfig};
use tempfile::TempDir;

/// Small enough that most tables have several ranges.
const TINY_RANGE_BYTES: u64 = 64 << 10;

/// Runs every file, the nodes taking turns.
async fn run_all(nodes: &[Node]) {
    let dir = Path::new("../sqllogictest/slt");
    let mut files = Vec::new();
    file::collect(dir, &mut files).unwrap();
    assert!(!files.is_empty(), "there are files in {}", dir.display());
    let mut total = Tally::default();
    for (position, path) in files.iter().enumerate() {
        let options = Options {
            server: &nodes[position % nodes.len()].sql_addr().to_string(),
            user: "postgres",
            database: &format!("slt_{position}"),
            known: &KnownLines::default(),
            show: 10,
            failures_max: usize::MAX,
            setup: None,
        };
        total.add(&file::run(path, &options, &ProgressBar::hidden()).await.unwrap());
    }
    assert_eq!(total.failed, 0, "{total}");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_on_one_node() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    run_all(std::slice::from_ref(&node)).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_on_three_nodes_with_tiny_ranges() {
    let dir = TempDir::new().unwrap();
    let tiny = |name: &str| {
        let mut config = config(dir.path(), name);
        config.store.range_max_bytes = TINY_RANGE_BYTES;
        config
    };
    let first = Node::start(&tiny("n1")).await.unwrap();
    let join = vec![first.rpc_addr().to_string()];
    let mut nodes = vec![first];
    for name in ["n2", "n3"] {
        nodes.push(Node::start(&NodeConfig { join: join.clone(), ..tiny(name) }).await.unwrap());
    }
    replicated(&nodes[0], 3).await;
    run_all(&nodes).await;
    for node in nodes {
        node.stop().await;
    }
}
