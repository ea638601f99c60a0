//! Ordered encodings: byte order is value order, and each encoding says where it ends.
//!
//! ```text
//! uvarint   0..=239 one byte; else 239+n, then n big-endian bytes
//! varint    >= 0: 0x80+n, then the n significant bytes; < 0: 0x7f-n, then the n significant bytes
//! bytes     each 0x00 as 0x00 0xff; then 0x00 0x01
//! float     8 bytes: sign flipped when positive, all bits flipped when negative
//! ```
//!
//! A descending column is the ascending encoding with every bit flipped ([`flip`]): self-delimiting encodings
//! stay so, and the order turns round.

use std::fmt;

/// Bytes that no encoder of this crate has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// The input ended inside a value.
    Truncated,
    /// A byte that cannot stand here.
    Invalid { byte: u8 },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => write!(f, "encoded key ends inside a value"),
            Self::Invalid { byte } => write!(f, "byte {byte:#04x} cannot stand here in an encoded key"),
        }
    }
}

impl std::error::Error for DecodeError {}

type Result<T> = std::result::Result<T, DecodeError>;

/// Before a column of bytes or text in an index key. Integers need no tag: a varint's first byte is one already
/// (0x77..=0x88).
pub const TAG_BYTES: u8 = 0x12;
/// NULL above every value: PostgreSQL's default for ascending columns.
pub const TAG_NULL_LAST: u8 = 0xfe;
/// NULL below every value.
pub const TAG_NULL_FIRST: u8 = 0x00;

const UVARINT_ONE_BYTE_MAX: u64 = 239;
const VARINT_ZERO: u8 = 0x80;
const ESCAPE: u8 = 0x00;
const ESCAPED_ZERO: u8 = 0xff;
const TERMINATOR: u8 = 0x01;

/// Flips every bit of `bytes[from..]`: turns an ascending encoding into a descending one, and back.
pub fn flip(bytes: &mut [u8], from: usize) {
    for byte in &mut bytes[from..] {
        *byte = !*byte;
    }
}

fn significant_bytes(value: u64) -> usize {
    (64 - value.leading_zeros() as usize).div_ceil(8)
}

fn take<'a>(input: &mut &'a [u8], len: usize) -> Result<&'a [u8]> {
    if input.len() < len {
        return Err(DecodeError::Truncated);
    }
    let (head, tail) = input.split_at(len);
    *input = tail;
    Ok(head)
}

fn take_be(input: &mut &[u8], len: usize) -> Result<u64> {
    Ok(take(input, len)?.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

pub fn put_uvarint(out: &mut Vec<u8>, value: u64) {
    if value <= UVARINT_ONE_BYTE_MAX {
        out.push(value as u8);
        return;
    }
    let len = significant_bytes(value);
    out.push(UVARINT_ONE_BYTE_MAX as u8 + len as u8);
    out.extend_from_slice(&value.to_be_bytes()[8 - len..]);
}

pub fn take_uvarint(input: &mut &[u8]) -> Result<u64> {
    let first = take(input, 1)?[0];
    if u64::from(first) <= UVARINT_ONE_BYTE_MAX {
        return Ok(u64::from(first));
    }
    let len = usize::from(first) - UVARINT_ONE_BYTE_MAX as usize;
    if len > 8 {
        return Err(DecodeError::Invalid { byte: first });
    }
    take_be(input, len)
}

pub fn put_varint(out: &mut Vec<u8>, value: i64) {
    if value >= 0 {
        let len = significant_bytes(value as u64);
        out.push(VARINT_ZERO + len as u8);
        out.extend_from_slice(&value.to_be_bytes()[8 - len..]);
    } else {
        let len = significant_bytes(!value as u64);
        out.push(VARINT_ZERO - 1 - len as u8);
        out.extend_from_slice(&value.to_be_bytes()[8 - len..]);
    }
}

pub fn take_varint(input: &mut &[u8]) -> Result<i64> {
    let first = take(input, 1)?[0];
    if first >= VARINT_ZERO {
        let len = usize::from(first - VARINT_ZERO);
        if len > 8 {
            return Err(DecodeError::Invalid { byte: first });
        }
        return Ok(take_be(input, len)? as i64);
    }
    let len = usize::from(VARINT_ZERO - 1 - first);
    if len > 8 {
        return Err(DecodeError::Invalid { byte: first });
    }
    let low = take_be(input, len)?;
    let sign = if len == 8 { 0 } else { u64::MAX << (8 * len) };
    Ok((low | sign) as i64)
}

pub fn put_bytes(out: &mut Vec<u8>, value: &[u8]) {
    out.reserve(value.len() + 2);
    for byte in value {
        out.push(*byte);
        if *byte == ESCAPE {
            out.push(ESCAPED_ZERO);
        }
    }
    out.extend_from_slice(&[ESCAPE, TERMINATOR]);
}

/// Appends the decoded bytes to `value`.
pub fn take_bytes(input: &mut &[u8], value: &mut Vec<u8>) -> Result<()> {
    loop {
        let zero = input.iter().position(|byte| *byte == ESCAPE).ok_or(DecodeError::Truncated)?;
        value.extend_from_slice(take(input, zero)?);
        let pair = take(input, 2)?;
        match pair[1] {
            ESCAPED_ZERO => value.push(0),
            TERMINATOR => return Ok(()),
            byte => return Err(DecodeError::Invalid { byte }),
        }
    }
}

/// Orders as IEEE 754 does, with -0.0 equal to 0.0 and NaN above everything, as in PostgreSQL.
pub fn put_f64(out: &mut Vec<u8>, value: f64) {
    let canonical = if value.is_nan() {
        f64::NAN
    } else if value == 0.0 {
        0.0
    } else {
        value
    };
    let bits = canonical.to_bits() & if canonical.is_nan() { !(1 << 63) } else { u64::MAX };
    let ordered = if bits >> 63 == 0 { bits ^ (1 << 63) } else { !bits };
    out.extend_from_slice(&ordered.to_be_bytes());
}

pub fn take_f64(input: &mut &[u8]) -> Result<f64> {
    let ordered = take_be(input, 8)?;
    let bits = if ordered >> 63 == 1 { ordered ^ (1 << 63) } else { !ordered };
    Ok(f64::from_bits(bits))
}

pub fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_be_bytes());
}

