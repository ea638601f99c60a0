//! Containment, overlap and concatenation of arrays. Documentation, section 9.19.

use types::{Array, Datum, SqlError, SqlResult, SqlState, SqlType, sql_equal};

use crate::EvalContext;
use crate::arguments::array;
use crate::operators::strings::check_length;
use crate::signature::{ArgType, Builtin, CallTypes, Operator, RetType};

const ARRAY: ArgType = ArgType::AnyArray;
const BOOL: RetType = RetType::T(SqlType::Bool);

fn element_type(types: &CallTypes, position: usize) -> SqlType {
    types.args[position].element().expect("an array argument has an element type")
}

/// Every element of `inner` occurs in `outer`; NULL is contained in nothing.
fn contains(ty: &SqlType, outer: &Array, inner: &Array) -> bool {
    let found = |wanted: &Datum| outer.elements().iter().any(|element| !element.is_null() && sql_equal(ty, element, wanted));
    inner.elements().iter().all(|wanted| !wanted.is_null() && found(wanted))
}

fn overlaps(ty: &SqlType, a: &Array, b: &Array) -> bool {
    let in_b = |wanted: &Datum| b.elements().iter().any(|element| !element.is_null() && sql_equal(ty, element, wanted));
    a.elements().iter().any(|element| !element.is_null() && in_b(element))
}

/// One-dimensional concatenation, or of an n-dimensional array with its slices.
pub(crate) fn concatenate(context: &EvalContext<'_>, a: &Array, b: &Array) -> SqlResult<Array> {
    if a.is_empty() {
        return Ok(b.clone());
    }
    if b.is_empty() {
        return Ok(a.clone());
    }
    let incompatible = || {
        SqlError::new(SqlState::ArraySubscriptError, "cannot concatenate incompatible arrays")
            .with_detail("Arrays with differing dimensions are not compatible for concatenation.")
    };
    let (da, db) = (a.dimensions(), b.dimensions());
    check_length(context, (a.len() + b.len()) * size_of::<Datum>())?;
    let elements: Vec<Datum> = a.elements().iter().chain(b.elements()).cloned().collect();
    let mut dimensions = if da.len() >= db.len() { da.to_vec() } else { db.to_vec() };
    let inner = |dimensions: &[types::array::Dimension]| {
        dimensions.iter().map(|d| (d.length, d.lower_bound)).collect::<Vec<_>>()
    };
    if da.len() == db.len() && inner(&da[1..]) == inner(&db[1..]) {
        dimensions[0].length = da[0].length + db[0].length;
    } else if da.len() == db.len() + 1 && inner(&da[1..]) == inner(db) {
        dimensions[0].length = da[0].length + 1;
    } else if db.len() == da.len() + 1 && inner(&db[1..]) == inner(da) {
        dimensions[0].length = db[0].length + 1;
    } else {
        return Err(incompatible());
    }
    Array::with_dimensions(&dimensions, elements)
}

/// `array || element`; a NULL array is an empty one.
pub(crate) fn append(base: &Datum, element: &Datum, at_front: bool) -> SqlResult<Datum> {
    let Datum::Array(base) = base else {
        return Ok(Datum::Array(Array::from_elements(vec![element.clone()]).into()));
    };
    let mut dimension = match base.dimensions() {
        [] => types::array::Dimension { length: 0, lower_bound: 1 },
        [one] => *one,
        _ => {
            return Err(SqlError::new(SqlState::DataException, "argument must be empty or one-dimensional array"));
        }
    };
    dimension.length += 1;
    let element = std::iter::once(element.clone());
    let base = base.elements().iter().cloned();
    let elements = if at_front { element.chain(base).collect() } else { base.chain(element).collect() };
    Ok(Datum::Array(Array::with_dimensions(&[dimension], elements)?.into()))
}

pub(super) static OPERATORS: &[Operator] = &[
    Operator::new("@>", 2751, Builtin::pure("arraycontains", 2748, &[ARRAY, ARRAY], BOOL, |_, types, a| {
        Ok(Datum::Bool(contains(&element_type(types, 0), array(&a[0]), array(&a[1]))))
    }))
    .commutes_with("<@"),
    Operator::new("<@", 2752, Builtin::pure("arraycontained", 2749, &[ARRAY, ARRAY], BOOL, |_, types, a| {
        Ok(Datum::Bool(contains(&element_type(types, 0), array(&a[1]), array(&a[0]))))
    }))
    .commutes_with("@>"),
    Operator::new("&&", 2750, Builtin::pure("arrayoverlap", 2747, &[ARRAY, ARRAY], BOOL, |_, types, a| {
        Ok(Datum::Bool(overlaps(&element_type(types, 0), array(&a[0]), array(&a[1]))))
    }))
    .commutes_with("&&"),
    Operator::new(
        "||",
        375,
        Builtin::pure("array_cat", 383, &[ARRAY, ARRAY], RetType::AnyArray, |context, _, a| match (&a[0], &a[1]) {
            (Datum::Null, other) | (other, Datum::Null) => Ok(other.clone()),
            (left, right) => Ok(Datum::Array(concatenate(context, array(left), array(right))?.into())),
        })
        .null_aware(),
    ),
    Operator::new(
        "||",
        349,
        Builtin::pure("array_append", 378, &[ARRAY, ArgType::AnyElement], RetType::AnyArray, |_, _, a| append(&a[0], &a[1], false))
            .null_aware(),
    ),
    Operator::new(
        "||",
        374,
        Builtin::pure("array_prepend", 379, &[ArgType::AnyElement, ARRAY], RetType::AnyArray, |_, _, a| append(&a[1], &a[0], true))
            .null_aware(),
    ),
];
