//! INSERT, UPDATE and DELETE.

use std::borrow::Cow;

use async_trait::async_trait;
use catalog::{
    Table, TriggerEvent,
    row::{EntryReader, IndexCodec},
};
use keys::{Key, LockStrength, Span};
use kv::{Read, See};
use plan::plan::{Delete, Insert, InsertMode, LeafRules, OnConflict, Update};
use types::{Batch, ColumnVec, Datum, SqlError, SqlResult, SqlState, SqlType};

use crate::{
    context::ExecContext,
    error::{from_entry, from_kv},
    eval::eval_batch,
    instead_of::InsteadOf,
    operator::Operator,
    partition::{PartitionedDelete, PartitionedInsert, PartitionedUpdate, belongs, to_leaf, to_root},
    replace::Replace,
    row_write::{Checked, Duplicate, TableWriter, fit_row, returning, table_types},
    scan::changes_too_often,
    touched::Touched,
    trigger::{Firing, Watch},
};

struct InsertOperator {
    source: Box<dyn Operator>,
    mode: InsertMode,
    writer: TableWriter,
    on_conflict: Option<OnConflict>,
    /// How a row is locked that is there already.
    conflict_lock: LockStrength,
    returning: Option<Vec<plan::Expr>>,
    /// Rows that DO UPDATE has written in this statement may not be met again.
    touched: Touched,
    firing: Firing,
    /// Of DO UPDATE.
    updates: Option<Firing>,
    watch: Watch,
}

#[must_use]
pub fn build_insert(insert: &Insert, source: Box<dyn Operator>) -> Box<dyn Operator> {
    if insert.table.is_view() {
        return InsteadOf::insert(insert, source);
    }
    let source = match PartitionedInsert::new(insert, source) {
        Ok(operator) => return operator,
        Err(source) => source,
    };
    if insert.mode == InsertMode::Replace {
        return Box::new(Replace::new(insert, source));
    }
    Box::new(InsertOperator {
        source,
        mode: insert.mode,
        writer: TableWriter::new(&insert.table, &insert.row_rules),
        on_conflict: insert.on_conflict.clone(),
        conflict_lock: conflict_lock(insert),
        returning: insert.returning.clone(),
        touched: Touched::default(),
        firing: Firing::new(&insert.table, &insert.row_rules, TriggerEvent::Insert, &[]),
        updates: insert.on_conflict.as_ref().and_then(|conflict| conflict.update.as_ref()).map(|update| {
            let assigned: Vec<usize> = update.assignments.iter().map(|(position, _)| *position).collect();
            Firing::new(&insert.table, &insert.row_rules, TriggerEvent::Update, &assigned)
        }),
        watch: Watch::default(),
    })
}

