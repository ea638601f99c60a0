//! The transport over TCP.
//!
//! **Invariant (strangers-only-join):** on a connection whose two ends did not name the same cluster when it was opened,
//! whichever side dialled, nothing is served but [`services::JOIN`]; the pulse, which tells nothing, apart.
//!
//! To each peer lead two connections. The *main* one carries everything but heartbeats. The *pulse* carries those alone,
//! store liveness among them, and is read, served and written on a thread of its own at both ends: neither bulk data
//! nor a runtime whose threads are all held up delays it. A peer whose pulse is silent for [`SILENCE`] is taken for
//! gone: its main connection is closed, and whoever waits for an answer over it is told at once. The kernel would keep
//! the connection of a stopped process alive for as long as the process is stopped.

mod accept;

use std::{
    io,
    net::SocketAddr,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use auth::doors::Doors;
use bytes::Bytes;
use certs::NodeCerts;
use futures::{FutureExt, future::BoxFuture};
use hlc::Clock;
use keys::NodeId;
use parking_lot::{Mutex, RwLock};
use rustc_hash::{FxHashMap, FxHashSet};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    runtime::Handle,
    sync::Semaphore,
    task::JoinHandle,
};

use crate::{
    Lane, RpcError, Service, ServiceId, Transport,
    connection::{Connection, Counters, LaneMetrics, MAX_MESSAGE_BYTES},
    error::{as_told, decode_error, encode_error, no_answer},
    frame::Kind,
    enrol::{ENROLLING_MAX, Enrolment},
    greeting::{
        ClusterId, Greeting, Line, MAGIC, PROTOCOL, Standing, are_apart, is_of_another_cluster, judge,
        read_greeting, write_greeting,
    },
    pulse::{MISSED_FOR, PULSE_EVERY, Pulse, PulseThread, SILENCE},
    services,
    stream::{Shown, Stream, connect},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The same for a peer that could not be reached the last time.
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(1);
/// Connections that have not shown yet who they are, half of them of one address.
const DOOR_ROOM: usize = 256;
/// What the kernel may hold unsent. *lane-order* ends where bytes reach the socket, whose buffer may grow to megabytes.
const KERNEL_UNSENT_BYTES: u32 = 128 << 10;

pub struct TcpOptions {
    pub listen: String,
    pub cluster: ClusterId,
    pub clock: Arc<Clock>,
    /// With them, connections are encrypted, and open to nodes of the same CA alone.
    pub certs: Option<Arc<NodeCerts>>,
    /// Whether a peer whose certificate does not say which node it is for is believed, and not only told how to join.
    pub are_unbound_members: bool,
}

/// A peer's place on one line. Whoever dials holds the lock.
#[derive(Default)]
struct Place {
    peer: tokio::sync::Mutex<Peer>,
    /// The address that could not be reached the last time, and why; none once it was.
    failing: Mutex<Option<(String, RpcError)>>,
}

#[derive(Default)]
struct Peer {
    connection: Option<Arc<Connection>>,
    failed: Option<Failure>,
}

/// Why the last attempt to dial failed; until the back-off is over every call to that address fails alike.
struct Failure {
    address: String,
    at: Instant,
    backoff: Duration,
    error: RpcError,
}

struct Inner {
    main: Handle,
    pulse: Handle,
    clock: Arc<Clock>,
    cluster: RwLock<ClusterId>,
    local: RwLock<Option<NodeId>>,
    addresses: RwLock<FxHashMap<NodeId, String>>,
    services: RwLock<FxHashMap<u16, Arc<dyn Service>>>,
    peers: Mutex<FxHashMap<(NodeId, Line), Arc<Place>>>,
    /// A way past the peers' mutexes for the common case, by line.
    open: [RwLock<FxHashMap<NodeId, Arc<Connection>>>; 2],
    /// Peers whose pulse is being felt: those with a main connection, and those that had one not long ago.
    felt: Mutex<FxHashSet<NodeId>>,
    accepted: Mutex<Vec<std::sync::Weak<Connection>>>,
    counters: Arc<Counters>,
    strangers: AtomicU64,
    down: AtomicBool,
    certs: Option<Arc<NodeCerts>>,
    are_unbound_members: bool,
    enrolment: RwLock<Option<Arc<dyn Enrolment>>>,
    enrolling: Arc<Semaphore>,
    doors: Arc<Doors>,
}

pub struct TcpTransport {
    inner: Arc<Inner>,
    local_addr: SocketAddr,
    acceptor: Mutex<Option<JoinHandle<()>>>,
    /// Ends the thread of the pulses when it is dropped.
    pulse: Mutex<Option<PulseThread>>,
}

impl TcpTransport {
    /// Listens and serves what will be registered.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn bind(options: TcpOptions) -> io::Result<Arc<Self>> {
        let pulse = PulseThread::start()?;
        let listener = TcpListener::bind(&options.listen).await?.into_std()?;
        let local_addr = listener.local_addr()?;
        let inner = Arc::new(Inner {
            main: Handle::current(),
            pulse: pulse.handle.clone(),
            clock: options.clock,
            cluster: RwLock::new(options.cluster),
            local: RwLock::default(),
            addresses: RwLock::default(),
            services: RwLock::default(),
            peers: Mutex::default(),
            open: Default::default(),
            felt: Mutex::default(),
            accepted: Mutex::default(),
            counters: Arc::default(),
            strangers: AtomicU64::new(0),
            down: AtomicBool::new(false),
            certs: options.certs,
            are_unbound_members: options.are_unbound_members,
            enrolment: RwLock::default(),
            enrolling: Arc::new(Semaphore::new(ENROLLING_MAX)),
            doors: Doors::new(DOOR_ROOM),
        });
        inner.services.write().insert(services::PULSE.0, Arc::new(Pulse));
        let listener = {
            let _where_it_is_polled = pulse.handle.enter();
            TcpListener::from_std(listener)?
        };
        let acceptor = pulse.handle.spawn(accept::accept_loop(inner.clone(), listener));
        let (acceptor, pulse) = (Mutex::new(Some(acceptor)), Mutex::new(Some(pulse)));
        Ok(Arc::new(Self { inner, local_addr, acceptor, pulse }))
    }

    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The cluster joined: from here on nodes of others are refused.
    pub fn set_cluster(&self, cluster: ClusterId) {
        let before = std::mem::replace(&mut *self.inner.cluster.write(), cluster);
        if before != cluster {
            // What was opened before is judged by what this node was then: *strangers-only-join*.
            for connection in self.inner.accepted.lock().drain(..).filter_map(|weak| weak.upgrade()) {
                connection.close();
            }
            for open in &self.inner.open {
                for (_, connection) in open.write().drain() {
                    connection.close();
                }
            }
        }
    }

    /// Who answers nodes that have no certificate yet; without, there are none.
    pub fn set_enrolment(&self, enrolment: Arc<dyn Enrolment>) {
        *self.inner.enrolment.write() = Some(enrolment);
    }

    /// What was sent, by lane.
    #[must_use]
    pub fn metrics(&self) -> &[LaneMetrics; 4] {
        &self.inner.counters.lanes
    }

    /// Messages not listened to because their sender's clock was too far ahead.
    #[must_use]
    pub fn clock_refusals(&self) -> u64 {
        self.inner.counters.clock_refusals.load(Ordering::Relaxed)
    }

    /// Calls that were not served because their sender is of no cluster.
    #[must_use]
    pub fn stranger_refusals(&self) -> u64 {
        self.inner.strangers.load(Ordering::Relaxed)
    }

    /// Stops listening and ends every connection; none is opened after.
    pub fn shutdown(&self) {
        self.inner.down.store(true, Ordering::SeqCst);
        if let Some(acceptor) = self.acceptor.lock().take() {
            acceptor.abort();
        }
        for open in &self.inner.open {
            for (_, connection) in open.write().drain() {
                connection.close();
            }
        }
        // Handlers may hold what holds this transport.
        self.inner.services.write().clear();
        self.inner.enrolment.write().take();
        for connection in self.inner.accepted.lock().drain(..).filter_map(|weak| weak.upgrade()) {
            connection.close();
        }
        self.pulse.lock().take();
    }
}

