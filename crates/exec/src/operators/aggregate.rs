//! GROUP BY: groups by hash, in the order in which their first rows came, so input ordered by the groups stays so.
//!
//! Each grouping set has a table of its own over the same input. Arguments that are DISTINCT or ordered are kept until
//! the end and then added group by group; DISTINCT ones in their own order, as PostgreSQL's sort leaves them.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use builtins::{Accumulator, EvalContext};
use plan::{AggregateCall, Expr};
use types::{Batch, ColumnVec, Datum, IntKind, Primitive, SqlResult, SqlType};

use super::Emitter;
use super::fast_aggregate::{FastAggregate, Rows};
use super::key_table::KeyTable;
use super::sort::{SortColumn, sorted_rows};
use crate::context::ExecContext;
use crate::eval::{eval_all, eval_shared};
use crate::memory::Reservation;
use crate::operator::{BoxOperator, Operator};

/// What one aggregate needs of a batch.
struct Inputs {
    args: Vec<Arc<ColumnVec>>,
    filter: Option<Arc<ColumnVec>>,
    order: Vec<Arc<ColumnVec>>,
}

impl Inputs {
    async fn eval(call: &AggregateCall, batch: &Batch, ctx: &mut ExecContext<'_>) -> SqlResult<Self> {
        let filter = match &call.filter {
            Some(filter) => Some(eval_shared(filter, batch, ctx).await?),
            None => None,
        };
        // What the FILTER drops is not evaluated: its arguments may fail there.
        if let Some(filter) = &filter {
            let kept = filter.true_rows();
            if kept.len() < batch.len() {
                let part = batch.gather(&kept);
                let spread = |column: &ColumnVec, ty: &SqlType| spread(column, ty, &kept, batch.len());
                let mut inputs = Self { args: Vec::new(), filter: Some(Arc::clone(filter)), order: Vec::new() };
                for arg in &call.args {
                    inputs.args.push(Arc::new(spread(eval_shared(arg, &part, ctx).await?.as_ref(), &arg.ty())));
                }
                for (at, key) in call.order_by.iter().enumerate() {
                    if let Some(arg) = call.argument_of_key(at) {
                        inputs.order.push(Arc::clone(&inputs.args[arg]));
                        continue;
                    }
                    let column = eval_shared(&key.expr, &part, ctx).await?;
                    inputs.order.push(Arc::new(spread(column.as_ref(), &key.expr.ty())));
                }
                return Ok(inputs);
            }
        }
        let args = eval_all(&call.args, batch, ctx).await?;
        let mut order = Vec::with_capacity(call.order_by.len());
        for (at, key) in call.order_by.iter().enumerate() {
            order.push(match call.argument_of_key(at) {
                Some(arg) => Arc::clone(&args[arg]),
                None => eval_shared(&key.expr, batch, ctx).await?,
            });
        }
        Ok(Self { args, filter, order })
    }

    fn keeps(&self, row: usize) -> bool {
        match self.filter.as_deref() {
            None => true,
            Some(ColumnVec::Bool(filter)) => filter.get(row) == Some(true),
            Some(filter) => filter.get_datum(row).as_bool() == Some(true),
        }
    }
}

/// The values of some rows at their places, NULL elsewhere.
fn spread(column: &ColumnVec, ty: &SqlType, rows: &[u32], len: usize) -> ColumnVec {
    let mut out = ColumnVec::with_capacity(ty, len);
    let mut rows = rows.iter().enumerate().peekable();
    for row in 0..len {
        match rows.next_if(|(_, at)| **at as usize == row) {
            Some((from, _)) => out.append_range(column, from, 1),
            None => out.push_null(),
        }
    }
    out
}

enum State {
    Fast(FastAggregate),
    General(Vec<Box<dyn Accumulator>>),
    /// Groups, arguments and order keys of the rows to add at the end.
    Kept { groups: Vec<u32>, rows: Batch, seen: Option<KeyTable> },
}

impl State {
    fn new(call: &AggregateCall) -> Self {
        if call.distinct || !call.order_by.is_empty() {
            let mut types = vec![SqlType::Int8];
            types.extend(call.args.iter().map(Expr::ty));
            let seen = call.distinct.then(|| KeyTable::new(types));
            return Self::Kept { groups: Vec::new(), rows: Batch::default(), seen };
        }
        match FastAggregate::new(call) {
            Some(fast) => Self::Fast(fast),
            None => Self::General(Vec::new()),
        }
    }

