//! What a running statement has at hand.
//!
//! **Invariant (frame-balance):** [`ExecContext::outer`] is a stack: the last frame belongs to the plan that is being
//! pulled. Whoever runs a plan with another frame pushes it and pops it before returning, on errors too.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use builtins::{CallTypes, EvalContext};
use catalog::{CatalogSnapshot, Routine, Table, VirtualLookup, VirtualRead, VirtualTable};
use futures::future::BoxFuture;
use keys::ColumnId;
use plan::{Plan, SequenceOp, SleepOp, Transition};
use tokio::time::Instant;
use types::{Datum, SqlError, SqlResult, SqlState};

use crate::advisory::{AdvisoryLocks, LockingSession};
pub use crate::cancel::{CancelFlag, CancelReason};
use crate::deferred::Deferred;
use crate::eval::EvalScope;
use crate::error::from_kv;
use crate::exported::ExportedSnapshot;
pub use crate::foreign::ForeignQueue;
pub use crate::large_object::LargeObjects;
use crate::memory::MemoryBudget;
pub use crate::operators::cte::{Ctes, complete as complete_cte};
use crate::sequence::SequenceState;
use crate::server_files::ServerFiles;
use crate::stack::Grown;
use crate::subquery::SubqueryCache;
use crate::trigger::{AfterTriggers, TriggerCall};

/// What a session keeps from statement to statement that its transactions' reads and writes do not hold.
#[derive(Debug, Default)]
pub struct SessionState {
    pub sequences: SequenceState,
    pub advisory: AdvisoryLocks,
    /// The foreign keys that its transaction has put off.
    pub deferred: Deferred,
    /// The transaction at hand has exported its snapshot.
    pub has_exported: bool,
    /// It has set a sequence, which stands outside of it: not to be done again later.
    pub has_set_sequence: bool,
    /// A materialized view is filled: its owner's functions leave nothing to be done later, with the rights of others.
    pub is_restricted: bool,
    /// What its transaction has open.
    pub large_objects: LargeObjects,
    /// Files of the server that its statements may use.
    pub files: Option<Arc<ServerFiles>>,
}

/// Rows of the tables that are made when read.
pub trait VirtualTables: Send + Sync {
    /// # Errors
    /// When they cannot be made.
    fn read(&self, table: &'static VirtualTable, lookup: Option<VirtualLookup>) -> SqlResult<VirtualRead>;

    /// Looks whether the catalog that a table's rows are made of is the newest, as the transaction sees it.
    ///
    /// # Errors
    /// As a read; `Retry` when it is not.
    fn look_at_versions<'a>(
        &'a self,
        table: &'static VirtualTable,
        txn: &'a mut kv::Txn,
    ) -> BoxFuture<'a, Result<(), kv::Error>>;
}

/// What EXPLAIN ANALYZE shows of a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NodeStats {
    pub rows: u64,
    /// How often it was run from its start.
    pub loops: u64,
    /// Time in the node and those below it, of all runs.
    pub micros: u64,
    /// What of it went by until the first rows came.
    pub startup_micros: u64,
}

/// Counters of the nodes in pre-order; CTEs and subqueries in expressions are not among them.
#[derive(Debug, Clone, Default)]
pub struct ExecStats {
    pub nodes: Vec<NodeStats>,
}

/// A transaction that is lent: while a routine runs in it, it is back with the session.
///
/// **Invariant (lent-and-returned):** a transaction that is lent is given back before its owner goes on, also
/// on errors and on drop; its owner finds the slot full.
#[derive(Default)]
pub struct TxnSlot(Option<kv::Txn>);

impl TxnSlot {
    #[must_use]
    pub fn new(txn: kv::Txn) -> Self {
        Self(Some(txn))
    }

