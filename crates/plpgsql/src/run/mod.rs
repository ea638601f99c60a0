//! A call: its variables, and the loop over the function's ops.
//!
//! [`Run::fast`] runs what needs no future: jumps, calculations, assignments, integer loops. Whatever else comes, an
//! expression that was not prepared yet among it, is one step of [`Run::slow`].

mod assign;
mod expression;
mod message;
mod rows;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex};
use std::task::Poll;

use types::{Array, Datum, RowType, SqlError, SqlResult, SqlState, SqlType};

use crate::function::{
    Condition, ExpressionId, Function, Op, Place, Returned, RoutineKind, VariableId, VariableKind,
};
use crate::spi::{Fetched, Keep, Row, Spi};
use expression::Entry;
use rows::RowsState;

/// Ops between two looks at cancellation.
const INTERRUPT_OPS: u32 = 1024;

/// Ops after which other tasks get their turn.
const YIELD_OPS: u32 = 64 * INTERRUPT_OPS;

/// The plans of one function's texts in one session.
#[derive(Debug)]
pub struct PlanCache<P>(Mutex<Vec<Option<Arc<Entry<P>>>>>);

impl<P> PlanCache<P> {
    #[must_use]
    pub fn new(function: &Function) -> Self {
        Self(Mutex::new((0..function.expressions.len()).map(|_| None).collect()))
    }

    fn get(&self, id: ExpressionId) -> Option<Arc<Entry<P>>> {
        self.0.lock().expect("no panic with plans in hand")[id.index()].clone()
    }

    fn put(&self, id: ExpressionId, entry: Arc<Entry<P>>) {
        self.0.lock().expect("no panic with plans in hand")[id.index()] = Some(entry);
    }
}

/// What a trigger's function sees.
#[derive(Clone, Debug)]
pub struct Trigger {
    /// The type of NEW and OLD: the table's rows.
    pub row_type: SqlType,
    pub new: Option<Datum>,
    pub old: Option<Datum>,
    pub name: String,
    /// BEFORE, AFTER, INSTEAD OF.
    pub when: &'static str,
    /// ROW, STATEMENT.
    pub level: &'static str,
    /// INSERT, UPDATE, DELETE, TRUNCATE.
    pub operation: &'static str,
    pub table_id: u32,
    pub table: String,
    pub schema: String,
    pub arguments: Vec<String>,
}

/// Calls a function or procedure, or runs a DO block. `returns` replaces the declared type where the call says more:
/// the columns of a function that returns records. The rows of a set go to [`Spi::return_row`].
///
/// # Errors
/// What its statements raise, with the lines of their context.
pub async fn call<S: Spi>(
    function: &Function,
    plans: &PlanCache<S::Plan>,
    spi: &mut S,
    arguments: Vec<Datum>,
    returns: Option<SqlType>,
) -> SqlResult<Datum> {
    let mut run = Run::new(function, plans, spi);
    run.returns = returns.unwrap_or(function.returns);
    assert_eq!(arguments.len(), function.inputs.len(), "a call has a value for every input");
    for (id, value) in function.inputs.iter().zip(arguments) {
        run.receive(*id, value)?;
    }
    run.run().await?;
    Ok(run.result.take().map_or(Datum::Null, |(value, _)| value))
}

/// Calls a trigger's function. The row that it returns, of the table's type; `None` where it returns NULL.
///
/// # Errors
/// As [`call`]; 42804 for a row of another type.
pub async fn call_trigger<S: Spi>(
    function: &Function,
    plans: &PlanCache<S::Plan>,
    spi: &mut S,
    trigger: Trigger,
) -> SqlResult<Option<Datum>> {
    let mut run = Run::new(function, plans, spi);
    let is_row = trigger.level == "ROW";
    run.returns = trigger.row_type;
    run.receive_trigger(trigger);
    run.run().await?;
    let result = run.result.take();
    Ok(result.map(|(value, _)| value).filter(|value| is_row && !value.is_null()))
}

/// A loop that is running.
enum LoopState {
    Closed,
    Integer { next: i64, end: i64, step: i64, reverse: bool, any: bool },
    Rows(Box<RowsState>),
    Each { array: Arc<Array>, element: SqlType, slice: usize, next: usize, any: bool },
}

