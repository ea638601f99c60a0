//! Rows for which a predicate is true.

use async_trait::async_trait;
use plan::Expr;
use types::{Batch, SqlResult};

use crate::context::ExecContext;
use crate::eval::eval_filter;
use crate::operator::{BoxOperator, Operator};

pub(crate) struct Filter {
    input: BoxOperator,
    predicate: Expr,
}

impl Filter {
    pub(crate) fn new(input: BoxOperator, predicate: Expr) -> Self {
        Self { input, predicate }
    }
}

#[async_trait]
impl Operator for Filter {
    async fn next(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
        while let Some(batch) = self.input.next(ctx).await? {
            ctx.cancel.checkpoint().await?;
            let kept = eval_filter(&self.predicate, batch, ctx).await?;
            if !kept.is_empty() {
                return Ok(Some(kept));
            }
        }
        Ok(None)
    }
}
