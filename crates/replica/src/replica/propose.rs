//! Has commands agreed on and applied, and holds on to what must be held until then, whoever waits
//! (*latches-until-known*).

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use bytes::Bytes;
use concurrency::LatchGuard;
use keys::{RangeDescriptor, Term};
use raft::ProposeError;

use crate::{
    api::{BatchRequest, BatchResponse, KvError},
    command::{Command, Effect},
    evaluate::Evaluated,
    replica::{Attempt, HeldLease, Replica},
};

/// A command above this is refused: it would hold up everything behind it.
const MAX_COMMAND_BYTES: usize = 64 << 20;

impl Replica {
    pub(super) async fn propose_and_wait(
        self: &Arc<Self>,
        request: &BatchRequest,
        descriptor: Arc<RangeDescriptor>,
        lease: HeldLease,
        latch: LatchGuard,
        mut evaluated: Evaluated,
    ) -> Result<BatchResponse, Attempt> {
        let bytes = evaluated.batch.byte_size();
        if bytes > MAX_COMMAND_BYTES {
            return Err(Attempt::Error(KvError::TooLarge { bytes, max: MAX_COMMAND_BYTES }));
        }
        self.remember_reads(request, &evaluated);
        let payload = Command::encode(lease.term, evaluated.effect.as_ref(), evaluated.one_phase, evaluated.batch.data());
        self.metrics.proposals.fetch_add(1, Ordering::Relaxed);

        // *latches-until-known*: a caller that goes away must not take the latches with it, nor leave holders in the
        // lock table whose end has been applied.
        let (replica, ended) = (self.clone(), std::mem::take(&mut evaluated.ended));
        let brought = self.looks.brought(&request.requests);
        let future = Box::pin(async move {
            replica.propose(payload, lease.term).await?;
            replica.looks.applied(brought);
            replica.note_ended(&ended);
            Ok(())
        });
        let proposal = Proposal { future: Some(future), latch: Some(latch), started: false };
        let (outcome, latch) = tokio::select! {
            biased;
            known = proposal => known,
            () = self.group.lease_gone() => return Err(Attempt::Error(self.fate_unknown())),
        };
        outcome?;
        self.note_given(&evaluated);
        drop(latch);
        Ok(self.respond(request, &descriptor, evaluated))
    }

    /// What was proposed under a lease that is gone is in the log here and takes effect later or never. Its latches
    /// stay held: under the same term, should its lease come back, nobody may look past what may still be applied.
    pub(crate) fn fate_unknown(&self) -> KvError {
        KvError::Ambiguous { reason: format!("{} was cut off while it led {}", self.deps.store_id, self.range_id) }
    }

    /// Has a command agreed on and applied here.
    pub(crate) async fn propose(&self, payload: Bytes, term: Term) -> Result<(), KvError> {
        match self.group.propose(payload, term).await {
            Ok(outcome) if outcome.first() == Some(&crate::machine::APPLIED) => Ok(()),
            // In the log, but under another lease: it did nothing, here as everywhere.
            Ok(_) => Err(self.not_leaseholder(None)),
            Err(ProposeError::NotLeader { leader }) => Err(self.not_leaseholder(leader)),
            Err(ProposeError::Ambiguous { reason }) => Err(KvError::Ambiguous { reason }),
            Err(ProposeError::Closed) => Err(KvError::RangeNotFound { range_id: self.range_id }),
            Err(ProposeError::TooLarge { bytes, max }) => Err(KvError::TooLarge { bytes, max }),
        }
    }

    pub(crate) async fn propose_effect(&self, term: Term, effect: &Effect, batch: &[u8]) -> Result<(), KvError> {
        self.propose(Command::encode(term, Some(effect), None, batch), term).await
    }
}

/// A proposal under way, with the latches that must outlive whoever awaits it: dropped half way, it goes on in a
/// task of its own until its fate is known.
struct Proposal {
    future: Option<Pin<Box<dyn Future<Output = Result<(), KvError>> + Send>>>,
    latch: Option<LatchGuard>,
    started: bool,
}

impl Future for Proposal {
    type Output = (Result<(), KvError>, Option<LatchGuard>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.started = true;
        let future = self.future.as_mut().expect("not polled after it was ready");
        match future.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(outcome) => {
                self.future = None;
                Poll::Ready((outcome, self.latch.take()))
            }
        }
    }
}

impl Drop for Proposal {
    fn drop(&mut self) {
        if let (true, Some(future)) = (self.started, self.future.take()) {
            let latch = self.latch.take();
            tokio::spawn(async move {
                let _known = future.await;
                drop(latch);
            });
        }
    }
}
