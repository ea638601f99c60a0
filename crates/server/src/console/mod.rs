//! The console: what an operator sees of the whole cluster, from whichever node they open.
//!
//! ```text
//!  browser ── GET /api/v1/… ──▶ the node that is opened ── console service ──▶ each other node
//!                                  └── its own answer              (CONSOLE, two seconds)
//! ```
//! A node knows of itself: its process, its replicas, its sessions and statements, the locks of the ranges it leads, what its
//! queues do, and ten minutes of samples. The others are asked for theirs whenever somebody looks, and nothing is asked when
//! nobody does. A node that does not answer in time is named, and what is known of it from others is shown.
//!
//! **Invariants**
//! - *console-only-reads*: no request of a page or of the service changes anything.
//! - *literals-out*: texts of statements come without their literals (`session`'s fingerprints). Keys of locked rows and
//!   bounds of ranges are shown as they are.
//! - *bounded-answers*: each list of an answer has a bound; what is left out is counted where it matters.
//!
//! Read in this order: [`report`], this, [`series`], `pages`.

mod names;
mod pages;
mod process;
mod report;
mod series;

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use catalog::CatalogStore;
use futures::future::{BoxFuture, join_all};
use hlc::Clock;
use keys::{Key, LockStrength, NodeId, TxnId};
use parking_lot::Mutex;
use rpc::{Lane, RpcError, Service, TcpTransport, Transport, services};
use rustc_hash::FxHashMap;
use serde::{Serialize, de::DeserializeOwned};
use session::{Engine, ReplayMetrics, RowLock, SessionOf, SessionRow, Sessions, StatementStatistics};
use store::Store;
use tokio::{sync::watch, time::MissedTickBehavior};
use uuid::Uuid;

use self::{
    names::Names,
    report::{
        Ask, LockReport, LocksReport, Process, QueueReport, ReplicaReport, SessionReport, StatementReport, WorkReport,
        WorkUnderWay,
    },
    series::{Series, Sources},
};
use crate::node::KvNode;

pub(crate) use pages::routes;

/// How long another node may take to say how it is.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the newest catalog is waited for.
const NAMES_TIMEOUT: Duration = Duration::from_millis(500);

/// Locks that a node tells of, those that are waited for first.
const LOCKS_MAX: usize = 1000;
const SESSIONS_MAX: usize = 1000;
const STATEMENTS_MAX: usize = 500;
const RANGES_MAX: usize = 500;

/// What a node knows for the console.
pub(crate) struct Console {
    node_id: NodeId,
    cluster_id: Uuid,
    store: Store,
    transport: Arc<TcpTransport>,
    clock: Arc<Clock>,
    catalog: CatalogStore,
    sessions: Arc<Sessions>,
    statistics: Arc<StatementStatistics>,
    replays: Arc<ReplayMetrics>,
    series: Series,
    /// Of the catalog that was looked at last.
    names: Mutex<Option<Arc<Names>>>,
}

/// The answers of nodes, and who did not answer.
struct Gathered<T> {
    answers: Vec<(NodeId, T)>,
    silent: Vec<u64>,
}

/// The service that other nodes ask. It does not keep the console alive.
struct ConsoleService(Weak<Console>);

#[async_trait]
impl Service for ConsoleService {
    async fn call(&self, _from: NodeId, payload: Bytes) -> Result<Bytes, RpcError> {
        let refused = |reason: String| RpcError::Refused { reason };
        let console = self.0.upgrade().ok_or_else(|| refused("the node is stopping".to_owned()))?;
        let ask = postcard::from_bytes(&payload).map_err(|error| refused(error.to_string()))?;
        Ok(console.answer(&ask).await)
    }
}