pub fn take_u64(input: &mut &[u8]) -> Result<u64> {
    take_be(input, 8)
}

pub fn take_u8(input: &mut &[u8]) -> Result<u8> {
    Ok(take(input, 1)?[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_order<T: Copy>(rising: &[T], put: fn(&mut Vec<u8>, T), same: impl Fn(&[u8], T) -> bool) {
        let encoded: Vec<Vec<u8>> = rising
            .iter()
            .map(|value| {
                let mut out = Vec::new();
                put(&mut out, *value);
                out
            })
            .collect();
        for (bytes, value) in encoded.iter().zip(rising) {
            assert!(same(bytes, *value), "{bytes:?} does not decode to what was encoded");
        }
        for pair in encoded.windows(2) {
            assert!(pair[0] < pair[1], "order-preserving: {:?} !< {:?}", pair[0], pair[1]);
            assert!(!pair[1].starts_with(&pair[0]), "prefix-free: {:?} starts {:?}", pair[0], pair[1]);
            let (mut low, mut high) = (pair[0].clone(), pair[1].clone());
            flip(&mut low, 0);
            flip(&mut high, 0);
            assert!(high < low, "order-preserving, descending");
        }
    }

    #[test]
    fn uvarint_is_order_preserving() {
        let rising = [0, 1, 239, 240, 255, 256, 65_535, 65_536, u64::from(u32::MAX), u64::MAX];
        check_order(&rising, put_uvarint, |mut bytes, v| take_uvarint(&mut bytes) == Ok(v) && bytes.is_empty());
    }

    #[test]
    fn varint_is_order_preserving() {
        let rising =
            [i64::MIN, i64::MIN + 1, -65_537, -65_536, -257, -256, -255, -2, -1, 0, 1, 127, 128, 255, 256, i64::MAX];
        check_order(&rising, put_varint, |mut bytes, v| take_varint(&mut bytes) == Ok(v) && bytes.is_empty());
    }

    #[test]
    fn bytes_are_order_preserving() {
        let rising: [&[u8]; 8] = [b"", b"\x00", b"\x00\x00", b"\x00\x01", b"\x01", b"a", b"a\x00", b"ab"];
        check_order(&rising, put_bytes, |mut bytes, v| {
            let mut decoded = Vec::new();
            take_bytes(&mut bytes, &mut decoded) == Ok(()) && decoded == v && bytes.is_empty()
        });
    }

    #[test]
    fn f64_is_order_preserving() {
        let rising = [f64::NEG_INFINITY, -1.5, -f64::MIN_POSITIVE, 0.0, 1e-300, 1.5, f64::INFINITY];
        check_order(&rising, put_f64, |mut bytes, v| take_f64(&mut bytes) == Ok(v));
        let (mut nan, mut negative_nan, mut infinity) = (Vec::new(), Vec::new(), Vec::new());
        put_f64(&mut nan, f64::NAN);
        put_f64(&mut negative_nan, -f64::NAN);
        put_f64(&mut infinity, f64::INFINITY);
        assert!(infinity < nan && nan == negative_nan);
    }

    #[test]
    fn damage_is_an_error_not_a_panic() {
        assert_eq!(take_varint(&mut &[0x88, 1][..]), Err(DecodeError::Truncated));
        assert_eq!(take_uvarint(&mut &[255][..]), Err(DecodeError::Invalid { byte: 255 }));
        assert_eq!(take_bytes(&mut &[b'a', 0, 7][..], &mut Vec::new()), Err(DecodeError::Invalid { byte: 7 }));
        assert_eq!(take_bytes(&mut &b"abc"[..], &mut Vec::new()), Err(DecodeError::Truncated));
    }
}
