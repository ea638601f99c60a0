//! Waits for whoever is in the way of a batch, asks from time to time for the state of their transactions, and finds the circles of
//! those who wait for each other.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use concurrency::{Conflict, LockRequest, WaitOutcome, Waiter};
use keys::{Key, LockStrength, TxnId, TxnMeta, TxnStatus};
use planted::Bug;
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::{
    api::{AbortReason, BatchRequest, Header, KvError, PushKind, Request, WaitPolicy},
    replica::Replica,
    txn_record::WAIT_MEMORY,
};

const FIRST_PUSH_AFTER: Duration = Duration::from_millis(20);
const PUSH_EVERY: Duration = Duration::from_millis(100);
/// A push that takes longer is given up and begun anew: what it waits for may be over, and others may be in the way.
/// Longer than a call to a node that has fallen silent (two seconds), for the sender learns from its failure alone
/// where else to ask.
const PUSH_BOUND: Duration = Duration::from_secs(5);

/// What a batch keeps of its wait for a key: whoever has had a turn was in no circle, so those are looked for anew, but
/// the key's lock is still the same one that it has been waiting for.
pub(super) struct Waiting {
    waiter: Waiter,
    /// When `lock_timeout` is over: it is counted for each key by itself.
    deadline: Option<Instant>,
}

impl Waiting {
    /// The outcome of a question to others; none if it takes longer than there is time for.
    async fn ask<T>(&self, question: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout_at(self.patience(), question).await.ok()
    }

    /// Until when an answer of others is waited for.
    fn patience(&self) -> Instant {
        let bound = Instant::now() + PUSH_BOUND;
        self.deadline.map_or(bound, |deadline| deadline.min(bound))
    }
}

/// Completes with the turn. Whoever is in the way by then is asked when the next push is due: a holder that changes
/// again and again must not put that off.
async fn turn(waiter: &mut Waiter) {
    while let WaitOutcome::HolderChanged { .. } = waiter.next().await {}
}

impl Replica {
    /// Waits until `conflict` may be out of the way; the place in the queue is kept by what is returned.
    pub(super) async fn wait_for(
        self: &Arc<Self>,
        request: &BatchRequest,
        conflict: Conflict,
        previous: Option<Waiting>,
    ) -> Result<Waiting, KvError> {
        let header = &request.header;
        if header.wait == WaitPolicy::Error {
            return Err(KvError::LockNotAvailable { key: conflict.key, holder: conflict.holder.id });
        }
        self.metrics.lock_waits.fetch_add(1, Ordering::Relaxed);
        let mut waiting = self.queue_up(header, wanted_strength(request, &conflict.key), &conflict, previous)?;
        // An intent may be left over from a transaction that is long over: ask at once.
        let is_intent = conflict.strength == LockStrength::Intent;
        let mut push_at = Instant::now() + if is_intent { Duration::ZERO } else { FIRST_PUSH_AFTER };
        let mut waited_long = false;
        let mut circles = Circles::default();
        loop {
            let now = Instant::now();
            if waiting.deadline.is_some_and(|deadline| deadline <= now) {
                let holder = waiting.waiter.holder().map_or(conflict.holder.id, |holder| holder.id);
                return Err(KvError::LockTimeout { key: conflict.key, holder });
            }
            if push_at <= now {
                // Whoever leads now has a queue of its own.
                self.lease()?;
                let in_the_way =
                    if waited_long { waiting.waiter.blockers() } else { waiting.waiter.holder().into_iter().collect() };
                let mut its_turn = false;
                for holder in in_the_way {
                    let until = waiting.patience();
                    let push = self.push_holder(request, &conflict.key, holder, &mut circles);
                    // *turn-seen-at-once*: what is asked may take long to be answered, and be answered by the turn.
                    tokio::select! {
                        biased;
                        () = turn(&mut waiting.waiter) => its_turn = true,
                        pushed = tokio::time::timeout_at(until, push) => pushed.unwrap_or(Ok(()))?,
                    }
                    if its_turn {
                        break;
                    }
                }
                if its_turn {
                    return self.take_turn(header, waiting, waited_long).await;
                }
                push_at = Instant::now() + PUSH_EVERY;
            }
            let until = waiting.deadline.map_or(push_at, |deadline| deadline.min(push_at));
            match tokio::time::timeout_at(until, turn(&mut waiting.waiter)).await {
                Ok(()) => return self.take_turn(header, waiting, waited_long).await,
                Err(_) => waited_long = true,
            }
        }
    }

    /// A turn may come because this very transaction was ended to break a circle.
    async fn take_turn(&self, header: &Header, waiting: Waiting, waited_long: bool) -> Result<Waiting, KvError> {
        if waited_long {
            waiting.ask(self.check_not_aborted(header)).await.unwrap_or(Ok(()))?;
        }
        Ok(waiting)
    }

    /// Takes a place in the queue of the key that a batch has to wait for, or keeps the one it has there.
    fn queue_up(
        &self,
        header: &Header,
        strength: Option<LockStrength>,
        conflict: &Conflict,
        previous: Option<Waiting>,
    ) -> Result<Waiting, KvError> {
        let (mut deadline, mut place) = (header.lock_timeout.map(|limit| Instant::now() + limit), None);
        if let Some(previous) = previous {
            // A turn that came to nothing does not begin the wait for the key anew.
            if *previous.waiter.key() == conflict.key {
                deadline = previous.deadline;
            }
            place = Some(previous.waiter);
        }
        let waiter = match place {
            // One that is told to go and still meets a conflict has lost its place, or wanted less.
            Some(waiter) if *waiter.key() == conflict.key && waiter.holder().is_some() => waiter,
            other => {
                let txn = header.txn.as_ref().map(|txn| &txn.meta);
                let read_ts = self.read_limit(header, self.lease()?);
                let waiter = self.locks.enqueue(&LockRequest { key: &conflict.key, txn, strength, read_ts });
                drop(other);
                waiter
            }
        };
        Ok(Waiting { waiter, deadline })
    }

