//! Rows for a routine instead of a client.

use std::ops::Range;

use exec::Reservation;
use futures::future::BoxFuture;
use plan::{PlanColumn, statement::CopyOptions};
use plpgsql::{Keep, Row};
use types::{Batch, Formatting, SqlError, SqlResult};

use crate::sink::{Severity, Sink};

/// Keeps as many rows as are wanted, and counts the others.
pub(crate) struct Collect {
    pub rows: Vec<Row>,
    pub processed: u64,
    pub notices: Vec<(Severity, SqlError)>,
    most: usize,
    memory: Reservation,
}

impl Collect {
    pub fn new(keep: Keep, memory: Reservation) -> Self {
        let most = match keep {
            Keep::Count => 0,
            Keep::AtMost(most) => most,
            Keep::All => usize::MAX,
        };
        Self { rows: Vec::new(), processed: 0, notices: Vec::new(), most, memory }
    }

    /// Whether no more rows are wanted.
    pub fn is_full(&self) -> bool {
        self.most > 0 && self.rows.len() >= self.most
    }

    pub fn add(&mut self, batch: &Batch, rows: Range<usize>) -> SqlResult<()> {
        self.processed += rows.len() as u64;
        let wanted = rows.len().min(self.most.saturating_sub(self.rows.len()));
        if wanted > 0 {
            let share = batch.memory_bytes() * wanted / batch.len().max(1);
            self.memory.grow(share)?;
            self.rows.extend((rows.start..rows.start + wanted).map(|row| batch.row(row)));
        }
        Ok(())
    }
}

impl Sink for Collect {
    fn columns(&mut self, _columns: &[PlanColumn]) {}

    fn copy_out(&mut self, _columns: &[PlanColumn], _options: &CopyOptions) {}

    fn rows(&mut self, batch: &Batch, rows: Range<usize>, _formatting: &Formatting) -> SqlResult<usize> {
        let end = rows.end;
        self.add(batch, rows)?;
        Ok(end)
    }

    fn drain(&mut self) -> BoxFuture<'_, SqlResult<()>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn notice(&mut self, severity: Severity, notice: SqlError) {
        self.notices.push((severity, notice));
    }

    fn mark(&self) -> u64 {
        0
    }

    fn rewind(&mut self, _mark: u64) -> bool {
        false
    }
}

/// Keeps whole batches, for a cursor over what has run to its end.
pub(crate) struct CollectBatches {
    pub batches: Vec<Batch>,
    pub notices: Vec<(Severity, SqlError)>,
}

impl Sink for CollectBatches {
    fn columns(&mut self, _columns: &[PlanColumn]) {}

    fn copy_out(&mut self, _columns: &[PlanColumn], _options: &CopyOptions) {}

    fn rows(&mut self, batch: &Batch, rows: Range<usize>, _formatting: &Formatting) -> SqlResult<usize> {
        if !rows.is_empty() {
            self.batches.push(batch.slice(rows.start, rows.len()));
        }
        Ok(rows.end)
    }

    fn drain(&mut self) -> BoxFuture<'_, SqlResult<()>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn notice(&mut self, severity: Severity, notice: SqlError) {
        self.notices.push((severity, notice));
    }

    fn mark(&self) -> u64 {
        0
    }

    fn rewind(&mut self, _mark: u64) -> bool {
        false
    }
}
