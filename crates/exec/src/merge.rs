//! MERGE: what becomes of each row of the target and the source joined.

use async_trait::async_trait;
use catalog::{Table, TriggerEvent};
use keys::Key;
use plan::plan::{Merge, MergeAction, MergeWhen};
use types::{Batch, Datum, SqlError, SqlResult, SqlState};

use crate::context::ExecContext;
use crate::error::from_kv;
use crate::eval::eval_batch;
use crate::operator::Operator;
use crate::row_write::{Checked, TableWriter, fit_row};
use crate::touched::Touched;
use crate::trigger::{Firing, Watch};

/// What would be done to a row, where a message says so.
const CHANGED: &str = "updated or deleted";

struct MergeOperator {
    source: Box<dyn Operator>,
    writer: TableWriter,
    whens: Vec<MergeWhen>,
    /// Rows that were changed: none is changed twice.
    touched: Touched,
    /// Of those events that there are actions for.
    inserts: Option<Firing>,
    updates: Option<Firing>,
    deletes: Option<Firing>,
    watch: Watch,
}

#[must_use]
pub fn build_merge(merge: &Merge, source: Box<dyn Operator>) -> Box<dyn Operator> {
    let table = &merge.table;
    let firing = |event, assigned: &[usize]| Firing::new(table, &merge.row_rules, event, assigned);
    let mut assigned: Vec<usize> = Vec::new();
    let (mut has_inserts, mut has_updates, mut has_deletes) = (false, false, false);
    for when in &merge.whens {
        match &when.action {
            MergeAction::Nothing => {}
            MergeAction::Insert(_) => has_inserts = true,
            MergeAction::Delete => has_deletes = true,
            MergeAction::Update(assignments) => {
                has_updates = true;
                assigned.extend(assignments.iter().map(|(position, _)| *position));
            }
        }
    }
    Box::new(MergeOperator {
        source,
        writer: TableWriter::new(table, &merge.row_rules),
        whens: merge.whens.clone(),
        touched: Touched::default(),
        inserts: has_inserts.then(|| firing(TriggerEvent::Insert, &[])),
        updates: has_updates.then(|| firing(TriggerEvent::Update, &assigned)),
        deletes: has_deletes.then(|| firing(TriggerEvent::Delete, &[])),
        watch: Watch::default(),
    })
}

fn is_row_of(table: &Table, row: &[Datum]) -> bool {
    table.key_positions(table.primary()).all(|position| !row[position].is_null())
}

/// The first action that applies to a row.
async fn action_for(
    whens: &[MergeWhen],
    row: &Batch,
    is_matched: bool,
    ctx: &mut ExecContext<'_>,
) -> SqlResult<Option<MergeAction>> {
    for when in whens.iter().filter(|when| when.is_matched == is_matched) {
        match &when.condition {
            Some(condition) if eval_batch(condition, row, ctx).await?.get_datum(0).as_bool() != Some(true) => {}
            _ => return Ok(Some(when.action.clone())),
        }
    }
    Ok(None)
}

