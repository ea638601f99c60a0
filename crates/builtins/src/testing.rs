//! Calling builtins from tests the way a query would: resolve, then call.

use smallvec::SmallVec;
use types::{CastContext, Datum, Formatting, SqlError, SqlResult, SqlState, SqlType, cast};

use crate::signature::{Builtin, CallTypes};
use crate::{EvalContext, ResolveError, functions, prefix_operators, resolve, resolve_binary_operator};

fn call(builtin: &Builtin, types: CallTypes, given: &[SqlType], args: Vec<Datum>) -> SqlResult<Datum> {
    let formatting = Formatting::default();
    let context = EvalContext::detached(&formatting);
    let cast_args: SqlResult<Vec<Datum>> = args
        .into_iter()
        .zip(given.iter().zip(&types.args))
        .map(|(datum, (from, to))| {
            if from.oid() == to.oid() { Ok(datum) } else { cast(datum, from, to, CastContext::Implicit, &formatting) }
        })
        .collect();
    builtin.call(&context, &types, &cast_args?)
}

fn unresolved(error: ResolveError) -> SqlError {
    SqlError::new(SqlState::UndefinedFunction, format!("{error:?}"))
}

pub(crate) fn eval_binary(symbol: &str, lt: SqlType, left: Datum, rt: SqlType, right: Datum) -> SqlResult<Datum> {
    let found = resolve_binary_operator(symbol, Some(lt), Some(rt)).map_err(unresolved)?;
    let types = CallTypes { args: found.args, ret: found.ret };
    call(&found.chosen.function, types, &[lt, rt], vec![left, right])
}

pub(crate) fn eval_prefix(symbol: &str, ty: SqlType, operand: Datum) -> SqlResult<Datum> {
    let found = resolve(prefix_operators(symbol), &[Some(ty)]).map_err(unresolved)?;
    let types = CallTypes { args: found.args, ret: found.ret };
    call(&found.chosen.function, types, &[ty], vec![operand])
}

pub(crate) fn eval_function(name: &str, args: &[(SqlType, Datum)]) -> SqlResult<Datum> {
    let given: SmallVec<[SqlType; 4]> = args.iter().map(|(ty, _)| *ty).collect();
    let wanted: Vec<Option<SqlType>> = given.iter().copied().map(Some).collect();
    let found = resolve(functions(name), &wanted).map_err(unresolved)?;
    let types = CallTypes { args: found.args, ret: found.ret };
    call(found.chosen, types, &given, args.iter().map(|(_, datum)| datum.clone()).collect())
}
