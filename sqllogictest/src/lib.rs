//! sqllogictest files through the PostgreSQL wire protocol, each file in a database of its own.
//!
//! The problem: the corpus was written for SQLite, whose results are formatted by the *expected* type of a column
//! (`I`, `R`, `T`), and whose files take turns at conditions per engine. The `sqllogictest` crate parses the format;
//! formatting, sorting and hashing happen here, the way SQLite's own runner does.
//!
//! Every record is counted as passed, failed, not for PostgreSQL (its own condition says so), or known to fail on
//! PostgreSQL itself (listed by file and line, still run): nothing is skipped silently.

pub mod expected;
pub mod file;
