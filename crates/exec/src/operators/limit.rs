//! LIMIT and OFFSET. NULL means none; both are evaluated when the first row is asked for.

use async_trait::async_trait;
use plan::Expr;
use types::{Batch, SqlError, SqlResult, SqlState};

use crate::context::ExecContext;
use crate::eval::eval_scalar;
use crate::operator::{BoxOperator, Operator};

pub(crate) struct Limit {
    input: BoxOperator,
    limit: Option<Expr>,
    offset: Option<Expr>,
    /// Rows still to skip and to yield.
    left: Option<(u64, u64)>,
}

impl Limit {
    pub(crate) fn new(input: BoxOperator, limit: Option<Expr>, offset: Option<Expr>) -> Self {
        Self { input, limit, offset, left: None }
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
            let taken = take.min(batch.len() as u64 - skipped);
            take -= taken;
            self.left = Some((skip, take));
            if taken > 0 {
                return Ok(Some(batch.slice(skipped as usize, taken as usize)));
            }
        }
        Ok(None)
    }
}
