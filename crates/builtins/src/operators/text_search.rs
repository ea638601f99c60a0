//! Operators of `tsvector` and `tsquery`. Documentation, section 9.13.

use types::text_search::{Operand, Operator as QueryOperator, Syntax, TsQuery, TsVector, matches};
use types::{Datum, SqlResult, SqlType};

use crate::EvalContext;
use crate::arguments::{text, tsquery, tsvector};
use crate::signature::{ArgType, Builtin, Operator, RetType};
use crate::text_search::{current_configuration, query};

const VECTOR: ArgType = ArgType::T(SqlType::TsVector);
const QUERY: ArgType = ArgType::T(SqlType::TsQuery);
const TEXT: ArgType = ArgType::T(SqlType::Text);
const R_VECTOR: RetType = RetType::T(SqlType::TsVector);
const R_QUERY: RetType = RetType::T(SqlType::TsQuery);
const BOOL: RetType = RetType::T(SqlType::Bool);

fn is_match(vector: &TsVector, query: &TsQuery) -> SqlResult<Datum> {
    Ok(Datum::Bool(matches(query, vector)))
}

fn default_vector(context: &EvalContext<'_>, datum: &Datum) -> SqlResult<TsVector> {
    let configuration = context.catalog.text_search_configuration(current_configuration(context)?)?;
    configuration.vector(text(datum))
}

/// Whether each lexeme of one query is in another one.
fn contains(whole: &TsQuery, part: &TsQuery) -> SqlResult<Datum> {
    let has = |wanted: &Operand| whole.operands().any(|operand| operand.text == wanted.text);
    Ok(Datum::Bool(part.operands().all(has)))
}

fn joined(operator: QueryOperator, a: &[Datum]) -> SqlResult<Datum> {
    tsquery(&a[0]).joined(operator, tsquery(&a[1])).map(Datum::tsquery)
}

const fn vector_match(oid: u32, symbol: &'static str) -> Operator {
    let function = Builtin::pure("ts_match_vq", 3634, &[VECTOR, QUERY], BOOL, |_, _, a| is_match(tsvector(&a[0]), tsquery(&a[1])));
    Operator::new(symbol, oid, function).commutes_with(symbol)
}

const fn query_match(oid: u32, symbol: &'static str) -> Operator {
    let function = Builtin::pure("ts_match_qv", 3635, &[QUERY, VECTOR], BOOL, |_, _, a| is_match(tsvector(&a[1]), tsquery(&a[0])));
    Operator::new(symbol, oid, function).commutes_with(symbol)
}

pub(super) static OPERATORS: &[Operator] = &[
    vector_match(3636, "@@"),
    query_match(3637, "@@"),
    vector_match(3660, "@@@"),
    query_match(3661, "@@@"),
    Operator::new(
        "@@",
        3763,
        Builtin::pure("ts_match_tq", 3761, &[TEXT, QUERY], BOOL, |context, _, a| {
            is_match(&default_vector(context, &a[0])?, tsquery(&a[1]))
        })
        .stable(),
    ),
    Operator::new(
        "@@",
        3762,
        Builtin::pure("ts_match_tt", 3760, &[TEXT, TEXT], BOOL, |context, _, a| {
            let configuration = context.catalog.text_search_configuration(current_configuration(context)?)?;
            let query = query(&configuration, text(&a[1]), Syntax::Plain, QueryOperator::And)?;
            is_match(&default_vector(context, &a[0])?, &query)
        })
        .stable(),
    ),
    Operator::new(
        "||",
        3633,
        Builtin::pure("tsvector_concat", 3625, &[VECTOR, VECTOR], R_VECTOR, |_, _, a| {
            tsvector(&a[0]).concat(tsvector(&a[1])).map(Datum::tsvector)
        }),
    ),
    Operator::new("&&", 3680, Builtin::pure("tsquery_and", 3669, &[QUERY, QUERY], R_QUERY, |_, _, a| joined(QueryOperator::And, a))),
    Operator::new("||", 3681, Builtin::pure("tsquery_or", 3670, &[QUERY, QUERY], R_QUERY, |_, _, a| joined(QueryOperator::Or, a))),
    Operator::new(
        "<->",
        5005,
        Builtin::pure("tsquery_phrase", 5003, &[QUERY, QUERY], R_QUERY, |_, _, a| joined(QueryOperator::Phrase(1), a)),
    ),
    Operator::new(
        "!!",
        3682,
        Builtin::pure("tsquery_not", 3671, &[QUERY], R_QUERY, |_, _, a| tsquery(&a[0]).negated().map(Datum::tsquery)),
    ),
    Operator::new(
        "@>",
        3693,
        Builtin::pure("tsq_mcontains", 3691, &[QUERY, QUERY], BOOL, |_, _, a| contains(tsquery(&a[0]), tsquery(&a[1]))),
    )
    .commutes_with("<@"),
    Operator::new(
        "<@",
        3694,
        Builtin::pure("tsq_mcontained", 3692, &[QUERY, QUERY], BOOL, |_, _, a| contains(tsquery(&a[1]), tsquery(&a[0]))),
    )
    .commutes_with("@>"),
];
