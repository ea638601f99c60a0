//! A store cut off at any moment and at every boundary, by a kill or by the power: what it acknowledged is there.
//!
//! The store under test does what a node does: an entry is acknowledged when the log has it, applied after that, the
//! state flushed now and then, and the log purged up to what was flushed.

mod disk;

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};

use bytes::Bytes;
use disk::Cut;
use fail::FailScenario;
use hlc::Timestamp;
use keys::{Key, NodeId, RangeId, Span, StoreId};
use storage::log::{LogEntry, LogHealth, LogOp, LogStore, LogStoreConfig};
use storage::{
    Engine, EngineConfig, EncryptionConfig, KeySource, ReadOptions, ScanLimits, StorageError, StoreFiles, StoreIdentity, WriteBatch,
};
use tempfile::TempDir;

const RANGE: RangeId = RangeId::new(1);
const KEYS: u64 = 40;
const APPLIED: &[u8] = b"\x01applied";
const CUTS: [fn(u64) -> Cut; 3] = [|_| Cut::Power, Cut::Torn, |_| Cut::Kill];

/// The file of the key that stores are encrypted with, once they are.
static KEY: OnceLock<PathBuf> = OnceLock::new();

fn store_files(dir: &Path) -> StoreFiles {
    std::fs::create_dir_all(dir).unwrap();
    let key = KEY.get().map(|path| KeySource::File(path.clone()));
    StoreFiles::open(dir, &EncryptionConfig { key, ..EncryptionConfig::default() }).unwrap()
}

fn open_engine(dir: &Path) -> Result<Engine, StorageError> {
    Engine::open_with(dir, &engine_config(), &store_files(dir))
}

/// Memory tables this small are written out all the time.
fn log_config(dir: &Path) -> LogStoreConfig {
    let new = LogStoreConfig { files: store_files(dir), ..LogStoreConfig::new(dir.join("log")) };
    LogStoreConfig { tail_bytes: 8 << 10, memtable_bytes: 64 << 10, wal_recycle: 2, ..new }
}

fn engine_config() -> EngineConfig {
    EngineConfig { memtable_bytes: 64 << 10, ..EngineConfig::small() }
}

fn key(index: u64) -> Vec<u8> {
    format!("key{:03}", index % KEYS).into_bytes()
}

/// Of a size that depends on the index, and nothing that compresses.
fn payload(index: u64) -> Bytes {
    let mut state = index.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let length = 200 + index % 7 * 300;
    let bytes = (0..length).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    });
    bytes.collect::<Vec<u8>>().into()
}

fn durable(log: &LogStore, op: LogOp) {
    let (done, wait) = mpsc::channel();
    log.submit(op, Box::new(move || done.send(()).expect("the store waits")));
    wait.recv().expect("completions run");
}

fn apply(engine: &Engine, index: u64, payload: &[u8]) {
    let mut batch = WriteBatch::new();
    batch.put_version(&key(index), Timestamp::new(index, 0), Some(payload));
    batch.put_local(APPLIED, &index.to_be_bytes());
    engine.apply(&batch).unwrap();
}

fn applied(value: Option<Bytes>) -> u64 {
    value.map_or(0, |value| u64::from_be_bytes(value.as_ref().try_into().unwrap()))
}

/// A store that a thread of its own writes to until it is dropped.
struct Running {
    acknowledged: Arc<AtomicU64>,
    voted: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Running {
    fn start(dir: &Path) -> Self {
        StoreIdentity::new(uuid::Uuid::from_u128(1), NodeId::new(1), StoreId::new(1)).write(dir).unwrap();
        let engine = open_engine(dir).unwrap();
        let (log, found) = LogStore::open(&log_config(dir)).unwrap();
        assert_eq!(found.health, LogHealth::Sound);
        let (acknowledged, voted) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (acknowledged, voted, stop) = (acknowledged.clone(), voted.clone(), stop.clone());
            std::thread::spawn(move || {
                for index in 1.. {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let data = payload(index);
                    let entries = vec![LogEntry { index, data: data.clone() }];
                    durable(&log, LogOp::Append { range_id: RANGE, entries });
                    acknowledged.store(index, Ordering::SeqCst);
                    apply(&engine, index, &data);
                    if index % 8 == 0 {
                        let vote = Bytes::copy_from_slice(&index.to_be_bytes());
                        durable(&log, LogOp::SaveVote { range_id: RANGE, vote });
                        voted.store(index, Ordering::SeqCst);
                    }
                    if index % 50 == 0 {
                        engine.flush().unwrap();
                    }
                    if index % 25 == 0 {
                        let up_to = applied(engine.read_flushed_local(APPLIED).unwrap());
                        let last = Bytes::copy_from_slice(&up_to.to_be_bytes());
                        durable(&log, LogOp::Purge { range_id: RANGE, up_to, last });
                    }
                }
            })
        };
        Self { acknowledged, voted, stop, thread: Some(thread) }
    }

