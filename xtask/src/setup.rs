//! System packages: what building and benchmarking need from Debian.

use std::process::Command;

use crate::command::{self, Error, Result, find_program};

/// A program whose absence tells that a package is missing, and that package.
struct Need {
    program: &'static str,
    package: &'static str,
    elsewhere: &'static [&'static str],
}

const BUILD: &[Need] = &[
    Need { program: "g++", package: "g++", elsewhere: &[] },
    Need { program: "make", package: "make", elsewhere: &[] },
    // bindgen reads RocksDB's header through libclang.
    Need { program: "clang", package: "clang", elsewhere: &["/usr/lib/llvm-14/bin", "/usr/lib/llvm-19/bin"] },
    Need { program: "psql", package: "postgresql-client", elsewhere: &[] },
];

const BENCH: &[Need] = &[
    Need { program: "postgres", package: "postgresql", elsewhere: POSTGRES_DIRS },
    Need { program: "pgbench", package: "postgresql-contrib", elsewhere: POSTGRES_DIRS },
];

/// Where Debian puts PostgreSQL's server programs.
pub const POSTGRES_DIRS: &[&str] =
    &["/usr/lib/postgresql/18/bin", "/usr/lib/postgresql/17/bin", "/usr/lib/postgresql/16/bin", "/usr/lib/postgresql/15/bin"];

/// What the console's page is tested in.
const BROWSER: &[Need] = &[
    Need { program: "chromium", package: "chromium", elsewhere: &["/usr/bin"] },
    Need { program: "chromedriver", package: "chromium-driver", elsewhere: &["/usr/bin"] },
];

pub fn run() -> Result {
    for_build()?;
    for_browser()?;
    for_bench()?;
    println!("Everything this tree needs is installed.");
    Ok(())
}

/// What compiling and the demo need.
pub fn for_build() -> Result {
    install(BUILD)
}

/// What the test of the console's page needs.
pub fn for_browser() -> Result {
    install(BROWSER)
}

/// What the comparison with PostgreSQL needs.
pub fn for_bench() -> Result {
    install(BENCH)
}

fn install(needs: &[Need]) -> Result {
    let missing: Vec<&str> = needs
        .iter()
        .filter(|need| find_program(need.program, need.elsewhere).is_none())
        .map(|need| need.package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    // libclang itself comes with clang only as a library; the -dev package names it for bindgen.
    let mut packages = missing;
    if packages.contains(&"clang") {
        packages.push("libclang-dev");
    }
    let line = format!("apt-get install -y --no-install-recommends {}", packages.join(" "));
    let is_root = command::capture(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    if !is_root || find_program("apt-get", &[]).is_none() {
        return Err(Error::Missing {
            what: format!("missing system packages: {}", packages.join(", ")),
            remedy: format!("sudo {line}"),
        });
    }
    println!("Installing {} …", packages.join(", "));
    let quiet = |command: &mut Command| {
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command::capture(command).map(drop)
    };
    quiet(Command::new("apt-get").args(["update", "-qq"]))?;
    quiet(Command::new("apt-get").args(["install", "-y", "-qq", "--no-install-recommends"]).args(&packages))
}
