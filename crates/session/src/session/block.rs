//! The transaction that statements run in, from its first to its end, and the places in it that one can go back to.

use std::{sync::Arc, time::Duration};

use catalog::{CatalogChange, CatalogSnapshot, SHARED_DOMAIN};
use keys::Span;
use exec::{NodeMemory, NodeReservation, TxnSlot, ddl::RangeChange};
use kv::{Isolation, Savepoint, StatementStart, TxnOptions};
use plan::{
    PreparedPlan,
    statement::{IsolationLevel, TransactionModes},
};
use smallvec::SmallVec;
use types::{SqlError, SqlResult, SqlState};

use super::{Completion, Failure, History, Session, attempts::{MAX_ATTEMPTS, is_lost, is_subject_to_policies}, catalog_error};
use crate::{
    host::SessionHost,
    notify::Mark,
    settings::{self, Settings},
    sink::{Severity, Sink},
};

/// How long dropped storage is kept for statements that began before the drop.
const GARBAGE_AFTER: Duration = Duration::from_secs(30);
/// How often it is asked whether a backup still reads what was dropped.
const PROTECTED_AGAIN: Duration = Duration::from_secs(10);

/// A transaction that has written less takes nothing of the node's memory for it.
const UNCOUNTED_WRITES: usize = 256 << 10;

pub(crate) struct Block {
    pub(crate) txn: TxnSlot,
    /// What its writes that were not sent yet take of the node's memory.
    written: Option<NodeReservation>,
    pub(super) snapshot: Arc<CatalogSnapshot>,
    pub(super) change: Option<CatalogChange>,
    /// The relations that its statements have used.
    pub(super) uses: Vec<u32>,
    /// Catalog domains locked against change by other transactions until it ends.
    pub(super) locked: SmallVec<[u32; 2]>,
    pub(super) garbage: Vec<Span>,
    pub(super) splits: Vec<RangeChange>,
    pub(super) savepoints: Vec<NamedSavepoint>,
    /// The settings that a rollback goes back to, once one has been changed.
    pub(super) settings: Option<Settings>,
    /// Microseconds since 2000.
    pub(crate) began: i64,
    /// Statements that have been answered in it.
    pub(crate) answered: usize,
    pub(super) failed: bool,
    /// Something has read or changed data or the catalog: the modes are fixed.
    pub(crate) has_run: bool,
    pub(crate) explicit: bool,
    /// What it has run, to run it again.
    pub(super) history: History,
    /// Its snapshot was given to it, and no other will do.
    pub(super) is_given: bool,
    /// It has failed, and there is no savepoint of it left to go back to.
    pub(super) is_over: bool,
}

/// What ROLLBACK TO goes back to.
pub(super) struct NamedSavepoint {
    /// None: of a routine's block.
    name: Option<String>,
    savepoint: Savepoint,
    place: Place,
}

/// How a transaction stood beside its data.
#[derive(Clone)]
pub(super) struct Place {
    change: Option<CatalogChange>,
    settings: Settings,
    deferred: exec::deferred::DeferredMark,
    large_objects: exec::context::LargeObjects,
    local: Vec<(String, Option<String>)>,
    portals: u64,
    /// How much there was to do after the commit.
    garbage: usize,
    splits: usize,
    notify: Mark,
}

impl Block {
    /// Counts what the transaction has written and keeps in memory until it commits.
    ///
    /// # Errors
    /// 53200.
    pub(super) fn count_written(&mut self, node: &Arc<NodeMemory>) -> SqlResult<()> {
        let bytes = self.txn.buffered_bytes();
        match &mut self.written {
            Some(written) => written.resize(bytes),
            None if bytes <= UNCOUNTED_WRITES => Ok(()),
            None => {
                self.written = Some(node.reserve(bytes)?);
                Ok(())
            }
        }
    }

    /// What the transaction takes what databases share to be; none when it may itself be changing that.
    pub(super) fn shared_catalog(&self) -> Option<Arc<CatalogSnapshot>> {
        (!self.locked.contains(&SHARED_DOMAIN)).then(|| self.snapshot.clone())
    }
}

