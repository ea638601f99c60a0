//! Intents, once the state of their transactions matters: whether they count, and their removal.

use hlc::Timestamp;
use keys::{SequencedWrite, Span, TxnMeta, TxnStatus};
use planted::Bug;

use crate::{
    api::{KvError, Response},
    evaluate::{EvalError, Evaluator, State},
};

/// How many intents the resolutions of one batch remove before they say how to go on.
pub(super) const RESOLVE_MAX: usize = 5_000;
/// And how many bytes their command may have.
const RESOLVE_MAX_BYTES: usize = 4 << 20;

impl Evaluator<'_> {
    /// Whether that very write is there: an earlier one of the same key, by its epoch or its number, is not what the
    /// transaction was to commit.
    pub(super) fn query_intent(
        &self,
        state: &mut State<'_>,
        write: &SequencedWrite,
        txn: &TxnMeta,
        at: Timestamp,
    ) -> Result<Response, EvalError> {
        let SequencedWrite { key, seq } = write;
        let found = self.engine.lock(key.as_bytes())?.is_some_and(|lock| {
            let is_that_write = lock.seq == *seq || planted::is_on(Bug::SequenceIgnored);
            lock.txn.id == txn.id && lock.txn.epoch == txn.epoch && is_that_write && lock.ts <= at
        });
        if !found {
            // Remembered as a read by no transaction: the write, should it still come, goes above, also over an
            // intent of its own transaction (*write-above-read*).
            state.out.reads.push((Span::point(key.clone()), at));
        }
        Ok(Response::QueryIntent { found })
    }

    pub(super) fn resolve_span(
        &self,
        state: &mut State<'_>,
        span: &Span,
        txn: &TxnMeta,
        status: TxnStatus,
        commit_ts: Timestamp,
    ) -> Result<Response, EvalError> {
        if state.resolve_left == 0 || state.out.batch.byte_size() > RESOLVE_MAX_BYTES {
            return Ok(Response::ResolveSpan { resume: Some(span.clone()) });
        }
        let found = self.engine.locks_in(span, state.resolve_left)?;
        let mut resume = match found.last() {
            Some((key, _)) if found.len() == state.resolve_left => Some(Span::new(key.next(), span.end.clone())),
            _ => None,
        };
        state.resolve_left -= found.len();
        for (key, lock) in found {
            if state.out.batch.byte_size() > RESOLVE_MAX_BYTES {
                resume = Some(Span::new(key, span.end.clone()));
                break;
            }
            if lock.txn.id != txn.id {
                continue;
            }
            // What an earlier epoch wrote was never part of what committed. Nor is what lies above: a write that has come
            // again after its commit was resolved, or one that was written over since (*newest-write-stays*).
            let commit = match status {
                TxnStatus::Committed if lock.txn.epoch == txn.epoch && lock.ts <= commit_ts => Some(commit_ts),
                TxnStatus::Committed | TxnStatus::Aborted => None,
                TxnStatus::Pending | TxnStatus::Staging | TxnStatus::Prepared => {
                    return Err(KvError::Invalid { reason: "only a finished transaction is resolved".into() }.into());
                }
            };
            self.engine.resolve_intent(&mut state.out.batch, key.as_bytes(), &lock, commit)?;
        }
        self.forget_kept_locks(state, span, txn.id)?;
        if resume.is_none() {
            state.out.ended.resolved.push(txn.id);
        }
        Ok(Response::ResolveSpan { resume })
    }
}
