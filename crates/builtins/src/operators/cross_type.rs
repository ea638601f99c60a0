//! Operators of two types that have the same answers as one of a common type: `smallint + bigint`, `date < timestamp`,
//! `name = text`.
//!
//! The catalogs list them and their functions can be called by name, but they are no candidates of resolution: an operand is
//! cast to the common type instead. So one kernel serves each comparison, conditions on columns keep the column's type and become
//! bounds of indexes, and resolution looks at a third of the candidates.

use std::cmp::Ordering;

use types::{Datum, SqlType, date_to_timestamp};

use super::arithmetic::{checked, divide};
use super::comparison::{EQ, Eval, GE, GT, LE, LT, NE};
use crate::EvalContext;
use super::pattern::{ilike, like, matches};
use crate::arguments::{int, moment, text};
use crate::signature::{ArgType, Builtin, Operator, RetType};

const I2: ArgType = ArgType::T(SqlType::Int2);
const I4: ArgType = ArgType::T(SqlType::Int4);
const I8: ArgType = ArgType::T(SqlType::Int8);
const TEXT: ArgType = ArgType::T(SqlType::Text);
const NAME: ArgType = ArgType::T(SqlType::Name);
const DATE: ArgType = ArgType::T(SqlType::Date);
const TIMESTAMP: ArgType = ArgType::T(SqlType::TIMESTAMP);
const TIMESTAMPTZ: ArgType = ArgType::T(SqlType::TIMESTAMPTZ);
const BOOL: RetType = RetType::T(SqlType::Bool);
const R_I4: RetType = RetType::T(SqlType::Int4);
const R_I8: RetType = RetType::T(SqlType::Int8);

const ADD: Eval = |_, types, a| checked(int(&a[0]).checked_add(int(&a[1])), types.ret);
const SUB: Eval = |_, types, a| checked(int(&a[0]).checked_sub(int(&a[1])), types.ret);
const MUL: Eval = |_, types, a| checked(int(&a[0]).checked_mul(int(&a[1])), types.ret);
const DIV: Eval = |_, types, a| divide(int(&a[0]), int(&a[1]), types.ret);

/// A date or timestamp as a timestamp. A date behind the last timestamp is behind every timestamp but infinity.
fn local(datum: &Datum) -> i64 {
    match datum {
        Datum::Date(days) => date_to_timestamp(*days).unwrap_or(i64::MAX - 1),
        other => moment(other),
    }
}

fn zoned(context: &EvalContext<'_>, datum: &Datum) -> i64 {
    match datum {
        Datum::TimestampTz(instant) => *instant,
        other => {
            let local = local(other);
            context.formatting.zone.to_utc(local).unwrap_or(local)
        }
    }
}

pub(crate) fn local_order(a: &[Datum]) -> Ordering {
    local(&a[0]).cmp(&local(&a[1]))
}

pub(crate) fn zoned_order(context: &EvalContext<'_>, a: &[Datum]) -> Ordering {
    zoned(context, &a[0]).cmp(&zoned(context, &a[1]))
}

const LOCAL_EQ: Eval = |_, _, a| Ok(Datum::Bool(local_order(a).is_eq()));
const ZONED_EQ: Eval = |c, _, a| Ok(Datum::Bool(zoned_order(c, a).is_eq()));
const LOCAL_NE: Eval = |_, _, a| Ok(Datum::Bool(local_order(a).is_ne()));
const ZONED_NE: Eval = |c, _, a| Ok(Datum::Bool(zoned_order(c, a).is_ne()));
const LOCAL_LT: Eval = |_, _, a| Ok(Datum::Bool(local_order(a).is_lt()));
const ZONED_LT: Eval = |c, _, a| Ok(Datum::Bool(zoned_order(c, a).is_lt()));
const LOCAL_LE: Eval = |_, _, a| Ok(Datum::Bool(local_order(a).is_le()));
const ZONED_LE: Eval = |c, _, a| Ok(Datum::Bool(zoned_order(c, a).is_le()));
const LOCAL_GT: Eval = |_, _, a| Ok(Datum::Bool(local_order(a).is_gt()));
const ZONED_GT: Eval = |c, _, a| Ok(Datum::Bool(zoned_order(c, a).is_gt()));
const LOCAL_GE: Eval = |_, _, a| Ok(Datum::Bool(local_order(a).is_ge()));
const ZONED_GE: Eval = |c, _, a| Ok(Datum::Bool(zoned_order(c, a).is_ge()));

