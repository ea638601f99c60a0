//! Operators of pg_lsn beside the comparisons. Documentation, section 8.20.

use types::unsigned::numeric_to_lsn;
use types::{Datum, Numeric, SqlError, SqlResult, SqlType};

use crate::arguments::{numeric, unsigned};
use crate::signature::{ArgType, Builtin, Operator, RetType};

const LSN: ArgType = ArgType::T(SqlType::PgLsn);
const NUMERIC: ArgType = ArgType::T(SqlType::NUMERIC);
const R_LSN: RetType = RetType::T(SqlType::PgLsn);

fn as_numeric(position: u64) -> Numeric {
    Numeric::from_i128(position.into(), 0)
}

/// The bytes between two positions.
pub(crate) fn difference(a: &[Datum]) -> SqlResult<Datum> {
    Ok(Datum::Numeric(Numeric::from_i128(i128::from(unsigned(&a[0])) - i128::from(unsigned(&a[1])), 0)))
}

fn moved(position: &Datum, by: &Datum, verb: &str, f: fn(&Numeric, &Numeric) -> SqlResult<Numeric>) -> SqlResult<Datum> {
    let by = numeric(by);
    if by.is_nan() {
        let preposition = if verb == "add" { "to" } else { "from" };
        let message = format!("cannot {verb} NaN {preposition} pg_lsn");
        return Err(SqlError::not_supported(message));
    }
    numeric_to_lsn(&f(&as_numeric(unsigned(position)), by)?).map(Datum::from_unsigned)
}

pub(super) static OPERATORS: &[Operator] = &[
    Operator::new("-", 3228, Builtin::pure("pg_lsn_mi", 3237, &[LSN, LSN], RetType::T(SqlType::NUMERIC), |_, _, a| difference(a))),
    Operator::new("+", 5025, Builtin::pure("pg_lsn_pli", 5022, &[LSN, NUMERIC], R_LSN, |_, _, a| {
        moved(&a[0], &a[1], "add", Numeric::add)
    }))
    .commutes_with("+"),
    Operator::new("+", 5026, Builtin::pure("numeric_pl_pg_lsn", 5023, &[NUMERIC, LSN], R_LSN, |_, _, a| {
        moved(&a[1], &a[0], "add", Numeric::add)
    }))
    .commutes_with("+"),
    Operator::new("-", 5027, Builtin::pure("pg_lsn_mii", 5024, &[LSN, NUMERIC], R_LSN, |_, _, a| {
        moved(&a[0], &a[1], "subtract", Numeric::sub)
    })),
];
