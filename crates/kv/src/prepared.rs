//! Prepared transactions by name: taking a name, finding the transaction behind one, ending it, from any node.
//!
//! ```text
//! /System/"prepared"/<name>   ─▶   the transaction, and what the layers above want to know of it
//! ```
//! The row alone says nothing: it is written before the transaction is prepared and may be left behind by one that never
//! was. Its transaction's record decides, and is asked each time:
//!
//! | the record says | the name is |
//! | --- | --- |
//! | prepared | its |
//! | nothing, and its coordinator sends heartbeats | reserved: it is being prepared, and cannot be ended yet |
//! | committed, aborted, or nothing any more | free |
//!
//! Rows are looked at as they are committed, whatever is under way: the row of a prepared transaction has an intent of that
//! transaction over it, which deletes it.

use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use keys::{Key, Span, TxnId, TxnMeta, TxnStatus, keyspace};
use replica::{
    Outbound,
    api::{KvError, PushKind, PushedTxn, Request, Response},
};

use crate::{
    db::{Db, unexpected},
    error::Error,
    txn::{Keep, Read, ScanOptions, TxnOptions},
};

/// How long another that takes the same name is waited for.
const NAME_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the end of a prepared transaction waits for what it has held to be free.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);
/// An end whose answer is lost is asked for again so often: it is the same end.
const MAX_AMBIGUOUS: usize = 5;

/// A transaction under the name it was prepared as.
#[derive(Clone, Debug)]
pub struct PreparedTxn {
    pub gid: String,
    /// As it was given.
    pub info: Bytes,
    meta: TxnMeta,
}

impl PreparedTxn {
    #[must_use]
    pub fn id(&self) -> TxnId {
        self.meta.id
    }

    fn decode(key: &Key, value: &[u8]) -> Result<Self, Error> {
        let damaged = || Error::Internal { reason: format!("the row of a prepared transaction is damaged: {key}") };
        let mut rest = &key.as_bytes()[keyspace::prepared_txns().start.as_bytes().len()..];
        let mut gid = Vec::new();
        keys::encoding::take_bytes(&mut rest, &mut gid).map_err(|_| damaged())?;
        let gid = String::from_utf8(gid).map_err(|_| damaged())?;
        let (meta, info): (TxnMeta, Vec<u8>) = replica::api::decode(value).map_err(|_| damaged())?;
        Ok(Self { gid, info: info.into(), meta })
    }
}

impl Db {
    /// All transactions that are prepared now, by name.
    ///
    /// # Errors
    /// When they cannot be reached.
    pub async fn prepared_txns(&self) -> Result<Vec<PreparedTxn>, Error> {
        let mut prepared = Vec::new();
        for found in self.prepared_rows(keyspace::prepared_txns()).await? {
            if self.standing(&found).await?.status == TxnStatus::Prepared {
                prepared.push(found);
            }
        }
        Ok(prepared)
    }

    /// How many names are taken, at most.
    ///
    /// # Errors
    /// As [`Db::prepared_txns`].
    pub async fn prepared_count(&self) -> Result<usize, Error> {
        Ok(self.prepared_rows(keyspace::prepared_txns()).await?.len())
    }

    /// The transaction that is prepared under a name.
    ///
    /// # Errors
    /// As [`Db::prepared_txns`].
    pub async fn find_prepared(&self, gid: &str) -> Result<Option<PreparedTxn>, Error> {
        let Some(found) = self.prepared_rows(Span::point(keyspace::prepared_txn(gid))).await?.pop() else {
            return Ok(None);
        };
        let is_prepared = self.standing(&found).await?.status == TxnStatus::Prepared;
        Ok(is_prepared.then_some(found))
    }

