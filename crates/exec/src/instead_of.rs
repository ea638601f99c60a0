//! INSERT, UPDATE and DELETE of views whose triggers do what is to be done. Nothing is written here: each row is handed to the
//! INSTEAD OF triggers, and counts unless one of them answers NULL.

use async_trait::async_trait;
use catalog::TriggerEvent;
use plan::Expr;
use plan::plan::{Delete, Insert, Update};
use types::{Batch, Datum, SqlResult, SqlType};

use crate::change::assigned;
use crate::context::ExecContext;
use crate::error::from_kv;
use crate::operator::Operator;
use crate::row_write::{TableWriter, fit_row, returning, table_types};
use crate::trigger::Firing;

pub(crate) struct InsteadOf {
    event: TriggerEvent,
    source: Box<dyn Operator>,
    /// Of what RETURNING is over.
    row_types: Vec<SqlType>,
    /// Of the view, for its check options and those above it.
    writer: TableWriter,
    /// Of UPDATE, over the source's columns.
    assignments: Vec<(usize, Expr)>,
    returning: Option<Vec<Expr>>,
    firing: Firing,
}

fn source_types(source: &plan::Plan) -> Vec<SqlType> {
    source.columns.iter().map(|column| column.ty).collect()
}

impl InsteadOf {
    pub fn insert(insert: &Insert, source: Box<dyn Operator>) -> Box<dyn Operator> {
        Box::new(Self {
            event: TriggerEvent::Insert,
            source,
            row_types: table_types(&insert.table),
            writer: TableWriter::new(&insert.table, &insert.row_rules),
            assignments: Vec::new(),
            returning: insert.returning.clone(),
            firing: Firing::new(&insert.table, &insert.row_rules, TriggerEvent::Insert, &[]),
        })
    }

    pub fn update(update: &Update, source: Box<dyn Operator>) -> Box<dyn Operator> {
        let assigned: Vec<usize> = update.assignments.iter().map(|(position, _)| *position).collect();
        Box::new(Self {
            event: TriggerEvent::Update,
            source,
            row_types: source_types(&update.source),
            writer: TableWriter::new(&update.table, &update.row_rules),
            assignments: update.assignments.clone(),
            returning: update.returning.clone(),
            firing: Firing::new(&update.table, &update.row_rules, TriggerEvent::Update, &assigned),
        })
    }

    pub fn delete(delete: &Delete, source: Box<dyn Operator>) -> Box<dyn Operator> {
        Box::new(Self {
            event: TriggerEvent::Delete,
            source,
            row_types: source_types(&delete.source),
            writer: TableWriter::new(&delete.table, &delete.row_rules),
            assignments: Vec::new(),
            returning: delete.returning.clone(),
            firing: Firing::new(&delete.table, &delete.row_rules, TriggerEvent::Delete, &[]),
        })
    }

    /// One row of the source; what RETURNING is over, unless a trigger has passed the row over.
    async fn row(&mut self, whole: Vec<Datum>, new: Option<Vec<Datum>>, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Vec<Datum>>> {
        let width = self.writer.table.columns.len();
        let old = (self.event != TriggerEvent::Insert).then_some(&whole[..width]);
        let Some(mut new) = new else {
            let is_done = self.firing.instead_of_row(old, None, ctx).await?;
            return Ok(is_done.then_some(whole));
        };
        if !self.firing.instead_of_row(old, Some(&mut new), ctx).await? {
            return Ok(None);
        }
        self.writer.check_views(std::slice::from_ref(&new), ctx).await?;
        new.extend_from_slice(&whole[width..]);
        Ok(Some(new))
    }
}

#[async_trait]
impl Operator for InsteadOf {
    async fn next(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
        ctx.check_writable(self.event.name())?;
        self.firing.start(ctx).await?;
        loop {
            ctx.cancel.checkpoint().await?;
            let Some(batch) = self.source.next(ctx).await? else {
                self.firing.end(ctx)?;
                return Ok(None);
            };
            let values = assigned(&self.assignments, &batch, ctx).await?;
            let mut done = Vec::new();
            let width = self.writer.table.columns.len();
            for at in 0..batch.len() {
                let whole = batch.row(at);
                let mut new = (self.event != TriggerEvent::Delete).then(|| whole[..width].to_vec());
                if let Some(new) = &mut new {
                    for ((position, _), value) in self.assignments.iter().zip(&values) {
                        new[*position] = value.get_datum(at);
                    }
                    fit_row(&self.writer.table, new)?;
                }
                if let Some(row) = self.row(whole, new, ctx).await? {
                    ctx.affected += 1;
                    if self.returning.is_some() {
                        done.push(row);
                    }
                }
            }
            ctx.txn()?.check_size().map_err(from_kv)?;
            if let Some(exprs) = &self.returning
                && !done.is_empty()
            {
                return returning(exprs, done, &self.row_types, ctx).await.map(Some);
            }
        }
    }
}
