//! Plans are run: queries to the sink, prepared statements with their arguments.

use std::sync::Arc;

use builtins::CallTypes;
use catalog::Routine;
use exec::{ExecContext, Grown, Lent, MemoryBudget, Returned, Routines, SessionState, TriggerCall, TxnSlot};
use futures::future::BoxFuture;
use plan::{Expr, PreparedPlan, StatementKind, Transition};
use types::{CastContext, Datum, SqlError, SqlResult, SqlState};

use super::{Completion, Failure, STATEMENT_MEMORY, Session};
use crate::{
    host::{SessionHost, StatementTables},
    portal::{Running, pump},
    prepared::{is_execute, yields_rows},
    session_tables::SessionTables,
    sink::Sink,
};

pub(super) struct Counts {
    pub(super) rows: u64,
    pub(super) affected: u64,
    /// Of the nodes, where they were counted.
    pub(super) stats: Option<exec::ExecStats>,
}

impl Counts {
    fn tag(&self, plan: &PreparedPlan) -> String {
        match plan.tag {
            "INSERT" => format!("INSERT 0 {}", self.affected),
            tag @ ("UPDATE" | "DELETE" | "MERGE") => format!("{tag} {}", self.affected),
            tag => format!("{tag} {}", self.rows),
        }
    }
}

/// The session's transaction and state, lent to a plan that runs: it may call routines, which run in the session. Given back
/// when it is dropped.
struct Lending<'a> {
    session: &'a mut Session,
    txn: TxnSlot,
    state: SessionState,
}

impl<'a> Lending<'a> {
    fn new(session: &'a mut Session) -> Self {
        let mut lending = Self { txn: TxnSlot::default(), state: SessionState::default(), session };
        lending.swap();
        lending
    }

    fn swap(&mut self) {
        if let Some(block) = &mut self.session.block {
            block.txn.swap(&mut self.txn);
        }
        std::mem::swap(&mut self.session.state, &mut self.state);
    }
}

impl Drop for Lending<'_> {
    fn drop(&mut self) {
        self.swap();
    }
}

/// The session while a routine runs in it that a running plan has called: what the plan has borrowed is back until this is
/// dropped.
struct Within<'a> {
    session: &'a mut Session,
    lent: Lent<'a>,
    may_end: Option<bool>,
    frozen: Option<kv::StatementMark>,
    /// The rows that the trigger around it names: nothing that it calls does.
    transitions: Arc<[Transition]>,
}

impl<'a> Within<'a> {
    fn new(session: &'a mut Session, lent: Lent<'a>) -> Self {
        let (may_end, frozen) = (session.within, session.frozen);
        let transitions = std::mem::take(&mut session.transitions);
        let mut within = Self { session, lent, may_end, frozen, transitions };
        within.swap();
        within.session.depth += 1;
        let opened = within.session.opened.take().unwrap_or_default();
        within.session.in_use.push(opened);
        within
    }

    fn swap(&mut self) {
        if let Some(block) = &mut self.session.block {
            block.txn.swap(self.lent.txn);
        }
        std::mem::swap(&mut self.session.state, self.lent.state);
    }
}

impl Drop for Within<'_> {
    fn drop(&mut self) {
        self.swap();
        self.session.depth -= 1;
        self.session.opened = self.session.in_use.pop();
        (self.session.within, self.session.frozen) = (self.may_end, self.frozen);
        self.session.transitions = std::mem::take(&mut self.transitions);
    }
}

impl Routines for Session {
    fn call<'a>(
        &'a mut self,
        lent: Lent<'a>,
        routine: &'a Arc<Routine>,
        types: &'a CallTypes,
        args: Vec<Datum>,
    ) -> BoxFuture<'a, SqlResult<Returned>> {
        Box::pin(async move {
            let within = Within::new(self, lent);
            within.session.call_function(routine, types, args).await
        })
    }

    fn fire<'a>(&'a mut self, lent: Lent<'a>, call: TriggerCall<'a>) -> BoxFuture<'a, SqlResult<Option<Datum>>> {
        Box::pin(async move {
            let within = Within::new(self, lent);
            within.session.call_trigger(call).await
        })
    }
}

