//! *one-place* and *disjoint-bulks*: a table that keeps locks of many keys as lists shows what one shows that has a place
//! for each of them.

use concurrency::{Acquired, LockRequest, LockTable, Waiter};
use keys::{Key, KeyList, LockStrength, Span, TxnMeta};
use proptest::prelude::*;

use crate::{strength, ts, txn, txn_id};

const KEYS: u8 = 250;

fn key(n: u8) -> Key {
    Key::from(&[b'k', n][..])
}

#[derive(Clone, Debug)]
enum Op {
    AcquireAll { txn: u8, strength: LockStrength, start: u8, step: u8, count: u8 },
    Acquire { txn: u8, strength: LockStrength, key: u8 },
    Enqueue { txn: u8, strength: Option<LockStrength>, key: u8 },
    Leave(usize),
    Release { txn: u8, key: u8 },
    Discover { txn: u8, key: u8 },
    IntentRemoved { txn: u8, key: u8 },
    Push { txn: u8, wall: u64 },
    Finish { txn: u8 },
    Split { at: u8 },
    Clear,
}

fn op() -> impl Strategy<Value = Op> {
    let (key, txn) = (0..KEYS, 1..4u8);
    prop_oneof![
        8 => (txn.clone(), strength(), 0..200u8, 1..4u8, prop_oneof![1..8u8, 50..120u8])
            .prop_map(|(txn, strength, start, step, count)| Op::AcquireAll { txn, strength, start, step, count }),
        4 => (txn.clone(), strength(), key.clone()).prop_map(|(txn, strength, key)| Op::Acquire { txn, strength, key }),
        4 => (txn.clone(), prop::option::of(strength()), key.clone())
            .prop_map(|(txn, strength, key)| Op::Enqueue { txn, strength, key }),
        2 => (0..9usize).prop_map(Op::Leave),
        2 => (txn.clone(), key.clone()).prop_map(|(txn, key)| Op::Release { txn, key }),
        1 => (txn.clone(), key.clone()).prop_map(|(txn, key)| Op::Discover { txn, key }),
        1 => (txn.clone(), key.clone()).prop_map(|(txn, key)| Op::IntentRemoved { txn, key }),
        1 => (txn.clone(), 1..20u64).prop_map(|(txn, wall)| Op::Push { txn, wall }),
        2 => txn.prop_map(|txn| Op::Finish { txn }),
        1 => key.prop_map(|at| Op::Split { at }),
        1 => Just(Op::Clear),
    ]
}

/// One lock after the other, until one is not to be had.
fn acquire_each(table: &LockTable, locks: &[(Key, LockStrength)], txn: &TxnMeta) -> Acquired {
    let mut outcomes = locks.iter().map(|(key, strength)| table.acquire(key, txn, *strength));
    outcomes.find(|outcome| *outcome != Acquired::Acquired).unwrap_or(Acquired::Acquired)
}

fn compare(bulk: &LockTable, single: &LockTable, waiters: &[(Waiter, Waiter)]) {
    assert_eq!(bulk.rows(), single.rows());
    for limit in [0, 1, 10, 100, 1000] {
        assert_eq!(bulk.rows_up_to(limit), single.rows_up_to(limit));
    }
    assert_eq!((bulk.stats(), bulk.key_count()), (single.stats(), single.key_count()));
    for (ours, theirs) in waiters {
        assert_eq!((ours.holder(), ours.blockers()), (theirs.holder(), theirs.blockers()));
    }
    let every_third: KeyList = (0..KEYS).step_by(3).map(key).collect();
    let part = Span::new(key(40), key(90));
    for n in 0..4 {
        let meta = (n > 0).then(|| txn(n));
        assert_eq!(bulk.locked_by(txn_id(n), &part), single.locked_by(txn_id(n), &part));
        for strength in [None, Some(LockStrength::KeyShare), Some(LockStrength::NoKeyUpdate), Some(LockStrength::Update)] {
            let check = |table: &LockTable| table.check_span(&part, meta.as_ref(), strength, ts(9));
            assert_eq!(check(bulk), check(single));
            for n in (0..KEYS).step_by(7) {
                let key = key(n);
                let request = LockRequest { key: &key, txn: meta.as_ref(), strength, read_ts: ts(9) };
                assert_eq!(bulk.check(&request), single.check(&request));
            }
        }
        let strength = Some(LockStrength::Intent);
        let mut each = every_third.iter().map(|key| {
            let key = Key::from(key);
            single.check(&LockRequest { key: &key, txn: meta.as_ref(), strength, read_ts: ts(9) })
        });
        let found = bulk.check_keys(&every_third, meta.as_ref());
        assert_eq!(found.is_some(), each.any(|conflicts| !conflicts.is_empty()));
        if let Some(found) = found {
            let request = LockRequest { key: &found.key, txn: meta.as_ref(), strength, read_ts: ts(9) };
            assert!(every_third.contains(found.key.as_bytes()) && single.check(&request).contains(&found));
        }
    }
}

