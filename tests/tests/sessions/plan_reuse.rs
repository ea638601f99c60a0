//! Plans beside changes of the catalog: those of other tables are no reason to plan again, and what a name means by now
//! is.

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use bytes::BytesMut;
use quorate_tests::{connect, one_node};
use server::Node;
use tokio_postgres::Client;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

/// How often the node has planned a statement again.
fn replans(node: &Node) -> u64 {
    let mut stream = TcpStream::connect(node.http_addr()).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let line = answer.lines().find(|line| line.contains("sql_plan_cache_replans") && !line.starts_with('#')).unwrap();
    line.rsplit(' ').next().unwrap().trim().parse().unwrap()
}

async fn text(client: &Client, sql: &str) -> String {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn ddl_on_other_tables_makes_no_session_plan_again() {
    let (_dir, node, client) = one_node().await;
    let other = connect(&node).await;
    client
        .batch_execute(
            "CREATE TYPE mood AS ENUM ('a', 'b'); CREATE FUNCTION f(x int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT x + 1';
             CREATE TABLE parent (id int PRIMARY KEY);
             CREATE TABLE t (id serial PRIMARY KEY, m mood DEFAULT 'a', p int REFERENCES parent, v int DEFAULT 0);
             CREATE VIEW w AS SELECT id, f(v) AS v FROM t;
             INSERT INTO parent VALUES (1); INSERT INTO t (p, v) VALUES (1, 10)",
        )
        .await
        .unwrap();
    let read = other.prepare("SELECT v FROM w WHERE id = $1").await.unwrap();
    let change = other.prepare("UPDATE t SET v = v + 1, p = $1 WHERE id = 1 RETURNING f(v)").await.unwrap();
    let insert = other.prepare("INSERT INTO t (m, p) VALUES ('b', $1) RETURNING m::text").await.unwrap();
    let run = async |expected: i32| {
        assert_eq!(other.query_one(&read, &[&1]).await.unwrap().get::<_, i32>(0), expected);
        assert_eq!(other.query_one(&change, &[&1]).await.unwrap().get::<_, i32>(0), expected + 1);
        assert_eq!(other.query_one(&insert, &[&1]).await.unwrap().get::<_, &str>(0), "b");
    };
    run(11).await;
    run(12).await;
    let before = replans(&node);
    for (number, ddl) in [
        "CREATE TABLE x (id serial PRIMARY KEY, u int UNIQUE)",
        "ALTER TABLE x ADD COLUMN b text DEFAULT 'x'",
        "CREATE INDEX ON x (b)",
        "CREATE VIEW over_x AS SELECT * FROM x",
        "CREATE FUNCTION g(x int) RETURNS int LANGUAGE sql AS 'SELECT x'",
        "CREATE TYPE other AS ENUM ('c')",
        "TRUNCATE x",
        "DROP TABLE x CASCADE",
        "CREATE SCHEMA s",
    ]
    .into_iter()
    .enumerate()
    {
        client.batch_execute(ddl).await.unwrap();
        run(13 + number as i32).await;
    }
    assert_eq!(replans(&node), before, "DDL on other tables makes no statement plan again");

    // What they are about has changed.
    client.batch_execute("ALTER TABLE t ADD COLUMN later int DEFAULT 5").await.unwrap();
    run(22).await;
    let after = replans(&node);
    assert!(after > before, "DDL on their table does");
    client.batch_execute("CREATE OR REPLACE FUNCTION f(x int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT x + 1 + 100'").await.unwrap();
    run(123).await;
    assert!(replans(&node) > after, "so does another body of a function that they call");
    node.stop().await;
}

/// *same-meaning*
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_means_something_else_is_planned_again() {
    let (_dir, node, client) = one_node().await;
    let other = connect(&node).await;
    client
        .batch_execute(
            "CREATE SCHEMA first; CREATE TABLE t (a text); INSERT INTO t VALUES ('public');
             CREATE FUNCTION f(x bigint) RETURNS text LANGUAGE sql AS $$SELECT 'bigint'$$",
        )
        .await
        .unwrap();
    other.batch_execute("SET search_path = early, first, public").await.unwrap();
    let (reads, calls) = ("SELECT a FROM t", "SELECT f(1)");
    let statement = other.prepare(reads).await.unwrap();
    let prepared = async || other.query_one(&statement, &[]).await.unwrap().get::<_, String>(0);
    for _ in 0..3 {
        assert_eq!((text(&other, reads).await, text(&other, calls).await), ("public".into(), "bigint".into()));
        assert_eq!(prepared().await, "public");
    }
    client.batch_execute("CREATE FUNCTION first.f(x int) RETURNS text LANGUAGE sql AS $$SELECT 'int'$$").await.unwrap();
    assert_eq!((text(&other, reads).await, text(&other, calls).await), ("public".into(), "int".into()));
    client.batch_execute("CREATE TABLE first.t (a text); INSERT INTO first.t VALUES ('first')").await.unwrap();
    assert_eq!((text(&other, reads).await, prepared().await), ("first".into(), "first".into()));
    // A schema of the path that was not there.
    client.batch_execute("CREATE SCHEMA early; CREATE TABLE early.t (a text); INSERT INTO early.t VALUES ('early')").await.unwrap();
    assert_eq!((text(&other, reads).await, prepared().await), ("early".into(), "early".into()));
    client.batch_execute("DROP SCHEMA early CASCADE").await.unwrap();
    assert_eq!((text(&other, reads).await, prepared().await), ("first".into(), "first".into()));
    client.batch_execute("ALTER TABLE first.t RENAME TO u").await.unwrap();
    assert_eq!((text(&other, reads).await, prepared().await), ("public".into(), "public".into()));
    client.batch_execute("DROP TABLE t; CREATE TABLE t (a text); INSERT INTO t VALUES ('anew')").await.unwrap();
    assert_eq!((text(&other, reads).await, prepared().await), ("anew".into(), "anew".into()));
    // Oids in a plan are those of the names by now.
    let oid = "SELECT 't'::regclass::oid::int8::text || 'f(bigint)'::regprocedure::oid::int8::text";
    let of_names = "SELECT c.oid::int8::text || p.oid::int8::text FROM pg_class c, pg_proc p
                    WHERE c.relname = 't' AND c.relnamespace = 'public'::regnamespace
                        AND p.proname = 'f' AND p.pronamespace = 'public'::regnamespace";
    for again in ["DROP TABLE t", "DROP FUNCTION f(bigint)"] {
        assert_eq!(text(&other, oid).await, text(&client, of_names).await);
        assert_eq!(text(&other, oid).await, text(&client, of_names).await);
        client
            .batch_execute(&format!(
                "{again}; CREATE TABLE IF NOT EXISTS t (a text);
                 CREATE OR REPLACE FUNCTION f(x bigint) RETURNS text LANGUAGE sql AS $$SELECT 'bigint'$$"
            ))
            .await
            .unwrap();
    }
    assert_eq!(text(&other, oid).await, text(&client, of_names).await);
    node.stop().await;
}

/// What a text that has been planned answers: what one answers that nobody has planned.
async fn answer(client: &Client, sql: &str) -> String {
    static FRESH: AtomicU32 = AtomicU32::new(0);
    let known = text(client, sql).await;
    let fresh = text(client, &format!("{sql} -- {}", FRESH.fetch_add(1, Relaxed))).await;
    assert_eq!(known, fresh, "same-meaning: {sql}");
    known
}

/// As [`answer`], of a text that is planned and kept.
async fn known_answer(client: &Client, sql: &str) -> String {
    for _ in 0..3 {
        text(client, sql).await;
    }
    answer(client, sql).await
}

/// A label of an enum type.
#[derive(Debug)]
struct Label(&'static str);

impl ToSql for Label {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// *same-meaning*: types that no name in the text leads to.
#[tokio::test(flavor = "multi_thread")]
async fn types_of_signatures_and_parameters_are_planned_again() {
    let (_dir, node, client) = one_node().await;
    let other = connect(&node).await;
    client
        .batch_execute(
            "CREATE TYPE mood AS ENUM ('a', 'b'); CREATE TYPE pair AS (a int, b int);
             CREATE FUNCTION is_first(m mood) RETURNS text LANGUAGE sql AS $$SELECT (m = enum_first(m))::text$$;
             CREATE FUNCTION make() RETURNS pair LANGUAGE sql AS $$SELECT '(1,2)'::pair$$;
             CREATE FUNCTION second(p pair) RETURNS text LANGUAGE sql AS $$SELECT split_part(p::text, ',', 2)$$",
        )
        .await
        .unwrap();
    let of_signatures =
        ["SELECT is_first('b')", "SELECT (make()).b::text", "SELECT b::text FROM make()", "SELECT second('(1,2)')"];
    for (sql, expected) in of_signatures.into_iter().zip(["false", "2", "2", "2)"]) {
        assert_eq!(known_answer(&other, sql).await, expected, "{sql}");
    }
    let mood = other.prepare("SELECT $1::mood::text").await.unwrap().params()[0].clone();
    let typed = other.prepare_typed("SELECT $1::text", &[mood]).await.unwrap();
    for label in ["a", "b", "a"] {
        assert_eq!(other.query_one(&typed, &[&Label(label)]).await.unwrap().get::<_, &str>(0), label);
    }
    client
        .batch_execute(
            "ALTER TYPE mood RENAME VALUE 'a' TO 'x'; ALTER TYPE mood RENAME VALUE 'b' TO 'a';
             ALTER TYPE mood RENAME VALUE 'x' TO 'b';
             ALTER TYPE pair RENAME ATTRIBUTE a TO x; ALTER TYPE pair RENAME ATTRIBUTE b TO a;
             ALTER TYPE pair RENAME ATTRIBUTE x TO b",
        )
        .await
        .unwrap();
    for (sql, expected) in of_signatures.into_iter().zip(["true", "1", "1", "2)"]) {
        assert_eq!(answer(&other, sql).await, expected, "{sql}");
    }
    client.batch_execute("ALTER TYPE pair ADD ATTRIBUTE c int").await.unwrap();
    client.batch_execute("ALTER TYPE mood ADD VALUE 'c'").await.unwrap();
    assert!(other.query_one("SELECT second('(1,2)')", &[]).await.is_err(), "too few columns by now");
    for label in ["c", "a", "b"] {
        assert_eq!(other.query_one(&typed, &[&Label(label)]).await.unwrap().get::<_, &str>(0), label);
    }
    node.stop().await;
}

/// *same-meaning*: oids that stand in plans, whatever they are of and in.
#[tokio::test(flavor = "multi_thread")]
async fn oids_of_indexes_and_in_rows_are_of_now() {
    let (_dir, node, client) = one_node().await;
    let other = connect(&node).await;
    let make = "CREATE TABLE t (a text); CREATE INDEX i ON t (a)";
    client.batch_execute(&format!("CREATE TYPE named AS (number int, relation regclass); {make}")).await.unwrap();
    let oids = [
        ("i", "SELECT 'i'::regclass::oid::int8::text"),
        ("t", "SELECT (('(1,t)'::named).relation)::oid::int8::text"),
        ("t", "SELECT ((('{\"(1,t)\"}'::named[])[1]).relation)::oid::int8::text"),
    ];
    for again in ["DROP INDEX i; CREATE INDEX i ON t (a)", "DROP TABLE t"] {
        for (name, sql) in oids {
            let now = text(&client, &format!("SELECT oid::int8::text FROM pg_class WHERE relname = '{name}'")).await;
            assert_eq!(known_answer(&other, sql).await, now, "{sql}");
        }
        client.batch_execute(again).await.unwrap();
    }
    client.batch_execute(make).await.unwrap();
    for (name, sql) in oids {
        let now = text(&client, &format!("SELECT oid::int8::text FROM pg_class WHERE relname = '{name}'")).await;
        assert_eq!(answer(&other, sql).await, now, "{sql}");
    }
    node.stop().await;
}

/// *same-meaning*: what a call means depends on all routines of its name.
#[tokio::test(flavor = "multi_thread")]
async fn calls_mean_the_routine_that_fits_best_by_now() {
    let (_dir, node, client) = one_node().await;
    let other = connect(&node).await;
    client
        .batch_execute(
            "CREATE FUNCTION g(x bigint) RETURNS text LANGUAGE sql AS $$SELECT 'bigint'$$;
             CREATE FUNCTION g(x int, y int) RETURNS text LANGUAGE sql AS $$SELECT 'int'$$",
        )
        .await
        .unwrap();
    // The schema is made with the first table.
    other.batch_execute("CREATE TEMPORARY TABLE first (a int)").await.unwrap();
    other.batch_execute("CREATE FUNCTION pg_temp.f(x bigint) RETURNS text LANGUAGE sql AS $$SELECT 'bigint'$$").await.unwrap();
    let (of_all, temporary) = ("SELECT g(1)", "SELECT pg_temp.f(1)");
    assert_eq!(known_answer(&other, of_all).await, "bigint");
    assert_eq!(known_answer(&other, temporary).await, "bigint");
    client
        .batch_execute("CREATE OR REPLACE FUNCTION g(x int, y int DEFAULT 0) RETURNS text LANGUAGE sql AS $$SELECT 'int'$$")
        .await
        .unwrap();
    assert_eq!(answer(&other, of_all).await, "int");
    other.batch_execute("CREATE FUNCTION pg_temp.f(x int) RETURNS text LANGUAGE sql AS $$SELECT 'int'$$").await.unwrap();
    assert_eq!(answer(&other, temporary).await, "int");
    other.batch_execute("DROP FUNCTION pg_temp.f(int)").await.unwrap();
    assert_eq!(answer(&other, temporary).await, "bigint");
    node.stop().await;
}
