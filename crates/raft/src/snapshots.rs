//! Snapshots on their way: sent in pieces on a lane of their own, no faster than the store can spare, and kept in a file
//! until all of it is here and found sound.
//!
//! ```text
//! sender    read a piece ──▶ wait for its share of the rate ──▶ send, again if it got lost ──▶ ... ──▶ end
//! receiver  spool file, piece after piece ──▶ end: check all of it ──▶ openraft ──▶ the state machine takes it in
//! ```
//!
//! A sending that breaks off leaves a spool that goes when the next one for its range begins, or when nothing was added
//! to it for a while; one that the disk has no room for is refused, and its spool goes at once. What openraft is given
//! has been checked: to it, a snapshot that cannot be taken in is the end of the group.

use std::{
    io::{self, Write},
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use keys::RangeId;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use storage::{StoreFile, StoreFiles};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};

use crate::types::{RaftLogId, RaftMembership, RaftVote};

/// Snapshots a store sends at a time: each pins what compaction would remove.
const SENDING_MAX: usize = 2;
/// Snapshots a store receives at a time; senders beyond it are told to try later.
const RECEIVING_MAX: usize = 8;
/// What a store sends in a second, over all snapshots.
const BYTES_A_SECOND: u64 = 64 << 20;
/// A spool to which nothing was added for so long is given up.
const SPOOL_IDLE: Duration = Duration::from_secs(90);

/// A piece of a snapshot: `snapshot` tells one sending from another.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct ChunkHead {
    pub snapshot: u64,
    pub number: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SnapshotEnd {
    pub snapshot: u64,
    pub chunk_count: u32,
    pub vote: RaftVote,
    pub last_log_id: Option<RaftLogId>,
    pub membership: RaftMembership,
}

/// What a store's sendings share.
pub(crate) struct Outgoing {
    sending: Semaphore,
    /// When the next piece may go.
    free_at: Mutex<Instant>,
    count: AtomicU64,
}

impl Default for Outgoing {
    fn default() -> Self {
        Self {
            sending: Semaphore::new(SENDING_MAX),
            free_at: Mutex::new(Instant::now()),
            count: AtomicU64::new(0),
        }
    }
}

impl Outgoing {
    /// A turn to send.
    pub async fn turn(&self) -> SemaphorePermit<'_> {
        self.sending.acquire().await.expect("never closed")
    }

    /// Tells one sending of this store from another.
    pub fn next_number(&self) -> u64 {
        self.count.fetch_add(1, Ordering::Relaxed)
    }

    /// Waits until so many bytes may go.
    pub async fn pace(&self, bytes: usize) {
        let cost = Duration::from_nanos(bytes as u64 * 1_000_000_000 / BYTES_A_SECOND);
        let at = {
            let mut free_at = self.free_at.lock();
            let at = (*free_at).max(Instant::now());
            *free_at = at + cost;
            at
        };
        tokio::time::sleep_until(at).await;
    }
}

/// A received snapshot: a file of length-prefixed pieces, which is removed when this is dropped.
pub(crate) struct Spool {
    path: PathBuf,
    files: StoreFiles,
}

impl Drop for Spool {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "snapshot spool");
        }
    }
}

impl Spool {
    pub fn chunks(&self) -> io::Result<impl Iterator<Item = io::Result<Bytes>> + use<>> {
        use std::io::Read;
        let mut file = io::BufReader::new(self.files.open_file(&self.path)?);
        Ok(std::iter::from_fn(move || {
            let mut length = [0; 4];
            match file.read_exact(&mut length) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return None,
                Err(error) => return Some(Err(error)),
            }
            let mut chunk = vec![0; u32::from_le_bytes(length) as usize];
            Some(file.read_exact(&mut chunk).map(|()| Bytes::from(chunk)))
        }))
    }
}

struct Receiving {
    snapshot: u64,
    spool: Spool,
    file: StoreFile,
    next: u32,
    bytes: u64,
    touched: Instant,
}

/// The snapshots a store is receiving, at most one for each range.
pub(crate) struct Incoming {
    dir: PathBuf,
    files: StoreFiles,
    count: AtomicU64,
    spools: Mutex<FxHashMap<RangeId, Receiving>>,
}

impl Incoming {
    /// Empties the directory: what was not taken in before is sent again.
    pub fn open(dir: PathBuf, files: StoreFiles) -> io::Result<Self> {
        if dir.exists() {
            std::fs::remove_dir_all(&dir)?;
        }
        std::fs::create_dir_all(&dir)?;
        Ok(Self { dir, files, count: AtomicU64::new(0), spools: Mutex::default() })
    }

