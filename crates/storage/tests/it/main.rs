//! The engine's promises, each attacked by a test of its name. One binary, since linking RocksDB takes long.

mod engine;
mod ingest_all_or_nothing;
mod mvcc_model;
mod support;
