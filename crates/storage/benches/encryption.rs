//! What encryption costs: synced appends to the log, loading rows and writing them out, and reads that find nothing in the
//! block cache. Each in the clear and encrypted.

use std::hint::black_box;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use hlc::Timestamp;
use keys::{Key, RangeId, Span};
use storage::log::{LogEntry, LogOp, LogStore, LogStoreConfig};
use storage::{Engine, EngineConfig, EncryptionConfig, KeySource, ReadOptions, ScanLimits, StoreFiles, WriteBatch};
use tempfile::TempDir;

const ROWS: u64 = 100_000;
const SCANNED: u64 = 10_000;
const VALUE_BYTES: usize = 150;
const ENTRY_BYTES: usize = 1000;
const WAYS: [(&str, bool); 2] = [("plain", false), ("encrypted", true)];

fn files(dir: &Path, encrypted: bool) -> StoreFiles {
    if !encrypted {
        return StoreFiles::plain();
    }
    let path = dir.join("key");
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).expect("a key's file");
    file.write_all(&[7; 32]).expect("a key is written");
    let config = EncryptionConfig { key: Some(KeySource::File(path)), ..EncryptionConfig::default() };
    StoreFiles::open(dir, &config).expect("the keys open")
}

fn key(row: u64) -> Vec<u8> {
    let mut key = vec![0xa0, 0x89, 0x81];
    key.extend_from_slice(&row.to_be_bytes());
    key
}

/// Nothing that compresses.
fn value(row: u64) -> Vec<u8> {
    let mut state = row.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let bytes = (0..VALUE_BYTES).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    });
    bytes.collect()
}

/// With a block cache in which next to nothing stays.
fn fresh(encrypted: bool) -> (TempDir, Engine) {
    let dir = tempfile::tempdir_in(".").expect("a scratch directory on a disk");
    let config = EngineConfig { block_cache_bytes: 1 << 20, version_cache_bytes: 0, ..EngineConfig::default() };
    let engine = Engine::open_with(dir.path(), &config, &files(dir.path(), encrypted)).expect("the engine opens");
    (dir, engine)
}

fn load(engine: &Engine, values: &[Vec<u8>]) {
    let mut batch = WriteBatch::new();
    for (row, value) in values.iter().enumerate() {
        batch.put_version(&key(row as u64), Timestamp::new(1, 0), Some(value));
        if batch.byte_size() > 1 << 20 {
            engine.apply(&std::mem::take(&mut batch)).expect("the batch applies");
        }
    }
    engine.apply(&batch).expect("the batch applies");
    engine.flush().expect("the memtables flush");
}

fn reads(criterion: &mut Criterion, values: &[Vec<u8>]) {
    for (name, encrypted) in WAYS {
        let (_dir, engine) = fresh(encrypted);
        load(&engine, values);
        engine.compact_all();
        let read = ReadOptions::at(Timestamp::new(9, 0));
        let mut group = criterion.benchmark_group("encryption/get_cold");
        let mut row = 0;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                row = (row + 7919) % ROWS;
                black_box(engine.get(&key(row), &read).expect("the row is read"))
            });
        });
        group.finish();
        let mut group = criterion.benchmark_group("encryption/scan_cold");
        group.throughput(Throughput::Elements(SCANNED));
        let mut from = 0;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                from = (from + SCANNED) % ROWS;
                let span = Span::new(Key::from(key(from)), Key::from(key(from + SCANNED)));
                black_box(engine.scan(&span, &read, ScanLimits::default()).expect("the rows are read"))
            });
        });
        group.finish();
    }
}

fn loads(criterion: &mut Criterion, values: &[Vec<u8>]) {
    let mut group = criterion.benchmark_group("encryption/load_and_flush");
    group.sample_size(10).throughput(Throughput::Elements(ROWS));
    for (name, encrypted) in WAYS {
        group.bench_function(name, |bencher| {
            bencher.iter_batched(|| fresh(encrypted), |made| { load(&made.1, values); made }, BatchSize::PerIteration);
        });
    }
    group.finish();
}

fn appends(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encryption/log_append");
    for (name, encrypted) in WAYS {
        let dir = tempfile::tempdir_in(".").expect("a scratch directory on a disk");
        let config = LogStoreConfig { files: files(dir.path(), encrypted), ..LogStoreConfig::new(dir.path().join("log")) };
        let (log, _) = LogStore::open(&config).expect("the log opens");
        let data = Bytes::from(vec![7; ENTRY_BYTES]);
        let mut index = 0;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                index += 1;
                let (done, wait) = mpsc::channel();
                let entries = vec![LogEntry { index, data: data.clone() }];
                let op = LogOp::Append { range_id: RangeId::new(1), entries };
                log.submit(op, Box::new(move || done.send(()).expect("the bench waits")));
                wait.recv().expect("the entry is durable");
            });
        });
    }
    group.finish();
}

fn all(criterion: &mut Criterion) {
    let values: Vec<Vec<u8>> = (0..ROWS).map(value).collect();
    reads(criterion, &values);
    loads(criterion, &values);
    appends(criterion);
}

criterion_group!(benches, all);
criterion_main!(benches);
