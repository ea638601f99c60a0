//! Commit across ranges: the record is staged at the anchor while the other writes are on their way.
//!
//! An *attempt* sends the record, which lists the writes elsewhere by key and sequence number, and those writes, all at
//! once. The transaction is committed by attempt `n` if record `n` is there and every write it lists is there at or below
//! its timestamp `ts(n)`. Whoever finds a record without a heartbeat asks for each of these writes, which keeps the one
//! that is missing from ever appearing at or below `ts(n)`, and then makes the record *committed* or *aborted*. So an
//! attempt that fails may be one that has committed, and what a failure means must be known before anything else is sent.
//!
//! A write that was refused is not there, unless an earlier attempt or a flush has brought it (`landed`):
//!
//! ```text
//! attempt 1   record {k/1} at ts 10 staged;  k/1 refused                      k/1 never came: 1 is refuted
//!             a pusher recovers 1: k/1 is missing, 1 becomes aborted          attempt 2 is told so
//! attempt 2   above ts 10: record {k/1} at 11;  k/1 lands at 11               1 is refuted for good, 2 is committed
//!
//! attempt 1   record {j/1, k/2} at ts 10 staged;  j/1 lands at 10, k/2 at 12  k/2 is above: 1 is refuted
//!             k/2 stays at 12 when it is sent again (it is the same write)    and for good
//! attempt 2   record {j/1, k/2} at ts 12 staged;  k/2 refused                 all of 2 is there since attempt 1:
//!             2 is committed, though the coordinator has seen an error        neither refuted nor acknowledged
//!
//! attempt 1   {k/1} lands at 10;  the record is refused                       there is no record
//! attempt 2   record {k/1} at ts 11 staged;  k/1 is late                      all of 2 is there since attempt 1
//!             a pusher recovers 2 and resolves k/1: a version now, at 11
//!             k/1 arrives, finds no intent and lands at 13                    above, but 2 is committed: not refuted
//! ```
//!
//! - *Refuted*: some write that was refused or landed above the record was in no batch before. The next attempt lies above
//!   the record (*above-the-last-record*), so that record stays refuted when the missing write lands there, whether it is
//!   overwritten by the next or found by a pusher, who then can only abort it. That the next attempt is told.
//! - *Sent*: any other failure. No attempt follows. The record is aborted explicitly, and its answer alone says what
//!   became of it: *committed*, when it was recovered; *aborted when staged*, and then no recovery can commit it any more.
//!   Aborted otherwise is ambiguous: the record was recovered and removed since, one way or the other. The one found now
//!   was written by a pusher that found none, or by this request when it was sent again because its answer was lost.
//! - The record is refused: then there is none of this attempt, and what was known of the attempt before still holds.
//!
//! A write of an earlier epoch is another write, and a record that was restarted over is refuted (see `start_over`).
//!
//! **Invariant (above-the-last-record):** an attempt lies above the record of the attempt before, so that no write it
//! sends for the first time completes that one. The anchor upholds the same for records alone (*record-moves-forward*).

use std::sync::atomic::Ordering;

use hlc::Timestamp;
use keys::{SequencedWrite, Span, TxnStatus};
use planted::Bug;
use replica::api::{BatchResponse, Header, KvError, Request, Response, RetryReason, WaitPolicy};

use super::{
    CommitSent, State, Txn,
    commit::{committed_at, end_request, end_txn_answer, finish_commit, restart, worse},
    group::Group,
};
use crate::{db::SendError, error::Error};

/// With more writes elsewhere than this a staging record would be too large: intents first, then the record.
const MAX_IN_FLIGHT: usize = 1024;

/// What came of the writes of a span.
type Outcome<T> = (Option<Span>, Result<T, SendError>);

/// Where the highest of the writes of a batch is.
fn written_at((_, outcome): &Outcome<BatchResponse>) -> Timestamp {
    let txn = outcome.as_ref().ok().and_then(|response| response.txn.as_ref());
    txn.map_or(Timestamp::MIN, |meta| meta.write_ts)
}

fn is_ambiguous(error: &SendError) -> bool {
    matches!(error, SendError::Kv(KvError::Ambiguous { .. }))
}

