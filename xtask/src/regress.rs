//! `cargo xtask regress`: PostgreSQL's own regression files, statement by statement, here and on PostgreSQL.
//!
//! Each file is cut into statements, and after each a line with its number is printed by psql. The same script then runs
//! on a PostgreSQL of our own and on a node; what stands between two numbers is the answer of one statement. Two answers
//! are *alike* when they are the same text, errors and notices included. Statements for which PostgreSQL itself lacks its
//! C test library are left out.
//!
//! Files run in the order of PostgreSQL's schedule, in one database, as many use what others have made.

mod script;

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use self::script::{Chunk, Kind, cut};
use crate::bench::postgres::Postgres;
use crate::cluster::{Cluster, Options};
use crate::command::{Error, IoContext, Result, capture, psql, target_dir};
use crate::{corpus, demo, setup};

#[derive(clap::Args)]
pub struct Arguments {
    /// Only these files, by name; `test_setup` runs before them.
    files: Vec<String>,
    /// The folder that holds `sql/`, `data/` and `parallel_schedule`; otherwise the archive among the corpora is unpacked.
    #[arg(long)]
    from: Option<PathBuf>,
    /// Fail when fewer statements than this are alike.
    #[arg(long, default_value_t = 0)]
    at_least: usize,
    /// How many reasons to print.
    #[arg(long, default_value_t = 40)]
    reasons: usize,
    /// Run this binary instead of building one.
    #[arg(long)]
    binary: Option<PathBuf>,
}

const DATABASE: &str = "regression";

/// A file that takes longer here is ended; its other statements count as different.
const FILE_TIMEOUT: Duration = Duration::from_secs(120);

/// Each statement of a node ends within this.
const STATEMENT_TIMEOUT: &str = "20s";

/// Files that no server of ours could run beside another: they need superuser files, other encodings, or hours.
const LEFT_OUT: &[&str] = &["maintain_every", "tablespace", "infinite_recurse"];

/// Begins the line after a statement.
const MARK: &str = "@@ end of statement ";

pub fn run(arguments: &Arguments) -> Result {
    setup::for_bench()?;
    let binary = match &arguments.binary {
        Some(binary) => binary.clone(),
        None => demo::build()?,
    };
    let scratch = std::env::temp_dir().join(format!("quorate-regress-{}", std::process::id()));
    fs::create_dir_all(&scratch).context("creating the scratch folder")?;
    let outcome = run_in(arguments, &binary, &scratch);
    fs::remove_dir_all(&scratch).context("removing the scratch folder")?;
    outcome
}

