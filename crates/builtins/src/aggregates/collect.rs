//! Aggregates that keep their input: arrays, strings, JSON.

use types::{Array, Datum, Json, SqlError, SqlResult, SqlState, SqlType};

use super::null_aware;
use crate::EvalContext;
use crate::arguments::{bytes, text};
use crate::functions::json::{json_key, to_json, to_json_text};
use crate::operators::json::json_text;
use crate::operators::strings::check_length;
use crate::signature::{Accumulator, Aggregate, ArgType, CallTypes, RetType};

/// Elements in arrival order, made into a datum at the end.
struct Collect {
    items: Vec<Datum>,
    bytes: usize,
    finish: fn(&[Datum]) -> SqlResult<Datum>,
}

impl Accumulator for Collect {
    fn add(&mut self, _: &EvalContext<'_>, args: &[Datum]) -> SqlResult<()> {
        self.bytes += size_of::<Datum>() + args[0].heap_bytes();
        self.items.push(args[0].clone());
        Ok(())
    }

    fn finish(&self, _: &EvalContext<'_>) -> SqlResult<Datum> {
        if self.items.is_empty() { Ok(Datum::Null) } else { (self.finish)(&self.items) }
    }

    fn memory_bytes(&self) -> usize {
        self.bytes
    }
}

fn array_of(items: &[Datum]) -> SqlResult<Datum> {
    Ok(Datum::Array(Array::from_elements(items.to_vec()).into()))
}

/// Arrays of one shape become one array with a dimension more.
fn array_of_arrays(items: &[Datum]) -> SqlResult<Datum> {
    let refused = |message: &str| SqlError::new(SqlState::ArraySubscriptError, message);
    let mut inner: Option<Vec<types::array::Dimension>> = None;
    let mut elements = Vec::new();
    for item in items {
        let Datum::Array(array) = item else {
            return Err(SqlError::new(SqlState::NullValueNotAllowed, "cannot accumulate null arrays"));
        };
        if array.is_empty() {
            return Err(refused("cannot accumulate empty arrays"));
        }
        match &inner {
            None => inner = Some(array.dimensions().to_vec()),
            Some(shape) if shape.as_slice() == array.dimensions() => {}
            Some(_) => return Err(refused("cannot accumulate arrays of different dimensionality")),
        }
        elements.extend_from_slice(array.elements());
    }
    let mut shape = inner.unwrap_or_default();
    if let Some(first) = shape.first().copied() {
        let mut outer = first;
        outer.length = u32::try_from(items.len()).map_err(|_| refused("array size exceeds the maximum allowed"))?;
        outer.lower_bound = 1;
        shape.insert(0, outer);
    }
    Ok(Datum::Array(Array::with_dimensions(&shape, elements)?.into()))
}

fn collect(finish: fn(&[Datum]) -> SqlResult<Datum>) -> Box<dyn Accumulator> {
    Box::new(Collect { items: Vec::new(), bytes: 0, finish })
}

/// string_agg over text or bytea: the delimiter of each row but the first goes before it.
struct Join {
    joined: Option<Vec<u8>>,
    is_text: bool,
}

impl Accumulator for Join {
    fn add(&mut self, context: &EvalContext<'_>, args: &[Datum]) -> SqlResult<()> {
        let raw = |datum: &Datum| -> Vec<u8> {
            if self.is_text { text(datum).as_bytes().to_vec() } else { bytes(datum).to_vec() }
        };
        if args[0].is_null() {
            return Ok(());
        }
        let value = raw(&args[0]);
        let delimiter = if args[1].is_null() { Vec::new() } else { raw(&args[1]) };
        match &mut self.joined {
            None => self.joined = Some(value),
            Some(joined) => {
                check_length(context, joined.len() + delimiter.len() + value.len())?;
                joined.extend_from_slice(&delimiter);
                joined.extend_from_slice(&value);
            }
        }
        Ok(())
    }

    fn finish(&self, _: &EvalContext<'_>) -> SqlResult<Datum> {
        Ok(match &self.joined {
            None => Datum::Null,
            Some(joined) if self.is_text => {
                Datum::text(std::str::from_utf8(joined).expect("text joined with text is text"))
            }
            Some(joined) => Datum::bytes(joined.as_slice()),
        })
    }

