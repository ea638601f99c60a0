//! The value of a `tsvector`.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::words::{Place, Words};
use super::{LEXEME_BYTES_END, VECTOR_BYTES_END};
use crate::error::{SqlError, SqlResult, SqlState};

/// Later positions count as this one.
pub const POSITION_MAX: u16 = (1 << 14) - 1;
/// How many positions a lexeme keeps.
const POSITIONS_MAX: usize = 255;

/// What part of a document a lexeme is from: D is what has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    D,
    C,
    B,
    A,
}

impl Weight {
    #[must_use]
    pub const fn from_letter(letter: char) -> Option<Self> {
        Some(match letter.to_ascii_uppercase() {
            'A' => Self::A,
            'B' => Self::B,
            'C' => Self::C,
            'D' => Self::D,
            _ => return None,
        })
    }

    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::A => 'A',
            Self::B => 'B',
            Self::C => 'C',
            Self::D => 'D',
        }
    }

    const fn from_bits(bits: u16) -> Self {
        match bits & 3 {
            0 => Self::D,
            1 => Self::C,
            2 => Self::B,
            _ => Self::A,
        }
    }

    /// Its bit in a set of weights.
    #[must_use]
    pub const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A place in a document, from 1, and its weight above these 14 bits: as PostgreSQL sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position(u16);

impl Position {
    #[must_use]
    pub const fn new(at: u16, weight: Weight) -> Self {
        Self((weight as u16) << 14 | (at & POSITION_MAX))
    }

    #[must_use]
    pub const fn at(self) -> u16 {
        self.0 & POSITION_MAX
    }

    #[must_use]
    pub const fn weight(self) -> Weight {
        Weight::from_bits(self.0 >> 14)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lexeme {
    pub text: Box<str>,
    /// None at all where they were stripped.
    pub positions: Vec<Position>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TsVector {
    lexemes: Vec<Lexeme>,
}

/// In order, each place once with its highest weight, and no more than a lexeme keeps.
fn tidy(positions: &mut Vec<Position>) {
    positions.sort_by_key(|position| (position.at(), std::cmp::Reverse(position.weight())));
    positions.dedup_by_key(|position| position.at());
    if let Some(last) = positions.iter().position(|position| position.at() == POSITION_MAX) {
        positions.truncate(last + 1);
    }
    positions.truncate(POSITIONS_MAX);
}

impl TsVector {
    /// From lexemes in any order: positions of equal ones are put together.
    ///
    /// # Errors
    /// 54000 when it is too large.
    pub fn from_lexemes(mut lexemes: Vec<Lexeme>) -> SqlResult<Self> {
        lexemes.sort_by(|a, b| a.text.cmp(&b.text));
        lexemes.dedup_by(|later, kept| {
            let is_same = later.text == kept.text;
            if is_same {
                kept.positions.append(&mut later.positions);
            }
            is_same
        });
        lexemes.iter_mut().for_each(|lexeme| tidy(&mut lexeme.positions));
        let vector = Self { lexemes };
        let bytes = vector.text_bytes();
        if bytes >= VECTOR_BYTES_END {
            let message = format!("string is too long for tsvector ({bytes} bytes, max {} bytes)", VECTOR_BYTES_END - 1);
            return Err(SqlError::new(SqlState::ProgramLimitExceeded, message));
        }
        Ok(vector)
    }

    /// From lexemes that are sorted, with sorted positions: parts of a vector.
    #[must_use]
    pub fn from_sorted(lexemes: Vec<Lexeme>) -> Self {
        debug_assert!(lexemes.is_sorted_by(|a, b| a.text < b.text), "lexemes-sorted");
        Self { lexemes }
    }

    #[must_use]
    pub fn lexemes(&self) -> &[Lexeme] {
        &self.lexemes
    }

    #[must_use]
    pub fn get(&self, text: &str) -> Option<&Lexeme> {
        self.place(text).ok().map(|at| &self.lexemes[at])
    }

    /// Where a lexeme is, or would be.
    pub(super) fn place(&self, text: &str) -> Result<usize, usize> {
        self.lexemes.binary_search_by(|lexeme| (*lexeme.text).cmp(text))
    }

    /// The lexemes that begin with some text.
    #[must_use]
    pub fn with_prefix(&self, prefix: &str) -> &[Lexeme] {
        let from = self.lexemes.partition_point(|lexeme| &*lexeme.text < prefix);
        let count = self.lexemes[from..].partition_point(|lexeme| lexeme.text.starts_with(prefix));
        &self.lexemes[from..from + count]
    }

    /// Bytes of lexemes and positions as PostgreSQL lays them out: its limit and its order go by them.
    fn text_bytes(&self) -> usize {
        self.lexemes.iter().fold(0, |bytes, lexeme| {
            let bytes = bytes + lexeme.text.len();
            if lexeme.positions.is_empty() { bytes } else { bytes.next_multiple_of(2) + 2 + 2 * lexeme.positions.len() }
        })
    }

    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        40 + self.lexemes.iter().map(|it| size_of::<Lexeme>() + it.text.len() + 2 * it.positions.len()).sum::<usize>()
    }

    /// # Errors
    /// 42601 for bad syntax, 54000 for what is too long.
    pub fn parse(input: &str) -> SqlResult<Self> {
        let mut words = Words::new(input, Place::Vector);
        let mut lexemes = Vec::new();
        while let Some(word) = words.next()? {
            if word.text.len() >= LEXEME_BYTES_END {
                return Err(too_long(word.text.len()));
            }
            lexemes.push(Lexeme { text: word.text.into(), positions: word.positions });
        }
        Self::from_lexemes(lexemes)
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        for (at, lexeme) in self.lexemes.iter().enumerate() {
            if at > 0 {
                out.push(b' ');
            }
            write_quoted(&lexeme.text, out);
            for (at, position) in lexeme.positions.iter().enumerate() {
                out.push(if at == 0 { b':' } else { b',' });
                out.extend_from_slice(position.at().to_string().as_bytes());
                if position.weight() != Weight::D {
                    out.push(position.weight().letter() as u8);
                }
            }
        }
    }

    /// How many lexemes, then of each its text up to a zero byte, how many positions, and these.
    pub fn write_binary(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.lexemes.len() as i32).to_be_bytes());
        for lexeme in &self.lexemes {
            out.extend_from_slice(lexeme.text.as_bytes());
            out.push(0);
            out.extend_from_slice(&(lexeme.positions.len() as u16).to_be_bytes());
            lexeme.positions.iter().for_each(|position| out.extend_from_slice(&position.0.to_be_bytes()));
        }
    }

