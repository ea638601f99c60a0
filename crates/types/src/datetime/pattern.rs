//! The problem: `to_char`, `to_date`, `to_timestamp` and `to_number` are told the shape of their text by a template
//! of fields, each with its own padding, letter case and ordinal ending, and applications know the results by heart.
//!
//! The idea: a template is cut once into [`Piece`]s; writing and reading then walk over these.
//!
//! ```text
//!   FMDDth, "of" Month   ->   Field(DD, fill mode, th)  ','  ' '  'o' 'f'  ' '  Field(Month)
//! ```
//!
//! Dates: [`moments`] writes, [`read`] reads. Numbers: [`number`] does both, since a number's template is one whole:
//! where its sign goes depends on all of its digits.
//!
//! Names of months and days are English, the decimal point is a point, as in the C locale.
//!
//! Source of fields and rules: PostgreSQL's documentation, section 9.8; of the corner cases, what PostgreSQL 15
//! answered (`pattern/recorded.tsv`).

mod moments;
mod number;
mod read;

pub use moments::to_char;
pub use number::{numeric_to_char, to_number};
pub use read::{to_date, to_timestamp};

use crate::error::{SqlError, SqlResult, SqlState};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Letters {
    Upper,
    Title,
    Lower,
}

impl Letters {
    /// A name, given with its first letter large.
    fn put(self, out: &mut String, name: &str) {
        match self {
            Self::Upper => out.push_str(&name.to_ascii_uppercase()),
            Self::Title => out.push_str(name),
            Self::Lower => out.push_str(&name.to_ascii_lowercase()),
        }
    }
}

/// What stands between fields. Reading treats separators more gently than letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filler {
    Space,
    Separator,
    Text,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece<F> {
    Field(F),
    Filler(char, Filler),
}

/// Cuts a template: `field` recognises a field at the start of what is left and says how long it is there.
fn cut<'a, F>(template: &'a str, mut field: impl FnMut(&mut &'a str) -> Option<F>) -> Vec<Piece<F>> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while !rest.is_empty() {
        if let Some(found) = field(&mut rest) {
            pieces.push(Piece::Field(found));
            continue;
        }
        // A field's prefix without a field behind it is swallowed.
        let Some(first) = rest.chars().next() else { break };
        if first == '"' {
            rest = &rest[1..];
            while let Some(quoted) = rest.chars().next() {
                rest = &rest[quoted.len_utf8()..];
                match (quoted, rest.chars().next()) {
                    ('"', _) => break,
                    ('\\', Some(escaped)) => {
                        rest = &rest[escaped.len_utf8()..];
                        pieces.push(Piece::Filler(escaped, Filler::Text));
                    }
                    _ => pieces.push(Piece::Filler(quoted, Filler::Text)),
                }
            }
            continue;
        }
        let shown = if rest.starts_with("\\\"") {
            rest = &rest[1..];
            '"'
        } else {
            first
        };
        rest = &rest[shown.len_utf8()..];
        let filler = match shown {
            _ if shown.is_ascii_punctuation() => Filler::Separator,
            _ if is_space(shown) => Filler::Space,
            _ => Filler::Text,
        };
        pieces.push(Piece::Filler(shown, filler));
    }
    pieces
}

fn is_space(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\x0b'
}

/// The prefix of `rest` that is `name`, all in upper or all in lower case.
fn spelled(rest: &str, name: &str) -> Option<Letters> {
    let head = rest.as_bytes().get(..name.len())?;
    if head == name.as_bytes() {
        return Some(Letters::Upper);
    }
    let lower = head.iter().zip(name.bytes()).all(|(given, wanted)| *given == wanted.to_ascii_lowercase());
    lower.then_some(Letters::Lower)
}

/// `st`, `nd`, `rd` or `th` for a number in digits.
fn ordinal(digits: &str) -> SqlResult<&'static str> {
    let bytes = digits.as_bytes();
    let last = bytes.last().copied().filter(u8::is_ascii_digit).ok_or_else(|| {
        SqlError::new(SqlState::InvalidTextRepresentation, format!("\"{digits}\" is not a number"))
    })?;
    let teens = bytes.len() > 1 && bytes[bytes.len() - 2] == b'1';
    Ok(match last {
        b'1' if !teens => "st",
        b'2' if !teens => "nd",
        b'3' if !teens => "rd",
        _ => "th",
    })
}

/// In reverse: index 0 is December, as the subtraction from 12 gives it.
const ROMAN_MONTHS: [&str; 12] = ["XII", "XI", "X", "IX", "VIII", "VII", "VI", "V", "IV", "III", "II", "I"];
const MONTHS: [&str; 12] = [
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

#[cfg(test)]
mod tests;
