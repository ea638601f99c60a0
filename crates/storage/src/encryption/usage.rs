//! Which files of a store are encrypted, and with which data keys: what their headers say.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::path::Path;

use super::cipher::{DataKeyId, Header, PEEK_BYTES};
use crate::StorageError;

/// Where files are that may have rows in them.
const DATA_DIRS: [&str; 4] = ["state", "log/rocks", "ingest", "spool"];
/// Of these, the ones with a RocksDB in them.
const ROCKS_DIRS: [&str; 2] = ["state", "log/rocks"];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileBytes {
    pub files: u64,
    pub bytes: u64,
}

impl FileBytes {
    fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub by_key: BTreeMap<DataKeyId, FileBytes>,
    pub plaintext: FileBytes,
    /// Files whose header cannot be read.
    pub damaged: FileBytes,
    /// SST files, which are what can be written anew: by data key, and in the clear.
    pub(super) tables: BTreeMap<Option<DataKeyId>, u64>,
}

impl Usage {
    /// Looks at every file of the store in `dir`. Files may come and go meanwhile.
    pub(super) fn read(dir: &Path) -> Result<Self, StorageError> {
        let mut usage = Self::default();
        for part in DATA_DIRS {
            each_file(&dir.join(part), |path, bytes| {
                let found = header_of(path);
                if path.extension().is_some_and(|extension| extension == "sst") {
                    match found {
                        Ok(Ok(Header::Encrypted { key, .. })) => *usage.tables.entry(Some(key)).or_default() += 1,
                        Ok(Ok(Header::Plain)) => *usage.tables.entry(None).or_default() += 1,
                        Ok(Ok(Header::Unfinished) | Err(_)) | Err(_) => {}
                    }
                }
                match found {
                    Ok(Ok(Header::Encrypted { key, .. })) => usage.by_key.entry(key).or_default().add(bytes),
                    // An empty one is as good as none.
                    Ok(Ok(Header::Unfinished)) => {}
                    Ok(Ok(Header::Plain)) if bytes == 0 => {}
                    Ok(Ok(Header::Plain)) => usage.plaintext.add(bytes),
                    Ok(Err(_)) => usage.damaged.add(bytes),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(StorageError::io("read", path, error)),
                }
                Ok(())
            })?;
        }
        Ok(usage)
    }
}

/// What the first bytes of a file say.
pub(super) fn header_of(path: &Path) -> io::Result<Result<Header, String>> {
    let mut bytes = Vec::with_capacity(PEEK_BYTES);
    File::open(path)?.take(PEEK_BYTES as u64).read_to_end(&mut bytes)?;
    Ok(Header::parse(&bytes))
}

fn each_file(dir: &Path, mut visit: impl FnMut(&Path, u64) -> Result<(), StorageError>) -> Result<(), StorageError> {
    let failed = |error| StorageError::io("read", dir, error);
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        match entry.metadata() {
            Ok(metadata) if metadata.is_file() => visit(&entry.path(), metadata.len())?,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(())
}

/// Makes durable which files there are: not theirs alone, but all of the file systems that they lie in.
pub(super) fn sync_disks(dir: &Path) -> Result<(), StorageError> {
    for part in DATA_DIRS {
        let path = dir.join(part);
        let synced = File::open(&path).and_then(|file| {
            // SAFETY: takes a descriptor that `file` keeps open.
            if unsafe { libc::syncfs(file.as_raw_fd()) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
        });
        match synced {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StorageError::io("sync", path, error)),
        }
    }
    Ok(())
}

/// Removes what RocksDB has told of a store before it was encrypted: keys of rows are in it, and nothing needs it.
pub(super) fn remove_plain_logs(dir: &Path) -> Result<(), StorageError> {
    for part in ROCKS_DIRS {
        each_file(&dir.join(part), |path, bytes| {
            let is_log = path.file_name().is_some_and(|name| {
                let name = name.to_string_lossy();
                name == "LOG" || name.starts_with("LOG.old.")
            });
            if !is_log || bytes == 0 {
                return Ok(());
            }
            let header = header_of(path).map_err(|error| StorageError::io("read", path, error))?;
            if header == Ok(Header::Plain) {
                std::fs::remove_file(path).map_err(|error| StorageError::io("remove", path, error))?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Removes what RocksDB would keep under an old data key though it can do without: its number for the database, which it
/// writes anew from the manifest, and information logs of earlier starts. Before RocksDB is opened.
pub(super) fn remove_old_files(dir: &Path, active: DataKeyId) -> Result<(), StorageError> {
    for part in ROCKS_DIRS {
        each_file(&dir.join(part), |path, _| {
            let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
            if name != "IDENTITY" && !name.starts_with("LOG.old.") {
                return Ok(());
            }
            let header = header_of(path).map_err(|error| StorageError::io("read", path, error))?;
            if !matches!(header, Ok(Header::Encrypted { key, .. }) if key == active) {
                std::fs::remove_file(path).map_err(|error| StorageError::io("remove", path, error))?;
            }
            Ok(())
        })?;
    }
    Ok(())
}
