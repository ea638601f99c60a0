//! `bytea` and `uuid`.

use crate::error::{SqlError, SqlResult, SqlState, raise};
use crate::formatting::ByteaOutput;

use super::blank;

pub fn parse_bytea(input: &str) -> SqlResult<Vec<u8>> {
    if let Some(hex) = input.strip_prefix("\\x") {
        let mut out = Vec::with_capacity(hex.len() / 2);
        let mut high: Option<u8> = None;
        for c in hex.chars() {
            if high.is_none() && blank(c) {
                continue;
            }
            let digit = c.to_digit(16).ok_or_else(|| {
                raise::invalid_parameter(format!("invalid hexadecimal digit: \"{c}\""))
            })? as u8;
            match high.take() {
                None => high = Some(digit),
                Some(high) => out.push(high << 4 | digit),
            }
        }
        if high.is_some() {
            return Err(raise::invalid_parameter("invalid hexadecimal data: odd number of digits"));
        }
        return Ok(out);
    }
    let bytes = input.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'\\' {
            out.push(bytes[at]);
            at += 1;
            continue;
        }
        match bytes.get(at + 1..) {
            Some([b'\\', ..]) => {
                out.push(b'\\');
                at += 2;
            }
            Some([a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..]) => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                at += 4;
            }
            _ => {
                return Err(SqlError::new(
                    SqlState::InvalidTextRepresentation,
                    "invalid input syntax for type bytea",
                ));
            }
        }
    }
    Ok(out)
}

/// Hex digits in pairs, with a hyphen allowed after every fourth digit, and braces around.
pub(super) fn parse_uuid(input: &str) -> SqlResult<[u8; 16]> {
    let invalid = || raise::invalid_syntax("uuid", input);
    let body = match input.strip_prefix('{') {
        Some(rest) => rest.strip_suffix('}').ok_or_else(invalid)?,
        None => input,
    };
    let mut uuid = [0_u8; 16];
    let mut digits = 0;
    for (i, c) in body.bytes().enumerate() {
        if c == b'-' && digits % 4 == 0 && digits > 0 && digits < 32 && body.as_bytes()[i - 1] != b'-' {
            continue;
        }
        let digit = (c as char).to_digit(16).ok_or_else(invalid)? as u8;
        if digits == 32 {
            return Err(invalid());
        }
        uuid[digits / 2] |= if digits % 2 == 0 { digit << 4 } else { digit };
        digits += 1;
    }
    if digits == 32 { Ok(uuid) } else { Err(invalid()) }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

pub(super) fn write_bytea(value: &[u8], style: ByteaOutput, out: &mut Vec<u8>) {
    match style {
        ByteaOutput::Hex => {
            out.reserve(2 + value.len() * 2);
            out.extend_from_slice(b"\\x");
            for byte in value {
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
        ByteaOutput::Escape => {
            for byte in value {
                match byte {
                    b'\\' => out.extend_from_slice(b"\\\\"),
                    0x20..=0x7e => out.push(*byte),
                    byte => out.extend_from_slice(&[
                        b'\\',
                        b'0' + (byte >> 6),
                        b'0' + (byte >> 3 & 7),
                        b'0' + (byte & 7),
                    ]),
                }
            }
        }
    }
}

pub(super) fn write_uuid(uuid: &[u8; 16], out: &mut Vec<u8>) {
    for (i, byte) in uuid.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
}
