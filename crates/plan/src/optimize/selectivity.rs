//! The share of rows that a condition lets through, as PostgreSQL estimates it: by the most common values and the
//! histogram where a table was analyzed, by its default shares otherwise.

use std::borrow::Cow;

use catalog::ColumnStatistics;
use types::{Datum, SqlType, compare};

use super::entries::share_of;
use super::exprs::{column_of, commuted, comparison};
use crate::expr::{Expr, SubqueryKind, TruthTest};

const EQUAL: f64 = 0.005;
const INEQUALITY: f64 = 1.0 / 3.0;
const RANGE: f64 = 0.005;
const MATCH: f64 = 0.005;
/// Elements of an array whose value is not known yet, as PostgreSQL guesses.
pub(super) const ANY_ELEMENTS: f64 = 10.0;

/// What is known of a relation's columns.
pub(super) trait Known {
    fn statistics(&self, column: usize) -> Option<&ColumnStatistics>;
    /// How many different values a column has; none where nothing is known.
    fn distinct(&self, column: usize) -> Option<f64>;
}

/// Nothing is known.
pub(super) struct Nothing;

impl Known for Nothing {
    fn statistics(&self, _: usize) -> Option<&ColumnStatistics> {
        None
    }

    fn distinct(&self, _: usize) -> Option<f64> {
        None
    }
}

/// The share of all conditions together: independent, but for two bounds of one column.
pub(super) fn all(conditions: &[Expr], known: &dyn Known) -> f64 {
    let mut share = 1.0;
    let mut ranges: Vec<(usize, Option<f64>, Option<f64>)> = Vec::new();
    for condition in conditions {
        let Some((column, symbol, value, ty)) = column_comparison(condition) else {
            share *= one(condition, known);
            continue;
        };
        let is_upper = match symbol {
            "<" | "<=" => true,
            ">" | ">=" => false,
            _ => {
                share *= one(condition, known);
                continue;
            }
        };
        let passed = inequality(known.statistics(column), &ty, symbol, &value);
        let at = ranges.iter().position(|(of, ..)| *of == column).unwrap_or_else(|| {
            ranges.push((column, None, None));
            ranges.len() - 1
        });
        let bound = if is_upper { &mut ranges[at].2 } else { &mut ranges[at].1 };
        *bound = Some(bound.map_or(passed, |before| before.min(passed)));
    }
    for (column, lower, upper) in ranges {
        share *= match (lower, upper) {
            (Some(lower), Some(upper)) if known.statistics(column).is_some_and(|it| it.histogram.len() > 1) => {
                (lower + upper - 1.0).max(0.0001)
            }
            (Some(_), Some(_)) => RANGE,
            (Some(share), None) | (None, Some(share)) => share,
            (None, None) => 1.0,
        };
    }
    share.clamp(0.0, 1.0)
}

/// `column op value`, the column on the left.
fn column_comparison(condition: &Expr) -> Option<(usize, &'static str, Cow<'_, Expr>, SqlType)> {
    let Expr::Call { builtin, args, .. } = condition else { return None };
    let symbol = comparison(builtin)?;
    let [left, right] = &args[..] else { return None };
    let one_way = |left: &Expr, symbol: &'static str, right: &'_ Expr| {
        let column = column_of(left).filter(|_| right.is_row_independent())?;
        Some((column, symbol, left.ty()))
    };
    if let Some((column, symbol, ty)) = one_way(left, symbol, right) {
        return Some((column, symbol, Cow::Borrowed(right), ty));
    }
    if let Some((column, symbol, ty)) = one_way(right, commuted(symbol), left) {
        return Some((column, symbol, Cow::Borrowed(left), ty));
    }
    let as_day = |left: &Expr, symbol: &'static str, right: &Expr| {
        let (column, day) = (date_of(left)?, day_of(right)?);
        Some((column, symbol, Cow::Owned(day), SqlType::Date))
    };
    as_day(left, symbol, right).or_else(|| as_day(right, commuted(symbol), left))
}

/// The column of dates that is compared as the timestamps of their midnights.
fn date_of(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Cast { expr, to: SqlType::Timestamp(_), .. } if expr.ty() == SqlType::Date => column_of(expr),
        _ => None,
    }
}

/// The day of a timestamp, which tells about dates all there is to estimate.
fn day_of(expr: &Expr) -> Option<Expr> {
    const MICROS_PER_DAY: i64 = 86_400_000_000;
    let Expr::Const(Datum::Timestamp(micros), _) = expr else { return None };
    let day = i32::try_from(micros.div_euclid(MICROS_PER_DAY)).ok()?;
    Some(Expr::Const(Datum::Date(day), SqlType::Date))
}

