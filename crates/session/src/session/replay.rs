//! Transactions that lose to others after they have answered: their statements are run again in a later snapshot, and if
//! all answers are the same as before, the client never knows.
//!
//! ```text
//!  BEGIN   statement 1   statement 2   statement 3 ── lost to another ──▶ 40001
//!             answer 1      answer 2                       │
//!                │             │                           ▼
//!             remembered: what was run, and a hash of    start over: statement 1, 2 ── other answers ──▶ 40001
//!             what was answered                                          │ the same answers
//!                                                                        ▼
//!                                                                    statement 3
//! ```
//! **Invariant (answered-as-replayed):** when a transaction goes on after a replay, each of its answers so far (rows, in
//! their order, command tags, errors, notices) is what its statements have answered in the snapshot that it goes on in. So
//! the client cannot tell it from one that began later.
//!
//! Kept are texts, plans and parameters, which are shared, up to `transaction_replay_limit`. Hashes are of 64 bits, under a
//! key of this process, over all fields of rows' descriptions, notices and errors; where a value is written as the name of
//! an object, the version of the catalog that has it joins them.
//!
//! A transaction is not replayed, and its client hears 40001, when it
//! - runs at READ COMMITTED, where each statement has a snapshot and is run again by itself;
//! - has changed the catalog: others would have to wait for the replay, and its new objects would get other ids;
//! - has taken rows from its client (COPY FROM), which are not kept;
//! - has given its client some of a result, to give more when asked (a portal with a limit, a cursor through the protocol);
//! - has declared a cursor WITH HOLD, moved or closed one of an earlier transaction, deallocated prepared statements,
//!   discarded anything, stopped another session, or used advisory locks: these are outside of the transaction, and stay as
//!   they are when it starts over; or has set a sequence, which others may have drawn from since;
//! - is the next after one that its first statement has ended (a procedure that commits): that is not run again;
//! - reads in a snapshot that others have too;
//! - has run more than is kept.
//!
//! What a volatile function answers differs (`random()`, `clock_timestamp()`, `nextval()`), and so does a replay in which
//! such an answer was given. What is drawn and not answered, such as the values of a serial column, is drawn again.

use std::{
    fmt::Write as _,
    hash::{BuildHasher, Hasher, RandomState},
    ops::Range,
    sync::{Arc, LazyLock, atomic::{AtomicU64, Ordering}},
};

use futures::future::BoxFuture;
use exec::sequence::SequenceState;
use kv::Isolation;
use plan::{PlanColumn, PreparedPlan, StatementKind, Utility, statement::CopyOptions};
use types::{Batch, ColumnVec, Datum, Formatting, Numeric, SqlError, SqlResult, SqlState, SqlType};

use super::{AuditState, Completion, Ending, Session, attempts::{MAX_ATTEMPTS, Run, is_lost}, catalog_error};
use crate::{
    plan_cache::Statement,
    settings::Settings,
    sink::{Severity, Sink},
};

/// How often transactions of this node had to start over.
#[derive(Debug, Default)]
pub struct ReplayMetrics {
    /// Before they had answered anything.
    pub restarted: AtomicU64,
    /// After that, with the same answers.
    pub replayed: AtomicU64,
    /// After that, with other answers: 40001.
    pub diverged: AtomicU64,
    /// After that, where a replay is not possible: 40001.
    pub not_replayed: AtomicU64,
}

/// What a statement means for a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trace {
    /// It is run again with the others.
    Kept,
    /// It is the session's, and leaves the transaction alone.
    Skipped,
    /// The transaction cannot be run again.
    Final,
}

