//! A connection to another node, in clear text or encrypted.
//!
//! **Invariant (nodes-only):** with certificates, both ends have shown one that the cluster's CA has signed for a node
//! before anything else is read; a client's does not do.

use std::{
    io,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use certs::{
    NodeCerts,
    rustls::{pki_types::ServerName, server::Acceptor},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{LazyConfigAcceptor, StartHandshake, TlsConnector, TlsStream};

use crate::{greeting::Line, tcp::tune};

pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    pub fn tune(&self) {
        match self {
            Self::Plain(stream) => tune(stream),
            Self::Tls(stream) => tune(stream.get_ref().0),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, into),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// The line is told before the greeting, so that each is served where it belongs from its first byte on.
fn protocol(line: Line) -> &'static [u8] {
    match line {
        Line::Main => b"quorate-main",
        Line::Pulse => b"quorate-pulse",
    }
}

/// *nodes-only*
fn check_peer(stream: &TlsStream<TcpStream>) -> io::Result<()> {
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    match certificate.and_then(|certificate| certs::common_name(certificate)).as_deref() {
        Some(certs::NODE) => Ok(()),
        _ => Err(io::Error::other("its certificate is not a node's")),
    }
}

/// Encrypts a connection that this node has opened.
pub(crate) async fn connect(stream: TcpStream, address: &str, line: Line, certs: &NodeCerts) -> io::Result<Stream> {
    let mut config = (*certs.current().to_nodes).clone();
    config.alpn_protocols = vec![protocol(line).to_vec()];
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = match host.parse::<IpAddr>() {
        Ok(ip) => ServerName::IpAddress(ip.into()),
        Err(_) => ServerName::try_from(host.to_owned()).map_err(io::Error::other)?,
    };
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let stream = TlsStream::Client(stream);
    check_peer(&stream)?;
    Ok(Stream::Tls(Box::new(stream)))
}

/// The first words of a node that has opened a connection.
pub(crate) struct Hello(StartHandshake<TcpStream>);

impl Hello {
    pub async fn read(stream: TcpStream) -> io::Result<Self> {
        LazyConfigAcceptor::new(Acceptor::default(), stream).await.map(Self)
    }

    pub fn line(&self) -> Line {
        let offered = self.0.client_hello().alpn();
        let is_pulse = offered.is_some_and(|mut offered| offered.any(|name| name == protocol(Line::Pulse)));
        if is_pulse { Line::Pulse } else { Line::Main }
    }

    /// Moves the socket to the runtime that this is called in by `enter`, after it was taken out of the one it was in.
    pub fn into_std(self) -> io::Result<(certs::rustls::server::Accepted, std::net::TcpStream)> {
        Ok((self.0.accepted, self.0.io.into_std()?))
    }

    pub fn from_std(accepted: certs::rustls::server::Accepted, stream: std::net::TcpStream) -> io::Result<Self> {
        Ok(Self(StartHandshake::from_parts(accepted, TcpStream::from_std(stream)?)))
    }

    pub async fn accept(self, certs: &NodeCerts) -> io::Result<Stream> {
        let mut config = (*certs.current().from_nodes).clone();
        config.alpn_protocols = [Line::Main, Line::Pulse].map(|line| protocol(line).to_vec()).to_vec();
        let stream = self.0.into_stream(Arc::new(config)).await?;
        let stream = TlsStream::Server(stream);
        check_peer(&stream)?;
        Ok(Stream::Tls(Box::new(stream)))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, time::Duration};

    use bytes::Bytes;
    use hlc::Clock;
    use keys::NodeId;

    use crate::{Lane, RpcError, Service, ServiceId, TcpOptions, TcpTransport, Transport};

    use super::*;

    const ECHO: ServiceId = ServiceId(100);

    struct Echo;

    #[async_trait::async_trait]
    impl Service for Echo {
        async fn call(&self, _: NodeId, payload: Bytes) -> Result<Bytes, RpcError> {
            Ok(payload)
        }
    }

    async fn node(id: u64, certs: Option<&Path>) -> Arc<TcpTransport> {
        let transport = TcpTransport::bind(TcpOptions {
            listen: "127.0.0.1:0".into(),
            cluster: [7; 16],
            clock: Arc::new(Clock::system(Duration::from_millis(500))),
            certs: certs.map(|dir| Arc::new(NodeCerts::open(dir).unwrap())),
        })
        .await
        .unwrap();
        transport.set_local_node(NodeId::new(id));
        transport.register(ECHO, Arc::new(Echo));
        transport
    }

    async fn call(from: &TcpTransport, to: &TcpTransport, payload: Bytes) -> Result<Bytes, RpcError> {
        from.set_address(NodeId::new(9), to.local_addr().to_string());
        from.call(NodeId::new(9), Lane::Client, ECHO, payload, Duration::from_secs(10)).await
    }

    fn certificates(dir: &Path, hosts: &[&str]) {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        certs::create_ca(dir, certs::Lifetime(1)).unwrap();
        certs::create_node(dir, &hosts, certs::Lifetime(1)).unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nodes_only() {
        let dir = tempfile::tempdir().unwrap();
        let [ours, others, stolen, elsewhere] =
            ["ours", "others", "stolen", "elsewhere"].map(|name| dir.path().join(name));
        certificates(&ours, &["127.0.0.1"]);
        certificates(&others, &["127.0.0.1"]);
        let to = node(9, Some(&ours)).await;
        let one = node(1, Some(&ours)).await;
        let large = Bytes::from(vec![5; 8 << 20]);
        assert_eq!(call(&one, &to, large.clone()).await.unwrap(), large);
        // A client's certificate of the same CA, in the place of a node's.
        certs::create_client(&ours, "postgres", certs::Lifetime(1)).unwrap();
        fs::create_dir(&stolen).unwrap();
        for (from, name) in
            [("ca.crt", "ca.crt"), ("client.postgres.crt", "node.crt"), ("client.postgres.key", "node.key")]
        {
            fs::copy(ours.join(from), stolen.join(name)).unwrap();
        }
        // A node of the same CA that is not where it says.
        fs::create_dir(&elsewhere).unwrap();
        for name in ["ca.crt", "ca.key"] {
            fs::copy(ours.join(name), elsewhere.join(name)).unwrap();
        }
        certs::create_node(&elsewhere, &["10.0.0.1".into()], certs::Lifetime(1)).unwrap();
        for certs in [None, Some(&*others), Some(&*stolen)] {
            let stranger = node(2, certs).await;
            for (from, to) in [(&stranger, &to), (&one, &stranger)] {
                let outcome = call(from, to, Bytes::from_static(b"x")).await;
                assert!(matches!(outcome, Err(RpcError::Unreachable { .. })), "{certs:?}: {outcome:?}");
            }
        }
        let elsewhere = node(2, Some(&elsewhere)).await;
        assert!(call(&one, &elsewhere, Bytes::new()).await.is_err());
        assert_eq!(call(&elsewhere, &to, Bytes::from_static(b"x")).await.unwrap(), "x", "it may call");
    }
}
