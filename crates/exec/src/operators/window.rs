//! Window functions: the input is sorted by partition and order, then each partition is walked.
//!
//! An aggregate whose frame only grows is carried on from row to row. Where the frame's start moves on, rows that it leaves
//! behind are taken out again, or for `min` and `max` out of a queue; an aggregate that cannot do so is computed anew.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use builtins::{Accumulator, EvalContext};
use plan::plan::{FrameExclude, WindowCall, WindowFunction};
use plan::{AggregateCall, Expr, SortKey};
use smallvec::SmallVec;
use types::{Batch, ColumnVec, Datum, SqlError, SqlResult, SqlState};

use super::frame::{Frame, Partition};
use super::sort::{SortColumn, compare_rows, sorted_rows};
use super::{Emitter, drain};
use crate::context::ExecContext;
use crate::eval::{eval_all, eval_shared};
use crate::memory::Reservation;
use crate::operator::{BoxOperator, Operator};

pub(crate) struct Window {
    input: BoxOperator,
    partition_by: Vec<Expr>,
    order_by: Vec<SortKey>,
    calls: Vec<WindowCall>,
    rows: Option<Emitter>,
    is_done: bool,
}

impl Window {
    pub(crate) fn new(
        input: BoxOperator,
        partition_by: Vec<Expr>,
        order_by: Vec<SortKey>,
        calls: Vec<WindowCall>,
    ) -> Self {
        Self { input, partition_by, order_by, calls, rows: None, is_done: false }
    }

    async fn run(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Emitter>> {
        let mut memory = ctx.memory.reservation();
        let Some(input) = drain(self.input.as_mut(), &mut memory, ctx).await? else { return Ok(None) };
        let len = input.len();
        let mut columns = Vec::with_capacity(self.partition_by.len() + self.order_by.len());
        for expr in &self.partition_by {
            columns.push(SortColumn::ascending(eval_shared(expr, &input, ctx).await?, expr.ty()));
        }
        for key in &self.order_by {
            columns.push(SortColumn::new(key, eval_shared(&key.expr, &input, ctx).await?));
        }
        memory.grow(columns.iter().map(|column| column.column.memory_bytes()).sum::<usize>() + 8 * len)?;
        let sorted = sorted_rows(&columns, len)?;
        let input = input.gather(&sorted);
        for column in &mut columns {
            column.column = Arc::new(column.column.gather(&sorted));
        }
        let (partition_by, order) = columns.split_at(self.partition_by.len());
        let partitions = partitions(partition_by, order, len);
        let mut out = input.columns().to_vec();
        for call in &self.calls {
            let column = eval_call(call, !self.order_by.is_empty(), &input, &partitions, ctx).await?;
            memory.grow(column.memory_bytes())?;
            out.push(Arc::new(column));
        }
        Ok(Some(Emitter::new(Batch::new(out, len), None, memory)))
    }
}

async fn eval_call(
    call: &WindowCall,
    is_ordered: bool,
    input: &Batch,
    partitions: &[Partition<'_>],
    ctx: &mut ExecContext<'_>,
) -> SqlResult<ColumnVec> {
    let is_framed = matches!(
        call.function,
        WindowFunction::Aggregate(_)
            | WindowFunction::FirstValue
            | WindowFunction::LastValue
            | WindowFunction::NthValue
    );
    let frame = if is_framed {
        Some(Frame::eval(call.frame.as_ref(), is_ordered, ctx).await?)
    } else {
        None
    };
    let (args, filter) = match &call.function {
        WindowFunction::Aggregate(aggregate) => {
            let filter = match &aggregate.filter {
                Some(filter) => Some(eval_shared(filter, input, ctx).await?),
                None => None,
            };
            (eval_all(&aggregate.args, input, ctx).await?, filter)
        }
        _ => (eval_all(&call.args, input, ctx).await?, None),
    };
    let mut column = ColumnVec::with_capacity(&call.ty, input.len());
    for partition in partitions {
        ctx.cancel.checkpoint().await?;
        let frames = match &frame {
            Some(frame) => frame.ranges(partition, ctx.eval)?,
            None => Vec::new(),
        };
        let exclude = call.frame.as_ref().map(|frame| frame.exclude).unwrap_or_default();
        let call_in = CallIn { partition, frames: &frames, exclude, args: &args };
        if let WindowFunction::Aggregate(aggregate) = &call.function {
            call_in.aggregate(aggregate, filter.as_deref(), ctx, &mut column)?;
        } else {
            for row in partition.rows.clone() {
                column.push(&call_in.value(&call.function, row)?);
            }
        }
    }
    Ok(column)
}

fn partitions<'c>(partition_by: &[SortColumn], order: &'c [SortColumn], len: usize) -> Vec<Partition<'c>> {
    let mut partitions: Vec<Partition<'c>> = Vec::new();
    for row in 0..len {
        let is_new = row == 0 || compare_rows(partition_by, row - 1, row).is_ne();
        if is_new {
            partitions.push(Partition { rows: row..row, groups: Vec::new(), group_of: Vec::new(), order });
        }
        let partition = partitions.last_mut().expect("the first row starts a partition");
        if is_new || compare_rows(order, row - 1, row).is_ne() {
            partition.groups.push(row..row);
        }
        partition.rows.end = row + 1;
        let group = partition.groups.len() - 1;
        partition.groups[group].end = row + 1;
        partition.group_of.push(group);
    }
    partitions
}

