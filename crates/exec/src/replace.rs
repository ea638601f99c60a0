//! REFRESH MATERIALIZED VIEW CONCURRENTLY: a table comes to have the rows of a query, and no row that it has already is
//! written.
//!
//! Rows have no key that both sides know, as the key is the hidden row id: two are the same when all that is stored of
//! them besides is. So many equal rows as both sides have stay.

use std::collections::HashMap;

use async_trait::async_trait;
use bytes::Bytes;
use catalog::row::{EntryReader, IndexCodec};
use kv::{Read, ScanOptions};
use plan::plan::Insert;
use types::{Batch, Datum, Formatting, SqlError, SqlResult, SqlState, SqlType};

use crate::context::ExecContext;
use crate::error::{from_entry, from_kv};
use crate::memory::Reservation;
use crate::operator::Operator;
use crate::row_write::{TableWriter, fit_row};

const PAGE_ROWS: u64 = 1024;
const PAGE_BYTES: u64 = 2 << 20;

pub(crate) struct Replace {
    source: Box<dyn Operator>,
    writer: TableWriter,
}

/// The rows of the query that the table does not have, as far as that is known.
#[derive(Default)]
struct Wanted {
    rows: Vec<Option<Vec<Datum>>>,
    /// By all that is stored of them: their places.
    places: HashMap<Bytes, Vec<usize>, ahash::RandomState>,
}

impl Replace {
    pub fn new(insert: &Insert, source: Box<dyn Operator>) -> Self {
        Self { source, writer: TableWriter::new(&insert.table, &insert.row_rules) }
    }

    /// All of a row but its id.
    fn image(&self, row: &[Datum]) -> Bytes {
        let mut row = row.to_vec();
        for position in self.writer.primary().key_positions() {
            row[position] = Datum::Int(0);
        }
        self.writer.primary().encode(&row).1
    }

    async fn wanted(&mut self, memory: &mut Reservation, ctx: &mut ExecContext<'_>) -> SqlResult<Wanted> {
        let mut wanted = Wanted::default();
        while let Some(batch) = self.source.next(ctx).await? {
            ctx.cancel.checkpoint().await?;
            for at in 0..batch.len() {
                let mut row = batch.row(at);
                fit_row(&self.writer.table, &mut row)?;
                self.writer.prepare(&mut row, ctx)?;
                let image = self.image(&row);
                memory.grow(image.len() + row.iter().map(Datum::heap_bytes).sum::<usize>() + size_of::<Datum>() * row.len())?;
                let places = wanted.places.entry(image).or_default();
                if !places.is_empty() && self.is_whole(&row) {
                    return Err(self.duplicate(&row));
                }
                places.push(wanted.rows.len());
                wanted.rows.push(Some(row));
            }
        }
        Ok(wanted)
    }

    /// Whether no column is NULL.
    fn is_whole(&self, row: &[Datum]) -> bool {
        self.writer.table.visible_columns().all(|(at, _)| !row[at].is_null())
    }

    fn duplicate(&self, row: &[Datum]) -> SqlError {
        let table = &self.writer.table;
        let fields = table.visible_columns().map(|(_, column)| (column.name.as_str().into(), column.ty)).collect();
        let ty = SqlType::record_of(types::RowType { table: None, fields });
        let record = Datum::Record(table.visible_columns().map(|(at, _)| row[at].clone()).collect());
        let message =
            format!("new data for materialized view \"{}\" contains duplicate rows without any null columns", table.name);
        SqlError::new(SqlState::CardinalityViolation, message)
            .with_detail(format!("Row: {}", types::to_text(&ty, &record, &Formatting::default())))
    }

    /// The rows of the table that are not wanted; those that are and are there leave `wanted`.
    async fn unwanted(
        &mut self,
        wanted: &mut Wanted,
        memory: &mut Reservation,
        ctx: &mut ExecContext<'_>,
    ) -> SqlResult<Vec<Vec<Datum>>> {
        let table = self.writer.table.clone();
        let all: Vec<usize> = (0..table.columns.len()).collect();
        let reader = EntryReader::new(&table, table.primary(), &all);
        let options = ScanOptions { read: Read::default(), max_rows: PAGE_ROWS, max_bytes: PAGE_BYTES, reverse: false };
        let mut unwanted = Vec::new();
        let mut rest = Some(IndexCodec::new(&table, table.primary()).span());
        while let Some(span) = rest {
            ctx.cancel.checkpoint().await?;
            let page = ctx.txn()?.scan(&span, options).await.map_err(from_kv)?;
            for (key, value) in page.rows.iter() {
                let mut row = vec![Datum::Null; all.len()];
                reader.read_datums(key, value, &mut row).map_err(from_entry)?;
                match wanted.places.get_mut(&self.image(&row)).and_then(Vec::pop) {
                    Some(place) => wanted.rows[place] = None,
                    None => {
                        memory.grow(row.iter().map(Datum::heap_bytes).sum::<usize>() + size_of::<Datum>() * row.len())?;
                        unwanted.push(row);
                    }
                }
            }
            rest = page.resume;
        }
        Ok(unwanted)
    }
}

#[async_trait]
impl Operator for Replace {
    async fn next(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
        ctx.check_writable("REFRESH MATERIALIZED VIEW")?;
        let mut memory = ctx.memory.reservation();
        let mut wanted = self.wanted(&mut memory, ctx).await?;
        let unwanted = self.unwanted(&mut wanted, &mut memory, ctx).await?;
        for row in &unwanted {
            self.writer.delete(row, ctx)?;
        }
        self.writer.note_changes(unwanted.len() as u64, ctx);
        let new: Vec<Vec<Datum>> = wanted.rows.into_iter().flatten().collect();
        self.writer.insert(&new, ctx).await?;
        ctx.affected += (unwanted.len() + new.len()) as u64;
        ctx.txn()?.check_size().map_err(from_kv)?;
        Ok(None)
    }
}
