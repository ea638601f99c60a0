//! `jsonb` values as index keys.
//!
//! ```text
//! 0x01  an empty array that is the whole value: below all others   0x04 number   0x06 array: count, members
//! 0x02  null        0x03 string        0x05 bool                    0x07 object: count, each key with its value
//! ```
//! **Invariant (order-agrees):** the order of the bytes is that of [`crate::compare`]. Containers of one kind are ordered by how
//! many members they have first, so that nothing has to mark their end.

use keys::encoding::{DecodeError, put_bytes, put_varint, take_bytes, take_u8, take_varint};

use crate::{
    json::{Json, MAX_DEPTH},
    key::{put_numeric, take_numeric},
    stack::deep,
};

const EMPTY_ARRAY: u8 = 1;
const NULL: u8 = 2;
const STRING: u8 = 3;
const NUMBER: u8 = 4;
const BOOL: u8 = 5;
const ARRAY: u8 = 6;
const OBJECT: u8 = 7;

pub(crate) fn put_json(out: &mut Vec<u8>, value: &Json) {
    match value {
        Json::Array(items) if items.is_empty() => out.push(EMPTY_ARRAY),
        value => deep(|| put_member(out, value)),
    }
}

fn put_member(out: &mut Vec<u8>, value: &Json) {
    match value {
        Json::Null => out.push(NULL),
        Json::String(text) => {
            out.push(STRING);
            put_bytes(out, text.as_bytes());
        }
        Json::Number(number) => {
            out.push(NUMBER);
            put_numeric(out, number);
        }
        Json::Bool(value) => out.extend([BOOL, u8::from(*value)]),
        Json::Array(items) => {
            out.push(ARRAY);
            put_varint(out, items.len() as i64);
            items.iter().for_each(|item| put_member(out, item));
        }
        Json::Object(pairs) => {
            out.push(OBJECT);
            put_varint(out, pairs.len() as i64);
            for (key, value) in pairs {
                put_bytes(out, key.as_bytes());
                put_member(out, value);
            }
        }
    }
}

pub(crate) fn take_json(input: &mut &[u8]) -> Result<Json, DecodeError> {
    if input.first() == Some(&EMPTY_ARRAY) {
        *input = &input[1..];
        return Ok(Json::Array(Vec::new()));
    }
    deep(|| take_member(input, MAX_DEPTH))
}

fn take_string(input: &mut &[u8]) -> Result<Box<str>, DecodeError> {
    let mut bytes = Vec::new();
    take_bytes(input, &mut bytes)?;
    String::from_utf8(bytes).map(Into::into).map_err(|_| DecodeError::Invalid { byte: STRING })
}

fn take_member(input: &mut &[u8], depth: usize) -> Result<Json, DecodeError> {
    let kind = take_u8(input)?;
    let below = depth.checked_sub(1).ok_or(DecodeError::Invalid { byte: kind })?;
    Ok(match kind {
        NULL => Json::Null,
        STRING => Json::String(take_string(input)?),
        NUMBER => Json::Number(take_numeric(input)?),
        BOOL => Json::Bool(take_u8(input)? != 0),
        // A count may be damaged: no room is taken by it.
        ARRAY => {
            let mut items = Vec::new();
            for _ in 0..take_varint(input)? {
                items.push(take_member(input, below)?);
            }
            Json::Array(items)
        }
        OBJECT => {
            let mut pairs = Vec::new();
            for _ in 0..take_varint(input)? {
                pairs.push((take_string(input)?, take_member(input, below)?));
            }
            Json::Object(pairs)
        }
        byte => return Err(DecodeError::Invalid { byte }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Datum, SqlType};

    const VALUES: [&str; 24] = [
        "[]", "null", r#""""#, r#""B""#, r#""a""#, r#""a\u0001""#, r#""ab""#, "-10.5", "-1", "0", "1", "1e20", "false", "true", "[[]]",
        "[null]", r#"["a"]"#, "[1, 2]", "[1, 3]", "{}", r#"{"a": 1}"#, r#"{"a": []}"#, r#"{"aa": 1}"#, r#"{"a": 1, "b": 2}"#,
    ];

    fn key(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        put_json(&mut out, &Json::parse(text).unwrap());
        out
    }

    #[test]
    fn bytes_are_ordered_as_values_are() {
        let datum = |text: &str| Datum::Jsonb(Json::parse(text).unwrap().into());
        for a in VALUES {
            for b in VALUES {
                let by_value = crate::compare::compare(&SqlType::Jsonb, &datum(a), &datum(b));
                assert_eq!(key(a).cmp(&key(b)), by_value, "{a} and {b}");
                assert!(a == b || !key(b).starts_with(&key(a)), "{a} begins {b}");
            }
        }
    }

    #[test]
    fn values_come_back() {
        for text in VALUES {
            let bytes = key(text);
            let mut rest = bytes.as_slice();
            assert_eq!(take_json(&mut rest).unwrap(), Json::parse(text).unwrap());
            assert!(rest.is_empty());
        }
    }

    #[test]
    fn golden_keys() {
        assert_eq!(key("[]"), [1]);
        assert_eq!(key("null"), [2]);
        assert_eq!(key(r#""a""#), b"\x03a\0\x01");
        assert_eq!(key("0"), [4, 3]);
        assert_eq!(key("true"), [5, 1]);
        let mut one = Vec::new();
        put_varint(&mut one, 1);
        assert_eq!(key("[null]"), [&[6], &one[..], &[2]].concat());
        assert_eq!(key(r#"{"a": false}"#), [&[7], &one[..], b"a\0\x01", &[5, 0]].concat());
    }

    #[test]
    fn damaged_bytes_are_errors() {
        for bytes in [&[][..], &[9], &[3, b'a'], &[4], &[5]] {
            assert!(take_json(&mut &*bytes).is_err(), "{bytes:?}");
        }
        let deep: Vec<u8> = (0..=MAX_DEPTH).flat_map(|_| {
            let mut one = vec![ARRAY];
            put_varint(&mut one, 1);
            one
        }).collect();
        assert!(take_json(&mut deep.as_slice()).is_err());
    }
}
