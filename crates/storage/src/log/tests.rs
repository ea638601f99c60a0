//! What the log promises, attacked one promise at a time.

use std::{ffi::OsString, sync::mpsc};

use rocksdb::statistics::Ticker;
use rustc_hash::FxHashMap;
use tempfile::TempDir;

use super::{writer::Step, *};

fn open(dir: &Path) -> (LogStore, Recovered) {
    LogStore::open(&LogStoreConfig::new(dir)).expect("the log opens")
}

fn entries(indexes: std::ops::RangeInclusive<u64>) -> Vec<LogEntry> {
    indexes.map(|index| LogEntry { index, data: Bytes::from(format!("entry {index}")) }).collect()
}

fn append(indexes: std::ops::RangeInclusive<u64>) -> LogOp {
    LogOp::Append { range_id: RangeId::new(1), entries: entries(indexes) }
}

/// Submits and waits until it is durable.
fn durable(store: &LogStore, op: LogOp) {
    let (done, wait) = mpsc::channel();
    store.submit(op, Box::new(move || done.send(()).expect("the test waits")));
    wait.recv().expect("completions run");
}

const RANGE: RangeId = RangeId::new(1);

#[test]
fn what_was_written_is_there_again() {
    let dir = TempDir::new().unwrap();
    let (store, found) = open(dir.path());
    assert_eq!((found.health, found.groups.len()), (LogHealth::Sound, 0));
    durable(&store, append(11..=20));
    durable(&store, LogOp::SaveVote { range_id: RANGE, vote: Bytes::from_static(b"vote") });
    durable(&store, LogOp::Truncate { range_id: RANGE, after: 18 });
    durable(&store, LogOp::Purge { range_id: RANGE, up_to: 12, last: Bytes::from_static(b"12") });
    durable(&store, LogOp::PutMeta { key: Bytes::from_static(b"k"), value: Bytes::from_static(b"v") });
    durable(&store, LogOp::Append { range_id: RangeId::new(2), entries: entries(1..=1) });
    durable(&store, LogOp::RemoveGroup { range_id: RangeId::new(2) });
    store.close();
    drop(store);

    let (store, found) = open(dir.path());
    assert_eq!(found.health, LogHealth::Sound);
    assert_eq!(found.metas, [(Bytes::from_static(b"k"), Bytes::from_static(b"v"))]);
    let expected = GroupLog {
        range_id: RANGE,
        vote: Some(Bytes::from_static(b"vote")),
        committed: None,
        purged: Some(Bytes::from_static(b"12")),
        purged_index: 12,
        first: 13,
        last: 18,
        last_entry: Some(Bytes::from_static(b"entry 18")),
    };
    assert_eq!(found.groups, [expected]);
    assert_eq!(store.read(RANGE, 0, 100, usize::MAX).unwrap(), entries(13..=18));
    assert_eq!(store.read(RANGE, 14, 17, 1).unwrap(), entries(14..=14));
}

#[test]
fn appended_entries_are_readable_before_they_are_durable() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(dir.path());
    // The writer is held in the completion of the first operation.
    let (release, held) = mpsc::channel::<()>();
    let (started, wait) = mpsc::channel();
    store.submit(
        append(1..=1),
        Box::new(move || {
            started.send(()).expect("the test waits");
            held.recv().expect("the test releases");
        }),
    );
    wait.recv().unwrap();
    store.submit(append(2..=5), ignore());
    assert_eq!(store.read(RANGE, 1, 9, usize::MAX).unwrap(), entries(1..=5));
    store.submit(LogOp::Truncate { range_id: RANGE, after: 3 }, ignore());
    store.submit(append(4..=4), ignore());
    assert_eq!(store.bounds(RANGE), Some((1, 4)));
    release.send(()).unwrap();
    store.close();
}

#[derive(Debug, PartialEq)]
enum Event {
    Writer(writer::Step),
    Done(u64),
}

