//! Operators of bit strings beside the comparisons. Documentation, section 9.6.

use types::{Bits, Datum, SqlError, SqlResult, SqlState, SqlType};

use crate::arguments::{bits, int};
use crate::signature::{ArgType, Builtin, Operator, RetType};

const BIT: ArgType = ArgType::T(SqlType::BIT);
const VARBIT: ArgType = ArgType::T(SqlType::VARBIT);
const I4: ArgType = ArgType::T(SqlType::Int4);
const R_BIT: RetType = RetType::T(SqlType::BIT);

/// Bit by bit, of strings of one length.
pub(crate) fn combine(a: &Bits, b: &Bits, verb: &str, f: fn(u8, u8) -> u8) -> SqlResult<Datum> {
    a.zip(b, f).map(Datum::bits).ok_or_else(|| {
        let message = format!("cannot {verb} bit strings of different sizes");
        SqlError::new(SqlState::StringDataLengthMismatch, message)
    })
}

/// To the left, or to the right below zero.
fn moved(value: &Bits, by: i64) -> Datum {
    // As far as the string is long is as far as any move goes.
    let distance = usize::try_from(by.unsigned_abs()).unwrap_or(usize::MAX).min(value.len());
    Datum::bits(if by < 0 { value.moved_right(distance) } else { value.moved_left(distance) })
}

pub(super) static OPERATORS: &[Operator] = &[
    Operator::new("&", 1791, Builtin::pure("bitand", 1673, &[BIT, BIT], R_BIT, |_, _, a| {
        combine(bits(&a[0]), bits(&a[1]), "AND", |x, y| x & y)
    }))
    .commutes_with("&"),
    Operator::new("|", 1792, Builtin::pure("bitor", 1674, &[BIT, BIT], R_BIT, |_, _, a| {
        combine(bits(&a[0]), bits(&a[1]), "OR", |x, y| x | y)
    }))
    .commutes_with("|"),
    Operator::new("#", 1793, Builtin::pure("bitxor", 1675, &[BIT, BIT], R_BIT, |_, _, a| {
        combine(bits(&a[0]), bits(&a[1]), "XOR", |x, y| x ^ y)
    }))
    .commutes_with("#"),
    Operator::new("~", 1794, Builtin::pure("bitnot", 1676, &[BIT], R_BIT, |_, _, a| Ok(Datum::bits(bits(&a[0]).inverted())))),
    Operator::new("<<", 1795, Builtin::pure("bitshiftleft", 1677, &[BIT, I4], R_BIT, |_, _, a| {
        Ok(moved(bits(&a[0]), int(&a[1])))
    })),
    Operator::new(">>", 1796, Builtin::pure("bitshiftright", 1678, &[BIT, I4], R_BIT, |_, _, a| {
        Ok(moved(bits(&a[0]), -int(&a[1])))
    })),
    Operator::new("||", 1797, Builtin::pure("bitcat", 1679, &[VARBIT, VARBIT], RetType::T(SqlType::VARBIT), |_, _, a| {
        bits(&a[0]).concat(bits(&a[1])).map(Datum::bits)
    })),
];
