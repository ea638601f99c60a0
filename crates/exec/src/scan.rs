//! Reading tables: spans of an index, page by page, rows fetched where an index does not hold them.

use std::{collections::VecDeque, sync::Arc};

use async_trait::async_trait;
use catalog::row::{Access, IndexCodec};
use keys::{Key, LockStrength, Span};
use kv::{Read, ScanOptions, See, WaitPolicy};
use plan::{
    Expr, JoinKind,
    plan::{IndexSpan, LockWait, RowLock, TableScan},
};
use types::{Batch, ColumnVec, Datum, Direction, NullsOrder, SqlResult, encode_key};

use crate::{
    context::ExecContext,
    error::{from_entry, from_kv},
    eval::{eval_filter, eval_row},
    operator::Operator,
};

/// Rows asked of a range at once, and for a first page with a limit at least.
const PAGE_ROWS: u64 = 1024;
const PAGE_BYTES: u64 = 2 << 20;

fn read_mode(lock: Option<RowLock>, ctx: &ExecContext<'_>) -> SqlResult<Read> {
    if let Some(lock) = lock {
        ctx.check_writable(match lock.strength {
            LockStrength::Shared => "SELECT FOR SHARE",
            LockStrength::Exclusive | LockStrength::Intent => "SELECT FOR UPDATE",
        })?;
    }
    let (strength, wait) = match lock {
        None => (None, WaitPolicy::Block),
        Some(lock) => (
            Some(lock.strength),
            match lock.wait {
                LockWait::Block => WaitPolicy::Block,
                LockWait::Error => WaitPolicy::Error,
                LockWait::Skip => WaitPolicy::SkipLocked,
            },
        ),
    };
    Ok(Read { lock: strength, wait, see: See::StatementStart })
}

/// The key span of an index span; none when it is empty.
fn key_span(codec: &IndexCodec, span: &IndexSpan, ctx: &ExecContext<'_>) -> SqlResult<Option<Span>> {
    let scope = ctx.scope();
    let mut prefix = codec.prefix().to_vec();
    for (place, value) in span.equal.iter().enumerate() {
        let datum = match value {
            None => Datum::Null,
            Some(expr) => {
                let datum = eval_row(expr, &[], &scope)?;
                if datum.is_null() {
                    return Ok(None);
                }
                datum
            }
        };
        codec.put_key_column(&mut prefix, place, &datum);
    }
    let place = span.equal.len();
    if span.lower.is_none() && span.upper.is_none() && !span.not_null {
        return Ok(Some(Span::prefix(Key::from(prefix))));
    }
    let (ty, direction, nulls) = codec.key_column(place);
    let bound = |expr: &Expr| -> SqlResult<Option<Vec<u8>>> {
        let datum = eval_row(expr, &[], &scope)?;
        if datum.is_null() {
            return Ok(None);
        }
        let mut key = prefix.clone();
        encode_key(&mut key, &ty, &datum, direction, nulls);
        Ok(Some(key))
    };
    // The span of all values that are not NULL: between the tags.
    let mut null = prefix.clone();
    encode_key(&mut null, &ty, &Datum::Null, direction, nulls);
    let null = Span::prefix(Key::from(null));
    let all = Span::prefix(Key::from(prefix.clone()));
    let (mut start, mut end) = match nulls {
        NullsOrder::First => (null.end, all.end),
        NullsOrder::Last => (all.start, null.start),
    };
    // In a descending column the greater values come first.
    let (first, last) = match direction {
        Direction::Asc => (&span.lower, &span.upper),
        Direction::Desc => (&span.upper, &span.lower),
    };
    if let Some((expr, inclusive)) = first {
        let Some(key) = bound(expr)? else { return Ok(None) };
        let key = Key::from(key);
        start = if *inclusive { key } else { key.prefix_end() };
    }
    if let Some((expr, inclusive)) = last {
        let Some(key) = bound(expr)? else { return Ok(None) };
        let key = Key::from(key);
        end = if *inclusive { key.prefix_end() } else { key };
    }
    Ok((start < end).then(|| Span::new(start, end)))
}

