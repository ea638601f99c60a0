//! Replicas that come to a store, leave it, and what a restart finds of them.

use std::{collections::BTreeMap, path::PathBuf, time::SystemTime};

use async_trait::async_trait;
use hlc::Timestamp;
use keys::{SequencedWrite, Span, TxnId, TxnMeta, TxnStatus};
use replica::api::{PushKind, PushedTxn};
use rpc::{MemoryConfig, MemoryNetwork, MemoryTransport};
use tempfile::TempDir;

use super::*;
use crate::checks::Found;

const RANGE: RangeId = RangeId::new(5);
const KEPT_BYTES: u64 = 64 << 10;
/// What is split off.
const RIGHT: RangeId = RangeId::new(2);

/// There are no other ranges.
#[derive(Default)]
pub(crate) struct Nowhere {
    /// The next publishing of descriptors panics.
    panics: AtomicBool,
    /// A range that this store leads was looked after.
    pub published: tokio::sync::Notify,
}

fn nowhere<T>() -> Result<T, KvError> {
    Err(KvError::RangeNotFound { range_id: RANGE })
}

#[async_trait]
impl Outbound for Nowhere {
    async fn push_txn(
        &self,
        _pushee: TxnMeta,
        _pusher: Option<TxnMeta>,
        _dependents: Vec<TxnId>,
        _kind: PushKind,
    ) -> Result<PushedTxn, KvError> {
        nowhere()
    }

    async fn query_intent(&self, _write: SequencedWrite, _txn: TxnMeta, _at: Timestamp) -> Result<bool, KvError> {
        nowhere()
    }

    async fn recover_txn(&self, _txn: TxnMeta, _committed: bool) -> Result<(TxnStatus, Timestamp), KvError> {
        nowhere()
    }

    async fn resolve(
        &self,
        _spans: Vec<Span>,
        _txn: TxnMeta,
        _status: TxnStatus,
        _commit_ts: Timestamp,
    ) -> Result<(), KvError> {
        nowhere()
    }

    async fn ask_range(&self, _at: &Key, _request: replica::api::Request) -> Result<replica::api::Response, KvError> {
        nowhere()
    }

    async fn allocate_range_id(&self) -> Result<RangeId, KvError> {
        Ok(RIGHT)
    }

    async fn update_meta(&self, _descriptors: Vec<RangeDescriptor>) -> Result<(), KvError> {
        assert!(!self.panics.swap(false, Ordering::Relaxed), "by the test");
        self.published.notify_one();
        nowhere()
    }
}

struct Gone;

#[async_trait]
impl Service for Gone {
    async fn call(&self, _from: NodeId, _payload: Bytes) -> Result<Bytes, RpcError> {
        Err(refused("stopped"))
    }
}

/// A store that is started again and again in one directory.
pub(crate) struct Site {
    dir: TempDir,
    network: MemoryNetwork,
    disk_reserve_bytes: u64,
    pub outbound: Arc<Nowhere>,
    bootstrap: bool,
}

impl Site {
    fn new() -> Self {
        let (dir, network) = (TempDir::new().unwrap(), MemoryNetwork::new(1, MemoryConfig::default()));
        Self { dir, network, disk_reserve_bytes: 1, outbound: Arc::default(), bootstrap: false }
    }

    /// Its store makes the first range.
    pub fn leading() -> Self {
        Self { bootstrap: true, ..Self::new() }
    }

