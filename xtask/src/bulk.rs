//! `cargo xtask bulk`: statements over many rows, here and on PostgreSQL, step by step in turn.
//!
//! Each step runs on both servers right after each other, the one that begins changing with the round, so that a change
//! of the machine's speed touches both. Printed are the medians of time and of the servers' CPU time, and their ratios.
//! Both must answer alike.

use std::fs;
use std::path::PathBuf;

use crate::beside::{Cost, Pair, both, median};
use crate::command::{IoContext, Result};

#[derive(clap::Args)]
pub struct Arguments {
    /// Rows of the table.
    #[arg(long, default_value_t = 300_000)]
    rows: u32,
    /// Rounds; each makes the tables anew and runs every step once on each server.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Run this binary instead of building one.
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// Name and SQL. `{data}` is the file of rows, `{rows}` their number.
const STEPS: &[(&str, &str)] = &[
    ("create table", "CREATE TABLE b (id int PRIMARY KEY, g int, n numeric(12, 2), s text, t timestamp)"),
    ("copy", "\\copy b FROM '{data}'"),
    ("analyze", "ANALYZE b"),
    ("create index", "CREATE INDEX b_g ON b (g)"),
    ("count(*)", "SELECT count(*) FROM b"),
    ("filtered sum", "SELECT sum(n * g) FROM b WHERE n BETWEEN 1000 AND 5000 AND g < 24 AND t < '2026-01-02'"),
    ("sum of a numeric", "SELECT sum(n), avg(n) FROM b"),
    ("top-10 by a numeric", "SELECT id, n FROM b ORDER BY n DESC, id LIMIT 10"),
    ("top-10 of whole rows", "SELECT * FROM b ORDER BY s DESC, id LIMIT 10"),
    ("group by", "SELECT g, count(*), sum(n) FROM b GROUP BY g ORDER BY g"),
    ("like '%x%'", "SELECT count(*) FROM b WHERE s LIKE '%77%'"),
    ("in (subquery)", "SELECT count(*) FROM b WHERE id IN (SELECT id * 2 FROM b WHERE g < 10)"),
    ("= any(array(subquery))", "SELECT count(*) FROM b WHERE id = ANY (ARRAY(SELECT id * 2 FROM b WHERE g < 10))"),
    ("min and max", "SELECT min(id), max(id) FROM b"),
    ("self join", "SELECT count(*) FROM b x JOIN b y ON y.id = x.id + 1 WHERE y.g > x.g"),
    ("window", "SELECT sum(r) FROM (SELECT rank() OVER (PARTITION BY g ORDER BY id) r FROM b) w"),
    (
        "window range",
        "SELECT sum(c) FROM (SELECT count(*) OVER (ORDER BY t RANGE '1 minute' PRECEDING) c FROM b WHERE g < 10) w",
    ),
    ("create table as", "CREATE TABLE c AS SELECT * FROM b"),
    ("insert select", "INSERT INTO b SELECT id + {rows}, g, n, s, t FROM c WHERE id <= {rows} / 2"),
    ("update of a tenth", "UPDATE b SET n = n + 1 WHERE id % 10 = 3"),
    ("update of all", "UPDATE c SET n = n + 1"),
    ("delete of half", "DELETE FROM b WHERE id % 2 = 0"),
    ("what is left", "SELECT count(*), sum(n) FROM b"),
    ("truncate", "TRUNCATE c"),
    ("drop", "DROP TABLE b, c"),
];

pub fn run(arguments: &Arguments) -> Result {
    let pair = Pair::start("bulk", arguments.binary.as_deref())?;
    let data = pair.scratch.join("rows.tsv");
    fs::write(&data, rows(arguments.rows)).context("writing the rows")?;
    let mut costs = vec![Vec::new(); STEPS.len()];
    for round in 0..arguments.rounds {
        println!("round {} of {}", round + 1, arguments.rounds);
        for ((name, sql), costs) in STEPS.iter().zip(&mut costs) {
            let sql = sql.replace("{data}", &data.to_string_lossy()).replace("{rows}", &arguments.rows.to_string());
            costs.push(both(&pair.servers, round, name, &sql)?);
        }
    }
    print(&costs);
    pair.stop()
}

/// The same rows each time, as COPY reads them.
fn rows(count: u32) -> String {
    let row = |id: u32| {
        let mixed = u64::from(id) * 7919 % 1_000_003;
        let (day, minute, second) = (1 + id / 86_400 % 28, id / 60 % 1440, id % 60);
        let time = format!("2026-01-{day:02} {:02}:{:02}:{second:02}", minute / 60, minute % 60);
        format!("{id}\t{}\t{}.{:02}\ttext of row {mixed} and some more of it\t{time}\n", id % 100, mixed / 100, mixed % 100)
    };
    (1..=count).map(row).collect()
}

fn print(costs: &[Vec<[Cost; 2]>]) {
    println!("{:<24} {:>9} {:>9} {:>7} {:>9} {:>9} {:>7}", "step", "here", "there", "ratio", "cpu here", "there", "ratio");
    for ((name, _), rounds) in STEPS.iter().zip(costs) {
        let of = |value: &dyn Fn(&[Cost; 2]) -> f64| median(rounds.iter().map(value).collect());
        println!(
            "{name:<24} {:>9.3} {:>9.3} {:>7.2} {:>9.2} {:>9.2} {:>7.2}",
            of(&|[ours, _]| ours.seconds),
            of(&|[_, theirs]| theirs.seconds),
            of(&|[ours, theirs]| ours.seconds / theirs.seconds),
            of(&|[ours, _]| ours.cpu),
            of(&|[_, theirs]| theirs.cpu),
            // CPU time is counted in hundredths.
            of(&|[ours, theirs]| ours.cpu / theirs.cpu.max(0.01)),
        );
    }
}
