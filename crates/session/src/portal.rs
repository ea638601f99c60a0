//! Portals: statements bound to parameters, and queries that are read a few rows at a time.
//!
//! ```text
//!  bound ── Execute, all rows ─────────────────────────▶ done
//!    ├───── Execute, n rows, only reads ──▶ running ───▶ done
//!    └───── Execute, n rows, writes ──────▶ kept ──────▶ done      (it runs to its end at once)
//! ```
//! A running query keeps its operators; each pull lends them the transaction. It goes on seeing what its transaction
//! had written when it began. A portal does not outlive its transaction.

use std::collections::VecDeque;
use std::sync::Arc;

use exec::{ExecContext, MemoryBudget, NodeMemory, NodeReservation};
use plan::{PreparedPlan, StatementKind, statement::{FetchDirection, Scroll}};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use types::{Batch, Datum, Formatting, SqlError, SqlResult, SqlState};

use crate::{
    Completion, Prepared, Session,
    cursor::Cursor,
    plan_cache::Scope,
    prepared::yields_rows,
    session::{Ending, Failure, Run, STATEMENT_MEMORY, TransactionStatus, aborted},
    sink::{Keep, Sink, send},
};

/// What Bind asked of the result's columns: the wire's own affair.
pub type Formats = SmallVec<[i16; 8]>;

/// A prepared statement with its parameters.
pub struct Portal {
    pub prepared: Prepared,
    params: Vec<Datum>,
    pub formats: Formats,
    state: State,
    /// Its number among the session's portals.
    born: u64,
    /// It has outlived its transaction.
    is_held: bool,
    /// How many rows Execute has given.
    given: u64,
    /// What its parameters take of the node's memory.
    _memory: Option<NodeReservation>,
}

/// A portal whose parameters take less is not counted.
const UNCOUNTED_PARAMS: usize = 64 << 10;

impl Portal {
    fn new(prepared: Prepared, params: Vec<Datum>, formats: Formats, state: State) -> Self {
        Self { prepared, params, formats, state, born: 0, is_held: false, given: 0, _memory: None }
    }

    pub(crate) fn for_cursor(
        plan: Arc<PreparedPlan>,
        scope: Arc<Scope>,
        source: Arc<str>,
        made: i64,
        cursor: Cursor,
    ) -> Self {
        let prepared = Prepared { statement: None, plan, scope, source, is_from_sql: true, made, _memory: None };
        Self::new(prepared, Vec::new(), Formats::new(), State::Cursor(Box::new(cursor)))
    }

    /// The cursor that it is; none if it was made by Bind.
    pub(crate) fn cursor(&mut self) -> Option<&mut Cursor> {
        match &mut self.state {
            State::Cursor(cursor) => Some(cursor),
            State::Bound | State::Running(_) | State::Kept { .. } | State::Done => None,
        }
    }
}

/// A row of `pg_cursors`.
pub(crate) struct OpenCursor {
    name: String,
    statement: Arc<str>,
    is_holdable: bool,
    is_binary: bool,
    is_scrollable: bool,
    made: i64,
}

impl OpenCursor {
    pub fn row(&self, table: &'static catalog::VirtualTable) -> Vec<Datum> {
        table.row([
            ("name", Datum::text(self.name.as_str())),
            ("statement", Datum::text(&*self.statement)),
            ("is_holdable", Datum::Bool(self.is_holdable)),
            ("is_binary", Datum::Bool(self.is_binary)),
            ("is_scrollable", Datum::Bool(self.is_scrollable)),
            ("creation_time", Datum::TimestampTz(self.made)),
        ])
    }
}

/// A session's portals by name.
#[derive(Default)]
pub(crate) struct Portals {
    open: FxHashMap<String, Portal>,
    born: u64,
}

impl Portals {
    pub fn contains(&self, name: &str) -> bool {
        self.open.contains_key(name)
    }

    /// Puts a portal in, or back in.
    pub fn insert(&mut self, name: &str, mut portal: Portal) {
        if portal.born == 0 {
            self.born += 1;
            portal.born = self.born;
        }
        self.open.insert(name.to_owned(), portal);
    }

