//! Reading tables: spans of an index, page by page, rows fetched where an index does not hold them.

mod cut;

use std::{collections::VecDeque, sync::Arc};

use async_trait::async_trait;
use catalog::row::{Access, EntryReader, IndexCodec};
use keys::{Key, LockStrength, Span};
use kv::{Keep, KvRows, Read, ReadAhead, ScanOptions, ScanPage, WaitPolicy};
use plan::{
    Expr, JoinKind,
    plan::{IndexSpan, LockWait, RowLock, TableScan},
};
use smallvec::{SmallVec, smallvec};
use types::{
    Batch, ColumnVec, Datum, Direction, IntKind, NullsOrder, Primitive, SqlError, SqlResult, SqlState, encode_key, stack::deep,
};

use crate::{
    context::ExecContext,
    entries::{FoundRows, find_rows},
    error::{from_entry, from_kv},
    eval::{EvalScope, eval_all, eval_filter, eval_row, eval_scalar, eval_shared, matching_rows, needs_transaction},
    operator::Operator,
    volatility,
};

/// Rows asked of a range at once: a page costs the work of some hundred rows besides.
const PAGE_ROWS: u64 = 4096;
/// Rows of a first page without a limit: small tables are read in one.
const FIRST_PAGE_ROWS: u64 = 1024;
const PAGE_BYTES: u64 = 2 << 20;
/// Spans of a lookup join that are read together.
const SPANS_AT_ONCE: usize = 128;

/// How often what was read is looked for anew, because others have changed it before its rows were locked.
pub(crate) const MAX_LOOKS: usize = 100;

/// # Errors
/// 55000 for a materialized view that has not been filled.
pub(crate) fn check_populated(table: &catalog::Table) -> SqlResult<()> {
    if table.is_populated() {
        return Ok(());
    }
    let message = format!("materialized view \"{}\" has not been populated", table.name);
    Err(SqlError::new(SqlState::ObjectNotInPrerequisiteState, message)
        .with_hint("Use the REFRESH MATERIALIZED VIEW command."))
}

/// How a lock is asked for.
pub(crate) fn lock_mode(lock: RowLock, ctx: &ExecContext<'_>) -> SqlResult<Read> {
    ctx.check_writable(match lock.strength {
        LockStrength::KeyShare => "SELECT FOR KEY SHARE",
        LockStrength::Share => "SELECT FOR SHARE",
        LockStrength::NoKeyUpdate => "SELECT FOR NO KEY UPDATE",
        LockStrength::Update | LockStrength::Intent => "SELECT FOR UPDATE",
    })?;
    let wait = match lock.wait {
        LockWait::Block => WaitPolicy::Block,
        LockWait::Error => WaitPolicy::Error,
        LockWait::Skip => WaitPolicy::SkipLocked,
    };
    Ok(Read { lock: Some(lock.strength), wait, ..Read::default() })
}

/// 40001 for rows that others change as often as they are looked at.
pub(crate) fn changes_too_often() -> SqlError {
    SqlError::new(SqlState::SerializationFailure, "could not serialize access due to concurrent update")
}

fn read_mode(lock: Option<RowLock>, ctx: &ExecContext<'_>) -> SqlResult<Read> {
    match lock {
        Some(lock) if !lock.is_above => lock_mode(lock, ctx),
        _ => Ok(Read::default()),
    }
}

/// How a scan reads whose rows are locked above it: they are looked for.
fn look_mode(lock: RowLock) -> Read {
    match lock.wait {
        LockWait::Skip => Read { keep: Keep::Never, lock: Some(lock.strength), ..Read::default() },
        LockWait::Block | LockWait::Error => Read { keep: Keep::Later, ..Read::default() },
    }
}

/// A value of a span: a subquery's is the same for all rows.
pub(crate) async fn bound_value(expr: &Expr, ctx: &mut ExecContext<'_>) -> SqlResult<Datum> {
    if needs_transaction(expr) { eval_scalar(expr, ctx).await } else { eval_row(expr, &[], &ctx.scope()) }
}

