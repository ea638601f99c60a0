//! Functions over ranges and multiranges, and what makes them. Documentation, section 9.20 and 8.17.

use types::text::parse_flags;
use types::{Bound, Datum, RangeType, SqlError, SqlResult, SqlState, SqlType, compare, spans};

use crate::EvalContext;
use crate::arguments::{float, int, moment, numeric, range, text};
use crate::operators::ranges::range_type;
use crate::signature::{ArgType, Builtin, CallTypes, RetType, SetFunction};

const RANGE: ArgType = ArgType::AnyRange;
const MULTI: ArgType = ArgType::AnyMultiRange;
const BOOL: RetType = RetType::T(SqlType::Bool);
const TEXT: ArgType = ArgType::T(SqlType::Text);

type Eval = fn(&EvalContext<'_>, &CallTypes, &[Datum]) -> SqlResult<Datum>;

fn lower(datum: &Datum) -> Option<&Bound> {
    spans(datum).first()?.bounds().map(|(lower, _)| lower)
}

fn upper(datum: &Datum) -> Option<&Bound> {
    spans(datum).last()?.bounds().map(|(_, upper)| upper)
}

fn value(bound: Option<&Bound>) -> Datum {
    bound.and_then(|it| it.value.clone()).unwrap_or(Datum::Null)
}

const LOWER: Eval = |_, _, a| Ok(value(lower(&a[0])));
const UPPER: Eval = |_, _, a| Ok(value(upper(&a[0])));
const IS_EMPTY: Eval = |_, _, a| Ok(Datum::Bool(spans(&a[0]).is_empty()));
const LOWER_INC: Eval = |_, _, a| Ok(Datum::Bool(lower(&a[0]).is_some_and(|it| it.inclusive)));
const UPPER_INC: Eval = |_, _, a| Ok(Datum::Bool(upper(&a[0]).is_some_and(|it| it.inclusive)));
const LOWER_INF: Eval = |_, _, a| Ok(Datum::Bool(lower(&a[0]).is_some_and(|it| it.value.is_none())));
const UPPER_INF: Eval = |_, _, a| Ok(Datum::Bool(upper(&a[0]).is_some_and(|it| it.value.is_none())));
const ORDER: Eval = |_, types, a| Ok(Datum::Int(compare(&types.args[0], &a[0], &a[1]) as i64));

/// A range of two bounds, NULL for none; the third argument says which of them it takes in.
const SPAN: Eval = |_, types, a| {
    let flags = match a.get(2) {
        None => (true, false),
        Some(Datum::Null) => {
            return Err(SqlError::new(SqlState::DataException, "range constructor flags argument must not be null"));
        }
        Some(flags) => parse_flags(text(flags))?,
    };
    let bound = |datum: &Datum, inclusive| Bound::new((!datum.is_null()).then(|| datum.clone()), inclusive);
    Ok(Datum::range(range_type(types).make(bound(&a[0], flags.0), bound(&a[1], flags.1))?))
};

/// A multirange of any number of ranges.
const SEVERAL: Eval = |_, types, a| {
    if a.iter().any(Datum::is_null) {
        return Err(SqlError::new(SqlState::NullValueNotAllowed, "multirange values cannot contain null members"));
    }
    Ok(Datum::multirange(range_type(types).normalize(a.iter().flat_map(spans).cloned().collect())))
};

const ONE: Eval = |_, _, a| Ok(Datum::multirange(spans(&a[0]).to_vec()));

fn never(_: &EvalContext<'_>, _: &CallTypes, _: &[Datum]) -> SqlResult<Datum> {
    Err(SqlError::internal("a set-returning function was called as a scalar"))
}

const UNNEST: SetFunction =
    SetFunction { columns: &[], eval: |_, _, a| Ok(spans(&a[0]).iter().map(|it| vec![Datum::range(it.clone())]).collect()) };

/// How far apart two bounds are, for `subtype_diff`.
const fn distance(name: &'static str, oid: u32, args: &'static [ArgType], eval: Eval) -> Builtin {
    Builtin::pure(name, oid, args, RetType::T(SqlType::Float8), eval)
}

/// The canonical form: what a value has already.
const fn canonical(name: &'static str, oid: u32, args: &'static [ArgType], ret: SqlType) -> Builtin {
    Builtin::pure(name, oid, args, RetType::T(ret), |_, _, a| Ok(a[0].clone()))
}

const I4: ArgType = ArgType::T(SqlType::Int4);
const I8: ArgType = ArgType::T(SqlType::Int8);
const NUMERIC: ArgType = ArgType::T(SqlType::NUMERIC);
const DATE: ArgType = ArgType::T(SqlType::Date);
const TS: ArgType = ArgType::T(SqlType::TIMESTAMP);
const TSTZ: ArgType = ArgType::T(SqlType::TIMESTAMPTZ);
const SECONDS: Eval = |_, _, a| Ok(Datum::Float((moment(&a[0]) as f64 - moment(&a[1]) as f64) / 1e6));
const STEPS: Eval = |_, _, a| Ok(Datum::Float(int(&a[0]) as f64 - int(&a[1]) as f64));

pub(super) static FUNCTIONS: &[Builtin] = &[
    Builtin::pure("lower", 3848, &[RANGE], RetType::AnyElement, LOWER),
    Builtin::pure("lower", 4235, &[MULTI], RetType::AnyElement, LOWER),
    Builtin::pure("upper", 3849, &[RANGE], RetType::AnyElement, UPPER),
    Builtin::pure("upper", 4236, &[MULTI], RetType::AnyElement, UPPER),
    Builtin::pure("isempty", 3850, &[RANGE], BOOL, IS_EMPTY),
    Builtin::pure("isempty", 4237, &[MULTI], BOOL, IS_EMPTY),
    Builtin::pure("lower_inc", 3851, &[RANGE], BOOL, LOWER_INC),
    Builtin::pure("lower_inc", 4238, &[MULTI], BOOL, LOWER_INC),
    Builtin::pure("upper_inc", 3852, &[RANGE], BOOL, UPPER_INC),
    Builtin::pure("upper_inc", 4239, &[MULTI], BOOL, UPPER_INC),
    Builtin::pure("lower_inf", 3853, &[RANGE], BOOL, LOWER_INF),
    Builtin::pure("lower_inf", 4240, &[MULTI], BOOL, LOWER_INF),
    Builtin::pure("upper_inf", 3854, &[RANGE], BOOL, UPPER_INF),
    Builtin::pure("upper_inf", 4241, &[MULTI], BOOL, UPPER_INF),
    Builtin::pure("range_cmp", 3870, &[RANGE, RANGE], RetType::T(SqlType::Int4), ORDER),
    Builtin::pure("multirange_cmp", 4273, &[MULTI, MULTI], RetType::T(SqlType::Int4), ORDER),
    Builtin::pure("range_merge", 4057, &[RANGE, RANGE], RetType::AnyRange, |_, types, a| {
        Ok(Datum::range(range_type(types).merge(&[range(&a[0]).clone(), range(&a[1]).clone()])))
    }),
    Builtin::pure("range_merge", 4228, &[MULTI], RetType::AnyRange, |_, types, a| {
        Ok(Datum::range(range_type(types).merge(spans(&a[0]))))
    }),
    Builtin::pure("multirange", 4298, &[RANGE], RetType::AnyMultiRange, ONE),
    Builtin::pure("unnest", 1293, &[MULTI], RetType::AnyRange, never).returning_set(UNNEST),
    distance("int4range_subdiff", 3922, &[I4, I4], STEPS),
    distance("int8range_subdiff", 3923, &[I8, I8], STEPS),
    distance("numrange_subdiff", 3924, &[NUMERIC, NUMERIC], |_, _, a| {
        Ok(Datum::Float(numeric(&a[0]).sub(numeric(&a[1]))?.to_f64_checked()?))
    }),
    distance("daterange_subdiff", 3925, &[DATE, DATE], |_, _, a| {
        Ok(Datum::Float(moment(&a[0]) as f64 - moment(&a[1]) as f64))
    }),
    distance("tsrange_subdiff", 3929, &[TS, TS], SECONDS),
    distance("tstzrange_subdiff", 3930, &[TSTZ, TSTZ], SECONDS),
    distance("float8mi", 219, &[ArgType::T(SqlType::Float8), ArgType::T(SqlType::Float8)], |_, _, a| {
        Ok(Datum::Float(float(&a[0]) - float(&a[1])))
    }),
    canonical("int4range_canonical", 3914, &[ArgType::T(SqlType::Range(RangeType::Int4))], SqlType::Range(RangeType::Int4)),
    canonical("int8range_canonical", 3928, &[ArgType::T(SqlType::Range(RangeType::Int8))], SqlType::Range(RangeType::Int8)),
    canonical("daterange_canonical", 3915, &[ArgType::T(SqlType::Range(RangeType::Date))], SqlType::Range(RangeType::Date)),
];

/// What makes ranges and multiranges of one built-in type: oids of the range with two and with three arguments, of the
/// multirange with none, one and any number.
macro_rules! constructors {
    ($($of:ident, $subtype:expr, $range:literal, $multirange:literal, [$two:literal, $three:literal, $none:literal, $one:literal, $any:literal];)*) => {
        &[$(
            Builtin::pure($range, $two, &[ArgType::T($subtype), ArgType::T($subtype)], RetType::T(SqlType::Range(RangeType::$of)), SPAN)
                .null_aware(),
            Builtin::pure($range, $three, &[ArgType::T($subtype), ArgType::T($subtype), TEXT], RetType::T(SqlType::Range(RangeType::$of)), SPAN)
                .null_aware(),
            Builtin::pure($multirange, $none, &[], RetType::T(SqlType::MultiRange(RangeType::$of)), SEVERAL),
            Builtin::pure($multirange, $one, &[ArgType::T(SqlType::Range(RangeType::$of))], RetType::T(SqlType::MultiRange(RangeType::$of)), ONE),
            Builtin::pure($multirange, $any, &[ArgType::T(SqlType::Range(RangeType::$of))], RetType::T(SqlType::MultiRange(RangeType::$of)), SEVERAL)
                .variadic()
                .null_aware(),
        )*]
    };
}

pub(super) static CONSTRUCTORS: &[Builtin] = constructors! {
    Int4, SqlType::Int4, "int4range", "int4multirange", [3840, 3841, 4280, 4281, 4282];
    Numeric, SqlType::NUMERIC, "numrange", "nummultirange", [3844, 3845, 4283, 4284, 4285];
    Timestamp, SqlType::TIMESTAMP, "tsrange", "tsmultirange", [3933, 3934, 4286, 4287, 4288];
    TimestampTz, SqlType::TIMESTAMPTZ, "tstzrange", "tstzmultirange", [3937, 3938, 4289, 4290, 4291];
    Date, SqlType::Date, "daterange", "datemultirange", [3941, 3942, 4292, 4293, 4294];
    Int8, SqlType::Int8, "int8range", "int8multirange", [3945, 3946, 4295, 4296, 4297];
};

/// Those of range types that users made: the call's result says of which. No name leads to them, and they have no oids.
static SPAN_OF_MADE: Builtin = Builtin::pure("range", 0, &[], RetType::AnyRange, SPAN).null_aware();
static ONE_OF_MADE: Builtin = Builtin::pure("multirange", 0, &[], RetType::AnyMultiRange, ONE);
static SEVERAL_OF_MADE: Builtin = Builtin::pure("multirange", 0, &[], RetType::AnyMultiRange, SEVERAL).null_aware();

/// What makes a range or multirange of a type that a user made, and the types that it takes.
#[must_use]
pub fn range_constructor(ty: SqlType, argument_count: usize) -> Option<(&'static Builtin, CallTypes)> {
    let (builtin, args): (&'static Builtin, Vec<SqlType>) = match (ty, argument_count) {
        (SqlType::Range(of), 2) => (&SPAN_OF_MADE, vec![of.subtype(); 2]),
        (SqlType::Range(of), 3) => (&SPAN_OF_MADE, vec![of.subtype(), of.subtype(), SqlType::Text]),
        (SqlType::MultiRange(of), 1) => (&ONE_OF_MADE, vec![SqlType::Range(of)]),
        (SqlType::MultiRange(of), count) => (&SEVERAL_OF_MADE, vec![SqlType::Range(of); count]),
        _ => return None,
    };
    Some((builtin, CallTypes { args: args.into(), ret: ty }))
}
