//! Expressions over whole columns.
//!
//! Everything is evaluated for every row, also where a short circuit would have stopped. That is unobservable as long
//! as nothing fails: kernels and builtins called here have no side effects, and on any error ([`GaveUp`]) the caller
//! evaluates the batch again row by row, which either finds the same error or shows that there was none.

use std::cmp::Ordering;
use std::sync::{Arc, LazyLock};

use ahash::RandomState;
use builtins::{ArgType, Builtin, CallTypes, LikePattern, Operator, all_operators};
use hashbrown::HashTable;
use plan::{Comparison, Expr, TruthTest};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use types::compare::compare_floats;
use types::{
    Batch, ColumnVec, Datum, IntKind, Nulls, Primitive, SqlType, cast, date_to_timestamp, hash_datum,
    sql_equal,
};

use crate::choices;
use crate::eval::EvalScope;
use crate::numeric_kernels::{Numerics, from_integers, numerics};

/// Some row failed; which error is the row-wise evaluation's to say.
pub(crate) struct GaveUp;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BinaryKernel {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Add,
    Sub,
    Mul,
    Div,
    Mod,
}

/// Whether the operands are numbers as they are, or dates and times. Money and log positions are integers of another meaning.
fn is_arithmetic(operator: &Operator) -> bool {
    let is_other = |arg: &ArgType| matches!(arg, ArgType::T(SqlType::Money | SqlType::PgLsn));
    matches!(operator.symbol, "+" | "-" | "*" | "/" | "%")
        && !operator.is_geometric()
        && !operator.function.signature.args.iter().any(is_other)
}

/// Operators that kernels may stand in for, by the builtin's address.
static KERNELS: LazyLock<FxHashMap<usize, BinaryKernel>> = LazyLock::new(|| {
    all_operators()
        .filter(|operator| operator.function.signature.args.len() == 2)
        .filter(|operator| operator.is_comparison() || is_arithmetic(operator))
        .filter_map(|operator| {
            let kernel = match operator.symbol {
                "=" => BinaryKernel::Eq,
                "<>" => BinaryKernel::Ne,
                "<" => BinaryKernel::Lt,
                "<=" => BinaryKernel::Le,
                ">" => BinaryKernel::Gt,
                ">=" => BinaryKernel::Ge,
                "+" => BinaryKernel::Add,
                "-" => BinaryKernel::Sub,
                "*" => BinaryKernel::Mul,
                "/" => BinaryKernel::Div,
                "%" => BinaryKernel::Mod,
                _ => return None,
            };
            Some((std::ptr::from_ref(&operator.function) as usize, kernel))
        })
        .collect()
});

pub(crate) fn kernel_of(builtin: &'static Builtin) -> Option<BinaryKernel> {
    KERNELS.get(&(std::ptr::from_ref(builtin) as usize)).copied()
}

/// Whether a builtin is LIKE, or NOT LIKE, over text.
fn like_kernel(builtin: &'static Builtin) -> Option<bool> {
    match builtin.name() {
        "textlike" => Some(false),
        "textnlike" => Some(true),
        _ => None,
    }
}

impl BinaryKernel {
    pub(crate) fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Eq => order.is_eq(),
            Self::Ne => order.is_ne(),
            Self::Lt => order.is_lt(),
            Self::Le => order.is_le(),
            Self::Gt => order.is_gt(),
            Self::Ge => order.is_ge(),
            Self::Add | Self::Sub | Self::Mul | Self::Div | Self::Mod => false,
        }
    }

    pub(crate) fn is_comparison(self) -> bool {
        matches!(self, Self::Eq | Self::Ne | Self::Lt | Self::Le | Self::Gt | Self::Ge)
    }
}

/// A column, or one value for all rows: constants are not spread out unless somebody needs them so.
pub(crate) enum Operand {
    Column(Arc<ColumnVec>),
    Value(Datum, SqlType),
}

