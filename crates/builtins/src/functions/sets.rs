//! Set-returning functions. Documentation, section 9.26.

use types::{Datum, Numeric, SqlError, SqlResult, SqlState, SqlType, datetime};

use crate::EvalContext;
use crate::arguments::{array, int, interval, moment, numeric};
use crate::signature::{ArgType, Builtin, CallTypes, RetType, SetFunction, SetRows};

const I4: ArgType = ArgType::T(SqlType::Int4);
const I8: ArgType = ArgType::T(SqlType::Int8);
const N: ArgType = ArgType::T(SqlType::NUMERIC);
const TIMESTAMP: ArgType = ArgType::T(SqlType::TIMESTAMP);
const TIMESTAMPTZ: ArgType = ArgType::T(SqlType::TIMESTAMPTZ);
const INTERVAL: ArgType = ArgType::T(SqlType::Interval);

fn never(_: &EvalContext<'_>, _: &CallTypes, _: &[Datum]) -> SqlResult<Datum> {
    Err(SqlError::internal("a set-returning function was called as a scalar"))
}

fn zero_step() -> SqlError {
    SqlError::new(SqlState::InvalidParameterValue, "step size cannot equal zero")
}

fn integers(_: &EvalContext<'_>, _: &CallTypes, a: &[Datum]) -> SqlResult<SetRows> {
    let (start, stop, step) = (int(&a[0]), int(&a[1]), a.get(2).map_or(1, int));
    if step == 0 {
        return Err(zero_step());
    }
    // A series that runs out of numbers ends with the last one there is.
    let all = std::iter::successors(Some(start), move |current| current.checked_add(step));
    let within = move |current: &i64| if step > 0 { *current <= stop } else { *current >= stop };
    Ok(SetRows::of_values(all.take_while(within).map(|current| Ok(Datum::Int(current)))))
}

fn numerics(_: &EvalContext<'_>, _: &CallTypes, a: &[Datum]) -> SqlResult<SetRows> {
    for (datum, role) in a.iter().zip(["start value", "stop value", "step size"]) {
        let value = numeric(datum);
        if !value.is_finite() {
            let what = if value.is_nan() { "NaN" } else { "infinity" };
            return Err(SqlError::new(SqlState::InvalidParameterValue, format!("{role} cannot be {what}")));
        }
    }
    let step = a.get(2).map_or(Numeric::ONE, |step| numeric(step).clone());
    if step.is_zero() {
        return Err(zero_step());
    }
    let stop = numeric(&a[1]).clone();
    let rises = step.signum() > 0;
    Ok(stepping(
        numeric(&a[0]).clone(),
        move |current| if rises { *current <= stop } else { *current >= stop },
        move |current| current.add(&step),
        Datum::Numeric,
    ))
}

fn moments(context: &EvalContext<'_>, types: &CallTypes, a: &[Datum]) -> SqlResult<SetRows> {
    let (stop, step) = (moment(&a[1]), interval(&a[2]));
    let days = i64::from(step.months) * 30 + i64::from(step.days);
    let direction = (i128::from(days) * 86_400_000_000 + i128::from(step.micros)).signum();
    if direction == 0 {
        return Err(zero_step());
    }
    // A step leads from an infinity to itself, and never to the other one: such a series has no end.
    let within = move |current: &i64| if direction > 0 { *current <= stop } else { *current >= stop };
    Ok(if types.ret.oid() == SqlType::TIMESTAMPTZ.oid() {
        let zone = context.formatting.zone.clone();
        let next = move |current: &i64| datetime::timestamptz_add(*current, step, &zone);
        stepping(moment(&a[0]), within, next, Datum::TimestampTz)
    } else {
        stepping(moment(&a[0]), within, move |current| datetime::timestamp_add(*current, step), Datum::Timestamp)
    })
}

/// Values from `first` on, as long as they are `within`; where there is no next one, that is the last row's error.
fn stepping<T: Clone + Send + 'static>(
    first: T,
    within: impl Fn(&T) -> bool + Send + 'static,
    next: impl Fn(&T) -> SqlResult<T> + Send + 'static,
    datum: fn(T) -> Datum,
) -> SetRows {
    let mut coming = Some(Ok(first));
    SetRows::of_values(std::iter::from_fn(move || match coming.take()? {
        Ok(current) if within(&current) => {
            coming = Some(next(&current));
            Some(Ok(datum(current)))
        }
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    }))
}

