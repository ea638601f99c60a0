//! Bitwise operators of integers. Documentation, section 9.3.

use types::{Datum, SqlType};

use crate::arguments::int;
use crate::signature::{ArgType, Builtin, Operator, RetType};

/// Keeps a shifted value inside its type, sign and all.
fn narrow(value: i64, ty: SqlType) -> Datum {
    Datum::Int(match ty {
        SqlType::Int2 => i64::from(value as i16),
        SqlType::Int4 => i64::from(value as i32),
        _ => value,
    })
}

/// PostgreSQL shifts by the low bits of the count, as the processor does; int2 shifts as int4.
fn shift_mask(ty: SqlType) -> i64 {
    if ty == SqlType::Int8 { 63 } else { 31 }
}

macro_rules! bit_operators {
    ($ty:expr, $name:literal, [$and:literal, $or:literal, $xor:literal, $not:literal, $shl:literal, $shr:literal]) => {{
        const TY: SqlType = $ty;
        const T: ArgType = ArgType::T(TY);
        const R: RetType = RetType::T(TY);
        const BY: ArgType = ArgType::T(SqlType::Int4);
        const TABLE: &[Operator] = &[
            Operator::new("&", $and, Builtin::pure(concat!($name, "and"), 20_000 + $and, &[T, T], R, |_, _, a| {
                Ok(Datum::Int(int(&a[0]) & int(&a[1])))
            }))
            .commutes_with("&"),
            Operator::new("|", $or, Builtin::pure(concat!($name, "or"), 20_000 + $or, &[T, T], R, |_, _, a| {
                Ok(Datum::Int(int(&a[0]) | int(&a[1])))
            }))
            .commutes_with("|"),
            Operator::new("#", $xor, Builtin::pure(concat!($name, "xor"), 20_000 + $xor, &[T, T], R, |_, _, a| {
                Ok(Datum::Int(int(&a[0]) ^ int(&a[1])))
            }))
            .commutes_with("#"),
            Operator::new("~", $not, Builtin::pure(concat!($name, "not"), 20_000 + $not, &[T], R, |_, _, a| {
                Ok(Datum::Int(!int(&a[0])))
            })),
            Operator::new("<<", $shl, Builtin::pure(concat!($name, "shl"), 20_000 + $shl, &[T, BY], R, |_, _, a| {
                Ok(narrow(int(&a[0]) << (int(&a[1]) & shift_mask(TY)), TY))
            })),
            Operator::new(">>", $shr, Builtin::pure(concat!($name, "shr"), 20_000 + $shr, &[T, BY], R, |_, _, a| {
                Ok(narrow(int(&a[0]) >> (int(&a[1]) & shift_mask(TY)), TY))
            })),
        ];
        TABLE
    }};
}

pub(super) static INT2: &[Operator] = bit_operators!(SqlType::Int2, "int2", [1874, 1875, 1876, 1877, 1878, 1879]);
pub(super) static INT4: &[Operator] = bit_operators!(SqlType::Int4, "int4", [1880, 1881, 1882, 1883, 1884, 1885]);
pub(super) static INT8: &[Operator] = bit_operators!(SqlType::Int8, "int8", [1886, 1887, 1888, 1889, 1890, 1891]);
