use std::{
    path::Path,
    sync::{Mutex as StdMutex, mpsc},
};

use tempfile::TempDir;

use super::*;

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

#[test]
fn durable_before_ack() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(dir.path());
    let seen = Arc::new(StdMutex::new(Vec::new()));
    for index in 1..=50 {
        let (seen, store_seen) = (seen.clone(), store.clone());
        let op = append(index..=index);
        store.submit(
            op,
            Box::new(move || {
                // The sync that covers this entry has been counted.
                let syncs = store_seen.metrics().syncs.load(Ordering::SeqCst);
                let durable = store_seen.metrics().entries.load(Ordering::SeqCst);
                seen.lock().unwrap().push((index, durable, syncs));
            }),
        );
    }
    store.close();
    let seen = seen.lock().unwrap();
    assert!(seen.iter().map(|(index, ..)| *index).eq(1..=50), "completions run in order");
    assert!(seen.iter().all(|(index, durable, syncs)| durable >= index && *syncs > 0));
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
    assert!(matches!(found.health, LogHealth::Suspect { synced, found } if found < synced), "{:?}", found.health);
}

#[test]
fn a_torn_watermark_leaves_the_other_slot() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("WATERMARK");
    let mut mark = Watermark::open(&path).unwrap();
    mark.advance(7).unwrap();
    mark.advance(9).unwrap();
    drop(mark);
    let bytes = std::fs::read(&path).unwrap();
    let newest = if bytes[0] == 9 { 0 } else { 4096 };
    let mut torn = bytes.clone();
    torn[newest + 8] ^= 0xff;
    std::fs::write(&path, torn).unwrap();
    assert_eq!(Watermark::open(&path).unwrap().synced(), 7);
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