/// The spans of a scan, in index order and disjoint.
fn key_spans(codec: &IndexCodec, scan: &TableScan, ctx: &ExecContext<'_>) -> SqlResult<Vec<Span>> {
    if scan.spans.is_empty() {
        return Ok(vec![codec.span()]);
    }
    let mut spans = Vec::with_capacity(scan.spans.len());
    for span in &scan.spans {
        spans.extend(key_span(codec, span, ctx)?);
    }
    if spans.len() > 1 {
        spans.sort_by(|a, b| a.start.cmp(&b.start));
        let mut joined: Vec<Span> = Vec::with_capacity(spans.len());
        for span in spans {
            match joined.last_mut() {
                Some(last) if span.start < last.end => {
                    if span.end > last.end {
                        last.end = span.end;
                    }
                }
                _ => joined.push(span),
            }
        }
        spans = joined;
    }
    Ok(spans)
}

/// Rows that were found, each with the number of the left row that it is for; a scan has none, and calls it 0.
struct Found {
    left_rows: Vec<u32>,
    columns: Vec<ColumnVec>,
}

impl Found {
    fn new(access: &Access) -> Self {
        Self { left_rows: Vec::new(), columns: access.new_columns() }
    }
}

/// How entries are read: where rows are fetched from elsewhere, the entries themselves are not locked.
fn read_entries(access: &Access, read: Read) -> Read {
    if access.fetch.is_some() { Read { lock: None, ..read } } else { read }
}

/// Decodes entries, or the rows they lead to.
async fn take(
    access: &Access,
    entries: impl Iterator<Item = (u32, &[u8], &[u8])> + Send,
    read: Read,
    found: &mut Found,
    ctx: &mut ExecContext<'_>,
) -> SqlResult<()> {
    let Some((primary, rows)) = &access.fetch else {
        found.left_rows.reserve(entries.size_hint().0);
        for (row, key, value) in entries {
            access.reader.read_into(key, value, &mut found.columns).map_err(from_entry)?;
            found.left_rows.push(row);
        }
        return Ok(());
    };
    let mut left_rows = Vec::new();
    let mut keys = Vec::new();
    for (row, key, value) in entries {
        keys.push(access.reader.row_key(primary, key, value).map_err(from_entry)?);
        left_rows.push(row);
    }
    let values = ctx.txn()?.get_many(&keys, read).await.map_err(from_kv)?;
    for ((key, value), row) in keys.iter().zip(values).zip(left_rows) {
        // A row that SKIP LOCKED passed over, or that this statement has deleted.
        let Some(value) = value else { continue };
        rows.read_into(key.as_bytes(), &value, &mut found.columns).map_err(from_entry)?;
        found.left_rows.push(row);
    }
    Ok(())
}

/// A table scan.
struct Scan {
    scan: Arc<TableScan>,
    /// What is left to read; none before the first call.
    todo: Option<VecDeque<Span>>,
    page_rows: u64,
}

#[must_use]
pub fn build_scan(scan: &Arc<TableScan>) -> Box<dyn Operator> {
    // A limit is read in one small page; pages grow from there.
    let page_rows = scan.limit_hint.map_or(PAGE_ROWS, |limit| limit.clamp(1, PAGE_ROWS));
    Box::new(Scan { scan: scan.clone(), todo: None, page_rows })
}

