//! What a node needs that nobody has given certificates: at the first start of a cluster it makes a CA, its own
//! certificate, one for the superuser, and the superuser's password, which is shown once.
//!
//! They lie in the store's directory. Whoever can read that has the data as well; `ca.key` can be moved away once the
//! certificates of the other nodes are made.
//!
//! **Invariants**
//! - *whole-or-absent*: the certificates are made in a directory beside the one where they are looked for, and renamed.
//! - *shown-once*: a file among them says that the superuser's password has not been shown yet; until it is, each start
//!   makes another. A node that joins never makes one.

use std::{
    fs::{self, File},
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    path::Path,
};

use certs::{CertError, Lifetime};
use rand::{Rng, distr::Alphanumeric};
use storage::StoreIdentity;

use crate::{config::NodeConfig, node::StartError};

/// Where a store keeps the certificates that its node made.
pub(crate) const CERTS: &str = "certs";
const CERTS_NEW: &str = "certs.new";
/// There as long as the password has not been shown.
const PASSWORD_DUE: &str = "password-due";
const PASSWORD_LETTERS: usize = 24;
/// How long what a node makes for itself is valid, in days.
const LIFETIME: Lifetime = Lifetime(1825);

/// What a node starts with.
pub(crate) struct Prepared {
    pub config: NodeConfig,
    /// Whether its certificates are still to be made.
    pub makes_certs: bool,
    /// Whether they are to be got with the join token.
    pub enrols: bool,
    is_own: bool,
}

impl Prepared {
    /// Decides where the certificates are. Nothing is made yet.
    ///
    /// # Errors
    /// When there are none, and others would not take those that would be made.
    pub fn of(config: &NodeConfig) -> Result<Self, StartError> {
        let mut config = config.clone();
        let is_own = config.own_certs && config.certs_dir.is_none() && !config.insecure;
        if !is_own {
            return Ok(Self { config, makes_certs: false, enrols: false, is_own });
        }
        let dir = config.store_dir.join(CERTS);
        config.certs_dir = Some(dir.clone());
        // Whatever else is wrong with the flags is said before anything is looked at.
        config.check().map_err(StartError::Config)?;
        if dir.exists() {
            return Ok(Self { config, makes_certs: false, enrols: false, is_own });
        }
        let in_store = |source| StartError::Store { dir: config.store_dir.clone(), source };
        let enrols = config.join_token.is_some();
        if !config.join.is_empty() && !enrols {
            let reason = "a node that joins needs a certificate of the cluster's CA: give --join-token (quorate cert \
                          create-join-token makes one on a node of the cluster), --certs-dir (see quorate cert --help), or \
                          --insecure, as the others have";
            return Err(StartError::Config(reason.into()));
        }
        // A directory that cannot be read says so when it is locked.
        if config.store_dir.exists() && StoreIdentity::read(&config.store_dir).map_err(in_store)?.is_some() {
            let reason = format!(
                "{}: this store has been served without certificates: give --certs-dir (see quorate cert --help), or \
                 --insecure, which asks nobody who they are",
                config.store_dir.display()
            );
            return Err(StartError::Config(reason));
        }
        Ok(Self { config, makes_certs: !enrols, enrols, is_own })
    }

    /// Makes the certificates. The store is locked. *whole-or-absent*
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn make_certs(&self) -> Result<(), CertError> {
        let store = &self.config.store_dir;
        let (new, dir) = (store.join(CERTS_NEW), store.join(CERTS));
        let at = |path: &Path, source| CertError::Io { path: path.to_owned(), source };
        match fs::remove_dir_all(&new) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(at(&new, source)),
            _ => {}
        }
        certs::create_ca(&new, LIFETIME)?;
        certs::create_node(&new, &hosts(&self.config), None, LIFETIME)?;
        certs::create_client(&new, "postgres", LIFETIME)?;
        let due = new.join(PASSWORD_DUE);
        File::create(&due).and_then(|file| file.sync_all()).map_err(|source| at(&due, source))?;
        sync_dir(&new)?;
        fs::rename(&new, &dir).map_err(|source| at(&dir, source))?;
        sync_dir(store)
    }

    /// A new password for the superuser, if the one it has was never shown. *shown-once*
    pub fn due_password(&self) -> Option<String> {
        let is_due = self.is_own && self.config.join.is_empty() && self.config.store_dir.join(CERTS).join(PASSWORD_DUE).exists();
        is_due.then(|| rand::rng().sample_iter(Alphanumeric).take(PASSWORD_LETTERS).map(char::from).collect())
    }
}