/// A call over one partition.
struct CallIn<'c> {
    partition: &'c Partition<'c>,
    /// By row, counted from the partition's first; for functions that have frames.
    frames: &'c [Range<usize>],
    exclude: FrameExclude,
    args: &'c [Arc<ColumnVec>],
}

impl CallIn<'_> {
    /// The rows of a frame in their order, as ranges without what is excluded.
    fn frame(&self, row: usize) -> [Range<usize>; 3] {
        let at = row - self.partition.rows.start;
        let frame = self.frames[at].clone();
        let peers = || self.partition.groups[self.partition.group_of[at]].clone();
        let (gone, kept) = match self.exclude {
            FrameExclude::NoOthers => return [frame, 0..0, 0..0],
            FrameExclude::CurrentRow => (row..row + 1, 0..0),
            FrameExclude::Group => (peers(), 0..0),
            FrameExclude::Ties if frame.contains(&row) => (peers(), row..row + 1),
            FrameExclude::Ties => (peers(), 0..0),
        };
        let before = frame.start..gone.start.clamp(frame.start, frame.end);
        let after = gone.end.clamp(frame.start, frame.end)..frame.end;
        [before, kept, after]
    }

    fn arg(&self, number: usize, row: usize) -> Option<Datum> {
        self.args.get(number).map(|column| column.get_datum(row))
    }

    fn value(&self, function: &WindowFunction, row: usize) -> SqlResult<Datum> {
        let rows = &self.partition.rows;
        let at = row - rows.start;
        let group = self.partition.group_of[at];
        let peers = &self.partition.groups[group];
        let rank = peers.start - rows.start + 1;
        Ok(match function {
            WindowFunction::RowNumber => Datum::Int(at as i64 + 1),
            WindowFunction::Rank => Datum::Int(rank as i64),
            WindowFunction::DenseRank => Datum::Int(group as i64 + 1),
            WindowFunction::PercentRank if rows.len() == 1 => Datum::Float(0.0),
            WindowFunction::PercentRank => Datum::Float((rank - 1) as f64 / (rows.len() - 1) as f64),
            WindowFunction::CumeDist => Datum::Float((peers.end - rows.start) as f64 / rows.len() as f64),
            // The first row's argument counts for its whole partition.
            WindowFunction::Ntile => match self.arg(0, rows.start).and_then(|buckets| buckets.as_int()) {
                None => Datum::Null,
                Some(buckets) => Datum::Int(ntile(at as i64, rows.len() as i64, buckets)?),
            },
            WindowFunction::Lag | WindowFunction::Lead => {
                let offset = match self.args.get(1) {
                    Some(offsets) => match offsets.get_datum(row).as_int() {
                        Some(offset) => offset,
                        None => return Ok(Datum::Null),
                    },
                    None => 1,
                };
                let distance = if matches!(function, WindowFunction::Lag) { offset.checked_neg() } else { Some(offset) };
                let target = distance.and_then(|distance| (row as i64).checked_add(distance));
                match target.and_then(|target| usize::try_from(target).ok()).filter(|target| rows.contains(target)) {
                    Some(target) => self.arg(0, target).unwrap_or_default(),
                    None => self.arg(2, row).unwrap_or_default(),
                }
            }
            WindowFunction::FirstValue => {
                let first = self.frame(row).into_iter().find(|rows| !rows.is_empty());
                first.and_then(|rows| self.arg(0, rows.start)).unwrap_or_default()
            }
            WindowFunction::LastValue => {
                let last = self.frame(row).into_iter().rfind(|rows| !rows.is_empty());
                last.and_then(|rows| self.arg(0, rows.end - 1)).unwrap_or_default()
            }
            WindowFunction::NthValue => match self.arg(1, row).and_then(|nth| nth.as_int()) {
                None => Datum::Null,
                Some(nth) if nth < 1 => {
                    return Err(SqlError::new(
                        SqlState::InvalidArgumentForNthValue,
                        "argument of nth_value must be greater than zero",
                    ));
                }
                Some(nth) => {
                    let mut left = usize::try_from(nth - 1).unwrap_or(usize::MAX);
                    let target = self.frame(row).into_iter().find_map(|rows| {
                        if left < rows.len() {
                            return Some(rows.start + left);
                        }
                        left -= rows.len();
                        None
                    });
                    target.and_then(|target| self.arg(0, target)).unwrap_or_default()
                }
            },
            WindowFunction::Aggregate(_) => return Err(SqlError::internal("aggregates are computed by partition")),
        })
    }

    /// The arguments of a row; none where the aggregate passes it over.
    fn row_args(&self, call: &AggregateCall, filter: Option<&ColumnVec>, row: usize) -> Option<SmallVec<[Datum; 2]>> {
        if filter.is_some_and(|filter| filter.get_datum(row).as_bool() != Some(true))
            || (call.aggregate.strict && self.args.iter().any(|arg| arg.is_null(row)))
        {
            return None;
        }
        Some(self.args.iter().map(|arg| arg.get_datum(row)).collect())
    }

    fn add_row(
        &self,
        call: &AggregateCall,
        filter: Option<&ColumnVec>,
        row: usize,
        state: &mut dyn Accumulator,
        context: &EvalContext<'_>,
    ) -> SqlResult<()> {
        match self.row_args(call, filter, row) {
            Some(args) => state.add(context, &args),
            None => Ok(()),
        }
    }

    /// Takes rows out again that the frame has left behind; false where the aggregate does not know how.
    fn remove_rows(
        &self,
        call: &AggregateCall,
        filter: Option<&ColumnVec>,
        mut rows: Range<usize>,
        state: &mut dyn Accumulator,
        context: &EvalContext<'_>,
    ) -> SqlResult<bool> {
        rows.try_fold(true, |gone, row| match self.row_args(call, filter, row) {
            Some(args) if gone => state.remove(context, &args),
            _ => Ok(gone),
        })
    }

    fn aggregate(
        &self,
        call: &AggregateCall,
        filter: Option<&ColumnVec>,
        ctx: &ExecContext<'_>,
        column: &mut ColumnVec,
    ) -> SqlResult<()> {
        if self.exclude != FrameExclude::NoOthers {
            // What is excluded moves with the row: each frame is computed by itself.
            let mut made = Made { memory: ctx.memory.reservation(), bytes: 0 };
            for row in self.partition.rows.clone() {
                ctx.cancel.check()?;
                let mut state = (call.aggregate.new)(&call.types);
                for row in self.frame(row).into_iter().flatten() {
                    self.add_row(call, filter, row, state.as_mut(), ctx.eval)?;
                }
                column.push(&made.counted(state.finish(ctx.eval)?)?);
            }
            return Ok(());
        }
        if call.aggregate.signature.name == "count" && call.args.is_empty() && filter.is_none() {
            self.frames.iter().for_each(|frame| column.push(&Datum::Int(frame.len() as i64)));
            return Ok(());
        }
        if let (name @ ("min" | "max"), [arg], [ty]) = (call.aggregate.signature.name, self.args, &call.types.args[..])
            && !ty.is_row()
            && !ty.is_array()
        {
            let key = SortColumn::ascending(Arc::clone(arg), *ty);
            let worse = if name == "min" { Ordering::Greater } else { Ordering::Less };
            return self.extremes(&key, worse, filter, ctx, column);
        }
        let mut made = Made { memory: ctx.memory.reservation(), bytes: 0 };
        let mut state = (call.aggregate.new)(&call.types);
        let mut covered = self.frames.first().map_or(0..0, |frame| frame.start..frame.start);
        let mut result: Option<Datum> = None;
        for (number, frame) in self.frames.iter().enumerate() {
            if number % 1024 == 0 {
                ctx.cancel.check()?;
            }
            let moves_on = covered.start <= frame.start && frame.start <= covered.end && covered.end <= frame.end;
            let left_behind = covered.start..frame.start;
            if moves_on && self.remove_rows(call, filter, left_behind.clone(), state.as_mut(), ctx.eval)? {
                if !left_behind.is_empty() {
                    result = None;
                }
                covered.start = frame.start;
            } else {
                state = (call.aggregate.new)(&call.types);
                covered = frame.start..frame.start;
                result = None;
            }
            for row in covered.end..frame.end {
                self.add_row(call, filter, row, state.as_mut(), ctx.eval)?;
                result = None;
            }
            covered.end = frame.end;
            let value = match result.take() {
                Some(value) => value,
                None => made.counted(state.finish(ctx.eval)?)?,
            };
            column.push(&value);
            result = Some(value);
        }
        Ok(())
    }
}