impl Scan {
    async fn start(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
        let access = self.scan.access();
        let mut spans = key_spans(&access.codec, &self.scan, ctx)?;
        if self.scan.reverse {
            spans.reverse();
        }
        self.todo = Some(spans.into());
        // Whole keys are read as such, all in one request.
        if !self.scan.point || !access.codec.is_unique() {
            return Ok(None);
        }
        let keys: Vec<Key> = self.todo.take().unwrap_or_default().into_iter().map(|span| span.start).collect();
        self.todo = Some(VecDeque::new());
        let read = read_mode(self.scan.lock, ctx)?;
        let reading = read_entries(access, read);
        let txn = ctx.txn()?;
        let values = match &keys[..] {
            [] => Vec::new(),
            [only] => vec![txn.get(only, reading).await.map_err(from_kv)?],
            many => txn.get_many(many, reading).await.map_err(from_kv)?,
        };
        let mut found = Found::new(access);
        let entries = keys.iter().zip(&values).filter_map(|(key, value)| {
            value.as_ref().map(|value| (0, key.as_bytes(), &value[..]))
        });
        take(access, entries, read, &mut found, ctx).await?;
        Ok(Some(Batch::from_columns(found.columns, found.left_rows.len())))
    }

    async fn page(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
        let access = self.scan.access();
        let Some(todo) = &mut self.todo else { return Ok(None) };
        let Some(span) = todo.pop_front() else { return Ok(None) };
        let read = read_mode(self.scan.lock, ctx)?;
        let options = ScanOptions {
            read: read_entries(access, read),
            max_rows: self.page_rows,
            max_bytes: PAGE_BYTES,
            reverse: self.scan.reverse,
        };
        self.page_rows = (self.page_rows * 4).min(PAGE_ROWS);
        let page = ctx.txn()?.scan(&span, options).await.map_err(from_kv)?;
        if let Some(resume) = page.resume {
            todo.push_front(resume);
        }
        let mut found = Found::new(access);
        let entries = page.rows.iter().map(|(key, value)| (0, &key[..], &value[..]));
        take(access, entries, read, &mut found, ctx).await?;
        Ok(Some(Batch::from_columns(found.columns, found.left_rows.len())))
    }
}

#[async_trait]
impl Operator for Scan {
    async fn next(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
        loop {
            ctx.cancel.checkpoint().await?;
            let batch = if self.todo.is_none() {
                match self.start(ctx).await? {
                    Some(batch) => batch,
                    None => continue,
                }
            } else {
                match self.page(ctx).await? {
                    Some(batch) => batch,
                    None => return Ok(None),
                }
            };
            let batch = match &self.scan.filter {
                Some(filter) if batch.len() > 0 => eval_filter(filter, batch, ctx).await?,
                _ => batch,
            };
            if batch.len() > 0 {
                return Ok(Some(batch));
            }
        }
    }
}

/// For each left row the right rows of an index with its key.
struct LookupJoin {
    left: Box<dyn Operator>,
    scan: Arc<TableScan>,
    keys: Vec<Expr>,
    kind: JoinKind,
    filter: Option<Expr>,
    right_types: Vec<types::SqlType>,
}

#[must_use]
pub fn build_lookup_join(
    left: Box<dyn Operator>,
    scan: &Arc<TableScan>,
    keys: &[Expr],
    kind: JoinKind,
    filter: Option<&Expr>,
) -> Box<dyn Operator> {
    let right_types = scan.columns.iter().map(|&column| scan.table.columns[column].ty).collect();
    Box::new(LookupJoin {
        left,
        scan: scan.clone(),
        keys: keys.to_vec(),
        kind,
        filter: filter.cloned(),
        right_types,
    })
}

