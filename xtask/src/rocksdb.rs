//! RocksDB compiled once for everything: a static library beside the build output, keyed by version and features.
//!
//! Cargo compiles `librocksdb-sys` anew for each profile and each change of its build dependencies' features, 20 CPU
//! minutes a time. Its build script takes a finished library instead from `ROCKSDB_LIB_DIR`; this module makes that
//! library from the same published crate, in a small package of its own whose dependencies nothing else can change.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, fs, thread};

use indicatif::{ProgressBar, ProgressStyle};

use crate::command::{Error, IoContext, Result, cache_dir, root};

/// About how many objects RocksDB compiles to; only the progress bar depends on it.
const OBJECT_COUNT_ESTIMATE: u64 = 340;

pub fn lib_dir() -> PathBuf {
    cache_dir().join("rocksdb/lib")
}

/// Makes sure the library is there; says so when that takes long.
pub fn ensure() -> Result {
    let dependency = dependency_line()?;
    let stamp = cache_dir().join("rocksdb/stamp");
    let library = lib_dir().join("librocksdb.a");
    if library.is_file() && fs::read_to_string(&stamp).is_ok_and(|made_from| made_from == dependency) {
        return Ok(());
    }
    println!("Compiling RocksDB once for this machine (10 to 20 minutes on two cores) …");
    let package = cache_dir().join("rocksdb-build");
    write_package(&package, &dependency)?;
    compile(&package)?;
    let built = newest_library(&package)
        .ok_or_else(|| Error::Failed { command: "compiling RocksDB left no librocksdb.a".into() })?;
    fs::create_dir_all(lib_dir()).context("creating the library directory")?;
    fs::copy(&built, &library).context("copying librocksdb.a")?;
    fs::write(&stamp, dependency).context("writing the stamp")?;
    fs::remove_dir_all(package.join("target")).context("removing intermediate output")
}

/// The workspace's own line for the crate: its version and features are part of what the library is made from.
fn dependency_line() -> Result<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).context("reading Cargo.toml")?;
    let line = manifest
        .lines()
        .find(|line| line.starts_with("rocksdb = "))
        .ok_or_else(|| Error::Failed { command: "finding rocksdb in Cargo.toml".into() })?;
    Ok(line.split(" #").next().unwrap_or(line).trim_end().to_owned())
}

fn write_package(package: &Path, dependency: &str) -> Result {
    fs::create_dir_all(package.join("src")).context("creating the RocksDB package")?;
    let manifest = format!(
        "[package]\nname = \"rocksdb-build\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [dependencies]\n{dependency}\n\n[workspace]\n"
    );
    fs::write(package.join("Cargo.toml"), manifest).context("writing the RocksDB package")?;
    fs::write(package.join("src/main.rs"), "fn main() {}\n").context("writing the RocksDB package")
}

fn compile(package: &Path) -> Result {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--release", "--quiet"])
        .current_dir(package)
        .env("CARGO_TARGET_DIR", package.join("target"))
        .env("RUSTFLAGS", "-Ctarget-cpu=x86-64-v2")
        .env_remove("ROCKSDB_LIB_DIR")
        .stdin(Stdio::null());
    let shown = format!("{cargo:?}");
    let mut child = cargo.spawn().context(shown.clone())?;
    let bar = ProgressBar::new(OBJECT_COUNT_ESTIMATE);
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos} of about {len} objects, {elapsed}").expect("a valid template"));
    let status = loop {
        if let Some(status) = child.try_wait().context(shown.clone())? {
            break status;
        }
        bar.set_position(count_objects(&package.join("target/release/build")));
        thread::sleep(Duration::from_millis(500));
    };
    bar.finish_and_clear();
    if status.success() { Ok(()) } else { Err(Error::Failed { command: shown }) }
}

fn walk(dir: &Path, visit: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { walk(&path, visit) } else { visit(&path) }
    }
}

fn count_objects(dir: &Path) -> u64 {
    let mut count = 0;
    walk(dir, &mut |path| count += u64::from(path.extension().is_some_and(|extension| extension == "o")));
    count
}

fn newest_library(package: &Path) -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    walk(&package.join("target/release/build"), &mut |path| {
        if path.ends_with("librocksdb.a") {
            found.push(path.to_path_buf());
        }
    });
    found.into_iter().max_by_key(|path| fs::metadata(path).and_then(|data| data.modified()).ok())
}
