//! The problem: every range of a store keeps a log, every entry and every vote must be on disk before it counts, and
//! a disk syncs some thousand times a second whatever is written.
//!
//! The idea: one RocksDB instance holds the logs of all ranges, and one thread writes it. The thread takes all that is
//! waiting, writes it as one batch, syncs once, and then completes every waiter in the order of submission: *group
//! commit* across ranges. What was submitted is readable at once from a tail in memory.
//!
//! ```text
//! submit ──▶ tail (readable) ──▶ queue ──▶ writer: one batch, one sync ──▶ watermark ──▶ completions, in order
//! ```
//!
//! Keys: a tag, the range (big endian), and for entries the index (big endian).
//!
//! **Invariants**
//! - *durable-before-ack*: a completion runs only after the sync that covers its operation.
//! - *append-contiguous*: an append begins right after the group's last entry; what it replaces was truncated before.
//! - *tail-until-durable*: an entry leaves the tail only when it is synced.
//! - *start-reads-ends*: to open the log, of each group the first and the last entry are read, and none between; one
//!   that is missing there is found when it is asked for.
//! - *watermark-detects-loss*: a log that comes back shorter than it was synced is reported as [`LogHealth::Suspect`].
//!
//! A write or sync that fails ends the process: what the disk holds then is unknown, and trying again may report
//! success over lost pages. So does one that never comes back: see [`LogStoreConfig::hang_limit`].

mod keys;
mod recover;
mod sizes;
mod stall;
mod tail;
mod watermark;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ::keys::RangeId;
use bytes::Bytes;
use crossbeam_channel::Sender;
use parking_lot::Mutex;
use rocksdb::{DB, Direction, IteratorMode, Options, ReadOptions};

use self::{
    stall::Progress,
    tail::{Tails, View},
    watermark::{Loss, Watermark},
    writer::Writer,
};
use crate::{StorageError, StoreFiles};

/// What is read again lies in the tail: this is for followers far behind.
const BLOCK_CACHE_BYTES: usize = 8 << 20;

#[derive(Clone, Debug)]
pub struct LogStoreConfig {
    pub dir: PathBuf,
    /// How much of the ends of all logs is kept in memory.
    pub tail_bytes: usize,
    /// WAL files kept for reuse: overwriting a file costs less to sync than growing one.
    pub wal_recycle: usize,
    pub memtable_bytes: usize,
    /// Go on with a log that has lost entries it acknowledged, as if it had not: for the last copy there is.
    pub accept_loss: bool,
    /// A write or sync that takes longer ends the process: whoever looks after the machine sees a node that is down,
    /// instead of one that answers and does nothing.
    pub hang_limit: Duration,
    pub files: StoreFiles,
}

impl LogStoreConfig {
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            tail_bytes: 16 << 20,
            wal_recycle: 8,
            memtable_bytes: 16 << 20,
            accept_loss: false,
            hang_limit: Duration::from_secs(20),
            files: StoreFiles::plain(),
        }
    }
}

/// Whether the log holds all that was ever synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogHealth {
    Sound,
    /// Acknowledged entries are gone: this store must not vote. Positions are RocksDB sequence numbers. It stays so
    /// through restarts, until the store is removed and another takes its place, or until someone who knows that no
    /// other copy is left opens it with [`LogStoreConfig::accept_loss`].
    Suspect {
        synced: u64,
        found: u64,
    },
}

/// One group's log as it was found.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupLog {
    pub range_id: RangeId,
    pub vote: Option<Bytes>,
    pub committed: Option<Bytes>,
    /// What [`LogOp::Purge`] said of the last entry purged.
    pub purged: Option<Bytes>,
    pub purged_index: u64,
    /// The first and last entry; first above last when there is none.
    pub first: u64,
    pub last: u64,
    pub last_entry: Option<Bytes>,
}

