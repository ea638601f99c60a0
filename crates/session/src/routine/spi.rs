//! What PL/pgSQL asks of the database, answered by the session in the transaction of the statement at hand.
//!
//! | `Spi` | made of |
//! | --- | --- |
//! | prepare | planning, with the body's variables as parameters |
//! | `evaluate_simple` | [`exec::eval_row`] over the one expression |
//! | execute | a plan run as a statement of its own, which sees what those before it have written |
//! | portals | cursors among the session's own |
//! | subtransactions | savepoints without a name |
//!
//! **Invariant (not-run-again):** once a routine has ended a transaction, its statement is not run again, whatever the
//! next one loses to.

use std::cell::RefCell;
use std::sync::Arc;

use builtins::EvalContext;
use exec::{EvalScope, MemoryBudget, NodeReservation, Reservation};
use plan::routine::{Does, moved_back, only_expression, what_it_does};
use plan::statement::{FetchDirection, Scroll};
use plan::{Expr, ParsedStatement, PreparedPlan, StatementKind, VariableSource};
use plpgsql::{
    CallOutput, Command, Direction, Fetched, Keep, Outcome, PortalOptions, Prepared, RaiseLevel, Request, Row, Spi, TextKind,
    VariableConflict, Variables,
};
use types::{Datum, Formatting, SqlError, SqlResult, SqlState, SqlType};

use super::collect::{Collect, CollectBatches};
use crate::{
    cursor::{Cursor, Nowhere},
    environment::Environment,
    host::SessionHost,
    plan_cache::Scope,
    portal::{Portal, Running},
    session::{Completion, Failure, STATEMENT_MEMORY, Session},
    sink::{Severity, Sink},
    text_size,
};

/// A text that is ready to run.
pub(crate) struct RoutinePlan {
    scope: Arc<Scope>,
    source: Arc<str>,
    kind: PlanKind,
    /// What a long one takes of the node's memory.
    _memory: Option<NodeReservation>,
}

enum PlanKind {
    One {
        statement: Box<ParsedStatement>,
        plan: Arc<PreparedPlan>,
        /// What it consists of, where that can be evaluated by itself.
        simple: Option<Expr>,
    },
    /// The statements of EXECUTE, none or more than one: each is planned when those before it have run.
    Many { statements: Vec<ParsedStatement>, parameters: Vec<SqlType> },
}

/// The variables of a body, as planning asks for them.
struct Names<'v, 'a>(RefCell<&'v mut Variables<'a>>);

impl VariableSource for Names<'_, '_> {
    fn resolve(&self, parts: &[&str], is_column: bool) -> SqlResult<Option<(usize, SqlType)>> {
        self.0.borrow_mut().resolve(parts, is_column)
    }

    fn positional(&self, number: usize) -> Option<(usize, SqlType)> {
        self.0.borrow_mut().positional(number)
    }

    fn conflict(&self) -> plan::VariableConflict {
        match self.0.borrow().conflict() {
            VariableConflict::Error => plan::VariableConflict::Error,
            VariableConflict::UseVariable => plan::VariableConflict::UseVariable,
            VariableConflict::UseColumn => plan::VariableConflict::UseColumn,
        }
    }
}

/// The values of USING.
struct Numbered<'a>(&'a [SqlType]);

impl VariableSource for Numbered<'_> {
    fn resolve(&self, _parts: &[&str], _is_column: bool) -> SqlResult<Option<(usize, SqlType)>> {
        Ok(None)
    }

    fn positional(&self, number: usize) -> Option<(usize, SqlType)> {
        let at = number.checked_sub(1)?;
        Some((at, *self.0.get(at)?))
    }

    fn conflict(&self) -> plan::VariableConflict {
        plan::VariableConflict::UseColumn
    }
}

pub(crate) struct SessionSpi<'a> {
    pub(super) session: &'a mut Session,
    /// Where notices go.
    client: Option<&'a mut dyn Sink>,
    /// It may commit and roll back.
    may_end: bool,
    /// It may change data.
    is_volatile: bool,
    environment: Arc<Environment>,
    host: SessionHost,
    formatting: Formatting,
    /// When the transaction and the statement began, microseconds since 2000.
    began: i64,
    now: i64,
    memory: MemoryBudget,
    /// How many savepoints there were before each of the routine's own.
    savepoints: Vec<usize>,
    /// What a set consists of so far.
    pub rows: Vec<Row>,
    row_memory: Reservation,
}

