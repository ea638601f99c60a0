//! Functions of triggers, called for the rows that fire them.

use std::sync::Arc;

use catalog::RoutineVolatility;
use exec::TriggerCall;
use plpgsql::{PlanCache, Trigger};
use types::{Datum, SqlError, SqlResult, SqlType};

use super::cache::{Body, BodyKey};
use super::function::{DEPTH_MAX, too_deep};
use super::spi::SessionSpi;
use crate::session::Session;

impl Session {
    /// Runs a trigger's function. The session is in the routine: see `Within`.
    pub(crate) async fn call_trigger(&mut self, call: TriggerCall<'_>) -> SqlResult<Option<Datum>> {
        if self.depth > DEPTH_MAX {
            return Err(too_deep());
        }
        let TriggerCall { trigger, routine, table, row_type, event, old, new, transitions } = call;
        self.within = Some(false);
        let mark = self.block.as_ref().map(|block| block.txn.statement());
        let is_volatile = routine.volatility == RoutineVolatility::Volatile;
        self.frozen = if is_volatile { None } else { self.frozen.or(mark) };
        let around = self.apply_settings(routine)?;
        self.transitions = transitions;
        let key = BodyKey::Trigger(routine.id, trigger.oid, row_type);
        let body = self.kept_body(routine, key, |session| {
            let function = session.compiled_routine(routine, None, SqlType::Void, false)?;
            let plans = Arc::new(PlanCache::new(&function));
            Ok(Body::PlPgSql { function, plans })
        });
        let outcome = match body {
            Ok(Body::PlPgSql { function, plans }) => {
                let schema = self.catalog().schema_by_id(table.schema).map_or_else(String::new, |it| it.name.clone());
                let fired = Trigger {
                    row_type,
                    new,
                    old,
                    name: trigger.name.clone(),
                    when: trigger.timing.name(),
                    level: if trigger.for_each_row { "ROW" } else { "STATEMENT" },
                    operation: event.name(),
                    table_id: table.id,
                    table: table.name.clone(),
                    schema,
                    arguments: trigger.arguments.clone(),
                };
                let (savepoints, loops) = (self.savepoint_count(), self.loops.len());
                let mut spi = SessionSpi::new(self, None, false, is_volatile);
                let outcome = plpgsql::call_trigger(&function, &plans, &mut spi, fired).await;
                self.loops.truncate(loops);
                if outcome.is_err() {
                    self.release_savepoints(savepoints);
                }
                outcome
            }
            Ok(Body::Sql(_)) => Err(SqlError::internal("no function in SQL returns trigger")),
            Err(error) => Err(error),
        };
        self.restore_settings(around);
        outcome
    }
}