fn run_in(arguments: &Arguments, binary: &Path, scratch: &Path) -> Result {
    let source = match &arguments.from {
        Some(dir) => dir.clone(),
        None => unpack(scratch)?,
    };
    let results = target_dir().join("regress");
    fs::create_dir_all(&results).context("creating the folder of results")?;
    let postgres = Postgres::start(scratch, 0)?;
    let options = Options { binary, dir: &scratch.join("node"), nodes: 1, base_port: None, flags: &[] };
    let mut cluster = Cluster::start(&options)?;
    let node_port = cluster.nodes[0].sql.port();
    create_database(postgres.port, " TEMPLATE template0 LOCALE 'C' ENCODING 'UTF8'")?;
    create_database(node_port, "")?;
    let names = names(&source, &arguments.files)?;
    let bar = ProgressBar::new(names.len() as u64);
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos} of {len} files, {elapsed}: {msg}").expect("a valid template"));
    let mut totals = Totals::default();
    for name in &names {
        bar.set_message(name.clone());
        let text = fs::read(source.join(format!("sql/{name}.sql"))).context(format!("reading {name}.sql"))?;
        let chunks = cut(&client_side_copy(&String::from_utf8_lossy(&text), &source));
        let there = answers(&chunks, postgres.port, &source, scratch, None)?;
        let here = answers(&chunks, node_port, &source, scratch, Some(FILE_TIMEOUT))?;
        totals.add(name, &chunks, &there, &here, &results)?;
        if !cluster.nodes[0].is_running()? {
            totals.crashes.push((name.clone(), cluster.nodes[0].log_tail()));
            cluster.nodes[0].restart()?;
            cluster.nodes[0].wait_healthy()?;
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    totals.print(arguments.reasons, &results);
    cluster.stop()?;
    if totals.alike < arguments.at_least || !totals.crashes.is_empty() {
        return Err(Error::Checks { failed: 1 });
    }
    Ok(())
}

fn unpack(scratch: &Path) -> Result<PathBuf> {
    let archive = corpus::dir()?.join("postgres15-regress.tar.zst");
    capture(Command::new("tar").args(["--zstd", "-xf"]).arg(&archive).arg("-C").arg(scratch))?;
    Ok(scratch.join("src/test/regress"))
}

fn create_database(port: u16, with: &str) -> Result {
    psql(port, "postgres", &format!("CREATE DATABASE {DATABASE}{with}"))
}

/// The files of the schedule in its order, or those asked for with what they stand on.
fn names(source: &Path, asked: &[String]) -> Result<Vec<String>> {
    let schedule = fs::read_to_string(source.join("parallel_schedule")).context("reading the schedule")?;
    let all = schedule.lines().filter_map(|line| line.strip_prefix("test:")).flat_map(str::split_whitespace);
    let wanted = |name: &&str| match asked {
        [] => !LEFT_OUT.contains(name),
        asked => *name == "test_setup" || asked.iter().any(|it| it == name),
    };
    Ok(all.filter(wanted).map(str::to_owned).collect())
}

/// COPY from the server's files becomes `\copy` from the client's: a node does not share the client's files.
fn client_side_copy(text: &str, source: &Path) -> String {
    let mut path = String::new();
    let mut rewritten = String::with_capacity(text.len());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("\\set filename :abs_srcdir '") {
            path = format!("{}{}", source.display(), rest.trim_end().trim_end_matches('\''));
        }
        match line.strip_suffix("FROM :'filename';") {
            Some(head) if head.starts_with("COPY ") => {
                rewritten.push_str(&format!("\\copy {}FROM '{path}'", &head["COPY ".len()..]));
            }
            _ => rewritten.push_str(line),
        }
        rewritten.push('\n');
    }
    rewritten
}

