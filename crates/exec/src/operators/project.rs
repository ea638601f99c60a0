//! Expressions over each row.

use async_trait::async_trait;
use plan::Expr;
use types::{Batch, SqlResult};

use crate::context::ExecContext;
use crate::eval::eval_all;
use crate::operator::{BoxOperator, Operator};

pub(crate) struct Project {
    input: BoxOperator,
    exprs: Vec<Expr>,
}

impl Project {
    pub(crate) fn new(input: BoxOperator, exprs: Vec<Expr>) -> Self {
        Self { input, exprs }
    }
}

#[async_trait]
impl Operator for Project {
    async fn next(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
        let Some(batch) = self.input.next(ctx).await? else { return Ok(None) };
        ctx.cancel.checkpoint().await?;
        let columns = eval_all(&self.exprs, &batch, ctx).await?;
        Ok(Some(Batch::new(columns, batch.len())))
    }
}
