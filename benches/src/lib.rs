//! Micro-benchmarks across crates; each lies in `benches/`. `cargo bench -p quorate-benches` runs them all.
//!
//! A crate's own (`storage`: MVCC, the log) lie with it. They measure what one layer costs alone; what a transaction
//! costs beside PostgreSQL is `cargo xtask bench`.
