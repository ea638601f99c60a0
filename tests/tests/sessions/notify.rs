//! LISTEN and NOTIFY between sessions, and between nodes.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use keys::NodeId;
use quorate_tests::{
    config, connect, one_node,
    raw::{Message, Raw, bind, execute, kinds, parse, query, sync},
    replicated,
};
use rpc::{RpcError, Service, Transport, services};
use server::{Node, NodeConfig};
use tempfile::TempDir;

/// Channel and payload.
type Heard = (String, String);

fn heard(message: &Message) -> Option<Heard> {
    if message.kind != b'A' {
        return None;
    }
    let mut texts = message.body[4..].split(|byte| *byte == 0).map(|text| String::from_utf8(text.to_vec()).unwrap());
    Some((texts.next().unwrap(), texts.next().unwrap()))
}

fn all_heard(messages: &[Message]) -> Vec<Heard> {
    messages.iter().filter_map(heard).collect()
}

async fn run(raw: &mut Raw, sql: &str) -> Vec<Message> {
    raw.send(&query(sql)).await;
    raw.until_ready().await
}

/// The payloads of so many notifications, while the client is idle.
async fn payloads(raw: &mut Raw, count: usize) -> Vec<String> {
    let mut found = Vec::new();
    while found.len() < count {
        let message = raw.receive().await.expect("the session goes on");
        found.push(heard(&message).unwrap_or_else(|| panic!("a notification: {message:?}")).1);
    }
    found
}

/// Nothing comes for longer than a feed takes to look by itself.
async fn assert_silent(raw: &mut Raw) {
    let message = raw.receive_within(Duration::from_millis(1500)).await;
    assert!(message.is_none(), "{message:?}");
}

