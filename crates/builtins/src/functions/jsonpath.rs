//! Functions over paths. Documentation, section 9.16.2.

use std::sync::Arc;

use types::jsonpath::JsonPath;
use types::{Datum, Json, SqlError, SqlResult, SqlState, SqlType};

use crate::EvalContext;
use crate::arguments::{boolean, jsonb, jsonpath};
use crate::jsonpath::{exists, query, silenced};
use crate::signature::{ArgType, Builtin, CallTypes, RetType, SetFunction, SetRows};

const JSONB: ArgType = ArgType::T(SqlType::Jsonb);
const PATH: ArgType = ArgType::T(SqlType::JsonPath);
const BOOL: ArgType = ArgType::T(SqlType::Bool);
const R_JSONB: RetType = RetType::T(SqlType::Jsonb);
const R_BOOL: RetType = RetType::T(SqlType::Bool);

/// The arguments of a call: variables and silence may be left out.
struct Call<'a> {
    json: &'a Json,
    path: &'a JsonPath,
    variables: &'a Json,
    is_silent: bool,
}

static NO_VARIABLES: Json = Json::Object(Vec::new());

impl<'a> Call<'a> {
    fn new(args: &'a [Datum]) -> Self {
        Self {
            json: jsonb(&args[0]),
            path: jsonpath(&args[1]),
            variables: args.get(2).map_or(&NO_VARIABLES, jsonb),
            is_silent: args.get(3).is_some_and(boolean),
        }
    }

    /// None where errors are passed over and there is one.
    fn values(&self) -> SqlResult<Option<Vec<Json>>> {
        let found = silenced(query(self.path, self.json, self.variables), self.is_silent)?;
        Ok(found.map(|values| values.into_iter().map(std::borrow::Cow::into_owned).collect()))
    }

    fn exists(&self) -> SqlResult<Datum> {
        Ok(silenced(exists(self.path, self.json, self.variables), self.is_silent)?.into())
    }

    fn matches(&self) -> SqlResult<Datum> {
        let values = self.values()?;
        match values.as_deref() {
            Some([Json::Bool(value)]) => Ok(Datum::Bool(*value)),
            Some([Json::Null]) => Ok(Datum::Null),
            _ if self.is_silent => Ok(Datum::Null),
            _ => Err(SqlError::new(SqlState::SingletonSqlJsonItemRequired, "single boolean result is expected")),
        }
    }
}

fn datum(json: Json) -> Datum {
    Datum::Jsonb(Arc::new(json))
}

pub(crate) fn exists_silently(args: &[Datum]) -> SqlResult<Datum> {
    Call { is_silent: true, ..Call::new(args) }.exists()
}

pub(crate) fn matches_silently(args: &[Datum]) -> SqlResult<Datum> {
    Call { is_silent: true, ..Call::new(args) }.matches()
}

type Eval = fn(&EvalContext<'_>, &CallTypes, &[Datum]) -> SqlResult<Datum>;

const EXISTS: Eval = |_, _, a| Call::new(a).exists();
const MATCH: Eval = |_, _, a| Call::new(a).matches();
const QUERY_ARRAY: Eval = |_, _, a| Json::Array(Call::new(a).values()?.unwrap_or_default()).checked().map(datum);
const QUERY_FIRST: Eval = |_, _, a| {
    Ok(Call::new(a).values()?.and_then(|values| values.into_iter().next()).map_or(Datum::Null, datum))
};

fn rows(_: &EvalContext<'_>, _: &CallTypes, args: &[Datum]) -> SqlResult<SetRows> {
    let values = Call::new(args).values()?.unwrap_or_default();
    Ok(SetRows::of_values(values.into_iter().map(|value| Ok(datum(value)))))
}

fn never(_: &EvalContext<'_>, _: &CallTypes, _: &[Datum]) -> SqlResult<Datum> {
    Err(SqlError::internal("a set-returning function was called as a scalar"))
}

const ARGS: &[ArgType] = &[JSONB, PATH, JSONB, BOOL];

const fn scalar(name: &'static str, oid: u32, ret: RetType, eval: Eval) -> Builtin {
    Builtin::pure(name, oid, ARGS, ret, eval).optional(2)
}

const fn set(name: &'static str, oid: u32) -> Builtin {
    Builtin::pure(name, oid, ARGS, R_JSONB, never).optional(2).returning_set(SetFunction { columns: &[], eval: rows })
}

/// Those that end in `_tz` may look at the time zone; only dates and times have one.
pub(super) static FUNCTIONS: &[Builtin] = &[
    scalar("jsonb_path_exists", 4005, R_BOOL, EXISTS),
    scalar("jsonb_path_match", 4009, R_BOOL, MATCH),
    set("jsonb_path_query", 4006),
    scalar("jsonb_path_query_array", 4007, R_JSONB, QUERY_ARRAY),
    scalar("jsonb_path_query_first", 4008, R_JSONB, QUERY_FIRST),
    scalar("jsonb_path_exists_tz", 1177, R_BOOL, EXISTS).stable(),
    scalar("jsonb_path_match_tz", 2030, R_BOOL, MATCH).stable(),
    set("jsonb_path_query_tz", 1179).stable(),
    scalar("jsonb_path_query_array_tz", 1180, R_JSONB, QUERY_ARRAY).stable(),
    scalar("jsonb_path_query_first_tz", 2023, R_JSONB, QUERY_FIRST).stable(),
];
