//! One TCP connection: four queues of messages on one side of it, a reader on the other.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::{Bytes, BytesMut};
use hlc::Clock;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::{OwnedReadHalf, OwnedWriteHalf},
    sync::{Notify, Semaphore, oneshot},
};

use crate::{
    Lane, RpcError,
    frame::{HEADER_BYTES, Header, Kind, MAX_FRAME_BYTES},
};

/// What one write to the socket carries at most.
const WRITE_BYTES: usize = 256 << 10;
/// Bytes that may wait in one lane, in KiB.
const LANE_KIB: u32 = 64 << 10;
pub(crate) const MAX_MESSAGE_BYTES: usize = 128 << 20;

pub(crate) struct OutMessage {
    pub kind: Kind,
    pub call: u64,
    pub service: u16,
    pub payload: Bytes,
    sent: usize,
    room: u32,
}

#[derive(Default)]
struct Queues {
    lanes: [VecDeque<OutMessage>; 4],
}

pub(crate) type Answer = oneshot::Sender<Result<Bytes, RpcError>>;

/// Counters of a lane, over all connections.
#[derive(Debug, Default)]
pub struct LaneMetrics {
    pub messages: AtomicU64,
    pub bytes: AtomicU64,
}

pub(crate) struct Connection {
    queues: Mutex<Queues>,
    wake: Notify,
    room: [Semaphore; 4],
    pending: Mutex<FxHashMap<u64, Answer>>,
    next_call: AtomicU64,
    closed: AtomicBool,
    pub clock: Arc<Clock>,
    metrics: Arc<[LaneMetrics; 4]>,
    pub peer: String,
}

impl Connection {
    pub fn new(peer: String, clock: Arc<Clock>, metrics: Arc<[LaneMetrics; 4]>) -> Self {
        Self {
            queues: Mutex::default(),
            wake: Notify::new(),
            room: std::array::from_fn(|_| Semaphore::new(LANE_KIB as usize)),
            pending: Mutex::default(),
            next_call: AtomicU64::new(1),
            closed: AtomicBool::new(false),
            clock,
            metrics,
            peer,
        }
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Queues a message when its lane has room for it.
    pub async fn send(&self, lane: Lane, kind: Kind, call: u64, service: u16, payload: Bytes) -> Result<(), RpcError> {
        let kib = u32::try_from(payload.len() / 1024).unwrap_or(u32::MAX).min(LANE_KIB / 2);
        if kib > 0 {
            let permit = self.room[lane as usize].acquire_many(kib).await;
            permit.map_err(|_| self.unreachable("the connection is closed"))?.forget();
        }
        if self.is_closed() {
            return Err(self.unreachable("the connection is closed"));
        }
        let message = OutMessage { kind, call, service, payload, sent: 0, room: kib };
        self.queues.lock().lanes[lane as usize].push_back(message);
        self.wake.notify_one();
        Ok(())
    }

    fn unreachable(&self, reason: &str) -> RpcError {
        RpcError::Unreachable { to: self.peer.clone(), reason: reason.to_owned() }
    }

    /// A call id and where its answer will come.
    pub fn register(&self) -> (CallSlot<'_>, oneshot::Receiver<Result<Bytes, RpcError>>) {
        let (answer, wait) = oneshot::channel();
        let call = self.next_call.fetch_add(1, Ordering::Relaxed);
        self.pending.lock().insert(call, answer);
        (CallSlot { connection: self, call }, wait)
    }

    pub fn complete(&self, call: u64, outcome: Result<Bytes, RpcError>) {
        if let Some(answer) = self.pending.lock().remove(&call) {
            // The caller may have given up.
            let _unheard = answer.send(outcome);
        }
    }

    /// Ends it: whoever waits for an answer is told that there will be none.
    pub fn close(&self) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        for room in &self.room {
            room.close();
        }
        let mut unsent: Vec<u64> = Vec::new();
        for lane in &mut self.queues.lock().lanes {
            unsent.extend(lane.drain(..).filter(|message| message.sent == 0).map(|message| message.call));
        }
        let pending = std::mem::take(&mut *self.pending.lock());
        for (call, answer) in pending {
            let error = if unsent.contains(&call) {
                self.unreachable("the connection broke before it was sent")
            } else {
                RpcError::NoAnswer { to: self.peer.clone(), after: std::time::Duration::ZERO }
            };
            let _unheard = answer.send(Err(error));
        }
        self.wake.notify_one();
    }

