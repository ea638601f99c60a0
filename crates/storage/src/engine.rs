//! The open state of a store: one RocksDB with three families, written one batch at a time.
//!
//! **Invariants**
//! - *applied-with-data*: [`Engine::apply`] is one atomic RocksDB write, and all families are flushed together. A
//!   replica puts its applied position into the same batch as the data, so a crash, which loses every write since
//!   some flush, loses a suffix of commands that the Raft log still has.
//! - *locks-indexed*: the keys in memory's [`LockIndex`] include every key of the lock family: a key enters before
//!   the write that locks it and leaves after the write that unlocks it. Whoever holds the index for reading and
//!   finds no key of his span there may create an iterator over versions and knows that none of them is
//!   provisional.
//!
//! Lock order: the ingest mutex, then the index of locks, then RocksDB's own.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use hlc::Timestamp;
use keys::{Key, Span, TxnMeta};
use parking_lot::{Mutex, RwLock};
use rocksdb::{ColumnFamily, ColumnFamilyDescriptor, DB};
use serde::{Deserialize, Serialize};

use crate::encryption::StoreFiles;
use crate::newest::NewestVersions;
use crate::options::{self, EngineConfig, Memory};
use crate::readers::Readers;
use crate::write::{DATA_FAMILY, LOCK_FAMILY, Record, WriteBatch};
use crate::written::{Hull, WrittenLately};
use crate::{StorageError, fatal, ingest, version_key};

pub(crate) const DATA: &str = "data";
pub(crate) const LOCK: &str = "lock";
pub(crate) const LOCAL: &str = "local";

/// Who holds a key provisionally, and where the provisional version stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockRecord {
    pub txn: TxnMeta,
    /// The timestamp of the provisional version.
    pub ts: Timestamp,
    /// The provisional version is a tombstone.
    pub tombstone: bool,
    /// Which of the transaction's writes it is: see [`keys::SequencedWrite`].
    pub seq: u32,
    /// When it was written, by the clock of the leaseholder, if that is below `ts`; see [`crate::read`].
    pub local_ts: Option<Timestamp>,
}

impl LockRecord {
    /// When the provisional version was written, at the latest.
    #[must_use]
    pub fn written_at(&self) -> Timestamp {
        self.local_ts.unwrap_or(self.ts)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("a lock record always encodes")
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, StorageError> {
        postcard::from_bytes(bytes).map_err(|_| StorageError::corruption("a lock record cannot be decoded"))
    }
}

/// Which keys carry an intent.
#[derive(Default)]
pub(crate) struct LockIndex {
    keys: BTreeSet<Key>,
}

impl LockIndex {
    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        !self.keys.is_empty() && self.keys.contains(key)
    }

    pub(crate) fn overlaps(&self, span: &Span) -> bool {
        !self.keys.is_empty() && self.range(span.start.as_bytes(), span.end.as_bytes()).next().is_some()
    }

    fn range(&self, start: &[u8], end: &[u8]) -> impl Iterator<Item = &Key> {
        // A range with its ends crossed is a panic in BTreeSet.
        let end = end.max(start);
        self.keys.range::<[u8], _>((Bound::Included(start), Bound::Excluded(end)))
    }

    fn remove_range(&mut self, start: &[u8], end: &[u8]) {
        let gone: Vec<Key> = self.range(start, end).cloned().collect();
        for key in gone {
            self.keys.remove(&key);
        }
    }
}

/// The state of a store. Cloning shares it.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    /// Before `db`, which they borrow from.
    pub(crate) readers: Readers,
    pub(crate) db: DB,
    pub(crate) dir: PathBuf,
    pub(crate) files: StoreFiles,
    no_wal: rocksdb::WriteOptions,
    pub(crate) locks: RwLock<LockIndex>,
    pub(crate) newest: NewestVersions,
    pub(crate) written: WrittenLately,
    pub(crate) ingesting: Mutex<()>,
    memory: Memory,
    pub(crate) config: EngineConfig,
    /// As of the last look; see `space`.
    pub(crate) low_on_disk: AtomicBool,
}

impl Inner {
    pub(crate) fn data(&self) -> &ColumnFamily {
        self.family(DATA)
    }

    pub(crate) fn lock(&self) -> &ColumnFamily {
        self.family(LOCK)
    }

    pub(crate) fn local(&self) -> &ColumnFamily {
        self.family(LOCAL)
    }

    pub(crate) fn family(&self, name: &str) -> &ColumnFamily {
        self.db.cf_handle(name).expect("open created every family")
    }

