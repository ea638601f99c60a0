//! LIMIT and OFFSET. NULL means none; both are evaluated when the first row is asked for.
//!
//! With ties, rows that are equal to the last one by the order's keys are taken too: the keys of that row are kept.

use async_trait::async_trait;
use plan::{Expr, SortKey};
use types::{Batch, Datum, SqlError, SqlResult, SqlState, compare};

use crate::context::ExecContext;
use crate::eval::{eval_all, eval_scalar};
use crate::operator::{BoxOperator, Operator};

pub(crate) struct Limit {
    input: BoxOperator,
    limit: Option<Expr>,
    offset: Option<Expr>,
    ties: Vec<SortKey>,
    /// Rows still to skip and to yield.
    left: Option<(u64, u64)>,
    /// The keys of the last row, when no more are to be yielded but ties of it.
    last: Option<Vec<Datum>>,
}

impl Limit {
    pub(crate) fn new(input: BoxOperator, limit: Option<Expr>, offset: Option<Expr>, ties: Vec<SortKey>) -> Self {
        Self { input, limit, offset, ties, left: None, last: None }
    }

    /// How many rows of a batch, from this one on, are ties of the last row; the first one that is none ends them.
    async fn tied(&mut self, batch: &Batch, from: usize, ctx: &mut ExecContext<'_>) -> SqlResult<u64> {
        let rows = batch.slice(from, batch.len() - from);
        let Some(last) = self.last.clone().filter(|_| !rows.is_empty()) else { return Ok(0) };
        let keys: Vec<Expr> = self.ties.iter().map(|key| key.expr.clone()).collect();
        let keys: Vec<_> = keys.iter().map(Expr::ty).zip(eval_all(&keys, &rows, ctx).await?).collect();
        let is_tie = |row: &usize| {
            keys.iter().zip(&last).all(|((ty, column), last)| match (column.is_null(*row), last.is_null()) {
                (false, false) => compare(ty, &column.get_datum(*row), last).is_eq(),
                (is_null, was_null) => is_null == was_null,
            })
        };
        let count = (0..rows.len()).take_while(is_tie).count();
        if count < rows.len() {
            self.last = None;
        }
        Ok(count as u64)
    }

    /// Keeps the keys of the last row.
    async fn remember(&mut self, batch: &Batch, at: usize, ctx: &mut ExecContext<'_>) -> SqlResult<()> {
        let keys: Vec<Expr> = self.ties.iter().map(|key| key.expr.clone()).collect();
        let columns = eval_all(&keys, &batch.slice(at, 1), ctx).await?;
        self.last = Some(columns.iter().map(|column| column.get_datum(0)).collect());
        Ok(())
    }
}

/// The number a LIMIT gives; `None` for NULL.
pub(crate) async fn eval_limit(limit: &Expr, ctx: &mut ExecContext<'_>) -> SqlResult<Option<u64>> {
    eval_count(limit, SqlState::InvalidRowCountInLimitClause, "LIMIT", ctx).await
}

async fn eval_count(expr: &Expr, state: SqlState, word: &str, ctx: &mut ExecContext<'_>) -> SqlResult<Option<u64>> {
    match eval_scalar(expr, ctx).await?.as_int() {
        Some(count) => match u64::try_from(count) {
            Ok(count) => Ok(Some(count)),
            Err(_) => Err(SqlError::new(state, format!("{word} must not be negative"))),
        },
        None => Ok(None),
    }
}

#[async_trait]
impl Operator for Limit {
    async fn next(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
        let (mut skip, mut take) = match self.left {
            Some(left) => left,
            None => {
                let skip = match &self.offset {
                    Some(offset) => {
                        let state = SqlState::InvalidRowCountInResultOffsetClause;
                        eval_count(offset, state, "OFFSET", ctx).await?
                    }
                    None => None,
                };
                let take = match &self.limit {
                    Some(limit) => eval_limit(limit, ctx).await?,
                    None => None,
                };
                (skip.unwrap_or(0), take.unwrap_or(u64::MAX))
            }
        };
        self.left = Some((skip, take));
        while take > 0 {
            let Some(batch) = self.input.next(ctx).await? else { break };
            let skipped = skip.min(batch.len() as u64);
            skip -= skipped;
            let mut taken = take.min(batch.len() as u64 - skipped);
            take -= taken;
            self.left = Some((skip, take));
            if taken > 0 {
                if take == 0 && !self.ties.is_empty() {
                    let behind = (skipped + taken) as usize;
                    self.remember(&batch, behind - 1, ctx).await?;
                    taken += self.tied(&batch, behind, ctx).await?;
                }
                return Ok(Some(batch.slice(skipped as usize, taken as usize)));
            }
        }
        while self.last.is_some() {
            let Some(batch) = self.input.next(ctx).await? else { break };
            let taken = self.tied(&batch, 0, ctx).await?;
            if taken > 0 {
                return Ok(Some(batch.slice(0, taken as usize)));
            }
        }
        Ok(None)
    }
}
