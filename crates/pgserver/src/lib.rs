//! The problem: clients speak PostgreSQL's protocol in every dialect their drivers have, pipeline, vanish, and send
//! garbage; each answer should cost one write to the socket, and a large one no more memory than a small one.
//!
//! The idea: a loop of our own. Messages are read in place and one by one into a [`session::Session`]; answers gather
//! in one buffer that is sent when the client waits for it or when it is full.
//!
//! **Invariants**: *bounded-before-taken* (`frame`), *flush-once* (`writer`), *strangers-take-no-seat* (`auth::doors`).
//!
//! Deliberately left out: what rules and passwords are (`auth`), where certificates come from (`certs`), what statements
//! mean.

mod server;
mod connection;
mod startup;
mod authenticate;
mod stream;
mod extended;
mod fastpath;
mod sink;
mod copy_out;
mod encode;
mod frame;
mod writer;
mod registry;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;

pub use encode::data_row;
pub use registry::CancelRegistry;
pub use auth::doors::DoorMetrics;
pub use server::{AUTHENTICATION_TIMEOUT, CONNECTIONS_MAX, Listen, PgServer, SUPERUSER_RESERVED};
