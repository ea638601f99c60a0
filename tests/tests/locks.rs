//! Row locks as applications meet them: two sessions and more, beside what PostgreSQL 15 does.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use quorate_tests::{config, connect};
use server::Node;
use tempfile::TempDir;
use tokio_postgres::{Client, error::SqlState};

/// Longer than any statement here has to take.
const PATIENCE: Duration = Duration::from_secs(20);

async fn start(schema: &str) -> (Node, TempDir, Client, Client) {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let (one, two) = (connect(&node).await, connect(&node).await);
    one.batch_execute(schema).await.unwrap();
    (node, dir, one, two)
}

fn waits(node: &Node) -> u64 {
    node.kv().store.replicas().iter().map(|replica| replica.metrics().lock_waits.load(Ordering::Relaxed)).sum()
}

/// Runs a statement until it waits for a lock.
async fn run_until_it_waits(
    node: &Node,
    client: &Arc<Client>,
    sql: &'static str,
) -> tokio::task::JoinHandle<Result<(), tokio_postgres::Error>> {
    let before = waits(node);
    let client = client.clone();
    let running = tokio::spawn(async move { client.batch_execute(sql).await });
    let end = Instant::now() + PATIENCE;
    while waits(node) == before {
        assert!(!running.is_finished(), "{sql} does not wait");
        assert!(Instant::now() < end, "{sql} neither waits nor ends");
        tokio::task::yield_now().await;
    }
    running
}

/// Whether a statement would wait for longer than a moment.
async fn is_stopped(client: &Client, sql: &str) -> bool {
    client.batch_execute("SET lock_timeout = '150ms'").await.unwrap();
    let outcome = client.batch_execute(sql).await;
    // Only where the statement has opened a block of its own.
    client.batch_execute("ROLLBACK").await.unwrap();
    client.batch_execute("SET lock_timeout = 0").await.unwrap();
    match outcome {
        Ok(()) => false,
        Err(error) => {
            assert_eq!(error.code(), Some(&SqlState::LOCK_NOT_AVAILABLE), "{sql}: {error}");
            true
        }
    }
}

