//! The client's side of the key-value layer: routes batches to the ranges that hold their keys.
//!
//! A batch goes to the store believed to lead its range. Every answer teaches: a wrong leaseholder names the right
//! one, a wrong range names its descriptors, an unreachable node makes the next likely one be tried. What must never
//! be tried again is a write whose fate is unknown: *ambiguous-is-final*. What may be done twice is not of that kind
//! ([`Request::may_be_repeated`]): it is sent to the next leaseholder.
//!
//! **Invariant (asked-first):** what may not be done twice leaves this node only for one that was heard to lead the
//! range, and nothing is sent to a silent node while another replica can be asked.
//!
//! **Invariant (located-holds-key):** the descriptor that a key is located by holds the key. Spans are cut at its end,
//! and one cut before its own start would go on where it never was.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::future::BoxFuture;
use hlc::{Clock, Timestamp};
use keys::{
    Key, NodeId, RangeDescriptor, RangeId, ReplicaDescriptor, ReplicaKind, Span, StoreId, TxnId, keyspace,
};
use parking_lot::{Mutex, RwLock};
use planted::Bug;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use replica::api::{BatchRequest, BatchResponse, Header, KvError, Request, Response};
use rpc::{Lane, RpcError, Transport, services};
use tokio::time::Instant;

use crate::{
    error::Error,
    range_cache::{CachedRange, RangeCache},
    txn::{Heartbeats, Txn, TxnOptions},
};

/// The first pause before a range is asked again.
const FIRST_BACKOFF: Duration = Duration::from_millis(5);
/// A range whose pause has grown to this is looked up anew before each further attempt.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(80);

/// A batch without an answer for this long is told of in the log.
const TOLD_AFTER: Duration = Duration::from_secs(5);

/// The store in this process: batches for its replicas are handed over without bytes.
#[async_trait]
pub trait LocalStore: Send + Sync + 'static {
    fn store_id(&self) -> StoreId;

    /// Whether the store has a replica of the range at all.
    fn has_range(&self, range_id: RangeId) -> bool;

    /// Whether a store that this one exchanges heartbeats with is not heard from.
    fn is_away(&self, store: StoreId) -> bool;

    async fn send(&self, batch: &BatchRequest) -> Result<BatchResponse, KvError>;
}

#[derive(Clone, Debug)]
pub struct DbConfig {
    /// How long a batch is tried while no leaseholder answers.
    pub unavailable_after: Duration,
    /// The same while this node hears from too few of the range's replicas for anybody among them to lead.
    pub cut_off_after: Duration,
    /// How long one call to another node may take without an answer.
    pub rpc_timeout: Duration,
    /// The same for a call that may wait for a lock, when no lock timeout is set.
    pub wait_timeout: Duration,
    /// A transaction's buffer above this is written out as intents, where it may be. They are written twice, and resolved: up
    /// to about this much is cheaper in one command.
    pub spill_bytes: usize,
    /// A transaction with so many writes sends them in one piece of memory. Fewer are not worth the copy.
    pub packed_writes_min: usize,
    /// A transaction's buffer that cannot be written out (a savepoint is open) may not grow past this.
    pub max_buffer_bytes: usize,
    /// How often a transaction's heartbeat is sent; it lives for [`replica::TXN_EXPIRY`] without.
    pub heartbeat_interval: Duration,
}

impl Default for DbConfig {
    fn default() -> Self {
        Self {
            unavailable_after: Duration::from_secs(60),
            cut_off_after: Duration::from_secs(10),
            rpc_timeout: Duration::from_secs(10),
            wait_timeout: Duration::from_secs(120),
            spill_bytes: 48 << 20,
            packed_writes_min: 64,
            max_buffer_bytes: 256 << 20,
            heartbeat_interval: Duration::from_millis(500),
        }
    }
}

pub struct DbOptions {
    pub clock: Arc<Clock>,
    pub node_id: NodeId,
    pub transport: Arc<dyn Transport>,
    pub local: Option<Arc<dyn LocalStore>>,
    pub seed: u64,
    pub config: DbConfig,
}