    /// Commits a prepared transaction, or rolls it back; false when it was not prepared any more.
    ///
    /// # Errors
    /// `Ambiguous` when it may have ended.
    pub async fn end_prepared(&self, prepared: &PreparedTxn, commit: bool) -> Result<bool, Error> {
        let standing = self.standing(prepared).await?;
        if standing.status != TxnStatus::Prepared {
            return Ok(false);
        }
        let mut meta = TxnMeta { epoch: standing.epoch, ..prepared.meta.clone() };
        let mut attempts = 0;
        let (status, ts) = loop {
            let request = Request::EndPrepared { txn: meta.clone(), commit };
            match self.ask(&meta.anchor, request).await {
                Ok(Response::Prepared { status, ts }) => break (status, ts),
                Ok(other) => {
                    let reason = unexpected("Prepared", Some(&other)).to_string();
                    return Err(if attempts > 0 { Error::Ambiguous { reason } } else { Error::Internal { reason } });
                }
                Err(KvError::Ambiguous { .. }) if attempts < MAX_AMBIGUOUS => attempts += 1,
                // Whatever keeps it from being asked again says nothing of what was asked before.
                Err(error) if attempts > 0 => return Err(Error::Ambiguous { reason: error.to_string() }),
                Err(error) => return Err(error.into()),
            }
        };
        match (status, commit) {
            (TxnStatus::Committed, true) | (TxnStatus::Aborted, false) => {}
            (TxnStatus::Committed, false) | (TxnStatus::Aborted, true) => return Ok(false),
            (TxnStatus::Pending | TxnStatus::Staging | TxnStatus::Prepared, _) => {
                let reason = format!("the record of {} went while its end was asked for", meta.id);
                return Err(Error::Ambiguous { reason });
            }
        }
        meta.write_ts = ts;
        let (db, gid, locks) = (self.clone(), prepared.gid.clone(), standing.locks);
        // In a task of its own: its client may be gone before all ranges have been told.
        let released = tokio::spawn(async move {
            if db.resolve_spans(locks, meta.clone(), status, ts).await && commit {
                db.forget_txn(&meta).await;
            }
            if !commit && let Err(error) = db.free_name(&gid, meta.id).await {
                tracing::debug!(txn = %meta.id, %error, "its name is freed later");
            }
        });
        if tokio::time::timeout(RELEASE_TIMEOUT, released).await.is_err() {
            tracing::debug!(txn = %prepared.meta.id, "what it has held is freed later");
        }
        Ok(true)
    }

    /// Takes a name for a transaction that is about to be prepared; false when it is another's.
    pub(crate) async fn take_name(&self, gid: &str, meta: &TxnMeta, info: &[u8]) -> Result<bool, Error> {
        let key = keyspace::prepared_txn(gid);
        // Before it waits for an intent that stays.
        if let Some(found) = self.prepared_rows(Span::point(key.clone())).await?.pop()
            && !self.is_free(&found).await?
        {
            return Ok(false);
        }
        let value = replica::api::encode(&(meta, info));
        let taken = self
            .run(|txn| {
                let (key, value) = (key.clone(), value.clone());
                async move {
                    txn.set_lock_timeout(Some(NAME_TIMEOUT));
                    if let Some(found) = txn.get(&key, Read::default()).await? {
                        let found = PreparedTxn::decode(&key, &found)?;
                        if !txn.db().is_free(&found).await? {
                            return Ok(false);
                        }
                    }
                    txn.put(key, value);
                    Ok::<bool, Error>(true)
                }
                .boxed()
            })
            .await;
        match taken {
            // The row has the intent of a prepared transaction, whose name this is.
            Err(Error::LockTimeout { .. }) => Ok(false),
            taken => taken,
        }
    }

    /// Removes the row of a transaction that has been aborted.
    pub(crate) async fn free_name(&self, gid: &str, id: TxnId) -> Result<(), Error> {
        let key = keyspace::prepared_txn(gid);
        self.run(|txn| {
            let key = key.clone();
            async move {
                txn.set_lock_timeout(Some(NAME_TIMEOUT));
                if let Some(found) = txn.get(&key, Read::default()).await?
                    && PreparedTxn::decode(&key, &found)?.meta.id == id
                {
                    txn.delete(key);
                }
                Ok::<(), Error>(())
            }
            .boxed()
        })
        .await
    }

    async fn is_free(&self, found: &PreparedTxn) -> Result<bool, Error> {
        Ok(match self.standing(found).await?.status {
            TxnStatus::Committed | TxnStatus::Aborted => true,
            TxnStatus::Pending | TxnStatus::Staging | TxnStatus::Prepared => false,
        })
    }

    /// What the record of a row's transaction says. One that is heard of no more is aborted by the question.
    async fn standing(&self, found: &PreparedTxn) -> Result<PushedTxn, Error> {
        Ok(self.push_txn(found.meta.clone(), None, Vec::new(), PushKind::Query).await?)
    }

    /// Rows as they are committed, whatever is under way.
    async fn prepared_rows(&self, span: Span) -> Result<Vec<PreparedTxn>, Error> {
        let mut txn = self.begin(TxnOptions::default());
        let read = Read { keep: Keep::Never, ..Read::default() };
        let (mut rest, mut found) = (Some(span), Vec::new());
        while let Some(span) = rest {
            let page = txn.scan(&span, ScanOptions { read, ..ScanOptions::default() }).await?;
            for row in 0..page.rows.len() {
                let key = Key::from(page.rows.key_bytes(row));
                found.push(PreparedTxn::decode(&key, &page.rows.value_bytes(row))?);
            }
            rest = page.resume;
        }
        Ok(found)
    }
}
