//! ANALYZE: a table is read once, some of its rows are kept by chance, and what they say of each column is put down.
//!
//! The estimates are PostgreSQL's: distinct values by Haas and Stokes' Duj1, common values where they stand out,
//! bounds of equally filled buckets for the rest.

use std::sync::{Arc, OnceLock};

use catalog::{ColumnStatistics, Table, TableStatistics};
use plan::{Node, Plan, PlanColumn, plan::{Estimate, TableScan}};
use types::{Datum, SqlResult, SqlType, compare};

use crate::{context::ExecContext, operator::build};

/// Rows that are looked at closely; enough for a histogram of a hundred buckets whatever the table's size.
const SAMPLE_ROWS: usize = 30_000;
/// Common values and buckets of a column at most.
const TARGET: usize = 100;
/// Longer values are counted and measured, but not kept.
const WIDE: usize = 1024;

/// Reads a table and says what is in it.
///
/// # Errors
/// When it cannot be read.
pub async fn analyze(table: &Arc<Table>, ctx: &mut ExecContext<'_>) -> SqlResult<TableStatistics> {
    let mut operator = build(&whole_table(table))?;
    let mut sample = Sample::new(u64::from(table.storage));
    while let Some(batch) = operator.next(ctx).await? {
        ctx.cancel.check()?;
        for row in 0..batch.len() {
            if let Some(place) = sample.place() {
                sample.put(place, batch.row(row));
            }
        }
    }
    let rows = sample.seen as f64;
    let column = |(position, column): (usize, &catalog::Column)| {
        let values = sample.rows.iter().map(|row| row[position].clone()).collect();
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

fn whole_table(table: &Arc<Table>) -> Plan {
    let columns = table
        .columns
        .iter()
        .map(|column| PlanColumn { name: column.name.clone(), ty: column.ty, table_oid: table.id, attribute: 0 })
        .collect();
    let scan = TableScan {
        table: table.clone(),
        index: 0,
        spans: Vec::new(),
        columns: (0..table.columns.len()).collect(),
        filter: None,
        reverse: false,
        lock: None,
        fetch_rows: false,
        limit_hint: None,
        point: false,
        access: OnceLock::new(),
    };
    Plan { node: Node::TableScan(Arc::new(scan)), columns, estimate: Estimate::default() }
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
    values.sort_by(|a, b| compare(ty, a, b));
    let mut groups: Vec<(usize, usize)> = Vec::new();
    for at in 0..values.len() {
        match groups.last_mut() {
            Some((start, length)) if compare(ty, &values[*start], &values[at]).is_eq() => *length += 1,
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
    let rest: Vec<&Datum> = groups
        .iter()
        .filter(|(start, _)| !is_common(*start))
        .flat_map(|(start, length)| &values[*start..start + length])
        .collect();
    let of_all = |length: usize| length as f64 / kept * (1.0 - null_fraction);
    ColumnStatistics {
        null_fraction,
        distinct,
        histogram: histogram(ty, &rest),
        common: common.iter().map(|(start, length)| (values[*start].clone(), of_all(*length))).collect(),
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

fn histogram(ty: &SqlType, sorted: &[&Datum]) -> Vec<Datum> {
    let (Some(first), Some(last)) = (sorted.first(), sorted.last()) else { return Vec::new() };
    if compare(ty, first, last).is_eq() {
        return Vec::new();
    }
    let bounds = sorted.len().min(TARGET + 1);
    (0..bounds).map(|bound| sorted[bound * (sorted.len() - 1) / (bounds - 1)].clone()).collect()
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