    fn update(
        &mut self,
        call: &AggregateCall,
        numbers: &[u32],
        groups: usize,
        inputs: &Inputs,
        context: &EvalContext<'_>,
    ) -> SqlResult<()> {
        let is_skipped = |row: usize| {
            !inputs.keeps(row) || (call.aggregate.strict && inputs.args.iter().any(|arg| arg.is_null(row)))
        };
        match self {
            Self::Fast(fast) => {
                fast.resize(groups);
                let keeps = |row: usize| inputs.keeps(row);
                let keep: Option<&dyn Fn(usize) -> bool> = inputs.filter.is_some().then_some(&keeps as &dyn Fn(usize) -> bool);
                fast.update(&Rows { groups: numbers, keep }, &inputs.args)?;
            }
            Self::General(states) => {
                states.resize_with(groups, || (call.aggregate.new)(&call.types));
                let mut args = Vec::with_capacity(inputs.args.len());
                for (row, number) in numbers.iter().enumerate() {
                    if is_skipped(row) {
                        continue;
                    }
                    args.clear();
                    args.extend(inputs.args.iter().map(|arg| arg.get_datum(row)));
                    states[*number as usize].add(context, &args)?;
                }
            }
            Self::Kept { groups, rows, seen } => {
                let kept: Vec<u32> = match seen {
                    Some(seen) => {
                        let group = numbers.iter().map(|number| i64::from(*number)).collect();
                        let mut keys = vec![Arc::new(ColumnVec::Int(IntKind::Int, Primitive::from_values(group)))];
                        keys.extend(inputs.args.iter().cloned());
                        let mut new = Vec::new();
                        seen.insert(&keys, numbers.len(), |row| !is_skipped(row), |row| new.push(row));
                        new
                    }
                    None => (0..numbers.len()).filter(|row| !is_skipped(*row)).map(|row| row as u32).collect(),
                };
                if kept.is_empty() {
                    return Ok(());
                }
                groups.extend(kept.iter().map(|row| numbers[*row as usize]));
                let columns = inputs.args.iter().chain(&inputs.order).cloned().collect();
                rows.append(&Batch::new(columns, numbers.len()).gather(&kept));
            }
        }
        Ok(())
    }

    fn memory_bytes(&self) -> usize {
        match self {
            Self::Fast(fast) => fast.memory_bytes(),
            Self::General(states) => {
                // All of a few, or an estimate from a sample of many.
                let step = states.len().div_ceil(512).max(1);
                let sampled: usize = states.iter().step_by(step).map(|state| 32 + state.memory_bytes()).sum();
                sampled * step
            }
            Self::Kept { groups, rows, seen } => {
                groups.capacity() * 4 + rows.memory_bytes() + seen.as_ref().map_or(0, KeyTable::memory_bytes)
            }
        }
    }

    /// The result of each group.
    fn finish(self, call: &AggregateCall, groups: usize, context: &EvalContext<'_>) -> SqlResult<ColumnVec> {
        let mut column = ColumnVec::with_capacity(&call.types.ret, groups);
        match self {
            Self::Fast(mut fast) => {
                fast.resize(groups);
                for group in 0..groups {
                    column.push(&fast.finish(group)?);
                }
            }
            Self::General(mut states) => {
                states.resize_with(groups, || (call.aggregate.new)(&call.types));
                for state in states {
                    column.push(&state.finish(context)?);
                }
            }
            Self::Kept { groups: numbers, rows, .. } => {
                let arg_count = call.args.len();
                let group = numbers.iter().map(|number| i64::from(*number)).collect();
                let group = Arc::new(ColumnVec::Int(IntKind::Int, Primitive::from_values(group)));
                let mut order = vec![SortColumn::ascending(group, SqlType::Int8)];
                let columns = rows.columns();
                if !rows.is_empty() {
                    for (key, column) in call.order_by.iter().zip(&columns[arg_count..]) {
                        order.push(SortColumn::new(key, Arc::clone(column)));
                    }
                    for (arg, column) in call.args.iter().zip(columns).filter(|_| call.distinct) {
                        if arg.ty().is_ordered() {
                            order.push(SortColumn::ascending(Arc::clone(column), arg.ty()));
                        }
                    }
                }
                let mut sorted = sorted_rows(&order, numbers.len())?.into_iter().peekable();
                for group in 0..groups {
                    let mut state = (call.aggregate.new)(&call.types);
                    while let Some(row) = sorted.next_if(|row| numbers[*row as usize] as usize == group) {
                        let args: Vec<Datum> =
                            columns[..arg_count].iter().map(|column| column.get_datum(row as usize)).collect();
                        state.add(context, &args)?;
                    }
                    column.push(&state.finish(context)?);
                }
            }
        }
        Ok(column)
    }
}

/// The arguments of a batch above this are counted, with a copy of them, while they are aggregated.
const LARGE_BATCH_BYTES: usize = 1 << 20;

/// One grouping set.
struct GroupSet {
    /// Positions in the node's groups.
    members: Vec<usize>,
    table: KeyTable,
    states: Vec<State>,
}

