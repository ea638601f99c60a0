//! RocksDB compiled once for everything: a static library beside the build output, keyed by version and features.
//!
//! Cargo compiles `librocksdb-sys` anew for each profile and each change of its build dependencies' features, file by
//! file. Its build script takes a finished library instead from `ROCKSDB_LIB_DIR`; this module makes that library from
//! the sources that the published crate carries, with the definitions of its build script. About fifteen files go into one
//! translation unit, as most of the time of each goes into the same headers: 15 CPU minutes instead of more than 40.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, fs, thread};

use cargo_metadata::MetadataCommand;
use indicatif::{ProgressBar, ProgressStyle};

use crate::command::{Error, IoContext, Result, cache_dir, capture, root};

/// Translation units: few enough to share headers, enough for a progress bar and for any number of cores.
const UNITS: usize = 20;

/// What the crate's build script defines on Linux with these features.
const DEFINITIONS: &[&str] = &[
    "LZ4=1",
    "ZSTD=1",
    "NDEBUG=1",
    "HAVE_ALIGNED_NEW",
    "HAVE_UINT128_EXTENSION",
    "OS_LINUX",
    "ROCKSDB_PLATFORM_POSIX",
    "ROCKSDB_LIB_IO_POSIX",
    "ROCKSDB_SCHED_GETCPU_PRESENT",
    "ROCKSDB_AUXV_GETAUXVAL_PRESENT",
    "ROCKSDB_FALLOCATE_PRESENT",
    "ROCKSDB_RANGESYNC_PRESENT",
];

/// RocksDB's CRC needs these instructions.
const MACHINE_FLAGS: &[&str] = if cfg!(target_arch = "x86_64") {
    &["-m64", "-march=x86-64-v2"]
} else {
    &["-march=armv8-a+crc+aes+crypto"]
};

pub fn lib_dir() -> PathBuf {
    cache_dir().join("rocksdb/lib")
}

/// Makes sure the library is there; says so when that takes long.
pub fn ensure() -> Result {
    let dependencies = dependency_lines(&fs::read_to_string(root().join("Cargo.toml")).context("reading Cargo.toml")?)?;
    let stamp = cache_dir().join("rocksdb/stamp");
    let library = lib_dir().join("librocksdb.a");
    if library.is_file() && fs::read_to_string(&stamp).is_ok_and(|made_from| is_made_from(&made_from, &dependencies)) {
        return Ok(());
    }
    println!("Compiling RocksDB once for this machine (about 8 minutes on two cores) …");
    let build = cache_dir().join("rocksdb-build");
    let sources = Sources::fetch(&build, &dependencies)?;
    let objects = compile(&sources, &build.join("objects"))?;
    fs::create_dir_all(lib_dir()).context("creating the library directory")?;
    // A library that was there is replaced, not added to.
    let made = build.join("librocksdb.a");
    let _ = fs::remove_file(&made);
    capture(Command::new("ar").arg("crs").arg(&made).args(&objects))?;
    fs::copy(&made, &library).context("copying librocksdb.a")?;
    fs::write(&stamp, dependencies).context("writing the stamp")?;
    fs::remove_dir_all(&build).context("removing intermediate output")
}

/// The workspace's own lines for the crates: their versions and features are what the library is made from. `storage` is
/// compiled against the headers of the second, and both are one exact version: the library is of no other.
fn dependency_lines(manifest: &str) -> Result<String> {
    let line = |name: &str| -> Result<String> {
        let start = format!("{name} = ");
        let line = manifest.lines().find(|line| line.starts_with(&start));
        let line = line.ok_or_else(|| Error::Failed { command: format!("finding {name} in Cargo.toml") })?;
        let line = line.split(" #").next().unwrap_or(line).trim_end();
        if line.contains("version = \"=") {
            return Ok(line.to_owned());
        }
        Err(Error::Failed { command: format!("finding one exact version of {name} (\"=…\") in Cargo.toml") })
    };
    Ok(format!("{}\n{}", line("rocksdb")?, line("librocksdb-sys")?))
}