#[cfg(test)]
impl TcpTransport {
    pub(crate) fn calls_under_way(&self, to: NodeId) -> usize {
        self.inner.open[Line::Main as usize]
            .read()
            .get(&to)
            .map_or(0, |connection| connection.calls_under_way())
    }

    pub(crate) fn tasks_and_self(&self) -> usize {
        Arc::strong_count(&self.inner)
    }

    pub(crate) fn accepted_open(&self) -> usize {
        let accepted = self.inner.accepted.lock();
        accepted
            .iter()
            .filter_map(std::sync::Weak::upgrade)
            .filter(|connection| !connection.is_closed())
            .count()
    }
}

impl Drop for TcpTransport {
    fn drop(&mut self) {
        self.shutdown();
    }
}

pub(crate) fn tune(stream: &TcpStream) {
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
        socket.set_tcp_notsent_lowat(KERNEL_UNSENT_BYTES),
    ];
    for error in outcomes.into_iter().filter_map(Result::err) {
        tracing::debug!(%error, "socket option");
    }
}

/// Runs both directions of a connection; requests that come in are served whichever side dialled, where this is called:
/// on the thread of the pulses for one of those.
fn start(inner: &Arc<Inner>, connection: Arc<Connection>, stream: Stream, line: Line, peer: Standing) {
    match stream {
        Stream::Plain(stream) => {
            let (reader, writer) = stream.into_split();
            start_on(inner, connection, reader, writer, line, peer);
        }
        Stream::Tls(stream) => {
            let (reader, writer) = tokio::io::split(stream);
            start_on(inner, connection, reader, writer, line, peer);
        }
    }
}

