//! The spans a transaction has read or locked: what a refresh must look at, what a commit must release.
//!
//! **Invariant (covers-all):** every span ever added is covered. Spans may be joined into wider ones to bound memory;
//! a wider span makes a refresh fail more often, never succeed wrongly.
//!
//! What lies in the gap between two spans that are joined was not read, and others may write it: so the narrowest gaps
//! go first, and those between two indexes last of all.
//!
//! ```text
//! table 7:  1 2 3     900 901         table 9:  "settings"
//!           [---]     [-----]                   []             and never  [----------------------]
//! ```

use hlc::Timestamp;
use keys::{Key, Span, encoding::take_uvarint, keyspace::TABLE_PREFIX};

/// Past this many spans, neighbours are joined.
const MAX_SPANS: usize = 4096;
/// With more spans than this a transaction record, and the latches of what resolves it, would cost too much.
const MAX_RECORDED: usize = 512;

#[derive(Clone, Debug, Default)]
pub(super) struct SpanSet {
    spans: Vec<Span>,
    /// How many at the front are sorted and disjoint.
    sorted: usize,
    /// How many were left when some were last joined.
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
            self.compact(MAX_SPANS, MAX_SPANS / 2);
        }
    }

    pub fn add_point(&mut self, key: Key) {
        self.add(Span::point(key));
    }

    pub fn iter(&self) -> impl Iterator<Item = &Span> {
        self.spans.iter()
    }

    /// Takes time with how many were added since they were last put in order.
    pub fn overlaps(&self, span: &Span) -> bool {
        let (sorted, rest) = self.spans.split_at(self.sorted);
        let at = sorted.partition_point(|known| known.end <= span.start);
        sorted.get(at).is_some_and(|known| known.overlaps(span)) || rest.iter().any(|known| known.overlaps(span))
    }

    pub fn clear(&mut self) {
        self.spans.clear();
        (self.sorted, self.compacted) = (0, 0);
    }

    /// The spans as a record keeps them: few enough to be written and latched at a time.
    pub fn into_recorded(mut self) -> Vec<Span> {
        if self.spans.len() > MAX_RECORDED {
            self.compact(MAX_RECORDED + 1, MAX_RECORDED);
        }
        self.spans
    }

    /// Sorted, disjoint spans; `keep` of them when there are still `max`.
    fn compact(&mut self, max: usize, keep: usize) {
        self.sort();
        if self.spans.len() >= max {
            self.spans = close_gaps(std::mem::take(&mut self.spans), keep);
            self.sorted = self.spans.len();
        }
        self.compacted = self.spans.len();
    }

    /// Puts them in order, for many questions.
    pub fn sort(&mut self) {
        if self.sorted == self.spans.len() {
            return;
        }
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
        self.sorted = joined.len();
        self.spans = joined;
    }
}

/// Joins neighbours until `keep` spans are left, over the narrowest gaps.
fn close_gaps(spans: Vec<Span>, keep: usize) -> Vec<Span> {
    let closed = spans.len() - keep;
    let width = |(at, pair): (usize, &[Span])| (gap_width(&pair[0].end, &pair[1].start), at);
    let mut gaps: Vec<(f64, usize)> = spans.windows(2).enumerate().map(width).collect();
    gaps.select_nth_unstable_by(closed - 1, |a, b| a.0.total_cmp(&b.0));
    let mut is_closed = vec![false; gaps.len()];
    gaps[..closed].iter().for_each(|(_, at)| is_closed[*at] = true);
    let mut joined: Vec<Span> = Vec::with_capacity(keep);
    for (at, span) in spans.into_iter().enumerate() {
        match joined.last_mut() {
            Some(last) if is_closed[at - 1] => last.end = span.end,
            _ => joined.push(span),
        }
    }
    joined
}

/// How far it is from one key to a later one: the binary logarithm of their distance as fractions of bytes.
fn gap_width(from: &Key, to: &Key) -> f64 {
    let prefix = index_prefix(from.as_bytes());
    let (from, to) = (from.as_bytes(), to.as_bytes());
    let shared = from.iter().zip(to).take_while(|(a, b)| a == b).count();
    if shared < prefix {
        return f64::INFINITY;
    }
    let digits = |key: &[u8]| {
        let mut digits = [0; 8];
        let rest = &key[shared..];
        let count = rest.len().min(8);
        digits[..count].copy_from_slice(&rest[..count]);
        u64::from_be_bytes(digits) as f64
    };
    (digits(to) - digits(from)).max(1.0).log2() - 8.0 * shared as f64
}

