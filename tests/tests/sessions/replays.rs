//! Transactions that lose after they have answered: run again inside the server where the answers are the same, told to their
//! clients where not.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use futures::StreamExt;
use quorate_tests::{connect, one_node};
use server::Node;
use tokio_postgres::{Client, SimpleQueryMessage, error::SqlState};

/// Restarted before it had answered, replayed, diverged, not replayed.
fn counts(node: &Node) -> [u64; 4] {
    let replays = node.replays();
    [&replays.restarted, &replays.replayed, &replays.diverged, &replays.not_replayed].map(|count| count.load(Relaxed))
}

async fn texts(client: &Client, sql: &str) -> Vec<String> {
    let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            let values: Vec<&str> = (0..row.len()).map(|column| row.get(column).unwrap_or("null")).collect();
            Some(values.join(" "))
        }
        _ => None,
    });
    rows.collect()
}

async fn code(client: &Client, sql: &str) -> Option<SqlState> {
    client.simple_query(sql).await.err().and_then(|error| error.code().cloned())
}

async fn table(client: &Client) {
    client
        .batch_execute(
            "DROP TABLE IF EXISTS t, log; CREATE TABLE t (id int PRIMARY KEY, v int, label text);
             INSERT INTO t SELECT n, 0, 'row ' || n FROM generate_series(1, 10) n;
             CREATE TABLE log (n int)",
        )
        .await
        .unwrap();
}

/// The statements of a transaction, what another commits before the last of them, and whether the client hears 40001.
struct Case {
    name: &'static str,
    statements: &'static [&'static str],
    meanwhile: &'static str,
    last: &'static str,
    is_told: bool,
}

const fn case(
    name: &'static str,
    statements: &'static [&'static str],
    meanwhile: &'static str,
    last: &'static str,
    is_told: bool,
) -> Case {
    Case { name, statements, meanwhile, last, is_told }
}

