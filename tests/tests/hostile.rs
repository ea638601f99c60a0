//! Clients that mean harm, one kind at a time: they are refused, and others are served meanwhile. What it costs the
//! others in time is measured by `cargo xtask hostile`; here nothing depends on time.

use std::time::Duration;

use quorate_tests::{
    config, connect, connect_as,
    raw::{Message, Raw, bind, frame, parse, query, startup, sync},
};
use server::{Node, NodeConfig};
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(30);

async fn node(change: impl FnOnce(&mut NodeConfig)) -> (TempDir, Node) {
    let dir = TempDir::new().unwrap();
    let mut config = config(dir.path(), "one");
    change(&mut config);
    let node = Node::start(&config).await.unwrap();
    (dir, node)
}

/// The SQLSTATE of the first error.
fn code(messages: &[Message]) -> Option<String> {
    messages.iter().find(|message| message.kind == b'E')?.field(b'C')
}

async fn is_served(node: &Node) -> bool {
    let client = connect(node).await;
    client.query_one("SELECT 1", &[]).await.unwrap().get::<_, i32>(0) == 1
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(LONG, waiting).await.is_ok(), "{what}");
}

/// *oldest-gives-way*: half of the room at the door is for one address.
#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_give_way_to_others() {
    let (_dir, node) = node(|config| config.connections_max = 4).await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(Raw::open(&node).await);
    }
    assert!(is_served(&node).await, "the newest gets in");
    until("those that gave way are gone", || node.doors().turned_out >= 250 && node.sql_connections() <= 51).await;
    assert!(silent[0].receive().await.is_none(), "the oldest was let go");
    assert_eq!(silent[299].receive_within(Duration::from_millis(1)).await, None, "a later one waits on");
    // One that has half of its startup packet said counts as silent.
    let packet = startup(&[("user", "postgres"), ("database", "postgres")]);
    let mut slow = Raw::open(&node).await;
    slow.send(&packet[..packet.len() - 1]).await;
    assert!(is_served(&node).await);
    slow.send(&packet[packet.len() - 1..]).await;
    assert_eq!(slow.until_ready().await.last().unwrap().kind, b'Z', "it took its time, and is served");
    node.stop().await;
}

/// *strangers-take-no-seat*
#[tokio::test(flavor = "multi_thread")]
async fn the_last_seats_are_for_superusers() {
    let seats = |config: &mut NodeConfig| (config.connections_max, config.superuser_reserved) = (4, 2);
    let (_dir, node) = node(seats).await;
    let first = connect(&node).await;
    first.batch_execute("CREATE ROLE app LOGIN").await.unwrap();
    for (name, value) in [("max_connections", "4"), ("superuser_reserved_connections", "2")] {
        assert_eq!(first.query_one(&format!("SHOW {name}"), &[]).await.unwrap().get::<_, &str>(0), value);
    }
    // Those at the door take none.
    let _silent = [Raw::open(&node).await, Raw::open(&node).await, Raw::open(&node).await];
    let second = connect_as(&node, "app", "postgres").await;
    let refused = async |user: &str| {
        let mut raw = Raw::open(&node).await;
        raw.send(&startup(&[("user", user), ("database", "postgres")])).await;
        raw.until_ready().await
    };
    let answer = refused("app").await;
    assert_eq!(code(&answer).as_deref(), Some("53300"));
    let message = answer.iter().find_map(|message| message.field(b'M')).unwrap();
    assert_eq!(message, "remaining connection slots are reserved for non-replication superuser connections");
    let _third = connect(&node).await;
    let _fourth = connect(&node).await;
    let answer = refused("postgres").await;
    assert_eq!(code(&answer).as_deref(), Some("53300"));
    assert_eq!(answer[0].field(b'M').unwrap(), "sorry, too many clients already");
    drop(second);
    until("its seat is free", || node.sql_connections() <= 6).await;
    node.stop().await;
}

/// *bounded-before-taken*: the announced length alone is enough to refuse it.
#[tokio::test(flavor = "multi_thread")]
async fn a_gigabyte_announced_takes_nothing() {
    let (_dir, node) = node(|_| {}).await;
    for kind in [b'Q', b'P', b'B', b'd', b'p', b'X'] {
        let mut raw = Raw::connect(&node).await;
        raw.send(&[&[kind], &(1_i32 << 30).to_be_bytes()[..]].concat()).await;
        assert_eq!(code(&raw.until_ready().await).as_deref(), Some("54000"), "{}", char::from(kind));
    }
    let mut raw = Raw::open(&node).await;
    raw.send(&(1_i32 << 30).to_be_bytes()).await;
    assert_eq!(code(&raw.until_ready().await).as_deref(), Some("54000"));
    assert_eq!(node.sql_memory().used(), 0);
    assert!(is_served(&node).await);
    node.stop().await;
}