fn pair(channel: &str, payload: &str) -> Heard {
    (channel.to_owned(), payload.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn own_notifications_come_with_the_answer_of_the_commit() {
    let (_dir, node, client) = one_node().await;
    let mut raw = Raw::connect(&node).await;
    let pid = raw.key.clone().unwrap()[..4].to_vec();
    let messages = run(&mut raw, "BEGIN; LISTEN c; NOTIFY c; SELECT pg_notify('c', 'p'); NOTIFY c, 'p'; COMMIT").await;
    assert_eq!(kinds(&messages), "CCCTDCCCAAZ");
    assert_eq!(all_heard(&messages), [pair("c", ""), pair("c", "p")]);
    let notification = messages.iter().rfind(|message| message.kind == b'A').unwrap();
    assert_eq!(notification.body, [&pid[..], b"c\0p\0"].concat());
    // What is rolled back is not sent, and what was sent before is sent once.
    let text = "BEGIN; NOTIFY c, '1'; SAVEPOINT s; NOTIFY c, '2'; NOTIFY c, '1'; ROLLBACK TO s; NOTIFY c, '1'; NOTIFY c, '3'; COMMIT";
    assert_eq!(all_heard(&run(&mut raw, text).await), [pair("c", "1"), pair("c", "3")]);
    for text in ["BEGIN; NOTIFY c, 'x'; ROLLBACK", "BEGIN; NOTIFY c, 'x'; SELECT 1/0", "COMMIT", "NOTIFY c, 'x'; SELECT 1/0"] {
        assert!(all_heard(&run(&mut raw, text).await).is_empty(), "{text}");
    }
    let text = "DO $$BEGIN PERFORM pg_notify('c', 'do');
        BEGIN PERFORM pg_notify('c', 'gone'); RAISE 'x'; EXCEPTION WHEN OTHERS THEN NULL; END; END$$";
    assert_eq!(all_heard(&run(&mut raw, text).await), [pair("c", "do")]);
    // A failed LISTEN and a failed UNLISTEN change nothing.
    run(&mut raw, "BEGIN; LISTEN d; UNLISTEN c; ROLLBACK").await;
    assert_eq!(all_heard(&run(&mut raw, "BEGIN; NOTIFY d; NOTIFY c, '4'; COMMIT").await), [pair("c", "4")]);
    run(&mut raw, "DISCARD ALL").await;
    assert!(all_heard(&run(&mut raw, "NOTIFY c").await).is_empty());
    client.batch_execute("NOTIFY c, 'nobody'").await.unwrap();
    assert_silent(&mut raw).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn order_is_that_of_commits_and_nothing_comes_within_a_block() {
    let (_dir, node, client) = one_node().await;
    client.batch_execute("CREATE TABLE t (a int PRIMARY KEY); CREATE DATABASE other").await.unwrap();
    let late = connect(&node).await;
    let elsewhere = quorate_tests::connect_to(&node, "other").await;
    client.batch_execute("NOTIFY c, 'before'").await.unwrap();
    let (mut one, mut two) = (Raw::connect(&node).await, Raw::connect(&node).await);
    run(&mut one, "LISTEN c").await;
    run(&mut two, "LISTEN c; LISTEN d").await;
    // It begins, writes and notifies before the others do.
    late.batch_execute("BEGIN; SELECT * FROM t WHERE a = 7; INSERT INTO t VALUES (1); NOTIFY c, 'late'").await.unwrap();
    elsewhere.batch_execute("NOTIFY c, 'other database'").await.unwrap();
    client.batch_execute("NOTIFY c, '1'; NOTIFY d, 'd'; INSERT INTO t VALUES (2)").await.unwrap();
    client.batch_execute("BEGIN; NOTIFY c, '2'; NOTIFY c, '3'; COMMIT").await.unwrap();
    late.batch_execute("COMMIT").await.unwrap();
    assert_eq!(payloads(&mut one, 4).await, ["1", "2", "3", "late"]);
    assert_eq!(payloads(&mut two, 5).await, ["1", "d", "2", "3", "late"]);

    run(&mut one, "BEGIN").await;
    client.batch_execute("NOTIFY c, 'meanwhile'").await.unwrap();
    assert_eq!(payloads(&mut two, 1).await, ["meanwhile"]);
    assert_silent(&mut one).await;
    assert_eq!(kinds(&run(&mut one, "SELECT 1").await), "TDCZ");
    let messages = run(&mut one, "COMMIT").await;
    assert_eq!((kinds(&messages), all_heard(&messages)), ("CAZ".to_owned(), vec![pair("c", "meanwhile")]));
    // Nor between a Parse and its Sync.
    one.send(&[parse("", "SELECT 1", &[]), bind("", "", &[], 0), execute("", 0)].concat()).await;
    client.batch_execute("NOTIFY c, 'pipelined'").await.unwrap();
    assert_eq!(payloads(&mut two, 1).await, ["pipelined"]);
    one.send(&sync()).await;
    let messages = one.until_ready().await;
    assert_eq!(kinds(&messages), "12DCAZ");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_is_run_again_notifies_once() {
    let (_dir, node, client) = one_node().await;
    client.batch_execute("CREATE TABLE t (a int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0), (2, 0)").await.unwrap();
    client.batch_execute("ALTER TABLE t SPLIT AT VALUES (2)").await.unwrap();
    let mut raw = Raw::connect(&node).await;
    run(&mut raw, "LISTEN c").await;
    let writers = (0..4).map(|writer| {
        let node = &node;
        async move {
            let client = connect(node).await;
            for n in 0..10 {
                let text = format!(
                    "BEGIN; SELECT pg_notify('c', '{writer} {n}'); UPDATE t SET v = v + 1 WHERE a = 1 + {n} % 2;
                     UPDATE t SET v = v + 1 WHERE a = 2 - {n} % 2; NOTIFY c, '{writer} {n}'; COMMIT"
                );
                while client.batch_execute(&text).await.is_err() {
                    client.batch_execute("ROLLBACK").await.unwrap();
                }
            }
        }
    });
    futures::future::join_all(writers).await;
    let mut found = payloads(&mut raw, 40).await;
    found.sort();
    found.dedup();
    assert_eq!(found.len(), 40, "none twice");
    assert_silent(&mut raw).await;
    node.stop().await;
}

/// What an attempt has written before it is run again is not in its own way.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_is_run_again_listens() {
    let (_dir, node, client) = one_node().await;
    client.batch_execute("CREATE TABLE t (a int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0), (2, 0)").await.unwrap();
    client.batch_execute("ALTER TABLE t SPLIT AT VALUES (2)").await.unwrap();
    let mut raw = Raw::connect(&node).await;
    for n in 0..5 {
        // Another changes what it has read, so that it cannot commit where its notification is laid.
        let text = format!(
            "BEGIN ISOLATION LEVEL SERIALIZABLE; LISTEN c{n}; SELECT 1 FROM t WHERE a = 2; SELECT pg_sleep(0.3);
             UPDATE t SET v = v + 1 WHERE a = 1; NOTIFY c{n}; COMMIT"
        );
        let other = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            client.batch_execute("UPDATE t SET v = v + 1 WHERE a = 2").await.unwrap();
        };
        let again = async {
            while kinds(&run(&mut raw, &text).await).contains('E') {
                run(&mut raw, "ROLLBACK").await;
            }
        };
        let both = async { futures::join!(other, again) };
        tokio::time::timeout(Duration::from_secs(30), both).await.expect("it commits");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn notifications_do_not_keep_a_silent_client() {
    let (_dir, node, client) = one_node().await;
    let mut raw = Raw::connect(&node).await;
    run(&mut raw, "LISTEN c; SET idle_session_timeout = '1s'").await;
    let notifying = tokio::spawn(async move {
        while client.batch_execute("NOTIFY c").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let ended = async {
        loop {
            let message = raw.receive().await.expect("it is told why it is ended");
            if message.kind != b'A' {
                return message;
            }
        }
    };
    let message = tokio::time::timeout(Duration::from_secs(20), ended).await.expect("it is ended");
    assert_eq!((message.kind, message.field(b'C').unwrap()), (b'E', "57P05".into()));
    notifying.abort();
    node.stop().await;
}

/// *none-lost*: who does not take what waits for it is ended, and is told why.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_leaves_too_much_waiting_is_ended() {
    let (_dir, node, client) = one_node().await;
    let mut raw = Raw::connect(&node).await;
    run(&mut raw, "LISTEN c").await;
    run(&mut raw, "BEGIN").await;
    let much = "SELECT count(pg_notify('c', repeat('x', 7900) || g)) FROM generate_series(1, 4000) g";
    for _ in 0..3 {
        client.batch_execute(much).await.unwrap();
    }
    let message = raw.receive().await.unwrap();
    assert_eq!((message.kind, message.field(b'S').unwrap(), message.field(b'C').unwrap()), (b'E', "FATAL".into(), "54000".into()));
    assert!(raw.receive().await.is_none());
    // In one command there is no room for that many.
    let mut raw = Raw::connect(&node).await;
    run(&mut raw, "LISTEN c").await;
    client.batch_execute(&much.replace("4000", "6000")).await.unwrap();
    let found = payloads(&mut raw, 6000).await;
    assert_eq!(found[5999], format!("{}6000", "x".repeat(7900)));
    node.stop().await;
}

/// A node that is told of no commit.
struct Deaf;

#[async_trait]
impl Service for Deaf {
    async fn call(&self, _from: NodeId, _payload: Bytes) -> Result<Bytes, RpcError> {
        Err(RpcError::Refused { reason: "deaf".into() })
    }
}

/// *commit-order*, *none-lost*: the counter says in which order the transactions have committed.
#[tokio::test(flavor = "multi_thread")]
async fn every_node_hears_all_in_commit_order_while_another_goes_and_words_are_lost() {
    const EACH: usize = 40;
    let dir = TempDir::new().unwrap();
    let first = Node::start(&config(dir.path(), "n1")).await.unwrap();
    let join = vec![first.rpc_addr().to_string()];
    let configs = ["n2", "n3"].map(|name| NodeConfig { join: join.clone(), ..config(dir.path(), name) });
    let second = Node::start(&configs[0]).await.unwrap();
    let third = Node::start(&configs[1]).await.unwrap();
    replicated(&first, 3).await;
    let client = connect(&first).await;
    client.batch_execute("CREATE TABLE counter (id int PRIMARY KEY, n int); INSERT INTO counter VALUES (1, 0)").await.unwrap();
    client.batch_execute("ALTER TABLE counter SPLIT AT VALUES (1)").await.unwrap();
    let (mut here, mut there) = (Raw::connect(&first).await, Raw::connect(&second).await);
    for raw in [&mut here, &mut there] {
        let messages = run(raw, "LISTEN c").await;
        assert_eq!(kinds(&messages), "CZ", "{messages:?}");
    }
    let count = |node| async move {
        let client = connect(node).await;
        for _ in 0..EACH {
            let text = "DO $$DECLARE i int; BEGIN UPDATE counter SET n = n + 1 WHERE id = 1 RETURNING n INTO i;
                PERFORM pg_notify('c', i::text); END$$";
            // One whose end is not known may have counted, and then has notified.
            let _outcome = client.batch_execute(text).await;
        }
    };
    let counted = async || client.query_one("SELECT n FROM counter", &[]).await.unwrap().get::<_, i32>(0);
    let expected = |from: i32, to: i32| (from..=to).map(|n| n.to_string()).collect::<Vec<_>>();
    futures::join!(count(&first), count(&second), count(&third));
    let half = counted().await;
    assert!(half > 2 * EACH as i32, "{half}");
    for raw in [&mut here, &mut there] {
        assert_eq!(payloads(raw, half as usize).await, expected(1, half));
    }
    second.kv().transport.register(services::NOTIFY, Arc::new(Deaf));
    futures::join!(third.stop(), count(&first), count(&first));
    let all = counted().await;
    assert!(all > half, "{all}");
    for raw in [&mut here, &mut there] {
        assert_eq!(payloads(raw, (all - half) as usize).await, expected(half + 1, all));
    }
    drop((here, there));
    for node in [second, first] {
        node.stop().await;
    }
}
