//! Subqueries inside expressions: run once, or once for each set of arguments.
//!
//! An answer is kept under the address of its plan; the cache holds the plan, so that no other takes its place.
//! Answers of volatile plans with arguments are not kept: each row asks anew.

use std::hash::Hasher;
use std::sync::Arc;

use ahash::AHasher;
use builtins::EvalContext;
use hashbrown::HashTable;
use plan::{Comparison, Plan, Subquery, SubqueryKind};
use rustc_hash::FxHashMap;
use types::{Array, CastContext, Datum, Dimension, SqlError, SqlResult, SqlState, SqlType, cast, hash_datum, sql_equal};

use crate::context::ExecContext;
use crate::eval::{Quantifier, call_comparison};
use crate::memory::Reservation;
use crate::operator::build;
use crate::stack::Grown;
use crate::vectorized::{BinaryKernel, kernel_of};
use crate::volatility::plan_is_volatile;

/// Answers kept for one correlated subquery before all of them are dropped.
const MAX_ANSWERS: usize = 4096;

#[derive(Clone)]
pub(crate) enum Answer {
    Value(Datum),
    /// All rows, for ANY and ALL.
    Rows(Arc<RowSet>),
}

struct Entry {
    /// Keeps the address from being used again.
    _plan: Arc<Plan>,
    is_kept: bool,
    answers: HashTable<(Vec<Datum>, Answer)>,
}

/// The answers of a statement's subqueries.
#[derive(Default)]
pub struct SubqueryCache {
    entries: FxHashMap<(usize, u8), Entry>,
}

fn key(subquery: &Subquery) -> (usize, u8) {
    let kind = match &subquery.kind {
        SubqueryKind::Scalar => 0,
        SubqueryKind::Exists => 1,
        SubqueryKind::Quantified { .. } => 2,
        SubqueryKind::Array => 3,
    };
    (Arc::as_ptr(&subquery.plan) as usize, kind)
}

fn hash_values(values: &[Datum]) -> u64 {
    let mut hasher = AHasher::default();
    for value in values {
        hash_datum(&value.implied_type(), value, &mut hasher);
    }
    hasher.finish()
}

impl SubqueryCache {
    pub(crate) fn get(&self, subquery: &Subquery, arguments: &[Datum]) -> Option<Answer> {
        let entry = self.entries.get(&key(subquery))?;
        entry.answers.find(hash_values(arguments), |(kept, _)| kept == arguments).map(|(_, answer)| answer.clone())
    }

    /// False: this subquery's answers hold for one row only.
    pub(crate) fn remember(&mut self, subquery: &Subquery, arguments: Vec<Datum>, answer: &Answer) -> bool {
        let entry = self.entries.entry(key(subquery)).or_insert_with(|| Entry {
            _plan: Arc::clone(&subquery.plan),
            is_kept: arguments.is_empty() || !plan_is_volatile(&subquery.plan),
            answers: HashTable::new(),
        });
        if !entry.is_kept {
            return false;
        }
        if entry.answers.len() >= MAX_ANSWERS {
            entry.answers.clear();
        }
        let hash = hash_values(&arguments);
        entry.answers.insert_unique(hash, (arguments, answer.clone()), |(arguments, _)| hash_values(arguments));
        true
    }
}

/// Runs a subquery's plan with its arguments as the innermost frame.
pub(crate) async fn run(subquery: &Subquery, arguments: Vec<Datum>, ctx: &mut ExecContext<'_>) -> SqlResult<Answer> {
    ctx.outer.push(arguments);
    let answer = Grown::new(Box::pin(run_in_frame(subquery, ctx))).await;
    ctx.outer.pop();
    answer
}

async fn run_in_frame(subquery: &Subquery, ctx: &mut ExecContext<'_>) -> SqlResult<Answer> {
    let mut operator = build(&subquery.plan)?;
    let mut found: Option<Datum> = None;
    let mut rows = Vec::new();
    let mut memory = ctx.memory.reservation();
    while let Some(batch) = operator.next(ctx).await? {
        if batch.is_empty() {
            continue;
        }
        match &subquery.kind {
            SubqueryKind::Exists => return Ok(Answer::Value(Datum::Bool(true))),
            SubqueryKind::Scalar => {
                if found.is_some() || batch.len() > 1 {
                    return Err(SqlError::new(
                        SqlState::CardinalityViolation,
                        "more than one row returned by a subquery used as an expression",
                    ));
                }
                found = Some(batch.get_datum(0, 0));
            }
            SubqueryKind::Array | SubqueryKind::Quantified { .. } => {
                memory.grow(batch.memory_bytes() + batch.len() * size_of::<Vec<Datum>>())?;
                rows.extend((0..batch.len()).map(|row| batch.row(row)));
            }
        }
    }
    Ok(match &subquery.kind {
        SubqueryKind::Exists => Answer::Value(Datum::Bool(false)),
        SubqueryKind::Scalar => Answer::Value(found.unwrap_or_default()),
        SubqueryKind::Array => {
            let elements: Vec<Datum> = rows.into_iter().map(|mut row| row.swap_remove(0)).collect();
            let is_nested = subquery.plan.columns.first().is_some_and(|column| column.ty.is_array());
            Answer::Value(if is_nested {
                accumulated_arrays(&elements)?
            } else {
                Datum::Array(Arc::new(Array::from_elements(elements)))
            })
        }
        SubqueryKind::Quantified { comparisons, .. } => {
            let types: Vec<SqlType> = subquery.plan.columns.iter().map(|column| column.ty).collect();
            Answer::Rows(Arc::new(RowSet::new(rows, &types, comparisons, ctx.eval, memory)?))
        }
    })
}

