//! How long writes stop when the leaseholder's process is killed: three real processes, SIGKILL, writers all the while.
//!
//! `QUORATE_FAILOVER_ROUNDS` sets the number of kills (3 if not given); the distribution is printed. `QUORATE_BINARY`
//! names another binary to run.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

const WITHIN: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(60);
const WRITERS_A_NODE: u64 = 2;

struct Process {
    child: Child,
    dir: PathBuf,
    ports: [u16; 3],
    join: Option<u16>,
}

/// A port below those that outgoing connections are given: another test's client could take one of these between here
/// and the node's start, or while the node is down.
fn free_port() -> u16 {
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 6_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() as u16).wrapping_mul(61);
    let port = || FIRST + start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
    std::iter::repeat_with(port).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("it goes on")
}

impl Process {
    fn spawn(dir: &Path, ports: [u16; 3], join: Option<u16>) -> Child {
        let binary = std::env::var("QUORATE_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_quorate").to_owned());
        let log = std::fs::OpenOptions::new().create(true).append(true).open(dir.with_extension("log")).unwrap();
        let [sql, rpc, http] = ports.map(|port| format!("127.0.0.1:{port}"));
        let mut command = Command::new(binary);
        command.args(["start", "--insecure", "--store"]).arg(dir);
        command.args(["--sql-addr", &sql, "--rpc-addr", &rpc, "--http-addr", &http]);
        if let Some(port) = join {
            command.args(["--join", &format!("127.0.0.1:{port}")]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }

    fn start(dir: PathBuf, join: Option<u16>) -> Self {
        let ports = [free_port(), free_port(), free_port()];
        let child = Self::spawn(&dir, ports, join);
        Self { child, dir, ports, join }
    }

    fn assert_running(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            let log = std::fs::read_to_string(self.dir.with_extension("log")).unwrap();
            panic!("{} has ended, {status}: {log}", self.dir.display());
        }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn restart(&mut self) {
        self.child = Self::spawn(&self.dir, self.ports, self.join);
    }

    fn http(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.ports[2])).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    fn leads(&self) -> bool {
        self.http("/status").is_some_and(|status| status.contains("\"leaseholder\":true"))
    }