struct Handler {
    pc: u32,
    loop_depth: usize,
    caught: usize,
}

/// What comes after some ops.
enum Pause {
    Finished,
    /// The op at hand needs a future.
    Slow,
    Yield,
    /// An error is raised once more, with the context that it has.
    Again(SqlError),
}

pub(crate) struct Run<'a, S: Spi> {
    function: &'a Function,
    plans: &'a PlanCache<S::Plan>,
    /// Those of [`Self::plans`] that this call has used.
    local: Vec<Option<Arc<Entry<S::Plan>>>>,
    spi: &'a mut S,
    values: Vec<Datum>,
    types: Vec<SqlType>,
    pc: u32,
    loops: Vec<LoopState>,
    handlers: Vec<Handler>,
    /// The errors that are being handled, the innermost last.
    caught: Vec<SqlError>,
    returns: SqlType,
    result: Option<(Datum, SqlType)>,
    /// Of the last statement, for GET DIAGNOSTICS.
    row_count: u64,
    arguments: Vec<Datum>,
    ticks: u32,
    /// Where the call is, when it is at no op.
    at: Option<Place>,
}

impl<'a, S: Spi> Run<'a, S> {
    fn new(function: &'a Function, plans: &'a PlanCache<S::Plan>, spi: &'a mut S) -> Self {
        let types = function.variables.iter().map(|variable| match variable.kind {
            VariableKind::Scalar(ty) | VariableKind::Record(ty) => ty,
            VariableKind::Any => SqlType::Unknown,
        });
        let mut run = Self {
            function,
            plans,
            local: function.expressions.iter().map(|_| None).collect(),
            spi,
            values: vec![Datum::Null; function.variables.len()],
            types: types.collect(),
            pc: 0,
            loops: (0..function.loop_depth).map(|_| LoopState::Closed).collect(),
            handlers: Vec::new(),
            caught: Vec::new(),
            returns: function.returns,
            result: None,
            row_count: 0,
            arguments: Vec::new(),
            ticks: 0,
            at: None,
        };
        run.set_found(false);
        run
    }

    fn receive(&mut self, id: VariableId, value: Datum) -> SqlResult<()> {
        self.at = Some(Place { line: 0, what: "while storing call arguments into local variables" });
        let ty = self.types[id.index()];
        self.store(id, value, ty).map_err(|error| error.with_context(&self.context()))?;
        self.at = None;
        Ok(())
    }

    fn receive_trigger(&mut self, trigger: Trigger) {
        let Some(variables) = self.function.trigger else { return };
        for (id, row) in [(variables.new, trigger.new), (variables.old, trigger.old)] {
            // One that the operation does not have is NULL, and has the fields of the table all the same.
            self.types[id.index()] = trigger.row_type;
            self.values[id.index()] = row.unwrap_or_default();
        }
        let count = trigger.arguments.len();
        let arguments: Vec<Datum> = trigger.arguments.into_iter().map(Datum::from).collect();
        let first = variables.first.index();
        let values = [
            Datum::text(trigger.name),
            Datum::text(trigger.when),
            Datum::text(trigger.level),
            Datum::text(trigger.operation),
            Datum::Int(trigger.table_id.into()),
            Datum::text(trigger.table.clone()),
            Datum::text(trigger.table),
            Datum::text(trigger.schema),
            Datum::Int(i64::try_from(count).unwrap_or(i64::MAX)),
            // PostgreSQL counts them from 0.
            if count == 0 {
                Datum::Null
            } else {
                Datum::Array(Arc::new(Array::with_lower_bound(arguments, 0)))
            },
        ];
        for (at, value) in values.into_iter().enumerate() {
            self.values[first + at] = value;
        }
    }

    fn set_found(&mut self, found: bool) {
        self.values[self.function.found.index()] = Datum::Bool(found);
    }