#[test]
fn durable_before_ack() {
    let dir = TempDir::new().unwrap();
    let (events, seen) = mpsc::channel();
    let (release, held) = mpsc::channel::<()>();
    let steps = events.clone();
    let hook = move |step| {
        steps.send(Event::Writer(step)).expect("the test listens");
        if step == Step::BeforeWrite {
            held.recv().expect("the test releases");
        }
    };
    let (store, _) = LogStore::open_hooked(&LogStoreConfig::new(dir.path()), Some(Box::new(hook))).unwrap();
    let submit = |index: u64| {
        let events = events.clone();
        store.submit(
            append(index..=index),
            Box::new(move || events.send(Event::Done(index)).expect("the test listens")),
        );
    };
    submit(1);
    assert_eq!(seen.recv().unwrap(), Event::Writer(Step::BeforeWrite));
    // The first write is held, so these wait and are written together.
    for index in 2..=50 {
        submit(index);
    }
    assert!(seen.try_recv().is_err(), "nothing is acknowledged before its write");
    release.send(()).unwrap();
    release.send(()).unwrap();
    store.close();
    let events: Vec<Event> = seen.try_iter().collect();
    let mut expected = vec![Event::Writer(Step::Synced), Event::Done(1)];
    expected.extend([Event::Writer(Step::BeforeWrite), Event::Writer(Step::Synced)]);
    expected.extend((2..=50).map(Event::Done));
    assert_eq!(events, expected);
    // RocksDB counts the syncs it makes: each of ours was one.
    assert_eq!(store.shared.options.get_ticker_count(Ticker::WalFileSynced), 2);
    assert_eq!(store.metrics().syncs.load(Ordering::SeqCst), 2);
}

fn log_lengths(dir: &Path) -> FxHashMap<OsString, u64> {
    let files = std::fs::read_dir(dir.join("rocks")).unwrap().map(Result::unwrap);
    files
        .filter(|file| file.path().extension().is_some_and(|extension| extension == "log"))
        .map(|file| (file.file_name(), file.metadata().unwrap().len()))
        .collect()
}

/// A power cut leaves of each file what was there at the last sync. Everything acknowledged must be in it.
#[test]
fn a_power_cut_takes_nothing_acknowledged() {
    let dir = TempDir::new().unwrap();
    let live = dir.path().join("live");
    let at_sync = Arc::new(Mutex::new(FxHashMap::default()));
    let hook = {
        let (live, at_sync) = (live.clone(), at_sync.clone());
        move |step| {
            if step == Step::Synced {
                *at_sync.lock() = log_lengths(&live);
            }
        }
    };
    // Memory tables this small make new log files on the way.
    let config = LogStoreConfig { memtable_bytes: 64 << 10, ..LogStoreConfig::new(&live) };
    let (store, _) = LogStore::open_hooked(&config, Some(Box::new(hook))).unwrap();
    let mut cut_off = 0;
    for round in 1..=12u64 {
        let last = round * 10;
        for index in last - 9..=last {
            let data = Bytes::from(vec![u8::try_from(round).unwrap(); 1000]);
            durable(&store, LogOp::Append { range_id: RANGE, entries: vec![LogEntry { index, data }] });
        }
        durable(&store, LogOp::SaveVote { range_id: RANGE, vote: Bytes::from(round.to_string()) });
        // Not synced, so a power cut takes it.
        durable(&store, LogOp::SaveCommitted { range_id: RANGE, committed: Bytes::from(round.to_string()) });
        let cut = dir.path().join(format!("cut{round}"));
        copy_dir(&live, &cut);
        for (name, length) in log_lengths(&cut) {
            let kept = at_sync.lock().get(&name).copied().unwrap_or(0).min(length);
            cut_off += length - kept;
            let file = std::fs::OpenOptions::new().write(true).open(cut.join("rocks").join(name)).unwrap();
            file.set_len(kept).unwrap();
        }
        let (reopened, found) = open(&cut);
        assert_eq!(found.health, LogHealth::Sound, "round {round}");
        assert_eq!((found.groups[0].first, found.groups[0].last), (1, last));
        assert_eq!(found.groups[0].vote, Some(Bytes::from(round.to_string())));
        assert_eq!(reopened.read(RANGE, 1, u64::MAX, usize::MAX).unwrap().len() as u64, last);
    }
    assert!(cut_off > 0, "the cuts took what was not synced");
    store.close();
}

