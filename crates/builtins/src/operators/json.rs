//! Fields, paths, containment and existence of json and jsonb. Documentation, section 9.16.

use std::sync::Arc;

use types::{Array, Datum, Json, SqlError, SqlResult, SqlState, SqlType};

use crate::arguments::{array, int, jsonb, text};
use crate::functions::jsonpath::{exists_silently, matches_silently};
use crate::signature::{ArgType, Builtin, Operator, RetType};

const JSON: ArgType = ArgType::T(SqlType::Json);
const JSONB: ArgType = ArgType::T(SqlType::Jsonb);
const PATH: ArgType = ArgType::T(SqlType::JsonPath);
const TEXT: ArgType = ArgType::T(SqlType::Text);
const INT4: ArgType = ArgType::T(SqlType::Int4);
const TEXTS: ArgType = ArgType::T(SqlType::TEXT_ARRAY);
const R_JSON: RetType = RetType::T(SqlType::Json);
const R_JSONB: RetType = RetType::T(SqlType::Jsonb);
const R_TEXT: RetType = RetType::T(SqlType::Text);
const BOOL: RetType = RetType::T(SqlType::Bool);

/// The value behind a json or jsonb datum.
pub(crate) fn value(datum: &Datum) -> SqlResult<Arc<Json>> {
    match datum {
        Datum::Jsonb(json) => Ok(Arc::clone(json)),
        other => Json::parse(text(other)).map(Arc::new),
    }
}

/// Without blanks between elements, as the functions that return json write it.
pub(crate) fn compact_text(json: &Json) -> String {
    match json {
        Json::Array(items) => format!("[{}]", items.iter().map(compact_text).collect::<Vec<_>>().join(",")),
        Json::Object(pairs) => {
            let pair = |(key, value): &(Box<str>, Json)| {
                format!("{}:{}", json_text(&Json::String(key.clone())), compact_text(value))
            };
            format!("{{{}}}", pairs.iter().map(pair).collect::<Vec<_>>().join(","))
        }
        scalar => json_text(scalar),
    }
}

pub(crate) fn json_text(json: &Json) -> String {
    let mut out = Vec::new();
    json.write(&mut out);
    String::from_utf8(out).expect("json is written as UTF-8")
}

/// A json text taken apart one level deep, its parts as they were written: json, unlike jsonb, keeps the blanks, the
/// order and the double keys of its text.
pub(crate) enum Raw<'a> {
    Object(Vec<(String, &'a str)>),
    Array(Vec<&'a str>),
    Scalar,
}

/// The text was validated when it became json.
pub(crate) fn raw(text: &str) -> SqlResult<Raw<'_>> {
    let text = text.trim_ascii();
    let is_object = text.starts_with('{');
    if !is_object && !text.starts_with('[') {
        return Ok(Raw::Scalar);
    }
    let inside = &text[1..text.len() - 1];
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    let (mut from, mut colon) = (0, None);
    let mut parts: Vec<(Option<usize>, usize, usize)> = Vec::new();
    for (at, byte) in inside.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b':' if depth == 0 && colon.is_none() => colon = Some(at),
            b',' if depth == 0 => {
                parts.push((colon.take(), from, at));
                from = at + 1;
            }
            _ => {}
        }
    }
    if !inside.trim_ascii().is_empty() {
        parts.push((colon, from, inside.len()));
    }
    if !is_object {
        return Ok(Raw::Array(parts.into_iter().map(|(_, from, to)| inside[from..to].trim_ascii()).collect()));
    }
    let pair = |(colon, from, to): (Option<usize>, usize, usize)| {
        let colon = colon.ok_or_else(|| SqlError::internal("a json object has a member without a colon"))?;
        Ok((raw_string(inside[from..colon].trim_ascii())?, inside[colon + 1..to].trim_ascii()))
    };
    parts.into_iter().map(pair).collect::<SqlResult<_>>().map(Raw::Object)
}

