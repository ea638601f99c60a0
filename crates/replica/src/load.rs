//! How many batches a range serves, and where: what splits by load go by.
//!
//! The problem: a range may be small and still be more than its leaseholder can serve. The idea: while a range serves more
//! than a threshold, a sample is kept of the spans that its batches touch; when it has done so for a while, the range is
//! split at the sampled key that has as many of them on either side as possible, and few across.
//!
//! Each batch is counted, and nothing more is done for it below the threshold. Above, one batch in eight is looked at.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use keys::{Key, Span};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::api::{BatchRequest, Request, hull};

/// Spans that are kept.
const SAMPLES_MAX: usize = 128;
/// With fewer a split key would be a guess.
const SAMPLES_MIN: usize = 32;
/// One batch in so many is looked at; a power of two.
const SAMPLED_ONE_IN: u64 = 8;
/// The rate is taken over at least so long.
const WINDOW: Duration = Duration::from_millis(500);

/// Why a range with much load is not split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsplittable {
    /// Too little was sampled.
    FewSamples,
    /// Nearly all of it is on one key, or beside one end.
    OneKey,
    /// Nearly all of it is on spans that any split would cut.
    WideSpans,
    /// There is no other node that could take a half, and a transaction over two ranges costs more than one within one.
    OneNode,
    /// The other nodes serve about as much.
    Even,
}

impl Unsplittable {
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::FewSamples => "the load was not sampled enough",
            Self::OneKey => "the load is on one key",
            Self::WideSpans => "the load is on spans that a split would cut",
            Self::OneNode => "no other node could take a part of the load",
            Self::Even => "the other nodes serve about as much",
        }
    }
}

/// What the load of a range asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SplitByLoad {
    /// It is below the threshold.
    Calm,
    /// It is above, and not for long enough.
    Watched,
    At(Key),
    Not(Unsplittable),
}

#[derive(Default)]
pub(crate) struct Load {
    per_second: AtomicU64,
    is_sampling: AtomicBool,
    samples: Mutex<Samples>,
    watch: Mutex<Watch>,
}

#[derive(Default)]
struct Watch {
    /// When it was last measured, and how many batches there were.
    measured: Option<(Instant, u64)>,
    hot_since: Option<Instant>,
}

/// A reservoir.
#[derive(Default)]
struct Samples {
    spans: Vec<Span>,
    seen: u64,
}

/// Spreads the numbers of batches: as good as a random draw here, and without state.
fn spread(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 16
}

impl Load {
    /// Notes the batch with this number, in the order of arrival.
    pub fn note(&self, number: u64, request: &BatchRequest) {
        if !self.is_sampling.load(Relaxed) {
            return;
        }
        let drawn = spread(number);
        if !drawn.is_multiple_of(SAMPLED_ONE_IN) {
            return;
        }
        // Another one is being noted: this one is not missed.
        let Some(mut samples) = self.samples.try_lock() else { return };
        let Some(span) = touched(request) else { return };
        samples.seen += 1;
        if samples.spans.len() < SAMPLES_MAX {
            samples.spans.push(span);
            return;
        }
        let place = (drawn / SAMPLED_ONE_IN) % samples.seen;
        if let Some(kept) = usize::try_from(place).ok().and_then(|place| samples.spans.get_mut(place)) {
            *kept = span;
        }
    }

    /// Batches in a second, of late.
    pub fn rate(&self) -> u64 {
        self.per_second.load(Relaxed)
    }

    /// Measures the rate, given how many batches there were so far; says what follows for a range that begins at `start`.
    pub fn look(&self, batches: u64, threshold: u64, after: Duration, start: &Key) -> SplitByLoad {
        let now = Instant::now();
        let mut watch = self.watch.lock();
        match watch.measured {
            Some((at, before)) if now - at >= WINDOW => {
                let rate = batches.saturating_sub(before) as f64 / (now - at).as_secs_f64();
                let before = self.rate();
                // Half of what it was, so that a moment's silence does not end the watch.
                let smooth = if before == 0 { rate } else { (before as f64 + rate) / 2.0 };
                self.per_second.store(smooth as u64, Relaxed);
                watch.measured = Some((now, batches));
            }
            Some(_) => {}
            None => watch.measured = Some((now, batches)),
        }
        if threshold == 0 || self.rate() <= threshold {
            if watch.hot_since.take().is_some() {
                self.is_sampling.store(false, Relaxed);
                *self.samples.lock() = Samples::default();
            }
            return SplitByLoad::Calm;
        }
        match watch.hot_since {
            None => {
                watch.hot_since = Some(now);
                self.is_sampling.store(true, Relaxed);
                SplitByLoad::Watched
            }
            Some(since) if now - since < after => SplitByLoad::Watched,
            Some(_) => {
                watch.hot_since = Some(now);
                let samples = std::mem::take(&mut *self.samples.lock());
                choose(&samples.spans, start).map_or_else(SplitByLoad::Not, SplitByLoad::At)
            }
        }
    }
}