const MADE_BETWEEN_CHECKS: usize = 1 << 20;

/// What the answers of a partition take, counted while they are made: each may hold its whole frame.
struct Made {
    memory: Reservation,
    bytes: usize,
}

impl Made {
    fn counted(&mut self, value: Datum) -> SqlResult<Datum> {
        self.bytes += value.heap_bytes();
        if self.bytes >= MADE_BETWEEN_CHECKS {
            self.memory.grow(std::mem::take(&mut self.bytes))?;
        }
        Ok(value)
    }
}

impl CallIn<'_> {
    /// The least or the greatest value of each frame. Rows that may still become it are kept in a queue, the best first:
    /// those behind it came later and are worse. Of equal values, which may print differently, the last is the answer. Each
    /// row enters and leaves once as long as frames move on.
    fn extremes(
        &self,
        key: &SortColumn,
        worse: Ordering,
        filter: Option<&ColumnVec>,
        ctx: &ExecContext<'_>,
        column: &mut ColumnVec,
    ) -> SqlResult<()> {
        let mut queue: VecDeque<usize> = VecDeque::new();
        let mut covered = 0..0;
        let counts = |row: &usize| {
            !key.column.is_null(*row) && filter.is_none_or(|filter| filter.get_datum(*row).as_bool() == Some(true))
        };
        for (number, frame) in self.frames.iter().enumerate() {
            if number % 1024 == 0 {
                ctx.cancel.check()?;
            }
            let moves_on = covered.start <= frame.start && frame.start <= covered.end && covered.end <= frame.end;
            if !moves_on {
                queue.clear();
                covered = frame.start..frame.start;
            }
            while queue.front().is_some_and(|row| *row < frame.start) {
                queue.pop_front();
            }
            for row in (covered.end..frame.end).filter(counts) {
                while queue.back().is_some_and(|last| key.compare(row, *last) != worse) {
                    queue.pop_back();
                }
                queue.push_back(row);
            }
            covered = frame.clone();
            match queue.front() {
                Some(best) => column.push(&key.column.get_datum(*best)),
                None => column.push_null(),
            }
        }
        Ok(())
    }
}

/// The first `rows % buckets` buckets have one row more.
fn ntile(at: i64, rows: i64, buckets: i64) -> SqlResult<i64> {
    if buckets < 1 {
        return Err(SqlError::new(
            SqlState::InvalidArgumentForNtile,
            "argument of ntile must be greater than zero",
        ));
    }
    let (size, larger) = (rows / buckets, rows % buckets);
    let in_larger = larger * (size + 1);
    Ok(if at < in_larger { at / (size + 1) + 1 } else { larger + (at - in_larger) / size.max(1) + 1 })
}

#[async_trait]
impl Operator for Window {
    async fn next(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
        if self.rows.is_none() && !self.is_done {
            self.rows = self.run(ctx).await?;
            self.is_done = true;
        }
        ctx.cancel.checkpoint().await?;
        Ok(self.rows.as_mut().and_then(Emitter::next))
    }
}
