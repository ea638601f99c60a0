//! A node: its store, its way to other ranges, and what it listens on.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use certs::{Identity, NodeCerts};
use hlc::Clock;
use keys::{NodeId, RangeId, StoreId};
use kv::{Db, DbOptions, LocalStore};
use replica::api::{BatchRequest, BatchResponse, KvError};
use rpc::{RpcError, TcpOptions, TcpTransport, Transport, services};
use storage::{DirLock, StorageError, StoreFiles, StoreIdentity};
use store::{NodeInfo, NodeParts, Store, StoreOptions};
use uuid::Uuid;

use crate::{
    certify::{self, Certifier, Own},
    config::NodeConfig,
    drain::Drain,
    enrol::{self, Enrol},
    join::{JoinError, JoinService, Place, ServerRequest, ask_for_place},
};

/// Why a node could not be started: one line for whoever runs it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0}")]
    Config(String),
    #[error("{}: {source}", dir.display())]
    Store { dir: PathBuf, source: StorageError },
    #[error("{}: {reason}", dir.display())]
    Open { dir: PathBuf, reason: String },
    #[error("cannot listen on {address} ({what}): {source}")]
    Listen { what: &'static str, address: String, source: std::io::Error },
    #[error("cannot join: {0}")]
    Join(JoinError),
    #[error("{0}")]
    Catalog(String),
    #[error("{0}")]
    Certs(certs::CertError),
    #[error("directory {} for files of the server: {error}", dir.display())]
    ServerFiles { dir: std::path::PathBuf, error: std::io::Error },
    #[error("audit log: {0}")]
    Audit(audit::AuditError),
    #[error("node {node} has its number, and no certificate that says so: {reason}")]
    Unbound { node: u64, reason: String },
}

/// What lies below SQL in a node: enough for tests of transactions.
#[derive(Clone)]
pub struct KvNode {
    pub db: Db,
    pub store: Store,
    pub transport: Arc<TcpTransport>,
    pub clock: Arc<Clock>,
    pub node_id: NodeId,
    pub cluster_id: Uuid,
    /// None where there are none.
    pub certs: Option<Arc<NodeCerts>>,
    pub(crate) drain: Arc<Drain>,
    _lock: Arc<DirLock>,
}

/// Reads the node's certificates, if it has any.
pub(crate) fn open_certs(config: &NodeConfig) -> Result<Option<Arc<NodeCerts>>, StartError> {
    let Some(dir) = &config.certs_dir else { return Ok(None) };
    let bound = bound_file(dir, &config.store_dir);
    NodeCerts::open_with(dir, bound).map(|certs| Some(Arc::new(certs))).map_err(StartError::Certs)
}

/// Where a node's bound certificate is. Nodes may share a directory of certificates that they were given, also by a link in
/// their stores, and each has a certificate of its own: it is in that directory only where that is in the store.
pub(crate) fn bound_file(certs: &Path, store: &Path) -> PathBuf {
    let is_in_store = match (certs.canonicalize(), store.canonicalize()) {
        (Ok(certs), Ok(store)) => certs.starts_with(store),
        // A store that is not there yet has nothing in it.
        (Err(_), _) | (_, Err(_)) => false,
    };
    let dir = if is_in_store { certs } else { store };
    dir.join("node.pem")
}

/// A store's directory, held by this process, and the way its files are written.
pub(crate) struct LockedStore {
    lock: Arc<DirLock>,
    files: StoreFiles,
}

/// Takes the store's directory for this process, and gets its keys if it is encrypted. Where they cannot be had nothing in
/// it is touched. It is done aside: who gives the key may take long, and a node that is told to stop meanwhile stops.
pub(crate) async fn lock_store(config: &NodeConfig) -> Result<LockedStore, StartError> {
    let (dir, encryption) = (config.store_dir.clone(), config.encryption.clone());
    let locking = tokio::task::spawn_blocking(move || {
        DirLock::acquire(&dir).and_then(|lock| {
            // A store of another program's format gets no keys.
            StoreIdentity::read(&dir)?;
            Ok(LockedStore { lock: Arc::new(lock), files: StoreFiles::open(&dir, &encryption)? })
        })
    });
    let dir = config.store_dir.clone();
    match locking.await {
        Ok(locked) => locked.map_err(|source| StartError::Store { dir, source }),
        Err(error) => Err(StartError::Open { dir, reason: error.to_string() }),
    }
}

/// The store as the transactions' layer sees it.
struct Local(Store);

#[async_trait]
impl LocalStore for Local {
    fn store_id(&self) -> StoreId {
        self.0.store_id()
    }

