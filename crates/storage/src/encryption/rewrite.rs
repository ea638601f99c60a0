//! Files that are to be written anew: those from before the store was encrypted, and those whose data key is old. RocksDB
//! compacts the keys that they hold, and what comes out is encrypted with the active key.
//!
//! Other files need no help: logs, manifests and options are replaced as RocksDB runs and starts.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::SystemTime;

use rocksdb::{DB, LiveFile};

use super::StoreFiles;
use super::keyring::Keyring;
use super::usage::header_of;
use crate::log::LogStore;
use crate::{Engine, StorageError, options};

impl Engine {
    /// Writes stale files anew, if there are any, as long as `go_on`. Takes long.
    ///
    /// # Errors
    /// When files cannot be read.
    pub fn rewrite_stale(&self, now: SystemTime, go_on: impl Fn() -> bool) -> Result<(), StorageError> {
        let inner = &self.inner;
        rewrite(&inner.db, &inner.dir.join("state"), &inner.files, now, go_on, |file| {
            if let Some(family) = inner.db.cf_handle(&file.column_family_name) {
                let (start, end) = (file.start_key.as_deref(), file.end_key.as_deref());
                inner.db.compact_range_cf_opt(family, start, end, &options::full_compaction());
            }
            // They hold on to files that were compacted.
            self.release_idle_readers();
        })
    }
}

impl LogStore {
    /// The same for the log.
    ///
    /// # Errors
    /// When files cannot be read.
    pub fn rewrite_stale(&self, now: SystemTime, go_on: impl Fn() -> bool) -> Result<(), StorageError> {
        let (db, dir, files) = self.rocks();
        rewrite(db, dir, files, now, go_on, |file| {
            db.compact_range_opt(file.start_key.as_deref(), file.end_key.as_deref(), &options::full_compaction());
        })
    }
}

fn rewrite(
    db: &DB,
    dir: &Path,
    files: &StoreFiles,
    now: SystemTime,
    go_on: impl Fn() -> bool,
    compact: impl Fn(&LiveFile),
) -> Result<(), StorageError> {
    let Some(keyring) = files.keyring().filter(|keyring| keyring.has_stale()) else { return Ok(()) };
    // A file's header never changes, and one that a compaction has left as it was is not compacted again.
    let mut seen = BTreeSet::new();
    while go_on() {
        let Some(file) = next_stale(db, dir, keyring, now, &mut seen)? else { return Ok(()) };
        compact(&file);
    }
    Ok(())
}

/// A stale file that was not seen before. The files are listed anew each time: one compaction may have taken many.
fn next_stale(
    db: &DB,
    dir: &Path,
    keyring: &Keyring,
    now: SystemTime,
    seen: &mut BTreeSet<String>,
) -> Result<Option<LiveFile>, StorageError> {
    for file in db.live_files()? {
        if !seen.insert(file.name.clone()) {
            continue;
        }
        let path = dir.join(file.name.trim_start_matches('/'));
        // One that is not there any more was compacted with another.
        let header = match header_of(&path) {
            Ok(header) => header.map_err(|reason| StorageError::corruption(format!("{}: {reason}", path.display())))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(StorageError::io("read", path, error)),
        };
        if keyring.is_stale(header, now) {
            return Ok(Some(file));
        }
    }
    Ok(None)
}
