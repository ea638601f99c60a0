//! JSON functions. Documentation, section 9.16.

use types::text::{write_float4, write_float8};
use types::{Array, DateStyle, Datum, Formatting, Json, Numeric, SqlError, SqlResult, SqlState, SqlType};

use crate::EvalContext;
use crate::arguments::{array, boolean, jsonb, text};
use crate::operators::json::{Raw, as_text, compact_text, json_text, path, raw, raw_json, raw_path, raw_text, value};
use crate::operators::strings::{cast_to_text, to_text};
use crate::signature::{ArgType, Builtin, CallTypes, RetType, SetFunction};

const JSON: ArgType = ArgType::T(SqlType::Json);
const JSONB: ArgType = ArgType::T(SqlType::Jsonb);
const TEXT: ArgType = ArgType::T(SqlType::Text);
const TEXTS: ArgType = ArgType::T(SqlType::TEXT_ARRAY);
const BOOLEAN: ArgType = ArgType::T(SqlType::Bool);
const R_JSON: RetType = RetType::T(SqlType::Json);
const R_JSONB: RetType = RetType::T(SqlType::Jsonb);
const R_TEXT: RetType = RetType::T(SqlType::Text);
const R_I4: RetType = RetType::T(SqlType::Int4);

/// Any value as JSON: `to_json`.
pub(crate) fn to_json(context: &EvalContext<'_>, ty: &SqlType, datum: &Datum) -> SqlResult<Json> {
    Ok(match datum {
        Datum::Null => Json::Null,
        Datum::Bool(value) => Json::Bool(*value),
        // Types that are integers inside only.
        Datum::Int(_) if matches!(ty.base(), SqlType::Oid | SqlType::Money | SqlType::PgLsn | SqlType::Xid8) => {
            Json::String(checked_string(to_text(context, ty, datum)?)?.into())
        }
        Datum::Int(number) => Json::Number(Numeric::from_i64(*number)),
        // The digits that are shown, whatever the setting of extra_float_digits.
        Datum::Float(number) if number.is_finite() => Json::Number(Numeric::parse(&float_text(ty, *number))?),
        Datum::Numeric(number) if number.is_finite() => Json::Number(number.clone()),
        Datum::Jsonb(json) => Json::clone(json),
        Datum::Json(text) => Json::parse(text)?,
        Datum::Array(array) => {
            let element = ty.element().unwrap_or(SqlType::Text);
            array_to_json(context, &element, array)?
        }
        Datum::Record(fields) => {
            let pairs = fields.iter().enumerate().map(|(at, field)| {
                let (name, ty) = record_field(ty, at, field);
                Ok((name.into_boxed_str(), to_json(context, &ty, field)?))
            });
            Json::object(pairs.collect::<SqlResult<Vec<_>>>()?).checked()?
        }
        Datum::Date(_) => Json::String(iso(context, ty, datum).into()),
        Datum::Timestamp(_) | Datum::TimestampTz(_) => Json::String(json_moment(&iso(context, ty, datum)).into()),
        Datum::Inet(_) => Json::String(shown(context, ty, datum).into()),
        other => Json::String(checked_string(to_text(context, ty, other)?)?.into()),
    })
}

/// The name and type of a record's field.
fn record_field(ty: &SqlType, at: usize, field: &Datum) -> (String, SqlType) {
    match ty.row_type().and_then(|row_type| row_type.fields.get(at).cloned()) {
        Some((name, ty)) => (name.to_string(), ty),
        None => (format!("f{}", at + 1), field.implied_type()),
    }
}

fn shown(context: &EvalContext<'_>, ty: &SqlType, datum: &Datum) -> String {
    types::to_text(ty, datum, context.formatting)
}

/// Dates in JSON are ISO's whatever `DateStyle` says.
fn iso(context: &EvalContext<'_>, ty: &SqlType, datum: &Datum) -> String {
    if context.formatting.date_style == DateStyle::Iso {
        return shown(context, ty, datum);
    }
    types::to_text(ty, datum, &Formatting { date_style: DateStyle::Iso, ..context.formatting.clone() })
}

fn float_text(ty: &SqlType, number: f64) -> String {
    const SHORTEST: i32 = 1;
    let mut out = Vec::new();
    match ty {
        SqlType::Float4 => write_float4(number as f32, SHORTEST, &mut out),
        _ => write_float8(number, SHORTEST, &mut out),
    }
    String::from_utf8(out).expect("digits are ASCII")
}

