//! A connection's statements, one after another, and the transaction they run in.
//!
//! ```text
//!  no block ── BEGIN ──▶ in block ── error ──▶ failed ── ROLLBACK ──▶ no block
//! ```
//! Outside a block each statement is a transaction. A statement that loses to another transaction runs again inside
//! the server, as long as nothing of its transaction has been answered; after that the client is told 40001.
//!
//! **Invariant (answered-once):** a statement's rows reach the sink of one attempt only; an attempt that is run again
//! has had its rows taken back.

mod analyze;

pub use analyze::keep_statistics;

use std::{sync::Arc, time::Duration};

use builtins::EvalContext;
use catalog::{CatalogChange, CatalogSnapshot, CatalogStore, CatalogView};
use exec::{CancelFlag, ExecContext, MemoryBudget, SequenceState};
use keys::Span;
use kv::{Savepoint, Txn, TxnOptions};
use parking_lot::Mutex;
use plan::{
    Expr, ParsedStatement, PlanContext, PreparedPlan, StatementKind, Utility,
    statement::{DiscardKind, IsolationLevel, TransactionModes},
};
use rustc_hash::FxHashMap;
use types::{Batch, CastContext, Datum, SqlError, SqlResult, SqlState, SqlType};

use crate::{
    copy::CopyIn,
    cursor::CursorOptions,
    environment::Environment,
    host::{SessionHost, StatementTables},
    portal::{Portals, Running, pump},
    prepared::{UNCOMMITTED, is_execute, yields_rows},
    session_tables::SessionTables,
    settings::{self, Settings},
    sink::{Severity, Sink, send},
};

/// A statement is run again inside the server at most this often.
const MAX_ATTEMPTS: usize = 100;
pub(crate) const STATEMENT_MEMORY: usize = 1 << 30;

/// What all sessions of a node share.
#[derive(Clone)]
pub struct Engine {
    pub catalog: CatalogStore,
    pub clock: Arc<hlc::Clock>,
    pub seed: u64,
}

/// How a statement ended.
pub enum Completion {
    /// With this command tag.
    Done(String),
    /// The text was empty.
    Empty,
    /// It waits for data from the client.
    CopyIn(Box<CopyIn>),
    /// COPY TO: the rows went to the sink; this is the tag.
    CopyOut(String),
    /// As many rows as were asked for went to the sink; the rest waits in the portal.
    Suspended,
}

/// When a transaction that no BEGIN has opened is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With the statement: nothing else belongs to it.
    WithStatement,
    /// By [`Session::end_implicit`]: others of the same query string, or before the same Sync, may follow.
    Later,
}

pub(crate) struct Block {
    txn: Txn,
    snapshot: Arc<CatalogSnapshot>,
    change: Option<CatalogChange>,
    garbage: Vec<Span>,
    splits: Vec<keys::Key>,
    savepoints: Vec<NamedSavepoint>,
    /// The settings that a rollback goes back to, once one has been changed.
    settings: Option<Settings>,
    /// Microseconds since 2000.
    began: i64,
    /// Statements that have been answered in it.
    answered: usize,
    failed: bool,
    explicit: bool,
}

/// What ROLLBACK TO goes back to.
struct NamedSavepoint {
    name: String,
    savepoint: Savepoint,
    change: Option<CatalogChange>,
    settings: Settings,
    local: Vec<(String, Option<String>)>,
    portals: u64,
    /// How much there was to do after the commit.
    garbage: usize,
    splits: usize,
}

/// A named statement.
#[derive(Clone)]
pub struct Prepared {
    pub statement: Option<Arc<ParsedStatement>>,
    pub hints: Arc<[Option<SqlType>]>,
    pub plan: Arc<PreparedPlan>,
}

pub struct Session {
    pub(crate) engine: Engine,
    pub settings: Settings,
    pub(crate) database: u32,
    pub(crate) database_name: String,
    pub(crate) user: u32,
    pub(crate) user_name: String,
    pub(crate) pid: i32,
    pub(crate) block: Option<Block>,
    prepared: FxHashMap<String, Prepared>,
    sequences: SequenceState,
    cancel: CancelFlag,
    /// Values from before SET LOCAL, to go back to.
    local: Vec<(String, Option<String>)>,
    pub(crate) portals: Portals,
    /// Left by a query that has stopped at its limit, for its portal.
    pub(crate) suspended: Option<Box<Running>>,
    /// The environment of the last statement.
    pub(crate) environment: Mutex<Option<Arc<Environment>>>,
}

/// The letter of ReadyForQuery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    Idle,
    InBlock,
    Failed,
}

impl Session {
    /// # Errors
    /// 3D000 or 28000 when there is no such database or role.
    pub async fn connect(engine: Engine, user: &str, database: &str, pid: i32) -> SqlResult<Self> {
        let mut catalog = engine.catalog.current();
        if catalog.database(database).is_none() || catalog.role(user).is_none() {
            catalog = engine.catalog.refresh().await.map_err(catalog_error)?;
        }
        let Some(role) = catalog.role(user).filter(|role| role.login) else {
            return Err(SqlError::new(
                SqlState::InvalidAuthorizationSpecification,
                format!("role \"{user}\" does not exist"),
            ));
        };
        let Some(found) = catalog.database(database) else {
            return Err(SqlError::new(
                SqlState::InvalidCatalogName,
                format!("database \"{database}\" does not exist"),
            ));
        };
        Ok(Self {
            database: found.id,
            database_name: database.to_owned(),
            user: role.id,
            user_name: user.to_owned(),
            engine,
            settings: Settings::default(),
            pid,
            block: None,
            prepared: FxHashMap::default(),
            sequences: SequenceState::default(),
            cancel: CancelFlag::default(),
            local: Vec::new(),
            portals: Portals::default(),
            suspended: None,
            environment: Mutex::default(),
        })
    }

