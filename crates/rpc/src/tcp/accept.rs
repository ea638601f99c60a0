//! Connections that others open: each waits at the door until it has shown who it is, in so much time.
//!
//! What comes is read on the thread of the pulses up to the line that it is for, and goes on where that line is served.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use auth::doors::AtDoor;
use certs::{NodeCerts, rustls::server::Accepted};
use keys::NodeId;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
};

use super::{CONNECT_TIMEOUT, Inner, start};
use crate::{
    connection::Connection,
    enrol::{ENROL_TIMEOUT, answer, question},
    greeting::{Greeting, Line, MAGIC, PROTOCOL, are_apart, is_of_another_cluster, judge, read_greeting, write_greeting},
    stream::{Hello, Shown, Stream},
};

pub(super) async fn accept_loop(inner: Arc<Inner>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => inner.doors.enter(Some(peer.ip()), |door| {
                let inner = inner.clone();
                let out = Arc::new(Notify::new());
                let door = Door { _door: door, out: out.clone() };
                tokio::spawn(async move {
                    match inner.certs.clone() {
                        None => {
                            let welcomed = welcome(&inner, Stream::Plain(stream), Shown::Believed, peer);
                            in_time(welcomed, peer, door).await;
                        }
                        Some(certs) => encrypt(&inner, stream, peer, certs, door).await,
                    }
                });
                Box::new(move || out.notify_one())
            }),
            Err(error) => {
                // Out of file descriptors, most likely: others may end meanwhile.
                tracing::warn!(%error, "accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// A connection that has not shown yet who it is: of those there are so many and no more (`auth::doors`).
struct Door {
    _door: AtDoor,
    /// It has to give way.
    out: Arc<Notify>,
}

/// Ends what takes too long, or has to give way.
async fn in_time(served: impl Future<Output = io::Result<()>>, peer: SocketAddr, door: Door) {
    let outcome = tokio::select! {
        outcome = tokio::time::timeout(CONNECT_TIMEOUT, served) => outcome,
        () = door.out.notified() => return,
    };
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%peer, %error, "refused"),
        Err(_) => tracing::debug!(%peer, "no greeting in time"),
    }
}

/// Encrypts a connection where its line is served, and welcomes it there.
async fn encrypt(inner: &Arc<Inner>, stream: TcpStream, peer: SocketAddr, certs: Arc<NodeCerts>, door: Door) {
    let said = tokio::select! {
        said = tokio::time::timeout(CONNECT_TIMEOUT, Hello::read(stream)) => said,
        () = door.out.notified() => return,
    };
    let hello = match said {
        Ok(Ok(hello)) => hello,
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "refused"),
        Err(_) => return tracing::debug!(%peer, "no greeting in time"),
    };
    if hello.line() == Line::Pulse {
        let welcomed = async {
            let (stream, shown) = hello.accept(&certs).await?;
            welcome(inner, stream, shown, peer).await
        };
        return in_time(welcomed, peer, door).await;
    }
    if let Err(error) = encrypt_on_main(inner, hello, peer, certs, door) {
        tracing::debug!(%peer, %error, "refused");
    }
}

fn encrypt_on_main(
    inner: &Arc<Inner>,
    hello: Hello,
    peer: SocketAddr,
    certs: Arc<NodeCerts>,
    door: Door,
) -> io::Result<()> {
    let is_joining = hello.is_joining();
    let (accepted, stream) = hello.into_std()?;
    let serving = inner.clone();
    if is_joining {
        inner.main.spawn(async move {
            if let Err(error) = enrol(&serving, accepted, stream, peer, &certs, door).await {
                tracing::debug!(%peer, %error, "a node that wants to join");
            }
        });
        return Ok(());
    }
    inner.main.spawn(in_time(
        async move {
            let (stream, shown) = Hello::from_std(accepted, stream)?.accept(&certs).await?;
            welcome(&serving, stream, shown, peer).await
        },
        peer,
        door,
    ));
    Ok(())
}

/// Answers a node that has no certificate yet. It is at the door until its question is here.
async fn enrol(
    inner: &Arc<Inner>,
    accepted: Accepted,
    stream: std::net::TcpStream,
    peer: SocketAddr,
    certs: &NodeCerts,
    door: Door,
) -> io::Result<()> {
    let asking = async {
        let mut stream = Hello::from_std(accepted, stream)?.accept_joining(certs).await?;
        let question = question(&mut stream).await?;
        Ok::<_, io::Error>((stream, question))
    };
    let late = |_elapsed| io::Error::other("it takes too long");
    let asked = tokio::select! {
        asked = tokio::time::timeout(CONNECT_TIMEOUT, asking) => asked,
        () = door.out.notified() => return Ok(()),
    };
    let (stream, question) = asked.map_err(late)??;
    let enrolment = inner.enrolment.read().clone();
    let (Some(enrolment), Ok(permit)) = (enrolment, inner.enrolling.clone().try_acquire_owned()) else {
        return Err(io::Error::other("no node is let in now"));
    };
    drop(door);
    tokio::time::timeout(ENROL_TIMEOUT, answer(stream, peer, enrolment, question, permit)).await.map_err(late)?
}

async fn welcome(inner: &Arc<Inner>, mut stream: Stream, shown: Shown, peer: SocketAddr) -> io::Result<()> {
    stream.tune();
    let cluster = *inner.cluster.read();
    if is_of_another_cluster(shown, cluster) {
        inner.strangers.fetch_add(1, Ordering::Relaxed);
        return Err(io::Error::other("its certificate is of another cluster"));
    }
    let hello = read_greeting(&mut stream).await?;
    let judged = judge(shown, cluster, &hello, inner.are_unbound_members);
    let refusal = if hello.protocol != PROTOCOL {
        Some(format!("it speaks protocol {PROTOCOL}, the caller {}", hello.protocol))
    } else if are_apart(hello.cluster, cluster) {
        Some("it belongs to another cluster".to_owned())
    } else {
        judged.err().map(str::to_owned)
    };
    let refused = refusal.is_some();
    if let Some(reason) = &refusal {
        tracing::warn!(%peer, reason, "a node is refused");
    }
    let node = inner.local.read().map_or(0, NodeId::get);
    let line = hello.line;
    let answer = Greeting { magic: MAGIC, protocol: PROTOCOL, cluster, node, refusal, line };
    write_greeting(&mut stream, &answer).await?;
    let Ok(judged) = judged else { return Ok(()) };
    if refused {
        return Ok(());
    }
    let standing = judged.standing;
    let connection =
        Arc::new(Connection::new(peer.to_string(), judged, inner.clock.clone(), inner.counters.clone()));
    {
        let mut accepted = inner.accepted.lock();
        accepted.retain(|weak| weak.strong_count() > 0);
        accepted.push(Arc::downgrade(&connection));
    }
    let stream = match stream {
        Stream::Plain(stream) if line == Line::Main => stream,
        stream => {
            start(inner, connection, stream, line, standing);
            return Ok(());
        }
    };
    // From the thread that accepts to those that serve.
    let stream = stream.into_std()?;
    let serving = inner.clone();
    inner.main.spawn(async move {
        match TcpStream::from_std(stream) {
            Ok(stream) => start(&serving, connection, Stream::Plain(stream), line, standing),
            Err(error) => tracing::warn!(%peer, %error, "accept"),
        }
    });
    Ok(())
}
