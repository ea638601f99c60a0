//! What a session asks of the nodes of the cluster: which rows are locked, and which sessions wait for which.

use futures::future::BoxFuture;
use keys::TxnId;

/// The cluster around a node. Its answers are as of a moment ago, and lack those of nodes that do not answer in time.
pub trait Cluster: Send + Sync {
    /// The locks of rows that ranges know of, and who waits for them. A row that was only written is known to be locked
    /// once another transaction has met it.
    fn row_locks(&self) -> BoxFuture<'_, Vec<RowLock>>;
}

/// A transaction that holds a lock, or waits for it.
#[derive(Clone, Debug)]
pub struct RowLock {
    pub database: Option<u32>,
    /// The table's id in the catalog; none for what is no row of a table.
    pub table: Option<u32>,
    pub is_advisory: bool,
    /// None: it reads, and holds nothing.
    pub txn: Option<TxnId>,
    pub mode: &'static str,
    /// The transaction that is in its way; none where it holds the lock, or is next to.
    pub behind: Option<TxnId>,
    pub is_held: bool,
    pub session: Option<SessionOf>,
}

/// Whose transaction it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionOf {
    pub node: u64,
    pub pid: i32,
    /// It is a session of the node that asks.
    pub is_here: bool,
}
