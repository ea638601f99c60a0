//! How a node gets its place in a cluster: it asks any member for a number, and learns who else is there. Operators ask
//! a member in the same way ([`Operator`]).

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use certs::{CertError, NodeCerts};
use hlc::Clock;
use keys::{NodeId, keyspace};
use kv::Db;
use rpc::{Lane, RpcError, Service, TcpOptions, TcpTransport, Transport, services};
use serde::{Deserialize, Serialize};
use store::{CheckReport, NodeInfo, Store, nodes_from_bytes, nodes_to_bytes};
use uuid::Uuid;

use crate::{
    certify::{CertifyRequest, Certifier},
    drain::{Drain, DrainStatus},
    first_start::CERTS,
    join_token,
    node::bound_file,
};

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ServerRequest {
    Join,
    /// Who are you, and whom do you know? For a node that is a member and starts again.
    Members,
    /// How do the nodes fare?
    Status,
    /// A node's replicas and leases go to others from now on; or it keeps them again.
    Decommission { node_id: NodeId, leaving: bool },
    /// A certificate that is bound to the node that asks, or to one that has none yet.
    Certify(CertifyRequest),
    /// A token for one more node, good for so many seconds.
    CreateJoinToken { seconds: u64 },
    /// A node serves no more clients and leads nothing from now on; open sessions get so many seconds. Asked again, how far
    /// it has come.
    Drain { node_id: NodeId, seconds: u64 },
    /// A node compares the replicas of all ranges that it leads; or says how far it has come with that.
    CheckRanges { node_id: NodeId, begin: bool },
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Place {
    pub cluster_id: Uuid,
    /// The number given out; 0 in answer to `Members`.
    pub node_id: NodeId,
    pub members: Vec<NodeInfo>,
}

pub(crate) struct JoinService {
    pub cluster_id: Uuid,
    pub db: Db,
    pub store: Store,
    /// None where there are no certificates.
    pub certifier: Option<Certifier>,
    /// `--accept-unbound-certs`
    pub are_unbound_members: bool,
    pub drain: Arc<Drain>,
    pub transport: Arc<dyn Transport>,
}

/// How long a join token may be good: 30 days.
const JOIN_TOKEN_SECONDS_MAX: u64 = 30 * 24 * 3600;

impl JoinService {
    /// Operators show the certificate of a node. One that does not say which node it is for is good for joining alone.
    fn check_operator(&self, from: NodeId) -> Result<(), RpcError> {
        if from.get() == 0 && self.certifier.is_some() && !self.are_unbound_members {
            return Err(refused(UNBOUND_OPERATOR));
        }
        Ok(())
    }

    /// Passed on to the node that is meant.
    async fn drain(&self, node_id: NodeId, seconds: u64) -> Result<Bytes, RpcError> {
        if node_id == self.db.node_id() {
            let status = self.drain.begin(&self.store, Duration::from_secs(seconds)).map_err(refused)?;
            return Ok(postcard::to_stdvec(&status).map_err(refused)?.into());
        }
        if self.store.nodes().get(node_id).is_none() {
            return Err(refused(format!("there is no node {node_id}")));
        }
        let payload = postcard::to_stdvec(&ServerRequest::Drain { node_id, seconds }).map_err(refused)?;
        let answer = self.transport.call(node_id, Lane::Control, services::JOIN, payload.into(), DRAIN_TIMEOUT).await;
        answer.map_err(|error| match error {
            RpcError::Refused { reason } => refused(reason),
            other => refused(format!("node {node_id} does not answer: {other}")),
        })
    }
}

/// How long a node may take to say how far it has come with its drain.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

const UNBOUND_OPERATOR: &str = "the certificate that was shown does not say which node it is for: give --store, the directory \
                                of a node of this cluster, whose node.pem says so (or --certs-dir with a node.crt made by \
                                quorate cert create-node --cluster-id UUID --node-id N)";

pub(crate) fn refused(reason: impl ToString) -> RpcError {
    RpcError::Refused { reason: reason.to_string() }
}

#[async_trait]
impl Service for JoinService {
    async fn call(&self, from: NodeId, payload: Bytes) -> Result<Bytes, RpcError> {
        let node_id = match postcard::from_bytes(&payload).map_err(refused)? {
            ServerRequest::Members => NodeId::new(0),
            ServerRequest::Status => {
                self.check_operator(from)?;
                let status = self.store.node_status();
                return Ok(nodes_to_bytes(&status, status.iter().map(|(node, _)| node)).into());
            }
            ServerRequest::Decommission { node_id, leaving } => {
                self.check_operator(from)?;
                self.store.decommission(node_id, leaving).await.map_err(refused)?;
                return Ok(Bytes::new());
            }
            ServerRequest::Certify(asked) => {
                let certifier = self.certifier.as_ref().ok_or_else(|| refused(NO_CERTIFICATES))?;
                return certifier.certify(from, &asked).await.map(|pem| pem.into_bytes().into()).map_err(refused);
            }
            ServerRequest::CreateJoinToken { seconds } => {
                let certifier = self.certifier.as_ref().ok_or_else(|| refused(NO_CERTIFICATES))?;
                self.check_operator(from)?;
                if seconds > JOIN_TOKEN_SECONDS_MAX {
                    return Err(refused("a join token is good for 30 days at most"));
                }
                let fingerprint = certs::ca_fingerprint(certifier.certs.dir()).map_err(refused)?;
                let lifetime = Duration::from_secs(seconds);
                let token = join_token::create(&self.db, fingerprint, lifetime).await.map_err(refused)?;
                tracing::info!(seconds, "a join token was made");
                return Ok(token.to_string().into_bytes().into());
            }
            ServerRequest::Drain { node_id, seconds } => {
                self.check_operator(from)?;
                return self.drain(node_id, seconds).await;
            }
            ServerRequest::CheckRanges { node_id, begin } => {
                self.check_operator(from)?;
                let report = self.store.check_ranges_of(node_id, begin).await.map_err(refused)?;
                return Ok(postcard::to_stdvec(&report).map_err(refused)?.into());
            }
            ServerRequest::Join => {
                let number = self.db.increment(&keyspace::system("id/node"), 1).await.map_err(refused)?;
                let number = u64::try_from(number).map_err(refused)?;
                tracing::info!(node = number, "a node joins");
                NodeId::new(number)
            }
        };
        let place = Place { cluster_id: self.cluster_id, node_id, members: self.store.nodes().all() };
        Ok(nodes_to_bytes(&place, &place.members).into())
    }
}

const NO_CERTIFICATES: &str = "the cluster has no certificates: any node may join it, with --insecure";

/// Why no place was given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// A member that this node cannot talk to, now or later.
    #[error(transparent)]
    Apart(RpcError),
    #[error("{member}: {reason}")]
    BadAnswer { member: String, reason: String },
    #[error("no member of the cluster answers; the last was {last}")]
    NoAnswer { last: String },
}