impl<'a> SessionSpi<'a> {
    pub fn new(session: &'a mut Session, client: Option<&'a mut dyn Sink>, may_end: bool, is_volatile: bool) -> Self {
        let environment = session.environment();
        let now = SessionHost::now_micros(&session.engine.clock);
        let began = session.block.as_ref().map_or(now, |block| block.began);
        let memory = MemoryBudget::within(STATEMENT_MEMORY, &session.engine.memory);
        Self {
            client,
            may_end,
            is_volatile,
            host: SessionHost::new(environment.clone()),
            formatting: environment.formatting_at(began),
            environment,
            began,
            now,
            row_memory: memory.reservation(),
            memory,
            savepoints: Vec::new(),
            rows: Vec::new(),
            session,
        }
    }

    /// After what may have changed settings or the catalog.
    fn renew(&mut self) {
        let environment = self.session.environment();
        let began = self.session.block.as_ref().map_or(self.began, |block| block.began);
        if !Arc::ptr_eq(&environment, &self.environment) || began != self.began {
            self.began = began;
            self.host = SessionHost::new(environment.clone());
            self.formatting = environment.formatting_at(began);
            self.environment = environment;
        }
    }

    pub(super) fn scope(&self) -> Arc<Scope> {
        self.environment.scope.clone()
    }

    pub(super) fn formatting_now(&self) -> &Formatting {
        &self.formatting
    }

    /// Gives notices to the client, or leaves them for whoever can.
    fn tell(&mut self, notices: Vec<(Severity, SqlError)>) {
        self.session.noticed_bytes += notices.iter().map(|(_, notice)| notice.message().len() + NOTICE_BYTES).sum::<usize>();
        // Those of functions that the statement has called came before.
        let all = self.session.notices.drain(..).chain(notices);
        match &mut self.client {
            Some(client) => all.for_each(|(severity, notice)| client.notice(severity, notice)),
            None => self.session.notices = all.collect(),
        }
    }

    /// # Errors
    /// 0A000 for what changes anything in a function that is not volatile.
    fn check_volatile(&self, plan: &PreparedPlan, statement: &ParsedStatement) -> SqlResult<()> {
        let changes = match &plan.kind {
            StatementKind::Query { writes, .. } => *writes,
            StatementKind::Ddl(_) => true,
            StatementKind::Utility(utility) => {
                !matches!(**utility, plan::Utility::Show(_) | plan::Utility::ShowAll | plan::Utility::Explain { .. })
            }
            StatementKind::Empty => false,
        };
        if self.is_volatile || !changes {
            return Ok(());
        }
        let tag = if plan.tag.is_empty() { statement.tag() } else { plan.tag };
        Err(SqlError::not_supported(format!("{tag} is not allowed in a non-volatile function")))
    }

    pub(super) async fn run_one(
        &mut self,
        plan: &Arc<PreparedPlan>,
        values: &[Datum],
        keep: Keep,
        statement: &ParsedStatement,
    ) -> SqlResult<Outcome> {
        self.check_volatile(plan, statement)?;
        // PL/pgSQL has commands of its own for these; what EXECUTE reads comes here.
        match what_it_does(statement, plan) {
            Does::Transaction => return Err(SqlError::not_supported("EXECUTE of transaction commands is not implemented")),
            Does::Copy => return Err(SqlError::not_supported("cannot COPY to/from client in PL/pgSQL")),
            _ => {}
        }
        let mut collect = Collect::new(keep, self.memory.reservation());
        let outcome = match &plan.kind {
            StatementKind::Query { writes, .. } => {
                self.session.query_into(plan, values, *writes, &mut collect).await.map_err(Failure::into_sql)
            }
            _ => {
                let may_end = self.may_end && self.savepoints.is_empty();
                let around = self.session.within.replace(may_end);
                let outcome = self.session.execute_within(plan, values, &mut collect).await;
                self.session.within = around;
                outcome.map_err(Failure::into_sql).and_then(processed)
            }
        };
        self.tell(std::mem::take(&mut collect.notices));
        self.renew();
        let affected = outcome?;
        Ok(Outcome { processed: affected.unwrap_or(collect.processed), rows: collect.rows })
    }

