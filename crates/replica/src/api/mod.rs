//! The protocol between the client's side (`kv`) and a replica: one batch of requests to one range.
//!
//! A batch is executed as a whole under one set of latches: what its requests write is one command in the log, so it
//! is there wholly or not at all. Requests see what earlier ones of the same batch wrote. The encoding between nodes
//! is postcard; within a node the structs are handed over as they are.
//!
//! **Invariants**
//! - *one-range*: every key of a batch lies in the range its header names; a key outside is answered with
//!   [`KvError::RangeMismatch`] and nothing is executed.
//! - *error-means-nothing*: an error other than [`KvError::Ambiguous`] means that the batch wrote nothing.

mod error;
mod request;
mod response;
mod writes;

pub use error::{AbortReason, KvError, RetryReason};
pub(crate) use request::hull;
pub use request::{BatchRequest, Header, MergeInto, PushKind, Request, StoreTarget, TxnHeader, WaitPolicy};
pub use response::{BatchResponse, FrozenRange, PushedTxn, RangeStats, Response};
pub use writes::{WriteRef, Writes, WritesBuilder};

use bytes::Bytes;

/// Writes a message for the wire.
///
/// # Panics
/// Never: the types here have no value that postcard refuses.
#[must_use]
pub fn encode<T: serde::Serialize>(message: &T) -> Bytes {
    postcard::to_stdvec(message).expect("messages are made of encodable values").into()
}

/// Reads a message from the wire.
///
/// # Errors
/// When the bytes are not a message of this type.
pub fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, postcard::Error> {
    postcard::from_bytes(bytes)
}
