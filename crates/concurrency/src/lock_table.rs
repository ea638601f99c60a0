//! The problem: a transaction's hold on a key outlives any one command, and those who want the key meanwhile must
//! wait without losing their turn, without spinning, and knowing whom they wait for.
//!
//! The idea: each contended key has its holders and one queue. Holders are unreplicated locks of the four strengths of
//! [`LockStrength`], and intents that evaluation came upon. After every change of a key its queue is walked once from the
//! front, and each waiter is either free to go (*turn*) or blocked by a named transaction.
//!
//! ```text
//! key a   held by T1 UPDATE       queue:  T2 UPDATE   T3 SHARE    T4 SHARE    read @7
//!         release(a, T1)                  turn        behind T2   behind T2   turn
//!         T2 gives up                                 turn        turn
//! ```
//!
//! A plain read at `r` waits for an intent whose `ts <= r`, and for nothing else. What wants a lock, or to write, waits
//! for holders of a conflicting strength, and for waiters of one that stand before it. A write by a transaction that
//! holds NO KEY UPDATE wants no more than that: it passes those who share the key.
//!
//! Locks that one command takes on many keys are kept as a list until somebody else wants one of them: see [`bulk`].
//!
//! Nobody waits for itself. A turn is a reservation: the waiter keeps its place, and so holds up those behind it, until
//! it acquires the lock or drops its [`Waiter`].
//!
//! **Invariants**
//! - *fifo-fair*: a waiter has its turn only if no conflicting waiter stands before it. A newcomer queues behind
//!   conflicting waiters as if they were holders. Only a holder that wants more goes to the front.
//! - *no-lost-wakeup*: each waiter's standing is recomputed after every change of its key, under the mutex under which
//!   its waker is kept. A waiter whose place is gone (acquired, range split, lease lost) is ready.
//!
//! A request outside any transaction waits its turn but has no name for others to push: it reserves nothing.
//!
//! Deliberately left out: pushing, deadlocks (see [`crate::WaitForGraph`]) and durability. All of this may be lost at
//! any time: intents are found again in the data, and the locks of a lost lease only ordered waiters.

mod bulk;
mod key_state;

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, poll_fn};
use std::ops::Bound;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use hlc::Timestamp;
use keys::{Key, KeyList, LockStrength, Span, TxnId, TxnMeta};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use bulk::{BulkLock, Bulks};
use key_state::{Claim, Holder, KeyState, Queued, Standing};

/// Intents that transactions here announce for themselves are remembered up to this many; beyond it they are left to
/// be discovered. Those that somebody came upon are always remembered: they are as many as requests made them.
const ANNOUNCED_INTENTS_MAX: usize = 100_000;

/// How many keys a command must lock for them to be kept as a list, unless a table is made with another number.
pub const BULK_MIN: usize = 64;

/// What a request wants of one key.
#[derive(Clone, Copy, Debug)]
pub struct LockRequest<'a> {
    pub key: &'a Key,
    pub txn: Option<&'a TxnMeta>,
    /// `None` is a plain read.
    pub strength: Option<LockStrength>,
    /// Matters to plain reads alone.
    pub read_ts: Timestamp,
}

/// What keeps a request from going on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    pub key: Key,
    /// Who holds the key, or stands before the request in its queue.
    pub holder: TxnMeta,
    pub strength: LockStrength,
}

#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Acquired {
    Acquired,
    Blocked(Conflict),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitOutcome {
    /// Nothing known is in the way: latch and evaluate again.
    Turn,
    /// Somebody else is in the way now: push that one.
    HolderChanged { holder: TxnMeta },
}

