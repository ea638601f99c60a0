//! UNION, INTERSECT and EXCEPT. With ALL a row counts as often as it comes: INTERSECT yields the smaller count of the
//! two sides, EXCEPT what the left has more.

use async_trait::async_trait;
use plan::plan::SetOpKind;
use types::{Batch, SqlResult, SqlType};

use super::key_table::KeyTable;
use crate::context::ExecContext;
use crate::memory::Reservation;
use crate::operator::{BoxOperator, Operator};

pub(crate) struct SetOp {
    kind: SetOpKind,
    all: bool,
    /// What is left of the inputs, the next one last.
    inputs: Vec<BoxOperator>,
    table: KeyTable,
    /// How often the right has each key.
    counts: Vec<u64>,
    memory: Option<Reservation>,
    has_started: bool,
}

impl SetOp {
    pub(crate) fn new(kind: SetOpKind, all: bool, mut inputs: Vec<BoxOperator>, types: Vec<SqlType>) -> Self {
        let table = KeyTable::new(types);
        inputs.reverse();
        Self { kind, all, inputs, table, counts: Vec::new(), memory: None, has_started: false }
    }

    async fn count_right(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<()> {
        // The left comes first, so the right lies at the bottom.
        let mut right = self.inputs.remove(0);
        while let Some(batch) = right.next(ctx).await? {
            ctx.cancel.checkpoint().await?;
            self.table.check_alike(batch.columns(), batch.len())?;
            let numbers = self.table.insert(batch.columns(), batch.len(), |_| true, |_| {});
            self.counts.resize(self.table.len(), 0);
            for number in numbers {
                self.counts[number as usize] += 1;
            }
            self.count_memory(ctx)?;
        }
        Ok(())
    }

    fn count_memory(&mut self, ctx: &ExecContext<'_>) -> SqlResult<()> {
        let bytes = self.table.memory_bytes() + self.counts.capacity() * 8;
        self.memory.get_or_insert_with(|| ctx.memory.reservation()).resize(bytes)
    }

    fn select(&mut self, batch: &Batch) -> Vec<u32> {
        let all = self.all;
        let len = batch.len();
        let mut rows = Vec::new();
        match self.kind {
            SetOpKind::Union => {
                self.table.insert(batch.columns(), len, |_| true, |row| rows.push(row));
            }
            SetOpKind::Intersect => {
                for (row, number) in self.table.find(batch.columns(), len, |_| true).into_iter().enumerate() {
                    if let Some(count) = self.counts.get_mut(number as usize)
                        && *count > 0
                    {
                        *count = if all { *count - 1 } else { 0 };
                        rows.push(row as u32);
                    }
                }
            }
            SetOpKind::Except if all => {
                for (row, number) in self.table.find(batch.columns(), len, |_| true).into_iter().enumerate() {
                    match self.counts.get_mut(number as usize) {
                        Some(count) if *count > 0 => *count -= 1,
                        _ => rows.push(row as u32),
                    }
                }
            }
            // What the right has is in the table already, and so is what has been yielded.
            SetOpKind::Except => {
                self.table.insert(batch.columns(), len, |_| true, |row| rows.push(row));
            }
        }
        rows
    }
}

#[async_trait]
impl Operator for SetOp {
    async fn next(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
        if !std::mem::replace(&mut self.has_started, true) && self.kind != SetOpKind::Union {
            self.count_right(ctx).await?;
        }
        loop {
            ctx.cancel.checkpoint().await?;
            let Some(input) = self.inputs.last_mut() else { return Ok(None) };
            let Some(batch) = input.next(ctx).await? else {
                self.inputs.pop();
                continue;
            };
            if self.kind == SetOpKind::Union && self.all {
                return Ok(Some(batch));
            }
            self.table.check_alike(batch.columns(), batch.len())?;
            let rows = self.select(&batch);
            self.count_memory(ctx)?;
            if !rows.is_empty() {
                return Ok(Some(batch.filter(&rows)));
            }
        }
    }
}
