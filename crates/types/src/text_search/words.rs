//! Reads lexemes as they are written in vectors and queries: bare, quoted, with escapes, and with positions.

use super::vector::{POSITION_MAX, Position, Weight};
use super::syntax_error;
use crate::error::{SqlError, SqlResult, SqlState};

/// Where a lexeme is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Vector,
    /// Operators end a bare lexeme, and what stands behind a colon is the query's to read.
    Query,
    /// Quotes and backslashes are characters as others.
    WebQuery,
}

pub(super) struct Word {
    pub text: String,
    pub positions: Vec<Position>,
}

/// Reads one lexeme after another.
pub(super) struct Words<'a> {
    pub input: &'a str,
    /// What is not read yet begins at this byte.
    pub at: usize,
    place: Place,
}

pub(super) fn is_blank(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\x0b'
}

impl<'a> Words<'a> {
    pub fn new(input: &'a str, place: Place) -> Self {
        Self { input, at: 0, place }
    }

    pub fn rest(&self) -> &'a str {
        &self.input[self.at..]
    }

    pub fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn error(&self) -> SqlError {
        syntax_error(if self.place == Place::Vector { "tsvector" } else { "tsquery" }, self.input)
    }

    fn is_operator(&self, c: char) -> bool {
        match c {
            '!' | '&' | '|' | '(' | ')' => self.place != Place::Vector,
            // Of `<->`; in a search of the web a character as others.
            '<' => self.place == Place::Query,
            _ => false,
        }
    }

    /// The character behind a backslash.
    fn escaped(&mut self) -> SqlResult<char> {
        self.at += 1;
        let c = self.peek().ok_or_else(|| {
            SqlError::new(SqlState::SyntaxError, format!("there is no escaped character: \"{}\"", self.input))
        })?;
        self.at += c.len_utf8();
        Ok(c)
    }

    /// The next lexeme; none at the end.
    pub fn next(&mut self) -> SqlResult<Option<Word>> {
        let is_web = self.place == Place::WebQuery;
        while self.peek().is_some_and(is_blank) {
            self.at += 1;
        }
        let Some(first) = self.peek() else { return Ok(None) };
        if !is_web && first == '\'' {
            return self.quoted().map(Some);
        }
        if self.is_operator(first) || is_web && first == '"' {
            return Err(self.error());
        }
        let mut text = String::new();
        // A lexeme's first character may be a colon.
        if !(first == '\\' && !is_web) {
            text.push(first);
            self.at += first.len_utf8();
        }
        loop {
            match self.peek() {
                Some('\\') if !is_web => text.push(self.escaped()?),
                Some(':') => {
                    if text.is_empty() {
                        return Err(self.error());
                    }
                    let positions = if self.place == Place::Vector { self.positions()? } else { Vec::new() };
                    return Ok(Some(Word { text, positions }));
                }
                Some(c) if !(is_blank(c) || self.is_operator(c) || is_web && c == '"') => {
                    text.push(c);
                    self.at += c.len_utf8();
                }
                _ => return Ok(Some(Word { text, positions: Vec::new() })),
            }
        }
    }

    /// A lexeme in quotes, of which two within stand for one.
    fn quoted(&mut self) -> SqlResult<Word> {
        let mut text = String::new();
        self.at += 1;
        loop {
            match self.peek() {
                None => return Err(self.error()),
                Some('\\') => text.push(self.escaped()?),
                Some('\'') => {
                    self.at += 1;
                    if self.peek() != Some('\'') {
                        break;
                    }
                    text.push('\'');
                    self.at += 1;
                }
                Some(c) => {
                    text.push(c);
                    self.at += c.len_utf8();
                }
            }
        }
        if text.is_empty() {
            return Err(self.error());
        }
        let has_positions = self.place == Place::Vector && self.peek() == Some(':');
        let positions = if has_positions { self.positions()? } else { Vec::new() };
        Ok(Word { text, positions })
    }

    /// Positions behind a colon: numbers with weights, between commas.
    fn positions(&mut self) -> SqlResult<Vec<Position>> {
        let mut positions = Vec::new();
        loop {
            // Over the colon or comma.
            self.at += 1;
            let digits = self.rest().len() - self.rest().trim_start_matches(|c: char| c.is_ascii_digit()).len();
            if digits == 0 {
                return Err(self.error());
            }
            let number = self.rest()[..digits].parse::<u64>().unwrap_or(u64::MAX);
            self.at += digits;
            if number == 0 {
                let message = format!("wrong position info in tsvector: \"{}\"", self.input);
                return Err(SqlError::new(SqlState::SyntaxError, message));
            }
            let at = u16::try_from(number).unwrap_or(POSITION_MAX).min(POSITION_MAX);
            let mut weight = Weight::D;
            loop {
                match self.peek() {
                    Some(',') => break,
                    Some(letter @ ('a' | 'A' | '*' | 'b' | 'B' | 'c' | 'C' | 'd' | 'D')) => {
                        if weight != Weight::D {
                            return Err(self.error());
                        }
                        weight = if letter == '*' { Weight::A } else { Weight::from_letter(letter).unwrap_or(Weight::D) };
                        self.at += 1;
                    }
                    Some(c) if c.is_ascii_digit() => self.at += 1,
                    Some(c) if !is_blank(c) => return Err(self.error()),
                    _ => {
                        positions.push(Position::new(at, weight));
                        return Ok(positions);
                    }
                }
            }
            positions.push(Position::new(at, weight));
        }
    }
}
