//! `json_populate_record` and its kin: rows of composite types out of JSON objects. Documentation, section 9.16.

use std::sync::Arc;

use types::{Array, Datum, Dimension, Json, SqlError, SqlResult, SqlState, SqlType, parse_text};

use crate::EvalContext;
use crate::operators::json::{json_text, value};
use crate::signature::{ArgType, Builtin, CallTypes, RetType, SetFunction, SetRows};

const JSON: ArgType = ArgType::T(SqlType::Json);
const JSONB: ArgType = ArgType::T(SqlType::Jsonb);
const BOOL: ArgType = ArgType::T(SqlType::Bool);

fn invalid(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::InvalidParameterValue, message.into())
}

/// Makes values of SQL types out of JSON.
struct Maker<'a> {
    context: &'a EvalContext<'a>,
}

impl Maker<'_> {
    /// A row of a type: members of the object by the names of its fields, and what the base has where there is no member.
    fn row(&self, ty: &SqlType, base: &Datum, json: &Json) -> SqlResult<Datum> {
        let Json::Object(_) = json else {
            let what = if matches!(json, Json::Array(_)) { "an array" } else { "a scalar" };
            return Err(invalid(format!("cannot call populate_composite on {what}")));
        };
        let row_type = ty.row_type().ok_or_else(|| SqlError::internal("a row without a type"))?;
        let kept = if let Datum::Record(fields) = base { fields.as_ref() } else { &[] };
        let fields = row_type.fields.iter().enumerate().map(|(at, (name, ty))| match json.get(name) {
            Some(member) => self.value(ty, member, name),
            None => Ok(kept.get(at).cloned().unwrap_or(Datum::Null)),
        });
        Datum::record(fields.collect::<SqlResult<_>>()?)
    }

    fn value(&self, ty: &SqlType, json: &Json, key: &str) -> SqlResult<Datum> {
        let ty = &ty.base();
        if *json == Json::Null {
            return Ok(Datum::Null);
        }
        match ty {
            SqlType::Jsonb => return Ok(Datum::Jsonb(Arc::new(json.clone()))),
            SqlType::Json => return Ok(Datum::Json(json_text(json).into())),
            _ => {}
        }
        match (ty, json) {
            (SqlType::Composite(_), json) if !matches!(json, Json::String(_)) => {
                types::stack::grown(|| self.row(ty, &Datum::Null, json))
            }
            (SqlType::Array(element), Json::Array(_)) => self.array(&element.get(), json, key),
            (SqlType::Array(_), json) if !matches!(json, Json::String(_)) => {
                Err(SqlError::new(SqlState::InvalidTextRepresentation, "expected JSON array")
                    .with_hint(format!("See the value of key \"{key}\".")))
            }
            (ty, Json::String(text)) => parse_text(ty, text, self.context.formatting),
            (ty, json) => parse_text(ty, &json_text(json), self.context.formatting),
        }
    }

    /// As many dimensions as arrays stand first within one another.
    fn array(&self, element: &SqlType, json: &Json, key: &str) -> SqlResult<Datum> {
        let mut dimensions = Vec::new();
        let mut first = json;
        while let Json::Array(items) = first {
            dimensions.push(items.len());
            match items.first() {
                Some(inner) => first = inner,
                None => break,
            }
        }
        if dimensions.len() > 6 {
            let message = format!("number of array dimensions ({}) exceeds the maximum allowed (6)", dimensions.len());
            return Err(SqlError::new(SqlState::ProgramLimitExceeded, message));
        }
        let mut elements = Vec::new();
        self.elements(element, json, &dimensions, key, &mut elements)?;
        if elements.is_empty() {
            return Ok(Datum::Array(Arc::new(Array::from_elements(Vec::new()))));
        }
        // No array has more elements than its text has bytes.
        let dimension = |length: &usize| Dimension { length: *length as u32, lower_bound: 1 };
        let dimensions: Vec<Dimension> = dimensions.iter().map(dimension).collect();
        Ok(Datum::Array(Arc::new(Array::with_dimensions(&dimensions, elements)?)))
    }

    fn elements(&self, element: &SqlType, json: &Json, dimensions: &[usize], key: &str, out: &mut Vec<Datum>) -> SqlResult<()> {
        let malformed = || {
            SqlError::new(SqlState::InvalidTextRepresentation, "malformed JSON array")
                .with_detail("Multidimensional arrays must have sub-arrays with matching dimensions.")
        };
        match (dimensions.split_first(), json) {
            (Some((length, inner)), Json::Array(items)) if items.len() == *length => {
                items.iter().try_for_each(|item| self.elements(element, item, inner, key, out))
            }
            (Some(_), _) => Err(malformed()),
            // The first elements were no arrays.
            (None, Json::Array(_)) if !matches!(element, SqlType::Json | SqlType::Jsonb) => Err(malformed()),
            (None, scalar) => {
                out.push(self.value(element, scalar, key)?);
                Ok(())
            }
        }
    }
}

