//! Both transports, and what is promised of every call.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use hlc::Clock;
use keys::NodeId;

use crate::*;

const ECHO: ServiceId = ServiceId(100);
const LONG: Duration = Duration::from_secs(20);

struct Echo {
    order: Mutex<Vec<usize>>,
}

#[async_trait]
impl Service for Echo {
    async fn call(&self, from: NodeId, payload: Bytes) -> Result<Bytes, RpcError> {
        self.order.lock().unwrap().push(payload.len());
        if payload == "refuse" {
            return Err(RpcError::Refused { reason: format!("not for {from}") });
        }
        if payload == "hang" {
            std::future::pending::<()>().await;
        }
        Ok(payload)
    }
}

fn clock() -> Arc<Clock> {
    Arc::new(Clock::system(Duration::from_millis(500)))
}

async fn node(id: u64, cluster: ClusterId) -> (Arc<TcpTransport>, Arc<Echo>) {
    let options = TcpOptions { listen: "127.0.0.1:0".into(), cluster, clock: clock(), certs: None, are_unbound_members: false };
    let transport = TcpTransport::bind(options).await.unwrap();
    transport.set_local_node(NodeId::new(id));
    let echo = Arc::new(Echo { order: Mutex::default() });
    transport.register(ECHO, echo.clone());
    (transport, echo)
}

async fn pair() -> (Arc<TcpTransport>, Arc<TcpTransport>, Arc<Echo>) {
    let (one, _) = node(1, [7; 16]).await;
    let (two, echo) = node(2, [7; 16]).await;
    one.set_address(NodeId::new(2), two.local_addr().to_string());
    two.set_address(NodeId::new(1), one.local_addr().to_string());
    (one, two, echo)
}

async fn call(from: &TcpTransport, payload: impl Into<Bytes>) -> Result<Bytes, RpcError> {
    from.call(NodeId::new(2), Lane::Client, ECHO, payload.into(), LONG).await
}

#[tokio::test]
async fn calls_go_both_ways_and_come_back() {
    let (one, two, _) = pair().await;
    assert_eq!(call(&one, "hello").await.unwrap(), "hello");
    let back = two.call(NodeId::new(1), Lane::Raft, ECHO, Bytes::from_static(b"x"), LONG).await;
    assert_eq!(back.unwrap(), "x");
    let large = Bytes::from(vec![5; 20 << 20]);
    assert_eq!(call(&one, large.clone()).await.unwrap(), large);
    assert_eq!(call(&one, "").await.unwrap(), "");
    let refused = call(&one, "refuse").await.unwrap_err();
    assert_eq!(refused, RpcError::Refused { reason: "not for n1".into() });
    assert!(!refused.is_ambiguous());
    let unknown = one.call(NodeId::new(2), Lane::Raft, ServiceId(999), Bytes::new(), LONG).await;
    assert_eq!(unknown, Err(RpcError::UnknownService { service: 999 }));
}

#[tokio::test]
async fn a_thousand_calls_at_once() {
    let (one, _two, _) = pair().await;
    let calls = (0..1000).map(|n: u32| {
        let one = one.clone();
        async move {
            let payload = Bytes::from(n.to_string().repeat(100));
            assert_eq!(call(&one, payload.clone()).await.unwrap(), payload);
        }
    });
    futures::future::join_all(calls).await;
}

#[tokio::test]
async fn lane_order() {
    let (one, two, echo) = pair().await;
    call(&one, "connect").await.unwrap();
    // 40 MiB of snapshot are queued before one vote; the vote is heard before the last of them.
    let bulk = Bytes::from(vec![0; 1 << 20]);
    let bulks: Vec<_> = (0..40)
        .map(|_| {
            let (one, bulk) = (one.clone(), bulk.clone());
            tokio::spawn(async move { one.call(NodeId::new(2), Lane::Snapshot, ECHO, bulk, LONG).await })
        })
        .collect();
    tokio::task::yield_now().await;
    one.call(NodeId::new(2), Lane::Control, ECHO, Bytes::from_static(b"vote"), LONG).await.unwrap();
    let heard = echo.order.lock().unwrap().clone();
    for bulk in bulks {
        bulk.await.unwrap().unwrap();
    }
    assert!(heard.len() < 40, "the vote waited for the snapshot");
    drop(two);
}

#[tokio::test]
async fn another_cluster_is_refused() {
    let (one, _) = node(1, [7; 16]).await;
    let (two, _) = node(2, [8; 16]).await;
    one.set_address(NodeId::new(2), two.local_addr().to_string());
    let error = call(&one, "hello").await.unwrap_err();
    assert!(matches!(&error, RpcError::OtherCluster { .. }), "{error}");
}

