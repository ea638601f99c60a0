//! A PostgreSQL started for a comparison: its own data directory, its own port, and standbys if asked for.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::cluster::free_port;
use crate::command::{Error, IoContext, Result, capture, find_program};
use crate::setup::POSTGRES_DIRS;

/// A PostgreSQL of our own, with standbys that must confirm each commit (`ANY 1`) if any.
pub struct Postgres {
    pub port: u16,
    pub version: String,
    servers: Vec<Child>,
}

impl Postgres {
    pub fn start(scratch: &Path, standbys: usize) -> Result<Self> {
        let bin = find_program("postgres", POSTGRES_DIRS)
            .and_then(|program| fs::canonicalize(program).ok())
            .and_then(|program| program.parent().map(Path::to_path_buf))
            .ok_or_else(|| Error::Missing { what: "PostgreSQL's server is missing".into(), remedy: "cargo xtask setup".into() })?;
        let primary = scratch.join("postgres");
        fs::create_dir_all(scratch).context("making the folder of PostgreSQL")?;
        own(scratch)?;
        capture(as_postgres(&bin.join("initdb")).args(["-U", "postgres", "-A", "trust", "-D"]).arg(&primary))?;
        let port = free_port()?;
        let mut extra = vec!["-c".to_owned(), "max_wal_size=4GB".into(), "-c".into(), "shared_buffers=512MB".into()];
        if standbys > 0 {
            let names: Vec<String> = (1..=standbys).map(|n| format!("standby{n}")).collect();
            extra.extend(["-c".into(), format!("synchronous_standby_names=ANY 1 ({})", names.join(","))]);
        }
        let mut servers = vec![serve(&bin, &primary, port, scratch, &extra)?];
        for n in 1..=standbys {
            let dir = scratch.join(format!("standby{n}"));
            let source = format!("host=127.0.0.1 port={port} user=postgres application_name=standby{n}");
            capture(as_postgres(&bin.join("pg_basebackup")).args(["-R", "-X", "stream", "-d", &source, "-D"]).arg(&dir))?;
            let conninfo = format!("primary_conninfo={source}");
            servers.push(serve(&bin, &dir, free_port()?, scratch, &["-c".into(), conninfo])?);
        }
        let version = capture(Command::new(bin.join("postgres")).arg("--version"))?.trim().to_owned();
        Ok(Self { port, version, servers })
    }

    /// The postmasters: everything else of a server is a child of its.
    pub fn pids(&self) -> Vec<u32> {
        self.servers.iter().map(Child::id).collect()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        for server in self.servers.iter_mut().rev() {
            // SIGINT is PostgreSQL's fast shutdown; a server already gone is fine.
            let _ = Command::new("kill").arg("-INT").arg(server.id().to_string()).status();
            let _ = server.wait();
        }
    }
}

/// PostgreSQL refuses to run as root: root runs it as the user that Debian's package made.
fn as_postgres(program: &Path) -> Command {
    let is_root = capture(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    if !is_root {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
    command
}

fn own(dir: &Path) -> Result {
    let is_root = capture(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    if is_root { capture(Command::new("chown").arg("postgres").arg(dir)).map(drop) } else { Ok(()) }
}

fn serve(bin: &Path, dir: &Path, port: u16, sockets: &Path, extra: &[String]) -> Result<Child> {
    let mut command = as_postgres(&bin.join("postgres"));
    command.arg("-D").arg(dir).args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1", "-k"]).arg(sockets);
    command.args(extra).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().context("starting PostgreSQL")?;
    let started = Instant::now();
    let ready = || capture(Command::new(bin.join("pg_isready")).args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()])).is_ok();
    while !ready() {
        if started.elapsed() > Duration::from_secs(30) {
            return Err(Error::Failed { command: format!("PostgreSQL in {} did not start", dir.display()) });
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(child)
}