    /// Stops the running statement when it is set.
    #[must_use]
    pub fn cancel_flag(&self) -> CancelFlag {
        self.cancel.clone()
    }

    #[must_use]
    pub fn status(&self) -> TransactionStatus {
        match &self.block {
            Some(block) if block.explicit && block.failed => TransactionStatus::Failed,
            Some(block) if block.explicit => TransactionStatus::InBlock,
            Some(_) | None => TransactionStatus::Idle,
        }
    }

    pub(crate) fn catalog(&self) -> Arc<CatalogSnapshot> {
        match &self.block {
            Some(block) => match &block.change {
                Some(change) => Arc::new(change.snapshot().clone()),
                None => block.snapshot.clone(),
            },
            None => self.engine.catalog.current(),
        }
    }

    /// Plans a statement against the catalog as this session sees it.
    ///
    /// # Errors
    /// What is wrong with the statement.
    pub fn plan(&self, statement: &ParsedStatement, hints: &[Option<SqlType>]) -> SqlResult<PreparedPlan> {
        let environment = self.environment();
        let host = SessionHost::new(environment.clone());
        let now = SessionHost::now_micros(&self.engine.clock);
        let formatting = environment.formatting_at(self.block.as_ref().map_or(now, |block| block.began));
        let eval = EvalContext {
            transaction_timestamp: formatting.now,
            statement_timestamp: now,
            formatting: &formatting,
            host: &host,
            catalog: &*environment.view,
        };
        let context = PlanContext {
            catalog: &environment.view.catalog,
            database: self.database,
            search_path: &self.settings.search_path,
            user: &self.user_name,
            param_types: hints,
            eval: &eval,
            formatting: &formatting,
        };
        let mut plan = plan::plan_statement(statement, &context)?;
        if self.has_changed_catalog() {
            plan.catalog_version = UNCOMMITTED;
        }
        self.describe_by_name(&mut plan);
        Ok(plan)
    }

    pub(crate) fn has_changed_catalog(&self) -> bool {
        self.block.as_ref().is_some_and(|block| block.change.is_some())
    }

    /// The settings of text output, with names for oids.
    #[must_use]
    pub fn formatting(&self) -> types::Formatting {
        self.environment().formatting.clone()
    }

    /// Prepares a statement under a name; an empty name is replaced silently.
    ///
    /// # Errors
    /// 42P05 when the name is taken, and what is wrong with the statement.
    pub async fn prepare(
        &mut self,
        name: &str,
        statement: Option<ParsedStatement>,
        hints: Vec<Option<SqlType>>,
    ) -> SqlResult<()> {
        if !name.is_empty() && self.prepared.contains_key(name) {
            return Err(SqlError::new(
                SqlState::DuplicatePreparedStatement,
                format!("prepared statement \"{name}\" already exists"),
            ));
        }
        let plan = match &statement {
            Some(statement) => {
                self.check_failed(statement)?;
                match self.plan(statement, &hints) {
                    Ok(plan) => plan,
                    // What it names may have been made on another node.
                    Err(first) => {
                        self.refresh_catalog().await?;
                        self.plan(statement, &hints).map_err(|_| first)?
                    }
                }
            }
            None => empty_plan(),
        };
        let prepared = Prepared { statement: statement.map(Arc::new), hints: hints.into(), plan: Arc::new(plan) };
        self.prepared.insert(name.to_owned(), prepared);
        Ok(())
    }

    async fn refresh_catalog(&mut self) -> SqlResult<()> {
        if self.block.is_none() {
            self.engine.catalog.refresh().await.map_err(catalog_error)?;
        }
        Ok(())
    }

    /// # Errors
    /// 26000 when there is none of that name.
    pub fn prepared(&self, name: &str) -> SqlResult<Prepared> {
        self.prepared.get(name).cloned().ok_or_else(|| {
            SqlError::new(
                SqlState::InvalidSqlStatementName,
                format!("prepared statement \"{name}\" does not exist"),
            )
        })
    }

    pub(crate) fn keep_prepared(&mut self, name: &str, prepared: &Prepared) {
        self.prepared.insert(name.to_owned(), prepared.clone());
    }

    pub fn deallocate(&mut self, name: &str) {
        self.prepared.remove(name);
    }

    pub(crate) fn check_failed(&self, statement: &ParsedStatement) -> SqlResult<()> {
        if self.status() == TransactionStatus::Failed && !statement.is_transaction_control() {
            return Err(SqlError::new(
                SqlState::InFailedSqlTransaction,
                "current transaction is aborted, commands ignored until end of transaction block",
            ));
        }
        Ok(())
    }

    /// Runs a statement of a query string.
    ///
    /// # Errors
    /// The statement's; the block it ran in has failed then.
    pub async fn run(
        &mut self,
        statement: &ParsedStatement,
        sink: &mut dyn Sink,
        ending: Ending,
    ) -> SqlResult<Completion> {
        let run = Run { statement, hints: &[], params: &[], planned: None, describe: true, ending, limit: 0 };
        self.run_with(&run, sink).await
    }

    pub(crate) async fn run_with(&mut self, run: &Run<'_>, sink: &mut dyn Sink) -> SqlResult<Completion> {
        self.check_failed(run.statement)?;
        self.start_clock();
        let outcome = self.attempts(run, sink).await;
        if !matches!(outcome, Ok(Completion::CopyIn(_))) {
            self.stop_clock();
        }
        outcome
    }

