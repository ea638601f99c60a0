//! How RocksDB is set up for versions of keys.

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, BottommostLevelCompaction, Cache, DBCompressionType, Options, SliceTransform,
    WriteBufferManager,
};

use crate::version_key;

/// The budgets of one store's engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// Memory for uncompressed blocks of SST files, with their index and filter blocks, and for the memtables of all
    /// families: what memtables take, blocks give up.
    pub block_cache_bytes: usize,
    /// For the newest versions of keys that are read often.
    pub version_cache_bytes: usize,
    /// The size at which a family's memtable is written out, and all others with it. When all together take twice
    /// this much the oldest are written out too.
    pub memtable_bytes: usize,
    /// Threads for flushes and compactions.
    pub background_jobs: i32,
    /// With less than this free on the disk, clients' writes are refused. Too little, and a burst of writes within a
    /// second fills the disk and ends the process.
    pub disk_reserve_bytes: u64,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            block_cache_bytes: 256 << 20,
            version_cache_bytes: 64 << 20,
            memtable_bytes: 32 << 20,
            background_jobs: 2,
            disk_reserve_bytes: 256 << 20,
        }
    }
}

impl EngineConfig {
    /// For tests: small enough to open hundreds of engines.
    #[must_use]
    pub fn small() -> Self {
        Self {
            block_cache_bytes: 4 << 20,
            version_cache_bytes: 512 << 10,
            memtable_bytes: 1 << 20,
            background_jobs: 1,
            disk_reserve_bytes: 1 << 20,
        }
    }
}

const BLOCK_BYTES: usize = 16 << 10;
const METADATA_BLOCK_BYTES: usize = 8 << 10;
const BLOOM_BITS_PER_KEY: f64 = 10.0;
const MEMTABLE_BLOOM_RATIO: f64 = 0.02;
/// Writes wait when this many memtables of a family wait to be written out.
const MEMTABLES_MAX: i32 = 4;
/// A file is compacted early when half of so many entries in a row are deletions: collected versions and resolved
/// locks are in the way of every scan until then.
const DELETION_WINDOW: usize = 1024;

/// What the families share.
pub(crate) struct Memory {
    pub cache: Cache,
    memtables: WriteBufferManager,
}

impl Memory {
    pub fn new(config: &EngineConfig) -> Self {
        let cache = Cache::new_lru_cache(config.block_cache_bytes);
        let bytes = 2 * config.memtable_bytes;
        let memtables = WriteBufferManager::new_write_buffer_manager_with_cache(bytes, false, cache.clone());
        Self { cache, memtables }
    }
}

pub(crate) fn database(config: &EngineConfig, memory: &Memory) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    // A flush of one family takes all: what survives a crash is a prefix of the applied commands, never a mix.
    options.set_atomic_flush(true);
    options.set_paranoid_checks(true);
    options.set_max_background_jobs(config.background_jobs);
    options.set_write_buffer_manager(&memory.memtables);
    options.set_max_open_files(-1);
    options.set_bytes_per_sync(1 << 20);
    quiet(&mut options);
    options
}

/// What every RocksDB of ours does without: reading all files' properties at open, and waking up to write statistics.
pub(crate) fn quiet(options: &mut Options) {
    options.set_skip_stats_update_on_db_open(true);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_keep_log_file_num(4);
    options.set_max_log_file_size(16 << 20);
}

/// Versions: read by user key, so filters are built from user keys.
pub(crate) fn data_family(config: &EngineConfig, memory: &Memory) -> Options {
    let mut options = family(config, memory, Filter::UserKey);
    options.set_prefix_extractor(SliceTransform::create(
        "quorate.user-key.1",
        version_key::strip_version,
        Some(version_key::has_version),
    ));
    options.set_memtable_prefix_bloom_ratio(MEMTABLE_BLOOM_RATIO);
    options
}

/// Locks and local records: read by whole key.
pub(crate) fn plain_family(config: &EngineConfig, memory: &Memory) -> Options {
    let mut options = family(config, memory, Filter::WholeKey);
    options.set_memtable_whole_key_filtering(true);
    options.set_memtable_prefix_bloom_ratio(MEMTABLE_BLOOM_RATIO);
    options
}

#[derive(Clone, Copy, PartialEq)]
enum Filter {
    UserKey,
    WholeKey,
}

fn family(config: &EngineConfig, memory: &Memory, filter: Filter) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&memory.cache);
    table.set_block_size(BLOCK_BYTES);
    table.set_bloom_filter(BLOOM_BITS_PER_KEY, false);
    table.set_whole_key_filtering(filter == Filter::WholeKey);
    // The first whose checksums also say where a block belongs.
    table.set_format_version(6);
    table.set_optimize_filters_for_memory(true);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    // In pieces: the whole filter of a file is more than a megabyte, which a shard of the cache does not keep, so that
    // every point read would load and check it anew.
    table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    table.set_partition_filters(true);
    table.set_metadata_block_size(METADATA_BLOCK_BYTES);
    table.set_pin_top_level_index_and_filter(true);

    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_compression_type(DBCompressionType::Lz4);
    // What a flush has written is read and written again soon: by scans, and by the compaction that empties level 0.
    options.set_compression_per_level(&[DBCompressionType::None, DBCompressionType::Lz4]);
    options.set_write_buffer_size(config.memtable_bytes);
    options.set_max_write_buffer_number(MEMTABLES_MAX);
    options.add_compact_on_deletion_collector_factory(DELETION_WINDOW, DELETION_WINDOW / 2, 0.5);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_target_file_size_base(64 << 20);
    options
}

/// Compacting everything, for tests and tools.
pub(crate) fn full_compaction() -> rocksdb::CompactOptions {
    let mut options = rocksdb::CompactOptions::default();
    options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
    options
}
