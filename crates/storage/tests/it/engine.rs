//! The engine through its public face.

use keys::{Key, Span};
use storage::{Engine, LockRead, ReadConflict, ReadOptions, ScanLimits, StorageError, WriteBatch};

use crate::support::*;

#[test]
fn newest_first() {
    let (_dir, engine) = fresh();
    for at in [3, 1, 2] {
        put(&engine, "k", at, Some(&format!("v{at}")));
    }
    assert_eq!(get(&engine, "k", 0), None);
    assert_eq!(get(&engine, "k", 2).as_deref(), Some("v2"));
    assert_eq!(get(&engine, "k", 9).as_deref(), Some("v3"));
    assert_eq!(engine.latest_version_ts(b"k").unwrap(), Some(ts(3)));
    assert_eq!(engine.latest_version_ts(b"j").unwrap(), None);
}

#[test]
fn tombstone_hides() {
    let (_dir, engine) = fresh();
    put(&engine, "k", 1, Some("old"));
    put(&engine, "k", 2, None);
    assert_eq!(get(&engine, "k", 1).as_deref(), Some("old"));
    assert_eq!(get(&engine, "k", 2), None);
    for reverse in [false, true] {
        let limits = ScanLimits { reverse, ..Default::default() };
        let page = engine.scan(&Span::all(), &ReadOptions::at(ts(5)), limits).unwrap();
        assert!(page.rows.is_empty(), "tombstone-hides");
    }
    assert_eq!(engine.latest_version_ts(b"k").unwrap(), Some(ts(2)));
}

#[test]
fn uncertainty() {
    let (_dir, engine) = fresh();
    put(&engine, "k", 5, Some("v"));
    put(&engine, "k", 20, Some("later"));
    let read = |at, limit| engine.get(b"k", &reading(at, limit, None));
    assert!(matches!(read(3, 10), Err(ReadConflict::Uncertain { existing, .. }) if existing == ts(5)));
    assert!(read(3, 4).unwrap().is_none(), "above the limit a version is certainly later");
    assert_eq!(read(5, 10).unwrap().unwrap().1, ts(5));
    for reverse in [false, true] {
        let limits = ScanLimits { reverse, ..Default::default() };
        let page = engine.scan(&Span::all(), &reading(3, 10, None), limits);
        assert!(matches!(page, Err(ReadConflict::Uncertain { existing, .. }) if existing == ts(5)));
    }
}

#[test]
fn applied_with_data() {
    let (dir, engine) = fresh();
    let apply = |n: u64| {
        let mut batch = WriteBatch::new();
        batch.put_version(b"k", ts(n), Some(n.to_string().as_bytes()));
        batch.put_local(b"\x01applied", n.to_string().as_bytes());
        engine.apply(&batch).unwrap();
    };
    apply(1);
    assert_eq!(engine.read_flushed_local(b"\x01applied").unwrap(), None, "still in a memtable");
    engine.flush().unwrap();
    apply(2);
    assert_eq!(&engine.get_local(b"\x01applied").unwrap().unwrap()[..], b"2");
    assert_eq!(&engine.read_flushed_local(b"\x01applied").unwrap().unwrap()[..], b"1");

    let crashed = crash(&dir);
    let reopened = open(crashed.path());
    assert_eq!(&reopened.get_local(b"\x01applied").unwrap().unwrap()[..], b"1");
    assert_eq!(get(&reopened, "k", 9).as_deref(), Some("1"), "applied-with-data: a suffix is lost, of both");
}

