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
    Identity, NodeCerts,
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

/// What a certificate says of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// There are no certificates here: it is who it says.
    Believed,
    /// Some node: the cluster's CA has signed its certificate, which does not say for which.
    Unbound,
    Bound(Identity),
}

/// The protocol of a node that asks for a certificate.
pub(crate) const JOINING: &[u8] = b"quorate-join";

/// The line is told before the greeting, so that each is served where it belongs from its first byte on.
fn protocol(line: Line) -> &'static [u8] {
    match line {
        Line::Main => b"quorate-main",
        Line::Pulse => b"quorate-pulse",
    }
}

/// *nodes-only*
fn check_peer(stream: &TlsStream<TcpStream>) -> io::Result<Shown> {
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    match certificate {
        Some(certificate) if certs::common_name(certificate).as_deref() == Some(certs::NODE) => {
            let names = certs::names(certificate).map_err(io::Error::other)?;
            Ok(names.identity.map_or(Shown::Unbound, Shown::Bound))
        }
        _ => Err(io::Error::other("its certificate is not a node's")),
    }
}

/// The name by which a peer's certificate must be made out.
pub(crate) fn server_name(address: &str) -> io::Result<ServerName<'static>> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(ip) => Ok(ServerName::IpAddress(ip.into())),
        Err(_) => ServerName::try_from(host.to_owned()).map_err(io::Error::other),
    }
}