    /// Gives what it holds for what the other holds.
    pub fn swap(&mut self, other: &mut Self) {
        std::mem::swap(&mut self.0, &mut other.0);
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl Deref for TxnSlot {
    type Target = kv::Txn;

    fn deref(&self) -> &kv::Txn {
        self.0.as_ref().expect("lent-and-returned")
    }
}

impl DerefMut for TxnSlot {
    fn deref_mut(&mut self) -> &mut kv::Txn {
        self.0.as_mut().expect("lent-and-returned")
    }
}

/// What a running plan has borrowed of the session and a routine that it calls needs.
pub struct Lent<'a> {
    pub txn: &'a mut TxnSlot,
    pub state: &'a mut SessionState,
}

/// What a call of a routine answers: a value, or the rows of a set.
#[derive(Debug, Default)]
pub struct Returned {
    pub value: Datum,
    pub rows: Vec<Vec<Datum>>,
}

/// Runs routines. The session implements it.
pub trait Routines: Send {
    /// Runs a function in the transaction of the statement that calls it.
    fn call<'a>(
        &'a mut self,
        lent: Lent<'a>,
        routine: &'a Arc<Routine>,
        types: &'a CallTypes,
        args: Vec<Datum>,
    ) -> BoxFuture<'a, SqlResult<Returned>>;

    /// Runs a trigger's function: the row that it answers, none where it answers NULL.
    fn fire<'a>(&'a mut self, lent: Lent<'a>, call: TriggerCall<'a>) -> BoxFuture<'a, SqlResult<Option<Datum>>>;
}

pub struct ExecContext<'a> {
    /// `None` only where a plan reads no data.
    pub txn: Option<&'a mut TxnSlot>,
    /// `None` where no routine can be called.
    pub routines: Option<&'a mut (dyn Routines + 'a)>,
    pub params: &'a [Datum],
    pub eval: &'a EvalContext<'a>,
    pub catalog: &'a Arc<CatalogSnapshot>,
    /// Filled as far as they are read.
    pub ctes: Ctes,
    pub cte_plans: &'a [Arc<Plan>],
    /// Frames of Outer slots, the innermost last.
    pub outer: Vec<Vec<Datum>>,
    pub virtual_tables: &'a dyn VirtualTables,
    pub state: &'a mut SessionState,
    /// The database of the session.
    pub database: u32,
    /// The current user.
    pub user: u32,
    pub memory: MemoryBudget,
    pub cancel: CancelFlag,
    /// The transaction may change nothing: what would asks [`ExecContext::check_writable`] first.
    pub read_only: bool,
    pub stats: Option<ExecStats>,
    /// Spans that were looked at for rows to be locked, and do not count as read before those are ([`kv::Keep::Later`]).
    pub looked_at: Vec<keys::Span>,
    /// Rows inserted, updated or deleted.
    pub affected: u64,
    pub subqueries: SubqueryCache,
    /// What the changes so far owe to foreign keys.
    pub foreign: ForeignQueue,
    /// And to triggers.
    pub after: AfterTriggers,
    /// Of the trigger that the statement stands in.
    pub transitions: &'a [Transition],
    /// Whether a routine that the statement has called has written.
    pub have_routines_written: bool,
}

/// What a command is told that would change something in a read-only transaction.
#[must_use]
pub fn read_only_error(what: &str) -> SqlError {
    let message = format!("cannot execute {what} in a read-only transaction");
    SqlError::new(SqlState::ReadOnlySqlTransaction, message)
}

/// Sleeps; the statement is dropped when it is cancelled.
async fn sleep(seconds: Option<f64>) -> SqlResult<Datum> {
    let Some(seconds) = seconds else { return Ok(Datum::Null) };
    let began = Instant::now();
    loop {
        let left = seconds - began.elapsed().as_secs_f64();
        if left.is_nan() || left <= 0.0 {
            return Ok(Datum::text(""));
        }
        // A timer has a bound.
        tokio::time::sleep(Duration::from_secs_f64(left.min(86_400.0))).await;
    }
}

impl<'a> ExecContext<'a> {
    pub fn txn(&mut self) -> SqlResult<&mut kv::Txn> {
        self.txn
            .as_deref_mut()
            .map(|slot| &mut **slot)
            .ok_or_else(|| SqlError::internal("a plan that reads data was run without a transaction"))
    }

