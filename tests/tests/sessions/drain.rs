//! A node that is drained by command, and ranges that are compared by command.

use std::time::Duration;

use keys::NodeId;
use quorate_tests::{config, connect, one_node, replicated};
use server::{DrainPhase, DrainStatus, Node, NodeConfig, Operator};
use tempfile::TempDir;
use tokio_postgres::NoTls;

async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let look = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), look).await.is_ok(), "in vain: {what}");
}

async fn operator(node: &Node) -> Operator {
    Operator::of(node.rpc_addr().to_string(), None).await.unwrap()
}

async fn is_open(node: &Node) -> bool {
    let to = format!("host=127.0.0.1 port={} user=postgres dbname=postgres", node.sql_addr().port());
    tokio_postgres::connect(&to, NoTls).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_leases_nobody_could_take_is_not_drained() {
    let (_dir, node, client) = one_node().await;
    let operator = operator(&node).await;
    let refused = operator.drain(NodeId::new(1), Duration::from_secs(1)).await.unwrap_err().to_string();
    assert!(refused.contains("nobody could take their leases"), "{refused}");
    let refused = operator.drain(NodeId::new(7), Duration::from_secs(1)).await.unwrap_err().to_string();
    assert!(refused.contains("there is no node"), "{refused}");
    client.batch_execute("SELECT 1").await.unwrap();
    assert!(is_open(&node).await, "nothing has begun");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_node_lets_its_sessions_finish_gives_its_leases_away_and_stays() {
    let dir = TempDir::new().unwrap();
    let one = Node::start(&config(dir.path(), "one")).await.unwrap();
    let joining = |name| NodeConfig { join: vec![one.rpc_addr().to_string()], ..config(dir.path(), name) };
    let two = Node::start(&joining("two")).await.unwrap();
    let three = Node::start(&joining("three")).await.unwrap();
    replicated(&one, 3).await;
    let nodes = [&one, &two, &three];
    let leads = |node: &Node| node.kv().store.leases() > 0;
    until("somebody leads", async || nodes.iter().any(|node| leads(node))).await;
    let place = nodes.iter().position(|node| leads(node)).expect("as just seen");
    let (drained, other) = (nodes[place], nodes[(place + 1) % 3]);
    let client = connect(drained).await;
    client.batch_execute("CREATE TABLE t (id int PRIMARY KEY)").await.unwrap();
    // All replicas are the same.
    let operator = operator(other).await;
    let node_id = drained.kv().node_id;
    let mut report = operator.check_ranges(node_id, true).await.unwrap();
    until("all ranges are checked", async || {
        report = operator.check_ranges(node_id, false).await.unwrap();
        report.done == report.total
    })
    .await;
    assert!(report.total > 0 && report.findings.is_empty(), "{report:?}");
    assert_eq!(drained.kv().store.check_counts(), (report.total, 0));

    client.batch_execute("BEGIN; INSERT INTO t VALUES (1)").await.unwrap();
    let wait = Duration::from_secs(30);
    let DrainStatus { phase, sessions, .. } = operator.drain(node_id, wait).await.unwrap();
    assert_eq!((phase, sessions), (DrainPhase::Clients, 1));
    until("no new session is taken", async || !is_open(drained).await).await;
    assert!(leads(drained), "leases stay until the sessions are through");
    client.batch_execute("COMMIT").await.unwrap();
    until("the session ends", async || client.is_closed()).await;
    let mut status = operator.drain(node_id, wait).await.unwrap();
    until("it is drained", async || {
        status = operator.drain(node_id, wait).await.unwrap();
        status.phase == DrainPhase::Done
    })
    .await;
    assert_eq!((status.sessions, status.leases, leads(drained)), (0, 0, false));
    // It stays a member.
    let known = operator.status().await.unwrap();
    assert!(known.iter().any(|(info, is_live)| info.node_id == node_id && *is_live));
    let there = connect(other).await;
    there.batch_execute("INSERT INTO t VALUES (2)").await.unwrap();
    assert_eq!(there.query("SELECT id FROM t", &[]).await.unwrap().len(), 2);
    drop((client, there));
    for node in nodes {
        node.stop().await;
    }
}