    pub(crate) fn family_options(&self, name: &str) -> rocksdb::Options {
        let mut options = match name {
            DATA => options::data_family(&self.config, &self.memory),
            _ => options::plain_family(&self.config, &self.memory),
        };
        self.files.configure(&mut options);
        options
    }

    pub(crate) fn lock_at(
        &self,
        key: &[u8],
        read: &rocksdb::ReadOptions,
    ) -> Result<Option<LockRecord>, StorageError> {
        self.db.get_pinned_cf_opt(self.lock(), key, read)?.map(|bytes| LockRecord::decode(&bytes)).transpose()
    }
}

/// What the store's engine is made of at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineMetrics {
    pub locks: u64,
    pub sst_bytes: u64,
    pub memtable_bytes: u64,
    pub level0_files: u64,
    pub compaction_pending_bytes: u64,
    pub running_flushes: u64,
    pub running_compactions: u64,
    pub block_cache_bytes: u64,
    pub version_cache_bytes: u64,
    pub estimated_versions: u64,
    pub write_stopped: bool,
}

impl Engine {
    /// Opens or creates the state in `dir`, and finishes or discards an ingest that a crash cut short.
    ///
    /// The caller holds the [`crate::DirLock`] of the store's directory.
    pub fn open(dir: &Path, config: &EngineConfig) -> Result<Self, StorageError> {
        Self::open_with(dir, config, &StoreFiles::plain())
    }

    /// The same, with files that may be encrypted.
    pub fn open_with(dir: &Path, config: &EngineConfig, files: &StoreFiles) -> Result<Self, StorageError> {
        std::fs::create_dir_all(dir).map_err(|e| StorageError::io("create", dir, e))?;
        let memory = Memory::new(config);
        // The order fixes the families' numbers 1, 2, 3, which `write` puts into batches.
        let families = [
            ColumnFamilyDescriptor::new("default", rocksdb::Options::default()),
            ColumnFamilyDescriptor::new(DATA, options::data_family(config, &memory)),
            ColumnFamilyDescriptor::new(LOCK, options::plain_family(config, &memory)),
            ColumnFamilyDescriptor::new(LOCAL, options::plain_family(config, &memory)),
        ];
        let mut database = options::database(config, &memory);
        files.configure(&mut database);
        let db = DB::open_cf_descriptors(&database, dir.join("state"), families)
            .map_err(|error| open_error(error, dir))?;
        let mut no_wal = rocksdb::WriteOptions::default();
        no_wal.disable_wal(true);
        let engine = Self {
            inner: Arc::new(Inner {
                readers: Readers::default(),
                db,
                dir: dir.to_owned(),
                files: files.clone(),
                no_wal,
                locks: RwLock::default(),
                newest: NewestVersions::new(config.version_cache_bytes),
                written: WrittenLately::default(),
                ingesting: Mutex::new(()),
                memory,
                config: *config,
                low_on_disk: AtomicBool::new(false),
            }),
        };
        ingest::recover(&engine)?;
        engine.index_locks_of(&[Span::all()])?;
        engine.tend();
        Ok(engine)
    }

    /// Brings the locks that lie in the lock family into the index.
    pub(crate) fn index_locks_of(&self, spans: &[Span]) -> Result<(), StorageError> {
        let mut keys = Vec::new();
        for span in spans.iter().filter(|span| !span.is_empty()) {
            let mut iter = self.inner.db.raw_iterator_cf_opt(self.inner.lock(), bounded(span));
            iter.seek_to_first();
            while let Some(key) = iter.key() {
                keys.push(Key::from(key));
                iter.next();
            }
            iter.status()?;
        }
        self.inner.locks.write().keys.extend(keys);
        Ok(())
    }

    /// Makes all of `batch` visible at once, and durable at some later flush. On a full disk it ends the process.
    pub fn apply(&self, batch: &WriteBatch) -> Result<(), StorageError> {
        if batch.is_empty() {
            return Ok(());
        }
        let touches_locks = self.note_records(batch)?;
        let writing = self.inner.newest.begin(batch);
        fail::fail_point!("engine::before_apply");
        if let Err(error) = self.inner.db.write_opt(rocksdb::WriteBatch::from_data(batch.data()), &self.inner.no_wal) {
            return Err(or_stop(error));
        }
        fail::fail_point!("engine::after_apply");
        writing.done(batch);
        if touches_locks {
            self.index_final_locks(batch);
        }
        Ok(())
    }

