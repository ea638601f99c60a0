//! What versions cost: point reads and scans over quiet data, over data with files waiting for compaction, and over
//! a few rows that were updated thousands of times; and what it costs to write them.

use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use hlc::Timestamp;
use keys::{Key, Span};
use storage::{Engine, EngineConfig, ReadOptions, ScanLimits, WriteBatch};
use tempfile::TempDir;

const ROWS: u64 = 100_000;
const VALUE: [u8; 150] = [7; 150];
const HOT_ROWS: u64 = 10;
const HOT_VERSIONS: u64 = 5_000;

/// The processor's time of the measuring thread: the figures hold on a machine that does other things too.
struct ThreadTime;

impl Measurement for ThreadTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the call fills in the struct it is given.
        let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut now) };
        assert_eq!(failed, 0, "threads have clocks");
        Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
    }

    fn end(&self, started: Duration) -> Duration {
        self.start() - started
    }

    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        *a + *b
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

type Bench = Criterion<ThreadTime>;

/// As long as the key of a table with an integer primary key.
fn key(row: u64) -> Vec<u8> {
    let mut key = vec![0xa0, 0x89, 0x81];
    key.extend_from_slice(&row.to_be_bytes());
    key.push(0x80);
    key
}

fn ts(wall: u64) -> Timestamp {
    Timestamp::new(1 << 60 | wall, 0)
}

fn span(from: u64, to: u64) -> Span {
    Span::new(Key::from(key(from)), Key::from(key(to)))
}

fn load(engine: &Engine, rows: impl Iterator<Item = u64>, at: u64) {
    let mut batch = WriteBatch::new();
    for row in rows {
        batch.put_version(&key(row), ts(at), Some(&VALUE));
        if batch.byte_size() > 1 << 20 {
            engine.apply(&std::mem::take(&mut batch)).expect("the batch applies");
        }
    }
    engine.apply(&batch).expect("the batch applies");
}

struct Loaded {
    engine: Engine,
    _dir: TempDir,
}

fn fresh() -> Loaded {
    let dir = tempfile::tempdir().expect("a scratch directory");
    let engine = Engine::open(dir.path(), &EngineConfig::default()).expect("the engine opens");
    Loaded { engine, _dir: dir }
}

/// One sorted run on disk.
fn one_level() -> Loaded {
    let loaded = fresh();
    load(&loaded.engine, 0..ROWS, 1);
    loaded.engine.flush().expect("the memtables flush");
    loaded.engine.compact_all();
    loaded
}

/// The same, and above it three files of level 0 and a memtable with a tenth of the rows each.
fn level0() -> Loaded {
    let loaded = one_level();
    for round in 0..4 {
        load(&loaded.engine, (0..ROWS / 10).map(|n| n * 10 + round), 2 + round);
        if round < 3 {
            loaded.engine.flush().expect("the memtables flush");
        }
    }
    loaded
}

/// As small databases are: everything is in a memtable.
fn memtable() -> Loaded {
    let loaded = fresh();
    load(&loaded.engine, 0..ROWS, 1);
    loaded
}

/// A few rows with thousands of versions each, half of them flushed.
fn hot() -> Loaded {
    let loaded = one_level();
    for version in 0..HOT_VERSIONS {
        let rows = (0..HOT_ROWS).map(|row| row * 2);
        load(&loaded.engine, rows, 2 + version);
        if version == HOT_VERSIONS / 2 {
            loaded.engine.flush().expect("the memtables flush");
        }
    }
    loaded
}

/// A cheap walk over all rows in no order.
fn next(row: &mut u64, count: u64) -> u64 {
    *row = (*row * 48271 + 11) % 2_147_483_647;
    *row % count
}