    /// Whether it is a cursor of an earlier transaction: of this name, or any.
    pub fn is_held(&self, name: Option<&str>) -> bool {
        match name {
            Some(name) => self.open.get(name).is_some_and(|portal| portal.is_held),
            None => self.open.values().any(|portal| portal.is_held),
        }
    }

    pub fn remove(&mut self, name: &str) -> Option<Portal> {
        self.open.remove(name)
    }

    pub fn clear(&mut self) {
        self.open.clear();
    }

    /// Where [`Portals::forget_since`] can go back to.
    pub fn mark(&self) -> u64 {
        self.born
    }

    pub fn forget_since(&mut self, mark: u64) {
        self.open.retain(|_, portal| portal.born <= mark);
    }

    /// Of those since the mark, whatever has read in the transaction: it is made anew by who made it.
    pub fn forget_cursors_since(&mut self, mark: u64) {
        self.open.retain(|_, portal| {
            portal.born <= mark || portal.is_held || !matches!(portal.state, State::Running(_) | State::Cursor(_))
        });
    }

    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The cursors among them, by name. There are mostly none.
    pub fn cursors(&self) -> Vec<OpenCursor> {
        let mut cursors: Vec<OpenCursor> = self
            .open
            .iter()
            .filter_map(|(name, portal)| {
                let State::Cursor(cursor) = &portal.state else { return None };
                let (is_holdable, is_scrollable) = (cursor.hold, cursor.is_scrollable());
                let (statement, made) = (portal.prepared.source.clone(), portal.prepared.made);
                Some(OpenCursor { name: name.clone(), statement, is_holdable, is_binary: cursor.is_binary, is_scrollable, made })
            })
            .collect();
        cursors.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        cursors
    }

    /// Whether any of them reads in the transaction and is not at its end.
    pub fn read_on(&self) -> bool {
        self.open.values().any(|portal| match &portal.state {
            State::Running(_) => !portal.is_held,
            State::Cursor(cursor) => !portal.is_held && cursor.is_running(),
            State::Bound | State::Kept { .. } | State::Done => false,
        })
    }

    /// Whatever has its rows by now outlives its transaction.
    pub fn hold(&mut self, name: &str) {
        if let Some(portal) = self.open.get_mut(name) {
            portal.is_held = true;
        }
    }

    /// The cursors that are to outlive the transaction.
    pub fn to_hold(&self) -> Vec<String> {
        let is_to_hold = |portal: &Portal| {
            !portal.is_held && matches!(&portal.state, State::Cursor(cursor) if cursor.hold)
        };
        self.open.iter().filter(|(_, portal)| is_to_hold(portal)).map(|(name, _)| name.clone()).collect()
    }

    /// Ends them with their transaction.
    pub fn end(&mut self, has_committed: bool) {
        if self.open.is_empty() {
            return;
        }
        self.open.retain(|_, portal| {
            portal.is_held |= has_committed && matches!(&portal.state, State::Cursor(cursor) if cursor.hold);
            portal.is_held
        });
    }
}

enum State {
    Bound,
    Running(Box<Running>),
    /// Rows of what has run to its end; none any more once all are given.
    Kept {
        batches: VecDeque<Batch>,
    },
    Cursor(Box<Cursor>),
    Done,
}

/// A query that is read on demand.
pub(crate) struct Running {
    plan: Arc<PreparedPlan>,
    params: Vec<Datum>,
    operator: exec::BoxOperator,
    /// A batch of which rows are left, from this one on.
    rest: Option<(Batch, usize)>,
    /// Where it began; none before that.
    pub statement: Option<kv::StatementMark>,
    ctes: exec::Ctes,
    subqueries: exec::SubqueryCache,
    memory: MemoryBudget,
}

pub(crate) struct Pulled {
    pub rows: u64,
    pub is_done: bool,
}

