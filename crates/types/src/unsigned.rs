//! 64 bits without a sign: `pg_lsn`, a position in a log, and `xid8`, a transaction's number.
//!
//! A datum is the number with its highest bit inverted, as the integer that this is: comparisons, hashes, keys and rows of
//! integers then serve it, in the right order.

use crate::datum::Datum;
use crate::error::{SqlError, SqlResult, raise};
use crate::numeric::Numeric;

const HIGHEST: u64 = 1 << 63;

impl Datum {
    /// Of a pg_lsn or xid8.
    #[must_use]
    pub const fn from_unsigned(value: u64) -> Self {
        Self::Int((value ^ HIGHEST).cast_signed())
    }

    /// The number in the integer of a pg_lsn or xid8.
    #[must_use]
    pub const fn as_unsigned(&self) -> Option<u64> {
        match self {
            Self::Int(value) => Some(to_unsigned(*value)),
            _ => None,
        }
    }
}

pub(crate) const fn to_unsigned(value: i64) -> u64 {
    value.cast_unsigned() ^ HIGHEST
}

/// Two numbers of eight hexadecimal digits at most.
///
/// # Errors
/// 22P02.
pub fn parse_lsn(input: &str) -> SqlResult<u64> {
    let half = |digits: &str| {
        let is_number = (1..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        u32::from_str_radix(digits, 16).ok().filter(|_| is_number)
    };
    let halves = input.split_once('/').and_then(|(high, low)| half(high).zip(half(low)));
    let (high, low) = halves.ok_or_else(|| raise::invalid_syntax("pg_lsn", input))?;
    Ok(u64::from(high) << 32 | u64::from(low))
}

#[must_use]
pub fn show_lsn(value: u64) -> String {
    format!("{:X}/{:X}", value >> 32, value as u32)
}

/// Reads as C's `strtoull` does, PostgreSQL's way with transaction numbers: as many digits as there are, hexadecimal behind
/// `0x` and octal behind `0`, and nothing is an error.
#[must_use]
pub fn parse_xid8(input: &str) -> u64 {
    let text = input.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b');
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let (digits, radix) = match hex {
        Some(digits) if digits.starts_with(|c: char| c.is_ascii_hexdigit()) => (digits, 16),
        _ if text.starts_with('0') => (text, 8),
        _ => (text, 10),
    };
    let values = digits.chars().map_while(|digit| digit.to_digit(radix));
    let value = values.fold(Some(0_u64), |value, digit| {
        value?.checked_mul(radix.into())?.checked_add(digit.into())
    });
    // What is too large is the largest there is.
    value.map_or(u64::MAX, |value| if negative { value.wrapping_neg() } else { value })
}

/// Rounded to a whole number.
///
/// # Errors
/// 22023 outside of 64 bits, 0A000 for what is no number.
pub fn numeric_to_lsn(value: &Numeric) -> SqlResult<u64> {
    if value.is_nan() || !value.is_finite() {
        let what = if value.is_nan() { "NaN" } else { "infinity" };
        return Err(SqlError::not_supported(format!("cannot convert {what} to pg_lsn")));
    }
    value.round(0).to_string().parse().map_err(|_| raise::invalid_parameter("pg_lsn out of range"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_that_of_the_numbers() {
        let values = [0, 1, u64::from(u32::MAX), HIGHEST - 1, HIGHEST, u64::MAX];
        for pair in values.windows(2) {
            assert!(Datum::from_unsigned(pair[0]).as_int() < Datum::from_unsigned(pair[1]).as_int());
        }
        assert!(values.iter().all(|value| Datum::from_unsigned(*value).as_unsigned() == Some(*value)));
    }

    #[test]
    fn texts_are_read_as_postgresql_does() {
        assert_eq!(parse_lsn("16/B374d848").map(show_lsn).unwrap(), "16/B374D848");
        for wrong in ["", "1", "1/", "/1", " 1/0", "1/0 ", "123456789/0", "1/g", "+1/0"] {
            parse_lsn(wrong).unwrap_err();
        }
        for (text, value) in [("abc", 0), ("12abc", 12), ("0x10", 16), ("-1", u64::MAX), (" 5", 5), ("010", 8), ("0x", 0)] {
            assert_eq!(parse_xid8(text), value, "{text}");
        }
        assert_eq!(parse_xid8("18446744073709551616"), u64::MAX);
    }
}
