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
                    (ColumnVec::Text(left), ColumnVec::Text(right)) if !matches!(self.ty, SqlType::Char(_)) => {
                        left.bytes(a).cmp(right.bytes(b))
                    }
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
    let mut rows: Vec<u32> = (0..len as u32).collect();
    match columns {
        [] => {}
        [column] => rows.sort_by(|a, b| column.compare(*a as usize, *b as usize)),
        columns => rows.sort_by(|a, b| compare_rows(columns, *a as usize, *b as usize)),
    }
    check_compared(columns)?;
    Ok(rows)
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
