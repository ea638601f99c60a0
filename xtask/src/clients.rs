//! `cargo xtask clients`: stock drivers connect, fail, recover and go on; stock ORMs make schemas, read them back and query.
//!
//! Each program of `clients/` prints a line for each of its steps: what was answered, or the SQLSTATE of the error. It is
//! run against a node and against a PostgreSQL, and the lines must be the same. The drivers come from npm and PyPI, once,
//! into the cache directory.

use std::{
    collections::hash_map::DefaultHasher,
    fs,
    hash::{Hash, Hasher},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    bench::postgres::Postgres,
    cluster::{Cluster, Options},
    command::{Error, IoContext, Result, cache_dir, capture, find_program, root},
    demo, setup,
};

#[derive(clap::Args)]
pub struct Arguments {
    /// Run only programs whose name contains this.
    filter: Option<String>,
    /// Run this binary instead of building one.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Print every step, not only those that differ.
    #[arg(long)]
    verbose: bool,
}

/// The programs, and what each is run by.
const PROGRAMS: [(&str, Language); 6] = [
    ("postgres_js.mjs", Language::Node),
    ("node_postgres.mjs", Language::Node),
    ("asyncpg_client.py", Language::Python),
    ("psycopg_client.py", Language::Python),
    ("sqlalchemy_client.py", Language::Python),
    ("django_client.py", Language::Python),
];

/// What `cargo xtask catalogs` runs.
const REFLECTION: &str = "reflection.py";

/// What programs import of this tree.
const FOLDERS: [&str; 2] = ["shop", "shop/migrations"];

/// A program that hangs is ended after so many seconds.
const TIMEOUT_SECONDS: &str = "300";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Language {
    Node,
    Python,
}

pub fn run(arguments: &Arguments) -> Result {
    setup::for_bench()?;
    let binary = match &arguments.binary {
        Some(binary) => binary.clone(),
        None => demo::build()?,
    };
    let home = install()?;
    let scratch = std::env::temp_dir().join(format!("quorate-clients-{}", std::process::id()));
    fs::create_dir_all(&scratch).context("making the scratch folder")?;
    let cluster = Cluster::start(&Options { binary: &binary, dir: &scratch.join("nodes"), nodes: 1, base_port: None, flags: &[] })?;
    let postgres = Postgres::start(&scratch.join("reference"), 0)?;
    println!("beside {}", postgres.version);
    let mut failed = 0;
    for (name, language) in PROGRAMS {
        if arguments.filter.as_ref().is_some_and(|filter| !name.contains(filter.as_str())) {
            continue;
        }
        let expected = steps(&home, name, language, postgres.port)?;
        let found = steps(&home, name, language, cluster.nodes[0].sql.port())?;
        let mut differing = 0;
        for at in 0..expected.len().max(found.len()) {
            let (expected, found) = (expected.get(at), found.get(at));
            if expected == found {
                if let (true, Some(line)) = (arguments.verbose, found) {
                    println!("  {line}");
                }
                continue;
            }
            differing += 1;
            println!("  PostgreSQL  {}", expected.map_or("(nothing)", String::as_str));
            println!("  Quorate     {}", found.map_or("(nothing)", String::as_str));
        }
        println!("{name}: {} steps, {differing} differ", expected.len());
        failed += differing;
    }
    drop(postgres);
    cluster.stop()?;
    if failed > 0 {
        return Err(Error::Checks { failed });
    }
    fs::remove_dir_all(&scratch).context("removing the scratch folder")
}

/// What a program prints.
fn steps(home: &Path, name: &str, language: Language, port: u16) -> Result<Vec<String>> {
    let program = match language {
        Language::Node => PathBuf::from("node"),
        Language::Python => home.join("venv/bin/python"),
    };
    let mut command = Command::new("timeout");
    command.arg(TIMEOUT_SECONDS).arg(program).arg(home.join(name)).current_dir(home);
    command.env("PGHOST", "127.0.0.1").env("PGPORT", port.to_string());
    let output = command.stdin(Stdio::null()).output().context(name)?;
    let mut lines: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        lines.push(format!("ended with {}: {}", output.status, said.lines().last().unwrap_or_default()));
    }
    Ok(lines)
}

/// The programs with their drivers beside them; made again when `clients/` has changed.
pub fn install() -> Result<PathBuf> {
    let source = root().join("clients");
    let read = |name: &str| fs::read_to_string(source.join(name)).context(format!("reading clients/{name}"));
    let home = drivers(&source, "clients")?;
    for (name, _) in PROGRAMS {
        fs::write(home.join(name), read(name)?).context(format!("copying {name}"))?;
    }
    fs::write(home.join(REFLECTION), read(REFLECTION)?).context(format!("copying {REFLECTION}"))?;
    for folder in FOLDERS {
        fs::create_dir_all(home.join(folder)).context(format!("making the folder {folder}"))?;
        let entries = fs::read_dir(source.join(folder)).context(format!("reading clients/{folder}"))?;
        for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|it| it == "py")) {
            let name = Path::new(folder).join(path.file_name().expect("an entry of a folder has a name"));
            fs::copy(&path, home.join(&name)).context(format!("copying {}", name.display()))?;
        }
    }
    Ok(home)
}

/// A folder of the cache with what `source` lists in package.json and requirements.txt installed; made again when these change.
pub fn drivers(source: &Path, name: &str) -> Result<PathBuf> {
    let read = |file: &str| fs::read_to_string(source.join(file)).context(format!("reading {file} of {}", source.display()));
    let (packages, requirements) = (read("package.json")?, read("requirements.txt")?);
    let mut hasher = DefaultHasher::new();
    (&packages, &requirements).hash(&mut hasher);
    let home = cache_dir().join(format!("{name}-{:016x}", hasher.finish()));
    let ready = home.join("ready");
    if ready.exists() {
        return Ok(home);
    }
    fs::create_dir_all(&home).context("making the folder of the drivers")?;
    fs::write(home.join("package.json"), &packages).context("writing package.json")?;
    fs::write(home.join("requirements.txt"), &requirements).context("writing requirements.txt")?;
    for program in ["npm", "python3"] {
        if find_program(program, &[]).is_none() {
            let what = format!("{program} is missing");
            return Err(Error::Missing { what, remedy: "apt-get install -y npm python3-venv".into() });
        }
    }
    println!("Installing the drivers into {} …", home.display());
    capture(Command::new("npm").args(["install", "--silent", "--no-audit", "--no-fund"]).current_dir(&home))?;
    capture(Command::new("python3").args(["-m", "venv", "venv"]).current_dir(&home))?;
    let pip = home.join("venv/bin/pip");
    capture(Command::new(pip).args(["install", "--quiet", "-r", "requirements.txt"]).current_dir(&home))?;
    fs::write(&ready, "").context("noting that the drivers are there")?;
    Ok(home)
}
