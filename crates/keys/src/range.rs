//! What a range is and who holds it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Key, NodeId, RangeId, ReplicaId, Span, StoreId};

/// Whether a replica counts in quorums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ReplicaKind {
    Voter,
    /// Receives the log, has no vote: a replica that is still catching up.
    Learner,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ReplicaDescriptor {
    pub node_id: NodeId,
    pub store_id: StoreId,
    pub replica_id: ReplicaId,
    pub kind: ReplicaKind,
}

impl fmt::Display for ReplicaDescriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = match self.kind {
            ReplicaKind::Voter => "",
            ReplicaKind::Learner => "L",
        };
        write!(f, "({},{}):{}{suffix}", self.node_id, self.store_id, self.replica_id)
    }
}

/// A range: its span, its replicas, and a generation that grows with every change to either.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeDescriptor {
    pub range_id: RangeId,
    pub start: Key,
    pub end: Key,
    pub replicas: Vec<ReplicaDescriptor>,
    /// The id the next replica gets: *replica-id-fresh*.
    pub next_replica_id: ReplicaId,
    pub generation: u64,
}

impl RangeDescriptor {
    #[must_use]
    pub fn span(&self) -> Span {
        Span::new(self.start.clone(), self.end.clone())
    }

    #[must_use]
    pub fn contains_key(&self, key: &[u8]) -> bool {
        self.start.as_bytes() <= key && key < self.end.as_bytes()
    }

    #[must_use]
    pub fn replica_on_store(&self, store_id: StoreId) -> Option<&ReplicaDescriptor> {
        self.replicas.iter().find(|replica| replica.store_id == store_id)
    }

    #[must_use]
    pub fn replica(&self, replica_id: ReplicaId) -> Option<&ReplicaDescriptor> {
        self.replicas.iter().find(|replica| replica.replica_id == replica_id)
    }

    pub fn voters(&self) -> impl Iterator<Item = &ReplicaDescriptor> {
        self.replicas.iter().filter(|replica| replica.kind == ReplicaKind::Voter)
    }
}

impl fmt::Display for RangeDescriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:[{}, {}) gen {} {{", self.range_id, self.start, self.end, self.generation)?;
        for (position, replica) in self.replicas.iter().enumerate() {
            let separator = if position == 0 { "" } else { ", " };
            write!(f, "{separator}{replica}")?;
        }
        write!(f, "}}")
    }
}

impl fmt::Debug for RangeDescriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