    pub async fn start(&self) -> (Store, Arc<MemoryTransport>) {
        let clock = Arc::new(Clock::system(Duration::from_millis(500)));
        let (node_id, store_id) = (NodeId::new(1), StoreId::new(1));
        let transport = self.network.transport(node_id, clock.clone());
        let options = || StoreOptions {
            dir: self.dir.path().to_owned(),
            files: storage::StoreFiles::plain(),
            node_id,
            store_id,
            clock: clock.clone(),
            transport: transport.clone(),
            outbound: self.outbound.clone(),
            config: StoreConfig {
                engine: EngineConfig { disk_reserve_bytes: self.disk_reserve_bytes, ..EngineConfig::small() },
                queue_interval: Duration::from_millis(20),
                log_kept_bytes: KEPT_BYTES,
                ..StoreConfig::default()
            },
            seed: 1,
            bootstrap: self.bootstrap,
            info: NodeInfo {
                node_id,
                store_id,
                rpc_addr: "1".into(),
                sql_addr: String::new(),
                http_addr: String::new(),
                as_of_ns: 0,
                ranges: 0,
                leases: 0,
                bytes: 0,
                under_replicated: 0,
                leaving: false,
                parts: crate::NodeParts::default(),
            },
        };
        // The tasks of the store that was stopped let go of its files when they next run.
        let mut refused = None;
        let opened = async {
            loop {
                match Store::open(options()).await {
                    Ok(store) => return store,
                    Err(error) => refused = Some(error),
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        match tokio::time::timeout(Duration::from_secs(20), opened).await {
            Ok(store) => (store, transport),
            Err(_) => panic!("the store does not open: {refused:?}"),
        }
    }

    pub async fn stop(&self, (store, transport): (Store, Arc<MemoryTransport>)) {
        store.stop().await;
        // The handlers and the transport hold each other.
        for service in [services::RAFT, services::LIVENESS, services::KV, services::STORE] {
            transport.register(service, Arc::new(Gone));
        }
    }
}

fn number(n: u64) -> ReplicaId {
    ReplicaId::new(n)
}

/// It came back empty with every start, waited for a snapshot, and counted when replicas were placed.
#[tokio::test(flavor = "multi_thread")]
async fn gone_stays_gone() {
    let site = Site::new();
    let running = site.start().await;
    running.0.prepare_replica(RANGE, number(3), false).await.unwrap();
    running.0.remove_replica(RANGE, number(3)).await.unwrap();
    site.stop(running).await;

    let running = site.start().await;
    assert!(running.0.replica(RANGE).is_none());
    // *replica-id-fresh*: what was sent before it left arrives late.
    running.0.prepare_replica(RANGE, number(3), false).await.unwrap_err();
    running.0.prepare_replica(RANGE, number(4), false).await.unwrap();
    site.stop(running).await;

    let running = site.start().await;
    let replica = running.0.replica(RANGE).expect("one that waits for its snapshot stays");
    assert_eq!(replica.replica_id(), number(4));
    drop(replica);
    site.stop(running).await;
}

/// The range changed without it, and it stopped before it had cleared what it had.
#[tokio::test(flavor = "multi_thread")]
async fn state_of_a_replica_that_has_left_is_cleared_at_the_start() {
    let site = Site::new();
    let running = site.start().await;
    running.0.prepare_replica(RANGE, number(3), false).await.unwrap();
    let descriptor = RangeDescriptor {
        range_id: RANGE,
        start: Key::MIN,
        end: Key::MAX,
        replicas: Vec::new(),
        next_replica_id: number(5),
        generation: 7,
    };
    let mut batch = WriteBatch::new();
    replica::put_new_range(&mut batch, &descriptor, &raft::Applied::default());
    running.0.engine().apply(&batch).unwrap();
    site.stop(running).await;

    for _ in 0..2 {
        let running = site.start().await;
        assert!(running.0.replica(RANGE).is_none());
        assert!(replica::stored_ranges(running.0.engine()).unwrap().is_empty());
        site.stop(running).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_nearly_full_takes_no_replica() {
    let site = Site { disk_reserve_bytes: u64::MAX, ..Site::new() };
    let running = site.start().await;
    let refused = running.0.prepare_replica(RANGE, number(3), false).await.unwrap_err();
    assert!(refused.contains("no space left"), "{refused}");
    assert!(running.0.replica(RANGE).is_none());
    site.stop(running).await;
}

/// It ended the queues of the whole store, and nobody heard of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_panic_over_one_range_does_not_end_the_queues() {
    let site = Site::leading();
    site.outbound.panics.store(true, Ordering::Relaxed);
    let running = site.start().await;
    let published = site.outbound.published.notified();
    tokio::time::timeout(Duration::from_secs(20), published).await.expect("the range is looked after again");
    assert!(!site.outbound.panics.load(Ordering::Relaxed));
    site.stop(running).await;
}

/// What tells a store of its replica can take longer than what takes the replica out of the range again.
#[tokio::test(flavor = "multi_thread")]
async fn gone_stays_gone_though_it_never_came() {
    let site = Site::new();
    let running = site.start().await;
    running.0.prepare_replica(RANGE, number(2), false).await.unwrap();
    running.0.remove_replica(RANGE, number(3)).await.unwrap();
    assert!(running.0.replica(RANGE).is_none(), "the one before it left as well");
    running.0.prepare_replica(RANGE, number(3), false).await.unwrap_err();
    running.0.prepare_replica(RANGE, number(4), false).await.unwrap();
    running.0.remove_replica(RANGE, number(3)).await.unwrap();
    assert_eq!(running.0.replica(RANGE).map(|replica| replica.replica_id()), Some(number(4)));
    site.stop(running).await;
}

/// It stopped between the note and the removal: the next replica would have voted as the one before.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_replica_that_has_left_is_removed_at_the_start() {
    let site = Site::new();
    let running = site.start().await;
    let other = RangeId::new(6);
    for range_id in [RANGE, other] {
        running.0.log().submit(LogOp::SaveVote { range_id, vote: Bytes::from_static(b"vote") }, ignore());
    }
    running.0.note_gone(RANGE, number(3)).await.unwrap();
    site.stop(running).await;

    let running = site.start().await;
    assert_eq!(running.0.raft().unopened(), [other]);
    site.stop(running).await;
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let look = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(20), look).await.is_ok(), "in vain: {what}");
}

fn middle() -> Key {
    Key::from(vec![0x10, b'm'])
}

async fn split(store: &Store) {
    let first = store.replica(RangeId::new(1)).expect("the first range is here");
    until("it is led", || first.is_leaseholder()).await;
    let header = replica::api::Header { range_id: first.range_id(), ..Default::default() };
    let request = BatchRequest { header, requests: vec![replica::api::Request::Split { at: middle() }] };
    first.send(&request).await.unwrap();
    until("the right half is here", || {
        store
            .replica(RIGHT)
            .is_some_and(|right| right.descriptor().is_some_and(|range| range.start == middle()))
    })
    .await;
}

/// It went on waiting for a snapshot while the state it waited for was there.
#[tokio::test(flavor = "multi_thread")]
async fn a_split_takes_over_the_replica_that_waits() {
    let site = Site::leading();
    let running = site.start().await;
    running.0.prepare_replica(RIGHT, number(1), false).await.unwrap();
    assert!(running.0.replica(RIGHT).is_some_and(|waiting| waiting.descriptor().is_none()));
    split(&running.0).await;
    let right = running.0.replica(RIGHT).expect("it is here");
    until("the right half is led", || right.is_leaseholder()).await;
    drop(right);
    site.stop(running).await;
}

/// What is on the disk when the power goes: of one moment, so that it is copied anew if something was written meanwhile.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    loop {
        let before = written(from);
        copy_once(from, to);
        if written(from) == before {
            return;
        }
        std::fs::remove_dir_all(to).unwrap();
    }
}

