//! What a transaction has written and not sent: read back from here, cut back by savepoints, sent at commit.
//!
//! **Invariant (newest-last):** the versions of a key have rising sequence numbers.

use std::collections::BTreeMap;

use bytes::Bytes;
use keys::{Key, Span};
use smallvec::SmallVec;

/// About what a version takes in memory beside its key and its value.
const VERSION_BYTES: usize = 64;
/// About what a write takes in a command beside them.
const COMMAND_BYTES: usize = 32;

/// One write: `None` deletes.
#[derive(Clone, Debug)]
struct Version {
    seq: u32,
    value: Option<Bytes>,
}

impl Version {
    /// About what it holds in memory.
    fn bytes(&self, key: &Key) -> usize {
        key.as_bytes().len() + self.value.as_ref().map_or(0, Bytes::len) + VERSION_BYTES
    }
}

#[derive(Debug, Default)]
pub(super) struct WriteBuffer {
    entries: BTreeMap<Key, SmallVec<[Version; 1]>>,
    bytes: usize,
}

impl WriteBuffer {
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many keys it has.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// About what it holds in memory.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// About what its writes take in a command that commits them; more, where it has several of a key.
    pub fn command_bytes(&self) -> usize {
        self.bytes - self.len() * (VERSION_BYTES - COMMAND_BYTES)
    }

    pub fn write(&mut self, key: Key, seq: u32, value: Option<Bytes>) {
        let version = Version { seq, value };
        self.bytes += version.bytes(&key);
        let versions = self.entries.entry(key).or_default();
        debug_assert!(versions.last().is_none_or(|last| last.seq < seq), "newest-last");
        versions.push(version);
    }

    /// The value as of sequence number `seq`: `None` when the transaction has not written the key by then.
    pub fn read(&self, key: &[u8], seq: u32) -> Option<Option<&Bytes>> {
        visible(self.entries.get(key)?, seq)
    }

    /// Keys of the span written by `seq`, in order.
    pub fn range(&self, span: &Span, seq: u32) -> impl DoubleEndedIterator<Item = (&Key, Option<&Bytes>)> {
        self.entries
            .range::<Key, _>(&span.start..&span.end)
            .filter_map(move |(key, versions)| visible(versions, seq).map(|value| (key, value)))
    }

    /// Whether anything in the span was ever written; cheaper than an empty [`WriteBuffer::range`].
    pub fn touches(&self, span: &Span) -> bool {
        !self.entries.is_empty()
            && self.entries.range::<Key, _>(&span.start..&span.end).next().is_some()
    }

    /// Takes the newest value of every key of the span out, in order.
    pub fn take(&mut self, span: &Span) -> impl Iterator<Item = (Key, Option<Bytes>)> + use<> {
        let mut taken = self.entries.split_off(&span.start);
        let mut behind = taken.split_off(&span.end);
        self.entries.append(&mut behind);
        for (key, versions) in &taken {
            self.bytes -= versions.iter().map(|version| version.bytes(key)).sum::<usize>();
        }
        taken.into_iter().map(|(key, mut versions)| {
            (key, versions.pop().expect("a key is there only with a version").value)
        })
    }

    /// The newest write of every key: its sequence number and its value.
    pub fn newest(&self) -> impl Iterator<Item = (&Key, u32, Option<&Bytes>)> + Clone {
        self.entries.iter().map(|(key, versions)| {
            let newest = versions.last().expect("a key is there only with a version");
            (key, newest.seq, newest.value.as_ref())
        })
    }

    /// Forgets every write of a key.
    pub fn forget(&mut self, key: &Key) {
        for version in self.entries.remove(key).unwrap_or_default() {
            self.bytes -= version.bytes(key);
        }
    }

    /// Forgets every write after `seq`.
    pub fn truncate(&mut self, seq: u32) {
        let mut bytes = 0;
        self.entries.retain(|key, versions| {
            versions.retain(|version| version.seq <= seq);
            for version in versions.iter() {
                bytes += version.bytes(key);
            }
            !versions.is_empty()
        });
        self.bytes = bytes;
    }

    pub fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }
}

fn visible(versions: &[Version], seq: u32) -> Option<Option<&Bytes>> {
    versions.iter().rev().find(|version| version.seq <= seq).map(|version| version.value.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        name.as_bytes().into()
    }

    fn value(text: &str) -> Option<Bytes> {
        Some(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn a_statement_sees_what_earlier_ones_wrote() {
        let mut buffer = WriteBuffer::default();
        buffer.write(key("a"), 1, value("one"));
        buffer.write(key("a"), 2, value("two"));
        buffer.write(key("b"), 2, None);
        assert_eq!(buffer.read(b"a", 1), Some(value("one").as_ref()));
        assert_eq!(buffer.read(b"a", 9), Some(value("two").as_ref()));
        assert_eq!((buffer.read(b"b", 1), buffer.read(b"b", 2)), (None, Some(None)));
    }

    #[test]
    fn truncate_brings_back_what_was_there() {
        let mut buffer = WriteBuffer::default();
        buffer.write(key("a"), 1, value("one"));
        buffer.write(key("a"), 5, value("two"));
        buffer.write(key("c"), 6, value("new"));
        buffer.truncate(4);
        assert_eq!(buffer.read(b"a", 9), Some(value("one").as_ref()));
        assert_eq!(buffer.newest().count(), 1);
        buffer.forget(&key("a"));
        assert_eq!((buffer.is_empty(), buffer.bytes()), (true, 0));
        buffer.write(key("a"), 7, None);
        buffer.truncate(0);
        assert_eq!((buffer.is_empty(), buffer.bytes()), (true, 0));
    }
}
