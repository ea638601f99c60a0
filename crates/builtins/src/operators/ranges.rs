//! Operators over ranges and multiranges. Documentation, section 9.20.
//!
//! Where a range is compared with a multirange, it is taken for a multirange of one range, or of none when it is empty: one
//! implementation serves the four pairs of operand types.

use types::{Datum, RangeType, SqlResult, SqlType, spans};

use crate::EvalContext;
use crate::arguments::range;
use crate::signature::{ArgType, Builtin, CallTypes, Operator, RetType};

const RANGE: ArgType = ArgType::AnyRange;
const MULTI: ArgType = ArgType::AnyMultiRange;
const ELEMENT: ArgType = ArgType::AnyElement;
const BOOL: RetType = RetType::T(SqlType::Bool);

type Eval = fn(&EvalContext<'_>, &CallTypes, &[Datum]) -> SqlResult<Datum>;

/// The range type of a call's ranges.
pub(crate) fn range_type(types: &CallTypes) -> RangeType {
    let found = types.args.iter().chain([&types.ret]).find_map(SqlType::range_type);
    found.expect("a call over ranges has one among its types")
}

const OVERLAP: Eval = |_, types, a| Ok(Datum::Bool(range_type(types).overlaps(spans(&a[0]), spans(&a[1]))));
const CONTAINS: Eval = |_, types, a| Ok(Datum::Bool(range_type(types).contains(spans(&a[0]), spans(&a[1]))));
const WITHIN: Eval = |_, types, a| Ok(Datum::Bool(range_type(types).contains(spans(&a[1]), spans(&a[0]))));
const HAS: Eval = |_, types, a| Ok(Datum::Bool(range_type(types).contains_element(spans(&a[0]), &a[1])));
const IS_IN: Eval = |_, types, a| Ok(Datum::Bool(range_type(types).contains_element(spans(&a[1]), &a[0])));
const BEFORE: Eval = |_, types, a| Ok(Datum::Bool(range_type(types).before(spans(&a[0]), spans(&a[1]))));
const AFTER: Eval = |_, types, a| Ok(Datum::Bool(range_type(types).before(spans(&a[1]), spans(&a[0]))));
const ENDS_WITHIN: Eval = |_, types, a| Ok(Datum::Bool(range_type(types).ends_within(spans(&a[0]), spans(&a[1]))));
const BEGINS_WITHIN: Eval = |_, types, a| Ok(Datum::Bool(range_type(types).begins_within(spans(&a[0]), spans(&a[1]))));
const ADJACENT: Eval = |_, types, a| Ok(Datum::Bool(range_type(types).adjacent(spans(&a[0]), spans(&a[1]))));

/// An operator that answers yes or no.
const fn asks(symbol: &'static str, oid: u32, name: &'static str, function: u32, args: &'static [ArgType], eval: Eval) -> Operator {
    Operator::new(symbol, oid, Builtin::pure(name, function, args, BOOL, eval))
}

/// An operator that makes a range or a multirange.
const fn makes(symbol: &'static str, oid: u32, name: &'static str, function: u32, ret: RetType, eval: Eval) -> Operator {
    let args: &'static [ArgType] = match ret {
        RetType::AnyRange => &[RANGE, RANGE],
        _ => &[MULTI, MULTI],
    };
    Operator::new(symbol, oid, Builtin::pure(name, function, args, ret, eval))
}

