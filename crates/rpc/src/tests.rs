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
    let options = TcpOptions { listen: "127.0.0.1:0".into(), cluster, clock: clock() };
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
    let unknown = one.call(NodeId::new(2), Lane::Raft, ServiceId(9), Bytes::new(), LONG).await;
    assert_eq!(unknown, Err(RpcError::UnknownService { service: 9 }));
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
    assert!(matches!(&error, RpcError::Incompatible { reason, .. } if reason.contains("another cluster")), "{error}");
    // A node that has no cluster yet may ask to join.
    let (joining, _) = node(3, [0; 16]).await;
    let answer = joining.call_address(&two.local_addr().to_string(), ECHO, Bytes::from_static(b"join"), LONG).await;
    assert_eq!(answer.unwrap(), "join");
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
    let options = TcpOptions { listen: address, cluster: [7; 16], clock: clock() };
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
