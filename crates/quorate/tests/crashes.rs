//! The real binary, killed with SIGKILL at any moment under a load, and started again on the same store: every row it
//! acknowledged is there, and no transaction is there in part. And what it says when it should not go on.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::SinkExt;
use tempfile::TempDir;
use tokio::sync::Mutex;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls};

const WRITERS: i64 = 4;
const ACCOUNTS: i64 = 10;
const ROUNDS: u64 = 6;

/// A process that does not outlive the test.
struct Process {
    child: Child,
    sql_port: u16,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn command(store: &Path, extra: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    let any = "127.0.0.1:0";
    command.args(["start", "--insecure", "--sql-addr", any, "--rpc-addr", any, "--http-addr", any, "--store"]);
    command.arg(store).args(extra).stdout(Stdio::piped()).stderr(Stdio::piped()).env("QUORATE_LOG", "warn");
    command
}

/// Starts a node and waits until it says where it listens.
fn start(store: &Path, extra: &[&str]) -> Process {
    let mut child = command(store, extra).stderr(Stdio::inherit()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for line in lines {
        let line = line.unwrap();
        let mut words = line.split_whitespace().skip_while(|word| *word != "-p").skip(1);
        if let Some(port) = words.next() {
            return Process { child, sql_port: port.parse().unwrap() };
        }
    }
    panic!("the node ended: {:?}", child.wait());
}

/// Starts a node that should refuse to, and answers what it said.
fn refused(store: &Path) -> String {
    let mut child = command(store, &[]).spawn().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(!child.wait().unwrap().success(), "{said}");
    said
}

async fn connect(process: &Process) -> Client {
    let text = format!("host=127.0.0.1 port={} user=postgres dbname=postgres", process.sql_port);
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match tokio_postgres::connect(&text, NoTls).await {
            Ok((client, connection)) => {
                // Ends with the node.
                tokio::spawn(async move { drop(connection.await) });
                return client;
            }
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What was acknowledged: the numbers of inserted pairs, by writer.
#[derive(Default)]
struct Acknowledged {
    pairs: Mutex<Vec<i64>>,
    count: AtomicU64,
}

/// Inserts and transfers until the node is gone. Each number is used once, whatever comes of it.
async fn write(client: Client, writer: i64, first: i64, acknowledged: Arc<Acknowledged>) {
    for n in first.. {
        let id = n * WRITERS + writer;
        let payload = "x".repeat(usize::try_from(id % 700).unwrap());
        // The two rows lie in two tables, the transfer in a third: one transaction or nothing.
        let text = format!(
            "BEGIN;
             INSERT INTO a VALUES ({id}, {writer}, '{payload}');
             INSERT INTO b VALUES ({id}, {});
             UPDATE accounts SET balance = balance - 7 WHERE id = {};
             UPDATE accounts SET balance = balance + 7 WHERE id = {};
             COMMIT",
            payload.len(),
            id % ACCOUNTS,
            (id * 7 + 3) % ACCOUNTS,
        );
        match client.batch_execute(&text).await {
            Ok(()) => {
                acknowledged.pairs.lock().await.push(id);
                acknowledged.count.fetch_add(1, Ordering::SeqCst);
            }
            Err(_) if client.is_closed() => return,
            // Deadlocks and retries among the writers; a node that goes away says so in several ways.
            Err(_) => drop(client.batch_execute("ROLLBACK").await),
        }
    }
}

async fn check(client: &Client, acknowledged: &Acknowledged, what: &str) {
    let rows = client.query("SELECT id, length(payload) FROM a ORDER BY id", &[]).await.unwrap();
    let in_a: Vec<(i64, i32)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let rows = client.query("SELECT id, bytes FROM b ORDER BY id", &[]).await.unwrap();
    let in_b: Vec<(i64, i32)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert!(in_a == in_b, "{what}: a transaction is there in part");
    assert!(in_a.iter().all(|(id, bytes)| i64::from(*bytes) == id % 700), "{what}: a row is damaged");
    for id in acknowledged.pairs.lock().await.iter() {
        assert!(in_a.binary_search_by_key(id, |row| row.0).is_ok(), "{what}: {id} was acknowledged and is lost");
    }
    let row = client.query_one("SELECT sum(balance)::bigint, count(*) FROM accounts", &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (0, ACCOUNTS), "{what}");
    // The index has the rows that the table has.
    for writer in 0..WRITERS {
        let sql = format!("SELECT count(*) FROM a WHERE writer = {writer}");
        let count: i64 = client.query_one(&sql, &[]).await.unwrap().get(0);
        let expected = in_a.iter().filter(|(id, _)| id % WRITERS == writer).count();
        assert_eq!(count, i64::try_from(expected).unwrap(), "{what}: index of writer {writer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_to_kill_9() {
    let dir = TempDir::new().unwrap();
    let mut node = start(dir.path(), &[]);
    let client = connect(&node).await;
    client
        .batch_execute(
            "CREATE TABLE a (id bigint PRIMARY KEY, writer bigint NOT NULL, payload text NOT NULL);
             CREATE INDEX a_writer ON a (writer);
             CREATE TABLE b (id bigint PRIMARY KEY, bytes int NOT NULL);
             CREATE TABLE accounts (id bigint PRIMARY KEY, balance bigint NOT NULL);
             INSERT INTO accounts SELECT i, 0 FROM generate_series(0, 9) AS g(i)",
        )
        .await
        .unwrap();
    let acknowledged = Arc::new(Acknowledged::default());
    for round in 0..ROUNDS {
        let before = acknowledged.count.load(Ordering::SeqCst);
        let mut writers = Vec::new();
        for writer in 0..WRITERS {
            let first = i64::try_from(round).unwrap() * 1_000_000;
            writers.push(tokio::spawn(write(connect(&node).await, writer, first, acknowledged.clone())));
        }
        // Some acknowledgements, then some microseconds that differ from round to round.
        let deadline = Instant::now() + Duration::from_secs(60);
        while acknowledged.count.load(Ordering::SeqCst) < before + 10 + round * 17 {
            assert!(Instant::now() < deadline, "round {round}: nothing is acknowledged");
            tokio::time::sleep(Duration::from_micros(300 + round * 457)).await;
        }
        node.child.kill().unwrap();
        for writer in writers {
            writer.await.unwrap();
        }
        // A start that is killed as well, further on each time.
        if round % 2 == 1 {
            let mut halfway = command(dir.path(), &[]).spawn().unwrap();
            tokio::time::sleep(Duration::from_millis(round * round * 10)).await;
            halfway.kill().unwrap();
            halfway.wait().unwrap();
        }
        node = start(dir.path(), &[]);
        let client = connect(&node).await;
        check(&client, &acknowledged, &format!("after kill {round}")).await;
    }
    let total = acknowledged.count.load(Ordering::SeqCst);
    assert!(total >= ROUNDS * 10, "{total}");
}

/// Its rows are in their ranges before it commits.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_is_killed_leaves_all_of_its_table_or_nothing() {
    let dir = TempDir::new().unwrap();
    let mut node = start(dir.path(), &[]);
    for (round, pieces) in [3, 9, 20, 12].into_iter().enumerate() {
        let client = connect(&node).await;
        client.batch_execute("BEGIN; CREATE TABLE t (a bigint PRIMARY KEY, b text)").await.unwrap();
        let sink = client.copy_in("COPY t FROM STDIN").await.unwrap();
        let mut sink = std::pin::pin!(sink);
        for piece in 0..pieces {
            let lines: String = (piece * 5000..(piece + 1) * 5000).map(|n| format!("{n}\t{}\n", "x".repeat(90))).collect();
            sink.send(std::io::Cursor::new(lines.into_bytes())).await.unwrap();
        }
        let mut committed = false;
        if round == 3 {
            sink.finish().await.unwrap();
            client.batch_execute("COMMIT").await.unwrap();
            committed = true;
        }
        node.child.kill().unwrap();
        node.child.wait().unwrap();
        node = start(dir.path(), &[]);
        let rows = connect(&node).await.query_one("SELECT count(*), max(length(b)) FROM t", &[]).await;
        match rows {
            Ok(row) => assert_eq!((row.get(0), row.get(1), committed), (pieces * 5000_i64, 90_i32, true)),
            Err(error) => assert!(!committed && error.code() == Some(&SqlState::UNDEFINED_TABLE), "{round}: {error}"),
        }
    }
}

/// The last bytes of the log are cut off: a single node would have acknowledged what it no longer has.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_lost_entries_stops_the_start_until_accepted() {
    let dir = TempDir::new().unwrap();
    let mut node = start(dir.path(), &[]);
    let client = connect(&node).await;
    client.batch_execute("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)").await.unwrap();
    client.batch_execute("INSERT INTO t VALUES (2)").await.unwrap();
    node.child.kill().unwrap();
    node.child.wait().unwrap();
    for entry in std::fs::read_dir(dir.path().join("log/rocks")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "log") {
            let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
            let length = file.metadata().unwrap().len();
            file.set_len(length.saturating_sub(40)).unwrap();
        }
    }
    for _start in 0..2 {
        let said = refused(dir.path());
        assert!(said.contains("the log has lost entries") && said.contains("--accept-lost-log"), "{said}");
    }
    let node = start(dir.path(), &["--accept-lost-log"]);
    let client = connect(&node).await;
    let first: i32 = client.query_one("SELECT min(a) FROM t", &[]).await.unwrap().get(0);
    assert_eq!(first, 1);
    client.batch_execute("INSERT INTO t VALUES (3)").await.unwrap();
    drop(node);
    let node = start(dir.path(), &[]);
    let rows: i64 = connect(&node).await.query_one("SELECT count(*) FROM t WHERE a IN (1, 3)", &[]).await.unwrap().get(0);
    assert_eq!(rows, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_nearly_full_takes_no_rows_and_gives_them_back() {
    let dir = TempDir::new().unwrap();
    let node = start(dir.path(), &[]);
    let client = connect(&node).await;
    client.batch_execute("CREATE TABLE t (a int PRIMARY KEY, b int); INSERT INTO t VALUES (1, 1), (2, 2)").await.unwrap();
    drop(node);
    // No disk has as much left.
    let node = start(dir.path(), &["--disk-reserve-bytes", "1000000000000000"]);
    let client = connect(&node).await;
    for sql in ["INSERT INTO t VALUES (3, 3)", "UPDATE t SET b = 7"] {
        let error = client.batch_execute(sql).await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::DISK_FULL), "{sql}: {error}");
    }
    client.batch_execute("DELETE FROM t WHERE a = 1").await.unwrap();
    let rows: i64 = client.query_one("SELECT count(*) FROM t WHERE a = b", &[]).await.unwrap().get(0);
    assert_eq!(rows, 1);
}

/// A session that is cut off by the end of the process drops nothing.
#[tokio::test(flavor = "multi_thread")]
async fn temporary_tables_of_a_killed_node_are_dropped_when_it_starts_again() {
    let dir = TempDir::new().unwrap();
    let store = dir.path().join("n1");
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'pg\\_temp\\_%'";
    let count = async |client: &Client| client.query_one(schemas, &[]).await.unwrap().get::<_, i64>(0);
    let process = start(&store, &[]);
    let client = connect(&process).await;
    client.batch_execute("CREATE TEMP TABLE t (a int); INSERT INTO t VALUES (1)").await.unwrap();
    assert_eq!(count(&client).await, 1);
    drop(process);
    let process = start(&store, &[]);
    let client = connect(&process).await;
    let deadline = Instant::now() + Duration::from_secs(30);
    while count(&client).await > 0 {
        assert!(Instant::now() < deadline, "what the killed node left is not dropped");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A job's status, by its number.
async fn status(client: &Client, job: i64) -> String {
    let found = client.simple_query(&format!("SHOW JOB {job}")).await.unwrap();
    let row = found.iter().find_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(4),
        _ => None,
    });
    row.expect("a status").to_owned()
}

async fn until_succeeded(client: &Client, job: i64) {
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        let status = status(client, job).await;
        if status == "succeeded" {
            return;
        }
        assert!(matches!(status.as_str(), "pending" | "running"), "job {job} is {status}");
        assert!(Instant::now() < deadline, "job {job} is {status}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn begin(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

/// The jobs go on where they were, and what is restored is seen whole or not at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_and_a_restore_that_are_killed_go_on() {
    let dir = TempDir::new().unwrap();
    let uri = format!("file://{}", dir.path().join("backups").display());
    let store = dir.path().join("n1");
    let mut node = start(&store, &[]);
    let client = connect(&node).await;
    client.batch_execute("CREATE TABLE t (id int PRIMARY KEY, v text)").await.unwrap();
    client.batch_execute("INSERT INTO t SELECT n, repeat('x', 1000) FROM generate_series(1, 8000) n").await.unwrap();
    client.batch_execute("ALTER TABLE t SPLIT AT VALUES (1000), (2000), (4000), (6000)").await.unwrap();
    client.batch_execute("CREATE INDEX ON t (v, id); SELECT lo_from_bytea(20001, repeat('y', 5000)::bytea)").await.unwrap();
    let backup = begin(&client, &format!("BACKUP DATABASE postgres INTO '{uri}' WITH detached, rate_limit = '4MB'")).await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    node.child.kill().unwrap();
    node.child.wait().unwrap();
    node = start(&store, &[]);
    let client = connect(&node).await;
    // The backup is as of its beginning.
    client.batch_execute("UPDATE t SET v = 'new' WHERE id <= 5000; SELECT lo_unlink(20001)").await.unwrap();
    until_succeeded(&client, backup).await;
    client.batch_execute(&format!("VERIFY BACKUP LATEST IN '{uri}'")).await.unwrap();
    for (round, millis) in [30, 250].into_iter().enumerate() {
        let client = connect(&node).await;
        let name = format!("copy{round}");
        let sql = format!("RESTORE DATABASE postgres FROM LATEST IN '{uri}' WITH new_db_name = '{name}', detached");
        let restore = begin(&client, &sql).await;
        tokio::time::sleep(Duration::from_millis(millis)).await;
        node.child.kill().unwrap();
        node.child.wait().unwrap();
        node = start(&store, &[]);
        let client = connect(&node).await;
        let deadline = Instant::now() + Duration::from_secs(90);
        loop {
            let sql = format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'");
            let is_seen = client.query_one(&sql, &[]).await.unwrap().get::<_, i64>(0) == 1;
            let status = status(&client, restore).await;
            assert!(!is_seen || status == "succeeded", "round {round}: it is seen while its job is {status}");
            if is_seen {
                break;
            }
            assert!(Instant::now() < deadline, "round {round}: the job is {status}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let text = format!("host=127.0.0.1 port={} user=postgres dbname={name}", node.sql_port);
        let (copy, connection) = tokio_postgres::connect(&text, NoTls).await.unwrap();
        tokio::spawn(async move { drop(connection.await) });
        let sql = "SELECT count(*), count(*) FILTER (WHERE length(v) = 1000), length(lo_get(20001)) FROM t";
        let row = copy.query_one(sql, &[]).await.unwrap();
        assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1), row.get::<_, i32>(2)), (8000, 8000, 5000), "round {round}");
        let by_index = copy.query_one("SELECT count(*) FROM t WHERE v > 'x'", &[]).await.unwrap();
        assert_eq!(by_index.get::<_, i64>(0), 8000, "round {round}");
    }
}