impl InsertOperator {
    /// Before and after the rows: a statement that may update fires the triggers of both.
    async fn start(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<()> {
        self.firing.start(ctx).await?;
        if let Some(updates) = &mut self.updates {
            updates.start(ctx).await?;
        }
        Ok(())
    }

    fn end(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<()> {
        if let Some(updates) = &mut self.updates {
            updates.end(ctx)?;
        }
        self.firing.end(ctx)
    }

    async fn insert(&mut self, rows: Vec<Vec<Datum>>, ctx: &mut ExecContext<'_>) -> SqlResult<Vec<Vec<Datum>>> {
        match self.on_conflict.clone() {
            None => {
                self.writer.insert(&rows, ctx).await?;
                for row in rows.iter().filter(|_| self.firing.wants_rows()) {
                    self.firing.after_row(None, Some(row), ctx).await?;
                }
                self.writer.check_views(&rows, ctx).await?;
                Ok(rows)
            }
            Some(conflict) => {
                let mut written = Vec::new();
                for row in rows {
                    if let Some(row) = self.insert_or(row, &conflict, ctx).await? {
                        self.writer.check_views(std::slice::from_ref(&row), ctx).await?;
                        written.push(row);
                    }
                }
                Ok(written)
            }
        }
    }

    /// One row under ON CONFLICT; what was written, if anything was.
    async fn insert_or(
        &mut self,
        row: Vec<Datum>,
        conflict: &OnConflict,
        ctx: &mut ExecContext<'_>,
    ) -> SqlResult<Option<Vec<Datum>>> {
        let arbiters = match &conflict.arbiters {
            Some(arbiters) => arbiters.clone(),
            None => (0..self.writer.table.indexes.len()).collect(),
        };
        let upsert = Upsert {
            writer: &self.writer,
            insert: &self.firing,
            updates: self.updates.as_ref(),
            lock: self.conflict_lock,
            touched: &mut self.touched,
            watch: &mut self.watch,
            partition: None,
        };
        Ok(upsert.run(row, conflict, arbiters, ctx).await?.map(|written| written.new))
    }
}

/// How a row is locked that is there already.
pub(crate) fn conflict_lock(insert: &Insert) -> LockStrength {
    match insert.on_conflict.as_ref().and_then(|conflict| conflict.update.as_ref()) {
        Some(update) if plan::changes_key(&insert.table, &update.assignments) => LockStrength::Update,
        // A trigger may change any column.
        Some(_) if insert.row_rules.triggers.is_some() => LockStrength::Update,
        _ => LockStrength::NoKeyUpdate,
    }
}

/// What INSERT … ON CONFLICT writes a row with.
pub(crate) struct Upsert<'a> {
    pub writer: &'a TableWriter,
    pub insert: &'a Firing,
    /// Of DO UPDATE.
    pub updates: Option<&'a Firing>,
    pub lock: LockStrength,
    /// Rows that the statement has written.
    pub touched: &'a mut Touched,
    pub watch: &'a mut Watch,
    /// Where the table is a partition of the one that is named: DO UPDATE is over rows of that.
    pub partition: Option<(&'a LeafRules, &'a TableWriter)>,
}

pub(crate) struct Upserted {
    /// The row that was there.
    pub old: Option<Vec<Datum>>,
    pub new: Vec<Datum>,
}

impl Upsert<'_> {
    /// A row of the named table as one of the table that is written to, and the other way round.
    fn own(&self, row: Vec<Datum>, ctx: &mut ExecContext<'_>) -> SqlResult<Vec<Datum>> {
        match self.partition {
            None => Ok(row),
            Some((leaf, _)) => to_leaf(leaf, &row, ctx),
        }
    }

