//! Integers and floating-point numbers, the latter in the digits that PostgreSQL prints.

use crate::error::{SqlError, SqlResult, SqlState, raise};

use super::blank;

pub(super) fn parse_int(input: &str, type_name: &str, min: i64, max: i64) -> SqlResult<i64> {
    let trimmed = input.trim_matches(blank);
    let digits = trimmed.strip_prefix(['-', '+']).unwrap_or(trimmed);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(raise::invalid_syntax(type_name, input));
    }
    trimmed
        .parse::<i64>()
        .ok()
        .filter(|value| (min..=max).contains(value))
        .ok_or_else(|| raise::value_out_of_range(type_name, input))
}

pub(super) fn put_int(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn float_words(input: &str) -> Option<f64> {
    let (sign, word) = match input.as_bytes().first() {
        Some(b'-') => (-1.0, &input[1..]),
        Some(b'+') => (1.0, &input[1..]),
        _ => (1.0, input),
    };
    if input.eq_ignore_ascii_case("nan") {
        Some(f64::NAN)
    } else if word.eq_ignore_ascii_case("infinity") || word.eq_ignore_ascii_case("inf") {
        Some(sign * f64::INFINITY)
    } else {
        None
    }
}

fn is_float_syntax(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'))
}

/// A written digit other than zero, before the exponent: then a result of zero is an underflow.
fn has_nonzero_digit(text: &str) -> bool {
    text.bytes().take_while(|b| !matches!(b, b'e' | b'E')).any(|b| (b'1'..=b'9').contains(&b))
}

pub(crate) fn parse_float8(input: &str) -> SqlResult<f64> {
    let text = input.trim_matches(blank);
    if let Some(special) = float_words(text) {
        return Ok(special);
    }
    let value: f64 = text
        .parse()
        .ok()
        .filter(|_| is_float_syntax(text))
        .ok_or_else(|| raise::invalid_syntax("double precision", input))?;
    if value.is_infinite() || (value == 0.0 && has_nonzero_digit(text)) {
        return Err(SqlError::new(
            SqlState::NumericValueOutOfRange,
            format!("\"{text}\" is out of range for type double precision"),
        ));
    }
    Ok(value)
}

pub(super) fn parse_float4(input: &str) -> SqlResult<f64> {
    let text = input.trim_matches(blank);
    if let Some(special) = float_words(text) {
        return Ok(special);
    }
    let value: f32 =
        text.parse().ok().filter(|_| is_float_syntax(text)).ok_or_else(|| raise::invalid_syntax("real", input))?;
    if value.is_infinite() || (value == 0.0 && has_nonzero_digit(text)) {
        return Err(SqlError::new(
            SqlState::NumericValueOutOfRange,
            format!("\"{text}\" is out of range for type real"),
        ));
    }
    Ok(f64::from(value))
}

fn write_special_float(value: f64, out: &mut Vec<u8>) -> bool {
    if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"Infinity" } else { b"-Infinity" });
    } else {
        return false;
    }
    true
}

pub fn write_float8(value: f64, extra_digits: i32, out: &mut Vec<u8>) {
    if write_special_float(value, out) {
        return;
    }
    if extra_digits > 0 {
        let mut buffer = ryu::Buffer::new();
        let text = buffer.format_finite(value);
        let midpoints = midpoints(value.to_bits() & (u64::MAX >> 1), 52, 1075);
        // Below this no shortest text is a midpoint: it would need more than 17 digits.
        if value.abs() >= TWO_TO_52 && is_one_of(text, midpoints) {
            put_shortest(&inside(text, midpoints, |digits| Some(format!("{value:.digits$e}")).filter(|text| text.parse::<f64>() == Ok(value))), 15, out);
        } else {
            put_shortest(text, 15, out);
        }
    } else {
        put_general(value, (15 + extra_digits).max(1) as usize, out);
    }
}

pub fn write_float4(value: f32, extra_digits: i32, out: &mut Vec<u8>) {
    if write_special_float(f64::from(value), out) {
        return;
    }
    if extra_digits > 0 {
        let mut buffer = ryu::Buffer::new();
        let text = buffer.format_finite(value);
        let midpoints = midpoints(u64::from(value.to_bits() & (u32::MAX >> 1)), 23, 150);
        // As above, of 9 digits.
        if value.abs() >= TWO_TO_22 && is_one_of(text, midpoints) {
            put_shortest(&inside(text, midpoints, |digits| Some(format!("{value:.digits$e}")).filter(|text| text.parse::<f32>() == Ok(value))), 6, out);
        } else {
            put_shortest(text, 6, out);
        }
    } else {
        put_general(f64::from(value), (6 + extra_digits).max(1) as usize, out);
    }
}

const TWO_TO_52: f64 = 4_503_599_627_370_496.0;
const TWO_TO_22: f32 = 4_194_304.0;