/// Notes that the password in force has been shown.
pub(crate) fn password_shown(dir: &Path) {
    let due = dir.join(PASSWORD_DUE);
    if let Err(error) = fs::remove_file(&due) {
        tracing::warn!(%error, path = %due.display(), "the next start will make another password");
    }
}

fn sync_dir(dir: &Path) -> Result<(), CertError> {
    let synced = File::open(dir).and_then(|file| file.sync_all());
    synced.map_err(|source| CertError::Io { path: dir.to_owned(), source })
}

/// The names under which a node may be called: on its own machine, and by the addresses that it was given.
pub(crate) fn hosts(config: &NodeConfig) -> Vec<String> {
    let mut hosts: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    let mut add = |host: String| {
        let is_any = host.parse::<IpAddr>().is_ok_and(|address| address.is_unspecified());
        if !host.is_empty() && !is_any && !hosts.contains(&host) {
            hosts.push(host);
        }
    };
    add(fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()).unwrap_or_default());
    for address in [Some(&config.sql_addr), Some(&config.rpc_addr), config.advertise_rpc_addr.as_ref()].into_iter().flatten() {
        if let Some((host, _)) = address.rsplit_once(':') {
            add(host.trim_start_matches('[').trim_end_matches(']').to_owned());
        }
        // Clients are told of what it stands for.
        for found in address.to_socket_addrs().into_iter().flatten() {
            add(found.ip().to_string());
        }
    }
    hosts
}

/// The connection string of the superuser with the certificate in `dir`, without double quotes.
#[must_use]
pub fn superuser_conninfo(sql: SocketAddr, dir: &Path) -> String {
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    // A server that listens everywhere is called on its own machine.
    let host = if sql.ip().is_unspecified() { "localhost".to_owned() } else { sql.ip().to_string() };
    let file = |name: &str| {
        let path = dir.join(name).display().to_string();
        if !path.contains([' ', '\'', '\\']) {
            return path;
        }
        format!("'{}'", path.replace('\\', "\\\\").replace('\'', "\\'"))
    };
    format!(
        "host={host} port={} user=postgres dbname=postgres sslmode=verify-full sslrootcert={} sslcert={} sslkey={}",
        sql.port(),
        file("ca.crt"),
        file("client.postgres.crt"),
        file("client.postgres.key"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_called_by_the_names_it_was_given() {
        let config = NodeConfig {
            sql_addr: "0.0.0.0:5433".into(),
            rpc_addr: "10.0.0.1:7433".into(),
            advertise_rpc_addr: Some("db1.example:7433".into()),
            ..NodeConfig::new("x")
        };
        let hosts = hosts(&config);
        assert!(["localhost", "127.0.0.1", "::1", "10.0.0.1", "db1.example"].iter().all(|host| hosts.contains(&(*host).into())));
        assert!(!hosts.contains(&"0.0.0.0".into()), "that is no name");
    }

    #[test]
    fn whole_or_absent() {
        let dir = tempfile::TempDir::new().unwrap();
        let config = NodeConfig { own_certs: true, ..NodeConfig::new(dir.path().join("s")) };
        let prepared = Prepared::of(&config).unwrap();
        assert!(prepared.makes_certs && prepared.due_password().is_none());
        // What a start that was cut short has left.
        let new = dir.path().join("s/certs.new");
        certs::create_ca(&new, LIFETIME).unwrap();
        fs::remove_file(new.join("ca.crt")).unwrap();
        assert!(Prepared::of(&config).unwrap().makes_certs);
        prepared.make_certs().unwrap();
        assert!(!new.exists());
        let again = Prepared::of(&config).unwrap();
        let first = again.due_password().unwrap();
        assert!(!again.makes_certs && again.due_password().unwrap() != first, "another until one was shown");
        let joins = NodeConfig { join: vec!["a:1".into()], ..config };
        assert!(Prepared::of(&joins).unwrap().due_password().is_none(), "it is not its own cluster");
        password_shown(&dir.path().join("s/certs"));
        assert!(again.due_password().is_none());
    }

    #[test]
    fn paths_with_blanks_are_quoted() {
        let shown = superuser_conninfo("127.0.0.1:5433".parse().unwrap(), Path::new("/a b"));
        assert!(shown.contains("sslrootcert='/a b/ca.crt' ") && shown.starts_with("host=127.0.0.1 port=5433 "), "{shown}");
        let shown = superuser_conninfo("0.0.0.0:5433".parse().unwrap(), Path::new("/a"));
        assert!(shown.starts_with("host=localhost ") && shown.ends_with("sslkey=/a/client.postgres.key"), "{shown}");
    }
}
