//! Brings transactions whose coordinators are gone to their end, and cleans up after those that have one.

use std::sync::Arc;

use futures::StreamExt;
use hlc::Timestamp;
use keys::{Key, Span, TxnId, TxnMeta, TxnStatus, keyspace};
use planted::Bug;
use storage::StorageError;

use crate::{
    api::{BatchRequest, Header, KvError, PushedTxn, Request},
    replica::Replica,
    txn_record::TxnRecord,
};

/// How many staged writes of one transaction are asked for at once when it is recovered.
const QUERIES_AT_ONCE: usize = 16;

impl Replica {
    /// The end of a transaction that was pushed, if it has one; a staged one whose coordinator is gone is brought to
    /// one.
    async fn end_of(
        &self,
        txn: &TxnMeta,
        pushed: &PushedTxn,
    ) -> Result<Option<(TxnStatus, Timestamp)>, KvError> {
        match pushed.status {
            TxnStatus::Committed | TxnStatus::Aborted => return Ok(Some((pushed.status, pushed.commit_ts))),
            TxnStatus::Pending | TxnStatus::Prepared => return Ok(None),
            TxnStatus::Staging if !pushed.expired => return Ok(None),
            TxnStatus::Staging => {}
        }
        let outbound = &self.deps.outbound;
        let staged = TxnMeta { write_ts: pushed.commit_ts, ..txn.clone() };
        let queries = pushed.in_flight.iter().map(|write| {
            outbound.query_intent(write.clone(), staged.clone(), pushed.commit_ts)
        });
        // Several at a time: there may be a thousand, and whoever waits gives a push up when it takes too long.
        let mut answers = futures::stream::iter(queries.collect::<Vec<_>>()).buffer_unordered(QUERIES_AT_ONCE);
        let mut all_there = true;
        while let (true, Some(found)) = (all_there, answers.next().await) {
            all_there = found?;
        }
        drop(answers);
        let all_there = all_there || planted::is_on(Bug::StagedTakenForCommitted);
        let (status, ts) = outbound.recover_txn(staged, all_there).await?;
        Ok(status.is_final().then_some((status, ts)))
    }

    pub(super) async fn clean_up(
        &self,
        request: &BatchRequest,
        key: &Key,
        holder: TxnMeta,
        pushed: PushedTxn,
    ) -> Result<(), KvError> {
        // The intent met may be of an earlier attempt than the one that the record speaks of.
        let holder = TxnMeta { epoch: pushed.epoch, ..holder };
        let Some((status, commit_ts)) = self.end_of(&holder, &pushed).await? else { return Ok(()) };
        // What somebody waits for at once; the rest only if the coordinator is gone, and then once.
        let outbound = &self.deps.outbound;
        outbound.resolve(vec![wanted_span(request, key)], holder.clone(), status, commit_ts).await?;
        self.locks.txn_finished(holder.id);
        let rest = pushed.locks;
        if pushed.expired && !rest.is_empty() && self.resolving.lock().insert(holder.id) {
            let (outbound, resolving) = (outbound.clone(), self.resolving.clone());
            tokio::spawn(async move {
                let id = holder.id;
                if let Err(error) = outbound.resolve(rest, holder, status, commit_ts).await {
                    tracing::debug!(%error, "resolve after recovery");
                }
                resolving.lock().remove(&id);
            });
        }
        Ok(())
    }

    /// Ends what dead coordinators left behind: staged transactions are recovered, intents of finished ones resolved,
    /// and their records removed. Records of aborted ones stay until they are garbage, for they keep a coordinator
    /// that was only slow from committing. Answers how many are left of the others.
    ///
    /// # Errors
    /// When this replica does not lead. What is left because other ranges cannot be reached is left for the next round.
    pub async fn tidy_records(self: &Arc<Self>) -> Result<usize, KvError> {
        self.lease()?;
        let Some(descriptor) = self.descriptor() else { return Ok(0) };
        let span = keyspace::range_local_span(&descriptor.span());
        let found = self.deps.engine.scan_local(&span).map_err(|error| self.storage_error(error))?;
        let mut left = 0;
        for (key, bytes) in found {
            let Some((anchor, id)) = crate::txn_record::parse_key(&key) else { continue };
            let record: TxnRecord = crate::api::decode(&bytes).map_err(|error| {
                self.storage_error(StorageError::corruption(format!("transaction record {key}: {error}")))
            })?;
            // *prepared-stays*
            if matches!(record.status, TxnStatus::Aborted | TxnStatus::Prepared) {
                continue;
            }
            left += 1;
            let now_ns = self.deps.clock.now().wall_ns();
            if !self.registry.is_expired(id, record.at, now_ns) {
                continue;
            }
            // One whose ranges are away does not keep the others from their end.
            match self.tidy_record(anchor, id, record).await {
                Ok(true) => left -= 1,
                Ok(false) => {}
                Err(error) => tracing::debug!(txn = %id, %error, "its record is left for the next round"),
            }
        }
        Ok(left)
    }

    /// Whether the transaction has come to its end.
    async fn tidy_record(self: &Arc<Self>, anchor: Key, id: TxnId, record: TxnRecord) -> Result<bool, KvError> {
        let txn = TxnMeta {
            id,
            anchor: anchor.clone(),
            epoch: record.epoch,
            write_ts: record.ts,
            min_ts: record.at,
            priority: 0,
        };
        let pushed = PushedTxn {
            status: record.status,
            epoch: record.epoch,
            commit_ts: record.ts,
            in_flight: record.in_flight,
            locks: record.locks,
            expired: true,
            dependents: Vec::new(),
        };
        let Some((status, commit_ts)) = self.end_of(&txn, &pushed).await? else { return Ok(false) };
        self.deps.outbound.resolve(pushed.locks, txn, status, commit_ts).await?;
        if status == TxnStatus::Committed {
            let header = Header { range_id: self.range_id, ..Header::default() };
            let requests = vec![Request::ForgetTxn { anchor, txn_id: id }];
            self.send(&BatchRequest { header, requests }).await?;
        }
        Ok(true)
    }
}

/// What the request has yet to read from `key` on: a scan meets all the intents of a finished transaction there.
fn wanted_span(request: &BatchRequest, key: &Key) -> Span {
    let scanned = request.requests.iter().find_map(|item| match item {
        Request::Scan { span, .. } | Request::Changes { span, .. } if span.contains(key.as_bytes()) => Some(span),
        _ => None,
    });
    scanned.cloned().unwrap_or_else(|| Span::point(key.clone()))
}