    fn named<'r>(&self, row: &'r [Datum]) -> Cow<'r, [Datum]> {
        match self.partition {
            None => Cow::Borrowed(row),
            Some((leaf, root)) => Cow::Owned(to_root(leaf, &root.table, row)),
        }
    }

    /// What has the policies of the named table.
    fn policies(&self) -> &TableWriter {
        self.partition.map_or(self.writer, |(.., root)| root)
    }

    /// *Policies* of the named table say what becomes of its row.
    async fn check_new(&self, of: Checked, row: &mut [Datum], ctx: &mut ExecContext<'_>) -> SqlResult<()> {
        match self.partition {
            None => self.writer.check_policies(of, row, ctx).await,
            Some((leaf, root)) => root.check_leaf_policies(of, leaf, self.writer, row, ctx).await,
        }
    }

    /// One row; what was written, if anything was. The row has passed its rules.
    pub async fn run(
        self,
        row: Vec<Datum>,
        conflict: &OnConflict,
        arbiters: Vec<usize>,
        ctx: &mut ExecContext<'_>,
    ) -> SqlResult<Option<Upserted>> {
        let rows = [row];
        if self.writer.breaks_rule(&rows[0], &arbiters, ctx).await? {
            return Ok(None);
        }
        let duplicate = self.writer.duplicates(&rows, &arbiters, self.lock, ctx).await?.into_iter().next().flatten();
        let [row] = rows;
        let Some(duplicate) = duplicate else {
            self.touched.insert(self.writer.primary().encode_key(&row));
            self.writer.insert(std::slice::from_ref(&row), ctx).await?;
            self.insert.after_row(None, Some(&row), ctx).await?;
            return Ok(Some(Upserted { old: None, new: row }));
        };
        let Some(update) = &conflict.update else { return Ok(None) };
        let table = self.writer.table.clone();
        let existing = read_existing(&table, self.lock, &duplicate, ctx).await?;
        self.watch.own(ctx)?;
        let touched = self.writer.primary().encode_key(&existing);
        if self.touched.contains(&touched) {
            return Err(SqlError::new(
                SqlState::CardinalityViolation,
                "ON CONFLICT DO UPDATE command cannot affect row a second time",
            )
            .with_hint(
                "Ensure that no rows proposed for insertion within the same command have duplicate constrained values.",
            ));
        }
        let named = self.named(&existing);
        let mut both = named.to_vec();
        match self.partition {
            None => both.extend(row),
            Some(_) => both.extend(self.named(&row).into_owned()),
        }
        let types = table_types(self.partition.map_or(&table, |(_, root)| &root.table));
        let both = Batch::from_rows(&[&types[..], &types[..]].concat(), &[both]);
        if let Some(filter) = &update.filter
            && eval_batch(filter, &both, ctx).await?.get_datum(0).as_bool() != Some(true)
        {
            // What is left as it is may be met again.
            return Ok(None);
        }
        let mut new = named.into_owned();
        self.policies().check_policies(Checked::InConflict, &mut new, ctx).await?;
        for (position, expr) in &update.assignments {
            new[*position] = eval_batch(expr, &both, ctx).await?.get_datum(0);
        }
        let mut new = self.own(new, ctx)?;
        self.touched.insert(touched);
        fit_row(&table, &mut new)?;
        if let Some(updates) = self.updates
            && !updates.before_row(Some(&existing), Some(&mut new), ctx).await?
        {
            return Ok(None);
        }
        if let Some((leaf, _)) = self.partition
            && let Some(check) = &leaf.rules.partition
            && !belongs(check, &new, &ctx.scope())?
        {
            let detail = "The result tuple would appear in a different partition than the original tuple.";
            return Err(SqlError::not_supported("invalid ON UPDATE specification").with_detail(detail));
        }
        self.check_new(Checked::Updated, &mut new, ctx).await?;
        self.writer.prepare(&mut new, ctx)?;
        if !self.watch.is_as_read(self.writer, &existing, "updated", ctx).await? {
            return Ok(None);
        }
        self.writer.update(&existing, &new, ctx).await?;
        if let Some(updates) = self.updates {
            updates.after_row(Some(&existing), Some(&new), ctx).await?;
        }
        Ok(Some(Upserted { old: Some(existing), new }))
    }
}

/// The whole row behind an entry. Only the entry is locked: below serializable the row is, too, so that one that others
/// have changed is met now and not at the commit.
async fn read_existing(
    table: &Table,
    conflict_lock: LockStrength,
    duplicate: &Duplicate,
    ctx: &mut ExecContext<'_>,
) -> SqlResult<Vec<Datum>> {
    let key = &duplicate.key;
    let all: Vec<usize> = (0..table.columns.len()).collect();
    let rows = EntryReader::new(table, table.primary(), &all);
    let mut row = vec![Datum::Null; all.len()];
    if duplicate.index == 0 {
        rows.read_datums(key.as_bytes(), &duplicate.value, &mut row).map_err(from_entry)?;
        return Ok(row);
    }
    let entries = EntryReader::new(table, &table.indexes[duplicate.index], &[]);
    let primary = catalog::row::IndexCodec::new(table, table.primary());
    let row_key = entries.row_key(&primary, key.as_bytes(), &duplicate.value).map_err(from_entry)?;
    let txn = ctx.txn()?;
    let lock = txn.keeps_apart().then_some(conflict_lock);
    let read = Read { lock, see: See::Now, binds: true, ..Read::default() };
    let Some(found) = txn.get(&row_key, read).await.map_err(from_kv)? else {
        // It has gone while its lock was waited for.
        return Err(if lock.is_some() { changes_too_often() } else { no_row(table, key) });
    };
    rows.read_datums(row_key.as_bytes(), &found, &mut row).map_err(from_entry)?;
    Ok(row)
}

fn no_row(table: &Table, key: &Key) -> SqlError {
    let message = format!("index entry {key} of table \"{}\" has no row", table.name);
    SqlError::new(SqlState::DataCorrupted, message)
}