    async fn run(&mut self) -> SqlResult<()> {
        loop {
            let outcome = match self.fast() {
                Ok(Pause::Finished) => return Ok(()),
                Ok(Pause::Slow) => self.slow().await,
                Ok(Pause::Yield) => {
                    yield_now().await;
                    Ok(())
                }
                Ok(Pause::Again(error)) => {
                    self.unwind(error).await?;
                    continue;
                }
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                let error = error.with_context(&self.context());
                self.unwind(error).await?;
            }
        }
    }

    /// Goes to the innermost handler.
    async fn unwind(&mut self, error: SqlError) -> SqlResult<()> {
        if self.handlers.is_empty() || !self.spi.may_catch(&error) {
            return Err(error);
        }
        let handler = self.handlers.pop().expect("looked at before");
        self.spi.rollback_subtransaction().await?;
        // The portals of the loops inside have ended with the subtransaction.
        for state in &mut self.loops[handler.loop_depth..] {
            *state = LoopState::Closed;
        }
        self.caught.truncate(handler.caught);
        self.caught.push(error);
        self.pc = handler.pc;
        self.at = None;
        Ok(())
    }

    /// Runs ops as long as they need no future.
    fn fast(&mut self) -> SqlResult<Pause> {
        let function = self.function;
        loop {
            self.ticks += 1;
            if self.ticks.is_multiple_of(INTERRUPT_OPS) {
                self.spi.check_interrupts()?;
                if self.ticks >= YIELD_OPS {
                    self.ticks = 0;
                    return Ok(Pause::Yield);
                }
            }
            match &function.code[self.pc as usize] {
                Op::Jump(to) => {
                    self.pc = *to;
                    continue;
                }
                Op::JumpUnless { condition, to } => {
                    let Some(value) = self.simple(*condition) else { return Ok(Pause::Slow) };
                    let (value, ty) = value?;
                    if !self.truth(value, ty)? {
                        self.pc = *to;
                        continue;
                    }
                }
                Op::Initialize(id) if function.variable(*id).default.is_none() => {
                    self.initialize(*id, None)?
                }
                Op::Initialize(id) => {
                    let default = function.variable(*id).default.expect("looked at before");
                    let Some(value) = self.simple(default) else { return Ok(Pause::Slow) };
                    let value = value?;
                    self.initialize(*id, Some(value))?;
                }
                Op::Assign { target, value } if target.path.is_empty() => {
                    let Some(value) = self.simple(*value) else { return Ok(Pause::Slow) };
                    let (value, ty) = value?;
                    self.store(target.variable, value, ty)?;
                }
                Op::CaseValue { variable, value } => {
                    let Some(value) = self.simple(*value) else { return Ok(Pause::Slow) };
                    let (value, ty) = value?;
                    self.store(*variable, value, ty)?;
                }
                Op::CaseNotFound => {
                    return Err(SqlError::new(SqlState::CaseNotFound, "case not found")
                        .with_hint("CASE statement is missing ELSE part."));
                }
                Op::ForNext { slot, variable, exit } => {
                    let LoopState::Integer { next, end, step, reverse, any } = &mut self.loops[*slot] else {
                        return Err(SqlError::internal("a loop goes on that has not begun"));
                    };
                    if (*reverse && *next < *end) || (!*reverse && *next > *end) {
                        self.pc = *exit;
                        continue;
                    }
                    self.values[variable.index()] = Datum::Int(*next);
                    *any = true;
                    *next += if *reverse { -*step } else { *step };
                }
                Op::EachNext { slot, into, exit } if into.path.is_empty() => {
                    let Some((value, ty)) = self.next_element(*slot)? else {
                        self.pc = *exit;
                        continue;
                    };
                    self.store(into.variable, value, ty)?;
                }
                Op::EndLoop { slot } if !matches!(self.loops[*slot], LoopState::Rows(_)) => {
                    let state = std::mem::replace(&mut self.loops[*slot], LoopState::Closed);
                    if let LoopState::Integer { any, .. } | LoopState::Each { any, .. } = state {
                        self.set_found(any);
                    }
                }
                Op::When { conditions, state, message, next } => {
                    let error = self.caught.last().expect("a handler has an error");
                    if !conditions.iter().any(|condition| catches(*condition, error.code())) {
                        self.pc = *next;
                        continue;
                    }
                    let (code, text) = (Datum::text(error.code().code()), Datum::text(error.message()));
                    self.values[state.index()] = code;
                    self.values[message.index()] = text;
                }
                Op::EndCatch => {
                    self.caught.pop();
                }
                Op::Rethrow => {
                    let error = self.caught.pop().expect("a handler has an error");
                    return Ok(Pause::Again(error));
                }
                Op::SetReturn(returned) => match returned {
                    Returned::Expression(id) => {
                        let Some(value) = self.simple(*id) else { return Ok(Pause::Slow) };
                        self.result = Some(value?);
                    }
                    other => self.result = Some(self.without_expression(other)),
                },
                Op::Return => {
                    self.at =
                        Some(Place { line: 0, what: "while casting return value to function's return type" });
                    self.finish()?;
                    return Ok(Pause::Finished);
                }
                Op::End => {
                    let what = match function.kind {
                        RoutineKind::Trigger => "control reached end of trigger procedure without RETURN",
                        _ => "control reached end of function without RETURN",
                    };
                    return Err(SqlError::new(SqlState::FunctionExecutedNoReturnStatement, what));
                }
                Op::Raise(raise) if raise.again => {
                    let Some(error) = self.caught.last() else {
                        return Err(SqlError::new(
                            SqlState::StackedDiagnosticsAccessedWithoutActiveHandler,
                            "RAISE without parameters cannot be used outside an exception handler",
                        ));
                    };
                    return Ok(Pause::Again(error.clone()));
                }
                _ => return Ok(Pause::Slow),
            }
            self.pc += 1;
        }
    }

