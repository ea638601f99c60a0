//! ANALYZE: a table is read once, some of its rows are kept by chance, and what they say of each column is put down.
//!
//! The estimates are PostgreSQL's: distinct values by Haas and Stokes' Duj1, common values where they stand out,
//! bounds of equally filled buckets for the rest.

use std::sync::Arc;

use catalog::{ColumnStatistics, Table, TableStatistics, row::{EntryReader, IndexCodec}};
use kv::{Read, ScanOptions};
use types::{Datum, Direction, NullsOrder, SqlResult, SqlType, compare, encode_key};

use crate::{
    context::ExecContext,
    error::{from_entry, from_kv},
};

/// Entries read at once.
const PAGE_ROWS: u64 = 16_384;
const PAGE_BYTES: u64 = 2 << 20;
/// Rows that are looked at closely; enough for a histogram of a hundred buckets whatever the table's size.
const SAMPLE_ROWS: usize = 30_000;
/// Common values and buckets of a column at most.
const TARGET: usize = 100;
/// Longer values are counted and measured, but not kept.
const WIDE: usize = 1024;

/// Reads a table and says what is in it. Every entry is read, but only those of the sample are decoded.
///
/// # Errors
/// When it cannot be read.
pub async fn analyze(table: &Arc<Table>, ctx: &mut ExecContext<'_>) -> SqlResult<TableStatistics> {
    let all: Vec<usize> = (0..table.columns.len()).collect();
    let reader = EntryReader::new(table, table.primary(), &all);
    let options =
        ScanOptions { read: Read::default(), max_rows: PAGE_ROWS, max_bytes: PAGE_BYTES, reverse: false };
    let mut sample = Sample::new(u64::from(table.storage));
    let mut rest = Some(IndexCodec::new(table, table.primary()).span());
    while let Some(span) = rest {
        ctx.cancel.checkpoint().await?;
        let page = ctx.txn()?.scan(&span, options).await.map_err(from_kv)?;
        for (key, value) in page.rows.iter() {
            if let Some(place) = sample.place() {
                let mut row = vec![Datum::Null; all.len()];
                reader.read_datums(&key[..], &value[..], &mut row).map_err(from_entry)?;
                sample.put(place, row);
            }
        }
        rest = page.resume;
    }
    let rows = sample.seen as f64;
    let column = |(position, column): (usize, &catalog::Column)| {
        let values = sample.rows.iter_mut().map(|row| std::mem::take(&mut row[position])).collect();
        (column.id, column_statistics(&column.ty, values, rows))
    };
    let columns: Vec<_> = table.columns.iter().enumerate().map(column).collect();
    Ok(TableStatistics {
        rows,
        average_row_bytes: columns.iter().map(|(_, it)| it.average_width * (1.0 - it.null_fraction)).sum(),
        analyzed_at: ctx.eval.host.clock_timestamp(),
        columns,
    })
}

/// Rows kept so that each of those seen had the same chance.
struct Sample {
    rows: Vec<Vec<Datum>>,
    seen: u64,
    random: u64,
}

impl Sample {
    fn new(seed: u64) -> Self {
        Self { rows: Vec::new(), seen: 0, random: seed }
    }

    /// Where the next row goes, if it is kept.
    fn place(&mut self) -> Option<usize> {
        self.seen += 1;
        if self.rows.len() < SAMPLE_ROWS {
            return Some(self.rows.len());
        }
        // SplitMix64: the same table gives the same sample.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let place = (mixed ^ (mixed >> 31)) % self.seen;
        usize::try_from(place).ok().filter(|place| *place < SAMPLE_ROWS)
    }

    fn put(&mut self, place: usize, row: Vec<Datum>) {
        match self.rows.get_mut(place) {
            Some(kept) => *kept = row,
            None => self.rows.push(row),
        }
    }
}

fn width(ty: &SqlType, value: &Datum) -> usize {
    match (value, usize::try_from(ty.typlen())) {
        (_, Ok(width)) if width > 0 => width,
        (Datum::Text(text) | Datum::Json(text), _) => text.len() + 1,
        (Datum::Bytes(bytes), _) => bytes.len() + 1,
        (Datum::Array(array), _) => 8 + 8 * array.elements().len(),
        _ => 16,
    }
}

/// What a sample says of a column of `rows` rows.
fn column_statistics(ty: &SqlType, sample: Vec<Datum>, rows: f64) -> ColumnStatistics {
    let sampled = sample.len() as f64;
    let mut values: Vec<Datum> = sample.into_iter().filter(|value| !value.is_null()).collect();
    let count = values.len() as f64;
    if values.is_empty() {
        let null_fraction = if sampled > 0.0 { 1.0 } else { 0.0 };
        return ColumnStatistics { null_fraction, ..ColumnStatistics::default() };
    }
    let null_fraction = 1.0 - count / sampled;
    let average_width = values.iter().map(|value| width(ty, value)).sum::<usize>() as f64 / count;
    let all = rows * (1.0 - null_fraction);
    let unordered = ColumnStatistics { null_fraction, average_width, distinct: all, ..ColumnStatistics::default() };
    if !ty.is_ordered() {
        return unordered;
    }
    values.retain(|value| width(ty, value) <= WIDE);
    if values.is_empty() {
        return unordered;
    }
    let values = Sorted::new(ty, values);
    let mut groups: Vec<(usize, usize)> = Vec::new();
    for at in 0..values.len() {
        match groups.last_mut() {
            Some((start, length)) if values.is_same(*start, at) => *length += 1,
            _ => groups.push((at, 1)),
        }
    }
    let singles = groups.iter().filter(|(_, length)| *length == 1).count() as f64;
    let seen = groups.len() as f64;
    let kept = values.len() as f64;
    let distinct = if singles >= kept {
        all
    } else if sampled >= rows || singles == 0.0 {
        seen
    } else {
        (kept * seen / (kept - singles + singles * kept / all)).clamp(seen, all)
    };
    let common = common_values(&groups, kept, distinct, seen);
    let is_common = |start: usize| common.iter().any(|(of, _)| *of == start);
    let rest: Vec<usize> = groups
        .iter()
        .filter(|(start, _)| !is_common(*start))
        .flat_map(|(start, length)| *start..start + length)
        .collect();
    let of_all = |length: usize| length as f64 / kept * (1.0 - null_fraction);
    ColumnStatistics {
        null_fraction,
        distinct,
        histogram: histogram(&values, &rest),
        common: common.iter().map(|(start, length)| (values.at(*start).clone(), of_all(*length))).collect(),
        average_width,
    }
}

