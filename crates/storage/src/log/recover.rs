//! What is in the log when it is opened: *start-reads-ends*.

use ::keys::RangeId;
use bytes::Bytes;
use rocksdb::{DB, Direction, IteratorMode, Range, ReadOptions};
use rustc_hash::FxHashMap;

use super::{
    GroupLog,
    keys::{self, Stored},
};
use crate::StorageError;

pub(super) struct Found {
    pub groups: Vec<GroupLog>,
    pub metas: Vec<(Bytes, Bytes)>,
}

#[derive(Default)]
struct Groups {
    groups: Vec<GroupLog>,
    positions: FxHashMap<RangeId, usize>,
}

impl Groups {
    fn of(&mut self, range_id: RangeId) -> &mut GroupLog {
        let at = *self.positions.entry(range_id).or_insert_with(|| {
            self.groups.push(GroupLog::empty(range_id));
            self.groups.len() - 1
        });
        &mut self.groups[at]
    }
}

fn damaged(what: &str) -> StorageError {
    StorageError::corruption(format!("log: {what}"))
}

pub(super) fn recover(db: &DB) -> Result<Found, StorageError> {
    let mut groups = Groups::default();
    let mut metas = Vec::new();
    // All but the entries: a few small records of each group.
    let mut below = ReadOptions::default();
    below.set_iterate_upper_bound(keys::ENTRIES.to_vec());
    let after = IteratorMode::From(keys::AFTER_ENTRIES, Direction::Forward);
    for item in db.iterator_opt(IteratorMode::Start, below).chain(db.iterator(after)) {
        let (key, value) = item?;
        match keys::parse(&key) {
            Some(Stored::Vote(range_id)) => groups.of(range_id).vote = Some(Bytes::from(value)),
            Some(Stored::Committed(range_id)) => groups.of(range_id).committed = Some(Bytes::from(value)),
            Some(Stored::Purged(range_id)) => {
                let group = groups.of(range_id);
                let index = value.first_chunk().ok_or_else(|| damaged("a purge mark is short"))?;
                group.purged_index = u64::from_be_bytes(*index);
                group.purged = Some(Bytes::copy_from_slice(&value[8..]));
            }
            Some(Stored::Meta(key)) => metas.push((Bytes::copy_from_slice(key), Bytes::from(value))),
            Some(Stored::Entry(..)) | None => return Err(damaged("an unknown key")),
        }
    }
    find_ends(db, &mut groups)?;
    let mut groups = groups.groups;
    for group in &mut groups {
        if group.first > group.last {
            group.first = group.purged_index + 1;
            group.last = group.purged_index;
        }
    }
    Ok(Found { groups, metas })
}

/// Two seeks for each group that has entries.
fn find_ends(db: &DB, groups: &mut Groups) -> Result<(), StorageError> {
    let mut options = ReadOptions::default();
    options.set_iterate_lower_bound(keys::ENTRIES.to_vec());
    options.set_iterate_upper_bound(keys::AFTER_ENTRIES.to_vec());
    let mut iter = db.raw_iterator_opt(options);
    let mut next = Some(RangeId::new(0));
    while let Some(from) = next {
        iter.seek(keys::entry(from, 0));
        let Some(key) = iter.key() else { break };
        let Some(Stored::Entry(range_id, first)) = keys::parse(key) else {
            return Err(damaged("an unknown key"));
        };
        iter.seek_for_prev(keys::entry(range_id, u64::MAX));
        let (Some(key), Some(entry)) = (iter.key(), iter.value()) else {
            return Err(damaged("an entry is gone"));
        };
        let last = match keys::parse(key) {
            Some(Stored::Entry(of, last)) if of == range_id => last,
            _ => return Err(damaged("an unknown key")),
        };
        let group = groups.of(range_id);
        (group.first, group.last, group.last_entry) = (first, last, Some(Bytes::copy_from_slice(entry)));
        next = range_id.get().checked_add(1).map(RangeId::new);
    }
    iter.status()?;
    Ok(())
}

/// About how much each group's entries take on disk.
pub(super) fn sizes(db: &DB, groups: &[GroupLog]) -> Vec<u64> {
    let bounds: Vec<_> = groups
        .iter()
        .map(|group| (keys::entry(group.range_id, group.first), keys::entry(group.range_id, u64::MAX)))
        .collect();
    let ranges: Vec<Range<'_>> = bounds.iter().map(|(start, end)| Range::new(start, end)).collect();
    if ranges.is_empty() { Vec::new() } else { db.get_approximate_sizes(&ranges) }
}
