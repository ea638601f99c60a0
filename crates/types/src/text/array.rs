//! Array literals, from braces to dimensions and back.

use crate::array::{Array, Dimension, MAX_DIMENSIONS};
use crate::datum::Datum;
use crate::error::{SqlError, SqlResult, SqlState};
use crate::formatting::Formatting;
use crate::sql_type::SqlType;

use super::{blank, parse_text, write_text};

/// `{1,2,NULL}`, `{{a,"b c"},{d,e}}`, `[0:1]={1,2}`.
pub(super) fn parse_array(element: &SqlType, input: &str, formatting: &Formatting) -> SqlResult<Array> {
    ArrayReader { element, input, at: 0, formatting }.read()
}

struct ArrayReader<'a> {
    element: &'a SqlType,
    input: &'a str,
    at: usize,
    formatting: &'a Formatting,
}

/// `pg_type.typdelim`: boxes have commas of their own.
fn delimiter(element: &SqlType) -> u8 {
    if *element == SqlType::Box { b';' } else { b',' }
}

impl ArrayReader<'_> {
    fn malformed(&self, detail: &str) -> SqlError {
        SqlError::new(
            SqlState::InvalidTextRepresentation,
            format!("malformed array literal: \"{}\"", self.input),
        )
        .with_detail(detail)
    }

    fn peek(&self) -> Option<u8> {
        self.input.as_bytes().get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while self.peek().is_some_and(|b| blank(b as char)) {
            self.at += 1;
        }
    }

    fn read(mut self) -> SqlResult<Array> {
        self.skip_blanks();
        let given = self.bounds()?;
        if self.peek() != Some(b'{') {
            return Err(self.malformed(if given.is_empty() {
                "Array value must start with \"{\" or dimension information."
            } else {
                "Array contents must start with \"{\"."
            }));
        }
        let mut lengths: Vec<Option<usize>> = Vec::new();
        let mut elements = Vec::new();
        self.level(0, &mut lengths, &mut elements)?;
        self.skip_blanks();
        if self.at < self.input.len() {
            return Err(self.malformed("Junk after closing right brace."));
        }
        if elements.is_empty() {
            return Ok(Array::default());
        }
        let lengths: Vec<u32> = lengths.into_iter().map(|length| length.unwrap_or(0) as u32).collect();
        let dimensions: Vec<Dimension> = if given.is_empty() {
            lengths.iter().map(|length| Dimension { length: *length, lower_bound: 1 }).collect()
        } else {
            if given.len() != lengths.len() || given.iter().zip(&lengths).any(|(d, l)| d.length != *l) {
                return Err(self.malformed("Specified array dimensions do not match array contents."));
            }
            given
        };
        Array::with_dimensions(&dimensions, elements)
    }

    /// `[l:u][n]=` before the braces.
    fn bounds(&mut self) -> SqlResult<Vec<Dimension>> {
        let mut dimensions = Vec::new();
        while self.peek() == Some(b'[') {
            let close = self.input[self.at..].find(']').ok_or_else(|| self.malformed("Missing \"]\" after array dimensions."))?;
            let body = &self.input[self.at + 1..self.at + close];
            let number = |text: &str| {
                text.trim().parse::<i32>().map_err(|_| self.malformed("\"[\" must introduce explicitly-specified array dimensions."))
            };
            let (low, high) = match body.split_once(':') {
                Some((low, high)) => (number(low)?, number(high)?),
                None => (1, number(body)?),
            };
            if high < low {
                return Err(SqlError::new(
                    SqlState::ArraySubscriptError,
                    "upper bound cannot be less than lower bound",
                ));
            }
            if dimensions.len() == MAX_DIMENSIONS {
                return Err(self.too_deep());
            }
            dimensions.push(Dimension { length: (i64::from(high) - i64::from(low) + 1) as u32, lower_bound: low });
            self.at += close + 1;
            self.skip_blanks();
        }
        if !dimensions.is_empty() {
            if self.peek() != Some(b'=') {
                return Err(self.malformed("Missing \"=\" after array dimensions."));
            }
            self.at += 1;
            self.skip_blanks();
        }
        Ok(dimensions)
    }

    fn too_deep(&self) -> SqlError {
        SqlError::new(
            SqlState::ProgramLimitExceeded,
            format!("number of array dimensions ({}) exceeds the maximum allowed ({MAX_DIMENSIONS})", MAX_DIMENSIONS + 1),
        )
    }

    /// One pair of braces. All siblings must have the same length, and elements stand at one depth only.
    fn level(&mut self, depth: usize, lengths: &mut Vec<Option<usize>>, elements: &mut Vec<Datum>) -> SqlResult<()> {
        const RAGGED: &str = "Multidimensional arrays must have sub-arrays with matching dimensions.";
        if depth == MAX_DIMENSIONS {
            return Err(self.too_deep());
        }
        if lengths.len() == depth {
            if !elements.is_empty() {
                return Err(self.malformed(RAGGED));
            }
            lengths.push(None);
        }
        self.at += 1;
        let mut count = 0;
        self.skip_blanks();
        if self.peek() == Some(b'}') {
            self.at += 1;
        } else {
            loop {
                self.skip_blanks();
                if self.peek() == Some(b'{') {
                    self.level(depth + 1, lengths, elements)?;
                } else {
                    if lengths.len() > depth + 1 {
                        return Err(self.malformed(RAGGED));
                    }
                    let element = self.element()?;
                    elements.push(element);
                }
                count += 1;
                self.skip_blanks();
                match self.peek() {
                    Some(found) if found == delimiter(self.element) => self.at += 1,
                    Some(b'}') => {
                        self.at += 1;
                        break;
                    }
                    None => return Err(self.malformed("Unexpected end of input.")),
                    Some(_) => return Err(self.malformed("Unexpected array element.")),
                }
            }
        }
        match lengths[depth] {
            None => lengths[depth] = Some(count),
            Some(length) if length == count => {}
            Some(_) => return Err(self.malformed(RAGGED)),
        }
        Ok(())
    }

    fn element(&mut self) -> SqlResult<Datum> {
        let mut text = String::new();
        let bytes = self.input.as_bytes();
        if self.peek() == Some(b'"') {
            self.at += 1;
            loop {
                let rest = &self.input[self.at..];
                let stop = rest.find(['"', '\\']).ok_or_else(|| self.malformed("Unexpected end of input."))?;
                text.push_str(&rest[..stop]);
                self.at += stop + 1;
                if bytes[self.at - 1] == b'"' {
                    break;
                }
                let escaped = self.input[self.at..]
                    .chars()
                    .next()
                    .ok_or_else(|| self.malformed("Unexpected end of input."))?;
                text.push(escaped);
                self.at += escaped.len_utf8();
            }
            return parse_text(self.element, &text, self.formatting);
        }
        let mut escaped_end = 0;
        loop {
            let Some(c) = self.input[self.at..].chars().next() else {
                return Err(self.malformed("Unexpected end of input."));
            };
            match c {
                '}' => break,
                other if other == char::from(delimiter(self.element)) => break,
                '{' => return Err(self.malformed("Unexpected \"{\" character.")),
                '"' => return Err(self.malformed("Unexpected array element.")),
                '\\' => {
                    self.at += 1;
                    let escaped = self.input[self.at..]
                        .chars()
                        .next()
                        .ok_or_else(|| self.malformed("Unexpected end of input."))?;
                    text.push(escaped);
                    self.at += escaped.len_utf8();
                    escaped_end = text.len();
                }
                c => {
                    text.push(c);
                    self.at += c.len_utf8();
                }
            }
        }
        // Blanks at the end do not count, unless escaped.
        let kept = text.trim_end_matches(blank).len().max(escaped_end);
        text.truncate(kept);
        if text.is_empty() {
            let found = self.peek().map_or(' ', |b| b as char);
            return Err(self.malformed(&format!("Unexpected \"{found}\" character.")));
        }
        if escaped_end == 0 && text.eq_ignore_ascii_case("null") {
            return Ok(Datum::Null);
        }
        parse_text(self.element, &text, self.formatting)
    }
}