/// The middles between a positive normal float and its neighbours, as `odd · 2^exponent`. `bits`: those of the float, its fraction of
/// `fraction` bits; `bias`: that of the exponent, for a fraction that is an integer.
fn midpoints(bits: u64, fraction: u32, bias: i32) -> [(u64, i32); 2] {
    let implied = 1 << fraction;
    let mantissa = (bits & (implied - 1)) | implied;
    let exponent = (bits >> fraction) as i32 - bias;
    // The neighbour below a power of two is half as far.
    let below = if mantissa == implied { (4 * mantissa - 1, exponent - 2) } else { (2 * mantissa - 1, exponent - 1) };
    [below, (2 * mantissa + 1, exponent - 1)]
}

/// Whether a decimal number is one of these.
fn is_one_of(text: &str, midpoints: [(u64, i32); 2]) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: String = [integer, fraction.trim_end_matches('0')].concat();
    let (Ok(digits), Ok(exponent)) = (digits.parse::<u64>(), exponent.parse::<i32>()) else { return false };
    if digits == 0 {
        return false;
    }
    // digits · 10^power = odd part · 5^power · 2^(power + zeros)
    let power = exponent - fraction.trim_end_matches('0').len() as i32;
    let zeros = digits.trailing_zeros();
    let Some(scale) = 5_u64.checked_pow(power.unsigned_abs()) else { return false };
    let odd = u128::from(digits >> zeros);
    midpoints.into_iter().any(|(middle, two)| {
        let middle = u128::from(middle);
        let scale = u128::from(scale);
        let is_equal = if power >= 0 { odd * scale == middle } else { odd == middle * scale };
        is_equal && two == power + zeros as i32
    })
}

/// PostgreSQL does not trust readers to round a midpoint to the even neighbour: the shortest text that is none. `digits_of` prints that
/// many digits behind the point, if those are read as the same float.
fn inside(shortest: &str, midpoints: [(u64, i32); 2], digits_of: impl Fn(usize) -> Option<String>) -> String {
    let digits: String = shortest.chars().take_while(|char| *char != 'e').filter(char::is_ascii_digit).collect();
    let first = digits.trim_matches('0').len().saturating_sub(1);
    let longer = (first..17).filter_map(digits_of).find(|text| !is_one_of(text, midpoints));
    longer.unwrap_or_else(|| shortest.to_owned())
}

/// Turns the shortest digits into PostgreSQL's layout: plain from 10^-4 up to 10^`plain_digits`, else `d.ddde+xx`.
fn put_shortest(text: &str, plain_digits: i32, out: &mut Vec<u8>) {
    let (sign, body) = text.strip_prefix('-').map_or(("", text), |body| ("-", body));
    let (mantissa, exponent) = body.split_once('e').unwrap_or((body, "0"));
    let exponent: i32 = exponent.parse().expect("an exponent is a number");
    let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = [0_u8; 40];
    let mut count = 0;
    // Position of the decimal point, counted from the first digit that is kept.
    let mut point = integer.len() as i32 + exponent;
    for digit in integer.bytes().chain(fraction.bytes()) {
        if count == 0 && digit == b'0' {
            point -= 1;
            continue;
        }
        digits[count] = digit;
        count += 1;
    }
    while count > 0 && digits[count - 1] == b'0' {
        count -= 1;
    }
    let digits = &digits[..count];
    out.extend_from_slice(sign.as_bytes());
    if digits.is_empty() {
        out.push(b'0');
        return;
    }
    put_digits(digits, point, (-3..=plain_digits).contains(&point), out);
}

fn put_digits(digits: &[u8], point: i32, plain: bool, out: &mut Vec<u8>) {
    if !plain {
        out.push(digits[0]);
        if digits.len() > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        let exponent = point - 1;
        out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
        if exponent.abs() < 10 {
            out.push(b'0');
        }
        put_int(out, i64::from(exponent.abs()));
    } else if point <= 0 {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + (-point) as usize, b'0');
        out.extend_from_slice(digits);
    } else if point as usize >= digits.len() {
        out.extend_from_slice(digits);
        out.resize(out.len() + point as usize - digits.len(), b'0');
    } else {
        let (integer, fraction) = digits.split_at(point as usize);
        out.extend_from_slice(integer);
        out.push(b'.');
        out.extend_from_slice(fraction);
    }
}

/// C's `%.{precision}g`.
fn put_general(value: f64, precision: usize, out: &mut Vec<u8>) {
    let text = format!("{value:.*e}", precision - 1);
    let (mantissa, exponent) = text.split_once('e').expect("the exponent form has an exponent");
    let exponent: i32 = exponent.parse().expect("an exponent is a number");
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |body| ("-", body));
    let digits: Vec<u8> = mantissa.bytes().filter(u8::is_ascii_digit).collect();
    let kept = digits.iter().rposition(|b| *b != b'0').map_or(0, |last| last + 1);
    out.extend_from_slice(sign.as_bytes());
    if kept == 0 {
        out.push(b'0');
        return;
    }
    put_digits(&digits[..kept], exponent + 1, (-4..precision as i32).contains(&exponent), out);
}
