//! Composite types as clients meet them: by oid, in binary, while others change them, and after a restart.

use quorate_tests::{
    config, connect,
    raw::{Message, Raw, bind, describe, execute, kinds, parse, sync},
    start_again,
};
use server::Node;
use tempfile::TempDir;

use crate::user_types::{oid, oids};

/// A record as clients send it: how many fields, and of each its type and its value behind its length.
fn record(fields: &[(u32, Option<&[u8]>)]) -> Vec<u8> {
    let mut bytes = (fields.len() as i32).to_be_bytes().to_vec();
    for (oid, value) in fields {
        bytes.extend_from_slice(&oid.to_be_bytes());
        match value {
            None => bytes.extend_from_slice(&(-1_i32).to_be_bytes()),
            Some(value) => {
                bytes.extend_from_slice(&(value.len() as i32).to_be_bytes());
                bytes.extend_from_slice(value);
            }
        }
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_described_by_their_oids_and_sent_in_binary() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let client = connect(&node).await;
    client
        .batch_execute("CREATE TYPE pair AS (a int, b text); CREATE TABLE t (p pair, ps pair[]); CREATE TABLE u (t t)")
        .await
        .unwrap();
    let (pair, pairs, rows) = (oid(&client, "pair").await, oid(&client, "pair[]").await, oid(&client, "t").await);
    assert_eq!(pairs, pair + 1);

    let mut raw = Raw::connect(&node).await;
    let insert = "INSERT INTO t VALUES ($1, $2) RETURNING *";
    let answer = raw.ask(&[parse("", insert, &[]), describe(b'S', ""), sync()]).await;
    assert_eq!(oids(&answer), (vec![pair, pairs], vec![pair, pairs]), "{}", kinds(&answer));
    let answer = raw.ask(&[parse("", "SELECT t, u.t FROM t, u", &[]), describe(b'S', ""), sync()]).await;
    assert_eq!(oids(&answer).1, [rows, rows], "{}", kinds(&answer));

    let one = record(&[(23, Some(&1_i32.to_be_bytes())), (25, Some(b"one"))]);
    let none = record(&[(23, None), (25, None)]);
    let mut list: Vec<u8> = [1, 0, pair as i32, 2, 1].into_iter().flat_map(i32::to_be_bytes).collect();
    for value in [&one, &none] {
        list.extend_from_slice(&(value.len() as i32).to_be_bytes());
        list.extend_from_slice(value);
    }
    let values: [Option<&[u8]>; 2] = [Some(&one), Some(&list)];
    let answer = raw.ask(&[parse("", insert, &[]), bind("", "", &values, 1), execute("", 0), sync()]).await;
    let row = answer.iter().find(|message| message.kind == b'D').map(Message::values);
    assert_eq!(row, Some(vec![Some(one.clone()), Some(list.clone())]), "{}", kinds(&answer));

    // Of other types, too few, and cut short.
    let wrong = record(&[(25, Some(b"1")), (25, Some(b"one"))]);
    let few = record(&[(23, None)]);
    for value in [&wrong, &few, &one[..one.len() - 1].to_vec()] {
        let values: [Option<&[u8]>; 2] = [Some(value), None];
        let answer = raw.ask(&[parse("", insert, &[]), bind("", "", &values, 1), execute("", 0), sync()]).await;
        assert!(kinds(&answer).contains('E'), "{}", kinds(&answer));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_rows_outlive_changes_of_their_type_and_a_restart() {
    let dir = TempDir::new().unwrap();
    let settings = config(dir.path(), "one");
    let node = Node::start(&settings).await.unwrap();
    let (client, other) = (connect(&node).await, connect(&node).await);
    client
        .batch_execute(
            "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TYPE pair AS (a int, m mood, b text); \
             CREATE TABLE base (x int, y text); CREATE TABLE t (p pair PRIMARY KEY, ps pair[], r base); \
             INSERT INTO t VALUES (row(1, 'ok', 'one'), ARRAY[row(2, 'sad', 'two')::pair], row(3, 'three'))",
        )
        .await
        .unwrap();
    // A plan from before the changes, of another session.
    let known = other.prepare("SELECT p::text, ps::text, r::text FROM t").await.unwrap();
    let shown = |row: &tokio_postgres::Row| -> Vec<String> { (0..3).map(|at| row.get(at)).collect() };
    let before = other.query_one(&known, &[]).await.unwrap();
    assert_eq!(shown(&before), ["(1,ok,one)", "{\"(2,sad,two)\"}", "(3,three)"]);
    client
        .batch_execute(
            "ALTER TYPE pair ADD ATTRIBUTE c bool; ALTER TYPE mood RENAME VALUE 'ok' TO 'fine'; \
             ALTER TABLE base ADD COLUMN z int; ALTER TABLE base DROP COLUMN x",
        )
        .await
        .unwrap();
    let after = ["(1,fine,one,)", "{\"(2,sad,two,)\"}", "(three,)"];
    assert_eq!(shown(&other.query_one(&known, &[]).await.unwrap()), after);
    // Keys from before are found.
    let found = other.query("SELECT 1 FROM t WHERE p = row(1, 'fine', 'one', NULL)::pair", &[]).await.unwrap();
    assert_eq!(found.len(), 1);
    let refused = other.execute("INSERT INTO t VALUES (row(1, 'fine', 'one', NULL))", &[]).await.unwrap_err();
    assert_eq!(refused.code().map(|code| code.code()), Some("23505"));
    let refused = client.batch_execute("ALTER TYPE pair DROP ATTRIBUTE b").await.unwrap_err();
    assert_eq!(refused.code().map(|code| code.code()), Some("0A000"), "keys have the field in them");
    drop((client, other));
    node.stop().await;
    drop(node);
    let node = start_again(&settings).await;
    let client = connect(&node).await;
    assert_eq!(shown(&client.query_one("SELECT p::text, ps::text, r::text FROM t", &[]).await.unwrap()), after);
    client.batch_execute("ALTER TYPE pair RENAME TO couple; DROP TABLE base CASCADE").await.unwrap();
    let row = client.query_one("SELECT p::text, ps::text, pg_typeof(p)::text FROM t", &[]).await.unwrap();
    assert_eq!(shown(&row), [after[0], after[1], "couple"]);
}

/// A transaction that wrote under the old attributes does not commit beside the new ones.
#[tokio::test(flavor = "multi_thread")]
async fn writers_and_a_change_of_the_type_are_serialized() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let (writer, changer) = (connect(&node).await, connect(&node).await);
    changer.batch_execute("CREATE TYPE pair AS (a int, b text); CREATE TABLE t (id int PRIMARY KEY, p pair)").await.unwrap();
    writer.batch_execute("BEGIN; INSERT INTO t VALUES (1, row(1, 'one'))").await.unwrap();
    changer.batch_execute("ALTER TYPE pair ADD ATTRIBUTE c int").await.unwrap();
    let outcome = writer.batch_execute("COMMIT").await;
    let rows = changer.query("SELECT (p).a, (p).c FROM t", &[]).await.unwrap();
    match outcome {
        Ok(()) => assert_eq!(rows.len(), 1),
        Err(error) => {
            assert_eq!(error.code().map(|code| code.code()), Some("40001"));
            assert!(rows.is_empty());
        }
    }
    writer.batch_execute("INSERT INTO t VALUES (2, row(2, 'two', 22))").await.unwrap();
    let row = writer.query_one("SELECT p::text FROM t WHERE id = 2", &[]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), "(2,two,22)");
}
