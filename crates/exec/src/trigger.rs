//! Triggers: what a statement fires, when, and with which rows.
//!
//! ```text
//! start      BEFORE STATEMENT, once for a table and an event of the statement
//! each row   of a view: INSTEAD OF, which do all there is to do
//!            BEFORE ROW: may change the new row or have the row passed over; rules and constraints come after it
//!            the row is written; AFTER ROW triggers whose WHEN holds are queued with both rows
//! end        AFTER STATEMENT is queued
//! Finish     foreign keys are settled, which may change rows of other tables and queue more, and the queue is fired, row
//!            by row as they were changed; constraint triggers may be put off until the commit
//! ```
//! A function runs in the transaction like any that a statement calls, its own statements each with a queue of their own.
//!
//! **Invariants**
//! - *fired-once*: an event that was queued is fired once, by the statement's end or by the commit, or the statement, its
//!   savepoint or the transaction is rolled back.
//! - *changed-as-read*: a row that something else has changed since the statement read it, a trigger or a function that it
//!   calls, is not changed by what was read (27000): its index entries would be those of another row.

use std::collections::VecDeque;
use std::sync::Arc;

use catalog::row::EntryReader;
use catalog::{Routine, Table, Trigger, TriggerEvent, TriggerTiming};
use keys::ColumnId;
use kv::{Read, See};
use plan::Transition;
use plan::plan::{RowRules, TriggerRule, TriggerRules};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use types::{Batch, Datum, SqlError, SqlResult, SqlState, SqlType};

use crate::context::{ExecContext, Lent};
use crate::deferred::OwedTrigger;
use crate::error::{from_entry, from_kv};
use crate::eval::{eval_batch, eval_row, needs_transaction};
use crate::memory::Reservation;
use crate::row_write::{TableWriter, fit_row, table_types};
use crate::stack::Grown;
use crate::vector_trigger;

/// A call of a trigger's function.
pub struct TriggerCall<'a> {
    pub trigger: &'a Trigger,
    pub routine: &'a Arc<Routine>,
    pub table: &'a Arc<Table>,
    /// Of the rows: the table's visible columns.
    pub row_type: SqlType,
    pub event: TriggerEvent,
    pub old: Option<Datum>,
    pub new: Option<Datum>,
    pub transitions: Arc<[Transition]>,
}

/// What the rows of a statement have fired and its end is to run.
#[derive(Default)]
pub struct AfterTriggers {
    groups: Vec<Group>,
    known: FxHashMap<(u32, TriggerEvent), usize>,
    queue: VecDeque<Queued>,
    /// So many have left the queue.
    fired: usize,
    memory: Option<Reservation>,
}

/// The changes of one kind of one table.
struct Group {
    table: Arc<Table>,
    rules: Arc<TriggerRules>,
    event: TriggerEvent,
    has_begun: bool,
    /// All rows, for triggers that name them.
    old: Arc<Vec<Datum>>,
    new: Arc<Vec<Datum>>,
    /// Where its AFTER STATEMENT triggers are queued, counted from the first that ever was.
    end: Option<usize>,
}

struct Queued {
    group: usize,
    /// Of the rules' list.
    triggers: SmallVec<[u16; 4]>,
    old: Option<Datum>,
    new: Option<Datum>,
}

impl AfterTriggers {
    fn group(&mut self, table: &Arc<Table>, rules: &Arc<TriggerRules>, event: TriggerEvent) -> usize {
        *self.known.entry((table.id, event)).or_insert_with(|| {
            self.groups.push(Group {
                table: table.clone(),
                rules: rules.clone(),
                event,
                has_begun: false,
                old: Arc::default(),
                new: Arc::default(),
                end: None,
            });
            self.groups.len() - 1
        })
    }

    fn push(&mut self, queued: Queued) -> usize {
        self.queue.push_back(queued);
        self.count() - 1
    }

    /// How many were queued so far.
    pub(crate) fn count(&self) -> usize {
        self.fired + self.queue.len()
    }

    /// Whether some of the first so many have not been fired.
    pub(crate) fn is_waiting_before(&self, count: usize) -> bool {
        self.fired < count && !self.queue.is_empty()
    }
}

