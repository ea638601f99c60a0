//! SQL's btree order, equality and hashes over datums of one type.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use crate::array::Array;
use crate::composite_type::CompositeType;
use crate::datetime::calendar::MICROS_PER_SECOND;
use crate::datum::{Datum, TimeTz};
use crate::json::Json;
use crate::range::{Range, compare_multiranges, compare_ranges, spans, subtype_of};
use crate::error::{SqlError, SqlResult, SqlState};
use crate::sql_type::SqlType;

/// NaN equals itself and is above every number; -0.0 equals 0.0.
#[must_use]
pub fn compare_floats(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

fn timetz_key(time: &TimeTz) -> (i64, i32) {
    (time.micros + i64::from(time.west) * MICROS_PER_SECOND, time.west)
}

/// Whether blanks at the end count for nothing.
fn is_padded(ty: &SqlType) -> bool {
    matches!(ty, SqlType::Char(_))
}

/// At the top an empty array sorts below everything: an accident of PostgreSQL's that its indexes have kept.
fn compare_jsonb(a: &Json, b: &Json) -> Ordering {
    let is_empty = |value: &Json| matches!(value, Json::Array(items) if items.is_empty());
    let is_object = |value: &Json| matches!(value, Json::Object(_));
    match (is_empty(a), is_empty(b)) {
        (true, false) if !is_object(b) => Ordering::Less,
        (false, true) if !is_object(a) => Ordering::Greater,
        _ => a.cmp(b),
    }
}

/// The order of an ascending index with NULLs last: NULL is above every value and equal to itself.
#[must_use]
pub fn compare(ty: &SqlType, a: &Datum, b: &Datum) -> Ordering {
    match (a, b) {
        (Datum::Int(a), Datum::Int(b)) => a.cmp(b),
        (Datum::Text(a), Datum::Text(b)) => {
            if is_padded(ty) {
                a.trim_end_matches(' ').cmp(b.trim_end_matches(' '))
            } else {
                a.as_bytes().cmp(b.as_bytes())
            }
        }
        (Datum::Null, Datum::Null) => Ordering::Equal,
        (Datum::Null, _) => Ordering::Greater,
        (_, Datum::Null) => Ordering::Less,
        (Datum::Bool(a), Datum::Bool(b)) => a.cmp(b),
        (Datum::Float(a), Datum::Float(b)) => compare_floats(*a, *b),
        (Datum::Numeric(a), Datum::Numeric(b)) => a.cmp(b),
        (Datum::Bytes(a), Datum::Bytes(b)) => a.cmp(b),
        (Datum::Date(a), Datum::Date(b)) => a.cmp(b),
        (Datum::Time(a), Datum::Time(b))
        | (Datum::Timestamp(a), Datum::Timestamp(b))
        | (Datum::TimestampTz(a), Datum::TimestampTz(b)) => a.cmp(b),
        (Datum::TimeTz(a), Datum::TimeTz(b)) => timetz_key(a).cmp(&timetz_key(b)),
        (Datum::Interval(a), Datum::Interval(b)) => a.span().cmp(&b.span()),
        (Datum::Uuid(a), Datum::Uuid(b)) => a.cmp(b),
        (Datum::Inet(a), Datum::Inet(b)) => a.cmp(b),
        (Datum::MacAddr(a), Datum::MacAddr(b)) => a.cmp(b),
        (Datum::MacAddr8(a), Datum::MacAddr8(b)) => a.cmp(b),
        (Datum::Bits(a), Datum::Bits(b)) => a.cmp(b),
        // They have no order; this is one for what needs any.
        (Datum::Geometry(a), Datum::Geometry(b)) => a.to_binary().cmp(&b.to_binary()),
        (Datum::TsVector(a), Datum::TsVector(b)) => a.cmp(b),
        (Datum::TsQuery(a), Datum::TsQuery(b)) => a.compare(b),
        // They have no order; this is one for what needs any.
        (Datum::JsonPath(a), Datum::JsonPath(b)) => a.text().cmp(&b.text()),
        (Datum::Enum(a), Datum::Enum(b)) => a.sort_key().cmp(b.sort_key()),
        (Datum::Json(a), Datum::Json(b)) => a.cmp(b),
        (Datum::Jsonb(a), Datum::Jsonb(b)) => compare_jsonb(a, b),
        (Datum::Array(a), Datum::Array(b)) => compare_arrays(&ty.element().unwrap_or(SqlType::Text), a, b),
        (Datum::Record(a), Datum::Record(b)) => {
            let of = ty.composite();
            for (at, (a, b)) in a.iter().zip(b.iter()).enumerate() {
                let order = if are_alike(a, b) {
                    compare(&known_field_type(of, at, a, b), a, b)
                } else {
                    a.implied_type().oid().cmp(&b.implied_type().oid())
                };
                if order.is_ne() {
                    return order;
                }
            }
            a.len().cmp(&b.len())
        }
        (Datum::Range(a), Datum::Range(b)) => {
            let alone = std::slice::from_ref::<Range>;
            compare_ranges(&subtype_of(ty, alone(a), alone(b)), a, b)
        }
        (Datum::MultiRange(a), Datum::MultiRange(b)) => compare_multiranges(&subtype_of(ty, a, b), a, b),
        (a, b) => panic!("datum-matches-type: {a:?} compared with {b:?} as {ty}"),
    }
}

/// Whether two fields at the same place of their records are of one type, as far as records know theirs.
fn are_alike(a: &Datum, b: &Datum) -> bool {
    match (a, b) {
        (Datum::Null, _) | (_, Datum::Null) => true,
        // One without bounds is like any.
        (Datum::Range(_), Datum::Range(_)) | (Datum::MultiRange(_), Datum::MultiRange(_)) => {
            first_bound(a).zip(first_bound(b)).is_none_or(|(a, b)| are_alike(a, b))
        }
        (Datum::Array(a_elements), Datum::Array(b_elements)) if holds_ranges(a_elements) && holds_ranges(b_elements) => {
            let kind = |array: &Array| array.elements().iter().find(|it| !it.is_null()).map(std::mem::discriminant);
            kind(a_elements) == kind(b_elements) && first_bound(a).zip(first_bound(b)).is_none_or(|(a, b)| are_alike(a, b))
        }
        (Datum::Array(_) | Datum::Enum(_), Datum::Array(_) | Datum::Enum(_)) => {
            a.implied_type().same_base(&b.implied_type())
        }
        _ => std::mem::discriminant(a) == std::mem::discriminant(b),
    }
}

fn holds_ranges(array: &Array) -> bool {
    let first = array.elements().iter().find(|element| !element.is_null());
    matches!(first, Some(Datum::Range(_) | Datum::MultiRange(_)))
}

/// The first bound in a range, a multirange, or an array of these.
fn first_bound(datum: &Datum) -> Option<&Datum> {
    match datum {
        Datum::Array(array) => array.elements().iter().find_map(first_bound),
        ranges => spans(ranges).iter().flat_map(Range::values).next(),
    }
}

/// Of fields at a place of two records, by the type of these or else by what the values are.
fn known_field_type(of: Option<CompositeType>, at: usize, a: &Datum, b: &Datum) -> SqlType {
    match of {
        Some(of) => of.field_type(at),
        None => field_type(a, b),
    }
}

fn field_type(a: &Datum, b: &Datum) -> SqlType {
    if a.is_null() { b.implied_type() } else { a.implied_type() }
}

/// Compares values which, or whose parts, may be records. Records need not be of one type, but their columns must be
/// as far as they are compared: up to the first that differs. [`compare`] puts unlike ones in some order.
///
/// # Errors
/// 42804.
pub fn compare_records(ty: &SqlType, a: &Datum, b: &Datum) -> SqlResult<Ordering> {
    let mismatch = |message: String| Err(SqlError::new(SqlState::DatatypeMismatch, message));
    match (a, b) {
        (Datum::Record(a), Datum::Record(b)) => {
            let of = ty.composite();
            for (at, (a, b)) in a.iter().zip(b.iter()).enumerate() {
                if !are_alike(a, b) {
                    let [left, right] = [a, b].map(|field| field.implied_type().base_name());
                    let place = at + 1;
                    return mismatch(format!(
                        "cannot compare dissimilar column types {left} and {right} at record column {place}"
                    ));
                }
                let field = known_field_type(of, at, a, b);
                if !field.is_ordered() && !(a.is_null() || b.is_null()) {
                    let message = format!("could not identify a comparison function for type {}", field.base_name());
                    return Err(SqlError::new(SqlState::UndefinedFunction, message));
                }
                let order = compare_records(&field, a, b)?;
                if order.is_ne() {
                    return Ok(order);
                }
            }
            if a.len() == b.len() {
                return Ok(Ordering::Equal);
            }
            mismatch("cannot compare record types with different numbers of columns".to_owned())
        }
        (Datum::Array(a), Datum::Array(b)) if matches!(a.elements().first(), Some(Datum::Record(_))) => {
            let element = ty.element().unwrap_or(SqlType::RECORD);
            for (a, b) in a.elements().iter().zip(b.elements()) {
                let order = compare_records(&element, a, b)?;
                if order.is_ne() {
                    return Ok(order);
                }
            }
            Ok(compare_arrays(&element, a, b))
        }
        (a, b) => Ok(compare(ty, a, b)),
    }
}

/// Elements first, then how many there are, then the shape.
fn compare_arrays(element: &SqlType, a: &Array, b: &Array) -> Ordering {
    for (a, b) in a.elements().iter().zip(b.elements()) {
        let order = compare(element, a, b);
        if order.is_ne() {
            return order;
        }
    }
    a.len()
        .cmp(&b.len())
        .then_with(|| a.dimensions().len().cmp(&b.dimensions().len()))
        .then_with(|| a.dimensions().iter().map(|d| d.length).cmp(b.dimensions().iter().map(|d| d.length)))
        .then_with(|| a.dimensions().iter().map(|d| d.lower_bound).cmp(b.dimensions().iter().map(|d| d.lower_bound)))
}

/// Equal as GROUP BY and DISTINCT see it: NULL equals NULL.
#[must_use]
pub fn sql_equal(ty: &SqlType, a: &Datum, b: &Datum) -> bool {
    compare(ty, a, b).is_eq()
}

/// Feeds a hash that is the same for SQL-equal values of one type.
pub fn hash_datum<H: Hasher>(ty: &SqlType, datum: &Datum, state: &mut H) {
    match datum {
        Datum::Null => state.write_u8(0xff),
        Datum::Bool(value) => value.hash(state),
        Datum::Int(value) | Datum::Time(value) | Datum::Timestamp(value) | Datum::TimestampTz(value) => {
            state.write_i64(*value);
        }
        Datum::Float(value) => hash_float(*value, state),
        Datum::Numeric(value) => value.hash(state),
        Datum::Text(value) if is_padded(ty) => state.write(value.trim_end_matches(' ').as_bytes()),
        Datum::Text(value) | Datum::Json(value) => state.write(value.as_bytes()),
        Datum::Bytes(value) => state.write(value),
        Datum::Date(value) => state.write_i64(i64::from(*value)),
        Datum::TimeTz(value) => timetz_key(value).hash(state),
        Datum::Interval(value) => value.span().hash(state),
        Datum::Uuid(value) => state.write(value),
        Datum::Inet(value) => value.hash(state),
        Datum::MacAddr(value) => state.write(value),
        Datum::MacAddr8(value) => state.write(value),
        Datum::Bits(value) => value.hash(state),
        Datum::Geometry(value) => state.write(&value.to_binary()),
        Datum::TsVector(value) => value.hash(state),
        Datum::JsonPath(value) => value.text().hash(state),
        // Queries that differ in weights only are equal.
        Datum::TsQuery(value) => value.operands().for_each(|operand| operand.text.hash(state)),
        Datum::Enum(value) => state.write(value.sort_key()),
        Datum::Jsonb(value) => value.hash(state),
        Datum::Array(array) => {
            let element = ty.element().unwrap_or(SqlType::Text);
            state.write_usize(array.len());
            for datum in array.elements() {
                hash_datum(&element, datum, state);
            }
        }
        Datum::Range(range) => hash_range(&subtype_of(ty, std::slice::from_ref::<Range>(range), &[]), range, state),
        Datum::MultiRange(ranges) => {
            state.write_usize(ranges.len());
            let subtype = subtype_of(ty, ranges, &[]);
            ranges.iter().for_each(|range| hash_range(&subtype, range, state));
        }
        Datum::Record(fields) => {
            state.write_usize(fields.len());
            let of = ty.composite();
            for (at, field) in fields.iter().enumerate() {
                hash_datum(&known_field_type(of, at, field, field), field, state);
            }
        }
    }
}

fn hash_range<H: Hasher>(subtype: &SqlType, range: &Range, state: &mut H) {
    state.write_u8(range.flags());
    range.values().for_each(|value| hash_datum(subtype, value, state));
}

pub fn hash_float<H: Hasher>(value: f64, state: &mut H) {
    let canonical = if value.is_nan() {
        f64::NAN.to_bits()
    } else if value == 0.0 {
        0
    } else {
        value.to_bits()
    };
    state.write_u64(canonical);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datum::Interval;

    #[test]
    fn values_that_print_differently_may_be_equal() {
        let month = Datum::Interval(Interval { months: 1, days: 0, micros: 0 });
        let days = Datum::Interval(Interval { months: 0, days: 30, micros: 0 });
        assert!(sql_equal(&SqlType::Interval, &month, &days));
        assert!(sql_equal(&SqlType::Float8, &Datum::Float(-0.0), &Datum::Float(0.0)));
        assert!(sql_equal(&SqlType::Float8, &Datum::Float(f64::NAN), &Datum::Float(-f64::NAN)));
        assert!(sql_equal(&SqlType::Char(None), &"a ".into(), &"a".into()));
        assert!(!sql_equal(&SqlType::Text, &"a ".into(), &"a".into()));
        assert!(compare(&SqlType::Float8, &Datum::Float(f64::INFINITY), &Datum::Float(f64::NAN)).is_lt());
        assert!(compare(&SqlType::Int4, &Datum::Null, &Datum::Int(i64::MAX)).is_gt());
    }

    #[test]
    fn empty_jsonb_arrays_sort_first() {
        let json = |text: &str| Datum::Jsonb(Json::parse(text).unwrap().into());
        assert!(compare(&SqlType::Jsonb, &json("[]"), &json("null")).is_lt());
        assert!(compare(&SqlType::Jsonb, &json("[]"), &json("{}")).is_lt());
        assert!(compare(&SqlType::Jsonb, &json("[1]"), &json("null")).is_gt());
    }

    /// Values in PostgreSQL's order (collation C), with their ranks: equal ranks are equal values.
    #[rustfmt::skip]
    const RANKED: &[(&str, &[(&str, u32)])] = &[
        ("float8", &[("-Infinity", 1), ("-1.5", 2), ("0", 3), ("-0", 3), ("1.5", 4), ("1e308", 5), ("Infinity", 6), ("NaN", 7)]),
        ("numeric", &[("-Infinity", 1), ("-7", 2), ("0.00", 3), ("0", 3), ("1.49999", 4), ("1.50", 5), ("1.5", 5), ("1e30", 6), ("Infinity", 7), ("NaN", 8)]),
        ("text", &[("", 1), ("B", 2), ("Z", 3), ("_", 4), ("a", 5), ("a b", 6), ("ab", 7), ("b", 8), ("z", 9), ("é", 10)]),
        ("char(4)", &[(" ", 1), ("", 1), ("B", 2), ("a", 3), ("a ", 3), ("ab", 4)]),
        ("bytea", &[("\\x", 1), ("\\x00", 2), ("\\x00ff", 3), ("\\x01", 4), ("\\x0100", 5), ("\\xff", 6)]),
        ("interval", &[("-1 day", 1), ("0", 2), ("24:00:00", 3), ("1 day", 3), ("1 mon", 4), ("30 days", 4), ("720:00:00", 4), ("1 year", 5), ("365 days", 6)]),
        ("timetz", &[("00:00+15", 1), ("10:00+01", 2), ("11:00+01", 3), ("10:00+00", 4), ("09:00-01", 5), ("23:59-15", 6)]),
        ("date", &[("-infinity", 1), ("0044-03-15 BC", 2), ("2024-01-01", 3), ("infinity", 4)]),
        ("timestamp", &[("-infinity", 1), ("0044-03-15 BC", 2), ("2024-01-01", 3), ("infinity", 4)]),
        ("bool", &[("f", 1), ("t", 2)]),
        ("uuid", &[("00000000-0000-0000-0000-000000000001", 1), ("7fffffff-0000-0000-0000-000000000000", 2), ("ffffffff-0000-0000-0000-000000000000", 3)]),
        ("jsonb", &[("[]", 1), ("null", 2), ("\"\"", 3), ("\"B\"", 4), ("\"a\"", 5), ("-1", 6), ("1", 7), ("1.0", 7), ("false", 8), ("true", 9), ("[null]", 10), ("[\"a\"]", 11), ("[1]", 12), ("[2]", 13), ("[[]]", 14), ("[{}]", 15), ("[1, 2]", 16), ("{}", 17), ("{\"a\": 1}", 18), ("{\"a\": 2}", 19), ("{\"a\": []}", 20), ("{\"aa\": 1}", 21), ("{\"b\": 1}", 22), ("{\"a\": 1, \"b\": 2}", 23)]),
        ("int4[]", &[("{}", 1), ("{1}", 2), ("[0:1]={1,2}", 3), ("{1,2}", 4), ("{{1,2}}", 5), ("{{1},{2}}", 6), ("{1,2,3}", 7), ("{{1,2},{3,4}}", 8), ("{1,NULL}", 9), ("{2}", 10), ("{NULL}", 11)]),
        ("text[]", &[("{}", 1), ("{\"\"}", 2), ("{B}", 3), ("{a}", 4), ("{a,b}", 5), ("{NULL}", 6)]),
        ("numeric[]", &[("{1.0}", 1), ("{1}", 1), ("{1.00,2}", 2), ("{NaN}", 3)]),
        ("int4range", &[("empty", 1), ("(,)", 3), ("(,5)", 2), ("[1,3)", 4), ("(0,2]", 4), ("[1,4)", 5), ("[1,)", 6), ("[2,3)", 7)]),
        ("numrange", &[("empty", 1), ("(,1.0)", 2), ("(,1]", 3), ("[1,1.5)", 4), ("[1.0,1.50)", 4), ("[1,1.5]", 5), ("(1,1.5)", 6), ("(1,)", 7)]),
        ("nummultirange", &[("{}", 1), ("{(,1)}", 2), ("{(,1.0),(2,3)}", 3), ("{[1,2]}", 4), ("{[1,1.5],[1.25,2.0]}", 4), ("{(1,2)}", 5)]),
        ("char(3)[]", &[("{a}", 1), ("{\"a \"}", 1), ("{ab}", 2)]),
    ];

    #[test]
    fn order_and_hashes_are_those_of_postgresql() {
        let formatting = crate::Formatting::default();
        let hash = |ty: &SqlType, datum: &Datum| {
            let mut state = rustc_hash::FxHasher::default();
            hash_datum(ty, datum, &mut state);
            state.finish()
        };
        for (name, ranked) in RANKED {
            let ty = SqlType::parse_name(name).unwrap();
            let values: Vec<(Datum, u32)> =
                ranked.iter().map(|(text, rank)| (crate::parse_text(&ty, text, &formatting).unwrap(), *rank)).collect();
            for (a, rank_a) in &values {
                for (b, rank_b) in &values {
                    assert_eq!(compare(&ty, a, b), rank_a.cmp(rank_b), "{name}: {a:?} with {b:?}");
                    if rank_a == rank_b {
                        assert_eq!(hash(&ty, a), hash(&ty, b), "{name}: {a:?} and {b:?}");
                    }
                }
            }
        }
    }
}
