//! Transactions under attack: histories recorded through real stores while ranges split, leases move, nodes go, clocks
//! disagree and wires lose, judged for serializability.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes, BytesMut};
use keys::{Key, Span};
use kv::{Db, DbConfig, Error, LockStrength, Read, ScanOptions, Txn, TxnOptions};
use checkers::{
    Operation, Outcome,
    list_append::{Micro, Transaction, check},
};
use testkit::cluster::Cluster;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use rpc::{MemoryConfig, MemoryOrder};
use tempfile::TempDir;

/// Keys that are written at one time; the window moves on, so that no list grows for ever.
const WINDOW: u32 = 12;
const APPENDS_A_WINDOW: u64 = 240;

fn list_key(n: u32) -> Key {
    let mut bytes = vec![0x10, b'l'];
    bytes.extend_from_slice(&n.to_be_bytes());
    bytes.into()
}

fn list_span(from: u32, to: u32) -> Span {
    Span::new(list_key(from), list_key(to))
}

fn decode(value: Option<&[u8]>) -> Vec<u64> {
    let mut rest = value.unwrap_or_default();
    let mut list = Vec::with_capacity(rest.len() / 8);
    while rest.len() >= 8 {
        list.push(rest.get_u64());
    }
    list
}

fn encode(list: &[u64]) -> Bytes {
    let mut out = BytesMut::with_capacity(list.len() * 8);
    for element in list {
        out.extend_from_slice(&element.to_be_bytes());
    }
    out.freeze()
}

/// What all workers of a run share.
struct Run {
    since: Instant,
    stop: AtomicBool,
    next_element: AtomicU64,
    history: Mutex<Vec<Transaction>>,
}

impl Run {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            since: Instant::now(),
            stop: AtomicBool::new(false),
            next_element: AtomicU64::new(1),
            history: Mutex::default(),
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_nanos()).unwrap()
    }

    fn base(&self) -> u32 {
        u32::try_from(self.next_element.load(Ordering::Relaxed) / APPENDS_A_WINDOW).unwrap() * WINDOW / 2
    }
}

/// A few random reads and appends; what was done goes to `ops`.
async fn body(run: &Run, txn: &mut Txn, rng: &mut SmallRng, ops: &mut Vec<Micro>) -> Result<(), Error> {
    let base = run.base();
    for _ in 0..rng.random_range(1..=4) {
        let lock = rng.random_bool(0.4).then_some(LockStrength::Update);
        // Statements see what those before them wrote.
        txn.begin_statement();
        let n = base + rng.random_range(0..WINDOW);
        match rng.random_range(0..10) {
            0..=1 => {
                let mut rest = Some(list_span(base, base + WINDOW));
                let mut found = BTreeMap::new();
                while let Some(span) = rest {
                    let reverse = rng.random_bool(0.3);
                    let options =
                        ScanOptions { max_rows: rng.random_range(0..4), reverse, ..ScanOptions::default() };
                    let page = txn.scan(&span, options).await?;
                    for (key, value) in page.rows.iter() {
                        let n = u32::from_be_bytes(key[2..6].try_into().unwrap());
                        found.insert(n, decode(Some(value)));
                    }
                    rest = page.resume;
                }
                for n in base..base + WINDOW {
                    ops.push(Micro::Read(u64::from(n), Some(found.remove(&n).unwrap_or_default())));
                }
            }
            2..=4 => {
                let value = txn.get(&list_key(n), Read { lock, ..Read::default() }).await?;
                ops.push(Micro::Read(u64::from(n), Some(decode(value.as_deref()))));
            }
            _ => {
                let value = txn.get(&list_key(n), Read { lock, ..Read::default() }).await?;
                let mut list = decode(value.as_deref());
                ops.push(Micro::Read(u64::from(n), Some(list.clone())));
                let element = run.next_element.fetch_add(1, Ordering::Relaxed);
                list.push(element);
                txn.put(list_key(n), encode(&list));
                ops.push(Micro::Append(u64::from(n), element));
            }
        }
    }
    Ok(())
}

