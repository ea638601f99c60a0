//! ANALYZE: a table is read once, some of its rows are kept by chance, and what they say of each column is put down.
//!
//! The estimates are PostgreSQL's: distinct values by Haas and Stokes' Duj1, common values where they stand out,
//! bounds of equally filled buckets for the rest.

use std::hash::Hasher;
use std::sync::Arc;

use catalog::{ColumnGroup, ColumnStatistics, Table, TableStatistics, row::{EntryReader, IndexCodec}};
use keys::ColumnId;
use kv::{Read, ScanOptions};
use types::{Datum, Direction, NullsOrder, SqlResult, SqlType, compare, encode_key, hash_datum};

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
                sample.put(place, key, value);
            }
        }
        rest = page.resume;
    }
    let rows = sample.seen as f64;
    let mut values: Vec<Vec<Datum>> = all.iter().map(|_| Vec::with_capacity(sample.entries.len())).collect();
    let mut row = vec![Datum::Null; all.len()];
    for (key, value) in sample.entries() {
        reader.read_datums(key, value, &mut row).map_err(from_entry)?;
        values.iter_mut().zip(&mut row).for_each(|(values, datum)| values.push(std::mem::take(datum)));
    }
    let groups = column_groups(table, &values, rows);
    let column = |(position, column): (usize, &catalog::Column)| {
        (column.id, column_statistics(&column.ty, std::mem::take(&mut values[position]), rows))
    };
    let columns: Vec<_> = table.columns.iter().enumerate().map(column).collect();
    Ok(TableStatistics {
        rows,
        average_row_bytes: columns.iter().map(|(_, it)| it.average_width * (1.0 - it.null_fraction)).sum(),
        analyzed_at: ctx.eval.host.clock_timestamp(),
        columns,
        groups,
    })
}

/// Columns that are counted together at most.
const GROUP_MAX: usize = 4;

/// What the columns that indexes begin with have together.
fn column_groups(table: &Table, values: &[Vec<Datum>], rows: f64) -> Vec<ColumnGroup> {
    let mut groups: Vec<ColumnGroup> = Vec::new();
    for index in table.indexes.iter().filter(|index| index.predicate.is_none() && !index.is_inverted()) {
        let positions: Vec<usize> = table.key_positions(index).collect();
        for len in 2..=positions.len().min(GROUP_MAX) {
            // As many as rows.
            if index.unique && len == positions.len() {
                continue;
            }
            let of = &positions[..len];
            let mut columns: Vec<ColumnId> = of.iter().map(|position| table.columns[*position].id).collect();
            columns.sort_unstable();
            if !groups.iter().any(|known| known.columns == columns) {
                groups.push(ColumnGroup { columns, distinct: distinct_together(table, of, values, rows) });
            }
        }
    }
    groups
}

/// How many different values some columns have together, by the hashes of a sample's.
fn distinct_together(table: &Table, positions: &[usize], values: &[Vec<Datum>], rows: f64) -> f64 {
    let sampled = positions.first().map_or(0, |position| values[*position].len());
    let mut hashes = Vec::with_capacity(sampled);
    for row in 0..sampled {
        if positions.iter().any(|position| values[*position][row].is_null()) {
            continue;
        }
        let mut hasher = rustc_hash::FxHasher::default();
        for position in positions {
            hash_datum(&table.columns[*position].ty, &values[*position][row], &mut hasher);
        }
        hashes.push(hasher.finish());
    }
    hashes.sort_unstable();
    let groups = hashes.chunk_by(|a, b| a == b);
    let (mut seen, mut singles) = (0.0, 0.0);
    for group in groups {
        seen += 1.0;
        singles += if group.len() == 1 { 1.0 } else { 0.0 };
    }
    let kept = hashes.len() as f64;
    let all = rows * kept / (sampled.max(1) as f64);
    distinct_in_all(seen, singles, kept, all, sampled as f64 >= rows)
}

/// How many different values there are in all rows, where a sample of `kept` has so many, and so many once: Duj1.
fn distinct_in_all(seen: f64, singles: f64, kept: f64, all: f64, is_whole: bool) -> f64 {
    if singles >= kept {
        all
    } else if is_whole || singles == 0.0 {
        seen
    } else {
        (kept * seen / (kept - singles + singles * kept / all)).clamp(seen, all.max(seen))
    }
}