impl Session {
    pub(crate) async fn execute(
        &mut self,
        plan: &Arc<PreparedPlan>,
        params: &[Datum],
        sink: &mut dyn Sink,
        describe: bool,
        limit: usize,
    ) -> Result<Completion, Failure> {
        match &plan.kind {
            StatementKind::Empty => Ok(Completion::Empty),
            StatementKind::Query { .. } => {
                self.open_for(plan).await?;
                if describe && yields_rows(plan) {
                    sink.columns(&plan.columns);
                }
                if limit > 0 {
                    let mut running = Running::new(plan, params, &self.engine.memory)?;
                    let pulled = self.pull(&mut running, limit, sink).await?;
                    if !pulled.is_done {
                        self.suspended = Some(Box::new(running));
                        return Ok(Completion::Suspended);
                    }
                    return Ok(Completion::Done(format!("{} {}", plan.tag, pulled.rows)));
                }
                let counts = self.query(plan, params, sink, false).await?;
                Ok(Completion::Done(counts.tag(plan)))
            }
            StatementKind::Ddl(ddl) => {
                let fills = matches!(&**ddl, plan::Ddl::CreateTable(create) if create.source.is_some());
                self.check_writable(if fills { "CREATE TABLE AS" } else { plan.tag })?;
                self.open_for(plan).await?;
                let is_within = self.is_change_within()?;
                let outcome = self.ddl(ddl, plan, params, sink).await;
                if is_within {
                    self.tell_change_within(plan, &outcome);
                }
                outcome
            }
            StatementKind::Utility(utility) => {
                self.authorize(plan).await?;
                Box::pin(self.utility(utility, plan, params, sink, describe)).await
            }
        }
    }

