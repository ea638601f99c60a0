//! The writes of a transaction as they are sent: by the range they go to, many of them in one piece of memory.

use std::sync::Arc;

use bytes::Bytes;
use keys::{Key, Span};
use replica::api::{Request, WriteRef, Writes, WritesBuilder};

use super::{Txn, buffer::Write};
use crate::{error::Error, range_cache::CachedRange};

/// About how much of a range's intents goes in one command: what comes behind it in the range's log, and on its way to
/// other nodes, waits for no more.
const PIECE_BYTES: usize = 8 << 20;
/// About what an intent takes in a command beside its value, its key (which is there twice) and its transaction's anchor.
const INTENT_BYTES: usize = 128;

impl Write {
    fn borrow(&self) -> WriteRef<'_> {
        WriteRef { key: self.key.as_bytes(), seq: self.seq, value: self.value.as_deref() }
    }
}

pub(super) enum GroupWrites {
    Few(Vec<Write>),
    Many(Writes),
}

/// The writes of one range, in the order of their keys.
pub(super) struct Group {
    pub range: Arc<CachedRange>,
    writes: GroupWrites,
}

impl Group {
    pub fn empty(range: Arc<CachedRange>) -> Self {
        Self { range, writes: GroupWrites::Few(Vec::new()) }
    }

    pub fn len(&self) -> usize {
        match &self.writes {
            GroupWrites::Few(writes) => writes.len(),
            GroupWrites::Many(writes) => writes.len(),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = WriteRef<'_>> {
        let (few, many) = match &self.writes {
            GroupWrites::Few(writes) => (&writes[..], None),
            GroupWrites::Many(writes) => (&[][..], Some(writes.iter())),
        };
        few.iter().map(Write::borrow).chain(many.into_iter().flatten())
    }

    /// From the first key to the last.
    pub fn span(&self) -> Option<Span> {
        let hull = match &self.writes {
            GroupWrites::Few(writes) => Span::new(writes.first()?.key.clone(), writes.last()?.key.next()),
            GroupWrites::Many(writes) => writes.keys().hull(),
        };
        Some(hull).filter(|hull| !hull.is_empty())
    }

    /// In the same order, each no larger than a command of intents should be.
    pub fn pieces(self, anchor: &Key) -> impl Iterator<Item = Self> + use<> {
        let pieces = pieces(self.writes, anchor.as_bytes().len());
        pieces.into_iter().map(move |writes| Self { range: self.range.clone(), writes })
    }

    /// With room for one more.
    pub fn into_requests(self) -> Vec<Request> {
        match self.writes {
            GroupWrites::Few(writes) => {
                let mut requests = Vec::with_capacity(writes.len() + 1);
                requests.extend(writes.into_iter().map(|Write { key, seq, value }| match value {
                    Some(value) => Request::Put { key, value, seq },
                    None => Request::Delete { key, seq },
                }));
                requests
            }
            GroupWrites::Many(writes) => {
                let mut requests = Vec::with_capacity(2);
                requests.push(Request::WriteMany { writes });
                requests
            }
        }
    }
}

/// Where the writes are cut: the number of each piece.
fn cuts<'a>(all: impl Iterator<Item = WriteRef<'a>>, anchor_bytes: usize) -> Vec<usize> {
    let (mut cuts, mut count, mut bytes) = (Vec::with_capacity(1), 0, 0);
    for write in all {
        bytes += 2 * write.key.len() + write.value.map_or(0, <[u8]>::len) + anchor_bytes + INTENT_BYTES;
        count += 1;
        if bytes >= PIECE_BYTES {
            cuts.push(std::mem::take(&mut count));
            bytes = 0;
        }
    }
    cuts.extend((count > 0).then_some(count));
    cuts
}

fn pieces(all: GroupWrites, anchor_bytes: usize) -> Vec<GroupWrites> {
    match all {
        GroupWrites::Few(writes) => {
            let cuts = cuts(writes.iter().map(Write::borrow), anchor_bytes);
            let mut writes = writes.into_iter();
            cuts.into_iter().map(|count| GroupWrites::Few(writes.by_ref().take(count).collect())).collect()
        }
        GroupWrites::Many(writes) => match cuts(writes.iter(), anchor_bytes)[..] {
            [_] => vec![GroupWrites::Many(writes)],
            ref cuts => {
                let mut rest = writes.iter();
                cuts.iter().map(|count| GroupWrites::Many(rest.by_ref().take(*count).collect())).collect()
            }
        },
    }
}

impl Txn {
    pub(super) async fn group_writes(&self) -> Result<Vec<Group>, Error> {
        self.group_writes_in(None).await
    }

    /// Those of a span; of all, where none is given.
    pub(super) async fn group_writes_in(&self, span: Option<&Span>) -> Result<Vec<Group>, Error> {
        let mut groups: Vec<Group> = Vec::with_capacity(1);
        let is_many = self.buffer.len() >= self.db.0.config.packed_writes_min;
        let mut writes = self.buffer.newest();
        writes.retain(|write| span.is_none_or(|span| span.contains(write.key.as_bytes())));
        // In the order of keys: ranges come one after another.
        let mut rest = &writes[..];
        while let Some(first) = rest.first() {
            let range = self.db.locate(first.key.as_bytes()).await?;
            let (here, behind) = rest.split_at(rest.partition_point(|write| write.key < range.descriptor.end));
            rest = behind;
            let writes = if is_many {
                let key_bytes = here.iter().map(|write| write.key.as_bytes().len()).sum();
                let value_bytes = here.iter().map(|write| write.value.as_ref().map_or(0, Bytes::len)).sum();
                let mut packed = WritesBuilder::with_capacity(here.len(), key_bytes, value_bytes);
                here.iter().for_each(|write| packed.push(write.borrow()));
                GroupWrites::Many(packed.build())
            } else {
                GroupWrites::Few(here.iter().map(|write| Write::clone(write)).collect())
            };
            groups.push(Group { range, writes });
        }
        Ok(groups)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of small rows the transaction's part is most of an intent.
    #[test]
    fn pieces_of_small_writes_fit_into_commands() {
        let few = |count| {
            let write = |at: u32| Write { key: at.to_be_bytes()[..].into(), seq: at, value: None };
            GroupWrites::Few((0..count).map(write).collect())
        };
        let many = |count: u32| {
            let keys: Vec<[u8; 4]> = (0..count).map(u32::to_be_bytes).collect();
            let write = |(key, seq)| WriteRef { key, seq, value: None };
            GroupWrites::Many(keys.iter().map(|key| &key[..]).zip(0..).map(write).collect())
        };
        for (all, none) in [(few(1_000_000), few(0)), (many(1_000_000), many(0))] {
            let pieces = pieces(all, 10);
            let numbers = |piece: &GroupWrites| match piece {
                GroupWrites::Few(writes) => writes.iter().map(|write| write.seq).collect(),
                GroupWrites::Many(writes) => writes.iter().map(|write| write.seq).collect::<Vec<_>>(),
            };
            assert!(pieces.iter().all(|piece| numbers(piece).len() * 110 < 2 * PIECE_BYTES), "{}", pieces.len());
            assert!(pieces.iter().flat_map(numbers).eq(0..1_000_000), "in order, none lost");
            assert!(super::pieces(none, 0).is_empty());
        }
    }
}
