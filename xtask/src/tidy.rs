//! Invariants of the tree, checked against `cargo metadata` and the sources.
//!
//! - *arrows-down*: a crate depends only on crates of lower floors.
//! - *one-crate-knows*: each foreign thing is a dependency of exactly one crate.
//! - *documented*: every module starts with its doc.
//! - *mapped*: ARCHITECTURE.md has a line for every crate.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

use crate::command::{Error, IoContext, Result, root};

/// The floors of the house, lowest first; crates of one floor do not know each other.
const FLOORS: &[&[&str]] = &[
    &["hlc", "auth", "audit", "certs", "planted", "checkers"],
    &["keys", "workload"],
    &["types"],
    &["builtins", "plpgsql", "storage", "rpc"],
    &["raft", "concurrency"],
    &["replica"],
    &["kv"],
    &["store"],
    &["catalog"],
    &["plan"],
    &["exec"],
    &["backup"],
    &["session"],
    &["pgserver"],
    &["server"],
    &["quorate"],
];

/// Crates beside the house: they may know all of it, nothing in it may know them outside its tests.
const SIDE: &[&str] =
    &["testkit", "xtask", "quorate-tests", "quorate-sqllogictest", "quorate-benches"];

/// A foreign crate, and who alone may know it.
const KNOWN_TO: &[(&str, &[&str])] = &[
    ("rocksdb", &["storage"]),
    ("librocksdb-sys", &["storage"]),
    ("openraft", &["raft"]),
    ("pgwire", &["pgserver"]),
    ("sqlparser", &["plan"]),
    ("rustls", &["certs"]),
    ("object_store", &["backup"]),
    ("rcgen", &["certs"]),
    ("clap", &["quorate", "xtask", "quorate-sqllogictest", "quorate-tests", "quorate-benches"]),
];

pub fn run() -> Result {
    let mut failures = Vec::new();
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .exec()
        .map_err(|error| Error::Failed { command: format!("cargo metadata: {error}") })?;
    let packages: Vec<&Package> = metadata.workspace_packages();
    check_layers(&packages, &mut failures);
    check_foreign(&packages, &mut failures);
    check_docs(&root(), &mut failures)?;
    check_map(&packages, &mut failures)?;
    for failure in &failures {
        eprintln!("tidy: {failure}");
    }
    if failures.is_empty() {
        println!("tidy: {} crates, all arrows point down", packages.len());
        return Ok(());
    }
    Err(Error::Checks { failed: failures.len() })
}

fn floors() -> BTreeMap<&'static str, usize> {
    let mut floors = BTreeMap::new();
    for (floor, names) in FLOORS.iter().enumerate() {
        floors.extend(names.iter().map(|name| (*name, floor)));
    }
    floors
}

fn check_layers(packages: &[&Package], failures: &mut Vec<String>) {
    let floors = floors();
    for package in packages {
        let name = package.name.as_str();
        if SIDE.contains(&name) {
            continue;
        }
        let Some(floor) = floors.get(name) else {
            failures.push(format!("arrows-down: crate {name} has no floor; give it one in xtask/src/tidy.rs"));
            continue;
        };
        for dependency in &package.dependencies {
            let target = dependency.name.as_str();
            if SIDE.contains(&target) && dependency.kind != DependencyKind::Development {
                failures.push(format!("arrows-down: {name} depends on {target}, which stands beside the house"));
            }
            // Tests may look anywhere: `kind` tells them apart.
            if floors.get(target).is_some_and(|below| below >= floor) && dependency.kind != DependencyKind::Development {
                failures.push(format!("arrows-down: {name} may not depend on {target}"));
            }
        }
    }
}

fn check_foreign(packages: &[&Package], failures: &mut Vec<String>) {
    for package in packages {
        for dependency in &package.dependencies {
            let known = KNOWN_TO.iter().find(|(foreign, _)| *foreign == dependency.name);
            if known.is_some_and(|(_, owners)| !owners.contains(&package.name.as_str())) {
                failures.push(format!("one-crate-knows: {} may not know {}", package.name, dependency.name));
            }
        }
    }
}

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) -> Result {
    for entry in fs::read_dir(dir).context(format!("reading {}", dir.display()))? {
        let path = entry.context("reading a directory entry")?.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target" && name != ".git") {
                rust_files(&path, found)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

fn check_docs(root: &Path, failures: &mut Vec<String>) -> Result {
    let mut files = Vec::new();
    rust_files(root, &mut files)?;
    for file in files {
        let text = fs::read_to_string(&file).context(format!("reading {}", file.display()))?;
        if !text.trim_start().starts_with("//!") {
            let shown = file.strip_prefix(root).unwrap_or(&file).display();
            failures.push(format!("documented: {shown} does not start with its module doc"));
        }
    }
    Ok(())
}

fn check_map(packages: &[&Package], failures: &mut Vec<String>) -> Result {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).context("reading ARCHITECTURE.md")?;
    for package in packages {
        let name = package.name.trim_start_matches("quorate-");
        if !map.contains(&format!("`{name}`")) && !map.contains(&format!("`{name}/`")) {
            failures.push(format!("mapped: ARCHITECTURE.md does not mention `{name}`"));
        }
    }
    Ok(())
}
