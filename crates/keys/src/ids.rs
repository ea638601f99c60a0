//! Identifiers. Each is a newtype, so that one cannot be passed for another.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $repr:ty, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
        #[serde(transparent)]
        pub struct $name($repr);

        impl $name {
            #[must_use]
            pub const fn new(id: $repr) -> Self {
                Self(id)
            }

            #[must_use]
            pub const fn get(self) -> $repr {
                self.0
            }

            /// The identifier after this one.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

id!(
    /// A process of the cluster. Given out once, never again.
    NodeId, u64, "n"
);
id!(
    /// A directory with data. Today each node has one store of the same number.
    StoreId, u64, "s"
);
id!(
    /// A range of the keyspace, replicated as one Raft group.
    RangeId, u64, "r"
);
id!(
    /// One replica of a range. **Invariant (replica-id-fresh):** never reused within a range; a replica that moves
    /// away from a store and back gets a new one. It is the node id that Raft sees.
    ReplicaId, u64, "p"
);
id!(
    /// A Raft term.
    Term, u64, "t"
);
id!(
    /// A descriptor of the catalog: a table, view, sequence, schema or database.
    TableId, u32, "d"
);
id!(
    /// An index of a table; 1 is the primary index.
    IndexId, u32, "i"
);
id!(
    /// A column of a table; not its position: positions change, ids do not.
    ColumnId, u32, "c"
);

/// A transaction, for as long as its client keeps retrying it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TxnId(Uuid);

impl TxnId {
    /// An id from 128 random bits that the caller drew: randomness comes from outside.
    #[must_use]
    pub fn from_random(bits: u128) -> Self {
        Self(uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid())
    }

    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl fmt::Display for TxnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", &self.0.simple().to_string()[..8])
    }
}

impl fmt::Debug for TxnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "txn {}", self.0)
    }
}