    fn has_range(&self, range_id: RangeId) -> bool {
        self.0.replica(range_id).is_some()
    }

    fn is_away(&self, store: StoreId) -> bool {
        self.0.raft().liveness().is_away(store)
    }

    async fn send(&self, batch: &BatchRequest) -> Result<BatchResponse, KvError> {
        self.0.send(batch).await
    }
}

impl StartError {
    pub(crate) fn cannot_listen(what: &'static str, address: &str) -> impl FnOnce(std::io::Error) -> Self {
        let address = address.to_owned();
        move |source| Self::Listen { what, address, source }
    }
}

impl KvNode {
    /// Takes the directory, finds or gets the node's place in a cluster, and opens the store.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: &NodeConfig) -> Result<Self, StartError> {
        config.check().map_err(StartError::Config)?;
        let certs = open_certs(config)?;
        let locked = lock_store(config).await?;
        Self::start_with(config, certs, locked, None).await
    }

    /// With certificates that have been read, in a directory that is locked; at a place that the node has got already, if it
    /// has.
    pub(crate) async fn start_with(
        config: &NodeConfig,
        certs: Option<Arc<NodeCerts>>,
        locked: LockedStore,
        given: Option<Place>,
    ) -> Result<Self, StartError> {
        let dir = config.store_dir.clone();
        let in_dir = |source| StartError::Store { dir: dir.clone(), source };
        let found = StoreIdentity::read(&dir).map_err(in_dir)?;
        let clock = Arc::new(Clock::system(config.max_clock_offset));
        store::keep_clock(&clock, &dir).await.map_err(in_dir)?;
        let seed = if config.seed == 0 { rand::random() } else { config.seed };

        let cluster = found.as_ref().map_or([0; 16], |identity| *identity.cluster_id.as_bytes());
        let options = TcpOptions {
            listen: config.rpc_addr.clone(),
            cluster,
            clock: clock.clone(),
            certs: certs.clone(),
            are_unbound_members: config.accept_unbound_certs,
        };
        let cannot = StartError::cannot_listen("other nodes", &config.rpc_addr);
        let transport = TcpTransport::bind(options).await.map_err(cannot)?;
        let rpc: Arc<dyn Transport> = transport.clone();

        let mut members = Vec::new();
        let is_new = found.is_none();
        let identity = match (found, given) {
            (None, Some(place)) => {
                members = place.members.clone();
                enrol::identity(&place)
            }
            (Some(identity), _) => {
                if !config.join.is_empty() {
                    // A member that starts again: whoever it is told to join must be of its cluster. If nobody
                    // answers, it knows the others from before.
                    let asked = ask_for_place(&rpc, &config.join, &ServerRequest::Members, Duration::ZERO).await;
                    match asked {
                        Ok(place) => {
                            identity.check_cluster(place.cluster_id).map_err(in_dir)?;
                            members = place.members;
                        }
                        Err(error @ JoinError::Apart(RpcError::OtherCluster { .. })) => {
                            return Err(StartError::Join(error));
                        }
                        Err(error) => tracing::info!(%error, "starting on what is known"),
                    }
                }
                identity
            }
            (None, None) if config.join.is_empty() => {
                let cluster_id = Uuid::new_v4();
                StoreIdentity::new(cluster_id, NodeId::new(1), StoreId::new(1))
            }
            (None, None) => {
                let patience = Duration::from_secs(60);
                let place = ask_for_place(&rpc, &config.join, &ServerRequest::Join, patience)
                    .await
                    .map_err(StartError::Join)?;
                members = place.members;
                StoreIdentity::new(place.cluster_id, place.node_id, StoreId::new(place.node_id.get()))
            }
        };
        if is_new {
            identity.write(&dir).map_err(in_dir)?;
        }
        let own = certs.clone().map(|certs| Own {
            identity: Identity { cluster: identity.cluster_id, node: identity.node_id.get() },
            certs,
            transport: rpc.clone(),
        });
        // Before it takes part in anything: others do not talk to a node that does not show which it is.
        if let Some(own) = &own
            && !own.is_bound()
        {
            match own.obtain(&config.join).await {
                Ok(()) => {}
                Err(reason) if config.accept_unbound_certs || config.join.is_empty() => {
                    tracing::warn!(reason, "the node's certificate does not say which node it is");
                }
                Err(reason) => return Err(StartError::Unbound { node: identity.node_id.get(), reason }),
            }
        }
        transport.set_cluster(*identity.cluster_id.as_bytes());
        transport.set_local_node(identity.node_id);

        let db = Db::new(DbOptions {
            clock: clock.clone(),
            node_id: identity.node_id,
            transport: rpc.clone(),
            local: None,
            seed,
            config: config.kv.clone(),
        });
        let info = NodeInfo {
            node_id: identity.node_id,
            store_id: identity.store_id,
            rpc_addr: match &config.advertise_rpc_addr {
                Some(address) => address.clone(),
                None => advertised(&config.rpc_addr, transport.local_addr()),
            },
            sql_addr: config.sql_addr.clone(),
            http_addr: config.http_addr.clone(),
            as_of_ns: clock.now().wall_ns(),
            ranges: 0,
            leases: 0,
            bytes: 0,
            under_replicated: 0,
            leaving: false,
            parts: NodeParts { locality: config.locality.clone(), ..NodeParts::default() },
        };
        let store = Store::open(StoreOptions {
            dir: dir.clone(),
            files: locked.files,
            node_id: identity.node_id,
            store_id: identity.store_id,
            clock: clock.clone(),
            transport: rpc.clone(),
            outbound: Arc::new(db.clone()),
            config: config.store.clone(),
            seed,
            bootstrap: identity.node_id == NodeId::new(1) && config.join.is_empty(),
            info,
        })
        .await
        .map_err(|error| match error {
            store::StoreError::Storage(source) => StartError::Store { dir: dir.clone(), source },
            other => StartError::Open { dir: dir.clone(), reason: other.to_string() },
        })?;
        store.learn_nodes(members);
        db.set_local(Arc::new(Local(store.clone())));
        db.set_nodes(store.nodes().all().into_iter().map(|node| node.node_id).collect());
        let certifier = certs.clone().map(|certs| Certifier {
            cluster_id: identity.cluster_id,
            certs,
            db: db.clone(),
            store: store.clone(),
            transport: rpc.clone(),
        });
        if let (Some(own), Some(certifier)) = (own, &certifier) {
            transport.register(services::CERTIFY, Arc::new(certifier.clone()));
            transport.set_enrolment(Arc::new(Enrol::new(certifier.clone())));
            tokio::spawn(certify::keep(own, certifier.clone()));
        }
        let are_unbound_members = config.accept_unbound_certs;
        let drain: Arc<Drain> = Arc::default();
        let join = JoinService {
            cluster_id: identity.cluster_id,
            db: db.clone(),
            store: store.clone(),
            certifier,
            are_unbound_members,
            drain: drain.clone(),
            transport: rpc.clone(),
        };
        transport.register(services::JOIN, Arc::new(join));
        let node = Self {
            db,
            store,
            transport,
            clock,
            node_id: identity.node_id,
            cluster_id: identity.cluster_id,
            certs,
            drain,
            _lock: locked.lock,
        };
        tokio::spawn(follow_nodes(node.db.clone(), node.store.clone()));
        Ok(node)
    }

    /// Hands leases over, stops the store and closes connections.
    pub async fn stop(&self) {
        self.store.drain().await;
        self.store.stop().await;
        self.transport.shutdown();
        self.db.clear_local();
        self.clock.let_go_of_bound();
    }
}

