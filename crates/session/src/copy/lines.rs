//! Where the records of COPY's text and CSV formats end.
//!
//! Lines end with a line feed, a carriage return, or both; what the first line ends with holds for all of them. A record of
//! CSV may have line ends between quotes, a line of text behind a backslash. `\.` ends the data.
//!
//! **Invariant (scanned-once):** bytes that were looked through for the end of a record are not looked through again
//! when more has come, save those that a carriage return or a backslash at the end of the buffer waits for.

use plan::statement::{CopyFormat, CopyOptions};
use types::{SqlError, SqlResult};

use super::bad_format;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineEnd {
    Feed,
    Return,
    Both,
}

/// A record's end, and where the next one begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub end: usize,
    pub next: usize,
    /// `\.` stands at its end: the data ends with it.
    pub is_last: bool,
}

struct Quoting {
    quote: u8,
    /// None when a quote is escaped by another.
    escape: Option<u8>,
    is_inside: bool,
    after_escape: bool,
}

/// Finds the ends of records.
pub(super) struct Lines {
    /// Of CSV.
    quoting: Option<Quoting>,
    line_end: Option<LineEnd>,
    /// From the start of the record at hand, so much has no end in it.
    scanned: usize,
}

impl Lines {
    pub fn new(options: &CopyOptions) -> Self {
        let quoting = (options.format == CopyFormat::Csv).then(|| Quoting {
            quote: options.quote,
            escape: (options.escape != options.quote).then_some(options.escape),
            is_inside: false,
            after_escape: false,
        });
        Self { quoting, line_end: None, scanned: 0 }
    }

    /// The end of the record that begins at `from`; none when it is not there yet. `last`: no more will come.
    ///
    /// # Errors
    /// 22P04.
    pub fn end(&mut self, buffer: &[u8], from: usize, last: bool) -> SqlResult<Option<Line>> {
        let mut at = from + self.scanned;
        while let Some(found) = self.next_special(buffer, from, at) {
            let next = buffer.get(found + 1).copied();
            match buffer[found] {
                b'\n' => return self.line_feed(found).map(Some),
                // Whether a line feed follows is not known yet.
                b'\r' if next.is_none() && !last && self.line_end != Some(LineEnd::Return) => {
                    self.scanned = found - from;
                    return Ok(None);
                }
                b'\r' => return self.carriage_return(found, next).map(Some),
                // A backslash: of text, or at the beginning of a record of CSV.
                _ => match next {
                    None if !last => {
                        self.scanned = found - from;
                        return Ok(None);
                    }
                    Some(b'.') => match self.end_mark(buffer, found, last)? {
                        Mark::Ends(next) => {
                            self.scanned = 0;
                            return Ok(Some(Line { end: found, next, is_last: true }));
                        }
                        Mark::Unknown => {
                            self.scanned = found - from;
                            return Ok(None);
                        }
                        Mark::Data => at = found + 1,
                    },
                    _ if self.quoting.is_some() => at = found + 1,
                    _ => at = found + 2,
                },
            }
        }
        if last && from < buffer.len() {
            self.scanned = 0;
            return Ok(Some(Line { end: buffer.len(), next: buffer.len(), is_last: false }));
        }
        self.scanned = buffer.len().saturating_sub(from);
        Ok(None)
    }

    /// The next byte from `at` on that may matter, in the record that begins at `from`.
    fn next_special(&mut self, buffer: &[u8], from: usize, at: usize) -> Option<usize> {
        let Some(quoting) = &mut self.quoting else {
            return memchr::memchr3(b'\n', b'\r', b'\\', buffer.get(at..)?).map(|found| at + found);
        };
        for (found, byte) in buffer.iter().enumerate().skip(at) {
            let is_escaped = std::mem::take(&mut quoting.after_escape);
            if *byte == quoting.quote && !is_escaped {
                quoting.is_inside = !quoting.is_inside;
            } else if quoting.is_inside {
                quoting.after_escape = Some(*byte) == quoting.escape && !is_escaped;
            } else if matches!(byte, b'\n' | b'\r') || *byte == b'\\' && found == from {
                return Some(found);
            }
        }
        None
    }

    fn line_feed(&mut self, at: usize) -> SqlResult<Line> {
        if matches!(self.line_end, Some(LineEnd::Return | LineEnd::Both)) {
            return Err(self.literal("newline", "\\n"));
        }
        self.line_end = Some(LineEnd::Feed);
        self.scanned = 0;
        Ok(Line { end: at, next: at + 1, is_last: false })
    }