    fn plan(&self, statement: &ParsedStatement, variables: &dyn VariableSource) -> SqlResult<PreparedPlan> {
        self.session.plan_among(statement, &[], Some(variables))
    }

    /// Rows that loops still read are worked out before the transaction ends.
    async fn hold_loops(&mut self) -> SqlResult<()> {
        for name in self.session.loops.clone() {
            let Some(mut portal) = self.session.portals.remove(&name) else { continue };
            let held = match portal.cursor() {
                Some(cursor) => cursor.materialize(self.session).await.map_err(Failure::into_sql),
                None => Ok(()),
            };
            self.session.portals.insert(&name, portal);
            held?;
            self.session.portals.hold(&name);
        }
        Ok(())
    }

    fn check_may_end(&self) -> SqlResult<()> {
        if self.may_end {
            return Ok(());
        }
        Err(SqlError::new(SqlState::InvalidTransactionTermination, "invalid transaction termination"))
    }

    /// The next transaction, in the modes of the one before if there are any.
    fn begin_next(&mut self, modes: Option<Vec<(&'static str, String)>>) -> SqlResult<()> {
        self.session.open_next();
        for (mode, value) in modes.into_iter().flatten() {
            self.session.set_mode(mode, &value)?;
        }
        self.renew();
        Ok(())
    }

    fn new_portal_name(&self) -> String {
        let names = (1..).map(|number| format!("<unnamed portal {number}>"));
        let mut free = names.skip_while(|name| self.session.portals.contains(name));
        free.next().expect("there are names without end")
    }
}

/// How many rows a statement has processed that is no query, where its tag says so.
fn processed(completion: Completion) -> SqlResult<Option<u64>> {
    match completion {
        Completion::Done(tag) => Ok(Some(tag.rsplit(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0))),
        Completion::Empty => Ok(Some(0)),
        Completion::CopyIn(_) | Completion::CopyOut(_) => {
            Err(SqlError::not_supported("cannot COPY to/from client in PL/pgSQL"))
        }
        Completion::Suspended => Err(SqlError::internal("a statement stopped that has no limit")),
    }
}

const fn command(does: Does) -> Command {
    match does {
        Does::Select => Command::Select,
        Does::SelectInto => Command::SelectInto,
        Does::Insert => Command::Insert,
        Does::Update => Command::Update,
        Does::Merge => Command::Merge,
        Does::Delete => Command::Delete,
        Does::Call => Command::Call,
        Does::Copy => Command::Copy,
        Does::Transaction => Command::Transaction,
        Does::Other => Command::Utility,
    }
}

const fn severity(level: RaiseLevel) -> Severity {
    match level {
        RaiseLevel::Debug => Severity::Debug,
        RaiseLevel::Log => Severity::Log,
        RaiseLevel::Info => Severity::Info,
        RaiseLevel::Warning => Severity::Warning,
        RaiseLevel::Notice | RaiseLevel::Exception => Severity::Notice,
    }
}

const fn direction(direction: Direction) -> FetchDirection {
    match direction {
        Direction::Forward(count) if count < 0 => FetchDirection::Backward(count.unsigned_abs()),
        Direction::Forward(count) => FetchDirection::Forward(count.unsigned_abs()),
        Direction::Backward(count) if count < 0 => FetchDirection::Forward(count.unsigned_abs()),
        Direction::Backward(count) => FetchDirection::Backward(count.unsigned_abs()),
        Direction::Absolute(at) => FetchDirection::Absolute(at),
        Direction::Relative(by) => FetchDirection::Relative(by),
        Direction::ForwardAll => FetchDirection::ForwardAll,
        Direction::BackwardAll => FetchDirection::BackwardAll,
    }
}

fn columns_of(plan: &PreparedPlan) -> Vec<(String, SqlType)> {
    plan.columns.iter().map(|column| (column.name.clone(), column.ty)).collect()
}

/// Where CALL in a body puts what output parameters become.
fn outputs_of(plan: &PreparedPlan) -> Vec<CallOutput> {
    let StatementKind::Utility(utility) = &plan.kind else { return Vec::new() };
    let plan::Utility::Call(call) = &**utility else { return Vec::new() };
    let outputs = call.routine.parameters.iter().zip(&call.args).filter(|(parameter, _)| parameter.mode.is_output());
    let output = |(parameter, arg): (&catalog::RoutineParameter, &Expr)| CallOutput {
        name: (!parameter.name.is_empty()).then(|| parameter.name.clone()),
        parameter: match arg {
            Expr::Param(at, _) => Some(*at),
            _ => None,
        },
    };
    outputs.map(output).collect()
}

const SELECT: &str = "SELECT ";

/// What the notices of a statement may take until it ends: clients are told of them then.
const NOTICES_MAX_BYTES: usize = 16 << 20;
/// About what a notice takes beside its message.
const NOTICE_BYTES: usize = 128;

/// About what a row takes.
fn row_bytes(row: &Row) -> usize {
    let heap = row.iter().map(|datum| match datum {
        Datum::Text(text) | Datum::Json(text) => text.len(),
        Datum::Bytes(bytes) => bytes.len(),
        Datum::Array(array) => array.elements().len() * 2 * size_of::<Datum>(),
        Datum::Record(fields) => fields.len() * 2 * size_of::<Datum>(),
        Datum::Null | Datum::Bool(_) | Datum::Int(_) | Datum::Float(_) => 0,
        Datum::Range(_) | Datum::MultiRange(_) | Datum::Jsonb(_) | Datum::Bits(_) | Datum::Geometry(_)
        | Datum::TsVector(_) | Datum::TsQuery(_) | Datum::JsonPath(_) => datum.heap_bytes(),
        _ => 64,
    });
    size_of::<Row>() + row.len() * size_of::<Datum>() + heap.sum::<usize>()
}

impl Spi for SessionSpi<'_> {
    type Plan = RoutinePlan;

