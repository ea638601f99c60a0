//! Network address functions. Documentation, section 9.12.

use types::{Datum, Inet, SqlError, SqlResult, SqlState, SqlType};

use crate::arguments::{inet, int, macaddr};
use crate::signature::{ArgType, Builtin, RetType};

const INET: ArgType = ArgType::T(SqlType::Inet);
const CIDR: ArgType = ArgType::T(SqlType::Cidr);
const MACADDR: ArgType = ArgType::T(SqlType::MacAddr);
const I4: ArgType = ArgType::T(SqlType::Int4);
const R_INET: RetType = RetType::T(SqlType::Inet);
const R_CIDR: RetType = RetType::T(SqlType::Cidr);
const R_TEXT: RetType = RetType::T(SqlType::Text);
const R_I4: RetType = RetType::T(SqlType::Int4);
const R_BOOL: RetType = RetType::T(SqlType::Bool);

/// -1 stands for the whole address.
fn with_prefix(address: Inet, length: i64) -> SqlResult<Inet> {
    let length = if length == -1 { i64::from(address.width()) } else { length };
    match u8::try_from(length) {
        Ok(prefix) if prefix <= address.width() => Ok(address.with_prefix(prefix)),
        _ => Err(SqlError::new(SqlState::InvalidParameterValue, format!("invalid mask length: {length}"))),
    }
}

/// The smallest network that holds both.
fn merge(a: Inet, b: Inet) -> SqlResult<Inet> {
    if a.is_v6() != b.is_v6() {
        let message = "cannot merge addresses from different families";
        return Err(SqlError::new(SqlState::InvalidParameterValue, message));
    }
    let common = (a.number() ^ b.number()).leading_zeros() - (128 - u32::from(a.width()));
    let prefix = u32::from(a.prefix()).min(u32::from(b.prefix())).min(common);
    Ok(a.with_prefix(u8::try_from(prefix).expect("no more than a prefix")).network())
}

pub(super) static FUNCTIONS: &[Builtin] = &[
    Builtin::pure("abbrev", 598, &[INET], R_TEXT, |_, _, a| Ok(Datum::text(inet(&a[0]).shown()))),
    Builtin::pure("abbrev", 599, &[CIDR], R_TEXT, |_, _, a| Ok(Datum::text(inet(&a[0]).abbreviated_network()))),
    Builtin::pure("broadcast", 698, &[INET], R_INET, |_, _, a| {
        let address = inet(&a[0]);
        Ok(Datum::Inet(address.with_number(address.number() | address.hostmask())))
    }),
    Builtin::pure("family", 711, &[INET], R_I4, |_, _, a| Ok(Datum::Int(if inet(&a[0]).is_v6() { 6 } else { 4 }))),
    Builtin::pure("host", 699, &[INET], R_TEXT, |_, _, a| Ok(Datum::text(inet(&a[0]).host()))),
    Builtin::pure("hostmask", 1362, &[INET], R_INET, |_, _, a| {
        let address = inet(&a[0]);
        Ok(Datum::Inet(address.with_number(address.hostmask()).with_prefix(address.width())))
    }),
    Builtin::pure("netmask", 696, &[INET], R_INET, |_, _, a| {
        let address = inet(&a[0]);
        Ok(Datum::Inet(address.with_number(address.netmask()).with_prefix(address.width())))
    }),
    Builtin::pure("inet_merge", 4063, &[INET, INET], R_CIDR, |_, _, a| merge(inet(&a[0]), inet(&a[1])).map(Datum::Inet)),
    Builtin::pure("inet_same_family", 4071, &[INET, INET], R_BOOL, |_, _, a| {
        Ok(Datum::Bool(inet(&a[0]).is_v6() == inet(&a[1]).is_v6()))
    }),
    Builtin::pure("masklen", 697, &[INET], R_I4, |_, _, a| Ok(Datum::Int(inet(&a[0]).prefix().into()))),
    Builtin::pure("network", 683, &[INET], R_CIDR, |_, _, a| Ok(Datum::Inet(inet(&a[0]).network()))),
    Builtin::pure("set_masklen", 605, &[INET, I4], R_INET, |_, _, a| with_prefix(inet(&a[0]), int(&a[1])).map(Datum::Inet)),
    Builtin::pure("set_masklen", 635, &[CIDR, I4], R_CIDR, |_, _, a| {
        with_prefix(inet(&a[0]), int(&a[1])).map(|address| Datum::Inet(address.network()))
    }),
    Builtin::pure("text", 730, &[INET], R_TEXT, |_, _, a| Ok(Datum::text(inet(&a[0]).with_length()))),
    Builtin::pure("trunc", 753, &[MACADDR], RetType::T(SqlType::MacAddr), |_, _, a| {
        let [x, y, z, ..] = macaddr(&a[0]);
        Ok(Datum::MacAddr([x, y, z, 0, 0, 0]))
    }),
];