    pub(crate) fn stop_clock(&mut self) {
        self.cancel.reset(None);
    }

    pub(crate) fn open_implicit(&mut self) {
        if self.block.is_none() {
            self.open_block(false);
        }
    }

    pub(crate) fn check_in_block(&mut self, what: &str) -> SqlResult<()> {
        self.in_block(what).map(|_| ())
    }

    /// Forgets what asked the statement before to stop, and sets the limit on this one's time.
    pub(crate) fn start_clock(&mut self) {
        self.cancel.reset(self.settings.duration("statement_timeout"));
    }

    async fn attempts(&mut self, run: &Run<'_>, sink: &mut dyn Sink) -> SqlResult<Completion> {
        let mark = sink.mark();
        let mut refreshed = false;
        for attempt in 0.. {
            // Before the attempt: a COMMIT that fails takes the block with it, and must not be run again without.
            let alone = self.block.as_ref().is_none_or(|block| block.answered == 0);
            let outcome = self.attempt(run, sink).await;
            let error = match outcome {
                Ok(completion) => return Ok(completion),
                Err(error) => error,
            };
            let error = error.into_sql();
            let code = error.code();
            let lost = matches!(code, SqlState::SerializationFailure | SqlState::DeadlockDetected);
            if lost && alone && attempt < MAX_ATTEMPTS && sink.rewind(mark) {
                if error.clone().into_fields().detail.is_some_and(|detail| detail.contains(exec::CATALOG_CHANGED)) {
                    self.engine.catalog.refresh().await.map_err(catalog_error)?;
                }
                self.begin_again();
                continue;
            }
            // What a statement names may be newer than the catalog at hand.
            let names =
                matches!(code, SqlState::UndefinedTable | SqlState::UndefinedColumn | SqlState::UndefinedObject);
            if names && alone && !refreshed && sink.rewind(mark) {
                refreshed = true;
                let before = self.engine.catalog.current().version();
                self.engine.catalog.refresh().await.map_err(catalog_error)?;
                if self.engine.catalog.current().version() > before {
                    self.begin_again();
                    continue;
                }
            }
            return Err(self.fail(error).await);
        }
        unreachable!("the loop ends by returning")
    }

    /// Commits what ran outside a block with [`Ending::Later`].
    ///
    /// # Errors
    /// As COMMIT.
    pub async fn end_implicit(&mut self) -> SqlResult<()> {
        if self.block.as_ref().is_some_and(|block| !block.explicit)
            && let Err(failure) = self.commit().await
        {
            return Err(self.fail(failure.into_sql()).await);
        }
        if self.block.is_none() {
            self.portals.end(false);
        }
        Ok(())
    }

    /// Begins the block anew for another attempt of its first statement. The transaction keeps the locks it fought for
    /// where it can, so that the next attempt does not fight for them again.
    fn begin_again(&mut self) {
        if let Some(Block { mut txn, explicit, settings, .. }) = self.block.take() {
            txn.start_over();
            self.open_block_with(txn, explicit);
            // A rollback still goes back to before BEGIN, which may have set modes.
            if let Some(block) = &mut self.block {
                block.settings = settings;
            }
        }
    }

    /// An error inside a block makes the block fail; outside, the statement's transaction is gone.
    pub async fn fail(&mut self, error: SqlError) -> SqlError {
        self.suspended = None;
        match &mut self.block {
            Some(block) if block.explicit => block.failed = true,
            Some(_) => self.rollback().await,
            None => {}
        }
        error
    }

    /// A notice, if the client wants to hear of such.
    fn notice(&self, sink: &mut dyn Sink, severity: Severity, code: SqlState, text: &str) {
        let quiet = match self.settings.get("client_min_messages") {
            Some("warning") => severity < Severity::Warning,
            Some("error" | "fatal" | "panic") => true,
            _ => false,
        };
        if !quiet {
            sink.notice(severity, SqlError::new(code, text));
        }
    }

    fn open_block(&mut self, explicit: bool) {
        let txn = self.engine.catalog.db().begin(TxnOptions::default());
        self.open_block_with(txn, explicit);
    }

    fn open_block_with(&mut self, mut txn: Txn, explicit: bool) {
        let snapshot = self.engine.catalog.current();
        txn.set_lock_timeout(self.settings.duration("lock_timeout"));
        self.engine.catalog.pin(&mut txn, &snapshot);
        self.block = Some(Block {
            txn,
            snapshot,
            change: None,
            garbage: Vec::new(),
            splits: Vec::new(),
            savepoints: Vec::new(),
            settings: None,
            began: SessionHost::now_micros(&self.engine.clock),
            answered: 0,
            failed: false,
            explicit,
        });
    }

    async fn attempt(&mut self, run: &Run<'_>, sink: &mut dyn Sink) -> Result<Completion, Failure> {
        if self.status() == TransactionStatus::Failed {
            return self.in_failed_block(run.statement).await;
        }
        let plan = match run.planned {
            Some(plan) if self.is_current(plan) => plan.clone(),
            Some(old) => Arc::new(self.plan_again(run.statement, old)?),
            None => Arc::new(self.plan(run.statement, run.hints)?),
        };
        let began = self.block.is_none();
        let mut completion = self.execute(&plan, run.params, sink, run.describe, run.limit).await?;
        if let Completion::CopyIn(copy) = &mut completion {
            copy.ending = run.ending;
        }
        let Some(block) = &mut self.block else { return Ok(completion) };
        let goes_on = matches!(completion, Completion::CopyIn(_) | Completion::Suspended);
        if !block.explicit && run.ending == Ending::WithStatement && !goes_on {
            self.commit().await?;
        } else if !(began && block.explicit) {
            // BEGIN alone has told the client nothing that another attempt could contradict.
            block.answered += 1;
        }
        Ok(completion)
    }

