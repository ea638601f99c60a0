//! Set-returning functions. Documentation, section 9.26.

use types::{Datum, Numeric, SqlError, SqlResult, SqlState, SqlType, datetime};

use crate::EvalContext;
use crate::arguments::{array, int, interval, moment, numeric};
use crate::signature::{ArgType, Builtin, CallTypes, RetType, SetFunction};

const I4: ArgType = ArgType::T(SqlType::Int4);
const I8: ArgType = ArgType::T(SqlType::Int8);
const N: ArgType = ArgType::T(SqlType::NUMERIC);
const TIMESTAMP: ArgType = ArgType::T(SqlType::TIMESTAMP);
const TIMESTAMPTZ: ArgType = ArgType::T(SqlType::TIMESTAMPTZ);
const INTERVAL: ArgType = ArgType::T(SqlType::Interval);

/// Rows one call may make in memory at most.
const ROWS_MAX: i128 = 50_000_000;

type Rows = SqlResult<Vec<Vec<Datum>>>;

fn never(_: &EvalContext<'_>, _: &CallTypes, _: &[Datum]) -> SqlResult<Datum> {
    Err(SqlError::internal("a set-returning function was called as a scalar"))
}

fn zero_step() -> SqlError {
    SqlError::new(SqlState::InvalidParameterValue, "step size cannot equal zero")
}

fn too_many() -> SqlError {
    SqlError::new(SqlState::ProgramLimitExceeded, format!("a set-returning function would make more than {ROWS_MAX} rows"))
}

fn integers(_: &EvalContext<'_>, _: &CallTypes, a: &[Datum]) -> Rows {
    let (start, stop, step) = (i128::from(int(&a[0])), i128::from(int(&a[1])), a.get(2).map_or(1, |step| i128::from(int(step))));
    if step == 0 {
        return Err(zero_step());
    }
    let count = ((stop - start) / step + 1).max(0);
    if (stop - start).signum() == -step.signum() {
        return Ok(Vec::new());
    }
    if count > ROWS_MAX {
        return Err(too_many());
    }
    Ok((0..count).map(|n| vec![Datum::Int((start + n * step) as i64)]).collect())
}

fn numerics(_: &EvalContext<'_>, _: &CallTypes, a: &[Datum]) -> Rows {
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
    let (mut current, stop) = (numeric(&a[0]).clone(), numeric(&a[1]));
    let mut rows = Vec::new();
    while if step.signum() > 0 { current <= *stop } else { current >= *stop } {
        if rows.len() as i128 >= ROWS_MAX {
            return Err(too_many());
        }
        let next = current.add(&step)?;
        rows.push(vec![Datum::Numeric(std::mem::replace(&mut current, next))]);
    }
    Ok(rows)
}

fn moments(context: &EvalContext<'_>, types: &CallTypes, a: &[Datum]) -> Rows {
    let with_zone = types.ret.oid() == SqlType::TIMESTAMPTZ.oid();
    let (mut current, stop, step) = (moment(&a[0]), moment(&a[1]), interval(&a[2]));
    let days = i64::from(step.months) * 30 + i64::from(step.days);
    let direction = (i128::from(days) * 86_400_000_000 + i128::from(step.micros)).signum();
    if direction == 0 {
        return Err(zero_step());
    }
    // A step leads from an infinity to itself, and never to the other one.
    let forever = current.max(stop) == i64::MAX && direction > 0 || current.min(stop) == i64::MIN && direction < 0;
    if forever && (current <= stop) == (direction > 0) {
        return Err(too_many());
    }
    let mut rows = Vec::new();
    while if direction > 0 { current <= stop } else { current >= stop } {
        if rows.len() as i128 >= ROWS_MAX {
            return Err(too_many());
        }
        rows.push(vec![if with_zone { Datum::TimestampTz(current) } else { Datum::Timestamp(current) }]);
        current = match with_zone {
            true => datetime::timestamptz_add(current, step, &context.formatting.zone)?,
            false => datetime::timestamp_add(current, step)?,
        };
    }
    Ok(rows)
}

fn subscripts(_: &EvalContext<'_>, _: &CallTypes, a: &[Datum]) -> Rows {
    let Some(dimension) = usize::try_from(int(&a[1]) - 1).ok().and_then(|at| array(&a[0]).dimensions().get(at).copied()) else {
        return Ok(Vec::new());
    };
    let lower = i64::from(dimension.lower_bound);
    Ok((lower..lower + i64::from(dimension.length)).map(|at| vec![Datum::Int(at)]).collect())
}

const fn series(oid: u32, args: &'static [ArgType], ty: SqlType, eval: fn(&EvalContext<'_>, &CallTypes, &[Datum]) -> Rows) -> Builtin {
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
        .returning_set(SetFunction {
            columns: &[],
            eval: |context, types, a| {
                let mut rows = subscripts(context, types, a)?;
                if a[2].as_bool() == Some(true) {
                    rows.reverse();
                }
                Ok(rows)
            },
        }),
    Builtin::pure("unnest", 2331, &[ArgType::AnyArray], RetType::AnyElement, never).returning_set(SetFunction {
        columns: &[],
        eval: |_, _, a| Ok(array(&a[0]).elements().iter().map(|element| vec![element.clone()]).collect()),
    }),
];

#[cfg(test)]
mod tests {
    use super::*;
    use types::Formatting;

    fn run(args: [i64; 3]) -> SqlResult<Vec<i64>> {
        let formatting = Formatting::default();
        let context = EvalContext::detached(&formatting);
        let types = CallTypes { args: smallvec::smallvec![SqlType::Int8; 3], ret: SqlType::Int8 };
        let rows = integers(&context, &types, &args.map(Datum::Int))?;
        Ok(rows.iter().map(|row| int(&row[0])).collect())
    }

    #[test]
    fn series_end_where_they_should() {
        assert_eq!(run([1, 5, 2]), Ok(vec![1, 3, 5]));
        assert_eq!(run([5, 1, -2]), Ok(vec![5, 3, 1]));
        assert_eq!(run([5, 1, 1]), Ok(vec![]));
        assert_eq!(run([1, 5, -1]), Ok(vec![]));
        assert_eq!(run([3, 3, 7]), Ok(vec![3]));
        assert_eq!(run([i64::MAX - 1, i64::MAX, 5]), Ok(vec![i64::MAX - 1]), "no overflow at the end");
        run([1, 2, 0]).expect_err("no step");
        run([1, i64::MAX, 1]).expect_err("bounded");
    }
}
