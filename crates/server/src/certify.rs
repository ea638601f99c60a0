//! The certificates that a cluster gives its nodes: bound to the cluster and to the node's number.
//!
//! A node whose directory of certificates has `ca.key` signs them, for itself and for others. A node without asks every
//! member for one that can. It does so when it joins, and again when a third of the certificate's time is left.
//!
//! ```text
//!  new node ── token, request ──► any member ── CERTIFY ──► a member with ca.key
//!           ◄─ number, certificate, CA ──────────────────────┘
//! ```
//! **Invariants**
//! - *one-owner-a-number*: a number's first certificate is given to whoever asks for it with an unbound certificate of the
//!   CA, or has got the number just now; from then on only to the node that shows the one that it has.
//! - *keys-stay-home*: a node's private key is made by the node and sent nowhere.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use bytes::Bytes;
use certs::{Identity, Lifetime, NodeCerts, Request};
use keys::{Key, NodeId, keyspace};
use kv::{Db, Error, Read};
use rpc::{Lane, RpcError, Service, Transport, services};
use serde::{Deserialize, Serialize};
use store::Store;
use uuid::Uuid;

use crate::join::{ServerRequest, refused};

/// How long a certificate that a cluster gives is valid. It is renewed by itself, as long as some node can sign.
const LIFETIME: Lifetime = Lifetime(365);
/// How long a member may take to sign.
const SIGN_TIMEOUT: Duration = Duration::from_secs(10);
/// How often it is looked whether the certificate ends soon.
const LOOK_EVERY: Duration = Duration::from_secs(3600);
/// After an attempt to renew it that nobody answered.
const TRY_AGAIN: Duration = Duration::from_secs(60);
/// So long before its end a certificate is spoken of.
const EXPIRY_NOTICE: i64 = 30 * 24 * 3600;
/// Names of hosts in one certificate.
pub(crate) const HOSTS_MAX: usize = 64;

/// What is asked of a member that can sign.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CertifyRequest {
    pub node_id: NodeId,
    /// PKCS #10.
    pub request: Vec<u8>,
    pub hosts: Vec<String>,
}

/// Signs, or finds who does.
#[derive(Clone)]
pub(crate) struct Certifier {
    pub cluster_id: Uuid,
    pub certs: Arc<NodeCerts>,
    pub db: Db,
    pub store: Store,
    pub transport: Arc<dyn Transport>,
}

fn key(node: NodeId) -> Key {
    keyspace::system(&format!("node-certificate/{}", node.get()))
}

impl Certifier {
    /// Notes that a number has an owner; false when it had one, and `asker` is not it.
    async fn claim(&self, node: NodeId, asker: NodeId) -> Result<bool, Error> {
        if asker == node {
            self.db.run(|txn| Box::pin(async move { Ok::<(), Error>(txn.put(key(node), Bytes::from_static(&[1]))) })).await?;
            return Ok(true);
        }
        let given = self.db.get(&keyspace::system("id/node")).await?;
        let given = given.and_then(|bytes| <[u8; 8]>::try_from(&bytes[..]).ok()).map_or(1, i64::from_be_bytes);
        if node.get() == 0 || i64::try_from(node.get()).map_or(true, |node| node > given) {
            return Ok(false);
        }
        self.db
            .run(|txn| {
                Box::pin(async move {
                    let is_free = txn.get(&key(node), Read::default()).await?.is_none();
                    if is_free {
                        txn.put(key(node), Bytes::from_static(&[1]));
                    }
                    Ok::<bool, Error>(is_free)
                })
            })
            .await
    }

    async fn disclaim(&self, node: NodeId) {
        let deleted = self.db.run(|txn| Box::pin(async move { Ok::<(), Error>(txn.delete(key(node))) })).await;
        if let Err(error) = deleted {
            tracing::warn!(%node, %error, "the number stays taken though its node has no certificate");
        }
    }

