//! What an enum type consists of. Documentation, section 9.10.

use types::{Array, Datum, EnumType, EnumValue, SqlError, SqlResult, SqlState};

use crate::signature::{ArgType, Builtin, CallTypes, RetType};

const ENUM: ArgType = ArgType::AnyEnum;

/// The type that the call is about: its argument may be NULL.
fn of_call(types: &CallTypes) -> SqlResult<EnumType> {
    let ty = types.args.first().and_then(types::SqlType::enum_type);
    ty.ok_or_else(|| SqlError::new(SqlState::FeatureNotSupported, "could not determine actual enum type"))
}

fn end(types: &CallTypes, last: bool) -> SqlResult<Datum> {
    let ty = of_call(types)?;
    let label = if last { ty.labels().last() } else { ty.labels().first() };
    let value = label.and_then(|label| ty.by_sort_key(&label.sort_key)).ok_or_else(|| {
        let message = format!("enum {} contains no values", ty.shown());
        SqlError::new(SqlState::ObjectNotInPrerequisiteState, message)
    })?;
    ty.settled(value)
}

fn range(types: &CallTypes, bounds: &[Datum]) -> SqlResult<Datum> {
    let ty = of_call(types)?;
    let key = |at: usize| match bounds.get(at) {
        Some(Datum::Enum(value)) => Some(EnumValue::sort_key(*value)),
        _ => None,
    };
    let (low, high) = (key(0), key(1));
    let is_in = |key: &[u8]| low.is_none_or(|low| low <= key) && high.is_none_or(|high| key <= high);
    let labels = ty.labels().iter().filter(|label| is_in(&label.sort_key));
    let values = labels.filter_map(|label| ty.by_sort_key(&label.sort_key)).map(|value| ty.settled(value));
    Ok(Datum::Array(Array::from_elements(values.collect::<SqlResult<_>>()?).into()))
}

pub(super) static FUNCTIONS: &[Builtin] = &[
    Builtin::pure("enum_first", 3528, &[ENUM], RetType::AnyEnum, |_, types, _| end(types, false)).null_aware().stable(),
    Builtin::pure("enum_last", 3529, &[ENUM], RetType::AnyEnum, |_, types, _| end(types, true)).null_aware().stable(),
    Builtin::pure("enum_range", 3530, &[ENUM, ENUM], RetType::AnyArray, |_, types, a| range(types, a)).null_aware().stable(),
    Builtin::pure("enum_range", 3531, &[ENUM], RetType::AnyArray, |_, types, _| range(types, &[])).null_aware().stable(),
];
