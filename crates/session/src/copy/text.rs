//! COPY's text format: a line a row, fields between delimiters, backslash sequences.

use std::borrow::Cow;

use plan::statement::CopyOptions;
use types::{SqlError, SqlResult, SqlState};

use super::Field;

pub(super) fn fields(
    line: &str,
    options: &CopyOptions,
    put: &mut dyn FnMut(Field<'_>) -> SqlResult<()>,
) -> SqlResult<()> {
    let bytes = line.as_bytes();
    let mut start = 0;
    let mut at = 0;
    let mut is_escaped = false;
    loop {
        let found = memchr::memchr2(options.delimiter, b'\\', &bytes[at..]).map(|found| at + found);
        match found {
            Some(found) if bytes[found] == b'\\' => {
                is_escaped = true;
                at = (found + 2).min(bytes.len());
                // A character of several bytes is not cut.
                continue;
            }
            _ => {}
        }
        let end = found.unwrap_or(bytes.len());
        let raw = &line[start..end];
        if raw == options.null {
            put(Field::Null)?;
        } else if options.default.as_deref() == Some(raw) {
            put(Field::Default)?;
        } else if is_escaped {
            put(Field::Text(Cow::Owned(unescape(raw)?)))?;
        } else {
            put(Field::Text(Cow::Borrowed(raw)))?;
        }
        if found.is_none() {
            return Ok(());
        }
        start = end + 1;
        at = start;
        is_escaped = false;
    }
}

/// Backslash sequences as the characters they stand for.
fn unescape(raw: &str) -> SqlResult<String> {
    let mut out = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes().peekable();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'b') => out.push(8),
            Some(b'f') => out.push(12),
            Some(b'n') => out.push(b'\n'),
            Some(b'r') => out.push(b'\r'),
            Some(b't') => out.push(b'\t'),
            Some(b'v') => out.push(11),
            Some(b'x') => {
                let mut digits = 0;
                let mut value = 0;
                while digits < 2
                    && let Some(digit) = bytes.peek().and_then(|byte| char::from(*byte).to_digit(16))
                {
                    value = value * 16 + digit;
                    digits += 1;
                    bytes.next();
                }
                out.push(if digits == 0 { b'x' } else { value as u8 });
            }
            Some(digit @ b'0'..=b'7') => {
                let mut value = u32::from(digit - b'0');
                for _ in 0..2 {
                    let Some(next @ b'0'..=b'7') = bytes.peek().copied() else { break };
                    value = value * 8 + u32::from(next - b'0');
                    bytes.next();
                }
                out.push(value as u8);
            }
            Some(other) => out.push(other),
            None => out.push(b'\\'),
        }
    }
    let invalid = |at: usize, bytes: &[u8]| super::invalid_bytes(bytes, at);
    match String::from_utf8(out) {
        Ok(text) if text.contains('\0') => {
            let zero = "invalid byte sequence for encoding \"UTF8\": 0x00";
            Err(SqlError::new(SqlState::CharacterNotInRepertoire, zero))
        }
        Ok(text) => Ok(text),
        Err(error) => Err(invalid(error.utf8_error().valid_up_to(), error.as_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use plan::statement::CopyFormat;

    use super::*;

    fn read(line: &str) -> Vec<Option<String>> {
        let mut found = Vec::new();
        fields(line, &CopyOptions::new(CopyFormat::Text), &mut |field| {
            found.push(field.into_text());
            Ok(())
        })
        .unwrap();
        found
    }

    #[test]
    fn fields_and_backslashes() {
        assert_eq!(unescape(r"a\tb\\c\n\x41\101\q\xg").unwrap(), "a\tb\\c\nAAqxg");
        assert!(unescape(r"\xff").is_err() && unescape(r"\0").is_err());
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(read("1\t\\N\t\tlast"), [some("1"), None, some(""), some("last")]);
        assert_eq!(read("a\\\tb\té\\é"), [some("a\tb"), some("éé")]);
        assert_eq!(read(""), [some("")]);
    }
}
