//! SELECT … FOR UPDATE below a LIMIT, or passing over what is locked: rows are locked as they are asked for.
//!
//! ```text
//! LIMIT 1   ◀── LockRows ◀── sort, filter ◀── a scan that only looks
//!                  │ locks the first that is free
//! ```
//! Where others are waited for, what was looked at counts as read once the rows are locked. Should the transaction have
//! had to move up for a row that was changed meanwhile, the rows are looked for again from the start.
//!
//! Where others are passed over and nothing but the order says which rows come first, they are found and locked in one
//! request (`kv::Txn::lock_next`).
//!
//! Where others are passed over, what was looked at is a hint: a row is read again when it is locked, and must pass the
//! condition still. The rows that were not locked are none that the transaction depends on, or a worker would have to
//! begin again whenever another has taken its job.

use std::{collections::VecDeque, sync::Arc};

use async_trait::async_trait;
use catalog::row::EntryReader;
use keys::{Key, Span};
use kv::Locked;
use plan::plan::{self as nodes, LockWait, LockedTable, Node, ReadAgain, TableScan};
use types::{Batch, ColumnVec, SqlResult};

use super::limit::eval_limit;
use crate::context::ExecContext;
use crate::error::{from_entry, from_kv};
use crate::eval::eval_filter;
use crate::operator::{BATCH_ROWS, BoxOperator, Builder, Operator};
use crate::scan::{MAX_LOOKS, changes_too_often, continue_scan, lock_mode, spans_in_order};

pub(crate) struct LockRows {
    input: BoxOperator,
    node: Arc<nodes::LockRows>,
    builder: Builder,
    direct: Option<Direct>,
    /// Rows that are still wanted, once that is known.
    left: Option<u64>,
    /// Rows looked at and not locked yet.
    pending: Option<Batch>,
    has_yielded: bool,
    looks: usize,
}

/// A scan that is nothing but its spans: its rows are locked as they are found.
struct Direct {
    scan: Arc<TableScan>,
    /// None before the first call.
    todo: Option<VecDeque<Span>>,
}

impl Direct {
    fn of(node: &nodes::LockRows) -> Option<Self> {
        let ([only], Some(again), Node::TableScan(scan)) = (&node.tables[..], &node.again, &node.input.node) else {
            return None;
        };
        let is_plain = scan.index == 0 && scan.filter.is_none() && !scan.fetch_rows && !scan.point;
        let skips = only.lock.wait == LockWait::Skip && again.condition.is_none();
        (is_plain && skips && node.limit.is_some()).then(|| Self { scan: scan.clone(), todo: None })
    }
}

impl LockRows {
    pub(crate) fn new(input: BoxOperator, node: Arc<nodes::LockRows>, builder: Builder) -> Self {
        let direct = Direct::of(&node);
        Self { input, node, builder, direct, left: None, pending: None, has_yielded: false, looks: 0 }
    }

    /// The next rows that are free, locked; none where there are no more, or the transaction's own writes are in the way:
    /// then the rest is looked at and locked as any other rows.
    async fn next_direct(&mut self, wanted: u64, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
        let Some(direct) = &mut self.direct else { return Ok(None) };
        let [table] = &self.node.tables[..] else { return Ok(None) };
        let Some(again) = &self.node.again else { return Ok(None) };
        if direct.todo.is_none() {
            direct.todo = Some(spans_in_order(&direct.scan, ctx).await?.into());
        }
        let read = lock_mode(table.lock, ctx)?;
        let todo = direct.todo.get_or_insert_default();
        while let Some(span) = todo.pop_front() {
            ctx.cancel.checkpoint().await?;
            let found = ctx.txn()?.lock_next(&span, direct.scan.reverse, read, wanted).await.map_err(from_kv)?;
            let Some((rows, rest)) = found else {
                todo.push_front(span);
                self.input = continue_scan(&direct.scan, std::mem::take(todo));
                self.direct = None;
                return Ok(None);
            };
            rest.into_iter().for_each(|rest| todo.push_front(rest));
            if !rows.is_empty() {
                let rows = rows.iter().map(|(key, value)| (key, &value[..]));
                return Ok(Some(read_again(table, again, rows)?));
            }
        }
        Ok(None)
    }

    /// The keys of the rows of a locked table.
    fn keys(table: &LockedTable, batch: &Batch) -> Vec<Key> {
        let primary = &table.table.codecs()[0];
        let key = |row: usize| {
            let mut key = primary.prefix().to_vec();
            for (place, column) in table.key.iter().enumerate() {
                primary.put_key_column(&mut key, place, &batch.get_datum(*column, row));
            }
            Key::from(key)
        };
        (0..batch.len()).map(key).collect()
    }