pub(crate) struct Aggregation {
    input: BoxOperator,
    groups: Vec<Expr>,
    aggregates: Vec<AggregateCall>,
    sets: Vec<GroupSet>,
    types: Vec<SqlType>,
    results: Option<VecDeque<Emitter>>,
}

impl Aggregation {
    pub(crate) fn new(
        input: BoxOperator,
        groups: Vec<Expr>,
        aggregates: Vec<AggregateCall>,
        sets: Option<Vec<Vec<usize>>>,
        types: Vec<SqlType>,
    ) -> Self {
        let sets = sets.unwrap_or_else(|| vec![(0..groups.len()).collect()]);
        let sets = sets
            .into_iter()
            .map(|members| GroupSet {
                table: KeyTable::new(members.iter().map(|member| groups[*member].ty()).collect()),
                states: aggregates.iter().map(State::new).collect(),
                members,
            })
            .collect();
        Self { input, groups, aggregates, sets, types, results: None }
    }

    async fn run(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<VecDeque<Emitter>> {
        let mut memory = ctx.memory.reservation();
        let mut kept = 0;
        while let Some(batch) = self.input.next(ctx).await? {
            ctx.cancel.checkpoint().await?;
            if batch.is_empty() {
                continue;
            }
            let groups = eval_all(&self.groups, &batch, ctx).await?;
            let mut inputs = Vec::with_capacity(self.aggregates.len());
            for call in &self.aggregates {
                inputs.push(Inputs::eval(call, &batch, ctx).await?);
            }
            // Before any of it is copied: a thousand large values may be more than is left.
            let arriving: usize = inputs.iter().flat_map(|inputs| &inputs.args).map(|column| column.memory_bytes()).sum();
            if arriving > LARGE_BATCH_BYTES {
                memory.resize(kept + 2 * arriving)?;
            }
            let mut bytes = 0;
            for set in &mut self.sets {
                let keys: Vec<Arc<ColumnVec>> = set.members.iter().map(|member| Arc::clone(&groups[*member])).collect();
                set.table.check_alike(&keys, batch.len())?;
                let numbers = set.table.insert(&keys, batch.len(), |_| true, |_| {});
                bytes += set.table.memory_bytes();
                for ((state, call), inputs) in set.states.iter_mut().zip(&self.aggregates).zip(&inputs) {
                    state.update(call, &numbers, set.table.len(), inputs, ctx.eval)?;
                    bytes += state.memory_bytes();
                }
            }
            memory.resize(bytes)?;
            kept = bytes;
        }
        let mut memory = Some(memory);
        let mut results = VecDeque::with_capacity(self.sets.len());
        for mut set in std::mem::take(&mut self.sets) {
            if set.members.is_empty() && set.table.len() == 0 {
                // The group of everything is there even when nothing is.
                set.table.insert(&[], 1, |_| true, |_| {});
                // Its ordered sets look at their direct arguments all the same.
                for (state, call) in set.states.iter_mut().zip(&self.aggregates) {
                    let Some(call) = call.without_rows() else { continue };
                    let inputs = Inputs::eval(&call, &Batch::new(Vec::new(), 1), ctx).await?;
                    state.update(&call, &[0], 1, &inputs, ctx.eval)?;
                }
            }
            let memory = memory.take().unwrap_or_else(|| ctx.memory.reservation());
            results.push_back(self.finish(set, memory, ctx)?);
        }
        Ok(results)
    }

    fn finish(&self, set: GroupSet, memory: Reservation, ctx: &ExecContext<'_>) -> SqlResult<Emitter> {
        let len = set.table.len();
        let mut columns = Vec::with_capacity(self.types.len());
        for (group, ty) in self.types.iter().take(self.groups.len()).enumerate() {
            columns.push(match set.members.iter().position(|member| *member == group) {
                Some(key) => set.table.keys()[key].clone(),
                None => ColumnVec::repeat(ty, &Datum::Null, len),
            });
        }
        for (state, call) in set.states.into_iter().zip(&self.aggregates) {
            columns.push(state.finish(call, len, ctx.eval)?);
        }
        Ok(Emitter::new(Batch::from_columns(columns, len), None, memory))
    }
}

#[async_trait]
impl Operator for Aggregation {
    async fn next(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
        if self.results.is_none() {
            self.results = Some(self.run(ctx).await?);
        }
        ctx.cancel.checkpoint().await?;
        let Some(results) = &mut self.results else { return Ok(None) };
        while let Some(emitter) = results.front_mut() {
            if let Some(batch) = emitter.next() {
                return Ok(Some(batch));
            }
            results.pop_front();
        }
        Ok(None)
    }
}
