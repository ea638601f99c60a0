//! The binary as whoever runs it meets it: each mistake is one line on standard error and an exit code other than 0;
//! a node serves, and stops when it is told to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use keys::{NodeId, StoreId};
use server::{Node, NodeConfig};
use storage::{FORMAT_VERSION, StoreIdentity};
use tempfile::TempDir;
use uuid::Uuid;

fn quorate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    command.args(arguments).env("QUORATE_LOG", "error").stdin(Stdio::null());
    command
}

/// `quorate start --insecure`, unless `more` has certificates, on ports of the system's choice but for what it says.
fn start(store: &Path, more: &[&str]) -> Command {
    let mut command = start_secure(store, more);
    if !more.contains(&"--certs-dir") {
        command.arg("--insecure");
    }
    command
}

/// The same, with nothing said about who may connect.
fn start_secure(store: &Path, more: &[&str]) -> Command {
    let mut command = quorate(&["start", "--store"]);
    command.arg(store);
    for flag in ["--sql-addr", "--rpc-addr", "--http-addr"] {
        if !more.contains(&flag) {
            command.args([flag, "127.0.0.1:0"]);
        }
    }
    command.args(more);
    command
}

/// The one line that a command is refused with, after the program's name.
#[track_caller]
fn refusal(mut command: Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{command:?} was not refused: {said}");
    assert_eq!(output.stdout, b"", "nothing was started");
    let line = said.strip_suffix('\n').filter(|line| !line.contains('\n'));
    let line = line.unwrap_or_else(|| panic!("{command:?} does not say one line: {said:?}"));
    line.strip_prefix("quorate: ").unwrap_or_else(|| panic!("who says {line:?}?")).to_owned()
}

fn identity(dir: &Path, format: u32) -> StoreIdentity {
    let identity = StoreIdentity { format, ..StoreIdentity::new(Uuid::new_v4(), NodeId::new(1), StoreId::new(1)) };
    identity.write(dir).unwrap();
    identity
}

#[test]
fn a_wrong_flag_is_named() {
    let check = |arguments: &[&str], expected: &str| {
        let said = refusal(quorate(arguments));
        assert!(said.contains(expected), "{arguments:?}: {said}");
    };
    check(&["start", "--stor", "x"], "'--stor'");
    check(&["start", "--range-max-bytes", "much"], "--range-max-bytes");
    check(&["start", "--store"], "--store");
    check(&["fly"], "'fly'");
    let dir = TempDir::new().unwrap();
    let check = |flag: &str, value: &str, expected: &str| {
        let said = refusal(start(&dir.path().join("s"), &[flag, value]));
        assert!(said.contains(flag) && said.contains(expected), "{flag} {value}: {said}");
    };
    check("--sql-addr", "nonsense", "nonsense");
    check("--http-addr", "127.0.0.1:99999", "99999");
    check("--rpc-addr", "0.0.0.0:0", "0.0.0.0:0");
    check("--join", "nonsense", "HOST:PORT");
    let check = |flag: &str, value: &str, expected: &str| {
        let said = refusal(start_secure(&dir.path().join("s"), &[flag, value]));
        assert!(said.contains(expected), "{flag} {value}: {said}");
    };
    check("--http-addr", "0.0.0.0:8433", "--insecure");
    check("--join", "nonsense", "HOST:PORT");
    check("--join", "127.0.0.1:1", "--certs-dir");
    assert!(!dir.path().join("s").exists(), "a refused node leaves nothing behind");
}

#[test]
fn help_is_no_mistake() {
    for flag in ["--help", "--version"] {
        let output = quorate(&[flag]).output().unwrap();
        assert!(output.status.success());
        assert!(String::from_utf8(output.stdout).unwrap().to_lowercase().contains("quorate"));
    }
}

