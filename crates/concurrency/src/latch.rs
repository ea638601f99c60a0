//! The problem: two commands on the same keys, evaluated at once, would each miss what the other is about to write.
//!
//! The idea: a command declares its spans before it is evaluated and holds latches on them until its effect is
//! applied. Every request gets a sequence number and a place in the index at once, whether or not it must wait; it
//! waits exactly for the conflicting requests of lower number that are still there.
//!
//! ```text
//! seq   1: write a     2: read a..c     3: write b     4: read z
//!       granted        waits for 1      waits for 2    granted
//! ```
//!
//! Access is a matter of time too: a read at `r` and a write at `w` conflict only if `w <= r`, for a read does not see
//! later versions. Data without versions is latched for writing at [`Timestamp::MIN`] and for reading at
//! [`Timestamp::MAX`], which always conflict.
//!
//! A command over many keys names them as one list, which is kept as it is and searched: a place in the index for each of
//! them would cost more than what the command does.
//!
//! **Invariants**
//! - *latch-conflicts-ordered*: a request is granted only when no conflicting request of lower number is left. Edges
//!   point from higher to lower numbers, so there is no circle. A request counts every conflicting predecessor, not
//!   just the nearest, so one that gives up in the middle of a queue frees nobody too early.
//! - *no-lost-wakeup*: the grant and the waker of a waiting request are read and written under the same mutex.
//!
//! Deliberately left out: upgrades, timeouts and reentrance. A command names all its spans in one request.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use hlc::Timestamp;
use keys::{Key, KeyList, Span};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::point_of;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
}

/// One declared access of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatchSpan {
    pub span: Span,
    /// Of the span only these keys, of which it is the hull.
    pub only: Option<KeyList>,
    pub access: Access,
    pub ts: Timestamp,
}

impl LatchSpan {
    #[must_use]
    pub fn read(span: Span, ts: Timestamp) -> Self {
        Self { span, only: None, access: Access::Read, ts }
    }

    #[must_use]
    pub fn write(span: Span, ts: Timestamp) -> Self {
        Self { span, only: None, access: Access::Write, ts }
    }

    /// Many keys at once: what lies between them is not latched.
    #[must_use]
    pub fn write_keys(keys: KeyList, ts: Timestamp) -> Self {
        Self { span: keys.hull(), only: Some(keys), access: Access::Write, ts }
    }

    /// A read of data without versions: conflicts with every write.
    #[must_use]
    pub fn read_unversioned(span: Span) -> Self {
        Self::read(span, Timestamp::MAX)
    }

    /// A write of data without versions: conflicts with every read and write.
    #[must_use]
    pub fn write_unversioned(span: Span) -> Self {
        Self::write(span, Timestamp::MIN)
    }

    /// The key, if the span is of one alone.
    fn point(&self) -> Option<&Key> {
        if self.only.is_some() { None } else { point_of(&self.span) }
    }

    /// Whether some key is in both.
    fn meets(&self, span: &Span, only: Option<&KeyList>) -> bool {
        self.span.overlaps(span)
            && match (&self.only, only) {
                (None, None) => true,
                (Some(keys), None) => !keys.places_in(span).is_empty(),
                (None, Some(keys)) => !keys.places_in(&self.span).is_empty(),
                (Some(keys), Some(others)) => keys.intersects(others),
            }
    }
}

/// The declared accesses of one command; two fit without an allocation.
pub type LatchSpans = SmallVec<[LatchSpan; 2]>;

/// Latches of one range. Clones share them.
#[derive(Clone, Default)]
pub struct LatchManager {
    shared: Arc<Mutex<Latches>>,
}

/// One request's span, for an administrator to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatchRow {
    /// The same for all spans of a request; lower is earlier.
    pub seq: u64,
    pub span: Span,
    /// Only so many keys of the span are latched; all of it where there is no number.
    pub keys: Option<usize>,
    pub access: Access,
    /// The earlier requests it still waits for; none when it is granted.
    pub behind: Vec<u64>,
}

/// How many requests hold latches, and how many wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LatchStats {
    pub held_count: usize,
    pub waiting_count: usize,
}

impl LatchManager {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The latches, if nothing conflicts now; else the spans come back and no place is taken.
    #[expect(clippy::result_large_err, reason = "what was given comes back as it was, without an allocation")]
    pub fn try_acquire(&self, spans: impl Into<LatchSpans>) -> Result<LatchGuard, LatchSpans> {
        let spans = spans.into();
        let mut latches = self.shared.lock();
        if !latches.conflicts(&spans).is_empty() {
            return Err(spans);
        }
        let seq = latches.insert(&spans);
        drop(latches);
        Ok(LatchGuard { shared: Arc::clone(&self.shared), seq, spans })
    }

