//! What can go wrong between this crate and the disk.

use std::path::PathBuf;

use crate::encryption::StoreKeyId;

/// A failure of the storage under a node. None of these is caused by what a client asked for.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("the directory is in use by another process")]
    Locked { dir: PathBuf },
    #[error("the directory was written in format {found}, and this program knows formats up to {known}")]
    NewerFormat { found: u32, known: u32 },
    #[error(
        "the directory is in format {found} of an earlier program, and this one reads format {known}: dump it with the \
         program that wrote it"
    )]
    OlderFormat { found: u32, known: u32 },
    #[error("the directory belongs to cluster {found}, not to cluster {expected}")]
    OtherCluster { found: String, expected: String },
    #[error(
        "the store is encrypted with key {found}: give it with --encryption-key-file or --encryption-key-command"
    )]
    StoreKeyMissing { found: StoreKeyId },
    #[error("the store is encrypted with key {found}, and the key given is {given}")]
    StoreKeyWrong { found: StoreKeyId, given: StoreKeyId },
    #[error("no key from {from}: {reason}")]
    StoreKeySource { from: String, reason: String },
    /// What is on disk is not what was written. The store must not go on.
    #[error("stored data is damaged: {what}")]
    Corruption { what: String },
    #[error("no space left on the device: {what}")]
    DiskFull { what: String },
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// Never leaves this crate: the read is done again in another way.
    #[error("too many deleted entries in the way")]
    Skipping,
    #[error("RocksDB: {what}")]
    Rocks { what: String },
}

impl StorageError {
    #[must_use]
    pub fn corruption(what: impl Into<String>) -> Self {
        Self::Corruption { what: what.into() }
    }

    /// An error of the file system, met while doing `action` ("write", "sync") to `path`.
    #[must_use]
    pub fn io(action: &'static str, path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        let path = path.into();
        if source.kind() == std::io::ErrorKind::StorageFull {
            return Self::DiskFull { what: format!("{action} {}", path.display()) };
        }
        Self::Io { action, path, source }
    }

    /// Nothing read from the store can be believed any more: the node must stop and be rebuilt from its peers.
    #[must_use]
    pub fn is_corruption(&self) -> bool {
        matches!(self, Self::Corruption { .. })
    }

    /// A reader met more deleted entries than it may step over; see `readers`.
    pub(crate) fn is_skipping(&self) -> bool {
        matches!(self, Self::Skipping)
    }
}

impl From<rocksdb::Error> for StorageError {
    fn from(error: rocksdb::Error) -> Self {
        let what = error.as_ref().to_owned();
        match error.kind() {
            rocksdb::ErrorKind::Corruption => Self::Corruption { what },
            rocksdb::ErrorKind::Incomplete => Self::Skipping,
            rocksdb::ErrorKind::IOError if what.contains("No space left") => Self::DiskFull { what },
            _ => Self::Rocks { what },
        }
    }
}
