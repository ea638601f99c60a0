//! Join tokens: what a node that has no certificate shows to get one.
//!
//! ```text
//!  quorate-join-<base64url of id (8) | secret (32) | fingerprint of the CA (32)>
//!  join-token/<id in hex>  →  hash of the secret, end, the node that used it       in the system keyspace
//! ```
//! The fingerprint says whom to trust, so the secret is told to nobody but a node of the cluster. The cluster keeps a hash of
//! it: who reads its keys learns no token.
//!
//! **Invariant (one-node-a-token):** a token is used in a transaction that reads and writes its key, so of two nodes that
//! show it at once, to whichever members, one is refused.

use std::{fmt, str::FromStr, time::Duration};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use keys::{Key, NodeId, Span, keyspace};
use kv::{Db, Error, Read, ScanOptions};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const PREFIX: &str = "quorate-join-";
const BYTES: usize = 8 + 32 + 32;
/// How long it is known that a token has expired or was used.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);
/// Of what is stored.
const VERSION: u8 = 1;

/// What a node shows: everything but the fingerprint, which is for itself.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claim {
    id: [u8; 8],
    secret: [u8; 32],
}

#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    pub(crate) claim: Claim,
    pub(crate) fingerprint: [u8; 32],
}

impl JoinToken {
    fn new(fingerprint: [u8; 32]) -> Self {
        Self { claim: Claim { id: rand::random(), secret: rand::random() }, fingerprint }
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&self.claim.id[..], &self.claim.secret, &self.fingerprint].concat();
        write!(f, "{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes))
    }
}

/// Not what it is: logs print this.
impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinToken")
    }
}

impl FromStr for JoinToken {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "not a join token: quorate cert create-join-token makes one";
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text.trim().strip_prefix(PREFIX).ok_or(WRONG)?).map_err(|_| WRONG)?;
        let bytes: [u8; BYTES] = bytes.try_into().map_err(|_| WRONG)?;
        let part = |at: usize| <[u8; 32]>::try_from(&bytes[at..at + 32]).expect("32 bytes were taken");
        let id = <[u8; 8]>::try_from(&bytes[..8]).expect("eight bytes were taken");
        Ok(Self { claim: Claim { id, secret: part(8) }, fingerprint: part(40) })
    }
}

/// What the cluster keeps of a token.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stored {
    version: u8,
    hash: [u8; 32],
    expires_ns: u64,
    used_by: Option<NodeId>,
}

/// Why a token is refused: one line for whoever starts the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("the join token is not one of this cluster, or ended more than a day ago")]
    Unknown,
    #[error("the join token has been used: each is good for one node")]
    Used,
    #[error("the join token has expired: make another with quorate cert create-join-token")]
    Expired,
}

fn key(id: [u8; 8]) -> Key {
    keyspace::system(&format!("join-token/{:016x}", u64::from_be_bytes(id)))
}

fn hash(secret: &[u8; 32]) -> [u8; 32] {
    Sha256::digest(secret).into()
}

fn encode(stored: &Stored) -> Bytes {
    postcard::to_stdvec(stored).expect("plain data encodes").into()
}

/// A wrong secret is as good as a wrong number: nobody learns which tokens there are.
fn judge(stored: Option<&Bytes>, claim: &Claim, now_ns: u64) -> Result<Stored, TokenError> {
    let stored: Stored = stored.and_then(|bytes| postcard::from_bytes(bytes).ok()).ok_or(TokenError::Unknown)?;
    // Hashes of random bytes: what the time of comparing them tells is of no use.
    if stored.version != VERSION || stored.hash != hash(&claim.secret) {
        return Err(TokenError::Unknown);
    }
    if stored.used_by.is_some() {
        return Err(TokenError::Used);
    }
    if stored.expires_ns <= now_ns {
        return Err(TokenError::Expired);
    }
    Ok(stored)
}

/// Makes a token that is good for one node, for so long; forgets those that ended long ago.
///
/// # Errors
/// When its key cannot be written.
pub(crate) async fn create(db: &Db, fingerprint: [u8; 32], lifetime: Duration) -> Result<JoinToken, Error> {
    let token = JoinToken::new(fingerprint);
    let now_ns = db.clock().now().wall_ns();
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let expires_ns = now_ns.saturating_add(nanos(lifetime));
    let value = encode(&Stored { version: VERSION, hash: hash(&token.claim.secret), expires_ns, used_by: None });
    let made = key(token.claim.id);
    let all = Span { start: keyspace::system("join-token/"), end: keyspace::system("join-token0") };
    db.run(|txn| {
        let (made, value, all) = (made.clone(), value.clone(), all.clone());
        Box::pin(async move {
            let page = txn.scan(&all, ScanOptions::default()).await?;
            for (key, value) in page.rows.iter() {
                let is_old = postcard::from_bytes::<Stored>(value)
                    .map_or(true, |stored: Stored| stored.expires_ns.saturating_add(nanos(REMEMBERED)) < now_ns);
                if is_old {
                    txn.delete(Key::from(key.to_vec()));
                }
            }
            txn.put(made, value);
            Ok::<(), Error>(())
        })
    })
    .await?;
    Ok(token)
}

