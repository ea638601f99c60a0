//! The spans a transaction has read or locked: what a refresh must look at, what a commit must release.
//!
//! **Invariant (covers-all):** every span ever added is covered. Spans may be joined into wider ones to bound memory;
//! a wider span makes a refresh fail more often, never succeed wrongly.

use keys::{Key, Span};

/// Past this many spans, neighbours are joined.
const MAX_SPANS: usize = 4096;
/// With more spans than this a transaction record, and the latches of what resolves it, would cost too much.
const MAX_RECORDED: usize = 512;

#[derive(Clone, Debug, Default)]
pub(super) struct SpanSet {
    spans: Vec<Span>,
    /// How many at the front are sorted and disjoint.
    compacted: usize,
}

impl SpanSet {
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    pub fn add(&mut self, span: Span) {
        // The same key read again and again, or a scan that goes on, is the common case.
        if let Some(last) = self.spans.last_mut() {
            if last.contains_span(&span) {
                return;
            }
            if last.end == span.start {
                last.end = span.end;
                return;
            }
        }
        self.spans.push(span);
        if self.spans.len() >= MAX_SPANS && self.spans.len() >= self.compacted * 2 {
            self.compact(MAX_SPANS);
        }
    }

    pub fn add_point(&mut self, key: Key) {
        self.add(Span::point(key));
    }

    pub fn iter(&self) -> impl Iterator<Item = &Span> {
        self.spans.iter()
    }

    pub fn overlaps(&self, span: &Span) -> bool {
        self.spans.iter().any(|known| known.overlaps(span))
    }

    pub fn clear(&mut self) {
        self.spans.clear();
        self.compacted = 0;
    }

    /// The spans as a record keeps them: few enough to be written and latched at a time.
    pub fn into_recorded(mut self) -> Vec<Span> {
        while self.spans.len() > MAX_RECORDED {
            self.compact(MAX_RECORDED);
        }
        self.spans
    }

    /// Sorted, disjoint spans; every second gap goes when there are still `max`.
    fn compact(&mut self, max: usize) {
        self.spans.sort_by(|a, b| a.start.cmp(&b.start));
        let mut joined: Vec<Span> = Vec::with_capacity(self.spans.len());
        for span in self.spans.drain(..) {
            match joined.last_mut() {
                Some(last) if span.start <= last.end => {
                    if span.end > last.end {
                        last.end = span.end;
                    }
                }
                _ => joined.push(span),
            }
        }
        if joined.len() >= max {
            // Every second gap goes: half as many spans, each still near what was read.
            joined = joined
                .chunks(2)
                .map(|pair| Span::new(pair[0].start.clone(), pair[pair.len() - 1].end.clone()))
                .collect();
        }
        self.compacted = joined.len();
        self.spans = joined;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covers_all() {
        let mut set = SpanSet::default();
        let keys: Vec<Key> = (0..20_000_u32).map(|n| Key::from((n * 7919 % 20_011).to_be_bytes().to_vec())).collect();
        for key in &keys {
            set.add_point(key.clone());
        }
        assert!(set.spans.len() < 2 * MAX_SPANS);
        for key in &keys {
            assert!(set.iter().any(|span| span.contains(key.as_bytes())));
        }
    }

    #[test]
    fn a_record_of_many_writes_stays_small() {
        let mut set = SpanSet::default();
        let keys: Vec<Key> = (0..100_000_u32).map(|n| Key::from(n.to_be_bytes().to_vec())).collect();
        for key in &keys {
            set.add_point(key.clone());
        }
        let recorded = set.into_recorded();
        assert!(recorded.len() <= MAX_RECORDED, "{}", recorded.len());
        for key in &keys {
            assert!(recorded.iter().any(|span| span.contains(key.as_bytes())));
        }
    }

    #[test]
    fn a_scan_that_goes_on_is_one_span() {
        let mut set = SpanSet::default();
        set.add(Span::new(b"a".as_slice().into(), b"c".as_slice().into()));
        set.add(Span::new(b"c".as_slice().into(), b"k".as_slice().into()));
        set.add_point(b"d".as_slice().into());
        assert_eq!(set.spans.len(), 1);
    }
}
