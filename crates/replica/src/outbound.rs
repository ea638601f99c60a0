//! What a replica needs of other ranges. It knows none of them; whoever assembles a store gives it this.

use async_trait::async_trait;
use hlc::Timestamp;
use keys::{Key, RangeDescriptor, RangeId, SequencedWrite, Span, TxnId, TxnMeta, TxnStatus};

use crate::api::{KvError, PushKind, PushedTxn, Request, Response};

#[async_trait]
pub trait Outbound: Send + Sync + 'static {
    /// Asks the range of `pushee`'s anchor.
    async fn push_txn(
        &self,
        pushee: TxnMeta,
        pusher: Option<TxnMeta>,
        dependents: Vec<TxnId>,
        kind: PushKind,
    ) -> Result<PushedTxn, KvError>;

    /// Asks whether a staged write is there, and prevents it if it is not.
    async fn query_intent(&self, write: SequencedWrite, txn: TxnMeta, at: Timestamp) -> Result<bool, KvError>;

    /// Ends a staged transaction whose coordinator is gone.
    async fn recover_txn(&self, txn: TxnMeta, committed: bool) -> Result<(TxnStatus, Timestamp), KvError>;

    /// Cleans up intents and locks of a finished transaction, wherever they are.
    async fn resolve(
        &self,
        spans: Vec<Span>,
        txn: TxnMeta,
        status: TxnStatus,
        commit_ts: Timestamp,
    ) -> Result<(), KvError>;

    /// Sends a request of one range to another, that of `at`.
    async fn ask_range(&self, at: &Key, request: Request) -> Result<Response, KvError>;

    /// An id no range ever had.
    async fn allocate_range_id(&self) -> Result<RangeId, KvError>;

    /// Publishes descriptors in the addressing records.
    async fn update_meta(&self, descriptors: Vec<RangeDescriptor>) -> Result<(), KvError>;
}
