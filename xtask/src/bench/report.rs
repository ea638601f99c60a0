//! What a comparison found: read from pgbench, printed as a table, kept as JSON and as a page with a plot.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::command::{IoContext, Result, capture, root};

/// One run of pgbench.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    pub tps: f64,
    pub latency_ms: f64,
    /// CPU time of the servers for one transaction, in microseconds.
    pub cpu_us: f64,
    pub retried: u64,
    pub failed: u64,
}

impl Figure {
    /// From what pgbench said and the servers' CPU time in seconds; `None` when a figure is missing.
    pub fn read(said: &str, cpu: f64) -> Option<Self> {
        let number = |label: &str| {
            let rest = said.lines().find_map(|line| line.strip_prefix(label))?;
            let word = rest.trim_start_matches([' ', '=', ':']);
            let end = word.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(word.len());
            word[..end].parse::<f64>().ok()
        };
        let transactions = number("number of transactions actually processed")?;
        Some(Self {
            tps: number("tps")?,
            latency_ms: number("latency average")?,
            cpu_us: cpu * 1e6 / transactions.max(1.0),
            retried: number("number of transactions retried")? as u64,
            failed: number("number of failed transactions")? as u64,
        })
    }
}

/// One combination of script, mode and clients on one topology. The contenders stand in each round in the order ours,
/// PostgreSQL serializable, PostgreSQL read committed (which select-only goes without).
pub struct Row {
    pub nodes: usize,
    pub script: String,
    pub mode: String,
    pub clients: u32,
    pub rounds: Vec<Vec<Figure>>,
}

/// Median, least and greatest.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        Some(Self { median: *values.get(values.len() / 2)?, min: *values.first()?, max: *values.last()? })
    }

    fn json(self) -> Value {
        json!({ "median": self.median, "min": self.min, "max": self.max })
    }
}

const NAMES: [&str; 3] = ["quorate", "postgres_serializable", "postgres_read_committed"];

pub fn print_head() {
    println!(
        "{:<13} {:<8} {:>3}  {:>8} {:>8} {:>8}  {:>17} {:>17}  {:>16}  {:>14}  {:>6}",
        "script", "mode", "c", "quorate", "pg ser.", "pg r.c.", "/ser. (min-max)", "/r.c. (min-max)", "CPU us/txn q,s,r", "retried q,s", "failed"
    );
}

impl Row {
    fn spread(&self, contender: usize, of: impl Fn(&Figure) -> f64) -> Option<Spread> {
        Spread::of(self.rounds.iter().filter_map(|round| round.get(contender)).map(of))
    }

    /// Our rate over a contender's, taken within each round.
    fn ratio(&self, contender: usize) -> Option<Spread> {
        Spread::of(self.rounds.iter().filter_map(|round| Some(round[0].tps / round.get(contender)?.tps)))
    }

    fn total(&self, contender: usize, of: impl Fn(&Figure) -> u64) -> u64 {
        self.rounds.iter().filter_map(|round| round.get(contender)).map(of).sum()
    }

    pub fn print(&self) {
        let rate = |contender| self.spread(contender, |figure| figure.tps).map_or(String::new(), |spread| format!("{:.0}", spread.median));
        let ratio = |contender| {
            let shown = |spread: Spread| format!("{:.2} ({:.2}-{:.2})", spread.median, spread.min, spread.max);
            self.ratio(contender).map_or(String::new(), shown)
        };
        let cpu = |contender| self.spread(contender, |figure| figure.cpu_us).map_or("-".to_owned(), |spread| format!("{:.0}", spread.median));
        let retried = |contender| self.total(contender, |figure| figure.retried);
        println!(
            "{:<13} {:<8} {:>3}  {:>8} {:>8} {:>8}  {:>17} {:>17}  {:>16}  {:>14}  {:>6}",
            self.script,
            self.mode,
            self.clients,
            rate(0),
            rate(1),
            rate(2),
            ratio(1),
            ratio(2),
            format!("{}, {}, {}", cpu(0), cpu(1), cpu(2)),
            format!("{}, {}", retried(0), retried(1)),
            self.total(0, |figure| figure.failed),
        );
    }

    fn json(&self) -> Value {
        let contender = |contender: usize| {
            let spread = |of: fn(&Figure) -> f64| self.spread(contender, of).map(Spread::json);
            json!({
                "tps": spread(|figure| figure.tps),
                "latency_ms": spread(|figure| figure.latency_ms),
                "cpu_us_per_transaction": spread(|figure| figure.cpu_us),
                "retried": self.total(contender, |figure| figure.retried),
                "failed": self.total(contender, |figure| figure.failed),
                "tps_by_round": self.rounds.iter().filter_map(|round| Some(round.get(contender)?.tps)).collect::<Vec<_>>(),
            })
        };
        let measured = self.rounds.first().map_or(0, Vec::len);
        let figures: serde_json::Map<_, _> = (0..measured).map(|at| (NAMES[at].to_owned(), contender(at))).collect();
        let ratios: serde_json::Map<_, _> =
            (1..measured).map(|at| (NAMES[at].to_owned(), json!(self.ratio(at).map(Spread::json)))).collect();
        json!({
            "nodes": self.nodes,
            "script": self.script,
            "mode": self.mode,
            "clients": self.clients,
            "figures": figures,
            "quorate_over": ratios,
        })
    }

    fn label(&self) -> String {
        format!("{} node(s), {} -M {} -c {}", self.nodes, self.script, self.mode, self.clients)
    }
}

