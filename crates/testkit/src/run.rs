//! One run of one seed: a cluster, its clients and its faults, and what is judged when all is quiet again.
//!
//! Judged are what clients saw (while it ran, and by [`checkers`] in the end), that every range is whole again on
//! every one of its voters, that all copies hold the same bytes, and that the run was one: something succeeded, every
//! fault asked for struck, nobody hangs or panicked.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, Once, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use checkers::{
    Outcome,
    list_append::{self, Element, Transaction},
};
use hlc::Timestamp;
use keys::{NodeId, RangeDescriptor, Span};
use kv::{Db, DbConfig};
use rpc::Transport;
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    clients::{bank, key, lists, registers, tables},
    cluster::{Cluster, StoreTuning},
    gateways::{GatewayOptions, Gateways},
    nemesis,
    schedule::Schedule,
    wires::{Struck, Wire},
};

/// How long clients may take to end once nothing goes wrong any more, and how long the cluster may take to be whole.
const PATIENCE: Duration = Duration::from_secs(40);

/// How much longer a run goes on until all that its schedule asks for has come.
const EXTRA_LOAD: Duration = Duration::from_secs(15);

/// What all that takes part in a run shares.
pub struct Run {
    pub schedule: Schedule,
    pub cluster: Arc<Cluster>,
    pub gateways: Gateways,
    pub struck: Arc<Struck>,
    /// Of the stores.
    wires: Vec<Arc<Wire>>,
    since: Instant,
    over: watch::Sender<bool>,
    elements: AtomicU64,
    history: Mutex<Vec<Transaction>>,
    successes: Mutex<BTreeMap<&'static str, u64>>,
    faults: Mutex<BTreeSet<String>>,
}

/// What a run came to.
#[derive(Debug)]
pub struct Report {
    pub schedule: Schedule,
    pub successes: BTreeMap<&'static str, u64>,
    pub struck: BTreeMap<&'static str, u64>,
    pub outcomes: BTreeMap<&'static str, usize>,
    /// Empty when all is well.
    pub faults: Vec<String>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Run {
    /// Nanoseconds since the run began: one clock for the whole history.
    #[must_use]
    pub fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    #[must_use]
    pub fn is_over(&self) -> bool {
        *self.over.borrow()
    }

    /// Waits so long, or until the run is over.
    pub async fn over_or(&self, at_most: Duration) {
        let mut over = self.over.subscribe();
        let ends = over.wait_for(|is_over| *is_over);
        let _whichever = tokio::time::timeout(at_most, ends).await;
    }

    #[must_use]
    pub fn next_element(&self) -> u64 {
        self.elements.fetch_add(1, Ordering::Relaxed) + 1
    }

    #[must_use]
    pub fn elements_so_far(&self) -> u64 {
        self.elements.load(Ordering::Relaxed)
    }

    pub fn record(&self, transaction: Transaction) {
        locked(&self.history).push(transaction);
    }

    pub fn succeeded(&self, what: &'static str) {
        *locked(&self.successes).entry(what).or_default() += 1;
    }

    /// Notes that a promise was broken.
    pub fn fault(&self, what: String) {
        locked(&self.faults).insert(what);
    }
}

/// Runs a schedule in `dir`, which is empty.
pub async fn run(dir: &Path, schedule: Schedule) -> Report {
    let panicked = watch_panics();
    let panics_before = panicked.load(Ordering::Relaxed);
    let struck = Arc::new(Struck::default());
    let run = Arc::new(start(dir, schedule, struck).await);
    let clients = start_clients(&run);
    let nemeses = nemesis::start(&run);
    tokio::time::sleep(run.schedule.load).await;
    // On a busy machine what was asked for comes later.
    let enough = async {
        let (what, wanted) = run.schedule.enough;
        while !lacking(&run).is_empty() || locked(&run.successes).get(what).copied().unwrap_or(0) < wanted {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let _whichever = patiently(EXTRA_LOAD, enough).await;

    run.over.send_replace(true);
    for nemesis in nemeses {
        finish(&run, "an act of the nemesis", nemesis).await;
    }
    run.cluster.network.heal_all();
    run.gateways.calm();
    for wire in &run.wires {
        wire.calm();
    }
    for client in clients {
        finish(&run, "a client", client).await;
    }
    judge(&run).await;
    if panicked.load(Ordering::Relaxed) > panics_before {
        run.fault("a task panicked".into());
    }
    run.gateways.stop();
    run.cluster.stop().await;
    report(&run)
}

fn watch_panics() -> &'static AtomicU64 {
    static PANICS: AtomicU64 = AtomicU64::new(0);
    static WATCHED: Once = Once::new();
    WATCHED.call_once(|| {
        let told = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.fetch_add(1, Ordering::Relaxed);
            told(panic);
        }));
    });
    &PANICS
}