/// The span of all keys that a batch reads or writes; none where it is about transactions or the range itself.
fn touched(request: &BatchRequest) -> Option<Span> {
    let spans = request.requests.iter().filter_map(|item| match item {
        Request::Get { key, .. }
        | Request::Put { key, .. }
        | Request::Delete { key, .. }
        | Request::Increment { key, .. } => Some(Span::point(key.clone())),
        Request::Scan { span, .. }
        | Request::Look { span, .. }
        | Request::LockFirst { span, .. }
        | Request::Refresh { span, .. } => Some(span.clone()),
        Request::GetMany { keys, .. } => Some(hull(keys)),
        Request::LockMany { keys, .. } => Some(keys.hull()).filter(|hull| !hull.is_empty()),
        Request::WriteMany { writes } => match (writes.keys().first(), writes.keys().last()) {
            (Some(first), Some(last)) => Some(Span::new(Key::from(first), Key::from(last).next())),
            _ => None,
        },
        _ => None,
    });
    spans.reduce(|one, other| Span::new(one.start.min(other.start), one.end.max(other.end)))
}

/// The key that leaves as many of the spans on either side as possible, and cuts few.
fn choose(samples: &[Span], start: &Key) -> Result<Key, Unsplittable> {
    if samples.len() < SAMPLES_MIN {
        return Err(Unsplittable::FewSamples);
    }
    let mut candidates: Vec<&Key> = samples.iter().map(|span| &span.start).filter(|key| *key > start).collect();
    candidates.sort();
    candidates.dedup();
    let parts = |at: &Key| {
        let left = samples.iter().filter(|span| span.end <= *at).count();
        let right = samples.iter().filter(|span| span.start >= *at).count();
        (left, right, samples.len() - left - right)
    };
    let cost = |at: &Key| {
        let (left, right, cut) = parts(at);
        left.abs_diff(right) + 2 * cut
    };
    let best = candidates.into_iter().min_by_key(|at| cost(*at)).ok_or(Unsplittable::OneKey)?;
    let (left, right, cut) = parts(best);
    if cut > samples.len() / 4 {
        return Err(Unsplittable::WideSpans);
    }
    // Each side is to have a part worth a range of its own.
    if left.min(right) >= samples.len() / 8 {
        return Ok(best.clone());
    }
    let mut starts: Vec<&Key> = samples.iter().map(|span| &span.start).collect();
    starts.sort();
    let (_, _, cut) = parts(starts[starts.len() / 2]);
    Err(if cut > samples.len() / 4 { Unsplittable::WideSpans } else { Unsplittable::OneKey })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u64) -> Key {
        Key::from(&n.to_be_bytes()[..])
    }

    fn points(keys: impl Iterator<Item = u64>) -> Vec<Span> {
        keys.map(|n| Span::point(key(n))).collect()
    }

    #[test]
    fn a_split_balances_what_was_sampled() {
        let chosen = choose(&points((0..100).map(|n| n * n)), &key(0)).unwrap();
        assert_eq!(chosen, key(50 * 50));
        assert_eq!(choose(&points(0..20), &key(0)), Err(Unsplittable::FewSamples));
        assert_eq!(choose(&points((0..100).map(|_| 7)), &key(0)), Err(Unsplittable::OneKey));
        // Nine of ten are on one key: whatever side it is on has them.
        assert_eq!(choose(&points((0..100).map(|n| if n % 10 == 0 { n } else { 7 })), &key(0)), Err(Unsplittable::OneKey));
        let wide: Vec<Span> = (0..100).map(|n| Span::new(key(n), key(n + 90))).collect();
        assert_eq!(choose(&wide, &key(0)), Err(Unsplittable::WideSpans));
        // At its start a range cannot be split.
        assert_eq!(choose(&points((0..100).map(|n| 5 + n % 2)), &key(5)), Ok(key(6)));
    }

    fn get(n: u64) -> BatchRequest {
        BatchRequest { requests: vec![Request::Get { key: key(n), lock: None }], ..BatchRequest::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn load_is_watched_for_a_while_and_only_above_the_threshold() {
        let (load, after) = (Load::default(), Duration::from_secs(3));
        let mut batches = 0;
        let mut second = async |per_second: u64| {
            for n in 0..per_second {
                load.note(batches, &get(n % 1000));
                batches += 1;
            }
            tokio::time::advance(Duration::from_secs(1)).await;
            load.look(batches, 2500, after, &key(0))
        };
        for _ in 0..5 {
            assert_eq!(second(2000).await, SplitByLoad::Calm);
        }
        assert!(load.samples.lock().spans.is_empty());
        let mut verdicts = Vec::new();
        for _ in 0..6 {
            verdicts.push(second(5000).await);
        }
        let at = verdicts.iter().find_map(|verdict| match verdict {
            SplitByLoad::At(key) => Some(key.clone()),
            _ => None,
        });
        let at = at.unwrap_or_else(|| panic!("{verdicts:?}"));
        assert!(at > key(300) && at < key(700), "{at:?}");
        assert_eq!(verdicts[0], SplitByLoad::Watched);
        for _ in 0..4 {
            second(0).await;
        }
        assert_eq!(second(0).await, SplitByLoad::Calm);
        assert!(!load.is_sampling.load(Relaxed));
    }
}