fn check(bulk_min: usize, ops: Vec<Op>) {
    let (bulk, single) = (LockTable::with_bulk_min(bulk_min), LockTable::new());
    let mut waiters: Vec<(Waiter, Waiter)> = Vec::new();
    for op in ops {
        match op {
            Op::AcquireAll { txn: n, strength, start, step, count } => {
                let places = (start..KEYS).step_by(step.into()).take(count.into());
                let locks: Vec<(Key, LockStrength)> = places.map(|n| (key(n), strength)).collect();
                let (ours, theirs) = (bulk.acquire_all(&locks, &txn(n)), acquire_each(&single, &locks, &txn(n)));
                assert_eq!(ours, theirs);
            }
            Op::Acquire { txn: n, strength, key: at } => {
                assert_eq!(bulk.acquire(&key(at), &txn(n), strength), single.acquire(&key(at), &txn(n), strength));
            }
            Op::Enqueue { txn: n, strength, key: at } => {
                let (key, meta) = (key(at), txn(n));
                let request = LockRequest { key: &key, txn: Some(&meta), strength, read_ts: ts(9) };
                waiters.push((bulk.enqueue(&request), single.enqueue(&request)));
            }
            Op::Leave(at) if at < waiters.len() => drop(waiters.remove(at)),
            Op::Leave(_) => {}
            Op::Release { txn: n, key: at } => [&bulk, &single].into_iter().for_each(|table| table.release(&key(at), txn_id(n))),
            Op::Discover { txn: n, key: at } => {
                [&bulk, &single].into_iter().for_each(|table| table.add_discovered(&key(at), &txn(n), ts(5)));
            }
            Op::IntentRemoved { txn: n, key: at } => {
                [&bulk, &single].into_iter().for_each(|table| table.intent_removed(&key(at), txn_id(n)));
            }
            Op::Push { txn: n, wall } => {
                let pushed = TxnMeta { write_ts: ts(wall), ..txn(n) };
                [&bulk, &single].into_iter().for_each(|table| table.update_txn(&pushed));
            }
            Op::Finish { txn: n } => [&bulk, &single].into_iter().for_each(|table| table.txn_finished(txn_id(n))),
            Op::Split { at } => [&bulk, &single].into_iter().for_each(|table| table.split_off(&key(at))),
            Op::Clear => [&bulk, &single].into_iter().for_each(LockTable::clear),
        }
        compare(&bulk, &single, &waiters);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]
    #[test]
    fn one_place(bulk_min in prop::sample::select(vec![2, 64]), ops in prop::collection::vec(op(), 1..25)) {
        check(bulk_min, ops);
    }
}

#[test]
fn a_key_that_somebody_waits_for_leaves_its_bulk() {
    let table = LockTable::new();
    let locks: Vec<(Key, LockStrength)> = (0..100).map(|n| (key(n), LockStrength::Update)).collect();
    assert_eq!(table.acquire_all(&locks, &txn(1)), Acquired::Acquired);
    let (other, wanted) = (txn(2), key(50));
    let request = LockRequest { key: &wanted, txn: Some(&other), strength: Some(LockStrength::Update), read_ts: ts(9) };
    let waiter = table.enqueue(&request);
    assert_eq!(waiter.holder().map(|holder| holder.id), Some(txn_id(1)));
    assert_eq!(table.stats().key_count, 100);
    table.txn_finished(txn_id(1));
    assert_eq!((waiter.holder(), table.stats().key_count), (None, 1));
}

/// A list that reaches into another is refused before anything is looked for in it, and its keys are locked one by one.
#[test]
fn rows_that_are_locked_out_of_their_order_are_locked() {
    let table = LockTable::with_bulk_min(2);
    let locks = |start: u8| -> Vec<(Key, LockStrength)> {
        (start..240).step_by(4).map(|n| (key(n), LockStrength::Update)).collect()
    };
    for start in [2, 0, 3, 1, 0, 2] {
        assert_eq!(table.acquire_all(&locks(start), &txn(1)), Acquired::Acquired);
    }
    assert_eq!(table.stats().key_count, 240);
    let first: Vec<Key> = table.rows_up_to(100).into_iter().map(|row| row.key).collect();
    assert!(first.into_iter().eq((0..100).map(key)), "of lists and of single keys, in order");
    // Somebody else is refused by either kind.
    for start in [1, 2] {
        assert!(matches!(table.acquire_all(&locks(start), &txn(2)), Acquired::Blocked(_)));
        let wanted: KeyList = locks(start).iter().map(|(key, _)| key).collect();
        let conflict = table.check_keys(&wanted, Some(&txn(2))).expect("all of them are locked");
        assert_eq!((conflict.key, conflict.holder.id), (key(start), txn_id(1)));
    }
    table.txn_finished(txn_id(1));
    assert_eq!(table.key_count(), 0);
}