    /// Runs the op at hand.
    async fn slow(&mut self) -> SqlResult<()> {
        let function = self.function;
        match &function.code[self.pc as usize] {
            Op::JumpUnless { condition, to } => {
                let (value, ty) = self.evaluate(*condition, None).await?;
                if !self.truth(value, ty)? {
                    self.pc = *to;
                    return Ok(());
                }
            }
            Op::Initialize(id) => {
                let value = match function.variable(*id).default {
                    Some(default) => Some(self.evaluate(default, None).await?),
                    None => None,
                };
                self.initialize(*id, value)?;
            }
            Op::Assign { target, value } => self.assign_expression(target, *value).await?,
            Op::CaseValue { variable, value } => {
                let (value, ty) = self.evaluate(*value, None).await?;
                self.store(*variable, value, ty)?;
            }
            Op::ForInit { slot, lower, upper, step, reverse } => {
                let next = self.bound(*lower, "lower bound").await?;
                let end = self.bound(*upper, "upper bound").await?;
                let step = match step {
                    Some(step) => self.bound(*step, "BY value").await?,
                    None => 1,
                };
                if step <= 0 {
                    return Err(SqlError::new(
                        SqlState::InvalidParameterValue,
                        "BY value of FOR loop must be greater than zero",
                    ));
                }
                self.loops[*slot] = LoopState::Integer { next, end, step, reverse: *reverse, any: false };
            }
            Op::RowsInit { slot, source } => self.open_loop(*slot, source).await?,
            Op::RowsNext { slot, into, exit } => {
                if !self.next_row(*slot, into).await? {
                    self.pc = *exit;
                    return Ok(());
                }
            }
            Op::EachInit { slot, array, slice, into } => self.open_each(*slot, *array, *slice, into).await?,
            Op::EachNext { slot, into, exit } => match self.next_element(*slot)? {
                Some((value, ty)) => self.assign(into, value, ty).await?,
                None => {
                    self.pc = *exit;
                    return Ok(());
                }
            },
            Op::EndLoop { slot } => self.close_loop(*slot).await?,
            Op::Try { handler, loop_depth } => {
                self.spi.begin_subtransaction().await?;
                let caught = self.caught.len();
                self.handlers.push(Handler { pc: *handler, loop_depth: *loop_depth, caught });
            }
            Op::EndTry => {
                // Should it fail, the handler is still there.
                self.spi.release_subtransaction().await?;
                self.handlers.pop();
            }
            Op::SetReturn(Returned::Expression(id)) => {
                let value = self.evaluate(*id, None).await?;
                self.result = Some(value);
            }
            Op::ReturnNext(returned) => self.return_next(returned).await?,
            Op::ReturnQuery(source) => self.return_query(source).await?,
            Op::Perform(statement) => {
                let entry = self.ready(*statement, None).await?;
                let outcome = self.execute(*statement, &entry, Keep::Count).await?;
                self.row_count = outcome.processed;
                self.set_found(outcome.processed != 0);
            }
            Op::Sql { statement, into, strict } => self.sql(*statement, into.as_ref(), *strict).await?,
            Op::Call { statement } => self.call_procedure(*statement).await?,
            Op::Execute { query, using, into, strict } => {
                self.execute_dynamic(*query, using, into.as_ref(), *strict).await?;
            }
            Op::GetDiagnostics { stacked, items } => self.get_diagnostics(*stacked, items).await?,
            Op::Raise(raise) => self.raise(raise).await?,
            Op::Assert { condition, message } => self.assert(*condition, *message).await?,
            Op::Open { cursor, source, scroll } => self.open_cursor(*cursor, source, *scroll).await?,
            Op::Fetch { cursor, direction, into } => {
                self.fetch_cursor(*cursor, *direction, into.as_ref()).await?
            }
            Op::Close { cursor } => {
                let name = self.portal_of(*cursor)?;
                self.spi.close(&name).await?;
            }
            Op::Commit { chain } => {
                self.check_no_subtransaction("commit")?;
                self.spi.commit(*chain).await?;
            }
            Op::Rollback { chain } => {
                self.check_no_subtransaction("roll back")?;
                self.spi.rollback(*chain).await?;
            }
            op => return Err(SqlError::internal(format!("{op:?} was not run"))),
        }
        self.pc += 1;
        Ok(())
    }