    async fn connect(&self) -> Option<Client> {
        let text = format!("host=127.0.0.1 port={} user=postgres dbname=postgres", self.ports[0]);
        let (client, connection) = tokio_postgres::connect(&text, NoTls).await.ok()?;
        tokio::spawn(async move {
            // Ends with the process it is connected to.
            let _ended = connection.await;
        });
        Some(client)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only when the process has ended already.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What the writers have achieved.
#[derive(Default)]
struct Record {
    acknowledged: Mutex<Vec<i64>>,
    next: AtomicU64,
    stop: AtomicBool,
    /// Nanoseconds since the beginning, of the last write that was acknowledged: when it began.
    began: [AtomicU64; 3],
}

/// Writes rows through one node until told to stop, connecting anew when the node was away.
async fn write_on(node: usize, port: u16, record: Arc<Record>, origin: Instant) {
    let text = format!("host=127.0.0.1 port={port} user=postgres dbname=postgres connect_timeout=2");
    while !record.stop.load(Ordering::Relaxed) {
        let Ok((client, connection)) = tokio_postgres::connect(&text, NoTls).await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let connection = tokio::spawn(connection);
        while !record.stop.load(Ordering::Relaxed) {
            let number = i64::try_from(record.next.fetch_add(1, Ordering::Relaxed)).unwrap();
            let began = u64::try_from(origin.elapsed().as_nanos()).unwrap();
            match client.execute("INSERT INTO t VALUES ($1)", &[&number]).await {
                Ok(_) => {
                    record.acknowledged.lock().unwrap().push(number);
                    record.began[node].fetch_max(began, Ordering::Relaxed);
                }
                Err(_) if client.is_closed() => break,
                // The outcome is unknown, or the range was away: the next number is another row.
                Err(_) => {}
            }
        }
        connection.abort();
    }
}

/// Three nodes, each with a replica of everything.
async fn three_nodes(dir: &Path, schema: &str) -> Vec<Process> {
    let first = Process::start(dir.join("n1"), None);
    let join = first.ports[1];
    until("the first node serves", async || first.connect().await.is_some()).await;
    let mut nodes = vec![first];
    for name in ["n2", "n3"] {
        nodes.push(Process::start(dir.join(name), Some(join)));
    }
    let client = nodes[0].connect().await.unwrap();
    client.batch_execute(schema).await.unwrap();
    let replicated = |status: String| status.split("\"replicas\":[").skip(1).all(|it| it.split(']').next().unwrap().matches("):p").count() == 3);
    until("three replicas", async || {
        nodes.iter_mut().for_each(Process::assert_running);
        nodes[0].http("/status").is_some_and(replicated)
    })
    .await;
    for node in &nodes {
        until("every node serves", async || node.connect().await.is_some()).await;
    }
    nodes
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_resume_when_the_leaseholder_is_killed() {
    let rounds: usize = std::env::var("QUORATE_FAILOVER_ROUNDS").map_or(3, |text| text.parse().unwrap());
    let dir = TempDir::new().unwrap();
    let mut nodes = three_nodes(dir.path(), "CREATE TABLE t (a int8 PRIMARY KEY)").await;
    let (record, origin) = (Arc::new(Record::default()), Instant::now());
    let writers: Vec<_> = (0..3)
        .flat_map(|node| (0..WRITERS_A_NODE).map(move |_| node))
        .map(|node| tokio::spawn(write_on(node, nodes[node].ports[0], record.clone(), origin)))
        .collect();
    let mut pauses = Vec::new();
    for _ in 0..rounds {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let mut leader = None;
        until("a leaseholder", async || {
            leader = nodes.iter().position(Process::leads);
            leader.is_some()
        })
        .await;
        let leader = leader.unwrap();
        let killed = u64::try_from(origin.elapsed().as_nanos()).unwrap();
        nodes[leader].kill();
        let survivors: Vec<usize> = (0..3).filter(|node| *node != leader).collect();
        until("both survivors take writes", async || {
            survivors.iter().all(|node| record.began[*node].load(Ordering::Relaxed) > killed)
        })
        .await;
        pauses.push(origin.elapsed() - Duration::from_nanos(killed));
        nodes[leader].restart();
        until("the killed node takes writes again", async || {
            record.began[leader].load(Ordering::Relaxed) > killed
        })
        .await;
    }
    record.stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    let found: Vec<i64> =
        client_of(&nodes).await.query("SELECT a FROM t", &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    let found: std::collections::HashSet<i64> = found.into_iter().collect();
    let acknowledged = std::mem::take(&mut *record.acknowledged.lock().unwrap());
    let lost: Vec<i64> = acknowledged.iter().copied().filter(|number| !found.contains(number)).collect();

    pauses.sort_unstable();
    let seconds: Vec<String> = pauses.iter().map(|pause| format!("{:.2}", pause.as_secs_f64())).collect();
    println!("{} kills, {} rows acknowledged; seconds without writes, sorted: {}", rounds, acknowledged.len(), seconds.join(" "));
    assert!(lost.is_empty(), "no-lost-ack: {lost:?}");
    assert!(pauses.last().is_none_or(|worst| *worst < WITHIN), "service was away for {:?}", pauses.last());
}

/// Those who listen hear all that was acknowledged, once and in the order of the commits, also over the kill of the node that
/// leads the ranges.
#[tokio::test(flavor = "multi_thread")]
async fn notifications_outlive_the_kill_of_another_node() {
    let dir = TempDir::new().unwrap();
    let schema = "CREATE TABLE counter (id int PRIMARY KEY, n int8); INSERT INTO counter VALUES (1, 0)";
    let mut nodes = three_nodes(dir.path(), schema).await;
    let mut leader = None;
    until("a leaseholder", async || {
        leader = nodes.iter().position(Process::leads);
        leader.is_some()
    })
    .await;
    let leader = leader.unwrap();
    let others: Vec<usize> = (0..3).filter(|node| *node != leader).collect();
    let text = format!("host=127.0.0.1 port={} user=postgres dbname=postgres", nodes[others[0]].ports[0]);
    let (listener, mut connection) = tokio_postgres::connect(&text, NoTls).await.unwrap();
    let (send, mut heard) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) = std::future::poll_fn(|context| connection.poll_message(context)).await {
            if let tokio_postgres::AsyncMessage::Notification(notification) = message {
                let _stopped = send.send(notification.payload().parse::<i64>().unwrap());
            }
        }
    });
    listener.batch_execute("LISTEN c").await.unwrap();
    let notifier = nodes[others[1]].connect().await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let count = Arc::new(AtomicU64::new(0));
    let counted = count.clone();
    let notifying = tokio::spawn(async move {
        let (mut acknowledged, mut failed) = (Vec::new(), 0);
        while !stopped.load(Ordering::Relaxed) {
            let sql = "WITH u AS (UPDATE counter SET n = n + 1 WHERE id = 1 RETURNING n) SELECT n, pg_notify('c', n::text) FROM u";
            match notifier.query_one(sql, &[]).await {
                Ok(row) => {
                    acknowledged.push(row.get::<_, i64>(0));
                    counted.fetch_add(1, Ordering::Relaxed);
                }
                // It may have committed all the same.
                Err(_) => failed += 1,
            }
        }
        (acknowledged, failed)
    });
    until("some are acknowledged", async || count.load(Ordering::Relaxed) >= 50).await;
    nodes[leader].kill();
    // One may have been under way, and is acknowledged without another leader.
    let before = count.load(Ordering::Relaxed);
    until("another node leads", async || count.load(Ordering::Relaxed) >= before + 50).await;
    stop.store(true, Ordering::Relaxed);
    let (acknowledged, failed) = notifying.await.unwrap();
    let last = *acknowledged.last().unwrap();
    let mut found = Vec::new();
    while found.last().is_none_or(|found| *found < last) {
        let next = tokio::time::timeout(PATIENCE, heard.recv()).await.expect("it comes").expect("the session goes on");
        found.push(next);
    }
    println!("{} acknowledged, {failed} failed, {} heard", acknowledged.len(), found.len());
    assert!(found.is_sorted_by(|a, b| a < b), "commit-order: {found:?}");
    let lost: Vec<i64> = acknowledged.into_iter().filter(|number| found.binary_search(number).is_err()).collect();
    assert!(lost.is_empty(), "none-lost: {lost:?}");
}

async fn client_of(nodes: &[Process]) -> Client {
    let mut client = None;
    until("a node takes clients", async || {
        client = nodes[0].connect().await;
        client.is_some()
    })
    .await;
    client.unwrap()
}
