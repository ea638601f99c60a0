//! A node joins with a token: the side that asks and the side that answers.
//!
//! **Invariants**
//! - *token-to-a-member-alone*: the token is sent only to whoever shows a certificate of the CA that it names (`rpc::enrol`).
//! - *refusals-are-few*: an address whose tokens are refused is not listened to for a while, so guessing costs the cluster
//!   nothing.
//! - A token for which nothing was given is good again.

use std::{
    fs, io,
    net::{IpAddr, SocketAddr},
    os::unix::fs::DirBuilderExt,
    path::Path,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use certs::{CertError, Request, write_private};
use keys::{NodeId, keyspace};
use parking_lot::Mutex;
use rpc::Enrolment;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use storage::StoreIdentity;

use crate::{
    certify::{CertifyRequest, Certifier, HOSTS_MAX},
    config::NodeConfig,
    first_start::hosts,
    join::{JoinError, Place},
    join_token::{self, Claim, JoinToken},
    node::StartError,
};

/// Of question and answer.
const VERSION: u8 = 1;
/// How long members are asked, one after the other, until one answers.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Serialize, Deserialize)]
struct Question {
    version: u8,
    claim: Claim,
    request: Vec<u8>,
    hosts: Vec<String>,
}

#[derive(Serialize, Deserialize)]
enum Answer {
    Joined { place: Place, certificate: String, ca: String },
    Refused(String),
}

/// Joins a cluster with a token: writes the certificates to `dir`, and answers the place that the node has got.
///
/// # Errors
/// One line that says what is wrong with the token, or that nobody answers.
pub(crate) async fn ask(config: &NodeConfig, token: &JoinToken, dir: &Path) -> Result<Place, StartError> {
    let bad = |member: &str, reason: String| StartError::Join(JoinError::BadAnswer { member: member.to_owned(), reason });
    let request = Request::new().map_err(StartError::Certs)?;
    let mut hosts = hosts(config);
    hosts.truncate(HOSTS_MAX);
    let question = Question { version: VERSION, claim: token.claim.clone(), request: request.der.clone(), hosts };
    let question = postcard::to_stdvec(&question).expect("plain data encodes");
    let trusting = certs::trusting(token.fingerprint).map_err(|error| StartError::Config(error.to_string()))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut last = String::new();
        for member in &config.join {
            let answer = match rpc::enrol(member, trusting.clone(), &question).await {
                Ok(answer) => answer,
                // Whoever answers is not trusted: asking again does not help.
                Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(bad(member, error.to_string())),
                Err(error) => {
                    last = format!("{member}: {error}");
                    continue;
                }
            };
            let answer = postcard::from_bytes(&answer).map_err(|error| bad(member, error.to_string()))?;
            let (place, certificate, ca) = match answer {
                Answer::Joined { place, certificate, ca } => (place, certificate, ca),
                Answer::Refused(reason) => return Err(bad(member, reason)),
            };
            let new = dir.with_extension("new");
            let io = |source| StartError::Certs(CertError::Io { path: new.clone(), source });
            match fs::remove_dir_all(&new) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
                _ => {}
            }
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&new).map_err(io)?;
            write_private(&new.join("ca.crt"), &ca).map_err(StartError::Certs)?;
            write_private(&new.join("node.pem"), &request.with_certificate(&certificate)).map_err(StartError::Certs)?;
            let found = certs::ca_fingerprint(&new).map_err(StartError::Certs)?;
            if found != token.fingerprint {
                return Err(bad(member, "it gave the certificate of another CA than the token names".into()));
            }
            // Whole or not at all: a directory that is there is used.
            fs::rename(&new, dir).map_err(io)?;
            return Ok(place);
        }
        if Instant::now() > deadline {
            return Err(StartError::Join(JoinError::NoAnswer { last }));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The identity of a store whose node has got a place.
pub(crate) fn identity(place: &Place) -> StoreIdentity {
    StoreIdentity::new(place.cluster_id, place.node_id, keys::StoreId::new(place.node_id.get()))
}

/// Refusals of one address within a window before it is not listened to.
const REFUSALS_MAX: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses that are remembered; beyond that all are forgotten.
const ADDRESSES_MAX: usize = 10_000;

/// *refusals-are-few*
#[derive(Default)]
struct Refusals(Mutex<FxHashMap<IpAddr, (Instant, u32)>>);

impl Refusals {
    fn are_too_many(&self, from: IpAddr, now: Instant) -> bool {
        let refused = self.0.lock();
        refused.get(&from).is_some_and(|(since, count)| *count >= REFUSALS_MAX && now - *since < WINDOW)
    }

    fn note(&self, from: IpAddr, now: Instant) {
        let mut refused = self.0.lock();
        if refused.len() >= ADDRESSES_MAX && !refused.contains_key(&from) {
            refused.clear();
        }
        let (since, count) = refused.entry(from).or_insert((now, 0));
        if now - *since >= WINDOW {
            (*since, *count) = (now, 0);
        }
        *count += 1;
    }
}

/// Answers nodes that show a token.
pub(crate) struct Enrol {
    certifier: Certifier,
    refusals: Refusals,
}

impl Enrol {
    pub fn new(certifier: Certifier) -> Self {
        Self { certifier, refusals: Refusals::default() }
    }

    async fn join(&self, question: &Bytes) -> Result<Answer, String> {
        let question: Question = postcard::from_bytes(question).map_err(|_| "not a question of this version".to_owned())?;
        if question.version != VERSION || question.hosts.len() > HOSTS_MAX {
            return Err("not a question of this version".into());
        }
        let Certifier { db, store, cluster_id, certs, .. } = &self.certifier;
        let told = |error: kv::Error| format!("the cluster's keys cannot be reached: {error}");
        // Numbers are not given to whoever asks.
        join_token::look(db, &question.claim).await.map_err(told)?.map_err(|error| error.to_string())?;
        let number = db.increment(&keyspace::system("id/node"), 1).await.map_err(told)?;
        let node_id = NodeId::new(u64::try_from(number).map_err(|error| error.to_string())?);
        join_token::redeem(db, &question.claim, node_id).await.map_err(told)?.map_err(|error| error.to_string())?;
        let asked = CertifyRequest { node_id, request: question.request, hosts: question.hosts };
        let signed = self.certifier.certify(NodeId::new(0), &asked).await;
        let ca = std::fs::read_to_string(certs.dir().join("ca.crt")).map_err(|error| format!("ca.crt: {error}"));
        match signed.and_then(|certificate| Ok((certificate, ca?))) {
            Ok((certificate, ca)) => {
                tracing::info!(node = number, "a node joins with a token");
                let place = Place { cluster_id: *cluster_id, node_id, members: store.nodes().all() };
                Ok(Answer::Joined { place, certificate, ca })
            }
            Err(reason) => {
                if let Err(error) = join_token::give_back(db, &question.claim, node_id).await {
                    tracing::warn!(%error, "a join token stays used though it got no certificate");
                }
                Err(reason)
            }
        }
    }
}

#[async_trait]
impl Enrolment for Enrol {
    async fn enrol(&self, from: SocketAddr, question: Bytes) -> Bytes {
        let address = from.ip().to_canonical();
        let answer = if self.refusals.are_too_many(address, Instant::now()) {
            Answer::Refused("too many join tokens from this address were refused: wait a minute".into())
        } else {
            self.join(&question).await.unwrap_or_else(|reason| {
                tracing::warn!(%from, reason, "a node that wants to join is refused");
                self.refusals.note(address, Instant::now());
                Answer::Refused(reason)
            })
        };
        postcard::to_stdvec(&answer).expect("plain data encodes").into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_few() {
        let refusals = Refusals::default();
        let [one, other] = ["10.0.0.1", "10.0.0.2"].map(|address| address.parse().unwrap());
        let now = Instant::now();
        for _ in 0..REFUSALS_MAX {
            assert!(!refusals.are_too_many(one, now));
            refusals.note(one, now);
        }
        assert!(refusals.are_too_many(one, now) && !refusals.are_too_many(other, now));
        assert!(!refusals.are_too_many(one, now + WINDOW));
        refusals.note(one, now + WINDOW);
        assert!(!refusals.are_too_many(one, now + WINDOW), "a new window");
    }
}
