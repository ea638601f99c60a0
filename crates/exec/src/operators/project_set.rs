//! Set-returning functions in a SELECT list: they run in lockstep, those that end early yield NULL, and a row for
//! which all are empty vanishes.

use async_trait::async_trait;
use plan::plan::ProjectItem;
use types::{Batch, ColumnVec, Datum, SqlResult, SqlType};

use super::function_scan::call_rows;
use crate::context::ExecContext;
use crate::eval::{eval_all, eval_shared};
use crate::operator::{BoxOperator, Operator};

pub(crate) struct ProjectSet {
    input: BoxOperator,
    items: Vec<ProjectItem>,
    types: Vec<SqlType>,
}

impl ProjectSet {
    pub(crate) fn new(input: BoxOperator, items: Vec<ProjectItem>, types: Vec<SqlType>) -> Self {
        Self { input, items, types }
    }
}

#[async_trait]
impl Operator for ProjectSet {
    async fn next(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
        while let Some(batch) = self.input.next(ctx).await? {
            ctx.cancel.checkpoint().await?;
            // Of a scalar its column, of a set its arguments' columns.
            let mut inputs = Vec::with_capacity(self.items.len());
            for item in &self.items {
                inputs.push(match item {
                    ProjectItem::Scalar(expr) => vec![eval_shared(expr, &batch, ctx).await?],
                    ProjectItem::Set(call) => eval_all(&call.args, &batch, ctx).await?,
                });
            }
            let mut columns: Vec<ColumnVec> = self.types.iter().map(ColumnVec::new).collect();
            let mut len = 0;
            for row in 0..batch.len() {
                let mut sets = Vec::with_capacity(self.items.len());
                for (item, input) in self.items.iter().zip(&inputs) {
                    sets.push(match item {
                        ProjectItem::Scalar(_) => None,
                        ProjectItem::Set(call) => {
                            let args: Vec<Datum> = input.iter().map(|column| column.get_datum(row)).collect();
                            Some(call_rows(call, &args, ctx.eval)?)
                        }
                    });
                }
                let count = sets.iter().flatten().map(Vec::len).max().unwrap_or(0);
                for at in 0..count {
                    for ((set, input), column) in sets.iter().zip(&inputs).zip(&mut columns) {
                        match set {
                            None => column.append_range(&input[0], row, 1),
                            Some(rows) => match rows.get(at).map(Vec::as_slice) {
                                None => column.push_null(),
                                Some([value]) => column.push(value),
                                Some(fields) => column.push(&Datum::Record(fields.into())),
                            },
                        }
                    }
                }
                len += count;
            }
            if len > 0 {
                return Ok(Some(Batch::from_columns(columns, len)));
            }
        }
        Ok(None)
    }
}
