//! What an append costs until it is durable, alone and in company: with one writer it is one sync, with many they
//! share it. And what it costs to open a store, of which the syncs are most.

use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use keys::RangeId;
use storage::log::{LogEntry, LogOp, LogStore, LogStoreConfig};
use storage::{Engine, EngineConfig};
use tempfile::TempDir;

const ENTRY_BYTES: usize = 300;

/// `writers` threads append to a range each, one entry after the other: the time until all have appended `appends`.
fn run(store: &LogStore, writers: u64, appends: u64, next: &mut u64) -> Duration {
    let first = *next;
    *next += appends;
    let started = Instant::now();
    std::thread::scope(|scope| {
        for writer in 1..=writers {
            scope.spawn(move || {
                let data = Bytes::from(vec![7; ENTRY_BYTES]);
                let (done, wait) = mpsc::channel();
                for index in first..first + appends {
                    let entries = vec![LogEntry { index, data: data.clone() }];
                    let op = LogOp::Append { range_id: RangeId::new(writer), entries };
                    let done = done.clone();
                    store.submit(op, Box::new(move || done.send(()).expect("the writer waits")));
                    wait.recv().expect("completions run");
                }
            });
        }
    });
    started.elapsed()
}

fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("log_append");
    for writers in [1, 16, 64] {
        let dir = scratch();
        let (store, _) = LogStore::open(&LogStoreConfig::new(dir.path())).expect("the log opens");
        let mut next = 1;
        // The time of one append as its writer sees it.
        group.bench_function(format!("{writers}_writers"), |b| {
            b.iter_custom(|appends| run(&store, writers, appends, &mut next));
        });
        let metrics = store.metrics();
        println!(
            "log_append/{writers}_writers: {:.2} entries a sync",
            metrics.entries.load(Ordering::Relaxed) as f64 / metrics.syncs.load(Ordering::Relaxed) as f64
        );
        store.close();
    }
    group.finish();
}

/// A scratch directory on a disk, which `/tmp` may not be.
fn scratch() -> TempDir {
    tempfile::tempdir_in(".").expect("a scratch directory on a disk")
}

fn open(c: &mut Criterion) {
    let engine = |dir: &TempDir| Engine::open(dir.path(), &EngineConfig::default()).expect("the engine opens");
    let log = |dir: &TempDir| LogStore::open(&LogStoreConfig::new(dir.path())).expect("the log opens").0;
    let mut group = c.benchmark_group("open");
    group.bench_function("engine_new", |b| {
        b.iter_batched(scratch, |dir| (engine(&dir), dir), BatchSize::PerIteration);
    });
    group.bench_function("log_new", |b| b.iter_batched(scratch, |dir| (log(&dir), dir), BatchSize::PerIteration));
    let (dir, log_dir) = (scratch(), scratch());
    drop((engine(&dir), log(&log_dir)));
    group.bench_function("engine_again", |b| b.iter(|| engine(&dir)));
    group.bench_function("log_again", |b| b.iter(|| log(&log_dir)));
    group.finish();
}

criterion_group!(log, append, open);
criterion_main!(log);