    /// What a failed block may still be told.
    async fn in_failed_block(&mut self, statement: &ParsedStatement) -> Result<Completion, Failure> {
        let plan = self.plan(statement, &[])?;
        match &plan.kind {
            StatementKind::Utility(utility) => match &**utility {
                Utility::Commit { chain } | Utility::Rollback { chain } => {
                    self.rollback().await;
                    if *chain {
                        self.open_block(true);
                    }
                    Ok(Completion::Done("ROLLBACK".into()))
                }
                Utility::RollbackTo(name) => {
                    self.rollback_to(name)?;
                    Ok(Completion::Done("ROLLBACK".into()))
                }
                _ => Err(aborted().into()),
            },
            _ => Err(aborted().into()),
        }
    }

    async fn execute(
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
                if self.block.is_none() {
                    self.open_block(false);
                }
                if describe && yields_rows(plan) {
                    sink.columns(&plan.columns);
                }
                if limit > 0 {
                    let mut running = Running::new(plan, params)?;
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
                if self.block.is_none() {
                    self.open_block(false);
                }
                self.ddl(ddl, plan, params, sink).await
            }
            StatementKind::Utility(utility) => Box::pin(self.utility(utility, plan, params, sink, describe)).await,
        }
    }

    /// Runs a plan, its rows to the sink.
    async fn query(
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
        let host = SessionHost::new(environment.clone());
        let now = SessionHost::now_micros(&self.engine.clock);
        let block = self.block.as_mut().expect("a block is open when a plan runs");
        let formatting = environment.formatting_at(block.began);
        let eval = EvalContext {
            transaction_timestamp: block.began,
            statement_timestamp: now,
            formatting: &formatting,
            host: &host,
            catalog: &*environment.view,
        };
        let session_tables = SessionTables { host: &host, database: self.database, user: self.user, began: block.began };
        let tables = StatementTables::new(&self.engine.catalog, &environment.view, session_tables);
        block.txn.begin_statement();
        let mut ctx = ExecContext {
            txn: Some(&mut block.txn),
            params,
            eval: &eval,
            catalog: &environment.view.catalog,
            ctes: Default::default(),
            cte_plans: ctes,
            outer: Vec::new(),
            virtual_tables: &tables,
            sequences: &mut self.sequences,
            memory: MemoryBudget::new(STATEMENT_MEMORY),
            cancel: self.cancel.clone(),
            stats: None,
            affected: 0,
            subqueries: exec::SubqueryCache::default(),
            foreign: exec::ForeignQueue::default(),
        };
        // Only reads and locks are cut short here; a commit is never left half way.
        let outcome = tokio::select! {
            biased;
            outcome = body(&mut ctx) => outcome,
            error = self.cancel.cancelled() => Err(error),
        };
        drop(ctx);
        let changed = std::mem::take(&mut *host.changed.lock());
        match outcome {
            Ok(value) => {
                for (name, setting, local) in changed {
                    self.set(&name, Some(&setting), local)?;
                }
                Ok(value)
            }
            Err(error) => Err(Failure::Sql(error)),
        }
    }

    async fn ddl(
        &mut self,
        ddl: &plan::Ddl,
        plan: &PreparedPlan,
        params: &[Datum],
        sink: &mut dyn Sink,
    ) -> Result<Completion, Failure> {
        let environment = self.environment();
        let base = environment.view.catalog.clone();
        let (database, user, search_path, user_name) =
            (self.database, self.user, self.settings.search_path.clone(), self.user_name.clone());
        let formatting = self.settings.formatting.clone();
        let catalog_store = self.engine.catalog.clone();
        let host = SessionHost::new(environment.clone());
        let block = self.block.as_mut().expect("a block is open when DDL runs");
        block.txn.begin_statement();
        let mut change = block.change.take().unwrap_or_else(|| CatalogChange::new(&base));
        let mut notices = Vec::new();
        let planning = |change: &CatalogChange, body: &mut dyn FnMut(&PlanContext<'_>) -> SqlResult<()>| {
            let catalog = change.snapshot();
            let host = CatalogView {
                catalog: Arc::new(catalog.clone()),
                database,
                search_path: search_path.clone(),
                user: user_name.clone(),
                printers: Some(&plan::PRINTERS),
            };
            let mut formatting = formatting.clone();
            formatting.oid_names = Some(Arc::new(host.clone()));
            let eval = EvalContext {
                transaction_timestamp: 0,
                statement_timestamp: 0,
                formatting: &formatting,
                host: &builtins::NoHost,
                catalog: &host,
            };
            let context = PlanContext {
                catalog,
                database,
                search_path: &search_path,
                user: &user_name,
                param_types: &[],
                eval: &eval,
                formatting: &formatting,
            };
            body(&context)
        };
        let session_tables = SessionTables { host: &host, database, user, began: block.began };
        let tables = StatementTables::new(&self.engine.catalog, &environment.view, session_tables);
        let run_formatting = environment.formatting_at(block.began);
        let eval = EvalContext {
            transaction_timestamp: block.began,
            statement_timestamp: SessionHost::now_micros(&self.engine.clock),
            formatting: &run_formatting,
            host: &host,
            catalog: &*environment.view,
        };
        let outcome = exec::ddl::execute(
            ddl,
            &mut exec::ddl::DdlContext {
                txn: &mut block.txn,
                change: &mut change,
                store: &catalog_store,
                database,
                user,
                garbage: &mut block.garbage,
                splits: &mut block.splits,
                notices: &mut notices,
                planning: &planning,
                eval: &eval,
                sequences: &mut self.sequences,
                virtual_tables: &tables,
                memory: MemoryBudget::new(STATEMENT_MEMORY),
                cancel: self.cancel.clone(),
            },
        )
        .await;
        block.change = Some(change);
        for (code, notice) in notices {
            self.notice(sink, Severity::Notice, code, &notice);
        }
        let made = outcome?;
        if let (plan::Ddl::CreateTable(create), Some(table)) = (ddl, made)
            && let Some(source) = &create.source
        {
            let insert = plan::insert_all(&table, source.clone());
            let filled = PreparedPlan {
                kind: StatementKind::Query { plan: insert, writes: true },
                params: plan.params.clone(),
                columns: Vec::new(),
                ctes: plan.ctes.clone(),
                catalog_version: plan.catalog_version,
                statistics_epoch: plan.statistics_epoch,
                tag: "SELECT",
            };
            let counts = self.query(&filled, params, sink, true).await?;
            return Ok(Completion::Done(format!("SELECT {}", counts.affected)));
        }
        Ok(Completion::Done(plan.tag.to_owned()))
    }

    async fn utility(
        &mut self,
        utility: &Utility,
        plan: &Arc<PreparedPlan>,
        params: &[Datum],
        sink: &mut dyn Sink,
        describe: bool,
    ) -> Result<Completion, Failure> {
        let done = |tag: &str| Ok(Completion::Done(tag.to_owned()));
        match utility {
            Utility::Begin(modes) => {
                match &mut self.block {
                    Some(block) if block.explicit => self.notice(
                        sink,
                        Severity::Warning,
                        SqlState::ActiveSqlTransaction,
                        "there is already a transaction in progress",
                    ),
                    // What ran before in the same query string belongs to it.
                    Some(block) => block.explicit = true,
                    None => self.open_block(true),
                }
                self.set_modes(modes, "transaction", true)?;
                done(plan.tag)
            }
            Utility::Commit { chain } => {
                self.check_end(*chain, "COMMIT", sink)?;
                self.commit().await?;
                if *chain {
                    self.open_block(true);
                }
                done("COMMIT")
            }
            Utility::Rollback { chain } => {
                self.check_end(*chain, "ROLLBACK", sink)?;
                self.rollback().await;
                if *chain {
                    self.open_block(true);
                }
                done("ROLLBACK")
            }
            Utility::Savepoint(name) => {
                let (settings, local, portals) = (self.settings.clone(), self.local.clone(), self.portals.mark());
                let block = self.in_block("SAVEPOINT")?;
                let (savepoint, change) = (block.txn.savepoint(), block.change.clone());
                block.savepoints.push(NamedSavepoint {
                    name: name.clone(),
                    savepoint,
                    change,
                    settings,
                    local,
                    portals,
                    garbage: block.garbage.len(),
                    splits: block.splits.len(),
                });
                done("SAVEPOINT")
            }
            Utility::ReleaseSavepoint(name) => {
                let block = self.in_block("RELEASE SAVEPOINT")?;
                let at = find_savepoint(block, name)?;
                for released in block.savepoints.drain(at..) {
                    block.txn.release(&released.savepoint);
                }
                done("RELEASE")
            }
            Utility::RollbackTo(name) => {
                self.in_block("ROLLBACK TO SAVEPOINT")?;
                self.rollback_to(name)?;
                done("ROLLBACK")
            }
            Utility::SetTransaction { modes, session: true } => {
                self.set_modes(modes, "default_transaction", false)?;
                done("SET")
            }
            Utility::SetTransaction { modes, session: false } => {
                if self.block.as_ref().is_some_and(|block| block.explicit) {
                    self.set_modes(modes, "transaction", true)?;
                } else {
                    self.notice(
                        sink,
                        Severity::Warning,
                        SqlState::NoActiveSqlTransaction,
                        "SET TRANSACTION can only be used in transaction blocks",
                    );
                }
                done("SET")
            }
            Utility::Set { name, value, local } => {
                let text = value.as_ref().map(|values| values.join(", "));
                if *local && !self.block.as_ref().is_some_and(|block| block.explicit) {
                    self.notice(
                        sink,
                        Severity::Warning,
                        SqlState::NoActiveSqlTransaction,
                        "SET LOCAL can only be used in transaction blocks",
                    );
                    self.settings.clone().set(name, text.as_deref().unwrap_or_default())?;
                    return done(plan.tag);
                }
                self.set(name, text.as_deref(), *local)?;
                done(plan.tag)
            }
            Utility::ResetAll => {
                self.keep_settings();
                self.local.retain(|(name, _)| settings::is_mode(name));
                self.settings.reset_all()?;
                done("RESET")
            }
            Utility::Show(name) => {
                let value = self.settings.get(name).map(str::to_owned).ok_or_else(|| {
                    SqlError::new(
                        SqlState::UndefinedObject,
                        format!("unrecognized configuration parameter \"{name}\""),
                    )
                })?;
                if describe {
                    sink.columns(&plan.columns);
                }
                let row = Batch::from_rows(&[SqlType::Text], &[vec![Datum::text(value)]]);
                send(sink, &row, 0..1, &self.settings.formatting).await?;
                done("SHOW")
            }
            Utility::ShowAll => {
                if describe {
                    sink.columns(&plan.columns);
                }
                let rows: Vec<Vec<Datum>> = self
                    .settings
                    .all()
                    .into_iter()
                    .map(|(name, value)| vec![Datum::text(name), Datum::text(value), Datum::text("")])
                    .collect();
                send(sink, &Batch::from_rows(&[SqlType::Text; 3], &rows), 0..rows.len(), &self.settings.formatting).await?;
                done("SHOW")
            }
            Utility::Prepare { name, params, statement } => {
                let parsed = plan::parse(statement)?.into_iter().next();
                let hints = params.iter().map(|ty| Some(*ty)).collect();
                self.prepare(name, parsed, hints).await?;
                if !matches!(self.prepared(name)?.plan.kind, StatementKind::Query { .. }) {
                    self.deallocate(name);
                    return Err(SqlError::new(SqlState::SyntaxError, "only queries and changes can be prepared").into());
                }
                done("PREPARE")
            }
            Utility::Execute { name, args } => self.execute_named(name, args, params, sink, describe).await,
            Utility::Deallocate(name) => {
                match name {
                    Some(name) => {
                        self.prepared(name)?;
                        self.deallocate(name);
                        done("DEALLOCATE")
                    }
                    None => {
                        self.prepared.clear();
                        done("DEALLOCATE ALL")
                    }
                }
            }
            Utility::CopyFrom { table, columns, defaults, filter, row_rules, options } => {
                if self.block.is_none() {
                    self.open_block(false);
                }
                let copy = CopyIn::new(table, columns, defaults, filter.as_ref(), row_rules, options);
                Ok(Completion::CopyIn(Box::new(copy)))
            }
            Utility::CopyTo { plan: source, options } => {
                if self.block.is_none() {
                    self.open_block(false);
                }
                let query = PreparedPlan {
                    kind: StatementKind::Query { plan: source.clone(), writes: false },
                    columns: source.columns.clone(),
                    ..(**plan).clone()
                };
                sink.copy_out(&source.columns, options);
                let counts = self.query(&query, params, sink, false).await?;
                Ok(Completion::CopyOut(format!("COPY {}", counts.rows)))
            }
            Utility::Explain { plan: inner, analyze, options } => {
                let mut measured = None;
                if *analyze && matches!(inner.kind, StatementKind::Query { .. }) {
                    if self.block.is_none() {
                        self.open_block(false);
                    }
                    let before = SessionHost::now_micros(&self.engine.clock);
                    let stats = self.query(inner, params, sink, true).await?.stats.unwrap_or_default();
                    measured = Some((stats, SessionHost::now_micros(&self.engine.clock) - before));
                }
                if describe {
                    sink.columns(&plan.columns);
                }
                let lines = crate::explain::lines(inner, *options, measured);
                let rows: Vec<Vec<Datum>> = lines.into_iter().map(|line| vec![Datum::text(line)]).collect();
                send(sink, &Batch::from_rows(&[SqlType::Text], &rows), 0..rows.len(), &self.settings.formatting).await?;
                done("EXPLAIN")
            }
            Utility::Discard(kind) => {
                match kind {
                    DiscardKind::All => {
                        // Neither cursors nor prepared statements come back with a rollback.
                        if self.block.as_ref().is_some_and(|block| block.explicit || block.answered > 0) {
                            return Err(SqlError::new(
                                SqlState::ActiveSqlTransaction,
                                "DISCARD ALL cannot run inside a transaction block",
                            )
                            .into());
                        }
                        self.portals.clear();
                        self.prepared.clear();
                        self.sequences.clear();
                        self.settings.reset_all()?;
                    }
                    DiscardKind::Sequences => self.sequences.clear(),
                    DiscardKind::Plans | DiscardKind::Temp => {}
                }
                done(plan.tag)
            }
            Utility::Analyze { tables } | Utility::Vacuum { tables, analyze: true } => {
                self.analyze(tables.as_deref()).await?;
                done(plan.tag)
            }
            // Serializable transactions need no lock on the table; who asks for one outside of a block is told so.
            Utility::LockTable { .. } => {
                self.in_block("LOCK TABLE")?;
                done(plan.tag)
            }
            Utility::Vacuum { .. } | Utility::Accepted => done(plan.tag),
            Utility::DeclareCursor { name, plan, hold, scroll } => {
                self.declare_cursor(name, plan, params, CursorOptions { hold: *hold, scroll: *scroll }).await
            }
            Utility::Fetch { name, direction, move_only } => {
                self.fetch(name, *direction, *move_only, sink, describe).await
            }
            Utility::CloseCursor(name) => self.close_cursor(name.as_deref()),
        }
    }

    async fn execute_named(
        &mut self,
        name: &str,
        args: &[Expr],
        params: &[Datum],
        sink: &mut dyn Sink,
        describe: bool,
    ) -> Result<Completion, Failure> {
        let prepared = self.prepared(name)?;
        // The protocol prepares every statement, EXECUTE of itself too.
        if is_execute(&prepared.plan) {
            let message = format!("prepared statement \"{name}\" executes another, and cannot be executed itself");
            return Err(SqlError::new(SqlState::StatementTooComplex, message).into());
        }
        if args.len() != prepared.plan.params.len() {
            return Err(SqlError::new(
                SqlState::SyntaxError,
                format!("wrong number of parameters for prepared statement \"{name}\""),
            )
            .with_detail(format!("Expected {} parameters but got {}.", prepared.plan.params.len(), args.len()))
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
                        types::cast(value, &arg.ty(), ty, CastContext::Assignment, &formatting)
                    })
                    .collect::<SqlResult<Vec<Datum>>>()
            })
            .await?;
        let plan = match &prepared.statement {
            Some(statement) if !self.is_current(&prepared.plan) => {
                Arc::new(self.plan_again(statement, &prepared.plan)?)
            }
            _ => prepared.plan,
        };
        Box::pin(self.execute(&plan, &values, sink, describe, 0)).await
    }

    /// Takes some of COPY's data in. It is looked at when there is enough of it, so that errors may come later.
    ///
    /// # Errors
    /// What is wrong with the data; the transaction has failed then.
    pub async fn copy_data(&mut self, copy: &mut CopyIn, data: &[u8]) -> SqlResult<()> {
        if !copy.gather(data) {
            return Ok(());
        }
        let outcome = self.copy_step(copy, CopyStep::Feed).await;
        match outcome {
            Ok(()) => Ok(()),
            Err(failure) => Err(self.fail(failure.into_sql()).await),
        }
    }

    /// Ends a COPY; answers its command tag.
    ///
    /// # Errors
    /// As [`Session::copy_data`].
    pub async fn copy_done(&mut self, copy: &mut CopyIn) -> SqlResult<String> {
        let mut outcome = self.copy_step(copy, CopyStep::Finish).await;
        if outcome.is_ok() {
            let implicit = self.block.as_ref().is_some_and(|block| !block.explicit);
            if implicit && copy.ending == Ending::WithStatement {
                outcome = self.commit().await;
            } else if let Some(block) = &mut self.block {
                block.answered += 1;
            }
        }
        self.stop_clock();
        match outcome {
            Ok(()) => Ok(format!("COPY {}", copy.rows())),
            Err(failure) => Err(self.fail(failure.into_sql()).await),
        }
    }

    /// The client gave the COPY up.
    pub async fn copy_failed(&mut self, error: SqlError) -> SqlError {
        self.stop_clock();
        self.fail(error).await
    }

    async fn copy_step(&mut self, copy: &mut CopyIn, step: CopyStep) -> Result<(), Failure> {
        let formatting = self.settings.formatting.clone();
        self.with_exec(&[], &[], async |ctx| {
            match step {
                CopyStep::Feed => copy.feed(&formatting, ctx).await,
                CopyStep::Finish => copy.finish(&formatting, ctx).await,
            }
        })
        .await
    }

    fn in_block(&mut self, what: &str) -> SqlResult<&mut Block> {
        match &mut self.block {
            Some(block) if block.explicit => Ok(block),
            _ => Err(SqlError::new(
                SqlState::NoActiveSqlTransaction,
                format!("{what} can only be used in transaction blocks"),
            )),
        }
    }

    fn rollback_to(&mut self, name: &str) -> SqlResult<()> {
        let Some(block) = &mut self.block else {
            return Err(SqlError::new(
                SqlState::NoActiveSqlTransaction,
                "ROLLBACK TO SAVEPOINT can only be used in transaction blocks",
            ));
        };
        let at = find_savepoint(block, name)?;
        for released in block.savepoints.drain(at + 1..) {
            block.txn.release(&released.savepoint);
        }
        let target = &block.savepoints[at];
        block.txn.rollback_to(&target.savepoint);
        // A statement that was cut short may have taken the check of the catalog with it.
        self.engine.catalog.pin(&mut block.txn, &block.snapshot);
        block.change.clone_from(&target.change);
        // What was dropped since is there again: its storage must not be cleared.
        block.garbage.truncate(target.garbage);
        block.splits.truncate(target.splits);
        block.failed = false;
        self.settings = target.settings.clone();
        self.local.clone_from(&target.local);
        self.portals.forget_since(target.portals);
        Ok(())
    }

    /// Sets the modes of the transaction, or those that transactions begin with.
    fn set_modes(&mut self, modes: &TransactionModes, prefix: &str, local: bool) -> SqlResult<()> {
        // Every level is given serializable, which is at least as strong; it is shown as asked for.
        if let Some(isolation) = modes.isolation {
            let name = match isolation {
                IsolationLevel::ReadUncommitted => "read uncommitted",
                IsolationLevel::ReadCommitted => "read committed",
                IsolationLevel::RepeatableRead => "repeatable read",
                IsolationLevel::Serializable => "serializable",
            };
            self.set(&format!("{prefix}_isolation"), Some(name), local)?;
        }
        if let Some(read_only) = modes.read_only {
            self.set(&format!("{prefix}_read_only"), Some(if read_only { "on" } else { "off" }), local)?;
        }
        Ok(())
    }

    /// Before settings are changed: a rollback goes back to what they are.
    fn keep_settings(&mut self) {
        if let Some(block) = &mut self.block
            && block.settings.is_none()
        {
            block.settings = Some(self.settings.clone());
        }
    }

    fn set(&mut self, name: &str, value: Option<&str>, local: bool) -> SqlResult<()> {
        self.keep_settings();
        if !local {
            // It outlives the transaction: what SET LOCAL would go back to is no more.
            self.local.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        } else if self.block.is_some() {
            self.local.push((name.to_owned(), self.settings.get(name).map(str::to_owned)));
        }
        match value {
            Some(value) => self.settings.set(name, value)?,
            None => self.settings.reset(name)?,
        }
        if name.eq_ignore_ascii_case("lock_timeout")
            && let Some(block) = &mut self.block
        {
            block.txn.set_lock_timeout(self.settings.duration("lock_timeout"));
        }
        Ok(())
    }

    fn end_local_settings(&mut self) {
        for (name, value) in std::mem::take(&mut self.local).into_iter().rev() {
            let restored = match value {
                // The next transaction begins with the modes that are the default by now.
                Some(value) if !settings::is_mode(&name) => self.settings.set(&name, &value),
                _ => self.settings.reset(&name),
            };
            debug_assert!(restored.is_ok(), "a value that was set can be set again");
        }
    }

    async fn commit(&mut self) -> Result<(), Failure> {
        if self.block.is_some() && !self.portals.is_empty() {
            Box::pin(self.hold_cursors()).await?;
        }
        let Some(block) = &mut self.block else { return Ok(()) };
        if let Err(error) = block.txn.commit().await {
            // A block that cannot commit is over: the client is told, and starts again.
            if block.explicit && !(block.answered == 0 && error.is_retryable()) {
                self.rollback().await;
            }
            return Err(Failure::Kv(error));
        }
        let block = self.block.take().expect("it has just committed");
        self.portals.end(true);
        self.end_local_settings();
        if let Some(change) = block.change {
            self.engine.catalog.advance(Arc::new(change.snapshot().clone()));
        }
        let db = self.engine.catalog.db().clone();
        for key in block.splits {
            // The table is there, in one range instead of several: nothing that its client must be told of.
            if let Err(error) = db.split_at(&key).await {
                tracing::warn!(%error, "a range was not split as the committed table asks for");
            }
        }
        if !block.garbage.is_empty() {
            // Whoever still reads under the old catalog must be through first.
            tokio::spawn(async move {
                tokio::time::sleep(GARBAGE_AFTER).await;
                for span in block.garbage {
                    if let Err(error) = db.clear_span(&span).await {
                        tracing::warn!(%error, "clearing dropped storage");
                    }
                }
            });
        }
        Ok(())
    }

    /// Rolls the block back, if there is one.
    pub async fn rollback(&mut self) {
        self.portals.end(false);
        if let Some(mut block) = self.block.take() {
            if let Some(settings) = block.settings.take() {
                self.settings = settings;
            }
            self.local.clear();
            block.txn.rollback().await;
        }
    }

    /// COMMIT and ROLLBACK outside a block: a warning, or with AND CHAIN an error.
    fn check_end(&self, chain: bool, what: &str, sink: &mut dyn Sink) -> SqlResult<()> {
        if self.block.as_ref().is_some_and(|block| block.explicit) {
            return Ok(());
        }
        let code = SqlState::NoActiveSqlTransaction;
        if chain {
            return Err(SqlError::new(code, format!("{what} AND CHAIN can only be used in transaction blocks")));
        }
        self.notice(sink, Severity::Warning, code, "there is no transaction in progress");
        Ok(())
    }
}

