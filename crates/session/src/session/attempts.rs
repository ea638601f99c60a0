//! A statement is run until it holds: one that loses to another transaction runs again, as long as its transaction has
//! answered nothing. At READ COMMITTED it may have answered others: each statement has a snapshot of its own.

use std::sync::{Arc, atomic::Ordering};

use catalog::privilege::Need;
use plan::{ParsedStatement, PreparedPlan, StatementKind, Utility};
use types::{Datum, SqlError, SqlResult, SqlState};

use super::{Completion, Ending, Session, TransactionStatus, catalog_error, replay::{Trace, shows_names}};
use crate::{
    host::SessionHost,
    plan_cache::{OfTemplate, QueryStatement, Statement},
    sink::{Severity, Sink},
};

/// A statement is run again inside the server at most this often.
pub(crate) const MAX_ATTEMPTS: usize = 100;

/// A statement as it is to be run.
pub(crate) struct Run<'a> {
    pub statement: &'a Arc<Statement>,
    pub params: &'a [Datum],
    /// As what its client was told that it is.
    pub planned: Option<&'a Arc<PreparedPlan>>,
    /// What the client has sent, where `statement` is the template of it: that is run in its place once the plan does not
    /// hold any more.
    pub text: Option<&'a Arc<str>>,
    /// Whether the sink is told of the columns.
    pub describe: bool,
    pub ending: Ending,
    /// Stop after so many rows; 0 for all. Only for queries that write nothing.
    pub limit: usize,
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

impl Session {
    /// Runs a statement of a query string.
    ///
    /// # Errors
    /// The statement's; the block it ran in has failed then.
    pub async fn run(
        &mut self,
        statement: &Arc<Statement>,
        sink: &mut dyn Sink,
        ending: Ending,
    ) -> SqlResult<Completion> {
        let run = Run { statement, params: &[], planned: None, text: None, describe: true, ending, limit: 0 };
        self.run_with(&run, sink).await
    }