    #[must_use]
    pub fn scope(&self) -> EvalScope<'_> {
        EvalScope {
            params: self.params,
            outer: self.outer.last().map_or(&[], Vec::as_slice),
            eval: self.eval,
            memory: Some(&self.memory),
            made_max: usize::MAX,
        }
    }

    /// Calls a routine. What it writes is seen by the statement that calls it from its next statement on.
    pub(crate) async fn call_routine(
        &mut self,
        routine: &Arc<Routine>,
        types: &CallTypes,
        args: Vec<Datum>,
    ) -> SqlResult<Returned> {
        if routine.strict && args.iter().any(Datum::is_null) {
            return Ok(Returned::default());
        }
        let (Some(routines), Some(txn)) = (&mut self.routines, self.txn.as_deref_mut()) else {
            let message = format!("function {} cannot be called here", routine.name);
            return Err(SqlError::not_supported(message)
                .with_hint("Changes of tables call no functions by users: change the rows with UPDATE first."));
        };
        let (mark, writes) = (txn.statement(), txn.writes());
        let lent = Lent { txn: &mut *txn, state: &mut *self.state };
        let outcome = Grown::new(routines.call(lent, routine, types, args)).await;
        txn.resume_statement(mark);
        self.have_routines_written |= txn.writes() != writes;
        outcome
    }

    /// # Errors
    /// 25006 in a read-only transaction; `what` is the command it names.
    pub fn check_writable(&self, what: &str) -> SqlResult<()> {
        if self.read_only { Err(read_only_error(what)) } else { Ok(()) }
    }

    /// None where there is none.
    fn seconds_to_sleep(&self, op: SleepOp, args: &[Datum]) -> Option<f64> {
        let micros = match (op, args.first()) {
            (SleepOp::Seconds, Some(Datum::Float(seconds))) => seconds * 1e6,
            (SleepOp::For, Some(Datum::Interval(it))) => {
                // As extract(epoch) has it: years of 365.25 days.
                let (years, months) = (f64::from(it.months / 12), f64::from(it.months % 12));
                (years * 365.25 + months * 30.0 + f64::from(it.days)) * 86_400e6 + it.micros as f64
            }
            (SleepOp::Until, Some(Datum::TimestampTz(until))) => {
                (*until as f64) - self.eval.host.clock_timestamp() as f64
            }
            _ => return None,
        };
        Some(micros / 1e6)
    }

    /// Whether the current user may read these columns.
    pub(crate) fn reads(&self, table: &Table, columns: &[ColumnId]) -> bool {
        let ids: Vec<u32> = columns.iter().map(|column| column.get()).collect();
        self.catalog.access(self.database).reads(self.user, table.id, &ids)
    }

    /// An error with the table that it is about, and that one's schema.
    pub(crate) fn about(&self, table: &Table, error: SqlError) -> SqlError {
        let error = error.with_table(table.name.clone());
        match self.catalog.schema_by_id(table.schema) {
            Some(schema) => error.with_schema(&*schema.name),
            None => error,
        }
    }

    /// Reserves or reads a sequence's value.
    pub async fn sequence(&mut self, op: SequenceOp, args: &[Datum]) -> SqlResult<Datum> {
        match op {
            SequenceOp::NextVal | SequenceOp::NextIdentity => self.check_writable("nextval()")?,
            SequenceOp::SetVal => {
                self.check_writable("setval()")?;
                self.state.has_set_sequence = true;
            }
            SequenceOp::Sleep(op) => {
                let seconds = self.seconds_to_sleep(op, args);
                return sleep(seconds).await;
            }
            SequenceOp::Advisory(op) => {
                let database = self.database;
                let session = LockingSession::of(self.txn()?, database);
                return self.state.advisory.call(op, args, &session).await;
            }
            SequenceOp::LargeObject(op) => return Box::pin(self.large_object(op, args)).await,
            SequenceOp::ExportSnapshot => {
                let (database, read_only) = (self.database, self.read_only);
                let txn = self.txn()?;
                if txn.has_savepoints() {
                    let message = "cannot export a snapshot from a subtransaction";
                    return Err(SqlError::new(SqlState::ActiveSqlTransaction, message));
                }
                let ts = txn.export_snapshot().await.map_err(from_kv)?;
                let isolation = txn.isolation();
                self.state.has_exported = true;
                return Ok(Datum::text(ExportedSnapshot { ts, database, isolation, read_only }.to_string()));
            }
            _ => {}
        }
        let db = self.txn()?.db().clone();
        let access = (&**self.catalog, self.database, self.user);
        self.state.sequences.call(op, args, access, &db).await
    }

    /// A fresh id for a row without a primary key: a time in the high bits, so that ids rise, and the node and a count
    /// below, so that no two are the same.
    pub fn row_id(&mut self) -> SqlResult<Datum> {
        Ok(self.row_ids(1)?.next().expect("one was asked for"))
    }

    /// As many fresh ids, rising.
    pub fn row_ids(&mut self, count: usize) -> SqlResult<impl Iterator<Item = Datum> + use<>> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let db = self.txn()?.db();
        let now_ns = db.clock().now().wall_ns();
        let (mut first, node, count) = (0, db.node_id().get(), count as u64);
        // The closure always gives a value, so that both outcomes are the one before.
        let (Ok(_) | Err(_)) = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
            first = next_step(last, now_ns);
            // All others lie above the first as counts do: see `next_step`.
            Some((first + count).saturating_sub(1))
        });
        Ok((first..first + count).map(move |step| Datum::Int(row_id_of(step, node))))
    }
}

