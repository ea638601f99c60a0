//! Cursors of SQL: DECLARE, FETCH, MOVE, CLOSE.
//!
//! A cursor stands on a row, before the first, or behind the last:
//!
//! ```text
//!  position   0   1   2  …  n   n + 1
//!             ▲   └ rows ─┘       ▲
//!          before              behind
//! ```
//! Rows are pulled when somebody goes forward to them for the first time. A cursor that may go backward keeps those it
//! has pulled; one that nobody said anything about keeps them as long as they are few. WITH HOLD pulls and keeps the
//! rest before its transaction commits.

use std::{ops::Range, sync::Arc};

use exec::{MemoryBudget, NodeMemory, Reservation};
use futures::future::BoxFuture;
use plan::{
    PlanColumn, PreparedPlan, StatementKind, Utility,
    statement::{CopyOptions, FetchDirection, Scroll},
};
use types::{Batch, Datum, Formatting, SqlError, SqlResult, SqlState};

use crate::{
    Completion, Severity, Sink,
    host::SessionHost,
    portal::{Portal, Running},
    prepared::UNCOMMITTED,
    session::{Failure, STATEMENT_MEMORY, Session},
    sink::send,
};

/// What a cursor keeps that nobody said anything about.
const SMALL_BYTES: usize = 1 << 20;

/// What DECLARE says besides the query.
#[derive(Clone, Copy)]
pub(crate) struct CursorOptions {
    pub hold: bool,
    pub scroll: Scroll,
    pub binary: bool,
}

pub(crate) struct Cursor {
    /// None once it has answered all its rows.
    running: Option<Box<Running>>,
    position: u64,
    /// Rows pulled so far.
    pulled: u64,
    /// All of them, if it may still go backward.
    kept: Option<Kept>,
    scroll: Scroll,
    /// It is to outlive its transaction.
    pub hold: bool,
    /// FETCH gives its rows in the binary format, where its client does not ask for a format itself.
    pub is_binary: bool,
}

struct Kept {
    /// How many rows were passed before any was kept.
    first: u64,
    batches: Vec<Batch>,
    /// The number of rows before each batch.
    before: Vec<u64>,
    memory: Reservation,
}

impl Kept {
    fn new(first: u64, node: &Arc<NodeMemory>) -> Self {
        let memory = MemoryBudget::within(STATEMENT_MEMORY, node).reservation();
        Self { first, batches: Vec::new(), before: Vec::new(), memory }
    }

    fn rows(&self) -> u64 {
        match (self.before.last(), self.batches.last()) {
            (Some(before), Some(batch)) => before + batch.len() as u64,
            _ => self.first,
        }
    }

    fn push(&mut self, batch: Batch) -> SqlResult<()> {
        self.memory.grow(batch.memory_bytes())?;
        self.before.push(self.rows());
        self.batches.push(batch);
        Ok(())
    }

    /// So many rows more were passed before any was kept.
    fn shift(&mut self, passed: u64) {
        self.first += passed;
        self.before.iter_mut().for_each(|before| *before += passed);
    }

    fn bytes(&self) -> usize {
        self.batches.iter().map(Batch::memory_bytes).sum()
    }

    /// The batch that holds a row, counted from 0, and where in it.
    fn locate(&self, row: u64) -> (&Batch, usize) {
        let at = self.before.partition_point(|before| *before <= row) - 1;
        (&self.batches[at], (row - self.before[at]) as usize)
    }

    /// Gives rows, counted from 0.
    async fn give(&self, rows: Range<u64>, sink: &mut dyn Sink, formatting: &Formatting) -> SqlResult<()> {
        let mut next = rows.start;
        while next < rows.end {
            let (batch, at) = self.locate(next);
            let end = batch.len().min(at + usize::try_from(rows.end - next).unwrap_or(usize::MAX));
            send(sink, batch, at..end, formatting).await?;
            next += (end - at) as u64;
        }
        Ok(())
    }
}

