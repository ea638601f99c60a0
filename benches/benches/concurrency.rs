//! What order costs a command that meets nobody, and one that stands in a queue: latches, locks, remembered reads.

use std::hint::black_box;

use concurrency::{Acquired, LatchManager, LatchSpan, LatchSpans, LockRequest, LockTable, TimestampCache};
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use hlc::Timestamp;
use keys::{IndexId, Key, LockStrength, Span, TableId, TxnId, TxnMeta, encoding::put_u64, keyspace};

fn key(row: u64) -> Key {
    let mut key = keyspace::index(TableId::new(104), IndexId::new(1)).as_bytes().to_vec();
    put_u64(&mut key, row);
    key.into()
}

fn txn(number: u128) -> TxnMeta {
    let at = Timestamp::new(1_000, 0);
    TxnMeta { id: TxnId::from_random(number), anchor: key(0), epoch: 0, write_ts: at, min_ts: at, priority: 1 }
}

fn exclusive<'a>(key: &'a Key, txn: &'a TxnMeta) -> LockRequest<'a> {
    let read_ts = Timestamp::new(1_000, 0);
    LockRequest { key, txn: Some(txn), strength: Some(LockStrength::Update), read_ts }
}

fn latches(c: &mut Criterion) {
    let at = Timestamp::new(1_000, 0);
    // A TPC-B transaction's commit: four keys and its record.
    let commit: LatchSpans = (0..5).map(|row| LatchSpan::write(Span::point(key(row)), at)).collect();
    let mut group = c.benchmark_group("latches");
    for held in [0, 16, 256] {
        let manager = LatchManager::new();
        let _others: Vec<_> = (0..held)
            .map(|other| manager.acquire(vec![LatchSpan::write(Span::point(key(1_000 + other)), at)]))
            .collect();
        group.bench_function(BenchmarkId::new("five_writes_beside_others", held), |b| {
            b.iter_batched(
                || commit.clone(),
                |spans| manager.try_acquire(spans).map_err(drop).expect("nobody is in the way"),
                BatchSize::SmallInput,
            );
        });
        group.bench_function(BenchmarkId::new("a_read_beside_others", held), |b| {
            b.iter(|| {
                let span: LatchSpans = LatchSpans::from_iter([LatchSpan::read(Span::point(key(7)), at)]);
                manager.try_acquire(span).map_err(drop).expect("nobody is in the way")
            });
        });
    }
    group.finish();
}

fn locks(c: &mut Criterion) {
    let mut group = c.benchmark_group("lock_table");
    let read = LockRequest { key: &key(7), txn: None, strength: None, read_ts: Timestamp::new(1_000, 0) };
    let quiet = LockTable::new();
    group.bench_function("check_a_quiet_range", |b| b.iter(|| quiet.check(black_box(&read))));
    for held in [16_u64, 1_024] {
        let table = LockTable::new();
        for other in 0..held {
            let taken = table.acquire(&key(1_000 + other), &txn(u128::from(other) + 10), LockStrength::Update);
            assert_eq!(taken, Acquired::Acquired);
        }
        group.bench_function(BenchmarkId::new("check_beside_others", held), |b| b.iter(|| table.check(black_box(&read))));
        let (mine, own) = (key(7), txn(1));
        group.bench_function(BenchmarkId::new("acquire_and_finish_beside_others", held), |b| {
            b.iter(|| {
                let taken = table.acquire(&mine, &own, LockStrength::Update);
                assert_eq!(taken, Acquired::Acquired);
                table.txn_finished(own.id);
            });
        });
    }
    // The hot row: each holder ends, and the first of those who wait is let go.
    for waiting in [1_u128, 16, 256] {
        group.bench_function(BenchmarkId::new("hand_on_to_the_first_of", waiting), |b| {
            b.iter_batched(
                || {
                    let (table, hot) = (LockTable::new(), key(7));
                    let holder = txn(1);
                    assert_eq!(table.acquire(&hot, &holder, LockStrength::Update), Acquired::Acquired);
                    let waiters: Vec<_> = (0..waiting)
                        .map(|other| {
                            let other = txn(10 + other);
                            table.enqueue(&exclusive(&hot, &other))
                        })
                        .collect();
                    (table, hot, holder, waiters)
                },
                |(table, hot, holder, waiters)| {
                    table.txn_finished(holder.id);
                    let next = txn(10);
                    assert_eq!(table.acquire(&hot, &next, LockStrength::Update), Acquired::Acquired);
                    (table, waiters)
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn reads(c: &mut Criterion) {
    let mut group = c.benchmark_group("timestamp_cache");
    let cache = TimestampCache::default();
    let mut at = 1;
    group.bench_function("add_a_point", |b| {
        b.iter(|| {
            at += 1;
            cache.add(&key(at % 100_000), Timestamp::new(at, 0), None);
        });
    });
    group.bench_function("find_a_point", |b| {
        b.iter(|| {
            at += 1;
            cache.get_max(&key(at % 100_000))
        });
    });
    let span = Span::new(key(40_000), key(40_100));
    group.bench_function("add_a_span", |b| {
        b.iter(|| {
            at += 1;
            cache.add_span(&span, Timestamp::new(at, 0), None);
        });
    });
    group.bench_function("find_a_span", |b| b.iter(|| cache.get_max_span(black_box(&span))));
    group.finish();
}

criterion_group!(concurrency_benches, latches, locks, reads);
criterion_main!(concurrency_benches);