impl Running {
    pub fn new(plan: &Arc<PreparedPlan>, params: &[Datum], node: &Arc<NodeMemory>) -> SqlResult<Self> {
        let StatementKind::Query { plan: root, .. } = &plan.kind else {
            return Err(SqlError::internal("only a query is read on demand"));
        };
        Ok(Self {
            operator: exec::build(root)?,
            plan: plan.clone(),
            params: params.to_vec(),
            rest: None,
            statement: None,
            ctes: exec::Ctes::default(),
            subqueries: exec::SubqueryCache::default(),
            memory: MemoryBudget::within(STATEMENT_MEMORY, node),
        })
    }

    /// Changes places with what the context has of a statement's own.
    fn swap(&mut self, ctx: &mut ExecContext<'_>) {
        std::mem::swap(&mut self.ctes, &mut ctx.ctes);
        std::mem::swap(&mut self.subqueries, &mut ctx.subqueries);
        std::mem::swap(&mut self.memory, &mut ctx.memory);
    }
}

/// Rows from an operator to a sink, `limit` of them, or all if it is 0.
pub(crate) async fn pump(
    operator: &mut exec::BoxOperator,
    rest: &mut Option<(Batch, usize)>,
    limit: usize,
    sink: &mut dyn Sink,
    ctx: &mut ExecContext<'_>,
) -> SqlResult<Pulled> {
    let formatting = ctx.eval.formatting;
    let mut rows = 0;
    loop {
        let (batch, from) = match rest.take() {
            Some(rest) => rest,
            None => match operator.next(ctx).await? {
                Some(batch) => (batch, 0),
                None => return Ok(Pulled { rows: rows as u64, is_done: true }),
            },
        };
        let left = batch.len() - from;
        let taken = if limit == 0 { left } else { left.min(limit - rows) };
        send(sink, &batch, from..from + taken, formatting).await?;
        rows += taken;
        if taken < left {
            *rest = Some((batch, from + taken));
        }
        if limit > 0 && rows == limit {
            return Ok(Pulled { rows: rows as u64, is_done: false });
        }
    }
}

impl Session {
    /// Makes a portal; the unnamed one is replaced silently.
    ///
    /// # Errors
    /// 42P03 when the name is taken.
    pub fn bind(
        &mut self,
        name: &str,
        prepared: Prepared,
        params: Vec<Datum>,
        formats: Formats,
    ) -> SqlResult<()> {
        if !name.is_empty() && self.portals.contains(name) {
            return Err(SqlError::new(
                SqlState::DuplicateCursor,
                format!("cursor \"{name}\" already exists"),
            ));
        }
        // The unnamed one is replaced by the next.
        let bytes = if name.is_empty() { 0 } else { params.iter().map(Datum::heap_bytes).sum() };
        let memory = (bytes > UNCOUNTED_PARAMS).then(|| self.engine.memory.reserve(bytes)).transpose()?;
        let portal = Portal { _memory: memory, ..Portal::new(prepared, params, formats, State::Bound) };
        self.portals.insert(name, portal);
        Ok(())
    }

    /// # Errors
    /// 34000 when there is none of that name.
    pub fn portal(&self, name: &str) -> SqlResult<&Portal> {
        self.portals.open.get(name).ok_or_else(|| no_portal(name))
    }

    pub fn close_portal(&mut self, name: &str) {
        if let Some(portal) = self.portals.remove(name)
            && (portal.is_held || matches!(portal.state, State::Cursor(_)))
        {
            // It would be there after a replay.
            self.forbid_replay();
        }
    }

    /// A cursor of an earlier transaction stays where it was moved to when this one starts over.
    pub(crate) fn keep_held_in_place(&mut self, name: Option<&str>) {
        if self.portals.is_held(name) {
            self.forbid_replay();
        }
    }

    /// Runs a portal, or runs it on, for `limit` rows; 0 stands for all.
    ///
    /// # Errors
    /// The statement's; the block it ran in has failed then.
    pub async fn execute_portal(
        &mut self,
        name: &str,
        limit: usize,
        sink: &mut dyn Sink,
        ending: Ending,
    ) -> SqlResult<Completion> {
        if self.status() == TransactionStatus::Failed
            && self.portal(name).is_ok_and(|portal| !matches!(portal.state, State::Bound))
        {
            return Err(aborted());
        }
        // Taken out, for the statement may end the transaction, and with it all portals.
        let mut portal = self.portals.remove(name).ok_or_else(|| no_portal(name))?;
        let completion = self.run_portal(&mut portal, name, limit, sink, ending).await?;
        if self.block.is_some() || portal.is_held {
            self.portals.insert(name, portal);
        }
        Ok(completion)
    }