    /// Takes a place in the order of arrival. Ready at the first poll when nothing conflicts.
    ///
    /// The place is taken by this call and not by the first poll; dropping the future gives it up.
    pub fn acquire(&self, spans: impl Into<LatchSpans>) -> Acquire {
        let spans = spans.into();
        let mut latches = self.shared.lock();
        let blockers = latches.conflicts(&spans);
        let seq = latches.insert(&spans);
        let waits = !blockers.is_empty();
        if waits {
            latches.wait(seq, blockers);
        }
        drop(latches);
        Acquire { guard: Some(LatchGuard { shared: Arc::clone(&self.shared), seq, spans }), waits }
    }

    #[must_use]
    pub fn stats(&self) -> LatchStats {
        let latches = self.shared.lock();
        let waiting_count = latches.waiting.len();
        LatchStats { held_count: latches.request_count - waiting_count, waiting_count }
    }

    /// Every span that is latched or waited for, in order of arrival.
    #[must_use]
    pub fn rows(&self) -> Vec<LatchRow> {
        let latches = self.shared.lock();
        let points = latches.points.iter();
        let points = points.flat_map(|(key, held)| held.iter().map(|latch| (Span::point(key.clone()), None, *latch)));
        let mut rows: Vec<LatchRow> = points
            .chain(latches.ranges.iter().map(|held| {
                (held.span.clone(), held.only.as_ref().map(KeyList::len), held.latch)
            }))
            .map(|(span, keys, latch)| LatchRow {
                seq: latch.seq,
                span,
                keys,
                access: latch.access,
                behind: latches.waiting.get(&latch.seq).map_or_else(Vec::new, |wait| wait.blockers.to_vec()),
            })
            .collect();
        rows.sort_by_key(|row| row.seq);
        rows
    }
}

/// A place among the latch requests; resolves to the guard.
#[must_use = "dropping it gives the place up"]
pub struct Acquire {
    guard: Option<LatchGuard>,
    waits: bool,
}

impl Acquire {
    /// The guard if it is granted already, else the place in the queue unchanged.
    #[expect(clippy::result_large_err, reason = "what was given comes back as it was, without an allocation")]
    pub fn now(mut self) -> Result<LatchGuard, Self> {
        if self.waits && !self.guard().is_granted(None) {
            return Err(self);
        }
        Ok(self.guard.take().expect("a request is taken once"))
    }

    fn guard(&self) -> &LatchGuard {
        self.guard.as_ref().expect("polled after it was ready")
    }
}

impl Future for Acquire {
    type Output = LatchGuard;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<LatchGuard> {
        if self.waits {
            if !self.guard().is_granted(Some(cx.waker())) {
                return Poll::Pending;
            }
            self.waits = false;
        }
        Poll::Ready(self.guard.take().expect("polled after it was ready"))
    }
}

/// Held latches. Dropping it releases them and wakes whoever waited for nothing else.
#[must_use = "latches are released when it is dropped"]
pub struct LatchGuard {
    shared: Arc<Mutex<Latches>>,
    seq: u64,
    spans: LatchSpans,
}

impl LatchGuard {
    #[must_use]
    pub fn spans(&self) -> &[LatchSpan] {
        &self.spans
    }

    /// Whether the wait is over; if not, `waker` is woken when it is.
    fn is_granted(&self, waker: Option<&Waker>) -> bool {
        let mut latches = self.shared.lock();
        let Some(wait) = latches.waiting.get_mut(&self.seq) else { return true };
        if let Some(waker) = waker
            && !wait.waker.as_ref().is_some_and(|known| known.will_wake(waker))
        {
            wait.waker = Some(waker.clone());
        }
        false
    }
}

impl Drop for LatchGuard {
    fn drop(&mut self) {
        let woken = self.shared.lock().remove(self.seq, &self.spans);
        // Outside the mutex: a waker may run anything.
        for waker in woken {
            waker.wake();
        }
    }
}

impl fmt::Debug for LatchGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LatchGuard").field("seq", &self.seq).field("spans", &self.spans).finish()
    }
}

/// All requests of a range, granted and waiting.
#[derive(Default)]
struct Latches {
    next_seq: u64,
    request_count: usize,
    /// Spans of a single key, by that key.
    points: BTreeMap<Key, SmallVec<[Latch; 1]>>,
    /// All other spans, and lists of keys: few at any time.
    ranges: Vec<RangeLatch>,
    waiting: FxHashMap<u64, Wait>,
    /// Who waits for a request, by its number. Only contended requests have an entry.
    dependents: FxHashMap<u64, Vec<u64>>,
}