pub(super) fn write_array(element: &SqlType, array: &Array, formatting: &Formatting, out: &mut Vec<u8>) {
    if array.is_empty() {
        out.extend_from_slice(b"{}");
        return;
    }
    let dimensions = array.dimensions();
    if dimensions.iter().any(|d| d.lower_bound != 1) {
        for d in dimensions {
            let upper = i64::from(d.lower_bound) + i64::from(d.length) - 1;
            out.extend_from_slice(format!("[{}:{upper}]", d.lower_bound).as_bytes());
        }
        out.push(b'=');
    }
    let mut elements = array.elements().iter();
    write_level(element, dimensions, &mut elements, formatting, out);
}

fn write_level<'a>(
    element: &SqlType,
    dimensions: &[Dimension],
    elements: &mut impl Iterator<Item = &'a Datum>,
    formatting: &Formatting,
    out: &mut Vec<u8>,
) {
    out.push(b'{');
    for i in 0..dimensions[0].length {
        if i > 0 {
            out.push(delimiter(element));
        }
        if dimensions.len() > 1 {
            write_level(element, &dimensions[1..], elements, formatting, out);
            continue;
        }
        match elements.next().expect("array-shape: as many elements as the dimensions say") {
            Datum::Null => out.extend_from_slice(b"NULL"),
            datum => {
                let start = out.len();
                write_text(element, datum, formatting, out);
                let text = &out[start..];
                let must_quote = text.is_empty()
                    || text.eq_ignore_ascii_case(b"null")
                    || text.iter().any(|b| matches!(b, b'"' | b'\\' | b'{' | b'}') || *b == delimiter(element) || blank(*b as char));
                if must_quote {
                    let text = out.split_off(start);
                    out.push(b'"');
                    for byte in text {
                        if matches!(byte, b'"' | b'\\') {
                            out.push(b'\\');
                        }
                        out.push(byte);
                    }
                    out.push(b'"');
                }
            }
        }
    }
    out.push(b'}');
}