#[test]
fn what_waits_together_is_synced_together() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(dir.path());
    let (release, held) = mpsc::channel::<()>();
    let (started, wait) = mpsc::channel();
    store.submit(
        append(1..=1),
        Box::new(move || {
            started.send(()).expect("the test waits");
            held.recv().expect("the test releases");
        }),
    );
    wait.recv().unwrap();
    let before = store.metrics().syncs.load(Ordering::SeqCst);
    for range in 2..40 {
        store.submit(LogOp::Append { range_id: RangeId::new(range), entries: entries(1..=3) }, ignore());
    }
    release.send(()).unwrap();
    store.close();
    assert_eq!(store.metrics().syncs.load(Ordering::SeqCst), before + 1);
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The live files of a log, cut down to what a power cut would leave when everything after the WAL's `bytes` is lost.
fn cut_wal(dir: &Path, keep: impl Fn(u64) -> u64) {
    for entry in std::fs::read_dir(dir.join("rocks")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "log") {
            let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
            let length = file.metadata().unwrap().len();
            file.set_len(keep(length)).unwrap();
        }
    }
}

#[test]
fn watermark_detects_loss() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(&dir.path().join("live"));
    for index in 1..=100 {
        durable(&store, append(index..=index));
    }
    // As it stands while the process runs: what a kill leaves.
    copy_dir(&dir.path().join("live"), &dir.path().join("killed"));
    copy_dir(&dir.path().join("live"), &dir.path().join("shortened"));
    let (killed, found) = open(&dir.path().join("killed"));
    assert_eq!(found.health, LogHealth::Sound);
    assert_eq!(killed.bounds(RANGE), Some((1, 100)));
    cut_wal(&dir.path().join("shortened"), |length| length / 2);
    let (_, found) = open(&dir.path().join("shortened"));
    assert!(
        matches!(found.health, LogHealth::Suspect { synced, found } if found < synced),
        "{:?}",
        found.health
    );
}

#[test]
fn entries_that_left_memory_are_read_from_disk() {
    let dir = TempDir::new().unwrap();
    let config = LogStoreConfig { tail_bytes: 1000, ..LogStoreConfig::new(dir.path()) };
    let (store, _) = LogStore::open(&config).unwrap();
    for index in 1..=300 {
        durable(&store, append(index..=index));
    }
    assert_eq!(store.read(RANGE, 1, 301, usize::MAX).unwrap(), entries(1..=300));
    assert!(store.metrics().tail_misses.load(Ordering::SeqCst) > 0);
}

#[test]
#[should_panic(expected = "append-contiguous")]
fn append_contiguous() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(dir.path());
    durable(&store, append(1..=3));
    store.submit(append(5..=5), ignore());
}

fn marked(indexes: std::ops::RangeInclusive<u64>, mark: &str) -> Vec<LogEntry> {
    indexes.map(|index| LogEntry { index, data: Bytes::from(format!("{mark} {index}")) }).collect()
}

/// Holds the writer in a completion until the sender is used or dropped.
fn hold_writer(store: &LogStore) -> mpsc::Sender<()> {
    let (release, held) = mpsc::channel::<()>();
    let (started, wait) = mpsc::channel();
    let op = LogOp::PutMeta { key: Bytes::from_static(b"hold"), value: Bytes::new() };
    store.submit(
        op,
        Box::new(move || {
            started.send(()).expect("the test waits");
            let _released = held.recv();
        }),
    );
    wait.recv().unwrap();
    release
}

/// What was truncated is still on disk while the truncation waits; readers must not see it.
#[test]
fn a_read_that_begins_on_disk_sees_no_truncated_entries() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(dir.path());
    durable(&store, append(1..=20));
    store.close();
    drop(store);
    // Nothing is in memory now.
    let (store, _) = open(dir.path());
    let release = hold_writer(&store);
    store.submit(LogOp::Truncate { range_id: RANGE, after: 10 }, ignore());
    store.submit(LogOp::Append { range_id: RANGE, entries: marked(11..=15, "new") }, ignore());
    let found = store.read(RANGE, 8, 16, usize::MAX).unwrap();
    drop(release);
    assert_eq!(found, [entries(8..=10), marked(11..=15, "new")].concat());
    store.close();
}