/// The address others should use: the configured name, with the port that was really taken.
fn advertised(configured: &str, bound: std::net::SocketAddr) -> String {
    match configured.rsplit_once(':') {
        Some((host, "0")) => format!("{host}:{}", bound.port()),
        _ => configured.to_owned(),
    }
}

/// Keeps the sender's list of nodes as fresh as the store's.
async fn follow_nodes(db: Db, store: Store) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !store.is_stopping() {
        ticks.tick().await;
        db.set_nodes(store.nodes().all().into_iter().map(|node| node.node_id).collect());
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn nodes_that_share_certificates_have_a_bound_one_each() {
        let dir = tempfile::tempdir().unwrap();
        let [one, two, given] = ["one", "two", "given"].map(|name| dir.path().join(name));
        for made in [&one.join("certs"), &two, &given] {
            fs::create_dir_all(made).unwrap();
        }
        assert_eq!(bound_file(&one.join("certs"), &one), one.join("certs/node.pem"));
        assert_eq!(bound_file(&given, &two), two.join("node.pem"));
        // In the store by name alone.
        symlink(&given, two.join("certs")).unwrap();
        assert_eq!(bound_file(&two.join("certs"), &two), two.join("node.pem"));
        assert_eq!(bound_file(&one.join("../given"), &one), one.join("node.pem"));
        assert_eq!(bound_file(&given, &dir.path().join("new")), dir.path().join("new/node.pem"));
    }
}
