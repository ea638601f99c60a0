//! openraft's network: its calls as messages on the node's transport.

use std::{future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::Stream;
use keys::{NodeId, RangeId, ReplicaId};
use openraft::{
    OptionalSend, RaftNetworkFactory, RaftNetworkV2,
    base::{BoxFuture, BoxStream},
    errors::{RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::RPCOption,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, VoteRequest, VoteResponse,
    },
};
use rpc::{Lane, Transport, services};
use serde::{Deserialize, Serialize};

use crate::{
    codec::{Address, Kind, encode_append, message, message_with_bytes},
    machine::SnapshotData,
    pipeline,
    types::{Member, RaftLogId, RaftMembership, RaftVote, Types},
};

const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(3);
const APPEND_TIMEOUT: Duration = Duration::from_secs(5);
const VOTE_TIMEOUT: Duration = Duration::from_millis(1500);
const CHUNK_TIMEOUT: Duration = Duration::from_secs(30);
const INSTALL_TIMEOUT: Duration = Duration::from_secs(600);

/// A piece of a snapshot: `snapshot` tells one sending from another.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct ChunkHead {
    pub snapshot: u64,
    pub number: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SnapshotEnd {
    pub snapshot: u64,
    pub chunk_count: u32,
    pub vote: RaftVote,
    pub last_log_id: Option<RaftLogId>,
    pub membership: RaftMembership,
}

#[derive(Clone)]
pub(crate) struct Network {
    pub range: RangeId,
    pub replica: ReplicaId,
    pub transport: Arc<dyn Transport>,
}

pub(crate) struct Client {
    transport: Arc<dyn Transport>,
    address: Address,
    node: NodeId,
    snapshots: u64,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Client;

    async fn new_client(&mut self, target: u64, node: &Member) -> Client {
        let address = Address { range: self.range, to: ReplicaId::new(target), from: self.replica };
        Client { transport: self.transport.clone(), address, node: node.node, snapshots: 0 }
    }
}

type Answers<'s> = BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>;

fn unreachable(reason: impl ToString) -> Unreachable<Types> {
    Unreachable::from_string(reason)
}

impl Client {
    async fn call(&self, lane: Lane, payload: Bytes, timeout: Duration) -> Result<Bytes, Unreachable<Types>> {
        self.transport.call(self.node, lane, services::RAFT, payload, timeout).await.map_err(unreachable)
    }

    async fn send_snapshot(
        &mut self,
        vote: RaftVote,
        snapshot: openraft::alias::SnapshotOf<Types, SnapshotData>,
    ) -> Result<SnapshotResponse<Types>, Unreachable<Types>> {
        let SnapshotData::Outgoing(mut source) = snapshot.snapshot else {
            return Err(unreachable("a received snapshot is not sent on"));
        };
        self.snapshots += 1;
        // Distinct for every sending: the vote's term, this client, and its count.
        let id = vote.leader_id.term << 20 ^ self.address.from.get() << 16 ^ self.snapshots;
        let mut number = 0;
        // Reading the engine blocks a little, for one chunk at a time.
        while let Some(chunk) = source.next_chunk().map_err(unreachable)? {
            let head = ChunkHead { snapshot: id, number };
            let payload = message_with_bytes(Kind::SnapshotChunk, self.address, &head, &chunk);
            self.call(Lane::Snapshot, payload, CHUNK_TIMEOUT).await?;
            number += 1;
        }
        let end = SnapshotEnd {
            snapshot: id,
            chunk_count: number,
            vote,
            last_log_id: snapshot.meta.last_log_id,
            membership: snapshot.meta.last_membership,
        };
        let payload = message(Kind::SnapshotEnd, self.address, &end);
        let answer = self.call(Lane::Snapshot, payload, INSTALL_TIMEOUT).await?;
        postcard::from_bytes(&answer).map_err(unreachable)
    }
}

impl RaftNetworkV2<Types> for Client {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let payload = encode_append(self.address, &rpc);
        let answer = self.call(Lane::Raft, payload, APPEND_TIMEOUT).await?;
        Ok(postcard::from_bytes(&answer).map_err(unreachable)?)
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<Answers<'s>, RPCError<Types>>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        let send = |request: AppendEntriesRequest<Types>| {
            let payload = encode_append(self.address, &request);
            let (transport, node, bytes) = (self.transport.clone(), self.node, payload.len());
            let sent = async move {
                let call = transport.call(node, Lane::Raft, services::RAFT, payload, APPEND_TIMEOUT);
                let answer = call.await.map_err(unreachable)?;
                postcard::from_bytes(&answer).map_err(unreachable)
            };
            (bytes, Box::pin(sent) as pipeline::Sent)
        };
        let answers: Answers<'s> = Box::pin(pipeline::run(input, send));
        Box::pin(std::future::ready(Ok(answers)))
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let payload = message(Kind::Vote, self.address, &rpc);
        let answer = self.call(Lane::Control, payload, VOTE_TIMEOUT).await?;
        Ok(postcard::from_bytes(&answer).map_err(unreachable)?)
    }

    async fn full_snapshot(
        &mut self,
        vote: RaftVote,
        snapshot: openraft::alias::SnapshotOf<Types, SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let send = std::pin::pin!(self.send_snapshot(vote, snapshot));
        match futures::future::select(send, std::pin::pin!(cancel)).await {
            futures::future::Either::Left((outcome, _)) => Ok(outcome?),
            futures::future::Either::Right((closed, _)) => Err(closed.into()),
        }
    }

    fn backoff(&self) -> Option<openraft::network::Backoff> {
        // A follower that is heard from again is not left waiting: `reset_backoff` ends this.
        let pauses = std::iter::successors(Some(FIRST_BACKOFF), |pause| Some((*pause * 2).min(MAX_BACKOFF)));
        Some(openraft::network::Backoff::new(pauses))
    }
}
