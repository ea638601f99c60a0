//! *no-lost-wakeup* with real threads: everybody who waits gets on, also past those who give up half way.
//!
//! A lost wake-up shows as a test that never ends; a broken exclusion as a failed assertion.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use concurrency::{Acquired, LatchManager, LatchSpan, LockRequest, LockTable, WaitOutcome};
use futures::executor::block_on;
use keys::{LockStrength, Span};

use crate::{Flag, key, poll, ts, txn};

const THREAD_COUNT: u8 = 8;
const ROUND_COUNT: u64 = 2_000;

/// A sequence of small numbers from a seed: enough to vary what threads do.
struct Mix(u64);

impl Mix {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Marks a resource as in use by one, and fails if it was already.
fn use_alone(users: &AtomicU64, invariant: &str) {
    assert_eq!(users.fetch_add(1, Ordering::SeqCst), 0, "{invariant}");
    thread::yield_now();
    users.fetch_sub(1, Ordering::SeqCst);
}

#[test]
fn no_lost_wakeup_of_latches() {
    let manager = LatchManager::new();
    let users: Vec<_> = (0..4).map(|_| AtomicU64::new(0)).collect();
    thread::scope(|scope| {
        for n in 0..THREAD_COUNT {
            let (manager, users) = (&manager, &users);
            scope.spawn(move || {
                let mut mix = Mix(u64::from(n) + 1);
                for _ in 0..ROUND_COUNT {
                    let first = mix.below(4) as u8;
                    let span = match mix.below(4) {
                        0 => Span::new(key(0), key(4)),
                        _ => Span::point(key(first)),
                    };
                    let mut place = manager.acquire(vec![LatchSpan::write(span.clone(), ts(1))]);
                    if mix.below(3) == 0 {
                        let flag = Arc::new(Flag::default());
                        drop(poll(&mut place, &flag));
                        continue;
                    }
                    let guard = block_on(place);
                    for k in (0..4).filter(|k| span.contains(key(*k).as_bytes())) {
                        use_alone(&users[usize::from(k)], "latch-conflicts-ordered");
                    }
                    drop(guard);
                }
            });
        }
    });
    assert_eq!(manager.stats(), Default::default());
}

#[test]
fn no_lost_wakeup_of_locks() {
    let table = LockTable::new();
    let users = AtomicU64::new(0);
    thread::scope(|scope| {
        for n in 0..THREAD_COUNT {
            let (table, users) = (&table, &users);
            scope.spawn(move || {
                let mut mix = Mix(u64::from(n) + 1);
                let txn = txn(n + 1);
                for _ in 0..ROUND_COUNT {
                    let strength = LockStrength::Update;
                    while let Acquired::Blocked(_) = table.acquire(&key(0), &txn, strength) {
                        let request = LockRequest {
                            key: &key(0),
                            txn: Some(&txn),
                            strength: Some(strength),
                            read_ts: ts(1),
                        };
                        let mut waiter = table.enqueue(&request);
                        if mix.below(4) == 0 {
                            drop(poll(&mut waiter, &Arc::new(Flag::default())));
                            continue;
                        }
                        while block_on(waiter.next()) != WaitOutcome::Turn {}
                        let acquired = table.acquire(&key(0), &txn, strength);
                        assert_eq!(acquired, Acquired::Acquired, "fifo-fair: a turn was overtaken");
                        break;
                    }
                    use_alone(users, "an exclusive lock has one holder");
                    table.release(&key(0), txn.id);
                }
            });
        }
    });
    assert_eq!(table.stats(), Default::default());
}
