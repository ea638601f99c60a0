//! The problem: an expression must answer as PostgreSQL would row by row (three-valued, left to right, stopping as
//! soon as the answer is known), and cost a few nanoseconds a row.
//!
//! The idea: [`eval_row`] is the definition. Over a batch, [`crate::vectorized`] first evaluates everything for all
//! rows; should any row fail that way, perhaps one that the definition would not have evaluated, the batch is done
//! again row by row. Subqueries and sequences need the transaction: the row's evaluation stops with a [`Need`], the
//! need is met and remembered, and the row starts again; what has side effects or chance is remembered for the row,
//! so it happens once.
//!
//! **Invariant (lazy-semantics):** a row's value, its error and its side effects are those of evaluating the
//! expression in source order with short circuits.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::sync::Arc;

use builtins::{Builtin, CallTypes, EvalContext, ValueMemory, Volatility};
use plan::{Comparison, Expr, RoutineCall, SequenceOp, Subquery, SubqueryKind, TruthTest};
use rustc_hash::FxHashMap;
use smallvec::{SmallVec, smallvec};
use types::stack::deep;
use types::{
    Array, Batch, CastContext, ColumnVec, Datum, Dimension, SqlError, SqlResult, SqlState, SqlType, cast, compare,
};

use crate::aside::aside;
use crate::context::ExecContext;
use crate::domain::check_value;
use crate::memory::{Made, MemoryBudget};
use crate::subquery::{self, Answer, SubqueryCache};
use crate::{vectorized, volatility};

/// What an evaluation without side effects may see.
#[derive(Clone, Copy)]
pub struct EvalScope<'a> {
    pub params: &'a [Datum],
    pub outer: &'a [Datum],
    pub eval: &'a EvalContext<'a>,
    /// What large values are counted against while a column is made of them.
    pub memory: Option<&'a MemoryBudget>,
    /// A column may take no more bytes than this.
    pub made_max: usize,
}

impl<'a> EvalScope<'a> {
    pub(crate) fn made(&self) -> Made<'a> {
        Made::new(self.memory, self.made_max)
    }
}

#[derive(Clone, Copy)]
pub(crate) enum RowRef<'r> {
    Slice(&'r [Datum]),
    Batch(&'r Batch, usize),
}

impl RowRef<'_> {
    fn get(&self, column: usize) -> Datum {
        match self {
            Self::Slice(row) => row[column].clone(),
            Self::Batch(batch, row) => batch.get_datum(column, *row),
        }
    }
}

/// Why a row's evaluation stopped.
pub(crate) enum Interrupt<'e> {
    Error(SqlError),
    Need(Box<Need<'e>>),
}

impl From<SqlError> for Interrupt<'_> {
    fn from(error: SqlError) -> Self {
        Self::Error(error)
    }
}

/// What the row must have before it is evaluated again.
pub(crate) enum Need<'e> {
    Subquery { subquery: &'e Subquery, arguments: Vec<Datum> },
    Sequence { key: usize, op: SequenceOp, args: Vec<Datum> },
    Routine { key: usize, call: &'e RoutineCall, args: Vec<Datum> },
    RowId { key: usize },
}

/// What has been answered for the row in hand, by the address of the expression: each is evaluated at most once a row.
type RowMemo = FxHashMap<usize, Answer>;

#[derive(Clone, Copy)]
struct Lazy<'s> {
    cache: &'s SubqueryCache,
    memo: &'s RefCell<RowMemo>,
}

#[derive(Clone, Copy)]
pub(crate) struct Evaluator<'s> {
    scope: EvalScope<'s>,
    row: RowRef<'s>,
    lazy: Option<Lazy<'s>>,
    /// What the simple CASE or NULLIF around has evaluated: [`Expr::Operand`].
    operand: Option<&'s Datum>,
}

fn address<T>(value: &T) -> usize {
    std::ptr::from_ref(value) as usize
}

