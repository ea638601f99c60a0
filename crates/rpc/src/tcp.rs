//! The transport over TCP.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use hlc::Clock;
use keys::NodeId;
use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::{
    Lane, RpcError, Service, ServiceId, Transport,
    connection::{Connection, LaneMetrics, MAX_MESSAGE_BYTES},
    frame::Kind,
};

const MAGIC: [u8; 8] = *b"quorate\0";
const PROTOCOL: u16 = 1;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(1);
const MAX_GREETING: u16 = 1024;

/// Which cluster a node belongs to; all zero while it is joining one.
pub type ClusterId = [u8; 16];

pub struct TcpOptions {
    pub listen: String,
    pub cluster: ClusterId,
    pub clock: Arc<Clock>,
}

/// The first words on a connection, both ways.
#[derive(Debug, Serialize, Deserialize)]
struct Greeting {
    magic: [u8; 8],
    protocol: u16,
    cluster: ClusterId,
    node: u64,
    /// In an answer: why the connection is refused.
    refusal: Option<String>,
}

#[derive(Default)]
struct Peer {
    connection: Option<Arc<Connection>>,
    failed: Option<(Instant, Duration, String)>,
}

struct Inner {
    clock: Arc<Clock>,
    cluster: RwLock<ClusterId>,
    local: RwLock<Option<NodeId>>,
    addresses: RwLock<FxHashMap<NodeId, String>>,
    services: RwLock<FxHashMap<u16, Arc<dyn Service>>>,
    peers: Mutex<FxHashMap<NodeId, Arc<tokio::sync::Mutex<Peer>>>>,
    /// A way past the peers' mutexes for the common case.
    open: RwLock<FxHashMap<NodeId, Arc<Connection>>>,
    accepted: Mutex<Vec<std::sync::Weak<Connection>>>,
    metrics: Arc<[LaneMetrics; 4]>,
}

pub struct TcpTransport {
    inner: Arc<Inner>,
    local_addr: SocketAddr,
    acceptor: Mutex<Option<JoinHandle<()>>>,
}

impl TcpTransport {
    /// Listens and serves what will be registered.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn bind(options: TcpOptions) -> io::Result<Arc<Self>> {
        let listener = TcpListener::bind(&options.listen).await?;
        let local_addr = listener.local_addr()?;
        let inner = Arc::new(Inner {
            clock: options.clock,
            cluster: RwLock::new(options.cluster),
            local: RwLock::default(),
            addresses: RwLock::default(),
            services: RwLock::default(),
            peers: Mutex::default(),
            open: RwLock::default(),
            accepted: Mutex::default(),
            metrics: Arc::new(std::array::from_fn(|_| LaneMetrics::default())),
        });
        let acceptor = tokio::spawn(accept_loop(inner.clone(), listener));
        Ok(Arc::new(Self { inner, local_addr, acceptor: Mutex::new(Some(acceptor)) }))
    }

    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The cluster joined: from here on nodes of others are refused.
    pub fn set_cluster(&self, cluster: ClusterId) {
        *self.inner.cluster.write() = cluster;
    }

    #[must_use]
    pub fn metrics(&self) -> &[LaneMetrics; 4] {
        &self.inner.metrics
    }

    /// Stops listening and ends every connection.
    pub fn shutdown(&self) {
        if let Some(acceptor) = self.acceptor.lock().take() {
            acceptor.abort();
        }
        for (_, connection) in self.inner.open.write().drain() {
            connection.close();
        }
        // Handlers may hold what holds this transport.
        self.inner.services.write().clear();
        for connection in self.inner.accepted.lock().drain(..).filter_map(|weak| weak.upgrade()) {
            connection.close();
        }
    }
}

impl Drop for TcpTransport {
    fn drop(&mut self) {
        self.shutdown();
    }
}