impl GroupLog {
    /// A log in which there is nothing.
    #[must_use]
    pub fn empty(range_id: RangeId) -> Self {
        Self {
            range_id,
            vote: None,
            committed: None,
            purged: None,
            purged_index: 0,
            first: 1,
            last: 0,
            last_entry: None,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Recovered {
    pub health: LogHealth,
    pub groups: Vec<GroupLog>,
    pub metas: Vec<(Bytes, Bytes)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    pub index: u64,
    pub data: Bytes,
}

#[derive(Clone, Debug)]
pub enum LogOp {
    Append {
        range_id: RangeId,
        entries: Vec<LogEntry>,
    },
    SaveVote {
        range_id: RangeId,
        vote: Bytes,
    },
    /// A hint that saves replay; it needs no sync.
    SaveCommitted {
        range_id: RangeId,
        committed: Bytes,
    },
    /// Drops every entry above `after`.
    Truncate {
        range_id: RangeId,
        after: u64,
    },
    /// Drops every entry up to and with `up_to`; needs no sync, as it may be done again.
    Purge {
        range_id: RangeId,
        up_to: u64,
        last: Bytes,
    },
    /// A durable fact of the store.
    PutMeta {
        key: Bytes,
        value: Bytes,
    },
    RemoveGroup {
        range_id: RangeId,
    },
}

impl LogOp {
    fn needs_sync(&self) -> bool {
        match self {
            Self::SaveCommitted { .. } | Self::Purge { .. } => false,
            Self::Append { .. }
            | Self::SaveVote { .. }
            | Self::Truncate { .. }
            | Self::PutMeta { .. }
            | Self::RemoveGroup { .. } => true,
        }
    }
}

/// Runs on the writer's thread when an operation is durable; it must not block.
pub type Completion = Box<dyn FnOnce() + Send>;

/// A completion for operations nobody waits for.
#[must_use]
pub fn ignore() -> Completion {
    Box::new(|| {})
}

#[derive(Debug, Default)]
pub struct LogMetrics {
    pub syncs: AtomicU64,
    pub batches: AtomicU64,
    pub operations: AtomicU64,
    pub entries: AtomicU64,
    pub bytes: AtomicU64,
    pub tail_misses: AtomicU64,
    /// Batches by their number of operations: 1, 2 to 3, 4 to 7 and so on; the last counts all above.
    pub batch_sizes: [AtomicU64; 12],
}

/// The logs of a store. Clones share it.
#[derive(Clone)]
pub struct LogStore {
    shared: Arc<Shared>,
}

struct Shared {
    db: Arc<DB>,
    tails: Arc<Tails>,
    metrics: Arc<LogMetrics>,
    progress: Arc<Progress>,
    queue: Sender<writer::Message>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
    dir: PathBuf,
    files: StoreFiles,
    /// Holds RocksDB's own counters.
    #[cfg(test)]
    options: Options,
}

impl LogStore {
    /// Opens or makes the log in `config.dir`.
    ///
    /// # Errors
    /// When the directory cannot be read or written, or its contents are not a log.
    pub fn open(config: &LogStoreConfig) -> Result<(Self, Recovered), StorageError> {
        Self::open_hooked(
            config,
            #[cfg(test)]
            None,
        )
    }

    fn open_hooked(
        config: &LogStoreConfig,
        #[cfg(test)] hook: Option<writer::Hook>,
    ) -> Result<(Self, Recovered), StorageError> {
        std::fs::create_dir_all(&config.dir)
            .map_err(|error| StorageError::io("create", &config.dir, error))?;
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_recycle_log_file_num(config.wal_recycle);
        // Recycled files end in old records, so recovery stops at the first that does not follow; whether that is
        // where it should stop is the watermark's to say. The stricter modes would switch recycling off.
        options.set_wal_recovery_mode(rocksdb::DBRecoveryMode::PointInTime);
        options.set_write_buffer_size(config.memtable_bytes);
        options.set_max_background_jobs(2);
        crate::options::quiet(&mut options);
        options.set_compression_type(rocksdb::DBCompressionType::Lz4);
        let mut table = rocksdb::BlockBasedOptions::default();
        table.set_block_cache(&rocksdb::Cache::new_lru_cache(BLOCK_CACHE_BYTES));
        table.set_format_version(6);
        options.set_block_based_table_factory(&table);
        options.set_manual_wal_flush(false);
        #[cfg(test)]
        options.enable_statistics();
        config.files.configure(&mut options);
        let dir = config.dir.join("rocks");
        let db = DB::open(&options, &dir)?;
        let mut watermark = Watermark::open(&config.dir.join("WATERMARK"))?;
        // A new log whose directory is lost with the power would come back as one that never was.
        sync_dir(&config.dir)?;
        if let Some(parent) = config.dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_dir(parent)?;
        }
        let health = match watermark.check(db.latest_sequence_number())? {
            Some(Loss { synced, found }) if config.accept_loss => {
                tracing::warn!(synced, found, "the log has lost entries it acknowledged, which was accepted");
                watermark.accept(db.latest_sequence_number())?;
                LogHealth::Sound
            }
            Some(Loss { synced, found }) => LogHealth::Suspect { synced, found },
            None => LogHealth::Sound,
        };
        let recover::Found { groups, metas } = recover::recover(&db)?;
        let tails = Arc::new(Tails::new(config.tail_bytes, &groups, &recover::sizes(&db, &groups)));
        let db = Arc::new(db);
        let metrics = Arc::new(LogMetrics::default());
        let progress = Arc::new(Progress::default());
        let thread_failed = |error| StorageError::io("start a thread for", &config.dir, error);
        progress.watch(config.hang_limit).map_err(thread_failed)?;
        let (queue, waiting) = crossbeam_channel::unbounded();
        let writer = Writer {
            db: db.clone(),
            tails: tails.clone(),
            metrics: metrics.clone(),
            watermark,
            progress: progress.clone(),
            waiting,
            #[cfg(test)]
            hook,
        };
        let thread = std::thread::Builder::new()
            .name("log-writer".into())
            .spawn(move || writer.run())
            .map_err(thread_failed)?;
        let shared = Shared {
            db,
            tails,
            metrics,
            progress,
            queue,
            thread: Mutex::new(Some(thread)),
            dir,
            files: config.files.clone(),
            #[cfg(test)]
            options,
        };
        Ok((Self { shared: Arc::new(shared) }, Recovered { health, groups, metas }))
    }

    /// Queues an operation. Appended entries are readable when it returns; `done` runs when they are durable.
    pub fn submit(&self, op: LogOp, done: Completion) {
        self.submit_many(vec![(op, done)]);
    }

    /// Queues operations that are written together.
    pub fn submit_many(&self, ops: Vec<(LogOp, Completion)>) {
        if ops.is_empty() {
            return;
        }
        self.shared.tails.submit(ops, |ops, number| {
            // A log that was closed drops the completions, which tells who waits.
            let _sent = self.shared.queue.send(writer::Message::Ops(ops, number));
        });
    }

    /// Entries `from..to`, as many as fit `max_bytes` but at least one.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn read(
        &self,
        range_id: RangeId,
        from: u64,
        to: u64,
        max_bytes: usize,
    ) -> Result<Vec<LogEntry>, StorageError> {
        loop {
            let Some(view) = self.shared.tails.view(range_id, from, to, max_bytes) else {
                return Ok(Vec::new());
            };
            if view.from == view.head {
                return Ok(view.rest);
            }
            self.shared.metrics.tail_misses.fetch_add(1, Ordering::Relaxed);
            let found = self.read_disk(range_id, &view, max_bytes);
            // What was dropped meanwhile may be gone from the disk, or replaced there: then all is read anew.
            if self.shared.tails.is_current(range_id, &view) {
                return found;
            }
        }
    }

    /// What a view has on disk, and the rest of it as far as `max_bytes` goes.
    fn read_disk(
        &self,
        range_id: RangeId,
        view: &View,
        max_bytes: usize,
    ) -> Result<Vec<LogEntry>, StorageError> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(keys::entry(range_id, view.head));
        let start = keys::entry(range_id, view.from);
        let mode = IteratorMode::From(&start, Direction::Forward);
        let mut entries: Vec<LogEntry> = Vec::new();
        let mut bytes = 0;
        let mut next = view.from;
        for item in self.shared.db.iterator_opt(mode, options) {
            let (key, value) = item?;
            if keys::entry(range_id, next) != *key {
                break;
            }
            bytes += value.len();
            if bytes > max_bytes && !entries.is_empty() {
                return Ok(entries);
            }
            entries.push(LogEntry { index: next, data: Bytes::from(value) });
            next += 1;
        }
        if next != view.head {
            return Err(StorageError::corruption(format!("log of {range_id}: entry {next} is missing")));
        }
        for entry in &view.rest {
            bytes += entry.data.len();
            if bytes > max_bytes {
                break;
            }
            entries.push(entry.clone());
        }
        Ok(entries)
    }

