//! The problem: a node sends its peers votes that must arrive at once, appends that must keep coming, and snapshots
//! that fill the wire for seconds, and none may hold up the one before it.
//!
//! The idea: one TCP connection for each peer called, on which every message is cut into small frames, and a writer
//! that always empties the more urgent lane first. Beside it lies a second one for heartbeats alone, on a thread of its
//! own, which tells in time that a peer is gone.
//!
//! ```text
//!  call ─► lane queues ─► writer ═══ socket ═══► reader ─► handler, a task of its own
//!            0 1 2 3      (most urgent first)       │          │
//!  caller ◄─ reader ◄════ socket ═══ writer ◄─ lane queues ◄───┘
//! ```
//!
//! **Invariants**
//! - *lane-order*: a message overtakes all that wait in later lanes, between any two frames; what was already gathered
//!   for one write or lies unsent in the kernel, both bounded, stays ahead of it.
//! - *bounded-before-taken*: no length from the wire makes memory be taken before it was checked, and a connection
//!   holds at most one unfinished message a lane.
//! - *clock-on-every-frame*: whoever hears of an event has a clock at or past it; a peer too far ahead is refused.
//! - *ambiguity-told*: a call fails unambiguously only if it certainly was not executed or its handler said how it
//!   ended. It is unreachable only if no byte of it was handed to the socket.
//! - *silence-ends-calls*: a call to a node whose heartbeats are not answered ends after a second or two, however long
//!   its own timeout: the process may be stopped, the wires cut, and the kernel would not say so.
//! - *nodes-only* (`stream`): with certificates, nothing is read of whoever does not show a node's; but for the one
//!   question of a node that joins with a token (`enrol`).
//! - *who-it-shows* (`greeting`): with certificates, a peer is the node that its certificate is bound to, and a member of
//!   the cluster that it is bound to; what it says of itself must agree.
//!
//! HAZARD: the order in which handlers of one lane run is not promised, over TCP they run on many threads. Nor is the
//! number of requests a peer may have under way bounded here: callers bound what they ask.
//!
//! Deliberately left out: what messages mean, where certificates come from (`certs`).

mod connection;
mod enrol;
mod error;
mod frame;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod greeting;
mod memory;
mod pulse;
pub mod services;
mod stream;
mod tcp;
mod transport;

pub use connection::LaneMetrics;
pub use enrol::{Enrolment, enrol};
pub use error::RpcError;
pub use memory::{MemoryConfig, MemoryNetwork, MemoryOrder, MemoryTransport};
pub use greeting::ClusterId;
pub use tcp::{TcpOptions, TcpTransport};
pub use transport::{Lane, Service, ServiceId, Transport};

#[cfg(test)]
mod tests;
