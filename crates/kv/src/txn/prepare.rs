//! The first half of a two-phase commit: a transaction gives up its coordinator and keeps its promise without one.
//!
//! ```text
//! 1. name    a row under the name it is prepared as, in a transaction of its own: who has the name has it alone
//! 2. write   the row's deletion joins the transaction's writes, and all of them become intents
//! 3. T       what was read is refreshed up to where the intents stand
//! 4. locks   each range writes down which rows it has locked
//! 5. record  the anchor's record says *prepared at T*: from here on it is out of our hands
//! ```
//! As the transaction deletes its own row, the name is free the moment it commits. When it is rolled back, or was given
//! up half way, the row is removed by who ended it, or by the next that comes upon it ([`crate::PreparedTxn`]).
//!
//! **Invariants**: *prepared-stays* and *prepared-as-read*, which `replica` (`evaluate/prepared.rs`) states and upholds.
//! Here: step 5 is sent with `read_ts = write_ts = T` after everything before it was answered, and when its answer is lost,
//! the answer to an attempt to abort the transaction decides.

use hlc::Timestamp;
use keys::{Span, TxnStatus, keyspace};
use replica::api::{AbortReason, Header, Request, Response, WaitPolicy};

use super::{
    CommitSent, Txn,
    commit::{end_request, end_txn_answer},
    spans::Reread,
};
use crate::{
    db::{SendError, unexpected},
    error::{Error, Restart},
};

impl Txn {
    /// Prepares the transaction under a name; answers where it will commit, or nothing when the name is taken. `info` is
    /// kept with the name.
    ///
    /// # Errors
    /// As a commit; `Ambiguous` when it may be prepared.
    pub async fn prepare(&mut self, gid: &str, info: &[u8]) -> Result<Option<Timestamp>, Error> {
        self.ensure_open()?;
        if self.commit_sent == CommitSent::Sent {
            // An earlier attempt to commit may have succeeded: that is not to be prepared.
            return Err(super::commit::restart(Timestamp::MIN));
        }
        self.load_rest().await?;
        self.resolve_check().await?;
        self.settle_snapshots().await?;
        let name = keyspace::prepared_txn(gid);
        self.anchor_at(&name);
        match self.db.take_name(gid, &self.meta, info).await {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            // It may have the name, which must not stay with what nobody prepares.
            Err(error @ Error::Ambiguous { .. }) => return self.give_up_prepared(gid, false, error).await.map(Some),
            Err(error) => return Err(error),
        }
        self.delete(name);
        let mut is_sent = false;
        match self.become_prepared(&mut is_sent).await {
            Ok(ts) => {
                self.close();
                Ok(Some(ts))
            }
            Err(error) => self.give_up_prepared(gid, is_sent, error).await.map(Some),
        }
    }

    async fn become_prepared(&mut self, is_sent: &mut bool) -> Result<Timestamp, Error> {
        self.spill().await?;
        // *prepared-as-read*
        if self.meta.write_ts > self.read_ts {
            self.refresh(self.meta.write_ts).await?;
        }
        self.meta.write_ts = self.read_ts;
        self.keep_locks().await?;
        let mut spans = self.locks.clone();
        self.intents.iter().for_each(|span| spans.add(span.clone()));
        let locks = spans.into_recorded();
        loop {
            let range = self.db.locate(self.meta.anchor.as_bytes()).await?;
            let header = Header { can_forward: false, ..self.header(&range, WaitPolicy::Block) };
            assert!(self.read_ts == self.meta.write_ts, "prepared-as-read");
            *is_sent = true;
            // It may come late: the record that aborts it must still be there then.
            self.commit_sent = CommitSent::Sent;
            match self.db.send_to(&range, header, vec![Request::PrepareTxn { locks: locks.clone() }]).await {
                Ok(response) => match response.responses.first() {
                    Some(Response::Prepared { status: TxnStatus::Prepared, ts }) => return Ok(*ts),
                    other => return Err(unexpected("Prepared", other)),
                },
                Err(SendError::Reroute) => {}
                Err(SendError::Kv(error)) => return Err(error.into()),
            }
        }
    }

    /// *prepared-keeps-locks*
    async fn keep_locks(&self) -> Result<(), Error> {
        let locks = self.locks.iter();
        let mut todo: Vec<Reread> = locks
            .map(|span| Reread { span: span.clone(), deletions_only: false, from: self.read_ts })
            .collect();
        while !todo.is_empty() {
            for (range, pieces) in self.group_spans(std::mem::take(&mut todo)).await? {
                let spans: Vec<Span> = pieces.iter().map(|piece| piece.span.clone()).collect();
                let header = Header { can_forward: false, ..self.header(&range, WaitPolicy::Block) };
                match self.db.send_to(&range, header, vec![Request::KeepLocks { spans }]).await {
                    Ok(_) => {}
                    Err(SendError::Reroute) => todo.extend(pieces),
                    Err(SendError::Kv(error)) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// After a failure: the transaction is aborted for good, or is prepared after all.
    async fn give_up_prepared(&mut self, gid: &str, is_sent: bool, error: Error) -> Result<Timestamp, Error> {
        // Its intents, its name's among them, are of this id: another attempt is another transaction.
        self.is_doomed = true;
        let header = self.db.header_for(&self.meta);
        let answer = self.db.send_keyed(&self.meta.anchor, header, vec![end_request(false, Vec::new())]).await;
        match answer.and_then(|response| end_txn_answer(&response)) {
            Ok((TxnStatus::Prepared, ts)) => {
                self.close();
                return Ok(ts);
            }
            Ok(_) => {}
            Err(unknown) if is_sent => {
                self.close();
                let reason = format!("whether the transaction is prepared could not be learned: {unknown}");
                return Err(Error::Ambiguous { reason });
            }
            // It was never asked to be prepared, and nobody will.
            Err(_) => {}
        }
        if let Err(error) = self.db.free_name(gid, self.meta.id).await {
            tracing::debug!(txn = %self.meta.id, %error, "the name of what was given up is freed later");
        }
        Err(match error {
            Error::Ambiguous { .. } => Error::Retry {
                reason: Restart::Aborted(AbortReason::RecordGone),
                at_least: Timestamp::MIN,
            },
            error => error,
        })
    }
}