pub(crate) struct DbInner {
    pub(crate) clock: Arc<Clock>,
    pub(crate) node_id: NodeId,
    transport: Arc<dyn Transport>,
    local: RwLock<Option<Arc<dyn LocalStore>>>,
    /// The local store has stopped: nothing is tried again, as who tries holds on to it.
    is_closed: AtomicBool,
    pub(crate) ranges: RangeCache,
    /// Nodes that may know range 1 when the cache is empty.
    nodes: RwLock<Vec<NodeId>>,
    rng: Mutex<SmallRng>,
    pub(crate) config: DbConfig,
    pub(crate) heartbeats: Heartbeats,
    pub(crate) metrics: DbMetrics,
}

#[derive(Debug, Default)]
pub struct DbMetrics {
    pub batches_local: AtomicU64,
    pub batches_remote: AtomicU64,
    pub reroutes: AtomicU64,
    pub commits_one_phase: AtomicU64,
    pub commits_parallel: AtomicU64,
    pub refreshes: AtomicU64,
    pub refresh_failures: AtomicU64,
    pub rows_loaded: AtomicU64,
    /// Pages of scans that were asked for before they were wanted.
    pub pages_ahead: AtomicU64,
}

/// A handle on the key-value layer.
#[derive(Clone)]
pub struct Db(pub(crate) Arc<DbInner>);

/// Why a batch must be cut anew: its keys are not all in the range it was cut for.
pub(crate) enum SendError {
    Reroute,
    Kv(KvError),
}

impl From<KvError> for SendError {
    fn from(error: KvError) -> Self {
        Self::Kv(error)
    }
}

impl Db {
    #[must_use]
    pub fn new(options: DbOptions) -> Self {
        let db = Self(Arc::new(DbInner {
            clock: options.clock,
            node_id: options.node_id,
            transport: options.transport,
            local: RwLock::new(options.local),
            is_closed: AtomicBool::new(false),
            ranges: RangeCache::default(),
            nodes: RwLock::new(vec![options.node_id]),
            rng: Mutex::new(SmallRng::seed_from_u64(options.seed)),
            config: options.config,
            heartbeats: Heartbeats::default(),
            metrics: DbMetrics::default(),
        }));
        crate::txn::start_heartbeats(&db);
        db
    }

    /// The store is made after the handle that its replicas reach other ranges with.
    pub fn set_local(&self, local: Arc<dyn LocalStore>) {
        *self.0.local.write() = Some(local);
    }

    /// Lets the store go, whose replicas hold this handle: without it neither would ever be freed. What they ask of other
    /// ranges through it ends with the try that is under way.
    pub fn clear_local(&self) {
        self.0.is_closed.store(true, Ordering::Release);
        *self.0.local.write() = None;
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed.load(Ordering::Acquire)
    }

    /// The nodes of the cluster, as the node registry has them.
    pub fn set_nodes(&self, nodes: Vec<NodeId>) {
        *self.0.nodes.write() = nodes;
    }

    /// What reaches the other nodes.
    #[must_use]
    pub fn transport(&self) -> &Arc<dyn Transport> {
        &self.0.transport
    }

