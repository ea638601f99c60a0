//! The newest versions of keys that are read again and again: a read of one asks RocksDB for nothing.
//!
//! **Invariant (newest-is-newest):** as long as a key has an entry, the entry is the newest version that RocksDB has of it,
//! committed or provisional. So a write takes the entries of its keys out *before* RocksDB has it and lets nobody put one
//! in until RocksDB has it; then it puts its own in. And a reader puts in what it has found only if nothing was written to
//! the key's shard since before it began to look.
//!
//! ```text
//!  write   entries out, shard closed ──▶ RocksDB has it ──▶ shard open, a later round, own versions in
//!  reader  miss: round 7 ──▶ looks in RocksDB ──▶ shard open and still round 7? entry in : nothing
//! ```
//! What holds of RocksDB holds of the entries, whatever is the reason for a write: a command, an intent that ends, garbage
//! collection, a snapshot that is taken in, a cleared span (the last two take all entries out). Who leads a range, who has
//! its lease and where it splits does not matter.
//!
//! A key is put in at its second miss: most keys are read once.

use std::hash::BuildHasher;

use bytes::Bytes;
use hlc::Timestamp;
use parking_lot::Mutex;
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter, unsync};
use rustc_hash::{FxBuildHasher, FxHashMap};

use crate::version_key;
use crate::write::{DATA_FAMILY, Record, WriteBatch};

const SHARDS: usize = 32;
/// Hashes of keys that have missed once, in each shard.
const SEEN: usize = 1024;
/// About what an entry takes besides its key and its version.
const ENTRY_BYTES: u64 = 128;
/// A batch of so many records takes out all entries between its keys.
const BULK_RECORDS: usize = 4096;
/// Larger versions stay where they are.
const VERSION_BYTES_MAX: usize = 4 << 10;

/// A version as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct Newest {
    pub ts: Timestamp,
    pub stored: Bytes,
}

#[derive(Clone)]
struct Weight;

impl Weighter<Box<[u8]>, Newest> for Weight {
    fn weight(&self, key: &Box<[u8]>, newest: &Newest) -> u64 {
        ENTRY_BYTES + key.len() as u64 + newest.stored.len() as u64
    }
}

struct Shard {
    entries: unsync::Cache<Box<[u8]>, Newest, Weight>,
    /// Writes under way: while there are any, nothing is put in.
    writes: u32,
    /// Writes that have ended.
    round: u64,
    seen: Box<[u32; SEEN]>,
}

impl Shard {
    fn put(&mut self, key: &[u8], newest: Newest) {
        if newest.stored.len() <= VERSION_BYTES_MAX {
            self.entries.insert(key.into(), newest);
        }
    }
}

pub(crate) struct NewestVersions {
    shards: Box<[Mutex<Shard>]>,
    hasher: FxBuildHasher,
}

/// A miss: what is needed to put the key in.
pub(crate) struct Missed {
    hash: u64,
    /// None while the shard is closed.
    round: Option<u64>,
}

/// A write that is about to go to RocksDB. Dropped without [`Writing::done`] it leaves no entry behind.
pub(crate) struct Writing<'a> {
    of: &'a NewestVersions,
    /// A bit for each shard that it has closed.
    closed: u64,
    /// The round that each of these was in.
    rounds: [u64; SHARDS],
    /// Its keys that had an entry, and the versions that these were of.
    had: FxHashMap<Box<[u8]>, Timestamp>,
}

impl NewestVersions {
    pub fn new(bytes: usize) -> Self {
        let capacity = (bytes / SHARDS) as u64;
        let shard = || {
            let options = OptionsBuilder::new()
                .estimated_items_capacity((capacity / (2 * ENTRY_BYTES)) as usize)
                .weight_capacity(capacity)
                .build()
                .expect("all that is asked for is given");
            let (hashes, lifecycle) = (DefaultHashBuilder::default(), unsync::DefaultLifecycle::default());
            let entries = unsync::Cache::with_options(options, Weight, hashes, lifecycle);
            Mutex::new(Shard { entries, writes: 0, round: 0, seen: Box::new([0; SEEN]) })
        };
        Self { shards: (0..SHARDS).map(|_| shard()).collect(), hasher: FxBuildHasher }
    }

    fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    fn shard(&self, hash: u64) -> &Mutex<Shard> {
        &self.shards[number_of(hash)]
    }

    /// The newest version of a key. On a miss look in RocksDB with a reader made after this, and call
    /// [`NewestVersions::put`] with what was found.
    pub fn get(&self, key: &[u8]) -> Result<Newest, Missed> {
        self.look(key, Newest::clone)
    }

    /// As [`NewestVersions::get`], of its time alone.
    pub fn ts(&self, key: &[u8]) -> Result<Timestamp, Missed> {
        self.look(key, |newest| newest.ts)
    }

