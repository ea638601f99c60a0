//! Rows for a routine instead of a client.

use std::ops::Range;

use exec::Reservation;
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
    fn rows(&mut self, batch: &Batch, rows: Range<usize>, _formatting: &Formatting) -> SqlResult<usize> {
        let end = rows.end;
        self.add(batch, rows)?;
        Ok(end)
    }

    fn notice(&mut self, severity: Severity, notice: SqlError) {
        self.notices.push((severity, notice));
    }
}

/// Keeps whole batches, for a cursor over what has run to its end.
pub(crate) struct CollectBatches {
    pub batches: Vec<Batch>,
    pub notices: Vec<(Severity, SqlError)>,
    memory: Reservation,
}

impl CollectBatches {
    pub const fn new(memory: Reservation) -> Self {
        Self { batches: Vec::new(), notices: Vec::new(), memory }
    }
}

impl Sink for CollectBatches {
    fn rows(&mut self, batch: &Batch, rows: Range<usize>, _formatting: &Formatting) -> SqlResult<usize> {
        if !rows.is_empty() {
            let kept = batch.slice(rows.start, rows.len());
            self.memory.grow(kept.memory_bytes())?;
            self.batches.push(kept);
        }
        Ok(rows.end)
    }

    fn notice(&mut self, severity: Severity, notice: SqlError) {
        self.notices.push((severity, notice));
    }
}
