//! Walking a log: does each line follow from the one before?

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use crate::chain::{CURRENT, Link, START, files, from_hex, hex, next, unseal};

/// What a log that holds has in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    pub files: usize,
    /// The numbers of the first and the last line; 0 for none. A first line other than 1 says that older files are gone.
    pub first: u64,
    pub last: u64,
    /// Of the last line.
    link: Link,
    /// Bytes after the last whole line: it was being written.
    pub torn: usize,
}

impl Verified {
    /// The last line; none where there is none. To be kept elsewhere.
    #[must_use]
    pub fn end(&self) -> Option<Mark> {
        (self.last > 0).then_some(Mark { seq: self.last, link: self.link })
    }
}

/// A line by its number and chain, which stands for all lines before it: `SEQ:CHAIN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    seq: u64,
    link: Link,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, hex(&self.link))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("not the number of a line, a colon and the 64 hexadecimal digits of its chain")]
pub struct NoMark;

impl FromStr for Mark {
    type Err = NoMark;

    fn from_str(text: &str) -> Result<Self, NoMark> {
        let (seq, link) = text.split_once(':').ok_or(NoMark)?;
        let seq = seq.parse::<u64>().ok().filter(|seq| *seq > 0).ok_or(NoMark)?;
        Ok(Self { seq, link: from_hex(link).ok_or(NoMark)? })
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{}, line {line}: {what}", path.display())]
    Broken { path: PathBuf, line: usize, what: &'static str },
    #[error("line {0} is missing: the log ends before it")]
    EndsBefore(u64),
    #[error("line {0} cannot be compared: the file that it was in is gone")]
    Gone(u64),
}

/// Walks the files of a log.
///
/// # Errors
/// The first place where it does not hold.
pub fn verify(dir: &Path) -> Result<Verified, Fault> {
    verify_with(dir, None)
}

/// Walks the files of a log that has this line, as was known before.
///
/// # Errors
/// The first place where it does not hold, or that the line is not there.
pub fn verify_with(dir: &Path, expected: Option<Mark>) -> Result<Verified, Fault> {
    // The line before the first one is known by its link.
    let mut is_found = expected.is_none();
    let unread = |path: &Path| {
        let path = path.to_owned();
        |error| Fault::Io { path, error }
    };
    let mut verified = Verified::default();
    let mut link = START;
    for path in files(dir).map_err(unread(dir))? {
        let text = fs::read(&path).map_err(unread(&path))?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let broken = |line: usize, what| Fault::Broken { path: path.clone(), line, what };
        verified.files += 1;
        verified.torn = text.len() - whole;
        if verified.torn > 0 && path.file_name().is_none_or(|name| name != CURRENT) {
            return Err(broken(1 + text[..whole].iter().filter(|byte| **byte == b'\n').count(), "the line has no end"));
        }
        let Some(lines) = text[..whole].strip_suffix(b"\n") else { continue };
        for (at, line) in lines.split(|byte| *byte == b'\n').enumerate() {
            let number = at + 1;
            let sealed = std::str::from_utf8(line).ok().and_then(unseal);
            let Some((line, found)) = sealed else { return Err(broken(number, "not a line of an audit log")) };
            let Ok(object) = serde_json::from_str::<serde_json::Value>(&line) else {
                return Err(broken(number, "not a line of an audit log"));
            };
            let seq = object.get("seq").and_then(serde_json::Value::as_u64).unwrap_or_default();
            if number == 1 {
                let previous = object.get("previous").and_then(serde_json::Value::as_str).and_then(from_hex);
                let Some(previous) = previous else { return Err(broken(number, "the file's first line is missing")) };
                // Of older files nothing is left to compare with.
                let is_first_of_all = verified.first == 0;
                if is_first_of_all && seq > 1 {
                    link = previous;
                    verified.last = seq - 1;
                    if let Some(expected) = expected.filter(|expected| expected.seq == seq - 1) {
                        if expected.link != link {
                            return Err(broken(number, "the line before it has another chain than expected"));
                        }
                        is_found = true;
                    }
                }
                if previous != link {
                    return Err(broken(number, "it does not follow the file before"));
                }
                if is_first_of_all {
                    verified.first = seq;
                }
            }
            link = next(&link, &line);
            if link != found {
                return Err(broken(number, "the line was changed, or does not follow the one before"));
            }
            if seq != verified.last + 1 {
                return Err(broken(number, "lines are missing"));
            }
            if let Some(expected) = expected.filter(|expected| expected.seq == seq) {
                if expected.link != link {
                    return Err(broken(number, "it has another chain than expected"));
                }
                is_found = true;
            }
            verified.last = seq;
        }
    }
    verified.link = link;
    match expected {
        Some(expected) if !is_found && expected.seq > verified.last => Err(Fault::EndsBefore(expected.seq)),
        Some(expected) if !is_found => Err(Fault::Gone(expected.seq)),
        Some(_) | None => Ok(verified),
    }
}