fn raw_string(quoted: &str) -> SqlResult<String> {
    match Json::parse(quoted)? {
        Json::String(string) => Ok(string.into()),
        other => Ok(json_text(&other)),
    }
}

/// Of double keys the last one counts.
fn raw_field<'a>(text: &'a str, name: &str) -> SqlResult<Option<&'a str>> {
    Ok(match raw(text)? {
        Raw::Object(pairs) => pairs.into_iter().rev().find(|(key, _)| key == name).map(|(_, value)| value),
        _ => None,
    })
}

fn raw_element(text: &str, index: i64) -> SqlResult<Option<&str>> {
    let Raw::Array(items) = raw(text)? else { return Ok(None) };
    let index = if index < 0 { index + items.len() as i64 } else { index };
    Ok(usize::try_from(index).ok().and_then(|index| items.get(index).copied()))
}

pub(crate) fn raw_path<'a>(text: &'a str, names: &Array) -> SqlResult<Option<&'a str>> {
    let mut here = text.trim_ascii();
    for name in names.elements() {
        let Some(name) = name.as_str() else { return Ok(None) };
        let found = match here.as_bytes().first() {
            Some(b'[') => match name.parse() {
                Ok(index) => raw_element(here, index)?,
                Err(_) => None,
            },
            _ => raw_field(here, name)?,
        };
        let Some(found) = found else { return Ok(None) };
        here = found;
    }
    Ok(Some(here))
}

pub(crate) fn raw_json(found: Option<&str>) -> Datum {
    found.map_or(Datum::Null, |text| Datum::Json(text.into()))
}

/// As [`as_text`].
pub(crate) fn raw_text(found: Option<&str>) -> SqlResult<Datum> {
    Ok(match found {
        None | Some("null") => Datum::Null,
        Some(text) if text.starts_with('"') => Datum::text(raw_string(text)?),
        Some(text) => Datum::text(text),
    })
}

/// A scalar counts as an array of itself.
fn element_or_scalar(json: &Json, index: i64) -> Option<&Json> {
    match json {
        Json::Array(_) => element(json, index),
        Json::Object(_) => None,
        scalar => (index == 0 || index == -1).then_some(scalar),
    }
}

fn element(json: &Json, index: i64) -> Option<&Json> {
    let Json::Array(elements) = json else { return None };
    let index = if index < 0 { index + elements.len() as i64 } else { index };
    elements.get(usize::try_from(index).ok()?)
}

/// One step of a path: a key of an object, or an index of an array.
fn step<'a>(json: &'a Json, name: &str) -> Option<&'a Json> {
    match json {
        Json::Array(_) => element(json, name.parse().ok()?),
        _ => json.get(name),
    }
}

pub(crate) fn path<'a>(json: &'a Json, names: &Array) -> Option<&'a Json> {
    names.elements().iter().try_fold(json, |json, name| step(json, name.as_str()?))
}

fn as_jsonb(found: Option<&Json>) -> Datum {
    found.map_or(Datum::Null, |json| Datum::Jsonb(Arc::new(json.clone())))
}

/// `->>`: a string without its quotes, JSON null as NULL, anything else as its text.
pub(crate) fn as_text(found: Option<&Json>) -> Datum {
    match found {
        None | Some(Json::Null) => Datum::Null,
        Some(Json::String(string)) => Datum::text(string.to_string()),
        Some(other) => Datum::text(json_text(other)),
    }
}

/// `outer @> inner`: objects by key, arrays as sets, a scalar inside a top-level array.
pub(crate) fn contains(outer: &Json, inner: &Json, top: bool) -> bool {
    match (outer, inner) {
        (Json::Object(_), Json::Object(wanted)) => {
            wanted.iter().all(|(key, value)| outer.get(key).is_some_and(|found| contains(found, value, false)))
        }
        (Json::Array(have), Json::Array(wanted)) => {
            wanted.iter().all(|value| have.iter().any(|found| contains(found, value, false)))
        }
        (Json::Array(have), scalar) if top => !matches!(scalar, Json::Object(_)) && have.iter().any(|found| found == scalar),
        _ => outer == inner,
    }
}

