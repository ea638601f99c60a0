//! The wire protocol, byte by byte: results that stream, portals and cursors, pipelines, cancelling and time limits,
//! formats, COPY, what clients are told of settings and errors, and what happens to nonsense.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use quorate_tests::{
    config, connect,
    raw::{Message, Raw, bind, describe, execute, frame, kinds, parse, query, startup, sync},
};
use server::{Node, NodeConfig};
use tempfile::TempDir;
use tokio_postgres::error::SqlState;

async fn node() -> (TempDir, Node) {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    (dir, node)
}

/// 10^12 rows, of which few are ever kept.
const ENDLESS: &str = "FROM generate_series(1, 10000) a(g), generate_series(1, 10000) b, generate_series(1, 10000) c";

/// The SQLSTATE of the only error among messages.
fn code(messages: &[Message]) -> String {
    let errors: Vec<&Message> = messages.iter().filter(|message| message.kind == b'E').collect();
    assert_eq!(errors.len(), 1, "{messages:?}");
    errors[0].field(b'C').unwrap()
}

fn texts(messages: &[Message]) -> Vec<String> {
    messages.iter().filter(|message| message.kind == b'D').map(Message::text).collect()
}

/// Without rows, which are many.
fn tags(messages: &[Message]) -> Vec<String> {
    messages.iter().filter(|message| message.kind == b'C').map(Message::tag).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_result_streams_until_it_is_cancelled() {
    let (_dir, node) = node().await;
    let mut raw = Raw::connect(&node).await;
    raw.send(&query(&format!("SELECT a.g, repeat('x', 100) {ENDLESS}"))).await;
    // Were it gathered before it is sent, no row would ever arrive.
    assert_eq!(raw.receive().await.unwrap().kind, b'T');
    for _ in 0..1000 {
        assert_eq!(raw.receive().await.unwrap().kind, b'D');
    }
    let mut wrong = raw.key.clone().unwrap();
    wrong[7] ^= 1;
    for (key, stops) in [(wrong, false), (raw.key.clone().unwrap(), true)] {
        let mut cancel = Raw::open(&node).await;
        cancel.send(&[&16_i32.to_be_bytes()[..], &80_877_102_i32.to_be_bytes(), &key].concat()).await;
        assert!(cancel.receive().await.is_none(), "a cancel request is not answered");
        if !stops {
            for _ in 0..10_000 {
                assert_eq!(raw.receive().await.unwrap().kind, b'D');
            }
        }
    }
    let rest = raw.until_ready().await;
    let end = &rest[rest.len() - 2..];
    assert_eq!((kinds(end).as_str(), code(end).as_str()), ("EZ", "57014"));
    assert_eq!(texts(&raw.ask(&[query("SELECT 1")]).await), ["1"], "the connection goes on");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_whose_client_is_gone_ends() {
    let (_dir, node) = node().await;
    let mut raw = Raw::connect(&node).await;
    raw.send(&query(&format!("SELECT count(*) {ENDLESS}"))).await;
    let other = connect(&node).await;
    drop(raw);
    let gone = async {
        while node.sql_connections() > 1 {
            other.simple_query("SELECT 1").await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("nobody waits for the answer");
    node.stop().await;
}

/// FETCH, MOVE and CLOSE know portals by their names, and go on where Execute has left them.
#[tokio::test(flavor = "multi_thread")]
async fn portals_are_cursors() {
    let (_dir, node) = node().await;
    let mut raw = Raw::connect(&node).await;
    let ten = || [parse("", "SELECT g FROM generate_series(1, 10) g", &[]), bind("p", "", &[], 0)].concat();
    raw.ask(&[query("BEGIN")]).await;
    raw.ask(&[ten(), sync()]).await;
    let answer = raw.ask(&[query("FETCH 2 p")]).await;
    assert_eq!((texts(&answer).join(" "), tags(&answer)), ("1 2".to_owned(), vec!["FETCH 2".to_owned()]));
    assert_eq!(tags(&raw.ask(&[query("MOVE 1 FROM p")]).await), ["MOVE 1"]);
    let answer = raw.ask(&[execute("p", 2), sync()]).await;
    assert_eq!((texts(&answer).join(" ").as_str(), kinds(&answer).as_str()), ("4 5", "DDsZ"));
    assert_eq!(texts(&raw.ask(&[query("FETCH RELATIVE 1 p")]).await), ["6"]);
    assert_eq!(texts(&raw.ask(&[query("FETCH ABSOLUTE 8 p")]).await), ["8"]);
    let answer = raw.ask(&[query("SELECT concat_ws('|', name, is_holdable, is_scrollable) FROM pg_cursors")]).await;
    assert_eq!(texts(&answer), ["p|f|f"]);
    let answer = raw.ask(&[execute("p", 0), sync()]).await;
    assert_eq!((texts(&answer).join(" "), tags(&answer)), ("9 10".to_owned(), vec!["SELECT 2".to_owned()]));
    assert_eq!(tags(&raw.ask(&[query("FETCH p")]).await), ["FETCH 0"]);
    assert_eq!(code(&raw.ask(&[query("FETCH PRIOR FROM p")]).await), "55000");
    raw.ask(&[query("ROLLBACK")]).await;

    // MOVE that is itself prepared, as drivers send it, behind an Execute of some rows.
    raw.ask(&[query("BEGIN")]).await;
    raw.ask(&[ten(), execute("p", 3), sync()]).await;
    let moved = [parse("", "MOVE FORWARD 2 \"p\"", &[]), bind("", "", &[], 0), execute("", 0), sync()];
    assert_eq!(tags(&raw.ask(&moved).await), ["MOVE 2"]);
    assert_eq!(texts(&raw.ask(&[query("FETCH NEXT p")]).await), ["6"]);
    assert_eq!(texts(&raw.ask(&[query("FETCH ALL p")]).await), ["7", "8", "9", "10"]);
    raw.ask(&[query("CLOSE p")]).await;
    assert_eq!(code(&raw.ask(&[execute("p", 0), sync()]).await), "34000");
    raw.ask(&[query("ROLLBACK")]).await;

    // What has written gives the rows that are left of its answer.
    raw.ask(&[query("CREATE TABLE w (a int)")]).await;
    raw.ask(&[query("BEGIN")]).await;
    let write = |name: &str, text: &str| [parse("", text, &[]), bind(name, "", &[], 0)].concat();
    raw.ask(&[write("p", "INSERT INTO w VALUES (1), (2), (3) RETURNING a"), execute("p", 1), sync()]).await;
    assert_eq!(texts(&raw.ask(&[query("FETCH 1 p")]).await), ["2"]);
    assert_eq!(texts(&raw.ask(&[query("FETCH ALL p")]).await), ["3"]);
    raw.ask(&[write("q", "INSERT INTO w VALUES (5)"), execute("q", 0), sync()]).await;
    assert_eq!(code(&raw.ask(&[query("FETCH q")]).await), "55000");
    raw.ask(&[query("ROLLBACK")]).await;
    node.stop().await;
}

/// The schema of the table that an error is about.
#[tokio::test(flavor = "multi_thread")]
async fn errors_of_constraints_name_their_schema() {
    let (_dir, node) = node().await;
    let mut raw = Raw::connect(&node).await;
    let tables = "CREATE SCHEMA s; CREATE TABLE s.t (a int PRIMARY KEY, b int NOT NULL, c int CHECK (c > 0));
        CREATE TABLE public.u (a int REFERENCES s.t); INSERT INTO s.t VALUES (1, 1, 1); INSERT INTO u VALUES (1)";
    raw.ask(&[query(tables)]).await;
    for (statement, state, schema, table) in [
        ("INSERT INTO s.t VALUES (1, 1, 1)", "23505", "s", "t"),
        ("INSERT INTO s.t VALUES (2, NULL, 1)", "23502", "s", "t"),
        ("INSERT INTO s.t VALUES (2, 1, 0)", "23514", "s", "t"),
        ("INSERT INTO u VALUES (7)", "23503", "public", "u"),
        ("DELETE FROM s.t", "23503", "public", "u"),
    ] {
        let answer = raw.ask(&[query(statement)]).await;
        assert_eq!(code(&answer), state, "{statement}");
        let error = answer.iter().find(|message| message.kind == b'E').unwrap();
        let named = (error.field(b's'), error.field(b't'));
        assert_eq!(named, (Some(schema.to_owned()), Some(table.to_owned())), "{statement}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn portals_are_read_in_pieces() {
    let (_dir, node) = node().await;
    let mut raw = Raw::connect(&node).await;
    let seven = || [parse("", "SELECT g FROM generate_series(1, 7) g", &[]), bind("p", "", &[], 0)].concat();
    let answer = raw.ask(&[seven(), execute("p", 3), execute("p", 3), execute("p", 3), execute("p", 3), sync()]).await;
    assert_eq!(kinds(&answer), "12DDDsDDDsDCCZ");
    assert_eq!(texts(&answer), ["1", "2", "3", "4", "5", "6", "7"]);
    assert_eq!(tags(&answer), ["SELECT 1", "SELECT 0"]);
    let answer = raw.ask(&[execute("p", 0), sync()]).await;
    assert_eq!(code(&answer), "34000", "a portal ends with its transaction");

    // In a block it lives on over Sync, and sees what was there when it began.
    raw.ask(&[query("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 5)")]).await;
    raw.ask(&[query("BEGIN")]).await;
    let open = [parse("", "SELECT a FROM t ORDER BY a", &[]), bind("p", "", &[], 0), execute("p", 2), sync()];
    assert_eq!(texts(&raw.ask(&open).await), ["1", "2"]);
    raw.ask(&[query("INSERT INTO t VALUES (3000), (0); DELETE FROM t WHERE a = 4")]).await;
    let answer = raw.ask(&[execute("p", 0), sync()]).await;
    assert_eq!((texts(&answer).join(" ").as_str(), kinds(&answer).as_str()), ("3 4 5", "DDDCZ"));
    raw.ask(&[query("ROLLBACK")]).await;

    // What writes runs to its end, however little of its answer is wanted.
    let write = [
        parse("", "UPDATE t SET a = a + 10 RETURNING a", &[]),
        bind("", "", &[], 0),
        execute("", 2),
        execute("", 0),
        sync(),
    ];
    let answer = raw.ask(&write).await;
    assert_eq!((kinds(&answer).as_str(), tags(&answer)), ("12DDsDDDCZ", vec!["UPDATE 3".to_owned()]));
    assert_eq!(texts(&raw.ask(&[query("SELECT sum(a) FROM t")]).await), ["65"]);

    let twice = [parse("s", "SELECT 1", &[]), bind("p", "s", &[], 0), bind("p", "s", &[], 0), sync()];
    assert_eq!(code(&raw.ask(&twice).await), "42P03");
    assert_eq!(code(&raw.ask(&[parse("s", "SELECT 1", &[]), sync()]).await), "42P05");
    assert_eq!(code(&raw.ask(&[bind("", "nosuch", &[], 0), sync()]).await), "26000");
    assert_eq!(code(&raw.ask(&[bind("", "s", &[Some(b"1")], 0), sync()]).await), "08P01");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_go_both_ways_and_may_outlive_their_transaction() {
    let (_dir, node) = node().await;
    let mut raw = Raw::connect(&node).await;
    let mut rows = async |text: &str| {
        let answer = raw.ask(&[query(text)]).await;
        match answer.iter().find(|message| message.kind == b'E') {
            Some(error) => error.field(b'C').unwrap(),
            None => format!("{} {}", texts(&answer).join(","), tags(&answer).join(";")).trim().to_owned(),
        }
    };
    assert_eq!(rows("DECLARE c CURSOR FOR SELECT 1").await, "25P01");
    rows("BEGIN; DECLARE c SCROLL CURSOR FOR SELECT g FROM generate_series(1, 5) g").await;
    for (text, expected) in [
        ("FETCH c", "1 FETCH 1"),
        ("FETCH 2 FROM c", "2,3 FETCH 2"),
        ("FETCH PRIOR FROM c", "2 FETCH 1"),
        ("FETCH 0 c", "2 FETCH 1"),
        ("FETCH ALL c", "3,4,5 FETCH 3"),
        ("FETCH NEXT c", "FETCH 0"),
        ("FETCH BACKWARD 2 c", "5,4 FETCH 2"),
        ("FETCH ABSOLUTE 2 c", "2 FETCH 1"),
        ("FETCH RELATIVE -1 c", "1 FETCH 1"),
        ("FETCH ABSOLUTE -2 c", "4 FETCH 1"),
        ("FETCH LAST c", "5 FETCH 1"),
        ("FETCH FIRST c", "1 FETCH 1"),
        ("MOVE 2 c", "MOVE 2"),
        ("FETCH BACKWARD ALL c", "2,1 FETCH 2"),
        ("FETCH ABSOLUTE 9 c", "FETCH 0"),
        ("FETCH -1 c", "5 FETCH 1"),
        ("MOVE ABSOLUTE 0 c", "MOVE 0"),
        ("FETCH FORWARD 1 c; CLOSE c", "1 FETCH 1;CLOSE CURSOR"),
    ] {
        assert_eq!(rows(text).await, expected, "{text}");
    }
    assert_eq!(rows("FETCH c").await, "34000");
    rows("ROLLBACK; BEGIN; DECLARE f NO SCROLL CURSOR FOR VALUES (1), (2)").await;
    assert_eq!(rows("FETCH ALL f").await, "1,2 FETCH 2");
    assert_eq!(rows("FETCH PRIOR f").await, "55000");
    rows("ROLLBACK").await;

    // A cursor sees what was there when it was declared, and goes back with its savepoint.
    rows("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1), (2)").await;
    rows("BEGIN; DECLARE old CURSOR FOR SELECT a FROM t ORDER BY a; INSERT INTO t VALUES (0)").await;
    rows("SAVEPOINT s; DECLARE young CURSOR FOR SELECT 1; SELECT 1 / 0").await;
    assert_eq!(rows("FETCH ALL old").await, "25P02");
    rows("ROLLBACK TO s").await;
    assert_eq!(rows("FETCH ALL old").await, "1,2 FETCH 2");
    assert_eq!(rows("FETCH young").await, "34000");
    rows("ROLLBACK").await;

    rows("BEGIN; DECLARE h CURSOR WITH HOLD FOR SELECT a FROM t ORDER BY a; FETCH h; COMMIT").await;
    rows("DELETE FROM t").await;
    assert_eq!(rows("FETCH ALL h").await, "2 FETCH 1");
    assert_eq!(rows("FETCH BACKWARD ALL h").await, "2,1 FETCH 2");
    assert_eq!(rows("CLOSE ALL; FETCH h").await, "34000");
    rows("BEGIN; DECLARE gone CURSOR WITH HOLD FOR SELECT 1; ROLLBACK").await;
    assert_eq!(rows("FETCH gone").await, "34000");

    // Described, bound and run like any other statement.
    rows("BEGIN; DECLARE c CURSOR FOR SELECT 7 AS seven, 'x' AS x").await;
    let fetch = [parse("", "FETCH c", &[]), bind("", "", &[], 1), describe(b'P', ""), execute("", 0), sync()];
    let answer = raw.ask(&fetch).await;
    assert_eq!(kinds(&answer), "12TDCZ");
    assert_eq!(answer[3].values(), [Some(vec![0, 0, 0, 7]), Some(b"x".to_vec())]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_is_one_transaction_up_to_sync() {
    let (_dir, node) = node().await;
    let mut raw = Raw::connect(&node).await;
    raw.ask(&[query("CREATE TABLE t (a int PRIMARY KEY)")]).await;
    let insert = |value: &str| {
        let text = format!("INSERT INTO t VALUES ({value})");
        [parse("", &text, &[]), bind("", "", &[], 0), execute("", 0)].concat()
    };
    // Two pipelines at once: the first fails in its middle, and is passed over up to its Sync.
    raw.send(&[insert("1"), insert("1"), insert("2"), sync(), insert("3"), insert("4"), sync()].concat()).await;
    let first = raw.until_ready().await;
    assert_eq!((kinds(&first).as_str(), code(&first).as_str()), ("12C12EZ", "23505"));
    assert_eq!(kinds(&raw.until_ready().await), "12C12CZ");
    assert_eq!(texts(&raw.ask(&[query("SELECT a FROM t ORDER BY a")]).await), ["3", "4"]);

    // A query string is one as well, unless it says otherwise.
    let answer = raw.ask(&[query("INSERT INTO t VALUES (5); SELECT 1 / 0; INSERT INTO t VALUES (6)")]).await;
    assert_eq!((tags(&answer).len(), code(&answer).as_str()), (1, "22012"));
    let answer = raw.ask(&[query("INSERT INTO t VALUES (7); COMMIT; INSERT INTO t VALUES (8); SELECT 1 / 0")]).await;
    assert_eq!((kinds(&answer).replace('T', "").as_str(), code(&answer).as_str()), ("CNCCEZ", "22012"));
    assert_eq!(texts(&raw.ask(&[query("SELECT a FROM t WHERE a > 4")]).await), ["7"]);
    // BEGIN makes what came before part of its block.
    let answer = raw.ask(&[query("INSERT INTO t VALUES (9); BEGIN; INSERT INTO t VALUES (10)")]).await;
    assert_eq!(answer.last().unwrap().body, b"T");
    raw.ask(&[query("ROLLBACK")]).await;
    assert_eq!(texts(&raw.ask(&[query("SELECT count(*) FROM t WHERE a > 8")]).await), ["0"]);

    // What is wrong before anything runs fails the block too.
    raw.ask(&[query("BEGIN")]).await;
    let answer = raw.ask(&[query("SELEC 1")]).await;
    assert_eq!((code(&answer).as_str(), answer.last().unwrap().body.as_slice()), ("42601", &b"E"[..]));
    assert_eq!(code(&raw.ask(&[query("SELECT 1")]).await), "25P02");
    assert_eq!(tags(&raw.ask(&[query("COMMIT")]).await), ["ROLLBACK"]);
    // A portal that waits is not read on in a block that has failed.
    raw.ask(&[query("BEGIN")]).await;
    raw.ask(&[parse("", "VALUES (1), (2)", &[]), bind("p", "", &[], 0), execute("p", 1), sync()]).await;
    raw.ask(&[query("SELECT nosuch")]).await;
    assert_eq!(code(&raw.ask(&[execute("p", 1), sync()]).await), "25P02");
    raw.ask(&[query("ROLLBACK")]).await;
    // A query string is passed over with the rest after an error.
    let answer = raw.ask(&[execute("nosuch", 0), query("SELECT 1"), sync()]).await;
    assert_eq!((kinds(&answer).as_str(), code(&answer).as_str()), ("EZ", "34000"));
    // Flush sends what there is without an end.
    raw.send(&[parse("", "SELECT 1", &[]), frame(b'H', b"")].concat()).await;
    assert_eq!(raw.receive().await.unwrap().kind, b'1');
    assert_eq!(kinds(&raw.ask(&[query(""), query(" ; -- nothing\n ;")]).await), "IZ");
    assert_eq!(kinds(&raw.until_ready().await), "IZ");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn time_limits_are_kept() {
    let (_dir, node) = node().await;
    let mut raw = Raw::connect(&node).await;
    raw.ask(&[query("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)")]).await;
    raw.ask(&[query("SET statement_timeout = '50ms'")]).await;
    let answer = raw.ask(&[query(&format!("SELECT count(*) {ENDLESS}"))]).await;
    assert_eq!(code(&answer), "57014");
    let error = answer.iter().find(|message| message.kind == b'E').unwrap();
    assert!(error.field(b'M').unwrap().contains("statement timeout"), "{answer:?}");
    raw.ask(&[query("RESET statement_timeout")]).await;

    let mut holder = Raw::connect(&node).await;
    holder.ask(&[query("BEGIN; UPDATE t SET a = 1")]).await;
    raw.ask(&[query("SET lock_timeout = '50ms'")]).await;
    assert_eq!(code(&raw.ask(&[query("UPDATE t SET a = 2")]).await), "55P03");
    // Waiting for a lock is cut short by the other limit, and by a request.
    raw.ask(&[query("RESET lock_timeout; SET statement_timeout = '50ms'")]).await;
    assert_eq!(code(&raw.ask(&[query("UPDATE t SET a = 2")]).await), "57014");
    raw.ask(&[query("RESET ALL")]).await;
    raw.send(&query("UPDATE t SET a = 2")).await;
    let key = raw.key.clone().unwrap();
    let stopped = async {
        loop {
            let mut cancel = Raw::open(&node).await;
            cancel.send(&[&16_i32.to_be_bytes()[..], &80_877_102_i32.to_be_bytes(), &key].concat()).await;
            cancel.receive().await;
            // A request before the statement has begun stops nothing.
            if let Ok(answer) = tokio::time::timeout(Duration::from_millis(200), raw.until_ready()).await {
                return answer;
            }
        }
    };
    assert_eq!(code(&tokio::time::timeout(Duration::from_secs(20), stopped).await.unwrap()), "57014");
    assert_eq!(tags(&holder.ask(&[query("COMMIT")]).await), ["COMMIT"]);

    holder.ask(&[query("SET idle_in_transaction_session_timeout = '50ms'")]).await;
    holder.ask(&[query("BEGIN; UPDATE t SET a = 5")]).await;
    let farewell = holder.until_ready().await;
    assert_eq!((kinds(&farewell).as_str(), code(&farewell).as_str()), ("E", "25P03"));
    assert_eq!(tags(&raw.ask(&[query("UPDATE t SET a = 7")]).await), ["UPDATE 1"], "its locks are gone");
    raw.ask(&[query("SET idle_session_timeout = '50ms'")]).await;
    assert_eq!(code(&raw.until_ready().await), "57P05");
    node.stop().await;
}

/// Values that show a type's corners, in text.
const VALUES: &[(&str, &[&str])] = &[
    ("bool", &["t", "f"]),
    ("int2", &["-32768", "32767"]),
    ("int4", &["-2147483648", "2147483647"]),
    ("int8", &["-9223372036854775808", "9223372036854775807"]),
    ("oid", &["0", "4294967295"]),
    ("float4", &["1.5", "-3.4028235e+38", "NaN", "Infinity"]),
    ("float8", &["0.1", "-1.7976931348623157e+308", "5e-324", "-Infinity"]),
    ("numeric", &["0", "-12345678901234567890.0987654321", "0.00001", "NaN", "100000000"]),
    ("numeric(8,2)", &["-123456.78", "0.10"]),
    ("text", &["", "héllo\n\"wörld\"\\", "🦀"]),
    ("varchar(5)", &["abcde", ""]),
    ("char(5)", &["ab   "]),
    ("\"char\"", &["x"]),
    ("name", &["some_name"]),
    ("bytea", &["\\x", "\\x00ff7f"]),
    ("date", &["2000-01-01", "4713-01-01 BC", "5874897-12-31", "infinity"]),
    ("time", &["00:00:00", "23:59:59.999999", "24:00:00"]),
    ("timetz", &["12:34:56.789+05:30", "00:00:00-08"]),
    ("timestamp", &["2038-01-19 03:14:07.123456", "4713-01-01 00:00:00 BC", "-infinity"]),
    ("timestamptz", &["2038-01-19 03:14:07+00", "294276-12-31 23:59:59.999999+00"]),
    ("interval", &["1 year 2 mons -3 days +04:05:06.7", "-00:00:00.000001"]),
    ("uuid", &["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]),
    ("json", &["{\"a\" : [1, null]}"]),
    ("jsonb", &["{\"a\": [1, null, \"x\"]}", "0.10"]),
    ("int4[]", &["{}", "{1,NULL,-3}", "{{1,2},{3,4}}", "[0:1]={5,6}"]),
    ("text[]", &["{a,\"b c\",NULL,\"NULL\",\"\"}"]),
    ("timestamptz[]", &["{\"2000-01-01 00:00:00+00\"}"]),
    ("numeric[]", &["{1.50,NaN}"]),
    ("regclass", &["places"]),
    ("regclass[]", &["{places,-}"]),
    ("regtype", &["integer"]),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_type_goes_both_ways_in_both_formats() {
    let (_dir, node) = node().await;
    let mut raw = Raw::connect(&node).await;
    raw.ask(&[query("CREATE TABLE places (a int)")]).await;
    for (ty, values) in VALUES {
        for value in *values {
            let echo = |format, bytes: &[u8]| {
                [
                    parse("", &format!("SELECT $1::{ty}"), &[]),
                    bind("", "", &[Some(bytes)], format),
                    execute("", 0),
                    sync(),
                ]
            };
            let one = |answer: Vec<Message>| {
                let row = answer.iter().find(|message| message.kind == b'D');
                row.unwrap_or_else(|| panic!("{ty} {value}: {answer:?}")).values()[0].clone().unwrap()
            };
            let text = one(raw.ask(&echo(0, value.as_bytes())).await);
            assert_eq!(String::from_utf8_lossy(&text), *value, "{ty}: text to text");
            // Text in and binary out, by a detour over a literal.
            let literal = value.replace('\'', "''");
            let answer = raw
                .ask(&[
                    parse("", &format!("SELECT '{literal}'::{ty}"), &[]),
                    bind("", "", &[], 1),
                    execute("", 0),
                    sync(),
                ])
                .await;
            let binary = one(answer);
            assert_eq!(one(raw.ask(&echo(1, &binary)).await), binary, "{ty} {value}: binary to binary");
        }
    }
    // Parameters and results may each have their own format; NULL has none.
    let mut body = b"\0\0\0\x02\0\x01\0\0\0\x02\0\0\0\x04\0\0\0\x2a\xff\xff\xff\xff".to_vec();
    body.extend_from_slice(b"\0\x02\0\0\0\x01");
    let mixed = [parse("", "SELECT $1::int4, $1 + 1, $2::text", &[]), frame(b'B', &body), execute("", 0), sync()];
    let answer = raw.ask(&mixed).await;
    assert_eq!(code(&answer), "08P01", "two formats for three columns");
    body.truncate(body.len() - 6);
    body.extend_from_slice(b"\0\x03\0\0\0\x01\0\x01");
    let mixed = [parse("", "SELECT $1::int4, $1 + 1, $2::text", &[]), frame(b'B', &body), execute("", 0), sync()];
    assert_eq!(raw.ask(&mixed).await[2].values(), [Some(b"42".to_vec()), Some(vec![0, 0, 0, 43]), None]);
    for (params, expected) in [(&b"\xff\xfe"[..], "22021"), (b"x\0y", "22021"), (b"twelve", "22P02")] {
        let ty = if expected == "22P02" { "int4" } else { "text" };
        let answer = raw
            .ask(&[parse("", &format!("SELECT $1::{ty}"), &[]), bind("", "", &[Some(params)], 0), sync()])
            .await;
        assert_eq!(code(&answer), expected);
    }
    let short = [parse("", "SELECT $1::int8", &[]), bind("", "", &[Some(b"123")], 1), sync()];
    assert_eq!(code(&raw.ask(&short).await), "22P03");
    node.stop().await;
}

/// Sends a COPY FROM its data in pieces of so many bytes, and answers what comes back.
async fn copy_in(raw: &mut Raw, text: &str, data: &[u8], piece: usize) -> Vec<Message> {
    raw.send(&query(text)).await;
    let begun = raw.receive().await.unwrap();
    if begun.kind != b'G' {
        let mut answer = vec![begun];
        answer.extend(raw.until_ready().await);
        return answer;
    }
    for piece in data.chunks(piece) {
        raw.send(&frame(b'd', piece)).await;
    }
    raw.send(&frame(b'c', b"")).await;
    raw.until_ready().await
}

async fn copy_out(raw: &mut Raw, text: &str) -> Vec<u8> {
    let answer = raw.ask(&[query(text)]).await;
    assert_eq!(kinds(&answer).replace('d', ""), "HcCZ", "{text}: {answer:?}");
    answer.into_iter().filter(|message| message.kind == b'd').flat_map(|message| message.body).collect()
}

/// More than a buffer holds, while a cursor is open that began before.
#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_does_not_see_what_is_copied_in_after_it_began() {
    let (_dir, node) = node().await;
    let mut raw = Raw::connect(&node).await;
    raw.ask(&[query("CREATE TABLE t (a text)")]).await;
    raw.ask(&[query("BEGIN; INSERT INTO t VALUES ('before'); DECLARE c CURSOR FOR SELECT a FROM t")]).await;
    let line = [&[b'x'; 99][..], b"\n"].concat();
    let answer = copy_in(&mut raw, "COPY t FROM STDIN", &line.repeat(60_000), 1 << 20).await;
    assert_eq!(tags(&answer), ["COPY 60000"], "{answer:?}");
    assert_eq!(texts(&raw.ask(&[query("FETCH ALL FROM c")]).await), ["before"]);
    assert_eq!(texts(&raw.ask(&[query("SELECT count(*) FROM t")]).await), ["60001"]);
    raw.ask(&[query("COMMIT")]).await;
    assert_eq!(texts(&raw.ask(&[query("SELECT count(*) FROM t")]).await), ["60001"]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_goes_both_ways_in_every_format() {
    let (_dir, node) = node().await;
    let mut raw = Raw::connect(&node).await;
    raw.ask(&[query(
        "CREATE TABLE t (a int PRIMARY KEY, b text, c numeric(8,2), d timestamptz, e int[], f varchar(3), g bytea)",
    )])
    .await;
    let text = "1\ta\\tb\\\\\\n\\\\N\t1.50\t2020-01-01 00:00:00+00\t{1,NULL}\tabc\t\\\\x00ff\n\
                2\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\n\
                3\t\t-0.01\tinfinity\t{}\t\t\\\\x\n";
    let answer = copy_in(&mut raw, "COPY t FROM STDIN", text.as_bytes(), 7).await;
    assert_eq!(tags(&answer), ["COPY 3"], "{answer:?}");
    assert_eq!(String::from_utf8(copy_out(&mut raw, "COPY t TO STDOUT").await).unwrap(), text);
    let csv = String::from_utf8(copy_out(&mut raw, "COPY (SELECT * FROM t ORDER BY a) TO STDOUT CSV HEADER").await).unwrap();
    assert_eq!(
        csv,
        "a,b,c,d,e,f,g\n1,\"a\tb\\\n\\N\",1.50,2020-01-01 00:00:00+00,\"{1,NULL}\",abc,\\x00ff\n2,,,,,,\n\
         3,\"\",-0.01,infinity,{},\"\",\\x\n"
    );
    let binary = copy_out(&mut raw, "COPY t TO STDOUT (FORMAT binary)").await;
    assert!(binary.starts_with(b"PGCOPY\n\xff\r\n\0") && binary.ends_with(b"\xff\xff"), "{binary:?}");
    for (options, data) in [("CSV HEADER", csv.as_bytes()), ("(FORMAT binary)", &binary[..])] {
        for piece in [1, 1000] {
            raw.ask(&[query("DELETE FROM t")]).await;
            let answer = copy_in(&mut raw, &format!("COPY t FROM STDIN {options}"), data, piece).await;
            assert_eq!(tags(&answer), ["COPY 3"], "{options} in pieces of {piece}: {answer:?}");
            assert_eq!(String::from_utf8(copy_out(&mut raw, "COPY t TO STDOUT").await).unwrap(), text, "{options}");
        }
    }

    // What is wrong is said where it is, and nothing of the data stays.
    raw.ask(&[query("DELETE FROM t")]).await;
    for (options, data, expected) in [
        ("", &b"1\ta\n"[..], "22P04"),
        ("(FORMAT binary)", b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x01", "22P04"),
        ("(FORMAT binary)", b"nonsense, and more of it", "22P04"),
        ("", b"x\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\n", "22P02"),
        ("", b"1\t\\N\t\\N\t\\N\t\\N\ttoolong\t\\N\n", "22001"),
        ("", b"1\t\xff\t\\N\t\\N\t\\N\t\\N\t\\N\n", "22021"),
        ("CSV", b"1,\"open\n", "22P04"),
    ] {
        let answer = copy_in(&mut raw, &format!("COPY t FROM STDIN {options}"), data, 1000).await;
        assert_eq!(code(&answer), expected, "{options} {data:?}");
    }
    // Given up by the client; and the connection is at the next query when data is still on its way.
    raw.send(&query("COPY t FROM STDIN")).await;
    raw.send(&frame(b'f', b"changed my mind\0")).await;
    let answer = raw.until_ready().await;
    assert_eq!((code(&answer).as_str(), answer[1].field(b'M').unwrap().as_str()), ("57014", "COPY from stdin failed: changed my mind"));
    raw.send(&[query("COPY t FROM STDIN"), query("SELECT 1")].concat()).await;
    // What does not belong into a COPY is the end of the connection: the error, and then why.
    let answer = raw.until_ready().await;
    let errors: Vec<_> = answer.iter().filter(|message| message.kind == b'E').collect();
    let told: Vec<_> = errors.iter().map(|error| (error.field(b'S').unwrap(), error.field(b'C').unwrap())).collect();
    assert_eq!(told, [("ERROR", "08P01"), ("FATAL", "08P01")].map(|(a, b)| (a.to_owned(), b.to_owned())));
    let mut raw = Raw::connect(&node).await;
    assert_eq!(texts(&raw.ask(&[query("SELECT count(*) FROM t")]).await), ["0"]);

    // Through the extended protocol.
    raw.send(&[parse("", "COPY t (a, b) FROM STDIN", &[]), bind("", "", &[], 0), execute("", 0), sync()].concat()).await;
    raw.send(&[frame(b'd', b"8\teight\n"), frame(b'c', b""), sync()].concat()).await;
    assert_eq!(kinds(&raw.until_ready().await), "12GCZ");
    let out = [parse("", "COPY t (b, a) TO STDOUT", &[]), bind("", "", &[], 0), execute("", 0), sync()];
    let answer = raw.ask(&out).await;
    assert_eq!((kinds(&answer).as_str(), answer[3].body.as_slice()), ("12HdcCZ", &b"eight\t8\n"[..]));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_told_of_settings() {
    let (_dir, node) = node().await;
    let mut raw = Raw::open(&node).await;
    raw.send(&startup(&[
        ("user", "postgres"),
        ("database", "postgres"),
        ("application_name", "wire"),
        ("options", "-c timezone=Europe/Paris --datestyle=iso,dmy"),
    ]))
    .await;
    raw.until_ready().await;
    let known = [
        ("application_name", "wire"),
        ("TimeZone", "Europe/Paris"),
        ("DateStyle", "ISO, DMY"),
        ("client_encoding", "UTF8"),
        ("integer_datetimes", "on"),
        ("standard_conforming_strings", "on"),
    ];
    for (name, value) in known {
        assert_eq!(raw.setting(name), Some(value), "{name}");
    }
    assert!(raw.setting("server_version").is_some_and(|version| version.starts_with("15")));
    assert_eq!(texts(&raw.ask(&[query("SELECT '2/1/2020'::date")]).await), ["2020-01-02"]);
    assert_eq!(kinds(&raw.ask(&[query("SET application_name = 'other'")]).await), "CSZ");
    assert_eq!(raw.setting("application_name"), Some("other"));
    // Told again only when it is another value; and when it is rolled back.
    assert_eq!(kinds(&raw.ask(&[query("SET application_name = 'other'")]).await), "CZ");
    raw.ask(&[query("BEGIN; SET TimeZone = 'UTC'")]).await;
    assert_eq!(raw.setting("TimeZone"), Some("UTC"));
    raw.ask(&[query("ROLLBACK")]).await;
    assert_eq!(raw.setting("TimeZone"), Some("Europe/Paris"));
    raw.ask(&[query("BEGIN; SET LOCAL application_name = 'local'")]).await;
    assert_eq!(raw.setting("application_name"), Some("local"));
    raw.ask(&[query("COMMIT")]).await;
    assert_eq!(raw.setting("application_name"), Some("other"));
    raw.ask(&[query("SELECT set_config('application_name', 'called', false)")]).await;
    assert_eq!(raw.setting("application_name"), Some("called"));
    raw.ask(&[query("RESET ALL")]).await;
    assert_eq!((raw.setting("application_name"), raw.setting("TimeZone")), (Some("wire"), Some("Europe/Paris")));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_say_what_where_and_why() {
    let (_dir, node) = node().await;
    let mut raw = Raw::connect(&node).await;
    raw.ask(&[query("CREATE TABLE t (a int CONSTRAINT t_key PRIMARY KEY, b int CONSTRAINT small CHECK (b < 9))")]).await;
    raw.ask(&[query("INSERT INTO t VALUES (1, 1)")]).await;
    let cases: &[(&str, &[(u8, &str)])] = &[
        ("SELECT nosuch FROM t", &[(b'S', "ERROR"), (b'V', "ERROR"), (b'C', "42703"), (b'P', "8")]),
        ("SELECT 'ä' FROM t WHERE", &[(b'C', "42601"), (b'P', "24")]),
        ("SELECT 'ä', nosuch FROM t", &[(b'C', "42703"), (b'P', "13")]),
        ("INSERT INTO t VALUES (1)", &[(b'C', "23505"), (b'D', "Key (a)=(1) already exists."), (b't', "t"), (b'n', "t_key")]),
        ("INSERT INTO t VALUES (2, 10)", &[(b'C', "23514"), (b't', "t"), (b'n', "small")]),
        ("SELECT 1 / 0", &[(b'C', "22012"), (b'M', "division by zero")]),
    ];
    for (text, fields) in cases {
        let answer = raw.ask(&[query(text)]).await;
        let error = answer.iter().find(|message| message.kind == b'E').unwrap_or_else(|| panic!("{text}: {answer:?}"));
        for (kind, expected) in *fields {
            assert_eq!(error.field(*kind).as_deref(), Some(*expected), "{text}: {}", char::from(*kind));
        }
    }
    raw.ask(&[query("BEGIN; DECLARE c NO SCROLL CURSOR FOR SELECT 1; FETCH c")]).await;
    let answer = raw.ask(&[query("FETCH PRIOR c")]).await;
    assert!(answer[0].field(b'H').or_else(|| answer[1].field(b'H')).unwrap().contains("SCROLL"));
    let answer = raw.ask(&[query("ROLLBACK; COMMIT")]).await;
    let notice = answer.iter().find(|message| message.kind == b'N').unwrap();
    assert_eq!((notice.field(b'S').as_deref(), notice.field(b'C').as_deref()), (Some("WARNING"), Some("25P01")));
    raw.ask(&[query("SET client_min_messages = error")]).await;
    assert_eq!(kinds(&raw.ask(&[query("COMMIT")]).await), "CZ");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_statements_follow_the_catalog() {
    let (_dir, node) = node().await;
    let mut raw = Raw::connect(&node).await;
    let other = connect(&node).await;
    raw.ask(&[query("CREATE TABLE t (a int PRIMARY KEY, b text); INSERT INTO t VALUES (1, 'one')")]).await;
    raw.ask(&[parse("star", "SELECT * FROM t", &[]), parse("one", "SELECT b FROM t WHERE a = $1", &[]), sync()]).await;
    let run = |name: &str, params: &[Option<&[u8]>]| [bind("", name, params, 0), execute("", 0), sync()];
    assert_eq!(texts(&raw.ask(&run("star", &[])).await), ["1"]);
    other.batch_execute("CREATE INDEX ON t (b); ALTER TABLE t ADD COLUMN c int").await.unwrap();
    assert_eq!(texts(&raw.ask(&run("one", &[Some(b"1")])).await), ["one"]);
    let answer = raw.ask(&run("star", &[])).await;
    assert_eq!(code(&answer), "0A000");
    assert!(answer[0].field(b'M').unwrap().contains("cached plan must not change result type"), "{answer:?}");
    other.batch_execute("DROP TABLE t").await.unwrap();
    assert_eq!(code(&raw.ask(&run("one", &[Some(b"1")])).await), "42P01");
    // Between Bind and Execute too; and a change that is rolled back leaves no plan behind.
    raw.ask(&[query("CREATE TABLE t (a int PRIMARY KEY, b text); INSERT INTO t VALUES (1, 'two')")]).await;
    raw.ask(&[query("BEGIN; ALTER TABLE t DROP COLUMN b; ALTER TABLE t ADD COLUMN b int")]).await;
    assert_eq!(code(&raw.ask(&run("one", &[Some(b"1")])).await), "0A000");
    raw.ask(&[query("ROLLBACK")]).await;
    assert_eq!(texts(&raw.ask(&run("one", &[Some(b"1")])).await), ["two"]);
    raw.ask(&[query("PREPARE p AS SELECT * FROM t")]).await;
    raw.ask(&[query("ALTER TABLE t ADD COLUMN c int")]).await;
    assert_eq!(code(&raw.ask(&[query("EXECUTE p")]).await), "0A000");
    raw.ask(&[query("DEALLOCATE ALL")]).await;
    assert_eq!(code(&raw.ask(&run("one", &[Some(b"1")])).await), "26000");
    // Names are looked up where the path leads by now.
    raw.ask(&[query("CREATE SCHEMA s; CREATE TABLE s.t (b text); INSERT INTO s.t VALUES ('of s')")]).await;
    raw.ask(&[query("PREPARE q AS SELECT b FROM t")]).await;
    raw.ask(&[parse("q2", "SELECT b FROM t", &[]), sync()]).await;
    raw.ask(&[query("SET search_path = s")]).await;
    assert_eq!(texts(&raw.ask(&[query("EXECUTE q")]).await), ["of s"]);
    assert_eq!(texts(&raw.ask(&run("q2", &[])).await), ["of s"]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_comes_again_means_what_its_session_says() {
    let (_dir, node) = node().await;
    let (mut one, mut two) = (Raw::connect(&node).await, Raw::connect(&node).await);
    one.ask(&[query(
        "CREATE SCHEMA a; CREATE SCHEMA b; CREATE TABLE a.t (v text); CREATE TABLE b.t (v text, w int);
         INSERT INTO a.t VALUES ('of a'); INSERT INTO b.t VALUES ('of b', 1)",
    )])
    .await;
    two.ask(&[query("SET search_path = b; SET timezone = 'Asia/Tokyo'")]).await;
    one.ask(&[query("SET search_path = a")]).await;
    let unnamed =
        |text: &str, types: &[u32], params: &[Option<&[u8]>]| [parse("", text, types), bind("", "", params, 0), execute("", 0), sync()];
    // From its third coming on a text is neither parsed nor planned.
    for _ in 0..4 {
        for (raw, schema, noon) in [(&mut one, "of a", "12:00:00"), (&mut two, "of b", "03:00:00")] {
            assert_eq!(texts(&raw.ask(&[query("SELECT v FROM t")]).await), [schema]);
            assert_eq!(texts(&raw.ask(&unnamed("SELECT v FROM t", &[], &[])).await), [schema]);
            let text = "SELECT (timestamptz '2024-06-01 12:00' AT TIME ZONE 'UTC')::time";
            assert_eq!(texts(&raw.ask(&[query(text)]).await), [noon]);
            assert_eq!(texts(&raw.ask(&unnamed("SELECT pg_typeof($1)", &[23], &[Some(b"1")])).await), ["integer"]);
            assert_eq!(texts(&raw.ask(&unnamed("SELECT pg_typeof($1)", &[25], &[Some(b"1")])).await), ["text"]);
            assert_eq!(texts(&raw.ask(&[query("SET search_path = b; SELECT v FROM t; SET search_path = a")]).await), ["of b"]);
            raw.ask(&[query(&format!("SET search_path = {}", &schema[3..]))]).await;
        }
    }
    // What was the time when it was planned is not kept.
    let mut before = String::new();
    for _ in 0..4 {
        let now = texts(&one.ask(&[query("SELECT 'NOW'::timestamp")]).await).remove(0);
        assert!(now > before, "{now} is after {before}");
        before = now;
    }
    for text in ["SELECT ('{now}'::text::timestamp[])[1]", "SELECT (ARRAY['now'::text]::timestamp[])[1]"] {
        let mut before = String::new();
        for _ in 0..4 {
            let now = texts(&one.ask(&[query(text)]).await).remove(0);
            assert!(now > before, "{text}: {now} is after {before}");
            before = now;
        }
    }
    // A change of the catalog is seen by all; one that is not committed by nobody else.
    let width = |messages: &[Message]| messages.iter().find(|message| message.kind == b'T').unwrap().body[1];
    for (column, width_before) in [("x", 2), ("y", 3)] {
        two.ask(&[query(&format!("BEGIN; ALTER TABLE b.t ADD COLUMN {column} int"))]).await;
        for _ in 0..3 {
            assert_eq!(width(&two.ask(&[query("SELECT * FROM b.t")]).await), width_before + 1);
        }
        two.ask(&[query(if column == "x" { "COMMIT" } else { "ROLLBACK" })]).await;
        let width_after = 3;
        for _ in 0..3 {
            assert_eq!(width(&one.ask(&[query("SELECT * FROM b.t")]).await), width_after);
            assert_eq!(width(&two.ask(&[query("SELECT * FROM b.t")]).await), width_after);
        }
    }
    two.ask(&[query("DROP TABLE b.t")]).await;
    assert_eq!(code(&two.ask(&[query("SELECT * FROM b.t")]).await), "42P01");
    assert_eq!(code(&one.ask(&[query("SELECT * FROM b.t")]).await), "42P01");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn execute_is_described_and_does_not_execute_itself() {
    let (_dir, node) = node().await;
    let mut raw = Raw::connect(&node).await;
    raw.ask(&[query("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (7)")]).await;
    raw.ask(&[query("PREPARE q AS SELECT a, a + 1 AS next FROM t")]).await;
    let run = |text: &str| {
        let asked = [parse("", text, &[]), describe(b'S', ""), bind("", "", &[], 0)];
        [&asked[..], &[describe(b'P', ""), execute("", 0), sync()]].concat()
    };
    let answer = raw.ask(&run("EXECUTE q")).await;
    assert_eq!((kinds(&answer).as_str(), texts(&answer)), ("1tT2TDCZ", vec!["7".to_owned()]), "columns are described once");
    assert_eq!(answer[2].body[..2], [0, 2], "both of them");
    // Another statement of the name has other columns.
    raw.ask(&[parse("e", "EXECUTE q", &[]), sync()]).await;
    raw.ask(&[query("DEALLOCATE q; PREPARE q AS SELECT 'x'")]).await;
    let answer = raw.ask(&[bind("", "e", &[], 0), describe(b'P', ""), execute("", 0), sync()]).await;
    assert_eq!((kinds(&answer).as_str(), texts(&answer)), ("2TDCZ", vec!["x".to_owned()]));
    // Rows may be without columns: they are rows all the same.
    assert_eq!(kinds(&raw.ask(&[query("SELECT FROM t")]).await), "TDCZ");
    assert_eq!(kinds(&raw.ask(&run("SELECT FROM t")).await), "1tT2TDCZ");
    assert_eq!(kinds(&raw.ask(&run("INSERT INTO t VALUES (8)")).await), "1tn2nCZ");

    assert_eq!(code(&raw.ask(&[query("PREPARE p AS EXECUTE p")]).await), "42601");
    assert_eq!(code(&raw.ask(&[query("EXECUTE p")]).await), "26000", "it was not prepared");
    raw.ask(&[parse("p", "EXECUTE p", &[]), sync()]).await;
    assert_eq!(code(&raw.ask(&[query("EXECUTE p")]).await), "54001");
    assert_eq!(code(&raw.ask(&[bind("", "p", &[], 0), execute("", 0), sync()]).await), "54001");
    assert_eq!(texts(&raw.ask(&[query("SELECT 1")]).await), ["1"], "the node lives");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn analyze_keeps_what_its_query_string_has_written() {
    let (_dir, node) = node().await;
    let mut raw = Raw::connect(&node).await;
    raw.ask(&[query("CREATE TABLE t (a int PRIMARY KEY); CREATE TABLE x (a int); INSERT INTO x VALUES (1)")]).await;
    assert_eq!(tags(&raw.ask(&[query("INSERT INTO t VALUES (1); ANALYZE t")]).await), ["INSERT 0 1", "ANALYZE"]);
    assert_eq!(texts(&raw.ask(&[query("SELECT a FROM t")]).await), ["1"]);
    assert_eq!(tags(&raw.ask(&[query("DROP TABLE x; ANALYZE")]).await), ["DROP TABLE", "ANALYZE"]);
    assert_eq!(code(&raw.ask(&[query("SELECT a FROM x")]).await), "42P01");
    assert_eq!(tags(&raw.ask(&[query("CREATE TABLE x (a int); ANALYZE")]).await), ["CREATE TABLE", "ANALYZE"]);
    assert_eq!(texts(&raw.ask(&[query("SELECT count(*) FROM x")]).await), ["0"]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_are_chained_and_settings_go_back_with_them() {
    let (_dir, node) = node().await;
    let mut raw = Raw::connect(&node).await;
    let status = |answer: &[Message]| char::from(answer.last().unwrap().body[0]);
    for end in ["ROLLBACK", "COMMIT"] {
        assert_eq!(status(&raw.ask(&[query("BEGIN; SELECT 1 / 0")]).await), 'E');
        let answer = raw.ask(&[query(&format!("{end} AND CHAIN"))]).await;
        assert_eq!((tags(&answer), status(&answer)), (vec!["ROLLBACK".to_owned()], 'T'), "a new block is open");
        assert_eq!(status(&raw.ask(&[query("ROLLBACK")]).await), 'I');
    }

    // Outside of a block there is no transaction that SET TRANSACTION could be about.
    let answer = raw.ask(&[query("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")]).await;
    assert_eq!((kinds(&answer).as_str(), answer[0].field(b'C').as_deref()), ("NCZ", Some("25P01")));
    let isolation = async |raw: &mut Raw| texts(&raw.ask(&[query("SHOW transaction_isolation")]).await).remove(0);
    assert_eq!(isolation(&mut raw).await, "serializable");
    raw.ask(&[query("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED")]).await;
    assert_eq!(isolation(&mut raw).await, "read committed");
    raw.ask(&[query("BEGIN ISOLATION LEVEL REPEATABLE READ")]).await;
    assert_eq!(isolation(&mut raw).await, "repeatable read");
    raw.ask(&[query("COMMIT")]).await;
    assert_eq!(isolation(&mut raw).await, "read committed", "the session's again");

    let shown = async |raw: &mut Raw| texts(&raw.ask(&[query("SHOW work_mem")]).await).remove(0);
    raw.ask(&[query("SET work_mem = '8MB'")]).await;
    raw.ask(&[query("BEGIN; SET LOCAL work_mem = '1MB'; RESET ALL")]).await;
    assert_eq!(shown(&mut raw).await, "4MB");
    assert_eq!(code(&raw.ask(&[query("DISCARD ALL")]).await), "25001");
    raw.ask(&[query("ROLLBACK")]).await;
    assert_eq!(shown(&mut raw).await, "8MB", "RESET ALL was rolled back");
    raw.ask(&[query("BEGIN; SET LOCAL work_mem = '1MB'; RESET ALL; COMMIT")]).await;
    assert_eq!(shown(&mut raw).await, "4MB", "and here it was not");
    raw.ask(&[query("SET work_mem = '8MB'"), query("DISCARD ALL")]).await;
    raw.until_ready().await;
    assert_eq!((shown(&mut raw).await, isolation(&mut raw).await), ("4MB".to_owned(), "serializable".to_owned()));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn encryption_is_declined_and_strangers_are_refused() {
    let (_dir, node) = node().await;
    let code_packet = |code: i32| [8_i32.to_be_bytes(), code.to_be_bytes()].concat();
    let mut raw = Raw::open(&node).await;
    for code in [80_877_104, 80_877_103] {
        raw.send(&code_packet(code)).await;
        assert_eq!(raw.byte().await, b'N');
    }
    raw.send(&startup(&[("user", "postgres")])).await;
    assert_eq!(raw.until_ready().await.last().unwrap().kind, b'Z');

    let whole = startup(&[("user", "postgres")]);
    let cases: Vec<(Vec<u8>, &str)> = vec![
        ([code_packet(80_877_103), code_packet(80_877_103)].concat(), "0A000"),
        (code_packet(2 << 16), "0A000"),
        (code_packet(3 << 16), "08P01"),
        (3_i32.to_be_bytes().to_vec(), "08P01"),
        (i32::MAX.to_be_bytes().to_vec(), "54000"),
        ((-5_i32).to_be_bytes().to_vec(), "08P01"),
        ([&(whole.len() as i32 - 1).to_be_bytes()[..], &whole[4..whole.len() - 1]].concat(), "08P01"),
        (startup(&[]), "28000"),
        (startup(&[("user", "nobody")]), "28000"),
        (startup(&[("user", "postgres"), ("database", "nowhere")]), "3D000"),
        (startup(&[("user", "postgres"), ("nosuch", "1")]), "42704"),
        (startup(&[("user", "postgres"), ("options", "-c work_mem")]), "42601"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), "54000"),
    ];
    for (bytes, expected) in cases {
        let mut raw = Raw::open(&node).await;
        raw.send(&bytes).await;
        if bytes.len() == 16 {
            assert_eq!(raw.byte().await, b'N');
        }
        let answer = raw.until_ready().await;
        assert_eq!((kinds(&answer).as_str(), code(&answer).as_str()), ("E", expected), "{bytes:?}");
        assert_eq!(answer[0].field(b'S').as_deref(), Some("FATAL"));
    }
    // A newer minor version and options from it are negotiated down.
    let mut newer = startup(&[("user", "postgres"), ("_pq_.future", "1")]);
    newer[7] = 2;
    let mut raw = Raw::open(&node).await;
    raw.send(&newer).await;
    let answer = raw.until_ready().await;
    assert_eq!((answer[0].kind, answer[1].kind), (b'v', b'R'), "{answer:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_messages_are_errors_and_lost_ones_the_end() {
    let (_dir, node) = node().await;
    // Within a message whose end is known, the connection goes on.
    let mut raw = Raw::connect(&node).await;
    let broken: Vec<Vec<u8>> = vec![
        frame(b'P', b""),
        frame(b'P', b"name"),
        frame(b'P', b"\0SELECT 1\0\x7f\xff"),
        frame(b'P', b"\0SELECT 1\0\0\0more"),
        frame(b'P', b"\0SELECT '\xff'\0\0\0"),
        frame(b'B', b"\0\0"),
        frame(b'B', b"\0\0\xff\xff\xff\xff\xff\xff"),
        frame(b'B', b"\0\0\0\0\0\x01\x7f\xff\xff\xff\0\0"),
        frame(b'B', b"\0\0\0\0\0\x01\xff\xff\xff\xfe\0\0"),
        frame(b'D', b"X\0"),
        frame(b'D', b""),
        frame(b'E', b"\0"),
        frame(b'E', b"\0\0\0\0\0\0"),
        frame(b'C', b"?\0"),
    ];
    for message in broken {
        raw.ask(&[parse("", "SELECT $1::text", &[]), sync()]).await;
        let answer = raw.ask(&[message.clone(), parse("", "SELECT 1", &[]), sync()]).await;
        let found = code(&answer);
        assert_eq!(kinds(&answer), "EZ", "{message:?}");
        assert!(matches!(found.as_str(), "08P01" | "22021" | "22023"), "{message:?}: {found}");
    }
    for message in [frame(b'Q', b"SELECT 1"), frame(b'Q', b"SELECT 1\0\0"), frame(b'F', b"")] {
        assert_eq!(kinds(&raw.ask(&[message]).await), "EZ");
    }
    assert_eq!(kinds(&raw.ask(&[frame(b'd', b"no copy"), frame(b'c', b""), query("SELECT 1")]).await), "TDCZ");

    // Where the next message cannot be told, it does not; and whoever still sends reads why.
    let oversized = [&b"Q"[..], &(16_i32 * 1024 * 1024 + 1).to_be_bytes()].concat();
    let lost: Vec<(Vec<u8>, &str)> = vec![
        (oversized.clone(), "54000"),
        ([oversized, vec![b'x'; 4 << 20]].concat(), "54000"),
        (b"Q\x7f\xff\xff\xff".to_vec(), "54000"),
        (b"Q\xff\xff\xff\xff".to_vec(), "08P01"),
        (b"Q\0\0\0\x03".to_vec(), "08P01"),
        (b"\0\0\0\0\x04".to_vec(), "08P01"),
        (frame(b'z', b""), "08P01"),
        (frame(b'p', b"password\0"), "08P01"),
    ];
    for (bytes, expected) in lost {
        let mut raw = Raw::connect(&node).await;
        raw.send(&bytes).await;
        let answer = raw.until_ready().await;
        let shown = &bytes[..bytes.len().min(20)];
        assert_eq!((kinds(&answer).as_str(), code(&answer).as_str()), ("E", expected), "{shown:?}");
    }
    // As long as a message may be.
    let mut raw = Raw::connect(&node).await;
    let long = format!("SELECT length('{}')", "x".repeat((16 << 20) - 100));
    assert_eq!(texts(&raw.ask(&[query(&long)]).await), [((16 << 20) - 100).to_string()]);
    node.stop().await;
}

/// xorshift64*: the same bytes in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % sides
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_bytes_end_the_process() {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        print(panic);
    }));
    let (_dir, node) = node().await;
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let honest = connect(&node).await;
    honest.batch_execute("CREATE TABLE t (a int PRIMARY KEY, b text)").await.unwrap();
    let parts: Vec<Vec<u8>> = vec![
        query("SELECT * FROM t; INSERT INTO t VALUES (1, 'x') ON CONFLICT DO NOTHING"),
        query("BEGIN; DECLARE c SCROLL CURSOR FOR SELECT g FROM generate_series(1, 9) g"),
        query("FETCH 3 c; MOVE BACKWARD ALL c"),
        query("COPY t FROM STDIN (FORMAT binary)"),
        query("COPY t TO STDOUT CSV HEADER"),
        frame(b'd', b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x02\0\0\0\x04\0\0\0\x07\0\0\0\x01z\xff\xff"),
        frame(b'd', b"5\tfive\n"),
        frame(b'c', b""),
        frame(b'f', b"no\0"),
        parse("s", "SELECT $1::int4[], $2::timestamptz, $3::numeric", &[]),
        parse("", "INSERT INTO t VALUES ($1, $2) ON CONFLICT DO NOTHING", &[23, 25]),
        bind("p", "s", &[Some(b"\0\0\0\x01\0\0\0\0\0\0\0\x17\0\0\0\0\0\0\0\x01"), Some(&[1; 8]), Some(&[0; 8])], 1),
        bind("", "", &[Some(b"7"), None], 0),
        describe(b'P', "p"),
        describe(b'S', "s"),
        execute("p", 2),
        execute("", 0),
        frame(b'C', b"Ss\0"),
        frame(b'H', b""),
        sync(),
    ];
    for round in 0..400 {
        let mut bytes = Vec::new();
        for _ in 0..1 + dice.roll(12) {
            bytes.extend_from_slice(&parts[dice.roll(parts.len())]);
        }
        // Some are whole, some are damaged, some are noise.
        match round % 4 {
            0 => {}
            3 => bytes = (0..dice.roll(400)).map(|_| dice.roll(256) as u8).collect(),
            _ => {
                for _ in 0..1 + dice.roll(6) {
                    let at = dice.roll(bytes.len());
                    match dice.roll(3) {
                        0 => bytes[at] = dice.roll(256) as u8,
                        1 => bytes.truncate(at + 1),
                        _ => bytes.insert(at, dice.roll(256) as u8),
                    }
                }
            }
        }
        if round % 12 == 11 {
            let mut raw = Raw::open(&node).await;
            raw.send(&bytes).await;
            continue;
        }
        let mut raw = Raw::connect(&node).await;
        // What comes back is not looked at: only that the server stays.
        raw.send(&bytes).await;
        raw.send(&[frame(b'f', b"\0"), sync(), frame(b'X', b"")].concat()).await;
    }
    let gone = async {
        while node.sql_connections() > 1 {
            honest.simple_query("SELECT 1").await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone).await.expect("every connection ends");
    let left: i64 = honest.query_one("SELECT count(*) FROM t WHERE a IN (1, 5, 7)", &[]).await.unwrap().get(0);
    assert!(left <= 3);
    assert_eq!(PANICS.load(Ordering::Relaxed), 0, "no connection has ended in a panic");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_so_many_connections_and_no_more() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&NodeConfig { connections_max: 3, superuser_reserved: 0, ..config(dir.path(), "one") }).await.unwrap();
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(Raw::connect(&node).await);
    }
    let mut refused = Raw::open(&node).await;
    refused.send(&startup(&[("user", "postgres")])).await;
    assert_eq!(code(&refused.until_ready().await), "53300");
    open.pop();
    let taken = async {
        loop {
            let mut raw = Raw::open(&node).await;
            raw.send(&startup(&[("user", "postgres")])).await;
            if raw.until_ready().await.last().is_some_and(|message| message.kind == b'Z') {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), taken).await.expect("the place becomes free");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_driver_sees_nothing_unusual() {
    let (_dir, node) = node().await;
    let mut client = connect(&node).await;
    client.batch_execute("CREATE TABLE t (a int8 PRIMARY KEY, b text, c timestamptz DEFAULT now())").await.unwrap();
    let insert = client.prepare("INSERT INTO t (a, b) VALUES ($1, $2)").await.unwrap();
    // Sent together, each with a Sync of its own.
    let many = (0..50_i64).map(|a| {
        let (client, insert) = (&client, &insert);
        async move { client.execute(insert, &[&a, &format!("row {a}")]).await }
    });
    for outcome in futures::future::join_all(many).await {
        assert_eq!(outcome.unwrap(), 1);
    }
    let transaction = client.transaction().await.unwrap();
    let select = transaction.prepare("SELECT a, b FROM t WHERE a >= $1 ORDER BY a").await.unwrap();
    let portal = transaction.bind(&select, &[&10_i64]).await.unwrap();
    let mut seen = HashMap::new();
    loop {
        let rows = transaction.query_portal(&portal, 7).await.unwrap();
        if rows.is_empty() {
            break;
        }
        assert!(rows.len() <= 7);
        seen.extend(rows.iter().map(|row| (row.get::<_, i64>(0), row.get::<_, String>(1))));
    }
    assert_eq!((seen.len(), seen[&49].as_str()), (40, "row 49"));
    transaction.commit().await.unwrap();
    let token = client.cancel_token();
    let text = format!("SELECT count(*) {ENDLESS}");
    let endless = client.query(&text, &[]);
    let cancel = async {
        loop {
            token.cancel_query(tokio_postgres::NoTls).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        outcome = endless => assert_eq!(outcome.unwrap_err().code(), Some(&SqlState::QUERY_CANCELED)),
        () = cancel => {}
    }
    node.stop().await;
}
