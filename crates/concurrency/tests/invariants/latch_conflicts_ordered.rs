//! *latch-conflicts-ordered*, against a model that is a list of requests in order of arrival.

use std::sync::Arc;
use std::task::Poll;

use concurrency::{Access, Acquire, LatchGuard, LatchManager, LatchSpan};
use keys::{Key, KeyList, Span};
use proptest::prelude::*;

use crate::{Flag, key, poll, span, ts};

#[derive(Clone, Debug)]
enum Op {
    Request(Vec<LatchSpan>),
    /// The n-th request that is still there, granted or not, goes away.
    Drop(usize),
    Try(Vec<LatchSpan>),
}

fn latch_span() -> impl Strategy<Value = LatchSpan> {
    let spans = prop_oneof![
        3 => (0..6u8).prop_map(|k| Span::point(key(k))),
        1 => (0..6u8, 1..4u8).prop_map(|(start, len)| span(start, start + len)),
    ];
    let spans = (spans, any::<bool>(), 0..4u64).prop_map(|(span, is_write, wall)| {
        if is_write { LatchSpan::write(span, ts(wall)) } else { LatchSpan::read(span, ts(wall)) }
    });
    let lists = (prop::collection::btree_set(0..8u8, 0..5), 0..4u64).prop_map(|(keys, wall)| {
        LatchSpan::write_keys(keys.into_iter().map(key).collect(), ts(wall))
    });
    prop_oneof![4 => spans, 1 => lists]
}

/// Whether it is of the key.
fn has(latch: &LatchSpan, key: &Key) -> bool {
    latch.span.contains(key.as_bytes())
        && latch.only.as_ref().is_none_or(|only: &KeyList| only.iter().any(|it| it == key.as_bytes()))
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => prop::collection::vec(latch_span(), 1..4).prop_map(Op::Request),
        2 => (0..20usize).prop_map(Op::Drop),
        1 => prop::collection::vec(latch_span(), 1..3).prop_map(Op::Try),
    ]
}

fn conflict(a: &[LatchSpan], b: &[LatchSpan]) -> bool {
    a.iter().any(|x| {
        b.iter().any(|y| {
            (0..12).map(key).any(|key| has(x, &key) && has(y, &key))
                && match (x.access, y.access) {
                    (Access::Read, Access::Read) => false,
                    (Access::Write, Access::Write) => true,
                    (Access::Write, Access::Read) => x.ts <= y.ts,
                    (Access::Read, Access::Write) => y.ts <= x.ts,
                }
        })
    })
}

struct Request {
    spans: Vec<LatchSpan>,
    place: Place,
    flag: Arc<Flag>,
}

enum Place {
    Waiting(Acquire),
    Held(#[expect(dead_code, reason = "held for its drop")] LatchGuard),
}

fn check(ops: Vec<Op>) {
    let manager = LatchManager::new();
    let mut requests: Vec<Request> = Vec::new();
    for op in ops {
        match op {
            Op::Request(spans) => {
                let place = Place::Waiting(manager.acquire(spans.clone()));
                let flag = Arc::new(Flag::default());
                flag.clone().0.store(true, std::sync::atomic::Ordering::SeqCst);
                requests.push(Request { spans, place, flag });
            }
            Op::Drop(n) if !requests.is_empty() => drop(requests.remove(n % requests.len())),
            Op::Drop(_) => {}
            Op::Try(spans) => {
                let is_free = !requests.iter().any(|request| conflict(&request.spans, &spans));
                assert_eq!(manager.try_acquire(spans).is_ok(), is_free, "try_acquire overtook or gave up");
            }
        }
        for n in 0..requests.len() {
            let (earlier, rest) = requests.split_at_mut(n);
            let request = &mut rest[0];
            let is_free = !earlier.iter().any(|e| conflict(&e.spans, &request.spans));
            let Place::Waiting(acquire) = &mut request.place else {
                assert!(is_free, "latch-conflicts-ordered: granted beside an earlier conflicting request");
                continue;
            };
            let is_woken = request.flag.take();
            match poll(acquire, &request.flag) {
                Poll::Ready(guard) => {
                    assert!(
                        is_free,
                        "latch-conflicts-ordered: granted before an earlier conflicting request"
                    );
                    assert!(is_woken, "no-lost-wakeup: granted, but its task was not woken");
                    request.place = Place::Held(guard);
                }
                Poll::Pending => assert!(!is_free, "no-lost-wakeup: nothing is left ahead of it"),
            }
        }
        let waiting_count = requests.iter().filter(|r| matches!(r.place, Place::Waiting(_))).count();
        assert_eq!(manager.stats().waiting_count, waiting_count);
        assert_eq!(manager.stats().held_count, requests.len() - waiting_count);
    }
    drop(requests);
    let everything = [LatchSpan::write_unversioned(Span::all())];
    assert!(manager.try_acquire(everything.to_vec()).is_ok(), "something was left behind");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]
    #[test]
    fn latch_conflicts_ordered(ops in prop::collection::vec(op(), 1..40)) {
        check(ops);
    }
}

#[test]
fn who_gives_up_in_the_middle_frees_nobody_too_early() {
    let manager = LatchManager::new();
    let write = || vec![LatchSpan::write(Span::point(key(0)), ts(1))];
    let first = manager.try_acquire(write()).expect("nothing is held");
    let second = manager.acquire(write());
    let third = manager.acquire(write());
    drop(second);
    let third = third.now().expect_err("latch-conflicts-ordered: the first is still there");
    drop(first);
    assert!(third.now().is_ok());
}

#[test]
fn a_request_does_not_wait_for_itself() {
    let manager = LatchManager::new();
    let spans = vec![LatchSpan::write(Span::point(key(0)), ts(1)), LatchSpan::write(span(0, 3), ts(1))];
    assert!(manager.acquire(spans.clone()).now().is_ok());
    assert!(manager.try_acquire(spans).is_ok(), "all of it was released");
}

#[test]
fn a_list_of_keys_is_shown_with_their_number() {
    let manager = LatchManager::new();
    let keys: KeyList = [0, 2, 5].into_iter().map(key).collect();
    let hull = keys.hull();
    let spans = vec![LatchSpan::write_keys(keys, ts(1)), LatchSpan::read(span(6, 8), ts(1))];
    let _held = manager.try_acquire(spans).expect("nothing is held");
    let shown: Vec<_> = manager.rows().into_iter().map(|row| (row.span, row.keys)).collect();
    assert_eq!(shown, [(hull, Some(3)), (span(6, 8), None)]);
}
