//! The ends of all logs in memory: what was appended lately, and where each log begins and ends.
//!
//! Submissions are numbered in the order of the queue. An entry remembers the number it came with, so what is durable
//! is one number for the whole store, and an entry that replaces another is never taken for the one it replaced.

use std::collections::VecDeque;

use bytes::Bytes;
use keys::RangeId;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use super::{GroupLog, LogEntry, LogOp, sizes::Sizes};

/// When memory is full, this much of each log's end stays if it can: followers that are nearly there read it.
const KEPT_ENTRIES: usize = 16;

struct Kept {
    index: u64,
    data: Bytes,
    /// The submission that brought it.
    number: u64,
}

struct GroupTail {
    /// First above last: no entries.
    first: u64,
    last: u64,
    /// The last submission that dropped entries, or made the group.
    changed: u64,
    /// Contiguous, ending at `last`. What of `first..=last` is not here is durable.
    entries: VecDeque<Kept>,
    /// Of `first..=last`.
    sizes: Sizes,
}

impl GroupTail {
    fn new(first: u64, last: u64, changed: u64) -> Self {
        Self { first, last, changed, entries: VecDeque::new(), sizes: Sizes::default() }
    }

    fn pop_first(&mut self, when: impl FnOnce(&Kept) -> bool) -> Option<Kept> {
        if self.entries.front().is_some_and(when) { self.entries.pop_front() } else { None }
    }

    fn pop_last(&mut self, when: impl FnOnce(&Kept) -> bool) -> Option<Kept> {
        if self.entries.back().is_some_and(when) { self.entries.pop_back() } else { None }
    }
}

struct Inner {
    groups: FxHashMap<RangeId, GroupTail>,
    bytes: usize,
    /// The number of the last submission.
    submitted: u64,
}

pub(super) struct Tails {
    inner: Mutex<Inner>,
    budget: usize,
}

/// What a reader gets: `from..head` is durable and to be read from disk, `rest` follows it.
pub(super) struct View {
    pub from: u64,
    pub head: u64,
    pub rest: Vec<LogEntry>,
    pub changed: u64,
}

impl Tails {
    /// The logs as they were found, and how many bytes each has.
    pub fn new(budget: usize, groups: &[GroupLog], sizes: &[u64]) -> Self {
        let tail = |(group, bytes): (&GroupLog, &u64)| {
            let sizes = Sizes::found(group.last, *bytes);
            (group.range_id, GroupTail { sizes, ..GroupTail::new(group.first, group.last, 0) })
        };
        let groups = groups.iter().zip(sizes).map(tail).collect();
        Self { inner: Mutex::new(Inner { groups, bytes: 0, submitted: 0 }), budget }
    }

    /// Makes operations visible to readers and hands them on with their number. `enqueue` runs under the lock, so the
    /// queue has the order that readers saw.
    pub fn submit<O>(&self, ops: Vec<(LogOp, O)>, enqueue: impl FnOnce(Vec<(LogOp, O)>, u64)) {
        let mut inner = self.inner.lock();
        inner.submitted += 1;
        for (op, _) in &ops {
            inner.note(op);
        }
        let number = inner.submitted;
        enqueue(ops, number);
    }

    /// *tail-until-durable*: entries up to this submission may leave the tail from now on.
    pub fn synced(&self, number: u64) {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        if inner.bytes <= self.budget {
            return;
        }
        // Trimming looks at every group: it goes further than it must, to be seldom.
        let enough = self.budget - self.budget / 4;
        // All of the groups' ends together may be more than the budget: then they go as well, except for what has become
        // durable just now. It is read next, to be applied, and one entry may be larger than the budget.
        for (keep, until) in [(KEPT_ENTRIES, number), (0, number.saturating_sub(1))] {
            for tail in inner.groups.values_mut() {
                while inner.bytes > enough && tail.entries.len() > keep {
                    let Some(gone) = tail.pop_first(|entry| entry.number <= until) else { break };
                    inner.bytes -= gone.data.len();
                }
            }
        }
    }