/// *tail-until-durable*: the sync of an entry that was truncated meanwhile says nothing of the one in its place.
#[test]
fn tail_until_durable() {
    let tails = Tails::new(0, &[], &[]);
    let mut numbers = Vec::new();
    let mut submit = |op| tails.submit(vec![(op, ())], |_, number| numbers.push(number));
    submit(append(1..=40));
    submit(LogOp::Truncate { range_id: RANGE, after: 0 });
    submit(LogOp::Append { range_id: RANGE, entries: marked(1..=40, "new") });
    submit(LogOp::PutMeta { key: Bytes::from_static(b"k"), value: Bytes::new() });
    let view = || tails.view(RANGE, 1, 41, usize::MAX).unwrap();
    tails.synced(numbers[0]);
    assert_eq!(view().rest, marked(1..=40, "new"));
    tails.synced(numbers[2]);
    assert_eq!((view().head, view().rest), (25, marked(25..=40, "new")), "what has become durable just now is read next");
    tails.synced(numbers[3]);
    assert_eq!((view().head, view().rest), (41, Vec::new()), "what is durable may go");
}

/// Writing on after a loss, even beyond the lost position, must not make the log look sound.
#[test]
fn suspicion_outlives_restarts() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(dir.path());
    for index in 1..=10 {
        durable(&store, append(index..=index));
    }
    store.close();
    drop(store);
    cut_wal(dir.path(), |length| length - 1);
    for _restart in 0..3 {
        let (store, found) = open(dir.path());
        assert!(matches!(found.health, LogHealth::Suspect { .. }), "{:?}", found.health);
        for number in 0..20u8 {
            durable(&store, LogOp::PutMeta { key: Bytes::from(vec![number]), value: Bytes::new() });
        }
        store.close();
    }
}

/// The way back: whoever holds the last copy takes what is left of it.
#[test]
fn an_accepted_loss_is_forgotten() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(dir.path());
    for index in 1..=10 {
        durable(&store, append(index..=index));
    }
    store.close();
    drop(store);
    cut_wal(dir.path(), |length| length - 1);
    let (store, found) = open(dir.path());
    assert!(matches!(found.health, LogHealth::Suspect { .. }));
    drop(store);
    let accepting = LogStoreConfig { accept_loss: true, ..LogStoreConfig::new(dir.path()) };
    let (store, found) = LogStore::open(&accepting).unwrap();
    assert_eq!((found.health, found.groups[0].last), (LogHealth::Sound, 9));
    durable(&store, append(10..=12));
    drop(store);
    let (_, found) = open(dir.path());
    assert_eq!((found.health, found.groups[0].last), (LogHealth::Sound, 12));
}

#[test]
fn closing_twice_is_closing_once() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(dir.path());
    durable(&store, append(1..=1));
    store.close();
    store.close();
}

/// The last clone of a store may be dropped by the writer itself, at the end of a completion.
#[test]
fn the_writer_may_drop_the_last_clone() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(dir.path());
    let (ended, wait) = mpsc::channel();
    let release = hold_writer(&store);
    let clone = store.clone();
    // Dropped last to first: the note is sent when the clone is gone.
    struct Note(mpsc::Sender<()>);
    impl Drop for Note {
        fn drop(&mut self) {
            let _heard = self.0.send(());
        }
    }
    let held = (clone, Note(ended));
    store.submit(append(1..=1), Box::new(move || drop(held)));
    drop(store);
    drop(release);
    wait.recv().unwrap();
    // The lock on the directory is free once the writer is gone: opening waits for nothing else.
    let (store, _) = open_when_free(dir.path());
    assert_eq!(store.bounds(RANGE), Some((1, 1)));
}

