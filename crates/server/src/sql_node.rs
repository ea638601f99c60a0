//! A whole node: what is below SQL, the catalog, the SQL listener and the HTTP pages.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use audit::AuditLog;
use catalog::{CatalogSnapshot, CatalogStore};
use certs::{CertError, NodeCerts};
use pgserver::{Listen, PgServer};
use session::{Access, Engine, ServerFiles};
use store::WeakStore;
use tokio::{net::TcpListener, sync::watch};

use crate::{
    certify::warn_of_expiry,
    config::{AuditConfig, NodeConfig},
    console::Console,
    drain::Clients,
    enrol,
    first_start::{Prepared, password_shown},
    http,
    metrics::Layers,
    node::{KvNode, StartError, lock_store, open_certs},
};

/// How long clients may take to finish when the node stops.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);

const SQL_CLIENTS: &str = "SQL clients";

async fn listen(what: &'static str, address: &str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(StartError::cannot_listen(what, address))
}

fn open_audit(config: &NodeConfig, node: keys::NodeId) -> Result<Option<Arc<AuditLog>>, StartError> {
    let Some(AuditConfig { dir, file_bytes_max }) = config.audit.clone() else { return Ok(None) };
    let settings = audit::Settings { dir, node: node.get().into(), file_bytes_max };
    AuditLog::open(settings).map(|log| Some(Arc::new(log))).map_err(StartError::Audit)
}

pub struct Node {
    kv: KvNode,
    sql: Arc<PgServer>,
    replays: Arc<session::ReplayMetrics>,
    jobs: Arc<backup::Registry>,
    memory: Arc<session::NodeMemory>,
    certs: Option<Arc<NodeCerts>>,
    certs_dir: Option<PathBuf>,
    first_password: Option<String>,
    http_addr: SocketAddr,
    ready: watch::Sender<bool>,
    stop: watch::Sender<bool>,
}

/// How often it is looked whether the catalog that the node has is another.
const ZONES_EVERY: Duration = Duration::from_secs(3);
/// One look in so many reads the catalog, for changes that nothing else here has read.
const ZONES_READ_ONE_IN: u64 = 4;