    /// Before the write: *locks-indexed* wants the new keys in, *written-is-known* those of all versions. Says whether the batch
    /// touches locks at all.
    fn note_records(&self, batch: &WriteBatch) -> Result<bool, StorageError> {
        let mut index = None;
        let mut touches_locks = false;
        let mut hull: Option<Hull<'_>> = None;
        for record in batch.records() {
            match record {
                None => return Err(StorageError::corruption("write batch: unreadable record")),
                Some(Record::Put { family: LOCK_FAMILY, key, .. }) => {
                    touches_locks = true;
                    let index = index.get_or_insert_with(|| self.inner.locks.write());
                    if !index.keys.contains(key) {
                        index.keys.insert(Key::from(key));
                    }
                }
                Some(Record::Put { family: DATA_FAMILY, key, .. }) => {
                    let (key, ts) = crate::read::decode_version(key)?;
                    match &mut hull {
                        Some(hull) => hull.add(key, ts),
                        None => hull = Some(Hull::of(key, ts)),
                    }
                }
                Some(
                    Record::Delete { family: LOCK_FAMILY, .. }
                    | Record::DeleteRange { family: LOCK_FAMILY, .. },
                ) => touches_locks = true,
                Some(_) => {}
            }
        }
        drop(index);
        if let Some(hull) = hull {
            self.inner.written.add(hull);
        }
        Ok(touches_locks)
    }

    /// After the write: replays the batch on the index, so that keys it unlocked are gone.
    fn index_final_locks(&self, batch: &WriteBatch) {
        let mut index = self.inner.locks.write();
        for record in batch.records().flatten() {
            match record {
                Record::Put { family: LOCK_FAMILY, key, .. } if !index.keys.contains(key) => {
                    index.keys.insert(Key::from(key));
                }
                Record::Delete { family: LOCK_FAMILY, key } => {
                    index.keys.remove(key);
                }
                Record::DeleteRange { family: LOCK_FAMILY, start, end } => index.remove_range(start, end),
                _ => {}
            }
        }
    }

    /// Writes all families out, together. When it returns, everything applied before is durable. On a full disk it
    /// ends the process.
    pub fn flush(&self) -> Result<(), StorageError> {
        let inner = &self.inner;
        let mut options = rocksdb::FlushOptions::default();
        options.set_wait(true);
        fail::fail_point!("engine::before_flush");
        let flushed = inner.db.flush_cfs_opt(&[inner.data(), inner.lock(), inner.local()], &options);
        fail::fail_point!("engine::after_flush");
        self.release_idle_readers();
        flushed.map_err(or_stop)
    }

    /// Who holds `key` provisionally.
    pub fn lock(&self, key: &[u8]) -> Result<Option<LockRecord>, StorageError> {
        if !self.inner.locks.read().contains(key) {
            return Ok(None);
        }
        self.inner.lock_at(key, &rocksdb::ReadOptions::default())
    }

    /// The locks of a span in key order, at most `limit` of them.
    pub fn locks_in(&self, span: &Span, limit: usize) -> Result<Vec<(Key, LockRecord)>, StorageError> {
        let mut out = Vec::new();
        if span.is_empty() || !self.inner.locks.read().overlaps(span) {
            return Ok(out);
        }
        let mut iter = self.inner.db.raw_iterator_cf_opt(self.inner.lock(), bounded(span));
        iter.seek(span.start.as_bytes());
        while let Some((key, value)) = iter.item() {
            if out.len() == limit {
                return Ok(out);
            }
            out.push((Key::from(key), LockRecord::decode(value)?));
            iter.next();
        }
        iter.status()?;
        Ok(out)
    }