#[test]
fn a_store_of_a_newer_format_is_left_alone() {
    let dir = TempDir::new().unwrap();
    identity(dir.path(), FORMAT_VERSION + 1);
    let before = std::fs::read(dir.path().join("FORMAT")).unwrap();
    let said = refusal(start(dir.path(), &[]));
    assert!(said.contains(&format!("format {}", FORMAT_VERSION + 1)), "{said}");
    assert!(said.contains(dir.path().to_str().unwrap()), "{said}");
    assert_eq!(std::fs::read(dir.path().join("FORMAT")).unwrap(), before);
    assert!(!dir.path().join("state").exists() && !dir.path().join("log").exists());
}

#[test]
fn a_damaged_store_is_not_guessed_at() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("FORMAT"), b"QUORATE\n????").unwrap();
    let said = refusal(start(dir.path(), &[]));
    assert!(said.contains("FORMAT") && said.contains("damaged"), "{said}");
}

#[test]
fn a_directory_that_cannot_be_had_is_named_with_the_reason() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let said = refusal(start(&file.join("store"), &[]));
    assert!(said.contains("file/store") && said.contains("os error"), "{said}");
}

#[test]
fn a_store_in_use_is_refused() {
    let dir = TempDir::new().unwrap();
    let mut running = Running::start(dir.path());
    let said = refusal(start(dir.path(), &[]));
    assert!(said.contains("in use") && said.contains(dir.path().to_str().unwrap()), "{said}");
    running.terminate();
}