/// The files below a folder: length and time of the last write of each.
fn written(dir: &std::path::Path) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match std::fs::metadata(&path) {
            Ok(it) if it.is_dir() => found.append(&mut written(&path)),
            Ok(it) => drop(found.insert(path, (it.len(), it.modified().unwrap()))),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{}: {error}", path.display()),
        }
    }
    found
}

fn copy_once(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (from, to) = {
            let entry = entry.unwrap();
            (entry.path(), to.join(entry.file_name()))
        };
        if from.is_dir() {
            copy_once(&from, &to);
        } else if let Err(error) = std::fs::copy(&from, &to) {
            // The engine has removed what it does not need any more.
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{}: {error}", from.display());
        }
    }
}

/// The log of the left half was replayed after the crash, and its split brought the right half back with its vote
/// forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn gone_stays_gone_though_its_split_is_replayed() {
    let scenario = fail::FailScenario::setup();
    for step in ["store::noted_gone", "store::log_removed", "store::state_cleared"] {
        let site = Site::leading();
        let running = site.start().await;
        split(&running.0).await;
        let image = TempDir::new().unwrap();
        let (from, to) = (site.dir.path().to_owned(), image.path().to_owned());
        fail::cfg_callback(step, move || copy(&from, &to)).unwrap();
        running.0.remove_replica(RIGHT, number(1)).await.unwrap();
        fail::remove(step);
        site.stop(running).await;

        let site = Site { dir: image, ..Site::new() };
        let running = site.start().await;
        until("the log is replayed", || {
            let left = running.0.replica(RangeId::new(1));
            left.is_some_and(|left| left.descriptor().is_some_and(|range| range.end == middle()))
        })
        .await;
        let stored: Vec<RangeId> =
            replica::stored_ranges(running.0.engine()).unwrap().iter().map(|range| range.range_id).collect();
        assert_eq!(stored, [RangeId::new(1)], "{step}");
        assert!(running.0.replica(RIGHT).is_none(), "{step}");
        running.0.prepare_replica(RIGHT, number(1), false).await.unwrap_err();
        running.0.prepare_replica(RIGHT, number(2), false).await.unwrap();
        site.stop(running).await;
    }
    scenario.teardown();
}

