//! The rows of partitions, one partition after the other. Partitions are pruned again when the first row is
//! asked for: by then the values of parameters are known, and those of an outer row.

use std::sync::Arc;

use async_trait::async_trait;
use plan::pruning::PruneNode;
use types::{Batch, SqlResult};

use crate::context::ExecContext;
use crate::eval::{eval_row, needs_transaction};
use crate::operator::{BoxOperator, Operator};

pub(crate) struct Append {
    /// What is left of the inputs, the next one last.
    inputs: Vec<BoxOperator>,
    pruning: Option<Arc<PruneNode>>,
}

impl Append {
    pub(crate) fn new(mut inputs: Vec<BoxOperator>, pruning: Option<Arc<PruneNode>>) -> Self {
        inputs.reverse();
        Self { inputs, pruning }
    }

    /// Drops the inputs that no row can come from. What a value fails with, the partitions' own conditions report.
    fn prune(&mut self, pruning: &PruneNode, ctx: &ExecContext<'_>) -> SqlResult<()> {
        let count = self.inputs.len();
        let mut is_read = vec![false; count];
        let scope = ctx.scope();
        pruning.read(
            &mut |value| Ok(if needs_transaction(value) { None } else { eval_row(value, &[], &scope).ok() }),
            &mut is_read,
        )?;
        let mut at = count;
        self.inputs.retain(|_| {
            at -= 1;
            is_read[at]
        });
        Ok(())
    }
}

#[async_trait]
impl Operator for Append {
    async fn next(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
        if let Some(pruning) = self.pruning.take() {
            self.prune(&pruning, ctx)?;
        }
        loop {
            ctx.cancel.checkpoint().await?;
            let Some(input) = self.inputs.last_mut() else { return Ok(None) };
            match input.next(ctx).await? {
                None => drop(self.inputs.pop()),
                batch => return Ok(batch),
            }
        }
    }
}
