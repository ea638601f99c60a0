//! COPY FROM: text, CSV and the binary format into rows, a batch at a time.
//!
//! What has arrived is cut into records ([`lines`], [`binary`]), and those into fields ([`text`], [`csv`], [`binary`]); a
//! record whose end is not here yet waits. COPY TO writes rows with [`out`].

mod binary;
mod csv;
mod lines;
mod out;
mod text;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;

use std::{borrow::Cow, ops::Range, sync::Arc};

use catalog::{Table, TriggerEvent};
use exec::{ExecContext, TableWriter, eval_row, fit_row};
use plan::{
    Expr,
    plan::RowRules,
    statement::{CopyEncoding, CopyFormat, CopyHeader, CopyOnError, CopyOptions},
};
use smallvec::SmallVec;
use types::{CastContext, Datum, Formatting, SqlError, SqlResult, SqlState};

use self::lines::Lines;
pub use self::out::{CopyRows, binary_value, text_value};
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
    /// With the option DEFAULT: of each given column, where it has one.
    marked: Vec<Option<Default>>,
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
    /// Rows that were passed over for what is in them.
    rejected: u64,
    /// What its client is to be told.
    pub(crate) notices: Vec<SqlError>,
    ended: bool,
    /// Others of the same transaction have begun to read and will go on.
    pub(crate) beside_queries: bool,
    pub(crate) ending: Ending,
    /// Where it is counted when it ends.
    pub(crate) counting: Option<Counting>,
}

/// How the ends of records are found.
enum Records {
    Lines(Lines),
    Binary(binary::Tuples),
}

/// What comes next in the data.
enum Next {
    Record(Range<usize>),
    /// The mark of its end, perhaps with data of the same line before it.
    End(Option<Range<usize>>),
}

/// A field of a record.
#[derive(Debug)]
pub(super) enum Field<'a> {
    Null,
    /// The mark that stands for a default.
    Default,
    Text(Cow<'a, str>),
}

impl Field<'_> {
    /// As text; none for NULL.
    fn into_text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.into_owned()),
            Self::Null | Self::Default => None,
        }
    }
}

/// A column and what was given for it, where that is known: it cannot have that value.
type Rejected = Option<(usize, Option<String>)>;

/// What the fields of a line were.
#[derive(Default)]
struct Fields {
    /// Places among the given columns of those that are to have their default.
    defaulted: SmallVec<[usize; 4]>,
    /// With ON_ERROR ignore.
    rejected: Rejected,
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

    async fn value(&self, ctx: &mut ExecContext<'_>) -> SqlResult<Datum> {
        match self {
            Self::Value(datum) => Ok(datum.clone()),
            Self::RowId => ctx.row_id(),
            Self::Awaited(expr) => exec::eval_scalar(expr, ctx).await,
            Self::Computed(expr) => eval_row(expr, &[], &ctx.scope()),
        }
    }
}

/// What of a COPY FROM stands in its plan besides the table and its columns.
pub(crate) struct CopyPlan<'a> {
    pub defaults: &'a [Expr],
    pub marked: &'a [Option<Expr>],
    pub domains: &'a [Expr],
    pub filter: Option<&'a Expr>,
    pub rules: &'a Arc<RowRules>,
    pub options: &'a CopyOptions,
}

fn bad_format(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::BadCopyFileFormat, message)
}