/// Messages that are longer than a little come out of the node's budget while they arrive, and go back into it.
#[tokio::test(flavor = "multi_thread")]
async fn half_sent_messages_share_a_budget() {
    let (_dir, node) = node(|config| config.sql_memory_bytes = 12 << 20).await;
    let mut half = Raw::connect(&node).await;
    let long = query(&format!("SELECT '{}'", "x".repeat(2 << 20)));
    half.send(&long[..long.len() - 1]).await;
    until("it is counted", || node.sql_memory().used() > 2 << 20).await;
    let mut greedy = Raw::connect(&node).await;
    let longer = query(&format!("SELECT '{}'", "x".repeat(12 << 20)));
    greedy.send(&longer).await;
    let answer = greedy.until_ready().await;
    assert_eq!((code(&answer).as_deref(), answer.last().unwrap().kind), (Some("53200"), b'E'), "and the connection ends");
    assert!(is_served(&node).await);
    drop(greedy);
    until("what came of it is given back", || node.sql_memory().used() < 4 << 20).await;
    half.send(&long[long.len() - 1..]).await;
    assert_eq!(code(&half.until_ready().await), None);
    drop(half);
    until("all is given back", || node.sql_memory().used() == 0).await;
    assert!(node.sql_memory().refused() > 0);
    node.stop().await;
}

/// Each of these is refused, whatever of it was made is given back, and the connection goes on.
#[tokio::test(flavor = "multi_thread")]
async fn statements_that_ask_for_everything_are_refused() {
    let (_dir, node) = node(|config| config.sql_memory_bytes = 64 << 20).await;
    let mut raw = Raw::connect(&node).await;
    let numbers = |count: usize| (0..count).map(|at| at.to_string()).collect::<Vec<_>>().join(",");
    let rows = |count: usize| (0..count).map(|at| format!("({at})")).collect::<Vec<_>>().join(",");
    let cases: &[(&str, String)] = &[
        ("53200", "SELECT length(string_agg(repeat('x', 100000), ',')) FROM generate_series(1, 2000)".into()),
        ("53200", "SELECT array_length(array_agg(repeat('x', 100000)), 1) FROM generate_series(1, 2000)".into()),
        ("53200", "SELECT count(*) FROM (SELECT repeat('x', 100000) || g FROM generate_series(1, 2000) g ORDER BY 1) t".into()),
        ("53200", "SELECT count(*) FROM (SELECT DISTINCT repeat('x', 1000) || g FROM generate_series(1, 200000) g) t".into()),
        ("53200", "WITH RECURSIVE r AS (SELECT 'x'::text t UNION ALL SELECT t || t FROM r) SELECT max(length(t)) FROM r".into()),
        ("53200", format!("SELECT 1 IN ({})", numbers(500_000))),
        ("53200", format!("SELECT count(*) FROM (VALUES {}) v", rows(500_000))),
        ("54000", "SELECT repeat('x', 2000000000)".into()),
        // Too deep, or too much of it, whichever is seen first.
        ("54001 53200", format!("SELECT {}1{}", "(".repeat(200_000), ")".repeat(200_000))),
        ("54001 53200", format!("SELECT {}true", "NOT ".repeat(200_000))),
        ("54001", format!("SELECT '{}'::jsonb", "[".repeat(1_000_000))),
        ("2201B", "SELECT 'x' ~ '((a{1,200}){1,200}){1,200}'".into()),
    ];
    for (expected, text) in cases {
        let answer = raw.ask(&[query(text)]).await;
        let refused = code(&answer).unwrap_or_default();
        assert!(!refused.is_empty() && expected.contains(&refused), "{refused}: {:.80}", text);
        assert_eq!(answer.last().unwrap().kind, b'Z', "the connection goes on");
        assert!(is_served(&node).await);
        until("all is given back", || node.sql_memory().used() == 0).await;
    }
    node.stop().await;
}

/// What a session keeps counts: prepared statements, and the parameters of portals.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_session_keeps_is_counted() {
    let (_dir, node) = node(|config| config.sql_memory_bytes = 4 << 20).await;
    let mut raw = Raw::connect(&node).await;
    let mut kept = 0;
    let refused = loop {
        let answer = raw.ask(&[parse(&format!("s{kept}"), &format!("SELECT {kept}, $1::text"), &[]), sync()]).await;
        if let Some(code) = code(&answer) {
            break code;
        }
        kept += 1;
        assert!(kept < 10_000, "somewhere it ends");
    };
    assert_eq!((refused.as_str(), kept > 200), ("53200", true), "{kept}");
    raw.ask(&[query("DEALLOCATE ALL")]).await;
    until("all is given back", || node.sql_memory().used() == 0).await;
    let large = vec![b'x'; 1 << 20];
    let mut portals = vec![parse("s", "SELECT $1::text", &[])];
    portals.extend((0..5).map(|at| bind(&format!("p{at}"), "s", &[Some(&large)], 0)));
    portals.push(sync());
    assert_eq!(code(&raw.ask(&portals).await).as_deref(), Some("53200"));
    until("portals end with their transaction", || node.sql_memory().used() == 0).await;
    node.stop().await;
}