/// Asks the members in turn until one gives a place.
pub(crate) async fn ask_for_place(
    transport: &Arc<dyn Transport>,
    members: &[String],
    request: &ServerRequest,
    patience: Duration,
) -> Result<Place, JoinError> {
    let payload: Bytes = postcard::to_stdvec(request).expect("a request is plain data").into();
    let deadline = tokio::time::Instant::now() + patience;
    loop {
        let mut last = String::new();
        for member in members {
            let timeout = Duration::from_secs(10);
            match transport.call_address(member, services::JOIN, payload.clone(), timeout).await {
                Ok(answer) => {
                    let place = nodes_from_bytes(&answer, |place: &mut Place| place.members.iter_mut().collect());
                    return place.map_err(|error| JoinError::BadAnswer {
                        member: member.clone(),
                        reason: error.to_string(),
                    });
                }
                Err(error @ (RpcError::OtherCluster { .. } | RpcError::Incompatible { .. })) => {
                    return Err(JoinError::Apart(error));
                }
                Err(error) => last = format!("{member}: {error}"),
            }
        }
        if tokio::time::Instant::now() > deadline {
            return Err(JoinError::NoAnswer { last });
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Asks one member about the cluster: what stands behind `quorate node`.
pub struct Operator {
    transport: Arc<TcpTransport>,
    address: String,
}

/// How long a member may take to answer an operator.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

impl Operator {
    /// With the certificates of a directory, where the cluster's nodes have some.
    ///
    /// # Errors
    /// When they cannot be read, or no port of the loopback interface can be had to call from.
    pub async fn of(address: String, certs_dir: Option<&Path>) -> Result<Self, String> {
        Self::with(address, certs_dir.map(NodeCerts::open)).await
    }

    /// With those of the node whose store this is: in its `certs`, unless it was given another directory.
    ///
    /// # Errors
    /// As [`Operator::of`].
    pub async fn of_node(address: String, certs_dir: Option<&Path>, store: &Path) -> Result<Self, String> {
        let dir = certs_dir.map_or_else(|| store.join(CERTS), Path::to_owned);
        let bound = bound_file(&dir, store);
        Self::with(address, Some(NodeCerts::open_with(dir, bound))).await
    }

    async fn with(address: String, certs: Option<Result<NodeCerts, CertError>>) -> Result<Self, String> {
        let certs = certs.transpose().map_err(|error| error.to_string())?.map(Arc::new);
        let clock = Arc::new(Clock::system(Duration::from_millis(500)));
        // It belongs to no cluster, and serves nobody.
        let listen = "127.0.0.1:0".into();
        let options = TcpOptions { listen, cluster: [0; 16], clock, certs, are_unbound_members: false };
        let transport = TcpTransport::bind(options).await;
        let transport = transport.map_err(|error| format!("cannot open a port to call from: {error}"))?;
        Ok(Self { transport, address })
    }

    async fn ask(&self, request: &ServerRequest) -> Result<Bytes, RpcError> {
        let payload: Bytes = postcard::to_stdvec(request).expect("a request is plain data").into();
        self.transport.call_address(&self.address, services::JOIN, payload, ANSWER_TIMEOUT).await
    }

    /// Each node, and whether the member that was asked hears from it.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn status(&self) -> Result<Vec<(NodeInfo, bool)>, RpcError> {
        let answer = self.ask(&ServerRequest::Status).await?;
        nodes_from_bytes(&answer, |status: &mut Vec<(NodeInfo, bool)>| status.iter_mut().map(|(node, _)| node).collect())
            .map_err(refused)
    }

    /// A token with which one more node can join, for so long.
    ///
    /// # Errors
    /// As [`Operator::decommission`].
    pub async fn create_join_token(&self, lifetime: Duration) -> Result<String, RpcError> {
        let token = self.ask(&ServerRequest::CreateJoinToken { seconds: lifetime.as_secs() }).await?;
        String::from_utf8(token.to_vec()).map_err(refused)
    }

    /// Has a node take no new clients and give its leases away, or says how far it has come with that.
    ///
    /// # Errors
    /// As [`Operator::decommission`].
    pub async fn drain(&self, node_id: NodeId, sessions: Duration) -> Result<DrainStatus, RpcError> {
        let answer = self.ask(&ServerRequest::Drain { node_id, seconds: sessions.as_secs() }).await?;
        postcard::from_bytes(&answer).map_err(refused)
    }

    /// Has a node compare the replicas of all ranges that it leads, or says how far it has come with that.
    ///
    /// # Errors
    /// As [`Operator::decommission`].
    pub async fn check_ranges(&self, node_id: NodeId, begin: bool) -> Result<CheckReport, RpcError> {
        let answer = self.ask(&ServerRequest::CheckRanges { node_id, begin }).await?;
        postcard::from_bytes(&answer).map_err(refused)
    }

    /// # Errors
    /// When it does not answer, or says what is in the way.
    pub async fn decommission(&self, node_id: NodeId, leaving: bool) -> Result<(), RpcError> {
        self.ask(&ServerRequest::Decommission { node_id, leaving }).await.map(drop)
    }
}
