//! Functions in FROM: side by side, the shorter ones filled up with NULLs, numbered if asked.
//!
//! Rows are made a batch at a time: who stops asking, as LIMIT does, or is stopped, pays for no more.

use async_trait::async_trait;
use builtins::SetRows;
use plan::plan::{Callee, FunctionCall};
use types::{Batch, Datum, SqlResult, SqlType};

use crate::context::ExecContext;
use crate::eval::eval_scalar;
use crate::operator::{BATCH_ROWS, Operator};

/// The rows of a call; a function that returns no set yields one.
pub(crate) async fn call_rows(call: &FunctionCall, args: Vec<Datum>, ctx: &mut ExecContext<'_>) -> SqlResult<SetRows> {
    let builtin = match &call.callee {
        Callee::Builtin(builtin) => builtin,
        Callee::Routine(routine) => {
            let returned = ctx.call_routine(routine, &call.types, args).await?;
            if routine.returns_set {
                return Ok(returned.rows.into_iter().collect());
            }
            let is_row = call.types.ret.row_type().is_some();
            let row = match returned.value {
                Datum::Record(fields) if is_row => fields.to_vec(),
                _ if is_row => vec![Datum::Null; call.width()],
                value => vec![value],
            };
            return Ok(std::iter::once(row).collect());
        }
    };
    match &builtin.set {
        // A strict one yields nothing for NULL.
        Some(_) if builtin.strict && args.iter().any(Datum::is_null) => Ok(std::iter::empty().collect()),
        Some(set) => (set.eval)(ctx.eval, &call.types, &args),
        None => Ok(SetRows::once(builtin.call(ctx.eval, &call.types, &args)?)),
    }
}

async fn call_all(calls: &[FunctionCall], ctx: &mut ExecContext<'_>) -> SqlResult<Vec<SetRows>> {
    let mut sets = Vec::with_capacity(calls.len());
    for call in calls {
        let mut args = Vec::with_capacity(call.args.len());
        for arg in &call.args {
            args.push(eval_scalar(arg, ctx).await?);
        }
        sets.push(call_rows(call, args, ctx).await?);
    }
    Ok(sets)
}

pub(crate) struct FunctionScan {
    calls: Vec<FunctionCall>,
    with_ordinality: bool,
    types: Vec<SqlType>,
    /// What each call has still to yield, once they are called.
    sets: Option<Vec<SetRows>>,
    /// Rows yielded so far.
    count: i64,
}

impl FunctionScan {
    pub(crate) fn new(calls: Vec<FunctionCall>, with_ordinality: bool, types: Vec<SqlType>) -> Self {
        Self { calls, with_ordinality, types, sets: None, count: 0 }
    }

    /// The next row; `None` when every set has ended.
    fn row(&mut self) -> SqlResult<Option<Vec<Datum>>> {
        let mut row = Vec::with_capacity(self.types.len());
        let mut has_any = false;
        for (set, call) in self.sets.iter_mut().flatten().zip(&self.calls) {
            match set.next().transpose()? {
                Some(values) => {
                    has_any = true;
                    match call.taken_apart() {
                        None => row.extend(values),
                        Some(of) => match values.into_iter().next() {
                            Some(Datum::Record(fields)) => row.extend(fields.iter().cloned()),
                            _ => row.resize(row.len() + of.attributes().len(), Datum::Null),
                        },
                    }
                }
                None => {
                    let width = call.taken_apart().map_or_else(|| call.width(), |of| of.attributes().len());
                    row.resize(row.len() + width, Datum::Null);
                }
            }
        }
        if !has_any {
            return Ok(None);
        }
        self.count += 1;
        if self.with_ordinality {
            row.push(Datum::Int(self.count));
        }
        Ok(Some(row))
    }
}

#[async_trait]
impl Operator for FunctionScan {
    async fn next(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
        ctx.cancel.checkpoint().await?;
        if self.sets.is_none() {
            self.sets = Some(call_all(&self.calls, ctx).await?);
        }
        let mut rows = Vec::new();
        while rows.len() < BATCH_ROWS
            && let Some(row) = self.row()?
        {
            rows.push(row);
        }
        Ok((!rows.is_empty()).then(|| Batch::from_rows(&self.types, &rows)))
    }
}