impl Session {
    /// Opens a transaction for a plan, where none is open, and makes it depend on what the plan uses. A catalog that is
    /// newer than the plan's by now is as one that moves while the statement runs: it is planned anew
    /// (*planned-as-stored*).
    pub(crate) async fn open_for(&mut self, plan: &PreparedPlan) -> Result<(), Failure> {
        if self.block.is_none() {
            self.open_block(false);
        }
        let database = self.database;
        let block = self.block.as_mut().expect("a block has been opened");
        if !block.explicit
            && block.change.is_none()
            && !plan.holds_in(&block.snapshot, database)
        {
            return Err(Failure::Kv(catalog_changed()));
        }
        self.authorize(plan).await?;
        if self.block.as_ref().is_some_and(|block| block.explicit && !block.has_run) {
            self.defer_snapshot().await?;
        }
        let Some(block) = &mut self.block else { return Ok(()) };
        // What has been answered cannot be run again when the commit finds that the catalog was another. And a plan that
        // policies leave nothing of reads nothing, so that no read would find it either.
        if block.answered > 0 || is_subject_to_policies(plan) {
            block.txn.resolve_check().await.map_err(Failure::Kv)?;
        }
        self.opened = Some(plan.uses.clone());
        let descriptors = plan.uses.iter().map(|used| used.descriptor.clone()).collect();
        block.txn.depend_on(descriptors).await.map_err(Failure::Kv)?;
        for used in plan.uses.iter() {
            if !block.uses.contains(&used.id) {
                block.uses.push(used.id);
            }
        }
        Ok(())
    }

    /// Before what cannot be run again from its start: the catalog that it was planned under is the newest.
    pub(crate) async fn resolve_check(&mut self) -> Result<(), Failure> {
        match &mut self.block {
            Some(block) => block.txn.resolve_check().await.map_err(Failure::Kv),
            None => Ok(()),
        }
    }

    /// Goes on under the newest catalog, if all that the transaction has used so far is the same there, and what it has
    /// read still holds.
    pub(super) async fn take_newest_catalog(&mut self) -> SqlResult<bool> {
        let database = self.database;
        for _ in 0..MAX_ATTEMPTS {
            let Some(block) = self.block.as_mut().filter(|block| block.change.is_none() && !block.txn.is_fixed()) else {
                return Ok(false);
            };
            match block.txn.refresh_to_now().await {
                Ok(()) => {}
                Err(error) if error.is_retryable() => return Ok(false),
                Err(error) => return Err(exec::kv_error(&error)),
            }
            let newest = self.engine.catalog.refresh().await.map_err(catalog_error)?;
            if !block.uses.iter().all(|id| newest.has_same(&block.snapshot, *id)) {
                return Ok(false);
            }
            self.engine.catalog.pin(&mut block.txn, &newest, database);
            block.snapshot = newest;
            match block.txn.resolve_check().await {
                Ok(()) => return Ok(true),
                // Changed again.
                Err(error) if error.is_retryable() => {}
                Err(error) => return Err(exec::kv_error(&error)),
            }
        }
        Ok(false)
    }

    /// After a transaction that a routine has ended: the next one, whose statement cannot be run again from its start.
    pub(crate) fn open_next(&mut self) {
        self.has_ended_one = true;
        self.open_block(false);
        if let Some(block) = &mut self.block {
            (block.answered, block.has_run) = (1, true);
            // The statement at hand has done more than what this transaction holds.
            block.history = History::none();
        }
    }

    pub(crate) fn open_block(&mut self, explicit: bool) {
        let txn = self.engine.catalog.db().begin(TxnOptions::default());
        self.open_block_with(TxnSlot::new(txn), explicit);
    }

    fn open_block_with(&mut self, mut txn: TxnSlot, explicit: bool) {
        self.registered.activity.in_transaction(txn.id());
        let snapshot = self.engine.catalog.current();
        txn.set_lock_timeout(self.settings.duration("lock_timeout"));
        txn.set_isolation(self.isolation());
        self.engine.catalog.pin(&mut txn, &snapshot, self.database);
        self.block = Some(Block {
            txn,
            written: None,
            snapshot,
            change: None,
            uses: Vec::new(),
            locked: SmallVec::new(),
            garbage: Vec::new(),
            splits: Vec::new(),
            savepoints: Vec::new(),
            settings: None,
            began: SessionHost::now_micros(&self.engine.clock),
            answered: 0,
            failed: false,
            has_run: false,
            explicit,
            history: History::default(),
            is_given: false,
            is_over: false,
        });
    }

    pub(super) fn isolation(&self) -> Isolation {
        match self.settings.get("transaction_isolation") {
            Some("read committed" | "read uncommitted") => Isolation::ReadCommitted,
            Some("repeatable read") => Isolation::RepeatableRead,
            _ => Isolation::Serializable,
        }
    }

