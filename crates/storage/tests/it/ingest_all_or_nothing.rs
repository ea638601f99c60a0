//! An ingest cut short at each of its steps.

use bytes::Bytes;
use fail::FailScenario;
use keys::{Key, Span};
use storage::{Engine, StorageError};

use crate::support::*;

/// The range under test: everything from "m" to "t", and its local records.
fn data_spans() -> Vec<Span> {
    vec![span("m", "t")]
}

fn local_spans() -> Vec<Span> {
    vec![Span::prefix(Key::from(&b"\x01m"[..]))]
}

fn old(engine: &Engine) {
    put(engine, "a", 1, Some("neighbour"));
    put(engine, "m", 1, Some("old"));
    put(engine, "o", 1, Some("old"));
    put_intent(engine, "p", &txn(9, 0), 1, Some("old"));
    let mut batch = storage::WriteBatch::new();
    batch.put_local(b"\x01m/applied", b"1");
    batch.put_local(b"\x01z/applied", b"neighbour");
    engine.apply(&batch).unwrap();
    engine.flush().unwrap();
}

fn new_chunks() -> (Vec<Bytes>, Vec<(Key, Bytes)>) {
    let (_dir, source) = fresh();
    put(&source, "a", 7, Some("not sent"));
    put(&source, "m", 7, Some("new"));
    put(&source, "n", 7, Some("new"));
    put_intent(&source, "q", &txn(8, 0), 7, Some("new"));
    let mut batch = storage::WriteBatch::new();
    batch.put_local(b"\x01m/applied", b"7");
    batch.put_local(b"\x01m/extra", b"sent");
    source.apply(&batch).unwrap();
    let chunks = source.snapshot().chunks(data_spans(), local_spans()).collect::<Result<_, _>>().unwrap();
    (chunks, vec![(Key::from(&b"\x01m/applied"[..]), Bytes::from_static(b"8"))])
}

fn ingest(engine: &Engine) -> Result<(), StorageError> {
    let (chunks, extra) = new_chunks();
    engine.ingest(chunks.into_iter(), &data_spans(), &local_spans(), &extra)
}

#[derive(Debug, PartialEq)]
enum Contents {
    Old,
    New,
}

/// Panics on a mixture.
fn contents(engine: &Engine) -> Contents {
    assert_eq!(get(engine, "a", 9).as_deref(), Some("neighbour"));
    assert_eq!(engine.get_local(b"\x01z/applied").unwrap().as_deref(), Some(&b"neighbour"[..]));
    let values: Vec<_> = ["m", "n", "o"].map(|name| get(engine, name, 9)).into_iter().collect();
    let locked: Vec<_> = ["p", "q"].map(|name| engine.lock(name.as_bytes()).unwrap().is_some()).into();
    let local = [&b"\x01m/applied"[..], b"\x01m/extra"].map(|key| engine.get_local(key).unwrap());
    let values: Vec<_> = values.iter().map(Option::as_deref).collect();
    let local: Vec<_> = local.iter().map(Option::as_deref).collect();
    match values[0] {
        Some("old") => {
            assert_eq!(values, [Some("old"), None, Some("old")]);
            assert_eq!(locked, [true, false]);
            assert_eq!(local, [Some(&b"1"[..]), None]);
            Contents::Old
        }
        _ => {
            assert_eq!(values, [Some("new"), Some("new"), None]);
            assert_eq!(locked, [false, true]);
            assert_eq!(local, [Some(&b"8"[..]), Some(&b"sent"[..])]);
            Contents::New
        }
    }
}