    fn look<T>(&self, key: &[u8], take: impl FnOnce(&Newest) -> T) -> Result<T, Missed> {
        let hash = self.hash(key);
        let shard = self.shard(hash).lock();
        match shard.entries.get(key) {
            Some(newest) => Ok(take(newest)),
            None => Err(Missed { hash, round: (shard.writes == 0).then_some(shard.round) }),
        }
    }

    /// What RocksDB has as the newest version of a key that was missed.
    pub fn put(&self, missed: &Missed, key: &[u8], ts: Timestamp, stored: &[u8]) {
        let Some(round) = missed.round else { return };
        let mut shard = self.shard(missed.hash).lock();
        let place = (missed.hash >> 32) as usize % SEEN;
        // Zero stands for none.
        let mark = missed.hash as u32 | 1;
        if std::mem::replace(&mut shard.seen[place], mark) == mark && shard.writes == 0 && shard.round == round {
            shard.put(key, Newest { ts, stored: Bytes::copy_from_slice(stored) });
        }
    }

    /// Before RocksDB is given a batch.
    pub fn begin(&self, batch: &WriteBatch) -> Writing<'_> {
        if batch.len() >= BULK_RECORDS {
            return self.begin_bulk(batch);
        }
        let mut writing = Writing::new(self);
        for record in batch.records().flatten() {
            match record {
                Record::Put { family: DATA_FAMILY, key, .. } | Record::Delete { family: DATA_FAMILY, key } => {
                    let key = version_key::strip_version(key);
                    let hash = self.hash(key);
                    let mut shard = self.shard(hash).lock();
                    writing.close(number_of(hash), &mut shard);
                    if let Some((key, newest)) = shard.entries.remove(key) {
                        writing.had.insert(key, newest.ts);
                    }
                }
                Record::DeleteRange { family: DATA_FAMILY, .. } => writing.close_all(),
                Record::Put { .. } | Record::Delete { .. } | Record::DeleteRange { .. } => {}
            }
        }
        writing
    }

    /// As [`NewestVersions::begin`], of very many records: what lies between the first of the keys and the last goes out, and
    /// no key is looked for by itself.
    fn begin_bulk(&self, batch: &WriteBatch) -> Writing<'_> {
        let mut ends: Option<(&[u8], &[u8])> = None;
        for record in batch.records().flatten() {
            match record {
                Record::Put { family: DATA_FAMILY, key, .. } | Record::Delete { family: DATA_FAMILY, key } => {
                    let key = version_key::strip_version(key);
                    let (first, last) = ends.get_or_insert((key, key));
                    if key > *last {
                        *last = key;
                    } else if key < *first {
                        *first = key;
                    }
                }
                Record::DeleteRange { family: DATA_FAMILY, .. } => return self.begin_all(),
                Record::Put { .. } | Record::Delete { .. } | Record::DeleteRange { .. } => {}
            }
        }
        let mut writing = Writing::new(self);
        if let Some((first, last)) = ends {
            for (number, shard) in self.shards.iter().enumerate() {
                let mut shard = shard.lock();
                writing.close(number, &mut shard);
                shard.entries.retain(|key, _| **key < *first || **key > *last);
            }
        }
        writing
    }

    /// Before RocksDB is given what nobody looks through.
    pub fn begin_all(&self) -> Writing<'_> {
        let mut writing = Writing::new(self);
        writing.close_all();
        writing
    }

    /// Bytes taken, by estimate.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.lock().entries.weight()).sum()
    }
}

fn number_of(hash: u64) -> usize {
    // The lowest bits of this hash are poor, the highest choose a bucket.
    (hash >> 26) as usize % SHARDS
}

impl<'a> Writing<'a> {
    fn new(of: &'a NewestVersions) -> Self {
        Self { of, closed: 0, rounds: [0; SHARDS], had: FxHashMap::default() }
    }

    fn close(&mut self, number: usize, shard: &mut Shard) {
        if self.closed & (1 << number) == 0 {
            self.closed |= 1 << number;
            self.rounds[number] = shard.round;
            shard.writes += 1;
        }
    }

    fn close_all(&mut self) {
        for (number, shard) in self.of.shards.iter().enumerate() {
            let mut shard = shard.lock();
            self.close(number, &mut shard);
            shard.entries.clear();
        }
        self.had.clear();
    }

