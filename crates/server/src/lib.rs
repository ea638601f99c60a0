//! The problem: a node is a dozen parts that must be found, started and stopped in the right order, and say clearly
//! what is wrong when they cannot be.
//!
//! The idea: [`KvNode`] is what lies below SQL; [`Node`] adds sessions, the SQL listener and the HTTP pages; the
//! console (`console`) is one of those.

mod certify;
mod config;
mod console;
mod drain;
mod enrol;
mod first_start;
mod http;
mod join;
mod join_token;
mod metrics;
mod node;
mod sql_node;
mod status;

pub use config::{AuditConfig, NodeConfig};
pub use drain::{DrainPhase, DrainStatus};
pub use first_start::superuser_conninfo;
pub use join::{JoinError, Operator};
pub use join_token::JoinToken;
pub use node::{KvNode, StartError};
pub use sql_node::Node;
pub use store::{CheckOutcome, CheckReport};
pub use storage::{EncryptionConfig, EncryptionStatus, FileBytes, KeySource, Rotation};
pub use types::stack::THREAD_STACK_BYTES;
pub use status::{CheckStatus, LatchStatus, LockStatus, NodeStatus, OtherNode, RaftStatus, RangeStatus};