/// A timestamp as ISO 8601 has it: a `T` between date and time, minutes in the offset.
fn json_moment(text: &str) -> String {
    let text = text.replacen(' ', "T", 1);
    let (moment, era) = match text.strip_suffix(" BC") {
        Some(moment) => (moment, " BC"),
        None => (text.as_str(), ""),
    };
    let offset = moment.find('T').and_then(|at| Some(&moment[at + moment[at..].find(['+', '-'])?..]));
    let minutes = if offset.is_some_and(|offset| !offset.contains(':')) { ":00" } else { "" };
    format!("{moment}{minutes}{era}")
}

/// The longest string within a jsonb value: PostgreSQL's limit. The text of a string within a string within a string
/// doubles with every level.
const STRING_BYTES_MAX: usize = 0x0fff_ffff;

fn checked_string(text: String) -> SqlResult<String> {
    if text.len() <= STRING_BYTES_MAX {
        return Ok(text);
    }
    Err(SqlError::new(SqlState::ProgramLimitExceeded, "string too long to represent as jsonb string").with_detail(format!(
        "Due to an implementation restriction, jsonb strings cannot exceed {STRING_BYTES_MAX} bytes."
    )))
}

/// Nested as deep as the array has dimensions.
fn array_to_json(context: &EvalContext<'_>, element: &SqlType, value: &Array) -> SqlResult<Json> {
    fn nest(lengths: &[u32], items: &mut impl Iterator<Item = SqlResult<Json>>) -> SqlResult<Json> {
        match lengths {
            [] => items.next().expect("array-shape: as many elements as the dimensions say"),
            [length, inner @ ..] => (0..*length).map(|_| nest(inner, items)).collect::<SqlResult<Vec<Json>>>().map(Json::Array),
        }
    }
    if value.is_empty() {
        return Ok(Json::Array(Vec::new()));
    }
    let lengths: Vec<u32> = value.dimensions().iter().map(|d| d.length).collect();
    nest(&lengths, &mut value.elements().iter().map(|item| to_json(context, element, item)))?.checked()
}

/// A value as json text: json and jsonb stand as they print, arrays without blanks.
pub(crate) fn to_json_text(context: &EvalContext<'_>, ty: &SqlType, datum: &Datum) -> SqlResult<String> {
    Ok(match datum {
        Datum::Json(text) => text.to_string(),
        Datum::Jsonb(json) => json_text(json),
        Datum::Float(number) if number.is_finite() => float_text(ty, *number),
        Datum::Record(fields) => record_text(context, ty, fields, ",")?,
        Datum::Array(array) => {
            let element = ty.element().unwrap_or(SqlType::Text);
            let parts: Vec<String> =
                array.elements().iter().map(|item| to_json_text(context, &element, item)).collect::<SqlResult<_>>()?;
            nested(array, &parts, ",")
        }
        other => compact_text(&to_json(context, ty, other)?),
    })
}

fn record_text(context: &EvalContext<'_>, ty: &SqlType, fields: &[Datum], between: &str) -> SqlResult<String> {
    let parts = fields.iter().enumerate().map(|(at, field)| {
        let (name, ty) = record_field(ty, at, field);
        Ok(format!("{}:{}", json_text(&Json::String(name.into())), to_json_text(context, &ty, field)?))
    });
    Ok(format!("{{{}}}", parts.collect::<SqlResult<Vec<_>>>()?.join(between)))
}

fn row_to_json(context: &EvalContext<'_>, types: &CallTypes, a: &[Datum]) -> SqlResult<Datum> {
    let Datum::Record(fields) = &a[0] else { return Err(SqlError::internal("row_to_json was given no record")) };
    let between = if a.get(1).is_some_and(boolean) { ",\n " } else { "," };
    Ok(Datum::Json(record_text(context, &types.args[0], fields, between)?.into()))
}

/// Puts the elements of an array into as many brackets as it has dimensions.
fn nested(array: &Array, parts: &[String], between: &str) -> String {
    fn level(lengths: &[types::Dimension], parts: &[String], between: &str) -> String {
        let [outer, inner @ ..] = lengths else { return parts.concat() };
        let size = parts.len() / outer.length.max(1) as usize;
        let items: Vec<String> = parts.chunks(size.max(1)).map(|chunk| level(inner, chunk, ",")).collect();
        format!("[{}]", items.join(between))
    }
    if parts.is_empty() { "[]".to_owned() } else { level(array.dimensions(), parts, between) }
}

