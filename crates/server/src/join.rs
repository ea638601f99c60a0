//! How a node gets its place in a cluster: it asks any member for a number, and learns who else is there.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use keys::{NodeId, keyspace};
use kv::Db;
use rpc::{RpcError, Service, Transport, services};
use serde::{Deserialize, Serialize};
use store::{NodeInfo, Store};
use uuid::Uuid;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ServerRequest {
    Join,
    /// Who are you, and whom do you know? For a node that is a member and starts again.
    Members,
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
}

fn refused(reason: impl ToString) -> RpcError {
    RpcError::Refused { reason: reason.to_string() }
}

#[async_trait]
impl Service for JoinService {
    async fn call(&self, _from: NodeId, payload: Bytes) -> Result<Bytes, RpcError> {
        let node_id = match postcard::from_bytes(&payload).map_err(refused)? {
            ServerRequest::Members => NodeId::new(0),
            ServerRequest::Join => {
                let number = self.db.increment(&keyspace::system("id/node"), 1).await.map_err(refused)?;
                let number = u64::try_from(number).map_err(refused)?;
                tracing::info!(node = number, "a node joins");
                NodeId::new(number)
            }
        };
        let place = Place { cluster_id: self.cluster_id, node_id, members: self.store.nodes().all() };
        Ok(postcard::to_stdvec(&place).map_err(refused)?.into())
    }
}

/// Asks the members in turn until one gives a place.
pub(crate) async fn ask_for_place(
    transport: &Arc<dyn Transport>,
    members: &[String],
    request: &ServerRequest,
    patience: Duration,
) -> Result<Place, String> {
    let payload: Bytes = postcard::to_stdvec(request).map_err(|error| error.to_string())?.into();
    let deadline = tokio::time::Instant::now() + patience;
    loop {
        let mut reason = String::new();
        for member in members {
            let timeout = Duration::from_secs(10);
            match transport.call_address(member, services::SERVER, payload.clone(), timeout).await {
                Ok(answer) => return postcard::from_bytes(&answer).map_err(|error| format!("{member}: {error}")),
                Err(error @ RpcError::Incompatible { .. }) => return Err(error.to_string()),
                Err(error) => reason = format!("{member}: {error}"),
            }
        }
        if tokio::time::Instant::now() > deadline {
            return Err(format!("no member of the cluster answers; the last was {reason}"));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