fn open_when_free(dir: &Path) -> (LogStore, Recovered) {
    loop {
        match LogStore::open(&LogStoreConfig::new(dir)) {
            Ok(opened) => return opened,
            Err(error) if error.to_string().contains("lock") => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_purge_under_a_reader_is_no_damage() {
    let dir = TempDir::new().unwrap();
    let config = LogStoreConfig { tail_bytes: 0, ..LogStoreConfig::new(dir.path()) };
    let (store, _) = LogStore::open(&config).unwrap();
    durable(&store, append(1..=2000));
    let reader = {
        let store = store.clone();
        std::thread::spawn(move || {
            loop {
                let found = store.read(RANGE, 1, 2001, usize::MAX).unwrap();
                assert!(found.windows(2).all(|pair| pair[0].index + 1 == pair[1].index));
                if found.first().is_some_and(|entry| entry.index >= 1500) {
                    return;
                }
            }
        })
    };
    for up_to in 1..=1500 {
        let last = Bytes::from(up_to.to_string());
        durable(&store, LogOp::Purge { range_id: RANGE, up_to, last });
    }
    reader.join().unwrap();
    store.close();
}

#[test]
fn a_read_keeps_to_its_bytes() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(dir.path());
    durable(&store, append(1..=9));
    store.close();
    let (reopened, _) = {
        drop(store);
        open(dir.path())
    };
    // Seven bytes each; four on disk only and three in memory.
    durable(&reopened, LogOp::Truncate { range_id: RANGE, after: 4 });
    durable(&reopened, append(5..=7));
    for (from, max_bytes, last) in
        [(1, 0, 1), (1, 13, 1), (1, 14, 2), (1, 41, 5), (1, 42, 6), (5, 13, 5), (5, 14, 6)]
    {
        assert_eq!(
            reopened.read(RANGE, from, 10, max_bytes).unwrap(),
            entries(from..=last),
            "{from} {max_bytes}"
        );
    }
}

#[test]
fn a_log_may_begin_at_zero() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(dir.path());
    durable(&store, append(0..=0));
    durable(&store, append(1..=2));
    assert_eq!(store.bounds(RANGE), Some((0, 2)));
    assert_eq!(store.read(RANGE, 0, 9, usize::MAX).unwrap(), entries(0..=2));
}

/// All of it was read, gigabytes of it.
#[test]
fn start_reads_ends() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(dir.path());
    let other = RangeId::new(9);
    for range_id in [RANGE, other] {
        for first in (1..=1000).step_by(100) {
            let entries =
                (first..first + 100).map(|index| LogEntry { index, data: Bytes::from(vec![7; 1 << 10]) });
            durable(&store, LogOp::Append { range_id, entries: entries.collect() });
        }
    }
    durable(&store, LogOp::Purge { range_id: other, up_to: 600, last: Bytes::new() });
    let counted = (store.bytes(RANGE), store.bytes(other));
    assert!(
        (1_000 << 10..=1_001 << 10).contains(&counted.0) && (400 << 10..=401 << 10).contains(&counted.1),
        "{counted:?}"
    );
    store.close();
    drop(store);

    let (store, found) = open(dir.path());
    let read = store.shared.options.get_ticker_count(Ticker::IterBytesRead);
    assert!(read < 20 << 10, "{read} bytes were read of 1,400 KiB");
    let ends: Vec<(u64, u64)> = found.groups.iter().map(|group| (group.first, group.last)).collect();
    assert_eq!(
        (ends.len(), ends.contains(&(1, 1000)), ends.contains(&(601, 1000))),
        (2, true, true),
        "{ends:?}"
    );
    assert_eq!(store.read(other, 700, 702, usize::MAX).unwrap().len(), 2);
    // Of what was there before the sum is known, and what is dropped is taken from it.
    assert!(store.bytes(RANGE) > 0);
    durable(&store, LogOp::Purge { range_id: RANGE, up_to: 1000, last: Bytes::new() });
    assert_eq!(store.bytes(RANGE), 0);
}

#[test]
fn a_disk_that_hangs_is_noticed() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(dir.path());
    store.hold_writes(true);
    let (done, wait) = mpsc::channel();
    store.submit(append(1..=1), Box::new(move || done.send(()).unwrap()));
    let began = std::time::Instant::now();
    while store.stalled_for() < Duration::from_millis(200) {
        assert!(began.elapsed() < Duration::from_secs(20), "nobody looks");
        std::thread::yield_now();
    }
    assert!(wait.try_recv().is_err(), "durable-before-ack");
    store.hold_writes(false);
    wait.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(store.stalled_for(), Duration::ZERO);
}

/// The log of an idle range has nothing to write when its disk hangs.
#[test]
fn a_disk_that_hangs_is_noticed_by_what_else_is_written_to_it() {
    use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
    let dir = TempDir::new().unwrap();
    let (store, _) = open(dir.path());
    let number = Arc::new(AtomicU64::new(7));
    let watched = number.clone();
    store.watch_also(move || watched.load(Ordering::SeqCst));
    let began = std::time::Instant::now();
    while store.stalled_for() < Duration::from_millis(200) {
        assert!(began.elapsed() < Duration::from_secs(20), "nobody looks");
        std::thread::yield_now();
    }
    number.fetch_add(1, Ordering::SeqCst);
    while store.stalled_for() > Duration::ZERO {
        assert!(began.elapsed() < Duration::from_secs(20), "it has gone on");
        std::thread::yield_now();
    }
}