#[rustfmt::skip]
pub(super) static OPERATORS: &[Operator] = &[
    asks("&&", 3888, "range_overlaps", 3857, &[RANGE, RANGE], OVERLAP).commutes_with("&&"),
    asks("&&", 2866, "range_overlaps_multirange", 4246, &[RANGE, MULTI], OVERLAP).commutes_with("&&"),
    asks("&&", 2867, "multirange_overlaps_range", 4247, &[MULTI, RANGE], OVERLAP).commutes_with("&&"),
    asks("&&", 2868, "multirange_overlaps_multirange", 4248, &[MULTI, MULTI], OVERLAP).commutes_with("&&"),
    asks("@>", 3890, "range_contains", 3859, &[RANGE, RANGE], CONTAINS).commutes_with("<@"),
    asks("@>", 3889, "range_contains_elem", 3858, &[RANGE, ELEMENT], HAS).commutes_with("<@"),
    asks("@>", 4539, "range_contains_multirange", 4541, &[RANGE, MULTI], CONTAINS).commutes_with("<@"),
    asks("@>", 2871, "multirange_contains_multirange", 4251, &[MULTI, MULTI], CONTAINS).commutes_with("<@"),
    asks("@>", 2869, "multirange_contains_elem", 4249, &[MULTI, ELEMENT], HAS).commutes_with("<@"),
    asks("@>", 2870, "multirange_contains_range", 4250, &[MULTI, RANGE], CONTAINS).commutes_with("<@"),
    asks("<@", 3892, "range_contained_by", 3861, &[RANGE, RANGE], WITHIN).commutes_with("@>"),
    asks("<@", 3891, "elem_contained_by_range", 3860, &[ELEMENT, RANGE], IS_IN).commutes_with("@>"),
    asks("<@", 2873, "range_contained_by_multirange", 4253, &[RANGE, MULTI], WITHIN).commutes_with("@>"),
    asks("<@", 2874, "multirange_contained_by_multirange", 4254, &[MULTI, MULTI], WITHIN).commutes_with("@>"),
    asks("<@", 2872, "elem_contained_by_multirange", 4252, &[ELEMENT, MULTI], IS_IN).commutes_with("@>"),
    asks("<@", 4540, "multirange_contained_by_range", 4542, &[MULTI, RANGE], WITHIN).commutes_with("@>"),
    asks("<<", 3893, "range_before", 3863, &[RANGE, RANGE], BEFORE).commutes_with(">>"),
    asks("<<", 4395, "range_before_multirange", 4258, &[RANGE, MULTI], BEFORE).commutes_with(">>"),
    asks("<<", 4396, "multirange_before_range", 4259, &[MULTI, RANGE], BEFORE).commutes_with(">>"),
    asks("<<", 4397, "multirange_before_multirange", 4260, &[MULTI, MULTI], BEFORE).commutes_with(">>"),
    asks(">>", 3894, "range_after", 3864, &[RANGE, RANGE], AFTER).commutes_with("<<"),
    asks(">>", 4398, "range_after_multirange", 4261, &[RANGE, MULTI], AFTER).commutes_with("<<"),
    asks(">>", 4399, "multirange_after_range", 4262, &[MULTI, RANGE], AFTER).commutes_with("<<"),
    asks(">>", 4400, "multirange_after_multirange", 4263, &[MULTI, MULTI], AFTER).commutes_with("<<"),
    asks("&<", 3895, "range_overleft", 3865, &[RANGE, RANGE], ENDS_WITHIN),
    asks("&<", 2875, "range_overleft_multirange", 4264, &[RANGE, MULTI], ENDS_WITHIN),
    asks("&<", 2876, "multirange_overleft_range", 4265, &[MULTI, RANGE], ENDS_WITHIN),
    asks("&<", 2877, "multirange_overleft_multirange", 4266, &[MULTI, MULTI], ENDS_WITHIN),
    asks("&>", 3896, "range_overright", 3866, &[RANGE, RANGE], BEGINS_WITHIN),
    asks("&>", 3585, "range_overright_multirange", 4267, &[RANGE, MULTI], BEGINS_WITHIN),
    asks("&>", 4035, "multirange_overright_range", 4268, &[MULTI, RANGE], BEGINS_WITHIN),
    asks("&>", 4142, "multirange_overright_multirange", 4269, &[MULTI, MULTI], BEGINS_WITHIN),
    asks("-|-", 3897, "range_adjacent", 3862, &[RANGE, RANGE], ADJACENT).commutes_with("-|-"),
    asks("-|-", 4179, "range_adjacent_multirange", 4255, &[RANGE, MULTI], ADJACENT).commutes_with("-|-"),
    asks("-|-", 4180, "multirange_adjacent_range", 4257, &[MULTI, RANGE], ADJACENT).commutes_with("-|-"),
    asks("-|-", 4198, "multirange_adjacent_multirange", 4256, &[MULTI, MULTI], ADJACENT).commutes_with("-|-"),
    makes("+", 3898, "range_union", 3867, RetType::AnyRange, |_, types, a| {
        Ok(Datum::range(range_type(types).union(range(&a[0]), range(&a[1]))?))
    })
    .commutes_with("+"),
    makes("-", 3899, "range_minus", 3869, RetType::AnyRange, |_, types, a| {
        Ok(Datum::range(range_type(types).difference(range(&a[0]), range(&a[1]))?))
    }),
    makes("*", 3900, "range_intersect", 3868, RetType::AnyRange, |_, types, a| {
        Ok(Datum::range(range_type(types).intersection(range(&a[0]), range(&a[1]))?))
    })
    .commutes_with("*"),
    makes("+", 4392, "multirange_union", 4270, RetType::AnyMultiRange, |_, types, a| {
        let all = spans(&a[0]).iter().chain(spans(&a[1])).cloned().collect();
        Ok(Datum::multirange(range_type(types).normalize(all)))
    })
    .commutes_with("+"),
    makes("-", 4393, "multirange_minus", 4271, RetType::AnyMultiRange, |_, types, a| {
        Ok(Datum::multirange(range_type(types).without(spans(&a[0]), spans(&a[1]))?))
    }),
    makes("*", 4394, "multirange_intersect", 4272, RetType::AnyMultiRange, |_, types, a| {
        Ok(Datum::multirange(range_type(types).common(spans(&a[0]), spans(&a[1]))?))
    })
    .commutes_with("*"),
];