    fn carriage_return(&mut self, at: usize, next: Option<u8>) -> SqlResult<Line> {
        let is_both = next == Some(b'\n') && self.line_end != Some(LineEnd::Return);
        match (self.line_end, is_both) {
            (Some(LineEnd::Feed), _) | (Some(LineEnd::Both), false) => {
                return Err(self.literal("carriage return", "\\r"));
            }
            (None | Some(LineEnd::Both), true) => self.line_end = Some(LineEnd::Both),
            (None | Some(LineEnd::Return), _) => self.line_end = Some(LineEnd::Return),
        }
        self.scanned = 0;
        Ok(Line { end: at, next: at + if is_both { 2 } else { 1 }, is_last: false })
    }

    fn literal(&self, name: &str, escape: &str) -> SqlError {
        match self.quoting {
            None => bad_format(format!("literal {name} found in data"))
                .with_hint(format!("Use \"{escape}\" to represent {name}.")),
            Some(_) => bad_format(format!("unquoted {name} found in data"))
                .with_hint(format!("Use quoted CSV field to represent {name}.")),
        }
    }

    /// What `\.` at a place is.
    fn end_mark(&self, buffer: &[u8], at: usize, last: bool) -> SqlResult<Mark> {
        let corrupt = || match self.quoting {
            None => Err(bad_format("end-of-copy marker corrupt")),
            Some(_) => Ok(Mark::Data),
        };
        let (first, second) = match (buffer.get(at + 2), buffer.get(at + 3)) {
            (None, _) if last => return Ok(Mark::Ends(buffer.len())),
            (None, _) => return Ok(Mark::Unknown),
            (Some(first), second) => (*first, second.copied()),
        };
        if first != b'\n' && first != b'\r' {
            return corrupt();
        }
        let style = match (first, second) {
            (b'\n', _) => LineEnd::Feed,
            (_, Some(b'\n')) if self.line_end != Some(LineEnd::Return) => LineEnd::Both,
            (_, None) if !last && self.line_end != Some(LineEnd::Return) => return Ok(Mark::Unknown),
            _ => LineEnd::Return,
        };
        if self.line_end.is_some_and(|known| known != style) {
            return Err(bad_format("end-of-copy marker does not match previous newline style"));
        }
        Ok(Mark::Ends(at + if style == LineEnd::Both { 4 } else { 3 }))
    }
}

enum Mark {
    /// With the place behind it.
    Ends(usize),
    Unknown,
    Data,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The records of data that arrives in two pieces.
    fn records(options: &CopyOptions, data: &[u8], cut: usize) -> SqlResult<Vec<String>> {
        let mut lines = Lines::new(options);
        let (mut found, mut from) = (Vec::new(), 0);
        for (buffer, last) in [(&data[..cut], false), (data, true)] {
            while let Some(line) = lines.end(buffer, from, last)? {
                if !line.is_last {
                    found.push(String::from_utf8_lossy(&buffer[from..line.end]).into_owned());
                }
                from = line.next;
                if line.is_last {
                    return Ok(found);
                }
            }
        }
        Ok(found)
    }

    fn check(options: &CopyOptions, data: &[u8], expected: &[&str]) {
        for cut in 0..=data.len() {
            assert_eq!(records(options, data, cut).unwrap(), expected, "{data:?} cut at {cut}");
        }
    }

    fn csv(escape: u8) -> CopyOptions {
        CopyOptions { escape, ..CopyOptions::new(CopyFormat::Csv) }
    }

    #[test]
    fn records_may_arrive_in_any_pieces() {
        let text = CopyOptions::new(CopyFormat::Text);
        check(&text, b"a\\\nb\\\\\n\\.\nrest\n", &["a\\\nb\\\\"]);
        check(&text, b"a\r\nb\r\n\\.\r\nrest", &["a", "b"]);
        check(&text, b"a\rb\rc", &["a", "b", "c"]);
        check(&text, b"\n\n", &["", ""]);
        check(&csv(b'\\'), b"a,\"b\n\\\"\n\"\nc\n", &["a,\"b\n\\\"\n\"", "c"]);
        check(&csv(b'"'), b"a,\"\r\n\"\"x\"\r\nb\\\r\n\\.\r\nrest", &["a,\"\r\n\"\"x\"", "b\\"]);
        check(&csv(b'"'), b"\\.x\n\\n\n", &["\\.x", "\\n"]);
    }

    #[test]
    fn line_ends_do_not_change() {
        let text = CopyOptions::new(CopyFormat::Text);
        for (options, data, message) in [
            (&text, &b"a\nb\r\n"[..], "literal carriage return found in data"),
            (&text, b"a\r\nb\n", "literal newline found in data"),
            (&csv(b'"'), b"a\nb\rc\n", "unquoted carriage return found in data"),
            (&text, b"a\n\\.\r\n", "end-of-copy marker does not match previous newline style"),
            (&text, b"a\\.b\n", "end-of-copy marker corrupt"),
        ] {
            for cut in 0..=data.len() {
                assert_eq!(records(options, data, cut).unwrap_err().message(), message, "{data:?} cut at {cut}");
            }
        }
    }
}
