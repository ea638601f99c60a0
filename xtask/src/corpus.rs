//! The SQLite corpus of sqllogictest files: where it lies, and running it against a cluster.

use std::path::{Path, PathBuf};
use std::{env, fs};

use crate::cluster::{Cluster, Options};
use crate::command::{Error, IoContext, Result, cargo, root, run, target_dir};

/// Which nodes the corpus runs against.
pub struct Topology {
    pub name: &'static str,
    pub nodes: usize,
    pub flags: &'static [&'static str],
}

pub const ONE_NODE: Topology = Topology { name: "one node", nodes: 1, flags: &[] };
pub const TINY_RANGES: Topology =
    Topology { name: "three nodes, tiny ranges", nodes: 3, flags: &["--range-max-bytes", "65536"] };

/// The folder of corpora: `$QUORATE_CORPORA`, or `../shared/corpora` beside the checkout.
pub fn dir() -> Result<PathBuf> {
    let dir = env::var_os("QUORATE_CORPORA").map_or_else(|| root().join("../shared/corpora"), PathBuf::from);
    if dir.is_dir() {
        return Ok(dir);
    }
    Err(Error::Missing {
        what: format!("the test corpora are not at {}", dir.display()),
        remedy: "QUORATE_CORPORA=<folder> cargo xtask test, or cargo xtask test --without-corpus".into(),
    })
}

/// Runs the corpus, all of it or the files named, and fails when a record that PostgreSQL passes does not pass.
pub fn run_on(binary: &Path, topology: &Topology, files: &[String]) -> Result {
    let corpora = dir()?;
    let tests = corpora.join("sqlite-slt/test");
    println!("SQLite corpus on {} …", topology.name);
    run(cargo().args(["build", "--release", "--package", "quorate-sqllogictest"]))?;
    let scratch = env::temp_dir().join(format!("quorate-corpus-{}", std::process::id()));
    let options = Options { binary, dir: &scratch, nodes: topology.nodes, base_port: None, flags: topology.flags };
    let cluster = Cluster::start(&options)?;
    let mut slt = std::process::Command::new(target_dir().join("release/slt"));
    slt.arg("--server").arg(cluster.sql_addresses());
    slt.arg("--root").arg(&tests).arg("--known-failures").arg(corpora.join("sqlite-slt-postgres15-fails.tsv"));
    if files.is_empty() {
        slt.arg(&tests);
    } else {
        slt.args(files.iter().map(|file| tests.join(file)));
    }
    let outcome = run(&mut slt);
    cluster.stop()?;
    fs::remove_dir_all(&scratch).context("removing the scratch folder")?;
    outcome
}