    fn wait_for(&self, index: u64) {
        while self.acknowledged.load(Ordering::SeqCst) < index {
            std::thread::yield_now();
        }
    }

    fn promised(&self) -> Promised {
        Promised::read(&self.acknowledged, &self.voted)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let ended = self.thread.take().expect("stopped once").join();
        assert!(ended.is_ok() || std::thread::panicking());
    }
}

/// What had been acknowledged before a cut.
#[derive(Clone, Copy, Debug)]
struct Promised {
    acknowledged: u64,
    voted: u64,
}

impl Promised {
    fn read(acknowledged: &AtomicU64, voted: &AtomicU64) -> Self {
        Self { acknowledged: acknowledged.load(Ordering::SeqCst), voted: voted.load(Ordering::SeqCst) }
    }
}

/// Opens what a cut left, and compares it with what was promised.
fn check(dir: &Path, promised: Promised, what: &str) {
    let identity = StoreIdentity::read(dir).unwrap().expect("the first thing written");
    assert_eq!(identity.store_id, StoreId::new(1));
    let (log, found) = LogStore::open(&log_config(dir)).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(found.health, LogHealth::Sound, "{what}");
    let engine = open_engine(dir).unwrap_or_else(|error| panic!("{what}: {error}"));
    let from = applied(engine.get_local(APPLIED).unwrap());
    let (first, last) = found.groups.first().map_or((1, 0), |group| (group.first, group.last));
    assert!(last >= promised.acknowledged, "{what}: the log ends at {last}, {promised:?}");
    assert!(first <= from + 1, "{what}: the log begins at {first}, the state was applied up to {from}");
    let vote = found.groups.first().and_then(|group| group.vote.clone());
    assert!(applied(vote) >= promised.voted, "{what}: a vote is lost, {promised:?}");

    // *applied-with-data*: the state is what the entries up to its position made of it.
    assert_state(&engine, from, what);
    for entry in log.read(RANGE, from + 1, last + 1, usize::MAX).unwrap() {
        assert_eq!(entry.data, payload(entry.index), "{what}");
        apply(&engine, entry.index, &entry.data);
    }
    assert_state(&engine, last, what);
    log.close();
}

fn assert_state(engine: &Engine, upto: u64, what: &str) {
    let all = Span::new(Key::from(&b"key"[..]), Key::from(&b"l"[..]));
    // At the newest, and in the past.
    for at in [u64::MAX >> 1, upto / 2] {
        let read = ReadOptions::at(Timestamp::new(at, 0));
        let found = engine.scan(&all, &read, ScanLimits::default()).unwrap();
        let upto = upto.min(at);
        let mut expected: Vec<(Vec<u8>, Bytes)> =
            (upto.saturating_sub(KEYS) + 1..=upto).map(|index| (key(index), payload(index))).collect();
        expected.sort();
        let found: Vec<(Vec<u8>, Bytes)> =
            found.rows.iter().map(|(key, value)| (key.to_vec(), Bytes::copy_from_slice(value))).collect();
        assert!(found == expected, "{what}: state at {at} of {upto}: {} rows", found.len());
    }
}

/// The watched root, and beside it where cuts leave what is left.
struct Scratch {
    root: TempDir,
    left: TempDir,
}

fn scratch() -> Scratch {
    let scratch = Scratch { root: TempDir::new().unwrap(), left: TempDir::new().unwrap() };
    disk::watch(scratch.root.path());
    disk::assert_in_place(scratch.root.path());
    scratch
}