    /// What there is of `from..to`, up to `max_bytes` of what is in memory; `None` when there is nothing.
    pub fn view(&self, range_id: RangeId, from: u64, to: u64, max_bytes: usize) -> Option<View> {
        let inner = self.inner.lock();
        let tail = inner.groups.get(&range_id)?;
        let (from, to) = (from.max(tail.first), to.min(tail.last.saturating_add(1)));
        if from >= to || tail.first > tail.last {
            return None;
        }
        let head = tail.entries.front().map_or(to, |entry| entry.index.clamp(from, to));
        let mut rest = Vec::new();
        if let Some(front) = tail.entries.front() {
            let skip = usize::try_from(head.saturating_sub(front.index)).expect("the tail fits memory");
            let mut bytes = 0;
            for entry in tail.entries.iter().skip(skip).take_while(|entry| entry.index < to) {
                bytes += entry.data.len();
                if bytes > max_bytes && !rest.is_empty() {
                    break;
                }
                rest.push(LogEntry { index: entry.index, data: entry.data.clone() });
            }
        }
        Some(View { from, head, rest, changed: tail.changed })
    }

    /// Whether nothing of the group was dropped since it was viewed.
    pub fn is_current(&self, range_id: RangeId, view: &View) -> bool {
        self.inner.lock().groups.get(&range_id).is_some_and(|tail| tail.changed == view.changed)
    }

    pub fn bytes(&self, range_id: RangeId) -> u64 {
        self.inner.lock().groups.get(&range_id).map_or(0, |tail| tail.sizes.total())
    }

    pub fn last_beyond(&self, range_id: RangeId, bytes: u64) -> Option<u64> {
        let inner = self.inner.lock();
        let tail = inner.groups.get(&range_id)?;
        tail.sizes.last_beyond(tail.first, bytes)
    }

    pub fn bounds(&self, range_id: RangeId) -> Option<(u64, u64)> {
        let inner = self.inner.lock();
        let tail = inner.groups.get(&range_id)?;
        (tail.first <= tail.last).then_some((tail.first, tail.last))
    }
}

impl Inner {
    fn note(&mut self, op: &LogOp) {
        let number = self.submitted;
        match op {
            LogOp::Append { range_id, entries } => {
                let Some(head) = entries.first() else { return };
                let tail = self.groups.entry(*range_id).or_insert_with(|| GroupTail::new(1, 0, number));
                if tail.first > tail.last {
                    tail.first = head.index;
                } else {
                    let last = tail.last;
                    assert!(
                        head.index == last + 1,
                        "append-contiguous: {range_id} {} after {last}",
                        head.index
                    );
                }
                for (entry, index) in entries.iter().zip(head.index..) {
                    assert!(
                        entry.index == index,
                        "append-contiguous: {range_id} {} for {index}",
                        entry.index
                    );
                    self.bytes += entry.data.len();
                    tail.sizes.append(index, entry.data.len());
                    tail.entries.push_back(Kept { index, data: entry.data.clone(), number });
                    tail.last = index;
                }
            }
            LogOp::Truncate { range_id, after } => {
                let Some(tail) = self.groups.get_mut(range_id) else { return };
                while let Some(gone) = tail.pop_last(|entry| entry.index > *after) {
                    self.bytes -= gone.data.len();
                }
                tail.sizes.truncate(tail.first, *after);
                tail.last = tail.last.min(*after);
                tail.changed = number;
            }
            LogOp::Purge { range_id, up_to, .. } => {
                let tail = self.groups.entry(*range_id).or_insert_with(|| GroupTail::new(1, 0, number));
                while let Some(gone) = tail.pop_first(|entry| entry.index <= *up_to) {
                    self.bytes -= gone.data.len();
                }
                tail.sizes.purge(tail.first, *up_to);
                tail.first = tail.first.max(up_to + 1);
                tail.last = tail.last.max(*up_to);
                tail.changed = number;
            }
            LogOp::RemoveGroup { range_id } => {
                if let Some(tail) = self.groups.remove(range_id) {
                    self.bytes -= tail.entries.iter().map(|entry| entry.data.len()).sum::<usize>();
                }
            }
            LogOp::SaveVote { .. } | LogOp::SaveCommitted { .. } | LogOp::PutMeta { .. } => {}
        }
    }
}