fn start_on(
    inner: &Arc<Inner>,
    connection: Arc<Connection>,
    reader: impl AsyncRead + Unpin + Send + 'static,
    writer: impl AsyncWrite + Unpin + Send + 'static,
    line: Line,
    peer: Standing,
) {
    let writing = tokio::spawn(connection.clone().write_loop(writer));
    let (serving, this) = (inner.clone(), connection.clone());
    let reading =
        tokio::spawn(connection.clone().read_loop(reader, move |kind, lane, call, service, payload| {
            match (kind, payload) {
                (Kind::Request, payload) => {
                    let open = service == services::JOIN.0 || service == services::PULSE.0;
                    let payload = if peer == Standing::Stranger && !open {
                        Err(stranger(&serving, &this, service))
                    } else {
                        payload
                    };
                    serve(&serving, &this, line, lane, call, service, payload);
                }
                // *ambiguity-told*: that there is an answer shows that the call was executed, whatever clock it came with.
                (_, Err(_)) => this.complete(call, Err(no_answer(&this.peer))),
                (Kind::Response, Ok(payload)) => this.complete(call, Ok(payload)),
                (Kind::Error, Ok(bytes)) => this.complete(call, Err(decode_error(&bytes, &this.peer))),
            }
        }));
    connection.keep_tasks([writing.abort_handle(), reading.abort_handle()]);
    // A shutdown that came meanwhile did not see this one.
    if inner.down.load(Ordering::SeqCst) {
        connection.close();
    }
}

/// *strangers-only-join*
fn stranger(inner: &Inner, connection: &Connection, service: u16) -> RpcError {
    inner.strangers.fetch_add(1, Ordering::Relaxed);
    tracing::error!(peer = %connection.peer, service, "a peer that is of no cluster may only join one");
    RpcError::Refused { reason: "a node that is of no cluster may only join one".into() }
}

fn serve(
    inner: &Arc<Inner>,
    connection: &Arc<Connection>,
    line: Line,
    lane: Lane,
    call: u64,
    service: u16,
    payload: Result<Bytes, RpcError>,
) {
    // Nothing else may take the time of the thread that serves pulses.
    let belongs = line == Line::Main || Line::of(ServiceId(service)) == Line::Pulse;
    let handler = inner.services.read().get(&service).filter(|_| belongs).cloned();
    let connection = connection.clone();
    let execution = async move {
        let outcome = match (payload, handler) {
            (Err(error), _) => Err(error),
            (Ok(_), None) => Err(RpcError::UnknownService { service }),
            (Ok(payload), Some(handler)) => handle(&*handler, connection.node, payload).await,
        };
        let sent = match outcome {
            Ok(payload) => connection.send(lane, Kind::Response, call, service, payload).await,
            Err(error) => connection.send(lane, Kind::Error, call, service, encode_error(&error)).await,
        };
        if let Err(error) = sent {
            tracing::debug!(%error, "answer");
        }
    };
    if lane != Lane::Raft {
        tokio::spawn(execution);
        return;
    }
    // *lane-order* goes as far as the handler: what it does before it first waits is done in the order of arrival.
    let mut execution = Box::pin(execution);
    let mut unawaited = std::task::Context::from_waker(std::task::Waker::noop());
    if execution.as_mut().poll(&mut unawaited).is_pending() {
        tokio::spawn(execution);
    }
}

