//! Listening for clients, of whom there may be so many and no more.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::{fs::PermissionsExt, net::UnixStream as BlockingStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI32, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use auth::doors::{DoorMetrics, Doors, Seats};
use certs::NodeCerts;
use parking_lot::Mutex;
use session::Engine;
use tokio::{
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::watch,
    task::JoinHandle,
};

use crate::{
    connection::Connection,
    registry::CancelRegistry,
    stream::{Origin, Reading, Writing},
};

/// How many clients a node serves at a time, unless it is told otherwise.
pub const CONNECTIONS_MAX: usize = 1000;
/// The last places are for superusers: PostgreSQL's `superuser_reserved_connections`.
pub const SUPERUSER_RESERVED: usize = 3;
/// A client that has not shown by then who it is is let go: PostgreSQL's `authentication_timeout`.
pub const AUTHENTICATION_TIMEOUT: Duration = Duration::from_secs(60);

/// Room for connections that have not shown who they are, however few are served: for cancel requests, and to tell
/// clients that there are too many.
const DOOR_ROOM_MIN: usize = 100;

/// How often the log says that clients cannot be accepted.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// How clients are listened to.
#[derive(Clone)]
pub struct Listen {
    pub address: String,
    /// Where the Unix socket is made, if one is: `.s.PGSQL.<port>`, as clients of PostgreSQL look for it.
    pub socket_dir: Option<PathBuf>,
    pub connections_max: usize,
    pub superuser_reserved: usize,
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
    pub seats: Seats,
}

/// The SQL listener of a node.
pub struct PgServer {
    local_addr: SocketAddr,
    acceptors: Vec<JoinHandle<()>>,
    socket: Mutex<Option<SocketFile>>,
    draining: watch::Sender<bool>,
    open: Arc<AtomicUsize>,
    doors: Arc<Doors>,
}

impl PgServer {
    /// # Errors
    /// When the address or the socket cannot be listened on.
    pub async fn bind(listen: Listen, engine: Engine) -> io::Result<Self> {
        let listener = TcpListener::bind(&listen.address).await?;
        let local_addr = listener.local_addr()?;
        let at_socket = match &listen.socket_dir {
            Some(dir) => Some(SocketFile::bind(dir.join(format!(".s.PGSQL.{}", local_addr.port())))?),
            None => None,
        };
        let (draining, drained) = watch::channel(false);
        let open = Arc::new(AtomicUsize::new(0));
        let doors = Doors::new(listen.connections_max.max(DOOR_ROOM_MIN));
        let seats = Seats::new(listen.connections_max, listen.superuser_reserved);
        let shared = Arc::new(Shared { engine, listen, local_addr, registry: Arc::default(), seats });
        let pids = AtomicI32::new(1);
        let clients = Arc::new(Clients { shared, drained, open: open.clone(), doors: doors.clone(), pids });
        let mut acceptors = vec![tokio::spawn(accept(listener, clients.clone()))];
        let socket = at_socket.map(|(listener, file)| {
            acceptors.push(tokio::spawn(accept(listener, clients)));
            file
        });
        Ok(Self { local_addr, acceptors, socket: Mutex::new(socket), draining, open, doors })
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

    /// What is counted of clients that have not shown yet who they are.
    #[must_use]
    pub fn doors(&self) -> DoorMetrics {
        self.doors.metrics()
    }

    /// Takes no more clients and lets those there finish their transactions, as long as `patience` lasts.
    pub async fn drain(&self, patience: Duration) {
        self.acceptors.iter().for_each(JoinHandle::abort);
        drop(self.socket.lock().take());
        self.doors.close();
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

/// What new clients are given.
struct Clients {
    shared: Arc<Shared>,
    drained: watch::Receiver<bool>,
    open: Arc<AtomicUsize>,
    doors: Arc<Doors>,
    pids: AtomicI32,
}

impl Clients {
    fn serve(&self, halves: (Reading, Writing), from: Origin) {
        self.open.fetch_add(1, Ordering::Relaxed);
        let guard = Open(self.open.clone());
        let pid = self.pids.fetch_add(1, Ordering::Relaxed) & i32::MAX;
        let address = from.address().map(|address| address.ip());
        self.doors.enter(address, |door| {
            let connection = Connection::new(halves, from, self.shared.clone(), self.drained.clone(), door);
            let serving = tokio::spawn(async move {
                connection.serve(pid).await;
                drop(guard);
            });
            let task = serving.abort_handle();
            Box::new(move || task.abort())
        });
    }
}

/// What listens for clients.
trait Listener: Send + 'static {
    fn next(&self) -> impl Future<Output = io::Result<((Reading, Writing), Origin)>> + Send;
}

impl Listener for TcpListener {
    async fn next(&self) -> io::Result<((Reading, Writing), Origin)> {
        let (stream, from): (TcpStream, _) = self.accept().await?;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "socket option");
        }
        let (reading, writing) = stream.into_split();
        Ok(((Reading::Plain(reading), Writing::Plain(writing)), Origin::Host(from)))
    }
}

impl Listener for UnixListener {
    async fn next(&self) -> io::Result<((Reading, Writing), Origin)> {
        let (stream, _): (UnixStream, _) = self.accept().await?;
        let uid = nix::unistd::Uid::from_raw(stream.peer_cred()?.uid());
        // A user without a name has no role.
        let user = nix::unistd::User::from_uid(uid).ok().flatten().map(|user| user.name);
        let (reading, writing) = stream.into_split();
        let from = Origin::Socket { user, is_owner: uid == nix::unistd::Uid::effective() };
        Ok(((Reading::Socket(reading), Writing::Socket(writing)), from))
    }
}

async fn accept(listener: impl Listener, clients: Arc<Clients>) {
    let mut warned: Option<Instant> = None;
    loop {
        match listener.next().await {
            Ok((halves, from)) => clients.serve(halves, from),
            Err(error) => {
                // Out of file descriptors, most likely, and not once.
                if warned.is_none_or(|at| at.elapsed() > WARN_EVERY) {
                    tracing::warn!(%error, "accept");
                    warned = Some(Instant::now());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// The file of a Unix socket, removed with this.
struct SocketFile(PathBuf);

impl SocketFile {
    /// # Errors
    /// When it cannot be made, or another process listens there.
    fn bind(path: PathBuf) -> io::Result<(UnixListener, Self)> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        remove_stale(&path).map_err(named)?;
        let listener = UnixListener::bind(&path).map_err(named)?;
        // Who may connect is a matter of rules.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).map_err(named)?;
        Ok((listener, Self(path)))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::debug!(%error, path = %self.0.display(), "the socket's file stays");
        }
    }
}

/// A process that was killed leaves the file of its socket.
fn remove_stale(path: &Path) -> io::Result<()> {
    match BlockingStream::connect(path) {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
