//! The problem: everything the cluster stores lives in one ordered map of bytes, so every name must become bytes
//! whose order is the order we want.
//!
//! ```text
//! byte 0   contents                                              printed as
//! ------   --------------------------------------------------   -----------------------------
//! 0x01     local: travels with a range, outside every span
//!   'i'      by range id: applied state, replica descriptor      /Local/RangeId/r7/…
//!   'k'      by key: range descriptor, transaction records       /Local/Range/<key>/…
//! 0x02     addressing: end key of a range -> its descriptor      /Meta/<key>
//! 0x04     system: node registry, id generators, settings        /System/…
//! 0x10     tables: table, index, then the encoded columns        /Table/104/1/"a"/7
//! 0xff     the end of the keyspace                               /Max
//! ```
//!
//! Addressing has one level: range 1 starts at [`Key::MIN`] and holds all of it; see `docs/rfcs/`.
//!
//! **Invariants**
//! - *prefix-free*: no stored key is a proper prefix of another stored key. Every component is self-delimiting and
//!   all keys of one index have the same components. It is what lets a version's timestamp be appended without an
//!   escape, and [`Key::next`] be one byte. Upheld by whoever builds keys: this crate and the row codecs.
//! - *order-preserving*: for each encoding in [`encoding`], byte order is value order.
//!
//! Deliberately left out: SQL values (the `types` crate encodes them with the primitives of [`encoding`]).

pub mod encoding;
mod ids;
mod key;
mod key_list;
pub mod keyspace;
mod locality;
mod pretty;
mod range;
pub mod tagged;
mod txn;
pub mod zone;

pub use ids::{ColumnId, IndexId, NodeId, RangeId, ReplicaId, StoreId, TableId, Term, TxnId};
pub use key::{Key, Span};
pub use key_list::{KeyList, KeyListBuilder};
pub use locality::{BadLocality, Locality, Tier};
pub use range::{RangeDescriptor, ReplicaDescriptor, ReplicaKind};
pub use txn::{LockStrength, SequencedWrite, TxnMeta, TxnStatus};
pub use zone::{SpanConfig, ZoneConfig};
