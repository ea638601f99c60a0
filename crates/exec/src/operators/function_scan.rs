//! Functions in FROM: side by side, the shorter ones filled up with NULLs, numbered if asked.

use async_trait::async_trait;
use builtins::EvalContext;
use plan::plan::FunctionCall;
use types::{Batch, Datum, SqlResult, SqlType};

use super::Emitter;
use crate::context::ExecContext;
use crate::eval::eval_scalar;
use crate::operator::Operator;

/// All rows of a call; a function that returns no set yields one.
pub(crate) fn call_rows(
    call: &FunctionCall,
    args: &[Datum],
    context: &EvalContext<'_>,
) -> SqlResult<Vec<Vec<Datum>>> {
    match &call.builtin.set {
        // A strict one yields nothing for NULL.
        Some(_) if call.builtin.strict && args.iter().any(Datum::is_null) => Ok(Vec::new()),
        Some(set) => (set.eval)(context, &call.types, args),
        None => Ok(vec![vec![call.builtin.call(context, &call.types, args)?]]),
    }
}

/// How many columns a call yields.
fn width(call: &FunctionCall) -> usize {
    call.builtin.set.as_ref().map_or(1, |set| set.columns.len().max(1))
}

pub(crate) struct FunctionScan {
    calls: Vec<FunctionCall>,
    with_ordinality: bool,
    types: Vec<SqlType>,
    rows: Option<Emitter>,
}

impl FunctionScan {
    pub(crate) fn new(calls: Vec<FunctionCall>, with_ordinality: bool, types: Vec<SqlType>) -> Self {
        Self { calls, with_ordinality, types, rows: None }
    }

    async fn run(&self, ctx: &mut ExecContext<'_>) -> SqlResult<Emitter> {
        let mut sets = Vec::with_capacity(self.calls.len());
        for call in &self.calls {
            let mut args = Vec::with_capacity(call.args.len());
            for arg in &call.args {
                args.push(eval_scalar(arg, ctx).await?);
            }
            sets.push((width(call), call_rows(call, &args, ctx.eval)?.into_iter()));
        }
        let count = sets.iter().map(|(_, rows)| rows.len()).max().unwrap_or(0);
        let mut rows = Vec::with_capacity(count);
        for number in 1..=count {
            let mut row = Vec::with_capacity(self.types.len());
            for (width, set) in &mut sets {
                match set.next() {
                    Some(values) => row.extend(values),
                    None => row.resize(row.len() + *width, Datum::Null),
                }
            }
            if self.with_ordinality {
                row.push(Datum::Int(number as i64));
            }
            rows.push(row);
        }
        let batch = Batch::from_rows(&self.types, &rows);
        let mut memory = ctx.memory.reservation();
        memory.grow(batch.memory_bytes())?;
        Ok(Emitter::new(batch, None, memory))
    }
}

#[async_trait]
impl Operator for FunctionScan {
    async fn next(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
        ctx.cancel.checkpoint().await?;
        if self.rows.is_none() {
            self.rows = Some(self.run(ctx).await?);
        }
        Ok(self.rows.as_mut().and_then(Emitter::next))
    }
}