impl Operand {
    fn into_column(self, len: usize, scope: &EvalScope<'_>) -> Result<Arc<ColumnVec>, GaveUp> {
        match self {
            Self::Column(column) => Ok(column),
            Self::Value(datum, ty) => {
                scope.made().add_many(&datum, len).map_err(|_| GaveUp)?;
                Ok(Arc::new(ColumnVec::repeat(&ty, &datum, len)))
            }
        }
    }

    fn datum(&self, row: usize) -> Datum {
        match self {
            Self::Column(column) => column.get_datum(row),
            Self::Value(datum, _) => datum.clone(),
        }
    }
}

pub(crate) fn eval(expr: &Expr, batch: &Batch, scope: &EvalScope<'_>) -> Result<Arc<ColumnVec>, GaveUp> {
    operand(expr, batch, scope)?.into_column(batch.len(), scope)
}

pub(crate) fn operand(expr: &Expr, batch: &Batch, scope: &EvalScope<'_>) -> Result<Operand, GaveUp> {
    let len = batch.len();
    let column = match expr {
        Expr::Column(position, _) => return Ok(Operand::Column(Arc::clone(batch.column(*position)))),
        Expr::Const(datum, ty) => return Ok(Operand::Value(datum.clone(), *ty)),
        Expr::Param(number, ty) => {
            return Ok(Operand::Value(scope.params.get(*number).cloned().ok_or(GaveUp)?, *ty));
        }
        Expr::Outer(slot, ty) => {
            return Ok(Operand::Value(scope.outer.get(*slot).cloned().ok_or(GaveUp)?, *ty));
        }
        Expr::Call { builtin, types, args } => return call(builtin, types, args, batch, scope),
        Expr::And(list) => connective(list, false, batch, scope)?,
        Expr::Or(list) => connective(list, true, batch, scope)?,
        Expr::Not(inner) => {
            let inner = eval(inner, batch, scope)?;
            let ColumnVec::Bool(inner) = inner.as_ref() else { return Err(GaveUp) };
            let values = (0..len).map(|row| !inner.values[row] && !inner.nulls.is_null(row)).collect();
            ColumnVec::Bool(Primitive { values, nulls: inner.nulls.clone() })
        }
        Expr::IsNull(inner) => match operand(inner, batch, scope)? {
            Operand::Value(datum, _) => return Ok(Operand::Value(Datum::Bool(datum.is_null()), SqlType::Bool)),
            Operand::Column(inner) => {
                ColumnVec::Bool(Primitive::from_values((0..len).map(|row| inner.is_null(row)).collect()))
            }
        },
        Expr::Truth(inner, test) => {
            let inner = eval(inner, batch, scope)?;
            let ColumnVec::Bool(inner) = inner.as_ref() else { return Err(GaveUp) };
            let holds = |row: usize| match test {
                TruthTest::True => inner.get(row) == Some(true),
                TruthTest::False => inner.get(row) == Some(false),
                TruthTest::Unknown => inner.nulls.is_null(row),
            };
            ColumnVec::Bool(Primitive::from_values((0..len).map(holds).collect()))
        }
        Expr::Cast { expr: inner, to, context } => {
            let from = inner.ty();
            match operand(inner, batch, scope)? {
                Operand::Value(datum, _) => {
                    let value = cast(datum, &from, to, *context, scope.eval.formatting).map_err(|_| GaveUp)?;
                    return Ok(Operand::Value(value, *to));
                }
                Operand::Column(column) => return cast_column(column, &from, expr, scope),
            }
        }
        Expr::ToDomain { expr: inner, rules, of_elements: false, .. } => {
            let column = eval(inner, batch, scope)?;
            if rules.not_null && (0..len).any(|row| column.is_null(row)) {
                return Err(GaveUp);
            }
            let values = Batch::new(vec![column.clone()], len);
            for (_, condition) in &rules.checks {
                let held = eval(condition, &values, scope)?;
                let ColumnVec::Bool(held) = held.as_ref() else { return Err(GaveUp) };
                // Row by row it will be said of which.
                if (0..len).any(|row| held.get(row) == Some(false)) {
                    return Err(GaveUp);
                }
            }
            return Ok(Operand::Column(column));
        }
        Expr::InList { expr: inner, list, negated } => in_list(inner, list, *negated, batch, scope)?,
        Expr::AnyAll { left, array, comparison, all } => match in_array(left, array, comparison, *all, batch, scope)? {
            Some(column) => column,
            None => crate::eval::eval_rows(expr, batch, scope).map_err(|_| GaveUp)?,
        },
        // The operand of a simple CASE is no column.
        Expr::Case { operand: None, branches, otherwise, ty } => {
            choices::case(branches, otherwise.as_deref(), ty, batch, scope)?
        }
        Expr::Coalesce(list, ty) => choices::coalesce(list, ty, batch, scope)?,
        // Whatever is rarer, or wants a short circuit for its speed, goes row by row.
        _ => return Ok(Operand::Column(Arc::new(crate::eval::eval_rows(expr, batch, scope).map_err(|_| GaveUp)?))),
    };
    Ok(Operand::Column(Arc::new(column)))
}

