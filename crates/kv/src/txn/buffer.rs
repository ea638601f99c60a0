//! What a transaction has written and not sent: read back from here, cut back by savepoints, sent at commit.
//!
//! ```text
//! log    all writes in the order of their numbers    │ sealed                     │ tail
//! runs   places in the log, in the order of keys     │ run 0        │ run 1 │ run 2 │
//! ```
//! A statement over many rows only writes: its writes go to the tail, which costs what a list costs, and are sorted once,
//! when they are sent. A read that may see what is in the tail has it sealed first: sorted into a run of its own, and joined
//! with runs that are not much larger, so that there are few of them.
//!
//! **Invariants**
//! - *newest-last*: the numbers of the log rise. Each run is of the writes behind those of the run before it, so of two
//!   versions of a key the one in the later run is newer; within a run they stand in the order of their numbers.
//! - *unsealed-is-seen*: what a read answers does not depend on what is sealed, only how long it takes.

use std::hash::BuildHasher;

use bytes::{Bytes, BytesMut};
use keys::{Key, Span};
use rustc_hash::{FxBuildHasher, FxHashSet};

/// About what a version takes in memory beside its key and its value.
const VERSION_BYTES: usize = 64;
/// About what a write takes in a command beside them.
const COMMAND_BYTES: usize = 32;
/// From so many writes on, values share pieces of memory of this size. A value above an eighth of it has its own.
const SHARED_MIN: usize = 64;
const PIECE_BYTES: usize = 64 << 10;

/// One write: no value deletes.
#[derive(Clone, Debug)]
pub(super) struct Write {
    pub key: Key,
    pub seq: u32,
    pub value: Option<Bytes>,
}

impl Write {
    /// About what it holds in memory.
    fn bytes(&self) -> usize {
        self.key.as_bytes().len() + self.value.as_ref().map_or(0, Bytes::len) + VERSION_BYTES
    }
}

#[derive(Debug, Default)]
pub(super) struct WriteBuffer {
    log: Vec<Write>,
    runs: Vec<Vec<u32>>,
    /// How many of the log are in runs.
    sealed: usize,
    bytes: usize,
    /// Of the keys of the first `hashed` writes, perhaps of others too.
    hashes: FxHashSet<u64>,
    hashed: usize,
    /// Where values are encoded, and the piece of memory that they go to.
    scratch: Vec<u8>,
    piece: BytesMut,
}

impl WriteBuffer {
    pub fn is_empty(&self) -> bool {
        self.log.is_empty()
    }

    /// How many writes it has; of some keys these may be several.
    pub fn len(&self) -> usize {
        self.log.len()
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
        debug_assert!(self.log.last().is_none_or(|last| last.seq < seq), "newest-last");
        let version = Write { key, seq, value };
        self.bytes += version.bytes();
        self.log.push(version);
    }

    /// As [`WriteBuffer::write`], of a value that is encoded here: no allocation for each of many.
    pub fn write_with(&mut self, key: Key, seq: u32, encode: impl FnOnce(&mut Vec<u8>)) {
        self.scratch.clear();
        encode(&mut self.scratch);
        let value = if self.scratch.is_empty() {
            Bytes::new()
        } else if self.log.len() < SHARED_MIN || self.scratch.len() > PIECE_BYTES / 8 {
            Bytes::copy_from_slice(&self.scratch)
        } else {
            if self.piece.capacity() < self.scratch.len() {
                self.piece = BytesMut::with_capacity(PIECE_BYTES);
            }
            self.piece.extend_from_slice(&self.scratch);
            self.piece.split().freeze()
        };
        self.write(key, seq, Some(value));
    }

    /// Before reads up to `seq`: sorts what they may see.
    pub fn seal_for(&mut self, seq: u32) {
        if self.shows_tail(seq) {
            self.seal();
        }
    }

    /// Before many keys are looked for, most of which were never written.
    pub fn note_keys(&mut self) {
        for write in &self.log[self.hashed..] {
            self.hashes.insert(hash_of(&write.key));
        }
        self.hashed = self.log.len();
    }