/// One execution of a handler. What panics or cannot be sent back was executed nevertheless: *ambiguity-told*.
pub(crate) async fn handle(handler: &dyn Service, from: NodeId, payload: Bytes) -> Result<Bytes, RpcError> {
    match AssertUnwindSafe(handler.call(from, payload)).catch_unwind().await {
        Ok(Ok(answer)) if answer.len() > MAX_MESSAGE_BYTES => {
            tracing::error!(%from, bytes = answer.len(), max = MAX_MESSAGE_BYTES, "an answer was too large to be sent");
            Err(no_answer("a handler"))
        }
        Ok(outcome) => outcome,
        Err(_) => {
            tracing::error!(%from, "a handler panicked");
            Err(no_answer("a handler"))
        }
    }
}

impl Inner {
    async fn dial(
        self: &Arc<Self>,
        address: &str,
        cluster: ClusterId,
        to: NodeId,
        line: Line,
        timeout: Duration,
    ) -> Result<Arc<Connection>, RpcError> {
        let unreachable = |reason: String| RpcError::Unreachable { to: address.to_owned(), reason };
        let opened = tokio::time::timeout(timeout, async {
            let stream = TcpStream::connect(address).await?;
            tune(&stream);
            let (mut stream, shown) = match &self.certs {
                None => (Stream::Plain(stream), Shown::Believed),
                Some(certs) => connect(stream, address, line, certs).await?,
            };
            // Nothing is said to whoever is not the node that is called.
            match shown {
                Shown::Bound(_) if is_of_another_cluster(shown, cluster) => {
                    return Err(io::Error::other("its certificate is of another cluster"));
                }
                Shown::Bound(identity) if to.get() != 0 && identity.node != to.get() => {
                    return Err(io::Error::other(format!("another node is there, {}", NodeId::new(identity.node))));
                }
                Shown::Unbound if to.get() != 0 && !self.are_unbound_members => {
                    return Err(io::Error::other("its certificate does not say which node it is"));
                }
                Shown::Bound(_) | Shown::Unbound | Shown::Believed => {}
            }
            let node = self.local.read().map_or(0, NodeId::get);
            let hello = Greeting { magic: MAGIC, protocol: PROTOCOL, cluster, node, refusal: None, line };
            write_greeting(&mut stream, &hello).await?;
            let answer = read_greeting(&mut stream).await?;
            io::Result::Ok((stream, shown, answer))
        });
        let (stream, shown, answer) = opened
            .await
            .map_err(|_| unreachable("no answer in time".into()))?
            .map_err(|error| unreachable(error.to_string()))?;
        let incompatible = |reason: String| RpcError::Incompatible { to: address.to_owned(), reason };
        if are_apart(answer.cluster, cluster) {
            return Err(RpcError::OtherCluster { to: address.to_owned() });
        }
        if let Some(refusal) = answer.refusal {
            return Err(incompatible(refusal));
        }
        if to.get() != 0 && answer.node != 0 && answer.node != to.get() {
            return Err(incompatible(format!("another node is there, {}", NodeId::new(answer.node))));
        }
        let judged = judge(shown, cluster, &answer, self.are_unbound_members)
            .map_err(|reason| incompatible(reason.to_owned()))?;
        let standing = judged.standing;
        let connection = Connection::new(address.to_owned(), judged, self.clock.clone(), self.counters.clone());
        let connection = Arc::new(connection);
        start(self, connection.clone(), stream, line, standing);
        Ok(connection)
    }

