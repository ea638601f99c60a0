//! What an append costs until it is durable, alone and in company: with one writer it is one sync, with many they
//! share it.

use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use keys::RangeId;
use storage::log::{LogEntry, LogOp, LogStore, LogStoreConfig};

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
        let dir = tempfile::tempdir_in(".").expect("a scratch directory on a disk");
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

criterion_group!(log, append);
criterion_main!(log);