    /// A block takes its snapshot, of the catalog too, at its first statement and not at BEGIN: what others commit in
    /// between is seen. At READ COMMITTED the later ones take another of the data; an open cursor keeps its own, and so
    /// does all else as long as there is one.
    pub(crate) fn renew_snapshot(&mut self) {
        let Some(block) = self.block.as_mut().filter(|block| !block.failed) else { return };
        if block.has_run {
            if block.txn.isolation() == Isolation::ReadCommitted && !self.portals.read_on() {
                block.txn.next_snapshot();
            }
            return;
        }
        if !block.explicit || block.change.is_some() || block.txn.is_fixed() {
            return;
        }
        let isolation = self.isolation();
        let Some(block) = &mut self.block else { return };
        block.txn.set_isolation(isolation);
        block.txn.renew_snapshot();
        let newest = self.engine.catalog.current();
        if !Arc::ptr_eq(&block.snapshot, &newest) {
            self.engine.catalog.pin(&mut block.txn, &newest, self.database);
            block.snapshot = newest;
        }
    }

    /// Begins the block anew for another attempt of its first statement. The transaction keeps the locks it fought for
    /// where it can, so that the next attempt does not fight for them again.
    pub(super) fn begin_again(&mut self) {
        self.state.deferred.start_over();
        self.state.large_objects.clear();
        if let Some(Block { mut txn, explicit, settings, mut savepoints, began, history, .. }) = self.block.take() {
            txn.start_over();
            let isolation = txn.isolation();
            // Nothing has run yet: they all lie where the transaction begins.
            savepoints.iter_mut().for_each(|named| named.savepoint = txn.savepoint());
            self.open_block_with(txn, explicit);
            // What a routine has set in the attempt that was lost is set again by the next. In a block a rollback still goes
            // back to before BEGIN, which may have set modes.
            let mut settings = settings;
            if !explicit && let Some(before) = settings.take() {
                self.settings = before;
                self.local.clear();
            }
            if let Some(block) = &mut self.block {
                block.txn.set_isolation(isolation);
                (block.settings, block.savepoints, block.began) = (settings, savepoints, began);
                block.history = history;
            }
        }
    }

    pub(super) fn in_block(&mut self, what: &str) -> SqlResult<&mut Block> {
        match &mut self.block {
            Some(block) if block.explicit => Ok(block),
            _ => Err(SqlError::new(
                SqlState::NoActiveSqlTransaction,
                format!("{what} can only be used in transaction blocks"),
            )),
        }
    }

    pub(crate) fn check_in_block(&mut self, what: &str) -> SqlResult<()> {
        self.in_block(what).map(|_| ())
    }

    /// COMMIT and ROLLBACK outside a block: a warning, or with AND CHAIN an error.
    pub(super) fn check_end(&self, chain: bool, what: &str, sink: &mut dyn Sink) -> SqlResult<()> {
        if self.block.as_ref().is_some_and(|block| block.explicit) {
            return Ok(());
        }
        let code = SqlState::NoActiveSqlTransaction;
        if chain {
            return Err(SqlError::new(
                code,
                format!("{what} AND CHAIN can only be used in transaction blocks"),
            ));
        }
        self.notice(sink, Severity::Warning, code, "there is no transaction in progress");
        Ok(())
    }

    /// Sets the modes of the transaction, or those that transactions begin with.
    pub(crate) fn set_modes(&mut self, modes: &TransactionModes, prefix: &str, local: bool) -> SqlResult<()> {
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
        if let Some(deferrable) = modes.deferrable {
            self.set(&format!("{prefix}_deferrable"), Some(if deferrable { "on" } else { "off" }), local)?;
        }
        Ok(())
    }

    /// What AND CHAIN begins the next transaction with.
    pub(crate) fn modes(&self) -> Vec<(&'static str, String)> {
        settings::MODES.iter().filter_map(|mode| Some((*mode, self.settings.get(mode)?.to_owned()))).collect()
    }

