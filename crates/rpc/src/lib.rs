//! The problem: a node sends its peers votes that must arrive at once, appends that must keep coming, and snapshots
//! that fill the wire for seconds, and none may hold up the one before it.
//!
//! The idea: one TCP connection for each peer called, on which every message is cut into small frames, and a writer
//! that always empties the more urgent lane first.
//!
//! **Invariants**
//! - *lane-order*: a message overtakes all that wait in later lanes, between any two frames.
//! - *bounded-before-taken*: no length from the wire makes memory be taken before it was checked.
//! - *clock-on-every-frame*: whoever hears of an event has a clock at or past it; a peer too far ahead is refused.
//! - *ambiguity-told*: a call fails as unreachable only if no byte of it was handed to the socket.
//!
//! Deliberately left out: what messages mean, TLS.

mod connection;
mod error;
mod frame;
mod memory;
pub mod services;
mod tcp;
mod transport;

pub use connection::LaneMetrics;
pub use error::RpcError;
pub use memory::{MemoryConfig, MemoryNetwork, MemoryTransport};
pub use tcp::{ClusterId, TcpOptions, TcpTransport};
pub use transport::{Lane, Service, ServiceId, Transport};

#[cfg(test)]
mod tests;