    /// *lane-order*: the next frames, always from the most urgent lane that has any.
    fn gather(&self, out: &mut BytesMut) {
        let mut queues = self.queues.lock();
        while out.len() < WRITE_BYTES {
            let Some(lane) = queues.lanes.iter().position(|lane| !lane.is_empty()) else { return };
            let queue = &mut queues.lanes[lane];
            let message = queue.front_mut().expect("the lane is not empty");
            let end = message.payload.len().min(message.sent + MAX_FRAME_BYTES);
            let part = &message.payload[message.sent..end];
            let last = end == message.payload.len();
            let header = Header {
                length: part.len(),
                kind: message.kind,
                lane: lane as u8,
                last,
                call: message.call,
                service: message.service,
                crc: crc32fast::hash(part),
                clock: self.clock.now(),
            };
            out.extend_from_slice(&header.encode());
            out.extend_from_slice(part);
            message.sent = end.max(1);
            let metrics = &self.metrics[lane];
            metrics.bytes.fetch_add((HEADER_BYTES + part.len()) as u64, Ordering::Relaxed);
            if last {
                metrics.messages.fetch_add(1, Ordering::Relaxed);
                self.room[lane].add_permits(message.room as usize);
                queue.pop_front();
            } else {
                message.sent = end;
            }
        }
    }

    pub async fn write_loop(self: Arc<Self>, mut socket: OwnedWriteHalf) {
        let mut out = BytesMut::with_capacity(WRITE_BYTES + MAX_FRAME_BYTES + HEADER_BYTES);
        while !self.is_closed() {
            self.gather(&mut out);
            if out.is_empty() {
                self.wake.notified().await;
                continue;
            }
            if let Err(error) = socket.write_all(&out).await {
                tracing::debug!(peer = %self.peer, %error, "write");
                break;
            }
            out.clear();
        }
        self.close();
    }

    /// Reads until the connection ends; whole messages go to `deliver`.
    pub async fn read_loop(self: Arc<Self>, mut socket: OwnedReadHalf, deliver: impl Fn(Kind, Lane, u64, u16, Result<Bytes, RpcError>)) {
        let mut buffer = BytesMut::with_capacity(128 << 10);
        let mut partial: FxHashMap<(u8, u64), BytesMut> = FxHashMap::default();
        let ended = loop {
            match self.next_frame(&mut socket, &mut buffer).await {
                Ok(Some((header, body))) => {
                    if let Err(error) = self.take_frame(header, body, &mut partial, &deliver) {
                        break Some(error.to_string());
                    }
                }
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        if let Some(reason) = ended {
            tracing::debug!(peer = %self.peer, reason, "connection ended");
        }
        self.close();
    }

    fn take_frame(
        &self,
        header: Header,
        body: Bytes,
        partial: &mut FxHashMap<(u8, u64), BytesMut>,
        deliver: &impl Fn(Kind, Lane, u64, u16, Result<Bytes, RpcError>),
    ) -> Result<(), RpcError> {
        let key = (header.kind as u8, header.call);
        let payload = if header.last && !partial.contains_key(&key) {
            body
        } else {
            let message = partial.entry(key).or_default();
            let bytes = message.len() + body.len();
            if bytes > MAX_MESSAGE_BYTES {
                return Err(RpcError::TooLarge { bytes, max: MAX_MESSAGE_BYTES });
            }
            message.extend_from_slice(&body);
            if !header.last {
                return Ok(());
            }
            partial.remove(&key).expect("just grown").freeze()
        };
        let lane = [Lane::Control, Lane::Raft, Lane::Client, Lane::Snapshot][usize::from(header.lane)];
        // *clock-on-every-frame*: a peer too far ahead is not listened to.
        let payload = match self.clock.update(header.clock) {
            Ok(()) => Ok(payload),
            Err(error) => {
                tracing::error!(peer = %self.peer, %error, "clock offset");
                Err(RpcError::ClockOffset {
                    node: keys::NodeId::new(0),
                    offset_ns: i64::try_from(error.ahead_ns).unwrap_or(i64::MAX),
                    max_offset_ns: i64::try_from(error.max_offset_ns).unwrap_or(i64::MAX),
                })
            }
        };
        deliver(header.kind, lane, header.call, header.service, payload);
        Ok(())
    }

    async fn next_frame(
        &self,
        socket: &mut OwnedReadHalf,
        buffer: &mut BytesMut,
    ) -> Result<Option<(Header, Bytes)>, String> {
        loop {
            if let Some(head) = buffer.first_chunk::<HEADER_BYTES>() {
                let header = Header::decode(head).map_err(|error| error.to_string())?;
                if buffer.len() >= HEADER_BYTES + header.length {
                    let mut frame = buffer.split_to(HEADER_BYTES + header.length);
                    let body = frame.split_off(HEADER_BYTES).freeze();
                    if crc32fast::hash(&body) != header.crc {
                        return Err("a frame was damaged on its way".into());
                    }
                    return Ok(Some((header, body)));
                }
            }
            buffer.reserve(64 << 10);
            match socket.read_buf(buffer).await {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

/// A call under way; dropping it forgets the call.
pub(crate) struct CallSlot<'a> {
    connection: &'a Connection,
    pub call: u64,
}

impl Drop for CallSlot<'_> {
    fn drop(&mut self) {
        self.connection.pending.lock().remove(&self.call);
    }
}