    /// Whether the key may have been written: far quicker than a read, once its keys were noted.
    pub fn may_have(&self, key: &Key) -> bool {
        self.hashed < self.log.len() || self.hashes.contains(&hash_of(key))
    }

    /// Before all is gone through.
    pub fn seal_all(&mut self) {
        self.seal();
        while self.runs.len() > 1 {
            self.join_last();
        }
    }

    fn seal(&mut self) {
        if self.sealed < self.log.len() {
            self.runs.push(sorted(&self.log, self.sealed));
            self.sealed = self.log.len();
        }
        while let [.., before, last] = &self.runs[..]
            && before.len() < 2 * last.len()
        {
            self.join_last();
        }
    }

    fn join_last(&mut self) {
        if let (Some(last), Some(before)) = (self.runs.pop(), self.runs.pop()) {
            self.runs.push(joined(&self.log, before, &last));
        }
    }

    fn shows_tail(&self, seq: u32) -> bool {
        self.log.get(self.sealed).is_some_and(|first| first.seq <= seq)
    }

    fn at(&self, place: u32) -> &Write {
        &self.log[place as usize]
    }

    /// The value as of sequence number `seq`: `None` when the transaction has not written the key by then.
    pub fn read(&self, key: &Key, seq: u32) -> Option<Option<&Bytes>> {
        if self.log.is_empty() {
            return None;
        }
        if self.shows_tail(seq) {
            let in_tail = self.log[self.sealed..].iter().rev().find(|version| version.seq <= seq && version.key == *key);
            if let Some(version) = in_tail {
                return Some(version.value.as_ref());
            }
        }
        self.runs.iter().rev().find_map(|run| {
            let is_up_to = |place: &u32| {
                let version = self.at(*place);
                version.key.cmp(key).then(version.seq.cmp(&seq)).is_le()
            };
            let version = self.at(*run[..run.partition_point(is_up_to)].last()?);
            (version.key == *key).then_some(version.value.as_ref())
        })
    }