fn one(condition: &Expr, known: &dyn Known) -> f64 {
    let share = match condition {
        Expr::Const(Datum::Bool(true), _) => 1.0,
        Expr::Const(..) => 0.0,
        Expr::Call { builtin, .. } => match (column_comparison(condition), comparison(builtin)) {
            (Some((column, "=", value, ty)), _) => equal(known, column, &ty, &value),
            (Some((column, "<>", value, ty)), _) => 1.0 - equal(known, column, &ty, &value) - nulls(known, column),
            (Some((column, symbol, value, ty)), _) => inequality(known.statistics(column), &ty, symbol, &value),
            (None, Some("=")) => EQUAL,
            (None, Some("<>")) => 1.0 - EQUAL,
            (None, Some(_)) => INEQUALITY,
            (None, None) if builtin.name().contains("like") || builtin.name().contains("regex") => MATCH,
            (None, None) => share_of(condition, known).unwrap_or(INEQUALITY),
        },
        Expr::InList { expr, list, negated } => {
            let found: f64 = match column_of(expr) {
                Some(column) => list.iter().map(|value| equal(known, column, &expr.ty(), value)).sum(),
                None => EQUAL * list.len() as f64,
            };
            if *negated { 1.0 - found.min(1.0) } else { found }
        }
        Expr::AnyAll { left, array, comparison: by, all: false } if comparison(by.builtin) == Some("=") => {
            let each = |value: &Expr| match column_of(left) {
                Some(column) => equal(known, column, &left.ty(), value),
                None => EQUAL,
            };
            match (&**array, array.ty().element()) {
                (Expr::Const(Datum::Array(values), _), Some(element)) => {
                    values.elements().iter().map(|value| each(&Expr::Const(value.clone(), element))).sum::<f64>()
                }
                _ => each(array) * ANY_ELEMENTS,
            }
        }
        Expr::AnyAll { all: false, .. } => EQUAL * ANY_ELEMENTS,
        Expr::IsNull(inner) => column_of(inner).map_or(EQUAL, |column| nulls(known, column).max(0.0)),
        Expr::Not(inner) => match &**inner {
            Expr::Column(column, _) => boolean(known, *column, false),
            inner => 1.0 - one(inner, known),
        },
        Expr::Truth(inner, TruthTest::True) => one(inner, known),
        Expr::And(list) => all(list, known),
        Expr::Or(list) => 1.0 - list.iter().map(|item| 1.0 - one(item, known)).product::<f64>(),
        Expr::Column(column, SqlType::Bool) => boolean(known, *column, true),
        Expr::Subquery(subquery) if matches!(subquery.kind, SubqueryKind::Scalar) => 0.5,
        _ => 0.5,
    };
    share.clamp(0.0, 1.0)
}

fn nulls(known: &dyn Known, column: usize) -> f64 {
    known.statistics(column).map_or(0.005, |statistics| statistics.null_fraction)
}

fn boolean(known: &dyn Known, column: usize, value: bool) -> f64 {
    let Some(statistics) = known.statistics(column) else { return 0.5 };
    let is_value = |datum: &Datum| matches!(datum, Datum::Bool(it) if *it == value);
    statistics.common.iter().find(|(datum, _)| is_value(datum)).map_or(0.0, |(_, share)| *share)
}

/// The share of rows with one value.
fn equal(known: &dyn Known, column: usize, ty: &SqlType, value: &Expr) -> f64 {
    let any = known.distinct(column).map_or(EQUAL, |distinct| 1.0 / distinct.max(1.0));
    let Some(statistics) = known.statistics(column) else { return any };
    let others = statistics.distinct - statistics.common.len() as f64;
    match value {
        Expr::Const(value, _) if value.is_null() => 0.0,
        Expr::Const(value, _) => {
            let mut common = 0.0;
            for (known, share) in &statistics.common {
                if compare(ty, known, value).is_eq() {
                    return *share;
                }
                common += share;
            }
            let rest = (1.0 - statistics.null_fraction - common).max(0.0);
            // Not among all values there are.
            if others < 1.0 { rest.min(0.0001) } else { rest / others }
        }
        _ => (1.0 - statistics.null_fraction) * any,
    }
}

fn inequality(statistics: Option<&ColumnStatistics>, ty: &SqlType, symbol: &str, value: &Expr) -> f64 {
    let (Expr::Const(value, _), Some(statistics)) = (value, statistics) else { return INEQUALITY };
    if value.is_null() {
        return 0.0;
    }
    let holds = |order: std::cmp::Ordering| match symbol {
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        _ => order.is_ge(),
    };
    let mut common = 0.0;
    let mut passed = 0.0;
    for (known, share) in &statistics.common {
        common += share;
        if holds(compare(ty, known, value)) {
            passed += share;
        }
    }
    let rest = (1.0 - statistics.null_fraction - common).max(0.0);
    let below = below(&statistics.histogram, ty, value);
    let of_rest = match below {
        Some(below) if symbol.starts_with('<') => below,
        Some(below) => 1.0 - below,
        None => INEQUALITY,
    };
    (passed + rest * of_rest).clamp(0.0001, 1.0)
}

/// The share of a histogram's values below one.
fn below(histogram: &[Datum], ty: &SqlType, value: &Datum) -> Option<f64> {
    if histogram.len() < 2 {
        return None;
    }
    let buckets = (histogram.len() - 1) as f64;
    let at = histogram.partition_point(|bound| compare(ty, bound, value).is_lt());
    if at == 0 {
        return Some(0.0);
    }
    if at == histogram.len() {
        return Some(1.0);
    }
    let (low, high) = (&histogram[at - 1], &histogram[at]);
    let within = match (scale(low), scale(high), scale(value)) {
        (Some(low), Some(high), Some(value)) if high > low => ((value - low) / (high - low)).clamp(0.0, 1.0),
        _ => 0.5,
    };
    Some((at as f64 - 1.0 + within) / buckets)
}

/// A value on a line, where its type has one.
fn scale(datum: &Datum) -> Option<f64> {
    match datum {
        Datum::Float(value) => Some(*value),
        Datum::Date(days) => Some(f64::from(*days)),
        Datum::Time(micros) | Datum::Timestamp(micros) | Datum::TimestampTz(micros) => Some(*micros as f64),
        Datum::Numeric(_) => types::to_text(&SqlType::NUMERIC, datum, &types::Formatting::default()).parse().ok(),
        other => other.as_int().map(|value| value as f64),
    }
}
