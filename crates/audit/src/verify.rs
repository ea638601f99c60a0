//! Walking a log: does each line follow from the one before?

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::chain::{CURRENT, START, files, from_hex, next, unseal};

/// What a log that holds has in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    pub files: usize,
    /// The numbers of the first and the last line; 0 for none. A first line other than 1 says that older files are gone.
    pub first: u64,
    pub last: u64,
    /// Bytes after the last whole line: it was being written.
    pub torn: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{}, line {line}: {what}", path.display())]
    Broken { path: PathBuf, line: usize, what: &'static str },
}

/// Walks the files of a log.
///
/// # Errors
/// The first place where it does not hold.
pub fn verify(dir: &Path) -> Result<Verified, Fault> {
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
            verified.last = seq;
        }
    }
    Ok(verified)
}
