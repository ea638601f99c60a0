//! `= <> < <= > >=` for every type with an order. Documentation, section 9.2.

use std::cmp::Ordering;
use std::sync::Arc;

use types::{Datum, SqlError, SqlResult, SqlState, SqlType, compare, compare_records};

use crate::EvalContext;
use crate::arguments::{int, text};
use crate::signature::{ArgType, Builtin, CallTypes, Operator, RetType};

pub(crate) type Eval = fn(&EvalContext<'_>, &CallTypes, &[Datum]) -> SqlResult<Datum>;

/// Records of two types: their columns must be of one type, as far as they are compared.
fn order_of_unlike(types: &CallTypes, a: &[Datum], b: &[Datum]) -> SqlResult<Ordering> {
    let compare_first = |count: usize| {
        let first = |fields: &[Datum]| Datum::Record(fields[..count].into());
        compare_records(&types.args[0], &first(a), &first(b))
    };
    let whole = |fields: &[Datum]| Datum::Record(fields.into());
    let (Some(left), Some(right)) = (types.args[0].row_type(), types.args[1].row_type()) else {
        return compare_records(&types.args[0], &whole(a), &whole(b));
    };
    // A literal in a record was nothing before it was text.
    let is_unlike = |((_, left), (_, right)): (&(Arc<str>, SqlType), &(Arc<str>, SqlType))| !left.same_base(right);
    match left.fields.iter().zip(&right.fields).position(is_unlike) {
        None => compare_records(&types.args[0], &whole(a), &whole(b)),
        Some(at) => match compare_first(at)? {
            Ordering::Equal => {
                let [left, right] = [&left, &right].map(|row| row.fields[at].1.base_name());
                let place = at + 1;
                Err(SqlError::new(
                    SqlState::DatatypeMismatch,
                    format!("cannot compare dissimilar column types {left} and {right} at record column {place}"),
                ))
            }
            order => Ok(order),
        },
    }
}

/// What an equality says of a type without an order.
fn is_equal(types: &CallTypes, args: &[Datum]) -> SqlResult<bool> {
    let order = order(types, args).map_err(|error| match error.message().strip_prefix("could not identify a comparison function") {
        Some(rest) => SqlError::new(error.code(), format!("could not identify an equality operator{rest}")),
        None => error,
    });
    Ok(order?.is_eq())
}

fn order(types: &CallTypes, args: &[Datum]) -> SqlResult<Ordering> {
    match args {
        [Datum::Record(a), Datum::Record(b)] if types.args[0] != types.args[1] => order_of_unlike(types, a, b),
        [Datum::Record(_) | Datum::Array(_), Datum::Record(_) | Datum::Array(_)] => {
            compare_records(&types.args[0], &args[0], &args[1])
        }
        _ => Ok(compare(&types.args[0], &args[0], &args[1])),
    }
}

pub(super) const EQ: Eval = |_, types, args| Ok(Datum::Bool(is_equal(types, args)?));
pub(super) const NE: Eval = |_, types, args| Ok(Datum::Bool(!is_equal(types, args)?));
pub(super) const LT: Eval = |_, types, args| Ok(Datum::Bool(order(types, args)?.is_lt()));
pub(super) const LE: Eval = |_, types, args| Ok(Datum::Bool(order(types, args)?.is_le()));
pub(super) const GT: Eval = |_, types, args| Ok(Datum::Bool(order(types, args)?.is_gt()));
pub(super) const GE: Eval = |_, types, args| Ok(Datum::Bool(order(types, args)?.is_ge()));

const BOOL: RetType = RetType::T(SqlType::Bool);

/// The six operators of one type, or of two. `$oids` are PostgreSQL's, in the order `= <> < > <= >=`.
macro_rules! six {
    (@right $left:expr) => { $left };
    (@right $left:expr, $right:expr) => { $right };
    ($($prefix:literal, $left:expr $(=> $right:expr)?, [$eq:literal, $ne:literal, $lt:literal, $gt:literal, $le:literal, $ge:literal];)*) => {
        &[$(
            Operator::new("=", $eq, Builtin::pure(concat!($prefix, "eq"), 20_000 + $eq, &[$left, six!(@right $left $(, $right)?)], BOOL, EQ))
                .commutes_with("=").negated_by("<>"),
            Operator::new("<>", $ne, Builtin::pure(concat!($prefix, "ne"), 20_000 + $ne, &[$left, six!(@right $left $(, $right)?)], BOOL, NE))
                .commutes_with("<>").negated_by("="),
            Operator::new("<", $lt, Builtin::pure(concat!($prefix, "lt"), 20_000 + $lt, &[$left, six!(@right $left $(, $right)?)], BOOL, LT))
                .commutes_with(">").negated_by(">="),
            Operator::new(">", $gt, Builtin::pure(concat!($prefix, "gt"), 20_000 + $gt, &[$left, six!(@right $left $(, $right)?)], BOOL, GT))
                .commutes_with("<").negated_by("<="),
            Operator::new("<=", $le, Builtin::pure(concat!($prefix, "le"), 20_000 + $le, &[$left, six!(@right $left $(, $right)?)], BOOL, LE))
                .commutes_with(">=").negated_by(">"),
            Operator::new(">=", $ge, Builtin::pure(concat!($prefix, "ge"), 20_000 + $ge, &[$left, six!(@right $left $(, $right)?)], BOOL, GE))
                .commutes_with("<=").negated_by("<"),
        )*]
    };
}

pub(super) static OPERATORS: &[Operator] = six! {
    "bool", ArgType::T(SqlType::Bool), [91, 85, 58, 59, 1694, 1695];
    "char", ArgType::T(SqlType::QuotedChar), [92, 630, 631, 633, 632, 634];
    "name", ArgType::T(SqlType::Name), [93, 643, 660, 662, 661, 663];
    "int2", ArgType::T(SqlType::Int2), [94, 519, 95, 520, 522, 524];
    "int4", ArgType::T(SqlType::Int4), [96, 518, 97, 521, 523, 525];
    "int8", ArgType::T(SqlType::Int8), [410, 411, 412, 413, 414, 415];
    "text", ArgType::T(SqlType::Text), [98, 531, 664, 666, 665, 667];
    "bpchar", ArgType::T(SqlType::BPCHAR), [1054, 1057, 1058, 1060, 1059, 1061];
    "oid", ArgType::T(SqlType::Oid), [607, 608, 609, 610, 611, 612];
    "float4", ArgType::T(SqlType::Float4), [620, 621, 622, 623, 624, 625];
    "float48", ArgType::T(SqlType::Float4) => ArgType::T(SqlType::Float8), [1120, 1121, 1122, 1123, 1124, 1125];
    "float84", ArgType::T(SqlType::Float8) => ArgType::T(SqlType::Float4), [1130, 1131, 1132, 1133, 1134, 1135];
    "float8", ArgType::T(SqlType::Float8), [670, 671, 672, 674, 673, 675];
    "numeric_", ArgType::T(SqlType::NUMERIC), [1752, 1753, 1754, 1756, 1755, 1757];
    "bytea", ArgType::T(SqlType::Bytea), [1955, 1956, 1957, 1959, 1958, 1960];
    "date_", ArgType::T(SqlType::Date), [1093, 1094, 1095, 1097, 1096, 1098];
    "time_", ArgType::T(SqlType::TIME), [1108, 1109, 1110, 1112, 1111, 1113];
    "timetz_", ArgType::T(SqlType::TIMETZ), [1550, 1551, 1552, 1554, 1553, 1555];
    "timestamp_", ArgType::T(SqlType::TIMESTAMP), [2060, 2061, 2062, 2064, 2063, 2065];
    "timestamptz_", ArgType::T(SqlType::TIMESTAMPTZ), [1320, 1321, 1322, 1324, 1323, 1325];
    "interval_", ArgType::T(SqlType::Interval), [1330, 1331, 1332, 1334, 1333, 1335];
    "network_", ArgType::T(SqlType::Inet), [1201, 1202, 1203, 1205, 1204, 1206];
    "macaddr_", ArgType::T(SqlType::MacAddr), [1220, 1221, 1222, 1224, 1223, 1225];
    "uuid_", ArgType::T(SqlType::Uuid), [2972, 2973, 2974, 2975, 2976, 2977];
    "jsonb_", ArgType::T(SqlType::Jsonb), [3240, 3241, 3242, 3243, 3244, 3245];
    "oidvector", ArgType::T(SqlType::OidVector), [649, 644, 645, 646, 647, 648];
    "bit", ArgType::T(SqlType::BIT), [1784, 1785, 1786, 1787, 1788, 1789];
    "varbit", ArgType::T(SqlType::VARBIT), [1804, 1805, 1806, 1807, 1808, 1809];
    "cash_", ArgType::T(SqlType::Money), [900, 901, 902, 903, 904, 905];
    "macaddr8_", ArgType::T(SqlType::MacAddr8), [3362, 3363, 3364, 3366, 3365, 3367];
    "pg_lsn_", ArgType::T(SqlType::PgLsn), [3222, 3223, 3224, 3225, 3226, 3227];
    "tsvector_", ArgType::T(SqlType::TsVector), [3629, 3630, 3627, 3632, 3628, 3631];
    "tsquery_", ArgType::T(SqlType::TsQuery), [3676, 3677, 3674, 3679, 3675, 3678];
    "xid8", ArgType::T(SqlType::Xid8), [5068, 5072, 5073, 5074, 5075, 5076];
    "enum_", ArgType::AnyEnum, [3516, 3517, 3518, 3519, 3520, 3521];
    "multirange_", ArgType::AnyMultiRange, [2860, 2861, 2862, 2865, 2863, 2864];
    "range_", ArgType::AnyRange, [3882, 3883, 3884, 3887, 3885, 3886];
    "array_", ArgType::AnyArray, [1070, 1071, 1072, 1073, 1074, 1075];
    "record_", ArgType::T(SqlType::RECORD), [2988, 2989, 2990, 2991, 2992, 2993];
};

const XID: ArgType = ArgType::T(SqlType::Xid);
const INT4: ArgType = ArgType::T(SqlType::Int4);
const TEXT: ArgType = ArgType::T(SqlType::Text);
const BPCHAR: ArgType = ArgType::T(SqlType::BPCHAR);
const RECORD: ArgType = ArgType::T(SqlType::RECORD);

/// What a record is as bytes: like [`compare`] but that values which are equal and print differently differ, and that a
/// shorter record comes before one that it begins.
pub(crate) fn image_order(types: &CallTypes, args: &[Datum]) -> Ordering {
    let fields = |at: usize| match &args[at] {
        Datum::Record(fields) => (fields.clone(), types.args[at].row_type()),
        other => panic!("datum-matches-type: a record expected, {other:?} given"),
    };
    let ((a, of_a), (b, of_b)) = (fields(0), fields(1));
    let image = |row: &Option<Arc<types::RowType>>, at: usize, field: &Datum| {
        let ty = row.as_ref().and_then(|row| row.fields.get(at)).map_or_else(|| field.implied_type(), |(_, ty)| *ty);
        let mut image = Vec::new();
        types::write_binary(&ty, field, &mut image);
        image
    };
    for (at, (left, right)) in a.iter().zip(b.iter()).enumerate() {
        let order = match (left.is_null(), right.is_null()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => image(&of_a, at, left).cmp(&image(&of_b, at, right)),
        };
        if order.is_ne() {
            return order;
        }
    }
    a.len().cmp(&b.len())
}

fn character_order(a: &[Datum]) -> Ordering {
    text(&a[0]).as_bytes().cmp(text(&a[1]).as_bytes())
}

fn padded_order(a: &[Datum]) -> Ordering {
    let kept = |datum: &Datum| text(datum).trim_end_matches(' ').len();
    text(&a[0]).as_bytes()[..kept(&a[0])].cmp(&text(&a[1]).as_bytes()[..kept(&a[1])])
}

/// Beside the six of each type.
#[rustfmt::skip]
pub(super) static OTHERS: &[Operator] = &[
    // Transaction numbers are equal or not; they have no order.
    Operator::new("=", 352, Builtin::pure("xideq", 68, &[XID, XID], BOOL, EQ)).commutes_with("=").negated_by("<>"),
    Operator::new("<>", 3315, Builtin::pure("xidneq", 3308, &[XID, XID], BOOL, NE)).commutes_with("<>").negated_by("="),
    Operator::new("=", 353, Builtin::pure("xideqint4", 1319, &[XID, INT4], BOOL, |_, _, a| {
        Ok(Datum::Bool(int(&a[0]) as u32 == int(&a[1]) as u32))
    }))
    .negated_by("<>"),
    Operator::new("<>", 3316, Builtin::pure("xidneqint4", 3309, &[XID, INT4], BOOL, |_, _, a| {
        Ok(Datum::Bool(int(&a[0]) as u32 != int(&a[1]) as u32))
    }))
    .negated_by("="),
    Operator::new("~<~", 2314, Builtin::pure("text_pattern_lt", 2160, &[TEXT, TEXT], BOOL, |_, _, a| Ok(Datum::Bool(character_order(a).is_lt())))).commutes_with("~>~").negated_by("~>=~"),
    Operator::new("~<=~", 2315, Builtin::pure("text_pattern_le", 2161, &[TEXT, TEXT], BOOL, |_, _, a| Ok(Datum::Bool(character_order(a).is_le())))).commutes_with("~>=~").negated_by("~>~"),
    Operator::new("~>=~", 2317, Builtin::pure("text_pattern_ge", 2163, &[TEXT, TEXT], BOOL, |_, _, a| Ok(Datum::Bool(character_order(a).is_ge())))).commutes_with("~<=~").negated_by("~<~"),
    Operator::new("~>~", 2318, Builtin::pure("text_pattern_gt", 2164, &[TEXT, TEXT], BOOL, |_, _, a| Ok(Datum::Bool(character_order(a).is_gt())))).commutes_with("~<~").negated_by("~<=~"),
    Operator::new("~<~", 2326, Builtin::pure("bpchar_pattern_lt", 2174, &[BPCHAR, BPCHAR], BOOL, |_, _, a| Ok(Datum::Bool(padded_order(a).is_lt())))).commutes_with("~>~").negated_by("~>=~"),
    Operator::new("~<=~", 2327, Builtin::pure("bpchar_pattern_le", 2175, &[BPCHAR, BPCHAR], BOOL, |_, _, a| Ok(Datum::Bool(padded_order(a).is_le())))).commutes_with("~>=~").negated_by("~>~"),
    Operator::new("~>=~", 2329, Builtin::pure("bpchar_pattern_ge", 2177, &[BPCHAR, BPCHAR], BOOL, |_, _, a| Ok(Datum::Bool(padded_order(a).is_ge())))).commutes_with("~<=~").negated_by("~<~"),
    Operator::new("~>~", 2330, Builtin::pure("bpchar_pattern_gt", 2178, &[BPCHAR, BPCHAR], BOOL, |_, _, a| Ok(Datum::Bool(padded_order(a).is_gt())))).commutes_with("~<~").negated_by("~<=~"),
    Operator::new("*=", 3188, Builtin::pure("record_image_eq", 3181, &[RECORD, RECORD], BOOL, |_, t, a| Ok(Datum::Bool(image_order(t, a).is_eq())))).commutes_with("*=").negated_by("*<>"),
    Operator::new("*<>", 3189, Builtin::pure("record_image_ne", 3182, &[RECORD, RECORD], BOOL, |_, t, a| Ok(Datum::Bool(image_order(t, a).is_ne())))).commutes_with("*<>").negated_by("*="),
    Operator::new("*<", 3190, Builtin::pure("record_image_lt", 3183, &[RECORD, RECORD], BOOL, |_, t, a| Ok(Datum::Bool(image_order(t, a).is_lt())))).commutes_with("*>").negated_by("*>="),
    Operator::new("*>", 3191, Builtin::pure("record_image_gt", 3184, &[RECORD, RECORD], BOOL, |_, t, a| Ok(Datum::Bool(image_order(t, a).is_gt())))).commutes_with("*<").negated_by("*<="),
    Operator::new("*<=", 3192, Builtin::pure("record_image_le", 3185, &[RECORD, RECORD], BOOL, |_, t, a| Ok(Datum::Bool(image_order(t, a).is_le())))).commutes_with("*>=").negated_by("*>"),
    Operator::new("*>=", 3193, Builtin::pure("record_image_ge", 3186, &[RECORD, RECORD], BOOL, |_, t, a| Ok(Datum::Bool(image_order(t, a).is_ge())))).commutes_with("*<=").negated_by("*<"),
];