impl Trace {
    pub fn of(kind: &StatementKind) -> Self {
        let utility = match kind {
            StatementKind::Query { .. } => return Self::Kept,
            StatementKind::Empty => return Self::Skipped,
            StatementKind::Ddl(_) => return Self::Final,
            StatementKind::Utility(utility) => utility,
        };
        match &**utility {
            Utility::Savepoint(_)
            | Utility::ReleaseSavepoint(_)
            | Utility::RollbackTo(_)
            | Utility::SetTransaction { .. }
            | Utility::Set { .. }
            | Utility::ResetAll
            | Utility::Show(_)
            | Utility::ShowAll
            | Utility::ShowRanges { .. }
            | Utility::ShowZones(_)
            | Utility::Listen(_)
            | Utility::Unlisten(_)
            | Utility::Notify { .. }
            | Utility::Execute { .. }
            | Utility::DeclareCursor { hold: false, .. }
            | Utility::Fetch { .. }
            | Utility::CloseCursor(_)
            | Utility::CopyTo { server: None, .. }
            | Utility::Explain { .. }
            | Utility::LockTable { .. }
            | Utility::SetConstraints { .. }
            | Utility::Do(_)
            | Utility::Call(_) => Self::Kept,
            Utility::Begin(_)
            | Utility::Commit { .. }
            | Utility::Rollback { .. }
            | Utility::PrepareTransaction(_)
            | Utility::EndPrepared { .. }
            | Utility::Prepare { .. }
            | Utility::Accepted => Self::Skipped,
            Utility::ImportSnapshot(_)
            | Utility::Backup(_)
            | Utility::Deallocate(_)
            | Utility::DeclareCursor { hold: true, .. }
            | Utility::CopyFrom { .. }
            | Utility::LargeObject { .. }
            | Utility::CopyTo { server: Some(_), .. }
            | Utility::Analyze { .. }
            | Utility::Vacuum { .. }
            | Utility::Discard(_) => Self::Final,
        }
    }
}

/// What a transaction has run so far.
#[derive(Default)]
pub(crate) struct History {
    entries: Vec<Entry>,
    bytes: usize,
    limit: usize,
    /// How the session stood when the first of them began.
    base: Option<Base>,
    is_final: bool,
}

struct Base {
    settings: Settings,
    local: Vec<(String, Option<String>)>,
    /// What `currval()` and `lastval()` answer.
    sequences: SequenceState,
    portals: u64,
}

struct Entry {
    statement: Arc<Statement>,
    params: Vec<Datum>,
    planned: Option<Arc<PreparedPlan>>,
    text: Option<Arc<str>>,
    describe: bool,
    answer: Answer,
}

/// What a client was told of a statement.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Done { tag: String, hash: u64 },
    /// The error is in the hash.
    Failed { hash: u64 },
}

impl Answer {
    fn of(outcome: &SqlResult<Completion>, hash: u64) -> Option<Self> {
        match outcome {
            Ok(Completion::Done(tag) | Completion::CopyOut(tag)) => Some(Self::Done { tag: tag.clone(), hash }),
            Ok(Completion::Empty | Completion::CopyIn(_) | Completion::Suspended) => None,
            Err(_) => Some(Self::Failed { hash }),
        }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Self::Done { tag, .. } => tag.len(),
            Self::Failed { .. } => 0,
        }
    }
}

/// About what an entry takes besides its statement and parameters.
const ENTRY_BYTES: usize = 256;
/// About what is kept of a statement for each byte of its text: that, its tree and its plan.
const BYTES_PER_BYTE: usize = 8;

static HASHES: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// Hashes what goes to a client.
struct Hashing<'a> {
    /// None while a transaction is replayed.
    client: Option<&'a mut dyn Sink>,
    hasher: <RandomState as BuildHasher>::Hasher,
    /// Values go to the client as the names of objects, which another catalog may have for others.
    shows_names: bool,
}

impl<'a> Hashing<'a> {
    fn new(client: Option<&'a mut dyn Sink>) -> Self {
        Self { client, hasher: HASHES.build_hasher(), shows_names: false }
    }

    fn debug(&mut self, value: &dyn std::fmt::Debug) {
        // It has no error of its own.
        let _written = write!(HashText(&mut self.hasher), "{value:?}");
        self.hasher.write_u8(0xff);
    }

    /// All that a client is sent of it.
    fn note(&mut self, severity: Severity, notice: &SqlError) {
        self.debug(&(severity, notice.clone().into_fields()));
    }

    fn describe(&mut self, columns: &[PlanColumn]) {
        self.hasher.write_usize(columns.len());
        for PlanColumn { name, ty, table_oid, attribute } in columns {
            self.hasher.write(name.as_bytes());
            self.debug(&(ty, table_oid, attribute));
        }
        self.shows_names |= columns.iter().any(|column| shows_names(&column.ty));
    }
}

/// Whether values of the type are written as the names of objects.
pub(super) fn shows_names(ty: &SqlType) -> bool {
    ty.is_reg() || ty.element().is_some_and(|element| element.is_reg())
}