/// The values that are worth naming, as (first, count): all of them if they are few, otherwise those clearly more
/// common than the average.
fn common_values(groups: &[(usize, usize)], kept: f64, distinct: f64, seen: f64) -> Vec<(usize, usize)> {
    let mut common: Vec<(usize, usize)> = groups.iter().copied().filter(|(_, length)| *length > 1).collect();
    common.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    let names_all = groups.len() <= TARGET && common.len() == groups.len() && distinct <= seen;
    if !names_all {
        let least = (1.25 * kept / distinct).max(2.0);
        common.retain(|(_, length)| *length as f64 > least);
        common.truncate(TARGET);
    }
    common
}

fn histogram(values: &Sorted, places: &[usize]) -> Vec<Datum> {
    let (Some(first), Some(last)) = (places.first(), places.last()) else { return Vec::new() };
    if values.is_same(*first, *last) {
        return Vec::new();
    }
    let bounds = places.len().min(TARGET + 1);
    let bound = |bound: usize| values.at(places[bound * (places.len() - 1) / (bounds - 1)]).clone();
    (0..bounds).map(bound).collect()
}

/// Values in their order.
struct Sorted {
    ty: SqlType,
    /// With their keys, which compare byte by byte, where the type has keys.
    values: Vec<(Vec<u8>, Datum)>,
}

impl Sorted {
    fn new(ty: &SqlType, values: Vec<Datum>) -> Self {
        let has_keys = ty.key_encodable();
        let with_key = |value: Datum| {
            let mut key = Vec::new();
            if has_keys {
                encode_key(&mut key, ty, &value, Direction::Asc, NullsOrder::Last);
            }
            (key, value)
        };
        let mut values: Vec<(Vec<u8>, Datum)> = values.into_iter().map(with_key).collect();
        if has_keys {
            values.sort_by(|a, b| a.0.cmp(&b.0));
        } else {
            values.sort_by(|a, b| compare(ty, &a.1, &b.1));
        }
        Self { ty: *ty, values }
    }

    fn len(&self) -> usize {
        self.values.len()
    }

    fn at(&self, place: usize) -> &Datum {
        &self.values[place].1
    }

    fn is_same(&self, a: usize, b: usize) -> bool {
        let (a, b) = (&self.values[a], &self.values[b]);
        a.0 == b.0 && (self.ty.key_encodable() || compare(&self.ty, &a.1, &b.1).is_eq())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ints(values: impl Iterator<Item = i64>) -> Vec<Datum> {
        values.map(Datum::Int).collect()
    }

    #[test]
    fn a_key_has_as_many_values_as_rows_and_no_common_ones() {
        let found = column_statistics(&SqlType::Int4, ints(0..1000), 50_000.0);
        assert_eq!(found.distinct, 50_000.0);
        assert!(found.common.is_empty());
        assert_eq!(found.histogram.len(), 101);
        assert_eq!((&found.histogram[0], &found.histogram[100]), (&Datum::Int(0), &Datum::Int(999)));
    }

    #[test]
    fn few_values_are_all_named() {
        let mut values = ints((0..1000).map(|row| row % 4));
        values.extend(std::iter::repeat_n(Datum::Null, 1000));
        let found = column_statistics(&SqlType::Int4, values, 2000.0);
        assert_eq!((found.distinct, found.null_fraction), (4.0, 0.5));
        assert_eq!(found.common.len(), 4);
        assert!(found.common.iter().all(|(_, share)| (share - 0.125).abs() < 1e-9));
        assert!(found.histogram.is_empty());
    }

    #[test]
    fn one_value_among_many_stands_out() {
        let found = column_statistics(&SqlType::Int4, ints((0..1000).map(|row| if row % 2 == 0 { 7 } else { row })), 1000.0);
        assert_eq!(found.common.len(), 1);
        assert_eq!(found.common[0].0, Datum::Int(7));
        assert!((found.common[0].1 - 0.501).abs() < 0.01);
        assert_eq!(found.distinct, 500.0);
    }

    #[test]
    fn a_sample_keeps_rows_from_everywhere() {
        let mut sample = Sample::new(7);
        for row in 0..100_000 {
            if let Some(place) = sample.place() {
                sample.put(place, vec![Datum::Int(row)]);
            }
        }
        assert_eq!((sample.rows.len(), sample.seen), (SAMPLE_ROWS, 100_000));
        let late = sample.rows.iter().filter(|row| row[0].as_int() >= Some(50_000)).count();
        assert!((14_000..16_000).contains(&late), "{late} of the second half");
    }
}