fn tune(stream: &TcpStream) {
    // Nothing here is worth failing a connection for: a peer that is gone is then found by timeouts alone.
    let socket = socket2::SockRef::from(stream);
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(2))
        .with_interval(Duration::from_secs(1))
        .with_retries(3);
    let outcomes = [
        stream.set_nodelay(true),
        socket.set_tcp_keepalive(&keepalive),
        socket.set_tcp_user_timeout(Some(Duration::from_secs(6))),
    ];
    for error in outcomes.into_iter().filter_map(Result::err) {
        tracing::debug!(%error, "socket option");
    }
}

async fn write_greeting(stream: &mut TcpStream, greeting: &Greeting) -> io::Result<()> {
    let bytes = postcard::to_stdvec(greeting).map_err(io::Error::other)?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    let mut out = length.to_le_bytes().to_vec();
    out.extend_from_slice(&bytes);
    stream.write_all(&out).await
}

async fn read_greeting(stream: &mut TcpStream) -> io::Result<Greeting> {
    let length = stream.read_u16_le().await?;
    if length > MAX_GREETING {
        return Err(io::Error::other("not a node of this protocol"));
    }
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes).await?;
    let greeting: Greeting =
        postcard::from_bytes(&bytes).map_err(|_| io::Error::other("not a node of this protocol"))?;
    if greeting.magic != MAGIC {
        return Err(io::Error::other("not a node of this protocol"));
    }
    Ok(greeting)
}

