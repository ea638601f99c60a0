//! Numerics in characters.

use num_bigint::BigInt;

use super::arithmetic::{checked, overflow};
use super::{MAX_INTEGER_DIGITS, MAX_SCALE, Numeric, Repr};
use crate::error::{SqlResult, raise};

impl Numeric {
    /// PostgreSQL's input: blanks around, a sign, digits with a point, an exponent; `NaN`, `Infinity`, `inf`.
    pub fn parse(text: &str) -> SqlResult<Self> {
        let invalid = || raise::invalid_syntax("numeric", text);
        let body = text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b');
        let (negative, unsigned) = match body.as_bytes().first() {
            Some(b'-') => (true, &body[1..]),
            Some(b'+') => (false, &body[1..]),
            _ => (false, body),
        };
        if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            return if body.eq_ignore_ascii_case("nan") {
                Ok(Self::NAN)
            } else if unsigned.eq_ignore_ascii_case("inf") || unsigned.eq_ignore_ascii_case("infinity") {
                Ok(if negative { Self::NEG_INFINITY } else { Self::INFINITY })
            } else {
                Err(invalid())
            };
        }
        let bytes = unsigned.as_bytes();
        let mut at = 0;
        let mut small: i64 = 0;
        let mut digits: Vec<u8> = Vec::new();
        let (mut count, mut scale, mut point) = (0_usize, 0_i64, false);
        while at < bytes.len() {
            match bytes[at] {
                digit @ b'0'..=b'9' => {
                    count += 1;
                    scale += i64::from(point);
                    if count <= 18 {
                        small = small * 10 + i64::from(digit - b'0');
                    } else if count == 19 {
                        digits.extend(bytes[..at].iter().filter(|b| b.is_ascii_digit()));
                    }
                    if count > 18 {
                        digits.push(digit);
                    }
                }
                b'.' if !point => point = true,
                _ => break,
            }
            at += 1;
        }
        if count == 0 {
            return Err(invalid());
        }
        let mut exponent: i64 = 0;
        if at < bytes.len() && matches!(bytes[at], b'e' | b'E') {
            let text = &unsigned[at + 1..];
            let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return Err(invalid());
            }
            exponent = match text.parse::<i64>() {
                Ok(exponent) if exponent.abs() < i64::from(i32::MAX) / 2 => exponent,
                _ => return Err(overflow()),
            };
        } else if at < bytes.len() {
            return Err(invalid());
        }
        let scale = scale - exponent;
        if count <= 18 && (0..=i64::from(MAX_SCALE)).contains(&scale) {
            return Ok(Self::small(if negative { -small } else { small }, scale as u16));
        }
        let mantissa = if count <= 18 {
            BigInt::from(small)
        } else {
            BigInt::parse_bytes(&digits, 10).expect("only digits were collected")
        };
        let mantissa = if negative { -mantissa } else { mantissa };
        if mantissa == BigInt::ZERO {
            return Ok(Self::small(0, scale.clamp(0, i64::from(MAX_SCALE)) as u16));
        }
        if -scale > MAX_INTEGER_DIGITS {
            return Err(overflow());
        }
        if scale > i64::from(MAX_SCALE) + count as i64 {
            // Every digit lies below the last one that can be kept.
            return Ok(Self::small(0, MAX_SCALE));
        }
        checked(mantissa, scale)
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        match &self.0 {
            Repr::Small { mantissa, scale } => {
                let mut buffer = itoa::Buffer::new();
                if *mantissa < 0 {
                    out.push(b'-');
                }
                put_point(out, buffer.format(mantissa.unsigned_abs()).as_bytes(), usize::from(*scale));
            }
            Repr::Big(big) => {
                if self.signum() < 0 {
                    out.push(b'-');
                }
                let digits = big.mantissa.magnitude().to_str_radix(10);
                put_point(out, digits.as_bytes(), usize::from(big.scale));
            }
            Repr::NaN => out.extend_from_slice(b"NaN"),
            Repr::Infinity => out.extend_from_slice(b"Infinity"),
            Repr::NegInfinity => out.extend_from_slice(b"-Infinity"),
        }
    }
}

fn put_point(out: &mut Vec<u8>, digits: &[u8], scale: usize) {
    if scale == 0 {
        out.extend_from_slice(digits);
    } else if digits.len() > scale {
        let (integer, fraction) = digits.split_at(digits.len() - scale);
        out.extend_from_slice(integer);
        out.push(b'.');
        out.extend_from_slice(fraction);
    } else {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + scale - digits.len(), b'0');
        out.extend_from_slice(digits);
    }
}