impl LookupJoin {
    /// The rows found for each of the batch's rows, as (left row, right row of the columns).
    async fn find(&mut self, batch: &Batch, ctx: &mut ExecContext<'_>) -> SqlResult<(Vec<u32>, Vec<ColumnVec>)> {
        let access = self.scan.access();
        let mut spans: Vec<(u32, Span)> = Vec::with_capacity(batch.len());
        for row in 0..batch.len() {
            let datums = batch.row(row);
            let scope = ctx.scope();
            let mut prefix = access.codec.prefix().to_vec();
            let mut has_null = false;
            for (place, key) in self.keys.iter().enumerate() {
                let datum = eval_row(key, &datums, &scope)?;
                has_null |= datum.is_null();
                if !has_null {
                    access.codec.put_key_column(&mut prefix, place, &datum);
                }
            }
            if !has_null {
                spans.push((row as u32, Span::prefix(Key::from(prefix))));
            }
        }
        let mut found = Found::new(access);
        let read = read_mode(self.scan.lock, ctx)?;
        let reading = read_entries(access, read);
        if self.scan.point {
            let (rows, keys): (Vec<u32>, Vec<Key>) = spans.into_iter().map(|(row, span)| (row, span.start)).unzip();
            let values = ctx.txn()?.get_many(&keys, reading).await.map_err(from_kv)?;
            let entries = rows.iter().zip(&keys).zip(&values).filter_map(|((row, key), value)| {
                value.as_ref().map(|value| (*row, key.as_bytes(), &value[..]))
            });
            take(access, entries, read, &mut found, ctx).await?;
            return Ok((found.left_rows, found.columns));
        }
        for (row, span) in spans {
            let mut rest = Some(span);
            while let Some(span) = rest {
                let options =
                    ScanOptions { read: reading, max_rows: PAGE_ROWS, max_bytes: PAGE_BYTES, reverse: false };
                let page = ctx.txn()?.scan(&span, options).await.map_err(from_kv)?;
                rest = page.resume;
                let entries = page.rows.iter().map(|(key, value)| (row, &key[..], &value[..]));
                take(access, entries, read, &mut found, ctx).await?;
            }
        }
        Ok((found.left_rows, found.columns))
    }
}

#[async_trait]
impl Operator for LookupJoin {
    async fn next(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
        loop {
            ctx.cancel.checkpoint().await?;
            let Some(left) = self.left.next(ctx).await? else { return Ok(None) };
            let (left_rows, right) = self.find(&left, ctx).await?;
            let mut columns: Vec<Arc<ColumnVec>> = left.gather(&left_rows).into_columns();
            columns.extend(right.into_iter().map(Arc::new));
            // The left row's number goes along through the filter.
            let numbers: Vec<Datum> = left_rows.iter().map(|row| Datum::Int(i64::from(*row))).collect();
            columns.push(Arc::new(ColumnVec::from_datums(&types::SqlType::Int8, &numbers)));
            let width = columns.len() - 1;
            let mut joined = Batch::new(columns, left_rows.len());
            if let Some(filter) = &self.filter {
                joined = eval_filter(filter, joined, ctx).await?;
            }
            let matched: Vec<u32> = (0..joined.len())
                .map(|row| joined.get_datum(width, row).as_int().unwrap_or(0) as u32)
                .collect();
            let output = match self.kind {
                JoinKind::Semi => {
                    let mut rows = matched;
                    rows.dedup();
                    left.gather(&rows)
                }
                JoinKind::Anti => {
                    let rows: Vec<u32> =
                        (0..left.len() as u32).filter(|row| matched.binary_search(row).is_err()).collect();
                    left.gather(&rows)
                }
                JoinKind::Left => {
                    let all: Vec<usize> = (0..width).collect();
                    let mut output = joined.project(&all);
                    let alone: Vec<u32> =
                        (0..left.len() as u32).filter(|row| matched.binary_search(row).is_err()).collect();
                    if !alone.is_empty() {
                        let mut columns = left.gather(&alone).into_columns();
                        for ty in &self.right_types {
                            columns.push(Arc::new(ColumnVec::repeat(ty, &Datum::Null, alone.len())));
                        }
                        output.append(&Batch::new(columns, alone.len()));
                        // Back to the left's order, which somebody may rely on.
                        let of: Vec<u32> = matched.iter().chain(&alone).copied().collect();
                        let mut order: Vec<u32> = (0..of.len() as u32).collect();
                        order.sort_by_key(|at| of[*at as usize]);
                        output = output.gather(&order);
                    }
                    output
                }
                JoinKind::Inner | JoinKind::Right | JoinKind::Full => {
                    let all: Vec<usize> = (0..width).collect();
                    joined.project(&all)
                }
            };
            if output.len() > 0 {
                return Ok(Some(output));
            }
        }
    }
}
