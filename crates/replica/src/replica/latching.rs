//! Which latches a batch holds while it is evaluated and until it is applied.

use concurrency::{LatchGuard, LatchSpan, LatchSpans};
use hlc::Timestamp;
use keys::{Key, Span, keyspace};

use crate::{
    api::{BatchRequest, KvError, Request, hull},
    replica::Replica,
    state,
};

impl Replica {
    /// Holds every latch of the range: nothing is evaluated or under way.
    ///
    /// Records of transactions and the range's own are latched apart from the keys they go with.
    pub(crate) async fn quiesce(&self) -> Result<LatchGuard, KvError> {
        loop {
            let span = self.descriptor().map_or_else(Span::all, |descriptor| descriptor.span());
            let local = keyspace::range_local_span(&span);
            let own = Span::point(state::gc_key(self.range_id));
            let spans = [span.clone(), local, own].map(LatchSpan::write_unversioned);
            let latch = self.latched(spans.into_iter().collect()).await?;
            // While this waited, another leaseholder may have merged it with its neighbour.
            if self.descriptor().map_or_else(Span::all, |descriptor| descriptor.span()) == span {
                return Ok(latch);
            }
        }
    }

    /// Waits for latches, as long as there is a lease to hold them under: who has them may be waiting for a quorum.
    pub(crate) async fn latched(&self, spans: LatchSpans) -> Result<LatchGuard, KvError> {
        tokio::select! {
            biased;
            latch = self.latches.acquire(spans) => Ok(latch),
            () = self.group.lease_gone() => Err(self.not_leaseholder(None)),
        }
    }
}

/// The latches of a batch.
pub(super) fn latch_spans(request: &BatchRequest, now: Timestamp) -> LatchSpans {
    let header = &request.header;
    let txn = header.txn.as_ref();
    let at = if header.ts.is_min() { now } else { header.ts };
    let read_ts = txn.map_or(at, |txn| txn.read_ts);
    let write_ts = txn.map_or(at, |txn| txn.meta.write_ts.max(txn.read_ts));
    let mut spans = LatchSpans::new();
    let record = |anchor: &Key, txn_id| Span::point(keyspace::txn_record(anchor, txn_id));
    for item in &request.requests {
        match item {
            Request::Get { key, lock: None } => spans.push(LatchSpan::read(Span::point(key.clone()), read_ts)),
            Request::Scan { span, lock: None, .. } => spans.push(LatchSpan::read(span.clone(), read_ts)),
            Request::Get { key, lock: Some(_) } => spans.push(LatchSpan::read_unversioned(Span::point(key.clone()))),
            Request::Scan { span, lock: Some(_), .. } => spans.push(LatchSpan::read_unversioned(span.clone())),
            Request::GetMany { keys, lock: None } => spans.push(LatchSpan::read(hull(keys), read_ts)),
            Request::GetMany { keys, lock: Some(_) } => spans.push(LatchSpan::read_unversioned(hull(keys))),
            Request::LockMany { keys, .. } => spans.push(LatchSpan::read_unversioned(keys.hull())),
            Request::Put { key, .. } | Request::Delete { key, .. } => {
                spans.push(LatchSpan::write(Span::point(key.clone()), write_ts));
            }
            Request::WriteMany { writes } => spans.push(LatchSpan::write_keys(writes.keys().clone(), write_ts)),
            Request::Increment { key, .. } => spans.push(LatchSpan::write_unversioned(Span::point(key.clone()))),
            Request::ClearRange { span, .. } => {
                spans.push(LatchSpan::write_unversioned(span.clone()));
                // It may raise the threshold.
                spans.push(LatchSpan::write_unversioned(Span::point(state::gc_key(header.range_id))));
            }
            Request::Load { ts, rows } => {
                if let (Some((first, _)), Some((last, _))) = (rows.first(), rows.last()) {
                    spans.push(LatchSpan::write(Span::new(first.clone(), last.next()), *ts));
                }
                // It is held against the threshold: that must not move until the rows are there.
                spans.push(LatchSpan::read_unversioned(Span::point(state::gc_key(header.range_id))));
            }
            Request::UpdateMeta { descriptor } => {
                let (start, end) = (keyspace::meta(&descriptor.start), keyspace::meta(&descriptor.end).next());
                spans.push(LatchSpan::write_unversioned(Span::new(start, end.clone())));
                // The record of a range that reaches beyond it.
                spans.push(LatchSpan::read_unversioned(Span::new(end, keyspace::meta_span().end)));
            }
            Request::EndTxn { reads, present, .. } => {
                if let Some(txn) = txn {
                    spans.push(LatchSpan::write_unversioned(record(&txn.meta.anchor, txn.meta.id)));
                }
                // A commit may have to move its reads up: nothing may be under way beneath them.
                spans.extend(reads.iter().chain(present).map(|read| LatchSpan::read_unversioned(read.clone())));
            }
            Request::Refresh { span, .. } | Request::Changes { span, .. } => spans.push(LatchSpan::read(span.clone(), read_ts)),
            Request::HeartbeatTxn { anchor, txn_id, .. } => {
                spans.push(LatchSpan::read_unversioned(record(anchor, *txn_id)));
            }
            Request::PrepareTxn { .. } => {
                if let Some(txn) = txn {
                    spans.push(LatchSpan::write_unversioned(record(&txn.meta.anchor, txn.meta.id)));
                }
            }
            Request::EndPrepared { txn, .. } => {
                spans.push(LatchSpan::write_unversioned(record(&txn.anchor, txn.id)));
            }
            Request::KeepLocks { spans: kept } => {
                spans.extend(kept.iter().map(|span| LatchSpan::read_unversioned(span.clone())));
            }
            Request::ForgetTxn { anchor, txn_id } => {
                spans.push(LatchSpan::write_unversioned(record(anchor, *txn_id)));
            }
            Request::PushTxn { pushee, .. } => {
                spans.push(LatchSpan::write_unversioned(record(&pushee.anchor, pushee.id)));
            }
            Request::RecoverTxn { txn, .. } | Request::SettleCommit { txn, .. } => {
                spans.push(LatchSpan::write_unversioned(record(&txn.anchor, txn.id)));
            }
            Request::QueryIntent { write, at, .. } => spans.push(LatchSpan::read(Span::point(write.key.clone()), *at)),
            Request::ResolveSpan { span, commit_ts, status, .. } => {
                let ts = if *status == keys::TxnStatus::Committed { *commit_ts } else { Timestamp::MAX };
                spans.push(LatchSpan::write(span.clone(), ts));
            }
            Request::KeepSplit { at, .. } => {
                spans.push(LatchSpan::write_unversioned(Span::point(keyspace::kept_split(at))));
            }
            Request::Gc { .. } => spans.push(LatchSpan::write_unversioned(Span::point(state::gc_key(header.range_id)))),
            // Latched key by key once it is known which.
            Request::LockFirst { .. }
            | Request::Look { .. }
            | Request::Split { .. }
            | Request::ChangeReplicas { .. }
            | Request::TransferLease { .. }
            | Request::Describe
            | Request::Merge
            | Request::Freeze { .. }
            | Request::MergeOutcome { .. }
            | Request::Thaw { .. }
            | Request::RangeStats
            | Request::Checksum { .. } => {}
        }
    }
    spans
}