/// The triggers that one change of rows fires.
pub struct Firing {
    table: Arc<Table>,
    rules: Option<Arc<TriggerRules>>,
    event: TriggerEvent,
    /// What UPDATE assigns, and what is generated from it.
    assigned: Vec<ColumnId>,
    which: Which,
    fires: Option<Fires>,
}

/// The triggers of a table that a change of its rows fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    All,
    /// Of the table that a statement names, where the rows are its partitions'.
    OfStatement,
    /// Of a partition, where the statement names a table above it.
    OfRows,
}

/// Of the rules' list, by what fires them.
#[derive(Default)]
struct Fires {
    group: usize,
    before_rows: Vec<usize>,
    instead_of_rows: Vec<usize>,
    after_rows: Vec<usize>,
    after_end: Vec<usize>,
    keeps_old: bool,
    keeps_new: bool,
}

impl Firing {
    /// `assigned`: positions of the columns that UPDATE names.
    #[must_use]
    pub fn new(table: &Arc<Table>, rules: &RowRules, event: TriggerEvent, assigned: &[usize]) -> Self {
        Self::firing(table, rules, event, assigned, Which::All)
    }

    /// FOR EACH STATEMENT alone.
    #[must_use]
    pub fn of_statement(table: &Arc<Table>, rules: &RowRules, event: TriggerEvent, assigned: &[usize]) -> Self {
        Self::firing(table, rules, event, assigned, Which::OfStatement)
    }

    /// FOR EACH ROW alone.
    #[must_use]
    pub fn of_rows(table: &Arc<Table>, rules: &RowRules, event: TriggerEvent, assigned: &[usize]) -> Self {
        Self::firing(table, rules, event, assigned, Which::OfRows)
    }

    fn firing(table: &Arc<Table>, rules: &RowRules, event: TriggerEvent, assigned: &[usize], which: Which) -> Self {
        // What is generated from an assigned column is assigned with it.
        let is_assigned = |at: usize| {
            assigned.contains(&at)
                || rules.generated.iter().any(|(generated, expr)| {
                    *generated == at && expr.columns_used().into_iter().any(|used| assigned.contains(&used))
                })
        };
        let assigned = (0..table.columns.len()).filter(|at| is_assigned(*at)).map(|at| table.columns[at].id).collect();
        let fires = |trigger: &Trigger| trigger.events.has(event);
        let rules = rules.triggers.clone().filter(|rules| rules.list.iter().any(|it| fires(&table.triggers[it.at])));
        Self { table: table.clone(), rules, event, assigned, which, fires: None }
    }

