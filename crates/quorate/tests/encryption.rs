//! Encrypted stores of the real binary: nothing of a row is on the disk, a wrong key is one line, keys change, and SIGKILL at
//! any moment loses nothing.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

const TIMEOUT: Duration = Duration::from_secs(90);
/// In every row.
const MARKER: &str = "s3cret-marker";

struct Process {
    child: Child,
    sql_port: u16,
    http_port: u16,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn key_file(dir: &Path, name: &str) -> String {
    let path = dir.join(name);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).unwrap();
    let digits: String = name.bytes().cycle().take(32).map(|byte| format!("{byte:02x}")).collect();
    writeln!(file, "{digits}").unwrap();
    path.display().to_string()
}

fn command(store: &Path, rpc: &str, extra: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    let any = "127.0.0.1:0";
    command.args(["start", "--insecure", "--sql-addr", any, "--rpc-addr", rpc, "--http-addr", any, "--store"]);
    command.arg(store).args(extra).stdin(Stdio::null()).stdout(Stdio::piped()).env("QUORATE_LOG", "warn");
    command
}

/// Starts a node and waits until it says where it listens.
fn start(store: &Path, rpc: &str, extra: &[&str]) -> Process {
    let mut child = command(store, rpc, extra).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut sql_port = None;
    while let Some(line) = lines.next() {
        let mut words = line.split_whitespace().skip_while(|word| *word != "-p").skip(1);
        if let Some(port) = words.next() {
            sql_port = Some(port.parse().unwrap());
        } else if let (Some(sql_port), Some((_, rest))) = (sql_port, line.split_once("http://")) {
            let http_port = rest.split('/').next().unwrap().rsplit(':').next().unwrap().parse().unwrap();
            return Process { child, sql_port, http_port };
        }
    }
    panic!("the node ended: {:?}", child.wait());
}

/// Starts a node that should refuse to, and answers the one line that it said.
fn refused(store: &Path, extra: &[&str]) -> String {
    let output = command(store, "127.0.0.1:0", extra).env("QUORATE_LOG", "error").stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let line = said.strip_suffix('\n').filter(|line| !line.contains('\n'));
    line.and_then(|line| line.strip_prefix("quorate: ")).unwrap_or_else(|| panic!("not one line: {said:?}")).to_owned()
}