async fn start(dir: &Path, schedule: Schedule, struck: Arc<Struck>) -> Run {
    let config = DbConfig {
        rpc_timeout: Duration::from_secs(2),
        wait_timeout: Duration::from_secs(6),
        // Small for gateways that are refused connections, so that a commit fails while part of it is done.
        unavailable_after: schedule.gateways_try,
        heartbeat_interval: schedule.txn_expiry / 6,
        // Whoever asks for it is heard.
        spill_bytes: 0,
        // Both ways to send what was written.
        packed_writes_min: if schedule.seed.is_multiple_of(2) { 1 } else { 64 },
        ..DbConfig::default()
    };
    let members = DbConfig { unavailable_after: Duration::from_secs(15), ..config.clone() };
    let wires = Arc::new(Mutex::new(Vec::new()));
    let between = {
        let (wires, struck, troubles, seed) =
            (wires.clone(), struck.clone(), schedule.store_troubles, schedule.seed * 10);
        move |number, transport| -> Arc<dyn Transport> {
            let wire = Wire::new(transport, troubles, struck.clone(), seed + number);
            locked(&wires).push(wire.clone());
            wire
        }
    };
    let offsets = [0, 1, -1].map(|sign| sign * schedule.skew_ms);
    let stores = StoreTuning {
        txn_expiry: schedule.txn_expiry,
        // Both ways to keep what was locked.
        bulk_locks_min: if schedule.seed.is_multiple_of(2) { 2 } else { StoreTuning::default().bulk_locks_min },
        ..StoreTuning::default()
    };
    let wires_config = schedule.wires.clone();
    let cluster =
        Cluster::start_over_wires(dir, schedule.seed, wires_config, &offsets, members, stores, between).await;
    let db = &cluster.members[0].db;
    // What belongs to one transaction lies in several ranges from the start.
    let quarters = (1..4).map(|quarter| lists::list_key(schedule.window * quarter / 4));
    let splits = b"bltz".iter().map(|letter| key(*letter, &[])).chain([key(b'b', &[4])]).chain(quarters);
    for at in splits {
        settle("a split", || async { db.split_at(&at).await.is_ok() }).await;
    }
    settle("opening the bank", || async { bank::open(db).await.is_ok() }).await;
    let options = GatewayOptions {
        count: schedule.gateways,
        config,
        troubles: schedule.troubles,
        skew_ms: schedule.skew_ms,
        seed: schedule.seed,
    };
    let stores = (1..=cluster.members.len() as u64).map(NodeId::new).collect();
    let gateways = Gateways::new(cluster.network.clone(), stores, options, struck.clone());
    Run {
        schedule,
        cluster: Arc::new(cluster),
        gateways,
        struck,
        wires: std::mem::take(&mut *locked(&wires)),
        since: Instant::now(),
        over: watch::Sender::new(false),
        elements: AtomicU64::new(0),
        history: Mutex::default(),
        successes: Mutex::default(),
        faults: Mutex::default(),
    }
}

/// Waits for so long, counted in short sleeps: on a machine that has no time for this process it does not pass.
async fn patiently<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    const SLEEP: Duration = Duration::from_millis(10);
    let passes = async {
        for _ in 0..limit.as_millis() / SLEEP.as_millis() {
            tokio::time::sleep(SLEEP).await;
        }
    };
    tokio::select! {
        biased;
        outcome = work => Some(outcome),
        () = passes => None,
    }
}

/// Tries until it succeeds.
async fn settle<F: Future<Output = bool>>(what: &str, attempt: impl Fn() -> F) {
    let done = async { while !attempt().await {} };
    patiently(PATIENCE, done).await.unwrap_or_else(|| panic!("before anything goes wrong: {what}"));
}

fn start_clients(run: &Arc<Run>) -> Vec<JoinHandle<()>> {
    let schedule = &run.schedule;
    let seed = |n: usize| schedule.seed.wrapping_mul(1009).wrapping_add(n as u64);
    let mut clients = Vec::new();
    for n in 0..schedule.list_clients {
        clients.push(tokio::spawn(lists::client(run.clone(), n, seed(n))));
    }
    for n in 0..schedule.scan_clients {
        clients.push(tokio::spawn(lists::scanner(run.clone(), n * 5 + 2, seed(50 + n))));
    }
    for n in 0..schedule.bank_clients {
        clients.push(tokio::spawn(bank::client(run.clone(), n + 1, seed(100 + n))));
    }
    for n in 0..schedule.register_clients {
        clients.push(tokio::spawn(registers::client(run.clone(), n as u32, seed(200 + n))));
    }
    if schedule.tables {
        clients.push(tokio::spawn(tables::client(run.clone(), seed(300))));
    }
    clients
}

