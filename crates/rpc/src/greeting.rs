//! The first words on a connection: what the two ends are, and what each may ask of the other.

use std::io;

use keys::NodeId;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    ServiceId, services,
    stream::{Shown, Stream},
};

pub(crate) const MAGIC: [u8; 8] = *b"quorate\0";
pub(crate) const PROTOCOL: u16 = 5;
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

/// Who a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    /// 0 where that is not shown.
    pub node: NodeId,
    pub standing: Standing,
}

/// Before anything is read of a peer: a node of another cluster is of no interest.
pub(crate) fn is_of_another_cluster(peer: Shown, ours: ClusterId) -> bool {
    matches!(peer, Shown::Bound(identity) if are_apart(*identity.cluster.as_bytes(), ours))
}

/// *who-it-shows*: what a peer's certificate and its greeting say of it, to a node of the cluster `ours`. Unless
/// `are_unbound_members`, one whose certificate does not say who it is may only ask to join.
///
/// # Errors
/// Why it is refused: the two contradict each other.
pub(crate) fn judge(
    peer: Shown,
    ours: ClusterId,
    greeting: &Greeting,
    are_unbound_members: bool,
) -> Result<Judged, &'static str> {
    let said = Judged { node: NodeId::new(greeting.node), standing: standing(greeting.cluster, ours) };
    match peer {
        Shown::Believed => Ok(said),
        Shown::Unbound if are_unbound_members => Ok(said),
        Shown::Unbound => Ok(Judged { node: NodeId::new(0), standing: Standing::Stranger }),
        Shown::Bound(identity) => {
            let cluster = *identity.cluster.as_bytes();
            if are_apart(cluster, greeting.cluster) || are_apart(cluster, ours) {
                return Err("its certificate is of another cluster");
            }
            if greeting.node != 0 && greeting.node != identity.node {
                return Err("its certificate is another node's");
            }
            Ok(Judged { node: NodeId::new(identity.node), standing: said.standing })
        }
    }
}

/// Whether two nodes are of different clusters; one that has none yet may ask any to join.
pub(crate) fn are_apart(one: ClusterId, other: ClusterId) -> bool {
    let unset = [0; 16];
    one != other && one != unset && other != unset
}

#[cfg(test)]
mod tests {
    use certs::Identity;

    use super::*;

    const OURS: ClusterId = [7; 16];

    fn bound(cluster: ClusterId, node: u64) -> Shown {
        Shown::Bound(Identity { cluster: uuid(cluster), node })
    }

    fn uuid(bytes: ClusterId) -> uuid::Uuid {
        uuid::Uuid::from_bytes(bytes)
    }

    #[test]
    fn who_it_shows() {
        let judged = |peer, ours, cluster, node| {
            let greeting = Greeting { magic: MAGIC, protocol: PROTOCOL, cluster, node, refusal: None, line: Line::Main };
            judge(peer, ours, &greeting, false).ok().map(|judged| (judged.node.get(), judged.standing))
        };
        let (other, none) = ([8; 16], [0; 16]);
        use Standing::{Member, Stranger};
        for (peer, ours, cluster, node, expected) in [
            (Shown::Believed, OURS, OURS, 3, Some((3, Member))),
            (Shown::Believed, OURS, none, 0, Some((0, Stranger))),
            (bound(OURS, 3), OURS, OURS, 3, Some((3, Member))),
            // It does not know its number yet, or asks as an operator does.
            (bound(OURS, 3), OURS, OURS, 0, Some((3, Member))),
            (bound(OURS, 3), OURS, none, 0, Some((3, Stranger))),
            (bound(OURS, 3), none, OURS, 3, Some((3, Stranger))),
            // Another's certificate, and another cluster's.
            (bound(OURS, 3), OURS, OURS, 4, None),
            (bound(other, 3), OURS, OURS, 3, None),
            (bound(other, 3), OURS, none, 0, None),
            (bound(OURS, 3), OURS, other, 3, None),
            // Whose certificate says nothing is nobody.
            (Shown::Unbound, OURS, OURS, 3, Some((0, Stranger))),
        ] {
            assert_eq!(judged(peer, ours, cluster, node), expected, "{peer:?} {cluster:?} {node}");
        }
        let said = Greeting { magic: MAGIC, protocol: PROTOCOL, cluster: OURS, node: 3, refusal: None, line: Line::Main };
        assert_eq!(judge(Shown::Unbound, OURS, &said, true).unwrap().standing, Member, "unless it was told to");
        assert!(is_of_another_cluster(bound(other, 3), OURS) && !is_of_another_cluster(bound(other, 3), none));
    }
}
