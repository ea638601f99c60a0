//! WITH queries: each runs once, as far as somebody reads, and every reader sees all of its rows from the start.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use plan::Plan;
use types::{Batch, SqlError, SqlResult, SqlType};

use super::key_table::{KeyTable, new_rows};
use crate::context::ExecContext;
use crate::memory::Reservation;
use crate::stack::Grown;
use crate::operator::{BoxOperator, Builder, Operator, build};

/// The progress of one WITH query.
#[derive(Default)]
struct CteRun {
    /// `None` before the start and after the end, and while it is being pulled.
    operator: Option<BoxOperator>,
    has_started: bool,
    is_done: bool,
    batches: Vec<Batch>,
    memory: Option<Reservation>,
}

/// The WITH queries of a statement, by number.
#[derive(Default)]
pub struct Ctes {
    runs: Vec<CteRun>,
    /// What recursive queries' steps read in the round at hand.
    working: Vec<Option<Arc<Vec<Batch>>>>,
}

impl Ctes {
    fn run(&mut self, cte: usize) -> &mut CteRun {
        if self.runs.len() <= cte {
            self.runs.resize_with(cte + 1, CteRun::default);
        }
        &mut self.runs[cte]
    }

    fn set_working(&mut self, cte: usize, table: Option<Arc<Vec<Batch>>>) -> Option<Arc<Vec<Batch>>> {
        if self.working.len() <= cte {
            self.working.resize(cte + 1, None);
        }
        std::mem::replace(&mut self.working[cte], table)
    }
}

/// Batch `at` of a WITH query, running it on as far as that.
async fn batch_of(cte: usize, at: usize, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
    loop {
        let plan = ctx.cte_plans.get(cte).ok_or_else(|| SqlError::internal(format!("there is no CTE {cte}")))?;
        let run = ctx.ctes.run(cte);
        if let Some(batch) = run.batches.get(at) {
            return Ok(Some(batch.clone()));
        }
        if run.is_done {
            return Ok(None);
        }
        let mut operator = match run.operator.take() {
            Some(operator) => operator,
            None if run.has_started => {
                return Err(SqlError::internal(format!("CTE {cte} reads itself outside of a recursive step")));
            }
            None => {
                run.has_started = true;
                build(plan)?
            }
        };
        ctx.outer.push(Vec::new());
        // The command tag counts what the statement itself changes.
        let affected = ctx.affected;
        let pulled = Grown::new(operator.next(ctx)).await;
        ctx.affected = affected;
        ctx.outer.pop();
        let memory = ctx.memory.reservation();
        let run = ctx.ctes.run(cte);
        match pulled? {
            Some(batch) => {
                run.operator = Some(operator);
                run.memory.get_or_insert(memory).grow(batch.memory_bytes())?;
                if !batch.is_empty() {
                    run.batches.push(batch);
                }
            }
            None => run.is_done = true,
        }
    }
}

/// Runs a WITH query to its end: one that changes data does so whether or not anybody reads it.
pub async fn complete(cte: usize, ctx: &mut ExecContext<'_>) -> SqlResult<()> {
    let mut at = 0;
    while batch_of(cte, at, ctx).await?.is_some() {
        at += 1;
    }
    Ok(())
}

/// The end of a statement that changes data.
pub(crate) struct Finish {
    input: Option<BoxOperator>,
    ctes: Vec<usize>,
}

impl Finish {
    pub(crate) fn new(input: BoxOperator, ctes: Vec<usize>) -> Self {
        Self { input: Some(input), ctes }
    }
}

#[async_trait]
impl Operator for Finish {
    async fn next(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
        let Some(input) = &mut self.input else { return Ok(None) };
        if let Some(batch) = input.next(ctx).await? {
            return Ok(Some(batch));
        }
        self.input = None;
        for cte in std::mem::take(&mut self.ctes) {
            complete(cte, ctx).await?;
        }
        crate::foreign::settle(ctx).await?;
        crate::trigger::fire_queued(ctx).await?;
        Ok(None)
    }
}

pub(crate) struct CteScan {
    cte: usize,
    at: usize,
    /// Decided at the first row: a working table or the query's own rows.
    working: Option<Option<Arc<Vec<Batch>>>>,
}

impl CteScan {
    pub(crate) fn new(cte: usize) -> Self {
        Self { cte, at: 0, working: None }
    }
}

#[async_trait]
impl Operator for CteScan {
    async fn next(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
        ctx.cancel.checkpoint().await?;
        let cte = self.cte;
        let working =
            self.working.get_or_insert_with(|| ctx.ctes.working.get(cte).and_then(Option::as_ref).map(Arc::clone));
        let batch = match working {
            Some(batches) => batches.get(self.at).cloned(),
            None => batch_of(cte, self.at, ctx).await?,
        };
        self.at += 1;
        Ok(batch)
    }
}

/// WITH RECURSIVE: rounds of the step over what the round before yielded, until one yields nothing. Without ALL a row
/// that has been seen is dropped.
pub(crate) struct RecursiveUnion {
    cte: usize,
    base: Option<BoxOperator>,
    step_plan: Plan,
    builder: Builder,
    step: Option<BoxOperator>,
    seen: Option<KeyTable>,
    working: Arc<Vec<Batch>>,
    next_working: VecDeque<Batch>,
    memory: Option<Reservation>,
}

impl RecursiveUnion {
    pub(crate) fn new(
        cte: usize,
        base: BoxOperator,
        step_plan: Plan,
        builder: Builder,
        all: bool,
        types: Vec<SqlType>,
    ) -> Self {
        let seen = (!all).then(|| KeyTable::new(types));
        let (working, next_working) = (Arc::default(), VecDeque::new());
        Self { cte, base: Some(base), step_plan, builder, step: None, seen, working, next_working, memory: None }
    }

    fn keep(&mut self, batch: Batch, ctx: &ExecContext<'_>) -> SqlResult<Option<Batch>> {
        let batch = match &mut self.seen {
            Some(seen) => {
                let rows = new_rows(seen, batch.columns(), &batch);
                batch.filter(&rows)
            }
            None => batch,
        };
        if batch.is_empty() {
            return Ok(None);
        }
        self.next_working.push_back(batch.clone());
        let kept: usize = self.next_working.iter().chain(self.working.iter()).map(Batch::memory_bytes).sum();
        let seen = self.seen.as_ref().map_or(0, KeyTable::memory_bytes);
        self.memory.get_or_insert_with(|| ctx.memory.reservation()).resize(kept + seen)?;
        Ok(Some(batch))
    }
}

#[async_trait]
impl Operator for RecursiveUnion {
    async fn next(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
        loop {
            ctx.cancel.checkpoint().await?;
            if let Some(base) = &mut self.base {
                match base.next(ctx).await? {
                    Some(batch) => {
                        if let Some(batch) = self.keep(batch, ctx)? {
                            return Ok(Some(batch));
                        }
                    }
                    None => self.base = None,
                }
                continue;
            }
            if self.step.is_none() {
                if self.next_working.is_empty() {
                    return Ok(None);
                }
                self.working = Arc::new(std::mem::take(&mut self.next_working).into());
                self.step = Some(self.builder.clone().build(&self.step_plan)?);
            }
            let Some(step) = &mut self.step else { continue };
            let before = ctx.ctes.set_working(self.cte, Some(Arc::clone(&self.working)));
            let pulled = step.next(ctx).await;
            ctx.ctes.set_working(self.cte, before);
            match pulled? {
                Some(batch) => {
                    if let Some(batch) = self.keep(batch, ctx)? {
                        return Ok(Some(batch));
                    }
                }
                None => self.step = None,
            }
        }
    }
}