    /// The entry at `index`, if the log has it.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn entry(&self, range_id: RangeId, index: u64) -> Result<Option<Bytes>, StorageError> {
        let entries = self.read(range_id, index, index + 1, usize::MAX)?;
        Ok(entries.into_iter().next().filter(|entry| entry.index == index).map(|entry| entry.data))
    }

    /// The first and last index; `None` for a group the log does not know, or one without entries.
    #[must_use]
    pub fn bounds(&self, range_id: RangeId) -> Option<(u64, u64)> {
        self.shared.tails.bounds(range_id)
    }

    /// About how much a group's log holds, on disk and in memory.
    #[must_use]
    pub fn bytes(&self, range_id: RangeId) -> u64 {
        self.shared.tails.bytes(range_id)
    }

    /// The entry up to which a group's log would have to be dropped to hold no more than about so much; `None` if it
    /// does not.
    #[must_use]
    pub fn last_beyond(&self, range_id: RangeId, bytes: u64) -> Option<u64> {
        self.shared.tails.last_beyond(range_id, bytes)
    }

    /// The RocksDB, where it is, and how its files are written.
    pub(crate) fn rocks(&self) -> (&DB, &Path, &StoreFiles) {
        (&self.shared.db, &self.shared.dir, &self.shared.files)
    }

    #[must_use]
    pub fn metrics(&self) -> &LogMetrics {
        &self.shared.metrics
    }

    /// How long the write or sync under way has been without an end, of the log or of who is watched beside it; zero if
    /// it is not unusual: a disk that hangs.
    #[must_use]
    pub fn stalled_for(&self) -> Duration {
        self.shared.progress.stalled_for()
    }

    /// Watches another writer to the same disk, by a number that is odd while it writes and another for each write.
    pub fn watch_also(&self, other: impl Fn() -> u64 + Send + Sync + 'static) {
        self.shared.progress.watch_also(Box::new(other));
    }

    /// For tests: has writes hang, as on a disk that does, until they are let go.
    pub fn hold_writes(&self, held: bool) {
        self.shared.progress.hold(held);
    }

    /// Ends compactions that are halfway, and has none begun any more: for a log that is closed, or never written again.
    pub fn stop_background_work(&self) {
        self.shared.db.cancel_all_background_work(true);
    }

    /// Writes what is queued and stops the writer. Later submissions are lost, and their completions dropped.
    pub fn close(&self) {
        self.shared.stop();
    }
}

impl Shared {
    fn stop(&self) {
        let Some(thread) = self.thread.lock().take() else { return };
        self.progress.hold(false);
        let _stopped = self.queue.send(writer::Message::Stop);
        // A completion may hold the last clone, and then the writer itself comes here.
        if thread.thread().id() != std::thread::current().id() {
            thread.join().expect("a writer that panics ends the process");
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop();
    }
}

fn sync_dir(path: &Path) -> Result<(), StorageError> {
    let synced = std::fs::File::open(path).and_then(|dir| dir.sync_all());
    synced.map_err(|error| StorageError::io("sync", path, error))
}

#[cfg(test)]
mod tests;
