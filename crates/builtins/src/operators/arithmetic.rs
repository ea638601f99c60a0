//! `+ - * / % ^` and unary signs over numbers, with PostgreSQL's overflow errors. Documentation, section 9.3.

use types::{Datum, SqlError, SqlResult, SqlState, SqlType};

use crate::arguments::{float, int, numeric};
use crate::signature::{ArgType, Builtin, Operator, RetType};

fn out_of_range(type_name: &str) -> SqlError {
    SqlError::new(SqlState::NumericValueOutOfRange, format!("{type_name} out of range"))
}

pub(crate) fn division_by_zero() -> SqlError {
    SqlError::new(SqlState::DivisionByZero, "division by zero")
}

pub(super) fn checked(value: Option<i64>, ty: SqlType) -> SqlResult<Datum> {
    let fits = |value: i64| match ty {
        SqlType::Int2 => i16::try_from(value).is_ok(),
        SqlType::Int4 => i32::try_from(value).is_ok(),
        _ => true,
    };
    match value.filter(|value| fits(*value)) {
        Some(value) => Ok(Datum::Int(value)),
        None => Err(out_of_range(match ty {
            SqlType::Int2 => "smallint",
            SqlType::Int4 => "integer",
            _ => "bigint",
        })),
    }
}

/// Overflow to infinity and underflow to zero are errors unless an operand was so already.
fn checked_float(value: f64, args: &[Datum], ty: SqlType, may_be_zero: bool) -> SqlResult<Datum> {
    let value = if ty == SqlType::Float4 { f64::from(value as f32) } else { value };
    if value.is_infinite() && !args.iter().any(|arg| float(arg).is_infinite()) {
        return Err(SqlError::new(SqlState::NumericValueOutOfRange, "value out of range: overflow"));
    }
    if value == 0.0 && !may_be_zero {
        return Err(SqlError::new(SqlState::NumericValueOutOfRange, "value out of range: underflow"));
    }
    Ok(Datum::Float(value))
}

/// PostgreSQL truncates toward zero; the one overflow is the least integer over -1.
pub(super) fn divide(a: i64, b: i64, ty: SqlType) -> SqlResult<Datum> {
    if b == 0 {
        return Err(division_by_zero());
    }
    checked(a.checked_div(b), ty)
}

fn remainder(a: i64, b: i64) -> SqlResult<Datum> {
    if b == 0 {
        return Err(division_by_zero());
    }
    Ok(Datum::Int(a.wrapping_rem(b)))
}

macro_rules! integer_operators {
    ($ty:expr, $name:literal, [$add:literal, $sub:literal, $mul:literal, $div:literal, $rem:literal, $neg:literal, $pos:literal, $abs:literal]) => {{
        const TY: SqlType = $ty;
        const T: ArgType = ArgType::T(TY);
        const R: RetType = RetType::T(TY);
        const TABLE: &[Operator] = &[
            Operator::new("+", $add, Builtin::pure(concat!($name, "pl"), 20_000 + $add, &[T, T], R, |_, _, a| {
                checked(int(&a[0]).checked_add(int(&a[1])), TY)
            }))
            .commutes_with("+"),
            Operator::new("-", $sub, Builtin::pure(concat!($name, "mi"), 20_000 + $sub, &[T, T], R, |_, _, a| {
                checked(int(&a[0]).checked_sub(int(&a[1])), TY)
            })),
            Operator::new("*", $mul, Builtin::pure(concat!($name, "mul"), 20_000 + $mul, &[T, T], R, |_, _, a| {
                checked(int(&a[0]).checked_mul(int(&a[1])), TY)
            }))
            .commutes_with("*"),
            Operator::new("/", $div, Builtin::pure(concat!($name, "div"), 20_000 + $div, &[T, T], R, |_, _, a| {
                divide(int(&a[0]), int(&a[1]), TY)
            })),
            Operator::new("%", $rem, Builtin::pure(concat!($name, "mod"), 20_000 + $rem, &[T, T], R, |_, _, a| {
                remainder(int(&a[0]), int(&a[1]))
            })),
            Operator::new("-", $neg, Builtin::pure(concat!($name, "um"), 20_000 + $neg, &[T], R, |_, _, a| {
                checked(int(&a[0]).checked_neg(), TY)
            })),
            Operator::new("+", $pos, Builtin::pure(concat!($name, "up"), 20_000 + $pos, &[T], R, |_, _, a| Ok(a[0].clone()))),
            Operator::new("@", $abs, Builtin::pure(concat!($name, "abs"), 20_000 + $abs, &[T], R, |_, _, a| {
                checked(int(&a[0]).checked_abs(), TY)
            })),
        ];
        TABLE
    }};
}