/// The text of values that have no bytes of their own goes into the hash as it is written.
struct HashText<'a, H>(&'a mut H);

impl<H: Hasher> std::fmt::Write for HashText<'_, H> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

/// The value of one row: a tag for what follows, then that.
fn hash_value(hasher: &mut impl Hasher, column: &ColumnVec, row: usize) {
    let bytes = |hasher: &mut dyn Hasher, value: Option<&[u8]>| match value {
        Some(value) => {
            hasher.write_u8(1);
            hasher.write_usize(value.len());
            hasher.write(value);
        }
        None => hasher.write_u8(0),
    };
    match column {
        ColumnVec::Bool(column) => hasher.write_u8(column.get(row).map_or(2, u8::from)),
        ColumnVec::Int(_, column) => match column.get(row) {
            Some(value) => {
                hasher.write_u8(1);
                hasher.write_i64(value);
            }
            None => hasher.write_u8(0),
        },
        ColumnVec::Float(column) => match column.get(row) {
            Some(value) => {
                hasher.write_u8(1);
                hasher.write_u64(value.to_bits());
            }
            None => hasher.write_u8(0),
        },
        ColumnVec::Text(column) | ColumnVec::Bytes(column) => bytes(hasher, column.get(row)),
        // The same numerics may come as words in one attempt and as datums in the next.
        ColumnVec::Decimal(column) => match column.digits.get(row) {
            Some(digits) => hash_decimal(hasher, digits, column.scale()),
            None => hash_datum(hasher, &Datum::Null),
        },
        ColumnVec::Datum(column) => match column[row].as_numeric().and_then(Numeric::as_small) {
            Some((digits, scale)) => hash_decimal(hasher, digits, scale),
            None => hash_datum(hasher, &column[row]),
        },
    }
}

fn hash_decimal(hasher: &mut impl Hasher, digits: i64, scale: u16) {
    hasher.write_u8(1);
    hasher.write_i64(digits);
    hasher.write_u16(scale);
}

fn hash_datum(hasher: &mut impl Hasher, datum: &Datum) {
    // It has no error of its own.
    let _written = write!(HashText(hasher), "{datum:?}");
    hasher.write_u8(0xff);
}

impl Sink for Hashing<'_> {
    fn columns(&mut self, columns: &[PlanColumn]) {
        self.describe(columns);
        if let Some(client) = &mut self.client {
            client.columns(columns);
        }
    }

    fn binary(&mut self) {
        if let Some(client) = &mut self.client {
            client.binary();
        }
    }

    fn copy_out(&mut self, columns: &[PlanColumn], options: &CopyOptions) {
        self.describe(columns);
        self.debug(options);
        if let Some(client) = &mut self.client {
            client.copy_out(columns, options);
        }
    }

    fn rows(&mut self, batch: &Batch, rows: Range<usize>, formatting: &Formatting) -> SqlResult<usize> {
        let taken = match &mut self.client {
            Some(client) => client.rows(batch, rows.clone(), formatting)?,
            None => rows.end,
        };
        for row in rows.start..taken {
            self.hasher.write_u8(0xfe);
            for column in batch.columns() {
                hash_value(&mut self.hasher, column, row);
            }
        }
        Ok(taken)
    }

    fn drain(&mut self) -> BoxFuture<'_, SqlResult<()>> {
        match &mut self.client {
            Some(client) => client.drain(),
            None => Box::pin(std::future::ready(Ok(()))),
        }
    }

    fn notice(&mut self, severity: Severity, notice: SqlError) {
        self.note(severity, &notice);
        if let Some(client) = &mut self.client {
            client.notice(severity, notice);
        }
    }

    fn mark(&self) -> u64 {
        self.client.as_ref().map_or(0, |client| client.mark())
    }

    /// To where it began: there is no other mark.
    fn rewind(&mut self, mark: u64) -> bool {
        let is_rewound = self.client.as_mut().is_none_or(|client| client.rewind(mark));
        if is_rewound {
            self.hasher = HASHES.build_hasher();
            self.shows_names = false;
        }
        is_rewound
    }
}

enum Rerun {
    Same,
    Different,
    /// To yet another transaction.
    Lost { of_catalog: bool },
}

