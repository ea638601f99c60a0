//! Array functions. Documentation, section 9.19.

use types::{Array, Datum, SqlError, SqlResult, SqlState, SqlType, sql_equal};

use crate::EvalContext;
use crate::arguments::{array, int};
use crate::operators::arrays::{append, concatenate};
use crate::operators::strings::check_length;
use crate::signature::{ArgType, Builtin, CallTypes, RetType};

const ARRAY: ArgType = ArgType::AnyArray;
const ELEMENT: ArgType = ArgType::AnyElement;
const I4: ArgType = ArgType::T(SqlType::Int4);
const R_I4: RetType = RetType::T(SqlType::Int4);
const R_TEXT: RetType = RetType::T(SqlType::Text);

fn element_type(types: &CallTypes) -> SqlType {
    types.args[0].element().expect("an array argument has an element type")
}

/// NULL matches NULL here, unlike `=`.
fn same(ty: &SqlType, a: &Datum, b: &Datum) -> bool {
    match (a.is_null(), b.is_null()) {
        (false, false) => sql_equal(ty, a, b),
        (a, b) => a && b,
    }
}

fn dimension(a: &[Datum]) -> Option<types::array::Dimension> {
    let at = usize::try_from(int(&a[1]) - 1).ok()?;
    array(&a[0]).dimensions().get(at).copied()
}

fn one_dimension(value: &Array, what: &str) -> SqlResult<()> {
    if value.dimensions().len() > 1 {
        return Err(SqlError::new(SqlState::FeatureNotSupported, format!("{what} in multidimensional arrays is not supported")));
    }
    Ok(())
}

fn position(types: &CallTypes, a: &[Datum]) -> SqlResult<Datum> {
    let Datum::Array(value) = &a[0] else { return Ok(Datum::Null) };
    one_dimension(value, "searching for elements")?;
    let lower = value.dimensions().first().map_or(1, |d| i64::from(d.lower_bound));
    let start = match a.get(2) {
        None => lower,
        // Nothing is searched in an empty array, from wherever.
        Some(_) if value.is_empty() => return Ok(Datum::Null),
        Some(Datum::Null) => return Err(SqlError::new(SqlState::NullValueNotAllowed, "initial position must not be null")),
        Some(start) => int(start),
    };
    let skip = usize::try_from(start - lower).unwrap_or(0);
    let ty = element_type(types);
    let found = value.elements().iter().enumerate().skip(skip).find(|(_, element)| same(&ty, element, &a[1]));
    Ok(found.map_or(Datum::Null, |(at, _)| Datum::Int(lower + at as i64)))
}

fn positions(types: &CallTypes, a: &[Datum]) -> SqlResult<Datum> {
    let Datum::Array(value) = &a[0] else { return Ok(Datum::Null) };
    one_dimension(value, "searching for elements")?;
    let lower = value.dimensions().first().map_or(1, |d| i64::from(d.lower_bound));
    let ty = element_type(types);
    let found = value.elements().iter().enumerate().filter(|(_, element)| same(&ty, element, &a[1]));
    Ok(Datum::Array(Array::from_elements(found.map(|(at, _)| Datum::Int(lower + at as i64)).collect()).into()))
}

fn remove(types: &CallTypes, a: &[Datum]) -> SqlResult<Datum> {
    let Datum::Array(value) = &a[0] else { return Ok(Datum::Null) };
    if value.dimensions().len() > 1 {
        return Err(SqlError::new(
            SqlState::FeatureNotSupported,
            "removing elements from multidimensional arrays is not supported",
        ));
    }
    let ty = element_type(types);
    let kept: Vec<Datum> = value.elements().iter().filter(|element| !same(&ty, element, &a[1])).cloned().collect();
    let dimensions: Vec<_> = match value.dimensions() {
        [one] if !kept.is_empty() => vec![types::array::Dimension { length: kept.len() as u32, ..*one }],
        _ => Vec::new(),
    };
    Ok(Datum::Array(Array::with_dimensions(&dimensions, kept)?.into()))
}