const OTHER: &str = "UPDATE t SET v = v + 1 WHERE id = 1";
/// What is written to the log goes above.
const OTHER_AND_LOOK: &str = "UPDATE t SET v = v + 1; SELECT count(*) FROM log";
const LAST: &str = "UPDATE t SET v = v + 100 WHERE id = 1";

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_goes_on_where_its_answers_are_the_same() {
    let (_dir, node, client) = one_node().await;
    let other = connect(&node).await;
    let cases = [
        case("a column that stays", &["SELECT label FROM t WHERE id = 1"], OTHER, LAST, false),
        case("one that does not", &["SELECT v FROM t WHERE id = 1"], OTHER, LAST, true),
        case("a count", &["SELECT count(*) FROM t"], "UPDATE t SET v = v + 1", LAST, false),
        case("a new row", &["SELECT count(*) FROM t"], "INSERT INTO t VALUES (11, 0, 'new'); UPDATE t SET v = 1", LAST, true),
        case("a row out of sight", &["SELECT id FROM t WHERE v < 5 ORDER BY id"], "UPDATE t SET v = 2", LAST, false),
        case("a write, answered", &["UPDATE t SET v = 7 WHERE id = 2 RETURNING label", "SELECT count(*) FROM t"], OTHER, LAST, false),
        case("savepoints", &["SAVEPOINT a", "SELECT label FROM t", "INSERT INTO log VALUES (1)", "ROLLBACK TO a", "INSERT INTO log VALUES (2)", "RELEASE a"], OTHER, LAST, false),
        case("an error that comes again", &["SELECT label FROM t", "SAVEPOINT a"], OTHER, "ROLLBACK TO a; UPDATE t SET v = v + 100 WHERE id = 1", false),
        case("settings", &["SET LOCAL work_mem = '5MB'", "SELECT label, current_setting('work_mem') FROM t", "SET LOCAL work_mem = '6MB'"], OTHER, LAST, false),
        case("a cursor", &["DECLARE c CURSOR FOR SELECT label FROM t ORDER BY id", "FETCH 2 FROM c"], OTHER, LAST, false),
        case("a cursor over what changes", &["DECLARE c CURSOR FOR SELECT v FROM t ORDER BY id", "FETCH 2 FROM c"], OTHER, LAST, true),
        case("a cursor that is held", &["DECLARE c CURSOR WITH HOLD FOR SELECT label FROM t", "FETCH 2 FROM c"], OTHER, LAST, true),
        case("the time", &["SELECT now(), label FROM t"], OTHER, LAST, false),
        case("another time", &["SELECT clock_timestamp(), label FROM t"], OTHER, LAST, true),
        case("chance", &["SELECT random(), label FROM t"], OTHER, LAST, true),
        case("a sequence", &["SELECT nextval('s'), label FROM t"], OTHER, LAST, true),
        case("a sequence that is set", &["SELECT setval('s', 5), label FROM t WHERE id = 1"], OTHER, LAST, true),
        case("DDL", &["SELECT label FROM t", "CREATE TABLE made (a int)"], OTHER, LAST, true),
        case("advisory locks", &["SELECT pg_advisory_xact_lock(1), label FROM t"], OTHER, LAST, true),
        case("a function", &["SELECT noisy(label) FROM t WHERE id < 3"], OTHER, LAST, false),
        case("DO", &["DO $$ BEGIN PERFORM label FROM t; RAISE NOTICE 'done'; END $$"], OTHER, LAST, false),
        case("DO that tells of what changes", &["DO $$ BEGIN RAISE NOTICE '%', (SELECT v FROM t WHERE id = 1); END $$"], OTHER, LAST, true),
        case("a detail of what changes", &["DO $$ BEGIN RAISE NOTICE 'done' USING DETAIL = (SELECT v FROM t WHERE id = 1)::text; END $$"], OTHER, LAST, true),
        case("names of objects that stay", &["SELECT 'log'::regclass, label FROM t"], OTHER, LAST, false),
        case("COPY TO", &["COPY (SELECT label FROM t ORDER BY id) TO STDOUT"], OTHER, LAST, false),
        case("EXPLAIN", &["EXPLAIN SELECT * FROM t", "SELECT label FROM t"], OTHER, LAST, false),
        case("the commit loses", &["SELECT label FROM t", "INSERT INTO log VALUES (3)"], OTHER_AND_LOOK, "COMMIT", false),
        case("the commit loses, with other answers", &["SELECT sum(v) FROM t", "INSERT INTO log VALUES (3)"], OTHER_AND_LOOK, "COMMIT", true),
        case("PREPARE of SQL", &["PREPARE p AS SELECT label FROM t WHERE id = $1", "EXECUTE p(1)"], OTHER, LAST, false),
        case("prepared statements that go", &["PREPARE q AS SELECT label FROM t", "EXECUTE q", "DEALLOCATE q"], OTHER, LAST, true),
    ];
    client
        .batch_execute(
            "CREATE SEQUENCE s; CREATE FUNCTION noisy(x text) RETURNS text LANGUAGE plpgsql AS
             $$ BEGIN RAISE NOTICE 'noise %', x; RETURN x || '!'; END $$",
        )
        .await
        .unwrap();
    let mut faults = Vec::new();
    for level in ["SERIALIZABLE", "REPEATABLE READ"] {
        // In a session that has run EXECUTE, drivers that close statements, as behind COPY, give up replays.
        let client = connect(&node).await;
        for Case { name, statements, meanwhile, last, is_told } in &cases {
            table(&client).await;
            client.batch_execute("DEALLOCATE ALL").await.unwrap();
            client.batch_execute(&format!("BEGIN ISOLATION LEVEL {level}")).await.unwrap();
            for statement in *statements {
                let outcome = match statement.starts_with("COPY") {
                    true => client.copy_out(*statement).await.map(Box::pin),
                    false => {
                        client.simple_query(statement).await.unwrap_or_else(|error| panic!("{name}: {statement}: {error:?}"));
                        continue;
                    }
                };
                let copied: Vec<_> = outcome.unwrap().collect().await;
                assert_eq!(copied.len(), 10, "{name}");
            }
            if *name == "an error that comes again" {
                assert_eq!(code(&client, "SELECT 1 / (v - v) FROM t").await, Some(SqlState::DIVISION_BY_ZERO));
            }
            other.batch_execute(meanwhile).await.unwrap();
            let told = code(&client, last).await;
            // Below serializable a commit depends on nothing that was merely read.
            let is_told = *is_told && !(level == "REPEATABLE READ" && *last == "COMMIT");
            if told.is_some() != is_told || told.as_ref().is_some_and(|code| *code != SqlState::T_R_SERIALIZATION_FAILURE) {
                faults.push(format!("{name}, {level}: {told:?}, {:?}", counts(&node)));
            }
            if *last != "COMMIT" && told.is_none() {
                client.batch_execute("COMMIT").await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
                let v = texts(&client, "SELECT v FROM t WHERE id = 1").await;
                let raised = texts(&client, "SELECT 100 + coalesce(max(v), 0) FROM t WHERE id = 3").await;
                // Both changes are there.
                if v[0].parse::<i64>().unwrap() <= 100 {
                    faults.push(format!("{name}, {level}: {v:?}, {raised:?}"));
                }
            } else {
                client.batch_execute("ROLLBACK").await.unwrap();
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let [_, replayed, diverged, not_replayed] = counts(&node);
    assert!(replayed >= 20 && diverged >= 10 && not_replayed >= 4, "{:?}", counts(&node));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_prepared_by_the_protocol_is_replayed_with_its_parameters() {
    let (_dir, node, mut client) = one_node().await;
    let other = connect(&node).await;
    table(&client).await;
    for round in 0..4 {
        let transaction = client.transaction().await.unwrap();
        let label = transaction.prepare("SELECT label FROM t WHERE id = $1 AND label <> $2").await.unwrap();
        for id in 1..=3_i32 {
            let row = transaction.query_one(&label, &[&id, &"none"]).await.unwrap();
            assert_eq!(row.get::<_, &str>(0), format!("row {id}"));
        }
        other.batch_execute("UPDATE t SET v = v + 1").await.unwrap();
        let raised = transaction.query_one("UPDATE t SET v = v + 1 WHERE id = $1 RETURNING v", &[&1_i32]).await.unwrap();
        assert_eq!(raised.get::<_, i32>(0), 2 * (round + 1));
        transaction.commit().await.unwrap();
    }
    // Some of a result was given, to give more when asked.
    let transaction = client.transaction().await.unwrap();
    let portal = transaction.bind("SELECT label FROM t ORDER BY id", &[]).await.unwrap();
    assert_eq!(transaction.query_portal(&portal, 2).await.unwrap().len(), 2);
    other.batch_execute("UPDATE t SET v = v + 1").await.unwrap();
    let told = transaction.execute("UPDATE t SET v = v + 1 WHERE id = 1", &[]).await.unwrap_err();
    assert_eq!(told.code(), Some(&SqlState::T_R_SERIALIZATION_FAILURE));
    drop(transaction);
    node.stop().await;
}

/// What a routine has committed is not run again with the transaction after it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_procedure_has_committed_is_not_committed_twice() {
    let (_dir, node, client) = one_node().await;
    let other = connect(&node).await;
    table(&client).await;
    let body = "BEGIN INSERT INTO log VALUES (1); COMMIT; PERFORM v FROM t WHERE id = 1; PERFORM pg_sleep(1); END";
    client.batch_execute(&format!("CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ {body} $$")).await.unwrap();
    let calls = ["CALL p()".to_owned(), format!("DO $$ {body} $$")];
    for (round, call) in calls.iter().enumerate() {
        let meanwhile = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            other.batch_execute(OTHER).await.unwrap();
        };
        let sql = format!("{call}; UPDATE t SET v = v + 100 WHERE id = 1");
        let (told, ()) = tokio::join!(code(&client, &sql), meanwhile);
        assert_eq!(told, Some(SqlState::T_R_SERIALIZATION_FAILURE), "{call}");
        assert_eq!(texts(&client, "SELECT count(*) FROM log").await, [(round + 1).to_string()], "{call}");
    }
    node.stop().await;
}

/// What belongs to the session and not to the transaction is as it was when that starts over, or nothing is replayed.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_finds_the_session_as_it_was() {
    let (_dir, node, client) = one_node().await;
    let other = connect(&node).await;
    table(&client).await;
    client.batch_execute("CREATE SEQUENCE s").await.unwrap();
    assert_eq!(texts(&client, "SELECT nextval('s')").await, ["1"]);
    client.batch_execute("BEGIN").await.unwrap();
    client.batch_execute("SELECT label FROM t; INSERT INTO log SELECT currval('s'); INSERT INTO log SELECT lastval()").await.unwrap();
    client.batch_execute("SELECT nextval('s') > 0").await.unwrap();
    other.batch_execute(OTHER).await.unwrap();
    client.batch_execute(LAST).await.unwrap();
    client.batch_execute("COMMIT").await.unwrap();
    assert_eq!(texts(&client, "SELECT n FROM log").await, ["1", "1"]);

    // A cursor of an earlier transaction is where its client has moved it to.
    for (round, statement) in ["MOVE 2 FROM c", "DO $$ DECLARE c refcursor := 'c'; BEGIN MOVE FORWARD 2 FROM c; END $$"].iter().enumerate() {
        client.batch_execute("DECLARE c CURSOR WITH HOLD FOR SELECT id FROM t ORDER BY id").await.unwrap();
        client.batch_execute("BEGIN; SELECT label FROM t").await.unwrap();
        client.batch_execute(statement).await.unwrap();
        other.batch_execute(OTHER).await.unwrap();
        assert_eq!(code(&client, LAST).await, Some(SqlState::T_R_SERIALIZATION_FAILURE), "{round}");
        client.batch_execute("ROLLBACK").await.unwrap();
        assert_eq!(texts(&client, "FETCH 1 FROM c").await, ["3"], "{statement}");
        client.batch_execute("CLOSE c").await.unwrap();
    }

    // A prepared statement that EXECUTE has run by its name, and that the protocol has closed since.
    let prepared = client.prepare("UPDATE t SET v = 7 WHERE id = 3").await.unwrap();
    let name = texts(&client, "SELECT name FROM pg_prepared_statements WHERE statement LIKE 'UPDATE t SET v = 7%'").await;
    client.batch_execute("BEGIN; SELECT label FROM t").await.unwrap();
    client.batch_execute(&format!("EXECUTE {}", name[0])).await.unwrap();
    drop(prepared);
    client.batch_execute("SELECT 1").await.unwrap();
    other.batch_execute(OTHER).await.unwrap();
    assert_eq!(code(&client, LAST).await, Some(SqlState::T_R_SERIALIZATION_FAILURE));
    client.batch_execute("ROLLBACK").await.unwrap();

    // Nobody is stopped twice.
    let pid = texts(&other, "SELECT pg_backend_pid()").await;
    client.batch_execute("BEGIN; SELECT label FROM t").await.unwrap();
    client.batch_execute(&format!("SELECT pg_cancel_backend({})", pid[0])).await.unwrap();
    other.batch_execute(OTHER).await.unwrap();
    assert_eq!(code(&client, LAST).await, Some(SqlState::T_R_SERIALIZATION_FAILURE));
    client.batch_execute("ROLLBACK").await.unwrap();
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_what_lost_can_be_gone_back_to() {
    let (_dir, node, client) = one_node().await;
    let other = connect(&node).await;
    table(&client).await;
    client.batch_execute("BEGIN; SELECT v FROM t WHERE id = 1; SAVEPOINT a; INSERT INTO log VALUES (1)").await.unwrap();
    other.batch_execute(OTHER).await.unwrap();
    assert_eq!(code(&client, LAST).await, Some(SqlState::T_R_SERIALIZATION_FAILURE));
    assert_eq!(code(&client, "ROLLBACK TO a").await, Some(SqlState::T_R_SERIALIZATION_FAILURE));
    assert_eq!(code(&client, "SELECT 1").await, Some(SqlState::IN_FAILED_SQL_TRANSACTION));
    client.batch_execute("COMMIT").await.unwrap();
    assert_eq!(texts(&client, "SELECT count(*) FROM log").await, ["0"]);
    // It can be turned off, and what is kept is bounded.
    for limit in ["0", "1kB"] {
        client.batch_execute(&format!("SET transaction_replay_limit = '{limit}'")).await.unwrap();
        client.batch_execute("BEGIN").await.unwrap();
        for _ in 0..6 {
            client.simple_query("SELECT label FROM t").await.unwrap();
        }
        other.batch_execute(OTHER).await.unwrap();
        assert_eq!(code(&client, LAST).await, Some(SqlState::T_R_SERIALIZATION_FAILURE), "{limit}");
        client.batch_execute("ROLLBACK").await.unwrap();
    }
    node.stop().await;
}

/// Sixteen clients read rows of ten that all of them change. Where what they have read has not changed, none of them hears
/// 40001; where it has, they do, and no update is lost.
#[tokio::test(flavor = "multi_thread")]
async fn hot_rows_are_changed_without_a_word_where_the_answers_stay() {
    const CLIENTS: usize = 16;
    const ROUNDS: usize = 12;
    let (_dir, node, client) = one_node().await;
    table(&client).await;
    let before = counts(&node);
    // The client computes a value from what no other changes.
    let mut running = Vec::new();
    for number in 0..CLIENTS {
        let client = connect(&node).await;
        running.push(tokio::spawn(async move {
            for round in 0..ROUNDS {
                let id = ((number * 7 + round) % 10 + 1) as i32;
                client.batch_execute("BEGIN").await.unwrap();
                let row = client.query_one("SELECT label FROM t WHERE id = $1", &[&id]).await.unwrap();
                let by = i32::from(row.get::<_, &str>(0).starts_with("row"));
                client.execute("UPDATE t SET v = v + $1 WHERE id = $2", &[&by, &id]).await.unwrap();
                client.batch_execute("COMMIT").await.unwrap();
            }
        }));
    }
    for client in running {
        client.await.unwrap();
    }
    assert_eq!(texts(&client, "SELECT sum(v) FROM t").await, [(CLIENTS * ROUNDS).to_string()]);
    let after = counts(&node);
    assert_eq!(after[2..], before[2..], "no client was told");

    // Interactive read, modify, write: the value that was read is what others change.
    client.batch_execute("UPDATE t SET v = 0").await.unwrap();
    let mut running = Vec::new();
    for number in 0..CLIENTS {
        let client = connect(&node).await;
        running.push(tokio::spawn(async move {
            let mut told = 0;
            for round in 0..ROUNDS {
                let id = ((number * 7 + round) % 10 + 1) as i32;
                loop {
                    client.batch_execute("BEGIN").await.unwrap();
                    let outcome = async {
                        let row = client.query_one("SELECT v FROM t WHERE id = $1", &[&id]).await?;
                        let v = row.get::<_, i32>(0) + 1;
                        client.execute("UPDATE t SET v = $1 WHERE id = $2", &[&v, &id]).await?;
                        client.batch_execute("COMMIT").await
                    };
                    match outcome.await {
                        Ok(()) => break,
                        Err(error) => {
                            assert_eq!(error.code(), Some(&SqlState::T_R_SERIALIZATION_FAILURE), "{error:?}");
                            client.batch_execute("ROLLBACK").await.unwrap();
                            told += 1;
                        }
                    }
                }
            }
            told
        }));
    }
    let mut told = 0;
    for client in running {
        told += client.await.unwrap();
    }
    assert_eq!(texts(&client, "SELECT sum(v) FROM t").await, [(CLIENTS * ROUNDS).to_string()], "no update is lost");
    let last = counts(&node);
    assert_eq!(last[2] - after[2], told, "whoever was told had read what has changed: {last:?}");
    assert_eq!(last[3], after[3], "all could be run again");
    node.stop().await;
}
