//! The ends of all logs in memory: what was appended lately, and where each log begins and ends.

use std::collections::VecDeque;

use bytes::Bytes;
use keys::RangeId;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use super::{GroupLog, LogEntry, LogOp};

/// However full memory is, this much of each log's end stays: followers that are nearly there read it.
const KEPT_ENTRIES: usize = 16;

#[derive(Default)]
struct GroupTail {
    first: u64,
    last: u64,
    /// Entries up to here are durable.
    synced: u64,
    /// Contiguous, ending at `last`.
    entries: VecDeque<(u64, Bytes)>,
}

#[derive(Default)]
struct Inner {
    groups: FxHashMap<RangeId, GroupTail>,
    bytes: usize,
}

pub(super) struct Tails {
    inner: Mutex<Inner>,
    budget: usize,
}

impl Tails {
    pub fn new(budget: usize, groups: &[GroupLog]) -> Self {
        let mut inner = Inner::default();
        for group in groups {
            let tail = GroupTail {
                first: group.first,
                last: group.last,
                synced: group.last,
                entries: VecDeque::new(),
            };
            inner.groups.insert(group.range_id, tail);
        }
        Self { inner: Mutex::new(inner), budget }
    }

    /// Makes an operation visible to readers, before it is written.
    pub fn note(&self, op: &LogOp) {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        match op {
            LogOp::Append { range_id, entries } => {
                let Some(head) = entries.first() else { return };
                let tail = inner.groups.entry(*range_id).or_default();
                let is_empty = tail.first > tail.last || tail.last == 0;
                if is_empty {
                    tail.first = head.index;
                    tail.entries.clear();
                } else {
                    assert!(head.index == tail.last + 1, "append-contiguous: {range_id} {} after {}", head.index, tail.last);
                }
                for entry in entries {
                    inner.bytes += entry.data.len();
                    tail.entries.push_back((entry.index, entry.data.clone()));
                    tail.last = entry.index;
                }
            }
            LogOp::Truncate { range_id, after } => {
                let Some(tail) = inner.groups.get_mut(range_id) else { return };
                while let Some((_, data)) = tail.entries.pop_back_if(|(index, _)| *index > *after) {
                    inner.bytes -= data.len();
                }
                tail.last = tail.last.min(*after);
                tail.synced = tail.synced.min(*after);
            }
            LogOp::Purge { range_id, up_to, .. } => {
                let tail = inner.groups.entry(*range_id).or_default();
                while let Some((_, data)) = tail.entries.pop_front_if(|(index, _)| *index <= *up_to) {
                    inner.bytes -= data.len();
                }
                tail.first = tail.first.max(up_to + 1);
                tail.last = tail.last.max(*up_to);
                tail.synced = tail.synced.max(*up_to);
            }
            LogOp::RemoveGroup { range_id } => {
                if let Some(tail) = inner.groups.remove(range_id) {
                    inner.bytes -= tail.entries.iter().map(|(_, data)| data.len()).sum::<usize>();
                }
            }
            LogOp::SaveVote { .. } | LogOp::SaveCommitted { .. } | LogOp::PutMeta { .. } => {}
        }
    }

    /// *tail-until-durable*: entries of these operations may leave the tail from now on.
    pub fn synced<'a>(&self, ops: impl Iterator<Item = &'a LogOp>) {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        for op in ops {
            let LogOp::Append { range_id, entries } = op else { continue };
            let (Some(last), Some(tail)) = (entries.last(), inner.groups.get_mut(range_id)) else { continue };
            tail.synced = tail.synced.max(last.index.min(tail.last));
            let over = inner.bytes > self.budget;
            while over && inner.bytes > self.budget / 2 && tail.entries.len() > KEPT_ENTRIES {
                let synced = tail.synced;
                let Some((_, data)) = tail.entries.pop_front_if(|(index, _)| *index <= synced) else { break };
                inner.bytes -= data.len();
            }
        }
        if inner.bytes > self.budget {
            // Groups that were busy before and are quiet now hold the rest.
            for tail in inner.groups.values_mut() {
                while tail.entries.len() > KEPT_ENTRIES {
                    let synced = tail.synced;
                    let Some((_, data)) = tail.entries.pop_front_if(|(index, _)| *index <= synced) else { break };
                    inner.bytes -= data.len();
                }
            }
        }
    }

    /// Entries from memory; `None` when the first of them is not there.
    pub fn read(&self, range_id: RangeId, from: u64, to: u64, max_bytes: usize) -> Option<Vec<LogEntry>> {
        let inner = self.inner.lock();
        let tail = inner.groups.get(&range_id)?;
        let (head, _) = tail.entries.front()?;
        let skip = usize::try_from(from.checked_sub(*head)?).ok()?;
        let mut bytes = 0;
        let mut entries = Vec::new();
        for (index, data) in tail.entries.iter().skip(skip).take_while(|(index, _)| *index < to) {
            bytes += data.len();
            entries.push(LogEntry { index: *index, data: data.clone() });
            if bytes >= max_bytes {
                break;
            }
        }
        if entries.is_empty() { None } else { Some(entries) }
    }

    pub fn bounds(&self, range_id: RangeId) -> Option<(u64, u64)> {
        let inner = self.inner.lock();
        let tail = inner.groups.get(&range_id)?;
        (tail.first <= tail.last && tail.last > 0).then_some((tail.first, tail.last))
    }
}