    fn check_no_subtransaction(&self, what: &str) -> SqlResult<()> {
        if self.handlers.is_empty() {
            return Ok(());
        }
        let message = format!("cannot {what} while a subtransaction is active");
        Err(SqlError::new(SqlState::InvalidTransactionTermination, message))
    }

    fn truth(&mut self, value: Datum, ty: SqlType) -> SqlResult<bool> {
        match value {
            Datum::Bool(value) => Ok(value),
            Datum::Null => Ok(false),
            other => Ok(self.spi.coerce(other, &ty, &SqlType::Bool)?.as_bool().unwrap_or(false)),
        }
    }

    /// A bound of an integer loop.
    async fn bound(&mut self, id: ExpressionId, what: &str) -> SqlResult<i64> {
        let (value, ty) = self.evaluate(id, None).await?;
        match self.spi.coerce(value, &ty, &SqlType::Int4)? {
            Datum::Int(value) => Ok(value),
            _ => Err(SqlError::new(
                SqlState::NullValueNotAllowed,
                format!("{what} of FOR loop cannot be null"),
            )),
        }
    }

    fn initialize(&mut self, id: VariableId, value: Option<(Datum, SqlType)>) -> SqlResult<()> {
        let variable = self.function.variable(id);
        match (value, &variable.cursor) {
            (Some((value, ty)), _) => self.store(id, value, ty),
            // A bound cursor's portal has its name.
            (None, Some(_)) => {
                self.values[id.index()] = Datum::text(variable.name.as_str());
                Ok(())
            }
            (None, None) => {
                self.values[id.index()] = Datum::Null;
                if let VariableKind::Record(ty) = variable.kind {
                    self.types[id.index()] = ty;
                }
                Ok(())
            }
        }
    }

    /// What RETURN gives without evaluating anything.
    fn without_expression(&self, returned: &Returned) -> (Datum, SqlType) {
        match returned {
            Returned::Variable(id) => (self.values[id.index()].clone(), self.types[id.index()]),
            Returned::Outputs => self.outputs(),
            Returned::Null | Returned::Expression(_) => (Datum::Null, self.returns),
        }
    }

