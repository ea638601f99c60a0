//! COPY FROM: text and CSV into rows, a batch at a time.

use std::sync::Arc;

use catalog::Table;
use exec::{ExecContext, TableWriter, eval_row, fit_row};
use plan::{
    Expr,
    plan::RowRules,
    statement::{CopyFormat, CopyOptions},
};
use types::{Datum, Formatting, SqlError, SqlResult, SqlState};

use crate::Ending;

const BATCH_ROWS: usize = 2048;
/// A line above this is refused.
const MAX_LINE_BYTES: usize = 64 << 20;

/// A COPY that takes rows in.
pub struct CopyIn {
    table: Arc<Table>,
    columns: Vec<usize>,
    defaults: Vec<Expr>,
    writer: TableWriter,
    options: CopyOptions,
    buffer: Vec<u8>,
    line: u64,
    rows: u64,
    ended: bool,
    pub(crate) ending: Ending,
}

impl CopyIn {
    pub(crate) fn new(
        table: &Arc<Table>,
        columns: &[usize],
        defaults: &[Expr],
        rules: &RowRules,
        options: &CopyOptions,
    ) -> Self {
        Self {
            writer: TableWriter::new(table, rules),
            table: table.clone(),
            columns: columns.to_vec(),
            defaults: defaults.to_vec(),
            options: options.clone(),
            buffer: Vec::new(),
            line: 0,
            rows: 0,
            ended: false,
            ending: Ending::WithStatement,
        }
    }

    /// How many columns the input has.
    #[must_use]
    pub fn column_count(&self) -> usize {
        self.columns.len()
    }

    #[must_use]
    pub fn is_binary(&self) -> bool {
        self.options.format == CopyFormat::Binary
    }

    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    pub(crate) async fn feed(
        &mut self,
        data: &[u8],
        formatting: &Formatting,
        ctx: &mut ExecContext<'_>,
    ) -> SqlResult<()> {
        if self.options.format == CopyFormat::Binary {
            return Err(SqlError::not_supported("COPY in binary format"));
        }
        self.buffer.extend_from_slice(data);
        self.take_lines(false, formatting, ctx).await
    }

    pub(crate) async fn finish(&mut self, formatting: &Formatting, ctx: &mut ExecContext<'_>) -> SqlResult<()> {
        self.take_lines(true, formatting, ctx).await
    }

    /// The end of the first whole record in the buffer.
    fn record_end(&self, from: usize) -> Option<usize> {
        let buffer = &self.buffer[from..];
        if self.options.format == CopyFormat::Text {
            return buffer.iter().position(|byte| *byte == b'\n').map(|at| from + at);
        }
        // In CSV a quoted field may hold line ends.
        let mut quoted = false;
        for (at, byte) in buffer.iter().enumerate() {
            if *byte == self.options.quote {
                quoted = !quoted;
            } else if *byte == b'\n' && !quoted {
                return Some(from + at);
            }
        }
        None
    }

    async fn take_lines(
        &mut self,
        last: bool,
        formatting: &Formatting,
        ctx: &mut ExecContext<'_>,
    ) -> SqlResult<()> {
        let mut rows = Vec::new();
        let mut from = 0;
        loop {
            let end = match self.record_end(from) {
                Some(end) => end,
                None if last && from < self.buffer.len() => self.buffer.len(),
                None => break,
            };
            let mut record = self.buffer[from..end].to_vec();
            from = (end + 1).min(self.buffer.len());
            if record.last() == Some(&b'\r') {
                record.pop();
            }
            self.line += 1;
            if self.ended || (self.line == 1 && self.options.header) {
                continue;
            }
            if record == b"\\." {
                self.ended = true;
                continue;
            }
            let row = self.row(&record, formatting, ctx).await?;
            rows.push(row);
            if rows.len() >= BATCH_ROWS {
                self.write(std::mem::take(&mut rows), ctx).await?;
            }
        }
        self.buffer.drain(..from);
        if self.buffer.len() > MAX_LINE_BYTES {
            return Err(SqlError::new(SqlState::BadCopyFileFormat, "a line of COPY data is too long"));
        }
        self.write(rows, ctx).await
    }

    async fn write(&mut self, rows: Vec<Vec<Datum>>, ctx: &mut ExecContext<'_>) -> SqlResult<()> {
        if rows.is_empty() {
            return Ok(());
        }
        self.rows += rows.len() as u64;
        self.writer.insert(&rows, ctx).await?;
        // COPY reads nothing of what it writes, so that what has grown large may go out.
        ctx.txn()?.flush_if_large().await.map_err(|error| exec::kv_error(&error))
    }