fn replace(types: &CallTypes, a: &[Datum]) -> SqlResult<Datum> {
    let Datum::Array(value) = &a[0] else { return Ok(Datum::Null) };
    let ty = element_type(types);
    let replaced = value.elements().iter().map(|e| if same(&ty, e, &a[1]) { a[2].clone() } else { e.clone() }).collect();
    Ok(Datum::Array(Array::with_dimensions(value.dimensions(), replaced)?.into()))
}

fn fill(context: &EvalContext<'_>, a: &[Datum]) -> SqlResult<Datum> {
    let Datum::Array(lengths) = &a[1] else {
        return Err(SqlError::new(SqlState::NullValueNotAllowed, "dimension array or low bound array cannot be null"));
    };
    let bounds = match a.get(2) {
        None => None,
        Some(Datum::Array(bounds)) => Some(bounds),
        Some(_) => {
            return Err(SqlError::new(SqlState::NullValueNotAllowed, "dimension array or low bound array cannot be null"));
        }
    };
    let subscripts = |detail: &str| {
        Err(SqlError::new(SqlState::ArraySubscriptError, "wrong number of array subscripts").with_detail(detail))
    };
    if lengths.dimensions().len() > 1 {
        return subscripts("Dimension array must be one dimensional.");
    }
    if lengths.elements().iter().chain(bounds.iter().flat_map(|b| b.elements())).any(Datum::is_null) {
        return Err(SqlError::new(SqlState::NullValueNotAllowed, "dimension values cannot be null"));
    }
    if let Some(bounds) = bounds {
        if bounds.dimensions().len() > 1 {
            return subscripts("Dimension array must be one dimensional.");
        }
        if bounds.len() != lengths.len() {
            return subscripts("Low bound array has different size than dimensions array.");
        }
    }
    if lengths.is_empty() {
        return Ok(Datum::Array(Array::from_elements(Vec::new()).into()));
    }
    let mut dimensions = Vec::new();
    let mut total = 1_usize;
    for (at, length) in lengths.elements().iter().enumerate() {
        let null = || SqlError::new(SqlState::NullValueNotAllowed, "dimension values cannot be null");
        let length = u32::try_from(length.as_int().ok_or_else(null)?)
            .map_err(|_| SqlError::new(SqlState::ArraySubscriptError, "array size exceeds the maximum allowed"))?;
        let lower = bounds.and_then(|b| b.elements().get(at)).and_then(Datum::as_int).unwrap_or(1);
        total = total.saturating_mul(length as usize);
        dimensions.push(types::array::Dimension { length, lower_bound: lower as i32 });
    }
    if total == 0 {
        return Ok(Datum::Array(Array::from_elements(Vec::new()).into()));
    }
    if total > 134_217_727 {
        return Err(SqlError::new(SqlState::ProgramLimitExceeded, "array size exceeds the maximum allowed (134217727)"));
    }
    check_length(context, total * size_of::<Datum>())?;
    Ok(Datum::Array(Array::with_dimensions(&dimensions, vec![a[0].clone(); total])?.into()))
}

fn trim(a: &[Datum]) -> SqlResult<Datum> {
    let (value, count) = (array(&a[0]), int(&a[1]));
    let mut dimensions = value.dimensions().to_vec();
    let length = dimensions.first().map_or(0, |d| d.length);
    if count < 0 || count > i64::from(length) {
        let message = format!("number of elements to trim must be between 0 and {length}");
        return Err(SqlError::new(SqlState::ArraySubscriptError, message));
    }
    if count == i64::from(length) {
        return Ok(Datum::Array(Array::from_elements(Vec::new()).into()));
    }
    let slice = value.len() / length as usize;
    dimensions[0].length -= count as u32;
    // Trimmed arrays are slices, and slices count from 1.
    dimensions.iter_mut().for_each(|d| d.lower_bound = 1);
    let kept = value.elements()[..value.len() - count as usize * slice].to_vec();
    Ok(Datum::Array(Array::with_dimensions(&dimensions, kept)?.into()))
}