impl Cursor {
    /// Whether rows are still read for it.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    pub fn new(running: Box<Running>, scroll: Scroll, hold: bool, node: &Arc<NodeMemory>) -> Self {
        let kept = (scroll != Scroll::No).then(|| Kept::new(0, node));
        Self { running: Some(running), position: 0, pulled: 0, kept, scroll, hold, is_binary: false }
    }

    /// Of rows that are there already.
    pub fn of_rows(batches: Vec<Batch>, scroll: Scroll, node: &Arc<NodeMemory>) -> SqlResult<Self> {
        let mut kept = Kept::new(0, node);
        for batch in batches {
            kept.push(batch)?;
        }
        let pulled = kept.rows();
        Ok(Self { running: None, position: 0, pulled, kept: Some(kept), scroll, hold: false, is_binary: false })
    }

    /// Of rows of which so many were given before it was a cursor.
    pub fn start_behind(&mut self, given: u64) {
        self.position = given;
        self.pulled += given;
        if let Some(kept) = &mut self.kept {
            kept.shift(given);
        }
    }

    /// Whether it may move backward: unless NO SCROLL was given. Without SCROLL only while its rows are few.
    pub fn is_scrollable(&self) -> bool {
        self.scroll != Scroll::No
    }

    /// Goes where it is told; rows it passes on its way out go to the sink. Answers how many there were.
    pub async fn go(
        &mut self,
        direction: FetchDirection,
        session: &mut Session,
        sink: &mut dyn Sink,
    ) -> Result<u64, Failure> {
        match direction {
            FetchDirection::Forward(0) | FetchDirection::Backward(0) | FetchDirection::Relative(0) => {
                self.again(session, sink).await
            }
            FetchDirection::Forward(count) => self.forward(count, session, sink).await,
            FetchDirection::ForwardAll => self.forward(u64::MAX, session, sink).await,
            FetchDirection::Backward(count) => self.backward(count, session, sink).await,
            FetchDirection::BackwardAll => self.backward(u64::MAX, session, sink).await,
            FetchDirection::Relative(by) if by > 0 => {
                let target = self.position.saturating_add(by.unsigned_abs());
                self.to(target, session, sink).await
            }
            FetchDirection::Relative(by) => {
                let target = self.position.saturating_sub(by.unsigned_abs());
                self.to(target, session, sink).await
            }
            FetchDirection::Absolute(at) if at >= 0 => self.to(at.unsigned_abs(), session, sink).await,
            FetchDirection::Absolute(at) => {
                self.forward(u64::MAX, session, &mut Nowhere).await?;
                let target = (self.pulled + 1).saturating_sub(at.unsigned_abs());
                self.to(target, session, sink).await
            }
        }
    }

    /// Goes to one row, and answers it.
    async fn to(&mut self, target: u64, session: &mut Session, sink: &mut dyn Sink) -> Result<u64, Failure> {
        if target > self.position {
            let skipped = target - self.position - 1;
            if skipped > 0 && self.forward(skipped, session, &mut Nowhere).await? < skipped {
                self.position = self.pulled + 1;
                return Ok(0);
            }
            return self.forward(1, session, sink).await;
        }
        if target == self.position {
            return self.again(session, sink).await;
        }
        self.check_backward(target)?;
        self.position = target;
        self.again(session, sink).await
    }

    /// The row it stands on.
    async fn again(&mut self, session: &mut Session, sink: &mut dyn Sink) -> Result<u64, Failure> {
        if self.position == 0 || self.position > self.pulled {
            return Ok(0);
        }
        self.check_backward(self.position)?;
        self.kept()?.give(self.position - 1..self.position, sink, &session.formatting()).await?;
        Ok(1)
    }

    async fn forward(
        &mut self,
        count: u64,
        session: &mut Session,
        sink: &mut dyn Sink,
    ) -> Result<u64, Failure> {
        let end = self.position.saturating_add(count);
        let mut given = 0;
        if self.position < self.pulled && self.kept.is_some() {
            let until = end.min(self.pulled);
            given = until - self.position;
            self.kept()?.give(self.position..until, sink, &session.formatting()).await?;
            self.position = until;
        }
        if end > self.pulled {
            let before = self.pulled;
            self.pull(end - self.pulled, session, sink).await?;
            given += self.pulled - before;
        }
        self.position = if self.pulled < end && self.running.is_none() { self.pulled + 1 } else { end };
        Ok(given)
    }

    async fn backward(
        &mut self,
        count: u64,
        session: &mut Session,
        sink: &mut dyn Sink,
    ) -> Result<u64, Failure> {
        let given = count.min(self.position.saturating_sub(1));
        self.check_backward(self.position - given)?;
        let formatting = session.formatting();
        for _ in 0..given {
            self.position -= 1;
            self.kept()?.give(self.position - 1..self.position, sink, &formatting).await?;
        }
        if given < count {
            self.position = 0;
        }
        Ok(given)
    }

    /// Whether it can go back to a position.
    fn check_backward(&self, position: u64) -> SqlResult<()> {
        let is_kept = self.kept.as_ref().is_some_and(|kept| kept.first < position.max(1));
        if is_kept && self.scroll != Scroll::No { Ok(()) } else { Err(only_forward()) }
    }

    fn kept(&self) -> SqlResult<&Kept> {
        self.kept.as_ref().ok_or_else(only_forward)
    }

    /// Pulls the rest and keeps it, for when the transaction is over.
    pub(crate) async fn materialize(&mut self, session: &mut Session) -> Result<(), Failure> {
        let first = self.pulled;
        self.kept.get_or_insert_with(|| Kept::new(first, &session.engine.memory));
        self.pull(u64::MAX, session, &mut Nowhere).await
    }

    /// Pulls so many rows more, to the sink.
    async fn pull(&mut self, count: u64, session: &mut Session, sink: &mut dyn Sink) -> Result<(), Failure> {
        let Some(running) = &mut self.running else { return Ok(()) };
        // A limit of 0 is none.
        let limit = usize::try_from(count).unwrap_or(0);
        let limit = if count == u64::MAX { 0 } else { limit };
        let mut tee = Tee { client: sink, kept: self.kept.as_mut() };
        let pulled = session.pull(running, limit, &mut tee).await?;
        self.pulled += pulled.rows;
        if pulled.is_done {
            self.running = None;
        }
        let may_forget = self.scroll == Scroll::IfSmall && count != u64::MAX;
        if may_forget && self.kept.as_ref().is_some_and(|kept| kept.bytes() > SMALL_BYTES) {
            self.kept = None;
        }
        Ok(())
    }
}

