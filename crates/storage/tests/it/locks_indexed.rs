//! A provisional version must never be taken for a committed one, whatever happens between a reader's look at the
//! locks and its look at the versions.

use std::sync::atomic::{AtomicBool, Ordering};

use keys::Span;
use storage::{Engine, ReadConflict, ReadOptions, ScanLimits};

use crate::support::*;

const ROUNDS: u64 = 4000;

fn write_and_abort(engine: &Engine, done: &AtomicBool) {
    for n in 0..ROUNDS {
        let lock = put_intent(engine, "k", &txn(1, 0), 10 + n, Some("provisional"));
        resolve(engine, "k", &lock, None);
    }
    done.store(true, Ordering::Release);
}

fn check(what: Result<Option<String>, ReadConflict>) {
    match what {
        Ok(value) => assert_eq!(value.as_deref(), Some("committed"), "locks-indexed"),
        Err(ReadConflict::Locked(_)) => {}
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn locks_indexed() {
    let (_dir, engine) = fresh();
    put(&engine, "k", 1, Some("committed"));
    let done = AtomicBool::new(false);
    let now = ReadOptions::at(ts(u64::MAX >> 2));
    std::thread::scope(|threads| {
        threads.spawn(|| write_and_abort(&engine, &done));
        threads.spawn(|| {
            while !done.load(Ordering::Acquire) {
                check(engine.get(b"k", &now).map(|found| found.map(|(value, _)| text(&value))));
            }
        });
        while !done.load(Ordering::Acquire) {
            for reverse in [false, true] {
                let limits = ScanLimits { reverse, ..Default::default() };
                let page = engine.scan(&Span::all(), &now, limits);
                check(page.map(|page| (!page.rows.is_empty()).then(|| text(&page.rows.value_bytes(0)))));
            }
        }
    });
    assert_eq!(engine.metrics().locks, 0);
}
