//! The console: what its endpoints say of a cluster of three nodes, the views that come with it, and its page in a browser.

mod endpoints;
mod page;
mod views;

use std::time::Duration;

use quorate_tests::{config, http, replicated};
use serde_json::Value;
use server::{Node, NodeConfig};
use tempfile::TempDir;
use tokio_postgres::Client;

/// Three nodes, with three replicas of everything.
struct Three {
    _dir: TempDir,
    nodes: Vec<Node>,
}

impl Three {
    async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let first = Node::start(&config(dir.path(), "one")).await.unwrap();
        let join = vec![first.rpc_addr().to_string()];
        let mut nodes = vec![first];
        for name in ["two", "three"] {
            nodes.push(Node::start(&NodeConfig { join: join.clone(), ..config(dir.path(), name) }).await.unwrap());
        }
        replicated(&nodes[0], 3).await;
        Self { _dir: dir, nodes }
    }

    async fn stop(self) {
        for node in self.nodes.iter().rev() {
            node.stop().await;
        }
    }
}

/// What an endpoint answers.
async fn api(node: &Node, path: &str) -> Value {
    let answer = http::get(node.http_addr(), &format!("/api/v1/{path}")).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{path}: {error}: {}", answer.body))
}

/// Asks until the answer is as wanted.
async fn until(node: &Node, path: &str, is_as_wanted: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    for _ in 0..200 {
        last = api(node, path).await;
        if is_as_wanted(&last) {
            return last;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never as wanted: {path}: {last}");
}

fn rows<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
    answer[name].as_array().map_or_else(|| panic!("no {name} in {answer}"), Vec::as_slice)
}

async fn pid_of(client: &Client) -> i64 {
    i64::from(client.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get::<_, i32>(0))
}