    /// The other nodes of the cluster that can be reached now, as far as is known.
    #[must_use]
    pub fn reachable_nodes(&self) -> Vec<NodeId> {
        let nodes = self.0.nodes.read();
        let others = nodes.iter().copied().filter(|node| *node != self.0.node_id);
        others.filter(|node| self.0.transport.is_reachable(*node)).collect()
    }

    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.0.node_id
    }

    #[must_use]
    pub fn metrics(&self) -> &DbMetrics {
        &self.0.metrics
    }

    #[must_use]
    pub fn begin(&self, options: TxnOptions) -> Txn {
        Txn::new(self.clone(), options)
    }

    pub(crate) fn random_txn_id(&self) -> TxnId {
        TxnId::from_random(self.0.rng.lock().random())
    }

    pub(crate) fn random_u32(&self) -> u32 {
        self.0.rng.lock().random()
    }

    /// Runs `body` in a transaction until it commits, restarting it where that may help.
    ///
    /// # Errors
    /// What `body` or the commit failed with, when it cannot be retried; `Retry` after 100 attempts.
    pub async fn run<T, E, F>(&self, mut body: F) -> Result<T, E>
    where
        E: From<Error> + AsKvError,
        F: for<'t> FnMut(&'t mut Txn) -> BoxFuture<'t, Result<T, E>>,
    {
        let mut txn = self.begin(TxnOptions::default());
        for attempt in 0.. {
            let outcome = match body(&mut txn).await {
                Ok(value) => txn.commit().await.map(|_| value).map_err(E::from),
                Err(error) => Err(error),
            };
            match outcome {
                Ok(value) => return Ok(value),
                Err(error) => match error.as_kv_error().filter(|kv| kv.is_retryable() && attempt < 100) {
                    Some(kv) => {
                        let kv = kv.clone();
                        txn.restart(&kv);
                    }
                    None => {
                        txn.rollback().await;
                        return Err(error);
                    }
                },
            }
        }
        unreachable!("the loop ends by returning")
    }

    /// Adds to a counter outside any transaction: the value is used up whatever happens next.
    ///
    /// # Errors
    /// When the counter's range cannot be reached. After an ambiguous failure values may be lost, never given twice.
    pub async fn increment(&self, key: &Key, by: i64) -> Result<i64, Error> {
        self.increment_ahead(key, by, 0, 0).await
    }

    /// As [`Db::increment`]; so many values more, up to `until`, may be given from memory by the range's leaseholder, and
    /// skipped when its lease ends.
    ///
    /// # Errors
    /// As [`Db::increment`].
    pub async fn increment_ahead(&self, key: &Key, by: i64, ahead: u32, until: i64) -> Result<i64, Error> {
        let mut attempts = 0;
        loop {
            let request = vec![Request::Increment { key: key.clone(), by, ahead, until }];
            match self.send_keyed(key, Header::default(), request).await {
                Ok(response) => match response.responses.first() {
                    Some(Response::Increment { value }) => return Ok(*value),
                    other => return Err(unexpected("Increment", other)),
                },
                Err(KvError::Ambiguous { .. }) if attempts < 5 => attempts += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sets a counter of [`Db::increment`].
    ///
    /// # Errors
    /// When the counter's range cannot be reached. After an ambiguous failure it is set or not, and is not set again:
    /// values may have been given since.
    pub async fn set_counter(&self, key: &Key, value: i64) -> Result<(), Error> {
        self.run(|txn| {
            txn.put(key.clone(), bytes::Bytes::copy_from_slice(&value.to_be_bytes()));
            Box::pin(async { Ok::<(), Error>(()) })
        })
        .await
    }

    /// Reads one key as of now, outside any transaction.
    ///
    /// # Errors
    /// When the range cannot be reached.
    pub async fn get(&self, key: &Key) -> Result<Option<bytes::Bytes>, Error> {
        let request = vec![Request::Get { key: key.clone(), lock: None }];
        let response = self.send_keyed(key, Header::default(), request).await?;
        match response.responses.into_iter().next() {
            Some(Response::Get { value }) => Ok(value),
            other => Err(unexpected("Get", other.as_ref())),
        }
    }

    /// Splits the range that holds `at`, so that a range begins there.
    ///
    /// # Errors
    /// When the range cannot be reached, or the key is no place to split at.
    pub async fn split_at(&self, at: &Key) -> Result<(), Error> {
        let range = self.locate(at.as_bytes()).await?;
        if range.descriptor.start == *at {
            return Ok(());
        }
        let mut attempts = 0;
        loop {
            match self.send_keyed(at, Header::default(), vec![Request::Split { at: at.clone() }]).await {
                Ok(response) => {
                    if let Some(Response::Split { left, right }) = response.responses.into_iter().next() {
                        self.0.ranges.insert(*left);
                        self.0.ranges.insert(*right);
                    }
                    return Ok(());
                }
                // Splitting where a range already begins does nothing, so asking again is harmless.
                Err(KvError::Ambiguous { .. }) if attempts < 5 => attempts += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends one admin request to the range that holds `key`.
    ///
    /// # Errors
    /// As the replica answered.
    pub async fn admin(&self, key: &Key, request: Request) -> Result<Response, KvError> {
        let response = self.send_keyed(key, Header::default(), vec![request]).await?;
        response
            .responses
            .into_iter()
            .next()
            .ok_or_else(|| KvError::Internal { reason: "a batch of one request had no response".into() })
    }

    /// The descriptors of every range that overlaps the span, freshly looked up.
    ///
    /// # Errors
    /// When the addressing records cannot be read.
    pub async fn ranges_in(&self, span: &Span) -> Result<Vec<RangeDescriptor>, Error> {
        let mut found = Vec::new();
        let mut key = span.start.clone();
        while key < span.end {
            let range = self.lookup_meta(key.as_bytes()).await?;
            key = range.descriptor.end.clone();
            found.push(range.descriptor.clone());
        }
        Ok(found)
    }

    /// Removes the bytes of a span for good, all versions, once who writes there is through: for storage that nothing
    /// names any more above `at`. Who still reads it at or below is told that its snapshot is too old.
    ///
    /// # Errors
    /// When a range cannot be reached; part of the span may be cleared then.
    pub async fn clear_span(&self, span: &Span, at: Timestamp) -> Result<(), Error> {
        let mut start = span.start.clone();
        while start < span.end {
            let range = self.locate(start.as_bytes()).await?;
            let end = span.end.clone().min(range.descriptor.end.clone());
            let piece = Span::new(start.clone(), end.clone());
            match self.send_to(&range, Header::default(), vec![Request::ClearRange { span: piece, at }]).await
            {
                Ok(_) => start = end,
                // Clearing twice is clearing once.
                Err(SendError::Reroute | SendError::Kv(KvError::Ambiguous { .. })) => {}
                Err(SendError::Kv(error)) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// A batch whose keys all lie next to `key`, in one range whatever the splits.
    pub(crate) async fn send_keyed(
        &self,
        key: &Key,
        header: Header,
        requests: Vec<Request>,
    ) -> Result<BatchResponse, KvError> {
        loop {
            let range = self.locate(key.as_bytes()).await?;
            match self.send_to(&range, header.clone(), requests.clone()).await {
                Ok(response) => return Ok(response),
                Err(SendError::Reroute) => {}
                Err(SendError::Kv(error)) => return Err(error),
            }
        }
    }

    /// The range that holds `key`, from the cache or the addressing records. *located-holds-key*
    pub(crate) async fn locate(&self, key: &[u8]) -> Result<Arc<CachedRange>, KvError> {
        match self.0.ranges.lookup(key) {
            Some(range) => Ok(range),
            None => self.lookup_meta(key).await,
        }
    }

    /// Reads the addressing record for `key` from range 1. *located-holds-key*
    async fn lookup_meta(&self, key: &[u8]) -> Result<Arc<CachedRange>, KvError> {
        let first = self.first_range().await?;
        if first.descriptor.contains_key(key) {
            return Ok(first);
        }
        let span = keyspace::meta_lookup_span(&Key::from(key));
        let header = Header { max_keys: 1, ..Header::default() };
        let requests = vec![Request::Scan { span, reverse: false, lock: None }];
        let mut patience = Patience::new(self.0.config.unavailable_after);
        let mut backoff = FIRST_BACKOFF;
        loop {
            let first = self.first_range().await?;
            let found = match self.send_to(&first, header.clone(), requests.clone()).await {
                Ok(response) => first_row(&response)?,
                Err(SendError::Reroute) => None,
                Err(SendError::Kv(error)) => return Err(error),
            };
            // The record may be older than a split that has not been published yet. The range it names knows better,
            // and says so when a batch reaches it; what the cache has heard since may not hold the key any more.
            let found = found.filter(|descriptor| descriptor.contains_key(key));
            if let Some(range) = found.and_then(|descriptor| self.0.ranges.insert_for(key, descriptor)) {
                return Ok(range);
            }
            let missing = || format!("no addressing record for {}", Key::from(key));
            if self.is_closed() || patience.is_over(missing) {
                let reason = missing();
                return Err(KvError::Unavailable { range_id: RangeId::new(1), reason });
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(Duration::from_millis(50));
        }
    }

    /// Range 1, which holds the addressing records. When nothing is known of it, every node is asked.
    async fn first_range(&self) -> Result<Arc<CachedRange>, KvError> {
        if let Some(range) = self.0.ranges.lookup(Key::MIN.as_bytes()) {
            return Ok(range);
        }
        let header = Header { range_id: RangeId::new(1), ..Header::default() };
        let probe = BatchRequest { header, requests: vec![Request::Describe] };
        let mut patience = Patience::new(self.0.config.unavailable_after);
        loop {
            for node in self.nodes_to_ask() {
                let descriptor = match self.send_to_node(node, &probe).await {
                    Ok(response) => response.descriptor,
                    Err(KvError::RangeMismatch { descriptors, .. }) => descriptors.into_iter().next(),
                    Err(_) => None,
                };
                if let Some(descriptor) = descriptor.filter(|it| it.range_id == RangeId::new(1)) {
                    return Ok(self.0.ranges.insert(descriptor));
                }
            }
            let missing = || "no node leads the first range".to_owned();
            if self.is_closed() || patience.is_over(missing) {
                let reason = missing();
                return Err(KvError::Unavailable { range_id: RangeId::new(1), reason });
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Sends a batch to the leaseholder of `range`, wherever that turns out to be.
    pub(crate) async fn send_to(
        &self,
        range: &Arc<CachedRange>,
        mut header: Header,
        requests: Vec<Request>,
    ) -> Result<BatchResponse, SendError> {
        header.range_id = range.descriptor.range_id;
        header.generation = range.descriptor.generation;
        let batch = BatchRequest { header, requests };

        // The common case: the range is led here, or was the last time; no list of nodes is made for it.
        let local = self.0.local.read().clone();
        let hinted_local = match range.leaseholder() {
            Some(replica) => replica.node_id == self.0.node_id,
            None => range.descriptor.replicas.iter().any(|replica| replica.node_id == self.0.node_id),
        };
        if let (Some(local), true) = (&local, hinted_local) {
            self.0.metrics.batches_local.fetch_add(1, Ordering::Relaxed);
            match local.send(&batch).await {
                Ok(response) => {
                    range.set_leaseholder(local.store_id());
                    self.learn(range, &response);
                    return Ok(response);
                }
                Err(error) => {
                    let Digested::TryElsewhere = self.digest(range, error, &batch)?;
                }
            }
        }
        self.send_with_retries(range, batch).await
    }

    /// Whether nothing is heard from a replica's node.
    fn is_silent(&self, replica: &ReplicaDescriptor) -> bool {
        replica.node_id != self.0.node_id
            && (!self.0.transport.is_reachable(replica.node_id)
                || self.0.local.read().as_ref().is_some_and(|local| local.is_away(replica.store_id)))
    }

    /// The nodes of the cluster that can be asked, all of them if none can.
    fn nodes_to_ask(&self) -> Vec<NodeId> {
        let nodes = self.0.nodes.read().clone();
        let heard: Vec<NodeId> =
            nodes.iter().copied().filter(|node| self.0.transport.is_reachable(*node)).collect();
        if heard.is_empty() { nodes } else { heard }
    }

    /// The replicas to try, the likeliest leaseholder first, and whether there are enough of them for one to lead.
    fn replicas_to_try(&self, range: &CachedRange) -> (Vec<ReplicaDescriptor>, bool) {
        let all = range.replicas_by_likelihood(self.0.node_id);
        let heard: Vec<ReplicaDescriptor> = all.iter().filter(|replica| !self.is_silent(replica)).copied().collect();
        let voters = |of: &[ReplicaDescriptor]| of.iter().filter(|replica| replica.kind == ReplicaKind::Voter).count();
        let enough = voters(&heard) > voters(&all) / 2;
        (if heard.is_empty() { all } else { heard }, enough)
    }

    /// *asked-first*: asks a replica whether it leads the range.
    async fn ask_lead(&self, range: &CachedRange, replica: &ReplicaDescriptor) -> Result<(), KvError> {
        let header = Header {
            range_id: range.descriptor.range_id,
            generation: range.descriptor.generation,
            ..Header::default()
        };
        let question = BatchRequest { header, requests: vec![Request::Describe] };
        self.send_to_node(replica.node_id, &question).await.map(|_| range.set_leaseholder(replica.store_id))
    }

    async fn send_with_retries(
        &self,
        range: &Arc<CachedRange>,
        batch: BatchRequest,
    ) -> Result<BatchResponse, SendError> {
        let mut patience = Patience::new(self.0.config.unavailable_after);
        let mut cut_off_since: Option<Instant> = None;
        let mut backoff = FIRST_BACKOFF;
        let mut last_reason = String::new();
        let asks_first = !may_be_repeated(&batch);
        loop {
            let (replicas, enough) = self.replicas_to_try(range);
            for replica in replicas {
                let was_hinted = range.leaseholder().map(|replica| replica.store_id);
                let is_known = was_hinted == Some(replica.store_id) || replica.node_id == self.0.node_id;
                let led = if asks_first && !is_known { self.ask_lead(range, &replica).await } else { Ok(()) };
                let outcome = match led {
                    Ok(()) => self.send_to_node(replica.node_id, &batch).await,
                    Err(error) => Err(error),
                };
                match outcome {
                    Ok(response) => {
                        range.set_leaseholder(replica.store_id);
                        self.learn(range, &response);
                        return Ok(response);
                    }
                    Err(error) => {
                        last_reason = error.to_string();
                        let Digested::TryElsewhere = self.digest(range, error, &batch)?;
                    }
                }
                // A new hint goes first: begin the list again.
                let hinted = range.leaseholder().map(|replica| replica.store_id);
                if hinted.is_some() && hinted != was_hinted && hinted != Some(replica.store_id) {
                    break;
                }
            }
            let range_id = range.descriptor.range_id;
            if enough {
                cut_off_since = None;
            } else if cut_off_since.get_or_insert_with(Instant::now).elapsed() > self.0.config.cut_off_after {
                let reason = format!("too few of its replicas can be reached from {}: {last_reason}", self.0.node_id);
                return Err(SendError::Kv(KvError::Unavailable { range_id, reason }));
            }
            if self.is_closed() || patience.is_over(|| format!("{}: {last_reason}", range.descriptor)) {
                return Err(SendError::Kv(KvError::Unavailable { range_id, reason: last_reason }));
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(Duration::from_millis(250));
            // The replicas may have moved since the descriptor was cached.
            if backoff >= LOOK_AGAIN_AFTER && self.look_again(range).await? {
                return Err(SendError::Reroute);
            }
        }
    }

    /// Whether something else than `range` is now known to hold what it held.
    fn look_again<'a>(&'a self, range: &'a Arc<CachedRange>) -> BoxFuture<'a, Result<bool, KvError>> {
        // In a box: looking a range up sends a batch, to range 1.
        Box::pin(async move {
            let now = if range.descriptor.range_id == RangeId::new(1) {
                self.refresh_first_range(range).await;
                self.0.ranges.lookup(Key::MIN.as_bytes())
            } else {
                Some(self.lookup_meta(range.descriptor.start.as_bytes()).await?)
            };
            Ok(now.is_none_or(|now| now.descriptor != range.descriptor))
        })
    }

    /// Range 1 has no record elsewhere to look it up in: ask the nodes for a newer descriptor.
    async fn refresh_first_range(&self, known: &Arc<CachedRange>) {
        let header = Header { range_id: RangeId::new(1), ..Header::default() };
        let probe = BatchRequest { header, requests: vec![Request::Describe] };
        for node in self.nodes_to_ask() {
            if let Ok(response) = self.send_to_node(node, &probe).await
                && let Some(descriptor) = response.descriptor
                && descriptor.generation > known.descriptor.generation
            {
                self.0.ranges.insert(descriptor);
                return;
            }
        }
    }

    fn learn(&self, range: &Arc<CachedRange>, response: &BatchResponse) {
        if let Some(descriptor) = &response.descriptor
            && descriptor.generation > range.descriptor.generation
        {
            self.0.ranges.insert(descriptor.clone());
        }
    }

    /// Learns from an error; answers whether another node may do, or the error if it is the batch's.
    fn digest(
        &self,
        range: &Arc<CachedRange>,
        error: KvError,
        batch: &BatchRequest,
    ) -> Result<Digested, SendError> {
        match error {
            KvError::NotLeaseholder { hint, .. } => {
                match hint {
                    Some(replica) => range.set_leaseholder(replica.store_id),
                    None => range.forget_leaseholder(),
                }
                Ok(Digested::TryElsewhere)
            }
            KvError::RangeNotFound { .. } | KvError::Unavailable { .. } => {
                range.forget_leaseholder();
                Ok(Digested::TryElsewhere)
            }
            KvError::Ambiguous { .. } if may_be_repeated(batch) || planted::is_on(Bug::LostReplyRepeated) => {
                range.forget_leaseholder();
                Ok(Digested::TryElsewhere)
            }
            KvError::RangeMismatch { descriptors, .. } => {
                self.0.metrics.reroutes.fetch_add(1, Ordering::Relaxed);
                self.0.ranges.evict(range);
                for descriptor in descriptors {
                    self.0.ranges.insert(descriptor);
                }
                Err(SendError::Reroute)
            }
            other => Err(SendError::Kv(other)),
        }
    }

    async fn send_to_node(&self, node: NodeId, batch: &BatchRequest) -> Result<BatchResponse, KvError> {
        let range_id = batch.header.range_id;
        if node == self.0.node_id {
            let local = self.0.local.read().clone();
            let Some(local) = local else {
                return Err(KvError::RangeNotFound { range_id });
            };
            self.0.metrics.batches_local.fetch_add(1, Ordering::Relaxed);
            return local.send(batch).await;
        }
        self.0.metrics.batches_remote.fetch_add(1, Ordering::Relaxed);
        let writes = batch.requests.iter().any(Request::is_write);
        // A request that may wait for a lock takes as long as the lock is held.
        let timeout = match batch.header.lock_timeout {
            Some(limit) => self.0.config.rpc_timeout + limit,
            None if may_wait(batch) => self.0.config.wait_timeout,
            None => self.0.config.rpc_timeout,
        };
        // What keeps transactions alive does not wait behind what they send.
        let lane = if batch.requests.iter().all(is_urgent) { Lane::Control } else { Lane::Client };
        let payload = replica::api::encode(batch);
        match self.0.transport.call(node, lane, services::KV, payload, timeout).await {
            Ok(payload) => {
                let answer: Result<Result<BatchResponse, KvError>, _> = replica::api::decode(&payload);
                answer.unwrap_or_else(|error| {
                    let reason = format!("answer of {node}: {error}");
                    // It was executed there all the same.
                    Err(if writes { KvError::Ambiguous { reason } } else { KvError::Internal { reason } })
                })
            }
            Err(RpcError::NoAnswer { to, .. }) if writes => {
                Err(KvError::Ambiguous { reason: format!("no answer from {to}") })
            }
            Err(error) => Err(KvError::Unavailable { range_id, reason: error.to_string() }),
        }
    }
}

/// How long a batch is tried. An administrator is told, once, of one that has been without an answer for long.
struct Patience {
    began: Instant,
    limit: Duration,
    told: bool,
}

impl Patience {
    fn new(limit: Duration) -> Self {
        Self { began: Instant::now(), limit, told: false }
    }

    /// Whether it is at its end. `missing` is what there was no answer from.
    fn is_over(&mut self, missing: impl Fn() -> String) -> bool {
        let waited = self.began.elapsed();
        if !self.told && waited > TOLD_AFTER {
            self.told = true;
            tracing::warn!(for_seconds = waited.as_secs(), "no answer yet: {}", missing());
        }
        waited > self.limit
    }
}

/// The descriptor in the only row of an answer, if it has one.
fn first_row(response: &BatchResponse) -> Result<Option<RangeDescriptor>, KvError> {
    let Some(Response::Scan { rows, .. }) = response.responses.first() else { return Ok(None) };
    if rows.is_empty() {
        return Ok(None);
    }
    let (_, value) = rows.get(0);
    let decoded = replica::api::decode(value);
    decoded.map(Some).map_err(|error| KvError::Internal { reason: format!("addressing record: {error}") })
}

fn may_be_repeated(batch: &BatchRequest) -> bool {
    batch.requests.iter().all(Request::may_be_repeated)
}

fn is_urgent(request: &Request) -> bool {
    matches!(request, Request::HeartbeatTxn { .. } | Request::Describe)
}

fn may_wait(batch: &BatchRequest) -> bool {
    batch.requests.iter().any(|request| match request {
        Request::Get { .. }
        | Request::GetMany { .. }
        | Request::LockMany { .. }
        | Request::Scan { .. }
        | Request::Look { .. }
        | Request::LockFirst { .. }
        | Request::Changes { .. } => true,
        Request::Put { .. } | Request::Delete { .. } | Request::WriteMany { .. } => true,
        Request::EndTxn { .. } | Request::ClearRange { .. } => true,
        _ => false,
    })
}

enum Digested {
    TryElsewhere,
}

pub(crate) fn unexpected(expected: &str, got: Option<&Response>) -> Error {
    Error::Internal { reason: format!("expected a response to {expected}, got {got:?}") }
}

/// An error type that may carry one of ours, so that [`Db::run`] can see whether a restart helps.
pub trait AsKvError {
    fn as_kv_error(&self) -> Option<&Error>;
}

impl AsKvError for Error {
    fn as_kv_error(&self) -> Option<&Error> {
        Some(self)
    }
}