impl Txn {
    pub(super) async fn commit_parallel(&mut self, mut groups: Vec<Group>) -> Result<Timestamp, SendError> {
        let anchor = self.meta.anchor.clone();
        let spans = self.touched_spans(&groups);

        let elsewhere: usize = groups
            .iter()
            .filter(|group| !group.range.descriptor.contains_key(anchor.as_bytes()))
            .map(Group::len)
            .sum();
        if elsewhere > MAX_IN_FLIGHT {
            self.write_intents(std::mem::take(&mut groups)).await?;
        }
        let position = groups.iter().position(|group| group.range.descriptor.contains_key(anchor.as_bytes()));
        let at_anchor = match position {
            Some(position) => groups.swap_remove(position),
            None => Group::empty(self.db.locate(anchor.as_bytes()).await?),
        };
        let in_flight: Vec<SequencedWrite> = groups
            .iter()
            .flat_map(|group| group.iter().map(|write| SequencedWrite { key: write.key.into(), seq: write.seq }))
            .collect();
        for group in groups.iter().chain([&at_anchor]) {
            for write in group.iter() {
                self.intents.add_point(write.key.into());
            }
        }

        // Reads elsewhere are judged by a refresh of ours before the record may move; see `commit_writes`.
        let span = at_anchor.range.descriptor.span();
        let reads_here = self.reads.lie_in(&span);
        let anchor_range = at_anchor.range.clone();
        let end = Request::EndTxn {
            commit: true,
            locks: spans.clone(),
            in_flight,
            one_phase: false,
            reads: if reads_here { self.reads.whole.iter().cloned().collect() } else { Vec::new() },
            present: if reads_here { self.reads.present.iter().cloned().collect() } else { Vec::new() },
        };
        let anchor_span = at_anchor.span();
        let mut requests = at_anchor.into_requests();
        requests.push(end);
        let header = Header { can_forward: reads_here, ..self.header(&anchor_range, WaitPolicy::Block) };
        let earlier = std::mem::replace(&mut self.commit_sent, CommitSent::Sent);
        let staging = self.db.send_to(&anchor_range, header, requests);
        let this = &*self;
        let others = futures::future::join_all(groups.into_iter().map(|group| async move {
            let span = group.span();
            let header = Header { can_forward: false, ..this.header(&group.range, WaitPolicy::Block) };
            let range = group.range.clone();
            (span, this.db.send_to(&range, header, group.into_requests()).await)
        }));
        let (staging, others) = futures::future::join(staging, others).await;

        let staging = match staging {
            Ok(response) => Ok(end_txn_answer(&response)?),
            Err(error) => Err(error),
        };
        let commit_ts = match staging {
            // Nothing was in flight, or a pusher has recovered an earlier attempt.
            Ok((TxnStatus::Committed, commit_ts)) => {
                self.finish_in_background(spans, commit_ts, false);
                return Ok(commit_ts);
            }
            Ok((_, commit_ts)) if others.iter().all(|(_, outcome)| outcome.is_ok()) => commit_ts,
            failed => {
                let staging = (anchor_span, failed.map(|(_, commit_ts)| commit_ts));
                return Err(self.attempt_failed(earlier, staging, others));
            }
        };
        let highest = others.iter().map(written_at).max().unwrap_or(Timestamp::MIN);
        if highest > commit_ts {
            let is_refuted = others.iter().any(|outcome| self.refutes(outcome, commit_ts));
            self.commit_sent = if is_refuted { CommitSent::Refuted } else { CommitSent::Sent };
            self.landed.extend(others.into_iter().filter_map(|(span, _)| span).chain(anchor_span));
            return Err(SendError::Kv(KvError::Retry { reason: RetryReason::WritePushed, to: highest }));
        }
        self.finish_in_background(spans, commit_ts, true);
        Ok(commit_ts)
    }

    /// The spans that the record must list, so that a pusher can resolve them.
    fn touched_spans(&self, groups: &[Group]) -> Vec<Span> {
        let mut spans = self.locks.clone();
        for span in self.intents.iter() {
            spans.add(span.clone());
        }
        for write in groups.iter().flat_map(Group::iter) {
            spans.add_point(write.key.into());
        }
        spans.into_recorded()
    }

