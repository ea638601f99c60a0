//! What a node is started with.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use kv::DbConfig;
use storage::EncryptionConfig;
use store::StoreConfig;

use crate::join_token::JoinToken;

#[derive(Clone, Debug)]
pub struct NodeConfig {
    pub store_dir: PathBuf,
    pub sql_addr: String,
    /// Where the Unix socket for clients is made, if one is.
    pub socket_dir: Option<PathBuf>,
    pub rpc_addr: String,
    /// Where the other nodes find this one, when that is another address than the one it listens on.
    pub advertise_rpc_addr: Option<String>,
    pub http_addr: String,
    /// SQL clients served at a time; those beyond are refused with 53300.
    pub connections_max: usize,
    /// The last of them are for superusers.
    pub superuser_reserved: usize,
    /// Bytes that statements and messages of clients may keep together; those beyond are refused with 53200.
    pub sql_memory_bytes: usize,
    /// Nodes to ask for a place in their cluster; empty for a cluster of its own.
    pub join: Vec<String>,
    /// Where the node is: replicas are spread over localities.
    pub locality: keys::Locality,
    /// Gets the node its certificate where it joins; `None` where it has one already.
    pub join_token: Option<JoinToken>,
    /// Whether nodes are believed whose certificates do not say which node they are for.
    pub accept_unbound_certs: bool,
    /// Where `ca.crt`, `node.crt` and `node.key` are: connections of clients and nodes are
    /// encrypted.
    pub certs_dir: Option<PathBuf>,
    /// Where no `certs_dir` is given: makes certificates at the first start, and uses them later.
    pub own_certs: bool,
    /// A client that has not shown by then who it is is let go.
    pub authentication_timeout: Duration,
    /// Ask nobody who they are, and allow listening where others can reach it, without encryption.
    pub insecure: bool,
    pub max_clock_offset: Duration,
    /// With what the store is encrypted, if it is.
    pub encryption: EncryptionConfig,
    pub store: StoreConfig,
    pub kv: DbConfig,
    /// Where the audit log is, if there is one.
    pub audit: Option<AuditConfig>,
    /// The directory whose files statements may read and write, if there is one, and whether they may run programs.
    pub server_files: Option<std::path::PathBuf>,
    pub server_programs: bool,
    /// For whatever is drawn at random; 0 takes one from the system.
    pub seed: u64,
}

/// See the crate `audit`.
#[derive(Clone, Debug)]
pub struct AuditConfig {
    pub dir: PathBuf,
    pub file_bytes_max: u64,
}

impl NodeConfig {
    #[must_use]
    pub fn new(store_dir: impl Into<PathBuf>) -> Self {
        Self {
            store_dir: store_dir.into(),
            sql_addr: "127.0.0.1:5433".into(),
            socket_dir: None,
            rpc_addr: "127.0.0.1:7433".into(),
            advertise_rpc_addr: None,
            http_addr: "127.0.0.1:8433".into(),
            connections_max: pgserver::CONNECTIONS_MAX,
            superuser_reserved: pgserver::SUPERUSER_RESERVED,
            sql_memory_bytes: machine_memory() / 4,
            join: Vec::new(),
            locality: keys::Locality::default(),
            join_token: None,
            accept_unbound_certs: false,
            certs_dir: None,
            own_certs: false,
            authentication_timeout: pgserver::AUTHENTICATION_TIMEOUT,
            insecure: false,
            max_clock_offset: Duration::from_millis(500),
            encryption: EncryptionConfig::default(),
            store: StoreConfig::default(),
            kv: DbConfig::default(),
            audit: None,
            server_files: None,
            server_programs: false,
            seed: 0,
        }
    }

