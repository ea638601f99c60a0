//! COPY's CSV format: quoted fields may hold delimiters and line ends.

use std::borrow::Cow;

use plan::statement::CopyOptions;
use types::SqlResult;

use super::{Field, bad_format};

pub(super) fn fields(
    record: &str,
    options: &CopyOptions,
    put: &mut dyn FnMut(Field<'_>) -> SqlResult<()>,
) -> SqlResult<()> {
    let bytes = record.as_bytes();
    let mut position = 0;
    let mut at = 0;
    loop {
        // Most fields have no quotes, and are taken as they stand.
        let found = memchr::memchr2(options.delimiter, options.quote, &bytes[at..]).map(|found| at + found);
        let (value, was_quoted, end) = match found {
            Some(found) if bytes[found] == options.quote => {
                let (value, end) = quoted(record, at, options)?;
                (Cow::Owned(value), true, end)
            }
            found => {
                let end = found.unwrap_or(bytes.len());
                (Cow::Borrowed(&record[at..end]), false, end)
            }
        };
        let is_null = value == options.null
            && if was_quoted {
                options.force_null.contains(&position)
            } else {
                !options.force_not_null.contains(&position)
            };
        put(match () {
            () if is_null => Field::Null,
            () if !was_quoted && options.default.as_deref() == Some(&*value) => Field::Default,
            () => Field::Text(value),
        })?;
        position += 1;
        if end == bytes.len() {
            return Ok(());
        }
        at = end + 1;
    }
}

/// A field with quotes in it, from `at` on, and where it ends.
fn quoted(record: &str, mut at: usize, options: &CopyOptions) -> SqlResult<(String, usize)> {
    let bytes = record.as_bytes();
    let mut value = Vec::new();
    let mut in_quotes = false;
    while at < bytes.len() {
        let byte = bytes[at];
        if in_quotes {
            let next = bytes.get(at + 1).copied();
            if byte == options.escape && next.is_some_and(|next| next == options.escape || next == options.quote) {
                value.extend(next);
                at += 1;
            } else if byte == options.quote {
                in_quotes = false;
            } else {
                value.push(byte);
            }
        } else if byte == options.quote {
            in_quotes = true;
        } else if byte == options.delimiter {
            break;
        } else {
            value.push(byte);
        }
        at += 1;
    }
    if in_quotes {
        return Err(bad_format("unterminated CSV quoted field"));
    }
    // Only ASCII characters were taken out, so that what is left is whole.
    let value = String::from_utf8(value).map_err(|_| bad_format("invalid CSV quoting"))?;
    Ok((value, at))
}

#[cfg(test)]
mod tests {
    use plan::statement::CopyFormat;

    use super::*;

    fn read(record: &str, options: &CopyOptions) -> SqlResult<Vec<Option<String>>> {
        let mut found = Vec::new();
        fields(record, options, &mut |field| {
            found.push(field.into_text());
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn quotes_and_nulls() {
        let mut options = CopyOptions::new(CopyFormat::Csv);
        let some = |text: &str| Some(text.to_owned());
        let found = read("a,,\"\",\"b,\"\"c\"\"\n\"x,é", &options).unwrap();
        assert_eq!(found, [some("a"), None, some(""), some("b,\"c\"\nx"), some("é")]);
        assert_eq!(read("", &options).unwrap(), [None]);
        assert_eq!(read("a,", &options).unwrap(), [some("a"), None]);
        assert!(read("\"a", &options).is_err());
        options.escape = b'\\';
        assert_eq!(read(r#""a\"b\\\c""#, &options).unwrap(), [some(r#"a"b\\c"#)]);
        options.force_null = vec![0];
        options.force_not_null = vec![1];
        assert_eq!(read("\"\",", &options).unwrap(), [None, some("")]);
    }
}