/// The leading key columns of an index span, encoded behind the index's prefix: one for each element where one of them
/// is an array. None where one is NULL, which equals nothing.
async fn key_prefixes(
    codec: &IndexCodec,
    span: &IndexSpan,
    ctx: &mut ExecContext<'_>,
) -> SqlResult<SmallVec<[Vec<u8>; 1]>> {
    let mut prefixes: SmallVec<[Vec<u8>; 1]> = smallvec![codec.prefix().to_vec()];
    for (place, value) in span.equal.iter().enumerate() {
        let datum = match value {
            None => Datum::Null,
            Some(expr) => {
                let datum = bound_value(expr, ctx).await?;
                if datum.is_null() {
                    return Ok(SmallVec::new());
                }
                datum
            }
        };
        match &datum {
            Datum::Array(array) if span.any_of == Some(place) => {
                let values = array.elements().iter().filter(|element| !element.is_null());
                let with = |prefix: &Vec<u8>, value: &Datum| {
                    let mut prefix = prefix.clone();
                    codec.put_key_column(&mut prefix, place, value);
                    prefix
                };
                prefixes = values.flat_map(|value| prefixes.iter().map(move |prefix| with(prefix, value))).collect();
            }
            datum => prefixes.iter_mut().for_each(|prefix| codec.put_key_column(prefix, place, datum)),
        }
    }
    Ok(prefixes)
}

/// The key span of an index span behind one of its prefixes; none when it is empty.
async fn key_span(
    codec: &IndexCodec,
    span: &IndexSpan,
    prefix: Vec<u8>,
    ctx: &mut ExecContext<'_>,
) -> SqlResult<Option<Span>> {
    let place = span.equal.len();
    if span.lower.is_none() && span.upper.is_none() && !span.not_null {
        return Ok(Some(Span::prefix(Key::from(prefix))));
    }
    let (ty, direction, nulls) = codec.key_column(place);
    let bound = |datum: &Datum| -> Option<Vec<u8>> {
        if datum.is_null() {
            return None;
        }
        let mut key = prefix.clone();
        encode_key(&mut key, &ty, datum, direction, nulls);
        Some(key)
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
        let Some(key) = bound(&bound_value(expr, ctx).await?) else { return Ok(None) };
        let key = Key::from(key);
        start = if *inclusive { key } else { key.prefix_end() };
    }
    if let Some((expr, inclusive)) = last {
        let Some(key) = bound(&bound_value(expr, ctx).await?) else { return Ok(None) };
        let key = Key::from(key);
        end = if *inclusive { key.prefix_end() } else { key };
    }
    Ok((start < end).then(|| Span::new(start, end)))
}

