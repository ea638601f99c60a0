//! *own-read-no-push*: with nothing forgotten, the cache answers as a list of all reads would, owners included.

use concurrency::{TimestampCache, TimestampCacheConfig};
use hlc::Timestamp;
use keys::{Span, TxnId};
use proptest::prelude::*;

use crate::{key, span, ts, txn_id};

#[derive(Clone, Debug)]
pub(crate) struct PastRead {
    pub(crate) span: Span,
    pub(crate) ts: Timestamp,
    pub(crate) txn: Option<TxnId>,
}

pub(crate) fn some_span() -> impl Strategy<Value = Span> {
    prop_oneof![
        (0..8u8).prop_map(|k| Span::point(key(k))),
        (0..8u8, 1..6u8).prop_map(|(start, len)| span(start, start + len)),
    ]
}

pub(crate) fn past_read() -> impl Strategy<Value = PastRead> {
    let txn = prop::option::weighted(0.8, (1..4u8).prop_map(txn_id));
    (some_span(), 1..12u64, txn).prop_map(|(span, wall, txn)| PastRead { span, ts: ts(wall), txn })
}

/// What a cache that forgets nothing must answer.
pub(crate) fn expected(reads: &[PastRead], span: &Span) -> (Timestamp, Option<TxnId>) {
    let met: Vec<_> = reads.iter().filter(|read| read.span.overlaps(span)).collect();
    let Some(max) = met.iter().map(|read| read.ts).max() else { return (Timestamp::MIN, None) };
    let mut owners = met.iter().filter(|read| read.ts == max).map(|read| read.txn);
    let first = owners.next().flatten();
    (max, first.filter(|_| owners.all(|owner| owner == first)))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]
    #[test]
    fn own_read_no_push(
        reads in prop::collection::vec(past_read(), 1..40),
        asked in prop::collection::vec(some_span(), 1..10),
        pages_fill_at_once: bool,
    ) {
        // Pages beyond number hold one read each; or all reads go to one.
        let page_bytes_max = if pages_fill_at_once { 1 } else { usize::MAX };
        let cache = TimestampCache::new(TimestampCacheConfig { page_bytes_max, page_count_max: usize::MAX });
        for read in &reads {
            cache.add_span(&read.span, read.ts, read.txn);
        }
        for span in &asked {
            prop_assert_eq!(cache.get_max_span(span), expected(&reads, span), "{}", span);
        }
    }
}

#[test]
fn a_lease_starts_with_everything_read_by_nobody() {
    let cache = TimestampCache::default();
    cache.add(&key(0), ts(5), Some(txn_id(1)));
    assert_eq!(cache.get_max(&key(0)), (ts(5), Some(txn_id(1))));
    cache.bump_low_water(ts(5));
    assert_eq!(cache.get_max(&key(0)), (ts(5), None));
    cache.bump_low_water(ts(3));
    assert_eq!(cache.low_water(), ts(5), "cache-never-lowers");
    assert_eq!(cache.stats().entry_count, 0, "what the mark covers is not kept");
}
