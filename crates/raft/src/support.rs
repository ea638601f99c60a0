//! Store liveness at work: one heartbeat for each pair of stores, whatever the number of ranges they share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use hlc::{Clock, Timestamp};
use keys::{NodeId, StoreId};
use parking_lot::{Mutex, RwLock};
use rpc::{Lane, RpcError, Service, Transport, services};
use rustc_hash::FxHashMap;
use storage::log::{LogOp, LogStore};
use tokio::sync::Notify;

use crate::promises::{Answer, Heartbeat, Outcome, Promise, Promises, Requests, Save};

#[derive(Clone, Copy, Debug)]
pub struct LivenessConfig {
    pub heartbeat: Duration,
    /// How long a promise lasts.
    pub support: Duration,
}

impl Default for LivenessConfig {
    fn default() -> Self {
        Self { heartbeat: Duration::from_millis(400), support: Duration::from_secs(2) }
    }
}

const EPOCH_KEY: &[u8] = b"liveness/epoch";
const PROMISE_PREFIX: &[u8] = b"liveness/promise/";

/// What a peer's store promised this one.
#[derive(Debug)]
pub struct PeerSupport {
    pub store: StoreId,
    node: NodeId,
    /// The epoch supported, and until when (wall time of the clock; the logical part is dropped, which only shortens).
    epoch: AtomicU64,
    until_ns: AtomicU64,
    /// It was heard from within the last promise's length.
    live: AtomicBool,
}

/// Support between this store and the others.
#[derive(Clone)]
pub struct StoreLiveness {
    inner: Arc<Inner>,
}

struct Inner {
    store: StoreId,
    clock: Arc<Clock>,
    log: LogStore,
    transport: Arc<dyn Transport>,
    config: LivenessConfig,
    promises: Mutex<Promises>,
    /// Saves of promises, one at a time: what is on disk must not fall behind what was answered.
    saving: tokio::sync::Mutex<()>,
    epoch: AtomicU64,
    peers: RwLock<FxHashMap<StoreId, Arc<PeerSupport>>>,
    changed: Notify,
    stopped: AtomicBool,
}

pub(crate) struct LivenessDeps<'a> {
    pub store: StoreId,
    pub clock: Arc<Clock>,
    pub log: LogStore,
    pub metas: &'a [(Bytes, Bytes)],
    pub transport: Arc<dyn Transport>,
    pub config: LivenessConfig,
}

fn recovered_promises(metas: &[(Bytes, Bytes)]) -> impl Iterator<Item = (StoreId, Promise)> {
    metas.iter().filter_map(|(key, value)| {
        let peer = <[u8; 8]>::try_from(key.strip_prefix(PROMISE_PREFIX)?).ok()?;
        Some((StoreId::new(u64::from_be_bytes(peer)), postcard::from_bytes(value).ok()?))
    })
}

/// The epochs that were supported last, as a log was recovered.
pub(crate) fn recovered_epochs(metas: &[(Bytes, Bytes)]) -> FxHashMap<StoreId, u64> {
    recovered_promises(metas).map(|(peer, promise)| (peer, promise.epoch)).collect()
}

impl StoreLiveness {
    /// Recovers the promises and begins a new epoch, durable before this returns.
    pub(crate) async fn start(deps: LivenessDeps<'_>) -> Self {
        let epoch = deps.metas.iter().find(|(key, _)| key == EPOCH_KEY);
        let epoch = epoch.and_then(|(_, value)| postcard::from_bytes(value).ok()).unwrap_or(0);
        let found: Vec<(StoreId, Promise)> = recovered_promises(deps.metas).collect();
        let inner = Inner {
            store: deps.store,
            clock: deps.clock,
            log: deps.log,
            transport: deps.transport.clone(),
            config: deps.config,
            promises: Mutex::new(Promises::recover(found)),
            saving: tokio::sync::Mutex::default(),
            epoch: AtomicU64::new(epoch),
            peers: RwLock::default(),
            changed: Notify::new(),
            stopped: AtomicBool::new(false),
        };
        let this = Self { inner: Arc::new(inner) };
        // *restart-new-epoch*: what was led before this start is fortified under an epoch that is over.
        this.raise_epoch(epoch + 1).await;
        deps.transport.register(services::LIVENESS, Arc::new(Handler { inner: this.inner.clone() }));
        this
    }

    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.inner.epoch.load(Ordering::Acquire)
    }

    async fn raise_epoch(&self, to: u64) {
        let value: Bytes = postcard::to_stdvec(&to).expect("a number encodes").into();
        self.inner.durable(LogOp::PutMeta { key: Bytes::from_static(EPOCH_KEY), value }).await;
        self.inner.epoch.fetch_max(to, Ordering::AcqRel);
    }

    /// Heartbeats with a store from now on. Calling it again costs a lookup.
    pub fn ensure_peer(&self, store: StoreId, node: NodeId) -> Option<Arc<PeerSupport>> {
        if store == self.inner.store {
            return None;
        }
        if let Some(peer) = self.inner.peers.read().get(&store) {
            return Some(peer.clone());
        }
        let mut peers = self.inner.peers.write();
        if let Some(peer) = peers.get(&store) {
            return Some(peer.clone());
        }
        let peer = Arc::new(PeerSupport {
            store,
            node,
            epoch: AtomicU64::new(0),
            until_ns: AtomicU64::new(0),
            live: AtomicBool::new(true),
        });
        peers.insert(store, peer.clone());
        tokio::spawn(heartbeat_loop(self.clone(), peer.clone()));
        Some(peer)
    }

    /// Until when this store's leaderships are supported by another store; its own support does not end.
    #[must_use]
    pub fn support_from(&self, store: StoreId) -> Option<Timestamp> {
        if store == self.inner.store {
            return Some(Timestamp::MAX);
        }
        let peers = self.inner.peers.read();
        let peer = peers.get(&store)?;
        (peer.epoch.load(Ordering::Acquire) == self.epoch())
            .then(|| Timestamp::new(peer.until_ns.load(Ordering::Acquire), 0))
    }

    /// The epoch of a store that this one supports now.
    #[must_use]
    pub fn supports(&self, store: StoreId) -> Option<u64> {
        if store == self.inner.store {
            return Some(self.epoch());
        }
        self.inner.promises.lock().supports(store, self.inner.clock.now())
    }

    /// Whether a promise under this epoch still forbids opposing what the store leads.
    #[must_use]
    pub fn binds(&self, store: StoreId, epoch: u64) -> bool {
        self.inner.promises.lock().binds(store, epoch, self.inner.clock.now())
    }

    /// Withdraws support for an epoch of a store if the promise has run out; whether it does not stand any more. A
    /// withdrawal is durable when this returns.
    pub async fn withdraw(&self, store: StoreId, epoch: u64) -> bool {
        let _one_at_a_time = self.inner.saving.lock().await;
        let outcome = self.inner.promises.lock().withdraw(store, epoch, self.inner.clock.now());
        match outcome {
            Err(_) => false,
            Ok(None) => true,
            Ok(Some(save)) => {
                tracing::info!(%store, epoch, "support withdrawn");
                self.inner.save(save).await;
                true
            }
        }
    }

    /// Whether a store was heard from lately; this store always was.
    #[must_use]
    pub fn is_live(&self, store: StoreId) -> bool {
        store == self.inner.store
            || self.inner.peers.read().get(&store).is_some_and(|peer| peer.live.load(Ordering::Acquire))
    }

    /// Completes when some peer's liveness may have changed.
    pub(crate) async fn changed(&self) {
        self.inner.changed.notified().await;
    }

    #[must_use]
    pub fn peers(&self) -> Vec<(StoreId, bool)> {
        let peers = self.inner.peers.read();
        peers.values().map(|peer| (peer.store, peer.live.load(Ordering::Acquire))).collect()
    }

    pub(crate) fn stop(&self) {
        self.inner.stopped.store(true, Ordering::Release);
    }
}

