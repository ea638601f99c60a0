//! Running other programs: where the tree is, where build output goes, and errors that name the command.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fmt, io};

pub type Result<T = ()> = std::result::Result<T, Error>;

/// Why a developer command stopped.
#[derive(Debug)]
pub enum Error {
    /// A program could not be started, or a file not be used.
    Io { what: String, source: io::Error },
    /// A program ended with a failure of its own.
    Failed { command: String },
    /// Checks that did not hold; each was printed already.
    Checks { failed: usize },
    /// The machine lacks something that only its owner can give.
    Missing { what: String, remedy: String },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { what, source } => write!(f, "{what}: {source}"),
            Self::Failed { command } => write!(f, "failed: {command}"),
            Self::Checks { failed } => write!(f, "{failed} checks failed"),
            Self::Missing { what, remedy } => write!(f, "{what}; run: {remedy}"),
        }
    }
}

impl std::error::Error for Error {}

/// Names what was being done when an I/O error came.
pub trait IoContext<T> {
    fn context(self, what: impl Into<String>) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn context(self, what: impl Into<String>) -> Result<T> {
        self.map_err(|source| Error::Io { what: what.into(), source })
    }
}

/// The root of the checkout that `cargo xtask` was called in, or else where this runs. Not where it was built: clones may
/// share their build output.
pub fn root() -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    package.as_deref().and_then(Path::parent).map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Where build output lives that a fresh clone should find again: `$QUORATE_CACHE`, or `~/.cache/quorate`.
pub fn cache_dir() -> PathBuf {
    let home = || PathBuf::from(env::var_os("HOME").unwrap_or_else(|| "/tmp".into()));
    match (env::var_os("QUORATE_CACHE"), env::var_os("XDG_CACHE_HOME")) {
        (Some(dir), _) => dir.into(),
        (None, Some(dir)) => PathBuf::from(dir).join("quorate"),
        (None, None) => home().join(".cache/quorate"),
    }
}

/// Cargo's target directory for everything these commands build.
pub fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| cache_dir().join("target"), PathBuf::from)
}

/// A cargo command in the checkout that links the RocksDB compiled once.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .current_dir(root())
        .env("CARGO_TARGET_DIR", target_dir())
        .env("ROCKSDB_LIB_DIR", crate::rocksdb::lib_dir())
        .env("ROCKSDB_STATIC", "1");
    command
}

/// Runs a command to its end with its output shown.
pub fn run(command: &mut Command) -> Result {
    let shown = format!("{command:?}");
    let status = command.stdin(Stdio::null()).status().context(shown.clone())?;
    if status.success() { Ok(()) } else { Err(Error::Failed { command: shown }) }
}

/// Runs a command to its end and returns what it printed.
pub fn capture(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().context(shown.clone())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::Failed { command: format!("{shown}\n{}", said.trim_end()) })
}

/// Runs a statement on a server of this machine.
pub fn psql(port: u16, database: &str, sql: &str) -> Result {
    let mut psql = Command::new("psql");
    psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "postgres", "-d", database]);
    capture(psql.args(["-p", &port.to_string(), "-c", sql])).map(drop)
}

/// The first directory of `PATH`, or of `extra`, that holds this program.
pub fn find_program(name: &str, extra: &[&str]) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs = env::split_paths(&path).chain(extra.iter().map(PathBuf::from));
    dirs.map(|dir| dir.join(name)).find(|program| program.is_file())
}