async fn ids(client: &Client, sql: &str) -> Vec<i32> {
    client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_four_strengths_meet_as_in_postgresql() {
    let (node, _dir, one, two) = start("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0)").await;
    let strengths = ["KEY SHARE", "SHARE", "NO KEY UPDATE", "UPDATE"];
    for (held_rank, held) in strengths.iter().enumerate() {
        one.batch_execute(&format!("BEGIN; SELECT FROM t WHERE id = 1 FOR {held}")).await.unwrap();
        for (rank, wanted) in strengths.iter().enumerate() {
            let conflicts = held_rank + rank >= 3;
            let query = format!("SELECT id FROM t WHERE id = 1 FOR {wanted}");
            let nowait = two.query(&format!("{query} NOWAIT"), &[]).await;
            assert_eq!(nowait.is_err(), conflicts, "{held} meets {wanted} NOWAIT");
            if let Err(error) = nowait {
                assert_eq!(error.code(), Some(&SqlState::LOCK_NOT_AVAILABLE));
            }
            let found = ids(&two, &format!("{query} SKIP LOCKED")).await;
            assert_eq!(found.is_empty(), conflicts, "{held} meets {wanted} SKIP LOCKED");
            assert_eq!(is_stopped(&two, &query).await, conflicts, "{held} meets {wanted}");
        }
        for (statement, conflicts) in [
            ("UPDATE t SET v = v + 1 WHERE id = 1", held_rank > 0),
            ("UPDATE t SET id = 2 WHERE id = 1", true),
            ("DELETE FROM t WHERE id = 1", true),
        ] {
            let sql = format!("BEGIN; {statement}; ROLLBACK");
            assert_eq!(is_stopped(&two, &sql).await, conflicts, "{held} meets {statement}");
        }
        // The write itself, when it commits.
        assert_eq!(is_stopped(&two, "UPDATE t SET v = v + 1 WHERE id = 1").await, held_rank > 0, "{held}");
        one.batch_execute("COMMIT").await.unwrap();
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_lock_only_rows_that_qualify() {
    let (node, _dir, one, two) = start(
        "CREATE TABLE t (id int PRIMARY KEY, cpu int, ok bool, k int);
         CREATE INDEX ON t (k);
         INSERT INTO t SELECT n, n * 10, true, n % 2 FROM generate_series(1, 10) n",
    )
    .await;
    for statement in [
        "UPDATE t SET ok = ok WHERE cpu > 60",
        "DELETE FROM t WHERE cpu > 60",
        "SELECT FROM t WHERE cpu > 60 FOR UPDATE",
        "SELECT FROM t WHERE cpu > 60 FOR SHARE",
        "UPDATE t SET ok = ok WHERE k = 1 AND cpu > 60",
        "UPDATE t SET ok = ok WHERE id = 1 AND cpu > 60",
        "UPDATE t SET ok = ok WHERE id = 9 AND cpu > 60",
    ] {
        one.batch_execute(&format!("BEGIN; {statement}")).await.unwrap();
        assert!(!is_stopped(&two, "UPDATE t SET ok = ok WHERE id = 1").await, "{statement}");
        let locks_nine = !statement.contains("id = 1");
        assert_eq!(is_stopped(&two, "UPDATE t SET ok = ok WHERE id = 9").await, locks_nine, "{statement}");
        one.batch_execute("ROLLBACK").await.unwrap();
    }
    node.stop().await;
}

/// As PostgreSQL does under READ COMMITTED: the condition is asked again of the row as it is then, and nobody is told to
/// try again.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_was_waited_for_must_still_qualify() {
    let (node, _dir, one, two) = start("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 5), (2, 0)").await;
    let two = Arc::new(two);
    for (change, statement, expected) in [
        ("UPDATE t SET v = v - 1 WHERE id = 1", "UPDATE t SET v = v - 1 WHERE id = 1 AND v > 1", 3),
        ("UPDATE t SET v = 1 WHERE id = 1", "UPDATE t SET v = v - 1 WHERE v > 1", 1),
        ("UPDATE t SET v = 7 WHERE id = 1", "UPDATE t SET v = v - 1 WHERE v > 0", 6),
    ] {
        // What it has read before holds.
        two.batch_execute("BEGIN; SELECT FROM t WHERE id = 2").await.unwrap();
        one.batch_execute(&format!("BEGIN; {change}")).await.unwrap();
        let waiting = run_until_it_waits(&node, &two, statement).await;
        one.batch_execute("COMMIT").await.unwrap();
        waiting.await.unwrap().unwrap();
        two.batch_execute("COMMIT").await.unwrap();
        let v: i32 = one.query_one("SELECT v FROM t WHERE id = 1", &[]).await.unwrap().get(0);
        assert_eq!(v, expected, "{statement}");
    }
    node.stop().await;
}

/// What was looked at is read, though it is not locked.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_did_not_qualify_were_read_all_the_same() {
    let (node, _dir, one, two) = start("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0), (2, 0)").await;
    one.batch_execute("BEGIN; SELECT FROM t WHERE id = 1; UPDATE t SET v = 1 WHERE v = 9").await.unwrap();
    two.batch_execute("BEGIN; SELECT FROM t WHERE id = 2; UPDATE t SET v = 9 WHERE id = 1; COMMIT").await.unwrap();
    // It found no 9, and there is one: it comes before the other, whose row it must not have seen.
    one.batch_execute("UPDATE t SET v = 3 WHERE id = 2").await.unwrap();
    two.batch_execute("SELECT sum(v) FROM t").await.unwrap();
    let error = one.batch_execute("COMMIT").await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::T_R_SERIALIZATION_FAILURE));
    // PostgreSQL's block is over when its COMMIT fails.
    one.batch_execute("INSERT INTO t VALUES (3, 3)").await.unwrap();
    assert_eq!(ids(&two, "SELECT id FROM t WHERE v = 3").await, [3]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_without_a_row_is_free_to_insert() {
    let (node, _dir, one, two) = start("CREATE TABLE t (id int PRIMARY KEY, v int)").await;
    one.batch_execute("BEGIN; SELECT FROM t WHERE id = 1 FOR UPDATE").await.unwrap();
    assert!(!is_stopped(&two, "INSERT INTO t VALUES (1, 1)").await);
    one.batch_execute("ROLLBACK").await.unwrap();
    // Of two inserts of one key the second waits.
    one.batch_execute("BEGIN; INSERT INTO t VALUES (2, 2)").await.unwrap();
    assert!(is_stopped(&two, "INSERT INTO t VALUES (2, 3)").await);
    assert!(!is_stopped(&two, "SELECT FROM t WHERE id = 2 FOR UPDATE").await, "there is no such row yet");
    one.batch_execute("COMMIT").await.unwrap();
    let error = two.batch_execute("INSERT INTO t VALUES (2, 3)").await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::UNIQUE_VIOLATION));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn references_do_not_stop_changes_of_other_columns() {
    let (node, _dir, one, two) = start(
        "CREATE TABLE p (id int PRIMARY KEY, v int); CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p);
         INSERT INTO p VALUES (1, 0), (2, 0); INSERT INTO c VALUES (9, 2)",
    )
    .await;
    one.batch_execute("BEGIN; INSERT INTO c VALUES (1, 1)").await.unwrap();
    assert!(!is_stopped(&two, "UPDATE p SET v = v + 1 WHERE id = 1").await);
    assert!(!is_stopped(&two, "INSERT INTO c VALUES (2, 1)").await, "those who refer to a row share it");
    assert!(is_stopped(&two, "DELETE FROM p WHERE id = 1").await);
    assert!(is_stopped(&two, "UPDATE p SET id = 5 WHERE id = 1").await);
    one.batch_execute("COMMIT").await.unwrap();
    // The other way round: who changes the row stops no reference, who deletes it does.
    one.batch_execute("BEGIN; UPDATE p SET v = v + 1 WHERE id = 1").await.unwrap();
    assert!(!is_stopped(&two, "INSERT INTO c VALUES (3, 1)").await);
    one.batch_execute("COMMIT; BEGIN; DELETE FROM c WHERE id = 9; DELETE FROM p WHERE id = 2").await.unwrap();
    assert!(is_stopped(&two, "INSERT INTO c VALUES (4, 2)").await);
    one.batch_execute("COMMIT").await.unwrap();
    let error = two.batch_execute("INSERT INTO c VALUES (4, 2)").await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::FOREIGN_KEY_VIOLATION));
    assert_eq!(ids(&one, "SELECT v FROM p").await, [2]);
    node.stop().await;
}