/// Runs transactions until told to stop. Every attempt is one of the history, the failed ones too.
async fn worker(run: Arc<Run>, db: Db, seed: u64) {
    let process = seed;
    let mut rng = SmallRng::seed_from_u64(seed);
    while !run.stop.load(Ordering::Relaxed) {
        let mut txn = db.begin(TxnOptions::default());
        txn.set_lock_timeout(Some(Duration::from_secs(3)));
        for _ in 0..5 {
            let began = run.now();
            let mut ops = Vec::new();
            let outcome = match body(&run, &mut txn, &mut rng, &mut ops).await {
                Ok(()) => txn.commit().await.map(|_| ()),
                Err(error) => Err(error),
            };
            let judged = match &outcome {
                Ok(()) => Outcome::Ok,
                Err(Error::Ambiguous { .. }) => Outcome::Info,
                Err(_) => Outcome::Fail,
            };
            let ended = run.now();
            let operation =
                Operation { process, invoked: began, returned: ended, outcome: judged, what: ops, error: String::new() };
            run.history.lock().unwrap().push(operation);
            match outcome {
                Err(error @ Error::Retry { .. }) => txn.restart(&error),
                Err(Error::Internal { reason }) => panic!("{reason}"),
                Ok(()) | Err(_) => break,
            }
        }
        txn.rollback().await;
    }
}

/// The lists as they are in the end.
async fn read_all(db: &Db, up_to: u32) -> BTreeMap<u64, Vec<u64>> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let mut txn = db.begin(TxnOptions::default());
        let mut lists = BTreeMap::new();
        let mut rest = Some(list_span(0, up_to));
        let error = loop {
            let Some(span) = rest.take() else { break None };
            match txn.scan(&span, ScanOptions::default()).await {
                Ok(page) => {
                    for (key, value) in page.rows.iter() {
                        lists.insert(u32::from_be_bytes(key[2..6].try_into().unwrap()).into(), decode(Some(value)));
                    }
                    rest = page.resume;
                }
                Err(error) => break Some(error),
            }
        };
        match error {
            None => return lists,
            Some(error) if Instant::now() < deadline => eprintln!("reading the end: {error}"),
            Some(error) => panic!("the end cannot be read: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

struct Scenario {
    wires: MemoryConfig,
    offsets_ms: Vec<i64>,
    kv: DbConfig,
    workers: u64,
    seed: u64,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            wires: MemoryConfig::default(),
            offsets_ms: vec![0, 0, 0],
            kv: DbConfig {
                rpc_timeout: Duration::from_secs(2),
                wait_timeout: Duration::from_secs(5),
                unavailable_after: Duration::from_secs(15),
                heartbeat_interval: Duration::from_millis(500),
                // Small, so that some transactions write intents before they commit.
                spill_bytes: 4 << 20,
                ..DbConfig::default()
            },
            workers: 6,
            seed: 1,
        }
    }
}

/// Runs workers on all nodes while `attack` goes on, then judges what they saw.
async fn judge<A: Future<Output = ()>>(
    scenario: Scenario,
    dir: &Path,
    attack: impl FnOnce(Arc<Cluster>, Arc<Run>) -> A,
) {
    let cluster =
        Cluster::start(dir, scenario.seed, scenario.wires, &scenario.offsets_ms, scenario.kv).await;
    let cluster = Arc::new(cluster);
    let run = Run::new();
    let workers: Vec<_> = (0..scenario.workers)
        .map(|n| {
            let db = cluster.members[usize::try_from(n).unwrap() % cluster.members.len()].db.clone();
            tokio::spawn(worker(run.clone(), db, scenario.seed * 1000 + n))
        })
        .collect();
    attack(cluster.clone(), run.clone()).await;
    cluster.network.heal_all();
    run.stop.store(true, Ordering::Relaxed);
    for worker in workers {
        tokio::time::timeout(Duration::from_secs(60), worker).await.expect("no worker hangs").unwrap();
    }
    let alive = cluster.leader_of(&list_key(0));
    let db = &cluster.members[alive.unwrap_or(1)].db;
    let last = read_all(db, run.base() + 2 * WINDOW).await;
    let history = std::mem::take(&mut *run.history.lock().unwrap());
    let count = |outcome| history.iter().filter(|txn| txn.outcome == outcome).count();
    eprintln!(
        "{} committed, {} aborted, {} unknown",
        count(Outcome::Ok),
        count(Outcome::Fail),
        count(Outcome::Info)
    );
    let found = check(&history, Some(&last)).anomalies;
    for anomaly in found.iter().take(5) {
        eprintln!("{anomaly}");
    }
    assert!(found.is_empty(), "{} anomalies", found.len());
    assert!(count(Outcome::Ok) > 15, "the cluster does hardly anything");
    cluster.stop().await;
}

