//! `||` over text and bytea, and what turns other values into text on the way. Documentation, section 9.4.

use types::{Datum, SqlResult, SqlType, write_text};

use crate::EvalContext;
use crate::arguments::{bytes, text};
use crate::signature::{ArgType, Builtin, Operator, RetType};

const TEXT: ArgType = ArgType::T(SqlType::Text);
const BYTEA: ArgType = ArgType::T(SqlType::Bytea);

/// A value in text format, as output and `||` show it.
pub(crate) fn to_text(context: &EvalContext<'_>, ty: &SqlType, value: &Datum) -> SqlResult<String> {
    if let Datum::Text(text) = value {
        return Ok(text.to_string());
    }
    let mut out = Vec::new();
    write_text(ty, value, context.formatting, &mut out);
    Ok(String::from_utf8(out).expect("text format is UTF-8"))
}

pub(super) static OPERATORS: &[Operator] = &[
    Operator::new("||", 654, Builtin::pure("textcat", 1258, &[TEXT, TEXT], RetType::T(SqlType::Text), |_, _, a| {
        let (left, right) = (text(&a[0]), text(&a[1]));
        let mut joined = String::with_capacity(left.len() + right.len());
        joined.push_str(left);
        joined.push_str(right);
        Ok(Datum::text(joined))
    })),
    Operator::new(
        "||",
        2779,
        Builtin::pure("textanycat", 2003, &[TEXT, ArgType::AnyNonArray], RetType::T(SqlType::Text), |context, types, a| {
            Ok(Datum::text(format!("{}{}", text(&a[0]), to_text(context, &types.args[1], &a[1])?)))
        })
        .stable(),
    ),
    Operator::new(
        "||",
        2780,
        Builtin::pure("anytextcat", 2004, &[ArgType::AnyNonArray, TEXT], RetType::T(SqlType::Text), |context, types, a| {
            Ok(Datum::text(format!("{}{}", to_text(context, &types.args[0], &a[0])?, text(&a[1]))))
        })
        .stable(),
    ),
    Operator::new("||", 2018, Builtin::pure("byteacat", 2011, &[BYTEA, BYTEA], RetType::T(SqlType::Bytea), |_, _, a| {
        Ok(Datum::bytes([bytes(&a[0]), bytes(&a[1])].concat()))
    })),
    Operator::new(
        "^@",
        3877,
        Builtin::pure("starts_with", 3696, &[TEXT, TEXT], RetType::T(SqlType::Bool), |_, _, a| {
            Ok(Datum::Bool(text(&a[0]).starts_with(text(&a[1]))))
        }),
    ),
];