fn encode<T: Serialize>(value: &T) -> Bytes {
    postcard::to_stdvec(value).expect("reports are plain data").into()
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Console {
    pub fn new(kv: &KvNode, engine: &Engine) -> Arc<Self> {
        let console = Arc::new(Self {
            node_id: kv.node_id,
            cluster_id: kv.cluster_id,
            store: kv.store.clone(),
            transport: kv.transport.clone(),
            clock: kv.clock.clone(),
            catalog: engine.catalog.clone(),
            sessions: engine.sessions.clone(),
            statistics: engine.statistics.clone(),
            replays: engine.replays.clone(),
            series: Series::default(),
            names: Mutex::default(),
        });
        kv.transport.register(services::CONSOLE, Arc::new(ConsoleService(Arc::downgrade(&console))));
        console
    }

    /// Takes a sample a second, until the node stops.
    pub async fn keep_series(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut ticks = tokio::time::interval(series::EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = stop.changed() => return,
            }
            self.series.take(&Sources {
                store: &self.store,
                statistics: &self.statistics,
                replays: &self.replays,
                net_bytes: self.transport.metrics().iter().map(|lane| lane.bytes.load(std::sync::atomic::Ordering::Relaxed)).sum(),
                connections: self.sessions.count() as u64,
            });
        }
    }

    async fn answer(&self, ask: &Ask) -> Bytes {
        match ask {
            Ask::Node => encode(&self.process()),
            Ask::Series { since_ms } => encode(&self.series.since(*since_ms)),
            Ask::Ranges { from, limit } => encode(&self.replicas(from, (*limit).min(RANGES_MAX))),
            Ask::Statements { limit } => encode(&self.statements((*limit).min(STATEMENTS_MAX), &*self.names().await)),
            Ask::Sessions => encode(&self.sessions()),
            Ask::Locks => encode(&self.locks()),
            Ask::Work => encode(&self.work()),
        }
    }

    /// Asks every node, this one too.
    async fn gather<T: DeserializeOwned>(&self, ask: &Ask) -> Gathered<T> {
        let payload = encode(ask);
        let asked = self.store.nodes().all().into_iter().map(|node| {
            let payload = payload.clone();
            async move {
                let id = node.node_id;
                if id == self.node_id {
                    return (id, Some(self.answer(ask).await));
                }
                // One that has given everything away and was stopped is not missed.
                if !self.store.is_heard(&node) {
                    return (id, None);
                }
                let answer = self.transport.call(id, Lane::Client, services::CONSOLE, payload, ANSWER_TIMEOUT).await;
                (id, answer.ok())
            }
        });
        let mut gathered = Gathered { answers: Vec::new(), silent: Vec::new() };
        for (id, answer) in join_all(asked).await {
            // One of another version may say something else.
            match answer.and_then(|answer| postcard::from_bytes(&answer).ok()) {
                Some(answer) => gathered.answers.push((id, answer)),
                None => gathered.silent.push(id.get()),
            }
        }
        gathered
    }

    /// Of the newest catalog, unless that takes long: then of the newest that this node knows.
    async fn names(&self) -> Arc<Names> {
        let newest = tokio::time::timeout(NAMES_TIMEOUT, self.catalog.refresh()).await;
        let catalog = newest.ok().and_then(Result::ok).unwrap_or_else(|| self.catalog.current());
        let mut kept = self.names.lock();
        match &*kept {
            Some(names) if names.is_of(&catalog) => names.clone(),
            _ => {
                let names = Arc::new(Names::new(catalog));
                *kept = Some(names.clone());
                names
            }
        }
    }

    fn process(&self) -> Process {
        let (disk_free_bytes, disk_total_bytes) = self.store.engine().disk_space().unwrap_or_default();
        let engine = self.store.engine().metrics();
        Process {
            info: self.store.describe(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_ms: milliseconds(self.store.open_for()),
            cores: std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64),
            cores_used: self.series.last().map_or(0.0, |sample| sample.cores_used),
            memory_bytes: process::memory_bytes(),
            memory_total_bytes: process::memory_total_bytes(),
            disk_free_bytes,
            disk_total_bytes,
            store_bytes: engine.sst_bytes + engine.memtable_bytes,
            connections: self.sessions.count() as u64,
            fenced: self.store.fenced(),
        }
    }

    /// Replicas of this store in the order of their ranges, from a key on.
    fn replicas(&self, from: &Key, limit: usize) -> Vec<ReplicaReport> {
        let described = self.store.replicas().into_iter().filter_map(|replica| {
            let descriptor = replica.descriptor().filter(|descriptor| descriptor.start >= *from)?;
            Some((replica, descriptor))
        });
        let mut found: Vec<_> = described.collect();
        found.sort_by(|(_, a), (_, b)| a.start.cmp(&b.start));
        let report = |(replica, descriptor): (Arc<replica::Replica>, Arc<keys::RangeDescriptor>)| {
            let leads = replica.is_leaseholder();
            let bytes = if leads { self.store.engine().approximate_bytes(&descriptor.span()).unwrap_or(0) } else { 0 };
            ReplicaReport {
                leads,
                bytes,
                batches_per_second: self.series.rate_of(descriptor.range_id),
                healthy: self.store.healthy_voters(&descriptor).filter(|_| leads),
                wanted: self.store.wanted_voters(&descriptor),
                descriptor: (*descriptor).clone(),
            }
        };
        found.into_iter().take(limit).map(report).collect()
    }

    fn statements(&self, limit: usize, names: &Names) -> Vec<StatementReport> {
        let report = |row: session::StatementRow| StatementReport {
            database: names.database(row.database),
            user: names.role(row.user),
            query_id: row.query_id,
            text: row.text,
            calls: row.calls,
            errors: row.errors,
            rows: row.rows,
            total_ms: row.total_ms,
            mean_ms: row.mean_ms,
            max_ms: row.max_ms,
            p99_ms: row.p99_ms,
        };
        self.statistics.rows(limit).into_iter().map(report).collect()
    }

    fn session_report(&self, row: SessionRow) -> SessionReport {
        let now = session::now_micros(&self.clock);
        let since = |micros: i64| u64::try_from(now.saturating_sub(micros) / 1000).unwrap_or(0);
        SessionReport {
            pid: row.pid,
            database: row.database,
            user: row.user,
            application: row.application,
            client: row.client.map(|address| address.to_string()),
            state: row.state.to_owned(),
            query: row.query,
            connected_ms: since(row.began),
            transaction_for_ms: row.transaction_began.map(since),
            statement_for_ms: row.statement_began.filter(|_| row.state == "active").map(since),
            state_for_ms: since(row.changed),
            txn: row.txn,
        }
    }

    fn sessions(&self) -> Vec<SessionReport> {
        self.sessions.rows().into_iter().take(SESSIONS_MAX).map(|row| self.session_report(row)).collect()
    }

    fn locks(&self) -> LocksReport {
        let mut report = LocksReport::default();
        let leads = |replica: &Arc<replica::Replica>| replica.is_leaseholder() && replica.lock_table().key_count() > 0;
        let replicas: Vec<_> = self.store.replicas().into_iter().filter(leads).collect();
        // What is waited for in any range comes before what is only held in any.
        let mut shown: BTreeSet<Key> = BTreeSet::new();
        for replica in &replicas {
            report.keys += replica.lock_table().key_count() as u64;
            let left = LOCKS_MAX.saturating_sub(report.locks.len());
            let rows = replica.lock_table().contended_rows(left);
            shown.extend(rows.iter().map(|row| row.key.clone()));
            let range_id = replica.range_id().get();
            report.locks.extend(rows.into_iter().map(|row| lock_report(range_id, row)));
        }
        for replica in &replicas {
            let left = LOCKS_MAX.saturating_sub(report.locks.len());
            if left == 0 {
                break;
            }
            // Those that are shown already come first here too.
            let rows = replica.lock_table().rows_up_to(LOCKS_MAX).into_iter().filter(|row| !shown.contains(&row.key));
            let range_id = replica.range_id().get();
            report.locks.extend(rows.take(left).map(|row| lock_report(range_id, row)));
        }
        let in_transaction = self.sessions.rows_in_transactions().into_iter();
        report.sessions = in_transaction.map(|row| self.session_report(row)).collect();
        report
    }

    fn work(&self) -> WorkReport {
        let under_way = self.store.work().under_way();
        let queue = |count: store::WorkCount| QueueReport {
            queue: count.kind.name().to_owned(),
            done: count.done,
            failed: count.failed,
            under_way: under_way.iter().filter(|row| row.kind == count.kind).count() as u64,
        };
        let queues = self.store.work().counts().into_iter().map(queue).collect();
        let row = |row: &store::WorkRow| WorkUnderWay {
            queue: row.kind.name().to_owned(),
            range_id: row.range.get(),
            to_store: row.to.map(keys::StoreId::get),
            for_ms: milliseconds(row.since.elapsed()),
        };
        let under_replicated = self.store.under_replicated();
        WorkReport { queues, under_way: under_way.iter().map(row).collect(), under_replicated }
    }
}