/// What stamps of one line were made with: they have the line of `rocksdb` alone.
const UNNAMED: &str = "librocksdb-sys = { version = \"=0.19.0\"";

/// Whether a library with this stamp is the one that is wanted.
fn is_made_from(stamp: &str, dependencies: &str) -> bool {
    let (rocksdb, sys) = dependencies.split_once('\n').unwrap_or((dependencies, ""));
    stamp == dependencies || (stamp == rocksdb && sys.starts_with(UNNAMED))
}

fn write_package(package: &Path, dependencies: &str) -> Result {
    fs::create_dir_all(package.join("src")).context("creating the RocksDB package")?;
    let manifest = format!(
        "[package]\nname = \"rocksdb-build\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [dependencies]\n{dependencies}\n\n[workspace]\n"
    );
    fs::write(package.join("Cargo.toml"), manifest).context("writing the RocksDB package")?;
    fs::write(package.join("src/main.rs"), "fn main() {}\n").context("writing the RocksDB package")
}

/// Where the sources lie, as the registry's crates carry them.
struct Sources {
    /// `librocksdb-sys`: RocksDB itself is the folder `rocksdb` in it.
    rocksdb: PathBuf,
    includes: Vec<PathBuf>,
}

impl Sources {
    /// Has cargo fetch the crates, by way of a package of our own that depends on them.
    fn fetch(build: &Path, dependencies: &str) -> Result<Self> {
        let package = build.join("package");
        write_package(&package, dependencies)?;
        let metadata = MetadataCommand::new()
            .manifest_path(package.join("Cargo.toml"))
            .exec()
            .map_err(|error| Error::Failed { command: format!("cargo metadata: {error}") })?;
        let folder = |name: &str| {
            let found = metadata.packages.iter().find(|package| package.name.as_str() == name);
            let manifest = found.ok_or_else(|| Error::Failed { command: format!("finding {name} among RocksDB's dependencies") })?;
            Ok::<_, Error>(PathBuf::from(manifest.manifest_path.parent().expect("a manifest lies in a folder")))
        };
        let rocksdb = folder("librocksdb-sys")?;
        let own = ["rocksdb/include", "rocksdb", "."].map(|path| rocksdb.join(path));
        let compression = [folder("lz4-sys")?.join("liblz4/lib"), folder("zstd-sys")?.join("zstd/lib")];
        Ok(Self { includes: own.into_iter().chain(compression).collect(), rocksdb })
    }

    /// The files of the library, by way of the list that the crate's build script reads, cut into units of about the
    /// same size. The version is a file of the crate's own.
    fn units(&self) -> Result<Vec<Vec<PathBuf>>> {
        let list = self.rocksdb.join("rocksdb_lib_sources.txt");
        let text = fs::read_to_string(&list).context(format!("reading {}", list.display()))?;
        let listed = text.lines().map(str::trim).filter(|line| !line.is_empty() && *line != "util/build_version.cc");
        let mut files = vec![(self.rocksdb.join("build_version.cc"), 0)];
        for line in listed {
            let file = self.rocksdb.join("rocksdb").join(line);
            let bytes = fs::metadata(&file).context(format!("looking at {}", file.display()))?.len();
            files.push((file, bytes));
        }
        let enough = files.iter().map(|(_, bytes)| bytes).sum::<u64>() / UNITS as u64;
        let mut units = vec![Vec::new()];
        let mut filled = 0;
        for (file, bytes) in files {
            if filled >= enough {
                units.push(Vec::new());
                filled = 0;
            }
            filled += bytes;
            units.last_mut().expect("there is a unit").push(file);
        }
        Ok(units)
    }

