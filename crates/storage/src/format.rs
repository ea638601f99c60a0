//! Whose directory is it, and can this program read it? Answered by two small files before RocksDB is opened.
//!
//! ```text
//! DIR/LOCK     held with flock(2) while a process uses the directory; empty
//! DIR/FORMAT   | magic 8 | postcard: version, cluster id, node id, store id | crc32 of all before, 4 |
//! ```
//!
//! FORMAT is written to a side file, synced, renamed, and the directory synced: it is whole or absent.
//! A higher version than ours is refused, never guessed at.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use keys::{NodeId, StoreId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::StorageError;

/// The directory layout that this program writes and reads.
pub const FORMAT_VERSION: u32 = 3;

const MAGIC: &[u8; 8] = b"QUORATE\n";
const FORMAT_FILE: &str = "FORMAT";
const LOCK_FILE: &str = "LOCK";

/// What a data directory says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreIdentity {
    pub format: u32,
    pub cluster_id: Uuid,
    pub node_id: NodeId,
    pub store_id: StoreId,
}

impl StoreIdentity {
    #[must_use]
    pub fn new(cluster_id: Uuid, node_id: NodeId, store_id: StoreId) -> Self {
        Self { format: FORMAT_VERSION, cluster_id, node_id, store_id }
    }

    /// Who the directory belongs to; `None` for one that was never given an identity.
    pub fn read(dir: &Path) -> Result<Option<Self>, StorageError> {
        let path = dir.join(FORMAT_FILE);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StorageError::io("read", path, error)),
        };
        Self::decode(&bytes).map(Some)
    }

    fn decode(bytes: &[u8]) -> Result<Self, StorageError> {
        let damaged = || StorageError::corruption("the FORMAT file is not one of ours or is damaged");
        let (body, crc) = bytes.split_last_chunk::<4>().ok_or_else(damaged)?;
        if u32::from_le_bytes(*crc) != crc32fast::hash(body) {
            return Err(damaged());
        }
        let rest = body.strip_prefix(MAGIC).ok_or_else(damaged)?;
        // The version stands first, so that it can be read when what follows has changed.
        let (format, _) = postcard::take_from_bytes::<u32>(rest).map_err(|_| damaged())?;
        if format > FORMAT_VERSION {
            return Err(StorageError::NewerFormat { found: format, known: FORMAT_VERSION });
        }
        if format < FORMAT_VERSION {
            return Err(StorageError::OlderFormat { found: format, known: FORMAT_VERSION });
        }
        postcard::from_bytes(rest).map_err(|_| damaged())
    }

    /// Makes the directory this store's, durably.
    pub fn write(&self, dir: &Path) -> Result<(), StorageError> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(postcard::to_allocvec(self).expect("a struct of numbers always encodes"));
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        write_file_durably(&dir.join(FORMAT_FILE), &bytes)
    }

    /// Refuses a directory of another cluster.
    pub fn check_cluster(&self, expected: Uuid) -> Result<(), StorageError> {
        if self.cluster_id == expected {
            return Ok(());
        }
        Err(StorageError::OtherCluster { found: self.cluster_id.to_string(), expected: expected.to_string() })
    }
}

/// The exclusive use of a data directory, given back when dropped or when the process dies.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

impl DirLock {
    /// Creates the directory if need be and takes it, or says who cannot be waited for: nobody waits here.
    pub fn acquire(dir: &Path) -> Result<Self, StorageError> {
        std::fs::create_dir_all(dir).map_err(|e| StorageError::io("create", dir, e))?;
        let path = dir.join(LOCK_FILE);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|e| StorageError::io("open", &path, e))?;
        // SAFETY: flock takes a descriptor that `file` keeps open, and touches no memory of ours.
        let taken = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0;
        if taken {
            return Ok(Self { _file: file });
        }
        let error = std::io::Error::last_os_error();
        match error.kind() {
            std::io::ErrorKind::WouldBlock => Err(StorageError::Locked { dir: dir.to_owned() }),
            _ => Err(StorageError::io("lock", path, error)),
        }
    }
}

/// Replaces the file at `path` by `bytes`: after a crash it holds the old contents or the new, whole.
pub(crate) fn write_file_durably(path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
    let side: PathBuf = path.with_extension("new");
    let mut file = File::create(&side).map_err(|e| StorageError::io("create", &side, e))?;
    file.write_all(bytes).map_err(|e| StorageError::io("write", &side, e))?;
    file.sync_all().map_err(|e| StorageError::io("sync", &side, e))?;
    fail::fail_point!("format::before_rename");
    std::fs::rename(&side, path).map_err(|e| StorageError::io("rename", path, e))?;
    fail::fail_point!("format::before_sync");
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), StorageError> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| StorageError::io("sync", dir, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> StoreIdentity {
        StoreIdentity::new(Uuid::from_u128(7), NodeId::new(3), StoreId::new(3))
    }

    #[test]
    fn identity_comes_back_and_damage_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(StoreIdentity::read(dir.path()).unwrap(), None);
        identity().write(dir.path()).unwrap();
        assert_eq!(StoreIdentity::read(dir.path()).unwrap(), Some(identity()));

        let path = dir.path().join(FORMAT_FILE);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[12] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(StoreIdentity::read(dir.path()).unwrap_err().is_corruption());
    }

    #[test]
    fn other_formats_and_clusters_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        StoreIdentity { format: FORMAT_VERSION + 1, ..identity() }.write(dir.path()).unwrap();
        let refused = StoreIdentity::read(dir.path());
        assert!(matches!(refused, Err(StorageError::NewerFormat { found: 4, known: 3 })));
        StoreIdentity { format: 1, ..identity() }.write(dir.path()).unwrap();
        let refused = StoreIdentity::read(dir.path());
        assert!(matches!(refused, Err(StorageError::OlderFormat { found: 1, known: 3 })));
        assert!(matches!(
            identity().check_cluster(Uuid::from_u128(8)),
            Err(StorageError::OtherCluster { .. })
        ));
    }

    #[test]
    fn a_directory_has_one_user() {
        let dir = tempfile::tempdir().unwrap();
        let held = DirLock::acquire(dir.path()).unwrap();
        assert!(matches!(DirLock::acquire(dir.path()), Err(StorageError::Locked { .. })));
        drop(held);
        DirLock::acquire(dir.path()).unwrap();
    }
}
