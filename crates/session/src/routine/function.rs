//! Functions and procedures: their bodies made ready, checked and called.

use std::sync::Arc;

use builtins::CallTypes;
use catalog::{Language, Routine, RoutineKind, RoutineVolatility, StoredType};
use exec::Returned;
use plan::statement::RoutineBody;
use plan::{PreparedPlan, RoutineCall};
use plpgsql::{Declaration, Function, Parameter, PlanCache};
use smallvec::SmallVec;
use types::{Batch, Datum, RangeType, SqlError, SqlResult, SqlState, SqlType};

use super::cache::{Body, BodyKey};
use super::moved_out;
use super::spi::SessionSpi;
use crate::{
    session::{Failure, Session},
    sink::{Sink, send},
};

/// Calls are nested at most so deep.
pub(super) const DEPTH_MAX: usize = 400;

pub(super) fn too_deep() -> SqlError {
    SqlError::new(SqlState::StatementTooComplex, "stack depth limit exceeded")
        .with_hint(format!("Functions may call one another {DEPTH_MAX} levels deep."))
}

/// What polymorphic types are where nobody calls: PostgreSQL checks bodies so.
fn settled(ty: SqlType) -> SqlType {
    match ty {
        SqlType::AnyElement | SqlType::AnyNonArray => SqlType::Int4,
        SqlType::AnyArray => SqlType::Int4.array_of(),
        SqlType::AnyEnum => SqlType::Text,
        SqlType::AnyRange => SqlType::Range(RangeType::Int4),
        SqlType::AnyMultiRange => SqlType::MultiRange(RangeType::Int4),
        ty => ty,
    }
}

/// The settings that a routine runs with, and what they were before; whether it runs as the role that owns it.
pub(crate) struct Around(Vec<(String, Option<String>)>, bool);

impl Session {
    /// The parameters of a routine, its inputs of these types; and what it returns.
    pub(super) fn parameters_of(&self, routine: &Routine, inputs: Option<&[SqlType]>) -> SqlResult<Vec<Parameter>> {
        let catalog = self.catalog();
        let is_call = routine.kind == RoutineKind::Procedure;
        let mut given = inputs.into_iter().flatten();
        let element = |inputs: Option<&[SqlType]>| {
            let declared = routine.parameters.iter().filter(|it| it.mode.is_input() || is_call);
            declared.zip(inputs.unwrap_or_default()).find_map(|(parameter, ty)| {
                match catalog.stored_type(parameter.ty)? {
                    SqlType::AnyArray => ty.element(),
                    SqlType::AnyElement | SqlType::AnyNonArray | SqlType::AnyEnum => Some(*ty),
                    SqlType::AnyRange | SqlType::AnyMultiRange => ty.range_type().map(RangeType::subtype),
                    _ => None,
                }
            })
        };
        let element = element(inputs);
        let declared = routine.parameters.iter().filter(|it| it.mode.is_input() || is_call);
        let range = declared.zip(inputs.unwrap_or_default()).find_map(|(parameter, ty)| {
            let is_range = matches!(catalog.stored_type(parameter.ty)?, SqlType::AnyRange | SqlType::AnyMultiRange);
            is_range.then(|| ty.range_type()).flatten()
        });
        let mut parameters = Vec::with_capacity(routine.parameters.len());
        for parameter in &routine.parameters {
            let declared = catalog.stored_type(parameter.ty).ok_or_else(|| {
                let message = format!("a type of function {} does not exist any more", routine.name);
                SqlError::new(SqlState::UndefinedObject, message)
            })?;
            let given = if parameter.mode.is_input() || is_call { given.next().copied() } else { None };
            let ty = match (declared, given) {
                (declared, Some(given)) if parameter.ty.is_polymorphic() || declared == SqlType::RECORD => given,
                (SqlType::AnyRange, None) if range.is_some() => SqlType::Range(range.unwrap_or(RangeType::Int4)),
                (SqlType::AnyMultiRange, None) if range.is_some() => SqlType::MultiRange(range.unwrap_or(RangeType::Int4)),
                (SqlType::AnyArray, None) if element.is_some() => element.unwrap_or(SqlType::Int4).array_of(),
                (declared, None) if declared.is_pseudo() && declared.row_type().is_none() && element.is_some() => {
                    element.unwrap_or(SqlType::Int4)
                }
                (declared, _) => settled(declared),
            };
            parameters.push(Parameter {
                name: (!parameter.name.is_empty()).then(|| parameter.name.clone()),
                mode: parameter.mode,
                ty,
                is_cursor: parameter.ty == StoredType::REFCURSOR,
            });
        }
        Ok(parameters)
    }