fn cast_column(
    column: Arc<ColumnVec>,
    from: &SqlType,
    expr: &Expr,
    scope: &EvalScope<'_>,
) -> Result<Operand, GaveUp> {
    let Expr::Cast { to, context, .. } = expr else { return Err(GaveUp) };
    let widens = matches!(
        (from, to),
        (SqlType::Int2, SqlType::Int4 | SqlType::Int8)
            | (SqlType::Int4, SqlType::Int8)
            | (SqlType::Float4, SqlType::Float8)
            | (SqlType::Varchar(_), SqlType::Text | SqlType::Varchar(None))
            | (SqlType::Text, SqlType::Varchar(None))
    );
    if widens || from == to {
        return Ok(Operand::Column(column));
    }
    if let (ColumnVec::Int(IntKind::Int, ints), SqlType::Float8) = (column.as_ref(), to)
        && from.is_integer()
    {
        let values = ints.values.iter().map(|value| *value as f64).collect();
        return Ok(Operand::Column(Arc::new(ColumnVec::Float(Primitive { values, nulls: ints.nulls.clone() }))));
    }
    if let (ColumnVec::Int(IntKind::Int, ints), SqlType::Numeric(None)) = (column.as_ref(), to)
        && from.is_integer()
    {
        return Ok(Operand::Column(Arc::new(from_integers(ints))));
    }
    if let (ColumnVec::Decimal(_), SqlType::Numeric(_), SqlType::Numeric(None)) = (column.as_ref(), from, to) {
        return Ok(Operand::Column(column));
    }
    if let (ColumnVec::Int(IntKind::Date, days), SqlType::Timestamp(_)) = (column.as_ref(), to) {
        let midnight = |(row, day): (usize, &i64)| match i32::try_from(*day) {
            _ if days.nulls.is_null(row) => Ok(0),
            Ok(day) => date_to_timestamp(day).map_err(|_| GaveUp),
            Err(_) => Err(GaveUp),
        };
        let values = days.values.iter().enumerate().map(midnight).collect::<Result<_, _>>()?;
        let midnights = Primitive { values, nulls: days.nulls.clone() };
        return Ok(Operand::Column(Arc::new(ColumnVec::Int(IntKind::Timestamp, midnights))));
    }
    let mut result = ColumnVec::with_capacity(to, column.len());
    let mut made = scope.made();
    for row in 0..column.len() {
        let value = cast(column.get_datum(row), from, to, *context, scope.eval.formatting).map_err(|_| GaveUp)?;
        made.add(&value).map_err(|_| GaveUp)?;
        result.push(&value);
    }
    Ok(Operand::Column(Arc::new(result)))
}

