//! Bit strings: `bit(n)` and `bit varying(n)`. Documentation, sections 8.10 and 9.6.
//!
//! A value is its bits from the left, eight a byte, and how many there are. The bits of the last byte that are none of the
//! value's are zero, so bytes and length alone decide equality.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{SqlError, SqlResult, SqlState, raise};

/// The most bits a string may have, in PostgreSQL.
pub const MAX_BITS: usize = i32::MAX as usize - 7;

/// The order is PostgreSQL's: bytes first, then the length.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Bits {
    bytes: Box<[u8]>,
    length: u32,
}

impl Bits {
    /// So many bits of these bytes; missing ones are zero.
    #[must_use]
    pub fn new(mut bytes: Vec<u8>, length: usize) -> Self {
        bytes.resize(length.div_ceil(8), 0);
        if let (Some(last), used @ 1..) = (bytes.last_mut(), length % 8) {
            *last &= 0xff << (8 - used);
        }
        Self { bytes: bytes.into(), length: u32::try_from(length).expect("no more than MAX_BITS") }
    }

    /// Reads binary digits; `b` or `x` in front says of which kind they are.
    ///
    /// # Errors
    /// 22P02 for anything but digits.
    pub fn parse(input: &str) -> SqlResult<Self> {
        match input.split_at_checked(1) {
            Some(("x" | "X", digits)) => Self::from_hex(digits),
            Some(("b" | "B", digits)) => Self::from_binary(digits),
            _ => Self::from_binary(input),
        }
    }

    /// # Errors
    /// 22P02.
    pub fn from_binary(digits: &str) -> SqlResult<Self> {
        let mut bytes = vec![0; digits.len().div_ceil(8)];
        for (at, digit) in digits.chars().enumerate() {
            match digit {
                '0' => {}
                '1' => bytes[at / 8] |= 0x80 >> (at % 8),
                other => return Err(invalid_digit(other, "binary")),
            }
        }
        check_length(digits.len())?;
        Ok(Self::new(bytes, digits.len()))
    }

    /// # Errors
    /// 22P02.
    pub fn from_hex(digits: &str) -> SqlResult<Self> {
        let mut bytes = vec![0; digits.len().div_ceil(2)];
        for (at, digit) in digits.chars().enumerate() {
            let value = digit.to_digit(16).ok_or_else(|| invalid_digit(digit, "hexadecimal"))? as u8;
            bytes[at / 2] |= if at % 2 == 0 { value << 4 } else { value };
        }
        check_length(digits.len().saturating_mul(4))?;
        Ok(Self::new(bytes, digits.len() * 4))
    }

    /// The last bits of a number, its sign before them.
    #[must_use]
    pub fn from_int(value: i64, length: usize) -> Self {
        let fill = if value < 0 { 0xff } else { 0 };
        // The number ends where the string ends, which may be within a byte.
        let unused = length.div_ceil(8) * 8 - length;
        let tail = (i128::from(value) << unused).to_be_bytes();
        let mut bytes = vec![fill; length.div_ceil(8)];
        let kept = bytes.len().min(tail.len());
        let from = bytes.len() - kept;
        bytes[from..].copy_from_slice(&tail[tail.len() - kept..]);
        Self::new(bytes, length)
    }

    /// The number that the bits are, the last of them worth one.
    ///
    /// # Errors
    /// 22003 when there are more bits than the type has.
    pub fn to_int(&self, width: usize, type_name: &str) -> SqlResult<i64> {
        if self.len() > width {
            return Err(raise::out_of_range(type_name));
        }
        let unused = self.bytes.len() * 8 - self.len();
        let value = self.bytes.iter().fold(0_u128, |value, byte| value << 8 | u128::from(*byte)) >> unused;
        let value = value as u64;
        Ok(if width == 32 { i64::from(value as u32 as i32) } else { value as i64 })
    }

