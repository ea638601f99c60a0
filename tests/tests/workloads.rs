//! The workloads that users run: each holds on a node of its own, writes a history that is judged alike when it is read
//! again, and touches no schema that is not its own.

use std::{
    io::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

use checkers::{Event, judges, verdict::Ending};
use quorate_tests::{config, connect, one_node};
use server::{Node, NodeConfig};
use tempfile::TempDir;
use workload::{Failure, Finished, Kind, Mix, Options, run, schema};

/// A file in memory.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn run_on(node: &Node, kind: Kind, history: Option<Lines>) -> Result<Finished, Failure> {
    let url = format!("postgres://postgres@{}/postgres", node.sql_addr());
    let history = history.map(|lines| Box::new(lines) as Box<dyn Write + Send>);
    let options = Options {
        kind,
        servers: vec![url.parse().unwrap()],
        duration: Duration::from_millis(1500),
        clients: 6,
        seed: 3,
        isolation: "SERIALIZABLE",
        check: true,
        history,
    };
    run(options, &mut |line| eprintln!("{line}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_workload_holds_and_its_history_is_judged_alike_when_read_again() {
    let (_dir, node, client) = one_node().await;
    let mixes = ['A', 'E', 'F'].map(|letter| Kind::Ycsb(Mix::of(letter).unwrap()));
    let others = Kind::NAMES.iter().filter(|name| !["ycsb", "tpcc"].contains(name));
    for kind in others.map(|name| Kind::of(name, Mix::of('A').unwrap()).unwrap()).chain(mixes) {
        let lines = Lines::default();
        let finished = run_on(&node, kind, Some(lines.clone())).await.unwrap();
        let verdict = finished.verdict.unwrap();
        assert_eq!(verdict.ending(), Ending::Holds, "{kind:?}: {verdict}");
        assert!(verdict.ok > 5, "{kind:?} does hardly anything: {verdict}");
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let mut values = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let judge = judges::Workload::of_value(&values.next().unwrap()).unwrap();
        let events: Vec<Event> = (0..).zip(values).filter_map(|(at, it)| Event::of_value(at, &it).unwrap()).collect();
        let again = judge.judge(&events).unwrap();
        assert_eq!((again.ok, again.failed, again.ending()), (verdict.ok, verdict.failed, verdict.ending()), "{kind:?}");
    }
    assert!(schema::drop_ours(&client).await.unwrap());
    assert!(!schema::drop_ours(&client).await.unwrap());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_somebody_else_made_is_left_alone() {
    let (_dir, node, client) = one_node().await;
    client.batch_execute("CREATE SCHEMA workload; CREATE TABLE workload.mine (k int PRIMARY KEY)").await.unwrap();
    assert!(matches!(run_on(&node, Kind::Bank, None).await, Err(Failure::Outside(_))));
    assert!(matches!(schema::drop_ours(&client).await, Err(Failure::Outside(_))));
    client.batch_execute("INSERT INTO workload.mine VALUES (1)").await.unwrap();
    node.stop().await;
}

/// A client that opens a transaction at once on another node and prepares a statement in it: the table is there, though the
/// node has not heard of it before.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_on_another_node_can_be_prepared_in_a_transaction() {
    let dir = TempDir::new().unwrap();
    let one = Node::start(&config(dir.path(), "one")).await.unwrap();
    let join = vec![one.kv().transport.local_addr().to_string()];
    let two = Node::start(&NodeConfig { join, ..config(dir.path(), "two") }).await.unwrap();
    let (here, there) = (connect(&one).await, connect(&two).await);
    for round in 0..3 {
        here.batch_execute(&format!("CREATE TABLE made{round} (k int PRIMARY KEY)")).await.unwrap();
        there.batch_execute("BEGIN").await.unwrap();
        let count = there.prepare(&format!("SELECT count(*) FROM made{round}")).await.unwrap();
        assert_eq!(there.query_one(&count, &[]).await.unwrap().get::<_, i64>(0), 0);
        there.batch_execute("COMMIT").await.unwrap();
    }
    one.stop().await;
    two.stop().await;
}
