//! What a record expects: formatting by expected type, sorting, hashing; and what PostgreSQL itself fails.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use md5::{Digest, Md5};
use sqllogictest::{DefaultColumnType, SortMode};

use crate::file::Error;

/// Lines of one file whose records PostgreSQL fails as well.
pub type KnownLines = HashSet<u32>;

/// Records that PostgreSQL itself fails, by file.
#[derive(Default)]
pub struct KnownFailures {
    by_file: HashMap<String, KnownLines>,
}

impl KnownFailures {
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(path).map_err(|source| Error::io(path, source))?;
        let mut known = Self::default();
        for line in text.lines() {
            let mut fields = line.split('\t');
            if let (Some(file), Some(Ok(line))) = (fields.next(), fields.next().map(str::parse)) {
                known.by_file.entry(file.to_owned()).or_default().insert(line);
            }
        }
        Ok(known)
    }

    pub fn of_file(&self, name: &str) -> KnownLines {
        self.by_file.get(name).cloned().unwrap_or_default()
    }
}

/// One value as SQLite's runner prints it for a column of the expected type.
pub fn format_value(value: Option<&str>, expected: Option<&DefaultColumnType>) -> String {
    let Some(text) = value else { return "NULL".to_owned() };
    match expected {
        Some(DefaultColumnType::Integer) => format_integer(text),
        Some(DefaultColumnType::FloatingPoint) => match text.parse::<f64>() {
            Ok(number) => format!("{number:.3}"),
            Err(_) => text.to_owned(),
        },
        _ if text.is_empty() => "(empty)".to_owned(),
        _ => text.chars().map(|c| if (' '..='~').contains(&c) { c } else { '@' }).collect(),
    }
}

/// SQLite has no booleans, and reads the leading number of whatever stands in an integer column.
fn format_integer(text: &str) -> String {
    match text {
        "t" => return "1".to_owned(),
        "f" => return "0".to_owned(),
        _ => {}
    }
    if text.parse::<i64>().is_ok() {
        return text.to_owned();
    }
    match text.parse::<f64>() {
        Ok(number) => format!("{}", number as i64),
        Err(_) => "0".to_owned(),
    }
}

/// Sorts rows or values as the record says and returns the values one after another.
pub fn sort_values(rows: Vec<Vec<String>>, mode: Option<SortMode>) -> Vec<String> {
    let mut rows = rows;
    match mode {
        Some(SortMode::RowSort) => {
            rows.sort();
            rows.into_iter().flatten().collect()
        }
        Some(SortMode::ValueSort) => {
            let mut values: Vec<String> = rows.into_iter().flatten().collect();
            values.sort();
            values
        }
        Some(SortMode::NoSort) | None => rows.into_iter().flatten().collect(),
    }
}

/// Whether the values are those expected, which may stand for them as `N values hashing to <md5>`.
pub fn matches(values: &[String], expected: &[String]) -> bool {
    if let [line] = expected
        && line.contains(" values hashing to ")
    {
        return *line == hash_line(values);
    }
    // The format allows one value a line, or a row a line.
    if values.len() == expected.len() {
        return values.iter().zip(expected).all(|(value, wanted)| value == wanted);
    }
    let words = |lines: &[String]| lines.iter().flat_map(|line| line.split_whitespace().map(str::to_owned)).collect::<Vec<_>>();
    words(values) == words(expected)
}

fn hash_line(values: &[String]) -> String {
    let mut hash = Md5::new();
    for value in values {
        hash.update(value.as_bytes());
        hash.update(b"\n");
    }
    let mut line = format!("{} values hashing to ", values.len());
    for byte in hash.finalize() {
        write!(line, "{byte:02x}").expect("writing to a string does not fail");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_printed_by_expected_type() {
        let integer = Some(&DefaultColumnType::Integer);
        let float = Some(&DefaultColumnType::FloatingPoint);
        let text = Some(&DefaultColumnType::Text);
        for (value, expected, printed) in [
            (None, integer, "NULL"),
            (Some("t"), integer, "1"),
            (Some("107"), integer, "107"),
            (Some("1.9"), integer, "1"),
            (Some("-1234.56789"), float, "-1234.568"),
            (Some("4"), float, "4.000"),
            (Some(""), text, "(empty)"),
            (Some("a\tb"), text, "a@b"),
        ] {
            assert_eq!(format_value(value, expected), printed);
        }
    }

    #[test]
    fn a_wrong_value_does_not_match() {
        let lines = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
        assert!(matches(&lines(&["1", "2"]), &lines(&["1", "2"])));
        assert!(matches(&lines(&["1", "2"]), &lines(&["1 2"])), "a row a line");
        assert!(!matches(&lines(&["1", "2"]), &lines(&["1", "3"])));
        assert!(matches(&lines(&["1"]), &lines(&["1 values hashing to b026324c6904b2a9cb4b88d6d61c81d1"])));
        assert!(!matches(&lines(&["2"]), &lines(&["1 values hashing to b026324c6904b2a9cb4b88d6d61c81d1"])));
    }
}