/// One holder or waiter, for an administrator to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockRow {
    pub key: Key,
    pub txn: Option<TxnMeta>,
    pub strength: Option<LockStrength>,
    pub state: RowState,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowState {
    Held,
    /// First in line, and free to go.
    Turn,
    Waiting {
        behind: TxnId,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LockTableStats {
    pub key_count: usize,
    pub holder_count: usize,
    pub waiter_count: usize,
}

/// The locks of one range. Clones share them.
#[derive(Clone)]
pub struct LockTable {
    shared: Arc<Shared>,
    /// A command that locks fewer keys locks them one by one.
    bulk_min: usize,
}

impl Default for LockTable {
    fn default() -> Self {
        Self::with_bulk_min(BULK_MIN)
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// How many keys `state` has, so that an uncontended range never takes the mutex to check.
    ///
    /// Conflicting requests are ordered by their latches, so whoever must see a key in the table sees this count too.
    key_count: AtomicUsize,
}

#[derive(Default)]
struct State {
    keys: BTreeMap<Key, KeyState>,
    /// Keys that many were locked at a time with, and that nobody else wants.
    bulks: Bulks,
    /// Where a transaction holds something.
    held: FxHashMap<TxnId, BTreeSet<Key>>,
    /// Where a transaction waits: a key once for each of its waiters there.
    waits: FxHashMap<TxnId, Vec<Key>>,
    next_waiter: u64,
    intent_count: usize,
}

type Wakers = SmallVec<[Waker; 4]>;

/// About `limit` rows of keys that are waited for.
fn contended(state: &State, limit: usize) -> Vec<LockRow> {
    let mut rows = Vec::new();
    for (key, key_state) in state.keys.iter().filter(|(_, it)| !it.queue.is_empty()) {
        if rows.len() >= limit {
            break;
        }
        rows.extend(key_state.rows(key));
    }
    rows
}

impl LockTable {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A table that keeps the locks of one command as a list where they are at least so many.
    #[must_use]
    pub fn with_bulk_min(bulk_min: usize) -> Self {
        Self { shared: Arc::default(), bulk_min }
    }

    /// Everyone in the way of this request now; nobody means it may evaluate.
    #[must_use]
    pub fn check(&self, request: &LockRequest<'_>) -> Vec<Conflict> {
        if self.is_empty() {
            return Vec::new();
        }
        let state = self.shared.state.lock();
        let Some(key_state) = state.keys.get(request.key) else {
            return state.bulks.blocker(request.key, &Claim::from(request)).into_iter().map(Conflict::from).collect();
        };
        let claim = key_state.settled(Claim::from(request));
        key_state.conflicts(&claim).map(|blocker| blocker.conflict(request.key)).collect()
    }

    /// Everyone in the way of a request for all of `span`, in order of keys.
    #[must_use]
    pub fn check_span(
        &self,
        span: &Span,
        txn: Option<&TxnMeta>,
        strength: Option<LockStrength>,
        read_ts: Timestamp,
    ) -> Vec<Conflict> {
        let mut conflicts = Vec::new();
        if self.is_empty() || span.is_empty() {
            return conflicts;
        }
        let claim = Claim { txn: txn.cloned(), strength, read_ts };
        let state = self.shared.state.lock();
        for (key, key_state) in state.keys.range::<Key, _>(&span.start..&span.end) {
            conflicts.extend(key_state.conflicts(&claim).map(|blocker| blocker.conflict(key)));
        }
        let others = conflicts.len();
        conflicts.extend(state.bulks.blockers(span, &claim).map(Conflict::from));
        if others > 0 && others < conflicts.len() {
            conflicts.sort_by(|a, b| a.key.cmp(&b.key));
        }
        conflicts
    }

    /// Somebody in the way of a command that writes many keys.
    #[must_use]
    pub fn check_keys(&self, keys: &KeyList, txn: Option<&TxnMeta>) -> Option<Conflict> {
        if self.is_empty() {
            return None;
        }
        let claim = Claim { txn: txn.cloned(), strength: Some(LockStrength::Intent), read_ts: Timestamp::MAX };
        let state = self.shared.state.lock();
        for (key, key_state) in state.known_among(keys) {
            if let Some(blocker) = key_state.conflicts(&key_state.settled(claim.clone())).next() {
                return Some(blocker.conflict(key));
            }
        }
        state.bulks.blocker_among(keys, &claim).map(Conflict::from)
    }

    /// Takes a lock, or raises one to `strength`; ends this transaction's waits for it here.
    ///
    /// With [`LockStrength::Intent`] it announces an intent at the transaction's write timestamp.
    pub fn acquire(&self, key: &Key, txn: &TxnMeta, strength: LockStrength) -> Acquired {
        self.shared.change(|state, wakers| state.acquire(key, txn, strength, wakers))
    }

    /// The same of many keys, in their order until one is not to be had.
    pub fn acquire_all(&self, locks: &[(Key, LockStrength)], txn: &TxnMeta) -> Acquired {
        let all = in_bulk(locks, self.bulk_min);
        self.shared.change(|state, wakers| {
            if let Some((keys, strength)) = all
                && state.acquire_bulk(keys, txn, strength)
            {
                return Acquired::Acquired;
            }
            for (key, strength) in locks {
                let blocked @ Acquired::Blocked(_) = state.acquire(key, txn, *strength, wakers) else { continue };
                return blocked;
            }
            Acquired::Acquired
        })
    }

    /// Acquires a lock without looking for conflicts: one that a prepared transaction holds.
    pub fn keep(&self, key: &Key, txn: &TxnMeta, strength: LockStrength) {
        self.shared.change(|state, wakers| {
            state.unpack(key);
            state.hold(key, txn, strength);
            state.settle(key, wakers);
        });
    }

    /// A fair place in the queue of a key. It may have its turn at once.
    pub fn enqueue(&self, request: &LockRequest<'_>) -> Waiter {
        let claim = Claim::from(request);
        let id = self.shared.change(|state, wakers| {
            let id = state.next_waiter;
            state.next_waiter += 1;
            if let Some(txn) = claim.txn_id() {
                state.waits.entry(txn).or_default().push(request.key.clone());
            }
            state.unpack(request.key);
            let key_state = state.keys.entry(request.key.clone()).or_default();
            let claim = key_state.settled(claim);
            wakers.extend(key_state.enqueue(id, claim));
            id
        });
        Waiter { shared: Arc::clone(&self.shared), key: request.key.clone(), id }
    }

    /// Evaluation came upon an intent of `holder` at `intent_ts`. What was known of its timestamp is replaced: the
    /// data is right, and a waiter let go too early would only come upon it again.
    pub fn add_discovered(&self, key: &Key, holder: &TxnMeta, intent_ts: Timestamp) {
        self.shared.change(|state, wakers| {
            state.unpack(key);
            state.hold_intent(key, holder, intent_ts);
            state.settle(key, wakers);
        });
    }

    /// A push or a heartbeat has moved this transaction: its intents here no longer stop reads below.
    pub fn update_txn(&self, pushed: &TxnMeta) {
        self.shared.change(|state, wakers| state.update_txn(pushed, wakers));
    }

    /// Frees all that `txn` holds on `key`.
    pub fn release(&self, key: &Key, txn: TxnId) {
        self.shared.change(|state, wakers| state.release(key, txn, wakers));
    }

    /// The intent of `txn` on `key` is gone from the data, but the transaction goes on and keeps its lock.
    pub fn intent_removed(&self, key: &Key, txn: TxnId) {
        self.shared.change(|state, wakers| state.intent_removed(key, txn, wakers));
    }

    /// Frees all that `txn` holds here and ends all its waits; its waiters see their turn, and find out why.
    pub fn txn_finished(&self, txn: TxnId) {
        self.shared.change(|state, wakers| state.txn_finished(txn, wakers));
    }

    /// What `txn` has locked in the span, without its intents.
    #[must_use]
    pub fn locked_by(&self, txn: TxnId, span: &Span) -> Vec<(Key, LockStrength)> {
        if span.is_empty() {
            return Vec::new();
        }
        let state = self.shared.state.lock();
        let in_bulk = state.bulks.locks(span, Some(txn)).map(|lock| (Key::from(lock.key), lock.strength));
        let mut all: Vec<(Key, LockStrength)> = in_bulk.collect();
        if let Some(held) = state.held.get(&txn) {
            let locked = |key: &Key| {
                let holder = state.keys.get(key)?.holders.iter().find(|holder| holder.meta.id == txn)?;
                Some((key.clone(), holder.lock?))
            };
            all.extend(held.range::<Key, _>(&span.start..&span.end).filter_map(locked));
        }
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all
    }

    /// Forgets everything, for the lease is lost; every waiter is ready.
    pub fn clear(&self) {
        self.shared.change(|state, wakers| {
            state.bulks.clear();
            let gone = std::mem::take(&mut state.keys);
            state.forget(gone, wakers);
        });
    }

    /// Forgets the keys from `at` on, which are another range's now; their waiters are ready. Intents there will be
    /// discovered, and locks that only ordered waiters end.
    pub fn split_off(&self, at: &Key) {
        self.shared.change(|state, wakers| {
            state.bulks.split_off(at);
            let gone = state.keys.split_off(at);
            state.forget(gone, wakers);
        });
    }

    #[must_use]
    pub fn stats(&self) -> LockTableStats {
        let state = self.shared.state.lock();
        let in_bulk = state.bulks.key_count();
        let holders = state.keys.values().map(|key_state| key_state.holders.len());
        LockTableStats {
            key_count: state.keys.len() + in_bulk,
            holder_count: holders.sum::<usize>() + in_bulk,
            waiter_count: state.keys.values().map(|key_state| key_state.queue.len()).sum(),
        }
    }

    /// Every holder and waiter: by key, holders first, then in order of the queue.
    #[must_use]
    pub fn rows(&self) -> Vec<LockRow> {
        let state = self.shared.state.lock();
        let mut rows: Vec<LockRow> = state.keys.iter().flat_map(|(key, key_state)| key_state.rows(key)).collect();
        let others = rows.len();
        rows.extend(state.bulks.locks(&Span::all(), None).map(LockRow::from));
        if others > 0 && others < rows.len() {
            rows.sort_by(|a, b| a.key.cmp(&b.key));
        }
        rows
    }

    /// As [`LockTable::rows`], of at most about `limit` rows, of keys that are waited for. Locks of many keys at once are
    /// none: a key that somebody comes to wait for has a place of its own.
    #[must_use]
    pub fn contended_rows(&self, limit: usize) -> Vec<LockRow> {
        if self.is_empty() { Vec::new() } else { contended(&self.shared.state.lock(), limit) }
    }

    /// As [`LockTable::rows`], of at most about `limit` rows: first of keys that are waited for.
    #[must_use]
    pub fn rows_up_to(&self, limit: usize) -> Vec<LockRow> {
        if self.is_empty() {
            return Vec::new();
        }
        let state = self.shared.state.lock();
        let mut rows = contended(&state, limit);
        if rows.len() >= limit {
            return rows;
        }
        let all = Span::all();
        let mut single = state.keys.iter().filter(|(_, it)| it.queue.is_empty()).peekable();
        let mut in_bulk = state.bulks.locks(&all, None).peekable();
        while rows.len() < limit {
            let is_single_next = match (single.peek(), in_bulk.peek()) {
                (None, None) => break,
                (Some((key, _)), Some(lock)) => key.as_bytes() < lock.key,
                (next, _) => next.is_some(),
            };
            if is_single_next {
                rows.extend(single.next().into_iter().flat_map(|(key, key_state)| key_state.rows(key)));
            } else {
                rows.extend(in_bulk.next().map(LockRow::from));
            }
        }
        rows
    }

    /// Keys that are locked or waited for.
    #[must_use]
    pub fn key_count(&self) -> usize {
        self.shared.key_count.load(Ordering::Acquire)
    }

    fn is_empty(&self) -> bool {
        self.key_count() == 0
    }
}

/// A place in the queue of one key. Each await gives the next news; dropping it leaves the queue.
#[must_use = "dropping it leaves the queue"]
pub struct Waiter {
    shared: Arc<Shared>,
    key: Key,
    id: u64,
}

impl Waiter {
    /// The next news. May be asked again after [`WaitOutcome::HolderChanged`]; a turn stays a turn until it is used,
    /// given up or lost to a newly discovered holder.
    pub async fn next(&mut self) -> WaitOutcome {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Who to push: the first in its way now, or nobody if it has its turn.
    #[must_use]
    pub fn holder(&self) -> Option<TxnMeta> {
        let state = self.shared.state.lock();
        match &state.queued(&self.key, self.id)?.standing {
            Standing::Turn => None,
            Standing::Blocked { behind, .. } => Some(behind.clone()),
        }
    }

    /// Everyone in its way now: the edges that a search for circles must know.
    #[must_use]
    pub fn blockers(&self) -> Vec<TxnMeta> {
        let state = self.shared.state.lock();
        let Some(key_state) = state.keys.get(&self.key) else { return Vec::new() };
        let Some(place) = key_state.queue.iter().position(|queued| queued.id == self.id) else {
            return Vec::new();
        };
        let claim = &key_state.queue[place].claim;
        let mut blockers: Vec<TxnMeta> = Vec::new();
        for blocker in key_state.conflicts_before(claim, place) {
            if !blockers.iter().any(|known| known.id == blocker.txn.id) {
                blockers.push(blocker.txn.clone());
            }
        }
        blockers
    }

    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<WaitOutcome> {
        let mut state = self.shared.state.lock();
        let queue = state.keys.get_mut(&self.key).map(|key_state| &mut key_state.queue);
        let Some(queued) = queue.and_then(|queue| queue.iter_mut().find(|queued| queued.id == self.id))
        else {
            return Poll::Ready(WaitOutcome::Turn);
        };
        match &mut queued.standing {
            Standing::Turn => Poll::Ready(WaitOutcome::Turn),
            Standing::Blocked { behind, told } if !*told => {
                *told = true;
                Poll::Ready(WaitOutcome::HolderChanged { holder: behind.clone() })
            }
            Standing::Blocked { .. } => {
                queued.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Future for Waiter {
    type Output = WaitOutcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<WaitOutcome> {
        self.poll_next(cx)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.shared.change(|state, wakers| state.leave(&self.key, self.id, wakers));
    }
}

impl From<&LockRequest<'_>> for Claim {
    fn from(request: &LockRequest<'_>) -> Self {
        Self { txn: request.txn.cloned(), strength: request.strength, read_ts: request.read_ts }
    }
}

impl Shared {
    /// Runs one change of the state, then wakes those it has news for, outside the mutex.
    fn change<R>(&self, change: impl FnOnce(&mut State, &mut Wakers) -> R) -> R {
        let mut wakers = Wakers::new();
        let mut state = self.state.lock();
        let result = change(&mut state, &mut wakers);
        self.key_count.store(state.keys.len() + state.bulks.key_count(), Ordering::Release);
        drop(state);
        for waker in wakers {
            waker.wake();
        }
        result
    }
}

impl State {
    fn acquire(&mut self, key: &Key, txn: &TxnMeta, strength: LockStrength, wakers: &mut Wakers) -> Acquired {
        let is_announced = strength == LockStrength::Intent;
        let mut claim = Claim { txn: Some(txn.clone()), strength: Some(strength), read_ts: Timestamp::MAX };
        self.unpack(key);
        match self.keys.get(key) {
            None if is_announced && self.intent_count >= ANNOUNCED_INTENTS_MAX => return Acquired::Acquired,
            None => {
                // Nobody waits here.
                self.hold(key, txn, strength);
                return Acquired::Acquired;
            }
            Some(key_state) => {
                claim = key_state.settled(claim);
                if let Some(blocker) = key_state.conflicts(&claim).next() {
                    return Acquired::Blocked(blocker.conflict(key));
                }
            }
        }
        self.hold(key, txn, strength);
        // Plain reads wait for others' intents still.
        self.leave_where(key, wakers, |queued| {
            queued.claim.strength.is_some() && claim.serves(&queued.claim)
        });
        self.settle(key, wakers);
        Acquired::Acquired
    }

    /// Locks many keys that nobody else holds or waits for, if that can be said of all of them at once.
    fn acquire_bulk(&mut self, keys: KeyList, txn: &TxnMeta, strength: LockStrength) -> bool {
        if self.bulks.has_all(&keys, txn.id, strength) {
            self.bulks.update_txn(txn);
            return true;
        }
        // *disjoint-bulks* first: where many rows are locked out of their order, it refuses at a fraction of the cost.
        // Then *one-place*.
        let hull = keys.hull();
        if self.bulks.reach_into(&hull) || self.known_among(&keys).next().is_some() {
            return false;
        }
        self.bulks.add(keys, hull, txn, strength);
        true
    }

    /// Those of some keys that have a place of their own, in order: one search for each of them at most, however many
    /// others lie between.
    fn known_among<'a>(&'a self, list: &'a KeyList) -> impl Iterator<Item = (&'a Key, &'a KeyState)> {
        let mut at = 0;
        std::iter::from_fn(move || {
            while at < list.len() {
                let from = (Bound::Included(list.get(at)), Bound::Unbounded);
                let (key, key_state) = self.keys.range::<[u8], _>(from).next()?;
                let place = list.below(key.as_bytes());
                let is_listed = place < list.len() && list.get(place) == key.as_bytes();
                at = place + usize::from(is_listed);
                if is_listed {
                    return Some((key, key_state));
                }
            }
            None
        })
    }

    /// Gives a key that is locked with many others a place of its own: somebody else may be about to want it.
    fn unpack(&mut self, key: &Key) {
        if let Some((holder, strength)) = self.bulks.take(key.as_bytes()) {
            self.hold(key, &holder, strength);
        }
    }

    fn hold(&mut self, key: &Key, txn: &TxnMeta, strength: LockStrength) {
        match strength {
            LockStrength::Intent => self.hold_intent(key, txn, txn.write_ts),
            LockStrength::KeyShare | LockStrength::Share | LockStrength::NoKeyUpdate | LockStrength::Update => {
                let holder = self.holder(key, txn);
                holder.lock = holder.lock.max(Some(strength));
            }
        }
    }

    fn hold_intent(&mut self, key: &Key, txn: &TxnMeta, ts: Timestamp) {
        let holder = self.holder(key, txn);
        if holder.intent_ts.replace(ts).is_none() {
            self.intent_count += 1;
        }
    }

    /// This transaction's hold on this key, made if need be: the caller must fill it.
    fn holder(&mut self, key: &Key, txn: &TxnMeta) -> &mut Holder {
        let key_state = self.keys.entry(key.clone()).or_default();
        if key_state.holder_mut(txn.id).is_none() {
            self.held.entry(txn.id).or_default().insert(key.clone());
            key_state.holders.push(Holder::new(txn.clone()));
        }
        let holder = key_state.holder_mut(txn.id).expect("it was there or has just been made");
        holder.meta.renew(txn);
        holder
    }

    fn update_txn(&mut self, pushed: &TxnMeta, wakers: &mut Wakers) {
        self.bulks.update_txn(pushed);
        for key in self.waits.get(&pushed.id).cloned().unwrap_or_default() {
            let queue = self.keys.get_mut(&key).map(|key_state| &mut key_state.queue);
            for queued in queue.into_iter().flatten() {
                if let Some(txn) = queued.claim.txn.as_mut().filter(|txn| txn.id == pushed.id) {
                    txn.renew(pushed);
                }
            }
            self.settle(&key, wakers);
        }
        for key in self.held.get(&pushed.id).cloned().unwrap_or_default() {
            let holder = self.keys.get_mut(&key).and_then(|key_state| key_state.holder_mut(pushed.id));
            let holder = holder.expect("a key in `held` has this holder");
            holder.meta.renew(pushed);
            holder.intent_ts = holder.intent_ts.map(|ts| ts.max(pushed.write_ts));
            self.settle(&key, wakers);
        }
    }

    fn release(&mut self, key: &Key, txn: TxnId, wakers: &mut Wakers) {
        self.unpack(key);
        let Some(key_state) = self.keys.get_mut(key) else { return };
        let Some(place) = key_state.holders.iter().position(|holder| holder.meta.id == txn) else { return };
        // In order, for the first holder in the way is the one a waiter is told to push.
        let holder = key_state.holders.remove(place);
        self.intent_count -= usize::from(holder.intent_ts.is_some());
        if let Some(held) = self.held.get_mut(&txn) {
            held.remove(key);
            if held.is_empty() {
                self.held.remove(&txn);
            }
        }
        self.settle(key, wakers);
    }

    fn intent_removed(&mut self, key: &Key, txn: TxnId, wakers: &mut Wakers) {
        let Some(holder) = self.keys.get_mut(key).and_then(|key_state| key_state.holder_mut(txn)) else {
            return;
        };
        if holder.lock.is_none() {
            return self.release(key, txn, wakers);
        }
        if holder.intent_ts.take().is_some() {
            self.intent_count -= 1;
            self.settle(key, wakers);
        }
    }

    fn txn_finished(&mut self, txn: TxnId, wakers: &mut Wakers) {
        // Its waits first, so that its own waiters are not given the turn by its releases.
        for key in self.waits.get(&txn).cloned().unwrap_or_default() {
            self.leave_where(&key, wakers, |queued| queued.claim.txn_id() == Some(txn));
            self.settle(&key, wakers);
        }
        self.bulks.txn_finished(txn);
        for key in self.held.remove(&txn).unwrap_or_default() {
            self.release(&key, txn, wakers);
        }
    }

    fn leave(&mut self, key: &Key, id: u64, wakers: &mut Wakers) {
        self.leave_where(key, wakers, |queued| queued.id == id);
        self.settle(key, wakers);
    }

    /// Takes waiters out of a queue; they are ready. The caller settles the key.
    fn leave_where(&mut self, key: &Key, wakers: &mut Wakers, leaves: impl Fn(&Queued) -> bool) {
        let Some(key_state) = self.keys.get_mut(key) else { return };
        let waits = &mut self.waits;
        key_state.queue.retain_mut(|queued| {
            if !leaves(queued) {
                return true;
            }
            wakers.extend(queued.waker.take());
            if let Some(txn) = queued.claim.txn_id()
                && let Some(keys) = waits.get_mut(&txn)
            {
                if let Some(place) = keys.iter().position(|waited| waited == key) {
                    keys.swap_remove(place);
                }
                if keys.is_empty() {
                    waits.remove(&txn);
                }
            }
            false
        });
    }

    /// Works out the consequences of a change of `key`.
    fn settle(&mut self, key: &Key, wakers: &mut Wakers) {
        let Some(key_state) = self.keys.get_mut(key) else { return };
        if key_state.is_empty() {
            self.keys.remove(key);
        } else {
            wakers.extend(key_state.restand());
        }
    }

    /// Accounts for keys that were taken out, and wakes their waiters.
    fn forget(&mut self, mut gone: BTreeMap<Key, KeyState>, wakers: &mut Wakers) {
        for key_state in gone.values_mut() {
            for queued in &mut key_state.queue {
                wakers.extend(queued.waker.take());
            }
            let intents = key_state.holders.iter().filter(|holder| holder.intent_ts.is_some());
            self.intent_count -= intents.count();
        }
        self.held.retain(|_, keys| {
            keys.retain(|key| !gone.contains_key(key));
            !keys.is_empty()
        });
        self.waits.retain(|_, keys| {
            keys.retain(|key| !gone.contains_key(key));
            !keys.is_empty()
        });
    }

    fn queued(&self, key: &Key, id: u64) -> Option<&Queued> {
        self.keys.get(key)?.queue.iter().find(|queued| queued.id == id)
    }
}

/// Many locks of one strength, in the order of their keys.
fn in_bulk(locks: &[(Key, LockStrength)], min: usize) -> Option<(KeyList, LockStrength)> {
    let strength = locks.first().filter(|_| locks.len() >= min)?.1;
    let fits = strength != LockStrength::Intent
        && locks.iter().all(|(_, other)| *other == strength)
        && locks.is_sorted_by(|(a, _), (b, _)| a < b);
    fits.then(|| (locks.iter().map(|(key, _)| key).collect(), strength))
}

impl From<BulkLock<'_>> for Conflict {
    fn from(lock: BulkLock<'_>) -> Self {
        Self { key: Key::from(lock.key), holder: lock.meta.clone(), strength: lock.strength }
    }
}

impl From<BulkLock<'_>> for LockRow {
    fn from(lock: BulkLock<'_>) -> Self {
        Self {
            key: Key::from(lock.key),
            txn: Some(lock.meta.clone()),
            strength: Some(lock.strength),
            state: RowState::Held,
        }
    }
}

/// Takes over what is newer: news of one transaction may arrive out of order.
trait Renew {
    fn renew(&mut self, news: &TxnMeta);
}

impl Renew for TxnMeta {
    fn renew(&mut self, news: &TxnMeta) {
        self.epoch = self.epoch.max(news.epoch);
        self.write_ts = self.write_ts.max(news.write_ts);
        self.priority = self.priority.max(news.priority);
    }
}
