//! Where a statement's answer goes.

use std::ops::Range;

use futures::future::BoxFuture;
use plan::{PlanColumn, statement::CopyOptions};
use types::{Batch, Formatting, SqlError, SqlResult};

/// How loud a notice is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Debug,
    Log,
    Notice,
    Warning,
    /// Sent whatever the client wants to hear.
    Info,
}

impl Severity {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Log => "LOG",
            Self::Info => "INFO",
            Self::Notice => "NOTICE",
            Self::Warning => "WARNING",
        }
    }
}

/// The client's side of a statement. It takes rows until it is full, and is then waited for, so that a result of any
/// size passes through a bounded buffer. Without a client there is no one to tell of columns, no wait, and no way back.
pub trait Sink: Send {
    /// The columns of a result set that follows.
    fn columns(&mut self, _columns: &[PlanColumn]) {}
    /// What follows is given in the binary format: the rows of a binary cursor.
    fn binary(&mut self) {}
    /// The columns of a COPY TO: its rows follow as COPY data.
    fn copy_out(&mut self, _columns: &[PlanColumn], _options: &CopyOptions) {}
    /// Some rows of a batch; answers the first that it has not taken, because it is full.
    ///
    /// # Errors
    /// When a value cannot be shown.
    fn rows(&mut self, batch: &Batch, rows: Range<usize>, formatting: &Formatting) -> SqlResult<usize>;
    /// Waits until there is room again.
    ///
    /// # Errors
    /// When the client is gone.
    fn drain(&mut self) -> BoxFuture<'_, SqlResult<()>> {
        Box::pin(std::future::ready(Ok(())))
    }
    fn notice(&mut self, severity: Severity, notice: SqlError);
    /// Where the answer stands, to come back to.
    fn mark(&self) -> u64 {
        0
    }
    /// Forgets what came after a mark; whether that was still possible.
    fn rewind(&mut self, _mark: u64) -> bool {
        false
    }
}

/// Gives a sink rows of a batch, at its own speed.
pub(crate) async fn send(
    sink: &mut dyn Sink,
    batch: &Batch,
    mut rows: Range<usize>,
    formatting: &Formatting,
) -> SqlResult<()> {
    loop {
        rows.start = sink.rows(batch, rows.clone(), formatting)?;
        if rows.is_empty() {
            return Ok(());
        }
        sink.drain().await?;
    }
}

/// Keeps the rows of a statement that has to run to its end while its client wants only some of them.
pub(crate) struct Keep<'a> {
    pub client: &'a mut dyn Sink,
    pub batches: Vec<Batch>,
}

impl Sink for Keep<'_> {
    fn columns(&mut self, columns: &[PlanColumn]) {
        self.client.columns(columns);
    }

    fn binary(&mut self) {
        self.client.binary();
    }

    fn copy_out(&mut self, columns: &[PlanColumn], options: &CopyOptions) {
        self.client.copy_out(columns, options);
    }

    fn rows(&mut self, batch: &Batch, rows: Range<usize>, _formatting: &Formatting) -> SqlResult<usize> {
        if !rows.is_empty() {
            self.batches.push(batch.slice(rows.start, rows.len()));
        }
        Ok(rows.end)
    }

    fn drain(&mut self) -> BoxFuture<'_, SqlResult<()>> {
        self.client.drain()
    }

    fn notice(&mut self, severity: Severity, notice: SqlError) {
        self.client.notice(severity, notice);
    }

    fn mark(&self) -> u64 {
        self.client.mark()
    }

    fn rewind(&mut self, mark: u64) -> bool {
        self.batches.clear();
        self.client.rewind(mark)
    }
}