    /// Whether the waiting transaction itself still stands.
    async fn check_not_aborted(&self, header: &Header) -> Result<(), KvError> {
        let Some(txn) = header.txn.as_ref().map(|txn| &txn.meta).filter(|meta| meta.anchor != Key::MIN) else {
            return Ok(());
        };
        let own = self.deps.outbound.push_txn(txn.clone(), None, Vec::new(), PushKind::Query).await;
        match own {
            Ok(own) if own.status == TxnStatus::Aborted => {
                Err(KvError::Aborted { txn_id: txn.id, reason: AbortReason::Deadlock })
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Asks for the state of a transaction in the way, and cleans up after it if it is over.
    async fn push_holder(
        &self,
        request: &BatchRequest,
        key: &Key,
        holder: TxnMeta,
        circles: &mut Circles,
    ) -> Result<(), KvError> {
        self.metrics.pushes.fetch_add(1, Ordering::Relaxed);
        // A holder without an anchor holds a lock and has written nothing: it cannot be looked up yet.
        if holder.anchor == Key::MIN {
            return Ok(());
        }
        let pusher = request.header.txn.as_ref().map(|txn| txn.meta.clone());
        let mut dependents = Vec::new();
        let mut kind = PushKind::Query;
        if let Some(pusher) = pusher.as_ref().filter(|pusher| pusher.anchor != Key::MIN) {
            let own = self.deps.outbound.push_txn(pusher.clone(), None, Vec::new(), PushKind::Query).await;
            match own {
                Ok(own) if own.status == TxnStatus::Aborted => {
                    let reason = AbortReason::Deadlock;
                    return Err(KvError::Aborted { txn_id: pusher.id, reason });
                }
                Ok(own) => dependents = own.dependents,
                Err(error) => tracing::debug!(%error, "own dependents"),
            }
            if circles.stands(holder.id, dependents.contains(&holder.id)) {
                // The two of us next to each other in it decide who goes: the lower priority, then the
                // later id, so that both sides decide alike.
                let mine = (pusher.priority, std::cmp::Reverse(pusher.id));
                let theirs = (holder.priority, std::cmp::Reverse(holder.id));
                if mine <= theirs && !planted::is_on(Bug::DeadlockEndsBoth) {
                    return Err(KvError::Deadlock { txn_id: pusher.id, members: vec![holder.id] });
                }
                kind = PushKind::Abort;
            }
        }
        let ended = pusher.as_ref().map(|pusher| pusher.id).filter(|_| kind == PushKind::Abort);
        // What goes wrong with the other transaction is no failure of who waits for it: its ranges may be away for
        // now, and the next push finds them.
        let pushed = match self.deps.outbound.push_txn(holder.clone(), pusher, dependents, kind).await {
            Ok(pushed) => self.clean_up(request, key, holder.clone(), pushed).await,
            Err(error) => Err(error),
        };
        if let Err(error) = pushed {
            tracing::debug!(%error, holder = %holder.id, "push");
        }
        if let Some(txn_id) = ended.filter(|_| planted::is_on(Bug::DeadlockEndsBoth)) {
            return Err(KvError::Deadlock { txn_id, members: vec![holder.id] });
        }
        Ok(())
    }
}

/// The holders that were seen to wait for whom they hold up, and since when without a break.
///
/// A report that somebody waits is believed for a while after the wait is over: a transaction that had its turn, moved
/// its snapshot up and queues anew stands behind those who, by what is remembered, still wait for it. So a circle
/// counts only when every edge of it was reported again since it was first seen.
#[derive(Default)]
struct Circles(SmallVec<[(TxnId, Instant); 2]>);

impl Circles {
    /// Takes in whether a circle with `holder` is seen now; whether it stands.
    fn stands(&mut self, holder: TxnId, is_seen: bool) -> bool {
        let now = Instant::now();
        let known = self.0.iter().position(|(id, _)| *id == holder);
        match (known, is_seen) {
            (Some(at), true) => now.duration_since(self.0[at].1) > WAIT_MEMORY,
            (None, true) => {
                self.0.push((holder, now));
                false
            }
            (Some(at), false) => {
                self.0.swap_remove(at);
                false
            }
            (None, false) => false,
        }
    }
}

fn wanted_strength(request: &BatchRequest, key: &Key) -> Option<LockStrength> {
    for item in &request.requests {
        match item {
            Request::Get { key: wanted, lock } if wanted == key => return *lock,
            Request::GetMany { keys, lock } if keys.binary_search(key).is_ok() => return *lock,
            Request::LockMany { keys, lock } if keys.contains(key.as_bytes()) => return Some(*lock),
            Request::Scan { span, lock, .. } if span.contains(key.as_bytes()) => return *lock,
            Request::ClearRange { span, .. } if span.contains(key.as_bytes()) => {
                return Some(LockStrength::Intent);
            }
            Request::Put { key: wanted, .. }
            | Request::Delete { key: wanted, .. }
            | Request::Increment { key: wanted, .. }
                if wanted == key =>
            {
                return Some(LockStrength::Intent);
            }
            Request::WriteMany { writes } if writes.keys().contains(key.as_bytes()) => {
                return Some(LockStrength::Intent);
            }
            _ => {}
        }
    }
    None
}