fn pretty_array(context: &EvalContext<'_>, types: &CallTypes, a: &[Datum]) -> SqlResult<Datum> {
    if !boolean(&a[1]) {
        return convert(context, types, a);
    }
    let element = types.args[0].element().unwrap_or(SqlType::Text);
    let items = array(&a[0]).elements().iter().map(|item| to_json_text(context, &element, item));
    let parts: Vec<String> = items.collect::<SqlResult<_>>()?;
    Ok(Datum::Json(nested(array(&a[0]), &parts, ",\n ").into()))
}

/// A value as the key of an object.
pub(crate) fn json_key(context: &EvalContext<'_>, ty: &SqlType, datum: &Datum) -> SqlResult<String> {
    if datum.is_null() {
        return Err(SqlError::new(SqlState::InvalidParameterValue, "field name must not be null"));
    }
    Ok(match datum {
        Datum::Date(_) => iso(context, ty, datum),
        Datum::Timestamp(_) | Datum::TimestampTz(_) => json_moment(&iso(context, ty, datum)),
        other => cast_to_text(context, ty, other)?,
    })
}

fn as_ret(types: &CallTypes, json: Json) -> Datum {
    if types.ret == SqlType::Jsonb { Datum::Jsonb(json.into()) } else { Datum::Json(compact_text(&json).into()) }
}

fn convert(context: &EvalContext<'_>, types: &CallTypes, a: &[Datum]) -> SqlResult<Datum> {
    if types.ret == SqlType::Json {
        return to_json_text(context, &types.args[0], &a[0]).map(|text| Datum::Json(text.into()));
    }
    Ok(as_ret(types, to_json(context, &types.args[0], &a[0])?))
}

fn build_array(context: &EvalContext<'_>, types: &CallTypes, a: &[Datum]) -> SqlResult<Datum> {
    if types.ret == SqlType::Jsonb {
        let items = a.iter().zip(&types.args).map(|(item, ty)| to_json(context, ty, item));
        return Ok(Datum::Jsonb(Json::Array(items.collect::<SqlResult<_>>()?).checked()?.into()));
    }
    let parts = a.iter().zip(&types.args).map(|(item, ty)| to_json_text(context, ty, item));
    let parts: Vec<String> = parts.collect::<SqlResult<_>>()?;
    Ok(Datum::Json(format!("[{}]", parts.join(", ")).into()))
}

fn build_object(context: &EvalContext<'_>, types: &CallTypes, a: &[Datum]) -> SqlResult<Datum> {
    if a.len() % 2 == 1 {
        return Err(SqlError::new(SqlState::InvalidParameterValue, "argument list must have even number of elements")
            .with_hint("The arguments of json_build_object() must consist of alternating keys and values."));
    }
    let mut pairs = Vec::new();
    let mut shown = Vec::new();
    for (pair, tys) in a.chunks(2).zip(types.args.chunks(2)) {
        let key = json_key(context, &tys[0], &pair[0])?;
        if types.ret == SqlType::Json {
            let value = to_json_text(context, &tys[1], &pair[1])?;
            shown.push(format!("{} : {value}", json_text(&Json::String(key.into()))));
            continue;
        }
        pairs.push((key.into_boxed_str(), to_json(context, &tys[1], &pair[1])?));
    }
    if types.ret == SqlType::Jsonb {
        return Ok(Datum::Jsonb(Json::object(pairs).checked()?.into()));
    }
    Ok(Datum::Json(format!("{{{}}}", shown.join(", ")).into()))
}

fn type_name(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "boolean",
        Json::Number(_) => "number",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    }
}

fn elements(json: &Json) -> SqlResult<&[Json]> {
    let refused = |what: &str| Err(SqlError::new(SqlState::InvalidParameterValue, format!("cannot extract elements from {what}")));
    match json {
        Json::Array(elements) => Ok(elements),
        Json::Object(_) => refused("an object"),
        _ => refused("a scalar"),
    }
}

fn raw_elements<'a>(datum: &'a Datum, function: &str) -> SqlResult<Vec<&'a str>> {
    let refused = |what: &str| Err(SqlError::new(SqlState::InvalidParameterValue, format!("cannot call {function} on a {what}")));
    match raw(text(datum))? {
        Raw::Array(items) => Ok(items),
        Raw::Object(_) => refused("non-array"),
        Raw::Scalar => refused("scalar"),
    }
}