fn connective(list: &[Expr], decides: bool, batch: &Batch, scope: &EvalScope<'_>) -> Result<ColumnVec, GaveUp> {
    let len = batch.len();
    let mut decided = vec![false; len];
    let mut unknown = vec![false; len];
    for expr in list {
        let column = eval(expr, batch, scope)?;
        let ColumnVec::Bool(column) = column.as_ref() else { return Err(GaveUp) };
        if column.nulls.any() {
            for row in 0..len {
                match column.get(row) {
                    Some(value) => decided[row] |= value == decides,
                    None => unknown[row] = true,
                }
            }
        } else {
            for (decided, value) in decided.iter_mut().zip(&column.values) {
                *decided |= *value == decides;
            }
        }
        if decided.iter().all(|decided| *decided) {
            break;
        }
    }
    let mut nulls = Nulls::none();
    let mut values = Vec::with_capacity(len);
    for row in 0..len {
        if unknown[row] && !decided[row] {
            nulls.set_null(row);
            values.push(false);
        } else {
            values.push(decided[row] == decides);
        }
    }
    Ok(ColumnVec::Bool(Primitive { values, nulls }))
}

fn call(
    builtin: &'static Builtin,
    types: &CallTypes,
    args: &[Expr],
    batch: &Batch,
    scope: &EvalScope<'_>,
) -> Result<Operand, GaveUp> {
    let len = batch.len();
    let mut operands: SmallVec<[Operand; 4]> = SmallVec::with_capacity(args.len());
    for arg in args {
        operands.push(operand(arg, batch, scope)?);
    }
    if let [left, right] = operands.as_slice()
        && let Some(kernel) = kernel_of(builtin)
        && let Some(column) = binary(kernel, types, left, right, len)?
    {
        return Ok(Operand::Column(Arc::new(column)));
    }
    if let [Operand::Column(column), Operand::Value(Datum::Text(pattern), _)] = operands.as_slice()
        && let Some(negated) = like_kernel(builtin)
        && let ColumnVec::Text(texts) = column.as_ref()
        && let Some(pattern) = LikePattern::new(pattern)
    {
        let (bytes, ends) = texts.parts();
        let mut values = pattern.matches_each(bytes, ends);
        values.iter_mut().for_each(|matches| *matches ^= negated);
        hide_nulls(&mut values, &texts.nulls);
        return Ok(Operand::Column(Arc::new(ColumnVec::Bool(Primitive { values, nulls: texts.nulls.clone() }))));
    }
    let mut values: SmallVec<[Datum; 4]> = SmallVec::new();
    if operands.iter().all(|operand| matches!(operand, Operand::Value(..))) {
        values.extend(operands.iter().map(|operand| operand.datum(0)));
        let value = crate::eval::call(builtin, scope.eval, types, &values, scope.memory).map_err(|_| GaveUp)?;
        return Ok(Operand::Value(value, types.ret));
    }
    let mut result = ColumnVec::with_capacity(&types.ret, len);
    let mut made = scope.made();
    for row in 0..len {
        values.clear();
        values.extend(operands.iter().map(|operand| operand.datum(row)));
        let value = crate::eval::call(builtin, scope.eval, types, &values, scope.memory).map_err(|_| GaveUp)?;
        made.add(&value).map_err(|_| GaveUp)?;
        result.push(&value);
    }
    Ok(Operand::Column(Arc::new(result)))
}

/// A kernel's operand: values, or one for all rows; never a NULL constant.
#[derive(Clone, Copy)]
pub(crate) enum Words<'c, T> {
    Many(&'c [T], &'c Nulls),
    One(T),
}

static NO_NULLS: Nulls = Nulls::none();

impl<T: Copy> Words<'_, T> {
    pub(crate) fn nulls(&self) -> &Nulls {
        match self {
            Self::Many(_, nulls) => nulls,
            Self::One(_) => &NO_NULLS,
        }
    }
}

