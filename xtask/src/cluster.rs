//! Clusters of local processes for developer commands: start, wait until healthy, kill, stop.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::command::{Error, IoContext, Result};
use crate::proxy::Links;

const HEALTHY_WITHIN: Duration = Duration::from_secs(30);
const STOPPED_WITHIN: Duration = Duration::from_secs(20);

/// Ranges copy themselves to new nodes within this.
const REPLICATED_WITHIN: Duration = Duration::from_secs(60);

/// One node, killed when dropped.
pub struct Node {
    child: Child,
    /// What starts it again.
    program: PathBuf,
    arguments: Vec<OsString>,
    position: usize,
    links: Option<Links>,
    pub sql: SocketAddr,
    /// Where other nodes find it.
    pub rpc: SocketAddr,
    pub http: SocketAddr,
    pub dir: PathBuf,
}

/// How to start the nodes of a cluster.
pub struct Options<'a> {
    pub binary: &'a Path,
    pub dir: &'a Path,
    pub nodes: usize,
    /// First SQL port; `None` asks the system for free ones.
    pub base_port: Option<u16>,
    /// Further flags of `quorate start`.
    pub flags: &'a [&'a str],
}

pub struct Cluster {
    pub nodes: Vec<Node>,
}

/// A loopback port nobody listens on at this moment.
///
/// Not one of the system's ephemeral ports: a client's connection could take that while the node it belongs to is down.
pub fn free_port() -> Result<u16> {
    const FIRST: u16 = 16_000;
    const COUNT: u16 = 16_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Two commands at once start at different places.
    let start = (std::process::id() as u16).wrapping_mul(61);
    for _ in 0..COUNT {
        let port = FIRST + start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err(Error::Failed { command: "finding a free port".into() })
}

impl Cluster {
    /// Starts the nodes one after another, each joining the first, and waits until all are healthy.
    pub fn start(options: &Options<'_>) -> Result<Self> {
        Self::start_over(options, None)
    }

    /// The same, with the nodes reaching each other over links that can be cut.
    pub fn start_over(options: &Options<'_>, links: Option<&Links>) -> Result<Self> {
        let mut nodes: Vec<Node> = Vec::new();
        for position in 0..options.nodes {
            let port = |offset: u16| match options.base_port {
                Some(base) => Ok(base + offset + position as u16),
                None => free_port(),
            };
            let join = nodes.first().map(|first| first.rpc.to_string());
            let ports = [port(0)?, port(2000)?, port(3000)?];
            let node = Node::spawn(options, position, ports, join.as_deref(), links)?;
            nodes.push(node);
            nodes[position].wait_healthy()?;
        }
        Ok(Self { nodes })
    }

    /// Asks every node to drain, and waits.
    pub fn stop(mut self) -> Result {
        for node in &self.nodes {
            node.signal("TERM")?;
        }
        for node in &mut self.nodes {
            node.wait_stopped()?;
        }
        Ok(())
    }

    /// Waits until every range has as many replicas as there are nodes, three at most.
    pub fn wait_replicated(&self) -> Result {
        let wanted = self.nodes.len().min(3);
        let started = Instant::now();
        while started.elapsed() < REPLICATED_WITHIN {
            let statuses: Vec<Value> = self.nodes.iter().filter_map(|node| node.status().ok()).collect();
            let led: Vec<&Value> = statuses.iter().flat_map(led_ranges).collect();
            if !led.is_empty() && led.iter().all(|range| voters(range) >= wanted) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(50));
        }
        Err(Error::Failed { command: "waiting until the ranges are replicated".into() })
    }

    /// The node, of those that answer, that leads the most ranges.
    pub fn leaseholder(&self) -> Option<usize> {
        let leases = self.nodes.iter().enumerate().filter_map(|(position, node)| {
            let status = node.status().ok()?;
            let count = led_ranges(&status).count();
            (count > 0).then_some((count, position))
        });
        leases.max().map(|(_, position)| position)
    }

    /// Keeps what each node says of itself in its folder, to be read after something went wrong.
    pub fn keep_statuses(&self) -> Result {
        for node in &self.nodes {
            let told = node.status().map_or_else(|error| error.to_string(), |status| format!("{status:#}"));
            fs::write(node.dir.join("status.json"), told).context("writing a node's status")?;
        }
        Ok(())
    }

    pub fn sql_addresses(&self) -> String {
        self.nodes.iter().map(|node| node.sql.to_string()).collect::<Vec<_>>().join(",")
    }
}