    /// RocksDB has the batch: keys that had an entry have one again, of what it brings.
    pub fn done(self, batch: &WriteBatch) {
        let had = &self.had;
        if had.is_empty() {
            return;
        }
        let mut newest: FxHashMap<&[u8], Option<(Timestamp, &[u8])>> = FxHashMap::default();
        for record in batch.records().flatten() {
            match record {
                Record::Put { family: DATA_FAMILY, key, value } => {
                    let Some((key, ts)) = version_key::decode(key) else { continue };
                    let Some(before) = had.get(key) else { continue };
                    let known = newest.entry(key).or_insert(Some((*before, &[])));
                    if known.is_some_and(|(known, _)| known < ts) {
                        *known = Some((ts, value));
                    } else {
                        // Not above what there is: which of them is the newest is RocksDB's to say.
                        *known = None;
                    }
                }
                Record::Delete { family: DATA_FAMILY, key } => {
                    let key = version_key::strip_version(key);
                    if had.contains_key(key) {
                        newest.insert(key, None);
                    }
                }
                Record::DeleteRange { family: DATA_FAMILY, .. } => return,
                Record::Put { .. } | Record::Delete { .. } | Record::DeleteRange { .. } => {}
            }
        }
        for (key, found) in newest {
            let Some((ts, stored)) = found else { continue };
            let hash = self.of.hash(key);
            let mut shard = self.of.shard(hash).lock();
            // Another write, under way or ended meanwhile, may have been of the same key.
            if shard.writes == 1 && shard.round == self.rounds[number_of(hash)] {
                shard.put(key, Newest { ts, stored: Bytes::copy_from_slice(stored) });
            }
        }
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        for (number, shard) in self.of.shards.iter().enumerate() {
            if self.closed & (1 << number) != 0 {
                let mut shard = shard.lock();
                shard.writes -= 1;
                shard.round += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(at: u64) -> WriteBatch {
        let mut batch = WriteBatch::new();
        batch.put_version(b"k", Timestamp::new(at, 0), Some(b"value"));
        batch
    }

    fn known(of: &NewestVersions) -> Option<u64> {
        of.ts(b"k").ok().map(Timestamp::wall_ns)
    }

    /// Of version 5, as RocksDB would have it.
    fn hot() -> NewestVersions {
        let of = NewestVersions::new(1 << 20);
        for _ in 0..2 {
            let Err(missed) = of.get(b"k") else { panic!("not yet") };
            of.put(&missed, b"k", Timestamp::new(5, 0), &[1, 5]);
        }
        assert_eq!(known(&of), Some(5), "put in at the second miss");
        of
    }

    #[test]
    fn newest_is_newest_after_a_write() {
        let of = hot();
        let writing = of.begin(&batch(6));
        assert_eq!(known(&of), None, "gone before RocksDB has the write");
        writing.done(&batch(6));
        assert_eq!(known(&of), Some(6));
        drop(of.begin(&batch(7)));
        assert_eq!(known(&of), None, "a write that failed leaves nothing");
    }

    #[test]
    fn newest_is_newest_after_a_write_of_very_many_keys() {
        for (first, expected) in [(b'j', None), (b'l', Some(5))] {
            let of = hot();
            let mut batch = WriteBatch::new();
            for n in 0..BULK_RECORDS as u32 {
                batch.put_version(&[&[first][..], &n.to_be_bytes()].concat(), Timestamp::new(9, 0), Some(b"value"));
            }
            batch.put_version(b"m", Timestamp::new(9, 0), None);
            let writing = of.begin(&batch);
            assert_eq!(known(&of), expected, "what lies between its keys has gone");
            let Err(missed) = of.get(b"m") else { panic!("it was never there") };
            for _ in 0..2 {
                of.put(&missed, b"m", Timestamp::new(3, 0), &[1, 3]);
            }
            assert!(of.ts(b"m").is_err(), "the shard is closed");
            writing.done(&batch);
            assert_eq!((known(&of), of.ts(b"m").is_err()), (expected, true));
        }
    }

    #[test]
    fn newest_is_newest_where_writes_overlap() {
        for ends_first in [false, true] {
            let of = hot();
            let one = of.begin(&batch(6));
            let other = of.begin(&batch(7));
            if ends_first {
                other.done(&batch(7));
                one.done(&batch(6));
            } else {
                one.done(&batch(6));
                other.done(&batch(7));
            }
            assert_ne!(known(&of), Some(6), "7 is in RocksDB");
        }
        let of = hot();
        let one = of.begin(&batch(6));
        drop(of.begin_all());
        one.done(&batch(6));
        assert_eq!(known(&of), None, "what came in meanwhile may be newer");
    }

    #[test]
    fn newest_is_newest_though_a_reader_is_late() {
        let of = hot();
        drop(of.begin_all());
        let Err(missed) = of.get(b"k") else { panic!("cleared") };
        let writing = of.begin(&batch(6));
        of.put(&missed, b"k", Timestamp::new(5, 0), &[1, 5]);
        assert_eq!(known(&of), None, "the shard is closed");
        writing.done(&batch(6));
        of.put(&missed, b"k", Timestamp::new(5, 0), &[1, 5]);
        assert_eq!(known(&of), None, "it is another round");
    }
}
