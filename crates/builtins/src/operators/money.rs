//! Operators of money beside the comparisons. Documentation, section 8.2.

use types::money::{money_from_float, money_out_of_range};
use types::{Datum, SqlResult, SqlType};

use super::arithmetic::division_by_zero;
use crate::arguments::{float, int};
use crate::signature::{ArgType, Builtin, Operator, RetType};

const MONEY: ArgType = ArgType::T(SqlType::Money);
const I2: ArgType = ArgType::T(SqlType::Int2);
const I4: ArgType = ArgType::T(SqlType::Int4);
const I8: ArgType = ArgType::T(SqlType::Int8);
const F4: ArgType = ArgType::T(SqlType::Float4);
const F8: ArgType = ArgType::T(SqlType::Float8);
const R_MONEY: RetType = RetType::T(SqlType::Money);

fn checked(cents: Option<i64>) -> SqlResult<Datum> {
    cents.map(Datum::Int).ok_or_else(money_out_of_range)
}

fn product(a: &Datum, b: &Datum) -> SqlResult<Datum> {
    checked(int(a).checked_mul(int(b)))
}

fn product_with_float(amount: &Datum, factor: &Datum) -> SqlResult<Datum> {
    money_from_float(int(amount) as f64 * float(factor)).map(Datum::Int)
}

fn quotient(amount: &Datum, by: &Datum) -> SqlResult<Datum> {
    match int(by) {
        0 => Err(division_by_zero()),
        by => checked(int(amount).checked_div(by)),
    }
}

fn quotient_by_float(amount: &Datum, by: &Datum) -> SqlResult<Datum> {
    if float(by) == 0.0 {
        return Err(division_by_zero());
    }
    money_from_float(int(amount) as f64 / float(by)).map(Datum::Int)
}

#[rustfmt::skip]
pub(super) static OPERATORS: &[Operator] = &[
    Operator::new("+", 906, Builtin::pure("cash_pl", 894, &[MONEY, MONEY], R_MONEY, |_, _, a| {
        checked(int(&a[0]).checked_add(int(&a[1])))
    }))
    .commutes_with("+"),
    Operator::new("-", 907, Builtin::pure("cash_mi", 895, &[MONEY, MONEY], R_MONEY, |_, _, a| {
        checked(int(&a[0]).checked_sub(int(&a[1])))
    })),
    Operator::new("/", 3825, Builtin::pure("cash_div_cash", 3822, &[MONEY, MONEY], RetType::T(SqlType::Float8), |_, _, a| {
        match int(&a[1]) {
            0 => Err(division_by_zero()),
            by => Ok(Datum::Float(int(&a[0]) as f64 / by as f64)),
        }
    })),
    Operator::new("*", 914, Builtin::pure("cash_mul_int2", 866, &[MONEY, I2], R_MONEY, |_, _, a| product(&a[0], &a[1]))).commutes_with("*"),
    Operator::new("*", 912, Builtin::pure("cash_mul_int4", 864, &[MONEY, I4], R_MONEY, |_, _, a| product(&a[0], &a[1]))).commutes_with("*"),
    Operator::new("*", 3346, Builtin::pure("cash_mul_int8", 3344, &[MONEY, I8], R_MONEY, |_, _, a| product(&a[0], &a[1]))).commutes_with("*"),
    Operator::new("*", 843, Builtin::pure("cash_mul_flt4", 846, &[MONEY, F4], R_MONEY, |_, _, a| product_with_float(&a[0], &a[1]))).commutes_with("*"),
    Operator::new("*", 908, Builtin::pure("cash_mul_flt8", 896, &[MONEY, F8], R_MONEY, |_, _, a| product_with_float(&a[0], &a[1]))).commutes_with("*"),
    Operator::new("*", 918, Builtin::pure("int2_mul_cash", 863, &[I2, MONEY], R_MONEY, |_, _, a| product(&a[0], &a[1]))).commutes_with("*"),
    Operator::new("*", 917, Builtin::pure("int4_mul_cash", 862, &[I4, MONEY], R_MONEY, |_, _, a| product(&a[0], &a[1]))).commutes_with("*"),
    Operator::new("*", 3349, Builtin::pure("int8_mul_cash", 3399, &[I8, MONEY], R_MONEY, |_, _, a| product(&a[0], &a[1]))).commutes_with("*"),
    Operator::new("*", 845, Builtin::pure("flt4_mul_cash", 848, &[F4, MONEY], R_MONEY, |_, _, a| product_with_float(&a[1], &a[0]))).commutes_with("*"),
    Operator::new("*", 916, Builtin::pure("flt8_mul_cash", 919, &[F8, MONEY], R_MONEY, |_, _, a| product_with_float(&a[1], &a[0]))).commutes_with("*"),
    Operator::new("/", 915, Builtin::pure("cash_div_int2", 867, &[MONEY, I2], R_MONEY, |_, _, a| quotient(&a[0], &a[1]))),
    Operator::new("/", 913, Builtin::pure("cash_div_int4", 865, &[MONEY, I4], R_MONEY, |_, _, a| quotient(&a[0], &a[1]))),
    Operator::new("/", 3347, Builtin::pure("cash_div_int8", 3345, &[MONEY, I8], R_MONEY, |_, _, a| quotient(&a[0], &a[1]))),
    Operator::new("/", 844, Builtin::pure("cash_div_flt4", 847, &[MONEY, F4], R_MONEY, |_, _, a| quotient_by_float(&a[0], &a[1]))),
    Operator::new("/", 909, Builtin::pure("cash_div_flt8", 897, &[MONEY, F8], R_MONEY, |_, _, a| quotient_by_float(&a[0], &a[1]))),
];