/// The spans of a scan, in index order and disjoint.
async fn key_spans(codec: &IndexCodec, scan: &TableScan, ctx: &mut ExecContext<'_>) -> SqlResult<Vec<Span>> {
    if scan.spans.is_empty() {
        return Ok(vec![codec.span()]);
    }
    let mut spans = Vec::with_capacity(scan.spans.len());
    for span in &scan.spans {
        for prefix in key_prefixes(codec, span, ctx).await? {
            spans.extend(key_span(codec, span, prefix, ctx).await?);
        }
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
    /// Keys of the rows in the primary index, where a locking clause needs them.
    keys: Option<Vec<Key>>,
}

impl Found {
    fn new(access: &Access) -> Self {
        Self { left_rows: Vec::new(), columns: access.new_columns(), keys: None }
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
        if found.columns.is_empty() && found.keys.is_none() {
            found.left_rows.extend(entries.map(|(row, ..)| row));
            return Ok(());
        }
        for (row, key, value) in entries {
            access.reader.read_into(key, value, &mut found.columns).map_err(from_entry)?;
            found.left_rows.push(row);
            if let Some(keys) = &mut found.keys {
                keys.push(Key::from(key));
            }
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
        if let Some(keys) = &mut found.keys {
            keys.push(key.clone());
        }
    }
    Ok(())
}

/// A table scan.
struct Scan {
    scan: Arc<TableScan>,
    /// Whole keys to read.
    points: Vec<Key>,
    /// Rows that an inverted index has found, and how many of them were read; none before it was asked.
    rows: Option<(Arc<FoundRows>, usize)>,
    /// The condition names no key: all rows are read.
    reads_all: bool,
    /// What is left to read; none before the first call.
    todo: Option<VecDeque<Span>>,
    page_rows: u64,
    ahead: ReadAhead,
    filter_first: FilterFirst,
}

/// Whether a long scan decodes what its filter reads before it decodes the rest of the rows that pass.
enum FilterFirst {
    /// After the first page that few rows of pass.
    Undecided,
    No,
    Yes(Arc<InTwoSteps>),
}

/// A filter over its own columns alone, and both parts of the rows.
struct InTwoSteps {
    conditions: Vec<Expr>,
    filtered: EntryReader,
    /// Of the filter's columns, and of the others, their places in the scan's output.
    filtered_places: Vec<usize>,
    others: EntryReader,
    other_places: Vec<usize>,
}

impl InTwoSteps {
    /// None where the filter reads all columns, or must be evaluated apart.
    fn new(scan: &TableScan, filter: &Expr) -> Option<Self> {
        if needs_transaction(filter) || volatility::expr_is_volatile(filter) || scan.access().fetch.is_some() {
            return None;
        }
        let mut is_read = vec![false; scan.columns.len()];
        deep(|| mark_columns(filter, &mut is_read));
        let (filtered_places, other_places): (Vec<usize>, Vec<usize>) =
            (0..scan.columns.len()).partition(|place| is_read[*place]);
        if other_places.is_empty() {
            return None;
        }
        let mut filter = filter.clone();
        deep(|| renumber_columns(&mut filter, &filtered_places));
        let index = &scan.table.indexes[scan.index];
        let reader = |places: &[usize]| {
            let columns: Vec<usize> = places.iter().map(|place| scan.columns[*place]).collect();
            EntryReader::new(&scan.table, index, &columns)
        };
        Some(Self {
            conditions: match filter {
                Expr::And(conditions) => conditions,
                condition => vec![condition],
            },
            filtered: reader(&filtered_places),
            others: reader(&other_places),
            filtered_places,
            other_places,
        })
    }

    /// The rows of a page that pass.
    fn read(&self, page: &KvRows, scope: &EvalScope<'_>) -> SqlResult<Batch> {
        let mut columns = self.filtered.new_columns();
        for (key, value) in page.iter() {
            self.filtered.read_into(key, value, &mut columns).map_err(from_entry)?;
        }
        let mut filtered = Batch::from_columns(columns, page.len());
        let rows = matching_rows(&self.conditions, &filtered, scope)?;
        let mut others = self.others.new_columns();
        match &rows {
            Some(rows) => {
                filtered = filtered.gather(rows);
                for &row in rows {
                    let (key, value) = page.get(row as usize);
                    self.others.read_into(key, value, &mut others).map_err(from_entry)?;
                }
            }
            None => {
                for (key, value) in page.iter() {
                    self.others.read_into(key, value, &mut others).map_err(from_entry)?;
                }
            }
        }
        let len = filtered.len();
        let filtered = self.filtered_places.iter().copied().zip(filtered.into_columns());
        let others = self.other_places.iter().copied().zip(others.into_iter().map(Arc::new));
        let mut columns: Vec<(usize, Arc<ColumnVec>)> = filtered.chain(others).collect();
        columns.sort_unstable_by_key(|(place, _)| *place);
        Ok(Batch::new(columns.into_iter().map(|(_, column)| column).collect(), len))
    }
}

fn mark_columns(expr: &Expr, is_read: &mut [bool]) {
    if let Expr::Column(place, _) = expr {
        is_read[*place] = true;
    }
    expr.for_each_child(&mut |child| mark_columns(child, is_read));
}

/// Each column by its place among `kept`, which are sorted.
fn renumber_columns(expr: &mut Expr, kept: &[usize]) {
    if let Expr::Column(place, _) = expr {
        *place = kept.partition_point(|kept| kept < place);
    }
    expr.for_each_child_mut(&mut |child| renumber_columns(child, kept));
}

#[must_use]
pub fn build_scan(scan: &Arc<TableScan>) -> Box<dyn Operator> {
    // A limit is read in one small page; pages grow from there.
    let page_rows = scan.limit_hint.map_or(FIRST_PAGE_ROWS, |limit| limit.clamp(1, FIRST_PAGE_ROWS));
    // Rows that were found by themselves are read as such.
    let filter_first = if scan.entries.is_some() { FilterFirst::No } else { FilterFirst::Undecided };
    Box::new(Scan { scan: scan.clone(), points: Vec::new(), rows: None, reads_all: false, todo: None, page_rows, ahead: ReadAhead::default(), filter_first })
}

/// A scan of the spans that are left of one.
pub(crate) fn continue_scan(scan: &Arc<TableScan>, left: VecDeque<Span>) -> Box<dyn Operator> {
    Box::new(Scan { scan: scan.clone(), points: Vec::new(), rows: None, reads_all: false, todo: Some(left), page_rows: FIRST_PAGE_ROWS, ahead: ReadAhead::default(), filter_first: FilterFirst::Undecided })
}

/// The spans of a scan in the order in which it reads them.
pub(crate) async fn spans_in_order(scan: &TableScan, ctx: &mut ExecContext<'_>) -> SqlResult<Vec<Span>> {
    let mut spans = key_spans(&scan.access().codec, scan, ctx).await?;
    if scan.reverse {
        spans.reverse();
    }
    Ok(spans)
}

impl Scan {
    /// Rows that are locked, as those of UPDATE are, are taken in smaller steps.
    fn page_rows_max(&self) -> u64 {
        if self.scan.lock.is_some() { FIRST_PAGE_ROWS } else { PAGE_ROWS }
    }

    async fn start(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<()> {
        if self.scan.entries.is_some() {
            self.todo = Some(VecDeque::new());
            return Ok(());
        }
        let mut spans = spans_in_order(&self.scan, ctx).await?;
        // Whole keys are read as such, all in one request.
        if self.scan.point && self.scan.access().codec.is_unique() {
            self.points = spans.drain(..).map(|span| span.start).collect();
        }
        if !self.scan.point && self.scan.lock.is_none() && self.scan.limit_hint.is_none() {
            spans = cut::into_pages(spans, &self.scan, ctx);
        }
        self.todo = Some(spans.into());
        Ok(())
    }

    /// The next rows that an inverted index has found become the keys to read; all rows, where the condition names no key.
    async fn next_found(&mut self, read: Read, looked_at: &mut Vec<Span>, ctx: &mut ExecContext<'_>) -> SqlResult<()> {
        let Some(entries) = self.scan.entries.clone() else { return Ok(()) };
        if self.rows.is_none() && !self.reads_all {
            let found = find_rows(&self.scan, &entries, read, looked_at, ctx).await?;
            if found.is_none() {
                self.todo = Some([self.scan.access().codec.span()].into());
                self.reads_all = true;
            }
            self.rows = found.map(|found| (Arc::new(found), 0));
        }
        if let Some((rows, at)) = &mut self.rows {
            let end = rows.keys.len().min(*at + self.page_rows as usize);
            self.points = rows.keys[*at..end].to_vec();
            *at = end;
            self.page_rows = (self.page_rows * 4).min(self.page_rows_max());
        }
        Ok(())
    }

    /// The next page of the spans; none at their end.
    async fn page(&mut self, read: Read, ctx: &mut ExecContext<'_>) -> SqlResult<Option<ScanPage>> {
        let page_rows_max = self.page_rows_max();
        let Some(todo) = &mut self.todo else { return Ok(None) };
        let Some(span) = todo.pop_front() else { return Ok(None) };
        let reverse = self.scan.reverse;
        let options = ScanOptions { read, max_rows: self.page_rows, max_bytes: PAGE_BYTES, reverse };
        self.page_rows = (self.page_rows * 4).min(page_rows_max);
        self.ahead.expect(todo.iter());
        let mut page = ctx.txn()?.scan_ahead(&span, options, &mut self.ahead).await.map_err(from_kv)?;
        if let Some(resume) = page.resume.take() {
            todo.push_front(resume);
        }
        Ok(Some(page))
    }

    /// The next rows that pass the filter.
    async fn next_filtered(&mut self, filter: &Expr, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
        let read = Read::default();
        let in_steps = match &self.filter_first {
            FilterFirst::Yes(steps) if self.points.is_empty() => Some(steps.clone()),
            _ => None,
        };
        if let Some(steps) = in_steps {
            let Some(page) = self.page(read, ctx).await? else { return Ok(None) };
            let batch = steps.read(&page.rows, &ctx.scope())?;
            if batch.len() * 2 > page.rows.len() {
                self.filter_first = FilterFirst::No;
            }
            return Ok(Some(batch));
        }
        let Some(found) = self.read(read, false, &mut Vec::new(), ctx).await? else { return Ok(None) };
        let looked_at = found.left_rows.len();
        let batch = Batch::from_columns(found.columns, looked_at);
        if batch.is_empty() {
            return Ok(Some(batch));
        }
        let batch = eval_filter(filter, batch, ctx).await?;
        if matches!(self.filter_first, FilterFirst::Undecided) && looked_at as u64 >= FIRST_PAGE_ROWS / 2 {
            let steps = if batch.len() * 2 <= looked_at { InTwoSteps::new(&self.scan, filter) } else { None };
            self.filter_first = steps.map_or(FilterFirst::No, |steps| FilterFirst::Yes(Arc::new(steps)));
        }
        Ok(Some(batch))
    }

    /// The next rows, whole keys or a page; none at the end. Where they were looked for is told to `looked_at`.
    async fn read(
        &mut self,
        read: Read,
        wants_keys: bool,
        looked_at: &mut Vec<Span>,
        ctx: &mut ExecContext<'_>,
    ) -> SqlResult<Option<Found>> {
        let scan = self.scan.clone();
        let access = scan.access();
        let mut found = Found::new(access);
        found.keys = wants_keys.then(Vec::new);
        let reading = read_entries(access, read);
        if self.points.is_empty() && scan.entries.is_some() {
            self.next_found(reading, looked_at, ctx).await?;
        }
        if !self.points.is_empty() {
            let keys = std::mem::take(&mut self.points);
            let txn = ctx.txn()?;
            let values = match &keys[..] {
                [only] => vec![txn.get(only, reading).await.map_err(from_kv)?],
                many => txn.get_many(many, reading).await.map_err(from_kv)?,
            };
            looked_at.extend(keys.iter().cloned().map(Span::point));
            let entries = keys.iter().zip(&values).filter_map(|(key, value)| {
                value.as_ref().map(|value| (0, key.as_bytes(), &value[..]))
            });
            take(access, entries, read, &mut found, ctx).await?;
        } else {
            let Some(page) = self.page(reading, ctx).await? else { return Ok(None) };
            looked_at.push(page.covered);
            let entries = page.rows.iter().map(|(key, value)| (0, &key[..], &value[..]));
            take(access, entries, read, &mut found, ctx).await?;
        }
        if access.fetch.is_some()
            && let Some(keys) = &found.keys
        {
            looked_at.extend(keys.iter().cloned().map(Span::point));
        }
        Ok(Some(found))
    }

    /// Rows that pass the filter, locked; others are left alone. What was looked at counts as read once the locks are
    /// there: should the transaction have moved up for them, it is looked at again.
    async fn lock_matching(
        &mut self,
        lock: RowLock,
        filter: &Expr,
        ctx: &mut ExecContext<'_>,
    ) -> SqlResult<Option<Batch>> {
        let locking = lock_mode(lock, ctx)?;
        for _ in 0..MAX_LOOKS {
            let before = (self.points.clone(), self.rows.clone(), self.reads_all, self.todo.clone(), self.page_rows);
            let reading = Read { keep: Keep::Later, ..Read::default() };
            let mut looked_at = Vec::new();
            let at = ctx.txn()?.read_ts();
            let found = self.read(reading, true, &mut looked_at, ctx).await?;
            // That nothing was found rests on what was looked at, too.
            let locked = match found {
                None => Ok(None),
                Some(found) => {
                    let keys = found.keys.unwrap_or_default();
                    let batch = Batch::from_columns(found.columns, found.left_rows.len());
                    lock_kept(batch, &keys, filter, locking, ctx).await.map(Some)
                }
            };
            let txn = ctx.txn()?;
            if txn.read_ts() == at || locked.is_err() {
                looked_at.into_iter().for_each(|span| txn.keep_read(span));
                return locked;
            }
            (self.points, self.rows, self.reads_all, self.todo, self.page_rows) = before;
        }
        Err(changes_too_often())
    }
}

/// Locks the rows of a batch that a filter lets through, and answers them.
async fn lock_kept(
    batch: Batch,
    keys: &[Key],
    filter: &Expr,
    locking: Read,
    ctx: &mut ExecContext<'_>,
) -> SqlResult<Batch> {
    if batch.is_empty() {
        return Ok(batch);
    }
    // Where they were looked at counts as read, see above.
    let locking = Read { keep: Keep::Later, ..locking };
    let mut kept = eval_shared(filter, &batch, ctx).await?.true_rows();
    let wanted: Vec<Key> = kept.iter().map(|row| keys[*row as usize].clone()).collect();
    let mut is_there = ctx.txn()?.lock_many(&wanted, locking).await.map_err(from_kv)?.into_iter();
    kept.retain(|_| is_there.next() == Some(true));
    Ok(batch.filter(&kept))
}

#[async_trait]
impl Operator for Scan {
    async fn next(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
        loop {
            ctx.cancel.checkpoint().await?;
            if self.todo.is_none() {
                self.start(ctx).await?;
            }
            let scan = self.scan.clone();
            let batch = match (scan.lock, &scan.filter) {
                (Some(lock), Some(filter)) if !lock.is_above => self.lock_matching(lock, filter, ctx).await?,
                (None, Some(filter)) => self.next_filtered(filter, ctx).await?,
                (lock, filter) => {
                    let read = match lock.filter(|lock| lock.is_above) {
                        Some(lock) => look_mode(lock),
                        None => read_mode(lock, ctx)?,
                    };
                    let is_looking = read.keep == Keep::Later;
                    let mut looked_at = Vec::new();
                    let found = self.read(read, is_looking, &mut looked_at, ctx).await?;
                    if is_looking {
                        ctx.looked_at.append(&mut looked_at);
                    }
                    match (found, filter) {
                        (None, _) => None,
                        (Some(found), Some(filter)) if !found.left_rows.is_empty() => {
                            let batch = Batch::from_columns(found.columns, found.left_rows.len());
                            Some(eval_filter(filter, batch, ctx).await?)
                        }
                        (Some(found), _) => Some(Batch::from_columns(found.columns, found.left_rows.len())),
                    }
                }
            };
            match batch {
                None => return Ok(None),
                Some(batch) if batch.is_empty() => {}
                batch => return Ok(batch),
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
        let keys = eval_all(&self.keys, batch, ctx).await?;
        for row in (0..batch.len()).filter(|row| !keys.iter().any(|key| key.is_null(*row))) {
            let mut prefix = Vec::with_capacity(access.codec.prefix().len() + 10 * keys.len());
            prefix.extend_from_slice(access.codec.prefix());
            for (place, key) in keys.iter().enumerate() {
                access.codec.put_key_column(&mut prefix, place, &key.get_datum(row));
            }
            spans.push((row as u32, Span::prefix(Key::from(prefix))));
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
        if reading.lock.is_none() {
            for some in spans.chunks(SPANS_AT_ONCE) {
                ctx.cancel.checkpoint().await?;
                let spans: Vec<Span> = some.iter().map(|(_, span)| span.clone()).collect();
                let pages = ctx.txn()?.scan_many(&spans, reading).await.map_err(from_kv)?;
                let entries: Vec<(u32, &[u8], &[u8])> = (some.iter().zip(&pages))
                    .flat_map(|((row, _), page)| page.iter().map(move |(key, value)| (*row, key, value)))
                    .collect();
                take(access, entries.into_iter(), read, &mut found, ctx).await?;
            }
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
            let numbers = left_rows.iter().map(|row| i64::from(*row)).collect();
            columns.push(Arc::new(ColumnVec::Int(IntKind::Int, Primitive::from_values(numbers))));
            let width = columns.len() - 1;
            let mut joined = Batch::new(columns, left_rows.len());
            if let Some(filter) = &self.filter {
                joined = eval_filter(filter, joined, ctx).await?;
            }
            let matched: Vec<u32> = match joined.column(width).as_ref() {
                ColumnVec::Int(_, numbers) => numbers.values.iter().map(|row| *row as u32).collect(),
                _ => return Err(SqlError::internal("datum-matches-type: the left row's number is an integer")),
            };
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
