//! Dates, times and intervals against answers recorded from PostgreSQL 15.

use super::*;
use crate::datum::{Datum, Interval};
use crate::error::SqlResult;
use crate::formatting::{Formatting, IntervalStyle};
use crate::sql_type::SqlType;
use crate::text::to_text;
use crate::Zone;

fn ts(text: &str) -> i64 {
    parse_timestamp(text, None, &Formatting::default()).unwrap()
}

fn iv(text: &str) -> Interval {
    parse_interval(text).unwrap()
}

fn run(operation: &str, a: &str, b: &str) -> SqlResult<String> {
    let zone = Zone::utc();
    let mut formatting = Formatting::default();
    let factor = || b.parse::<f64>().unwrap();
    let timestamp = |value: SqlResult<i64>| value.map(|value| (SqlType::TIMESTAMP, Datum::Timestamp(value)));
    let interval = |value: SqlResult<Interval>| value.map(|value| (SqlType::Interval, Datum::Interval(value)));
    let number = |value: SqlResult<Option<crate::Numeric>>| value.map(|value| (SqlType::NUMERIC, value.into()));
    let (ty, datum) = match operation {
        "ts+iv" => timestamp(timestamp_add(ts(a), iv(b))),
        "ts-ts" => interval(timestamp_diff(ts(a), ts(b))),
        "age" => interval(timestamp_age(ts(a), ts(b))),
        "ts_trunc" => timestamp(timestamp_trunc(a, ts(b))),
        "iv_trunc" => interval(interval_trunc(a, iv(b))),
        "ts_extract" => number(extract(a, &SqlType::TIMESTAMP, &Datum::Timestamp(ts(b)), &zone)),
        "iv_extract" => number(extract(a, &SqlType::Interval, &Datum::Interval(iv(b)), &zone)),
        "iv*" => interval(interval_mul(iv(a), factor())),
        "iv/" => interval(interval_div(iv(a), factor())),
        "justify_hours" => interval(justify_hours(iv(a))),
        "justify_days" => interval(justify_days(iv(a))),
        "justify_interval" => interval(justify_interval(iv(a))),
        style => {
            formatting.interval_style = match style {
                "style_postgres" => IntervalStyle::Postgres,
                "style_postgres_verbose" => IntervalStyle::PostgresVerbose,
                "style_sql_standard" => IntervalStyle::SqlStandard,
                "style_iso_8601" => IntervalStyle::Iso8601,
                other => panic!("{other}"),
            };
            interval(Ok(iv(a)))
        }
    }?;
    Ok(if datum.is_null() { "<null>".to_owned() } else { to_text(&ty, &datum, &formatting) })
}

#[test]
fn functions_answer_as_postgresql() {
    let mut wrong = Vec::new();
    for line in include_str!("../../testdata/datetime.tsv").lines().filter(|line| !line.starts_with('#')) {
        let [operation, a, b, expected] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let found = run(operation, a, b).unwrap_or_else(|error| format!("!{}", error.code().code()));
        if found != expected {
            wrong.push(format!("{operation}({a}, {b}): {found}, not {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
