//! Functions of bit strings. Documentation, section 9.6.

use types::{Bits, Datum, SqlError, SqlResult, SqlState, SqlType};

use super::strings::{count, substring_range};
use crate::arguments::{bits, boolean, int};
use crate::signature::{ArgType, Builtin, RetType};

const BIT: ArgType = ArgType::T(SqlType::BIT);
const VARBIT: ArgType = ArgType::T(SqlType::VARBIT);
const I4: ArgType = ArgType::T(SqlType::Int4);
const I8: ArgType = ArgType::T(SqlType::Int8);
const BOOLEAN: ArgType = ArgType::T(SqlType::Bool);
const R_BIT: RetType = RetType::T(SqlType::BIT);
const R_VARBIT: RetType = RetType::T(SqlType::VARBIT);
const R_I4: RetType = RetType::T(SqlType::Int4);
const R_I8: RetType = RetType::T(SqlType::Int8);

fn substring(value: &Bits, start: i64, len: Option<i64>) -> SqlResult<Datum> {
    let (from, to) = substring_range(start, len, value.len())?;
    Ok(Datum::bits(value.slice(from, to)))
}

fn overlay(value: &Bits, new: &Bits, start: i64, len: i64) -> SqlResult<Datum> {
    if start <= 0 {
        return Err(SqlError::new(SqlState::SubstringError, "negative substring length not allowed"));
    }
    let end = start + len;
    if i32::try_from(end).is_err() {
        return Err(SqlError::new(SqlState::NumericValueOutOfRange, "integer out of range"));
    }
    let (_, head_end) = substring_range(1, Some(start - 1), value.len())?;
    let (tail_start, _) = substring_range(end, None, value.len())?;
    let tail = value.slice(tail_start, value.len());
    value.slice(0, head_end).concat(new)?.concat(&tail).map(Datum::bits)
}

/// A place among the bits, counted from the left and from zero.
fn place(value: &Bits, at: i64) -> SqlResult<usize> {
    usize::try_from(at).ok().filter(|at| *at < value.len()).ok_or_else(|| {
        let last = value.len() as i64 - 1;
        SqlError::new(SqlState::ArraySubscriptError, format!("bit index {at} out of valid range (0..{last})"))
    })
}

/// To a length as modifiers are: none where it is no length.
fn fit(value: &Bits, length: i64, varying: bool, is_explicit: bool) -> SqlResult<Datum> {
    match u32::try_from(length) {
        Ok(length @ 1..) => value.fitted(length, varying, is_explicit).map(Datum::bits),
        _ => Ok(Datum::bits(value.clone())),
    }
}

/// Of a length that is none there is one bit.
fn of_int(value: i64, length: i64) -> SqlResult<Datum> {
    let length = usize::try_from(length).ok().filter(|length| *length > 0).unwrap_or(1);
    if length > types::bits::MAX_BITS {
        let message = format!("bit string length exceeds the maximum allowed ({})", types::bits::MAX_BITS);
        return Err(SqlError::new(SqlState::ProgramLimitExceeded, message));
    }
    Ok(Datum::bits(Bits::from_int(value, length)))
}

pub(super) static FUNCTIONS: &[Builtin] = &[
    Builtin::pure("length", 1681, &[BIT], R_I4, |_, _, a| count(bits(&a[0]).len())),
    Builtin::pure("bit_length", 1812, &[BIT], R_I4, |_, _, a| count(bits(&a[0]).len())),
    Builtin::pure("octet_length", 1682, &[BIT], R_I4, |_, _, a| count(bits(&a[0]).bytes().len())),
    Builtin::pure("bit_count", 6162, &[BIT], R_I8, |_, _, a| Ok(Datum::Int(bits(&a[0]).count_ones() as i64))),
    Builtin::pure("substring", 1699, &[BIT, I4], R_BIT, |_, _, a| substring(bits(&a[0]), int(&a[1]), None)),
    Builtin::pure("substring", 1680, &[BIT, I4, I4], R_BIT, |_, _, a| substring(bits(&a[0]), int(&a[1]), Some(int(&a[2])))),
    Builtin::pure("overlay", 3031, &[BIT, BIT, I4], R_BIT, |_, _, a| {
        overlay(bits(&a[0]), bits(&a[1]), int(&a[2]), bits(&a[1]).len() as i64)
    }),
    Builtin::pure("overlay", 3030, &[BIT, BIT, I4, I4], R_BIT, |_, _, a| {
        overlay(bits(&a[0]), bits(&a[1]), int(&a[2]), int(&a[3]))
    }),
    Builtin::pure("position", 1698, &[BIT, BIT], R_I4, |_, _, a| {
        let (wanted, value) = (bits(&a[1]), bits(&a[0]));
        // An empty string is nowhere in an empty one.
        let found = if value.is_empty() { None } else { value.position(wanted) };
        Ok(Datum::Int(found.map_or(0, |at| at as i64 + 1)))
    }),
    Builtin::pure("get_bit", 3032, &[BIT, I4], R_I4, |_, _, a| {
        let value = bits(&a[0]);
        Ok(Datum::Int(value.get(place(value, int(&a[1]))?).into()))
    }),
    Builtin::pure("set_bit", 3033, &[BIT, I4, I4], R_BIT, |_, _, a| {
        let value = bits(&a[0]);
        let at = place(value, int(&a[1]))?;
        match int(&a[2]) {
            bit @ (0 | 1) => Ok(Datum::bits(value.with(at, bit == 1))),
            _ => Err(SqlError::new(SqlState::InvalidParameterValue, "new bit must be 0 or 1")),
        }
    }),
    Builtin::pure("bit", 1685, &[BIT, I4, BOOLEAN], R_BIT, |_, _, a| fit(bits(&a[0]), int(&a[1]), false, boolean(&a[2]))),
    Builtin::pure("varbit", 1687, &[VARBIT, I4, BOOLEAN], R_VARBIT, |_, _, a| {
        fit(bits(&a[0]), int(&a[1]), true, boolean(&a[2]))
    }),
    Builtin::pure("bit", 1683, &[I4, I4], R_BIT, |_, _, a| of_int(int(&a[0]), int(&a[1]))),
    Builtin::pure("bit", 2075, &[I8, I4], R_BIT, |_, _, a| of_int(int(&a[0]), int(&a[1]))),
    Builtin::pure("int4", 1684, &[BIT], R_I4, |_, _, a| bits(&a[0]).to_int(32, "integer").map(Datum::Int)),
    Builtin::pure("int8", 2076, &[BIT], R_I8, |_, _, a| bits(&a[0]).to_int(64, "bigint").map(Datum::Int)),
];
