//! How far the log was last synced, beside the log: two slots written in turn, so that a torn write leaves the other.
//!
//! A slot is written after every sync and itself synced once in a while only: after a power cut it may be a second
//! behind, never ahead, so it accuses no log that is sound. A loss once found is written down with its slot synced,
//! and stays: the log grows beyond the lost position with the first writes after it, and would look sound again.

use std::{
    fs::{File, OpenOptions},
    io::ErrorKind,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::StorageError;

const SLOT_BYTES: u64 = 4096;
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// Three numbers and their checksum, little endian.
const MARK_BYTES: usize = 28;

/// A loss: how far the log had been synced, and how far it came back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Loss {
    pub synced: u64,
    pub found: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    synced: u64,
    /// Both zero: none.
    loss: Loss,
}

impl Mark {
    fn encode(self) -> [u8; MARK_BYTES] {
        let mut bytes = [0; MARK_BYTES];
        bytes[..8].copy_from_slice(&self.synced.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.loss.synced.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.loss.found.to_le_bytes());
        let sum = crc32fast::hash(&bytes[..24]);
        bytes[24..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; MARK_BYTES]) -> Option<Self> {
        let number = |at: usize| {
            u64::from_le_bytes(bytes[at..at + 8].try_into().expect("a range of eight bytes is eight bytes"))
        };
        let mark = Self { synced: number(0), loss: Loss { synced: number(8), found: number(16) } };
        (mark.encode() == *bytes).then_some(mark)
    }
}

pub(super) struct Watermark {
    file: File,
    path: PathBuf,
    mark: Mark,
    slot: u64,
    last_sync: Instant,
}

impl Watermark {
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        let io = |action| move |error| StorageError::io(action, path, error);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(io("open"))?;
        let mut newest: Option<(Mark, u64)> = None;
        let mut damaged = 0;
        for slot in 0..2 {
            let mut bytes = [0; MARK_BYTES];
            match file.read_exact_at(&mut bytes, slot * SLOT_BYTES) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => continue,
                Err(error) => return Err(io("read")(error)),
            }
            let rank = |mark: &Mark| (mark.synced, mark.loss != Loss::default());
            match Mark::decode(&bytes) {
                Some(mark) if newest.as_ref().is_none_or(|(other, _)| rank(&mark) > rank(other)) => {
                    newest = Some((mark, slot));
                }
                Some(_) => {}
                // A slot that was never written is a hole.
                None => damaged += usize::from(bytes != [0; MARK_BYTES]),
            }
        }
        if damaged == 2 {
            return Err(StorageError::corruption(format!("both slots of {}", path.display())));
        }
        let (mark, slot) = newest.unwrap_or_default();
        Ok(Self { file, path: path.to_owned(), mark, slot, last_sync: Instant::now() })
    }

    /// Compares with where the log was `found` to end. A loss is on disk before this tells of it.
    pub fn check(&mut self, found: u64) -> Result<Option<Loss>, StorageError> {
        if self.mark.loss == Loss::default() {
            if self.mark.synced <= found {
                return Ok(None);
            }
            self.write(Mark { loss: Loss { synced: self.mark.synced, found }, ..self.mark })?;
            self.sync()?;
        }
        Ok(Some(self.mark.loss))
    }

    /// Forgets a loss, and begins anew where the log ends.
    pub fn accept(&mut self, found: u64) -> Result<(), StorageError> {
        // The slot that is read is the one further on, or the one with a loss: both slots must go.
        self.file.set_len(0).map_err(|error| StorageError::io("truncate", &self.path, error))?;
        self.write(Mark { synced: found, loss: Loss::default() })?;
        self.sync()
    }

    pub fn advance(&mut self, position: u64) -> Result<(), StorageError> {
        if position <= self.mark.synced {
            return Ok(());
        }
        self.write(Mark { synced: position, ..self.mark })?;
        if self.last_sync.elapsed() >= SYNC_EVERY {
            self.sync()?;
        }
        Ok(())
    }

    pub fn sync(&mut self) -> Result<(), StorageError> {
        self.file.sync_data().map_err(|error| StorageError::io("sync", &self.path, error))?;
        self.last_sync = Instant::now();
        Ok(())
    }

    fn write(&mut self, mark: Mark) -> Result<(), StorageError> {
        self.slot = 1 - self.slot;
        self.file
            .write_all_at(&mark.encode(), self.slot * SLOT_BYTES)
            .map_err(|error| StorageError::io("write", &self.path, error))?;
        self.mark = mark;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_slot() {
        let mark = Mark { synced: 258, loss: Loss { synced: 3, found: 2 } };
        assert_eq!(crate::golden::hex(&mark.encode()), "020100000000000003000000000000000200000000000000745f648a");
    }

    #[test]
    fn a_torn_slot_leaves_the_other() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("WATERMARK");
        let mut mark = Watermark::open(&path).unwrap();
        mark.advance(7).unwrap();
        mark.advance(9).unwrap();
        let newest = mark.slot;
        drop(mark);
        let tear = |slot: u64| {
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            file.write_all_at(b"torn", slot * SLOT_BYTES + 10).unwrap();
        };
        tear(newest);
        assert_eq!(Watermark::open(&path).unwrap().mark.synced, 7);
        tear(1 - newest);
        assert!(Watermark::open(&path).is_err_and(|error| error.is_corruption()));
    }

    #[test]
    fn a_loss_stays() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("WATERMARK");
        let mut mark = Watermark::open(&path).unwrap();
        assert_eq!(mark.check(0).unwrap(), None);
        mark.advance(9).unwrap();
        assert_eq!(mark.check(9).unwrap(), None);
        let loss = Some(Loss { synced: 9, found: 8 });
        assert_eq!(mark.check(8).unwrap(), loss);
        // In whichever slot it was written.
        for position in 10..13 {
            let mut mark = Watermark::open(&path).unwrap();
            assert_eq!(mark.check(100).unwrap(), loss);
            mark.advance(position).unwrap();
        }
    }
}
