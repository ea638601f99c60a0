//! `cargo xtask planted`: whether the suite sees bugs that are known to be there.
//!
//! Each of [`Bug::ALL`] is switched on by itself, and looked for by tests, by seeds of the histories and by workloads against
//! real nodes, until one of them fails or the bug's budget is used up. What saw it is run once more without the bug and must
//! pass: a test that fails anyway sees nothing. A bug that is not seen is a failure of the suite, and of this command.
//!
//! All is built once, with the feature that lets the environment switch bugs on; the bugs are in no other build.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ::workload::{Kind, Mix};
use cargo_metadata::Message;
use checkers::verdict::Ending;
use planted::{Bug, VARIABLE};

use crate::cluster::{Cluster, Options};
use crate::command::{Error, IoContext, Result, cargo};
use crate::{histories, rocksdb, setup};

#[derive(clap::Args)]
pub struct Arguments {
    /// Only these bugs.
    names: Vec<String>,
    /// Seconds spent on looking for one bug.
    #[arg(long, default_value_t = 400)]
    budget: u64,
    /// Print the bugs and look for none.
    #[arg(long)]
    list: bool,
    /// Leave out what needs whole nodes: what SQL alone shows is not looked for.
    #[arg(long)]
    without_nodes: bool,
    /// Take these nodes, which were built with the switch, instead of building them.
    #[arg(long)]
    binary: Option<PathBuf>,
}

impl Arguments {
    pub fn all() -> Self {
        Self { names: Vec::new(), budget: 400, list: false, without_nodes: false, binary: None }
    }
}