#[async_trait]
impl Operator for InsertOperator {
    async fn next(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
        ctx.check_writable("INSERT")?;
        self.start(ctx).await?;
        loop {
            let Some(batch) = self.source.next(ctx).await? else {
                self.end(ctx)?;
                return Ok(None);
            };
            let mut rows = Vec::with_capacity(batch.len());
            let mut written = Vec::new();
            for row in 0..batch.len() {
                let mut row = batch.row(row);
                fit_row(&self.writer.table, &mut row)?;
                if !self.firing.changes_rows() {
                    self.writer.check_policies(Checked::Inserted, &mut row, ctx).await?;
                    self.writer.prepare(&mut row, ctx)?;
                    rows.push(row);
                } else if self.firing.before_row(None, Some(&mut row), ctx).await? {
                    self.writer.check_policies(Checked::Inserted, &mut row, ctx).await?;
                    self.writer.prepare(&mut row, ctx)?;
                    // Before the next row's triggers look.
                    written.append(&mut self.insert(vec![row], ctx).await?);
                }
            }
            if !rows.is_empty() {
                written = self.insert(rows, ctx).await?;
            }
            ctx.affected += written.len() as u64;
            match self.mode {
                // Looking for keys among rows that have left the buffer costs more than keeping them there.
                InsertMode::Fill if !self.writer.looks_for_duplicates() => {
                    let spans: Vec<Span> = self.writer.table.codecs().iter().map(IndexCodec::span).collect();
                    ctx.txn()?.load_if_large(&spans).await.map_err(from_kv)?;
                }
                InsertMode::Add | InsertMode::Fill | InsertMode::Replace => ctx.txn()?.check_size().map_err(from_kv)?,
            }
            if let Some(exprs) = &self.returning
                && !written.is_empty()
            {
                let types = table_types(&self.writer.table);
                return returning(exprs, written, &types, ctx).await.map(Some);
            }
        }
    }
}

struct UpdateOperator {
    source: Box<dyn Operator>,
    source_types: Vec<SqlType>,
    writer: TableWriter,
    assignments: Vec<(usize, plan::Expr)>,
    returning: Option<Vec<plan::Expr>>,
    touched: Touched,
    firing: Firing,
    watch: Watch,
    /// It writes through views with check options.
    checks_views: bool,
}

#[must_use]
pub fn build_update(update: &Update, source: Box<dyn Operator>) -> Box<dyn Operator> {
    if update.table.is_view() {
        return InsteadOf::update(update, source);
    }
    let source = match PartitionedUpdate::new(update, source) {
        Ok(operator) => return operator,
        Err(source) => source,
    };
    Box::new(UpdateOperator {
        checks_views: !update.row_rules.check_options.is_empty(),
        source,
        source_types: update.source.columns.iter().map(|column| column.ty).collect(),
        writer: TableWriter::new(&update.table, &update.row_rules),
        assignments: update.assignments.clone(),
        returning: update.returning.clone(),
        touched: Touched::default(),
        firing: {
            let assigned: Vec<usize> = update.assignments.iter().map(|(position, _)| *position).collect();
            Firing::new(&update.table, &update.row_rules, TriggerEvent::Update, &assigned)
        },
        watch: Watch::default(),
    })
}

/// What SET makes of the rows of a batch: a column of values for each assignment.
pub(crate) async fn assigned(
    assignments: &[(usize, plan::Expr)],
    batch: &Batch,
    ctx: &mut ExecContext<'_>,
) -> SqlResult<Vec<ColumnVec>> {
    let mut values = Vec::with_capacity(assignments.len());
    for (_, expr) in assignments {
        values.push(eval_batch(expr, batch, ctx).await?);
    }
    Ok(values)
}