    /// Addresses must be such that the node can listen there and the others find it. Without `insecure` each must be
    /// a loopback address, but those of clients and nodes where there are certificates.
    ///
    /// # Errors
    /// Names the flag that is wrong.
    pub fn check(&self) -> Result<(), String> {
        if self.insecure && self.certs_dir.is_some() {
            return Err("--certs-dir and --insecure contradict each other: with the latter nothing is encrypted".into());
        }
        if self.superuser_reserved >= self.connections_max {
            return Err(format!(
                "--superuser-reserved-connections {} must be less than --max-connections {}",
                self.superuser_reserved, self.connections_max
            ));
        }
        if self.encryption.old_key.is_some() && self.encryption.key.is_none() {
            return Err("--encryption-old-key-file (or -command) is the key that another takes the place of: give that \
                        with --encryption-key-file or --encryption-key-command"
                .into());
        }
        for (flag, address) in
            [("--sql-addr", &self.sql_addr), ("--rpc-addr", &self.rpc_addr), ("--http-addr", &self.http_addr)]
        {
            let parsed = resolve(address).map_err(|reason| format!("{flag} {address}: {reason}"))?;
            let is_found_there = flag == "--rpc-addr" && self.advertise_rpc_addr.is_none();
            if is_found_there && parsed.ip().is_unspecified() {
                return Err(format!(
                    "{flag} {address}: other nodes connect to this very address, so it must be one that leads here"
                ));
            }
            let is_http = flag == "--http-addr";
            if self.insecure || parsed.ip().is_loopback() || (!is_http && self.certs_dir.is_some()) {
                continue;
            }
            return Err(match is_http {
                false => format!(
                    "{flag} {address} can be reached from outside, and connections are not encrypted: give --certs-dir \
                     (see quorate cert --help), use a loopback address, or --insecure, which asks nobody who they are"
                ),
                true => format!(
                    "{flag} {address} can be reached from outside, and connections there are not encrypted: \
                     use a loopback address or --insecure"
                ),
            });
        }
        if let Some(address) = self.advertise_rpc_addr.as_ref().filter(|address| !names_host_and_port(address)) {
            return Err(format!("--advertise-rpc-addr {address}: not of the form HOST:PORT"));
        }
        if self.join_token.is_some() && (self.join.is_empty() || self.insecure) {
            return Err("--join-token gets a certificate from the nodes that --join names: it goes with that, and not \
                        with --insecure"
                .into());
        }
        // Names are looked up when they are called: one that is not known yet may be later.
        match self.join.iter().find(|member| !names_host_and_port(member)) {
            Some(member) => Err(format!("--join {member}: not of the form HOST:PORT")),
            None => Ok(()),
        }
    }
}

/// The memory that this process may have: the machine's, or its control group's where that has less.
fn machine_memory() -> usize {
    /// Where neither can be read.
    const FALLBACK: usize = 4 << 30;
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let machine = read("/proc/meminfo").and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.split_whitespace().next()?.parse::<usize>().ok().map(|kib| kib << 10)
    });
    let group = read("/sys/fs/cgroup/memory.max").and_then(|text| text.trim().parse::<usize>().ok());
    machine.into_iter().chain(group).min().unwrap_or(FALLBACK)
}

fn names_host_and_port(address: &str) -> bool {
    let port = |port: &str| port.parse::<u16>().is_ok_and(|port| port != 0);
    address.rsplit_once(':').is_some_and(|(host, last)| !host.is_empty() && port(last))
}

fn resolve(address: &str) -> Result<SocketAddr, String> {
    use std::net::ToSocketAddrs;
    address
        .to_socket_addrs()
        .map_err(|error| error.to_string())?
        .next()
        .ok_or_else(|| "no such address".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outside_needs_insecure() {
        let mut config = NodeConfig::new("x");
        assert_eq!(config.check(), Ok(()));
        assert!(config.sql_memory_bytes > 0);
        let few = NodeConfig { connections_max: 3, ..config.clone() };
        assert!(few.check().unwrap_err().contains("--superuser-reserved-connections"));
        config.sql_addr = "0.0.0.0:5433".into();
        assert!(config.check().unwrap_err().contains("--sql-addr"));
        config.insecure = true;
        assert_eq!(config.check(), Ok(()));
        config.http_addr = "nonsense".into();
        assert!(config.check().unwrap_err().contains("--http-addr"));
        config.http_addr = "127.0.0.1:0".into();
        config.certs_dir = Some("certs".into());
        assert!(config.check().unwrap_err().contains("--certs-dir"), "one or the other");
        config.insecure = false;
        config.rpc_addr = "10.0.0.1:7433".into();
        assert_eq!(config.check(), Ok(()), "clients and nodes are served encrypted");
        config.http_addr = "0.0.0.0:0".into();
        assert!(config.check().unwrap_err().contains("--http-addr"));
    }

    #[test]
    fn nodes_are_named_so_that_others_find_them() {
        let check = |change: fn(&mut NodeConfig)| {
            let mut config = NodeConfig { insecure: true, ..NodeConfig::new("x") };
            change(&mut config);
            config.check()
        };
        assert!(check(|config| config.rpc_addr = "0.0.0.0:7433".into()).unwrap_err().contains("--rpc-addr"));
        let behind = |address: &str| {
            let rpc_addr = "0.0.0.0:7433".into();
            NodeConfig { insecure: true, rpc_addr, advertise_rpc_addr: Some(address.into()), ..NodeConfig::new("x") }
        };
        assert_eq!(behind("a:7433").check(), Ok(()));
        assert!(behind("a").check().unwrap_err().contains("--advertise-rpc-addr"));
        assert_eq!(check(|config| config.join = vec!["a:1".into(), "[::1]:2".into()]), Ok(()));
        for wrong in ["a", "a:", ":7433", "a:0", "a:70000", ""] {
            let mut config = NodeConfig::new("x");
            config.join = vec!["a:1".into(), wrong.into()];
            assert!(config.check().unwrap_err().contains("--join"), "{wrong}");
        }
    }
}
