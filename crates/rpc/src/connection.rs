//! One TCP connection: four queues of messages on one side of it, a reader on the other.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use bytes::{Bytes, BytesMut};
use hlc::Clock;
use keys::NodeId;
use parking_lot::Mutex;
use rustc_hash::{FxHashMap, FxHashSet};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{Notify, Semaphore, oneshot},
    task::AbortHandle,
};

use crate::{
    Lane, RpcError, ServiceId,
    frame::{HEADER_BYTES, Header, Kind, MAX_FRAME_BYTES},
    greeting::{Judged, Standing},
    services,
};

/// What one write to the socket carries at most.
const WRITE_BYTES: usize = 256 << 10;
/// What may wait in one lane, in KiB, each message rounded up and none counted for more than half, so that the largest
/// fits too. Whoever finds the lane full waits.
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

/// What a transport counts, over all its connections.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub lanes: [LaneMetrics; 4],
    pub clock_refusals: AtomicU64,
}

/// A message of which the last frame has not come yet.
struct Partial {
    kind: Kind,
    call: u64,
    bytes: BytesMut,
}

pub(crate) struct Connection {
    queues: Mutex<Queues>,
    wake: Notify,
    room: [Semaphore; 4],
    pending: Mutex<FxHashMap<u64, Answer>>,
    next_call: AtomicU64,
    closed: AtomicBool,
    pub clock: Arc<Clock>,
    counters: Arc<Counters>,
    pub peer: String,
    /// The node at the other end, 0 while it has no number.
    pub node: NodeId,
    pub opened: Instant,
    standing: Standing,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl Connection {
    pub fn new(peer: String, judged: Judged, clock: Arc<Clock>, counters: Arc<Counters>) -> Self {
        Self {
            queues: Mutex::default(),
            wake: Notify::new(),
            room: std::array::from_fn(|_| Semaphore::new(LANE_KIB as usize)),
            pending: Mutex::default(),
            next_call: AtomicU64::new(1),
            closed: AtomicBool::new(false),
            clock,
            counters,
            peer,
            node: judged.node,
            standing: judged.standing,
            opened: Instant::now(),
            tasks: Mutex::default(),
        }
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Queues a message when its lane has room for it.
    pub async fn send(
        &self,
        lane: Lane,
        kind: Kind,
        call: u64,
        service: u16,
        payload: Bytes,
    ) -> Result<(), RpcError> {
        let kib = u32::try_from(payload.len().div_ceil(1024)).unwrap_or(u32::MAX).clamp(1, LANE_KIB / 2);
        let permit = self.room[lane as usize].acquire_many(kib).await;
        permit.map_err(|_| self.unreachable("the connection is closed"))?.forget();
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

    #[cfg(test)]
    pub fn calls_under_way(&self) -> usize {
        self.pending.lock().len()
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
        let mut unsent: FxHashSet<u64> = FxHashSet::default();
        for lane in &mut self.queues.lock().lanes {
            // Answers are numbered by the other side: they say nothing about our calls.
            let untouched = |message: &OutMessage| message.kind == Kind::Request && message.sent == 0;
            unsent.extend(lane.drain(..).filter(untouched).map(|message| message.call));
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
        // A writer that waits for a peer that reads no more, and a reader that waits for one that is silent, end here.
        for task in self.tasks.lock().drain(..) {
            task.abort();
        }
    }

    /// Hands over the tasks that end with the connection.
    pub fn keep_tasks(&self, tasks: [AbortHandle; 2]) {
        self.tasks.lock().extend(tasks);
        // It may have been closed before it had them.
        if self.is_closed() {
            for task in self.tasks.lock().drain(..) {
                task.abort();
            }
        }
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
                clock: self.clock.peek(),
            };
            out.extend_from_slice(&header.encode());
            out.extend_from_slice(part);
            message.sent = end.max(1);
            let metrics = &self.counters.lanes[lane];
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

    pub async fn write_loop(self: Arc<Self>, mut socket: impl AsyncWrite + Unpin) {
        let mut out = BytesMut::with_capacity(WRITE_BYTES + MAX_FRAME_BYTES + HEADER_BYTES);
        while !self.is_closed() {
            self.gather(&mut out);
            if out.is_empty() {
                self.wake.notified().await;
                continue;
            }
            let written = match socket.write_all(&out).await {
                // Nothing to be done for a socket; what is encrypted is on its way only then.
                Ok(()) => socket.flush().await,
                failed => failed,
            };
            if let Err(error) = written {
                tracing::debug!(peer = %self.peer, %error, "write");
                break;
            }
            out.clear();
        }
        self.close();
    }

    /// Reads until the connection ends; whole messages go to `deliver`.
    pub async fn read_loop(
        self: Arc<Self>,
        mut socket: impl AsyncRead + Unpin,
        deliver: impl Fn(Kind, Lane, u64, u16, Result<Bytes, RpcError>),
    ) {
        let mut buffer = BytesMut::with_capacity(128 << 10);
        let mut partial: [Option<Partial>; 4] = Default::default();
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

    /// *bounded-before-taken*: within a lane messages follow one another, so that a peer makes us hold at most four
    /// unfinished ones, none above the bound.
    fn take_frame(
        &self,
        header: Header,
        body: Bytes,
        partial: &mut [Option<Partial>; 4],
        deliver: &impl Fn(Kind, Lane, u64, u16, Result<Bytes, RpcError>),
    ) -> Result<(), RpcError> {
        let begun = &mut partial[usize::from(header.lane)];
        let payload = match begun {
            None if header.last => body,
            _ => {
                let message = begun.get_or_insert_with(|| Partial {
                    kind: header.kind,
                    call: header.call,
                    bytes: BytesMut::new(),
                });
                if (message.kind, message.call) != (header.kind, header.call) {
                    let reason = "a message began before the one ahead of it in its lane ended".into();
                    return Err(RpcError::Incompatible { to: self.peer.clone(), reason });
                }
                let bytes = message.bytes.len() + body.len();
                let max = match header.kind {
                    Kind::Request => services::request_bytes_max(ServiceId(header.service), self.standing),
                    Kind::Response | Kind::Error => MAX_MESSAGE_BYTES,
                };
                if bytes > max {
                    return Err(RpcError::TooLarge { bytes, max });
                }
                message.bytes.extend_from_slice(&body);
                if !header.last {
                    return Ok(());
                }
                begun.take().expect("just grown").bytes.freeze()
            }
        };
        let lane = [Lane::Control, Lane::Raft, Lane::Client, Lane::Snapshot][usize::from(header.lane)];
        // *clock-on-every-frame*: a peer too far ahead is not listened to.
        let payload = if services::whatever_the_clock(ServiceId(header.service)) {
            Ok(payload)
        } else {
            self.clock.update(header.clock).map(|()| payload).map_err(|error| {
                self.counters.clock_refusals.fetch_add(1, Ordering::Relaxed);
                tracing::error!(peer = %self.peer, %error, "clock offset");
                clock_offset(self.node, &error)
            })
        };
        deliver(header.kind, lane, header.call, header.service, payload);
        Ok(())
    }

    async fn next_frame(
        &self,
        socket: &mut (impl AsyncRead + Unpin),
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

pub(crate) fn clock_offset(node: NodeId, error: &hlc::ClockOffsetError) -> RpcError {
    RpcError::ClockOffset {
        node,
        offset_ns: i64::try_from(error.ahead_ns).unwrap_or(i64::MAX),
        max_offset_ns: i64::try_from(error.max_offset_ns).unwrap_or(i64::MAX),
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