async fn accept_loop(inner: Arc<Inner>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let inner = inner.clone();
                tokio::spawn(async move {
                    let served = tokio::time::timeout(CONNECT_TIMEOUT, welcome(&inner, stream, peer)).await;
                    match served {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => tracing::debug!(%peer, %error, "refused"),
                        Err(_) => tracing::debug!(%peer, "no greeting in time"),
                    }
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely: others may end meanwhile.
                tracing::warn!(%error, "accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn welcome(inner: &Arc<Inner>, mut stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
    tune(&stream);
    let hello = read_greeting(&mut stream).await?;
    let cluster = *inner.cluster.read();
    let unset = [0; 16];
    let refusal = if hello.protocol != PROTOCOL {
        Some(format!("it speaks protocol {PROTOCOL}, the caller {}", hello.protocol))
    } else if hello.cluster != cluster && hello.cluster != unset && cluster != unset {
        Some("it belongs to another cluster".to_owned())
    } else {
        None
    };
    let refused = refusal.is_some();
    let node = inner.local.read().map_or(0, NodeId::get);
    let answer = Greeting { magic: MAGIC, protocol: PROTOCOL, cluster, node, refusal };
    write_greeting(&mut stream, &answer).await?;
    if refused {
        return Ok(());
    }
    let connection = Arc::new(Connection::new(peer.to_string(), inner.clock.clone(), inner.metrics.clone()));
    {
        let mut accepted = inner.accepted.lock();
        accepted.retain(|weak| weak.strong_count() > 0);
        accepted.push(Arc::downgrade(&connection));
    }
    start(inner, connection, stream, NodeId::new(hello.node));
    Ok(())
}

/// Runs both directions of a connection; requests that come in are served whichever side dialled.
fn start(inner: &Arc<Inner>, connection: Arc<Connection>, stream: TcpStream, from: NodeId) {
    let (reader, writer) = stream.into_split();
    tokio::spawn(connection.clone().write_loop(writer));
    let (inner, this) = (inner.clone(), connection.clone());
    tokio::spawn(connection.read_loop(reader, move |kind, lane, call, service, payload| match kind {
        Kind::Request => serve(&inner, &this, from, lane, call, service, payload),
        Kind::Response => this.complete(call, payload),
        Kind::Error => {
            let error = payload.map(|bytes| decode_error(&bytes)).unwrap_or_else(|error| error);
            this.complete(call, Err(error));
        }
        Kind::Hello | Kind::Welcome => tracing::debug!("a greeting out of place"),
    }));
}

fn serve(
    inner: &Arc<Inner>,
    connection: &Arc<Connection>,
    from: NodeId,
    lane: Lane,
    call: u64,
    service: u16,
    payload: Result<Bytes, RpcError>,
) {
    let handler = inner.services.read().get(&service).cloned();
    let connection = connection.clone();
    tokio::spawn(async move {
        let outcome = match (payload, handler) {
            (Err(error), _) => Err(error),
            (Ok(_), None) => Err(RpcError::UnknownService { service }),
            (Ok(payload), Some(handler)) => handler.call(from, payload).await,
        };
        let sent = match outcome {
            Ok(payload) if payload.len() <= MAX_MESSAGE_BYTES => {
                connection.send(lane, Kind::Response, call, service, payload).await
            }
            Ok(payload) => {
                let error = RpcError::TooLarge { bytes: payload.len(), max: MAX_MESSAGE_BYTES };
                connection.send(lane, Kind::Error, call, service, encode_error(&error)).await
            }
            Err(error) => connection.send(lane, Kind::Error, call, service, encode_error(&error)).await,
        };
        if let Err(error) = sent {
            tracing::debug!(%error, "answer");
        }
    });
}

/// Errors travel as their kind and what the caller needs of it.
fn encode_error(error: &RpcError) -> Bytes {
    let (kind, text): (u8, String) = match error {
        RpcError::UnknownService { service } => (1, service.to_string()),
        RpcError::ClockOffset { offset_ns, max_offset_ns, .. } => (2, format!("{offset_ns} {max_offset_ns}")),
        RpcError::Refused { reason } => (0, reason.clone()),
        other => (0, other.to_string()),
    };
    postcard::to_stdvec(&(kind, text)).expect("a number and a string encode").into()
}

fn decode_error(bytes: &[u8]) -> RpcError {
    let (kind, text): (u8, String) = postcard::from_bytes(bytes).unwrap_or((0, "unreadable error".into()));
    match kind {
        1 => RpcError::UnknownService { service: text.parse().unwrap_or(0) },
        2 => {
            let mut numbers = text.split(' ').map(|number| number.parse().unwrap_or(0));
            RpcError::ClockOffset {
                node: NodeId::new(0),
                offset_ns: numbers.next().unwrap_or(0),
                max_offset_ns: numbers.next().unwrap_or(0),
            }
        }
        _ => RpcError::Refused { reason: text },
    }
}

impl Inner {
    async fn dial(self: &Arc<Self>, address: &str, cluster: ClusterId, to: NodeId) -> Result<Arc<Connection>, RpcError> {
        let unreachable = |reason: String| RpcError::Unreachable { to: address.to_owned(), reason };
        let opened = tokio::time::timeout(CONNECT_TIMEOUT, async {
            let mut stream = TcpStream::connect(address).await?;
            tune(&stream);
            let node = self.local.read().map_or(0, NodeId::get);
            let hello = Greeting { magic: MAGIC, protocol: PROTOCOL, cluster, node, refusal: None };
            write_greeting(&mut stream, &hello).await?;
            let answer = read_greeting(&mut stream).await?;
            io::Result::Ok((stream, answer))
        });
        let (stream, answer) = opened
            .await
            .map_err(|_| unreachable("no answer in time".into()))?
            .map_err(|error| unreachable(error.to_string()))?;
        let incompatible = |reason: String| RpcError::Incompatible { to: address.to_owned(), reason };
        if let Some(refusal) = answer.refusal {
            return Err(incompatible(refusal));
        }
        if to.get() != 0 && answer.node != 0 && answer.node != to.get() {
            return Err(incompatible(format!("another node is there, {}", NodeId::new(answer.node))));
        }
        let connection = Arc::new(Connection::new(address.to_owned(), self.clock.clone(), self.metrics.clone()));
        start(self, connection.clone(), stream, NodeId::new(answer.node));
        Ok(connection)
    }

    async fn connection(self: &Arc<Self>, to: NodeId) -> Result<Arc<Connection>, RpcError> {
        if let Some(connection) = self.open.read().get(&to).filter(|connection| !connection.is_closed()) {
            return Ok(connection.clone());
        }
        let peer = self.peers.lock().entry(to).or_default().clone();
        let mut peer = peer.lock().await;
        if let Some(connection) = peer.connection.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(connection.clone());
        }
        if let Some((at, backoff, reason)) = &peer.failed
            && at.elapsed() < *backoff
        {
            return Err(RpcError::Unreachable { to: to.to_string(), reason: reason.clone() });
        }
        let address = self.addresses.read().get(&to).cloned();
        let Some(address) = address else {
            return Err(RpcError::Unreachable { to: to.to_string(), reason: "its address is not known".into() });
        };
        let cluster = *self.cluster.read();
        match self.dial(&address, cluster, to).await {
            Ok(connection) => {
                peer.failed = None;
                peer.connection = Some(connection.clone());
                self.open.write().insert(to, connection.clone());
                Ok(connection)
            }
            Err(error) => {
                let backoff = peer.failed.as_ref().map_or(FIRST_BACKOFF, |(_, last, _)| (*last * 2).min(MAX_BACKOFF));
                peer.failed = Some((Instant::now(), backoff, error.to_string()));
                Err(error)
            }
        }
    }
}

async fn call_on(
    connection: &Arc<Connection>,
    lane: Lane,
    service: ServiceId,
    payload: Bytes,
    timeout: Duration,
) -> Result<Bytes, RpcError> {
    if payload.len() > MAX_MESSAGE_BYTES {
        return Err(RpcError::TooLarge { bytes: payload.len(), max: MAX_MESSAGE_BYTES });
    }
    let (slot, answer) = connection.register();
    let exchange = async {
        connection.send(lane, Kind::Request, slot.call, service.0, payload).await?;
        answer.await.unwrap_or_else(|_| Err(RpcError::NoAnswer { to: connection.peer.clone(), after: Duration::ZERO }))
    };
    match tokio::time::timeout(timeout, exchange).await {
        Ok(outcome) => outcome,
        Err(_) => Err(RpcError::NoAnswer { to: connection.peer.clone(), after: timeout }),
    }
}

#[async_trait]
impl Transport for TcpTransport {
    async fn call(
        &self,
        to: NodeId,
        lane: Lane,
        service: ServiceId,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, RpcError> {
        if Some(to) == *self.inner.local.read() {
            let handler = self.inner.services.read().get(&service.0).cloned();
            return call_local(handler, to, service, payload, timeout).await;
        }
        let connection = self.inner.connection(to).await?;
        call_on(&connection, lane, service, payload, timeout).await
    }

    async fn call_address(
        &self,
        address: &str,
        service: ServiceId,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, RpcError> {
        let cluster = *self.inner.cluster.read();
        let connection = self.inner.dial(address, cluster, NodeId::new(0)).await?;
        let outcome = call_on(&connection, Lane::Control, service, payload, timeout).await;
        connection.close();
        outcome
    }

    fn register(&self, service: ServiceId, handler: Arc<dyn Service>) {
        self.inner.services.write().insert(service.0, handler);
    }

    fn set_address(&self, node: NodeId, address: String) {
        let before = self.inner.addresses.write().insert(node, address.clone());
        if before.is_some_and(|before| before != address)
            && let Some(connection) = self.inner.open.write().remove(&node)
        {
            connection.close();
        }
    }

    fn address(&self, node: NodeId) -> Option<String> {
        self.inner.addresses.read().get(&node).cloned()
    }

    fn local_node(&self) -> Option<NodeId> {
        *self.inner.local.read()
    }

    fn set_local_node(&self, node: NodeId) {
        *self.inner.local.write() = Some(node);
    }
}

/// A call to a service of this very node.
pub(crate) async fn call_local(
    handler: Option<Arc<dyn Service>>,
    from: NodeId,
    service: ServiceId,
    payload: Bytes,
    timeout: Duration,
) -> Result<Bytes, RpcError> {
    let Some(handler) = handler else { return Err(RpcError::UnknownService { service: service.0 }) };
    match tokio::time::timeout(timeout, handler.call(from, payload)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(RpcError::NoAnswer { to: from.to_string(), after: timeout }),
    }
}