    async fn prepare(
        &mut self,
        request: Request<'_>,
        variables: &mut Variables<'_>,
    ) -> SqlResult<Prepared<RoutinePlan>> {
        let is_expression = request.kind != TextKind::Statement;
        let text: Arc<str> =
            if is_expression { format!("{SELECT}{}", request.text).into() } else { request.text.into() };
        let back = |error| if is_expression { moved_back(error, SELECT.len()) } else { error };
        let memory = text_size::reserve(&self.session.engine.memory, &text)?;
        let parse = || plan::parse(&text);
        let mut statements = if memory.is_some() { exec::aside(parse) } else { parse() }.map_err(back)?;
        for notice in statements.iter().flat_map(|statement| statement.notices.clone()) {
            self.notice(RaiseLevel::Notice, SqlError::new(SqlState::NameTooLong, notice));
        }
        let scope = self.environment.scope.clone();
        if statements.len() != 1 {
            let mut parameters = Vec::new();
            while let Some((_, ty)) = variables.positional(parameters.len() + 1) {
                parameters.push(ty);
            }
            let kind = PlanKind::Many { statements, parameters };
            return Ok(Prepared {
                plan: RoutinePlan { scope, source: text, kind, _memory: memory },
                columns: Vec::new(),
                command: Command::Utility,
                is_simple: false,
                outputs: Vec::new(),
            });
        }
        let statement = Box::new(statements.remove(0));
        let plan = self.plan(&statement, &Names(RefCell::new(variables))).map_err(back)?;
        let simple = only_expression(&plan).filter(|expr| is_expression && exec::is_simple(expr)).cloned();
        Ok(Prepared {
            columns: columns_of(&plan),
            command: command(what_it_does(&statement, &plan)),
            is_simple: simple.is_some(),
            outputs: outputs_of(&plan),
            plan: RoutinePlan {
                scope,
                source: text,
                kind: PlanKind::One { statement, plan: Arc::new(plan), simple },
                _memory: memory,
            },
        })
    }

    fn is_current(&self, plan: &RoutinePlan) -> bool {
        match &plan.kind {
            PlanKind::One { plan: prepared, .. } => {
                self.session.is_current(prepared) && plan.scope.has_path_of(&self.environment.scope)
            }
            PlanKind::Many { .. } => true,
        }
    }

