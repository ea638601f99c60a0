//! The problem: a write must not change what a reader has already seen, but readers leave no trace in the data.
//!
//! The idea: the leaseholder remembers the latest read of every key, and moves a write above it. Memory is bounded by
//! forgetting upwards: reads fill pages, and when the oldest page goes, the low-water mark rises to the latest read in
//! it, which claims too much and never too little.
//!
//! ```text
//! low water ≤ │ page 0 (oldest) │ page 1 │ page 2 (filling) │
//!               points: hash map        one key, the common case
//!               spans:  boundary → the value from there to the next boundary
//! ```
//!
//! A read's transaction is kept beside its timestamp, so its own later write need not move. Two transactions that read
//! at the same timestamp leave no owner. Dropping an earlier read of another in favour of a later own read is sound:
//! who read at `t` writes at `t` or above, and so above the earlier read.
//!
//! **Invariants**
//! - *cache-never-lowers*: the timestamp answered for a key never falls, by rotation, by merging or by the mark.
//! - *own-read-no-push*: if one transaction alone read a key at the answered timestamp, and no rotation has forgotten
//!   it, the answer names it.
//!
//! Deliberately left out: an order of points. Asking for a span looks at every point of the pages that could raise the
//! answer; only writes of whole spans ask that.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;

use hlc::Timestamp;
use keys::{Key, Span, TxnId};
use parking_lot::Mutex;

use crate::point_of;

/// How much is remembered exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampCacheConfig {
    /// Bytes of one page. Larger forgets in coarser steps.
    pub page_bytes_max: usize,
    /// Pages kept, at least one. Fewer forget sooner, and push more writers that nobody read under.
    pub page_count_max: usize,
}

impl Default for TimestampCacheConfig {
    fn default() -> Self {
        Self { page_bytes_max: 2 << 20, page_count_max: 4 }
    }
}

/// What an entry costs beyond its key: the map's slot, the value and the key's header, rounded up.
const ENTRY_OVERHEAD_BYTES: usize = 128;

/// Remembers up to which timestamp keys have been read.
pub struct TimestampCache {
    config: TimestampCacheConfig,
    pages: Mutex<Pages>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampCacheStats {
    pub page_count: usize,
    pub entry_count: usize,
    pub bytes: usize,
    pub low_water: Timestamp,
}

impl Default for TimestampCache {
    fn default() -> Self {
        Self::new(TimestampCacheConfig::default())
    }
}

impl TimestampCache {
    #[must_use]
    pub fn new(config: TimestampCacheConfig) -> Self {
        assert!(config.page_count_max > 0, "a cache has at least the page it fills");
        let pages = Pages { low_water: Timestamp::MIN, pages: VecDeque::from([Page::default()]) };
        Self { config, pages: Mutex::new(pages) }
    }

    /// `key` was read at `ts`.
    pub fn add(&self, key: &Key, ts: Timestamp, txn: Option<TxnId>) {
        let mut pages = self.pages.lock();
        if ts > pages.low_water {
            pages.filling().add_point(key, Read { ts, txn });
            pages.rotate(&self.config);
        }
    }

    /// All of `span` was read at `ts`, the gaps between its keys included.
    pub fn add_span(&self, span: &Span, ts: Timestamp, txn: Option<TxnId>) {
        if let Some(key) = point_of(span) {
            return self.add(key, ts, txn);
        }
        let mut pages = self.pages.lock();
        if ts > pages.low_water && !span.is_empty() {
            pages.filling().add_span(span, Read { ts, txn });
            pages.rotate(&self.config);
        }
    }

    /// The latest read of `key`, and whose it was if one transaction's alone.
    #[must_use]
    pub fn get_max(&self, key: &Key) -> (Timestamp, Option<TxnId>) {
        let pages = self.pages.lock();
        let mut max = Read { ts: pages.low_water, txn: None };
        for page in pages.pages.iter().filter(|page| !page.is_empty()) {
            max.merge(page.at(key));
        }
        (max.ts, max.txn)
    }

    /// The latest read of anything in `span`, and whose it was if one transaction's alone.
    #[must_use]
    pub fn get_max_span(&self, span: &Span) -> (Timestamp, Option<TxnId>) {
        if let Some(key) = point_of(span) {
            return self.get_max(key);
        }
        let pages = self.pages.lock();
        let mut max = Read { ts: pages.low_water, txn: None };
        // Youngest first: it most often makes the older ones irrelevant.
        for page in pages.pages.iter().rev() {
            if page.max_ts >= max.ts && !page.is_empty() && !span.is_empty() {
                page.merge_span_into(span, &mut max);
            }
        }
        (max.ts, max.txn)
    }