/// Encrypts a connection that this node has opened.
pub(crate) async fn connect(
    stream: TcpStream,
    address: &str,
    line: Line,
    certs: &NodeCerts,
) -> io::Result<(Stream, Shown)> {
    let mut config = (*certs.current().to_nodes).clone();
    config.alpn_protocols = vec![protocol(line).to_vec()];
    let stream = TlsConnector::from(Arc::new(config)).connect(server_name(address)?, stream).await?;
    let stream = TlsStream::Client(stream);
    let peer = check_peer(&stream)?;
    Ok((Stream::Tls(Box::new(stream)), peer))
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

    /// Whether it is a node's that has no certificate yet.
    pub fn is_joining(&self) -> bool {
        self.0.client_hello().alpn().is_some_and(|mut offered| offered.any(|name| name == JOINING))
    }

    /// Serves a node that has no certificate yet.
    pub async fn accept_joining(self, certs: &NodeCerts) -> io::Result<tokio_rustls::server::TlsStream<TcpStream>> {
        let mut config = (*certs.current().joining).clone();
        config.alpn_protocols = vec![JOINING.to_vec()];
        self.0.into_stream(Arc::new(config)).await
    }

    /// Moves the socket to the runtime that this is called in by `enter`, after it was taken out of the one it was in.
    pub fn into_std(self) -> io::Result<(certs::rustls::server::Accepted, std::net::TcpStream)> {
        Ok((self.0.accepted, self.0.io.into_std()?))
    }

    pub fn from_std(accepted: certs::rustls::server::Accepted, stream: std::net::TcpStream) -> io::Result<Self> {
        Ok(Self(StartHandshake::from_parts(accepted, TcpStream::from_std(stream)?)))
    }

    pub async fn accept(self, certs: &NodeCerts) -> io::Result<(Stream, Shown)> {
        let mut config = (*certs.current().from_nodes).clone();
        config.alpn_protocols = [Line::Main, Line::Pulse].map(|line| protocol(line).to_vec()).to_vec();
        let stream = self.0.into_stream(Arc::new(config)).await?;
        let stream = TlsStream::Server(stream);
        let peer = check_peer(&stream)?;
        Ok((Stream::Tls(Box::new(stream)), peer))
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
        node_of(id, certs, [7; 16], true).await
    }

    async fn node_of(id: u64, certs: Option<&Path>, cluster: [u8; 16], are_unbound_members: bool) -> Arc<TcpTransport> {
        let transport = TcpTransport::bind(TcpOptions {
            listen: "127.0.0.1:0".into(),
            cluster,
            clock: Arc::new(Clock::system(Duration::from_millis(500))),
            certs: certs.map(|dir| Arc::new(NodeCerts::open(dir).unwrap())),
            are_unbound_members,
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
        certs::create_node(dir, &hosts, None, certs::Lifetime(1)).unwrap();
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
        certs::create_node(&elsewhere, &["10.0.0.1".into()], None, certs::Lifetime(1)).unwrap();
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

    /// A directory with the CA of `dir` and a certificate of its own.
    fn bound(dir: &Path, name: &str, identity: Option<(u128, u64)>) -> std::path::PathBuf {
        let made = dir.join(name);
        fs::create_dir(&made).unwrap();
        for name in ["ca.crt", "ca.key"] {
            fs::copy(dir.join(name), made.join(name)).unwrap();
        }
        let identity = identity.map(|(cluster, node)| Identity { cluster: uuid::Uuid::from_u128(cluster), node });
        certs::create_node(&made, &["127.0.0.1".into()], identity.as_ref(), certs::Lifetime(1)).unwrap();
        made
    }

    /// *who-it-shows*, over sockets.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_node_is_the_one_of_its_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        certs::create_ca(dir, certs::Lifetime(1)).unwrap();
        let ours = [7_u8; 16];
        let number = u128::from_be_bytes(ours);
        let to = node_of(9, Some(&bound(dir, "nine", Some((number, 9)))), ours, false).await;
        let ok = Bytes::from_static(b"x");
        let one = node_of(1, Some(&bound(dir, "one", Some((number, 1)))), ours, false).await;
        assert_eq!(call(&one, &to, ok.clone()).await, Ok(ok.clone()));
        // It does not know its number yet, and is known by its certificate.
        let early = node_of(0, Some(&dir.join("one")), ours, false).await;
        assert_eq!(call(&early, &to, ok.clone()).await, Ok(ok.clone()));
        let liar = node_of(2, Some(&dir.join("one")), ours, false).await;
        let outcome = call(&liar, &to, ok.clone()).await;
        assert!(matches!(&outcome, Err(RpcError::Incompatible { reason, .. }) if reason.contains("another node's")), "{outcome:?}");
        // Of the same CA, and of another cluster by its certificate, whatever it says.
        let other = bound(dir, "other", Some((5, 1)));
        for cluster in [ours, [5; 16], [0; 16]] {
            let stranger = node_of(1, Some(&other), cluster, false).await;
            let outcome = call(&stranger, &to, ok.clone()).await;
            assert!(outcome.is_err(), "{outcome:?}");
        }
        // Unbound: it may ask to join, and nothing else; and nobody asks anything of it.
        let unbound = node_of(3, Some(&bound(dir, "unbound", None)), ours, false).await;
        let outcome = call(&unbound, &to, ok.clone()).await;
        assert!(matches!(outcome, Err(RpcError::Refused { .. })), "{outcome:?}");
        let all_counted = async {
            while to.stranger_refusals() < 1 + 3 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let counted = tokio::time::timeout(Duration::from_secs(10), all_counted).await;
        assert!(counted.is_ok(), "each of another cluster was turned away before it had spoken");
        assert!(call(&one, &unbound, ok.clone()).await.is_err());
        // Another node than the one that is meant answers at the address.
        assert!(call(&one, &one, ok.clone()).await.is_err());
    }

    /// *bounded-before-taken*: bytes as they come from whoever has no certificate, and from one that has.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_joins_says_little() {
        struct Echoes;

        #[async_trait::async_trait]
        impl crate::Enrolment for Echoes {
            async fn enrol(&self, _: std::net::SocketAddr, question: Bytes) -> Bytes {
                question
            }
        }

        let dir = tempfile::tempdir().unwrap();
        let ours = dir.path().join("ours");
        certificates(&ours, &["127.0.0.1"]);
        let to = node(9, Some(&ours)).await;
        let address = to.local_addr().to_string();
        let fingerprint = certs::ca_fingerprint(&ours).unwrap();
        let ask = async |fingerprint, question: &[u8]| {
            crate::enrol(&address, certs::trusting(fingerprint).unwrap(), question).await
        };
        assert!(ask(fingerprint, b"x").await.is_err(), "nobody answers");
        to.set_enrolment(Arc::new(Echoes));
        assert_eq!(ask(fingerprint, b"x").await.unwrap(), "x");
        assert_eq!(ask(fingerprint, b"").await.unwrap(), "");
        assert!(ask(fingerprint, &vec![0; 1 << 20]).await.is_err(), "too long a question");
        let wrong = ask([0; 32], b"x").await.unwrap_err();
        assert!(wrong.to_string().contains("not of the cluster"), "{wrong}");
        // Bytes that are no TLS, a handshake that ends in its middle, and frames without a certificate.
        for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x16, 3, 1, 0xff, 0xff], &[0xff; 4096], &[]] {
            let mut raw = TcpStream::connect(to.local_addr()).await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut raw, bytes).await.unwrap();
        }
        assert_eq!(ask(fingerprint, b"y").await.unwrap(), "y", "others are served");
        // Those that show no certificate and ask nothing.
        let mut silent = Vec::new();
        for _ in 0..=crate::enrol::ENROLLING_MAX {
            let mut config = certs::trusting(fingerprint).unwrap();
            config.alpn_protocols = vec![JOINING.to_vec()];
            let stream = TcpStream::connect(to.local_addr()).await.unwrap();
            let connector = TlsConnector::from(Arc::new(config));
            silent.push(connector.connect(server_name(&address).unwrap(), stream).await.unwrap());
        }
        assert_eq!(ask(fingerprint, b"z").await.unwrap(), "z", "they take no place of those that ask");
    }
}