/// *split-replayed-first*: a crash took the state of a right half, and a message for it came before the left half had
/// replayed the split. A replica that was to wait was opened over its log, which failed, and the split could not be
/// taken in after.
#[tokio::test(flavor = "multi_thread")]
async fn split_replayed_first() {
    for has_waited in [false, true] {
        let site = Site::leading();
        let running = site.start().await;
        if has_waited {
            running.0.prepare_replica(RIGHT, number(1), false).await.unwrap();
        }
        split(&running.0).await;
        let right = running.0.replica(RIGHT).expect("it is here");
        until("the right half is led", || right.is_leaseholder()).await;
        write(&running.0, RIGHT, b'n').await;
        drop(right);
        let image = TempDir::new().unwrap();
        copy(site.dir.path(), image.path());
        site.stop(running).await;
        // Nothing of the state was flushed, and the left half is not back yet.
        std::fs::remove_dir_all(image.path().join("state")).unwrap();

        let site = Site { dir: image, ..Site::new() };
        let running = site.start().await;
        assert!(running.0.replica(RIGHT).is_none());
        running.0.prepare_replica(RIGHT, number(1), false).await.unwrap_err();
        assert!(running.0.replica(RIGHT).is_none() && running.0.raft().may_open(RIGHT));
        // No left half is here that its split could come from: the range is told so, and replaces it.
        let right = Span::new(middle(), Key::MAX);
        assert_eq!(running.0.how_is(RIGHT, number(1), &right), Found::Fenced);
        // One that has not replayed its log yet: it has all of what it once had.
        let before = RangeDescriptor {
            range_id: RangeId::new(1),
            start: Key::MIN,
            end: Key::MAX,
            replicas: Vec::new(),
            next_replica_id: number(2),
            generation: 1,
        };
        // One that another split is bringing here: it is shrunk from the range before it and not opened yet.
        let coming = running.0.inner.places.hold(&before);
        assert_eq!(running.0.how_is(RIGHT, number(1), &right), Found::Missing);
        drop(coming);
        let left = Fenced { replica_id: number(1), replica: None, found: Some(before) };
        running.0.inner.fenced.lock().insert(RangeId::new(1), left);
        assert_eq!(running.0.how_is(RIGHT, number(1), &right), Found::Missing);
        running.0.inner.fenced.lock().remove(&RangeId::new(1));
        if has_waited {
            // The range adds another here, and this store was not told that the old one has left.
            running.0.prepare_replica(RIGHT, number(2), true).await.unwrap();
            site.stop(running).await;
            continue;
        }
        // Told that it has left its range, it need not be waited for.
        running.0.remove_replica(RIGHT, number(1)).await.unwrap();
        running.0.prepare_replica(RIGHT, number(1), false).await.unwrap_err();
        running.0.prepare_replica(RIGHT, number(2), false).await.unwrap();
        site.stop(running).await;
    }
}