/// What a transaction has written stays in memory until it commits, and counts until then.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_transaction_has_written_is_counted() {
    let (_dir, node) = node(|config| config.sql_memory_bytes = 24 << 20).await;
    let client = connect(&node).await;
    client.batch_execute("CREATE TABLE written (id int PRIMARY KEY, v text)").await.unwrap();
    let insert = |from: u32, to: u32| {
        format!("INSERT INTO written SELECT g, repeat('x', 1000) FROM generate_series({from}, {to}) g")
    };
    let used = || node.sql_memory().used();
    until("nothing is kept", || used() == 0).await;
    client.batch_execute("BEGIN").await.unwrap();
    client.batch_execute(&insert(1, 4000)).await.unwrap();
    assert!(used() > 4000 * 1000, "{}", used());
    client.batch_execute("COMMIT").await.unwrap();
    until("the commit gives it back", || used() == 0).await;
    // A rollback to before it too, once the next statement has run.
    client.batch_execute("BEGIN; SAVEPOINT s").await.unwrap();
    client.batch_execute(&insert(4001, 8000)).await.unwrap();
    client.batch_execute("ROLLBACK TO s; SELECT count(*) FROM written").await.unwrap();
    assert!(used() < 4000 * 1000, "{}", used());
    // Statements that are small enough each are too much together.
    let mut refused = None;
    for from in (8001..48_000).step_by(4000) {
        if let Err(error) = client.batch_execute(&insert(from, from + 3999)).await {
            refused = error.code().map(|code| code.code().to_owned());
            break;
        }
    }
    assert_eq!(refused.as_deref(), Some("53200"));
    client.batch_execute("ROLLBACK").await.unwrap();
    until("all is given back", || used() == 0).await;
    // A COPY is counted while its data comes.
    let mut copying = Raw::connect(&node).await;
    copying.send(&query("COPY written FROM STDIN")).await;
    assert_eq!(copying.receive().await.unwrap().kind, b'G');
    let data: String = (48_001..56_001).map(|id| format!("{id}\t{}\n", "x".repeat(1000))).collect();
    for piece in data.as_bytes().chunks(32 << 10) {
        copying.send(&frame(b'd', piece)).await;
    }
    until("it is counted", || used() > 4000 * 1000).await;
    copying.send(&frame(b'f', b"given up\0")).await;
    assert_eq!(code(&copying.until_ready().await).as_deref(), Some("57014"));
    until("all is given back", || used() == 0).await;
    assert!(is_served(&node).await);
    node.stop().await;
}

/// Requests to cancel that do not know the secret stop nothing, however many they are.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_cancel_requests_stops_nobody() {
    let (_dir, node) = node(|config| config.connections_max = 4).await;
    let mut working = Raw::connect(&node).await;
    let key = working.key.clone().unwrap();
    working.send(&query("SELECT count(*) FROM generate_series(1, 300000)")).await;
    for round in 0..200_u32 {
        let secret = i32::from_be_bytes(key[4..8].try_into().unwrap()).wrapping_add(1 + round as i32).to_be_bytes();
        let mut cancel = Raw::open(&node).await;
        cancel.send(&[&16_i32.to_be_bytes()[..], &80_877_102_i32.to_be_bytes(), &key[..4], &secret].concat()).await;
        if round % 50 == 0 {
            assert!(cancel.receive().await.is_none());
        }
    }
    assert_eq!(code(&working.until_ready().await), None);
    until("no request is left", || node.sql_connections() <= 1).await;
    node.stop().await;
}

/// A statement that computes without end is polled aside; that its client has gone is noticed all the same.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_vanish_end_their_statements() {
    let (_dir, node) = node(|_| {}).await;
    let mut gone = Vec::new();
    for _ in 0..4 {
        let mut raw = Raw::connect(&node).await;
        raw.send(&query("SELECT count(*) FROM generate_series(1, 1000000000000)")).await;
        gone.push(raw);
    }
    // They compute by now; if not, this tests less.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(is_served(&node).await);
    drop(gone);
    until("their statements have ended", || node.sql_connections() == 0).await;
    node.stop().await;
}

/// Clients that go in the middle of a message, of a COPY and of a pipeline leave nothing behind.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_vanish_leave_nothing() {
    let (_dir, node) = node(|_| {}).await;
    let honest = connect(&node).await;
    honest.batch_execute("CREATE TABLE t (a int PRIMARY KEY)").await.unwrap();
    let whole = query("INSERT INTO t VALUES (1)");
    let bytes: Vec<Vec<u8>> = vec![
        whole[..whole.len() - 1].to_vec(),
        [query("COPY t FROM stdin"), frame(b'd', b"2\n"), b"d\0\0\0\x09".to_vec()].concat(),
        [parse("", "INSERT INTO t VALUES (3)", &[]), bind("", "", &[], 0), frame(b'E', b"\0\0\0\0\0")].concat(),
        [query("BEGIN"), query("INSERT INTO t VALUES (4)")].concat(),
    ];
    for bytes in bytes {
        let mut raw = Raw::connect(&node).await;
        raw.send(&bytes).await;
        drop(raw);
    }
    until("they are gone", || node.sql_connections() <= 1).await;
    assert_eq!(honest.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get::<_, i64>(0), 0);
    assert_eq!(node.sql_memory().used(), 0);
    node.stop().await;
}