#[rustfmt::skip]
pub(super) static OPERATORS: &[Operator] = &[
    Operator::new("=", 532, Builtin::pure("int24eq", 158, &[I2, I4], BOOL, EQ)).commutes_with("=").negated_by("<>"),
    Operator::new("=", 533, Builtin::pure("int42eq", 159, &[I4, I2], BOOL, EQ)).commutes_with("=").negated_by("<>"),
    Operator::new("<", 534, Builtin::pure("int24lt", 160, &[I2, I4], BOOL, LT)).commutes_with(">").negated_by(">="),
    Operator::new("<", 535, Builtin::pure("int42lt", 161, &[I4, I2], BOOL, LT)).commutes_with(">").negated_by(">="),
    Operator::new(">", 536, Builtin::pure("int24gt", 162, &[I2, I4], BOOL, GT)).commutes_with("<").negated_by("<="),
    Operator::new(">", 537, Builtin::pure("int42gt", 163, &[I4, I2], BOOL, GT)).commutes_with("<").negated_by("<="),
    Operator::new("<>", 538, Builtin::pure("int24ne", 164, &[I2, I4], BOOL, NE)).commutes_with("<>").negated_by("="),
    Operator::new("<>", 539, Builtin::pure("int42ne", 165, &[I4, I2], BOOL, NE)).commutes_with("<>").negated_by("="),
    Operator::new("<=", 540, Builtin::pure("int24le", 166, &[I2, I4], BOOL, LE)).commutes_with(">=").negated_by(">"),
    Operator::new("<=", 541, Builtin::pure("int42le", 167, &[I4, I2], BOOL, LE)).commutes_with(">=").negated_by(">"),
    Operator::new(">=", 542, Builtin::pure("int24ge", 168, &[I2, I4], BOOL, GE)).commutes_with("<=").negated_by("<"),
    Operator::new(">=", 543, Builtin::pure("int42ge", 169, &[I4, I2], BOOL, GE)).commutes_with("<=").negated_by("<"),
    Operator::new("*", 544, Builtin::pure("int24mul", 170, &[I2, I4], R_I4, MUL)).commutes_with("*"),
    Operator::new("*", 545, Builtin::pure("int42mul", 171, &[I4, I2], R_I4, MUL)).commutes_with("*"),
    Operator::new("/", 546, Builtin::pure("int24div", 172, &[I2, I4], R_I4, DIV)),
    Operator::new("/", 547, Builtin::pure("int42div", 173, &[I4, I2], R_I4, DIV)),
    Operator::new("+", 552, Builtin::pure("int24pl", 178, &[I2, I4], R_I4, ADD)).commutes_with("+"),
    Operator::new("+", 553, Builtin::pure("int42pl", 179, &[I4, I2], R_I4, ADD)).commutes_with("+"),
    Operator::new("-", 556, Builtin::pure("int24mi", 182, &[I2, I4], R_I4, SUB)),
    Operator::new("-", 557, Builtin::pure("int42mi", 183, &[I4, I2], R_I4, SUB)),
    Operator::new("=", 416, Builtin::pure("int84eq", 474, &[I8, I4], BOOL, EQ)).commutes_with("=").negated_by("<>"),
    Operator::new("<>", 417, Builtin::pure("int84ne", 475, &[I8, I4], BOOL, NE)).commutes_with("<>").negated_by("="),
    Operator::new("<", 418, Builtin::pure("int84lt", 476, &[I8, I4], BOOL, LT)).commutes_with(">").negated_by(">="),
    Operator::new(">", 419, Builtin::pure("int84gt", 477, &[I8, I4], BOOL, GT)).commutes_with("<").negated_by("<="),
    Operator::new("<=", 420, Builtin::pure("int84le", 478, &[I8, I4], BOOL, LE)).commutes_with(">=").negated_by(">"),
    Operator::new(">=", 430, Builtin::pure("int84ge", 479, &[I8, I4], BOOL, GE)).commutes_with("<=").negated_by("<"),
    Operator::new("+", 818, Builtin::pure("int82pl", 837, &[I8, I2], R_I8, ADD)).commutes_with("+"),
    Operator::new("-", 819, Builtin::pure("int82mi", 838, &[I8, I2], R_I8, SUB)),
    Operator::new("*", 820, Builtin::pure("int82mul", 839, &[I8, I2], R_I8, MUL)).commutes_with("*"),
    Operator::new("/", 821, Builtin::pure("int82div", 840, &[I8, I2], R_I8, DIV)),
    Operator::new("+", 822, Builtin::pure("int28pl", 841, &[I2, I8], R_I8, ADD)).commutes_with("+"),
    Operator::new("=", 15, Builtin::pure("int48eq", 852, &[I4, I8], BOOL, EQ)).commutes_with("=").negated_by("<>"),
    Operator::new("<>", 36, Builtin::pure("int48ne", 853, &[I4, I8], BOOL, NE)).commutes_with("<>").negated_by("="),
    Operator::new("<", 37, Builtin::pure("int48lt", 854, &[I4, I8], BOOL, LT)).commutes_with(">").negated_by(">="),
    Operator::new(">", 76, Builtin::pure("int48gt", 855, &[I4, I8], BOOL, GT)).commutes_with("<").negated_by("<="),
    Operator::new("<=", 80, Builtin::pure("int48le", 856, &[I4, I8], BOOL, LE)).commutes_with(">=").negated_by(">"),
    Operator::new(">=", 82, Builtin::pure("int48ge", 857, &[I4, I8], BOOL, GE)).commutes_with("<=").negated_by("<"),
    Operator::new("-", 823, Builtin::pure("int28mi", 942, &[I2, I8], R_I8, SUB)),
    Operator::new("*", 824, Builtin::pure("int28mul", 943, &[I2, I8], R_I8, MUL)).commutes_with("*"),
    Operator::new("/", 825, Builtin::pure("int28div", 948, &[I2, I8], R_I8, DIV)),
    Operator::new("+", 688, Builtin::pure("int84pl", 1274, &[I8, I4], R_I8, ADD)).commutes_with("+"),
    Operator::new("-", 689, Builtin::pure("int84mi", 1275, &[I8, I4], R_I8, SUB)),
    Operator::new("*", 690, Builtin::pure("int84mul", 1276, &[I8, I4], R_I8, MUL)).commutes_with("*"),
    Operator::new("/", 691, Builtin::pure("int84div", 1277, &[I8, I4], R_I8, DIV)),
    Operator::new("+", 692, Builtin::pure("int48pl", 1278, &[I4, I8], R_I8, ADD)).commutes_with("+"),
    Operator::new("-", 693, Builtin::pure("int48mi", 1279, &[I4, I8], R_I8, SUB)),
    Operator::new("*", 694, Builtin::pure("int48mul", 1280, &[I4, I8], R_I8, MUL)).commutes_with("*"),
    Operator::new("/", 695, Builtin::pure("int48div", 1281, &[I4, I8], R_I8, DIV)),
    Operator::new("=", 1862, Builtin::pure("int28eq", 1850, &[I2, I8], BOOL, EQ)).commutes_with("=").negated_by("<>"),
    Operator::new("<>", 1863, Builtin::pure("int28ne", 1851, &[I2, I8], BOOL, NE)).commutes_with("<>").negated_by("="),
    Operator::new("<", 1864, Builtin::pure("int28lt", 1852, &[I2, I8], BOOL, LT)).commutes_with(">").negated_by(">="),
    Operator::new(">", 1865, Builtin::pure("int28gt", 1853, &[I2, I8], BOOL, GT)).commutes_with("<").negated_by("<="),
    Operator::new("<=", 1866, Builtin::pure("int28le", 1854, &[I2, I8], BOOL, LE)).commutes_with(">=").negated_by(">"),
    Operator::new(">=", 1867, Builtin::pure("int28ge", 1855, &[I2, I8], BOOL, GE)).commutes_with("<=").negated_by("<"),
    Operator::new("=", 1868, Builtin::pure("int82eq", 1856, &[I8, I2], BOOL, EQ)).commutes_with("=").negated_by("<>"),
    Operator::new("<>", 1869, Builtin::pure("int82ne", 1857, &[I8, I2], BOOL, NE)).commutes_with("<>").negated_by("="),
    Operator::new("<", 1870, Builtin::pure("int82lt", 1858, &[I8, I2], BOOL, LT)).commutes_with(">").negated_by(">="),
    Operator::new(">", 1871, Builtin::pure("int82gt", 1859, &[I8, I2], BOOL, GT)).commutes_with("<").negated_by("<="),
    Operator::new("<=", 1872, Builtin::pure("int82le", 1860, &[I8, I2], BOOL, LE)).commutes_with(">=").negated_by(">"),
    Operator::new(">=", 1873, Builtin::pure("int82ge", 1861, &[I8, I2], BOOL, GE)).commutes_with("<=").negated_by("<"),
    Operator::new("<", 2345, Builtin::pure("date_lt_timestamp", 2338, &[DATE, TIMESTAMP], BOOL, LOCAL_LT)).commutes_with(">").negated_by(">="),
    Operator::new("<=", 2346, Builtin::pure("date_le_timestamp", 2339, &[DATE, TIMESTAMP], BOOL, LOCAL_LE)).commutes_with(">=").negated_by(">"),
    Operator::new("=", 2347, Builtin::pure("date_eq_timestamp", 2340, &[DATE, TIMESTAMP], BOOL, LOCAL_EQ)).commutes_with("=").negated_by("<>"),
    Operator::new(">", 2349, Builtin::pure("date_gt_timestamp", 2341, &[DATE, TIMESTAMP], BOOL, LOCAL_GT)).commutes_with("<").negated_by("<="),
    Operator::new(">=", 2348, Builtin::pure("date_ge_timestamp", 2342, &[DATE, TIMESTAMP], BOOL, LOCAL_GE)).commutes_with("<=").negated_by("<"),
    Operator::new("<>", 2350, Builtin::pure("date_ne_timestamp", 2343, &[DATE, TIMESTAMP], BOOL, LOCAL_NE)).commutes_with("<>").negated_by("="),
    Operator::new("<", 2358, Builtin::pure("date_lt_timestamptz", 2351, &[DATE, TIMESTAMPTZ], BOOL, ZONED_LT).stable()).commutes_with(">").negated_by(">="),
    Operator::new("<=", 2359, Builtin::pure("date_le_timestamptz", 2352, &[DATE, TIMESTAMPTZ], BOOL, ZONED_LE).stable()).commutes_with(">=").negated_by(">"),
    Operator::new("=", 2360, Builtin::pure("date_eq_timestamptz", 2353, &[DATE, TIMESTAMPTZ], BOOL, ZONED_EQ).stable()).commutes_with("=").negated_by("<>"),
    Operator::new(">", 2362, Builtin::pure("date_gt_timestamptz", 2354, &[DATE, TIMESTAMPTZ], BOOL, ZONED_GT).stable()).commutes_with("<").negated_by("<="),
    Operator::new(">=", 2361, Builtin::pure("date_ge_timestamptz", 2355, &[DATE, TIMESTAMPTZ], BOOL, ZONED_GE).stable()).commutes_with("<=").negated_by("<"),
    Operator::new("<>", 2363, Builtin::pure("date_ne_timestamptz", 2356, &[DATE, TIMESTAMPTZ], BOOL, ZONED_NE).stable()).commutes_with("<>").negated_by("="),
    Operator::new("<", 2371, Builtin::pure("timestamp_lt_date", 2364, &[TIMESTAMP, DATE], BOOL, LOCAL_LT)).commutes_with(">").negated_by(">="),
    Operator::new("<=", 2372, Builtin::pure("timestamp_le_date", 2365, &[TIMESTAMP, DATE], BOOL, LOCAL_LE)).commutes_with(">=").negated_by(">"),
    Operator::new("=", 2373, Builtin::pure("timestamp_eq_date", 2366, &[TIMESTAMP, DATE], BOOL, LOCAL_EQ)).commutes_with("=").negated_by("<>"),
    Operator::new(">", 2375, Builtin::pure("timestamp_gt_date", 2367, &[TIMESTAMP, DATE], BOOL, LOCAL_GT)).commutes_with("<").negated_by("<="),
    Operator::new(">=", 2374, Builtin::pure("timestamp_ge_date", 2368, &[TIMESTAMP, DATE], BOOL, LOCAL_GE)).commutes_with("<=").negated_by("<"),
    Operator::new("<>", 2376, Builtin::pure("timestamp_ne_date", 2369, &[TIMESTAMP, DATE], BOOL, LOCAL_NE)).commutes_with("<>").negated_by("="),
    Operator::new("<", 2384, Builtin::pure("timestamptz_lt_date", 2377, &[TIMESTAMPTZ, DATE], BOOL, ZONED_LT).stable()).commutes_with(">").negated_by(">="),
    Operator::new("<=", 2385, Builtin::pure("timestamptz_le_date", 2378, &[TIMESTAMPTZ, DATE], BOOL, ZONED_LE).stable()).commutes_with(">=").negated_by(">"),
    Operator::new("=", 2386, Builtin::pure("timestamptz_eq_date", 2379, &[TIMESTAMPTZ, DATE], BOOL, ZONED_EQ).stable()).commutes_with("=").negated_by("<>"),
    Operator::new(">", 2388, Builtin::pure("timestamptz_gt_date", 2380, &[TIMESTAMPTZ, DATE], BOOL, ZONED_GT).stable()).commutes_with("<").negated_by("<="),
    Operator::new(">=", 2387, Builtin::pure("timestamptz_ge_date", 2381, &[TIMESTAMPTZ, DATE], BOOL, ZONED_GE).stable()).commutes_with("<=").negated_by("<"),
    Operator::new("<>", 2389, Builtin::pure("timestamptz_ne_date", 2382, &[TIMESTAMPTZ, DATE], BOOL, ZONED_NE).stable()).commutes_with("<>").negated_by("="),
    Operator::new("<", 2534, Builtin::pure("timestamp_lt_timestamptz", 2520, &[TIMESTAMP, TIMESTAMPTZ], BOOL, ZONED_LT).stable()).commutes_with(">").negated_by(">="),
    Operator::new("<=", 2535, Builtin::pure("timestamp_le_timestamptz", 2521, &[TIMESTAMP, TIMESTAMPTZ], BOOL, ZONED_LE).stable()).commutes_with(">=").negated_by(">"),
    Operator::new("=", 2536, Builtin::pure("timestamp_eq_timestamptz", 2522, &[TIMESTAMP, TIMESTAMPTZ], BOOL, ZONED_EQ).stable()).commutes_with("=").negated_by("<>"),
    Operator::new(">", 2538, Builtin::pure("timestamp_gt_timestamptz", 2523, &[TIMESTAMP, TIMESTAMPTZ], BOOL, ZONED_GT).stable()).commutes_with("<").negated_by("<="),
    Operator::new(">=", 2537, Builtin::pure("timestamp_ge_timestamptz", 2524, &[TIMESTAMP, TIMESTAMPTZ], BOOL, ZONED_GE).stable()).commutes_with("<=").negated_by("<"),
    Operator::new("<>", 2539, Builtin::pure("timestamp_ne_timestamptz", 2525, &[TIMESTAMP, TIMESTAMPTZ], BOOL, ZONED_NE).stable()).commutes_with("<>").negated_by("="),
    Operator::new("<", 2540, Builtin::pure("timestamptz_lt_timestamp", 2527, &[TIMESTAMPTZ, TIMESTAMP], BOOL, ZONED_LT).stable()).commutes_with(">").negated_by(">="),
    Operator::new("<=", 2541, Builtin::pure("timestamptz_le_timestamp", 2528, &[TIMESTAMPTZ, TIMESTAMP], BOOL, ZONED_LE).stable()).commutes_with(">=").negated_by(">"),
    Operator::new("=", 2542, Builtin::pure("timestamptz_eq_timestamp", 2529, &[TIMESTAMPTZ, TIMESTAMP], BOOL, ZONED_EQ).stable()).commutes_with("=").negated_by("<>"),
    Operator::new(">", 2544, Builtin::pure("timestamptz_gt_timestamp", 2530, &[TIMESTAMPTZ, TIMESTAMP], BOOL, ZONED_GT).stable()).commutes_with("<").negated_by("<="),
    Operator::new(">=", 2543, Builtin::pure("timestamptz_ge_timestamp", 2531, &[TIMESTAMPTZ, TIMESTAMP], BOOL, ZONED_GE).stable()).commutes_with("<=").negated_by("<"),
    Operator::new("<>", 2545, Builtin::pure("timestamptz_ne_timestamp", 2532, &[TIMESTAMPTZ, TIMESTAMP], BOOL, ZONED_NE).stable()).commutes_with("<>").negated_by("="),
    Operator::new("=", 254, Builtin::pure("nameeqtext", 240, &[NAME, TEXT], BOOL, EQ)).commutes_with("=").negated_by("<>"),
    Operator::new("<", 255, Builtin::pure("namelttext", 241, &[NAME, TEXT], BOOL, LT)).commutes_with(">").negated_by(">="),
    Operator::new("<=", 256, Builtin::pure("nameletext", 242, &[NAME, TEXT], BOOL, LE)).commutes_with(">=").negated_by(">"),
    Operator::new(">=", 257, Builtin::pure("namegetext", 243, &[NAME, TEXT], BOOL, GE)).commutes_with("<=").negated_by("<"),
    Operator::new(">", 258, Builtin::pure("namegttext", 244, &[NAME, TEXT], BOOL, GT)).commutes_with("<").negated_by("<="),
    Operator::new("<>", 259, Builtin::pure("namenetext", 245, &[NAME, TEXT], BOOL, NE)).commutes_with("<>").negated_by("="),
    Operator::new("=", 260, Builtin::pure("texteqname", 247, &[TEXT, NAME], BOOL, EQ)).commutes_with("=").negated_by("<>"),
    Operator::new("<", 261, Builtin::pure("textltname", 248, &[TEXT, NAME], BOOL, LT)).commutes_with(">").negated_by(">="),
    Operator::new("<=", 262, Builtin::pure("textlename", 249, &[TEXT, NAME], BOOL, LE)).commutes_with(">=").negated_by(">"),
    Operator::new(">=", 263, Builtin::pure("textgename", 250, &[TEXT, NAME], BOOL, GE)).commutes_with("<=").negated_by("<"),
    Operator::new(">", 264, Builtin::pure("textgtname", 251, &[TEXT, NAME], BOOL, GT)).commutes_with("<").negated_by("<="),
    Operator::new("<>", 265, Builtin::pure("textnename", 252, &[TEXT, NAME], BOOL, NE)).commutes_with("<>").negated_by("="),
    Operator::new("~~", 1207, Builtin::pure("namelike", 858, &[NAME, TEXT], BOOL, |_, _, a| {
        like(text(&a[0]), text(&a[1]), Some('\\')).map(Datum::Bool)
    })).negated_by("!~~"),
    Operator::new("!~~", 1208, Builtin::pure("namenlike", 859, &[NAME, TEXT], BOOL, |_, _, a| {
        like(text(&a[0]), text(&a[1]), Some('\\')).map(|matched| Datum::Bool(!matched))
    })).negated_by("~~"),
    Operator::new("~~*", 1625, Builtin::pure("nameiclike", 1635, &[NAME, TEXT], BOOL, |_, _, a| {
        ilike(text(&a[0]), text(&a[1]), Some('\\')).map(Datum::Bool)
    })).negated_by("!~~*"),
    Operator::new("!~~*", 1626, Builtin::pure("nameicnlike", 1636, &[NAME, TEXT], BOOL, |_, _, a| {
        ilike(text(&a[0]), text(&a[1]), Some('\\')).map(|matched| Datum::Bool(!matched))
    })).negated_by("~~*"),
    Operator::new("~", 639, Builtin::pure("nameregexeq", 79, &[NAME, TEXT], BOOL, |_, _, a| {
        matches(&a[0], &a[1], false).map(Datum::Bool)
    })).negated_by("!~"),
    Operator::new("!~", 640, Builtin::pure("nameregexne", 1252, &[NAME, TEXT], BOOL, |_, _, a| {
        matches(&a[0], &a[1], false).map(|matched| Datum::Bool(!matched))
    })).negated_by("~"),
    Operator::new("~*", 1226, Builtin::pure("nameicregexeq", 1240, &[NAME, TEXT], BOOL, |_, _, a| {
        matches(&a[0], &a[1], true).map(Datum::Bool)
    })).negated_by("!~*"),
    Operator::new("!~*", 1227, Builtin::pure("nameicregexne", 1241, &[NAME, TEXT], BOOL, |_, _, a| {
        matches(&a[0], &a[1], true).map(|matched| Datum::Bool(!matched))
    })).negated_by("~*"),
];