    /// The part of a run that lies in a span.
    fn within<'r>(&self, run: &'r [u32], span: &Span) -> &'r [u32] {
        let below = |bound: &Key| run.partition_point(|place| self.at(*place).key < *bound);
        let start = below(&span.start);
        &run[start..below(&span.end).max(start)]
    }

    /// The newest version by `seq` of each key of a span, or of all, in order.
    fn visible(&self, span: Option<&Span>, seq: u32) -> Vec<&Write> {
        let mut found: Vec<&Write> = Vec::new();
        let mut is_sorted = true;
        for run in &self.runs {
            let places = span.map_or(&run[..], |span| self.within(run, span));
            let before = found.len();
            found.extend(places.iter().map(|place| self.at(*place)).filter(|version| version.seq <= seq));
            is_sorted &= before == 0 || before == found.len();
        }
        if self.shows_tail(seq) {
            let before = found.len();
            let is_in = |version: &&Write| version.seq <= seq && span.is_none_or(|span| span.contains(version.key.as_bytes()));
            found.extend(self.log[self.sealed..].iter().filter(is_in));
            is_sorted &= before == found.len();
        }
        if !is_sorted {
            // Stable: versions of a key stay in the order of their numbers.
            found.sort_by(|a, b| a.key.cmp(&b.key));
        }
        found.dedup_by(|later, earlier| {
            let is_same = later.key == earlier.key;
            if is_same {
                *earlier = *later;
            }
            is_same
        });
        found
    }

    /// Keys of the span written by `seq`, in order.
    pub fn range(&self, span: &Span, seq: u32) -> impl DoubleEndedIterator<Item = (&Key, Option<&Bytes>)> {
        self.visible(Some(span), seq).into_iter().map(|version| (&version.key, version.value.as_ref()))
    }

    /// The newest write of every key, in order.
    pub fn newest(&self) -> Vec<&Write> {
        self.visible(None, u32::MAX)
    }

    /// Whether anything in the span was written by `seq`; cheaper than an empty [`WriteBuffer::range`].
    pub fn shows(&self, span: &Span, seq: u32) -> bool {
        let in_runs = self.runs.iter().any(|run| self.within(run, span).iter().any(|place| self.at(*place).seq <= seq));
        let in_tail = |version: &Write| version.seq <= seq && span.contains(version.key.as_bytes());
        in_runs || self.shows_tail(seq) && self.log[self.sealed..].iter().any(in_tail)
    }

    /// Whether anything in the span was ever written.
    pub fn touches(&self, span: &Span) -> bool {
        self.shows(span, u32::MAX)
    }

    /// Takes the newest value of every key of the span out, in order.
    pub fn take(&mut self, span: &Span) -> Vec<(Key, Option<Bytes>)> {
        self.seal_all();
        let Some(order) = self.runs.pop() else { return Vec::new() };
        let places = self.within(&order, span);
        let mut taken = Vec::with_capacity(places.len());
        let mut is_gone = if places.len() < order.len() { vec![false; self.log.len()] } else { Vec::new() };
        for (at, place) in places.iter().enumerate() {
            let next = places.get(at + 1).map(|next| *next as usize);
            let place = *place as usize;
            let is_newest = next.is_none_or(|next| self.log[next].key != self.log[place].key);
            let version = &mut self.log[place];
            self.bytes -= version.bytes();
            if let Some(gone) = is_gone.get_mut(place) {
                *gone = true;
            }
            if is_newest {
                taken.push((std::mem::take(&mut version.key), version.value.take()));
            }
        }
        let mut gone = is_gone.into_iter();
        self.log.retain(|_| gone.next() == Some(false));
        (self.sealed, self.hashed) = (0, 0);
        self.hashes.clear();
        taken
    }

    /// Forgets every write of a key.
    pub fn forget(&mut self, key: &Key) {
        let (before, mut bytes) = (self.log.len(), 0);
        self.log.retain(|version| {
            let stays = version.key != *key;
            bytes += if stays { 0 } else { version.bytes() };
            stays
        });
        if self.log.len() < before {
            self.bytes -= bytes;
            self.runs.clear();
            (self.sealed, self.hashed) = (0, 0);
        }
    }

    /// Forgets every write after `seq`.
    pub fn truncate(&mut self, seq: u32) {
        let kept = self.log.partition_point(|version| version.seq <= seq);
        self.bytes -= self.log[kept..].iter().map(Write::bytes).sum::<usize>();
        self.log.truncate(kept);
        self.hashed = self.hashed.min(kept);
        while self.sealed > kept
            && let Some(run) = self.runs.last_mut()
        {
            let start = self.sealed - run.len();
            if start >= kept {
                self.runs.pop();
                self.sealed = start;
            } else {
                run.retain(|place| (*place as usize) < kept);
                self.sealed = kept;
            }
        }
    }

    pub fn clear(&mut self) {
        self.log.clear();
        self.runs.clear();
        self.hashes.clear();
        (self.sealed, self.hashed, self.bytes) = (0, 0, 0);
    }
}

fn hash_of(key: &Key) -> u64 {
    FxBuildHasher.hash_one(key.as_bytes())
}

/// The places of what the log has from one on, in the order of keys, of a key in that of the log.
fn sorted(log: &[Write], from: usize) -> Vec<u32> {
    let place = |at: usize| u32::try_from(at).expect("a buffer has far fewer than four billion writes");
    let new = &log[from..];
    if new.is_sorted_by(|a, b| a.key <= b.key) {
        return (place(from)..place(log.len())).collect();
    }
    // Most keys differ in the first bytes behind what all begin with: these are compared as a number, in place.
    let shared = new.iter().skip(1).fold(usize::MAX, |shared, version| {
        let (a, b) = (new[0].key.as_bytes(), version.key.as_bytes());
        a.iter().zip(b).take(shared).take_while(|(a, b)| a == b).count()
    });
    let word = |key: &Key| {
        let mut word = [0; 8];
        let rest = key.as_bytes().get(shared..).unwrap_or_default();
        let len = rest.len().min(8);
        word[..len].copy_from_slice(&rest[..len]);
        u64::from_be_bytes(word)
    };
    let mut order: Vec<(u64, u32)> = (from..log.len()).map(|at| (word(&log[at].key), place(at))).collect();
    let key = |place: u32| &log[place as usize].key;
    order.sort_unstable_by(|(a, of_a), (b, of_b)| a.cmp(b).then_with(|| key(*of_a).cmp(key(*of_b))).then(of_a.cmp(of_b)));
    order.into_iter().map(|(_, place)| place).collect()
}

