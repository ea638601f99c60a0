//! What can go wrong with a call.

use std::time::Duration;

use keys::NodeId;

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RpcError {
    /// Nothing was sent: no address, no connection, or this node is shutting down.
    #[error("{to} cannot be reached: {reason}")]
    Unreachable { to: String, reason: String },
    /// The connection broke or the time ran out after the request may have left.
    #[error("no answer from {to} within {after:?}")]
    NoAnswer { to: String, after: Duration },
    /// The handler answered with an error: the call was executed as far as the text says. A handler that does not know
    /// how far answers [`RpcError::NoAnswer`], which stays ambiguous on its way.
    #[error("refused: {reason}")]
    Refused { reason: String },
    #[error("the other node has no service {service}")]
    UnknownService { service: u16 },
    #[error("{to} cannot be talked to: it belongs to another cluster")]
    OtherCluster { to: String },
    /// The other side speaks another protocol version, or is another node.
    #[error("{to} cannot be talked to: {reason}")]
    Incompatible { to: String, reason: String },
    #[error("clock of {node} is {offset_ns} ns away, more than the {max_offset_ns} ns allowed")]
    ClockOffset { node: NodeId, offset_ns: i64, max_offset_ns: i64 },
    #[error("message of {bytes} bytes is over the bound of {max}")]
    TooLarge { bytes: usize, max: usize },
}

impl RpcError {
    /// The other side may have executed the call.
    #[must_use]
    pub fn is_ambiguous(&self) -> bool {
        match self {
            Self::NoAnswer { .. } => true,
            Self::Unreachable { .. }
            | Self::Refused { .. }
            | Self::UnknownService { .. }
            | Self::OtherCluster { .. }
            | Self::Incompatible { .. }
            | Self::ClockOffset { .. }
            | Self::TooLarge { .. } => false,
        }
    }
}
