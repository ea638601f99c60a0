//! Reading arguments: a strict builtin's are of their declared type by *datum-matches-type*, so a mismatch here is
//! our own bug and says so.

use types::jsonpath::JsonPath;
use types::{Array, Bits, Datum, Geometry, Inet, Interval, Json, Numeric, Range, TimeTz, TsQuery, TsVector};

#[track_caller]
fn mismatch(datum: &Datum, wanted: &str) -> ! {
    panic!("datum-matches-type: {wanted} expected, {datum:?} given")
}

#[track_caller]
pub(crate) fn int(datum: &Datum) -> i64 {
    datum.as_int().unwrap_or_else(|| mismatch(datum, "an integer"))
}

#[track_caller]
pub(crate) fn float(datum: &Datum) -> f64 {
    datum.as_float().unwrap_or_else(|| mismatch(datum, "a float"))
}

#[track_caller]
pub(crate) fn numeric(datum: &Datum) -> &Numeric {
    datum.as_numeric().unwrap_or_else(|| mismatch(datum, "a numeric"))
}

#[track_caller]
pub(crate) fn boolean(datum: &Datum) -> bool {
    datum.as_bool().unwrap_or_else(|| mismatch(datum, "a boolean"))
}

#[track_caller]
pub(crate) fn text(datum: &Datum) -> &str {
    datum.as_str().unwrap_or_else(|| mismatch(datum, "text"))
}

#[track_caller]
pub(crate) fn bytes(datum: &Datum) -> &[u8] {
    datum.as_bytes().unwrap_or_else(|| mismatch(datum, "bytea"))
}

/// Days or microseconds of a date, time or timestamp.
#[track_caller]
pub(crate) fn moment(datum: &Datum) -> i64 {
    datum.as_time_value().unwrap_or_else(|| mismatch(datum, "a date or time"))
}

#[track_caller]
pub(crate) fn date(datum: &Datum) -> i32 {
    match datum {
        Datum::Date(days) => *days,
        other => mismatch(other, "a date"),
    }
}

#[track_caller]
pub(crate) fn interval(datum: &Datum) -> Interval {
    datum.as_interval().unwrap_or_else(|| mismatch(datum, "an interval"))
}

#[track_caller]
pub(crate) fn timetz(datum: &Datum) -> TimeTz {
    match datum {
        Datum::TimeTz(time) => *time,
        other => mismatch(other, "a timetz"),
    }
}

#[track_caller]
pub(crate) fn bits(datum: &Datum) -> &Bits {
    match datum {
        Datum::Bits(bits) => bits,
        other => mismatch(other, "a bit string"),
    }
}

#[track_caller]
pub(crate) fn unsigned(datum: &Datum) -> u64 {
    datum.as_unsigned().unwrap_or_else(|| mismatch(datum, "a pg_lsn or xid8"))
}

#[track_caller]
pub(crate) fn geometry(datum: &Datum) -> &Geometry {
    match datum {
        Datum::Geometry(geometry) => geometry,
        other => mismatch(other, "a geometric value"),
    }
}

#[track_caller]
pub(crate) fn tsvector(datum: &Datum) -> &TsVector {
    match datum {
        Datum::TsVector(vector) => vector,
        other => mismatch(other, "a tsvector"),
    }
}

#[track_caller]
pub(crate) fn jsonpath(datum: &Datum) -> &JsonPath {
    match datum {
        Datum::JsonPath(path) => path,
        other => mismatch(other, "a jsonpath"),
    }
}

#[track_caller]
pub(crate) fn tsquery(datum: &Datum) -> &TsQuery {
    match datum {
        Datum::TsQuery(query) => query,
        other => mismatch(other, "a tsquery"),
    }
}

#[track_caller]
pub(crate) fn macaddr8(datum: &Datum) -> [u8; 8] {
    match datum {
        Datum::MacAddr8(bytes) => *bytes,
        other => mismatch(other, "a macaddr8"),
    }
}

#[track_caller]
pub(crate) fn inet(datum: &Datum) -> Inet {
    match datum {
        Datum::Inet(inet) => *inet,
        other => mismatch(other, "an inet"),
    }
}

#[track_caller]
pub(crate) fn macaddr(datum: &Datum) -> [u8; 6] {
    match datum {
        Datum::MacAddr(bytes) => *bytes,
        other => mismatch(other, "a macaddr"),
    }
}

#[track_caller]
pub(crate) fn array(datum: &Datum) -> &Array {
    datum.as_array().unwrap_or_else(|| mismatch(datum, "an array"))
}

#[track_caller]
pub(crate) fn range(datum: &Datum) -> &Range {
    match datum {
        Datum::Range(range) => range,
        other => mismatch(other, "a range"),
    }
}

#[track_caller]
pub(crate) fn jsonb(datum: &Datum) -> &Json {
    datum.as_jsonb().unwrap_or_else(|| mismatch(datum, "jsonb"))
}
