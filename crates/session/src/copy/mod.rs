//! COPY FROM: text, CSV and the binary format into rows, a batch at a time.
//!
//! What has arrived is cut into records ([`text`], [`csv`], [`binary`]); a record whose end is not here yet waits, and
//! what was already looked through for its end is not looked through again.

mod binary;
mod csv;
mod text;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;

use std::{borrow::Cow, sync::Arc};

use catalog::{Table, TriggerEvent};
use exec::{ExecContext, TableWriter, eval_row, fit_row};
use plan::{
    Expr,
    plan::RowRules,
    statement::{CopyFormat, CopyOptions},
};
use types::{CastContext, Datum, Formatting, SqlError, SqlResult, SqlState};

use crate::{Ending, session::Counting};

const BATCH_ROWS: usize = 2048;
/// Data is looked at when so much has come: a client may send each row in a message of its own.
const GATHERED_BYTES: usize = 64 << 10;
/// A record above this is refused.
const RECORD_BYTES_MAX: usize = 64 << 20;

/// A COPY that takes rows in.
pub struct CopyIn {
    table: Arc<Table>,
    columns: Vec<usize>,
    defaults: Vec<Default>,
    /// Given columns with the rules of their domains around them.
    domains: Vec<Expr>,
    filter: Option<Expr>,
    /// What the rows so far owe to foreign keys: looked at when all are there.
    foreign: exec::ForeignQueue,
    /// What they have fired.
    after: exec::AfterTriggers,
    firing: exec::Firing,
    writer: TableWriter,
    /// Of a partitioned table: they write the rows.
    partitions: Option<exec::Partitions>,
    options: CopyOptions,
    records: Records,
    buffer: Vec<u8>,
    /// What of the buffer has come since it was looked at.
    gathered_bytes: usize,
    /// Records so far, the header's line included.
    line: u64,
    rows: u64,
    ended: bool,
    /// Others of the same transaction have begun to read and will go on.
    pub(crate) beside_queries: bool,
    pub(crate) ending: Ending,
    /// Where it is counted when it ends.
    pub(crate) counting: Option<Counting>,
}

/// How the ends of records are found.
enum Records {
    Text(text::Lines),
    Csv(csv::Lines),
    Binary(binary::Tuples),
}

/// What a column gets that the data does not give.
enum Default {
    Value(Datum),
    RowId,
    Computed(Expr),
    /// It draws from a sequence.
    Awaited(Expr),
}

impl Default {
    fn of(expr: &Expr) -> Self {
        match expr {
            Expr::Const(datum, _) => Self::Value(datum.clone()),
            Expr::RowId => Self::RowId,
            other if other.any(&mut |inner| matches!(inner, Expr::Sequence { .. } | Expr::Routine(_))) => Self::Awaited(other.clone()),
            other => Self::Computed(other.clone()),
        }
    }
}

fn bad_format(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::BadCopyFileFormat, message)
}

