//! COPY TO: rows as lines of text or CSV, or in the binary format, a message a row.

use plan::{PlanColumn, statement::{CopyFormat, CopyOptions}};
use types::{Batch, Formatting, SqlResult, SqlType};

use crate::encode;

/// What a file in the binary format begins with: the signature, no flags, no extension.
const BINARY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

pub(crate) struct CopyOut {
    types: Vec<SqlType>,
    options: CopyOptions,
    /// A value before its special characters are escaped.
    scratch: Vec<u8>,
    has_begun: bool,
}

impl CopyOut {
    /// Announces the data.
    pub fn begin(out: &mut Vec<u8>, columns: &[PlanColumn], options: &CopyOptions) -> Self {
        let is_binary = options.format == CopyFormat::Binary;
        encode::copy_response(out, b'H', columns.len(), i16::from(is_binary));
        let mut copy = Self {
            types: columns.iter().map(|column| column.ty).collect(),
            options: options.clone(),
            scratch: Vec::new(),
            has_begun: false,
        };
        if options.header && !is_binary {
            let mut line = Vec::new();
            for (at, column) in columns.iter().enumerate() {
                copy.scratch.clear();
                copy.scratch.extend_from_slice(column.name.as_bytes());
                copy.field(&mut line, at, false);
            }
            line.push(b'\n');
            // A name is no longer than its table allows, and there are few: a header always fits.
            let header = encode::fallible(out, b'd', |out| {
                out.extend_from_slice(&line);
                Ok(())
            });
            debug_assert!(header.is_ok());
        }
        copy
    }

    pub fn row(&mut self, out: &mut Vec<u8>, batch: &Batch, row: usize, formatting: &Formatting) -> SqlResult<()> {
        let first = !std::mem::replace(&mut self.has_begun, true);
        encode::fallible(out, b'd', |out| {
            if self.options.format == CopyFormat::Binary {
                if first {
                    out.extend_from_slice(BINARY_HEADER);
                }
                return encode::values(out, batch, row, self.types.iter(), &[1], formatting);
            }
            for at in 0..self.types.len() {
                let column = &batch.columns()[at];
                if column.is_null(row) {
                    self.separate(out, at);
                    out.extend_from_slice(self.options.null.as_bytes());
                    continue;
                }
                self.scratch.clear();
                encode::text_value(&mut self.scratch, column, row, &self.types[at], formatting)?;
                let force = self.options.force_quote.contains(&at);
                self.field(out, at, force);
            }
            out.push(b'\n');
            Ok(())
        })
    }

    /// Ends the data.
    pub fn end(&self, out: &mut Vec<u8>) {
        if self.options.format == CopyFormat::Binary {
            let ended = encode::fallible(out, b'd', |out| {
                if !self.has_begun {
                    out.extend_from_slice(BINARY_HEADER);
                }
                out.extend_from_slice(&(-1_i16).to_be_bytes());
                Ok(())
            });
            debug_assert!(ended.is_ok());
        }
        encode::empty(out, b'c');
    }

    fn separate(&self, line: &mut Vec<u8>, at: usize) {
        if at > 0 {
            line.push(self.options.delimiter);
        }
    }

    /// Writes the value in `scratch`.
    fn field(&self, line: &mut Vec<u8>, at: usize, force: bool) {
        self.separate(line, at);
        if self.options.format == CopyFormat::Csv {
            let is_alone = self.types.len() == 1;
            csv_field(line, &self.scratch, &self.options, force, is_alone);
        } else {
            text_field(line, &self.scratch, self.options.delimiter);
        }
    }
}

fn text_field(line: &mut Vec<u8>, value: &[u8], delimiter: u8) {
    line.reserve(value.len());
    for byte in value {
        let escaped = match byte {
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            8 => b'b',
            12 => b'f',
            11 => b'v',
            other if *other == delimiter => *other,
            other => {
                line.push(*other);
                continue;
            }
        };
        line.push(b'\\');
        line.push(escaped);
    }
}

fn csv_field(line: &mut Vec<u8>, value: &[u8], options: &CopyOptions, force: bool, is_alone: bool) {
    let special =
        |byte: &u8| *byte == options.delimiter || *byte == options.quote || *byte == b'\n' || *byte == b'\r';
    // A line of nothing but this would end the data.
    let ends_data = is_alone && value == b"\\.";
    if !force && !ends_data && value != options.null.as_bytes() && !value.iter().any(special) {
        line.extend_from_slice(value);
        return;
    }
    line.push(options.quote);
    for byte in value {
        if *byte == options.quote || *byte == options.escape {
            line.push(options.escape);
        }
        line.push(*byte);
    }
    line.push(options.quote);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(format: CopyFormat) -> CopyOptions {
        CopyOptions {
            format,
            delimiter: b',',
            null: String::new(),
            header: false,
            quote: b'"',
            escape: b'"',
            force_quote: vec![],
            force_not_null: vec![],
            force_null: vec![],
            freeze: false,
        }
    }

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        let csv = |value: &str, force, is_alone| {
            let mut line = Vec::new();
            csv_field(&mut line, value.as_bytes(), &options(CopyFormat::Csv), force, is_alone);
            String::from_utf8(line).unwrap()
        };
        assert_eq!(csv("plain", false, false), "plain");
        assert_eq!(csv("plain", true, false), "\"plain\"");
        assert_eq!(csv("", false, false), "\"\"", "not NULL");
        assert_eq!(csv("a,b\"c", false, false), "\"a,b\"\"c\"");
        assert_eq!((csv("\\.", false, true), csv("\\.", false, false)), ("\"\\.\"".into(), "\\.".into()));
        let mut line = Vec::new();
        text_field(&mut line, b"a\tb\\|\n", b'|');
        assert_eq!(line, b"a\\tb\\\\\\|\\n");
    }
}