pub(super) static FUNCTIONS: &[Builtin] = &[
    Builtin::pure("array_length", 2176, &[ARRAY, I4], R_I4, |_, _, a| {
        Ok(dimension(a).map_or(Datum::Null, |d| Datum::Int(i64::from(d.length))))
    }),
    Builtin::pure("array_lower", 2091, &[ARRAY, I4], R_I4, |_, _, a| {
        Ok(dimension(a).map_or(Datum::Null, |d| Datum::Int(i64::from(d.lower_bound))))
    }),
    Builtin::pure("array_upper", 2092, &[ARRAY, I4], R_I4, |_, _, a| {
        Ok(dimension(a).map_or(Datum::Null, |d| Datum::Int(i64::from(d.lower_bound) + i64::from(d.length) - 1)))
    }),
    Builtin::pure("array_ndims", 748, &[ARRAY], R_I4, |_, _, a| {
        let count = array(&a[0]).dimensions().len();
        Ok(if count == 0 { Datum::Null } else { Datum::Int(count as i64) })
    }),
    Builtin::pure("array_dims", 747, &[ARRAY], R_TEXT, |_, _, a| {
        let bounds = array(&a[0]).dimensions().iter();
        let shown: String =
            bounds.map(|d| format!("[{}:{}]", d.lower_bound, i64::from(d.lower_bound) + i64::from(d.length) - 1)).collect();
        Ok(if shown.is_empty() { Datum::Null } else { Datum::text(shown) })
    }),
    Builtin::pure("cardinality", 3179, &[ARRAY], R_I4, |_, _, a| Ok(Datum::Int(array(&a[0]).len() as i64))),
    Builtin::pure("array_append", 20_378, &[ARRAY, ELEMENT], RetType::AnyArray, |_, _, a| append(&a[0], &a[1], false)).null_aware(),
    Builtin::pure("array_prepend", 20_379, &[ELEMENT, ARRAY], RetType::AnyArray, |_, _, a| append(&a[1], &a[0], true)).null_aware(),
    Builtin::pure("array_cat", 20_383, &[ARRAY, ARRAY], RetType::AnyArray, |context, _, a| match (&a[0], &a[1]) {
        (Datum::Null, other) | (other, Datum::Null) => Ok(other.clone()),
        (left, right) => Ok(Datum::Array(concatenate(context, array(left), array(right))?.into())),
    })
    .null_aware(),
    Builtin::pure("array_position", 3277, &[ARRAY, ELEMENT], R_I4, |_, types, a| position(types, a)).null_aware(),
    Builtin::pure("array_position", 3278, &[ARRAY, ELEMENT, I4], R_I4, |_, types, a| position(types, a)).null_aware(),
    Builtin::pure("array_positions", 3279, &[ARRAY, ELEMENT], RetType::T(SqlType::INT4_ARRAY), |_, types, a| positions(types, a))
        .null_aware(),
    Builtin::pure("array_remove", 3167, &[ARRAY, ELEMENT], RetType::AnyArray, |_, types, a| remove(types, a)).null_aware(),
    Builtin::pure("array_replace", 3168, &[ARRAY, ELEMENT, ELEMENT], RetType::AnyArray, |_, types, a| replace(types, a)).null_aware(),
    Builtin::pure("array_fill", 1193, &[ELEMENT, ArgType::T(SqlType::INT4_ARRAY)], RetType::AnyArray, |context, _, a| fill(context, a)).null_aware(),
    Builtin::pure(
        "array_fill",
        1286,
        &[ELEMENT, ArgType::T(SqlType::INT4_ARRAY), ArgType::T(SqlType::INT4_ARRAY)],
        RetType::AnyArray,
        |context, _, a| fill(context, a),
    )
    .null_aware(),
    Builtin::pure("trim_array", 6172, &[ARRAY, I4], RetType::AnyArray, |_, _, a| trim(a)),
];