fn exists(json: &Json, name: &str) -> bool {
    match json {
        Json::Object(_) => json.get(name).is_some(),
        Json::Array(elements) => elements.iter().any(|element| matches!(element, Json::String(s) if **s == *name)),
        Json::String(string) => **string == *name,
        _ => false,
    }
}

fn concatenate(a: &Json, b: &Json) -> Json {
    match (a, b) {
        (Json::Object(left), Json::Object(right)) => Json::object(left.iter().chain(right).cloned().collect()),
        (left, right) => {
            let elements = |json: &Json| match json {
                Json::Array(elements) => elements.clone(),
                other => vec![other.clone()],
            };
            Json::Array([elements(left), elements(right)].concat())
        }
    }
}

fn delete_key(json: &Json, name: &str) -> SqlResult<Json> {
    Ok(match json {
        Json::Object(pairs) => Json::Object(pairs.iter().filter(|(key, _)| **key != *name).cloned().collect()),
        Json::Array(elements) => Json::Array(
            elements.iter().filter(|element| !matches!(element, Json::String(s) if **s == *name)).cloned().collect(),
        ),
        _ => return Err(SqlError::new(SqlState::InvalidParameterValue, "cannot delete from scalar")),
    })
}

fn one_dimension(names: &Array) -> SqlResult<&[Datum]> {
    if names.dimensions().len() > 1 {
        return Err(SqlError::new(SqlState::ArraySubscriptError, "wrong number of array subscripts"));
    }
    Ok(names.elements())
}

/// NULLs name nothing.
fn delete_keys(json: &Json, names: &Array) -> SqlResult<Json> {
    let names = one_dimension(names)?;
    let is_kept = |found: &str| !names.iter().any(|name| name.as_str() == Some(found));
    Ok(match json {
        Json::Object(pairs) => Json::Object(pairs.iter().filter(|(key, _)| is_kept(key)).cloned().collect()),
        Json::Array(elements) => Json::Array(
            elements.iter().filter(|element| !matches!(element, Json::String(text) if !is_kept(text))).cloned().collect(),
        ),
        _ => return Err(SqlError::new(SqlState::InvalidParameterValue, "cannot delete from scalar")),
    })
}

/// `names` are the path from here on, `level` how many steps led here.
fn delete_path(json: &Json, names: &[Datum], level: usize) -> SqlResult<Json> {
    let Some((name, rest)) = names.split_first() else { return Ok(json.clone()) };
    if !matches!(json, Json::Object(_) | Json::Array(_)) {
        return Ok(json.clone());
    }
    let position = level + 1;
    let name = name.as_str().ok_or_else(|| {
        SqlError::new(SqlState::NullValueNotAllowed, format!("path element at position {position} is null"))
    })?;
    match json {
        Json::Object(pairs) => {
            let mut kept = Vec::with_capacity(pairs.len());
            for (key, value) in pairs {
                match (**key == *name, rest.is_empty()) {
                    (false, _) => kept.push((key.clone(), value.clone())),
                    (true, true) => {}
                    (true, false) => kept.push((key.clone(), delete_path(value, rest, level + 1)?)),
                }
            }
            Ok(Json::Object(kept))
        }
        Json::Array(items) => {
            let index: i64 = name.trim().parse::<i32>().map(i64::from).map_err(|_| {
                let message = format!("path element at position {position} is not an integer: \"{name}\"");
                SqlError::new(SqlState::InvalidTextRepresentation, message)
            })?;
            let at = if index < 0 { index + items.len() as i64 } else { index };
            let mut items = items.clone();
            if let Some(at) = usize::try_from(at).ok().filter(|at| *at < items.len()) {
                if rest.is_empty() {
                    items.remove(at);
                } else {
                    items[at] = delete_path(&items[at], rest, level + 1)?;
                }
            }
            Ok(Json::Array(items))
        }
        scalar => Ok(scalar.clone()),
    }
}