impl Session {
    pub(crate) async fn declare_cursor(
        &mut self,
        name: &str,
        plan: &Arc<PreparedPlan>,
        params: &[Datum],
        options: CursorOptions,
    ) -> Result<Completion, Failure> {
        if !options.hold {
            self.check_in_block("DECLARE CURSOR")?;
        } else if self.state.is_restricted {
            let message = "cannot create a cursor WITH HOLD within security-restricted operation";
            return Err(SqlError::new(SqlState::InsufficientPrivilege, message).into());
        }
        if self.portals.contains(name) {
            let taken = format!("cursor \"{name}\" already exists");
            return Err(SqlError::new(SqlState::DuplicateCursor, taken).into());
        }
        let running = self.open_running(plan, params).await?;
        let mut cursor = Cursor::new(running, options.scroll, options.hold, &self.engine.memory);
        cursor.is_binary = options.binary;
        let scope = self.environment().scope.clone();
        let source = self.activity().state().text.unwrap_or_else(|| Arc::from(""));
        let made = SessionHost::now_micros(&self.engine.clock);
        self.portals.insert(name, Portal::for_cursor(plan.clone(), scope, source, made, cursor));
        Ok(Completion::Done("DECLARE CURSOR".to_owned()))
    }

    pub(crate) async fn fetch(
        &mut self,
        name: &str,
        direction: FetchDirection,
        move_only: bool,
        sink: &mut dyn Sink,
        describe: bool,
    ) -> Result<Completion, Failure> {
        self.keep_held_in_place(Some(name));
        // Taken out, for its rows are read through the session.
        let Some(mut portal) = self.portals.remove(name) else { return Err(no_cursor(name).into()) };
        let plan = portal.prepared.plan.clone();
        let completion = match self.cursor_of(&mut portal, name).await {
            Err(failure) => Err(failure),
            Ok(cursor) if move_only => {
                cursor.go(direction, self, &mut Nowhere).await.map(|rows| format!("MOVE {rows}"))
            }
            Ok(cursor) => {
                if describe {
                    if cursor.is_binary {
                        sink.binary();
                    }
                    sink.columns(&plan.columns);
                }
                cursor.go(direction, self, sink).await.map(|rows| format!("FETCH {rows}"))
            }
        };
        self.portals.insert(name, portal);
        completion.map(Completion::Done)
    }

