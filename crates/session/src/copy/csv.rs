//! COPY's CSV format: quoted fields may hold delimiters and line ends.

use std::borrow::Cow;

use plan::statement::CopyOptions;
use types::SqlResult;

use super::bad_format;

/// Finds the ends of records.
pub(super) struct Lines {
    quote: u8,
    /// None when a quote is escaped by another.
    escape: Option<u8>,
    /// From the start of the record at hand, so much has no end in it.
    scanned: usize,
    in_quotes: bool,
    after_escape: bool,
}

impl Lines {
    pub fn new(options: &CopyOptions) -> Self {
        let escape = (options.escape != options.quote).then_some(options.escape);
        Self { quote: options.quote, escape, scanned: 0, in_quotes: false, after_escape: false }
    }

    pub fn end(&mut self, buffer: &[u8], from: usize) -> Option<usize> {
        let start = from + self.scanned;
        for (at, byte) in buffer.iter().enumerate().skip(start) {
            let is_escaped = std::mem::take(&mut self.after_escape);
            if *byte == self.quote && !is_escaped {
                self.in_quotes = !self.in_quotes;
            } else if self.in_quotes && Some(*byte) == self.escape && !is_escaped {
                self.after_escape = true;
            } else if *byte == b'\n' && !self.in_quotes {
                self.scanned = 0;
                return Some(at);
            }
        }
        self.scanned = buffer.len().saturating_sub(from);
        None
    }
}

pub(super) fn fields(
    record: &str,
    options: &CopyOptions,
    put: &mut dyn FnMut(Option<Cow<'_, str>>) -> SqlResult<()>,
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
        put((!is_null).then_some(value))?;
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
            found.push(field.map(Cow::into_owned));
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn quotes_and_nulls() {
        let mut options = super::super::text::options(CopyFormat::Csv, b',', "");
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

    #[test]
    fn a_record_may_arrive_in_any_pieces() {
        let mut options = super::super::text::options(CopyFormat::Csv, b',', "");
        options.escape = b'\\';
        let data = b"a,\"b\n\\\"\n\"\nc\n";
        for cut in 0..data.len() {
            let mut lines = Lines::new(&options);
            let mut ends = Vec::new();
            let mut from = 0;
            for buffer in [&data[..cut], &data[..]] {
                while let Some(end) = lines.end(buffer, from) {
                    ends.push(end);
                    from = end + 1;
                }
            }
            assert_eq!(ends, [9, 11], "cut at {cut}");
        }
    }
}
