//! The first words on a connection: what the two ends are, and what each may ask of the other.

use std::io;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{ServiceId, services, stream::Stream};

pub(crate) const MAGIC: [u8; 8] = *b"quorate\0";
pub(crate) const PROTOCOL: u16 = 3;
const MAX_GREETING: u16 = 1024;

/// Which cluster a node belongs to; all zero while it is joining one.
pub type ClusterId = [u8; 16];

/// The first words on a connection, both ways.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Greeting {
    pub magic: [u8; 8],
    pub protocol: u16,
    pub cluster: ClusterId,
    pub node: u64,
    /// In an answer: why the connection is refused.
    pub refusal: Option<String>,
    pub line: Line,
}

/// Which of the two connections to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Line {
    Main,
    Pulse,
}

impl Line {
    pub fn of(service: ServiceId) -> Self {
        if service == services::LIVENESS || service == services::PULSE { Self::Pulse } else { Self::Main }
    }
}

pub(crate) async fn write_greeting(stream: &mut Stream, greeting: &Greeting) -> io::Result<()> {
    let bytes = postcard::to_stdvec(greeting).map_err(io::Error::other)?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    let mut out = length.to_le_bytes().to_vec();
    out.extend_from_slice(&bytes);
    stream.write_all(&out).await?;
    stream.flush().await
}

pub(crate) async fn read_greeting(stream: &mut Stream) -> io::Result<Greeting> {
    let length = stream.read_u16_le().await?;
    if length > MAX_GREETING {
        return Err(io::Error::other("not a node of this protocol"));
    }
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes).await?;
    let greeting: Greeting =
        postcard::from_bytes(&bytes).map_err(|_| io::Error::other("not a node of this protocol"))?;
    if greeting.magic != MAGIC {
        return Err(io::Error::other("not a node of this protocol"));
    }
    Ok(greeting)
}

/// What a peer may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Both are of one cluster.
    Member,
    /// One of the two is of none yet.
    Stranger,
}

pub(crate) fn standing(one: ClusterId, other: ClusterId) -> Standing {
    if one == other && one != [0; 16] { Standing::Member } else { Standing::Stranger }
}

/// Whether two nodes are of different clusters; one that has none yet may ask any to join.
pub(crate) fn are_apart(one: ClusterId, other: ClusterId) -> bool {
    let unset = [0; 16];
    one != other && one != unset && other != unset
}