fn at_random_moments(scratch: &Scratch) {
    let live = scratch.root.path().join("moments");
    std::fs::create_dir(&live).unwrap();
    let running = Running::start(&live);
    let mut at = 0;
    for round in 0..24_u64 {
        // Apart by different amounts, so that the cuts fall on all parts of the cycle of flushes.
        at += 17 + round * 7919 % 83;
        running.wait_for(at);
        let promised = running.promised();
        let cut = CUTS[round as usize % 3](round);
        let left = scratch.left.path().join("left");
        disk::cut(&live, &left, cut);
        check(&left, promised, &format!("{cut:?} at {at}"));
        std::fs::remove_dir_all(left).unwrap();
    }
}

const BOUNDARIES: [&str; 7] = [
    "log::before_write",
    "log::after_sync",
    "log::before_ack",
    "engine::before_apply",
    "engine::after_apply",
    "engine::before_flush",
    "engine::after_flush",
];
const CUTS_PER_BOUNDARY: usize = 6;

fn at_every_boundary(scratch: &Scratch) {
    let _scenario = FailScenario::setup();
    for boundary in BOUNDARIES {
        let live = scratch.root.path().join(boundary.replace("::", "_"));
        std::fs::create_dir(&live).unwrap();
        let running = Running::start(&live);
        running.wait_for(40);
        let (sender, cuts) = mpsc::channel();
        let next = Mutex::new(0);
        let (acknowledged, voted) = (running.acknowledged.clone(), running.voted.clone());
        let left = scratch.left.path().to_owned();
        fail::cfg_callback(boundary, move || {
            let mut next = next.lock().unwrap();
            if *next == CUTS_PER_BOUNDARY {
                return;
            }
            let cut = CUTS[*next % CUTS.len()](*next as u64);
            let promised = Promised::read(&acknowledged, &voted);
            let left = left.join(next.to_string());
            disk::cut(&live, &left, cut);
            sender.send((left, promised, cut)).expect("the test listens");
            *next += 1;
        })
        .unwrap();
        for _ in 0..CUTS_PER_BOUNDARY {
            let (left, promised, cut) = cuts.recv().expect("the boundary is met");
            check(&left, promised, &format!("{cut:?} at {boundary}"));
            std::fs::remove_dir_all(left).unwrap();
        }
        fail::remove(boundary);
    }
}

/// Cuts in every way whenever `point` is passed, and answers what is left.
fn cut_at(point: &str, live: &Path, left: &Path) -> mpsc::Receiver<(PathBuf, Cut)> {
    let (sender, cuts) = mpsc::channel();
    let (live, left) = (live.to_owned(), left.to_owned());
    let count = AtomicU64::new(0);
    fail::cfg_callback(point, move || {
        for cut in CUTS {
            let number = count.fetch_add(1, Ordering::SeqCst);
            let to = left.join(format!("cut{number}"));
            disk::cut(&live, &to, cut(number));
            sender.send((to, cut(number))).expect("the test listens");
        }
    })
    .unwrap();
    cuts
}

/// *ingest-all-or-nothing*, by what was synced.
fn at_every_step_of_an_ingest(scratch: &Scratch) {
    let _scenario = FailScenario::setup();
    let source = open_engine(&scratch.left.path().join("source")).unwrap();
    (1..=80).for_each(|index| apply(&source, index, &payload(index)));
    let spans = [Span::new(Key::from(&b"key"[..]), Key::from(&b"l"[..]))];
    let local = [Span::prefix(Key::from(APPLIED))];
    for (point, expected) in [
        ("ingest::files_written", 40),
        ("format::before_rename", 40),
        ("ingest::decided", 80),
        ("ingest::cleared", 80),
        ("ingest::one_file", 80),
        ("ingest::all_files", 80),
        ("ingest::undecided", 80),
    ] {
        let live = scratch.root.path().join(point.replace("::", "_"));
        let engine = open_engine(&live).unwrap();
        (1..=40).for_each(|index| apply(&engine, index, &payload(index)));
        engine.flush().unwrap();
        let left = scratch.left.path().join(point);
        let cuts = cut_at(point, &live, &left);
        let chunks = source.snapshot().chunks(spans.to_vec(), local.to_vec()).map(Result::unwrap);
        engine.ingest(chunks, &spans, &local, &[]).unwrap();
        fail::remove(point);
        let mut count = 0;
        for (dir, cut) in cuts.try_iter() {
            let what = format!("{cut:?} at {point}");
            let engine = open_engine(&dir).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(applied(engine.get_local(APPLIED).unwrap()), expected, "{what}");
            assert_state(&engine, expected, &what);
            count += 1;
        }
        assert!(count >= CUTS.len(), "{point} was passed");
    }
}

