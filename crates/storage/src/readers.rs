//! Iterators that are used again: to make one costs several times what it costs to bring one up to date.
//!
//! An idle iterator keeps alive what it last saw: memtables that were written out since, files that a compaction
//! replaced. So few are kept, and [`Engine::release_idle_readers`] lets go of them: flushes call it, and so should
//! whoever looks after the store, every second or so.

use std::ops::{Deref, DerefMut};

use parking_lot::Mutex;

use crate::StorageError;
use crate::engine::{Engine, Inner};
use crate::read::RawIterator;

/// More than these at once are made anew and dropped after use.
const IDLE_READERS_MAX: usize = 16;

/// Entries that RocksDB skips in one step before it gives up. Pooled iterators have no upper bound, and behind the
/// end of a span may lie any number of deleted entries.
const SKIPPED_MAX: u64 = 256;

/// The pools of one engine.
#[derive(Default)]
pub(crate) struct Readers {
    /// For the versions of one key, past files and memtables whose filters say that they have none.
    point: Pool,
    /// For versions of many keys in order.
    ordered: Pool,
}

#[derive(Default)]
struct Pool {
    /// They borrow from the database beside them in [`Inner`], which drops them first.
    idle: Mutex<Vec<RawIterator<'static>>>,
}

/// An iterator over the data family. One that came from a pool goes back there when dropped.
pub(crate) struct Reader<'e> {
    iter: Option<RawIterator<'e>>,
    pool: Option<&'e Pool>,
}

impl<'e> Deref for Reader<'e> {
    type Target = RawIterator<'e>;

    fn deref(&self) -> &RawIterator<'e> {
        self.iter.as_ref().expect("only drop takes the iterator")
    }
}

impl<'e> DerefMut for Reader<'e> {
    fn deref_mut(&mut self) -> &mut RawIterator<'e> {
        self.iter.as_mut().expect("only drop takes the iterator")
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        let (Some(pool), Some(iter)) = (self.pool, self.iter.take()) else { return };
        // SAFETY: the iterator borrows the database that stands beside the pool in `Inner`, which does not move it
        // and drops it after the pools. It was made without a snapshot and without bounds, so it borrows nothing else.
        let iter = unsafe { std::mem::transmute::<RawIterator<'_>, RawIterator<'static>>(iter) };
        let mut idle = pool.idle.lock();
        if idle.len() < IDLE_READERS_MAX {
            idle.push(iter);
        }
    }
}

impl Inner {
    /// A reader of one key's versions that sees everything applied before the call.
    pub(crate) fn point_reader(&self) -> Result<Reader<'_>, StorageError> {
        self.pooled(&self.readers.point, point_options)
    }

    /// A reader of any versions in order, likewise. It may stop short with [`StorageError::is_skipping`]; then
    /// [`Self::reader`] with bounds takes over.
    pub(crate) fn ordered_reader(&self) -> Result<Reader<'_>, StorageError> {
        self.pooled(&self.readers.ordered, || {
            let mut read = rocksdb::ReadOptions::default();
            read.set_total_order_seek(true);
            read.set_max_skippable_internal_keys(SKIPPED_MAX);
            read
        })
    }

    /// A reader that is used once.
    pub(crate) fn reader(&self, read: rocksdb::ReadOptions) -> Reader<'_> {
        Reader { iter: Some(self.db.raw_iterator_cf_opt(self.data(), read)), pool: None }
    }

    fn pooled<'e>(
        &'e self,
        pool: &'e Pool,
        options: impl FnOnce() -> rocksdb::ReadOptions,
    ) -> Result<Reader<'e>, StorageError> {
        let idle = pool.idle.lock().pop();
        let iter = match idle {
            Some(mut iter) => {
                iter.refresh()?;
                iter
            }
            None => self.db.raw_iterator_cf_opt(self.data(), options()),
        };
        Ok(Reader { iter: Some(iter), pool: Some(pool) })
    }
}

impl Engine {
    /// Lets go of memtables and files that only idle iterators keep alive.
    pub fn release_idle_readers(&self) {
        let readers = &self.inner.readers;
        for pool in [&readers.point, &readers.ordered] {
            // Dropped outside the lock: the last reader of a file may have to remove it.
            let _gone = std::mem::take(&mut *pool.idle.lock());
        }
    }
}

/// For the versions of one key.
pub(crate) fn point_options() -> rocksdb::ReadOptions {
    let mut read = rocksdb::ReadOptions::default();
    read.set_prefix_same_as_start(true);
    read
}