    #[must_use]
    pub const fn len(&self) -> usize {
        self.length as usize
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bit at a place from the left, of those there are.
    #[must_use]
    pub fn get(&self, at: usize) -> bool {
        self.bytes[at / 8] & (0x80 >> (at % 8)) != 0
    }

    #[must_use]
    pub fn with(&self, at: usize, bit: bool) -> Self {
        let mut bytes = self.bytes.to_vec();
        let mask = 0x80 >> (at % 8);
        if bit {
            bytes[at / 8] |= mask;
        } else {
            bytes[at / 8] &= !mask;
        }
        Self { bytes: bytes.into(), length: self.length }
    }

    /// Cut, or filled up with zeros, at the right.
    #[must_use]
    pub fn resized(&self, length: usize) -> Self {
        Self::new(self.bytes[..self.bytes.len().min(length.div_ceil(8))].to_vec(), length)
    }

    /// The bits of a half-open range of places, which must be within the string.
    #[must_use]
    pub fn slice(&self, from: usize, to: usize) -> Self {
        let moved = self.moved_left(from);
        moved.resized(to - from)
    }

    /// # Errors
    /// 54000 for more bits than a string may have.
    pub fn concat(&self, other: &Self) -> SqlResult<Self> {
        let length = self.len() + other.len();
        check_length(length)?;
        let longer = other.resized(length).moved_right(self.len());
        let mut bytes = longer.bytes.into_vec();
        bytes.iter_mut().zip(&*self.bytes).for_each(|(to, from)| *to |= from);
        Ok(Self::new(bytes, length))
    }

    /// The first place where the other string begins in this one.
    #[must_use]
    pub fn position(&self, wanted: &Self) -> Option<usize> {
        let last = self.len().checked_sub(wanted.len())?;
        (0..=last).find(|at| (0..wanted.len()).all(|offset| self.get(at + offset) == wanted.get(offset)))
    }

    /// Byte by byte with a string of the same length; none for another length.
    #[must_use]
    pub fn zip(&self, other: &Self, f: impl Fn(u8, u8) -> u8) -> Option<Self> {
        if self.length != other.length {
            return None;
        }
        let bytes = self.bytes.iter().zip(&*other.bytes).map(|(a, b)| f(*a, *b)).collect();
        Some(Self::new(bytes, self.len()))
    }

    #[must_use]
    pub fn inverted(&self) -> Self {
        Self::new(self.bytes.iter().map(|byte| !byte).collect(), self.len())
    }

    /// Zeros come in from the right; the length stays.
    #[must_use]
    pub fn moved_left(&self, by: usize) -> Self {
        let (whole, part) = (by / 8, by % 8);
        let byte = |at: usize| self.bytes.get(at).copied().unwrap_or(0);
        let moved = |at: usize| {
            let pair = u16::from(byte(at + whole)) << 8 | u16::from(byte(at + whole + 1));
            (pair << part >> 8) as u8
        };
        Self::new((0..self.bytes.len()).map(moved).collect(), self.len())
    }

    /// Zeros come in from the left; the length stays.
    #[must_use]
    pub fn moved_right(&self, by: usize) -> Self {
        let (whole, part) = (by / 8, by % 8);
        let byte = |at: Option<usize>| at.and_then(|at| self.bytes.get(at)).copied().unwrap_or(0);
        let moved = |at: usize| {
            let from = at.checked_sub(whole);
            let before = from.and_then(|from| from.checked_sub(1));
            let pair = u16::from(byte(before)) << 8 | u16::from(byte(from));
            (pair >> part) as u8
        };
        Self::new((0..self.bytes.len()).map(moved).collect(), self.len())
    }

    #[must_use]
    pub fn count_ones(&self) -> u64 {
        self.bytes.iter().map(|byte| u64::from(byte.count_ones())).sum()
    }

    /// Fits the value into a declared length: `bit(n)` has exactly `n` bits, `bit varying(n)` no more.
    ///
    /// # Errors
    /// 22026 and 22001 for a value that does not fit, unless the cast was written.
    pub fn fitted(&self, length: u32, varying: bool, is_explicit: bool) -> SqlResult<Self> {
        let wanted = length as usize;
        match self.len() {
            found if found == wanted || (varying && found < wanted) => Ok(self.clone()),
            _ if is_explicit => Ok(self.resized(wanted)),
            _ if varying => Err(SqlError::new(
                SqlState::StringDataRightTruncation,
                format!("bit string too long for type bit varying({length})"),
            )),
            found => Err(SqlError::new(
                SqlState::StringDataLengthMismatch,
                format!("bit string length {found} does not match type bit({length})"),
            )),
        }
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend((0..self.len()).map(|at| if self.get(at) { b'1' } else { b'0' }));
    }

    /// As clients send it: the number of bits, then the bytes.
    ///
    /// # Errors
    /// 22P03.
    pub fn parse_binary(input: &[u8]) -> SqlResult<Self> {
        let invalid =
            || SqlError::new(SqlState::InvalidBinaryRepresentation, "invalid length in external bit string");
        let (length, bytes) = input.split_first_chunk::<4>().ok_or_else(invalid)?;
        let length = usize::try_from(i32::from_be_bytes(*length)).ok().filter(|length| *length <= MAX_BITS);
        let length = length.ok_or_else(invalid)?;
        if bytes.len() != length.div_ceil(8) {
            return Err(invalid());
        }
        Ok(Self::new(bytes.to_vec(), length))
    }

    pub fn write_binary(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.length.to_be_bytes());
        out.extend_from_slice(&self.bytes);
    }
}

