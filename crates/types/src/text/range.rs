//! Ranges and multiranges as text: `[1,5)`, `(,"a b"]`, `empty`, `{[1,2),[3,)}`.

use crate::datum::Datum;
use crate::error::{SqlError, SqlResult, SqlState};
use crate::formatting::Formatting;
use crate::range::{Bound, Range};
use crate::range_type::RangeType;
use crate::sql_type::SqlType;

use super::{blank, parse_text, record::quote_from, write_text};

const EMPTY: &str = "empty";

/// What the bounds of a range are, also where its own type is not at hand.
pub(crate) fn range_subtype(ty: &SqlType, range: &Range) -> SqlType {
    crate::range::subtype_of(ty, std::slice::from_ref(range), &[])
}

fn starts_with_empty(text: &str) -> bool {
    text.get(..EMPTY.len()).is_some_and(|word| word.eq_ignore_ascii_case(EMPTY))
}

fn malformed(what: &str, input: &str, detail: &str) -> SqlError {
    SqlError::new(SqlState::InvalidTextRepresentation, format!("malformed {what} literal: \"{input}\"")).with_detail(detail)
}

pub(super) fn parse_range(of: RangeType, input: &str, formatting: &Formatting) -> SqlResult<Range> {
    RangeReader { of, input, at: 0, formatting }.read()
}

struct RangeReader<'a> {
    of: RangeType,
    input: &'a str,
    at: usize,
    formatting: &'a Formatting,
}

impl RangeReader<'_> {
    fn malformed(&self, detail: &str) -> SqlError {
        malformed("range", self.input, detail)
    }

    fn peek(&self) -> Option<u8> {
        self.input.as_bytes().get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while self.peek().is_some_and(|byte| blank(byte as char)) {
            self.at += 1;
        }
    }

    fn read(mut self) -> SqlResult<Range> {
        self.skip_blanks();
        if starts_with_empty(&self.input[self.at..]) {
            self.at += EMPTY.len();
            self.skip_blanks();
            return if self.peek().is_none() { Ok(Range::Empty) } else { Err(self.malformed("Junk after \"empty\" key word.")) };
        }
        let lower_inclusive = match self.peek() {
            Some(b'[') => true,
            Some(b'(') => false,
            _ => return Err(self.malformed("Missing left parenthesis or bracket.")),
        };
        self.at += 1;
        let lower = self.bound()?;
        if self.peek() != Some(b',') {
            return Err(self.malformed("Missing comma after lower bound."));
        }
        self.at += 1;
        let upper = self.bound()?;
        let upper_inclusive = match self.peek() {
            Some(b']') => true,
            Some(b')') => false,
            _ => return Err(self.malformed("Too many commas.")),
        };
        self.at += 1;
        self.skip_blanks();
        if self.peek().is_some() {
            return Err(self.malformed("Junk after right parenthesis or bracket."));
        }
        let subtype = self.of.subtype();
        let value = |text: Option<String>| text.map(|text| parse_text(&subtype, &text, self.formatting)).transpose();
        let (lower, upper) = (value(lower)?, value(upper)?);
        self.of.make(Bound::new(lower, lower_inclusive), Bound::new(upper, upper_inclusive))
    }

    /// The text of a bound, quotes and backslashes taken off; none where there is nothing at all.
    fn bound(&mut self) -> SqlResult<Option<String>> {
        let is_end = |byte: Option<u8>| matches!(byte, Some(b',' | b')' | b']'));
        if is_end(self.peek()) {
            return Ok(None);
        }
        let mut text = String::new();
        let mut quoted = false;
        while quoted || !is_end(self.peek()) {
            match self.character()? {
                '\\' => text.push(self.character()?),
                '"' if quoted && self.peek() == Some(b'"') => {
                    self.at += 1;
                    text.push('"');
                }
                '"' => quoted = !quoted,
                other => text.push(other),
            }
        }
        Ok(Some(text))
    }

    fn character(&mut self) -> SqlResult<char> {
        let next = self.input[self.at..].chars().next().ok_or_else(|| self.malformed("Unexpected end of input."))?;
        self.at += next.len_utf8();
        Ok(next)
    }
}