/// A snapshot comes where another range's is on its way, or where one is being cleared: it waits.
#[tokio::test(flavor = "multi_thread")]
async fn no_overlap() {
    let site = Site::new();
    let running = site.start().await;
    let store = &running.0;
    let range = |range_id: u64, start: u8, end: u8| RangeDescriptor {
        range_id: RangeId::new(range_id),
        start: Key::from(vec![start]),
        end: Key::from(vec![end]),
        replicas: Vec::new(),
        next_replica_id: number(2),
        generation: 1,
    };
    let held = store.reserve(&range(6, 20, 30)).expect("nothing is here");
    assert!(store.reserve(&range(7, 25, 40)).is_none());
    // Nor a second one of the same range.
    assert!(store.reserve(&range(6, 20, 30)).is_none());
    assert!(store.reserve(&range(8, 30, 40)).is_some());
    drop(held);
    assert!(store.reserve(&range(7, 25, 40)).is_some());
    // One that failed still has its state here.
    let fenced = Fenced { replica_id: number(1), replica: None, found: Some(range(9, 50, 60)) };
    store.note_fenced(RangeId::new(9), fenced, "by the test");
    assert!(store.reserve(&range(7, 55, 70)).is_none());
    store.remove_replica(RangeId::new(9), number(1)).await.unwrap();
    assert!(store.reserve(&range(7, 55, 70)).is_some());
    site.stop(running).await;
}

async fn write(store: &Store, range_id: RangeId, first: u8) {
    let range = store.replica(range_id).expect("it is here");
    for n in 0..5 {
        let header = replica::api::Header { range_id, ..Default::default() };
        let key = Key::from(vec![0x10, first, n]);
        let requests = vec![replica::api::Request::Put { key, value: vec![7; 40 << 10].into(), seq: 0 }];
        range.send(&BatchRequest { header, requests }).await.unwrap();
    }
}

/// Logs were cut one after the other, and each that could not be cost ten seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_stuck_range_holds_up_no_other() {
    let site = Site::leading();
    let running = site.start().await;
    let store = running.0.clone();
    split(&store).await;
    let right = store.replica(RIGHT).expect("it is here");
    until("the right half is led", || right.is_leaseholder()).await;
    write(&store, RIGHT, b'n').await;
    // From here on the right half applies nothing: what is next to be applied there is the first.
    let scenario = fail::FailScenario::setup();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = Mutex::new(Some(held));
    let (stuck, is_stuck) = std::sync::mpsc::channel();
    fail::cfg_callback("replica::before_apply", move || {
        let first = held.lock().take();
        if let Some(held) = first {
            stuck.send(()).unwrap();
            let _released = held.recv();
        }
    })
    .unwrap();
    let pending = tokio::spawn({
        let right = right.clone();
        let header = replica::api::Header { range_id: RIGHT, ..Default::default() };
        let requests = vec![replica::api::Request::Put { key: Key::from(vec![0x10, b'z']), value: Bytes::new(), seq: 0 }];
        async move { right.send(&BatchRequest { header, requests }).await }
    });
    tokio::task::spawn_blocking(move || is_stuck.recv()).await.unwrap().unwrap();
    let before = store.log().bytes(RIGHT);
    assert!(before > KEPT_BYTES);
    store.engine().flush().unwrap();
    write(&store, RangeId::new(1), b'a').await;
    store.engine().flush().unwrap();
    let cut = async {
        while store.log().bytes(RangeId::new(1)) > KEPT_BYTES {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), cut).await.expect("one-stuck-range-holds-up-no-other");
    assert_eq!(store.log().bytes(RIGHT), before, "it is stuck");
    release.send(()).unwrap();
    pending.await.unwrap().unwrap();
    scenario.teardown();
    drop((store, right));
    site.stop(running).await;
}