    async fn run_portal(
        &mut self,
        portal: &mut Portal,
        name: &str,
        limit: usize,
        sink: &mut dyn Sink,
        ending: Ending,
    ) -> SqlResult<Completion> {
        match &mut portal.state {
            State::Bound => self.run_bound(portal, limit, sink, ending).await,
            State::Running(running) => {
                self.forbid_replay();
                self.start_clock();
                let tag = running.plan.tag;
                let outcome = self.pull(running, limit, sink).await;
                self.tell_notices(sink);
                self.stop_clock();
                if let (Ok(pulled), Some(statement)) = (&outcome, &portal.prepared.statement) {
                    self.count_more_rows(statement, pulled.rows);
                }
                if let Ok(pulled) = &outcome {
                    portal.given += pulled.rows;
                }
                match outcome {
                    Ok(pulled) if pulled.is_done => {
                        portal.state = State::Done;
                        Ok(Completion::Done(format!("{tag} {}", pulled.rows)))
                    }
                    Ok(_) => Ok(Completion::Suspended),
                    Err(failure) => Err(self.fail(failure.into_sql()).await),
                }
            }
            State::Kept { batches } => {
                let (rows, is_done) = give(batches, limit, sink, &self.formatting()).await?;
                portal.given += rows as u64;
                if !is_done {
                    return Ok(Completion::Suspended);
                }
                Ok(Completion::Done(tag_of(portal.prepared.plan.tag, rows)))
            }
            State::Cursor(cursor) => {
                self.forbid_replay();
                self.start_clock();
                let direction = if limit == 0 {
                    FetchDirection::ForwardAll
                } else {
                    FetchDirection::Forward(limit as u64)
                };
                let outcome = cursor.go(direction, self, sink).await;
                self.tell_notices(sink);
                self.stop_clock();
                match outcome {
                    Ok(rows) if limit > 0 && rows == limit as u64 => Ok(Completion::Suspended),
                    Ok(rows) => Ok(Completion::Done(format!("SELECT {rows}"))),
                    Err(failure) => Err(self.fail(failure.into_sql()).await),
                }
            }
            State::Done => match &portal.prepared.plan.kind {
                StatementKind::Query { .. } if yields_rows(&portal.prepared.plan) => {
                    Ok(Completion::Done(tag_of(portal.prepared.plan.tag, 0)))
                }
                _ => Err(self.fail(cannot_be_run(name)).await),
            },
        }
    }

    async fn run_bound(
        &mut self,
        portal: &mut Portal,
        limit: usize,
        sink: &mut dyn Sink,
        ending: Ending,
    ) -> SqlResult<Completion> {
        let prepared = portal.prepared.clone();
        let Some(statement) = &prepared.statement else { return Ok(Completion::Empty) };
        let params = std::mem::take(&mut portal.params);
        portal.state = State::Done;
        let mut run = Run {
            statement,
            params: &params,
            planned: Some(&prepared.plan),
            text: None,
            describe: false,
            ending,
            limit: 0,
        };
        if limit == 0 || !yields_rows(&prepared.plan) {
            return self.run_with(&run, sink).await;
        }
        if matches!(prepared.plan.kind, StatementKind::Query { writes: false, .. }) {
            run.limit = limit;
            let completion = self.run_with(&run, sink).await?;
            if let Some(running) = self.suspended.take() {
                portal.state = State::Running(running);
                portal.given = limit as u64;
            }
            return Ok(completion);
        }
        let mut keep = Keep { client: sink, batches: Vec::new() };
        let completion = self.run_with(&run, &mut keep).await?;
        let mut batches = VecDeque::from(keep.batches);
        let (rows, is_done) = give(&mut batches, limit, sink, &self.formatting()).await?;
        portal.given = rows as u64;
        portal.state = State::Kept { batches };
        Ok(if is_done { completion } else { Completion::Suspended })
    }