#[async_trait]
impl Operator for UpdateOperator {
    async fn next(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
        ctx.check_writable("UPDATE")?;
        let width = self.writer.table.columns.len();
        self.firing.start(ctx).await?;
        loop {
            ctx.cancel.checkpoint().await?;
            self.watch.look(ctx)?;
            let Some(batch) = self.source.next(ctx).await? else {
                self.firing.end(ctx)?;
                return Ok(None);
            };
            let values = assigned(&self.assignments, &batch, ctx).await?;
            let mut written = Vec::new();
            let before = ctx.affected;
            for row in 0..batch.len() {
                let whole = batch.row(row);
                let old = &whole[..width];
                // A row that FROM joins several times is changed once.
                let key = self.writer.primary().encode_key(old);
                if !self.touched.insert(key.clone()) {
                    continue;
                }
                let mut new = old.to_vec();
                for ((position, _), value) in self.assignments.iter().zip(&values) {
                    new[*position] = value.get_datum(row);
                }
                fit_row(&self.writer.table, &mut new)?;
                if !self.firing.before_row(Some(old), Some(&mut new), ctx).await? {
                    continue;
                }
                self.writer.check_policies(Checked::Updated, &mut new, ctx).await?;
                self.writer.prepare(&mut new, ctx)?;
                if !self.watch.is_as_read(&self.writer, old, "updated", ctx).await? {
                    continue;
                }
                self.writer.update_keyed(key, old, &new, ctx).await?;
                self.watch.own(ctx)?;
                self.firing.after_row(Some(old), Some(&new), ctx).await?;
                if self.checks_views {
                    self.writer.check_views(std::slice::from_ref(&new), ctx).await?;
                }
                ctx.affected += 1;
                if self.returning.is_some() {
                    new.extend_from_slice(&whole[width..]);
                    written.push(new);
                }
            }
            self.writer.note_changes(ctx.affected - before, ctx);
            ctx.txn()?.check_size().map_err(from_kv)?;
            if let Some(exprs) = &self.returning
                && !written.is_empty()
            {
                return returning(exprs, written, &self.source_types, ctx).await.map(Some);
            }
        }
    }
}

struct DeleteOperator {
    source: Box<dyn Operator>,
    source_types: Vec<SqlType>,
    writer: TableWriter,
    returning: Option<Vec<plan::Expr>>,
    touched: Touched,
    firing: Firing,
    watch: Watch,
}

#[must_use]
pub fn build_delete(delete: &Delete, source: Box<dyn Operator>) -> Box<dyn Operator> {
    if delete.table.is_view() {
        return InsteadOf::delete(delete, source);
    }
    let source = match PartitionedDelete::new(delete, source) {
        Ok(operator) => return operator,
        Err(source) => source,
    };
    Box::new(DeleteOperator {
        source,
        source_types: delete.source.columns.iter().map(|column| column.ty).collect(),
        writer: TableWriter::new(&delete.table, &delete.row_rules),
        returning: delete.returning.clone(),
        touched: Touched::default(),
        firing: Firing::new(&delete.table, &delete.row_rules, TriggerEvent::Delete, &[]),
        watch: Watch::default(),
    })
}

#[async_trait]
impl Operator for DeleteOperator {
    async fn next(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
        ctx.check_writable("DELETE")?;
        let width = self.writer.table.columns.len();
        self.firing.start(ctx).await?;
        let wants_rows = self.returning.is_some() || self.firing.wants_rows();
        loop {
            ctx.cancel.checkpoint().await?;
            self.watch.look(ctx)?;
            let Some(batch) = self.source.next(ctx).await? else {
                self.firing.end(ctx)?;
                return Ok(None);
            };
            let mut deleted = Vec::new();
            let before = ctx.affected;
            let all = || (0..batch.columns().len()).collect();
            let wanted = self.writer.columns_of_deletion().filter(|_| !wants_rows).unwrap_or_else(all);
            let mut whole = vec![Datum::Null; batch.columns().len()];
            for row in 0..batch.len() {
                for &column in &wanted {
                    whole[column] = batch.get_datum(column, row);
                }
                let key = self.writer.primary().encode_key(&whole[..width]);
                if !self.touched.insert(key.clone()) {
                    continue;
                }
                if !self.firing.before_row(Some(&whole[..width]), None, ctx).await? {
                    continue;
                }
                if !self.watch.is_as_read_by(&self.writer, &batch, row, if self.firing.changes_rows() { "updated" } else { "deleted" }, ctx).await? {
                    continue;
                }
                self.writer.delete_keyed(key, &whole[..width], ctx)?;
                self.watch.own(ctx)?;
                self.firing.after_row(Some(&whole[..width]), None, ctx).await?;
                ctx.affected += 1;
                if self.returning.is_some() {
                    deleted.push(whole.clone());
                }
            }
            self.writer.note_changes(ctx.affected - before, ctx);
            ctx.txn()?.check_size().map_err(from_kv)?;
            if let Some(exprs) = &self.returning
                && !deleted.is_empty()
            {
                return returning(exprs, deleted, &self.source_types, ctx).await.map(Some);
            }
        }
    }
}