/// *kept-for-its-merge*: a snapshot of the merged range was announced, and the merge may come by another leader's log all
/// the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn kept_for_its_merge_until_the_snapshot_is_taken_in() {
    let site = Site::leading();
    let running = site.start().await;
    let store = running.0.clone();
    split(&store).await;
    let right = store.replica(RIGHT).and_then(|right| right.descriptor()).expect("it is here");
    let left = store.replica(RangeId::new(1)).and_then(|left| left.descriptor()).expect("it is here");
    let merged = RangeDescriptor { end: right.end.clone(), generation: left.generation + 1, ..(*left).clone() };
    let held = store.reserve(&merged).expect("what was merged is no obstacle");
    // Nor does anything else come there meanwhile.
    assert!(store.reserve(&RangeDescriptor { range_id: RangeId::new(9), ..(*right).clone() }).is_none());
    drop(held);
    let is_there = || {
        let stored = replica::stored_range(store.engine(), RIGHT).unwrap();
        store.replica(RIGHT).is_some() && stored.as_ref() == Some(&*right) && !store.has_left(RIGHT, number(1))
    };
    assert!(is_there());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(is_there(), "nothing has removed it");
    // A range that is newer is not replaced.
    let older = RangeDescriptor { generation: right.generation, ..merged.clone() };
    assert!(store.reserve(&older).is_none());
    let refused = raft::blocking(|| store.supersede(&older, &mut |_| panic!("it is in the way")));
    assert!(refused.is_err() && is_there());
    let supersede = || {
        store.supersede(&merged, &mut |found| {
            assert_eq!(found, [(*right).clone()]);
            Ok(())
        })
    };
    raft::blocking(supersede).unwrap();
    assert!(store.replica(RIGHT).is_none() && store.has_left(RIGHT, number(1)));
    drop(store);
    site.stop(running).await;
}

/// *fenced-for-good*: until another takes its place, over restarts too.
#[tokio::test(flavor = "multi_thread")]
async fn fenced_for_good() {
    let site = Site::new();
    let running = site.start().await;
    let voter = |n: u64| ReplicaDescriptor {
        node_id: NodeId::new(n),
        store_id: StoreId::new(n),
        replica_id: number(n),
        kind: ReplicaKind::Voter,
    };
    let descriptor = RangeDescriptor {
        range_id: RANGE,
        start: Key::MIN,
        end: Key::MAX,
        replicas: vec![voter(1), voter(2), voter(3)],
        next_replica_id: number(4),
        generation: 7,
    };
    let mut batch = WriteBatch::new();
    replica::put_new_range(&mut batch, &descriptor, &replica::first_applied(&descriptor));
    running.0.engine().apply(&batch).unwrap();
    site.stop(running).await;
    let running = site.start().await;
    assert!(running.0.replica(RANGE).is_some());
    running.0.fence_for_good(RANGE, number(1), "by the test").await.unwrap();
    site.stop(running).await;
    for _ in 0..2 {
        let running = site.start().await;
        assert!(running.0.replica(RANGE).is_none());
        assert_eq!(running.0.how_is(RANGE, number(1), &descriptor.span()), Found::Fenced);
        assert!(running.0.prepare_replica(RANGE, number(1), false).await.is_err());
        site.stop(running).await;
    }
    let running = site.start().await;
    running.0.prepare_replica(RANGE, number(4), true).await.unwrap();
    assert!(running.0.replica(RANGE).is_some_and(|waits| waits.descriptor().is_none()));
    assert!(replica::stored_ranges(running.0.engine()).unwrap().is_empty());
    site.stop(running).await;
}