    /// From now on everything counts as read at `ts`: a new lease cannot know what was read under the last.
    pub fn bump_low_water(&self, ts: Timestamp) {
        let mut pages = self.pages.lock();
        if ts > pages.low_water {
            pages.low_water = ts;
            pages.pages.retain(|page| page.max_ts > ts);
            if pages.pages.is_empty() {
                pages.pages.push_back(Page::default());
            }
        }
    }

    #[must_use]
    pub fn low_water(&self) -> Timestamp {
        self.pages.lock().low_water
    }

    #[must_use]
    pub fn stats(&self) -> TimestampCacheStats {
        let pages = self.pages.lock();
        TimestampCacheStats {
            page_count: pages.pages.len(),
            entry_count: pages.pages.iter().map(|page| page.points.len() + page.steps.len()).sum(),
            bytes: pages.pages.iter().map(|page| page.bytes).sum(),
            low_water: pages.low_water,
        }
    }
}

/// The latest read of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
struct Read {
    ts: Timestamp,
    txn: Option<TxnId>,
}

impl Read {
    fn merge(&mut self, other: Self) {
        if other.ts > self.ts {
            *self = other;
        } else if other.ts == self.ts && other.txn != self.txn {
            self.txn = None;
        }
    }
}

struct Pages {
    low_water: Timestamp,
    /// Oldest first; the last is being filled.
    pages: VecDeque<Page>,
}

impl Pages {
    fn filling(&mut self) -> &mut Page {
        self.pages.back_mut().expect("a cache has at least the page it fills")
    }

    fn rotate(&mut self, config: &TimestampCacheConfig) {
        if self.filling().bytes < config.page_bytes_max {
            return;
        }
        self.pages.push_back(Page::default());
        while self.pages.len() > config.page_count_max {
            let oldest = self.pages.pop_front().expect("longer than its bound");
            self.low_water = self.low_water.max(oldest.max_ts);
        }
    }
}

#[derive(Default)]
struct Page {
    points: HashMap<Key, Read, ahash::RandomState>,
    /// A step function: each value holds from its key to the next one. Before the first, nothing was read.
    steps: BTreeMap<Key, Read>,
    max_ts: Timestamp,
    bytes: usize,
}

impl Page {
    fn is_empty(&self) -> bool {
        self.points.is_empty() && self.steps.is_empty()
    }

    fn add_point(&mut self, key: &Key, read: Read) {
        self.max_ts = self.max_ts.max(read.ts);
        if let Some(known) = self.points.get_mut(key.as_bytes()) {
            known.merge(read);
            return;
        }
        // Copied: the key may be a slice of a large message, which an entry here would keep alive.
        self.bytes += key.as_bytes().len() + ENTRY_OVERHEAD_BYTES;
        self.points.insert(Key::from(key.as_bytes()), read);
    }

    fn add_span(&mut self, span: &Span, read: Read) {
        self.max_ts = self.max_ts.max(read.ts);
        self.cut_at(&span.start);
        self.cut_at(&span.end);
        let mut before = self.steps.range::<Key, _>(..&span.start).next_back().map(|(_, read)| *read);
        let mut redundant = Vec::new();
        let inside = (Bound::Included(&span.start), Bound::Included(&span.end));
        for (key, known) in self.steps.range_mut::<Key, _>(inside) {
            if *key < span.end {
                known.merge(read);
            }
            if before.unwrap_or_default() == *known {
                redundant.push(key.clone());
            }
            before = Some(*known);
        }
        for key in redundant {
            self.steps.remove(&key);
            self.bytes -= key.as_bytes().len() + ENTRY_OVERHEAD_BYTES;
        }
    }

    /// Makes `key` a boundary without changing the function.
    fn cut_at(&mut self, key: &Key) {
        if !self.steps.contains_key(key) {
            let read = self.step_at(key);
            self.bytes += key.as_bytes().len() + ENTRY_OVERHEAD_BYTES;
            self.steps.insert(Key::from(key.as_bytes()), read);
        }
    }

    fn step_at(&self, key: &Key) -> Read {
        self.steps.range::<Key, _>(..=key).next_back().map(|(_, read)| *read).unwrap_or_default()
    }

    fn at(&self, key: &Key) -> Read {
        let mut max = self.points.get(key.as_bytes()).copied().unwrap_or_default();
        if !self.steps.is_empty() {
            max.merge(self.step_at(key));
        }
        max
    }

    fn merge_span_into(&self, span: &Span, max: &mut Read) {
        max.merge(self.step_at(&span.start));
        for (_, read) in self.steps.range::<Key, _>(&span.start..&span.end) {
            max.merge(*read);
        }
        for (key, read) in &self.points {
            if read.ts >= max.ts && span.contains(key.as_bytes()) {
                max.merge(*read);
            }
        }
    }
}
