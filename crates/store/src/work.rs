//! What the queues of a store are doing, and how often they have: for an operator to look at.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use keys::{RangeId, StoreId};
use parking_lot::Mutex;
use tokio::time::Instant;

/// What a queue does to a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkKind {
    /// A range with too few replicas gets another.
    Replicate,
    /// Another store takes the place of one that is gone or leaves.
    Replace,
    /// A replica that failed leaves its range.
    Remove,
    /// A replica moves to a store that has fewer, or to where its range's configuration wants it.
    Balance,
    /// A lease moves.
    Lease,
    Split,
    /// A range that serves much is split.
    LoadSplit,
    /// A range takes in its right-hand neighbour.
    Merge,
    /// Superseded versions and finished records are removed.
    Collect,
}

impl WorkKind {
    pub const ALL: [Self; 9] = [
        Self::Replicate,
        Self::Replace,
        Self::Remove,
        Self::Balance,
        Self::Lease,
        Self::Split,
        Self::LoadSplit,
        Self::Merge,
        Self::Collect,
    ];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Replicate => "replicate",
            Self::Replace => "replace",
            Self::Remove => "remove",
            Self::Balance => "balance",
            Self::Lease => "lease",
            Self::Split => "split",
            Self::LoadSplit => "load split",
            Self::Merge => "merge",
            Self::Collect => "gc",
        }
    }
}

/// Work under way.
#[derive(Clone, Copy, Debug)]
pub struct WorkRow {
    pub kind: WorkKind,
    pub range: RangeId,
    /// The store that gets a replica.
    pub to: Option<StoreId>,
    pub since: Instant,
}

/// How often a queue has done its work, and how often it could not, since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkCount {
    pub kind: WorkKind,
    pub done: u64,
    pub failed: u64,
}

/// The work of a store.
#[derive(Default)]
pub struct Work {
    done: [AtomicU64; WorkKind::ALL.len()],
    failed: [AtomicU64; WorkKind::ALL.len()],
    under_way: Mutex<Vec<(u64, WorkRow)>>,
    next: AtomicU64,
}

impl Work {
    /// Work begins. It has failed unless [`AtWork::done`] is called.
    pub(crate) fn begin(&self, kind: WorkKind, range: RangeId, to: Option<StoreId>) -> AtWork<'_> {
        let number = self.next.fetch_add(1, Relaxed);
        self.under_way.lock().push((number, WorkRow { kind, range, to, since: Instant::now() }));
        AtWork { work: self, number, kind, is_done: false }
    }

    #[must_use]
    pub fn counts(&self) -> Vec<WorkCount> {
        let count = |kind: WorkKind| {
            let at = kind as usize;
            WorkCount { kind, done: self.done[at].load(Relaxed), failed: self.failed[at].load(Relaxed) }
        };
        WorkKind::ALL.into_iter().map(count).collect()
    }

    #[must_use]
    pub fn under_way(&self) -> Vec<WorkRow> {
        self.under_way.lock().iter().map(|(_, row)| *row).collect()
    }
}

/// Work that is under way until this is dropped.
pub(crate) struct AtWork<'a> {
    work: &'a Work,
    number: u64,
    kind: WorkKind,
    is_done: bool,
}

impl AtWork<'_> {
    pub fn done(mut self) {
        self.is_done = true;
    }
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.work.under_way.lock().retain(|(number, _)| *number != self.number);
        let counts = if self.is_done { &self.work.done } else { &self.work.failed };
        counts[self.kind as usize].fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_seen_while_it_goes_on_and_counted_after() {
        let work = Work::default();
        let (first, second) = (RangeId::new(1), RangeId::new(2));
        let adding = work.begin(WorkKind::Replicate, first, Some(StoreId::new(3)));
        let splitting = work.begin(WorkKind::Split, second, None);
        let ranges: Vec<RangeId> = work.under_way().iter().map(|row| row.range).collect();
        assert_eq!(ranges, [first, second]);
        adding.done();
        drop(splitting);
        assert!(work.under_way().is_empty());
        let count = |kind: WorkKind| work.counts().into_iter().find(|count| count.kind == kind).expect("each has one");
        let (added, split) = (count(WorkKind::Replicate), count(WorkKind::Split));
        assert_eq!((added.done, added.failed, split.done, split.failed), (1, 0, 0, 1));
        for (at, kind) in WorkKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, at);
        }
    }
}