    /// The cursor that FETCH and MOVE go about in. A portal that Bind has made becomes one, which goes forward only, from where
    /// Execute has left it.
    pub(crate) async fn cursor_of<'a>(&mut self, portal: &'a mut Portal, name: &str) -> Result<&'a mut Cursor, Failure> {
        if portal.cursor().is_none() {
            // Who starts over would find the portal as Bind has left it, or not at all.
            self.forbid_replay();
            let is_query = matches!(portal.prepared.plan.kind, StatementKind::Query { writes: false, .. });
            let mut cursor = match std::mem::replace(&mut portal.state, State::Done) {
                State::Bound if is_query => {
                    let params = std::mem::take(&mut portal.params);
                    let running = self.open_running(&portal.prepared.plan.clone(), &params).await?;
                    Cursor::new(running, Scroll::No, false, &self.engine.memory)
                }
                State::Bound => {
                    portal.state = State::Bound;
                    let error = if yields_rows(&portal.prepared.plan) {
                        SqlError::not_supported("FETCH from a portal that writes and was not executed is not supported")
                    } else {
                        cannot_be_run(name)
                    };
                    return Err(error.into());
                }
                State::Running(running) => Cursor::new(running, Scroll::No, false, &self.engine.memory),
                State::Kept { batches } => Cursor::of_rows(batches.into(), Scroll::No, &self.engine.memory)?,
                State::Done if yields_rows(&portal.prepared.plan) => Cursor::of_rows(Vec::new(), Scroll::No, &self.engine.memory)?,
                State::Done => return Err(cannot_be_run(name).into()),
                State::Cursor(cursor) => *cursor,
            };
            cursor.start_behind(portal.given);
            portal.state = State::Cursor(Box::new(cursor));
        }
        portal.cursor().ok_or_else(|| SqlError::internal("a portal did not become a cursor").into())
    }

    /// Reads on in a query.
    pub(crate) async fn pull(
        &mut self,
        running: &mut Running,
        limit: usize,
        sink: &mut dyn Sink,
    ) -> Result<Pulled, Failure> {
        let (plan, params) = (running.plan.clone(), std::mem::take(&mut running.params));
        let outcome = self
            .with_exec(&params, &plan.ctes, async |ctx| {
                let txn = ctx.txn()?;
                match running.statement {
                    Some(mark) => txn.resume_statement(mark),
                    None => running.statement = Some(txn.statement()),
                }
                running.swap(ctx);
                let outcome = pump(&mut running.operator, &mut running.rest, limit, sink, ctx).await;
                running.swap(ctx);
                outcome
            })
            .await;
        running.params = params;
        outcome
    }
}

fn cannot_be_run(name: &str) -> SqlError {
    SqlError::new(SqlState::ObjectNotInPrerequisiteState, format!("portal \"{name}\" cannot be run"))
}

/// The tag of an Execute that has given so many rows of what ran before.
fn tag_of(tag: &str, rows: usize) -> String {
    if tag == "INSERT" { format!("INSERT 0 {rows}") } else { format!("{tag} {rows}") }
}

/// Rows that were kept: how many were given, and whether there are no more.
async fn give(
    batches: &mut VecDeque<Batch>,
    limit: usize,
    sink: &mut dyn Sink,
    formatting: &Formatting,
) -> SqlResult<(usize, bool)> {
    let mut given = 0;
    let mut left = if limit == 0 { usize::MAX } else { limit };
    while let Some(batch) = batches.pop_front() {
        let taken = batch.len().min(left);
        send(sink, &batch, 0..taken, formatting).await?;
        left -= taken;
        given += taken;
        if taken < batch.len() {
            batches.push_front(batch.slice(taken, batch.len() - taken));
        }
        if left == 0 {
            return Ok((given, false));
        }
    }
    Ok((given, true))
}

fn no_portal(name: &str) -> SqlError {
    SqlError::new(SqlState::InvalidCursorName, format!("portal \"{name}\" does not exist"))
}