    /// The output parameters as the function's result: one as it is, several as a record.
    fn outputs(&self) -> (Datum, SqlType) {
        if let [only] = self.function.outputs.as_slice()
            && self.function.kind != RoutineKind::Procedure
        {
            return (self.values[only.index()].clone(), self.types[only.index()]);
        }
        let fields = self.function.outputs.iter().map(|id| {
            let name = self.function.variable(*id).name.as_str();
            (Arc::from(name), self.types[id.index()])
        });
        let ty = SqlType::record_of(RowType { table: None, fields: fields.collect() });
        let values: Vec<Datum> =
            self.function.outputs.iter().map(|id| self.values[id.index()].clone()).collect();
        (Datum::Record(values.into()), ty)
    }

    /// Makes the result one of the function's type.
    fn finish(&mut self) -> SqlResult<()> {
        let Some((value, ty)) = self.result.take() else { return Ok(()) };
        if self.function.returns_set
            || matches!(self.returns, SqlType::Void) && self.function.outputs.is_empty()
        {
            self.result = Some((Datum::Null, self.returns));
            return Ok(());
        }
        let returns = self.returns;
        let is_procedure = self.function.kind == RoutineKind::Procedure;
        let value = match returns {
            _ if is_procedure => value,
            returns if returns.is_row() => {
                let mismatch = match self.function.kind {
                    RoutineKind::Trigger => {
                        "returned row structure does not match the structure of the triggering table"
                    }
                    _ => "returned record type does not match expected record type",
                };
                check_row(
                    &value,
                    ty,
                    returns,
                    mismatch,
                    "cannot return non-composite value from function returning composite type",
                )?;
                value
            }
            _ => self.spi.coerce(value, &ty, &returns)?,
        };
        let ty = if is_procedure || returns == SqlType::RECORD { ty } else { returns };
        self.result = Some((value, ty));
        Ok(())
    }
}

/// Whether a row is of the wanted type: as many fields, of the same types.
fn check_row(value: &Datum, ty: SqlType, wanted: SqlType, mismatch: &str, no_row: &str) -> SqlResult<()> {
    match value {
        Datum::Null => return Ok(()),
        Datum::Record(_) => {}
        _ => return Err(SqlError::new(SqlState::DatatypeMismatch, no_row)),
    }
    let (Some(found), Some(wanted)) = (ty.row_type(), wanted.row_type()) else { return Ok(()) };
    let found = found.fields.iter().map(|(_, ty)| *ty);
    let wanted = wanted.fields.iter().map(|(_, ty)| *ty);
    check_columns(found.collect(), wanted.collect(), mismatch)
}

fn check_columns(found: Vec<SqlType>, wanted: Vec<SqlType>, mismatch: &str) -> SqlResult<()> {
    let refuse =
        |detail: String| Err(SqlError::new(SqlState::DatatypeMismatch, mismatch).with_detail(detail));
    for (at, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
        if !found.same_base(wanted) || (found.typmod() != wanted.typmod() && wanted.typmod() != -1) {
            let (found, wanted) = (found.name(), wanted.name());
            return refuse(format!(
                "Returned type {found} does not match expected type {wanted} in column {}.",
                at + 1
            ));
        }
    }
    if found.len() != wanted.len() {
        let (found, wanted) = (found.len(), wanted.len());
        return refuse(format!(
            "Number of returned columns ({found}) does not match expected column count ({wanted})."
        ));
    }
    Ok(())
}

fn catches(condition: Condition, code: SqlState) -> bool {
    match condition {
        Condition::Others => !matches!(code, SqlState::QueryCanceled | SqlState::AssertFailure),
        Condition::State(state) if state.code().ends_with("000") => state.code()[..2] == code.code()[..2],
        Condition::State(state) => state == code,
    }
}

/// Lets other tasks run.
async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// The row type of what a statement returns.
fn row_type(columns: &[(String, SqlType)]) -> SqlType {
    let fields = columns.iter().map(|(name, ty)| (Arc::from(name.as_str()), *ty)).collect();
    SqlType::record_of(RowType { table: None, fields })
}

impl Fetched {
    fn first(self) -> (Vec<(String, SqlType)>, Option<Row>) {
        (self.columns, self.rows.into_iter().next())
    }
}