/// A directory says whose it is, or nothing at all.
fn at_every_step_of_an_identity(scratch: &Scratch) {
    let _scenario = FailScenario::setup();
    let identity = |node| StoreIdentity::new(uuid::Uuid::from_u128(1), NodeId::new(node), StoreId::new(node));
    for point in ["format::before_rename", "format::before_sync"] {
        let live = scratch.root.path().join(format!("identity_{}", point.replace("::", "_")));
        std::fs::create_dir(&live).unwrap();
        let cuts = cut_at(point, &live, &scratch.left.path().join("identity").join(point));
        identity(1).write(&live).unwrap();
        let first: Vec<_> = cuts.try_iter().map(|(dir, _)| StoreIdentity::read(&dir).unwrap()).collect();
        assert!(first.iter().all(|found| found.is_none() || *found == Some(identity(1))), "{first:?}");
        identity(2).write(&live).unwrap();
        let second: Vec<_> = cuts.try_iter().map(|(dir, _)| StoreIdentity::read(&dir).unwrap()).collect();
        assert!(second.iter().all(|found| *found == Some(identity(1)) || *found == Some(identity(2))), "{second:?}");
        assert_eq!((first.len(), second.len()), (CUTS.len(), CUTS.len()));
        fail::remove(point);
    }
}

const FULL_DISK_DIR: &str = "QUORATE_TEST_FULL_DISK_DIR";
const FULL_DISK_PART: &str = "QUORATE_TEST_FULL_DISK_PART";

/// Whichever part of the store finds the disk full, the process ends with a line that says why, and what it
/// acknowledged is there.
fn on_a_full_disk(scratch: &Scratch, part: &str) {
    let dir = scratch.left.path().join(part);
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "nothing_acknowledged_is_lost", "--nocapture"]);
    let output = child.env(FULL_DISK_DIR, &dir).env(FULL_DISK_PART, part).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("the {part} cannot be written")), "{said}");
    assert!(said.contains("no space left on the device"), "{said}");
    let printed = String::from_utf8_lossy(&output.stdout);
    let acknowledged = printed.lines().filter_map(|line| line.strip_prefix("acknowledged ")?.parse().ok()).max();
    let promised = Promised { acknowledged: acknowledged.expect("some were"), voted: 0 };
    check(&dir, promised, &format!("after a full disk under the {part}"));
}

fn fill_the_disk(dir: &Path) {
    std::fs::create_dir(dir).unwrap();
    disk::watch(dir);
    let running = Running::start(dir);
    running.wait_for(60);
    // On a line of its own, and before the end can come: the test's name stands on the first.
    println!("\nacknowledged {}", running.acknowledged.load(Ordering::SeqCst));
    disk::fill(&dir.join(std::env::var_os(FULL_DISK_PART).unwrap()));
    loop {
        // What was acknowledged before the line is written is known to be.
        println!("acknowledged {}", running.acknowledged.load(Ordering::SeqCst));
        std::thread::yield_now();
    }
}

const KEY_FILE: &str = "QUORATE_TEST_KEY_FILE";

/// The disk is the process's, so all of this is one test.
#[test]
fn nothing_acknowledged_is_lost() {
    if let Some(path) = std::env::var_os(KEY_FILE) {
        KEY.set(path.into()).unwrap();
    }
    if let Some(dir) = std::env::var_os(FULL_DISK_DIR) {
        fill_the_disk(Path::new(&dir));
    }
    let scratch = scratch();
    at_random_moments(&scratch);
    at_every_boundary(&scratch);
    at_every_step_of_an_ingest(&scratch);
    at_every_step_of_an_identity(&scratch);
    on_a_full_disk(&scratch, "log");
    on_a_full_disk(&scratch, "state");
    if KEY.get().is_none() {
        // All of it again, in stores that are encrypted.
        let path = scratch.left.path().join("key");
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).unwrap();
        file.write_all(&[7; 32]).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "nothing_acknowledged_is_lost", "--nocapture"]).env(KEY_FILE, path);
        assert!(child.status().unwrap().success(), "encrypted");
    }
}