fn raw_pairs(datum: &Datum) -> SqlResult<Vec<(String, &str)>> {
    let refused = |message: &str| Err(SqlError::new(SqlState::InvalidParameterValue, message));
    match raw(text(datum))? {
        Raw::Object(pairs) => Ok(pairs),
        Raw::Array(_) => refused("cannot deconstruct an array as an object"),
        Raw::Scalar => refused("cannot deconstruct a scalar"),
    }
}

fn object<'a>(json: &'a Json, function: &str) -> SqlResult<&'a [(Box<str>, Json)]> {
    match json {
        Json::Object(pairs) => Ok(pairs),
        _ => Err(SqlError::new(SqlState::InvalidParameterValue, format!("cannot call {function} on a non-object"))),
    }
}

fn pairs<'a>(json: &'a Json, function: &str) -> SqlResult<&'a [(Box<str>, Json)]> {
    let refused = |what: &str| Err(SqlError::new(SqlState::InvalidParameterValue, format!("cannot call {function} on {what}")));
    match json {
        Json::Object(pairs) => Ok(pairs),
        Json::Array(_) => refused("an array"),
        _ => refused("a scalar"),
    }
}

fn strip_nulls(json: &Json) -> Json {
    match json {
        Json::Object(pairs) => {
            let kept = pairs.iter().filter(|(_, value)| !matches!(value, Json::Null));
            Json::Object(kept.map(|(key, value)| (key.clone(), strip_nulls(value))).collect())
        }
        Json::Array(items) => Json::Array(items.iter().map(strip_nulls).collect()),
        other => other.clone(),
    }
}

/// As [`strip_nulls`], of a text: members keep their order, and equal ones stay.
fn strip_raw_nulls(json: &str, kept: &mut String) -> SqlResult<()> {
    let mut is_first = true;
    let mut separate = |kept: &mut String| {
        if !std::mem::take(&mut is_first) {
            kept.push(',');
        }
    };
    match raw(json)? {
        Raw::Object(pairs) => {
            kept.push('{');
            for (key, value) in pairs.into_iter().filter(|(_, value)| *value != "null") {
                separate(kept);
                kept.push_str(&compact_text(&Json::String(key.into())));
                kept.push(':');
                strip_raw_nulls(value, kept)?;
            }
            kept.push('}');
        }
        Raw::Array(items) => {
            kept.push('[');
            for item in items {
                separate(kept);
                strip_raw_nulls(item, kept)?;
            }
            kept.push(']');
        }
        Raw::Scalar if json.trim_ascii().starts_with('"') => kept.push_str(&compact_text(&Json::parse(json)?)),
        Raw::Scalar => kept.push_str(json.trim_ascii()),
    }
    Ok(())
}

/// What `jsonb_set` and `jsonb_insert` do at the end of their path.
#[derive(Clone, Copy, PartialEq)]
enum Edit {
    Set { create: bool },
    Insert { after: bool },
}

/// `names` are the path from here on, `level` how many steps led here.
fn edit(json: &Json, names: &[Datum], level: usize, new: &Json, how: Edit) -> SqlResult<Json> {
    let Some((name, rest)) = names.split_first() else { return Ok(json.clone()) };
    if !matches!(json, Json::Object(_) | Json::Array(_)) {
        return Ok(json.clone());
    }
    let Some(name) = name.as_str() else {
        let message = format!("path element at position {} is null", level + 1);
        return Err(SqlError::new(SqlState::NullValueNotAllowed, message));
    };
    match json {
        Json::Object(pairs) => {
            let mut pairs = pairs.clone();
            match (pairs.iter_mut().find(|(key, _)| **key == *name), rest.is_empty()) {
                (Some(_), true) if matches!(how, Edit::Insert { .. }) => {
                    return Err(SqlError::new(SqlState::InvalidParameterValue, "cannot replace existing key")
                        .with_hint("Try using the function jsonb_set to replace key value."));
                }
                (Some((_, value)), true) => *value = new.clone(),
                (Some((_, value)), false) => *value = edit(value, rest, level + 1, new, how)?,
                (None, true) if how != (Edit::Set { create: false }) => pairs.push((name.into(), new.clone())),
                (None, _) => {}
            }
            Ok(Json::object(pairs))
        }
        Json::Array(items) => {
            let refused = || {
                SqlError::new(SqlState::InvalidTextRepresentation, format!("path element at position {} is not an integer: \"{name}\"", level + 1))
            };
            let index: i64 = name.parse().map_err(|_| refused())?;
            let count = items.len() as i64;
            let at = if index < 0 { index + count } else { index };
            let mut items = items.clone();
            let inside = (0..count).contains(&at);
            match (how, rest.is_empty()) {
                (_, false) if inside => items[at as usize] = edit(&items[at as usize], rest, level + 1, new, how)?,
                (_, false) => {}
                (Edit::Set { .. }, true) if inside => items[at as usize] = new.clone(),
                (Edit::Set { create: false }, true) => {}
                (Edit::Set { create: true }, true) => items.insert(if at < 0 { 0 } else { items.len() }, new.clone()),
                (Edit::Insert { after }, true) => {
                    let place = (at + i64::from(after && inside)).clamp(0, count);
                    items.insert(place as usize, new.clone());
                }
            }
            Ok(Json::Array(items))
        }
        scalar => Ok(scalar.clone()),
    }
}

