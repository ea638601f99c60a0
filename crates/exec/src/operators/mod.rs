//! One file for each kind of operator.

pub(crate) mod aggregate;
pub(crate) mod append;
pub(crate) mod apply;
pub(crate) mod cte;
pub(crate) mod distinct;
pub(crate) mod fast_aggregate;
pub(crate) mod filter;
pub(crate) mod frame;
pub(crate) mod function_scan;
pub(crate) mod join;
pub(crate) mod key_table;
pub(crate) mod limit;
pub(crate) mod lock_rows;
pub(crate) mod project;
pub(crate) mod project_set;
pub(crate) mod set_op;
pub(crate) mod sort;
pub(crate) mod values;
pub(crate) mod window;

use types::{Batch, SqlResult};

use crate::context::ExecContext;
use crate::memory::Reservation;
use crate::operator::{BATCH_ROWS, Operator};

/// All rows of an input as one batch, counted against the budget.
pub(crate) async fn drain(
    input: &mut dyn Operator,
    memory: &mut Reservation,
    ctx: &mut ExecContext<'_>,
) -> SqlResult<Option<Batch>> {
    let mut all: Option<Batch> = None;
    while let Some(batch) = input.next(ctx).await? {
        ctx.cancel.checkpoint().await?;
        if batch.is_empty() {
            continue;
        }
        memory.grow(batch.memory_bytes())?;
        match &mut all {
            Some(all) => all.append(&batch),
            None => all = Some(batch),
        }
    }
    Ok(all)
}

/// Hands out a large batch in pieces, in the order of `rows`.
pub(crate) struct Emitter {
    batch: Batch,
    /// `None`: as they lie.
    rows: Option<Vec<u32>>,
    at: usize,
    _memory: Reservation,
}

impl Emitter {
    pub(crate) fn new(batch: Batch, rows: Option<Vec<u32>>, memory: Reservation) -> Self {
        Self { batch, rows, at: 0, _memory: memory }
    }

    pub(crate) fn next(&mut self) -> Option<Batch> {
        let total = self.rows.as_ref().map_or(self.batch.len(), Vec::len);
        if self.at >= total {
            return None;
        }
        let (from, to) = (self.at, (self.at + BATCH_ROWS).min(total));
        self.at = to;
        Some(match &self.rows {
            Some(rows) => self.batch.gather(&rows[from..to]),
            None => self.batch.slice(from, to - from),
        })
    }
}
