//! Numeric arithmetic against answers recorded from PostgreSQL 15.

use super::*;
use crate::error::{SqlResult, SqlState};

fn n(text: &str) -> Numeric {
    Numeric::parse(text).unwrap()
}

#[test]
fn text_round_trips() {
    for text in ["0", "0.00", "1", "-1.50", "0.001", "123456789012345678", "1234567890123456789", "-9223372036854775808",
        "99999999999999999999.99999", "NaN", "Infinity", "-Infinity"]
    {
        assert_eq!(n(text).to_string(), text);
    }
    let check = |input: &str, expected: &str| assert_eq!(n(input).to_string(), expected, "{input}");
    check(" +1.5e3 ", "1500");
    check("1.5e-3", "0.0015");
    check(".5", "0.5");
    check("5.", "5");
    check("-inf", "-Infinity");
    check("0e10", "0");
    for bad in ["", " ", "1.2.3", "1e", "e5", "abc", "1 2", "--1", ".", "+nan", "0x10"] {
        assert_eq!(Numeric::parse(bad).unwrap_err().code(), SqlState::InvalidTextRepresentation, "{bad}");
    }
    assert_eq!(Numeric::parse("1e200000").unwrap_err().code(), SqlState::NumericValueOutOfRange);
}

#[test]
fn scales_follow_postgresql() {
    let check = |result: SqlResult<Numeric>, expected: &str| assert_eq!(result.unwrap().to_string(), expected);
    check(n("1.5").add(&n("2.25")), "3.75");
    check(n("1.50").mul(&n("2.0")), "3.000");
    check(n("1").div(&n("3")), "0.33333333333333333333");
    check(n("10").div(&n("3")), "3.3333333333333333");
    check(n("100000").div(&n("3")), "33333.333333333333");
    check(n("1").div(&n("0.0001")), "10000.0000000000000000");
    check(n("7.5").rem(&n("-2")), "1.5");
    check(n("-7.5").div_trunc(&n("2")), "-3");
    check(n("2").sqrt(), "1.414213562373095");
    check(n("2").power(&n("3")), "8.0000000000000000");
    check(n("2").power(&n("0.5")), "1.4142135623730950");
    check(n("1").exp(), "2.7182818284590452");
    check(n("2.0").ln(), "0.6931471805599453");
    check(n("100").log10(), "2.0000000000000000");
    check(n("12345.678").round(-2).add(&Numeric::ZERO), "12300");
    assert_eq!(n("2.5").round(0).to_string(), "3");
    assert_eq!(n("-2.5").round(0).to_string(), "-3");
    assert_eq!(n("-2.5").ceil().to_string(), "-2");
    assert_eq!(n("-2.5").floor().to_string(), "-3");
}

#[test]
fn equal_values_of_any_scale_are_equal() {
    use std::collections::HashSet;
    let set: HashSet<Numeric> = ["1", "1.0", "1.00000000000000000000000000000"].map(n).into_iter().collect();
    assert_eq!(set.len(), 1);
    assert!(!n("1.0").is_identical(&n("1")));
    let rising = ["-Infinity", "-1e30", "-1", "-0.1", "0", "1e-20", "0.1", "1", "1e30", "Infinity", "NaN"].map(n);
    for pair in rising.windows(2) {
        assert!(pair[0] < pair[1], "{} < {}", pair[0], pair[1]);
    }
}

#[test]
fn a_mantissa_that_fits_is_in_place() {
    let big = n("100000000000000000000");
    assert!(big.as_small().is_none());
    assert!(big.sub(&n("99999999999999999999")).unwrap().as_small().is_some(), "numeric-normal");
}

#[test]
fn modifiers_round_and_refuse() {
    let modifier = Some(NumericModifier { precision: 5, scale: 2 });
    use crate::sql_type::NumericModifier;
    assert_eq!(n("123.456").apply_modifier(modifier).unwrap().to_string(), "123.46");
    assert_eq!(n("1").apply_modifier(modifier).unwrap().to_string(), "1.00");
    let error = n("999.995").apply_modifier(modifier).unwrap_err();
    assert_eq!(error.code(), SqlState::NumericValueOutOfRange);
    assert_eq!(
        error.detail.as_deref(),
        Some("A field with precision 5, scale 2 must round to an absolute value less than 10^3.")
    );
}

#[test]
fn binary_round_trips() {
    for text in ["0", "0.00", "1", "10000", "-12345.6789", "0.00001", "99999999999999999999999.5", "NaN", "Infinity", "1e100"] {
        let mut out = Vec::new();
        n(text).write_binary(&mut out);
        assert!(Numeric::parse_binary(&out).unwrap().is_identical(&n(text)), "{text}");
    }
    assert_eq!(Numeric::parse_binary(&[0, 1]).unwrap_err().code(), SqlState::InvalidBinaryRepresentation);
}

#[test]
fn floats_convert_as_printed_with_fifteen_digits() {
    assert_eq!(Numeric::from_f64(0.1 + 0.2).to_string(), "0.3");
    assert_eq!(Numeric::from_f64(1e20).to_string(), "100000000000000000000");
    assert_eq!(Numeric::from_f32(0.1).to_string(), "0.1");
    assert_eq!(n("0.1").to_f64(), 0.1);
    assert_eq!(n("2.5").to_i64("bigint").unwrap(), 3);
    assert_eq!(n("-2.5").to_i64("bigint").unwrap(), -3);
    assert_eq!(n("1e19").to_i64("bigint").unwrap_err().code(), SqlState::NumericValueOutOfRange);
}

#[test]
fn functions_answer_as_postgresql() {
    let mut wrong = Vec::new();
    for line in include_str!("../../testdata/numeric.tsv").lines().filter(|line| !line.starts_with('#')) {
        let [operation, a, b, expected] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let x = n(a);
        let y = || n(b);
        let digits = || b.parse::<i32>().unwrap();
        let found = match operation {
            "add" => x.add(&y()),
            "sub" => x.sub(&y()),
            "mul" => x.mul(&y()),
            "div" => x.div(&y()),
            "rem" => x.rem(&y()),
            "power" => x.power(&y()),
            // log(base, number)
            "log" => y().log(&x),
            "sqrt" => x.sqrt(),
            "ln" => x.ln(),
            "exp" => x.exp(),
            "log10" => x.log10(),
            "ceil" => Ok(x.ceil()),
            "floor" => Ok(x.floor()),
            "abs" => Ok(x.abs()),
            "sign" => Ok(x.sign()),
            "neg" => Ok(x.neg()),
            "trim_scale" => Ok(x.trim_scale()),
            "round" => Ok(x.round(digits())),
            "trunc" => Ok(x.trunc(digits())),
            other => panic!("{other}"),
        };
        let found = found.map_or_else(|error| format!("!{}", error.code().code()), |value| value.to_string());
        if found != expected {
            wrong.push(format!("{operation}({a}, {b}): {found}, not {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
