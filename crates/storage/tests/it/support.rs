//! Engines on temporary directories, and what a crash would leave of one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use hlc::Timestamp;
use keys::{Key, Span, TxnId, TxnMeta};
use storage::{Engine, EngineConfig, LockRead, LockRecord, ReadOptions, WriteBatch};
use tempfile::TempDir;

pub fn open(dir: &Path) -> Engine {
    Engine::open(dir, &EngineConfig::small()).unwrap()
}

pub fn fresh() -> (TempDir, Engine) {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    (dir, engine)
}

pub fn ts(wall: u64) -> Timestamp {
    Timestamp::new(wall, 0)
}

pub fn key(name: &str) -> Key {
    Key::from(name.as_bytes())
}

pub fn span(start: &str, end: &str) -> Span {
    Span::new(key(start), key(end))
}

pub fn txn(id: u128, epoch: u32) -> TxnMeta {
    TxnMeta {
        id: TxnId::from_random(id),
        anchor: key("anchor"),
        epoch,
        write_ts: ts(1),
        min_ts: ts(1),
        priority: 1,
    }
}

pub fn put(engine: &Engine, name: &str, at: u64, value: Option<&str>) {
    let mut batch = WriteBatch::new();
    batch.put_version(name.as_bytes(), ts(at), value.map(str::as_bytes));
    engine.apply(&batch).unwrap();
}

pub fn put_intent(engine: &Engine, name: &str, txn: &TxnMeta, at: u64, value: Option<&str>) -> LockRecord {
    let lock = LockRecord { txn: txn.clone(), ts: ts(at), tombstone: value.is_none(), seq: 0, local_ts: None };
    let mut batch = WriteBatch::new();
    batch.put_intent(name.as_bytes(), &lock, value.map(str::as_bytes));
    engine.apply(&batch).unwrap();
    lock
}

pub fn resolve(engine: &Engine, name: &str, lock: &LockRecord, commit: Option<u64>) {
    let mut batch = WriteBatch::new();
    engine.resolve_intent(&mut batch, name.as_bytes(), lock, commit.map(ts)).unwrap();
    engine.apply(&batch).unwrap();
}

pub fn reading(at: u64, limit: u64, txn: Option<&TxnMeta>) -> ReadOptions<'_> {
    ReadOptions { uncertainty_limit: ts(limit), txn, locks: LockRead::Check, ..ReadOptions::at(ts(at)) }
}

pub fn get(engine: &Engine, name: &str, at: u64) -> Option<String> {
    let found = engine.get(name.as_bytes(), &ReadOptions::at(ts(at))).unwrap();
    found.map(|(value, _)| text(&value))
}

pub fn text(bytes: &Bytes) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A copy of the files as they are now: memtables are lost, as when the process is killed.
///
/// RocksDB may be adding and removing files behind the copy's back; one that was taken between two equal listings
/// is of one moment.
pub fn crash(dir: &TempDir) -> TempDir {
    loop {
        let copy = tempfile::tempdir().unwrap();
        let before = list(dir.path());
        let copied = copy_dir(dir.path(), copy.path());
        if copied.is_ok() && before.is_ok_and(|before| list(dir.path()).is_ok_and(|after| after == before)) {
            return copy;
        }
        std::thread::yield_now();
    }
}

fn list(dir: &Path) -> std::io::Result<BTreeMap<PathBuf, u64>> {
    let mut out = BTreeMap::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            out.extend(list(&entry.path())?);
        } else if !entry.file_name().to_string_lossy().starts_with("LOG") {
            out.insert(entry.path(), entry.metadata()?.len());
        }
    }
    Ok(out)
}

pub fn copy_dir(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