fn lock_report(range_id: u64, row: concurrency::LockRow) -> LockReport {
    LockReport {
        range_id,
        key: row.key,
        txn: row.txn.map(|txn| txn.id),
        strength: row.strength,
        is_held: row.state == concurrency::RowState::Held,
        behind: match row.state {
            concurrency::RowState::Waiting { behind } => Some(behind),
            concurrency::RowState::Held | concurrency::RowState::Turn => None,
        },
    }
}

/// As PostgreSQL calls the locks of rows.
fn mode(strength: Option<LockStrength>) -> &'static str {
    match strength {
        None | Some(LockStrength::KeyShare) => "AccessShareLock",
        Some(LockStrength::Share) => "RowShareLock",
        Some(LockStrength::NoKeyUpdate) => "ExclusiveLock",
        Some(LockStrength::Update | LockStrength::Intent) => "AccessExclusiveLock",
    }
}

impl session::Cluster for Console {
    fn row_locks(&self) -> BoxFuture<'_, Vec<RowLock>> {
        Box::pin(async move {
            let gathered = self.gather::<LocksReport>(&Ask::Locks).await;
            let names = self.names().await;
            let mut sessions: FxHashMap<TxnId, SessionOf> = FxHashMap::default();
            for (node, report) in &gathered.answers {
                let own = report.sessions.iter().filter_map(|session| {
                    let of = SessionOf { node: node.get(), pid: session.pid, is_here: *node == self.node_id };
                    Some((session.txn?, of))
                });
                sessions.extend(own);
            }
            let lock = |lock: LockReport| {
                let place = names.place(&lock.key);
                RowLock {
                    database: place.database,
                    table: place.table,
                    is_advisory: place.is_advisory,
                    txn: lock.txn,
                    mode: mode(lock.strength),
                    behind: lock.behind,
                    is_held: lock.is_held,
                    session: lock.txn.and_then(|txn| sessions.get(&txn).copied()),
                }
            };
            gathered.answers.into_iter().flat_map(|(_, report)| report.locks).map(lock).collect()
        })
    }
}
