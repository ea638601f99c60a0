//! Constraints that wait, and exclusion constraints, with several sessions: whatever the level, no two rows that break one are
//! committed.

use std::time::Duration;

use quorate_tests::{config, connect};
use server::Node;
use tempfile::TempDir;
use tokio_postgres::{Client, error::SqlState};

const LEVELS: [&str; 3] = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"];

async fn count(client: &Client) -> i64 {
    client.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get(0)
}

/// Two transactions write what may not be there together: one of them commits, whichever comes first.
async fn one_of_two(table: &str, first: &str, second: &'static str, error: SqlState) {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let one = connect(&node).await;
    one.batch_execute(table).await.unwrap();
    for level in LEVELS {
        let other = connect(&node).await;
        one.batch_execute("DELETE FROM t").await.unwrap();
        for client in [&one, &other] {
            client.batch_execute(&format!("BEGIN ISOLATION LEVEL {level}")).await.unwrap();
            // Each has a snapshot without the other's row.
            assert_eq!(count(client).await, 0);
        }
        one.batch_execute(first).await.unwrap();
        let late = tokio::spawn(async move {
            other.batch_execute(second).await?;
            other.batch_execute("COMMIT").await
        });
        tokio::time::sleep(Duration::from_millis(200)).await;
        let early = one.batch_execute("COMMIT").await;
        let late = late.await.unwrap();
        assert!(early.is_ok() != late.is_ok(), "{level}: one of them commits: {early:?} {late:?}");
        assert_eq!(count(&one).await, 1, "{level}");
        let failed = early.err().or(late.err()).unwrap();
        let is_retry = failed.code() == Some(&SqlState::T_R_SERIALIZATION_FAILURE) && level != "READ COMMITTED";
        assert!(failed.code() == Some(&error) || is_retry, "{level}: {failed:?}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deferred_key_is_given_once() {
    let table = "CREATE TABLE t (id int, k int UNIQUE DEFERRABLE INITIALLY DEFERRED)";
    one_of_two(table, "INSERT INTO t VALUES (1, 7)", "INSERT INTO t VALUES (2, 7)", SqlState::UNIQUE_VIOLATION).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deferrable_primary_key_is_given_once() {
    let table = "CREATE TABLE t (id int PRIMARY KEY DEFERRABLE, n int)";
    one_of_two(table, "INSERT INTO t VALUES (7, 1)", "INSERT INTO t VALUES (7, 2)", SqlState::UNIQUE_VIOLATION).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_is_booked_once() {
    let table = "CREATE TABLE t (room int, at int4range, EXCLUDE USING gist (room WITH =, at WITH &&))";
    let error = SqlState::EXCLUSION_VIOLATION;
    one_of_two(table, "INSERT INTO t VALUES (1, '[1,10)')", "INSERT INTO t VALUES (1, '[5,7)')", error.clone()).await;
    one_of_two(table, "INSERT INTO t VALUES (1, '[5,7)')", "INSERT INTO t VALUES (1, '[1,10)')", error).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_is_booked_once_at_the_commit() {
    let table = "CREATE TABLE t (at int4range, EXCLUDE USING gist (at WITH &&) DEFERRABLE INITIALLY DEFERRED)";
    one_of_two(table, "INSERT INTO t VALUES ('[1,10)')", "INSERT INTO t VALUES ('[5,7)')", SqlState::EXCLUSION_VIOLATION).await;
}

/// A row that is in the way is on its way out: who brings another one waits, and is refused only if it stays.
async fn waits_for_who_takes_it_away(table: &str, row: &str, gone: &str, new: &'static str, error: SqlState) {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let one = connect(&node).await;
    one.batch_execute(table).await.unwrap();
    for level in LEVELS {
        for end in ["COMMIT", "ROLLBACK"] {
            let other = connect(&node).await;
            one.batch_execute("DELETE FROM t").await.unwrap();
            one.batch_execute(row).await.unwrap();
            one.batch_execute("BEGIN").await.unwrap();
            one.batch_execute(gone).await.unwrap();
            let late = tokio::spawn(async move {
                other.batch_execute(&format!("BEGIN ISOLATION LEVEL {level}")).await?;
                other.batch_execute(new).await?;
                other.batch_execute("COMMIT").await
            });
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert!(!late.is_finished(), "{level}: it waits");
            one.batch_execute(end).await.unwrap();
            match (late.await.unwrap(), end) {
                (Ok(()), "COMMIT") => {}
                (Ok(()), _) => panic!("{level}: rules-hold"),
                (Err(failed), "COMMIT") => {
                    let is_retry = failed.code() == Some(&SqlState::T_R_SERIALIZATION_FAILURE);
                    assert!(is_retry && level != "READ COMMITTED", "{level}: {failed:?}");
                }
                (Err(failed), _) => assert_eq!(failed.code(), Some(&error), "{level}: {failed:?}"),
            }
        }
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_free_when_its_row_has_gone() {
    let (row, new, error) = ("INSERT INTO t VALUES (1, 7)", "INSERT INTO t VALUES (2, 7)", SqlState::UNIQUE_VIOLATION);
    for table in [
        "CREATE TABLE t (id int, k int UNIQUE DEFERRABLE)",
        "CREATE TABLE t (id int PRIMARY KEY, k int UNIQUE DEFERRABLE INITIALLY DEFERRED)",
    ] {
        waits_for_who_takes_it_away(table, row, "DELETE FROM t", new, error.clone()).await;
        waits_for_who_takes_it_away(table, row, "UPDATE t SET k = 8", new, error.clone()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_is_free_when_its_booking_has_gone() {
    let table = "CREATE TABLE t (room int, at int4range, EXCLUDE USING gist (room WITH =, at WITH &&))";
    let (row, new, error) = ("INSERT INTO t VALUES (1, '[1,9)')", "INSERT INTO t VALUES (1, '[5,7)')", SqlState::EXCLUSION_VIOLATION);
    waits_for_who_takes_it_away(table, row, "DELETE FROM t", new, error.clone()).await;
    waits_for_who_takes_it_away(table, row, "UPDATE t SET at = '[20,30)'", new, error).await;
}

/// ON CONFLICT waits for it, too.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_done_only_if_the_row_stays() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let one = connect(&node).await;
    one.batch_execute("CREATE TABLE t (at int4range, EXCLUDE USING gist (at WITH &&))").await.unwrap();
    for (end, added) in [("COMMIT", 1), ("ROLLBACK", 0)] {
        let other = connect(&node).await;
        one.batch_execute("DELETE FROM t; INSERT INTO t VALUES ('[1,9)')").await.unwrap();
        one.batch_execute("BEGIN; DELETE FROM t").await.unwrap();
        let late = tokio::spawn(async move {
            other.execute("INSERT INTO t VALUES ('[5,7)') ON CONFLICT DO NOTHING", &[]).await
        });
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!late.is_finished(), "it waits");
        one.batch_execute(end).await.unwrap();
        assert_eq!(late.await.unwrap().unwrap(), added, "{end}");
        assert_eq!(count(&one).await, 1);
    }
    node.stop().await;
}

/// More rows than are looked at in one request, in an order that is not that of their groups, by two at once.
#[tokio::test(flavor = "multi_thread")]
async fn many_rows_of_the_same_groups() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let client = connect(&node).await;
    client.batch_execute("CREATE TABLE t (id int, k int UNIQUE DEFERRABLE)").await.unwrap();
    let mut tasks = Vec::new();
    for order in ["g", "-g"] {
        let client = connect(&node).await;
        tasks.push(tokio::spawn(async move {
            client.batch_execute("SET default_transaction_isolation = 'read committed'").await.unwrap();
            client.execute(&format!("INSERT INTO t SELECT 1, g FROM generate_series(1, 1000) g ORDER BY {order}"), &[]).await
        }));
    }
    let mut made = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => made += 1,
            Err(error) => assert_eq!(error.code(), Some(&SqlState::UNIQUE_VIOLATION), "{error:?}"),
        }
    }
    assert_eq!((made, count(&client).await), (1, 1000));
    node.stop().await;
}

/// Bookings that do not overlap are all made, by many sessions at once; of those that do, none twice.
#[tokio::test(flavor = "multi_thread")]
async fn bookings_by_many() {
    const SESSIONS: i32 = 4;
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let client = connect(&node).await;
    client
        .batch_execute("CREATE TABLE t (who int, at int4range, EXCLUDE USING gist (at WITH &&)); SET default_transaction_isolation = 'read committed'")
        .await
        .unwrap();
    let mut tasks = Vec::new();
    for who in 0..SESSIONS {
        let client = connect(&node).await;
        tasks.push(tokio::spawn(async move {
            client.batch_execute("SET default_transaction_isolation = 'read committed'").await.unwrap();
            let mut made = 0;
            for at in 0..30 {
                let (from, to) = (at * 10, at * 10 + 10 + who);
                match client.execute(&format!("INSERT INTO t VALUES ({who}, '[{from},{to})')"), &[]).await {
                    Ok(_) => made += 1,
                    Err(error) => assert_eq!(error.code(), Some(&SqlState::EXCLUSION_VIOLATION), "{error:?}"),
                }
            }
            made
        }));
    }
    let mut made = 0;
    for task in tasks {
        made += task.await.unwrap();
    }
    assert_eq!(count(&client).await, made);
    assert!(made >= 15, "{made}");
    let overlap = "SELECT count(*) FROM t a, t b WHERE a.at && b.at AND (a.who, a.at) < (b.who, b.at)";
    let overlaps: i64 = client.query_one(overlap, &[]).await.unwrap().get(0);
    assert_eq!(overlaps, 0, "rules-hold");
    node.stop().await;
}

/// Rows that are swapped by sessions at once stay a permutation.
#[tokio::test(flavor = "multi_thread")]
async fn places_are_swapped_by_many() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let client = connect(&node).await;
    client
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, pos int UNIQUE DEFERRABLE INITIALLY DEFERRED); \
             INSERT INTO t SELECT g, g FROM generate_series(1, 12) g",
        )
        .await
        .unwrap();
    let mut tasks = Vec::new();
    for session in 0..3 {
        let client = connect(&node).await;
        tasks.push(tokio::spawn(async move {
            for round in 0..15 {
                let (a, b) = (1 + (session * 5 + round) % 12, 1 + (session + round * 7) % 12);
                let swap = format!(
                    "BEGIN; UPDATE t SET pos = -pos WHERE id IN ({a}, {b}); \
                     UPDATE t SET pos = (SELECT -min(o.pos) FROM t o WHERE o.id IN ({a}, {b}) AND o.id <> t.id) WHERE id IN ({a}, {b}); COMMIT"
                );
                if a == b {
                    continue;
                }
                if let Err(error) = client.batch_execute(&swap).await {
                    let known = [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED];
                    assert!(error.code().is_some_and(|code| known.contains(code)), "{error:?}");
                    let _ = client.batch_execute("ROLLBACK").await;
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let row = client.query_one("SELECT count(DISTINCT pos), min(pos), max(pos) FROM t", &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i32>(1), row.get::<_, i32>(2)), (12, 1, 12), "rules-hold");
    node.stop().await;
}
