//! LISTEN and NOTIFY over the whole cluster.
//!
//! A notification is a row that the transaction writes which sends it, so that it is there if and only if that commits, and
//! where it commits: `kv`, `txn/notify.rs`. The [`Hub`] of each node reads what has come and gives it to the sessions of
//! the node that listen.
//!
//! ```text
//! NOTIFY ─▶ Pending ─ COMMIT ─▶ row, at the commit's timestamp ─▶ Hub, on each node ─▶ Listener ─▶ client, outside a block
//!                        └── word to the hubs of all nodes: it only saves the time until they look by themselves
//! ```
//!
//! **Invariants**
//! - *commit-order*: a listener is given notifications in the order in which their transactions have committed, and those
//!   of one transaction in the order in which it has sent them.
//! - *none-lost*: a listener is given each notification on its channels that commits after its LISTEN has, once; or its
//!   session ends with an error that says that it was not.
//! - *only-committed*: LISTEN, UNLISTEN and NOTIFY do nothing unless their transaction commits.

mod hub;
mod listener;
mod pending;

pub use hub::Hub;
pub use listener::Listener;
pub(crate) use listener::QUEUE_BYTES_MAX;
pub(crate) use pending::{Act, Mark, Pending};

use types::{SqlError, SqlResult, SqlState};

/// PostgreSQL's bounds: of a name, and of a payload that fits into one of its pages.
const CHANNEL_BYTES_MAX: usize = 63;
const PAYLOAD_BYTES_MAX: usize = 7999;

/// What a session is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// The process number of the session that has sent it.
    pub pid: i32,
    pub channel: String,
    pub payload: String,
}

const FORMAT: u8 = 1;

impl Notification {
    /// As it is stored.
    ///
    /// ```text
    /// byte 0        format, 1
    /// bytes 1..5    the process number, little endian
    /// byte 5        bytes of the channel's name
    /// bytes 6..     the name, the payload
    /// ```
    pub(crate) fn encode(pid: i32, channel: &str, payload: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(6 + channel.len() + payload.len());
        out.push(FORMAT);
        out.extend_from_slice(&pid.to_le_bytes());
        out.push(u8::try_from(channel.len()).expect("the names of channels are short"));
        out.extend_from_slice(channel.as_bytes());
        out.extend_from_slice(payload.as_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(&[FORMAT])?;
        let (pid, rest) = rest.split_first_chunk()?;
        let (&length, rest) = rest.split_first()?;
        let (channel, payload) = rest.split_at_checked(length.into())?;
        let text = |bytes: &[u8]| Some(std::str::from_utf8(bytes).ok()?.to_owned());
        Some(Self { pid: i32::from_le_bytes(*pid), channel: text(channel)?, payload: text(payload)? })
    }

    /// About what it takes in a queue.
    fn bytes(&self) -> usize {
        const EACH: usize = 128;
        EACH + self.channel.len() + self.payload.len()
    }
}

/// # Errors
/// 22023.
pub(crate) fn check(channel: &str, payload: &str) -> SqlResult<()> {
    let refused = |message: &str| Err(SqlError::new(SqlState::InvalidParameterValue, message));
    if channel.is_empty() {
        return refused("channel name cannot be empty");
    }
    if channel.len() > CHANNEL_BYTES_MAX {
        return refused("channel name too long");
    }
    if payload.len() > PAYLOAD_BYTES_MAX {
        return refused("payload string too long");
    }
    Ok(())
}

/// What a session has to do with notifications.
#[derive(Default)]
pub(crate) struct SessionNotify {
    pub pending: Pending,
    pub listener: std::sync::Arc<Listener>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clusters have these bytes.
    #[test]
    fn golden_bytes() {
        let bytes = Notification::encode(258, "ch", "load");
        assert_eq!(bytes, b"\x01\x02\x01\0\0\x02chload");
        let decoded = Notification { pid: 258, channel: "ch".into(), payload: "load".into() };
        assert_eq!(Notification::decode(&bytes), Some(decoded));
        for cut in 0..8 {
            assert_eq!(Notification::decode(&bytes[..cut]), None);
        }
    }

    #[test]
    fn bounds_are_postgresqls() {
        assert!(check(&"c".repeat(63), &"p".repeat(7999)).is_ok());
        assert!(check("", "").is_err());
        assert!(check(&"c".repeat(64), "").is_err());
        assert!(check("c", &"p".repeat(8000)).is_err());
    }
}
