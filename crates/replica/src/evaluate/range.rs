//! What ranges are kept in order with: garbage collection, and the addressing records.

use hlc::Timestamp;
use keys::{RangeDescriptor, Span, TxnStatus, keyspace};
use storage::{ScanLimits, StorageError};

use crate::{
    api::{KvError, Response},
    command::Effect,
    evaluate::{EvalError, Evaluator, State, txn::decode_record, write::newest},
};

/// Addressing records looked at in one step.
const META_RECORDS_AT_ONCE: u64 = 256;
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

    /// Publishes a descriptor, unless one of what it spans is newer: *generation-grows-by-key* ([`crate::merge`]). Records
    /// of ranges that ended within it are of ranges that were merged, and go.
    pub(super) fn update_meta(&self, state: &mut State<'_>, descriptor: &RangeDescriptor) -> Result<Response, EvalError> {
        let key = keyspace::meta(&descriptor.end);
        let mut span = keyspace::meta_lookup_span(&descriptor.start);
        let (mut outdated, mut stored) = (Vec::new(), false);
        'records: loop {
            let limits = ScanLimits { max_keys: META_RECORDS_AT_ONCE, max_bytes: 0, reverse: false };
            let found = newest(|options| self.engine.scan(&span, options, limits))?;
            for (at, bytes) in found.rows.iter() {
                let known: RangeDescriptor = crate::api::decode(bytes).map_err(|error| {
                    let record = format!("addressing record {}: {error}", keys::Key::from(at));
                    EvalError::Storage(StorageError::corruption(record))
                })?;
                let is_of_later = at > key.as_bytes();
                if is_of_later && known.start >= descriptor.end {
                    break 'records;
                }
                if known.generation >= descriptor.generation {
                    return Ok(Response::Done);
                }
                if is_of_later {
                    break 'records;
                }
                stored |= at == key.as_bytes();
                if at != key.as_bytes() {
                    outdated.push(keys::Key::from(at));
                }
            }
            match found.resume {
                Some(rest) => span = rest,
                None => break,
            }
        }
        let touched = Span::new(keyspace::meta(&descriptor.start), key.next());
        let (read, _) = self.cache.get_max_span(&touched);
        let mut ts = state.write_ts.max(read.next());
        let mut all = outdated;
        if stored {
            all.push(key.clone());
        }
        for at in &all {
            if let Some((_, newest)) = newest(|options| self.engine.get(at.as_bytes(), options))? {
                ts = ts.max(newest.next());
            }
        }
        for at in all.iter().filter(|at| **at != key) {
            self.put_version(state, at.as_bytes(), ts, None);
        }
        self.put_version(state, key.as_bytes(), ts, Some(&crate::api::encode(descriptor)));
        state.write_ts = ts;
        Ok(Response::Done)
    }
}