    /// Signs here. `asker` is the node that the asking connection is bound to, 0 for none. *one-owner-a-number*
    async fn sign(&self, asker: NodeId, asked: &CertifyRequest) -> Result<String, String> {
        if !certs::can_sign(self.certs.dir()) {
            return Err(NO_KEY.into());
        }
        if asked.hosts.len() > HOSTS_MAX {
            return Err(format!("a certificate has {HOSTS_MAX} names of hosts at most"));
        }
        let node = asked.node_id;
        if !self.claim(node, asker).await.map_err(|error| error.to_string())? {
            return Err(format!(
                "node {} has a certificate of its own already, or there is no such node; if it has lost it, make one where \
                 ca.key is: {}",
                node.get(),
                self.by_hand(node)
            ));
        }
        let identity = Identity { cluster: self.cluster_id, node: node.get() };
        match certs::sign_node(self.certs.dir(), &asked.request, &asked.hosts, &identity, LIFETIME) {
            Ok(pem) => {
                tracing::info!(node = node.get(), hosts = asked.hosts.join(" "), "a node's certificate was signed");
                Ok(pem)
            }
            Err(error) => {
                if asker != node {
                    self.disclaim(node).await;
                }
                Err(error.to_string())
            }
        }
    }

    /// What this node passes on is asked in its name, and so would be its own number for whoever asked: *one-owner-a-number*.
    fn check_relayed(&self, asker: NodeId, node: NodeId) -> Result<(), String> {
        if node == self.db.node_id() && asker != node {
            return Err(format!(
                "node {} asks for its own certificate itself; if it has lost it, make one where ca.key is: {}",
                node.get(),
                self.by_hand(node)
            ));
        }
        Ok(())
    }

    fn by_hand(&self, node: NodeId) -> String {
        by_hand(self.cluster_id, node)
    }

    /// Signs here, or at a member that can.
    ///
    /// # Errors
    /// One line that says what to do.
    pub async fn certify(&self, asker: NodeId, asked: &CertifyRequest) -> Result<String, String> {
        self.check_relayed(asker, asked.node_id)?;
        if certs::can_sign(self.certs.dir()) {
            return self.sign(asker, asked).await;
        }
        let payload: Bytes = postcard::to_stdvec(asked).map_err(|error| error.to_string())?.into();
        let mut refusal = None;
        for member in self.store.nodes().all() {
            if member.node_id == self.db.node_id() {
                continue;
            }
            let call = self.transport.call(member.node_id, Lane::Control, services::CERTIFY, payload.clone(), SIGN_TIMEOUT);
            match call.await {
                Ok(pem) => return String::from_utf8(pem.to_vec()).map_err(|error| error.to_string()),
                Err(RpcError::Refused { reason }) if !reason.contains(NO_KEY) => refusal = Some(reason),
                Err(error) => tracing::debug!(node = %member.node_id, %error, "it does not sign"),
            }
        }
        Err(refusal.unwrap_or_else(|| {
            format!(
                "no node that answers has ca.key: put it beside ca.crt where one has its certificates, or make the \
                 certificate of node {0} where ca.key is ({1}), and start node {0} with it",
                asked.node_id.get(),
                self.by_hand(asked.node_id)
            )
        }))
    }
}

/// What a member without the CA's key answers.
const NO_KEY: &str = "it has no ca.key";

pub(crate) fn by_hand(cluster: Uuid, node: NodeId) -> String {
    format!("quorate cert create-node --cluster-id {cluster} --node-id {} HOST…", node.get())
}

/// What members ask each other: only they can call it.
#[async_trait]
impl Service for Certifier {
    async fn call(&self, from: NodeId, payload: Bytes) -> Result<Bytes, RpcError> {
        let asked: CertifyRequest = postcard::from_bytes(&payload).map_err(refused)?;
        self.sign(from, &asked).await.map(|pem| pem.into_bytes().into()).map_err(refused)
    }
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

/// Whether a third of a certificate's time is left, or less.
fn is_due(not_before: i64, not_after: i64, now: i64) -> bool {
    not_after - now <= (not_after - not_before) / 3
}

/// A node's own certificate: bound to it, and not about to end.
pub(crate) struct Own {
    pub identity: Identity,
    pub certs: Arc<NodeCerts>,
    pub transport: Arc<dyn Transport>,
}

impl Own {
    pub fn is_bound(&self) -> bool {
        self.certs.current().names.identity == Some(self.identity)
    }