impl Session {
    /// As [`Session::attempts`], of a statement that may be replayed.
    pub(super) async fn remembered(&mut self, run: &Run<'_>, sink: &mut dyn Sink) -> SqlResult<Completion> {
        // One whose transaction may go on after it.
        let goes_on = match &self.block {
            Some(block) => !block.failed || !block.savepoints.is_empty(),
            None => run.ending == Ending::Later,
        };
        self.begin_history();
        if !goes_on || self.block.as_ref().is_some_and(|block| block.history.is_final) {
            return self.attempts(run, sink).await;
        }
        // Where it is the first of an implicit block.
        let base = self.block.is_none().then(|| self.base(0));
        (self.trace, self.shows_names) = (Trace::Kept, false);
        let mut hashing = Hashing::new(Some(sink));
        let outcome = self.attempts(run, &mut hashing).await;
        let hash = self.hash_of(hashing, &outcome);
        self.remember(run, &outcome, hash, base);
        outcome
    }

    fn hash_of(&self, mut hashing: Hashing<'_>, outcome: &SqlResult<Completion>) -> u64 {
        self.notices.iter().for_each(|(severity, notice)| hashing.note(*severity, notice));
        if let Err(error) = outcome {
            hashing.debug(&error.clone().into_fields());
        }
        if self.shows_names || hashing.shows_names {
            hashing.hasher.write_u64(self.catalog().version(self.database));
        }
        hashing.hasher.finish()
    }

    fn base(&self, portals: u64) -> Base {
        let sequences = self.state.sequences.clone();
        Base { settings: self.settings.clone(), local: self.local.clone(), sequences, portals }
    }

    /// Before the first statement of a transaction that is open, and has not run any.
    fn begin_history(&mut self) {
        let Some(block) = &mut self.block else { return };
        // Its statements are run again by themselves.
        if block.has_run && block.txn.isolation() == Isolation::ReadCommitted {
            block.history.close();
        }
        if block.history.base.is_some() || block.history.is_final {
            return;
        }
        block.history.limit = self.settings.kilobytes("transaction_replay_limit");
        block.history.is_final = block.history.limit == 0 || block.has_run;
        let base = self.base(self.portals.mark());
        if let Some(block) = &mut self.block {
            block.history.base = Some(base);
        }
    }

    /// `base` is how the session stood before it, where it has opened the block.
    fn remember(&mut self, run: &Run<'_>, outcome: &SqlResult<Completion>, hash: u64, base: Option<Base>) {
        let trace = self.trace;
        let Some(block) = &mut self.block else { return };
        let history = &mut block.history;
        if history.is_final {
            return;
        }
        let answer = match (trace, Answer::of(outcome, hash)) {
            (Trace::Skipped, _) => return,
            (Trace::Kept, Some(answer)) => answer,
            (Trace::Kept, None) if matches!(outcome, Ok(Completion::Empty)) => return,
            (Trace::Kept, None) | (Trace::Final, _) => return history.close(),
        };
        if history.base.is_none() {
            history.base = base;
        }
        if history.base.is_none() {
            return history.close();
        }
        if history.limit == 0 {
            history.limit = self.settings.kilobytes("transaction_replay_limit");
        }
        let params: usize = run.params.iter().map(Datum::heap_bytes).sum();
        let text = run.text.map_or(0, |text| text.len());
        let statement = run.statement.source().len() * BYTES_PER_BYTE + text + answer.heap_bytes();
        history.bytes += ENTRY_BYTES + statement + params + run.params.len() * size_of::<Datum>();
        if history.bytes > history.limit {
            return history.close();
        }
        history.entries.push(Entry {
            statement: run.statement.clone(),
            params: run.params.to_vec(),
            planned: run.planned.cloned(),
            text: run.text.cloned(),
            describe: run.describe,
            answer,
        });
    }

    /// What goes on with the transaction cannot be run again.
    pub(crate) fn forbid_replay(&mut self) {
        if let Some(block) = &mut self.block {
            block.history.close();
        }
    }

    /// Whether the transaction at hand could be replayed, should it lose.
    pub(super) fn may_replay(&self) -> bool {
        let Some(block) = &self.block else { return false };
        !block.history.is_final
            && block.history.base.is_some()
            && block.answered > 0
            && block.txn.isolation() != Isolation::ReadCommitted
            && !block.txn.is_fixed()
            && block.change.is_none()
            && block.locked.is_empty()
            && !self.state.advisory.is_touched()
            && !self.state.has_exported
            && !self.state.has_set_sequence
            && !self.registered.activity.has_signalled()
    }