/// Evaluates an expression without subqueries, sequences and row ids over one row.
pub fn eval_row(expr: &Expr, row: &[Datum], scope: &EvalScope<'_>) -> SqlResult<Datum> {
    deep(|| Evaluator { scope: *scope, row: RowRef::Slice(row), lazy: None, operand: None }.finish(expr))
}

/// As [`eval_row`], over a row of a batch.
pub(crate) fn eval_at(expr: &Expr, batch: &Batch, row: usize, scope: &EvalScope<'_>) -> SqlResult<Datum> {
    Evaluator { scope: *scope, row: RowRef::Batch(batch, row), lazy: None, operand: None }.finish(expr)
}

/// Evaluates any expression over every row.
pub async fn eval_batch(expr: &Expr, batch: &Batch, ctx: &mut ExecContext<'_>) -> SqlResult<ColumnVec> {
    Ok(Arc::unwrap_or_clone(eval_shared(expr, batch, ctx).await?))
}

/// As [`eval_batch`]; a plain column reference copies nothing.
pub async fn eval_shared(expr: &Expr, batch: &Batch, ctx: &mut ExecContext<'_>) -> SqlResult<Arc<ColumnVec>> {
    if needs_transaction(expr) {
        eval_lazily(expr, batch, ctx).await.map(Arc::new)
    } else {
        deep(|| eval_sync(expr, batch, &ctx.scope()))
    }
}

/// As [`eval_shared`], of an expression that needs no transaction, into a column of so many bytes at most.
pub(crate) fn eval_within(
    expr: &Expr,
    batch: &Batch,
    made_max: usize,
    ctx: &ExecContext<'_>,
) -> SqlResult<Arc<ColumnVec>> {
    deep(|| eval_sync(expr, batch, &EvalScope { made_max, ..ctx.scope() }))
}

/// The rows for which the predicate is true.
pub async fn eval_filter(predicate: &Expr, batch: Batch, ctx: &mut ExecContext<'_>) -> SqlResult<Batch> {
    if let Expr::And(conditions) = predicate
        && !needs_transaction(predicate)
        && !volatility::expr_is_volatile(predicate)
    {
        return filter_by_each(conditions, batch, &ctx.scope());
    }
    let keep = eval_shared(predicate, &batch, ctx).await?.true_rows();
    Ok(batch.filter(&keep))
}

fn filter_by_each(conditions: &[Expr], batch: Batch, scope: &EvalScope<'_>) -> SqlResult<Batch> {
    Ok(match matching_rows(conditions, &batch, scope)? {
        Some(rows) => batch.gather(&rows),
        None => batch,
    })
}

/// The rows for which all conditions are true; none where all rows are. Each is evaluated over what those before it have
/// left, so that a condition that few rows meet spares the others' work; none fails for a row that an earlier one
/// excludes.
pub(crate) fn matching_rows(
    conditions: &[Expr],
    batch: &Batch,
    scope: &EvalScope<'_>,
) -> SqlResult<Option<Vec<u32>>> {
    // What is looked at: the batch, or rows of it by themselves, whose numbers in the batch these are.
    let mut gathered: Option<(Batch, Vec<u32>)> = None;
    // Rows of what is looked at that are left, where not all are.
    let mut left: Option<Vec<u32>> = None;
    let gather = |gathered: &mut Option<(Batch, Vec<u32>)>, rows: Vec<u32>| {
        *gathered = Some(match gathered.take() {
            Some((of, numbers)) => (of.gather(&rows), rows.iter().map(|row| numbers[*row as usize]).collect()),
            None => (batch.gather(&rows), rows),
        });
    };
    for condition in conditions {
        let len = gathered.as_ref().map_or(batch.len(), |(of, _)| of.len());
        if let Some(rows) = left.take_if(|rows| rows.len() * 2 <= len) {
            gather(&mut gathered, rows);
        }
        let found = match vectorized::eval(condition, gathered.as_ref().map_or(batch, |(of, _)| of), scope) {
            Ok(found) => found,
            Err(_) => {
                if let Some(rows) = left.take() {
                    gather(&mut gathered, rows);
                }
                Arc::new(eval_rows(condition, gathered.as_ref().map_or(batch, |(of, _)| of), scope)?)
            }
        };
        let mut rows = found.true_rows();
        if let Some(before) = left.take() {
            let mut before = before.into_iter().peekable();
            rows.retain(|row| {
                while before.next_if(|earlier| earlier < row).is_some() {}
                before.next_if_eq(row).is_some()
            });
        }
        if rows.is_empty() {
            return Ok(Some(rows));
        }
        left = (rows.len() < found.len()).then_some(rows);
    }
    Ok(match (gathered, left) {
        (None, left) => left,
        (Some((_, numbers)), None) => Some(numbers),
        (Some((_, numbers)), Some(rows)) => Some(rows.iter().map(|row| numbers[*row as usize]).collect()),
    })
}