    /// Gets a certificate of this node signed: here, or by one of the members at these addresses.
    ///
    /// # Errors
    /// What the last member said, or that the certificate cannot be used.
    pub async fn obtain(&self, addresses: &[String]) -> Result<(), String> {
        let request = Request::new().map_err(|error| error.to_string())?;
        let hosts = self.certs.current().names.hosts.clone();
        let signed = |pem: &str| self.certs.adopt(&request.with_certificate(pem)).map_err(|error| error.to_string());
        if certs::can_sign(self.certs.dir()) {
            let pem = certs::sign_node(self.certs.dir(), &request.der, &hosts, &self.identity, LIFETIME);
            return signed(&pem.map_err(|error| error.to_string())?);
        }
        let node_id = NodeId::new(self.identity.node);
        let asked = ServerRequest::Certify(CertifyRequest { node_id, request: request.der.clone(), hosts });
        let payload: Bytes = postcard::to_stdvec(&asked).map_err(|error| error.to_string())?.into();
        let mut last = format!(
            "no member was found to sign it, and ca.key is not in {}: make it where ca.key is ({})",
            self.certs.dir().display(),
            by_hand(self.identity.cluster, node_id)
        );
        for address in addresses {
            match self.transport.call_address(address, services::JOIN, payload.clone(), SIGN_TIMEOUT).await {
                Ok(pem) => return signed(std::str::from_utf8(&pem).map_err(|error| error.to_string())?),
                Err(RpcError::Refused { reason }) => last = reason,
                Err(error) => tracing::debug!(address, %error, "it does not sign"),
            }
        }
        Err(last)
    }

    /// Obtains one if this node has none that is bound to it, or that ends soon. True when there is nothing left to do.
    pub async fn renew(&self, addresses: &[String]) -> bool {
        let current = self.certs.current();
        if self.is_bound() && !is_due(current.not_before, current.not_after, now()) {
            return true;
        }
        match self.obtain(addresses).await {
            Ok(()) => {
                tracing::info!(identity = %self.identity, "the node has a new certificate");
                true
            }
            Err(reason) if self.is_bound() => {
                warn_of_expiry(&self.certs, &reason);
                false
            }
            Err(reason) => {
                tracing::warn!(reason, "the node's certificate does not say which node it is: others do not talk to it");
                false
            }
        }
    }
}

/// Says that a certificate ends soon, and why it was not renewed.
pub(crate) fn warn_of_expiry(certs: &NodeCerts, reason: &str) {
    let left = certs.current().not_after - now();
    if left < EXPIRY_NOTICE {
        tracing::warn!(days = left.div_euclid(24 * 3600), reason, "the node's certificate ends soon");
    }
}

/// Keeps a node's certificate good for as long as the node runs.
pub(crate) async fn keep(own: Own, certifier: Certifier) {
    let node = NodeId::new(own.identity.node);
    let (mut has_claimed, mut was_well) = (false, false);
    let mut next = Instant::now();
    // What this holds must not outlive the node by more than a moment.
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !certifier.store.is_stopping() {
        ticks.tick().await;
        // The certificates may have been replaced meanwhile, by one that does not say which node this is.
        if Instant::now() < next && !(was_well && !own.is_bound()) {
            continue;
        }
        let others = certifier.store.nodes().all().into_iter().filter(|other| other.node_id != node);
        let addresses: Vec<String> = others.map(|other| other.rpc_addr).collect();
        let is_well = own.renew(&addresses).await;
        was_well = is_well && own.is_bound();
        // One that signs for itself has to say so.
        if is_well && !has_claimed {
            has_claimed = certifier.claim(node, node).await.is_ok();
        }
        next = Instant::now() + if is_well && has_claimed { LOOK_EVERY } else { TRY_AGAIN };
    }
}


#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_when_a_third_of_its_time_is_left() {
        assert!(!is_due(0, 300, 199));
        assert!(is_due(0, 300, 200) && is_due(0, 300, 400));
    }
}
