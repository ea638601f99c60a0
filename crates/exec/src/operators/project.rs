//! Expressions over each row.
//!
//! Where they would make much of a whole batch, as `repeat` can, the batch is taken in pieces.

use std::sync::Arc;

use async_trait::async_trait;
use plan::Expr;
use types::{Batch, ColumnVec, SqlResult, SqlState};

use crate::context::ExecContext;
use crate::eval::{eval_shared, eval_within, needs_transaction};
use crate::memory::Reservation;
use crate::operator::{BoxOperator, Operator};
use crate::volatility::expr_is_volatile;

/// What a column of a piece of more rows than one may take.
const PIECE_BYTES_MAX: usize = 32 << 20;

pub(crate) struct Project {
    input: BoxOperator,
    exprs: Vec<Expr>,
    /// The batch in hand and the first row of it that is left.
    rest: Option<(Batch, usize)>,
    /// Rows that are taken at once.
    piece_rows: usize,
    /// Known once it was asked for.
    is_repeatable: Option<bool>,
    /// For the values of the batch that was given out last.
    memory: Option<Reservation>,
}

impl Project {
    pub(crate) fn new(input: BoxOperator, exprs: Vec<Expr>) -> Self {
        Self { input, exprs, rest: None, piece_rows: usize::MAX, is_repeatable: None, memory: None }
    }

    /// What is volatile must be evaluated once for each row.
    fn is_repeatable(&mut self) -> bool {
        *self.is_repeatable.get_or_insert_with(|| !self.exprs.iter().any(expr_is_volatile))
    }

    /// The columns; `None` when they are too large for so many rows at once.
    async fn columns(
        &mut self,
        piece: &Batch,
        ctx: &mut ExecContext<'_>,
    ) -> SqlResult<Option<Vec<Arc<ColumnVec>>>> {
        let mut columns = Vec::with_capacity(self.exprs.len());
        let made_max = if piece.len() > 1 && self.is_repeatable() { PIECE_BYTES_MAX } else { usize::MAX };
        // What was given out before is no longer here.
        self.memory = None;
        let mut memory: Option<Reservation> = None;
        for expr in &self.exprs {
            if let Expr::Column(position, _) = expr {
                columns.push(Arc::clone(piece.column(*position)));
                continue;
            }
            let column = if needs_transaction(expr) {
                eval_shared(expr, piece, ctx).await?
            } else {
                match eval_within(expr, piece, made_max, ctx) {
                    Err(error) if error.code() == SqlState::OutOfMemory && made_max < usize::MAX => {
                        return Ok(None);
                    }
                    made => made?,
                }
            };
            memory.get_or_insert_with(|| ctx.memory.reservation()).grow(column.memory_bytes())?;
            columns.push(column);
        }
        self.memory = memory;
        Ok(Some(columns))
    }
}

#[async_trait]
impl Operator for Project {
    async fn next(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
        loop {
            ctx.cancel.checkpoint().await?;
            let (batch, from) = match self.rest.take() {
                Some(rest) => rest,
                None => match self.input.next(ctx).await? {
                    Some(batch) => (batch, 0),
                    None => return Ok(None),
                },
            };
            let taken = (batch.len() - from).min(self.piece_rows);
            let piece = if taken == batch.len() { batch.clone() } else { batch.slice(from, taken) };
            match self.columns(&piece, ctx).await? {
                Some(columns) => {
                    if from + taken < batch.len() {
                        self.rest = Some((batch, from + taken));
                    }
                    return Ok(Some(Batch::new(columns, taken)));
                }
                None => {
                    self.piece_rows = (taken / 16).max(1);
                    self.rest = Some((batch, from));
                }
            }
        }
    }
}