    /// Notes what a failed attempt may have left; answers the error that says least of what happened.
    fn attempt_failed(
        &mut self,
        earlier: CommitSent,
        staging: Outcome<Timestamp>,
        others: Vec<Outcome<BatchResponse>>,
    ) -> SendError {
        let refutes = |commit_ts| others.iter().any(|outcome| self.refutes(outcome, commit_ts));
        // Where writes have landed is where the next attempt finds them.
        let mut write_ts = others.iter().map(written_at).fold(self.meta.write_ts, Ord::max);
        let mut commit_sent = self.commit_sent;
        let mut error: Option<SendError> = None;
        let mut landed = Vec::new();
        match staging {
            (span, Ok(commit_ts)) => {
                landed.extend(span);
                commit_sent = if refutes(commit_ts) { CommitSent::Refuted } else { CommitSent::Sent };
                // *above-the-last-record*
                write_ts = write_ts.max(commit_ts.next());
            }
            (_, Err(found)) => {
                if !is_ambiguous(&found) {
                    commit_sent = earlier;
                }
                error = Some(found);
            }
        }
        for (span, outcome) in others {
            match outcome {
                Ok(_) => landed.extend(span),
                Err(found) => error = Some(worse(error.take(), found)),
            }
        }
        self.commit_sent = commit_sent;
        self.meta.write_ts = write_ts;
        self.landed.extend(landed);
        error.expect("an attempt fails with an error")
    }

    /// Whether some write of a batch is not there at or below the record, and never will be: it was refused, or is above,
    /// and no batch before may have brought it. If one has, the write may be a version by now, of a commit that was
    /// recovered, over which the same write has come again, higher.
    fn refutes(&self, outcome: &Outcome<BatchResponse>, commit_ts: Timestamp) -> bool {
        let (Some(span), result) = outcome else { return false };
        let missing = match result {
            Ok(_) => written_at(outcome) > commit_ts,
            Err(error) => !is_ambiguous(error),
        };
        missing && (self.lacks_write_in(span) || planted::is_on(Bug::LandedRefuted))
    }

    /// Whether some buffered write of the span was in no batch yet that may have been executed.
    fn lacks_write_in(&self, span: &Span) -> bool {
        let has_landed = |key: &keys::Key| self.landed.iter().any(|landed| landed.contains(key.as_bytes()));
        self.buffer.range(span, u32::MAX).any(|(key, _)| !has_landed(key))
    }

    /// What follows an acknowledged commit.
    fn finish_in_background(&self, spans: Vec<Span>, commit_ts: Timestamp, staged: bool) {
        self.db.0.metrics.commits_parallel.fetch_add(1, Ordering::Relaxed);
        let mut meta = self.meta.clone();
        meta.write_ts = commit_ts;
        let db = self.db.clone();
        tokio::spawn(async move { finish_commit(db, meta, spans, commit_ts, staged).await });
    }

    /// Ends a transaction of which a record may be complete: it is aborted, unless somebody has recovered it, and what
    /// its anchor answers decides.
    pub(super) async fn abort_staged(&mut self, failed: Result<Timestamp, Error>) -> Result<Timestamp, Error> {
        let header = self.db.header_for(&self.meta);
        let end = vec![end_request(false, Vec::new())];
        let answer = self.db.send_keyed(&self.meta.anchor, header, end).await;
        let unknown = match answer {
            Ok(response) => match (committed_at(&response), response.responses.last()) {
                (Some(commit_ts), _) => {
                    let spans = self.touched_spans(&[]);
                    self.finish_in_background(spans, commit_ts, false);
                    self.close();
                    return Ok(commit_ts);
                }
                (None, Some(Response::EndTxn { was_staged: true, .. })) => {
                    // The id is used up.
                    self.finish();
                    return match failed {
                        Err(Error::Retry { at_least, .. }) => Err(restart(at_least)),
                        other => other,
                    };
                }
                (None, _) => "its record was removed meanwhile".to_owned(),
            },
            Err(error) => error.to_string(),
        };
        self.close();
        Err(Error::Ambiguous { reason: format!("the outcome of a staged commit could not be learned: {unknown}") })
    }

    /// It has ended, and what it wrote may be committed: nothing is cleaned up here.
    pub(super) fn close(&mut self) {
        self.state = State::Ended;
        self.heartbeat = None;
        self.loads = None;
    }
}