    /// # Errors
    /// 22P03 for bytes that are no vector.
    pub fn parse_binary(input: &[u8]) -> SqlResult<Self> {
        let mut rest = input;
        let count = i32::from_be_bytes(*take::<4>(&mut rest)?);
        let count = usize::try_from(count).map_err(|_| malformed("invalid size of tsvector"))?;
        // Each lexeme takes four bytes at least.
        if count > input.len() / 3 {
            return Err(malformed("invalid size of tsvector"));
        }
        let mut lexemes = Vec::with_capacity(count);
        for _ in 0..count {
            let text = take_text(&mut rest)?;
            if text.len() >= LEXEME_BYTES_END {
                return Err(malformed("invalid tsvector: lexeme too long"));
            }
            let places = usize::from(u16::from_be_bytes(*take::<2>(&mut rest)?));
            if places > POSITIONS_MAX + 1 {
                return Err(malformed("unexpected number of tsvector positions"));
            }
            let mut positions: Vec<Position> = Vec::with_capacity(places);
            for _ in 0..places {
                let position = Position(u16::from_be_bytes(*take::<2>(&mut rest)?));
                if positions.last().is_some_and(|last| last.at() >= position.at()) {
                    return Err(malformed("position information is misordered"));
                }
                positions.push(position);
            }
            lexemes.push(Lexeme { text: text.into(), positions });
        }
        match rest.is_empty() {
            true => Self::from_lexemes(lexemes),
            false => Err(malformed("incorrect binary data format")),
        }
    }

    /// Without positions and weights.
    #[must_use]
    pub fn stripped(&self) -> Self {
        let lexemes = self.lexemes.iter().map(|it| Lexeme { text: it.text.clone(), positions: Vec::new() });
        Self { lexemes: lexemes.collect() }
    }

    /// With another weight for all positions, or for those of some lexemes.
    #[must_use]
    pub fn with_weight(&self, weight: Weight, is_meant: impl Fn(&str) -> bool) -> Self {
        let mut lexemes = self.lexemes.clone();
        for lexeme in lexemes.iter_mut().filter(|it| is_meant(&it.text)) {
            for position in &mut lexeme.positions {
                *position = Position::new(position.at(), weight);
            }
        }
        Self { lexemes }
    }

    /// The positions that have one of some weights (a set of bits), and their lexemes.
    #[must_use]
    pub fn filtered(&self, weights: u8) -> Self {
        let kept = self.lexemes.iter().filter_map(|lexeme| {
            let positions = lexeme.positions.iter().copied().filter(|it| it.weight().bit() & weights != 0);
            let positions: Vec<Position> = positions.collect();
            (!positions.is_empty()).then(|| Lexeme { text: lexeme.text.clone(), positions })
        });
        Self { lexemes: kept.collect() }
    }

    /// Without some lexemes.
    #[must_use]
    pub fn without(&self, is_dropped: impl Fn(&str) -> bool) -> Self {
        Self { lexemes: self.lexemes.iter().filter(|it| !is_dropped(&it.text)).cloned().collect() }
    }

    /// This, and another behind it.
    ///
    /// # Errors
    /// 54000 when it is too large.
    pub fn concat(&self, other: &Self) -> SqlResult<Self> {
        let last = self.lexemes.iter().flat_map(|it| &it.positions).map(|position| position.at()).max().unwrap_or(0);
        let moved = other.lexemes.iter().map(|lexeme| {
            let positions = lexeme.positions.iter().map(|it| {
                Position::new(it.at().saturating_add(last).min(POSITION_MAX), it.weight())
            });
            Lexeme { text: lexeme.text.clone(), positions: positions.collect() }
        });
        Self::from_lexemes(self.lexemes.iter().cloned().chain(moved).collect())
    }
}

