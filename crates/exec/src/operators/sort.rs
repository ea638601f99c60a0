//! ORDER BY: stable, NULLs where asked. With a limit no more than about twice as many rows are kept: whenever the
//! buffer has grown past that it is sorted and cut. From then on only rows that come before the last one kept are taken
//! out of their batch.

use std::cmp::Ordering;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use plan::{Expr, SortKey};
use types::compare::compare_floats;
use types::{Batch, ColumnVec, SqlError, SqlResult, SqlType, compare, compare_records};

use super::Emitter;
use super::limit::eval_limit;
use crate::context::ExecContext;
use crate::eval::eval_shared;
use crate::operator::{BATCH_ROWS, BoxOperator, Operator};
use crate::vectorized::without_blanks;

/// A key's column with the way it is ordered.
pub(crate) struct SortColumn {
    pub(crate) column: Arc<ColumnVec>,
    pub(crate) ty: SqlType,
    pub(crate) descending: bool,
    pub(crate) nulls_first: bool,
    /// Why two of its values could not be compared.
    failed: OnceLock<SqlError>,
}

impl SortColumn {
    pub(crate) fn new(key: &SortKey, column: Arc<ColumnVec>) -> Self {
        Self { column, ty: key.expr.ty(), descending: key.descending, nulls_first: key.nulls_first, failed: OnceLock::new() }
    }

    pub(crate) fn ascending(column: Arc<ColumnVec>, ty: SqlType) -> Self {
        Self { column, ty, descending: false, nulls_first: false, failed: OnceLock::new() }
    }

    fn may_hold_records(&self) -> bool {
        self.ty.is_row() || self.ty.is_array()
    }

    pub(crate) fn compare(&self, a: usize, b: usize) -> Ordering {
        self.compare_with(a, &self.column, b)
    }

    /// Compares a row with one of another column of the same key.
    fn compare_with(&self, a: usize, other: &ColumnVec, b: usize) -> Ordering {
        let order = match (self.column.as_ref(), other) {
            (ColumnVec::Int(_, left), ColumnVec::Int(_, right)) if !left.nulls.any() && !right.nulls.any() => {
                left.values[a].cmp(&right.values[b])
            }
            (left, right) => match (left.is_null(a), right.is_null(b)) {
                (true, true) => return Ordering::Equal,
                (true, false) => return if self.nulls_first { Ordering::Less } else { Ordering::Greater },
                (false, true) => return if self.nulls_first { Ordering::Greater } else { Ordering::Less },
                (false, false) => match (left, right) {
                    (ColumnVec::Int(_, left), ColumnVec::Int(_, right)) => left.values[a].cmp(&right.values[b]),
                    (ColumnVec::Float(left), ColumnVec::Float(right)) => {
                        compare_floats(left.values[a], right.values[b])
                    }
                    (ColumnVec::Decimal(left), ColumnVec::Decimal(right)) if left.scale() == right.scale() => {
                        left.digits.values[a].cmp(&right.digits.values[b])
                    }
                    (ColumnVec::Text(left), ColumnVec::Text(right)) => match self.ty {
                        SqlType::Char(_) => without_blanks(left.bytes(a)).cmp(without_blanks(right.bytes(b))),
                        _ => left.bytes(a).cmp(right.bytes(b)),
                    },
                    (ColumnVec::Datum(left), ColumnVec::Datum(right)) if self.may_hold_records() => {
                        compare_records(&self.ty, &left[a], &right[b]).unwrap_or_else(|error| {
                            self.failed.get_or_init(|| error);
                            compare(&self.ty, &left[a], &right[b])
                        })
                    }
                    (ColumnVec::Datum(left), ColumnVec::Datum(right)) => compare(&self.ty, &left[a], &right[b]),
                    (left, right) => compare(&self.ty, &left.get_datum(a), &right.get_datum(b)),
                },
            },
        };
        if self.descending { order.reverse() } else { order }
    }
}