impl Inner {
    async fn durable(&self, op: LogOp) {
        let (done, wait) = futures::channel::oneshot::channel();
        self.log.submit(op, Box::new(move || { let _unheard = done.send(()); }));
        // A closed log means that the process is ending: nobody may be told anything any more.
        if wait.await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    async fn save(&self, save: Save) {
        let mut key = PROMISE_PREFIX.to_vec();
        key.extend_from_slice(&save.peer.get().to_be_bytes());
        let value: Bytes = postcard::to_stdvec(&save.promise).expect("a promise encodes").into();
        self.durable(LogOp::PutMeta { key: key.into(), value }).await;
        self.promises.lock().saved(save);
    }
}

async fn heartbeat_loop(liveness: StoreLiveness, peer: Arc<PeerSupport>) {
    let inner = &liveness.inner;
    let support_ns = u64::try_from(inner.config.support.as_nanos()).unwrap_or(u64::MAX);
    let mut last_heard = tokio::time::Instant::now();
    while !inner.stopped.load(Ordering::Acquire) {
        let began = tokio::time::Instant::now();
        let epoch = liveness.epoch();
        let expiration = inner.clock.now().add_ns(support_ns);
        let beat = Heartbeat { from: inner.store, epoch, expiration };
        let payload: Bytes = postcard::to_stdvec(&beat).expect("a heartbeat encodes").into();
        let timeout = inner.config.support / 2;
        let call = inner.transport.call(peer.node, Lane::Control, services::LIVENESS, payload, timeout);
        let answer = call.await.ok().and_then(|bytes| postcard::from_bytes::<Answer>(&bytes).ok());
        if let Some(answer) = answer {
            last_heard = tokio::time::Instant::now();
            let mut again = false;
            match (Requests { epoch }).answer(answer) {
                Outcome::Supported(until) => {
                    peer.until_ns.store(until.wall_ns(), Ordering::Release);
                    peer.epoch.store(epoch, Ordering::Release);
                }
                Outcome::NewEpoch(next) => {
                    liveness.raise_epoch(next).await;
                    again = true;
                }
                Outcome::Stale => {}
            }
            if !peer.live.swap(true, Ordering::AcqRel) {
                tracing::info!(store = %peer.store, "store is live");
                inner.changed.notify_waiters();
            }
            if again {
                inner.changed.notify_waiters();
                continue;
            }
        } else if last_heard.elapsed() >= inner.config.support && peer.live.swap(false, Ordering::AcqRel) {
            tracing::info!(store = %peer.store, "store is not heard from");
            inner.changed.notify_waiters();
        }
        let wait = inner.config.heartbeat.saturating_sub(began.elapsed());
        tokio::time::sleep(wait.max(Duration::from_millis(10))).await;
    }
}

struct Handler {
    inner: Arc<Inner>,
}

#[async_trait]
impl Service for Handler {
    async fn call(&self, _from: NodeId, payload: Bytes) -> Result<Bytes, RpcError> {
        let beat: Heartbeat = postcard::from_bytes(&payload)
            .map_err(|error| RpcError::Refused { reason: format!("heartbeat: {error}") })?;
        let (mut answer, mut save) = self.inner.promises.lock().heartbeat(beat);
        if save.is_some() {
            // *promise-durable-before-answer*
            let _one_at_a_time = self.inner.saving.lock().await;
            (answer, save) = self.inner.promises.lock().heartbeat(beat);
            if let Some(save) = save {
                self.inner.save(save).await;
            }
        }
        Ok(postcard::to_stdvec(&answer).expect("an answer encodes").into())
    }
}