/// `json_object`: keys and values in turn, or in pairs.
fn pairs_of_texts(texts: &Array) -> SqlResult<Vec<(Box<str>, Json)>> {
    let refused = |message: &str| Err(SqlError::new(SqlState::ArraySubscriptError, message));
    match texts.dimensions() {
        [] => return Ok(Vec::new()),
        [one] if one.length % 2 == 1 => return refused("array must have even number of elements"),
        [_] => {}
        [_, inner] if inner.length == 2 => {}
        [_, _] => return refused("array must have two columns"),
        _ => return refused("wrong number of array subscripts"),
    }
    let mut pairs = Vec::new();
    for pair in texts.elements().chunks(2) {
        let Some(key) = pair[0].as_str() else {
            return Err(SqlError::new(SqlState::NullValueNotAllowed, "null value not allowed for object key"));
        };
        pairs.push((key.into(), pair[1].as_str().map_or(Json::Null, |value| Json::String(value.into()))));
    }
    Ok(pairs)
}

/// `json_object` of keys and values apart.
fn zipped_texts(keys: &Array, values: &Array) -> SqlResult<Vec<(Box<str>, Json)>> {
    let refused = |message: &str| Err(SqlError::new(SqlState::ArraySubscriptError, message));
    if keys.dimensions().len() > 1 || values.dimensions().len() > 1 {
        return refused("wrong number of array subscripts");
    }
    if keys.len() != values.len() {
        return refused("mismatched array dimensions");
    }
    let pairs = keys.elements().iter().zip(values.elements()).flat_map(|(key, value)| [key.clone(), value.clone()]);
    pairs_of_texts(&Array::from_elements(pairs.collect()))
}

fn shown_pairs(pairs: &[(Box<str>, Json)]) -> Datum {
    let shown = |(key, value): &(Box<str>, Json)| {
        format!("{} : {}", json_text(&Json::String(key.clone())), json_text(value))
    };
    Datum::Json(format!("{{{}}}", pairs.iter().map(shown).collect::<Vec<_>>().join(", ")).into())
}

fn edit_call(a: &[Datum], how: Edit) -> SqlResult<Datum> {
    if !matches!(jsonb(&a[0]), Json::Object(_) | Json::Array(_)) {
        return Err(SqlError::new(SqlState::InvalidParameterValue, "cannot set path in scalar"));
    }
    let edited = edit(jsonb(&a[0]), array(&a[1]).elements(), 0, jsonb(&a[2]), how)?;
    Ok(Datum::Jsonb(edited.checked()?.into()))
}

fn pretty(json: &Json, indent: usize, out: &mut String) {
    let line = |out: &mut String, indent: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', indent * 4));
    };
    match json {
        Json::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { "," });
                line(out, indent + 1);
                pretty(item, indent + 1, out);
            }
            line(out, indent);
            out.push(']');
        }
        Json::Object(pairs) => {
            out.push('{');
            for (at, (key, item)) in pairs.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { "," });
                line(out, indent + 1);
                out.push_str(&json_text(&Json::String(key.clone())));
                out.push_str(": ");
                pretty(item, indent + 1, out);
            }
            line(out, indent);
            out.push('}');
        }
        other => out.push_str(&json_text(other)),
    }
}

fn extract_path(types: &CallTypes, a: &[Datum], wants_text: bool) -> SqlResult<Datum> {
    if a.iter().any(Datum::is_null) {
        return Ok(Datum::Null);
    }
    let names = Array::from_elements(a[1..].to_vec());
    if let Datum::Json(json) = &a[0] {
        let found = raw_path(json, &names)?;
        return if wants_text { raw_text(found) } else { Ok(raw_json(found)) };
    }
    let json = value(&a[0])?;
    let found = path(&json, &names);
    Ok(if wants_text { as_text(found) } else { found.map_or(Datum::Null, |json| as_ret(types, json.clone())) })
}

