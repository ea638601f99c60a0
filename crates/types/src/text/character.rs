//! Strings with a length, names and `"char"`.

use std::borrow::Cow;
use std::sync::Arc;

use crate::error::{SqlError, SqlResult, SqlState};

/// The longest identifier, in bytes.
pub const MAX_NAME_BYTES: usize = 63;

fn refuse_long(what: &str, length: u32) -> SqlError {
    SqlError::new(SqlState::StringDataRightTruncation, format!("value too long for type {what}({length})"))
}

/// Bytes of the first `length` characters, when there are more.
fn cut_at(text: &str, length: u32) -> Option<usize> {
    let length = length as usize;
    if text.len() <= length {
        return None;
    }
    text.char_indices().nth(length).map(|(at, _)| at)
}

/// Blanks beyond the length are dropped in silence; other characters only by an explicit cast.
pub(crate) fn fit_varchar(text: &str, length: Option<u32>, truncate: bool) -> SqlResult<Arc<str>> {
    let Some((length, cut)) = length.and_then(|length| Some((length, cut_at(text, length)?))) else {
        return Ok(text.into());
    };
    if !truncate && text[cut..].bytes().any(|b| b != b' ') {
        return Err(refuse_long("character varying", length));
    }
    Ok(text[..cut].into())
}

/// As [`fit_varchar`], and padded with blanks.
pub(crate) fn fit_char(text: &str, length: Option<u32>, truncate: bool) -> SqlResult<Arc<str>> {
    let Some(length) = length else { return Ok(text.into()) };
    if let Some(cut) = cut_at(text, length) {
        if !truncate && text[cut..].bytes().any(|b| b != b' ') {
            return Err(refuse_long("character", length));
        }
        return Ok(text[..cut].into());
    }
    let missing = (length as usize).saturating_sub(text.chars().count());
    if missing == 0 {
        return Ok(text.into());
    }
    let mut padded = String::with_capacity(text.len() + missing);
    padded.push_str(text);
    padded.extend(std::iter::repeat_n(' ', missing));
    Ok(padded.into())
}

/// `"char"` holds one byte: the first of the text, a byte above 127 spelled `\ooo` on input and output.
pub(crate) fn quoted_char(text: &str) -> Cow<'_, str> {
    let byte = match text.as_bytes() {
        [] => return Cow::Borrowed(""),
        [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7'] => (a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'),
        [byte, ..] if byte.is_ascii() => return Cow::Borrowed(&text[..1]),
        [byte, ..] => *byte,
    };
    match byte {
        0 => Cow::Borrowed(""),
        1..=0x7f => Cow::Owned((byte as char).to_string()),
        _ => Cow::Owned(format!("\\{byte:03o}")),
    }
}

/// Names longer than 63 bytes are cut at a character's end.
pub(crate) fn cut_name(text: &str) -> &str {
    if text.len() <= MAX_NAME_BYTES {
        return text;
    }
    let end = (0..=MAX_NAME_BYTES).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..end]
}
