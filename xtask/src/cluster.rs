//! Clusters of local processes for developer commands: start, wait until healthy, kill, stop.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::thread;

use crate::command::{Error, IoContext, Result};

const HEALTHY_WITHIN: Duration = Duration::from_secs(30);
const STOPPED_WITHIN: Duration = Duration::from_secs(20);

/// One running node, killed when dropped.
pub struct Node {
    child: Child,
    pub sql: SocketAddr,
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
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("asking for a free port")?;
    Ok(listener.local_addr().context("asking for a free port")?.port())
}

impl Cluster {
    /// Starts the nodes one after another, each joining the first, and waits until all are healthy.
    pub fn start(options: &Options<'_>) -> Result<Self> {
        let mut nodes: Vec<Node> = Vec::new();
        for position in 0..options.nodes {
            let port = |offset: u16| match options.base_port {
                Some(base) => Ok(base + offset + position as u16),
                None => free_port(),
            };
            let join = nodes.first().map(|first| first.rpc.to_string());
            let node = Node::spawn(options, position, [port(0)?, port(2000)?, port(3000)?], join.as_deref())?;
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

    pub fn sql_addresses(&self) -> String {
        self.nodes.iter().map(|node| node.sql.to_string()).collect::<Vec<_>>().join(",")
    }
}

impl Node {
    fn spawn(options: &Options<'_>, position: usize, ports: [u16; 3], join: Option<&str>) -> Result<Self> {
        let dir = options.dir.join(format!("node{}", position + 1));
        fs::create_dir_all(&dir).context(format!("creating {}", dir.display()))?;
        let [sql, rpc, http] = ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let log = File::create(dir.join("log.txt")).context("creating the node's log")?;
        let errors = log.try_clone().context("creating the node's log")?;
        let mut command = Command::new(options.binary);
        command
            .arg("start")
            .arg("--insecure")
            .arg("--store")
            .arg(dir.join("store"))
            .args(["--sql-addr", &sql.to_string(), "--rpc-addr", &rpc.to_string(), "--http-addr", &http.to_string()])
            .args(options.flags);
        if let Some(join) = join {
            command.args(["--join", join]);
        }
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        let child = command.spawn().context(format!("starting {}", options.binary.display()))?;
        Ok(Self { child, sql, rpc, http, dir })
    }

    fn log_tail(&self) -> String {
        let text = fs::read_to_string(self.dir.join("log.txt")).unwrap_or_default();
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

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

/// User and system CPU time so far of a process and of the children it has waited for, in seconds; 0 when it is gone.
pub fn cpu_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold spaces; fields 14 to 17 are the times, in hundredths of a second.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |position: usize| fields.get(position).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (11..=14).map(ticks).sum::<f64>() / 100.0
}

fn is_healthy(http: SocketAddr) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&http, Duration::from_millis(200))?;
        stream.set_read_timeout(Some(Duration::from_millis(500)))?;
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.starts_with("HTTP/1.1 200"))
    };
    ask().unwrap_or(false)
}

impl Drop for Node {
    fn drop(&mut self) {
        // Both fail only when the process is gone already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