    /// The connection to a node, opened if need be. Dialling goes on when the caller's time is over: the next one then
    /// finds the connection, or fails at once while the back-off lasts. Nobody waits for another's attempt to reach
    /// what could not be reached the last time.
    async fn connection(
        self: &Arc<Self>,
        to: NodeId,
        line: Line,
        timeout: Duration,
    ) -> Result<Arc<Connection>, RpcError> {
        let open =
            self.open[line as usize].read().get(&to).filter(|connection| !connection.is_closed()).cloned();
        if let Some(connection) = open {
            return Ok(connection);
        }
        let unreachable =
            |reason: &str| RpcError::Unreachable { to: to.to_string(), reason: reason.to_owned() };
        if self.down.load(Ordering::SeqCst) {
            return Err(unreachable("this node is shutting down"));
        }
        let place = self.peers.lock().entry((to, line)).or_default().clone();
        if place.peer.try_lock().is_err()
            && let Some((address, error)) = place.failing.lock().clone()
            && self.addresses.read().get(&to) == Some(&address)
        {
            return Err(error);
        }
        let inner = self.clone();
        let runtime = if line == Line::Pulse { &self.pulse } else { &self.main };
        let dialled = runtime.spawn(async move { inner.redial(to, line, &place).await });
        match tokio::time::timeout(timeout, dialled).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(unreachable("this node is shutting down")),
            Err(_) => Err(unreachable("no connection in time")),
        }
    }

    async fn redial(
        self: &Arc<Self>,
        to: NodeId,
        line: Line,
        place: &Place,
    ) -> Result<Arc<Connection>, RpcError> {
        let mut peer = place.peer.lock().await;
        if let Some(connection) = peer.connection.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(connection.clone());
        }
        let address = self.addresses.read().get(&to).cloned();
        let Some(address) = address else {
            return Err(RpcError::Unreachable {
                to: to.to_string(),
                reason: "its address is not known".into(),
            });
        };
        let last = peer.failed.as_ref().filter(|failure| failure.address == address);
        if let Some(failure) = last
            && failure.at.elapsed() < failure.backoff
        {
            return Err(failure.error.clone());
        }
        let timeout = if place.failing.lock().is_some() { RECONNECT_TIMEOUT } else { CONNECT_TIMEOUT };
        let cluster = *self.cluster.read();
        match self.dial(&address, cluster, to, line, timeout).await {
            Ok(connection) => {
                peer.failed = None;
                *place.failing.lock() = None;
                peer.connection = Some(connection.clone());
                let mut open = self.open[line as usize].write();
                open.insert(to, connection.clone());
                // A shutdown drains them under this lock, after it was announced.
                if self.down.load(Ordering::SeqCst) {
                    open.remove(&to);
                    connection.close();
                }
                drop(open);
                if line == Line::Main && self.felt.lock().insert(to) {
                    self.pulse.spawn(feel(Arc::downgrade(self), to));
                }
                Ok(connection)
            }
            Err(error) => {
                let backoff = last.map_or(FIRST_BACKOFF, |failure| (failure.backoff * 2).min(MAX_BACKOFF));
                *place.failing.lock() = Some((address.clone(), error.clone()));
                peer.failed = Some(Failure { address, at: Instant::now(), backoff, error: error.clone() });
                Err(error)
            }
        }
    }

    /// One heartbeat there and back.
    async fn pulse(self: &Arc<Self>, to: NodeId) -> Result<(), RpcError> {
        let connection = self.connection(to, Line::Pulse, SILENCE).await?;
        let answered = call_on(&connection, Lane::Control, services::PULSE, Bytes::new(), SILENCE).await;
        if answered.as_ref().is_err_and(|error| !matches!(error, RpcError::Refused { .. })) {
            // The next one is not to wait for what is on its way over this.
            connection.close();
        }
        answered.map(|_| ())
    }

    /// Tells all who wait for an answer of a node that there will be none. A connection that was opened after its silence
    /// `began` is not meant: the node may be back since.
    fn give_up(&self, to: NodeId, reason: &RpcError, began: Instant) {
        let connection = {
            let mut open = self.open[Line::Main as usize].write();
            if open.get(&to).is_none_or(|connection| connection.opened > began) {
                return;
            }
            open.remove(&to).expect("it was there under the same lock")
        };
        // First, so that whoever is told finds it so.
        let address = self.addresses.read().get(&to).cloned();
        let place = self.peers.lock().get(&(to, Line::Main)).cloned();
        if let (Some(place), Some(address)) = (place, address) {
            *place.failing.lock() = Some((address, reason.clone()));
        }
        if !connection.is_closed() {
            tracing::warn!(node = %to, %reason, "the node is silent: its connection is closed");
            connection.close();
        }
    }

    /// Takes in that a node answers its heartbeats: it may be asked again.
    fn found_well(&self, to: NodeId) {
        let place = self.peers.lock().get(&(to, Line::Main)).cloned();
        if let Some(place) = place {
            *place.failing.lock() = None;
        }
    }
}