pub(crate) fn map_words<T: Copy, R>(a: Words<'_, T>, b: Words<'_, T>, len: usize, mut f: impl FnMut(T, T) -> R) -> Vec<R> {
    match (a, b) {
        (Words::Many(a, _), Words::Many(b, _)) => a.iter().zip(b).map(|(a, b)| f(*a, *b)).collect(),
        (Words::Many(a, _), Words::One(b)) => a.iter().map(|a| f(*a, b)).collect(),
        (Words::One(a), Words::Many(b, _)) => b.iter().map(|b| f(a, *b)).collect(),
        (Words::One(a), Words::One(b)) => (0..len).map(|_| f(a, b)).collect(),
    }
}

fn int_words(operand: &Operand) -> Option<(IntKind, Words<'_, i64>)> {
    match operand {
        Operand::Column(column) => match column.as_ref() {
            ColumnVec::Int(kind, column) => Some((*kind, Words::Many(&column.values, &column.nulls))),
            _ => None,
        },
        Operand::Value(datum, _) => match datum {
            Datum::Int(value) => Some((IntKind::Int, Words::One(*value))),
            Datum::Date(days) => Some((IntKind::Date, Words::One(i64::from(*days)))),
            Datum::Time(micros) => Some((IntKind::Time, Words::One(*micros))),
            Datum::Timestamp(micros) => Some((IntKind::Timestamp, Words::One(*micros))),
            Datum::TimestampTz(micros) => Some((IntKind::TimestampTz, Words::One(*micros))),
            _ => None,
        },
    }
}

fn float_words(operand: &Operand) -> Option<Words<'_, f64>> {
    match operand {
        Operand::Column(column) => match column.as_ref() {
            ColumnVec::Float(column) => Some(Words::Many(&column.values, &column.nulls)),
            _ => None,
        },
        Operand::Value(Datum::Float(value), _) => Some(Words::One(*value)),
        Operand::Value(..) => None,
    }
}

/// `Ok(None)`: no kernel for these types.
fn binary(
    kernel: BinaryKernel,
    types: &CallTypes,
    left: &Operand,
    right: &Operand,
    len: usize,
) -> Result<Option<ColumnVec>, GaveUp> {
    // All operators that have kernels are strict.
    for operand in [left, right] {
        if matches!(operand, Operand::Value(Datum::Null, _)) {
            return Ok(Some(ColumnVec::repeat(&types.ret, &Datum::Null, len)));
        }
    }
    if let (Some((a_kind, a)), Some((b_kind, b))) = (int_words(left), int_words(right)) {
        if a_kind != b_kind {
            return Ok(None);
        }
        if kernel.is_comparison() {
            return Ok(Some(compare_words(kernel, a, b, len, Ord::cmp)));
        }
        let (min, max) = match types.ret {
            SqlType::Int2 => (i64::from(i16::MIN), i64::from(i16::MAX)),
            SqlType::Int4 => (i64::from(i32::MIN), i64::from(i32::MAX)),
            SqlType::Int8 => (i64::MIN, i64::MAX),
            _ => return Ok(None),
        };
        if a_kind != IntKind::Int {
            return Ok(None);
        }
        return int_arithmetic(kernel, a, b, len, (min, max)).map(Some);
    }
    if let (Some(a), Some(b)) = (float_words(left), float_words(right)) {
        if kernel.is_comparison() {
            return Ok(Some(compare_words(kernel, a, b, len, |a, b| compare_floats(*a, *b))));
        }
        if types.ret != SqlType::Float8 || types.args.iter().any(|ty| *ty != SqlType::Float8) {
            return Ok(None);
        }
        return float_arithmetic(kernel, a, b, len).map(Some);
    }
    if let (Some(a), Some(b)) = (Numerics::new(left, &types.args[0]), Numerics::new(right, &types.args[1])) {
        return numerics(kernel, a, b, len);
    }
    let is_text = |ty: &SqlType| matches!(ty, SqlType::Text | SqlType::Varchar(_) | SqlType::Name);
    let is_padded = |ty: &SqlType| matches!(ty, SqlType::Char(_));
    if kernel.is_comparison() && types.args.iter().all(is_text) {
        return Ok(compare_texts(kernel, left, right, len, |text| text));
    }
    if kernel.is_comparison() && types.args.iter().all(is_padded) {
        return Ok(compare_texts(kernel, left, right, len, without_blanks));
    }
    Ok(None)
}

