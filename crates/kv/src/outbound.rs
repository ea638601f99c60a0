//! How a replica reaches other ranges: through the same routing as everybody.

use async_trait::async_trait;
use hlc::Timestamp;
use keys::{Key, RangeDescriptor, RangeId, SequencedWrite, Span, TxnId, TxnMeta, TxnStatus, keyspace};
use replica::{
    Outbound,
    api::{Header, KvError, PushKind, PushedTxn, Request, Response},
};

use crate::db::{Db, unexpected};

impl Db {
    pub(crate) async fn ask(&self, key: &Key, request: Request) -> Result<Response, KvError> {
        let response = self.send_keyed(key, Header::default(), vec![request]).await?;
        response
            .responses
            .into_iter()
            .next()
            .ok_or_else(|| KvError::Internal { reason: "a batch of one request had no response".into() })
    }
}

fn wrong(expected: &str, got: &Response) -> KvError {
    KvError::Internal { reason: unexpected(expected, Some(got)).to_string() }
}

#[async_trait]
impl Outbound for Db {
    async fn push_txn(
        &self,
        pushee: TxnMeta,
        pusher: Option<TxnMeta>,
        dependents: Vec<TxnId>,
        kind: PushKind,
    ) -> Result<PushedTxn, KvError> {
        let anchor = pushee.anchor.clone();
        match self.ask(&anchor, Request::PushTxn { pushee: Box::new(pushee), pusher: pusher.map(Box::new), dependents, kind }).await? {
            Response::PushTxn(pushed) => Ok(*pushed),
            other => Err(wrong("PushTxn", &other)),
        }
    }

    async fn query_intent(&self, write: SequencedWrite, txn: TxnMeta, at: Timestamp) -> Result<bool, KvError> {
        let key = write.key.clone();
        match self.ask(&key, Request::QueryIntent { write, txn: Box::new(txn), at }).await? {
            Response::QueryIntent { found } => Ok(found),
            other => Err(wrong("QueryIntent", &other)),
        }
    }

    async fn recover_txn(&self, txn: TxnMeta, committed: bool) -> Result<(TxnStatus, Timestamp), KvError> {
        let anchor = txn.anchor.clone();
        match self.ask(&anchor, Request::RecoverTxn { txn: Box::new(txn), committed }).await? {
            Response::RecoverTxn { status, commit_ts } => Ok((status, commit_ts)),
            other => Err(wrong("RecoverTxn", &other)),
        }
    }

    async fn resolve(
        &self,
        spans: Vec<Span>,
        txn: TxnMeta,
        status: TxnStatus,
        commit_ts: Timestamp,
    ) -> Result<(), KvError> {
        if self.resolve_spans(spans, txn.clone(), status, commit_ts).await {
            return Ok(());
        }
        Err(KvError::Internal { reason: format!("not every range could be told of {}", txn.id) })
    }

    async fn ask_range(&self, at: &Key, request: Request) -> Result<Response, KvError> {
        self.ask(at, request).await
    }

    async fn allocate_range_id(&self) -> Result<RangeId, KvError> {
        let id = self
            .increment(&keyspace::system("id/range"), 1)
            .await
            .map_err(|error| KvError::Internal { reason: format!("range id: {error}") })?;
        u64::try_from(id)
            .map(RangeId::new)
            .map_err(|_| KvError::Internal { reason: format!("range id counter stands at {id}") })
    }

    async fn update_meta(&self, descriptors: Vec<RangeDescriptor>) -> Result<(), KvError> {
        for descriptor in descriptors {
            let key = keyspace::meta(&descriptor.end);
            let mut attempts = 0;
            loop {
                let request = Request::UpdateMeta { descriptor: Box::new(descriptor.clone()) };
                match self.ask(&key, request).await {
                    Ok(_) => break,
                    // Publishing twice is publishing once.
                    Err(KvError::Ambiguous { .. }) if attempts < 5 => attempts += 1,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}