/// Filling memtables makes RocksDB flush by itself, in the background: families must not part then either.
#[test]
fn applied_with_data_through_background_flushes() {
    let (dir, engine) = fresh();
    let value = vec![7; 8 << 10];
    for n in 1..=600u64 {
        let mut batch = WriteBatch::new();
        batch.put_version(&n.to_be_bytes(), ts(n), Some(&value));
        batch.put_local(b"\x01applied", &n.to_be_bytes());
        engine.apply(&batch).unwrap();
        if n % 150 == 0 {
            let crashed = crash(&dir);
            let reopened = open(crashed.path());
            let applied = reopened.get_local(b"\x01applied").unwrap();
            let applied = applied.map_or(0, |b| u64::from_be_bytes(b[..].try_into().unwrap()));
            let page = reopened.scan(&Span::all(), &ReadOptions::at(ts(n)), ScanLimits::default()).unwrap();
            assert_eq!(page.rows.len() as u64, applied, "applied-with-data");
        }
    }
    assert!(engine.read_flushed_local(b"\x01applied").unwrap().is_some(), "memtables overflowed");
}

#[test]
fn intents_are_read_by_their_owner_only() {
    let (dir, engine) = fresh();
    put(&engine, "k", 1, Some("committed"));
    let (mine, other) = (txn(1, 0), txn(2, 0));
    let lock = put_intent(&engine, "k", &mine, 10, Some("mine"));

    let own = engine.get(b"k", &reading(5, 5, Some(&mine))).unwrap().unwrap();
    assert_eq!((text(&own.0).as_str(), own.1), ("mine", ts(10)));
    let restarted = txn(1, 1);
    let own = engine.get(b"k", &reading(20, 20, Some(&restarted))).unwrap().unwrap();
    assert_eq!(text(&own.0), "committed", "an older epoch's write is void");
    assert_eq!(get(&engine, "k", 9).as_deref(), Some("committed"));
    let blocked = engine.get(b"k", &reading(10, 10, Some(&other)));
    assert!(matches!(blocked, Err(ReadConflict::Locked(locks)) if locks == [(key("k"), lock.clone())]));
    assert!(matches!(engine.get(b"k", &reading(5, 10, None)), Err(ReadConflict::Locked(_))));
    let skipping = ReadOptions { locks: LockRead::Skip, ..reading(20, 20, None) };
    assert_eq!(text(&engine.get(b"k", &skipping).unwrap().unwrap().0), "committed");

    engine.flush().unwrap();
    let reopened = open(crash(&dir).path());
    assert_eq!(reopened.lock(b"k").unwrap(), Some(lock.clone()), "locks-indexed after opening");

    resolve(&engine, "k", &lock, Some(15));
    assert_eq!(get(&engine, "k", 12).as_deref(), Some("committed"), "it committed later than it stood");
    assert_eq!(get(&engine, "k", 15).as_deref(), Some("mine"));
    assert_eq!(engine.metrics().locks, 0);

    let lock = put_intent(&engine, "k", &other, 30, None);
    resolve(&engine, "k", &lock, None);
    assert_eq!(get(&engine, "k", 40).as_deref(), Some("mine"), "an aborted delete deletes nothing");
}

#[test]
fn scans_count_locked_keys_and_stop_at_limits() {
    let (_dir, engine) = fresh();
    for name in ["a", "b", "c", "d", "e"] {
        put(&engine, name, 1, Some("v"));
    }
    let other = txn(2, 0);
    put_intent(&engine, "d", &other, 2, Some("w"));
    let scan = |reverse, max_keys| {
        engine.scan(&span("a", "z"), &reading(5, 5, None), ScanLimits { max_keys, max_bytes: 0, reverse })
    };
    let page = scan(false, 3).unwrap();
    assert_eq!(page.rows.len(), 3, "the lock lies beyond what was asked for");
    assert_eq!(page.resume, Some(Span::new(key("c").next(), key("z"))));
    assert!(matches!(scan(false, 4), Err(ReadConflict::Locked(locks)) if locks.len() == 1));
    let page = scan(true, 1).unwrap();
    assert_eq!(page.rows.get(0), (&b"e"[..], &b"v"[..]));
    assert_eq!(page.resume, Some(span("a", "e")));
    assert!(matches!(scan(true, 2), Err(ReadConflict::Locked(_))));
    assert_eq!(engine.locks_in(&span("a", "z"), 10).unwrap().len(), 1);
}