impl Node {
    fn spawn(
        options: &Options<'_>,
        position: usize,
        ports: [u16; 3],
        join: Option<&str>,
        links: Option<&Links>,
    ) -> Result<Self> {
        let dir = options.dir.join(format!("node{}", position + 1));
        fs::create_dir_all(&dir).context(format!("creating {}", dir.display()))?;
        let [sql, rpc, http] = ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let mut arguments: Vec<OsString> = vec!["start".into(), "--store".into(), dir.join("store").into()];
        if !options.flags.iter().copied().any(|flag| flag == "--certs-dir") {
            arguments.push("--insecure".into());
        }
        for (flag, address) in [("--sql-addr", sql), ("--rpc-addr", rpc), ("--http-addr", http)] {
            arguments.extend([flag.into(), address.to_string().into()]);
        }
        arguments.extend(options.flags.iter().map(OsString::from));
        if let Some(join) = join {
            arguments.extend(["--join".into(), join.into()]);
        }
        let mut found_at = rpc;
        if let Some(links) = links {
            found_at = links.forward(position, rpc)?;
            arguments.extend(["--advertise-rpc-addr".into(), found_at.to_string().into()]);
        }
        let child = start(options.binary, &arguments, &dir)?;
        let program = options.binary.into();
        let node = Self { child, program, arguments, position, links: links.cloned(), sql, rpc: found_at, http, dir };
        node.tell_links();
        Ok(node)
    }

    /// Ends the process the hard way, as a power cut of this process alone would.
    pub fn kill(&mut self) -> Result {
        self.child.kill().context("killing a node")?;
        self.child.wait().context("waiting for a killed node").map(drop)
    }

    /// Starts the process again as it was started, and does not wait until it serves.
    pub fn restart(&mut self) -> Result {
        self.child = start(&self.program, &self.arguments, &self.dir)?;
        self.tell_links();
        Ok(())
    }

    fn tell_links(&self) {
        if let Some(links) = &self.links {
            links.set_pid(self.position, self.child.id());
        }
    }

    /// The cluster as this node sees it.
    pub fn status(&self) -> Result<Value> {
        let answer = http_get(self.http, "/status").context(format!("asking http://{}/status", self.http))?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str(body).map_err(|error| Error::Failed { command: format!("reading /status: {error}") })
    }

    /// Its output, of all its starts.
    pub fn log(&self) -> PathBuf {
        self.dir.join("log.txt")
    }

    /// The last lines that the node has logged.
    pub fn log_tail(&self) -> String {
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    pub fn wait_healthy(&mut self) -> Result {
        let started = Instant::now();
        while started.elapsed() < HEALTHY_WITHIN {
            if let Some(status) = self.child.try_wait().context("waiting for a node")? {
                return Err(Error::Failed { command: format!("node ended with {status}:\n{}", self.log_tail()) });
            }
            if is_healthy(self.http) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err(Error::Failed { command: format!("node on {} is not healthy:\n{}", self.sql, self.log_tail()) })
    }

    pub fn signal(&self, name: &str) -> Result {
        crate::command::run(Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()))
    }

    fn wait_stopped(&mut self) -> Result {
        let started = Instant::now();
        while started.elapsed() < STOPPED_WITHIN {
            if self.child.try_wait().context("waiting for a node")?.is_some() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err(Error::Failed { command: format!("node on {} did not stop in time", self.sql) })
    }

    /// Whether its process has not ended.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait().context("waiting for a node")?.is_none())
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

/// The ranges of a status page whose lease its node holds.
fn led_ranges(status: &Value) -> impl Iterator<Item = &Value> {
    let ranges = status["ranges"].as_array().map_or(&[][..], Vec::as_slice);
    ranges.iter().filter(|range| range["leaseholder"] == true)
}

/// Learners, which do not vote yet, are marked by an `L`.
fn voters(range: &Value) -> usize {
    let replicas = range["replicas"].as_array().map_or(&[][..], Vec::as_slice);
    replicas.iter().filter(|replica| replica.as_str().is_some_and(|shown| !shown.ends_with('L'))).count()
}

/// Starts a node with its output appended to the log in its directory.
fn start(program: &Path, arguments: &[OsString], dir: &Path) -> Result<Child> {
    let log = OpenOptions::new().create(true).append(true).open(dir.join("log.txt")).context("opening the node's log")?;
    let errors = log.try_clone().context("opening the node's log")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(log).stderr(errors);
    command.spawn().context(format!("starting {}", program.display()))
}

fn http_get(http: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&http, Duration::from_millis(200))?;
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn is_healthy(http: SocketAddr) -> bool {
    http_get(http, "/health").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// User and system CPU time so far of processes and all their children, living and waited for, in seconds.
pub fn cpu_seconds(parents: &[u32]) -> f64 {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let ticks: u64 = pids
        .filter_map(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // The name in parentheses may hold spaces; after it come the state, the parent, and from the twelfth word
            // on the times: own user and system, waited-for children's user and system, in hundredths of a second.
            let words: Vec<u64> = stat.rsplit_once(')')?.1.split_whitespace().map(|word| word.parse().unwrap_or(0)).collect();
            let is_ours = parents.contains(&pid) || parents.iter().any(|parent| u64::from(*parent) == words[1]);
            is_ours.then(|| words[11..=14].iter().sum::<u64>())
        })
        .sum();
    ticks as f64 / 100.0
}

/// Memory of a process that is in RAM.
pub fn resident_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib << 10)
}

impl Drop for Node {
    fn drop(&mut self) {
        // Both fail only when the process is gone already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