impl MergeOperator {
    async fn start(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<()> {
        for firing in [&mut self.inserts, &mut self.updates, &mut self.deletes].into_iter().flatten() {
            firing.start(ctx).await?;
        }
        Ok(())
    }

    fn end(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<()> {
        [&mut self.deletes, &mut self.updates, &mut self.inserts].into_iter().flatten().try_for_each(|it| it.end(ctx))
    }

    /// The key of a row that is to be changed.
    ///
    /// # Errors
    /// 21000 for one that was changed already. What a trigger has kept from being changed may come again.
    fn untouched(&self, old: &[Datum]) -> SqlResult<Key> {
        let key = self.writer.primary().encode_key(old);
        if !self.touched.contains(&key) {
            return Ok(key);
        }
        Err(SqlError::new(SqlState::CardinalityViolation, "MERGE command cannot affect row a second time")
            .with_hint("Ensure that not more than one source row matches any one target row."))
    }

    async fn merge(&mut self, row: Batch, ctx: &mut ExecContext<'_>) -> SqlResult<()> {
        let width = self.writer.table.columns.len();
        let old = row.row(0)[..width].to_vec();
        let is_matched = is_row_of(&self.writer.table, &old);
        let action = action_for(&self.whens, &row, is_matched, ctx).await?;
        match action.unwrap_or(MergeAction::Nothing) {
            MergeAction::Nothing => Ok(()),
            MergeAction::Insert(values) => self.insert(&values, &row, ctx).await,
            MergeAction::Update(assignments) => self.update(&assignments, &old, &row, ctx).await,
            MergeAction::Delete => self.delete(&old, ctx).await,
        }
    }

    async fn insert(&mut self, values: &[plan::Expr], row: &Batch, ctx: &mut ExecContext<'_>) -> SqlResult<()> {
        let mut new = Vec::with_capacity(values.len());
        for value in values {
            new.push(eval_batch(value, row, ctx).await?.get_datum(0));
        }
        fit_row(&self.writer.table, &mut new)?;
        let Some(firing) = &self.inserts else { return Ok(()) };
        if firing.changes_rows() && !firing.before_row(None, Some(&mut new), ctx).await? {
            return Ok(());
        }
        self.writer.check_policies(Checked::Inserted, &mut new, ctx).await?;
        self.writer.prepare(&mut new, ctx)?;
        self.writer.insert(std::slice::from_ref(&new), ctx).await?;
        firing.after_row(None, Some(&new), ctx).await?;
        ctx.affected += 1;
        Ok(())
    }

    async fn update(
        &mut self,
        assignments: &[(usize, plan::Expr)],
        old: &[Datum],
        row: &Batch,
        ctx: &mut ExecContext<'_>,
    ) -> SqlResult<()> {
        let mut new = old.to_vec();
        self.writer.check_policies(Checked::ToUpdate, &mut new, ctx).await?;
        let key = self.untouched(old)?;
        for (position, value) in assignments {
            new[*position] = eval_batch(value, row, ctx).await?.get_datum(0);
        }
        fit_row(&self.writer.table, &mut new)?;
        let Some(firing) = &self.updates else { return Ok(()) };
        // No trigger sees a row that is another by now.
        if firing.changes_rows() && !self.watch.is_as_read(&self.writer, old, "updated", ctx).await? {
            return Ok(());
        }
        if !firing.before_row(Some(old), Some(&mut new), ctx).await? {
            return Ok(());
        }
        self.writer.check_policies(Checked::Updated, &mut new, ctx).await?;
        self.writer.prepare(&mut new, ctx)?;
        if !self.watch.is_as_read(&self.writer, old, CHANGED, ctx).await? {
            return Ok(());
        }
        self.writer.update(old, &new, ctx).await?;
        self.touched.insert(key);
        self.watch.own(ctx)?;
        firing.after_row(Some(old), Some(&new), ctx).await?;
        ctx.affected += 1;
        Ok(())
    }

    async fn delete(&mut self, old: &[Datum], ctx: &mut ExecContext<'_>) -> SqlResult<()> {
        self.writer.check_policies(Checked::ToDelete, &mut old.to_vec(), ctx).await?;
        let key = self.untouched(old)?;
        let Some(firing) = &self.deletes else { return Ok(()) };
        if firing.changes_rows() && !self.watch.is_as_read(&self.writer, old, "updated", ctx).await? {
            return Ok(());
        }
        if !firing.before_row(Some(old), None, ctx).await? {
            return Ok(());
        }
        if !self.watch.is_as_read(&self.writer, old, CHANGED, ctx).await? {
            return Ok(());
        }
        self.writer.delete(old, ctx)?;
        self.touched.insert(key);
        self.writer.note_changes(1, ctx);
        self.watch.own(ctx)?;
        firing.after_row(Some(old), None, ctx).await?;
        ctx.affected += 1;
        Ok(())
    }
}

#[async_trait]
impl Operator for MergeOperator {
    async fn next(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
        ctx.check_writable("MERGE")?;
        self.start(ctx).await?;
        loop {
            ctx.cancel.checkpoint().await?;
            self.watch.look(ctx)?;
            let Some(batch) = self.source.next(ctx).await? else {
                self.end(ctx)?;
                return Ok(None);
            };
            for row in 0..batch.len() {
                self.merge(batch.slice(row, 1), ctx).await?;
            }
            ctx.txn()?.check_size().map_err(from_kv)?;
        }
    }
}