    fn evaluate_simple(&mut self, plan: &RoutinePlan, values: &[Datum]) -> SqlResult<Datum> {
        let PlanKind::One { simple: Some(expr), .. } = &plan.kind else {
            return Err(SqlError::internal("an expression that is not simple was evaluated as one"));
        };
        let eval = self.environment.eval(&self.formatting, &self.host, Some(&self.memory));
        let eval = EvalContext { statement_timestamp: self.now, ..eval };
        let scope =
            EvalScope { params: values, outer: &[], eval: &eval, memory: Some(&self.memory), made_max: usize::MAX };
        exec::eval_row(expr, &[], &scope)
    }

    async fn execute(&mut self, plan: &RoutinePlan, values: &[Datum], keep: Keep) -> SqlResult<Outcome> {
        match &plan.kind {
            PlanKind::One { plan, statement, .. } => self.run_one(plan, values, keep, statement).await,
            PlanKind::Many { statements, parameters } => {
                let mut outcome = Outcome::default();
                for statement in statements {
                    let plan = Arc::new(self.plan(statement, &Numbered(parameters))?);
                    outcome = self.run_one(&plan, values, keep, statement).await?;
                }
                Ok(outcome)
            }
        }
    }

    async fn open(
        &mut self,
        plan: &RoutinePlan,
        values: &[Datum],
        options: PortalOptions<'_>,
    ) -> SqlResult<String> {
        let PlanKind::One { plan: prepared, .. } = &plan.kind else {
            let message = "cannot open multi-query plan as cursor";
            return Err(SqlError::new(SqlState::InvalidCursorDefinition, message));
        };
        let name = options.name.map_or_else(|| self.new_portal_name(), str::to_owned);
        if self.session.portals.contains(&name) {
            let message = format!("cursor \"{name}\" already exists");
            return Err(SqlError::new(SqlState::DuplicateCursor, message));
        }
        let scroll = match options.scroll {
            Some(true) => Scroll::Yes,
            Some(false) => Scroll::No,
            None if options.is_loop => Scroll::No,
            None => Scroll::IfSmall,
        };
        let cursor = match &prepared.kind {
            StatementKind::Query { writes: false, .. } => {
                let running = self.session.open_running(prepared, values).await;
                running.map(|running| Cursor::new(running, scroll, false, &self.session.engine.memory))
            }
            _ => {
                let mut kept = CollectBatches::new(self.memory.reservation());
                let outcome = self.session.execute_within(prepared, values, &mut kept).await;
                self.tell(std::mem::take(&mut kept.notices));
                outcome.and_then(|_| Ok(Cursor::of_rows(kept.batches, scroll, &self.session.engine.memory)?))
            }
        };
        let cursor = cursor.map_err(Failure::into_sql)?;
        let portal = Portal::for_cursor(prepared.clone(), plan.scope.clone(), plan.source.clone(), self.now, cursor);
        self.session.portals.insert(&name, portal);
        if options.is_loop {
            self.session.loops.push(name.clone());
        }
        self.renew();
        Ok(name)
    }

    fn has_portal(&self, name: &str) -> bool {
        self.session.portals.contains(name)
    }

    async fn fetch(&mut self, name: &str, to: Direction, keep: bool) -> SqlResult<Fetched> {
        // Taken out, for its rows are read through the session.
        self.session.keep_held_in_place(Some(name));
        let Some(mut portal) = self.session.portals.remove(name) else {
            let message = format!("cursor \"{name}\" does not exist");
            return Err(SqlError::new(SqlState::InvalidCursorName, message));
        };
        let mut collect = Collect::new(Keep::All, self.memory.reservation());
        let columns = columns_of(&portal.prepared.plan);
        let outcome = match self.session.cursor_of(&mut portal, name).await {
            Err(failure) => Err(failure.into_sql()),
            Ok(cursor) if keep => {
                cursor.go(direction(to), self.session, &mut collect).await.map_err(Failure::into_sql)
            }
            Ok(cursor) => cursor.go(direction(to), self.session, &mut Nowhere).await.map_err(Failure::into_sql),
        };
        self.session.portals.insert(name, portal);
        self.tell(std::mem::take(&mut collect.notices));
        Ok(Fetched { columns, processed: outcome?, rows: collect.rows })
    }

