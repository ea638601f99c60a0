//! The problem: a connection is a long conversation: settings, prepared statements and a transaction outlive each
//! statement, and a statement that loses a race should cost the client nothing.
//!
//! The idea: a [`Session`] runs one statement after another against the newest catalog, and runs a statement again when
//! its transaction lost and nothing has been answered. What goes to the client goes through a [`Sink`].
//!
//! **Invariants**: *answered-once* (`session`).
//!
//! Deliberately left out: bytes on the wire, cursors.

mod copy;
mod explain;
mod host;
mod session;
mod session_tables;
mod settings;

pub use copy::CopyIn;
pub use exec::CancelFlag;
pub use session::{Completion, Engine, Prepared, Session, Sink, TransactionStatus};
pub use settings::Settings;