pub(super) fn parse_multirange(of: RangeType, input: &str, formatting: &Formatting) -> SqlResult<Vec<Range>> {
    #[derive(Clone, Copy)]
    enum State {
        Before,
        Within { from: usize, quoted: bool },
        After,
    }
    let malformed = |detail: &str| malformed("multirange", input, detail);
    let bytes = input.as_bytes();
    let skip_blanks = |mut at: usize| {
        while bytes.get(at).is_some_and(|byte| blank(*byte as char)) {
            at += 1;
        }
        at
    };
    let mut at = skip_blanks(0);
    if bytes.get(at) != Some(&b'{') {
        return Err(malformed("Missing left brace."));
    }
    at += 1;
    let mut ranges = Vec::new();
    let mut is_first = true;
    let mut state = State::Before;
    loop {
        let Some(&byte) = bytes.get(at) else { return Err(malformed("Unexpected end of input.")) };
        at += 1;
        state = match (state, byte) {
            (state, byte) if blank(byte as char) => state,
            (State::Before, b'[' | b'(') => State::Within { from: at - 1, quoted: false },
            (State::Before, b'}') if is_first => break,
            // Nothing comes of an empty range.
            (State::Before, _) if starts_with_empty(&input[at - 1..]) => {
                is_first = false;
                at += EMPTY.len() - 1;
                State::After
            }
            (State::Before, _) => return Err(malformed("Expected range start.")),
            (State::Within { from, quoted: false }, b']' | b')') => {
                is_first = false;
                ranges.push(parse_range(of, &input[from..at], formatting)?);
                State::After
            }
            // What is escaped says nothing here; the range is read again as a whole.
            (state @ State::Within { .. }, b'\\') => {
                if at == bytes.len() {
                    return Err(malformed("Unexpected end of input."));
                }
                at += 1;
                state
            }
            (State::Within { from, quoted }, b'"') => {
                if quoted && bytes.get(at) == Some(&b'"') {
                    at += 1;
                    state
                } else {
                    State::Within { from, quoted: !quoted }
                }
            }
            (state @ State::Within { .. }, _) => state,
            (State::After, b',') => State::Before,
            (State::After, b'}') => break,
            (State::After, _) => return Err(malformed("Expected comma or end of multirange.")),
        };
    }
    if skip_blanks(at) < bytes.len() {
        return Err(malformed("Junk after closing right brace."));
    }
    Ok(of.normalize(ranges))
}

pub(super) fn write_range(subtype: &SqlType, range: &Range, formatting: &Formatting, out: &mut Vec<u8>) {
    let Some((lower, upper)) = range.bounds() else { return out.extend_from_slice(EMPTY.as_bytes()) };
    out.push(if lower.inclusive { b'[' } else { b'(' });
    write_bound(subtype, lower.value.as_ref(), formatting, out);
    out.push(b',');
    write_bound(subtype, upper.value.as_ref(), formatting, out);
    out.push(if upper.inclusive { b']' } else { b')' });
}

fn write_bound(subtype: &SqlType, value: Option<&Datum>, formatting: &Formatting, out: &mut Vec<u8>) {
    let Some(value) = value else { return };
    let start = out.len();
    write_text(subtype, value, formatting, out);
    let text = &out[start..];
    let must_quote = text.is_empty()
        || text.iter().any(|b| matches!(b, b'"' | b'\\' | b'(' | b')' | b'[' | b']' | b',') || blank(*b as char));
    if must_quote {
        quote_from(out, start);
    }
}

pub(super) fn write_multirange(ty: &SqlType, ranges: &[Range], formatting: &Formatting, out: &mut Vec<u8>) {
    out.push(b'{');
    for (at, range) in ranges.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_range(&range_subtype(ty, range), range, formatting, out);
    }
    out.push(b'}');
}

/// Which bounds a constructor's third argument takes in: the lower, the upper.
///
/// # Errors
/// 42601.
pub fn parse_flags(text: &str) -> SqlResult<(bool, bool)> {
    match text {
        "[]" => Ok((true, true)),
        "[)" => Ok((true, false)),
        "(]" => Ok((false, true)),
        "()" => Ok((false, false)),
        _ => Err(SqlError::new(SqlState::SyntaxError, "invalid range bound flags")
            .with_hint("Valid values are \"[]\", \"[)\", \"(]\", and \"()\".")),
    }
}
