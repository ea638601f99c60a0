//! Rows, arrays and jsonb values with a part replaced: what `SET c.f = v` and its kin make of a column.

use std::sync::Arc;

use plan::{Part, PartAssignment};
use smallvec::SmallVec;
use types::{Array, Datum, Json, JsonStep, SqlError, SqlResult, SqlState};

use crate::eval::{Evaluated, Evaluator};

fn null_subscript(what: &str) -> SqlError {
    SqlError::new(SqlState::NullValueNotAllowed, format!("{what} subscript in assignment must not be null"))
}

/// A subscript, which is an int4.
fn subscript(value: &Datum) -> SqlResult<i32> {
    let value = value.as_int().ok_or_else(|| null_subscript("array"))?;
    i32::try_from(value).map_err(|_| SqlError::internal("an int4 has 32 bits"))
}

fn into_array(value: Datum) -> Array {
    match value {
        Datum::Array(array) => Arc::unwrap_or_clone(array),
        _ => Array::default(),
    }
}

impl Evaluator<'_> {
    pub(crate) fn assign<'e>(&self, assign: &'e PartAssignment) -> Evaluated<'e> {
        let container = self.eval(&assign.container)?;
        Ok(match &assign.part {
            Part::Field(at) => {
                let width = assign.ty.row_type().map_or(0, |row| row.fields.len());
                let mut fields = match &container {
                    Datum::Record(fields) => fields.to_vec(),
                    _ => vec![Datum::Null; width],
                };
                // What was stored before an attribute was added has no field for it.
                fields.resize(width.max(fields.len()), Datum::Null);
                let Some(before) = fields.get(*at) else { return Err(SqlError::internal("a row lacks a field").into()) };
                let value = self.with_operand(before).eval(&assign.value)?;
                fields[*at] = value;
                Datum::record(fields)?
            }
            Part::Element(subscripts) => {
                let mut positions: SmallVec<[i32; 2]> = SmallVec::new();
                for expr in subscripts {
                    positions.push(subscript(&self.eval(expr)?)?);
                }
                let array = into_array(container);
                let wide: SmallVec<[i64; 2]> = positions.iter().map(|at| i64::from(*at)).collect();
                let before = array.get(&wide).cloned().unwrap_or_default();
                let value = self.with_operand(&before).eval(&assign.value)?;
                Datum::Array(Arc::new(array.set_element(&positions, value)?))
            }
            Part::Slice(bounds) => {
                let mut known: SmallVec<[(Option<i32>, Option<i32>); 2]> = SmallVec::new();
                for (lower, upper) in bounds {
                    let bound = |expr: &'e Option<plan::Expr>| -> Evaluated<'e, Option<i32>> {
                        Ok(match expr {
                            Some(expr) => Some(subscript(&self.eval(expr)?)?),
                            None => None,
                        })
                    };
                    known.push((bound(lower)?, bound(upper)?));
                }
                match self.with_operand(&container).eval(&assign.value)? {
                    Datum::Array(source) => Datum::Array(Arc::new(into_array(container).set_slice(&known, &source)?)),
                    // A NULL changes nothing, but that the array is there.
                    _ => Datum::Array(Arc::new(into_array(container))),
                }
            }
            Part::Member(path) => {
                let mut steps = Vec::with_capacity(path.len());
                for (expr, is_number) in path {
                    let text = self.eval(expr)?;
                    let text = text.as_str().ok_or_else(|| null_subscript("jsonb"))?;
                    steps.push(JsonStep { text: text.to_owned(), is_number: *is_number });
                }
                let value = match self.eval(&assign.value)? {
                    Datum::Jsonb(value) => Arc::unwrap_or_clone(value),
                    _ => Json::Null,
                };
                let container = match container {
                    Datum::Jsonb(container) => Some(Arc::unwrap_or_clone(container)),
                    _ => None,
                };
                Datum::Jsonb(Arc::new(Json::set_path(container, &steps, value)?))
            }
        })
    }
}