    pub(super) fn compiled_routine(
        &self,
        routine: &Routine,
        inputs: Option<&[SqlType]>,
        returns: SqlType,
        check: bool,
    ) -> SqlResult<Arc<Function>> {
        let parameters = self.parameters_of(routine, inputs)?;
        let signature = self.catalog().signature(routine).replace(", ", ",");
        let kind = match routine.kind {
            _ if routine.is_trigger() => plpgsql::RoutineKind::Trigger,
            RoutineKind::Procedure => plpgsql::RoutineKind::Procedure,
            // What an aggregate consists of is run by itself.
            RoutineKind::Function | RoutineKind::Aggregate => plpgsql::RoutineKind::Function,
        };
        let declaration = Declaration {
            name: &routine.name,
            signature: &signature,
            kind,
            parameters: &parameters,
            returns,
            returns_set: routine.returns_set,
            body: &routine.body,
            variable_conflict: self.variable_conflict(),
            print_strict_params: self.settings.is_on("plpgsql.print_strict_params"),
        };
        self.compiled(&declaration, check)
    }

    fn declared_result(&self, routine: &Routine) -> SqlResult<SqlType> {
        self.catalog().result_type(routine).ok_or_else(|| {
            let message = format!("the result type of function {} does not exist any more", routine.name);
            SqlError::new(SqlState::UndefinedObject, message)
        })
    }

    /// What CREATE looks at: whether the body can be read, and in SQL, whether it answers what is declared.
    pub(crate) fn check_body(&self, routine: &Routine, body: &RoutineBody) -> SqlResult<()> {
        let returns = settled(self.declared_result(routine)?);
        match routine.language {
            Language::PlPgSql => {
                let compiled = self.compiled_routine(routine, None, returns, true);
                compiled.map(drop).map_err(|error| moved_out(error, body))
            }
            Language::Sql => self.check_sql(routine, returns).map_err(|error| match (error.position, body.offset) {
                (Some(position), Some(offset)) => error.with_position(offset + position),
                (Some(position), None) => error.moved_inside(&*routine.body, position),
                (None, _) => error,
            }),
        }
    }

    /// A routine's body, ready to run with arguments of these types.
    pub(super) fn body_of(&mut self, routine: &Arc<Routine>, types: &CallTypes) -> SqlResult<Body> {
        let mut all: SmallVec<[SqlType; 4]> = types.args.clone();
        all.push(types.ret);
        self.kept_body(routine, BodyKey::Types(routine.id, all), |session| session.new_body(routine, types))
    }

    /// A body that was made before, or is made now.
    pub(super) fn kept_body(
        &mut self,
        routine: &Arc<Routine>,
        key: BodyKey,
        make: impl FnOnce(&Self) -> SqlResult<Body>,
    ) -> SqlResult<Body> {
        // What the transaction itself has changed has no version yet.
        let version = (!self.has_changed_catalog()).then(|| self.catalog().version(self.database));
        if let Some(body) = version.and_then(|version| self.routines.get(version, routine, &key)) {
            return Ok(body);
        }
        let body = make(self)?;
        if let Some(version) = version {
            self.routines.put(version, routine, key, body.clone());
        }
        Ok(body)
    }

    fn new_body(&self, routine: &Routine, types: &CallTypes) -> SqlResult<Body> {
        Ok(match routine.language {
            Language::PlPgSql => {
                let function = self.compiled_routine(routine, Some(&types.args), types.ret, false)?;
                let plans = Arc::new(PlanCache::new(&function));
                Body::PlPgSql { function, plans }
            }
            Language::Sql => Body::Sql(super::sql::read(&routine.body, &self.engine.memory)?),
        })
    }

    /// A function that an expression calls. The session is in the routine: see `Within`.
    pub(crate) async fn call_function(
        &mut self,
        routine: &Arc<Routine>,
        types: &CallTypes,
        args: Vec<Datum>,
    ) -> SqlResult<Returned> {
        if self.depth > DEPTH_MAX {
            return Err(too_deep());
        }
        if routine.is_trigger() {
            return Err(SqlError::not_supported("trigger functions can only be called as triggers"));
        }
        if routine.aggregate.is_some() {
            return self.run_aggregate(routine, types, args).await;
        }
        self.within = Some(false);
        let mark = self.block.as_ref().map(|block| block.txn.statement());
        self.frozen = match routine.volatility {
            RoutineVolatility::Volatile => None,
            _ => self.frozen.or(mark),
        };
        let around = self.apply_settings(routine)?;
        let outcome = self.run_routine(routine, types, args, None, false).await;
        self.restore_settings(around);
        outcome
    }

