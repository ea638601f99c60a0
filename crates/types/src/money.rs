//! `money`: an integer of cents, as the C locale shows it in PostgreSQL (`$1,234.56`). Documentation, section 8.2.

use crate::error::{SqlError, SqlResult, raise};

/// Reads an amount: a currency sign, a sign or parentheses, digits with commas anywhere. A third digit behind the point
/// rounds.
///
/// # Errors
/// 22P02 for other text, 22003 for too large an amount.
pub fn parse_money(input: &str) -> SqlResult<i64> {
    let is_blank = |c: char| c.is_ascii_whitespace() || c == '\x0b';
    let too_large = || raise::value_out_of_range("money", input);
    let mut rest = input.trim_start_matches(is_blank);
    rest = rest.strip_prefix('$').unwrap_or(rest).trim_start_matches(is_blank);
    let mut negative = false;
    if let Some(after) = rest.strip_prefix(['-', '(']) {
        negative = true;
        rest = after;
    } else if let Some(after) = rest.strip_prefix('+') {
        rest = after;
    }
    rest = rest.trim_start_matches(is_blank);
    rest = rest.strip_prefix('$').unwrap_or(rest).trim_start_matches(is_blank);
    // Counted below zero: there is one more number.
    let mut value = 0_i64;
    let mut decimals: Option<u32> = None;
    let shift = |value: i64, digit: i64| value.checked_mul(10)?.checked_sub(digit);
    let mut end = rest.len();
    for (at, c) in rest.char_indices() {
        match (c, decimals) {
            ('0'..='9', None | Some(0 | 1)) => {
                value = shift(value, i64::from(c as u8 - b'0')).ok_or_else(too_large)?;
                decimals = decimals.map(|count| count + 1);
            }
            ('.', None) => decimals = Some(0),
            (',', _) => {}
            _ => {
                end = at;
                break;
            }
        }
    }
    rest = &rest[end..];
    if rest.starts_with(|c: char| ('5'..='9').contains(&c)) {
        value = value.checked_sub(1).ok_or_else(too_large)?;
    }
    for _ in decimals.unwrap_or(0)..2 {
        value = shift(value, 0).ok_or_else(too_large)?;
    }
    for c in rest.trim_start_matches(|c: char| c.is_ascii_digit()).chars() {
        match c {
            ')' | '+' | '$' => {}
            '-' => negative = true,
            c if is_blank(c) => {}
            _ => return Err(raise::invalid_syntax("money", input)),
        }
    }
    if negative { Ok(value) } else { value.checked_neg().ok_or_else(too_large) }
}

#[must_use]
pub fn show_money(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    let amount = cents.unsigned_abs();
    let whole = (amount / 100).to_string();
    let mut grouped = String::with_capacity(whole.len() * 2);
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}${grouped}.{:02}", amount % 100)
}

/// The amount in English words.
#[must_use]
pub fn money_in_words(cents: i64) -> String {
    const SCALES: [(u64, &str); 5] = [
        (100_000_000_000_000_000, " quadrillion "),
        (100_000_000_000_000, " trillion "),
        (100_000_000_000, " billion "),
        (100_000_000, " million "),
        (100_000, " thousand "),
    ];
    let amount = cents.unsigned_abs();
    let mut words = String::from(if cents < 0 { "minus " } else { "" });
    let before = words.len();
    for (unit, name) in SCALES {
        match amount / unit % 1000 {
            0 => {}
            count => {
                below_thousand(count, &mut words);
                words.push_str(name);
            }
        }
    }
    match amount / 100 % 1000 {
        0 => {}
        count => below_thousand(count, &mut words),
    }
    if words.len() == before {
        words.push_str("zero");
    }
    words.push_str(if amount / 100 == 1 { " dollar and " } else { " dollars and " });
    below_thousand(amount % 100, &mut words);
    words.push_str(if amount % 100 == 1 { " cent" } else { " cents" });
    words[..1].make_ascii_uppercase();
    words
}

fn below_thousand(value: u64, words: &mut String) {
    const SMALL: [&str; 20] = [
        "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
        "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
    ];
    const TENS: [&str; 10] =
        ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
    let (hundreds, rest) = (value / 100, value % 100);
    if hundreds > 0 {
        words.push_str(SMALL[hundreds as usize]);
        words.push_str(" hundred");
        if rest == 0 {
            return;
        }
        // PostgreSQL has its `and` before the small numbers alone.
        words.push_str(if rest < 20 { " and " } else { " " });
    }
    if rest < 20 {
        return words.push_str(SMALL[rest as usize]);
    }
    words.push_str(TENS[(rest / 10) as usize]);
    if rest % 10 > 0 {
        words.push(' ');
        words.push_str(SMALL[(rest % 10) as usize]);
    }
}

/// A product or quotient of an amount and a float, rounded to cents.
///
/// # Errors
/// 22003.
pub fn money_from_float(cents: f64) -> SqlResult<i64> {
    let rounded = cents.round_ties_even();
    // As a double the lower bound is exact, and so is the upper bound's successor.
    if rounded >= i64::MIN as f64 && rounded < -(i64::MIN as f64) {
        return Ok(rounded as i64);
    }
    Err(money_out_of_range())
}

#[must_use]
pub fn money_out_of_range() -> SqlError {
    raise::out_of_range("money")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_and_shown_as_in_the_c_locale() {
        for (text, shown) in [
            ("", "$0.00"), ("$", "$0.00"), ("(1)", "-$1.00"), ("1,2,3.456", "$123.46"), ("-$1.5", "-$1.50"), ("$-1.5", "-$1.50"),
            ("1234567.891", "$1,234,567.89"), ("92233720368547758.07", "$92,233,720,368,547,758.07"),
            ("-92233720368547758.08", "-$92,233,720,368,547,758.08"), ("-0.05", "-$0.05"), (" $ + 7 ", "$7.00"), ("1-", "-$1.00"),
        ] {
            assert_eq!(parse_money(text).map(show_money).unwrap(), shown, "{text}");
        }
        for wrong in ["92233720368547758.08", "1.2.3", "x", "1e3", "é"] {
            parse_money(wrong).unwrap_err();
        }
    }

    #[test]
    fn words_are_those_of_postgresql() {
        for (cents, words) in [
            (10_000_000, "One hundred thousand  dollars and zero cents"),
            (101, "One dollar and one cent"),
            (0, "Zero dollars and zero cents"),
            (11_019, "One hundred and ten dollars and nineteen cents"),
            (-12_345, "Minus one hundred twenty three dollars and forty five cents"),
        ] {
            assert_eq!(money_in_words(cents), words);
        }
    }
}