    async fn row(
        &self,
        record: &[u8],
        formatting: &Formatting,
        ctx: &mut ExecContext<'_>,
    ) -> SqlResult<Vec<Datum>> {
        let text = std::str::from_utf8(record).map_err(|_| {
            self.located(SqlError::new(
                SqlState::CharacterNotInRepertoire,
                "invalid byte sequence for encoding \"UTF8\"",
            ))
        })?;
        let fields = match self.options.format {
            CopyFormat::Csv => self.csv_fields(text)?,
            CopyFormat::Text | CopyFormat::Binary => self.text_fields(text)?,
        };
        if fields.len() > self.columns.len() {
            return Err(self.located(SqlError::new(SqlState::BadCopyFileFormat, "extra data after last expected column")));
        }
        if fields.len() < self.columns.len() {
            let column = &self.table.columns[self.columns[fields.len()]].name;
            return Err(self.located(SqlError::new(
                SqlState::BadCopyFileFormat,
                format!("missing data for column \"{column}\""),
            )));
        }
        let mut row = Vec::with_capacity(self.table.columns.len());
        for expr in &self.defaults {
            let needs_await = matches!(expr, Expr::Sequence { .. } | Expr::RowId) || expr.any(&mut |inner| matches!(inner, Expr::Sequence { .. }));
            row.push(match expr {
                Expr::Const(datum, _) => datum.clone(),
                Expr::RowId => ctx.row_id()?,
                other if needs_await => exec::eval_scalar(other, ctx).await?,
                other => eval_row(other, &[], &ctx.scope())?,
            });
        }
        for (field, position) in fields.into_iter().zip(&self.columns) {
            let column = &self.table.columns[*position];
            row[*position] = match field {
                None => Datum::Null,
                Some(text) => {
                    types::parse_text(&column.ty, &text, formatting).map_err(|error| self.located(error))?
                }
            };
        }
        fit_row(&self.table, &mut row).map_err(|error| self.located(error))?;
        self.writer.prepare(&mut row, ctx).map_err(|error| self.located(error))?;
        Ok(row)
    }

    fn located(&self, error: SqlError) -> SqlError {
        let fields = error.clone().into_fields();
        match fields.detail {
            Some(_) => error,
            None => error.with_detail(format!("COPY {}, line {}", self.table.name, self.line)),
        }
    }

    fn text_fields(&self, line: &str) -> SqlResult<Vec<Option<String>>> {
        let delimiter = char::from(self.options.delimiter);
        let mut fields = Vec::with_capacity(self.columns.len());
        let mut raw_start = 0;
        let bytes = line.as_bytes();
        let mut at = 0;
        let mut ends = Vec::new();
        while at < bytes.len() {
            if bytes[at] == b'\\' {
                at += 2;
            } else {
                if char::from(bytes[at]) == delimiter {
                    ends.push(at);
                }
                at += 1;
            }
        }
        ends.push(bytes.len());
        for end in ends {
            let raw = &line[raw_start..end];
            raw_start = end + 1;
            if raw == self.options.null {
                fields.push(None);
            } else if raw.contains('\\') {
                fields.push(Some(unescape(raw)));
            } else {
                fields.push(Some(raw.to_owned()));
            }
        }
        Ok(fields)
    }

    fn csv_fields(&self, record: &str) -> SqlResult<Vec<Option<String>>> {
        let (delimiter, quote, escape) =
            (self.options.delimiter as char, self.options.quote as char, self.options.escape as char);
        let mut fields = Vec::with_capacity(self.columns.len());
        let mut chars = record.chars().peekable();
        loop {
            let mut value = String::new();
            let mut was_quoted = false;
            let mut ended = true;
            while let Some(c) = chars.next() {
                if c == quote {
                    was_quoted = true;
                    let mut closed = false;
                    while let Some(c) = chars.next() {
                        if c == escape && chars.peek().is_some_and(|next| *next == quote || *next == escape) && (escape != quote || chars.peek() == Some(&quote)) {
                            value.push(chars.next().expect("just peeked at"));
                        } else if c == quote {
                            closed = true;
                            break;
                        } else {
                            value.push(c);
                        }
                    }
                    if !closed {
                        return Err(self.located(SqlError::new(SqlState::BadCopyFileFormat, "unterminated CSV quoted field")));
                    }
                } else if c == delimiter {
                    ended = false;
                    break;
                } else {
                    value.push(c);
                }
            }
            let position = fields.len();
            let is_null = if was_quoted {
                self.options.force_null.contains(&position) && value == self.options.null
            } else {
                value == self.options.null && !self.options.force_not_null.contains(&position)
            };
            fields.push(if is_null { None } else { Some(value) });
            if ended {
                return Ok(fields);
            }
        }
    }
}

/// COPY's backslash sequences.
fn unescape(raw: &str) -> String {
    let mut out = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes().peekable();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'b') => out.push(8),
            Some(b'f') => out.push(12),
            Some(b'n') => out.push(b'\n'),
            Some(b'r') => out.push(b'\r'),
            Some(b't') => out.push(b'\t'),
            Some(b'v') => out.push(11),
            Some(b'x') => {
                let mut value = 0;
                for _ in 0..2 {
                    let Some(digit) = bytes.peek().and_then(|byte| char::from(*byte).to_digit(16)) else { break };
                    value = value * 16 + digit;
                    bytes.next();
                }
                out.push(value as u8);
            }
            Some(digit @ b'0'..=b'7') => {
                let mut value = u32::from(digit - b'0');
                for _ in 0..2 {
                    let Some(next @ b'0'..=b'7') = bytes.peek().copied() else { break };
                    value = value * 8 + u32::from(next - b'0');
                    bytes.next();
                }
                out.push(value as u8);
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backslashes() {
        assert_eq!(unescape(r"a\tb\\c\n\x41\101\q"), "a\tb\\c\nAAq");
    }
}
