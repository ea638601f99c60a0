//! Where versions were written lately, so that looking for ones that are newer than a reader's snapshot can be left out.
//!
//! A statement over many rows asks, before it locks them and again when it commits, whether any has a newer version. Of
//! most tables none has, and going through hundreds of thousands of keys to find that out costs more than all else. So the
//! last batches are kept in memory: from which key to which each has written, and its latest timestamp.
//!
//! **Invariant (written-is-known):** of each version in RocksDB that is above [`Inner::floor`] there is an entry whose keys
//! reach over its key and whose timestamp is at or above its own. A batch has its entry before RocksDB has the batch. An
//! entry that goes raises the floor to its timestamp.
//!
//! What was there when the store was opened has no entries: until [`Engine::expect_below`] says below which timestamp it lies
//! the floor is above every timestamp, and the answer is always that there may be a version.

use std::collections::VecDeque;

use hlc::Timestamp;
use keys::{Key, Span};
use parking_lot::Mutex;

use crate::engine::Engine;

/// More would take longer to look through than they are worth: a statement that began before so many commands reads.
const BATCHES_MAX: usize = 512;

#[derive(Clone, Debug)]
struct Written {
    first: Key,
    last: Key,
    ts: Timestamp,
}

#[derive(Debug)]
struct Inner {
    batches: VecDeque<Written>,
    floor: Timestamp,
}

#[derive(Debug)]
pub(crate) struct WrittenLately(Mutex<Inner>);

impl Default for WrittenLately {
    fn default() -> Self {
        Self(Mutex::new(Inner { batches: VecDeque::new(), floor: Timestamp::MAX }))
    }
}

/// From which key to which a batch writes, and its latest version.
#[derive(Clone, Copy)]
pub(crate) struct Hull<'b> {
    first: &'b [u8],
    last: &'b [u8],
    ts: Timestamp,
}

impl<'b> Hull<'b> {
    pub fn of(key: &'b [u8], ts: Timestamp) -> Self {
        Self { first: key, last: key, ts }
    }

    pub fn add(&mut self, key: &'b [u8], ts: Timestamp) {
        if key > self.last {
            self.last = key;
        } else if key < self.first {
            self.first = key;
        }
        self.ts = self.ts.max(ts);
    }
}

impl WrittenLately {
    /// Before RocksDB has it.
    pub fn add(&self, hull: Hull<'_>) {
        self.add_keys(hull.first.into(), hull.last.into(), hull.ts);
    }

    /// Before anything of the span is replaced by what has no version above `ts`.
    pub fn add_span(&self, span: &Span, ts: Timestamp) {
        self.add_keys(span.start.clone(), span.end.clone(), ts);
    }

    fn add_keys(&self, first: Key, last: Key, ts: Timestamp) {
        let mut inner = self.0.lock();
        if inner.batches.len() == BATCHES_MAX
            && let Some(gone) = inner.batches.pop_front()
        {
            inner.floor = inner.floor.max(gone.ts);
        }
        inner.batches.push_back(Written { first, last, ts });
    }

    /// Before RocksDB has something of which nothing is known.
    pub fn forget(&self) {
        let mut inner = self.0.lock();
        inner.batches.clear();
        inner.floor = Timestamp::MAX;
    }

    fn expect_below(&self, ts: Timestamp) {
        let mut inner = self.0.lock();
        inner.floor = inner.floor.min(ts);
    }

    /// Whether a key of the span may have a version at `from` or above.
    pub fn may_be_in(&self, span: &Span, from: Timestamp) -> bool {
        let inner = self.0.lock();
        let overlaps = |batch: &Written| batch.last >= span.start && batch.first < span.end;
        inner.floor >= from || inner.batches.iter().any(|batch| batch.ts >= from && overlaps(batch))
    }
}

impl Engine {
    /// Says of what was there when the engine was opened that all of it lies below `ts`. Once, before anything is read.
    pub fn expect_below(&self, ts: Timestamp) {
        self.inner.written.expect_below(ts);
    }

    /// Whether a key of the span may have a version at `from` or above, committed or provisional. In doubt it may.
    #[must_use]
    pub fn may_have_versions_from(&self, span: &Span, from: Timestamp) -> bool {
        self.inner.written.may_be_in(span, from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        name.as_bytes().into()
    }

    fn at(wall: u64) -> Timestamp {
        Timestamp::new(wall, 0)
    }

    /// written-is-known
    #[test]
    fn what_was_written_lately_is_known() {
        let written = WrittenLately::default();
        let span = |start: &str, end: &str| Span::new(key(start), key(end));
        assert!(written.may_be_in(&span("a", "z"), at(100)), "nothing is known of what was there");
        written.expect_below(at(10));
        let mut hull = Hull::of(b"f", at(20));
        for (name, ts) in [("h", 25), ("d", 5)] {
            hull.add(name.as_bytes(), at(ts));
        }
        written.add(hull);
        let cases = [("a", "c", 1, true), ("a", "c", 11, false), ("a", "d", 11, false), ("a", "e", 11, true), ("h", "z", 25, true)];
        for (start, end, from, expected) in cases {
            assert_eq!(written.may_be_in(&span(start, end), at(from)), expected, "{start}..{end} from {from}");
        }
        assert!(!written.may_be_in(&span("a", "z"), at(26)) && !written.may_be_in(&span("h\0", "z"), at(11)));
        for n in 0..BATCHES_MAX as u64 {
            written.add(Hull::of(b"x", at(30 + n)));
        }
        // The first is gone, and anything may have been written when it was.
        assert!(written.may_be_in(&span("a", "b"), at(25)) && !written.may_be_in(&span("a", "b"), at(26)));
        written.add_span(&span("b", "c"), at(2000));
        assert!(written.may_be_in(&span("b", "bb"), at(1999)) && !written.may_be_in(&span("c\0", "d"), at(1999)));
        written.forget();
        assert!(written.may_be_in(&span("m", "n"), at(9999)));
    }
}