/// An expression that depends on no row, such as a LIMIT.
pub async fn eval_scalar(expr: &Expr, ctx: &mut ExecContext<'_>) -> SqlResult<Datum> {
    let unit = Batch::new(Vec::new(), 1);
    Ok(eval_shared(expr, &unit, ctx).await?.get_datum(0))
}

pub(crate) async fn eval_all(
    exprs: &[Expr],
    batch: &Batch,
    ctx: &mut ExecContext<'_>,
) -> SqlResult<Vec<Arc<ColumnVec>>> {
    let mut columns = Vec::with_capacity(exprs.len());
    for expr in exprs {
        columns.push(eval_shared(expr, batch, ctx).await?);
    }
    Ok(columns)
}

pub(crate) fn needs_transaction(expr: &Expr) -> bool {
    deep(|| expr.any(&mut |expr| matches!(expr, Expr::Subquery(_) | Expr::Sequence { .. } | Expr::RowId | Expr::Routine(_))))
}

/// Whether [`eval_row`] can evaluate it, with no effect on the session: it needs no transaction and changes no setting.
#[must_use]
pub fn is_simple(expr: &Expr) -> bool {
    let sets = |expr: &Expr| matches!(expr, Expr::Call { builtin, .. } if builtin.name() == "set_config");
    !needs_transaction(expr) && !deep(|| expr.any(&mut |expr| sets(expr)))
}

pub(crate) fn eval_sync(expr: &Expr, batch: &Batch, scope: &EvalScope<'_>) -> SqlResult<Arc<ColumnVec>> {
    if !volatility::expr_is_volatile(expr)
        && let Ok(column) = vectorized::eval(expr, batch, scope)
    {
        return Ok(column);
    }
    eval_rows(expr, batch, scope).map(Arc::new)
}

/// Row by row, whatever the expression.
pub(crate) fn eval_rows(expr: &Expr, batch: &Batch, scope: &EvalScope<'_>) -> SqlResult<ColumnVec> {
    let mut column = ColumnVec::with_capacity(&expr.ty(), batch.len());
    let mut made = scope.made();
    for row in 0..batch.len() {
        let value = eval_at(expr, batch, row, scope)?;
        made.add(&value)?;
        column.push(&value);
    }
    Ok(column)
}

async fn eval_lazily(expr: &Expr, batch: &Batch, ctx: &mut ExecContext<'_>) -> SqlResult<ColumnVec> {
    let mut column = ColumnVec::with_capacity(&expr.ty(), batch.len());
    if let Expr::RowId = expr {
        ctx.row_ids(batch.len())?.for_each(|id| column.push(&id));
        return Ok(column);
    }
    let mut memo = RefCell::new(RowMemo::default());
    let memory = ctx.memory.clone();
    let mut made = Made::new(Some(&memory), usize::MAX);
    for row in 0..batch.len() {
        memo.get_mut().clear();
        loop {
            let outcome = {
                let lazy = Lazy { cache: &ctx.subqueries, memo: &memo };
                let row = RowRef::Batch(batch, row);
                deep(|| Evaluator { scope: ctx.scope(), row, lazy: Some(lazy), operand: None }.eval(expr))
            };
            match outcome {
                Ok(datum) => {
                    made.add(&datum)?;
                    column.push(&datum);
                    break;
                }
                Err(Interrupt::Error(error)) => return Err(error),
                Err(Interrupt::Need(need)) => meet(*need, memo.get_mut(), ctx).await?,
            }
        }
    }
    Ok(column)
}