/// It ended in 40001: looking for the row counted as reading all of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_reference_commits_though_its_row_has_changed_since() {
    let (node, _dir, one, two) = start(
        "CREATE TABLE p (id int PRIMARY KEY, u int UNIQUE, v int);
         CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p, u int REFERENCES p (u));
         INSERT INTO p VALUES (1, 10, 0), (2, 20, 0)",
    )
    .await;
    one.batch_execute("BEGIN; INSERT INTO c VALUES (1, 1, 20)").await.unwrap();
    two.batch_execute("UPDATE p SET v = v + 1").await.unwrap();
    // The new row has to be committed above this.
    assert_eq!(ids(&two, "SELECT id FROM c").await, Vec::<i32>::new());
    one.batch_execute("COMMIT").await.unwrap();
    // Who reads what is changed depends on it as ever.
    one.batch_execute("BEGIN; SELECT v FROM p WHERE id = 1 FOR KEY SHARE; INSERT INTO c VALUES (2, 1, 20)").await.unwrap();
    two.batch_execute("UPDATE p SET v = v + 1").await.unwrap();
    assert_eq!(ids(&two, "SELECT id FROM c").await, [1]);
    let error = one.batch_execute("COMMIT").await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::T_R_SERIALIZATION_FAILURE));
    node.stop().await;
}

/// A foreign key to a unique column that is not the primary key locks the row, not its index entry.
#[tokio::test(flavor = "multi_thread")]
async fn references_by_a_unique_column_lock_its_row() {
    let (node, _dir, one, two) = start(
        "CREATE TABLE p (id int PRIMARY KEY, a bigint, b text, v int, UNIQUE (b, a));
         CREATE TABLE c (id int PRIMARY KEY, a int, b text, FOREIGN KEY (a, b) REFERENCES p (a, b));
         INSERT INTO p VALUES (1, 10, 'x', 0), (2, 20, 'y', 0)",
    )
    .await;
    one.batch_execute("BEGIN; INSERT INTO c SELECT i, 10, 'x' FROM generate_series(1, 3) i").await.unwrap();
    assert!(!is_stopped(&two, "UPDATE p SET v = v + 1 WHERE id = 1").await);
    assert!(is_stopped(&two, "DELETE FROM p WHERE id = 1").await);
    assert!(is_stopped(&two, "UPDATE p SET a = 11 WHERE id = 1").await);
    one.batch_execute("COMMIT").await.unwrap();
    for sql in ["INSERT INTO c VALUES (9, 10, 'y')", "INSERT INTO c VALUES (8, 10, 'x'), (9, 11, 'x')"] {
        let error = two.batch_execute(sql).await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::FOREIGN_KEY_VIOLATION), "{sql}");
    }
    two.batch_execute("INSERT INTO c VALUES (9, NULL, 'y')").await.unwrap();
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_locks_no_more_than_it_lets_through() {
    let (node, _dir, one, two) = start(
        "CREATE TABLE q (id int PRIMARY KEY, cpu int); CREATE TABLE got (id int);
         INSERT INTO q SELECT n, 100 - n FROM generate_series(1, 20) n",
    )
    .await;
    one.batch_execute("BEGIN; SELECT id FROM q ORDER BY cpu LIMIT 1 FOR UPDATE SKIP LOCKED").await.unwrap();
    let next = "SELECT id FROM q ORDER BY cpu LIMIT 2 FOR UPDATE SKIP LOCKED";
    assert_eq!(ids(&two, next).await, [19, 18], "the second worker gets the next");
    assert_eq!(ids(&two, "SELECT id FROM q WHERE cpu < 84 ORDER BY cpu FOR UPDATE SKIP LOCKED").await, [19, 18, 17]);
    assert_eq!(ids(&two, "SELECT id FROM q ORDER BY id LIMIT 2 OFFSET 1 FOR UPDATE").await, [2, 3]);
    assert!(is_stopped(&two, "SELECT id FROM q ORDER BY cpu LIMIT 1 FOR UPDATE").await);
    assert!(!is_stopped(&two, "UPDATE q SET cpu = cpu WHERE id = 19").await);
    one.batch_execute("COMMIT").await.unwrap();
    // A row that has gone while it was waited for is passed over.
    let two = Arc::new(two);
    one.batch_execute("BEGIN; DELETE FROM q WHERE id = 20").await.unwrap();
    let insert = "INSERT INTO got SELECT id FROM (SELECT id FROM q ORDER BY cpu LIMIT 1 FOR UPDATE) s";
    let waiting = run_until_it_waits(&node, &two, insert).await;
    one.batch_execute("COMMIT").await.unwrap();
    waiting.await.unwrap().unwrap();
    assert_eq!(ids(&one, "SELECT id FROM got").await, [19]);
    node.stop().await;
}