fn delete_index(json: &Json, index: i64) -> SqlResult<Json> {
    let refused = |message: &str| Err(SqlError::new(SqlState::InvalidParameterValue, message));
    match json {
        Json::Array(elements) => {
            let at = if index < 0 { index + elements.len() as i64 } else { index };
            let kept = elements.iter().enumerate().filter(|(position, _)| *position as i64 != at);
            Ok(Json::Array(kept.map(|(_, element)| element.clone()).collect()))
        }
        Json::Object(_) => refused("cannot delete from object using integer index"),
        _ => refused("cannot delete from scalar"),
    }
}

fn any_name(json: &Datum, names: &Datum, all: bool) -> bool {
    let mut names = array(names).elements().iter().filter_map(Datum::as_str);
    let json = jsonb(json);
    if all { names.all(|name| exists(json, name)) } else { names.any(|name| exists(json, name)) }
}

pub(super) static OPERATORS: &[Operator] = &[
    Operator::new(
        "@?",
        4012,
        Builtin::pure("jsonb_path_exists_opr", 4010, &[JSONB, PATH], BOOL, |_, _, a| exists_silently(a)),
    ),
    Operator::new(
        "@@",
        4013,
        Builtin::pure("jsonb_path_match_opr", 4011, &[JSONB, PATH], BOOL, |_, _, a| matches_silently(a)),
    ),
    Operator::new("->", 3962, Builtin::pure("json_object_field", 3947, &[JSON, TEXT], R_JSON, |_, _, a| {
        Ok(raw_json(raw_field(text(&a[0]), text(&a[1]))?))
    })),
    Operator::new("->>", 3963, Builtin::pure("json_object_field_text", 3948, &[JSON, TEXT], R_TEXT, |_, _, a| {
        raw_text(raw_field(text(&a[0]), text(&a[1]))?)
    })),
    Operator::new("->", 3964, Builtin::pure("json_array_element", 3949, &[JSON, INT4], R_JSON, |_, _, a| {
        Ok(raw_json(raw_element(text(&a[0]), int(&a[1]))?))
    })),
    Operator::new("->>", 3965, Builtin::pure("json_array_element_text", 3950, &[JSON, INT4], R_TEXT, |_, _, a| {
        raw_text(raw_element(text(&a[0]), int(&a[1]))?)
    })),
    Operator::new("#>", 3966, Builtin::pure("json_extract_path", 3951, &[JSON, TEXTS], R_JSON, |_, _, a| {
        Ok(raw_json(raw_path(text(&a[0]), array(&a[1]))?))
    })),
    Operator::new("#>>", 3967, Builtin::pure("json_extract_path_text", 3953, &[JSON, TEXTS], R_TEXT, |_, _, a| {
        raw_text(raw_path(text(&a[0]), array(&a[1]))?)
    })),
    Operator::new("->", 3211, Builtin::pure("jsonb_object_field", 3478, &[JSONB, TEXT], R_JSONB, |_, _, a| {
        Ok(as_jsonb(jsonb(&a[0]).get(text(&a[1]))))
    })),
    Operator::new("->>", 3477, Builtin::pure("jsonb_object_field_text", 3214, &[JSONB, TEXT], R_TEXT, |_, _, a| {
        Ok(as_text(jsonb(&a[0]).get(text(&a[1]))))
    })),
    Operator::new("->", 3212, Builtin::pure("jsonb_array_element", 3215, &[JSONB, INT4], R_JSONB, |_, _, a| {
        Ok(as_jsonb(element_or_scalar(jsonb(&a[0]), int(&a[1]))))
    })),
    Operator::new("->>", 3481, Builtin::pure("jsonb_array_element_text", 3216, &[JSONB, INT4], R_TEXT, |_, _, a| {
        Ok(as_text(element_or_scalar(jsonb(&a[0]), int(&a[1]))))
    })),
    Operator::new("#>", 3213, Builtin::pure("jsonb_extract_path", 3217, &[JSONB, TEXTS], R_JSONB, |_, _, a| {
        Ok(as_jsonb(path(jsonb(&a[0]), array(&a[1]))))
    })),
    Operator::new("#>>", 3206, Builtin::pure("jsonb_extract_path_text", 3940, &[JSONB, TEXTS], R_TEXT, |_, _, a| {
        Ok(as_text(path(jsonb(&a[0]), array(&a[1]))))
    })),
    Operator::new("@>", 3246, Builtin::pure("jsonb_contains", 4046, &[JSONB, JSONB], BOOL, |_, _, a| {
        Ok(Datum::Bool(contains(jsonb(&a[0]), jsonb(&a[1]), true)))
    }))
    .commutes_with("<@"),
    Operator::new("<@", 3250, Builtin::pure("jsonb_contained", 4050, &[JSONB, JSONB], BOOL, |_, _, a| {
        Ok(Datum::Bool(contains(jsonb(&a[1]), jsonb(&a[0]), true)))
    }))
    .commutes_with("@>"),
    Operator::new("?", 3247, Builtin::pure("jsonb_exists", 4047, &[JSONB, TEXT], BOOL, |_, _, a| {
        Ok(Datum::Bool(exists(jsonb(&a[0]), text(&a[1]))))
    })),
    Operator::new("?|", 3248, Builtin::pure("jsonb_exists_any", 4048, &[JSONB, TEXTS], BOOL, |_, _, a| {
        Ok(Datum::Bool(any_name(&a[0], &a[1], false)))
    })),
    Operator::new("?&", 3249, Builtin::pure("jsonb_exists_all", 4049, &[JSONB, TEXTS], BOOL, |_, _, a| {
        Ok(Datum::Bool(any_name(&a[0], &a[1], true)))
    })),
    Operator::new("||", 3284, Builtin::pure("jsonb_concat", 3301, &[JSONB, JSONB], R_JSONB, |_, _, a| {
        Ok(Datum::Jsonb(concatenate(jsonb(&a[0]), jsonb(&a[1])).checked()?.into()))
    })),
    Operator::new("-", 3285, Builtin::pure("jsonb_delete", 3302, &[JSONB, TEXT], R_JSONB, |_, _, a| {
        delete_key(jsonb(&a[0]), text(&a[1])).map(|json| Datum::Jsonb(json.into()))
    })),
    Operator::new("-", 3286, Builtin::pure("jsonb_delete", 3303, &[JSONB, INT4], R_JSONB, |_, _, a| {
        delete_index(jsonb(&a[0]), int(&a[1])).map(|json| Datum::Jsonb(json.into()))
    })),
    Operator::new("-", 3398, Builtin::pure("jsonb_delete", 3343, &[JSONB, TEXTS], R_JSONB, |_, _, a| {
        delete_keys(jsonb(&a[0]), array(&a[1])).map(|json| Datum::Jsonb(json.into()))
    })),
    Operator::new("#-", 3287, Builtin::pure("jsonb_delete_path", 3304, &[JSONB, TEXTS], R_JSONB, |_, _, a| {
        let (json, names) = (jsonb(&a[0]), one_dimension(array(&a[1]))?);
        match json {
            // In what is empty the path is not looked at.
            Json::Array(items) if items.is_empty() => Ok(a[0].clone()),
            Json::Object(_) | Json::Array(_) => Ok(Datum::Jsonb(delete_path(json, names, 0)?.into())),
            _ => Err(SqlError::new(SqlState::InvalidParameterValue, "cannot delete path in scalar")),
        }
    })),
];