async fn meet(need: Need<'_>, memo: &mut RowMemo, ctx: &mut ExecContext<'_>) -> SqlResult<()> {
    match need {
        Need::Subquery { subquery, arguments } => {
            let answer = subquery::run(subquery, arguments.clone(), ctx).await?;
            if !ctx.subqueries.remember(subquery, arguments, &answer) {
                memo.insert(address(subquery), answer);
            }
        }
        Need::Sequence { key, op, args } => {
            let value = ctx.sequence(op, &args).await?;
            memo.insert(key, Answer::Value(value));
        }
        Need::Routine { key, call, args } => {
            let returned = ctx.call_routine(&call.routine, &call.types, args).await?;
            memo.insert(key, Answer::Value(returned.value));
        }
        Need::RowId { key } => {
            memo.insert(key, Answer::Value(ctx.row_id()?));
        }
    }
    Ok(())
}

/// The outcome of `ANY` or `ALL` so far.
pub(crate) struct Quantifier {
    all: bool,
    saw_null: bool,
}

impl Quantifier {
    pub(crate) fn new(all: bool) -> Self {
        Self { all, saw_null: false }
    }

    /// The answer, as soon as one comparison decides it.
    pub(crate) fn add(&mut self, comparison: &Datum) -> Option<Datum> {
        match comparison.as_bool() {
            None => self.saw_null = true,
            Some(holds) if holds != self.all => return Some(Datum::Bool(holds)),
            Some(_) => {}
        }
        None
    }

    pub(crate) fn finish(self) -> Datum {
        if self.saw_null { Datum::Null } else { Datum::Bool(self.all) }
    }
}

pub(crate) fn call_comparison(
    comparison: &Comparison,
    left: &Datum,
    right: &Datum,
    context: &EvalContext<'_>,
) -> SqlResult<Datum> {
    comparison.builtin.call(context, &comparison.types, &[left.clone(), right.clone()])
}

/// A function that is given more than this may take long.
const HEAVY_BYTES: usize = 64 << 10;
/// A value above this is counted while it is made.
const COUNTED_BYTES: usize = 4 << 20;
/// No value has more.
const VALUE_BYTES_MAX: usize = 1 << 30;

/// What a function makes of little, in bytes: a number says how much.
fn made_of_little(builtin: &Builtin, args: &[Datum]) -> usize {
    let name = builtin.signature.name;
    let size = |number: i64| usize::try_from(number).unwrap_or(0);
    match args.get(1) {
        Some(Datum::Int(count)) if size(*count) > HEAVY_BYTES / 64 => match (name, &args[0]) {
            ("repeat", Datum::Text(text)) => text.len().saturating_mul(size(*count)),
            ("lpad" | "rpad", _) => size(*count),
            _ => 0,
        },
        Some(Datum::Array(lengths)) if name == "array_fill" => {
            let length = |length: &Datum| if let Datum::Int(length) = length { size(*length) } else { 0 };
            lengths.elements().iter().map(length).fold(size_of::<Datum>(), usize::saturating_mul)
        }
        _ => 0,
    }
}

/// What a value takes beyond what is counted for it already.
struct Beyond<'a> {
    memory: &'a dyn ValueMemory,
    counted: usize,
}

impl ValueMemory for Beyond<'_> {
    fn fits(&self, bytes: usize) -> SqlResult<()> {
        self.memory.fits(bytes.saturating_sub(self.counted))
    }
}

