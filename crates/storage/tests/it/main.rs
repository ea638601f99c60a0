//! The engine's promises, each attacked by a test of its name. One binary, since linking RocksDB takes long.

#![allow(clippy::unwrap_used)]

mod damage;
mod encryption;
mod engine;
mod ingest_all_or_nothing;
mod locks_indexed;
mod mvcc_model;
mod newest;
mod support;
