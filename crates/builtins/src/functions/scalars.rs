//! Functions of money, pg_lsn, xid8 and macaddr8: conversions under the types' names, and the few that do more.

use types::money::money_in_words;
use types::network::shorten_macaddr8;
use types::unsigned::numeric_to_lsn;
use types::{Datum, SqlResult, SqlType};

use super::support::convert;
use crate::arguments::{int, macaddr8, numeric, unsigned};
use crate::operators::log_positions::difference;
use crate::signature::{ArgType, Builtin, RetType};

const MONEY: ArgType = ArgType::T(SqlType::Money);
const MACADDR: ArgType = ArgType::T(SqlType::MacAddr);
const MACADDR8: ArgType = ArgType::T(SqlType::MacAddr8);
const LSN: ArgType = ArgType::T(SqlType::PgLsn);
const XID8: ArgType = ArgType::T(SqlType::Xid8);
const NUMERIC: ArgType = ArgType::T(SqlType::NUMERIC);
const I4: ArgType = ArgType::T(SqlType::Int4);
const I8: ArgType = ArgType::T(SqlType::Int8);
const R_MONEY: RetType = RetType::T(SqlType::Money);
const R_MACADDR8: RetType = RetType::T(SqlType::MacAddr8);
const R_NUMERIC: RetType = RetType::T(SqlType::NUMERIC);

/// The lesser of two.
fn lesser(a: &[Datum]) -> SqlResult<Datum> {
    Ok(a[usize::from(int(&a[1]) < int(&a[0]))].clone())
}

fn larger(a: &[Datum]) -> SqlResult<Datum> {
    Ok(a[usize::from(int(&a[1]) > int(&a[0]))].clone())
}

pub(super) static FUNCTIONS: &[Builtin] = &[
    Builtin::pure("money", 3811, &[I4], R_MONEY, convert).stable(),
    Builtin::pure("money", 3812, &[I8], R_MONEY, convert).stable(),
    Builtin::pure("money", 3824, &[NUMERIC], R_MONEY, convert).stable(),
    Builtin::pure("numeric", 3823, &[MONEY], R_NUMERIC, convert).stable(),
    Builtin::pure("cash_words", 935, &[MONEY], RetType::T(SqlType::Text), |_, _, a| Ok(Datum::text(money_in_words(int(&a[0]))))),
    Builtin::pure("cashlarger", 898, &[MONEY, MONEY], R_MONEY, |_, _, a| larger(a)),
    Builtin::pure("cashsmaller", 899, &[MONEY, MONEY], R_MONEY, |_, _, a| lesser(a)),
    Builtin::pure("pg_lsn", 6103, &[NUMERIC], RetType::T(SqlType::PgLsn), |_, _, a| {
        numeric_to_lsn(numeric(&a[0])).map(Datum::from_unsigned)
    }),
    Builtin::pure("pg_wal_lsn_diff", 3165, &[LSN, LSN], R_NUMERIC, |_, _, a| difference(a)),
    Builtin::pure("pg_lsn_larger", 4187, &[LSN, LSN], RetType::T(SqlType::PgLsn), |_, _, a| larger(a)),
    Builtin::pure("pg_lsn_smaller", 4188, &[LSN, LSN], RetType::T(SqlType::PgLsn), |_, _, a| lesser(a)),
    Builtin::pure("xid", 5071, &[XID8], RetType::T(SqlType::Xid), |_, _, a| Ok(Datum::Int((unsigned(&a[0]) as u32).into()))),
    Builtin::pure("xid8_larger", 5097, &[XID8, XID8], RetType::T(SqlType::Xid8), |_, _, a| larger(a)),
    Builtin::pure("xid8_smaller", 5098, &[XID8, XID8], RetType::T(SqlType::Xid8), |_, _, a| lesser(a)),
    Builtin::pure("macaddr8", 4123, &[MACADDR], R_MACADDR8, convert),
    Builtin::pure("macaddr", 4124, &[MACADDR8], RetType::T(SqlType::MacAddr), |_, _, a| {
        shorten_macaddr8(&macaddr8(&a[0])).map(Datum::MacAddr)
    }),
    Builtin::pure("macaddr8_set7bit", 4125, &[MACADDR8], R_MACADDR8, |_, _, a| {
        let mut bytes = macaddr8(&a[0]);
        bytes[0] |= 2;
        Ok(Datum::MacAddr8(bytes))
    }),
    Builtin::pure("trunc", 4112, &[MACADDR8], R_MACADDR8, |_, _, a| {
        let [x, y, z, ..] = macaddr8(&a[0]);
        Ok(Datum::MacAddr8([x, y, z, 0, 0, 0, 0, 0]))
    }),
];
