//! Which range holds a key and who leads it, as last heard. It may be wrong: a range answers a misrouted batch with
//! what it knows, and the cache learns.
//!
//! **Invariant (cache-disjoint):** no two cached descriptors overlap. Of two that would, the one with the higher
//! generation stays: the other is out of date (*generation-grows-by-key*, `replica::merge`).

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use keys::{Key, NodeId, RangeDescriptor, ReplicaDescriptor, StoreId};
use parking_lot::RwLock;

/// A descriptor with the store that last answered for it.
#[derive(Debug)]
pub struct CachedRange {
    pub descriptor: RangeDescriptor,
    /// A store id; 0 when unknown.
    leaseholder: AtomicU64,
}

impl CachedRange {
    pub fn new(descriptor: RangeDescriptor) -> Self {
        Self { descriptor, leaseholder: AtomicU64::new(0) }
    }

    /// The replica believed to hold the lease.
    pub fn leaseholder(&self) -> Option<&ReplicaDescriptor> {
        let store = self.leaseholder.load(Ordering::Relaxed);
        if store == 0 { None } else { self.descriptor.replica_on_store(StoreId::new(store)) }
    }

    pub fn set_leaseholder(&self, store: StoreId) {
        self.leaseholder.store(store.get(), Ordering::Relaxed);
    }

    pub fn forget_leaseholder(&self) {
        self.leaseholder.store(0, Ordering::Relaxed);
    }

    /// The replicas, the likeliest leaseholder first.
    pub fn replicas_by_likelihood(&self, local: NodeId) -> Vec<ReplicaDescriptor> {
        let hint = self.leaseholder().map(|replica| replica.store_id);
        let mut replicas = self.descriptor.replicas.clone();
        replicas.sort_by_key(|replica| (Some(replica.store_id) != hint, replica.node_id != local));
        replicas
    }
}

/// Ranges by their end key.
#[derive(Default)]
pub struct RangeCache {
    by_end: RwLock<BTreeMap<Key, Arc<CachedRange>>>,
}

impl RangeCache {
    /// The cached range that holds `key`.
    pub fn lookup(&self, key: &[u8]) -> Option<Arc<CachedRange>> {
        let by_end = self.by_end.read();
        // A range ends after its keys: the first end above `key` is the only candidate.
        let bounds = (std::ops::Bound::Excluded(key), std::ops::Bound::Unbounded);
        let (_, range) = by_end.range::<[u8], _>(bounds).next()?;
        range.descriptor.contains_key(key).then(|| range.clone())
    }

    /// Learns a descriptor; answers the entry that now stands for it, or for part of it where it is out of date.
    pub fn insert(&self, descriptor: RangeDescriptor) -> Arc<CachedRange> {
        let mut by_end = self.by_end.write();
        let span = descriptor.span();
        let from = (std::ops::Bound::Excluded(span.start.as_bytes()), std::ops::Bound::Unbounded);
        let overlapping: Vec<Arc<CachedRange>> = by_end
            .range::<[u8], _>(from)
            .map(|(_, range)| range.clone())
            .take_while(|range| range.descriptor.start < span.end)
            .collect();
        for range in &overlapping {
            let same = range.descriptor.range_id == descriptor.range_id;
            let (known, new) = (range.descriptor.generation, descriptor.generation);
            if known > new || same && known == new {
                return range.clone();
            }
        }
        let mut hint = 0;
        for range in overlapping {
            if range.descriptor.range_id == descriptor.range_id {
                hint = range.leaseholder.load(Ordering::Relaxed);
            }
            by_end.remove(range.descriptor.end.as_bytes());
        }
        let end = descriptor.end.clone();
        let range = Arc::new(CachedRange::new(descriptor));
        range.leaseholder.store(hint, Ordering::Relaxed);
        by_end.insert(end, range.clone());
        range
    }

    /// Learns the descriptor found for `key`; answers the entry that holds it. There is none when a newer descriptor of
    /// the same range is known that does not: it has been split, and where the rest belongs is not known yet.
    pub fn insert_for(&self, key: &[u8], descriptor: RangeDescriptor) -> Option<Arc<CachedRange>> {
        Some(self.insert(descriptor)).filter(|range| range.descriptor.contains_key(key))
    }

    /// Drops an entry that proved wrong, unless it has been replaced already.
    pub fn evict(&self, stale: &CachedRange) {
        let mut by_end = self.by_end.write();
        let end = stale.descriptor.end.as_bytes();
        if by_end.get(end).is_some_and(|range| range.descriptor == stale.descriptor) {
            by_end.remove(end);
        }
    }

    /// Every cached descriptor, in key order.
    #[cfg(test)]
    pub fn all(&self) -> Vec<RangeDescriptor> {
        self.by_end.read().values().map(|range| range.descriptor.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use keys::{RangeId, ReplicaId};

    use super::*;

    fn descriptor(id: u64, start: &str, end: &str, generation: u64) -> RangeDescriptor {
        RangeDescriptor {
            range_id: RangeId::new(id),
            start: start.as_bytes().into(),
            end: end.as_bytes().into(),
            replicas: vec![],
            next_replica_id: ReplicaId::new(1),
            generation,
        }
    }

    #[test]
    fn finds_the_range_of_a_key_and_its_bounds() {
        let cache = RangeCache::default();
        cache.insert(descriptor(1, "a", "m", 1));
        cache.insert(descriptor(2, "m", "z", 1));
        let id = |key: &str| cache.lookup(key.as_bytes()).map(|range| range.descriptor.range_id.get());
        assert_eq!((id("a"), id("lz"), id("m"), id("z"), id("0")), (Some(1), Some(1), Some(2), None, None));
    }

    /// A scan from `p` cut at `m` went on at `m`, and answered rows that lie before where it began.
    #[test]
    fn located_holds_key_when_the_record_is_older_than_a_split() {
        let cache = RangeCache::default();
        cache.insert(descriptor(1, "a", "m", 2));
        assert!(cache.insert_for(b"p", descriptor(1, "a", "z", 1)).is_none());
        let found = cache.insert_for(b"b", descriptor(1, "a", "z", 1)).unwrap();
        assert_eq!(found.descriptor.generation, 2);
        assert!(cache.insert_for(b"p", descriptor(2, "m", "z", 2)).is_some());
    }

    #[test]
    fn cache_disjoint() {
        let cache = RangeCache::default();
        cache.insert(descriptor(1, "a", "z", 1));
        cache.insert(descriptor(2, "m", "z", 2));
        // The old wide descriptor is gone whole: its left half is unknown until it is heard of.
        assert!(cache.lookup(b"b").is_none());
        cache.insert(descriptor(1, "a", "m", 2));
        // An older one of the same range changes nothing.
        cache.insert(descriptor(1, "a", "z", 1));
        assert_eq!(cache.lookup(b"p").map(|range| range.descriptor.range_id.get()), Some(2));
        assert_eq!(cache.all().len(), 2);
        // Both are one by now: what is told of either from before changes nothing.
        cache.insert(descriptor(1, "a", "z", 3));
        cache.insert(descriptor(2, "m", "z", 2));
        assert_eq!(cache.all(), [descriptor(1, "a", "z", 3)]);
        let found = cache.insert_for(b"p", descriptor(2, "m", "z", 2));
        assert_eq!(found.map(|range| range.descriptor.range_id.get()), Some(1));
    }
}
