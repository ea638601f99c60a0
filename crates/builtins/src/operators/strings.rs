//! `||` over text and bytea, and what turns other values into text on the way. Documentation, section 9.4.

use types::{Datum, SqlError, SqlResult, SqlState, SqlType, check_text_size, write_text};

use crate::EvalContext;
use crate::arguments::{bytes, text};
use crate::signature::{ArgType, Builtin, Operator, RetType};

const TEXT: ArgType = ArgType::T(SqlType::Text);
const BYTEA: ArgType = ArgType::T(SqlType::Bytea);

/// A value as its cast to text gives it, which is not how a boolean is shown.
pub(crate) fn cast_to_text(context: &EvalContext<'_>, ty: &SqlType, value: &Datum) -> SqlResult<String> {
    match value {
        Datum::Bool(value) => Ok(value.to_string()),
        value => to_text(context, ty, value),
    }
}

/// A value as it is shown.
pub(crate) fn to_text(context: &EvalContext<'_>, ty: &SqlType, value: &Datum) -> SqlResult<String> {
    if let Datum::Text(text) = value {
        return Ok(text.to_string());
    }
    if let Datum::Inet(inet) = value {
        return Ok(inet.with_length());
    }
    check_text_size(value)?;
    let mut out = Vec::new();
    write_text(ty, value, context.formatting, &mut out);
    check_length(context, out.len())?;
    Ok(String::from_utf8(out).expect("text format is UTF-8"))
}

/// The longest value: PostgreSQL's limit.
pub(crate) const VALUE_BYTES_MAX: usize = (1 << 30) - 1;

/// A value that is shorter is made without a look at the statement's memory.
const LARGE_VALUE_BYTES: usize = 1 << 20;

/// To be asked before a value is made.
///
/// # Errors
/// 54000 for a value longer than any may be; 53200 for one that the statement has no memory for.
pub(crate) fn check_length(context: &EvalContext<'_>, bytes: usize) -> SqlResult<()> {
    if bytes > VALUE_BYTES_MAX {
        let message = format!("invalid memory alloc request size {bytes}");
        return Err(SqlError::new(SqlState::ProgramLimitExceeded, message));
    }
    match context.memory {
        Some(memory) if bytes >= LARGE_VALUE_BYTES => memory.fits(bytes),
        _ => Ok(()),
    }
}

pub(super) static OPERATORS: &[Operator] = &[
    Operator::new("||", 654, Builtin::pure("textcat", 1258, &[TEXT, TEXT], RetType::T(SqlType::Text), |context, _, a| {
        let (left, right) = (text(&a[0]), text(&a[1]));
        check_length(context, left.len() + right.len())?;
        let mut joined = String::with_capacity(left.len() + right.len());
        joined.push_str(left);
        joined.push_str(right);
        Ok(Datum::text(joined))
    })),
    Operator::new(
        "||",
        2779,
        Builtin::pure("textanycat", 2003, &[TEXT, ArgType::AnyNonArray], RetType::T(SqlType::Text), |context, types, a| {
            let right = cast_to_text(context, &types.args[1], &a[1])?;
            check_length(context, text(&a[0]).len() + right.len())?;
            Ok(Datum::text(format!("{}{right}", text(&a[0]))))
        })
        .stable(),
    ),
    Operator::new(
        "||",
        2780,
        Builtin::pure("anytextcat", 2004, &[ArgType::AnyNonArray, TEXT], RetType::T(SqlType::Text), |context, types, a| {
            let left = cast_to_text(context, &types.args[0], &a[0])?;
            check_length(context, left.len() + text(&a[1]).len())?;
            Ok(Datum::text(format!("{left}{}", text(&a[1]))))
        })
        .stable(),
    ),
    Operator::new("||", 2018, Builtin::pure("byteacat", 2011, &[BYTEA, BYTEA], RetType::T(SqlType::Bytea), |context, _, a| {
        check_length(context, bytes(&a[0]).len() + bytes(&a[1]).len())?;
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