#[derive(Clone, Copy)]
struct Latch {
    seq: u64,
    access: Access,
    ts: Timestamp,
}

struct RangeLatch {
    span: Span,
    only: Option<KeyList>,
    latch: Latch,
}

struct Wait {
    blockers: Blockers,
    waker: Option<Waker>,
}

type Blockers = SmallVec<[u64; 4]>;

impl Latch {
    fn conflicts(&self, other: &LatchSpan) -> bool {
        match (self.access, other.access) {
            (Access::Read, Access::Read) => false,
            (Access::Write, Access::Write) => true,
            (Access::Write, Access::Read) => self.ts <= other.ts,
            (Access::Read, Access::Write) => other.ts <= self.ts,
        }
    }
}

impl Latches {
    /// The numbers of all requests that conflict with `spans`.
    fn conflicts(&self, spans: &[LatchSpan]) -> Blockers {
        let mut blockers = Blockers::new();
        for wanted in spans {
            if let Some(key) = wanted.point() {
                if let Some(latches) = self.points.get(key) {
                    blockers.extend(latches.iter().filter(|l| l.conflicts(wanted)).map(|l| l.seq));
                }
            } else if !wanted.span.is_empty() {
                let held = self.points.range::<Key, _>(&wanted.span.start..&wanted.span.end);
                let held = held.filter(|(key, _)| wanted.only.as_ref().is_none_or(|only| only.contains(key.as_bytes())));
                let held = held.flat_map(|(_, latches)| latches.iter());
                blockers.extend(held.filter(|l| l.conflicts(wanted)).map(|l| l.seq));
            }
            let held = self.ranges.iter().filter(|held| held.latch.conflicts(wanted));
            blockers.extend(held.filter(|held| wanted.meets(&held.span, held.only.as_ref())).map(|held| held.latch.seq));
        }
        blockers.sort_unstable();
        blockers.dedup();
        blockers
    }

    fn insert(&mut self, spans: &[LatchSpan]) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        self.request_count += 1;
        for wanted in spans {
            let latch = Latch { seq, access: wanted.access, ts: wanted.ts };
            match wanted.point() {
                Some(key) => self.points.entry(key.clone()).or_default().push(latch),
                None if wanted.span.is_empty() => {}
                None => self.ranges.push(RangeLatch { span: wanted.span.clone(), only: wanted.only.clone(), latch }),
            }
        }
        seq
    }

    fn wait(&mut self, seq: u64, blockers: Blockers) {
        for &blocker in &blockers {
            assert!(blocker < seq, "latch-conflicts-ordered: a request waits for an earlier one");
            self.dependents.entry(blocker).or_default().push(seq);
        }
        self.waiting.insert(seq, Wait { blockers, waker: None });
    }

    /// Takes a request out, granted or not, and returns the wakers of those it alone held up.
    fn remove(&mut self, seq: u64, spans: &[LatchSpan]) -> SmallVec<[Waker; 4]> {
        self.request_count -= 1;
        let mut has_ranges = false;
        for wanted in spans {
            let Some(key) = wanted.point() else {
                has_ranges = true;
                continue;
            };
            // A request may name a key twice; the first round removes both.
            let Some(latches) = self.points.get_mut(key) else { continue };
            latches.retain(|l| l.seq != seq);
            if latches.is_empty() {
                self.points.remove(key);
            }
        }
        if has_ranges {
            self.ranges.retain(|held| held.latch.seq != seq);
        }
        if let Some(wait) = self.waiting.remove(&seq) {
            self.forget_dependent(seq, &wait.blockers);
        }
        self.grant_dependents(seq)
    }

    /// A request that gave up no longer needs to be told.
    fn forget_dependent(&mut self, seq: u64, blockers: &[u64]) {
        for blocker in blockers {
            if let Some(dependents) = self.dependents.get_mut(blocker) {
                dependents.retain(|dependent| *dependent != seq);
                if dependents.is_empty() {
                    self.dependents.remove(blocker);
                }
            }
        }
    }

    fn grant_dependents(&mut self, seq: u64) -> SmallVec<[Waker; 4]> {
        let mut woken = SmallVec::new();
        for dependent in self.dependents.remove(&seq).unwrap_or_default() {
            let wait = self.waiting.get_mut(&dependent).expect("a dependent that gives up is forgotten");
            wait.blockers.retain(|blocker| *blocker != seq);
            if wait.blockers.is_empty() {
                woken.extend(self.waiting.remove(&dependent).and_then(|wait| wait.waker));
            }
        }
        woken
    }
}