impl CopyIn {
    pub(crate) fn new(table: &Arc<Table>, columns: &[usize], plan: &CopyPlan<'_>) -> Self {
        let (rules, options) = (plan.rules, plan.options);
        Self {
            writer: TableWriter::new(table, rules),
            table: table.clone(),
            columns: columns.to_vec(),
            defaults: plan.defaults.iter().map(Default::of).collect(),
            marked: plan.marked.iter().map(|default| default.as_ref().map(Default::of)).collect(),
            domains: plan.domains.to_vec(),
            filter: plan.filter.cloned(),
            foreign: exec::ForeignQueue::default(),
            after: exec::AfterTriggers::default(),
            firing: match rules.partitions {
                Some(_) => exec::Firing::of_statement(table, rules, TriggerEvent::Insert, &[]),
                None => exec::Firing::new(table, rules, TriggerEvent::Insert, &[]),
            },
            partitions: exec::Partitions::new(table, rules, &[]),
            records: match options.format {
                CopyFormat::Text | CopyFormat::Csv => Records::Lines(Lines::new(options)),
                CopyFormat::Binary => Records::Binary(binary::Tuples::default()),
            },
            options: options.clone(),
            buffer: Vec::new(),
            gathered_bytes: 0,
            line: 0,
            rows: 0,
            rejected: 0,
            notices: Vec::new(),
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
        match self.options.encoding {
            CopyEncoding::Latin1 if !self.is_binary() => {
                let mut utf8 = [0; 2];
                for byte in data {
                    self.buffer.extend_from_slice(char::from(*byte).encode_utf8(&mut utf8).as_bytes());
                }
            }
            CopyEncoding::Latin1 | CopyEncoding::Utf8 => self.buffer.extend_from_slice(data),
        }
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
        if self.rejected > 0 {
            let counted = match self.rejected {
                1 => "1 row was".to_owned(),
                count => format!("{count} rows were"),
            };
            self.notice(format!("{counted} skipped due to data type incompatibility"));
        }
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
        while let Some((found, next)) = self.next_record(&buffer, from, last)? {
            from = next;
            if self.ended {
                continue;
            }
            let record = match found {
                Next::Record(record) => record,
                Next::End(record) => {
                    self.ended = true;
                    let Some(record) = record else { continue };
                    record
                }
            };
            self.line += 1;
            let record = &buffer[record];
            if self.line == 1 && self.options.header != CopyHeader::Absent {
                if self.options.header == CopyHeader::Match {
                    self.check_header(record).map_err(|error| self.located(error, record))?;
                }
                continue;
            }
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

    /// The next whole record, and where the one after it begins.
    fn next_record(&mut self, buffer: &[u8], from: usize, last: bool) -> SqlResult<Option<(Next, usize)>> {
        // Nothing behind its end is looked at.
        if self.ended && !self.is_binary() {
            return Ok((from < buffer.len()).then_some((Next::End(None), buffer.len())));
        }
        match &mut self.records {
            Records::Binary(tuples) => {
                let found = tuples.next(buffer, from, last, self.columns.len()).map_err(|error| {
                    error.with_context(&format!("COPY {}, line {}", self.table.name, self.line + 1))
                })?;
                Ok(found.map(|(record, next)| (record.map_or(Next::End(None), Next::Record), next)))
            }
            Records::Lines(lines) => match lines.end(buffer, from, last) {
                Ok(None) => Ok(None),
                Ok(Some(line)) => {
                    let record = from..line.end;
                    let found = match line.is_last {
                        true => Next::End((!record.is_empty()).then_some(record)),
                        false => Next::Record(record),
                    };
                    Ok(Some((found, line.next)))
                }
                Err(error) => Err(error.with_context(&format!("COPY {}, line {}", self.table.name, self.line + 1))),
            },
        }
    }

    /// # Errors
    /// 22P04 where the header's names are not those of the columns.
    fn check_header(&self, record: &[u8]) -> SqlResult<()> {
        let names = self.texts_of(record)?;
        if names.len() != self.columns.len() {
            let (found, expected) = (names.len(), self.columns.len());
            let message = format!("wrong number of fields in header line: got {found}, expected {expected}");
            return Err(bad_format(message));
        }
        for (at, (name, position)) in names.iter().zip(&self.columns).enumerate() {
            let expected = &self.table.columns[*position].name;
            let found = match name {
                Some(name) if name == expected => continue,
                Some(name) => format!("\"{name}\""),
                None => format!("null value (\"{}\")", self.options.null),
            };
            let field = at + 1;
            let message = format!("column name mismatch in header line field {field}: got {found}, expected \"{expected}\"");
            return Err(bad_format(message));
        }
        Ok(())
    }

    fn notice(&mut self, text: String) {
        self.notices.push(SqlError::new(SqlState::SuccessfulCompletion, text));
    }

    /// A row that is passed over for what is in it.
    fn reject(&mut self, rejected: Rejected) {
        self.rejected += 1;
        if self.options.on_error == (CopyOnError::Ignore { verbose: true }) {
            let place = match rejected {
                Some((position, given)) => {
                    let column = &self.table.columns[position].name;
                    let given = given.map_or_else(|| "null input".to_owned(), |given| format!("\"{}\"", shortened(&given)));
                    format!(" for column \"{column}\": {given}")
                }
                None => String::new(),
            };
            self.notice(format!("skipping row due to data type incompatibility at line {}{place}", self.line));
        }
    }

    fn ignores_errors(&self) -> bool {
        self.options.on_error != CopyOnError::Stop
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

    /// A record as a row; none where it is passed over.
    async fn row(
        &mut self,
        record: &[u8],
        formatting: &Formatting,
        ctx: &mut ExecContext<'_>,
    ) -> SqlResult<Option<Vec<Datum>>> {
        let mut row = Vec::with_capacity(self.table.columns.len());
        for default in &self.defaults {
            row.push(default.value(ctx).await?);
        }
        if self.is_binary() {
            let columns = self.columns.iter().map(|at| (*at, &self.table.columns[*at].ty));
            binary::values(record, columns, &mut row, |error, position| {
                let column = &self.table.columns[position].name;
                error.with_context(&format!("{}, column {column}", self.place()))
            })?;
        } else {
            let fields = self.fields(record, formatting, &mut row)?;
            if let Some(rejected) = fields.rejected {
                self.reject(Some(rejected));
                return Ok(None);
            }
            for given in fields.defaulted {
                let position = self.columns[given];
                let Some(Some(default)) = self.marked.get(given) else {
                    let column = &self.table.columns[position].name;
                    return Err(bad_format("unexpected default marker in COPY data")
                        .with_detail(format!("Column \"{column}\" has no default value.")));
                };
                row[position] = default.value(ctx).await?;
            }
        }
        if let Err(error) = fit_row(&self.table, &mut row) {
            let place = self.misfit(record, &row);
            if self.ignores_errors() && is_of_data(&error) {
                self.reject(place);
                return Ok(None);
            }
            return Err(match place {
                Some((position, text)) => error.with_context(&self.place_of(position, text.as_deref())),
                None => error,
            });
        }
        for at in 0..self.domains.len() {
            let Err(error) = eval_row(&self.domains[at], &row, &ctx.scope()) else { continue };
            let place = self.place_of_domain(at, record);
            if self.ignores_errors() && is_of_data(&error) {
                self.reject(place);
                return Ok(None);
            }
            return Err(match place {
                Some((position, text)) => error.with_context(&self.place_of(position, text.as_deref())),
                None => error,
            });
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

    /// Takes a line of text or CSV apart.
    fn cut(&self, record: &[u8], put: &mut dyn FnMut(Field<'_>) -> SqlResult<()>) -> SqlResult<()> {
        let line = std::str::from_utf8(record).map_err(|error| invalid_bytes(record, error.valid_up_to()))?;
        if let Some(at) = memchr::memchr(0, record) {
            return Err(invalid_bytes(record, at));
        }
        match self.options.format {
            // A table without columns has lines without fields.
            _ if self.columns.is_empty() && line.is_empty() => Ok(()),
            CopyFormat::Csv => csv::fields(line, &self.options, put),
            CopyFormat::Text | CopyFormat::Binary => text::fields(line, &self.options, put),
        }
    }

    fn texts_of(&self, record: &[u8]) -> SqlResult<Vec<Option<String>>> {
        let mut texts = Vec::with_capacity(self.columns.len());
        self.cut(record, &mut |field| {
            texts.push(field.into_text());
            Ok(())
        })?;
        Ok(texts)
    }

    /// Reads a line's fields into a row.
    fn fields(&self, record: &[u8], formatting: &Formatting, row: &mut [Datum]) -> SqlResult<Fields> {
        let mut given = 0;
        let mut fields = Fields::default();
        let ignores_errors = self.ignores_errors();
        self.cut(record, &mut |field| {
            let Some(position) = self.columns.get(given) else {
                return Err(bad_format("extra data after last expected column"));
            };
            given += 1;
            row[*position] = match field {
                Field::Null => Datum::Null,
                Field::Default => {
                    fields.defaulted.push(given - 1);
                    Datum::Null
                }
                Field::Text(_) if fields.rejected.is_some() => Datum::Null,
                Field::Text(text) => match types::parse_text(&self.table.columns[*position].ty, &text, formatting) {
                    Ok(value) => value,
                    Err(error) if ignores_errors && is_of_data(&error) => {
                        fields.rejected = Some((*position, Some(text.into_owned())));
                        Datum::Null
                    }
                    Err(error) => return Err(error.with_context(&self.place_of(*position, Some(&text)))),
                },
            };
            Ok(())
        })?;
        match self.columns.get(given) {
            Some(missing) if fields.rejected.is_none() => {
                let column = &self.table.columns[*missing].name;
                Err(bad_format(format!("missing data for column \"{column}\"")))
            }
            Some(_) | None => Ok(fields),
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

    /// The column whose value is too long for it, and that.
    fn misfit(&self, record: &[u8], row: &[Datum]) -> Option<(usize, Option<String>)> {
        if self.is_binary() {
            return None;
        }
        let mut texts = self.texts_of(record).ok()?;
        let is_misfit = |position: usize| {
            types::fit_modifier(row[position].clone(), &self.table.columns[position].ty, CastContext::Assignment).is_err()
        };
        let at = self.columns.iter().position(|position| is_misfit(*position))?;
        Some((self.columns[at], texts.get_mut(at)?.take()))
    }

    /// The column that a rule of its domain is of, and what was given for it.
    fn place_of_domain(&self, at: usize, record: &[u8]) -> Option<(usize, Option<String>)> {
        let mut texts = self.texts_of(record).ok()?;
        let of = |position: usize| self.domains[at].any(&mut |expr| matches!(expr, Expr::Column(at, _) if *at == position));
        let given = self.columns.iter().position(|position| of(*position))?;
        Some((self.columns[given], texts.get_mut(given)?.take()))
    }
}

/// Whether an error is about a value, and not about what it was looked at with.
fn is_of_data(error: &SqlError) -> bool {
    matches!(&error.code().code()[..2], "22" | "23")
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
