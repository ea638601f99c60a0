//! Routines in sessions: what their clients are told, and what becomes of a transaction that a routine runs in.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{StreamExt, stream};
use quorate_tests::{config, connect, one_node};
use server::Node;
use tempfile::TempDir;
use tokio_postgres::{AsyncMessage, Client, NoTls, error::SqlState};

/// A client and the notices it gets.
async fn connect_with_notices(node: &Node) -> (Client, Arc<Mutex<Vec<String>>>) {
    let address = node.sql_addr();
    let text = format!("host={} port={} user=postgres dbname=postgres", address.ip(), address.port());
    let (client, mut connection) = tokio_postgres::connect(&text, NoTls).await.unwrap();
    let notices = Arc::new(Mutex::new(Vec::new()));
    let kept = notices.clone();
    tokio::spawn(async move {
        let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
        while let Some(Ok(message)) = messages.next().await {
            if let AsyncMessage::Notice(notice) = message {
                kept.lock().unwrap().push(format!("{}: {}", notice.severity(), notice.message()));
            }
        }
    });
    (client, notices)
}

fn code(outcome: Result<impl Sized, tokio_postgres::Error>) -> SqlState {
    outcome.err().and_then(|error| error.code().cloned()).expect("an error of the server")
}

#[tokio::test(flavor = "multi_thread")]
async fn notices_come_once_and_as_loud_as_they_are() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let (client, notices) = connect_with_notices(&node).await;
    let taken = || std::mem::take(&mut *notices.lock().unwrap());
    client
        .batch_execute(
            "DO $$ BEGIN RAISE NOTICE 'a %', 1; RAISE WARNING 'b'; RAISE INFO 'c'; RAISE DEBUG 'd'; RAISE LOG 'e'; END $$",
        )
        .await
        .unwrap();
    assert_eq!(taken(), ["NOTICE: a 1", "WARNING: b", "INFO: c"]);
    client
        .batch_execute(
            "CREATE FUNCTION says(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'n %', n; RETURN n; END $$",
        )
        .await
        .unwrap();
    assert_eq!(client.query("SELECT says(g) FROM generate_series(1, 2) g", &[]).await.unwrap().len(), 2);
    assert_eq!(taken(), ["NOTICE: n 1", "NOTICE: n 2"], "a function in a query is heard");
    client.batch_execute("DO $$ BEGIN PERFORM says(7); RAISE NOTICE 'after'; END $$").await.unwrap();
    assert_eq!(taken(), ["NOTICE: n 7", "NOTICE: after"]);
    assert_eq!(code(client.query("SELECT says(3), 1 / 0", &[]).await), SqlState::DIVISION_BY_ZERO);
    client.batch_execute("SET client_min_messages TO warning").await.unwrap();
    client.batch_execute("DO $$ BEGIN RAISE NOTICE 'no'; RAISE WARNING 'yes'; END $$").await.unwrap();
    assert!(taken().ends_with(&["WARNING: yes".to_owned()]));
    node.stop().await;
}

/// Two procedures that lose to one another run again; one that has committed in between does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_routine_runs_again_until_it_has_ended_a_transaction() {
    let (_dir, node, client) = one_node().await;
    client
        .batch_execute(
            "CREATE TABLE counters (id int PRIMARY KEY, n int); INSERT INTO counters VALUES (1, 0);
             CREATE PROCEDURE bump(times int) LANGUAGE plpgsql AS $$
             DECLARE seen int;
             BEGIN
               FOR i IN 1..times LOOP
                 SELECT n INTO seen FROM counters WHERE id = 1;
                 UPDATE counters SET n = seen + 1 WHERE id = 1;
               END LOOP;
             END $$",
        )
        .await
        .unwrap();
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let client = connect(&node).await;
        tasks.push(tokio::spawn(async move {
            for _ in 0..10 {
                client.batch_execute("CALL bump(3)").await.unwrap();
            }
        }));
    }
    for task in tasks {
        tokio::time::timeout(Duration::from_secs(120), task).await.expect("nobody hangs").unwrap();
    }
    let counted: i32 = client.query_one("SELECT n FROM counters", &[]).await.unwrap().get(0);
    assert_eq!(counted, 4 * 10 * 3, "no increment is lost, and none is made twice");
    node.stop().await;
}

