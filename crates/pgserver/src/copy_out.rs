//! COPY TO the client: a message a row.

use plan::{PlanColumn, statement::CopyOptions};
use session::CopyRows;
use types::{Batch, Formatting, SqlResult};

use crate::encode;

pub(crate) struct CopyOut {
    rows: CopyRows,
}

impl CopyOut {
    /// Announces the data.
    pub fn begin(out: &mut Vec<u8>, columns: &[PlanColumn], options: &CopyOptions) -> Self {
        let mut rows = CopyRows::new(columns, options);
        encode::copy_response(out, b'H', columns.len(), i16::from(rows.is_binary()));
        if let Some(line) = rows.header(columns) {
            // A name is no longer than its table allows, and there are few: a header always fits.
            let header = encode::fallible(out, b'd', |out| {
                out.extend_from_slice(&line);
                Ok(())
            });
            debug_assert!(header.is_ok());
        }
        Self { rows }
    }

    pub fn row(&mut self, out: &mut Vec<u8>, batch: &Batch, row: usize, formatting: &Formatting) -> SqlResult<()> {
        encode::fallible(out, b'd', |out| self.rows.row(out, batch, row, formatting))
    }

    /// Ends the data.
    pub fn end(&self, out: &mut Vec<u8>) {
        if self.rows.is_binary() {
            let ended = encode::fallible(out, b'd', |out| {
                self.rows.end(out);
                Ok(())
            });
            debug_assert!(ended.is_ok());
        }
        encode::empty(out, b'c');
    }
}