/// Calls a function. Where it may take long, the other tasks of this worker go on without it; where it takes much memory,
/// that is counted before it is taken.
pub(crate) fn call(
    builtin: &'static Builtin,
    context: &EvalContext<'_>,
    types: &CallTypes,
    args: &[Datum],
    memory: Option<&MemoryBudget>,
) -> SqlResult<Datum> {
    let bytes = |arg: &Datum| match arg {
        Datum::Text(text) | Datum::Json(text) => text.len(),
        Datum::Bytes(bytes) => bytes.len(),
        Datum::Array(array) => array.len() * size_of::<Datum>(),
        _ => 0,
    };
    let total = args.iter().map(bytes).sum::<usize>().saturating_add(made_of_little(builtin, args));
    if total > HEAVY_BYTES {
        let mut counted = memory.filter(|_| total > COUNTED_BYTES).map(MemoryBudget::reservation);
        // What cannot be at all is the function's to refuse.
        if let Some(counted) = counted.as_mut().filter(|_| total <= VALUE_BYTES_MAX) {
            counted.grow(total)?;
        }
        let beyond = match (context.memory, counted) {
            (Some(memory), Some(_)) => Some(Beyond { memory, counted: total }),
            _ => None,
        };
        let memory = beyond.as_ref().map_or(context.memory, |beyond| Some(beyond));
        let context = &EvalContext { memory, ..*context };
        return aside(|| builtin.call(context, types, args));
    }
    builtin.call(context, types, args)
}

pub(crate) type Evaluated<'e, T = Datum> = Result<T, Interrupt<'e>>;

impl<'s> Evaluator<'s> {
    fn finish(&self, expr: &Expr) -> SqlResult<Datum> {
        self.eval(expr).map_err(|interrupt| match interrupt {
            Interrupt::Error(error) => error,
            Interrupt::Need(need) => match *need {
                Need::Routine { call, .. } => {
                    SqlError::not_supported(format!("function {} cannot be called here", call.routine.name))
                }
                _ => SqlError::internal("a subquery or sequence was evaluated without a transaction"),
            },
        })
    }