/// Rows that are found and locked in one request, backwards, over a part of the key and past rows that the transaction
/// itself has written.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_rows_by_key_are_locked_as_they_are_found() {
    let (node, _dir, one, two) =
        start("CREATE TABLE q (kind int, id int, PRIMARY KEY (kind, id));
               INSERT INTO q SELECT k, n FROM generate_series(1, 2) k, generate_series(1, 5) n")
            .await;
    let first = |order: &str, count: u32| {
        format!("SELECT id FROM q WHERE kind = 1 ORDER BY id {order} LIMIT {count} FOR UPDATE SKIP LOCKED")
    };
    one.batch_execute("BEGIN").await.unwrap();
    assert_eq!(ids(&one, &first("", 1)).await, [1]);
    two.batch_execute("BEGIN").await.unwrap();
    assert_eq!(ids(&two, &first("", 2)).await, [2, 3]);
    assert_eq!(ids(&one, &first("DESC", 1)).await, [5]);
    assert_eq!(ids(&two, &first("DESC", 9)).await, [4, 3, 2], "the others are held, and another kind is not asked for");
    assert_eq!(ids(&one, &first("", 9)).await, [1, 5]);
    two.batch_execute("COMMIT").await.unwrap();
    one.batch_execute("INSERT INTO q VALUES (1, 0), (1, 6); DELETE FROM q WHERE kind = 1 AND id = 1").await.unwrap();
    assert_eq!(ids(&one, &first("", 3)).await, [0, 2, 3]);
    assert_eq!(ids(&one, "SELECT id FROM q WHERE kind = 1 ORDER BY id OFFSET 4 LIMIT 2 FOR UPDATE SKIP LOCKED").await, [5, 6]);
    assert_eq!(ids(&two, &first("", 9)).await, [0; 0], "all are held by now");
    one.batch_execute("COMMIT").await.unwrap();
    assert_eq!(ids(&two, &first("", 9)).await, [0, 2, 3, 4, 5, 6]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_locked_is_refused() {
    let (node, _dir, one, _two) = start("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY)").await;
    for (sql, expected) in [
        ("SELECT FROM t LEFT JOIN u USING (id) FOR UPDATE",
            "FOR UPDATE cannot be applied to the nullable side of an outer join"),
        ("SELECT FROM t RIGHT JOIN u USING (id) FOR NO KEY UPDATE OF t",
            "FOR NO KEY UPDATE cannot be applied to the nullable side of an outer join"),
        ("WITH RECURSIVE r AS (SELECT 1 n UNION ALL SELECT n + 1 FROM r WHERE n < 3 FOR UPDATE) SELECT FROM r",
            "FOR UPDATE/SHARE in a recursive query is not implemented"),
        ("SELECT id FROM t UNION SELECT id FROM u FOR KEY SHARE",
            "FOR KEY SHARE is not allowed with UNION/INTERSECT/EXCEPT"),
        ("SELECT DISTINCT id FROM t FOR SHARE", "FOR SHARE is not allowed with DISTINCT clause"),
    ] {
        let error = one.batch_execute(sql).await.unwrap_err();
        let error = error.as_db_error().unwrap_or_else(|| panic!("{sql}: {error}"));
        assert_eq!((error.code(), error.message()), (&SqlState::FEATURE_NOT_SUPPORTED, expected), "{sql}");
    }
    one.batch_execute("SELECT FROM t LEFT JOIN u USING (id) FOR UPDATE OF t").await.unwrap();
    node.stop().await;
}

const WORKERS: usize = 16;
const JOBS: i32 = 320;

/// Each job goes to one worker, and no worker gets 40001.
async fn work_off(take: &'static str) {
    let schema = format!(
        "CREATE TABLE q (id int PRIMARY KEY, payload text, done_by int);
         INSERT INTO q SELECT n, 'job', NULL FROM generate_series(1, {JOBS}) n"
    );
    let (node, _dir, one, _two) = start(&schema).await;
    let mut workers = Vec::new();
    for worker in 0..WORKERS {
        let client = connect(&node).await;
        workers.push(tokio::spawn(async move {
            let mut done: Vec<i32> = Vec::new();
            loop {
                let taken = client.query(take, &[]).await.unwrap_or_else(|error| panic!("worker {worker}: {error:?}"));
                if taken.is_empty() {
                    return done;
                }
                done.extend(taken.iter().map(|row| row.get::<_, i32>(0)));
            }
        }));
    }
    let mut times: BTreeMap<i32, usize> = BTreeMap::new();
    for worker in workers {
        for job in tokio::time::timeout(PATIENCE * 3, worker).await.expect("the queue is worked off").unwrap() {
            *times.entry(job).or_default() += 1;
        }
    }
    // A worker that saw nothing but locked jobs has gone home early; those are done by their holders.
    let expected: BTreeMap<i32, usize> = (1..=JOBS).map(|job| (job, 1)).collect();
    assert_eq!(times, expected, "{take}");
    let left = ids(&one, "SELECT id FROM q WHERE done_by IS NULL").await;
    assert!(left.is_empty(), "{left:?} are left");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_of_updates_gives_each_job_once() {
    work_off(
        "UPDATE q SET done_by = 1 WHERE id =
            (SELECT id FROM q WHERE done_by IS NULL ORDER BY id FOR UPDATE SKIP LOCKED LIMIT 1) RETURNING id",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_of_deletions_gives_each_job_once() {
    work_off(
        "DELETE FROM q WHERE id IN (SELECT id FROM q ORDER BY id FOR UPDATE SKIP LOCKED LIMIT 3) RETURNING id",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_read_by_a_with_query_gives_each_job_once() {
    work_off(
        "WITH next AS (SELECT id FROM q ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
         DELETE FROM q USING next WHERE q.id = next.id RETURNING q.id",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn constraints_may_be_set() {
    let (node, _dir, one, _two) = start(
        "CREATE TABLE p (id int PRIMARY KEY);
         CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p DEFERRABLE, q int CONSTRAINT nd REFERENCES p)",
    )
    .await;
    one.batch_execute("SET CONSTRAINTS ALL IMMEDIATE").await.unwrap();
    let accepted = "BEGIN; SET CONSTRAINTS ALL DEFERRED; SET CONSTRAINTS c_p_fkey, public.nd IMMEDIATE;
        SET CONSTRAINTS c_p_fkey DEFERRED; SET CONSTRAINTS p_pkey IMMEDIATE; COMMIT";
    one.batch_execute(accepted).await.unwrap();
    for (sql, code, message) in [
        ("SET CONSTRAINTS nope IMMEDIATE", &SqlState::UNDEFINED_OBJECT, "constraint \"nope\" does not exist"),
        ("SET CONSTRAINTS public.nope DEFERRED", &SqlState::UNDEFINED_OBJECT, "constraint \"nope\" does not exist"),
        ("SET CONSTRAINTS nos.nope DEFERRED", &SqlState::INVALID_SCHEMA_NAME, "schema \"nos\" does not exist"),
        ("SET CONSTRAINTS nd DEFERRED", &SqlState::WRONG_OBJECT_TYPE, "constraint \"nd\" is not deferrable"),
    ] {
        let error = one.batch_execute(sql).await.unwrap_err();
        let error = error.as_db_error().unwrap_or_else(|| panic!("{sql}: {error}"));
        assert_eq!((error.code(), error.message()), (code, message), "{sql}");
    }
    node.stop().await;
}
