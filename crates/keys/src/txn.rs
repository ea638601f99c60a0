//! What every layer below SQL must know of a transaction.

use hlc::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Key, TxnId};

/// How far a transaction has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TxnStatus {
    Pending,
    /// Committed if and only if every write it lists is replicated: a parallel commit under way.
    Staging,
    Committed,
    Aborted,
}

impl TxnStatus {
    /// No later message can change it.
    #[must_use]
    pub fn is_final(self) -> bool {
        match self {
            Self::Pending | Self::Staging => false,
            Self::Committed | Self::Aborted => true,
        }
    }
}

/// How strongly a key is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LockStrength {
    /// Others may share it, none may write: FOR SHARE.
    Shared,
    /// One holder; plain reads pass: FOR UPDATE, and what UPDATE and DELETE take where they read.
    Exclusive,
    /// A replicated provisional version: reads at or above its timestamp must wait or push.
    Intent,
}

/// The part of a transaction that its locks and intents carry.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TxnMeta {
    pub id: TxnId,
    /// The first key it locked: its record is filed there.
    pub anchor: Key,
    /// Grows with each restart under the same id; what an older epoch wrote is void.
    pub epoch: u32,
    /// Where its writes stand, and so the least timestamp it can commit at.
    pub write_ts: Timestamp,
    /// When it began: no record of it can be older.
    pub min_ts: Timestamp,
    /// Larger wins where one of two must yield.
    pub priority: u32,
}

/// One write of a transaction. Sequence numbers rise with the writes of an epoch, so that together with the epoch they
/// tell the writes of a key apart: one that is late or sent again, and the newest.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SequencedWrite {
    pub key: Key,
    pub seq: u32,
}