/// What of a `char(n)` counts in comparisons.
pub(crate) fn without_blanks(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
    &text[..end]
}

pub(crate) fn compare_words<T: Copy>(
    kernel: BinaryKernel,
    a: Words<'_, T>,
    b: Words<'_, T>,
    len: usize,
    order: impl Fn(&T, &T) -> Ordering + Copy,
) -> ColumnVec {
    // One loop for each operator: the compiler sees a constant predicate in each.
    let mut values = match kernel {
        BinaryKernel::Eq => map_words(a, b, len, |a, b| order(&a, &b).is_eq()),
        BinaryKernel::Ne => map_words(a, b, len, |a, b| order(&a, &b).is_ne()),
        BinaryKernel::Lt => map_words(a, b, len, |a, b| order(&a, &b).is_lt()),
        BinaryKernel::Le => map_words(a, b, len, |a, b| order(&a, &b).is_le()),
        BinaryKernel::Gt => map_words(a, b, len, |a, b| order(&a, &b).is_gt()),
        _ => map_words(a, b, len, |a, b| order(&a, &b).is_ge()),
    };
    let nulls = a.nulls().union(b.nulls());
    hide_nulls(&mut values, &nulls);
    ColumnVec::Bool(Primitive { values, nulls })
}

/// NULL rows hold the type's default.
pub(crate) fn hide_nulls<T: Default>(values: &mut [T], nulls: &Nulls) {
    if nulls.any() {
        for (row, value) in values.iter_mut().enumerate() {
            if nulls.is_null(row) {
                *value = T::default();
            }
        }
    }
}

fn int_arithmetic(
    kernel: BinaryKernel,
    a: Words<'_, i64>,
    b: Words<'_, i64>,
    len: usize,
    (min, max): (i64, i64),
) -> Result<ColumnVec, GaveUp> {
    let nulls = a.nulls().union(b.nulls());
    let results = match kernel {
        BinaryKernel::Add => map_words(a, b, len, i64::checked_add),
        BinaryKernel::Sub => map_words(a, b, len, i64::checked_sub),
        BinaryKernel::Mul => map_words(a, b, len, i64::checked_mul),
        BinaryKernel::Div => map_words(a, b, len, i64::checked_div),
        BinaryKernel::Mod => map_words(a, b, len, i64::checked_rem),
        _ => return Err(GaveUp),
    };
    let mut values = Vec::with_capacity(len);
    for (row, result) in results.into_iter().enumerate() {
        match result {
            Some(value) if value >= min && value <= max => values.push(value),
            _ if nulls.is_null(row) => values.push(0),
            _ => return Err(GaveUp),
        }
    }
    hide_nulls(&mut values, &nulls);
    Ok(ColumnVec::Int(IntKind::Int, Primitive { values, nulls }))
}

fn float_arithmetic(
    kernel: BinaryKernel,
    a: Words<'_, f64>,
    b: Words<'_, f64>,
    len: usize,
) -> Result<ColumnVec, GaveUp> {
    let nulls = a.nulls().union(b.nulls());
    let mut values = match kernel {
        BinaryKernel::Add => map_words(a, b, len, |a, b| a + b),
        BinaryKernel::Sub => map_words(a, b, len, |a, b| a - b),
        BinaryKernel::Mul => map_words(a, b, len, |a, b| a * b),
        BinaryKernel::Div => map_words(a, b, len, |a, b| a / b),
        _ => return Err(GaveUp),
    };
    // Overflow, underflow and division by zero are errors unless an operand explains them: row by row.
    let sums = matches!(kernel, BinaryKernel::Add | BinaryKernel::Sub);
    let is_suspect = |value: f64| !value.is_finite() || (value == 0.0 && !sums);
    if values.iter().enumerate().any(|(row, value)| is_suspect(*value) && !nulls.is_null(row)) {
        return Err(GaveUp);
    }
    hide_nulls(&mut values, &nulls);
    Ok(ColumnVec::Float(Primitive { values, nulls }))
}