/// The four operators that take two floats.
macro_rules! binary_float_operators {
    ($left:expr, $right:expr, $ret:expr, $name:literal, [$add:literal, $sub:literal, $mul:literal, $div:literal]) => {{
        const TY: SqlType = $ret;
        const ARGS: &[ArgType] = &[ArgType::T($left), ArgType::T($right)];
        const R: RetType = RetType::T(TY);
        const TABLE: &[Operator] = &[
            Operator::new("+", $add, Builtin::pure(concat!($name, "pl"), 20_000 + $add, ARGS, R, |_, _, a| {
                checked_float(float(&a[0]) + float(&a[1]), a, TY, true)
            }))
            .commutes_with("+"),
            Operator::new("-", $sub, Builtin::pure(concat!($name, "mi"), 20_000 + $sub, ARGS, R, |_, _, a| {
                checked_float(float(&a[0]) - float(&a[1]), a, TY, true)
            })),
            Operator::new("*", $mul, Builtin::pure(concat!($name, "mul"), 20_000 + $mul, ARGS, R, |_, _, a| {
                let (x, y) = (float(&a[0]), float(&a[1]));
                checked_float(x * y, a, TY, x == 0.0 || y == 0.0)
            }))
            .commutes_with("*"),
            Operator::new("/", $div, Builtin::pure(concat!($name, "div"), 20_000 + $div, ARGS, R, |_, _, a| {
                let (x, y) = (float(&a[0]), float(&a[1]));
                if y == 0.0 && !x.is_nan() {
                    return Err(division_by_zero());
                }
                checked_float(x / y, a, TY, x == 0.0 || y.is_infinite())
            })),
        ];
        TABLE
    }};
}

macro_rules! unary_float_operators {
    ($ty:expr, $name:literal, [$neg:literal, $pos:literal, $abs:literal]) => {{
        const ARGS: &[ArgType] = &[ArgType::T($ty)];
        const R: RetType = RetType::T($ty);
        const TABLE: &[Operator] = &[
            Operator::new("-", $neg, Builtin::pure(concat!($name, "um"), 20_000 + $neg, ARGS, R, |_, _, a| {
                Ok(Datum::Float(-float(&a[0])))
            })),
            Operator::new("+", $pos, Builtin::pure(concat!($name, "up"), 20_000 + $pos, ARGS, R, |_, _, a| Ok(a[0].clone()))),
            Operator::new("@", $abs, Builtin::pure(concat!($name, "abs"), 20_000 + $abs, ARGS, R, |_, _, a| {
                Ok(Datum::Float(float(&a[0]).abs()))
            })),
        ];
        TABLE
    }};
}

const N: ArgType = ArgType::T(SqlType::NUMERIC);
const RN: RetType = RetType::T(SqlType::NUMERIC);
const F: ArgType = ArgType::T(SqlType::Float8);
const RF: RetType = RetType::T(SqlType::Float8);

pub(super) static INT2: &[Operator] = integer_operators!(SqlType::Int2, "int2", [550, 554, 526, 527, 529, 559, 1917, 682]);
pub(super) static INT4: &[Operator] = integer_operators!(SqlType::Int4, "int4", [551, 555, 514, 528, 530, 558, 1918, 773]);
pub(super) static INT8: &[Operator] = integer_operators!(SqlType::Int8, "int8", [684, 685, 686, 687, 439, 484, 1916, 473]);
/// A `real` beside anything else that is a number is a `double precision`.
pub(super) static FLOATS: [&[Operator]; 6] = [
    binary_float_operators!(SqlType::Float4, SqlType::Float4, SqlType::Float4, "float4", [586, 587, 589, 588]),
    binary_float_operators!(SqlType::Float8, SqlType::Float8, SqlType::Float8, "float8", [591, 592, 594, 593]),
    binary_float_operators!(SqlType::Float4, SqlType::Float8, SqlType::Float8, "float48", [1116, 1117, 1119, 1118]),
    binary_float_operators!(SqlType::Float8, SqlType::Float4, SqlType::Float8, "float84", [1126, 1127, 1129, 1128]),
    unary_float_operators!(SqlType::Float4, "float4", [584, 1919, 590]),
    unary_float_operators!(SqlType::Float8, "float8", [585, 1920, 595]),
];