/// A statement as it is to be run.
pub(crate) struct Run<'a> {
    pub statement: &'a ParsedStatement,
    pub hints: &'a [Option<SqlType>],
    pub params: &'a [Datum],
    pub planned: Option<&'a Arc<PreparedPlan>>,
    /// Whether the sink is told of the columns.
    pub describe: bool,
    pub ending: Ending,
    /// Stop after so many rows; 0 for all. Only for queries that write nothing.
    pub limit: usize,
}

#[derive(Clone, Copy)]
enum CopyStep {
    Feed,
    Finish,
}

/// How long dropped storage is kept for statements that began before the drop.
const GARBAGE_AFTER: Duration = Duration::from_secs(30);

struct Counts {
    rows: u64,
    affected: u64,
    /// Of the nodes, where they were counted.
    stats: Option<exec::ExecStats>,
}

impl Counts {
    fn tag(&self, plan: &PreparedPlan) -> String {
        match plan.tag {
            "INSERT" => format!("INSERT 0 {}", self.affected),
            tag @ ("UPDATE" | "DELETE") => format!("{tag} {}", self.affected),
            tag => format!("{tag} {}", self.rows),
        }
    }
}

/// Why an attempt failed: a transaction's error may be worth another.
pub(crate) enum Failure {
    Kv(kv::Error),
    Sql(SqlError),
}

