//! Sessions that see, stop and wait for each other.

use std::time::Duration;

use quorate_tests::{config, connect};
use server::{Node, NodeConfig};
use tempfile::TempDir;
use tokio_postgres::{Client, error::SqlState};

async fn value<T: for<'a> tokio_postgres::types::FromSql<'a>>(client: &Client, text: &str) -> T {
    client.query_one(text, &[]).await.unwrap().get(0)
}

/// Waits until a query answers true.
async fn until(client: &Client, text: &str) {
    let holds = async { while !value::<bool>(client, text).await {} };
    tokio::time::timeout(Duration::from_secs(20), holds).await.unwrap_or_else(|_| panic!("never: {text}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_sees_and_stops_others() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let (a, b) = (connect(&node).await, connect(&node).await);
    let pid: i32 = value(&b, "SELECT pg_backend_pid()").await;
    b.batch_execute("SET application_name = 'the other'; BEGIN; SELECT 1").await.unwrap();
    let state = format!(
        "SELECT state, query, application_name, datname::text, usename::text FROM pg_stat_activity WHERE pid = {pid}"
    );
    let row = a.query_one(&state, &[]).await.unwrap();
    let found: Vec<String> = (0..5).map(|at| row.get(at)).collect();
    let text = "SET application_name = 'the other'; BEGIN; SELECT 1";
    assert_eq!(found, ["idle in transaction", text, "the other", "postgres", "postgres"]);
    let others: i64 = value(&a, "SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid()").await;
    assert_eq!(others, 1);

    let sleeping = b.batch_execute("ROLLBACK; SELECT pg_sleep(100)");
    let stopping = async {
        until(&a, &format!("SELECT count(*) = 1 FROM pg_stat_activity WHERE pid = {pid} AND state = 'active' AND query LIKE '%pg_sleep%'")).await;
        assert!(value::<bool>(&a, &format!("SELECT pg_cancel_backend({pid})")).await);
    };
    let (slept, ()) = futures::future::join(sleeping, stopping).await;
    assert_eq!(slept.unwrap_err().code(), Some(&SqlState::QUERY_CANCELED));
    b.batch_execute("SELECT 1").await.unwrap();

    // One that waits for its client is ended as well.
    assert!(value::<bool>(&a, &format!("SELECT pg_terminate_backend({pid})")).await);
    until(&a, &format!("SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = {pid}")).await;
    assert!(b.batch_execute("SELECT 1").await.is_err());
    assert!(!value::<bool>(&a, &format!("SELECT pg_terminate_backend({pid})")).await);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn advisory_locks_hold_for_the_cluster() {
    let dir = TempDir::new().unwrap();
    let one = Node::start(&config(dir.path(), "one")).await.unwrap();
    let join = vec![one.rpc_addr().to_string()];
    let two = Node::start(&NodeConfig { join, ..config(dir.path(), "two") }).await.unwrap();
    let (a, b) = (connect(&one).await, connect(&two).await);
    let tries = |client, text: &'static str| value::<bool>(client, text);
    a.batch_execute("SELECT pg_advisory_lock(7), pg_advisory_lock(1, 2)").await.unwrap();
    assert!(!tries(&b, "SELECT pg_try_advisory_lock(7)").await);
    assert!(!tries(&b, "SELECT pg_try_advisory_lock_shared(1, 2)").await);
    assert!(tries(&b, "SELECT pg_try_advisory_lock(8)").await);
    // As often as it was locked.
    assert!(
        tries(&a, "SELECT pg_try_advisory_lock(7)").await && tries(&a, "SELECT pg_advisory_unlock(7)").await
    );
    assert!(!tries(&b, "SELECT pg_try_advisory_lock(7)").await);
    assert!(
        tries(&a, "SELECT pg_advisory_unlock(7)").await && !tries(&a, "SELECT pg_advisory_unlock(7)").await
    );
    assert!(tries(&b, "SELECT pg_try_advisory_lock_shared(7)").await);
    assert!(tries(&a, "SELECT pg_try_advisory_lock_shared(7)").await, "a shared lock is shared");
    assert!(!tries(&a, "SELECT pg_try_advisory_lock(7)").await);
    assert!(tries(&b, "SELECT pg_advisory_unlock_shared(7)").await);
    assert!(
        tries(&a, "SELECT pg_try_advisory_lock(7)").await,
        "the only one who shares it may have it alone"
    );

    // Until the transaction ends.
    b.batch_execute("BEGIN; SELECT pg_advisory_xact_lock(9)").await.unwrap();
    assert!(!tries(&a, "SELECT pg_try_advisory_lock(9)").await);
    b.batch_execute("COMMIT").await.unwrap();
    assert!(tries(&a, "SELECT pg_try_advisory_xact_lock(9)").await);
    assert!(tries(&b, "SELECT pg_try_advisory_lock(9)").await, "the statement was a transaction");
    let refused = b.batch_execute("SET lock_timeout = 100; SELECT pg_advisory_lock(7)").await.unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::LOCK_NOT_AVAILABLE));
    b.batch_execute("RESET lock_timeout").await.unwrap();

    // Gone with its session, for which another waits.
    let waiting = b.batch_execute("SELECT pg_advisory_lock(7)");
    let going = async { drop(a) };
    let (got, ()) =
        tokio::time::timeout(Duration::from_secs(20), futures::future::join(waiting, going)).await.unwrap();
    got.unwrap();
    two.stop().await;
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sleep_is_cut_short() {
    let dir = TempDir::new().unwrap();
    let node = Node::start(&config(dir.path(), "one")).await.unwrap();
    let client = connect(&node).await;
    client.batch_execute("SET statement_timeout = '50ms'").await.unwrap();
    let error = client.batch_execute("SELECT pg_sleep(100)").await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED));
    client
        .batch_execute("SELECT pg_sleep_for('1 ms'), pg_sleep_until(now() - interval '1 hour')")
        .await
        .unwrap();
    node.stop().await;
}
