//! Set-returning functions in a SELECT list: they run in lockstep, those that end early yield NULL, and a row for
//! which all are empty vanishes.
//!
//! Rows are made a batch at a time, as in [`super::function_scan`]. What stands beside the sets is evaluated for each
//! row that they make, as in PostgreSQL: `nextval` counts those.

use std::sync::Arc;

use async_trait::async_trait;
use builtins::SetRows;
use plan::Expr;
use plan::plan::{Callee, FunctionCall, ProjectItem};
use types::{Batch, ColumnVec, Datum, SqlResult, SqlType};

use super::function_scan::call_rows;
use crate::context::ExecContext;
use crate::eval::{eval_all, eval_shared};
use crate::operator::{BATCH_ROWS, BoxOperator, Operator};

/// About how large a batch may become.
const BATCH_BYTES: usize = 4 << 20;

pub(crate) struct ProjectSet {
    input: BoxOperator,
    items: Vec<ProjectItem>,
    types: Vec<SqlType>,
    /// Input columns that what stands beside the sets reads.
    beside: Vec<usize>,
    from: Option<Source>,
}

/// The input rows in hand.
struct Source {
    batch: Batch,
    /// Of each set its arguments' columns.
    args: Vec<Vec<Arc<ColumnVec>>>,
    row: usize,
    /// What the sets of this row have still to yield; empty before they are called.
    sets: Vec<SetRows>,
}

impl ProjectSet {
    pub(crate) fn new(input: BoxOperator, items: Vec<ProjectItem>, types: Vec<SqlType>) -> Self {
        let mut beside = Vec::new();
        for item in &items {
            if let ProjectItem::Scalar(expr) = item {
                columns_of(expr, &mut beside);
            }
        }
        beside.sort_unstable();
        beside.dedup();
        Self { input, items, types, beside, from: None }
    }
}

fn columns_of(expr: &Expr, out: &mut Vec<usize>) {
    if let Expr::Column(position, _) = expr {
        out.push(*position);
    }
    expr.for_each_child(&mut |child| columns_of(child, out));
}

fn sets(items: &[ProjectItem]) -> impl Iterator<Item = &FunctionCall> {
    items.iter().filter_map(|item| match item {
        ProjectItem::Set(call) => Some(call),
        ProjectItem::Scalar(_) => None,
    })
}

impl Source {
    async fn new(batch: Batch, items: &[ProjectItem], ctx: &mut ExecContext<'_>) -> SqlResult<Self> {
        let mut args = Vec::new();
        for call in sets(items) {
            args.push(eval_all(&call.args, &batch, ctx).await?);
        }
        Ok(Self { batch, args, row: 0, sets: Vec::new() })
    }

    /// What the sets yield next: a value of each, and the row they belong to. `None` behind the last row.
    async fn next(
        &mut self,
        items: &[ProjectItem],
        ctx: &mut ExecContext<'_>,
    ) -> SqlResult<Option<(u32, Vec<Datum>)>> {
        while self.row < self.batch.len() {
            if self.sets.is_empty() {
                for (call, args) in sets(items).zip(&self.args) {
                    let args: Vec<Datum> = args.iter().map(|column| column.get_datum(self.row)).collect();
                    self.sets.push(call_rows(call, args, ctx).await?);
                }
            }
            let mut values = Vec::with_capacity(self.sets.len());
            let mut has_any = false;
            for (set, call) in self.sets.iter_mut().zip(sets(items)) {
                let fields = set.next().transpose()?;
                has_any |= fields.is_some();
                let is_routine = matches!(call.callee, Callee::Routine(_));
                let is_row = is_routine && call.types.ret.is_row();
                values.push(match fields {
                    None => Datum::Null,
                    Some(mut fields) if fields.len() == 1 && !is_row => fields.swap_remove(0),
                    Some(fields) => Datum::record(fields)?,
                });
            }
            if has_any {
                return Ok(Some((self.row as u32, values)));
            }
            self.sets.clear();
            self.row += 1;
        }
        Ok(None)
    }
}

#[async_trait]
impl Operator for ProjectSet {
    async fn next(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
        loop {
            ctx.cancel.checkpoint().await?;
            let from = match &mut self.from {
                Some(from) => from,
                none => match self.input.next(ctx).await? {
                    Some(batch) => none.insert(Source::new(batch, &self.items, ctx).await?),
                    None => return Ok(None),
                },
            };
            let set_types = self.items.iter().zip(&self.types).filter(|(item, _)| matches!(item, ProjectItem::Set(_)));
            let mut made: Vec<ColumnVec> = set_types.map(|(_, ty)| ColumnVec::new(ty)).collect();
            let mut rows = Vec::new();
            // What stands beside the sets is copied for each row.
            let bytes: usize = self.beside.iter().map(|at| from.batch.column(*at).memory_bytes()).sum();
            let most = (BATCH_BYTES * from.batch.len() / bytes.max(1)).clamp(1, BATCH_ROWS);
            while rows.len() < most
                && let Some((row, values)) = from.next(&self.items, ctx).await?
            {
                rows.push(row);
                made.iter_mut().zip(&values).for_each(|(column, value)| column.push(value));
            }
            if rows.is_empty() {
                self.from = None;
                continue;
            }
            // The others are not copied for each row: a text that is taken apart may be large.
            let blank = Arc::new(ColumnVec::repeat(&SqlType::Bool, &Datum::Null, rows.len()));
            let column = |at: usize| match self.beside.binary_search(&at) {
                Ok(_) => Arc::new(from.batch.column(at).gather(&rows)),
                Err(_) => blank.clone(),
            };
            let width = self.beside.last().map_or(0, |last| last + 1);
            let beside = Batch::new((0..width).map(column).collect(), rows.len());
            let mut made = made.into_iter();
            let mut columns = Vec::with_capacity(self.items.len());
            for item in &self.items {
                columns.push(match item {
                    ProjectItem::Scalar(expr) => eval_shared(expr, &beside, ctx).await?,
                    ProjectItem::Set(_) => Arc::new(made.next().expect("there is a column for each set")),
                });
            }
            return Ok(Some(Batch::new(columns, rows.len())));
        }
    }
}