async fn finish(run: &Arc<Run>, who: &str, task: JoinHandle<()>) {
    let end = task.abort_handle();
    match patiently(PATIENCE, task).await {
        Some(Ok(())) => {}
        // Its panic was counted.
        Some(Err(_)) => {}
        None => {
            end.abort();
            run.fault(format!("hangs: {who}, {PATIENCE:?} after the last fault"));
        }
    }
}

async fn judge(run: &Arc<Run>) {
    let db = &run.cluster.members[0].db;
    match read_the_end(db).await {
        Some(last) => judge_lists(run, &last),
        None => run.fault("the end cannot be read".into()),
    }
    let audited = async { while bank::audit_the_end(run, db).await.is_err() {} };
    if patiently(PATIENCE, audited).await.is_none() {
        run.fault("the bank cannot be audited in the end".into());
    }
    whole_again(run).await;
    for what in lacking(run) {
        run.fault(format!("an empty run: no {what}, which the schedule asks for"));
    }
}

/// What the schedule asks for and has not come so far.
fn lacking(run: &Run) -> Vec<&'static str> {
    let (successes, struck) = (locked(&run.successes), run.struck.counts());
    let succeeded = run.schedule.must_succeed().into_iter().filter(|what| !successes.contains_key(what));
    succeeded.chain(run.schedule.asked_for().into_iter().filter(|what| !struck.contains_key(what))).collect()
}

async fn read_the_end(db: &Db) -> Option<BTreeMap<list_append::Key, Vec<Element>>> {
    let read = async {
        loop {
            match lists::read_all(db).await {
                Ok(lists) => return lists,
                Err(error) => eprintln!("reading the end: {error}"),
            }
        }
    };
    patiently(PATIENCE, read).await
}

fn judge_lists(run: &Arc<Run>, last: &BTreeMap<list_append::Key, Vec<Element>>) {
    let history = locked(&run.history);
    // Cycles that only real time closes are allowed: serializability is promised, and that of single keys in real time.
    for anomaly in list_append::check(&history, Some(last)).anomalies {
        run.fault(format!("lists: {anomaly}"));
    }
}

/// Waits until every range is whole: each of its voters has it, at its newest description and with the same rows.
async fn whole_again(run: &Arc<Run>) {
    let lacking = Mutex::new("the ranges cannot be listed in the end".to_owned());
    let whole = async {
        while let Some(found) = what_is_not_whole(&run.cluster).await {
            *locked(&lacking) = found;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    if patiently(PATIENCE, whole).await.is_none() {
        run.fault(locked(&lacking).clone());
    }
}

async fn what_is_not_whole(cluster: &Cluster) -> Option<String> {
    let db = &cluster.members[0].db;
    let ranges = match db.ranges_in(&Span::new(keys::Key::MIN, keys::Key::MAX)).await {
        Ok(ranges) => ranges,
        Err(error) => return Some(format!("the ranges cannot be listed in the end: {error}")),
    };
    let ts = db.clock().now();
    ranges.iter().find_map(|range| lacks(cluster, range, ts))
}

fn lacks(cluster: &Cluster, range: &RangeDescriptor, ts: Timestamp) -> Option<String> {
    let (mut sums, mut logs) = (Vec::new(), Vec::new());
    for voter in range.voters() {
        let member = &cluster.members[usize::try_from(voter.store_id.get()).ok()? - 1];
        let Some(replica) = member.store.replica(range.range_id) else {
            return Some(format!("under-replicated: {} has no replica of {range}", voter.store_id));
        };
        let known = replica.descriptor();
        if replica.replica_id() != voter.replica_id || known.as_deref() != Some(range) {
            let known = known.map_or_else(|| "nothing".to_owned(), |known| known.to_string());
            return Some(format!("under-replicated: {} knows {known} where {range} is", voter.store_id));
        }
        match member.store.engine().checksum(&range.span(), ts) {
            Ok(sum) => {
                let log = replica.group().status();
                sums.push(sum);
                logs.push((log.term, log.leader, log.first_index, log.last_index, log.applied_index));
            }
            Err(error) => return Some(format!("{} cannot read {range}: {error}", voter.store_id)),
        }
    }
    let is_one = sums.windows(2).all(|pair| pair[0] == pair[1]);
    (!is_one).then(|| {
        format!("replicas differ: {range} at {ts}: {sums:x?}; term, leader, first, last and applied entry: {logs:?}")
    })
}

fn report(run: &Run) -> Report {
    let mut outcomes = BTreeMap::new();
    for transaction in locked(&run.history).iter() {
        let name = match transaction.outcome {
            Outcome::Ok => "committed",
            Outcome::Fail => "aborted",
            Outcome::Info => "unknown",
        };
        *outcomes.entry(name).or_default() += 1;
    }
    Report {
        schedule: run.schedule.clone(),
        successes: locked(&run.successes).clone(),
        struck: run.struck.counts(),
        outcomes,
        faults: locked(&run.faults).iter().cloned().collect(),
    }
}
