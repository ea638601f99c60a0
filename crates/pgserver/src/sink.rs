//! Where a statement's answer is written: the connection's buffer, or for COPY TO as lines.

use bytes::BytesMut;
use plan::{PlanColumn, statement::CopyOptions};
use session::Sink;
use types::{Batch, Datum, Formatting, SqlResult, SqlType};

use crate::encode;

pub(crate) struct WireSink<'a> {
    pub out: &'a mut BytesMut,
    pub formatting: Formatting,
    /// Bind's result formats.
    pub formats: Vec<i16>,
    /// Types of the rows' columns.
    pub types: Vec<SqlType>,
    /// Set for COPY TO: rows become lines.
    pub copy: Option<CopyOptions>,
    /// Whether RowDescription is sent: only in answer to a query string.
    pub describe: bool,
    pub scratch: Vec<u8>,
    pub rows: u64,
    pub names: Vec<String>,
}

impl<'a> WireSink<'a> {
    pub fn new(out: &'a mut BytesMut, formatting: Formatting) -> Self {
        Self {
            out,
            formatting,
            formats: Vec::new(),
            types: Vec::new(),
            copy: None,
            describe: true,
            scratch: Vec::new(),
            rows: 0,
            names: Vec::new(),
        }
    }

    fn copy_line(&mut self, options: &CopyOptions, values: &[Option<String>]) {
        let csv = options.format == plan::statement::CopyFormat::Csv;
        let mut line = Vec::new();
        for (at, value) in values.iter().enumerate() {
            if at > 0 {
                line.push(options.delimiter);
            }
            match value {
                None => line.extend_from_slice(options.null.as_bytes()),
                Some(text) if csv => csv_field(&mut line, text, options, options.force_quote.contains(&at)),
                Some(text) => text_field(&mut line, text, options.delimiter),
            }
        }
        line.push(b'\n');
        encode::copy_data(self.out, &line);
    }
}

fn text_field(line: &mut Vec<u8>, text: &str, delimiter: u8) {
    for byte in text.bytes() {
        let escaped = match byte {
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            8 => b'b',
            12 => b'f',
            11 => b'v',
            other if other == delimiter => other,
            other => {
                line.push(other);
                continue;
            }
        };
        line.push(b'\\');
        line.push(escaped);
    }
}

fn csv_field(line: &mut Vec<u8>, text: &str, options: &CopyOptions, force: bool) {
    let special = |byte: u8| byte == options.delimiter || byte == options.quote || byte == b'\n' || byte == b'\r';
    if !force && text != options.null && text != "\\." && !text.bytes().any(special) {
        line.extend_from_slice(text.as_bytes());
        return;
    }
    line.push(options.quote);
    for byte in text.bytes() {
        if byte == options.quote || byte == options.escape {
            line.push(options.escape);
        }
        line.push(byte);
    }
    line.push(options.quote);
}

impl Sink for WireSink<'_> {
    fn columns(&mut self, columns: &[PlanColumn]) {
        self.types = columns.iter().map(|column| column.ty).collect();
        self.names = columns.iter().map(|column| column.name.clone()).collect();
        match self.copy.clone() {
            Some(options) => {
                encode::copy_response(self.out, b'H', columns.len());
                if options.header {
                    let names: Vec<Option<String>> = self.names.iter().cloned().map(Some).collect();
                    self.copy_line(&options, &names);
                }
            }
            None if self.describe => encode::row_description(self.out, columns, &self.formats),
            None => {}
        }
    }

    fn rows(&mut self, batch: &Batch) -> SqlResult<()> {
        self.rows += batch.len() as u64;
        // What answers without columns, such as an UPDATE, has nothing to show.
        if batch.columns().is_empty() && self.types.is_empty() && self.copy.is_none() {
            for row in 0..batch.len() {
                encode::data_row(self.out, &mut self.scratch, batch, row, &[], &[], &self.formatting);
            }
            return Ok(());
        }
        if let Some(options) = self.copy.clone() {
            for row in 0..batch.len() {
                let values: Vec<Option<String>> = self
                    .types
                    .iter()
                    .enumerate()
                    .map(|(column, ty)| match batch.get_datum(column, row) {
                        Datum::Null => None,
                        datum => Some(types::to_text(ty, &datum, &self.formatting)),
                    })
                    .collect();
                self.copy_line(&options, &values);
            }
            return Ok(());
        }
        for row in 0..batch.len() {
            encode::data_row(
                self.out,
                &mut self.scratch,
                batch,
                row,
                &self.types,
                &self.formats,
                &self.formatting,
            );
        }
        Ok(())
    }

    fn notice(&mut self, text: &str) {
        encode::notice(self.out, text);
    }

    fn parameter(&mut self, name: &str, value: &str) {
        encode::parameter_status(self.out, name, value);
    }

    fn mark(&self) -> usize {
        self.out.len()
    }

    fn rewind(&mut self, mark: usize) -> bool {
        // Nothing is flushed while a statement runs, so all of it is still here.
        self.out.truncate(mark);
        self.rows = 0;
        true
    }
}