    /// Adds a piece. One that came before is not added twice: its answer may have been lost.
    pub fn take(&self, range: RangeId, head: ChunkHead, chunk: &[u8]) -> io::Result<()> {
        let mut spools = self.spools.lock();
        if head.number == 0 && spools.get(&range).is_none_or(|one| one.snapshot != head.snapshot) {
            // A sending that was broken off is not taken up again.
            spools.remove(&range);
            if spools.len() >= RECEIVING_MAX {
                return Err(io::Error::other("too many snapshots are being received"));
            }
            let path = self.dir.join(format!("{range}-{}", self.count.fetch_add(1, Ordering::Relaxed)));
            let file = self.files.create(&path)?;
            let spool = Spool { path, files: self.files.clone() };
            let (snapshot, touched) = (head.snapshot, Instant::now());
            spools.insert(range, Receiving { snapshot, spool, file, next: 0, bytes: 0, touched });
        }
        let receiving = spools.get_mut(&range).filter(|one| one.snapshot == head.snapshot);
        let receiving = receiving.ok_or_else(|| io::Error::other("no such snapshot"))?;
        receiving.touched = Instant::now();
        if head.number.checked_add(1) == Some(receiving.next) {
            return Ok(());
        }
        if receiving.next != head.number {
            return Err(io::Error::other("a piece is missing"));
        }
        let length = u32::try_from(chunk.len()).map_err(io::Error::other)?;
        let written = receiving.file.write_all(&length.to_le_bytes()).and_then(|()| receiving.file.write_all(chunk));
        if let Err(error) = written {
            // Half a piece may be in the file.
            spools.remove(&range);
            return Err(error);
        }
        receiving.next += 1;
        receiving.bytes += chunk.len() as u64;
        Ok(())
    }

    /// All of it, once the last piece has come.
    pub fn finish(&self, range: RangeId, end: &SnapshotEnd) -> io::Result<Spool> {
        let mut spools = self.spools.lock();
        let here = spools.get(&range).is_some_and(|one| one.snapshot == end.snapshot && one.next == end.chunk_count);
        if !here {
            return Err(io::Error::other("a piece is missing"));
        }
        Ok(spools.remove(&range).expect("just found").spool)
    }

    /// How much has come and is not taken in yet, for all ranges: they share the disk.
    pub fn received(&self) -> u64 {
        self.spools.lock().values().map(|receiving| receiving.bytes).sum()
    }

    /// Lets go of what has come for a range.
    pub fn give_up(&self, range: RangeId) {
        self.spools.lock().remove(&range);
    }

    /// Gives up what nobody adds to any more, and what was for a range that has left.
    pub fn sweep(&self, is_here: impl Fn(RangeId) -> bool) {
        self.spools.lock().retain(|range, one| one.touched.elapsed() < SPOOL_IDLE && is_here(*range));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: RangeId = RangeId::new(4);

    fn end(snapshot: u64, chunk_count: u32) -> SnapshotEnd {
        let vote = RaftVote::new_committed(1, 1);
        SnapshotEnd { snapshot, chunk_count, vote, last_log_id: None, membership: RaftMembership::default() }
    }

    fn head(snapshot: u64, number: u32) -> ChunkHead {
        ChunkHead { snapshot, number }
    }

    fn contents(spool: &Spool) -> Vec<Bytes> {
        spool.chunks().unwrap().map(Result::unwrap).collect()
    }

    #[tokio::test]
    async fn pieces_that_come_twice_are_kept_once_and_missing_ones_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let incoming = Incoming::open(dir.path().join("spool"), StoreFiles::plain()).unwrap();
        for number in [0, 0, 1, 1, 2] {
            incoming.take(RANGE, head(9, number), format!("piece {number}").as_bytes()).unwrap();
        }
        incoming.take(RANGE, head(9, 4), b"early").unwrap_err();
        assert!(incoming.finish(RANGE, &end(9, 4)).is_err());
        let spool = incoming.finish(RANGE, &end(9, 3)).unwrap();
        assert_eq!(contents(&spool), ["piece 0", "piece 1", "piece 2"]);
        drop(spool);
        assert_eq!(std::fs::read_dir(dir.path().join("spool")).unwrap().count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sending_that_broke_off_is_replaced_or_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let incoming = Incoming::open(dir.path().join("spool"), StoreFiles::plain()).unwrap();
        incoming.take(RANGE, head(1, 0), b"old").unwrap();
        incoming.take(RANGE, head(2, 0), b"new").unwrap();
        incoming.take(RANGE, head(1, 1), b"late").unwrap_err();
        assert_eq!(std::fs::read_dir(dir.path().join("spool")).unwrap().count(), 1);
        incoming.sweep(|_| true);
        incoming.take(RANGE, head(2, 1), b"more").unwrap();
        tokio::time::advance(SPOOL_IDLE).await;
        incoming.sweep(|_| true);
        assert_eq!(std::fs::read_dir(dir.path().join("spool")).unwrap().count(), 0);
        incoming.take(RANGE, head(2, 2), b"after").unwrap_err();
    }

    #[tokio::test]
    async fn what_has_come_is_counted_over_all_ranges() {
        let dir = tempfile::tempdir().unwrap();
        let incoming = Incoming::open(dir.path().join("spool"), StoreFiles::plain()).unwrap();
        let other = RangeId::new(5);
        incoming.take(RANGE, head(1, 0), b"four").unwrap();
        incoming.take(other, head(2, 0), b"and more").unwrap();
        assert_eq!(incoming.received(), 12);
        incoming.give_up(other);
        assert_eq!(incoming.received(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn sendings_share_one_rate() {
        let outgoing = Outgoing::default();
        let began = Instant::now();
        for _ in 0..33 {
            outgoing.pace(4 << 20).await;
        }
        let taken = began.elapsed();
        assert!((1_990..2_100).contains(&taken.as_millis()), "{taken:?} for 128 MiB");
    }
}