/// Entries kept so that each of those seen had the same chance. Most of those that are kept give way to others, so they
/// are decoded in the end.
struct Sample {
    /// Keys and values in one piece, with where the value begins.
    entries: Vec<(Vec<u8>, usize)>,
    seen: u64,
    random: u64,
}

impl Sample {
    fn new(seed: u64) -> Self {
        Self { entries: Vec::new(), seen: 0, random: seed }
    }

    /// Where the next row goes, if it is kept.
    fn place(&mut self) -> Option<usize> {
        self.seen += 1;
        if self.entries.len() < SAMPLE_ROWS {
            return Some(self.entries.len());
        }
        // SplitMix64: the same table gives the same sample.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let place = (mixed ^ (mixed >> 31)) % self.seen;
        usize::try_from(place).ok().filter(|place| *place < SAMPLE_ROWS)
    }

    fn put(&mut self, place: usize, key: &[u8], value: &[u8]) {
        if place == self.entries.len() {
            self.entries.push((Vec::with_capacity(key.len() + value.len()), 0));
        }
        let (bytes, split) = &mut self.entries[place];
        bytes.clear();
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(value);
        *split = key.len();
    }

    fn entries(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.entries.iter().map(|(bytes, split)| bytes.split_at(*split))
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
    let distinct = distinct_in_all(seen, singles, kept, all, sampled >= rows);
    if ty.holds_rows() {
        // What is kept here would not follow changes of its type.
        return ColumnStatistics { distinct, ..unordered };
    }
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
    values: Vec<Datum>,
    /// Their keys one after another, which compare byte by byte, where the type has keys, and where each ends.
    keys: Vec<u8>,
    ends: Vec<usize>,
    /// Places among the values.
    order: Vec<u32>,
}

impl Sorted {
    fn new(ty: &SqlType, values: Vec<Datum>) -> Self {
        let mut sorted = Self { ty: *ty, values, keys: Vec::new(), ends: Vec::new(), order: Vec::new() };
        let mut order: Vec<u32> = (0..).take(sorted.values.len()).collect();
        if ty.key_encodable() {
            for value in &sorted.values {
                encode_key(&mut sorted.keys, ty, value, Direction::Asc, NullsOrder::Last);
                sorted.ends.push(sorted.keys.len());
            }
            order.sort_by(|a, b| sorted.key(*a).cmp(sorted.key(*b)));
        } else {
            order.sort_by(|a, b| compare(ty, &sorted.values[*a as usize], &sorted.values[*b as usize]));
        }
        sorted.order = order;
        sorted
    }

    fn key(&self, value: u32) -> &[u8] {
        let start = (value as usize).checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.keys[start..self.ends[value as usize]]
    }

    fn len(&self) -> usize {
        self.values.len()
    }

    fn at(&self, place: usize) -> &Datum {
        &self.values[self.order[place] as usize]
    }

    fn is_same(&self, a: usize, b: usize) -> bool {
        if self.ty.key_encodable() {
            return self.key(self.order[a]) == self.key(self.order[b]);
        }
        compare(&self.ty, self.at(a), self.at(b)).is_eq()
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
    fn a_sample_tells_how_often_values_repeat() {
        // All of them are known.
        assert_eq!(distinct_in_all(10.0, 3.0, 100.0, 100.0, true), 10.0);
        // None was met twice, and none once only.
        assert_eq!(distinct_in_all(100.0, 100.0, 100.0, 5000.0, false), 5000.0);
        assert_eq!(distinct_in_all(10.0, 0.0, 100.0, 5000.0, false), 10.0);
        // 600,000 rows, each value in 7.5 of them.
        let estimate = distinct_in_all(25_133.0, 20_915.0, 30_000.0, 600_000.0, false);
        assert!((70_000.0..90_000.0).contains(&estimate), "{estimate}");
    }

    #[test]
    fn a_sample_keeps_rows_from_everywhere() {
        let mut sample = Sample::new(7);
        for row in 0..100_000_u64 {
            if let Some(place) = sample.place() {
                sample.put(place, &row.to_be_bytes(), b"value");
            }
        }
        assert_eq!((sample.entries.len(), sample.seen), (SAMPLE_ROWS, 100_000));
        assert!(sample.entries().all(|(_, value)| value == b"value"));
        let late = sample.entries().filter(|(key, _)| *key >= &50_000_u64.to_be_bytes()[..]).count();
        assert!((14_000..16_000).contains(&late), "{late} of the second half");
    }
}