/// *lent-and-returned*: a session goes on after a function in its statement was stopped.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_on_after_a_routine_was_stopped() {
    let (_dir, node, client) = one_node().await;
    client
        .batch_execute(
            "CREATE TABLE t (a int);
             CREATE FUNCTION spin() RETURNS int LANGUAGE plpgsql AS $$ BEGIN LOOP NULL; END LOOP; END $$;
             CREATE FUNCTION waits() RETURNS int LANGUAGE plpgsql AS $$
             BEGIN INSERT INTO t VALUES (1); PERFORM pg_sleep(1000); RETURN 1; END $$;
             SET statement_timeout TO '300ms'",
        )
        .await
        .unwrap();
    for call in ["SELECT spin()", "SELECT waits()", "DO $$ BEGIN PERFORM waits(); END $$", "SELECT waits() FROM t"] {
        let outcome = tokio::time::timeout(Duration::from_secs(60), client.batch_execute(call)).await;
        match outcome.expect("it is stopped") {
            Err(error) => assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED), "{call}"),
            Ok(()) => assert_eq!(call, "SELECT waits() FROM t", "nothing is left of those before"),
        }
        let count: i64 = client.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get(0);
        assert_eq!(count, 0, "{call} has left nothing");
    }
    node.stop().await;
}

/// A function that is replaced is another one for every session from then on.
#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_function_is_the_new_one_everywhere() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let (one, two) = (connect(&node).await, connect(&node).await);
    let make = |value: i32| {
        format!("CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN {value}; END $$")
    };
    one.batch_execute(&make(0)).await.unwrap();
    let prepared = two.prepare("SELECT f()").await.unwrap();
    for value in 1..5 {
        one.batch_execute(&make(value)).await.unwrap();
        let seen: i32 = two.query_one(&prepared, &[]).await.unwrap().get(0);
        assert_eq!(seen, value);
    }
    one.batch_execute("DROP FUNCTION f()").await.unwrap();
    assert_eq!(code(two.query_one(&prepared, &[]).await), SqlState::UNDEFINED_FUNCTION);
    node.stop().await;
}

/// *not-run-again*: what a procedure has committed is not done twice when a later transaction of it loses.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_procedure_has_committed_is_not_done_again() {
    let (_dir, node, client) = one_node().await;
    client
        .batch_execute(
            "CREATE TABLE counters (id int PRIMARY KEY, n int); INSERT INTO counters VALUES (1, 0);
             CREATE TABLE done (tag int, i int, PRIMARY KEY (tag, i));
             CREATE PROCEDURE steps(tag int, times int) LANGUAGE plpgsql AS $$
             DECLARE seen int;
             BEGIN
               FOR k IN 1..times LOOP
                 INSERT INTO done VALUES (steps.tag, k);
                 SELECT n INTO seen FROM counters WHERE id = 1;
                 UPDATE counters SET n = seen + 1 WHERE id = 1;
                 COMMIT;
               END LOOP;
             END $$",
        )
        .await
        .unwrap();
    let mut tasks = Vec::new();
    for task in 0..4 {
        let client = connect(&node).await;
        tasks.push(tokio::spawn(async move {
            for call in 0..5 {
                if let Err(error) = client.batch_execute(&format!("CALL steps({}, 4)", task * 100 + call)).await {
                    // A step that was done twice would be 23505.
                    assert_eq!(error.code(), Some(&SqlState::T_R_SERIALIZATION_FAILURE), "{error:?}");
                }
            }
        }));
    }
    for task in tasks {
        tokio::time::timeout(Duration::from_secs(120), task).await.expect("nobody hangs").unwrap();
    }
    let row = client.query_one("SELECT n, (SELECT count(*) FROM done)::int FROM counters", &[]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), row.get::<_, i32>(1), "each step is done as a whole");
    node.stop().await;
}

