//! Every encoding that this crate puts on disk, pinned byte by byte; those of keys are pinned beside their code. A test
//! that fails here means that stores written before cannot be read: then the format's version changes as well.

use hlc::Timestamp;
use keys::{Key, NodeId, Span, StoreId, TxnId, TxnMeta};
use uuid::Uuid;

use crate::{Engine, EngineConfig, LockRecord, StoreIdentity, WriteBatch};

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn key(name: &str) -> Key {
    Key::from(name.as_bytes())
}

fn lock() -> LockRecord {
    let txn = TxnMeta {
        id: TxnId::from_random(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10),
        anchor: key("an"),
        epoch: 2,
        write_ts: Timestamp::new(300, 1),
        min_ts: Timestamp::new(200, 0),
        priority: 5,
    };
    LockRecord { txn, ts: Timestamp::new(300, 1), tombstone: false, seq: 300, local_ts: None }
}

fn batch() -> WriteBatch {
    let mut batch = WriteBatch::new();
    batch.put_version(b"k", Timestamp::new(1, 2), Some(b"v"));
    batch.put_version(b"k", Timestamp::new(3, 0), None);
    batch.put_local(b"\x01i", b"x");
    batch.delete_local(b"\x01j");
    batch.clear_span(&Span::new(key("a"), key("b")));
    batch
}

#[test]
fn golden_format_file() {
    let dir = tempfile::tempdir().unwrap();
    StoreIdentity::new(Uuid::from_u128(7), NodeId::new(3), StoreId::new(300)).write(dir.path()).unwrap();
    assert_eq!(
        hex(&std::fs::read(dir.path().join("FORMAT")).unwrap()),
        "51554f524154450a03100000000000000000000000000000000703ac023cec4aef"
    );
}

#[test]
fn golden_lock_record() {
    assert_eq!(hex(&lock().encode()), "100102030405064708890a0b0c0d0e0f1002616e02ac0201c8010005ac020100ac0200");
    let ahead = LockRecord { local_ts: Some(Timestamp::new(299, 0)), ..lock() };
    assert_eq!(hex(&ahead.encode()), "100102030405064708890a0b0c0d0e0f1002616e02ac0201c8010005ac020100ac0201ab0200");
    for lock in [lock(), ahead] {
        assert_eq!(LockRecord::decode(&lock.encode()).unwrap(), lock);
    }
}

#[test]
fn golden_write_batch() {
    let expected = concat!(
        "000000000000000006000000",
        "05010d6b7ffffffffffffffefffffffd020176",
        "05010d6b7ffffffffffffffcffffffff0100",
        "05030201690178",
        "040302016a",
        "0e0101610162",
        "0e0201610162",
    );
    assert_eq!(hex(batch().data()), expected);
}

/// A version that was moved up has its local timestamp between tag and value; one that was written where it stands has
/// none.
#[test]
fn golden_local_timestamps() {
    let mut batch = WriteBatch::new();
    let local = |wall| Some(Timestamp::new(wall, 1));
    batch.put_version_from(b"k", Timestamp::new(3, 0), local(2), Some(b"v"));
    batch.put_version_from(b"k", Timestamp::new(4, 0), local(2), None);
    batch.put_version_from(b"k", Timestamp::new(5, 0), local(5), Some(b"v"));
    let mut moved = WriteBatch::new();
    moved.resolve_intent(b"k", &lock(), Some(Timestamp::new(301, 0)), Some(b"v"));
    let expected = concat!(
        "000000000000000003000000",
        "05010d6b7ffffffffffffffcffffffff0e03000000000000000200000001" , "76",
        "05010d6b7ffffffffffffffbffffffff0d02000000000000000200000001",
        "05010d6b7ffffffffffffffaffffffff020176",
    );
    assert_eq!(hex(batch.data()), expected);
    let expected = concat!(
        "000000000000000003000000",
        "04010d6b7ffffffffffffed3fffffffe",
        "05010d6b7ffffffffffffed2ffffffff0e03000000000000012c00000001" , "76",
        "0402016b",
    );
    assert_eq!(hex(moved.data()), expected);
    assert_eq!(WriteBatch::from_bytes(batch.data()).unwrap(), batch);
}

#[test]
fn golden_snapshot_chunk() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(dir.path(), &EngineConfig::small()).unwrap();
    let mut versions = WriteBatch::new();
    versions.put_version(b"k", Timestamp::new(1, 2), Some(b"v"));
    versions.put_version(b"k", Timestamp::new(3, 0), None);
    engine.apply(&versions).unwrap();
    let chunks = engine.snapshot().chunks(vec![Span::new(key("a"), key("z"))], vec![]);
    let chunks: Vec<String> = chunks.map(|chunk| hex(&chunk.unwrap())).collect();
    assert_eq!(chunks, ["01d62cca010d6b7ffffffffffffffcffffffff01000d6b7ffffffffffffffefffffffd020176"]);
}