const KEY_VALUE: &[(&str, SqlType)] = &[("key", SqlType::Text), ("value", SqlType::Json)];
const KEY_VALUE_B: &[(&str, SqlType)] = &[("key", SqlType::Text), ("value", SqlType::Jsonb)];
const KEY_TEXT: &[(&str, SqlType)] = &[("key", SqlType::Text), ("value", SqlType::Text)];

fn never(_: &EvalContext<'_>, _: &CallTypes, _: &[Datum]) -> SqlResult<Datum> {
    Err(SqlError::internal("a set-returning function was called as a scalar"))
}

macro_rules! both {
    ($json_name:literal, $json_oid:literal, $jsonb_name:literal, $jsonb_oid:literal, $ret:expr, $ret_b:expr, $eval:expr) => {
        [Builtin::pure($json_name, $json_oid, &[JSON], $ret, $eval), Builtin::pure($jsonb_name, $jsonb_oid, &[JSONB], $ret_b, $eval)]
    };
}

pub(super) static TYPEOF: &[Builtin] = &both!("json_typeof", 3968, "jsonb_typeof", 3210, R_TEXT, R_TEXT, |_, _, a| {
    Ok(Datum::text(type_name(&*value(&a[0])?)))
});
pub(super) static LENGTH: &[Builtin] = &both!("json_array_length", 3956, "jsonb_array_length", 3207, R_I4, R_I4, |_, _, a| {
    match &*value(&a[0])? {
        Json::Array(items) => Ok(Datum::Int(items.len() as i64)),
        Json::Object(_) => Err(SqlError::new(SqlState::InvalidParameterValue, "cannot get array length of a non-array")),
        _ => Err(SqlError::new(SqlState::InvalidParameterValue, "cannot get array length of a scalar")),
    }
});
pub(super) static STRIP: &[Builtin] =
    &both!("json_strip_nulls", 3261, "jsonb_strip_nulls", 3262, R_JSON, R_JSONB, |_, types, a| {
        if types.ret == SqlType::Json {
            let mut kept = String::new();
            strip_raw_nulls(text(&a[0]), &mut kept)?;
            return Ok(Datum::Json(kept.into()));
        }
        Ok(as_ret(types, strip_nulls(&*value(&a[0])?)))
    });