    /// Locks the first `wanted` rows of a batch that can be; answers them, and how many were looked at.
    async fn lock(
        node: &nodes::LockRows,
        batch: &Batch,
        wanted: usize,
        ctx: &mut ExecContext<'_>,
    ) -> SqlResult<(Batch, usize)> {
        let (first, rest) = node.tables.split_first().expect("some table is locked");
        let read = lock_mode(first.lock, ctx)?;
        let keys = Self::keys(first, batch);
        let Locked { rows, looked_at } = ctx.txn()?.lock_first(&keys, read, wanted).await.map_err(from_kv)?;
        let places: Vec<u32> = rows.iter().map(|(place, _)| *place as u32).collect();
        let mut locked = match &node.again {
            None => batch.gather(&places),
            Some(again) => {
                let rows = rows.iter().map(|(place, value)| (keys[*place].as_bytes(), &value[..]));
                let locked = read_again(first, again, rows)?;
                match &again.condition {
                    Some(condition) if !locked.is_empty() => eval_filter(condition, locked, ctx).await?,
                    _ => locked,
                }
            }
        };
        for table in rest {
            let read = lock_mode(table.lock, ctx)?;
            let keys = Self::keys(table, &locked);
            let found = ctx.txn()?.lock_first(&keys, read, keys.len()).await.map_err(from_kv)?;
            let places: Vec<u32> = found.rows.iter().map(|(place, _)| *place as u32).collect();
            locked = locked.gather(&places);
        }
        Ok((locked, looked_at))
    }
}

/// Rows as they were when they were locked.
fn read_again<'r>(
    table: &LockedTable,
    again: &ReadAgain,
    rows: impl ExactSizeIterator<Item = (&'r [u8], &'r [u8])>,
) -> SqlResult<Batch> {
    let count = rows.len();
    let reader = EntryReader::new(&table.table, table.table.primary(), &again.columns);
    let types = again.columns.iter().map(|column| table.table.columns[*column].ty);
    let mut columns: Vec<ColumnVec> = types.map(|ty| ColumnVec::with_capacity(&ty, count)).collect();
    for (key, value) in rows {
        reader.read_into(key, value, &mut columns).map_err(from_entry)?;
    }
    Ok(Batch::from_columns(columns, count))
}

#[async_trait]
impl Operator for LockRows {
    async fn next(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
        let node = Arc::clone(&self.node);
        let left = match (self.left, &node.limit) {
            (Some(left), _) => left,
            (None, None) => u64::MAX,
            (None, Some(limit)) => eval_limit(limit, ctx).await?.unwrap_or(u64::MAX),
        };
        self.left = Some(left);
        if left == 0 {
            return Ok(None);
        }
        if let Some(batch) = self.next_direct(left.min(BATCH_ROWS as u64), ctx).await? {
            self.has_yielded = true;
            self.left = Some(left - batch.len() as u64);
            return Ok(Some(batch));
        }
        if self.direct.is_some() {
            return Ok(None);
        }
        loop {
            ctx.cancel.checkpoint().await?;
            let at = ctx.txn()?.read_ts();
            let batch = match self.pending.take() {
                Some(batch) => Some(batch),
                None => self.input.next(ctx).await?,
            };
            let is_end = batch.is_none();
            let batch = batch.filter(|batch| !batch.is_empty()).unwrap_or_default();
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(BATCH_ROWS);
            let (locked, looked_at) =
                if batch.is_empty() { (Batch::default(), 0) } else { Self::lock(&node, &batch, wanted, ctx).await? };
            let has_moved = ctx.txn()?.read_ts() != at;
            let spans = std::mem::take(&mut ctx.looked_at);
            if has_moved && !spans.is_empty() {
                self.looks += 1;
                if self.has_yielded || self.looks == MAX_LOOKS {
                    return Err(changes_too_often());
                }
                self.input = self.builder.clone().build(&node.input)?;
                continue;
            }
            let txn = ctx.txn()?;
            spans.into_iter().for_each(|span| txn.keep_read(span));
            if looked_at < batch.len() {
                self.pending = Some(batch.slice(looked_at, batch.len() - looked_at));
            }
            if !locked.is_empty() {
                self.has_yielded = true;
                self.left = Some(left - locked.len() as u64);
                return Ok(Some(locked));
            }
            if is_end {
                return Ok(None);
            }
        }
    }
}