/// Tells the store which zone configurations hold, as they change.
async fn follow_zones(catalog: CatalogStore, store: WeakStore) {
    let mut last: Option<Arc<CatalogSnapshot>> = None;
    let mut ticks = tokio::time::interval(ZONES_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for look in 0_u64.. {
        ticks.tick().await;
        let is_read = last.is_none() || look % ZONES_READ_ONE_IN == 0;
        let read = if is_read { catalog.refresh().await } else { Ok(catalog.current()) };
        let current = match read {
            Ok(current) => current,
            Err(error) => {
                tracing::debug!(%error, "zone configurations cannot be read now");
                continue;
            }
        };
        let Some(store) = store.upgrade().filter(|store| !store.is_stopping()) else { return };
        if last.as_ref().is_none_or(|last| !Arc::ptr_eq(last, &current)) {
            let (default, spans) = current.zone_spans();
            store.set_zones(&default, spans);
            last = Some(current);
        }
    }
}

impl Node {
    /// Starts everything; SQL is served when this returns.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: &NodeConfig) -> Result<Self, StartError> {
        let given = config;
        let prepared = Prepared::of(given)?;
        let mut config = prepared.config.clone();
        // What backups read on is known when the catalog is.
        config.store.gc_awaits_protections = true;
        // So are zone configurations.
        config.store.awaits_zones = true;
        let config = &config;
        config.check().map_err(StartError::Config)?;
        // Ports first: a node that cannot be reached should not take part in anything.
        let http = listen("HTTP", &config.http_addr).await?;
        let http_addr = http.local_addr().map_err(StartError::cannot_listen("HTTP", &config.http_addr))?;
        // Taken for a moment to see that they can be had, before anything is written to disk.
        drop(listen(SQL_CLIENTS, &config.sql_addr).await?);
        drop(listen("other nodes", &config.rpc_addr).await?);
        let mut place = None;
        let (certs, lock) = if prepared.enrols {
            let lock = lock_store(config).await?;
            if let (Some(token), Some(dir)) = (&config.join_token, &config.certs_dir) {
                place = Some(enrol::ask(config, token, dir).await?);
            }
            (open_certs(config)?, lock)
        } else if prepared.makes_certs {
            let lock = lock_store(config).await?;
            // Another process may have started a cluster here since.
            if Prepared::of(given)?.makes_certs {
                prepared.make_certs().map_err(StartError::Certs)?;
            }
            (open_certs(config)?, lock)
        } else {
            (open_certs(config)?, lock_store(config).await?)
        };
        let kv = KvNode::start_with(config, certs.clone(), lock, place).await?;
        if let Some(certs) = &certs {
            warn_of_expiry(certs, "make another, and send SIGHUP");
        }
        let (ready, is_ready) = watch::channel(false);
        let (stop, stopped) = watch::channel(false);
        let catalog =
            CatalogStore::open(kv.db.clone()).await.map_err(|error| StartError::Catalog(error.to_string()))?;
        let mut engine = Engine::new(catalog, kv.clock.clone(), config.seed);
        engine.memory = session::NodeMemory::new(config.sql_memory_bytes);
        engine.limits = session::ConnectionLimits { max: config.connections_max, superuser_reserved: config.superuser_reserved };
        engine.access = match (config.insecure, &certs) {
            (true, _) => Access::Open,
            (false, Some(_)) => Access::Encrypted,
            (false, None) => Access::Plain,
        };
        let store = kv.store.clone();
        engine.jobs = backup::Registry::new(backup::RegistryOptions {
            cluster: kv.cluster_id,
            protect: Some(Arc::new(move |as_of, oldest| store.protect(store::Protections { as_of, oldest }))),
            ..backup::RegistryOptions::new(engine.catalog.clone(), kv.clock.clone())
        });
        let jobs = engine.jobs.clone();
        tokio::spawn(jobs.clone().run());
        tokio::spawn(follow_zones(engine.catalog.clone(), kv.store.downgrade()));
        engine.audit = open_audit(config, kv.node_id)?;
        engine.server_files = match &config.server_files {
            Some(dir) => match ServerFiles::new(dir, config.server_programs) {
                Ok(files) => Some(Arc::new(files)),
                Err(error) => return Err(StartError::ServerFiles { dir: dir.clone(), error }),
            },
            None => None,
        };
        let console = Console::new(&kv, &engine);
        engine.cluster = Some(console.clone());
        tokio::spawn(console.clone().keep_series(stopped.clone()));
        let first_password = prepared.due_password();
        if let Some(password) = &first_password {
            session::set_first_password(engine.clone(), password)
                .await
                .map_err(|error| StartError::Catalog(format!("setting the superuser's password: {error}")))?;
        }
        let (statistics, mut ended) = (engine.clone(), stopped.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = session::keep_statistics(statistics) => {}
                _ = ended.changed() => {}
            }
        });
        tokio::spawn(session::drop_leftovers(engine.clone()));
        let (plans, replays, memory) = (engine.plans.clone(), engine.replays.clone(), engine.memory.clone());
        let audit = engine.audit.clone();
        let at = Listen {
            address: config.sql_addr.clone(),
            socket_dir: config.socket_dir.clone(),
            connections_max: config.connections_max,
            superuser_reserved: config.superuser_reserved,
            authentication_timeout: config.authentication_timeout,
            certs: certs.clone(),
        };
        let cannot = StartError::cannot_listen(SQL_CLIENTS, &config.sql_addr);
        let sql = PgServer::bind(at, engine).await.map_err(cannot)?;
        let sql = Arc::new(sql);
        kv.drain.serve(Clients { sql: Arc::downgrade(&sql), jobs: Arc::downgrade(&jobs), ready: ready.clone() });
        let counted = sql.clone();
        let clients = Arc::new(move || (counted.connections(), counted.doors()));
        let layers = Layers { node: kv.clone(), plans, replays: replays.clone(), audit, clients, memory: memory.clone() };
        tokio::spawn(http::serve(http, layers, console, is_ready, stopped));
        let told = ready.send(true);
        debug_assert!(told.is_ok(), "the pages listen");
        let certs_dir = config.certs_dir.clone();
        Ok(Self { kv, sql, replays, jobs, memory, certs, certs_dir, first_password, http_addr, ready, stop })
    }

    /// Where its certificates are, if it has any.
    #[must_use]
    pub fn certs_dir(&self) -> Option<&Path> {
        self.certs_dir.as_deref()
    }

    /// The password that the superuser was given; nobody can read it later. Whoever shows it says so:
    /// [`Node::password_shown`].
    #[must_use]
    pub fn first_password(&self) -> Option<&str> {
        self.first_password.as_deref()
    }

    /// The next start makes no other password.
    pub fn password_shown(&self) {
        if let (Some(_), Some(dir)) = (&self.first_password, &self.certs_dir) {
            password_shown(dir);
        }
    }

    #[must_use]
    pub fn sql_addr(&self) -> SocketAddr {
        self.sql.local_addr()
    }

    /// How often transactions of this node's sessions had to start over.
    #[must_use]
    pub fn replays(&self) -> &session::ReplayMetrics {
        &self.replays
    }

    /// SQL clients that are connected now.
    #[must_use]
    pub fn sql_connections(&self) -> usize {
        self.sql.connections()
    }

    /// Of those, the ones that have not shown yet who they are, and those that had to give way.
    #[must_use]
    pub fn doors(&self) -> pgserver::DoorMetrics {
        self.sql.doors()
    }

    /// What statements, messages and the writes of open transactions keep.
    #[must_use]
    pub fn sql_memory(&self) -> &session::NodeMemory {
        &self.memory
    }

    #[must_use]
    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    #[must_use]
    pub fn rpc_addr(&self) -> SocketAddr {
        self.kv.transport.local_addr()
    }

    #[must_use]
    pub fn kv(&self) -> &KvNode {
        &self.kv
    }

    /// Reads the certificates again: connections that are opened from now on are served with them.
    ///
    /// # Errors
    /// What is wrong with the new ones; those at hand stay.
    pub fn reload_certs(&self) -> Result<(), CertError> {
        self.certs.as_ref().map_or(Ok(()), |certs| certs.reload())?;
        if let Some(certs) = &self.certs {
            warn_of_expiry(certs, "make another, and send SIGHUP");
        }
        Ok(())
    }

    /// Takes no new clients, lets those there finish, hands leases over, and stops.
    pub async fn stop(&self) {
        self.ready.send_replace(false);
        self.sql.drain(DRAIN_PATIENCE).await;
        self.jobs.stop();
        self.kv.stop().await;
        self.stop.send_replace(true);
    }
}