    /// Runs a statement of a query string of the simple protocol.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub async fn run_query(
        &mut self,
        query: &QueryStatement,
        sink: &mut dyn Sink,
        ending: Ending,
    ) -> SqlResult<Completion> {
        let QueryStatement { statement, of_template } = query;
        let Some(OfTemplate { plan, values, text }) = of_template else { return self.run(statement, sink, ending).await };
        let run =
            Run { statement, params: values, planned: Some(plan), text: Some(text), describe: true, ending, limit: 0 };
        self.run_with(&run, sink).await
    }

    pub(crate) async fn run_with(&mut self, run: &Run<'_>, sink: &mut dyn Sink) -> SqlResult<Completion> {
        self.check_failed(run.statement)?;
        for notice in &run.statement.notices {
            self.notice(sink, Severity::Notice, SqlState::NameTooLong, notice);
        }
        let text = run.text.unwrap_or_else(|| run.statement.source_text());
        let told = self.to_be_told(run)?;
        self.begin_run();
        self.start_clock();
        let began_ns = self.engine.clock.physical_now_ns();
        self.registered.activity.begin(text, SessionHost::micros_of(began_ns));
        let mut outcome = match self.block.is_some() || run.ending == Ending::Later {
            true => self.remembered(run, sink).await,
            false => self.attempts(run, sink).await,
        };
        self.folded = None;
        self.tell_notices(sink);
        if !matches!(outcome, Ok(Completion::CopyIn(_))) {
            self.stop_clock();
        }
        self.count(run, began_ns, &mut outcome);
        if let Some(told) = &told {
            self.tell(told, &outcome);
        }
        outcome
    }

    /// A statement before that was dropped half way may have left something.
    pub(super) fn begin_run(&mut self) {
        (self.within, self.frozen, self.depth) = (None, None, 0);
        self.loops.clear();
        self.in_use.clear();
        self.noticed_bytes = 0;
        self.knows_privileges = false;
        self.state.is_restricted = false;
        self.state.advisory.begin_statement();
    }

    pub(super) async fn attempts(&mut self, run: &Run<'_>, sink: &mut dyn Sink) -> SqlResult<Completion> {
        let (mark, portals) = (sink.mark(), self.portals.mark());
        let mut notify = self.notify.pending.mark();
        let mut refreshed = false;
        self.has_ended_one = false;
        for attempt in 0.. {
            // Before the attempt: a COMMIT that fails takes the block with it, and must not be run again without.
            self.notices.clear();
            self.notify.pending.back_to(notify);
            let alone = self.block.as_ref().is_none_or(|block| block.answered == 0 && !block.is_given);
            let start = self.statement_start();
            let outcome = self.attempt(run, sink).await;
            let error = match outcome {
                Ok(completion) => return Ok(completion),
                Err(error) => error,
            };
            let error = error.into_sql();
            if self.has_ended_one {
                return Err(self.fail(error).await);
            }
            let code = error.code();
            let (lost, is_of_catalog) = is_lost(&error).map_or((false, false), |of_catalog| (true, of_catalog));
            if lost && alone && attempt < MAX_ATTEMPTS && sink.rewind(mark) {
                // Descriptors that its commit may have left provisionally are in the way of reading the catalog anew:
                // it would wait for itself.
                if let Some(block) = self.block.as_mut().filter(|block| block.change.is_some()) {
                    block.txn.start_anew();
                }
                if is_of_catalog {
                    self.engine.catalog.refresh().await.map_err(catalog_error)?;
                }
                self.state.advisory.undo_statement().await;
                self.portals.forget_since(portals);
                self.begin_again();
                self.engine.replays.restarted.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            // The statement has done nothing yet: the catalog is looked at before.
            if is_of_catalog
                && !alone
                && attempt < MAX_ATTEMPTS
                && sink.rewind(mark)
                && self.take_newest_catalog().await?
            {
                continue;
            }
            if lost
                && let Some(start) = &start
                && attempt < MAX_ATTEMPTS
                && sink.rewind(mark)
                && self.back_to_statement(start)
            {
                self.state.advisory.undo_statement().await;
                continue;
            }
            let is_weak = start.is_some();
            if lost && !alone && !is_weak && attempt < MAX_ATTEMPTS && sink.rewind(mark) {
                let trace = self.trace;
                if self.replay(is_of_catalog).await? {
                    self.trace = trace;
                    notify = self.notify.pending.mark();
                    continue;
                }
            }
            // What a statement names may be newer than the catalog at hand.
            let names = matches!(
                code,
                SqlState::UndefinedTable
                    | SqlState::UndefinedColumn
                    | SqlState::UndefinedObject
                    | SqlState::UndefinedFunction
            );
            if names && alone && !refreshed && sink.rewind(mark) {
                refreshed = true;
                let before = self.engine.catalog.current().version(self.database);
                self.engine.catalog.refresh().await.map_err(catalog_error)?;
                if self.engine.catalog.current().version(self.database) > before {
                    self.begin_again();
                    continue;
                }
            } else if names && !alone && !refreshed && sink.rewind(mark) {
                refreshed = true;
                let before = self.catalog().version(self.database);
                let newest = self.engine.catalog.refresh().await.map_err(catalog_error)?;
                if newest.version(self.database) > before && self.take_newest_catalog().await? {
                    continue;
                }
            }
            let error = self.fail(error).await;
            // A block that cannot commit is over.
            if lost && run.statement.ends_transaction() {
                self.rollback().await;
            }
            return Err(error);
        }
        unreachable!("the loop ends by returning")
    }

    pub(super) async fn attempt(&mut self, run: &Run<'_>, sink: &mut dyn Sink) -> Result<Completion, Failure> {
        if self.status() == TransactionStatus::Failed {
            return self.in_failed_block(run.statement).await;
        }
        if let Some(block) = &mut self.block {
            block.txn.bind_reads(false);
        }
        self.renew_snapshot();
        if let Some(as_of) = run.statement.as_of() {
            self.read_as_of(as_of).await?;
        }
        let (itself, params) = self.itself_of(run)?;
        let (statement, planned) = match &itself {
            Some(statement) => (statement, None),
            None => (run.statement, run.planned),
        };
        let plan = match self.plan_for(statement, planned) {
            // It may be for what is granted, and what that is may not be known here yet.
            Err(error) if plan::is_row_security_refusal(&error) && !self.knows_privileges => {
                self.know_privileges().await?;
                self.plan_for(statement, planned)?
            }
            plan => plan?,
        };
        let plan = match self.must_know_policies(&plan) {
            true => Box::pin(self.planned_as_granted(plan, statement)).await?,
            false => plan,
        };
        if plan.is_audited {
            self.note_parameters(&plan, params);
        }
        self.trace = Trace::of(&plan.kind);
        self.shows_names = plan.columns.iter().any(|column| shows_names(&column.ty));
        let mut completion = self.execute(&plan, params, sink, run.describe, run.limit).await?;
        if let Completion::CopyIn(copy) = &mut completion {
            copy.ending = run.ending;
        }
        let Some(block) = &mut self.block else { return Ok(completion) };
        let goes_on = matches!(completion, Completion::CopyIn(_) | Completion::Suspended);
        if !block.explicit && run.ending == Ending::WithStatement && !goes_on {
            self.commit().await?;
        } else if block.has_run {
            // It has written without reading anything: once it is answered it cannot be run again.
            if block.answered == 0 && block.txn.has_writes() {
                block.txn.resolve_check().await.map_err(Failure::Kv)?;
            }
            // BEGIN, SET and SAVEPOINT have told the client nothing that another attempt could contradict.
            block.answered += 1;
        }
        Ok(completion)
    }

    /// Where a template's plan does not hold any more, the text itself, which has no parameters; and the parameters.
    fn itself_of<'a>(&self, run: &Run<'a>) -> SqlResult<(Option<Arc<Statement>>, &'a [Datum])> {
        match (run.planned, run.text) {
            (Some(plan), Some(text)) if !self.is_current(plan) => {
                let mut statements = self.read(text, &[])?;
                let statement = statements.pop().ok_or_else(|| SqlError::internal("a template of no text"))?;
                Ok((Some(statement), &[]))
            }
            _ => Ok((None, run.params)),
        }
    }

    fn plan_for(&self, statement: &Statement, planned: Option<&Arc<PreparedPlan>>) -> SqlResult<Arc<PreparedPlan>> {
        match planned {
            Some(plan) if self.is_current(plan) => Ok(plan.clone()),
            Some(old) => self.plan_again(statement, old),
            None => self.plan_of(statement),
        }
    }

    /// A plan with policies in it, once it is known what is granted now: nothing was run that would have to be run again.
    async fn planned_as_granted(
        &mut self,
        plan: Arc<PreparedPlan>,
        statement: &Statement,
    ) -> Result<Arc<PreparedPlan>, Failure> {
        self.know_privileges().await?;
        if self.holds_row_security(&plan) {
            return Ok(plan);
        }
        Ok(self.plan_again(statement, &plan)?)
    }

    /// What a failed block may still be told.
    async fn in_failed_block(&mut self, statement: &ParsedStatement) -> Result<Completion, Failure> {
        let plan = self.plan(statement, &[])?;
        match &plan.kind {
            StatementKind::Utility(utility) => match &**utility {
                Utility::Commit { chain } | Utility::Rollback { chain } => {
                    let modes = chain.then(|| self.modes());
                    self.rollback().await;
                    self.chain(modes)?;
                    Ok(Completion::Done("ROLLBACK".into()))
                }
                Utility::PrepareTransaction(_) => {
                    self.rollback().await;
                    Ok(Completion::Done("ROLLBACK".into()))
                }
                Utility::RollbackTo(_) if self.block.as_ref().is_some_and(|block| block.is_over) => {
                    // As for the statement that has lost.
                    Err(Failure::Kv(kv::Error::Retry {
                        reason: kv::Restart::Read(kv::RetryReason::ReadChanged),
                        at_least: hlc::Timestamp::MIN,
                    }))
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

    /// An error inside a block makes the block fail; outside, the statement's transaction is gone.
    pub async fn fail(&mut self, error: SqlError) -> SqlError {
        self.suspended = None;
        match &mut self.block {
            Some(block) if block.explicit => {
                block.failed = true;
                // Nothing of it can be gone back to: others need not wait for its locks until the client says so.
                if block.savepoints.is_empty() {
                    block.txn.rollback().await;
                }
            }
            Some(_) => self.rollback().await,
            None => {}
        }
        error
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
}

pub(crate) fn has_row_security(plan: &PreparedPlan) -> bool {
    plan.needs.iter().any(|need| matches!(need, Need::RowSecurity { .. }))
}

/// Whether policies leave rows out of a plan.
pub(super) fn is_subject_to_policies(plan: &PreparedPlan) -> bool {
    plan.needs.iter().any(|need| matches!(need, Need::RowSecurity { state, .. } if state.is_subject()))
}

/// Whether an error says that its transaction has lost to another, which running it again may help; and then, whether
/// that was over the catalog.
pub(super) fn is_lost(error: &SqlError) -> Option<bool> {
    let is_of_kind = matches!(error.code(), SqlState::SerializationFailure | SqlState::DeadlockDetected);
    // Not what a routine raises under the same code.
    if !is_of_kind || !exec::loses_transaction(error) {
        return None;
    }
    let detail = error.clone().into_fields().detail;
    Some(detail.is_some_and(|detail| detail.contains(exec::CATALOG_CHANGED)))
}

pub(crate) fn aborted() -> SqlError {
    SqlError::new(
        SqlState::InFailedSqlTransaction,
        "current transaction is aborted, commands ignored until end of transaction block",
    )
}