    pub(crate) fn eval<'e>(&self, expr: &'e Expr) -> Evaluated<'e> {
        Ok(match expr {
            Expr::Column(position, _) => self.row.get(*position),
            Expr::Outer(slot, _) => self
                .scope
                .outer
                .get(*slot)
                .cloned()
                .ok_or_else(|| SqlError::internal(format!("no value for the outer slot {slot}")))?,
            Expr::Param(number, _) => self.scope.params.get(*number).cloned().ok_or_else(|| {
                SqlError::new(SqlState::UndefinedParameter, format!("there is no parameter ${}", number + 1))
            })?,
            Expr::Operand(_) => {
                self.operand.cloned().ok_or_else(|| SqlError::internal("an operand stands outside of its CASE"))?
            }
            Expr::Const(datum, _) => datum.clone(),
            Expr::Call { builtin, types, args } => {
                let volatile = builtin.volatility == Volatility::Volatile;
                if volatile && let Some(value) = self.remembered(address(expr)) {
                    return Ok(value);
                }
                let args = self.eval_list(args)?;
                let value = call(builtin, self.scope.eval, types, &args, self.scope.memory)?;
                if volatile && let Some(lazy) = self.lazy {
                    lazy.memo.borrow_mut().insert(address(expr), Answer::Value(value.clone()));
                }
                value
            }
            Expr::And(list) => self.connective(list, false)?,
            Expr::Or(list) => self.connective(list, true)?,
            Expr::Not(expr) => self.eval(expr)?.as_bool().map(|value| !value).into(),
            Expr::IsNull(expr) => Datum::Bool(self.eval(expr)?.is_null()),
            Expr::Truth(expr, test) => {
                let value = self.eval(expr)?.as_bool();
                Datum::Bool(match test {
                    TruthTest::True => value == Some(true),
                    TruthTest::False => value == Some(false),
                    TruthTest::Unknown => value.is_none(),
                })
            }
            Expr::IsDistinctFrom(left, right) => {
                let ty = left.ty();
                Datum::Bool(compare(&ty, &self.eval(left)?, &self.eval(right)?).is_ne())
            }
            Expr::Case { operand, branches, otherwise, .. } => {
                let operand = operand.as_ref().map(|operand| self.eval(operand)).transpose()?;
                let tests = Evaluator { operand: operand.as_ref(), ..*self };
                for (condition, value) in branches {
                    if tests.eval(condition)?.as_bool() == Some(true) {
                        return self.eval(value);
                    }
                }
                match otherwise {
                    Some(value) => self.eval(value)?,
                    None => Datum::Null,
                }
            }
            Expr::Coalesce(list, _) => {
                for expr in list {
                    let value = self.eval(expr)?;
                    if !value.is_null() {
                        return Ok(value);
                    }
                }
                Datum::Null
            }
            Expr::NullIf { value, equal, .. } => {
                let value = self.eval(value)?;
                let test = Evaluator { operand: Some(&value), ..*self };
                match test.eval(equal)?.as_bool() {
                    Some(true) => Datum::Null,
                    _ => value,
                }
            }
            Expr::Greatest(list, ty) => self.extreme(list, ty, Ordering::Greater)?,
            Expr::Least(list, ty) => self.extreme(list, ty, Ordering::Less)?,
            Expr::Cast { expr, to, context } => {
                let value = self.eval(expr)?;
                cast(value, &expr.ty(), to, *context, self.scope.eval.formatting)?
            }
            Expr::ToDomain { expr, rules, of_elements, .. } => {
                let value = self.eval(expr)?;
                match &value {
                    Datum::Array(array) if *of_elements => {
                        array.elements().iter().try_for_each(|element| check_value(rules, element, &self.scope))?;
                    }
                    _ if *of_elements => {}
                    value => check_value(rules, value, &self.scope)?,
                }
                value
            }
            Expr::InList { expr, list, negated } => {
                let ty = expr.ty();
                let value = self.eval(expr)?;
                let mut any = Quantifier::new(false);
                for item in list {
                    let item = self.eval(item)?;
                    let equal = if value.is_null() || item.is_null() {
                        Datum::Null
                    } else {
                        Datum::Bool(compare(&ty, &value, &item).is_eq())
                    };
                    if let Some(found) = any.add(&equal) {
                        return Ok(found.as_bool().map(|found| found != *negated).into());
                    }
                }
                any.finish().as_bool().map(|found| found != *negated).into()
            }
            Expr::AnyAll { left, array, comparison, all } => self.any_all(left, array, comparison, *all)?,
            Expr::Array { elements, ty } => {
                let values = self.eval_list(elements)?;
                if elements.first().is_some_and(|element| element.ty().is_array()) {
                    nested_array(&values)?
                } else {
                    debug_assert!(ty.is_array(), "an array constructor has an array type");
                    Datum::Array(Arc::new(Array::from_elements(values.into_vec())))
                }
            }
            Expr::Subscript { array, subscripts, slice, .. } => self.subscript(array, subscripts, *slice)?,
            Expr::Row(list, _) => Datum::record(self.eval_list(list)?.into_vec())?,
            Expr::Field { row, at, .. } => match self.eval(row)? {
                Datum::Record(fields) => fields.get(*at).cloned().unwrap_or(Datum::Null),
                _ => Datum::Null,
            },
            Expr::Assign(assign) => self.assign(assign)?,
            Expr::Subquery(subquery) => self.subquery(subquery)?,
            Expr::Sequence { op, args } => {
                let key = address(expr);
                if let Some(value) = self.remembered(key) {
                    return Ok(value);
                }
                let args = self.eval_list(args)?.into_vec();
                return Err(Interrupt::Need(Box::new(Need::Sequence { key, op: *op, args })));
            }
            Expr::Routine(call) => {
                let key = address(expr);
                if let Some(value) = self.remembered(key) {
                    return Ok(value);
                }
                let args = self.eval_list(&call.args)?.into_vec();
                if call.routine.strict && args.iter().any(Datum::is_null) {
                    return Ok(Datum::Null);
                }
                return Err(Interrupt::Need(Box::new(Need::Routine { key, call, args })));
            }
            Expr::RowId => {
                let key = address(expr);
                return match self.remembered(key) {
                    Some(value) => Ok(value),
                    None => Err(Interrupt::Need(Box::new(Need::RowId { key }))),
                };
            }
        })
    }

    /// Evaluates what is assigned to a part that holds this value.
    pub(crate) fn with_operand<'o>(&'o self, operand: &'o Datum) -> Evaluator<'o> {
        Evaluator { operand: Some(operand), ..*self }
    }

    fn remembered(&self, key: usize) -> Option<Datum> {
        match self.lazy?.memo.borrow().get(&key) {
            Some(Answer::Value(value)) => Some(value.clone()),
            _ => None,
        }
    }

    fn eval_list<'e>(&self, exprs: &'e [Expr]) -> Evaluated<'e, SmallVec<[Datum; 4]>> {
        let mut values = SmallVec::with_capacity(exprs.len());
        for expr in exprs {
            values.push(self.eval(expr)?);
        }
        Ok(values)
    }

    /// AND (decided by false) and OR (decided by true).
    fn connective<'e>(&self, list: &'e [Expr], decides: bool) -> Evaluated<'e> {
        let mut saw_null = false;
        for expr in list {
            match self.eval(expr)?.as_bool() {
                Some(value) if value == decides => return Ok(Datum::Bool(decides)),
                Some(_) => {}
                None => saw_null = true,
            }
        }
        Ok(if saw_null { Datum::Null } else { Datum::Bool(!decides) })
    }

    fn extreme<'e>(&self, list: &'e [Expr], ty: &SqlType, wanted: Ordering) -> Evaluated<'e> {
        let mut best = Datum::Null;
        for expr in list {
            let value = self.eval(expr)?;
            if !value.is_null() && (best.is_null() || compare(ty, &value, &best) == wanted) {
                best = value;
            }
        }
        Ok(best)
    }

    fn any_all<'e>(&self, left: &'e Expr, array: &'e Expr, comparison: &Comparison, all: bool) -> Evaluated<'e> {
        let formatting = self.scope.eval.formatting;
        let value = self.eval(left)?;
        let Datum::Array(elements) = self.eval(array)? else {
            return Ok(Datum::Null);
        };
        let value = cast(value, &left.ty(), &comparison.left_cast, CastContext::Implicit, formatting)?;
        let element_type = array.ty().element().unwrap_or(comparison.right_cast);
        let mut quantifier = Quantifier::new(all);
        for element in elements.elements() {
            let element =
                cast(element.clone(), &element_type, &comparison.right_cast, CastContext::Implicit, formatting)?;
            if let Some(answer) = quantifier.add(&call_comparison(comparison, &value, &element, self.scope.eval)?) {
                return Ok(answer);
            }
        }
        Ok(quantifier.finish())
    }

    fn subscript<'e>(
        &self,
        array: &'e Expr,
        subscripts: &'e [(Option<Expr>, Option<Expr>)],
        slice: bool,
    ) -> Evaluated<'e> {
        let value = self.eval(array)?;
        let mut bounds: SmallVec<[(Option<i64>, Option<i64>); 2]> = smallvec![];
        let mut saw_null = false;
        for (lower, upper) in subscripts {
            let mut bound = |expr: &'e Option<Expr>| -> Evaluated<'e, Option<i64>> {
                let Some(expr) = expr else { return Ok(None) };
                let value = self.eval(expr)?.as_int();
                saw_null |= value.is_none();
                Ok(value)
            };
            bounds.push((bound(lower)?, bound(upper)?));
        }
        let array = match value {
            Datum::Null => return Ok(Datum::Null),
            _ if saw_null => return Ok(Datum::Null),
            Datum::Array(array) => array,
            _ => return Err(SqlError::not_supported("subscripts of a value that is no array").into()),
        };
        if slice {
            return Ok(Datum::Array(Arc::new(slice_array(&array, &bounds)?)));
        }
        let positions: SmallVec<[i64; 2]> = bounds.iter().filter_map(|(position, _)| *position).collect();
        Ok(array.get(&positions).cloned().unwrap_or_default())
    }

    fn subquery<'e>(&self, subquery: &'e Subquery) -> Evaluated<'e> {
        let Some(lazy) = self.lazy else {
            return Err(SqlError::internal("a subquery was evaluated without a transaction").into());
        };
        let left = match &subquery.kind {
            SubqueryKind::Quantified { left, comparisons, .. } => {
                let formatting = self.scope.eval.formatting;
                let mut values = Vec::with_capacity(left.len());
                for (expr, comparison) in left.iter().zip(comparisons) {
                    let value = self.eval(expr)?;
                    values.push(cast(value, &expr.ty(), &comparison.left_cast, CastContext::Implicit, formatting)?);
                }
                values
            }
            _ => Vec::new(),
        };
        let arguments = self.eval_list(&subquery.arguments)?;
        let once = lazy.memo.borrow().get(&address(subquery)).cloned();
        let Some(answer) = once.or_else(|| lazy.cache.get(subquery, &arguments)) else {
            return Err(Interrupt::Need(Box::new(Need::Subquery { subquery, arguments: arguments.into_vec() })));
        };
        match (answer, &subquery.kind) {
            (Answer::Value(value), _) => Ok(value),
            (Answer::Rows(rows), SubqueryKind::Quantified { comparisons, all, .. }) => {
                Ok(rows.quantified(&left, comparisons, *all, self.scope.eval)?)
            }
            (Answer::Rows(_), _) => Err(SqlError::internal("only quantified subqueries keep their rows").into()),
        }
    }
}

