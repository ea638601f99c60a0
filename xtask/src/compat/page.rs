//! The table of `docs/compatibility.md`: a row a suite. A run writes the rows of its suites, and leaves all else as it is.

use std::{fs, path::Path};

use super::results::Counts;
use crate::command::{IoContext, Result};

pub struct Row {
    pub suite: &'static str,
    pub version: String,
    pub ours: Counts,
    /// Of the failed ones.
    pub known: usize,
    /// Without it, the figure in the page stays.
    pub postgres: Option<Counts>,
}

/// The line under the table's head: rows follow it.
const RULE: &str = "| --- | --- | ---: | ---: | ---: | ---: | ---: |";

pub fn update(path: &Path, row: &Row) -> Result {
    let text = fs::read_to_string(path).context(format!("reading {}", path.display()))?;
    fs::write(path, updated(&text, row)).context(format!("writing {}", path.display()))
}

fn updated(text: &str, row: &Row) -> String {
    let start = format!("| {} |", row.suite);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let place = lines.iter().position(|line| line.starts_with(&start));
    let before = place.and_then(|at| lines[at].split('|').nth(6)?.trim().parse::<usize>().ok());
    let postgres = row.postgres.map(|counts| counts.passed).or(before);
    let ratio =
        postgres.filter(|passed| *passed > 0).map(|passed| 100.0 * row.ours.passed as f64 / passed as f64);
    let line = format!(
        "{start} {} | {} | {} | {} | {} | {} |",
        row.version,
        row.ours.passed,
        failed(row),
        row.ours.skipped,
        postgres.map_or_else(String::new, |passed| passed.to_string()),
        ratio.map_or_else(String::new, |ratio| format!("{ratio:.1} %")),
    );
    match (place, lines.iter().position(|line| line == RULE)) {
        (Some(at), _) => lines[at] = line,
        (None, Some(rule)) => {
            let rows = lines[rule + 1..].iter().take_while(|line| line.starts_with('|')).count();
            lines.insert(rule + 1 + rows, line);
        }
        (None, None) => lines.push(line),
    }
    lines.join("\n") + "\n"
}

fn failed(row: &Row) -> String {
    match row.ours.failed - row.known {
        0 => row.ours.failed.to_string(),
        new => format!("{} ({new} not known)", row.ours.failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_replaced_or_added() {
        let page =
            format!("# Page\n\n| suite | … |\n{RULE}\n| one | 1 | 2 | 3 | 4 | 50 | 4.0 % |\n\nText.\n");
        let row = |suite, postgres| Row {
            suite,
            version: "2.0".into(),
            ours: Counts { passed: 40, failed: 5, skipped: 1 },
            known: 5,
            postgres,
        };
        let page = updated(&page, &row("one", None));
        assert!(page.contains("\n| one | 2.0 | 40 | 5 | 1 | 50 | 80.0 % |\n\nText.\n"), "{page}");
        let there = Counts { passed: 160, failed: 0, skipped: 0 };
        let page = updated(&page, &row("two", Some(there)));
        assert!(page.contains("80.0 % |\n| two | 2.0 | 40 | 5 | 1 | 160 | 25.0 % |\n\nText.\n"), "{page}");
    }
}
