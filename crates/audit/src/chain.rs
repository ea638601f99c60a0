//! Links between lines, and the names of files: what writing and verifying have in common.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

pub(crate) type Link = [u8; 32];

/// Before the first line.
pub(crate) const START: Link = [0; 32];

const MEMBER: &str = ",\"chain\":\"";
const HEX_BYTES: usize = 64;

/// The file that is written; the others are named by the number of their first line.
pub(crate) const CURRENT: &str = "audit.log";

pub(crate) fn next(before: &Link, line: &str) -> Link {
    Sha256::new().chain_update(before).chain_update(line).finalize().into()
}

pub(crate) fn hex(link: &Link) -> String {
    link.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn from_hex(text: &str) -> Option<Link> {
    let mut link = START;
    if text.len() != HEX_BYTES || !text.is_ascii() {
        return None;
    }
    for (byte, at) in link.iter_mut().zip((0..HEX_BYTES).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(link)
}

/// An object's text with its link in it.
pub(crate) fn seal(before: &Link, line: &str) -> (String, Link) {
    let link = next(before, line);
    let open = line.strip_suffix('}').unwrap_or(line);
    (format!("{open}{MEMBER}{}\"}}", hex(&link)), link)
}

/// What [`seal`] was given, and the link; none for a line that it did not make.
pub(crate) fn unseal(line: &str) -> Option<(String, Link)> {
    let rest = line.strip_suffix("\"}")?;
    let at = rest.len().checked_sub(HEX_BYTES)?;
    let link = from_hex(rest.get(at..)?)?;
    let open = rest.get(..at)?.strip_suffix(MEMBER)?;
    Some((format!("{open}}}"), link))
}

pub(crate) fn name_of(first: u64) -> String {
    format!("audit-{first:020}.log")
}

/// The files of a log, in order.
pub(crate) fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_old = name.strip_prefix("audit-").and_then(|rest| rest.strip_suffix(".log")).is_some_and(|number| {
            number.len() == 20 && number.bytes().all(|byte| byte.is_ascii_digit())
        });
        if is_old {
            found.push(path);
        }
    }
    // Of one length, so that they sort as their numbers do.
    found.sort_unstable();
    let current = dir.join(CURRENT);
    if current.exists() {
        found.push(current);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_unsealed() {
        let line = r#"{"seq":1,"text":"a\"}"}"#;
        let (sealed, link) = seal(&START, line);
        assert_eq!(unseal(&sealed).unwrap(), (line.to_owned(), link));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&sealed).unwrap()["chain"], hex(&link));
        for other in ["", "{}", "\"}", r#"{"seq":1,"chain":"00"}"#, &sealed[1..sealed.len() - 1]] {
            assert!(unseal(other).is_none(), "{other}");
        }
    }
}
