//! The suites: where each comes from, and how it is run on a server.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    clients,
    command::{Error, IoContext, Result, capture, root},
};

pub struct Suite {
    pub name: &'static str,
    pub about: &'static str,
    kind: Kind,
    /// Run as the superuser, before the suite.
    pub prepare: &'static [Statement],
    /// A suite that takes longer is ended; its other tests count as absent.
    seconds: u32,
}

pub struct Statement {
    pub database: &'static str,
    pub sql: &'static str,
}

enum Kind {
    /// SQLAlchemy's, by pytest from its source distribution, over one of its drivers.
    SqlAlchemy { driver: &'static str, paths: &'static [&'static str] },
    /// asyncpg's, by pytest; only its tests are taken from the source distribution.
    Asyncpg,
    /// Django's runtests.py, these of its modules.
    Django { modules: &'static [&'static str] },
    /// A program of `clients/compat`; the version is of this package.
    Node { program: &'static str, package: &'static str },
}

/// A suite on this machine.
pub struct Installed {
    pub version: String,
    /// Where the drivers are.
    home: PathBuf,
    /// What the registry's archive was unpacked to, where there is one.
    source: PathBuf,
}

const DATABASE: &str = "compat";
const CREATE: Statement = Statement { database: "postgres", sql: "CREATE DATABASE compat" };

const SQLALCHEMY_PREPARE: &[Statement] = &[
    CREATE,
    Statement { database: DATABASE, sql: "CREATE SCHEMA test_schema" },
    Statement { database: DATABASE, sql: "CREATE SCHEMA test_schema_2" },
];

const SQLALCHEMY_SUITE: &[&str] = &["test/dialect/test_suite.py"];

pub const SUITES: &[Suite] = &[
    Suite {
        name: "sqlalchemy-psycopg",
        about: "SQLAlchemy's dialect suite over psycopg 3",
        kind: Kind::SqlAlchemy { driver: "psycopg", paths: SQLALCHEMY_SUITE },
        prepare: SQLALCHEMY_PREPARE,
        seconds: 1800,
    },
    Suite {
        name: "sqlalchemy-psycopg2",
        about: "SQLAlchemy's dialect suite over psycopg2",
        kind: Kind::SqlAlchemy { driver: "psycopg2", paths: SQLALCHEMY_SUITE },
        prepare: SQLALCHEMY_PREPARE,
        seconds: 1800,
    },
    Suite {
        name: "sqlalchemy-asyncpg",
        about: "SQLAlchemy's dialect suite over asyncpg",
        kind: Kind::SqlAlchemy { driver: "asyncpg", paths: SQLALCHEMY_SUITE },
        prepare: SQLALCHEMY_PREPARE,
        seconds: 1800,
    },
    Suite {
        name: "sqlalchemy-postgresql",
        about: "SQLAlchemy's tests of its PostgreSQL dialect, over psycopg 3",
        kind: Kind::SqlAlchemy { driver: "psycopg", paths: &["test/dialect/postgresql"] },
        prepare: SQLALCHEMY_PREPARE,
        seconds: 3600,
    },
    Suite {
        name: "asyncpg",
        about: "asyncpg's own tests",
        kind: Kind::Asyncpg,
        prepare: &[CREATE],
        seconds: 1800,
    },
    Suite {
        name: "django-core",
        about: "Django's tests of its backend, queries, transactions and schema changes",
        kind: Kind::Django {
            modules: &[
                "backends",
                "basic",
                "bulk_create",
                "queries",
                "transactions",
                "lookup",
                "aggregation",
                "schema",
            ],
        },
        prepare: &[],
        seconds: 1800,
    },
    Suite {
        name: "django-models",
        about: "Django's tests of migrations, model fields, functions, expressions, relations and more",
        kind: Kind::Django { modules: DJANGO_MODELS },
        prepare: &[],
        seconds: 3600,
    },
    Suite {
        name: "node-postgres",
        about: "a program over node-postgres: types, pools, cursors, streams, cancels",
        kind: Kind::Node { program: "node_postgres.mjs", package: "pg" },
        prepare: &[CREATE],
        seconds: 300,
    },
    Suite {
        name: "knex",
        about: "a program over Knex: migrations, schema builder, queries, transactions",
        kind: Kind::Node { program: "knex.mjs", package: "knex" },
        prepare: &[CREATE],
        seconds: 300,
    },
];

const DJANGO_MODELS: &[&str] = &[
    "aggregation_regress",
    "annotations",
    "composite_pk",
    "constraints",
    "custom_columns",
    "custom_lookups",
    "custom_managers",
    "custom_migration_operations",
    "custom_pk",
    "datatypes",
    "dates",
    "datetimes",
    "db_functions",
    "db_typecasts",
    "db_utils",
    "defer",
    "defer_regress",
    "delete",
    "delete_regress",
    "distinct_on_fields",
    "expressions",
    "expressions_case",
    "expressions_window",
    "extra_regress",
    "field_defaults",
    "filtered_relation",
    "fixtures",
    "fixtures_regress",
    "force_insert_update",
    "foreign_object",
    "from_db_value",
    "generic_relations",
    "get_earliest_or_latest",
    "get_object_or_404",
    "get_or_create",
    "indexes",
    "inspectdb",
    "introspection",
    "known_related_objects",
    "m2m_and_m2o",
    "m2m_intermediary",
    "m2m_multiple",
    "m2m_recursive",
    "m2m_regress",
    "m2m_signals",
    "m2m_through",
    "m2m_through_regress",
    "m2o_recursive",
    "many_to_many",
    "many_to_one",
    "many_to_one_null",
    "migrate_signals",
    "migration_test_data_persistence",
    "migrations",
    "model_fields",
    "model_indexes",
    "model_inheritance",
    "model_inheritance_regress",
    "multiple_database",
    "null_fk",
    "null_fk_ordering",
    "null_queries",
    "one_to_one",
    "or_lookups",
    "order_with_respect_to",
    "ordering",
    "prefetch_related",
    "proxy_models",
    "raw_query",
    "reserved_names",
    "reverse_lookup",
    "save_delete_hooks",
    "select_for_update",
    "select_related",
    "select_related_onetoone",
    "select_related_regress",
    "serializers",
    "servers",
    "string_lookup",
    "timezones",
    "transaction_hooks",
    "unmanaged_models",
    "update",
    "update_only_fields",
    "xor_lookups",
];

impl Suite {
    /// Fetches what is not there yet.
    pub fn install(&self) -> Result<Installed> {
        let folder = root().join("clients/compat");
        let home = clients::drivers(&folder, "compat")?;
        copy_files(&folder, &home)?;
        match self.kind {
            Kind::SqlAlchemy { .. } => from_index("sqlalchemy", home),
            Kind::Asyncpg => {
                let installed = from_index("asyncpg", home)?;
                // Beside the tests the distribution has the driver's source, which is not compiled and would be imported.
                let tests = installed.source.join("only_tests");
                if !tests.exists() {
                    fs::create_dir_all(&tests).context("making the folder of asyncpg's tests")?;
                    capture(Command::new("cp").arg("-r").arg(installed.source.join("tests")).arg(&tests))?;
                }
                Ok(Installed { source: tests, ..installed })
            }
            Kind::Django { .. } => from_index("django", home),
            Kind::Node { package, .. } => {
                let version = version_of(&folder.join("package.json"), &format!("\"{package}\": \""), "\"")?;
                Ok(Installed { version, source: home.clone(), home })
            }
        }
    }