    fn memory_bytes(&self) -> usize {
        self.joined.as_ref().map_or(0, Vec::capacity)
    }
}

/// json_agg, jsonb_agg and the object forms.
struct JsonCollect {
    /// For jsonb.
    items: Vec<(Box<str>, Json)>,
    /// For json, which keeps the text of its parts.
    parts: Vec<String>,
    types: CallTypes,
    is_object: bool,
    bytes: usize,
}

impl Accumulator for JsonCollect {
    fn add(&mut self, context: &EvalContext<'_>, args: &[Datum]) -> SqlResult<()> {
        let (key, position) = if self.is_object { (json_key(context, &self.types.args[0], &args[0])?, 1) } else { (String::new(), 0) };
        if self.types.ret == SqlType::Json {
            let value = to_json_text(context, &self.types.args[position], &args[position])?;
            let part = if self.is_object { format!("{} : {value}", json_text(&Json::String(key.into()))) } else { value };
            self.bytes += part.len() + size_of::<String>();
            self.parts.push(part);
            return Ok(());
        }
        let value = to_json(context, &self.types.args[position], &args[position])?;
        self.bytes += key.len() + value.heap_bytes() + size_of::<(Box<str>, Json)>();
        self.items.push((key.into_boxed_str(), value));
        Ok(())
    }

    fn finish(&self, _: &EvalContext<'_>) -> SqlResult<Datum> {
        if self.items.is_empty() && self.parts.is_empty() {
            return Ok(Datum::Null);
        }
        if self.types.ret == SqlType::Jsonb {
            let json = if self.is_object {
                Json::object(self.items.clone())
            } else {
                Json::Array(self.items.iter().map(|(_, value)| value.clone()).collect())
            };
            return Ok(Datum::Jsonb(json.checked()?.into()));
        }
        let is_structure = |ty: &SqlType| ty.is_array() || ty.is_row();
        let on_lines = !self.is_object && is_structure(&self.types.args[0]);
        let mut joined = String::new();
        for part in &self.parts {
            if !joined.is_empty() {
                // A NULL stays on its line.
                joined.push_str(if on_lines && part != "null" { ", \n " } else { ", " });
            }
            joined.push_str(part);
        }
        Ok(Datum::Json(if self.is_object { format!("{{ {joined} }}") } else { format!("[{joined}]") }.into()))
    }

    fn memory_bytes(&self) -> usize {
        self.bytes
    }
}

fn json(types: &CallTypes, is_object: bool) -> Box<dyn Accumulator> {
    Box::new(JsonCollect { items: Vec::new(), parts: Vec::new(), types: types.clone(), is_object, bytes: 0 })
}

const TEXT: ArgType = ArgType::T(SqlType::Text);
const BYTEA: ArgType = ArgType::T(SqlType::Bytea);

pub(super) static AGGREGATES: &[Aggregate] = &[
    null_aware("array_agg", 2335, &[ArgType::AnyNonArray], RetType::AnyArray, |_| collect(array_of)),
    null_aware("array_agg", 4053, &[ArgType::AnyArray], RetType::AnyArray, |_| collect(array_of_arrays)),
    null_aware("string_agg", 3538, &[TEXT, TEXT], RetType::T(SqlType::Text), |_| {
        Box::new(Join { joined: None, is_text: true })
    }),
    null_aware("string_agg", 3545, &[BYTEA, BYTEA], RetType::T(SqlType::Bytea), |_| {
        Box::new(Join { joined: None, is_text: false })
    }),
    null_aware("json_agg", 3175, &[ArgType::AnyElement], RetType::T(SqlType::Json), |types| json(types, false)),
    null_aware("jsonb_agg", 3267, &[ArgType::AnyElement], RetType::T(SqlType::Jsonb), |types| json(types, false)),
    null_aware("json_object_agg", 3197, &[ArgType::Any, ArgType::Any], RetType::T(SqlType::Json), |types| json(types, true)),
    null_aware("jsonb_object_agg", 3270, &[ArgType::Any, ArgType::Any], RetType::T(SqlType::Jsonb), |types| json(types, true)),
];