#[test]
fn ingest_replaces_its_spans_durably() {
    let _scenario = FailScenario::setup();
    let (dir, engine) = fresh();
    old(&engine);
    assert_eq!(contents(&engine), Contents::Old);
    engine.expect_below(ts(2));
    ingest(&engine).unwrap();
    assert_eq!(contents(&engine), Contents::New);
    let span = Span::new(Key::from(&b"n"[..]), Key::from(&b"o"[..]));
    assert!(engine.may_have_versions_from(&span, ts(7)) && !engine.may_have_versions_from(&span, ts(8)), "written-is-known");
    assert_eq!(contents(&open(crash(&dir).path())), Contents::New);
    assert!(!dir.path().join("ingest").exists());
    assert_eq!(&engine.read_flushed_local(b"\x01m/applied").unwrap().unwrap()[..], b"8");
}

#[test]
fn ingest_all_or_nothing() {
    let _scenario = FailScenario::setup();
    let steps = [
        ("ingest::files_written", "return", Contents::Old),
        ("ingest::decided", "return", Contents::New),
        ("ingest::cleared", "return", Contents::New),
        ("ingest::one_file", "return", Contents::New),
        ("ingest::one_file", "1*off->return", Contents::New),
        ("ingest::one_file", "2*off->return", Contents::New),
        ("ingest::one_file", "3*off->return", Contents::New),
        ("ingest::all_files", "return", Contents::New),
        ("ingest::undecided", "return", Contents::New),
    ];
    for (point, action, expected) in steps {
        let (dir, engine) = fresh();
        old(&engine);
        fail::cfg(point, action).unwrap();
        ingest(&engine).expect_err("stopped by the fail point");
        fail::remove(point);

        let crashed = crash(&dir);
        let reopened = open(crashed.path());
        assert_eq!(contents(&reopened), expected, "ingest-all-or-nothing at {point} {action}");
        assert!(!crashed.path().join("ingest").exists(), "nothing is left over at {point}");
        // A second crash while the first is being repaired.
        if point == "ingest::decided" {
            fail::cfg("ingest::one_file", "1*off->return").unwrap();
            let twice = crash(&dir);
            Engine::open(twice.path(), &storage::EngineConfig::small()).err().expect("stopped again");
            fail::remove("ingest::one_file");
            assert_eq!(contents(&open(twice.path())), Contents::New, "ingest-all-or-nothing, repaired twice");
        }
        // Without a restart, the next ingest finishes the decided one first.
        ingest(&engine).unwrap();
        assert_eq!(contents(&engine), Contents::New);
    }
}

#[test]
fn damaged_or_stray_chunks_change_nothing() {
    let _scenario = FailScenario::setup();
    let (_dir, engine) = fresh();
    old(&engine);
    let (mut chunks, _) = new_chunks();
    let mut damaged = chunks[0].to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    let refused = engine.ingest([damaged.into()].into_iter(), &data_spans(), &local_spans(), &[]);
    assert!(refused.unwrap_err().is_corruption());
    let refused = engine.ingest(chunks.drain(..), &[span("n", "t")], &local_spans(), &[]);
    assert!(refused.unwrap_err().is_corruption(), "a key outside the spans that are cleared");
    assert_eq!(contents(&engine), Contents::Old);
}

#[test]
fn a_snapshot_stays_as_it_was_and_is_cut_into_chunks() {
    let _scenario = FailScenario::setup();
    let (_dir, source) = fresh();
    let value = "v".repeat(1 << 20);
    for n in 0..10 {
        put(&source, &format!("m{n}"), 1, Some(&value));
    }
    let snapshot = source.snapshot();
    put(&source, "m0", 2, Some("later"));
    let chunks: Vec<Bytes> = snapshot.chunks(data_spans(), vec![]).collect::<Result<_, _>>().unwrap();
    assert!(chunks.len() >= 3 && chunks.iter().all(|chunk| chunk.len() <= 4 << 20));
    drop((snapshot, source));

    let (_dir, engine) = fresh();
    engine.ingest(chunks.into_iter(), &data_spans(), &[], &[]).unwrap();
    assert_eq!(get(&engine, "m0", 9).map(|v| v.len()), Some(1 << 20));
    assert_eq!(get(&engine, "m9", 9).map(|v| v.len()), Some(1 << 20));
}
