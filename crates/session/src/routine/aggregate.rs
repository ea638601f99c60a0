//! Aggregates by users: their functions called over the rows that were collected.
//!
//! Each call is one of PostgreSQL's: a strict transition function sees no NULL, and begins with the first row where there is
//! no first state.
//!
//! In a window the rows of one frame are often those of the frame before and more. The state is kept with the rows that it
//! is of, and goes on where they begin those of the next call. Rows are the same where they are one allocation.

use std::sync::Arc;

use builtins::{CallTypes, EvalContext};
use catalog::privilege::PrivilegeSet;
use catalog::{Routine, Step};
use exec::{MemoryBudget, Returned};
use types::{Array, Datum, SqlError, SqlResult, parse_text};

use crate::{
    host::SessionHost,
    session::{STATEMENT_MEMORY, Session},
};

/// Builtins called between two looks at whether the statement is to stop.
const CALLS_BETWEEN_CHECKS: usize = 1024;

/// A state, and what it is the state of.
#[derive(Debug)]
pub(crate) struct Folded {
    routine: Arc<Routine>,
    rows: Arc<Array>,
    state: Datum,
}

impl Folded {
    /// Whether its rows begin these.
    fn begins(&self, routine: &Arc<Routine>, rows: &Array) -> bool {
        let is_same = |(one, other): (&Datum, &Datum)| match (one, other) {
            (Datum::Record(one), Datum::Record(other)) => !one.is_empty() && Arc::ptr_eq(one, other),
            _ => false,
        };
        let own = self.rows.elements();
        Arc::ptr_eq(&self.routine, routine)
            && !own.is_empty()
            && own.len() <= rows.elements().len()
            && own.iter().zip(rows.elements()).all(is_same)
    }
}

impl Session {
    /// The value of an aggregate over rows, which are records of its arguments.
    pub(super) async fn run_aggregate(
        &mut self,
        routine: &Arc<Routine>,
        types: &CallTypes,
        args: Vec<Datum>,
    ) -> SqlResult<Returned> {
        let catalog = self.catalog();
        let Some(definition) = &routine.aggregate else {
            return Err(SqlError::internal("a routine without a definition was called as an aggregate"));
        };
        let access = catalog.access(self.database);
        definition.plain.routines().try_for_each(|id| access.check(routine.owner, id, PrivilegeSet::EXECUTE))?;
        let steps = catalog.aggregate_steps(routine, &types.args)?;
        let plain = &definition.plain;
        let environment = self.environment();
        let host = SessionHost::new(environment.clone());
        let began = self.block.as_ref().map_or_else(|| SessionHost::now_micros(&self.engine.clock), |block| block.began);
        let formatting = environment.formatting_at(began);
        let memory = MemoryBudget::within(STATEMENT_MEMORY, &self.engine.memory);
        let eval = environment.eval(&formatting, &host, Some(&memory));
        let mut state = match &plain.initial {
            Some(text) => parse_text(&steps.state, text, &formatting)?,
            None => Datum::Null,
        };
        let is_strict = steps.transition.is_strict();
        let mut takes_first = is_strict && plain.initial.is_none();
        let rows = match args.into_iter().next() {
            Some(Datum::Array(rows)) => Some(rows),
            _ => None,
        };
        let mut done = 0;
        if let Some(known) = self.folded.take().filter(|known| rows.as_ref().is_some_and(|rows| known.begins(routine, rows))) {
            (done, takes_first, state) = (known.rows.elements().len(), false, known.state);
        }
        for (at, row) in rows.iter().flat_map(|rows| rows.elements()).enumerate().skip(done) {
            if at % CALLS_BETWEEN_CHECKS == 0 {
                self.cancel_flag().checkpoint().await?;
            }
            let Datum::Record(fields) = row else {
                return Err(SqlError::internal("a collected row is a record"));
            };
            if takes_first {
                takes_first = false;
                state = fields.first().cloned().unwrap_or_default();
                continue;
            }
            if is_strict && state.is_null() {
                break;
            }
            let mut values = Vec::with_capacity(1 + fields.len());
            values.push(std::mem::take(&mut state));
            values.extend(fields.iter().cloned());
            state = self.run_step(&steps.transition, values, &eval).await?;
        }
        if let Some(rows) = rows {
            self.folded = Some(Folded { routine: routine.clone(), rows, state: state.clone() });
        }
        let value = match &steps.last {
            Some(last) if last.is_strict() && state.is_null() => Datum::Null,
            Some(last) => {
                let extra = if plain.last_extra { types.args.len() } else { 0 };
                let values = std::iter::once(state).chain(std::iter::repeat_n(Datum::Null, extra)).collect();
                self.run_step(last, values, &eval).await?
            }
            None => state,
        };
        Ok(Returned { value, rows: Vec::new() })
    }

    async fn run_step(&mut self, step: &Step, args: Vec<Datum>, eval: &EvalContext<'_>) -> SqlResult<Datum> {
        match step {
            Step::Builtin(builtin, types) => builtin.call(eval, types, &args),
            Step::Routine(routine, _) if routine.strict && args.iter().any(Datum::is_null) => Ok(Datum::Null),
            Step::Routine(routine, types) => {
                let (within, frozen) = (self.within, self.frozen);
                let outcome = Box::pin(self.call_function(routine, types, args)).await;
                (self.within, self.frozen) = (within, frozen);
                outcome.map(|returned| returned.value)
            }
        }
    }
}
