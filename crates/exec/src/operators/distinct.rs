//! The first row of each kind, in the input's order.

use async_trait::async_trait;
use plan::Expr;
use types::{Batch, SqlResult, SqlType};

use super::key_table::{KeyTable, new_rows};
use crate::context::ExecContext;
use crate::eval::eval_all;
use crate::memory::Reservation;
use crate::operator::{BoxOperator, Operator};

pub(crate) struct Distinct {
    input: BoxOperator,
    on: Option<Vec<Expr>>,
    seen: KeyTable,
    memory: Option<Reservation>,
}

impl Distinct {
    pub(crate) fn new(input: BoxOperator, on: Option<Vec<Expr>>, types: &[SqlType]) -> Self {
        let key_types = match &on {
            Some(on) => on.iter().map(Expr::ty).collect(),
            None => types.to_vec(),
        };
        Self { input, on, seen: KeyTable::new(key_types), memory: None }
    }
}

#[async_trait]
impl Operator for Distinct {
    async fn next(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
        while let Some(batch) = self.input.next(ctx).await? {
            ctx.cancel.checkpoint().await?;
            let keys = match &self.on {
                Some(on) => eval_all(on, &batch, ctx).await?,
                None => batch.columns().to_vec(),
            };
            self.seen.check_alike(&keys, batch.len())?;
            let rows = new_rows(&mut self.seen, &keys, &batch);
            self.memory.get_or_insert_with(|| ctx.memory.reservation()).resize(self.seen.memory_bytes())?;
            if !rows.is_empty() {
                return Ok(Some(batch.filter(&rows)));
            }
        }
        Ok(None)
    }
}