/// What a server answers to each chunk, by its number. Without an entry: the connection or the time had ended.
fn answers(
    chunks: &[Chunk],
    port: u16,
    source: &Path,
    scratch: &Path,
    timeout: Option<Duration>,
) -> Result<HashMap<usize, String>> {
    let script = scratch.join("script.sql");
    let output = scratch.join("output.txt");
    let mut file = File::create(&script).context("writing the script")?;
    for (number, chunk) in chunks.iter().enumerate() {
        write!(file, "{}\\echo {MARK}{number}\n", chunk.text).context("writing the script")?;
    }
    let log = File::create(&output).context("creating the output file")?;
    let mut options = "-c intervalstyle=postgres_verbose".to_owned();
    if timeout.is_some() {
        options.push_str(&format!(" -c statement_timeout={STATEMENT_TIMEOUT}"));
    }
    let mut psql = Command::new("psql");
    psql.args(["-X", "-q", "-h", "127.0.0.1", "-U", "postgres", "-d", DATABASE, "-p", &port.to_string()])
        .args(["-v", "HIDE_TABLEAM=on", "-v", "HIDE_TOAST_COMPRESSION=on"])
        .envs([("PGTZ", "PST8PDT"), ("PGDATESTYLE", "Postgres, MDY"), ("LC_MESSAGES", "C"), ("PG_DLSUFFIX", ".so")])
        .env("PGOPTIONS", options)
        .env("PG_ABS_SRCDIR", source)
        .env("PG_ABS_BUILDDIR", scratch)
        .env("PG_LIBDIR", scratch)
        .stdin(File::open(&script).context("opening the script")?)
        .stderr(log.try_clone().context("opening the output file")?)
        .stdout(log);
    let mut child = psql.spawn().context("starting psql")?;
    let started = Instant::now();
    while child.try_wait().context("waiting for psql")?.is_none() {
        if timeout.is_some_and(|timeout| started.elapsed() > timeout) {
            child.kill().context("ending psql")?;
            child.wait().context("waiting for psql")?;
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    let bytes = fs::read(&output).context("reading the output")?;
    Ok(parse(&String::from_utf8_lossy(&bytes)))
}

fn parse(output: &str) -> HashMap<usize, String> {
    let mut answers = HashMap::new();
    let mut answer = String::new();
    for line in output.lines() {
        // A prompt or text without an end of line may stand before the mark.
        if let Some((before, number)) = line.split_once(MARK) {
            answer.push_str(before);
            if let Ok(number) = number.trim().parse() {
                answers.insert(number, std::mem::take(&mut answer));
            }
            continue;
        }
        answer.push_str(line);
        answer.push('\n');
    }
    answers
}

#[derive(Default)]
struct Totals {
    files: Vec<(String, usize, usize)>,
    alike: usize,
    statements: usize,
    /// Statements that PostgreSQL answers and this does not, by the error.
    reasons: BTreeMap<String, usize>,
    other_rows: usize,
    /// The files during which the node ended, and the last it said.
    crashes: Vec<(String, String)>,
}

impl Totals {
    fn add(
        &mut self,
        name: &str,
        chunks: &[Chunk],
        there: &HashMap<usize, String>,
        here: &HashMap<usize, String>,
        results: &Path,
    ) -> Result {
        let (mut alike, mut statements) = (0, 0);
        let path = results.join(format!("{name}.txt"));
        let mut differences = File::create(&path).context(format!("writing {}", path.display()))?;
        for (number, chunk) in chunks.iter().enumerate() {
            let Some(expected) = there.get(&number) else { continue };
            if chunk.kind == Kind::Other || expected.contains("could not access file") {
                continue;
            }
            statements += 1;
            let found = here.get(&number);
            if found == Some(expected) {
                alike += 1;
                continue;
            }
            let found = found.map_or("(no answer)\n", String::as_str);
            match (error_of(found), error_of(expected)) {
                (Some(error), None) => *self.reasons.entry(generalised(error)).or_default() += 1,
                _ => self.other_rows += 1,
            }
            writeln!(differences, "=== line {}\n{}--- PostgreSQL\n{expected}--- here\n{found}", chunk.line, chunk.text)
                .context(format!("writing {}", path.display()))?;
        }
        self.alike += alike;
        self.statements += statements;
        self.files.push((name.to_owned(), alike, statements));
        Ok(())
    }

    fn print(&self, reasons: usize, results: &Path) {
        for (name, alike, statements) in &self.files {
            println!("{name:28} {alike:5} of {statements:5}  {:5.1} %", percent(*alike, *statements));
        }
        let mut sorted: Vec<(&String, &usize)> = self.reasons.iter().collect();
        sorted.sort_by_key(|(reason, count)| (std::cmp::Reverse(**count), *reason));
        println!("\nErrors here where PostgreSQL answers ({} kinds):", sorted.len());
        for (reason, count) in sorted.iter().take(reasons) {
            println!("{count:6}  {reason}");
        }
        println!("{:6}  other differences", self.other_rows);
        println!("\nDifferences: {}", results.display());
        for (name, last) in &self.crashes {
            println!("The node ended during {name}:\n{last}");
        }
        println!("alike: {} of {} statements, {:.1} %", self.alike, self.statements, percent(self.alike, self.statements));
    }
}

fn percent(part: usize, whole: usize) -> f64 {
    if whole == 0 { 100.0 } else { 100.0 * part as f64 / whole as f64 }
}

fn error_of(answer: &str) -> Option<&str> {
    if answer == "(no answer)\n" {
        return Some("(no answer)");
    }
    answer.lines().find(|line| line.starts_with("ERROR:") || line.starts_with("FATAL:"))
}

/// An error without the names and numbers in it, so that errors of one kind count together.
fn generalised(error: &str) -> String {
    let mut general = String::new();
    for (position, part) in error.split('"').enumerate() {
        let keep = position % 2 == 0 || error.contains("syntax") || error.contains("parameter") || error.contains("type \"");
        general.push_str(if keep { part } else { "…" });
        general.push('"');
    }
    general.pop();
    general.truncate(general.char_indices().nth(100).map_or(general.len(), |(end, _)| end));
    general
}