pub(crate) fn compare_rows(columns: &[SortColumn], a: usize, b: usize) -> Ordering {
    columns.iter().map(|column| column.compare(a, b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

/// The rows in order; equal ones as they came.
///
/// # Errors
/// 42804 where records of unlike types were compared.
pub(crate) fn sorted_rows(columns: &[SortColumn], len: usize) -> SqlResult<Vec<u32>> {
    let Some((first, others)) = columns.split_first() else { return Ok((0..len as u32).collect()) };
    // Most comparisons end at the first word of the first key.
    let words = first.words(len);
    let mut rows: Vec<(u64, u32)> = words.values.into_iter().zip(0..).collect();
    let behind = |a: usize, b: usize| match words.is_exact {
        true => compare_rows(others, a, b),
        false => compare_rows(columns, a, b),
    };
    rows.sort_unstable_by(|(a_word, a), (b_word, b)| {
        a_word.cmp(b_word).then_with(|| behind(*a as usize, *b as usize)).then(a.cmp(b))
    });
    check_compared(columns)?;
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

/// A word for each row of a key: of two rows the one with the smaller word comes first.
struct Words {
    values: Vec<u64>,
    /// Rows with equal words have equal keys; otherwise nothing is known of them.
    is_exact: bool,
}

/// The first eight bytes.
fn leading(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    let len = bytes.len().min(8);
    word[..len].copy_from_slice(&bytes[..len]);
    u64::from_be_bytes(word)
}

/// In the order of signed integers.
const fn signed(value: i64) -> u64 {
    value as u64 ^ 1 << 63
}

/// In the order of [`compare_floats`].
fn float(value: f64) -> u64 {
    if value.is_nan() {
        return u64::MAX;
    }
    // Both zeros are one value.
    let bits = (value + 0.0).to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

impl SortColumn {
    fn words(&self, len: usize) -> Words {
        let column = self.column.as_ref();
        let (mut values, is_exact): (Vec<u64>, bool) = match column {
            ColumnVec::Bool(bools) => (bools.values.iter().map(|value| u64::from(*value)).collect(), true),
            ColumnVec::Int(_, ints) => (ints.values.iter().map(|value| signed(*value)).collect(), true),
            ColumnVec::Decimal(decimals) => (decimals.digits.values.iter().map(|digits| signed(*digits)).collect(), true),
            ColumnVec::Float(floats) => (floats.values.iter().map(|value| float(*value)).collect(), true),
            ColumnVec::Text(texts) if matches!(self.ty, SqlType::Char(_)) => {
                ((0..len).map(|row| leading(without_blanks(texts.bytes(row)))).collect(), false)
            }
            ColumnVec::Text(strings) | ColumnVec::Bytes(strings) => {
                ((0..len).map(|row| leading(strings.bytes(row))).collect(), false)
            }
            ColumnVec::Datum(_) => return Words { values: vec![0; len], is_exact: false },
        };
        if self.descending {
            values.iter_mut().for_each(|word| *word = !*word);
        }
        let mut has_nulls = false;
        for (row, word) in values.iter_mut().enumerate().filter(|(row, _)| column.is_null(*row)) {
            debug_assert!(row < len, "a word for each row");
            has_nulls = true;
            *word = if self.nulls_first { 0 } else { u64::MAX };
        }
        Words { values, is_exact: is_exact && !has_nulls }
    }
}

/// 42804 where values of these columns could not be compared.
fn check_compared(columns: &[SortColumn]) -> SqlResult<()> {
    columns.iter().find_map(|column| column.failed.get()).map_or(Ok(()), |error| Err(error.clone()))
}

pub(crate) struct Sort {
    input: BoxOperator,
    keys: Vec<SortKey>,
    limit: Option<Expr>,
    sorted: Option<Emitter>,
}

impl Sort {
    pub(crate) fn new(input: BoxOperator, keys: Vec<SortKey>, limit: Option<Expr>) -> Self {
        Self { input, keys, limit, sorted: None }
    }

    fn sort_columns(&self, keys: &Batch) -> Vec<SortColumn> {
        self.keys.iter().zip(keys.columns()).map(|(key, column)| SortColumn::new(key, Arc::clone(column))).collect()
    }

    async fn sort(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<Emitter> {
        let limit = match &self.limit {
            Some(limit) => eval_limit(limit, ctx).await?.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
            None => None,
        };
        let cut_at = limit.map_or(usize::MAX, |limit| limit.saturating_mul(2).max(BATCH_ROWS / 4));
        let mut is_cut = false;
        let mut memory = ctx.memory.reservation();
        let mut rows = Batch::default();
        let mut keys = Batch::default();
        while let Some(mut batch) = self.input.next(ctx).await? {
            ctx.cancel.checkpoint().await?;
            if batch.is_empty() {
                continue;
            }
            let mut columns = Vec::with_capacity(self.keys.len());
            for key in &self.keys {
                columns.push(eval_shared(&key.expr, &batch, ctx).await?);
            }
            let mut more = Batch::new(columns, batch.len());
            if is_cut {
                // Of equal rows the earlier ones are kept.
                let last = limit.unwrap_or(usize::MAX) - 1;
                let new = self.sort_columns(&more);
                let before = |row: &u32| {
                    let orders = new.iter().zip(keys.columns()).map(|(new, old)| new.compare_with(*row as usize, old, last));
                    orders.into_iter().find(|order| order.is_ne()) == Some(Ordering::Less)
                };
                let wanted: Vec<u32> = (0..batch.len() as u32).filter(before).collect();
                check_compared(&new)?;
                if wanted.is_empty() {
                    continue;
                }
                (batch, more) = (batch.filter(&wanted), more.filter(&wanted));
            }
            memory.grow(batch.memory_bytes() + more.memory_bytes() + 4 * batch.len())?;
            rows.append(&batch);
            keys.append(&more);
            if rows.len() >= cut_at
                && let Some(limit) = limit
            {
                let mut first = sorted_rows(&self.sort_columns(&keys), rows.len())?;
                first.truncate(limit);
                (rows, keys) = (rows.gather(&first), keys.gather(&first));
                is_cut = limit > 0;
                memory.resize(rows.memory_bytes() + keys.memory_bytes())?;
            }
        }
        let mut order = sorted_rows(&self.sort_columns(&keys), rows.len())?;
        order.truncate(limit.unwrap_or(usize::MAX));
        Ok(Emitter::new(rows, Some(order), memory))
    }
}

#[async_trait]
impl Operator for Sort {
    async fn next(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
        if self.sorted.is_none() {
            self.sorted = Some(self.sort(ctx).await?);
        }
        ctx.cancel.checkpoint().await?;
        Ok(self.sorted.as_mut().and_then(Emitter::next))
    }
}

#[cfg(test)]
mod tests {
    use types::Datum;

    use super::*;

    /// The definition: comparison of the keys alone.
    fn check(ty: SqlType, texts: &[&str]) {
        let formatting = types::Formatting::default();
        let datum = |text: &&str| match *text {
            "NULL" => Datum::Null,
            text => types::parse_text(&ty, text, &formatting).unwrap(),
        };
        let datums: Vec<Datum> = texts.iter().map(datum).collect();
        for (descending, nulls_first) in [(false, false), (false, true), (true, false), (true, true)] {
            let column = Arc::new(ColumnVec::from_datums(&ty, &datums));
            let key = SortColumn { column, ty, descending, nulls_first, failed: OnceLock::new() };
            let mut wanted: Vec<u32> = (0..datums.len() as u32).collect();
            wanted.sort_by(|a, b| key.compare(*a as usize, *b as usize));
            assert_eq!(sorted_rows(&[key], datums.len()).unwrap(), wanted, "{ty} {descending} {nulls_first}");
        }
    }

    #[test]
    fn words_order_as_keys_do() {
        check(SqlType::Int8, &["3", "-9223372036854775808", "9223372036854775807", "NULL", "0", "-1", "3"]);
        check(SqlType::Float8, &["0", "-0", "NaN", "-Infinity", "Infinity", "NULL", "-1.5", "1e-300", "NaN", "2"]);
        check(SqlType::NUMERIC, &["1.50", "-2.25", "NULL", "0.00", "1.50"]);
        check(SqlType::NUMERIC, &["1.5", "-2.25", "NULL", "NaN", "1.50", "-Infinity"]);
        check(SqlType::Text, &["abcdefgh2", "abcdefgh1", "", "NULL", "abcdefgh", "a", "\u{1}", "b", "NULL"]);
        check(SqlType::Char(Some(9)), &["a", "abcdefgh", "abcdefghi", "", "NULL", "a "]);
        check(SqlType::Bool, &["t", "f", "NULL", "t"]);
        check(SqlType::Bytea, &["\\x00", "\\x", "\\xff", "NULL", "\\x0000"]);
        check(SqlType::Date, &["infinity", "-infinity", "2024-01-01", "NULL"]);
    }
}
