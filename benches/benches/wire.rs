//! What a row costs on its way to the client: DataRow messages from column vectors, as text and as binary.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pgserver::data_row;
use types::{Batch, Datum, Formatting, Numeric, SqlType};

const ROWS: usize = 1024;

/// Batches of one kind of row each.
fn batches() -> Vec<(&'static str, Vec<SqlType>, Batch)> {
    let numeric = |row: usize| Datum::Numeric(Numeric::parse(&format!("{row}.25")).expect("a number"));
    let kinds: Vec<(&'static str, Vec<SqlType>, Box<dyn Fn(usize) -> Vec<Datum>>)> = vec![
        ("one_int", vec![SqlType::Int4], Box::new(|row| vec![Datum::Int(row as i64)])),
        (
            "an_account",
            vec![SqlType::Int4, SqlType::Int4, SqlType::Int4, SqlType::Char(Some(84))],
            Box::new(|row| vec![Datum::Int(row as i64), Datum::Int(1), Datum::Int(-4999), Datum::text(" ".repeat(84))]),
        ),
        (
            "mixed",
            vec![SqlType::Numeric(None), SqlType::Text, SqlType::TimestampTz(None), SqlType::Float8, SqlType::Bool],
            Box::new(move |row| {
                let text = if row % 4 == 0 { Datum::Null } else { Datum::text("Mercury and Venus") };
                let moment = Datum::TimestampTz(800_000_000_000_000 + row as i64 * 1_000_003);
                vec![numeric(row), text, moment, Datum::Float(row as f64 / 7.0), Datum::Bool(row % 2 == 0)]
            }),
        ),
    ];
    kinds
        .into_iter()
        .map(|(name, types, row)| {
            let rows: Vec<Vec<Datum>> = (0..ROWS).map(row).collect();
            let batch = Batch::from_rows(&types, &rows);
            (name, types, batch)
        })
        .collect()
}

fn rows(c: &mut Criterion) {
    let formatting = Formatting::default();
    let mut group = c.benchmark_group("data_row");
    for (name, types, batch) in batches() {
        for (format, formats) in [("text", &[0][..]), ("binary", &[1][..])] {
            let mut out: Vec<u8> = Vec::with_capacity(1 << 20);
            group.throughput(Throughput::Elements(ROWS as u64));
            group.bench_function(format!("{name}_{format}"), |b| {
                b.iter(|| {
                    out.clear();
                    for row in 0..ROWS {
                        data_row(&mut out, black_box(&batch), row, types.iter(), formats, &formatting).expect("it is short");
                    }
                    black_box(&out);
                });
            });
        }
    }
    group.finish();
}

criterion_group!(wire, rows);
criterion_main!(wire);