#[test]
fn refresh_sees_others_versions_and_not_its_own() {
    let (_dir, engine) = fresh();
    for at in 1..30 {
        put(&engine, "hot", at, Some("v"));
    }
    let mine = txn(1, 0);
    put_intent(&engine, "own", &mine, 12, Some("v"));
    let found = |span: &Span, after, up_to, own: bool| {
        engine.has_version_in(span, ts(after), ts(up_to), own.then_some(&mine.id)).unwrap()
    };
    let all = Span::all();
    assert_eq!(found(&all, 10, 20, true).unwrap().key, key("hot"));
    assert_eq!(found(&all, 30, 40, true), None);
    assert_eq!(found(&span("o", "p"), 10, 20, true), None);
    assert_eq!(found(&span("o", "p"), 10, 20, false).unwrap().ts, ts(12));
}

#[test]
fn a_refresh_of_presence_sees_deletions_alone() {
    let (_dir, engine) = fresh();
    for at in 1..30 {
        put(&engine, "changed", at, Some("v"));
        put(&engine, "gone and back", at, if at == 15 { None } else { Some("v") });
    }
    let mine = txn(1, 0);
    put_intent(&engine, "own", &mine, 12, None);
    let found = |span: &Span, after, up_to, own: bool| {
        engine.has_deletion_in(span, ts(after), ts(up_to), own.then_some(&mine.id)).unwrap()
    };
    let of = |name| Span::point(key(name));
    assert_eq!(found(&of("changed"), 0, 40, true), None);
    assert_eq!(found(&of("gone and back"), 10, 20, true).unwrap().ts, ts(15));
    assert_eq!((found(&of("gone and back"), 15, 40, true), found(&of("gone and back"), 0, 14, true)), (None, None));
    assert_eq!(found(&Span::all(), 14, 20, true).unwrap().key, key("gone and back"));
    assert_eq!(found(&Span::all(), 15, 40, true), None);
    assert_eq!((found(&of("own"), 10, 20, true), found(&of("own"), 10, 20, false).unwrap().ts), (None, ts(12)));
}

#[test]
fn clearing_a_span_takes_versions_and_locks() {
    let (_dir, engine) = fresh();
    for name in ["a", "b", "c"] {
        put_intent(&engine, name, &txn(1, 0), 5, Some("v"));
    }
    let mut batch = WriteBatch::new();
    batch.clear_span(&Span::point(key("b")));
    engine.apply(&batch).unwrap();
    assert_eq!(engine.metrics().locks, 2);
    assert_eq!(get(&engine, "b", 9), None);
    assert!(engine.lock(b"c").unwrap().is_some());
}

#[test]
fn collecting_keeps_what_a_reader_at_the_threshold_sees() {
    let (_dir, engine) = fresh();
    for at in [1, 2, 3, 8] {
        put(&engine, "live", at, Some(&at.to_string()));
    }
    put(&engine, "dead", 1, Some("v"));
    put(&engine, "dead", 2, None);
    put(&engine, "held", 1, Some("v"));
    put_intent(&engine, "held", &txn(1, 0), 3, Some("w"));
    let mut rest = Some(Span::all());
    let mut removed = 0;
    while let Some(span) = rest {
        let (batch, next) = engine.gc_span(&span, ts(5), 1).unwrap();
        removed += batch.len();
        engine.apply(&batch).unwrap();
        rest = next;
    }
    assert_eq!(removed, 4, "live@1, live@2, dead@1 and its tombstone");
    assert_eq!(get(&engine, "live", 5).as_deref(), Some("3"));
    assert_eq!(get(&engine, "live", 8).as_deref(), Some("8"));
    assert_eq!(engine.latest_version_ts(b"dead").unwrap(), None);
    assert_eq!(get(&engine, "held", 2).as_deref(), Some("v"), "an intent supersedes nothing yet");
    assert!(engine.lock(b"held").unwrap().is_some());
}