    /// Runs the transaction again from its start, after it has lost to another; whether all was answered as before. If not,
    /// the transaction is over.
    ///
    /// # Errors
    /// 57014 when the statement at hand is to stop, and what keeps the catalog from being read.
    pub(super) async fn replay(&mut self, of_catalog: bool) -> SqlResult<bool> {
        let metrics = self.engine.replays.clone();
        if self.block.as_ref().is_none_or(|block| block.is_over) {
            return Ok(false);
        }
        if !self.may_replay() {
            metrics.not_replayed.fetch_add(1, Ordering::Relaxed);
            return Ok(false);
        }
        let Some(block) = &mut self.block else { return Ok(false) };
        let history = std::mem::take(&mut block.history);
        let mut of_catalog = of_catalog;
        for _ in 0..MAX_ATTEMPTS {
            if of_catalog {
                self.engine.catalog.refresh().await.map_err(catalog_error)?;
            }
            self.begin_replay(&history);
            let at_hand = std::mem::take(&mut self.audit);
            let outcome = self.rerun(&history).await;
            self.audit = at_hand;
            match outcome {
                Ok(Rerun::Same) => {
                    metrics.replayed.fetch_add(1, Ordering::Relaxed);
                    if let Some(block) = &mut self.block {
                        block.history = history;
                    }
                    self.notices.clear();
                    return Ok(true);
                }
                Ok(Rerun::Different) => break,
                Ok(Rerun::Lost { of_catalog: is_of_catalog }) => of_catalog = is_of_catalog,
                Err(error) => {
                    self.end_replay().await;
                    return Err(error);
                }
            }
        }
        metrics.diverged.fetch_add(1, Ordering::Relaxed);
        self.end_replay().await;
        Ok(false)
    }

    fn begin_replay(&mut self, history: &History) {
        if let Some(base) = &history.base {
            self.settings = base.settings.clone();
            self.local.clone_from(&base.local);
            self.state.sequences = base.sequences.clone();
            self.portals.forget_cursors_since(base.portals);
        }
        if let Some(block) = &mut self.block {
            block.savepoints.clear();
            block.failed = false;
        }
        self.suspended = None;
        // They are sent again.
        self.notify.pending.clear();
        self.begin_again();
        // The history is the caller's meanwhile.
        self.forbid_replay();
    }

    /// The transaction stands where no client has been told that it stands: nothing of it may be committed.
    async fn end_replay(&mut self) {
        let Some(block) = &mut self.block else { return };
        block.is_over = true;
        block.savepoints.clear();
        block.txn.rollback().await;
    }

    async fn rerun(&mut self, history: &History) -> SqlResult<Rerun> {
        for entry in &history.entries {
            self.check_cancelled()?;
            self.notices.clear();
            self.shows_names = false;
            self.begin_run();
            let run = Run {
                statement: &entry.statement,
                params: &entry.params,
                planned: entry.planned.as_ref(),
                text: entry.text.as_ref(),
                describe: entry.describe,
                ending: Ending::Later,
                limit: 0,
            };
            if self.engine.audit.is_some() {
                self.audit = AuditState::of_replayed(&run);
            }
            let mut hashing = Hashing::new(None);
            let outcome = match Box::pin(self.attempt(&run, &mut hashing)).await {
                Ok(completion) => Ok(completion),
                Err(failure) => {
                    let error = failure.into_sql();
                    if error.code() == SqlState::QueryCanceled {
                        return Err(error);
                    }
                    if let Some(of_catalog) = is_lost(&error) {
                        return Ok(Rerun::Lost { of_catalog });
                    }
                    Err(self.fail(error).await)
                }
            };
            let hash = self.hash_of(hashing, &outcome);
            if Answer::of(&outcome, hash).as_ref() != Some(&entry.answer) {
                tracing::debug!(statement = %entry.statement.tag(), "a replayed statement has another answer");
                return Ok(Rerun::Different);
            }
        }
        Ok(Rerun::Same)
    }
}

impl History {
    /// Of what is not run again.
    pub fn none() -> Self {
        Self { is_final: true, ..Self::default() }
    }

    fn close(&mut self) {
        self.is_final = true;
        self.entries = Vec::new();
    }
}
