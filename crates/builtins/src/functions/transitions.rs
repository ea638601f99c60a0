//! Transition and final functions of PostgreSQL's aggregates whose states have types of SQL: users make aggregates of them.
//!
//! Left out: those over the type `internal`, whose values exist in PostgreSQL's memory alone.

use types::{Array, Datum, Numeric, SqlError, SqlResult, SqlState, SqlType};

use crate::EvalContext;
use crate::arguments::{array, float, int};
use crate::signature::{ArgType, Builtin, CallTypes, RetType};

/// The numbers of a state of so many.
fn state<const N: usize, T: Copy + Default>(name: &str, datum: &Datum, read: fn(&Datum) -> T) -> SqlResult<[T; N]> {
    let elements = array(datum).elements();
    if elements.len() != N || elements.iter().any(Datum::is_null) {
        return Err(SqlError::new(SqlState::InternalError, format!("{name}: expected {N}-element array")));
    }
    let mut values = [T::default(); N];
    for (value, element) in values.iter_mut().zip(elements) {
        *value = read(element);
    }
    Ok(values)
}

fn integers(values: [i64; 2]) -> Datum {
    Datum::Array(Array::from_elements(values.map(Datum::Int).to_vec()).into())
}

fn overflow() -> SqlError {
    SqlError::new(SqlState::NumericValueOutOfRange, "bigint out of range")
}

fn increase(value: &Datum, by: i64) -> SqlResult<Datum> {
    int(value).checked_add(by).map(Datum::Int).ok_or_else(overflow)
}

/// The sum of integers; a NULL adds nothing.
fn add(_: &EvalContext<'_>, _: &CallTypes, a: &[Datum]) -> SqlResult<Datum> {
    match (&a[0], &a[1]) {
        (Datum::Null, added) => Ok(added.clone()),
        (sum, Datum::Null) => Ok(sum.clone()),
        (sum, added) => increase(sum, int(added)),
    }
}

/// Count and sum.
fn accumulate(_: &EvalContext<'_>, _: &CallTypes, a: &[Datum]) -> SqlResult<Datum> {
    let [count, sum] = state("integer state", &a[0], int)?;
    Ok(integers([count + 1, sum.checked_add(int(&a[1])).ok_or_else(overflow)?]))
}

fn take_out(_: &EvalContext<'_>, _: &CallTypes, a: &[Datum]) -> SqlResult<Datum> {
    let [count, sum] = state("integer state", &a[0], int)?;
    Ok(integers([count - 1, sum.checked_sub(int(&a[1])).ok_or_else(overflow)?]))
}

fn combine(_: &EvalContext<'_>, _: &CallTypes, a: &[Datum]) -> SqlResult<Datum> {
    let ([count, sum], [more, added]) = (state("integer state", &a[0], int)?, state("integer state", &a[1], int)?);
    Ok(integers([count + more, sum.checked_add(added).ok_or_else(overflow)?]))
}

fn average(_: &EvalContext<'_>, _: &CallTypes, a: &[Datum]) -> SqlResult<Datum> {
    let [count, sum]: [i64; 2] = state("int8_avg", &a[0], int)?;
    if count == 0 {
        return Ok(Datum::Null);
    }
    Ok(Datum::Numeric(Numeric::from(sum).div(&Numeric::from(count))?))
}

fn sum(_: &EvalContext<'_>, _: &CallTypes, a: &[Datum]) -> SqlResult<Datum> {
    let [count, sum]: [i64; 2] = state("int2int4_sum", &a[0], int)?;
    Ok(if count == 0 { Datum::Null } else { Datum::Int(sum) })
}

fn floats(values: [f64; 3]) -> Datum {
    Datum::Array(Array::from_elements(values.map(Datum::Float).to_vec()).into())
}

fn float_overflow() -> SqlError {
    SqlError::new(SqlState::NumericValueOutOfRange, "value out of range: overflow")
}

/// Count, sum, and the sum of squared distances from the mean, as Youngs and Cramer have it.
fn accumulate_float(_: &EvalContext<'_>, _: &CallTypes, a: &[Datum]) -> SqlResult<Datum> {
    let [count, sum, squares] = state("float8_accum", &a[0], float)?;
    let value = float(&a[1]);
    let (more, total) = (count + 1.0, sum + value);
    let mut distance = squares;
    if count > 0.0 {
        let apart = value * more - total;
        distance += apart * apart / (more * count);
        if total.is_infinite() || distance.is_infinite() {
            if !sum.is_infinite() && !value.is_infinite() {
                return Err(float_overflow());
            }
            distance = f64::NAN;
        }
    } else if !value.is_finite() {
        distance = f64::NAN;
    }
    Ok(floats([more, total, distance]))
}