/// Compares what `counts` leaves of the texts.
fn compare_texts(
    kernel: BinaryKernel,
    left: &Operand,
    right: &Operand,
    len: usize,
    counts: impl Fn(&[u8]) -> &[u8] + Copy,
) -> Option<ColumnVec> {
    fn side<'o>(
        operand: &'o Operand,
        counts: impl Fn(&[u8]) -> &[u8] + Copy,
    ) -> Option<impl Fn(usize) -> Option<&'o [u8]>> {
        let (strings, constant) = match operand {
            Operand::Column(column) => match column.as_ref() {
                ColumnVec::Text(strings) => (Some(strings), None),
                _ => return None,
            },
            Operand::Value(datum, _) => (None, Some(counts(datum.as_str()?.as_bytes()))),
        };
        Some(move |row: usize| strings.map_or(constant, |strings| strings.get(row).map(counts)))
    }
    let (a, b) = (side(left, counts)?, side(right, counts)?);
    let mut result = Primitive::with_capacity(len);
    for row in 0..len {
        match (a(row), b(row)) {
            (Some(a), Some(b)) => result.push(match kernel {
                BinaryKernel::Eq => a == b,
                BinaryKernel::Ne => a != b,
                _ => kernel.holds(a.cmp(b)),
            }),
            _ => result.push_null(),
        }
    }
    Some(ColumnVec::Bool(result))
}

/// A list of constants is hashed once a batch where the batch is long enough to repay it.
fn in_list(
    expr: &Expr,
    list: &[Expr],
    negated: bool,
    batch: &Batch,
    scope: &EvalScope<'_>,
) -> Result<ColumnVec, GaveUp> {
    let column = eval(expr, batch, scope)?;
    let mut constants = Vec::with_capacity(list.len());
    for item in list {
        match operand(item, batch, scope)? {
            Operand::Value(datum, _) => constants.push(datum),
            Operand::Column(_) => return in_rows(expr, list, negated, batch, scope),
        }
    }
    Ok(in_constants(&column, &expr.ty(), constants, negated))
}

/// `expr = ANY (array)` and `expr <> ALL (array)` of one array for all rows; none where it is another comparison.
fn in_array(
    left: &Expr,
    array: &Expr,
    comparison: &Comparison,
    all: bool,
    batch: &Batch,
    scope: &EvalScope<'_>,
) -> Result<Option<ColumnVec>, GaveUp> {
    let wanted = if all { BinaryKernel::Ne } else { BinaryKernel::Eq };
    let (ty, element) = (left.ty(), array.ty().element());
    let is_plain = kernel_of(comparison.builtin) == Some(wanted)
        && ty.same_base(&comparison.left_cast)
        && ty.same_base(&comparison.right_cast)
        && element.is_some_and(|element| element.same_base(&ty));
    if !is_plain {
        return Ok(None);
    }
    let Operand::Value(array, _) = operand(array, batch, scope)? else { return Ok(None) };
    let Datum::Array(array) = array else {
        return Ok(Some(ColumnVec::repeat(&SqlType::Bool, &Datum::Null, batch.len())));
    };
    let column = eval(left, batch, scope)?;
    Ok(Some(in_constants(&column, &ty, array.elements().to_vec(), all)))
}

