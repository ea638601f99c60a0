//! The problem: a node must keep many versions of many keys, and after a crash come back with exactly what the
//! Raft log says it had, without paying for a synced write of its state.
//!
//! ```text
//! DIR/LOCK, DIR/FORMAT     whose directory it is                             format
//! DIR/KEYS                    the data keys, sealed with the store key          encryption
//! DIR/CLOCK                the bound that no timestamp is above               clock_file
//! DIR/state                RocksDB, write-ahead log off                      engine, options
//!   data                     user key ++ inverted timestamp -> version       version_key, read, gc
//!   lock                     user key -> who holds it provisionally
//!   local                    0x01 ... -> a replica's own records
//! DIR/ingest               a snapshot on its way in                          ingest
//! DIR/log                  the Raft log of all ranges: the one synced write  log
//! ```
//!
//! The state is a cache of the log: a flush makes a prefix of what was applied durable, the log replays the rest.
//!
//! **Invariants**
//! - *newest-first*: the versions of a key lie in falling order of time; see [`version_key`](mod@version_key).
//! - *applied-with-data*: a command's data and its applied position become durable together; see `engine`.
//! - *locks-indexed*: memory knows every key that carries an intent; see `engine`.
//! - *tombstone-hides*, *uncertainty*: see `read`.
//! - *newest-is-newest*: what memory has of a hot key is the newest version of it; see `newest`.
//! - *written-is-known*: where versions were written lately is known; see `written`.
//! - *ingest-all-or-nothing*: after a crash a received snapshot is there as a whole or not at all; see `ingest`.
//!
//! Deliberately left out: what a transaction may do. Who waits for a lock, and when a version may be written, is the
//! business of the replica above; callers hold latches over what they read and write.

pub mod log;

mod changes;
mod clock_file;
mod digest;
mod encryption;
mod engine;
mod error;
mod fatal;
mod format;
mod gc;
#[cfg(test)]
mod golden;
mod ingest;
mod many;
mod newest;
mod options;
mod read;
mod readers;
mod rows;
mod scan;
mod size;
mod snapshot;
mod space;
mod version_key;
mod write;
mod written;

pub use changes::{Changes, VersionInfo};
pub use clock_file::ClockFile;
pub use digest::{Digest, Digesting};
pub use encryption::{
    DataKeyId, EncryptionConfig, EncryptionMetrics, EncryptionStatus, FileBytes, KeySource, Rotation, StoreFile, StoreFiles,
    StoreKeyId, Usage,
};
pub use engine::{Engine, EngineMetrics, LockRecord};
pub use error::StorageError;
pub use format::{DirLock, FORMAT_VERSION, StoreIdentity};
pub use options::EngineConfig;
pub use read::{Conflict, LockRead, ReadConflict, ReadOptions};
pub use rows::KvRows;
pub use scan::{ScanLimits, ScanResult};
pub use snapshot::{EngineSnapshot, SnapshotChunks, check_chunk};
pub use write::{WriteBatch, check_batch};
