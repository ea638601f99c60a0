//! Views that show what the console counts: pg_stat_statements, pg_stat_database, pg_locks, and pg_blocking_pids.

use std::time::Duration;

use quorate_tests::{connect, connect_as, one_node};
use tokio_postgres::Client;

use super::{Three, pid_of};

async fn value<T: for<'a> tokio_postgres::types::FromSql<'a>>(client: &Client, text: &str) -> T {
    client.query_one(text, &[]).await.unwrap_or_else(|error| panic!("{text}: {error}")).get(0)
}

async fn until(client: &Client, text: &str) {
    let holds = async { while !value::<bool>(client, text).await {} };
    tokio::time::timeout(Duration::from_secs(20), holds).await.unwrap_or_else(|_| panic!("never: {text}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn pg_stat_statements_counts_what_was_run() {
    let (_dir, node, client) = one_node().await;
    client.batch_execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements; CREATE TABLE t (a int PRIMARY KEY, b text)").await.unwrap();
    for at in 0..10 {
        client.batch_execute(&format!("INSERT INTO t VALUES ({at}, 'x{at}')")).await.unwrap();
    }
    client.batch_execute("BEGIN; UPDATE t SET b = 'y' WHERE a < 4; ROLLBACK").await.unwrap();
    assert!(client.batch_execute("SELECT 1 / 0 FROM t").await.is_err());
    let of = "SELECT calls::text || ' ' || rows::text FROM pg_stat_statements WHERE query";
    let found: String = value(&client, &format!("{of} = 'INSERT INTO t VALUES ($1, $2)'")).await;
    assert_eq!(found, "10 10");
    let found: String = value(&client, &format!("{of} LIKE 'UPDATE t SET%'")).await;
    assert_eq!(found, "1 4");
    // One that has only failed is not listed, as in PostgreSQL.
    let failed: i64 = value(&client, "SELECT count(*) FROM pg_stat_statements WHERE query LIKE 'SELECT $1 / $2 FROM t%'").await;
    assert_eq!(failed, 0);
    let sound = "SELECT bool_and(min_exec_time <= mean_exec_time AND mean_exec_time <= max_exec_time
                     AND total_exec_time > 0 AND queryid IS NOT NULL AND toplevel AND plans = 0 AND wal_bytes = 0
                     AND stddev_exec_time >= 0)
                 FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid JOIN pg_roles r ON r.oid = s.userid";
    assert!(value::<bool>(&client, sound).await);

    // So does one whose rows are fetched piece by piece.
    let mut client = client;
    let transaction = client.transaction().await.unwrap();
    let portal = transaction.bind("SELECT a FROM t WHERE a < $1", &[&7_i32]).await.unwrap();
    let mut fetched = 0;
    for _ in 0..3 {
        fetched += transaction.query_portal(&portal, 3).await.unwrap().len();
    }
    transaction.commit().await.unwrap();
    let found: String = value(&client, &format!("{of} = 'SELECT a FROM t WHERE a < $1'")).await;
    assert_eq!((fetched, found.as_str()), (7, "1 7"));

    // COPY counts once, with its rows.
    let sink = client.copy_in("COPY t FROM STDIN").await.unwrap();
    futures::pin_mut!(sink);
    futures::SinkExt::send(&mut sink, std::io::Cursor::new(b"20\ta\n21\tb\n".to_vec())).await.unwrap();
    sink.finish().await.unwrap();
    let found: String = value(&client, &format!("{of} = 'COPY t FROM STDIN'")).await;
    assert_eq!(found, "1 2");

    // What others have run is hidden from whoever may not see it.
    client.batch_execute("CREATE ROLE someone LOGIN").await.unwrap();
    let someone = connect_as(&node, "someone", "postgres").await;
    let hidden = "SELECT bool_or(query = '<insufficient privilege>' AND queryid IS NULL)
                      AND NOT bool_or(query LIKE 'INSERT INTO t %') FROM pg_stat_statements";
    assert!(value::<bool>(&someone, hidden).await);
    let refused = someone.batch_execute("SELECT pg_stat_statements_reset()").await.unwrap_err();
    assert_eq!(refused.code(), Some(&tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE));

    let id: i64 = value(&client, "SELECT queryid FROM pg_stat_statements WHERE query LIKE 'INSERT INTO t VALUES%'").await;
    client.batch_execute(&format!("SELECT pg_stat_statements_reset(0, 0, {id})")).await.unwrap();
    assert_eq!(value::<i64>(&client, &format!("SELECT count(*) FROM pg_stat_statements WHERE queryid = {id}")).await, 0);
    assert!(value::<i64>(&client, "SELECT count(*) FROM pg_stat_statements").await > 2);
    client.batch_execute("SELECT pg_stat_statements_reset()").await.unwrap();
    assert!(value::<bool>(&client, "SELECT dealloc = 0 AND stats_reset <= now() FROM pg_stat_statements_info").await);
    assert!(value::<i64>(&client, "SELECT count(*) FROM pg_stat_statements WHERE query LIKE 'UPDATE%'").await == 0);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_statement_counts_for_the_role_that_runs_it() {
    let (_dir, node, client) = one_node().await;
    let roles = "CREATE TABLE t (a int PRIMARY KEY); CREATE ROLE someone; GRANT SELECT ON t TO someone";
    client.batch_execute(roles).await.unwrap();
    let statement = client.prepare("SELECT a FROM t WHERE a = $1").await.unwrap();
    for (role, calls) in [("RESET ROLE", 2), ("SET ROLE someone", 3)] {
        client.batch_execute(role).await.unwrap();
        for _ in 0..calls {
            client.query(&statement, &[&1_i32]).await.unwrap();
        }
    }
    client.batch_execute("RESET ROLE").await.unwrap();
    let calls = "SELECT string_agg((rolname = 'someone')::text || ' ' || calls::text, ', ' ORDER BY calls)
                 FROM pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid WHERE query = 'SELECT a FROM t WHERE a = $1'";
    assert_eq!(value::<String>(&client, calls).await, "false 2, true 3");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pg_stat_database_counts_transactions_and_rows() {
    let (_dir, node, client) = one_node().await;
    client.batch_execute("CREATE TABLE t (a int PRIMARY KEY)").await.unwrap();
    let counts = "SELECT xact_commit, xact_rollback, tup_inserted, tup_deleted, numbackends::int8 FROM pg_stat_database
                  WHERE datname = current_database()";
    let row = |row: tokio_postgres::Row| (0..5).map(|at| row.get::<_, i64>(at)).collect::<Vec<_>>();
    let before = row(client.query_one(counts, &[]).await.unwrap());
    client.batch_execute("INSERT INTO t VALUES (1), (2), (3)").await.unwrap();
    client.batch_execute("BEGIN").await.unwrap();
    client.batch_execute("DELETE FROM t WHERE a = 1").await.unwrap();
    client.batch_execute("ROLLBACK").await.unwrap();
    let after = row(client.query_one(counts, &[]).await.unwrap());
    // The question before is a transaction itself.
    assert_eq!((after[0] - before[0], after[1] - before[1]), (2, 1), "{before:?} {after:?}");
    assert_eq!((after[2] - before[2], after[3] - before[3], after[4]), (3, 1, 1), "{before:?} {after:?}");
    let shared = "SELECT count(*) FROM pg_stat_database WHERE datid = 0 AND datname IS NULL";
    assert_eq!(value::<i64>(&client, shared).await, 1);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pg_locks_and_pg_blocking_pids_tell_who_waits_for_whom() {
    let three = Three::start().await;
    let (holder, looker) = (connect(&three.nodes[1]).await, connect(&three.nodes[1]).await);
    let (near, far) = (connect(&three.nodes[1]).await, connect(&three.nodes[0]).await);
    holder.batch_execute("CREATE TABLE locked (id int PRIMARY KEY, n int); INSERT INTO locked VALUES (1, 0)").await.unwrap();
    let (held_by, waits_near) = (pid_of(&holder).await, pid_of(&near).await);
    let waits_far = pid_of(&far).await;
    holder.batch_execute("BEGIN; SELECT * FROM locked FOR UPDATE").await.unwrap();
    assert!(value::<Vec<i32>>(&looker, &format!("SELECT pg_blocking_pids({held_by})")).await.is_empty());
    let update = |client: Client| tokio::spawn(async move { client.batch_execute("UPDATE locked SET n = n + 1").await });
    let near = update(near);
    until(&looker, &format!("SELECT pg_blocking_pids({waits_near}) = ARRAY[{held_by}]")).await;
    let far = update(far);
    let waiting = "SELECT count(*) = 2 FROM pg_locks WHERE relation = 'locked'::regclass AND NOT granted";
    until(&looker, waiting).await;
    let granted = "SELECT pid::int8 FROM pg_locks WHERE relation = 'locked'::regclass AND granted AND locktype = 'tuple'";
    assert_eq!(value::<i64>(&looker, granted).await, held_by);
    let database = "SELECT bool_and(d.datname = current_database()) FROM pg_locks l JOIN pg_database d ON d.oid = l.database";
    assert!(value::<bool>(&looker, database).await);
    // A session of another node has no number here; there it has.
    let there = connect(&three.nodes[0]).await;
    let blocking: Vec<i32> = value(&there, &format!("SELECT pg_blocking_pids({waits_far})")).await;
    assert_eq!(blocking, [0]);
    holder.batch_execute("COMMIT").await.unwrap();
    near.await.unwrap().unwrap();
    far.await.unwrap().unwrap();
    let own = "SELECT count(*) = 1 FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'virtualxid' AND granted";
    assert!(value::<bool>(&looker, own).await);
    three.stop().await;
}
