//! *cache-never-lowers*: a cache so small that it forgets all the time still answers at least every read.

use concurrency::{TimestampCache, TimestampCacheConfig};
use keys::Span;
use proptest::prelude::*;

use crate::own_read_no_push::{PastRead, expected, past_read};
use crate::{key, ts};

#[derive(Clone, Debug)]
enum Op {
    Read(PastRead),
    Bump(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![20 => past_read().prop_map(Op::Read), 1 => (0..12u64).prop_map(Op::Bump)]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]
    #[test]
    fn cache_never_lowers(
        ops in prop::collection::vec(op(), 1..60),
        page_bytes_max in 1..1000usize,
        page_count_max in 1..4usize,
    ) {
        let cache = TimestampCache::new(TimestampCacheConfig { page_bytes_max, page_count_max });
        let mut reads = Vec::new();
        let mut before = vec![ts(0); 14];
        for op in ops {
            match op {
                Op::Read(read) => {
                    cache.add_span(&read.span, read.ts, read.txn);
                    reads.push(read);
                }
                Op::Bump(wall) => {
                    cache.bump_low_water(ts(wall));
                    reads.push(PastRead { span: Span::all(), ts: ts(wall), txn: None });
                }
            }
            for (n, before) in before.iter_mut().enumerate() {
                let asked = key(n as u8);
                let (max, owner) = cache.get_max(&asked);
                prop_assert!(max >= *before, "cache-never-lowers: {} fell to {}", asked, max);
                let (due, due_owner) = expected(&reads, &Span::point(asked.clone()));
                prop_assert!(max >= due, "cache-never-lowers: a read of {} at {} is forgotten", asked, due);
                if let Some(owner) = owner {
                    prop_assert_eq!((max, Some(owner)), (due, due_owner), "an owner is never made up");
                }
                *before = max;
            }
            prop_assert!(cache.stats().page_count <= page_count_max);
        }
    }
}

#[test]
fn memory_is_bounded() {
    let config = TimestampCacheConfig { page_bytes_max: 4096, page_count_max: 3 };
    let cache = TimestampCache::new(config);
    for n in 0..10_000u32 {
        cache.add(&n.to_be_bytes().as_slice().into(), ts(u64::from(n) + 1), None);
    }
    let stats = cache.stats();
    assert!(stats.bytes <= 3 * (4096 + 256), "{stats:?}");
    assert!(stats.low_water > ts(9_000), "what was forgotten raised the mark: {stats:?}");
}