    pub fn command(&self, installed: &Installed, port: u16) -> Command {
        let Installed { home, source, .. } = installed;
        let python = home.join("venv/bin/python");
        let mut command = Command::new("timeout");
        command.arg(self.seconds.to_string()).current_dir(source);
        command
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", port.to_string())
            .env("PGUSER", "postgres")
            .env("PGDATABASE", DATABASE);
        command.env("PYTHONPATH", home);
        match self.kind {
            Kind::SqlAlchemy { driver, paths } => {
                let url = format!("postgresql+{driver}://postgres@127.0.0.1:{port}/{DATABASE}");
                command.arg(python).args(PYTEST).args([
                    "-p",
                    "no:logging",
                    "-p",
                    "sqlalchemy_extensions",
                    "--maxfail=100000",
                ]);
                command.args(["-k", SQLALCHEMY_LEFT_OUT, "--dburi", &url]).args(paths);
            }
            Kind::Asyncpg => {
                // The one that is left out reads the source of the driver.
                command.arg(python).args(PYTEST).args(["tests", "--ignore", "tests/test__sourcecode.py"]);
            }
            Kind::Django { modules } => {
                let paths = std::env::join_paths([home.as_path(), source.as_path()])
                    .expect("paths of ours have no colon");
                command.env("PYTHONPATH", paths).current_dir(source.join("tests"));
                command
                    .arg(python)
                    .args(["runtests.py", "--settings=django_settings", "--parallel=1", "--noinput"])
                    .args(modules);
            }
            Kind::Node { program, .. } => {
                command.arg("node").arg(home.join(program));
            }
        }
        command
    }
}

/// Reads what a prepared transaction has written, and waits for its end: here such a read blocks, and pytest cannot end it.
const SQLALCHEMY_LEFT_OUT: &str = "not test_two_phase_recover";

/// A test that hangs is ended, and fails.
const PYTEST: &[&str] =
    &["-m", "pytest", "-q", "-p", "results", "-p", "no:cacheprovider", "--tb=short", "--timeout=60"];

/// The programs, plugins and settings of `clients/compat`, beside the drivers.
fn copy_files(folder: &Path, home: &Path) -> Result {
    for path in fs::read_dir(folder).context("reading clients/compat")?.flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|it| it == "py" || it == "mjs") {
            let name = path.file_name().expect("an entry of a folder has a name");
            fs::copy(&path, home.join(name)).context(format!("copying {}", path.display()))?;
        }
    }
    Ok(())
}

/// A package's source distribution, of the version that the requirements name.
fn from_index(package: &str, home: PathBuf) -> Result<Installed> {
    let requirements = home.join("requirements.txt");
    let version = version_of(&requirements, &format!("{package}=="), "\n")?;
    let source = home.join(format!("{package}-{version}"));
    if !source.exists() {
        let archives = home.join("archives");
        fs::create_dir_all(&archives).context("making the folder of archives")?;
        println!("Fetching {package} {version} …");
        let mut pip = Command::new(home.join("venv/bin/pip"));
        pip.args(["download", "--quiet", "--no-deps", "--no-binary", package, "--dest"]).arg(&archives);
        capture(pip.arg(format!("{package}=={version}")))?;
        let archive = archives.join(format!("{package}-{version}.tar.gz"));
        capture(Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(&home))?;
    }
    Ok(Installed { version, home, source })
}

/// What a file has between `before` and `after`; names of packages are the same in any case.
fn version_of(path: &Path, before: &str, after: &str) -> Result<String> {
    let text = fs::read_to_string(path).context(format!("reading {}", path.display()))?;
    let start = text.to_ascii_lowercase().find(before).map(|at| at + before.len());
    let version = start.and_then(|start| text[start..].split(after).next());
    version
        .map(str::to_owned)
        .ok_or_else(|| Error::Failed { command: format!("finding {before} in {}", path.display()) })
}
