//! Nodes in this process for the cross-crate tests: real stores in scratch directories, real sockets on loopback.

pub mod browser;
pub mod http;
pub mod raw;
pub mod tls;

use std::{path::Path, time::Duration};

use server::{Node, NodeConfig};
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

/// Every port is the system's choice.
#[must_use]
pub fn config(dir: &Path, name: &str) -> NodeConfig {
    NodeConfig {
        sql_addr: "127.0.0.1:0".into(),
        rpc_addr: "127.0.0.1:0".into(),
        http_addr: "127.0.0.1:0".into(),
        ..NodeConfig::new(dir.join(name))
    }
}

/// A node of its own with a client.
///
/// # Panics
/// When it cannot be started.
pub async fn one_node() -> (TempDir, Node, Client) {
    let dir = TempDir::new().expect("a scratch directory");
    let node = Node::start(&config(dir.path(), "one")).await.expect("the node starts");
    let client = connect(&node).await;
    (dir, node, client)
}

/// Starts a node again that has been stopped and dropped.
///
/// # Panics
/// When its last tasks do not let go of the directory.
pub async fn start_again(config: &NodeConfig) -> Node {
    let start = async {
        loop {
            match Node::start(config).await {
                Ok(node) => return node,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), start).await.expect("the directory is let go")
}

/// A client of a node.
///
/// # Panics
/// When the node does not take it.
pub async fn connect(node: &Node) -> Client {
    connect_to(node, "postgres").await
}

/// A client of a node, in a database.
///
/// # Panics
/// When the node does not take it.
pub async fn connect_to(node: &Node, database: &str) -> Client {
    connect_as(node, "postgres", database).await
}

/// The same, as a user.
///
/// # Panics
/// When the node does not take it.
pub async fn connect_as(node: &Node, user: &str, database: &str) -> Client {
    let address = node.sql_addr();
    let text = format!("host={} port={} user={user} dbname={database}", address.ip(), address.port());
    let (client, connection) = tokio_postgres::connect(&text, NoTls).await.expect("the node takes clients");
    tokio::spawn(async move {
        // Ends with the node or the client, whichever goes first.
        let _ended = connection.await;
    });
    client
}

/// Waits until every range this node leads has as many voters.
///
/// # Panics
/// When that takes more than half a minute.
pub async fn replicated(node: &Node, voters: usize) {
    let done = async {
        loop {
            let replicas = node.kv().store.replicas();
            let all = replicas
                .iter()
                .filter(|replica| replica.is_leaseholder())
                .filter_map(|replica| replica.descriptor())
                .all(|descriptor| descriptor.voters().count() == voters);
            if all && replicas.iter().any(|replica| replica.is_leaseholder()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), done).await.expect("ranges replicate by themselves");
}
