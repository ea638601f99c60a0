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
    /// Its client has been promised that it can commit, at the timestamp of its record: only who names it ends it.
    Prepared,
}

impl TxnStatus {
    /// No later message can change it.
    #[must_use]
    pub fn is_final(self) -> bool {
        match self {
            Self::Pending | Self::Staging | Self::Prepared => false,
            Self::Committed | Self::Aborted => true,
        }
    }
}

/// How strongly a key is held: PostgreSQL's four row locks, each of which conflicts with all that the one before it
/// conflicts with, and the provisional version of a write.
///
/// ```text
///                  KEY SHARE   SHARE   NO KEY UPDATE   UPDATE, intent
/// KEY SHARE                                            x
/// SHARE                                x               x
/// NO KEY UPDATE                x       x               x
/// UPDATE, intent   x           x       x               x
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LockStrength {
    /// The row stays, and so do the columns that others may refer to: FOR KEY SHARE, and checks of foreign keys.
    KeyShare,
    /// Others may share it, none may write: FOR SHARE.
    Share,
    /// One holder, who changes no column that others may refer to: FOR NO KEY UPDATE, and most of UPDATE.
    NoKeyUpdate,
    /// One holder; plain reads pass: FOR UPDATE, DELETE, and UPDATE of a key.
    Update,
    /// A replicated provisional version: reads at or above its timestamp must wait or push.
    Intent,
}

impl LockStrength {
    /// Whether two transactions cannot hold these on one key at once.
    #[must_use]
    pub fn conflicts_with(self, other: Self) -> bool {
        self.rank() + other.rank() >= Self::Update.rank()
    }

    /// 0 to 3; a greater one conflicts with more.
    #[must_use]
    pub fn rank(self) -> usize {
        match self {
            Self::KeyShare => 0,
            Self::Share => 1,
            Self::NoKeyUpdate => 2,
            Self::Update | Self::Intent => 3,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::LockStrength::{Intent, KeyShare, NoKeyUpdate, Share, Update};

    #[test]
    fn strengths_conflict_as_in_postgresql() {
        let all = [KeyShare, Share, NoKeyUpdate, Update, Intent];
        let conflicts: Vec<String> = all
            .iter()
            .map(|a| all.iter().map(|b| if a.conflicts_with(*b) { 'x' } else { '.' }).collect())
            .collect();
        assert_eq!(conflicts, ["...xx", "..xxx", ".xxxx", "xxxxx", "xxxxx"]);
    }
}
