//! *newest-is-newest*: hot keys that are written, cleared, taken in and read all at once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use hlc::Timestamp;
use keys::Span;
use storage::{ReadOptions, WriteBatch};

use crate::support::*;

const WRITES: u64 = 4000;
const KEYS: [&str; 3] = ["a", "b", "c"];

/// Nobody reads less than what was acknowledged before, and in the end all read the last.
#[test]
fn newest_is_newest_beside_writes() {
    let (_dir, engine) = fresh();
    let written: [AtomicU64; KEYS.len()] = Default::default();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut writers = Vec::new();
        for (name, written) in KEYS.iter().zip(&written) {
            let engine = &engine;
            writers.push(scope.spawn(move || {
                for at in 1..=WRITES {
                    put(engine, name, at, Some(&at.to_string()));
                    written.store(at, Ordering::SeqCst);
                }
            }));
        }
        for _ in 0..2 {
            scope.spawn(|| {
                let mut hits = 0;
                while !is_over.load(Ordering::SeqCst) {
                    for (name, written) in KEYS.iter().zip(&written) {
                        let before = written.load(Ordering::SeqCst);
                        let newest = engine.latest_version_ts(name.as_bytes()).unwrap().map_or(0, Timestamp::wall_ns);
                        assert!(newest >= before, "newest-is-newest: {newest} where {before} was written");
                        let read = engine.get(name.as_bytes(), &ReadOptions::at(Timestamp::MAX)).unwrap();
                        let (value, at) = read.map_or((Bytes::new(), 0), |(value, at)| (value, at.wall_ns()));
                        assert!(at >= newest, "newest-is-newest: {at} after {newest}");
                        assert!(at == 0 || value == at.to_string().as_bytes());
                        hits += u64::from(at != 0);
                    }
                }
                assert!(hits > 0, "nothing was read");
            });
        }
        for writer in writers {
            writer.join().unwrap();
        }
        is_over.store(true, Ordering::SeqCst);
    });
    for name in KEYS {
        for _ in 0..3 {
            assert_eq!(engine.latest_version_ts(name.as_bytes()).unwrap(), Some(ts(WRITES)));
        }
    }
    assert!(engine.metrics().version_cache_bytes > 0, "hot keys are kept");
}

/// What is cleared, collected or replaced by a snapshot is not remembered.
#[test]
fn newest_is_newest_after_all_other_ways_to_write() {
    let (_dir, engine) = fresh();
    let warm = |name: &str| {
        for _ in 0..3 {
            let _known = engine.latest_version_ts(name.as_bytes()).unwrap();
        }
    };
    let newest = |name: &str| engine.latest_version_ts(name.as_bytes()).unwrap().map(Timestamp::wall_ns);
    put(&engine, "a", 5, Some("five"));
    warm("a");
    // Below what there is.
    put(&engine, "a", 3, Some("three"));
    assert_eq!(newest("a"), Some(5));
    warm("a");
    let mut batch = WriteBatch::new();
    batch.clear_version(b"a", ts(5));
    engine.apply(&batch).unwrap();
    assert_eq!(newest("a"), Some(3));
    warm("a");
    let mut batch = WriteBatch::new();
    batch.clear_version(b"a", ts(3));
    batch.put_version(b"a", ts(9), Some(b"nine"));
    engine.apply(&batch).unwrap();
    assert_eq!(newest("a"), Some(9));

    warm("a");
    let snapshot = engine.snapshot();
    put(&engine, "a", 12, Some("twelve"));
    warm("a");
    let chunks: Vec<Bytes> = snapshot.chunks(vec![span("a", "b")], vec![]).map(Result::unwrap).collect();
    engine.ingest(chunks.into_iter(), &[span("a", "b")], &[], &[]).unwrap();
    assert_eq!(newest("a"), Some(9));

    warm("a");
    let mut batch = WriteBatch::new();
    batch.clear_span(&Span::all());
    engine.apply(&batch).unwrap();
    assert_eq!(newest("a"), None);
}

/// A provisional version is in nobody's way who does not see it, and none of a transaction that aborted is left.
#[test]
fn newest_is_newest_under_intents() {
    let (_dir, engine) = fresh();
    put(&engine, "a", 5, Some("five"));
    let writer = txn(1, 0);
    for abort in [false, true] {
        for _ in 0..3 {
            let _known = engine.get(b"a", &ReadOptions::at(ts(100))).unwrap();
        }
        let before = engine.latest_version_ts(b"a").unwrap().unwrap().wall_ns();
        let lock = put_intent(&engine, "a", &writer, before + 10, Some("new"));
        assert!(engine.get(b"a", &ReadOptions::at(ts(100))).is_err(), "the intent is in the way");
        assert_eq!(engine.get(b"a", &ReadOptions::at(ts(before))).unwrap().unwrap().1, ts(before));
        resolve(&engine, "a", &lock, (!abort).then_some(before + 10));
        let after = if abort { before } else { before + 10 };
        assert_eq!(engine.get(b"a", &ReadOptions::at(ts(100))).unwrap().unwrap().1, ts(after));
    }
}