    /// Fires what comes before the first row. Later calls do nothing.
    ///
    /// # Errors
    /// What a function raises.
    pub async fn start(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<()> {
        let (Some(rules), None) = (self.rules.clone(), &self.fires) else { return Ok(()) };
        let is_replica = ctx.eval.host.setting("session_replication_role").is_some_and(|role| role == "replica");
        let group = ctx.after.group(&self.table, &rules, self.event);
        let mut fires = Fires { group, ..Fires::default() };
        let mut before = Vec::new();
        for (at, rule) in rules.list.iter().enumerate() {
            let trigger = &self.table.triggers[rule.at];
            let is_named = trigger.columns.is_empty() || trigger.columns.iter().any(|it| self.assigned.contains(it));
            let is_other = match self.which {
                Which::All => false,
                Which::OfStatement => trigger.for_each_row,
                Which::OfRows => !trigger.for_each_row,
            };
            if is_other
                || !trigger.events.has(self.event)
                || !trigger.fires(is_replica)
                || !is_named && self.event == TriggerEvent::Update
            {
                continue;
            }
            match (trigger.timing, trigger.for_each_row) {
                (TriggerTiming::Before, true) => fires.before_rows.push(at),
                (TriggerTiming::Before, false) => before.push(at),
                (TriggerTiming::After, true) => fires.after_rows.push(at),
                (TriggerTiming::After, false) => fires.after_end.push(at),
                (TriggerTiming::InsteadOf, _) => fires.instead_of_rows.push(at),
            }
            fires.keeps_old |= trigger.old_table.is_some();
            fires.keeps_new |= trigger.new_table.is_some();
        }
        self.fires = Some(fires);
        if self.which == Which::OfRows {
            return Ok(());
        }
        if std::mem::replace(&mut ctx.after.groups[group].has_begun, true) {
            return Ok(());
        }
        for at in before {
            if holds(&rules.list[at], &self.table, None, None, ctx).await? {
                self.call(&rules, at, None, None, ctx).await?;
            }
        }
        Ok(())
    }

    /// Whether a trigger may change rows before they are written, so that each is written before the next is looked at.
    #[must_use]
    pub fn changes_rows(&self) -> bool {
        self.fires.as_ref().is_some_and(|fires| !fires.before_rows.is_empty())
    }

    /// The name of the last trigger that may change a row before it is written, of those that are a parent's.
    #[must_use]
    pub fn last_before_row(&self) -> Option<&str> {
        let (rules, fires) = (self.rules.as_ref()?, self.fires.as_ref()?);
        let mut triggers = fires.before_rows.iter().rev().map(|at| &self.table.triggers[rules.list[*at].at]);
        triggers.find(|it| self.table.parent_part(it.oid).is_some()).map(|it| it.name.as_str())
    }

    /// Whether the rows are wanted whole.
    #[must_use]
    pub fn wants_rows(&self) -> bool {
        self.fires.as_ref().is_some_and(|fires| {
            !fires.before_rows.is_empty() || !fires.after_rows.is_empty() || fires.keeps_old || fires.keeps_new
        })
    }

    /// Fires BEFORE ROW; false: the row is passed over. The new row is as the triggers leave it.
    ///
    /// # Errors
    /// What a function raises; 23502 and others for what a domain does not allow.
    pub async fn before_row(
        &self,
        old: Option<&[Datum]>,
        mut new: Option<&mut Vec<Datum>>,
        ctx: &mut ExecContext<'_>,
    ) -> SqlResult<bool> {
        let (Some(rules), Some(fires)) = (&self.rules, &self.fires) else { return Ok(true) };
        if fires.before_rows.is_empty() {
            return Ok(true);
        }
        let Some(is_changed) = self.call_each(rules, &fires.before_rows, old, new.as_deref_mut(), ctx).await? else {
            return Ok(false);
        };
        if let (true, Some(row)) = (is_changed, new) {
            fit_row(&self.table, row)?;
            for value in &rules.domains {
                eval_row(value, row, &ctx.scope())?;
            }
        }
        Ok(true)
    }

    /// Fires INSTEAD OF; false: the row is passed over. The new row is as the triggers leave it.
    ///
    /// # Errors
    /// What a function raises.
    pub async fn instead_of_row(
        &self,
        old: Option<&[Datum]>,
        new: Option<&mut Vec<Datum>>,
        ctx: &mut ExecContext<'_>,
    ) -> SqlResult<bool> {
        // Where none is enabled there is nothing to do.
        let (Some(rules), Some(fires)) = (&self.rules, &self.fires) else { return Ok(true) };
        Ok(self.call_each(rules, &fires.instead_of_rows, old, new, ctx).await?.is_some())
    }

    /// Calls triggers that may change the new row, one after the other; whether they did. `None`: the row is passed over.
    async fn call_each(
        &self,
        rules: &TriggerRules,
        triggers: &[usize],
        old: Option<&[Datum]>,
        mut new: Option<&mut Vec<Datum>>,
        ctx: &mut ExecContext<'_>,
    ) -> SqlResult<Option<bool>> {
        let old_record = old.map(|row| record(&self.table, row));
        let mut is_changed = false;
        for &at in triggers {
            if !holds(&rules.list[at], &self.table, old, new.as_deref().map(Vec::as_slice), ctx).await? {
                continue;
            }
            let given = new.as_deref().map(|row| record(&self.table, row));
            let answer = self.call(rules, at, old_record.clone(), given.clone(), ctx).await?;
            let Some(answer) = answer else { return Ok(None) };
            let Some(row) = new.as_deref_mut() else { continue };
            is_changed |= take_record(&self.table, row, &answer, given.as_ref())?;
        }
        Ok(Some(is_changed))
    }

    /// Queues AFTER ROW for a row that was written.
    ///
    /// # Errors
    /// What WHEN fails with; 53200 when too many are queued.
    pub async fn after_row(
        &self,
        old: Option<&[Datum]>,
        new: Option<&[Datum]>,
        ctx: &mut ExecContext<'_>,
    ) -> SqlResult<()> {
        let (Some(rules), Some(fires)) = (&self.rules, &self.fires) else { return Ok(()) };
        let mut triggers = SmallVec::new();
        for &at in &fires.after_rows {
            if holds(&rules.list[at], &self.table, old, new, ctx).await? {
                triggers.push(u16::try_from(at).map_err(|_| SqlError::internal("a table has too many triggers"))?);
            }
        }
        if triggers.is_empty() && !fires.keeps_old && !fires.keeps_new {
            return Ok(());
        }
        let old = old.map(|row| record(&self.table, row));
        let new = new.map(|row| record(&self.table, row));
        let bytes = old.iter().chain(&new).map(Datum::heap_bytes).sum::<usize>() + size_of::<Queued>();
        let memory = &ctx.memory;
        ctx.after.memory.get_or_insert_with(|| memory.reservation()).grow(bytes)?;
        let group = &mut ctx.after.groups[fires.group];
        if fires.keeps_old {
            Arc::make_mut(&mut group.old).extend(old.clone());
        }
        if fires.keeps_new {
            Arc::make_mut(&mut group.new).extend(new.clone());
        }
        if !triggers.is_empty() {
            ctx.after.push(Queued { group: fires.group, triggers, old, new });
        }
        Ok(())
    }

    /// Queues AFTER STATEMENT: there are no more rows. Where the same kind of change comes again within one statement, as
    /// foreign keys do it, the last counts.
    ///
    /// # Errors
    /// None but of ours.
    pub fn end(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<()> {
        let Some(fires) = &mut self.fires else { return Ok(()) };
        let triggers = std::mem::take(&mut fires.after_end);
        if triggers.is_empty() {
            return Ok(());
        }
        let numbers = triggers.into_iter().map(u16::try_from).collect::<Result<_, _>>();
        let triggers = numbers.map_err(|_| SqlError::internal("a table has too many triggers"))?;
        let group = fires.group;
        if let Some(earlier) = ctx.after.groups[group].end.take()
            && let Some(queued) = earlier.checked_sub(ctx.after.fired).and_then(|at| ctx.after.queue.get_mut(at))
        {
            queued.triggers.clear();
        }
        let at = ctx.after.push(Queued { group, triggers, old: None, new: None });
        ctx.after.groups[group].end = Some(at);
        Ok(())
    }

    async fn call(
        &self,
        rules: &TriggerRules,
        at: usize,
        old: Option<Datum>,
        new: Option<Datum>,
        ctx: &mut ExecContext<'_>,
    ) -> SqlResult<Option<Datum>> {
        let rule = &rules.list[at];
        let call = TriggerCall {
            trigger: &self.table.triggers[rule.at],
            routine: &rule.routine,
            table: &self.table,
            row_type: rules.row_type,
            event: self.event,
            old,
            new,
            transitions: Arc::default(),
        };
        ctx.fire(call).await
    }
}

/// A row as NEW or OLD has it.
fn record(table: &Table, row: &[Datum]) -> Datum {
    Datum::Record(table.visible_columns().map(|(at, _)| row[at].clone()).collect())
}

/// Puts what a trigger has answered into a row; whether that changes it.
fn take_record(table: &Table, row: &mut [Datum], answer: &Datum, given: Option<&Datum>) -> SqlResult<bool> {
    let Datum::Record(fields) = answer else { return Err(SqlError::internal("a trigger answers a row")) };
    if let Some(Datum::Record(given)) = given
        && Arc::ptr_eq(given, fields)
    {
        return Ok(false);
    }
    for ((at, _), field) in table.visible_columns().zip(fields.iter()) {
        row[at] = field.clone();
    }
    Ok(true)
}

/// Whether a trigger's WHEN holds.
async fn holds(
    rule: &TriggerRule,
    table: &Arc<Table>,
    old: Option<&[Datum]>,
    new: Option<&[Datum]>,
    ctx: &mut ExecContext<'_>,
) -> SqlResult<bool> {
    let Some(when) = &rule.when else { return Ok(true) };
    let width = table.columns.len();
    let mut both = Vec::with_capacity(2 * width);
    for row in [old, new] {
        match row {
            Some(row) => both.extend_from_slice(&row[..width]),
            None => both.extend(std::iter::repeat_n(Datum::Null, width)),
        }
    }
    let value = if needs_transaction(when) {
        let types = table_types(table);
        eval_batch(when, &Batch::from_rows(&[&types[..], &types[..]].concat(), &[both]), ctx).await?.get_datum(0)
    } else {
        eval_row(when, &both, &ctx.scope())?
    };
    Ok(value.as_bool() == Some(true))
}

/// Fires what the statement has queued, in the order in which it was.
///
/// # Errors
/// What a function raises.
pub async fn fire_queued(ctx: &mut ExecContext<'_>) -> SqlResult<()> {
    fire_before(usize::MAX, ctx).await?;
    ctx.after = AfterTriggers::default();
    Ok(())
}

/// Fires the first so many that the statement has queued.
///
/// # Errors
/// What a function raises.
pub(crate) async fn fire_before(count: usize, ctx: &mut ExecContext<'_>) -> SqlResult<()> {
    while ctx.after.is_waiting_before(count)
        && let Some(Queued { group, triggers, old, new }) = ctx.after.queue.pop_front() {
        ctx.after.fired += 1;
        for at in triggers {
            let group = &ctx.after.groups[group];
            let (table, rules, event) = (group.table.clone(), group.rules.clone(), group.event);
            let rule = &rules.list[usize::from(at)];
            let trigger = &table.triggers[rule.at];
            if let Some(constraint) = trigger.constraint
                && ctx.state.deferred.puts_off_trigger(trigger.oid, constraint)
            {
                if ctx.state.is_restricted {
                    let message = "cannot fire deferred trigger within security-restricted operation";
                    return Err(SqlError::new(SqlState::InsufficientPrivilege, message));
                }
                ctx.state.deferred.note_trigger(table.id, trigger.oid, event, old.clone(), new.clone())?;
                continue;
            }
            let named = [(&trigger.old_table, &group.old), (&trigger.new_table, &group.new)];
            let named = named.into_iter().filter_map(|(name, rows)| Some((name.clone()?, rows.clone())));
            let transitions = named.map(|(name, rows)| Transition { name, table: table.clone(), rows }).collect();
            let call = TriggerCall {
                trigger,
                routine: &rule.routine,
                table: &table,
                row_type: rules.row_type,
                event,
                old: old.clone(),
                new: new.clone(),
                transitions,
            };
            ctx.fire(call).await?;
        }
    }
    Ok(())
}

/// Looks at the foreign keys and fires the constraint triggers that were put off: of these constraints, or all.
///
/// # Errors
/// 23503 for a row that refers to nothing, and what a function raises.
pub async fn settle_deferred(of: Option<&[u32]>, ctx: &mut ExecContext<'_>) -> SqlResult<()> {
    let mut from = 0;
    loop {
        crate::foreign::settle_deferred(of, ctx).await?;
        let before = from;
        while let Some((at, owed)) = ctx.state.deferred.begin_trigger(of, from) {
            from = at + 1;
            fire_owed(&owed, ctx).await?;
            ctx.state.deferred.end_trigger(at);
        }
        if from == before {
            return Ok(());
        }
    }
}

async fn fire_owed(owed: &OwedTrigger, ctx: &mut ExecContext<'_>) -> SqlResult<()> {
    // A trigger that was dropped since fires nothing.
    let Some(table) = ctx.catalog.table_by_id(owed.table).cloned() else { return Ok(()) };
    let Some(trigger) = table.triggers.iter().find(|trigger| trigger.oid == owed.trigger) else { return Ok(()) };
    let missing = || SqlError::internal(format!("the function of trigger \"{}\" is missing", trigger.name));
    let routine = ctx.catalog.routine_by_id(trigger.routine).cloned().ok_or_else(missing)?;
    let call = TriggerCall {
        trigger,
        routine: &routine,
        table: &table,
        row_type: ctx.catalog.row_type_of(table.id).unwrap_or(SqlType::RECORD),
        event: owed.event,
        old: owed.old.clone(),
        new: owed.new.clone(),
        transitions: Arc::default(),
    };
    ctx.fire(call).await.map(drop)
}

impl ExecContext<'_> {
    /// Calls a trigger's function; the row that it answers.
    async fn fire(&mut self, call: TriggerCall<'_>) -> SqlResult<Option<Datum>> {
        if let Some(row) = vector_trigger::fire(&call) {
            return row.map(Some);
        }
        let (Some(routines), Some(txn)) = (&mut self.routines, self.txn.as_deref_mut()) else {
            let message = format!("trigger \"{}\" cannot be fired here", call.trigger.name);
            return Err(SqlError::not_supported(message));
        };
        let (mark, writes) = (txn.statement(), txn.writes());
        let lent = Lent { txn: &mut *txn, state: &mut *self.state };
        let outcome = Grown::new(routines.fire(lent, call)).await;
        txn.resume_statement(mark);
        self.have_routines_written |= txn.writes() != writes;
        outcome
    }
}

/// Notices what others write while a statement changes rows: the functions that it calls, and other parts of the
/// statement.
#[derive(Default)]
pub(crate) struct Watch {
    /// None: as the statement began.
    last: Option<u32>,
    others: bool,
}

impl Watch {
    /// Before a row is changed: whether other parts of the statement have written anything.
    pub fn look(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<bool> {
        let txn = ctx.txn()?;
        let (writes, began) = (txn.writes(), txn.writes_before_statement());
        self.others |= self.last.replace(writes).unwrap_or(began) != writes;
        Ok(self.others)
    }

    /// What was written since the last look was the change itself.
    pub fn own(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<()> {
        self.last = Some(ctx.txn()?.writes());
        Ok(())
    }

    /// As [`Watch::is_as_read`], of a row of a batch.
    pub async fn is_as_read_by(
        &mut self,
        writer: &TableWriter,
        batch: &Batch,
        row: usize,
        verb: &str,
        ctx: &mut ExecContext<'_>,
    ) -> SqlResult<bool> {
        if !self.look(ctx)? {
            return Ok(true);
        }
        let old = batch.row(row);
        self.is_as_read(writer, &old[..writer.table.columns.len()], verb, ctx).await
    }

    /// *changed-as-read*: whether the row may be changed. One that another part of the statement has changed is passed over.
    ///
    /// # Errors
    /// 27000 for one that a function has changed; `verb` is what would be done.
    pub async fn is_as_read(
        &mut self,
        writer: &TableWriter,
        old: &[Datum],
        verb: &str,
        ctx: &mut ExecContext<'_>,
    ) -> SqlResult<bool> {
        if !self.look(ctx)? {
            return Ok(true);
        }
        let (key, value) = writer.primary().encode(old);
        let read = Read { see: See::Now, ..Read::default() };
        let found = ctx.txn()?.get(&key, read).await.map_err(from_kv)?;
        let is_same = match found {
            None => false,
            Some(found) if found == value => true,
            Some(found) => {
                let table = &writer.table;
                let all: Vec<usize> = (0..table.columns.len()).collect();
                let mut now = vec![Datum::Null; all.len()];
                let reader = EntryReader::new(table, table.primary(), &all);
                reader.read_datums(key.as_bytes(), &found, &mut now).map_err(from_entry)?;
                writer.primary().encode(&now).1 == value
            }
        };
        if is_same || !ctx.have_routines_written {
            return Ok(is_same);
        }
        let message = format!(
            "tuple to be {verb} was already modified by an operation triggered by the current command"
        );
        Err(SqlError::new(SqlState::TriggeredDataChangeViolation, message).with_hint(
            "Consider using an AFTER trigger instead of a BEFORE trigger to propagate changes to other rows.",
        ))
    }
}