async fn connect(process: &Process) -> Client {
    let text = format!("host=127.0.0.1 port={} user=postgres dbname=postgres", process.sql_port);
    let deadline = Instant::now() + TIMEOUT;
    loop {
        match tokio_postgres::connect(&text, NoTls).await {
            Ok((client, connection)) => {
                tokio::spawn(async move { drop(connection.await) });
                return client;
            }
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn files_of(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() { files_of(&path, found) } else { found.push(path) }
    }
}

/// The files in which the marker can be read.
fn readable(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    files_of(dir, &mut files);
    files.retain(|path| {
        let bytes = std::fs::read(path).unwrap_or_default();
        bytes.windows(MARKER.len()).any(|window| window == MARKER.as_bytes())
    });
    files
}

fn metric(process: &Process, name: &str) -> u64 {
    let mut stream = TcpStream::connect(("127.0.0.1", process.http_port)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("quorate_")?.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is missing: {text}")).parse().unwrap()
}

fn status(store: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_quorate")).arg("encryption-status").arg("--store").arg(store).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The fingerprint of the store key, and the active data key.
fn keys_of(store: &Path) -> (String, String) {
    let said = status(store);
    let line = said.lines().next().and_then(|line| line.strip_prefix("store key ")).unwrap_or_else(|| panic!("{said}"));
    let (store_key, data_key) = line.split_once(", active data key ").unwrap_or_else(|| panic!("{said}"));
    (store_key.to_owned(), data_key.to_owned())
}

/// Waits until KEYS is another than `before`, or with `halfway` until the file that takes its place is written; it may be
/// too late for that.
fn await_other_keys(store: &Path, before: &[u8], halfway: bool, node: &mut Child) {
    let (keys, side) = (store.join("KEYS"), store.join("KEYS.new"));
    let written = || std::fs::metadata(&side).and_then(|metadata| metadata.modified()).ok();
    // A node that was killed before may have left one.
    let left = written();
    let deadline = Instant::now() + TIMEOUT;
    while !(halfway && written().is_some_and(|at| Some(at) != left)) && std::fs::read(&keys).unwrap() == before {
        assert!(Instant::now() < deadline, "the keys stay");
        assert!(node.try_wait().unwrap().is_none(), "the node has ended");
        std::thread::sleep(Duration::from_micros(100));
    }
}

async fn count(client: &Client) -> i64 {
    client.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get(0)
}

async fn insert(client: &Client, from: i64) {
    let sql = format!("INSERT INTO t SELECT i, '{MARKER}' || i FROM generate_series({from}, {from} + 499) AS g(i)");
    client.batch_execute(&sql).await.unwrap();
}

const ANY: &str = "127.0.0.1:0";

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_encrypted_from_the_start() {
    let dir = TempDir::new().unwrap();
    let store = dir.path().join("store");
    let (first, second) = (key_file(dir.path(), "first"), key_file(dir.path(), "second"));
    let given = ["--encryption-key-file", &first, "--encryption-rotate-after", "1"];
    let mut node = start(&store, ANY, &given);
    let client = connect(&node).await;
    client.batch_execute("CREATE TABLE t (a bigint PRIMARY KEY, b text UNIQUE)").await.unwrap();
    let (store_key, first_data_key) = keys_of(&store);
    // Data keys are replaced every second; the node is killed while that is done, and right after.
    for round in 0..5 {
        let client = connect(&node).await;
        insert(&client, round * 500).await;
        let before = std::fs::read(store.join("KEYS")).unwrap();
        await_other_keys(&store, &before, round % 2 == 0, &mut node.child);
        node.child.kill().unwrap();
        node.child.wait().unwrap();
        assert_eq!(readable(&store), Vec::<PathBuf>::new(), "round {round}");
        assert_eq!(keys_of(&store).0, store_key);
        node = start(&store, ANY, &given);
        assert_eq!(count(&connect(&node).await).await, (round + 1) * 500);
    }
    let deadline = Instant::now() + TIMEOUT;
    while metric(&node, "encryption_rotations_total") < 2 {
        assert!(Instant::now() < deadline, "data keys are replaced");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_ne!(keys_of(&store).1, first_data_key);
    assert_eq!(metric(&node, "encryption_plaintext_bytes"), 0);
    let said = status(&store);
    assert!(said.starts_with("store key ") && said.contains(", active data key "), "{said}");
    assert!(said.lines().last().unwrap().split_whitespace().eq(["plaintext", "0", "0"]), "{said}");
    drop(node);

    let said = refused(&store, &[]);
    assert!(said.contains("is encrypted with key") && said.contains("--encryption-key-file"), "{said}");
    let said = refused(&store, &["--encryption-key-file", &second]);
    assert!(said.contains("is encrypted with key") && said.contains("the key given is"), "{said}");
    let said = refused(&store, &["--encryption-key-command", "echo no such vault >&2; exit 3"]);
    assert!(said.contains("no such vault"), "{said}");
    let said = refused(&store, &["--encryption-old-key-file", &first]);
    assert!(said.contains("--encryption-old-key-file"), "{said}");

    // Another store key; the start that changes it is killed while it does, and right after.
    let change = ["--encryption-key-file", &second, "--encryption-old-key-file", &first];
    let (before, bytes) = (keys_of(&store), std::fs::read(store.join("KEYS")).unwrap());
    for halfway in [true, false] {
        let mut changing = command(&store, ANY, &change).stderr(Stdio::null()).spawn().unwrap();
        await_other_keys(&store, &bytes, halfway, &mut changing);
        changing.kill().unwrap();
        changing.wait().unwrap();
        let found = keys_of(&store);
        assert!(found == before || (found.0 != before.0 && found.1 != before.1), "{before:?} {found:?}");
    }
    // Nothing was halfway at the last one.
    let after = keys_of(&store);
    assert!(after.0 != before.0 && after.1 != before.1, "{before:?} {after:?}");
    let said = refused(&store, &["--encryption-key-file", &first]);
    assert!(said.contains(&after.0) && said.contains(&before.0), "{said}");
    let node = start(&store, ANY, &change);
    assert_eq!(count(&connect(&node).await).await, 2500);
    assert_eq!(keys_of(&store).0, after.0, "it is changed once");
    drop(node);
    std::fs::remove_file(&first).unwrap();
    let command = format!("cat {second}");
    let node = start(&store, ANY, &["--encryption-key-command", &command]);
    assert_eq!(count(&connect(&node).await).await, 2500);
    assert_eq!(keys_of(&store).0, after.0);
}

/// Whoever is asked for the key does not keep a node from ending.
#[test]
fn a_start_that_waits_for_its_key_can_be_told_to_stop() {
    let dir = TempDir::new().unwrap();
    let (store, asked) = (dir.path().join("store"), dir.path().join("asked"));
    let asks = format!("touch '{}'; sleep 50", asked.display());
    let child = command(&store, ANY, &["--encryption-key-command", &asks]).spawn().unwrap();
    let mut node = Process { child, sql_port: 0, http_port: 0 };
    let deadline = Instant::now() + TIMEOUT;
    while !asked.exists() {
        assert!(Instant::now() < deadline, "the command is run");
        std::thread::sleep(Duration::from_millis(10));
    }
    // SAFETY: a signal to a child that has not been waited for, so the number is still its.
    assert_eq!(unsafe { libc::kill(i32::try_from(node.child.id()).unwrap(), libc::SIGTERM) }, 0);
    let told = Instant::now();
    assert!(node.child.wait().unwrap().success());
    assert!(told.elapsed() < Duration::from_secs(25), "it does not wait for the command");
    assert!(!store.join("KEYS").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_not_encrypted_becomes_so() {
    let dir = TempDir::new().unwrap();
    let store = dir.path().join("store");
    let key = key_file(dir.path(), "key");
    let node = start(&store, ANY, &[]);
    let client = connect(&node).await;
    client.batch_execute("CREATE TABLE t (a bigint PRIMARY KEY, b text)").await.unwrap();
    insert(&client, 0).await;
    drop(node);
    assert!(!readable(&store).is_empty());
    assert!(status(&store).starts_with("not encrypted\n"));
    let mut node = start(&store, ANY, &["--encryption-key-file", &key]);
    assert_eq!(count(&connect(&node).await).await, 500);
    let deadline = Instant::now() + TIMEOUT;
    while !readable(&store).is_empty() {
        assert!(Instant::now() < deadline, "{:?}", readable(&store));
        assert!(node.child.try_wait().unwrap().is_none());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(count(&connect(&node).await).await, 500);
}

/// A port that is free now, for a node that others are to find.
fn address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// The second and third node get all they have as snapshots of the first, and each encrypts it with its own key.
#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_have_keys_of_their_own() {
    let dir = TempDir::new().unwrap();
    let (first, member) = (address(), dir.path().join("store1"));
    let keys: Vec<String> = ["one", "two", "three"].iter().map(|name| key_file(dir.path(), name)).collect();
    let mut nodes = vec![start(&member, &first, &["--encryption-key-file", &keys[0]])];
    let client = connect(&nodes[0]).await;
    client.batch_execute("CREATE TABLE t (a bigint PRIMARY KEY, b text)").await.unwrap();
    for round in 0..20 {
        insert(&client, round * 500).await;
    }
    for number in [2, 3] {
        let store = dir.path().join(format!("store{number}"));
        nodes.push(start(&store, &address(), &["--encryption-key-file", &keys[number - 1], "--join", &first]));
    }
    let deadline = Instant::now() + TIMEOUT;
    // All replicas are where they should be.
    while nodes.iter().any(|node| metric(node, "ranges") == 0)
        || nodes.iter().map(|node| metric(node, "ranges_underreplicated")).sum::<u64>() > 0
    {
        assert!(Instant::now() < deadline, "each node has replicas");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    insert(&client, 10_000).await;
    assert_eq!(count(&connect(&nodes[2]).await).await, 10_500);
    for number in 1..=3 {
        let store = dir.path().join(format!("store{number}"));
        assert_eq!(readable(&store), Vec::<PathBuf>::new());
        let said = status(&store);
        assert!(said.lines().last().unwrap().split_whitespace().eq(["plaintext", "0", "0"]), "{said}");
    }
    // The first is gone: what the others have is enough.
    nodes.remove(0);
    let counting = async {
        loop {
            let client = connect(&nodes[1]).await;
            if let Ok(row) = client.query_one("SELECT count(*) FROM t", &[]).await {
                return row.get::<_, i64>(0);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    assert_eq!(tokio::time::timeout(TIMEOUT, counting).await.unwrap(), 10_500);
}