/// Two runs as one, of which the second is newer.
fn joined(log: &[Write], mut first: Vec<u32>, second: &[u32]) -> Vec<u32> {
    let key = |place: &u32| &log[*place as usize].key;
    let (Some(last), Some(next)) = (first.last(), second.first()) else {
        first.extend_from_slice(second);
        return first;
    };
    if key(last) <= key(next) {
        first.extend_from_slice(second);
        return first;
    }
    let mut all = Vec::with_capacity(first.len() + second.len());
    let (mut old, mut new) = (first.iter().peekable(), second.iter().peekable());
    while let (Some(a), Some(b)) = (old.peek(), new.peek()) {
        // Of a key the older first.
        let next = if key(a) <= key(b) { old.next() } else { new.next() };
        all.extend(next);
    }
    all.extend(old);
    all.extend(new);
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn key(name: &str) -> Key {
        name.as_bytes().into()
    }

    fn value(text: &str) -> Option<Bytes> {
        Some(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn a_statement_sees_what_earlier_ones_wrote() {
        for is_sealed in [false, true] {
            let mut buffer = WriteBuffer::default();
            buffer.write(key("a"), 1, value("one"));
            buffer.write(key("a"), 2, value("two"));
            buffer.write(key("b"), 2 + 1, None);
            if is_sealed {
                buffer.seal_all();
            }
            assert_eq!(buffer.read(&key("a"), 1), Some(value("one").as_ref()));
            assert_eq!(buffer.read(&key("a"), 9), Some(value("two").as_ref()));
            assert_eq!((buffer.read(&key("b"), 2), buffer.read(&key("b"), 3)), (None, Some(None)));
        }
    }

    #[test]
    fn truncate_brings_back_what_was_there() {
        let mut buffer = WriteBuffer::default();
        buffer.write(key("a"), 1, value("one"));
        buffer.write(key("a"), 5, value("two"));
        buffer.write(key("c"), 6, value("new"));
        buffer.truncate(4);
        assert_eq!(buffer.read(&key("a"), 9), Some(value("one").as_ref()));
        assert_eq!(buffer.newest().len(), 1);
        buffer.forget(&key("a"));
        assert_eq!((buffer.is_empty(), buffer.bytes()), (true, 0));
        buffer.write(key("a"), 7, None);
        buffer.truncate(0);
        assert_eq!((buffer.is_empty(), buffer.bytes()), (true, 0));
    }

    /// Of many values, some of which have memory of their own, each is what was encoded.
    #[test]
    fn values_share_memory_and_stay_apart() {
        let mut buffer = WriteBuffer::default();
        let text = |n: u32| vec![n as u8; if n % 97 == 0 { 20_000 } else { n as usize % 300 }];
        for n in 0..2000_u32 {
            buffer.write_with(Key::from(&n.to_be_bytes()[..]), n + 1, |out| out.extend_from_slice(&text(n)));
        }
        let bytes: usize = (0..2000_u32).map(|n| text(n).len() + 4 + VERSION_BYTES).sum();
        assert_eq!(buffer.bytes(), bytes);
        let taken = buffer.take(&Span::all());
        assert!((0..2000_u32).zip(&taken).all(|(n, (_, value))| value.as_deref() == Some(&text(n)[..])));
        assert_eq!((taken.len(), buffer.bytes(), buffer.len()), (2000, 0, 0));
    }

    /// unsealed-is-seen, newest-last: a plain map of versions answers the same, whatever was sealed in between.
    #[test]
    fn it_answers_as_a_map_does() {
        let mut state = 1_u64;
        let mut random = move |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for _ in 0..60 {
            let mut buffer = WriteBuffer::default();
            let mut model: BTreeMap<Key, Vec<(u32, Option<Bytes>)>> = BTreeMap::new();
            let mut seq = 0;
            let any_key = |random: &mut dyn FnMut(u64) -> u64| {
                let long = "a prefix that is longer than what is kept in place ".repeat(random(2) as usize);
                key(&format!("{long}k{}", random(40)))
            };
            for _ in 0..400 {
                match random(20) {
                    0..12 => {
                        seq += 1 + random(2) as u32;
                        let key = any_key(&mut random);
                        let value = (random(4) > 0).then(|| Bytes::from(seq.to_string()));
                        model.entry(key.clone()).or_default().push((seq, value.clone()));
                        buffer.write(key, seq, value);
                    }
                    12 => buffer.seal_for(random(u64::from(seq) + 2) as u32),
                    13 => buffer.seal_all(),
                    17 => buffer.note_keys(),
                    14 => {
                        let to = (u64::from(seq)).saturating_sub(random(6)) as u32;
                        buffer.truncate(to);
                        model.values_mut().for_each(|versions| versions.retain(|(seq, _)| *seq <= to));
                        model.retain(|_, versions| !versions.is_empty());
                    }
                    15 if random(4) == 0 => {
                        let (a, b) = (any_key(&mut random), any_key(&mut random));
                        let span = Span::new(a.clone().min(b.clone()), a.max(b));
                        let taken = buffer.take(&span);
                        let inside: Vec<Key> = model.keys().filter(|key| span.contains(key.as_bytes())).cloned().collect();
                        let expected: Vec<(Key, Option<Bytes>)> = inside
                            .into_iter()
                            .map(|key| {
                                let versions = model.remove(&key).unwrap();
                                (key, versions.last().unwrap().1.clone())
                            })
                            .collect();
                        assert_eq!(taken, expected);
                    }
                    16 if random(4) == 0 => {
                        let key = any_key(&mut random);
                        buffer.forget(&key);
                        model.remove(&key);
                    }
                    _ => {}
                }
                let at = random(u64::from(seq) + 2) as u32;
                let seen = |versions: &Vec<(u32, Option<Bytes>)>| {
                    versions.iter().rev().find(|(seq, _)| *seq <= at).map(|(_, value)| value.clone())
                };
                let wanted = any_key(&mut random);
                assert!(buffer.may_have(&wanted) || !model.contains_key(&wanted));
                assert_eq!(buffer.read(&wanted, at).map(Option::<&Bytes>::cloned), model.get(&wanted).and_then(seen));
                let (a, b) = (any_key(&mut random), any_key(&mut random));
                let span = Span::new(a.clone().min(b.clone()), a.max(b));
                let found: Vec<(Key, Option<Bytes>)> =
                    buffer.range(&span, at).map(|(key, value)| (key.clone(), value.cloned())).collect();
                let in_span = model.iter().filter(|(key, _)| span.contains(key.as_bytes()));
                let expected: Vec<(Key, Option<Bytes>)> =
                    in_span.filter_map(|(key, versions)| Some((key.clone(), seen(versions)?))).collect();
                assert_eq!(found, expected);
                assert_eq!(buffer.shows(&span, at), !found.is_empty());
                let newest: Vec<(Key, u32)> =
                    buffer.newest().into_iter().map(|version| (version.key.clone(), version.seq)).collect();
                let expected: Vec<(Key, u32)> =
                    model.iter().map(|(key, versions)| (key.clone(), versions.last().unwrap().0)).collect();
                assert_eq!(newest, expected);
                let bytes = |(key, versions): (&Key, &Vec<(u32, Option<Bytes>)>)| -> usize {
                    let value = |value: &Option<Bytes>| value.as_ref().map_or(0, Bytes::len);
                    versions.iter().map(|it| key.as_bytes().len() + value(&it.1) + VERSION_BYTES).sum()
                };
                assert_eq!(buffer.bytes(), model.iter().map(bytes).sum::<usize>());
            }
        }
    }
}
