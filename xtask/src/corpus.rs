//! The SQLite corpus of sqllogictest files: where it lies, and running it against a cluster.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use crate::bench::postgres::Postgres;
use crate::cluster::{Cluster, Options};
use crate::command::{Error, IoContext, Result, cargo, root, run, target_dir};
use crate::setup;

/// Files at the same time: as many as keep two cores busy without hiding what one client sees.
const JOBS: &str = "2";

/// Which nodes the corpus runs against.
struct Topology {
    name: &'static str,
    nodes: usize,
    flags: &'static [&'static str],
}

const ONE_NODE: Topology = Topology { name: "one node", nodes: 1, flags: &[] };
const TINY_RANGES: Topology =
    Topology { name: "three nodes, tiny ranges", nodes: 3, flags: &["--range-max-bytes", "65536"] };

/// The folder of corpora: `$QUORATE_CORPORA`, or `../shared/corpora` beside the checkout.
pub fn dir() -> Result<PathBuf> {
    let dir = env::var_os("QUORATE_CORPORA").map_or_else(|| root().join("../shared/corpora"), PathBuf::from);
    if dir.is_dir() {
        return Ok(dir);
    }
    Err(Error::Missing {
        what: format!("SQLite's corpus, of which sqllogictest/slt holds files of the same kind, is not at {}", dir.display()),
        remedy: "QUORATE_CORPORA=<folder> cargo xtask test".into(),
    })
}

/// Runs the corpus, all of it or the files named, and this tree's own files, beside a PostgreSQL. Fails when a record
/// that PostgreSQL passes does not pass.
pub fn run_all(binary: &Path, files: &[String]) -> Result {
    let corpora = dir()?;
    setup::for_bench()?;
    run(cargo().args(["build", "--release", "--package", "quorate-sqllogictest"]))?;
    let scratch = env::temp_dir().join(format!("quorate-corpus-{}", std::process::id()));
    fs::create_dir_all(&scratch).context("creating the scratch folder")?;
    let postgres = Postgres::start(&scratch, 0)?;
    for topology in [ONE_NODE, TINY_RANGES] {
        run_on(binary, &topology, &corpora, files, &postgres, &scratch.join(format!("{}", topology.nodes)))?;
    }
    drop(postgres);
    fs::remove_dir_all(&scratch).context("removing the scratch folder")
}

fn run_on(
    binary: &Path,
    topology: &Topology,
    corpora: &Path,
    files: &[String],
    postgres: &Postgres,
    scratch: &Path,
) -> Result {
    let tests = corpora.join("sqlite-slt/test");
    let options = Options { binary, dir: scratch, nodes: topology.nodes, base_port: None, flags: topology.flags };
    let cluster = Cluster::start(&options)?;
    let slt = |jobs: &str| {
        let mut slt = Command::new(target_dir().join("release/slt"));
        slt.args(["--server", &cluster.sql_addresses(), "--beside", &format!("127.0.0.1:{}", postgres.port)]);
        slt.args(["--jobs", jobs]);
        slt
    };
    if files.is_empty() {
        println!("Own SQL files on {} …", topology.name);
        // One after another: a statement that another file's DDL makes run again draws from its sequences again.
        run(slt("1").arg("--strict").arg(root().join("sqllogictest/slt")))?;
    }
    println!("SQLite corpus on {}, beside {} …", topology.name, postgres.version);
    let mut corpus = slt(JOBS);
    corpus.arg("--root").arg(&tests).arg("--known-failures").arg(corpora.join("sqlite-slt-postgres15-fails.tsv"));
    if files.is_empty() {
        corpus.arg(&tests);
    } else {
        corpus.args(files.iter().map(|file| tests.join(file)));
    }
    run(&mut corpus)?;
    cluster.stop()
}
