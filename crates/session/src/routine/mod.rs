//! Routines: PL/pgSQL over the session.
//!
//! The language is `plpgsql`'s; what it asks for, [`plpgsql::Spi`], is answered by [`spi::SessionSpi`] in the transaction
//! of the statement that runs the routine.

mod aggregate;
mod cache;
mod collect;
mod compile;
mod function;
mod spi;
mod sql;
mod trigger;

use plan::statement::RoutineBody;
use plpgsql::{Declaration, PlanCache, RoutineKind, VariableConflict};
use types::{SqlError, SqlType};

use crate::{
    session::{Failure, Session},
    sink::Sink,
};
pub(crate) use aggregate::Folded;
pub(crate) use cache::RoutineCache;
use spi::SessionSpi;

impl Session {
    /// DO.
    pub(crate) async fn do_block(&mut self, body: &RoutineBody, sink: &mut dyn Sink) -> Result<(), Failure> {
        if self.depth > function::DEPTH_MAX {
            return Err(function::too_deep().into());
        }
        let declaration = Declaration {
            name: "inline_code_block",
            signature: "inline_code_block",
            kind: RoutineKind::Inline,
            parameters: &[],
            returns: SqlType::Void,
            returns_set: false,
            body: &body.text,
            variable_conflict: self.variable_conflict(),
            print_strict_params: self.settings.is_on("plpgsql.print_strict_params"),
        };
        let function = self.compiled(&declaration, true).map_err(|error| moved_out(error, body))?;
        let plans = PlanCache::new(&function);
        // One that nothing has run in yet is the statement's own.
        let is_alone = self.block.as_ref().is_none_or(|block| !block.explicit && block.answered == 0);
        let may_end = self.within.unwrap_or(is_alone);
        if self.block.is_none() {
            self.open_block(false);
        }
        if let Some(block) = &mut self.block {
            block.has_run = true;
        }
        let (savepoints, portals, loops) = (self.savepoint_count(), self.portals.mark(), self.loops.len());
        let around = self.within.replace(may_end);
        self.depth += 1;
        let mut spi = SessionSpi::new(self, Some(sink), may_end, true);
        let outcome = plpgsql::call(&function, &plans, &mut spi, Vec::new(), None).await;
        self.depth -= 1;
        self.within = around;
        self.loops.truncate(loops);
        if outcome.is_err() {
            self.release_savepoints(savepoints);
            self.portals.forget_since(portals);
        }
        outcome?;
        Ok(())
    }

    fn variable_conflict(&self) -> VariableConflict {
        match self.settings.get("plpgsql.variable_conflict") {
            Some("use_variable") => VariableConflict::UseVariable,
            Some("use_column") => VariableConflict::UseColumn,
            _ => VariableConflict::Error,
        }
    }
}

/// An error in a body that stands in its statement as it is: at its place in the statement.
fn moved_out(error: SqlError, body: &RoutineBody) -> SqlError {
    match (body.offset, error.internal_position, error.internal_query.as_deref()) {
        (Some(offset), Some(position), Some(text)) if *text == *body.text => error.moved_outside(offset + position),
        _ => error,
    }
}
