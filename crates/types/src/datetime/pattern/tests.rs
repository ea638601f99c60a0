//! Template patterns against answers recorded from PostgreSQL 15.

use super::*;
use crate::datetime::zone::Zone;
use crate::{Formatting, SqlType, parse_text, to_text};

/// Every line of `recorded.tsv` is what PostgreSQL 15 answered, in the zone America/New_York:
/// function, type, value, template, result. `!` starts an error, `<null>` is NULL.
/// Left out are inputs on which its 32-bit sums wrap round: here those are out of range.
#[test]
fn templates_agree_with_postgresql() {
    let zone = Zone::parse("America/New_York").unwrap();
    let formatting = Formatting { zone: zone.clone(), ..Formatting::default() };
    let mut wrong = Vec::new();
    for line in include_str!("recorded.tsv").lines() {
        let [function, ty, value, pattern, expected] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("five columns: {line}")
        };
        let ty = match ty {
            "timestamp" => SqlType::TIMESTAMP,
            "timestamptz" => SqlType::TIMESTAMPTZ,
            "interval" => SqlType::Interval,
            "numeric" => SqlType::NUMERIC,
            "int4" => SqlType::Int4,
            "int8" => SqlType::Int8,
            "float4" => SqlType::Float4,
            "float8" => SqlType::Float8,
            _ => SqlType::Text,
        };
        let datum = parse_text(&ty, value, &formatting).unwrap();
        let answer = match function {
            "to_char" => to_char(&ty, &datum, pattern, &zone),
            "to_number" => to_number(value, pattern).map(|n| n.map(|n| n.to_string())),
            "to_date" => to_date(value, pattern)
                .map(|days| Some(to_text(&SqlType::Date, &crate::Datum::Date(days), &formatting))),
            _ => to_timestamp(value, pattern, &zone)
                .map(|at| Some(to_text(&SqlType::TIMESTAMPTZ, &crate::Datum::TimestampTz(at), &formatting))),
        };
        let answer = match answer {
            Ok(text) => text.unwrap_or_else(|| "<null>".into()),
            Err(error) => format!("!{} {}", error.code(), error.message()),
        };
        if answer != expected {
            wrong.push(format!("{function}({value:?}::{ty}, {pattern:?}): {answer:?}, PostgreSQL: {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n"));
}