/// How many bytes of a key say which index it is of; what is of no table goes by its first byte.
fn index_prefix(key: &[u8]) -> usize {
    match key.split_first() {
        Some((&TABLE_PREFIX, mut rest)) => {
            let _table_and_index = (take_uvarint(&mut rest), take_uvarint(&mut rest));
            key.len() - rest.len()
        }
        first => usize::from(first.is_some()),
    }
}

/// What a transaction depends on having read.
#[derive(Clone, Debug, Default)]
pub(super) struct ReadSet {
    /// All that was there, and that nothing else was.
    pub whole: SpanSet,
    /// Rows that were there, and no more of them than that.
    pub present: SpanSet,
}

/// A span that was read at `from`, to be looked at again later.
#[derive(Clone, Debug)]
pub(super) struct Reread {
    pub span: Span,
    /// Of rows that were there: only whether one has gone counts.
    pub deletions_only: bool,
    pub from: Timestamp,
}

impl ReadSet {
    pub fn rereads(&self, from: Timestamp) -> impl Iterator<Item = Reread> {
        let reread = move |(span, deletions_only): (&Span, bool)| Reread { span: span.clone(), deletions_only, from };
        let whole = self.whole.iter().map(|span| (span, false));
        whole.chain(self.present.iter().map(|span| (span, true))).map(reread)
    }

    pub fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.present.is_empty()
    }

    pub fn len(&self) -> usize {
        self.whole.spans.len() + self.present.spans.len()
    }

    pub fn clear(&mut self) {
        self.whole.clear();
        self.present.clear();
    }

    pub fn add(&mut self, other: Self) {
        other.whole.spans.into_iter().for_each(|span| self.whole.add(span));
        other.present.spans.into_iter().for_each(|span| self.present.add(span));
    }

    pub fn lie_in(&self, span: &Span) -> bool {
        self.whole.iter().chain(self.present.iter()).all(|read| span.contains_span(read))
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
    fn what_overlaps_is_found_in_order_or_not() {
        let key = |n: u32| Key::from(n.to_be_bytes().to_vec());
        let mut set = SpanSet::default();
        for n in (0..900_u32).map(|n| n * 7919 % 900) {
            set.add(Span::new(key(n * 10), key(n * 10 + 5)));
            if n % 100 == 0 {
                set.sort();
            }
        }
        for n in 0..9000 {
            assert_eq!(set.overlaps(&Span::point(key(n))), n % 10 < 5, "{n}");
        }
        assert!(set.overlaps(&Span::new(key(6), key(11))) && !set.overlaps(&Span::new(key(6), key(10))));
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

    /// Every second pair of neighbours was joined, also over whole tables: what others wrote there failed the refresh.
    #[test]
    fn the_narrowest_gaps_are_closed_first_and_those_between_indexes_last() {
        let index_key = |table: u32, n: u32| {
            let prefix = keys::keyspace::index(keys::TableId::new(table), keys::IndexId::new(1));
            Key::from([prefix.as_bytes(), &n.to_be_bytes()].concat())
        };
        let mut set = SpanSet::default();
        // A few of each system table, odd in number; many keys of two tables, in two clusters each.
        (1..30).for_each(|table| set.add_point(index_key(table, 7)));
        for n in 0..15_001_u32 {
            let spread = n * 7919 % 15_001;
            set.add_point(index_key(16_384, spread));
            set.add_point(index_key(16_384, 5_000_000 + spread * 3));
            set.add_point(index_key(16_400, spread * 2));
        }
        assert!(set.spans.len() < 2 * MAX_SPANS);
        let index_of = |key: &Key| key.as_bytes()[..index_prefix(key.as_bytes())].to_vec();
        let widest = set.iter().map(|span| (index_of(&span.start), index_of(&span.end))).find(|(from, to)| from != to);
        assert_eq!(widest, None, "a span reaches from one index to another");
        let between = Span::new(index_key(16_384, 20_000), index_key(16_384, 4_999_999));
        assert!(!set.overlaps(&between), "the gap between two clusters of keys");
        assert!((1..30).all(|table| !set.overlaps(&Span::point(index_key(table, 8)))));
    }

    #[test]
    fn a_gap_is_as_wide_as_what_lies_in_it() {
        let width = |from: &[u8], to: &[u8]| gap_width(&Key::from(from), &Key::from(to));
        assert!(width(&[4, 1, 0xff], &[4, 2, 0]) < width(&[4, 1, 0xff], &[4, 2, 1]), "over a carry");
        assert!(width(&[4, 1, 0], &[4, 1, 9, 9]) < width(&[4, 1, 0], &[4, 2]));
        assert!(width(&[4, 0xff], &[5]).is_infinite());
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