/// Whoever said that it had no cluster could have replicas removed and ranges cleared.
#[tokio::test]
async fn strangers_only_join() {
    let (member, echo) = node(2, [7; 16]).await;
    let (joining, joining_echo) = node(3, [0; 16]).await;
    for transport in [&member, &joining] {
        transport.register(services::JOIN, echo.clone());
    }
    let address = member.local_addr().to_string();
    let call = |service| joining.call_address(&address, service, Bytes::from_static(b"a place"), LONG);
    assert_eq!(call(services::JOIN).await.unwrap(), "a place");
    for service in [ECHO, services::RAFT, services::LIVENESS, services::KV, services::STORE] {
        let refused = call(service).await.unwrap_err();
        assert!(matches!(refused, RpcError::Refused { .. }), "{service:?}: {refused}");
    }
    assert_eq!(member.stranger_refusals(), 5);
    // Nor may anybody call one that is of none, over a connection that either dialled.
    member.set_address(NodeId::new(3), joining.local_addr().to_string());
    let refused = member.call(NodeId::new(3), Lane::Client, ECHO, Bytes::from_static(b"hello"), LONG).await;
    assert!(matches!(refused, Err(RpcError::Refused { .. })), "{refused:?}");
    assert!(joining_echo.order.lock().unwrap().is_empty());
    // It has joined: what was opened before does not count.
    joining.set_cluster([7; 16]);
    let answer = async {
        loop {
            match member.call(NodeId::new(3), Lane::Client, ECHO, Bytes::from_static(b"hello"), LONG).await {
                Ok(answer) => return answer,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    assert_eq!(tokio::time::timeout(LONG, answer).await.expect("it is a member now"), "hello");
}

#[tokio::test]
async fn ambiguity_told() {
    let (one, two, echo) = pair().await;
    let hanging = tokio::spawn({
        let one = one.clone();
        async move { call(&one, "hang").await }
    });
    while echo.order.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    let address = two.local_addr().to_string();
    two.shutdown();
    drop(two);
    let error = hanging.await.unwrap().unwrap_err();
    assert!(error.is_ambiguous(), "{error}");
    let error = call(&one, "gone").await.unwrap_err();
    assert!(!error.is_ambiguous(), "{error}");

    // It comes back on the same port and is found again.
    let options = TcpOptions { listen: address, cluster: [7; 16], clock: clock(), certs: None, are_unbound_members: false };
    let again = TcpTransport::bind(options).await.unwrap();
    again.set_local_node(NodeId::new(2));
    again.register(ECHO, Arc::new(Echo { order: Mutex::default() }));
    loop {
        match call(&one, "back").await {
            Ok(answer) => break assert_eq!(answer, "back"),
            Err(RpcError::Unreachable { .. }) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn garbage_on_the_wire_ends_only_its_connection() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (one, two, _) = pair().await;
    for garbage in [vec![0xff; 4096], b"GET / HTTP/1.1\r\n\r\n".to_vec(), vec![0; 2]] {
        let mut socket = tokio::net::TcpStream::connect(two.local_addr()).await.unwrap();
        socket.write_all(&garbage).await.unwrap();
        socket.shutdown().await.unwrap();
        let mut rest = Vec::new();
        let _closed = socket.read_to_end(&mut rest).await;
    }
    assert_eq!(call(&one, "alive").await.unwrap(), "alive");
}

#[tokio::test(start_paused = true)]
async fn a_partition_in_memory_loses_calls_one_way() {
    let network = MemoryNetwork::new(1, MemoryConfig::default());
    let one = network.transport(NodeId::new(1), clock());
    let two = network.transport(NodeId::new(2), clock());
    two.register(ECHO, Arc::new(Echo { order: Mutex::default() }));
    one.register(ECHO, Arc::new(Echo { order: Mutex::default() }));
    let ping = |from: Arc<MemoryTransport>, to| async move {
        from.call(NodeId::new(to), Lane::Raft, ECHO, Bytes::from_static(b"x"), Duration::from_secs(1)).await
    };
    assert!(ping(one.clone(), 2).await.is_ok());
    network.partition(NodeId::new(1), NodeId::new(2));
    assert!(ping(one.clone(), 2).await.unwrap_err().is_ambiguous());
    network.heal_all();
    assert!(ping(one.clone(), 2).await.is_ok());
    network.disconnect(NodeId::new(2));
    assert!(!ping(one, 2).await.unwrap_err().is_ambiguous());
}

fn manual(ahead: Duration) -> Arc<Clock> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let physical = hlc::ManualClock::new(u64::try_from((now + ahead).as_nanos()).unwrap());
    Arc::new(Clock::new(Arc::new(physical), Duration::from_millis(500)))
}

async fn node_with(id: u64, clock: Arc<Clock>) -> (Arc<TcpTransport>, Arc<Echo>) {
    let options = TcpOptions { listen: "127.0.0.1:0".into(), cluster: [7; 16], clock, certs: None, are_unbound_members: false };
    let transport = TcpTransport::bind(options).await.unwrap();
    transport.set_local_node(NodeId::new(id));
    let echo = Arc::new(Echo { order: Mutex::default() });
    transport.register(ECHO, echo.clone());
    (transport, echo)
}

/// The handler ran, only the answer's clock was bad: the caller must not be told that nothing happened.
#[tokio::test]
async fn an_executed_call_with_a_bad_clock_in_its_answer_is_ambiguous() {
    let (one, _) = node_with(1, manual(Duration::ZERO)).await;
    let (two, echo) = node_with(2, manual(Duration::from_secs(60))).await;
    one.set_address(NodeId::new(2), two.local_addr().to_string());
    let error = call(&one, "write").await.unwrap_err();
    assert_eq!(echo.order.lock().unwrap().len(), 1, "it was executed");
    assert!(error.is_ambiguous(), "{error}");
}

#[tokio::test]
async fn a_call_keeps_its_timeout_while_dialling() {
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (one, _) = node(1, [7; 16]).await;
    one.set_address(NodeId::new(2), mute.local_addr().unwrap().to_string());
    let at = std::time::Instant::now();
    let short = Duration::from_millis(100);
    let error =
        one.call(NodeId::new(2), Lane::Raft, ECHO, Bytes::from_static(b"x"), short).await.unwrap_err();
    assert!(!error.is_ambiguous(), "{error}");
    assert!(at.elapsed() < Duration::from_secs(1), "{:?}", at.elapsed());
}

#[tokio::test]
async fn after_shutdown_nothing_is_dialled() {
    let (one, two, _) = pair().await;
    one.shutdown();
    let error = call(&one, "x").await.unwrap_err();
    assert!(
        matches!(&error, RpcError::Unreachable { reason, .. } if reason.contains("shutting down")),
        "{error}"
    );
    assert_eq!(two.accepted_open(), 0);
}

/// Answers in ways a handler should not, and some it may.
struct Odd;

#[async_trait]
impl Service for Odd {
    async fn call(&self, _from: NodeId, payload: Bytes) -> Result<Bytes, RpcError> {
        match &payload[..] {
            b"panic" => panic!("a handler of a test"),
            b"unsure" => Err(RpcError::NoAnswer { to: "a third node".into(), after: LONG }),
            b"too large" => Ok(Bytes::from(vec![0; (128 << 20) + 1])),
            _ => Err(RpcError::Unreachable { to: "a third node".into(), reason: "no address".into() }),
        }
    }
}

async fn check_odd_answers(from: &dyn Transport, to: NodeId, service: ServiceId) {
    for (payload, ambiguous) in
        [("panic", true), ("unsure", true), ("too large", true), ("unreachable", false)]
    {
        let outcome = from.call(to, Lane::Client, service, payload.into(), LONG).await;
        let error = outcome.unwrap_err();
        assert_eq!(error.is_ambiguous(), ambiguous, "{payload}: {error}");
        let waited_in_vain = matches!(error, RpcError::NoAnswer { after, .. } if after == LONG);
        assert!(!waited_in_vain, "{payload}: the caller is told at once");
    }
}

#[tokio::test]
async fn ambiguity_told_of_what_a_handler_does() {
    let (one, two, _) = pair().await;
    let odd = ServiceId(101);
    one.register(odd, Arc::new(Odd));
    two.register(odd, Arc::new(Odd));
    check_odd_answers(&*one, NodeId::new(2), odd).await;
    check_odd_answers(&*one, NodeId::new(1), odd).await;
    let network = MemoryNetwork::new(1, MemoryConfig::default());
    let (three, four) =
        (network.transport(NodeId::new(3), clock()), network.transport(NodeId::new(4), clock()));
    four.register(odd, Arc::new(Odd));
    check_odd_answers(&*three, NodeId::new(4), odd).await;
}

#[tokio::test]
async fn a_call_to_this_node_needs_no_network() {
    let (one, echo) = node(1, [7; 16]).await;
    let to_itself = one.call(NodeId::new(1), Lane::Client, ECHO, Bytes::from_static(b"me"), LONG).await;
    assert_eq!(to_itself.unwrap(), "me");
    assert_eq!(echo.order.lock().unwrap().len(), 1);
    assert_eq!(
        one.metrics().iter().map(|lane| lane.bytes.load(std::sync::atomic::Ordering::Relaxed)).sum::<u64>(),
        0
    );
}

#[tokio::test]
async fn clock_on_every_frame() {
    // What is ahead within the bound is adopted: here from the answer.
    let (ahead, behind) = (manual(Duration::from_millis(300)), manual(Duration::ZERO));
    let (one, _) = node_with(1, behind.clone()).await;
    let (two, echo) = node_with(2, ahead.clone()).await;
    one.set_address(NodeId::new(2), two.local_addr().to_string());
    let before = ahead.now();
    call(&one, "x").await.unwrap();
    assert!(before < behind.now(), "clock-on-every-frame");

    // And here from the request.
    let slow = manual(Duration::ZERO);
    let (hearing, _) = node_with(4, slow.clone()).await;
    two.set_address(NodeId::new(4), hearing.local_addr().to_string());
    let before = ahead.now();
    two.call(NodeId::new(4), Lane::Client, ECHO, Bytes::from_static(b"x"), LONG).await.unwrap();
    assert!(before < slow.now(), "clock-on-every-frame");

    // A request of a node too far ahead is not executed, and the caller is told so.
    let (far, _) = node_with(3, manual(Duration::from_secs(60))).await;
    far.set_address(NodeId::new(2), two.local_addr().to_string());
    let heard = echo.order.lock().unwrap().len();
    let error = call(&far, "x").await.unwrap_err();
    assert!(matches!(error, RpcError::ClockOffset { node, .. } if node == NodeId::new(3)), "{error}");
    assert_eq!(echo.order.lock().unwrap().len(), heard);
    assert_eq!(two.clock_refusals(), 1);
}

#[tokio::test]
async fn bounded_before_taken_messages() {
    let (one, _two, echo) = pair().await;
    let error = call(&one, vec![0; (128 << 20) + 1]).await.unwrap_err();
    assert!(matches!(error, RpcError::TooLarge { .. }), "{error}");
    assert!(echo.order.lock().unwrap().is_empty());
}

/// The frames a peer may send, written by hand.
async fn raw_peer(to: &TcpTransport) -> tokio::net::TcpStream {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut greeting = b"quorate\0\x05".to_vec();
    greeting.extend([7; 16]);
    greeting.extend([9, 0, 0]);
    let mut socket = tokio::net::TcpStream::connect(to.local_addr()).await.unwrap();
    socket.write_u16_le(u16::try_from(greeting.len()).unwrap()).await.unwrap();
    socket.write_all(&greeting).await.unwrap();
    let length = socket.read_u16_le().await.unwrap();
    let mut answer = vec![0; usize::from(length)];
    socket.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer[..9], greeting[..9], "the greeting of this protocol is pinned");
    socket
}

fn raw_frame(call: u64, last: bool, body: &[u8]) -> Vec<u8> {
    let header = crate::frame::Header {
        length: body.len(),
        kind: crate::frame::Kind::Request,
        lane: 2,
        last,
        call,
        service: ECHO.0,
        crc: crc32fast::hash(body),
        clock: clock().now(),
    };
    [&header.encode()[..], body].concat()
}

#[tokio::test]
async fn bounded_before_taken_one_unfinished_message_a_lane() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (one, echo) = node(1, [7; 16]).await;
    let mut socket = raw_peer(&one).await;
    socket.write_all(&[raw_frame(1, false, b"ab"), raw_frame(1, true, b"cd")].concat()).await.unwrap();
    let mut answer = vec![0; crate::frame::HEADER_BYTES + 4];
    socket.read_exact(&mut answer).await.unwrap();
    assert!(answer.ends_with(b"abcd"));
    // Many begun, none ended: the second ends the connection.
    socket.write_all(&[raw_frame(2, false, b"ab"), raw_frame(3, false, b"cd")].concat()).await.unwrap();
    assert_eq!(socket.read(&mut answer).await.unwrap_or(0), 0, "bounded-before-taken");

    // More than a message may have, in frames that each are within their bound.
    let mut socket = raw_peer(&one).await;
    let frame = raw_frame(4, false, &vec![0; 64 << 10]);
    let mut written = 0;
    while socket.write_all(&frame).await.is_ok() {
        written += frame.len();
        assert!(written < 256 << 20, "bounded-before-taken");
    }
    assert_eq!(echo.order.lock().unwrap().len(), 1, "only the whole one was heard");
}

#[tokio::test]
async fn random_bytes_after_the_greeting_end_only_their_connection() {
    use rand::{RngCore, SeedableRng, rngs::SmallRng};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (one, echo) = node(1, [7; 16]).await;
    let mut rng = SmallRng::seed_from_u64(11);
    for round in 0..50 {
        let mut socket = raw_peer(&one).await;
        let mut bytes = vec![0; 512];
        rng.fill_bytes(&mut bytes);
        if round % 2 == 0 {
            // A real frame with one bit of its payload turned.
            let mut frame = raw_frame(1, true, &bytes);
            let at = crate::frame::HEADER_BYTES + (rng.next_u32() as usize) % bytes.len();
            frame[at] ^= 1 << (rng.next_u32() % 8);
            bytes = frame;
        }
        // It may close on us while we write.
        let _refused = socket.write_all(&bytes).await;
        let _closed = socket.shutdown().await;
        let mut rest = Vec::new();
        let _ended = socket.read_to_end(&mut rest).await;
    }
    assert!(echo.order.lock().unwrap().is_empty(), "nothing damaged is heard");
    let (two, _) = node(2, [7; 16]).await;
    two.set_address(NodeId::new(1), one.local_addr().to_string());
    let alive = two.call(NodeId::new(1), Lane::Raft, ECHO, Bytes::from_static(b"alive"), LONG).await;
    assert_eq!(alive.unwrap(), "alive");
}

#[tokio::test]
async fn calls_given_up_leave_nothing_behind() {
    let (one, two, echo) = pair().await;
    let short = Duration::from_millis(50);
    let calls =
        (0..100).map(|_| one.call(NodeId::new(2), Lane::Client, ECHO, Bytes::from_static(b"hang"), short));
    for outcome in futures::future::join_all(calls).await {
        assert!(outcome.unwrap_err().is_ambiguous());
    }
    assert_eq!(echo.order.lock().unwrap().len(), 100);
    assert_eq!(one.calls_under_way(NodeId::new(2)), 0);
    drop(two);
}

#[tokio::test]
async fn a_call_by_address_that_is_given_up_closes_its_connection() {
    let (one, two, echo) = pair().await;
    let address = two.local_addr().to_string();
    let hanging = tokio::spawn({
        let one = one.clone();
        async move { one.call_address(&address, ECHO, Bytes::from_static(b"hang"), LONG).await }
    });
    while echo.order.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(two.accepted_open(), 1);
    hanging.abort();
    let closed = async {
        while two.accepted_open() != 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, closed).await.expect("the connection ends with its call");
}

#[tokio::test]
async fn lanes_are_counted() {
    let (one, _two, _) = pair().await;
    call(&one, vec![1; 100_000]).await.unwrap();
    let read = |lane: Lane| {
        let lane = &one.metrics()[lane as usize];
        let load =
            |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
        (load(&lane.messages), load(&lane.bytes))
    };
    // Two frames with a header each.
    assert_eq!(read(Lane::Client), (1, 100_000 + 2 * 34));
    assert_eq!(read(Lane::Snapshot), (0, 0));
}

fn sizes(count: usize) -> Vec<usize> {
    (1..=count).collect()
}

async fn heard_in_memory(seed: u64, order: MemoryOrder) -> Vec<usize> {
    let config = MemoryConfig { max_delay: Duration::from_millis(50), order, ..MemoryConfig::default() };
    let network = MemoryNetwork::new(seed, config);
    let (one, two) = (network.transport(NodeId::new(1), clock()), network.transport(NodeId::new(2), clock()));
    let echo = Arc::new(Echo { order: Mutex::default() });
    two.register(ECHO, echo.clone());
    let calls =
        sizes(50).into_iter().map(|n| one.call(NodeId::new(2), Lane::Raft, ECHO, vec![0; n].into(), LONG));
    for outcome in futures::future::join_all(calls).await {
        outcome.unwrap();
    }
    echo.order.lock().unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn a_lane_in_memory_keeps_its_order_unless_told_otherwise() {
    assert_eq!(heard_in_memory(3, MemoryOrder::PerLane).await, sizes(50));
    let any = heard_in_memory(3, MemoryOrder::Any).await;
    assert_ne!(any, sizes(50));
    assert_eq!(heard_in_memory(3, MemoryOrder::Any).await, any, "a seed makes one run");
}

#[tokio::test(start_paused = true)]
async fn a_memory_network_loses_what_it_should() {
    let network = MemoryNetwork::new(5, MemoryConfig { loss: 0.3, ..MemoryConfig::default() });
    let (one, two) = (network.transport(NodeId::new(1), clock()), network.transport(NodeId::new(2), clock()));
    two.register(ECHO, Arc::new(Echo { order: Mutex::default() }));
    let (mut lost, second) = (0, Duration::from_secs(1));
    for _ in 0..200 {
        match one.call(NodeId::new(2), Lane::Client, ECHO, Bytes::from_static(b"x"), second).await {
            Ok(_) => {}
            Err(error) => {
                assert!(error.is_ambiguous(), "{error}");
                lost += 1;
            }
        }
    }
    // Either way may lose it: 1 - 0.7 * 0.7 = 0.51.
    assert!((70..135).contains(&lost), "{lost}");
}

#[tokio::test(start_paused = true)]
async fn a_killed_node_in_memory_is_not_heard() {
    let network = MemoryNetwork::new(1, MemoryConfig::default());
    let (one, two) = (network.transport(NodeId::new(1), clock()), network.transport(NodeId::new(2), clock()));
    let echo = Arc::new(Echo { order: Mutex::default() });
    two.register(ECHO, echo.clone());
    network.disconnect(NodeId::new(1));
    let error = one.call(NodeId::new(2), Lane::Raft, ECHO, Bytes::from_static(b"x"), LONG).await.unwrap_err();
    assert!(!error.is_ambiguous(), "{error}");
    assert!(echo.order.lock().unwrap().is_empty());
    // Started again under its number it is heard, while what is left of the killed one is not.
    let again = network.transport(NodeId::new(1), clock());
    again.call(NodeId::new(2), Lane::Raft, ECHO, Bytes::from_static(b"x"), LONG).await.unwrap();
    assert!(one.call(NodeId::new(2), Lane::Raft, ECHO, Bytes::from_static(b"x"), LONG).await.is_err());
}

/// Says when it has begun, goes on when told, and says when it has ended.
#[derive(Default)]
struct Slow {
    begun: tokio::sync::Notify,
    go_on: tokio::sync::Notify,
    ended: tokio::sync::Notify,
}

#[async_trait]
impl Service for Slow {
    async fn call(&self, _from: NodeId, payload: Bytes) -> Result<Bytes, RpcError> {
        self.begun.notify_one();
        self.go_on.notified().await;
        self.ended.notify_one();
        Ok(payload)
    }
}

#[tokio::test]
async fn a_handler_runs_to_its_end_though_its_caller_gave_up() {
    let (one, two, _) = pair().await;
    for (callee, number) in [(&one, 1), (&two, 2)] {
        let slow = Arc::new(Slow::default());
        callee.register(ServiceId(102), slow.clone());
        let caller = one.clone();
        let given_up = tokio::spawn(async move {
            caller.call(NodeId::new(number), Lane::Client, ServiceId(102), Bytes::new(), LONG).await
        });
        slow.begun.notified().await;
        given_up.abort();
        assert!(given_up.await.unwrap_err().is_cancelled());
        slow.go_on.notify_one();
        tokio::time::timeout(LONG, slow.ended.notified()).await.expect("it runs to its end");
    }
}

#[tokio::test]
async fn shutdown_ends_connections_whose_peer_is_silent() {
    use tokio::io::AsyncReadExt;
    let (one, _) = node(1, [7; 16]).await;
    let mut silent = raw_peer(&one).await;
    while one.accepted_open() == 0 {
        tokio::task::yield_now().await;
    }
    one.shutdown();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(LONG, silent.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the socket is closed");
    // Nothing of the connection is left that would still serve what this peer sends.
    let forgotten = async {
        while one.tasks_and_self() > 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, forgotten).await.expect("its tasks have ended");
}

#[tokio::test(start_paused = true)]
async fn a_message_in_memory_takes_its_time() {
    let delay = Duration::from_millis(100);
    for order in [MemoryOrder::PerLane, MemoryOrder::Any] {
        let config = MemoryConfig { min_delay: delay, max_delay: delay, order, ..MemoryConfig::default() };
        let network = MemoryNetwork::new(1, config);
        let (one, two) =
            (network.transport(NodeId::new(1), clock()), network.transport(NodeId::new(2), clock()));
        two.register(ECHO, Arc::new(Echo { order: Mutex::default() }));
        let begun = tokio::time::Instant::now();
        one.call(NodeId::new(2), Lane::Raft, ECHO, Bytes::from_static(b"x"), LONG).await.unwrap();
        assert!(begun.elapsed() >= 2 * delay, "there and back: {:?}", begun.elapsed());
    }
}

/// Whatever is sent one way waits until it is healed, in the order in which it was sent; the other way is not held up.
#[tokio::test(start_paused = true)]
async fn a_stalled_direction_in_memory_holds_what_is_sent() {
    let network = MemoryNetwork::new(1, MemoryConfig::default());
    let (one, two) = (network.transport(NodeId::new(1), clock()), network.transport(NodeId::new(2), clock()));
    let echo = Arc::new(Echo { order: Mutex::default() });
    two.register(ECHO, echo.clone());
    network.stall(NodeId::new(1), NodeId::new(2));
    let calls = [1, 2, 3].map(|n| {
        let one = one.clone();
        tokio::spawn(
            async move { one.call(NodeId::new(2), Lane::Client, ECHO, vec![0; n].into(), LONG).await },
        )
    });
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(echo.order.lock().unwrap().is_empty());
    network.heal(NodeId::new(1), NodeId::new(2));
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(*echo.order.lock().unwrap(), [1, 2, 3]);
    // It is executed, and the answer is held.
    network.stall(NodeId::new(2), NodeId::new(1));
    let second = Duration::from_secs(1);
    let held = one.call(NodeId::new(2), Lane::Client, ECHO, vec![0; 4].into(), second).await;
    assert!(held.unwrap_err().is_ambiguous());
    assert_eq!(echo.order.lock().unwrap().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_slow_direction_in_memory_delays_what_is_sent_until_it_is_slow_no_more() {
    let network = MemoryNetwork::new(1, MemoryConfig::default());
    let (one, two) = (network.transport(NodeId::new(1), clock()), network.transport(NodeId::new(2), clock()));
    two.register(ECHO, Arc::new(Echo { order: Mutex::default() }));
    let second = Duration::from_secs(1);
    for (by, is_slow) in [(second, true), (Duration::ZERO, false)] {
        network.slow(NodeId::new(2), NodeId::new(1), by);
        let begun = tokio::time::Instant::now();
        one.call(NodeId::new(2), Lane::Client, ECHO, Bytes::new(), LONG).await.unwrap();
        assert_eq!(begun.elapsed() >= second, is_slow, "there and back: {:?}", begun.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn silence_ends_calls_in_memory() {
    let second = Duration::from_secs(1);
    let network =
        MemoryNetwork::new(1, MemoryConfig { silence: Some(2 * second), ..MemoryConfig::default() });
    let (one, two) = (network.transport(NodeId::new(1), clock()), network.transport(NodeId::new(2), clock()));
    two.register(ECHO, Arc::new(Echo { order: Mutex::default() }));
    for cut in [(1, 2), (2, 1)] {
        let (from, to) = (NodeId::new(cut.0), NodeId::new(cut.1));
        let call = one.call(NodeId::new(2), Lane::Client, ECHO, "hang".into(), LONG);
        let (began, mut call) = (tokio::time::Instant::now(), std::pin::pin!(call));
        assert!(futures::poll!(&mut call).is_pending());
        network.partition(from, to);
        assert!(call.await.unwrap_err().is_ambiguous(), "silence-ends-calls");
        assert!(began.elapsed() < 3 * second);
        assert!(!one.is_reachable(NodeId::new(2)));
        let refused = one.call(NodeId::new(2), Lane::Client, ECHO, "x".into(), LONG).await;
        assert!(matches!(refused, Err(RpcError::Unreachable { .. })), "{refused:?}");
        network.heal(from, to);
        one.call(NodeId::new(2), Lane::Client, ECHO, "x".into(), LONG).await.unwrap();
    }
}

/// The kernel keeps the connections of a stopped process alive: it takes what is sent, and accepts new ones.
#[tokio::test(flavor = "multi_thread")]
async fn silence_ends_calls() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (one, _) = node(1, [7; 16]).await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    one.set_address(NodeId::new(2), silent.local_addr().unwrap().to_string());
    let stopped = tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            let (mut socket, _) = silent.accept().await.unwrap();
            // It greets the first, and has stopped when the others come.
            if open.is_empty() {
                let length = socket.read_u16_le().await.unwrap();
                let mut greeting = vec![0; usize::from(length)];
                socket.read_exact(&mut greeting).await.unwrap();
                let at = greeting.len() - 3;
                greeting[at] = 2;
                socket.write_u16_le(length).await.unwrap();
                socket.write_all(&greeting).await.unwrap();
            }
            open.push(socket);
        }
    });
    let calls = (0..10).map(|_| call(&one, "x"));
    let ended =
        tokio::time::timeout(LONG / 2, futures::future::join_all(calls)).await.expect("silence-ends-calls");
    for outcome in ended {
        assert!(outcome.as_ref().unwrap_err().is_ambiguous(), "{outcome:?}");
    }
    assert!(!one.is_reachable(NodeId::new(2)));
    stopped.abort();
}

/// Answers heartbeats while it is well.
struct Well(std::sync::atomic::AtomicBool);

#[async_trait::async_trait]
impl Service for Well {
    async fn call(&self, _from: NodeId, _payload: Bytes) -> Result<Bytes, RpcError> {
        let well = self.0.load(std::sync::atomic::Ordering::SeqCst);
        if well { Ok(Bytes::new()) } else { Err(RpcError::Refused { reason: "not well".into() }) }
    }
}

/// A node that knows it will not answer (its disk hangs) says so by refusing heartbeats; when it is well again it is
/// asked again, though nobody has called it meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn silence_ends_calls_to_who_refuses_heartbeats() {
    let (one, _) = node(1, [7; 16]).await;
    let (two, echo) = node(2, [7; 16]).await;
    let well = Arc::new(Well(std::sync::atomic::AtomicBool::new(true)));
    two.register(services::PULSE, well.clone());
    one.set_address(NodeId::new(2), two.local_addr().to_string());
    call(&one, "opens the connection").await.unwrap();
    let caller = one.clone();
    let hangs = tokio::spawn(async move { caller.call(NodeId::new(2), Lane::Client, ECHO, "hang".into(), 10 * LONG).await });
    // From then on it is on its way, and nobody can say whether it was done.
    while !echo.order.lock().unwrap().contains(&"hang".len()) {
        tokio::task::yield_now().await;
    }
    well.0.store(false, std::sync::atomic::Ordering::SeqCst);
    let ended = tokio::time::timeout(LONG, hangs).await.expect("silence-ends-calls").unwrap();
    assert!(ended.as_ref().unwrap_err().is_ambiguous(), "{ended:?}");
    assert!(!one.is_reachable(NodeId::new(2)));
    well.0.store(true, std::sync::atomic::Ordering::SeqCst);
    let back = async {
        while !one.is_reachable(NodeId::new(2)) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, back).await.expect("whoever has a choice learns that it is back");
}

/// A runtime whose threads are all held up answers nothing else, and is not cut off for it.
#[test]
fn pulses_do_not_wait_for_a_runtime_that_is_held_up() {
    let (addresses, address) = std::sync::mpsc::channel();
    let (go_on, held_up) = std::sync::mpsc::channel::<()>();
    let (all_held_up, is_held_up) = std::sync::mpsc::channel();
    let (begin, begun) = tokio::sync::oneshot::channel::<()>();
    let other = std::thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let (two, echo) = node(2, [7; 16]).await;
            two.register(services::LIVENESS, echo);
            addresses.send(two.local_addr()).unwrap();
            let worker = tokio::spawn(async move {
                begun.await.unwrap();
                all_held_up.send(()).unwrap();
                let _ended = held_up.recv();
            });
            worker.await.unwrap();
            // Whoever called goes first.
            std::future::pending::<()>().await;
        });
    });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let (one, _) = node(1, [7; 16]).await;
        one.set_address(NodeId::new(2), address.recv().unwrap().to_string());
        call(&one, "opens the connection").await.unwrap();
        begin.send(()).unwrap();
        is_held_up.recv().unwrap();
        let waits = tokio::spawn({
            let one = one.clone();
            async move { call(&one, "waits").await }
        });
        let began = std::time::Instant::now();
        while began.elapsed() < 2 * crate::pulse::SILENCE {
            let beat = one.call(NodeId::new(2), Lane::Control, services::LIVENESS, Bytes::new(), LONG).await;
            assert!(beat.is_ok(), "{beat:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(!waits.is_finished());
        assert!(one.is_reachable(NodeId::new(2)));
        go_on.send(()).unwrap();
        waits.await.unwrap().unwrap();
    });
    drop(other);
}