    /// After the end of a transaction: AND CHAIN begins another in its modes.
    pub(super) fn chain(&mut self, modes: Option<Vec<(&'static str, String)>>) -> SqlResult<()> {
        if let Some(modes) = modes {
            self.open_block(true);
            for (mode, value) in modes {
                self.set(mode, Some(&value), true)?;
            }
        }
        Ok(())
    }

    /// # Errors
    /// 25006 in a read-only transaction; `what` is the command it names.
    pub(super) fn check_writable(&self, what: &str) -> SqlResult<()> {
        if self.settings.is_on("transaction_read_only") { Err(exec::read_only_error(what)) } else { Ok(()) }
    }

    /// Whether a transaction that may have begun can still be given a mode: one that has seen data keeps its own.
    pub(super) fn check_mode(&self, mode: &str, value: Option<&str>) -> SqlResult<()> {
        let Some(block) = self.block.as_ref().filter(|block| block.explicit) else { return Ok(()) };
        let mut changed = self.settings.clone();
        match value {
            Some(value) => changed.set(mode, value)?,
            None => changed.reset(mode)?,
        }
        if changed.get(mode) == self.settings.get(mode) {
            return Ok(());
        }
        let refused = |message: &str| Err(SqlError::new(SqlState::ActiveSqlTransaction, message));
        let (in_savepoint, has_run) = (!block.savepoints.is_empty(), block.has_run);
        match mode {
            "transaction_read_only" if changed.is_on(mode) => Ok(()),
            "transaction_read_only" if in_savepoint => {
                refused("cannot set transaction read-write mode inside a read-only transaction")
            }
            "transaction_read_only" if has_run => {
                refused("transaction read-write mode must be set before any query")
            }
            "transaction_isolation" if has_run => {
                refused("SET TRANSACTION ISOLATION LEVEL must be called before any query")
            }
            "transaction_isolation" if in_savepoint => {
                refused("SET TRANSACTION ISOLATION LEVEL must not be called in a subtransaction")
            }
            "transaction_deferrable" if in_savepoint => {
                refused("SET TRANSACTION [NOT] DEFERRABLE cannot be called within a subtransaction")
            }
            "transaction_deferrable" if has_run => {
                refused("SET TRANSACTION [NOT] DEFERRABLE must be called before any query")
            }
            _ => Ok(()),
        }
    }

    /// SAVEPOINT.
    pub(super) fn savepoint(&mut self, name: &str) -> SqlResult<Completion> {
        self.in_block("SAVEPOINT")?;
        self.push_savepoint(Some(name.to_owned()))?;
        Ok(Completion::Done("SAVEPOINT".to_owned()))
    }

    /// A savepoint in whatever transaction is open; how many there were before.
    pub(crate) fn push_savepoint(&mut self, name: Option<String>) -> SqlResult<usize> {
        let place = self.place().ok_or_else(|| SqlError::internal("a savepoint outside of a transaction"))?;
        let block = self.block.as_mut().expect("it has a place");
        let savepoint = block.txn.savepoint();
        let before = block.savepoints.len();
        block.savepoints.push(NamedSavepoint { name, savepoint, place });
        Ok(before)
    }

    /// What there is beside the data, to be gone back to; none outside of a transaction.
    fn place(&mut self) -> Option<Place> {
        let block = self.block.as_ref()?;
        Some(Place {
            change: block.change.clone(),
            settings: self.settings.clone(),
            deferred: self.state.deferred.mark(),
            large_objects: self.state.large_objects.clone(),
            local: self.local.clone(),
            portals: self.portals.mark(),
            garbage: block.garbage.len(),
            splits: block.splits.len(),
            notify: self.notify.pending.mark(),
        })
    }

    /// Where a statement begins that READ COMMITTED may run again, though its transaction has answered others.
    pub(super) fn statement_start(&mut self) -> Option<(StatementStart, Place)> {
        let block = self.block.as_ref().filter(|block| block.answered > 0 && !block.failed)?;
        let has_cursors = self.portals.read_on();
        if block.txn.isolation() != Isolation::ReadCommitted || has_cursors {
            return None;
        }
        Some((block.txn.statement_start(), self.place()?))
    }

    /// Undoes what a statement has done that lost to another transaction; whether it can be run again.
    pub(super) fn back_to_statement(&mut self, (start, place): &(StatementStart, Place)) -> bool {
        let Some(block) = &mut self.block else { return false };
        if !block.txn.back_to_statement(start) {
            return false;
        }
        self.back_to_place(place);
        // What the statement has read it reads again.
        self.state.large_objects.clone_from(&place.large_objects);
        true
    }

    fn back_to_place(&mut self, place: &Place) {
        let Some(block) = &mut self.block else { return };
        // A statement that was cut short may have taken the check of the catalog with it.
        self.engine.catalog.pin(&mut block.txn, &block.snapshot, self.database);
        block.change.clone_from(&place.change);
        // What was dropped since is there again: its storage must not be cleared.
        block.garbage.truncate(place.garbage);
        block.splits.truncate(place.splits);
        block.failed = false;
        self.settings = place.settings.clone();
        self.state.deferred.rollback_to(&place.deferred);
        self.state.large_objects.close_since(&place.large_objects);
        self.local.clone_from(&place.local);
        self.portals.forget_since(place.portals);
        self.notify.pending.back_to(place.notify);
    }

    /// Forgets savepoints, from this one on, and keeps what was done since.
    pub(crate) fn release_savepoints(&mut self, from: usize) {
        if let Some(block) = &mut self.block {
            for released in block.savepoints.drain(from.min(block.savepoints.len())..) {
                block.txn.release(&released.savepoint);
            }
        }
    }

    /// How many savepoints are open.
    pub(crate) fn savepoint_count(&self) -> usize {
        self.block.as_ref().map_or(0, |block| block.savepoints.len())
    }

    /// RELEASE SAVEPOINT: the savepoint and those after it are forgotten.
    pub(super) fn release_savepoint(&mut self, name: &str) -> SqlResult<Completion> {
        let block = self.in_block("RELEASE SAVEPOINT")?;
        let at = find_savepoint(block, name)?;
        self.release_savepoints(at);
        Ok(Completion::Done("RELEASE".to_owned()))
    }

    pub(super) fn rollback_to(&mut self, name: &str) -> SqlResult<()> {
        let Some(block) = &mut self.block else {
            return Err(SqlError::new(
                SqlState::NoActiveSqlTransaction,
                "ROLLBACK TO SAVEPOINT can only be used in transaction blocks",
            ));
        };
        let at = find_savepoint(block, name)?;
        self.back_to_savepoint(at);
        Ok(())
    }

    /// Undoes what was done since a savepoint, which stays.
    pub(crate) fn back_to_savepoint(&mut self, at: usize) {
        self.release_savepoints(at + 1);
        let Some(block) = &mut self.block else { return };
        let Some(target) = block.savepoints.get(at) else { return };
        let place = target.place.clone();
        block.txn.rollback_to(&target.savepoint);
        self.back_to_place(&place);
    }

    /// Commits what ran outside a block with [`Ending::Later`].
    ///
    /// # Errors
    /// As COMMIT.
    pub async fn end_implicit(&mut self) -> SqlResult<()> {
        if self.block.as_ref().is_some_and(|block| !block.explicit) {
            self.start_clock();
            let outcome = self.commit_implicit().await;
            self.stop_clock();
            outcome?;
        }
        if self.block.is_none() {
            self.portals.end(false);
        }
        Ok(())
    }

    async fn commit_implicit(&mut self) -> SqlResult<()> {
        for attempt in 0.. {
            let Err(failure) = self.commit().await else { break };
            let error = failure.into_sql();
            if let Some(of_catalog) = is_lost(&error)
                && attempt < MAX_ATTEMPTS
            {
                match self.replay(of_catalog).await {
                    Ok(true) => continue,
                    Ok(false) => {}
                    Err(error) => return Err(self.fail(error).await),
                }
            }
            return Err(self.fail(error).await);
        }
        Ok(())
    }

    pub(crate) async fn commit(&mut self) -> Result<(), Failure> {
        if self.block.is_some()
            && !self.portals.is_empty()
            && let Err(failure) = Box::pin(self.hold_cursors()).await
        {
            // As below: what a cursor that outlives it would show cannot be worked out.
            return Err(self.cannot_end(failure).await);
        }
        if let Err(failure) = self.settle().await {
            return Err(self.cannot_end(failure).await);
        }
        let staged = match self.stage_notify().await {
            Ok(staged) => staged,
            Err(failure) => return Err(self.cannot_end(failure).await),
        };
        let Some(block) = &mut self.block else { return Ok(()) };
        let commit_ts = match block.txn.commit().await {
            Ok(commit_ts) => commit_ts,
            Err(error) => {
                self.unstage_notify(staged);
                return Err(self.cannot_end(Failure::Kv(error)).await);
            }
        };
        self.count_end(true);
        let Some(block) = self.leave_block().await else { return Ok(()) };
        self.finish_notify(staged, commit_ts).await;
        if let Some(change) = block.change {
            self.engine.catalog.advance(&change);
        }
        let db = self.engine.catalog.db().clone();
        for change in block.splits {
            let changed = match change {
                RangeChange::Split(key) => db.split_and_keep(&key).await,
                RangeChange::Unsplit(key) => db.keep_split(&key, false).await,
                RangeChange::UnsplitAll(span) => db.give_up_splits(&span).await,
            };
            // The table is there, in one range instead of several: nothing that its client must be told of.
            if let Err(error) = changed {
                tracing::warn!(%error, "ranges are not as the committed table asks for");
            }
        }
        if !block.garbage.is_empty() {
            // Whoever still reads under the old catalog is given time to get through. Later than that it is refused.
            let jobs = Arc::downgrade(&self.engine.jobs);
            tokio::spawn(async move {
                tokio::time::sleep(GARBAGE_AFTER).await;
                // What a backup reads stays until it has ended.
                loop {
                    // A node that has stopped is not held on to.
                    let Some(jobs) = jobs.upgrade() else { return };
                    match jobs.is_protected(commit_ts).await {
                        Ok(true) => {}
                        Ok(false) => break,
                        Err(error) => {
                            tracing::warn!(%error, "whether backups read dropped storage is not known");
                            break;
                        }
                    }
                    drop(jobs);
                    tokio::time::sleep(PROTECTED_AGAIN).await;
                }
                for span in block.garbage {
                    if let Err(error) = db.clear_span(&span, commit_ts).await {
                        tracing::warn!(%error, "clearing dropped storage");
                    }
                    // Ranges that are empty now merge.
                    if let Err(error) = db.give_up_splits(&span).await {
                        tracing::warn!(%error, "boundaries of dropped storage are kept");
                    }
                }
            });
        }
        Ok(())
    }

    /// A block that cannot commit is over: the client is told, and starts again. Unless it is run again.
    pub(super) async fn cannot_end(&mut self, failure: Failure) -> Failure {
        let is_retryable = match &failure {
            Failure::Kv(error) => error.is_retryable() || matches!(error, kv::Error::Deadlock { .. }),
            Failure::Sql(error) => is_lost(error).is_some(),
        };
        let explicit = self.block.as_ref().filter(|block| block.explicit);
        if explicit.is_some_and(|block| !(is_retryable && block.answered == 0)) && !(is_retryable && self.may_replay()) {
            self.rollback().await;
        }
        failure
    }

    /// What ends with a transaction that has been committed, or prepared.
    pub(super) async fn leave_block(&mut self) -> Option<Block> {
        let block = self.block.take()?;
        self.notify.pending.clear();
        self.state.advisory.end_transaction().await;
        self.state.deferred.clear();
            self.state.large_objects.clear();
        (self.state.has_exported, self.state.has_set_sequence) = (false, false);
        self.portals.end(true);
        self.end_local_settings();
        Some(block)
    }

    /// Rolls the block back, if there is one.
    pub async fn rollback(&mut self) {
        self.portals.end(false);
        self.notify.pending.clear();
        if let Some(mut block) = self.block.take() {
            if let Some(settings) = block.settings.take() {
                self.settings = settings;
            }
            self.local.clear();
            block.txn.rollback().await;
            self.count_end(false);
            self.state.advisory.end_transaction().await;
            self.state.deferred.clear();
            self.state.large_objects.clear();
            (self.state.has_exported, self.state.has_set_sequence) = (false, false);
        }
    }

    /// What is left to be done before the commit.
    pub(super) async fn settle(&mut self) -> Result<(), Failure> {
        self.settle_deferred(None).await?;
        self.settle_temporary().await
    }

    /// Looks at what the transaction has put off: of these constraints, or of all.
    ///
    /// # Errors
    /// 23503 for a row that refers to nothing.
    pub(super) async fn settle_deferred(&mut self, of: Option<&[u32]>) -> Result<(), Failure> {
        if self.block.is_none() || self.state.deferred.is_empty() {
            return Ok(());
        }
        let settle = self.with_exec(&[], &[], async |ctx| exec::trigger::settle_deferred(of, ctx).await);
        Box::pin(settle).await
    }
}

/// As when the check of the catalog's version finds another.
pub(super) fn catalog_changed() -> kv::Error {
    kv::Error::Retry { reason: kv::Restart::CheckedValueChanged, at_least: hlc::Timestamp::MIN }
}

fn find_savepoint(block: &Block, name: &str) -> SqlResult<usize> {
    block.savepoints.iter().rposition(|known| known.name.as_deref() == Some(name)).ok_or_else(|| {
        SqlError::new(SqlState::InvalidSavepointSpecification, format!("savepoint \"{name}\" does not exist"))
    })
}