fn get(c: &mut Bench) {
    let mut group = c.benchmark_group("mvcc_get");
    for (name, loaded) in [("memtable", memtable()), ("one_level", one_level()), ("level0", level0())] {
        let mut row = 1;
        let newest = ReadOptions::at(ts(1 << 40));
        group.bench_function(name, |b| {
            b.iter(|| {
                let found = loaded.engine.get(&key(next(&mut row, ROWS)), &newest).expect("the read succeeds");
                black_box(found.expect("the row is there"))
            });
        });
        group.bench_function(format!("{name}_absent"), |b| {
            b.iter(|| {
                let mut absent = key(next(&mut row, ROWS));
                absent.push(0x12);
                black_box(loaded.engine.get(&absent, &newest).expect("the read succeeds"))
            });
        });
        group.bench_function(format!("{name}_latest_version"), |b| {
            b.iter(|| black_box(loaded.engine.latest_version_ts(&key(next(&mut row, ROWS))).expect("the read succeeds")));
        });
    }
    let loaded = hot();
    for (name, at) in [("newest", 1 << 40), ("middle", HOT_VERSIONS / 2), ("oldest", 1)] {
        let mut row = 1;
        group.bench_function(format!("hot_row_{name}"), |b| {
            b.iter(|| {
                let hot = key(next(&mut row, HOT_ROWS) * 2);
                let found = loaded.engine.get(&hot, &ReadOptions::at(ts(at))).expect("the read succeeds");
                black_box(found.expect("the row is there"))
            });
        });
    }
    group.finish();
}

fn scan(c: &mut Bench) {
    let mut group = c.benchmark_group("mvcc_scan");
    let newest = ReadOptions::at(ts(1 << 40));
    for (name, loaded) in [("memtable", memtable()), ("one_level", one_level()), ("level0", level0())] {
        for rows in [1, 10, 1000] {
            group.throughput(Throughput::Elements(rows));
            for reverse in [false, true] {
                let mut row = 1;
                let name = format!("{name}_{rows}{}", if reverse { "_reverse" } else { "" });
                group.bench_function(name, |b| {
                    b.iter(|| {
                        let from = next(&mut row, ROWS - 1000);
                        let limits = ScanLimits { reverse, ..ScanLimits::default() };
                        let found = loaded.engine.scan(&span(from, from + rows), &newest, limits);
                        let found = found.expect("the scan succeeds");
                        assert_eq!(found.rows.len() as u64, rows);
                        black_box(found)
                    });
                });
            }
        }
    }
    let loaded = hot();
    group.throughput(Throughput::Elements(HOT_ROWS * 2));
    for (name, reverse) in [("hot_rows", false), ("hot_rows_reverse", true)] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let limits = ScanLimits { reverse, ..ScanLimits::default() };
                black_box(loaded.engine.scan(&span(0, HOT_ROWS * 2), &newest, limits).expect("the scan succeeds"))
            });
        });
    }
    group.bench_function("hot_rows_changed_since", |b| {
        b.iter(|| {
            let found = loaded.engine.has_version_in(
                &span(0, HOT_ROWS * 2),
                ts(HOT_VERSIONS + 2),
                ts(1 << 40),
                None,
            );
            black_box(found.expect("the read succeeds"))
        });
    });
    group.finish();
}

fn put(c: &mut Bench) {
    let mut group = c.benchmark_group("mvcc_put");
    for rows in [1, 100] {
        let loaded = one_level();
        let (mut row, mut at) = (1, 10);
        group.throughput(Throughput::Elements(rows));
        group.bench_function(format!("apply_{rows}"), |b| {
            b.iter_batched(
                || {
                    at += 1;
                    let mut batch = WriteBatch::new();
                    for _ in 0..rows {
                        batch.put_version(&key(next(&mut row, ROWS)), ts(at), Some(&VALUE));
                    }
                    batch.put_local(b"\x01applied", &at.to_be_bytes());
                    batch
                },
                |batch| loaded.engine.apply(&batch).expect("the batch applies"),
                BatchSize::SmallInput,
            );
        });
    }
    group.throughput(Throughput::Elements(100));
    group.bench_function("encode_100", |b| {
        b.iter(|| {
            let mut batch = WriteBatch::new();
            for row in 0..100 {
                batch.put_version(&key(row), ts(row), Some(&VALUE));
            }
            black_box(batch)
        });
    });
    group.finish();
}

criterion_group! {
    name = mvcc;
    config = Criterion::default().with_measurement(ThreadTime);
    targets = get, scan, put
}
criterion_main!(mvcc);