/// Whether each value is among the constants, or where `negated` is not.
fn in_constants(column: &ColumnVec, ty: &SqlType, mut constants: Vec<Datum>, negated: bool) -> ColumnVec {
    let (count, len) = (constants.len(), column.len());
    if count == 0 {
        return ColumnVec::Bool(Primitive::from_values(vec![negated; len]));
    }
    constants.retain(|datum| !datum.is_null());
    let has_null = constants.len() < count;
    let is_text = matches!(ty, SqlType::Text | SqlType::Varchar(_) | SqlType::Char(_) | SqlType::Name);
    if let (ColumnVec::Text(strings), true) = (column, is_text) {
        let counts: fn(&[u8]) -> &[u8] = if matches!(ty, SqlType::Char(_)) { without_blanks } else { |text| text };
        let mut texts: Vec<&[u8]> =
            constants.iter().filter_map(|datum| datum.as_str()).map(|text| counts(text.as_bytes())).collect();
        texts.sort_unstable();
        let is_few = texts.len() <= 8;
        let find = |text: &[u8]| if is_few { texts.contains(&text) } else { texts.binary_search(&text).is_ok() };
        return found_rows(len, has_null, negated, |row| strings.get(row).map(counts).map(find));
    }
    if let ColumnVec::Int(kind, ints) = column {
        let mut words: Vec<i64> = constants.iter().filter_map(|datum| int_word(*kind, datum)).collect();
        words.sort_unstable();
        let is_few = words.len() <= 8;
        let find = |word: i64| if is_few { words.contains(&word) } else { words.binary_search(&word).is_ok() };
        return found_rows(len, has_null, negated, |row| ints.get(row).map(find));
    }
    let state = RandomState::new();
    let hash = |datum: &Datum| {
        let mut hasher = std::hash::BuildHasher::build_hasher(&state);
        hash_datum(ty, datum, &mut hasher);
        std::hash::Hasher::finish(&hasher)
    };
    let hashed = constants.len() > 8 && len > 8;
    let mut table: HashTable<usize> = HashTable::new();
    if hashed {
        for (number, datum) in constants.iter().enumerate() {
            table.insert_unique(hash(datum), number, |other| hash(&constants[*other]));
        }
    }
    found_rows(len, has_null, negated, |row| {
        let value = column.get_datum(row);
        if value.is_null() {
            return None;
        }
        Some(if hashed {
            table.find(hash(&value), |number| sql_equal(ty, &constants[*number], &value)).is_some()
        } else {
            constants.iter().any(|constant| sql_equal(ty, constant, &value))
        })
    })
}

/// What `find` says of each row, none for NULL, as IN answers: what is not among values one of which is NULL is unknown.
fn found_rows(len: usize, has_null: bool, negated: bool, find: impl Fn(usize) -> Option<bool>) -> ColumnVec {
    let mut result = Primitive::with_capacity(len);
    for row in 0..len {
        match find(row) {
            Some(found) if found || !has_null => result.push(found != negated),
            _ => result.push_null(),
        }
    }
    ColumnVec::Bool(result)
}

/// The word of a datum in a column of this kind.
fn int_word(kind: IntKind, datum: &Datum) -> Option<i64> {
    match (kind, datum) {
        (IntKind::Int, Datum::Int(value))
        | (IntKind::Time, Datum::Time(value))
        | (IntKind::Timestamp, Datum::Timestamp(value))
        | (IntKind::TimestampTz, Datum::TimestampTz(value)) => Some(*value),
        (IntKind::Date, Datum::Date(days)) => Some(i64::from(*days)),
        _ => None,
    }
}

fn in_rows(
    expr: &Expr,
    list: &[Expr],
    negated: bool,
    batch: &Batch,
    scope: &EvalScope<'_>,
) -> Result<ColumnVec, GaveUp> {
    let ty = expr.ty();
    let value = eval(expr, batch, scope)?;
    let mut result = Primitive::with_capacity(batch.len());
    let items = list.iter().map(|item| operand(item, batch, scope)).collect::<Result<Vec<_>, _>>()?;
    for row in 0..batch.len() {
        let value = value.get_datum(row);
        let (mut found, mut unknown) = (false, false);
        for item in &items {
            let item = item.datum(row);
            if item.is_null() || value.is_null() {
                unknown = true;
            } else if sql_equal(&ty, &item, &value) {
                found = true;
                break;
            }
        }
        if found || !unknown { result.push(found != negated) } else { result.push_null() }
    }
    Ok(ColumnVec::Bool(result))
}