/// Whether a token would be taken now. Nothing is used up.
///
/// # Errors
/// When its key cannot be read.
pub(crate) async fn look(db: &Db, claim: &Claim) -> Result<Result<(), TokenError>, Error> {
    let stored = db.get(&key(claim.id)).await?;
    Ok(judge(stored.as_ref(), claim, db.clock().now().wall_ns()).map(drop))
}

/// Uses a token for a node: *one-node-a-token*.
///
/// # Errors
/// When its key cannot be read or written.
pub(crate) async fn redeem(db: &Db, claim: &Claim, node: NodeId) -> Result<Result<(), TokenError>, Error> {
    db.run(|txn| {
        let claim = claim.clone();
        Box::pin(async move {
            let key = key(claim.id);
            let stored = txn.get(&key, Read::default()).await?;
            let now_ns = txn.db().clock().now().wall_ns();
            let stored = match judge(stored.as_ref(), &claim, now_ns) {
                Ok(stored) => stored,
                // By this very transaction, of which the answer was lost.
                Err(TokenError::Used) if is_used_by(stored.as_ref(), node) => return Ok(Ok(())),
                Err(refused) => return Ok(Err(refused)),
            };
            txn.put(key, encode(&Stored { used_by: Some(node), ..stored }));
            Ok::<_, Error>(Ok(()))
        })
    })
    .await
}

fn is_used_by(stored: Option<&Bytes>, node: NodeId) -> bool {
    stored.and_then(|bytes| postcard::from_bytes::<Stored>(bytes).ok()).is_some_and(|stored| stored.used_by == Some(node))
}

/// Takes back that a node used a token: it got nothing for it.
///
/// # Errors
/// When its key cannot be read or written.
pub(crate) async fn give_back(db: &Db, claim: &Claim, node: NodeId) -> Result<(), Error> {
    db.run(|txn| {
        let claim = claim.clone();
        Box::pin(async move {
            let key = key(claim.id);
            let stored = txn.get(&key, Read::default()).await?;
            if is_used_by(stored.as_ref(), node)
                && let Some(stored) = stored.and_then(|bytes| postcard::from_bytes::<Stored>(&bytes).ok())
            {
                txn.put(key, encode(&Stored { used_by: None, ..stored }));
            }
            Ok::<(), Error>(())
        })
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_as_they_are_written() {
        let token = JoinToken::new([7; 32]);
        let text = token.to_string();
        assert_eq!(text.parse(), Ok(token.clone()));
        assert_eq!(format!(" {text}\n").parse(), Ok(token.clone()));
        assert_eq!(format!("{token:?}"), "JoinToken", "logs do not show it");
        for wrong in ["", "quorate-join-", &text[1..], &text[..text.len() - 1], &format!("{text}A"), "quorate-join-%"] {
            assert!(wrong.parse::<JoinToken>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn tokens_are_judged() {
        let Claim { id, secret } = JoinToken::new([7; 32]).claim;
        let stored = |used_by| encode(&Stored { version: VERSION, hash: hash(&secret), expires_ns: 100, used_by });
        let claim = Claim { id, secret };
        let judged = |bytes: Option<Bytes>, claim: &Claim, now| judge(bytes.as_ref(), claim, now).map(drop);
        assert_eq!(judged(Some(stored(None)), &claim, 99), Ok(()));
        assert_eq!(judged(Some(stored(None)), &claim, 100), Err(TokenError::Expired));
        assert_eq!(judged(Some(stored(Some(NodeId::new(3)))), &claim, 99), Err(TokenError::Used));
        assert_eq!(judged(None, &claim, 99), Err(TokenError::Unknown));
        assert_eq!(judged(Some(Bytes::from_static(b"x")), &claim, 99), Err(TokenError::Unknown));
        let guessed = Claim { id, secret: [0; 32] };
        assert_eq!(judged(Some(stored(Some(NodeId::new(3)))), &guessed, 100), Err(TokenError::Unknown), "nothing is told");
        assert!(is_used_by(Some(&stored(Some(NodeId::new(3)))), NodeId::new(3)));
        // The format is kept by clusters.
        let bytes = encode(&Stored { version: 1, hash: [9; 32], expires_ns: 300, used_by: Some(NodeId::new(5)) });
        assert_eq!(bytes, [&[1][..], &[9; 32], &[0xac, 2, 1, 5]].concat());
    }
}