    pub fn get_local(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        let value = self.inner.db.get_pinned_cf(self.inner.local(), key)?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    /// The local records of a span, in order.
    pub fn scan_local(&self, span: &Span) -> Result<Vec<(Key, Bytes)>, StorageError> {
        let mut out = Vec::new();
        if span.is_empty() {
            return Ok(out);
        }
        let mut iter = self.inner.db.raw_iterator_cf_opt(self.inner.local(), bounded(span));
        iter.seek(span.start.as_bytes());
        while let Some((key, value)) = iter.item() {
            out.push((Key::from(key), Bytes::copy_from_slice(value)));
            iter.next();
        }
        iter.status()?;
        Ok(out)
    }

    /// The value of a local key as a crash now would leave it: memtables are passed over. It is how the store
    /// learns which commands the log need not keep any more.
    pub fn read_flushed_local(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        let mut read = rocksdb::ReadOptions::default();
        read.set_read_tier(rocksdb::ReadTier::Persisted);
        let value = self.inner.db.get_pinned_cf_opt(self.inner.local(), key, &read)?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    /// The value of the provisional version that `lock` speaks of; `None` is a tombstone.
    pub fn provisional_value(&self, key: &[u8], lock: &LockRecord) -> Result<Option<Bytes>, StorageError> {
        let version = version_key::encode(key, lock.ts);
        match self.inner.db.get_pinned_cf(self.inner.data(), &version)? {
            Some(bytes) => {
                let value = crate::read::version_value(&bytes)?;
                Ok(value.map(Bytes::copy_from_slice))
            }
            None => Err(StorageError::corruption("a lock without its provisional version")),
        }
    }

    /// [`WriteBatch::resolve_intent`] with the version's value read from here where it must move.
    pub fn resolve_intent(
        &self,
        batch: &mut WriteBatch,
        key: &[u8],
        lock: &LockRecord,
        commit: Option<Timestamp>,
    ) -> Result<(), StorageError> {
        let value = match commit {
            Some(ts) if ts != lock.ts => self.provisional_value(key, lock)?,
            Some(_) | None => None,
        };
        batch.resolve_intent(key, lock, commit, value.as_deref());
        Ok(())
    }

    #[must_use]
    pub fn metrics(&self) -> EngineMetrics {
        let inner = &self.inner;
        let property = |family: &ColumnFamily, name: &str| {
            inner.db.property_int_value_cf(family, name).ok().flatten().unwrap_or(0)
        };
        let sum = |name: &str| {
            [inner.data(), inner.lock(), inner.local()].into_iter().map(|family| property(family, name)).sum()
        };
        let level0 = inner.db.property_value_cf(inner.data(), "rocksdb.num-files-at-level0");
        EngineMetrics {
            locks: inner.locks.read().keys.len() as u64,
            sst_bytes: sum("rocksdb.live-sst-files-size"),
            memtable_bytes: sum("rocksdb.cur-size-all-mem-tables"),
            level0_files: level0.ok().flatten().and_then(|text| text.parse().ok()).unwrap_or(0),
            compaction_pending_bytes: sum("rocksdb.estimate-pending-compaction-bytes"),
            running_flushes: property(inner.data(), "rocksdb.num-running-flushes"),
            running_compactions: property(inner.data(), "rocksdb.num-running-compactions"),
            block_cache_bytes: inner.memory.cache.get_usage() as u64,
            version_cache_bytes: inner.newest.bytes(),
            estimated_versions: property(inner.data(), "rocksdb.estimate-num-keys"),
            write_stopped: property(inner.data(), "rocksdb.is-write-stopped") != 0,
        }
    }

    /// Ends compactions that are halfway, and has none begun any more; what was not flushed is flushed before. Reads go on;
    /// flushes and ingests fail from here on. For a store that stops.
    pub fn stop_background_work(&self) {
        self.inner.db.cancel_all_background_work(true);
    }

    /// Rewrites everything once, dropping what deletions hide. For tools and tests.
    pub fn compact_all(&self) {
        let inner = &self.inner;
        for family in [inner.data(), inner.lock(), inner.local()] {
            inner.db.compact_range_cf_opt(family, None::<&[u8]>, None::<&[u8]>, &options::full_compaction());
        }
    }
}

/// After a write that found no room RocksDB takes no others, whatever room there is later. What was applied is in the
/// log, and the next start has it.
fn or_stop(error: rocksdb::Error) -> StorageError {
    let error = error.into();
    if let StorageError::DiskFull { .. } = error {
        fatal::stop("the state cannot be written", &error);
    }
    error
}

/// Options of an iterator that leaves `span` neither way and may cross user keys.
pub(crate) fn bounded(span: &Span) -> rocksdb::ReadOptions {
    let mut read = rocksdb::ReadOptions::default();
    read.set_total_order_seek(true);
    read.set_iterate_lower_bound(span.start.as_bytes());
    read.set_iterate_upper_bound(span.end.as_bytes());
    read
}

fn open_error(error: rocksdb::Error, dir: &Path) -> StorageError {
    if error.as_ref().contains("lock ") && error.kind() == rocksdb::ErrorKind::IOError {
        return StorageError::Locked { dir: dir.to_owned() };
    }
    error.into()
}
