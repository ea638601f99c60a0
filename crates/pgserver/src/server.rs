//! Listening for clients, of whom there may be so many and no more.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicI32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use certs::NodeCerts;
use session::Engine;
use tokio::{
    net::TcpListener,
    sync::watch,
    task::JoinHandle,
};

use crate::{connection::Connection, registry::CancelRegistry};

/// How many clients a node serves at a time, unless it is told otherwise.
pub const CONNECTIONS_MAX: usize = 1000;
/// Clients beyond the limit that are listened to, to be refused or to cancel something; others are cut off.
const REFUSED_MAX: usize = 100;

/// The last places are for superusers: PostgreSQL's `superuser_reserved_connections`.
pub(crate) const SUPERUSER_RESERVED: usize = 3;
/// A client that has not shown by then who it is is let go: PostgreSQL's `authentication_timeout`.
pub const AUTHENTICATION_TIMEOUT: Duration = Duration::from_secs(60);

/// How clients are listened to.
#[derive(Clone)]
pub struct Listen {
    pub address: String,
    pub connections_max: usize,
    /// From the first byte to the end of authentication, encryption included.
    pub authentication_timeout: Duration,
    /// For connections that are encrypted; without them none is.
    pub certs: Option<Arc<NodeCerts>>,
}

/// What the connections of a node share.
pub(crate) struct Shared {
    pub engine: Engine,
    pub listen: Listen,
    pub local_addr: SocketAddr,
    pub registry: Arc<CancelRegistry>,
}

/// The SQL listener of a node.
pub struct PgServer {
    local_addr: SocketAddr,
    acceptor: JoinHandle<()>,
    draining: watch::Sender<bool>,
    open: Arc<AtomicUsize>,
}

impl PgServer {
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn bind(listen: Listen, engine: Engine) -> io::Result<Self> {
        let listener = TcpListener::bind(&listen.address).await?;
        let local_addr = listener.local_addr()?;
        let (draining, drained) = watch::channel(false);
        let open = Arc::new(AtomicUsize::new(0));
        let shared = Arc::new(Shared { engine, listen, local_addr, registry: Arc::default() });
        let acceptor = tokio::spawn(accept(listener, shared, drained, open.clone()));
        Ok(Self { local_addr, acceptor, draining, open })
    }

    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Connections that are open now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Takes no more clients and lets those there finish their transactions, as long as `patience` lasts.
    pub async fn drain(&self, patience: Duration) {
        self.acceptor.abort();
        let told = self.draining.send(true);
        if told.is_err() {
            return;
        }
        let deadline = tokio::time::Instant::now() + patience;
        while self.connections() > 0 && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Counts a connection for as long as it is there.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    draining: watch::Receiver<bool>,
    open: Arc<AtomicUsize>,
) {
    let pids = AtomicI32::new(1);
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                let before = open.fetch_add(1, Ordering::Relaxed);
                let guard = Open(open.clone());
                if before >= shared.listen.connections_max + REFUSED_MAX {
                    continue;
                }
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "socket option");
                }
                let pid = pids.fetch_add(1, Ordering::Relaxed) & i32::MAX;
                let connection = Connection::new(stream, from, shared.clone(), draining.clone());
                tokio::spawn(async move {
                    connection.serve(pid, before).await;
                    drop(guard);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
