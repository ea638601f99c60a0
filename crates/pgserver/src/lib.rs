//! The problem: clients speak PostgreSQL's protocol in every dialect their drivers have, pipeline, vanish, and send
//! garbage; each answer should cost one write to the socket.
//!
//! The idea: a loop of our own over pgwire's messages. Messages are read one by one into a [`session::Session`];
//! answers gather in a buffer that is sent when the client waits for it.
//!
//! **Invariants**: *bounded-before-taken*, *flush-once* (`connection`).
//!
//! Deliberately left out: TLS and passwords; what statements mean.

mod connection;
mod encode;
mod server;
mod sink;

pub use connection::{CancelRegistry, is_reported};
pub use server::PgServer;