/// Splits at random keys of the present window.
async fn split_somewhere(cluster: &Cluster, run: &Run, rng: &mut SmallRng) {
    let n = run.base() + rng.random_range(0..WINDOW);
    let by = rng.random_range(0..cluster.members.len());
    let at = list_key(n);
    let split = cluster.members[by].db.split_at(&at);
    if let Ok(Err(error)) = tokio::time::timeout(Duration::from_secs(5), split).await {
        eprintln!("split at {n}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_one_node() {
    let dir = TempDir::new().unwrap();
    let scenario = Scenario { offsets_ms: vec![0], ..Scenario::default() };
    judge(scenario, dir.path(), |_, _| tokio::time::sleep(Duration::from_secs(4))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_three_nodes() {
    let dir = TempDir::new().unwrap();
    judge(Scenario { seed: 7, ..Scenario::default() }, dir.path(), |_, _| tokio::time::sleep(Duration::from_secs(4)))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_ranges_split() {
    let dir = TempDir::new().unwrap();
    judge(Scenario { seed: 2, ..Scenario::default() }, dir.path(), |cluster, run| async move {
        let mut rng = SmallRng::seed_from_u64(2);
        let end = Instant::now() + Duration::from_secs(8);
        while Instant::now() < end {
            split_somewhere(&cluster, &run, &mut rng).await;
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_leases_move() {
    let dir = TempDir::new().unwrap();
    judge(Scenario { seed: 3, ..Scenario::default() }, dir.path(), |cluster, run| async move {
        let mut rng = SmallRng::seed_from_u64(3);
        let end = Instant::now() + Duration::from_secs(10);
        let mut moved = 0;
        while Instant::now() < end {
            if rng.random_bool(0.3) {
                split_somewhere(&cluster, &run, &mut rng).await;
            }
            let key = list_key(run.base() + rng.random_range(0..WINDOW));
            let (by, to) = (rng.random_range(0..3), rng.random_range(0..3));
            moved += usize::from(cluster.transfer_lease(by, &key, to).await);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        assert!(moved > 3, "leases moved {moved} times");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_leaseholders_are_cut_off() {
    let dir = TempDir::new().unwrap();
    judge(Scenario { seed: 4, ..Scenario::default() }, dir.path(), |cluster, run| async move {
        let mut rng = SmallRng::seed_from_u64(4);
        for _ in 0..2 {
            split_somewhere(&cluster, &run, &mut rng).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            if let Some(leader) = cluster.leader_of(&list_key(run.base())) {
                cluster.isolate(leader);
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
            cluster.network.heal_all();
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_clocks_disagree_and_wires_lose() {
    let dir = TempDir::new().unwrap();
    let wires = MemoryConfig {
        min_delay: Duration::from_micros(50),
        max_delay: Duration::from_millis(8),
        loss: 0.001,
        order: MemoryOrder::Any,
        silence: None,
    };
    let scenario = Scenario { wires, offsets_ms: vec![-200, 0, 200], seed: 5, workers: 9, ..Scenario::default() };
    judge(scenario, dir.path(), |cluster, run| async move {
        let mut rng = SmallRng::seed_from_u64(5);
        let end = Instant::now() + Duration::from_secs(12);
        while Instant::now() < end {
            match rng.random_range(0..4) {
                0 => split_somewhere(&cluster, &run, &mut rng).await,
                1 => cluster.members[rng.random_range(0..3)].set_offset(rng.random_range(-200..=200)),
                _ => {
                    let key = list_key(run.base() + rng.random_range(0..WINDOW));
                    let (by, to) = (rng.random_range(0..3), rng.random_range(0..3));
                    let transfer = cluster.transfer_lease(by, &key, to);
                    let _moved = tokio::time::timeout(Duration::from_secs(3), transfer).await;
                }
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_leaseholder_dies() {
    let dir = TempDir::new().unwrap();
    judge(Scenario { seed: 6, ..Scenario::default() }, dir.path(), |cluster, run| async move {
        let mut rng = SmallRng::seed_from_u64(6);
        for _ in 0..4 {
            split_somewhere(&cluster, &run, &mut rng).await;
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        if let Some(leader) = cluster.leader_of(&list_key(run.base())) {
            cluster.kill(leader).await;
        }
        tokio::time::sleep(Duration::from_secs(8)).await;
    })
    .await;
}