impl CopyIn {
    pub(crate) fn new(
        table: &Arc<Table>,
        columns: &[usize],
        (defaults, domains): (&[Expr], &[Expr]),
        filter: Option<&Expr>,
        rules: &Arc<RowRules>,
        options: &CopyOptions,
    ) -> Self {
        Self {
            writer: TableWriter::new(table, rules),
            table: table.clone(),
            columns: columns.to_vec(),
            defaults: defaults.iter().map(Default::of).collect(),
            domains: domains.to_vec(),
            filter: filter.cloned(),
            foreign: exec::ForeignQueue::default(),
            after: exec::AfterTriggers::default(),
            firing: match rules.partitions {
                Some(_) => exec::Firing::of_statement(table, rules, TriggerEvent::Insert, &[]),
                None => exec::Firing::new(table, rules, TriggerEvent::Insert, &[]),
            },
            partitions: exec::Partitions::new(table, rules, &[]),
            records: match options.format {
                CopyFormat::Text => Records::Text(text::Lines::default()),
                CopyFormat::Csv => Records::Csv(csv::Lines::new(options)),
                CopyFormat::Binary => Records::Binary(binary::Tuples::default()),
            },
            options: options.clone(),
            buffer: Vec::new(),
            gathered_bytes: 0,
            line: 0,
            rows: 0,
            ended: false,
            beside_queries: false,
            ending: Ending::WithStatement,
            counting: None,
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

    /// Keeps data; whether there is enough now to look at it.
    pub(crate) fn gather(&mut self, data: &[u8]) -> bool {
        self.buffer.extend_from_slice(data);
        self.gathered_bytes += data.len();
        self.gathered_bytes >= GATHERED_BYTES
    }

    /// Takes the records in that are whole.
    pub(crate) async fn feed(&mut self, formatting: &Formatting, ctx: &mut ExecContext<'_>) -> SqlResult<()> {
        self.gathered_bytes = 0;
        self.swap(ctx);
        let outcome = self.take_records(false, formatting, ctx).await;
        self.swap(ctx);
        outcome
    }

    pub(crate) async fn finish(&mut self, formatting: &Formatting, ctx: &mut ExecContext<'_>) -> SqlResult<()> {
        self.swap(ctx);
        self.take_records(true, formatting, ctx).await?;
        self.firing.end(ctx)?;
        exec::foreign::settle(ctx).await?;
        exec::trigger::fire_queued(ctx).await
    }

    /// What is owed is owed by the whole COPY.
    fn swap(&mut self, ctx: &mut ExecContext<'_>) {
        std::mem::swap(&mut self.foreign, &mut ctx.foreign);
        std::mem::swap(&mut self.after, &mut ctx.after);
    }

    async fn take_records(&mut self, last: bool, formatting: &Formatting, ctx: &mut ExecContext<'_>) -> SqlResult<()> {
        self.firing.start(ctx).await?;
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut from = 0;
        let mut rows = Vec::new();
        while let Some((record, next)) = self.next_record(&buffer, from, last)? {
            from = next;
            if self.ended {
                continue;
            }
            let Some(record) = record else {
                self.ended = true;
                continue;
            };
            self.line += 1;
            if self.line == 1 && self.options.header && !self.is_binary() {
                continue;
            }
            let record = &buffer[record];
            let row = self.row(record, formatting, ctx).await.map_err(|error| self.located(error, record))?;
            rows.extend(row);
            // What a trigger of the next row sees is there.
            if rows.len() >= BATCH_ROWS || self.firing.changes_rows() {
                self.write(std::mem::take(&mut rows), ctx).await?;
            }
        }
        buffer.drain(..from);
        self.buffer = buffer;
        if self.buffer.len() > RECORD_BYTES_MAX {
            let error = SqlError::new(SqlState::ProgramLimitExceeded, "a record of COPY data is too long");
            return Err(error.with_context(&self.place()));
        }
        self.write(rows, ctx).await
    }

    /// The next whole record's place, none for what marks the end, and where the one after it begins.
    fn next_record(
        &mut self,
        buffer: &[u8],
        from: usize,
        last: bool,
    ) -> SqlResult<Option<(Option<std::ops::Range<usize>>, usize)>> {
        let end = match &mut self.records {
            Records::Text(lines) => lines.end(buffer, from),
            Records::Csv(lines) => lines.end(buffer, from),
            Records::Binary(tuples) => return tuples.next(buffer, from, last, self.columns.len()),
        };
        let end = match end {
            Some(end) => end,
            None if last && from < buffer.len() => buffer.len(),
            None => return Ok(None),
        };
        let next = (end + 1).min(buffer.len());
        let end = if end > from && buffer[end - 1] == b'\r' { end - 1 } else { end };
        let record = (&buffer[from..end] != b"\\.").then_some(from..end);
        Ok(Some((record, next)))
    }

    async fn write(&mut self, rows: Vec<Vec<Datum>>, ctx: &mut ExecContext<'_>) -> SqlResult<()> {
        if rows.is_empty() {
            return Ok(());
        }
        if self.table.is_view() {
            for mut row in rows {
                let is_done = self.firing.instead_of_row(None, Some(&mut row), ctx).await?;
                self.rows += u64::from(is_done);
            }
            return ctx.txn()?.check_size().map_err(|error| exec::kv_error(&error));
        }
        let rows = match &mut self.partitions {
            Some(partitions) => partitions.insert(rows, ctx).await?,
            None => {
                self.writer.insert(&rows, ctx).await?;
                rows
            }
        };
        self.rows += rows.len() as u64;
        for row in rows.iter().filter(|_| self.firing.wants_rows()) {
            self.firing.after_row(None, Some(row), ctx).await?;
        }
        // COPY reads nothing of what it writes, so that what has grown large may go out. What has left the buffer is seen
        // whenever it was written, and so by a query that began before.
        let txn = ctx.txn()?;
        let outcome = if self.beside_queries { txn.check_size() } else { txn.flush_if_large().await };
        outcome.map_err(|error| exec::kv_error(&error))
    }

    /// A record as a row; none where WHERE passes it over.
    async fn row(
        &self,
        record: &[u8],
        formatting: &Formatting,
        ctx: &mut ExecContext<'_>,
    ) -> SqlResult<Option<Vec<Datum>>> {
        let mut row = Vec::with_capacity(self.table.columns.len());
        for default in &self.defaults {
            row.push(match default {
                Default::Value(datum) => datum.clone(),
                Default::RowId => ctx.row_id()?,
                Default::Awaited(expr) => exec::eval_scalar(expr, ctx).await?,
                Default::Computed(expr) => eval_row(expr, &[], &ctx.scope())?,
            });
        }
        if self.is_binary() {
            binary::values(record, self.columns.iter().map(|at| (*at, &self.table.columns[*at].ty)), &mut row)?;
        } else {
            self.fields(record, formatting, &mut row)?;
        }
        fit_row(&self.table, &mut row).map_err(|error| self.misfitting(error, record, &row))?;
        for value in &self.domains {
            eval_row(value, &row, &ctx.scope())?;
        }
        if let Some(filter) = &self.filter
            && eval_row(filter, &row, &ctx.scope())?.as_bool() != Some(true)
        {
            return Ok(None);
        }
        if self.partitions.is_some() {
            return Ok(Some(row));
        }
        if !self.firing.before_row(None, Some(&mut row), ctx).await? {
            return Ok(None);
        }
        self.writer.prepare(&mut row, ctx)?;
        Ok(Some(row))
    }

    /// Reads a line's fields into a row.
    fn fields(&self, record: &[u8], formatting: &Formatting, row: &mut [Datum]) -> SqlResult<()> {
        let line = std::str::from_utf8(record).map_err(|error| invalid_bytes(record, error.valid_up_to()))?;
        if let Some(at) = memchr::memchr(0, record) {
            return Err(invalid_bytes(record, at));
        }
        let mut given = 0;
        let mut put = |field: Option<Cow<'_, str>>| {
            let Some(position) = self.columns.get(given) else {
                return Err(bad_format("extra data after last expected column"));
            };
            given += 1;
            row[*position] = match field {
                None => Datum::Null,
                Some(text) => types::parse_text(&self.table.columns[*position].ty, &text, formatting)
                    .map_err(|error| error.with_context(&self.place_of(*position, Some(&text))))?,
            };
            Ok(())
        };
        match self.options.format {
            // A table without columns has lines without fields.
            _ if self.columns.is_empty() && line.is_empty() => {}
            CopyFormat::Csv => csv::fields(line, &self.options, &mut put)?,
            CopyFormat::Text | CopyFormat::Binary => text::fields(line, &self.options, &mut put)?,
        }
        match self.columns.get(given) {
            None => Ok(()),
            Some(missing) => {
                let column = &self.table.columns[*missing].name;
                Err(bad_format(format!("missing data for column \"{column}\"")))
            }
        }
    }

    fn place(&self) -> String {
        format!("COPY {}, line {}", self.table.name, self.line)
    }

    fn place_of(&self, position: usize, text: Option<&str>) -> String {
        let column = &self.table.columns[position].name;
        match text {
            Some(text) => format!("{}, column {column}: \"{}\"", self.place(), shortened(text)),
            None => format!("{}, column {column}: null input", self.place()),
        }
    }

    /// With the line it is about, unless it says which column of it already.
    fn located(&self, error: SqlError, record: &[u8]) -> SqlError {
        let place = self.place();
        if error.context.as_ref().is_some_and(|context| context.contains(&place)) {
            return error;
        }
        match std::str::from_utf8(record) {
            Ok(line) if !self.is_binary() => error.with_context(&format!("{place}: \"{}\"", shortened(line))),
            _ => error.with_context(&place),
        }
    }

    /// With the column whose value is too long for it.
    fn misfitting(&self, error: SqlError, record: &[u8], row: &[Datum]) -> SqlError {
        let mut texts: Vec<Option<String>> = Vec::with_capacity(self.columns.len());
        let mut put = |field: Option<Cow<'_, str>>| {
            texts.push(field.map(Cow::into_owned));
            Ok(())
        };
        let line = std::str::from_utf8(record).unwrap_or_default();
        let read = match self.options.format {
            CopyFormat::Csv => csv::fields(line, &self.options, &mut put),
            CopyFormat::Text => text::fields(line, &self.options, &mut put),
            CopyFormat::Binary => return error,
        };
        let is_misfit = |position: usize| {
            types::fit_modifier(row[position].clone(), &self.table.columns[position].ty, CastContext::Assignment).is_err()
        };
        match self.columns.iter().zip(&texts).find(|(position, _)| is_misfit(**position)) {
            Some((position, text)) if read.is_ok() => error.with_context(&self.place_of(*position, text.as_deref())),
            _ => error,
        }
    }
}

/// So much of data is shown with an error.
const SHOWN_BYTES_MAX: usize = 100;

fn shortened(text: &str) -> String {
    match text.len() {
        0..=SHOWN_BYTES_MAX => text.to_owned(),
        _ => format!("{}...", &text[..text.floor_char_boundary(SHOWN_BYTES_MAX)]),
    }
}

fn invalid_bytes(bytes: &[u8], at: usize) -> SqlError {
    let byte = bytes.get(at).copied().unwrap_or_default();
    SqlError::new(
        SqlState::CharacterNotInRepertoire,
        format!("invalid byte sequence for encoding \"UTF8\": 0x{byte:02x}"),
    )
}