/// Something that may see a bug.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Look {
    /// Tests of an executable, by its package and name; those whose names hold the word, if there is one.
    Tests { package: &'static str, name: &'static str, word: &'static str },
    /// A seed of the histories.
    Seed(u64),
    /// A workload against so many nodes for ten seconds.
    Workload { kind: &'static str, nodes: usize },
}

impl Look {
    fn shown(&self) -> String {
        match self {
            Self::Tests { package, name, word: "" } => format!("tests {package}::{name}"),
            Self::Tests { package, name, word } => format!("tests {package}::{name} {word}"),
            Self::Seed(seed) => format!("histories, seed {seed}"),
            Self::Workload { kind, nodes } => format!("workload {kind}, {nodes} nodes"),
        }
    }
}

const fn tests(package: &'static str, name: &'static str) -> Look {
    Look::Tests { package, name, word: "" }
}

/// All there is to look with, the quickest first. Seeds follow.
const SUITE: &[Look] = &[
    tests("concurrency", "concurrency"),
    tests("storage", "storage"),
    tests("storage", "it"),
    tests("raft", "raft"),
    tests("testkit", "commands"),
    tests("testkit", "transactions"),
    tests("testkit", "clocks"),
    tests("testkit", "cleared"),
    tests("testkit", "deadlocks"),
    tests("testkit", "isolation"),
    tests("testkit", "seeds"),
    tests("testkit", "stalls"),
    tests("testkit", "histories"),
    tests("storage", "power_cut"),
];

const WORKLOADS: &[&str] = &["bank", "list-append", "write-skew", "sets", "registers", "monotonic"];

/// What is most likely to see a bug is tried first. Everything else follows all the same.
fn likely(bug: Bug) -> Vec<Look> {
    let seeds = |seeds: &[u64]| seeds.iter().copied().map(Look::Seed).collect();
    match bug {
        Bug::SequenceIgnored => vec![tests("testkit", "transactions"), Look::Seed(13)],
        Bug::ReadsUnderOwnIntent => vec![tests("testkit", "transactions"), Look::Seed(21), Look::Seed(45)],
        Bug::LandedRefuted => vec![tests("testkit", "transactions"), Look::Seed(9)],
        Bug::ClearedRead => vec![tests("testkit", "cleared"), Look::Seed(4)],
        Bug::LocalTimeIgnored => vec![tests("testkit", "transactions"), Look::Seed(11), Look::Seed(27), Look::Seed(31)],
        Bug::ReadsForgotten | Bug::RefreshSkipped => seeds(&[2, 6, 1, 5]),
        Bug::CommitRefreshSkipped => seeds(&[5, 1, 9, 13]),
        Bug::GapsForgotten => vec![Look::Workload { kind: "write-skew", nodes: 1 }, Look::Seed(2)],
        Bug::ReadsLostWithLease => vec![tests("testkit", "clocks"), Look::Seed(2), Look::Seed(6)],
        Bug::ReadsLostInSplit => vec![tests("testkit", "commands")],
        Bug::UncertaintyIgnored => seeds(&[3, 7, 11]),
        Bug::LostReplyRepeated => seeds(&[1, 5, 9]),
        Bug::AbortIgnored => vec![tests("testkit", "commands"), Look::Seed(1)],
        Bug::StagedTakenForCommitted => vec![tests("testkit", "commands"), Look::Seed(1)],
        Bug::LeaseOutlived | Bug::PromiseBroken => {
            vec![Look::Tests { package: "raft", name: "raft", word: "leases::" }, tests("testkit", "stalls")]
        }
        Bug::SyncSkipped => vec![tests("storage", "power_cut")],
        Bug::CollectedTooMuch => vec![tests("storage", "it")],
        Bug::DeadlockEndsBoth => vec![tests("testkit", "deadlocks")],
        Bug::IndexEntryLeft => vec![Look::Workload { kind: "bank", nodes: 1 }],
    }
}

/// What was built, copied away: a later build must not take its place.
struct Built {
    /// By package and name: the executable, and where it is to be run.
    tests: BTreeMap<(String, String), (PathBuf, PathBuf)>,
    histories: PathBuf,
    quorate: Option<PathBuf>,
    scratch: PathBuf,
}

/// Tests that take longer hang. Without a bug they must pass in a third of it.
const HANGS: Duration = Duration::from_secs(150);

/// What came of a look.
enum Seen {
    No,
    By(String),
}

pub fn run(arguments: &Arguments) -> Result {
    let bugs = chosen(&arguments.names)?;
    if arguments.list {
        for bug in bugs {
            println!("{:28} {:44} {}", bug.name(), bug.place(), bug.what().trim());
        }
        return Ok(());
    }
    let mut built = build(!arguments.without_nodes && arguments.binary.is_none())?;
    if let Some(binary) = &arguments.binary {
        built.quorate = Some(binary.clone());
    }
    let mut controls: BTreeMap<Look, bool> = BTreeMap::new();
    let (mut rows, mut unseen) = (Vec::new(), Vec::new());
    for bug in bugs {
        let started = Instant::now();
        let budget = Duration::from_secs(arguments.budget);
        let seen = look_for(bug, &built, budget, &mut controls)?;
        let seconds = started.elapsed().as_secs_f64();
        let (by, how) = seen.unwrap_or_else(|| {
            unseen.push(bug.name());
            ("NOT SEEN".to_owned(), String::new())
        });
        println!("{:28} {by} after {seconds:.0} s{}{how}", bug.name(), if how.is_empty() { "" } else { ": " });
        rows.push(format!("| `{}` | {} | {} | {by} | {seconds:.0} s |", bug.name(), bug.what().trim(), bug.place()));
    }
    println!("\n| bug | what | where | seen by | after |\n| --- | --- | --- | --- | --- |\n{}", rows.join("\n"));
    fs::remove_dir_all(&built.scratch).context("removing the scratch folder")?;
    if unseen.is_empty() {
        println!("\n{} bugs planted, all seen", rows.len());
        return Ok(());
    }
    println!("\nnot seen: {}", unseen.join(", "));
    Err(Error::Checks { failed: unseen.len() })
}

fn chosen(names: &[String]) -> Result<Vec<Bug>> {
    if names.is_empty() {
        return Ok(Bug::ALL.to_vec());
    }
    let of = |name: &String| {
        let known = Bug::ALL.iter().copied().find(|bug| bug.name() == name);
        known.ok_or_else(|| Error::Failed { command: format!("no bug {name:?}: cargo xtask planted --list") })
    };
    names.iter().map(of).collect()
}

/// By what the bug was seen, and how that showed.
fn look_for(
    bug: Bug,
    built: &Built,
    budget: Duration,
    controls: &mut BTreeMap<Look, bool>,
) -> Result<Option<(String, String)>> {
    let started = Instant::now();
    let mut tried: Vec<Look> = Vec::new();
    let workloads = WORKLOADS.iter().map(|kind| Look::Workload { kind: *kind, nodes: 3 });
    let all = likely(bug).into_iter().chain(SUITE.iter().cloned()).chain((1..=8).map(Look::Seed)).chain(workloads);
    for look in all.chain((9..=60).map(Look::Seed)) {
        let left = budget.saturating_sub(started.elapsed());
        if left.is_zero() {
            break;
        }
        if tried.contains(&look) || controls.get(&look) == Some(&false) {
            continue;
        }
        tried.push(look.clone());
        let Seen::By(how) = take(&look, Some(bug), built, left)? else { continue };
        let passes = match controls.get(&look) {
            Some(passes) => *passes,
            None => {
                let passes = matches!(take(&look, None, built, HANGS / 3)?, Seen::No);
                controls.insert(look.clone(), passes);
                passes
            }
        };
        if passes {
            return Ok(Some((look.shown(), how)));
        }
        println!("{} fails without any bug too, and counts for nothing: {how}", look.shown());
    }
    Ok(None)
}

fn take(look: &Look, bug: Option<Bug>, built: &Built, within: Duration) -> Result<Seen> {
    match look {
        Look::Tests { package, name, word } => {
            let key = ((*package).to_owned(), (*name).to_owned());
            let Some((program, dir)) = built.tests.get(&key) else {
                return Err(Error::Failed { command: format!("there are no tests {package}::{name}") });
            };
            run_tests(program, dir, word, bug, &built.scratch, within.min(HANGS))
        }
        Look::Seed(seed) => {
            let name = bug.map(|bug| (VARIABLE, bug.name()));
            let outcome = histories::run_one(&built.histories, &built.scratch, *seed, name)?;
            Ok(outcome.faults.into_iter().next().map_or(Seen::No, |fault| Seen::By(first_line(&fault))))
        }
        Look::Workload { kind, nodes } => match &built.quorate {
            Some(binary) => run_workload(binary, kind, *nodes, bug, &built.scratch),
            None => Ok(Seen::No),
        },
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(160).collect()
}

fn run_tests(
    program: &Path,
    dir: &Path,
    word: &str,
    bug: Option<Bug>,
    scratch: &Path,
    within: Duration,
) -> Result<Seen> {
    let log = scratch.join("tests.txt");
    let file = fs::File::create(&log).context("creating the tests' output")?;
    let errors = file.try_clone().context("opening the tests' output")?;
    let mut command = Command::new(program);
    command.args(["--test-threads", "2"]).args((!word.is_empty()).then_some(word)).current_dir(dir);
    command.stdin(Stdio::null()).stdout(file).stderr(errors).env_remove(VARIABLE);
    command.envs(bug.map(|bug| (VARIABLE, bug.name())));
    let mut child = command.spawn().context(format!("starting {}", program.display()))?;
    let started = Instant::now();
    loop {
        let status = child.try_wait().context("waiting for tests")?;
        let said = fs::read_to_string(&log).unwrap_or_default();
        let failed = said.lines().find_map(|line| {
            let name = line.strip_prefix("test ")?.split(" ... ").next()?;
            line.ends_with("FAILED").then(|| name.to_owned())
        });
        let seen = match (failed, status) {
            (Some(name), _) => Seen::By(name),
            (None, Some(status)) if status.success() => Seen::No,
            (None, Some(status)) => Seen::By(format!("the tests end with {status}")),
            (None, None) if started.elapsed() < within => {
                std::thread::sleep(Duration::from_millis(100));
                continue;
            }
            (None, None) if within == HANGS => Seen::By("hangs".into()),
            // What was left of the budget was short, which is no proof; without a bug it is a failure.
            (None, None) if bug.is_some() => Seen::No,
            (None, None) => Seen::By("too slow without any bug".into()),
        };
        if status.is_none() {
            child.kill().context("ending tests")?;
            child.wait().context("waiting for tests")?;
        }
        return Ok(seen);
    }
}

/// Nodes take the bug from their environment, which a script of one line sets.
fn script(binary: &Path, bug: Option<Bug>, scratch: &Path) -> Result<PathBuf> {
    let path = scratch.join("node.sh");
    let mut file = fs::File::create(&path).context("creating the nodes' script")?;
    let name = bug.map_or("", Bug::name);
    write!(file, "#!/bin/sh\n{VARIABLE}='{name}' exec '{}' \"$@\"\n", binary.display()).context("writing the nodes' script")?;
    drop(file);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).context("making the nodes' script a program")?;
    Ok(path)
}

fn run_workload(binary: &Path, kind: &str, nodes: usize, bug: Option<Bug>, scratch: &Path) -> Result<Seen> {
    let dir = scratch.join("nodes");
    fs::create_dir_all(&dir).context("creating the nodes' folder")?;
    let program = script(binary, bug, scratch)?;
    let cluster = Cluster::start(&Options { binary: &program, dir: &dir, nodes, base_port: None, flags: &[] })?;
    cluster.wait_replicated()?;
    let urls: Vec<String> = cluster.nodes.iter().map(|node| format!("postgres://postgres@{}/postgres", node.sql)).collect();
    let verdict = judge_workload(kind, &urls, Duration::from_secs(10), 1)?;
    drop(cluster);
    fs::remove_dir_all(&dir).context("removing the nodes' folder")?;
    Ok(match verdict.ending() {
        Ending::Broken => Seen::By(verdict.names().join(", ")),
        Ending::Holds | Ending::Undecided => Seen::No,
    })
}

/// Runs a workload from this process, and judges it.
pub fn judge_workload(kind: &str, urls: &[String], duration: Duration, seed: u64) -> Result<checkers::Verdict> {
    let failed = |what: &dyn std::fmt::Display| Error::Failed { command: format!("workload {kind}: {what}") };
    let mix = Mix::of('A').ok_or_else(|| failed(&"no mix A"))?;
    let servers = urls.iter().map(|url| url.parse()).collect::<std::result::Result<Vec<_>, _>>();
    let options = ::workload::Options {
        kind: Kind::of(kind, mix).ok_or_else(|| failed(&"unknown"))?,
        servers: servers.map_err(|error| failed(&error))?,
        duration,
        clients: 8,
        seed,
        isolation: "SERIALIZABLE",
        check: true,
        history: None,
    };
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build().context("starting the clients' thread")?;
    let finished = runtime.block_on(::workload::run(options, &mut |_| ())).map_err(|failure| failed(&failure))?;
    finished.verdict.ok_or_else(|| failed(&"was not judged"))
}

fn build(with_nodes: bool) -> Result<Built> {
    setup::for_build()?;
    rocksdb::ensure()?;
    let scratch = std::env::temp_dir().join(format!("quorate-planted-{}", std::process::id()));
    fs::create_dir_all(&scratch).context("creating the scratch folder")?;
    println!("building the tests, the histories and the nodes with the switch");
    let mut packages: Vec<&str> = SUITE
        .iter()
        .filter_map(|look| match look {
            Look::Tests { package, .. } => Some(*package),
            Look::Seed(_) | Look::Workload { .. } => None,
        })
        .chain(with_nodes.then_some("quorate"))
        .collect();
    packages.sort_unstable();
    packages.dedup();
    // One command for all: what is selected together shares features, and nothing is compiled twice.
    let mut command = cargo();
    command.args(["test", "--no-run", "--message-format", "json-render-diagnostics", "--features", "testkit/planted"]);
    command.args(packages.iter().flat_map(|package| ["--package", package]));
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("building with the switch")?;
    if !output.status.success() {
        return Err(Error::Failed { command: "building with the switch".into() });
    }
    let (mut tests, mut programs) = (BTreeMap::new(), BTreeMap::new());
    for message in Message::parse_stream(&output.stdout[..]) {
        let Message::CompilerArtifact(artifact) = message.context("reading what was built")? else { continue };
        let Some(program) = artifact.executable.map(|program| PathBuf::from(program.as_str())) else { continue };
        let dir = artifact.manifest_path.parent().map(|dir| PathBuf::from(dir.as_str())).unwrap_or_default();
        let package = dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let name = artifact.target.name.clone();
        if artifact.profile.test && artifact.target.is_bin() {
            // The unit tests of a program, which may have the name of an integration test.
            continue;
        }
        if artifact.profile.test {
            tests.insert((package, name), (program, dir));
        } else {
            programs.insert(name, program);
        }
    }
    let histories = keep("histories", &programs, &scratch)?;
    let quorate = if with_nodes { Some(keep("quorate", &programs, &scratch)?) } else { None };
    Ok(Built { tests, histories, quorate, scratch })
}

/// Copies a program away.
fn keep(name: &str, programs: &BTreeMap<String, PathBuf>, scratch: &Path) -> Result<PathBuf> {
    let missing = || Error::Failed { command: format!("cargo built no {name}") };
    let kept = scratch.join(name);
    fs::copy(programs.get(name).ok_or_else(missing)?, &kept).context(format!("copying {name}"))?;
    Ok(kept)
}
