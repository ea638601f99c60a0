//! Plans beside changes of the catalog: those of other tables are no reason to plan again, and what a name means by now
//! is.

use std::io::{Read, Write};
use std::net::TcpStream;

use quorate_tests::{connect, one_node};
use server::Node;
use tokio_postgres::Client;

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