/// Whoever assigns to them would have to ask the rules of the domain: refused until they do. Values of a domain are passed as
/// those of the type under it.
#[tokio::test(flavor = "multi_thread")]
async fn domains_of_routines_are_refused_and_their_values_are_taken() {
    let (_dir, _node, client) = one_node().await;
    client
        .batch_execute(
            "CREATE DOMAIN positive AS int CHECK (value > 0); CREATE TABLE t (n positive, list positive[]);
             CREATE FUNCTION less(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN n - 1; END $$;
             CREATE FUNCTION of_column(n t.n%TYPE) RETURNS int LANGUAGE sql AS 'SELECT n + 1'",
        )
        .await
        .unwrap();
    for refused in [
        "CREATE FUNCTION f(n positive) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE FUNCTION f(n int) RETURNS positive LANGUAGE sql AS 'SELECT 1'",
        "CREATE FUNCTION f(n int) RETURNS positive[] LANGUAGE sql AS 'SELECT NULL'",
        "DO $$ DECLARE n positive := 1; BEGIN NULL; END $$",
    ] {
        assert_eq!(code(client.batch_execute(refused).await), SqlState::FEATURE_NOT_SUPPORTED, "{refused}");
    }
    let row = client.query_one("SELECT less(3::positive), of_column(2::positive)", &[]).await.unwrap();
    assert_eq!((row.get::<_, i32>(0), row.get::<_, i32>(1)), (2, 3));
    // What a body writes to a column of a domain is checked there.
    client.batch_execute("DO $$ BEGIN INSERT INTO t VALUES (less(2)); END $$").await.unwrap();
    let written = client.batch_execute("DO $$ BEGIN INSERT INTO t VALUES (less(1)); END $$").await;
    assert_eq!(code(written), SqlState::CHECK_VIOLATION);
    let cast = client.batch_execute("DO $$ DECLARE n int := less(0); BEGIN n := n::positive; END $$").await;
    assert_eq!(code(cast), SqlState::CHECK_VIOLATION);
    let updated = client.batch_execute("UPDATE t SET n = less(n)").await;
    assert_eq!(code(updated), SqlState::CHECK_VIOLATION);
}

/// *lent-and-returned* and *not-run-again*, where EXECUTE reads several statements.
#[tokio::test(flavor = "multi_thread")]
async fn no_transaction_ends_by_execute() {
    let (_dir, _node, client) = one_node().await;
    let make = "CREATE TABLE t (n int); CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS
                $$ BEGIN EXECUTE 'SELECT 1; COMMIT'; RETURN 1; END $$";
    client.batch_execute(make).await.unwrap();
    for refused in [
        "SELECT f()",
        "DO $$ BEGIN INSERT INTO t VALUES (1); EXECUTE 'SELECT 1; COMMIT'; END $$",
        "DO $$ BEGIN INSERT INTO t VALUES (1); EXECUTE 'SELECT 1; BEGIN'; END $$",
        "DO $$ BEGIN INSERT INTO t VALUES (1); EXECUTE 'SELECT 1; SAVEPOINT s'; END $$",
        "DO $$ BEGIN INSERT INTO t VALUES (1); EXECUTE 'SELECT 1; COPY t TO STDOUT'; END $$",
    ] {
        assert_eq!(code(client.batch_execute(refused).await), SqlState::FEATURE_NOT_SUPPORTED, "{refused}");
    }
    client.batch_execute("BEGIN").await.unwrap();
    assert_eq!(code(client.batch_execute("SELECT f()").await), SqlState::FEATURE_NOT_SUPPORTED);
    client.batch_execute("ROLLBACK").await.unwrap();
    let count = client.query_one("SELECT count(*) FROM t", &[]).await.unwrap();
    assert_eq!(count.get::<_, i64>(0), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_routine_has_written_is_there_after_analyze() {
    let (_dir, _node, client) = one_node().await;
    client.batch_execute("CREATE TABLE t (n int)").await.unwrap();
    client
        .batch_execute("DO $$ BEGIN INSERT INTO t SELECT generate_series(1, 10); ANALYZE t; INSERT INTO t VALUES (11); END $$")
        .await
        .unwrap();
    let count = client.query_one("SELECT count(*) FROM t", &[]).await.unwrap();
    assert_eq!(count.get::<_, i64>(0), 11);
}

/// Neither the stack nor the memory of the node is a body's to use up.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_without_an_end_are_stopped() {
    let (_dir, _node, client) = one_node().await;
    client
        .batch_execute(
            "CREATE TABLE src (t text); INSERT INTO src VALUES ('DO $d$ BEGIN EXECUTE (SELECT t FROM src); END $d$');
             CREATE FUNCTION deep(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN deep(n + 1); END $$;
             CREATE PROCEDURE down(n int) LANGUAGE plpgsql AS $$ BEGIN CALL down(n + 1); END $$;
             CREATE FUNCTION rows() RETURNS SETOF text LANGUAGE plpgsql AS
             $$ BEGIN LOOP RETURN NEXT repeat('x', 1000000); END LOOP; END $$",
        )
        .await
        .unwrap();
    for endless in ["DO $$ BEGIN EXECUTE (SELECT t FROM src); END $$", "SELECT deep(1)", "CALL down(1)"] {
        assert_eq!(code(client.batch_execute(endless).await), SqlState::STATEMENT_TOO_COMPLEX, "{endless}");
    }
    assert_eq!(code(client.batch_execute("SELECT count(*) FROM rows()").await), SqlState::OUT_OF_MEMORY);
    let loud = "DO $$ BEGIN LOOP RAISE NOTICE '%', repeat('x', 100000); END LOOP; END $$";
    assert_eq!(code(client.batch_execute(loud).await), SqlState::PROGRAM_LIMIT_EXCEEDED);
    client.batch_execute("SELECT 1").await.unwrap();
}

/// The statement goes on with what it was planned over.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_in_use_is_not_changed_by_a_function() {
    let (_dir, _node, client) = one_node().await;
    client
        .batch_execute(
            "CREATE TABLE t (a int, b int);
             CREATE FUNCTION mk() RETURNS int LANGUAGE plpgsql AS
             $$ BEGIN CREATE UNIQUE INDEX t_b ON t (b); RETURN 1; END $$;
             CREATE FUNCTION other() RETURNS int LANGUAGE plpgsql AS
             $$ BEGIN CREATE TABLE o (a int); CREATE INDEX ON o (a); ALTER TABLE o ADD COLUMN b int; RETURN 1; END $$",
        )
        .await
        .unwrap();
    assert_eq!(code(client.batch_execute("INSERT INTO t VALUES (1, mk())").await), SqlState::OBJECT_IN_USE);
    client.batch_execute("INSERT INTO t VALUES (1, other()); SELECT b FROM o").await.unwrap();
    client.batch_execute("SELECT mk()").await.unwrap();
    assert_eq!(code(client.batch_execute("INSERT INTO t VALUES (2, 1)").await), SqlState::UNIQUE_VIOLATION);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_follow_tables_and_paths() {
    let (_dir, _node, client) = one_node().await;
    client
        .batch_execute(
            "CREATE TABLE t (a int, b int); INSERT INTO t VALUES (1, 2);
             CREATE FUNCTION last() RETURNS text LANGUAGE plpgsql AS
             $$ DECLARE r t%ROWTYPE; BEGIN SELECT * INTO r FROM t; RETURN r::text; END $$;
             CREATE ROLE a; CREATE ROLE b; CREATE SCHEMA a; CREATE SCHEMA b;
             CREATE TABLE a.who (n text); INSERT INTO a.who VALUES ('a'); CREATE TABLE b.who (n text); INSERT INTO b.who VALUES ('b');
             GRANT USAGE ON SCHEMA a TO a; GRANT SELECT ON a.who TO a; GRANT USAGE ON SCHEMA b TO b; GRANT SELECT ON b.who TO b;
             CREATE FUNCTION who() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT n FROM who); END $$",
        )
        .await
        .unwrap();
    let text = async |sql: &str| client.query_one(sql, &[]).await.unwrap().get::<_, String>(0);
    assert_eq!(text("SELECT last()").await, "(1,2)");
    client.batch_execute("ALTER TABLE t ADD COLUMN c int DEFAULT 5; ALTER TABLE t DROP COLUMN a").await.unwrap();
    assert_eq!(text("SELECT last()").await, "(2,5)");
    for role in ["a", "b", "a"] {
        client.batch_execute(&format!("SET ROLE {role}")).await.unwrap();
        assert_eq!(text("SELECT who()").await, role);
    }
}

/// Only what the database itself has lost is run again.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_body_raises_is_not_run_again() {
    let (_dir, _node, client) = one_node().await;
    client.batch_execute("CREATE SEQUENCE s").await.unwrap();
    let raises = "DO $$ BEGIN PERFORM nextval('s'); RAISE EXCEPTION 'mine' USING ERRCODE = '40001'; END $$";
    assert_eq!(code(client.batch_execute(raises).await), SqlState::T_R_SERIALIZATION_FAILURE);
    let next = client.query_one("SELECT nextval('s')", &[]).await.unwrap();
    assert_eq!(next.get::<_, i64>(0), 2);
}
