//! Spans whose bytes were removed whatever still reads them, and since when: a read from before is told, as one below
//! the GC threshold is.
//!
//! **Invariants**
//! - *cleared-is-refused*: once a span is cleared at `at`, no read at or below `at` of any key in it is answered, and
//!   no version comes to lie there at or below `at`. An entry goes only when the range's GC threshold is above its
//!   `at`, and then the threshold refuses the same reads.
//! - *same-everywhere*: the list is a function of the commands applied, and goes with the range's state through splits,
//!   snapshots and restarts.
//!
//! Entries that touch become one, under the later time. That refuses more than it must, of spans that are dead: who
//! clears a span answers for it that nothing names it any more above `at`.

use hlc::Timestamp;
use keys::Span;
use serde::{Deserialize, Serialize};

/// How many a range remembers. With more, the oldest goes and the GC threshold rises to it.
const MAX_SPANS: usize = 256;

/// The cleared spans of a range.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cleared {
    /// In order, disjoint, none touches the next.
    spans: Vec<(Span, Timestamp)>,
}

impl Cleared {
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// When something in `span` was last cleared: reads at or below are refused. The least timestamp where nothing was.
    pub fn over(&self, span: &Span) -> Timestamp {
        let first = self.spans.partition_point(|(cleared, _)| cleared.end <= span.start);
        let found = self.spans[first..].iter().take_while(|(cleared, _)| cleared.start < span.end);
        found.map(|(_, at)| *at).max().unwrap_or(Timestamp::MIN)
    }

    /// The same of one key.
    pub fn over_key(&self, key: &[u8]) -> Timestamp {
        let first = self.spans.partition_point(|(cleared, _)| cleared.end.as_bytes() <= key);
        match self.spans.get(first) {
            Some((cleared, at)) if cleared.start.as_bytes() <= key => *at,
            _ => Timestamp::MIN,
        }
    }

    /// Takes a span in. What it answers is where the GC threshold must be at least, for what there was no room for.
    #[must_use]
    pub fn add(&mut self, span: &Span, at: Timestamp) -> Timestamp {
        if span.is_empty() {
            return Timestamp::MIN;
        }
        let from = self.spans.partition_point(|(cleared, _)| cleared.end < span.start);
        let to = self.spans.partition_point(|(cleared, _)| cleared.start <= span.end);
        let mut hull = (span.clone(), at);
        for (cleared, at) in &self.spans[from..to] {
            hull.0 = Span::new(hull.0.start.min(cleared.start.clone()), hull.0.end.max(cleared.end.clone()));
            hull.1 = hull.1.max(*at);
        }
        self.spans.splice(from..to, [hull]);
        if self.spans.len() <= MAX_SPANS {
            return Timestamp::MIN;
        }
        let oldest = (0..self.spans.len()).min_by_key(|&place| self.spans[place].1).expect("there are many");
        self.spans.remove(oldest).1.next()
    }

    /// Takes in what another range has cleared; answers as [`Cleared::add`].
    #[must_use]
    pub fn absorb(&mut self, other: &Self) -> Timestamp {
        let added = other.spans.iter().map(|(span, at)| self.add(span, *at));
        added.max().unwrap_or(Timestamp::MIN)
    }

    /// Whether [`Cleared::forget_below`] would change anything.
    pub fn has_below(&self, threshold: Timestamp) -> bool {
        self.spans.iter().any(|(_, at)| *at < threshold)
    }

    /// The threshold refuses now what these did.
    pub fn forget_below(&mut self, threshold: Timestamp) {
        self.spans.retain(|(_, at)| *at >= threshold);
    }

    /// What lies in `bounds`.
    #[must_use]
    pub fn within(&self, bounds: &Span) -> Self {
        let cut = |(span, at): &(Span, Timestamp)| Some((span.intersect(bounds)?, *at));
        Self { spans: self.spans.iter().filter_map(cut).collect() }
    }
}

#[cfg(test)]
mod tests {
    use keys::Key;

    use super::*;

    fn span(from: u32, to: u32) -> Span {
        Span::new(Key::from(&from.to_be_bytes()[..]), Key::from(&to.to_be_bytes()[..]))
    }

    fn at(ns: u64) -> Timestamp {
        Timestamp::new(ns, 0)
    }

    #[test]
    fn neighbours_become_one_and_the_bound_raises_the_threshold() {
        let mut cleared = Cleared::default();
        assert_eq!(cleared.add(&span(10, 20), at(5)), Timestamp::MIN);
        assert_eq!(cleared.add(&span(20, 30), at(7)), Timestamp::MIN);
        assert_eq!(cleared.spans, [(span(10, 30), at(7))]);
        assert_eq!(cleared.over(&span(0, 10)), Timestamp::MIN);
        assert_eq!(cleared.over(&span(0, 11)), at(7));
        assert_eq!(cleared.over_key(&30_u32.to_be_bytes()), Timestamp::MIN);
        for place in 0..MAX_SPANS as u32 - 1 {
            assert_eq!(
                cleared.add(&span(100 + 2 * place, 101 + 2 * place), at(10 + u64::from(place))),
                Timestamp::MIN
            );
        }
        assert_eq!(cleared.add(&span(9_000, 9_001), at(9_000)), at(7).next(), "the oldest makes room");
        assert_eq!(cleared.spans.len(), MAX_SPANS);
        cleared.forget_below(at(11));
        assert_eq!(cleared.over(&span(100, 101)), Timestamp::MIN);
        assert_eq!(cleared.over(&span(102, 103)), at(11));
    }

    /// Whatever is cleared, cut and forgotten: each key is refused up to its last clear, by its entry or the threshold.
    #[test]
    fn cleared_is_refused_for_random_clears() {
        use rand::{Rng, SeedableRng, rngs::SmallRng};
        const KEYS: u32 = 1_500;
        for seed in 0..30 {
            let mut rng = SmallRng::seed_from_u64(seed);
            let (mut cleared, mut threshold) = (Cleared::default(), Timestamp::MIN);
            let mut model = vec![Timestamp::MIN; KEYS as usize];
            for step in 1..1_000 {
                let from = rng.random_range(0..KEYS);
                let to = (from + rng.random_range(0..3)).min(KEYS);
                let time = at(step + rng.random_range(0..50));
                threshold = threshold.max(cleared.add(&span(from, to), time));
                for key in from..to {
                    model[key as usize] = model[key as usize].max(time);
                }
                if rng.random_bool(0.01) {
                    threshold = threshold.max(at(step.saturating_sub(400)));
                    cleared.forget_below(threshold);
                }
                assert!(cleared.spans.len() <= MAX_SPANS);
                assert!(cleared.spans.is_sorted_by(|a, b| a.0.end < b.0.start), "in order and apart");
            }
            let (left, right) = (cleared.within(&span(0, 700)), cleared.within(&span(700, KEYS)));
            for key in 0..KEYS {
                let half = if key < 700 { &left } else { &right };
                let refused = half.over_key(&key.to_be_bytes());
                assert_eq!(refused, half.over(&span(key, key + 1)));
                assert!(refused.next().max(threshold) > model[key as usize], "seed {seed}, key {key}");
            }
        }
    }
}
