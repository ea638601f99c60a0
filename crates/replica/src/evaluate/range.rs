//! What ranges are kept in order with: garbage collection, and the addressing records.

use hlc::Timestamp;
use keys::{RangeDescriptor, Span, TxnStatus, keyspace};
use storage::StorageError;

use crate::{
    api::{KvError, Response},
    command::Effect,
    evaluate::{EvalError, Evaluator, State, txn::decode_record, write::newest},
};

/// How many keys one round of garbage collection looks at before it says how to go on.
const GC_KEYS_MAX: u64 = 10_000;

impl Evaluator<'_> {
    /// Removes what nobody can ask for at or above the threshold: versions of a part of the span, and the word on
    /// transactions that were aborted before it.
    pub(super) fn gc(&self, state: &mut State<'_>, span: &Span, threshold: Timestamp) -> Result<Response, EvalError> {
        let threshold = threshold.max(self.gc_threshold);
        let Some(span) = span.intersect(&self.descriptor.span()) else {
            return Ok(Response::Gc { keys: 0, resume: None });
        };
        let (batch, resume) = raft::blocking(|| self.engine.gc_span(&span, threshold, GC_KEYS_MAX))?;
        state.out.batch.merge(&batch);
        for (key, bytes) in self.engine.scan_local(&keyspace::range_local_span(&span))? {
            let Some((_, txn_id)) = crate::txn_record::parse_key(&key) else { continue };
            let record = decode_record(&bytes)?;
            if record.status == TxnStatus::Aborted && record.at <= threshold {
                self.registry.forget(txn_id);
                state.out.batch.delete_local(key.as_bytes());
            }
        }
        if !state.out.batch.is_empty() || self.cleared.has_below(threshold) {
            state.out.effect = Some(Effect::Gc { threshold });
        }
        Ok(Response::Gc { keys: state.out.batch.len() as u64, resume })
    }

    /// Removes everything in a span. Whoever has written there and not ended is waited for: a staged commit is judged by
    /// whether its intents are there, and must not be found wanting.
    pub(super) fn clear_range(
        &self,
        state: &mut State<'_>,
        span: &Span,
        at: Timestamp,
    ) -> Result<Response, EvalError> {
        if state.request.requests.len() > 1 {
            return Err(KvError::Invalid { reason: "a clear stands alone in its batch".into() }.into());
        }
        let intents = self.engine.locks_in(span, 1)?;
        if !intents.is_empty() {
            return Err(EvalError::Intents(intents));
        }
        state.out.batch.clear_span(span);
        state.out.effect = Some(Effect::Clear { span: span.clone(), at });
        Ok(Response::Done)
    }

    pub(super) fn update_meta(&self, state: &mut State<'_>, descriptor: &RangeDescriptor) -> Result<Response, EvalError> {
        let key = keyspace::meta(&descriptor.end);
        let stored = newest(|options| self.engine.get(key.as_bytes(), options))?;
        if let Some((bytes, _)) = &stored {
            let known: RangeDescriptor = crate::api::decode(bytes).map_err(|error| {
                EvalError::Storage(StorageError::corruption(format!("addressing record {key}: {error}")))
            })?;
            // Ranges with the same end: the one that begins later is the result of a split, and so newer.
            let newer = descriptor.start > known.start
                || (descriptor.range_id == known.range_id && descriptor.generation > known.generation);
            if !newer {
                return Ok(Response::Done);
            }
        }
        let (read, _) = self.cache.get_max(&key);
        let mut ts = state.write_ts.max(read.next());
        if let Some((_, newest)) = stored {
            ts = ts.max(newest.next());
        }
        self.put_version(state, key.as_bytes(), ts, Some(&crate::api::encode(descriptor)));
        state.write_ts = ts;
        Ok(Response::Done)
    }
}
