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
use rpc::{Lane, RpcError, Transport, services};

use crate::{
    aside::blocking,
    codec::{Address, Kind, encode_append, message, message_with_bytes},
    machine::SnapshotData,
    pipeline,
    snapshots::{ChunkHead, Outgoing, SnapshotEnd},
    sound,
    types::{Member, RaftLogId, RaftVote, Types},
};

const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(3);
const APPEND_TIMEOUT: Duration = Duration::from_secs(5);
const VOTE_TIMEOUT: Duration = Duration::from_millis(1500);
const CHUNK_TIMEOUT: Duration = Duration::from_secs(30);
const CHUNK_ATTEMPTS: u32 = 5;
const CHUNK_PAUSE: Duration = Duration::from_millis(400);
/// A snapshot pins what compaction would remove: one that takes longer is given up.
const SNAPSHOT_AGE_MAX: Duration = Duration::from_secs(3600);
const INSTALL_TIMEOUT: Duration = Duration::from_secs(600);

#[derive(Clone)]
pub(crate) struct Network {
    pub range: RangeId,
    pub replica: ReplicaId,
    pub transport: Arc<dyn Transport>,
    pub outgoing: Arc<Outgoing>,
}

pub(crate) struct Client {
    transport: Arc<dyn Transport>,
    outgoing: Arc<Outgoing>,
    address: Address,
    node: NodeId,
    acknowledged: Option<RaftLogId>,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Client;

    async fn new_client(&mut self, target: u64, node: &Member) -> Client {
        let address = Address { range: self.range, to: ReplicaId::new(target), from: self.replica };
        Client {
            transport: self.transport.clone(),
            outgoing: self.outgoing.clone(),
            address,
            node: node.node,
            acknowledged: None,
        }
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
        let outgoing = self.outgoing.clone();
        let _turn = outgoing.turn().await;
        // Another leader's sendings have another term, another store's are replaced by whoever begins later.
        let id = vote.leader_id.term << 32 ^ outgoing.next_number();
        let mut number = 0;
        while let Some(chunk) = blocking(|| source.next_chunk()).map_err(unreachable)? {
            outgoing.pace(chunk.len()).await;
            let head = ChunkHead { snapshot: id, number };
            let payload = message_with_bytes(Kind::SnapshotChunk, self.address, &head, &chunk);
            self.send_chunk(payload).await?;
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
        let response: SnapshotResponse<Types> = postcard::from_bytes(&answer).map_err(unreachable)?;
        sound::vote(&response.vote).map_err(unreachable)?;
        Ok(response)
    }

    /// Again if it got lost: a connection that breaks should not cost all that was sent.
    async fn send_chunk(&self, payload: Bytes) -> Result<(), Unreachable<Types>> {
        let mut attempt = 1;
        loop {
            let call =
                self.transport.call(self.node, Lane::Snapshot, services::RAFT, payload.clone(), CHUNK_TIMEOUT).await;
            match call {
                Ok(_) => return Ok(()),
                Err(error) if attempt == CHUNK_ATTEMPTS || matches!(error, RpcError::Refused { .. }) => {
                    return Err(unreachable(error));
                }
                Err(error) => tracing::debug!(range = %self.address.range, %error, "snapshot"),
            }
            attempt += 1;
            tokio::time::sleep(CHUNK_PAUSE).await;
        }
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
        let response = postcard::from_bytes(&answer).map_err(unreachable)?;
        // What comes this way carries no entries and begins where the follower has acknowledged everything.
        if matches!(response, AppendEntriesResponse::Conflict) {
            tracing::error!(range = %self.address.range, replica = %self.address.to, "a follower has lost acknowledged entries");
            return Err(unreachable("the follower denies what it has acknowledged").into());
        }
        let (previous, last) =
            (rpc.prev_log_id, rpc.entries.last().map(|entry| entry.log_id).or(rpc.prev_log_id));
        sound::append_response(&response, previous, last).map_err(unreachable)?;
        Ok(response)
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<Answers<'s>, RPCError<Types>>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        let Self { transport, address, node, acknowledged, .. } = self;
        let send = |request: AppendEntriesRequest<Types>| {
            let payload = encode_append(*address, &request);
            let (transport, node, bytes) = (transport.clone(), *node, payload.len());
            let sent = async move {
                let call = transport.call(node, Lane::Raft, services::RAFT, payload, APPEND_TIMEOUT);
                let answer = call.await.map_err(unreachable)?;
                postcard::from_bytes(&answer).map_err(unreachable)
            };
            (bytes, Box::pin(sent) as pipeline::Sent)
        };
        let answers: Answers<'s> = Box::pin(pipeline::run(input, acknowledged, send));
        Box::pin(std::future::ready(Ok(answers)))
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let payload = message(Kind::Vote, self.address, &rpc);
        let answer = self.call(Lane::Control, payload, VOTE_TIMEOUT).await?;
        let response: VoteResponse<Types> = postcard::from_bytes(&answer).map_err(unreachable)?;
        sound::vote_response(&response).map_err(unreachable)?;
        Ok(response)
    }

    async fn full_snapshot(
        &mut self,
        vote: RaftVote,
        snapshot: openraft::alias::SnapshotOf<Types, SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let send = std::pin::pin!(tokio::time::timeout(SNAPSHOT_AGE_MAX, self.send_snapshot(vote, snapshot)));
        match futures::future::select(send, std::pin::pin!(cancel)).await {
            futures::future::Either::Left((Ok(outcome), _)) => Ok(outcome?),
            futures::future::Either::Left((Err(_), _)) => Err(unreachable("the snapshot took too long").into()),
            futures::future::Either::Right((closed, _)) => Err(closed.into()),
        }
    }

    fn backoff(&self) -> Option<openraft::network::Backoff> {
        // A follower that is heard from again is not left waiting: `reset_backoff` ends this.
        let pauses = std::iter::successors(Some(FIRST_BACKOFF), |pause| Some((*pause * 2).min(MAX_BACKOFF)));
        Some(openraft::network::Backoff::new(pauses))
    }
}