fn subscripts(_: &EvalContext<'_>, _: &CallTypes, a: &[Datum]) -> SqlResult<SetRows> {
    let dimension = usize::try_from(int(&a[1]) - 1).ok().and_then(|at| array(&a[0]).dimensions().get(at).copied());
    let (from, count) = dimension.map_or((1, 0), |it| (i64::from(it.lower_bound), i64::from(it.length)));
    let is_reversed = a.get(2).and_then(Datum::as_bool) == Some(true);
    let at = move |n: i64| if is_reversed { from + count - 1 - n } else { from + n };
    Ok(SetRows::of_values((0..count).map(move |n| Ok(Datum::Int(at(n))))))
}

/// The array is shared, its elements are copied one by one.
fn unnest(_: &EvalContext<'_>, _: &CallTypes, a: &[Datum]) -> SqlResult<SetRows> {
    let whole = a[0].clone();
    let count = array(&whole).elements().len();
    Ok(SetRows::of_values((0..count).map(move |at| Ok(array(&whole).elements()[at].clone()))))
}

/// Elements and their subscripts.
fn expand(_: &EvalContext<'_>, _: &CallTypes, a: &[Datum]) -> SqlResult<SetRows> {
    let whole = array(&a[0]);
    let elements = if whole.dimensions().len() > 1 { &[] } else { whole.elements() };
    let from = whole.dimensions().first().map_or(1, |it| i64::from(it.lower_bound));
    Ok(elements.iter().zip(from..).map(|(element, n)| vec![element.clone(), Datum::Int(n - from + 1)]).collect())
}

const fn series(oid: u32, args: &'static [ArgType], ty: SqlType, eval: fn(&EvalContext<'_>, &CallTypes, &[Datum]) -> SqlResult<SetRows>) -> Builtin {
    Builtin::pure("generate_series", oid, args, RetType::T(ty), never).returning_set(SetFunction { columns: &[], eval })
}

pub(super) static FUNCTIONS: &[Builtin] = &[
    series(1067, &[I4, I4], SqlType::Int4, integers),
    series(1066, &[I4, I4, I4], SqlType::Int4, integers),
    series(1069, &[I8, I8], SqlType::Int8, integers),
    series(1068, &[I8, I8, I8], SqlType::Int8, integers),
    series(3260, &[N, N], SqlType::NUMERIC, numerics),
    series(3259, &[N, N, N], SqlType::NUMERIC, numerics),
    series(938, &[TIMESTAMP, TIMESTAMP, INTERVAL], SqlType::TIMESTAMP, moments),
    series(939, &[TIMESTAMPTZ, TIMESTAMPTZ, INTERVAL], SqlType::TIMESTAMPTZ, moments).stable(),
    Builtin::pure("generate_subscripts", 1192, &[ArgType::AnyArray, I4], RetType::T(SqlType::Int4), never)
        .returning_set(SetFunction { columns: &[], eval: subscripts }),
    Builtin::pure("generate_subscripts", 1191, &[ArgType::AnyArray, I4, ArgType::T(SqlType::Bool)], RetType::T(SqlType::Int4), never)
        .returning_set(SetFunction { columns: &[], eval: subscripts }),
    Builtin::pure("_pg_expandarray", 13_208, &[ArgType::AnyArray], RetType::T(SqlType::RECORD), never)
        .returning_set(SetFunction { columns: &[("x", SqlType::AnyElement), ("n", SqlType::Int4)], eval: expand }),
    Builtin::pure("unnest", 2331, &[ArgType::AnyArray], RetType::AnyElement, never).returning_set(SetFunction { columns: &[], eval: unnest }),
];

#[cfg(test)]
mod tests {
    use super::*;
    use types::Formatting;

    fn run(args: [i64; 3]) -> SqlResult<Vec<i64>> {
        let formatting = Formatting::default();
        let context = EvalContext::detached(&formatting);
        let types = CallTypes { args: smallvec::smallvec![SqlType::Int8; 3], ret: SqlType::Int8 };
        integers(&context, &types, &args.map(Datum::Int))?.take(3).map(|row| Ok(int(&row?[0]))).collect()
    }

    #[test]
    fn series_end_where_they_should() {
        assert_eq!(run([1, 5, 2]), Ok(vec![1, 3, 5]));
        assert_eq!(run([5, 1, -2]), Ok(vec![5, 3, 1]));
        assert_eq!(run([5, 1, 1]), Ok(vec![]));
        assert_eq!(run([1, 5, -1]), Ok(vec![]));
        assert_eq!(run([3, 3, 7]), Ok(vec![3]));
        assert_eq!(run([i64::MAX - 1, i64::MAX, 5]), Ok(vec![i64::MAX - 1]), "no overflow at the end");
        assert_eq!(run([i64::MIN + 1, i64::MIN, -5]), Ok(vec![i64::MIN + 1]));
        assert_eq!(run([1, i64::MAX, 1]), Ok(vec![1, 2, 3]), "the others are not made before they are asked for");
        run([1, 2, 0]).expect_err("no step");
    }
}
