//! What can go wrong with a call.

use std::time::Duration;

use bytes::Bytes;
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

pub(crate) fn no_answer(to: &str) -> RpcError {
    RpcError::NoAnswer { to: to.to_owned(), after: Duration::ZERO }
}

/// Errors travel as their kind and what the caller needs of it.
pub(crate) fn encode_error(error: &RpcError) -> Bytes {
    let (kind, text): (u8, String) = match error {
        RpcError::UnknownService { service } => (1, service.to_string()),
        RpcError::ClockOffset { node, offset_ns, max_offset_ns } => {
            (2, format!("{} {offset_ns} {max_offset_ns}", node.get()))
        }
        RpcError::NoAnswer { .. } => (3, error.to_string()),
        RpcError::Refused { reason } => (0, reason.clone()),
        RpcError::Unreachable { .. }
        | RpcError::OtherCluster { .. }
        | RpcError::Incompatible { .. }
        | RpcError::TooLarge { .. } => (0, error.to_string()),
    };
    postcard::to_stdvec(&(kind, text)).expect("a number and a string encode").into()
}

/// What cannot be read says nothing about how far the call went.
pub(crate) fn decode_error(bytes: &[u8], peer: &str) -> RpcError {
    let Ok((kind, text)) = postcard::from_bytes::<(u8, String)>(bytes) else { return no_answer(peer) };
    let error = match kind {
        0 => Some(RpcError::Refused { reason: text }),
        1 => text.parse().ok().map(|service| RpcError::UnknownService { service }),
        2 => decode_clock_offset(&text),
        _ => None,
    };
    error.unwrap_or_else(|| no_answer(peer))
}

fn decode_clock_offset(text: &str) -> Option<RpcError> {
    let mut words = text.split(' ');
    let node = NodeId::new(words.next()?.parse().ok()?);
    let (offset_ns, max_offset_ns) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some(RpcError::ClockOffset { node, offset_ns, max_offset_ns })
}

/// What the caller would be told of an error by a node elsewhere.
pub(crate) fn as_told(error: &RpcError, peer: &str) -> RpcError {
    decode_error(&encode_error(error), peer)
}
