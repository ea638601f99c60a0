//! One file for each invariant of the crate, named for it.

mod cache_never_lowers;
mod fifo_fair;
mod latch_conflicts_ordered;
mod no_lost_wakeup;
mod one_place;
mod own_read_no_push;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use hlc::Timestamp;
use keys::{Key, LockStrength, Span, TxnId, TxnMeta};
use proptest::prelude::{Strategy, prop};

fn key(n: u8) -> Key {
    Key::from(vec![b'a' + n])
}

fn span(start: u8, end: u8) -> Span {
    Span::new(key(start), key(end))
}

fn ts(wall: u64) -> Timestamp {
    Timestamp::new(wall, 0)
}

fn txn_id(n: u8) -> TxnId {
    TxnId::from_random(u128::from(n) << 64)
}

fn txn(n: u8) -> TxnMeta {
    TxnMeta { id: txn_id(n), anchor: key(0), epoch: 0, write_ts: ts(10), min_ts: ts(10), priority: 1 }
}

fn strength() -> impl Strategy<Value = LockStrength> {
    use LockStrength::{Intent, KeyShare, NoKeyUpdate, Share, Update};
    prop::sample::select(vec![KeyShare, Share, NoKeyUpdate, Update, Intent])
}

/// Remembers whether it was woken.
#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Flag {
    /// Whether it was woken since the last call.
    fn take(&self) -> bool {
        self.0.swap(false, Ordering::SeqCst)
    }
}

fn poll<F: Future + Unpin>(future: &mut F, flag: &Arc<Flag>) -> Poll<F::Output> {
    let waker = Waker::from(Arc::clone(flag));
    Pin::new(future).poll(&mut Context::from_waker(&waker))
}