#[test]
fn a_taken_port_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let dir = TempDir::new().unwrap();
    for flag in ["--sql-addr", "--rpc-addr", "--http-addr"] {
        let said = refusal(start(&dir.path().join("s"), &[flag, &address]));
        assert!(said.contains(&address) && said.contains("in use"), "{flag}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_another_cluster_does_not_join() {
    let dir = TempDir::new().unwrap();
    let config = NodeConfig {
        sql_addr: "127.0.0.1:0".into(),
        rpc_addr: "127.0.0.1:0".into(),
        http_addr: "127.0.0.1:0".into(),
        ..NodeConfig::new(dir.path().join("member"))
    };
    let member = Node::start(&config).await.unwrap();
    let other = dir.path().join("other");
    std::fs::create_dir(&other).unwrap();
    identity(&other, FORMAT_VERSION);
    let join = member.rpc_addr().to_string();
    let refused = tokio::task::spawn_blocking(move || refusal(start(&other, &["--join", &join]))).await.unwrap();
    assert!(refused.contains("another cluster"), "{refused}");
    member.stop().await;
}

#[test]
fn certificates_are_made_once() {
    let dir = TempDir::new().unwrap();
    let certs = dir.path().join("certs");
    let cert = |arguments: &[&str]| {
        let mut command = quorate(&["cert"]);
        command.args(arguments).arg("--certs-dir").arg(&certs);
        command
    };
    assert!(refusal(cert(&["create-client", "app"])).contains("ca.key"), "there is no CA yet");
    for arguments in [&["create-ca"][..], &["create-node", "localhost", "127.0.0.1"], &["create-client", "app"]] {
        let output = cert(arguments).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{arguments:?}");
        assert!(refusal(cert(arguments)).contains("is there already"), "{arguments:?}");
    }
    assert!(refusal(cert(&["create-client", "node"])).contains("\"node\""));
    assert!(refusal(cert(&["create-node"])).contains("HOST"));
    let store = dir.path().join("s");
    let elsewhere = dir.path().join("nowhere").display().to_string();
    assert!(refusal(start(&store, &["--certs-dir", &elsewhere])).contains("ca.crt"));
    let both = ["--certs-dir", &elsewhere, "--insecure"];
    assert!(refusal(start(&store, &both)).contains("contradict"));
    assert!(!store.exists(), "a refused node leaves nothing behind");
}

/// Nothing but a store is named: the node makes its certificates and a password, and asks for them.
#[test]
fn the_first_start_is_secure() {
    let dir = TempDir::new().unwrap();
    let store = dir.path().join("store");
    let run = || {
        let mut child = start_secure(&store, &[]).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let greeting: Vec<String> = lines.by_ref().take(3).collect();
        let port = greeting[1].split(' ').find_map(|word| word.strip_prefix("port=")).unwrap().parse().unwrap();
        // It says nothing more until it ends.
        let password = std::thread::spawn(move || lines.find_map(|line| Some(line.split_once("once: ")?.1.to_owned())));
        (child, greeting[1].clone(), port, password)
    };
    let end = |mut child: Child| {
        // SAFETY: a signal to a child that has not been waited for, so the number is still its.
        assert_eq!(unsafe { libc::kill(i32::try_from(child.id()).unwrap(), libc::SIGTERM) }, 0);
        assert!(child.wait().unwrap().success());
    };
    let (child, psql, port, password) = run();
    let certs = store.join("certs");
    assert!(psql.contains(&format!("sslkey={}", certs.join("client.postgres.key").display())), "{psql}");
    assert_eq!(plain_startup(port), "28000", "nothing is served that is not encrypted");
    end(child);
    let password = password.join().unwrap().expect("it is shown at the first start");
    assert!(password.len() >= 20 && password.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{password}");
    let made = std::fs::read(certs.join("node.crt")).unwrap();
    let (child, again, _, password) = run();
    assert!(again.contains("client.postgres.crt"), "{again}");
    end(child);
    assert_eq!(password.join().unwrap(), None);
    assert_eq!(std::fs::read(certs.join("node.crt")).unwrap(), made);
    // What has been open to all does not become another thing by leaving a flag out.
    let open = dir.path().join("open");
    Running::start(&open).terminate();
    assert!(refusal(start_secure(&open, &[])).contains("without certificates"));
}

#[test]
fn an_audit_log_is_verified() {
    let dir = TempDir::new().unwrap();
    let audit = dir.path().join("audit");
    let verify = || {
        let mut command = quorate(&["audit", "verify"]);
        command.arg(&audit);
        command
    };
    assert!(refusal(verify()).contains("No such file"), "there is none yet");
    let mut child = start(&dir.path().join("store"), &["--audit-dir", audit.to_str().unwrap()]).stdout(Stdio::piped()).spawn().unwrap();
    let said = BufReader::new(child.stdout.take().unwrap()).lines().next().unwrap().unwrap();
    assert!(said.starts_with("node "), "{said}");
    child.kill().unwrap();
    child.wait().unwrap();
    let output = String::from_utf8(verify().output().unwrap().stdout).unwrap();
    let end = output.strip_prefix("lines 1 to 1 in 1 files hold\nthe last is ").unwrap().trim_end();
    let expecting = |mark: &str| {
        let mut command = verify();
        command.args(["--expect", mark]);
        command
    };
    assert!(expecting(end).status().unwrap().success());
    assert!(refusal(expecting(&end.replacen("1:", "2:", 1))).contains("line 2 is missing: the log ends before it"));
    assert!(refusal(expecting(&format!("1:{}", "0".repeat(64)))).contains("audit.log, line 1: it has another chain than expected"));
    assert!(!expecting("1").status().unwrap().success());
    let path = audit.join("audit.log");
    let line = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, line.replace("\"node\":1", "\"node\":2")).unwrap();
    assert!(refusal(verify()).contains("audit.log, line 1: the line was changed"));
}

/// The SQLSTATE with which a client is refused that asks for no encryption.
fn plain_startup(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let words = b"\0\x03\0\0user\0postgres\0database\0postgres\0\0";
    stream.write_all(&(words.len() as u32 + 4).to_be_bytes()).unwrap();
    stream.write_all(words).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer[0], b'E');
    let fields = String::from_utf8_lossy(&answer[5..]).into_owned();
    fields.split('\0').find_map(|field| field.strip_prefix('C')).unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_serves_and_stops_when_told() {
    let dir = TempDir::new().unwrap();
    let mut running = Running::start(dir.path());
    running.signal(libc::SIGHUP);
    let health = running.get("/health");
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
    let metrics = running.get("/metrics");
    assert!(metrics.contains("\nquorate_ranges 1\n"), "{metrics}");
    for line in metrics.split("\r\n\r\n").nth(1).unwrap().lines() {
        let mut words = line.split(' ');
        let is_value = words.next().is_some_and(|name| name.starts_with("quorate_"))
            && words.next().is_some_and(|value| value.parse::<f64>().is_ok())
            && words.next().is_none();
        let is_word = ["# HELP quorate_", "# TYPE quorate_", "# EOF"].iter().any(|word| line.starts_with(word));
        assert!(is_value || is_word, "{line}");
    }
    assert!(metrics.contains("\nquorate_rpc_bytes_total{lane=\"raft\"} "), "{metrics}");
    let sql = running.sql;
    let text = format!("host={} port={} user=postgres dbname=postgres", sql.ip(), sql.port());
    let (client, connection) = tokio_postgres::connect(&text, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    client.batch_execute("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)").await.unwrap();
    // An idle client does not hold the node up, and is told why it is sent away.
    running.terminate();
    let _told = connection.await.unwrap();
    let error = client.batch_execute("SELECT 1").await.unwrap_err();
    assert!(error.is_closed() || error.code().is_some(), "{error}");
    let mut again = Running::start(dir.path());
    assert_eq!(again.cluster, running.cluster, "the store is resumed");
    again.terminate();
}

/// A node in a process of its own, killed when dropped.
struct Running {
    child: Child,
    cluster: String,
    sql: SocketAddr,
    http: SocketAddr,
}

impl Running {
    /// Starts a node and reads from its greeting where it is: SQL is served by then.
    fn start(dir: &Path) -> Self {
        let mut child = start(dir, &[]).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let cluster = lines.next().unwrap();
        let psql = lines.next().unwrap();
        let word_after = |flag: &str| psql.split(' ').skip_while(|word| *word != flag).nth(1).unwrap();
        let sql = format!("{}:{}", word_after("-h"), word_after("-p")).parse().unwrap();
        let http = lines.next().unwrap();
        let http = http.split("http://").nth(1).unwrap().split('/').next().unwrap().parse().unwrap();
        Self { child, cluster, sql, http }
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.http).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).unwrap();
        // SAFETY: a signal to a child that has not been waited for, so the number is still its.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    /// Asks it to stop, and waits: it must end with 0.
    fn terminate(&mut self) {
        self.signal(libc::SIGTERM);
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail when it has ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_the_nodes_and_hears_why_not() {
    let dir = TempDir::new().unwrap();
    let config = NodeConfig {
        sql_addr: "127.0.0.1:0".into(),
        rpc_addr: "127.0.0.1:0".into(),
        http_addr: "127.0.0.1:0".into(),
        ..NodeConfig::new(dir.path().join("member"))
    };
    let member = Node::start(&config).await.unwrap();
    let address = member.rpc_addr().to_string();
    let ask = |arguments: &'static [&str], address: &str| {
        let address = address.to_owned();
        tokio::task::spawn_blocking(move || {
            let mut command = quorate(arguments);
            command.args(["--insecure", "--addr", &address]);
            if arguments.contains(&"status") || arguments.contains(&"check") { Ok(command.output().unwrap()) } else { Err(refusal(command)) }
        })
    };
    let output = ask(&["node", "status"], &address).await.unwrap().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert!(output.status.success() && lines.len() == 3, "{said}");
    assert!(lines[1].contains(&address) && lines[1].ends_with("  live"), "{said}");
    assert_eq!(lines[2], "under-replicated ranges: 0");
    let refused = ask(&["node", "decommission", "1"], &address).await.unwrap().unwrap_err();
    assert!(refused.contains("add a node first"), "{refused}");
    let refused = ask(&["node", "decommission", "7"], &address).await.unwrap().unwrap_err();
    assert!(refused.contains("there is no node"), "{refused}");
    let refused = ask(&["node", "drain", "1"], &address).await.unwrap().unwrap_err();
    assert!(refused.contains("nobody could take their leases"), "{refused}");
    let output = ask(&["node", "check"], &address).await.unwrap().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.ends_with("0 differ, 0 were not checked\n"), "{said}");
    member.stop().await;
    let refused = ask(&["node", "recommission", "1"], &address).await.unwrap().unwrap_err();
    assert!(refused.contains(&address), "{refused}");
}
