//! COPY TO: rows as lines of text or CSV, or in the binary format.

use plan::{
    PlanColumn,
    statement::{CopyEncoding, CopyFormat, CopyHeader, CopyOptions},
};
use types::{Batch, ColumnVec, Formatting, SqlError, SqlResult, SqlState, SqlType, check_text_size, write_binary, write_text};

/// What a file in the binary format begins with: the signature, no flags, no extension.
const BINARY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// Appends the text form of a value that is not NULL.
///
/// # Errors
/// 54000 when it is too long.
#[inline]
pub fn text_value(out: &mut Vec<u8>, column: &ColumnVec, row: usize, ty: &SqlType, formatting: &Formatting) -> SqlResult<()> {
    match column {
        ColumnVec::Text(strings) => out.extend_from_slice(strings.bytes(row)),
        ColumnVec::Datum(datums) => {
            check_text_size(&datums[row])?;
            write_text(ty, &datums[row], formatting, out);
        }
        other => write_text(ty, &other.get_datum(row), formatting, out),
    }
    Ok(())
}

/// Appends the binary form of a value that is not NULL.
#[inline]
pub fn binary_value(out: &mut Vec<u8>, column: &ColumnVec, row: usize, ty: &SqlType) {
    match column {
        ColumnVec::Text(strings) | ColumnVec::Bytes(strings) => match strings.bytes(row) {
            // As write_binary: the type has one byte always.
            [] if *ty == SqlType::QuotedChar => out.push(0),
            bytes => out.extend_from_slice(bytes),
        },
        ColumnVec::Datum(datums) => write_binary(ty, &datums[row], out),
        other => write_binary(ty, &other.get_datum(row), out),
    }
}

/// The rows of a COPY TO as data.
pub struct CopyRows {
    types: Vec<SqlType>,
    options: CopyOptions,
    /// A value before its special characters are escaped.
    scratch: Vec<u8>,
    has_begun: bool,
}

impl CopyRows {
    #[must_use]
    pub fn new(columns: &[PlanColumn], options: &CopyOptions) -> Self {
        let types = columns.iter().map(|column| column.ty).collect();
        Self { types, options: options.clone(), scratch: Vec::new(), has_begun: false }
    }

    #[must_use]
    pub fn is_binary(&self) -> bool {
        self.options.format == CopyFormat::Binary
    }

    /// The line with the names of the columns, if there is to be one.
    pub fn header(&mut self, columns: &[PlanColumn]) -> Option<Vec<u8>> {
        if self.options.header == CopyHeader::Absent || self.is_binary() {
            return None;
        }
        let mut line = Vec::new();
        for (at, column) in columns.iter().enumerate() {
            self.scratch.clear();
            self.scratch.extend_from_slice(column.name.as_bytes());
            self.field(&mut line, at, false);
        }
        line.push(b'\n');
        Some(line)
    }

    /// Appends a row.
    ///
    /// # Errors
    /// Where a value cannot be shown.
    pub fn row(&mut self, out: &mut Vec<u8>, batch: &Batch, row: usize, formatting: &Formatting) -> SqlResult<()> {
        if self.is_binary() {
            if !std::mem::replace(&mut self.has_begun, true) {
                out.extend_from_slice(BINARY_HEADER);
            }
            return self.tuple(out, batch, row);
        }
        let start = out.len();
        for at in 0..self.types.len() {
            let column = &batch.columns()[at];
            if column.is_null(row) {
                self.separate(out, at);
                out.extend_from_slice(self.options.null.as_bytes());
                continue;
            }
            self.scratch.clear();
            text_value(&mut self.scratch, column, row, &self.types[at], formatting)?;
            let force = self.options.force_quote.contains(&at);
            self.field(out, at, force);
        }
        out.push(b'\n');
        match self.options.encoding {
            CopyEncoding::Utf8 => Ok(()),
            CopyEncoding::Latin1 => to_latin1(out, start),
        }
    }

    /// Appends what the data ends with.
    pub fn end(&self, out: &mut Vec<u8>) {
        if self.is_binary() {
            if !self.has_begun {
                out.extend_from_slice(BINARY_HEADER);
            }
            out.extend_from_slice(&(-1_i16).to_be_bytes());
        }
    }

    fn tuple(&self, out: &mut Vec<u8>, batch: &Batch, row: usize) -> SqlResult<()> {
        let count = u16::try_from(self.types.len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&count.to_be_bytes());
        for (at, ty) in self.types.iter().enumerate() {
            let column = &batch.columns()[at];
            if column.is_null(row) {
                out.extend_from_slice(&(-1_i32).to_be_bytes());
                continue;
            }
            let start = out.len();
            out.extend_from_slice(&[0; 4]);
            binary_value(out, column, row, ty);
            let length = i32::try_from(out.len() - start - 4)
                .map_err(|_| SqlError::new(SqlState::ProgramLimitExceeded, "a value is too long for COPY"))?;
            out[start..start + 4].copy_from_slice(&length.to_be_bytes());
        }
        Ok(())
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

/// Turns a line of UTF-8 into LATIN1 in place: it only gets shorter.
fn to_latin1(out: &mut Vec<u8>, start: usize) -> SqlResult<()> {
    let line = String::from_utf8_lossy(&out[start..]).into_owned();
    out.truncate(start);
    for character in line.chars() {
        match u8::try_from(u32::from(character)) {
            Ok(byte) => out.push(byte),
            Err(_) => {
                let mut utf8 = [0; 4];
                let bytes: Vec<String> =
                    character.encode_utf8(&mut utf8).bytes().map(|byte| format!("0x{byte:02x}")).collect();
                let message = format!(
                    "character with byte sequence {} in encoding \"UTF8\" has no equivalent in encoding \"LATIN1\"",
                    bytes.join(" ")
                );
                return Err(SqlError::new(SqlState::UntranslatableCharacter, message));
            }
        }
    }
    Ok(())
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

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        let csv = |value: &str, force, is_alone| {
            let mut line = Vec::new();
            csv_field(&mut line, value.as_bytes(), &CopyOptions::new(CopyFormat::Csv), force, is_alone);
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