    async fn close(&mut self, name: &str) -> SqlResult<()> {
        self.session.keep_held_in_place(Some(name));
        self.session.portals.remove(name);
        self.session.loops.retain(|known| known != name);
        Ok(())
    }

    async fn begin_subtransaction(&mut self) -> SqlResult<()> {
        let before = self.session.push_savepoint(None)?;
        self.savepoints.push(before);
        Ok(())
    }

    async fn release_subtransaction(&mut self) -> SqlResult<()> {
        if let Some(at) = self.savepoints.pop() {
            self.session.release_savepoints(at);
        }
        Ok(())
    }

    async fn rollback_subtransaction(&mut self) -> SqlResult<()> {
        if let Some(at) = self.savepoints.pop() {
            self.session.back_to_savepoint(at);
            self.session.release_savepoints(at);
            let portals = &self.session.portals;
            self.session.loops.retain(|name| portals.contains(name));
            self.renew();
        }
        Ok(())
    }

    fn may_catch(&self, error: &SqlError) -> bool {
        !exec::loses_transaction(error) && error.code() != SqlState::AdminShutdown
    }

    async fn commit(&mut self, chain: bool) -> SqlResult<()> {
        self.check_may_end()?;
        let modes = chain.then(|| self.session.modes());
        self.hold_loops().await?;
        self.session.commit().await.map_err(Failure::into_sql)?;
        self.begin_next(modes)
    }

    async fn rollback(&mut self, chain: bool) -> SqlResult<()> {
        self.check_may_end()?;
        let modes = chain.then(|| self.session.modes());
        self.hold_loops().await?;
        self.session.rollback().await;
        self.begin_next(modes)
    }

    fn notice(&mut self, level: RaiseLevel, notice: SqlError) {
        let severity = severity(level);
        if level == RaiseLevel::Log {
            tracing::info!(message = notice.message(), "a routine says");
        }
        if self.session.wants(severity) {
            self.tell(vec![(severity, notice)]);
        }
    }

    fn return_row(&mut self, row: Row) -> SqlResult<()> {
        self.row_memory.grow(row_bytes(&row))?;
        self.rows.push(row);
        Ok(())
    }

    fn formatting(&self) -> &Formatting {
        &self.formatting
    }

    fn check_interrupts(&mut self) -> SqlResult<()> {
        if self.session.noticed_bytes > NOTICES_MAX_BYTES {
            let message = format!("a statement may send notices of {NOTICES_MAX_BYTES} bytes in all");
            return Err(SqlError::new(SqlState::ProgramLimitExceeded, message));
        }
        self.session.check_cancelled()
    }

    fn callers_context(&self) -> Option<String> {
        None
    }
}

impl Session {
    /// Runs a query of a routine.
    pub(super) async fn query_into(
        &mut self,
        plan: &PreparedPlan,
        values: &[Datum],
        writes: bool,
        collect: &mut Collect,
    ) -> Result<Option<u64>, Failure> {
        let StatementKind::Query { plan: root, .. } = &plan.kind else {
            return Err(SqlError::internal("only a query is run as one").into());
        };
        self.open_for(plan).await?;
        self.with_exec(values, &plan.ctes, async |ctx| {
            let mut operator = exec::build(root)?;
            while let Some(batch) = operator.next(ctx).await? {
                collect.add(&batch, 0..batch.len())?;
                if !writes && collect.is_full() {
                    break;
                }
            }
            Ok(matches!(plan.tag, "INSERT" | "UPDATE" | "DELETE" | "MERGE").then_some(ctx.affected))
        })
        .await
    }

    /// A query that is read on demand, from now on in what it sees.
    pub(crate) async fn open_running(
        &mut self,
        plan: &Arc<PreparedPlan>,
        params: &[Datum],
    ) -> Result<Box<Running>, Failure> {
        self.open_for(plan).await?;
        self.resolve_check().await?;
        let mut running = Running::new(plan, params, &self.engine.memory)?;
        // It sees what its transaction has written until now, whenever it is read.
        running.statement = Some(self.with_exec(params, &[], async |ctx| Ok(ctx.txn()?.statement())).await?);
        Ok(Box::new(running))
    }
}