    fn compiler(&self, unit: &Path, object: &Path) -> Command {
        let mut compiler = Command::new(env::var_os("CXX").unwrap_or_else(|| "c++".into()));
        for include in &self.includes {
            compiler.arg("-I").arg(include);
        }
        compiler.args(DEFINITIONS.iter().map(|definition| format!("-D{definition}")));
        compiler.args(MACHINE_FLAGS).args(["-std=c++20", "-O3", "-w", "-include", "cstdint"]);
        compiler.args(["-ffunction-sections", "-fdata-sections", "-fPIC", "-c"]);
        compiler.arg(unit).arg("-o").arg(object).stdin(Stdio::null());
        compiler
    }
}

/// A compiler at work, and where its messages go.
struct Job {
    child: Child,
    messages: PathBuf,
}

/// Compiles all units, as many at a time as there are cores.
fn compile(sources: &Sources, dir: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(dir).context("creating the folder of objects")?;
    let units = sources.units()?;
    let bar = ProgressBar::new(units.len() as u64);
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos} of {len} units, {elapsed}").expect("a valid template"));
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut objects = Vec::with_capacity(units.len());
    let mut running: Vec<Job> = Vec::new();
    let mut waiting = units.into_iter().enumerate();
    loop {
        while running.len() < cores
            && let Some((number, files)) = waiting.next()
        {
            let [unit, object, messages] = ["cc", "o", "txt"].map(|kind| dir.join(format!("unit{number}.{kind}")));
            let text: String = files.iter().map(|file| format!("#include \"{}\"\n", file.display())).collect();
            fs::write(&unit, text).context("writing a unit")?;
            let log = File::create(&messages).context("creating a file of messages")?;
            let mut compiler = sources.compiler(&unit, &object);
            let child = compiler.stderr(log).spawn().context(format!("{compiler:?}"))?;
            running.push(Job { child, messages });
            objects.push(object);
        }
        if running.is_empty() {
            break;
        }
        thread::sleep(Duration::from_millis(200));
        let mut at = 0;
        while at < running.len() {
            match running[at].child.try_wait().context("waiting for the compiler")? {
                None => at += 1,
                Some(status) if status.success() => {
                    running.swap_remove(at);
                    bar.inc(1);
                }
                Some(status) => {
                    let messages = fs::read_to_string(&running[at].messages).unwrap_or_default();
                    running.iter_mut().for_each(|job| drop(job.child.kill()));
                    return Err(Error::Failed { command: format!("compiling RocksDB: {status}\n{messages}") });
                }
            }
        }
    }
    bar.finish_and_clear();
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROCKSDB: &str = "rocksdb = { version = \"=0.25.0\", features = [\"lz4\"] }";

    fn sys(version: &str) -> String {
        format!("librocksdb-sys = {{ version = \"{version}\", default-features = false }}")
    }

    #[test]
    fn both_crates_are_pinned() {
        let manifest = |version| format!("[x]\nrocksdb-x = 1\n{ROCKSDB} # storage\n{} # headers\n", sys(version));
        assert_eq!(dependency_lines(&manifest("=0.19.0")).unwrap(), format!("{ROCKSDB}\n{}", sys("=0.19.0")));
        assert!(dependency_lines(&manifest("0.19.0")).is_err());
        assert!(dependency_lines(ROCKSDB).is_err());
        let own = include_str!("../../Cargo.toml");
        assert!(dependency_lines(own).is_ok());
    }

    /// A library is not compiled anew because its stamp has another form.
    #[test]
    fn stamps_of_one_line_are_of_the_version_of_their_time() {
        let wanted = |version| format!("{ROCKSDB}\n{}", sys(version));
        for stamp in [ROCKSDB, wanted("=0.19.0").as_str()] {
            assert!(is_made_from(stamp, &wanted("=0.19.0")));
            assert!(!is_made_from(stamp, &wanted("=0.19.1")));
            assert!(!is_made_from(stamp, &wanted("=0.19.0").replace("lz4", "zstd")));
        }
        assert!(!is_made_from("", &wanted("=0.19.0")));
    }
}