pub(super) fn malformed(message: &str) -> SqlError {
    SqlError::new(SqlState::InvalidBinaryRepresentation, message.to_owned())
}

pub(super) fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> SqlResult<&'a [u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or_else(|| {
        SqlError::new(SqlState::ProtocolViolation, "insufficient data left in message")
    })?;
    *rest = tail;
    Ok(head)
}

/// Text up to a zero byte.
pub(super) fn take_text<'a>(rest: &mut &'a [u8]) -> SqlResult<&'a str> {
    let end = rest.iter().position(|byte| *byte == 0);
    let end = end.ok_or_else(|| SqlError::new(SqlState::ProtocolViolation, "invalid string in message"))?;
    let text = std::str::from_utf8(&rest[..end]).map_err(|_| {
        SqlError::new(SqlState::CharacterNotInRepertoire, "invalid byte sequence for encoding \"UTF8\"")
    })?;
    *rest = &rest[end + 1..];
    Ok(text)
}

fn too_long(bytes: usize) -> SqlError {
    let message = format!("word is too long ({bytes} bytes, max {} bytes)", LEXEME_BYTES_END - 1);
    SqlError::new(SqlState::ProgramLimitExceeded, message)
}

/// In quotes; quotes and backslashes twice.
pub(super) fn write_quoted(text: &str, out: &mut Vec<u8>) {
    out.push(b'\'');
    for byte in text.bytes() {
        if matches!(byte, b'\'' | b'\\') {
            out.push(byte);
        }
        out.push(byte);
    }
    out.push(b'\'');
}

/// PostgreSQL's order, which says nothing to people: by size, then by the number of lexemes, then by what is in them.
impl Ord for TsVector {
    fn cmp(&self, other: &Self) -> Ordering {
        let bytes = |vector: &Self| 8 + 4 * vector.lexemes.len() + vector.text_bytes();
        let size = bytes(self).cmp(&bytes(other)).then_with(|| self.lexemes.len().cmp(&other.lexemes.len()));
        let each = || {
            self.lexemes.iter().zip(&other.lexemes).map(|(a, b)| compare_lexemes(a, b)).find(|order| order.is_ne())
        };
        size.then_with(|| each().unwrap_or(Ordering::Equal))
    }
}

fn compare_lexemes(a: &Lexeme, b: &Lexeme) -> Ordering {
    let has_positions = |lexeme: &Lexeme| !lexeme.positions.is_empty();
    // Of these, more comes first.
    let first = has_positions(b).cmp(&has_positions(a)).then_with(|| a.text.cmp(&b.text));
    first.then_with(|| b.positions.len().cmp(&a.positions.len())).then_with(|| {
        let places = a.positions.iter().zip(&b.positions);
        let mut orders = places.map(|(a, b)| b.at().cmp(&a.at()).then_with(|| b.weight().cmp(&a.weight())));
        orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    })
}

impl PartialOrd for TsVector {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(vector: &TsVector) -> String {
        let mut out = Vec::new();
        vector.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn vectors_are_read_and_written() {
        let check = |input: &str, expected: &str| {
            assert_eq!(TsVector::parse(input).map(|it| shown(&it)), Ok(expected.to_owned()), "{input}");
        };
        check("", "");
        check("a fat cat a:4B", "'a':4B 'cat' 'fat'");
        check("w:12B w:13* w:12,5,6 a:1,3* a:3 w asd:1dc asd", "'a':1,3A 'asd':1C 'w':5,6,12B,13A");
        check("'it''s' b\\:c '\\''", "'''' 'b:c' 'it''s'");
        check("a:99999,16383", "'a':16383");
        for wrong in ["''", "'x", "a:", "a:0", "a:1ab", "a:b", "\\"] {
            TsVector::parse(wrong).expect_err(wrong);
        }
    }

    /// These bytes are stored and sent.
    #[test]
    fn golden_vectors() {
        let vector = TsVector::parse("b:2A,5 a").unwrap();
        let mut sent = Vec::new();
        vector.write_binary(&mut sent);
        assert_eq!(sent, [0, 0, 0, 2, b'a', 0, 0, 0, b'b', 0, 0, 2, 0xc0, 2, 0, 5]);
        assert_eq!(TsVector::parse_binary(&sent), Ok(vector.clone()));
        let stored = postcard::to_stdvec(&vector).unwrap();
        assert_eq!(stored, [2, 1, b'a', 0, 1, b'b', 2, 0x82, 0x80, 3, 5]);
    }

    #[test]
    fn parts_of_vectors() {
        let vector = TsVector::parse("a:1A b:2 c:3C").unwrap();
        assert_eq!(shown(&vector.filtered(Weight::A.bit() | Weight::C.bit())), "'a':1A 'c':3C");
        assert_eq!(shown(&vector.concat(&vector).unwrap()), "'a':1A,4A 'b':2,5 'c':3C,6C");
        assert_eq!(shown(&vector.stripped()), "'a' 'b' 'c'");
        assert_eq!(vector.with_prefix("b").len(), 1);
    }
}