impl fmt::Display for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (0..self.len()).try_for_each(|at| f.write_str(if self.get(at) { "1" } else { "0" }))
    }
}

fn check_length(bits: usize) -> SqlResult<()> {
    if bits <= MAX_BITS {
        return Ok(());
    }
    let message = format!("bit string length exceeds the maximum allowed ({MAX_BITS})");
    Err(SqlError::new(SqlState::ProgramLimitExceeded, message))
}

fn invalid_digit(digit: char, kind: &str) -> SqlError {
    SqlError::new(SqlState::InvalidTextRepresentation, format!("\"{digit}\" is not a valid {kind} digit"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(text: &str) -> Bits {
        Bits::parse(text).unwrap()
    }

    #[test]
    fn shifts_and_slices_move_bits_over_bytes() {
        let value = bits("1011001110001111");
        for by in 0..20 {
            let text = value.to_string();
            let left = format!("{}{}", &text[by.min(16)..], "0".repeat(by.min(16)));
            let right = format!("{}{}", "0".repeat(by.min(16)), &text[..16 - by.min(16)]);
            assert_eq!((value.moved_left(by), value.moved_right(by)), (bits(&left), bits(&right)), "by {by}");
        }
        assert_eq!(value.slice(3, 14), bits("10011100011"));
        assert_eq!(bits("101").concat(&bits("0110011101")).unwrap(), bits("1010110011101"));
        assert_eq!(bits("").concat(&bits("")).unwrap(), bits(""));
        assert_eq!(value.position(&bits("0111")), Some(5));
        assert_eq!(value.position(&bits("11111")), None);
    }

    #[test]
    fn numbers_become_bits_and_come_back() {
        for value in [0, 1, 5, -1, -5, i64::from(i32::MIN), i64::from(i32::MAX), i64::MIN, i64::MAX, 0x0123_4567_89ab_cdef] {
            assert_eq!(Bits::from_int(value, 64).to_int(64, "bigint").unwrap(), value);
            let low = format!("{:064b}", value as u64);
            for length in [1, 3, 8, 13, 32, 63] {
                assert_eq!(Bits::from_int(value, length).to_string(), low[64 - length..], "{value} in {length}");
            }
            let sign = if value < 0 { "1" } else { "0" };
            assert_eq!(Bits::from_int(value, 77).to_string(), format!("{}{low}", sign.repeat(13)));
            assert_eq!(Bits::from_int(value, 130).to_string(), format!("{}{low}", sign.repeat(66)));
        }
        assert_eq!(bits("xffffffff").to_int(32, "integer").unwrap(), -1);
        bits("xffffffff0").to_int(32, "integer").unwrap_err();
    }

    #[test]
    fn both_formats_come_back() {
        for text in ["", "0", "1", "10110011", "101100111", "0000000000000001"] {
            let value = bits(text);
            let mut wire = Vec::new();
            value.write_binary(&mut wire);
            assert_eq!((value.to_string().as_str(), Bits::parse_binary(&wire).unwrap()), (text, value.clone()));
        }
        assert_eq!(bits("x1F"), bits("00011111"));
        assert_eq!(bits("b1 ".trim()), bits("1"));
        Bits::parse_binary(&[0, 0, 0, 9, 0xff]).unwrap_err();
        Bits::parse("é").unwrap_err();
    }
}
