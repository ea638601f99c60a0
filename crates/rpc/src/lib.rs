//! The problem: a node sends its peers votes that must arrive at once, appends that must keep coming, and snapshots
//! that fill the wire for seconds, and none may hold up the one before it.
//!
//! The idea: one TCP connection per pair of nodes, on which every message is cut into small frames, and a writer that
//! always empties the more urgent lane first.

mod error;
pub mod services;
mod transport;

pub use error::RpcError;
pub use transport::{Lane, Service, ServiceId, Transport};
