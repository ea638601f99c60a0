//! What a value costs on its way to disk and back: keys that sort, rows tagged by column, commands of the log.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hlc::Timestamp;
use keys::{ColumnId, IndexId, Key, TableId, Term, keyspace};
use replica::Command;
use types::{
    ColumnVec, Datum, Direction, NullsOrder, Numeric, RowDecoder, RowEncoder, SqlType, WantedColumn, decode_key,
    encode_key,
};

const ROWS: u64 = 1024;

/// One value of each kind that is common in keys.
fn key_values() -> Vec<(&'static str, SqlType, Datum)> {
    let numeric = Numeric::parse("12345.67").expect("a number");
    vec![
        ("int4", SqlType::Int4, Datum::Int(123_456)),
        ("text", SqlType::Text, Datum::text("Mercury and Venus")),
        ("numeric", SqlType::Numeric(None), Datum::Numeric(numeric)),
        ("timestamptz", SqlType::TimestampTz(None), Datum::TimestampTz(800_000_000_000_000)),
        ("uuid", SqlType::Uuid, Datum::Uuid([7; 16])),
    ]
}

fn keys_of_columns(c: &mut Criterion) {
    let (direction, nulls) = (Direction::Asc, NullsOrder::Last);
    let mut group = c.benchmark_group("key");
    for (name, ty, datum) in key_values() {
        let mut encoded = Vec::new();
        encode_key(&mut encoded, &ty, &datum, direction, nulls);
        let mut out = Vec::with_capacity(64);
        group.bench_function(format!("encode_{name}"), |b| {
            b.iter(|| {
                out.clear();
                encode_key(&mut out, &ty, black_box(&datum), direction, nulls);
                black_box(&out);
            });
        });
        group.bench_function(format!("decode_{name}"), |b| {
            b.iter(|| {
                let mut input = black_box(&encoded[..]);
                decode_key(&mut input, &ty, direction, nulls).expect("it was encoded")
            });
        });
    }
    group.bench_function("primary_key_of_an_account", |b| {
        b.iter(|| {
            let mut key = keyspace::index(TableId::new(104), IndexId::new(1)).as_bytes().to_vec();
            encode_key(&mut key, &SqlType::Int4, black_box(&Datum::Int(4711)), direction, nulls);
            Key::from(key)
        });
    });
    group.finish();
}

/// pgbench's accounts: two small integers and a padded text.
fn account() -> [(ColumnId, SqlType, Datum); 3] {
    [
        (ColumnId::new(2), SqlType::Int4, Datum::Int(1)),
        (ColumnId::new(3), SqlType::Int4, Datum::Int(-4999)),
        (ColumnId::new(4), SqlType::Char(Some(84)), Datum::text(" ".repeat(84))),
    ]
}

fn encode_row() -> Vec<u8> {
    let mut encoder = RowEncoder::new();
    for (id, ty, datum) in &account() {
        encoder.push(*id, ty, datum);
    }
    encoder.finish()
}

fn rows(c: &mut Criterion) {
    let columns = account();
    let encoded = encode_row();
    let wanted = |positions: &[usize]| {
        let wanted = positions.iter().enumerate().map(|(slot, &position)| {
            let (id, ty, _) = &columns[position];
            WantedColumn { id: *id, ty: *ty, slot, missing: Datum::Null }
        });
        RowDecoder::new(wanted.collect())
    };
    let mut group = c.benchmark_group("row");
    group.throughput(Throughput::Elements(ROWS));
    group.bench_function("encode", |b| {
        b.iter(|| {
            for _ in 0..ROWS {
                let mut encoder = RowEncoder::new();
                for (id, ty, datum) in black_box(&columns) {
                    encoder.push(*id, ty, datum);
                }
                black_box(encoder.finish());
            }
        });
    });
    for (name, positions) in [("all_columns", &[0, 1, 2][..]), ("one_column", &[1][..])] {
        let decoder = wanted(positions);
        group.bench_function(format!("decode_{name}"), |b| {
            b.iter(|| {
                let mut out: Vec<ColumnVec> = positions.iter().map(|&at| ColumnVec::new(&columns[at].1)).collect();
                for _ in 0..ROWS {
                    decoder.decode_into(black_box(&encoded), &mut out).expect("it was encoded");
                }
                out
            });
        });
    }
    group.finish();
}

fn commands(c: &mut Criterion) {
    let batch = vec![7; 300];
    let encoded: Bytes = Command::encode(Term::new(3), None, None, &batch);
    let mut group = c.benchmark_group("command");
    group.bench_function("encode", |b| b.iter(|| Command::encode(Term::new(3), None, None, black_box(&batch))));
    group.bench_function("decode", |b| b.iter(|| Command::decode(black_box(&encoded)).expect("it was encoded")));
    group.bench_function("timestamp_next", |b| b.iter(|| black_box(Timestamp::new(17, 4)).next()));
    group.finish();
}

criterion_group!(encodings, keys_of_columns, rows, commands);
criterion_main!(encodings);