/// Pooled iterators have no bounds: what lies behind a span must not cost its readers, nor hide what lies in it.
#[test]
fn deleted_entries_in_the_way_are_passed() {
    let (_dir, engine) = fresh();
    put(&engine, "a", 1, Some("first"));
    put(&engine, "y", 1, Some("last"));
    for n in 0..2000 {
        put(&engine, &format!("m{n:04}"), 1, Some("gone"));
    }
    for n in 0..2000 {
        let mut batch = WriteBatch::new();
        batch.clear_version(format!("m{n:04}").as_bytes(), ts(1));
        engine.apply(&batch).unwrap();
    }
    for reverse in [false, true] {
        let keys = |start, end| {
            let limits = ScanLimits { reverse, ..Default::default() };
            let page = engine.scan(&span(start, end), &ReadOptions::at(ts(5)), limits).unwrap();
            let mut keys: Vec<String> = page.rows.iter().map(|row| String::from_utf8(row.0.to_vec()).unwrap()).collect();
            keys.sort();
            keys
        };
        assert_eq!(keys("a", "m"), ["a"]);
        assert_eq!(keys("a", "m1000"), ["a"]);
        assert_eq!(keys("m1000", "z"), ["y"]);
        assert_eq!(keys("a", "z"), ["a", "y"]);
        assert!(keys("b", "x").is_empty());
    }
    let changed = |start, end| engine.has_version_in(&span(start, end), ts(0), ts(9), None).unwrap();
    assert_eq!(changed("b", "m1000"), None);
    assert_eq!(changed("b", "z").map(|conflict| conflict.key), Some(key("y")));
}

#[test]
fn a_span_splits_near_its_middle() {
    let (_dir, engine) = fresh();
    let fill = |engine: &Engine, from: u32, to: u32, bytes: usize| {
        for n in from..to {
            // Not compressible, so that sizes are what they seem.
            let mut state = u64::from(n) + 1;
            let value: Vec<u8> = (0..bytes)
                .map(|_| {
                    state =
                        state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (state >> 56) as u8
                })
                .collect();
            let mut batch = WriteBatch::new();
            batch.put_version(&n.to_be_bytes(), ts(1), Some(&value));
            engine.apply(&batch).unwrap();
        }
    };
    assert_eq!(engine.split_key(&Span::all()).unwrap(), None);
    fill(&engine, 0, 1, 100);
    assert_eq!(engine.split_key(&Span::all()).unwrap(), None, "one key has no middle");
    fill(&engine, 1, 100, 100);
    let number = |key: Key| u32::from_be_bytes(key.as_bytes().try_into().unwrap());
    let middle = number(engine.split_key(&Span::all()).unwrap().unwrap());
    assert!((45..=55).contains(&middle), "{middle}");
    let in_memory = engine.approximate_bytes(&Span::all()).unwrap();
    assert!((10_000..14_000).contains(&in_memory), "{in_memory}");

    fill(&engine, 0, 3000, 4 << 10);
    engine.flush().unwrap();
    engine.compact_all();
    let middle = number(engine.split_key(&Span::all()).unwrap().unwrap());
    assert!((1300..=1700).contains(&middle), "{middle}");
    let half = Span::new(Key::MIN, Key::from(&middle.to_be_bytes()[..]));
    let (part, whole) =
        (engine.approximate_bytes(&half).unwrap(), engine.approximate_bytes(&Span::all()).unwrap());
    assert!(part * 3 > whole && part * 3 < whole * 2, "{part} of {whole}");
}

#[test]
fn equal_contents_have_equal_checksums() {
    let (_dir, a) = fresh();
    let (_dir2, b) = fresh();
    for engine in [&a, &b] {
        put(engine, "x", 3, Some("v"));
    }
    put(&a, "x", 1, Some("history"));
    put_intent(&a, "y", &txn(1, 0), 2, Some("v"));
    let sum = |engine: &Engine| engine.checksum(&Span::all(), ts(5)).unwrap();
    assert_eq!(sum(&a), sum(&b));
    put(&b, "x", 4, Some("w"));
    assert_ne!(sum(&a), sum(&b));
}