/// Feels the pulse of a node for as long as there is a main connection to it, and for a while after: nobody would ask a
/// node that is taken for gone. In a box: whoever dials starts this, and this dials.
fn feel(inner: std::sync::Weak<Inner>, to: NodeId) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut well_at = Instant::now();
        loop {
            let Some(inner) = inner.upgrade() else { return };
            let began = Instant::now();
            match inner.pulse(to).await {
                Ok(()) => {
                    well_at = Instant::now();
                    inner.found_well(to);
                }
                Err(error) => {
                    let reason = format!("it does not answer heartbeats: {error}");
                    inner.give_up(to, &RpcError::Unreachable { to: to.to_string(), reason }, began);
                }
            }
            {
                let mut felt = inner.felt.lock();
                let open = inner.open[Line::Main as usize].read();
                let is_closed = open.get(&to).is_none_or(|connection| connection.is_closed());
                let is_over = well_at.elapsed() > MISSED_FOR || inner.down.load(Ordering::SeqCst);
                if is_closed && is_over {
                    felt.remove(&to);
                    return;
                }
            }
            drop(inner);
            tokio::time::sleep(PULSE_EVERY.saturating_sub(began.elapsed())).await;
        }
    })
}

/// Closes a connection made for one call, also when its caller gives up.
struct ForOneCall(Arc<Connection>);

impl Drop for ForOneCall {
    fn drop(&mut self) {
        self.0.close();
    }
}

async fn call_on(
    connection: &Arc<Connection>,
    lane: Lane,
    service: ServiceId,
    payload: Bytes,
    timeout: Duration,
) -> Result<Bytes, RpcError> {
    let (slot, answer) = connection.register();
    let exchange = async {
        connection.send(lane, Kind::Request, slot.call, service.0, payload).await?;
        answer.await.unwrap_or_else(|_| Err(no_answer(&connection.peer)))
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
        check_size(&payload)?;
        let deadline = tokio::time::Instant::now() + timeout;
        let connection = self.inner.connection(to, Line::of(service), timeout).await?;
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        call_on(&connection, lane, service, payload, left).await
    }

    async fn call_address(
        &self,
        address: &str,
        service: ServiceId,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, RpcError> {
        let cluster = *self.inner.cluster.read();
        check_size(&payload)?;
        let unreachable =
            |reason: &str| RpcError::Unreachable { to: address.to_owned(), reason: reason.to_owned() };
        if self.inner.down.load(Ordering::SeqCst) {
            return Err(unreachable("this node is shutting down"));
        }
        let deadline = tokio::time::Instant::now() + timeout;
        let dialling = self.inner.dial(address, cluster, NodeId::new(0), Line::Main, CONNECT_TIMEOUT);
        let dialled = tokio::time::timeout(timeout, dialling).await;
        let connection = ForOneCall(dialled.map_err(|_| unreachable("no connection in time"))??);
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        call_on(&connection.0, Lane::Control, service, payload, left).await
    }

    fn register(&self, service: ServiceId, handler: Arc<dyn Service>) {
        self.inner.services.write().insert(service.0, handler);
    }

    fn set_address(&self, node: NodeId, address: String) {
        let before = self.inner.addresses.write().insert(node, address.clone());
        if before.is_some_and(|before| before != address) {
            for connection in self.inner.open.iter().filter_map(|open| open.write().remove(&node)) {
                connection.close();
            }
        }
    }

    fn is_reachable(&self, node: NodeId) -> bool {
        let place = self.inner.peers.lock().get(&(node, Line::Main)).cloned();
        let failing = place.and_then(|place| place.failing.lock().clone());
        failing.is_none_or(|(address, _)| self.inner.addresses.read().get(&node) != Some(&address))
    }

    fn spawn_urgent(&self, task: BoxFuture<'static, ()>) {
        self.inner.pulse.spawn(task);
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

pub(crate) fn check_size(payload: &Bytes) -> Result<(), RpcError> {
    if payload.len() > MAX_MESSAGE_BYTES {
        return Err(RpcError::TooLarge { bytes: payload.len(), max: MAX_MESSAGE_BYTES });
    }
    Ok(())
}

/// A call to a service of this very node. As elsewhere the handler runs to its end whether or not the caller waits.
pub(crate) async fn call_local(
    handler: Option<Arc<dyn Service>>,
    local: NodeId,
    service: ServiceId,
    payload: Bytes,
    timeout: Duration,
) -> Result<Bytes, RpcError> {
    check_size(&payload)?;
    let Some(handler) = handler else { return Err(RpcError::UnknownService { service: service.0 }) };
    let execution = tokio::spawn(async move { handle(&*handler, local, payload).await });
    match tokio::time::timeout(timeout, execution).await {
        Ok(Ok(outcome)) => outcome.map_err(|error| as_told(&error, &local.to_string())),
        Ok(Err(_)) => Err(no_answer(&local.to_string())),
        Err(_) => Err(RpcError::NoAnswer { to: local.to_string(), after: timeout }),
    }
}
