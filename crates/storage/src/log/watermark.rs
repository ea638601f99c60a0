//! How far the log was last synced, beside the log: two slots written in turn, so that a torn write leaves the other.
//!
//! A slot is written after every sync and itself synced once in a while only: after a power cut it may be a second
//! behind, never ahead, so it accuses no log that is sound.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::StorageError;

const SLOT_BYTES: u64 = 4096;
const SYNC_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Watermark {
    file: File,
    path: PathBuf,
    synced: u64,
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
        let mut synced = 0;
        let mut slot = 0;
        for candidate in 0..2 {
            let mut bytes = [0; 12];
            if file.read_exact_at(&mut bytes, candidate * SLOT_BYTES).is_err() {
                continue;
            }
            let (position, sum) = bytes.split_at(8);
            let sum = u32::from_le_bytes(sum.try_into().expect("four bytes are left of twelve"));
            let position: [u8; 8] = position.try_into().expect("eight bytes were split off");
            let position = u64::from_le_bytes(position);
            if crc32fast::hash(&position.to_le_bytes()) == sum && position >= synced {
                synced = position;
                slot = candidate;
            }
        }
        Ok(Self { file, path: path.to_owned(), synced, slot, last_sync: Instant::now() })
    }

    pub fn synced(&self) -> u64 {
        self.synced
    }

    pub fn advance(&mut self, position: u64) -> Result<(), StorageError> {
        if position <= self.synced {
            return Ok(());
        }
        self.slot = 1 - self.slot;
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&position.to_le_bytes());
        bytes[8..].copy_from_slice(&crc32fast::hash(&position.to_le_bytes()).to_le_bytes());
        self.file
            .write_all_at(&bytes, self.slot * SLOT_BYTES)
            .map_err(|error| StorageError::io("write", &self.path, error))?;
        self.synced = position;
        if self.last_sync.elapsed() >= SYNC_EVERY {
            self.file.sync_data().map_err(|error| StorageError::io("sync", &self.path, error))?;
            self.last_sync = Instant::now();
        }
        Ok(())
    }
}