/// Arrays of one shape as one array with a dimension more.
fn accumulated_arrays(arrays: &[Datum]) -> SqlResult<Datum> {
    let refused = |what: &str| SqlError::new(SqlState::ArraySubscriptError, format!("cannot accumulate {what}"));
    let mut shape: Option<&[Dimension]> = None;
    let mut elements = Vec::new();
    for item in arrays {
        let Datum::Array(array) = item else {
            return Err(SqlError::new(SqlState::NullValueNotAllowed, "cannot accumulate null arrays"));
        };
        if array.is_empty() {
            return Err(refused("empty arrays"));
        }
        if shape.is_some_and(|shape| shape != array.dimensions()) {
            return Err(refused("arrays of different dimensionality"));
        }
        shape = Some(array.dimensions());
        elements.extend_from_slice(array.elements());
    }
    let mut dimensions = vec![Dimension { length: arrays.len() as u32, lower_bound: 1 }];
    dimensions.extend_from_slice(shape.unwrap_or_default());
    Ok(Datum::Array(Arc::new(Array::with_dimensions(&dimensions, elements)?)))
}

/// What `ANY` and `ALL` compare with, cast already; hashed where the comparison is an equality.
pub(crate) struct RowSet {
    rows: Vec<Vec<Datum>>,
    /// The types of equality, if that is what the comparisons are (or `<>`, whose ALL is NOT ANY =).
    types: Option<Vec<SqlType>>,
    index: HashTable<u32>,
    has_nulls: bool,
    _memory: Reservation,
}

impl RowSet {
    fn new(
        mut rows: Vec<Vec<Datum>>,
        types: &[SqlType],
        comparisons: &[Comparison],
        context: &EvalContext<'_>,
        memory: Reservation,
    ) -> SqlResult<Self> {
        for row in &mut rows {
            for ((value, from), comparison) in row.iter_mut().zip(types).zip(comparisons) {
                let datum = std::mem::take(value);
                *value = cast(datum, from, &comparison.right_cast, CastContext::Implicit, context.formatting)?;
            }
        }
        let has_nulls = rows.iter().flatten().any(Datum::is_null);
        let types: Option<Vec<SqlType>> = comparisons
            .iter()
            .map(|comparison| {
                let equality = matches!(kernel_of(comparison.builtin), Some(BinaryKernel::Eq | BinaryKernel::Ne));
                (equality && comparison.left_cast.same_base(&comparison.right_cast)).then_some(comparison.left_cast)
            })
            .collect();
        let mut index = HashTable::new();
        if let Some(types) = &types {
            index.reserve(rows.len(), |_| 0);
            for (number, row) in rows.iter().enumerate() {
                let same = |other: &u32| {
                    types.iter().zip(row).zip(&rows[*other as usize]).all(|((ty, a), b)| sql_equal(ty, a, b))
                };
                let hash = hash_row(types, row);
                if index.find(hash, same).is_none() {
                    index.insert_unique(hash, number as u32, |other| hash_row(types, &rows[*other as usize]));
                }
            }
        }
        Ok(Self { rows, types, index, has_nulls, _memory: memory })
    }

    /// `left op ANY|ALL (rows)`; `left` is cast already.
    pub(crate) fn quantified(
        &self,
        left: &[Datum],
        comparisons: &[Comparison],
        all: bool,
        context: &EvalContext<'_>,
    ) -> SqlResult<Datum> {
        if self.rows.is_empty() {
            return Ok(Datum::Bool(all));
        }
        let wanted = if all { BinaryKernel::Ne } else { BinaryKernel::Eq };
        if let Some(types) = &self.types
            && comparisons.iter().all(|comparison| kernel_of(comparison.builtin) == Some(wanted))
            && comparisons.iter().zip(types).all(|(comparison, ty)| comparison.left_cast == *ty)
            && !left.iter().any(Datum::is_null)
        {
            let found = self.index.find(hash_row(types, left), |row| {
                types.iter().zip(left).zip(&self.rows[*row as usize]).all(|((ty, a), b)| sql_equal(ty, a, b))
            });
            if found.is_some() {
                return Ok(Datum::Bool(!all));
            }
            if !self.has_nulls {
                return Ok(Datum::Bool(all));
            }
        }
        let unequal = comparisons.iter().all(|comparison| kernel_of(comparison.builtin) == Some(BinaryKernel::Ne));
        let mut quantifier = Quantifier::new(all);
        for row in &self.rows {
            // Rows are equal where every pair is, and unequal where any pair is.
            let mut pair = Quantifier::new(!unequal);
            let mut outcome = None;
            for ((comparison, left), right) in comparisons.iter().zip(left).zip(row) {
                outcome = pair.add(&call_comparison(comparison, left, right, context)?);
                if outcome.is_some() {
                    break;
                }
            }
            if let Some(answer) = quantifier.add(&outcome.unwrap_or_else(|| pair.finish())) {
                return Ok(answer);
            }
        }
        Ok(quantifier.finish())
    }
}

fn hash_row(types: &[SqlType], row: &[Datum]) -> u64 {
    let mut hasher = AHasher::default();
    for (ty, value) in types.iter().zip(row) {
        hash_datum(ty, value, &mut hasher);
    }
    hasher.finish()
}