pub(super) static OPERATORS: &[Operator] = &[
    Operator::new("+", 1758, Builtin::pure("numeric_add", 1724, &[N, N], RN, |_, _, a| {
        numeric(&a[0]).add(numeric(&a[1])).map(Datum::Numeric)
    }))
    .commutes_with("+"),
    Operator::new("-", 1759, Builtin::pure("numeric_sub", 1725, &[N, N], RN, |_, _, a| {
        numeric(&a[0]).sub(numeric(&a[1])).map(Datum::Numeric)
    })),
    Operator::new("*", 1760, Builtin::pure("numeric_mul", 1726, &[N, N], RN, |_, _, a| {
        numeric(&a[0]).mul(numeric(&a[1])).map(Datum::Numeric)
    }))
    .commutes_with("*"),
    Operator::new("/", 1761, Builtin::pure("numeric_div", 1727, &[N, N], RN, |_, _, a| {
        numeric(&a[0]).div(numeric(&a[1])).map(Datum::Numeric)
    })),
    Operator::new("%", 1762, Builtin::pure("numeric_mod", 1729, &[N, N], RN, |_, _, a| {
        numeric(&a[0]).rem(numeric(&a[1])).map(Datum::Numeric)
    })),
    Operator::new("^", 1038, Builtin::pure("numeric_power", 2169, &[N, N], RN, |_, _, a| {
        numeric(&a[0]).power(numeric(&a[1])).map(Datum::Numeric)
    })),
    Operator::new("-", 1751, Builtin::pure("numeric_uminus", 1771, &[N], RN, |_, _, a| Ok(Datum::Numeric(numeric(&a[0]).neg())))),
    Operator::new("+", 1921, Builtin::pure("numeric_uplus", 1915, &[N], RN, |_, _, a| Ok(a[0].clone()))),
    Operator::new("@", 1763, Builtin::pure("numeric_abs", 1704, &[N], RN, |_, _, a| Ok(Datum::Numeric(numeric(&a[0]).abs())))),
    Operator::new("^", 965, Builtin::pure("dpow", 232, &[F, F], RF, |_, _, a| power(float(&a[0]), float(&a[1])))),
    Operator::new("|/", 596, Builtin::pure("dsqrt", 230, &[F], RF, |_, _, a| crate::functions::math::square_root(float(&a[0])))),
    Operator::new("||/", 597, Builtin::pure("dcbrt", 231, &[F], RF, |_, _, a| Ok(Datum::Float(float(&a[0]).cbrt())))),
];

/// `power(x, y)` with the errors PostgreSQL gives where the result is not real.
pub(crate) fn power(base: f64, exponent: f64) -> SqlResult<Datum> {
    let invalid = |message: &str| Err(SqlError::new(SqlState::InvalidArgumentForPowerFunction, message));
    if base == 0.0 && exponent < 0.0 {
        return invalid("zero raised to a negative power is undefined");
    }
    if base < 0.0 && exponent.is_finite() && exponent.fract() != 0.0 {
        return invalid("a negative number raised to a non-integer power yields a complex result");
    }
    let value = base.powf(exponent);
    checked_float(value, &[Datum::Float(base), Datum::Float(exponent)], SqlType::Float8, true)
}

#[cfg(test)]
mod tests {
    use crate::testing::{eval_binary, eval_prefix};
    use types::SqlType::{Float8, Int2, Int4, Int8};
    use types::{Datum, SqlState};

    #[test]
    fn integers_overflow_with_an_error() {
        for (ty, greatest) in [(Int2, i64::from(i16::MAX)), (Int4, i64::from(i32::MAX)), (Int8, i64::MAX)] {
            let error = eval_binary("+", ty, Datum::Int(greatest), ty, Datum::Int(1)).expect_err("overflow");
            assert_eq!(error.code(), SqlState::NumericValueOutOfRange);
            let least = -greatest - 1;
            eval_binary("/", ty, Datum::Int(least), ty, Datum::Int(-1)).expect_err("the least integer over -1");
            eval_prefix("-", ty, Datum::Int(least)).expect_err("the least integer has no opposite");
            assert_eq!(eval_binary("%", ty, Datum::Int(least), ty, Datum::Int(-1)), Ok(Datum::Int(0)));
        }
        assert_eq!(eval_binary("/", Int4, Datum::Int(-7), Int4, Datum::Int(2)), Ok(Datum::Int(-3)), "toward zero");
    }

    #[test]
    fn division_by_zero_is_22012() {
        for (ty, zero) in [(Int4, Datum::Int(0)), (Float8, Datum::Float(0.0))] {
            let error = eval_binary("/", ty, zero.clone(), ty, zero).expect_err("by zero");
            assert_eq!(error.code(), SqlState::DivisionByZero);
        }
    }
}