// A row id, from the sign bit down:
//
//  | 0: 1 bit | time since 1970 in 2^20 ns: 41 bits | node: 10 bits | count: 12 bits |
//
// The time lasts until 2043. Nodes whose ids differ by a multiple of 1024 would share theirs.
const TIME_SHIFT: u32 = 20;
const TIME_MASK: u64 = (1 << 41) - 1;
const NODE_BITS: u32 = 10;
const COUNT_BITS: u32 = 12;

/// The time and the count of a row id, side by side, above those of the last: when the count of a tick is used up, the
/// time goes on before the clock does.
fn next_step(last: u64, now_ns: u64) -> u64 {
    let now = ((now_ns >> TIME_SHIFT) & TIME_MASK) << COUNT_BITS;
    now.max(last + 1)
}

fn row_id_of(step: u64, node: u64) -> i64 {
    let (time, count) = ((step >> COUNT_BITS) & TIME_MASK, step & ((1 << COUNT_BITS) - 1));
    let node = node & ((1 << NODE_BITS) - 1);
    (time << (NODE_BITS + COUNT_BITS) | node << COUNT_BITS | count) as i64
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const TICK_NS: u64 = 1 << TIME_SHIFT;

    #[test]
    fn row_ids_are_unique_and_rise() {
        let now_ns = 1_790_000_000_000_000_000;
        let mut all = HashSet::new();
        for node in [1, 2, 33, 1023] {
            let mut step = 0;
            let mut before = 0;
            // Three ticks' worth of ids within one tick.
            for _ in 0..3 << COUNT_BITS {
                step = next_step(step, now_ns);
                let id = row_id_of(step, node);
                assert!(id > before, "row ids of a node rise");
                assert!(all.insert(id), "node {node} made {id} again");
                before = id;
            }
        }
        // The last moment of the layout.
        assert!(row_id_of(next_step(0, (1 << 61) - 1), 1023) > 0, "row ids are positive");
    }

    /// Rows written before the node had ten bits: 46 bits of time in 2^15 ns, 5 of the node, 12 of the count.
    #[test]
    fn row_ids_are_above_those_of_the_old_layout() {
        let highest_old = |at_ns: u64| ((at_ns >> 15 << 17) | ((1 << 17) - 1)) as i64;
        for at_ns in [1_500_000_000_000_000_000, 1_790_000_000_123_456_789, (1 << 61) - 3 * TICK_NS] {
            let lowest_new = row_id_of(next_step(0, at_ns + 2 * TICK_NS), 0);
            assert!(lowest_new > highest_old(at_ns), "{lowest_new} is not above {}", highest_old(at_ns));
        }
    }
}
