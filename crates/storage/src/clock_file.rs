//! The clock's bound in a file of the store's directory: two slots written in turn, so that a torn write leaves the other.
//!
//! ```text
//! DIR/CLOCK    slot at 0 and at 4096: | nanoseconds since the epoch 8 | crc32 of them 4 |, little endian
//! ```
//!
//! What counts is the slot that is further on. A write that tears was not told of yet: nothing above the other slot was
//! given out.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use hlc::BoundFile;

use crate::{StorageError, fatal, format::sync_dir};

const SLOT_BYTES: u64 = 4096;
const BOUND_BYTES: usize = 12;

pub struct ClockFile {
    file: File,
    path: PathBuf,
    next_slot: u64,
}

fn encode(bound_ns: u64) -> [u8; BOUND_BYTES] {
    let mut bytes = [0; BOUND_BYTES];
    bytes[..8].copy_from_slice(&bound_ns.to_le_bytes());
    let sum = crc32fast::hash(&bytes[..8]);
    bytes[8..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8; BOUND_BYTES]) -> Option<u64> {
    let bound_ns = u64::from_le_bytes(*bytes.first_chunk()?);
    (encode(bound_ns) == *bytes).then_some(bound_ns)
}

impl ClockFile {
    /// Opens or makes the file of a directory; with it comes the bound that it has, 0 for a new one.
    ///
    /// # Errors
    /// When it cannot be read, or both slots are damaged: what was given out before is not known then.
    pub fn open(dir: &Path) -> Result<(Self, u64), StorageError> {
        let path = dir.join("CLOCK");
        let io = |action| move |error| StorageError::io(action, dir.join("CLOCK"), error);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io("open"))?;
        let length = file.metadata().map_err(io("read"))?.len();
        if length < 2 * SLOT_BYTES {
            // Its size never changes later, so that a sync is one of data alone.
            file.write_all_at(&[0; 2 * SLOT_BYTES as usize], 0).map_err(io("write"))?;
            file.sync_all().map_err(io("sync"))?;
            sync_dir(dir)?;
            return Ok((Self { file, path, next_slot: 0 }, 0));
        }
        let mut found: Option<(u64, u64)> = None;
        let mut damaged = 0;
        for slot in 0..2 {
            let mut bytes = [0; BOUND_BYTES];
            file.read_exact_at(&mut bytes, slot * SLOT_BYTES).map_err(io("read"))?;
            match decode(&bytes) {
                Some(bound_ns) => found = found.max(Some((bound_ns, slot))),
                // A slot that was never written is empty.
                None => damaged += usize::from(bytes != [0; BOUND_BYTES]),
            }
        }
        if found.is_none() && damaged > 0 {
            return Err(StorageError::corruption(format!("the slots of {}", path.display())));
        }
        let (bound_ns, slot) = found.unwrap_or((0, 1));
        Ok((Self { file, path, next_slot: 1 - slot }, bound_ns))
    }

    fn try_write(&mut self, bound_ns: u64) -> Result<(), StorageError> {
        let at = self.next_slot * SLOT_BYTES;
        self.file
            .write_all_at(&encode(bound_ns), at)
            .map_err(|error| StorageError::io("write", &self.path, error))?;
        self.file.sync_data().map_err(|error| StorageError::io("sync", &self.path, error))?;
        self.next_slot = 1 - self.next_slot;
        Ok(())
    }
}

impl BoundFile for ClockFile {
    fn write(&mut self, bound_ns: u64) {
        if let Err(error) = self.try_write(bound_ns) {
            fatal::stop("the bound of the clock cannot be written", &error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_slot() {
        assert_eq!(crate::golden::hex(&encode(258)), "0201000000000000a0d37081");
    }

    #[test]
    fn a_torn_slot_leaves_the_other() {
        let dir = tempfile::TempDir::new().unwrap();
        let (mut file, found) = ClockFile::open(dir.path()).unwrap();
        assert_eq!(found, 0);
        for bound_ns in [5, 7, 9] {
            file.write(bound_ns);
            assert_eq!(ClockFile::open(dir.path()).unwrap().1, bound_ns);
        }
        let newest = 1 - file.next_slot;
        let tear = |slot: u64| file.file.write_all_at(b"torn", slot * SLOT_BYTES + 3).unwrap();
        tear(newest);
        let (mut again, found) = ClockFile::open(dir.path()).unwrap();
        assert_eq!(found, 7);
        // What is sound is not written over.
        assert_eq!(again.next_slot, newest);
        again.write(11);
        assert_eq!(ClockFile::open(dir.path()).unwrap().1, 11);
        tear(0);
        tear(1);
        assert!(ClockFile::open(dir.path()).is_err_and(|error| error.is_corruption()));
    }
}
