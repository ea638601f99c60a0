//! Operators of inet, cidr and macaddr beside the comparisons. Documentation, section 9.12. A cidr is taken as the inet
//! that it is.

use types::{Datum, Inet, SqlError, SqlResult, SqlState, SqlType};

use crate::arguments::{inet, int, macaddr, macaddr8};
use crate::signature::{ArgType, Builtin, Operator, RetType};

const INET: ArgType = ArgType::T(SqlType::Inet);
const MACADDR: ArgType = ArgType::T(SqlType::MacAddr);
const MACADDR8: ArgType = ArgType::T(SqlType::MacAddr8);
const R_MACADDR8: RetType = RetType::T(SqlType::MacAddr8);
const I8: ArgType = ArgType::T(SqlType::Int8);
const R_INET: RetType = RetType::T(SqlType::Inet);
const R_MACADDR: RetType = RetType::T(SqlType::MacAddr);
const BOOL: RetType = RetType::T(SqlType::Bool);

fn same_size(a: &Inet, b: &Inet, verb: &str) -> SqlResult<()> {
    if a.is_v6() == b.is_v6() {
        return Ok(());
    }
    let message = format!("cannot {verb} inet values of different sizes");
    Err(SqlError::new(SqlState::InvalidParameterValue, message))
}

fn bitwise(args: &[Datum], verb: &str, f: fn(u128, u128) -> u128) -> SqlResult<Datum> {
    let (a, b) = (inet(&args[0]), inet(&args[1]));
    same_size(&a, &b, verb)?;
    let prefix = a.prefix().max(b.prefix());
    Ok(Datum::Inet(a.with_number(f(a.number(), b.number())).with_prefix(prefix)))
}

fn out_of_range() -> SqlError {
    SqlError::new(SqlState::NumericValueOutOfRange, "result is out of range")
}

fn add(address: Inet, count: i128) -> SqlResult<Datum> {
    let number = address.number();
    let moved = if count < 0 { number.checked_sub(count.unsigned_abs()) } else { number.checked_add(count.unsigned_abs()) };
    let moved = moved.filter(|moved| address.is_v6() || *moved <= u128::from(u32::MAX));
    moved.map(|moved| Datum::Inet(address.with_number(moved))).ok_or_else(out_of_range)
}

fn difference(a: Inet, b: Inet) -> SqlResult<Datum> {
    same_size(&a, &b, "subtract")?;
    let distance = i128::try_from(a.number().abs_diff(b.number())).map_err(|_| out_of_range())?;
    let signed = if a.number() < b.number() { -distance } else { distance };
    i64::try_from(signed).map(Datum::Int).map_err(|_| out_of_range())
}

fn zip(args: &[Datum], f: fn(u8, u8) -> u8) -> Datum {
    let (a, b) = (macaddr(&args[0]), macaddr(&args[1]));
    Datum::MacAddr(std::array::from_fn(|at| f(a[at], b[at])))
}

fn zip8(args: &[Datum], f: fn(u8, u8) -> u8) -> Datum {
    let (a, b) = (macaddr8(&args[0]), macaddr8(&args[1]));
    Datum::MacAddr8(std::array::from_fn(|at| f(a[at], b[at])))
}

pub(super) static OPERATORS: &[Operator] = &[
    Operator::new("<<", 931, Builtin::pure("network_sub", 927, &[INET, INET], BOOL, |_, _, a| {
        let (inner, outer) = (inet(&a[0]), inet(&a[1]));
        Ok(Datum::Bool(outer.contains(&inner) && outer.prefix() < inner.prefix()))
    }))
    .commutes_with(">>"),
    Operator::new("<<=", 932, Builtin::pure("network_subeq", 928, &[INET, INET], BOOL, |_, _, a| {
        Ok(Datum::Bool(inet(&a[1]).contains(&inet(&a[0]))))
    }))
    .commutes_with(">>="),
    Operator::new(">>", 933, Builtin::pure("network_sup", 929, &[INET, INET], BOOL, |_, _, a| {
        let (outer, inner) = (inet(&a[0]), inet(&a[1]));
        Ok(Datum::Bool(outer.contains(&inner) && outer.prefix() < inner.prefix()))
    }))
    .commutes_with("<<"),
    Operator::new(">>=", 934, Builtin::pure("network_supeq", 930, &[INET, INET], BOOL, |_, _, a| {
        Ok(Datum::Bool(inet(&a[0]).contains(&inet(&a[1]))))
    }))
    .commutes_with("<<="),
    Operator::new("&&", 3552, Builtin::pure("network_overlap", 3551, &[INET, INET], BOOL, |_, _, a| {
        Ok(Datum::Bool(inet(&a[0]).overlaps(&inet(&a[1]))))
    }))
    .commutes_with("&&"),
    Operator::new("~", 2634, Builtin::pure("inetnot", 2627, &[INET], R_INET, |_, _, a| {
        let address = inet(&a[0]);
        let all = address.with_prefix(0).hostmask();
        Ok(Datum::Inet(address.with_number(!address.number() & all)))
    })),
    Operator::new("&", 2635, Builtin::pure("inetand", 2628, &[INET, INET], R_INET, |_, _, a| bitwise(a, "AND", |x, y| x & y))),
    Operator::new("|", 2636, Builtin::pure("inetor", 2629, &[INET, INET], R_INET, |_, _, a| bitwise(a, "OR", |x, y| x | y))),
    Operator::new("+", 2637, Builtin::pure("inetpl", 2630, &[INET, I8], R_INET, |_, _, a| add(inet(&a[0]), int(&a[1]).into())))
        .commutes_with("+"),
    Operator::new("+", 2638, Builtin::pure("int8pl_inet", 2631, &[I8, INET], R_INET, |_, _, a| add(inet(&a[1]), int(&a[0]).into())))
        .commutes_with("+"),
    Operator::new("-", 2639, Builtin::pure("inetmi_int8", 2632, &[INET, I8], R_INET, |_, _, a| {
        add(inet(&a[0]), -i128::from(int(&a[1])))
    })),
    Operator::new("-", 2640, Builtin::pure("inetmi", 2633, &[INET, INET], RetType::T(SqlType::Int8), |_, _, a| {
        difference(inet(&a[0]), inet(&a[1]))
    })),
    Operator::new("~", 3147, Builtin::pure("macaddr_not", 3144, &[MACADDR], R_MACADDR, |_, _, a| {
        Ok(Datum::MacAddr(macaddr(&a[0]).map(|byte| !byte)))
    })),
    Operator::new("~", 3368, Builtin::pure("macaddr8_not", 4120, &[MACADDR8], R_MACADDR8, |_, _, a| {
        Ok(Datum::MacAddr8(macaddr8(&a[0]).map(|byte| !byte)))
    })),
    Operator::new("&", 3369, Builtin::pure("macaddr8_and", 4121, &[MACADDR8, MACADDR8], R_MACADDR8, |_, _, a| {
        Ok(zip8(a, |x, y| x & y))
    })),
    Operator::new("|", 3370, Builtin::pure("macaddr8_or", 4122, &[MACADDR8, MACADDR8], R_MACADDR8, |_, _, a| {
        Ok(zip8(a, |x, y| x | y))
    })),
    Operator::new("&", 3148, Builtin::pure("macaddr_and", 3145, &[MACADDR, MACADDR], R_MACADDR, |_, _, a| Ok(zip(a, |x, y| x & y)))),
    Operator::new("|", 3149, Builtin::pure("macaddr_or", 3146, &[MACADDR, MACADDR], R_MACADDR, |_, _, a| Ok(zip(a, |x, y| x | y)))),
];