    pub(crate) fn close_cursor(&mut self, name: Option<&str>) -> Result<Completion, Failure> {
        self.keep_held_in_place(name);
        match name {
            None => self.portals.clear(),
            Some(name) => {
                self.portals.remove(name).ok_or_else(|| no_cursor(name))?;
            }
        }
        Ok(Completion::Done(if name.is_some() { "CLOSE CURSOR" } else { "CLOSE CURSOR ALL" }.to_owned()))
    }

    /// Gets cursors ready to outlive the transaction, which is about to commit.
    pub(crate) async fn hold_cursors(&mut self) -> Result<(), Failure> {
        for name in self.portals.to_hold() {
            let Some(mut portal) = self.portals.remove(&name) else { continue };
            if let Some(cursor) = portal.cursor() {
                cursor.materialize(self).await?;
            }
            self.portals.insert(&name, portal);
        }
        Ok(())
    }

    /// What FETCH answers depends on its cursor.
    pub(crate) fn describe_fetch(&self, plan: &mut PreparedPlan) {
        if let StatementKind::Utility(utility) = &plan.kind
            && let Utility::Fetch { name, move_only: false, .. } = &**utility
        {
            plan.catalog_version = UNCOMMITTED;
            if let Ok(portal) = self.portal(name) {
                plan.columns.clone_from(&portal.prepared.plan.columns);
            }
        }
    }
}

fn only_forward() -> SqlError {
    SqlError::new(SqlState::ObjectNotInPrerequisiteState, "cursor can only scan forward")
        .with_hint("Declare it with SCROLL option to enable backward scan.")
}

fn no_cursor(name: &str) -> SqlError {
    SqlError::new(SqlState::InvalidCursorName, format!("cursor \"{name}\" does not exist"))
}

/// Passes rows on and keeps them.
struct Tee<'a, 'b> {
    client: &'a mut dyn Sink,
    kept: Option<&'b mut Kept>,
}

/// Drops rows: MOVE.
pub(crate) struct Nowhere;

impl Sink for Tee<'_, '_> {
    fn columns(&mut self, columns: &[PlanColumn]) {
        self.client.columns(columns);
    }

    fn copy_out(&mut self, columns: &[PlanColumn], options: &CopyOptions) {
        self.client.copy_out(columns, options);
    }

    fn rows(&mut self, batch: &Batch, rows: Range<usize>, formatting: &Formatting) -> SqlResult<usize> {
        let taken = self.client.rows(batch, rows.clone(), formatting)?;
        if taken > rows.start
            && let Some(kept) = &mut self.kept
        {
            kept.push(batch.slice(rows.start, taken - rows.start))?;
        }
        Ok(taken)
    }

    fn drain(&mut self) -> BoxFuture<'_, SqlResult<()>> {
        self.client.drain()
    }

    fn notice(&mut self, severity: Severity, notice: SqlError) {
        self.client.notice(severity, notice);
    }

    fn mark(&self) -> u64 {
        self.client.mark()
    }

    fn rewind(&mut self, mark: u64) -> bool {
        self.client.rewind(mark)
    }
}

impl Sink for Nowhere {
    fn rows(&mut self, _batch: &Batch, rows: Range<usize>, _formatting: &Formatting) -> SqlResult<usize> {
        Ok(rows.end)
    }

    fn notice(&mut self, _severity: Severity, _notice: SqlError) {}

    fn rewind(&mut self, _mark: u64) -> bool {
        true
    }
}