/// What was measured, where.
pub struct About {
    commit: String,
    machine: String,
    postgres: String,
    settings: String,
}

impl About {
    pub fn this_machine(postgres: String, settings: String) -> Self {
        let commit = capture(Command::new("git").args(["describe", "--always", "--dirty"]).current_dir(root()));
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let values = || cpuinfo.lines().filter_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name));
        let machine = format!("{} × {}", values().count(), values().next().unwrap_or("unknown processor"));
        Self { commit: commit.unwrap_or_default().trim().to_owned(), machine, postgres, settings }
    }
}

/// Writes `bench.json` and `bench.html`, and says where.
pub fn write(out: &Path, about: &About, rows: &[Row]) -> Result {
    let results = json!({
        "commit": about.commit,
        "machine": about.machine,
        "postgres": about.postgres,
        "settings": about.settings,
        "rows": rows.iter().map(Row::json).collect::<Vec<_>>(),
    });
    let (data, page) = (out.join("bench.json"), out.join("bench.html"));
    fs::write(&data, format!("{results:#}\n")).context(format!("writing {}", data.display()))?;
    fs::write(&page, html(about, rows)).context(format!("writing {}", page.display()))?;
    println!("\n{}\n{}", data.display(), page.display());
    Ok(())
}

/// Bars of our rate as a share of PostgreSQL's, with a line where they are equal.
fn html(about: &About, rows: &[Row]) -> String {
    const LEFT: f64 = 330.0;
    const UNIT: f64 = 300.0;
    const LINE: f64 = 22.0;
    // A bar longer than this is cut; its number says the rest.
    const LONGEST: f64 = 2.5;
    let mut bars = String::new();
    let mut y = 24.0;
    let mut draw = |text: std::fmt::Arguments<'_>| {
        let written = bars.write_fmt(text);
        debug_assert!(written.is_ok(), "writing to a string cannot fail");
    };
    for row in rows {
        draw(format_args!("<text x='{}' y='{}' text-anchor='end'>{}</text>\n", LEFT - 10.0, y + LINE * 0.7, row.label()));
        for (contender, colour) in [(1, "#2b6cb0"), (2, "#b7791f")] {
            let Some(ratio) = row.ratio(contender) else { continue };
            let length = ratio.median.min(LONGEST) * UNIT;
            let (low, high) = (LEFT + ratio.min.min(LONGEST) * UNIT, LEFT + ratio.max.min(LONGEST) * UNIT);
            let middle = y + LINE / 2.0;
            draw(format_args!("<rect x='{LEFT}' y='{y}' width='{length:.1}' height='{}' fill='{colour}'/>\n", LINE - 6.0));
            draw(format_args!("<line x1='{low:.1}' x2='{high:.1}' y1='{middle}' y2='{middle}' stroke='black'/>\n"));
            draw(format_args!("<text x='{:.1}' y='{}'>{:.2}</text>\n", LEFT + length.max(high - LEFT) + 6.0, y + LINE * 0.7, ratio.median));
            y += LINE;
        }
        y += 6.0;
    }
    let (at_one, bottom, width) = (LEFT + UNIT, y + 10.0, LEFT + LONGEST * UNIT + 60.0);
    format!(
        "<!doctype html><meta charset='utf-8'><title>Quorate beside PostgreSQL</title>\n\
         <body style='font:14px sans-serif'><h1>Quorate beside PostgreSQL</h1>\n\
         <p>Transactions per second over PostgreSQL's in the same round; blue: serializable, ochre: read committed; \
         bars are medians, lines least to greatest.</p>\n\
         <p>{}; {}; {}; commit {}</p>\n\
         <svg width='{width}' height='{bottom}' font-size='12'>\n\
         <line x1='{at_one}' x2='{at_one}' y1='10' y2='{bottom}' stroke='#888' stroke-dasharray='4'/>\n{bars}</svg>\n",
        about.machine, about.postgres, about.settings, about.commit
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "\
pgbench (15.18 (Debian 15.18-0+deb12u1))
transaction type: <builtin: TPC-B (sort of)>
scaling factor: 1
number of transactions actually processed: 200
number of failed transactions: 3 (1.478%)
number of transactions retried: 7 (3.448%)
total number of retries: 9
latency average = 1.573 ms
initial connection time = 3.209 ms
tps = 635.728814 (without initial connection time)
";

    #[test]
    fn figures_are_read() {
        let expected = Figure { tps: 635.728814, latency_ms: 1.573, cpu_us: 2500.0, retried: 7, failed: 3 };
        assert_eq!(Figure::read(SAID, 0.5), Some(expected));
        assert_eq!(Figure::read("pgbench: error: no", 0.5), None);
    }

    #[test]
    fn ratios_are_taken_within_rounds() {
        let figure = |tps| Figure { tps, latency_ms: 1.0, cpu_us: 1.0, retried: 0, failed: 0 };
        let rounds = vec![vec![figure(10.0), figure(20.0)], vec![figure(30.0), figure(30.0)], vec![figure(8.0), figure(2.0)]];
        let row = Row { nodes: 1, script: "s".into(), mode: "m".into(), clients: 1, rounds };
        assert_eq!(row.ratio(1), Some(Spread { median: 1.0, min: 0.5, max: 4.0 }));
        assert_eq!(row.ratio(2), None);
        assert_eq!(row.json()["quorate_over"]["postgres_serializable"]["max"].as_f64(), Some(4.0));
    }
}