#[test]
fn a_directory_in_use_is_refused() {
    let (dir, _engine) = fresh();
    let second = Engine::open(dir.path(), &storage::EngineConfig::small());
    assert!(matches!(second, Err(StorageError::Locked { .. })), "{:?}", second.err());
}

/// Each committed version once, for whatever times a reader stops at, and what is above is named.
#[test]
fn changes_are_every_version_between_two_times() {
    let (_dir, engine) = fresh();
    let names = ["a", "b", "c", "d"];
    for at in 1..40_u64 {
        let name = names[(at * 7 % 4) as usize];
        put(&engine, name, at, if at % 5 == 0 { None } else { Some("v") });
    }
    for limits in [ScanLimits::default(), ScanLimits { max_keys: 1, ..Default::default() }] {
        let mut seen = Vec::new();
        for (after, up_to) in [(0, 3), (3, 3), (3, 20), (20, 39), (39, 60)] {
            let mut left = Some(Span::all());
            while let Some(span) = left {
                let found = engine.changes_in(&span, ts(after), ts(up_to), limits).unwrap();
                assert_eq!(found.rows.len(), found.versions.len());
                for ((key, value), version) in found.rows.iter().zip(&found.versions) {
                    let at = (1..40).find(|at| ts(*at) == version.ts).unwrap();
                    assert_eq!(key, names[(at * 7 % 4) as usize].as_bytes());
                    assert_eq!((version.is_tombstone, value.is_empty()), (at % 5 == 0, at % 5 == 0));
                    assert!(after < at && at <= up_to);
                    seen.push(at);
                }
                let is_whole = span == Span::all() && found.resume.is_none();
                if is_whole {
                    assert_eq!(found.newer.is_some(), up_to < 39, "newer-is-named");
                }
                left = found.resume;
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, (1..40).collect::<Vec<u64>>());
    }
}

#[test]
fn changes_wait_for_provisional_versions_below_and_name_those_above() {
    let (_dir, engine) = fresh();
    let mine = txn(1, 0);
    put(&engine, "k", 3, Some("old"));
    put_intent(&engine, "k", &mine, 12, Some("v"));
    let changes = |up_to| engine.changes_in(&Span::all(), ts(0), ts(up_to), ScanLimits::default());
    let below = changes(11).unwrap();
    assert_eq!((below.rows.len(), below.newer), (1, Some(key("k"))));
    assert!(matches!(changes(12), Err(ReadConflict::Locked(locked)) if locked.len() == 1));
}

/// written-is-known: by batches and by snapshots, and nothing of what was there before until it is said.
#[test]
fn written_is_known() {
    let (dir, engine) = fresh();
    let span = |start: &str, end: &str| Span::new(Key::from(start.as_bytes()), Key::from(end.as_bytes()));
    put(&engine, "k", 3, Some("v"));
    assert!(engine.may_have_versions_from(&span("a", "b"), ts(9)), "nothing is known");
    engine.expect_below(ts(2));
    assert!(!engine.may_have_versions_from(&span("a", "b"), ts(3)));
    assert!(engine.may_have_versions_from(&span("a", "z"), ts(3)) && !engine.may_have_versions_from(&span("a", "z"), ts(4)));
    let mut batch = WriteBatch::new();
    for (key, at) in [("m", 7), ("p", 5)] {
        batch.put_version(key.as_bytes(), ts(at), None);
    }
    engine.apply(&batch).unwrap();
    assert!(engine.may_have_versions_from(&span("o", "q"), ts(6)), "in doubt it may");
    assert!(!engine.may_have_versions_from(&span("q", "z"), ts(3)));
    engine.flush().unwrap();
    drop(engine);
    let engine = Engine::open(dir.path(), &storage::EngineConfig::small()).unwrap();
    assert!(engine.may_have_versions_from(&span("q", "z"), ts(100)));
}