pub(super) static FUNCTIONS: &[Builtin] = &[
    Builtin::pure("to_json", 3176, &[ArgType::AnyElement], R_JSON, convert).stable(),
    Builtin::pure("to_jsonb", 3787, &[ArgType::AnyElement], R_JSONB, convert).stable(),
    Builtin::pure("row_to_json", 3155, &[ArgType::T(SqlType::RECORD)], R_JSON, row_to_json).stable(),
    Builtin::pure("row_to_json", 3156, &[ArgType::T(SqlType::RECORD), BOOLEAN], R_JSON, row_to_json).stable(),
    Builtin::pure("array_to_json", 3153, &[ArgType::AnyArray], R_JSON, convert).stable(),
    Builtin::pure("json_build_array", 3198, &[ArgType::Any], R_JSON, build_array).variadic().null_aware().stable(),
    Builtin::pure("jsonb_build_array", 3271, &[ArgType::Any], R_JSONB, build_array).variadic().null_aware().stable(),
    Builtin::pure("json_build_object", 3200, &[ArgType::Any], R_JSON, build_object).variadic().null_aware().stable(),
    Builtin::pure("jsonb_build_object", 3273, &[ArgType::Any], R_JSONB, build_object).variadic().null_aware().stable(),
    Builtin::pure("json_extract_path", 23_951, &[JSON, TEXT], R_JSON, |_, types, a| extract_path(types, a, false)).variadic().null_aware(),
    Builtin::pure("jsonb_extract_path", 23_217, &[JSONB, TEXT], R_JSONB, |_, types, a| extract_path(types, a, false)).variadic().null_aware(),
    Builtin::pure("json_extract_path_text", 23_953, &[JSON, TEXT], R_TEXT, |_, types, a| extract_path(types, a, true)).variadic().null_aware(),
    Builtin::pure("jsonb_extract_path_text", 23_940, &[JSONB, TEXT], R_TEXT, |_, types, a| extract_path(types, a, true)).variadic().null_aware(),
    Builtin::pure("jsonb_set", 3305, &[JSONB, TEXTS, JSONB, BOOLEAN], R_JSONB, |_, _, a| {
        edit_call(a, Edit::Set { create: a.get(3).is_none_or(boolean) })
    })
    .optional(1),
    Builtin::pure("jsonb_insert", 3579, &[JSONB, TEXTS, JSONB, BOOLEAN], R_JSONB, |_, _, a| {
        edit_call(a, Edit::Insert { after: a.get(3).is_some_and(boolean) })
    })
    .optional(1),
    Builtin::pure("jsonb_pretty", 3306, &[JSONB], R_TEXT, |_, _, a| {
        let mut out = String::new();
        pretty(jsonb(&a[0]), 0, &mut out);
        Ok(Datum::text(out))
    }),
    Builtin::pure("json_array_elements", 3955, &[JSON], R_JSON, never).returning_set(SetFunction {
        columns: &[("value", SqlType::Json)],
        eval: |_, _, a| {
            let items = raw_elements(&a[0], "json_array_elements")?;
            Ok(items.into_iter().map(|item| vec![raw_json(Some(item))]).collect())
        },
    }),
    Builtin::pure("jsonb_array_elements", 3219, &[JSONB], R_JSONB, never).returning_set(SetFunction {
        columns: &[("value", SqlType::Jsonb)],
        eval: |_, _, a| Ok(elements(jsonb(&a[0]))?.iter().map(|item| vec![Datum::Jsonb(item.clone().into())]).collect()),
    }),
    Builtin::pure("json_array_elements_text", 3969, &[JSON], R_TEXT, never).returning_set(SetFunction {
        columns: &[("value", SqlType::Text)],
        eval: |_, _, a| {
            let items = raw_elements(&a[0], "json_array_elements_text")?;
            items.into_iter().map(|item| Ok(vec![raw_text(Some(item))?])).collect()
        },
    }),
    Builtin::pure("jsonb_array_elements_text", 3465, &[JSONB], R_TEXT, never).returning_set(SetFunction {
        columns: &[("value", SqlType::Text)],
        eval: |_, _, a| Ok(elements(jsonb(&a[0]))?.iter().map(|item| vec![as_text(Some(item))]).collect()),
    }),
    Builtin::pure("json_each", 3958, &[JSON], RetType::T(SqlType::RECORD), never).returning_set(SetFunction {
        columns: KEY_VALUE,
        eval: |_, _, a| {
            Ok(raw_pairs(&a[0])?.into_iter().map(|(key, item)| vec![Datum::text(key), raw_json(Some(item))]).collect())
        },
    }),
    Builtin::pure("json_each_text", 3959, &[JSON], RetType::T(SqlType::RECORD), never).returning_set(SetFunction {
        columns: KEY_TEXT,
        eval: |_, _, a| {
            raw_pairs(&a[0])?.into_iter().map(|(key, item)| Ok(vec![Datum::text(key), raw_text(Some(item))?])).collect()
        },
    }),
    Builtin::pure("json_build_array", 3199, &[], R_JSON, |_, _, _| Ok(Datum::Json("[]".into()))).stable(),
    Builtin::pure("json_build_object", 3201, &[], R_JSON, |_, _, _| Ok(Datum::Json("{}".into()))).stable(),
    Builtin::pure("jsonb_build_array", 3272, &[], R_JSONB, |_, _, _| Ok(Datum::Jsonb(Json::Array(Vec::new()).into()))).stable(),
    Builtin::pure("jsonb_build_object", 3274, &[], R_JSONB, |_, _, _| Ok(Datum::Jsonb(Json::Object(Vec::new()).into()))).stable(),
    Builtin::pure("json_object", 3202, &[TEXTS], R_JSON, |_, _, a| Ok(shown_pairs(&pairs_of_texts(array(&a[0]))?))),
    Builtin::pure("json_object", 3203, &[TEXTS, TEXTS], R_JSON, |_, _, a| {
        Ok(shown_pairs(&zipped_texts(array(&a[0]), array(&a[1]))?))
    }),
    Builtin::pure("jsonb_object", 3263, &[TEXTS], R_JSONB, |_, types, a| Ok(as_ret(types, Json::object(pairs_of_texts(array(&a[0]))?)))),
    Builtin::pure("jsonb_object", 3264, &[TEXTS, TEXTS], R_JSONB, |_, types, a| {
        Ok(as_ret(types, Json::object(zipped_texts(array(&a[0]), array(&a[1]))?)))
    }),
    Builtin::pure("array_to_json", 3154, &[ArgType::AnyArray, BOOLEAN], R_JSON, pretty_array).stable(),
    Builtin::pure("jsonb_each", 3208, &[JSONB], RetType::T(SqlType::RECORD), never).returning_set(SetFunction {
        columns: KEY_VALUE_B,
        eval: |_, _, a| {
            let row = |(key, item): &(Box<str>, Json)| vec![Datum::text(key.to_string()), Datum::Jsonb(item.clone().into())];
            Ok(object(jsonb(&a[0]), "jsonb_each")?.iter().map(row).collect())
        },
    }),
    Builtin::pure("jsonb_each_text", 3932, &[JSONB], RetType::T(SqlType::RECORD), never).returning_set(SetFunction {
        columns: KEY_TEXT,
        eval: |_, _, a| {
            let row = |(key, item): &(Box<str>, Json)| vec![Datum::text(key.to_string()), as_text(Some(item))];
            Ok(object(jsonb(&a[0]), "jsonb_each_text")?.iter().map(row).collect())
        },
    }),
    Builtin::pure("json_object_keys", 3957, &[JSON], R_TEXT, never).returning_set(SetFunction {
        columns: &[],
        eval: |_, _, a| {
            let refused = |what: &str| {
                SqlError::new(SqlState::InvalidParameterValue, format!("cannot call json_object_keys on {what}"))
            };
            match raw(text(&a[0]))? {
                Raw::Object(pairs) => Ok(pairs.into_iter().map(|(key, _)| vec![Datum::text(key)]).collect()),
                Raw::Array(_) => Err(refused("an array")),
                Raw::Scalar => Err(refused("a scalar")),
            }
        },
    }),
    Builtin::pure("jsonb_object_keys", 3931, &[JSONB], R_TEXT, never).returning_set(SetFunction {
        columns: &[],
        eval: |_, _, a| {
            Ok(pairs(jsonb(&a[0]), "jsonb_object_keys")?.iter().map(|(key, _)| vec![Datum::text(key.to_string())]).collect())
        },
    }),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{eval_binary, eval_function};

    /// As deep as the parser lets one be.
    fn deepest() -> Datum {
        Datum::Jsonb(Json::parse(&format!("{}1{}", "[".repeat(types::json::MAX_DEPTH), "]".repeat(types::json::MAX_DEPTH))).unwrap().into())
    }

    #[test]
    fn values_are_built_no_deeper_than_they_are_parsed() {
        const B: SqlType = SqlType::Jsonb;
        let json = |text: &str| Datum::Jsonb(Json::parse(text).unwrap().into());
        let path = |name: &str| Datum::Array(Array::from_elements(vec![Datum::text(name)]).into());
        let array = Datum::Array(Array::from_elements(vec![deepest()]).into());
        let set = |value: Datum| {
            let args = [(B, json("{\"a\": 1}")), (SqlType::TEXT_ARRAY, path("a")), (B, value), (SqlType::Bool, Datum::Bool(true))];
            eval_function("jsonb_set", &args)
        };
        assert!(eval_function("to_jsonb", &[(B, deepest())]).is_ok() && set(json("[1]")).is_ok());
        for (what, outcome) in [
            ("jsonb_build_array", eval_function("jsonb_build_array", &[(B, deepest())])),
            ("jsonb_build_object", eval_function("jsonb_build_object", &[(SqlType::Text, Datum::text("a")), (B, deepest())])),
            ("to_jsonb", eval_function("to_jsonb", &[(B.array_of(), array)])),
            ("jsonb_set", set(deepest())),
        ] {
            assert_eq!(outcome.unwrap_err().code(), SqlState::StatementTooComplex, "{what}");
        }
        let object = json(&format!("{}1{}", "{\"a\":".repeat(types::json::MAX_DEPTH), "}".repeat(types::json::MAX_DEPTH)));
        let grown = eval_binary("||", B, json("[]"), B, object.clone());
        assert_eq!(grown.unwrap_err().code(), SqlState::StatementTooComplex, "an object becomes an element");
        let types = CallTypes { args: [B].into_iter().collect(), ret: B };
        let formatting = types::Formatting::default();
        let context = EvalContext::detached(&formatting);
        let mut gathered = (crate::aggregates("jsonb_agg")[0].new)(&types);
        gathered.add(&context, &[object]).unwrap();
        assert_eq!(gathered.finish(&context).unwrap_err().code(), SqlState::StatementTooComplex, "jsonb_agg");
    }
}