/// The row type of a call.
fn row_type(types: &CallTypes, function: &str) -> SqlResult<SqlType> {
    match types.ret.base() {
        ty if ty.row_type().is_some() => Ok(ty),
        _ => {
            let message = format!("first argument of {function} must be a row type");
            Err(SqlError::new(SqlState::DatatypeMismatch, message))
        }
    }
}

fn record(context: &EvalContext<'_>, types: &CallTypes, args: &[Datum], function: &str) -> SqlResult<Datum> {
    let ty = row_type(types, function)?;
    if args[1].is_null() {
        return Ok(args[0].clone());
    }
    let json = value(&args[1])?;
    Maker { context }.row(&ty, &args[0], &json)
}

fn record_set(context: &EvalContext<'_>, types: &CallTypes, args: &[Datum], function: &str) -> SqlResult<SetRows> {
    let ty = row_type(types, function)?;
    if args[1].is_null() {
        return Ok(SetRows::of_values(std::iter::empty()));
    }
    let json = value(&args[1])?;
    let Json::Array(items) = &*json else { return Err(invalid(format!("cannot call {function} on a non-array"))) };
    let maker = Maker { context };
    let rows = items.iter().map(|item| match item {
        Json::Object(_) => maker.row(&ty, &args[0], item),
        _ => Err(invalid(format!("argument of {function} must be an array of objects"))),
    });
    let rows: Vec<Datum> = rows.collect::<SqlResult<_>>()?;
    Ok(SetRows::of_values(rows.into_iter().map(Ok)))
}

fn never(_: &EvalContext<'_>, _: &CallTypes, _: &[Datum]) -> SqlResult<Datum> {
    Err(SqlError::internal("a set-returning function was called as a scalar"))
}

pub(super) static FUNCTIONS: &[Builtin] = &[
    Builtin::pure("jsonb_populate_record", 3209, &[ArgType::AnyElement, JSONB], RetType::AnyElement, |context, types, a| {
        record(context, types, a, "jsonb_populate_record")
    })
    .null_aware()
    .stable(),
    Builtin::pure("json_populate_record", 3960, &[ArgType::AnyElement, JSON, BOOL], RetType::AnyElement, |context, types, a| {
        record(context, types, a, "json_populate_record")
    })
    .optional(1)
    .null_aware()
    .stable(),
    Builtin::pure("jsonb_populate_recordset", 3475, &[ArgType::AnyElement, JSONB], RetType::AnyElement, never)
        .returning_set(SetFunction {
            columns: &[],
            eval: |context, types, a| record_set(context, types, a, "jsonb_populate_recordset"),
        })
        .null_aware()
        .stable(),
    Builtin::pure("json_populate_recordset", 3961, &[ArgType::AnyElement, JSON, BOOL], RetType::AnyElement, never)
        .optional(1)
        .returning_set(SetFunction {
            columns: &[],
            eval: |context, types, a| record_set(context, types, a, "json_populate_recordset"),
        })
        .null_aware()
        .stable(),
];
