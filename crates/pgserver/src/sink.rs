//! Where a statement's answer is written: the connection's buffer, which is sent whenever it is full.

use std::{ops::Range, sync::Arc};

use futures::future::BoxFuture;
use plan::{PlanColumn, PreparedPlan, statement::CopyOptions};
use session::{Severity, Sink};
use types::{Batch, Formatting, SqlError, SqlResult, SqlState, SqlType};

use crate::{copy_out::CopyOut, encode, writer::Writer};

pub(crate) struct WireSink<'a> {
    writer: &'a mut Writer,
    shape: Shape,
    /// Bind's result formats.
    formats: &'a [i16],
}

/// What rows become.
enum Shape {
    /// No result set has been announced.
    Nothing,
    /// DataRow of a portal, whose columns its client has been told of, or did not ask for.
    Portal(Arc<PreparedPlan>),
    /// DataRow of a result set that was announced here.
    Rows(Vec<SqlType>),
    Copy(CopyOut),
}

impl<'a> WireSink<'a> {
    /// For a query string.
    pub fn for_query(writer: &'a mut Writer) -> Self {
        Self { writer, shape: Shape::Nothing, formats: &[] }
    }

    pub fn for_portal(writer: &'a mut Writer, plan: Arc<PreparedPlan>, formats: &'a [i16]) -> Self {
        Self { writer, shape: Shape::Portal(plan), formats }
    }

    /// Writes what a COPY TO ends with.
    pub fn end_copy(&mut self) {
        if let Shape::Copy(copy) = &self.shape {
            copy.end(&mut self.writer.out);
        }
    }
}

impl Sink for WireSink<'_> {
    fn columns(&mut self, columns: &[PlanColumn]) {
        encode::row_description(&mut self.writer.out, columns, self.formats);
        self.shape = Shape::Rows(columns.iter().map(|column| column.ty).collect());
    }

    fn binary(&mut self) {
        self.formats = &[1];
    }

    fn copy_out(&mut self, columns: &[PlanColumn], options: &CopyOptions) {
        self.shape = Shape::Copy(CopyOut::begin(&mut self.writer.out, columns, options));
    }

    fn rows(&mut self, batch: &Batch, rows: Range<usize>, formatting: &Formatting) -> SqlResult<usize> {
        let out = &mut self.writer.out;
        for row in rows.clone() {
            if out.len() >= crate::writer::FULL_BYTES {
                return Ok(row);
            }
            match &mut self.shape {
                Shape::Nothing => encode::data_row(out, batch, row, [].iter(), &[], formatting)?,
                Shape::Portal(plan) => {
                    let types = plan.columns.iter().map(|column| &column.ty);
                    encode::data_row(out, batch, row, types, self.formats, formatting)?;
                }
                Shape::Rows(types) => encode::data_row(out, batch, row, types.iter(), self.formats, formatting)?,
                Shape::Copy(copy) => copy.row(out, batch, row, formatting)?,
            }
        }
        Ok(rows.end)
    }

    fn drain(&mut self) -> BoxFuture<'_, SqlResult<()>> {
        Box::pin(async {
            self.writer.flush().await.map_err(|error| {
                SqlError::new(SqlState::ConnectionFailure, format!("could not send data to client: {error}"))
            })
        })
    }

    fn notice(&mut self, severity: Severity, notice: SqlError) {
        encode::notice(&mut self.writer.out, notice, severity.name());
    }

    fn mark(&self) -> u64 {
        self.writer.mark()
    }

    fn rewind(&mut self, mark: u64) -> bool {
        self.writer.rewind(mark)
    }
}