impl Failure {
    pub(crate) fn into_sql(self) -> SqlError {
        match self {
            Self::Kv(error) => exec::kv_error(&error),
            Self::Sql(error) => error,
        }
    }
}

impl From<SqlError> for Failure {
    fn from(error: SqlError) -> Self {
        Self::Sql(error)
    }
}

pub(crate) fn aborted() -> SqlError {
    SqlError::new(
        SqlState::InFailedSqlTransaction,
        "current transaction is aborted, commands ignored until end of transaction block",
    )
}

fn find_savepoint(block: &Block, name: &str) -> SqlResult<usize> {
    block.savepoints.iter().rposition(|known| known.name == name).ok_or_else(|| {
        SqlError::new(SqlState::InvalidSavepointSpecification, format!("savepoint \"{name}\" does not exist"))
    })
}

fn catalog_error(error: catalog::CatalogError) -> SqlError {
    match error {
        catalog::CatalogError::Kv(error) => exec::kv_error(&error),
        damaged => SqlError::new(SqlState::DataCorrupted, damaged.to_string()),
    }
}

fn empty_plan() -> PreparedPlan {
    PreparedPlan {
        kind: StatementKind::Empty,
        params: Vec::new(),
        columns: Vec::new(),
        ctes: Vec::new(),
        catalog_version: 0,
        statistics_epoch: 0,
        tag: "",
    }
}