fn combine_floats(_: &EvalContext<'_>, _: &CallTypes, a: &[Datum]) -> SqlResult<Datum> {
    let ([n1, s1, q1], [n2, s2, q2]) = (state("float8_combine", &a[0], float)?, state("float8_combine", &a[1], float)?);
    if n1 == 0.0 {
        return Ok(floats([n2, s2, q2]));
    }
    if n2 == 0.0 {
        return Ok(floats([n1, s1, q1]));
    }
    let (count, sum, apart) = (n1 + n2, s1 + s2, s1 / n1 - s2 / n2);
    let squares = q1 + q2 + n1 * n2 * apart * apart / count;
    if (sum.is_infinite() && !s1.is_infinite() && !s2.is_infinite())
        || (squares.is_infinite() && !q1.is_infinite() && !q2.is_infinite())
    {
        return Err(float_overflow());
    }
    Ok(floats([count, sum, squares]))
}

/// Of a state with at least so many values.
fn of_floats(name: &str, a: &[Datum], least: f64, answer: fn([f64; 3]) -> f64) -> SqlResult<Datum> {
    let found = state(name, &a[0], float)?;
    Ok(if found[0] < least { Datum::Null } else { Datum::Float(answer(found)) })
}

const I2: ArgType = ArgType::T(SqlType::Int2);
const I4: ArgType = ArgType::T(SqlType::Int4);
const I8: ArgType = ArgType::T(SqlType::Int8);
const F4: ArgType = ArgType::T(SqlType::Float4);
const F8: ArgType = ArgType::T(SqlType::Float8);
const INTEGERS: SqlType = SqlType::INT8_ARRAY;
const FLOATS: SqlType = SqlType::FLOAT8_ARRAY;
const R_I8: RetType = RetType::T(SqlType::Int8);
const R_F8: RetType = RetType::T(SqlType::Float8);

#[rustfmt::skip]
pub(super) static FUNCTIONS: &[Builtin] = &[
    Builtin::pure("int8inc", 1219, &[I8], R_I8, |_, _, a| increase(&a[0], 1)),
    Builtin::pure("int8dec", 3546, &[I8], R_I8, |_, _, a| increase(&a[0], -1)),
    Builtin::pure("int8inc_any", 2804, &[I8, ArgType::Any], R_I8, |_, _, a| increase(&a[0], 1)),
    Builtin::pure("int8dec_any", 3547, &[I8, ArgType::Any], R_I8, |_, _, a| increase(&a[0], -1)),
    Builtin::pure("int2_sum", 1840, &[I8, I2], R_I8, add).null_aware(),
    Builtin::pure("int4_sum", 1841, &[I8, I4], R_I8, add).null_aware(),
    Builtin::pure("int2_avg_accum", 1962, &[ArgType::T(INTEGERS), I2], RetType::T(INTEGERS), accumulate),
    Builtin::pure("int4_avg_accum", 1963, &[ArgType::T(INTEGERS), I4], RetType::T(INTEGERS), accumulate),
    Builtin::pure("int2_avg_accum_inv", 3570, &[ArgType::T(INTEGERS), I2], RetType::T(INTEGERS), take_out),
    Builtin::pure("int4_avg_accum_inv", 3571, &[ArgType::T(INTEGERS), I4], RetType::T(INTEGERS), take_out),
    Builtin::pure("int4_avg_combine", 3324, &[ArgType::T(INTEGERS), ArgType::T(INTEGERS)], RetType::T(INTEGERS), combine),
    Builtin::pure("int8_avg", 1964, &[ArgType::T(INTEGERS)], RetType::T(SqlType::NUMERIC), average),
    Builtin::pure("int2int4_sum", 3572, &[ArgType::T(INTEGERS)], R_I8, sum),
    Builtin::pure("float4_accum", 208, &[ArgType::T(FLOATS), F4], RetType::T(FLOATS), accumulate_float),
    Builtin::pure("float8_accum", 222, &[ArgType::T(FLOATS), F8], RetType::T(FLOATS), accumulate_float),
    Builtin::pure("float8_combine", 276, &[ArgType::T(FLOATS), ArgType::T(FLOATS)], RetType::T(FLOATS), combine_floats),
    Builtin::pure("float8_avg", 1830, &[ArgType::T(FLOATS)], R_F8, |_, _, a| of_floats("float8_avg", a, 1.0, |[n, sum, _]| sum / n)),
    Builtin::pure("float8_var_pop", 2512, &[ArgType::T(FLOATS)], R_F8, |_, _, a| of_floats("float8_var_pop", a, 1.0, |[n, _, q]| q / n)),
    Builtin::pure("float8_var_samp", 1831, &[ArgType::T(FLOATS)], R_F8, |_, _, a| of_floats("float8_var_samp", a, 2.0, |[n, _, q]| q / (n - 1.0))),
    Builtin::pure("float8_stddev_pop", 2513, &[ArgType::T(FLOATS)], R_F8, |_, _, a| of_floats("float8_stddev_pop", a, 1.0, |[n, _, q]| (q / n).sqrt())),
    Builtin::pure("float8_stddev_samp", 1832, &[ArgType::T(FLOATS)], R_F8, |_, _, a| of_floats("float8_stddev_samp", a, 2.0, |[n, _, q]| (q / (n - 1.0)).sqrt())),
];