    /// As [`Session::execute`], where a future of no known size is wanted: a routine's statement may run a routine.
    pub(crate) fn execute_within<'a>(
        &'a mut self,
        plan: &'a Arc<PreparedPlan>,
        params: &'a [Datum],
        sink: &'a mut dyn Sink,
    ) -> BoxFuture<'a, Result<Completion, Failure>> {
        Box::pin(Grown::new(Box::pin(self.execute(plan, params, sink, false, 0))))
    }

    /// Runs a plan, its rows to the sink.
    pub(super) async fn query(
        &mut self,
        plan: &PreparedPlan,
        params: &[Datum],
        sink: &mut dyn Sink,
        discard: bool,
    ) -> Result<Counts, Failure> {
        let StatementKind::Query { plan: root, .. } = &plan.kind else {
            return Err(SqlError::internal("only a query is run as one").into());
        };
        self.with_exec(params, &plan.ctes, async |ctx| {
            let mut operator = if discard {
                ctx.stats = Some(exec::ExecStats::default());
                exec::build_instrumented(root)?
            } else {
                exec::build(root)?
            };
            let mut rows = 0_u64;
            if discard {
                while let Some(batch) = operator.next(ctx).await? {
                    rows += batch.len() as u64;
                }
            } else {
                rows = pump(&mut operator, &mut None, 0, sink, ctx).await?.rows;
            }
            Ok(Counts { rows, affected: ctx.affected, stats: ctx.stats.take() })
        })
        .await
    }

    /// Gives `body` what a plan needs to run in the block's transaction.
    pub(crate) async fn with_exec<T>(
        &mut self,
        params: &[Datum],
        ctes: &[Arc<plan::Plan>],
        body: impl AsyncFnOnce(&mut ExecContext<'_>) -> SqlResult<T>,
    ) -> Result<T, Failure> {
        let environment = self.environment();
        let read_only = self.settings.is_on("transaction_read_only");
        let host = SessionHost::new(environment.clone());
        let block = self.block.as_mut().expect("a block is open when a plan runs");
        let began = block.began;
        let formatting = environment.formatting_at(began);
        let memory = MemoryBudget::within(STATEMENT_MEMORY, &self.engine.memory);
        let eval = environment.eval(&formatting, &host, Some(&memory));
        let shared = block.shared_catalog();
        match self.frozen {
            Some(mark) => block.txn.resume_statement(mark),
            None => block.txn.begin_statement(),
        }
        block.has_run = true;
        let prepared = self.prepared.clone();
        let session_tables = SessionTables {
            host: &host,
            sessions: &environment.sessions,
            prepared: &prepared,
            cursors: self.portals.cursors(),
            began,
        };
        let tables = StatementTables::new(&environment.store, &environment.view, session_tables, shared);
        let (database, cancel) = (self.database, self.cancel.clone());
        let transitions = self.transitions.clone();
        let mut lending = Lending::new(self);
        let Lending { session, txn, state } = &mut lending;
        let mut ctx = ExecContext {
            txn: Some(txn),
            routines: Some(&mut **session),
            params,
            eval: &eval,
            catalog: &environment.view.catalog,
            ctes: Default::default(),
            cte_plans: ctes,
            outer: Vec::new(),
            virtual_tables: &tables,
            state,
            database,
            user: environment.user_id,
            memory: memory.clone(),
            cancel: cancel.clone(),
            read_only,
            stats: None,
            affected: 0,
            subqueries: exec::SubqueryCache::default(),
            foreign: exec::ForeignQueue::default(),
            looked_at: Vec::new(),
            after: exec::AfterTriggers::default(),
            transitions: &transitions,
            have_routines_written: false,
        };
        // Only reads and locks are cut short here; a commit is never left half way.
        let outcome = tokio::select! {
            biased;
            outcome = body(&mut ctx) => outcome,
            error = cancel.cancelled() => Err(error),
        };
        drop(ctx);
        drop(lending);
        let changed = std::mem::take(&mut *host.changed.lock());
        match outcome {
            Ok(value) => {
                if let Some(block) = &mut self.block {
                    block.count_written(&self.engine.memory)?;
                }
                for (name, setting, local) in changed {
                    self.set(&name, Some(&setting), local)?;
                }
                Ok(value)
            }
            Err(error) => Err(Failure::Sql(error)),
        }
    }

    pub(super) async fn execute_named(
        &mut self,
        name: &str,
        args: &[Expr],
        params: &[Datum],
        sink: &mut dyn Sink,
        describe: bool,
    ) -> Result<Completion, Failure> {
        let (plan, values) = Box::pin(self.named(name, args, params)).await?;
        Box::pin(self.execute(&plan, &values, sink, describe, 0)).await
    }

    /// What EXECUTE runs, and the values of its parameters.
    pub(super) async fn named(
        &mut self,
        name: &str,
        args: &[Expr],
        params: &[Datum],
    ) -> Result<(Arc<PreparedPlan>, Vec<Datum>), Failure> {
        let prepared = self.prepared(name)?;
        // The protocol prepares every statement, EXECUTE of itself too.
        if is_execute(&prepared.plan) {
            let message =
                format!("prepared statement \"{name}\" executes another, and cannot be executed itself");
            return Err(SqlError::new(SqlState::StatementTooComplex, message).into());
        }
        if args.len() != prepared.plan.params.len() {
            return Err(SqlError::new(
                SqlState::SyntaxError,
                format!("wrong number of parameters for prepared statement \"{name}\""),
            )
            .with_detail(format!(
                "Expected {} parameters but got {}.",
                prepared.plan.params.len(),
                args.len()
            ))
            .into());
        }
        let opened = self.block.is_none();
        if opened {
            self.open_block(false);
        }
        let formatting = self.settings.formatting.clone();
        let wanted = prepared.plan.params.clone();
        let values = self
            .with_exec(params, &[], async |ctx| {
                let scope = ctx.scope();
                args.iter()
                    .zip(&wanted)
                    .map(|(arg, ty)| {
                        let value = exec::eval_row(arg, &[], &scope)?;
                        types::cast(value, &arg.ty(), &ty.base(), CastContext::Assignment, &formatting)
                    })
                    .collect::<SqlResult<Vec<Datum>>>()
            })
            .await?;
        let plan = match &prepared.statement {
            Some(statement) if !self.still_holds(&prepared) => self.plan_again(statement, &prepared.plan)?,
            _ => prepared.plan,
        };
        Ok((plan, values))
    }
}