    async fn run_routine(
        &mut self,
        routine: &Arc<Routine>,
        types: &CallTypes,
        args: Vec<Datum>,
        client: Option<&mut dyn Sink>,
        may_end: bool,
    ) -> SqlResult<Returned> {
        let body = self.body_of(routine, types)?;
        let (savepoints, loops) = (self.savepoint_count(), self.loops.len());
        let is_volatile = routine.volatility == RoutineVolatility::Volatile;
        let client = match client {
            Some(client) => Some(&mut *client as &mut dyn Sink),
            None => None,
        };
        let mut spi = SessionSpi::new(self, client, may_end, is_volatile);
        let outcome = match body {
            Body::PlPgSql { function, plans } => {
                let called = plpgsql::call(&function, &plans, &mut spi, args, Some(types.ret)).await;
                let rows = std::mem::take(&mut spi.rows);
                // As in PostgreSQL, nothing is not NULL.
                let nothing = || Datum::text("");
                called.map(|value| Returned { value: if types.ret == SqlType::Void { nothing() } else { value }, rows })
            }
            Body::Sql(statements) => spi.run_sql(routine, &statements, types, args).await,
        };
        self.loops.truncate(loops);
        if outcome.is_err() {
            self.release_savepoints(savepoints);
        }
        outcome
    }

    /// The settings of a routine, until it ends.
    pub(super) fn apply_settings(&mut self, routine: &Routine) -> SqlResult<Around> {
        let mut before = Vec::new();
        if routine.settings.is_empty() && !routine.security_definer {
            return Ok(Around(before, false));
        }
        let acts = routine.security_definer;
        if acts {
            before = self.act_as(routine.owner)?.0;
        }
        self.keep_settings();
        for (name, value) in &routine.settings {
            before.push((name.clone(), self.settings.get(name).map(str::to_owned)));
            // Its caller must be allowed to act as a role that it names.
            let checked = self.identity_to_set(&name.to_lowercase(), Some(value));
            if let Err(error) = checked.and_then(|_| self.settings.set(name, value)) {
                self.restore_settings(Around(before, acts));
                return Err(error);
            }
        }
        Ok(Around(before, acts))
    }

    /// Lets a role act in place of the current user, until the settings are restored.
    pub(crate) fn act_as(&mut self, role: u32) -> SqlResult<Around> {
        let mut before = Vec::new();
        self.acting += 1;
        self.keep_settings();
        if let Some(role) = self.catalog().role_by_id(role) {
            before.push(("role".to_owned(), self.settings.get("role").map(str::to_owned)));
            if let Err(error) = self.settings.set("role", &role.name) {
                self.restore_settings(Around(before, true));
                return Err(error);
            }
        }
        Ok(Around(before, true))
    }

    pub(crate) fn restore_settings(&mut self, around: Around) {
        if around.1 {
            self.acting = self.acting.saturating_sub(1);
        }
        for (name, value) in around.0.into_iter().rev() {
            let restored = match value {
                Some(value) => self.settings.set(&name, &value),
                None => self.settings.reset(&name),
            };
            // It had that value a moment ago.
            if let Err(error) = restored {
                tracing::error!(%error, name, "a setting is left as a routine had it");
            }
        }
    }

    /// CALL.
    pub(crate) async fn call_procedure(
        &mut self,
        call: &RoutineCall,
        plan: &Arc<PreparedPlan>,
        params: &[Datum],
        sink: &mut dyn Sink,
        describe: bool,
    ) -> Result<(), Failure> {
        if self.depth > DEPTH_MAX {
            return Err(too_deep().into());
        }
        let is_alone = self.block.as_ref().is_none_or(|block| !block.explicit && block.answered == 0);
        let has_settings = !call.routine.settings.is_empty() || call.routine.security_definer;
        let may_end = self.within.unwrap_or(is_alone) && !has_settings;
        self.open_for(plan).await?;
        let inputs = call.routine.parameters.iter().zip(&call.args).filter(|(parameter, _)| parameter.mode.is_input());
        let inputs: Vec<&plan::Expr> = inputs.map(|(_, arg)| arg).collect();
        let args = self
            .with_exec(params, &[], async |ctx| {
                let mut args = Vec::with_capacity(inputs.len());
                for arg in inputs {
                    args.push(exec::eval_scalar(arg, ctx).await?);
                }
                Ok(args)
            })
            .await?;
        let portals = self.portals.mark();
        let around = (self.within.replace(may_end), self.frozen.take());
        self.depth += 1;
        let outcome = match self.apply_settings(&call.routine) {
            Ok(settings) => {
                let outcome = self.run_routine(&call.routine, &call.types, args, Some(&mut *sink), may_end).await;
                self.restore_settings(settings);
                outcome
            }
            Err(error) => Err(error),
        };
        self.depth -= 1;
        (self.within, self.frozen) = around;
        if outcome.is_err() {
            self.portals.forget_since(portals);
        }
        let returned = outcome?;
        if plan.columns.is_empty() {
            return Ok(());
        }
        let types: Vec<SqlType> = plan.columns.iter().map(|column| column.ty).collect();
        let row = match returned.value {
            Datum::Record(fields) => fields.to_vec(),
            _ => vec![Datum::Null; types.len()],
        };
        if describe {
            sink.columns(&plan.columns);
        }
        let formatting = self.formatting();
        send(sink, &Batch::from_rows(&types, &[row]), 0..1, &formatting).await?;
        Ok(())
    }
}