fn nested_array(values: &[Datum]) -> SqlResult<Datum> {
    let mismatch = || {
        SqlError::new(
            SqlState::ArraySubscriptError,
            "multidimensional arrays must have array expressions with matching dimensions",
        )
    };
    let mut shape: Option<&[Dimension]> = None;
    let mut elements = Vec::new();
    let mut saw_empty = false;
    for value in values {
        match value {
            Datum::Array(array) if !array.is_empty() => {
                if shape.is_some_and(|shape| shape != array.dimensions()) {
                    return Err(mismatch());
                }
                shape = Some(array.dimensions());
                elements.extend_from_slice(array.elements());
            }
            _ => saw_empty = true,
        }
    }
    let Some(shape) = shape else { return Ok(Datum::Array(Arc::default())) };
    if saw_empty {
        return Err(mismatch());
    }
    let mut dimensions = vec![Dimension { length: values.len() as u32, lower_bound: 1 }];
    dimensions.extend_from_slice(shape);
    Ok(Datum::Array(Arc::new(Array::with_dimensions(&dimensions, elements)?)))
}

/// The part of an array within bounds, renumbered from 1; bounds left out are the array's own.
fn slice_array(array: &Array, bounds: &[(Option<i64>, Option<i64>)]) -> SqlResult<Array> {
    let dimensions = array.dimensions();
    if bounds.len() > dimensions.len() {
        return Ok(Array::default());
    }
    // For each dimension: first position and how many.
    let mut ranges: SmallVec<[(usize, usize); 2]> = smallvec![];
    for (number, dimension) in dimensions.iter().enumerate() {
        let (lower, upper) = bounds.get(number).copied().unwrap_or((None, None));
        let first = i64::from(dimension.lower_bound);
        let last = first + i64::from(dimension.length) - 1;
        let lower = lower.unwrap_or(first).max(first);
        let upper = upper.unwrap_or(last).min(last);
        if lower > upper {
            return Ok(Array::default());
        }
        ranges.push(((lower - first) as usize, (upper - lower + 1) as usize));
    }
    let mut starts = vec![0_usize];
    for ((from, count), dimension) in ranges.iter().zip(dimensions) {
        starts = starts
            .iter()
            .flat_map(|start| (*from..from + count).map(move |at| start * dimension.length as usize + at))
            .collect();
    }
    let elements = starts.into_iter().map(|at| array.elements()[at].clone()).collect();
    let shape: SmallVec<[Dimension; 2]> =
        ranges.iter().map(|(_, count)| Dimension { length: *count as u32, lower_bound: 1 }).collect();
    Array::with_dimensions(&shape, elements)
}

